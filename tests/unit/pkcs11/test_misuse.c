/*
 * Every door with everything wrong that can be wrong: not initialized, handles that do not exist, NULL where there should be something, sizes of zero and beyond. The answer is an error, never a crash
 * (the sanitizers are watching) and never success.
 */
#include "host.h"

#define WRONG 0xDEAD

static CK_MECHANISM ecdsa = {CKM_ECDSA, NULL, 0}, sha256 = {CKM_SHA256, NULL, 0};

/* All calls that take a session, with the given handle and otherwise nothing at all: rv is what each must answer; CKR_OK stands for "any error". */
static void walk_sessions(struct host *h, CK_SESSION_HANDLE s, CK_RV rv)
{
	CK_FUNCTION_LIST *f = h->f;
	const CK_RV answers[] = {
		f->C_GetSessionInfo(s, NULL), f->C_InitPIN(s, NULL, 0), f->C_SetPIN(s, NULL, 0, NULL, 0), f->C_GetOperationState(s, NULL, NULL), f->C_SetOperationState(s, NULL, 0, 0, 0),
		f->C_Login(s, 77, NULL, 9), f->C_Logout(s), f->C_CreateObject(s, NULL, 1, NULL), f->C_CopyObject(s, WRONG, NULL, 1, NULL), f->C_DestroyObject(s, WRONG),
		f->C_GetObjectSize(s, WRONG, NULL), f->C_GetAttributeValue(s, WRONG, NULL, 3), f->C_SetAttributeValue(s, WRONG, NULL, 3), f->C_FindObjectsInit(s, NULL, 3),
		f->C_FindObjects(s, NULL, 3, NULL), f->C_FindObjectsFinal(s), f->C_EncryptInit(s, NULL, 0), f->C_Encrypt(s, NULL, 0, NULL, NULL), f->C_EncryptUpdate(s, NULL, 0, NULL, NULL),
		f->C_EncryptFinal(s, NULL, NULL), f->C_DecryptInit(s, NULL, 0), f->C_Decrypt(s, NULL, 0, NULL, NULL), f->C_DecryptUpdate(s, NULL, 0, NULL, NULL), f->C_DecryptFinal(s, NULL, NULL),
		f->C_DigestInit(s, NULL), f->C_Digest(s, NULL, 5, NULL, NULL), f->C_DigestUpdate(s, NULL, 5), f->C_DigestKey(s, WRONG), f->C_DigestFinal(s, NULL, NULL), f->C_SignInit(s, NULL, WRONG),
		f->C_Sign(s, NULL, 5, NULL, NULL), f->C_SignUpdate(s, NULL, 5), f->C_SignFinal(s, NULL, NULL), f->C_SignRecoverInit(s, NULL, 0), f->C_SignRecover(s, NULL, 0, NULL, NULL),
		f->C_VerifyInit(s, NULL, WRONG), f->C_Verify(s, NULL, 5, NULL, 0), f->C_VerifyUpdate(s, NULL, 5), f->C_VerifyFinal(s, NULL, 0), f->C_VerifyRecoverInit(s, NULL, 0),
		f->C_VerifyRecover(s, NULL, 0, NULL, NULL), f->C_DigestEncryptUpdate(s, NULL, 0, NULL, NULL), f->C_DecryptDigestUpdate(s, NULL, 0, NULL, NULL),
		f->C_SignEncryptUpdate(s, NULL, 0, NULL, NULL), f->C_DecryptVerifyUpdate(s, NULL, 0, NULL, NULL), f->C_GenerateKey(s, NULL, NULL, 0, NULL),
		f->C_GenerateKeyPair(s, NULL, NULL, 0, NULL, 0, NULL, NULL), f->C_WrapKey(s, NULL, 0, 0, NULL, NULL), f->C_UnwrapKey(s, NULL, 0, NULL, 0, NULL, 0, NULL),
		f->C_DeriveKey(s, NULL, WRONG, NULL, 3, NULL), f->C_SeedRandom(s, NULL, 5), f->C_GenerateRandom(s, NULL, 5), f->C_GetFunctionStatus(s), f->C_CancelFunction(s),
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(answers); i++)
		if (answers[i] == CKR_OK || (rv != CKR_OK && answers[i] != rv))
			fail_msg("call %zu with session %#lx: %#lx", i, s, answers[i]);
}

static void walk_module(struct host *h, CK_RV rv)
{
	CK_FUNCTION_LIST *f = h->f;
	const CK_RV answers[] = {
		f->C_GetInfo(NULL), f->C_GetSlotList(CK_TRUE, NULL, NULL), f->C_GetSlotInfo(1, NULL), f->C_GetTokenInfo(1, NULL), f->C_GetMechanismList(1, NULL, NULL), f->C_GetMechanismInfo(1, CKM_ECDSA, NULL),
		f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, NULL), f->C_WaitForSlotEvent(0, NULL, NULL),
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(answers); i++)
		assert_int_equal(answers[i], rv);
	const CK_RV of_slot[] = {
		f->C_GetSlotInfo(WRONG, NULL), f->C_GetTokenInfo(WRONG, NULL), f->C_GetMechanismList(WRONG, NULL, NULL), f->C_GetMechanismInfo(WRONG, 0, NULL), f->C_InitToken(WRONG, NULL, 0, NULL),
		f->C_CloseAllSessions(WRONG),
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(of_slot); i++)
		assert_int_equal(of_slot[i], rv == CKR_ARGUMENTS_BAD ? CKR_SLOT_ID_INVALID : rv);
}

static void test_walk(void **state)
{
	struct host *h = *state;
	static const CK_SESSION_HANDLE handles[] = {0, 1, 1023, 1024, 0x7FFFFFFF, (CK_SESSION_HANDLE)-1};
	CK_SLOT_ID slot = 0;
	walk_module(h, CKR_CRYPTOKI_NOT_INITIALIZED);
	walk_sessions(h, 1, CKR_CRYPTOKI_NOT_INITIALIZED);
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_GetFunctionList(NULL));
	OK(h->f->C_Initialize(NULL));
	walk_module(h, CKR_ARGUMENTS_BAD);
	for (size_t i = 0; i < NH_ARRAY_LEN(handles); i++)
		walk_sessions(h, handles[i], CKR_SESSION_HANDLE_INVALID);
	FAILS(CKR_NO_EVENT, h->f->C_WaitForSlotEvent(CKF_DONT_BLOCK, &slot, NULL));
	FAILS(CKR_FUNCTION_NOT_SUPPORTED, h->f->C_WaitForSlotEvent(0, &slot, NULL));
	CK_SESSION_HANDLE s = host_session(h);
	walk_sessions(h, s, CKR_OK);
	/* once more with everything under way, so that each call meets its operation; the walk ends them all */
	CK_OBJECT_HANDLE private_key = host_find(h, s, CKO_PRIVATE_KEY, NULL), public_key = host_find(h, s, CKO_PUBLIC_KEY, NULL);
	OK(h->f->C_SignInit(s, &ecdsa, private_key));
	OK(h->f->C_VerifyInit(s, &ecdsa, public_key));
	OK(h->f->C_DigestInit(s, &sha256));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_Sign(s, NULL, 5, NULL, NULL));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_VerifyUpdate(s, NULL, 5));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_DigestUpdate(s, NULL, 5));
	OK(h->f->C_FindObjectsInit(s, NULL, 0));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_FindObjects(s, NULL, 5, NULL));
	OK(h->f->C_SignInit(s, &ecdsa, private_key));
	OK(h->f->C_DigestInit(s, &sha256));
	OK(h->f->C_Finalize(NULL)); /* with a search and operations open: nothing may leak */
}

/* Templates made of what is left in memory: pointers that are NULL with lengths that are not, lengths that fit nothing, types that do not exist. */
static void test_templates(void **state)
{
	struct host *h = *state;
	uint8_t byte = 1;
	CK_ULONG number = CKO_PRIVATE_KEY, count = 0;
	CK_OBJECT_HANDLE found[8];
	CK_ATTRIBUTE templates[][2] = {
		{{CKA_CLASS, NULL, 8}, {CKA_CLASS, NULL, 0}},
		{{CKA_CLASS, &number, 0}, {CKA_CLASS, &number, 7}},
		{{CKA_CLASS, &number, sizeof number}, {(CK_ATTRIBUTE_TYPE)-1, &byte, 1}},
		{{CKA_ID, NULL, (CK_ULONG)-1}, {CKA_LABEL, &byte, 0}},
		{{CKA_VALUE, NULL, 0}, {CKA_EC_POINT, &byte, 1}},
		{{CKA_CLASS, &number, sizeof number}, {CKA_ALLOWED_MECHANISMS, NULL, 5}},
	};
	OK(h->f->C_Initialize(NULL));
	CK_SESSION_HANDLE s = host_session(h);
	for (size_t i = 0; i < NH_ARRAY_LEN(templates); i++) {
		OK(h->f->C_FindObjectsInit(s, templates[i], 2));
		OK(h->f->C_FindObjects(s, found, 8, &count));
		assert_int_equal(count, 0);
		OK(h->f->C_FindObjectsFinal(s));
	}
	OK(h->f->C_Finalize(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_walk), cmocka_unit_test(test_templates)};
	return cmocka_run_group_tests(tests, host_setup, host_teardown);
}

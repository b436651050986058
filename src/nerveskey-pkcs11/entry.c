/*
 * The module's doors: the C_* functions, nothing else is exported. No logic here: a call enters the module, a slot or a session, and one function of the file that knows does it.
 */
#pragma GCC visibility push(default)
#include <p11-kit/pkcs11.h>
#pragma GCC visibility pop

#include "module.h"

/* Evaluates what with `m`, `slot` or `session` entered and left again. */
#define IN_MODULE(what)                                      \
	({                                                   \
		struct module *m = NULL;                     \
		CK_RV in_rv_ = module_enter(&m);             \
		if (in_rv_ == CKR_OK) {                      \
			in_rv_ = (what);                     \
			module_leave(m);                     \
		}                                            \
		debug_call(__func__, in_rv_);                \
	})
#define IN_SLOT(id, what)                                        \
	({                                                       \
		struct module *m = NULL;                         \
		struct slot *slot = NULL;                        \
		CK_RV in_rv_ = module_enter(&m);                 \
		if (in_rv_ == CKR_OK) {                          \
			in_rv_ = slot_enter(m, (id), &slot);     \
			if (in_rv_ == CKR_OK) {                  \
				in_rv_ = (what);                 \
				slot_leave(slot);                \
			}                                        \
			module_leave(m);                         \
		}                                                \
		debug_call(__func__, in_rv_);                    \
	})
#define IN_SESSION(handle, what)                             \
	({                                                   \
		struct session *session = NULL;              \
		CK_RV in_rv_ = session_enter((handle), &session); \
		if (in_rv_ == CKR_OK) {                      \
			in_rv_ = (what);                     \
			session_leave(session);              \
		}                                            \
		debug_call(__func__, in_rv_);                \
	})
/* What no chip of ours does, in a session that must exist all the same. */
#define NEVER(handle) IN_SESSION(handle, CKR_FUNCTION_NOT_SUPPORTED)

CK_RV C_Initialize(void *args) { return debug_call(__func__, module_initialize(args)); }
CK_RV C_Finalize(void *reserved) { return debug_call(__func__, module_finalize(reserved)); }
CK_RV C_GetInfo(CK_INFO *info) { return IN_MODULE(module_info(info)); }

CK_RV C_GetSlotList(CK_BBOOL present, CK_SLOT_ID *list, CK_ULONG *count) { return IN_MODULE(slots_list(m, present != 0, list, count)); }
CK_RV C_GetSlotInfo(CK_SLOT_ID id, CK_SLOT_INFO *info) { return IN_SLOT(id, slot_info(slot, info)); }
CK_RV C_GetTokenInfo(CK_SLOT_ID id, CK_TOKEN_INFO *info) { return IN_SLOT(id, slot_token_info(slot, info)); }
CK_RV C_GetMechanismList(CK_SLOT_ID id, CK_MECHANISM_TYPE *list, CK_ULONG *count) { return IN_SLOT(id, slot_mechanisms(slot, list, count)); }
CK_RV C_GetMechanismInfo(CK_SLOT_ID id, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info) { return IN_SLOT(id, slot_mechanism_info(slot, type, info)); }
CK_RV C_WaitForSlotEvent(CK_FLAGS flags, CK_SLOT_ID *slot, void *reserved) { return IN_MODULE(slots_wait(flags, slot, reserved)); }
CK_RV C_InitToken(CK_SLOT_ID id, CK_BYTE *pin, CK_ULONG pin_len, CK_BYTE *label) { return IN_SLOT(id, slot_refuse_init(slot)); }
CK_RV C_InitPIN(CK_SESSION_HANDLE h, CK_BYTE *pin, CK_ULONG len) { return NEVER(h); }
CK_RV C_SetPIN(CK_SESSION_HANDLE h, CK_BYTE *old, CK_ULONG old_len, CK_BYTE *pin, CK_ULONG len) { return NEVER(h); }

CK_RV C_OpenSession(CK_SLOT_ID id, CK_FLAGS flags, void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *out)
{
	return IN_MODULE(session_open(m, id, flags, out));
}
CK_RV C_CloseSession(CK_SESSION_HANDLE h) { return IN_MODULE(session_close(m, h)); }
CK_RV C_CloseAllSessions(CK_SLOT_ID id) { return IN_MODULE(session_close_all(m, id)); }
CK_RV C_GetSessionInfo(CK_SESSION_HANDLE h, CK_SESSION_INFO *info) { return IN_SESSION(h, session_info(session, info)); }
CK_RV C_GetOperationState(CK_SESSION_HANDLE h, CK_BYTE *state, CK_ULONG *len) { return NEVER(h); }
CK_RV C_SetOperationState(CK_SESSION_HANDLE h, CK_BYTE *state, CK_ULONG len, CK_OBJECT_HANDLE a, CK_OBJECT_HANDLE b) { return NEVER(h); }
CK_RV C_Login(CK_SESSION_HANDLE h, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG len) { return IN_SESSION(h, session_login(session, user)); }
CK_RV C_Logout(CK_SESSION_HANDLE h) { return IN_SESSION(h, session_logout(session)); }

CK_RV C_CreateObject(CK_SESSION_HANDLE h, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *out) { return IN_SESSION(h, object_create(session, t, n, out)); }
CK_RV C_CopyObject(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *out) { return IN_SESSION(h, object_refuse(session, o)); }
CK_RV C_DestroyObject(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o) { return IN_SESSION(h, object_destroy(session, o)); }
CK_RV C_GetObjectSize(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o, CK_ULONG *size) { return IN_SESSION(h, object_size(session, o, size)); }
CK_RV C_GetAttributeValue(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *t, CK_ULONG n) { return IN_SESSION(h, object_attributes(session, o, t, n)); }
CK_RV C_SetAttributeValue(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *t, CK_ULONG n) { return IN_SESSION(h, object_refuse(session, o)); }
CK_RV C_FindObjectsInit(CK_SESSION_HANDLE h, CK_ATTRIBUTE *t, CK_ULONG n) { return IN_SESSION(h, find_begin(session, t, n)); }
CK_RV C_FindObjects(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE *out, CK_ULONG max, CK_ULONG *count) { return IN_SESSION(h, find_next(session, out, max, count)); }
CK_RV C_FindObjectsFinal(CK_SESSION_HANDLE h) { return IN_SESSION(h, find_end(session)); }

CK_RV C_SignInit(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) { return IN_SESSION(h, sign_begin(session, mechanism, key)); }
CK_RV C_Sign(CK_SESSION_HANDLE h, CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return IN_SESSION(h, sign_once(session, data, len, out, out_len)); }
CK_RV C_SignUpdate(CK_SESSION_HANDLE h, CK_BYTE *data, CK_ULONG len) { return IN_SESSION(h, sign_more(session, data, len)); }
CK_RV C_SignFinal(CK_SESSION_HANDLE h, CK_BYTE *out, CK_ULONG *out_len) { return IN_SESSION(h, sign_end(session, out, out_len)); }
CK_RV C_VerifyInit(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) { return IN_SESSION(h, verify_begin(session, mechanism, key)); }
CK_RV C_Verify(CK_SESSION_HANDLE h, CK_BYTE *data, CK_ULONG len, CK_BYTE *sig, CK_ULONG sig_len) { return IN_SESSION(h, verify_once(session, data, len, sig, sig_len)); }
CK_RV C_VerifyUpdate(CK_SESSION_HANDLE h, CK_BYTE *data, CK_ULONG len) { return IN_SESSION(h, verify_more(session, data, len)); }
CK_RV C_VerifyFinal(CK_SESSION_HANDLE h, CK_BYTE *sig, CK_ULONG sig_len) { return IN_SESSION(h, verify_end(session, sig, sig_len)); }
CK_RV C_DigestInit(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism) { return IN_SESSION(h, digest_begin(session, mechanism)); }
CK_RV C_Digest(CK_SESSION_HANDLE h, CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return IN_SESSION(h, digest_once(session, data, len, out, out_len)); }
CK_RV C_DigestUpdate(CK_SESSION_HANDLE h, CK_BYTE *data, CK_ULONG len) { return IN_SESSION(h, digest_more(session, data, len)); }
CK_RV C_DigestKey(CK_SESSION_HANDLE h, CK_OBJECT_HANDLE key) { return IN_SESSION(h, digest_key(session, key)); }
CK_RV C_DigestFinal(CK_SESSION_HANDLE h, CK_BYTE *out, CK_ULONG *out_len) { return IN_SESSION(h, digest_end(session, out, out_len)); }
CK_RV C_DeriveKey(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *out)
{
	return IN_SESSION(h, derive_key(session, mechanism, base, t, n, out));
}
CK_RV C_SeedRandom(CK_SESSION_HANDLE h, CK_BYTE *seed, CK_ULONG len) { return IN_SESSION(h, CKR_RANDOM_SEED_NOT_SUPPORTED); }
CK_RV C_GenerateRandom(CK_SESSION_HANDLE h, CK_BYTE *out, CK_ULONG len) { return IN_SESSION(h, random_generate(session, out, len)); }
CK_RV C_GetFunctionStatus(CK_SESSION_HANDLE h) { return IN_SESSION(h, CKR_FUNCTION_NOT_PARALLEL); }
CK_RV C_CancelFunction(CK_SESSION_HANDLE h) { return IN_SESSION(h, CKR_FUNCTION_NOT_PARALLEL); }

/* Nothing of the following can be done with a NervesKey. */
CK_RV C_EncryptInit(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) { return NEVER(h); }
CK_RV C_Encrypt(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_EncryptUpdate(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_EncryptFinal(CK_SESSION_HANDLE h, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_DecryptInit(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) { return NEVER(h); }
CK_RV C_Decrypt(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_DecryptUpdate(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_DecryptFinal(CK_SESSION_HANDLE h, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_SignRecoverInit(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) { return NEVER(h); }
CK_RV C_SignRecover(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_VerifyRecoverInit(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) { return NEVER(h); }
CK_RV C_VerifyRecover(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_DigestEncryptUpdate(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_DecryptDigestUpdate(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_SignEncryptUpdate(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_DecryptVerifyUpdate(CK_SESSION_HANDLE h, CK_BYTE *in, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_GenerateKey(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *out) { return NEVER(h); }
CK_RV C_GenerateKeyPair(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism, CK_ATTRIBUTE *t, CK_ULONG n, CK_ATTRIBUTE *u, CK_ULONG o, CK_OBJECT_HANDLE *a, CK_OBJECT_HANDLE *b)
{
	return NEVER(h);
}
CK_RV C_WrapKey(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE a, CK_OBJECT_HANDLE b, CK_BYTE *out, CK_ULONG *out_len) { return NEVER(h); }
CK_RV C_UnwrapKey(CK_SESSION_HANDLE h, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE a, CK_BYTE *in, CK_ULONG len, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *out)
{
	return NEVER(h);
}

/* clang-format off */
static CK_FUNCTION_LIST functions = {
	.version = {CRYPTOKI_VERSION_MAJOR, CRYPTOKI_VERSION_MINOR},
#define F(name) .name = name
	F(C_Initialize), F(C_Finalize), F(C_GetInfo), F(C_GetFunctionList), F(C_GetSlotList), F(C_GetSlotInfo), F(C_GetTokenInfo), F(C_GetMechanismList), F(C_GetMechanismInfo),
	F(C_InitToken), F(C_InitPIN), F(C_SetPIN), F(C_OpenSession), F(C_CloseSession), F(C_CloseAllSessions), F(C_GetSessionInfo), F(C_GetOperationState), F(C_SetOperationState),
	F(C_Login), F(C_Logout), F(C_CreateObject), F(C_CopyObject), F(C_DestroyObject), F(C_GetObjectSize), F(C_GetAttributeValue), F(C_SetAttributeValue), F(C_FindObjectsInit),
	F(C_FindObjects), F(C_FindObjectsFinal), F(C_EncryptInit), F(C_Encrypt), F(C_EncryptUpdate), F(C_EncryptFinal), F(C_DecryptInit), F(C_Decrypt), F(C_DecryptUpdate),
	F(C_DecryptFinal), F(C_DigestInit), F(C_Digest), F(C_DigestUpdate), F(C_DigestKey), F(C_DigestFinal), F(C_SignInit), F(C_Sign), F(C_SignUpdate), F(C_SignFinal),
	F(C_SignRecoverInit), F(C_SignRecover), F(C_VerifyInit), F(C_Verify), F(C_VerifyUpdate), F(C_VerifyFinal), F(C_VerifyRecoverInit), F(C_VerifyRecover),
	F(C_DigestEncryptUpdate), F(C_DecryptDigestUpdate), F(C_SignEncryptUpdate), F(C_DecryptVerifyUpdate), F(C_GenerateKey), F(C_GenerateKeyPair), F(C_WrapKey), F(C_UnwrapKey),
	F(C_DeriveKey), F(C_SeedRandom), F(C_GenerateRandom), F(C_GetFunctionStatus), F(C_CancelFunction), F(C_WaitForSlotEvent),
#undef F
};
/* clang-format on */

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **out)
{
	if (!out)
		return debug_call(__func__, CKR_ARGUMENTS_BAD);
	*out = &functions;
	return debug_call(__func__, CKR_OK);
}

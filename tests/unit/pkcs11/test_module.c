/*
 * Begin and end of the module, its slots, tokens and mechanisms, sessions, and what happens when chips come and go.
 */
#include "host.h"

static void test_function_list(void **state)
{
	struct host *h = *state;
	assert_int_equal(h->f->version.major, 2);
	assert_int_equal(h->f->version.minor, 40);
	/* no door is missing, and each is the exported function itself */
	void *const *doors = (void *const *)&h->f->C_Initialize;
	size_t count = (sizeof *h->f - offsetof(CK_FUNCTION_LIST, C_Initialize)) / sizeof *doors;
	assert_int_equal(count, 68);
	for (size_t i = 0; i < count; i++) {
		Dl_info info;
		assert_non_null(doors[i]);
		assert_int_not_equal(dladdr(doors[i], &info), 0);
		assert_ptr_equal(dlsym(h->library, info.dli_sname), doors[i]);
		assert_memory_equal(info.dli_sname, "C_", 2);
	}
	assert_ptr_equal(dlsym(h->library, "C_Sign"), h->f->C_Sign);
	assert_ptr_equal(dlsym(h->library, "C_WaitForSlotEvent"), h->f->C_WaitForSlotEvent);
	assert_null(dlsym(h->library, "C_GetInterface")); /* only with a 3.0 list behind it */
}

static unsigned mutexes, locked;
static CK_RV app_create(void **mutex)
{
	mutexes++;
	*mutex = calloc(1, 1);
	return CKR_OK;
}
static CK_RV app_destroy(void *mutex)
{
	mutexes--;
	free(mutex);
	return CKR_OK;
}
static CK_RV app_lock(void *mutex)
{
	assert_int_equal((*(char *)mutex)++, 0);
	locked++;
	return CKR_OK;
}
static CK_RV app_unlock(void *mutex)
{
	assert_int_equal(--(*(char *)mutex), 0);
	return CKR_OK;
}

static void test_initialize(void **state)
{
	struct host *h = *state;
	CK_INFO info;
	CK_SLOT_ID other = 0;
	static char reserved[] = "configdir=x";
	struct {
		CK_C_INITIALIZE_ARGS args;
		CK_RV rv;
	} rows[] = {
		{{NULL, NULL, NULL, NULL, 0, NULL}, CKR_OK},
		{{NULL, NULL, NULL, NULL, CKF_OS_LOCKING_OK | CKF_LIBRARY_CANT_CREATE_OS_THREADS, NULL}, CKR_OK},
		{{app_create, app_destroy, app_lock, app_unlock, 0, NULL}, CKR_OK},
		{{app_create, app_destroy, app_lock, app_unlock, CKF_OS_LOCKING_OK, NULL}, CKR_OK},
		{{app_create, NULL, app_lock, app_unlock, CKF_OS_LOCKING_OK, NULL}, CKR_ARGUMENTS_BAD},
		{{NULL, NULL, app_lock, NULL, 0, NULL}, CKR_ARGUMENTS_BAD},
		{{NULL, NULL, NULL, NULL, 0, reserved}, CKR_ARGUMENTS_BAD},
	};
	FAILS(CKR_CRYPTOKI_NOT_INITIALIZED, h->f->C_GetInfo(&info));
	FAILS(CKR_CRYPTOKI_NOT_INITIALIZED, h->f->C_Finalize(NULL));
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		FAILS(rows[i].rv, h->f->C_Initialize(&rows[i].args));
		if (rows[i].rv != CKR_OK)
			continue;
		FAILS(CKR_CRYPTOKI_ALREADY_INITIALIZED, h->f->C_Initialize(&rows[i].args));
		FAILS(CKR_ARGUMENTS_BAD, h->f->C_Finalize(&other));
		OK(h->f->C_Finalize(NULL));
	}
	setenv("NERVESKEY_PKCS11", "nonsense=1", 1);
	FAILS(CKR_GENERAL_ERROR, h->f->C_Initialize(NULL));
	host_configure(h, "");
	OK(h->f->C_Initialize(NULL));
	OK(h->f->C_Finalize(NULL));
}

/* The application's mutexes are used, each is given back unlocked, and none is left over. */
static void test_application_mutexes(void **state)
{
	struct host *h = *state;
	uint8_t digest[32] = {1}, signature[64];
	CK_ULONG len = sizeof signature;
	CK_C_INITIALIZE_ARGS args = {app_create, app_destroy, app_lock, app_unlock, 0, NULL};
	OK(h->f->C_Initialize(&args));
	assert_int_equal(mutexes, 1);
	CK_SESSION_HANDLE s = host_session(h);
	assert_int_equal(mutexes, 2);
	unsigned before = locked;
	OK(h->f->C_SignInit(s, &(CK_MECHANISM){CKM_ECDSA, NULL, 0}, host_find(h, s, CKO_PRIVATE_KEY, NULL)));
	OK(h->f->C_Sign(s, digest, sizeof digest, signature, &len));
	assert_true(locked > before);
	OK(h->f->C_Finalize(NULL)); /* with a session open */
	assert_int_equal(mutexes, 0);
}

/* The text, cut where it is too long, then blanks to the end. */
static void padded(const unsigned char *field, size_t size, const char *text)
{
	size_t len = strlen(text) < size ? strlen(text) : size;
	assert_memory_equal(field, text, len);
	for (size_t i = len; i < size; i++)
		assert_int_equal(field[i], ' ');
}
#define PADDED(field, text) padded((field), sizeof(field), (text))

static void test_descriptions(void **state)
{
	struct host *h = *state;
	struct nh_err err = NH_ERR_INIT;
	struct nh_nerveskey *key = NULL;
	struct nh_nerveskey_info facts;
	CK_INFO info;
	CK_SLOT_INFO slot;
	CK_TOKEN_INFO token;
	CK_SLOT_ID ids[2];
	CK_ULONG count = 0;
	char serial[17], description[160];
	host_rc(nh_nerveskey_open(h->spec, &key, &err), &err);
	host_rc(nh_nerveskey_info_read(key, &facts, &err), &err);
	nh_nerveskey_close(key);
	OK(h->f->C_Initialize(NULL));
	OK(h->f->C_GetInfo(&info));
	assert_int_equal(info.cryptokiVersion.major, 2);
	assert_int_equal(info.cryptokiVersion.minor, 40);
	PADDED(info.manufacturerID, "NervesKey");
	PADDED(info.libraryDescription, "NervesKey PKCS#11 Library");
	OK(h->f->C_GetSlotList(CK_TRUE, NULL, &count));
	assert_int_equal(count, 1);
	OK(h->f->C_GetSlotList(CK_TRUE, ids, &count));
	assert_int_equal(ids[0], 1);
	count = 0;
	FAILS(CKR_BUFFER_TOO_SMALL, h->f->C_GetSlotList(CK_FALSE, ids, &count));
	assert_int_equal(count, 1);
	OK(h->f->C_GetSlotInfo(1, &slot));
	snprintf(description, sizeof description, "NervesKey %s", h->spec);
	PADDED(slot.slotDescription, description);
	assert_int_equal(slot.flags, CKF_HW_SLOT | CKF_REMOVABLE_DEVICE | CKF_TOKEN_PRESENT);
	OK(h->f->C_GetTokenInfo(1, &token));
	PADDED(token.label, "1");
	PADDED(token.manufacturerID, "NervesKey");
	PADDED(token.model, "ATECC608B");
	for (size_t i = 0; i < 8; i++)
		snprintf(serial + 2 * i, 3, "%02X", facts.chip_serial[1 + i]);
	PADDED(token.serialNumber, serial);
	assert_int_equal(token.flags, CKF_RNG | CKF_WRITE_PROTECTED | CKF_TOKEN_INITIALIZED);
	assert_int_equal(token.hardwareVersion.major, 0x60);
	FAILS(CKR_SLOT_ID_INVALID, h->f->C_GetSlotInfo(2, &slot));
	FAILS(CKR_SLOT_ID_INVALID, h->f->C_GetTokenInfo(2, &token));
	FAILS(CKR_TOKEN_WRITE_PROTECTED, h->f->C_InitToken(1, NULL, 0, NULL));
	OK(h->f->C_Finalize(NULL));
}

static void test_mechanisms(void **state)
{
	struct host *h = *state;
	static const struct {
		CK_MECHANISM_TYPE type;
		CK_FLAGS flags;
		CK_ULONG bits;
	} rows[] = {
		{CKM_ECDSA, CKF_HW | CKF_SIGN | CKF_VERIFY, 256}, {CKM_ECDSA_SHA256, CKF_HW | CKF_SIGN | CKF_VERIFY, 256}, {CKM_ECDH1_DERIVE, CKF_HW | CKF_DERIVE, 256}, {CKM_SHA256, CKF_DIGEST, 0},
	};
	CK_MECHANISM_TYPE list[8];
	CK_MECHANISM_INFO info;
	CK_ULONG count = 3;
	OK(h->f->C_Initialize(NULL));
	FAILS(CKR_BUFFER_TOO_SMALL, h->f->C_GetMechanismList(1, list, &count));
	assert_int_equal(count, 4);
	OK(h->f->C_GetMechanismList(1, NULL, &count));
	OK(h->f->C_GetMechanismList(1, list, &count));
	assert_int_equal(count, NH_ARRAY_LEN(rows));
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(list[i], rows[i].type);
		OK(h->f->C_GetMechanismInfo(1, list[i], &info));
		assert_int_equal(info.flags & ~(CK_FLAGS)(CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS), rows[i].flags);
		assert_int_equal(info.ulMinKeySize, rows[i].bits);
		assert_int_equal(info.ulMaxKeySize, rows[i].bits);
	}
	FAILS(CKR_MECHANISM_INVALID, h->f->C_GetMechanismInfo(1, CKM_RSA_PKCS, &info));
	OK(h->f->C_Finalize(NULL));
}

static void test_sessions(void **state)
{
	struct host *h = *state;
	CK_SESSION_HANDLE a, b, c;
	CK_SESSION_INFO info;
	CK_TOKEN_INFO token;
	OK(h->f->C_Initialize(NULL));
	FAILS(CKR_SESSION_PARALLEL_NOT_SUPPORTED, h->f->C_OpenSession(1, 0, NULL, NULL, &a));
	FAILS(CKR_SLOT_ID_INVALID, h->f->C_OpenSession(9, CKF_SERIAL_SESSION, NULL, NULL, &a));
	FAILS(CKR_ARGUMENTS_BAD, h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, NULL));
	OK(h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &a));
	OK(h->f->C_OpenSession(1, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &b));
	assert_int_not_equal(a, b);
	OK(h->f->C_GetSessionInfo(a, &info));
	assert_int_equal(info.slotID, 1);
	assert_int_equal(info.state, CKS_RO_PUBLIC_SESSION);
	assert_int_equal(info.flags, CKF_SERIAL_SESSION);
	OK(h->f->C_GetTokenInfo(1, &token));
	assert_int_equal(token.ulSessionCount, 2);
	assert_int_equal(token.ulRwSessionCount, 1);
	/* no PIN, and whoever brings one is welcome */
	FAILS(CKR_USER_TYPE_INVALID, h->f->C_Login(b, CKU_SO, NULL, 0));
	FAILS(CKR_USER_NOT_LOGGED_IN, h->f->C_Logout(b));
	OK(h->f->C_Login(a, CKU_USER, (CK_BYTE *)"1234", 4));
	FAILS(CKR_USER_ALREADY_LOGGED_IN, h->f->C_Login(b, CKU_USER, NULL, 0));
	OK(h->f->C_GetSessionInfo(b, &info));
	assert_int_equal(info.state, CKS_RW_USER_FUNCTIONS);
	OK(h->f->C_Logout(a));
	OK(h->f->C_GetSessionInfo(a, &info));
	assert_int_equal(info.state, CKS_RO_PUBLIC_SESSION);
	OK(h->f->C_Login(a, CKU_USER, NULL, 0));
	OK(h->f->C_CloseSession(a));
	FAILS(CKR_SESSION_HANDLE_INVALID, h->f->C_GetSessionInfo(a, &info));
	FAILS(CKR_SESSION_HANDLE_INVALID, h->f->C_CloseSession(a));
	OK(h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &c));
	assert_int_not_equal(c, a); /* an old handle does not come back at once */
	FAILS(CKR_SLOT_ID_INVALID, h->f->C_CloseAllSessions(9));
	OK(h->f->C_CloseAllSessions(1));
	FAILS(CKR_SESSION_HANDLE_INVALID, h->f->C_GetSessionInfo(b, &info));
	FAILS(CKR_SESSION_HANDLE_INVALID, h->f->C_GetSessionInfo(c, &info));
	a = host_session(h);
	OK(h->f->C_GetSessionInfo(a, &info));
	assert_int_equal(info.state, CKS_RO_PUBLIC_SESSION); /* the login went with the last session */
	OK(h->f->C_Finalize(NULL));
	OK(h->f->C_Initialize(NULL));
	FAILS(CKR_SESSION_HANDLE_INVALID, h->f->C_GetSessionInfo(a, &info));
	OK(h->f->C_Finalize(NULL));
}

static void test_session_limit(void **state)
{
	struct host *h = *state;
	CK_SESSION_HANDLE s = 0;
	CK_TOKEN_INFO token;
	char text[256];
	snprintf(text, sizeof text, "cache=1h; %s id=1", h->spec); /* asks the chip once, not a thousand times */
	setenv("NERVESKEY_PKCS11", text, 1);
	OK(h->f->C_Initialize(NULL));
	OK(h->f->C_GetTokenInfo(1, &token));
	for (CK_ULONG i = 0; i < token.ulMaxSessionCount; i++)
		OK(h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &s));
	FAILS(CKR_SESSION_COUNT, h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &s));
	OK(h->f->C_CloseSession(s));
	OK(h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &s));
	OK(h->f->C_Finalize(NULL));
	host_configure(h, "");
}

/* The chip goes, comes back, and another one comes in its place. */
static void test_coming_and_going(void **state)
{
	struct host *h = *state, other = {.home = ""};
	uint8_t digest[32] = {2}, signature[64];
	CK_ULONG len = sizeof signature, count = 0;
	CK_TOKEN_INFO token;
	CK_SLOT_INFO slot;
	CK_MECHANISM ecdsa = {CKM_ECDSA, NULL, 0};
	OK(h->f->C_Initialize(NULL));
	CK_SESSION_HANDLE s = host_session(h), t = 0;
	CK_OBJECT_HANDLE key = host_find(h, s, CKO_PRIVATE_KEY, NULL);
	host_power_off(h);
	FAILS(CKR_TOKEN_NOT_PRESENT, h->f->C_GetTokenInfo(1, &token));
	FAILS(CKR_TOKEN_NOT_PRESENT, h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &t));
	OK(h->f->C_GetSlotInfo(1, &slot));
	assert_int_equal(slot.flags & CKF_TOKEN_PRESENT, 0);
	OK(h->f->C_GetSlotList(CK_TRUE, NULL, &count));
	assert_int_equal(count, 0);
	OK(h->f->C_GetSlotList(CK_FALSE, NULL, &count));
	assert_int_equal(count, 1);
	OK(h->f->C_SignInit(s, &ecdsa, key));
	FAILS(CKR_DEVICE_REMOVED, h->f->C_Sign(s, digest, sizeof digest, signature, &len));
	host_simulate(h, "chip", "608b");
	OK(h->f->C_SignInit(s, &ecdsa, key));
	OK(h->f->C_Sign(s, digest, sizeof digest, signature, &len));
	assert_int_equal(nh_p256_verify(h->public_key, nh_slice_of(digest, 32), signature), NH_OK);
	/* an unprovisioned chip at the same socket, then a provisioned one */
	host_power_off(h);
	snprintf(other.home, sizeof other.home, "%s", h->home);
	char from[96], to[96];
	snprintf(from, sizeof from, "%s/chip.json", h->home);
	snprintf(to, sizeof to, "%s/kept.json", h->home);
	assert_int_equal(rename(from, to), 0);
	host_simulate(&other, "chip", "508a");
	FAILS(CKR_TOKEN_NOT_RECOGNIZED, h->f->C_GetTokenInfo(1, &token));
	FAILS(CKR_TOKEN_NOT_RECOGNIZED, h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &t));
	OK(h->f->C_GetSlotInfo(1, &slot));
	assert_int_not_equal(slot.flags & CKF_TOKEN_PRESENT, 0);
	host_provision(&other, false);
	FAILS(CKR_DEVICE_REMOVED, h->f->C_SignInit(s, &ecdsa, key)); /* not with another one's key */
	OK(h->f->C_GetTokenInfo(1, &token));
	assert_memory_equal(token.model, "ATECC508A", 9);
	t = host_session(h);
	OK(h->f->C_SignInit(t, &ecdsa, key));
	OK(h->f->C_Sign(t, digest, sizeof digest, signature, &len));
	assert_int_equal(nh_p256_verify(other.public_key, nh_slice_of(digest, 32), signature), NH_OK);
	FAILS(CKR_DEVICE_REMOVED, h->f->C_SignInit(s, &ecdsa, key));
	OK(h->f->C_Finalize(NULL));
	nh_buf_fini(&other.device_der);
	nh_buf_fini(&other.signer_der);
	host_power_off(&other);
	assert_int_equal(rename(to, from), 0);
	host_simulate(h, "chip", "608b");
}

/* The chip changed while the module still believed in the old one: caught inside the transaction. */
static void test_swapped_unnoticed(void **state)
{
	struct host *h = *state;
	char text[256], from[96], to[96];
	uint8_t digest[32] = {3}, signature[64];
	CK_ULONG len = sizeof signature;
	snprintf(text, sizeof text, "cache=1h; %s id=1", h->spec);
	setenv("NERVESKEY_PKCS11", text, 1);
	OK(h->f->C_Initialize(NULL));
	CK_SESSION_HANDLE s = host_session(h);
	CK_OBJECT_HANDLE key = host_find(h, s, CKO_PRIVATE_KEY, NULL);
	host_power_off(h);
	snprintf(from, sizeof from, "%s/chip.json", h->home);
	snprintf(to, sizeof to, "%s/kept.json", h->home);
	assert_int_equal(rename(from, to), 0);
	host_simulate(h, "chip", "608a");
	OK(h->f->C_SignInit(s, &(CK_MECHANISM){CKM_ECDSA, NULL, 0}, key));
	FAILS(CKR_DEVICE_REMOVED, h->f->C_Sign(s, digest, sizeof digest, signature, &len));
	OK(h->f->C_Finalize(NULL));
	host_power_off(h);
	assert_int_equal(rename(to, from), 0);
	host_simulate(h, "chip", "608b");
	host_configure(h, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_function_list), cmocka_unit_test(test_initialize), cmocka_unit_test(test_application_mutexes), cmocka_unit_test(test_descriptions),
		cmocka_unit_test(test_mechanisms), cmocka_unit_test(test_sessions), cmocka_unit_test(test_session_limit), cmocka_unit_test(test_coming_and_going),
		cmocka_unit_test(test_swapped_unnoticed),
	};
	return cmocka_run_group_tests(tests, host_setup, host_teardown);
}

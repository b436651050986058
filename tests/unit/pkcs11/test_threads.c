/*
 * Many at once: threads in one module, processes on one chip, fork at quiet and at busy moments, and C_Finalize while others are inside.
 */
#include "host.h"

#include <pthread.h>

#define THREADS 8u
#define ROUNDS 12u

static CK_MECHANISM ecdsa = {CKM_ECDSA, NULL, 0};

static void sign_some(struct host *h, CK_SESSION_HANDLE s, unsigned rounds)
{
	CK_OBJECT_HANDLE key = host_find(h, s, CKO_PRIVATE_KEY, NULL);
	for (unsigned i = 0; i < rounds; i++) {
		uint8_t digest[32], signature[64];
		CK_ULONG len = sizeof signature;
		nh_rng_fill(&nh_rng_system, digest, sizeof digest);
		OK(h->f->C_SignInit(s, &ecdsa, key));
		OK(h->f->C_Sign(s, digest, sizeof digest, signature, &len));
		assert_int_equal(nh_p256_verify(h->public_key, nh_slice_of(digest, 32), signature), NH_OK);
	}
}

static void *own_session(void *arg)
{
	struct host *h = arg;
	for (unsigned i = 0; i < 3; i++) {
		CK_SESSION_HANDLE s = host_session(h);
		sign_some(h, s, ROUNDS / 3);
		OK(h->f->C_CloseSession(s));
	}
	return NULL;
}

static void run_threads(struct host *h, void *(*body)(void *))
{
	pthread_t threads[THREADS];
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, body, h), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void test_threads(void **state)
{
	struct host *h = *state;
	CK_TOKEN_INFO token;
	OK(h->f->C_Initialize(&(CK_C_INITIALIZE_ARGS){.flags = CKF_OS_LOCKING_OK}));
	run_threads(h, own_session);
	OK(h->f->C_GetTokenInfo(1, &token));
	assert_int_equal(token.ulSessionCount, 0);
	OK(h->f->C_Finalize(NULL));
}

/* One session in many hands: who comes second is told so, and nobody gets a signature of something else. */
static CK_SESSION_HANDLE shared;
static void *same_session(void *arg)
{
	struct host *h = arg;
	CK_OBJECT_HANDLE key = (1 << 4) | 1;
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint8_t digest[32] = {9}, signature[64];
		CK_ULONG len = sizeof signature;
		CK_RV rv = h->f->C_SignInit(shared, &ecdsa, key);
		assert_true(rv == CKR_OK || rv == CKR_OPERATION_ACTIVE);
		rv = h->f->C_Sign(shared, digest, sizeof digest, signature, &len);
		assert_true(rv == CKR_OK || rv == CKR_OPERATION_NOT_INITIALIZED);
		if (rv == CKR_OK)
			assert_int_equal(nh_p256_verify(h->public_key, nh_slice_of(digest, 32), signature), NH_OK);
	}
	return NULL;
}

static void test_shared_session(void **state)
{
	struct host *h = *state;
	OK(h->f->C_Initialize(NULL));
	shared = host_session(h);
	run_threads(h, same_session);
	OK(h->f->C_Finalize(NULL));
}

/* Sessions closed and the module ended and begun under the feet of those who use it: every call has an answer. */
static void *restless(void *arg)
{
	struct host *h = arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		CK_SESSION_HANDLE s = 0;
		uint8_t digest[32] = {1}, signature[64];
		CK_ULONG len = sizeof signature;
		if (h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &s) == CKR_OK && h->f->C_SignInit(s, &ecdsa, (1 << 4) | 1) == CKR_OK &&
		    h->f->C_Sign(s, digest, sizeof digest, signature, &len) == CKR_OK)
			assert_int_equal(nh_p256_verify(h->public_key, nh_slice_of(digest, 32), signature), NH_OK);
		CK_RV rv = i % 3 == 0 ? h->f->C_CloseAllSessions(1) : i % 3 == 1 ? h->f->C_Finalize(NULL) : h->f->C_Initialize(NULL);
		assert_true(rv == CKR_OK || rv == CKR_CRYPTOKI_NOT_INITIALIZED || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED);
	}
	return NULL;
}

static void test_restless(void **state)
{
	struct host *h = *state;
	OK(h->f->C_Initialize(NULL));
	run_threads(h, restless);
	CK_RV rv = h->f->C_Finalize(NULL);
	assert_true(rv == CKR_OK || rv == CKR_CRYPTOKI_NOT_INITIALIZED);
}

/* What a child does is judged by its exit status: cmocka's failures are the parent's. */
#define CHILD_WANTS(condition)          \
	do {                            \
		if (!(condition))       \
			_exit(__LINE__ % 200 + 1); \
	} while (0)

static void child_signs(struct host *h, CK_SESSION_HANDLE s)
{
	uint8_t digest[32] = {5}, signature[64];
	CK_ULONG len = sizeof signature;
	CHILD_WANTS(h->f->C_SignInit(s, &ecdsa, (1 << 4) | 1) == CKR_OK);
	CHILD_WANTS(h->f->C_Sign(s, digest, sizeof digest, signature, &len) == CKR_OK);
	CHILD_WANTS(nh_p256_verify(h->public_key, nh_slice_of(digest, 32), signature) == NH_OK);
}

static void wait_for(pid_t child)
{
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	if (status != 0)
		fail_msg("the child ended with %#x", status);
}

/* A child goes on where the parent stood, or begins anew; the parent does not notice. All at the same time, on one chip. */
static void test_fork(void **state)
{
	struct host *h = *state;
	pid_t children[4];
	OK(h->f->C_Initialize(NULL));
	CK_SESSION_HANDLE s = host_session(h);
	for (unsigned i = 0; i < 4; i++) {
		children[i] = fork();
		if (children[i] != 0)
			continue;
		if (i % 2 == 0) {
			child_signs(h, s);
			CHILD_WANTS(h->f->C_Finalize(NULL) == CKR_OK);
		} else {
			CK_SESSION_HANDLE own = 0;
			CHILD_WANTS(h->f->C_Initialize(NULL) == CKR_OK);
			CHILD_WANTS(h->f->C_Initialize(NULL) == CKR_CRYPTOKI_ALREADY_INITIALIZED);
			CHILD_WANTS(h->f->C_SignInit(s, &ecdsa, (1 << 4) | 1) == CKR_SESSION_HANDLE_INVALID);
			CHILD_WANTS(h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &own) == CKR_OK);
			child_signs(h, own);
			CHILD_WANTS(h->f->C_Finalize(NULL) == CKR_OK);
		}
		_exit(0);
	}
	sign_some(h, s, 4);
	for (unsigned i = 0; i < 4; i++)
		wait_for(children[i]);
	sign_some(h, s, 1);
	OK(h->f->C_Finalize(NULL));
}

/* Forks while other threads are inside: the child is either whole or as if never initialized, and can begin anew in both cases. */
static bool done;
static void *busy(void *arg)
{
	struct host *h = arg;
	CK_SESSION_HANDLE s = host_session(h);
	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE))
		sign_some(h, s, 1);
	OK(h->f->C_CloseSession(s));
	return NULL;
}

static void test_fork_busy(void **state)
{
	struct host *h = *state;
	pthread_t thread;
	done = false;
	OK(h->f->C_Initialize(NULL));
	assert_int_equal(pthread_create(&thread, NULL, busy, h), 0);
	for (unsigned i = 0; i < 8; i++) {
		pid_t child = fork();
		if (child == 0) {
			CK_SESSION_HANDLE own = 0;
			CK_INFO info;
			CK_RV rv = h->f->C_GetInfo(&info);
			CHILD_WANTS(rv == CKR_OK || rv == CKR_CRYPTOKI_NOT_INITIALIZED);
			CHILD_WANTS(h->f->C_Initialize(NULL) == CKR_OK);
			CHILD_WANTS(h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &own) == CKR_OK);
			child_signs(h, own);
			_exit(0);
		}
		wait_for(child);
	}
	__atomic_store_n(&done, true, __ATOMIC_RELEASE);
	assert_int_equal(pthread_join(thread, NULL), 0);
	OK(h->f->C_Finalize(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads), cmocka_unit_test(test_shared_session), cmocka_unit_test(test_restless), cmocka_unit_test(test_fork), cmocka_unit_test(test_fork_busy),
	};
	return cmocka_run_group_tests(tests, host_setup, host_teardown);
}

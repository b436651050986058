/*
 * A program that loads the PKCS#11 module, with a chip in the simulator's process behind it: provisioned by libnerveskey, at a socket in a folder of its own.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

#include "base/clock.h"
#include "nerveskey/nerveskey.h"

struct host {
	char home[64], spec[128];
	pid_t simulator;
	void *library;
	CK_FUNCTION_LIST *f;
	struct nh_p256_key signer_key;
	struct nh_buf signer_der, device_der;
	uint8_t public_key[NH_P256_PUBLIC_LEN];
};

#define OK(call) assert_int_equal((call), CKR_OK)
#define FAILS(rv, call) assert_int_equal((call), (rv))

static inline void host_rc(nh_rc rc, const struct nh_err *err)
{
	if (rc != NH_OK)
		fail_msg("%s: %s", nh_rc_name(rc), err->msg);
}

/* Returns when the bus listens. */
static inline void host_simulate(struct host *h, const char *name, const char *model)
{
	char state[96], socket[96], ready[256];
	int out[2];
	snprintf(state, sizeof state, "%s/%s.json", h->home, name);
	snprintf(socket, sizeof socket, "%s/%s.sock", h->home, name);
	assert_int_equal(pipe(out), 0);
	h->simulator = fork();
	if (h->simulator == 0) {
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		close(out[1]);
		execl(getenv("NH_SIMULATOR"), "nerveskey-sim", "run", "--socket", socket, "--create", "--model", model, state, (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	FILE *stream = fdopen(out[0], "r");
	assert_non_null(fgets(ready, sizeof ready, stream));
	assert_memory_equal(ready, "ready ", 6);
	fclose(stream);
	snprintf(h->spec, sizeof h->spec, "sim:%s", socket);
}

static inline void host_power_off(struct host *h)
{
	int status = 0;
	kill(h->simulator, SIGTERM);
	assert_int_equal(waitpid(h->simulator, &status, 0), h->simulator);
	assert_int_equal(status, 0);
}

/* The next commands go wrong: nerveskey-sim(1), "FAULTS". */
static inline void host_fault(struct host *h, const char *spec)
{
	char command[256];
	snprintf(command, sizeof command, "\"$NH_SIMULATOR\" fault --socket %s %s >%s/fault.log", h->spec + 4, spec, h->home);
	assert_int_equal(system(command), 0);
}

static inline void host_order(struct host *h, struct nh_nerveskey_order *order)
{
	*order = (struct nh_nerveskey_order){.manufacturer_serial = NH_LIT("N1234"), .signer_der = nh_buf_slice(&h->signer_der), .signer_key = &h->signer_key, .clock = &nh_clock_system, .rng = &nh_rng_system};
}

/* The chip becomes a NervesKey; with another signer's certificates beside its own where aux. */
static inline void host_provision(struct host *h, bool aux)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_nerveskey *key = NULL;
	struct nh_nerveskey_order order;
	struct nh_nerveskey_receipt receipt = {0};
	nh_buf_clear(&h->signer_der);
	nh_buf_clear(&h->device_der);
	nh_p256_generate(&nh_rng_system, &h->signer_key);
	host_rc(nh_nerveskey_signer_create(&h->signer_key, 1, &nh_clock_system, &nh_rng_system, &h->signer_der, &err), &err);
	host_order(h, &order);
	host_rc(nh_nerveskey_open(h->spec, &key, &err), &err);
	host_rc(nh_nerveskey_provision(key, &order, NULL, NULL, &receipt, &err), &err);
	nh_buf_put_slice(&h->device_der, nh_buf_slice(&receipt.device_der));
	memcpy(h->public_key, receipt.info.public_key, sizeof h->public_key);
	nh_nerveskey_receipt_fini(&receipt);
	if (aux)
		host_rc(nh_nerveskey_provision_aux(key, &order, &err), &err);
	nh_nerveskey_close(key);
}

static inline void host_begin(struct host *h)
{
	*h = (struct host){.home = "/tmp/nhtest-pkcs11-XXXXXX"};
	assert_non_null(mkdtemp(h->home));
	unsetenv("NERVESKEY_PKCS11");
	h->library = dlopen(getenv("NH_PKCS11_MODULE"), RTLD_NOW | RTLD_LOCAL);
	if (!h->library)
		fail_msg("%s", dlerror());
	CK_C_GetFunctionList list;
	*(void **)&list = dlsym(h->library, "C_GetFunctionList");
	assert_non_null(list);
	OK(list(&h->f));
}

/* What most tests want: one chip, provisioned, in slot 1 with the label 1. Settings may follow: "pair=aux". */
static inline void host_configure(struct host *h, const char *settings)
{
	char text[256];
	snprintf(text, sizeof text, "cache=0s; %s id=1 %s", h->spec, settings);
	setenv("NERVESKEY_PKCS11", text, 1);
}

static inline int host_setup(void **state)
{
	struct host *h = calloc(1, sizeof *h);
	host_begin(h);
	host_simulate(h, "chip", "608b");
	host_provision(h, true);
	host_configure(h, "");
	*state = h;
	return 0;
}

static inline int host_teardown(void **state)
{
	char command[96];
	struct host *h = *state;
	host_power_off(h);
	assert_int_equal(dlclose(h->library), 0);
	/* nothing of it is left that a fork would call */
	assert_null(dlopen(getenv("NH_PKCS11_MODULE"), RTLD_NOW | RTLD_NOLOAD));
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	snprintf(command, sizeof command, "rm -r %s", h->home);
	assert_int_equal(system(command), 0);
	nh_buf_fini(&h->signer_der);
	nh_buf_fini(&h->device_der);
	free(h);
	return 0;
}

static inline CK_SESSION_HANDLE host_session(struct host *h)
{
	CK_SESSION_HANDLE s = 0;
	OK(h->f->C_OpenSession(1, CKF_SERIAL_SESSION, NULL, NULL, &s));
	return s;
}

/* The only object of that class and, where id is not NULL, that CKA_ID. */
static inline CK_OBJECT_HANDLE host_find(struct host *h, CK_SESSION_HANDLE s, CK_OBJECT_CLASS class, const char *id)
{
	CK_OBJECT_HANDLE found[8] = {0};
	CK_ULONG count = 0;
	CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_ID, (void *)(uintptr_t)id, id ? strlen(id) : 0}};
	OK(h->f->C_FindObjectsInit(s, template, id ? 2 : 1));
	OK(h->f->C_FindObjects(s, found, 8, &count));
	OK(h->f->C_FindObjectsFinal(s));
	assert_int_equal(count, 1);
	return found[0];
}

static inline CK_ULONG host_get(struct host *h, CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_TYPE type, void *out, CK_ULONG size)
{
	CK_ATTRIBUTE a = {type, out, size};
	OK(h->f->C_GetAttributeValue(s, o, &a, 1));
	return a.ulValueLen;
}

/*
 * Begin and end of the module in a process, and what fork does to it.
 *
 * The gate is a mutex of the system's that is held for moments only. fork waits for it, so a child finds this file's state whole. Where another thread was inside a call at that moment, the child may find
 * anything half done; it then leaves everything behind and is as if C_Initialize had never been called. Otherwise it goes on where the parent stood. A child that calls C_Initialize begins anew in any case.
 */
#include "module.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct module *current;   /* NULL: not initialized */
static bool inherited;           /* current came through fork */
static struct module *abandoned; /* what a child left behind: kept in reach, so that nobody takes it for a leak */

void module_gate_close(void) { pthread_mutex_lock(&gate); }
void module_gate_open(void) { pthread_mutex_unlock(&gate); }

static void in_child(void)
{
	if (current && current->refs > 1) {
		abandoned = current;
		current = NULL;
	}
	inherited = current != NULL;
	module_gate_open();
}

static void watch_fork(void) { pthread_atfork(module_gate_close, module_gate_open, in_child); }

static void module_free(struct module *m)
{
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		if (m->sessions[i])
			session_free(m->sessions[i]);
	for (size_t i = 0; i < m->slot_count; i++) {
		secret_drop(&m->slots[i], 0, 0);
		token_forget(&m->slots[i]);
		lock_fini(&m->slots[i].lock);
	}
	free(m);
}

/* Where the caller holds the last reference nobody else can reach the module, so the gate is no longer needed. */
static void unref(struct module *m)
{
	module_gate_close();
	bool last = --m->refs == 0;
	module_gate_open();
	if (last)
		module_free(m);
}

static CK_RV choose_locking(const CK_C_INITIALIZE_ARGS *args, struct locking *out)
{
	*out = locking_system;
	if (!args)
		return CKR_OK;
	int given = !!args->CreateMutex + !!args->DestroyMutex + !!args->LockMutex + !!args->UnlockMutex;
	if (args->pReserved || (given != 0 && given != 4))
		return CKR_ARGUMENTS_BAD;
	if (given == 4 && !(args->flags & CKF_OS_LOCKING_OK))
		*out = (struct locking){args->CreateMutex, args->DestroyMutex, args->LockMutex, args->UnlockMutex};
	return CKR_OK;
}

static CK_RV module_new(const struct locking *locking, struct module **out)
{
	struct nh_err err = NH_ERR_INIT;
	struct config *config = calloc(1, sizeof *config);
	struct module *m = calloc(1, sizeof *m);
	CK_RV rv = config && m ? CKR_OK : CKR_HOST_MEMORY;
	if (rv == CKR_OK && config_load(config, &err) != NH_OK) {
		/* the application can only say "general error" */
		debug_complain("%s", err.msg);
		rv = CKR_GENERAL_ERROR;
	}
	for (size_t i = 0; rv == CKR_OK && i < config->count; i++) {
		m->slots[i].set = config->slots[i];
		m->slots[i].cache_ms = config->cache_ms;
		m->locking = *locking;
		rv = lock_init(&m->slots[i].lock, &m->locking);
		m->slot_count += rv == CKR_OK;
	}
	free(config);
	if (rv != CKR_OK) {
		if (m)
			module_free(m);
		return rv;
	}
	m->refs = 1;
	m->next_secret = 0x10000;
	*out = m;
	return CKR_OK;
}

CK_RV module_initialize(void *args)
{
	struct locking locking;
	struct module *fresh = NULL, *old = NULL;
	pthread_once(&once, watch_fork);
	debug_load();
	CK_RV rv = choose_locking(args, &locking);
	if (rv == CKR_OK)
		rv = module_new(&locking, &fresh);
	if (rv != CKR_OK)
		return rv;
	module_gate_close();
	if (current && !inherited) {
		old = fresh;
		rv = CKR_CRYPTOKI_ALREADY_INITIALIZED;
	} else {
		old = current;
		current = fresh;
		inherited = false;
	}
	module_gate_open();
	if (old)
		unref(old);
	return rv;
}

CK_RV module_finalize(void *reserved)
{
	if (reserved)
		return CKR_ARGUMENTS_BAD;
	module_gate_close();
	struct module *m = current;
	current = NULL;
	module_gate_open();
	if (!m)
		return CKR_CRYPTOKI_NOT_INITIALIZED;
	unref(m);
	return CKR_OK;
}

CK_RV module_enter(struct module **out)
{
	module_gate_close();
	*out = current;
	if (current)
		current->refs++;
	module_gate_open();
	return *out ? CKR_OK : CKR_CRYPTOKI_NOT_INITIALIZED;
}

void module_leave(struct module *m) { unref(m); }

CK_RV slot_enter(struct module *m, CK_SLOT_ID id, struct slot **out)
{
	for (size_t i = 0; i < m->slot_count; i++)
		if (m->slots[i].set.id == id) {
			*out = &m->slots[i];
			return lock_take(&m->slots[i].lock);
		}
	return CKR_SLOT_ID_INVALID;
}

void slot_leave(struct slot *slot) { lock_give(&slot->lock); }

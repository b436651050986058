/*
 * Mutexes: the system's, or the application's where it brought its own to C_Initialize.
 */
#include "module.h"

#include <pthread.h>
#include <stdlib.h>

static CK_RV system_create(void **out)
{
	pthread_mutex_t *mutex = malloc(sizeof *mutex);
	if (!mutex)
		return CKR_HOST_MEMORY;
	pthread_mutex_init(mutex, NULL);
	*out = mutex;
	return CKR_OK;
}

static CK_RV system_destroy(void *mutex)
{
	pthread_mutex_destroy(mutex);
	free(mutex);
	return CKR_OK;
}

static CK_RV system_lock(void *mutex) { return pthread_mutex_lock(mutex) == 0 ? CKR_OK : CKR_GENERAL_ERROR; }
static CK_RV system_unlock(void *mutex) { return pthread_mutex_unlock(mutex) == 0 ? CKR_OK : CKR_GENERAL_ERROR; }

const struct locking locking_system = {system_create, system_destroy, system_lock, system_unlock};

CK_RV lock_init(struct lock *l, const struct locking *how)
{
	*l = (struct lock){0};
	CK_RV rv = how->create(&l->mutex);
	if (rv == CKR_OK)
		l->how = how;
	return rv;
}

void lock_fini(struct lock *l)
{
	if (l->how)
		l->how->destroy(l->mutex);
	*l = (struct lock){0};
}

CK_RV lock_take(struct lock *l) { return l->how->lock(l->mutex) == CKR_OK ? CKR_OK : CKR_GENERAL_ERROR; }
void lock_give(struct lock *l) { l->how->unlock(l->mutex); }

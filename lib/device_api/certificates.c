/*
 * Known certificates in memory: a set-associative cache of fingerprints. It only ever says "this certificate belongs to that device"; a miss
 * costs a look at the database. Bounded: a full set gives up one entry in turn. Read on loops during handshakes, hence the reader lock.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "device_api_int.h"

void certificates_init(struct certificates *c, size_t capacity)
{
	*c = (struct certificates){.sets = capacity / CERTIFICATE_WAYS + 1};
	c->entries = nh_xcalloc(c->sets * CERTIFICATE_WAYS, sizeof *c->entries);
	pthread_rwlock_init(&c->lock, NULL);
}

void certificates_fini(struct certificates *c)
{
	pthread_rwlock_destroy(&c->lock);
	free(c->entries);
}

/* Fingerprints are SHA-256: their first bytes are as good as any hash. */
static struct certificate *set_of(struct certificates *c, const uint8_t *fingerprint)
{
	uint64_t hash = 0;
	for (size_t i = 0; i < 8; i++)
		hash = hash << 8 | fingerprint[i];
	return c->entries + hash % c->sets * CERTIFICATE_WAYS;
}

static struct certificate *find(struct certificate *set, const uint8_t *fingerprint)
{
	for (size_t i = 0; i < CERTIFICATE_WAYS; i++)
		if (set[i].device_id && memcmp(set[i].fingerprint, fingerprint, NH_TLS_FINGERPRINT_LEN) == 0)
			return &set[i];
	return NULL;
}

int64_t certificates_find(struct certificates *c, const uint8_t *fingerprint)
{
	pthread_rwlock_rdlock(&c->lock);
	const struct certificate *entry = find(set_of(c, fingerprint), fingerprint);
	int64_t device_id = entry ? entry->device_id : 0;
	pthread_rwlock_unlock(&c->lock);
	return device_id;
}

void certificates_put(struct certificates *c, const uint8_t *fingerprint, int64_t device_id)
{
	pthread_rwlock_wrlock(&c->lock);
	struct certificate *set = set_of(c, fingerprint), *entry = find(set, fingerprint);
	for (size_t i = 0; !entry && i < CERTIFICATE_WAYS; i++)
		if (set[i].device_id == 0) {
			entry = &set[i];
			c->count++;
		}
	if (!entry)
		entry = &set[c->victim++ % CERTIFICATE_WAYS];
	memcpy(entry->fingerprint, fingerprint, NH_TLS_FINGERPRINT_LEN);
	entry->device_id = device_id;
	pthread_rwlock_unlock(&c->lock);
}

void certificates_forget(struct certificates *c, const uint8_t *fingerprint)
{
	pthread_rwlock_wrlock(&c->lock);
	struct certificate *entry = find(set_of(c, fingerprint), fingerprint);
	if (entry) {
		*entry = (struct certificate){0};
		c->count--;
	}
	pthread_rwlock_unlock(&c->lock);
}

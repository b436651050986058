/*
 * Known certificates in memory: a set-associative cache of fingerprints. It only ever says "this certificate belongs to that device"; a miss
 * costs a look at the database. Bounded: a full set gives up one entry in turn. Read on loops during handshakes, hence the reader lock.
 *
 * Fingerprints are spread evenly, so entries that lay where their hash says would touch every page of the table for a few thousand devices: the sets hold
 * small numbers, and the entries stand one behind the other in order of arrival.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "device_api_int.h"

#define FREE 0u /* of a place in a set; else the entry's number + 1 */

void certificates_init(struct certificates *c, size_t capacity)
{
	*c = (struct certificates){.sets = capacity / CERTIFICATE_WAYS + 1};
	NH_ASSERT(c->sets <= UINT32_MAX / CERTIFICATE_WAYS - 1);
	c->places = nh_xcalloc(c->sets * CERTIFICATE_WAYS, sizeof *c->places);
	c->entries = nh_xcalloc(c->sets * CERTIFICATE_WAYS, sizeof *c->entries);
	pthread_rwlock_init(&c->lock, NULL);
}

void certificates_fini(struct certificates *c)
{
	pthread_rwlock_destroy(&c->lock);
	free(c->places);
	free(c->entries);
}

/* Fingerprints are SHA-256: their first bytes are as good as any hash. */
static uint32_t *set_of(struct certificates *c, const uint8_t *fingerprint)
{
	uint64_t hash = 0;
	for (size_t i = 0; i < 8; i++)
		hash = hash << 8 | fingerprint[i];
	return c->places + hash % c->sets * CERTIFICATE_WAYS;
}

static struct certificate *entry_at(struct certificates *c, const uint32_t *place) { return &c->entries[*place - 1]; }

static uint32_t *find(struct certificates *c, const uint8_t *fingerprint)
{
	uint32_t *set = set_of(c, fingerprint);
	for (size_t i = 0; i < CERTIFICATE_WAYS; i++)
		if (set[i] != FREE && memcmp(entry_at(c, &set[i])->fingerprint, fingerprint, NH_TLS_FINGERPRINT_LEN) == 0)
			return &set[i];
	return NULL;
}

int64_t certificates_find(struct certificates *c, const uint8_t *fingerprint)
{
	pthread_rwlock_rdlock(&c->lock);
	const uint32_t *place = find(c, fingerprint);
	int64_t device_id = place ? entry_at(c, place)->device_id : 0;
	pthread_rwlock_unlock(&c->lock);
	return device_id;
}

/* One that was forgotten, or the next that was never used: there are as many entries as places. */
static uint32_t take_entry(struct certificates *c)
{
	uint32_t number = c->forgotten;
	c->count++;
	if (number == FREE)
		return ++c->used;
	c->forgotten = (uint32_t)c->entries[number - 1].device_id;
	return number;
}

void certificates_put(struct certificates *c, const uint8_t *fingerprint, int64_t device_id)
{
	pthread_rwlock_wrlock(&c->lock);
	uint32_t *set = set_of(c, fingerprint), *place = find(c, fingerprint);
	for (size_t i = 0; !place && i < CERTIFICATE_WAYS; i++)
		if (set[i] == FREE) {
			set[i] = take_entry(c);
			place = &set[i];
		}
	if (!place)
		place = &set[c->victim++ % CERTIFICATE_WAYS];
	struct certificate *entry = entry_at(c, place);
	memcpy(entry->fingerprint, fingerprint, NH_TLS_FINGERPRINT_LEN);
	entry->device_id = device_id;
	pthread_rwlock_unlock(&c->lock);
}

void certificates_forget(struct certificates *c, const uint8_t *fingerprint)
{
	pthread_rwlock_wrlock(&c->lock);
	uint32_t *place = find(c, fingerprint);
	if (place) {
		entry_at(c, place)->device_id = c->forgotten;
		c->forgotten = *place;
		*place = FREE;
		c->count--;
	}
	pthread_rwlock_unlock(&c->lock);
}

void certificates_clear(struct certificates *c)
{
	pthread_rwlock_wrlock(&c->lock);
	memset(c->places, 0, c->sets * CERTIFICATE_WAYS * sizeof *c->places);
	c->used = c->forgotten = c->victim = 0;
	c->count = 0;
	pthread_rwlock_unlock(&c->lock);
}

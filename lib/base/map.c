/*
 * Hash map with open addressing and linear probing, keyed by SipHash-2-4 with a random key per map. Deletion shifts the followers back, so there
 * are no tombstones and a lookup's cost depends on the load only (at most 3/4).
 */
#include "base/map.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/rng.h"

struct entry {
	uint8_t *key; /* owned */
	size_t key_len;
	uint64_t hash;
	void *value; /* NULL = free place */
};

struct nh_map {
	struct entry *places;
	size_t size, count; /* size: power of two */
	uint64_t k0, k1;
};

#define FIRST_SIZE 16

static uint64_t rotl(uint64_t x, unsigned b) { return x << b | x >> (64 - b); }

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

static uint64_t siphash(const struct nh_map *m, nh_slice s)
{
	uint64_t v[4] = {m->k0 ^ UINT64_C(0x736f6d6570736575), m->k1 ^ UINT64_C(0x646f72616e646f6d), m->k0 ^ UINT64_C(0x6c7967656e657261),
			 m->k1 ^ UINT64_C(0x7465646279746573)};
	for (size_t i = 0; i <= s.len; i += 8) {
		uint64_t word = 0;
		size_t n = s.len - i < 8 ? s.len - i : 8;
		for (size_t k = 0; k < n; k++)
			word |= (uint64_t)s.ptr[i + k] << (8 * k);
		if (n < 8)
			word |= (uint64_t)(s.len & 0xFF) << 56;
		v[3] ^= word;
		sip_round(v);
		sip_round(v);
		v[0] ^= word;
	}
	v[2] ^= 0xFF;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct nh_map *nh_map_new(void)
{
	struct nh_map *m = nh_xcalloc(1, sizeof *m);
	m->size = FIRST_SIZE;
	m->places = nh_xcalloc(m->size, sizeof *m->places);
	nh_rng_fill(&nh_rng_system, &m->k0, sizeof m->k0);
	nh_rng_fill(&nh_rng_system, &m->k1, sizeof m->k1);
	return m;
}

void nh_map_free(struct nh_map *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->size; i++)
		free(m->places[i].key);
	free(m->places);
	free(m);
}

/* The key's place, or the free place where it would go. */
static struct entry *find(const struct nh_map *m, nh_slice key, uint64_t hash)
{
	size_t i = (size_t)hash & (m->size - 1);
	while (m->places[i].value) {
		const struct entry *e = &m->places[i];
		if (e->hash == hash && nh_slice_eq(nh_slice_of(e->key, e->key_len), key))
			break;
		i = (i + 1) & (m->size - 1);
	}
	return &m->places[i];
}

static void grow(struct nh_map *m)
{
	struct entry *old = m->places;
	size_t old_size = m->size;
	m->size *= 2;
	m->places = nh_xcalloc(m->size, sizeof *m->places);
	for (size_t i = 0; i < old_size; i++)
		if (old[i].value)
			*find(m, nh_slice_of(old[i].key, old[i].key_len), old[i].hash) = old[i];
	free(old);
}

void *nh_map_get(const struct nh_map *m, nh_slice key) { return find(m, key, siphash(m, key))->value; }

void *nh_map_put(struct nh_map *m, nh_slice key, void *value)
{
	NH_ASSERT(value != NULL);
	uint64_t hash = siphash(m, key);
	struct entry *e = find(m, key, hash);
	void *old = e->value;
	if (!old) {
		if ((m->count + 1) * 4 > m->size * 3) {
			grow(m);
			e = find(m, key, hash);
		}
		*e = (struct entry){.key = (uint8_t *)nh_xstrdup(key), .key_len = key.len, .hash = hash};
		m->count++;
	}
	e->value = value;
	return old;
}

void *nh_map_del(struct nh_map *m, nh_slice key)
{
	struct entry *e = find(m, key, siphash(m, key));
	void *old = e->value;
	if (!old)
		return NULL;
	free(e->key);
	m->count--;
	/* Move each follower back whose home is not between the gap and itself. */
	size_t mask = m->size - 1, gap = (size_t)(e - m->places);
	for (size_t i = (gap + 1) & mask; m->places[i].value; i = (i + 1) & mask) {
		size_t home = (size_t)m->places[i].hash & mask;
		if (((i - home) & mask) >= ((i - gap) & mask)) {
			m->places[gap] = m->places[i];
			gap = i;
		}
	}
	m->places[gap] = (struct entry){0};
	return old;
}

size_t nh_map_count(const struct nh_map *m) { return m->count; }

bool nh_map_next(const struct nh_map *m, size_t *it, nh_slice *key, void **value)
{
	while (*it < m->size) {
		const struct entry *e = &m->places[(*it)++];
		if (!e->value)
			continue;
		*key = nh_slice_of(e->key, e->key_len);
		*value = e->value;
		return true;
	}
	return false;
}

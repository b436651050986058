/*
 * Random bytes: the kernel's, or a seeded xoshiro256** for simulations. The seeded one is never for keys.
 */
#include "base/rng.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"

static void system_fill(void *ctx, void *out, size_t len)
{
	uint8_t *p = out;
	while (len) {
		ssize_t n = getrandom(p, len, 0);
		/* Without random bytes nothing here may go on; the kernel only ever interrupts. */
		NH_ASSERT(n > 0 || errno == EINTR);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

const struct nh_rng nh_rng_system = {.fill = system_fill};

uint64_t nh_rng_below(const struct nh_rng *r, uint64_t bound)
{
	NH_ASSERT(bound > 0);
	/* Values under the remainder would favour small results: draw again. */
	uint64_t reject = (0 - bound) % bound, v = 0;
	do {
		nh_rng_fill(r, &v, sizeof v);
	} while (v < reject);
	return v % bound;
}

static uint64_t rotl(uint64_t x, unsigned k) { return x << k | x >> (64 - k); }

static uint64_t seeded_next(struct nh_rng_seeded *s)
{
	uint64_t *st = s->state, out = rotl(st[1] * 5, 7) * 9, t = st[1] << 17;
	st[2] ^= st[0];
	st[3] ^= st[1];
	st[1] ^= st[2];
	st[0] ^= st[3];
	st[2] ^= t;
	st[3] = rotl(st[3], 45);
	return out;
}

static void seeded_fill(void *ctx, void *out, size_t len)
{
	uint8_t *p = out;
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = seeded_next(ctx);
		memcpy(p + i, &v, len - i < 8 ? len - i : 8);
	}
}

struct nh_rng nh_rng_seeded_init(struct nh_rng_seeded *s, uint64_t seed)
{
	/* splitmix64 spreads the seed over the state, which must not be all zero. */
	for (size_t i = 0; i < 4; i++) {
		uint64_t z = (seed += UINT64_C(0x9E3779B97F4A7C15));
		z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
		z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
		s->state[i] = z ^ z >> 31;
	}
	return (struct nh_rng){.fill = seeded_fill, .ctx = s};
}

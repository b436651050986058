/*
 * Source of random bytes as a value that is passed, so that rules and simulations can be seeded. thread: as the implementation says;
 * nh_rng_system (getrandom) any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct nh_rng {
	void (*fill)(void *ctx, void *out, size_t len);
	void *ctx;
};

extern const struct nh_rng nh_rng_system;
/* Fills len bytes; never fails (the system's source aborts where the kernel has none). */
static inline void nh_rng_fill(const struct nh_rng *r, void *out, size_t len) { r->fill(r->ctx, out, len); }
uint64_t nh_rng_below(const struct nh_rng *r, uint64_t bound); /* uniform in [0, bound); bound > 0 */

/* Deterministic generator for simulations and tests; never for keys. Caller owns the state; thread: one at a time. */
struct nh_rng_seeded {
	uint64_t state[4];
};
struct nh_rng nh_rng_seeded_init(struct nh_rng_seeded *s, uint64_t seed); /* borrows s */

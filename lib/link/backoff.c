/*
 * Delays between attempts, drawn so that a fleet that lost its server at one moment does not come back at one moment. The list starts anew only after
 * a connection that lasted: a server that takes joins and falls over at once, or two machines with one identity, are tried ever more rarely.
 * source: reference/device-protocol "4", "14.5"; RFC 9110, 10.2.3
 */
#include "link_int.h"

#define RETRY_AFTER_MAX_MS ((uint64_t)15 * 60 * 1000) /* a server may ask for rest, not for retirement */

static const uint32_t default_delays_ms[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000};

/* Evenly from a range around the delay: as wide as the delay itself unless configured otherwise. */
uint64_t link_jitter(struct nh_link *l, uint64_t base_ms)
{
	uint64_t percent = l->config.backoff.jitter_percent ? l->config.backoff.jitter_percent : 100;
	uint64_t span = base_ms * (percent < 200 ? percent : 200) / 100;
	return base_ms - span / 2 + (span ? nh_rng_below(&l->rng, span + 1) : 0);
}

uint64_t link_backoff_next(struct nh_link *l, uint64_t retry_after_s)
{
	const uint32_t *delays = l->config.backoff.delays_ms ? l->config.backoff.delays_ms : default_delays_ms;
	size_t count = l->config.backoff.delays_ms ? l->config.backoff.count : NH_ARRAY_LEN(default_delays_ms);
	size_t at = l->attempt < count ? l->attempt : count - 1;
	l->attempt++;
	uint64_t delay = link_jitter(l, delays[at]);
	if (retry_after_s == 0)
		return delay;
	/* Not earlier than asked, and not all at the moment that all were told. */
	uint64_t after = retry_after_s < RETRY_AFTER_MAX_MS / 1000 ? retry_after_s * 1000 : RETRY_AFTER_MAX_MS;
	after += nh_rng_below(&l->rng, after / 2 + 1);
	return after > delay ? after : delay;
}

void link_backoff_reset(struct nh_link *l) { l->attempt = 0; }

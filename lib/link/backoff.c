/* Delays between attempts, with jitter so that a fleet does not come back as one. source: reference/device-protocol "14.5" */
#include "link_int.h"

static const uint32_t default_delays_ms[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000};

uint64_t link_jitter(struct nh_link *l, uint64_t base_ms)
{
	uint32_t percent = l->config.backoff.jitter_percent ? l->config.backoff.jitter_percent : 50;
	uint64_t span = base_ms * percent / 100;
	return base_ms + (span ? nh_rng_below(&l->rng, span + 1) : 0);
}

uint64_t link_backoff_next(struct nh_link *l)
{
	const uint32_t *delays = l->config.backoff.delays_ms ? l->config.backoff.delays_ms : default_delays_ms;
	size_t count = l->config.backoff.delays_ms ? l->config.backoff.count : NH_ARRAY_LEN(default_delays_ms);
	size_t at = l->attempt < count ? l->attempt : count - 1;
	l->attempt++;
	return link_jitter(l, delays[at]);
}

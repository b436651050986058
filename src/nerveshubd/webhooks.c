/*
 * Webhooks: the sender, with the settings that it needs.
 */
#include "hubd.h"

static void carry_out(void *h, const struct nh_effects *effects) { hubd_carry_out(h, effects); }

nh_rc webhooks_start(struct hubd *h, struct nh_err *err)
{
	const struct settings *s = h->settings;
	struct nh_webhooks_config config = {.db = h->db, .hub = &h->hub, .clock = &nh_clock_system, .rng = &nh_rng_system, .ca_file = s->webhook_ca_file, .timeout_ms = s->webhook_timeout_ms,
					    .effects = carry_out, .effects_ctx = h};
	NH_TRY_CTX(nh_networks_parse(nh_slice_str(s->webhook_networks), &config.networks, err), err, "WEBHOOK_NETWORKS");
	return nh_webhooks_new(&config, &h->webhooks, err);
}

nh_rc webhooks_try(void *h, const struct nh_webhook_request *request, void (*done)(void *ctx, const struct nh_webhook_answer *answer), void *ctx, struct nh_err *err)
{
	return nh_webhooks_try(((struct hubd *)h)->webhooks, request, done, ctx, err);
}

/*
 * Life of a link: open, the queue of worker jobs, reboot, close. At most one job of a link is with the pool, so that a machine is never asked two things
 * at once and thousands of links cannot fill the pool's queue with more than one entry each.
 */
#include "extras_int.h"

#include <stdlib.h>

#include "crypto/secret.h"

#define REBOOT_WAIT_MS 2000 /* for the last messages to leave */
#define REBOOT_POLL_MS 20

/* ---- jobs */

static void job_start(struct nh_link *l);

static void job_run(void *worker, struct nh_work *work)
{
	struct link_job *job = (struct link_job *)((char *)work - offsetof(struct link_job, work));
	job->run(job->link);
}

static void job_done(struct nh_work *work)
{
	struct link_job *job = (struct link_job *)((char *)work - offsetof(struct link_job, work));
	struct nh_link *l = job->link;
	l->running = NULL;
	if (l->closing) {
		link_close_step(l);
		return;
	}
	job->done(l);
	/* done may have closed the link; then link_close_step took over. */
	if (!l->closing)
		job_start(l);
}

static void job_start(struct nh_link *l)
{
	struct link_job *job = l->queue;
	if (l->running || !job)
		return;
	l->queue = job->next;
	job->next = NULL;
	job->queued = false;
	l->running = job;
	job->work.run = job_run;
	job->work.done = job_done;
	nh_work_queue(l->pool, l->loop, &job->work);
}

bool link_job_busy(const struct nh_link *l, const struct link_job *job) { return job->queued || l->running == job; }

void link_job_submit(struct nh_link *l, struct link_job *job)
{
	NH_ASSERT(!link_job_busy(l, job));
	job->link = l;
	job->queued = true;
	struct link_job **at = &l->queue;
	while (*at)
		at = &(*at)->next;
	*at = job;
	job_start(l);
}

/* ---- reboot */

static void on_reboot_timer(void *arg)
{
	struct nh_link *l = arg;
	uint64_t waited = nh_loop_now_ms(l->loop) - l->reboot_since_ms;
	if (l->ws && nh_ws_client_pending(l->ws) > 0 && waited < REBOOT_WAIT_MS)
		return;
	nh_timer_stop(l->reboot_timer);
	if (l->config.platform->reboot)
		l->config.platform->reboot(l->config.platform_ctx, l->reboot_why);
}

void link_reboot(struct nh_link *l, const char *why)
{
	if (l->phase == LINK_REBOOTING)
		return;
	l->phase = LINK_REBOOTING;
	l->reboot_why = why;
	nh_timer_stop(l->timer);
	nh_timer_stop(l->heartbeat);
	nh_timer_stop(l->validate_timer);
	l->reboot_since_ms = nh_loop_now_ms(l->loop);
	l->reboot_timer = nh_timer_new(l->loop, on_reboot_timer, l);
	nh_timer_start(l->reboot_timer, 0, REBOOT_POLL_MS);
}

/* ---- open */

void link_set_text(char **heap, nh_slice text)
{
	free(*heap);
	*heap = text.ptr ? nh_xstrdup(text) : NULL;
}

static const char *keep(struct nh_link *l, const char *s) { return s ? nh_arena_str(&l->arena, nh_slice_str(s)) : NULL; }

static void keep_ca(struct nh_link *l, const struct nh_link_config *c)
{
	const char **paths = nh_arena_array(&l->arena, c->ca_path_count + 1, sizeof *paths);
	for (size_t i = 0; i < c->ca_path_count; i++)
		paths[i] = keep(l, c->ca_paths[i]);
	l->config.ca_paths = paths;
	l->config.ca_pem = nh_arena_copy(&l->arena, c->ca_pem);
}

static void copy_config(struct nh_link *l, const struct nh_link_config *c)
{
	l->config = *c;
	struct nh_link_config *k = &l->config;
	k->host = keep(l, c->host);
	k->server_name = keep(l, c->server_name);
	k->secret_key = keep(l, c->secret_key);
	k->secret = keep(l, c->secret);
	k->identifier = keep(l, c->identifier);
	k->nerveskey = keep(l, c->nerveskey);
	k->pkcs11 = keep(l, c->pkcs11);
	k->device_api_version = keep(l, c->device_api_version ? c->device_api_version : "2.3.0");
	k->fwup_version = keep(l, c->fwup_version);
	k->network_interface = keep(l, c->network_interface);
	k->cache_dir = keep(l, c->cache_dir);
	k->clock_file = keep(l, c->clock_file);
	k->proxy = k->proxy_bypass = NULL; /* lives on in l->proxy, as it may hold a password */
	keep_ca(l, c);
	k->cert_pem = k->pkcs11 ? nh_arena_copy(&l->arena, c->cert_pem) : NH_SLICE_EMPTY; /* lives on in l->tls only, as the key does */
	k->key_pem = NH_SLICE_EMPTY;
	k->public_keys = NULL;
	if (c->backoff.delays_ms) {
		uint32_t *delays = NH_NEW_ARRAY(&l->arena, c->backoff.count, uint32_t);
		for (size_t i = 0; i < c->backoff.count; i++)
			delays[i] = c->backoff.delays_ms[i];
		k->backoff.delays_ms = delays;
	}
	l->key_count = c->public_key_count;
	l->keys = nh_xcalloc(c->public_key_count + 1, sizeof *l->keys);
	for (size_t i = 0; i < c->public_key_count; i++)
		l->keys[i] = nh_xstrdup(nh_slice_str(c->public_keys[i]));
	static const struct {
		size_t offset;
		uint64_t value;
	} defaults[] = {
		{offsetof(struct nh_link_config, heartbeat_ms), 30000},          {offsetof(struct nh_link_config, rejoin_ms), 5000},
		{offsetof(struct nh_link_config, validate_interval_ms), 10000},  {offsetof(struct nh_link_config, connect_timeout_ms), 15000},
		{offsetof(struct nh_link_config, download_idle_ms), 60000},      {offsetof(struct nh_link_config, download_retry_ms), 15000},
		{offsetof(struct nh_link_config, progress_interval_ms), 500},    {offsetof(struct nh_link_config, poll_interval_ms), 900000},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(defaults); i++) {
		uint64_t *field = (uint64_t *)((char *)k + defaults[i].offset);
		if (*field == 0)
			*field = defaults[i].value;
	}
	if (k->download_retries == 0)
		k->download_retries = 10;
	l->clock = c->clock ? *c->clock : nh_clock_system;
	l->rng = c->rng ? *c->rng : nh_rng_system;
}

static void link_free(struct nh_link *l)
{
	for (size_t i = 0; i < l->key_count; i++)
		free(l->keys[i]);
	free(l->keys);
	free(l->url);
	free(l->pending_status);
	nh_tls_unref(l->tls);
	nh_proxy_free(l->proxy);
	nh_nerveskey_close(l->element);
	nh_buf_wipe(&l->signature.token);
	nh_arena_fini(&l->state_arena);
	if (l->config.secret)
		nh_wipe((char *)(uintptr_t)l->config.secret, strlen(l->config.secret));
	nh_arena_fini(&l->arena);
	free(l);
}

nh_rc nh_link_open(struct nh_loop *loop, struct nh_pool *pool, const struct nh_link_config *config, struct nh_link **out, struct nh_err *err)
{
	*out = NULL;
	NH_TRY(nh_link_config_check(config, err));
	struct nh_link *l = nh_xcalloc(1, sizeof *l);
	l->loop = loop;
	l->pool = pool;
	copy_config(l, config);
	nh_rc rc = link_config_url(&l->config, &l->arena, &l->configured_url, err);
	link_set_text(&l->url, l->configured_url);
	l->codec = link_config_codec(l->configured_url);
	struct nh_tls_client_config tls = connection_trust(l);
	tls.cert_pem = config->cert_pem;
	tls.key_pem = config->key_pem;
	if (rc == NH_OK && !element_has(l) && link_config_secure(l->configured_url))
		rc = nh_tls_client_new(&tls, &l->tls, err);
	l->trusts = l->tls != NULL;
	if (rc == NH_OK && config->proxy)
		rc = nh_proxy_new(nh_slice_str(config->proxy), nh_slice_str(config->proxy_bypass), &l->proxy, err);
	if (rc == NH_OK)
		rc = extras_open(l, config->extensions, err);
	if (rc != NH_OK) {
		link_free(l);
		return rc;
	}
	l->prepare_job = (struct link_job){.run = connection_run_prepare, .done = connection_on_prepared};
	l->clock_job = (struct link_job){.run = clock_run, .done = clock_done};
	l->handshake_job = (struct link_job){.run = connection_run_handshake, .done = connection_on_handshake};
	l->state_job = (struct link_job){.run = channel_run_state, .done = poll_is_chosen(l) ? poll_on_state : channel_on_state};
	l->validate_job = (struct link_job){.run = channel_run_validate, .done = channel_on_validate};
	updater_init_jobs(l);
	l->timer = nh_timer_new(loop, connection_on_timer, l);
	topics_init(l);
	l->heartbeat = nh_timer_new(loop, connection_on_heartbeat, l);
	l->validate_timer = nh_timer_new(loop, channel_on_validate_timer, l);
	clock_open(l);
	validation_start(l);
	updater_start(l);
	nh_timer_start(l->timer, 0, 0); /* events must not come before the caller has its pointer */
	*out = l;
	return NH_OK;
}

/* ---- close */

static void close_end(void *arg)
{
	struct nh_link *l = arg;
	void (*cb)(void *ctx) = l->close_cb;
	void *ctx = l->close_ctx;
	updater_free(l);
	extras_free(l);
	validation_free(l);
	link_free(l);
	if (cb)
		cb(ctx);
}

/* Nothing is with the pool: abort an install in progress, then go. */
void link_close_step(struct nh_link *l)
{
	if (l->running || extras_busy(l))
		return;
	l->queue = NULL;
	if (l->handshake)
		nh_handshake_done(l->handshake);
	l->handshake = NULL;
	if (!updater_abort_pending(l))
		nh_loop_defer(l->loop, close_end, l);
}

void nh_link_close(struct nh_link *l, void (*cb)(void *ctx), void *ctx)
{
	NH_ASSERT(!l->closing);
	l->closing = true;
	l->close_cb = cb;
	l->close_ctx = ctx;
	if (l->ws) {
		nh_ws_client_shutdown(l->ws, NH_WS_CLOSE_NORMAL, NH_SLICE_EMPTY);
		nh_ws_client_close(l->ws);
		l->ws = NULL;
	}
	poll_stop(l);
	topics_close(l);
	extras_close(l);
	route_close(l);
	updater_close(l);
	validation_close(l);
	nh_timer_close(l->timer);
	nh_timer_close(l->heartbeat);
	nh_timer_close(l->validate_timer);
	nh_timer_close(l->reboot_timer);
	link_close_step(l);
}

bool nh_link_updating(const struct nh_link *l) { return l->update != NULL; }

nh_slice nh_link_state_get(const struct nh_link_state *state, const char *name)
{
	for (size_t i = 0; i < state->count; i++)
		if (nh_slice_eq_str(state->pairs[i].name, name))
			return state->pairs[i].value;
	return NH_SLICE_EMPTY;
}

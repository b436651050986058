/*
 * The thread that sends webhooks. It turns: notes what has ended, gives out events, claims what is due, all in one transaction; then lets libcurl carry all requests on until one ends, somebody
 * wakes it, or something is due.
 *
 * A place for a request (flight) is free again once its end is noted, so that an outage of the database stops the sending and forgets nothing.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"
#include "http_int.h"
#include "outbound/webhook.h"
#include "store/db.h"

#define TIMEOUT_MS UINT64_C(15000)
#define TRIALS 8          /* places beside those of deliveries */
#define TRIALS_WAITING 16
#define PLACES (NH_WEBHOOKS_FLIGHTS + TRIALS)
#define TURN_EVERY_MS 20  /* what ends, or happens, meanwhile shares a transaction */
#define IDLE_MS 30000     /* another server of the database may have died */
#define OUTAGE_MS 1000
#define FIGURES_EVERY_MS 10000
#define ERROR_LEN 512

typedef enum place_state { FREE, FLYING, LANDED } place_state;

/* A request that somebody waits for. */
struct trial {
	struct trial *next;
	struct nh_arena arena;
	struct nh_webhook_request request;
	void (*done)(void *ctx, const struct nh_webhook_answer *answer);
	void *ctx;
};

struct flight {
	place_state state;
	struct nh_arena arena; /* what the request consists of */
	struct nh_webhook_request request;
	struct trial *trial;   /* NULL: a delivery */
	struct http_call call;
	CURL *handle;
	uint64_t began_ms;
	struct nh_webhook_result result;
	char error[ERROR_LEN];
	nh_webhook_end end;    /* as the latest transaction said */
	bool disabled;
};

struct nh_webhooks {
	struct nh_webhooks_config config;
	uint64_t timeout_ms;
	pthread_t thread;
	CURLM *multi;
	pthread_mutex_t lock;
	struct trial *trials;  /* under the lock */
	unsigned trial_count;  /* under the lock */
	bool woken, stopping;  /* atomic */
	/* the thread's */
	struct flight flights[PLACES];
	uint64_t turned_ms, turn_at_ms, figures_ms;
	struct nh_webhooks_stats stats; /* relaxed atomics */
};

static void count(uint64_t *figure) { __atomic_fetch_add(figure, 1, __ATOMIC_RELAXED); }

/* ---- one request ----------------------------------------------------------------------------------------------------------- */

static bool allowed(void *ctx, const struct sockaddr *address)
{
	const struct nh_webhooks *s = ctx;
	return nh_networks_allow(&s->config.networks, address);
}

static void copy_request(struct nh_arena *arena, const struct nh_webhook_request *from, struct nh_webhook_request *to)
{
	nh_slice *const texts[] = {&to->url, &to->kind, &to->uuid, &to->timestamp, &to->signature, &to->body};
	*to = *from;
	for (size_t i = 0; i < NH_ARRAY_LEN(texts); i++)
		*texts[i] = nh_slice_str(nh_arena_str(arena, *texts[i]));
}

static struct flight *free_place(struct nh_webhooks *s, bool trial)
{
	size_t first = trial ? NH_WEBHOOKS_FLIGHTS : 0, end = trial ? PLACES : NH_WEBHOOKS_FLIGHTS;
	for (size_t i = first; i < end; i++) {
		if (s->flights[i].state == FREE)
			return &s->flights[i];
	}
	return NULL;
}

static void land(struct flight *f, CURLcode code)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = http_end(&f->call, f->handle, code, &err);
	f->handle = NULL;
	f->state = LANDED;
	f->result = (struct nh_webhook_result){.webhook_id = f->request.webhook_id, .delivery_id = f->request.delivery_id, .attempts = f->request.attempts, .status = f->call.status,
					       .retry_after_us = (int64_t)(f->call.retry_after_s < 86400 ? f->call.retry_after_s : 86400) * NH_US_PER_S};
	if (rc == NH_OK && f->call.status >= 200 && f->call.status < 300)
		return;
	if (rc != NH_OK)
		snprintf(f->error, sizeof f->error, "%s", err.msg);
	else
		snprintf(f->error, sizeof f->error, "the endpoint answers %u%s", f->call.status, f->call.status >= 300 && f->call.status < 400 ? ", and redirects are not followed" : "");
	f->result.error = f->error;
}

static void launch(struct nh_webhooks *s, struct flight *f, const struct nh_webhook_request *request)
{
	const char *headers[4] = {NULL};
	copy_request(&f->arena, request, &f->request);
	headers[0] = nh_arena_printf(&f->arena, "webhook-id: %.*s", NH_ARG(request->uuid));
	headers[1] = nh_arena_printf(&f->arena, "webhook-timestamp: %.*s", NH_ARG(request->timestamp));
	headers[2] = nh_arena_printf(&f->arena, "webhook-signature: %.*s", NH_ARG(request->signature));
	f->call = (struct http_call){.url = (const char *)f->request.url.ptr, .ca_file = s->config.ca_file, .json = f->request.body, .headers = headers, .plain = s->config.hub->webhooks.http,
				     .timeout_ms = s->timeout_ms, .max = NH_WEBHOOK_ANSWER_MAX, .cut = true, .allowed = allowed, .allowed_ctx = s};
	f->began_ms = nh_mono_ms();
	f->handle = http_begin(&f->call);
	f->call.headers = NULL;
	if (!f->handle) {
		f->state = LANDED;
		snprintf(f->error, sizeof f->error, "no memory for a request");
		f->result = (struct nh_webhook_result){.webhook_id = request->webhook_id, .delivery_id = request->delivery_id, .attempts = request->attempts, .error = f->error};
		return;
	}
	f->state = FLYING;
	curl_easy_setopt(f->handle, CURLOPT_PRIVATE, f);
	curl_easy_setopt(f->handle, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(f->handle, CURLOPT_QUICK_EXIT, 1L); /* a name that nobody answers for does not keep the thread */
	if (curl_multi_add_handle(s->multi, f->handle) != CURLM_OK)
		land(f, CURLE_FAILED_INIT);
}

static void clear(struct flight *f)
{
	nh_buf_fini(&f->call.body);
	nh_arena_fini(&f->arena);
	*f = (struct flight){.state = FREE};
}

/* ---- trials ------------------------------------------------------------------------------------------------------------------ */

static void end_trial(struct trial *t, const struct nh_webhook_answer *answer)
{
	t->done(t->ctx, answer);
	nh_arena_fini(&t->arena);
	free(t);
}

static struct trial *take_trial(struct nh_webhooks *s)
{
	pthread_mutex_lock(&s->lock);
	struct trial *t = s->trials;
	if (t) {
		s->trials = t->next;
		s->trial_count--;
	}
	pthread_mutex_unlock(&s->lock);
	return t;
}

static void begin_trials(struct nh_webhooks *s)
{
	struct flight *f;
	struct trial *t;
	while ((f = free_place(s, true)) && (t = take_trial(s))) {
		f->trial = t;
		launch(s, f, &t->request);
	}
}

static void answer_trial(struct flight *f)
{
	const struct nh_webhook_answer answer = {.status = f->result.status, .type = nh_slice_str(f->call.type), .body = nh_buf_slice(&f->call.body), .error = f->result.error,
						 .ms = nh_mono_ms() - f->began_ms};
	end_trial(f->trial, &answer);
	clear(f);
}

nh_rc nh_webhooks_try(struct nh_webhooks *s, const struct nh_webhook_request *request, void (*done)(void *ctx, const struct nh_webhook_answer *answer), void *ctx, struct nh_err *err)
{
	struct trial *t = nh_xcalloc(1, sizeof *t);
	copy_request(&t->arena, request, &t->request);
	t->done = done;
	t->ctx = ctx;
	pthread_mutex_lock(&s->lock);
	bool room = s->trial_count < TRIALS_WAITING && !__atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE);
	struct trial **last = &s->trials;
	while (*last)
		last = &(*last)->next;
	if (room) {
		*last = t;
		s->trial_count++;
	}
	pthread_mutex_unlock(&s->lock);
	if (!room) {
		nh_arena_fini(&t->arena);
		free(t);
		return NH_FAIL(err, NH_EAGAIN, "too many webhooks are being tested at the moment; try again soon");
	}
	curl_multi_wakeup(s->multi);
	return NH_OK;
}

/* ---- one turn ----------------------------------------------------------------------------------------------------------------- */

struct turn {
	struct nh_webhooks *s;
	struct nh_arena arena;
	struct nh_effects effects;
	struct nh_webhook_busy busy[NH_WEBHOOKS_FLIGHTS];
	size_t busy_count, room;
	struct nh_webhook_request *claimed;
	size_t claimed_count;
	int64_t next_due_us;
	struct nh_webhook_figures figures;
	unsigned broken;
	bool more, wants_figures;
};

/* Who is in the air is busy with it; who has landed is not, once that is noted. */
static void count_busy(struct turn *t)
{
	t->room = NH_WEBHOOKS_FLIGHTS;
	for (size_t i = 0; i < NH_WEBHOOKS_FLIGHTS; i++) {
		const struct flight *f = &t->s->flights[i];
		size_t at = 0;
		if (f->state != FLYING)
			continue;
		t->room--;
		while (at < t->busy_count && t->busy[at].webhook_id != f->request.webhook_id)
			at++;
		if (at == t->busy_count)
			t->busy[t->busy_count++].webhook_id = f->request.webhook_id;
		t->busy[at].count++;
	}
}

static nh_rc turn_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct turn *t = arg;
	const struct nh_webhooks_config *c = &t->s->config;
	struct nh_ctx ctx = {.tx = tx, .arena = &t->arena, .clock = c->clock, .rng = c->rng, .config = c->hub, .effects = &t->effects};
	t->effects = (struct nh_effects){0};
	for (size_t i = 0; i < NH_WEBHOOKS_FLIGHTS; i++) {
		struct flight *f = &t->s->flights[i];
		if (f->state == LANDED)
			NH_TRY(nh_webhook_note(&ctx, &f->result, &f->end, &f->disabled, err));
	}
	NH_TRY(nh_webhooks_give_out(&ctx, &t->more, err));
	/* A request lasts no longer than its time-out, and is noted soon after. */
	uint64_t lease_ms = t->s->timeout_ms + (t->s->timeout_ms / 3 > 2000 ? t->s->timeout_ms / 3 : 2000);
	NH_TRY(nh_webhooks_claim(&ctx, t->busy, t->busy_count, t->room, (int64_t)lease_ms * 1000, &t->claimed, &t->claimed_count, &t->next_due_us, &t->broken, err));
	return t->wants_figures ? nh_webhook_figures(&ctx, &t->figures, err) : NH_OK;
}

static void tell(struct nh_webhooks *s, const struct flight *f)
{
	static const struct {
		nh_log_level level;
		const char *event;
	} words[] = {
		[NH_WEBHOOK_DELIVERED] = {NH_LOG_DEBUG, "webhook.delivered"},
		[NH_WEBHOOK_AGAIN] = {NH_LOG_INFO, "webhook.failed"},
		[NH_WEBHOOK_DIED] = {NH_LOG_WARN, "webhook.dead"},
		[NH_WEBHOOK_GONE] = {NH_LOG_DEBUG, "webhook.gone"},
	};
	uint64_t *const figures[] = {[NH_WEBHOOK_DELIVERED] = &s->stats.delivered, [NH_WEBHOOK_AGAIN] = &s->stats.failed, [NH_WEBHOOK_DIED] = &s->stats.died, [NH_WEBHOOK_GONE] = NULL};
	if (figures[f->end])
		count(figures[f->end]);
	NH_LOG(words[f->end].level, words[f->end].event, NH_I("webhook", f->request.webhook_id), NH_I("delivery", f->request.delivery_id), NH_S("id", f->request.uuid),
	       NH_I("attempts", f->request.attempts), NH_I("status", f->result.status), NH_STR("why", f->result.error ? f->result.error : ""));
	if (!f->disabled)
		return;
	count(&s->stats.disabled);
	NH_LOG(NH_LOG_WARN, "webhook.disabled", NH_I("webhook", f->request.webhook_id));
}

static void after_commit(struct turn *t)
{
	struct nh_webhooks *s = t->s;
	for (size_t i = 0; i < NH_WEBHOOKS_FLIGHTS; i++) {
		struct flight *f = &s->flights[i];
		if (f->state == LANDED) {
			tell(s, f);
			clear(f);
		}
	}
	for (size_t i = 0; i < t->claimed_count; i++)
		launch(s, free_place(s, false), &t->claimed[i]);
	if (t->broken > 0)
		NH_LOG(NH_LOG_WARN, "webhook.unreadable", NH_I("deliveries", t->broken), NH_STR("what", "their webhook's secret was sealed with another secret key"));
	if (t->wants_figures) {
		__atomic_store_n(&s->stats.waiting, (uint64_t)t->figures.waiting, __ATOMIC_RELAXED);
		__atomic_store_n(&s->stats.dead, (uint64_t)t->figures.dead, __ATOMIC_RELAXED);
		s->figures_ms = nh_mono_ms();
	}
	if (t->effects.count > 0 && s->config.effects)
		s->config.effects(s->config.effects_ctx, &t->effects);
}

/* When the next turn comes if nothing happens before. */
static uint64_t rest_ms(const struct turn *t, bool full)
{
	int64_t wait_us = t->next_due_us - nh_clock_now(t->s->config.clock);
	if (t->more)
		return 0;
	if (t->next_due_us == 0 || full)
		return IDLE_MS;
	return wait_us < 0 ? TURN_EVERY_MS : wait_us > IDLE_MS * 1000 ? IDLE_MS : (uint64_t)wait_us / 1000 + 1;
}

static void turn(struct nh_webhooks *s)
{
	struct nh_err err = NH_ERR_INIT;
	struct turn *t = nh_xcalloc(1, sizeof *t);
	t->s = s;
	__atomic_store_n(&s->woken, false, __ATOMIC_RELEASE); /* before anything is read: what comes from now on is for the next turn */
	t->wants_figures = s->figures_ms == 0 || nh_mono_ms() - s->figures_ms >= FIGURES_EVERY_MS;
	count_busy(t);
	nh_rc rc = nh_db_write(s->config.db, turn_tx, t, &err);
	s->turned_ms = nh_mono_ms();
	if (rc == NH_OK) {
		bool full = t->claimed_count == t->room;
		after_commit(t);
		s->turn_at_ms = s->turned_ms + rest_ms(t, full);
	} else {
		s->turn_at_ms = s->turned_ms + OUTAGE_MS;
		if (!nh_rc_outage(rc))
			NH_LOG(NH_LOG_ERROR, "webhook.turn_failed", NH_STR("why", err.msg));
	}
	nh_arena_fini(&t->arena);
	free(t);
}

/* ---- the thread ----------------------------------------------------------------------------------------------------------------- */

static bool any_landed(const struct nh_webhooks *s)
{
	for (size_t i = 0; i < NH_WEBHOOKS_FLIGHTS; i++) {
		if (s->flights[i].state == LANDED)
			return true;
	}
	return false;
}

static void collect(struct nh_webhooks *s)
{
	const CURLMsg *message;
	int left = 0, running = 0;
	curl_multi_perform(s->multi, &running);
	while ((message = curl_multi_info_read(s->multi, &left))) {
		struct flight *f = NULL;
		CURLcode code = message->data.result;
		CURL *handle = message->easy_handle;
		curl_easy_getinfo(handle, CURLINFO_PRIVATE, &f);
		curl_multi_remove_handle(s->multi, handle);
		land(f, code);
	}
	for (size_t i = NH_WEBHOOKS_FLIGHTS; i < PLACES; i++) {
		if (s->flights[i].state == LANDED)
			answer_trial(&s->flights[i]);
	}
}

/* An outage is waited for, whatever happens meanwhile. */
static uint64_t next_turn_ms(const struct nh_webhooks *s)
{
	bool something = __atomic_load_n(&s->woken, __ATOMIC_ACQUIRE) || any_landed(s);
	bool outage = s->turn_at_ms == s->turned_ms + OUTAGE_MS;
	return something && !outage && s->turned_ms + TURN_EVERY_MS < s->turn_at_ms ? s->turned_ms + TURN_EVERY_MS : s->turn_at_ms;
}

static void *run(void *arg)
{
	struct nh_webhooks *s = arg;
	nh_thread_background("webhooks");
	while (!__atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE)) {
		begin_trials(s);
		collect(s);
		uint64_t at = next_turn_ms(s), now = nh_mono_ms();
		if (at <= now)
			turn(s);
		else
			curl_multi_poll(s->multi, NULL, 0, (int)(at - now), NULL);
	}
	return NULL;
}

void nh_webhooks_wake(struct nh_webhooks *s)
{
	if (s && !__atomic_exchange_n(&s->woken, true, __ATOMIC_ACQ_REL))
		curl_multi_wakeup(s->multi);
}

static void set_up_library(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

nh_rc nh_webhooks_new(const struct nh_webhooks_config *config, struct nh_webhooks **out, struct nh_err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, set_up_library);
	*out = NULL;
	struct nh_webhooks *s = nh_xcalloc(1, sizeof *s);
	s->config = *config;
	s->timeout_ms = config->timeout_ms ? config->timeout_ms : TIMEOUT_MS;
	pthread_mutex_init(&s->lock, NULL);
	s->multi = curl_multi_init();
	int failed = s->multi ? pthread_create(&s->thread, NULL, run, s) : ENOMEM;
	if (failed) {
		curl_multi_cleanup(s->multi);
		pthread_mutex_destroy(&s->lock);
		free(s);
		return NH_FAIL(err, nh_rc_from_errno(failed), "cannot start the thread that sends webhooks");
	}
	*out = s;
	return NH_OK;
}

void nh_webhooks_stop(struct nh_webhooks *s)
{
	static const struct nh_webhook_answer stopped = {.error = "the server stops"};
	struct trial *t;
	if (!s || __atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE))
		return;
	pthread_mutex_lock(&s->lock);
	__atomic_store_n(&s->stopping, true, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&s->lock);
	curl_multi_wakeup(s->multi);
	pthread_join(s->thread, NULL);
	for (size_t i = 0; i < PLACES; i++) {
		struct flight *f = &s->flights[i];
		if (f->state == FLYING) {
			curl_multi_remove_handle(s->multi, f->handle);
			land(f, CURLE_ABORTED_BY_CALLBACK);
		}
		if (f->trial)
			end_trial(f->trial, &stopped);
		clear(f);
	}
	while ((t = take_trial(s)))
		end_trial(t, &stopped);
}

void nh_webhooks_free(struct nh_webhooks *s)
{
	if (!s)
		return;
	nh_webhooks_stop(s);
	curl_multi_cleanup(s->multi);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void nh_webhooks_stats(const struct nh_webhooks *s, struct nh_webhooks_stats *out)
{
	*out = (struct nh_webhooks_stats){0};
	if (!s)
		return;
	out->delivered = __atomic_load_n(&s->stats.delivered, __ATOMIC_RELAXED);
	out->failed = __atomic_load_n(&s->stats.failed, __ATOMIC_RELAXED);
	out->died = __atomic_load_n(&s->stats.died, __ATOMIC_RELAXED);
	out->disabled = __atomic_load_n(&s->stats.disabled, __ATOMIC_RELAXED);
	out->waiting = __atomic_load_n(&s->stats.waiting, __ATOMIC_RELAXED);
	out->dead = __atomic_load_n(&s->stats.dead, __ATOMIC_RELAXED);
}

/*
 * The devices of a load: connect, join, heartbeat, and back again where one was thrown out. One task at a time; a device that fails meanwhile is tried
 * again after a moment, and what it waits counts from its first attempt, so a server that starves somebody shows in the longest wait.
 *
 * Invariant: `connected` and `joined` count the devices in those phases; `attempts` those between dial and 101.
 */
#include "fleet/load.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"
#include "link/identity.h"
#include "net/client.h"
#include "net/tls.h"
#include "phoenix/phoenix.h"

#define TICK_MS 50          /* who waits to try again is looked at so often */
#define RETRY_MIN_MS UINT64_C(500)
#define RETRY_MAX_MS UINT64_C(10000)
#define MESSAGE_MAX ((size_t)1 << 20)
#define JOIN_REF "1"
#define BEAT_REF "2"

typedef enum phase { OFF, WAITING, DIALING, OPEN, JOINING, JOINED } phase;

struct device {
	struct nh_load *load;
	struct nh_ws_client *ws;
	uint64_t began_us;     /* first attempt of this task */
	uint64_t join_from_us; /* what the join's latency counts from */
	uint64_t beat_us;      /* heartbeat under way, 0 = none */
	uint64_t retry_at_ms;
	uint32_t connect_us, join_us; /* of this task, 0 = not yet */
	uint32_t failures;     /* in a row */
	uint8_t phase;
};

typedef enum task { IDLE, CONNECT, JOIN, BEAT, RECEIVE } task;

struct nh_load {
	struct nh_load_config config;
	char *url;
	struct nh_tls *anonymous; /* shared secrets: one for all */
	struct device *devices;
	struct nh_timer *tick, *pace;
	struct nh_buf join_text, beat_text; /* the two messages, the same for all */
	size_t wanted, dialed;    /* the first `wanted` are to be online; of these the first `dialed` have been tried */
	size_t at_once, attempts, waiting;
	size_t connected, joined; /* phases OPEN and above; JOINED */
	bool joining;             /* who opens joins at once */
	bool telling;             /* on_done is due at the end of the iteration */
	task task;
	uint64_t began_us, ended_us;
	/* heartbeats */
	uint64_t per_second, beat_end_us, beats_sent;
	size_t turn, beats_out;
	bool beats_over;          /* the time is up and what was due is sent */
	struct nh_buf beat_samples; /* uint32_t each */
	/* pushes */
	uint64_t received, receive_wanted, last_push_us;
	struct nh_load_report sums;
};

static void dial_more(struct nh_load *l);
static void check_done(struct nh_load *l);

/* ---- latencies ------------------------------------------------------------------------------------------------------------------ */

static int sample_cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

struct nh_load_latency nh_load_latency_of(uint32_t *samples, size_t count)
{
	if (count == 0)
		return (struct nh_load_latency){0};
	qsort(samples, count, sizeof *samples, sample_cmp);
	/* Nearest rank: the smallest value that at least so many hundredths do not exceed. */
	return (struct nh_load_latency){.count = count, .p50_us = samples[(count * 50 + 99) / 100 - 1], .p90_us = samples[(count * 90 + 99) / 100 - 1],
					.p99_us = samples[(count * 99 + 99) / 100 - 1], .max_us = samples[count - 1]};
}

static uint32_t since(uint64_t from_us)
{
	uint64_t us = nh_mono_us() - from_us;
	return us == 0 ? 1 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

/* ---- phases --------------------------------------------------------------------------------------------------------------------- */

static void enter(struct device *d, phase next)
{
	struct nh_load *l = d->load;
	l->attempts += (size_t)(next == DIALING) - (size_t)(d->phase == DIALING);
	l->waiting += (size_t)(next == WAITING) - (size_t)(d->phase == WAITING);
	l->connected += (size_t)(next >= OPEN) - (size_t)(d->phase >= OPEN);
	l->joined += (size_t)(next == JOINED) - (size_t)(d->phase == JOINED);
	d->phase = (uint8_t)next;
}

static void hang_up(struct device *d)
{
	nh_ws_client_close(d->ws);
	d->ws = NULL;
	if (d->beat_us) {
		d->beat_us = 0;
		d->load->beats_out--;
		d->load->sums.unanswered++;
	}
}

/* Tried again after a growing, spread pause: half a second to ten. */
static void set_back(struct device *d, const char *why)
{
	struct nh_load *l = d->load;
	uint64_t pause = RETRY_MIN_MS << (d->failures < 5 ? d->failures : 5);
	snprintf(l->sums.last_error, sizeof l->sums.last_error, "%s", why);
	d->failures++;
	d->retry_at_ms = nh_loop_now_ms(l->config.loop) + (pause > RETRY_MAX_MS ? RETRY_MAX_MS : pause) + nh_rng_below(&nh_rng_system, RETRY_MIN_MS);
	hang_up(d);
	enter(d, WAITING);
}

static void failed(struct device *d, const char *why)
{
	set_back(d, why);
	dial_more(d->load);
	check_done(d->load);
}

/* ---- join ----------------------------------------------------------------------------------------------------------------------- */

static void put_join(struct nh_buf *out, const char *product)
{
	NH_AUTO_JSON json_t *payload = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:b, s:b}}", "nerves_fw_uuid", "5f3759df-0000-4000-8000-000000000001",
		"nerves_fw_product", product, "nerves_fw_version", "1.0.0", "nerves_fw_platform", "virtual", "nerves_fw_architecture", "generic",
		"device_api_version", "2.3.0", "fwup_version", "1.10.1", "meta", "firmware_validated", 1, "firmware_auto_revert_detected", 0);
	struct nh_phoenix_message m = {.join_ref = nh_phoenix_ref_text(NH_LIT(JOIN_REF)), .ref = nh_phoenix_ref_text(NH_LIT(JOIN_REF)), .topic = NH_LIT("device"),
				       .event = NH_LIT("phx_join"), .payload = payload};
	nh_phoenix_json_v2.encode(out, &m);
}

static void put_beat(struct nh_buf *out)
{
	struct nh_phoenix_message m = {.ref = nh_phoenix_ref_text(NH_LIT(BEAT_REF)), .topic = NH_LIT("phoenix"), .event = NH_LIT("heartbeat")};
	nh_phoenix_json_v2.encode(out, &m);
}

static void join_now(struct device *d)
{
	struct nh_load *l = d->load;
	enter(d, JOINING);
	if (nh_ws_client_send(d->ws, NH_WS_TEXT, nh_buf_slice(&l->join_text)) != NH_OK)
		failed(d, "the join was not sent");
}

/* ---- what a device hears ---------------------------------------------------------------------------------------------------------- */

static void on_open(void *ctx, const struct nh_http_response_head *head)
{
	struct device *d = ctx;
	struct nh_load *l = d->load;
	enter(d, OPEN);
	l->sums.connects++;
	d->connect_us = since(d->began_us);
	if (l->joining)
		join_now(d);
	else
		d->failures = 0;
	dial_more(l);
	check_done(l);
}

static void on_reply(struct device *d, const struct nh_phoenix_message *m)
{
	struct nh_load *l = d->load;
	bool ok = false;
	const json_t *response;
	if (!nh_phoenix_reply(m, &ok, &response))
		return;
	if (nh_slice_eq(m->topic, NH_LIT("phoenix")) && d->beat_us) {
		uint32_t us = since(d->beat_us);
		nh_buf_put(&l->beat_samples, &us, sizeof us);
		d->beat_us = 0;
		l->beats_out--;
		l->sums.heartbeats++;
		check_done(l);
	} else if (d->phase == JOINING && nh_slice_eq(m->topic, NH_LIT("device"))) {
		if (!ok) {
			l->sums.failures++;
			failed(d, "the server refused the join");
			return;
		}
		enter(d, JOINED);
		d->failures = 0;
		d->join_us = since(d->join_from_us);
		l->sums.joins++;
		check_done(l);
	}
}

static void on_push(struct nh_load *l)
{
	l->sums.pushes++;
	l->received++;
	l->last_push_us = nh_mono_us();
	check_done(l);
}

static void on_message(void *ctx, nh_ws_opcode opcode, nh_slice data)
{
	struct device *d = ctx;
	struct nh_phoenix_message m = {0};
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	if (nh_phoenix_json_v2.decode(&arena, data, MESSAGE_MAX, &m, NULL) != NH_OK)
		return; /* not ours to judge */
	if (nh_phoenix_kind_of(&m) == NH_PHOENIX_REPLY)
		on_reply(d, &m);
	else if (nh_phoenix_kind_of(&m) == NH_PHOENIX_EVENT)
		on_push(d->load);
	nh_phoenix_message_fini(&m);
}

static void on_close(void *ctx, const struct nh_ws_client_closed *closed)
{
	struct device *d = ctx;
	struct nh_load *l = d->load;
	char why[160];
	if (d->phase >= OPEN)
		l->sums.lost++;
	else
		l->sums.failures++;
	if (closed->rc == NH_OK)
		snprintf(why, sizeof why, "the server closed the connection (%u)", closed->code);
	else
		snprintf(why, sizeof why, "%.150s", closed->err.msg);
	/* Who is thrown out between tasks waits from now. */
	if (d->phase >= OPEN && l->task != CONNECT && l->task != JOIN)
		d->began_us = d->join_from_us = nh_mono_us();
	d->connect_us = d->join_us = 0;
	failed(d, why);
}

/* ---- dialing -------------------------------------------------------------------------------------------------------------------- */

static size_t index_of(const struct device *d) { return (size_t)(d - d->load->devices); }

static nh_rc credentials(struct device *d, struct nh_tls **tls, struct nh_link_signature *signature, struct nh_err *err)
{
	struct nh_load *l = d->load;
	const struct nh_load_identities *ids = l->config.identities;
	if (ids) {
		struct nh_tls_client_config config = {.ca_pem = l->config.ca_pem, .cert_pem = nh_buf_slice(&ids->certs[index_of(d)]), .key_pem = nh_buf_slice(&ids->keys[index_of(d)])};
		return nh_tls_client_new(&config, tls, err);
	}
	char name[128];
	snprintf(name, sizeof name, "%s-%zu", l->config.prefix, l->config.first + index_of(d));
	*tls = nh_tls_ref(l->anonymous);
	return nh_link_sign(nh_slice_str(l->config.secret_key), nh_slice_str(l->config.secret), nh_slice_str(name), nh_now_us() / NH_US_PER_S, signature, err);
}

static void dial(struct device *d)
{
	struct nh_load *l = d->load;
	struct nh_err err = NH_ERR_INIT;
	struct nh_tls *tls = NULL;
	struct nh_link_signature signature = {0};
	const struct nh_ws_client_events events = {on_open, on_message, on_close, d};
	enter(d, DIALING);
	nh_rc rc = credentials(d, &tls, &signature, &err);
	const struct nh_client_header headers[] = {
		{"x-nh-alg", nh_slice_str(signature.alg)},
		{"x-nh-key", nh_slice_str(l->config.secret_key)},
		{"x-nh-time", nh_slice_str(signature.time)},
		{"x-nh-signature", nh_buf_slice(&signature.token)},
	};
	struct nh_ws_client_config config = {.url = nh_slice_str(l->url), .tls = tls, .headers = headers, .header_count = l->config.identities ? 0 : NH_ARRAY_LEN(headers),
					     .max_message_bytes = MESSAGE_MAX, .connect_timeout_ms = l->config.connect_timeout_ms};
	if (rc == NH_OK)
		rc = nh_ws_client_open(l->config.loop, &config, &events, &d->ws, &err);
	nh_tls_unref(tls);
	nh_buf_wipe(&signature.token);
	if (rc == NH_OK)
		return;
	l->sums.failures++;
	set_back(d, err.msg);
}

static void dial_more(struct nh_load *l)
{
	while (l->dialed < l->wanted && l->attempts < l->at_once) {
		struct device *d = &l->devices[l->dialed++];
		if (d->phase == OFF)
			dial(d);
	}
}

static void on_tick(void *arg)
{
	struct nh_load *l = arg;
	uint64_t now = nh_loop_now_ms(l->config.loop);
	for (size_t i = 0; l->waiting && i < l->dialed && l->attempts < l->at_once; i++)
		if (l->devices[i].phase == WAITING && l->devices[i].retry_at_ms <= now)
			dial(&l->devices[i]);
	check_done(l);
}

/* ---- tasks ---------------------------------------------------------------------------------------------------------------------- */

static bool over(const struct nh_load *l)
{
	switch (l->task) {
	case IDLE: return false;
	case CONNECT: return (l->joining ? l->joined : l->connected) == l->wanted;
	case JOIN: return l->joined == l->wanted;
	case BEAT: return l->beats_over && l->beats_out == 0;
	case RECEIVE: return l->received >= l->receive_wanted;
	}
	return false;
}

static void tell_done(void *arg)
{
	struct nh_load *l = arg;
	if (!l->telling)
		return;
	l->telling = false;
	l->config.on_done(l->config.ctx);
}

/* on_done comes at the end of the iteration: the caller may be in the middle of a loop over devices. */
static void check_done(struct nh_load *l)
{
	if (!over(l))
		return;
	l->ended_us = l->task == RECEIVE && l->receive_wanted ? l->last_push_us : nh_mono_us();
	if (l->task == RECEIVE)
		l->received = 0;
	l->task = IDLE;
	nh_timer_stop(l->pace);
	l->telling = true;
	nh_loop_defer(l->config.loop, tell_done, l);
}

static void begin(struct nh_load *l, task next)
{
	NH_ASSERT(l->task == IDLE && !l->telling);
	l->task = next;
	l->began_us = nh_mono_us();
	nh_timer_start(l->tick, TICK_MS, TICK_MS);
}

bool nh_load_busy(const struct nh_load *l) { return l->task != IDLE || l->telling; }

void nh_load_connect(struct nh_load *l, size_t devices, size_t at_once, bool join)
{
	begin(l, CONNECT);
	if (devices > l->config.count)
		devices = l->config.count;
	l->wanted = devices > l->wanted ? devices : l->wanted;
	l->at_once = at_once ? at_once : l->config.count;
	l->joining = join;
	for (size_t i = 0; i < l->wanted; i++) {
		struct device *d = &l->devices[i];
		d->connect_us = d->join_us = 0;
		if (d->phase < OPEN)
			d->began_us = d->join_from_us = l->began_us;
		else if (join && d->phase == OPEN)
			join_now(d);
	}
	l->dialed = 0; /* who was online before is passed over */
	dial_more(l);
	check_done(l);
}

void nh_load_join(struct nh_load *l)
{
	begin(l, JOIN);
	l->joining = true;
	for (size_t i = 0; i < l->wanted; i++) {
		struct device *d = &l->devices[i];
		d->join_from_us = l->began_us;
		d->join_us = 0;
		if (d->phase == OPEN)
			join_now(d);
	}
	check_done(l);
}

static struct device *next_in_turn(struct nh_load *l)
{
	for (size_t tried = 0; tried < l->wanted; tried++) {
		struct device *d = &l->devices[l->turn];
		l->turn = (l->turn + 1) % l->wanted;
		if ((d->phase == JOINED || d->phase == OPEN) && !d->beat_us)
			return d;
	}
	return NULL;
}

/* Each millisecond what is due by then: spread as a fleet's are, so that the server is woken for nearly each of them. */
static void on_pace(void *arg)
{
	struct nh_load *l = arg;
	uint64_t now = nh_mono_us(), elapsed = (now < l->beat_end_us ? now : l->beat_end_us) - l->began_us;
	uint64_t due = elapsed * l->per_second / 1000000;
	while (l->beats_sent < due) {
		struct device *d = next_in_turn(l);
		if (!d)
			break; /* all of them wait for an answer: the server is the slower one */
		d->beat_us = nh_mono_us();
		l->beats_out++;
		l->beats_sent++;
		if (nh_ws_client_send(d->ws, NH_WS_TEXT, nh_buf_slice(&l->beat_text)) != NH_OK)
			failed(d, "a heartbeat was not sent");
	}
	l->beats_over = now >= l->beat_end_us;
	check_done(l);
}

void nh_load_heartbeat(struct nh_load *l, uint64_t per_second, uint64_t duration_ms)
{
	begin(l, BEAT);
	l->per_second = per_second;
	l->beats_sent = 0;
	l->beats_over = false;
	nh_buf_clear(&l->beat_samples);
	l->beat_end_us = l->began_us + duration_ms * 1000;
	nh_timer_start(l->pace, 1, 1);
}

void nh_load_receive(struct nh_load *l, uint64_t messages)
{
	begin(l, RECEIVE);
	l->receive_wanted = messages;
	check_done(l);
}

void nh_load_drop(struct nh_load *l)
{
	l->task = IDLE;
	l->telling = false;
	nh_timer_stop(l->tick);
	nh_timer_stop(l->pace);
	l->wanted = l->dialed = 0;
	for (size_t i = 0; i < l->config.count; i++) {
		hang_up(&l->devices[i]);
		enter(&l->devices[i], OFF);
	}
}

/* ---- report --------------------------------------------------------------------------------------------------------------------- */

static struct nh_load_latency latency_over(const struct nh_load *l, size_t field)
{
	uint32_t *samples = nh_xcalloc(l->wanted + 1, sizeof *samples);
	size_t count = 0;
	for (size_t i = 0; i < l->wanted; i++) {
		uint32_t us = *(const uint32_t *)(const void *)((const char *)&l->devices[i] + field);
		if (us)
			samples[count++] = us;
	}
	struct nh_load_latency result = nh_load_latency_of(samples, count);
	free(samples);
	return result;
}

void nh_load_report(const struct nh_load *l, struct nh_load_report *out)
{
	*out = l->sums;
	out->wanted = l->wanted;
	out->connected = l->connected;
	out->joined = l->joined;
	out->task_us = (l->task == IDLE ? l->ended_us : nh_mono_us()) - l->began_us;
	out->ended_mono_us = l->ended_us;
	out->connect = latency_over(l, offsetof(struct device, connect_us));
	out->join = latency_over(l, offsetof(struct device, join_us));
	out->beat = nh_load_latency_of((uint32_t *)(void *)l->beat_samples.ptr, l->beat_samples.len / sizeof(uint32_t));
}

/* ---- life ----------------------------------------------------------------------------------------------------------------------- */

static nh_rc check(const struct nh_load_config *c, struct nh_err *err)
{
	if (!c->server || !*c->server)
		return NH_FAIL(err, NH_EINVAL, "no server: HOST:PORT of the device port is needed");
	if (c->count == 0)
		return NH_FAIL(err, NH_EINVAL, "no devices: a load has at least one");
	if (c->identities && c->identities->count < c->count)
		return NH_FAIL(err, NH_EINVAL, "%zu devices, but only %zu identities", c->count, c->identities->count);
	if (!c->identities && (!c->secret_key || !c->secret))
		return NH_FAIL(err, NH_EINVAL, "devices need certificates, or a shared secret with its key");
	return NH_OK;
}

nh_rc nh_load_new(const struct nh_load_config *config, struct nh_load **out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	struct nh_tls *anonymous = NULL;
	*out = NULL;
	NH_TRY(check(config, err));
	if (!config->identities)
		NH_TRY(nh_tls_client_new(&(struct nh_tls_client_config){.ca_pem = config->ca_pem}, &anonymous, err));
	nh_buf_printf(&url, "wss://%s%s?vsn=2.0.0", config->server, config->identities ? "/socket/websocket" : "/device-socket/websocket");
	struct nh_load *l = nh_xcalloc(1, sizeof *l);
	l->config = *config;
	if (l->config.connect_timeout_ms == 0)
		l->config.connect_timeout_ms = 300000;
	l->url = nh_xstrdup(nh_buf_slice(&url));
	l->anonymous = anonymous;
	l->devices = nh_xcalloc(config->count, sizeof *l->devices);
	for (size_t i = 0; i < config->count; i++)
		l->devices[i].load = l;
	l->tick = nh_timer_new(config->loop, on_tick, l);
	l->pace = nh_timer_new(config->loop, on_pace, l);
	put_join(&l->join_text, config->product);
	put_beat(&l->beat_text);
	*out = l;
	return NH_OK;
}

/* After a tell_done that may still be queued. */
static void release(void *arg)
{
	struct nh_load *l = arg;
	nh_tls_unref(l->anonymous);
	nh_buf_fini(&l->join_text);
	nh_buf_fini(&l->beat_text);
	nh_buf_fini(&l->beat_samples);
	free(l->devices);
	free(l->url);
	free(l);
}

void nh_load_free(struct nh_load *l)
{
	if (!l)
		return;
	nh_load_drop(l);
	nh_timer_close(l->tick);
	nh_timer_close(l->pace);
	nh_loop_defer(l->config.loop, release, l);
}

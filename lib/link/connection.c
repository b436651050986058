/*
 * The socket to the server: when to try, as whom, and what a failure means. Every end of a connection, whatever its reason, leads to the next attempt
 * after the backoff. source: reference/device-protocol "2", "6.6", "14.5"
 */
#include "update_int.h"

#include <stdio.h>
#include <stdlib.h>

static const struct nh_ws_client_events ws_events;

/* ---- attempt */

/* The device's clock, or the server's where that is ahead: a device without a battery starts in the past. */
static int64_t signing_time_s(const struct nh_link *l)
{
	int64_t now = nh_clock_now(&l->clock);
	if (l->server_date_us) {
		int64_t server = l->server_date_us + (int64_t)(nh_mono_ms() - l->server_date_mono_ms) * NH_US_PER_MS;
		if (server > now)
			now = server;
	}
	return now / NH_US_PER_S;
}

struct nh_tls_client_config connection_trust(const struct nh_link *l)
{
	return (struct nh_tls_client_config){
		.ca_pem = l->config.ca_pem, .ca_paths = l->config.ca_paths, .ca_path_count = l->config.ca_path_count, .ca_system = l->config.ca_system};
}

static nh_rc prepare(struct nh_link *l, struct nh_err *err)
{
	struct nh_tls_client_config trust = connection_trust(l);
	nh_buf_wipe(&l->signature.token);
	if (element_has(l) && !l->tls)
		NH_TRY(element_load(l, err));
	if (l->tls && !l->trusts) {
		NH_TRY(nh_tls_trust(l->tls, &trust, err));
		l->trusts = true;
	}
	if (!l->config.secret)
		return NH_OK;
	return nh_link_sign(nh_slice_str(l->config.secret_key), nh_slice_str(l->config.secret), nh_slice_str(l->config.identifier), signing_time_s(l), &l->signature, err);
}

void connection_run_prepare(struct nh_link *l)
{
	l->job_err = NH_ERR_INIT;
	l->job_rc = prepare(l, &l->job_err);
}

/* An idle link keeps no list of roots. One that a worker still looks at is kept until the next time. */
void connection_shaken(struct nh_link *l)
{
	if (!l->tls || !l->trusts || link_job_busy(l, &l->handshake_job))
		return;
	nh_tls_distrust(l->tls);
	l->trusts = false;
}

/* ---- a handshake that a chip signs */

void connection_hand_over(void *link, struct nh_handshake *h)
{
	struct nh_link *l = link;
	l->handshake = h;
	link_job_submit(l, &l->handshake_job);
}

void connection_run_handshake(struct nh_link *l) { nh_handshake_run(l->handshake); }

void connection_on_handshake(struct nh_link *l)
{
	struct nh_handshake *h = l->handshake;
	l->handshake = NULL;
	nh_handshake_done(h);
}

/* ---- */

static void dial(struct nh_link *l)
{
	struct nh_err err = NH_ERR_INIT;
	const struct nh_client_header headers[] = {
		{"x-nh-alg", nh_slice_str(l->signature.alg)},
		{"x-nh-key", nh_slice_str(l->config.secret_key)},
		{"x-nh-time", nh_slice_str(l->signature.time)},
		{"x-nh-signature", nh_buf_slice(&l->signature.token)},
	};
	struct nh_ws_client_config config = {
		.url = nh_slice_str(l->url),
		.tls = l->tls,
		.server_name = l->redirects ? NULL : l->config.server_name,
		.headers = headers,
		.header_count = l->config.secret ? NH_ARRAY_LEN(headers) : 0,
		.max_message_bytes = LINK_MESSAGE_MAX,
		.connect_timeout_ms = l->config.connect_timeout_ms,
		.proxy = l->proxy,
		.handshake = connection_hand_over,
	};
	struct nh_ws_client_events events = ws_events;
	events.ctx = l;
	l->phase = LINK_CONNECTING;
	link_event_text(l, NH_LINK_CONNECTING, l->url);
	if (l->closing)
		return;
	if (nh_ws_client_open(l->loop, &config, &events, &l->ws, &err) != NH_OK)
		connection_close(l, err.msg);
}

static void attempt(struct nh_link *l)
{
	if (poll_is_chosen(l))
		poll_start(l);
	else
		dial(l);
}

void connection_on_prepared(struct nh_link *l)
{
	struct nh_err err = l->job_err;
	if (l->phase != LINK_SIGNING && !(l->phase == LINK_JOINED && poll_is_chosen(l)))
		return;
	if (l->job_rc == NH_OK)
		attempt(l);
	else
		connection_close(l, err.msg);
}

void connection_start(struct nh_link *l)
{
	bool secure = link_config_secure(nh_slice_str(l->url));
	if (link_job_busy(l, &l->handshake_job)) {
		connection_close(l, "the secure element is still busy with the last attempt");
		return;
	}
	if (!l->config.secret && (!secure || (l->tls && l->trusts))) {
		attempt(l);
		return;
	}
	if (l->phase != LINK_JOINED)
		l->phase = LINK_SIGNING;
	if (!link_job_busy(l, &l->prepare_job))
		link_job_submit(l, &l->prepare_job);
}

void connection_on_timer(void *arg)
{
	struct nh_link *l = arg;
	if (l->phase == LINK_WAITING)
		connection_start(l);
	else if (l->phase == LINK_JOINED && poll_is_chosen(l))
		poll_due(l);
}

void connection_lost(struct nh_link *l, const char *why, const struct nh_ws_client_closed *end)
{
	struct nh_link_event event = {.kind = NH_LINK_DISCONNECTED, .text = nh_slice_str(why), .status = end ? end->status : 0, .code = end ? end->code : 0};
	uint64_t retry_after_s = end ? end->retry_after_s : 0;
	nh_ws_client_close(l->ws);
	l->ws = NULL;
	poll_stop(l);
	connection_shaken(l);
	nh_timer_stop(l->heartbeat);
	topics_closed(l);
	nh_buf_wipe(&l->signature.token);
	if (l->phase == LINK_REBOOTING)
		return;
	event.delay_ms = link_backoff_next(l, retry_after_s);
	l->phase = LINK_WAITING;
	nh_timer_start(l->timer, event.delay_ms, 0);
	link_event(l, &event);
}

void connection_close(struct nh_link *l, const char *why) { connection_lost(l, why, NULL); }

/* ---- heartbeat */

void connection_on_heartbeat(void *arg)
{
	struct nh_link *l = arg;
	if (l->heartbeat_ref) {
		connection_close(l, "the server did not answer the heartbeat");
		return;
	}
	char ref[24];
	l->heartbeat_ref = ++l->next_ref;
	snprintf(ref, sizeof ref, "%llu", (unsigned long long)l->heartbeat_ref);
	struct nh_phoenix_message m = {.ref = nh_phoenix_ref_text(nh_slice_str(ref)), .topic = NH_LIT("phoenix"), .event = NH_LIT("heartbeat")};
	connection_send(l, &m);
}

bool connection_send(struct nh_link *l, const struct nh_phoenix_message *m)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	if (!l->ws)
		return false;
	l->codec->encode(&frame, m);
	return nh_ws_client_send(l->ws, l->codec->binary ? NH_WS_BINARY : NH_WS_TEXT, nh_buf_slice(&frame)) == NH_OK;
}

/* ---- socket events */

static void on_open(void *ctx, const struct nh_http_response_head *head)
{
	struct nh_link *l = ctx;
	l->phase = LINK_OPEN;
	l->heartbeat_ref = 0;
	l->server_date_us = 0;
	connection_shaken(l);
	clock_connected(l);
	nh_buf_wipe(&l->signature.token);
	nh_timer_start(l->heartbeat, l->config.heartbeat_ms, l->config.heartbeat_ms);
	link_event_text(l, NH_LINK_CONNECTED, l->url);
	if (!l->closing && l->phase == LINK_OPEN)
		topic_start(l, LINK_DEVICE);
}

static void on_message(void *ctx, nh_ws_opcode opcode, nh_slice data)
{
	struct nh_link *l = ctx;
	if (opcode == (l->codec->binary ? NH_WS_BINARY : NH_WS_TEXT))
		topics_message(l, data);
}

/* A 3xx answer: the next attempt goes there, but never from TLS to plain, and not in circles. What to add to why this one ended. source: reference/device-protocol "2.6" */
static const char *follow(struct nh_link *l, nh_slice location)
{
	const char *wrong = NULL;
	if (location.len == 0 || location.len > LINK_URL_MAX)
		wrong = "; its redirect names no address";
	else if (link_config_secure(nh_slice_str(l->url)) && !link_config_secure(location))
		wrong = "; its redirect leaves TLS and is not followed";
	else if (++l->redirects > LINK_REDIRECTS_MAX)
		wrong = "; too many redirects";
	if (wrong)
		l->redirects = 0;
	link_set_text(&l->url, wrong ? l->configured_url : location);
	return wrong ? wrong : "";
}

static void on_close(void *ctx, const struct nh_ws_client_closed *closed)
{
	struct nh_link *l = ctx;
	char why[768];
	if (closed->status)
		snprintf(why, sizeof why, "%s%s%.*s", closed->err.msg, closed->reason.len ? ": " : "", NH_ARG(nh_slice_sub(closed->reason, 0, 200)));
	else if (closed->rc == NH_OK)
		snprintf(why, sizeof why, "the server closed the connection (%u%s%.*s)", closed->code, closed->reason.len ? " " : "", NH_ARG(closed->reason));
	else
		snprintf(why, sizeof why, "%s", closed->err.msg);
	if (closed->status && closed->date_us) {
		l->server_date_us = closed->date_us;
		l->server_date_mono_ms = nh_mono_ms();
	}
	if (closed->status >= 300 && closed->status < 400) {
		size_t used = strlen(why);
		snprintf(why + used, sizeof why - used, "%s", follow(l, closed->location));
	}
	if (l->phase == LINK_CONNECTING)
		element_forget(l);
	connection_lost(l, why, closed);
}

static const struct nh_ws_client_events ws_events = {.on_open = on_open, .on_message = on_message, .on_close = on_close};

void nh_link_drop(struct nh_link *l, bool download)
{
	if (download && l->update && l->update->get)
		download_lost(l, "dropped");
	if (l->ws || l->poll)
		connection_close(l, "dropped");
}

/*
 * The other transport: instead of holding a connection the device asks from time to time whether there is an update for it, and says what it runs while it asks. One
 * request at a time; none while an update is being installed. What the server answers goes the same way into the updater as an offer on the device channel, and
 * the first good answer counts as the join, every one as a connection: events, backoff and validation are the same. What only a channel can carry (progress, status, orders) is not told.
 *
 * source: reference/device-protocol "15"
 */
#include "link_int.h"

#include <stdio.h>

#define ANSWER_MAX ((size_t)256 << 10)
/* Together less than what servers take as a head. */
#define HEADERS_MAX 40
#define NAME_MAX_LEN 64
#define VALUE_MAX 512
#define PREFIX "nerves_fw_"

bool poll_is_chosen(const struct nh_link *l) { return l->config.transport == NH_LINK_POLL; }

static void failed(struct nh_link *l, const char *why, const struct nh_ws_client_closed *end)
{
	if (l->phase != LINK_JOINED)
		element_forget(l);
	connection_lost(l, why, end);
}

/* ---- answer */

static nh_rc on_head(void *ctx, const struct nh_http_response_head *head)
{
	struct nh_link *l = ctx;
	l->poll_status = head->status;
	l->poll_retry_after_s = nh_http_retry_after_s(&head->headers);
	return head->status == 200 ? NH_OK : NH_EPERM; /* what a refusal says at length helps nobody here */
}

static nh_rc on_body(void *ctx, nh_slice bytes)
{
	nh_buf_put_slice(&((struct nh_link *)ctx)->poll_body, bytes);
	return NH_OK;
}

/* The four keys of an answer, or NULL. */
static const json_t *answer_data(const json_t *body)
{
	const json_t *data = json_object_get(body, "data");
	return json_is_boolean(json_object_get(data, "update_available")) ? data : NULL;
}

static void answered(struct nh_link *l)
{
	NH_AUTO_BUF struct nh_buf text = nh_steal_buf(&l->poll_body);
	NH_AUTO_JSON json_t *body = NULL;
	if (nh_json_parse(nh_buf_slice(&text), ANSWER_MAX, &body, NULL) != NH_OK || !answer_data(body)) {
		failed(l, "the server's answer is not one of the polling API", NULL);
		return;
	}
	link_backoff_reset(l);
	clock_connected(l);
	nh_timer_start(l->timer, link_jitter(l, l->config.poll_interval_ms), 0);
	link_event_text(l, NH_LINK_CONNECTED, l->url);
	if (!l->closing && l->phase != LINK_JOINED)
		channel_joined(l, NULL);
	if (!l->closing && l->phase == LINK_JOINED && json_is_true(json_object_get(answer_data(body), "update_available")))
		updater_offer(l, answer_data(body));
}

static void on_done(void *ctx, nh_rc rc, const struct nh_err *err)
{
	struct nh_link *l = ctx;
	struct nh_err why = *err;
	nh_http_get_close(l->poll);
	l->poll = NULL;
	connection_shaken(l);
	if (rc == NH_OK) {
		answered(l);
		return;
	}
	struct nh_ws_client_closed end = {.rc = rc};
	if (l->poll_status && l->poll_status != 200) {
		end.status = l->poll_status;
		end.retry_after_s = l->poll_retry_after_s;
		NH_IGNORE(NH_FAIL(&why, rc, "the server refused: HTTP %u %s%s", end.status, nh_http_reason(end.status),
				  end.status == 404 || (end.status >= 300 && end.status < 400) ? "; it may have no polling API" : "")); /* told below */
	}
	failed(l, why.msg, &end);
}

/* ---- question */

static bool fits(nh_slice name, nh_slice value)
{
	for (size_t i = 0; i < name.len; i++)
		if (!nh_http_is_token_char(name.ptr[i]))
			return false;
	for (size_t i = 0; i < value.len; i++)
		if (value.ptr[i] < 0x20 || value.ptr[i] == 0x7f)
			return false;
	return name.len > 0 && name.len <= NAME_MAX_LEN && value.len > 0 && value.len <= VALUE_MAX;
}

/* Every nerves_fw_ pair of the running slot, as all clients send them: prefix exchanged, underscores and all. */
static size_t put_headers(struct nh_link *l, struct nh_client_header headers[HEADERS_MAX])
{
	size_t count = 0;
	headers[count++] = (struct nh_client_header){"Content-Type", NH_LIT("application/json")};
	if (l->config.fwup_version)
		headers[count++] = (struct nh_client_header){"X-NervesHub-fwup-version", nh_slice_str(l->config.fwup_version)};
	for (size_t i = 0; i < l->state.count && count < HEADERS_MAX; i++) {
		nh_slice name = l->state.pairs[i].name, value = l->state.pairs[i].value;
		if (!nh_slice_starts(name, NH_LIT(PREFIX)))
			continue;
		name = nh_slice_skip(name, sizeof PREFIX - 1);
		if (fits(name, value))
			headers[count++] = (struct nh_client_header){nh_arena_printf(&l->state_arena, "X-NervesHub-%.*s", NH_ARG(name)), value};
	}
	return count;
}

void poll_on_state(struct nh_link *l)
{
	struct nh_client_header headers[HEADERS_MAX];
	char text[600];
	struct nh_err err = NH_ERR_INIT;
	if (l->phase != LINK_CONNECTING && l->phase != LINK_JOINED)
		return;
	if (l->job_rc != NH_OK) {
		snprintf(text, sizeof text, "cannot read what this machine runs: %s", l->job_err.msg);
		failed(l, text, NULL);
		return;
	}
	channel_remember(l);
	struct nh_http_get_config config = {
		.url = l->configured_url,
		.tls = l->tls,
		.server_name = l->config.server_name,
		.headers = headers,
		.header_count = put_headers(l, headers),
		.max_redirects = LINK_REDIRECTS_MAX,
		.connect_timeout_ms = l->config.connect_timeout_ms,
		.idle_timeout_ms = l->config.download_idle_ms,
		.max_body_bytes = ANSWER_MAX,
		.proxy = l->proxy,
		.handshake = connection_hand_over,
	};
	struct nh_http_get_events events = {on_head, on_body, on_done, l};
	l->poll_status = 0;
	l->poll_retry_after_s = 0;
	nh_buf_fini(&l->poll_body);
	nh_rc rc = nh_http_get_open(l->loop, &config, &events, &l->poll, &err);
	nh_arena_fini(&l->state_arena);
	l->state = (struct nh_link_state){0};
	if (rc != NH_OK)
		failed(l, err.msg, NULL);
}

void poll_start(struct nh_link *l)
{
	if (l->phase != LINK_JOINED) {
		l->phase = LINK_CONNECTING;
		link_event_text(l, NH_LINK_CONNECTING, l->url);
	}
	if (!l->closing && !link_job_busy(l, &l->state_job))
		link_job_submit(l, &l->state_job);
}

void poll_due(struct nh_link *l)
{
	if (l->update || l->poll || link_job_busy(l, &l->prepare_job) || link_job_busy(l, &l->state_job))
		nh_timer_start(l->timer, link_jitter(l, l->config.poll_interval_ms), 0);
	else
		connection_start(l);
}

void poll_stop(struct nh_link *l)
{
	nh_http_get_close(l->poll);
	l->poll = NULL;
	nh_buf_fini(&l->poll_body);
}

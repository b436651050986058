/*
 * Brings the bytes of an update: one GET after the other until the file is whole. A lost connection is resumed with Range, guarded by the entity tag or by the
 * announced checksum; where the server sends the whole file instead, what was applied is compared and skipped, and what lies in a cache begins anew. Every connection
 * is announced as `started`.
 * source: reference/device-protocol "13.2", "13.3", "9.2"
 */
#include "update_int.h"

#include <stdio.h>
#include <stdlib.h>

static void attempt(struct nh_link *l);

static void set_paused(struct link_update *u)
{
	if (!u->get)
		return;
	if (u->paused_queue || u->paused_pace)
		nh_http_get_pause(u->get);
	else
		nh_http_get_resume(u->get);
}

/* ---- answers */

/* Errors of the answer itself are final; rc is only the channel through the client's callbacks. */
static nh_rc give_up(struct nh_link *l, const char *text)
{
	updater_fail(l, "Download failed", text);
	return NH_ECLOSED;
}

/* The server has nothing at this address, or not what we believed: what we have of it is of no use. Anything else may come right: the next offer goes on. */
static nh_rc give_up_status(struct nh_link *l, unsigned status, const char *text)
{
	struct link_update *u = l->update;
	bool gone = status == 404 || status == 410 || status == 416;
	u->fate = gone ? CACHE_DROP : CACHE_FORGET;
	if (u->old && (gone || status == 401 || status == 403)) {
		updater_outdated(l);
		return NH_ECLOSED;
	}
	return give_up(l, text);
}

/* The bytes asked for do not exist: we have all, which is how a file of unknown size may end, or what we have is of another file. */
static nh_rc on_unsatisfied(struct nh_link *l, const struct nh_http_response_head *head)
{
	struct link_update *u = l->update;
	struct nh_http_content_range range;
	if (u->received == 0 || nh_http_content_range_parse(nh_http_header_get(&head->headers, "content-range"), &range) != NH_OK || !range.unsatisfied)
		return give_up_status(l, head->status, "HTTP 416 Range Not Satisfiable");
	if (range.total == u->received) {
		u->complete = true;
		return NH_ECLOSED;
	}
	return give_up_status(l, head->status, "the file on the server is another one than before");
}

static bool retry_status(unsigned status) { return status == 408 || status == 425 || status == 429 || status >= 500; }

static nh_rc check_total(struct nh_link *l, uint64_t total)
{
	struct link_update *u = l->update;
	if ((u->total && total != u->total) || (u->offer.size_bytes && total != u->offer.size_bytes))
		return give_up(l, "the file does not have the size that was announced");
	u->total = total;
	return NH_OK;
}

static nh_rc on_whole(struct nh_link *l, const struct nh_http_response_head *head)
{
	struct link_update *u = l->update;
	nh_slice etag = nh_http_header_get(&head->headers, "etag");
	if (head->has_length)
		NH_TRY(check_total(l, head->content_length));
	if (!u->cache && u->received > u->restart_skip)
		u->restart_skip = u->received;
	u->restart_pending = u->cache ? u->received > 0 : u->restart_skip > 0;
	u->received = 0;
	/* Only a strong tag says that bytes are the same. */
	link_set_text(&u->etag, nh_slice_starts(etag, NH_LIT("\"")) ? etag : NH_SLICE_EMPTY);
	return NH_OK;
}

static nh_rc on_part(struct nh_link *l, const struct nh_http_response_head *head)
{
	struct link_update *u = l->update;
	struct nh_http_content_range range;
	if (u->received == 0 || nh_http_content_range_parse(nh_http_header_get(&head->headers, "content-range"), &range) != NH_OK || range.unsatisfied ||
	    range.first != u->received)
		return give_up(l, "the server sent another part than was asked for");
	return range.total == UINT64_MAX ? NH_OK : check_total(l, range.total);
}

static nh_rc on_head(void *ctx, const struct nh_http_response_head *head)
{
	struct nh_link *l = ctx;
	char text[64];
	if (head->status == 200)
		return on_whole(l, head);
	if (head->status == 206)
		return on_part(l, head);
	snprintf(text, sizeof text, "HTTP %u %s", head->status, nh_http_reason(head->status));
	if (head->status == 416)
		return on_unsatisfied(l, head);
	if (retry_status(head->status)) {
		link_set_text(&l->update->why, nh_slice_str(text));
		return NH_ECLOSED;
	}
	return give_up_status(l, head->status, text);
}

static void pace(struct nh_link *l)
{
	struct link_update *u = l->update;
	uint64_t rate = l->config.download_bytes_per_s;
	if (rate == 0)
		return;
	uint64_t due_ms = u->attempt_bytes * 1000 / rate, spent_ms = nh_loop_now_ms(l->loop) - u->attempt_ms;
	if (due_ms <= spent_ms + 10)
		return;
	u->paused_pace = true;
	nh_timer_start(u->pace, due_ms - spent_ms, 0);
}

static void on_pace(void *arg)
{
	struct nh_link *l = arg;
	l->update->paused_pace = false;
	set_paused(l->update);
}

static nh_rc on_body(void *ctx, nh_slice bytes)
{
	struct nh_link *l = ctx;
	struct link_update *u = l->update;
	if (u->total && bytes.len > u->total - u->received)
		return give_up(l, "the server sent more than the file's size");
	nh_buf_put_slice(&u->queue, bytes);
	u->received += bytes.len;
	u->attempt_bytes += bytes.len;
	u->paused_queue = u->queue.len >= UPDATE_QUEUE_MAX;
	pace(l);
	if (u->paused_queue || u->paused_pace)
		set_paused(u);
	download_pump(l);
	return NH_OK;
}

static void on_done(void *ctx, nh_rc rc, const struct nh_err *err)
{
	struct nh_link *l = ctx;
	struct link_update *u = l->update;
	nh_http_get_close(u->get);
	u->get = NULL;
	if (u->phase != UPDATE_RUNNING)
		return;
	if (u->complete) {
		download_pump(l);
	} else if (rc == NH_OK && (u->total == 0 || u->received == u->total)) {
		u->complete = true;
		download_pump(l);
	} else if (rc == NH_OK || rc == NH_ECLOSED || rc == NH_ETIMEOUT || rc == NH_EIO) {
		download_lost(l, u->why ? u->why : rc == NH_OK ? "the file ended early" : err->msg);
	} else {
		u->fate = CACHE_FORGET;
		updater_fail(l, "Download failed", err->msg);
	}
}

/* ---- attempts */

void download_lost(struct nh_link *l, const char *why)
{
	struct link_update *u = l->update;
	char text[600];
	if (u->phase != UPDATE_RUNNING)
		return;
	nh_http_get_close(u->get);
	u->get = NULL;
	if (++u->disconnects > l->config.download_retries) {
		snprintf(text, sizeof text, "%s (%u attempts)", why, u->disconnects);
		u->fate = CACHE_FORGET;
		updater_fail(l, "Download failed", text);
		return;
	}
	char *copy = nh_xstrdup(nh_slice_str(why));
	free(u->why);
	u->why = copy;
	nh_timer_start(u->retry, link_jitter(l, l->config.download_retry_ms), 0);
}

/* A new attempt asks for what follows the bytes that were applied, so these must all be. */
static void on_retry(void *arg)
{
	struct nh_link *l = arg;
	l->update->retry_due = true;
	download_pump(l);
}

static void attempt(struct nh_link *l)
{
	struct link_update *u = l->update;
	struct nh_err err = NH_ERR_INIT;
	char number[16];
	snprintf(number, sizeof number, "%u", u->disconnects);
	const struct nh_client_header headers[] = {{"X-Retry-Number", nh_slice_str(number)}, {"Content-Type", NH_LIT("application/octet-stream")}};
	/* While an earlier part is being compared again, the file has to come from its start. */
	bool range = u->received > 0 && u->received >= u->restart_skip && (u->etag || u->offer.sha256_hex.len == 2 * NH_SHA256_LEN);
	struct nh_http_get_config config = {
		.url = u->offer.url,
		.tls = u->tls,
		.headers = headers,
		.header_count = NH_ARRAY_LEN(headers),
		.range = range,
		.range_first = u->received,
		.if_range = nh_slice_str(u->etag),
		.connect_timeout_ms = l->config.connect_timeout_ms,
		.idle_timeout_ms = l->config.download_idle_ms,
		.proxy = l->proxy,
	};
	struct nh_http_get_events events = {on_head, on_body, on_done, l};
	u->retry_due = false;
	u->paused_queue = u->paused_pace = false;
	u->attempt_bytes = 0;
	u->attempt_ms = nh_loop_now_ms(l->loop);
	channel_push_json(l, "status_update", json_pack("{s:s, s:s?}", "status", "started", "downloader_network_interface", route_name(l)));
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_STARTED, .text = nh_slice_str(u->why), .uuid = u->offer.uuid, .version = u->offer.version});
	if (l->closing)
		return;
	link_set_text(&u->why, NH_SLICE_EMPTY);
	if (nh_http_get_open(l->loop, &config, &events, &u->get, &err) != NH_OK)
		updater_fail(l, "Download failed", err.msg);
}

void download_start(struct nh_link *l)
{
	l->update->retry = nh_timer_new(l->loop, on_retry, l);
	l->update->pace = nh_timer_new(l->loop, on_pace, l);
	l->update->complete = l->update->offer.size_bytes > 0 && l->update->received == l->update->offer.size_bytes; /* only the seal is missing */
	l->update->retry_due = true;
	download_pump(l);
}

void download_stop(struct link_update *u)
{
	nh_http_get_close(u->get);
	nh_timer_close(u->retry);
	nh_timer_close(u->pace);
	u->get = NULL;
	u->retry = u->pace = NULL;
}

void download_pump(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->phase != UPDATE_RUNNING || link_job_busy(l, &l->write_job))
		return;
	if (u->queue.len > 0) {
		u->writing = nh_steal_buf(&u->queue);
		u->restart_job = u->restart_pending;
		u->restart_pending = false;
		if (u->paused_queue) {
			u->paused_queue = false;
			set_paused(u);
		}
		link_job_submit(l, &l->write_job);
	} else if (u->complete) {
		updater_downloaded(l);
	} else if (u->retry_due) {
		attempt(l);
	}
}

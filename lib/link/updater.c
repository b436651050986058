/*
 * One update at a time, from the offer to its outcome. The machine's part runs as jobs on the pool: open → write… → finish, or abort. Bytes come from
 * download.c. source: reference/device-protocol "8.1", "9.1", "9.2", "9.5", "14.3"
 */
#include "update_int.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"

#define RESCHEDULE_MIN_MS 300000u

/* ---- telling */

/* A status that could not be sent is told after the next join. */
static void tell_status(struct nh_link *l, const char *status, const char *reason, uint64_t delay_ms)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_put_str(&text, "{\"status\":");
	nh_json_put_string(&text, nh_slice_str(status));
	if (delay_ms)
		nh_buf_printf(&text, ",\"delay_for\":%llu", (unsigned long long)delay_ms);
	if (reason) {
		nh_buf_put_str(&text, ",\"reason\":");
		nh_json_put_string(&text, nh_slice_str(reason));
	}
	nh_buf_put_u8(&text, '}');
	if (!channel_push(l, "status_update", nh_buf_cstr(&text)))
		link_set_text(&l->pending_status, nh_buf_slice(&text));
}

static void tell_progress(struct nh_link *l, unsigned percent)
{
	struct link_update *u = l->update;
	uint64_t now = nh_loop_now_ms(l->loop);
	if (percent <= u->percent_sent || (percent < 100 && u->percent_sent_ms && now - u->percent_sent_ms < l->config.progress_interval_ms))
		return;
	u->percent_sent = percent;
	u->percent_sent_ms = now;
	channel_push_json(l, "fwup_progress", json_pack("{s:s, s:i}", "stage", "updating", "value", (int)percent));
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_PROGRESS, .percent = percent, .text = NH_LIT("updating"), .uuid = u->offer.uuid});
}

const char *updater_uuid(const struct nh_link *l)
{
	return l->update && l->update->phase != UPDATE_ABORTING ? (const char *)l->update->offer.uuid.ptr : NULL;
}

/* ---- end */

static void update_free(struct nh_link *l)
{
	struct link_update *u = l->update;
	l->update = NULL;
	nh_buf_fini(&u->queue);
	nh_buf_fini(&u->writing);
	nh_digest_stream_free(u->digest);
	nh_digest_stream_free(u->recheck);
	nh_tls_unref(u->tls);
	free(u->etag);
	free(u->why);
	nh_arena_fini(&u->arena);
	free(u);
}

static bool job_busy(const struct nh_link *l)
{
	return link_job_busy(l, &l->open_job) || link_job_busy(l, &l->write_job) || link_job_busy(l, &l->finish_job) || link_job_busy(l, &l->abort_job);
}

/* After a failure: once no job runs, the apply is given up and the update forgotten. */
static void abort_step(struct nh_link *l)
{
	if (job_busy(l))
		return;
	if (l->update->apply)
		link_job_submit(l, &l->abort_job);
	else
		update_free(l);
}

void updater_fail(struct nh_link *l, const char *what, const char *text)
{
	struct link_update *u = l->update;
	char reason[700];
	if (u->phase == UPDATE_ABORTING)
		return;
	u->phase = UPDATE_ABORTING;
	download_stop(u);
	snprintf(reason, sizeof reason, "%s : %s", what, text);
	tell_status(l, "failed", reason, 0);
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_FAILED, .text = nh_slice_str(reason), .uuid = u->offer.uuid, .version = u->offer.version});
	if (!l->closing)
		abort_step(l);
}

void updater_close(struct nh_link *l)
{
	if (!l->update)
		return;
	l->update->phase = UPDATE_ABORTING;
	download_stop(l->update);
}

bool updater_abort_pending(struct nh_link *l)
{
	if (!l->update || !l->update->apply)
		return false;
	l->abort_job.queued = false; /* the queue was cleared */
	link_job_submit(l, &l->abort_job);
	return true;
}

void updater_free(struct nh_link *l)
{
	if (l->update)
		update_free(l);
}

/* ---- jobs */

static void run_open(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (nh_slice_starts(u->offer.url, NH_LIT("https:"))) {
		u->rc = nh_tls_client_new(&(struct nh_tls_client_config){.ca_pem = l->config.ca_pem}, &u->tls, &u->err);
		if (u->rc != NH_OK)
			return;
	}
	u->digest = nh_digest_stream_new(NH_SHA256);
	u->rc = l->config.platform->apply_open(l->config.platform_ctx, &u->offer, &u->apply, &u->err);
}

static void on_opened(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->phase == UPDATE_ABORTING) {
		abort_step(l);
	} else if (u->rc != NH_OK) {
		updater_fail(l, "Update failed", u->err.msg);
	} else {
		u->phase = UPDATE_RUNNING;
		download_start(l);
	}
}

/* The server sends the file from its start although a part was asked for: the bytes we have are compared, not applied again. */
static void begin_restart(struct link_update *u)
{
	if (u->skip_left == 0)
		nh_digest_stream_final(u->digest, u->prefix);
	nh_digest_stream_free(u->digest);
	nh_digest_stream_free(u->recheck);
	u->digest = nh_digest_stream_new(NH_SHA256);
	u->recheck = nh_digest_stream_new(NH_SHA256);
	u->skip_left = u->restart_skip_job;
	u->restart_skip_job = 0;
}

static nh_rc compare_again(struct link_update *u, nh_slice bytes)
{
	uint8_t digest[NH_SHA256_LEN];
	nh_digest_stream_update(u->recheck, bytes);
	u->skip_left -= bytes.len;
	if (u->skip_left > 0)
		return NH_OK;
	nh_digest_stream_final(u->recheck, digest);
	nh_digest_stream_free(u->recheck);
	u->recheck = NULL;
	if (!nh_slice_eq(nh_slice_of(digest, sizeof digest), nh_slice_of(u->prefix, sizeof u->prefix)))
		return NH_FAIL(&u->err, NH_ECONFLICT, "the file on the server changed during the download");
	return NH_OK;
}

static void run_write(struct nh_link *l)
{
	struct link_update *u = l->update;
	nh_slice bytes = nh_buf_slice(&u->writing);
	if (u->restart_skip_job)
		begin_restart(u);
	nh_digest_stream_update(u->digest, bytes);
	u->rc = NH_OK;
	u->apply_failed = false;
	if (u->skip_left > 0) {
		nh_slice again = nh_slice_sub(bytes, 0, u->skip_left < bytes.len ? (size_t)u->skip_left : bytes.len);
		u->rc = compare_again(u, again);
		bytes = nh_slice_skip(bytes, again.len);
	}
	if (u->rc == NH_OK && bytes.len > 0) {
		unsigned percent = UINT32_MAX;
		u->rc = l->config.platform->apply_write(u->apply, bytes, &percent, &u->err);
		u->apply_failed = u->rc != NH_OK;
		u->applied += bytes.len;
		if (percent <= 100) {
			u->percent = percent;
			u->percent_known = true;
		}
	}
	nh_buf_fini(&u->writing);
}

static void on_written(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->phase == UPDATE_ABORTING) {
		abort_step(l);
		return;
	}
	if (u->rc != NH_OK) {
		updater_fail(l, u->apply_failed ? "Update failed" : "Download failed", u->err.msg);
		return;
	}
	if (!u->percent_known && u->total)
		u->percent = (unsigned)(u->applied * 100 / u->total);
	tell_progress(l, u->percent < 99 ? u->percent : 99);
	if (!l->closing)
		download_pump(l);
}

static void run_finish(struct nh_link *l)
{
	struct link_update *u = l->update;
	uint8_t digest[NH_SHA256_LEN], wanted[NH_SHA256_LEN];
	nh_digest_stream_final(u->digest, digest);
	u->apply_failed = false;
	if (nh_hex_decode_fixed(u->offer.sha256_hex, wanted, sizeof wanted) == NH_OK && !nh_slice_eq(nh_slice_of(digest, sizeof digest), nh_slice_of(wanted, sizeof wanted))) {
		u->rc = NH_FAIL(&u->err, NH_EFORMAT, "the file does not have the checksum that was announced");
		return;
	}
	u->rc = l->config.platform->apply_finish(u->apply, &u->err);
	u->apply = NULL;
	u->apply_failed = u->rc != NH_OK;
}

static void on_finished(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->rc != NH_OK) {
		updater_fail(l, u->apply_failed ? "Update failed" : "Download failed", u->err.msg);
		return;
	}
	tell_progress(l, 100);
	if (l->closing)
		return;
	tell_status(l, "completed", NULL, 0);
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_INSTALLED, .uuid = u->offer.uuid, .version = u->offer.version});
	if (!l->closing)
		link_reboot(l, "update"); /* the update stays: nothing else may begin before the reboot */
}

static void run_abort(struct nh_link *l)
{
	l->config.platform->apply_abort(l->update->apply);
	l->update->apply = NULL;
}

static void on_aborted(struct nh_link *l) { update_free(l); }

void updater_init_jobs(struct nh_link *l)
{
	l->open_job = (struct link_job){.run = run_open, .done = on_opened};
	l->write_job = (struct link_job){.run = run_write, .done = on_written};
	l->finish_job = (struct link_job){.run = run_finish, .done = on_finished};
	l->abort_job = (struct link_job){.run = run_abort, .done = on_aborted};
}

/* ---- offer */

static nh_slice lower(struct nh_arena *arena, nh_slice s)
{
	char *text = nh_arena_str(arena, s);
	for (char *c = text; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	return nh_slice_str(text);
}

/* False: no usable update in it. source: reference/device-protocol "8.1": tolerate nulls, missing fields and update_available false */
static bool read_offer(struct nh_link *l, const json_t *payload, struct nh_arena *arena, struct nh_link_offer *o)
{
	const json_t *meta = json_object_get(payload, "firmware_meta");
	nh_slice url = nh_json_text(payload, "firmware_url"), uuid = nh_json_text(meta, "uuid");
	if (json_is_false(json_object_get(payload, "update_available")) || url.len == 0 || url.len > LINK_URL_MAX || uuid.len == 0 || uuid.len >= LINK_UUID_MAX)
		return false;
	int64_t size = nh_json_int(payload, "size", 0);
	*o = (struct nh_link_offer){
		.url = nh_arena_copy(arena, url),
		.uuid = lower(arena, uuid),
		.product = nh_arena_copy(arena, nh_json_text(meta, "product")),
		.version = nh_arena_copy(arena, nh_json_text(meta, "version")),
		.platform = nh_arena_copy(arena, nh_json_text(meta, "platform")),
		.architecture = nh_arena_copy(arena, nh_json_text(meta, "architecture")),
		.sha256_hex = nh_arena_copy(arena, nh_json_text(payload, "checksum")),
		.size_bytes = size > 0 ? (uint64_t)size : 0,
		.public_keys = (const char *const *)l->keys,
		.key_count = l->key_count,
	};
	return true;
}

static void ignore(struct nh_link *l, const struct nh_link_offer *o, const char *reason)
{
	tell_status(l, "ignored", reason, 0);
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_IGNORED, .text = nh_slice_str(reason), .uuid = o->uuid, .version = o->version});
}

/* True: go ahead. */
static bool decide(struct nh_link *l, const struct nh_link_offer *o)
{
	const struct nh_link_platform *p = l->config.platform;
	char reason[256] = "";
	uint64_t delay_ms = 0;
	if (nh_slice_eq_str(o->uuid, l->running_uuid)) {
		ignore(l, o, "already running");
		return false;
	}
	nh_link_decision d = p->decide ? p->decide(l->config.platform_ctx, o, &delay_ms, reason, sizeof reason) : NH_LINK_APPLY;
	if (d == NH_LINK_IGNORE)
		ignore(l, o, reason);
	if (d == NH_LINK_RESCHEDULE) {
		if (delay_ms < RESCHEDULE_MIN_MS)
			delay_ms = RESCHEDULE_MIN_MS; /* also tells milliseconds from minutes. source: reference/device-protocol "9.2" */
		tell_status(l, "rescheduled", reason[0] ? reason : NULL, delay_ms);
		link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_RESCHEDULED, .text = nh_slice_str(reason), .uuid = o->uuid, .version = o->version, .delay_ms = delay_ms});
	}
	return d == NH_LINK_APPLY;
}

static void refuse(struct nh_link *l, const struct nh_link_offer *o, const char *reason)
{
	tell_status(l, "failed", reason, 0);
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_FAILED, .text = nh_slice_str(reason), .uuid = o->uuid, .version = o->version});
}

void updater_offer(struct nh_link *l, const json_t *payload)
{
	const struct nh_link_platform *p = l->config.platform;
	struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_offer o;
	if (l->update)
		return; /* busy: silently ignored. source: reference/device-protocol "14.3" */
	if (!read_offer(l, payload, &arena, &o)) {
		nh_arena_fini(&arena);
		return;
	}
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_OFFERED, .uuid = o.uuid, .version = o.version});
	bool go = false;
	if (l->closing)
		go = false;
	else if (l->key_count == 0)
		refuse(l, &o, "Refusing unverified firmware : no public keys available");
	else if (!p->apply_open || !p->apply_write || !p->apply_finish || !p->apply_abort)
		refuse(l, &o, "Update failed : this device has no installer");
	else {
		tell_status(l, "received", NULL, 0);
		go = decide(l, &o) && !l->closing;
	}
	if (!go) {
		nh_arena_fini(&arena);
		return;
	}
	struct link_update *u = nh_xcalloc(1, sizeof *u);
	u->arena = arena;
	u->offer = o;
	u->total = 0;
	l->update = u;
	link_job_submit(l, &l->open_job);
}

/*
 * One update at a time, from the offer to its outcome. The machine's part runs as jobs on the pool: open → write… → finish, or abort. Bytes come from
 * download.c, and with the ways that keep a file lie in cache.c between the two: open the cache → write… → seal → install… → finish. Whether and when is decided
 * in decision.c.
 *
 * An update whose bytes are kept in files goes on after a restart of this process or of the machine without being offered again, and is announced at the join
 * like one that survived the loss of the socket: a server counts every new offer as an attempt, and few are allowed.
 *
 * source: reference/device-protocol "8.1", "9.1", "9.2", "9.5", "13.4", "14.2", "14.3"
 */
#include "update_int.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "base/uuid.h"

#define OUTDATED_MS 300000u
#define INSTALL_BYTES ((size_t)256 << 10) /* from the file to the installer at a time */

/* ---- telling */

void update_status(struct nh_link *l, const char *status, const char *reason, uint64_t delay_ms)
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
	if (!channel_push(l, "status_update", nh_buf_cstr(&text)) && strcmp(status, "received") != 0)
		link_set_text(&l->pending_status, nh_buf_slice(&text));
}

static void tell_progress(struct nh_link *l, const char *stage, unsigned percent)
{
	struct link_update *u = l->update;
	uint64_t now = nh_loop_now_ms(l->loop);
	bool same = u->stage_sent == stage;
	if (same && percent <= u->percent_sent)
		return;
	if (percent == 0 || (percent < 100 && u->percent_sent_ms && now - u->percent_sent_ms < l->config.progress_interval_ms))
		return;
	u->stage_sent = stage;
	u->percent_sent = percent;
	u->percent_sent_ms = now;
	channel_push_json(l, "fwup_progress", json_pack("{s:s, s:i}", "stage", stage, "value", (int)percent));
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_PROGRESS, .percent = percent, .text = nh_slice_str(stage), .uuid = u->offer.uuid});
}

static const char downloading[] = "downloading", updating[] = "updating";

const char *updater_uuid(const struct nh_link *l)
{
	const struct link_update *u = l->update;
	return u && u->phase != UPDATE_ABORTING && (u->phase != UPDATE_DECIDING || u->old) ? (const char *)u->offer.uuid.ptr : NULL;
}

/* ---- end */

void update_free(struct nh_link *l)
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
	const struct link_job *jobs[] = {&l->consider_job, &l->open_job, &l->write_job, &l->seal_job, &l->install_job, &l->finish_job, &l->abort_job};
	for (size_t i = 0; i < NH_ARRAY_LEN(jobs); i++)
		if (link_job_busy(l, jobs[i]))
			return true;
	return false;
}

/* A server that offers again as soon as it heard of the failure is not ignored as it would be during an update. */
static void ended(struct nh_link *l)
{
	NH_AUTO_JSON json_t *next = l->next_offer;
	l->next_offer = NULL;
	update_free(l);
	if (next)
		updater_offer(l, next);
}

/* After a failure: once no job runs, the apply is given up and the update forgotten. */
static void abort_step(struct nh_link *l)
{
	if (job_busy(l))
		return;
	if (l->update->apply || l->update->cache)
		link_job_submit(l, &l->abort_job);
	else
		ended(l);
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
	update_status(l, "failed", reason, 0);
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_FAILED, .text = nh_slice_str(reason), .uuid = u->offer.uuid, .version = u->offer.version});
	if (!l->closing)
		abort_step(l);
}

void updater_close(struct nh_link *l)
{
	decision_close(l);
	if (!l->update)
		return;
	if (l->update->phase != UPDATE_ABORTING)
		l->update->fate = CACHE_KEEP; /* it goes on when the link is opened again */
	l->update->phase = UPDATE_ABORTING;
	download_stop(l->update);
}

bool updater_abort_pending(struct nh_link *l)
{
	if (!l->update || (!l->update->apply && !l->update->cache))
		return false;
	l->abort_job.queued = false; /* the queue was cleared */
	link_job_submit(l, &l->abort_job);
	return true;
}

void updater_free(struct nh_link *l)
{
	if (l->update)
		update_free(l);
	json_decref(l->next_offer);
	if (l->restored)
		nh_arena_fini(&l->restored->arena);
	free(l->restored);
}

/* ---- open */

static nh_rc open_apply(struct nh_link *l)
{
	struct link_update *u = l->update;
	u->digest = nh_digest_stream_new(NH_SHA256);
	u->apply_failed = true;
	nh_rc rc = l->config.platform->apply_open(l->config.platform_ctx, &u->offer, &u->apply, &u->err);
	u->apply_failed = rc != NH_OK;
	return rc;
}

static void run_open(struct nh_link *l)
{
	struct link_update *u = l->update;
	struct nh_tls_client_config trust = connection_trust(l);
	u->rc = NH_OK;
	if (nh_slice_starts(u->offer.url, NH_LIT("https:")))
		u->rc = nh_tls_client_new(&trust, &u->tls, &u->err);
	if (u->rc != NH_OK)
		return;
	if (l->config.fetch == NH_LINK_STREAMING)
		u->rc = open_apply(l);
	else
		u->rc = cache_open(l->config.cache_dir, &u->offer, l->config.fetch == NH_LINK_PARTS, &u->cache, &u->err);
}

static void seal(struct nh_link *l)
{
	l->update->phase = UPDATE_SEALING;
	link_job_submit(l, &l->seal_job);
}

static void on_opened(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->phase == UPDATE_ABORTING) {
		abort_step(l);
		return;
	}
	if (u->rc != NH_OK) {
		updater_fail(l, "Update failed", u->err.msg);
		return;
	}
	if (u->cache) {
		u->received = cache_size(u->cache);
		link_set_text(&u->etag, cache_etag(u->cache));
		if (cache_sealed(u->cache)) {
			seal(l);
			return;
		}
	}
	u->phase = UPDATE_RUNNING;
	download_start(l);
}

/* ---- bytes from the network */

/* The server sends the file from its start although a part was asked for: the bytes we have are compared, not applied again. */
static void begin_restart(struct link_update *u)
{
	if (u->skip_left == 0)
		nh_digest_stream_final(u->digest, u->prefix);
	nh_digest_stream_free(u->digest);
	nh_digest_stream_free(u->recheck);
	u->digest = nh_digest_stream_new(NH_SHA256);
	u->recheck = nh_digest_stream_new(NH_SHA256);
	u->skip_left = u->restart_skip; /* does not change while bytes of the same answer are written */
	u->restart_job = false;
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

static void write_cache(struct link_update *u)
{
	u->rc = u->restart_job ? cache_rewind(u->cache, &u->err) : NH_OK;
	u->restart_job = false;
	if (u->rc == NH_OK)
		u->rc = cache_expect(u->cache, nh_slice_str(u->etag), u->total, &u->err);
	if (u->rc == NH_OK)
		u->rc = cache_append(u->cache, nh_buf_slice(&u->writing), &u->err);
}

static void write_apply(struct nh_link *l)
{
	struct link_update *u = l->update;
	nh_slice bytes = nh_buf_slice(&u->writing);
	if (u->restart_job)
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
}

static void run_write(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->cache)
		write_cache(u);
	else
		write_apply(l);
	nh_buf_fini(&u->writing);
}

/* A part of the file was not what was announced: it is asked for again. What came behind it is of no use. */
static void refetch(struct nh_link *l)
{
	struct link_update *u = l->update;
	struct nh_err err = u->err;
	u->phase = UPDATE_RUNNING;
	u->complete = false;
	nh_buf_clear(&u->queue);
	u->received = cache_size(u->cache);
	download_lost(l, err.msg);
}

static void on_written(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->phase == UPDATE_ABORTING) {
		abort_step(l);
	} else if (u->rc == NH_ECONFLICT && u->cache) {
		refetch(l);
	} else if (u->rc != NH_OK) {
		updater_fail(l, u->apply_failed ? "Update failed" : "Download failed", u->err.msg);
	} else {
		if (u->cache)
			tell_progress(l, downloading, u->total ? (unsigned)(cache_size(u->cache) * 99 / u->total) : 0); /* the rest once it is verified */
		else
			tell_progress(l, updating, u->percent_known ? u->percent < 99 ? u->percent : 99 : u->total ? (unsigned)(u->applied * 99 / u->total) : 0);
		if (!l->closing)
			download_pump(l);
	}
}

void updater_downloaded(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->cache) {
		seal(l);
		return;
	}
	u->phase = UPDATE_FINISHING;
	download_stop(u);
	link_job_submit(l, &l->finish_job);
}

/* ---- from the file to the installer */

static void run_seal(struct nh_link *l)
{
	struct link_update *u = l->update;
	u->apply_failed = false;
	u->rc = cache_seal(u->cache, &u->err);
	if (u->rc == NH_OK)
		u->rc = open_apply(l);
}

static void on_sealed(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->phase == UPDATE_ABORTING) {
		abort_step(l);
	} else if (u->rc == NH_ECONFLICT && !u->apply_failed) {
		refetch(l);
	} else if (u->rc != NH_OK) {
		updater_fail(l, u->apply_failed ? "Update failed" : "Download failed", u->err.msg);
	} else {
		download_stop(u);
		tell_progress(l, downloading, 100);
		u->phase = UPDATE_INSTALLING;
		u->percent = 0;
		u->percent_known = false;
		u->by_file = l->config.platform->apply_file != NULL;
		if (!l->closing)
			link_job_submit(l, &l->install_job);
	}
}

static nh_rc feed(struct nh_link *l)
{
	struct link_update *u = l->update;
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	unsigned percent = UINT32_MAX;
	u->apply_failed = false;
	NH_TRY(cache_read(u->cache, u->fed, INSTALL_BYTES, &bytes, &u->err));
	u->fed += bytes.len;
	u->all_fed = u->fed >= cache_size(u->cache);
	if (bytes.len == 0)
		return NH_OK;
	nh_digest_stream_update(u->digest, nh_buf_slice(&bytes));
	u->apply_failed = true;
	NH_TRY(l->config.platform->apply_write(u->apply, nh_buf_slice(&bytes), &percent, &u->err));
	u->percent_known = u->percent_known || percent <= 100;
	u->percent = percent <= 100 ? percent : u->percent_known ? u->percent : (unsigned)(u->fed * 99 / cache_size(u->cache));
	return NH_OK;
}

static void run_install(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->by_file) {
		unsigned percent = u->percent;
		u->apply_failed = true;
		u->rc = l->config.platform->apply_file(u->apply, cache_path(u->cache), &percent, &u->err);
		u->by_file = u->rc != NH_EUNSUPPORTED;
		u->all_fed = u->rc == NH_OK;
		u->percent = percent;
		if (u->rc == NH_EAGAIN)
			u->rc = NH_OK;
	}
	if (!u->by_file)
		u->rc = feed(l);
}

static void on_install_step(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->phase == UPDATE_ABORTING) {
		abort_step(l);
	} else if (u->rc != NH_OK) {
		updater_fail(l, "Update failed", u->err.msg);
	} else {
		tell_progress(l, updating, u->percent < 99 ? u->percent : 99);
		if (l->closing)
			return;
		u->phase = u->all_fed ? UPDATE_FINISHING : u->phase;
		link_job_submit(l, u->all_fed ? &l->finish_job : &l->install_job);
	}
}

/* ---- outcome */

static void run_finish(struct nh_link *l)
{
	struct link_update *u = l->update;
	uint8_t digest[NH_SHA256_LEN], wanted[NH_SHA256_LEN];
	u->apply_failed = false;
	nh_digest_stream_final(u->digest, digest);
	if (!u->by_file && nh_hex_decode_fixed(u->offer.sha256_hex, wanted, sizeof wanted) == NH_OK &&
	    !nh_slice_eq(nh_slice_of(digest, sizeof digest), nh_slice_of(wanted, sizeof wanted))) {
		u->rc = NH_FAIL(&u->err, NH_EFORMAT, "the file does not have the checksum that was announced");
		return;
	}
	u->rc = l->config.platform->apply_finish(u->apply, &u->err);
	u->apply = NULL;
	u->apply_failed = u->rc != NH_OK;
	if (u->rc == NH_OK) { /* from here on the next boot runs it */
		cache_close(u->cache, CACHE_DROP);
		u->cache = NULL;
	}
}

static void on_finished(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->rc != NH_OK) {
		updater_fail(l, u->apply_failed ? "Update failed" : "Download failed", u->err.msg);
		return;
	}
	tell_progress(l, updating, 100);
	if (l->closing)
		return;
	update_status(l, "completed", NULL, 0);
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_INSTALLED, .uuid = u->offer.uuid, .version = u->offer.version});
	if (!l->closing)
		link_reboot(l, "update"); /* the update stays: nothing else may begin before the reboot */
}

static void run_abort(struct nh_link *l)
{
	struct link_update *u = l->update;
	if (u->apply)
		l->config.platform->apply_abort(u->apply);
	u->apply = NULL;
	cache_close(u->cache, u->fate);
	u->cache = NULL;
}

static void on_aborted(struct nh_link *l) { ended(l); }

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
	const json_t *parts = json_object_get(payload, "partials_checksums");
	nh_slice *hex = NH_NEW_ARRAY(arena, json_array_size(parts) + 1, nh_slice);
	for (size_t i = 0; i < json_array_size(parts); i++)
		hex[i] = nh_arena_copy(arena, nh_slice_str(json_string_value(json_array_get(parts, i))));
	*o = (struct nh_link_offer){
		.url = nh_arena_copy(arena, url),
		.uuid = lower(arena, uuid),
		.product = nh_arena_copy(arena, nh_json_text(meta, "product")),
		.version = nh_arena_copy(arena, nh_json_text(meta, "version")),
		.platform = nh_arena_copy(arena, nh_json_text(meta, "platform")),
		.architecture = nh_arena_copy(arena, nh_json_text(meta, "architecture")),
		.sha256_hex = nh_arena_copy(arena, nh_json_text(payload, "checksum")),
		.size_bytes = size > 0 ? (uint64_t)size : 0,
		.parts_sha256_hex = hex,
		.part_count = json_array_size(parts),
		.public_keys = (const char *const *)l->keys,
		.key_count = l->key_count,
	};
	return true;
}

static void refuse(struct nh_link *l, const struct nh_link_offer *o, const char *reason)
{
	update_status(l, "failed", reason, 0);
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_FAILED, .text = nh_slice_str(reason), .uuid = o->uuid, .version = o->version});
}

/* Why this device cannot take any offer, or not this one; NULL where it can. */
static const char *obstacle(const struct nh_link *l, const struct nh_link_offer *o)
{
	const struct nh_link_platform *p = l->config.platform;
	struct nh_uuid uuid;
	if (l->key_count == 0 && !l->config.installer_verifies)
		return "Refusing unverified firmware : no public keys available";
	if (!p->apply_open || !p->apply_write || !p->apply_finish || !p->apply_abort)
		return "Update failed : this device has no installer";
	/* With a cache files are named by it. */
	if (l->config.fetch != NH_LINK_STREAMING && nh_uuid_parse(o->uuid, &uuid) != NH_OK)
		return "Update failed : the firmware's uuid is none";
	return NULL;
}

static struct link_update *update_new(struct nh_arena take_arena, const struct nh_link_offer *o)
{
	struct link_update *u = nh_xcalloc(1, sizeof *u);
	u->arena = take_arena;
	u->offer = *o;
	return u;
}

void updater_offer(struct nh_link *l, const json_t *payload)
{
	struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_offer o;
	if (l->update && l->update->phase == UPDATE_ABORTING && !l->closing) {
		json_decref(l->next_offer);
		l->next_offer = json_incref((json_t *)(uintptr_t)payload);
		return;
	}
	if (l->update || link_job_busy(l, &l->restore_job))
		return; /* busy: silently ignored. source: reference/device-protocol "14.3" */
	if (!read_offer(l, payload, &arena, &o)) {
		nh_arena_fini(&arena);
		return;
	}
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_OFFERED, .uuid = o.uuid, .version = o.version});
	const char *reason = l->closing ? NULL : obstacle(l, &o);
	if (reason)
		refuse(l, &o, reason);
	if (reason || l->closing) {
		nh_arena_fini(&arena);
		return;
	}
	l->update = update_new(arena, &o);
	l->update->offered_ms = nh_loop_now_ms(l->loop);
	if (l->postponed && nh_slice_eq(l->postponed->offer.uuid, o.uuid))
		l->update->offered_ms = l->postponed->offered_ms;
	decision_drop(l); /* an older one that waits */
	decision_begin(l);
}

void update_begin(struct nh_link *l)
{
	l->update->phase = UPDATE_OPENING;
	link_job_submit(l, &l->open_job);
}

void updater_outdated(struct nh_link *l)
{
	struct link_update *u = l->update;
	u->fate = CACHE_FORGET;
	u->phase = UPDATE_ABORTING;
	download_stop(u);
	update_status(l, "rescheduled", "the offer has run out", OUTDATED_MS);
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_RESCHEDULED, .text = NH_LIT("the offer has run out"), .uuid = u->offer.uuid, .version = u->offer.version, .delay_ms = OUTDATED_MS});
	if (!l->closing)
		abort_step(l);
}

/* ---- after a restart */

static void run_restore(struct nh_link *l)
{
	NH_AUTO_ARENA struct nh_arena scratch = NH_ARENA_INIT;
	struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_state state = {0};
	struct nh_link_offer o;
	l->job_err = NH_ERR_INIT;
	l->job_rc = cache_restore(l->config.cache_dir, &arena, &o, &l->job_err);
	if (l->job_rc == NH_OK)
		l->job_rc = l->config.platform->read_state(l->config.platform_ctx, &scratch, &state, &l->job_err);
	if (l->job_rc == NH_OK && nh_slice_eq(nh_link_state_get(&state, "nerves_fw_uuid"), o.uuid)) {
		/* The power went between the last write of the install and the end of its files. */
		cache_forget(l->config.cache_dir, o.uuid);
		l->job_rc = NH_ENOTFOUND;
	}
	if (l->job_rc == NH_OK)
		l->restored = update_new(arena, &o);
	else
		nh_arena_fini(&arena);
}

static void on_restored(struct nh_link *l)
{
	struct link_update *u = l->restored;
	if (l->job_rc != NH_OK)
		return;
	l->restored = NULL;
	l->update = u; /* offers were not taken meanwhile */
	u->old = u->begun = true;
	u->offer.public_keys = (const char *const *)l->keys;
	u->offer.key_count = l->key_count;
	if (obstacle(l, &u->offer)) {
		update_free(l); /* the server's keys, say, are not known yet: its next offer takes the bytes up */
		return;
	}
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_UPDATE_OFFERED, .text = NH_LIT("goes on"), .uuid = u->offer.uuid, .version = u->offer.version});
	if (!l->closing)
		decision_begin(l);
}

/* ---- life */

void updater_init_jobs(struct nh_link *l)
{
	l->consider_job = (struct link_job){.run = decision_run, .done = decision_done};
	l->open_job = (struct link_job){.run = run_open, .done = on_opened};
	l->write_job = (struct link_job){.run = run_write, .done = on_written};
	l->seal_job = (struct link_job){.run = run_seal, .done = on_sealed};
	l->install_job = (struct link_job){.run = run_install, .done = on_install_step};
	l->finish_job = (struct link_job){.run = run_finish, .done = on_finished};
	l->abort_job = (struct link_job){.run = run_abort, .done = on_aborted};
	l->restore_job = (struct link_job){.run = run_restore, .done = on_restored};
}

static void start(void *arg)
{
	struct nh_link *l = arg;
	if (!l->closing)
		link_job_submit(l, &l->restore_job);
}

/* On the loop's first turn: a link that is only opened to see whether it could be must leave the files alone. */
void updater_start(struct nh_link *l)
{
	if (l->config.fetch != NH_LINK_STREAMING)
		nh_loop_defer(l->loop, start, l);
}

/*
 * The archive of the device's release: fetched once, kept under its UUID, handed to the owner's program after one of the known public keys has verified its signature. The server names it at every
 * join; what is there already is left alone. One at a time: a newer one that is announced meanwhile follows. Bytes travel as in an update: socket → queue (loop) → writing (worker).
 * source: reference/device-protocol "8.3", "13.6"
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/uuid.h"
#include "extras_int.h"
#include "firmware/verify.h"

#define QUEUE_MAX ((size_t)256 << 10)
#define SIZE_MAX_BYTES ((uint64_t)4 << 30) /* where the server does not say */
#define COMMAND_MS 600000
#define NAME "archive-"
#define HALF ".archive-" /* while it is not verified */

struct archive {
	struct nh_link *link;
	char uuid[NH_UUID_TEXT_LEN + 1];
	char *url;
	uint64_t size;            /* announced; 0 = unknown */
	char *half, *path;
	struct nh_fw_public_key keys[LINK_KEYS_MAX];
	size_t key_count;

	/* loop's */
	struct nh_http_get *get;
	struct nh_timer *retry;
	struct nh_buf queue;
	uint64_t received;
	unsigned attempts;
	bool anew;                /* the server begins from the start */
	bool complete;            /* no further bytes come */
	char why[480];            /* they do not come: why; empty = all are there */

	/* worker's while the job runs */
	struct link_job job;
	void (*step)(struct archive *a);
	void (*then)(struct archive *a); /* on the loop */
	struct nh_tls *tls;
	struct nh_buf writing;
	bool truncate, there;
	int fd;
	nh_rc rc;
	struct nh_err err;
};

static void pump(struct archive *a);
static void begin(struct nh_link *l, const char *uuid, const char *url, uint64_t size);

/* ---- steps on the pool */

static void archive_run(struct nh_link *l) { l->extras->archive->step(l->extras->archive); }
static void archive_done(struct nh_link *l) { l->extras->archive->then(l->extras->archive); }

static void submit(struct archive *a, void (*step)(struct archive *a), void (*then)(struct archive *a))
{
	a->rc = NH_OK;
	a->err = NH_ERR_INIT;
	a->step = step;
	a->then = then;
	link_job_submit(a->link, &a->job);
}

/* Removes what begins so, but for one. */
static void remove_others(const char *directory, const char *prefix, const char *keep)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	while (dir && (entry = readdir(dir)) != NULL)
		if (nh_slice_starts(nh_slice_str(entry->d_name), nh_slice_str(prefix)) && !nh_slice_ends(nh_slice_str(keep), nh_slice_str(entry->d_name)))
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
}

static nh_rc open_files(struct archive *a, struct nh_err *err)
{
	const char *directory = a->link->extras->config.archive_directory;
	struct nh_tls_client_config trust = connection_trust(a->link);
	struct stat st;
	a->there = stat(a->path, &st) == 0;
	if (a->there)
		return NH_OK;
	NH_TRY(nh_dir_make(directory, 0755, err));
	remove_others(directory, HALF, "");
	if (link_config_secure(nh_slice_str(a->url)))
		NH_TRY(nh_tls_client_new(&trust, &a->tls, err));
	a->fd = open(a->half, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	return a->fd < 0 ? NH_FAIL(err, nh_rc_from_errno(errno), "%s: %s", a->half, strerrordesc_np(errno)) : NH_OK;
}

static void step_open(struct archive *a) { a->rc = open_files(a, &a->err); }

static void step_write(struct archive *a)
{
	size_t done = 0;
	if (a->truncate && (ftruncate(a->fd, 0) != 0 || lseek(a->fd, 0, SEEK_SET) != 0))
		a->rc = NH_FAIL(&a->err, nh_rc_from_errno(errno), "%s: %s", a->half, strerrordesc_np(errno));
	while (a->rc == NH_OK && done < a->writing.len) {
		ssize_t n = write(a->fd, a->writing.ptr + done, a->writing.len - done);
		if (n < 0 && errno != EINTR)
			a->rc = NH_FAIL(&a->err, nh_rc_from_errno(errno), "%s: %s", a->half, strerrordesc_np(errno));
		done += n > 0 ? (size_t)n : 0;
	}
	nh_buf_clear(&a->writing);
}

static nh_rc verify(struct archive *a, struct nh_err *err)
{
	const struct nh_fw_verify_config config = {.keys = a->keys, .key_count = a->key_count, .whole = true, .path = "archive"};
	struct nh_fw_verifier *v = nh_fw_verifier_new(&config);
	nh_rc rc = lseek(a->fd, 0, SEEK_SET) == 0 ? nh_fw_verify_fd(v, a->fd, err) : NH_FAIL(err, NH_EIO, "%s: %s", a->half, strerrordesc_np(errno));
	bool patches = rc == NH_OK && nh_fw_verifier_patches(v);
	nh_fw_verifier_free(v);
	NH_TRY(rc);
	if (patches)
		return NH_FAIL(err, NH_EAUTH, "it holds patches, which its signature does not cover");
	if (fsync(a->fd) != 0 || rename(a->half, a->path) != 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "%s: %s", a->path, strerrordesc_np(errno));
	remove_others(a->link->extras->config.archive_directory, NAME, a->path);
	return NH_OK;
}

static void step_verify(struct archive *a) { a->rc = verify(a, &a->err); }
static void step_discard(struct archive *a) { unlink(a->half); }

/* ---- end */

static void let_go(struct archive *a)
{
	nh_http_get_close(a->get);
	nh_timer_close(a->retry);
	a->get = NULL;
	a->retry = NULL;
}

static void archive_release(struct archive *a)
{
	let_go(a);
	if (a->fd >= 0)
		close(a->fd);
	nh_tls_unref(a->tls);
	nh_buf_fini(&a->queue);
	nh_buf_fini(&a->writing);
	free(a->half);
	free(a->path);
	free(a->url);
	free(a);
}

/* The next one, where one was announced meanwhile. */
static void finish(struct archive *a)
{
	struct nh_link *l = a->link;
	struct link_extras *x = l->extras;
	char *url = x->archive_next_url;
	archive_release(a);
	x->archive = NULL;
	x->archive_next_url = NULL;
	if (url && !l->closing)
		begin(l, x->archive_next_uuid, url, x->archive_next_size);
	free(url);
}

static void tell(struct archive *a, const char *what)
{
	char text[700];
	snprintf(text, sizeof text, "%s: %s", a->uuid, what);
	link_event_text(a->link, NH_LINK_ARCHIVE, text);
}

/* Nothing of ours is with the pool. */
static void fail(struct archive *a, const char *why)
{
	let_go(a);
	tell(a, why);
	if (!a->link->closing)
		submit(a, step_discard, finish);
}

static void on_command_end(void *ctx, const struct program_end *end)
{
	struct nh_link *l = ctx;
	if (end->rc != NH_OK || end->status != 0)
		link_event_text(l, NH_LINK_ERROR, end->rc == NH_OK ? "the archive's command failed" : "the archive's command took too long, or said too much");
	l->extras->archive_program = NULL;
}

static void run_command(struct archive *a)
{
	struct link_extras *x = a->link->extras;
	struct nh_err err = NH_ERR_INIT;
	const char *argv[16];
	size_t count = 0;
	while (x->config.archive_argv && x->config.archive_argv[count] && count + 2 < NH_ARRAY_LEN(argv)) {
		argv[count] = x->config.archive_argv[count];
		count++;
	}
	argv[count] = a->path;
	argv[count + 1] = NULL;
	struct program_config config = {.argv = argv, .errors_too = true, .timeout_ms = COMMAND_MS, .on_end = on_command_end, .ctx = a->link};
	program_stop(x->archive_program);
	x->archive_program = NULL;
	if (count > 0 && program_start(&x->programs, &config, &x->archive_program, &err) != NH_OK)
		link_event_text(a->link, NH_LINK_ERROR, err.msg);
}

static void on_verified(struct archive *a)
{
	if (a->rc != NH_OK) {
		fail(a, a->err.msg);
		return;
	}
	tell(a, "kept");
	if (a->link->closing)
		return;
	run_command(a);
	finish(a);
}

/* ---- download */

static nh_rc on_head(void *ctx, const struct nh_http_response_head *head)
{
	struct archive *a = ctx;
	struct nh_http_content_range range;
	if (head->status == 206 && a->received > 0)
		return nh_http_content_range_parse(nh_http_header_get(&head->headers, "content-range"), &range) == NH_OK && !range.unsatisfied && range.first == a->received ? NH_OK : NH_EFORMAT;
	if (head->status == 200) {
		a->anew = a->received > 0;
		a->received = 0;
		if (a->anew)
			nh_buf_clear(&a->queue);
		return NH_OK;
	}
	return head->status == 408 || head->status == 429 || head->status >= 500 ? NH_ECLOSED : NH_EPERM;
}

static nh_rc on_body(void *ctx, nh_slice bytes)
{
	struct archive *a = ctx;
	nh_buf_put_slice(&a->queue, bytes);
	a->received += bytes.len;
	if (a->size && a->received > a->size)
		return NH_ETOOBIG;
	if (a->queue.len > QUEUE_MAX)
		nh_http_get_pause(a->get);
	pump(a);
	return NH_OK;
}

static void on_done(void *ctx, nh_rc rc, const struct nh_err *err)
{
	struct archive *a = ctx;
	struct nh_link *l = a->link;
	bool again = rc == NH_ECLOSED || rc == NH_ETIMEOUT || rc == NH_EIO || (rc == NH_OK && a->received < a->size);
	nh_http_get_close(a->get);
	a->get = NULL;
	if (again && a->attempts++ < l->config.download_retries) {
		nh_timer_start(a->retry, link_jitter(l, l->config.download_retry_ms), 0);
		return;
	}
	a->complete = true;
	if (again || rc != NH_OK)
		snprintf(a->why, sizeof a->why, "download failed: %.400s", rc == NH_OK ? "it ended early" : err && err->msg[0] ? err->msg : nh_rc_name(rc));
	pump(a);
}

static void fetch(void *arg)
{
	struct archive *a = arg;
	struct nh_link *l = a->link;
	struct nh_http_get_config config = {
		.url = nh_slice_str(a->url),
		.tls = a->tls,
		.range = a->received > 0,
		.range_first = a->received,
		.connect_timeout_ms = l->config.connect_timeout_ms,
		.idle_timeout_ms = l->config.download_idle_ms,
		.max_body_bytes = a->size ? a->size : SIZE_MAX_BYTES,
		.proxy = l->proxy,
	};
	struct nh_http_get_events events = {on_head, on_body, on_done, a};
	struct nh_err err = NH_ERR_INIT;
	if (nh_http_get_open(l->loop, &config, &events, &a->get, &err) == NH_OK)
		return;
	a->complete = true;
	snprintf(a->why, sizeof a->why, "download failed: %.400s", err.msg);
	pump(a);
}

static void on_written(struct archive *a)
{
	if (a->rc != NH_OK) {
		fail(a, a->err.msg);
		return;
	}
	if (a->get && a->queue.len <= QUEUE_MAX)
		nh_http_get_resume(a->get);
	pump(a);
}

/* What is there is written, then what is whole is verified. */
static void pump(struct archive *a)
{
	if (link_job_busy(a->link, &a->job))
		return;
	if (a->complete && a->why[0]) {
		fail(a, a->why);
	} else if (a->queue.len > 0 || a->anew) {
		struct nh_buf empty = a->writing;
		a->writing = a->queue;
		a->queue = empty;
		a->truncate = a->anew;
		a->anew = false;
		submit(a, step_write, on_written);
	} else if (a->complete) {
		submit(a, step_verify, on_verified);
	}
}

static void on_opened(struct archive *a)
{
	if (a->rc != NH_OK) {
		fail(a, a->err.msg);
	} else if (a->there) {
		finish(a);
	} else {
		a->retry = nh_timer_new(a->link->loop, fetch, a);
		fetch(a);
	}
}

/* ---- begin */

static void begin(struct nh_link *l, const char *uuid, const char *url, uint64_t size)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	const char *directory = l->extras->config.archive_directory;
	struct archive *a = nh_xcalloc(1, sizeof *a);
	l->extras->archive = a;
	*a = (struct archive){.link = l, .url = nh_xstrdup(nh_slice_str(url)), .size = size, .fd = -1, .job = {.run = archive_run, .done = archive_done}};
	snprintf(a->uuid, sizeof a->uuid, "%s", uuid);
	nh_buf_printf(&path, "%s/" NAME "%s.fw", directory, uuid);
	a->path = nh_xstrdup(nh_buf_slice(&path));
	nh_buf_clear(&path);
	nh_buf_printf(&path, "%s/" HALF "%s.fw", directory, uuid);
	a->half = nh_xstrdup(nh_buf_slice(&path));
	for (size_t i = 0; i < l->key_count && a->key_count < LINK_KEYS_MAX; i++)
		if (nh_fw_public_key_decode(nh_slice_str(l->keys[i]), &a->keys[a->key_count], NULL) == NH_OK)
			a->key_count++;
	submit(a, step_open, on_opened);
}

void archive_event(struct nh_link *l, const json_t *payload)
{
	struct link_extras *x = l->extras;
	struct nh_uuid parsed;
	char uuid[NH_UUID_TEXT_LEN + 1];
	nh_slice url = nh_json_text(payload, "url");
	int64_t size = nh_json_int(payload, "size", 0);
	if (!x || !x->config.archive_directory || nh_uuid_parse(nh_json_text(payload, "uuid"), &parsed) != NH_OK || url.len == 0 || url.len > LINK_URL_MAX)
		return;
	nh_uuid_format(&parsed, uuid);
	if (l->key_count == 0) {
		link_event_text(l, NH_LINK_ARCHIVE, "refused: no public key is known that could have signed it");
		return;
	}
	free(x->archive_next_url);
	x->archive_next_url = NULL;
	if (!x->archive) {
		char *text = nh_xstrdup(url);
		begin(l, uuid, text, size > 0 ? (uint64_t)size : 0);
		free(text);
	} else if (strcmp(x->archive->uuid, uuid) != 0) {
		snprintf(x->archive_next_uuid, sizeof x->archive_next_uuid, "%s", uuid);
		x->archive_next_url = nh_xstrdup(url);
		x->archive_next_size = size > 0 ? (uint64_t)size : 0;
	}
}

void archive_close(struct link_extras *x)
{
	if (x->archive)
		let_go(x->archive);
}

void archive_free(struct link_extras *x)
{
	free(x->archive_next_url);
	if (x->archive) {
		unlink(x->archive->half);
		archive_release(x->archive);
	}
}

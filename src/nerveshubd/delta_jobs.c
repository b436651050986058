/*
 * Building a delta: both archives are opened where the object store has them, a worker process makes and checks the delta within limits, and only what it calls good gets a key and a row. Whatever
 * goes wrong, devices get the whole firmware; how long they wait for the delta is not this file's (hub/deltas.h).
 *
 * A worker that died, was killed or found no memory is tried again; an archive that cannot be read, and two that have no delta, are not.
 * source: reference/server-behaviour "4.6"
 */
#include "delta_jobs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "delta_worker.h"
#include "hub/deltas.h"
#include "hub/file_sums.h"
#include "hubd.h"
#include "objects/objects.h"

#define FILE_MAX (UINT64_C(8) << 30)
#define SAID_MAX ((size_t)64 << 10)
#define READ_BYTES ((size_t)128 << 10)
#define NICENESS 10
#define GRACE_US (300 * NH_US_PER_S) /* beyond a build's own time before nobody believes in it any more */

/* Programs with a sanitizer reserve more addresses than any limit would leave them. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

static struct delta_stats stats;
#define STAT(field, n) __atomic_fetch_add(&stats.field, (uint64_t)(n), __ATOMIC_RELAXED)

void delta_stats(struct delta_stats *out)
{
	const uint64_t *from = (const uint64_t *)&stats;
	uint64_t *to = (uint64_t *)out;
	for (size_t i = 0; i < sizeof stats / sizeof *from; i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

struct build {
	struct hubd *h;
	const struct nh_job *job;
	struct nh_arena arena;
	int64_t id;
	struct nh_delta delta;
	int fds[2];                 /* source, target */
	const char *folder, *output;
	json_t *said;               /* the worker's; owned */
	struct nh_delta_built built;
	struct nh_file_sums *sums;
	nh_delta_status status;     /* for give_up */
	const char *why;
};

/* ---- scratch --------------------------------------------------------------------------------------------------------------- */

static char run_name[24]; /* "delta-" and what tells this run's folders from those that an earlier one left */
static pthread_once_t run_once = PTHREAD_ONCE_INIT;

static void name_run(void) { snprintf(run_name, sizeof run_name, "delta-%08llx", (unsigned long long)nh_rng_below(&nh_rng_system, UINT64_C(1) << 32)); }

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	remove(path);
	return 0;
}

static void remove_tree(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

/* A server that was killed in the middle of a build could not tidy up. */
static const char *keep_ours(struct nh_arena *arena, const char *spool, const char *name)
{
	bool theirs = strncmp(name, "delta-", 6) == 0 && strncmp(name, run_name, strlen(run_name)) != 0;
	return theirs ? nh_arena_printf(arena, "%s/%s", spool, name) : NULL;
}

static nh_rc scratch_open(struct build *b, struct nh_err *err)
{
	const char *spool = b->h->settings->spool;
	struct dirent **names = NULL;
	pthread_once(&run_once, name_run);
	NH_TRY(nh_dir_make(spool, 0700, err));
	int count = scandir(spool, &names, NULL, NULL);
	for (int i = 0; i < count; i++) {
		const char *old = keep_ours(&b->arena, spool, names[i]->d_name);
		if (old)
			remove_tree(old);
		free(names[i]);
	}
	free(names);
	char *folder = nh_arena_printf(&b->arena, "%s/%s-XXXXXX", spool, run_name);
	if (!mkdtemp(folder))
		return NH_FAIL(err, nh_rc_from_errno(errno), "cannot make a folder in '%s': %s", spool, strerror(errno));
	b->folder = folder;
	b->output = nh_arena_printf(&b->arena, "%s/delta.fw", folder);
	return NH_OK;
}

/* ---- transactions ---------------------------------------------------------------------------------------------------------- */

/* The context's arena ends with the transaction. */
static void keep(struct nh_arena *arena, nh_slice *text) { *text = text->ptr ? nh_arena_copy(arena, *text) : NH_SLICE_EMPTY; }

static nh_rc begin_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct build *b = arg;
	struct nh_delta *d = &b->delta;
	NH_TRY(nh_delta_begin(ctx, b->id, d, err));
	nh_slice *const texts[] = {&d->source_uuid, &d->source_version, &d->target_uuid, &d->target_version, &d->source_key, &d->target_key};
	for (size_t i = 0; i < NH_ARRAY_LEN(texts); i++)
		keep(&b->arena, texts[i]);
	return NH_OK;
}

static nh_rc claim_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct build *b = arg;
	NH_TRY(nh_delta_claim(ctx, &b->delta, &b->built.object_key, err));
	keep(&b->arena, &b->built.object_key);
	return NH_OK;
}

static nh_rc publish_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct build *b = arg;
	return nh_delta_publish(ctx, &b->delta, &b->built, err);
}

static nh_rc give_up_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct build *b = arg;
	return nh_delta_give_up(ctx, b->id, b->status, nh_slice_str(b->why), err);
}

static nh_rc give_up(struct build *b, nh_delta_status status, const char *why, struct nh_err *err)
{
	b->status = status;
	b->why = why;
	NH_LOG(NH_LOG_WARN, "delta.given_up", NH_S("source", b->delta.source_uuid), NH_S("target", b->delta.target_uuid), NH_STR("status", nh_delta_status_name(status)), NH_STR("why", why));
	return job_write(b->h, give_up_fn, b, err);
}

/* A passing trouble: again, as often as is allowed. */
static nh_rc again(struct build *b, const char *why, struct nh_err *err)
{
	if (b->job->attempts < DELTA_ATTEMPTS)
		return NH_FAIL(err, NH_EIO, "%s", why);
	STAT(failed, 1);
	return give_up(b, NH_DELTA_FAILED, why, err);
}

/* ---- the worker ------------------------------------------------------------------------------------------------------------ */

static nh_rc objects_open(struct build *b, struct nh_err *err)
{
	const nh_slice keys[] = {b->delta.source_key, b->delta.target_key};
	for (size_t i = 0; i < NH_ARRAY_LEN(keys); i++) {
		uint64_t size = 0;
		NH_TRY(nh_objects_open_read(b->h->objects, nh_arena_str(&b->arena, keys[i]), &b->fds[i], &size, err));
	}
	return NH_OK;
}

/* What it wrote, in one line without an end. */
static const char *complaint(struct build *b, int status, const struct nh_buf *complaints)
{
	nh_slice line = nh_slice_trim(nh_buf_slice(complaints));
	if (status > 128)
		return nh_arena_printf(&b->arena, "the builder was ended by signal %d", status - 128);
	return line.len > 0 ? nh_arena_printf(&b->arena, "%.*s", (int)(line.len < 400 ? line.len : 400), (const char *)line.ptr) :
		nh_arena_printf(&b->arena, "the builder ended with status %d", status);
}

/* NH_OK: it said what came of it (b->said), or the delta is given up already (b->said NULL). Else: another attempt. */
static nh_rc work(struct build *b, struct nh_err *err)
{
	const struct settings *s = b->h->settings;
	NH_AUTO_BUF struct nh_buf said = NH_BUF_INIT, complaints = NH_BUF_INIT;
	const char *const argv[] = {"/proc/self/exe", DELTA_WORKER_WORD, "--scratch", b->folder, "--output", b->output, "--memory",
		nh_arena_printf(&b->arena, "%llu", (unsigned long long)s->delta_memory), "--timeout", nh_arena_printf(&b->arena, "%llums", (unsigned long long)s->delta_timeout_ms), NULL};
	const char *const nothing[] = {NULL};
	const struct nh_process_limits limits = {.memory_bytes = __asan_init || __tsan_init ? 0 : s->delta_memory, .cpu_s = s->delta_timeout_ms / 1000 + 1, .file_bytes = FILE_MAX,
						 .nice = NICENESS, .no_network = true};
	struct nh_process p = {.argv = argv, .envp = nothing, .cwd = b->folder, .timeout_ms = s->delta_timeout_ms, .max_output_bytes = SAID_MAX, .limits = &limits, .fds = b->fds, .fd_count = 2,
			       .dies_with_us = true, .cancel = b->job->stopping};
	int status = 0;
	uint64_t from_ms = nh_mono_ms();
	nh_rc rc = nh_process_run(&p, &status, &said, &complaints, err);
	STAT(busy_ms, nh_mono_ms() - from_ms);
	if (rc == NH_ETIMEOUT) {
		STAT(timed_out, 1);
		return give_up(b, NH_DELTA_TIMED_OUT, nh_arena_printf(&b->arena, "the build took longer than %llu s", (unsigned long long)s->delta_timeout_ms / 1000), err);
	}
	if (rc == NH_ECLOSED)
		return rc;
	if (rc != NH_OK)
		return again(b, nh_arena_printf(&b->arena, "%s", err->msg), err);
	if (status == 0 && nh_json_parse(nh_buf_slice(&said), SAID_MAX, &b->said, NULL) == NH_OK)
		return NH_OK;
	const char *why = complaint(b, status, &complaints);
	if (status != DELTA_WORKER_HOPELESS)
		return again(b, why, err);
	STAT(failed, 1);
	return give_up(b, NH_DELTA_FAILED, why, err);
}

/* ---- what it made ---------------------------------------------------------------------------------------------------------- */

static nh_rc copy(struct build *b, int fd, struct nh_object_upload *upload, struct nh_err *err)
{
	uint8_t *bytes = nh_xcalloc(1, READ_BYTES);
	nh_rc rc = NH_OK;
	for (ssize_t n = 1; rc == NH_OK && n > 0;) {
		n = read(fd, bytes, READ_BYTES);
		if (n < 0 && errno == EINTR) {
			n = 1;
			continue;
		}
		if (n < 0)
			rc = NH_FAIL(err, NH_EIO, "cannot read '%s': %s", b->output, strerror(errno));
		if (n > 0) {
			nh_file_sums_update(b->sums, nh_slice_of(bytes, (size_t)n));
			rc = nh_object_upload_write(upload, nh_slice_of(bytes, (size_t)n), err);
		}
	}
	free(bytes);
	return rc;
}

static nh_rc upload(struct build *b, struct nh_object_upload **out, struct nh_err *err)
{
	int fd = open(b->output, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "cannot read '%s': %s", b->output, strerror(errno));
	nh_rc rc = nh_objects_upload(b->h->objects, out, err);
	if (rc == NH_OK)
		rc = copy(b, fd, *out, err);
	close(fd);
	return rc;
}

/* As firmware comes in: the claim, the object, the row. */
static nh_rc publish(struct build *b, struct nh_err *err)
{
	struct nh_object_upload *object = NULL;
	b->sums = nh_file_sums_new();
	nh_rc rc = upload(b, &object, err);
	if (rc == NH_OK)
		rc = job_write(b->h, claim_fn, b, err);
	if (rc != NH_OK) {
		nh_object_upload_abort(object);
		return rc;
	}
	const char *key = nh_arena_str(&b->arena, b->built.object_key);
	NH_TRY(nh_object_upload_commit(object, key, err));
	b->built.size_bytes = (int64_t)nh_file_sums_size(b->sums);
	nh_file_sums_end(b->sums, &b->arena, &b->built.checksum, &b->built.partials);
	rc = job_write(b->h, publish_fn, b, err);
	if (rc != NH_OK && nh_objects_delete(b->h->objects, key, NULL) != NH_OK)
		NH_LOG(NH_LOG_INFO, "delta.object_left", NH_STR("key", key)); /* its claim is still there: the sweep deletes it */
	return rc;
}

static nh_rc settle(struct build *b, struct nh_err *err)
{
	nh_slice outcome = nh_json_text(b->said, "outcome"), message = nh_json_text(b->said, "message");
	if (!nh_slice_eq_str(outcome, "built")) {
		STAT(refused, 1);
		return give_up(b, NH_DELTA_FAILED, nh_arena_printf(&b->arena, message.len ? "%.*s: %.*s" : "%.*s", NH_ARG(outcome), NH_ARG(message)), err);
	}
	NH_AUTO_BUF struct nh_buf metadata = NH_BUF_INIT;
	nh_json_put(&metadata, json_object_get(b->said, "tool_metadata"));
	b->built.tool_metadata = nh_arena_copy(&b->arena, nh_buf_slice(&metadata));
	b->built.required_version = nh_json_text(b->said, "required_version");
	nh_rc rc = publish(b, err);
	if (rc == NH_ENOTFOUND) {
		STAT(discarded, 1);
		return NH_OK; /* deleted, or given up, while it was built */
	}
	if (rc != NH_OK)
		return nh_rc_outage(rc) ? rc : again(b, nh_arena_printf(&b->arena, "%s", err->msg), err);
	STAT(built, 1);
	STAT(saved_bytes, b->delta.target_file_bytes - b->built.size_bytes);
	NH_LOG(NH_LOG_INFO, "delta.built", NH_S("source", b->delta.source_uuid), NH_S("target", b->delta.target_uuid), NH_I("size", b->built.size_bytes), NH_I("of", b->delta.target_file_bytes));
	return NH_OK;
}

static nh_rc run(struct build *b, struct nh_err *err)
{
	nh_rc rc = job_write(b->h, begin_fn, b, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	rc = objects_open(b, err);
	if (rc == NH_OK)
		rc = scratch_open(b, err);
	if (rc != NH_OK)
		return again(b, nh_arena_printf(&b->arena, "%s", err->msg), err);
	NH_TRY(work(b, err));
	return b->said ? settle(b, err) : NH_OK;
}

nh_rc job_delta_build(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	struct build b = {.h = h, .job = job, .fds = {-1, -1}};
	if (nh_parse_i64(job->key, 1, INT64_MAX, &b.id) != NH_OK)
		return NH_FAIL(err, NH_EINTERNAL, "job without a delta");
	nh_rc rc = run(&b, err);
	if (b.folder)
		remove_tree(b.folder);
	for (size_t i = 0; i < NH_ARRAY_LEN(b.fds); i++)
		if (b.fds[i] >= 0)
			close(b.fds[i]);
	nh_file_sums_free(b.sums);
	json_decref(b.said);
	nh_arena_fini(&b.arena);
	return rc;
}

/* ---- what nobody ended ----------------------------------------------------------------------------------------------------- */

struct overdue {
	int64_t limit_us;
	size_t count;
};

static nh_rc expire_fn(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct overdue *o = arg;
	return nh_deltas_expire(ctx, nh_ctx_now(ctx) - o->limit_us, &o->count, err);
}

nh_rc job_delta_expiry(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	struct overdue o = {.limit_us = (int64_t)h->settings->delta_timeout_ms * NH_US_PER_MS + GRACE_US};
	do {
		NH_TRY(job_write(h, expire_fn, &o, err));
		STAT(timed_out, o.count);
	} while (o.count > 0 && !nh_job_stopping(job));
	return NH_OK;
}

/*
 * Object store in a bucket. An upload is written to a file without a name in the spool, since it must be read back and judged before it may have a key; commit sends it, in one request or
 * in parts, and the bucket makes it visible in one step. Nothing is kept here between calls: the bucket is the truth, and other servers may use it at the same time.
 */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/encode.h"
#include "base/file.h"
#include "base/log.h"
#include "s3_int.h"

#define PART_DEFAULT ((uint64_t)16 << 20)
#define PARTS_MAX 10000 /* source: Amazon S3 "Multipart upload limits" */
#define STALL_MS 30000
#define ABANDONED_US (INT64_C(86400) * 1000000)

struct s3_upload {
	struct nh_object_upload base;
	int fd;
	uint64_t size;
};

static struct s3 *s3_of(const struct nh_objects *o) { return (struct s3 *)(uintptr_t)o; }

static nh_rc as_io(struct nh_err *err)
{
	if (err)
		err->rc = NH_EIO;
	return NH_EIO;
}

/* Whose credentials they are is no matter of whoever asked for an object. */
static nh_rc outage(nh_rc rc, struct nh_err *err) { return rc == NH_EAUTH || rc == NH_EINVAL ? as_io(err) : rc; }

/* ---- the spool --------------------------------------------------------------------------------------------------------------- */

static nh_rc spool_open(const struct s3 *s, int *fd, struct nh_err *err)
{
	*fd = open(s->config.spool, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (*fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) { /* a file system that knows no files without a name */
		NH_AUTO_BUF struct nh_buf name = NH_BUF_INIT;
		nh_buf_printf(&name, "%s/spool-XXXXXX", s->config.spool);
		*fd = mkostemp((char *)name.ptr, O_CLOEXEC);
		if (*fd >= 0)
			unlink(nh_buf_cstr(&name));
	}
	if (*fd >= 0)
		return NH_OK;
	int number = errno;
	bool full = number == ENOSPC || number == EDQUOT;
	return NH_FAIL(err, full ? NH_ENOSPC : NH_EIO, "the spool %s: %s", s->config.spool, strerror(number));
}

/* ---- uploads ----------------------------------------------------------------------------------------------------------------- */

static nh_rc s3_upload(struct nh_objects *o, struct nh_object_upload **out, struct nh_err *err)
{
	struct s3_upload *u = nh_xcalloc(1, sizeof *u);
	u->base.objects = o;
	nh_rc rc = spool_open(s3_of(o), &u->fd, err);
	if (rc != NH_OK)
		free(u);
	else
		*out = &u->base;
	return rc;
}

static nh_rc s3_upload_write(struct nh_object_upload *upload, nh_slice bytes, struct nh_err *err)
{
	struct s3_upload *u = (struct s3_upload *)upload;
	while (bytes.len > 0) {
		ssize_t n = write(u->fd, bytes.ptr, bytes.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
			return NH_FAIL(err, full ? NH_ENOSPC : NH_EIO, "the spool %s: %s", s3_of(upload->objects)->config.spool, strerror(errno));
		}
		u->size += (uint64_t)n;
		bytes = nh_slice_skip(bytes, (size_t)n);
	}
	return NH_OK;
}

static nh_rc s3_upload_fd(struct nh_object_upload *upload, int *fd, struct nh_err *err)
{
	struct s3_upload *u = (struct s3_upload *)upload;
	if (lseek(u->fd, 0, SEEK_SET) < 0)
		return NH_FAIL(err, NH_EIO, "the spool: %s", strerror(errno));
	*fd = u->fd;
	return NH_OK;
}

static void s3_upload_abort(struct nh_object_upload *upload)
{
	struct s3_upload *u = (struct s3_upload *)upload;
	close(u->fd);
	free(u);
}

static nh_rc put_whole(struct s3 *s, const struct s3_upload *u, const char *key, struct nh_err *err)
{
	struct s3_call call = {.method = "PUT", .key = key, .body_fd = u->fd, .body_len = u->size, .into_fd = -1};
	nh_rc rc = s3_call(s, &call, err);
	s3_call_fini(&call);
	return rc;
}

static nh_rc parts_begin(struct s3 *s, const char *key, struct nh_buf *id, struct nh_err *err)
{
	struct s3_call call = {.method = "POST", .key = key, .body_fd = -1, .into_fd = -1};
	s3_call_param(&call, "uploads", NH_SLICE_EMPTY);
	nh_rc rc = s3_call(s, &call, err);
	if (rc == NH_OK && s3_xml_text(nh_buf_slice(&call.answer), "UploadId", id, err) != NH_OK)
		rc = NH_FAIL(err, NH_EIO, "%s began an upload and gave it no id", s->origin);
	s3_call_fini(&call);
	return rc;
}

static nh_rc part_put(struct s3 *s, const struct s3_upload *u, const char *key, nh_slice id, unsigned number, uint64_t part, struct nh_buf *list, struct nh_err *err)
{
	char text[16];
	uint64_t offset = (number - 1) * part, left = u->size - offset;
	struct s3_call call = {.method = "PUT", .key = key, .body_fd = u->fd, .body_offset = offset, .body_len = left < part ? left : part, .into_fd = -1};
	snprintf(text, sizeof text, "%u", number);
	s3_call_param(&call, "partNumber", nh_slice_str(text));
	s3_call_param(&call, "uploadId", id);
	nh_rc rc = s3_call(s, &call, err);
	if (rc == NH_OK && (!call.etag[0] || strpbrk(call.etag, "<&>")))
		rc = NH_FAIL(err, NH_EIO, "%s took a part and gave it no tag", s->origin);
	nh_buf_printf(list, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", number, call.etag);
	s3_call_fini(&call);
	return rc;
}

static nh_rc parts_end(struct s3 *s, const char *key, nh_slice id, nh_slice list, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf body = NH_BUF_INIT, code = {.max = 200};
	nh_buf_printf(&body, "<CompleteMultipartUpload>%.*s</CompleteMultipartUpload>", NH_ARG(list));
	struct s3_call call = {.method = "POST", .key = key, .body_fd = -1, .body = nh_buf_slice(&body), .into_fd = -1};
	s3_call_param(&call, "uploadId", id);
	nh_rc rc = s3_call(s, &call, err);
	/* The status comes before the work here: only the answer's text says how it ended. */
	if (rc == NH_OK && s3_xml_text(nh_buf_slice(&call.answer), "Code", &code, NULL) == NH_OK)
		rc = NH_FAIL(err, NH_EIO, "%s could not put %s together: %s", s->origin, key, nh_buf_cstr(&code));
	s3_call_fini(&call);
	return rc;
}

static void parts_abort(struct s3 *s, const char *key, nh_slice id)
{
	struct s3_call call = {.method = "DELETE", .key = key, .body_fd = -1, .into_fd = -1};
	s3_call_param(&call, "uploadId", id);
	NH_IGNORE(s3_call(s, &call, NULL)); /* what stays is given back a day later, at the next start */
	s3_call_fini(&call);
}

static nh_rc put_parts(struct s3 *s, const struct s3_upload *u, const char *key, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf id = {.max = 2048}, list = NH_BUF_INIT;
	uint64_t part = s->config.part_bytes;
	while ((u->size + part - 1) / part > PARTS_MAX)
		part *= 2;
	NH_TRY(parts_begin(s, key, &id, err));
	nh_rc rc = NH_OK;
	for (unsigned number = 1; rc == NH_OK && (number - 1) * part < u->size; number++)
		rc = part_put(s, u, key, nh_buf_slice(&id), number, part, &list, err);
	if (rc == NH_OK)
		rc = parts_end(s, key, nh_buf_slice(&id), nh_buf_slice(&list), err);
	if (rc != NH_OK)
		parts_abort(s, key, nh_buf_slice(&id));
	return rc;
}

static nh_rc s3_upload_commit(struct nh_object_upload *upload, const char *key, struct nh_err *err)
{
	struct s3_upload *u = (struct s3_upload *)upload;
	struct s3 *s = s3_of(upload->objects);
	nh_rc rc = u->size <= s->config.part_bytes ? put_whole(s, u, key, err) : put_parts(s, u, key, err);
	s3_upload_abort(upload);
	return rc == NH_ENOTFOUND ? as_io(err) : outage(rc, err); /* not found: the bucket, or an upload that somebody ended */
}

/* ---- reading, deleting, listing ---------------------------------------------------------------------------------------------- */

static nh_rc s3_open_read(struct nh_objects *o, const char *key, int *fd, uint64_t *size, struct nh_err *err)
{
	struct s3 *s = s3_of(o);
	struct stat st;
	NH_TRY(spool_open(s, fd, err));
	struct s3_call call = {.method = "GET", .key = key, .body_fd = -1, .into_fd = *fd};
	nh_rc rc = s3_call(s, &call, err);
	s3_call_fini(&call);
	if (rc == NH_OK && (fstat(*fd, &st) != 0 || lseek(*fd, 0, SEEK_SET) != 0))
		rc = NH_FAIL(err, NH_EIO, "the spool: %s", strerror(errno));
	if (rc != NH_OK) {
		close(*fd);
		*fd = -1;
		return outage(rc, err);
	}
	*size = (uint64_t)st.st_size;
	return NH_OK;
}

static nh_rc s3_delete(struct nh_objects *o, const char *key, struct nh_err *err)
{
	struct s3_call call = {.method = "DELETE", .key = key, .body_fd = -1, .into_fd = -1};
	nh_rc rc = s3_call(s3_of(o), &call, err);
	s3_call_fini(&call);
	return rc == NH_ENOTFOUND ? NH_OK : outage(rc, err);
}

struct listing {
	bool (*each)(void *ctx, const char *key, uint64_t size);
	void *ctx;
	struct nh_buf key, next;
	uint64_t size;
	bool more, enough;
};

static bool listing_leaf(void *ctx, const char *parent, const char *name, nh_slice text)
{
	struct listing *l = ctx;
	if (strcmp(parent, "Contents") == 0 && strcmp(name, "Key") == 0) {
		nh_buf_clear(&l->key);
		nh_buf_put_slice(&l->key, text);
	} else if (strcmp(parent, "Contents") == 0 && strcmp(name, "Size") == 0) {
		NH_IGNORE(nh_parse_u64(text, 0, UINT64_MAX, &l->size)); /* 0 then: no rule depends on it */
	} else if (strcmp(name, "IsTruncated") == 0) {
		l->more = nh_slice_eq_str(text, "true");
	} else if (strcmp(name, "NextContinuationToken") == 0) {
		nh_buf_clear(&l->next);
		nh_buf_put_slice(&l->next, text);
	}
	return true;
}

/* What others put into the bucket under names that are no keys is not ours to know. */
static bool listing_end(void *ctx, const char *name)
{
	struct listing *l = ctx;
	if (strcmp(name, "Contents") == 0 && nh_objects_key_valid(nh_buf_cstr(&l->key)) && !l->each(l->ctx, nh_buf_cstr(&l->key), l->size))
		l->enough = true;
	if (strcmp(name, "Contents") == 0)
		l->size = 0;
	return !l->enough;
}

static nh_rc list_page(struct s3 *s, const char *prefix, struct listing *l, struct nh_err *err)
{
	struct s3_call call = {.method = "GET", .body_fd = -1, .into_fd = -1};
	s3_call_param(&call, "list-type", NH_LIT("2"));
	s3_call_param(&call, "prefix", nh_slice_str(prefix));
	if (l->next.len > 0)
		s3_call_param(&call, "continuation-token", nh_buf_slice(&l->next));
	nh_rc rc = s3_call(s, &call, err);
	l->more = false;
	if (rc == NH_OK)
		rc = s3_xml_read(nh_buf_slice(&call.answer), &(struct s3_xml){.leaf = listing_leaf, .end = listing_end, .ctx = l}, err);
	s3_call_fini(&call);
	return rc == NH_EFORMAT ? as_io(err) : outage(rc, err);
}

static nh_rc s3_list(struct nh_objects *o, const char *prefix, bool (*each)(void *ctx, const char *key, uint64_t size), void *ctx, struct nh_err *err)
{
	struct listing l = {.each = each, .ctx = ctx, .key = {.max = 2048}, .next = {.max = 4096}};
	nh_rc rc;
	do
		rc = list_page(s3_of(o), prefix, &l, err);
	while (rc == NH_OK && l.more && !l.enough && l.next.len > 0);
	nh_buf_fini(&l.key);
	nh_buf_fini(&l.next);
	return rc;
}

static nh_rc s3_url(const struct nh_objects *o, const char *key, uint64_t ttl_s, struct nh_buf *out, struct nh_err *err)
{
	const struct s3 *s = s3_of(o);
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, query = NH_BUF_INIT;
	const struct sigv4_pair host = {NH_LIT("host"), nh_slice_str(s->host)};
	s3_put_path(s, key, &path);
	struct sigv4_request r = {.method = NH_LIT("GET"), .path = nh_buf_slice(&path), .headers = &host, .header_count = 1, .at_us = nh_clock_now(&s->clock)};
	struct s3_keys *keys = s3_keys_get((struct s3 *)(uintptr_t)s);
	nh_rc rc = keys ? sigv4_presign(s3_credentials(keys), &r, ttl_s, &query, err) : NH_FAIL(err, NH_EIO, "the credentials have expired");
	s3_keys_put(keys);
	NH_TRY(rc);
	nh_buf_put_str(out, s->origin);
	sigv4_put_path(out, nh_buf_slice(&path));
	nh_buf_printf(out, "?%s", nh_buf_cstr(&query));
	return NH_OK;
}

/* ---- what was begun and never ended ------------------------------------------------------------------------------------------ */

struct leftover {
	struct s3 *s;
	struct nh_buf key, id;
	int64_t begun_us;
	size_t given_back;
};

static bool leftover_leaf(void *ctx, const char *parent, const char *name, nh_slice text)
{
	struct leftover *l = ctx;
	struct nh_buf *into = strcmp(parent, "Upload") != 0 ? NULL : strcmp(name, "Key") == 0 ? &l->key : strcmp(name, "UploadId") == 0 ? &l->id : NULL;
	if (into) {
		nh_buf_clear(into);
		nh_buf_put_slice(into, text);
	} else if (strcmp(parent, "Upload") == 0 && strcmp(name, "Initiated") == 0 && nh_time_parse_iso(text, &l->begun_us) != NH_OK) {
		l->begun_us = INT64_MAX;
	}
	return true;
}

static bool leftover_end(void *ctx, const char *name)
{
	struct leftover *l = ctx;
	if (strcmp(name, "Upload") != 0)
		return true;
	if (nh_objects_key_valid(nh_buf_cstr(&l->key)) && l->begun_us < nh_clock_now(&l->s->clock) - ABANDONED_US) {
		parts_abort(l->s, nh_buf_cstr(&l->key), nh_buf_slice(&l->id));
		l->given_back++;
	}
	l->begun_us = INT64_MAX;
	return true;
}

/* A page of them is enough for one start. Not every server of the kind knows the question: then there is nothing to be done here. */
static void sweep(struct s3 *s)
{
	struct leftover l = {.s = s, .key = {.max = 2048}, .id = {.max = 2048}, .begun_us = INT64_MAX};
	struct s3_call call = {.method = "GET", .body_fd = -1, .into_fd = -1};
	s3_call_param(&call, "uploads", NH_SLICE_EMPTY);
	if (s3_call(s, &call, NULL) == NH_OK)
		NH_IGNORE(s3_xml_read(nh_buf_slice(&call.answer), &(struct s3_xml){.leaf = leftover_leaf, .end = leftover_end, .ctx = &l}, NULL));
	if (l.given_back > 0)
		NH_LOG(NH_LOG_INFO, "objects.uploads_given_back", NH_I("count", (int64_t)l.given_back));
	s3_call_fini(&call);
	nh_buf_fini(&l.key);
	nh_buf_fini(&l.id);
}

/* ---- open, close ------------------------------------------------------------------------------------------------------------- */

static void s3_close(struct nh_objects *o)
{
	struct s3 *s = s3_of(o);
	s3_handles_free(s);
	s3_keys_put(s->keys);
	pthread_mutex_destroy(&s->renewing);
	pthread_mutex_destroy(&s->lock);
	const char *secrets[] = {s->config.secret, s->config.session_token, s->config.role.container_token};
	for (size_t i = 0; i < NH_ARRAY_LEN(secrets); i++)
		if (secrets[i])
			explicit_bzero((char *)(uintptr_t)secrets[i], strlen(secrets[i]));
	for (size_t i = 0; i < NH_ARRAY_LEN(s->texts); i++)
		free(s->texts[i]);
	free(s->host);
	free(s->origin);
	free(s);
}

static void s3_tend(struct nh_objects *o) { NH_IGNORE(s3_keys_renew(s3_of(o), NULL)); }

static const struct nh_objects_kind s3_kind = {
	.close = s3_close,
	.upload = s3_upload,
	.upload_write = s3_upload_write,
	.upload_fd = s3_upload_fd,
	.upload_commit = s3_upload_commit,
	.upload_abort = s3_upload_abort,
	.open_read = s3_open_read,
	.del = s3_delete,
	.url = s3_url,
	.tend = s3_tend,
	.list = s3_list,
};

/* "https://host[:port]" in its parts; a port that the scheme implies is neither sent nor signed. */
static nh_rc read_endpoint(struct s3 *s, struct nh_err *err)
{
	nh_slice url = nh_slice_str(s->config.endpoint), host;
	bool https = nh_slice_starts(url, NH_LIT("https://"));
	if (!https && !nh_slice_starts(url, NH_LIT("http://")))
		return NH_FAIL(err, NH_EINVAL, "the S3 endpoint '%s' is no http or https URL", s->config.endpoint);
	host = nh_slice_skip(url, https ? 8 : 7);
	if (host.len > 0 && host.ptr[host.len - 1] == '/')
		host.len--;
	nh_slice port = https ? NH_LIT(":443") : NH_LIT(":80");
	if (host.len > port.len && nh_slice_eq(nh_slice_skip(host, host.len - port.len), port))
		host.len -= port.len;
	for (size_t i = 0; i < host.len; i++)
		if (host.ptr[i] <= ' ' || host.ptr[i] == 127 || strchr("/?#@", host.ptr[i]))
			return NH_FAIL(err, NH_EINVAL, "the S3 endpoint '%s' is more than scheme, host and port", s->config.endpoint);
	if (host.len == 0)
		return NH_FAIL(err, NH_EINVAL, "the S3 endpoint '%s' has no host", s->config.endpoint);
	NH_AUTO_BUF struct nh_buf name = NH_BUF_INIT, origin = NH_BUF_INIT;
	nh_buf_printf(&name, "%s%s%.*s", s->config.bucket_as_host ? s->config.bucket : "", s->config.bucket_as_host ? "." : "", NH_ARG(host));
	nh_buf_printf(&origin, "http%s://%s", https ? "s" : "", nh_buf_cstr(&name));
	s->host = nh_xstrdup(nh_buf_slice(&name));
	s->origin = nh_xstrdup(nh_buf_slice(&origin));
	return NH_OK;
}

static bool is_given(const char *text) { return text && *text; }

static nh_rc copy_config(struct s3 *s, const struct nh_s3_config *config, struct nh_err *err)
{
	struct nh_s3_config *c = &s->config;
	*c = *config;
	const char **texts[] = {&c->endpoint, &c->region, &c->bucket, &c->key_id, &c->secret, &c->session_token, &c->ca_file, &c->spool,
				&c->role.metadata_url, &c->role.container_url, &c->role.container_token, &c->role.container_token_file};
	_Static_assert(NH_ARRAY_LEN(texts) == NH_ARRAY_LEN(s->texts), "one place for each text");
	for (size_t i = 0; i < NH_ARRAY_LEN(texts); i++)
		if (*texts[i])
			*texts[i] = s->texts[i] = nh_xstrdup(nh_slice_str(*texts[i]));
	static const char *const needed[] = {"endpoint", "region", "bucket name", "access key id", "secret access key"};
	bool lent = !is_given(c->key_id) && !is_given(c->secret) && (c->role.metadata_url || c->role.container_url);
	for (size_t i = 0; i < NH_ARRAY_LEN(needed) - (lent ? 2 : 0); i++)
		if (!is_given(*texts[i]))
			return NH_FAIL(err, NH_EINVAL, "S3 needs its %s", needed[i]);
	for (const char *p = c->bucket; *p; p++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_", *p))
			return NH_FAIL(err, NH_EINVAL, "'%s' is no name of a bucket", c->bucket);
	c->part_bytes = c->part_bytes ? c->part_bytes : PART_DEFAULT;
	c->stall_ms = c->stall_ms ? c->stall_ms : STALL_MS;
	s->clock = c->clock ? *c->clock : nh_clock_system;
	if (!lent)
		s3_keys_given(s);
	return read_endpoint(s, err);
}

static nh_rc ask_for_bucket(struct s3 *s, struct nh_err *err)
{
	struct s3_call call = {.method = "HEAD", .body_fd = -1, .into_fd = -1};
	nh_rc rc = s3_call(s, &call, err);
	s3_call_fini(&call);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_ENOTFOUND, "there is no bucket %s at %s: create it, or set another name", s->config.bucket, s->origin);
	if (rc == NH_EAUTH && call.status != 0)
		return NH_FAIL(err, NH_EAUTH, "%s refuses the credentials %s for bucket %s: check the key, its rights, and this machine's clock", s->origin,
			       is_given(s->config.key_id) ? s->config.key_id : "that this machine is lent", s->config.bucket);
	return rc;
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static void curl_init(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

nh_rc nh_objects_open_s3(const struct nh_s3_config *config, struct nh_objects **out, struct nh_err *err)
{
	struct s3 *s = nh_xcalloc(1, sizeof *s);
	*out = NULL;
	pthread_once(&curl_once, curl_init);
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->renewing, NULL);
	s->lending = (struct nh_episode){.event = "objects.credentials"};
	s->base = (struct nh_objects){.kind = &s3_kind, .reading = {.event = "objects.read"}, .writing = {.event = "objects.write"}};
	nh_rc rc = copy_config(s, config, err);
	if (rc == NH_OK)
		rc = nh_dir_make(s->config.spool, 0700, err);
	if (rc == NH_OK)
		rc = ask_for_bucket(s, err);
	if (rc != NH_OK) {
		s3_close(&s->base);
		return rc;
	}
	sweep(s);
	*out = &s->base;
	return NH_OK;
}

/*
 * One request to S3: signed anew for each try, sent by libcurl, its answer kept in memory or in a file. What passes by itself (a lost connection, a server that is busy) is tried three
 * times in all with a growing pause; everything is safe to repeat, since an object appears whole or not at all and deleting what is gone is fine.
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/encode.h"
#include "base/file.h"
#include "crypto/digest.h"
#include "s3_int.h"

#define TRIES 3
#define PAUSE_US 200000 /* doubled each time */
#define CONNECT_MS 10000L

void s3_call_param(struct s3_call *call, const char *name, nh_slice value)
{
	NH_ASSERT(call->param_count < NH_ARRAY_LEN(call->params));
	call->params[call->param_count++] = (struct sigv4_pair){nh_slice_str(name), value};
}

void s3_call_fini(struct s3_call *call) { nh_buf_fini(&call->answer); }

void s3_put_path(const struct s3 *s, const char *key, struct nh_buf *out)
{
	if (!s->config.bucket_as_host)
		nh_buf_printf(out, "/%s", s->config.bucket);
	if (key)
		nh_buf_printf(out, "/%s", key);
	else if (s->config.bucket_as_host)
		nh_buf_put_u8(out, '/');
}

/* ---- connections ------------------------------------------------------------------------------------------------------------- */

static CURL *handle_take(struct s3 *s)
{
	CURL *handle = NULL;
	pthread_mutex_lock(&s->lock);
	if (s->idle_count > 0)
		handle = s->idle[--s->idle_count];
	pthread_mutex_unlock(&s->lock);
	return handle ? handle : curl_easy_init();
}

static void handle_give_back(struct s3 *s, CURL *handle)
{
	curl_easy_reset(handle); /* its connection stays */
	pthread_mutex_lock(&s->lock);
	bool kept = s->idle_count < S3_IDLE_HANDLES;
	if (kept)
		s->idle[s->idle_count++] = handle;
	pthread_mutex_unlock(&s->lock);
	if (!kept)
		curl_easy_cleanup(handle);
}

void s3_handles_free(struct s3 *s)
{
	while (s->idle_count > 0)
		curl_easy_cleanup(s->idle[--s->idle_count]);
}

/* ---- one try ----------------------------------------------------------------------------------------------------------------- */

struct transfer {
	struct s3_call *call;
	uint64_t sent;
	nh_rc rc; /* of reading the body or writing the answer here */
	struct nh_err err;
};

static ssize_t body_read(const struct s3_call *call, uint64_t at, void *into, size_t len)
{
	if (call->body_fd < 0) {
		nh_slice part = nh_slice_sub(call->body, (size_t)at, len);
		memcpy(into, part.ptr ? part.ptr : (const uint8_t *)"", part.len);
		return (ssize_t)part.len;
	}
	ssize_t n;
	while ((n = pread(call->body_fd, into, len, (off_t)(call->body_offset + at))) < 0 && errno == EINTR)
		;
	return n;
}

static size_t on_send(char *into, size_t size, size_t count, void *ctx)
{
	struct transfer *t = ctx;
	uint64_t left = t->call->body_len - t->sent;
	size_t len = size * count < left ? size * count : (size_t)left;
	ssize_t n = len ? body_read(t->call, t->sent, into, len) : 0;
	if (n < 0 || (n == 0 && len > 0)) {
		t->rc = NH_FAIL(&t->err, NH_EIO, "cannot read what is to be uploaded: %s", n < 0 ? strerror(errno) : "it became shorter");
		return CURL_READFUNC_ABORT;
	}
	t->sent += (uint64_t)n;
	return (size_t)n;
}

static size_t on_receive(char *bytes, size_t size, size_t count, void *ctx)
{
	struct transfer *t = ctx;
	size_t len = size * count;
	if (t->call->into_fd < 0 || t->call->status / 100 != 2) {
		nh_buf_put(&t->call->answer, bytes, len);
		return nh_buf_ok(&t->call->answer) ? len : 0;
	}
	for (size_t done = 0; done < len;) {
		ssize_t n = write(t->call->into_fd, bytes + done, len - done);
		if (n < 0 && errno != EINTR) {
			t->rc = NH_FAIL(&t->err, nh_rc_from_errno(errno), "cannot keep an object in the spool: %s", strerror(errno));
			return 0;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	return len;
}

static void keep(char *out, size_t size, nh_slice line, const char *name)
{
	nh_slice key, value;
	if (!nh_slice_cut(line, ':', &key, &value) || !nh_slice_ieq(key, nh_slice_str(name)))
		return;
	value = nh_slice_trim(value);
	if (value.len < size)
		snprintf(out, size, "%.*s", NH_ARG(value));
}

static size_t on_header(char *bytes, size_t size, size_t count, void *ctx)
{
	struct transfer *t = ctx;
	nh_slice line = nh_slice_of(bytes, size * count);
	uint64_t status;
	nh_slice version, rest;
	if (nh_slice_starts(line, NH_LIT("HTTP/")) && nh_slice_cut(line, ' ', &version, &rest) && nh_parse_u64(nh_slice_sub(rest, 0, 3), 100, 999, &status) == NH_OK)
		t->call->status = (unsigned)status;
	keep(t->call->etag, sizeof t->call->etag, line, "etag");
	keep(t->call->region, sizeof t->call->region, line, "x-amz-bucket-region");
	return size * count;
}

static nh_rc body_sha256(const struct s3_call *call, struct nh_buf *hex, struct nh_err *err)
{
	uint8_t digest[NH_SHA256_LEN];
	char piece[65536];
	struct nh_digest_stream *stream = nh_digest_stream_new(NH_SHA256);
	ssize_t n = 0;
	for (uint64_t at = 0; at < call->body_len && n >= 0; at += (uint64_t)n) {
		uint64_t left = call->body_len - at;
		n = body_read(call, at, piece, left < sizeof piece ? (size_t)left : sizeof piece);
		if (n <= 0)
			n = -1;
		else
			nh_digest_stream_update(stream, nh_slice_of(piece, (size_t)n));
	}
	nh_digest_stream_final(stream, digest);
	nh_digest_stream_free(stream);
	if (n < 0)
		return NH_FAIL(err, NH_EIO, "cannot read what is to be uploaded");
	nh_hex_put(hex, nh_slice_of(digest, sizeof digest));
	return NH_OK;
}

static struct curl_slist *header(struct curl_slist *list, const char *name, nh_slice value)
{
	NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT;
	nh_buf_printf(&line, "%s: %.*s", name, NH_ARG(value));
	return curl_slist_append(list, nh_buf_cstr(&line));
}

/* The headers of this try, signed with the time it is made. */
static nh_rc signed_headers(const struct s3 *s, const struct sigv4_credentials *credentials, const struct s3_call *call, nh_slice payload_sha256, struct curl_slist **out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf time = NH_BUF_INIT, path = NH_BUF_INIT, authorization = NH_BUF_INIT;
	struct sigv4_pair pairs[4];
	size_t count = 0;
	struct sigv4_request r = {.method = nh_slice_str(call->method), .params = call->params, .param_count = call->param_count, .headers = pairs, .payload_sha256 = payload_sha256,
				  .at_us = nh_clock_now(&s->clock)};
	sigv4_put_time(&time, r.at_us);
	s3_put_path(s, call->key, &path);
	r.path = nh_buf_slice(&path);
	pairs[count++] = (struct sigv4_pair){NH_LIT("host"), nh_slice_str(s->host)};
	pairs[count++] = (struct sigv4_pair){NH_LIT("x-amz-content-sha256"), payload_sha256};
	pairs[count++] = (struct sigv4_pair){NH_LIT("x-amz-date"), nh_buf_slice(&time)};
	if (credentials->session_token.len > 0)
		pairs[count++] = (struct sigv4_pair){NH_LIT("x-amz-security-token"), credentials->session_token};
	r.header_count = count;
	NH_TRY(sigv4_authorization(credentials, &r, &authorization, err));
	struct curl_slist *list = header(NULL, "Authorization", nh_buf_slice(&authorization));
	for (size_t i = 1; i < count; i++)
		list = header(list, (const char *)pairs[i].name.ptr, pairs[i].value);
	list = curl_slist_append(list, "Expect:");
	*out = curl_slist_append(list, "Content-Type:");
	return NH_OK;
}

static void set_up(const struct s3 *s, CURL *h, struct transfer *t, const char *url, struct curl_slist *headers)
{
	const struct s3_call *call = t->call;
	long stall_s = (long)((s->config.stall_ms + 999) / 1000);
	curl_easy_setopt(h, CURLOPT_URL, url);
	curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(h, CURLOPT_PROXY, ""); /* the environment is not asked */
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, stall_s);
	curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, call->method);
	curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(h, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_receive);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
	if (s->config.ca_file)
		curl_easy_setopt(h, CURLOPT_CAINFO, s->config.ca_file);
	if (strcmp(call->method, "HEAD") == 0)
		curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
	if (strcmp(call->method, "PUT") == 0 || strcmp(call->method, "POST") == 0) {
		curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(h, CURLOPT_READFUNCTION, on_send);
		curl_easy_setopt(h, CURLOPT_READDATA, t);
		curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->body_len);
	}
}

static void put_url(const struct s3 *s, const struct s3_call *call, struct nh_buf *url)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	s3_put_path(s, call->key, &path);
	nh_buf_put_str(url, s->origin);
	sigv4_put_path(url, nh_buf_slice(&path));
	if (call->param_count > 0) {
		nh_buf_put_u8(url, '?');
		sigv4_put_query(url, call->params, call->param_count);
	}
}

/* NH_OK: there was an answer, whatever its status. NH_EAGAIN: there was none, another try may get one. */
static nh_rc try_once(struct s3 *s, struct s3_call *call, nh_slice payload_sha256, struct nh_err *err)
{
	struct transfer t = {.call = call};
	struct curl_slist *headers = NULL;
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	call->status = 0;
	call->etag[0] = call->region[0] = 0;
	nh_buf_clear(&call->answer);
	call->answer.max = S3_ANSWER_MAX;
	if (call->into_fd >= 0 && (ftruncate(call->into_fd, 0) != 0 || lseek(call->into_fd, 0, SEEK_SET) != 0))
		return NH_FAIL(err, NH_EIO, "the spool: %s", strerror(errno));
	NH_TRY(s3_keys_renew(s, err));
	struct s3_keys *keys = s3_keys_get(s);
	nh_rc rc = !keys ? NH_FAIL(err, NH_EAGAIN, "the credentials have just expired") : signed_headers(s, s3_credentials(keys), call, payload_sha256, &headers, err);
	s3_keys_put(keys);
	NH_TRY(rc);
	put_url(s, call, &url);
	CURL *h = handle_take(s);
	CURLcode code = CURLE_OUT_OF_MEMORY;
	if (h) {
		set_up(s, h, &t, nh_buf_cstr(&url), headers);
		code = curl_easy_perform(h);
		handle_give_back(s, h);
	}
	curl_slist_free_all(headers);
	if (t.rc != NH_OK) {
		if (err)
			*err = t.err;
		return t.rc;
	}
	if (code == CURLE_OK)
		return NH_OK;
	bool for_good = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_URL_MALFORMAT;
	return NH_FAIL(err, for_good ? NH_EIO : NH_EAGAIN, "%s cannot be reached: %s", s->origin, curl_easy_strerror(code));
}

/* ---- what an answer means ---------------------------------------------------------------------------------------------------- */

static nh_rc judge(const struct s3 *s, const struct s3_call *call, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf code = {.max = 200}, message = {.max = 400};
	if (call->status / 100 == 2)
		return NH_OK;
	if (call->answer.len > 0 && s3_xml_text(nh_buf_slice(&call->answer), "Code", &code, NULL) == NH_OK)
		NH_IGNORE(s3_xml_text(nh_buf_slice(&call->answer), "Message", &message, NULL)); /* some have none */
	const char *name = nh_buf_cstr(&code);
	nh_rc rc = call->status == 404                                                     ? NH_ENOTFOUND
		 : call->status == 401 || call->status == 403                               ? NH_EAUTH
		 : call->status == 507 || strstr(name, "Quota") || strstr(name, "StorageFull") ? NH_ENOSPC
		 : call->status >= 500 || call->status == 429 || call->status == 408        ? NH_EAGAIN
											    : NH_EIO;
	if (call->region[0] && strcmp(call->region, s->config.region) != 0)
		return NH_FAIL(err, NH_EINVAL, "bucket %s at %s is in the region %s, not in %s", s->config.bucket, s->origin, call->region, s->config.region);
	return NH_FAIL(err, rc, "%s answered %s of %s/%s with %u %s%s%s", s->origin, call->method, s->config.bucket, call->key ? call->key : "", call->status, name, message.len ? ": " : "",
		       nh_buf_cstr(&message));
}

nh_rc s3_call(struct s3 *s, struct s3_call *call, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf sha256 = NH_BUF_INIT;
	if (call->body_fd < 0)
		call->body_len = call->body.len;
	NH_TRY(body_sha256(call, &sha256, err));
	for (unsigned tries = 1;; tries++) {
		nh_rc rc = try_once(s, call, nh_buf_slice(&sha256), err);
		if (rc == NH_OK)
			rc = judge(s, call, err);
		if (rc != NH_EAGAIN)
			return rc;
		if (tries == TRIES)
			return err ? (err->rc = NH_EIO) : NH_EIO;
		usleep((useconds_t)PAUSE_US << (tries - 1));
	}
}

/*
 * Calls to the server by libcurl: one request, its answer as JSON, errors as people see them; uploads and downloads as streams with progress.
 * Redirects are followed, the token only goes to the host it was meant for.
 *
 * source: reference/user-api-and-cli "4" "18.5"
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/encode.h"
#include "base/file.h"
#include "cli_int.h"

#define ANSWER_MAX ((size_t)64 << 20)
#define TIMEOUT_MS 30000L
#define CONNECT_TIMEOUT_MS 15000L
#define UPLOAD_SILENCE_S 300L /* the server may have to verify gigabytes before it answers */

static void put_segments(struct nh_buf *out, va_list ap)
{
	for (const char *s; (s = va_arg(ap, const char *));) {
		nh_buf_put_u8(out, '/');
		nh_uri_put(out, nh_slice_str(s));
	}
}

char *cli_route(struct nh_cli *c, const char *first, ...)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	va_list ap;
	nh_uri_put(&b, nh_slice_str(first));
	va_start(ap, first);
	put_segments(&b, ap);
	va_end(ap);
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}

char *cli_org_route(struct nh_cli *c, ...)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	va_list ap;
	nh_buf_put_str(&b, cli_route(c, "orgs", c->org, NULL));
	va_start(ap, c);
	put_segments(&b, ap);
	va_end(ap);
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}

char *cli_product_route(struct nh_cli *c, ...)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	va_list ap;
	nh_buf_put_str(&b, cli_route(c, "orgs", c->org, "products", c->product, NULL));
	va_start(ap, c);
	put_segments(&b, ap);
	va_end(ap);
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}

/* Base URL, "api" once, route: "https://h/x/" and "orgs" give "https://h/x/api/orgs". */
nh_rc cli_api_url(struct nh_cli *c, const char *route, char **out, struct nh_err *err)
{
	nh_slice uri = nh_slice_str(c->uri), rest = uri;
	ptrdiff_t scheme = nh_slice_find(uri, NH_LIT("://"));
	bool http = nh_slice_starts(uri, NH_LIT("http://")) || nh_slice_starts(uri, NH_LIT("https://"));
	if (scheme > 0)
		rest = nh_slice_skip(uri, (size_t)scheme + 3);
	nh_slice host, path, word;
	nh_slice_cut(rest, '/', &host, &path);
	if (!http || host.len == 0)
		return NH_FAIL(err, NH_EINVAL, "invalid uri \"%.100s\": expected http:// or https:// and a host, as in https://hub.example.com", c->uri);
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_buf_put_slice(&b, nh_slice_sub(uri, 0, uri.len - rest.len + host.len));
	nh_slice_cut(path, '?', &path, &word);
	bool has_api = false, more = path.len > 0;
	while (more) {
		more = nh_slice_cut(path, '/', &word, &path);
		if (word.len)
			nh_buf_printf(&b, "/%.*s", NH_ARG(word));
		has_api = word.len ? nh_slice_eq_str(word, "api") : has_api;
	}
	nh_buf_printf(&b, "%s/%s", has_api ? "" : "/api", route);
	*out = nh_arena_str(&c->arena, nh_buf_slice(&b));
	return NH_OK;
}

static size_t collect(char *bytes, size_t size, size_t count, void *ctx)
{
	struct nh_buf *b = ctx;
	nh_buf_put(b, bytes, size * count);
	return b->failed ? 0 : size * count;
}

static nh_rc rc_of(long status)
{
	return status == 401 ? NH_EAUTH : status == 403 ? NH_EPERM : status == 404 ? NH_ENOTFOUND : status == 409 ? NH_ECONFLICT : status >= 500 ? NH_EIO : NH_EINVAL;
}

static const char *status_text(long status)
{
	static const struct {
		long status;
		const char *text;
	} table[] = {
		{400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"}, {406, "Not Acceptable"},
		{409, "Conflict"}, {413, "Request Entity Too Large"}, {422, "Unprocessable Entity"}, {429, "Too Many Requests"},
		{500, "Internal Server Error"}, {502, "Bad Gateway"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++)
		if (table[i].status == status)
			return table[i].text;
	return "unexpected answer";
}

/* A string, or a list of strings joined by ", "; false for anything else. */
static bool put_texts(struct nh_buf *out, const json_t *value)
{
	size_t i;
	const json_t *item;
	if (json_is_string(value)) {
		nh_buf_put_str(out, json_string_value(value));
		return true;
	}
	if (!json_is_array(value) || json_array_size(value) == 0)
		return false;
	json_array_foreach(value, i, item) if (!json_is_string(item)) return false;
	json_array_foreach(value, i, item) nh_buf_printf(out, "%s%s", i ? ", " : "", json_string_value(item));
	return true;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static void put_fields(struct nh_buf *out, const json_t *errors)
{
	const char *names[64], *key;
	size_t count = 0;
	json_t *value;
	json_object_foreach((json_t *)errors, key, value) if (count < NH_ARRAY_LEN(names) && !nh_slice_eq_str(NH_LIT("detail"), key)) names[count++] = key;
	qsort(names, count, sizeof names[0], by_name);
	for (size_t i = 0; i < count; i++) {
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		if (put_texts(&text, json_object_get(errors, names[i])))
			nh_buf_printf(out, "\n  %s: %s", names[i], nh_buf_cstr(&text));
	}
}

void cli_api_error_put(struct nh_buf *out, long status, nh_slice body)
{
	static const char *const tops[] = {"detail", "error", "status"};
	NH_AUTO_JSON json_t *doc = NULL;
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	NH_IGNORE(nh_json_parse(body, ANSWER_MAX, &doc, NULL)); /* not JSON is a message too */
	const json_t *errors = json_object_get(doc, "errors");
	for (size_t i = 0; message.len == 0 && i < NH_ARRAY_LEN(tops); i++)
		nh_buf_put_slice(&message, nh_json_text(doc, tops[i]));
	if (message.len == 0)
		put_texts(&message, json_is_object(errors) ? json_object_get(errors, "detail") : json_is_string(errors) ? errors : NULL);
	if (message.len == 0 && !doc)
		nh_buf_put_slice(&message, nh_slice_sub(nh_slice_trim(body), 0, 300));
	nh_buf_printf(out, "api: %ld: %s", status, message.len ? nh_buf_cstr(&message) : status_text(status));
	if (json_is_object(errors))
		put_fields(out, errors);
}

static nh_rc answer_error(long status, const struct nh_buf *body, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	cli_api_error_put(&text, status, nh_buf_slice(body));
	return NH_FAIL(err, rc_of(status), "%s", nh_buf_cstr(&text));
}

struct call {
	CURL *curl;
	struct curl_slist *headers;
	char reason[CURL_ERROR_SIZE];
	char *url;
};

static void call_end(struct call *k)
{
	curl_slist_free_all(k->headers);
	if (k->curl)
		curl_easy_cleanup(k->curl);
}

static nh_rc call_begin(struct nh_cli *c, struct call *k, const char *route, const char *query, bool anonymous, struct nh_err *err)
{
	NH_TRY(cli_api_url(c, route, &k->url, err));
	if (query && *query)
		k->url = nh_arena_printf(&c->arena, "%s?%s", k->url, query);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	k->curl = curl_easy_init();
	if (!k->curl)
		return NH_FAIL(err, NH_ENOMEM, "out of memory");
	curl_easy_setopt(k->curl, CURLOPT_URL, k->url);
	curl_easy_setopt(k->curl, CURLOPT_ERRORBUFFER, k->reason);
	curl_easy_setopt(k->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(k->curl, CURLOPT_USERAGENT, "nh/" NH_VERSION);
	curl_easy_setopt(k->curl, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(k->curl, CURLOPT_MAXREDIRS, 10L);
	curl_easy_setopt(k->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(k->curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(k->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	/* As Go programs do: the way to trust a private CA without touching the system's store. */
	const char *ca = c->io->env("SSL_CERT_FILE");
	if (ca && *ca)
		curl_easy_setopt(k->curl, CURLOPT_CAINFO, ca);
	if (!anonymous && c->cert) {
		curl_easy_setopt(k->curl, CURLOPT_SSLCERT, c->cert);
		curl_easy_setopt(k->curl, CURLOPT_SSLKEY, c->key);
	}
	if (!anonymous && c->token && *c->token)
		k->headers = curl_slist_append(k->headers, nh_arena_printf(&c->arena, "Authorization: Bearer %s", c->token));
	k->headers = curl_slist_append(k->headers, "Expect:"); /* no waiting for "100 Continue" */
	return NH_OK;
}

static nh_rc call_run(struct nh_cli *c, struct call *k, long *status, struct nh_err *err)
{
	curl_easy_setopt(k->curl, CURLOPT_HTTPHEADER, k->headers);
	CURLcode code = curl_easy_perform(k->curl);
	curl_easy_getinfo(k->curl, CURLINFO_RESPONSE_CODE, status);
	if (code == CURLE_OK)
		return NH_OK;
	const char *reason = k->reason[0] ? k->reason : curl_easy_strerror(code);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return NH_FAIL(err, NH_ETIMEOUT, "no answer from %.200s in time (%s)", c->uri, reason);
	if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
		return NH_FAIL(err, NH_EIO, "cannot reach %.200s: %s; is the server running, and the address right (`nh config get uri`)?", c->uri, reason);
	return NH_FAIL(err, NH_EIO, "request to %.200s failed: %s", c->uri, reason);
}

static nh_rc take_answer(const struct nh_buf *body, long status, json_t **answer, struct nh_err *err)
{
	if (status < 200 || status > 299)
		return answer_error(status, body, err);
	if (!answer)
		return NH_OK;
	*answer = NULL;
	if (nh_slice_trim(nh_buf_slice(body)).len == 0)
		return NH_OK;
	NH_TRY_CTX(nh_json_parse(nh_buf_slice(body), ANSWER_MAX, answer, err), err, "the server's answer cannot be read; is this a NervesHub server?");
	return NH_OK;
}

static void set_method(struct call *k, const struct cli_request *request, const struct nh_buf *body)
{
	bool post = nh_slice_eq_str(NH_LIT("POST"), request->method), get = nh_slice_eq_str(NH_LIT("GET"), request->method);
	if (post)
		curl_easy_setopt(k->curl, CURLOPT_POST, 1L);
	else if (!get)
		curl_easy_setopt(k->curl, CURLOPT_CUSTOMREQUEST, request->method);
	if (request->take_body || post) {
		curl_easy_setopt(k->curl, CURLOPT_POSTFIELDS, nh_buf_cstr(body));
		curl_easy_setopt(k->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
		/* Without a header of ours libcurl would call it a form. */
		k->headers = curl_slist_append(k->headers, request->take_body ? "Content-Type: application/json" : "Content-Type:");
	}
}

/* One exchange; got: the whole answer, whatever its status. */
static nh_rc exchange(struct nh_cli *c, const struct cli_request *request, const char *accept, struct nh_buf *got, long *status, struct nh_err *err)
{
	struct call k = {0};
	struct nh_buf body = NH_BUF_INIT;
	if (request->take_body)
		nh_json_put(&body, request->take_body);
	nh_rc rc = call_begin(c, &k, request->route, request->query, request->anonymous, err);
	if (rc == NH_OK) {
		k.headers = curl_slist_append(k.headers, accept);
		set_method(&k, request, &body);
		curl_easy_setopt(k.curl, CURLOPT_ACCEPT_ENCODING, "gzip");
		curl_easy_setopt(k.curl, CURLOPT_TIMEOUT_MS, c->timeout_ms ? c->timeout_ms : TIMEOUT_MS);
		curl_easy_setopt(k.curl, CURLOPT_WRITEFUNCTION, collect);
		curl_easy_setopt(k.curl, CURLOPT_WRITEDATA, got);
		rc = call_run(c, &k, status, err);
	}
	call_end(&k);
	json_decref(request->take_body);
	nh_buf_wipe(&body); /* may hold a password */
	return rc;
}

nh_rc cli_api(struct nh_cli *c, const struct cli_request *request, json_t **answer, struct nh_err *err)
{
	struct nh_buf got = NH_BUF_MAX(ANSWER_MAX);
	long status = 0;
	nh_rc rc = exchange(c, request, "Accept: application/json", &got, &status, err);
	if (rc == NH_OK)
		rc = take_answer(&got, status, answer, err);
	nh_buf_wipe(&got); /* may hold a token */
	return rc;
}

nh_rc cli_api_text(struct nh_cli *c, const char *method, const char *route, const char *query, struct nh_buf *out, struct nh_err *err)
{
	struct nh_buf got = NH_BUF_MAX(ANSWER_MAX);
	long status = 0;
	nh_rc rc = exchange(c, &(struct cli_request){method, route, query}, "Accept: text/plain", &got, &status, err);
	if (rc == NH_OK)
		rc = take_answer(&got, status, NULL, err);
	if (rc == NH_OK)
		nh_buf_put_slice(out, nh_buf_slice(&got));
	nh_buf_wipe(&got);
	return rc;
}

nh_rc cli_call(struct nh_cli *c, const char *method, const char *route, json_t *take_body, const struct cli_shape *shape, bool list, json_t **out,
	       struct nh_err *err)
{
	NH_AUTO_JSON json_t *answer = NULL;
	*out = NULL;
	NH_TRY(cli_api(c, &(struct cli_request){method, route, .take_body = take_body}, &answer, err));
	const json_t *data = json_object_get(answer, "data");
	*out = list ? cli_shape_list(shape, data) : cli_shape_object(shape, data);
	return NH_OK;
}

nh_rc cli_act(struct nh_cli *c, const char *method, const char *route, json_t *take_body, struct nh_err *err)
{
	return cli_api(c, &(struct cli_request){method, route, .take_body = take_body}, NULL, err);
}

static int progress(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	bool upload = up_total > 0;
	uint64_t total = (uint64_t)(upload ? up_total : down_total), done = (uint64_t)(upload ? up : down);
	if (done)
		cli_progress_update(ctx, done, total);
	return 0;
}

static void show_progress(struct call *k, struct cli_progress *p)
{
	curl_easy_setopt(k->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(k->curl, CURLOPT_XFERINFOFUNCTION, progress);
	curl_easy_setopt(k->curl, CURLOPT_XFERINFODATA, p);
}

/* The server keeps nothing of an upload that broke off, so there is nothing to go on with: why, how far it came, and what to do. */
static nh_rc run_upload(struct nh_cli *c, struct call *k, const struct cli_progress *p, long *status, struct nh_err *err)
{
	long begun = 0;
	/* No overall limit, but a peer that is silent for so long is gone. */
	curl_easy_setopt(k->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(k->curl, CURLOPT_LOW_SPEED_TIME, UPLOAD_SILENCE_S);
	nh_rc rc = call_run(c, k, status, err);
	curl_easy_getinfo(k->curl, CURLINFO_REQUEST_SIZE, &begun);
	if (rc == NH_OK || begun == 0)
		return rc;
	return nh_err_prefix(err, rc, "the upload of %s broke off after %llu bytes; nothing of it is kept, run the same command again", p->name, (unsigned long long)p->done);
}

nh_rc cli_upload(struct nh_cli *c, const char *route, const char *part_name, const char *file, const char *shown_name, json_t **answer, struct nh_err *err)
{
	struct call k = {0};
	struct cli_progress p = {.c = c, .verb = "Uploading", .name = shown_name};
	NH_AUTO_BUF struct nh_buf got = NH_BUF_MAX(ANSWER_MAX);
	curl_mime *mime = NULL;
	long status = 0;
	nh_rc rc = call_begin(c, &k, route, NULL, false, err);
	if (rc == NH_OK) {
		mime = curl_mime_init(k.curl);
		curl_mimepart *part = curl_mime_addpart(mime);
		curl_mime_name(part, part_name);
		if (curl_mime_filedata(part, file) != CURLE_OK)
			rc = NH_FAIL(err, NH_EIO, "cannot read %s", file);
		curl_mime_filename(part, shown_name);
		curl_mime_type(part, "application/octet-stream");
		k.headers = curl_slist_append(k.headers, "Accept: application/json");
		curl_easy_setopt(k.curl, CURLOPT_MIMEPOST, mime);
		curl_easy_setopt(k.curl, CURLOPT_WRITEFUNCTION, collect);
		curl_easy_setopt(k.curl, CURLOPT_WRITEDATA, &got);
		show_progress(&k, &p);
	}
	if (rc == NH_OK)
		rc = run_upload(c, &k, &p, &status, err);
	cli_progress_end(&p);
	if (rc == NH_OK)
		rc = take_answer(&got, status, answer, err);
	call_end(&k);
	curl_mime_free(mime);
	return rc;
}

static size_t read_file(char *bytes, size_t size, size_t count, void *ctx) { return fread(bytes, size, count, ctx); }

static nh_rc begin_file(struct nh_cli *c, const struct cli_file_request *request, struct call *k, FILE *from, struct nh_err *err)
{
	struct stat st;
	if (fstat(fileno(from), &st) != 0 || !S_ISREG(st.st_mode))
		return NH_FAIL(err, NH_EINVAL, "%s is not a file", request->file);
	NH_TRY(call_begin(c, k, request->route, request->query, false, err));
	k->headers = curl_slist_append(k->headers, "Accept: application/json");
	k->headers = curl_slist_append(k->headers, nh_arena_printf(&c->arena, "Content-Type: %s", request->media));
	for (const char *const *h = request->headers; h && *h; h++)
		k->headers = curl_slist_append(k->headers, *h);
	curl_easy_setopt(k->curl, CURLOPT_POST, 1L);
	curl_easy_setopt(k->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)st.st_size);
	curl_easy_setopt(k->curl, CURLOPT_READFUNCTION, read_file);
	curl_easy_setopt(k->curl, CURLOPT_READDATA, from);
	curl_easy_setopt(k->curl, CURLOPT_WRITEFUNCTION, collect);
	return NH_OK;
}

nh_rc cli_send_file(struct nh_cli *c, const struct cli_file_request *request, json_t **answer, struct nh_err *err)
{
	struct call k = {0};
	struct cli_progress p = {.c = c, .verb = "Sending", .name = request->file};
	NH_AUTO_BUF struct nh_buf got = NH_BUF_MAX(ANSWER_MAX);
	long status = 0;
	FILE *from = fopen(request->file, "rbe");
	if (!from)
		return NH_FAIL(err, nh_rc_from_errno(errno), "cannot read %s: %s", request->file, strerrordesc_np(errno));
	nh_rc rc = begin_file(c, request, &k, from, err);
	if (rc == NH_OK) {
		curl_easy_setopt(k.curl, CURLOPT_WRITEDATA, &got);
		show_progress(&k, &p);
		rc = run_upload(c, &k, &p, &status, err);
	}
	cli_progress_end(&p);
	if (rc == NH_OK)
		rc = take_answer(&got, status, answer, err);
	call_end(&k);
	fclose(from);
	return rc;
}

struct download {
	struct call *call;
	FILE *to;
	struct nh_buf error_body;
};

static size_t save(char *bytes, size_t size, size_t count, void *ctx)
{
	struct download *d = ctx;
	long status = 0;
	curl_easy_getinfo(d->call->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status >= 200 && status <= 299)
		return fwrite(bytes, size, count, d->to);
	if (d->error_body.len < 65536)
		nh_buf_put(&d->error_body, bytes, size * count);
	return size * count;
}

nh_rc cli_download(struct nh_cli *c, const char *route, FILE *to, const char *shown_name, struct nh_err *err)
{
	struct call k = {0};
	struct cli_progress p = {.c = c, .verb = "Downloading", .name = shown_name};
	struct download d = {.call = &k, .to = to};
	long status = 0;
	nh_rc rc = call_begin(c, &k, route, NULL, false, err);
	if (rc == NH_OK) {
		curl_easy_setopt(k.curl, CURLOPT_WRITEFUNCTION, save);
		curl_easy_setopt(k.curl, CURLOPT_WRITEDATA, &d);
		show_progress(&k, &p);
		rc = call_run(c, &k, &status, err);
	}
	cli_progress_end(&p);
	if (rc == NH_OK && (status < 200 || status > 299))
		rc = answer_error(status, &d.error_body, err);
	if (rc == NH_OK && fflush(to) != 0)
		rc = NH_FAIL(err, NH_EIO, "cannot write %s", shown_name);
	nh_buf_fini(&d.error_body);
	call_end(&k);
	return rc;
}

/*
 * Requests by libcurl. A handle a request: they are rare, and a connection that is kept would be one more thing to run out of.
 */
#include "http_int.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>

#include "base/arena.h"

#define CONNECT_MS 5000L

static void set_up_library(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx)
{
	struct http_call *call = ctx;
	nh_buf_put(&call->body, bytes, size * count);
	return nh_buf_ok(&call->body) ? size * count : 0;
}

static struct curl_slist *headers_of(const struct http_call *call, struct nh_arena *arena)
{
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");
	if (call->accept)
		list = curl_slist_append(list, nh_arena_printf(arena, "Accept: %s", call->accept));
	if (call->authorization)
		list = curl_slist_append(list, nh_arena_printf(arena, "Authorization: %s", call->authorization));
	return list;
}

static void set_up(CURL *h, struct http_call *call, struct curl_slist *headers)
{
	curl_easy_setopt(h, CURLOPT_URL, call->url);
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(h, CURLOPT_USERAGENT, "nerveshubd/" NH_VERSION);
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, call->plain ? "http,https" : "https");
	curl_easy_setopt(h, CURLOPT_PROXY, ""); /* the environment is not asked */
	curl_easy_setopt(h, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, call);
	if (call->ca_file)
		curl_easy_setopt(h, CURLOPT_CAINFO, call->ca_file);
	if (call->form)
		curl_easy_setopt(h, CURLOPT_COPYPOSTFIELDS, call->form);
}

static void read_head(CURL *h, struct http_call *call)
{
	long status = 0;
	const char *type = NULL;
	nh_slice media, parameters;
	curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(h, CURLINFO_CONTENT_TYPE, &type);
	call->status = (unsigned)status;
	nh_slice_cut(nh_slice_str(type), ';', &media, &parameters);
	media = nh_slice_trim(media);
	snprintf(call->type, sizeof call->type, "%.*s", NH_ARG(media));
}

static nh_rc judge(const struct http_call *call, CURLcode code, struct nh_err *err)
{
	nh_slice scheme, rest, origin, path;
	nh_slice_cut(nh_slice_str(call->url), '/', &scheme, &rest);
	nh_slice_cut(nh_slice_skip(rest, 1), '/', &origin, &path);
	if (code == CURLE_OK)
		return NH_OK;
	if (!nh_buf_ok(&call->body))
		return NH_FAIL(err, NH_ETOOBIG, "%.*s answers with more than %zu bytes", NH_ARG(origin), call->max);
	return NH_FAIL(err, code == CURLE_OPERATION_TIMEDOUT ? NH_ETIMEOUT : NH_EIO, "%.*s cannot be reached: %s", NH_ARG(origin), curl_easy_strerror(code));
}

nh_rc http_call(struct http_call *call, struct nh_err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	pthread_once(&once, set_up_library);
	CURL *h = curl_easy_init();
	if (!h)
		return NH_FAIL(err, NH_ENOMEM, "no memory for a request");
	call->status = 0;
	call->type[0] = 0;
	call->body = NH_BUF_MAX(call->max);
	struct curl_slist *headers = headers_of(call, &arena);
	set_up(h, call, headers);
	CURLcode code = curl_easy_perform(h);
	if (code == CURLE_OK)
		read_head(h, call);
	nh_rc rc = judge(call, code, err);
	curl_easy_cleanup(h);
	curl_slist_free_all(headers);
	return rc;
}

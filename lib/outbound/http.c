/*
 * Requests by libcurl: the one place where a handle is set up. A handle a request; connections are kept only where a multi handle does (webhook.c).
 */
#include "http_int.h"

#include <pthread.h>
#include <stdio.h>

#include "base/arena.h"

#define CONNECT_MS 5000L

static void set_up_library(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

static size_t on_body(char *bytes, size_t size, size_t count, void *ctx)
{
	struct http_call *call = ctx;
	size_t len = size * count, room = call->max - call->body.len;
	nh_buf_put(&call->body, bytes, call->cut && len > room ? room : len);
	return nh_buf_ok(&call->body) && (!call->cut || len <= room) ? len : 0;
}

/* Here and not before, since a name may lead elsewhere each time it is asked. */
static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct http_call *call = ctx;
	if (purpose == CURLSOCKTYPE_IPCXN && call->allowed(call->allowed_ctx, &to->addr))
		return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
	call->refused = true;
	return CURL_SOCKET_BAD;
}

static struct curl_slist *headers_of(const struct http_call *call, struct nh_arena *arena)
{
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");
	if (call->accept)
		list = curl_slist_append(list, nh_arena_printf(arena, "Accept: %s", call->accept));
	if (call->authorization)
		list = curl_slist_append(list, nh_arena_printf(arena, "Authorization: %s", call->authorization));
	if (call->json.ptr)
		list = curl_slist_append(list, "Content-Type: application/json");
	for (size_t i = 0; call->headers && call->headers[i]; i++)
		list = curl_slist_append(list, call->headers[i]);
	return list;
}

static void set_body(CURL *h, const struct http_call *call)
{
	if (call->form)
		curl_easy_setopt(h, CURLOPT_COPYPOSTFIELDS, call->form);
	if (!call->json.ptr)
		return;
	curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->json.len);
	curl_easy_setopt(h, CURLOPT_POSTFIELDS, (const char *)call->json.ptr);
}

static void set_up(CURL *h, struct http_call *call)
{
	curl_easy_setopt(h, CURLOPT_URL, call->url);
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, call->list);
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
	if (call->ca_file && *call->ca_file)
		curl_easy_setopt(h, CURLOPT_CAINFO, call->ca_file);
	if (call->allowed) {
		curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, on_socket);
		curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, call);
	}
	set_body(h, call);
}

static void read_head(CURL *h, struct http_call *call)
{
	long status = 0;
	curl_off_t retry_after = 0;
	const char *type = NULL;
	nh_slice media, parameters;
	curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(h, CURLINFO_CONTENT_TYPE, &type);
	curl_easy_getinfo(h, CURLINFO_RETRY_AFTER, &retry_after);
	call->status = (unsigned)status;
	call->retry_after_s = retry_after > 0 ? (uint64_t)retry_after : 0;
	nh_slice_cut(nh_slice_str(type), ';', &media, &parameters);
	media = nh_slice_trim(media);
	snprintf(call->type, sizeof call->type, "%.*s", NH_ARG(media));
}

static nh_rc judge(const struct http_call *call, CURLcode code, struct nh_err *err)
{
	nh_slice scheme, rest, origin, path;
	nh_slice_cut(nh_slice_str(call->url), '/', &scheme, &rest);
	nh_slice_cut(nh_slice_skip(rest, 1), '/', &origin, &path);
	nh_slice_cut(origin, '?', &origin, &path); /* what is asked for may be a secret */
	if (code == CURLE_OK)
		return NH_OK;
	if (!nh_buf_ok(&call->body))
		return NH_FAIL(err, NH_ETOOBIG, "%.*s answers with more than %zu bytes", NH_ARG(origin), call->max);
	if (call->refused)
		return NH_FAIL(err, NH_EPERM, "%.*s has an address that is not allowed: private, local or reserved", NH_ARG(origin));
	return NH_FAIL(err, code == CURLE_OPERATION_TIMEDOUT ? NH_ETIMEOUT : NH_EIO, "%.*s cannot be reached: %s", NH_ARG(origin), curl_easy_strerror(code));
}

CURL *http_begin(struct http_call *call)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	pthread_once(&once, set_up_library);
	CURL *h = curl_easy_init();
	if (!h)
		return NULL;
	call->status = 0;
	call->type[0] = 0;
	call->refused = false;
	call->body = NH_BUF_MAX(call->max);
	call->list = headers_of(call, &arena);
	set_up(h, call);
	return h;
}

/* Of an answer that was cut the head is all there. */
static bool was_cut(const struct http_call *call, CURLcode code) { return call->cut && code == CURLE_WRITE_ERROR && nh_buf_ok(&call->body); }

nh_rc http_end(struct http_call *call, CURL *take_handle, CURLcode code, struct nh_err *err)
{
	if (was_cut(call, code))
		code = CURLE_OK;
	if (code == CURLE_OK)
		read_head(take_handle, call);
	nh_rc rc = judge(call, code, err);
	curl_easy_cleanup(take_handle);
	curl_slist_free_all(call->list);
	call->list = NULL;
	return rc;
}

nh_rc http_call(struct http_call *call, struct nh_err *err)
{
	CURL *h = http_begin(call);
	return h ? http_end(call, h, curl_easy_perform(h), err) : NH_FAIL(err, NH_ENOMEM, "no memory for a request");
}

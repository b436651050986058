/*
 * One HTTP request to somebody else's server, its answer in memory: bounded in size and time, no redirects followed, no proxy or password of the environment. Private to outbound.
 *
 * http_call does it at once and blocks, so a worker's. Who has many under way gives what http_begin returns to a multi handle, and ends each with http_end.
 */
#pragma once

#include <curl/curl.h>
#include <sys/socket.h>

#include "base/buf.h"

struct http_call {
	const char *url;
	const char *ca_file;      /* NULL or empty: the system's certificates */
	const char *accept;       /* NULL: anything */
	const char *form;         /* body of a POST, urlencoded; NULL: none */
	nh_slice json;            /* body of a POST, JSON; pointer NULL: none. Borrowed until the end */
	const char *authorization;/* value of the header; NULL: none. Not logged, not in messages */
	const char *const *headers; /* further ones, "name: value", NULL at the end; NULL: none. Borrowed until http_begin has returned */
	bool plain;               /* http is allowed, too */
	uint64_t timeout_ms;      /* for all of it */
	size_t max;               /* bytes of the answer */
	bool cut;                 /* of a longer answer the beginning is enough; else it is NH_ETOOBIG */
	/* May this address be connected to? Asked for each that is tried, of every name; NULL: any may. */
	bool (*allowed)(void *ctx, const struct sockaddr *address);
	void *allowed_ctx;
	/* the answer */
	unsigned status;
	char type[64];            /* media type, without parameters */
	uint64_t retry_after_s;   /* what it says of that; 0: nothing */
	bool refused;             /* an address that was not allowed */
	struct nh_buf body;       /* the caller's to wipe or free, also on failure */
	/* http.c's */
	struct curl_slist *list;
};

/*
 * http_call - NH_OK: there is an answer, of whatever status. NH_ETIMEOUT; NH_ETOOBIG: more than max; NH_EPERM: no address that may be connected to; NH_EIO: no answer, or from a server whose
 * certificate is not trusted. Messages name the host and port of the URL, nothing else of it.
 */
nh_rc http_call(struct http_call *call, struct nh_err *err);

/* http_begin - a handle that is set up; call stays where it is until http_end. NULL: no memory. Any thread. */
CURL *http_begin(struct http_call *call);
/* http_end - what came of it, as http_call says; frees the handle, which is in no multi handle any more. */
nh_rc http_end(struct http_call *call, CURL *take_handle, CURLcode code, struct nh_err *err);

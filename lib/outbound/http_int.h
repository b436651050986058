/*
 * One HTTP request to somebody else's server, its answer in memory: bounded in size and time, no redirects followed, no proxy or password of the environment. Blocks, so a worker's.
 * Private to outbound.
 */
#pragma once

#include "base/buf.h"

struct http_call {
	const char *url;
	const char *ca_file;      /* NULL: the system's certificates */
	const char *accept;       /* NULL: anything */
	const char *form;         /* body of a POST, urlencoded; NULL: GET */
	const char *authorization;/* value of the header; NULL: none. Not logged, not in messages */
	bool plain;               /* http is allowed, too */
	uint64_t timeout_ms;      /* for all of it */
	size_t max;               /* bytes of the answer */
	/* the answer */
	unsigned status;
	char type[64];            /* media type, without parameters */
	struct nh_buf body;       /* the caller's to wipe or free, also on failure */
};

/*
 * http_call - NH_OK: there is an answer, of whatever status. NH_ETIMEOUT; NH_ETOOBIG: more than max; NH_EIO: no answer, or from a server whose certificate is not trusted.
 * Messages name the host and port of the URL, nothing else of it.
 */
nh_rc http_call(struct http_call *call, struct nh_err *err);

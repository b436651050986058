/*
 * Private to the bucket store.
 *
 *   s3.c          the kind of object store: uploads, reading, listing, URLs
 *   s3_role.c     whose key signs
 *   s3_request.c  one signed request over HTTP, made again where the fault passes
 *   s3_xml.c      what S3 answers in
 */
#pragma once

#include <pthread.h>

#include "objects_int.h"
#include "sigv4_int.h"

#define S3_IDLE_HANDLES 8
#define S3_ANSWER_MAX ((size_t)4 << 20) /* a page of a listing is well below */

struct s3 {
	struct nh_objects base;
	struct nh_s3_config config; /* texts on the heap; defaults filled in */
	char *texts[12];
	char *host;           /* as signed and sent: without a port that the scheme implies */
	char *origin;         /* "https://host" */
	struct nh_clock clock;
	pthread_mutex_t lock; /* of what follows */
	struct s3_keys *keys; /* of the moment; NULL: none yet */
	void *idle[S3_IDLE_HANDLES]; /* connections to be used again */
	unsigned idle_count;
	pthread_mutex_t renewing; /* one asks, the others wait */
	struct nh_episode lending;
};

/*
 * s3_keys_get is the keys of the moment, to be given back by s3_keys_put; NULL: there are none, or they have expired. s3_keys_renew asks for new ones where they are lent and expire soon: NH_OK where there are
 * usable ones; NH_EAUTH, NH_EIO; blocks. s3_keys_given: those of the configuration, for good.
 */
struct s3_keys *s3_keys_get(struct s3 *s);
void s3_keys_put(struct s3_keys *keys); /* NULL legal */
const struct sigv4_credentials *s3_credentials(const struct s3_keys *keys);
nh_rc s3_keys_renew(struct s3 *s, struct nh_err *err);
void s3_keys_given(struct s3 *s);

/* One request. */
struct s3_call {
	const char *method;
	const char *key;      /* NULL: of the bucket */
	struct sigv4_pair params[6];
	size_t param_count;
	/* body: bytes of a file, or of memory */
	int body_fd;          /* -1: memory */
	uint64_t body_offset, body_len;
	nh_slice body;
	/* answer */
	int into_fd;          /* -1: into `answer`. Truncated before each try. */
	struct nh_buf answer;
	unsigned status;
	char etag[128];       /* as sent, with quotes; empty where none came or it was longer */
	char region[64];      /* x-amz-bucket-region */
};

/*
 * s3_call - NH_OK: a 2xx. NH_ENOTFOUND: 404. NH_EAUTH: 401, 403. NH_ENOSPC: 507, or a code that says so. NH_EIO: everything else, after what may pass was tried again. Blocks.
 * s3_call_fini releases the answer.
 */
nh_rc s3_call(struct s3 *s, struct s3_call *call, struct nh_err *err);
void s3_call_fini(struct s3_call *call);
void s3_call_param(struct s3_call *call, const char *name, nh_slice value);
/* The path as it is signed: "/bucket/key" or "/key". */
void s3_put_path(const struct s3 *s, const char *key, struct nh_buf *out);
void s3_handles_free(struct s3 *s);

/* Elements without children come to `leaf` with the name of their parent, ends of all elements to `end`; returning false stops. Views valid during the call. */
struct s3_xml {
	bool (*leaf)(void *ctx, const char *parent, const char *name, nh_slice text);
	bool (*end)(void *ctx, const char *name);
	void *ctx;
};
/* s3_xml_read - NH_EFORMAT: no XML, a document type, deeper than 16 or a text over 8 KiB. Stopped by a callback: NH_OK. */
nh_rc s3_xml_read(nh_slice document, const struct s3_xml *xml, struct nh_err *err);
/* The text of the first leaf of that name; NH_ENOTFOUND. */
nh_rc s3_xml_text(nh_slice document, const char *name, struct nh_buf *out, struct nh_err *err);

/*
 * Signatures of requests to S3 and its like: AWS Signature Version 4, in the Authorization header and in presigned URLs. Pure: bytes in, bytes out; no network, no clock. Private to
 * objects. thread: any.
 *
 * source: AWS General Reference "Signature Version 4 signing process"; Amazon S3 API Reference "Authenticating Requests (AWS Signature Version 4)", whose published examples are the tests
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define SIGV4_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGV4_UNSIGNED "UNSIGNED-PAYLOAD"
#define SIGV4_PARAMS_MAX 16
#define SIGV4_HEADERS_MAX 16

struct sigv4_pair {
	nh_slice name;  /* headers: lower case */
	nh_slice value; /* as is; encoded where it is put into the URL */
};

struct sigv4_credentials {
	nh_slice key_id;
	nh_slice secret;
	nh_slice session_token; /* empty where the credentials are not temporary */
	nh_slice region;        /* "eu-central-1" */
	nh_slice service;       /* "s3" */
};

struct sigv4_request {
	nh_slice method;       /* "GET" */
	nh_slice path;         /* absolute, not encoded: "/bucket/a key" */
	const struct sigv4_pair *params; /* of the query, in any order, at most SIGV4_PARAMS_MAX */
	size_t param_count;
	const struct sigv4_pair *headers; /* all that shall be signed, host and the x-amz- ones among them, in any order, at most SIGV4_HEADERS_MAX */
	size_t header_count;
	nh_slice payload_sha256; /* lower-case hex, or SIGV4_UNSIGNED */
	int64_t at_us;
};

/* "20130524T000000Z" */
void sigv4_put_time(struct nh_buf *out, int64_t at_us);
/* The path as it stands in the request line: every byte but unreserved ones and '/' encoded, once. */
void sigv4_put_path(struct nh_buf *out, nh_slice path);
/* "a=b&c=", sorted and encoded; empty without parameters. */
void sigv4_put_query(struct nh_buf *out, const struct sigv4_pair *params, size_t count);

/* sigv4_authorization - the value of the Authorization header. NH_EINVAL: more parameters or headers than it takes. */
nh_rc sigv4_authorization(const struct sigv4_credentials *credentials, const struct sigv4_request *request, struct nh_buf *out, struct nh_err *err);

/*
 * sigv4_presign - appends the query of a URL that needs no header but Host, ready behind '?': whoever has it may do `method` on `path` for so long. request: method, path, at_us,
 * the header host, and further parameters (response-content-type, …); payload_sha256 is not used. expires_s: 1 to 604 800. NH_EINVAL.
 */
nh_rc sigv4_presign(const struct sigv4_credentials *credentials, const struct sigv4_request *request, uint64_t expires_s, struct nh_buf *out, struct nh_err *err);

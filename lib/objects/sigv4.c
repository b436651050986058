/*
 * Signature Version 4: a request is written down in one canonical way, its digest is signed by a key that was derived for the day, the region and the service, so that the secret
 * itself travels nowhere. S3 encodes paths once, where other services of the family do it twice.
 */
#include "sigv4_int.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/encode.h"
#include "crypto/hmac.h"

#define ALGORITHM "AWS4-HMAC-SHA256"
#define EXPIRES_MAX_S 604800
#define PAIRS_MAX (SIGV4_PARAMS_MAX + 6) /* presigning adds its own */

void sigv4_put_time(struct nh_buf *out, int64_t at_us)
{
	time_t seconds = (time_t)(at_us / 1000000);
	struct tm t;
	gmtime_r(&seconds, &t);
	nh_buf_printf(out, "%04d%02d%02dT%02d%02d%02dZ", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
}

void sigv4_put_path(struct nh_buf *out, nh_slice path)
{
	for (nh_slice rest = path, segment; path.len > 0; nh_buf_put_u8(out, '/')) {
		bool more = nh_slice_cut(rest, '/', &segment, &rest);
		nh_uri_put(out, segment);
		if (!more)
			return;
	}
}

/* ---- lists in canonical order ------------------------------------------------------------------------------------------------ */

/* A name and a value, encoded or trimmed, as they are signed. */
struct canonical {
	struct nh_buf name, value;
};

static int by_name_then_value(const void *a, const void *b)
{
	const struct canonical *x = a, *y = b;
	int order = strcmp(nh_buf_cstr(&x->name), nh_buf_cstr(&y->name));
	return order ? order : strcmp(nh_buf_cstr(&x->value), nh_buf_cstr(&y->value));
}

static void canonical_fini(struct canonical *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		nh_buf_fini(&list[i].name);
		nh_buf_fini(&list[i].value);
	}
}

void sigv4_put_query(struct nh_buf *out, const struct sigv4_pair *params, size_t count)
{
	struct canonical list[PAIRS_MAX] = {0};
	NH_ASSERT(count <= PAIRS_MAX);
	for (size_t i = 0; i < count; i++) {
		nh_uri_put(&list[i].name, params[i].name);
		nh_uri_put(&list[i].value, params[i].value);
	}
	qsort(list, count, sizeof *list, by_name_then_value);
	for (size_t i = 0; i < count; i++)
		nh_buf_printf(out, "%s%s=%s", i ? "&" : "", nh_buf_cstr(&list[i].name), nh_buf_cstr(&list[i].value));
	canonical_fini(list, count);
}

/* Blanks around a value go, a run of them inside of it is one. */
static void put_folded(struct nh_buf *out, nh_slice value)
{
	value = nh_slice_trim(value);
	for (size_t i = 0; i < value.len; i++)
		if (value.ptr[i] != ' ' || value.ptr[i - 1] != ' ')
			nh_buf_put_u8(out, value.ptr[i]);
}

/* "host:…\nx-amz-date:…\n" and "host;x-amz-date" */
static void put_headers(const struct sigv4_request *r, struct nh_buf *lines, struct nh_buf *names)
{
	struct canonical list[SIGV4_HEADERS_MAX] = {0};
	for (size_t i = 0; i < r->header_count; i++) {
		nh_buf_put_slice(&list[i].name, r->headers[i].name);
		put_folded(&list[i].value, r->headers[i].value);
	}
	qsort(list, r->header_count, sizeof *list, by_name_then_value);
	for (size_t i = 0; i < r->header_count; i++) {
		nh_buf_printf(lines, "%s:%s\n", nh_buf_cstr(&list[i].name), nh_buf_cstr(&list[i].value));
		nh_buf_printf(names, "%s%s", i ? ";" : "", nh_buf_cstr(&list[i].name));
	}
	canonical_fini(list, r->header_count);
}

/* ---- the signature ----------------------------------------------------------------------------------------------------------- */

static void put_scope(struct nh_buf *out, const struct sigv4_credentials *c, int64_t at_us)
{
	NH_AUTO_BUF struct nh_buf time = NH_BUF_INIT;
	sigv4_put_time(&time, at_us);
	nh_buf_printf(out, "%.8s/%.*s/%.*s/aws4_request", nh_buf_cstr(&time), NH_ARG(c->region), NH_ARG(c->service));
}

static void canonical_request(const struct sigv4_request *r, nh_slice query, struct nh_buf *out, struct nh_buf *signed_names)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, lines = NH_BUF_INIT;
	sigv4_put_path(&path, r->path);
	put_headers(r, &lines, signed_names);
	nh_buf_printf(out, "%.*s\n%s\n%.*s\n%s\n%s\n%.*s", NH_ARG(r->method), nh_buf_cstr(&path), NH_ARG(query), nh_buf_cstr(&lines), nh_buf_cstr(signed_names), NH_ARG(r->payload_sha256));
}

/* Lower-case hex of the signature. */
static void sign(const struct sigv4_credentials *c, int64_t at_us, nh_slice canonical, struct nh_buf *out)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, scope = NH_BUF_INIT, start = NH_BUF_INIT;
	uint8_t key[NH_SHA256_LEN], mac[NH_SHA256_LEN];
	nh_slice step = nh_slice_of(key, sizeof key), rest, part;
	put_scope(&scope, c, at_us);
	nh_buf_put_str(&text, ALGORITHM "\n");
	sigv4_put_time(&text, at_us);
	nh_buf_printf(&text, "\n%s\n", nh_buf_cstr(&scope));
	nh_digest_put_hex(&text, NH_SHA256, canonical);

	/* one derivation for each part of the scope: day, region, service, "aws4_request" */
	nh_buf_printf(&start, "AWS4%.*s", NH_ARG(c->secret));
	rest = nh_buf_slice(&scope);
	for (bool more = true, first = true; more; first = false) {
		more = nh_slice_cut(rest, '/', &part, &rest);
		nh_hmac(NH_SHA256, first ? nh_buf_slice(&start) : step, part, mac);
		memcpy(key, mac, sizeof key);
	}
	nh_hmac(NH_SHA256, step, nh_buf_slice(&text), mac);
	nh_hex_put(out, nh_slice_of(mac, sizeof mac));
	nh_buf_wipe(&start);
	explicit_bzero(key, sizeof key);
}

static nh_rc check(const struct sigv4_request *r, struct nh_err *err)
{
	if (r->param_count > SIGV4_PARAMS_MAX || r->header_count > SIGV4_HEADERS_MAX)
		return NH_FAIL(err, NH_EINVAL, "too many parameters or headers to sign");
	return NH_OK;
}

nh_rc sigv4_authorization(const struct sigv4_credentials *c, const struct sigv4_request *r, struct nh_buf *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT, canonical = NH_BUF_INIT, names = NH_BUF_INIT;
	NH_TRY(check(r, err));
	sigv4_put_query(&query, r->params, r->param_count);
	canonical_request(r, nh_buf_slice(&query), &canonical, &names);
	nh_buf_printf(out, ALGORITHM " Credential=%.*s/", NH_ARG(c->key_id));
	put_scope(out, c, r->at_us);
	nh_buf_printf(out, ",SignedHeaders=%s,Signature=", nh_buf_cstr(&names));
	sign(c, r->at_us, nh_buf_slice(&canonical), out);
	return NH_OK;
}

nh_rc sigv4_presign(const struct sigv4_credentials *c, const struct sigv4_request *r, uint64_t expires_s, struct nh_buf *out, struct nh_err *err)
{
	NH_TRY(check(r, err));
	if (expires_s < 1 || expires_s > EXPIRES_MAX_S)
		return NH_FAIL(err, NH_EINVAL, "a presigned URL lives for 1 to %d seconds", EXPIRES_MAX_S);
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT, canonical = NH_BUF_INIT, names = NH_BUF_INIT, lines = NH_BUF_INIT, credential = NH_BUF_INIT, time = NH_BUF_INIT, expires = NH_BUF_INIT;
	nh_buf_printf(&credential, "%.*s/", NH_ARG(c->key_id));
	put_scope(&credential, c, r->at_us);
	sigv4_put_time(&time, r->at_us);
	nh_buf_printf(&expires, "%llu", (unsigned long long)expires_s);
	put_headers(r, &lines, &names);
	struct sigv4_pair params[PAIRS_MAX];
	size_t count = 0;
	for (; count < r->param_count; count++)
		params[count] = r->params[count];
	params[count++] = (struct sigv4_pair){NH_LIT("X-Amz-Algorithm"), NH_LIT(ALGORITHM)};
	params[count++] = (struct sigv4_pair){NH_LIT("X-Amz-Credential"), nh_buf_slice(&credential)};
	params[count++] = (struct sigv4_pair){NH_LIT("X-Amz-Date"), nh_buf_slice(&time)};
	params[count++] = (struct sigv4_pair){NH_LIT("X-Amz-Expires"), nh_buf_slice(&expires)};
	params[count++] = (struct sigv4_pair){NH_LIT("X-Amz-SignedHeaders"), nh_buf_slice(&names)};
	if (c->session_token.len > 0)
		params[count++] = (struct sigv4_pair){NH_LIT("X-Amz-Security-Token"), c->session_token};
	sigv4_put_query(&query, params, count);

	struct sigv4_request whole = *r;
	whole.payload_sha256 = NH_LIT(SIGV4_UNSIGNED);
	nh_buf_clear(&names);
	canonical_request(&whole, nh_buf_slice(&query), &canonical, &names);
	nh_buf_printf(out, "%s&X-Amz-Signature=", nh_buf_cstr(&query));
	sign(c, r->at_us, nh_buf_slice(&canonical), out);
	return NH_OK;
}

/*
 * What an issuer publishes: its discovery document, kept for a day, and its keys, kept for an hour and fetched anew for a token with a key that is not among them, but then not
 * more often than once a minute: tokens come from strangers. An issuer that cannot be reached when something has merely grown old is passed over in favour of the old
 * document, never in favour of old keys.
 */
#include "oidc_int.h"

#include <stdlib.h>

#define TIMEOUT_MS 10000

nh_rc oidc_call(struct nh_oidc *oidc, struct http_call *call, struct nh_err *err)
{
	nh_rc rc;
	call->plain = oidc->plain;
	call->ca_file = *oidc->config.ca_file ? oidc->config.ca_file : NULL;
	call->timeout_ms = oidc->config.timeout_ms ? oidc->config.timeout_ms : TIMEOUT_MS;
	call->max = call->max ? call->max : DOCUMENT_MAX;
	if (__atomic_add_fetch(&oidc->calls, 1, __ATOMIC_RELAXED) > NH_OIDC_CALLS_MAX)
		rc = NH_FAIL(err, NH_EAGAIN, "%d workers are asking %s already", NH_OIDC_CALLS_MAX, oidc->config.issuer);
	else
		rc = http_call(call, err);
	__atomic_sub_fetch(&oidc->calls, 1, __ATOMIC_RELAXED);
	return rc;
}

nh_rc oidc_object(const struct http_call *call, const char *what, json_t **out, struct nh_err *err)
{
	*out = NULL;
	if (call->status != 200)
		return NH_FAIL(err, call->status >= 500 ? NH_EIO : NH_EFORMAT, "%s: the issuer answers with status %u", what, call->status);
	NH_TRY_CTX(nh_json_parse(nh_buf_slice(&call->body), call->max, out, err), err, "%s", what);
	if (json_is_object(*out))
		return NH_OK;
	json_decref(*out);
	*out = NULL;
	return NH_FAIL(err, NH_EFORMAT, "%s: the issuer's answer is no JSON object", what);
}

static nh_rc fetch(struct nh_oidc *oidc, const char *url, size_t max, const char *what, json_t **out, struct nh_err *err)
{
	struct http_call call = {.url = url, .accept = "application/json", .max = max};
	nh_rc rc = oidc_call(oidc, &call, err);
	if (rc == NH_OK)
		rc = oidc_object(&call, what, out, err);
	else
		NH_IGNORE(nh_err_prefix(err, rc, "%s", what)); /* returns rc */
	nh_buf_fini(&call.body);
	return rc;
}

/* ---- the discovery document -------------------------------------------------------------------------------------------------- */

nh_slice oidc_url_host(nh_slice url)
{
	nh_slice host, rest;
	ptrdiff_t at = nh_slice_find(url, NH_LIT("://"));
	nh_slice_cut(nh_slice_skip(url, at < 0 ? 0 : (size_t)at + 3), '/', &host, &rest);
	nh_slice_cut(host, '?', &host, &rest);
	return host;
}

static bool is_loopback(nh_slice host)
{
	static const char *const hosts[] = {"localhost", "127.0.0.1", "[::1]"};
	for (size_t i = 0; i < NH_ARRAY_LEN(hosts); i++) {
		nh_slice rest = nh_slice_skip(host, strlen(hosts[i]));
		if (nh_slice_starts(host, nh_slice_str(hosts[i])) && (rest.len == 0 || rest.ptr[0] == ':'))
			return true;
	}
	return false;
}

bool oidc_url_ok(const struct nh_oidc *oidc, nh_slice url)
{
	nh_slice host = oidc_url_host(url);
	/* On this machine nobody is in between, so development needs no certificates. */
	bool scheme = nh_slice_starts(url, NH_LIT("https://")) || (oidc->plain && nh_slice_starts(url, NH_LIT("http://")) && is_loopback(host));
	for (size_t i = 0; i < url.len; i++)
		if (url.ptr[i] <= ' ' || url.ptr[i] >= 0x7f || strchr("#\"<>\\", url.ptr[i]))
			return false;
	return scheme && url.len <= 2048 && host.len > 0 && host.ptr[0] != ':' && nh_slice_chr(host, '@') < 0;
}

static nh_rc address(const struct nh_oidc *oidc, const json_t *document, const char *name, bool needed, char **out, struct nh_err *err)
{
	nh_slice url = nh_json_text(document, name);
	if (url.len == 0 && !needed)
		url = NH_LIT("");
	else if (!oidc_url_ok(oidc, url))
		return NH_FAIL(err, NH_EFORMAT, "the discovery document of %s has no usable %s", oidc->config.issuer, name);
	*out = nh_xstrdup(url);
	return NH_OK;
}

static bool lists(const json_t *document, const char *name, const char *value)
{
	const json_t *list = json_object_get(document, name);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (text && strcmp(text, value) == 0)
			return true;
	}
	return false;
}

void oidc_metadata_unref(struct metadata *m)
{
	if (!m || __atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	free(m->authorization);
	free(m->token);
	free(m->keys);
	free(m->userinfo);
	free(m);
}

static nh_rc metadata_read(const struct nh_oidc *oidc, const json_t *document, struct metadata **out, struct nh_err *err)
{
	const char *methods = "token_endpoint_auth_methods_supported";
	nh_slice issuer = nh_json_text(document, "issuer");
	*out = NULL;
	if (!nh_slice_eq_str(issuer, oidc->config.issuer))
		return NH_FAIL(err, NH_EFORMAT, "the discovery document of %s is that of '%.*s'; the setting must be as the issuer writes itself", oidc->config.issuer, NH_ARG(nh_slice_sub(issuer, 0, 200)));
	struct metadata *m = nh_xcalloc(1, sizeof *m);
	m->refs = 1;
	m->fetched_us = nh_clock_now(oidc->config.clock);
	m->secret_in_body = json_object_get(document, methods) && !lists(document, methods, "client_secret_basic") && lists(document, methods, "client_secret_post");
	m->names_itself = nh_json_bool(document, "authorization_response_iss_parameter_supported", false);
	nh_rc rc = address(oidc, document, "authorization_endpoint", true, &m->authorization, err);
	if (rc == NH_OK)
		rc = address(oidc, document, "token_endpoint", true, &m->token, err);
	if (rc == NH_OK)
		rc = address(oidc, document, "jwks_uri", true, &m->keys, err);
	if (rc == NH_OK)
		rc = address(oidc, document, "userinfo_endpoint", false, &m->userinfo, err);
	if (rc == NH_OK)
		*out = m;
	else
		oidc_metadata_unref(m);
	return rc;
}

static nh_rc metadata_fetch(struct nh_oidc *oidc, struct metadata **out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	NH_AUTO_JSON json_t *document = NULL;
	nh_slice issuer = nh_slice_str(oidc->config.issuer);
	while (nh_slice_ends(issuer, NH_LIT("/")))
		issuer = nh_slice_sub(issuer, 0, issuer.len - 1);
	nh_buf_printf(&url, "%.*s/.well-known/openid-configuration", NH_ARG(issuer));
	NH_TRY(fetch(oidc, nh_buf_cstr(&url), DOCUMENT_MAX, "discovery document", &document, err));
	return metadata_read(oidc, document, out, err);
}

static struct metadata *metadata_ref(struct metadata *m)
{
	if (m)
		__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
	return m;
}

/* Young enough? A clock that was set back makes everything old. */
static bool fresh(int64_t at_us, int64_t now_us, int64_t age_us) { return at_us <= now_us && now_us - at_us < age_us; }

nh_rc oidc_metadata(struct nh_oidc *oidc, struct metadata **out, struct nh_err *err)
{
	struct metadata *fetched = NULL;
	pthread_mutex_lock(&oidc->lock);
	struct metadata *kept = metadata_ref(oidc->metadata);
	pthread_mutex_unlock(&oidc->lock);
	*out = kept;
	if (kept && fresh(kept->fetched_us, nh_clock_now(oidc->config.clock), METADATA_AGE_US))
		return NH_OK;
	nh_rc rc = metadata_fetch(oidc, &fetched, err);
	if (rc != NH_OK)
		return kept && rc != NH_EFORMAT ? NH_OK : (oidc_metadata_unref(kept), *out = NULL, rc);
	pthread_mutex_lock(&oidc->lock);
	struct metadata *old = oidc->metadata;
	oidc->metadata = metadata_ref(fetched);
	pthread_mutex_unlock(&oidc->lock);
	oidc_metadata_unref(old);
	oidc_metadata_unref(kept);
	*out = fetched;
	return NH_OK;
}

/* ---- keys -------------------------------------------------------------------------------------------------------------------- */

/* NH_OK: *out is good as it is; NH_EAGAIN: they are to be fetched; NH_ENOTFOUND: and may not be. */
static nh_rc keys_kept(struct nh_oidc *oidc, bool again, struct jwks **out, struct nh_err *err)
{
	int64_t now = nh_clock_now(oidc->config.clock);
	nh_rc rc = NH_EAGAIN;
	pthread_mutex_lock(&oidc->lock);
	if (again && oidc->unknown_key_us && fresh(oidc->unknown_key_us, now, UNKNOWN_KEY_US)) {
		rc = NH_ENOTFOUND;
	} else if (again) {
		oidc->unknown_key_us = now;
	} else if (oidc->keys && fresh(oidc->keys_fetched_us, now, KEYS_AGE_US)) {
		*out = jwks_ref(oidc->keys);
		rc = NH_OK;
	}
	pthread_mutex_unlock(&oidc->lock);
	return rc == NH_ENOTFOUND ? NH_FAIL(err, rc, "the keys of %s were fetched for an unknown key less than a minute ago", oidc->config.issuer) : rc;
}

nh_rc oidc_keys(struct nh_oidc *oidc, const struct metadata *m, bool again, struct jwks **out, struct nh_err *err)
{
	struct http_call call = {.url = m->keys, .accept = "application/json", .max = JWKS_MAX};
	*out = NULL;
	nh_rc rc = keys_kept(oidc, again, out, err);
	if (rc != NH_EAGAIN)
		return rc;
	rc = oidc_call(oidc, &call, err);
	if (rc == NH_OK && call.status != 200)
		rc = NH_FAIL(err, call.status >= 500 ? NH_EIO : NH_EFORMAT, "the issuer answers with status %u", call.status);
	if (rc == NH_OK)
		rc = jwks_parse(nh_buf_slice(&call.body), out, err);
	nh_buf_fini(&call.body);
	if (rc != NH_OK)
		return nh_err_prefix(err, rc, "keys of %s", oidc->config.issuer);
	pthread_mutex_lock(&oidc->lock);
	struct jwks *old = oidc->keys;
	oidc->keys = jwks_ref(*out);
	oidc->keys_fetched_us = nh_clock_now(oidc->config.clock);
	pthread_mutex_unlock(&oidc->lock);
	jwks_unref(old);
	return NH_OK;
}

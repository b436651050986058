/*
 * One sign-in from its begin to its end: the address the browser is sent to, and what its answer is worth.
 */
#include "oidc_int.h"

#include <stdlib.h>

#include "base/encode.h"
#include "crypto/hmac.h"
#include "crypto/secret.h"

/* ---- the issuer as configured ------------------------------------------------------------------------------------------------ */

static char *copy(const char *text) { return nh_xstrdup(nh_slice_str(text ? text : "")); }

static char *scopes_of(const char *text)
{
	nh_slice rest = nh_slice_str(text), word;
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	nh_buf_put_str(&out, "openid");
	while (rest.len > 0) {
		nh_slice_cut(rest, ' ', &word, &rest);
		if (word.len > 0 && !nh_slice_eq_str(word, "openid"))
			nh_buf_printf(&out, " %.*s", NH_ARG(word));
	}
	return nh_xstrdup(nh_buf_slice(&out));
}

nh_rc nh_oidc_new(const struct nh_oidc_config *config, struct nh_oidc **out, struct nh_err *err)
{
	nh_slice issuer = nh_slice_str(config->issuer);
	struct nh_oidc *oidc = nh_xcalloc(1, sizeof *oidc);
	*out = NULL;
	oidc->plain = nh_slice_starts(issuer, NH_LIT("http://"));
	bool url = oidc_url_ok(oidc, issuer) && nh_slice_chr(issuer, '?') < 0;
	if (!url || !config->client_id || !*config->client_id) {
		free(oidc);
		return url ? NH_FAIL(err, NH_EINVAL, "the issuer %s needs a client id", config->issuer)
		           : NH_FAIL(err, NH_EINVAL, "the issuer '%s' is no https:// URL (http:// is for this machine only)", config->issuer);
	}
	NH_ASSERT(pthread_mutex_init(&oidc->lock, NULL) == 0);
	oidc->config = *config;
	oidc->config.key = copy(config->key);
	oidc->config.issuer = copy(config->issuer);
	oidc->config.client_id = copy(config->client_id);
	oidc->config.client_secret = copy(config->client_secret);
	oidc->config.name = config->name && *config->name ? copy(config->name) : nh_xstrdup(oidc_url_host(issuer));
	oidc->config.scopes = scopes_of(config->scopes);
	oidc->config.ca_file = copy(config->ca_file);
	*out = oidc;
	return NH_OK;
}

void nh_oidc_free(struct nh_oidc *oidc)
{
	if (!oidc)
		return;
	const char *const texts[] = {oidc->config.key, oidc->config.issuer, oidc->config.client_id, oidc->config.client_secret, oidc->config.name, oidc->config.scopes, oidc->config.ca_file};
	nh_wipe((void *)(uintptr_t)oidc->config.client_secret, strlen(oidc->config.client_secret));
	for (size_t i = 0; i < NH_ARRAY_LEN(texts); i++)
		free((void *)(uintptr_t)texts[i]);
	oidc_metadata_unref(oidc->metadata);
	jwks_unref(oidc->keys);
	pthread_mutex_destroy(&oidc->lock);
	free(oidc);
}

const char *nh_oidc_key(const struct nh_oidc *oidc) { return oidc->config.key; }
const char *nh_oidc_name(const struct nh_oidc *oidc) { return oidc->config.name; }

bool nh_oidc_hosts_domains(const struct nh_oidc *oidc) { return strcmp(oidc->config.issuer, "https://accounts.google.com") == 0; }

/* ---- begin ------------------------------------------------------------------------------------------------------------------- */

static void derive(const struct nh_oidc *oidc, nh_slice secret_key, const char *purpose, nh_slice cookie, char out[NH_OIDC_TEXT_MAX])
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT, text = NH_BUF_INIT;
	uint8_t mac[NH_SHA256_LEN];
	nh_buf_printf(&message, "nerveshub openid connect %s\n%s\n%.*s", purpose, oidc->config.issuer, NH_ARG(cookie));
	nh_hmac(NH_SHA256, secret_key, nh_buf_slice(&message), mac);
	nh_b64_put(&text, nh_slice_of(mac, sizeof mac), NH_B64_URL_NOPAD);
	NH_ASSERT(text.len == NH_OIDC_TEXT_MAX - 1);
	memcpy(out, text.ptr, NH_OIDC_TEXT_MAX); /* its NUL, too */
	nh_buf_wipe(&text);
}

void nh_oidc_attempt_of(const struct nh_oidc *oidc, nh_slice secret_key, nh_slice cookie, struct nh_oidc_attempt *out)
{
	derive(oidc, secret_key, "state", cookie, out->state);
	derive(oidc, secret_key, "nonce", cookie, out->nonce);
	derive(oidc, secret_key, "verifier", cookie, out->verifier);
}

static void put_param(struct nh_buf *out, const char *name, nh_slice value)
{
	nh_buf_printf(out, "%s%s=", out->len ? "&" : "", name);
	nh_uri_put(out, value);
}

nh_rc nh_oidc_authorize_url(struct nh_oidc *oidc, const struct nh_oidc_attempt *attempt, nh_slice redirect_uri, struct nh_buf *url, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf challenge = NH_BUF_INIT, query = NH_BUF_INIT;
	AUTO_METADATA struct metadata *m = NULL;
	uint8_t digest[NH_SHA256_LEN];
	NH_TRY(oidc_metadata(oidc, &m, err));
	nh_sha256(nh_slice_str(attempt->verifier), digest);
	nh_b64_put(&challenge, nh_slice_of(digest, sizeof digest), NH_B64_URL_NOPAD);
	put_param(&query, "response_type", NH_LIT("code"));
	put_param(&query, "client_id", nh_slice_str(oidc->config.client_id));
	put_param(&query, "redirect_uri", redirect_uri);
	put_param(&query, "scope", nh_slice_str(oidc->config.scopes));
	put_param(&query, "state", nh_slice_str(attempt->state));
	put_param(&query, "nonce", nh_slice_str(attempt->nonce));
	put_param(&query, "code_challenge", nh_buf_slice(&challenge));
	put_param(&query, "code_challenge_method", NH_LIT("S256"));
	nh_buf_printf(url, "%s%c", m->authorization, strchr(m->authorization, '?') ? '&' : '?');
	nh_buf_put_slice(url, nh_buf_slice(&query));
	return NH_OK;
}

/* ---- end --------------------------------------------------------------------------------------------------------------------- */

static nh_rc check_answer(const struct nh_oidc *oidc, const struct metadata *m, const struct nh_oidc_answer *answer, struct nh_err *err)
{
	if (answer->issuer.ptr ? !nh_slice_eq_str(answer->issuer, oidc->config.issuer) : m->names_itself)
		return NH_FAIL(err, NH_EAUTH, "the answer is not that of %s (iss)", oidc->config.issuer);
	if (answer->error.len > 0)
		return NH_FAIL(err, NH_EPERM, "%s answers '%.*s'", oidc->config.issuer, NH_ARG(nh_slice_sub(answer->error, 0, 60)));
	if (answer->code.len == 0 || answer->code.len > 4096)
		return NH_FAIL(err, NH_EAUTH, "the answer bears no code");
	return NH_OK;
}

/* Id and secret are urlencoded before they go into the header. source: RFC 6749 "2.3.1" */
static void put_basic(struct nh_buf *out, const struct nh_oidc_config *config)
{
	struct nh_buf pair = NH_BUF_INIT;
	nh_uri_put(&pair, nh_slice_str(config->client_id));
	nh_buf_put_u8(&pair, ':');
	nh_uri_put(&pair, nh_slice_str(config->client_secret));
	nh_buf_put_str(out, "Basic ");
	nh_b64_put(out, nh_buf_slice(&pair), NH_B64_STD);
	nh_buf_wipe(&pair);
}

/* What a refusal says, for the log: a word from a list, so nothing of the browser's. */
static nh_rc refused(const struct nh_oidc *oidc, const struct http_call *call, struct nh_err *err)
{
	NH_AUTO_JSON json_t *document = NULL;
	NH_IGNORE(nh_json_parse(nh_buf_slice(&call->body), DOCUMENT_MAX, &document, NULL)); /* some say nothing */
	nh_slice word = nh_slice_sub(nh_json_text(document, "error"), 0, 60);
	if (nh_slice_eq_str(word, "invalid_grant"))
		return NH_FAIL(err, NH_EAUTH, "%s refuses the code: it was used already, or is too old", oidc->config.issuer);
	return NH_FAIL(err, call->status >= 500 ? NH_EIO : NH_EFORMAT, "%s refuses to exchange the code: status %u '%.*s'; are client id and secret right?", oidc->config.issuer, call->status, NH_ARG(word));
}

static nh_rc exchange(struct nh_oidc *oidc, const struct metadata *m, const struct nh_oidc_attempt *attempt, nh_slice redirect_uri, nh_slice code, json_t **out, struct nh_err *err)
{
	struct nh_buf form = NH_BUF_INIT, basic = NH_BUF_INIT;
	bool secret = *oidc->config.client_secret != 0;
	put_param(&form, "grant_type", NH_LIT("authorization_code"));
	put_param(&form, "code", code);
	put_param(&form, "redirect_uri", redirect_uri);
	put_param(&form, "code_verifier", nh_slice_str(attempt->verifier));
	if (!secret || m->secret_in_body)
		put_param(&form, "client_id", nh_slice_str(oidc->config.client_id));
	if (secret && m->secret_in_body)
		put_param(&form, "client_secret", nh_slice_str(oidc->config.client_secret));
	if (secret && !m->secret_in_body)
		put_basic(&basic, &oidc->config);
	struct http_call call = {.url = m->token, .accept = "application/json", .form = nh_buf_cstr(&form), .authorization = basic.len ? nh_buf_cstr(&basic) : NULL};
	nh_rc rc = oidc_call(oidc, &call, err);
	if (rc == NH_OK)
		rc = call.status == 200 ? oidc_object(&call, "tokens", out, err) : refused(oidc, &call, err);
	nh_buf_wipe(&call.body);
	nh_buf_wipe(&form);
	nh_buf_wipe(&basic);
	return rc;
}

/* The claims of the ID token, checked. Keys that are not known are asked for once more. */
static nh_rc check_id_token(struct nh_oidc *oidc, const struct metadata *m, const struct nh_oidc_attempt *attempt, const json_t *tokens, json_t **claims, struct nh_err *err)
{
	AUTO_JWKS struct jwks *keys = NULL;
	nh_signature_alg alg = NH_SIGNATURE_RS256;
	nh_slice token = nh_json_text(tokens, "id_token");
	struct id_token_expected expected = {.issuer = nh_slice_str(oidc->config.issuer), .client_id = nh_slice_str(oidc->config.client_id), .nonce = nh_slice_str(attempt->nonce),
	                                     .access_token = nh_json_text(tokens, "access_token"), .now_us = nh_clock_now(oidc->config.clock)};
	NH_TRY(oidc_keys(oidc, m, false, &keys, err));
	nh_rc rc = jwt_verify(token, keys, claims, &alg, err);
	if (rc == NH_ENOTFOUND) {
		jwks_unref(keys);
		keys = NULL;
		rc = oidc_keys(oidc, m, true, &keys, err);
		if (rc == NH_OK)
			rc = jwt_verify(token, keys, claims, &alg, err);
	}
	if (rc == NH_OK)
		rc = id_token_check(*claims, alg, &expected, err);
	if (rc == NH_OK)
		return NH_OK;
	/* Whatever is wrong with a token, it signs nobody in; that the issuer could not be asked is another matter. */
	if (rc == NH_EFORMAT || rc == NH_EUNSUPPORTED || rc == NH_ENOTFOUND || rc == NH_ETOOBIG)
		rc = NH_EAUTH;
	if (err)
		err->rc = rc;
	return nh_err_prefix(err, rc, "ID token");
}

/* source: OpenID Connect Core "5.3.2": the subject must be that of the token, or somebody else's address would come in. */
static nh_rc userinfo(struct nh_oidc *oidc, const struct metadata *m, const json_t *tokens, nh_slice subject, json_t **out, struct nh_err *err)
{
	struct nh_buf bearer = NH_BUF_INIT;
	nh_buf_printf(&bearer, "Bearer %.*s", NH_ARG(nh_json_text(tokens, "access_token")));
	struct http_call call = {.url = m->userinfo, .accept = "application/json", .authorization = nh_buf_cstr(&bearer)};
	nh_rc rc = oidc_call(oidc, &call, err);
	if (rc == NH_OK)
		rc = oidc_object(&call, "facts about the person", out, err);
	if (rc == NH_OK && !nh_slice_eq(nh_json_text(*out, "sub"), subject))
		rc = NH_FAIL(err, NH_EAUTH, "the facts that %s gives are about somebody else (sub)", oidc->config.issuer);
	nh_buf_wipe(&call.body);
	nh_buf_wipe(&bearer);
	return rc;
}

/* A header cannot carry just anything. source: RFC 6750 "2.1" */
static bool token_ok(nh_slice token)
{
	for (size_t i = 0; i < token.len; i++)
		if (token.ptr[i] <= ' ' || token.ptr[i] >= 0x7f)
			return false;
	return token.len > 0;
}

/* Most write a boolean, some the word. */
static bool is_true(const json_t *object, const char *name) { return nh_json_bool(object, name, false) || nh_slice_eq_str(nh_json_text(object, name), "true"); }

static void take_profile(const json_t *facts, struct nh_arena *arena, struct nh_oidc_person *out)
{
	out->email = nh_arena_copy(arena, nh_json_text(facts, "email"));
	out->email_verified = out->email.len > 0 && is_true(facts, "email_verified");
	out->name = nh_arena_copy(arena, nh_json_text(facts, "name"));
	out->hosted_domain = nh_arena_copy(arena, nh_json_text(facts, "hd"));
}

nh_rc nh_oidc_redeem(struct nh_oidc *oidc, const struct nh_oidc_attempt *attempt, nh_slice redirect_uri, const struct nh_oidc_answer *answer, struct nh_arena *arena,
                     struct nh_oidc_person *out, struct nh_err *err)
{
	AUTO_METADATA struct metadata *m = NULL;
	NH_AUTO_JSON json_t *tokens = NULL, *claims = NULL, *facts = NULL;
	*out = (struct nh_oidc_person){0};
	/* Before anything else: strangers can have this asked as often as they like. */
	if (!nh_slice_eq_ct(nh_slice_str(attempt->state), answer->state))
		return NH_FAIL(err, NH_EAUTH, "the answer belongs to another attempt to sign in (state)");
	NH_TRY(oidc_metadata(oidc, &m, err));
	NH_TRY(check_answer(oidc, m, answer, err));
	NH_TRY(exchange(oidc, m, attempt, redirect_uri, answer->code, &tokens, err));
	NH_TRY(check_id_token(oidc, m, attempt, tokens, &claims, err));
	out->issuer = nh_arena_copy(arena, nh_slice_str(oidc->config.issuer));
	out->subject = nh_arena_copy(arena, nh_json_text(claims, "sub"));
	take_profile(claims, arena, out);
	if (out->email.len > 0 || !*m->userinfo || !token_ok(nh_json_text(tokens, "access_token")))
		return NH_OK;
	NH_TRY(userinfo(oidc, m, tokens, out->subject, &facts, err));
	take_profile(facts, arena, out);
	return NH_OK;
}

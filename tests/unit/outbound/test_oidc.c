/*
 * The whole protocol against an issuer that says what the test wants it to say: over real sockets, with our own server behind them. What a well-behaved issuer does is in
 * tests/integration/test_oidc.py.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "loop/pool.h"
#include "net/server.h"
#include "outbound/oidc.h"
#include "token_key.h"
#include "test_pki.h"

#define SECRET NH_LIT("0123456789abcdef0123456789abcdef")
#define COOKIE NH_LIT("a-cookie-of-a-browser")
#define REDIRECT NH_LIT("http://localhost:4000/auth/oidc/callback")
#define START_US (INT64_C(1700000000) * NH_US_PER_S)

/* ---- the issuer ---------------------------------------------------------------------------------------------------------- */

enum { DISCOVERY, KEYS, TOKEN, USERINFO, PATHS };

struct say {
	unsigned status;
	const char *body; /* '~' stands for the issuer's URL */
	const char *location;
};

struct issuer {
	struct nh_arena arena;
	struct nh_pool *pool;
	struct nh_server *server;
	struct nh_listener listener;
	struct nh_mount mounts[2];
	char url[64];
	struct token_key key, newer;
	struct nh_clock clock;
	int64_t now_us; /* atomic */
	pthread_mutex_t lock;
	/* under the lock */
	struct say says[PATHS];
	unsigned asked[PATHS];
	char authorization[512], form[2048]; /* of the latest request for tokens */
};

static struct issuer issuer;

static int64_t now(void *ctx) { return __atomic_load_n(&((struct issuer *)ctx)->now_us, __ATOMIC_SEQ_CST); }
static void later(int64_t s) { __atomic_add_fetch(&issuer.now_us, s * NH_US_PER_S, __ATOMIC_SEQ_CST); }

static void answer(struct nh_request *req, struct nh_response *res)
{
	struct issuer *i = req->app;
	unsigned path = (unsigned)(uintptr_t)req->route->extra;
	NH_AUTO_BUF struct nh_buf body = NH_BUF_INIT;
	pthread_mutex_lock(&i->lock);
	i->asked[path]++;
	if (path == TOKEN) {
		nh_slice authorization = nh_request_header(req, "authorization");
		snprintf(i->authorization, sizeof i->authorization, "%.*s", NH_ARG(authorization));
		snprintf(i->form, sizeof i->form, "%.*s", NH_ARG(req->body));
	}
	struct say say = i->says[path];
	for (const char *c = say.body ? say.body : ""; *c; c++) {
		if (*c == '~')
			nh_buf_put_str(&body, i->url);
		else
			nh_buf_put_u8(&body, (uint8_t)*c);
	}
	pthread_mutex_unlock(&i->lock);
	if (say.location)
		nh_response_header(res, "Location", nh_slice_str(say.location));
	nh_response_send(res, say.status, "application/json", nh_buf_slice(&body));
}

static const struct nh_route routes[] = {
	{.method = NH_HTTP_GET, .path = "/.well-known/openid-configuration", .handle = answer, .extra = (void *)DISCOVERY},
	{.method = NH_HTTP_GET, .path = "/keys", .handle = answer, .extra = (void *)KEYS},
	{.method = NH_HTTP_POST, .path = "/token", .handle = answer, .extra = (void *)TOKEN},
	{.method = NH_HTTP_GET, .path = "/me", .handle = answer, .extra = (void *)USERINFO},
	{0},
};

#define ENDPOINTS "\"authorization_endpoint\":\"~/auth?x=1\",\"token_endpoint\":\"~/token\",\"jwks_uri\":\"~/keys\""
#define DOCUMENT "{\"issuer\":\"~\"," ENDPOINTS ",\"userinfo_endpoint\":\"~/me\"}"

static void say(unsigned path, unsigned status, const char *body)
{
	pthread_mutex_lock(&issuer.lock);
	issuer.says[path] = (struct say){status, nh_arena_str(&issuer.arena, nh_slice_str(body)), NULL};
	pthread_mutex_unlock(&issuer.lock);
}

static unsigned asked(unsigned path)
{
	pthread_mutex_lock(&issuer.lock);
	unsigned n = issuer.asked[path];
	pthread_mutex_unlock(&issuer.lock);
	return n;
}

static const char *keys_of(const struct token_key *key) { return nh_arena_printf(&issuer.arena, "{\"keys\":[%s]}", token_jwk(&issuer.arena, key, "")); }

/* Everything as it should be. */
static int behave(void **state)
{
	issuer.now_us = START_US;
	say(DISCOVERY, 200, DOCUMENT);
	say(KEYS, 200, keys_of(&issuer.key));
	say(TOKEN, 400, "{}");
	say(USERINFO, 200, "{\"sub\":\"ada\",\"email\":\"ada@example.com\",\"email_verified\":true,\"name\":\"Ada\"}");
	return 0;
}

static int set_up(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	issuer.clock = (struct nh_clock){now, &issuer};
	assert_int_equal(pthread_mutex_init(&issuer.lock, NULL), 0);
	issuer.key = token_key_new(NH_SIGNATURE_EDDSA, 0, "k1");
	issuer.newer = token_key_new(NH_SIGNATURE_ES256, 0, "k2");
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &issuer.pool, &err), NH_OK);
	issuer.mounts[0] = (struct nh_mount){.routes = routes, .app = &issuer};
	issuer.listener = (struct nh_listener){.name = "issuer", .address = "127.0.0.1", .mounts = issuer.mounts};
	assert_int_equal(nh_server_open(&(struct nh_server_config){.pool = issuer.pool, .listeners = &issuer.listener, .listener_count = 1}, &issuer.server, &err), NH_OK);
	assert_int_equal(nh_server_start(issuer.server, &err), NH_OK);
	snprintf(issuer.url, sizeof issuer.url, "http://127.0.0.1:%u", issuer.listener.port);
	return 0;
}

static int tear_down(void **state)
{
	nh_server_drain(issuer.server, 1000);
	nh_pool_free(issuer.pool);
	nh_server_free(issuer.server);
	gnutls_privkey_deinit(issuer.key.key);
	gnutls_privkey_deinit(issuer.newer.key);
	pthread_mutex_destroy(&issuer.lock);
	nh_arena_fini(&issuer.arena);
	return 0;
}

/* ---- the relying party ----------------------------------------------------------------------------------------------------- */

static struct nh_oidc *party(const char *url, const char *secret)
{
	struct nh_oidc *oidc;
	struct nh_err err = NH_ERR_INIT;
	struct nh_oidc_config config = {.key = "oidc", .issuer = url, .client_id = "us", .client_secret = secret, .name = "", .scopes = "email  openid", .ca_file = "", .clock = &issuer.clock};
	if (nh_oidc_new(&config, &oidc, &err) != NH_OK)
		fail_msg("%s", err.msg);
	return oidc;
}

static nh_rc authorize(struct nh_oidc *oidc, struct nh_buf *url, struct nh_err *err)
{
	struct nh_oidc_attempt attempt;
	nh_oidc_attempt_of(oidc, SECRET, COOKIE, &attempt);
	return nh_oidc_authorize_url(oidc, &attempt, REDIRECT, url, err);
}

static nh_rc redeem(struct nh_oidc *oidc, struct nh_oidc_person *out, struct nh_err *err)
{
	struct nh_oidc_attempt attempt;
	nh_oidc_attempt_of(oidc, SECRET, COOKIE, &attempt);
	struct nh_oidc_answer given = {.state = nh_slice_str(attempt.state), .code = NH_LIT("a code&")};
	return nh_oidc_redeem(oidc, &attempt, REDIRECT, &given, &issuer.arena, out, err);
}

/* What the issuer answers with a token of these claims; '$' stands for the attempt's nonce. */
static const char *tokens_of(const struct nh_oidc *oidc, const struct token_key *key, const char *header, const char *claims)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_oidc_attempt attempt;
	nh_oidc_attempt_of(oidc, SECRET, COOKIE, &attempt);
	for (const char *c = claims; *c; c++) {
		if (*c == '$')
			nh_buf_put_str(&text, attempt.nonce);
		else if (*c == '~')
			nh_buf_put_str(&text, issuer.url);
		else
			nh_buf_put_u8(&text, (uint8_t)*c);
	}
	return nh_arena_printf(&issuer.arena, "{\"access_token\":\"at-1\",\"token_type\":\"Bearer\",\"id_token\":\"%s\"}", token_sign(&issuer.arena, key, header, nh_buf_cstr(&text)));
}

#define CLAIMS "\"iss\":\"~\",\"aud\":\"us\",\"iat\":1700000000,\"exp\":1700000300,\"nonce\":\"$\",\"sub\":\"ada\""

/* ---- settings and addresses -------------------------------------------------------------------------------------------------- */

static void test_issuers(void **state)
{
	static const struct {
		const char *issuer, *client_id;
		nh_rc rc;
	} cases[] = {
		{"https://issuer.example", "us", NH_OK},
		{"https://issuer.example/a/b/", "us", NH_OK},
		{"https://issuer.example:8443", "us", NH_OK},
		{"http://localhost", "us", NH_OK},
		{"http://127.0.0.1:9/x", "us", NH_OK},
		{"http://[::1]:9", "us", NH_OK},
		{"https://issuer.example", "", NH_EINVAL},
		{"", "us", NH_EINVAL},
		{"issuer.example", "us", NH_EINVAL},
		{"http://issuer.example", "us", NH_EINVAL},
		{"http://localhost.example", "us", NH_EINVAL},
		{"http://127.0.0.1.example", "us", NH_EINVAL},
		{"https://", "us", NH_EINVAL},
		{"https:///x", "us", NH_EINVAL},
		{"https://a@issuer.example", "us", NH_EINVAL},
		{"https://issuer.example/#x", "us", NH_EINVAL},
		{"https://issuer.example/?x", "us", NH_EINVAL},
		{"https://issuer example", "us", NH_EINVAL},
		{"file:///etc/passwd", "us", NH_EINVAL},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_oidc *oidc = NULL;
		nh_rc rc = nh_oidc_new(&(struct nh_oidc_config){.key = "k", .issuer = cases[i].issuer, .client_id = cases[i].client_id, .clock = &issuer.clock}, &oidc, NULL);
		if (rc != cases[i].rc || (rc == NH_OK) != (oidc != NULL))
			fail_msg("'%s': %s", cases[i].issuer, nh_rc_name(rc));
		nh_oidc_free(oidc);
	}
	struct nh_oidc *oidc = party("https://issuer.example:8443/x", "");
	assert_string_equal(nh_oidc_name(oidc), "issuer.example:8443");
	assert_false(nh_oidc_hosts_domains(oidc));
	nh_oidc_free(oidc);
	oidc = party("https://accounts.google.com", "");
	assert_true(nh_oidc_hosts_domains(oidc));
	nh_oidc_free(oidc);
}

static void test_attempts(void **state)
{
	struct nh_oidc *one = party("https://one.example", ""), *two = party("https://two.example", "");
	struct nh_oidc_attempt a, b;
	nh_oidc_attempt_of(one, SECRET, COOKIE, &a);
	assert_int_equal(strlen(a.state), 43);
	assert_string_not_equal(a.state, a.nonce);
	assert_string_not_equal(a.state, a.verifier);
	assert_string_not_equal(a.nonce, a.verifier);
	nh_oidc_attempt_of(one, SECRET, COOKIE, &b);
	assert_memory_equal(&a, &b, sizeof a);
	nh_oidc_attempt_of(two, SECRET, COOKIE, &b);
	assert_string_not_equal(a.state, b.state);
	nh_oidc_attempt_of(one, SECRET, NH_LIT("a-cookie-of-a-browseR"), &b);
	assert_string_not_equal(a.state, b.state);
	nh_oidc_attempt_of(one, NH_LIT("1123456789abcdef0123456789abcdef"), COOKIE, &b);
	assert_string_not_equal(a.verifier, b.verifier);
	nh_oidc_free(one);
	nh_oidc_free(two);
}

static void test_address(void **state)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	struct nh_oidc *oidc = party(issuer.url, "");
	struct nh_err err = NH_ERR_INIT;
	if (authorize(oidc, &url, &err) != NH_OK)
		fail_msg("%s", err.msg);
	char *begin = nh_arena_printf(&issuer.arena,
	                              "%s/auth?x=1&response_type=code&client_id=us&redirect_uri=http%%3A%%2F%%2Flocalhost%%3A4000%%2Fauth%%2Foidc%%2Fcallback&scope=openid%%20email&state=", issuer.url);
	assert_true(nh_slice_starts(nh_buf_slice(&url), nh_slice_str(begin)));
	assert_non_null(strstr(nh_buf_cstr(&url), "&code_challenge_method=S256"));
	nh_oidc_free(oidc);
	/* Some write themselves with a slash at the end; the document's address has but one. */
	oidc = party(nh_arena_printf(&issuer.arena, "%s/", issuer.url), "");
	say(DISCOVERY, 200, "{\"issuer\":\"~/\"," ENDPOINTS "}");
	assert_int_equal(authorize(oidc, &url, &err), NH_OK);
	nh_oidc_free(oidc);
}

/* ---- what it publishes ------------------------------------------------------------------------------------------------------- */

static void test_documents(void **state)
{
	static const struct {
		const char *what;
		unsigned status;
		const char *body;
		nh_rc rc;
	} cases[] = {
		{"as it should be", 200, DOCUMENT, NH_OK},
		{"without facts about people", 200, "{\"issuer\":\"~\"," ENDPOINTS "}", NH_OK},
		{"of another issuer", 200, "{\"issuer\":\"https://issuer.example\"," ENDPOINTS "}", NH_EFORMAT},
		{"of an issuer with a slash", 200, "{\"issuer\":\"~/\"," ENDPOINTS "}", NH_EFORMAT},
		{"of nobody", 200, "{" ENDPOINTS "}", NH_EFORMAT},
		{"without an address for tokens", 200, "{\"issuer\":\"~\",\"authorization_endpoint\":\"~/auth\",\"jwks_uri\":\"~/keys\"}", NH_EFORMAT},
		{"without an address for people", 200, "{\"issuer\":\"~\",\"token_endpoint\":\"~/token\",\"jwks_uri\":\"~/keys\"}", NH_EFORMAT},
		{"without an address for keys", 200, "{\"issuer\":\"~\",\"token_endpoint\":\"~/token\",\"authorization_endpoint\":\"~/auth\"}", NH_EFORMAT},
		{"a script instead of an address", 200, "{\"issuer\":\"~\",\"authorization_endpoint\":\"javascript:alert(1)\",\"token_endpoint\":\"~/token\",\"jwks_uri\":\"~/keys\"}", NH_EFORMAT},
		{"a header smuggled into an address", 200, "{\"issuer\":\"~\",\"authorization_endpoint\":\"~/a\\r\\nSet-Cookie: a=b\",\"token_endpoint\":\"~/token\",\"jwks_uri\":\"~/keys\"}", NH_EFORMAT},
		{"without TLS elsewhere", 200, "{\"issuer\":\"~\",\"authorization_endpoint\":\"~/a\",\"token_endpoint\":\"http://other.example/token\",\"jwks_uri\":\"~/keys\"}", NH_EFORMAT},
		{"a file", 200, "{\"issuer\":\"~\",\"authorization_endpoint\":\"~/a\",\"token_endpoint\":\"~/token\",\"jwks_uri\":\"file:///etc/passwd\"}", NH_EFORMAT},
		{"facts about people at a bad address", 200, "{\"issuer\":\"~\"," ENDPOINTS ",\"userinfo_endpoint\":\"ftp://~/me\"}", NH_EFORMAT},
		{"a list", 200, "[]", NH_EFORMAT},
		{"no JSON", 200, "<html>", NH_EFORMAT},
		{"nothing", 200, "", NH_EFORMAT},
		{"not found", 404, DOCUMENT, NH_EFORMAT},
		{"out of order", 503, DOCUMENT, NH_EIO},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
		struct nh_err err = NH_ERR_INIT;
		struct nh_oidc *oidc = party(issuer.url, "");
		say(DISCOVERY, cases[i].status, cases[i].body);
		nh_rc rc = authorize(oidc, &url, &err);
		if (rc != cases[i].rc || (rc != NH_OK && (err.rc != rc || url.len > 0)))
			fail_msg("%s: %s %s", cases[i].what, nh_rc_name(rc), err.msg);
		nh_oidc_free(oidc);
	}
}

static void test_sizes_and_redirects(void **state)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT, big = NH_BUF_INIT;
	struct nh_oidc *oidc = party(issuer.url, "");
	nh_buf_printf(&big, "{\"x\":\"%0*d\",", 65536, 0);
	nh_buf_put_str(&big, &DOCUMENT[1]);
	say(DISCOVERY, 200, nh_buf_cstr(&big));
	assert_int_equal(authorize(oidc, &url, NULL), NH_ETOOBIG);
	/* Nowhere else is asked. */
	say(DISCOVERY, 302, "");
	issuer.says[DISCOVERY].location = "/keys";
	unsigned keys = asked(KEYS);
	assert_int_equal(authorize(oidc, &url, NULL), NH_EFORMAT);
	assert_int_equal(asked(KEYS), keys);
	nh_oidc_free(oidc);
}

static void test_ages(void **state)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	struct nh_oidc_person person;
	struct nh_oidc *oidc = party(issuer.url, "");
	unsigned documents = asked(DISCOVERY), keys = asked(KEYS);
	say(TOKEN, 200, tokens_of(oidc, &issuer.key, NULL, "{" CLAIMS "}"));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(authorize(oidc, &url, NULL), NH_OK);
		assert_int_equal(redeem(oidc, &person, NULL), NH_OK);
	}
	assert_int_equal(asked(DISCOVERY) - documents, 1);
	assert_int_equal(asked(KEYS) - keys, 1);
	/* Keys that the issuer took back are gone after an hour, also where it cannot be asked for others. */
	later(3601);
	say(KEYS, 503, "");
	assert_int_equal(redeem(oidc, &person, NULL), NH_EIO);
	say(KEYS, 200, keys_of(&issuer.newer));
	assert_int_equal(redeem(oidc, &person, NULL), NH_EAUTH);
	/* A document that is merely old does until there is another; one that is wrong does not. */
	documents = asked(DISCOVERY);
	later(24 * 3600);
	say(DISCOVERY, 503, "");
	assert_int_equal(authorize(oidc, &url, NULL), NH_OK);
	say(DISCOVERY, 200, "{}");
	assert_int_equal(authorize(oidc, &url, NULL), NH_EFORMAT);
	say(DISCOVERY, 200, DOCUMENT);
	assert_int_equal(authorize(oidc, &url, NULL), NH_OK);
	assert_int_equal(authorize(oidc, &url, NULL), NH_OK);
	assert_int_equal(asked(DISCOVERY) - documents, 3);
	nh_oidc_free(oidc);
}

static void test_unknown_keys(void **state)
{
	struct nh_oidc_person person;
	struct nh_oidc *oidc = party(issuer.url, "");
	unsigned keys = asked(KEYS);
	say(TOKEN, 200, tokens_of(oidc, &issuer.newer, NULL, "{" CLAIMS "}"));
	/* Fetched, and once more since it is unknown; then not for a minute. */
	for (int i = 0; i < 3; i++)
		assert_int_equal(redeem(oidc, &person, NULL), NH_EAUTH);
	assert_int_equal(asked(KEYS) - keys, 2);
	say(KEYS, 200, keys_of(&issuer.newer));
	later(59);
	assert_int_equal(redeem(oidc, &person, NULL), NH_EAUTH);
	assert_int_equal(asked(KEYS) - keys, 2);
	later(1);
	assert_int_equal(redeem(oidc, &person, NULL), NH_OK);
	assert_int_equal(asked(KEYS) - keys, 3);
	nh_oidc_free(oidc);
}

/* ---- tokens and people --------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *what;
	unsigned status;
	const char *body; /* NULL: with a token of the claims */
	const char *claims;
	nh_rc rc;
} answers[] = {
	{"as it should be", 200, NULL, "{" CLAIMS "}", NH_OK},
	{"a token for somebody else", 200, NULL, "{\"iss\":\"~\",\"aud\":\"them\",\"iat\":1700000000,\"exp\":1700000300,\"nonce\":\"$\",\"sub\":\"ada\"}", NH_EAUTH},
	{"a token of another attempt", 200, NULL, "{\"iss\":\"~\",\"aud\":\"us\",\"iat\":1700000000,\"exp\":1700000300,\"nonce\":\"x\",\"sub\":\"ada\"}", NH_EAUTH},
	{"a token with the hash of another access token", 200, NULL, "{" CLAIMS ",\"at_hash\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", NH_EAUTH},
	{"no token", 200, "{\"access_token\":\"at-1\"}", NULL, NH_EAUTH},
	{"a token that is a number", 200, "{\"id_token\":1}", NULL, NH_EAUTH},
	{"a token without signature", 200, "{\"id_token\":\"eyJhbGciOiJub25lIn0.e30.\"}", NULL, NH_EAUTH},
	{"a list", 200, "[]", NULL, NH_EFORMAT},
	{"no JSON", 200, "id_token=x", NULL, NH_EFORMAT},
	{"a code that was used", 400, "{\"error\":\"invalid_grant\"}", NULL, NH_EAUTH},
	{"an unknown client", 401, "{\"error\":\"invalid_client\"}", NULL, NH_EFORMAT},
	{"a refusal without words", 403, "", NULL, NH_EFORMAT},
	{"created, which is no answer here", 201, NULL, "{" CLAIMS "}", NH_EFORMAT},
	{"out of order", 500, "", NULL, NH_EIO},
};

static void test_answers(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(answers); i++) {
		struct nh_oidc_person person;
		struct nh_err err = NH_ERR_INIT;
		struct nh_oidc *oidc = party(issuer.url, "");
		say(TOKEN, answers[i].status, answers[i].body ? answers[i].body : tokens_of(oidc, &issuer.key, NULL, answers[i].claims));
		nh_rc rc = redeem(oidc, &person, &err);
		if (rc != answers[i].rc || (rc != NH_OK && err.rc != rc))
			fail_msg("%s: %s %s", answers[i].what, nh_rc_name(rc), err.msg);
		if (strstr(err.msg, "at-1") || strstr(err.msg, "eyJ"))
			fail_msg("%s: a token in the message: %s", answers[i].what, err.msg);
		nh_oidc_free(oidc);
	}
}

static void test_people(void **state)
{
	static const struct {
		const char *what, *claims, *facts; /* facts NULL: must not be asked for */
		unsigned status;
		nh_rc rc;
		const char *email;
		bool verified;
	} cases[] = {
		{"all in the token", "{" CLAIMS ",\"email\":\"a@b\",\"email_verified\":true}", NULL, 200, NH_OK, "a@b", true},
		{"not verified", "{" CLAIMS ",\"email\":\"a@b\",\"email_verified\":false}", NULL, 200, NH_OK, "a@b", false},
		{"not said whether verified", "{" CLAIMS ",\"email\":\"a@b\"}", NULL, 200, NH_OK, "a@b", false},
		{"verified as a word", "{" CLAIMS ",\"email\":\"a@b\",\"email_verified\":\"true\"}", NULL, 200, NH_OK, "a@b", true},
		{"verified as another word", "{" CLAIMS ",\"email\":\"a@b\",\"email_verified\":\"yes\"}", NULL, 200, NH_OK, "a@b", false},
		{"verified as a number", "{" CLAIMS ",\"email\":\"a@b\",\"email_verified\":1}", NULL, 200, NH_OK, "a@b", false},
		{"asked for", "{" CLAIMS "}", "{\"sub\":\"ada\",\"email\":\"c@d\",\"email_verified\":true}", 200, NH_OK, "c@d", true},
		{"nothing but a name", "{" CLAIMS ",\"email_verified\":true}", "{\"sub\":\"ada\",\"email_verified\":true}", 200, NH_OK, "", false},
		{"somebody else's", "{" CLAIMS "}", "{\"sub\":\"bob\",\"email\":\"c@d\",\"email_verified\":true}", 200, NH_EAUTH, NULL, false},
		{"nobody's", "{" CLAIMS "}", "{\"email\":\"c@d\",\"email_verified\":true}", 200, NH_EAUTH, NULL, false},
		{"refused", "{" CLAIMS "}", "{\"sub\":\"ada\"}", 401, NH_EFORMAT, NULL, false},
		{"out of order", "{" CLAIMS "}", "", 502, NH_EIO, NULL, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_oidc_person person;
		struct nh_err err = NH_ERR_INIT;
		struct nh_oidc *oidc = party(issuer.url, "");
		unsigned before = asked(USERINFO);
		say(TOKEN, 200, tokens_of(oidc, &issuer.key, NULL, cases[i].claims));
		say(USERINFO, cases[i].status, cases[i].facts ? cases[i].facts : "");
		nh_rc rc = redeem(oidc, &person, &err);
		if (rc != cases[i].rc || asked(USERINFO) - before != (cases[i].facts ? 1 : 0))
			fail_msg("%s: %s %s", cases[i].what, nh_rc_name(rc), err.msg);
		if (rc == NH_OK && (!nh_slice_eq_str(person.email, cases[i].email) || person.email_verified != cases[i].verified || !nh_slice_eq_str(person.subject, "ada") ||
		                    !nh_slice_eq_str(person.issuer, issuer.url)))
			fail_msg("%s: %.*s %d", cases[i].what, NH_ARG(person.email), person.email_verified);
		nh_oidc_free(oidc);
	}
}

/* Nothing of what the browser brings reaches the issuer before the state has been found right. */
static void test_browsers(void **state)
{
	struct nh_oidc_attempt attempt;
	struct nh_oidc *oidc = party(issuer.url, "");
	nh_oidc_attempt_of(oidc, SECRET, COOKIE, &attempt);
	nh_slice right = nh_slice_str(attempt.state), code = NH_LIT("c");
	const struct {
		const char *what;
		struct nh_oidc_answer given;
		nh_rc rc;
	} cases[] = {
		{"no state", {.code = code}, NH_EAUTH},
		{"another state", {.state = NH_LIT("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), .code = code}, NH_EAUTH},
		{"part of the state", {.state = nh_slice_sub(right, 0, 42), .code = code}, NH_EAUTH},
		{"an error with another state", {.state = NH_LIT("x"), .error = NH_LIT("access_denied")}, NH_EAUTH},
		{"an error", {.state = right, .error = NH_LIT("access_denied")}, NH_EPERM},
		{"an error and a code", {.state = right, .code = code, .error = NH_LIT("access_denied")}, NH_EPERM},
		{"no code", {.state = right}, NH_EAUTH},
		{"another issuer", {.state = right, .code = code, .issuer = NH_LIT("https://evil.example")}, NH_EAUTH},
		{"an empty issuer", {.state = right, .code = code, .issuer = NH_LIT("")}, NH_EAUTH},
	};
	unsigned before = asked(TOKEN);
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_oidc_person person;
		nh_rc rc = nh_oidc_redeem(oidc, &attempt, REDIRECT, &cases[i].given, &issuer.arena, &person, NULL);
		if (rc != cases[i].rc)
			fail_msg("%s: %s", cases[i].what, nh_rc_name(rc));
	}
	assert_int_equal(asked(TOKEN), before);
	nh_oidc_free(oidc);
	/* Where the issuer promises to name itself, silence is refused, too. */
	oidc = party(issuer.url, "");
	say(DISCOVERY, 200, "{\"issuer\":\"~\"," ENDPOINTS ",\"authorization_response_iss_parameter_supported\":true}");
	struct nh_oidc_person person;
	assert_int_equal(redeem(oidc, &person, NULL), NH_EAUTH);
	assert_int_equal(asked(TOKEN), before);
	nh_oidc_free(oidc);
}

static void test_credentials(void **state)
{
	static const struct {
		const char *methods, *secret, *authorization, *in_form, *not_in_form;
	} cases[] = {
		/* us:s%3A%2F%20%25 */
		{"", "s:/ %", "Basic dXM6cyUzQSUyRiUyMCUyNQ==", "grant_type=authorization_code&code=a%20code%26&redirect_uri=", "client_"},
		{",\"token_endpoint_auth_methods_supported\":[\"client_secret_post\",\"client_secret_basic\"]", "s", "Basic dXM6cw==", "code_verifier=", "client_"},
		{",\"token_endpoint_auth_methods_supported\":[\"client_secret_post\"]", "s:/ %", "", "&client_id=us&client_secret=s%3A%2F%20%25", "Basic"},
		{",\"token_endpoint_auth_methods_supported\":[\"private_key_jwt\"]", "s", "Basic dXM6cw==", "code_verifier=", "client_"},
		{"", "", "", "&client_id=us", "client_secret"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_oidc_person person;
		struct nh_oidc *oidc = party(issuer.url, cases[i].secret);
		say(DISCOVERY, 200, nh_arena_printf(&issuer.arena, "{\"issuer\":\"~\",%s%s}", ENDPOINTS, cases[i].methods));
		say(TOKEN, 200, tokens_of(oidc, &issuer.key, NULL, "{" CLAIMS "}"));
		assert_int_equal(redeem(oidc, &person, NULL), NH_OK);
		assert_string_equal(issuer.authorization, cases[i].authorization);
		assert_non_null(strstr(issuer.form, cases[i].in_form));
		assert_null(strstr(issuer.form, cases[i].not_in_form));
		nh_oidc_free(oidc);
	}
}

/* ---- an issuer that hangs -------------------------------------------------------------------------------------------------------- */

static void *ask(void *arg)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	return (void *)(intptr_t)authorize(arg, &url, NULL);
}

static void test_hanging(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	pthread_t threads[NH_OIDC_CALLS_MAX];
	int listening = socket(AF_INET, SOCK_STREAM, 0), taken[NH_OIDC_CALLS_MAX];
	assert_int_equal(bind(listening, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(listening, 8), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&at, &len), 0);
	char *address = nh_arena_printf(&issuer.arena, "http://127.0.0.1:%u", ntohs(at.sin_port));
	struct nh_oidc *oidc = party(address, "");
	/* So many workers wait; one more is not among them. */
	for (size_t i = 0; i < NH_OIDC_CALLS_MAX; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask, oidc), 0);
	for (size_t i = 0; i < NH_OIDC_CALLS_MAX; i++)
		assert_true((taken[i] = accept(listening, NULL, NULL)) >= 0);
	assert_int_equal(authorize(oidc, &url, NULL), NH_EAGAIN);
	for (size_t i = 0; i < NH_OIDC_CALLS_MAX; i++)
		close(taken[i]);
	for (size_t i = 0; i < NH_OIDC_CALLS_MAX; i++) {
		void *rc;
		assert_int_equal(pthread_join(threads[i], &rc), 0);
		assert_int_equal((intptr_t)rc, NH_EIO);
	}
	nh_oidc_free(oidc);
	/* None waits for ever. */
	struct nh_oidc_config config = {.key = "oidc", .issuer = address, .client_id = "us", .timeout_ms = 50, .clock = &issuer.clock};
	assert_int_equal(nh_oidc_new(&config, &oidc, NULL), NH_OK);
	assert_int_equal(authorize(oidc, &url, NULL), NH_ETIMEOUT);
	close(listening);
	assert_int_equal(authorize(oidc, &url, NULL), NH_EIO);
	nh_oidc_free(oidc);
}

/* ---- many at a time ------------------------------------------------------------------------------------------------------------ */

#define SIGN_INS 20

static void *sign_in(void *oidc)
{
	intptr_t failed = 0;
	for (int i = 0; i < SIGN_INS; i++) {
		struct nh_oidc_person person;
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_oidc_attempt attempt;
		nh_oidc_attempt_of(oidc, SECRET, COOKIE, &attempt);
		struct nh_oidc_answer given = {.state = nh_slice_str(attempt.state), .code = NH_LIT("c")};
		failed += nh_oidc_redeem(oidc, &attempt, REDIRECT, &given, &arena, &person, NULL) != NH_OK;
		later(1801); /* what is known grows old under the others' hands */
	}
	return (void *)failed;
}

static void test_many(void **state)
{
	pthread_t threads[NH_OIDC_CALLS_MAX];
	struct nh_oidc *oidc = party(issuer.url, "");
	unsigned keys = asked(KEYS);
	say(TOKEN, 200, tokens_of(oidc, &issuer.key, NULL, "{\"iss\":\"~\",\"aud\":\"us\",\"iat\":1700000000,\"exp\":1900000000,\"nonce\":\"$\",\"sub\":\"ada\"}"));
	for (size_t i = 0; i < NH_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sign_in, oidc), 0);
	for (size_t i = 0; i < NH_ARRAY_LEN(threads); i++) {
		void *failed;
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	assert_true(asked(KEYS) - keys >= SIGN_INS / 2);
	nh_oidc_free(oidc);
}

/* ---- over TLS -------------------------------------------------------------------------------------------------------------------- */

static nh_rc trusting(const char *url, const char *ca_file)
{
	NH_AUTO_BUF struct nh_buf to = NH_BUF_INIT;
	struct nh_oidc *oidc;
	struct nh_oidc_config config = {.key = "oidc", .issuer = url, .client_id = "us", .ca_file = ca_file, .clock = &issuer.clock};
	assert_int_equal(nh_oidc_new(&config, &oidc, NULL), NH_OK);
	nh_rc rc = authorize(oidc, &to, NULL);
	nh_oidc_free(oidc);
	return rc;
}

static void test_trust(void **state)
{
	struct test_pki ours, theirs;
	struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	struct nh_tls *tls;
	struct nh_pool *pool;
	struct nh_server *server;
	char ca[] = "/tmp/nh-oidc-ca-XXXXXX";
	test_pki_init(&ours);
	test_pki_init(&theirs);
	test_pki_issue(&ours, "localhost", "localhost", &cert, &key, NULL);
	assert_int_equal(nh_tls_server_new(&(struct nh_tls_server_config){.cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key)}, &tls, NULL), NH_OK);
	struct nh_listener listener = {.name = "tls", .address = "127.0.0.1", .mounts = issuer.mounts, .tls = tls};
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 1}, &pool, NULL), NH_OK);
	assert_int_equal(nh_server_open(&(struct nh_server_config){.pool = pool, .listeners = &listener, .listener_count = 1}, &server, NULL), NH_OK);
	assert_int_equal(nh_server_start(server, NULL), NH_OK);
	char *url = nh_arena_printf(&issuer.arena, "https://localhost:%u", listener.port), *other = nh_arena_printf(&issuer.arena, "https://127.0.0.1:%u", listener.port);
	say(DISCOVERY, 200, nh_arena_printf(&issuer.arena, "{\"issuer\":\"%s\",\"authorization_endpoint\":\"%s/a\",\"token_endpoint\":\"%s/t\",\"jwks_uri\":\"%s/k\"}", url, url, url, url));
	int fd = mkstemp(ca);
	assert_true(fd >= 0);
	unsigned before = asked(DISCOVERY);
	/* Nobody vouches for it, another does, it vouches for another name. */
	assert_int_equal(trusting(url, ""), NH_EIO);
	assert_int_equal(write(fd, theirs.pem.ptr, theirs.pem.len), theirs.pem.len);
	assert_int_equal(trusting(url, ca), NH_EIO);
	assert_int_equal(pwrite(fd, ours.pem.ptr, ours.pem.len, 0), ours.pem.len);
	assert_int_equal(ftruncate(fd, (off_t)ours.pem.len), 0);
	assert_int_equal(trusting(other, ca), NH_EIO);
	assert_int_equal(asked(DISCOVERY), before);
	assert_int_equal(trusting(url, ca), NH_OK);
	/* An issuer that is reached by TLS gives no address that is not. */
	say(DISCOVERY, 200, nh_arena_printf(&issuer.arena, "{\"issuer\":\"%s\"," ENDPOINTS "}", url));
	assert_int_equal(trusting(url, ca), NH_EFORMAT);
	close(fd);
	unlink(ca);
	nh_server_drain(server, 1000);
	nh_pool_free(pool);
	nh_server_free(server);
	nh_tls_unref(tls);
	nh_buf_fini(&cert);
	nh_buf_fini(&key);
	test_pki_fini(&ours);
	test_pki_fini(&theirs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_issuers, behave),   cmocka_unit_test_setup(test_attempts, behave), cmocka_unit_test_setup(test_address, behave),
		cmocka_unit_test_setup(test_documents, behave), cmocka_unit_test_setup(test_sizes_and_redirects, behave),
		cmocka_unit_test_setup(test_ages, behave),      cmocka_unit_test_setup(test_unknown_keys, behave),
		cmocka_unit_test_setup(test_answers, behave),   cmocka_unit_test_setup(test_people, behave),   cmocka_unit_test_setup(test_browsers, behave),
		cmocka_unit_test_setup(test_credentials, behave), cmocka_unit_test_setup(test_hanging, behave),   cmocka_unit_test_setup(test_many, behave), cmocka_unit_test_setup(test_trust, behave),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

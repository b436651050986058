/*
 * GnuTLS glue. Settings that matter, and why: GNUTLS_NO_TICKETS where certificates decide, as a resumed session would skip the decision; an empty trust list
 * on the server, so that no CA names are sent and no client withholds its certificate; X25519 before P-256, and P-256 kept because TLS 1.2 clients need it; an offer of
 * protocols without http/1.1 is refused (RFC 7301 3.2), as nothing that such a client says would be understood.
 */
#include "net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"

#define PRIORITY_COMMON ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1"
#define PRIORITY_BOTH "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2" PRIORITY_COMMON
#define PRIORITY_12 "NORMAL:-VERS-ALL:+VERS-TLS1.2" PRIORITY_COMMON

struct nh_tls {
	unsigned refs; /* atomic */
	bool server;
	gnutls_certificate_credentials_t credentials;
	gnutls_priority_t priorities;
	gnutls_datum_t ticket_key;
	nh_tls_client_auth client_auth;
	nh_tls_verify_fn verify;
	nh_tls_sign_fn sign;
	void *sign_ctx;
	struct nh_err sign_err; /* why sign failed: read in the same handshake */
	bool outside;           /* the key may take long */
};

struct nh_tls_session {
	struct nh_tls *tls;
	gnutls_session_t session;
	void *ctx;
	int fd;
	struct nh_buf ahead; /* server, during the handshake: received, and not yet asked for by GnuTLS */
	uint64_t served;     /* bytes given to GnuTLS from it */
	struct nh_buf flight; /* during the handshake: said by GnuTLS, and not yet sent */
	bool reads_ahead;
	bool shaking;        /* inside GnuTLS's handshake: what is said is gathered */
	bool asked;          /* the kernel, in this step of the handshake */
	size_t stuck; /* bytes of a write that GnuTLS holds encrypted and could not send */
	bool has_peer;
	bool decided;
	bool pending;
	bool undecided; /* TLS 1.2: the certificate is judged when the handshake is through */
	bool finished;  /* GnuTLS's handshake is through: it must not be called again */
	nh_tls_verdict verdict;
	uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN];
	char *server_name;      /* client: what the certificate must carry */
	unsigned verify_status; /* client: why it was refused */
};

static gnutls_datum_t datum(nh_slice s) { return (gnutls_datum_t){(unsigned char *)(uintptr_t)s.ptr, (unsigned)s.len}; }

/* ---- credentials ------------------------------------------------------------------------------------------------------- */

/* Runs for every server handshake, with and without a client certificate; 0 lets it go on. */
static int verify_client(gnutls_session_t session)
{
	struct nh_tls_session *s = gnutls_session_get_ptr(session);
	unsigned count = 0;
	const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &count);
	if (!list || count == 0)
		return s->tls->client_auth == NH_TLS_CLIENT_REQUIRED ? GNUTLS_E_NO_CERTIFICATE_FOUND : 0;
	if (!s->has_peer) {
		if (gnutls_hash_fast(GNUTLS_DIG_SHA256, list[0].data, list[0].size, s->fingerprint) != 0)
			return GNUTLS_E_CERTIFICATE_ERROR;
		s->has_peer = true;
	}
	/*
	 * TLS 1.3 comes here with the client's proof that it holds the key, TLS 1.2 before that. A certificate is no secret: whoever only has a copy of it
	 * must not be able to have it looked up, or a device recorded for it.
	 */
	if (gnutls_protocol_get_version(session) < GNUTLS_TLS1_3 && !s->finished) {
		s->undecided = true;
		return 0;
	}
	if (!s->decided) {
		s->verdict = s->tls->verify(s->ctx, s, nh_slice_of(list[0].data, list[0].size), s->fingerprint);
		s->pending = s->verdict == NH_TLS_PENDING;
		s->decided = !s->pending;
	}
	if (s->pending)
		return GNUTLS_E_AGAIN;
	return s->verdict == NH_TLS_ACCEPT ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

static nh_rc load_identity(struct nh_tls *t, nh_slice cert_pem, nh_slice key_pem, struct nh_err *err)
{
	gnutls_datum_t cert = datum(cert_pem), key = datum(key_pem);
	int rc = gnutls_certificate_set_x509_key_mem2(t->credentials, &cert, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (rc < 0)
		return NH_FAIL(err, NH_EFORMAT, "TLS certificate and key: %s", gnutls_strerror(rc));
	return NH_OK;
}

/* ---- a key that lives elsewhere */

static int outside_sign_hash(gnutls_privkey_t key, gnutls_sign_algorithm_t algorithm, void *ctx, unsigned flags, const gnutls_datum_t *hash, gnutls_datum_t *signature)
{
	struct nh_tls *t = ctx;
	uint8_t raw[64];
	t->sign_err = NH_ERR_INIT;
	if (hash->size != 32 || t->sign(t->sign_ctx, hash->data, raw, &t->sign_err) != NH_OK)
		return GNUTLS_E_PK_SIGN_FAILED;
	const gnutls_datum_t r = {raw, 32}, s = {raw + 32, 32};
	return gnutls_encode_rs_value(signature, &r, &s);
}

static int outside_sign_data(gnutls_privkey_t key, gnutls_sign_algorithm_t algorithm, void *ctx, unsigned flags, const gnutls_datum_t *data, gnutls_datum_t *signature)
{
	uint8_t digest[32];
	const gnutls_datum_t hash = {digest, sizeof digest};
	int rc = gnutls_hash_fast(GNUTLS_DIG_SHA256, data->data, data->size, digest);
	return rc != 0 ? rc : outside_sign_hash(key, algorithm, ctx, flags, &hash, signature);
}

/* P-256 with SHA-256 is all the chips do, and every server takes it. */
static int outside_info(gnutls_privkey_t key, unsigned flags, void *ctx)
{
	if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO)
		return GNUTLS_PK_ECDSA;
	if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS)
		return 256;
	if (flags & GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO) {
		gnutls_sign_algorithm_t algorithm = GNUTLS_FLAGS_TO_SIGN_ALGO(flags);
		return algorithm == GNUTLS_SIGN_ECDSA_SHA256 || algorithm == GNUTLS_SIGN_ECDSA_SECP256R1_SHA256;
	}
	return -1;
}

static int load_outside_key(struct nh_tls *t, const struct nh_tls_client_config *config, gnutls_privkey_t key)
{
	if (config->key_url)
		return gnutls_privkey_import_url(key, config->key_url, 0);
	t->sign = config->sign;
	t->sign_ctx = config->sign_ctx;
	/* Else it would have the key sign something just to see whether it is the certificate's. */
	gnutls_certificate_set_flags(t->credentials, GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH);
	return gnutls_privkey_import_ext4(key, t, outside_sign_data, outside_sign_hash, NULL, NULL, outside_info, 0);
}

/* The chain as PEM, or out of the token that has the key. */
static int load_chain(const struct nh_tls_client_config *config, gnutls_pcert_st *chain, unsigned *count)
{
	gnutls_datum_t cert = datum(config->cert_pem);
	if (cert.size > 0)
		return gnutls_pcert_list_import_x509_raw(chain, count, &cert, GNUTLS_X509_FMT_PEM, 0);
	return gnutls_pcert_list_import_x509_file(chain, count, config->key_url, GNUTLS_X509_FMT_DER, NULL, NULL, 0);
}

static nh_rc load_outside_identity(struct nh_tls *t, const struct nh_tls_client_config *config, struct nh_err *err)
{
	gnutls_pcert_st chain[8];
	unsigned count = NH_ARRAY_LEN(chain);
	gnutls_privkey_t key = NULL;
	nh_rc code = config->key_url && config->cert_pem.len == 0 ? NH_ENOTFOUND : NH_EFORMAT;
	t->outside = true;
	int rc = load_chain(config, chain, &count);
	if (rc < 0)
		return NH_FAIL(err, code, "TLS certificate: %s", gnutls_strerror(rc));
	code = config->key_url ? NH_ENOTFOUND : NH_EINTERNAL;
	if ((rc = gnutls_privkey_init(&key)) == 0)
		rc = load_outside_key(t, config, key);
	if (rc == 0) {
		code = NH_EFORMAT;
		rc = gnutls_certificate_set_key(t->credentials, NULL, 0, chain, (int)count, key);
	}
	if (rc >= 0)
		return NH_OK; /* the credentials have both now */
	for (unsigned i = 0; i < count; i++)
		gnutls_pcert_deinit(&chain[i]);
	gnutls_privkey_deinit(key);
	return NH_FAIL(err, code, "TLS key in hardware: %s", gnutls_strerror(rc));
}

bool nh_tls_signs_outside(const struct nh_tls *t) { return t->outside; }

/* ---- */

static nh_rc tls_new(bool server, const char *priorities, struct nh_tls **out, struct nh_err *err)
{
	struct nh_tls *t = nh_xcalloc(1, sizeof *t);
	t->refs = 1;
	t->server = server;
	*out = t;
	if (gnutls_certificate_allocate_credentials(&t->credentials) != 0 || gnutls_priority_init2(&t->priorities, priorities, NULL, 0) != 0)
		return NH_FAIL(err, NH_EINTERNAL, "TLS library: cannot set up credentials");
	return NH_OK;
}

/* Gives *out only where everything went well. */
static nh_rc finish(nh_rc rc, struct nh_tls *t, struct nh_tls **out)
{
	if (rc != NH_OK) {
		nh_tls_unref(t);
		t = NULL;
	}
	*out = t;
	return rc;
}

nh_rc nh_tls_server_new(const struct nh_tls_server_config *config, struct nh_tls **out, struct nh_err *err)
{
	NH_ASSERT(config->client_auth == NH_TLS_CLIENT_NONE || config->verify);
	struct nh_tls *t = NULL;
	nh_rc rc = tls_new(true, config->tls12_only ? PRIORITY_12 : PRIORITY_BOTH, &t, err);
	if (rc == NH_OK)
		rc = load_identity(t, config->cert_pem, config->key_pem, err);
	t->client_auth = config->client_auth;
	t->verify = config->verify;
	if (rc == NH_OK && config->tickets && gnutls_session_ticket_key_generate(&t->ticket_key) != 0)
		rc = NH_FAIL(err, NH_EINTERNAL, "TLS library: cannot make a ticket key");
	if (rc == NH_OK && config->client_auth != NH_TLS_CLIENT_NONE)
		gnutls_certificate_set_verify_function(t->credentials, verify_client);
	return finish(rc, t, out);
}

/* ---- whom a client trusts */

static int load_path(gnutls_x509_trust_list_t list, const char *path)
{
	struct stat st;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return gnutls_x509_trust_list_add_trust_dir(list, path, NULL, GNUTLS_X509_FMT_PEM, 0, 0);
	return gnutls_x509_trust_list_add_trust_file(list, path, NULL, GNUTLS_X509_FMT_PEM, 0, 0);
}

static nh_rc load_roots(gnutls_x509_trust_list_t list, const struct nh_tls_client_config *c, struct nh_err *err)
{
	gnutls_datum_t pem = datum(c->ca_pem);
	if (c->ca_pem.len && gnutls_x509_trust_list_add_trust_mem(list, &pem, NULL, GNUTLS_X509_FMT_PEM, 0, 0) <= 0)
		return NH_FAIL(err, NH_EFORMAT, "no trusted certificate in the given CA file");
	for (size_t i = 0; i < c->ca_path_count; i++)
		if (load_path(list, c->ca_paths[i]) <= 0)
			return NH_FAIL(err, NH_EFORMAT, "no trusted certificate in %s", c->ca_paths[i]);
	bool given = c->ca_pem.len || c->ca_path_count;
	if ((c->ca_system || !given) && gnutls_x509_trust_list_add_system_trust(list, 0, 0) <= 0)
		return NH_FAIL(err, NH_EFORMAT, "no trusted certificate in the system's list");
	return NH_OK;
}

nh_rc nh_tls_trust(struct nh_tls *t, const struct nh_tls_client_config *config, struct nh_err *err)
{
	gnutls_x509_trust_list_t list;
	if (gnutls_x509_trust_list_init(&list, 0) != 0)
		return NH_FAIL(err, NH_ENOMEM, "TLS library: no memory for a list of roots");
	nh_rc rc = load_roots(list, config, err);
	if (rc == NH_OK)
		gnutls_certificate_set_trust_list(t->credentials, list, 0); /* and frees the one before */
	else
		gnutls_x509_trust_list_deinit(list, 1);
	return rc;
}

void nh_tls_distrust(struct nh_tls *t)
{
	gnutls_x509_trust_list_t empty;
	if (gnutls_x509_trust_list_init(&empty, 1) == 0)
		gnutls_certificate_set_trust_list(t->credentials, empty, 0);
}

/* ---- what time it is */

static int64_t time_floor_s; /* atomic */
static _Thread_local int64_t present_s; /* while a certificate is looked at again: when it says that the present begins */

/* In place of time() within the TLS library. */
static time_t believed_time(time_t *out)
{
	int64_t now = time(NULL), floor = __atomic_load_n(&time_floor_s, __ATOMIC_RELAXED);
	if (now < floor)
		now = present_s > floor ? present_s : floor;
	if (out)
		*out = (time_t)now;
	return (time_t)now;
}

static bool clock_is_set(void) { return time(NULL) >= __atomic_load_n(&time_floor_s, __ATOMIC_RELAXED); }

static void raise_floor(int64_t at_s)
{
	int64_t floor = __atomic_load_n(&time_floor_s, __ATOMIC_RELAXED);
	while (at_s > floor && !__atomic_compare_exchange_n(&time_floor_s, &floor, at_s, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void nh_tls_time_floor(int64_t at_us) { raise_floor(at_us / NH_US_PER_S); }
int64_t nh_tls_time_known(void) { return __atomic_load_n(&time_floor_s, __ATOMIC_RELAXED) * NH_US_PER_S; }

static void use_believed_time(void) { gnutls_global_set_time_function(believed_time); }

/* Of the server's own certificate; -1 where it cannot be read. */
static int64_t activation_s(gnutls_session_t session)
{
	unsigned count = 0;
	gnutls_x509_crt_t leaf;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
	if (!chain || count == 0 || gnutls_x509_crt_init(&leaf) != 0)
		return -1;
	int64_t at = gnutls_x509_crt_import(leaf, &chain[0], GNUTLS_X509_FMT_DER) == 0 ? gnutls_x509_crt_get_activation_time(leaf) : -1;
	gnutls_x509_crt_deinit(leaf);
	return at;
}

/* Runs in every client handshake; 0 lets it go on. */
static int verify_server(gnutls_session_t session)
{
	struct nh_tls_session *s = gnutls_session_get_ptr(session);
	bool set = clock_is_set();
	int rc = gnutls_certificate_verify_peers3(session, s->server_name, &s->verify_status);
	if (rc == 0 && !set && s->verify_status & GNUTLS_CERT_NOT_ACTIVATED) {
		present_s = activation_s(session);
		rc = gnutls_certificate_verify_peers3(session, s->server_name, &s->verify_status);
		present_s = 0;
	}
	if (rc < 0)
		return GNUTLS_E_CERTIFICATE_ERROR;
	if (s->verify_status != 0)
		return GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR;
	if (set)
		raise_floor(activation_s(session));
	return 0;
}

/* ---- */

nh_rc nh_tls_client_new(const struct nh_tls_client_config *config, struct nh_tls **out, struct nh_err *err)
{
	struct nh_tls *t = NULL;
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, use_believed_time);
	nh_rc rc = tls_new(false, PRIORITY_BOTH, &t, err);
	if (rc == NH_OK && !config->ca_later)
		rc = nh_tls_trust(t, config, err);
	if (rc == NH_OK && (config->cert_pem.len || config->key_url))
		rc = config->sign || config->key_url ? load_outside_identity(t, config, err) : load_identity(t, config->cert_pem, config->key_pem, err);
	return finish(rc, t, out);
}

struct nh_tls *nh_tls_ref(struct nh_tls *t)
{
	__atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
	return t;
}

void nh_tls_unref(struct nh_tls *t)
{
	if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	if (t->credentials)
		gnutls_certificate_free_credentials(t->credentials);
	if (t->priorities)
		gnutls_priority_deinit(t->priorities);
	if (t->ticket_key.data)
		gnutls_memset(t->ticket_key.data, 0, t->ticket_key.size);
	gnutls_free(t->ticket_key.data);
	free(t);
}

/* ---- sessions ---------------------------------------------------------------------------------------------------------- */

static bool is_address(const char *name)
{
	uint8_t bytes[16];
	return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/*
 * GnuTLS asks for each record's five bytes of header and then for its body: two system calls for every message of a flight that came in one piece. While the
 * server shakes hands, one call takes what is there, and one is all that an event is good for: a second would only hear that there is nothing, since the peer
 * waits for our answer; what came meanwhile is an event of its own. Afterwards nothing is read ahead, so that the descriptor tells what waits.
 */
#define AHEAD_MAX NH_TLS_FIRST_MAX

static ssize_t nothing_yet(void)
{
	errno = EAGAIN;
	return -1;
}

static ssize_t pull(gnutls_transport_ptr_t ptr, void *out, size_t len)
{
	struct nh_tls_session *s = ptr;
	uint8_t bytes[AHEAD_MAX];
	if (s->ahead.len == 0 && (!s->reads_ahead || len >= sizeof bytes))
		return recv(s->fd, out, len, 0);
	if (s->ahead.len == 0) {
		if (s->asked)
			return nothing_yet();
		s->asked = true;
		ssize_t n = recv(s->fd, bytes, sizeof bytes, 0);
		if (n <= 0)
			return n;
		nh_buf_put(&s->ahead, bytes, (size_t)n);
	}
	size_t n = len < s->ahead.len ? len : s->ahead.len;
	memcpy(out, s->ahead.ptr, n);
	nh_buf_consume(&s->ahead, n);
	s->served += n;
	if (s->ahead.len == 0)
		nh_buf_fini(&s->ahead); /* an idle connection keeps nothing */
	return (ssize_t)n;
}

void nh_tls_feed(struct nh_tls_session *s, nh_slice first)
{
	NH_ASSERT(s->tls->server && first.len <= NH_TLS_FIRST_MAX);
	nh_buf_put_slice(&s->ahead, first);
}

/*
 * GnuTLS gives away its half of a handshake record by record. Gathered, a flight is one system call here and one segment, so the peer wakes up once, with all of
 * it, and answers in one piece too.
 */
static ssize_t push(gnutls_transport_ptr_t ptr, const giovec_t *pieces, int count)
{
	struct nh_tls_session *s = ptr;
	struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces, .msg_iovlen = (size_t)count};
	size_t before = s->flight.len;
	if (!s->shaking)
		return sendmsg(s->fd, &message, MSG_NOSIGNAL);
	for (int i = 0; i < count; i++)
		nh_buf_put(&s->flight, pieces[i].iov_base, pieces[i].iov_len);
	return (ssize_t)(s->flight.len - before);
}

/* NH_EAGAIN: the socket is full, and the rest waits for its room. */
static nh_rc send_flight(struct nh_tls_session *s)
{
	while (s->flight.len) {
		ssize_t n = send(s->fd, s->flight.ptr, s->flight.len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK ? NH_EAGAIN : NH_ECLOSED;
		nh_buf_consume(&s->flight, (size_t)n);
	}
	nh_buf_fini(&s->flight);
	return NH_OK;
}

static int set_up(struct nh_tls_session *s, int fd, const char *server_name)
{
	static const gnutls_datum_t http11 = {(unsigned char *)"http/1.1", 8};
	struct nh_tls *t = s->tls;
	unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | (t->server ? GNUTLS_SERVER : GNUTLS_CLIENT);
	if (!t->ticket_key.data)
		flags |= GNUTLS_NO_TICKETS;
	int rc = gnutls_init(&s->session, flags);
	if (rc != 0)
		return rc;
	gnutls_session_set_ptr(s->session, s);
	s->fd = fd;
	s->reads_ahead = t->server;
	gnutls_transport_set_ptr(s->session, s);
	gnutls_transport_set_pull_function(s->session, pull);
	gnutls_transport_set_vec_push_function(s->session, push);
	gnutls_handshake_set_timeout(s->session, 0);
	if ((rc = gnutls_priority_set(s->session, t->priorities)) != 0 ||
	    (rc = gnutls_credentials_set(s->session, GNUTLS_CRD_CERTIFICATE, t->credentials)) != 0 ||
	    (rc = gnutls_alpn_set_protocols(s->session, &http11, 1, t->server ? GNUTLS_ALPN_MANDATORY : 0)) != 0)
		return rc;
	if (t->server) {
		static const gnutls_certificate_request_t request[] = {GNUTLS_CERT_IGNORE, GNUTLS_CERT_REQUEST, GNUTLS_CERT_REQUIRE};
		gnutls_certificate_server_set_request(s->session, request[t->client_auth]);
		return t->ticket_key.data ? gnutls_session_ticket_enable_server(s->session, &t->ticket_key) : 0;
	}
	if (server_name && !is_address(server_name) && (rc = gnutls_server_name_set(s->session, GNUTLS_NAME_DNS, server_name, strlen(server_name))) != 0)
		return rc;
	s->server_name = server_name ? nh_xstrdup(nh_slice_str(server_name)) : NULL;
	gnutls_session_set_verify_function(s->session, verify_server);
	return 0;
}

nh_rc nh_tls_session_new(struct nh_tls *t, int fd, const char *server_name, void *ctx, struct nh_tls_session **out, struct nh_err *err)
{
	struct nh_tls_session *s = nh_xcalloc(1, sizeof *s);
	s->tls = nh_tls_ref(t);
	s->ctx = ctx;
	*out = NULL;
	int rc = set_up(s, fd, server_name);
	if (rc < 0) {
		nh_tls_free(s);
		return NH_FAIL(err, rc == GNUTLS_E_MEMORY_ERROR ? NH_ENOMEM : NH_EINTERNAL, "TLS session: %s", gnutls_strerror(rc));
	}
	*out = s;
	return NH_OK;
}

static nh_rc untrusted(const struct nh_tls_session *s, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf clock = NH_BUF_INIT;
	gnutls_datum_t text = {0};
	gnutls_certificate_verification_status_print(s->verify_status, GNUTLS_CRT_X509, &text, 0);
	if (s->verify_status & (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED)) {
		nh_buf_put_str(&clock, "This machine's clock says ");
		nh_time_put_iso(&clock, nh_now_us());
	}
	nh_rc rc = NH_FAIL(err, NH_EAUTH, "TLS: the server's certificate is not trusted: %s%s", text.data ? (const char *)text.data : "unknown reason", nh_buf_cstr(&clock));
	gnutls_free(text.data);
	return rc;
}

static nh_rc handshake_failure(struct nh_tls_session *s, int rc, struct nh_err *err)
{
	if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED || rc == GNUTLS_E_WARNING_ALERT_RECEIVED) {
		gnutls_alert_description_t alert = gnutls_alert_get(s->session);
		bool about_us = alert == GNUTLS_A_BAD_CERTIFICATE || alert == GNUTLS_A_UNKNOWN_CA || alert == GNUTLS_A_CERTIFICATE_UNKNOWN ||
				alert == GNUTLS_A_CERTIFICATE_EXPIRED || alert == GNUTLS_A_ACCESS_DENIED || alert == GNUTLS_A_CERTIFICATE_REQUIRED;
		return NH_FAIL(err, about_us ? NH_EAUTH : NH_EFORMAT, "TLS: the peer ended the handshake: %s", gnutls_alert_get_name(alert));
	}
	if (rc == GNUTLS_E_PREMATURE_TERMINATION || rc == GNUTLS_E_PULL_ERROR || rc == GNUTLS_E_PUSH_ERROR)
		return NH_FAIL(err, NH_ECLOSED, "TLS: the connection ended during the handshake");
	gnutls_alert_send_appropriate(s->session, rc);
	if (s->tls->sign_err.rc != NH_OK) {
		nh_rc out = NH_FAIL(err, NH_EIO, "TLS: the key did not sign: %s", s->tls->sign_err.msg);
		s->tls->sign_err = NH_ERR_INIT; /* the next session may fail for another reason */
		return out;
	}
	if (rc == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
		return untrusted(s, err);
	if (rc == GNUTLS_E_NO_CERTIFICATE_FOUND || rc == GNUTLS_E_CERTIFICATE_REQUIRED)
		return NH_FAIL(err, NH_EAUTH, "TLS: the client sent no certificate, and one is required");
	if (rc == GNUTLS_E_CERTIFICATE_ERROR)
		return NH_FAIL(err, NH_EAUTH, "TLS: the client's certificate was refused");
	return NH_FAIL(err, NH_EFORMAT, "TLS: %s", gnutls_strerror(rc));
}

static nh_rc shake(struct nh_tls_session *s, struct nh_err *err)
{
	for (;;) {
		uint64_t before = s->served;
		int rc = s->finished ? 0 : gnutls_handshake(s->session);
		if (rc == 0) {
			s->finished = true;
			rc = s->undecided ? verify_client(s->session) : 0;
		}
		if (rc == 0) {
			s->reads_ahead = false;
			return NH_OK;
		}
		/* GnuTLS also says so between records. The descriptor would tell of those that lie in the kernel, not of those read ahead: on while it takes some. */
		if (rc == GNUTLS_E_AGAIN && !s->pending && s->ahead.len > 0 && s->served != before && gnutls_record_get_direction(s->session) == 0)
			continue;
		if (rc == GNUTLS_E_AGAIN)
			return NH_EAGAIN;
		if (rc == GNUTLS_E_INTERRUPTED || (rc == GNUTLS_E_WARNING_ALERT_RECEIVED && gnutls_error_is_fatal(rc) == 0))
			continue;
		return handshake_failure(s, rc, err);
	}
}

nh_rc nh_tls_handshake(struct nh_tls_session *s, struct nh_err *err)
{
	nh_rc sent = send_flight(s), rc = NH_EAGAIN; /* what the last call could not */
	if (sent == NH_OK) {
		s->shaking = true;
		s->asked = s->ahead.len > 0;
		rc = shake(s, err);
		s->shaking = false;
		sent = send_flight(s);
		if (rc != NH_OK && rc != NH_EAGAIN)
			return rc; /* the alert is sent as far as the socket takes it */
	}
	if (sent == NH_ECLOSED)
		return NH_FAIL(err, NH_ECLOSED, "TLS: the connection ended during the handshake");
	return sent == NH_OK ? rc : NH_EAGAIN;
}

bool nh_tls_wants_write(const struct nh_tls_session *s) { return s->flight.len > 0 || (!s->pending && gnutls_record_get_direction(s->session) == 1); }
bool nh_tls_is_pending(const struct nh_tls_session *s) { return s->pending; }

void nh_tls_decide(struct nh_tls_session *s, nh_tls_verdict verdict)
{
	NH_ASSERT(s->pending && verdict != NH_TLS_PENDING);
	s->pending = false;
	s->decided = true;
	s->verdict = verdict;
}

const uint8_t *nh_tls_peer_fingerprint(const struct nh_tls_session *s) { return s->has_peer ? s->fingerprint : NULL; }

nh_rc nh_tls_read(struct nh_tls_session *s, void *out, size_t len, size_t *got)
{
	*got = 0;
	for (;;) {
		ssize_t n = gnutls_record_recv(s->session, out, len);
		if (n > 0) {
			*got = (size_t)n;
			return NH_OK;
		}
		if (n == GNUTLS_E_AGAIN)
			return NH_EAGAIN;
		if (n == GNUTLS_E_INTERRUPTED || n == GNUTLS_E_WARNING_ALERT_RECEIVED)
			continue;
		if (n == 0 || n == GNUTLS_E_PREMATURE_TERMINATION || n == GNUTLS_E_PULL_ERROR)
			return NH_ECLOSED;
		/* Also a TLS 1.2 peer that asks to renegotiate: it is told no and let go, as another handshake could bring another certificate. */
		gnutls_alert_send_appropriate(s->session, (int)n);
		return NH_EFORMAT;
	}
}

bool nh_tls_has_pending(const struct nh_tls_session *s) { return s->ahead.len > 0 || gnutls_record_check_pending(s->session) > 0; }

nh_rc nh_tls_write(struct nh_tls_session *s, nh_slice bytes, size_t *put)
{
	*put = 0;
	for (;;) {
		ssize_t n = s->stuck ? gnutls_record_send(s->session, NULL, 0) : gnutls_record_send(s->session, bytes.ptr, bytes.len);
		if (n >= 0) {
			*put = (size_t)n;
			s->stuck = 0;
			return NH_OK;
		}
		if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED) {
			if (!s->stuck)
				s->stuck = bytes.len;
			if (n == GNUTLS_E_AGAIN)
				return NH_EAGAIN;
			continue;
		}
		return NH_ECLOSED;
	}
}

void nh_tls_bye(struct nh_tls_session *s) { gnutls_bye(s->session, GNUTLS_SHUT_WR); }

void nh_tls_free(struct nh_tls_session *s)
{
	if (!s)
		return;
	if (s->session)
		gnutls_deinit(s->session);
	nh_buf_fini(&s->ahead);
	nh_buf_fini(&s->flight);
	nh_tls_unref(s->tls);
	free(s->server_name);
	free(s);
}

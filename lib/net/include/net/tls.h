/*
 * TLS on a non-blocking descriptor, GnuTLS behind a handful of functions so that the choice stays reversible. No loop, no buffers: the caller
 * watches the descriptor. Works for both sides.
 *
 * Handshake, read and write answer NH_EAGAIN when the descriptor must become ready first; nh_tls_wants_write says for which direction. Of the
 * peer's certificate only the SHA-256 of its DER survives the handshake here.
 *
 * thread: credentials any (immutable, counted); a session belongs to one thread at a time. source: design/connection-layer "GnuTLS notes"
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"

struct nh_tls;         /* credentials and settings of one listener or one kind of client; shared */
struct nh_tls_session; /* one connection */

#define NH_TLS_FINGERPRINT_LEN 32
#define NH_TLS_RECORD_MAX 16384 /* bytes of payload in one record: the best size of a write */

typedef enum nh_tls_client_auth { NH_TLS_CLIENT_NONE, NH_TLS_CLIENT_OPTIONAL, NH_TLS_CLIENT_REQUIRED } nh_tls_client_auth;

typedef enum nh_tls_verdict {
	NH_TLS_ACCEPT,
	NH_TLS_REFUSE,  /* the connection ends with a fatal alert before anything else is said */
	NH_TLS_PENDING, /* ask somebody else: the handshake waits for nh_tls_decide */
} nh_tls_verdict;

/*
 * Called inside nh_tls_handshake when the client sent a certificate. leaf_der and fingerprint are borrowed for the call. What the certificate is worth
 * is entirely the callback's: no chain is verified here. The client has proved by then that it has the key, so that a copied certificate is worth nothing,
 * not even a look; a client that is refused therefore hears of it when its own side of the handshake is over.
 */
typedef nh_tls_verdict (*nh_tls_verify_fn)(void *ctx, struct nh_tls_session *session, nh_slice leaf_der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN]);

struct nh_tls_server_config {
	nh_slice cert_pem, key_pem;     /* chain, leaf first; unencrypted key */
	nh_tls_client_auth client_auth;
	nh_tls_verify_fn verify;        /* needed unless client_auth is NONE */
	bool tickets;                   /* session resumption; off where certificates decide */
	bool tls12_only;
};
/* NH_EFORMAT: not PEM, or the key does not belong to the certificate. *out has one reference. */
nh_rc nh_tls_server_new(const struct nh_tls_server_config *config, struct nh_tls **out, struct nh_err *err);

/*
 * A P-256 private key that lives elsewhere, in a chip. Called inside nh_tls_handshake and may take as long as the hardware does, so that such a handshake belongs on a worker
 * (nh_tls_signs_outside). digest: SHA-256; signature: r and s. Anything but NH_OK ends the handshake with NH_EIO and the message.
 */
typedef nh_rc (*nh_tls_sign_fn)(void *ctx, const uint8_t digest[32], uint8_t signature[64], struct nh_err *err);

struct nh_tls_client_config {
	/* Trusted roots, all together: PEM text, PEM files or directories of such, the system's list. None of them: the system's list. */
	nh_slice ca_pem;
	const char *const *ca_paths;
	size_t ca_path_count;
	bool ca_system;
	bool ca_later;                  /* no roots yet: nh_tls_trust brings them for a handshake, nh_tls_distrust takes them away */
	nh_slice cert_pem, key_pem;     /* empty = no client certificate */
	nh_tls_sign_fn sign;            /* instead of key_pem: one handshake at a time */
	void *sign_ctx;                 /* outlives the credentials */
	const char *key_url;            /* instead of key_pem: a key in a PKCS#11 token, by its URI (RFC 7512); cert_pem may be empty where the token has the certificate */
};
/*
 * NH_EFORMAT: no root, not PEM, or the key does not belong to the certificate (not looked at with sign). NH_ENOTFOUND: no such key or certificate in a token, no such token, or a PIN is missing.
 * *out has one reference. With key_url it loads the modules that p11-kit knows and talks to tokens: on a worker.
 */
nh_rc nh_tls_client_new(const struct nh_tls_client_config *config, struct nh_tls **out, struct nh_err *err);
bool nh_tls_signs_outside(const struct nh_tls *t); /* with sign or key_url */
/*
 * A list of roots as systems have it is megabytes once it is parsed, and needed for the moment of a handshake only. For credentials whose connections come one
 * after the other: nh_tls_trust reads the roots that config names (its other members do not matter) in place of those t has; blocks, on a worker. NH_EFORMAT: no certificate
 * in one of the sources. nh_tls_distrust forgets them. Neither while a handshake of t runs.
 */
nh_rc nh_tls_trust(struct nh_tls *t, const struct nh_tls_client_config *config, struct nh_err *err);
void nh_tls_distrust(struct nh_tls *t);

/*
 * What time it is at least, for the whole process: machines without a battery start in 1970, when no certificate is valid yet. A clock that shows less than this floor is
 * taken as not set. Then a server's certificate, once its signature is verified, may say itself when the present begins, but not before the floor: who was valid only
 * before it stays refused. A clock that shows more is believed. The floor rises to the beginning of each server certificate that was accepted by a clock that is believed.
 * Both any thread.
 */
void nh_tls_time_floor(int64_t at_us);  /* raises it: a time that is over, for certain (a build, what nh_tls_time_known said last time) */
int64_t nh_tls_time_known(void);        /* the floor, µs since 1970 UTC; 0 = none */
struct nh_tls *nh_tls_ref(struct nh_tls *t);
void nh_tls_unref(struct nh_tls *t); /* NULL legal */

/*
 * nh_tls_session_new - fd: connected, non-blocking, borrowed. server_name: client side only: name or address that the server's certificate must
 * carry, also sent as SNI where it is a name. ctx: passed to verify. NH_ENOMEM, NH_EINTERNAL.
 */
nh_rc nh_tls_session_new(struct nh_tls *t, int fd, const char *server_name, void *ctx, struct nh_tls_session **out, struct nh_err *err);
/* nh_tls_handshake - call until NH_OK. NH_EAGAIN: see wants_write and is_pending. NH_EAUTH: the peer's certificate was refused (by either side).
 * NH_EIO: sign failed. NH_ECLOSED, NH_EFORMAT: anything else; an alert was sent. */
nh_rc nh_tls_handshake(struct nh_tls_session *s, struct nh_err *err);
/* nh_tls_feed - bytes that were read from the descriptor before the session was made; before the first step of the handshake. Server only, once, copied. */
#define NH_TLS_FIRST_MAX ((size_t)4096)
void nh_tls_feed(struct nh_tls_session *s, nh_slice first);
bool nh_tls_wants_write(const struct nh_tls_session *s);
bool nh_tls_is_pending(const struct nh_tls_session *s);   /* verify said PENDING and nobody decided yet: no event of the descriptor will help */
void nh_tls_decide(struct nh_tls_session *s, nh_tls_verdict verdict); /* then call nh_tls_handshake again */
/* The client's certificate, 32 bytes, or NULL where it sent none. Borrowed from the session. */
const uint8_t *nh_tls_peer_fingerprint(const struct nh_tls_session *s);

/* nh_tls_read - up to len bytes. NH_OK with *got > 0; NH_EAGAIN; NH_ECLOSED (also without a goodbye); NH_EFORMAT. */
nh_rc nh_tls_read(struct nh_tls_session *s, void *out, size_t len, size_t *got);
bool nh_tls_has_pending(const struct nh_tls_session *s);  /* bytes wait inside: the descriptor will not tell. After a server's handshake: read until it is false */
/* nh_tls_write - *put bytes went out. NH_EAGAIN with *put = 0: call again with the same bytes (more may follow them). NH_ECLOSED. */
nh_rc nh_tls_write(struct nh_tls_session *s, nh_slice bytes, size_t *put);
void nh_tls_bye(struct nh_tls_session *s);  /* one attempt to send close_notify */
void nh_tls_free(struct nh_tls_session *s); /* the descriptor stays open. NULL legal */

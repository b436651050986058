/*
 * Who is this device? Decisions about client certificates and shared secrets (NH1), without sockets.
 *
 * Both kinds take the same three steps, because signatures and key derivation are dear and a write transaction is short:
 *   find    in a read transaction: what the server knows about the credential (nothing is changed)
 *   verify  outside any transaction: signatures, derivation, age; pure
 *   record  in a write transaction: looks again at what may have changed meanwhile, creates or links rows, gives the verdict
 * nh_device_auth_certificate and nh_device_auth_secret do all three on a database handle.
 *
 * A refusal is not an error: functions return NH_OK with verdict.accepted = false and a reason. The reason is for logs and tests; a device
 * learns only that it was refused. Errors (NH_EIO, NH_ENOMEM, NH_EAGAIN) mean that nothing could be decided (HTTP 503, TLS alert internal).
 *
 * thread: a worker's; record on the writer's. source: reference/device-protocol "5.3", "6"; reference/server-behaviour "2.2"; design/architecture "5" (pinning, key identifiers, org scope)
 */
#pragma once

#include "hub/hub.h"

typedef enum nh_auth_reason {
	NH_AUTH_ACCEPTED_KNOWN,        /* pinned certificate, or existing device of a shared secret */
	NH_AUTH_ACCEPTED_RENEWED,      /* new certificate for the key the device already uses */
	NH_AUTH_ACCEPTED_FIRST,        /* first certificate of a registered device */
	NH_AUTH_ACCEPTED_CREATED,      /* just-in-time: the device was created */
	NH_AUTH_BAD_CERTIFICATE,       /* does not parse */
	NH_AUTH_DEVICE_DELETED,
	NH_AUTH_MISSING_COMMON_NAME,
	NH_AUTH_MISSING_AKI,
	NH_AUTH_UNKNOWN_CA,            /* no registered CA has the key identifier, or none of them signed it */
	NH_AUTH_BAD_SIGNATURE,         /* a CA with this key identifier exists, but signed another certificate */
	NH_AUTH_CA_EXPIRED,            /* and the CA's record says that this matters */
	NH_AUTH_CERT_EXPIRED,          /* at registration only; pinned certificates do not expire */
	NH_AUTH_CERT_NOT_YET_VALID,
	NH_AUTH_MISMATCHED_CERT,       /* known key, other common name */
	NH_AUTH_MISMATCHED_ORG,        /* known key, CA of another organization */
	NH_AUTH_UNEXPECTED_PUBKEY,     /* the device already has a certificate with another key */
	NH_AUTH_NOT_REGISTERED,        /* no such device and no just-in-time provisioning */
	NH_AUTH_REGISTRATION_FAILED,   /* just-in-time provisioning refused the device (identifier not acceptable, product gone) */
	NH_AUTH_SECRETS_DISABLED,
	NH_AUTH_BAD_HEADERS,           /* an NH1 header is missing, does not parse, or asks for parameters out of bounds */
	NH_AUTH_UNKNOWN_KEY,           /* no active shared secret has this key */
	NH_AUTH_BAD_TOKEN,
	NH_AUTH_TOKEN_EXPIRED,
	NH_AUTH_TOKEN_FROM_FUTURE,
	NH_AUTH_IDENTIFIER_MISMATCH,   /* device secret, other identifier */
	NH_AUTH_IDENTIFIER_TAKEN,      /* product secret, the identifier belongs to another product of the organization */
	NH_AUTH_REASON_COUNT,
} nh_auth_reason;

/* nh_auth_reason_name - stable lower-case name for logs ("unknown_ca"); a literal. */
const char *nh_auth_reason_name(nh_auth_reason reason);

struct nh_auth_verdict {
	bool accepted;
	nh_auth_reason reason;
	int64_t device_id, org_id, product_id; /* 0 where refused */
	nh_slice identifier;                   /* in the arena; the claimed one where refused, may be empty */
	nh_slice detail;                       /* for logs, may be empty: which CA, which header */
};

/* ---- certificates ------------------------------------------------------------------------------------------------------ */

struct nh_cert_finding; /* in the arena */

/*
 * nh_device_auth_certificate_find - looks up the leaf certificate (DER, <= 16 KiB) in a read context. *out lives in ctx->arena.
 * Step "verify" needs no call of its own: candidates' signatures are checked here (readers run in parallel).
 */
nh_rc nh_device_auth_certificate_find(struct nh_ctx *ctx, nh_slice leaf_der, struct nh_cert_finding **out, struct nh_err *err);

/*
 * nh_device_auth_certificate_record - decides, in a write context. Accepted: last_used of certificate and CA are written, a new certificate
 * is stored, a device may be created; effect CERT_KNOWN (payload: 32 bytes SHA-256 of the DER, id: device). The device becomes provisioned.
 */
nh_rc nh_device_auth_certificate_record(struct nh_ctx *ctx, const struct nh_cert_finding *finding, struct nh_auth_verdict *out, struct nh_err *err);

/*
 * nh_device_auth_certificate_settled - true where find alone decides (pinned and live, or refused) so that no write is needed now; fills *out.
 * last_used of a pinned certificate is then written with the connection (hub/device_session.h).
 */
bool nh_device_auth_certificate_settled(const struct nh_cert_finding *finding, struct nh_auth_verdict *out);

/* ---- shared secrets, NH1 ----------------------------------------------------------------------------------------------- */

struct nh_nh1_headers {
	nh_slice alg, key, time, signature; /* values of x-nh-alg, x-nh-key, x-nh-time, x-nh-signature; pointer NULL where absent */
};

/* Bounds on what the client may choose. source: reference/device-protocol "6.5" */
#define NH_NH1_ITERATIONS_MAX 100000
#define NH_NH1_KEYLEN_MIN 16
#define NH_NH1_KEYLEN_MAX 64
#define NH_NH1_MAX_AGE_S 90
/* How far a device's clock may run ahead. Deviation, lenient: upstream's newest library refuses any future stamp, its older one takes all. */
#define NH_NH1_MAX_AHEAD_S 90

/*
 * nh_nh1_verify - pure: are the headers signed with secret (its ASCII bytes) at about now_us? *identifier (in arena) is what the token names.
 * Costs up to NH_NH1_ITERATIONS_MAX rounds of PBKDF2: never on a loop, never in a write transaction.
 * Returns NH_AUTH_ACCEPTED_KNOWN, NH_AUTH_BAD_HEADERS, NH_AUTH_BAD_TOKEN, NH_AUTH_TOKEN_EXPIRED or NH_AUTH_TOKEN_FROM_FUTURE.
 */
nh_auth_reason nh_nh1_verify(struct nh_arena *arena, const struct nh_nh1_headers *headers, nh_slice secret, int64_t now_us, nh_slice *identifier);

struct nh_secret_finding; /* in the arena */

/* nh_device_auth_secret_find - looks the key up in a read context; checks only that the headers are well-formed. */
nh_rc nh_device_auth_secret_find(struct nh_ctx *ctx, const struct nh_nh1_headers *headers, struct nh_secret_finding **out, struct nh_err *err);
/* nh_device_auth_secret_verify - outside any transaction; also for unknown keys (same cost, so that keys cannot be probed by time). */
void nh_device_auth_secret_verify(struct nh_secret_finding *finding, struct nh_arena *arena, int64_t now_us);
/* nh_device_auth_secret_record - decides, in a write context; creates the device where a product secret names an unknown identifier. */
nh_rc nh_device_auth_secret_record(struct nh_ctx *ctx, const struct nh_secret_finding *finding, struct nh_auth_verdict *out, struct nh_err *err);

/* ---- all steps at once ------------------------------------------------------------------------------------------------- */

/* Where the steps run; every pointer is borrowed. effects are valid, to be carried out, when the call returned NH_OK. */
struct nh_auth_env {
	struct nh_db *db;
	struct nh_arena *arena;
	const struct nh_clock *clock;
	const struct nh_rng *rng;
	const struct nh_hub_config *config;
	struct nh_effects *effects;
};

/* nh_device_auth_certificate - find, then record where needed. chain[0] is the leaf; further certificates play no role (the registered CA must
 * be the direct issuer). */
nh_rc nh_device_auth_certificate(const struct nh_auth_env *env, const nh_slice *chain, size_t count, struct nh_auth_verdict *out, struct nh_err *err);
/* nh_device_auth_secret - find, verify, record. */
nh_rc nh_device_auth_secret(const struct nh_auth_env *env, const struct nh_nh1_headers *headers, struct nh_auth_verdict *out, struct nh_err *err);

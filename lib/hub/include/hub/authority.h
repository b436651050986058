/*
 * The certificate authority inside of the server: one CA whose key is in a file or in a token. It certifies users (who sign in with it on the API listener), devices, the device CAs
 * of organizations, and servers; it revokes, lists what is revoked, and lets users have a successor before their certificate ends.
 *
 * Issuing takes three steps, since a key in hardware may take its time and no transaction waits for it: a function nh_issue_for_… checks who asks and says what the certificate
 * would hold (read); nh_authority_sign makes it (no transaction); the same nh_issue_for_… and nh_issue_record write it down (write). What was signed and not written down is known to
 * nobody: it signs nobody in and is not handed out.
 *
 * A certificate is worth what its row says: one that is not written down, is revoked, or is over signs nobody in, whoever signed it. Subjects are the server's words and not the
 * request's, but for nh_issue_for_service; requested extensions are ignored.
 *
 * Conventions: hub/accounts.h. source: reference/user-api-and-cli "17.6", "19.2", "19.3", "19.4"; design/architecture "7"
 */
#pragma once

#include "crypto/pki.h"
#include "hub/accounts.h"
#include "hub/devices.h"
#include "hub/hub.h"

/* ---- the CA -------------------------------------------------------------------------------------------------------------- */

struct nh_authority;

/*
 * nh_authority_new - key and certificate are taken, also on failure. NH_EINVAL: the certificate is no CA's, may not sign certificates and lists, is over at now_us, or the key is another's.
 */
nh_rc nh_authority_new(struct nh_key *take_key, struct nh_cert *take_cert, int64_t now_us, struct nh_authority **out, struct nh_err *err);
void nh_authority_free(struct nh_authority *a); /* NULL legal */
const struct nh_cert *nh_authority_cert(const struct nh_authority *a);
/* nh_authority_enter - once, before anything is issued: gives the CA its row, which all servers of one database that have this CA share. Write. NH_EIO. */
nh_rc nh_authority_enter(struct nh_ctx *ctx, struct nh_authority *a, struct nh_err *err);

/* ---- issuing ------------------------------------------------------------------------------------------------------------- */

typedef enum nh_issue_kind { NH_ISSUE_USER, NH_ISSUE_DEVICE, NH_ISSUE_DEVICE_CA, NH_ISSUE_SERVER, NH_ISSUE_KIND_COUNT } nh_issue_kind;
const char *nh_issue_kind_name(nh_issue_kind kind); /* "user", "device", "device_ca", "server" */

/* What a certificate is to say, and for whom. */
struct nh_issue {
	nh_issue_kind kind;
	int64_t user_id, org_id, device_id, family_id; /* 0: none */
	nh_slice organization, common_name;
	const struct nh_san *sans;
	size_t san_count;
	nh_slice description;
	unsigned valid_days; /* 0: as long as the kind lasts: users 1 year, devices 31, device CAs 10, servers 5; never beyond the CA's own end */
};

#define NH_CSR_MAX ((size_t)16 << 10)   /* bytes of a request's PEM text */
#define NH_USER_CERTIFICATES_MAX 100    /* of one user, that are neither over nor revoked */

/* nh_csr_read - base64 of a PEM request, with its own signature and a key worth certifying. Pure. NH_EFORMAT: not base64; NH_ETOOBIG; NH_EINVAL with *errors "csr". *out: nh_csr_free. */
nh_rc nh_csr_read(nh_slice base64_pem, struct nh_csr **out, json_t **errors, struct nh_err *err);

/* nh_issue_for_user - a certificate that signs the actor in. NH_EINVAL: too many. */
nh_rc nh_issue_for_user(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice description, struct nh_issue *out, json_t **errors, struct nh_err *err);
/* nh_issue_for_successor - of the user's certificate with this fingerprint, which the actor signed in with. NH_ENOTFOUND: not a certificate of the actor. */
nh_rc nh_issue_for_successor(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice sha256, struct nh_issue *out, json_t **errors, struct nh_err *err);
/* nh_issue_for_device - the request names the device or nothing. nh_issue_record pins it to the device. NH_EINVAL with *errors "csr"; NH_EPERM. */
nh_rc nh_issue_for_device(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, const struct nh_csr *csr, struct nh_issue *out, json_t **errors,
                          struct nh_err *err);
/*
 * nh_issue_for_org - fields: kind ("device_ca", "server"), common_name (default: the request's), names (server: hosts and addresses, default: the common name), description, valid_days.
 * A server's certificate also takes an administrator of the whole server, since host names are nobody's in particular. NH_EINVAL with *errors; NH_EPERM.
 */
nh_rc nh_issue_for_org(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice org_name, const json_t *fields, const struct nh_csr *csr, struct nh_issue *out,
                       json_t **errors, struct nh_err *err);
/* nh_issue_for_service - what the stand-alone CA of old did for the servers around it: any subject, for administrators of the server only; nobody signs in with it. NH_EPERM. */
nh_rc nh_issue_for_service(struct nh_ctx *ctx, const struct nh_actor *actor, nh_issue_kind kind, const struct nh_csr *csr, struct nh_issue *out, json_t **errors,
                           struct nh_err *err);

/* nh_authority_sign - no transaction; a worker's, one at a time. NH_EUNSUPPORTED: the CA is over; NH_EINTERNAL: the key did not sign. *out: nh_cert_free. */
nh_rc nh_authority_sign(struct nh_authority *a, const struct nh_issue *what, nh_slice spki_der, int64_t now_us, const struct nh_rng *rng, struct nh_cert **out,
                        struct nh_err *err);

struct nh_issued {
	int64_t id, authority_id, user_id, org_id, device_id, family_id;
	nh_slice kind, serial, subject; /* serial decimal; subject as RFC 4514 text */
	nh_slice description;           /* pointer NULL if none */
	int64_t not_before_us, not_after_us, last_used_at_us, revoked_at_us, inserted_at_us;
	int reason; /* nh_crl_reason; of a revoked one */
	nh_slice der, sha256;
};

/* nh_issue_record - writes it down, with an audit entry; a device's is pinned to it. NH_EINVAL with *errors: as nh_device_certificate_store. */
nh_rc nh_issue_record(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_authority *a, const struct nh_issue *what, const struct nh_cert *cert,
                      struct nh_issued *out, json_t **errors, struct nh_err *err);

/* ---- looking and revoking ------------------------------------------------------------------------------------------------ */

/* Whose certificates: the actor's own (that sign in), an organization's, all (administrators of the server). */
struct nh_issued_of {
	enum { NH_ISSUED_OWN, NH_ISSUED_ORG, NH_ISSUED_ALL } which;
	int64_t org_id;
};

/* nh_issued_list - newest first. before_id: only older ones (0: from the newest); limit 1..500. NH_EPERM. */
nh_rc nh_issued_list(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_issued_of of, int64_t before_id, size_t limit, struct nh_issued **out, size_t *count,
                     struct nh_err *err);
nh_rc nh_issued_open(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_issued_of of, nh_slice serial, struct nh_issued *out, struct nh_err *err); /* NH_ENOTFOUND */
/*
 * nh_issued_revoke - it, and the successors that it was exchanged for. A device's is unpinned (effects CERT_FORGET, DEVICE_CLOSE), a device CA's registration with the
 * organization ends. Twice is the same as once. reason: a word of nh_crl_reason_parse, empty: unspecified. NH_ENOTFOUND, NH_EPERM, NH_EINVAL with *errors.
 */
nh_rc nh_issued_revoke(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_issued_of of, nh_slice serial, nh_slice reason, json_t **errors, struct nh_err *err);
/* nh_issued_revoke_user - all of a user's, as a password that is set anew asks for. */
nh_rc nh_issued_revoke_user(struct nh_ctx *ctx, int64_t user_id, struct nh_err *err);
/* The words of RFC 5280 5.3.1: "unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation", "privilegeWithdrawn". */
bool nh_crl_reason_parse(nh_slice word, nh_crl_reason *out);
const char *nh_crl_reason_name(int reason);
extern const char *const nh_crl_reason_words[]; /* NULL at the end */

/* nh_user_by_certificate - whose certificate is it (read)? *touch as nh_token_user. NH_EAUTH: not written down, revoked, over, or not a user's. */
nh_rc nh_user_by_certificate(struct nh_ctx *ctx, nh_slice sha256, struct nh_user *out, int64_t *touch, struct nh_err *err);
nh_rc nh_user_certificate_touch(struct nh_ctx *ctx, int64_t certificate_id, struct nh_err *err);

/* ---- the revocation list --------------------------------------------------------------------------------------------------- */

#define NH_CRL_NEXT_UPDATE_S 86400 /* a list says when the next one is there at the latest */
#define NH_CRL_FRESH_S 3600        /* how long one is given out before it is signed anew, where nothing is revoked meanwhile */

struct nh_crl_source {
	int64_t revision;
	bool cached; /* the list in memory still says it all */
	struct nh_crl_entry *entries;
	size_t count;
};
/* nh_crl_source - what the list has to say (read). */
nh_rc nh_crl_load(struct nh_ctx *ctx, struct nh_authority *a, struct nh_crl_source *out, struct nh_err *err);
/* nh_crl_take - appends the DER: from memory, or signed now; no transaction. *until_us: the end of its freshness. NH_EINTERNAL: the key did not sign. */
nh_rc nh_crl_take(struct nh_authority *a, const struct nh_crl_source *source, int64_t now_us, struct nh_buf *out, int64_t *until_us, struct nh_err *err);

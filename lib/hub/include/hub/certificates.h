/*
 * Certificates of devices, and device CAs with proof that their key is held. Deciding on connections: hub/device_auth.h.
 *
 * Device certificates are pinned by the SHA-256 of their DER, over the whole server; a public key belongs to one device. CA certificates are unique by
 * their DER over the whole server, by serial within the organization; several may share a key identifier.
 *
 * Conventions: hub/accounts.h. Roles: view to look, manage to change. source: reference/user-api-and-cli "9", "11.7", "17.4"; reference/server-behaviour
 * "1.5"; reference/device-protocol "5.3"; design/architecture "5"
 */
#pragma once

#include "crypto/x509.h"
#include "hub/devices.h"
#include "hub/hub.h"

/* ---- device certificates -------------------------------------------------------------------------------------------------- */

struct nh_device_certificate {
	int64_t id, org_id, device_id;
	nh_slice serial; /* decimal */
	int64_t not_before_us, not_after_us, last_used_at_us, inserted_at_us;
	nh_slice der, sha256;
};

/*
 * nh_device_certificate_store - pins a parsed certificate to a device: no actor, no role (also for first connections). Effect CERT_KNOWN.
 * NH_EINVAL with *errors: no authority key identifier; serial taken at the device; certificate or public key taken; signer registered with another org only.
 */
nh_rc nh_device_certificate_store(struct nh_ctx *ctx, int64_t org_id, int64_t device_id, const struct nh_cert *cert,
                                  struct nh_device_certificate *out, json_t **errors, struct nh_err *err);
/* nh_device_certificate_check - would nh_device_certificate_store take it? device_id 0: a device that is still to be made. Errors as there. */
nh_rc nh_device_certificate_check(struct nh_ctx *ctx, int64_t org_id, int64_t device_id, const struct nh_cert *cert, json_t **errors, struct nh_err *err);
/* nh_device_certificate_add - base64 of PEM text, as the API has it. NH_EFORMAT: not base64; NH_EINVAL: "Error decoding certificate", and as store. */
nh_rc nh_device_certificate_add(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice base64_pem,
                                struct nh_device_certificate *out, json_t **errors, struct nh_err *err);
nh_rc nh_device_certificate_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, struct nh_device_certificate **out,
                                 size_t *count, struct nh_err *err);
nh_rc nh_device_certificate_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice serial,
                                 struct nh_device_certificate *out, struct nh_err *err);
/* Effects: CERT_FORGET, DEVICE_CLOSE. */
nh_rc nh_device_certificate_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice serial,
                                   struct nh_err *err);
/* nh_device_by_certificate - the organization's device this certificate (base64 of PEM) is pinned to. NH_EPERM: none, also for undecodable input. */
nh_rc nh_device_by_certificate(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice base64_pem, struct nh_device *out,
                               struct nh_err *err);

/* ---- device CAs ------------------------------------------------------------------------------------------------------------ */

struct nh_ca_certificate {
	int64_t id, org_id;
	nh_slice serial; /* decimal */
	nh_slice description; /* pointer NULL if none */
	int64_t not_before_us, not_after_us, last_used_at_us, inserted_at_us;
	bool check_expiration;
	bool has_jitp;
	int64_t jitp_product_id;
	nh_slice jitp_product_name, jitp_tags, jitp_description; /* tags: JSON array text */
};

#define NH_VERIFICATION_TTL_S 3600
/* nh_verification_token - "1.<org id>.<issued at>.<HMAC>", only [A-Za-z0-9_.-], valid for an hour, not single-use. Any member. */
nh_rc nh_verification_token(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_buf *out, struct nh_err *err);
/* nh_verification_token_check - pure. NH_EAUTH: forged or another organization's; NH_ETIMEOUT: too old. */
nh_rc nh_verification_token_check(const struct nh_hub_config *config, nh_slice token, int64_t org_id, int64_t now_us, struct nh_err *err);

/* nh_verification_code - the same proof for tools that make no alternative names: 64 upper-case hexadecimal digits that are the common name of the verification certificate, for an hour. */
nh_rc nh_verification_code(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_buf *out, struct nh_err *err);
/* nh_verification_code_check - as nh_verification_token_check. source: reference/server-behaviour "1.5" */
nh_rc nh_verification_code_check(const struct nh_hub_config *config, nh_slice code, int64_t org_id, int64_t now_us, struct nh_err *err);

/* nh_ca_certificate_add - fields: cert, verification_cert (base64 of PEM), description, check_expiration, jitp {description, tags, product_id | product_name}.
 * NH_EFORMAT: not base64. NH_EINVAL with *errors: every other refusal. Two signature checks: about a millisecond, inside the transaction. */
nh_rc nh_ca_certificate_add(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const json_t *fields, struct nh_ca_certificate *out,
                            json_t **errors, struct nh_err *err);
nh_rc nh_ca_certificate_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_ca_certificate **out, size_t *count,
                             struct nh_err *err);
nh_rc nh_ca_certificate_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice serial, struct nh_ca_certificate *out,
                             struct nh_err *err);
/* nh_ca_certificate_update - fields: description, check_expiration, jitp (null ends it); what is absent stays. NH_ENOTFOUND, NH_EPERM, NH_EINVAL with *errors. */
nh_rc nh_ca_certificate_update(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice serial, const json_t *fields, struct nh_ca_certificate *out,
                               json_t **errors, struct nh_err *err);
nh_rc nh_ca_certificate_delete(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice serial, struct nh_err *err);

/*
 * Certificates of devices: storing, listing, removing. Deciding who may connect with one: device_auth_*.c.
 *
 * source: reference/user-api-and-cli "11.5", "11.7"; reference/device-protocol "5.3"
 */
#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/certificates.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/foundation.h"

static void read_certificate(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_device_certificate *)item = (struct nh_device_certificate){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.device_id = nh_col_int(rows, 2),
		.serial = nh_col_text(rows, 3, arena),
		.not_before_us = nh_col_int(rows, 4),
		.not_after_us = nh_col_int(rows, 5),
		.last_used_at_us = nh_col_int(rows, 6),
		.inserted_at_us = nh_col_int(rows, 7),
		.der = nh_col_blob(rows, 8, arena),
		.sha256 = nh_col_blob(rows, 9, arena),
	};
}

static nh_slice fingerprint(const struct nh_cert *cert)
{
	return nh_slice_of(cert->sha256, sizeof(cert->sha256));
}

struct signer {
	int64_t org_id;
	nh_slice der;
};

static void read_signer(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct signer *)item = (struct signer){nh_col_int(rows, 0), nh_col_blob(rows, 1, arena)};
}

/*
 * Was it signed by a CA of other organizations and by none of this one? The signature decides and not the key identifier alone, since that is anyone's
 * to copy.
 */
static nh_rc check_signer(struct nh_ctx *ctx, int64_t org_id, const struct nh_cert *cert, json_t **errors, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct signer);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_ca_orgs_by_ski, NH_PARAMS(nh_p_blob(cert->aki)), read_signer, err));
	const struct signer *signers = list.items;
	bool foreign = false;
	for (size_t i = 0; i < list.count; i++) {
		NH_AUTO_CERT struct nh_cert *ca = NULL;
		if (nh_cert_parse_der(signers[i].der, &ca, NULL) != NH_OK || nh_cert_signed_by(cert, ca, NULL) != NH_OK)
			continue;
		if (signers[i].org_id == org_id)
			return NH_OK;
		foreign = true;
	}
	return foreign ? nh_refuse(errors, err, NH_EINVAL, "org", "Signer CA registered with another org") : NH_OK;
}

static nh_rc check_free(struct nh_ctx *ctx, int64_t device_id, const struct nh_cert *cert, json_t **errors, struct nh_err *err)
{
	struct nh_device_certificate same;
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_cert_by_serial, NH_PARAMS(nh_p_int(device_id), nh_p_text(cert->serial_decimal)),
	                      read_certificate, &same, "certificate", err);
	if (rc == NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, "serial", "has already been taken");
	if (rc != NH_ENOTFOUND)
		return rc;
	rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_cert_by_sha256, NH_PARAMS(nh_p_blob(fingerprint(cert))), read_certificate, &same, "certificate", err);
	if (rc == NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, "fingerprint", "has already been taken");
	if (rc != NH_ENOTFOUND)
		return rc;
	int64_t owner;
	rc = nh_query_id(ctx->tx, &nh_q_cert_spki_owner,
	                 NH_PARAMS(nh_p_blob(nh_slice_of(cert->spki_sha256, sizeof(cert->spki_sha256))), nh_p_int(device_id)), &owner, err);
	if (rc == NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, "public_key_fingerprint", "public key already associated with another device");
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

nh_rc nh_device_certificate_check(struct nh_ctx *ctx, int64_t org_id, int64_t device_id, const struct nh_cert *cert, json_t **errors, struct nh_err *err)
{
	if (cert->aki.len == 0)
		return nh_refuse(errors, err, NH_EINVAL, "aki", "can't be blank");
	NH_TRY(check_free(ctx, device_id, cert, errors, err));
	return check_signer(ctx, org_id, cert, errors, err);
}

nh_rc nh_device_certificate_store(struct nh_ctx *ctx, int64_t org_id, int64_t device_id, const struct nh_cert *cert,
                                  struct nh_device_certificate *out, json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_device_certificate_check(ctx, org_id, device_id, cert, errors, err));
	int64_t now = nh_ctx_now(ctx), id = 0;
	nh_slice sha256 = fingerprint(cert);
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_cert_insert,
	                       NH_PARAMS(nh_p_int(org_id), nh_p_int(device_id), nh_p_text(cert->serial_decimal), nh_p_blob(cert->aki),
	                                 cert->ski.len ? nh_p_blob(cert->ski) : nh_p_null(), nh_p_int(cert->not_before_us),
	                                 nh_p_int(cert->not_after_us), nh_p_blob(cert->der), nh_p_blob(sha256),
	                                 nh_p_blob(nh_slice_of(cert->spki_sha256, sizeof(cert->spki_sha256))), nh_p_int(now)),
	                       &id, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "fingerprint", "has already been taken");
	NH_TRY(rc);
	nh_effect_add(ctx, NH_EFFECT_CERT_KNOWN, device_id, NH_SLICE_EMPTY, sha256);
	*out = (struct nh_device_certificate){
		.id = id,
		.org_id = org_id,
		.device_id = device_id,
		.serial = nh_arena_copy(ctx->arena, cert->serial_decimal),
		.not_before_us = cert->not_before_us,
		.not_after_us = cert->not_after_us,
		.inserted_at_us = now,
		.der = nh_arena_copy(ctx->arena, cert->der),
		.sha256 = nh_arena_copy(ctx->arena, sha256),
	};
	return NH_OK;
}

nh_rc nh_device_certificate_add(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice base64_pem,
                                struct nh_device_certificate *out, json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_CERTIFICATE_ADD, err));
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_TRY(nh_input_certificate(base64_pem, &cert, errors, err));
	NH_TRY(nh_device_certificate_store(ctx, device->org_id, device->id, cert, out, errors, err));
	return nh_audit_add(ctx, actor, device->org_id, NH_AUDIT_DEVICE, device->id, err, "%.*s added certificate %.*s to device %.*s", NH_ARG(actor->name),
	                    NH_ARG(out->serial), NH_ARG(device->identifier));
}

nh_rc nh_device_certificate_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, struct nh_device_certificate **out,
                                 size_t *count, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_CERTIFICATE_SEE, err));
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_device_certificate);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_cert_list, NH_PARAMS(nh_p_int(device->id)), read_certificate, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_device_certificate_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice serial,
                                 struct nh_device_certificate *out, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_CERTIFICATE_SEE, err));
	if (!nh_input_text_ok(serial, NH_NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such certificate");
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_cert_by_serial, NH_PARAMS(nh_p_int(device->id), nh_p_text(serial)), read_certificate, out,
	                  "certificate", err);
}

nh_rc nh_device_certificate_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice serial,
                                   struct nh_err *err)
{
	struct nh_device_certificate cert;
	NH_TRY(nh_device_certificate_open(ctx, actor, device, serial, &cert, err));
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_CERTIFICATE_DELETE, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_cert_delete, NH_PARAMS(nh_p_int(cert.id)), NULL, err));
	nh_effect_add(ctx, NH_EFFECT_CERT_FORGET, device->id, NH_SLICE_EMPTY, cert.sha256);
	nh_effect_add(ctx, NH_EFFECT_DEVICE_CLOSE, device->id, NH_LIT("certificate deleted"), NH_SLICE_EMPTY);
	return nh_audit_add(ctx, actor, device->org_id, NH_AUDIT_DEVICE, device->id, err, "%.*s deleted certificate %.*s of device %.*s",
	                    NH_ARG(actor->name), NH_ARG(serial), NH_ARG(device->identifier));
}

nh_rc nh_device_by_certificate(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice base64_pem, struct nh_device *out,
                               struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_DEVICE_SEE, err));
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	struct nh_device_certificate known;
	if (nh_input_certificate(base64_pem, &cert, NULL, NULL) != NH_OK)
		return NH_FAIL(err, NH_EPERM, "no device of the organization has this certificate");
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_cert_by_sha256, NH_PARAMS(nh_p_blob(fingerprint(cert))), read_certificate, &known, "certificate",
	                      err);
	if (rc == NH_OK && known.org_id == org_id)
		rc = nh_device_by_id(ctx, known.device_id, out, err);
	else if (rc == NH_OK)
		rc = NH_ENOTFOUND;
	return rc == NH_ENOTFOUND ? NH_FAIL(err, NH_EPERM, "no device of the organization has this certificate") : rc;
}

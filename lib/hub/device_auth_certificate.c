/*
 * Client certificates: who may connect, with a certificate pinned before or with one of a registered device CA.
 *
 * The registered CA must be the direct issuer. Several registered CAs may share a key identifier, which anyone can copy: only the signature decides.
 * Dates of a pinned certificate play no role; at registration the device's must hold, the CA's only where its record says so.
 * Judging happens twice: in find, so that strangers cost no write, and in record, which alone changes rows and therefore decides.
 * source: reference/device-protocol "5.3"; reference/server-behaviour "2.2"; design/architecture "5"
 */
#include "crypto/digest.h"
#include "crypto/x509.h"
#include "hub/audit.h"
#include "hub/certificates.h"
#include "hub/device_auth.h"
#include "hub/devices.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/rollout.h"

#define LEAF_MAX ((size_t)16 << 10)
#define NOT_YET_TOLERANCE_US (300 * NH_US_PER_S) /* a factory's clock may be a little ahead of ours */

struct device {
	int64_t id, org_id, product_id;
	nh_slice identifier;
	bool deleted;
	int64_t certificate_id;
};

struct signer {
	int64_t id, org_id;
	nh_slice der;
	int64_t not_before_us, not_after_us;
	bool check_expiration;
	int64_t jitp_product_id; /* 0: no just-in-time provisioning */
	nh_slice jitp_tags, jitp_description;
};

struct nh_cert_finding {
	nh_slice der;
	struct nh_auth_verdict verdict; /* of find */
	struct signer *signers;         /* registered CAs whose key signed the certificate */
	size_t signer_count;
	bool decided;                   /* verdict stands without a write */
};

/* What judging came to, beyond accepting or not. */
struct judgement {
	nh_auth_reason reason;
	bool accepted;
	struct device device;  /* id 0: to be created */
	const struct signer *signer;
};

static void read_device(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct device *)item = (struct device){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.product_id = nh_col_int(rows, 2),
		.identifier = nh_col_text(rows, 3, arena),
		.deleted = !nh_col_null(rows, 4),
	};
}

static void read_pinned(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	read_device(rows, arena, item);
	((struct device *)item)->certificate_id = nh_col_int(rows, 5);
}

static void read_signer(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct signer *)item = (struct signer){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.der = nh_col_blob(rows, 2, arena),
		.not_before_us = nh_col_int(rows, 3),
		.not_after_us = nh_col_int(rows, 4),
		.check_expiration = nh_col_bool(rows, 5),
		.jitp_product_id = nh_col_int(rows, 6),
		.jitp_tags = nh_col_text(rows, 7, arena),
		.jitp_description = nh_col_text(rows, 8, arena),
	};
}

/* nh_one_row where no row is an answer too: *found. */
static nh_rc find_device(struct nh_ctx *ctx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count,
                         void (*read)(const struct nh_rows *, struct nh_arena *, void *), struct device *out, bool *found, struct nh_err *err)
{
	*out = (struct device){0};
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, stmt, params, count, read, out, "device", err);
	*found = rc == NH_OK;
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* ---- judging ---------------------------------------------------------------------------------------------------------------- */

static nh_auth_reason check_dates(const struct nh_cert *cert, const struct signer *signer, int64_t now_us)
{
	if (signer->check_expiration && (now_us > signer->not_after_us || now_us < signer->not_before_us - NOT_YET_TOLERANCE_US))
		return NH_AUTH_CA_EXPIRED;
	if (now_us > cert->not_after_us)
		return NH_AUTH_CERT_EXPIRED;
	if (now_us < cert->not_before_us - NOT_YET_TOLERANCE_US)
		return NH_AUTH_CERT_NOT_YET_VALID;
	return NH_AUTH_ACCEPTED_KNOWN;
}

/* A device's certificate: for clients where it says for what, no CA, nothing critical that we do not know, a name that is text. */
static bool usable(const struct nh_cert *cert)
{
	if (cert->is_ca || cert->unknown_critical || !nh_input_text_ok(cert->common_name, NH_TEXT_MAX_BYTES))
		return false;
	/* Such a key cannot prove itself in a handshake: nothing is to be recorded of it. */
	if (cert->has_key_usage && !(cert->key_usage & NH_KU_DIGITAL_SIGNATURE))
		return false;
	return !cert->has_ext_key_usage || (cert->ext_key_usage & (NH_EKU_CLIENT_AUTH | NH_EKU_ANY)) != 0;
}

/* The signer for a device that has this key already: one of the device's organization. */
static void judge_renewal(const struct nh_cert *cert, const struct signer *signers, size_t count, int64_t now_us, struct judgement *j)
{
	j->reason = NH_AUTH_MISMATCHED_ORG;
	for (size_t i = 0; i < count; i++) {
		if (signers[i].org_id != j->device.org_id)
			continue;
		j->reason = check_dates(cert, &signers[i], now_us);
		j->accepted = j->reason == NH_AUTH_ACCEPTED_KNOWN;
		if (!j->accepted)
			continue;
		j->reason = NH_AUTH_ACCEPTED_RENEWED;
		j->signer = &signers[i];
		return;
	}
}

/* One signer's word on a key never seen: *stop where no other signer is to be asked. */
static nh_rc judge_first(struct nh_ctx *ctx, const struct nh_cert *cert, const struct signer *signer, struct judgement *j, bool *stop, struct nh_err *err)
{
	bool found;
	int64_t number = 0;
	j->reason = check_dates(cert, signer, nh_ctx_now(ctx));
	if (j->reason != NH_AUTH_ACCEPTED_KNOWN)
		return NH_OK;
	j->signer = signer;
	NH_TRY(find_device(ctx, &nh_q_auth_device_find, NH_PARAMS(nh_p_int(signer->org_id), nh_p_text(cert->common_name)), read_device, &j->device, &found,
	                   err));
	if (found) {
		NH_TRY(nh_query_id(ctx->tx, &nh_q_auth_device_certs, NH_PARAMS(nh_p_int(j->device.id)), &number, err));
		j->accepted = number == 0; /* one key per device */
		j->reason = j->accepted ? NH_AUTH_ACCEPTED_FIRST : NH_AUTH_UNEXPECTED_PUBKEY;
		*stop = true;
		return NH_OK;
	}
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_auth_device_deleted, NH_PARAMS(nh_p_int(signer->org_id), nh_p_text(cert->common_name)), &number, err);
	if (rc == NH_OK) {
		j->reason = NH_AUTH_DEVICE_DELETED;
		*stop = true;
		return NH_OK;
	}
	if (rc != NH_ENOTFOUND)
		return rc;
	j->accepted = signer->jitp_product_id != 0;
	j->reason = j->accepted ? NH_AUTH_ACCEPTED_CREATED : NH_AUTH_NOT_REGISTERED;
	*stop = j->accepted;
	return NH_OK;
}

static nh_rc judge(struct nh_ctx *ctx, const struct nh_cert *cert, const struct signer *signers, size_t count, struct judgement *j, struct nh_err *err)
{
	bool found, stop = false;
	*j = (struct judgement){0};
	NH_TRY(find_device(ctx, &nh_q_auth_cert_by_sha256, NH_PARAMS(nh_p_blob(nh_slice_of(cert->sha256, sizeof(cert->sha256)))), read_pinned, &j->device,
	                   &found, err));
	if (found) {
		j->accepted = !j->device.deleted;
		j->reason = j->accepted ? NH_AUTH_ACCEPTED_KNOWN : NH_AUTH_DEVICE_DELETED;
		return NH_OK;
	}
	NH_TRY(find_device(ctx, &nh_q_auth_cert_by_key, NH_PARAMS(nh_p_blob(nh_slice_of(cert->spki_sha256, sizeof(cert->spki_sha256)))), read_device,
	                   &j->device, &found, err));
	if (!usable(cert))
		j->reason = NH_AUTH_BAD_CERTIFICATE;
	else if (found && j->device.deleted)
		j->reason = NH_AUTH_DEVICE_DELETED;
	else if (cert->common_name.len == 0)
		j->reason = NH_AUTH_MISSING_COMMON_NAME;
	else if (cert->aki.len == 0)
		j->reason = NH_AUTH_MISSING_AKI;
	else if (found && !nh_slice_eq(cert->common_name, j->device.identifier))
		j->reason = NH_AUTH_MISMATCHED_CERT;
	else if (count == 0)
		j->reason = NH_AUTH_UNKNOWN_CA;
	else if (found)
		judge_renewal(cert, signers, count, nh_ctx_now(ctx), j);
	else
		for (size_t i = 0; i < count && !stop; i++)
			NH_TRY(judge_first(ctx, cert, &signers[i], j, &stop, err));
	return NH_OK;
}

static void pronounce(struct nh_ctx *ctx, const struct nh_cert *cert, const struct judgement *j, struct nh_auth_verdict *out)
{
	*out = (struct nh_auth_verdict){.accepted = j->accepted, .reason = j->reason, .identifier = nh_arena_copy(ctx->arena, cert->common_name)};
	if (!j->accepted)
		return;
	out->device_id = j->device.id;
	out->org_id = j->device.org_id;
	out->product_id = j->device.product_id;
	out->identifier = j->device.identifier;
}

/* ---- find -------------------------------------------------------------------------------------------------------------------- */

/* Of the registered CAs with the certificate's authority key identifier, those whose key signed it. *claimed: there were any. */
static nh_rc find_signers(struct nh_ctx *ctx, const struct nh_cert *cert, struct nh_cert_finding *f, bool *claimed, struct nh_err *err)
{
	*claimed = false;
	if (cert->aki.len == 0)
		return NH_OK;
	struct nh_list list = NH_LIST_OF(ctx->arena, struct signer);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_auth_ca_by_ski, NH_PARAMS(nh_p_blob(cert->aki)), read_signer, err));
	*claimed = list.count > 0;
	f->signers = list.items;
	for (size_t i = 0; i < list.count; i++) {
		NH_AUTO_CERT struct nh_cert *ca = NULL;
		if (nh_cert_parse_der(f->signers[i].der, &ca, NULL) == NH_OK && nh_cert_signed_by(cert, ca, NULL) == NH_OK)
			f->signers[f->signer_count++] = f->signers[i];
	}
	return NH_OK;
}

nh_rc nh_device_auth_certificate_find(struct nh_ctx *ctx, nh_slice leaf_der, struct nh_cert_finding **out, struct nh_err *err)
{
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	struct nh_cert_finding *f = NH_NEW(ctx->arena, struct nh_cert_finding);
	struct judgement j;
	bool claimed;
	*out = f;
	if (leaf_der.len > LEAF_MAX || nh_cert_parse_der(leaf_der, &cert, NULL) != NH_OK) {
		f->decided = true;
		f->verdict.reason = NH_AUTH_BAD_CERTIFICATE;
		return NH_OK;
	}
	f->der = nh_arena_copy(ctx->arena, leaf_der);
	NH_TRY(find_signers(ctx, cert, f, &claimed, err));
	NH_TRY(judge(ctx, cert, f->signers, f->signer_count, &j, err));
	if (j.reason == NH_AUTH_UNKNOWN_CA && claimed)
		j.reason = NH_AUTH_BAD_SIGNATURE;
	pronounce(ctx, cert, &j, &f->verdict);
	f->decided = !j.accepted || j.reason == NH_AUTH_ACCEPTED_KNOWN;
	return NH_OK;
}

bool nh_device_auth_certificate_settled(const struct nh_cert_finding *finding, struct nh_auth_verdict *out)
{
	if (finding->decided)
		*out = finding->verdict;
	return finding->decided;
}

/* ---- record ------------------------------------------------------------------------------------------------------------------ */

static nh_rc create_device(struct nh_ctx *ctx, const struct nh_cert *cert, struct judgement *j, struct nh_err *err)
{
	nh_slice *tags;
	size_t tag_count;
	nh_text_list_read(ctx->arena, j->signer->jitp_tags, &tags, &tag_count);
	struct nh_new_device input = {
		.identifier = nh_arena_copy(ctx->arena, cert->common_name),
		.description = j->signer->jitp_description,
		.tags = tags,
		.tag_count = tag_count,
		.has_tags = true,
	};
	nh_rc rc = nh_device_provision(ctx, j->signer->org_id, j->signer->jitp_product_id, &input, &j->device.id, err);
	if (rc == NH_EINVAL || rc == NH_ECONFLICT || rc == NH_ENOTFOUND) {
		j->accepted = false;
		j->reason = NH_AUTH_REGISTRATION_FAILED;
		return NH_OK;
	}
	j->device.org_id = j->signer->org_id;
	j->device.product_id = j->signer->jitp_product_id;
	j->device.identifier = input.identifier;
	return rc;
}

nh_rc nh_device_auth_certificate_record(struct nh_ctx *ctx, const struct nh_cert_finding *f, struct nh_auth_verdict *out, struct nh_err *err)
{
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	struct nh_device_certificate stored;
	struct judgement j;
	if (f->decided && !f->verdict.accepted) {
		*out = f->verdict;
		return NH_OK;
	}
	NH_TRY(nh_cert_parse_der(f->der, &cert, err));
	NH_TRY(judge(ctx, cert, f->signers, f->signer_count, &j, err));
	struct nh_param now = nh_p_int(nh_ctx_now(ctx));
	if (j.accepted && j.reason == NH_AUTH_ACCEPTED_KNOWN) {
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_auth_cert_used, NH_PARAMS(now, nh_p_int(j.device.certificate_id)), NULL, err));
		nh_effect_add(ctx, NH_EFFECT_CERT_KNOWN, j.device.id, NH_SLICE_EMPTY, nh_slice_of(cert->sha256, sizeof(cert->sha256)));
	} else if (j.accepted) {
		if (j.reason == NH_AUTH_ACCEPTED_CREATED)
			NH_TRY(create_device(ctx, cert, &j, err));
		/* A refusal here after a device was made rolls everything back: the caller sees an error, nothing remains. */
		if (j.accepted) {
			struct nh_actor device = {NH_ACTOR_DEVICE, j.device.id, j.device.identifier};
			NH_TRY_CTX(nh_device_certificate_store(ctx, j.device.org_id, j.device.id, cert, &stored, NULL, err), err,
			           "storing the certificate of device %.*s", NH_ARG(j.device.identifier));
			NH_TRY(nh_audit_add(ctx, &device, j.device.org_id, NH_AUDIT_DEVICE, j.device.id, err, "Device %.*s showed certificate %.*s for the first time", NH_ARG(j.device.identifier),
			                    NH_ARG(cert->serial_decimal)));
		}
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_auth_ca_used, NH_PARAMS(now, nh_p_int(j.signer->id)), NULL, err));
	}
	pronounce(ctx, cert, &j, out);
	return NH_OK;
}

/* ---- all steps --------------------------------------------------------------------------------------------------------------- */

struct steps {
	const struct nh_auth_env *env;
	nh_slice der;
	struct nh_cert_finding *finding;
	struct nh_auth_verdict verdict;
};

static struct nh_ctx context(const struct nh_auth_env *env, struct nh_tx *tx, struct nh_effects *effects)
{
	return (struct nh_ctx){.tx = tx, .arena = env->arena, .clock = env->clock, .rng = env->rng, .config = env->config, .effects = effects};
}

static nh_rc find_step(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct steps *s = arg;
	struct nh_ctx ctx = context(s->env, tx, NULL);
	return nh_device_auth_certificate_find(&ctx, s->der, &s->finding, err);
}

static nh_rc record_step(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct steps *s = arg;
	*s->env->effects = (struct nh_effects){0}; /* a repeated transaction starts again */
	struct nh_ctx ctx = context(s->env, tx, s->env->effects);
	return nh_device_auth_certificate_record(&ctx, s->finding, &s->verdict, err);
}

nh_rc nh_device_auth_certificate(const struct nh_auth_env *env, const nh_slice *chain, size_t count, struct nh_auth_verdict *out, struct nh_err *err)
{
	struct steps s = {.env = env, .der = count ? chain[0] : NH_SLICE_EMPTY};
	NH_TRY(nh_db_read(env->db, find_step, &s, err));
	if (nh_device_auth_certificate_settled(s.finding, out)) {
		struct nh_ctx ctx = context(env, NULL, env->effects);
		uint8_t fingerprint[32];
		nh_sha256(s.der, fingerprint);
		if (out->accepted)
			nh_effect_add(&ctx, NH_EFFECT_CERT_KNOWN, out->device_id, NH_SLICE_EMPTY, nh_slice_of(fingerprint, sizeof(fingerprint)));
		return NH_OK;
	}
	NH_TRY(nh_db_write(env->db, record_step, &s, err));
	*out = s.verdict;
	return NH_OK;
}

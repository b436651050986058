/*
 * Certificates that the server's authority issued: looking, revoking, signing in.
 *
 * source: reference/user-api-and-cli "19.2", "19.4"; RFC 5280 5.3.1
 */
#include "authority_int.h"
#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/permissions.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/authority.h"

#define LIST_MAX 500

static void read_issued(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_issued *)item = (struct nh_issued){
		.id = nh_col_int(rows, 0),
		.authority_id = nh_col_int(rows, 1),
		.kind = nh_col_text(rows, 2, arena),
		.user_id = nh_col_int(rows, 3),
		.org_id = nh_col_int(rows, 4),
		.device_id = nh_col_int(rows, 5),
		.family_id = nh_col_int(rows, 6),
		.serial = nh_col_text(rows, 7, arena),
		.subject = nh_col_text(rows, 8, arena),
		.description = nh_col_text(rows, 9, arena),
		.not_before_us = nh_col_int(rows, 10),
		.not_after_us = nh_col_int(rows, 11),
		.der = nh_col_blob(rows, 12, arena),
		.sha256 = nh_col_blob(rows, 13, arena),
		.last_used_at_us = nh_col_int(rows, 14),
		.revoked_at_us = nh_col_int(rows, 15),
		.reason = (int)nh_col_int(rows, 16),
		.inserted_at_us = nh_col_int(rows, 17),
	};
}

nh_rc nh_issued_by_sha256(struct nh_ctx *ctx, nh_slice sha256, struct nh_issued *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_issued_by_sha256, NH_PARAMS(nh_p_blob(sha256)), read_issued, out, "certificate", err);
}

/* ---- whose ------------------------------------------------------------------------------------------------------------- */

static nh_rc require(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_issued_of of, nh_action action, struct nh_err *err)
{
	switch (of.which) {
	case NH_ISSUED_ORG: return nh_may(ctx, actor, of.org_id, action, err);
	case NH_ISSUED_ALL: return nh_server_admin(ctx, actor, err);
	case NH_ISSUED_OWN: break;
	}
	return actor->kind == NH_ACTOR_USER ? NH_OK : NH_FAIL(err, NH_ENOTFOUND, "no such certificate");
}

nh_rc nh_issued_list(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_issued_of of, int64_t before_id, size_t limit, struct nh_issued **out, size_t *count,
                     struct nh_err *err)
{
	NH_TRY(require(ctx, actor, of, NH_MAY_ISSUED_SEE, err));
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_issued);
	struct nh_param before = nh_p_int(before_id ? before_id : INT64_MAX), most = nh_p_int((int64_t)(limit < 1 ? 1 : limit > LIST_MAX ? LIST_MAX : limit));
	if (of.which == NH_ISSUED_ALL)
		NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_issued_all, NH_PARAMS(before, most), read_issued, err));
	else if (of.which == NH_ISSUED_ORG)
		NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_issued_of_org, NH_PARAMS(nh_p_int(of.org_id), before, most), read_issued, err));
	else
		NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_issued_of_user, NH_PARAMS(nh_p_int(actor->id), before, most), read_issued, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

static nh_rc open_issued(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_issued_of of, nh_slice serial, struct nh_issued *out, struct nh_err *err)
{
	if (!nh_input_text_ok(serial, NH_NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such certificate");
	struct nh_param text = nh_p_text(serial);
	if (of.which == NH_ISSUED_ALL)
		return nh_one_row(ctx->tx, ctx->arena, &nh_q_issued_by_serial, NH_PARAMS(text), read_issued, out, "certificate", err);
	if (of.which == NH_ISSUED_ORG)
		return nh_one_row(ctx->tx, ctx->arena, &nh_q_issued_org_serial, NH_PARAMS(nh_p_int(of.org_id), text), read_issued, out, "certificate", err);
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_issued_user_serial, NH_PARAMS(nh_p_int(actor->id), text), read_issued, out, "certificate", err);
}

nh_rc nh_issued_open(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_issued_of of, nh_slice serial, struct nh_issued *out, struct nh_err *err)
{
	NH_TRY(require(ctx, actor, of, NH_MAY_ISSUED_SEE, err));
	return open_issued(ctx, actor, of, serial, out, err);
}

/* ---- revoking ---------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *word;
	nh_crl_reason reason;
} reasons[] = {
	{"unspecified", NH_CRL_UNSPECIFIED}, {"keyCompromise", NH_CRL_KEY_COMPROMISE}, {"affiliationChanged", NH_CRL_AFFILIATION_CHANGED},
	{"superseded", NH_CRL_SUPERSEDED},   {"cessationOfOperation", NH_CRL_CESSATION}, {"privilegeWithdrawn", NH_CRL_PRIVILEGE_WITHDRAWN},
};

const char *const nh_crl_reason_words[] = {"unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation", "privilegeWithdrawn", NULL};

bool nh_crl_reason_parse(nh_slice word, nh_crl_reason *out)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(reasons); i++) {
		if (nh_slice_eq_str(word, reasons[i].word)) {
			*out = reasons[i].reason;
			return true;
		}
	}
	return false;
}

const char *nh_crl_reason_name(int reason)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(reasons); i++) {
		if ((int)reasons[i].reason == reason)
			return reasons[i].word;
	}
	return reasons[0].word;
}

/* What the certificate opened elsewhere in this server is shut, too. */
static nh_rc withdraw(struct nh_ctx *ctx, const struct nh_issued *c, struct nh_err *err)
{
	int64_t device_id = 0;
	if (c->org_id && nh_slice_eq_str(c->kind, "device_ca"))
		return nh_sql_exec(ctx->tx, &nh_q_ca_unregister, NH_PARAMS(nh_p_int(c->org_id), nh_p_blob(c->sha256)), NULL, err);
	if (!c->org_id || !nh_slice_eq_str(c->kind, "device"))
		return NH_OK;
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_device_cert_unpin, NH_PARAMS(nh_p_blob(c->sha256)), &device_id, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK;
	NH_TRY(rc);
	nh_effect_add(ctx, NH_EFFECT_CERT_FORGET, device_id, NH_SLICE_EMPTY, c->sha256);
	nh_effect_add(ctx, NH_EFFECT_DEVICE_CLOSE, device_id, NH_LIT("certificate revoked"), NH_SLICE_EMPTY);
	return NH_OK;
}

static nh_rc audit_revocation(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_issued *c, nh_crl_reason reason, struct nh_err *err)
{
	int64_t org_id = c->org_id;
	nh_audit_resource kind = c->device_id ? NH_AUDIT_DEVICE : NH_AUDIT_ORG;
	int64_t resource = c->device_id ? c->device_id : c->org_id;
	if (!org_id) {
		int64_t whose = c->user_id ? c->user_id : actor->id;
		NH_TRY(nh_query_id(ctx->tx, &nh_q_personal_org, NH_PARAMS(nh_p_int(whose)), &org_id, err));
		kind = NH_AUDIT_USER;
		resource = whose;
	}
	return nh_audit_add(ctx, actor, org_id, kind, resource, err, "%.*s revoked %.*s certificate %.*s (%.*s): %s", NH_ARG(actor->name), NH_ARG(c->kind), NH_ARG(c->serial),
	                    NH_ARG(c->subject), nh_crl_reason_name((int)reason));
}

nh_rc nh_issued_revoke(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_issued_of of, nh_slice serial, nh_slice reason, json_t **errors, struct nh_err *err)
{
	struct nh_issued c;
	nh_crl_reason why = NH_CRL_UNSPECIFIED;
	int64_t changed = 0;
	NH_TRY(require(ctx, actor, of, NH_MAY_ISSUED_REVOKE, err));
	NH_TRY(open_issued(ctx, actor, of, serial, &c, err));
	if (reason.len && !nh_crl_reason_parse(reason, &why))
		return nh_refuse(errors, err, NH_EINVAL, "reason", "is invalid: expected unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn");
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_issued_revoke,
	                   NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int((int64_t)why), nh_p_int(c.id), nh_p_int(c.family_id ? c.family_id : c.id)), &changed, err));
	if (changed == 0)
		return NH_OK;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_authority_revise, NH_PARAMS(nh_p_int(c.authority_id)), NULL, err));
	NH_TRY(withdraw(ctx, &c, err));
	return audit_revocation(ctx, actor, &c, why, err);
}

nh_rc nh_issued_revoke_user(struct nh_ctx *ctx, int64_t user_id, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_issued_revoke_user, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(NH_CRL_SUPERSEDED), nh_p_int(user_id)), &changed, err));
	return changed ? nh_sql_exec(ctx->tx, &nh_q_authority_revise_all, NULL, 0, NULL, err) : NH_OK;
}

/* ---- signing in -------------------------------------------------------------------------------------------------------- */

nh_rc nh_user_by_certificate(struct nh_ctx *ctx, nh_slice sha256, struct nh_user *out, int64_t *touch, struct nh_err *err)
{
	return nh_user_of_credential(ctx, &nh_q_issued_login, NH_PARAMS(nh_p_blob(sha256), nh_p_int(nh_ctx_now(ctx))), "the certificate signs nobody in", out, touch, err);
}

nh_rc nh_user_certificate_touch(struct nh_ctx *ctx, int64_t certificate_id, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	return nh_sql_exec(ctx->tx, &nh_q_issued_touch, NH_PARAMS(nh_p_int(now - now % NH_US_PER_S), nh_p_int(certificate_id)), NULL, err);
}

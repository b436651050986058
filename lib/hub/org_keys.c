/*
 * Signing keys of an organization.
 *
 * source: reference/user-api-and-cli "8"
 */
#include "base/encode.h"
#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/keys.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/foundation.h"

#define ED25519_LEN 32

static void read_key(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_org_key *)item = (struct nh_org_key){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.name = nh_col_text(rows, 2, arena),
		.key = nh_col_text(rows, 3, arena),
		.scheme = nh_col_text(rows, 4, arena),
		.inserted_at_us = nh_col_int(rows, 5),
	};
}

nh_rc nh_org_key_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_org_key **out, size_t *count, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_KEY_SEE, err));
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_org_key);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_key_list, NH_PARAMS(nh_p_int(org_id)), read_key, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_org_key_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice name, struct nh_org_key *out, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_KEY_SEE, err));
	if (!nh_input_text_ok(name, NH_NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such signing key");
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_key_by_name, NH_PARAMS(nh_p_int(org_id), nh_p_text(name)), read_key, out, "signing key", err);
}

static bool is_ed25519(nh_slice text)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_MAX(64);
	return nh_b64_decode(text, NH_B64_STD, &bytes) == NH_OK && nh_buf_ok(&bytes) && bytes.len == ED25519_LEN;
}

nh_rc nh_org_key_create(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice name, nh_slice key, nh_slice scheme,
                        struct nh_org_key *out, json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_KEY_CREATE, err));
	name = nh_input_name(ctx->arena, name);
	if (scheme.len == 0)
		scheme = NH_LIT("ed25519");
	if (nh_slice_eq_str(scheme, "secure_boot_v2_rsa"))
		return nh_refuse(errors, err, NH_EINVAL, "scheme", "is not enabled on this NervesHub instance");
	if (!nh_slice_eq_str(scheme, "ed25519"))
		return nh_refuse(errors, err, NH_EINVAL, "scheme", "is invalid");
	nh_rc bad = NH_OK;
	if (name.len == 0)
		bad = nh_refuse(errors, err, NH_EINVAL, "name", "can't be blank");
	else if (!nh_input_name_ok(name, NH_NAME_MAX_BYTES))
		bad = nh_refuse(errors, err, NH_EINVAL, "name", "is invalid");
	if (key.len == 0)
		bad = nh_refuse(errors, err, NH_EINVAL, "key", "can't be blank");
	else if (!is_ed25519(key))
		bad = nh_refuse(errors, err, NH_EINVAL, "key", "invalid key, please check this is a valid Ed25519 public key");
	NH_TRY(bad);

	int64_t id = 0;
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_key_taken, NH_PARAMS(nh_p_int(org_id), nh_p_text(key)), &id, err);
	if (rc == NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, "key", "has already been taken");
	if (rc != NH_ENOTFOUND)
		return rc;
	rc = nh_query_id(ctx->tx, &nh_q_key_insert,
	                 NH_PARAMS(nh_p_int(org_id), nh_p_ref(actor->kind == NH_ACTOR_USER ? actor->id : 0), nh_p_text(name), nh_p_text(scheme),
	                           nh_p_text(key), nh_p_int(nh_ctx_now(ctx))),
	                 &id, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "name", "has already been taken");
	NH_TRY(rc);
	NH_TRY(nh_audit_add(ctx, actor, org_id, NH_AUDIT_KEY, id, err, "%.*s registered signing key %.*s", NH_ARG(actor->name), NH_ARG(name)));
	return nh_org_key_open(ctx, actor, org_id, name, out, err);
}

nh_rc nh_org_key_delete(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice name, json_t **errors, struct nh_err *err)
{
	struct nh_org_key key;
	NH_TRY(nh_org_key_open(ctx, actor, org_id, name, &key, err));
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_KEY_DELETE, err));
	nh_rc rc = nh_sql_exec(ctx->tx, &nh_q_key_delete, NH_PARAMS(nh_p_int(org_id), nh_p_int(key.id)), NULL, err);
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_ECONFLICT, "firmwares", "Firmware exists which uses the Signing Key");
	NH_TRY(rc);
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_KEY, key.id, err, "%.*s deleted signing key %.*s", NH_ARG(actor->name), NH_ARG(name));
}

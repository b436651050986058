/*
 * The audit log: appending and reading back. Its chain: audit_chain.c. What is worth an entry is decided where the action is.
 * source: reference/server-behaviour "8"
 */
#include "audit_int.h"
#include "hub/accounts.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/audit.h"

#define LIST_MAX 500

static const char *const actor_names[] = {[NH_ACTOR_USER] = "user", [NH_ACTOR_DEVICE] = "device", [NH_ACTOR_SYSTEM] = "system"};
static const char *const resource_names[NH_AUDIT_RESOURCE_COUNT] = {
	[NH_AUDIT_ORG] = "org",       [NH_AUDIT_USER] = "user",   [NH_AUDIT_PRODUCT] = "product",   [NH_AUDIT_DEVICE] = "device",
	[NH_AUDIT_GROUP] = "group",   [NH_AUDIT_KEY] = "key",     [NH_AUDIT_FIRMWARE] = "firmware", [NH_AUDIT_CA] = "ca",
};

static size_t index_of(const char *const *names, size_t count, nh_slice name)
{
	for (size_t i = 0; i < count; i++) {
		if (nh_slice_eq_str(name, names[i]))
			return i;
	}
	return 0;
}

nh_slice nh_audit_reason(struct nh_arena *arena, nh_slice reason)
{
	nh_slice cut = nh_slice_sub(reason, 0, 4 * NH_AUDIT_REASON_MAX);
	if (cut.len < reason.len) {
		while (cut.len > 0 && (reason.ptr[cut.len] & 0xc0) == 0x80)
			cut.len--;
	}
	uint8_t *out = nh_arena_alloc(arena, cut.len + 1);
	bool valid = nh_utf8_valid(cut);
	for (size_t i = 0; i < cut.len; i++) {
		uint8_t c = cut.ptr[i];
		out[i] = c < 0x20 || c == 0x7f ? ' ' : (!valid && c >= 0x80) ? '?' : c;
	}
	return nh_text_cut(arena, nh_slice_trim(nh_slice_of(out, cut.len)), NH_AUDIT_REASON_MAX);
}

static nh_rc add(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_audit_resource kind, int64_t resource_id, const struct nh_buf *text, struct nh_err *err)
{
	NH_TRY(nh_buf_check(text, "audit entry", err));
	nh_slice description = nh_text_cut(ctx->arena, nh_buf_slice(text), NH_AUDIT_DESCRIPTION_MAX);
	return nh_sql_exec(ctx->tx, &nh_q_audit_add,
	                   NH_PARAMS(nh_p_int(org_id), nh_p_str(actor_names[actor->kind]), nh_p_int(actor->id),
	                             nh_p_text(actor->name.ptr ? actor->name : NH_LIT("")), nh_p_str(resource_names[kind]), nh_p_int(resource_id),
	                             nh_p_text(description), nh_p_int(nh_ctx_now(ctx))),
	                   NULL, err);
}

nh_rc nh_audit_add(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_audit_resource kind, int64_t resource_id, struct nh_err *err,
                   const char *fmt, ...)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	va_list ap;
	va_start(ap, fmt);
	nh_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	return add(ctx, actor, org_id, kind, resource_id, &text, err);
}

static void read_id(const struct nh_rows *rows, struct nh_arena *arena, void *item) { *(int64_t *)item = nh_col_int(rows, 0); }

nh_rc nh_audit_account(struct nh_ctx *ctx, int64_t user_id, struct nh_err *err, const char *fmt, ...)
{
	struct nh_user user;
	struct nh_list orgs = NH_LIST_OF(ctx->arena, int64_t);
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	va_list ap;
	NH_TRY(nh_user_get(ctx, user_id, &user, err));
	nh_buf_printf(&text, "%.*s ", NH_ARG(user.name));
	va_start(ap, fmt);
	nh_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	struct nh_actor actor = nh_actor_of_user(&user);
	NH_TRY(nh_list_rows(ctx->tx, &orgs, &nh_q_audit_orgs_of_user, NH_PARAMS(nh_p_int(user_id)), read_id, err));
	for (size_t i = 0; i < orgs.count; i++)
		NH_TRY(add(ctx, &actor, ((const int64_t *)orgs.items)[i], NH_AUDIT_USER, user_id, &text, err));
	return NH_OK;
}

void nh_audit_entry_read(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_audit_entry *)item = (struct nh_audit_entry){
		.id = nh_col_int(rows, 0),
		.at_us = nh_col_int(rows, 1),
		.actor_kind = (nh_actor_kind)index_of(actor_names, NH_ARRAY_LEN(actor_names), nh_col_text(rows, 2, arena)),
		.actor_id = nh_col_int(rows, 3),
		.actor_name = nh_col_text(rows, 4, arena),
		.kind = (nh_audit_resource)index_of(resource_names, NH_ARRAY_LEN(resource_names), nh_col_text(rows, 5, arena)),
		.resource_id = nh_col_int(rows, 6),
		.description = nh_col_text(rows, 7, arena),
	};
}

const char *nh_audit_actor_name(nh_actor_kind kind) { return actor_names[kind]; }

const char *nh_audit_resource_name(nh_audit_resource kind) { return resource_names[kind]; }

nh_rc nh_audit_list(struct nh_ctx *ctx, int64_t org_id, nh_audit_resource kind, int64_t resource_id, int64_t before_id, size_t limit,
                    struct nh_audit_entry **out, size_t *count, struct nh_err *err)
{
	struct nh_param before = nh_p_int(before_id ? before_id : INT64_MAX);
	struct nh_param most = nh_p_int((int64_t)(limit < 1 ? 1 : limit > LIST_MAX ? LIST_MAX : limit));
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_audit_entry);
	if (kind == NH_AUDIT_ORG)
		NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_audit_list_org, NH_PARAMS(nh_p_int(org_id), before, most), nh_audit_entry_read, err));
	else if (kind == NH_AUDIT_DEVICE)
		NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_audit_list_device, NH_PARAMS(nh_p_int(org_id), nh_p_int(resource_id), before, most),
		                    nh_audit_entry_read, err));
	else
		NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_audit_list,
		                    NH_PARAMS(nh_p_int(org_id), nh_p_str(resource_names[kind]), nh_p_int(resource_id), before, most), nh_audit_entry_read, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

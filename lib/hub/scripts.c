/*
 * Support scripts as rows. A product has few of them, so lists are read whole, without the texts, and searched here: totals are exact and no SQL is put together.
 *
 * source: reference/user-api-and-cli "14"; reference/server-behaviour "1.9", "6"
 */
#include "base/encode.h"
#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/scripts.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/support.h"

#define NAME_MAX_BYTES ((size_t)NH_SCRIPT_NAME_MAX * 4)

static void read_listed(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_script *)item = (struct nh_script){
		.id = nh_col_int(rows, 0),
		.product_id = nh_col_int(rows, 1),
		.name = nh_col_text(rows, 2, arena),
		.tags = nh_col_text(rows, 3, arena),
		.inserted_at_us = nh_col_int(rows, 4),
		.updated_at_us = nh_col_int(rows, 5),
		.creator_id = nh_col_int(rows, 6),
		.creator_name = nh_col_text(rows, 7, arena),
		.creator_email = nh_col_text(rows, 8, arena),
	};
}

static void read_script(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	read_listed(rows, arena, item);
	((struct nh_script *)item)->text = nh_col_text(rows, 9, arena);
}

static nh_rc by_id(struct nh_ctx *ctx, int64_t product_id, int64_t id, struct nh_script *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_script_by_id, NH_PARAMS(nh_p_int(product_id), nh_p_int(id)), read_script, out, "script", err);
}

/* ---- lists ------------------------------------------------------------------------------------------------------------- */

nh_rc nh_script_all(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t product_id, struct nh_script **out, size_t *count, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_SCRIPT_SEE, err));
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_script);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_script_list, NH_PARAMS(nh_p_int(product_id), nh_p_int(NH_SCRIPTS_MAX)), read_listed, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

static bool contains(struct nh_arena *arena, nh_slice text, nh_slice part)
{
	return nh_slice_find(nh_input_lower(arena, text), nh_input_lower(arena, part)) >= 0;
}

/* Is each of the comma list a part of the tags? */
static bool has_tags(struct nh_arena *arena, const struct nh_script *s, nh_slice wanted)
{
	nh_slice tag;
	while (wanted.len > 0) {
		nh_slice_cut(wanted, ',', &tag, &wanted);
		tag = nh_slice_trim(tag);
		if (tag.len > 0 && !contains(arena, s->tags, tag))
			return false;
	}
	return true;
}

static bool fits(struct nh_arena *arena, const struct nh_script *s, const struct nh_script_query *q)
{
	if (q->name.len > 0 && !contains(arena, s->name, q->name))
		return false;
	if (q->search.len > 0 && !contains(arena, s->name, q->search) && !contains(arena, s->tags, q->search))
		return false;
	return has_tags(arena, s, q->tags);
}

nh_rc nh_script_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t product_id, const struct nh_script_query *query,
                     struct nh_script_page *out, struct nh_err *err)
{
	struct nh_script *all;
	size_t count = 0;
	int64_t size = query->page_size > 0 ? query->page_size : NH_SCRIPT_PAGE_SIZE;
	*out = (struct nh_script_page){.page = query->page > 0 ? query->page : 1, .page_size = size < NH_SCRIPT_PAGE_SIZE_MAX ? size : NH_SCRIPT_PAGE_SIZE_MAX};
	NH_TRY(nh_script_all(ctx, actor, org_id, product_id, &all, &count, err));
	out->items = all;
	for (size_t i = 0; i < count; i++) {
		if (!fits(ctx->arena, &all[i], query))
			continue;
		/* What is kept moves to the front of the list it is taken from. */
		if (out->total / out->page_size == out->page - 1)
			all[out->count++] = all[i];
		out->total++;
	}
	return NH_OK;
}

nh_rc nh_script_open(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, int64_t id, nh_action action, struct nh_script *out,
                     struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_SCRIPT_SEE, err));
	NH_TRY(by_id(ctx, product->id, id, out, err));
	return nh_may(ctx, actor, product->org_id, action, err);
}

/* ---- changes ----------------------------------------------------------------------------------------------------------- */

static nh_rc read_name(struct nh_arena *arena, const json_t *fields, nh_slice *out, json_t **errors, struct nh_err *err)
{
	nh_slice text;
	bool present;
	NH_TRY(nh_input_optional_text(arena, fields, "name", NAME_MAX_BYTES, &present, &text, errors, err));
	if (present)
		*out = nh_slice_trim(text);
	if (out->len == 0)
		return nh_refuse(errors, err, NH_EINVAL, "name", "can't be blank");
	if (nh_input_characters(*out) > NH_SCRIPT_NAME_MAX)
		return nh_refuse(errors, err, NH_EINVAL, "name", "should be at most %d character(s)", NH_SCRIPT_NAME_MAX);
	return NH_OK;
}

static nh_rc read_text(struct nh_arena *arena, const json_t *fields, nh_slice *out, json_t **errors, struct nh_err *err)
{
	nh_slice text;
	bool present;
	NH_TRY(nh_input_optional_text(arena, fields, "text", NH_TEXT_MAX_BYTES, &present, &text, errors, err));
	if (present)
		*out = text;
	return nh_slice_trim(*out).len > 0 ? NH_OK : nh_refuse(errors, err, NH_EINVAL, "text", "can't be blank");
}

static nh_rc read_tags(struct nh_arena *arena, const json_t *fields, nh_slice *out, json_t **errors, struct nh_err *err)
{
	const json_t *value = json_object_get(fields, "tags");
	const char *why;
	if (!value)
		return NH_OK;
	*out = NH_SLICE_EMPTY;
	if (json_is_null(value))
		return NH_OK;
	NH_AUTO_JSON json_t *tags = nh_tags_read(value, &why);
	if (!tags)
		return nh_refuse(errors, err, NH_EINVAL, "tags", "%s", why);
	*out = nh_json_arena(arena, tags);
	return NH_OK;
}

/* Everything that is wrong at once. */
static nh_rc read_fields(struct nh_arena *arena, const json_t *fields, struct nh_script *s, json_t **errors, struct nh_err *err)
{
	nh_rc name = read_name(arena, fields, &s->name, errors, err), text = read_text(arena, fields, &s->text, errors, err);
	nh_rc tags = read_tags(arena, fields, &s->tags, errors, err);
	return name != NH_OK ? name : text != NH_OK ? text : tags;
}

static struct nh_param user_of(const struct nh_actor *actor) { return nh_p_ref(actor->kind == NH_ACTOR_USER ? actor->id : 0); }

static nh_rc note(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *p, const char *what, const struct nh_script *s, struct nh_err *err)
{
	return nh_audit_add(ctx, actor, p->org_id, NH_AUDIT_PRODUCT, p->id, err, "%.*s %s support script %.*s (%lld) of product %.*s", NH_ARG(actor->name), what,
	                    NH_ARG(s->name), (long long)s->id, NH_ARG(p->name));
}

nh_rc nh_script_create(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const json_t *fields, struct nh_script *out,
                       json_t **errors, struct nh_err *err)
{
	struct nh_script s = {0};
	int64_t count = 0, id = 0;
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_SCRIPT_CREATE, err));
	NH_TRY(read_fields(ctx->arena, fields, &s, errors, err));
	NH_TRY(nh_query_id(ctx->tx, &nh_q_script_count, NH_PARAMS(nh_p_int(product->id)), &count, err));
	if (count >= NH_SCRIPTS_MAX)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "A product may have %d support scripts; delete one first.", NH_SCRIPTS_MAX);
	NH_TRY(nh_query_id(ctx->tx, &nh_q_script_insert,
	                   NH_PARAMS(nh_p_int(product->id), nh_p_text(s.name), nh_p_text(s.text), nh_p_text_or_null(s.tags), user_of(actor), nh_p_int(nh_ctx_now(ctx))),
	                   &id, err));
	NH_TRY(by_id(ctx, product->id, id, out, err));
	return note(ctx, actor, product, "created", out, err);
}

nh_rc nh_script_update(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const struct nh_script *script, const json_t *fields,
                       struct nh_script *out, json_t **errors, struct nh_err *err)
{
	struct nh_script s = *script;
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_SCRIPT_UPDATE, err));
	NH_TRY(read_fields(ctx->arena, fields, &s, errors, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_script_update,
	                   NH_PARAMS(nh_p_text(s.name), nh_p_text(s.text), nh_p_text_or_null(s.tags), user_of(actor), nh_p_int(nh_ctx_now(ctx)), nh_p_int(product->id),
	                             nh_p_int(s.id)),
	                   NULL, err));
	NH_TRY(by_id(ctx, product->id, s.id, out, err));
	return note(ctx, actor, product, "changed", out, err);
}

nh_rc nh_script_delete(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const struct nh_script *script, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_SCRIPT_DELETE, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_script_delete, NH_PARAMS(nh_p_int(product->id), nh_p_int(script->id)), NULL, err));
	return note(ctx, actor, product, "removed", script, err);
}

/* ---- running ----------------------------------------------------------------------------------------------------------- */

nh_rc nh_script_run(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice name_or_id, struct nh_script *out,
                    struct nh_err *err)
{
	int64_t id;
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_SCRIPT_RUN, err));
	if (!nh_input_text_ok(name_or_id, NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such script");
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_script_by_name, NH_PARAMS(nh_p_int(device->product_id), nh_p_text(name_or_id)), read_script, out, "script", err);
	if (rc == NH_ENOTFOUND && nh_parse_i64(name_or_id, 1, INT64_MAX, &id) == NH_OK)
		rc = by_id(ctx, device->product_id, id, out, err);
	NH_TRY(rc);
	return nh_audit_add(ctx, actor, device->org_id, NH_AUDIT_DEVICE, device->id, err, "%.*s ran support script %.*s (%lld) on device %.*s", NH_ARG(actor->name),
	                    NH_ARG(out->name), (long long)out->id, NH_ARG(device->identifier));
}

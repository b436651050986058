/*
 * Pages of a product's devices. The total comes from the product's counter where nothing is filtered, and is counted up to a bound otherwise; pages that follow a cursor count nothing.
 *
 * A cursor is the place of a page's last device in the list's order. It names the order, so that it cannot be taken for one of another list.
 *
 * source: reference/user-api-and-cli "5", "11.2"; design/architecture "5. Data"
 */
#include "base/encode.h"
#include "hub/accounts.h"
#include "hub/device_query.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/foundation.h"
#include "store/rollout.h"

#define OFFSET_MAX INT64_C(10000000)
#define CURSOR_MAX ((size_t)2048)

/* ---- cursors ----------------------------------------------------------------------------------------------------------------- */

/* The list's order in one word: a cursor begins with it. */
static const char *order_name(struct nh_arena *arena, const struct nh_device_search *s)
{
	return nh_arena_printf(arena, "%.*s%c%d", NH_ARG(s->sort), s->descending ? '-' : '+', (int)s->nulls);
}

static nh_slice cursor_text(struct nh_arena *arena, const struct nh_device_search *s, const struct nh_device_cursor *c)
{
	NH_AUTO_BUF struct nh_buf json = NH_BUF_INIT, text = NH_BUF_INIT;
	NH_AUTO_JSON json_t *value = json_pack("[s, I, o, o]", order_name(arena, s), (json_int_t)c->rank, c->is_text ? nh_json_new_text(c->text) : json_integer(c->number),
	                                       nh_json_new_text(c->identifier));
	nh_json_put(&json, value);
	nh_b64_put(&text, nh_buf_slice(&json), NH_B64_URL_NOPAD);
	return nh_arena_copy(arena, nh_buf_slice(&text));
}

static nh_slice item_text(struct nh_arena *arena, const json_t *list, size_t i)
{
	const json_t *item = json_array_get(list, i);
	return nh_arena_copy(arena, nh_slice_of(json_string_value(item), json_string_length(item)));
}

static bool cursor_read(struct nh_arena *arena, const struct nh_device_search *s, nh_slice text, struct nh_device_cursor *out)
{
	NH_AUTO_BUF struct nh_buf json = NH_BUF_MAX(CURSOR_MAX);
	NH_AUTO_JSON json_t *value = NULL;
	if (nh_b64_decode(text, NH_B64_URL_NOPAD, &json) != NH_OK || !nh_buf_ok(&json) || nh_json_parse(nh_buf_slice(&json), CURSOR_MAX, &value, NULL) != NH_OK)
		return false;
	const json_t *key = json_array_get(value, 2);
	bool whole = json_array_size(value) == 4 && json_is_string(json_array_get(value, 0)) && json_is_integer(json_array_get(value, 1)) &&
	             (json_is_string(key) || json_is_integer(key)) && json_is_string(json_array_get(value, 3));
	if (!whole || !nh_slice_eq_str(item_text(arena, value, 0), order_name(arena, s)))
		return false;
	*out = (struct nh_device_cursor){.rank = json_integer_value(json_array_get(value, 1)), .is_text = json_is_string(key), .number = json_integer_value(key),
	                                 .identifier = item_text(arena, value, 3)};
	if (out->is_text)
		out->text = item_text(arena, value, 2);
	return nh_slice_chr(out->text, 0) < 0 && nh_slice_chr(out->identifier, 0) < 0;
}

/* ---- the query language: what only the database knows ------------------------------------------------------------------------ */

/* A name that is written wrong would make "!=" mean everything: groups and firmware must be there. */
static nh_rc check_names(struct nh_ctx *ctx, int64_t product_id, const struct nh_expression *e, struct nh_query_fault *fault, struct nh_err *err)
{
	static const struct {
		nh_device_column column;
		const struct nh_stmt *find;
		const char *what;
	} names[] = {
		{NH_COLUMN_GROUP, &nh_q_group_by_name, "deployment group"},
		{NH_COLUMN_FIRMWARE, &nh_q_firmware_by_uuid, "firmware"},
	};
	if (!e)
		return NH_OK;
	if (e->kind != NH_EXPRESSION_TEST) {
		NH_TRY(check_names(ctx, product_id, e->left, fault, err));
		return check_names(ctx, product_id, e->right, fault, err);
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++) {
		struct nh_rows *rows = NULL;
		if (e->column != names[i].column || e->not_set)
			continue;
		nh_rc rc = nh_sql_one(ctx->tx, names[i].find, NH_PARAMS(nh_p_int(product_id), nh_p_text(e->value)), &rows, err);
		nh_sql_end(rows);
		if (rc == NH_ENOTFOUND) {
			*fault = (struct nh_query_fault){e->at, nh_arena_printf(ctx->arena, "the product has no such %s", names[i].what)};
			return NH_FAIL(err, NH_EINVAL, "%s", fault->text);
		}
		NH_TRY(rc);
	}
	return NH_OK;
}

static nh_rc read_query(struct nh_ctx *ctx, int64_t product_id, nh_slice text, const struct nh_expression **out, json_t **errors, struct nh_err *err)
{
	struct nh_query_fault fault = {0};
	nh_rc rc = nh_device_query_parse(ctx->arena, text, nh_ctx_now(ctx), out, &fault, err);
	if (rc == NH_OK)
		rc = check_names(ctx, product_id, *out, &fault, err);
	return rc == NH_EINVAL ? nh_refuse(errors, err, NH_EINVAL, "query", "byte %zu: %s", fault.at + 1, fault.text) : rc;
}

/* ---- pages ------------------------------------------------------------------------------------------------------------------- */

static nh_rc prepare(struct nh_ctx *ctx, const struct nh_product *product, const struct nh_device_query *query, struct nh_device_page *out,
                     struct nh_device_search *search, json_t **errors, struct nh_err *err)
{
	*out = (struct nh_device_page){.page = query->page > 0 ? query->page : 1, .page_size = query->page_size > 0 ? query->page_size : NH_DEVICE_PAGE_SIZE};
	int64_t max = query->page_size_max > 0 ? query->page_size_max : NH_DEVICE_PAGE_SIZE_MAX;
	if (out->page_size > max)
		out->page_size = max;
	if (out->page > OFFSET_MAX / out->page_size)
		return nh_refuse(errors, err, NH_EINVAL, "pagination", "is out of range");
	for (size_t i = 0; i < query->filter_count; i++) {
		if (!nh_input_text_ok(query->filters[i].value, NH_NAME_MAX_BYTES))
			return nh_refuse(errors, err, NH_EINVAL, "filters", "is invalid");
	}
	*search = (struct nh_device_search){
		.product_id = product->id,
		.now_us = nh_ctx_now(ctx),
		.filters = query->filters,
		.filter_count = query->filter_count,
		.sort = query->sort.len > 0 ? query->sort : NH_LIT("identifier"),
		.descending = query->descending,
		.nulls = query->nulls,
		.limit = out->page_size + 1, /* one more tells whether there is a next page */
		.offset = query->keyset ? 0 : (out->page - 1) * out->page_size,
	};
	NH_TRY(read_query(ctx, product->id, query->text, &search->expression, errors, err));
	if (!query->keyset || query->after.len == 0)
		return NH_OK;
	struct nh_device_cursor *after = NH_NEW(ctx->arena, struct nh_device_cursor);
	if (!cursor_read(ctx->arena, search, query->after, after))
		return nh_refuse(errors, err, NH_EINVAL, "pagination", "after is no cursor of this list");
	search->after = after;
	return NH_OK;
}

static nh_rc read_page(struct nh_ctx *ctx, const struct nh_device_search *search, struct nh_device_page *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	struct nh_device_cursor last = {0};
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_device);
	NH_TRY(nh_device_search_rows(ctx->tx, ctx->arena, search, &rows, err));
	nh_rc rc;
	bool more = false;
	while ((rc = nh_sql_next(rows, err)) == NH_OK) {
		more = (int64_t)list.count == out->page_size;
		if (more)
			break;
		nh_device_read(rows, ctx->arena, nh_list_add(&list));
		if ((int64_t)list.count == out->page_size)
			nh_device_cursor_read(rows, ctx->arena, search, &last);
	}
	nh_sql_end(rows);
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return rc;
	out->items = list.items;
	out->count = list.count;
	if (more)
		out->next = cursor_text(ctx->arena, search, &last);
	return NH_OK;
}

nh_rc nh_device_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const struct nh_device_query *query,
                     struct nh_device_page *out, json_t **errors, struct nh_err *err)
{
	struct nh_device_search search;
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_DEVICE_SEE, err));
	NH_TRY(prepare(ctx, product, query, out, &search, errors, err));
	nh_rc rc = read_page(ctx, &search, out, err);
	if (rc == NH_EINVAL)
		return nh_refuse(errors, err, NH_EINVAL, search.after ? "pagination" : "sort", "is invalid");
	if (rc == NH_ETOOBIG)
		return nh_refuse(errors, err, NH_EINVAL, search.expression ? "query" : "filters", "too many");
	NH_TRY(rc);
	out->total = product->device_count;
	if (!nh_device_search_filtered(&search))
		return NH_OK;
	out->total = -1;
	if (query->keyset)
		return NH_OK;
	/* Behind the last device there is nothing to count. */
	if (out->next.len == 0 && (out->count > 0 || search.offset == 0)) {
		out->total = search.offset + (int64_t)out->count;
		return NH_OK;
	}
	return nh_device_search_count(ctx->tx, ctx->arena, &search, NH_DEVICE_COUNT_MAX, &out->total, err);
}

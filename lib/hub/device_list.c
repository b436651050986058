/*
 * Pages of a product's devices. The total comes from the product's counter where nothing is filtered, and is counted up to a bound otherwise.
 *
 * source: reference/user-api-and-cli "5", "11.2"; design/architecture "5. Data"
 */
#include "hub/accounts.h"
#include "input_int.h"
#include "rows_int.h"

#define OFFSET_MAX INT64_C(10000000)

nh_rc nh_device_list(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, const struct nh_device_query *query,
                     struct nh_device_page *out, json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_DEVICE_SEE, err));
	*out = (struct nh_device_page){.page = query->page > 0 ? query->page : 1, .page_size = query->page_size > 0 ? query->page_size : NH_DEVICE_PAGE_SIZE};
	if (out->page_size > NH_DEVICE_PAGE_SIZE_MAX)
		out->page_size = NH_DEVICE_PAGE_SIZE_MAX;
	if (out->page > OFFSET_MAX / out->page_size)
		return nh_refuse(errors, err, NH_EINVAL, "pagination", "is out of range");
	for (size_t i = 0; i < query->filter_count; i++) {
		if (!nh_input_text_ok(query->filters[i].value, NH_NAME_MAX_BYTES))
			return nh_refuse(errors, err, NH_EINVAL, "filters", "is invalid");
	}

	struct nh_device_search search = {
		.product_id = product->id,
		.now_us = nh_ctx_now(ctx),
		.filters = query->filters,
		.filter_count = query->filter_count,
		.sort = query->sort,
		.descending = query->descending,
		.limit = out->page_size,
		.offset = (out->page - 1) * out->page_size,
	};
	struct nh_rows *rows = NULL;
	nh_rc rc = nh_device_search_rows(ctx->tx, ctx->arena, &search, &rows, err);
	if (rc == NH_EINVAL)
		return nh_refuse(errors, err, NH_EINVAL, "sort", "is invalid");
	if (rc == NH_ETOOBIG)
		return nh_refuse(errors, err, NH_EINVAL, "filters", "too many");
	NH_TRY(rc);
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_device);
	while ((rc = nh_sql_next(rows, err)) == NH_OK)
		nh_device_read(rows, ctx->arena, nh_list_add(&list));
	nh_sql_end(rows);
	if (rc != NH_ENOTFOUND)
		return rc;
	out->items = list.items;
	out->count = list.count;

	out->total = product->device_count;
	if (nh_device_search_filtered(&search))
		NH_TRY(nh_device_search_count(ctx->tx, ctx->arena, &search, NH_DEVICE_COUNT_MAX, &out->total, err));
	return NH_OK;
}

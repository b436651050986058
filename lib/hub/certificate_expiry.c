/*
 * Certificates that end soon: three indexes are read from now on, and what they give is merged.
 */
#include "hub/certificate_expiry.h"

#include <stdlib.h>

#include "hub/events.h"
#include "hub/permissions.h"
#include "rows_int.h"
#include "store/authority.h"
#include "store/webhooks.h"

#define DAY_US (INT64_C(86400) * NH_US_PER_S)
#define LIST_MAX 500
#define TOLD_MAX 20 /* certificates named in an event */
#define ORGS_A_PAGE 50

static void read_expiring(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_expiring *)item = (struct nh_expiring){
		.kind = nh_col_text(rows, 0, arena),
		.serial = nh_col_text(rows, 1, arena),
		.subject = nh_col_text(rows, 2, arena),
		.not_after_us = nh_col_int(rows, 3),
		.device = nh_col_text(rows, 4, arena),
		.product = nh_col_text(rows, 5, arena),
	};
}

static int by_end(const void *a, const void *b)
{
	int64_t x = ((const struct nh_expiring *)a)->not_after_us, y = ((const struct nh_expiring *)b)->not_after_us;
	return (x > y) - (x < y);
}

nh_rc nh_expiring_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, unsigned days, size_t limit, struct nh_expiring **out, size_t *count, struct nh_err *err)
{
	static const struct nh_stmt *const sources[] = {&nh_q_expiring_issued, &nh_q_expiring_cas, &nh_q_expiring_devices};
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_expiring);
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_CA_SEE, err));
	if (limit < 1 || limit > LIST_MAX)
		limit = LIST_MAX;
	int64_t now = nh_ctx_now(ctx), window = (int64_t)(days > NH_EXPIRING_DAYS_MAX ? NH_EXPIRING_DAYS_MAX : days) * DAY_US;
	for (size_t i = 0; i < NH_ARRAY_LEN(sources); i++)
		NH_TRY(nh_list_rows(ctx->tx, &list, sources[i], NH_PARAMS(nh_p_int(org_id), nh_p_int(now - window), nh_p_int(now + window), nh_p_int((int64_t)limit)), read_expiring, err));
	if (list.count > 1)
		qsort(list.items, list.count, sizeof(struct nh_expiring), by_end);
	*out = list.items;
	*count = list.count < limit ? list.count : limit;
	return NH_OK;
}

static json_t *render(const struct nh_expiring *e)
{
	NH_AUTO_BUF struct nh_buf at = NH_BUF_INIT;
	nh_time_put_iso(&at, e->not_after_us);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "kind", nh_json_new_text(e->kind), "serial", nh_json_new_text(e->serial), "subject", nh_json_new_text(e->subject), "device",
	                 nh_json_new_text(e->device), "product", nh_json_new_text(e->product), "not_after", nh_json_new_text(nh_buf_slice(&at)));
}

static nh_rc tell_org(struct nh_ctx *ctx, int64_t org_id, unsigned days, struct nh_err *err)
{
	static const struct nh_actor system = {NH_ACTOR_SYSTEM, 0, {(const uint8_t *)"certificates", 12}};
	struct nh_expiring *list;
	size_t count = 0;
	NH_TRY(nh_expiring_list(ctx, &system, org_id, days, LIST_MAX, &list, &count, err));
	int64_t now = nh_ctx_now(ctx);
	json_t *named = json_array();
	size_t ahead = 0;
	for (size_t i = 0; i < count; i++) {
		if (list[i].not_after_us >= now && ++ahead <= TOLD_MAX)
			json_array_append_new(named, render(&list[i]));
	}
	json_t *data = json_pack("{s:i, s:I, s:o}", "within_days", (int)days, "count", (json_int_t)ahead, "certificates", named);
	if (ahead > 0)
		return nh_event_add(ctx, NH_EVENT_CERTIFICATE_EXPIRING, &(struct nh_event_subject){.org_id = org_id}, data, err);
	json_decref(data);
	return NH_OK;
}

static void read_org(const struct nh_rows *rows, struct nh_arena *arena, void *item) { *(int64_t *)item = nh_col_int(rows, 0); }

nh_rc nh_expiring_tell(struct nh_ctx *ctx, unsigned days, int64_t after_org, int64_t *next, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, int64_t);
	*next = 0;
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_event_askers, NH_PARAMS(nh_p_int(after_org), nh_p_int(nh_event_bit(NH_EVENT_CERTIFICATE_EXPIRING)), nh_p_int(ORGS_A_PAGE)), read_org, err));
	const int64_t *ids = list.items;
	for (size_t i = 0; i < list.count; i++)
		NH_TRY(tell_org(ctx, ids[i], days, err));
	if (list.count == ORGS_A_PAGE)
		*next = ids[list.count - 1];
	return NH_OK;
}

nh_rc nh_expiring_count(struct nh_ctx *ctx, unsigned days, struct nh_expiring_counts *out, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	int64_t now = nh_ctx_now(ctx);
	*out = (struct nh_expiring_counts){0};
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_expiring_counts, NH_PARAMS(nh_p_int(now), nh_p_int(now + (int64_t)days * DAY_US)), &rows, err));
	*out = (struct nh_expiring_counts){nh_col_int(rows, 0), nh_col_int(rows, 1), nh_col_int(rows, 2)};
	nh_sql_end(rows);
	return NH_OK;
}

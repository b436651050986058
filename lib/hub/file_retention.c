/*
 * Firmware and archives that nobody will ask for any more: older than the operator keeps them, not among the newest of their kind, named by no release, run by no device and on its way to
 * none. Their rows go here; their objects become loose, and the sweep of loose objects deletes them.
 *
 * source: none; upstream keeps every file until a person deletes it (reference/server-behaviour "4")
 */
#include "hub/audit.h"
#include "hub/deltas.h"
#include "hub/firmware.h"
#include "hub/permissions.h"
#include "intake_int.h"
#include "rows_int.h"
#include "store/foundation.h"
#include "store/support.h"

#define DAY_US (INT64_C(86400) * NH_US_PER_S)
#define ROWS_MAX 20 /* of each kind in one transaction: four statements a row */

struct unused {
	int64_t id, org_id, product_id;
	nh_slice uuid, version, object_key, product_name;
};

static void read_unused(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct unused *)item = (struct unused){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.product_id = nh_col_int(rows, 2),
		.uuid = nh_col_text(rows, 3, arena),
		.version = nh_col_text(rows, 4, arena),
		.object_key = nh_col_text(rows, 5, arena),
		.product_name = nh_col_text(rows, 6, arena),
	};
}

static const struct kind {
	const char *noun;
	const struct nh_stmt *find, *remove;
	bool counted; /* products count them, and there are deltas of them */
} kinds[] = {
	{"firmware", &nh_q_firmware_unused, &nh_q_firmware_delete, true},
	{"archive", &nh_q_archive_unused, &nh_q_archive_delete, false},
};

static nh_rc drop(struct nh_ctx *ctx, const struct kind *kind, const struct unused *u, struct nh_err *err)
{
	static const struct nh_actor keeper = {NH_ACTOR_SYSTEM, 0, {(const uint8_t *)"retention", 9}};
	if (kind->counted)
		NH_TRY(nh_deltas_discard(ctx, u->id, err));
	NH_TRY(nh_sql_exec(ctx->tx, kind->remove, NH_PARAMS(nh_p_int(u->product_id), nh_p_int(u->id)), NULL, err));
	NH_TRY(nh_intake_discard(ctx, u->id, u->object_key, err));
	if (kind->counted)
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_product_count_firmwares, NH_PARAMS(nh_p_int(-1), nh_p_int(u->product_id)), NULL, err));
	return nh_audit_add(ctx, &keeper, u->org_id, NH_AUDIT_PRODUCT, u->product_id, err, "%s %.*s (%.*s) of product %.*s was not used any more and is deleted", kind->noun,
	                    NH_ARG(u->version), NH_ARG(u->uuid), NH_ARG(u->product_name));
}

nh_rc nh_files_trim(struct nh_ctx *ctx, const struct nh_file_retention *keep, size_t *trimmed, struct nh_err *err)
{
	*trimmed = 0;
	if (keep->days == 0)
		return NH_OK;
	int64_t before = nh_ctx_now(ctx) - (int64_t)keep->days * DAY_US;
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++) {
		struct nh_list list = NH_LIST_OF(ctx->arena, struct unused);
		NH_TRY(nh_list_rows(ctx->tx, &list, kinds[i].find, NH_PARAMS(nh_p_int(before), nh_p_int((int64_t)keep->newest), nh_p_int(ROWS_MAX)), read_unused, err));
		const struct unused *items = list.items;
		for (size_t k = 0; k < list.count; k++)
			NH_TRY(drop(ctx, &kinds[i], &items[k], err));
		*trimmed += list.count;
	}
	return NH_OK;
}

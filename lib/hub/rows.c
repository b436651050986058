/*
 * Rows to structs: the loops that every list and every look-up would repeat otherwise.
 */
#include "rows_int.h"

void *nh_list_add(struct nh_list *list)
{
	if (list->count == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 8;
		uint8_t *items = nh_arena_array(list->arena, cap, list->size);
		if (list->count > 0)
			memcpy(items, list->items, list->count * list->size);
		list->items = items;
		list->cap = cap;
	}
	return (uint8_t *)list->items + list->size * list->count++;
}

nh_rc nh_list_rows(struct nh_tx *tx, struct nh_list *list, const struct nh_stmt *stmt, const struct nh_param *params, size_t param_count,
                   void (*read)(const struct nh_rows *rows, struct nh_arena *arena, void *item), struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_query(tx, stmt, params, param_count, &rows, err));
	nh_rc rc;
	while ((rc = nh_sql_next(rows, err)) == NH_OK)
		read(rows, list->arena, nh_list_add(list));
	nh_sql_end(rows);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

nh_rc nh_one_row(struct nh_tx *tx, struct nh_arena *arena, const struct nh_stmt *stmt, const struct nh_param *params, size_t param_count,
                 void (*read)(const struct nh_rows *rows, struct nh_arena *arena, void *item), void *item, const char *what, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	nh_rc rc = nh_sql_one(tx, stmt, params, param_count, &rows, err);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_ENOTFOUND, "no such %s", what);
	NH_TRY(rc);
	read(rows, arena, item);
	nh_sql_end(rows);
	return NH_OK;
}

/*
 * What the files of the device list's compiler share. Private to store, and to its tests, which ask the engines how they would run what comes out.
 */
#pragma once

#include "store/device_query.h"

struct query {
	struct nh_arena *arena;
	const struct nh_device_search *search;
	struct nh_buf sql;
	struct nh_param params[NH_DEVICE_QUERY_PARAMS_MAX];
	size_t count;
	int64_t now_us;
	bool overflow;
};

#define DAY_US INT64_C(86400000000)

/* Of the device's latest health report. */
#define LATEST(column) "(SELECT h." column " FROM device_health h WHERE h.device_id = d.id AND h.superseded = 0)"
/*
 * The tags, joined by blanks, of a text that is JSON as we write it: quotes inside of a tag are escaped, so that what is cut out here are those around the tags. A needle must be escaped
 * likewise (tag_text).
 */
#define TAGS_JOINED "CASE WHEN LENGTH(COALESCE(d.tags, '')) < 4 THEN '' ELSE REPLACE(SUBSTR(d.tags, 3, LENGTH(d.tags) - 4), '\",\"', ' ') END"

void put(struct query *q, const char *fragment);
size_t bind_value(struct query *q, struct nh_param value);            /* appends "$n" for a new parameter; its number */
void bind_again(struct query *q, size_t number);                /* appends it once more */
void contains(struct query *q, const char *column, nh_slice text); /* without case */
void equals(struct query *q, const char *column, struct nh_param value);
nh_slice tag_text(struct query *q, nh_slice tag);               /* as it stands in JSON, without the quotes around it */

/* Both append a condition. filter_put: false where key or value mean nothing; then nothing was appended. */
bool filter_put(struct query *q, const struct nh_filter *filter);
bool filter_known(nh_slice key);
void expression_put(struct query *q, const struct nh_expression *e);
/* Does the list include deleted devices, and does it hold them only? The partial indexes need it said in so many words. */
bool filter_deleted(const struct nh_device_search *search, bool *only);

/* The page's query whole: in q->sql and q->params; q is zeroed but for arena, search and now_us. The caller frees q->sql. Errors as nh_device_search_rows. */
nh_rc device_query_compile(struct query *q, struct nh_err *err);

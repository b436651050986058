/*
 * Lists of devices: the one place where SQL is joined at run time, from fixed fragments, every value bound.
 *
 * A list is narrowed by filters (device_filters.c), by an expression of the query language (device_expression.c), or both; it is ordered by one column with the identifier behind it,
 * and read by page number or from a cursor on. What an expression says is two-valued: a device matches or does not, `not` is everything else, whatever the device never reported.
 *
 * thread: any. source: reference/user-api-and-cli "11.2"; reference/server-behaviour "14.1" "14.2"; design/architecture "5. Data"
 */
#pragma once

#include "store/db.h"

/* What is read of a device, in this order; nh_hub device_read knows it. */
#define NH_DEVICE_SELECT                                                                                                          \
	"SELECT d.id, d.org_id, d.product_id, d.identifier, d.description, d.tags, d.status, d.updates_enabled, "                 \
	"d.updates_blocked_until, d.connecting_code, d.custom_location, d.extensions, d.firmware_uuid, d.firmware_version, "      \
	"d.firmware_platform, d.firmware_architecture, d.firmware_metadata, d.firmware_validation_status, "                       \
	"d.firmware_auto_revert_detected, d.first_seen_at, d.inserted_at, d.updated_at, d.deleted_at, o.name, p.name, c.status, " \
	"c.last_seen_at, d.deployment_id, g.name, g.is_active, gf.uuid, gf.version, d.last_failure, d.last_failure_at "
#define NH_DEVICE_COLUMNS 34
#define NH_DEVICE_JOINS                                                                                                           \
	"JOIN orgs o ON o.id = d.org_id JOIN products p ON p.id = d.product_id "                                                  \
	"LEFT JOIN device_connections c ON c.device_id = d.id LEFT JOIN deployment_groups g ON g.id = d.deployment_id "           \
	"LEFT JOIN deployment_releases r ON r.id = g.current_release_id LEFT JOIN firmwares gf ON gf.id = r.firmware_id "
#define NH_DEVICE_FROM "FROM devices d " NH_DEVICE_JOINS

struct nh_filter {
	nh_slice key, value;
};

#define NH_DEVICE_QUERY_PARAMS_MAX 60

/* ---- the query language ------------------------------------------------------------------------------------------------ */

typedef enum nh_device_column {
	NH_COLUMN_IDENTIFIER,
	NH_COLUMN_SEARCH, /* identifier, firmware version, platform and tags */
	NH_COLUMN_PLATFORM,
	NH_COLUMN_ARCHITECTURE,
	NH_COLUMN_FIRMWARE,
	NH_COLUMN_GROUP,
	NH_COLUMN_TAGS,
	NH_COLUMN_CONNECTION,
	NH_COLUMN_CONNECTION_TYPE,
	NH_COLUMN_LAST_SEEN,
	NH_COLUMN_HEALTH,
	NH_COLUMN_ALARM_STATUS,
	NH_COLUMN_ALARM,
	NH_COLUMN_UPDATES,
	NH_COLUMN_UPDATE_STATUS,
	NH_COLUMN_DELETED,
	NH_COLUMN_METRIC,
	NH_COLUMN_COUNT,
} nh_device_column;

typedef enum nh_expression_kind { NH_EXPRESSION_TEST, NH_EXPRESSION_NOT, NH_EXPRESSION_AND, NH_EXPRESSION_OR } nh_expression_kind;

/* A tree; what hub/device_query.h reads from text keeps the limits that this room relies on. */
struct nh_expression {
	nh_expression_kind kind;
	const struct nh_expression *left, *right; /* NOT: left only */
	/* of a test */
	nh_device_column column;
	bool negated;     /* !=, not like, not_contains, is not */
	nh_slice compare; /* of LAST_SEEN and METRIC: "<", "<=", ">" or ">=" */
	nh_slice value;
	nh_slice key;     /* of METRIC: its name */
	bool not_set;     /* :not_set of GROUP and TAGS; value is empty */
	double number;    /* of METRIC */
	int64_t moment;   /* of LAST_SEEN: absolute, µs */
	size_t at;        /* where its value stands in the text, bytes from 0 */
};

/* ---- lists ------------------------------------------------------------------------------------------------------------- */

typedef enum nh_nulls { NH_NULLS_DEFAULT, NH_NULLS_FIRST, NH_NULLS_LAST } nh_nulls; /* default: last where ascending, first where descending, as PostgreSQL has it */

/* Where a page ended: what the next one begins behind. */
struct nh_device_cursor {
	int64_t rank;        /* 0 or 1: on which side of those without a value */
	bool is_text;
	nh_slice text;       /* value of the sort column, by its kind */
	int64_t number;
	nh_slice identifier;
};

struct nh_device_search {
	int64_t product_id, now_us;
	const struct nh_filter *filters;        /* unknown keys and empty values are ignored */
	size_t filter_count;
	const struct nh_expression *expression; /* NULL: none */
	nh_slice sort;                          /* column, empty: identifier */
	bool descending;
	nh_nulls nulls;
	int64_t limit, offset;
	const struct nh_device_cursor *after;   /* NULL: from offset on */
};

/* nh_device_search_filtered - does any filter, or the expression, have an effect? Without one the product's counter knows the total. */
bool nh_device_search_filtered(const struct nh_device_search *search);
/*
 * nh_device_search_rows - starts the query for one page, whole devices; behind their columns the cursor's: rank, value. NH_EINVAL: unknown sort column, or a cursor of another one;
 * NH_ETOOBIG: more values than NH_DEVICE_QUERY_PARAMS_MAX.
 */
nh_rc nh_device_search_rows(struct nh_tx *tx, struct nh_arena *arena, const struct nh_device_search *search, struct nh_rows **out, struct nh_err *err);
/* nh_device_cursor_read - of the current row of nh_device_search_rows. In the arena. */
void nh_device_cursor_read(const struct nh_rows *rows, struct nh_arena *arena, const struct nh_device_search *search, struct nh_device_cursor *out);
/* nh_device_search_count - how many match, counted up to max. NH_ETOOBIG as above. */
nh_rc nh_device_search_count(struct nh_tx *tx, struct nh_arena *arena, const struct nh_device_search *search, int64_t max, int64_t *out,
                             struct nh_err *err);

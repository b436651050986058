/*
 * Lists of devices: the one place where SQL is joined at run time, from fixed fragments, every value bound.
 *
 * thread: any. source: reference/user-api-and-cli "11.2"; design/architecture "5. Data"
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
#define NH_DEVICE_FROM                                                                                                            \
	"FROM devices d JOIN orgs o ON o.id = d.org_id JOIN products p ON p.id = d.product_id "                                   \
	"LEFT JOIN device_connections c ON c.device_id = d.id LEFT JOIN deployment_groups g ON g.id = d.deployment_id "           \
	"LEFT JOIN deployment_releases r ON r.id = g.current_release_id LEFT JOIN firmwares gf ON gf.id = r.firmware_id "

struct nh_filter {
	nh_slice key, value;
};

#define NH_DEVICE_QUERY_PARAMS_MAX 48

struct nh_device_search {
	int64_t product_id, now_us;
	const struct nh_filter *filters; /* unknown keys and empty values are ignored */
	size_t filter_count;
	nh_slice sort;                   /* column, empty: identifier */
	bool descending;
	int64_t limit, offset;
};

/* nh_device_search_filtered - does any filter have an effect? */
bool nh_device_search_filtered(const struct nh_device_search *search);
/* nh_device_search_rows - starts the query for one page, whole devices. NH_EINVAL: unknown sort column; NH_ETOOBIG: too many filters. */
nh_rc nh_device_search_rows(struct nh_tx *tx, struct nh_arena *arena, const struct nh_device_search *search, struct nh_rows **out, struct nh_err *err);
/* nh_device_search_count - how many match, counted up to max. */
nh_rc nh_device_search_count(struct nh_tx *tx, struct nh_arena *arena, const struct nh_device_search *search, int64_t max, int64_t *out,
                             struct nh_err *err);

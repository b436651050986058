/*
 * Statements of the deltas family: deltas between two firmwares of a product, what was sent to devices, what was saved. Tables: db/migrations/0017-deltas.sql. The texts, with the columns in order,
 * are in deltas.c. Dates are microseconds.
 */
#pragma once

#include "store/db.h"

extern const struct nh_stmt nh_q_delta_insert;    /* org, product, source, target, at → id; no row where there is one */
extern const struct nh_stmt nh_q_delta_restart;   /* at, id → changed 0: it is neither failed nor timed out */
extern const struct nh_stmt nh_q_delta_by_id;     /* id */
extern const struct nh_stmt nh_q_delta_by_pair;   /* target, source's uuid */
extern const struct nh_stmt nh_q_delta_list;      /* target, limit: newest request first */
extern const struct nh_stmt nh_q_delta_start;     /* at, id → changed 0: nobody waits for it any more */
extern const struct nh_stmt nh_q_delta_complete;  /* tool, its metadata, least fwup, key, size, source size, target size, checksum, partials, at, id → changed 0: as above */
extern const struct nh_stmt nh_q_delta_fail;      /* status, error, at, id → changed 0: as above */
extern const struct nh_stmt nh_q_delta_delete;    /* id */
extern const struct nh_stmt nh_q_delta_of_firmware; /* firmware → id, key or null: of all deltas from it and to it */
extern const struct nh_stmt nh_q_delta_stale;     /* started before, limit → id */
extern const struct nh_stmt nh_q_delta_wanted;    /* group, source's uuid, target → source or null, may the group have deltas, delta or null, status, requested at, minutes that the group waits */
extern const struct nh_stmt nh_q_delta_usable;    /* source's uuid, device, target → id, size, checksum, partials, key, least fwup, did one fail on the device, full size */
extern const struct nh_stmt nh_q_delta_file;      /* id → uuid of the target, size, checksum, partials, key, full size: of a completed one */
extern const struct nh_stmt nh_q_delta_groups;    /* target → active groups that release it */
extern const struct nh_stmt nh_q_delta_source_next; /* group, uuid → the next firmware's uuid that its devices run, null: none */
extern const struct nh_stmt nh_q_download_delta;  /* delta, uuid of the target → id, key, checksum, size */

extern const struct nh_stmt nh_q_inflight_sent;   /* delta or null, bytes, bytes saved, device */
extern const struct nh_stmt nh_q_inflight_delta;  /* device → delta or null, bytes or null, bytes saved */
extern const struct nh_stmt nh_q_device_delta_failed; /* did it, device: changed 0 where it is so already */

extern const struct nh_stmt nh_q_update_total_add; /* product, group or 0, target's uuid, type, bytes, bytes saved */
#define NH_UPDATE_TOTALS_COLUMNS 5 /* updates, by delta, bytes, bytes saved, bytes that deltas had */
extern const struct nh_stmt nh_q_update_totals_product;  /* product */
extern const struct nh_stmt nh_q_update_totals_group;    /* product, group */
extern const struct nh_stmt nh_q_update_totals_firmware; /* product, target's uuid */

extern const struct nh_stmt *const nh_deltas_statements[];

/*
 * Statements of the support family: archives, who is told of them, support scripts, connecting code.
 * Tables: db/migrations/0005-support.sql. The texts, with the columns in order, are in support.c. Dates are microseconds.
 */
#pragma once

#include "store/db.h"

/* ---- archives ---------------------------------------------------------------------------------------------------------- */
/* columns: id, org, product, key, uuid, version, platform, architecture, product name, author, description, misc, vcs identifier, size, checksum, object key, inserted_at, updated_at */
extern const struct nh_stmt nh_q_archive_insert;    /* see support.c → id */
extern const struct nh_stmt nh_q_archive_by_uuid;   /* product, uuid */
extern const struct nh_stmt nh_q_archive_by_id;     /* product, id */
extern const struct nh_stmt nh_q_archive_list;      /* product */
extern const struct nh_stmt nh_q_archive_of_group;  /* group: its current release's; no row where that has none */
extern const struct nh_stmt nh_q_archive_delete;    /* product, id → changed 0: gone, or a release uses it */
extern const struct nh_stmt nh_q_archive_unused;    /* before, newest that stay, limit → id, org, product, uuid, version, object key, product name */
extern const struct nh_stmt nh_q_archive_download;  /* product, uuid → id, object key, checksum, size */
extern const struct nh_stmt nh_q_archive_told;      /* group → device id, or null */
extern const struct nh_stmt nh_q_archive_told_set;  /* device id or null, group */
/* columns: device id, org, identifier, group, updates enabled, blocked until, the connection's metadata */
extern const struct nh_stmt nh_q_archive_member;    /* device; no row where it is not connected */
extern const struct nh_stmt nh_q_archive_members;   /* group, after device id, limit: the connected ones, by id */

/* ---- scripts ----------------------------------------------------------------------------------------------------------- */
/* columns: id, product, name, tags, inserted_at, updated_at, creator's id, name, email; then, but in lists, the text */
extern const struct nh_stmt nh_q_script_insert;     /* product, name, text, tags or null, creator or null, at → id */
extern const struct nh_stmt nh_q_script_by_id;      /* product, id */
extern const struct nh_stmt nh_q_script_by_name;    /* product, name: the oldest of that name */
extern const struct nh_stmt nh_q_script_list;       /* product, limit: by name */
extern const struct nh_stmt nh_q_script_count;      /* product → how many */
extern const struct nh_stmt nh_q_script_update;     /* name, text, tags or null, editor or null, at, product, id */
extern const struct nh_stmt nh_q_script_delete;     /* product, id */

extern const struct nh_stmt nh_q_join_brings;       /* device → group's code, device's code, archive of its group's current release or null */

extern const struct nh_stmt *const nh_support_statements[];

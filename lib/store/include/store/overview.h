/*
 * Statements of the overview family: what people look after a fleet with. Pins, notifications, figures, the search box; deleted devices; an organization's settings and end.
 * Tables: db/migrations/0010-overview.sql. The texts, with the columns in order, are in overview.c. Dates are microseconds.
 */
#pragma once

#include "store/db.h"

/* ---- pins -------------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_pin_add;        /* user, device, at; twice is once */
extern const struct nh_stmt nh_q_pin_remove;     /* user, device */
extern const struct nh_stmt nh_q_pin_list;       /* user, limit: whole devices where the user is a member still, by identifier */
extern const struct nh_stmt nh_q_pin_forget;     /* device: everybody's */
extern const struct nh_stmt nh_q_pin_strangers;  /* device, org: those of people who are no members of org */

/* ---- notifications ------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_notification_add;     /* product, level, event key, title, message, metadata, at; again: counted */
extern const struct nh_stmt nh_q_notification_list;    /* product, limit → id, level, event key, title, message, metadata, count, last, first; newest first */
extern const struct nh_stmt nh_q_notification_dismiss; /* product: all */

/* ---- figures -------------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_figure_firmware;  /* product, limit → version, platform, architecture (each may be null), devices; the most first */
extern const struct nh_stmt nh_q_figure_connected; /* product → devices */
extern const struct nh_stmt nh_q_figure_unseen;    /* product → devices */

/* ---- the search box: product, pattern of LIKE, limit -------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_search_devices;   /* → identifier */
extern const struct nh_stmt nh_q_search_groups;    /* → name */
extern const struct nh_stmt nh_q_search_firmwares; /* → uuid, version, platform, architecture */

/* ---- deleted devices -------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_device_deleted;   /* product, identifier: the one deleted last, whole */
extern const struct nh_stmt nh_q_device_restore;   /* at, id; conflict: the identifier is taken meanwhile */
extern const struct nh_stmt nh_q_devices_deleted_before; /* at, limit → devices, deleted the longest ago first */
extern const struct nh_stmt nh_q_device_destroy;   /* id of a deleted one: all its rows */
extern const struct nh_stmt nh_q_device_secret_list; /* device → id, key, deactivated_at, inserted_at */

/* ---- identities that an operator gives a device ------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_identity_assign;  /* org, device, service, instance, identifier, details, at */
extern const struct nh_stmt nh_q_identity_get;     /* device, service, identifier: columns of nh_q_identity_list */
extern const struct nh_stmt nh_q_identity_remove;  /* device, service, identifier */

/* ---- organizations ---------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_org_settings;     /* org → days the audit log is kept, or null */
extern const struct nh_stmt nh_q_org_update;       /* name, days or null, at, org */
extern const struct nh_stmt nh_q_org_devices;      /* org → devices of its products */
extern const struct nh_stmt nh_q_org_delete;       /* at, org */
extern const struct nh_stmt nh_q_org_delete_products; /* at, org */
extern const struct nh_stmt nh_q_org_delete_cas;   /* org */

extern const struct nh_stmt *const nh_overview_statements[];

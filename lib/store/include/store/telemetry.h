/*
 * Statements of the telemetry family: health reports and metrics, log lines, network identities, the connections that ended. Tables: db/migrations/0004-telemetry.sql.
 * The texts, with the columns in order, are in telemetry.c; the hub's files that bind and read them stay beside their rules. Dates are microseconds.
 */
#pragma once

#include "store/db.h"

extern const struct nh_stmt nh_q_extension_settings; /* live device → extensions of its product, of itself: JSON objects */

/* ---- health ------------------------------------------------------------------------------------------------------------ */
/* columns of a report: inserted_at, status, reasons or null, alarms or null, data */
extern const struct nh_stmt nh_q_health_supersede; /* device */
extern const struct nh_stmt nh_q_health_add;       /* device, at, status, reasons or null, alarms or null, data → id */
extern const struct nh_stmt nh_q_health_latest;    /* device */
extern const struct nh_stmt nh_q_health_list;      /* device, before, limit */
extern const struct nh_stmt nh_q_health_trim;      /* before, limit → changed: superseded reports, with their metrics */
#define NH_METRICS_A_STATEMENT 12                  /* the standard report has eleven */
extern const struct nh_stmt nh_q_metrics_add;      /* report, then twelve times key or null, value or null */
extern const struct nh_stmt nh_q_metrics_list;     /* device, from, to, key or empty, limit → inserted_at, key, value */

/* ---- log lines --------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_log_add;          /* device, at, now, level, message, meta */
extern const struct nh_stmt nh_q_log_page;         /* device, from, before at, before id, limit → id, at, level, message, meta; newest first */
extern const struct nh_stmt nh_q_log_trim;         /* before, limit → changed */

/* ---- network identities ------------------------------------------------------------------------------------------------ */
/* columns of a whole identity: id, device or null, service, instance, identifier, details, source, last reported or null, inserted_at, updated_at */
extern const struct nh_stmt nh_q_identity_holder;  /* service, identifier → id, org, device or null, member or null, instance, source, details */
extern const struct nh_stmt nh_q_identity_of;      /* device, service, instance → id, source */
extern const struct nh_stmt nh_q_identity_add;     /* org, device, service, instance, identifier, details, at */
extern const struct nh_stmt nh_q_identity_replace; /* identifier, details, at, id */
extern const struct nh_stmt nh_q_identity_refresh; /* details, at, id */
extern const struct nh_stmt nh_q_identity_touch;   /* at, id */
extern const struct nh_stmt nh_q_identity_take;    /* device, instance, details, at, id */
extern const struct nh_stmt nh_q_identity_delete;  /* id */
extern const struct nh_stmt nh_q_identity_list;    /* device */
extern const struct nh_stmt nh_q_identity_device_deleted; /* device */
extern const struct nh_stmt nh_q_identity_device_moved;   /* org, device */
/* columns of an iroh endpoint: those of an identity, then its device's identifier, its member's name and email, each or null */
extern const struct nh_stmt nh_q_endpoint_list;    /* org, owner or empty, start of the identifier or empty, part of an owner's name, limit; newest first */
extern const struct nh_stmt nh_q_endpoint_get;     /* org, identifier */
extern const struct nh_stmt nh_q_endpoint_add;     /* org, member or null, instance, identifier, details, at */
extern const struct nh_stmt nh_q_endpoint_delete;  /* org, identifier → changed */
extern const struct nh_stmt nh_q_member_id;        /* org, email key → id of the membership */

/* ---- connections that ended --------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_history_add;      /* connection, established where the row does not say, ended, reason or null, device */
extern const struct nh_stmt nh_q_history_list;     /* device, before, limit → id, established, ended, reason, interface */
extern const struct nh_stmt nh_q_history_trim;     /* before, limit → changed */
extern const struct nh_stmt nh_q_flapping;         /* since, product, more than, limit → device, identifier, connections */

extern const struct nh_stmt *const nh_telemetry_statements[];

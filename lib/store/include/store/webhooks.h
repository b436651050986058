/*
 * Statements of the webhooks family: events that wait to be given out, webhooks, deliveries. Tables: db/migrations/0014-webhooks.sql. The texts, with the columns in order, are in webhooks.c.
 * Dates are microseconds.
 */
#pragma once

#include "store/db.h"

/* ---- events ---------------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_event_kinds;     /* org → bits of the kinds that its webhooks ask for */
extern const struct nh_stmt nh_q_event_askers;    /* after org, bit, limit → orgs that ask for the kind, by id */
extern const struct nh_stmt nh_q_event_add;       /* org, product or null, device or null, group or null, kind, uuid, data, at */
extern const struct nh_stmt nh_q_event_first;     /* limit → the oldest, with names */
extern const struct nh_stmt nh_q_event_delete;    /* id → changed 0: another has given it out */
extern const struct nh_stmt nh_q_event_kinds_set; /* bits, org */

/* ---- webhooks: columns of list and get in webhooks.c -------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_webhook_list;    /* org, limit: by id */
extern const struct nh_stmt nh_q_webhook_get;     /* org, id */
extern const struct nh_stmt nh_q_webhook_count;   /* org → how many */
extern const struct nh_stmt nh_q_webhook_add;     /* org, product or null, description, url, kinds, enabled, sealed secret, user or null, at → id */
extern const struct nh_stmt nh_q_webhook_update;  /* product or null, description, url, kinds, enabled, at, id */
extern const struct nh_stmt nh_q_webhook_afresh;  /* at, id: as if it had never failed, and due if anything waits */
extern const struct nh_stmt nh_q_webhook_rotate;  /* until when the old secret signs, too; new sealed secret, at, id */
extern const struct nh_stmt nh_q_webhook_disable; /* why, at, id → changed 0: it was */
extern const struct nh_stmt nh_q_webhook_disable_org; /* org: all of it, since it is deleted */
extern const struct nh_stmt nh_q_webhook_disable_product; /* why, at, product: those limited to it */
extern const struct nh_stmt nh_q_webhook_delete;  /* org, id */
extern const struct nh_stmt nh_q_webhook_kinds;   /* org → kinds of each enabled one */
extern const struct nh_stmt nh_q_webhook_secrets; /* org, id → url, secret, old secret, until */
extern const struct nh_stmt nh_q_webhook_figures; /* → waiting, dead, of all */

/* ---- giving out --------------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_webhook_targets; /* org → id, product or null, kinds, waiting of enabled ones */
extern const struct nh_stmt nh_q_webhook_given;   /* deliveries more, lost more, at, id */
extern const struct nh_stmt nh_q_webhook_losers;  /* waiting below, limit → id, lost of enabled ones that lost something */
extern const struct nh_stmt nh_q_webhook_told_lost; /* id, lost as read: told */
extern const struct nh_stmt nh_q_delivery_add;    /* webhook, kind, uuid, body, at, until */

/* ---- sending ------------------------------------------------------------------------------------------------------------------ */
extern const struct nh_stmt nh_q_webhook_due;     /* at, limit → id, org, url, secret, old secret, until, failures; due for the longest first */
extern const struct nh_stmt nh_q_webhook_next;    /* → when the first one is due, or null */
extern const struct nh_stmt nh_q_webhook_set_due; /* at or null, id */
extern const struct nh_stmt nh_q_webhook_state;   /* id → org, product or null, url, enabled, failures, failing since, org's name */
extern const struct nh_stmt nh_q_webhook_result;  /* waiting less, dead more, failures, failing since or null, delivered at or null, due at or null, id */
extern const struct nh_stmt nh_q_delivery_due;    /* webhook, at, limit → id, kind, uuid, body, attempts, inserted at, until */
extern const struct nh_stmt nh_q_delivery_next;   /* webhook → when the first that waits is due, or null */
extern const struct nh_stmt nh_q_delivery_claim;  /* due at, attempts, at, id, attempts as read → changed 0: another has it */
extern const struct nh_stmt nh_q_delivery_result; /* status, answer's status or null, error or null, due at, at, id → changed 0: it does not wait */
extern const struct nh_stmt nh_q_delivery_until;  /* id → until when it is tried */

/* ---- deliveries of people ------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_delivery_list;      /* webhook, status, before id, limit: newest first */
extern const struct nh_stmt nh_q_delivery_list_all;  /* webhook, before id, limit: of every status */
extern const struct nh_stmt nh_q_delivery_retry;     /* at, until, webhook, id → changed 0: it is not dead */
extern const struct nh_stmt nh_q_delivery_retry_all; /* at, until, webhook, limit → changed */
extern const struct nh_stmt nh_q_webhook_retried;    /* deliveries, at, id */
extern const struct nh_stmt nh_q_delivery_delete_all; /* webhook, limit → changed */

/* ---- what comes to its end -------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_delivery_expired; /* at, limit → id, webhook of those that waited too long */
extern const struct nh_stmt nh_q_delivery_old;     /* status, before, limit → id, webhook */
extern const struct nh_stmt nh_q_delivery_bury;    /* why, id: dead → changed 0: it does not wait */
extern const struct nh_stmt nh_q_delivery_delete;  /* id */
extern const struct nh_stmt nh_q_webhook_buried;   /* waiting less, dead more, id */
extern const struct nh_stmt nh_q_webhook_forget_secrets; /* at */

extern const struct nh_stmt *const nh_webhooks_statements[];

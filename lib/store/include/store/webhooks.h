/*
 * Statements of the webhooks family: events that wait to be given out, webhooks, deliveries. Tables: db/migrations/0014-webhooks.sql. The texts are in webhooks.c. Dates are microseconds.
 */
#pragma once

#include "store/db.h"

/* ---- events ---------------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_event_kinds; /* org → bits of the kinds that its webhooks ask for */
extern const struct nh_stmt nh_q_event_add;   /* org, product or null, device or null, group or null, kind, uuid, data, at */

extern const struct nh_stmt *const nh_webhooks_statements[];

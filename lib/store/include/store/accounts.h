/*
 * Statements of the accounts family: tokens that end, second factors, invitations, mails. Tables: db/migrations/0006-accounts.sql; users and API tokens are older (store/foundation.h).
 * The texts, with the columns in order, are in accounts.c. Dates are microseconds.
 */
#pragma once

#include "store/db.h"

/* ---- tickets: tokens that end ------------------------------------------------------------------------------------------ */
extern const struct nh_stmt nh_q_ticket_insert;      /* user, context, sha512, note or null, address or null, now, expires at → id */
extern const struct nh_stmt nh_q_ticket_find;        /* context, sha512, now → user, ticket (id, note, address, inserted, last used, expires) */
extern const struct nh_stmt nh_q_ticket_list;        /* user, context, now → ticket; newest first */
extern const struct nh_stmt nh_q_ticket_touch;       /* at, id */
extern const struct nh_stmt nh_q_ticket_delete;      /* user, context, id */
extern const struct nh_stmt nh_q_ticket_delete_hash; /* context, sha512 */
extern const struct nh_stmt nh_q_ticket_delete_all;  /* user, context, id that stays or 0 */
extern const struct nh_stmt nh_q_ticket_expire;      /* now, limit */

extern const struct nh_stmt *const nh_accounts_statements[];

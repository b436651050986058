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

/* ---- the own account ----------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_account_state;      /* user → confirmed at, password hash, second factor enabled at */
extern const struct nh_stmt nh_q_account_unconfirm;  /* user */
extern const struct nh_stmt nh_q_account_confirm;    /* email, key, at, user: NH_ECONFLICT where another has the address */
extern const struct nh_stmt nh_q_account_confirmed;  /* at, user: where it was not yet */
extern const struct nh_stmt nh_q_account_rename;     /* name, at, user */
extern const struct nh_stmt nh_q_account_orgs;       /* user → org id, name, members, admins, products, role: of each of the user's */
extern const struct nh_stmt nh_q_account_bury;       /* at, user */
extern const struct nh_stmt nh_q_account_leave_all;  /* user */
extern const struct nh_stmt nh_q_account_scripts_created; /* user: they stay, and forget who made them */
extern const struct nh_stmt nh_q_account_scripts_edited;  /* user */
extern const struct nh_stmt nh_q_account_unpin;      /* user */
extern const struct nh_stmt nh_q_org_lock;           /* org: others who count its members wait for this transaction */
extern const struct nh_stmt nh_q_org_bury;           /* at, org */
extern const struct nh_stmt nh_q_org_bury_cas;       /* org */

/* ---- second factors ------------------------------------------------------------------------------------------------------ */
extern const struct nh_stmt nh_q_factor_get;         /* user → sealed secret, enabled at, step, failures, blocked until, recovery codes */
extern const struct nh_stmt nh_q_factor_set;         /* sealed secret, user: begun */
extern const struct nh_stmt nh_q_factor_enable;      /* at, step, user */
extern const struct nh_stmt nh_q_factor_clear;       /* user */
extern const struct nh_stmt nh_q_factor_note;        /* step, failures, blocked until or null, user, step and failures as read → changed 0: another try came between */
extern const struct nh_stmt nh_q_recovery_insert;    /* user, hmac */
extern const struct nh_stmt nh_q_recovery_use;       /* user, hmac → changed 0: no such code */
extern const struct nh_stmt nh_q_recovery_delete_all;/* user */

/* ---- invitations ----------------------------------------------------------------------------------------------------------- */
/* columns of an invitation: id, org id, org name, email, role, inviter's name, inserted at, expires at */
extern const struct nh_stmt nh_q_invite_insert;      /* org, inviter, email, key, role, sha512, at, expires at → id */
extern const struct nh_stmt nh_q_invite_list;        /* org, now */
extern const struct nh_stmt nh_q_invite_count;       /* org, now → count */
extern const struct nh_stmt nh_q_invite_find;        /* sha512, now */
extern const struct nh_stmt nh_q_invite_delete;      /* org, id */
extern const struct nh_stmt nh_q_invite_settle;      /* org, email key: all of one address */
extern const struct nh_stmt nh_q_invite_expire;      /* now */
extern const struct nh_stmt nh_q_org_admins;         /* org, user that is left out → name, email; at most 100 */

/* ---- mails ------------------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_mail_insert;        /* kind, sealed, at → id */
extern const struct nh_stmt nh_q_mail_first;         /* → id, kind, sealed, attempts, inserted at, due at: what is due first */
extern const struct nh_stmt nh_q_mail_claim;         /* attempts, due at, id, due at as read → changed 0: another has it */
extern const struct nh_stmt nh_q_mail_move;          /* attempts, due at, id */
extern const struct nh_stmt nh_q_mail_delete;        /* id */

extern const struct nh_stmt *const nh_accounts_statements[];

/*
 * Statements of the identities family: accounts of other issuers that users sign in with. Table: db/migrations/0007-identities.sql. The texts, with the columns in order, are in
 * user_identities.c. Dates are microseconds.
 */
#pragma once

#include "store/db.h"

extern const struct nh_stmt nh_q_user_identity_find;   /* issuer, subject → user, identity id */
extern const struct nh_stmt nh_q_user_identity_insert; /* user, issuer, subject, email, at, last used or null: NH_ECONFLICT where it is somebody's */
extern const struct nh_stmt nh_q_user_identity_used;   /* email, at, id */
extern const struct nh_stmt nh_q_user_identity_list;   /* user → id, issuer, subject, email, inserted_at, last_used_at; oldest first */
extern const struct nh_stmt nh_q_user_identity_delete; /* user, id → changed 0: none such, or the user's last way in */
extern const struct nh_stmt nh_q_user_identity_delete_all; /* user */

extern const struct nh_stmt *const nh_user_identities_statements[];

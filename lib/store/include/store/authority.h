/*
 * Statements of the authority family: the server's certificate authorities, what they issued, what of that is revoked, what expires soon.
 * Tables: db/migrations/0008-authority.sql. The texts, with the columns in order, are in authority.c. Dates are microseconds.
 */
#pragma once

#include "store/db.h"

extern const struct nh_stmt nh_q_authority_find;     /* SHA-256 → id */
extern const struct nh_stmt nh_q_authority_insert;   /* SHA-256, DER, not after, at → id; no row where another node was faster */
extern const struct nh_stmt nh_q_authority_revision; /* id → crl revision */
extern const struct nh_stmt nh_q_authority_revise;   /* id: one more */
extern const struct nh_stmt nh_q_authority_revise_all;

/* columns: id, authority, kind, user, org, device, family, serial, subject, description, not before, not after, DER, SHA-256, last used, revoked at, reason, inserted_at */
extern const struct nh_stmt nh_q_issued_insert;      /* see authority.c → id */
extern const struct nh_stmt nh_q_issued_of_user;     /* user, before id, limit: newest first */
extern const struct nh_stmt nh_q_issued_of_org;      /* org, before id, limit */
extern const struct nh_stmt nh_q_issued_all;         /* before id, limit */
extern const struct nh_stmt nh_q_issued_user_serial; /* user, serial */
extern const struct nh_stmt nh_q_issued_org_serial;  /* org, serial */
extern const struct nh_stmt nh_q_issued_by_serial;   /* serial: the newest authority's first */
extern const struct nh_stmt nh_q_issued_by_sha256;   /* SHA-256 */
extern const struct nh_stmt nh_q_issued_user_count;  /* user, now → certificates that are neither revoked nor over */
extern const struct nh_stmt nh_q_issued_revoke;      /* at, reason, id, family or id: it and its successors → changed */
extern const struct nh_stmt nh_q_issued_revoke_user; /* at, reason, user: all of a user's → changed */
extern const struct nh_stmt nh_q_issued_touch;       /* at, id */
extern const struct nh_stmt nh_q_issued_revoked;     /* authority, now → DER, revoked at, reason: of those that are not over */
extern const struct nh_stmt nh_q_issued_login;       /* SHA-256, now → the user's columns, certificate's id, last used; no row where it does not sign in */

extern const struct nh_stmt nh_q_personal_org;       /* user → id of the personal organization */
extern const struct nh_stmt nh_q_device_cert_unpin;  /* SHA-256 → device id; no row where no device has it */
extern const struct nh_stmt nh_q_ca_update;          /* description or null, check expiration, id */
extern const struct nh_stmt nh_q_jitp_delete;        /* CA's id */
extern const struct nh_stmt nh_q_ca_unregister;      /* org, SHA-256 */

/* columns: kind, serial, subject, not after, device, product. Each: org, from, to, limit: the soonest first */
extern const struct nh_stmt nh_q_expiring_issued;
extern const struct nh_stmt nh_q_expiring_cas;
extern const struct nh_stmt nh_q_expiring_devices;
extern const struct nh_stmt nh_q_expiring_counts;    /* from, to → of the authority's, of device CAs, of devices; over all organizations */

extern const struct nh_stmt *const nh_authority_statements[];

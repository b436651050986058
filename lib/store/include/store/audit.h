/*
 * Statements of the audit family: entries, the chain they are sealed into, anchors, keys. Parameters and columns stand in order behind each name.
 *
 * source: reference/server-behaviour "8"
 */
#pragma once

#include "store/db.h"

/* ---- entries ------------------------------------------------------------------------------------------------------------- */
extern const struct nh_stmt nh_q_audit_add;         /* org, actor kind, actor id, actor name, resource kind, resource id, description, at */
extern const struct nh_stmt nh_q_audit_list;        /* org, kind, id, before id, limit → id, at, actor kind, actor id, actor name, resource kind, resource id, description */
extern const struct nh_stmt nh_q_audit_list_device; /* org, device id, before id, limit: also where the device acted; columns as above, and of the next three */
extern const struct nh_stmt nh_q_audit_list_org;    /* org, before id, limit */
extern const struct nh_stmt nh_q_audit_unsealed;    /* org, limit: the oldest first */
extern const struct nh_stmt nh_q_audit_sealed;      /* org, behind seq, limit: in the chain's order; further columns: seq, hash */
extern const struct nh_stmt nh_q_audit_unsealed_org; /* behind org → the next organization that has unsealed ones */
extern const struct nh_stmt nh_q_audit_seal;        /* seq, hash, id */
extern const struct nh_stmt nh_q_audit_last_seq;    /* org → highest seq of an entry or anchor, or 0 */
extern const struct nh_stmt nh_q_audit_cut;         /* org, up to seq, limit: deletes */
extern const struct nh_stmt nh_q_audit_orgs_of_user; /* user → every organization whose member it is */

/* ---- the chain ------------------------------------------------------------------------------------------------------------ */
extern const struct nh_stmt nh_q_audit_chain_lock;    /* org: holds the row until the end of the transaction */
extern const struct nh_stmt nh_q_audit_chain_get;     /* org → chain, first, from, seq, hash, previous, at, public key, signature, unanchored */
extern const struct nh_stmt nh_q_audit_chain_insert;  /* org, chain, first, from, seq, hash, previous, at, public key, signature */
extern const struct nh_stmt nh_q_audit_chain_update;  /* from, seq, hash, previous, at, public key, signature, unanchored, org */
extern const struct nh_stmt nh_q_audit_chain_due;     /* at → an organization of which something sealed before that is in no anchor */
extern const struct nh_stmt nh_q_audit_anchor_insert; /* org, seq, chain, from, hash, previous, at, public key, signature */
extern const struct nh_stmt nh_q_audit_anchor_list;   /* org, chain, behind seq, limit: the oldest first → chain, from, seq, hash, previous, at, public key, signature */
extern const struct nh_stmt nh_q_audit_anchor_newest; /* org, before seq, limit: of any chain, the newest first */
extern const struct nh_stmt nh_q_audit_anchor_get;    /* org, chain, seq */
extern const struct nh_stmt nh_q_audit_cut_due;       /* at, days where the organization has none of its own, behind org → org, anchor's seq: the next to be cut, and where */
extern const struct nh_stmt nh_q_audit_cut_left;      /* → org, from: one where entries up to from are left to be deleted */

/* ---- keys ------------------------------------------------------------------------------------------------------------------ */
extern const struct nh_stmt nh_q_audit_key_list;   /* → number, public key, sealed seed, inserted at; the newest first */
extern const struct nh_stmt nh_q_audit_key_insert; /* number, public key, sealed seed, at */

extern const struct nh_stmt *const nh_audit_statements[];

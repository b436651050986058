/*
 * Statements of the family of servers on one database: who runs, what they tell each other. Tables: the migration "servers". The texts are in nodes.c.
 * Names and lives are texts; dates are microseconds.
 */
#pragma once

#include "store/db.h"

extern const struct nh_stmt nh_q_node_put;      /* name, life, now, version, url, certificate: from now on this life is the server's; its beat goes on */
extern const struct nh_stmt nh_q_node_beat;     /* now, name, life → changed 0: the row is gone, or another life's */
extern const struct nh_stmt nh_q_node_life;     /* name → life */
extern const struct nh_stmt nh_q_node_list;     /* → name, life, beat, url, certificate, version, started_at, seen_at; by name */
extern const struct nh_stmt nh_q_node_end;      /* name, life, beat → changed 0: it lives after all, or somebody else was first */
extern const struct nh_stmt nh_q_node_delete;   /* name, life ('' = found dead); its messages go with it */

/* Messages: each returns the names of those who are told. */
extern const struct nh_stmt nh_q_node_tell_device; /* kind, subject, name, payload, own name: the server that holds the device, where that is another */
extern const struct nh_stmt nh_q_node_tell_all;    /* the same: every other server */
extern const struct nh_stmt nh_q_node_tell_old;    /* kind, device, own name: the other server that holds the device; the message's name is the connection's id */
extern const struct nh_stmt nh_q_node_take;        /* name, limit: deletes → id, kind, subject, name, payload; in no order */
extern const struct nh_stmt nh_q_node_drop;        /* name: all that is for it */

extern const struct nh_stmt nh_q_node_secret;      /* → fingerprint; no row: never run */
extern const struct nh_stmt nh_q_node_secret_add;  /* fingerprint; changed 0: there is one */
extern const struct nh_stmt nh_q_node_secret_set;  /* fingerprint */

extern const struct nh_stmt *const nh_nodes_statements[];

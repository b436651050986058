/*
 * This server among others on one database. Nothing where that is SQLite: every function is legal then and does nothing. thread: main.
 */
#pragma once

#include "base/err.h"
#include "net/server.h"

struct hubd;

/* nodes_open - after the database, before anything is signed or sealed. NH_EAUTH: its secret is not the database's. NH_EIO. */
nh_rc nodes_open(struct hubd *h, struct nh_err *err);
/* nodes_listener - where other servers' links come in, before the server is opened. NH_ENOTFOUND: nowhere. NH_EINTERNAL. */
nh_rc nodes_listener(struct hubd *h, struct nh_listener *out, struct nh_err *err);
/* nodes_start - once the device endpoint is there, before anybody is served. NH_EIO. */
nh_rc nodes_start(struct hubd *h, struct nh_err *err);
void nodes_stop(struct hubd *h);  /* its thread ends; before the device endpoint is freed */
void nodes_close(struct hubd *h); /* after that, before the database: others learn that this server is gone */

/*
 * The schema of an open database as text, in an order of its own, so that two databases can be compared. For tests and for people.
 * thread: as nh_db_read.
 */
#pragma once

#include "store/db.h"

/* nh_db_schema_put - appends it. What nh_db_read returns. */
nh_rc nh_db_schema_put(struct nh_db *db, struct nh_buf *out, struct nh_err *err);

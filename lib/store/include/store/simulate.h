/*
 * Statements of the simulation: what must hold of the rollout's rows after every transaction, asked of the rows themselves and not of the code that wrote them. Each check
 * answers with the ids of what breaks it, so that no row is good news. Not among the server's statements: lib/simulate opens its database with these besides.
 */
#pragma once

#include "store/db.h"

extern const struct nh_stmt nh_q_check_one_update;      /* → device with more than one update in flight */
extern const struct nh_stmt nh_q_check_group_count;     /* → group whose device_count is not its members' number */
extern const struct nh_stmt nh_q_check_product_count;   /* → product whose device_count is not its live devices' number */
extern const struct nh_stmt nh_q_check_member;          /* → device in a group of another product or organization, or deleted */
extern const struct nh_stmt nh_q_check_online;          /* → device that is connected by one table and not by the other */
extern const struct nh_stmt nh_q_check_inflight_live;   /* → device that is deleted and has an update in flight */
extern const struct nh_stmt nh_q_check_inflight_own;    /* → device with a firmware of another organization or product in flight */
extern const struct nh_stmt nh_q_check_inflight_told;   /* → device whose update in flight has no entry in the audit log */
extern const struct nh_stmt nh_q_check_node_clean;      /* node → device that is connected to it */
extern const struct nh_stmt nh_q_check_connection;      /* device → the connection that it is connected by, and whose */
extern const struct nh_stmt nh_q_check_started;         /* device, firmware's UUID → a row where such an update was ever begun */
extern const struct nh_stmt nh_q_check_delta_fits;      /* device, now → the device, where the delta it is sent is of no use to it, or the one before failed */
extern const struct nh_stmt nh_q_check_delta_source;    /* delta, firmware's UUID → the delta, where it is from another firmware */
extern const struct nh_stmt nh_q_check_outdated;        /* → connected devices that run something else than their active group releases, with nothing in flight */
extern const struct nh_stmt nh_q_check_limits;          /* → group, limit, limit of the priority queue, in flight, in flight in the priority queue */

extern const struct nh_stmt *const nh_simulate_statements[];

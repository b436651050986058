/*
 * What the files of the audit log's routes share. Private to user_api.
 */
#pragma once

#include "api_int.h"

nh_rc read_before(struct call *call, int64_t *out, struct nh_err *err); /* of the query: 0 where it is absent; the refusal is in the call. audit_routes.c */
void export_log(struct call *call); /* answers with the whole log of the organization as lines of JSON, and closes the call. audit_log_routes.c */

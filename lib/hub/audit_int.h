/*
 * What the files of the audit log share. Private to hub.
 */
#pragma once

#include "hub/audit.h"

/* The first columns of each statement that reads entries. audit.c */
void nh_audit_entry_read(const struct nh_rows *rows, struct nh_arena *arena, void *entry);

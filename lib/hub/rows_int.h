/*
 * Rows to structs: growing lists in an arena, and the readers of whole things that several files need. Private to hub.
 */
#pragma once

#include "hub/accounts.h"
#include "hub/devices.h"
#include "hub/products.h"

/* A list that grows in an arena; old copies die with it. */
struct nh_list {
	struct nh_arena *arena;
	void *items;
	size_t count, cap, size;
};

#define NH_LIST_OF(arena_, type) ((struct nh_list){.arena = (arena_), .size = sizeof(type)})
void *nh_list_add(struct nh_list *list); /* a new zeroed item at the end; earlier pointers become stale */

/* nh_list_rows - runs a query and calls read for a new item of each row. */
nh_rc nh_list_rows(struct nh_tx *tx, struct nh_list *list, const struct nh_stmt *stmt, const struct nh_param *params, size_t param_count,
                   void (*read)(const struct nh_rows *rows, struct nh_arena *arena, void *item), struct nh_err *err);
/* nh_one_row - the first row into item; NH_ENOTFOUND "no such WHAT". */
nh_rc nh_one_row(struct nh_tx *tx, struct nh_arena *arena, const struct nh_stmt *stmt, const struct nh_param *params, size_t param_count,
                 void (*read)(const struct nh_rows *rows, struct nh_arena *arena, void *item), void *item, const char *what, struct nh_err *err);

#define NH_USER_COLUMNS 6
void nh_user_read(const struct nh_rows *rows, struct nh_arena *arena, void *user);
/*
 * nh_user_of_credential - whose credential it is: the statement finds a user's columns, the credential's id and when it was used last. *touch (NULL legal): the id where that is to be
 * written anew, once a minute; else 0. NH_EAUTH "unknown". token.c
 */
nh_rc nh_user_of_credential(struct nh_ctx *ctx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, const char *unknown, struct nh_user *out, int64_t *touch,
                            struct nh_err *err);
void nh_device_read(const struct nh_rows *rows, struct nh_arena *arena, void *device);

/*
 * Hash map from bytes to a pointer, keys copied, SipHash-keyed per map so that hostile keys cannot collide on purpose.
 * Values are not owned. thread: one at a time.
 */
#pragma once

#include "base/slice.h"

struct nh_map;
struct nh_map *nh_map_new(void);                                 /* empty, never NULL */
void nh_map_free(struct nh_map *m);                              /* keys and table, not the values; NULL is legal */
void *nh_map_get(const struct nh_map *m, nh_slice key);          /* NULL if absent */
void *nh_map_put(struct nh_map *m, nh_slice key, void *value);   /* value != NULL; returns the value it replaced, or NULL */
void *nh_map_del(struct nh_map *m, nh_slice key);                /* returns the removed value, or NULL */
size_t nh_map_count(const struct nh_map *m);
/* Iterates in no order; *it starts at 0; false at the end. Do not change the map meanwhile. */
bool nh_map_next(const struct nh_map *m, size_t *it, nh_slice *key, void **value);

/*
 * What devices are told of a file so that they can check it: SHA-256 of the whole and of each MiB, upper-case hex. thread: one at a time.
 * source: reference/device-protocol "8.1"; reference/server-behaviour "1.7"
 */
#pragma once

#include "base/arena.h"
#include "base/json.h"

struct nh_file_sums;
struct nh_file_sums *nh_file_sums_new(void); /* never NULL */
void nh_file_sums_free(struct nh_file_sums *s); /* NULL legal */
void nh_file_sums_update(struct nh_file_sums *s, nh_slice bytes);
uint64_t nh_file_sums_size(const struct nh_file_sums *s); /* bytes so far */
/* nh_file_sums_end - *checksum, and *partials as a JSON array's text; both in the arena. Once. */
void nh_file_sums_end(struct nh_file_sums *s, struct nh_arena *arena, nh_slice *checksum, nh_slice *partials);

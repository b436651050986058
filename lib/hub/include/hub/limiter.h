/*
 * Counts events per key in windows of a minute, in a fixed table: an attacker with many keys can only push others' counts out, never use up memory. Keys are hashed under a secret of the
 * process, so nobody can choose whose place to share. One for all doors of a server, so that who is turned away at one does not go on at the next.
 *
 * thread: new and free by main, the others any.
 */
#pragma once

#include "base/slice.h"

struct nh_limiter;

struct nh_limiter *nh_limiter_new(void);            /* never NULL */
void nh_limiter_free(struct nh_limiter *limiter);   /* NULL legal */
/* nh_limiter_allow - counts one of the key, unless per_minute were counted in this minute already: false. A key is always asked with the same per_minute. */
bool nh_limiter_allow(struct nh_limiter *limiter, nh_slice key, unsigned per_minute, int64_t now_us);
void nh_limiter_clear(struct nh_limiter *limiter, nh_slice key); /* begins anew */

/*
 * Finds memory cards: disks that can be taken out and are not the one the system runs from.  source: reference/fwup-format "15.3"
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

#define CARDS_MAX 32

struct card {
	char path[64]; /* "/dev/sdb" */
	uint64_t bytes;
};

/* cards_find - all of them, at most CARDS_MAX, by name. Returns how many. */
size_t cards_find(struct card cards[CARDS_MAX]);
/*
 * cards_choose - the only one. ask: on standard error, answered on standard input; without it there must be an `accept`.
 * NH_ENOTFOUND: none; NH_ECONFLICT: several; NH_EPERM: not confirmed.
 */
nh_rc cards_choose(bool accept, bool ask, struct card *out, struct nh_err *err);

/* Private to the library: an nhl, what its options leave behind, and the machine as the link sees it. */
#pragma once

#include "base/arena.h"
#include "firmware/verify.h"
#include "link/machine.h"
#include "loop/pool.h"
#include "nerveshub-link.h"
#include "options.h"

struct nhl_options {
	struct nh_arena arena;
	char **words; /* as a command line has them; words[0] is the program's name; heap */
	size_t word_count;
	struct nh_link_pair *firmware; /* heap; texts in the arena */
	size_t firmware_count;
	struct nhl_handlers handlers;
	size_t unknown_handlers; /* bytes of handlers behind ours that are not zero */
};

struct nhl {
	struct nh_arena arena;
	struct settings settings;
	struct nhl_handlers handlers;
	struct nh_link_pair *firmware; /* NULL: the machine's disk knows */
	size_t firmware_count;
	bool validated;                /* of `firmware`; [worker] */
	struct nh_machine_config machine_config;
	struct nh_machine *machine;    /* NULL with `firmware` */
	struct nh_link_platform platform;
	struct nh_loop *loop;
	struct nh_pool *pool;
	struct nh_link *link;          /* NULL once closing */
	bool closed, inside;
};

/* nhl_machine.c: fills n->platform. NH_EINVAL: neither a disk nor the running firmware is known, or a half of an installer. */
nh_rc nhl_machine_init(struct nhl *n, struct nh_err *err);
/* nhl_install.c: nh_link_platform's apply_* for the program's own installer. */
nh_rc nhl_install_open(void *ctx, const struct nh_link_offer *offer, void **apply, struct nh_err *err);
nh_rc nhl_install_write(void *apply, nh_slice bytes, unsigned *percent, struct nh_err *err);
nh_rc nhl_install_finish(void *apply, struct nh_err *err);
void nhl_install_abort(void *apply);
/* NULL for an empty slice's pointer becomes "". In the arena. */
struct nhl_offer nhl_offer_of(struct nh_arena *arena, const struct nh_link_offer *offer);
/* What a callback left in why, or `otherwise`. */
const char *nhl_why(const struct nhl_error *why, const char *otherwise);

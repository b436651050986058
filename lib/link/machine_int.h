/*
 * Private to the machine:
 *
 *   machine.c            state, validation, going back, boot, reboot
 *   machine_decide.c     whether and when an offer is taken
 *   machine_apply.c      which installer an archive is for; the built-in one
 *   installer_fwup.c     fwup, fed with framed bytes
 *   installer_tool.c     programs that take a file: rauc, swupdate
 */
#pragma once

#include <sys/types.h>

#include "link/machine.h"

struct nh_machine {
	struct nh_machine_config config;
	char *version;          /* of the installer, once known */
	bool builtin;
};

/* One way to install. All functions run on a worker and may block. */
struct installer {
	const char *name;
	const char *archive;        /* what people call its files; NULL = any that nobody else recognises */
	const char *magics[2];      /* how they begin */
	bool file;                  /* wants the whole file */
	nh_rc (*open)(const struct nh_machine *m, const struct nh_link_offer *offer, void **install, struct nh_err *err);
	nh_rc (*write)(void *install, nh_slice bytes, unsigned *percent, struct nh_err *err);         /* NULL with file */
	nh_rc (*take)(void *install, const char *path, unsigned *percent, struct nh_err *err);        /* only with file; as nh_link_platform.apply_file */
	nh_rc (*finish)(void *install, struct nh_err *err); /* after the last byte */
	void (*free)(void *install); /* also in the middle: the machine must still boot what it runs now. NULL legal */
};
extern const struct installer installer_builtin, installer_fwup, installer_rauc, installer_swupdate;

/* machine_decide.c */
nh_link_decision machine_consider(void *ctx, const struct nh_link_offer *offer, uint64_t *delay_ms, char *reason, size_t size);
/* machine_apply.c */
nh_rc machine_apply_open(void *ctx, const struct nh_link_offer *offer, void **apply, struct nh_err *err);
nh_rc machine_apply_write(void *apply, nh_slice bytes, unsigned *percent, struct nh_err *err);
nh_rc machine_apply_file(void *apply, const char *path, unsigned *percent, struct nh_err *err);
nh_rc machine_apply_finish(void *apply, struct nh_err *err);
void machine_apply_abort(void *apply);
/*
 * installer_fwup.c: a child in a process group of its own. in: the other end of its standard input, a socket, so that writing to one that has gone is no signal; NULL = it has none. out: what it prints,
 * with `errors` also on standard error. Both ends do not block. NH_ENOTFOUND: no such program. NH_EIO.
 */
nh_rc machine_spawn(const char *const *argv, int *in, int *out, bool errors, pid_t *pid, struct nh_err *err);
/* Waits for its end: its status, 128 + N for signal N. */
int machine_reap(pid_t pid);

/*
 * Runs a child program and waits for it: arguments as an array (never a shell), a closed environment where asked, a deadline, capped output.
 * Blocks: call it on a worker or in a command-line program, never on a loop thread. thread: any.
 */
#pragma once

#include "base/buf.h"

struct nh_process {
	const char *const *argv;     /* NULL-terminated; argv[0] is looked up in PATH */
	const char *const *envp;     /* NULL = inherit */
	const char *cwd;             /* NULL = inherit */
	nh_slice stdin_bytes;        /* fed, then closed */
	int stdin_fd;                /* used instead when > 0; borrowed */
	uint64_t timeout_ms;         /* 0 = none; on expiry the child's process group is killed: NH_ETIMEOUT */
	size_t max_output_bytes;     /* per stream; 0 = 1 MiB; beyond it: killed, NH_ETOOBIG */
	/* called for each piece of stdout as it comes, instead of collecting; NULL = collect */
	void (*on_stdout)(void *ctx, nh_slice bytes);
	void *ctx;
};

/* nh_process_run - NH_OK when the child ended by itself: *exit_status is its status (128+N for signal N). NH_ENOTFOUND: no such program. */
nh_rc nh_process_run(const struct nh_process *p, int *exit_status, struct nh_buf *out, struct nh_buf *errout, struct nh_err *err);

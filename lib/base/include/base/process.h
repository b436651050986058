/*
 * Runs a child program and waits for it: arguments as an array (never a shell), a closed environment where asked, a deadline, capped output.
 * Blocks: call it on a worker or in a command-line program, never on a loop thread. thread: any.
 */
#pragma once

#include "base/buf.h"

/* What the child may use, set by the kernel before its first instruction; its own children inherit all of it. 0 = no limit. */
struct nh_process_limits {
	uint64_t memory_bytes;       /* of addresses (RLIMIT_AS): not for programs built with a sanitizer, which reserve terabytes of them */
	uint64_t cpu_s;              /* of processor time */
	uint64_t file_bytes;         /* of any file it writes */
	int nice;                    /* 0 to 19: how much it gives way to others */
	bool no_network;             /* network interfaces of its own, none of which leads anywhere; where the system lets nobody have that, it keeps ours */
};

struct nh_process {
	const char *const *argv;     /* NULL-terminated; argv[0] is looked up in PATH */
	const char *const *envp;     /* NULL = inherit */
	const char *cwd;             /* NULL = inherit */
	nh_slice stdin_bytes;        /* fed, then closed */
	int stdin_fd;                /* used instead when > 0; borrowed */
	uint64_t timeout_ms;         /* 0 = none; on expiry the child's process group is killed: NH_ETIMEOUT */
	const struct nh_process_limits *limits; /* NULL = ours */
	const int *fds;              /* become the child's descriptors 3, 4, …; borrowed */
	size_t fd_count;             /* at most 8 */
	bool dies_with_us;           /* killed when the calling thread ends, however that happens: never left behind by a crash */
	const bool *cancel;          /* atomic, looked at now and then: once true the child's process group is killed, NH_ECLOSED. NULL legal */
	size_t max_output_bytes;     /* per stream; 0 = 1 MiB; beyond it: killed, NH_ETOOBIG */
	/* called for each piece of stdout as it comes, instead of collecting; NULL = collect */
	void (*on_stdout)(void *ctx, nh_slice bytes);
	void *ctx;
};

/* nh_process_run - NH_OK when the child ended by itself: *exit_status is its status (128+N for signal N). NH_ENOTFOUND: no such program. */
nh_rc nh_process_run(const struct nh_process *p, int *exit_status, struct nh_buf *out, struct nh_buf *errout, struct nh_err *err);

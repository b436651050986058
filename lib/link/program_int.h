/*
 * Private to the link: programs that run beside the loop. Unlike base/process.h nothing waits for them: output, end, time limit and output limit come as callbacks. A program has a session
 * and process group of its own, and a pseudo terminal where asked; the group is killed with it.
 *
 * No callback runs inside program_start, and none after on_end or program_stop. thread: the loop's.
 */
#pragma once

#include "base/buf.h"
#include "loop/loop.h"

/* All programs of one owner, so that the owner's end can wait for theirs. */
struct programs {
	struct nh_loop *loop;
	struct program *first;
	void (*on_empty)(void *ctx); /* the last one is gone; may be NULL */
	void *ctx;
};

struct program_end {
	nh_rc rc;        /* NH_OK: ended by itself. NH_ETIMEOUT, NH_ETOOBIG: killed */
	int status;      /* exit status; 128 + N for signal N */
	nh_slice output; /* where collected: all of it, up to the limit */
};

struct program_config {
	const char *const *argv; /* argv[0] is looked up in PATH */
	nh_slice text;           /* where not empty: what the program reads from PROGRAM_TEXT */
	bool login;              /* argv[0] is given with a dash in front, as login shells are */
	bool terminal;           /* input and output are a pseudo terminal, as for a person; else input is empty */
	bool errors_too;         /* standard error is output too; a terminal's always is. Else it is dropped. */
	unsigned rows, columns;  /* of the terminal; 0 = 24, 80 */
	uint64_t timeout_ms;     /* 0 = none */
	size_t output_max;       /* of collected output; 0 = 64 KiB */
	void (*on_output)(void *ctx, nh_slice bytes); /* NULL = collected */
	void (*on_end)(void *ctx, const struct program_end *end);
	void *ctx;
};
#define PROGRAM_TEXT "/proc/self/fd/3"

struct program;
/* NH_ENOTFOUND: no such program. NH_EPERM: not executable. NH_EIO: descriptors, processes, a kernel without pidfd. NH_EAGAIN: too many run. */
nh_rc program_start(struct programs *all, const struct program_config *config, struct program **out, struct nh_err *err);
void program_stop(struct program *p);              /* hangs up and kills; no callback any more. NULL legal */
/* Terminals only: */
void program_write(struct program *p, nh_slice bytes); /* what does not fit into 64 KiB of waiting input is dropped */
void program_resize(struct program *p, unsigned rows, unsigned columns);
void program_read(struct program *p, bool on);     /* off: output stays with the program, which stops once the kernel's buffer is full */
void program_signal(struct program *p, int number); /* to its group, and to the one in the terminal's foreground */
void programs_kill(struct programs *all);          /* all at once; on_empty follows, within five seconds */

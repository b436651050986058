/*
 * Where the archive comes from: a file or standard input, framed or not.
 */
#pragma once

#include "base/buf.h"

struct input {
	const char *path; /* NULL or "-": standard input */
	bool framing;     /* applies to standard input only */
};

/*
 * Passes the input in pieces to feed until it returns an error or done says so or input ends. NH_ENOTFOUND "Failed to open 'P'", NH_EIO, feed's codes.
 * framing: end of file inside the packets is an error, as reference "13.2" says.
 */
nh_rc input_run(const struct input *in, nh_rc (*feed)(void *ctx, nh_slice bytes, struct nh_err *err), bool (*done)(void *ctx), void *ctx,
		struct nh_err *err);

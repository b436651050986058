/*
 * What nh-fwup says, plain or framed: results, messages, progress, errors, the exit handshake. Errors go to standard output, as callers of
 * fwup expect.  source: reference/fwup-format "13"
 */
#pragma once

#include "base/buf.h"

struct output {
	bool framing, numeric, quiet, exit_handshake;
	bool bar;             /* the progress bar is in use: messages clear its line */
	bool progressed;      /* bar or numbers were shown: an error gets a line of its own on standard error first.  source: "13.1" */
	uint64_t in_bytes, out_bytes; /* read of the archive, put out by its task; shown behind the bar */
	struct nh_buf result; /* text of the command, sent at the end */
	uint64_t start_ms;
};

/* "1.54 MB": in the largest unit, powers of 1000, of which there is at least one. */
void output_size_put(char out[32], uint64_t bytes);
void output_message(void *output, const char *text);             /* info(), warnings */
void output_progress(void *output, unsigned percent);
void output_bytes(nh_slice bytes);                               /* straight to standard output */
void output_aside(nh_slice bytes);                               /* to standard error */
/* Reports success or the error, does the handshake; returns the exit status. with_packet: false for create, which sends no OK. */
int output_end(struct output *o, nh_rc rc, const struct nh_err *err, bool with_packet);

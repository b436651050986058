/*
 * nerveshubd build-delta: a process of its own for each delta, since it unpacks and compares what strangers uploaded. It knows no database, no setting and no network; what it may use, its
 * parent's limits say (delta_jobs.c). Not for people, and not in any help.
 *
 * Descriptors 3 and 4 are the source archive and the target. Standard output gets one JSON object: {"outcome", "message", "patches", "required_version", "tool_metadata"}.
 */
#pragma once

#define DELTA_WORKER_WORD "build-delta"
#define DELTA_WORKER_HOPELESS 3 /* exit status: another attempt would end the same way; any other but 0 may be tried again. Why: one line of standard error */

int delta_worker(int argc, char **argv); /* argv[0] is the word. The process's exit status */

/*
 * What each process does for itself from time to time (upkeep.c). What is to be done once, however many servers share a database, is a job (scheduler.h).
 */
#pragma once

#include "hub/certificate_expiry.h"
#include "loop/loop.h"

struct hubd;
struct upkeep;

#define JOB_KINDS_MAX 48
#define LOOPS_MAX 256

/* Of one kind, of all servers of the database. */
struct job_figures {
	int64_t waiting, running, given_up, late_us;
};

struct process_figures {
	int64_t open_fds, resident_bytes, virtual_bytes;
};

/* Whether a loop turns: it is asked, and answers. */
struct beat {
	struct nh_message message; /* the loop's while asked_ms is not 0 */
	uint64_t asked_ms;         /* 0: it has answered */
};

/* What is looked at from time to time, for /metrics and /status; each number atomic. */
struct figures {
	struct nh_expiring_counts expiring;
	struct job_figures jobs[JOB_KINDS_MAX]; /* as scheduler_stats counts kinds */
	struct process_figures process;
	struct beat beats[LOOPS_MAX];
	bool objects_away;
};

nh_rc upkeep_start(struct hubd *h, struct nh_err *err); /* main, after the server was opened. NH_EIO */
void upkeep_stop(struct hubd *h);                       /* main: waits for the task that runs. Legal without a start */

void count_expiring(struct hubd *h); /* retention.c */
void count_jobs(struct hubd *h);     /* scheduler.c */
/* status.c */
void beat_loops(struct hubd *h);
void probe_database(struct hubd *h);
void probe_objects(struct hubd *h);

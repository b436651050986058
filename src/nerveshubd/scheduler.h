/*
 * The scheduler: runs the jobs that lie in the database (hub/jobs.h) on threads of its own. Its table of kinds is all the background work that is done once, however many servers share the
 * database; what each process has to do for itself is upkeep.c's, and mails have a queue of their own (outbound/mail.h).
 */
#pragma once

#include "hub/jobs.h"

struct hubd;
struct scheduler;

/*
 * Where a kind runs. A lane has threads of its own, so that what takes minutes, or waits for somebody else's server, delays nothing else. Within a lane whatever is due for the longest comes first.
 */
typedef enum job_lane {
	LANE_SHORT,   /* milliseconds to seconds: expiry, retention, rounds */
	LANE_LONG,    /* minutes */
	LANE_DELTAS,  /* builds deltas in processes of their own, which the setting delta-workers counts */
	LANE_OUTSIDE, /* waits for others: the object store, webhooks */
	LANE_COUNT,
} job_lane;

/* Where one of a kind is done: opens its own transactions (job_write), ends soon once nh_job_stopping. Any code but NH_OK is a failed attempt, unless the server stops. */
typedef nh_rc (*job_run)(struct hubd *h, const struct nh_job *job, struct nh_err *err);

#define SCHEDULER_THREADS 16 /* of all lanes, and the keeper's, with as many builders of deltas as there may be (DELTA_WORKERS_MAX): as many connections of the database */

nh_rc scheduler_start(struct hubd *h, struct nh_err *err); /* main, once everything that jobs need stands. NH_EIO */
void scheduler_stop(struct hubd *h);                       /* main: asks the running jobs to end, waits for them and gives back what they left. Legal without a start */
void scheduler_free(struct hubd *h);                       /* main: after everything that wakes it is gone */
void scheduler_wake(struct hubd *h, nh_slice kind);        /* any thread: a job of that kind was added. Of an unknown kind, and before the start: nothing */

/* job_write - fn in a write transaction with a context of its own; its effects are carried out after the commit. What nh_db_write returns. */
nh_rc job_write(struct hubd *h, nh_rc (*fn)(struct nh_ctx *ctx, void *arg, struct nh_err *err), void *arg, struct nh_err *err);
/* job_read - the same in a read transaction; effects that a rule leaves in it are carried out, too. */
nh_rc job_read(struct hubd *h, nh_rc (*fn)(struct nh_ctx *ctx, void *arg, struct nh_err *err), void *arg, struct nh_err *err);

/* What ran since the start, by kind: for metrics. Any thread. */
struct job_stats {
	const char *kind;
	uint64_t done, failed, given_up; /* attempts that went well, that did not, and jobs that ended with one of those */
	uint64_t busy_us;                /* in all */
	uint64_t running;                /* now */
};
size_t scheduler_kinds(void);
void scheduler_stats(const struct hubd *h, size_t kind, struct job_stats *out); /* kind: from 0 */

/* rounds.c */
nh_rc job_rounds(struct hubd *h, const struct nh_job *job, struct nh_err *err);
nh_rc job_reminders(struct hubd *h, const struct nh_job *job, struct nh_err *err);
nh_rc job_expiry(struct hubd *h, const struct nh_job *job, struct nh_err *err);

/* rollout_jobs.c */
nh_rc job_rollout_wave(struct hubd *h, const struct nh_job *job, struct nh_err *err);
nh_rc job_rollout_due(struct hubd *h, const struct nh_job *job, struct nh_err *err);

/* membership_job.c */
nh_rc job_membership(struct hubd *h, const struct nh_job *job, struct nh_err *err);

/* retention.c */
nh_rc job_telemetry(struct hubd *h, const struct nh_job *job, struct nh_err *err);
nh_rc job_files(struct hubd *h, const struct nh_job *job, struct nh_err *err);
nh_rc job_links(struct hubd *h, const struct nh_job *job, struct nh_err *err);
nh_rc job_webhooks(struct hubd *h, const struct nh_job *job, struct nh_err *err);
nh_rc job_deleted_devices(struct hubd *h, const struct nh_job *job, struct nh_err *err);
nh_rc job_sweep(struct hubd *h, const struct nh_job *job, struct nh_err *err);
nh_rc job_certificates(struct hubd *h, const struct nh_job *job, struct nh_err *err);

/* audit_jobs.c */
nh_rc job_audit_log(struct hubd *h, const struct nh_job *job, struct nh_err *err);
nh_rc job_audit_retention(struct hubd *h, const struct nh_job *job, struct nh_err *err);

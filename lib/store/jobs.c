/*
 * Texts of the jobs family (see store/jobs.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/jobs.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

/* One that runs may have begun before what it is added for: it runs once more. One that pauses after a failure goes on pausing; one given up gets all its attempts again. */
STMT(job_add,
     "INSERT INTO jobs (kind, key, payload, due_at, ready_at, inserted_at) VALUES ($1, $2, $3, $4, $4, $5) ON CONFLICT (kind, key) DO UPDATE SET payload = excluded.payload, "
     "again_at = CASE WHEN jobs.node = '' THEN NULL WHEN jobs.again_at < excluded.due_at THEN jobs.again_at ELSE excluded.due_at END, "
     "due_at = CASE WHEN jobs.node = '' AND (jobs.failed_at IS NOT NULL OR excluded.due_at < jobs.due_at) THEN excluded.due_at ELSE jobs.due_at END, "
     "ready_at = CASE WHEN jobs.node = '' AND (jobs.failed_at IS NOT NULL OR (jobs.last_error IS NULL AND excluded.due_at < jobs.ready_at)) THEN excluded.due_at ELSE jobs.ready_at END, "
     "attempts = CASE WHEN jobs.failed_at IS NULL THEN jobs.attempts ELSE 0 END, last_error = CASE WHEN jobs.failed_at IS NULL THEN jobs.last_error END, failed_at = NULL");
STMT(job_ensure, "INSERT INTO jobs (kind, key, due_at, ready_at, inserted_at) VALUES ($1, '', $2, $2, $3) ON CONFLICT (kind, key) DO UPDATE SET due_at = $4, ready_at = $4 "
                 "WHERE jobs.node = '' AND jobs.ready_at > $4");

/* Of two that choose the same row the later one finds it claimed. Kinds that this program does not know are left to one that does. */
STMT(job_claim, "UPDATE jobs SET node = $1, ready_at = $2, started_at = $3, again_at = NULL, attempts = attempts + 1, claims = claims + 1 WHERE ready_at <= $3 AND id = "
                "(SELECT id FROM jobs WHERE failed_at IS NULL AND ready_at <= $3 AND CAST($4 AS TEXT) LIKE '% ' || kind || ' %' ORDER BY ready_at, id LIMIT 1) "
                "RETURNING id, kind, key, payload, due_at, attempts, claims");
STMT(job_next, "SELECT ready_at FROM jobs WHERE failed_at IS NULL AND CAST($1 AS TEXT) LIKE '% ' || kind || ' %' ORDER BY ready_at, id LIMIT 1");
STMT(job_renew, "UPDATE jobs SET ready_at = $1 WHERE id = $2 AND claims = $3 AND node <> ''");
STMT(job_again, "UPDATE jobs SET node = '', due_at = again_at, ready_at = again_at, again_at = NULL, attempts = 0, last_error = NULL WHERE id = $1 AND claims = $2 AND again_at IS NOT NULL");
STMT(job_delete, "DELETE FROM jobs WHERE id = $1 AND claims = $2");
STMT(job_schedule, "UPDATE jobs SET node = '', due_at = $1, ready_at = $1, again_at = NULL, attempts = 0, last_error = NULL WHERE id = $2 AND claims = $3");
STMT(job_pause, "UPDATE jobs SET node = '', ready_at = $1, last_error = $2, again_at = NULL WHERE id = $3 AND claims = $4");
STMT(job_give_up, "UPDATE jobs SET node = '', failed_at = $1, last_error = $2 WHERE id = $3 AND claims = $4");
STMT(job_release, "UPDATE jobs SET node = '', ready_at = $1, again_at = NULL, attempts = attempts - 1 WHERE id = $2 AND claims = $3");
STMT(job_recover, "UPDATE jobs SET node = '', ready_at = $1, again_at = NULL WHERE node = $2");

STMT(job_counts, "SELECT kind, SUM(CASE WHEN failed_at IS NULL AND node = '' THEN 1 ELSE 0 END), SUM(CASE WHEN node <> '' THEN 1 ELSE 0 END), "
                 "SUM(CASE WHEN failed_at IS NULL THEN 0 ELSE 1 END), MIN(CASE WHEN failed_at IS NULL AND ready_at <= $1 THEN ready_at END) FROM jobs GROUP BY kind ORDER BY kind");

const struct nh_stmt *const nh_jobs_statements[] = {
	&nh_q_job_add, &nh_q_job_ensure, &nh_q_job_claim, &nh_q_job_next, &nh_q_job_renew, &nh_q_job_again, &nh_q_job_delete, &nh_q_job_schedule, &nh_q_job_pause,
	&nh_q_job_give_up, &nh_q_job_release, &nh_q_job_recover, &nh_q_job_counts,
	NULL,
};

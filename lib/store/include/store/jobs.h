/*
 * Statements of the jobs family: work that the server owes itself. Table: db/migrations/0012-jobs.sql. The texts, with the columns in order, are in jobs.c. Dates are microseconds.
 */
#pragma once

#include "store/db.h"

extern const struct nh_stmt nh_q_job_add;      /* kind, key, payload, due, at: where one waits it comes no later; one that runs, runs again; one given up begins anew */
extern const struct nh_stmt nh_q_job_ensure;   /* kind, first due, at, latest due: a periodic row; an existing one that is due later than the latest comes then */
extern const struct nh_stmt nh_q_job_claim;    /* node, lease's end, now, " kind kind … " → id, kind, key, payload, due, attempts, claims */
extern const struct nh_stmt nh_q_job_next;     /* " kind kind … " → when the next may be claimed; no row where none waits */
extern const struct nh_stmt nh_q_job_renew;    /* lease's end, id, claims → changed 0: somebody else has it */
extern const struct nh_stmt nh_q_job_again;    /* id, claims → changed 1: it was added meanwhile and waits again */
extern const struct nh_stmt nh_q_job_delete;   /* id, claims */
extern const struct nh_stmt nh_q_job_schedule; /* due, id, claims: the next time of a periodic one */
extern const struct nh_stmt nh_q_job_pause;    /* ready at, error, id, claims */
extern const struct nh_stmt nh_q_job_give_up;  /* at, error, id, claims */
extern const struct nh_stmt nh_q_job_release;  /* now, id, claims: as if it had not been claimed */
extern const struct nh_stmt nh_q_job_recover;  /* now, node: what this server's last run left */
extern const struct nh_stmt nh_q_job_counts;   /* now → kind, waiting, running, given up, oldest ready at that is overdue or null */

extern const struct nh_stmt *const nh_jobs_statements[];

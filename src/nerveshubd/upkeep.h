/*
 * What each process does for itself from time to time (upkeep.c). What is to be done once, however many servers share a database, is a job (scheduler.h).
 */
#pragma once

#include "hub/certificate_expiry.h"

struct hubd;
struct upkeep;

/* What is counted in the database for /metrics; each figure atomic. */
struct figures {
	struct nh_expiring_counts expiring;
};

nh_rc upkeep_start(struct hubd *h, struct nh_err *err); /* main, after the server was opened. NH_EIO */
void upkeep_stop(struct hubd *h);                       /* main: waits for the task that runs. Legal without a start */

void count_expiring(struct hubd *h); /* retention.c */

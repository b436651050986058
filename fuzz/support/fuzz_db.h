/*
 * A real SQLite database for targets whose code opens transactions by itself. It is furnished once; then each input is played inside one write
 * transaction that is rolled back, so that every input meets the same world. What the code under test opens meanwhile becomes a savepoint of it.
 *
 * The functions of the world (tests/unit/hub/rollout_pki.h) come with it. thread: inputs are played on the database's writer thread.
 */
#pragma once

#include "rollout_pki.h"

/* fuzz_db_open - the database, furnished by furnish (committed); w stays in use as long as the database. Aborts where that fails. */
struct nh_db *fuzz_db_open(struct world *w, nh_rc (*furnish)(struct world *w, struct nh_err *err));
/* fuzz_db_play - runs play; what it changed is gone afterwards. Nested nh_db_read and nh_db_write only from inside. */
void fuzz_db_play(struct nh_db *db, void (*play)(void *arg), void *arg);

/*
 * Puts a driver of its own in front of SQLite's (fuzz_db.h): while an input is played, reads and writes run inside the transaction that is open already.
 */
#include "fuzz.h"

#include "fuzz_db.h"

#include "base/log.h"
#include "db_int.h"

static const struct nh_driver *engine;
static struct nh_driver nesting;
static struct nh_tx *playing;
static bool inside; /* a nested transaction is open: a second one would wait for the first, in the real store for ever */

static nh_rc nested_read(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	FUZZ_CHECK(playing && !inside, "a transaction inside a transaction");
	inside = true;
	nh_rc rc = fn(playing, arg, err);
	nh_tx_end_rows(playing);
	inside = false;
	return rc;
}

static nh_rc nested_write(struct nh_db *db, nh_tx_fn fn, void *arg, struct nh_err *err)
{
	NH_TRY(engine->script(playing, "SAVEPOINT nested", err));
	nh_rc rc = nested_read(db, fn, arg, err);
	nh_rc end = engine->script(playing, rc == NH_OK ? "RELEASE nested" : "ROLLBACK TO nested; RELEASE nested", NULL);
	FUZZ_CHECK(end == NH_OK, "%s", nh_rc_name(end));
	return rc;
}

struct play {
	void (*fn)(void *arg);
	void *arg;
};

static nh_rc play_and_forget(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	const struct play *p = arg;
	playing = tx;
	p->fn(p->arg);
	playing = NULL;
	return NH_ECONFLICT; /* any code but NH_OK rolls back */
}

void fuzz_db_play(struct nh_db *db, void (*play)(void *arg), void *arg)
{
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = engine->write(db, play_and_forget, &(struct play){play, arg}, &err);
	FUZZ_CHECK(rc == NH_ECONFLICT, "%s %s", nh_rc_name(rc), err.msg);
}

struct nh_db *fuzz_db_open(struct world *w, nh_rc (*furnish)(struct world *w, struct nh_err *err))
{
	nh_log_set_level(NH_LOG_ERROR);
	struct nh_db *db = testdb_open(0);
	struct scenario scenario = {w, furnish};
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = nh_db_write(db, run_scenario, &scenario, &err);
	FUZZ_CHECK(rc == NH_OK, "%s %s", nh_rc_name(rc), err.msg);
	engine = db->driver;
	nesting = *engine;
	nesting.read = nested_read;
	nesting.write = nested_write;
	db->driver = &nesting;
	return db;
}

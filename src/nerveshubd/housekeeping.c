/*
 * What has to be done from time to time though nobody asks: the end of what devices told too long ago and of files that nobody uses, and the sweep of loose objects. A timer on the
 * server's first loop gives the work to a worker; one at a time.
 */
#include <semaphore.h>

#include "base/log.h"
#include "hub/extensions.h"
#include "hub/invites.h"
#include "hub/sessions.h"
#include "hub/firmware.h"
#include "hubd.h"

#define DAY_US (INT64_C(86400) * NH_US_PER_S)
#define EXPIRY_EVERY_MS UINT64_C(3600000)
#define FIRST_AFTER_MS 1000 /* a server that is started anew every day gets to it, too */

static void sweep(struct hubd *h)
{
	struct nh_err err = NH_ERR_INIT;
	size_t deleted = 0;
	nh_rc rc = nh_user_api_sweep(h->user_api, &deleted, &err);
	if (deleted > 0)
		NH_LOG(NH_LOG_INFO, "objects.swept", NH_I("deleted", deleted));
	if (rc != NH_OK)
		NH_LOG(NH_LOG_WARN, "objects.sweep_failed", NH_STR("why", err.msg));
}

/* ---- what is kept for a time only ------------------------------------------------------------------------------------------ */

static nh_rc telemetry(struct nh_ctx *ctx, const struct settings *s, size_t *rows, struct nh_err *err)
{
	const struct nh_retention keep = {.health_days = (unsigned)s->health_days, .log_days = (unsigned)s->log_days, .connection_days = (unsigned)s->connection_days};
	return nh_telemetry_trim(ctx, &keep, rows, err);
}

/* The sweep, which comes after it, deletes the objects. */
static nh_rc files(struct nh_ctx *ctx, const struct settings *s, size_t *rows, struct nh_err *err)
{
	const struct nh_file_retention keep = {.days = (unsigned)s->firmware_days, .newest = (unsigned)s->firmware_newest};
	return nh_files_trim(ctx, &keep, rows, err);
}

static nh_rc links(struct nh_ctx *ctx, const struct settings *s, size_t *rows, struct nh_err *err)
{
	int64_t deleted = 0;
	NH_TRY(nh_invites_trim(ctx, err));
	NH_TRY(nh_tickets_trim(ctx, &deleted, err));
	*rows = (size_t)deleted;
	return NH_OK;
}

struct trim {
	struct hubd *h;
	nh_rc (*some)(struct nh_ctx *ctx, const struct settings *s, size_t *rows, struct nh_err *err);
	size_t rows;
};

static nh_rc trim_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct trim *t = arg;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_effects effects = {0};
	struct nh_ctx ctx = {.tx = tx, .arena = &arena, .clock = &nh_clock_system, .rng = &nh_rng_system, .config = &t->h->hub, .effects = &effects};
	return t->some(&ctx, t->h->settings, &t->rows, err);
}

/* One short transaction after the other, so that devices do not wait, until nothing is left or the server stops. */
static void trim(struct hubd *h, const char *what, nh_rc (*some)(struct nh_ctx *, const struct settings *, size_t *, struct nh_err *))
{
	struct nh_err err = NH_ERR_INIT;
	struct trim t = {.h = h, .some = some};
	size_t rows = 0;
	nh_rc rc;
	do {
		rc = nh_db_write(h->db, trim_tx, &t, &err);
		rows += rc == NH_OK ? t.rows : 0;
	} while (rc == NH_OK && t.rows > 0 && !__atomic_load_n(&h->housekeeping.stopping, __ATOMIC_ACQUIRE));
	if (rows > 0)
		NH_LOG(NH_LOG_INFO, "retention.trimmed", NH_STR("what", what), NH_I("rows", rows));
	if (rc != NH_OK && !nh_rc_outage(rc))
		NH_LOG(NH_LOG_WARN, "retention.failed", NH_STR("what", what), NH_STR("why", err.msg));
}

struct expiry {
	struct hubd *h;
	struct nh_expiring_counts counts;
};

static nh_rc expiry_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct expiry *e = arg;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx ctx = {.tx = tx, .arena = &arena, .clock = &nh_clock_system, .rng = &nh_rng_system, .config = &e->h->hub};
	return nh_expiring_count(&ctx, (unsigned)e->h->settings->certificate_warn_days, &e->counts, err);
}

/* Counts what ends soon once an hour, and tells of it once a day: nobody notices a certificate before it is over. */
static void count_expiring(struct hubd *h)
{
	struct housekeeping *k = &h->housekeeping;
	struct expiry e = {.h = h};
	uint64_t now_ms = nh_mono_ms();
	int64_t now_us = nh_now_us(), warn_us = (int64_t)h->settings->certificate_warn_days * DAY_US;
	if (k->expiry_mono_ms && now_ms - k->expiry_mono_ms < EXPIRY_EVERY_MS)
		return;
	if (nh_db_read(h->db, expiry_tx, &e, NULL) != NH_OK)
		return; /* an outage is told where it is noticed; the next round comes in a minute */
	k->expiry_mono_ms = now_ms;
	__atomic_store_n(&k->expiring.issued, e.counts.issued, __ATOMIC_RELAXED);
	__atomic_store_n(&k->expiring.cas, e.counts.cas, __ATOMIC_RELAXED);
	__atomic_store_n(&k->expiring.devices, e.counts.devices, __ATOMIC_RELAXED);
	int64_t authority_us = h->authority ? nh_authority_cert(h->authority)->not_after_us : INT64_MAX;
	bool any = e.counts.issued + e.counts.cas + e.counts.devices > 0 || authority_us - now_us < warn_us;
	if (!any || (k->expiry_warned_us && now_us - k->expiry_warned_us < DAY_US))
		return;
	k->expiry_warned_us = now_us;
	NH_LOG(NH_LOG_WARN, "certificates.expiring", NH_I("within_days", h->settings->certificate_warn_days), NH_I("issued", e.counts.issued), NH_I("cas", e.counts.cas),
	       NH_I("devices", e.counts.devices), NH_I("authority", authority_us - now_us < warn_us));
}

static void run(void *worker, struct nh_work *work)
{
	struct hubd *h = (struct hubd *)(void *)((char *)work - offsetof(struct hubd, housekeeping.work));
	nh_objects_tend(h->objects);
	trim(h, "telemetry", telemetry);
	trim(h, "files", files);
	trim(h, "sessions and links", links);
	sweep(h);
	count_expiring(h);
	__atomic_store_n(&h->housekeeping.running, false, __ATOMIC_RELEASE);
}

static void on_tick(void *arg)
{
	struct hubd *h = arg;
	if (__atomic_exchange_n(&h->housekeeping.running, true, __ATOMIC_ACQ_REL))
		return;
	h->housekeeping.work = (struct nh_work){.run = run};
	if (nh_work_submit(h->pool, NULL, &h->housekeeping.work) != NH_OK)
		__atomic_store_n(&h->housekeeping.running, false, __ATOMIC_RELEASE); /* busy: the next tick */
}

static void start_on_loop(void *arg)
{
	struct hubd *h = arg;
	h->housekeeping.timer = nh_timer_new(nh_server_loop(h->server, 0), on_tick, h);
	nh_timer_start(h->housekeeping.timer, FIRST_AFTER_MS, NH_USER_API_SWEEP_EVERY_MS);
}

nh_rc housekeeping_start(struct hubd *h, struct nh_err *err)
{
	nh_rc rc = nh_loop_post(nh_server_loop(h->server, 0), start_on_loop, h);
	return rc == NH_OK ? NH_OK : NH_FAIL(err, rc, "cannot start the timer of housekeeping");
}

struct stop {
	struct hubd *h;
	sem_t done;
};

static void stop_on_loop(void *arg)
{
	struct stop *stop = arg;
	nh_timer_close(stop->h->housekeeping.timer);
	stop->h->housekeeping.timer = NULL;
	sem_post(&stop->done);
}

void housekeeping_stop(struct hubd *h)
{
	struct stop stop = {.h = h};
	struct nh_message message = {.fn = stop_on_loop, .arg = &stop};
	sem_init(&stop.done, 0, 0);
	__atomic_store_n(&h->housekeeping.stopping, true, __ATOMIC_RELEASE);
	nh_loop_send(nh_server_loop(h->server, 0), &message);
	while (sem_wait(&stop.done) != 0)
		continue;
	sem_destroy(&stop.done);
}

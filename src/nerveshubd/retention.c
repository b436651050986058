/*
 * Jobs of retention: the end of what devices told too long ago, of files that nobody uses, of links and sessions; the sweep of loose objects; and the daily word about certificates that end soon.
 */
#include "base/log.h"
#include "hub/devices.h"
#include "hub/extensions.h"
#include "hub/firmware.h"
#include "hub/invites.h"
#include "hub/sessions.h"
#include "hub/webhooks.h"
#include "hubd.h"
#include "scheduler.h"

#define DAY_US (INT64_C(86400) * NH_US_PER_S)

/* ---- what is kept for a time only ------------------------------------------------------------------------------------------ */

/* One short piece of the work; rows: how many went, 0 = nothing is left. */
struct trim {
	const struct settings *s;
	size_t rows;
};

static nh_rc telemetry(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct trim *t = arg;
	const struct nh_retention keep = {.health_days = (unsigned)t->s->health_days, .log_days = (unsigned)t->s->log_days, .connection_days = (unsigned)t->s->connection_days};
	return nh_telemetry_trim(ctx, &keep, &t->rows, err);
}

/* The sweep, which comes after it, deletes the objects. */
static nh_rc files(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct trim *t = arg;
	const struct nh_file_retention keep = {.days = (unsigned)t->s->firmware_days, .newest = (unsigned)t->s->firmware_newest};
	return nh_files_trim(ctx, &keep, &t->rows, err);
}

static nh_rc links(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct trim *t = arg;
	int64_t deleted = 0;
	NH_TRY(nh_invites_trim(ctx, err));
	NH_TRY(nh_tickets_trim(ctx, &deleted, err));
	t->rows = (size_t)deleted;
	return NH_OK;
}

static nh_rc webhooks(struct nh_ctx *ctx, void *arg, struct nh_err *err) { return nh_webhooks_trim(ctx, &((struct trim *)arg)->rows, err); }

/* One short transaction after the other, so that devices do not wait, until nothing is left or the server stops. */
static nh_rc trim(struct hubd *h, const struct nh_job *job, nh_rc (*some)(struct nh_ctx *ctx, void *arg, struct nh_err *err), struct nh_err *err)
{
	struct trim t = {.s = h->settings};
	size_t rows = 0;
	nh_rc rc;
	do {
		rc = job_write(h, some, &t, err);
		rows += rc == NH_OK ? t.rows : 0;
	} while (rc == NH_OK && t.rows > 0 && !nh_job_stopping(job));
	if (rows > 0)
		NH_LOG(NH_LOG_INFO, "retention.trimmed", NH_S("what", job->kind), NH_I("rows", rows));
	return rc;
}

nh_rc job_telemetry(struct hubd *h, const struct nh_job *job, struct nh_err *err) { return trim(h, job, telemetry, err); }
nh_rc job_files(struct hubd *h, const struct nh_job *job, struct nh_err *err) { return trim(h, job, files, err); }
nh_rc job_links(struct hubd *h, const struct nh_job *job, struct nh_err *err) { return trim(h, job, links, err); }
nh_rc job_webhooks(struct hubd *h, const struct nh_job *job, struct nh_err *err) { return trim(h, job, webhooks, err); }

static nh_rc deleted_devices(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct trim *t = arg;
	return nh_deleted_devices_trim(ctx, &t->rows, err);
}

nh_rc job_deleted_devices(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	return h->settings->clean_up_deleted_devices ? trim(h, job, deleted_devices, err) : NH_OK;
}

/* ---- objects that nobody names --------------------------------------------------------------------------------------------- */

nh_rc job_sweep(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	size_t deleted = 0;
	nh_rc rc = nh_user_api_sweep(h->user_api, &deleted, err);
	if (deleted > 0)
		NH_LOG(NH_LOG_INFO, "objects.swept", NH_I("deleted", deleted));
	return rc;
}

/* ---- certificates ----------------------------------------------------------------------------------------------------------- */

struct expiry {
	const struct settings *s;
	struct nh_expiring_counts counts;
};

static nh_rc count(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct expiry *e = arg;
	return nh_expiring_count(ctx, (unsigned)e->s->certificate_warn_days, &e->counts, err);
}

struct telling {
	unsigned days;
	int64_t after, next;
};

static nh_rc tell(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct telling *t = arg;
	return nh_expiring_tell(ctx, t->days, t->after, &t->next, err);
}

static nh_rc tell_organizations(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	struct telling t = {.days = (unsigned)h->settings->certificate_warn_days};
	do {
		NH_TRY(job_write(h, tell, &t, err));
		t.after = t.next;
	} while (t.next && !nh_job_stopping(job));
	return NH_OK;
}

/* Nobody notices a certificate before it is over. */
nh_rc job_certificates(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	struct expiry e = {.s = h->settings};
	int64_t warn_us = (int64_t)h->settings->certificate_warn_days * DAY_US;
	int64_t authority_us = h->authority ? nh_authority_cert(h->authority)->not_after_us - nh_now_us() : INT64_MAX;
	NH_TRY(job_read(h, count, &e, err));
	if (e.counts.issued + e.counts.cas + e.counts.devices > 0 || authority_us < warn_us)
		NH_LOG(NH_LOG_WARN, "certificates.expiring", NH_I("within_days", h->settings->certificate_warn_days), NH_I("issued", e.counts.issued), NH_I("cas", e.counts.cas),
		       NH_I("devices", e.counts.devices), NH_I("authority", authority_us < warn_us));
	return tell_organizations(h, job, err);
}

void count_expiring(struct hubd *h)
{
	struct expiry e = {.s = h->settings};
	if (job_read(h, count, &e, NULL) != NH_OK)
		return; /* an outage is told where it is noticed; the figures stay as they were */
	__atomic_store_n(&h->figures.expiring.issued, e.counts.issued, __ATOMIC_RELAXED);
	__atomic_store_n(&h->figures.expiring.cas, e.counts.cas, __ATOMIC_RELAXED);
	__atomic_store_n(&h->figures.expiring.devices, e.counts.devices, __ATOMIC_RELAXED);
}

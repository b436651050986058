/*
 * Jobs of the audit log: entries are sealed within seconds, once a day an anchor is signed and told to the log of this server, and what is older than it has to be kept is cut off (hub/audit_chain.h).
 */
#include "base/encode.h"
#include "base/log.h"
#include "hub/audit_chain.h"
#include "hubd.h"
#include "scheduler.h"

#define DAY_US (INT64_C(86400) * NH_US_PER_S)

struct step {
	int64_t org_id, before_us, skip;
	unsigned days;
	size_t count;
	struct nh_chain_statement anchor;
};

/* ---- sealing --------------------------------------------------------------------------------------------------------------- */

static nh_rc any_key(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct nh_audit_key *keys;
	return nh_audit_key_list(ctx, &keys, &((struct step *)arg)->count, err);
}

static nh_rc make_key(struct nh_ctx *ctx, void *arg, struct nh_err *err) { return nh_audit_key_ensure(ctx, err); }

static nh_rc next_unsealed(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct step *s = arg;
	return nh_audit_unsealed_org(ctx, s->org_id, &s->org_id, err);
}

static nh_rc seal(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct step *s = arg;
	return nh_audit_seal(ctx, s->org_id, &s->count, err);
}

/* What one organization's chain refuses keeps no other from being sealed; it is said when all are done. */
static nh_rc seal_all(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	struct step s = {0};
	nh_rc rc, refused = NH_OK;
	while (!nh_job_stopping(job) && (rc = job_read(h, next_unsealed, &s, err)) == NH_OK) {
		struct nh_err why = NH_ERR_INIT;
		do {
			rc = job_write(h, seal, &s, &why);
		} while (rc == NH_OK && s.count == NH_AUDIT_SEAL_MAX && !nh_job_stopping(job));
		if (rc == NH_EAUTH) {
			NH_LOG(NH_LOG_ERROR, "audit.altered", NH_I("org", s.org_id), NH_STR("why", why.msg));
			refused = NH_EAUTH;
		} else if (rc != NH_OK) {
			return NH_FAIL(err, rc, "%s", why.msg);
		}
	}
	return refused ? NH_FAIL(err, refused, "the audit log of an organization was changed in the database: see audit.altered") : NH_OK;
}

/* ---- anchors --------------------------------------------------------------------------------------------------------------- */

static nh_rc next_unanchored(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct step *s = arg;
	return nh_audit_unanchored_org(ctx, s->before_us, &s->org_id, err);
}

static nh_rc anchor(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct step *s = arg;
	return nh_audit_anchor(ctx, s->org_id, &s->anchor, err);
}

/* All of a statement: who keeps this log elsewhere has kept the anchor. */
static void tell(const struct nh_chain_statement *a)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_AUTO_JSON json_t *line = nh_chain_statement_json(a);
	nh_json_put(&text, line);
	NH_LOG(NH_LOG_INFO, "audit.anchor", NH_I("org", a->org_id), NH_I("seq", a->seq), NH_S("statement", nh_buf_slice(&text)));
}

/* An anchor is due once a day (UTC) has ended since something was sealed. */
static nh_rc anchor_all(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	int64_t every_us = DAY_US / (int64_t)h->settings->job_speed;
	struct step s = {.before_us = nh_now_us() / every_us * every_us};
	nh_rc rc = NH_OK;
	while (rc == NH_OK && !nh_job_stopping(job) && (rc = job_read(h, next_unanchored, &s, err)) == NH_OK) {
		rc = job_write(h, anchor, &s, err);
		if (rc == NH_OK)
			tell(&s.anchor);
	}
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

nh_rc job_audit_log(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	struct step s = {0};
	NH_TRY(job_read(h, any_key, &s, err));
	if (s.count == 0)
		NH_TRY(job_write(h, make_key, &s, err));
	NH_TRY(seal_all(h, job, err));
	return anchor_all(h, job, err);
}

/* ---- retention ------------------------------------------------------------------------------------------------------------- */

static nh_rc cut(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct step *s = arg;
	return nh_audit_trim(ctx, s->days, &s->skip, &s->count, err);
}

nh_rc job_audit_retention(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	struct step s = {.days = h->settings->truncate_audit_logs ? (unsigned)h->settings->audit_log_days : 0};
	size_t rows = 0;
	nh_rc rc;
	do {
		rc = job_write(h, cut, &s, err);
		rows += rc == NH_OK ? s.count : 0;
	} while ((rc == NH_EAUTH || (rc == NH_OK && s.count > 0)) && !nh_job_stopping(job)); /* sealing tells of a log that was changed */
	if (rows > 0)
		NH_LOG(NH_LOG_INFO, "retention.trimmed", NH_STR("what", "audit log"), NH_I("rows", rows));
	return rc;
}

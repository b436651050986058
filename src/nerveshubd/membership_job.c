/*
 * The job "membership": takes into a deployment group what matches, or lets go what does not, page by page. See hub/membership.h.
 */
#include "base/log.h"
#include "hub/membership.h"
#include "scheduler.h"

static nh_rc page(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct nh_membership *m = arg;
	struct nh_membership next = *m; /* a collision repeats the whole transaction */
	NH_TRY(nh_membership_carry_out(ctx, &next, err));
	*m = next;
	return NH_OK;
}

static nh_rc finish(struct nh_ctx *ctx, void *arg, struct nh_err *err) { return nh_membership_finish(ctx, arg, err); }

/* A server that stops leaves the rest to the next run, which finds done what was done. */
nh_rc job_membership(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	struct nh_membership m;
	nh_rc rc = nh_membership_job_read(job->key, &m, err);
	while (rc == NH_OK && !m.done && !nh_job_stopping(job))
		rc = job_write(h, page, &m, err);
	if (rc == NH_ENOTFOUND)
		return NH_OK; /* the group was deleted */
	NH_TRY(rc);
	NH_LOG(NH_LOG_INFO, "membership.changed", NH_S("what", job->key), NH_I("devices", m.changed), NH_I("looked_at", m.looked_at));
	NH_TRY(job_write(h, finish, &m, err));
	return m.done ? NH_OK : NH_FAIL(err, NH_ECLOSED, "the server stops");
}

/*
 * Jobs of rollouts that come by the clock: all active groups are looked at, updates that nobody heard of are sent again, overdue ones end. What happens at once is the device API's, which each
 * join and change wakes (device_api/rollout.c).
 *
 * source: reference/server-behaviour "3.8", "3.9"
 */
#include "base/log.h"
#include "hub/orchestrator.h"
#include "hubd.h"
#include "scheduler.h"

#define GROUPS_PER_PAGE 256
#define EXPIRY_EVEN_MS (35 * 60 * 1000) /* the updates' own half hour, and a round */

struct page {
	int64_t after_id;
	size_t count;
};

/* The groups are woken one by one, as by everything else that wakes them. */
static nh_rc wake_page(struct nh_ctx *ctx, void *arg, struct nh_err *err)
{
	struct page *page = arg;
	int64_t ids[GROUPS_PER_PAGE];
	NH_TRY(nh_orchestrator_groups(ctx, page->after_id, ids, GROUPS_PER_PAGE, &page->count, err));
	for (size_t i = 0; i < page->count; i++) {
		nh_effect_add(ctx, NH_EFFECT_GROUP_WAKE, ids[i], NH_SLICE_EMPTY, NH_SLICE_EMPTY);
		page->after_id = ids[i];
	}
	return NH_OK;
}

nh_rc job_rounds(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	struct page page = {0};
	do {
		NH_TRY(job_read(h, wake_page, &page, err));
	} while (page.count == GROUPS_PER_PAGE && !nh_job_stopping(job));
	return NH_OK;
}

static nh_rc remind(struct nh_ctx *ctx, void *arg, struct nh_err *err) { return nh_orchestrator_remind(ctx, arg, err); }

nh_rc job_reminders(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	size_t reminded = 0;
	NH_TRY(job_write(h, remind, &reminded, err)); /* it reads, but leaves reminders for devices of other servers */
	if (reminded > 0)
		NH_LOG(NH_LOG_INFO, "rollout.reminded", NH_I("devices", reminded));
	return NH_OK;
}

static nh_rc expire(struct nh_ctx *ctx, void *arg, struct nh_err *err) { return nh_orchestrator_expire(ctx, arg, err); }

nh_rc job_expiry(struct hubd *h, const struct nh_job *job, struct nh_err *err)
{
	size_t expired = 0;
	/* After the clock was set forward all that is under way looks overdue; what really is will be so in half an hour too. */
	if (!nh_device_api_clock_even(h->device_api, EXPIRY_EVEN_MS))
		return NH_OK;
	NH_TRY(job_write(h, expire, &expired, err));
	if (expired > 0)
		NH_LOG(NH_LOG_INFO, "rollout.expired", NH_I("devices", expired));
	return NH_OK;
}

/*
 * The orchestrator: hands out a group's free update slots to its waiting devices. One run is one short write transaction; who calls it when is
 * the driver's (device_api): on GROUP_WAKE, at start, and from time to time.
 *
 * Invariants, whatever happens: never more than concurrent_updates inflight rows of the group's normal queue nor more than
 * priority_queue_concurrent_updates of its priority queue; at most one inflight row a device; nothing to a device that nh_update_decide refuses.
 *
 * thread: the writer's (as every change, hub/hub.h). source: reference/server-behaviour "3.8"; reference/device-protocol "10"
 */
#pragma once

#include "hub/updates.h"

/* Wake-ups of a group closer together than this are one; a group is also looked at this often without any. */
#define NH_ORCHESTRATOR_DEBOUNCE_MS 3000
#define NH_ORCHESTRATOR_INTERVAL_MS 120000
#define NH_INFLIGHT_EXPIRY_S 1800
/*
 * A connected device that says nothing about an update is sent it again, once or twice, when it is this old; called every NH_REMIND_EVERY_MS. It ignores
 * what it has already.
 */
#define NH_REMIND_AFTER_S 60
#define NH_REMIND_UNTIL_S 180
#define NH_REMIND_EVERY_MS 60000
/* Most devices one run sends to, so that a write stays short; more = true asks for another run. */
#define NH_ORCHESTRATOR_BATCH 100

/*
 * Where a run stopped that had sent all that one run may, so that the next one need not walk past what is in flight by then; zero: the beginning. Kept in memory by the driver and good for nothing but
 * nh_orchestrator_go_on: whom it skips is looked at by the next run from the beginning.
 */
struct nh_orchestrator_cursor {
	int64_t release_id; /* 0: the beginning */
	int64_t turn;       /* of the group: another one since, and the updates in flight are counted anew */
	int order;
	struct nh_orchestrator_queue {
		int64_t inflight;             /* at most so many rows */
		int64_t part, key, device_id; /* the last device that was picked */
		bool begun, ended;
	} queues[2]; /* normal, priority */
};

struct nh_orchestrator_result {
	size_t sent, penalized;
	size_t waiting;   /* devices that could have been updated, as far as they were looked for */
	size_t inflight;  /* rows of the group after the run, both queues; after nh_orchestrator_go_on at most so many */
	bool more;        /* run again soon: devices were skipped, the batch was full, or members have still to be told of an archive */
	struct nh_orchestrator_cursor cursor; /* where the batch was full: to go on at once */
	int64_t release_id, rollout_id;       /* what it handed out, for logs; rollout_id 0: the release has no plan */
};

/*
 * nh_orchestrator_run - one run for one group. An inactive, unready or deleted group sends no updates; of the archive of a new release the next NH_ORCHESTRATOR_BATCH members are told
 * in any case. Effects: DEVICE_PUSH. NH_EIO.
 */
nh_rc nh_orchestrator_run(struct nh_ctx *ctx, int64_t group_id, struct nh_orchestrator_result *out, struct nh_err *err);

/*
 * nh_orchestrator_go_on - the same from where an earlier run of this process stopped, as its result's cursor says; more, where it ends short: look again from the beginning. A cursor of another release or
 * order is the beginning. What a batch reads does not grow with what is in flight.
 */
nh_rc nh_orchestrator_go_on(struct nh_ctx *ctx, int64_t group_id, const struct nh_orchestrator_cursor *cursor, struct nh_orchestrator_result *out, struct nh_err *err);

/*
 * nh_orchestrator_ask - a device asks for itself (polling): what its group has for it now, under the same rules and within the same slots as a run, except that it need not be connected.
 * device: loaded in this transaction. *payload: the update, as it would have been pushed, in the arena; empty: none. NH_EIO.
 */
nh_rc nh_orchestrator_ask(struct nh_ctx *ctx, const struct nh_device_facts *device, nh_slice *payload, struct nh_err *err);

/* nh_orchestrator_groups - ids of all active groups with id > after_id, ascending, at most max (read). */
nh_rc nh_orchestrator_groups(struct nh_ctx *ctx, int64_t after_id, int64_t *ids, size_t max, size_t *count, struct nh_err *err);

/*
 * nh_orchestrator_remind - sends updates again of which connected devices have said nothing from NH_REMIND_AFTER_S to NH_REMIND_UNTIL_S after they were
 * sent, at most 500 (read), unless something speaks against it by now; *reminded tells how many. The push may have been lost between its row and the device. Effects: DEVICE_PUSH. NH_EIO.
 */
nh_rc nh_orchestrator_remind(struct nh_ctx *ctx, size_t *reminded, struct nh_err *err);

/*
 * nh_orchestrator_expire - deletes inflight rows without a report for NH_INFLIGHT_EXPIRY_S, or with one dated so far ahead, at most 500; *expired tells how many. The device stays
 * eligible; audit entry and reason on the device. Effects: GROUP_WAKE, TOPIC. NH_EIO.
 */
nh_rc nh_orchestrator_expire(struct nh_ctx *ctx, size_t *expired, struct nh_err *err);

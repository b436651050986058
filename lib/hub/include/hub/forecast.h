/*
 * Forecasts: what a release would do to its group as it is now, counted by asking nh_update_decide about each member. Nothing is changed, and nothing is kept of a device: the group may have a million.
 *
 * A forecast is many short read transactions: begin, page after page, then the answer. Devices that come, go or change meanwhile are counted as each page found them.
 *
 * thread: a worker's; one forecast belongs to one. source: reference/server-behaviour "3.8", "3.12"
 */
#pragma once

#include "hub/explain.h"
#include "hub/rollouts.h"

#define NH_FORECAST_PAGE 1000
#define NH_FORECAST_SOURCES_MAX 64   /* firmwares that members run and that are told apart; the devices of others are counted together */
#define NH_FORECAST_ASSUMED_S 300    /* an update's time where none was measured */
#define NH_FORECAST_MEASURED_MAX 200 /* newest updates that are measured */

/* Where a device stands. */
typedef enum nh_standing {
	NH_STANDS_UP_TO_DATE, /* it runs the release */
	NH_STANDS_IN_FLIGHT,  /* an update is on its way, whichever */
	NH_STANDS_READY,      /* it gets the update as soon as there is a slot */
	NH_STANDS_WAITING,    /* for what ends by itself: its wave, its window, its penalty, its connection */
	NH_STANDS_HELD,       /* for a person or the device's owner */
	NH_STANDS_COUNT,
} nh_standing;
const char *nh_standing_name(nh_standing standing); /* "up_to_date" … */

struct nh_forecast_source {
	nh_slice firmware_uuid; /* in the forecast's arena; empty: the device never said */
	int64_t devices;        /* that are not up to date */
};

struct nh_forecast {
	struct nh_arena *arena;     /* of group and sources */
	struct nh_group group;      /* as it is, or as it would be */
	bool hypothetical;
	int64_t now_us, after_id;
	bool done;                  /* all pages were counted */
	int64_t stands[NH_STANDS_COUNT];
	int64_t by_reason[NH_UPDATE_REASON_COUNT]; /* devices that it keeps an update from now; a device counts for each of its reasons */
	int64_t alone[NH_UPDATE_REASON_COUNT];     /* and for which it is the only one */
	struct nh_forecast_source sources[NH_FORECAST_SOURCES_MAX];
	size_t source_count;
	int64_t other_sources;      /* devices of further ones */
	struct nh_plan plan;        /* of the rollout; wave_count 0: it has none */
	int64_t waves[NH_ROLLOUT_WAVES_MAX + 1][NH_STANDS_COUNT]; /* by place in the group; the last: who belongs to no wave */
};

/* nh_forecast_begin - of the group as it is (read). arena: outlives the forecast. NH_EIO. */
nh_rc nh_forecast_begin(struct nh_ctx *ctx, struct nh_arena *arena, const struct nh_group *group, struct nh_forecast *out, struct nh_err *err);

/*
 * nh_forecast_suppose - of the group as it would be after nh_group_update with these fields: firmware, state, concurrent_updates, rollout plan, whatever that takes. Needs a write transaction, which
 * the caller gives up with the code of this function: always NH_ECLOSED where it went well, so that nothing of it stays; else nh_group_update's.
 */
nh_rc nh_forecast_suppose(struct nh_ctx *ctx, struct nh_arena *arena, const struct nh_actor *actor, const struct nh_group *group, const json_t *fields, struct nh_forecast *out, json_t **errors,
                          struct nh_err *err);

/* nh_forecast_page - counts the next NH_FORECAST_PAGE members (read). Call until done. What it needs for it is gone afterwards. NH_EIO. */
nh_rc nh_forecast_page(struct nh_ctx *ctx, struct nh_forecast *forecast, struct nh_err *err);

/* nh_forecast_json - what was counted, with what it will cost and how long it may take (read), a new reference in *out. After the last page. NH_EIO. */
nh_rc nh_forecast_json(struct nh_ctx *ctx, const struct nh_forecast *forecast, json_t **out, struct nh_err *err);

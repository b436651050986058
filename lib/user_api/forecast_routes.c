/*
 * What a release does, or would do, to its group: counted on the fleet as it is, in many short transactions.
 *
 * A worker is busy with it for as long as it takes, so that only few are made at once: who comes then is told to come again.
 */
#include "api_int.h"
#include "hub/forecast.h"

#define AT_ONCE 2

struct forecast_call {
	struct call call; /* first: run functions get it back from there */
	struct nh_arena arena;
	struct nh_forecast forecast;
};

static nh_rc begin(struct call *call, struct nh_err *err)
{
	struct forecast_call *f = (struct forecast_call *)call;
	struct nh_group g;
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	return nh_forecast_begin(&call->ctx, &f->arena, &g, &f->forecast, err);
}

static nh_rc suppose(struct call *call, struct nh_err *err)
{
	struct forecast_call *f = (struct forecast_call *)call;
	struct nh_group g;
	const json_t *fields = json_object_get(call->params, "deployment");
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	if (!json_is_object(fields))
		return bad_request(call, err, "Invalid request");
	return nh_forecast_suppose(&call->ctx, &f->arena, &call->actor, &g, fields, &f->forecast, &call->errors, err);
}

static nh_rc page(struct call *call, struct nh_err *err) { return nh_forecast_page(&call->ctx, &((struct forecast_call *)call)->forecast, err); }

static nh_rc finish(struct call *call, struct nh_err *err) { return nh_forecast_json(&call->ctx, &((struct forecast_call *)call)->forecast, &call->data, err); }

static nh_rc forecast(struct forecast_call *f, struct nh_err *err)
{
	struct call *call = &f->call;
	if (call->endpoint->write) {
		nh_rc rc = call_transact(call, suppose, true, err);
		if (rc != NH_ECLOSED)
			return rc;
	} else {
		NH_TRY(call_transact(call, begin, false, err));
	}
	while (!f->forecast.done)
		NH_TRY(call_transact(call, page, false, err));
	return call_transact(call, finish, false, err);
}

void handle_forecast(struct nh_request *req, struct nh_response *res)
{
	struct forecast_call f = {.arena = NH_ARENA_INIT};
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = NH_EAGAIN;
	if (!call_open(&f.call, req, res, req->route->extra))
		return;
	unsigned *running = &f.call.api->forecasts;
	if (__atomic_fetch_add(running, 1, __ATOMIC_ACQ_REL) < AT_ONCE)
		rc = forecast(&f, &err);
	else
		rc = NH_FAIL(&err, NH_EAGAIN, "as many forecasts are being made as may at once");
	__atomic_fetch_sub(running, 1, __ATOMIC_ACQ_REL);
	call_close(&f.call, rc, &err);
	nh_arena_fini(&f.arena);
}

static const char *const words_bases[] = {"this_firmware", "earlier_releases", "assumed", NULL};

static SHAPE(release, "ForecastRelease", {"number", FIELD_INTEGER}, {"firmware_uuid", FIELD_TEXT}, {"firmware_version", FIELD_TEXT});
static SHAPE(standings, "ForecastDevices", {"up_to_date", FIELD_INTEGER}, {"in_flight", FIELD_INTEGER}, {"ready", FIELD_INTEGER, .about = "Updated as soon as there is a slot"},
             {"waiting", FIELD_INTEGER, .about = "For what ends by itself"}, {"held", FIELD_INTEGER, .about = "For a person, or for the device's owner"}, {"total", FIELD_INTEGER});
static SHAPE(blocker, "ForecastBlocker", {"code", FIELD_TEXT}, {"text", FIELD_TEXT}, {"ends_by_itself", FIELD_BOOLEAN});
static SHAPE(reason, "ForecastReason", {"code", FIELD_TEXT}, {"text", FIELD_TEXT}, {"ends_by_itself", FIELD_BOOLEAN}, {"devices", FIELD_INTEGER},
             {"alone", FIELD_INTEGER, .about = "Of them, those that nothing else keeps from the update"});
static SHAPE(source, "ForecastSource", {"firmware_uuid", FIELD_TEXT, FIELD_NULLABLE}, {"devices", FIELD_INTEGER}, {"delta", FIELD_TEXT, FIELD_NULLABLE, .about = "Status of the delta from it; null: none"},
             {"delta_bytes", FIELD_INTEGER, FIELD_NULLABLE});
static SHAPE(bytes, "ForecastBytes", {"firmware", FIELD_INTEGER, .about = "Of the whole file"}, {"full", FIELD_INTEGER, .about = "For all that are not up to date, with whole files"},
             {"with_deltas", FIELD_INTEGER, .about = "With the deltas that there are"}, {"sources", FIELD_OBJECT, FIELD_LIST, &source});
static SHAPE(duration, "ForecastDuration", {"ready_seconds", FIELD_INTEGER, .about = "Until all that are ready are updated"}, {"all_seconds", FIELD_INTEGER, .about = "With those that wait, once they wait no more"},
             {"update_seconds", FIELD_INTEGER, .about = "Of one, the median"}, {"slow_update_seconds", FIELD_INTEGER, .about = "Nine of ten are faster"}, {"measured_updates", FIELD_INTEGER},
             {"basis", FIELD_TEXT, .words = words_bases}, {"estimated_by", FIELD_TEXT});
static SHAPE(wave, "ForecastWave", {"number", FIELD_INTEGER, FIELD_NULLABLE, .about = "null: all that belong to no wave"}, {"percent", FIELD_NUMBER, FIELD_NULLABLE}, {"query", FIELD_TEXT, FIELD_NULLABLE},
             {"gate", FIELD_TEXT, FIELD_NULLABLE}, {"gate_seconds", FIELD_INTEGER, FIELD_NULLABLE}, {"devices", FIELD_OBJECT, FIELD_NULLABLE, &standings, .about = "null: known once the wave begins"},
             {"seconds", FIELD_INTEGER, FIELD_NULLABLE, .about = "Of its updates, without its gate"});
static SHAPE(forecast_shape, "Forecast", {"deployment_group", FIELD_TEXT}, {"hypothetical", FIELD_BOOLEAN}, {"at", FIELD_TEXT, .format = "date-time"}, {"release", FIELD_OBJECT, 0, &release},
             {"devices", FIELD_OBJECT, 0, &standings}, {"now", FIELD_INTEGER, .about = "Of those that are ready, as many as find a free slot"}, {"concurrent_updates", FIELD_INTEGER},
             {"blockers", FIELD_OBJECT, FIELD_LIST, &blocker, .about = "What keeps the release from all devices alike; they are counted as though it did not"},
             {"reasons", FIELD_OBJECT, FIELD_LIST, &reason}, {"bytes", FIELD_OBJECT, 0, &bytes}, {"duration", FIELD_OBJECT, 0, &duration}, {"waves", FIELD_OBJECT, FIELD_LIST, &wave});

const struct endpoint ep_group_plan = {.scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_SEE, .success = 200, .data = &forecast_shape, .tag = "Deployment Groups"};
const struct endpoint ep_group_suppose = {
	.scope = SCOPE_PRODUCT, .may = NH_MAY_GROUP_UPDATE, .write = true, .success = 200, .body = &shape_group_change, .data = &forecast_shape, .tag = "Deployment Groups"};

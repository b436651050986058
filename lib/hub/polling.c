/* Questions of polling devices. source: reference/device-protocol "15.5" */
#include "hub/polling.h"

#include "hub/orchestrator.h"
#include "session_int.h"

/* The device, seen now. A connection it holds besides says more about it than its questions do. */
static nh_rc visit(struct nh_ctx *ctx, const struct nh_opening *opening, struct nh_device_facts *d, struct nh_err *err)
{
	struct nh_connection known = {0};
	bool written;
	nh_rc rc = nh_connection_get(ctx, opening->device_id, &known, err);
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return rc;
	if (rc == NH_ENOTFOUND || nh_slice_eq_str(known.status, "disconnected"))
		NH_TRY(nh_session_connect_late(ctx, opening, opening->at_us, &written, err));
	NH_TRY(nh_device_facts_load(ctx, opening->device_id, d, err));
	return d->deleted ? NH_FAIL(err, NH_ENOTFOUND, "device %.*s is deleted", NH_ARG(d->identifier)) : NH_OK;
}

nh_rc nh_poll(struct nh_ctx *ctx, const struct nh_opening *opening, const json_t *payload, nh_slice *update, struct nh_err *err)
{
	struct nh_device_facts d;
	struct nh_reported reported;
	struct nh_join_result taken = {0};
	bool again = false;
	*update = NH_SLICE_EMPTY;
	NH_TRY(visit(ctx, opening, &d, err));
	nh_reported_read(payload, ctx->arena, &reported);
	reported.downloading = true; /* for all we know: an update is given up when its row expires, not at the next question */
	if (reported.uuid.len > 0)
		NH_TRY(nh_reported_take(ctx, &d, &reported, &taken, &again, err));
	NH_TRY(nh_device_facts_load(ctx, d.id, &d, err));
	NH_TRY(nh_group_verify_device(ctx, &d, err));
	return nh_orchestrator_ask(ctx, &d, update, err);
}

nh_rc nh_poll_identifier(struct nh_ctx *ctx, const struct nh_opening *opening, nh_slice *identifier, struct nh_err *err)
{
	struct nh_device_facts d;
	NH_TRY(visit(ctx, opening, &d, err));
	*identifier = d.identifier;
	return NH_OK;
}

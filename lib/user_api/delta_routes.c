/*
 * Deltas of a firmware, by the uuid of what they start from; and what updates took and saved. Upstream has neither in its API.
 *
 * source: none for the routes; reference/server-behaviour "1.7", "3.9", "4.6" for what they are about
 */
#include "api_int.h"
#include "hub/deltas.h"

static const char *const words_status[] = {"processing", "completed", "failed", "timed_out", NULL};
#define MOMENT .format = "date-time"
#define BYTES_WHEN_BUILT(name_) {name_, FIELD_INTEGER, FIELD_NULLABLE, .about = "Bytes; null before it is completed"}

static SHAPE(delta_side, "DeltaFirmware", {"uuid", FIELD_TEXT}, {"version", FIELD_TEXT});
static SHAPE(shape_delta, "Delta", {"source", FIELD_OBJECT, 0, &delta_side}, {"target", FIELD_OBJECT, 0, &delta_side}, {"status", FIELD_TEXT, .words = words_status},
             {"error", FIELD_TEXT, FIELD_NULLABLE, .about = "Why there is none; devices get the whole firmware"}, {"tool", FIELD_TEXT, .about = "`pending` before it is completed"},
             {"tool_delta_required_version", FIELD_TEXT, FIELD_NULLABLE, .about = "Of fwup on devices; older ones get the whole firmware"},
             {"tool_metadata", FIELD_OBJECT}, BYTES_WHEN_BUILT("size"), BYTES_WHEN_BUILT("source_size"), BYTES_WHEN_BUILT("target_size"),
             {"checksum", FIELD_TEXT, FIELD_NULLABLE, .about = "SHA-256, upper-case hex"}, {"attempts", FIELD_INTEGER, .about = "Since it was asked for the last time"},
             {"requested_at", FIELD_TEXT, MOMENT}, {"started_at", FIELD_TEXT, FIELD_NULLABLE, MOMENT}, {"finished_at", FIELD_TEXT, FIELD_NULLABLE, MOMENT});

static json_t *side(nh_slice uuid, nh_slice version) { return json_pack("{s:o, s:o}", "uuid", nh_json_new_text(uuid), "version", nh_json_new_text(version)); }

static json_t *bytes(int64_t n) { return n ? json_integer(n) : json_null(); }

static json_t *render_delta(const struct nh_delta *d)
{
	json_t *metadata = NULL;
	bool done = d->status == NH_DELTA_COMPLETED;
	if (nh_json_parse(d->tool_metadata, (size_t)64 << 10, &metadata, NULL) != NH_OK || !json_is_object(metadata)) {
		json_decref(metadata);
		metadata = json_object();
	}
	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o}", "source", side(d->source_uuid, d->source_version), "target",
	                 side(d->target_uuid, d->target_version), "status", nh_delta_status_name(d->status), "error", text_or_null(d->error), "tool", nh_json_new_text(d->tool),
	                 "tool_delta_required_version", done ? nh_json_new_text(d->required_version) : json_null(), "tool_metadata", metadata, "size", bytes(d->size_bytes), "source_size",
	                 bytes(d->source_size_bytes), "target_size", bytes(d->target_size_bytes), "checksum", text_or_null(d->checksum), "attempts", (json_int_t)d->attempts, "requested_at",
	                 render_moment(d->requested_at_us), "started_at", render_moment(d->started_at_us), "finished_at", render_moment(d->finished_at_us));
}

static nh_rc deltas(struct call *call, struct nh_err *err)
{
	struct nh_delta *list;
	size_t count = 0;
	NH_TRY(nh_delta_list(&call->ctx, &call->actor, &call->product, param(call, "uuid"), &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_delta(&list[i]));
	return NH_OK;
}
const struct endpoint ep_deltas = {.run = deltas, .scope = SCOPE_PRODUCT, .may = NH_MAY_DELTA_SEE, .success = 200, .data = &shape_delta, .list = true, .tag = "Deltas"};

static nh_rc delta(struct call *call, struct nh_err *err)
{
	struct nh_delta d;
	NH_TRY(nh_delta_open(&call->ctx, &call->actor, &call->product, param(call, "uuid"), param(call, "source"), NH_MAY_DELTA_SEE, &d, err));
	call->data = render_delta(&d);
	return NH_OK;
}
const struct endpoint ep_delta = {.run = delta, .scope = SCOPE_PRODUCT, .may = NH_MAY_DELTA_SEE, .success = 200, .data = &shape_delta, .tag = "Deltas"};

static nh_rc delta_create(struct call *call, struct nh_err *err)
{
	struct nh_delta d;
	NH_TRY(nh_delta_create(&call->ctx, &call->actor, &call->product, param(call, "uuid"), nh_json_text(body_members(call), "source"), &d, &call->errors, err));
	set_location(call, d.source_uuid);
	call->data = render_delta(&d);
	return NH_OK;
}
static SHAPE(delta_body, "DeltaWanted", {"source", FIELD_TEXT, .about = "The uuid of the firmware that devices run"});
const struct endpoint ep_delta_create = {
	.run = delta_create, .scope = SCOPE_PRODUCT, .may = NH_MAY_DELTA_BUILD, .write = true, .success = 201, .body = &delta_body, .data = &shape_delta, .tag = "Deltas"};

static nh_rc delta_retry(struct call *call, struct nh_err *err)
{
	struct nh_delta d;
	NH_TRY(nh_delta_retry(&call->ctx, &call->actor, &call->product, param(call, "uuid"), param(call, "source"), &d, &call->errors, err));
	call->data = render_delta(&d);
	return NH_OK;
}
const struct endpoint ep_delta_retry = {
	.run = delta_retry, .scope = SCOPE_PRODUCT, .may = NH_MAY_DELTA_BUILD, .write = true, .success = 200, .data = &shape_delta, .tag = "Deltas"};

static nh_rc delta_delete(struct call *call, struct nh_err *err)
{
	return nh_delta_delete(&call->ctx, &call->actor, &call->product, param(call, "uuid"), param(call, "source"), err);
}
const struct endpoint ep_delta_delete = {.run = delta_delete, .scope = SCOPE_PRODUCT, .may = NH_MAY_DELTA_DELETE, .write = true, .success = 204, .tag = "Deltas"};

/* ---- what updates took ----------------------------------------------------------------------------------------------------- */

static SHAPE(shape_savings, "UpdateSavings", {"updates", FIELD_INTEGER, .about = "That succeeded"}, {"delta_updates", FIELD_INTEGER, .about = "Those of them by delta"},
             {"update_bytes", FIELD_INTEGER, .about = "What they took"}, {"delta_bytes", FIELD_INTEGER, .about = "What those by delta took"},
             {"saved_bytes", FIELD_INTEGER, .about = "What whole firmware would have taken beyond that"});

static nh_rc savings(struct call *call, int64_t group_id, nh_slice firmware_uuid, struct nh_err *err)
{
	struct nh_update_totals t;
	NH_TRY(nh_update_totals_read(&call->ctx, &call->actor, &call->product, group_id, firmware_uuid, &t, err));
	call->data = json_pack("{s:I, s:I, s:I, s:I, s:I}", "updates", (json_int_t)t.updates, "delta_updates", (json_int_t)t.delta_updates, "update_bytes", (json_int_t)t.update_bytes, "delta_bytes",
	                       (json_int_t)t.delta_bytes, "saved_bytes", (json_int_t)t.saved_bytes);
	return NH_OK;
}

static nh_rc product_savings(struct call *call, struct nh_err *err) { return savings(call, 0, NH_SLICE_EMPTY, err); }
const struct endpoint ep_product_savings = {.run = product_savings, .scope = SCOPE_PRODUCT, .may = NH_MAY_FIRMWARE_SEE, .success = 200, .data = &shape_savings, .tag = "Deltas"};

static nh_rc group_savings(struct call *call, struct nh_err *err)
{
	struct nh_group g;
	NH_TRY(nh_group_get(&call->ctx, call->product.id, param(call, "name"), &g, err));
	return savings(call, g.id, NH_SLICE_EMPTY, err);
}
const struct endpoint ep_group_savings = {.run = group_savings, .scope = SCOPE_PRODUCT, .may = NH_MAY_FIRMWARE_SEE, .success = 200, .data = &shape_savings, .tag = "Deltas"};

static nh_rc firmware_savings(struct call *call, struct nh_err *err)
{
	struct nh_firmware f;
	NH_TRY(nh_firmware_open(&call->ctx, &call->actor, &call->product, param(call, "uuid"), NH_MAY_FIRMWARE_SEE, &f, err));
	return savings(call, 0, f.uuid, err);
}
const struct endpoint ep_firmware_savings = {.run = firmware_savings, .scope = SCOPE_PRODUCT, .may = NH_MAY_FIRMWARE_SEE, .success = 200, .data = &shape_savings, .tag = "Deltas"};

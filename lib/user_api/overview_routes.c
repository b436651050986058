/*
 * What people look after a fleet with: a product's figures and notifications, pinned devices, the search box.
 *
 * source: reference/server-behaviour "9.7", "14.4"
 */
#include "api_int.h"
#include "hub/overview.h"

/* ---- figures ------------------------------------------------------------------------------------------------------------ */

static nh_rc insights(struct call *call, struct nh_err *err)
{
	struct nh_insights in;
	NH_TRY(nh_insights_read(&call->ctx, &call->actor, &call->product, &in, err));
	json_t *firmware = json_array();
	for (size_t i = 0; i < in.firmware_count; i++) {
		const struct nh_firmware_figure *f = &in.firmware[i];
		json_array_append_new(firmware, json_pack("{s:o, s:o, s:o, s:I}", "version", text_or_null(f->version), "platform", text_or_null(f->platform), "architecture",
		                                          text_or_null(f->architecture), "devices", (json_int_t)f->devices));
	}
	/* Each figure is of its own moment where the store counts them one after the other: never less than none. */
	int64_t disconnected = in.devices - in.connected - in.not_seen;
	call->data = json_pack("{s:I, s:{s:I, s:I, s:I}, s:o}", "devices", (json_int_t)in.devices, "connections", "connected", (json_int_t)in.connected, "disconnected",
	                       (json_int_t)(disconnected > 0 ? disconnected : 0), "not_seen", (json_int_t)in.not_seen, "firmware", firmware);
	return NH_OK;
}
static SHAPE(connection_figures, "ConnectionFigures", {"connected", FIELD_INTEGER}, {"disconnected", FIELD_INTEGER}, {"not_seen", FIELD_INTEGER});
static SHAPE(firmware_figure, "FirmwareFigure", {"version", FIELD_TEXT, FIELD_NULLABLE}, {"platform", FIELD_TEXT, FIELD_NULLABLE}, {"architecture", FIELD_TEXT, FIELD_NULLABLE},
             {"devices", FIELD_INTEGER});
static SHAPE(insights_shape, "Insights", {"devices", FIELD_INTEGER}, {"connections", FIELD_OBJECT, 0, &connection_figures},
             {"firmware", FIELD_OBJECT, FIELD_LIST, &firmware_figure, .about = "The most devices first, at most 200"});
const struct endpoint ep_insights = {.run = insights, .scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_SEE, .success = 200, .data = &insights_shape, .tag = "Products"};

/* ---- notifications ------------------------------------------------------------------------------------------------------ */

static json_t *render_notification(const struct nh_notification *n)
{
	json_t *metadata = NULL;
	if (nh_json_parse(n->metadata, (size_t)1 << 16, &metadata, NULL) != NH_OK)
		metadata = json_object();
	return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o}", "id", (json_int_t)n->id, "level", nh_json_new_text(n->level), "event_key", nh_json_new_text(n->event_key),
	                 "title", nh_json_new_text(n->title), "message", nh_json_new_text(n->message), "metadata", metadata, "occurrence_count", (json_int_t)n->occurrence_count,
	                 "last_occurred_at", render_moment(n->last_occurred_at_us), "inserted_at", render_moment(n->inserted_at_us));
}

static nh_rc notifications(struct call *call, struct nh_err *err)
{
	struct nh_notification *list;
	size_t count = 0;
	NH_TRY(nh_notification_list(&call->ctx, &call->actor, &call->product, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_notification(&list[i]));
	return NH_OK;
}
static const char *const words_levels[] = {"info", "warning", "error", NULL};
static SHAPE(notification, "Notification", {"id", FIELD_INTEGER}, {"level", FIELD_TEXT, .words = words_levels}, {"event_key", FIELD_TEXT, .about = "What it is about: the same again is counted"},
             {"title", FIELD_TEXT}, {"message", FIELD_TEXT}, {"metadata", FIELD_MAP}, {"occurrence_count", FIELD_INTEGER}, {"last_occurred_at", FIELD_TEXT, .format = "date-time"},
             {"inserted_at", FIELD_TEXT, .format = "date-time"});
const struct endpoint ep_notifications = {
	.run = notifications, .scope = SCOPE_PRODUCT, .may = NH_MAY_NOTIFICATION_SEE, .success = 200, .data = &notification, .list = true, .tag = "Notifications"};

static nh_rc notifications_dismiss(struct call *call, struct nh_err *err)
{
	return nh_notification_dismiss(&call->ctx, &call->actor, &call->product, err);
}
const struct endpoint ep_notifications_dismiss = {
	.run = notifications_dismiss, .scope = SCOPE_PRODUCT, .may = NH_MAY_NOTIFICATION_DISMISS, .write = true, .success = 204, .tag = "Notifications"};

/* ---- pins --------------------------------------------------------------------------------------------------------------- */

static nh_rc pins(struct call *call, struct nh_err *err)
{
	struct nh_device *list;
	size_t count = 0;
	NH_TRY(nh_pin_list(&call->ctx, &call->actor, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_device(&list[i]));
	return NH_OK;
}
const struct endpoint ep_pins = {.run = pins, .success = 200, .data = &shape_device, .list = true, .tag = "Devices"};

static nh_rc pin(struct call *call, struct nh_err *err) { return nh_pin_set(&call->ctx, &call->actor, &call->device, true, err); }
const struct endpoint ep_pin = {.run = pin, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_PIN, .write = true, .success = 204, .tag = "Devices"};

static nh_rc unpin(struct call *call, struct nh_err *err) { return nh_pin_set(&call->ctx, &call->actor, &call->device, false, err); }
const struct endpoint ep_unpin = {.run = unpin, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_PIN, .write = true, .success = 204, .tag = "Devices"};

/* ---- search box --------------------------------------------------------------------------------------------------------- */

static json_t *render_found(const struct nh_found *list, size_t count, const char *key)
{
	json_t *out = json_array();
	for (size_t i = 0; i < count; i++) {
		json_t *item = json_pack("{s:o, s:o, s:o}", key, nh_json_new_text(list[i].name), "org_name", nh_json_new_text(list[i].org_name), "product_name",
		                         nh_json_new_text(list[i].product_name));
		if (list[i].version.ptr) {
			json_object_set_new(item, "version", nh_json_new_text(list[i].version));
			json_object_set_new(item, "platform", text_or_null(list[i].platform));
			json_object_set_new(item, "architecture", text_or_null(list[i].architecture));
		}
		json_array_append_new(out, item);
	}
	return out;
}

/* In the scope of its path. */
static nh_rc search(struct call *call, struct nh_err *err)
{
	struct nh_search_result found;
	bool in_product = call->endpoint->scope == SCOPE_PRODUCT;
	int64_t org_id = call->endpoint->scope == SCOPE_NONE ? 0 : call->org.id;
	nh_slice text = nh_json_text(call->params, "q");
	if (!text.ptr)
		return bad_request(call, err, "invalid request: q parameter required");
	NH_TRY(nh_search(&call->ctx, &call->actor, org_id, in_product ? &call->product : NULL, text, &found, &call->errors, err));
	call->data = json_pack("{s:o, s:o, s:o}", "devices", render_found(found.devices, found.device_count, "identifier"), "deployments",
	                       render_found(found.groups, found.group_count, "name"), "firmwares", render_found(found.firmwares, found.firmware_count, "uuid"));
	return NH_OK;
}
#define PLACE {"org_name", FIELD_TEXT}, {"product_name", FIELD_TEXT}
static SHAPE(found_device, "FoundDevice", {"identifier", FIELD_TEXT}, PLACE);
static SHAPE(found_group, "FoundDeployment", {"name", FIELD_TEXT}, PLACE);
static SHAPE(found_firmware, "FoundFirmware", {"uuid", FIELD_TEXT}, PLACE, {"version", FIELD_TEXT}, {"platform", FIELD_TEXT}, {"architecture", FIELD_TEXT});
static SHAPE(search_shape, "SearchResult", {"devices", FIELD_OBJECT, FIELD_LIST, &found_device}, {"deployments", FIELD_OBJECT, FIELD_LIST, &found_group},
             {"firmwares", FIELD_OBJECT, FIELD_LIST, &found_firmware});
static SHAPE(search_query, "SearchQuery",
             {"q", FIELD_TEXT, .about = "At least two characters: part of a device's identifier or a deployment group's name, or how a firmware's UUID begins. At most five of each are found."});
const struct endpoint ep_search = {.run = search, .success = 200, .query = &search_query, .data = &search_shape, .tag = "Search"};
const struct endpoint ep_org_search = {
	.run = search, .scope = SCOPE_ORG, .may = NH_MAY_DEVICE_SEE, .success = 200, .query = &search_query, .data = &search_shape, .tag = "Search"};
const struct endpoint ep_product_search = {
	.run = search, .scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_SEE, .success = 200, .query = &search_query, .data = &search_shape, .tag = "Search"};

/*
 * One device at a time, its actions and certificates. Lists: device_list_routes.c; importing: import_routes.c. Bodies come in two forms: top-level fields as documented, or nested in "device" as `nh` sends them.
 *
 * source: reference/user-api-and-cli "11", "20.1"
 */
#include "api_int.h"
#include "base/encode.h"
#include "hub/updates.h"

/* ---- one device -------------------------------------------------------------------------------------------------------- */

static nh_rc device(struct call *call, struct nh_err *err)
{
	call->data = render_device(&call->device);
	return NH_OK;
}
const struct endpoint ep_device = {.run = device, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_SEE, .success = 200, .data = &shape_device, .tag = "Devices"};
const struct endpoint ep_short_device = {
	.run = device, .scope = SCOPE_DEVICE_ANYWHERE, .may = NH_MAY_DEVICE_SEE, .success = 200, .data = &shape_device, .tag = "Devices (short URL)"};

static nh_rc create_as(struct call *call, nh_slice identifier, struct nh_err *err)
{
	struct nh_device d;
	NH_TRY(nh_device_create(&call->ctx, &call->actor, &call->product, identifier, body_members(call), &d, &call->errors, err));
	set_location(call, identifier.ptr ? NH_SLICE_EMPTY : d.identifier);
	call->data = render_device(&d);
	return NH_OK;
}

static nh_rc device_create(struct call *call, struct nh_err *err)
{
	return create_as(call, NH_SLICE_EMPTY, err);
}
#define DEVICE_SETTINGS                                                                                                                                                                \
	{"description", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE}, {"tags", FIELD_TAGS, FIELD_OPTIONAL | FIELD_NULLABLE}, {"updates_enabled", FIELD_BOOLEAN, FIELD_OPTIONAL},        \
		{"updates_blocked_until", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .format = "date-time", .about = "null: from now on"},                                             \
		{"connecting_code", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE},                                                                                                       \
		{"timezone", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "IANA name; of maintenance windows, where it is not that of the rollout's plan"},                    \
		{"custom_location_coordinates", FIELD_NUMBER, FIELD_LIST | FIELD_OPTIONAL | FIELD_NULLABLE, .about = "Longitude and latitude"},                                         \
		{"extensions", FIELD_OBJECT, FIELD_OPTIONAL, &shape_extensions_change}, {"deployment_id", FIELD_INTEGER, FIELD_OPTIONAL | FIELD_NULLABLE},                              \
		{"deployment_group_id", FIELD_INTEGER, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "The same as deployment_id"}

static SHAPE(device_body, "DeviceWanted", {"identifier", FIELD_TEXT}, DEVICE_SETTINGS);
static SHAPE(device_change, "DeviceChange", {"identifier", FIELD_TEXT, FIELD_OPTIONAL, .about = "Ignored: the path names the device"}, DEVICE_SETTINGS);
const struct endpoint ep_device_create = {
	.run = device_create, .scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_CREATE, .write = true, .success = 201, .body = &device_body, .nested = "device", .data = &shape_device, .tag = "Devices"};

static nh_rc device_create_named(struct call *call, struct nh_err *err)
{
	return create_as(call, param(call, "identifier"), err);
}
const struct endpoint ep_device_create_named = {
	.run = device_create_named, .scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_CREATE, .write = true, .success = 201, .body = &device_change, .nested = "device", .data = &shape_device, .tag = "Devices"};

static nh_rc device_update(struct call *call, struct nh_err *err)
{
	struct nh_device d;
	NH_TRY(nh_device_update(&call->ctx, &call->actor, &call->device, body_members(call), &d, &call->errors, err));
	call->data = render_device(&d);
	return NH_OK;
}
const struct endpoint ep_device_update = {
	.run = device_update, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_UPDATE, .write = true, .success = 201, .body = &device_change, .nested = "device", .data = &shape_device, .tag = "Devices"};

static nh_rc device_delete(struct call *call, struct nh_err *err)
{
	return nh_device_delete(&call->ctx, &call->actor, &call->device, err);
}
const struct endpoint ep_device_delete = {
	.run = device_delete, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_DELETE, .write = true, .success = 204, .tag = "Devices"};

static nh_rc device_auth(struct call *call, struct nh_err *err)
{
	struct nh_device d;
	nh_slice certificate = nh_json_text(call->params, "certificate");
	if (!certificate.ptr)
		return bad_request(call, err, "Invalid request");
	nh_rc rc = nh_device_by_certificate(&call->ctx, &call->actor, call->org.id, certificate, &d, err);
	if (rc == NH_EPERM) {
		call->status = 403;
		call->whole = json_pack("{s:s}", "status", "Unauthorized");
	}
	NH_TRY(rc);
	call->data = render_device(&d);
	return NH_OK;
}
static SHAPE(auth_body, "CertificateQuestion", {"certificate", FIELD_TEXT, .about = "PEM, in base64"});
static const struct answer auth_refusals[] = {{403, .whole = &shape_status, .about = "No device of the organization has it"}, {0}};
const struct endpoint ep_device_auth = {.run = device_auth, .scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_SEE, .success = 200, .body = &auth_body, .data = &shape_device, .also = auth_refusals, .tag = "Devices"};

/* ---- actions: each on the long and on the short path -------------------------------------------------------------------- */

#define ACTION(name, action, function, status, ...)                                                                                            \
	const struct endpoint ep_device_##name = {                                                                                \
		.run = (function), .scope = SCOPE_DEVICE, .may = NH_MAY_##action, .write = true, .success = (status), .tag = "Devices", ##__VA_ARGS__};

#define SHORT_ACTION(name, action, function, status, ...)                                                                                      \
	const struct endpoint ep_short_##name = {.run = (function),                                                               \
	                                         .scope = SCOPE_DEVICE_ANYWHERE,                                                  \
	                                         .may = NH_MAY_##action,                                                          \
	                                         .write = true,                                                                   \
	                                         .success = (status),                                                             \
	                                         .tag = "Devices (short URL)", ##__VA_ARGS__};

static nh_rc reboot(struct call *call, struct nh_err *err)
{
	return nh_device_reboot(&call->ctx, &call->actor, call->device.org_id, call->device.id, err);
}
ACTION(reboot, DEVICE_REBOOT, reboot, 204)
SHORT_ACTION(reboot, DEVICE_REBOOT, reboot, 204)

static nh_rc reconnect(struct call *call, struct nh_err *err)
{
	return nh_device_reconnect(&call->ctx, &call->actor, call->device.org_id, call->device.id, err);
}
ACTION(reconnect, DEVICE_RECONNECT, reconnect, 204)
SHORT_ACTION(reconnect, DEVICE_RECONNECT, reconnect, 204)

static nh_rc identify(struct call *call, struct nh_err *err)
{
	return nh_device_identify(&call->ctx, &call->actor, call->device.org_id, call->device.id, err);
}
ACTION(identify, DEVICE_IDENTIFY, identify, 204)

static nh_rc upgrade(struct call *call, struct nh_err *err)
{
	nh_slice uuid = nh_json_text(call->params, "uuid");
	if (!uuid.ptr)
		return bad_request(call, err, "Invalid request");
	return nh_update_push(&call->ctx, &call->actor, call->device.org_id, call->device.id, uuid, err);
}
static SHAPE(upgrade_body, "UpgradeWanted", {"uuid", FIELD_TEXT, .about = "Of the firmware"});
ACTION(upgrade, DEVICE_UPGRADE, upgrade, 204, .body = &upgrade_body)
SHORT_ACTION(upgrade, DEVICE_UPGRADE, upgrade, 204, .body = &upgrade_body)

static nh_rc penalty(struct call *call, struct nh_err *err)
{
	return nh_penalty_clear(&call->ctx, &call->actor, call->device.org_id, call->device.id, err);
}
ACTION(penalty, DEVICE_FORGIVE, penalty, 204)
SHORT_ACTION(penalty, DEVICE_FORGIVE, penalty, 204)

static nh_rc move(struct call *call, struct nh_err *err)
{
	struct nh_device d;
	nh_slice org = nh_json_text(call->params, "new_org_name"), product = nh_json_text(call->params, "new_product_name");
	if (!org.ptr || !product.ptr)
		return bad_request(call, err, "Invalid request");
	NH_TRY(nh_device_move(&call->ctx, &call->actor, &call->device, org, product, &d, &call->errors, err));
	call->data = render_device(&d);
	return NH_OK;
}
static SHAPE(move_to, "DeviceMove", {"new_org_name", FIELD_TEXT, FIELD_OPTIONAL, .about = "In the query or in the body"},
             {"new_product_name", FIELD_TEXT, FIELD_OPTIONAL, .about = "In the query or in the body"});
ACTION(move, DEVICE_MOVE, move, 200, .query = &move_to, .body = &move_to, .data = &shape_device)
SHORT_ACTION(move, DEVICE_MOVE, move, 200, .query = &move_to, .body = &move_to, .data = &shape_device)

/* ---- certificates ------------------------------------------------------------------------------------------------------ */

static nh_rc certs(struct call *call, struct nh_err *err)
{
	struct nh_device_certificate *list;
	size_t count = 0;
	NH_TRY(nh_device_certificate_list(&call->ctx, &call->actor, &call->device, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_certificate(&list[i]));
	return NH_OK;
}
const struct endpoint ep_certs = {.run = certs, .scope = SCOPE_DEVICE, .may = NH_MAY_CERTIFICATE_SEE, .success = 200, .data = &shape_certificate, .list = true, .tag = "Device Certificates"};

static nh_rc cert(struct call *call, struct nh_err *err)
{
	struct nh_device_certificate c;
	NH_TRY(nh_device_certificate_open(&call->ctx, &call->actor, &call->device, param(call, "serial"), &c, err));
	call->data = render_certificate(&c);
	return NH_OK;
}
const struct endpoint ep_cert = {.run = cert, .scope = SCOPE_DEVICE, .may = NH_MAY_CERTIFICATE_SEE, .success = 200, .data = &shape_certificate, .tag = "Device Certificates"};

static nh_rc cert_add(struct call *call, struct nh_err *err)
{
	struct nh_device_certificate c;
	nh_slice text = nh_json_text(call->params, "cert");
	if (!text.ptr)
		return bad_request(call, err, "Invalid request");
	NH_TRY(nh_device_certificate_add(&call->ctx, &call->actor, &call->device, text, &c, &call->errors, err));
	set_location(call, c.serial);
	call->data = render_certificate(&c);
	return NH_OK;
}
static SHAPE(certificate_body, "DeviceCertificateWanted", {"cert", FIELD_TEXT, .about = "PEM, in base64"});
const struct endpoint ep_cert_add = {
	.run = cert_add, .scope = SCOPE_DEVICE, .may = NH_MAY_CERTIFICATE_ADD, .write = true, .success = 201, .body = &certificate_body, .data = &shape_certificate, .tag = "Device Certificates"};

static nh_rc cert_delete(struct call *call, struct nh_err *err)
{
	return nh_device_certificate_delete(&call->ctx, &call->actor, &call->device, param(call, "serial"), err);
}
const struct endpoint ep_cert_delete = {
	.run = cert_delete, .scope = SCOPE_DEVICE, .may = NH_MAY_CERTIFICATE_DELETE, .write = true, .success = 204, .tag = "Device Certificates"};

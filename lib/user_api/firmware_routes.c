/*
 * Firmware: lists and deletion, and what an upload or a download of one is. How the bytes travel is file_routes.c's.
 *
 * source: reference/user-api-and-cli "12"
 */
#include "api_int.h"

static nh_rc firmwares(struct call *call, struct nh_err *err)
{
	struct nh_firmware *list;
	size_t count = 0;
	NH_TRY(nh_firmware_list(&call->ctx, &call->actor, &call->product, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_firmware(&list[i]));
	return NH_OK;
}
const struct endpoint ep_firmwares = {.run = firmwares, .scope = SCOPE_PRODUCT, .may = NH_MAY_FIRMWARE_SEE, .success = 200, .data = &shape_firmware, .list = true, .tag = "Firmwares"};

static nh_rc firmware(struct call *call, struct nh_err *err)
{
	struct nh_firmware f;
	NH_TRY(nh_firmware_open(&call->ctx, &call->actor, &call->product, param(call, "uuid"), NH_MAY_FIRMWARE_SEE, &f, err));
	call->data = render_firmware(&f);
	return NH_OK;
}
const struct endpoint ep_firmware = {.run = firmware, .scope = SCOPE_PRODUCT, .may = NH_MAY_FIRMWARE_SEE, .success = 200, .data = &shape_firmware, .tag = "Firmwares"};

static nh_rc firmware_delete(struct call *call, struct nh_err *err)
{
	return nh_firmware_delete(&call->ctx, &call->actor, &call->product, param(call, "uuid"), &call->errors, err);
}
const struct endpoint ep_firmware_delete = {
	.run = firmware_delete, .scope = SCOPE_PRODUCT, .may = NH_MAY_FIRMWARE_DELETE, .write = true, .success = 204, .tag = "Firmwares"};

/* ---- as a file --------------------------------------------------------------------------------------------------------- */

const struct endpoint ep_firmware_download = {.scope = SCOPE_PRODUCT, .may = NH_MAY_FIRMWARE_DOWNLOAD, .success = 200, .media = "application/octet-stream", .also = file_answers, .tag = "Firmwares"};
const struct endpoint ep_firmware_upload = {.scope = SCOPE_PRODUCT, .may = NH_MAY_FIRMWARE_UPLOAD, .success = 201, .data = &shape_firmware, .tag = "Firmwares"};

static nh_rc find(struct call *call, struct stored_file *out, struct nh_err *err)
{
	struct nh_firmware f;
	NH_TRY(nh_firmware_open(&call->ctx, &call->actor, &call->product, param(call, "uuid"), NH_MAY_FIRMWARE_DOWNLOAD, &f, err));
	*out = (struct stored_file){f.uuid, f.object_key, f.checksum};
	return NH_OK;
}

static nh_rc publish(struct call *call, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts, nh_slice object_key, struct nh_err *err)
{
	struct nh_firmware f;
	NH_TRY(nh_firmware_publish(&call->ctx, &call->actor, intake, facts, object_key, &f, &call->errors, err));
	set_location(call, f.uuid);
	call->data = render_firmware(&f);
	return NH_OK;
}

const struct file_kind file_firmware = {.noun = "firmware", .upload = &ep_firmware_upload, .download = &ep_firmware_download, .open = nh_firmware_intake_open,
	.claim = nh_firmware_claim, .publish = publish, .find = find};

/*
 * Archives, in the form of firmware: our predecessor has them in its web pages only. How the bytes travel is file_routes.c's.
 *
 * source: reference/user-api-and-cli "12.4"; reference/server-behaviour "5"
 */
#include "api_int.h"

static nh_rc archives(struct call *call, struct nh_err *err)
{
	struct nh_archive *list;
	size_t count = 0;
	NH_TRY(nh_archive_list(&call->ctx, &call->actor, &call->product, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_archive(&list[i]));
	return NH_OK;
}
const struct endpoint ep_archives = {.run = archives, .scope = SCOPE_PRODUCT, .may = NH_MAY_ARCHIVE_SEE, .success = 200, .data = &shape_archive, .list = true, .tag = "Archives"};

static nh_rc archive(struct call *call, struct nh_err *err)
{
	struct nh_archive a;
	NH_TRY(nh_archive_open(&call->ctx, &call->actor, &call->product, param(call, "uuid"), NH_MAY_ARCHIVE_SEE, &a, err));
	call->data = render_archive(&a);
	return NH_OK;
}
const struct endpoint ep_archive = {.run = archive, .scope = SCOPE_PRODUCT, .may = NH_MAY_ARCHIVE_SEE, .success = 200, .data = &shape_archive, .tag = "Archives"};

static nh_rc archive_delete(struct call *call, struct nh_err *err)
{
	return nh_archive_delete(&call->ctx, &call->actor, &call->product, param(call, "uuid"), &call->errors, err);
}
const struct endpoint ep_archive_delete = {
	.run = archive_delete, .scope = SCOPE_PRODUCT, .may = NH_MAY_ARCHIVE_DELETE, .write = true, .success = 204, .tag = "Archives"};

/* ---- as a file --------------------------------------------------------------------------------------------------------- */

const struct endpoint ep_archive_download = {.scope = SCOPE_PRODUCT, .may = NH_MAY_ARCHIVE_DOWNLOAD, .success = 200, .media = "application/octet-stream", .also = file_answers, .tag = "Archives"};
const struct endpoint ep_archive_upload = {.scope = SCOPE_PRODUCT, .may = NH_MAY_ARCHIVE_UPLOAD, .success = 201, .data = &shape_archive, .tag = "Archives"};

static nh_rc find(struct call *call, struct stored_file *out, struct nh_err *err)
{
	struct nh_archive a;
	NH_TRY(nh_archive_open(&call->ctx, &call->actor, &call->product, param(call, "uuid"), NH_MAY_ARCHIVE_DOWNLOAD, &a, err));
	*out = (struct stored_file){a.uuid, a.object_key, a.checksum};
	return NH_OK;
}

static nh_rc publish(struct call *call, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts, nh_slice object_key, struct nh_err *err)
{
	struct nh_archive a;
	NH_TRY(nh_archive_publish(&call->ctx, &call->actor, intake, facts, object_key, &a, &call->errors, err));
	set_location(call, a.uuid);
	call->data = render_archive(&a);
	return NH_OK;
}

const struct file_kind file_archive = {.noun = "archive", .upload = &ep_archive_upload, .download = &ep_archive_download, .open = nh_archive_intake_open,
	.claim = nh_archive_claim, .publish = publish, .find = find};

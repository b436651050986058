/*
 * Signed files of a product, firmware and archives: uploads that stream through a temporary object, and downloads. What the two differ in is a struct file_kind each.
 *
 * An upload is a body of any size and length unknown: each piece goes through the multipart reader into the temporary object, so memory does not grow
 * with it. Only after the whole file was found good does the object get its name, and only then is there a row. Whatever fails before leaves nothing.
 *
 * source: reference/user-api-and-cli "12"; design/architecture "5. Data"
 */
#include <stdlib.h>

#include "api_int.h"
#include "base/log.h"
#include "net/multipart.h"

#define ENVELOPE_MAX ((uint64_t)1 << 20) /* parts and fields around the file */

static const struct file_kind *const kinds[] = {&file_firmware, &file_archive};

const struct file_kind *file_kind_of(const struct endpoint *endpoint)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++) {
		if (kinds[i]->upload == endpoint || kinds[i]->download == endpoint)
			return kinds[i];
	}
	return NULL;
}

/* ---- download ---------------------------------------------------------------------------------------------------------- */

#define DOWNLOAD_TTL_S 3600

struct download_call {
	struct call call; /* first */
	struct stored_file file;
};

static nh_rc find_download(struct call *call, struct nh_err *err)
{
	struct download_call *d = (struct download_call *)call;
	return file_kind_of(call->endpoint)->find(call, &d->file, err);
}

/* Where the store has URLs of its own, and hands the bytes out without a token. */
static bool elsewhere(struct download_call *d)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	if (nh_objects_url(d->call.api->config.objects, (const char *)d->file.object_key.ptr, DOWNLOAD_TTL_S, &url, NULL) != NH_OK)
		return false;
	send_common_headers(d->call.req, d->call.res);
	nh_response_header(d->call.res, "location", nh_buf_slice(&url));
	nh_response_send(d->call.res, 302, NULL, NH_SLICE_EMPTY);
	return true;
}

/* The bytes themselves, and no redirect to the device port: clients drop their token at a redirect and may not trust that port's certificate. */
void handle_download(struct nh_request *req, struct nh_response *res)
{
	struct download_call d = {0};
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&d.call, req, res, req->route->extra))
		return;
	int fd = -1;
	uint64_t size = 0;
	nh_rc rc = call_transact(&d.call, find_download, false, &err);
	bool redirected = rc == NH_OK && elsewhere(&d);
	if (rc == NH_OK && !redirected)
		rc = nh_objects_open_read(d.call.api->config.objects, (const char *)d.file.object_key.ptr, &fd, &size, &err);
	if (rc == NH_OK && !redirected) {
		send_common_headers(req, res);
		nh_response_header(res, "content-disposition",
		                   nh_slice_str(nh_arena_printf(req->arena, "attachment; filename=\"%.*s.fw\"", NH_ARG(d.file.uuid))));
		nh_response_file(res, fd, size, "application/octet-stream", d.file.checksum);
	}
	call_close(&d.call, rc, &err);
}

/* ---- upload: the body -------------------------------------------------------------------------------------------------- */

/* Lives from begin to the handler (or abort), beyond the request's own structures; has an arena of its own. */
struct upload {
	const struct file_kind *kind;
	struct nh_arena arena;
	struct nh_objects *objects;
	struct nh_object_upload *object; /* temporary; NULL once committed or aborted */
	struct nh_multipart *multipart;
	struct nh_firmware_intake intake;
	uint64_t received, file_bytes;
	bool in_file, has_file;
	struct nh_err err;
};

static void upload_free(struct upload *u)
{
	if (!u)
		return;
	nh_multipart_free(u->multipart);
	if (u->object)
		nh_object_upload_abort(u->object);
	nh_arena_fini(&u->arena);
	free(u);
}

static nh_rc file_begin(void *ctx, nh_slice name, nh_slice filename, nh_slice content_type)
{
	struct upload *u = ctx;
	u->in_file = nh_slice_eq_str(name, u->kind->noun) && !u->has_file;
	u->has_file = u->has_file || u->in_file;
	return NH_OK;
}

static nh_rc file_data(void *ctx, nh_slice bytes)
{
	struct upload *u = ctx;
	if (!u->in_file)
		return NH_OK;
	u->file_bytes += bytes.len;
	if (u->file_bytes > u->intake.max_bytes)
		return NH_FAIL(&u->err, NH_ETOOBIG, "%s is larger than %llu bytes", u->kind->noun, (unsigned long long)u->intake.max_bytes);
	return nh_object_upload_write(u->object, bytes, &u->err);
}

static nh_rc file_end(void *ctx)
{
	((struct upload *)ctx)->in_file = false;
	return NH_OK;
}

struct upload_call {
	struct call call; /* first */
	struct nh_firmware_intake intake;
	struct upload *upload;
	struct nh_firmware_facts facts;
	nh_slice object_key;
};

static nh_rc no_file(struct call *call, struct nh_err *err)
{
	call->errors = json_pack("{s:o}", "detail", json_sprintf("No %s uploaded", file_kind_of(call->endpoint)->noun));
	return NH_FAIL(err, NH_EINVAL, "no file uploaded");
}

static nh_rc open_intake(struct call *call, struct nh_err *err)
{
	struct upload_call *u = (struct upload_call *)call;
	return file_kind_of(call->endpoint)->open(&call->ctx, &call->actor, call->org.id, call->product.name, &u->intake, err);
}

/* The request's arena may not outlive the begin call's job, so that what the body needs is copied. */
static void copy_intake(struct nh_arena *arena, const struct nh_firmware_intake *from, struct nh_firmware_intake *to)
{
	*to = *from;
	to->product.name = nh_arena_copy(arena, from->product.name);
	to->product.org_name = nh_arena_copy(arena, from->product.org_name);
	to->product.allowed_update_tools = nh_arena_copy(arena, from->product.allowed_update_tools);
	to->keys = NH_NEW_ARRAY(arena, from->key_count + 1, struct nh_intake_key);
	for (size_t i = 0; i < from->key_count; i++)
		to->keys[i] = (struct nh_intake_key){from->keys[i].id, nh_arena_copy(arena, from->keys[i].key)};
}

static nh_rc start(struct upload_call *u, struct upload **out, struct nh_err *err)
{
	struct call *call = &u->call;
	nh_slice boundary;
	NH_TRY(call_transact(call, open_intake, false, err));
	if (nh_multipart_boundary(nh_request_header(call->req, "content-type"), &boundary) != NH_OK)
		return no_file(call, err);
	struct upload *upload = nh_xcalloc(1, sizeof(*upload));
	const struct nh_multipart_events events = {.on_file_begin = file_begin, .on_file_data = file_data, .on_file_end = file_end, .ctx = upload};
	upload->kind = file_kind_of(call->endpoint);
	upload->objects = call->api->config.objects;
	copy_intake(&upload->arena, &u->intake, &upload->intake);
	nh_rc rc = nh_objects_upload(upload->objects, &upload->object, err);
	if (rc == NH_OK)
		rc = nh_multipart_new(boundary, NULL, &events, &upload->multipart, err);
	if (rc != NH_OK) {
		upload_free(upload);
		return rc;
	}
	*out = upload;
	return NH_OK;
}

static nh_rc upload_begin(struct nh_request *req, struct nh_response *res, void **stream)
{
	struct upload_call u = {0};
	struct upload *upload = NULL;
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&u.call, req, res, req->route->extra))
		return NH_EINVAL;
	nh_rc rc = start(&u, &upload, &err);
	if (rc != NH_OK) {
		call_close(&u.call, rc, &err);
		return rc;
	}
	json_decref(u.call.params);
	*stream = upload;
	return NH_OK;
}

static nh_rc upload_data(void *worker, void *stream, nh_slice bytes)
{
	struct upload *u = stream;
	u->received += bytes.len;
	if (u->received - u->file_bytes > bytes.len + ENVELOPE_MAX)
		return NH_FAIL(&u->err, NH_ETOOBIG, "too much around the file");
	return nh_multipart_feed(u->multipart, bytes, &u->err);
}

static void upload_abort(void *worker, void *stream)
{
	upload_free(stream);
}

const struct nh_body_sink upload_sink = {upload_begin, upload_data, upload_abort};

/* ---- upload: the end --------------------------------------------------------------------------------------------------- */

static nh_rc claim(struct call *call, struct nh_err *err)
{
	struct upload_call *u = (struct upload_call *)call;
	return u->upload->kind->claim(&call->ctx, &call->actor, &u->upload->intake, &u->facts, &u->object_key, &call->errors, err);
}

static nh_rc publish(struct call *call, struct nh_err *err)
{
	struct upload_call *u = (struct upload_call *)call;
	return u->upload->kind->publish(call, &u->upload->intake, &u->facts, u->object_key, err);
}

struct forget {
	struct call *call;
	nh_slice key;
};

static nh_rc forget_claim(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct forget *f = arg;
	struct nh_ctx ctx = f->call->ctx;
	ctx.tx = tx;
	return nh_loose_object_gone(&ctx, f->key, err);
}

/* Takes the object back; what fails here is done by the sweep, since the claim is written down. */
static void withdraw(struct upload_call *u)
{
	struct forget f = {&u->call, u->object_key};
	if (nh_objects_delete(u->upload->objects, (const char *)u->object_key.ptr, NULL) == NH_OK)
		NH_IGNORE(nh_db_write(u->call.api->config.db, forget_claim, &f, NULL));
}

static nh_rc finish(struct upload_call *u, struct nh_err *err)
{
	struct call *call = &u->call;
	struct upload *upload = u->upload;
	nh_rc rc = call->req->stream_rc;
	if (rc == NH_OK)
		rc = nh_multipart_end(upload->multipart, &upload->err);
	if (rc == NH_EFORMAT || (rc == NH_OK && !upload->has_file))
		return no_file(call, err);
	if (rc != NH_OK)
		return nh_err_set(err, rc, __FILE__, __LINE__, "%s", upload->err.msg);

	int fd = -1;
	NH_TRY(nh_object_upload_fd(upload->object, &fd, err));
	NH_TRY(nh_firmware_inspect(call->arena, &upload->intake, fd, &u->facts, &call->errors, err));
	NH_TRY(call_transact(call, claim, true, err));
	struct nh_object_upload *object = upload->object;
	upload->object = NULL;
	rc = nh_object_upload_commit(object, (const char *)u->object_key.ptr, err);
	if (rc != NH_OK) {
		withdraw(u);
		return rc;
	}
	rc = call_transact(call, publish, true, err);
	/* When the database went away in the middle of the commit, the row may be there: then the claim tells the sweep whether the object stays. */
	if (rc != NH_OK && rc != NH_EIO && rc != NH_ECLOSED && rc != NH_EINTERNAL)
		withdraw(u);
	return rc;
}

void handle_upload(struct nh_request *req, struct nh_response *res)
{
	struct upload_call u = {.upload = req->stream};
	struct nh_err err = NH_ERR_INIT;
	if (call_open(&u.call, req, res, req->route->extra)) {
		nh_rc rc = finish(&u, &err);
		if (rc == NH_OK)
			call_effects(&u.call);
		else
			NH_LOG(NH_LOG_INFO, "upload.refused", NH_S("path", req->path), NH_STR("why", err.msg));
		call_close(&u.call, rc, &err);
	}
	upload_free(u.upload);
}

/*
 * Rows of imported devices. Everything that could be refused is asked before the first row of an entry is written, since one transaction holds many entries and a refusal in the middle
 * would leave half of one.
 *
 * source: reference/user-api-and-cli "11.6"
 */
#include "hub/audit.h"
#include "hub/import.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/foundation.h"

static const char *const results[NH_IMPORT_RESULTS] = {"created", "updated", "unchanged", "failed"};

const char *nh_import_result_name(nh_import_result result) { return results[result]; }

struct import {
	struct nh_ctx *ctx;
	const struct nh_actor *actor;
	const struct nh_product *product;
	nh_slice tags;
	json_t *errors; /* of the entry's refusal */
};

/* "field text" of a refusal's first message. */
static const char *reason_of(struct import *m, const struct nh_err *err)
{
	const char *field;
	json_t *texts;
	json_object_foreach(m->errors, field, texts) {
		const char *text = json_string_value(json_is_array(texts) ? json_array_get(texts, 0) : texts);
		if (text)
			return strcmp(field, "detail") == 0 ? nh_arena_str(m->ctx->arena, nh_slice_str(text)) : nh_arena_printf(m->ctx->arena, "%s %s", field, text);
	}
	return nh_arena_str(m->ctx->arena, nh_slice_str(err->msg));
}

static json_t *fields_of(const struct import *m, const struct nh_import_device *d)
{
	json_t *fields = json_object();
	NH_AUTO_BUF struct nh_buf tags = NH_BUF_INIT;
	nh_buf_printf(&tags, "%.*s,%.*s", NH_ARG(m->tags), NH_ARG(d->tags));
	if (d->description.ptr)
		json_object_set_new(fields, "description", nh_json_new_text(d->description));
	if (m->tags.len > 0 || d->tags.len > 0)
		json_object_set_new(fields, "tags", nh_json_new_text(nh_buf_slice(&tags)));
	return fields;
}

static void read_owner(const struct nh_rows *rows, struct nh_arena *arena, void *item) { *(int64_t *)item = nh_col_int(rows, 2); }

/* Whose certificate is it already? 0: nobody's. */
static nh_rc find_owner(struct import *m, const struct nh_cert *cert, int64_t *owner, struct nh_err *err)
{
	*owner = 0;
	nh_rc rc = nh_one_row(m->ctx->tx, m->ctx->arena, &nh_q_cert_by_sha256, NH_PARAMS(nh_p_blob(nh_slice_of(cert->sha256, sizeof(cert->sha256)))), read_owner, owner, "certificate", err);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static nh_rc add_certificate(struct import *m, const struct nh_device *device, const struct nh_cert *cert, struct nh_err *err)
{
	struct nh_device_certificate stored;
	NH_TRY(nh_device_certificate_store(m->ctx, device->org_id, device->id, cert, &stored, &m->errors, err));
	return nh_audit_add(m->ctx, m->actor, device->org_id, NH_AUDIT_DEVICE, device->id, err, "%.*s imported certificate %.*s of device %.*s", NH_ARG(m->actor->name), NH_ARG(stored.serial),
	                    NH_ARG(device->identifier));
}

static nh_rc create(struct import *m, const struct nh_import_device *d, const struct nh_cert *cert, struct nh_err *err)
{
	struct nh_device device;
	NH_AUTO_JSON json_t *fields = fields_of(m, d);
	if (cert)
		NH_TRY(nh_device_certificate_check(m->ctx, m->product->org_id, 0, cert, &m->errors, err));
	NH_TRY(nh_device_create(m->ctx, m->actor, m->product, d->identifier, fields, &device, &m->errors, err));
	nh_rc rc = cert ? add_certificate(m, &device, cert, err) : NH_OK;
	/* It was asked about just now: a refusal here would leave a device without it, so the batch is given up. */
	return rc == NH_EINVAL ? NH_FAIL(err, NH_EAGAIN, "a certificate was taken in this moment") : rc;
}

/* NH_EINVAL: refused, nothing written. */
static nh_rc one(struct import *m, const struct nh_import_device *d, nh_import_result *result, struct nh_err *err)
{
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	struct nh_device device;
	int64_t owner = 0;
	if (d->certificate.ptr) {
		if (nh_cert_parse_der(d->certificate, &cert, NULL) != NH_OK)
			return nh_refuse(&m->errors, err, NH_EINVAL, "certificate", "cannot be read");
		if (cert->is_ca)
			return nh_refuse(&m->errors, err, NH_EINVAL, "certificate", "is a CA's");
		NH_TRY(find_owner(m, cert, &owner, err));
	}
	nh_rc rc = nh_device_open(m->ctx, m->actor, m->product, d->identifier, NH_MAY_DEVICE_IMPORT, &device, err);
	if (rc == NH_ENOTFOUND) {
		*result = NH_IMPORT_CREATED;
		return create(m, d, cert, err);
	}
	NH_TRY(rc);
	*result = NH_IMPORT_UNCHANGED;
	if (!cert || owner == device.id)
		return NH_OK;
	*result = NH_IMPORT_UPDATED;
	NH_TRY(nh_device_certificate_check(m->ctx, device.org_id, device.id, cert, &m->errors, err));
	return add_certificate(m, &device, cert, err);
}

nh_rc nh_import_apply(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice tags, const struct nh_import_device *devices, size_t count,
                      struct nh_import_outcome *outcomes, struct nh_err *err)
{
	struct import m = {.ctx = ctx, .actor = actor, .product = product, .tags = tags};
	NH_TRY(nh_may(ctx, actor, product->org_id, NH_MAY_DEVICE_IMPORT, err));
	for (size_t i = 0; i < count; i++) {
		outcomes[i] = (struct nh_import_outcome){NH_IMPORT_FAILED, devices[i].problem};
		if (devices[i].problem)
			continue;
		nh_rc rc = one(&m, &devices[i], &outcomes[i].result, err);
		if (rc == NH_EINVAL)
			outcomes[i] = (struct nh_import_outcome){NH_IMPORT_FAILED, reason_of(&m, err)};
		json_decref(m.errors);
		m.errors = NULL;
		if (rc != NH_OK && rc != NH_EINVAL)
			return rc;
	}
	return NH_OK;
}

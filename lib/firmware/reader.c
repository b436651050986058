/*
 * Firmware archives on top of the ZIP reader: which member may come when, the signature before anything is believed, meta.conf before any
 * resource. Resource bytes pass through; they are judged by the handler.
 *
 * meta.conf is kept (at most 50 kB); nothing else is. The caller's variables are the only thing that can be seen from outside.
 * source: reference/fwup-format "1.1", "1.4", "2.5", "4"
 */
#include "firmware/reader.h"

#include <stdlib.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "crypto/ed25519.h"

#define SIGNATURE_NAME "meta.conf.ed25519"
#define META_NAME "meta.conf"

typedef enum part { WANT_FIRST, IN_SIGNATURE, WANT_META, IN_META, WANT_RESOURCE, IN_RESOURCE, IN_SKIPPED } part;

struct nh_fw_reader {
	struct nh_fw_reader_config config;
	struct nh_fw_zip_reader *zip;
	part part;
	nh_fw_fault fault;
	uint8_t signature_bytes[NH_ED25519_SIGNATURE_LEN];
	bool has_signature;
	nh_fw_signature signature;
	int key_index;
	struct nh_buf text;      /* the member being collected, then meta.conf */
	uint64_t collected;
	struct nh_fw_member meta_member;
	struct nh_buf name;
	struct nh_arena arena;
	struct nh_fw_manifest *manifest;
};

#define REFUSE(r, f, rc, ...) ((r)->fault = (f), NH_FAIL(err, (rc), __VA_ARGS__))

static nh_rc wrong_order(struct nh_fw_reader *r, struct nh_err *err)
{
	return REFUSE(r, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "Expecting meta.conf to be %s %s",
		      r->config.order_text ? r->config.order_text : "at the beginning of", r->config.path ? r->config.path : "archive");
}

static nh_rc begin_meta(struct nh_fw_reader *r, const struct nh_fw_member *m, struct nh_err *err)
{
	r->part = IN_META;
	r->meta_member = *m;
	if (r->config.key_count > 0 && !r->has_signature)
		return REFUSE(r, NH_FW_FAULT_UNSIGNED, NH_EAUTH, "Expecting signed firmware archive.");
	if (r->config.key_count == 0 && !r->config.allow_unverified)
		return REFUSE(r, NH_FW_FAULT_NO_KEY, NH_EAUTH, "No public key was given, so the archive's origin can't be checked.");
	if (m->size_known && (m->size < NH_FW_META_MIN || m->size > NH_FW_META_MAX))
		return REFUSE(r, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "Unexpected meta.conf size: %llu", (unsigned long long)m->size);
	return NH_OK;
}

static nh_rc begin_resource(struct nh_fw_reader *r, const struct nh_fw_member *m, struct nh_err *err)
{
	if (nh_slice_eq_str(m->name, "data/")) {
		r->part = IN_SKIPPED;
		return NH_OK;
	}
	r->part = IN_RESOURCE;
	nh_rc rc = nh_fw_member_resource(m->name, &r->name, err);
	if (rc != NH_OK) {
		r->fault = NH_FW_FAULT_MALFORMED;
		return rc;
	}
	if (!r->config.handler.begin)
		return NH_OK;
	nh_slice name = nh_buf_slice(&r->name);
	return r->config.handler.begin(r->config.handler.ctx, name, nh_fw_manifest_resource(r->manifest, name), m, err);
}

static nh_rc on_begin(void *ctx, const struct nh_fw_member *m, struct nh_err *err)
{
	struct nh_fw_reader *r = ctx;
	nh_buf_clear(&r->text);
	r->collected = 0;
	if (r->part == WANT_RESOURCE)
		return begin_resource(r, m, err);
	if (nh_slice_eq_str(m->name, META_NAME))
		return begin_meta(r, m, err);
	if (r->part != WANT_FIRST || !nh_slice_eq_str(m->name, SIGNATURE_NAME))
		return wrong_order(r, err);
	r->part = IN_SIGNATURE;
	if (m->size_known && m->size != NH_ED25519_SIGNATURE_LEN)
		return REFUSE(r, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "Unexpected meta.conf.ed25519 size: %llu", (unsigned long long)m->size);
	return NH_OK;
}

static nh_rc on_data(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct nh_fw_reader *r = ctx;
	if (r->part == IN_RESOURCE)
		return r->config.handler.data ? r->config.handler.data(r->config.handler.ctx, bytes, err) : NH_OK;
	r->collected += bytes.len;
	size_t limit = r->part == IN_META ? NH_FW_META_MAX : r->part == IN_SIGNATURE ? NH_ED25519_SIGNATURE_LEN : 0;
	if (r->collected > limit)
		return REFUSE(r, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "Unexpected %s size: %llu",
			      r->part == IN_META ? META_NAME : r->part == IN_SIGNATURE ? SIGNATURE_NAME : "data/", (unsigned long long)r->collected);
	nh_buf_put_slice(&r->text, bytes);
	return NH_OK;
}

/* "2023-11-14T22:13:20Z": from the UT field, else from the DOS fields. */
static void creation_date(const struct nh_fw_reader *r, struct nh_buf *out)
{
	const struct nh_fw_member *m = &r->meta_member;
	int64_t at = m->mtime_s;
	if (!m->has_mtime) {
		struct tm tm = {
			.tm_year = (m->dos_date >> 9) + 80, .tm_mon = ((m->dos_date >> 5) & 15) - 1, .tm_mday = m->dos_date & 31,
			.tm_hour = m->dos_time >> 11, .tm_min = (m->dos_time >> 5) & 63, .tm_sec = (m->dos_time & 31) * 2, .tm_isdst = -1,
		};
		at = m->dos_date == 0 ? 0 : r->config.local_time ? mktime(&tm) : timegm(&tm);
	}
	nh_time_put_iso(out, at * NH_US_PER_S);
}

static nh_rc check_signature(struct nh_fw_reader *r, struct nh_err *err)
{
	r->signature = r->has_signature ? NH_FW_UNVERIFIED : NH_FW_UNSIGNED;
	for (size_t i = 0; i < r->config.key_count; i++)
		if (nh_ed25519_verify(r->config.keys[i].bytes, nh_buf_slice(&r->text), r->signature_bytes)) {
			r->signature = NH_FW_SIGNED;
			r->key_index = (int)i;
			return NH_OK;
		}
	if (r->config.key_count > 0)
		return REFUSE(r, NH_FW_FAULT_BAD_SIGNATURE, NH_EAUTH, "Firmware archive's meta.conf fails digital signature verification.");
	return NH_OK;
}

static nh_rc end_meta(struct nh_fw_reader *r, struct nh_err *err)
{
	if (r->text.len < NH_FW_META_MIN)
		return REFUSE(r, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "Unexpected meta.conf size: %zu", r->text.len);
	NH_TRY(check_signature(r, err));
	NH_AUTO_BUF struct nh_buf date = NH_BUF_INIT;
	creation_date(r, &date);
	nh_rc rc = nh_fw_manifest_parse(nh_buf_slice(&r->text), r->config.vars, nh_buf_slice(&date), &r->arena, &r->manifest, err);
	if (rc != NH_OK) {
		r->fault = rc == NH_EUNSUPPORTED ? NH_FW_FAULT_UNSUPPORTED : NH_FW_FAULT_MALFORMED;
		return rc;
	}
	r->part = WANT_RESOURCE;
	return r->config.handler.manifest ? r->config.handler.manifest(r->config.handler.ctx, r->manifest, err) : NH_OK;
}

static nh_rc on_end(void *ctx, uint64_t size, uint32_t crc, struct nh_err *err)
{
	struct nh_fw_reader *r = ctx;
	switch (r->part) {
	case IN_META: return end_meta(r, err);
	case IN_SIGNATURE:
		if (r->text.len != NH_ED25519_SIGNATURE_LEN)
			return REFUSE(r, NH_FW_FAULT_MALFORMED, NH_EFORMAT, "Unexpected meta.conf.ed25519 size: %zu", r->text.len);
		for (size_t i = 0; i < NH_ED25519_SIGNATURE_LEN; i++)
			r->signature_bytes[i] = r->text.ptr[i];
		r->has_signature = true;
		r->part = WANT_META;
		return NH_OK;
	case IN_RESOURCE:
		r->part = WANT_RESOURCE;
		return r->config.handler.end ? r->config.handler.end(r->config.handler.ctx, size, err) : NH_OK;
	default: r->part = WANT_RESOURCE; return NH_OK;
	}
}

struct nh_fw_reader *nh_fw_reader_new(const struct nh_fw_reader_config *config)
{
	struct nh_fw_reader *r = nh_xcalloc(1, sizeof *r);
	r->config = *config;
	r->key_index = -1;
	r->text = NH_BUF_MAX(NH_FW_META_MAX + 1);
	r->zip = nh_fw_zip_reader_new(&(struct nh_fw_zip_handler){.ctx = r, .begin = on_begin, .data = on_data, .end = on_end}, config->whole);
	return r;
}

void nh_fw_reader_free(struct nh_fw_reader *r)
{
	if (!r)
		return;
	nh_fw_zip_reader_free(r->zip);
	nh_buf_fini(&r->text);
	nh_buf_fini(&r->name);
	nh_arena_fini(&r->arena);
	free(r);
}

static nh_rc noticed(struct nh_fw_reader *r, nh_rc rc)
{
	if (rc != NH_OK && r->fault == NH_FW_FAULT_NONE)
		r->fault = nh_fw_zip_reader_fault(r->zip);
	return rc;
}

nh_rc nh_fw_reader_feed(struct nh_fw_reader *r, nh_slice bytes, struct nh_err *err)
{
	/* Own record, so that a later call can repeat the message even where this caller passed none. */
	struct nh_err local = NH_ERR_INIT;
	nh_rc rc = noticed(r, nh_fw_zip_reader_feed(r->zip, bytes, &local));
	if (rc != NH_OK && err)
		*err = local;
	return rc;
}

bool nh_fw_reader_done(const struct nh_fw_reader *r)
{
	return nh_fw_zip_reader_done(r->zip);
}

nh_rc nh_fw_reader_finish(struct nh_fw_reader *r, struct nh_err *err)
{
	bool failed_before = nh_fw_zip_reader_fault(r->zip) != NH_FW_FAULT_NONE;
	nh_rc rc = noticed(r, nh_fw_zip_reader_finish(r->zip, err));
	if (rc != NH_OK && !failed_before && r->part == IN_META)
		return NH_FAIL(err, rc, "Unexpected meta.conf size: 0");
	NH_TRY(rc);
	return r->manifest ? NH_OK : wrong_order(r, err);
}

nh_fw_fault nh_fw_reader_fault(const struct nh_fw_reader *r)
{
	return r->fault;
}

const struct nh_fw_manifest *nh_fw_reader_manifest(const struct nh_fw_reader *r)
{
	return r->manifest;
}

nh_fw_signature nh_fw_reader_signature(const struct nh_fw_reader *r)
{
	return r->signature;
}

int nh_fw_reader_key_index(const struct nh_fw_reader *r)
{
	return r->key_index;
}

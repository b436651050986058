/*
 * The audit log of an organization as a chain that others can check: all of it as lines of JSON, its anchors, and the keys that sign them. What is not sealed yet is sealed before it goes out.
 *
 * The lines are written into a file without a name while one transaction looks at the log, so that nothing is cut or anchored in between; memory is that of one page.
 *
 * source: crypto/log_chain.h; docs/guides/audit.md
 */
#include <unistd.h>

#include "api_int.h"
#include "audit_int.h"
#include "base/encode.h"
#include "hub/audit_chain.h"

#define PAGE_MAX 500

/* ---- lines of JSON --------------------------------------------------------------------------------------------------------- */

struct export {
	struct call call; /* first */
	int64_t after;    /* asked for from this anchor on; -1: all there is */
	size_t sealed;
	struct nh_arena arena; /* of one page */
	struct nh_buf text;
	struct nh_object_upload *file;
	uint64_t size;
};

static nh_rc seal_some(struct call *call, struct nh_err *err)
{
	struct export *e = (struct export *)call;
	return nh_audit_seal(&call->ctx, call->org.id, &e->sealed, err);
}

/* A log whose head was tampered with goes out as it is: who checks it is to see that. */
static nh_rc seal_all(struct export *e, struct nh_err *err)
{
	nh_rc rc;
	do {
		e->sealed = 0;
		rc = call_transact(&e->call, seal_some, true, err);
		if (rc == NH_EAUTH && e->call.org.id)
			return NH_OK;
	} while (rc == NH_OK && e->sealed == NH_AUDIT_SEAL_MAX);
	return rc;
}

static void put_line(struct nh_buf *out, json_t *take_line)
{
	NH_AUTO_JSON json_t *line = take_line;
	nh_json_put(out, line);
	nh_buf_put_u8(out, '\n');
}

static nh_rc write_text(struct export *e, struct nh_err *err)
{
	NH_TRY(nh_buf_check(&e->text, "a page of the audit log", err));
	NH_TRY(nh_object_upload_write(e->file, nh_buf_slice(&e->text), err));
	e->size += e->text.len;
	nh_buf_clear(&e->text);
	return NH_OK;
}

static json_t *render_keys(const struct nh_audit_key *keys, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++) {
		NH_AUTO_BUF struct nh_buf digits = NH_BUF_INIT;
		nh_hex_put(&digits, nh_slice_of(keys[i].public_key, sizeof(keys[i].public_key)));
		json_array_append_new(list, json_pack("{s:I, s:o, s:o}", "number", (json_int_t)keys[i].number, "public_key", nh_json_new_text(nh_buf_slice(&digits)), "inserted_at",
		                                      render_moment(keys[i].inserted_at_us)));
	}
	return list;
}

/* Where the file begins: at the chain's beginning, or at an anchor. */
static nh_rc write_header(struct export *e, const struct nh_ctx *ctx, struct nh_audit_chain *chain, struct nh_err *err)
{
	struct call *call = &e->call;
	struct nh_audit_key *keys;
	size_t count;
	NH_TRY(nh_audit_key_list(&call->ctx, &keys, &count, err));
	if (e->after > chain->head.from || (e->after >= 0 && e->after == chain->head.from && chain->cut)) {
		nh_rc rc = nh_audit_anchor_at(&call->ctx, call->org.id, chain->head.chain, e->after, &chain->base, err);
		if (rc != NH_OK && rc != NH_ENOTFOUND)
			return rc;
		chain->cut = rc == NH_OK;
	}
	if (e->after >= 0 && (e->after < chain->head.from || (e->after > chain->beginning.first && !chain->cut))) {
		call->errors = json_pack("{s:[s]}", "after", "is no anchor of what is kept of this log");
		return NH_FAIL(err, NH_EINVAL, "after is no anchor");
	}
	put_line(&e->text, json_pack("{s:s, s:i, s:o, s:o, s:o, s:o, s:o}", "format", "nerveshub-log", "version", 1, "beginning", nh_chain_beginning_json(&chain->beginning), "base",
	                             chain->cut ? nh_chain_statement_json(&chain->base) : json_null(), "organization", nh_json_new_text(call->org.name), "exported_at",
	                             render_moment(nh_ctx_now(ctx)), "keys", render_keys(keys, count)));
	return write_text(e, err);
}

static void put_entry(struct nh_buf *out, int64_t org_id, const struct nh_sealed_entry *s)
{
	NH_AUTO_BUF struct nh_buf hash = NH_BUF_INIT;
	nh_hex_put(&hash, s->hash);
	put_line(out, json_pack("{s:o, s:o}", "entry", nh_audit_sealed_json(org_id, &s->entry, s->seq), "hash", nh_json_new_text(nh_buf_slice(&hash))));
}

static nh_rc write_entries(struct export *e, struct nh_ctx *ctx, const struct nh_audit_chain *chain, struct nh_err *err)
{
	struct nh_sealed_entry *list;
	int64_t seq = chain->cut ? chain->base.seq : chain->beginning.first, anchored = seq;
	size_t count;
	do {
		struct nh_chain_statement *next;
		size_t anchors;
		nh_arena_reset(&e->arena);
		NH_TRY(nh_audit_sealed_list(ctx, e->call.org.id, seq, PAGE_MAX, &list, &count, err));
		NH_TRY(nh_audit_anchor_list(ctx, e->call.org.id, chain->head.chain, anchored, PAGE_MAX, &next, &anchors, err));
		for (size_t i = 0, a = 0; i < count || (count < PAGE_MAX && a < anchors);) {
			bool anchor_is_next = a < anchors && (i == count || next[a].seq < list[i].seq);
			if (anchor_is_next)
				put_line(&e->text, nh_chain_statement_json(&next[a++]));
			else
				put_entry(&e->text, e->call.org.id, &list[i++]);
		}
		NH_TRY(write_text(e, err));
		seq = count ? list[count - 1].seq : seq;
		anchored = seq;
	} while (count == PAGE_MAX);
	return NH_OK;
}

static nh_rc write_log(struct call *call, struct nh_err *err)
{
	struct export *e = (struct export *)call;
	struct nh_audit_chain chain;
	struct nh_ctx ctx = call->ctx;
	ctx.arena = &e->arena;
	nh_object_upload_abort(e->file); /* of an attempt before this one */
	e->file = NULL;
	e->size = 0;
	nh_buf_clear(&e->text);
	NH_TRY(nh_audit_chain_get(&call->ctx, call->org.id, &chain, err));
	NH_TRY(nh_objects_upload(call->api->config.objects, &e->file, err));
	NH_TRY(write_header(e, &ctx, &chain, err));
	NH_TRY(write_entries(e, &ctx, &chain, err));
	put_line(&e->text, nh_chain_statement_json(&chain.head));
	return write_text(e, err);
}

void export_log(struct call *call)
{
	struct export e = {.call = *call, .after = -1};
	struct nh_err err = NH_ERR_INIT;
	int fd = -1;
	nh_slice after = nh_json_text(e.call.params, "after");
	nh_rc rc = NH_OK;
	if (after.len > 0 && nh_parse_i64(after, 0, INT64_MAX, &e.after) != NH_OK) {
		e.call.errors = json_pack("{s:[s]}", "after", "is invalid");
		rc = NH_FAIL(&err, NH_EINVAL, "after is no number of an entry");
	}
	if (rc == NH_OK)
		rc = seal_all(&e, &err);
	if (rc == NH_OK)
		rc = call_transact(&e.call, write_log, false, &err);
	if (rc == NH_OK)
		rc = nh_object_upload_fd(e.file, &fd, &err);
	if (rc == NH_OK) {
		NH_AUTO_BUF struct nh_buf name = NH_BUF_INIT;
		nh_uri_put(&name, e.call.org.name);
		send_common_headers(call->req, call->res);
		nh_response_header(call->res, "content-disposition", nh_slice_str(nh_arena_printf(call->arena, "attachment; filename*=UTF-8''%s-audit-logs.jsonl", nh_buf_cstr(&name))));
		nh_response_file(call->res, dup(fd), e.size, "application/jsonl", NH_SLICE_EMPTY);
	}
	nh_object_upload_abort(e.file);
	call_close(&e.call, rc, &err);
	nh_buf_fini(&e.text);
	nh_arena_fini(&e.arena);
}

/* ---- anchors and keys ------------------------------------------------------------------------------------------------------ */

static nh_rc anchors(struct call *call, struct nh_err *err)
{
	struct nh_chain_statement *list;
	size_t limit, count = 0;
	int64_t before;
	NH_TRY(read_limit(call, PAGE_MAX, &limit, err));
	NH_TRY(read_before(call, &before, err));
	NH_TRY(nh_audit_anchor_newest(&call->ctx, call->org.id, before, limit, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, nh_chain_statement_json(&list[i]));
	set_pagination(call, limit, count == limit ? json_sprintf("%lld", (long long)list[count - 1].seq) : NULL);
	return NH_OK;
}

static nh_rc keys(struct call *call, struct nh_err *err)
{
	struct nh_audit_key *list;
	size_t count;
	NH_TRY(nh_audit_key_list(&call->ctx, &list, &count, err));
	call->data = render_keys(list, count);
	return NH_OK;
}

static SHAPE(statement, "AuditStatement", {"at", FIELD_TEXT, .format = "date-time"}, {"chain", FIELD_TEXT, .about = "Which chain: 32 hexadecimal digits"},
             {"from", FIELD_INTEGER, .about = "Entries before what was kept then"}, {"hash", FIELD_TEXT, .about = "Of entry seq: SHA-256, hexadecimal"},
             {"key", FIELD_TEXT, .about = "Public key (Ed25519), hexadecimal"}, {"org", FIELD_INTEGER}, {"previous", FIELD_TEXT, .about = "SHA-256 of the anchor before it"}, {"seq", FIELD_INTEGER},
             {"type", FIELD_TEXT});
static SHAPE(anchor, "AuditAnchor", {"anchor", FIELD_OBJECT, .of = &statement}, {"signature", FIELD_TEXT, .about = "Of the anchor as canonical JSON (RFC 8785): Ed25519, base64"});
static SHAPE(anchor_query, "AuditAnchorQuery", {"limit", FIELD_INTEGER, FIELD_OPTIONAL, .about = "How many at most, up to 500"},
             {"before", FIELD_INTEGER, FIELD_OPTIONAL, .about = "Only anchors before the one at this entry: what an answer named as next"});
static SHAPE(key, "AuditKey", {"number", FIELD_INTEGER, .about = "The highest signs now"}, {"public_key", FIELD_TEXT, .about = "Ed25519, hexadecimal"},
             {"inserted_at", FIELD_TEXT, .format = "date-time"});

const struct endpoint ep_audit_anchors = {.run = anchors, .scope = SCOPE_ORG, .may = NH_MAY_AUDIT_SEE, .success = 200, .query = &anchor_query, .data = &anchor, .list = true, .beside = &shape_next,
                                          .tag = "Audit Log"};
const struct endpoint ep_audit_keys = {.run = keys, .scope = SCOPE_ORG, .may = NH_MAY_AUDIT_SEE, .success = 200, .data = &key, .list = true, .tag = "Audit Log"};

/*
 * The audit log of an organization, a product, a device or a deployment group: page by page, or as a file of its newest entries. As a chain that others can check: audit_log_routes.c.
 *
 * source: reference/server-behaviour "8.1"
 */
#include "audit_int.h"
#include "base/encode.h"
#include "hub/audit.h"

#define PAGE_MAX 500
#define EXPORT_MAX 10000 /* entries of one file; earlier ones are asked for with before */

/* Whose log the path means, and what it is called. */
struct subject {
	nh_audit_resource kind;
	int64_t id;
	nh_slice name;
};

static nh_rc find_subject(struct call *call, struct subject *out, struct nh_err *err)
{
	struct nh_group group;
	nh_slice name = param(call, "name");
	if (call->endpoint->scope == SCOPE_ORG) {
		*out = (struct subject){NH_AUDIT_ORG, call->org.id, call->org.name};
	} else if (call->endpoint->scope == SCOPE_DEVICE) {
		*out = (struct subject){NH_AUDIT_DEVICE, call->device.id, call->device.identifier};
	} else if (!name.ptr) {
		*out = (struct subject){NH_AUDIT_PRODUCT, call->product.id, call->product.name};
	} else {
		NH_TRY(nh_group_get(&call->ctx, call->product.id, name, &group, err));
		*out = (struct subject){NH_AUDIT_GROUP, group.id, group.name};
	}
	return NH_OK;
}

static json_t *render_entry(const struct nh_audit_entry *e)
{
	return json_pack("{s:I, s:o, s:s, s:o, s:s, s:I, s:o}", "id", (json_int_t)e->id, "at", render_moment(e->at_us), "actor_kind", nh_audit_actor_name(e->actor_kind), "actor_name",
	                 nh_json_new_text(e->actor_name), "resource_kind", nh_audit_resource_name(e->kind), "resource_id", (json_int_t)e->resource_id, "description",
	                 nh_json_new_text(e->description));
}
static const char *const columns[] = {"id", "at", "actor_kind", "actor_name", "resource_kind", "resource_id", "description"};

nh_rc read_before(struct call *call, int64_t *out, struct nh_err *err)
{
	nh_slice text = nh_json_text(call->params, "before");
	*out = 0;
	if (text.len == 0 || nh_parse_i64(text, 1, INT64_MAX, out) == NH_OK)
		return NH_OK;
	json_decref(call->errors);
	call->errors = json_pack("{s:[s]}", "before", "is invalid");
	return NH_FAIL(err, NH_EINVAL, "before is no number of an entry");
}

static nh_rc audit_logs(struct call *call, struct nh_err *err)
{
	struct subject of;
	struct nh_audit_entry *list;
	size_t limit, count = 0;
	int64_t before;
	NH_TRY(find_subject(call, &of, err));
	NH_TRY(read_limit(call, PAGE_MAX, &limit, err));
	NH_TRY(read_before(call, &before, err));
	NH_TRY(nh_audit_list(&call->ctx, call->org.id, of.kind, of.id, before, limit, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_entry(&list[i]));
	set_pagination(call, limit, count == limit ? json_sprintf("%lld", (long long)list[count - 1].id) : NULL);
	return NH_OK;
}

static const char *const words_actors[] = {"user", "device", "system", NULL};
static SHAPE(audit_entry, "AuditEntry", {"id", FIELD_INTEGER}, {"at", FIELD_TEXT, .format = "date-time"}, {"actor_kind", FIELD_TEXT, .words = words_actors}, {"actor_name", FIELD_TEXT},
             {"resource_kind", FIELD_TEXT}, {"resource_id", FIELD_INTEGER}, {"description", FIELD_TEXT, .about = "For people; the wording may change"});
static SHAPE(audit_query, "AuditQuery", {"limit", FIELD_INTEGER, FIELD_OPTIONAL, .about = "How many at most, up to 500"},
             {"before", FIELD_INTEGER, FIELD_OPTIONAL, .about = "Only entries before the one of this number: what an answer named as next"});

/* ---- files -------------------------------------------------------------------------------------------------------------- */

struct export {
	struct call call; /* first */
	struct nh_buf text;
	const char *type, *ending;
	nh_slice name;
};

static void put_line(struct nh_buf *out, const json_t *entry)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(columns); i++) {
		NH_AUTO_BUF struct nh_buf cell = NH_BUF_INIT;
		nh_json_put(&cell, json_object_get(entry, columns[i]));
		csv_put_cell(out, nh_buf_slice(&cell), i + 1 == NH_ARRAY_LEN(columns));
	}
}

/* Entries of the newest EXPORT_MAX as they come, one list after the other. */
static nh_rc collect(struct call *call, const struct subject *of, int64_t before, void (*put)(struct nh_buf *out, const json_t *entry), struct nh_buf *out, struct nh_err *err)
{
	struct nh_audit_entry *list;
	size_t count = PAGE_MAX;
	for (size_t all = 0; all < EXPORT_MAX && count == PAGE_MAX; all += count) {
		NH_TRY(nh_audit_list(&call->ctx, call->org.id, of->kind, of->id, before, PAGE_MAX, &list, &count, err));
		for (size_t i = 0; i < count; i++) {
			NH_AUTO_JSON json_t *entry = render_entry(&list[i]);
			put(out, entry);
		}
		if (count > 0)
			before = list[count - 1].id;
	}
	return nh_buf_check(out, "export of the audit log", err);
}

static void put_member(struct nh_buf *out, const json_t *entry)
{
	nh_buf_put_str(out, nh_buf_slice(out).ptr[out->len - 1] == '[' ? "" : ",");
	nh_json_put(out, entry);
}

static nh_rc export_run(struct call *call, struct nh_err *err)
{
	struct export *e = (struct export *)call;
	struct subject of;
	int64_t before;
	nh_slice format = nh_json_text(call->params, "format");
	bool json = nh_slice_eq_str(format, "json");
	if (format.len > 0 && !json && !nh_slice_eq_str(format, "csv")) {
		json_decref(call->errors);
		call->errors = json_pack("{s:[s]}", "format", call->endpoint->scope == SCOPE_ORG ? "must be csv, json or jsonl" : "must be csv or json");
		return NH_FAIL(err, NH_EINVAL, "format is neither csv nor json");
	}
	NH_TRY(find_subject(call, &of, err));
	NH_TRY(read_before(call, &before, err));
	nh_buf_clear(&e->text);
	e->name = of.name;
	e->type = json ? "application/json; charset=utf-8" : "text/csv; charset=utf-8";
	e->ending = json ? "json" : "csv";
	if (json) {
		nh_buf_put_str(&e->text, "{\"data\":[");
		NH_TRY(collect(call, &of, before, put_member, &e->text, err));
		nh_buf_put_str(&e->text, "]}");
		return NH_OK;
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(columns); i++)
		csv_put_cell(&e->text, nh_slice_str(columns[i]), i + 1 == NH_ARRAY_LEN(columns));
	return collect(call, &of, before, put_line, &e->text, err);
}

/* The chain is the organization's: of less than that nothing could be proved. */
static bool wants_log(const struct call *call) { return call->endpoint->scope == SCOPE_ORG && nh_slice_eq_str(nh_json_text(call->params, "format"), "jsonl"); }

void handle_audit_export(struct nh_request *req, struct nh_response *res)
{
	struct export e = {0};
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&e.call, req, res, req->route->extra))
		return;
	if (wants_log(&e.call)) {
		export_log(&e.call);
		return;
	}
	nh_rc rc = call_transact(&e.call, export_run, false, &err);
	if (rc == NH_OK) {
		NH_AUTO_BUF struct nh_buf name = NH_BUF_INIT;
		nh_uri_put(&name, e.name);
		send_common_headers(req, res);
		nh_response_header(res, "content-disposition", nh_slice_str(nh_arena_printf(req->arena, "attachment; filename*=UTF-8''%s-audit-logs.%s", nh_buf_cstr(&name), e.ending)));
		nh_response_send(res, 200, e.type, nh_buf_slice(&e.text));
	}
	call_close(&e.call, rc, &err);
	nh_buf_fini(&e.text);
}

static const char *const words_formats[] = {"csv", "json", NULL}, *const words_org_formats[] = {"csv", "json", "jsonl", NULL};
#define BEFORE {"before", FIELD_INTEGER, FIELD_OPTIONAL, .about = "Only entries before the one of this number: a file holds the newest 10000"}
static SHAPE(export_query, "AuditExportQuery", {"format", FIELD_TEXT, FIELD_OPTIONAL, .words = words_formats, .about = "csv unless it is given"}, BEFORE);
static SHAPE(org_export_query, "AuditLogExportQuery",
             {"format", FIELD_TEXT, FIELD_OPTIONAL, .words = words_org_formats, .about = "csv unless it is given; jsonl: the whole log as lines of JSON that can be verified, oldest first"}, BEFORE,
             {"after", FIELD_INTEGER, FIELD_OPTIONAL, .about = "With jsonl: only what comes behind the anchor at this entry"});
static SHAPE(export_whole, "AuditExport", {"data", FIELD_OBJECT, FIELD_LIST, &audit_entry});
static const struct answer export_answers[] = {{200, NULL, &export_whole, "As JSON, where format says so"}, {0}};
static const struct answer org_export_answers[] = {{200, NULL, &export_whole, "As JSON, where format says so"},
						   {200, "application/jsonl", .about = "As lines of JSON, where format says so"},
						   {206, "application/jsonl", .about = "The part that was asked for"},
						   {416, "", .about = "There is no such part"},
						   {0}};

#define AUDIT(id, scope_, query_, answers_) \
	const struct endpoint ep_##id##_audit = {.run = audit_logs, .scope = (scope_), .may = NH_MAY_AUDIT_SEE, .success = 200, .query = &audit_query, .data = &audit_entry, .list = true, \
	                                         .beside = &shape_next, .tag = "Audit Log"};                                                                                     \
	const struct endpoint ep_##id##_audit_export = {.scope = (scope_), .may = NH_MAY_AUDIT_SEE, .success = 200, .query = &(query_), .media = "text/csv", .also = (answers_), \
	                                                .tag = "Audit Log"};
AUDIT(org, SCOPE_ORG, org_export_query, org_export_answers)
AUDIT(product, SCOPE_PRODUCT, export_query, export_answers)
AUDIT(device, SCOPE_DEVICE, export_query, export_answers)
AUDIT(group, SCOPE_PRODUCT, export_query, export_answers)

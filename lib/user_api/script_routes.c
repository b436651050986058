/*
 * Support scripts: rows, and running one on a device. A run is asked of the device through the relay; the answer to the request comes when the device's does, and no worker waits for it.
 *
 * source: reference/user-api-and-cli "14", "18.5"; reference/server-behaviour "6"
 */
#include <stdlib.h>

#include "api_int.h"
#include "base/encode.h"
#include "base/log.h"

#define TIMEOUT_MS UINT64_C(30000)
#define TIMEOUT_NH_MS UINT64_C(28000)
#define TIMEOUT_MAX_MS UINT64_C(600000)
#define ANSWER_MAX ((size_t)4 << 20) /* more than a device's message may hold */
#define AWAY "device not available or responding"

static json_t *render(const struct call *call, const struct nh_script *script) { return render_script(script, has_quirk(call->req, QUIRK_SCRIPT_TEXTS)); }

static json_t *render_all(const struct call *call, const struct nh_script *list, size_t count)
{
	json_t *out = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(out, render(call, &list[i]));
	return out;
}

/* ---- rows -------------------------------------------------------------------------------------------------------------- */

static nh_slice filter(const struct nh_device_query *q, const char *key)
{
	for (size_t i = 0; i < q->filter_count; i++) {
		if (nh_slice_eq_str(q->filters[i].key, key))
			return q->filters[i].value;
	}
	return NH_SLICE_EMPTY;
}

static nh_rc scripts(struct call *call, struct nh_err *err)
{
	struct nh_device_query q;
	struct nh_script_page page;
	NH_TRY(read_list_query(call, &q, err));
	const struct nh_script_query query = {filter(&q, "name"), filter(&q, "tags"), filter(&q, "search"), q.page, q.page_size};
	NH_TRY(nh_script_list(&call->ctx, &call->actor, call->org.id, call->product.id, &query, &page, err));
	call->data = render_all(call, page.items, page.count);
	set_page_numbers(call, page.page, page.page_size, page.total);
	return NH_OK;
}
static SHAPE(script_filters, "ScriptFilters", {"name", FIELD_TEXT, FIELD_OPTIONAL}, {"tags", FIELD_TEXT, FIELD_OPTIONAL}, {"search", FIELD_TEXT, FIELD_OPTIONAL, .about = "In name or tags"});
static SHAPE(scripts_query, "ScriptsQuery", SHAPE_PAGE_QUERY, {"filters", FIELD_OBJECT, FIELD_OPTIONAL, &script_filters});
const struct endpoint ep_scripts = {.run = scripts, .scope = SCOPE_PRODUCT, .may = NH_MAY_SCRIPT_SEE, .success = 200, .query = &scripts_query, .data = &shape_script_row, .list = true, .beside = &shape_pages, .tag = "Support Scripts"};

static nh_rc script_create(struct call *call, struct nh_err *err)
{
	struct nh_script s;
	NH_TRY(nh_script_create(&call->ctx, &call->actor, &call->product, call->params, &s, &call->errors, err));
	call->data = render(call, &s);
	return NH_OK;
}
static SHAPE(script_body, "ScriptWanted", {"name", FIELD_TEXT}, {"text", FIELD_TEXT}, {"tags", FIELD_TAGS, FIELD_OPTIONAL | FIELD_NULLABLE});
const struct endpoint ep_script_create = {
	.run = script_create, .scope = SCOPE_PRODUCT, .may = NH_MAY_SCRIPT_CREATE, .write = true, .success = 200, .body = &script_body, .data = &shape_script, .tag = "Support Scripts"};

/* NH_EFORMAT: the path's id is no number. */
static nh_rc open_script(struct call *call, nh_action action, struct nh_script *out, struct nh_err *err)
{
	int64_t id;
	if (nh_parse_i64(param(call, "id"), 0, INT64_MAX, &id) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "no such script");
	return nh_script_open(&call->ctx, &call->actor, &call->product, id, action, out, err);
}

static nh_rc script(struct call *call, struct nh_err *err)
{
	struct nh_script s;
	nh_rc rc = open_script(call, NH_MAY_SCRIPT_SEE, &s, err);
	if (rc == NH_EFORMAT)
		return NH_FAIL(err, NH_ENOTFOUND, "no such script");
	NH_TRY(rc);
	call->data = render(call, &s);
	return NH_OK;
}
const struct endpoint ep_script = {.run = script, .scope = SCOPE_PRODUCT, .may = NH_MAY_SCRIPT_SEE, .success = 200, .data = &shape_script, .tag = "Support Scripts"};

static nh_rc script_update(struct call *call, struct nh_err *err)
{
	struct nh_script s, changed;
	NH_TRY(open_script(call, NH_MAY_SCRIPT_UPDATE, &s, err));
	NH_TRY(nh_script_update(&call->ctx, &call->actor, &call->product, &s, call->params, &changed, &call->errors, err));
	call->data = render(call, &changed);
	return NH_OK;
}
static SHAPE(script_change, "ScriptChange", {"name", FIELD_TEXT, FIELD_OPTIONAL}, {"text", FIELD_TEXT, FIELD_OPTIONAL}, {"tags", FIELD_TAGS, FIELD_OPTIONAL | FIELD_NULLABLE});
const struct endpoint ep_script_update = {
	.run = script_update, .scope = SCOPE_PRODUCT, .may = NH_MAY_SCRIPT_UPDATE, .write = true, .success = 200, .body = &script_change, .data = &shape_script, .tag = "Support Scripts"};

static nh_rc script_delete(struct call *call, struct nh_err *err)
{
	struct nh_script s;
	NH_TRY(open_script(call, NH_MAY_SCRIPT_DELETE, &s, err));
	return nh_script_delete(&call->ctx, &call->actor, &call->product, &s, err);
}
const struct endpoint ep_script_delete = {
	.run = script_delete, .scope = SCOPE_PRODUCT, .may = NH_MAY_SCRIPT_DELETE, .write = true, .success = 204, .tag = "Support Scripts"};

/* ---- on a device ------------------------------------------------------------------------------------------------------- */

static nh_rc device_scripts(struct call *call, struct nh_err *err)
{
	struct nh_script *list;
	size_t count = 0;
	NH_TRY(nh_script_all(&call->ctx, &call->actor, call->device.org_id, call->device.product_id, &list, &count, err));
	call->data = render_all(call, list, count);
	return NH_OK;
}
const struct endpoint ep_device_scripts = {.run = device_scripts, .scope = SCOPE_DEVICE, .may = NH_MAY_SCRIPT_SEE, .success = 200, .data = &shape_script_row, .list = true, .tag = "Support Scripts"};
const struct endpoint ep_short_scripts = {
	.run = device_scripts, .scope = SCOPE_DEVICE_ANYWHERE, .may = NH_MAY_SCRIPT_SEE, .success = 200, .data = &shape_script_row, .list = true, .tag = "Support Scripts"};

/* Writes, since it is audited. */
static SHAPE(run_query, "ScriptRunQuery", {"timeout", FIELD_INTEGER, FIELD_OPTIONAL, .about = "Milliseconds"});
static const struct answer run_refusals[] = {{403, .about = "The device is away or does not answer in time"}, {0}};
const struct endpoint ep_script_run = {.scope = SCOPE_DEVICE, .may = NH_MAY_SCRIPT_RUN, .write = true, .success = 200, .query = &run_query, .media = "text/plain", .also = run_refusals, .tag = "Support Scripts"};
const struct endpoint ep_short_script_run = {
	.scope = SCOPE_DEVICE_ANYWHERE, .may = NH_MAY_SCRIPT_RUN, .write = true, .success = 200, .query = &run_query, .media = "text/plain", .also = run_refusals, .tag = "Devices (short URL)"};

struct run_call {
	struct call call; /* first */
	struct nh_script script;
};

static nh_rc find_script(struct call *call, struct nh_err *err)
{
	if (!call->api->loop) {
		call->errors = json_pack("{s:s}", "detail", AWAY);
		call->status = 403;
		return NH_FAIL(err, NH_EINVAL, "there is no relay to devices");
	}
	return nh_script_run(&call->ctx, &call->actor, &call->device, param(call, "name_or_id"), &((struct run_call *)call)->script, err);
}

static nh_rc read_timeout(struct call *call, uint64_t *ms, struct nh_err *err)
{
	nh_slice text = NH_SLICE_EMPTY;
	const json_t *value = json_object_get(call->params, "timeout");
	*ms = has_quirk(call->req, QUIRK_SCRIPT_PATIENCE) ? TIMEOUT_NH_MS : TIMEOUT_MS;
	if (!value)
		return NH_OK;
	if (json_is_integer(value) && json_integer_value(value) > 0)
		*ms = (uint64_t)json_integer_value(value);
	else if ((text = nh_json_text(call->params, "timeout")).len == 0 || nh_parse_u64(text, 1, UINT64_MAX, ms) != NH_OK)
		return bad_request(call, err, "timeout must be a number of milliseconds");
	*ms = *ms < TIMEOUT_MAX_MS ? *ms : TIMEOUT_MAX_MS;
	return NH_OK;
}

/* [loop] Once, whatever becomes of the device. */
static void on_answer(void *ctx, nh_rc rc, nh_slice payload)
{
	NH_AUTO_JSON json_t *answer = NULL;
	if (rc == NH_OK && nh_json_parse(payload, ANSWER_MAX, &answer, NULL) == NH_OK)
		nh_later_send(ctx, 200, "text/plain; charset=utf-8", nh_json_text(answer, "output"));
	else
		nh_later_send(ctx, 403, "application/json; charset=utf-8", NH_LIT("{\"errors\":{\"detail\":\"" AWAY "\"}}"));
}

static void ask(struct run_call *r, struct nh_later *take_later, uint64_t timeout_ms)
{
	const struct nh_user_api *api = r->call.api;
	NH_AUTO_JSON json_t *payload = json_pack("{s:o, s:I}", "text", nh_json_new_text(r->script.text), "timeout", (json_int_t)timeout_ms);
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_json_put(&text, payload);
	nh_relay_ask(api->config.relay, r->call.device.id, NH_LIT("scripts/run"), nh_buf_slice(&text), timeout_ms, api->loop, on_answer, take_later);
}

void handle_script_run(struct nh_request *req, struct nh_response *res)
{
	struct run_call r = {0};
	struct nh_err err = NH_ERR_INIT;
	uint64_t timeout_ms = 0;
	if (!call_open(&r.call, req, res, req->route->extra))
		return;
	nh_rc rc = read_timeout(&r.call, &timeout_ms, &err);
	if (rc == NH_OK)
		rc = call_transact(&r.call, find_script, true, &err);
	struct nh_later *later = rc == NH_OK ? nh_response_later(res) : NULL;
	if (rc == NH_OK && !later)
		rc = NH_FAIL(&err, NH_EAGAIN, "too many requests wait for devices");
	if (!later) {
		call_close(&r.call, rc, &err);
		return;
	}
	send_common_headers(req, res);
	nh_response_header(res, "x-content-type-options", NH_LIT("nosniff")); /* what a device says is text, whatever it looks like */
	ask(&r, later, timeout_ms);
	call_leave(&r.call);
}

/*
 * The list of a product's devices: filters, the query language, orders, numbered pages and pages behind a cursor; and the whole list as CSV.
 *
 * The CSV is written to a file without a name, page by page in transactions of their own, and then handed out: its memory is that of one page however long the list is. A device that
 * changes its place meanwhile may be missing or come twice, as in any list that is read page by page.
 *
 * source: reference/user-api-and-cli "5", "11.2"; reference/server-behaviour "14.1" "14.2"; reference/web-ui "10"
 */
#include <unistd.h>

#include "api_int.h"
#include "base/encode.h"

/* ---- what is asked for --------------------------------------------------------------------------------------------------- */

static bool bracketed(nh_slice name, const char *outer, nh_slice *inner)
{
	nh_slice head, rest;
	if (!nh_slice_cut(name, '[', &head, &rest) || !nh_slice_eq_str(head, outer) || !nh_slice_ends(rest, NH_LIT("]")))
		return false;
	*inner = nh_slice_sub(rest, 0, rest.len - 1);
	return true;
}

static nh_rc refuse(struct call *call, const char *field, const char *text, struct nh_err *err)
{
	json_decref(call->errors);
	call->errors = json_pack("{s:[s]}", field, text);
	return NH_FAIL(err, NH_EINVAL, "%s %s", field, text);
}

static nh_rc read_page(struct call *call, nh_slice key, nh_slice value, struct nh_device_query *q, struct nh_err *err)
{
	if (nh_slice_eq_str(key, "after")) {
		q->keyset = true;
		q->after = value;
		return NH_OK;
	}
	int64_t *to = nh_slice_eq_str(key, "page") ? &q->page : nh_slice_eq_str(key, "page_size") ? &q->page_size : NULL;
	if (to && nh_parse_i64(value, 1, INT64_C(1000000000), to) != NH_OK)
		return refuse(call, "pagination", "is invalid", err);
	return NH_OK;
}

static nh_rc read_direction(struct call *call, nh_slice value, struct nh_device_query *q, struct nh_err *err)
{
	static const struct {
		const char *word;
		bool descending;
		nh_nulls nulls;
	} directions[] = {
		{"", false, NH_NULLS_DEFAULT},
		{"asc", false, NH_NULLS_DEFAULT},
		{"asc_nulls_first", false, NH_NULLS_FIRST},
		{"asc_nulls_last", false, NH_NULLS_LAST},
		{"desc", true, NH_NULLS_DEFAULT},
		{"desc_nulls_first", true, NH_NULLS_FIRST},
		{"desc_nulls_last", true, NH_NULLS_LAST},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(directions); i++) {
		if (nh_slice_eq_str(value, directions[i].word)) {
			q->descending = directions[i].descending;
			q->nulls = directions[i].nulls;
			return NH_OK;
		}
	}
	call->status = 400;
	return refuse(call, "sort_direction", "is invalid", err);
}

/* A filter that was left out would find more than was asked for: too many are refused, not cut off. */
static nh_rc add_filter(struct call *call, struct nh_filter *filters, nh_slice key, nh_slice value, struct nh_device_query *q, struct nh_err *err)
{
	if (q->filter_count == NH_DEVICE_FILTERS_MAX)
		return refuse(call, "filters", "too many", err);
	filters[q->filter_count++] = (struct nh_filter){key, value};
	return NH_OK;
}

nh_rc read_list_query(struct call *call, struct nh_device_query *q, struct nh_err *err)
{
	struct nh_filter *filters = NH_NEW_ARRAY(call->arena, NH_DEVICE_FILTERS_MAX, struct nh_filter);
	nh_slice rest = call->req->query, name, value, key;
	bool has = true;
	*q = (struct nh_device_query){.filters = filters};
	for (;;) {
		if (nh_http_query_next(&rest, call->arena, &name, &value, &has) != NH_OK)
			return bad_request(call, err, "Invalid request");
		if (!has)
			return NH_OK;
		if (nh_slice_eq_str(name, "sort"))
			q->sort = value;
		else if (nh_slice_eq_str(name, "query"))
			q->text = value;
		else if (nh_slice_eq_str(name, "sort_direction"))
			NH_TRY(read_direction(call, value, q, err));
		else if (bracketed(name, "pagination", &key))
			NH_TRY(read_page(call, key, value, q, err));
		else if (bracketed(name, "filters", &key))
			NH_TRY(add_filter(call, filters, key, value, q, err));
	}
}

static nh_rc find(struct call *call, struct nh_ctx *ctx, const struct nh_device_query *query, struct nh_device_page *page, struct nh_err *err)
{
	nh_rc rc = nh_device_list(ctx, &call->actor, &call->product, query, page, &call->errors, err);
	if (rc == NH_EINVAL && call->errors && json_object_get(call->errors, "sort"))
		call->status = 400;
	return rc;
}

/* ---- pages --------------------------------------------------------------------------------------------------------------- */

void set_page_numbers(struct call *call, int64_t page, int64_t page_size, int64_t total)
{
	call->extra = json_pack("{s:{s:I, s:I, s:I, s:I}}", "pagination", "page_number", (json_int_t)page, "page_size", (json_int_t)page_size, "total_entries",
	                        (json_int_t)total, "total_pages", (json_int_t)((total + page_size - 1) / page_size));
}

static nh_rc devices(struct call *call, struct nh_err *err)
{
	struct nh_device_query query;
	struct nh_device_page page;
	NH_TRY(read_list_query(call, &query, err));
	NH_TRY(find(call, &call->ctx, &query, &page, err));
	call->data = json_array();
	for (size_t i = 0; i < page.count; i++)
		json_array_append_new(call->data, render_device(&page.items[i]));
	set_page_numbers(call, page.page, page.page_size, page.total);
	json_t *numbers = json_object_get(call->extra, "pagination");
	if (query.keyset) {
		json_object_del(numbers, "page_number");
		json_object_del(numbers, "total_pages");
	}
	if (page.total < 0)
		json_object_del(numbers, "total_entries");
	json_object_set_new(numbers, "next", page.next.len > 0 ? nh_json_new_text(page.next) : json_null());
	return NH_OK;
}

static SHAPE(device_filters, "DeviceFilters", {"identifier", FIELD_TEXT, FIELD_OPTIONAL, .about = "A part of it"},
             {"search", FIELD_TEXT, FIELD_OPTIONAL, .about = "In identifier, firmware version, platform or a tag"}, {"tags", FIELD_TEXT, FIELD_OPTIONAL, .about = "With commas between them"},
             {"has_no_tags", FIELD_TEXT, FIELD_OPTIONAL},
             {"connection", FIELD_TEXT, FIELD_OPTIONAL, .about = "`connected`, `disconnected`, `connecting`, `not_seen`, `not_seen_in_seven_days`, `not_seen_in_fourteen_days`"},
             {"connection_type", FIELD_TEXT, FIELD_OPTIONAL, .about = "`wifi`, `ethernet`, `cellular`, `unknown`"}, {"firmware_version", FIELD_TEXT, FIELD_OPTIONAL},
             {"platform", FIELD_TEXT, FIELD_OPTIONAL, .about = "`Unknown`: without one"}, {"updates", FIELD_TEXT, FIELD_OPTIONAL, .about = "`enabled`, `disabled`, `penalty-box`"},
             {"deployment_id", FIELD_TEXT, FIELD_OPTIONAL}, {"alarm", FIELD_TEXT, FIELD_OPTIONAL, .about = "A part of its latest health report's alarms"},
             {"alarm_status", FIELD_TEXT, FIELD_OPTIONAL, .about = "`with`, `without`"}, {"health_status", FIELD_TEXT, FIELD_OPTIONAL, .about = "`healthy`, `warning`, `unhealthy`, `unknown`"},
             {"metrics_key", FIELD_TEXT, FIELD_OPTIONAL, .about = "With metrics_operator and metrics_value"}, {"metrics_operator", FIELD_TEXT, FIELD_OPTIONAL, .about = "`gt`, `lt`"},
             {"metrics_value", FIELD_TEXT, FIELD_OPTIONAL, .about = "A number"}, {"only_updating", FIELD_TEXT, FIELD_OPTIONAL, .about = "`true`: those with an update under way"},
             {"display_deleted", FIELD_TEXT, FIELD_OPTIONAL, .about = "`exclude`, `include`, `only`"});
#define SHAPE_LIST_QUERY                                                                                                                                            \
	{"filters", FIELD_OBJECT, FIELD_OPTIONAL, &device_filters, .about = "Those that are not known are ignored"},                                                \
	{"query", FIELD_TEXT, FIELD_OPTIONAL, .about = "Of the query language: docs/guides/queries.md; other text is searched for"},                                \
	{"sort", FIELD_TEXT, FIELD_OPTIONAL, .about = "A column: `identifier` unless it is given"},                                                                 \
	{"sort_direction", FIELD_TEXT, FIELD_OPTIONAL, .about = "`asc` or `desc`, also with `_nulls_first` or `_nulls_last` behind it"}
static SHAPE(page_wanted, "DevicePageWanted", {"page", FIELD_INTEGER, FIELD_OPTIONAL, .about = "From 1, which is also the default"}, {"page_size", FIELD_INTEGER, FIELD_OPTIONAL},
             {"after", FIELD_TEXT, FIELD_OPTIONAL, .about = "`next` of the page before, or nothing for the first one: pages of equal cost, however many there are"});
static SHAPE(devices_query, "DevicesQuery", {"pagination", FIELD_OBJECT, FIELD_OPTIONAL, &page_wanted}, SHAPE_LIST_QUERY);
static SHAPE(page_numbers, "DevicePageNumbers", {"page_number", FIELD_INTEGER, FIELD_OPTIONAL, .about = "Not with `after`"}, {"page_size", FIELD_INTEGER},
             {"total_entries", FIELD_INTEGER, FIELD_OPTIONAL, .about = "With filters or a query counted up to 10000, and not with `after`"},
             {"total_pages", FIELD_INTEGER, FIELD_OPTIONAL, .about = "Not with `after`"},
             {"next", FIELD_TEXT, FIELD_NULLABLE, .about = "What to ask with next, as `pagination[after]`; null: there is no more"});
static SHAPE(beside_devices, "DevicePages", {"pagination", FIELD_OBJECT, 0, &page_numbers});
const struct endpoint ep_devices = {.run = devices, .scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_SEE, .success = 200, .query = &devices_query, .data = &shape_device, .list = true, .beside = &beside_devices, .tag = "Devices"};

/* ---- CSV ----------------------------------------------------------------------------------------------------------------- */

struct export {
	struct call call; /* first */
	struct nh_arena arena;  /* of one page */
	struct nh_buf text;     /* lines of one page */
	struct nh_buf after;    /* where it begins */
	nh_slice next;          /* and the next one */
};

static nh_rc put_certificates(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, struct nh_buf *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	struct nh_device_certificate *list;
	size_t count = 0;
	NH_TRY(nh_device_certificate_list(ctx, actor, device, &list, &count, err));
	for (size_t i = 0; i < count; i++) {
		NH_AUTO_CERT struct nh_cert *cert = NULL;
		if (nh_cert_parse_der(list[i].der, &cert, NULL) == NH_OK)
			nh_cert_put_pem(&pem, cert);
	}
	csv_put_cell(out, nh_buf_slice(&pem), true);
	return NH_OK;
}

static nh_rc put_line(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, struct nh_buf *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf tags = NH_BUF_INIT;
	NH_AUTO_JSON json_t *list = NULL;
	if (device->tags.len > 0)
		NH_TRY(nh_json_parse(device->tags, (size_t)1 << 20, &list, err));
	for (size_t i = 0; i < json_array_size(list); i++)
		nh_buf_printf(&tags, "%s%s", i ? "," : "", json_string_value(json_array_get(list, i)));
	csv_put_cell(out, device->identifier, false);
	csv_put_cell(out, device->description, false);
	csv_put_cell(out, nh_buf_slice(&tags), false);
	csv_put_cell(out, device->product_name, false);
	csv_put_cell(out, device->org_name, false);
	return put_certificates(ctx, actor, device, out, err);
}

/* One page: its lines, and where the next one begins. Run again, it says the same. */
static nh_rc export_page(struct call *call, struct nh_err *err)
{
	struct export *e = (struct export *)call;
	struct nh_device_query query;
	struct nh_device_page page;
	nh_arena_reset(&e->arena);
	nh_buf_clear(&e->text);
	struct nh_ctx ctx = call->ctx;
	ctx.arena = &e->arena;
	NH_TRY(read_list_query(call, &query, err));
	query.keyset = true;
	query.after = nh_buf_slice(&e->after);
	query.page = 1;
	query.page_size = query.page_size_max = NH_DEVICE_EXPORT_PAGE;
	NH_TRY(find(call, &ctx, &query, &page, err));
	for (size_t i = 0; i < page.count; i++)
		NH_TRY(put_line(&ctx, &call->actor, &page.items[i], &e->text, err));
	NH_TRY(nh_buf_check(&e->text, "a page of the list", err));
	e->next = page.next;
	return NH_OK;
}

static nh_rc write_pages(struct export *e, struct nh_object_upload *file, uint64_t *size, struct nh_err *err)
{
	static const char head[] = "identifier,description,tags,product,org,certificates\r\n";
	NH_TRY(nh_object_upload_write(file, nh_slice_str(head), err));
	*size = sizeof(head) - 1;
	do {
		NH_TRY(call_transact(&e->call, export_page, false, err));
		NH_TRY(nh_object_upload_write(file, nh_buf_slice(&e->text), err));
		*size += e->text.len;
		nh_buf_clear(&e->after);
		nh_buf_put_slice(&e->after, e->next);
	} while (e->after.len > 0);
	return NH_OK;
}

void handle_devices_csv(struct nh_request *req, struct nh_response *res)
{
	struct export e = {0};
	struct nh_err err = NH_ERR_INIT;
	struct nh_object_upload *file = NULL;
	uint64_t size = 0;
	int fd = -1;
	if (!call_open(&e.call, req, res, req->route->extra))
		return;
	/* Who may not see the list learns so before a file is made. */
	nh_rc rc = call_transact(&e.call, NULL, false, &err);
	if (rc == NH_OK)
		rc = nh_objects_upload(e.call.api->config.objects, &file, &err);
	if (rc == NH_OK)
		rc = write_pages(&e, file, &size, &err);
	if (rc == NH_OK)
		rc = nh_object_upload_fd(file, &fd, &err);
	if (rc == NH_OK) {
		send_common_headers(req, res);
		nh_response_header(res, "content-disposition", nh_slice_str("attachment; filename=\"devices.csv\""));
		nh_response_file(res, dup(fd), size, "text/csv; charset=utf-8", NH_SLICE_EMPTY);
	}
	nh_object_upload_abort(file);
	call_close(&e.call, rc, &err);
	nh_buf_fini(&e.text);
	nh_arena_fini(&e.arena);
	nh_buf_fini(&e.after);
}

static SHAPE(csv_query, "DevicesCsvQuery", SHAPE_LIST_QUERY);
static const struct answer csv_answers[] = {
	{206, "text/csv", .about = "The part that was asked for"},
	{416, "", .about = "There is no such part"},
	{0},
};
const struct endpoint ep_devices_csv = {.scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_SEE, .success = 200, .query = &csv_query, .media = "text/csv", .also = csv_answers, .tag = "Devices"};

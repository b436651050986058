/*
 * `nh device`: devices and what can be asked of them. Certificates: cmd_certificate.c.
 *
 * source: reference/user-api-and-cli "11" "18.7"
 */
#include "base/encode.h"
#include "cli_int.h"

static const struct cli_shape metadata_shape[] = {
	{"uuid", SHAPE_TEXT},	{"version", SHAPE_TEXT},     {"platform", SHAPE_TEXT}, {"architecture", SHAPE_TEXT},
	{"author", SHAPE_TEXT}, {"description", SHAPE_TEXT}, {"fwup_version", SHAPE_TEXT}, {"id", SHAPE_TEXT},
	{"misc", SHAPE_TEXT},	{"product", SHAPE_TEXT},     {"vcs_identifier", SHAPE_TEXT}, {NULL},
};
static const struct cli_shape group_shape[] = {
	{"name", SHAPE_TEXT}, {"firmware_uuid", SHAPE_TEXT}, {"firmware_version", SHAPE_TEXT}, {"is_active", SHAPE_BOOL}, {NULL}};
static const struct cli_shape device_shape[] = {
	{"identifier", SHAPE_TEXT},
	{"connection_status", SHAPE_TEXT},
	{"online", SHAPE_TEXT},
	{"description", SHAPE_TEXT},
	{"tags", SHAPE_TEXTS},
	{"version", SHAPE_TEXT},
	{"org_name", SHAPE_TEXT},
	{"product_name", SHAPE_TEXT},
	{"updates_enabled", SHAPE_BOOL},
	{"updates_blocked_until", SHAPE_TIME, true},
	/* Never left out: "never" prints as the zero time. */
	{"last_communication", SHAPE_TIME},
	{"last_failure", SHAPE_TEXT, true},
	{"last_failure_at", SHAPE_TIME, true},
	{"firmware_metadata", SHAPE_OBJECT, true, metadata_shape},
	{"deployment_group", SHAPE_OBJECT, true, group_shape},
	{NULL},
};
static const struct cli_shape pagination_shape[] = {
	{"page", SHAPE_INT, .from = "page_number"}, {"page_size", SHAPE_INT}, {"total_pages", SHAPE_INT}, {"total_count", SHAPE_INT, .from = "total_entries"}, {NULL}};

static const char *status_of(const json_t *d)
{
	const char *status = cli_get(d, "connection_status");
	return *status ? status : cli_dash(cli_get(d, "online"));
}

/* "&name=value", escaped */
static void put_query(struct nh_buf *q, const char *name, const char *value)
{
	nh_buf_put_str(q, q->len ? "&" : "");
	nh_uri_put(q, nh_slice_str(name));
	nh_buf_put_u8(q, '=');
	nh_uri_put(q, nh_slice_str(value));
}

static nh_rc put_page(struct nh_cli *c, struct nh_buf *q, const char *flag, const char *name, struct nh_err *err)
{
	const char *text = cli_text(c, flag);
	uint64_t n = 0;
	if (text && nh_parse_u64(nh_slice_str(text), 1, 1000000, &n) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "--%s needs a number from 1, not '%.60s'", flag, text);
	if (text)
		put_query(q, name, text);
	return NH_OK;
}

static nh_rc list_query(struct nh_cli *c, struct nh_buf *q, struct nh_err *err)
{
	nh_slice column, direction;
	const struct nh_option_list *filters = cli_list(c, "filter");
	NH_TRY(put_page(c, q, "page", "pagination[page]", err));
	NH_TRY(put_page(c, q, "page-size", "pagination[page_size]", err));
	if (cli_text(c, "sort")) {
		bool given = nh_slice_cut(nh_slice_str(cli_text(c, "sort")), ':', &column, &direction);
		if (given && !nh_slice_eq_str(direction, "asc") && !nh_slice_eq_str(direction, "desc"))
			return NH_FAIL(err, NH_EINVAL, "--sort needs column, column:asc or column:desc");
		put_query(q, "sort", nh_arena_str(&c->arena, column));
		put_query(q, "sort_direction", given ? nh_arena_str(&c->arena, direction) : "asc");
	}
	for (size_t i = 0; i < filters->count; i++) {
		nh_slice key, value;
		if (!nh_slice_cut(nh_slice_str(filters->items[i]), ':', &key, &value) || key.len == 0)
			return NH_FAIL(err, NH_EINVAL, "--filter needs key:value, not '%.80s'", filters->items[i]);
		put_query(q, nh_arena_printf(&c->arena, "filters[%.*s]", NH_ARG(key)), nh_arena_str(&c->arena, value));
	}
	return NH_OK;
}

static nh_rc list(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT;
	NH_AUTO_JSON json_t *answer = NULL;
	NH_TRY(list_query(c, &query, err));
	NH_TRY(cli_api(c, &(struct cli_request){"GET", cli_product_route(c, "devices", NULL), nh_buf_cstr(&query)}, &answer, err));
	NH_AUTO_JSON json_t *out = json_object();
	const json_t *pagination = json_object_get(answer, "pagination");
	json_object_set_new(out, "data", cli_shape_list(device_shape, json_object_get(answer, "data")));
	if (json_is_object(pagination))
		json_object_set_new(out, "pagination", cli_shape_object(pagination_shape, pagination));
	if (c->json) {
		cli_out_json(c, out);
		return NH_OK;
	}
	struct cli_table t = {.arena = &c->arena, .columns = 3};
	size_t i;
	json_t *d;
	cli_table_row(&t, "IDENTIFIER", "STATUS", "VERSION");
	json_array_foreach(json_object_get(out, "data"), i, d) cli_table_row(&t, cli_get(d, "identifier"), status_of(d), cli_dash(cli_get(d, "version")));
	const json_t *p = json_object_get(out, "pagination");
	if (p)
		cli_out(c, "Page %lld of %lld — %lld device(s) total\n\n", (long long)nh_json_int(p, "page", 0), (long long)nh_json_int(p, "total_pages", 0),
			(long long)nh_json_int(p, "total_count", 0));
	if (t.rows == 1)
		cli_out(c, "No devices found in %s/%s.\n", c->org, c->product);
	else
		cli_table_print(c, &t);
	return NH_OK;
}

static void print_device(struct nh_cli *c, const json_t *d)
{
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	NH_AUTO_BUF struct nh_buf tags = NH_BUF_INIT;
	size_t i;
	json_t *tag;
	json_array_foreach(json_object_get(d, "tags"), i, tag) nh_buf_printf(&tags, "%s%s", i ? ", " : "", json_string_value(tag));
	const json_t *firmware = json_object_get(d, "firmware_metadata"), *last = json_object_get(d, "last_communication");
	bool never = nh_slice_starts(nh_slice_str(json_string_value(last)), NH_LIT("0001-"));
	cli_table_detail(&t, "Identifier", cli_get(d, "identifier"));
	cli_table_detail(&t, "Status", status_of(d));
	cli_table_detail(&t, "Online", cli_get(d, "online"));
	cli_table_detail(&t, "Version", cli_get(d, "version"));
	cli_table_detail(&t, "Tags", nh_buf_cstr(&tags));
	cli_table_detail(&t, "Description", cli_get(d, "description"));
	cli_table_detail(&t, "Updates enabled", nh_json_bool(d, "updates_enabled", false) ? "yes" : "no");
	cli_table_detail(&t, "Updates blocked until", cli_time_cell(c, json_object_get(d, "updates_blocked_until"), false));
	cli_table_detail(&t, "Last communication", never ? "never" : cli_time_cell(c, last, false));
	if (firmware)
		cli_table_detail(&t, "Firmware", nh_arena_printf(&c->arena, "%s (%s)", cli_get(firmware, "version"), cli_get(firmware, "uuid")));
	cli_table_detail(&t, "Last update failure", cli_get(d, "last_failure"));
	cli_table_detail(&t, "Failed at", cli_time_cell(c, json_object_get(d, "last_failure_at"), false));
	cli_table_detail(&t, "Deployment group", cli_get(json_object_get(d, "deployment_group"), "name"));
	cli_table_print(c, &t);
}

static nh_rc show_device(struct nh_cli *c, const json_t *d, const char *headline)
{
	if (c->json) {
		cli_out_json(c, d);
		return NH_OK;
	}
	if (headline)
		cli_out(c, "%s\n", headline);
	print_device(c, d);
	return NH_OK;
}

static nh_rc show(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *d = NULL;
	NH_TRY(cli_call(c, "GET", cli_product_route(c, "devices", c->args[0], NULL), NULL, device_shape, false, &d, err));
	return show_device(c, d, NULL);
}

/* The flags that were given, as members of the documented top-level form; *body NULL on failure. */
static nh_rc fields(struct nh_cli *c, json_t **body, struct nh_err *err)
{
	const struct nh_option_list *tags = cli_list(c, "tag");
	const char *group = cli_text(c, "deployment-group-id");
	bool given, enabled;
	uint64_t id = 0;
	*body = NULL;
	NH_TRY(cli_bool(c, "updates-enabled", &given, &enabled, err));
	if (group && nh_parse_u64(nh_slice_str(group), 1, INT64_MAX, &id) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "--deployment-group-id needs a number, not '%.60s'", group);
	*body = json_object();
	if (cli_text(c, "description"))
		json_object_set_new(*body, "description", nh_json_new_text(nh_slice_str(cli_text(c, "description"))));
	if (tags->count) {
		json_t *all = json_array();
		for (size_t i = 0; i < tags->count; i++)
			json_array_append_new(all, nh_json_new_text(nh_slice_str(tags->items[i])));
		json_object_set_new(*body, "tags", all);
	}
	if (given)
		json_object_set_new(*body, "updates_enabled", json_boolean(enabled));
	if (group)
		json_object_set_new(*body, "deployment_id", json_integer((json_int_t)id));
	return NH_OK;
}

static nh_rc create(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *d = NULL;
	json_t *body;
	NH_TRY(fields(c, &body, err));
	json_object_set_new(body, "identifier", nh_json_new_text(nh_slice_str(c->args[0])));
	NH_TRY(cli_call(c, "POST", cli_product_route(c, "devices", NULL), body, device_shape, false, &d, err));
	return show_device(c, d, nh_arena_printf(&c->arena, "Created device %s in %s/%s", c->args[0], c->org, c->product));
}

static nh_rc update(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *d = NULL;
	json_t *body;
	NH_TRY(fields(c, &body, err));
	if (json_object_size(body) == 0) {
		json_decref(body);
		return NH_FAIL(err, NH_EINVAL, "nothing to update: provide --description, --tag, --updates-enabled, or --deployment-group-id");
	}
	NH_TRY(cli_call(c, "PUT", cli_product_route(c, "devices", c->args[0], NULL), body, device_shape, false, &d, err));
	return show_device(c, d, nh_arena_printf(&c->arena, "Updated device %s", c->args[0]));
}

static nh_rc delete(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(cli_confirm(c, "delete", cli_on(c, "yes"), err,
			   nh_arena_printf(&c->arena, "Delete device %s from %s/%s?", c->args[0], c->org, c->product)));
	NH_TRY(cli_act(c, "DELETE", cli_product_route(c, "devices", c->args[0], NULL), NULL, err));
	cli_out(c, "Deleted device %s from %s/%s\n", c->args[0], c->org, c->product);
	return NH_OK;
}

static json_t *one_member(const char *name, const char *text)
{
	json_t *body = json_object();
	json_object_set_new(body, name, nh_json_new_text(nh_slice_str(text)));
	return body;
}

static nh_rc upgrade(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(cli_act(c, "POST", cli_product_route(c, "devices", c->args[0], "upgrade", NULL), one_member("uuid", c->args[1]), err));
	cli_out(c, "Upgrade to %s requested for device %s\n", c->args[1], c->args[0]);
	return NH_OK;
}

static nh_rc move(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf query = NH_BUF_INIT;
	NH_AUTO_JSON json_t *answer = NULL;
	const char *product = cli_text(c, "to-product"), *org = cli_text(c, "to-org") ? cli_text(c, "to-org") : c->org;
	if (!product || !*product)
		return NH_FAIL(err, NH_EINVAL, "--to-product is required");
	put_query(&query, "new_org_name", org);
	put_query(&query, "new_product_name", product);
	NH_TRY(cli_api(c, &(struct cli_request){"POST", cli_product_route(c, "devices", c->args[0], "move", NULL), nh_buf_cstr(&query)}, &answer, err));
	NH_AUTO_JSON json_t *d = cli_shape_object(device_shape, json_object_get(answer, "data"));
	if (c->json)
		cli_out_json(c, d);
	else
		cli_out(c, "Moved device %s to %s/%s\n", c->args[0], org, product);
	return NH_OK;
}

static nh_rc reboot(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(cli_act(c, "POST", cli_product_route(c, "devices", c->args[0], "reboot", NULL), NULL, err));
	cli_out(c, "Reboot requested for device %s\n", c->args[0]);
	return NH_OK;
}

static nh_rc reconnect(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(cli_act(c, "POST", cli_product_route(c, "devices", c->args[0], "reconnect", NULL), NULL, err));
	cli_out(c, "Reconnect requested for device %s\n", c->args[0]);
	return NH_OK;
}

static nh_rc clear_penalty(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(cli_act(c, "DELETE", cli_product_route(c, "devices", c->args[0], "penalty", NULL), NULL, err));
	cli_out(c, "Cleared the penalty box for device %s\n", c->args[0]);
	return NH_OK;
}

static nh_rc run_code(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(cli_act(c, "POST", cli_product_route(c, "devices", c->args[0], "code", NULL), one_member("code", c->args[1]), err));
	cli_out(c, "Sent code to device %s\n", c->args[0]);
	return NH_OK;
}

static const struct cli_flag list_flags[] = {{"page", 0, CLI_TEXT, "N", "page to show"},
					     {"page-size", 0, CLI_TEXT, "N", "devices a page"},
					     {"sort", 0, CLI_TEXT, "COLUMN", "column, column:asc or column:desc"},
					     {"filter", 0, CLI_LIST, "KEY:VALUE", "for example connection:connected; repeatable"},
					     {NULL}};
static const struct cli_flag field_flags[] = {{"description", 0, CLI_TEXT, "TEXT", "free text"},
					      {"tag", 0, CLI_LIST, "TAG", "repeatable; on update the new set of tags"},
					      {"updates-enabled", 0, CLI_BOOL, "BOOL", "may it be updated"},
					      {"deployment-group-id", 0, CLI_TEXT, "N", "database id of a deployment group"},
					      {NULL}};
static const struct cli_flag move_flags[] = {
	{"to-product", 0, CLI_TEXT, "NAME", "product to move to"}, {"to-org", 0, CLI_TEXT, "NAME", "its organization (default: the same)"}, {NULL}};

const struct cli_command cli_device_commands[] = {
	{"device list", "", 0, 0, CLI_IN_PRODUCT, list_flags, list, "list devices"},
	{"device show", "<id>", 1, 1, CLI_IN_PRODUCT, NULL, show, "show a device"},
	{"device create", "<id>", 1, 1, CLI_IN_PRODUCT, field_flags, create, "create a device"},
	{"device update", "<id>", 1, 1, CLI_IN_PRODUCT, field_flags, update, "change a device"},
	{"device delete", "<id>", 1, 1, CLI_IN_PRODUCT, cli_yes_flags, delete, "delete a device"},
	{"device upgrade", "<id> <uuid>", 2, 2, CLI_IN_PRODUCT, NULL, upgrade, "send a firmware to a device now"},
	{"device move", "<id>", 1, 1, CLI_IN_PRODUCT, move_flags, move, "move a device to another product"},
	{"device reboot", "<id>", 1, 1, CLI_IN_PRODUCT, NULL, reboot, "ask a device to reboot"},
	{"device reconnect", "<id>", 1, 1, CLI_IN_PRODUCT, NULL, reconnect, "make a device connect anew"},
	{"device clear-penalty", "<id>", 1, 1, CLI_IN_PRODUCT, NULL, clear_penalty, "let a device out of the penalty box"},
	{"device run-code", "<id> <code>", 2, 2, CLI_IN_PRODUCT, NULL, run_code, "type code into the device's console"},
	{NULL},
};

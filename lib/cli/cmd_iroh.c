/*
 * `nh iroh-endpoint`: what devices and members of an organization are called in the iroh network.
 *
 * source: reference/user-api-and-cli "11.8" "18.7"
 */
#include <stdlib.h>

#include "cli_int.h"

static const struct cli_shape owner_shape[] = {
	{"type", SHAPE_TEXT}, {"device_identifier", SHAPE_TEXT, true}, {"user_name", SHAPE_TEXT, true}, {"user_email", SHAPE_TEXT, true}, {NULL}};
static const struct cli_shape endpoint_shape[] = {
	{"identifier", SHAPE_TEXT}, {"service", SHAPE_TEXT}, {"instance", SHAPE_TEXT}, {"source", SHAPE_TEXT}, {"details", SHAPE_ANY, true},
	{"last_reported_at", SHAPE_TIME}, {"inserted_at", SHAPE_TIME}, {"updated_at", SHAPE_TIME}, {"owner", SHAPE_OBJECT, false, owner_shape}, {NULL}};

static const char *owner(struct nh_cli *c, const json_t *endpoint, const json_t *value)
{
	const char *type = cli_get(value, "type"), *device = cli_get(value, "device_identifier"), *email = cli_get(value, "user_email");
	return *device || *email ? nh_arena_printf(&c->arena, "%s (%s)", type, *device ? device : email) : type;
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static const char *details(struct nh_cli *c, const json_t *endpoint, const json_t *value)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	const char *names[64], *key;
	size_t count = 0;
	json_t *item;
	json_object_foreach((json_t *)value, key, item) if (count < NH_ARRAY_LEN(names)) names[count++] = key;
	qsort(names, count, sizeof names[0], by_name);
	for (size_t i = 0; i < count; i++) {
		item = json_object_get(value, names[i]);
		nh_buf_printf(&b, "%s%s=", i ? ", " : "", names[i]);
		if (json_is_string(item))
			nh_buf_put_str(&b, json_string_value(item));
		else
			nh_json_put(&b, item);
	}
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}

static const struct cli_cell endpoint_list[] = {{"IDENTIFIER", "identifier"}, {"INSTANCE", "instance"}, {"SOURCE", "source"}, {"OWNER", "owner", owner},
						{"LAST REPORTED", "last_reported_at", cli_as_time}, {NULL}};
static const struct cli_cell endpoint_detail[] = {{"Identifier", "identifier"}, {"Service", "service"}, {"Instance", "instance"}, {"Source", "source"},
						  {"Owner", "owner", owner}, {"Last reported", "last_reported_at", cli_as_time}, {"Created", "inserted_at", cli_as_time},
						  {"Updated", "updated_at", cli_as_time}, {"Details", "details", details}, {NULL}};
static const struct cli_view endpoint_view = {endpoint_shape, endpoint_list, endpoint_detail, "No iroh endpoints found for :org."};

static const struct cli_action endpoints = {"GET", CLI_ORG "/iroh_endpoints", &endpoint_view};
static const struct cli_action endpoint = {"GET", CLI_ORG "/iroh_endpoints/:1", &endpoint_view};
static const struct cli_action removal = {
	"DELETE", CLI_ORG "/iroh_endpoints/:1", NULL, "Deleted iroh endpoint :1 from :org", "Delete iroh endpoint :1 from :org?"};

static nh_rc enroll(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	NH_AUTO_JSON json_t *e = NULL;
	const struct nh_option_list *list = cli_list(c, "detail");
	json_t *all = json_object();
	json_object_set_new(body, "identifier", nh_json_new_text(nh_slice_str(c->args[0])));
	if (list->count)
		json_object_set(body, "details", all);
	json_decref(all);
	for (size_t i = 0; i < list->count; i++) {
		nh_slice key, value;
		if (!nh_slice_cut(nh_slice_str(list->items[i]), '=', &key, &value) || key.len == 0)
			return NH_FAIL(err, NH_EINVAL, "--detail needs key=value, not '%.80s'", list->items[i]);
		json_object_set_new(json_object_get(body, "details"), nh_arena_str(&c->arena, key), nh_json_new_text(value));
	}
	NH_TRY(cli_put_body_flags(c, body, err));
	NH_TRY(cli_call(c, "POST", cli_fill(c, CLI_ORG "/iroh_endpoints", true), json_incref(body), endpoint_shape, false, &e, err));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &endpoint_view, e);
	cli_out(c, "Registered iroh endpoint %s with %s\n", c->args[0], c->org);
	return NH_OK;
}

static const struct cli_flag list_flags[] = {{"owner", 0, CLI_TEXT, "device|user|none", "whose they are", "owner"},
					     {"search", 0, CLI_TEXT, "TEXT", "start of the identifier, or part of the owner's name", "search"},
					     {NULL}};
static const struct cli_flag register_flags[] = {{"instance", 0, CLI_TEXT, "TEXT", "which of the owner's endpoints (default: default)", "instance"},
						 {"user-email", 0, CLI_TEXT, "EMAIL", "the member whose it is", "user_email"},
						 {"detail", 0, CLI_LIST, "KEY=VALUE", "kept with it; repeatable"},
						 {NULL}};

const struct cli_command cli_iroh_commands[] = {
	{"iroh-endpoint list", "", 0, 0, CLI_IN_ORG, list_flags, cli_run_list, "list iroh endpoints", &endpoints},
	{"iroh-endpoint show", "<endpoint>", 1, 1, CLI_IN_ORG, NULL, cli_run_show, "show an iroh endpoint", &endpoint},
	{"iroh-endpoint register", "<identifier>", 1, 1, CLI_IN_ORG, register_flags, enroll, "register an iroh endpoint"},
	{"iroh-endpoint delete", "<endpoint>", 1, 1, CLI_IN_ORG, cli_yes_flags, cli_run_send, "delete an iroh endpoint", &removal},
	{NULL},
};

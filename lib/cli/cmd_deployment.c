/*
 * `nh deployment`: groups that decide which devices get which firmware.
 *
 * source: reference/user-api-and-cli "13" "18.7"
 */
#include "cli_int.h"

static const struct cli_shape conditions_shape[] = {{"tags", SHAPE_TEXTS}, {"version", SHAPE_TEXT}, {NULL}};
static const struct cli_shape firmware_shape[] = {{"version", SHAPE_TEXT}, {"architecture", SHAPE_TEXT}, {"platform", SHAPE_TEXT}, {"uuid", SHAPE_TEXT}, {NULL}};
static const struct cli_shape release_shape[] = {
	{"number", SHAPE_INT}, {"firmware", SHAPE_OBJECT, false, firmware_shape}, {"inserted_at", SHAPE_TIME}, {"updated_at", SHAPE_TIME}, {NULL}};
static const struct cli_shape deployment_shape[] = {
	{"name", SHAPE_TEXT},	       {"state", SHAPE_TEXT},	       {"is_active", SHAPE_BOOL},
	{"device_count", SHAPE_INT},   {"releases_count", SHAPE_INT},  {"firmware_uuid", SHAPE_TEXT},
	{"delta_updatable", SHAPE_BOOL}, {"conditions", SHAPE_OBJECT, false, conditions_shape}, {"current_release", SHAPE_OBJECT, true, release_shape},
	{NULL},
};

static const char *count_of(struct nh_cli *c, const json_t *d, const char *key)
{
	return nh_arena_printf(&c->arena, "%lld", (long long)nh_json_int(d, key, 0));
}

static const char *version_of(const json_t *d)
{
	return cli_get(json_object_get(json_object_get(d, "current_release"), "firmware"), "version");
}

static nh_rc list(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *all = NULL;
	struct cli_table t = {.arena = &c->arena, .columns = 6};
	size_t i;
	json_t *d;
	NH_TRY(cli_call(c, "GET", cli_product_route(c, "deployments", NULL), NULL, deployment_shape, true, &all, err));
	cli_table_row(&t, "NAME", "STATE", "ACTIVE", "DEVICES", "VERSION", "FIRMWARE");
	json_array_foreach(all, i, d)
		cli_table_row(&t, cli_get(d, "name"), cli_dash(cli_get(d, "state")), nh_json_bool(d, "is_active", false) ? "yes" : "no",
			      count_of(c, d, "device_count"), cli_dash(version_of(d)), cli_dash(cli_get(d, "firmware_uuid")));
	return cli_print_list(c, all, &t, "No deployment groups found in %s/%s.", c->org, c->product);
}

static void print_deployment(struct nh_cli *c, const json_t *d)
{
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	NH_AUTO_BUF struct nh_buf tags = NH_BUF_INIT;
	const json_t *conditions = json_object_get(d, "conditions"), *release = json_object_get(d, "current_release");
	size_t i;
	json_t *tag;
	json_array_foreach(json_object_get(conditions, "tags"), i, tag) nh_buf_printf(&tags, "%s%s", i ? ", " : "", json_string_value(tag));
	cli_table_detail(&t, "Name", cli_get(d, "name"));
	cli_table_detail(&t, "State", cli_get(d, "state"));
	cli_table_detail(&t, "Active", nh_json_bool(d, "is_active", false) ? "yes" : "no");
	cli_table_detail(&t, "Devices", count_of(c, d, "device_count"));
	cli_table_detail(&t, "Releases", count_of(c, d, "releases_count"));
	cli_table_detail(&t, "Delta updatable", nh_json_bool(d, "delta_updatable", false) ? "yes" : "no");
	cli_table_detail(&t, "Version condition", cli_get(conditions, "version"));
	cli_table_detail(&t, "Tag conditions", nh_buf_cstr(&tags));
	cli_table_detail(&t, "Firmware", cli_get(d, "firmware_uuid"));
	if (release)
		cli_table_detail(&t, "Current release",
				 nh_arena_printf(&c->arena, "#%s (%s %s)", count_of(c, release, "number"), version_of(d),
						 cli_get(json_object_get(release, "firmware"), "uuid")));
	cli_table_print(c, &t);
}

static nh_rc show(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *d = NULL;
	NH_TRY(cli_call(c, "GET", cli_product_route(c, "deployments", c->args[0], NULL), NULL, deployment_shape, false, &d, err));
	if (c->json)
		cli_out_json(c, d);
	else
		print_deployment(c, d);
	return NH_OK;
}

/* The flags that were given; *body NULL on failure. */
static nh_rc fields(struct nh_cli *c, json_t **body, struct nh_err *err)
{
	const struct nh_option_list *tags = cli_list(c, "tag");
	const char *state = cli_text(c, "state"), *version = cli_text(c, "version");
	bool given, delta;
	*body = NULL;
	if (state && !nh_slice_eq_str(NH_LIT("on"), state) && !nh_slice_eq_str(NH_LIT("off"), state))
		return NH_FAIL(err, NH_EINVAL, "invalid --state \"%.60s\" (use on or off)", state);
	NH_TRY(cli_bool(c, "delta-updatable", &given, &delta, err));
	*body = json_object();
	if (cli_text(c, "firmware"))
		json_object_set_new(*body, "firmware", nh_json_new_text(nh_slice_str(cli_text(c, "firmware"))));
	if (state)
		json_object_set_new(*body, "state", json_string(state));
	if (given)
		json_object_set_new(*body, "delta_updatable", json_boolean(delta));
	if (!tags->count && !version)
		return NH_OK;
	json_t *conditions = json_object(), *all = json_array();
	for (size_t i = 0; i < tags->count; i++)
		json_array_append_new(all, nh_json_new_text(nh_slice_str(tags->items[i])));
	if (tags->count)
		json_object_set(conditions, "tags", all);
	json_decref(all);
	if (version)
		json_object_set_new(conditions, "version", nh_json_new_text(nh_slice_str(version)));
	json_object_set_new(*body, "conditions", conditions);
	return NH_OK;
}

static nh_rc report(struct nh_cli *c, const json_t *d, const char *verb)
{
	if (c->json)
		cli_out_json(c, d);
	else
		cli_out(c, "%s deployment group \"%s\" in %s/%s\n", verb, c->args[0], c->org, c->product);
	return NH_OK;
}

static nh_rc create(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *d = NULL;
	json_t *body;
	if (!cli_text(c, "firmware") || !*cli_text(c, "firmware"))
		return NH_FAIL(err, NH_EINVAL, "--firmware is required");
	NH_TRY(fields(c, &body, err));
	json_object_set_new(body, "name", nh_json_new_text(nh_slice_str(c->args[0])));
	/* Other servers insist on it. */
	if (!json_object_get(body, "conditions"))
		json_object_set_new(body, "conditions", json_object());
	NH_TRY(cli_call(c, "POST", cli_product_route(c, "deployments", NULL), body, deployment_shape, false, &d, err));
	return report(c, d, "Created");
}

static nh_rc update(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *d = NULL;
	json_t *body;
	NH_TRY(fields(c, &body, err));
	if (json_object_size(body) == 0) {
		json_decref(body);
		return NH_FAIL(err, NH_EINVAL, "nothing to update: provide --firmware, --state, --version, --tag, or --delta-updatable");
	}
	json_t *wrapped = json_object();
	json_object_set_new(wrapped, "deployment", body);
	NH_TRY(cli_call(c, "PUT", cli_product_route(c, "deployments", c->args[0], NULL), wrapped, deployment_shape, false, &d, err));
	return report(c, d, "Updated");
}

static nh_rc delete(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(cli_confirm(c, "delete", cli_on(c, "yes"), err, nh_arena_printf(&c->arena, "Delete deployment group %s?", c->args[0])));
	NH_TRY(cli_act(c, "DELETE", cli_product_route(c, "deployments", c->args[0], NULL), NULL, err));
	cli_out(c, "Deleted deployment group \"%s\" from %s/%s\n", c->args[0], c->org, c->product);
	return NH_OK;
}

static const struct cli_flag field_flags[] = {{"firmware", 0, CLI_TEXT, "UUID", "firmware of the (new) release"},
					      {"state", 0, CLI_TEXT, "on|off", "whether it updates devices"},
					      {"version", 0, CLI_TEXT, "REQUIREMENT", "devices with such a version, as \"~> 1.2\" or \"< 2.0.0\""},
					      {"tag", 0, CLI_LIST, "TAG", "devices with this tag; repeatable"},
					      {"delta-updatable", 0, CLI_BOOL, "BOOL", "send deltas where possible"},
					      {NULL}};

const struct cli_command cli_deployment_commands[] = {
	{"deployment list", "", 0, 0, CLI_IN_PRODUCT, NULL, list, "list deployment groups"},
	{"deployment show", "<name>", 1, 1, CLI_IN_PRODUCT, NULL, show, "show a deployment group"},
	{"deployment create", "<name>", 1, 1, CLI_IN_PRODUCT, field_flags, create, "create a deployment group"},
	{"deployment update", "<name>", 1, 1, CLI_IN_PRODUCT, field_flags, update, "change a deployment group, or release a firmware to it"},
	{"deployment delete", "<name>", 1, 1, CLI_IN_PRODUCT, cli_yes_flags, delete, "delete a deployment group"},
	{NULL},
};

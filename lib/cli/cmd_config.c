/*
 * `nh config`: the saved settings and their profiles. No network.
 *
 * source: reference/user-api-and-cli "18.7"
 */
#include "cli_int.h"

static const char *const keys[] = {"uri", "org", "product"};
static const char *const profile_keys[] = {"uri", "org", "product", "token"};

static nh_rc check_key(const char *key, struct nh_err *err)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(keys); i++)
		if (nh_slice_eq_str(nh_slice_str(key), keys[i]))
			return NH_OK;
	return NH_FAIL(err, NH_EINVAL, "unknown setting \"%.80s\" (valid: uri, org, product)", key);
}

static const char *saved(const struct nh_cli *c, const char *key)
{
	const char *text = cli_settings_get(c, key);
	return text ? text : "";
}

static nh_rc get(struct nh_cli *c, struct nh_err *err)
{
	if (c->arg_count)
		NH_TRY(check_key(c->args[0], err));
	static const struct cli_shape shape[] = {{"uri", SHAPE_TEXT, true}, {"org", SHAPE_TEXT, true}, {"product", SHAPE_TEXT, true}, {NULL}};
	NH_AUTO_JSON json_t *out = json_object();
	for (size_t i = 0; i < NH_ARRAY_LEN(keys); i++)
		if (*saved(c, keys[i]) && (!c->arg_count || nh_slice_eq_str(nh_slice_str(keys[i]), c->args[0])))
			json_object_set_new(out, keys[i], json_string(saved(c, keys[i])));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &(struct cli_view){.shape = shape}, out);
	if (c->arg_count) {
		cli_out(c, "%s\n", saved(c, c->args[0]));
		return NH_OK;
	}
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	for (size_t i = 0; i < NH_ARRAY_LEN(keys); i++)
		cli_table_row(&t, keys[i], cli_dash(saved(c, keys[i])));
	cli_table_print(c, &t);
	return NH_OK;
}

static nh_rc set(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(check_key(c->args[0], err));
	if (nh_slice_eq_str(NH_LIT("uri"), c->args[0])) {
		char *ignored;
		c->uri = c->args[1];
		NH_TRY(cli_api_url(c, "", &ignored, err));
	}
	cli_settings_set(c, c->args[0], c->args[1]);
	NH_TRY(cli_settings_save(c, err));
	cli_out(c, "Set %s to \"%s\"\n", c->args[0], c->args[1]);
	return NH_OK;
}

static nh_rc unset(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(check_key(c->args[0], err));
	cli_settings_set(c, c->args[0], NULL);
	NH_TRY(cli_settings_save(c, err));
	cli_out(c, "Unset %s\n", c->args[0]);
	return NH_OK;
}

static nh_rc save(struct nh_cli *c, struct nh_err *err)
{
	json_t *profile = json_object(), *profiles = json_object_get(c->settings.root, "profiles");
	if (!json_is_object(profiles)) {
		profiles = json_object();
		json_object_set_new(c->settings.root, "profiles", profiles);
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(profile_keys); i++)
		if (*saved(c, profile_keys[i]))
			json_object_set_new(profile, profile_keys[i], json_string(saved(c, profile_keys[i])));
	json_object_set_new(profiles, c->args[0], profile);
	NH_TRY(cli_settings_save(c, err));
	cli_out(c, "Saved the active configuration as profile \"%s\"\n", c->args[0]);
	return NH_OK;
}

static nh_rc load(struct nh_cli *c, struct nh_err *err)
{
	json_t *profile;
	NH_TRY(cli_profile_find(c, c->args[0], &profile, err));
	c->settings.scope = c->settings.root; /* whatever --profile said */
	for (size_t i = 0; i < NH_ARRAY_LEN(profile_keys); i++)
		cli_settings_set(c, profile_keys[i], json_string_value(json_object_get(profile, profile_keys[i])));
	NH_TRY(cli_settings_save(c, err));
	cli_out(c, "Switched to profile \"%s\"\n", c->args[0]);
	return NH_OK;
}

static const struct cli_shape profile_shape[] = {
	{"name", SHAPE_TEXT}, {"uri", SHAPE_TEXT, true}, {"org", SHAPE_TEXT, true}, {"product", SHAPE_TEXT, true}, {"has_token", SHAPE_BOOL}, {NULL}};
static const struct cli_cell profile_list[] = {
	{"NAME", "name"}, {"URI", "uri"}, {"ORG", "org"}, {"PRODUCT", "product"}, {"TOKEN", "has_token"}, {NULL}};
static const struct cli_view profile_view = {profile_shape, profile_list, NULL, "No profiles saved."};

/* JSON is an object by name; tables and CSV are lists. */
static nh_rc profiles(struct nh_cli *c, struct nh_err *err)
{
	json_t *all = json_object_get(c->settings.root, "profiles"), *value;
	NH_AUTO_JSON json_t *by_name = json_object();
	NH_AUTO_JSON json_t *list = json_array();
	const char *name;
	json_object_foreach(all, name, value)
	{
		json_t *row = json_object();
		for (size_t i = 0; i < NH_ARRAY_LEN(keys); i++)
			if (*cli_get(value, keys[i]))
				json_object_set_new(row, keys[i], json_string(cli_get(value, keys[i])));
		json_object_set_new(row, "has_token", json_boolean(*cli_get(value, "token") != 0));
		json_object_set_new(by_name, name, row);
		json_t *named = json_deep_copy(row);
		json_object_set_new(named, "name", json_string(name));
		json_array_append_new(list, named);
	}
	return cli_view_list(c, &profile_view, c->json ? by_name : list);
}

const struct cli_command cli_config_commands[] = {
	{"config get", "[setting]", 0, 1, 0, NULL, get, "show saved settings"},
	{"config set", "<setting> <value>", 2, 2, 0, NULL, set, "save a setting: uri, org, product"},
	{"config unset", "<setting>", 1, 1, 0, NULL, unset, "remove a setting"},
	{"config save", "<profile>", 1, 1, 0, NULL, save, "save the settings as a profile"},
	{"config load", "<profile>", 1, 1, 0, NULL, load, "switch to a profile"},
	{"config profiles", "", 0, 0, 0, NULL, profiles, "list profiles"},
	{NULL},
};

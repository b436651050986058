/*
 * `nh product`, and the shared secrets that devices of a product may sign in with.
 *
 * source: reference/user-api-and-cli "10" "18.7", reference/device-protocol "6.1"
 */
#include "cli_int.h"

static const struct cli_shape short_shape[] = {{"name", SHAPE_TEXT}, {NULL}};
static const struct cli_shape extensions_shape[] = {
	{"health", SHAPE_BOOL}, {"geo", SHAPE_BOOL}, {"logging", SHAPE_BOOL}, {"local_shell", SHAPE_BOOL}, {"network_identity", SHAPE_BOOL}, {NULL}};
static const struct cli_shape full_shape[] = {
	{"id", SHAPE_INT}, {"name", SHAPE_TEXT}, {"inserted_at", SHAPE_TIME}, {"updated_at", SHAPE_TIME}, {"require_unique_firmware_version", SHAPE_BOOL, true},
	{"allowed_update_tools", SHAPE_TEXTS, true}, {"allow_unsigned_esp_idf_firmware", SHAPE_BOOL, true}, {"extensions", SHAPE_OBJECT, true, extensions_shape}, {NULL}};
static const struct cli_shape secret_shape[] = {{"key", SHAPE_TEXT}, {"secret", SHAPE_TEXT, true}, {"deactivated_at", SHAPE_TIME, true}, {NULL}};

static const char *id_text(struct nh_cli *c, const json_t *product, const json_t *id)
{
	return json_integer_value(id) ? nh_arena_printf(&c->arena, "%lld", (long long)json_integer_value(id)) : "";
}
/* Those that are on. */
static const char *extensions(struct nh_cli *c, const json_t *product, const json_t *all)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	const char *name;
	json_t *on;
	json_object_foreach((json_t *)all, name, on) if (json_is_true(on)) nh_buf_printf(&b, "%s%s", b.len ? ", " : "", name);
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}
static const char *active(struct nh_cli *c, const json_t *secret, const json_t *deactivated_at) { return deactivated_at ? "no" : "yes"; }

static const struct cli_cell product_list[] = {{"NAME", "name"}, {NULL}};
static const struct cli_cell product_detail[] = {
	{"Name", "name"}, {"ID", "id", id_text}, {"Created", "inserted_at", cli_as_time}, {"Updated", "updated_at", cli_as_time},
	{"Unique firmware versions", "require_unique_firmware_version"}, {"Update tools", "allowed_update_tools"}, {"Extensions", "extensions", extensions}, {NULL}};
static const struct cli_cell secret_list[] = {{"KEY", "key"}, {"ACTIVE", "deactivated_at", active}, {NULL}};

static const struct cli_view short_view = {short_shape, product_list, NULL, "No products found in :org."};
static const struct cli_view product_view = {full_shape, NULL, product_detail, NULL};
static const struct cli_view secret_view = {secret_shape, secret_list, NULL, "No shared secrets found in :org/:product."};

static const struct cli_action products = {"GET", CLI_ORG "/products", &short_view};
static const struct cli_action product = {"GET", CLI_ORG "/products/:1", &product_view};
static const struct cli_action product_new = {"POST", CLI_ORG "/products", &short_view, "Created product :1 in :org", .takes = {"name"}};
static const struct cli_action product_removal = {"DELETE", CLI_ORG "/products/:1", NULL, "Deleted product :1", "Delete product :1?"};
static const struct cli_action secrets = {"GET", CLI_PRODUCT "/shared_secrets", &secret_view};
/* Devices that were created with it stay; they cannot sign in with it any more. */
static const struct cli_action secret_removal = {
	"DELETE", CLI_PRODUCT "/shared_secrets/:1", NULL, "Switched off shared secret :1", "Switch off shared secret :1?"};

static nh_rc create(struct nh_cli *c, struct nh_err *err)
{
	for (const char *s = c->args[0]; *s; s++)
		if (*s == ' ' || (*s >= '\t' && *s <= '\r'))
			return NH_FAIL(err, NH_EINVAL, "product name must not contain whitespace");
	return cli_run_send(c, err);
}

static nh_rc secret_create(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *s = NULL;
	NH_TRY(cli_call(c, "POST", cli_product_route(c, "shared_secrets", NULL), json_object(), secret_shape, false, &s, err));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &secret_view, s);
	cli_out(c, "Key:     %s\nSecret:  %s\n\nThe secret is shown this once. Devices that sign with it are created in %s/%s.\n", cli_get(s, "key"),
		cli_get(s, "secret"), c->org, c->product);
	return NH_OK;
}

const struct cli_command cli_product_commands[] = {
	{"product list", "", 0, 0, CLI_IN_ORG, NULL, cli_run_list, "list products", &products},
	{"product show", "<product>", 1, 1, CLI_IN_ORG, NULL, cli_run_show, "show a product", &product},
	{"product create", "<name>", 1, 1, CLI_IN_ORG, NULL, create, "create a product", &product_new},
	{"product delete", "<product>", 1, 1, CLI_IN_ORG, cli_yes_flags, cli_run_send, "delete a product", &product_removal},
	{"product secret create", "", 0, 0, CLI_IN_PRODUCT, NULL, secret_create, "create a shared secret for devices"},
	{"product secret list", "", 0, 0, CLI_IN_PRODUCT, NULL, cli_run_list, "list shared secrets", &secrets},
	{"product secret delete", "<secret>", 1, 1, CLI_IN_PRODUCT, cli_yes_flags, cli_run_send, "switch a shared secret off", &secret_removal},
	{NULL},
};

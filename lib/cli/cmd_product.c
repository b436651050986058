/*
 * `nh product`, and the shared secrets that devices of a product may sign in with.
 *
 * source: reference/user-api-and-cli "10" "18.7", reference/device-protocol "6.1"
 */
#include "cli_int.h"

static const struct cli_shape short_shape[] = {{"name", SHAPE_TEXT}, {NULL}};
static const struct cli_shape full_shape[] = {{"id", SHAPE_INT}, {"name", SHAPE_TEXT}, {"inserted_at", SHAPE_TIME}, {"updated_at", SHAPE_TIME}, {NULL}};
static const struct cli_shape secret_shape[] = {{"key", SHAPE_TEXT}, {"secret", SHAPE_TEXT, true}, {"deactivated_at", SHAPE_TIME, true}, {NULL}};

static nh_rc list(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *all = NULL;
	struct cli_table t = {.arena = &c->arena, .columns = 1};
	size_t i;
	json_t *p;
	NH_TRY(cli_call(c, "GET", cli_org_route(c, "products", NULL), NULL, short_shape, true, &all, err));
	cli_table_row(&t, "NAME");
	json_array_foreach(all, i, p) cli_table_row(&t, cli_get(p, "name"));
	return cli_print_list(c, all, &t, "No products found in %s.", c->org);
}

static nh_rc show(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *p = NULL;
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	NH_TRY(cli_call(c, "GET", cli_org_route(c, "products", c->args[0], NULL), NULL, full_shape, false, &p, err));
	int64_t id = nh_json_int(p, "id", 0);
	cli_table_detail(&t, "Name", cli_get(p, "name"));
	cli_table_detail(&t, "ID", id ? nh_arena_printf(&c->arena, "%lld", (long long)id) : NULL);
	cli_table_detail(&t, "Created", cli_time_cell(c, json_object_get(p, "inserted_at"), false));
	cli_table_detail(&t, "Updated", cli_time_cell(c, json_object_get(p, "updated_at"), false));
	return cli_print_one(c, p, &t);
}

static nh_rc create(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *p = NULL;
	for (const char *s = c->args[0]; *s; s++)
		if (*s == ' ' || (*s >= '\t' && *s <= '\r'))
			return NH_FAIL(err, NH_EINVAL, "product name must not contain whitespace");
	json_t *body = json_object();
	json_object_set_new(body, "name", nh_json_new_text(nh_slice_str(c->args[0])));
	NH_TRY(cli_call(c, "POST", cli_org_route(c, "products", NULL), body, short_shape, false, &p, err));
	if (c->json)
		cli_out_json(c, p);
	else
		cli_out(c, "Created product %s in %s\n", c->args[0], c->org);
	return NH_OK;
}

static nh_rc delete(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(cli_confirm(c, "delete", cli_on(c, "yes"), err, nh_arena_printf(&c->arena, "Delete product %s?", c->args[0])));
	NH_TRY(cli_act(c, "DELETE", cli_org_route(c, "products", c->args[0], NULL), NULL, err));
	cli_out(c, "Deleted product %s\n", c->args[0]);
	return NH_OK;
}

static nh_rc secret_create(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *s = NULL;
	NH_TRY(cli_call(c, "POST", cli_product_route(c, "shared_secrets", NULL), json_object(), secret_shape, false, &s, err));
	if (c->json)
		cli_out_json(c, s);
	else
		cli_out(c, "Key:     %s\nSecret:  %s\n\nThe secret is shown this once. Devices that sign with it are created in %s/%s.\n", cli_get(s, "key"),
			cli_get(s, "secret"), c->org, c->product);
	return NH_OK;
}

static nh_rc secret_list(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *all = NULL;
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	size_t i;
	json_t *s;
	NH_TRY(cli_call(c, "GET", cli_product_route(c, "shared_secrets", NULL), NULL, secret_shape, true, &all, err));
	cli_table_row(&t, "KEY", "ACTIVE");
	json_array_foreach(all, i, s) cli_table_row(&t, cli_get(s, "key"), json_object_get(s, "deactivated_at") ? "no" : "yes");
	return cli_print_list(c, all, &t, "No shared secrets found in %s/%s.", c->org, c->product);
}

/* Devices that were created with it stay; they cannot sign in with it any more. */
static nh_rc secret_delete(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(cli_confirm(c, "delete", cli_on(c, "yes"), err, nh_arena_printf(&c->arena, "Switch off shared secret %s?", c->args[0])));
	NH_TRY(cli_act(c, "DELETE", cli_product_route(c, "shared_secrets", c->args[0], NULL), NULL, err));
	cli_out(c, "Switched off shared secret %s\n", c->args[0]);
	return NH_OK;
}

const struct cli_command cli_product_commands[] = {
	{"product list", "", 0, 0, CLI_IN_ORG, NULL, list, "list products"},
	{"product show", "<name>", 1, 1, CLI_IN_ORG, NULL, show, "show a product"},
	{"product create", "<name>", 1, 1, CLI_IN_ORG, NULL, create, "create a product"},
	{"product delete", "<name>", 1, 1, CLI_IN_ORG, cli_yes_flags, delete, "delete a product"},
	{"product secret create", "", 0, 0, CLI_IN_PRODUCT, NULL, secret_create, "create a shared secret for devices"},
	{"product secret list", "", 0, 0, CLI_IN_PRODUCT, NULL, secret_list, "list shared secrets"},
	{"product secret delete", "<key>", 1, 1, CLI_IN_PRODUCT, cli_yes_flags, secret_delete, "switch a shared secret off"},
	{NULL},
};

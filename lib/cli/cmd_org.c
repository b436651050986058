/*
 * `nh org`: organizations and their members.
 *
 * source: reference/user-api-and-cli "7" "18.7"
 */
#include "cli_int.h"

static const struct cli_shape product_shape[] = {{"id", SHAPE_INT}, {"name", SHAPE_TEXT}, {NULL}};
static const struct cli_shape org_shape[] = {
	{"name", SHAPE_TEXT}, {"inserted_at", SHAPE_TIME}, {"updated_at", SHAPE_TIME}, {"products", SHAPE_OBJECTS, true, product_shape}, {NULL},
};
static const struct cli_shape member_shape[] = {{"name", SHAPE_TEXT}, {"email", SHAPE_TEXT}, {"role", SHAPE_TEXT}, {NULL}};

static nh_rc list(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *orgs = NULL;
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	size_t i;
	json_t *org;
	NH_TRY(cli_call(c, "GET", "orgs", NULL, org_shape, true, &orgs, err));
	cli_table_row(&t, "NAME", "CREATED");
	json_array_foreach(orgs, i, org) cli_table_row(&t, cli_get(org, "name"), cli_dash(cli_time_cell(c, json_object_get(org, "inserted_at"), true)));
	return cli_print_list(c, orgs, &t, "No organizations found.");
}

static void print_org(struct nh_cli *c, const json_t *org)
{
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	NH_AUTO_BUF struct nh_buf names = NH_BUF_INIT;
	size_t i;
	json_t *product;
	json_array_foreach(json_object_get(org, "products"), i, product) nh_buf_printf(&names, "%s%s", i ? ", " : "", cli_get(product, "name"));
	cli_table_detail(&t, "Name", cli_get(org, "name"));
	cli_table_detail(&t, "Created", cli_time_cell(c, json_object_get(org, "inserted_at"), false));
	cli_table_detail(&t, "Updated", cli_time_cell(c, json_object_get(org, "updated_at"), false));
	cli_table_detail(&t, "Products", cli_dash(nh_buf_cstr(&names)));
	cli_table_print(c, &t);
}

static nh_rc show(struct nh_cli *c, struct nh_err *err)
{
	const char *name = c->arg_count ? c->args[0] : c->org;
	if (!name || !*name)
		NH_TRY(cli_require(c, CLI_NEEDS_ORG, err));
	NH_AUTO_JSON json_t *answer = NULL;
	size_t i;
	json_t *row;
	NH_TRY(cli_api(c, &(struct cli_request){"GET", "orgs", "include=products"}, &answer, err));
	json_array_foreach(json_object_get(answer, "data"), i, row)
	{
		if (!nh_slice_eq(nh_json_text(row, "name"), nh_slice_str(name)))
			continue;
		NH_AUTO_JSON json_t *org = cli_shape_object(org_shape, row);
		if (c->json)
			cli_out_json(c, org);
		else
			print_org(c, org);
		return NH_OK;
	}
	return NH_FAIL(err, NH_ENOTFOUND, "organization \"%.100s\" not found (or you are not a member)", name);
}

static nh_rc create(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *org = NULL;
	json_t *body = json_object();
	json_object_set_new(body, "name", nh_json_new_text(nh_slice_str(c->args[0])));
	NH_TRY(cli_call(c, "POST", "orgs", body, org_shape, false, &org, err));
	if (c->json)
		cli_out_json(c, org);
	else
		cli_out(c, "Created organization %s\n", c->args[0]);
	return NH_OK;
}

static nh_rc members(struct nh_cli *c, struct nh_err *err)
{
	if (c->arg_count)
		c->org = c->args[0];
	NH_TRY(cli_require(c, CLI_IN_ORG, err));
	NH_AUTO_JSON json_t *all = NULL;
	struct cli_table t = {.arena = &c->arena, .columns = 3};
	size_t i;
	json_t *m;
	NH_TRY(cli_call(c, "GET", cli_org_route(c, "users", NULL), NULL, member_shape, true, &all, err));
	cli_table_row(&t, "NAME", "EMAIL", "ROLE");
	json_array_foreach(all, i, m) cli_table_row(&t, cli_dash(cli_get(m, "name")), cli_get(m, "email"), cli_get(m, "role"));
	return cli_print_list(c, all, &t, "No members found in %s.", c->org);
}

static nh_rc member(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *m = NULL;
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	NH_TRY(cli_call(c, "GET", cli_org_route(c, "users", c->args[0], NULL), NULL, member_shape, false, &m, err));
	cli_table_detail(&t, "Name", cli_get(m, "name"));
	cli_table_detail(&t, "Email", cli_get(m, "email"));
	cli_table_detail(&t, "Role", cli_get(m, "role"));
	return cli_print_one(c, m, &t);
}

static nh_rc check_role(const char *role, struct nh_err *err)
{
	static const char *const roles[] = {"admin", "manage", "view"};
	for (size_t i = 0; i < NH_ARRAY_LEN(roles); i++)
		if (nh_slice_eq_str(nh_slice_str(role), roles[i]))
			return NH_OK;
	return NH_FAIL(err, NH_EINVAL, "invalid role \"%.60s\": use admin, manage, view", role);
}

static json_t *role_body(const char *email, const char *role)
{
	json_t *body = json_object();
	if (email)
		json_object_set_new(body, "email", nh_json_new_text(nh_slice_str(email)));
	json_object_set_new(body, "role", json_string(role));
	return body;
}

static nh_rc invite(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(check_role(c->args[1], err));
	NH_TRY(cli_act(c, "POST", cli_org_route(c, "users", "invite", NULL), role_body(c->args[0], c->args[1]), err));
	cli_out(c, "Invited %s to %s as %s\n", c->args[0], c->org, c->args[1]);
	return NH_OK;
}

static nh_rc set_role(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *m = NULL;
	NH_TRY(check_role(c->args[1], err));
	NH_TRY(cli_call(c, "PUT", cli_org_route(c, "users", c->args[0], NULL), role_body(NULL, c->args[1]), member_shape, false, &m, err));
	if (c->json)
		cli_out_json(c, m);
	else
		cli_out(c, "Set %s role to %s in %s\n", c->args[0], c->args[1], c->org);
	return NH_OK;
}

static nh_rc remove_member(struct nh_cli *c, struct nh_err *err)
{
	NH_TRY(cli_confirm(c, "remove a member", cli_on(c, "yes"), err, nh_arena_printf(&c->arena, "Remove %s from %s?", c->args[0], c->org)));
	NH_TRY(cli_act(c, "DELETE", cli_org_route(c, "users", c->args[0], NULL), NULL, err));
	cli_out(c, "Removed %s from %s\n", c->args[0], c->org);
	return NH_OK;
}

const struct cli_command cli_org_commands[] = {
	{"org list", "", 0, 0, CLI_NEEDS_TOKEN, NULL, list, "list your organizations"},
	{"org show", "[name]", 0, 1, CLI_NEEDS_TOKEN, NULL, show, "show an organization and its products"},
	{"org create", "<name>", 1, 1, CLI_NEEDS_TOKEN, NULL, create, "create an organization"},
	{"org members", "[name]", 0, 1, 0, NULL, members, "list members"},
	{"org member", "<email>", 1, 1, CLI_IN_ORG, NULL, member, "show a member"},
	{"org invite", "<email> <role>", 2, 2, CLI_IN_ORG, NULL, invite, "invite somebody as admin, manage or view"},
	{"org set-role", "<email> <role>", 2, 2, CLI_IN_ORG, NULL, set_role, "change a member's role"},
	{"org remove-member", "<email>", 1, 1, CLI_IN_ORG, cli_yes_flags, remove_member, "remove a member"},
	{NULL},
};

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

static const char *product_names(struct nh_cli *c, const json_t *org, const json_t *products)
{
	NH_AUTO_BUF struct nh_buf names = NH_BUF_INIT;
	size_t i;
	const json_t *product;
	json_array_foreach(products, i, product) nh_buf_printf(&names, "%s%s", i ? ", " : "", cli_get(product, "name"));
	return cli_dash(nh_arena_str(&c->arena, nh_buf_slice(&names)));
}

static const struct cli_cell org_list[] = {{"NAME", "name"}, {"CREATED", "inserted_at", cli_as_date}, {NULL}};
static const struct cli_cell org_detail[] = {
	{"Name", "name"}, {"Created", "inserted_at", cli_as_time}, {"Updated", "updated_at", cli_as_time}, {"Products", "products", product_names}, {NULL}};
static const struct cli_cell member_list[] = {{"NAME", "name"}, {"EMAIL", "email"}, {"ROLE", "role"}, {NULL}};
static const struct cli_cell member_detail[] = {{"Name", "name"}, {"Email", "email"}, {"Role", "role"}, {NULL}};

static const struct cli_view org_view = {org_shape, org_list, org_detail, "No organizations found."};
static const struct cli_view member_view = {member_shape, member_list, member_detail, "No members found in :org."};

static const struct cli_action orgs = {"GET", "orgs", &org_view};
static const struct cli_action org_new = {"POST", "orgs", &org_view, "Created organization :1", .takes = {"name"}};
static const struct cli_action members = {"GET", CLI_ORG "/users", &member_view};
static const struct cli_action member = {"GET", CLI_ORG "/users/:1", &member_view};
static const struct cli_action invite = {"POST", CLI_ORG "/users/invite", NULL, "Invited :1 to :org as :2", .takes = {"email", "role"}};
static const struct cli_action role = {"PUT", CLI_ORG "/users/:1", &member_view, "Set :1 role to :2 in :org", .takes = {NULL, "role"}};
static const struct cli_action removal = {
	"DELETE", CLI_ORG "/users/:1", NULL, "Removed :1 from :org", "Remove :1 from :org?", .refuses = "remove a member"};

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
		return cli_view_one(c, &org_view, org);
	}
	return NH_FAIL(err, NH_ENOTFOUND, "organization \"%.100s\" not found (or you are not a member)", name);
}

static nh_rc list_members(struct nh_cli *c, struct nh_err *err)
{
	if (c->arg_count)
		c->org = c->args[0];
	NH_TRY(cli_require(c, CLI_IN_ORG, err));
	return cli_run_list(c, err);
}

static nh_rc send_role(struct nh_cli *c, struct nh_err *err)
{
	static const char *const roles[] = {"admin", "manage", "view"};
	for (size_t i = 0; i < NH_ARRAY_LEN(roles); i++)
		if (nh_slice_eq_str(nh_slice_str(c->args[1]), roles[i]))
			return cli_run_send(c, err);
	return NH_FAIL(err, NH_EINVAL, "invalid role \"%.60s\": use admin, manage, view", c->args[1]);
}

const struct cli_command cli_org_commands[] = {
	{"org list", "", 0, 0, CLI_NEEDS_TOKEN, NULL, cli_run_list, "list your organizations", &orgs},
	{"org show", "[org]", 0, 1, CLI_NEEDS_TOKEN, NULL, show, "show an organization and its products"},
	{"org create", "<name>", 1, 1, CLI_NEEDS_TOKEN, NULL, cli_run_send, "create an organization", &org_new},
	{"org members", "[org]", 0, 1, 0, NULL, list_members, "list members", &members},
	{"org member", "<email>", 1, 1, CLI_IN_ORG, NULL, cli_run_show, "show a member", &member},
	{"org invite", "<email> <role>", 2, 2, CLI_IN_ORG, NULL, send_role, "invite somebody as admin, manage or view", &invite},
	{"org set-role", "<email> <role>", 2, 2, CLI_IN_ORG, NULL, send_role, "change a member's role", &role},
	{"org remove-member", "<email>", 1, 1, CLI_IN_ORG, cli_yes_flags, cli_run_send, "remove a member", &removal},
	{NULL},
};

/*
 * The own account: `nh user register`, `update`, `password`, `delete`, tokens, sessions, second factor; invitations of an organization, and leaving it. What gives
 * power over an account asks for its password again.
 *
 * source: reference/server-behaviour "9.3" to "9.5"
 */
#include "cli_int.h"

static const struct cli_shape account_shape[] = {{"name", SHAPE_TEXT}, {"email", SHAPE_TEXT}, {"pending_email", SHAPE_TEXT, true}, {NULL}};
static const struct cli_cell account_detail[] = {{"Name", "name"}, {"Email", "email"}, {"New email, when confirmed", "pending_email"}, {NULL}};
static const struct cli_view account_view = {account_shape, NULL, account_detail, NULL};

static const struct cli_shape token_shape[] = {{"id", SHAPE_INT}, {"note", SHAPE_TEXT}, {"inserted_at", SHAPE_TIME}, {"last_used_at", SHAPE_TIME, true}, {NULL}};
static const struct cli_cell token_list[] = {{"ID", "id"}, {"NOTE", "note"}, {"CREATED", "inserted_at", cli_as_time}, {"LAST USED", "last_used_at", cli_as_time}, {NULL}};
static const struct cli_view token_view = {token_shape, token_list, NULL, "No API tokens."};

static const struct cli_shape made_shape[] = {{"token", SHAPE_TEXT}, {NULL}};
static const struct cli_cell made_detail[] = {{"Token", "token"}, {NULL}};
static const struct cli_view made_view = {made_shape, NULL, made_detail, NULL};

static const struct cli_shape session_shape[] = {{"id", SHAPE_INT}, {"browser", SHAPE_TEXT}, {"address", SHAPE_TEXT}, {"inserted_at", SHAPE_TIME},
						 {"last_used_at", SHAPE_TIME, true}, {"expires_at", SHAPE_TIME}, {NULL}};
static const struct cli_cell session_list[] = {{"ID", "id"}, {"ADDRESS", "address"}, {"BROWSER", "browser"}, {"LAST USED", "last_used_at", cli_as_time},
					       {"EXPIRES", "expires_at", cli_as_time}, {NULL}};
static const struct cli_view session_view = {session_shape, session_list, NULL, "Nobody is signed in with a browser."};

static const struct cli_shape factor_shape[] = {{"enabled", SHAPE_BOOL}, {"recovery_codes_left", SHAPE_INT}, {NULL}};
static const struct cli_cell factor_detail[] = {{"Enabled", "enabled"}, {"Recovery codes left", "recovery_codes_left"}, {NULL}};
static const struct cli_view factor_view = {factor_shape, NULL, factor_detail, NULL};

static const struct cli_shape codes_shape[] = {{"recovery_codes", SHAPE_TEXTS}, {NULL}};
static const struct cli_cell codes_detail[] = {{"Recovery codes", "recovery_codes"}, {NULL}};
static const struct cli_view codes_view = {codes_shape, NULL, codes_detail, NULL};

static const struct cli_shape invite_shape[] = {{"id", SHAPE_INT}, {"email", SHAPE_TEXT}, {"role", SHAPE_TEXT}, {"invited_by", SHAPE_TEXT, true}, {"inserted_at", SHAPE_TIME},
						{"expires_at", SHAPE_TIME}, {NULL}};
static const struct cli_cell invite_list[] = {{"ID", "id"}, {"EMAIL", "email"}, {"ROLE", "role"}, {"INVITED BY", "invited_by"}, {"EXPIRES", "expires_at", cli_as_time}, {NULL}};
static const struct cli_view invite_view = {invite_shape, invite_list, NULL, "No open invitations to :org."};

static const struct cli_action account_end = {
	"DELETE", "users/me", NULL, "Deleted the account", "Delete your account, with everything that is only yours?", .refuses = "delete an account", .password = true};
static const struct cli_action tokens = {"GET", "users/me/tokens", &token_view};
static const struct cli_action token_new = {"POST", "users/me/tokens", &made_view, "It is shown this once.", .details = true, .password = true};
static const struct cli_action token_end = {"DELETE", "users/me/tokens/:1", NULL, "Revoked token :1", "Revoke API token :1?", .refuses = "revoke a token"};
static const struct cli_action sessions = {"GET", "users/me/sessions", &session_view};
static const struct cli_action session_end = {"DELETE", "users/me/sessions/:1", NULL, "Ended session :1"};
static const struct cli_action sessions_end = {"DELETE", "users/me/sessions", NULL, "Ended all sessions in browsers"};
static const struct cli_action factor = {"GET", "users/me/second_factor", &factor_view};
static const struct cli_action factor_off = {
	"DELETE", "users/me/second_factor", NULL, "Switched the second factor off", "Switch the second factor off?", .refuses = "switch the second factor off", .password = true};
static const struct cli_action recovery = {
	"POST", "users/me/recovery_codes", &codes_view, "The earlier ones are void. Keep these; they are shown this once.", .details = true, .password = true};
static const struct cli_action invites = {"GET", CLI_ORG "/invites", &invite_view};
static const struct cli_action rescission = {"DELETE", CLI_ORG "/invites/:1", NULL, "Rescinded invitation :1"};
static const struct cli_action leave = {"POST", CLI_ORG "/leave", NULL, "Left :org", "Leave :org?", .refuses = "leave an organization"};

/* Twice on a terminal, as one line otherwise. */
static nh_rc new_password(struct nh_cli *c, struct nh_buf *out, struct nh_err *err)
{
	struct nh_buf again = NH_BUF_INIT;
	nh_rc rc = cli_password(c, "New password: ", out, err);
	if (rc == NH_OK && c->io->in_terminal) {
		rc = cli_password(c, "Confirm password: ", &again, err);
		if (rc == NH_OK && !nh_slice_eq_ct(nh_buf_slice(&again), nh_buf_slice(out)))
			rc = NH_FAIL(err, NH_EINVAL, "passwords do not match");
	}
	nh_buf_wipe(&again);
	return rc;
}

static nh_rc put_new_password(struct nh_cli *c, json_t *body, struct nh_err *err)
{
	struct nh_buf password = NH_BUF_INIT;
	nh_rc rc = new_password(c, &password, err);
	json_object_set_new(body, "password", nh_json_new_text(nh_buf_slice(&password)));
	nh_buf_wipe(&password);
	return rc;
}

static nh_rc enroll(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	NH_AUTO_JSON json_t *answer = NULL;
	json_object_set_new(body, "email", nh_json_new_text(nh_slice_str(c->args[0])));
	NH_TRY(cli_put_body_flags(c, body, err));
	if (!json_object_get(body, "name"))
		json_object_set_new(body, "name", nh_json_new_text(nh_slice_str(c->args[0])));
	NH_TRY(put_new_password(c, body, err));
	NH_TRY(cli_api(c, &(struct cli_request){"POST", "users/register", .take_body = json_incref(body), .anonymous = true}, &answer, err));
	cli_out(c, "Registered %s; sign in with `nh user auth` (a mail may have to be answered first)\n", c->args[0]);
	return NH_OK;
}

static nh_rc update(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	NH_TRY(cli_put_body_flags(c, body, err));
	if (json_object_size(body) == 0)
		return NH_FAIL(err, NH_EINVAL, "nothing to update: provide --name or --email");
	if (json_object_get(body, "email"))
		NH_TRY(cli_put_own_password(c, body, err));
	return cli_call_and_view(c, "PUT", "users/me", json_incref(body), &account_view, err);
}

static nh_rc change_password(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	NH_TRY(cli_put_own_password(c, body, err));
	NH_TRY(put_new_password(c, body, err));
	NH_TRY(cli_act(c, "PUT", "users/me/password", json_incref(body), err));
	cli_out(c, "Changed the password\n");
	return NH_OK;
}

/* The authenticator gets its secret, and proves that it has it. */
static nh_rc enable_factor(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *body = json_object();
	NH_AUTO_JSON json_t *answer = NULL;
	NH_AUTO_BUF struct nh_buf code = NH_BUF_INIT;
	NH_TRY(cli_put_own_password(c, body, err));
	NH_TRY(cli_api(c, &(struct cli_request){"POST", "users/me/second_factor", .take_body = json_incref(body)}, &answer, err));
	const json_t *data = json_object_get(answer, "data");
	cli_note(c, "Enter this secret in your authenticator, or make a QR code of the address:\n\n  %s\n  %s\n\n", cli_get(data, "secret"), cli_get(data, "uri"));
	NH_TRY(cli_line(c, "Code it shows: ", &code, err));
	json_t *proof = json_pack("{s:o}", "otp", nh_json_new_text(nh_slice_trim(nh_buf_slice(&code))));
	return cli_call_and_view(c, "PUT", "users/me/second_factor", proof, &codes_view, err);
}

static const struct cli_flag register_flags[] = {{"name", 0, CLI_TEXT, "NAME", "your name (default: the address)", "name"}, {NULL}};
static const struct cli_flag update_flags[] = {{"name", 0, CLI_TEXT, "NAME", "your name", "name"}, {"email", 0, CLI_TEXT, "ADDRESS", "a new address", "email"}, {NULL}};
static const struct cli_flag note_flags[] = {{"note", 0, CLI_TEXT, "TEXT", "what the token is for", "note"}, {NULL}};

const struct cli_command cli_account_commands[] = {
	{"user register", "<address>", 1, 1, 0, register_flags, enroll, "register an account, where the server lets you"},
	{"user update", "", 0, 0, CLI_NEEDS_TOKEN, update_flags, update, "change your name or address"},
	{"user password", "", 0, 0, CLI_NEEDS_TOKEN, NULL, change_password, "change your password"},
	{"user delete", "", 0, 0, CLI_NEEDS_TOKEN, cli_yes_flags, cli_run_send, "delete your account", &account_end},
	{"user tokens list", "", 0, 0, CLI_NEEDS_TOKEN, NULL, cli_run_list, "list your API tokens", &tokens},
	{"user tokens create", "", 0, 0, CLI_NEEDS_TOKEN, note_flags, cli_run_send, "make an API token", &token_new},
	{"user tokens revoke", "<token-id>", 1, 1, CLI_NEEDS_TOKEN, cli_yes_flags, cli_run_send, "revoke an API token", &token_end},
	{"user sessions list", "", 0, 0, CLI_NEEDS_TOKEN, NULL, cli_run_list, "list where you are signed in with a browser", &sessions},
	{"user sessions end", "<session-id>", 1, 1, CLI_NEEDS_TOKEN, NULL, cli_run_send, "end one of these sessions", &session_end},
	{"user sessions end-all", "", 0, 0, CLI_NEEDS_TOKEN, NULL, cli_run_send, "end all of them", &sessions_end},
	{"user second-factor show", "", 0, 0, CLI_NEEDS_TOKEN, NULL, cli_run_show, "is the second factor on", &factor},
	{"user second-factor enable", "", 0, 0, CLI_NEEDS_TOKEN, NULL, enable_factor, "switch the second factor on"},
	{"user second-factor disable", "", 0, 0, CLI_NEEDS_TOKEN, cli_yes_flags, cli_run_send, "switch the second factor off", &factor_off},
	{"user second-factor recovery-codes", "", 0, 0, CLI_NEEDS_TOKEN, NULL, cli_run_send, "make new recovery codes", &recovery},
	{"org invites", "", 0, 0, CLI_IN_ORG, NULL, cli_run_list, "list open invitations", &invites},
	{"org rescind-invite", "<invite-id>", 1, 1, CLI_IN_ORG, NULL, cli_run_send, "take an invitation back", &rescission},
	{"org leave", "", 0, 0, CLI_IN_ORG, cli_yes_flags, cli_run_send, "leave the organization", &leave},
	{NULL},
};

/*
 * `nh user`: signing in by browser or password, who it is, signing out (locally).
 *
 * source: reference/user-api-and-cli "2.4" "2.5" "18.7"
 */
#include <unistd.h>

#include "base/clock.h"
#include "cli_int.h"

#define LOGIN_POLL_MS 2000
#define LOGIN_WAIT_MS (5 * 60 * 1000)

static const struct cli_shape user_shape[] = {{"name", SHAPE_TEXT}, {"email", SHAPE_TEXT}, {NULL}};

static const char *token_note(struct nh_cli *c)
{
	char host[256] = "unknown";
	gethostname(host, sizeof host - 1);
	return nh_arena_printf(&c->arena, "nh %s (%s)", NH_VERSION, host);
}

static nh_rc save_token(struct nh_cli *c, const char *token, struct nh_err *err)
{
	if (!*token)
		return NH_FAIL(err, NH_EFORMAT, "the server's answer holds no token");
	cli_settings_set(c, "token", token);
	return cli_settings_save(c, err);
}

static nh_rc ask_credentials(struct nh_cli *c, struct nh_buf *email, struct nh_buf *password, struct nh_err *err)
{
	const char *given = cli_text(c, "email");
	if (!given && c->non_interactive)
		return NH_FAIL(err, NH_EINVAL, "--non-interactive set: provide --email and pipe the password to stdin");
	if (c->non_interactive && c->io->in_terminal)
		return NH_FAIL(err, NH_EINVAL, "--non-interactive set: provide --email and pipe the password to stdin");
	if (given)
		nh_buf_put_str(email, given);
	else
		NH_TRY(cli_line(c, "Email: ", email, err));
	return cli_password(c, "Password: ", password, err);
}

/* One attempt; otp NULL: without a code. */
static nh_rc try_login(struct nh_cli *c, const struct nh_buf *email, const struct nh_buf *password, const char *otp, json_t **answer, struct nh_err *err)
{
	json_t *body = json_object();
	json_object_set_new(body, "email", nh_json_new_text(nh_slice_trim(nh_buf_slice(email))));
	json_object_set_new(body, "password", nh_json_new_text(nh_buf_slice(password)));
	json_object_set_new(body, "note", json_string(token_note(c)));
	if (otp)
		json_object_set_new(body, "otp", nh_json_new_text(nh_slice_trim(nh_slice_str(otp))));
	return cli_api(c, &(struct cli_request){"POST", "users/login", .take_body = body, .anonymous = true}, answer, err);
}

/* Accounts with a second factor are refused with a word about "otp": then its code is asked for. */
static nh_rc sign_in(struct nh_cli *c, const struct nh_buf *email, const struct nh_buf *password, json_t **answer, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf code = NH_BUF_INIT;
	const char *given = cli_text(c, "otp");
	nh_rc rc = try_login(c, email, password, given, answer, err);
	if (rc != NH_EAUTH || given || nh_slice_find(nh_slice_str(err->msg), NH_LIT("\n  otp: ")) < 0 || c->non_interactive)
		return rc;
	NH_TRY(cli_line(c, "Code of the second factor: ", &code, err));
	return try_login(c, email, password, nh_buf_cstr(&code), answer, err);
}

static nh_rc auth(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf email = NH_BUF_INIT;
	struct nh_buf password = NH_BUF_INIT;
	NH_AUTO_JSON json_t *answer = NULL;
	cli_out(c, "Authenticating to %s\n\n", c->uri);
	fflush(c->io->out);
	nh_rc rc = ask_credentials(c, &email, &password, err);
	if (rc == NH_OK)
		rc = sign_in(c, &email, &password, &answer, err);
	nh_buf_wipe(&password);
	NH_TRY(rc);
	const json_t *data = json_object_get(answer, "data");
	NH_TRY(save_token(c, cli_get(data, "token"), err));
	const char *name = cli_get(data, "name");
	cli_out(c, "\nSuccessfully authenticated as %s\nToken saved to %s\n", *name ? name : cli_get(data, "email"), c->settings.path);
	return NH_OK;
}

/* The code with blanks between its digits. */
static const char *spaced(struct nh_cli *c, int64_t code)
{
	NH_AUTO_BUF struct nh_buf plain = NH_BUF_INIT, out = NH_BUF_INIT;
	nh_buf_printf(&plain, "%lld", (long long)code);
	for (size_t i = 0; i < plain.len; i++)
		nh_buf_printf(&out, i ? " %c" : "%c", plain.ptr[i]);
	return nh_arena_str(&c->arena, nh_buf_slice(&out));
}

static nh_rc login(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *begin = NULL;
	json_t *body = json_object();
	json_object_set_new(body, "note", json_string(token_note(c)));
	NH_TRY(cli_api(c, &(struct cli_request){"POST", "auth/cli_session", .take_body = body, .anonymous = true}, &begin, err));
	const json_t *data = json_object_get(begin, "data");
	if (!*cli_get(data, "url") || !*cli_get(data, "token"))
		return NH_FAIL(err, NH_EFORMAT, "the server began no login; is %s a NervesHub server?", c->uri);
	cli_out(c, "Open this address in a browser and confirm the login:\n\n  %s\n\nConfirmation code: %s\n\nWaiting for confirmation...%s\n",
		cli_get(data, "url"), spaced(c, nh_json_int(data, "confirmation_code", 0)), c->io->in_terminal ? " (press Esc to cancel)" : "");
	fflush(c->io->out);
	const char *route = cli_route(c, "auth", "cli_session", cli_get(data, "token"), NULL);
	uint64_t until = nh_mono_ms() + LOGIN_WAIT_MS;
	while (nh_mono_ms() < until) {
		NH_AUTO_JSON json_t *answer = NULL;
		NH_TRY(cli_api(c, &(struct cli_request){"GET", route, .anonymous = true}, &answer, err));
		const json_t *state = json_object_get(answer, "data");
		if (nh_slice_eq_str(nh_json_text(state, "status"), "ready")) {
			NH_TRY(save_token(c, cli_get(state, "user_token"), err));
			cli_out(c, "\nSuccessfully authenticated\nToken saved to %s\n", c->settings.path);
			return NH_OK;
		}
		if (cli_wait_cancelled(c, LOGIN_POLL_MS)) {
			cli_out(c, "\nLogin cancelled.\n");
			return NH_OK;
		}
	}
	return NH_FAIL(err, NH_ETIMEOUT, "timed out waiting for login confirmation: run `nh user login` again");
}

/* Two columns of a fixed width, as people's scripts know them. */
static nh_rc whoami(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_JSON json_t *user = NULL;
	NH_TRY(cli_call(c, "GET", "users/me", NULL, user_shape, false, &user, err));
	if (c->format != CLI_TABLE)
		return cli_view_one(c, &(struct cli_view){.shape = user_shape}, user);
	if (*cli_get(user, "name"))
		cli_out(c, "Name:     %s\n", cli_get(user, "name"));
	cli_out(c, "Email:    %s\n", cli_get(user, "email"));
	return NH_OK;
}

static nh_rc logout(struct nh_cli *c, struct nh_err *err)
{
	if (!cli_settings_get(c, "token")) {
		cli_out(c, "No saved token to remove\n");
		return NH_OK;
	}
	cli_settings_set(c, "token", NULL);
	NH_TRY(cli_settings_save(c, err));
	cli_out(c, "Logged out; removed the saved token from %s\n", c->settings.path);
	return NH_OK;
}

static const struct cli_flag auth_flags[] = {{"email", 0, CLI_TEXT, "ADDRESS", "account; asked for otherwise"},
					     {"otp", 0, CLI_TEXT, "CODE", "of the second factor, or a recovery code; asked for otherwise"},
					     {NULL}};

const struct cli_command cli_user_commands[] = {
	{"user login", "", 0, 0, 0, NULL, login, "sign in with the browser"},
	{"user auth", "", 0, 0, 0, auth_flags, auth, "sign in with email and password"},
	{"user whoami", "", 0, 0, CLI_NEEDS_TOKEN, NULL, whoami, "show who the token belongs to"},
	{"user logout", "", 0, 0, 0, NULL, logout, "forget the saved token"},
	{NULL},
};

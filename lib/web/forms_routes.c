/*
 * Where the pages without scripts are. source: reference/web-ui "3", "8.1"
 */
#include "forms_int.h"
#include "oidc_int.h"

#define FORM_MAX 65536
#define PAGE(path_, page_, summary_) {.method = NH_HTTP_GET, .path = (path_), .handle = form_handle, .summary = (summary_), .extra = &(page_)}
#define POSTED(path_, page_, summary_) {.method = NH_HTTP_POST, .path = (path_), .handle = form_handle, .body_max = FORM_MAX, .summary = (summary_), .extra = &(page_)}
#define FORM(path_, page_, summary_) PAGE(path_, page_, summary_), POSTED(path_, page_, summary_)

const struct nh_route nh_web_form_routes[] = {
	{.method = NH_HTTP_GET, .path = "/forms.css", .handle = form_stylesheet, .where = NH_ON_LOOP, .summary = "The pages' stylesheet"},
	PAGE("/", page_root, "The own account, or signing in"),
	FORM("/login", page_login, "Sign in"),
	FORM("/login/second-factor", page_second_factor, "Sign in: the second factor"),
	FORM("/logout", page_logout, "Sign out"),
	FORM("/auth/cli/:token", page_cli, "Let a command line in"),
	FORM("/register", page_register, "Register an account"),
	FORM("/confirm/:token", page_confirm, "Confirm an address"),
	FORM("/password-reset", page_reset_ask, "Ask for a new password"),
	FORM("/password-reset/:token", page_reset, "Choose a new password"),
	FORM("/invite/:token", page_invite, "Accept an invitation"),
	FORM("/welcome", page_welcome, "The first organization and product"),
	FORM("/account", page_account, "The own account"),
	FORM("/account/password", page_password, "Change the password"),
	POSTED("/account/tokens", page_tokens, "Make an API token"),
	POSTED("/account/tokens/:id/delete", page_token_delete, "Revoke an API token"),
	POSTED("/account/sessions", page_sessions, "End all other sessions"),
	POSTED("/account/sessions/:id/delete", page_session_delete, "End a session"),
	FORM("/account/second-factor", page_factor, "Begin with a second factor"),
	POSTED("/account/second-factor/confirm", page_factor_confirm, "Switch the second factor on"),
	FORM("/account/second-factor/off", page_factor_off, "Switch the second factor off"),
	FORM("/account/recovery-codes", page_recovery, "New recovery codes"),
	FORM("/account/delete", page_delete, "Delete the account"),
	PAGE("/auth/google", page_oidc_begin, "Sign in with Google"),
	PAGE("/auth/google/callback", page_oidc_callback, "Google's answer"),
	POSTED("/auth/google/connect", page_oidc_connect, "Connect a Google account"),
	PAGE("/auth/oidc", page_oidc_begin, "Sign in with the issuer of the settings"),
	PAGE("/auth/oidc/callback", page_oidc_callback, "Its answer"),
	POSTED("/auth/oidc/connect", page_oidc_connect, "Connect an account of that issuer"),
	POSTED("/account/identities/remove", page_oidc_remove, "Disconnect an account elsewhere"),
	{0},
};

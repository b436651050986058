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
	FORM("/logout", page_logout, "Sign out"),
	PAGE("/auth/google", page_oidc_begin, "Sign in with Google"),
	PAGE("/auth/google/callback", page_oidc_callback, "Google's answer"),
	POSTED("/auth/google/connect", page_oidc_connect, "Connect a Google account"),
	PAGE("/auth/oidc", page_oidc_begin, "Sign in with the issuer of the settings"),
	PAGE("/auth/oidc/callback", page_oidc_callback, "Its answer"),
	POSTED("/auth/oidc/connect", page_oidc_connect, "Connect an account of that issuer"),
	POSTED("/account/identities/remove", page_oidc_remove, "Disconnect an account elsewhere"),
	{0},
};

/*
 * Signing in and out.
 *
 * source: reference/server-behaviour "9.4"; reference/web-ui "8.1"
 */
#include "forms_int.h"

static void logout(struct form *f)
{
	if (f->post) {
		form_sign_out(f);
		return;
	}
	page_begin(f, "Sign out");
	page_paragraph(f, "This ends the session of this browser.");
	form_begin(f, "/logout");
	form_end(f, "Sign out");
	page_send(f, 200);
}
const struct form_page page_logout = {logout, true};

/*
 * What single clients need that the API would not do by itself. Each row of the table is one such thing: whom it is for, why, where that is written, and the test that holds it. Code that
 * serves a quirk asks for it by its name and does nothing else about clients; a client that is mended one day takes its row and that code with it.
 */
#include "api_int.h"

static const struct {
	const char *agent;     /* how its User-Agent begins */
	const char *reason;
	const char *reference;
	const char *test;
} quirks[] = {
	[QUIRK_SCRIPT_TEXTS] = {
		"nh/", "decodes a script's id, its creator's id and its tags as strings and gives up on any other type", "user-api-and-cli \"14\", \"20.1\" 4",
		"test_scripts.py: test_what_nh_decodes",
	},
	[QUIRK_SCRIPT_PATIENCE] = {
		"nh/", "waits 30 s for any answer, which is just as long as a script may take unless the request says otherwise", "user-api-and-cli \"18.5\", \"20.1\" 10",
		"user_api/test_support.c: test_patience",
	},
};
_Static_assert(NH_ARRAY_LEN(quirks) == QUIRK_COUNT, "a row for each quirk");

bool has_quirk(const struct nh_request *req, quirk which)
{
	return nh_slice_starts(nh_request_header(req, "user-agent"), nh_slice_str(quirks[which].agent));
}

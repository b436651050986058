/*
 * Every route of the User API: up to eight requests, one after the other, against the real handlers on a real database.
 *
 * A request ends with the byte 0x1e and reads "PT METHOD PATH?QUERY", line feed, body; P: who asks, T: how the body is declared. Whatever is asked: the
 * answer is none of 5xx, it is JSON where it says so, no secret stands in it, and nobody gets what the role does not allow.
 */
#include "world.h"

#define REQUESTS_MAX 8

/* The place of c in choices, or 0. */
static size_t pick(uint8_t c, const char *choices)
{
	const char *at = c ? strchr(choices, c) : NULL;
	return at ? (size_t)(at - choices) : 0;
}

static void ask(struct fuzz_api *w, nh_slice in, bool first)
{
	static const char *const types[] = {"application/json", "application/x-www-form-urlencoded", "", "application/vnd.api+json; charset=utf-8"};
	fuzz_person person = (fuzz_person)pick(fuzz_byte(&in), "avsn");
	const char *type = types[pick(fuzz_byte(&in), "jf-v")];
	fuzz_byte(&in); /* the blank */
	struct fuzz_ask a;
	fuzz_ask_open(w, &a, person, fuzz_until(&in, '\n'));
	a.ex.request.body = in;
	fuzz_ask_header(&a, "content-type", nh_slice_str(type));
	/* Firmware comes in streams: upload.c. */
	bool mine = a.found != NH_OK || a.ex.request.route->body != NH_BODY_STREAM;
	if (mine && a.found == NH_OK)
		a.ex.request.route->handle(&a.ex.request, &a.ex.response);
	if (mine)
		fuzz_ask_check(&a);
	if (mine && first)
		fuzz_ask_check_role(&a);
	fuzz_ask_close(&a);
}

static void play(void *arg)
{
	nh_slice in = *(const nh_slice *)arg;
	struct fuzz_api *w = fuzz_api_world();
	fuzz_api_begin(w, in);
	for (unsigned i = 0; i < REQUESTS_MAX && in.len > 0; i++)
		ask(w, fuzz_until(&in, 0x1e), i == 0);
	fuzz_api_end(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice in = nh_slice_of(data, size);
	struct fuzz_api *w = fuzz_api_world();
	fuzz_db_play(w->db, play, &in);
	return 0;
}

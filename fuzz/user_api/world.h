/*
 * The world that User API targets ask: organization acme with a bit of everything, people of each role, a stranger; requests made by hand and given
 * straight to the handlers of the route table; what must hold for every answer.
 */
#pragma once

#include "fuzz.h"

#include "fuzz_db.h"
#include "server_int.h"

#include "api_int.h"

typedef enum fuzz_person { FUZZ_ADMIN, FUZZ_VIEWER, FUZZ_STRANGER, FUZZ_NOBODY } fuzz_person;

struct fuzz_api {
	struct world world;
	struct nh_db *db;
	struct nh_objects *objects;
	struct nh_user_api *api;      /* of the input being played: it counts sign-ins */
	nh_slice input;               /* the one being played */
	struct nh_user vic;
	struct nh_rng_seeded seed;
	struct nh_rng rng;
	char tokens[4][NH_TOKEN_TEXT_MAX + 8]; /* Authorization, by person; empty for nobody */
	const char *ca_serial, *cert_serial, *secret_key, *cli_token;
};

/* One request and its answer; all in the exchange's arena. */
struct fuzz_ask {
	struct exchange ex;
	nh_rc found;
	fuzz_person person;
};

/* fuzz_api_world - made at the first call. */
struct fuzz_api *fuzz_api_world(void);
void fuzz_api_begin(struct fuzz_api *w, nh_slice input); /* inside fuzz_db_play */
void fuzz_api_end(struct fuzz_api *w);

/*
 * fuzz_ask_open - a request; line: "METHOD PATH?QUERY". A path segment "-" stands for the world's thing of that kind (its device, its key, …).
 * No such route: answered with the fault that the server would ask for, and fuzz_ask.found is not NH_OK.
 */
void fuzz_ask_open(struct fuzz_api *w, struct fuzz_ask *a, fuzz_person person, nh_slice line);
void fuzz_ask_header(struct fuzz_ask *a, const char *name, nh_slice value);
/* fuzz_ask_check - the answer is one: below 500, its head is one, JSON is JSON, no secret in it. */
void fuzz_ask_check(const struct fuzz_ask *a);
/* fuzz_ask_check_role - in the untouched world: nobody gets more than the role allows. */
void fuzz_ask_check_role(const struct fuzz_ask *a);
void fuzz_ask_close(struct fuzz_ask *a);

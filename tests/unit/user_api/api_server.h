/*
 * The real server with the User API's routes on a fresh database and object store, and a blocking HTTP client of a few lines that talks to it over a socket.
 * For tests: everything here fails the test where it fails.
 */
#pragma once

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hub/accounts.h"
#include "user_api/user_api.h"

struct api_server;

struct api_server *api_server_new(unsigned engine); /* NULL: engine not available here */
void api_server_free(struct api_server *s);
struct nh_user_api *api_server_app(struct api_server *s);
struct nh_hub_config *api_server_config(struct api_server *s); /* change only between requests */
struct nh_relay *api_server_relay(struct api_server *s);
size_t api_server_objects(struct api_server *s);               /* objects in the store */
unsigned api_server_effects(struct api_server *s, nh_effect_kind kind); /* carried out so far */
void api_server_user(struct api_server *s, const char *name, const char *email, const char *password);
/* confirms a command-line session as this user would in the browser */
void api_server_confirm(struct api_server *s, const char *email, const char *session);
void api_server_orphan(struct api_server *s);                  /* an object with its claim, whose row a crash prevented */
void api_server_age_claims(struct api_server *s);              /* an hour passes */

struct answer {
	unsigned status;
	struct nh_buf head, body; /* head: with status line */
	json_t *json;             /* NULL where the body is none */
};
void answer_fini(struct answer *a);
#define AUTO_ANSWER __attribute__((cleanup(answer_fini), unused)) struct answer

struct ask {
	const char *method, *path; /* path below /api unless it starts with "/status" */
	const char *token;         /* NULL: none */
	const char *json;          /* body, or NULL */
	const char *headers;       /* further lines, each with CRLF, or NULL */
	nh_slice body;             /* instead of json */
	bool chunked;
};
struct answer ask(struct api_server *s, const struct ask *a);
/* Shorthands: asserts the status. */
struct answer expect(struct api_server *s, unsigned status, const char *method, const char *path, const char *token, const char *json);
/* a firmware, or an archive where the path ends so */
struct answer upload(struct api_server *s, const char *path, const char *token, nh_slice file, bool chunked);
/* Sends half an upload and goes away. */
void abandon_upload(struct api_server *s, const char *path, const char *token);
/* "data.tags.0" of the body as text: strings as they are, others as JSON; "" where absent. Lives until the next call but four. */
const char *at(const struct answer *a, const char *where);

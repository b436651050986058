/*
 * Where tests of the User API happen: an organization with a product and a key, somebody who may do everything there and somebody who has nothing to do with it.
 */
#pragma once

#include "api_server.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "testdb.h"

#define KEY1 "9IYP+5uUmFNiL8MLdYueMcog8FSfMHWSsf3+JG2ajd0="
#define KEY2 "0K4aNsEqtlWVMNLzhLKoTTHSdKDgBbk6hgXPLkCIgsY="
#define UUID1 "63a46488-91bd-5fc3-06ea-84ebd217251f"
#define UUID2 "300375cc-3528-57e6-328d-eeb8ab15459c"
#define PASSWORD "correct horse battery"
#define P "/orgs/acme/products/Thermo%20Widget"
#define NOT_FOUND "Resource Not Found or Authorization Insufficient"

/* Ends the answer of a request that only had to have a status. */
static inline void status(struct api_server *s, unsigned code, const char *method, const char *path, const char *token, const char *json)
{
	struct answer a = expect(s, code, method, path, token, json);
	answer_fini(&a);
}

#define IS(answer, where, text) assert_string_equal(at(&(answer), (where)), (text))

static inline struct nh_buf fixture(const char *name)
{
	struct nh_buf out = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	char path[1024];
	const char *root = getenv("NH_VECTORS");
	snprintf(path, sizeof(path), "%s/firmware/%s", root ? root : "tests/vectors", name);
	if (nh_file_read(path, 1 << 24, &out, &err) != NH_OK)
		fail_msg("%s", err.msg);
	return out;
}

static inline void sign_in(struct api_server *s, const char *email, char token[64])
{
	char body[256];
	snprintf(body, sizeof(body), "{\"email\":\"%s\",\"password\":\"" PASSWORD "\",\"note\":\"test\"}", email);
	AUTO_ANSWER a = expect(s, 200, "POST", "/users/login", NULL, body);
	snprintf(token, 64, "%s", at(&a, "data.token"));
}

/* ada: admin of acme with a product, a key and a firmware; eve: a stranger. */
struct place {
	struct api_server *s;
	char ada[64], eve[64];
};

static inline void furnish(struct place *p, struct api_server *s)
{
	p->s = s;
	api_server_user(s, "Ada", "ada@example.com", PASSWORD);
	api_server_user(s, "Eve", "eve@example.com", PASSWORD);
	sign_in(s, "ada@example.com", p->ada);
	sign_in(s, "eve@example.com", p->eve);
	status(s, 201, "POST", "/orgs", p->ada, "{\"name\":\"acme\"}");
	status(s, 201, "POST", "/orgs/acme/products", p->ada, "{\"name\":\"Thermo Widget\"}");
	status(s, 201, "POST", "/orgs/acme/keys", p->ada, "{\"name\":\"dev\",\"key\":\"" KEY1 "\"}");
}

static inline void on_each_engine(void (*test)(struct place *p))
{
	for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++) {
		struct api_server *s = api_server_new(engine);
		if (!s)
			continue;
		struct place p;
		furnish(&p, s);
		test(&p);
		api_server_free(s);
	}
}

/*
 * Users, tokens, organizations, members, command-line sessions.
 */
#include "hub_world.h"

#include "base/encode.h"

/* ---- tokens ------------------------------------------------------------------------------------------------------------ */

/* source: reference/user-api-and-cli "2.2", test vector */
static void test_token_text(void **state)
{
	uint8_t random[32], back[32];
	char text[NH_TOKEN_TEXT_MAX];
	for (uint8_t i = 0; i < 32; i++)
		random[i] = (uint8_t)(i + 1);
	nh_token_format(random, text);
	assert_string_equal(text, "nhu_17SyR2HeQqfOYQaaT7Jv5BxBid5hrDD9KP13RYr9o6rTb26X");
	assert_int_equal(nh_token_parse(nh_slice_str(text), back), NH_OK);
	assert_memory_equal(back, random, 32);

	for (size_t i = 0; text[i]; i++) {
		char kept = text[i];
		text[i] = kept == 'z' ? 'y' : 'z';
		assert_int_equal(nh_token_parse(nh_slice_str(text), back), NH_EFORMAT);
		text[i] = kept;
	}
	static const char *const bad[] = {"", "nhu_", "nhu_0", "nhu_1", "nhx_17SyR2HeQqfOYQaaT7Jv5BxBid5hrDD9KP13RYr9o6rTb26X",
	                                  "nhu_017SyR2HeQqfOYQaaT7Jv5BxBid5hrDD9KP13RYr9o6rTb26X", "nhu_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
	                                  "nhu_17SyR2HeQqfOYQaaT7Jv5BxBid5hrDD9KP13RYr9o6rTb26X ", "nhu_17SyR2HeQqfOYQaaT7Jv5BxBid5hrDD9KP13RYr9o6rTb26-"};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		assert_int_equal(nh_token_parse(nh_slice_str(bad[i]), back), NH_EFORMAT);
}

static nh_rc tokens(struct world *w, struct nh_err *err)
{
	char text[NH_TOKEN_TEXT_MAX];
	struct nh_user user;
	struct nh_token *list;
	int64_t touch = 0;
	size_t count = 0;
	OK(nh_token_create(&w->ctx, w->ada.id, NH_TOKEN_API, NH_LIT("  my   laptop "), text, E(w)));
	OK(nh_token_user(&w->ctx, nh_slice_str(text), NH_TOKEN_API, &user, &touch, E(w)));
	CHECK(user.id == w->ada.id && nh_slice_eq_str(user.email, "ada@example.com") && touch != 0);
	OK(nh_token_touch(&w->ctx, touch, E(w)));
	OK(nh_token_user(&w->ctx, nh_slice_str(text), NH_TOKEN_API, &user, &touch, E(w)));
	CHECK(touch == 0);
	w->now_us += 61 * NH_US_PER_S;
	OK(nh_token_user(&w->ctx, nh_slice_str(text), NH_TOKEN_API, &user, &touch, E(w)));
	CHECK(touch != 0);

	CHECK_RC(NH_EAUTH, nh_token_user(&w->ctx, nh_slice_str(text), "session", &user, NULL, E(w)));
	uint8_t other[32] = {1};
	char stranger[NH_TOKEN_TEXT_MAX];
	nh_token_format(other, stranger);
	CHECK_RC(NH_EAUTH, nh_token_user(&w->ctx, nh_slice_str(stranger), NH_TOKEN_API, &user, NULL, E(w)));
	CHECK_RC(NH_EAUTH, nh_token_user(&w->ctx, NH_LIT("nhu_x"), NH_TOKEN_API, &user, NULL, E(w)));

	OK(nh_token_list(&w->ctx, w->ada.id, &list, &count, E(w)));
	CHECK(count == 1 && nh_slice_eq_str(list[0].note, "my laptop"));
	CHECK_RC(NH_ENOTFOUND, nh_token_delete(&w->ctx, w->eve.id, list[0].id, E(w)));
	OK(nh_token_delete(&w->ctx, w->ada.id, list[0].id, E(w)));
	CHECK_RC(NH_EAUTH, nh_token_user(&w->ctx, nh_slice_str(text), NH_TOKEN_API, &user, NULL, E(w)));
	return NH_OK;
}
static void test_tokens(void **state) { on_each_engine(tokens, NULL); }

/* ---- users ------------------------------------------------------------------------------------------------------------- */

static void test_new_user_checks(void **state)
{
	static const struct {
		const char *name, *email, *password, *field;
	} table[] = {
		{"Ada", "ada@example.com", "correct horse battery", NULL},
		{"", "ada@example.com", "correct horse battery", "name"},
		{"A", "ada@example.com", "correct horse battery", "name"},
		{"Ada 2", "ada@example.com", "correct horse battery", "name"},
		{"Ada <b>", "ada@example.com", "correct horse battery", "name"},
		{"visit www.example", "ada@example.com", "correct horse battery", "name"},
		{"see example.com", "ada@example.com", "correct horse battery", "name"},
		{"Ada", "", "correct horse battery", "email"},
		{"Ada", "ada", "correct horse battery", "email"},
		{"Ada", "@example.com", "correct horse battery", "email"},
		{"Ada", "ada@", "correct horse battery", "email"},
		{"Ada", "a da@example.com", "correct horse battery", "email"},
		{"Ada", "ada@example.com", "", "password"},
		{"Ada", "ada@example.com", "elevenchars", "password"},
		{"Ada", "ada@example.com", "123456789012345678901234567890123456789012345678901234567890123456789012x", "password"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		NH_AUTO_JSON json_t *errors = NULL;
		struct nh_new_user user;
		nh_rc rc = nh_user_prepare(&arena, nh_slice_str(table[i].name), nh_slice_str(table[i].email), nh_slice_str(table[i].password),
		                           &nh_password_cost_test, &user, &errors, NULL);
		assert_int_equal(rc, table[i].field ? NH_EINVAL : NH_OK);
		if (table[i].field)
			assert_non_null(json_object_get(errors, table[i].field));
		else
			assert_null(errors);
	}
}

static nh_rc users(struct world *w, struct nh_err *err)
{
	struct nh_new_user input;
	struct nh_user user;
	struct nh_org *orgs;
	struct nh_login login;
	bool created = true;
	size_t count = 0;
	OK(nh_user_prepare(&w->arena, NH_LIT("Ada Again"), NH_LIT("ADA@Example.com"), NH_LIT("correct horse battery"), &nh_password_cost_test, &input, NULL,
	                   E(w)));
	CHECK_RC(NH_EINVAL, nh_user_create(&w->ctx, &input, &user, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "email", "has already been taken"));
	OK(nh_user_bootstrap(&w->ctx, &input, &created, &user, E(w)));
	CHECK(!created);

	/* every account has an organization of its own; a taken name gets a suffix */
	OK(nh_org_list(&w->ctx, &w->as_ada, &orgs, &count, E(w)));
	CHECK(count == 2 && nh_slice_eq_str(orgs[0].name, "acme") && !orgs[0].personal && nh_slice_eq_str(orgs[1].name, "ada") && orgs[1].personal);
	OK(nh_user_prepare(&w->arena, NH_LIT("Ada Two"), NH_LIT("ada@other.example"), NH_LIT("correct horse battery"), &nh_password_cost_test, &input, NULL,
	                   E(w)));
	OK(nh_user_create(&w->ctx, &input, &user, NULL, E(w)));
	struct nh_actor two = nh_actor_of_user(&user);
	OK(nh_org_list(&w->ctx, &two, &orgs, &count, E(w)));
	CHECK(count == 1 && nh_slice_starts(orgs[0].name, NH_LIT("ada-")) && orgs[0].role == NH_ROLE_ADMIN);

	OK(nh_login_find(&w->ctx, NH_LIT("Ada@EXAMPLE.com"), &login, E(w)));
	CHECK(login.known && login.user.id == w->ada.id);
	OK(nh_login_verify(&login, NH_LIT("correct horse battery"), &nh_password_cost_test));
	CHECK_RC(NH_EAUTH, nh_login_verify(&login, NH_LIT("wrong"), &nh_password_cost_test));
	CHECK_RC(NH_EAUTH, nh_login_verify(&login, NH_SLICE_EMPTY, &nh_password_cost_test));
	OK(nh_login_find(&w->ctx, NH_LIT("nobody@example.com"), &login, E(w)));
	CHECK(!login.known);
	CHECK_RC(NH_EAUTH, nh_login_verify(&login, NH_LIT("correct horse battery"), &nh_password_cost_test));

	char text[NH_TOKEN_TEXT_MAX];
	OK(nh_token_create(&w->ctx, w->ada.id, NH_TOKEN_API, NH_SLICE_EMPTY, text, E(w)));
	OK(nh_user_set_password(&w->ctx, w->ada.id, input.password_hash, E(w)));
	CHECK_RC(NH_EAUTH, nh_token_user(&w->ctx, nh_slice_str(text), NH_TOKEN_API, &user, NULL, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_user_set_password(&w->ctx, 4711, input.password_hash, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_user_get(&w->ctx, 4711, &user, E(w)));
	return NH_OK;
}
static void test_users(void **state) { on_each_engine(users, NULL); }

/* ---- organizations and members ----------------------------------------------------------------------------------------- */

static nh_rc orgs(struct world *w, struct nh_err *err)
{
	static const char *const bad[] = {"", " ", "a b", "a/b", "ä", "a.b"};
	struct nh_org org;
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		CHECK_RC(NH_EINVAL, nh_org_create(&w->ctx, &w->as_ada, nh_slice_str(bad[i]), &org, NO_ERRORS(w), E(w)));
		CHECK(json_object_get(w->errors, "name"));
	}
	CHECK_RC(NH_EINVAL, nh_org_create(&w->ctx, &w->as_eve, NH_LIT("acme"), &org, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "name", "has already been taken"));

	OK(nh_org_open(&w->ctx, &w->as_ada, NH_LIT("acme"), NH_MAY_ORG_DELETE, &org, E(w)));
	CHECK(org.id == w->acme.id && org.role == NH_ROLE_ADMIN);
	CHECK_RC(NH_ENOTFOUND, nh_org_open(&w->ctx, &w->as_eve, NH_LIT("acme"), NH_MAY_ORG_SEE, &org, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_org_open(&w->ctx, &w->as_ada, NH_LIT("nothing"), NH_MAY_ORG_SEE, &org, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_may(&w->ctx, &w->as_eve, w->acme.id, NH_MAY_ORG_SEE, E(w)));
	const struct nh_actor device = {NH_ACTOR_DEVICE, w->ada.id, NH_LIT("d")}, system = {NH_ACTOR_SYSTEM, 0, NH_LIT("s")};
	CHECK_RC(NH_ENOTFOUND, nh_may(&w->ctx, &device, w->acme.id, NH_MAY_ORG_SEE, E(w)));
	OK(nh_may(&w->ctx, &system, w->acme.id, NH_MAY_ORG_DELETE, E(w)));
	return NH_OK;
}
static void test_orgs(void **state) { on_each_engine(orgs, NULL); }

/* Whatever the row says: its role may and the next lower one may not; nothing is nobody's. */
static nh_rc permissions(struct world *w, struct nh_err *err)
{
	static const char *const words[] = {"view", "manage", "admin"};
	struct nh_member member;
	OK(nh_member_add(&w->ctx, &w->as_ada, w->acme.id, w->eve.email, NH_LIT("view"), &member, NO_ERRORS(w), E(w)));
	for (nh_role has = NH_ROLE_VIEW; has <= NH_ROLE_ADMIN; has++) {
		OK(nh_member_set_role(&w->ctx, &w->as_ada, w->acme.id, w->eve.email, nh_slice_str(words[has - NH_ROLE_VIEW]), &member, NO_ERRORS(w), E(w)));
		CHECK_RC(NH_EPERM, nh_may(&w->ctx, &w->as_eve, w->acme.id, NH_MAY_NOTHING, E(w)));
		for (nh_action action = NH_MAY_NOTHING + 1; action < NH_MAY_COUNT; action++) {
			nh_rc rc = nh_may(&w->ctx, &w->as_eve, w->acme.id, action, E(w));
			CHECK(nh_action_role(action) >= NH_ROLE_VIEW && nh_action_role(action) <= NH_ROLE_ADMIN);
			CHECK(rc == (has >= nh_action_role(action) ? NH_OK : NH_EPERM));
			CHECK(rc == NH_OK || strncmp(w->last.msg, nh_action_name(action), strlen(nh_action_name(action))) == 0);
		}
	}
	return NH_OK;
}
static void test_permissions(void **state) { on_each_engine(permissions, NULL); }

static nh_rc members(struct world *w, struct nh_err *err)
{
	struct nh_member m, *list;
	size_t count = 0;
	nh_slice eve = NH_LIT("EVE@example.com");
	CHECK_RC(NH_EINVAL, nh_member_add(&w->ctx, &w->as_ada, w->acme.id, eve, NH_LIT("owner"), &m, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "role", "is invalid"));
	CHECK_RC(NH_EINVAL, nh_member_add(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("no@example.com"), NH_LIT("view"), &m, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, NULL, "could not be found"));
	CHECK_RC(NH_ENOTFOUND, nh_member_add(&w->ctx, &w->as_eve, w->acme.id, eve, NH_LIT("admin"), &m, NO_ERRORS(w), E(w)));
	OK(nh_member_add(&w->ctx, &w->as_ada, w->acme.id, eve, NH_LIT("view"), &m, NULL, E(w)));
	CHECK_RC(NH_EINVAL, nh_member_add(&w->ctx, &w->as_ada, w->acme.id, eve, NH_LIT("view"), &m, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "org_users", "is already member"));

	/* a viewer looks at things and is no admin */
	struct nh_product product;
	OK(nh_product_open(&w->ctx, &w->as_eve, w->acme.id, NH_LIT("Thermo Widget"), NH_MAY_PRODUCT_SEE, &product, E(w)));
	CHECK_RC(NH_EPERM, nh_product_open(&w->ctx, &w->as_eve, w->acme.id, NH_LIT("Thermo Widget"), NH_MAY_PRODUCT_DELETE, &product, E(w)));
	CHECK_RC(NH_EPERM, nh_member_list(&w->ctx, &w->as_eve, w->acme.id, &list, &count, E(w)));
	CHECK_RC(NH_EPERM, nh_member_set_role(&w->ctx, &w->as_eve, w->acme.id, eve, NH_LIT("admin"), &m, NO_ERRORS(w), E(w)));

	OK(nh_member_list(&w->ctx, &w->as_ada, w->acme.id, &list, &count, E(w)));
	CHECK(count == 2 && list[0].role == NH_ROLE_VIEW && list[1].role == NH_ROLE_ADMIN);
	CHECK_RC(NH_EINVAL, nh_member_set_role(&w->ctx, &w->as_ada, w->acme.id, eve, NH_LIT("boss"), &m, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_EINVAL, nh_member_set_role(&w->ctx, &w->as_ada, w->acme.id, w->ada.email, NH_LIT("view"), &m, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, NULL, "last admin"));
	CHECK_RC(NH_EINVAL, nh_member_remove(&w->ctx, &w->as_ada, w->acme.id, w->ada.email, NO_ERRORS(w), E(w)));
	OK(nh_member_set_role(&w->ctx, &w->as_ada, w->acme.id, eve, NH_LIT("admin"), &m, NULL, E(w)));
	OK(nh_member_remove(&w->ctx, &w->as_eve, w->acme.id, w->ada.email, NULL, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_may(&w->ctx, &w->as_ada, w->acme.id, NH_MAY_ORG_SEE, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_member_get(&w->ctx, &w->as_eve, w->acme.id, w->ada.email, &m, E(w)));
	return NH_OK;
}
static void test_members(void **state) { on_each_engine(members, NULL); }

/* ---- command-line sessions --------------------------------------------------------------------------------------------- */

static nh_rc cli_sessions(struct world *w, struct nh_err *err)
{
	struct nh_cli_session s, seen;
	char token[NH_TOKEN_TEXT_MAX];
	struct nh_user user;
	bool ready = true;
	OK(nh_cli_session_create(&w->ctx, NH_LIT("nh 0.1.2 (host)"), &s, E(w)));
	CHECK(s.confirmation_code >= 100000 && s.confirmation_code <= 999999 && s.token.len == 36);
	OK(nh_cli_session_poll(&w->ctx, s.token, &ready, token, E(w)));
	CHECK(!ready);
	OK(nh_cli_session_get(&w->ctx, &w->as_ada, s.token, &seen, E(w)));
	CHECK(seen.confirmation_code == s.confirmation_code && !seen.confirmed);
	OK(nh_cli_session_confirm(&w->ctx, &w->as_ada, s.token, E(w)));
	OK(nh_cli_session_confirm(&w->ctx, &w->as_ada, s.token, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_cli_session_confirm(&w->ctx, &w->as_eve, s.token, E(w)));
	OK(nh_cli_session_poll(&w->ctx, s.token, &ready, token, E(w)));
	CHECK(ready);
	OK(nh_token_user(&w->ctx, nh_slice_str(token), NH_TOKEN_API, &user, NULL, E(w)));
	CHECK(user.id == w->ada.id);
	CHECK_RC(NH_ENOTFOUND, nh_cli_session_poll(&w->ctx, s.token, &ready, token, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_cli_session_poll(&w->ctx, NH_LIT("x"), &ready, token, E(w)));

	OK(nh_cli_session_create(&w->ctx, NH_SLICE_EMPTY, &s, E(w)));
	w->now_us += (NH_CLI_SESSION_TTL_S + 1) * NH_US_PER_S;
	CHECK_RC(NH_ENOTFOUND, nh_cli_session_confirm(&w->ctx, &w->as_ada, s.token, E(w)));
	return NH_OK;
}
static void test_cli_sessions(void **state) { on_each_engine(cli_sessions, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_token_text), cmocka_unit_test(test_tokens),  cmocka_unit_test(test_new_user_checks), cmocka_unit_test(test_users),
		cmocka_unit_test(test_orgs),       cmocka_unit_test(test_permissions), cmocka_unit_test(test_members), cmocka_unit_test(test_cli_sessions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Whose account an issuer's word opens: one row for each combination of what the issuer says, what is here, and what the operator allows; then connecting, disconnecting, and what is left of
 * accounts that somebody else made.
 */
#include "hub_world.h"

#include "hub/invites.h"
#include "hub/mails.h"
#include "hub/own_account.h"
#include "hub/second_factor.h"
#include "hub/user_identities.h"

#define ISSUER NH_LIT("https://issuer.example")

static struct nh_identity_claim claim(const char *subject, const char *email, bool verified)
{
	return (struct nh_identity_claim){.issuer = ISSUER, .subject = nh_slice_str(subject), .email = nh_slice_str(email), .email_verified = verified, .name = NH_LIT("Grace  Hopper")};
}

/* ---- whose account --------------------------------------------------------------------------------------------------------- */

enum { NOBODY, ADA, A_NEW_ONE };

static const struct decision {
	const char *what;
	bool link, registration;
	const char *domains, *email;
	bool verified;
	const char *hosted; /* NULL: the issuer does not say */
	int account;        /* NOBODY: refused with why */
	nh_identity_refusal why;
} decisions[] = {
	{"a stranger, closed", false, false, "", "new@example.com", true, NULL, NOBODY, NH_IDENTITY_CLOSED},
	{"a stranger, open", false, true, "", "new@example.com", true, NULL, A_NEW_ONE, 0},
	{"linking opens nothing for strangers", true, false, "", "new@example.com", true, NULL, NOBODY, NH_IDENTITY_CLOSED},
	{"a stranger without verified address", true, true, "", "new@example.com", false, NULL, NOBODY, NH_IDENTITY_NO_EMAIL},
	{"a stranger without address", true, true, "", "", true, NULL, NOBODY, NH_IDENTITY_NO_EMAIL},
	{"a stranger whose address is none", true, true, "", "new example.com", true, NULL, NOBODY, NH_IDENTITY_NO_EMAIL},
	{"an address that begins with its @", true, true, "", "@example.com", true, NULL, NOBODY, NH_IDENTITY_NO_EMAIL},
	{"a known address, not linked", false, true, "", "ada@example.com", true, NULL, NOBODY, NH_IDENTITY_NOT_LINKED},
	{"a known address, linked", true, false, "", "ada@example.com", true, NULL, ADA, 0},
	{"a known address in other letters", true, false, "", "ADA@Example.COM", true, NULL, ADA, 0},
	{"a known address that nobody verified", true, true, "", "ada@example.com", false, NULL, NOBODY, NH_IDENTITY_NO_EMAIL},
	{"of an allowed domain", false, true, "example.org,example.com", "new@example.com", true, NULL, A_NEW_ONE, 0},
	{"of an allowed domain, written otherwise", false, true, " example.org , EXAMPLE.com ", "new@example.com", true, NULL, A_NEW_ONE, 0},
	{"of no allowed domain", true, true, "example.org", "ada@example.com", true, NULL, NOBODY, NH_IDENTITY_DOMAIN},
	{"of a domain below an allowed one", true, true, "example.com", "ada@evil.example.com", true, NULL, NOBODY, NH_IDENTITY_DOMAIN},
	{"of a domain that ends like an allowed one", true, true, "example.com", "ada@notexample.com", true, NULL, NOBODY, NH_IDENTITY_DOMAIN},
	{"an allowed domain before the last @", true, true, "example.com", "\"x@example.com\"@evil.example", true, NULL, NOBODY, NH_IDENTITY_DOMAIN},
	{"an allowed domain that nobody verified", true, true, "example.com", "ada@example.com", false, NULL, NOBODY, NH_IDENTITY_DOMAIN},
	{"an allowed domain without an address", true, true, "example.com", "", true, NULL, NOBODY, NH_IDENTITY_DOMAIN},
	{"a member of an allowed organization", false, true, "example.com", "new@elsewhere.example", true, "example.com", A_NEW_ONE, 0},
	{"an allowed address, but a member of nothing", false, true, "example.com", "new@example.com", true, "", NOBODY, NH_IDENTITY_DOMAIN},
	{"an allowed address, but a member of another", false, true, "example.com", "new@example.com", true, "evil.example", NOBODY, NH_IDENTITY_DOMAIN},
};

static nh_rc decide(struct world *w, struct nh_err *err)
{
	const struct decision *d = w->arg;
	struct nh_identity_policy policy = {.link_by_email = d->link, .registration = d->registration, .domains = nh_slice_str(d->domains)};
	struct nh_identity_claim who = claim("s-1", d->email, d->verified);
	struct nh_user user, again;
	struct nh_user_identity *list;
	size_t count;
	bool created;
	nh_identity_refusal why;
	if (d->hosted)
		who.hosted_domain = nh_slice_str(d->hosted);
	nh_rc rc = nh_user_identity_sign_in(&w->ctx, &policy, &who, &user, &created, &why, E(w));
	if (d->account == NOBODY) {
		CHECK(rc == NH_EPERM && why == d->why && !created);
		CHECK_RC(NH_ENOTFOUND, nh_user_by_email(&w->ctx, NH_LIT("new@example.com"), &user, E(w)));
		return NH_OK;
	}
	CHECK(rc == NH_OK && created == (d->account == A_NEW_ONE) && (user.id == w->ada.id) == (d->account == ADA));
	OK(nh_user_identity_list(&w->ctx, user.id, &list, &count, E(w)));
	CHECK(count == 1 && nh_slice_eq_str(list[0].subject, "s-1") && list[0].last_used_at_us == w->now_us);
	/* From now on the identity decides, whatever the operator thinks of new ones, and whatever address the issuer says. */
	policy.link_by_email = policy.registration = false;
	who.email = NH_LIT("eve@example.com");
	policy.domains = NH_SLICE_EMPTY;
	w->now_us += NH_US_PER_S;
	OK(nh_user_identity_sign_in(&w->ctx, &policy, &who, &again, &created, &why, E(w)));
	CHECK(again.id == user.id && !created);
	OK(nh_user_identity_list(&w->ctx, user.id, &list, &count, E(w)));
	CHECK(count == 1 && nh_slice_eq_str(list[0].email, "eve@example.com") && list[0].last_used_at_us == w->now_us);
	/* The same subject of another issuer is somebody else. */
	who.issuer = NH_LIT("https://other.example");
	CHECK_RC(NH_EPERM, nh_user_identity_sign_in(&w->ctx, &policy, &who, &again, &created, &why, E(w)));
	CHECK(why == NH_IDENTITY_NOT_LINKED);
	return NH_OK;
}

static void test_decisions(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(decisions); i++)
		for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++)
			on_engine(engine, decide, (void *)(uintptr_t)&decisions[i], nh_arena_printf(*state, "%s: ", decisions[i].what));
}

/* ---- new accounts ------------------------------------------------------------------------------------------------------------ */

static nh_rc newcomers(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *subject, *name, *email, *called;
	} cases[] = {
		{"1", "  Grace   Hopper ", "grace@example.com", "Grace Hopper"},
		{"2", "", "hedy.lamarr@example.com", "hedy.lamarr"},
		{"3", "<script>/alert", "joan@example.com", "joan"},
		{"4", "Line\nfeed", "mary@example.com", "mary"},
		{"5", "x", "y@example.com", "Newcomer"},
	};
	const struct nh_identity_policy policy = {.registration = true};
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_identity_claim who = claim(cases[i].subject, cases[i].email, true);
		struct nh_user user;
		struct nh_account_state state;
		struct nh_login login;
		struct nh_org *orgs;
		size_t count;
		bool created;
		nh_identity_refusal why;
		who.name = nh_slice_str(cases[i].name);
		OK(nh_user_identity_sign_in(&w->ctx, &policy, &who, &user, &created, &why, E(w)));
		CHECK(created && nh_slice_eq_str(user.name, cases[i].called) && !user.server_admin);
		OK(nh_account_state(&w->ctx, user.id, &state, E(w)));
		CHECK(state.confirmed && !state.has_password && !state.second_factor);
		/* No password opens it, the empty one least of all. */
		OK(nh_login_find(&w->ctx, who.email, &login, E(w)));
		CHECK_RC(NH_EAUTH, nh_login_verify(&login, NH_LIT(""), &nh_password_cost_test));
		struct nh_actor actor = nh_actor_of_user(&user);
		OK(nh_org_list(&w->ctx, &actor, &orgs, &count, E(w)));
		CHECK(count == 1 && orgs[0].personal);
	}
	return NH_OK;
}

static void test_newcomers(void **state) { on_each_engine(newcomers, NULL); }

/* ---- accounts that somebody else made ------------------------------------------------------------------------------------------ */

/* Mallory registers Grace's address, waits for her to come with the issuer's word, and must not be in her account then. */
static nh_rc squatter(struct world *w, struct nh_err *err)
{
	const struct nh_identity_policy policy = {.link_by_email = true};
	struct nh_identity_claim who = claim("s-1", "grace@example.com", true);
	struct nh_new_user input;
	struct nh_user squatted, user;
	struct nh_account_state state;
	struct nh_login login;
	char token[NH_TOKEN_TEXT_MAX];
	bool created;
	nh_identity_refusal why;
	w->config.mails = true;
	w->config.web_url = "https://hub.example";
	OK(nh_user_prepare(&w->arena, NH_LIT("Mallory"), who.email, NH_LIT("correct horse battery"), &nh_password_cost_test, &input, NULL, E(w)));
	OK(nh_account_register(&w->ctx, &input, &squatted, NULL, E(w)));
	OK(nh_token_create(&w->ctx, squatted.id, NH_TOKEN_API, NH_LIT("mine"), token, E(w)));
	OK(nh_user_identity_sign_in(&w->ctx, &policy, &who, &user, &created, &why, E(w)));
	CHECK(user.id == squatted.id && !created);
	OK(nh_account_state(&w->ctx, user.id, &state, E(w)));
	CHECK(state.confirmed && !state.has_password);
	CHECK_RC(NH_EAUTH, nh_token_user(&w->ctx, nh_slice_str(token), NH_TOKEN_API, &user, NULL, E(w)));
	OK(nh_login_find(&w->ctx, who.email, &login, E(w)));
	CHECK_RC(NH_EAUTH, nh_login_verify(&login, NH_LIT("correct horse battery"), &nh_password_cost_test));
	/* An account whose address was confirmed keeps what it has. */
	who = claim("s-2", "ada@example.com", true);
	OK(nh_user_identity_sign_in(&w->ctx, &policy, &who, &user, &created, &why, E(w)));
	OK(nh_account_state(&w->ctx, w->ada.id, &state, E(w)));
	CHECK(user.id == w->ada.id && state.has_password);
	return NH_OK;
}

static void test_squatter(void **state) { on_each_engine(squatter, NULL); }

/* ---- invitations ----------------------------------------------------------------------------------------------------------- */

static nh_rc invitations(struct world *w, struct nh_err *err)
{
	struct nh_identity_policy policy = {.registration = false};
	struct nh_identity_claim who = claim("s-1", "Grace@example.com", true), other = claim("s-2", "other@example.com", true);
	struct nh_queued_mail mail;
	struct nh_member member;
	struct nh_user user;
	struct nh_org org;
	bool invited, broken, created;
	int64_t next;
	nh_identity_refusal why;
	w->config.mails = true;
	w->config.web_url = "https://hub.example";
	OK(nh_member_invite(&w->ctx, &w->as_ada, &w->acme, NH_LIT("grace@example.com"), NH_LIT("view"), &invited, &member, NULL, E(w)));
	do
		OK(nh_mail_claim(&w->ctx, NH_US_PER_S, &mail, &next, &broken, E(w)));
	while (mail.mail.kind != NH_MAIL_INVITATION);
	nh_slice token = nh_slice_skip(mail.mail.link, strlen("https://hub.example/invite/"));
	CHECK_RC(NH_EPERM, nh_user_identity_sign_in(&w->ctx, &policy, &who, &user, &created, &why, E(w)));
	policy.invitation = NH_LIT("nhu_x");
	CHECK_RC(NH_EPERM, nh_user_identity_sign_in(&w->ctx, &policy, &who, &user, &created, &why, E(w)));
	policy.invitation = token;
	CHECK_RC(NH_EPERM, nh_user_identity_sign_in(&w->ctx, &policy, &other, &user, &created, &why, E(w)));
	CHECK(why == NH_IDENTITY_CLOSED);
	who.email_verified = false;
	CHECK_RC(NH_EPERM, nh_user_identity_sign_in(&w->ctx, &policy, &who, &user, &created, &why, E(w)));
	who.email_verified = true;
	OK(nh_user_identity_sign_in(&w->ctx, &policy, &who, &user, &created, &why, E(w)));
	CHECK(created);
	OK(nh_invite_join(&w->ctx, token, &user, E(w)));
	struct nh_actor actor = nh_actor_of_user(&user);
	OK(nh_org_open(&w->ctx, &actor, NH_LIT("acme"), NH_MAY_ORG_SEE, &org, E(w)));
	CHECK(org.role == NH_ROLE_VIEW);
	return NH_OK;
}

static void test_invitations(void **state) { on_each_engine(invitations, NULL); }

/* ---- connecting and disconnecting ------------------------------------------------------------------------------------------------ */

static nh_rc connections(struct world *w, struct nh_err *err)
{
	const struct nh_identity_policy open = {.registration = true}, closed = {.domains = NH_LIT("example.org")};
	struct nh_identity_claim who = claim("s-1", "somebody@example.com", false), grace = claim("s-2", "grace@example.com", true);
	struct nh_user user;
	struct nh_user_identity *list;
	size_t count;
	bool created;
	nh_identity_refusal why;
	CHECK_RC(NH_EPERM, nh_user_identity_connect(&w->ctx, &closed, w->ada.id, &who, &why, E(w)));
	CHECK(why == NH_IDENTITY_DOMAIN);
	/* Neither the address nor whether it is verified matters to who is signed in already; twice is harmless. */
	OK(nh_user_identity_connect(&w->ctx, &open, w->ada.id, &who, &why, E(w)));
	OK(nh_user_identity_connect(&w->ctx, &open, w->ada.id, &who, &why, E(w)));
	OK(nh_user_identity_list(&w->ctx, w->ada.id, &list, &count, E(w)));
	CHECK(count == 1 && list[0].last_used_at_us == 0 && nh_slice_eq(list[0].issuer, ISSUER));
	OK(nh_user_identity_sign_in(&w->ctx, &open, &who, &user, &created, &why, E(w)));
	CHECK(user.id == w->ada.id && !created);
	CHECK_RC(NH_EPERM, nh_user_identity_connect(&w->ctx, &open, w->eve.id, &who, &why, E(w)));
	CHECK(why == NH_IDENTITY_TAKEN);
	/* Nobody disconnects another's; the owner does, as there is a password. */
	CHECK_RC(NH_ENOTFOUND, nh_user_identity_remove(&w->ctx, w->eve.id, list[0].id, E(w)));
	OK(nh_user_identity_remove(&w->ctx, w->ada.id, list[0].id, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_user_identity_remove(&w->ctx, w->ada.id, list[0].id, E(w)));
	/* The last way in stays. */
	OK(nh_user_identity_sign_in(&w->ctx, &open, &grace, &user, &created, &why, E(w)));
	OK(nh_user_identity_list(&w->ctx, user.id, &list, &count, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_user_identity_remove(&w->ctx, user.id, list[0].id, E(w)));
	OK(nh_user_identity_connect(&w->ctx, &open, user.id, &who, &why, E(w)));
	OK(nh_user_identity_remove(&w->ctx, user.id, list[0].id, E(w)));
	OK(nh_user_identity_list(&w->ctx, user.id, &list, &count, E(w)));
	CHECK(count == 1 && nh_slice_eq_str(list[0].subject, "s-1"));
	/* Who has deleted the account may come anew, as somebody else. */
	int64_t gone = user.id;
	OK(nh_account_delete(&w->ctx, &user, NO_ERRORS(w), E(w)));
	who.email_verified = true;
	OK(nh_user_identity_sign_in(&w->ctx, &open, &who, &user, &created, &why, E(w)));
	CHECK(created && user.id != gone);
	return NH_OK;
}

static void test_connections(void **state) { on_each_engine(connections, NULL); }

int main(void)
{
	struct nh_arena arena = NH_ARENA_INIT;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(test_decisions, &arena),
		cmocka_unit_test(test_newcomers),
		cmocka_unit_test(test_squatter),
		cmocka_unit_test(test_invitations),
		cmocka_unit_test(test_connections),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	nh_arena_fini(&arena);
	return failed;
}

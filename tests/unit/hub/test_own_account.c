/*
 * The second factor, sessions, links, invitations and mails: their rules, with a clock that stands where it is put.
 */
#include "hub_world.h"

#include "base/encode.h"
#include "hub/gate.h"
#include "hub/invites.h"
#include "hub/mails.h"
#include "hub/own_account.h"
#include "hub/second_factor.h"
#include "hub/sessions.h"

/* ---- codes ------------------------------------------------------------------------------------------------------------- */

/* source: RFC 6238 appendix B; the seeds are as long as the digest, as its errata say */
static void test_rfc_6238(void **state)
{
	static const char seed[] = "1234567890123456789012345678901234567890123456789012345678901234";
	static const struct {
		uint64_t at;
		uint32_t sha1, sha256, sha512;
	} rows[] = {
		{59, 94287082, 46119246, 90693936},          {1111111109, 7081804, 68084774, 25091201},  {1111111111, 14050471, 67062674, 99943326},
		{1234567890, 89005924, 91819424, 93441116}, {2000000000, 69279037, 90698825, 38618901}, {20000000000, 65353130, 77737706, 47863826},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		uint64_t step = rows[i].at / 30;
		assert_int_equal(nh_totp(NH_SHA1, nh_slice_of(seed, 20), step, 8), rows[i].sha1);
		assert_int_equal(nh_totp(NH_SHA256, nh_slice_of(seed, 32), step, 8), rows[i].sha256);
		assert_int_equal(nh_totp(NH_SHA512, nh_slice_of(seed, 64), step, 8), rows[i].sha512);
		assert_int_equal(nh_totp(NH_SHA1, nh_slice_of(seed, 20), step, 6), rows[i].sha1 % 1000000);
	}
}

/* What an authenticator makes of the secret that ada was shown. */
static const char *code_at(struct world *w, nh_slice base32, int64_t ahead_s)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	uint8_t key[20];
	unsigned bits = 0, value = 0;
	size_t len = 0;
	for (size_t i = 0; i < base32.len; i++) {
		value = value << 5 | (unsigned)(strchr(digits, base32.ptr[i]) - digits);
		if ((bits += 5) >= 8)
			key[len++] = (uint8_t)(value >> (bits -= 8));
	}
	return nh_arena_printf(&w->arena, "%06u", nh_totp(NH_SHA1, nh_slice_of(key, len), (uint64_t)(w->now_us / NH_US_PER_S + ahead_s) / 30, 6));
}

static nh_rc check(struct world *w, const char *code, nh_code_answer want, struct nh_err *err)
{
	nh_code_answer answer;
	OK(nh_second_factor_check(&w->ctx, w->ada.id, nh_slice_str(code), &answer, E(w)));
	CHECK(answer == want);
	return NH_OK;
}

static nh_rc second_factor(struct world *w, struct nh_err *err)
{
	char codes[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX];
	struct nh_second_factor state;
	nh_slice secret, uri;
	nh_code_answer answer;
	bool fits = true;
	CHECK_RC(NH_ENOTFOUND, nh_second_factor_check(&w->ctx, w->ada.id, NH_LIT("123456"), &answer, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_second_factor_confirm(&w->ctx, &w->ada, NH_LIT("123456"), &fits, codes, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_second_factor_recovery(&w->ctx, w->ada.id, codes, E(w)));
	OK(nh_second_factor_begin(&w->ctx, w->ada.id, E(w)));
	OK(nh_second_factor_secret(&w->ctx, &w->ada, &secret, &uri, E(w)));
	CHECK(secret.len == 32 && nh_slice_find(uri, NH_LIT("otpauth://totp/NervesHub:ada%40example.com?secret=")) == 0);
	OK(nh_second_factor_confirm(&w->ctx, &w->ada, nh_slice_str(code_at(w, secret, 60)), &fits, codes, E(w)));
	CHECK(!fits); /* two steps ahead */
	OK(nh_second_factor_confirm(&w->ctx, &w->ada, nh_slice_str(code_at(w, secret, -30)), &fits, codes, E(w)));
	CHECK(fits && strlen(codes[0]) == 19 && strcmp(codes[0], codes[9]) != 0);
	CHECK_RC(NH_ECONFLICT, nh_second_factor_begin(&w->ctx, w->ada.id, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_second_factor_secret(&w->ctx, &w->ada, &secret, &uri, E(w))); /* shown no more once it counts */

	/* each code once, never an older one, with blanks as people type them */
	NH_TRY(check(w, code_at(w, secret, -30), NH_CODE_WRONG, err));
	const char *now = code_at(w, secret, 0);
	NH_TRY(check(w, nh_arena_printf(&w->arena, " %.3s %.3s ", now, now + 3), NH_CODE_FITS, err));
	NH_TRY(check(w, now, NH_CODE_WRONG, err));
	NH_TRY(check(w, code_at(w, secret, 30), NH_CODE_FITS, err));
	NH_TRY(check(w, code_at(w, secret, 0), NH_CODE_WRONG, err));
	static const char *const bad[] = {"", "12345", "1234567", "12345a", "------"};
	for (size_t i = 0; i < 3; i++)
		NH_TRY(check(w, bad[i], NH_CODE_WRONG, err));
	/* one that fits in between would begin the count anew; the fifth blocks */
	NH_TRY(check(w, bad[3], NH_CODE_WRONG, err));
	NH_TRY(check(w, codes[0], NH_CODE_BLOCKED, err));
	world_pass(w, 301 * NH_US_PER_S);
	NH_TRY(check(w, bad[4], NH_CODE_WRONG, err)); /* and blocks again at once */
	NH_TRY(check(w, code_at(w, secret, 0), NH_CODE_BLOCKED, err));
	world_pass(w, 301 * NH_US_PER_S);
	NH_TRY(check(w, codes[0], NH_CODE_FITS, err));
	NH_TRY(check(w, codes[0], NH_CODE_WRONG, err));
	OK(nh_second_factor_state(&w->ctx, w->ada.id, &state, E(w)));
	CHECK(state.enabled && !state.begun && state.recovery_codes == 9);

	/* another secret key of the server opens nothing, and says so as a fault of the server */
	w->config.secret_key = NH_LIT("another secret key of 32 bytes..");
	CHECK_RC(NH_EINTERNAL, nh_second_factor_check(&w->ctx, w->ada.id, nh_slice_str(code_at(w, secret, 0)), &answer, E(w)));
	w->config.secret_key = NH_LIT("0123456789abcdef0123456789abcdef");
	OK(nh_second_factor_disable(&w->ctx, &w->ada, E(w)));
	OK(nh_second_factor_state(&w->ctx, w->ada.id, &state, E(w)));
	CHECK(!state.enabled && state.recovery_codes == 0);
	return NH_OK;
}
static void test_second_factor(void **state) { on_each_engine(second_factor, NULL); }

/* ---- sessions and links -------------------------------------------------------------------------------------------------- */

static nh_rc sessions(struct world *w, struct nh_err *err)
{
	char brief[NH_TOKEN_TEXT_MAX], lasting[NH_TOKEN_TEXT_MAX];
	struct nh_user_session *list, one;
	struct nh_user user;
	int64_t touch = 0, deleted = 0;
	size_t count = 0;
	OK(nh_user_session_create(&w->ctx, w->ada.id, &(struct nh_user_session_origin){NH_LIT("Bro\nwser\x1b[1m"), NH_LIT("192.0.2.1"), false}, brief, E(w)));
	OK(nh_user_session_create(&w->ctx, w->ada.id, &(struct nh_user_session_origin){NH_LIT("\xff"), NH_SLICE_EMPTY, true}, lasting, E(w)));
	OK(nh_user_session_find(&w->ctx, nh_slice_str(brief), &user, &one, &touch, E(w)));
	CHECK(user.id == w->ada.id && touch == one.id && nh_slice_eq_str(one.agent, "Browser[1m") && nh_slice_eq_str(one.address, "192.0.2.1"));
	OK(nh_user_session_touch(&w->ctx, touch, E(w)));
	OK(nh_user_session_find(&w->ctx, nh_slice_str(brief), &user, NULL, &touch, E(w)));
	CHECK(touch == 0);
	CHECK_RC(NH_EAUTH, nh_token_user(&w->ctx, nh_slice_str(brief), NH_TOKEN_API, &user, NULL, E(w))); /* no API token */
	CHECK_RC(NH_EAUTH, nh_user_session_find(&w->ctx, NH_LIT("nhu_x"), &user, NULL, NULL, E(w)));
	OK(nh_user_session_list(&w->ctx, w->ada.id, &list, &count, E(w)));
	CHECK(count == 2 && list[0].agent.len == 0);
	CHECK_RC(NH_ENOTFOUND, nh_user_session_revoke(&w->ctx, w->eve.id, list[0].id, E(w)));
	world_pass(w, (NH_SESSION_BRIEF_S + 1) * NH_US_PER_S);
	CHECK_RC(NH_EAUTH, nh_user_session_find(&w->ctx, nh_slice_str(brief), &user, NULL, NULL, E(w)));
	OK(nh_user_session_find(&w->ctx, nh_slice_str(lasting), &user, NULL, NULL, E(w)));
	OK(nh_tickets_trim(&w->ctx, &deleted, E(w)));
	CHECK(deleted == 1);
	OK(nh_user_session_end(&w->ctx, nh_slice_str(lasting), E(w)));
	OK(nh_user_session_end(&w->ctx, nh_slice_str(lasting), E(w)));
	OK(nh_user_session_end(&w->ctx, NH_LIT("nonsense"), E(w)));
	CHECK_RC(NH_EAUTH, nh_user_session_find(&w->ctx, nh_slice_str(lasting), &user, NULL, NULL, E(w)));
	return NH_OK;
}
static void test_sessions(void **state) { on_each_engine(sessions, NULL); }

/* The token in the link of the next queued mail, which must be of this kind; the mail is taken off the queue. NULL: another, or none. */
static const char *mailed(struct world *w, nh_mail_kind kind, const char *to)
{
	struct nh_queued_mail mail;
	int64_t next;
	bool broken;
	if (nh_mail_claim(&w->ctx, NH_US_PER_S, &mail, &next, &broken, E(w)) != NH_OK || broken || mail.mail.kind != kind || !nh_slice_eq_str(mail.mail.to, to) ||
	    nh_mail_done(&w->ctx, mail.id, E(w)) != NH_OK)
		return NULL;
	const char *link = nh_arena_str(&w->arena, mail.mail.link), *slash = strrchr(link, '/');
	return slash ? slash + 1 : "";
}

#define MAILED(kind, to, token) CHECK(((token) = mailed(w, kind, to)) != NULL)

static nh_rc links(struct world *w, struct nh_err *err)
{
	struct nh_new_user input;
	struct nh_user bob, user;
	struct nh_account_state state;
	const char *token, *older, *none;
	nh_slice address;
	bool pending;
	w->config.mails = true;
	w->config.web_url = "https://hub.example.com";
	OK(nh_user_prepare(&w->arena, NH_LIT("Bob"), NH_LIT("bob@example.com"), NH_LIT("correct horse battery"), &nh_password_cost_test, &input, NULL, E(w)));
	OK(nh_account_register(&w->ctx, &input, &bob, NULL, E(w)));
	CHECK(effects_of(w, NH_EFFECT_MAIL) == 1);
	MAILED(NH_MAIL_CONFIRM, "bob@example.com", older);
	OK(nh_account_mail_confirmation(&w->ctx, &bob, E(w)));
	MAILED(NH_MAIL_CONFIRM, "bob@example.com", token);
	CHECK_RC(NH_EAUTH, nh_account_confirm(&w->ctx, nh_slice_str(older), &user, NULL, E(w)));
	OK(nh_account_confirmable(&w->ctx, nh_slice_str(token), &user, &address, E(w)));
	OK(nh_account_state(&w->ctx, bob.id, &state, E(w)));
	CHECK(!state.confirmed && state.has_password && nh_slice_eq_str(address, "bob@example.com"));
	CHECK_RC(NH_EAUTH, nh_account_resettable(&w->ctx, nh_slice_str(token), &user, E(w))); /* a link for one thing is none for another */
	OK(nh_account_confirm(&w->ctx, nh_slice_str(token), &user, NULL, E(w)));
	MAILED(NH_MAIL_WELCOME, "bob@example.com", none);
	CHECK_RC(NH_EAUTH, nh_account_confirm(&w->ctx, nh_slice_str(token), &user, NULL, E(w)));

	/* a new address that somebody else takes meanwhile; the reset link of the old one ends with it */
	OK(nh_account_mail_reset(&w->ctx, NH_LIT(" BOB@example.com "), E(w)));
	MAILED(NH_MAIL_RESET, "bob@example.com", older);
	OK(nh_account_update(&w->ctx, &bob, NH_SLICE_EMPTY, NH_LIT("robert@example.com"), &user, &pending, NULL, E(w)));
	CHECK(pending && nh_slice_eq_str(user.email, "bob@example.com"));
	MAILED(NH_MAIL_ADDRESS_CHANGED, "bob@example.com", none);
	MAILED(NH_MAIL_CONFIRM, "robert@example.com", token);
	OK(nh_account_confirm(&w->ctx, nh_slice_str(token), &user, NULL, E(w)));
	CHECK(nh_slice_eq_str(user.email, "robert@example.com"));
	CHECK_RC(NH_EAUTH, nh_account_reset(&w->ctx, nh_slice_str(older), "hash", &user, E(w)));
	OK(nh_account_update(&w->ctx, &user, NH_SLICE_EMPTY, NH_LIT("carl@example.com"), &bob, &pending, NULL, E(w)));
	MAILED(NH_MAIL_ADDRESS_CHANGED, "robert@example.com", none);
	MAILED(NH_MAIL_CONFIRM, "carl@example.com", token);
	NH_TRY(world_user(w, "Carl", "carl@example.com", &user, err));
	CHECK_RC(NH_EINVAL, nh_account_confirm(&w->ctx, nh_slice_str(token), &user, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, "email", "has already been taken"));

	/* links end after a day; an unknown address is told nothing */
	OK(nh_account_mail_reset(&w->ctx, NH_LIT("ada@example.com"), E(w)));
	MAILED(NH_MAIL_RESET, "ada@example.com", token);
	world_pass(w, (NH_LINK_S + 1) * NH_US_PER_S);
	CHECK_RC(NH_EAUTH, nh_account_resettable(&w->ctx, nh_slice_str(token), &user, E(w)));
	OK(nh_account_mail_reset(&w->ctx, NH_LIT("nobody@example.com"), E(w)));
	CHECK(!mailed(w, NH_MAIL_RESET, "nobody@example.com"));
	return NH_OK;
}
static void test_links(void **state) { on_each_engine(links, NULL); }

/* ---- invitations ---------------------------------------------------------------------------------------------------------- */

static nh_rc invitations(struct world *w, struct nh_err *err)
{
	struct nh_member member;
	struct nh_invite *list, one;
	struct nh_new_user input;
	struct nh_user bob;
	const char *token, *second, *none;
	bool invited = false;
	size_t count = 0;
	CHECK_RC(NH_EINVAL, nh_member_invite(&w->ctx, &w->as_ada, &w->acme, NH_LIT("bob@example.com"), NH_LIT("view"), &invited, &member, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, NULL, "sends no mails"));
	w->config.mails = true;
	CHECK_RC(NH_ENOTFOUND, nh_member_invite(&w->ctx, &w->as_eve, &w->acme, NH_LIT("bob@example.com"), NH_LIT("view"), &invited, &member, NULL, E(w)));
	OK(nh_member_invite(&w->ctx, &w->as_ada, &w->acme, NH_LIT("bob@example.com"), NH_LIT("view"), &invited, &member, NULL, E(w)));
	CHECK(invited);
	MAILED(NH_MAIL_INVITATION, "bob@example.com", token);
	OK(nh_member_invite(&w->ctx, &w->as_ada, &w->acme, NH_LIT("BOB@example.com"), NH_LIT("admin"), &invited, &member, NULL, E(w)));
	MAILED(NH_MAIL_INVITATION, "BOB@example.com", second);
	CHECK_RC(NH_ENOTFOUND, nh_invite_list(&w->ctx, &w->as_eve, w->acme.id, &list, &count, E(w)));
	OK(nh_invite_list(&w->ctx, &w->as_ada, w->acme.id, &list, &count, E(w)));
	CHECK(count == 2 && list[1].role == NH_ROLE_ADMIN && nh_slice_eq_str(list[0].inviter, "Ada Lovelace"));
	CHECK_RC(NH_ENOTFOUND, nh_invite_rescind(&w->ctx, &w->as_eve, w->acme.id, list[1].id, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_invite_rescind(&w->ctx, &w->as_eve, w->other.id, list[1].id, E(w)));
	OK(nh_invite_rescind(&w->ctx, &w->as_ada, w->acme.id, list[1].id, E(w)));
	CHECK_RC(NH_EAUTH, nh_invite_find(&w->ctx, nh_slice_str(second), &one, E(w)));
	CHECK_RC(NH_EAUTH, nh_invite_join(&w->ctx, nh_slice_str(token), &w->eve, E(w))); /* it went to bob */
	OK(nh_user_prepare(&w->arena, NH_LIT("Bob"), NH_LIT("mallory@example.com"), NH_LIT("correct horse battery"), &nh_password_cost_test, &input, NULL, E(w)));
	OK(nh_invite_accept(&w->ctx, nh_slice_str(token), &input, &bob, NULL, E(w)));
	CHECK(nh_slice_eq_str(bob.email, "bob@example.com")); /* the invitation's address, whatever was typed */
	OK(nh_member_get(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("bob@example.com"), &member, E(w)));
	CHECK(member.role == NH_ROLE_VIEW);
	MAILED(NH_MAIL_MEMBER_ADDED, "ada@example.com", none);
	CHECK_RC(NH_EAUTH, nh_invite_accept(&w->ctx, nh_slice_str(token), &input, &bob, NULL, E(w)));
	CHECK_RC(NH_EINVAL, nh_member_leave(&w->ctx, &w->ada, &w->acme, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, NULL, "last admin"));
	OK(nh_member_leave(&w->ctx, &bob, &w->acme, NULL, E(w)));
	MAILED(NH_MAIL_MEMBER_LEFT, "ada@example.com", none);
	OK(nh_member_invite(&w->ctx, &w->as_ada, &w->acme, NH_LIT("late@example.com"), NH_LIT("view"), &invited, &member, NULL, E(w)));
	MAILED(NH_MAIL_INVITATION, "late@example.com", token);
	world_pass(w, (NH_INVITE_S + 1) * NH_US_PER_S);
	CHECK_RC(NH_EAUTH, nh_invite_find(&w->ctx, nh_slice_str(token), &one, E(w)));
	OK(nh_invites_trim(&w->ctx, E(w)));
	return NH_OK;
}
static void test_invitations(void **state) { on_each_engine(invitations, NULL); }

/* ---- mails ---------------------------------------------------------------------------------------------------------------- */

static nh_rc mails(struct world *w, struct nh_err *err)
{
	struct nh_queued_mail first, second;
	int64_t next = 0;
	bool broken = false, given_up = false;
	OK(nh_mail_queue(&w->ctx, &(struct nh_mail){.kind = NH_MAIL_WELCOME, .to = NH_LIT("a@example.com")}, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_mail_claim(&w->ctx, NH_US_PER_S, &first, &next, &broken, E(w))); /* a server without mails keeps none */
	w->config.mails = true;
	OK(nh_mail_queue(&w->ctx, &(struct nh_mail){.kind = NH_MAIL_WELCOME, .to = NH_LIT("a@example.com"), .name = NH_LIT("\"Å\"")}, E(w)));
	OK(nh_mail_claim(&w->ctx, 60 * NH_US_PER_S, &first, &next, &broken, E(w)));
	CHECK(nh_slice_eq_str(first.mail.name, "\"Å\"") && first.attempts == 1);
	CHECK_RC(NH_ENOTFOUND, nh_mail_claim(&w->ctx, 60 * NH_US_PER_S, &second, &next, &broken, E(w))); /* somebody has it */
	CHECK(next == w->now_us + 60 * NH_US_PER_S);
	for (int64_t pause = 30, tries = 1; tries < 9; tries++, pause = pause < 1800 ? pause * 2 : 3600) {
		OK(nh_mail_failed(&w->ctx, &first, 30 * NH_US_PER_S, false, &given_up, E(w)));
		CHECK_RC(NH_ENOTFOUND, nh_mail_claim(&w->ctx, 60 * NH_US_PER_S, &second, &next, &broken, E(w)));
		CHECK(!given_up && next == w->now_us + pause * NH_US_PER_S);
		w->now_us = next;
		OK(nh_mail_claim(&w->ctx, 60 * NH_US_PER_S, &first, &next, &broken, E(w)));
	}
	world_pass(w, 86400 * NH_US_PER_S);
	OK(nh_mail_failed(&w->ctx, &first, 30 * NH_US_PER_S, false, &given_up, E(w)));
	CHECK(given_up);
	OK(nh_mail_queue(&w->ctx, &(struct nh_mail){.kind = NH_MAIL_WELCOME, .to = NH_LIT("b@example.com")}, E(w)));
	w->config.secret_key = NH_LIT("another secret key of 32 bytes..");
	OK(nh_mail_claim(&w->ctx, NH_US_PER_S, &first, &next, &broken, E(w)));
	CHECK(broken);
	CHECK_RC(NH_ENOTFOUND, nh_mail_claim(&w->ctx, NH_US_PER_S, &first, &next, &broken, E(w)));
	CHECK(next == 0);
	return NH_OK;
}
static void test_mails(void **state) { on_each_engine(mails, NULL); }

/* ---- the limiter ---------------------------------------------------------------------------------------------------------- */

static void test_limiter(void **state)
{
	struct nh_limiter *l = nh_limiter_new();
	for (int i = 0; i < 3; i++)
		assert_true(nh_limiter_allow(l, NH_LIT("a"), 3, 0));
	assert_false(nh_limiter_allow(l, NH_LIT("a"), 3, 59 * NH_US_PER_S));
	assert_true(nh_limiter_allow(l, NH_LIT("b"), 3, 0));
	assert_true(nh_limiter_allow(l, NH_LIT("a"), 3, 60 * NH_US_PER_S));
	nh_limiter_clear(l, NH_LIT("a"));
	for (int i = 0; i < 3; i++)
		assert_true(nh_limiter_allow(l, NH_LIT("a"), 3, 60 * NH_US_PER_S));
	assert_false(nh_limiter_allow(l, NH_LIT("a"), 3, 60 * NH_US_PER_S));
	nh_limiter_free(l);
	nh_limiter_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc_6238), cmocka_unit_test(test_second_factor), cmocka_unit_test(test_sessions), cmocka_unit_test(test_links),
		cmocka_unit_test(test_invitations), cmocka_unit_test(test_mails), cmocka_unit_test(test_limiter),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

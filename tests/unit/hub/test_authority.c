/*
 * The certificate authority's rules, with real keys and a clock that stands where it is put: how long certificates last, who may have one, what is written down, what a revocation
 * reaches, when the list is signed anew, and what ends soon.
 */
#include "rollout_pki.h"

#include <pthread.h>

#include "hub/audit.h"
#include "hub/authority.h"
#include "hub/certificate_expiry.h"
#include "hub/certificates.h"

#define YEAR_US (365 * DAY_US)
#define HOUR_US (INT64_C(3600) * NH_US_PER_S)

struct issuance {
	struct nh_authority *authority;
	struct nh_csr *csr;
};

static void issuance_fini(struct issuance *i)
{
	nh_authority_free(i->authority);
	nh_csr_free(i->csr);
}
#define AUTO_ISSUANCE __attribute__((cleanup(issuance_fini))) struct issuance

static nh_rc new_csr(struct world *w, const char *name, struct nh_csr **out, struct nh_err *err)
{
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT, text = NH_BUF_INIT;
	NH_TRY(nh_key_generate_p256(&key, err));
	NH_TRY(nh_csr_build(&pem, NH_LIT("request"), nh_slice_str(name), key, err));
	nh_b64_put(&text, nh_buf_slice(&pem), NH_B64_STD);
	OK(nh_csr_read(nh_buf_slice(&text), out, NO_ERRORS(w), E(w)));
	return NH_OK;
}

static nh_rc start(struct world *w, int64_t valid_us, struct issuance *out, struct nh_err *err)
{
	AUTO_PAIR root = {0};
	NH_TRY(issue(nh_cert_profile_root(w->now_us, valid_us), "root", NULL, NULL, &root, err));
	OK(nh_authority_new(root.key, root.cert, w->now_us, &out->authority, E(w)));
	root = (struct pair){0}; /* the authority's now */
	OK(nh_authority_enter(&w->ctx, out->authority, E(w)));
	w->config.authority = out->authority;
	return new_csr(w, "d-1", &out->csr, err);
}

static nh_rc complete(struct world *w, const struct issuance *i, const struct nh_actor *actor, const struct nh_issue *what, struct nh_issued *out, struct nh_err *err)
{
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	OK(nh_authority_sign(i->authority, what, i->csr->spki_der, w->now_us, &nh_rng_system, &cert, E(w)));
	CHECK(nh_cert_signed_by(cert, nh_authority_cert(i->authority), NULL) == NH_OK);
	OK(nh_issue_record(&w->ctx, actor, i->authority, what, cert, out, NO_ERRORS(w), E(w)));
	return NH_OK;
}

static nh_rc for_user(struct world *w, const struct issuance *i, const struct nh_actor *actor, struct nh_issued *out, struct nh_err *err)
{
	struct nh_issue what;
	OK(nh_issue_for_user(&w->ctx, actor, NH_LIT("laptop"), &what, NO_ERRORS(w), E(w)));
	return complete(w, i, actor, &what, out, err);
}

/* ---- the CA ------------------------------------------------------------------------------------------------------------ */

static nh_rc refused_authorities(struct world *w, struct nh_err *err)
{
	static const struct {
		const char *words;
		bool leaf, other_key, over;
	} rows[] = {{"not that of a CA", true, false, false}, {"does not belong", false, true, false}, {"is over", false, false, true}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		AUTO_PAIR root = {0};
		struct nh_authority *a = NULL;
		struct nh_key *key = NULL;
		struct nh_cert_profile p = rows[i].leaf ? nh_cert_profile_user(w->now_us, YEAR_US) : nh_cert_profile_root(w->now_us, YEAR_US);
		NH_TRY(issue(p, "root", NULL, NULL, &root, err));
		if (rows[i].other_key) {
			NH_TRY(nh_key_generate_p256(&key, err));
			nh_key_free(root.key);
			root.key = key;
		}
		CHECK_RC(NH_EINVAL, nh_authority_new(root.key, root.cert, rows[i].over ? w->now_us + 2 * YEAR_US : w->now_us, &a, E(w)));
		root = (struct pair){0};
		CHECK(!a && strstr(w->last.msg, rows[i].words));
	}
	return NH_OK;
}
static void test_refused_authorities(void **state) { on_each_engine(refused_authorities, NULL); }

/* Whole years by the calendar, and never longer than the CA. now: 2027-01-15T08:00:00Z. */
static nh_rc validity(struct world *w, struct nh_err *err)
{
	static const struct {
		int64_t at_s;
		int64_t root_us;
		nh_issue_kind kind;
		unsigned days;
		const char *from, *to;
	} rows[] = {
		{1800000000, 40 * YEAR_US, NH_ISSUE_USER, 0, "2027-01-15T07:00:00Z", "2028-01-15T08:00:00Z"},
		{1800003599, 40 * YEAR_US, NH_ISSUE_USER, 0, "2027-01-15T07:59:59Z", "2028-01-15T08:00:00Z"}, /* the root begins later than the hour */
		{1800000000, 40 * YEAR_US, NH_ISSUE_DEVICE, 0, "2027-01-15T07:00:00Z", "2058-01-15T08:00:00Z"},
		{1800000000, 40 * YEAR_US, NH_ISSUE_DEVICE_CA, 0, "2027-01-15T07:00:00Z", "2037-01-15T08:00:00Z"},
		{1800000000, 40 * YEAR_US, NH_ISSUE_SERVER, 0, "2027-01-15T07:00:00Z", "2032-01-15T08:00:00Z"},
		{1800000000, 40 * YEAR_US, NH_ISSUE_SERVER, 7, "2027-01-15T07:00:00Z", "2027-01-22T08:00:00Z"},
		{1800000000, 10 * DAY_US, NH_ISSUE_USER, 0, "2027-01-15T07:00:00Z", "2027-01-25T08:00:00Z"},
		{1800000000, 10 * DAY_US, NH_ISSUE_USER, 400, "2027-01-15T07:00:00Z", "2027-01-25T08:00:00Z"},
		{1835438400, 40 * YEAR_US, NH_ISSUE_USER, 0, "2028-02-29T11:00:00Z", "2029-02-28T12:00:00Z"}, /* from the 29th of February */
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		AUTO_ISSUANCE ca = {0};
		NH_AUTO_CERT struct nh_cert *cert = NULL;
		NH_AUTO_BUF struct nh_buf from = NH_BUF_INIT, to = NH_BUF_INIT;
		w->now_us = rows[i].at_s * NH_US_PER_S;
		NH_TRY(start(w, rows[i].root_us, &ca, err));
		struct nh_issue what = {.kind = rows[i].kind, .organization = NH_LIT("acme"), .common_name = NH_LIT("x"), .valid_days = rows[i].days};
		OK(nh_authority_sign(ca.authority, &what, ca.csr->spki_der, w->now_us, &nh_rng_system, &cert, E(w)));
		nh_time_put_iso(&from, cert->not_before_us);
		nh_time_put_iso(&to, cert->not_after_us);
		if (!nh_slice_eq_str(nh_buf_slice(&from), rows[i].from) || !nh_slice_eq_str(nh_buf_slice(&to), rows[i].to))
			return NH_FAIL(err, NH_EINTERNAL, "row %zu: %s to %s", i, nh_buf_cstr(&from), nh_buf_cstr(&to));
		struct nh_cert *none = NULL;
		CHECK_RC(NH_EUNSUPPORTED, nh_authority_sign(ca.authority, &what, ca.csr->spki_der, nh_authority_cert(ca.authority)->not_after_us, &nh_rng_system, &none, E(w)));
		CHECK(!none);
	}
	return NH_OK;
}
static void test_validity(void **state) { on_each_engine(validity, NULL); }

/* ---- users ------------------------------------------------------------------------------------------------------------- */

static nh_rc signs_in(struct world *w, const struct nh_issued *c, bool expected, struct nh_err *err)
{
	struct nh_user user;
	int64_t touch = 0;
	nh_rc rc = nh_user_by_certificate(&w->ctx, c->sha256, &user, &touch, E(w));
	CHECK(rc == (expected ? NH_OK : NH_EAUTH));
	CHECK(!expected || (user.id == c->user_id && touch == c->id));
	return NH_OK;
}

static nh_rc users(struct world *w, struct nh_err *err)
{
	AUTO_ISSUANCE ca = {0};
	struct nh_issued first, second, third, eves;
	struct nh_issue what;
	NH_TRY(start(w, 10 * YEAR_US, &ca, err));
	NH_TRY(for_user(w, &ca, &w->as_ada, &first, err));
	NH_TRY(for_user(w, &ca, &w->as_eve, &eves, err));
	CHECK(nh_slice_eq_str(first.subject, "CN=ada@example.com,O=NervesHub")); /* and not the request's */
	NH_TRY(signs_in(w, &first, true, err));

	/* successors: only of an own one; a revocation reaches what came after it, and not what was before */
	CHECK_RC(NH_ENOTFOUND, nh_issue_for_successor(&w->ctx, &w->as_ada, eves.sha256, &what, NO_ERRORS(w), E(w)));
	OK(nh_issue_for_successor(&w->ctx, &w->as_ada, first.sha256, &what, NO_ERRORS(w), E(w)));
	NH_TRY(complete(w, &ca, &w->as_ada, &what, &second, err));
	OK(nh_issue_for_successor(&w->ctx, &w->as_ada, second.sha256, &what, NO_ERRORS(w), E(w)));
	NH_TRY(complete(w, &ca, &w->as_ada, &what, &third, err));
	CHECK(second.family_id == first.id && third.family_id == first.id);
	struct nh_issued_of own = {NH_ISSUED_OWN, 0};
	CHECK_RC(NH_ENOTFOUND, nh_issued_revoke(&w->ctx, &w->as_eve, own, second.serial, NH_SLICE_EMPTY, NO_ERRORS(w), E(w)));
	OK(nh_issued_revoke(&w->ctx, &w->as_ada, own, second.serial, NH_LIT("superseded"), NO_ERRORS(w), E(w)));
	NH_TRY(signs_in(w, &first, true, err));
	NH_TRY(signs_in(w, &second, false, err));
	NH_TRY(signs_in(w, &third, false, err));
	OK(nh_issued_open(&w->ctx, &w->as_ada, own, third.serial, &third, E(w)));
	CHECK(third.reason == NH_CRL_SUPERSEDED && third.revoked_at_us == w->now_us);

	/* dates, on the clock that asks */
	w->now_us = first.not_after_us;
	NH_TRY(signs_in(w, &first, false, err));
	w->now_us = first.not_after_us - 1;
	NH_TRY(signs_in(w, &first, true, err));
	w->now_us = first.not_before_us - 1;
	NH_TRY(signs_in(w, &first, false, err));
	w->now_us = first.not_before_us;

	/* a password that is set anew ends them all, and nobody else's */
	OK(nh_user_set_password(&w->ctx, w->ada.id, "x", E(w)));
	NH_TRY(signs_in(w, &first, false, err));
	NH_TRY(signs_in(w, &eves, true, err));
	return NH_OK;
}
static void test_users(void **state) { on_each_engine(users, NULL); }

static nh_rc too_many(struct world *w, struct nh_err *err)
{
	AUTO_ISSUANCE ca = {0};
	struct nh_issued one;
	struct nh_issue what;
	NH_TRY(start(w, 10 * YEAR_US, &ca, err));
	for (size_t i = 0; i < NH_USER_CERTIFICATES_MAX; i++)
		NH_TRY(for_user(w, &ca, &w->as_ada, &one, err));
	CHECK_RC(NH_EINVAL, nh_issue_for_user(&w->ctx, &w->as_ada, NH_SLICE_EMPTY, &what, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, NULL, "100 certificates"));
	CHECK_RC(NH_EINVAL, nh_issue_for_successor(&w->ctx, &w->as_ada, one.sha256, &what, NO_ERRORS(w), E(w)));
	OK(nh_issued_revoke(&w->ctx, &w->as_ada, (struct nh_issued_of){NH_ISSUED_OWN, 0}, one.serial, NH_SLICE_EMPTY, NO_ERRORS(w), E(w)));
	OK(nh_issue_for_user(&w->ctx, &w->as_ada, NH_SLICE_EMPTY, &what, NO_ERRORS(w), E(w)));
	w->now_us += 2 * YEAR_US;
	NH_TRY(for_user(w, &ca, &w->as_eve, &one, err));
	struct nh_issued *list;
	size_t count = 0;
	OK(nh_issued_list(&w->ctx, &w->as_ada, (struct nh_issued_of){NH_ISSUED_OWN, 0}, 0, 30, &list, &count, E(w)));
	CHECK(count == 30 && list[0].id > list[29].id);
	OK(nh_issued_list(&w->ctx, &w->as_ada, (struct nh_issued_of){NH_ISSUED_OWN, 0}, list[29].id, 500, &list, &count, E(w)));
	CHECK(count == NH_USER_CERTIFICATES_MAX - 30);
	return NH_OK;
}
static void test_too_many(void **state) { on_each_engine(too_many, NULL); }

/* ---- organizations ----------------------------------------------------------------------------------------------------- */

static nh_rc audit_says(struct world *w, nh_audit_resource kind, int64_t id, const char *const wanted[2], struct nh_err *err)
{
	struct nh_audit_entry *entries;
	size_t count = 0;
	OK(nh_audit_list(&w->ctx, w->acme.id, kind, id, 0, 2, &entries, &count, E(w)));
	CHECK(count == 2);
	for (size_t i = 0; i < 2; i++)
		CHECK(nh_slice_starts(entries[i].description, nh_slice_str(wanted[i])));
	return NH_OK;
}

static nh_rc organizations(struct world *w, struct nh_err *err)
{
	AUTO_ISSUANCE ca = {0};
	struct nh_issue what;
	struct nh_issued device_ca, device_cert, server;
	struct nh_device device;
	NH_AUTO_JSON json_t *none = json_object(), *wants_ca = json_pack("{s:s}", "kind", "device_ca"), *wants_server = json_pack("{s:s, s:s}", "kind", "server", "common_name", "hub");
	NH_TRY(start(w, 10 * YEAR_US, &ca, err));
	OK(nh_device_create(&w->ctx, &w->as_ada, &w->widget, NH_LIT("d-1"), none, &device, NULL, E(w)));

	/* strangers, and members who are no administrators of the server */
	CHECK_RC(NH_ENOTFOUND, nh_issue_for_device(&w->ctx, &w->as_eve, &device, ca.csr, &what, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_issue_for_org(&w->ctx, &w->as_eve, w->acme.id, w->acme.name, wants_ca, ca.csr, &what, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_EPERM, nh_issue_for_org(&w->ctx, &w->as_ada, w->acme.id, w->acme.name, wants_server, ca.csr, &what, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_EPERM, nh_issue_for_service(&w->ctx, &w->as_ada, NH_ISSUE_DEVICE, ca.csr, &what, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_EPERM, nh_issued_revoke(&w->ctx, &w->as_ada, (struct nh_issued_of){NH_ISSUED_ALL, 0}, NH_LIT("1"), NH_SLICE_EMPTY, NO_ERRORS(w), E(w)));

	/* a device's is pinned, and a revocation unpins it and ends its connection */
	OK(nh_issue_for_device(&w->ctx, &w->as_ada, &device, ca.csr, &what, NO_ERRORS(w), E(w)));
	NH_TRY(complete(w, &ca, &w->as_ada, &what, &device_cert, err));
	CHECK(effects_of(w, NH_EFFECT_CERT_KNOWN) == 1);
	struct nh_issued_of of = {NH_ISSUED_ORG, w->acme.id}, foreign = {NH_ISSUED_ORG, w->other.id};
	CHECK_RC(NH_ENOTFOUND, nh_issued_open(&w->ctx, &w->as_eve, of, device_cert.serial, &server, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_issued_open(&w->ctx, &w->as_eve, foreign, device_cert.serial, &server, E(w)));
	CHECK_RC(NH_EINVAL, nh_issued_revoke(&w->ctx, &w->as_ada, of, device_cert.serial, NH_LIT("boredom"), NO_ERRORS(w), E(w)));
	OK(nh_issued_revoke(&w->ctx, &w->as_ada, of, device_cert.serial, NH_SLICE_EMPTY, NO_ERRORS(w), E(w)));
	CHECK(effects_of(w, NH_EFFECT_CERT_FORGET) == 1 && effects_of(w, NH_EFFECT_DEVICE_CLOSE) == 1);
	struct nh_device_certificate *pinned;
	size_t count = 9;
	OK(nh_device_certificate_list(&w->ctx, &w->as_ada, &device, &pinned, &count, E(w)));
	CHECK(count == 0);
	NH_TRY(signs_in(w, &device_cert, false, err)); /* whatever it is, it is no user's */

	/* a device CA that is revoked is not registered any more */
	OK(nh_issue_for_org(&w->ctx, &w->as_ada, w->acme.id, w->acme.name, wants_ca, ca.csr, &what, NO_ERRORS(w), E(w)));
	NH_TRY(complete(w, &ca, &w->as_ada, &what, &device_ca, err));
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	int64_t id = 0;
	struct nh_ca_certificate registered;
	NH_TRY(nh_cert_parse_der(device_ca.der, &cert, err));
	NH_TRY(register_ca(w, w->acme.id, cert, true, &id, err));
	OK(nh_ca_certificate_open(&w->ctx, &w->as_ada, w->acme.id, cert->serial_decimal, &registered, E(w)));
	OK(nh_issued_revoke(&w->ctx, &w->as_ada, of, device_ca.serial, NH_SLICE_EMPTY, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_ca_certificate_open(&w->ctx, &w->as_ada, w->acme.id, cert->serial_decimal, &registered, E(w)));

	/* who did what, newest first */
	static const char *const of_org[] = {"Ada Lovelace revoked device_ca certificate ", "Ada Lovelace had device_ca certificate "};
	static const char *const of_device[] = {"Ada Lovelace revoked device certificate ", "Ada Lovelace had certificate "};
	NH_TRY(audit_says(w, NH_AUDIT_ORG, w->acme.id, of_org, err));
	return audit_says(w, NH_AUDIT_DEVICE, device.id, of_device, err);
}
static void test_organizations(void **state) { on_each_engine(organizations, NULL); }

/* ---- the list ---------------------------------------------------------------------------------------------------------- */

static nh_rc take(struct world *w, const struct issuance *ca, bool cached, size_t entries, struct nh_buf *out, struct nh_err *err)
{
	struct nh_crl_source source;
	int64_t until = 0;
	OK(nh_crl_load(&w->ctx, ca->authority, &source, E(w)));
	CHECK(source.cached == cached);
	CHECK(cached || source.count == entries);
	OK(nh_crl_take(ca->authority, &source, w->now_us, out, &until, E(w)));
	CHECK(until > w->now_us && until <= w->now_us + NH_CRL_FRESH_S * NH_US_PER_S);
	return NH_OK;
}

static nh_rc lists(struct world *w, struct nh_err *err)
{
	AUTO_ISSUANCE ca = {0};
	struct nh_issued one, other;
	struct nh_crl_source stale;
	int64_t until;
	NH_AUTO_BUF struct nh_buf a = NH_BUF_INIT, b = NH_BUF_INIT, c = NH_BUF_INIT, d = NH_BUF_INIT;
	NH_TRY(start(w, 10 * YEAR_US, &ca, err));
	NH_TRY(for_user(w, &ca, &w->as_ada, &one, err));
	NH_TRY(for_user(w, &ca, &w->as_ada, &other, err));
	NH_TRY(take(w, &ca, false, 0, &a, err));
	w->now_us += HOUR_US - 1;
	NH_TRY(take(w, &ca, true, 0, &b, err));
	CHECK(nh_slice_eq(nh_buf_slice(&a), nh_buf_slice(&b)));
	w->now_us += 1;
	NH_TRY(take(w, &ca, false, 0, &c, err)); /* an hour is over */
	CHECK(!nh_slice_eq(nh_buf_slice(&a), nh_buf_slice(&c)));
	/* somebody read the rows before a revocation, and comes to sign after another has signed the new list */
	w->now_us += HOUR_US;
	OK(nh_crl_load(&w->ctx, ca.authority, &stale, E(w)));
	OK(nh_issued_revoke(&w->ctx, &w->as_ada, (struct nh_issued_of){NH_ISSUED_OWN, 0}, one.serial, NH_SLICE_EMPTY, NO_ERRORS(w), E(w)));
	nh_buf_clear(&a);
	nh_buf_clear(&b);
	NH_TRY(take(w, &ca, false, 1, &a, err));
	OK(nh_crl_take(ca.authority, &stale, w->now_us + 1, &b, &until, E(w)));
	CHECK(nh_slice_eq(nh_buf_slice(&a), nh_buf_slice(&b)));
	/* what is over needs no entry */
	w->now_us = one.not_after_us;
	NH_TRY(take(w, &ca, false, 0, &d, err));
	return NH_OK;
}
static void test_lists(void **state) { on_each_engine(lists, NULL); }

/* Workers sign certificates and ask for the list at the same time: one key, one list in memory. */
struct busy {
	struct nh_authority *authority;
	nh_slice spki;
	int64_t now_us;
	unsigned failures; /* atomic */
};

static void *be_busy(void *arg)
{
	struct busy *b = arg;
	for (int64_t i = 0; i < 20; i++) {
		NH_AUTO_CERT struct nh_cert *cert = NULL;
		NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
		const struct nh_crl_source source = {.revision = i / 2};
		const struct nh_issue what = {.kind = NH_ISSUE_USER, .common_name = NH_LIT("x")};
		int64_t until = 0;
		bool good = nh_authority_sign(b->authority, &what, b->spki, b->now_us, &nh_rng_system, &cert, NULL) == NH_OK &&
			    nh_cert_signed_by(cert, nh_authority_cert(b->authority), NULL) == NH_OK && nh_crl_take(b->authority, &source, b->now_us + i, &der, &until, NULL) == NH_OK && der.len > 100;
		if (!good)
			__atomic_add_fetch(&b->failures, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct world w = {.now_us = INT64_C(1800000000) * NH_US_PER_S};
	struct nh_err err = NH_ERR_INIT;
	AUTO_PAIR root = {0};
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT;
	struct busy b = {.now_us = w.now_us};
	pthread_t threads[6];
	assert_int_equal(issue(nh_cert_profile_root(w.now_us, YEAR_US), "root", NULL, NULL, &root, &err), NH_OK);
	assert_int_equal(nh_key_put_spki(&spki, root.key, &err), NH_OK);
	b.spki = nh_buf_slice(&spki);
	assert_int_equal(nh_authority_new(root.key, root.cert, w.now_us, &b.authority, &err), NH_OK);
	root = (struct pair){0};
	for (size_t i = 0; i < NH_ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, be_busy, &b), 0);
	for (size_t i = 0; i < NH_ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(b.failures, 0);
	nh_authority_free(b.authority);
}

/* ---- what ends soon ---------------------------------------------------------------------------------------------------- */

static nh_rc expiry(struct world *w, struct nh_err *err)
{
	AUTO_ISSUANCE ca = {0};
	AUTO_PAIR factory = {0}, cert = {0};
	struct nh_issue what;
	struct nh_issued issued;
	struct nh_device device;
	struct nh_device_certificate pinned;
	struct nh_expiring *list;
	struct nh_expiring_counts counts;
	size_t count = 0;
	int64_t id = 0;
	NH_AUTO_JSON json_t *none = json_object(), *wants_ca = json_pack("{s:s, s:i}", "kind", "device_ca", "valid_days", 20);
	NH_TRY(start(w, 10 * YEAR_US, &ca, err));
	OK(nh_issue_for_org(&w->ctx, &w->as_ada, w->acme.id, w->acme.name, wants_ca, ca.csr, &what, NO_ERRORS(w), E(w)));
	NH_TRY(complete(w, &ca, &w->as_ada, &what, &issued, err));
	NH_TRY(make_ca(w, "factory", NULL, 10 * DAY_US, &factory, err));
	NH_TRY(register_ca(w, w->acme.id, factory.cert, false, &id, err));
	OK(nh_device_create(&w->ctx, &w->as_ada, &w->widget, NH_LIT("d-1"), none, &device, NULL, E(w)));
	struct nh_cert_profile profile = nh_cert_profile_device(w->now_us, 15 * DAY_US);
	NH_TRY(issue(profile, "d-1", &factory, NULL, &cert, err));
	OK(nh_device_certificate_store(&w->ctx, w->acme.id, device.id, cert.cert, &pinned, NO_ERRORS(w), E(w)));

	OK(nh_expiring_list(&w->ctx, &w->as_ada, w->acme.id, 30, 100, &list, &count, E(w)));
	CHECK(count == 3);
	CHECK(nh_slice_eq_str(list[0].kind, "ca") && nh_slice_eq_str(list[1].kind, "device") && nh_slice_eq_str(list[2].kind, "device_ca"));
	CHECK(nh_slice_eq_str(list[1].device, "d-1") && nh_slice_eq_str(list[1].product, "Thermo Widget"));
	OK(nh_expiring_list(&w->ctx, &w->as_ada, w->acme.id, 30, 2, &list, &count, E(w)));
	CHECK(count == 2 && nh_slice_eq_str(list[1].kind, "device"));
	OK(nh_expiring_list(&w->ctx, &w->as_ada, w->acme.id, 12, 100, &list, &count, E(w)));
	CHECK(count == 1);
	OK(nh_expiring_list(&w->ctx, &w->as_eve, w->other.id, 30, 100, &list, &count, E(w)));
	CHECK(count == 0);
	CHECK_RC(NH_ENOTFOUND, nh_expiring_list(&w->ctx, &w->as_eve, w->acme.id, 30, 100, &list, &count, E(w)));
	OK(nh_expiring_count(&w->ctx, 30, &counts, E(w)));
	CHECK(counts.issued == 1 && counts.cas == 1 && counts.devices == 1);
	/* over since five days: listed for as long as it would have been announced, and no longer counted */
	w->now_us += 15 * DAY_US + HOUR_US;
	OK(nh_expiring_list(&w->ctx, &w->as_ada, w->acme.id, 30, 100, &list, &count, E(w)));
	CHECK(count == 3);
	OK(nh_expiring_list(&w->ctx, &w->as_ada, w->acme.id, 4, 100, &list, &count, E(w)));
	CHECK(count == 1 && nh_slice_eq_str(list[0].kind, "device"));
	OK(nh_expiring_count(&w->ctx, 30, &counts, E(w)));
	CHECK(counts.issued == 1 && counts.cas == 0 && counts.devices == 0);
	/* what is revoked ends nothing any more */
	OK(nh_issued_revoke(&w->ctx, &w->as_ada, (struct nh_issued_of){NH_ISSUED_ORG, w->acme.id}, issued.serial, NH_SLICE_EMPTY, NO_ERRORS(w), E(w)));
	OK(nh_expiring_count(&w->ctx, 30, &counts, E(w)));
	CHECK(counts.issued == 0);
	return NH_OK;
}
static void test_expiry(void **state) { on_each_engine(expiry, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_authorities), cmocka_unit_test(test_validity), cmocka_unit_test(test_users),  cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_organizations),	    cmocka_unit_test(test_lists),    cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

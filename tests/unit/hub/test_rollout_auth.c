/*
 * Who may connect: client certificates with real keys and CAs, shared secrets with real signatures.
 */
#include "rollout_pki.h"

#include "hub/certificates.h"

/* find and record, as the server does, in this transaction. */
static nh_rc decide(struct world *w, const struct nh_cert *cert, struct nh_auth_verdict *out)
{
	struct nh_cert_finding *finding;
	nh_rc rc = nh_device_auth_certificate_find(&w->ctx, cert->der, &finding, E(w));
	if (rc != NH_OK || nh_device_auth_certificate_settled(finding, out))
		return rc;
	return nh_device_auth_certificate_record(&w->ctx, finding, out, E(w));
}

#define REFUSED(cert_, why)                                  \
	do {                                                 \
		struct nh_auth_verdict v_;                   \
		OK(decide(w, (cert_), &v_));                 \
		CHECK(!v_.accepted && v_.reason == (why));   \
	} while (0)
#define ACCEPTED(cert_, why, device_)                                                        \
	do {                                                                                 \
		struct nh_auth_verdict v_;                                                   \
		OK(decide(w, (cert_), &v_));                                                 \
		CHECK(v_.accepted && v_.reason == (why) && v_.device_id == (device_));       \
	} while (0)

/* ---- certificates ------------------------------------------------------------------------------------------------------- */

static nh_rc registered(struct world *w, struct nh_err *err)
{
	AUTO_PAIR ca = {0};
	AUTO_PAIR first = {0};
	AUTO_PAIR renewed = {0};
	AUTO_PAIR other_key = {0};
	AUTO_PAIR renamed = {0};
	AUTO_PAIR nobody = {0};
	int64_t device, ca_id;
	NH_TRY(add_device(w, "d-1", NULL, &device, err));
	NH_TRY(make_ca(w, "Factory", NULL, 3650 * DAY_US, &ca, err));
	NH_TRY(make_device(w, "d-1", &ca, NULL, &first, err));
	NH_TRY(make_device(w, "d-1", &ca, first.key, &renewed, err));
	NH_TRY(make_device(w, "d-1", &ca, NULL, &other_key, err));
	NH_TRY(make_device(w, "d-2", &ca, first.key, &renamed, err));
	NH_TRY(make_device(w, "nobody", &ca, NULL, &nobody, err));

	REFUSED(first.cert, NH_AUTH_UNKNOWN_CA);
	NH_TRY(register_ca(w, w->acme.id, ca.cert, false, &ca_id, err));
	forget_effects(w);
	ACCEPTED(first.cert, NH_AUTH_ACCEPTED_FIRST, device);
	CHECK(effects_of(w, NH_EFFECT_CERT_KNOWN) == 1);
	ACCEPTED(first.cert, NH_AUTH_ACCEPTED_KNOWN, device);
	ACCEPTED(renewed.cert, NH_AUTH_ACCEPTED_RENEWED, device);
	ACCEPTED(renewed.cert, NH_AUTH_ACCEPTED_KNOWN, device);
	REFUSED(other_key.cert, NH_AUTH_UNEXPECTED_PUBKEY);
	REFUSED(renamed.cert, NH_AUTH_MISMATCHED_CERT);
	REFUSED(nobody.cert, NH_AUTH_NOT_REGISTERED);

	/* pinned: neither its own nor its CA's end matters any more */
	w->now_us += 5000 * DAY_US;
	ACCEPTED(first.cert, NH_AUTH_ACCEPTED_KNOWN, device);
	w->now_us -= 5000 * DAY_US;

	/* deleted: its certificates went, but the CA must not bring it back */
	struct nh_device row;
	OK(nh_device_by_id(&w->ctx, device, &row, E(w)));
	OK(nh_device_delete(&w->ctx, &w->as_ada, &row, E(w)));
	REFUSED(first.cert, NH_AUTH_DEVICE_DELETED);
	REFUSED(other_key.cert, NH_AUTH_DEVICE_DELETED);
	return NH_OK;
}
static void test_registered(void **state) { on_each_engine(registered, NULL); }

static nh_rc provisioning(struct world *w, struct nh_err *err)
{
	AUTO_PAIR ca = {0};
	AUTO_PAIR device = {0};
	AUTO_PAIR bad_name = {0};
	AUTO_PAIR nameless = {0};
	AUTO_PAIR no_text = {0};
	struct nh_auth_verdict v;
	struct nh_device row;
	int64_t ca_id;
	NH_TRY(make_ca(w, "Line 7", NULL, 3650 * DAY_US, &ca, err));
	NH_TRY(register_ca(w, w->acme.id, ca.cert, true, &ca_id, err));
	NH_TRY(make_device(w, "new-1", &ca, NULL, &device, err));
	NH_TRY(make_device(w, "a/b", &ca, NULL, &bad_name, err));
	NH_TRY(make_device(w, "", &ca, NULL, &nameless, err));
	NH_TRY(make_device(w, "new-\xff", &ca, NULL, &no_text, err));
	OK(decide(w, device.cert, &v));
	CHECK(v.accepted && v.reason == NH_AUTH_ACCEPTED_CREATED && v.org_id == w->acme.id && v.product_id == w->widget.id);
	OK(nh_device_by_id(&w->ctx, v.device_id, &row, E(w)));
	CHECK(nh_slice_eq_str(row.identifier, "new-1") && nh_slice_eq_str(row.description, "made on line 7") && holds(row.tags, "line-7"));
	ACCEPTED(device.cert, NH_AUTH_ACCEPTED_KNOWN, v.device_id);
	REFUSED(bad_name.cert, NH_AUTH_REGISTRATION_FAILED);
	REFUSED(nameless.cert, NH_AUTH_MISSING_COMMON_NAME);
	REFUSED(no_text.cert, NH_AUTH_BAD_CERTIFICATE); /* a refusal, and no failure of ours */
	return NH_OK;
}
static void test_provisioning(void **state) { on_each_engine(provisioning, NULL); }

static nh_rc signatures(struct world *w, struct nh_err *err)
{
	AUTO_PAIR ours = {0};
	AUTO_PAIR twin = {0};
	AUTO_PAIR forger = {0};
	AUTO_PAIR good = {0};
	AUTO_PAIR forged = {0};
	AUTO_PAIR no_aki = {0};
	AUTO_PAIR self = {0};
	AUTO_PAIR server = {0};
	AUTO_PAIR sub_ca = {0};
	AUTO_PAIR mute = {0};
	int64_t device, id;
	NH_TRY(add_device(w, "d-1", NULL, &device, err));
	NH_TRY(make_ca(w, "Factory", NULL, 3650 * DAY_US, &ours, err));
	NH_TRY(make_ca(w, "Factory", ours.key, 1000 * DAY_US, &twin, err)); /* same key and key identifier, another certificate */
	NH_TRY(make_ca(w, "Factory", NULL, 3650 * DAY_US, &forger, err));
	NH_TRY(make_device(w, "d-1", &ours, NULL, &good, err));
	/* the forger's certificate claims our key identifier */
	struct pair disguised = {forger.key, ours.cert};
	struct nh_err ignored = NH_ERR_INIT;
	nh_rc rc = make_device(w, "d-1", &disguised, NULL, &forged, &ignored);
	if (rc != NH_OK) { /* the issuer refuses to sign with a key that is not the certificate's: tamper instead */
		pair_fini(&forged);
		NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
		nh_buf_put_slice(&der, good.cert->der);
		der.ptr[der.len - 1] ^= 1;
		NH_TRY(nh_cert_parse_der(nh_buf_slice(&der), &forged.cert, err));
	}
	struct nh_cert_profile profile = nh_cert_profile_device(w->now_us, DAY_US);
	profile.aki = false;
	NH_TRY(issue(profile, "d-1", &ours, NULL, &no_aki, err));
	NH_TRY(issue(nh_cert_profile_device(w->now_us, DAY_US), "d-1", NULL, NULL, &self, err));
	profile = nh_cert_profile_device(w->now_us, DAY_US);
	profile.aki = true;
	profile.ext_key_usage = NH_EKU_SERVER_AUTH;
	NH_TRY(issue(profile, "d-1", &ours, NULL, &server, err));
	profile = nh_cert_profile_device(w->now_us, DAY_US);
	profile.aki = true;
	profile.key_usage = NH_KU_KEY_AGREEMENT;
	NH_TRY(issue(profile, "d-1", &ours, NULL, &mute, err)); /* may not sign: cannot prove itself */
	profile = nh_cert_profile_ca(w->now_us, DAY_US);
	profile.aki = true;
	NH_TRY(issue(profile, "d-1", &ours, NULL, &sub_ca, err));

	NH_TRY(register_ca(w, w->other.id, forger.cert, false, &id, err));
	NH_TRY(register_ca(w, w->acme.id, twin.cert, false, &id, err));
	NH_TRY(register_ca(w, w->acme.id, ours.cert, false, &id, err));
	REFUSED(forged.cert, NH_AUTH_BAD_SIGNATURE);
	REFUSED(no_aki.cert, NH_AUTH_MISSING_AKI);
	REFUSED(server.cert, NH_AUTH_BAD_CERTIFICATE);
	REFUSED(sub_ca.cert, NH_AUTH_BAD_CERTIFICATE);
	REFUSED(mute.cert, NH_AUTH_BAD_CERTIFICATE);
	struct nh_auth_verdict v;
	OK(decide(w, self.cert, &v));
	CHECK(!v.accepted);
	struct nh_cert_finding *finding;
	OK(nh_device_auth_certificate_find(&w->ctx, NH_LIT("\x30\x03junk"), &finding, E(w)));
	CHECK(nh_device_auth_certificate_settled(finding, &v) && !v.accepted && v.reason == NH_AUTH_BAD_CERTIFICATE);
	ACCEPTED(good.cert, NH_AUTH_ACCEPTED_FIRST, device);
	return NH_OK;
}
static void test_signatures(void **state) { on_each_engine(signatures, NULL); }

/* No rule of this version switches it on; upstream's records carry it. */
static nh_rc mind_ca_dates(struct world *w, int64_t ca_id, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_dynamic(w->ctx.tx, NH_LIT("UPDATE ca_certificates SET check_expiration = 1 WHERE id = $1 RETURNING id"), NH_PARAMS(nh_p_int(ca_id)),
	                      &rows, err));
	NH_TRY(nh_sql_next(rows, err));
	nh_sql_end(rows);
	return NH_OK;
}

static nh_rc dates(struct world *w, struct nh_err *err)
{
	AUTO_PAIR ca = {0};
	AUTO_PAIR a = {0};
	AUTO_PAIR b = {0};
	AUTO_PAIR old = {0};
	AUTO_PAIR early = {0};
	int64_t device_a, device_b, device_c, id;
	NH_TRY(add_device(w, "a", NULL, &device_a, err));
	NH_TRY(add_device(w, "b", NULL, &device_b, err));
	NH_TRY(add_device(w, "c", NULL, &device_c, err));
	NH_TRY(make_ca(w, "Factory", NULL, 10 * DAY_US, &ca, err));
	NH_TRY(register_ca(w, w->acme.id, ca.cert, false, &id, err));
	NH_TRY(make_device(w, "a", &ca, NULL, &a, err));
	NH_TRY(make_device(w, "b", &ca, NULL, &b, err));
	struct nh_cert_profile profile = nh_cert_profile_device(w->now_us - 100 * DAY_US, 50 * DAY_US);
	profile.aki = true;
	NH_TRY(issue(profile, "c", &ca, NULL, &old, err));
	profile = nh_cert_profile_device(w->now_us + 100 * DAY_US, 50 * DAY_US);
	profile.aki = true;
	NH_TRY(issue(profile, "c", &ca, NULL, &early, err));
	REFUSED(old.cert, NH_AUTH_CERT_EXPIRED);
	REFUSED(early.cert, NH_AUTH_CERT_NOT_YET_VALID);
	w->now_us += 20 * DAY_US; /* the CA's end is past */
	ACCEPTED(a.cert, NH_AUTH_ACCEPTED_FIRST, device_a);
	NH_TRY(mind_ca_dates(w, id, err));
	REFUSED(b.cert, NH_AUTH_CA_EXPIRED);
	return NH_OK;
}
static void test_dates(void **state) { on_each_engine(dates, NULL); }

static nh_rc organizations(struct world *w, struct nh_err *err)
{
	AUTO_PAIR ca = {0};
	AUTO_PAIR foreign = {0};
	AUTO_PAIR first = {0};
	AUTO_PAIR moved = {0};
	AUTO_PAIR namesake = {0};
	struct nh_product product;
	struct nh_auth_verdict v;
	int64_t device, theirs, id;
	NH_TRY(add_device(w, "same-name", NULL, &device, err));
	OK(nh_product_create(&w->ctx, &w->as_eve, w->other.id, NH_LIT("theirs"), &product, NO_ERRORS(w), E(w)));
	NH_TRY(insert_id(w, &nh_q_device_insert,
	                 NH_PARAMS(nh_p_int(w->other.id), nh_p_int(product.id), nh_p_str("same-name"), nh_p_null(), nh_p_null(), nh_p_int(w->now_us)), &theirs,
	                 err));
	NH_TRY(make_ca(w, "A", NULL, 1000 * DAY_US, &ca, err));
	NH_TRY(make_ca(w, "B", NULL, 1000 * DAY_US, &foreign, err));
	NH_TRY(register_ca(w, w->acme.id, ca.cert, false, &id, err));
	NH_TRY(register_ca(w, w->other.id, foreign.cert, false, &id, err));
	NH_TRY(make_device(w, "same-name", &ca, NULL, &first, err));
	NH_TRY(make_device(w, "same-name", &foreign, first.key, &moved, err));
	NH_TRY(make_device(w, "same-name", &foreign, NULL, &namesake, err));
	/* the CA's organization says whose device it is */
	ACCEPTED(first.cert, NH_AUTH_ACCEPTED_FIRST, device);
	ACCEPTED(namesake.cert, NH_AUTH_ACCEPTED_FIRST, theirs);
	REFUSED(moved.cert, NH_AUTH_MISMATCHED_ORG);
	OK(decide(w, first.cert, &v));
	CHECK(v.org_id == w->acme.id && v.product_id == w->widget.id);
	return NH_OK;
}
static void test_organizations(void **state) { on_each_engine(organizations, NULL); }

/* ---- shared secrets ------------------------------------------------------------------------------------------------------- */

static nh_rc decide_secret(struct world *w, const struct nh_nh1_headers *h, struct nh_auth_verdict *out)
{
	struct nh_secret_finding *finding;
	nh_rc rc = nh_device_auth_secret_find(&w->ctx, h, &finding, E(w));
	if (rc != NH_OK)
		return rc;
	nh_device_auth_secret_verify(finding, &w->arena, w->now_us);
	return nh_device_auth_secret_record(&w->ctx, finding, out, E(w));
}

static nh_rc secrets(struct world *w, struct nh_err *err)
{
	struct nh_auth_verdict v;
	struct nh_product second;
	int64_t device, elsewhere, id;
	NH_TRY(add_device(w, "d-1", NULL, &device, err));
	OK(nh_product_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("second"), &second, NO_ERRORS(w), E(w)));
	NH_TRY(insert_id(w, &nh_q_device_insert,
	                 NH_PARAMS(nh_p_int(w->acme.id), nh_p_int(second.id), nh_p_str("elsewhere"), nh_p_null(), nh_p_null(), nh_p_int(w->now_us)),
	                 &elsewhere, err));
	NH_TRY(insert_id(w, &nh_q_product_secret_insert, NH_PARAMS(nh_p_int(w->widget.id), nh_p_str(PRODUCT_KEY), nh_p_str(SECRET), nh_p_int(w->now_us)),
	                 &id, err));
	NH_TRY(insert_id(w, &nh_q_device_secret_insert, NH_PARAMS(nh_p_int(device), nh_p_str(DEVICE_KEY), nh_p_str(SECRET), nh_p_int(w->now_us)), &id, err));

	struct nh_nh1_headers h = sign(w, DEVICE_KEY, SECRET, "d-1");
	OK(decide_secret(w, &h, &v));
	CHECK(v.accepted && v.reason == NH_AUTH_ACCEPTED_KNOWN && v.device_id == device && v.org_id == w->acme.id && v.product_id == w->widget.id);
	h = sign(w, DEVICE_KEY, SECRET, "d-2");
	OK(decide_secret(w, &h, &v));
	CHECK(!v.accepted && v.reason == NH_AUTH_IDENTIFIER_MISMATCH);

	h = sign(w, PRODUCT_KEY, SECRET, "d-1");
	OK(decide_secret(w, &h, &v));
	CHECK(v.accepted && v.reason == NH_AUTH_ACCEPTED_KNOWN && v.device_id == device);
	h = sign(w, PRODUCT_KEY, SECRET, "brand-new");
	OK(decide_secret(w, &h, &v));
	CHECK(v.accepted && v.reason == NH_AUTH_ACCEPTED_CREATED && v.device_id > 0 && nh_slice_eq_str(v.identifier, "brand-new"));
	OK(decide_secret(w, &h, &v));
	CHECK(v.accepted && v.reason == NH_AUTH_ACCEPTED_KNOWN);

	static const struct {
		const char *key, *secret, *identifier;
		nh_auth_reason reason;
	} table[] = {
		{PRODUCT_KEY, "wrong", "d-1", NH_AUTH_BAD_TOKEN},
		{"nhp_unknown", SECRET, "d-1", NH_AUTH_UNKNOWN_KEY},
		{"nhd_unknown", SECRET, "d-1", NH_AUTH_UNKNOWN_KEY},
		{PRODUCT_KEY, SECRET, "elsewhere", NH_AUTH_IDENTIFIER_TAKEN},
		{PRODUCT_KEY, SECRET, "a/b", NH_AUTH_REGISTRATION_FAILED},
		{PRODUCT_KEY, SECRET, "d-\xff", NH_AUTH_BAD_TOKEN},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		h = sign(w, table[i].key, table[i].secret, table[i].identifier);
		OK(decide_secret(w, &h, &v));
		CHECK(!v.accepted && v.reason == table[i].reason);
	}
	h = sign(w, PRODUCT_KEY, SECRET, "d-1");
	w->now_us += 91 * NH_US_PER_S;
	OK(decide_secret(w, &h, &v));
	CHECK(!v.accepted && v.reason == NH_AUTH_TOKEN_EXPIRED);
	w->now_us -= 182 * NH_US_PER_S;
	OK(decide_secret(w, &h, &v));
	CHECK(!v.accepted && v.reason == NH_AUTH_TOKEN_FROM_FUTURE);
	w->now_us += 91 * NH_US_PER_S;
	struct nh_nh1_headers missing = h;
	missing.time = NH_SLICE_EMPTY;
	OK(decide_secret(w, &missing, &v));
	CHECK(!v.accepted && v.reason == NH_AUTH_BAD_HEADERS);

	/* a deleted device is not made again by its product's secret */
	struct nh_device row;
	OK(nh_device_by_id(&w->ctx, device, &row, E(w)));
	OK(nh_device_delete(&w->ctx, &w->as_ada, &row, E(w)));
	OK(decide_secret(w, &h, &v));
	CHECK(!v.accepted && v.reason == NH_AUTH_DEVICE_DELETED);

	NH_TRY(nh_sql_exec(w->ctx.tx, &nh_q_product_secret_deactivate, NH_PARAMS(nh_p_int(w->now_us), nh_p_int(w->widget.id), nh_p_str(PRODUCT_KEY)), NULL,
	                   err));
	OK(decide_secret(w, &h, &v));
	CHECK(!v.accepted && v.reason == NH_AUTH_UNKNOWN_KEY);
	w->config.shared_secrets_enabled = false;
	OK(decide_secret(w, &h, &v));
	CHECK(!v.accepted && v.reason == NH_AUTH_SECRETS_DISABLED);
	return NH_OK;
}
static void test_secrets(void **state) { on_each_engine(secrets, NULL); }

/* ---- all steps, on a database handle -------------------------------------------------------------------------------------- */

struct setup {
	struct world world;
	struct pair ca, device;
	struct nh_nh1_headers headers;
};

static nh_rc prepare(struct world *w, struct nh_err *err)
{
	struct setup *s = w->arg;
	int64_t id;
	NH_TRY(make_ca(w, "Line", NULL, 1000 * DAY_US, &s->ca, err));
	NH_TRY(register_ca(w, w->acme.id, s->ca.cert, true, &id, err));
	NH_TRY(make_device(w, "handle-1", &s->ca, NULL, &s->device, err));
	NH_TRY(insert_id(w, &nh_q_product_secret_insert, NH_PARAMS(nh_p_int(w->widget.id), nh_p_str(PRODUCT_KEY), nh_p_str(SECRET), nh_p_int(w->now_us)),
	                 &id, err));
	s->headers = sign(w, PRODUCT_KEY, SECRET, "handle-2");
	return NH_OK;
}

static void test_on_handle(void **state)
{
	FOR_EACH_ENGINE (db) {
		struct setup s = {0};
		struct nh_err err = NH_ERR_INIT;
		s.world.arg = &s;
		struct scenario scenario = {&s.world, prepare};
		assert_int_equal(nh_db_write(db, run_scenario, &scenario, &err), NH_OK);

		struct nh_effects effects = {0};
		struct nh_auth_verdict v;
		struct nh_auth_env env = {db, &s.world.arena, &s.world.clock, &s.world.rng, &s.world.config, &effects};
		assert_int_equal(nh_device_auth_certificate(&env, &s.device.cert->der, 1, &v, &err), NH_OK);
		assert_true(v.accepted && v.reason == NH_AUTH_ACCEPTED_CREATED);
		int64_t id = v.device_id;
		effects = (struct nh_effects){0};
		assert_int_equal(nh_device_auth_certificate(&env, &s.device.cert->der, 1, &v, &err), NH_OK);
		assert_true(v.accepted && v.reason == NH_AUTH_ACCEPTED_KNOWN && v.device_id == id);
		assert_int_equal(effects.count, 1);
		assert_int_equal(effects.items[0].kind, NH_EFFECT_CERT_KNOWN);
		assert_memory_equal(effects.items[0].payload.ptr, s.device.cert->sha256, 32);
		assert_int_equal(nh_device_auth_certificate(&env, NULL, 0, &v, &err), NH_OK);
		assert_false(v.accepted);

		assert_int_equal(nh_device_auth_secret(&env, &s.headers, &v, &err), NH_OK);
		assert_true(v.accepted && v.reason == NH_AUTH_ACCEPTED_CREATED);
		id = v.device_id;
		assert_int_equal(nh_device_auth_secret(&env, &s.headers, &v, &err), NH_OK);
		assert_true(v.accepted && v.reason == NH_AUTH_ACCEPTED_KNOWN && v.device_id == id);
		pair_fini(&s.ca);
		pair_fini(&s.device);
		json_decref(s.world.errors);
		nh_arena_fini(&s.world.arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registered), cmocka_unit_test(test_provisioning), cmocka_unit_test(test_signatures), cmocka_unit_test(test_dates),
		cmocka_unit_test(test_organizations), cmocka_unit_test(test_secrets),   cmocka_unit_test(test_on_handle),
	};
	return cmocka_run_group_tests_name("hub_rollout_auth", tests, NULL, NULL);
}

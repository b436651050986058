/*
 * Certificates of devices, and device CAs with proof of possession. Everything is issued here with real keys.
 */
#include "rollout_pki.h"

#include "hub/certificates.h"

static const char *base64_pem(struct world *w, const struct nh_cert *cert)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_cert_put_pem(&pem, cert);
	nh_b64_put(&text, nh_buf_slice(&pem), NH_B64_STD);
	return nh_arena_str(&w->arena, nh_buf_slice(&text));
}

#define YEAR_US (365 * DAY_US)

static nh_rc make_proof(struct world *w, const struct pair *ca, nh_slice uri, bool critical, struct pair *out, struct nh_err *err)
{
	struct nh_cert_profile profile = nh_cert_profile_verification(w->now_us);
	struct nh_san san = {NH_SAN_URI, uri};
	profile.sans = &san;
	profile.san_count = uri.ptr ? 1 : 0;
	return issue(profile, "certificate-verification", ca, NULL, out, err);
}

static nh_rc token_uri(struct world *w, const struct nh_actor *actor, int64_t org_id, nh_slice *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_put_str(&text, "urn:nerveshub:verify:");
	NH_TRY(nh_verification_token(&w->ctx, actor, org_id, &text, err));
	*out = nh_arena_copy(&w->arena, nh_buf_slice(&text));
	return NH_OK;
}

static nh_rc add_ca(struct world *w, const struct nh_actor *actor, int64_t org_id, const struct nh_cert *ca, const struct nh_cert *proof, json_t *take_jitp,
                    struct nh_ca_certificate *out)
{
	NH_AUTO_JSON json_t *fields = json_object();
	if (ca)
		json_object_set_new(fields, "cert", json_string(base64_pem(w, ca)));
	if (proof)
		json_object_set_new(fields, "verification_cert", json_string(base64_pem(w, proof)));
	json_object_set_new(fields, "description", json_string("factory"));
	if (take_jitp)
		json_object_set_new(fields, "jitp", take_jitp);
	return nh_ca_certificate_add(&w->ctx, actor, org_id, fields, out, NO_ERRORS(w), E(w));
}

/* ---- verification token ------------------------------------------------------------------------------------------------ */

static nh_rc token(struct world *w, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	OK(nh_verification_token(&w->ctx, &w->as_ada, w->acme.id, &text, E(w)));
	nh_slice t = nh_buf_slice(&text);
	for (size_t i = 0; i < t.len; i++)
		CHECK(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.", t.ptr[i]));
	OK(nh_verification_token_check(&w->config, t, w->acme.id, w->now_us, E(w)));
	OK(nh_verification_token_check(&w->config, t, w->acme.id, w->now_us + 3600 * NH_US_PER_S, E(w)));
	CHECK_RC(NH_ETIMEOUT, nh_verification_token_check(&w->config, t, w->acme.id, w->now_us + 3601 * NH_US_PER_S, E(w)));
	CHECK_RC(NH_ETIMEOUT, nh_verification_token_check(&w->config, t, w->acme.id, w->now_us - 3600 * NH_US_PER_S, E(w)));
	CHECK_RC(NH_EAUTH, nh_verification_token_check(&w->config, t, w->other.id, w->now_us, E(w)));
	for (size_t i = 0; i < text.len; i++) {
		text.ptr[i] ^= 1;
		CHECK(nh_verification_token_check(&w->config, t, w->acme.id, w->now_us, E(w)) != NH_OK);
		text.ptr[i] ^= 1;
	}
	static const char *const bad[] = {"", ".", "1", "1.1", "1.1.1", "1.1.1.", "1..1.x", "2.1.1.x"};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		CHECK_RC(NH_EAUTH, nh_verification_token_check(&w->config, nh_slice_str(bad[i]), w->acme.id, w->now_us, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_verification_token(&w->ctx, &w->as_eve, w->acme.id, &text, E(w)));
	return NH_OK;
}
static void test_token(void **state) { on_each_engine(token, NULL); }

/* The proof as a common name, of 64 characters and no more: a certificate has no room for others. */
static nh_rc code(struct world *w, struct nh_err *err)
{
	AUTO_PAIR ca = {0};
	AUTO_PAIR stranger = {0};
	AUTO_PAIR proof = {0};
	AUTO_PAIR forged = {0};
	AUTO_PAIR lower = {0};
	struct nh_ca_certificate c;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, small = NH_BUF_INIT;
	OK(nh_verification_code(&w->ctx, &w->as_ada, w->acme.id, &text, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_verification_code(&w->ctx, &w->as_eve, w->acme.id, &small, E(w)));
	nh_slice t = nh_buf_slice(&text);
	CHECK(t.len == 64);
	for (size_t i = 0; i < t.len; i++)
		CHECK(strchr("0123456789ABCDEF", t.ptr[i]));
	OK(nh_verification_code_check(&w->config, t, w->acme.id, w->now_us + 3600 * NH_US_PER_S, E(w)));
	CHECK_RC(NH_ETIMEOUT, nh_verification_code_check(&w->config, t, w->acme.id, w->now_us + 3601 * NH_US_PER_S, E(w)));
	CHECK_RC(NH_ETIMEOUT, nh_verification_code_check(&w->config, t, w->acme.id, w->now_us - 3600 * NH_US_PER_S, E(w)));
	CHECK_RC(NH_EAUTH, nh_verification_code_check(&w->config, t, w->other.id, w->now_us, E(w)));
	CHECK_RC(NH_EAUTH, nh_verification_code_check(&w->config, nh_slice_sub(t, 0, 62), w->acme.id, w->now_us, E(w)));
	for (size_t i = 0; i < text.len; i++) {
		uint8_t kept = text.ptr[i];
		text.ptr[i] = kept == '0' ? '1' : '0';
		CHECK_RC(NH_EAUTH, nh_verification_code_check(&w->config, t, w->acme.id, w->now_us, E(w)));
		text.ptr[i] = kept;
	}
	const char *name = nh_arena_str(&w->arena, t);
	NH_TRY(make_ca(w, "Factory", NULL, 10 * YEAR_US, &ca, err));
	NH_TRY(make_ca(w, "Factory", NULL, 10 * YEAR_US, &stranger, err));
	for (size_t i = 0; i < t.len; i++)
		nh_buf_put_u8(&small, t.ptr[i] >= 'A' ? (uint8_t)(t.ptr[i] | 0x20) : t.ptr[i]);
	NH_TRY(issue(nh_cert_profile_verification(w->now_us), name, &ca, NULL, &proof, err));
	NH_TRY(issue(nh_cert_profile_verification(w->now_us), name, &stranger, NULL, &forged, err));
	NH_TRY(issue(nh_cert_profile_verification(w->now_us), nh_buf_cstr(&small), &ca, NULL, &lower, err));
	CHECK_RC(NH_EINVAL, add_ca(w, &w->as_ada, w->acme.id, ca.cert, forged.cert, NULL, &c));
	CHECK_RC(NH_EINVAL, add_ca(w, &w->as_ada, w->acme.id, ca.cert, lower.cert, NULL, &c));
	CHECK_RC(NH_EINVAL, add_ca(w, &w->as_eve, w->other.id, ca.cert, proof.cert, NULL, &c));
	OK(add_ca(w, &w->as_ada, w->acme.id, ca.cert, proof.cert, NULL, &c));
	return NH_OK;
}
static void test_code(void **state) { on_each_engine(code, NULL); }

/* ---- device CAs -------------------------------------------------------------------------------------------------------- */

static nh_rc cas(struct world *w, struct nh_err *err)
{
	AUTO_PAIR ca = {0};
	AUTO_PAIR proof = {0};
	AUTO_PAIR stranger = {0};
	AUTO_PAIR forged = {0};
	AUTO_PAIR wrong_uri = {0};
	AUTO_PAIR no_uri = {0};
	AUTO_PAIR foreign = {0};
	struct nh_ca_certificate c, *list;
	size_t count = 0;
	nh_slice uri, eves_uri;
	NH_TRY(token_uri(w, &w->as_ada, w->acme.id, &uri, err));
	NH_TRY(token_uri(w, &w->as_eve, w->other.id, &eves_uri, err));
	NH_TRY(make_ca(w, "Factory", NULL, 10 * YEAR_US, &ca, err));
	NH_TRY(make_ca(w, "Factory", NULL, 10 * YEAR_US, &stranger, err));
	NH_TRY(make_proof(w, &ca, uri, false, &proof, err));
	NH_TRY(make_proof(w, &stranger, uri, false, &forged, err));
	NH_TRY(make_proof(w, &ca, NH_LIT("urn:nerveshub:verify:1.1.1.x"), false, &wrong_uri, err));
	NH_TRY(make_proof(w, &ca, NH_SLICE_EMPTY, false, &no_uri, err));
	NH_TRY(make_proof(w, &ca, eves_uri, false, &foreign, err));

	CHECK_RC(NH_EINVAL, add_ca(w, &w->as_ada, w->acme.id, ca.cert, NULL, NULL, &c));
	CHECK(refused_with(w, NULL, "The CA certificate or verification certificate is missing"));
	const struct nh_cert *bad[] = {forged.cert, wrong_uri.cert, no_uri.cert, foreign.cert, ca.cert};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		CHECK_RC(NH_EINVAL, add_ca(w, &w->as_ada, w->acme.id, ca.cert, bad[i], NULL, &c));
		CHECK(refused_with(w, NULL, "CA Certificate ownership verification failed"));
	}
	w->now_us += 2 * 3600 * NH_US_PER_S;
	CHECK_RC(NH_EINVAL, add_ca(w, &w->as_ada, w->acme.id, ca.cert, proof.cert, NULL, &c));
	w->now_us -= 2 * 3600 * NH_US_PER_S;
	NH_AUTO_JSON json_t *garbage = json_pack("{s:s, s:s}", "cert", "%%%", "verification_cert", "AAAA");
	CHECK_RC(NH_EFORMAT, nh_ca_certificate_add(&w->ctx, &w->as_ada, w->acme.id, garbage, &c, NO_ERRORS(w), E(w)));
	NH_AUTO_JSON json_t *no_pem = json_pack("{s:s, s:s}", "cert", "AAAA", "verification_cert", "AAAA");
	CHECK_RC(NH_EINVAL, nh_ca_certificate_add(&w->ctx, &w->as_ada, w->acme.id, no_pem, &c, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, NULL, "Error decoding certificate"));

	/* key identifiers: the subject's always, the authority's unless it is its own */
	AUTO_PAIR bare = {0};
	AUTO_PAIR child = {0};
	AUTO_PAIR rootless = {0};
	AUTO_PAIR bare_proof = {0};
	struct nh_cert_profile profile = nh_cert_profile_ca(w->now_us, YEAR_US);
	profile.ski = profile.aki = false;
	NH_TRY(issue(profile, "No identifiers", NULL, NULL, &bare, err));
	CHECK_RC(NH_EINVAL, add_ca(w, &w->as_ada, w->acme.id, bare.cert, proof.cert, NULL, &c));
	CHECK(refused_with(w, "ski", "can't be blank"));
	profile.ski = true;
	NH_TRY(issue(profile, "Child", &ca, NULL, &child, err));
	CHECK_RC(NH_EINVAL, add_ca(w, &w->as_ada, w->acme.id, child.cert, proof.cert, NULL, &c));
	CHECK(refused_with(w, "aki", "can't be blank"));
	NH_TRY(issue(profile, "Root without authority", NULL, NULL, &rootless, err));
	NH_TRY(make_proof(w, &rootless, uri, false, &bare_proof, err));
	OK(add_ca(w, &w->as_ada, w->acme.id, rootless.cert, bare_proof.cert, NULL, &c));
	OK(nh_ca_certificate_delete(&w->ctx, &w->as_ada, w->acme.id, rootless.cert->serial_decimal, E(w)));

	/* just-in-time provisioning: all three fields, a product of this organization */
	CHECK_RC(NH_EINVAL, add_ca(w, &w->as_ada, w->acme.id, ca.cert, proof.cert, json_object(), &c));
	const json_t *jitp = json_object_get(w->errors, "jitp");
	CHECK(json_object_get(jitp, "description") && json_object_get(jitp, "tags") && json_object_get(jitp, "product_id"));
	CHECK_RC(NH_EINVAL, add_ca(w, &w->as_ada, w->acme.id, ca.cert, proof.cert,
	                           json_pack("{s:s, s:s, s:I}", "description", "x", "tags", "a", "product_id", (json_int_t)4711), &c));
	OK(add_ca(w, &w->as_ada, w->acme.id, ca.cert, proof.cert,
	          json_pack("{s:s, s:s, s:s}", "description", "made", "tags", "a,b", "product_name", "Thermo Widget"), &c));
	CHECK(c.has_jitp && c.jitp_product_id == w->widget.id && nh_slice_eq_str(c.jitp_tags, "[\"a\",\"b\"]") && nh_slice_eq_str(c.description, "factory"));
	CHECK_RC(NH_EINVAL, add_ca(w, &w->as_ada, w->acme.id, ca.cert, proof.cert, NULL, &c));
	CHECK(refused_with(w, "serial", "has already been taken"));

	nh_slice serial = ca.cert->serial_decimal;
	CHECK_RC(NH_ENOTFOUND, add_ca(w, &w->as_eve, w->acme.id, ca.cert, proof.cert, NULL, &c));
	CHECK_RC(NH_ENOTFOUND, nh_ca_certificate_list(&w->ctx, &w->as_eve, w->acme.id, &list, &count, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_ca_certificate_open(&w->ctx, &w->as_eve, w->other.id, serial, &c, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_ca_certificate_delete(&w->ctx, &w->as_eve, w->acme.id, serial, E(w)));
	OK(nh_ca_certificate_list(&w->ctx, &w->as_ada, w->acme.id, &list, &count, E(w)));
	CHECK(count == 1);
	OK(nh_ca_certificate_delete(&w->ctx, &w->as_ada, w->acme.id, serial, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_ca_certificate_open(&w->ctx, &w->as_ada, w->acme.id, serial, &c, E(w)));
	return NH_OK;
}
static void test_cas(void **state) { on_each_engine(cas, NULL); }

/* ---- device certificates ----------------------------------------------------------------------------------------------- */

static nh_rc add_cert(struct world *w, const struct nh_device *device, const struct nh_cert *cert, struct nh_device_certificate *out)
{
	return nh_device_certificate_add(&w->ctx, &w->as_ada, device, nh_slice_str(base64_pem(w, cert)), out, NO_ERRORS(w), E(w));
}

static nh_rc certificates(struct world *w, struct nh_err *err)
{
	AUTO_PAIR ca = {0};
	AUTO_PAIR one = {0};
	AUTO_PAIR renewed = {0};
	AUTO_PAIR no_aki = {0};
	struct nh_device a, b, found;
	struct nh_device_certificate c, *list;
	size_t count = 0;
	NH_AUTO_JSON json_t *none = json_object();
	OK(nh_device_create(&w->ctx, &w->as_ada, &w->widget, NH_LIT("a"), none, &a, NULL, E(w)));
	OK(nh_device_create(&w->ctx, &w->as_ada, &w->widget, NH_LIT("b"), none, &b, NULL, E(w)));
	NH_TRY(make_ca(w, "Factory", NULL, 10 * YEAR_US, &ca, err));
	struct nh_cert_profile profile = nh_cert_profile_device(w->now_us, YEAR_US);
	NH_TRY(issue(profile, "a", &ca, NULL, &one, err));
	NH_TRY(issue(profile, "a", &ca, one.key, &renewed, err));
	profile.aki = false;
	nh_rc rc = issue(profile, "a", &ca, NULL, &no_aki, err);
	if (rc != NH_OK)
		return rc;

	CHECK_RC(NH_EFORMAT, nh_device_certificate_add(&w->ctx, &w->as_ada, &a, NH_LIT("?"), &c, NO_ERRORS(w), E(w)));
	CHECK_RC(NH_EINVAL, nh_device_certificate_add(&w->ctx, &w->as_ada, &a, NH_LIT("AAAA"), &c, NO_ERRORS(w), E(w)));
	CHECK(refused_with(w, NULL, "Error decoding certificate"));
	CHECK_RC(NH_EINVAL, add_cert(w, &a, no_aki.cert, &c));
	CHECK(refused_with(w, "aki", "can't be blank"));
	OK(add_cert(w, &a, one.cert, &c));
	CHECK(effects_of(w, NH_EFFECT_CERT_KNOWN) == 1 && nh_slice_eq(c.serial, one.cert->serial_decimal));
	CHECK_RC(NH_EINVAL, add_cert(w, &a, one.cert, &c));
	CHECK(refused_with(w, "serial", "has already been taken"));
	CHECK_RC(NH_EINVAL, add_cert(w, &b, one.cert, &c));
	CHECK(refused_with(w, "fingerprint", "has already been taken"));
	CHECK_RC(NH_EINVAL, add_cert(w, &b, renewed.cert, &c));
	CHECK(refused_with(w, "public_key_fingerprint", "public key already associated with another device"));
	OK(add_cert(w, &a, renewed.cert, &c));
	OK(nh_device_certificate_list(&w->ctx, &w->as_ada, &a, &list, &count, E(w)));
	CHECK(count == 2);

	nh_slice pem = nh_slice_str(base64_pem(w, one.cert));
	OK(nh_device_by_certificate(&w->ctx, &w->as_ada, w->acme.id, pem, &found, E(w)));
	CHECK(found.id == a.id);
	CHECK_RC(NH_EPERM, nh_device_by_certificate(&w->ctx, &w->as_eve, w->other.id, pem, &found, E(w)));
	CHECK_RC(NH_EPERM, nh_device_by_certificate(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("?"), &found, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_certificate_list(&w->ctx, &w->as_eve, &a, &list, &count, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_certificate_delete(&w->ctx, &w->as_eve, &a, one.cert->serial_decimal, E(w)));
	CHECK_RC(NH_ENOTFOUND, nh_device_certificate_delete(&w->ctx, &w->as_ada, &a, NH_LIT("1"), E(w)));
	OK(nh_device_certificate_delete(&w->ctx, &w->as_ada, &a, one.cert->serial_decimal, E(w)));
	CHECK(effects_of(w, NH_EFFECT_CERT_FORGET) == 1 && effects_of(w, NH_EFFECT_DEVICE_CLOSE) == 1);

	/* deleting the device forgets the other one too */
	OK(nh_device_delete(&w->ctx, &w->as_ada, &a, E(w)));
	CHECK(effects_of(w, NH_EFFECT_CERT_FORGET) == 2);
	return NH_OK;
}
static void test_certificates(void **state) { on_each_engine(certificates, NULL); }

static nh_rc foreign_signer(struct world *w, struct nh_err *err)
{
	AUTO_PAIR ca = {0};
	AUTO_PAIR proof = {0};
	AUTO_PAIR eves_proof = {0};
	AUTO_PAIR cert = {0};
	struct nh_ca_certificate c;
	struct nh_device_certificate out;
	struct nh_device device;
	nh_slice uri;
	NH_AUTO_JSON json_t *none = json_object();
	OK(nh_device_create(&w->ctx, &w->as_ada, &w->widget, NH_LIT("a"), none, &device, NULL, E(w)));
	NH_TRY(make_ca(w, "Factory", NULL, 10 * YEAR_US, &ca, err));
	NH_TRY(token_uri(w, &w->as_eve, w->other.id, &uri, err));
	NH_TRY(make_proof(w, &ca, uri, false, &eves_proof, err));
	NH_TRY(issue(nh_cert_profile_device(w->now_us, YEAR_US), "a", &ca, NULL, &cert, err));
	OK(add_ca(w, &w->as_eve, w->other.id, ca.cert, eves_proof.cert, NULL, &c));
	CHECK_RC(NH_EINVAL, add_cert(w, &device, cert.cert, &out));
	CHECK(refused_with(w, "org", "Signer CA registered with another org"));
	/* and the CA itself is registered once */
	NH_TRY(token_uri(w, &w->as_ada, w->acme.id, &uri, err));
	NH_TRY(make_proof(w, &ca, uri, false, &proof, err));
	CHECK_RC(NH_EINVAL, add_ca(w, &w->as_ada, w->acme.id, ca.cert, proof.cert, NULL, &c));
	OK(nh_ca_certificate_delete(&w->ctx, &w->as_eve, w->other.id, ca.cert->serial_decimal, E(w)));
	OK(add_cert(w, &device, cert.cert, &out));
	return NH_OK;
}
static void test_foreign_signer(void **state) { on_each_engine(foreign_signer, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_token), cmocka_unit_test(test_code), cmocka_unit_test(test_cas), cmocka_unit_test(test_certificates), cmocka_unit_test(test_foreign_signer)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The User API over real sockets, on each database at hand: the journey of reference/user-api-and-cli "20.2", what a stranger sees of all routes, refusals
 * and their shapes, limits.
 */
#include "place.h"

#include "base/encode.h"
#include "crypto/pki.h"

/* ---- the journey ------------------------------------------------------------------------------------------------------- */

static char *base64_pem(const struct nh_cert *cert)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_cert_put_pem(&pem, cert);
	nh_b64_put(&text, nh_buf_slice(&pem), NH_B64_STD);
	return nh_xstrdup(nh_buf_slice(&text));
}

static struct nh_cert *issue(struct nh_cert_profile profile, const char *name, const struct nh_key *key, const struct nh_cert *issuer,
                             const struct nh_key *issuer_key)
{
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	struct nh_cert *cert = NULL;
	profile.common_name = nh_slice_str(name);
	assert_int_equal(nh_key_put_spki(&spki, key, NULL), NH_OK);
	assert_int_equal(nh_cert_issue(&der, &profile, nh_buf_slice(&spki), issuer, issuer_key, &nh_rng_system, NULL), NH_OK);
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &cert, NULL), NH_OK);
	return cert;
}

#define YEAR_US (INT64_C(365) * 86400 * NH_US_PER_S)

static void certificates(struct place *p)
{
	NH_AUTO_KEY struct nh_key *ca_key = NULL;
	NH_AUTO_KEY struct nh_key *key = NULL;
	assert_int_equal(nh_key_generate_p256(&ca_key, NULL), NH_OK);
	assert_int_equal(nh_key_generate_p256(&key, NULL), NH_OK);
	struct nh_cert_profile profile = nh_cert_profile_ca(nh_now_us(), YEAR_US);
	profile.ski = profile.aki = true;
	NH_AUTO_CERT struct nh_cert *ca = issue(profile, "Factory", ca_key, NULL, ca_key);

	AUTO_ANSWER token = expect(p->s, 200, "GET", "/orgs/acme/ca_certificates/verification_token", p->ada, NULL);
	char uri[256], body[8192];
	snprintf(uri, sizeof(uri), "urn:nerveshub:verify:%s", at(&token, "data.verification_token"));
	struct nh_san san = {NH_SAN_URI, nh_slice_str(uri)};
	profile = nh_cert_profile_verification(nh_now_us());
	profile.sans = &san;
	profile.san_count = 1;
	NH_AUTO_CERT struct nh_cert *proof = issue(profile, "certificate-verification", key, ca, ca_key);
	NH_AUTO_CERT struct nh_cert *device = issue(nh_cert_profile_device(nh_now_us(), YEAR_US), "d1", key, ca, ca_key);
	char *ca_pem = base64_pem(ca), *proof_pem = base64_pem(proof), *device_pem = base64_pem(device);

	snprintf(body, sizeof(body), "{\"cert\":\"%s\",\"verification_cert\":\"%s\",\"description\":\"line\"}", ca_pem, proof_pem);
	AUTO_ANSWER added = expect(p->s, 201, "POST", "/orgs/acme/ca_certificates", p->ada, body);
	IS(added, "data.description", "line");
	IS(added, "data.jitp", "null");
	assert_int_equal(strlen(at(&added, "data.not_before")), 20);
	char path[256];
	snprintf(path, sizeof(path), "/orgs/acme/ca_certificates/%s", at(&added, "data.serial"));
	status(p->s, 200, "GET", path, p->ada, NULL);
	AUTO_ANSWER again = expect(p->s, 422, "POST", "/orgs/acme/ca_certificates", p->ada, body);
	IS(again, "errors.serial.0", "has already been taken");
	snprintf(body, sizeof(body), "{\"cert\":\"%s\"}", ca_pem);
	AUTO_ANSWER missing = expect(p->s, 422, "POST", "/orgs/acme/ca_certificates", p->ada, body);
	IS(missing, "errors.detail", "The CA certificate or verification certificate is missing");
	AUTO_ANSWER broken = expect(p->s, 400, "POST", "/orgs/acme/ca_certificates", p->ada, "{\"cert\":\"?\",\"verification_cert\":\"?\"}");
	IS(broken, "errors.detail", "An unknown error occurred, please check the request.");

	snprintf(body, sizeof(body), "{\"cert\":\"%s\"}", device_pem);
	AUTO_ANSWER cert = expect(p->s, 201, "POST", P "/devices/d1/certificates", p->ada, body);
	assert_non_null(strstr(nh_buf_cstr(&cert.head), "/api" P "/devices/d1/certificates/"));
	AUTO_ANSWER list = expect(p->s, 200, "GET", P "/devices/d1/certificates", p->ada, NULL);
	IS(list, "data.0.serial", at(&cert, "data.serial"));
	status(p->s, 400, "POST", P "/devices/d1/certificates", p->ada, "{}");
	snprintf(body, sizeof(body), "{\"certificate\":\"%s\"}", device_pem);
	AUTO_ANSWER who = expect(p->s, 200, "POST", P "/devices/auth", p->ada, body);
	IS(who, "data.identifier", "d1");
	AUTO_ANSWER nobody = expect(p->s, 403, "POST", P "/devices/auth", p->ada, "{\"certificate\":\"eA==\"}");
	IS(nobody, "status", "Unauthorized");
	snprintf(path, sizeof(path), "%s/devices/d1/certificates/%s", P, at(&cert, "data.serial"));
	status(p->s, 204, "DELETE", path, p->ada, NULL);
	status(p->s, 404, "GET", path, p->ada, NULL);
	free(ca_pem);
	free(proof_pem);
	free(device_pem);
}

static void journey(struct place *p)
{
	struct api_server *s = p->s;
	AUTO_ANSWER me = expect(s, 200, "GET", "/users/me", p->ada, NULL);
	IS(me, "data.email", "ada@example.com");
	AUTO_ANSWER orgs = expect(s, 200, "GET", "/orgs?include=products", p->ada, NULL);
	IS(orgs, "data.0.name", "acme");
	IS(orgs, "data.0.products.0.name", "Thermo Widget");
	assert_int_equal(strlen(at(&orgs, "data.0.inserted_at")), 19);
	AUTO_ANSWER product = expect(s, 200, "GET", P, p->ada, NULL);
	IS(product, "data", "{\"name\":\"Thermo Widget\",\"require_unique_firmware_version\":true,\"allowed_update_tools\":[\"fwup\"],"
	                    "\"allow_unsigned_esp_idf_firmware\":false,"
	                    "\"extensions\":{\"health\":false,\"geo\":false,\"logging\":false,\"local_shell\":false,\"network_identity\":false}}");

	NH_AUTO_BUF struct nh_buf fw1 = fixture("widget-1.0.0.fw");
	NH_AUTO_BUF struct nh_buf fw2 = fixture("widget-1.1.0.fw");
	AUTO_ANSWER up = upload(s, P "/firmwares", p->ada, nh_buf_slice(&fw1), true);
	if (up.status != 201)
		fail_msg("upload: %u %s", up.status, nh_buf_cstr(&up.body));
	IS(up, "data.uuid", UUID1);
	IS(up, "data.product", "Thermo Widget");
	IS(up, "data.tool", "fwup");
	assert_non_null(strstr(nh_buf_cstr(&up.head), "location: /api" P "/firmwares/" UUID1));
	AUTO_ANSWER up2 = upload(s, P "/firmwares", p->ada, nh_buf_slice(&fw2), false);
	assert_int_equal(up2.status, 201);
	AUTO_ANSWER list = expect(s, 200, "GET", P "/firmwares", p->ada, NULL);
	IS(list, "data.0.version", "1.1.0");
	IS(list, "data.1.version", "1.0.0");
	AUTO_ANSWER bytes = expect(s, 200, "GET", P "/firmwares/" UUID1 "/download", p->ada, NULL);
	assert_true(nh_slice_eq(nh_buf_slice(&bytes.body), nh_buf_slice(&fw1)));

	/* both forms of creating and changing a device */
	AUTO_ANSWER d1 = expect(s, 201, "POST", P "/devices/d1", p->ada, "{\"device\":{\"identifier\":\"d1\",\"tags\":\"qa,b\",\"description\":\"x\"}}");
	IS(d1, "data.tags", "[\"qa\",\"b\"]");
	IS(d1, "data.online", "not_seen");
	IS(d1, "data.version", "unknown");
	IS(d1, "data.last_communication", "never");
	IS(d1, "data.firmware_metadata", "null");
	IS(d1, "data.deployment_group", "null");
	IS(d1, "data.org_name", "acme");
	IS(d1, "data.deleted", "false");
	status(s, 201, "POST", P "/devices", p->ada, "{\"identifier\":\"d2\"}");
	AUTO_ANSWER taken = expect(s, 422, "POST", P "/devices", p->ada, "{\"identifier\":\"d2\"}");
	IS(taken, "errors.identifier.0", "has already been taken");
	AUTO_ANSWER put = expect(s, 201, "PUT", P "/devices/d1", p->ada, "{\"device\":{\"description\":\"y\"}}");
	IS(put, "data.description", "y");
	AUTO_ANSWER put2 = expect(s, 201, "PUT", P "/devices/d1", p->ada, "{\"tags\":[\"z\"]}");
	IS(put2, "data.tags", "[\"z\"]");
	certificates(p);

	AUTO_ANSWER group = expect(s, 201, "POST", P "/deployments", p->ada, "{\"name\":\"main\",\"firmware\":\"" UUID1 "\",\"state\":\"on\"}");
	IS(group, "data.state", "on");
	IS(group, "data.firmware_uuid", UUID1);
	AUTO_ANSWER release = expect(s, 200, "PUT", P "/deployments/main", p->ada, "{\"deployment\":{\"firmware\":\"" UUID2 "\",\"state\":\"off\"}}");
	IS(release, "data.firmware_uuid", UUID2);
	IS(release, "data.state", "off");
	status(s, 400, "PUT", P "/deployments/main", p->ada, "{}");
	status(s, 200, "GET", P "/deployments/main", p->ada, NULL);
	AUTO_ANSWER used = expect(s, 422, "DELETE", P "/firmwares/" UUID1, p->ada, NULL);
	IS(used, "errors.deployment_releases.0", "Firmware has associated deployment releases");
	AUTO_ANSWER signer = expect(s, 409, "DELETE", "/orgs/acme/keys/dev", p->ada, NULL);
	IS(signer, "errors.firmwares.0", "Firmware exists which uses the Signing Key");

	AUTO_ANSWER page = expect(s, 200, "GET", P "/devices?pagination%5Bpage_size%5D=1&filters%5Bidentifier%5D=d", p->ada, NULL);
	IS(page, "pagination", "{\"page_number\":1,\"page_size\":1,\"total_entries\":2,\"total_pages\":2,\"next\":\"WyJpZGVudGlmaWVyKzAiLDAsImQxIiwiZDEiXQ\"}");
	status(s, 400, "GET", P "/devices?sort=nothing", p->ada, NULL);
	status(s, 422, "GET", P "/devices?pagination%5Bpage%5D=x", p->ada, NULL);
	status(s, 200, "GET", "/devices/d1", p->ada, NULL);
	status(s, 204, "POST", P "/devices/d1/reboot", p->ada, NULL);
	status(s, 204, "POST", "/devices/d1/reconnect", p->ada, NULL);
	status(s, 204, "DELETE", P "/devices/d1/penalty", p->ada, NULL);
	status(s, 400, "POST", P "/devices/d1/upgrade", p->ada, "{}");
	status(s, 404, "POST", P "/devices/d1/upgrade", p->ada, "{\"uuid\":\"00000000-0000-0000-0000-000000000000\"}");
	assert_true(api_server_effects(s, NH_EFFECT_DEVICE_PUSH) >= 1);
	AUTO_ANSWER scripts = expect(s, 200, "GET", P "/devices/d1/scripts", p->ada, NULL);
	IS(scripts, "data", "[]");
	status(s, 201, "POST", P "/devices/import", p->ada, "[]");
	status(s, 404, "GET", P "/devices/import", p->ada, NULL);
	status(s, 409, "DELETE", P, p->ada, NULL);
	status(s, 400, "POST", P "/devices/d1/move", p->ada, NULL);
	status(s, 404, "POST", P "/devices/d1/move?new_org_name=nothing&new_product_name=x", p->ada, NULL);

	status(s, 204, "DELETE", P "/deployments/main", p->ada, NULL);
	status(s, 204, "DELETE", P "/firmwares/" UUID1, p->ada, NULL);
	assert_int_equal(api_server_objects(s), 1);
	status(s, 404, "GET", P "/firmwares/" UUID1, p->ada, NULL);
	status(s, 204, "DELETE", P "/devices/d1", p->ada, NULL);
	status(s, 404, "GET", P "/devices/d1", p->ada, NULL);
}
static void test_journey(void **state) { on_each_engine(journey); }

static void members_and_secrets(struct place *p)
{
	struct api_server *s = p->s;
	status(s, 400, "POST", "/orgs/acme/users/invite", p->ada, "{\"email\":\"eve@example.com\"}");
	AUTO_ANSWER added = expect(s, 201, "POST", "/orgs/acme/users/invite", p->ada, "{\"email\":\"eve@example.com\",\"role\":\"view\"}");
	IS(added, "data", "{\"name\":\"Eve\",\"email\":\"eve@example.com\",\"role\":\"view\"}");
	assert_non_null(strstr(nh_buf_cstr(&added.head), "location: /api/orgs/acme/users/eve@example.com"));
	/* a viewer looks and may not do: 401, never 403 */
	status(s, 200, "GET", P, p->eve, NULL);
	status(s, 401, "GET", "/orgs/acme/users", p->eve, NULL);
	status(s, 401, "POST", "/orgs/acme/products", p->eve, "{\"name\":\"x\"}");
	status(s, 401, "POST", P "/devices", p->eve, "{\"identifier\":\"x\"}");
	status(s, 401, "GET", P "/firmwares/" UUID1 "/download", p->eve, NULL);
	status(s, 401, "POST", P "/shared_secrets", p->eve, "{}");
	AUTO_ANSWER role = expect(s, 200, "PUT", "/orgs/acme/users/eve@example.com", p->ada, "{\"role\":\"manage\"}");
	IS(role, "data.role", "manage");
	status(s, 400, "PUT", "/orgs/acme/users/eve@example.com", p->ada, "{}");
	AUTO_ANSWER bad = expect(s, 422, "PUT", "/orgs/acme/users/eve@example.com", p->ada, "{\"role\":\"boss\"}");
	IS(bad, "errors.role.0", "is invalid");
	AUTO_ANSWER last = expect(s, 422, "DELETE", "/orgs/acme/users/ada@example.com", p->ada, NULL);
	assert_non_null(strstr(at(&last, "errors.detail"), "last admin"));

	AUTO_ANSWER made = expect(s, 201, "POST", P "/shared_secrets", p->eve, "{}");
	assert_int_equal(strlen(at(&made, "data.secret")), 43);
	AUTO_ANSWER list = expect(s, 200, "GET", P "/shared_secrets", p->eve, NULL);
	IS(list, "data.0.key", at(&made, "data.key"));
	IS(list, "data.0.secret", "");
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	nh_buf_put_str(&path, P "/shared_secrets/");
	nh_uri_put(&path, nh_slice_str(at(&made, "data.key")));
	status(s, 204, "DELETE", nh_buf_cstr(&path), p->eve, NULL);
	status(s, 404, "DELETE", nh_buf_cstr(&path), p->eve, NULL);
	status(s, 204, "DELETE", "/orgs/acme/users/eve@example.com", p->ada, NULL);
	status(s, 404, "GET", P, p->eve, NULL);
}
static void test_members_and_secrets(void **state) { on_each_engine(members_and_secrets); }

/* ---- uploads ----------------------------------------------------------------------------------------------------------- */

static void bad_uploads(struct place *p)
{
	static const struct {
		const char *file, *text;
	} table[] = {
		{"not-a-zip.fw", "Unrecognised firmware format"}, {"truncated-in-rootfs.fw", "truncated"}, {"tampered-payload.fw", "damaged, or was changed"},
		{"widget-1.0.0-key2.fw", "signature does not match any"}, {"minimal-unsigned.fw", "not signed"}, {"minimal-signed.fw", "built for the product"},
		{"no-product-signed.fw", "lacks meta-product"},
	};
	struct api_server *s = p->s;
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		NH_AUTO_BUF struct nh_buf file = fixture(table[i].file);
		AUTO_ANSWER a = upload(s, P "/firmwares", p->ada, nh_buf_slice(&file), i % 2);
		if (a.status != 422 || !strstr(at(&a, "errors.detail"), table[i].text))
			fail_msg("%s: %u %s", table[i].file, a.status, nh_buf_cstr(&a.body));
		assert_int_equal(api_server_objects(s), 0);
	}
	NH_AUTO_BUF struct nh_buf good = fixture("widget-1.0.0.fw");
	AUTO_ANSWER first = upload(s, P "/firmwares", p->ada, nh_buf_slice(&good), false);
	assert_int_equal(first.status, 201);
	AUTO_ANSWER twice = upload(s, P "/firmwares", p->ada, nh_buf_slice(&good), false);
	assert_int_equal(twice.status, 422);
	IS(twice, "errors.uuid.0", "has already been taken");
	assert_int_equal(api_server_objects(s), 1);

	AUTO_ANSWER nothing = ask(s, &(struct ask){.method = "POST", .path = P "/firmwares", .token = p->ada, .json = "{}"});
	assert_int_equal(nothing.status, 422);
	IS(nothing, "errors.detail", "No firmware uploaded");
	AUTO_ANSWER no_file = ask(s, &(struct ask){.method = "POST", .path = P "/firmwares", .token = p->ada,
	                                           .headers = "Content-Type: multipart/form-data; boundary=b\r\n",
	                                           .body = NH_LIT("--b\r\nContent-Disposition: form-data; name=\"firmware\"\r\n\r\ntext\r\n--b--\r\n")});
	assert_int_equal(no_file.status, 422);
	IS(no_file, "errors.detail", "No firmware uploaded");
	AUTO_ANSWER cut = ask(s, &(struct ask){.method = "POST", .path = P "/firmwares", .token = p->ada,
	                                       .headers = "Content-Type: multipart/form-data; boundary=b\r\n",
	                                       .body = NH_LIT("--b\r\nContent-Disposition: form-data; name=\"firmware\"; filename=\"x\"\r\n\r\nPK")});
	assert_int_equal(cut.status, 422);

	NH_AUTO_BUF struct nh_buf large = NH_BUF_INIT;
	nh_buf_put_str(&large, "PK\003\004");
	nh_buf_fill(&large, 'x', 300000);
	AUTO_ANSWER big = upload(s, P "/firmwares", p->ada, nh_buf_slice(&large), true);
	assert_int_equal(big.status, 413);
	IS(big, "errors.detail", "Request Entity Too Large");
	AUTO_ANSWER stranger = upload(s, P "/firmwares", p->eve, nh_buf_slice(&good), true);
	assert_int_equal(stranger.status, 404);
	AUTO_ANSWER anonymous = upload(s, P "/firmwares", NULL, nh_buf_slice(&good), true);
	assert_int_equal(anonymous.status, 401);
	assert_int_equal(api_server_objects(s), 1);

	/* what a crash between object and row leaves goes after an hour; an object that a row names stays */
	size_t swept = 7;
	api_server_orphan(s);
	assert_int_equal(api_server_objects(s), 2);
	assert_int_equal(nh_user_api_sweep(api_server_app(s), &swept, NULL), NH_OK);
	assert_int_equal(swept, 0);
	api_server_age_claims(s);
	assert_int_equal(nh_user_api_sweep(api_server_app(s), &swept, NULL), NH_OK);
	assert_int_equal(swept, 1);
	assert_int_equal(api_server_objects(s), 1);
	status(s, 200, "GET", P "/firmwares/" UUID1 "/download", p->ada, NULL);

	/* who goes away in the middle leaves nothing; the drain at the end of the test waits for it, the leak checker looks */
	for (int i = 0; i < 5; i++)
		abandon_upload(s, P "/firmwares", p->ada);

	/* what the last run was filing goes at the next start, whatever the clock says; many pages at once */
	for (int i = 0; i < 230; i++)
		api_server_orphan(s);
	assert_int_equal(api_server_objects(s), 231);
	assert_int_equal(nh_user_api_sweep(api_server_app(s), &swept, NULL), NH_OK);
	assert_int_equal(swept, 0);
	assert_int_equal(nh_user_api_recover(api_server_app(s), NULL), NH_OK);
	assert_int_equal(nh_user_api_sweep(api_server_app(s), &swept, NULL), NH_OK);
	assert_int_equal(swept, 230);
	assert_int_equal(api_server_objects(s), 1);
	status(s, 200, "GET", P "/firmwares/" UUID1 "/download", p->ada, NULL);
}
static void test_bad_uploads(void **state) { on_each_engine(bad_uploads); }

/* ---- who may ask ------------------------------------------------------------------------------------------------------- */

/* Puts real names for the parameters of a template. */
static void concrete(const char *template, char *out, size_t size)
{
	static const struct {
		const char *name, *value;
	} values[] = {{"org_name", "acme"}, {"product_name", "Thermo%20Widget"}, {"identifier", "d1"}, {"user_email", "ada@example.com"}, {"name", "dev"},
	              {"uuid", UUID1}, {"serial", "1"}, {"token", "00000000-0000-4000-8000-000000000000"}, {"key", "nhp_x"}};
	nh_slice part, rest = nh_slice_skip(nh_slice_str(template), 1);
	size_t used = 0;
	while (rest.len > 0) {
		nh_slice_cut(rest, '/', &part, &rest);
		nh_slice value = part;
		for (size_t i = 0; i < NH_ARRAY_LEN(values); i++) {
			if ((part.ptr[0] == ':' || part.ptr[0] == '*') && nh_slice_eq_str(nh_slice_skip(part, 1), values[i].name))
				value = nh_slice_str(values[i].value);
		}
		used += (size_t)snprintf(out + used, size - used, "/%.*s", NH_ARG(value));
	}
}

static void strangers(struct place *p)
{
	struct api_server *s = p->s;
	NH_AUTO_BUF struct nh_buf fw = fixture("widget-1.0.0.fw");
	AUTO_ANSWER up = upload(s, P "/firmwares", p->ada, nh_buf_slice(&fw), false);
	assert_int_equal(up.status, 201);
	status(s, 201, "POST", P "/devices", p->ada, "{\"identifier\":\"d1\"}");
	status(s, 201, "POST", P "/deployments", p->ada, "{\"name\":\"dev\",\"firmware\":\"" UUID1 "\"}");

	size_t walked = 0;
	for (const struct nh_route *r = nh_user_api_routes; r->path; r++) {
		char path[512];
		concrete(r->path, path, sizeof(path));
		if (!strstr(r->path, ":org_name") && !strstr(r->path, "/api/devices/"))
			continue;
		walked++;
		const char *method = nh_http_method_name(r->method);
		AUTO_ANSWER a = ask(s, &(struct ask){.method = method, .path = path + 4, .token = p->eve, .json = "{}"});
		if (a.status != 404)
			fail_msg("%s %s as a stranger: %u %s", method, path, a.status, nh_buf_cstr(&a.body));
		IS(a, "errors.detail", NOT_FOUND);
		AUTO_ANSWER b = ask(s, &(struct ask){.method = method, .path = path + 4, .json = "{}"});
		if (b.status != 401)
			fail_msg("%s %s without a token: %u", method, path, b.status);
		IS(b, "errors.detail", NOT_FOUND);
	}
	assert_true(walked > 40);
	AUTO_ANSWER orgs = expect(s, 200, "GET", "/orgs", p->eve, NULL);
	IS(orgs, "data.0.name", "eve");
	IS(orgs, "data.1", "");
	/* and nothing was changed by trying */
	status(s, 200, "GET", P "/devices/d1", p->ada, NULL);
	status(s, 200, "GET", P "/deployments/dev", p->ada, NULL);
	status(s, 200, "GET", P "/firmwares/" UUID1, p->ada, NULL);
}
static void test_strangers(void **state) { on_each_engine(strangers); }

static void tokens(struct place *p)
{
	static const struct {
		const char *headers;
		unsigned status;
	} table[] = {
		{"", 401},
		{"Authorization: Bearer nhu_wrong\r\n", 401},
		{"Authorization: Basic TOKEN\r\n", 401},
		{"Authorization: Bearer  TOKEN\r\n", 401},
		{"Authorization: Bearer TOKEN\r\nAuthorization: Bearer TOKEN\r\n", 401},
		{"Authorization: TOKEN\r\n", 401},
		{"Authorization: token TOKEN\r\n", 200},
		{"Authorization: BEARER TOKEN more\r\n", 200},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT;
		nh_slice rest = nh_slice_str(table[i].headers);
		ptrdiff_t found;
		while ((found = nh_slice_find(rest, NH_LIT("TOKEN"))) >= 0) {
			nh_buf_put_slice(&headers, nh_slice_sub(rest, 0, (size_t)found));
			nh_buf_put_str(&headers, p->ada);
			rest = nh_slice_skip(rest, (size_t)found + 5);
		}
		nh_buf_put_slice(&headers, rest);
		AUTO_ANSWER a = ask(p->s, &(struct ask){.method = "GET", .path = "/users/me", .headers = nh_buf_cstr(&headers)});
		if (a.status != table[i].status)
			fail_msg("%s: %u", table[i].headers, a.status);
	}
}
static void test_tokens(void **state) { on_each_engine(tokens); }

static void signing_in(struct place *p)
{
	struct api_server *s = p->s;
	static const char *const refused[] = {"{\"email\":\"ada@example.com\",\"password\":\"wrong\"}", "{\"email\":\"no@example.com\",\"password\":\"wrong\"}",
	                                      "{\"email\":\"ada@example.com\"}", "{}", "{\"email\":7,\"password\":[]}"};
	for (size_t i = 0; i < NH_ARRAY_LEN(refused); i++) {
		AUTO_ANSWER a = expect(s, 401, "POST", i % 2 ? "/users/login" : "/users/auth", NULL, refused[i]);
		IS(a, "errors.detail", "Authentication failed, please check your username and password and try again.");
	}
	AUTO_ANSWER form = ask(s, &(struct ask){.method = "POST", .path = "/users/login", .headers = "Content-Type: application/x-www-form-urlencoded\r\n",
	                                        .body = NH_LIT("email=ADA%40example.com&password=correct+horse+battery")});
	assert_int_equal(form.status, 200);
	/* a guesser of one account is stopped; the account's owner elsewhere and other accounts are not */
	unsigned stopped = 0; /* of so many attempts that one of the minutes they fall into has had too many */
	for (int i = 0; i < 50; i++) {
		static const char other_case[] = "{\"email\":\"ADA@example.com\",\"password\":\"wrong\"}";
		AUTO_ANSWER a = ask(s, &(struct ask){.method = "POST", .path = "/users/login", .json = i % 2 ? other_case : refused[0]});
		stopped += a.status == 429;
	}
	assert_true(stopped > 0);
	char token[64];
	sign_in(s, "eve@example.com", token);

	AUTO_ANSWER bad = expect(s, 422, "POST", "/users/register", NULL, "{\"name\":\"x\",\"email\":\"x\",\"password\":\"x\"}");
	assert_true(*at(&bad, "errors.name.0") && *at(&bad, "errors.email.0") && *at(&bad, "errors.password.0"));
	AUTO_ANSWER made = expect(s, 201, "POST", "/users/register", NULL, "{\"name\":\"Bob\",\"email\":\"bob@example.com\",\"password\":\"" PASSWORD "\"}");
	IS(made, "data.name", "Bob");
	sign_in(s, "bob@example.com", token);
	api_server_config(s)->registration_open = false;
	status(s, 403, "POST", "/users/register", NULL, "{\"name\":\"Joe\",\"email\":\"joe@example.com\",\"password\":\"" PASSWORD "\"}");

	AUTO_ANSWER session = expect(s, 200, "POST", "/auth/cli_session", NULL, "{\"note\":\"nh 0.1.2 (host)\"}");
	assert_true(json_is_integer(json_object_get(json_object_get(session.json, "data"), "confirmation_code")));
	assert_non_null(strstr(at(&session, "data.url"), "http://hub.test/auth/cli/"));
	char path[128], id[64];
	snprintf(id, sizeof(id), "%s", at(&session, "data.token"));
	snprintf(path, sizeof(path), "/auth/cli_session/%s", id);
	AUTO_ANSWER waiting = expect(s, 200, "GET", path, NULL, NULL);
	IS(waiting, "data", "{\"status\":\"waiting\"}");
	api_server_confirm(s, "ada@example.com", id);
	AUTO_ANSWER ready = expect(s, 200, "GET", path, NULL, NULL);
	IS(ready, "data.status", "ready");
	status(s, 200, "GET", "/users/me", at(&ready, "data.user_token"), NULL);
	status(s, 404, "GET", path, NULL, NULL);
}
static void test_signing_in(void **state) { on_each_engine(signing_in); }

/* ---- HTTP rules -------------------------------------------------------------------------------------------------------- */

static void http_rules(struct place *p)
{
	struct api_server *s = p->s;
	AUTO_ANSWER alive = expect(s, 200, "GET", "/status/alive", NULL, NULL);
	assert_string_equal(nh_buf_cstr(&alive.body), "Hello, Friend!");
	AUTO_ANSWER me = ask(s, &(struct ask){.method = "GET", .path = "/users/me", .token = p->ada, .headers = "X-Request-Id: 01234567890123456789\r\n"});
	assert_non_null(strstr(nh_buf_cstr(&me.head), "x-request-id: 01234567890123456789\r\n"));
	assert_non_null(strstr(nh_buf_cstr(&me.head), "application/json; charset=utf-8\r\n"));
	assert_non_null(strstr(nh_buf_cstr(&me.head), "cache-control: max-age=0, private, must-revalidate\r\n"));
	assert_non_null(strstr(nh_buf_cstr(&me.head), "Date: "));
	AUTO_ANSWER head = ask(s, &(struct ask){.method = "HEAD", .path = "/users/me", .token = p->ada});
	assert_true(head.status == 200 && head.body.len == 0);
	AUTO_ANSWER html = ask(s, &(struct ask){.method = "GET", .path = "/users/me", .token = p->ada, .headers = "Accept: text/html\r\n"});
	assert_int_equal(html.status, 406);
	IS(html, "errors.detail", "Not Acceptable");
	AUTO_ANSWER plain = ask(s, &(struct ask){.method = "GET", .path = "/orgs/none/keys", .token = p->ada, .headers = "Accept: text/plain\r\n"});
	assert_int_equal(plain.status, 404);
	IS(plain, "errors.detail", NOT_FOUND);
	AUTO_ANSWER nowhere = expect(s, 404, "GET", "/nothing/here", p->ada, NULL);
	IS(nowhere, "errors.detail", NOT_FOUND);
	status(s, 404, "PATCH", "/users/me", p->ada, NULL);
	AUTO_ANSWER broken = expect(s, 400, "POST", "/users/login", NULL, "{broken");
	assert_true(*at(&broken, "errors.detail"));
	status(s, 401, "POST", "/users/login", NULL, "[1,2]");
	status(s, 400, "GET", "/users/me?x=%zz", p->ada, NULL);
	NH_AUTO_BUF struct nh_buf large = NH_BUF_INIT;
	nh_buf_put_str(&large, "{\"email\":\"");
	nh_buf_fill(&large, 'x', 8000001);
	nh_buf_put_str(&large, "\"}");
	AUTO_ANSWER big = ask(s, &(struct ask){.method = "POST", .path = "/users/login", .headers = "Content-Type: application/json\r\n", .body = nh_buf_slice(&large)});
	assert_int_equal(big.status, 413);
	IS(big, "errors.detail", "Request Entity Too Large");

	AUTO_ANSWER document = expect(s, 200, "GET", "/openapi", NULL, NULL);
	IS(document, "openapi", "3.1.0");
	const json_t *paths = json_object_get(document.json, "paths");
	const json_t *device = json_object_get(paths, "/api/orgs/{org_name}/products/{product_name}/devices/{identifier}");
	assert_true(json_object_get(device, "get") && json_object_get(device, "put") && json_object_get(device, "post") && json_object_get(device, "delete"));
	assert_int_equal(json_array_size(json_object_get(json_object_get(device, "get"), "parameters")), 3);
	status(s, 200, "GET", "/docs", NULL, NULL);
	status(s, 302, "GET", "/swaggerui", NULL, NULL);
}
static void test_http_rules(void **state) { on_each_engine(http_rules); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_journey), cmocka_unit_test(test_members_and_secrets), cmocka_unit_test(test_bad_uploads), cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_tokens),  cmocka_unit_test(test_signing_in),          cmocka_unit_test(test_http_rules),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Certificates: device CAs of organizations, what ends soon, and the server's own certificate authority with what it issued.
 *
 * Signing takes three steps (hub/authority.h): may it be had (read), sign (no transaction), write it down (write). One handler does them for every route that signs; what the routes
 * differ in is a row of a table.
 *
 * source: reference/user-api-and-cli "9", "17.6", "19.2", "19.3", "19.4"
 */
#include "api_int.h"
#include "base/encode.h"
#include "hub/authority.h"
#include "hub/certificate_expiry.h"

#define MOMENT "date-time"

/* ---- device CAs -------------------------------------------------------------------------------------------------------- */

static nh_rc cas(struct call *call, struct nh_err *err)
{
	struct nh_ca_certificate *list;
	size_t count = 0;
	NH_TRY(nh_ca_certificate_list(&call->ctx, &call->actor, call->org.id, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_ca(&list[i]));
	return NH_OK;
}
const struct endpoint ep_cas = {.run = cas, .scope = SCOPE_ORG, .may = NH_MAY_CA_SEE, .success = 200, .data = &shape_ca, .list = true, .tag = "CA Certificates"};

static nh_rc ca(struct call *call, struct nh_err *err)
{
	struct nh_ca_certificate c;
	NH_TRY(nh_ca_certificate_open(&call->ctx, &call->actor, call->org.id, param(call, "serial"), &c, err));
	call->data = render_ca(&c);
	return NH_OK;
}
const struct endpoint ep_ca = {.run = ca, .scope = SCOPE_ORG, .may = NH_MAY_CA_SEE, .success = 200, .data = &shape_ca, .tag = "CA Certificates"};

static nh_rc ca_token(struct call *call, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf token = NH_BUF_INIT, code = NH_BUF_INIT;
	NH_TRY(nh_verification_token(&call->ctx, &call->actor, call->org.id, &token, err));
	NH_TRY(nh_verification_code(&call->ctx, &call->actor, call->org.id, &code, err));
	call->data = json_pack("{s:o, s:o}", "verification_token", nh_json_new_text(nh_buf_slice(&token)), "verification_code", nh_json_new_text(nh_buf_slice(&code)));
	return NH_OK;
}
static SHAPE(verification_token, "VerificationToken", {"verification_token", FIELD_TEXT, .about = "For the alternative name urn:nerveshub:verify:TOKEN of the verification certificate"},
             {"verification_code", FIELD_TEXT, .about = "Or for its common name, without an alternative name"});
const struct endpoint ep_ca_token = {.run = ca_token, .scope = SCOPE_ORG, .may = NH_MAY_CA_SEE, .success = 200, .data = &verification_token, .tag = "CA Certificates"};

static nh_rc ca_add(struct call *call, struct nh_err *err)
{
	struct nh_ca_certificate c;
	NH_TRY(nh_ca_certificate_add(&call->ctx, &call->actor, call->org.id, call->params, &c, &call->errors, err));
	set_location(call, c.serial);
	call->data = render_ca(&c);
	return NH_OK;
}
static SHAPE(jitp_body, "JustInTimeProvisioningWanted", {"description", FIELD_TEXT}, {"tags", FIELD_TAGS}, {"product_name", FIELD_TEXT, FIELD_OPTIONAL},
             {"product_id", FIELD_INTEGER, FIELD_OPTIONAL, .about = "Instead of its name"});
static SHAPE(ca_body, "CaCertificateWanted", {"cert", FIELD_TEXT, .about = "PEM, in base64"},
             {"verification_cert", FIELD_TEXT, .about = "PEM, in base64: issued by the CA for the verification token"}, {"description", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE},
             {"check_expiration", FIELD_BOOLEAN, FIELD_OPTIONAL, .about = "Are devices that it signed refused once it is over? Not unless this is given"},
             {"jitp", FIELD_OBJECT, FIELD_OPTIONAL | FIELD_NULLABLE, &jitp_body});
const struct endpoint ep_ca_add = {.run = ca_add, .scope = SCOPE_ORG, .may = NH_MAY_CA_CREATE, .write = true, .success = 201, .body = &ca_body, .data = &shape_ca, .tag = "CA Certificates"};

static nh_rc ca_update(struct call *call, struct nh_err *err)
{
	struct nh_ca_certificate c;
	NH_TRY(nh_ca_certificate_update(&call->ctx, &call->actor, call->org.id, param(call, "serial"), call->params, &c, &call->errors, err));
	call->data = render_ca(&c);
	return NH_OK;
}
static SHAPE(ca_change, "CaCertificateChange", {"description", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE}, {"check_expiration", FIELD_BOOLEAN, FIELD_OPTIONAL},
             {"jitp", FIELD_OBJECT, FIELD_OPTIONAL | FIELD_NULLABLE, &jitp_body, .about = "null: no device is created any more"});
const struct endpoint ep_ca_update = {
	.run = ca_update, .scope = SCOPE_ORG, .may = NH_MAY_CA_UPDATE, .write = true, .success = 200, .body = &ca_change, .data = &shape_ca, .tag = "CA Certificates"};

static nh_rc ca_delete(struct call *call, struct nh_err *err)
{
	return nh_ca_certificate_delete(&call->ctx, &call->actor, call->org.id, param(call, "serial"), err);
}
const struct endpoint ep_ca_delete = {
	.run = ca_delete, .scope = SCOPE_ORG, .may = NH_MAY_CA_DELETE, .write = true, .success = 204, .tag = "CA Certificates"};

/* ---- what ends soon ---------------------------------------------------------------------------------------------------- */

#define EXPIRING_DAYS 30

static nh_rc expiring(struct call *call, struct nh_err *err)
{
	struct nh_expiring *list;
	size_t limit, count = 0;
	uint64_t days = EXPIRING_DAYS;
	nh_slice text = nh_json_text(call->params, "days");
	NH_TRY(read_limit(call, 500, &limit, err));
	if (text.len && nh_parse_u64(text, 0, NH_EXPIRING_DAYS_MAX, &days) != NH_OK) {
		call->errors = json_pack("{s:[s]}", "days", "is invalid");
		return NH_FAIL(err, NH_EINVAL, "days is invalid");
	}
	NH_TRY(nh_expiring_list(&call->ctx, &call->actor, call->org.id, (unsigned)days, limit, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, json_pack("{s:o, s:o, s:o, s:o, s:b, s:o, s:o}", "kind", nh_json_new_text(list[i].kind), "serial", nh_json_new_text(list[i].serial), "subject",
		                                            text_or_null(list[i].subject), "not_after", render_date(list[i].not_after_us), "expired",
		                                            list[i].not_after_us <= nh_ctx_now(&call->ctx), "device", text_or_null(list[i].device), "product", text_or_null(list[i].product)));
	return NH_OK;
}
static const char *const words_expiring[] = {"ca", "device", "device_ca", "server", "user", NULL};
static SHAPE(expiring_query, "ExpiringQuery", {"days", FIELD_INTEGER, FIELD_OPTIONAL, .about = "Within how many days, and since how many; 30 unless it is given"},
             {"limit", FIELD_INTEGER, FIELD_OPTIONAL, .about = "How many at most"});
static SHAPE(expiring_certificate, "ExpiringCertificate", {"kind", FIELD_TEXT, .words = words_expiring}, {"serial", FIELD_TEXT, .about = "In decimal"},
             {"subject", FIELD_TEXT, FIELD_NULLABLE, .about = "Of a device CA: its description"}, {"not_after", FIELD_TEXT, .format = MOMENT}, {"expired", FIELD_BOOLEAN},
             {"device", FIELD_TEXT, FIELD_NULLABLE}, {"product", FIELD_TEXT, FIELD_NULLABLE});
const struct endpoint ep_expiring = {.run = expiring, .scope = SCOPE_ORG, .may = NH_MAY_CA_SEE, .success = 200, .query = &expiring_query, .data = &expiring_certificate, .list = true,
                                     .tag = "CA Certificates"};

/* ---- the authority itself ---------------------------------------------------------------------------------------------- */

#define TAG "Certificate Authority"

static nh_rc no_authority(struct call *call, struct nh_err *err)
{
	call->errors = json_pack("{s:s}", "detail", "This server issues no certificates: its setting CA_KEY is none.");
	return NH_FAIL(err, NH_ENOTFOUND, "no certificate authority");
}

static json_t *render_pem(const struct nh_cert *cert)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	nh_cert_put_pem(&pem, cert);
	return nh_json_new_text(nh_buf_slice(&pem));
}

static nh_rc authority(struct call *call, struct nh_err *err)
{
	if (!call->ctx.config->authority)
		return no_authority(call, err);
	const struct nh_cert *cert = nh_authority_cert(call->ctx.config->authority);
	call->data = json_pack("{s:o, s:o, s:o, s:o, s:o}", "cert", render_pem(cert), "serial", nh_json_new_text(cert->serial_decimal), "subject", nh_json_new_text(cert->subject),
	                       "not_before", render_date(cert->not_before_us), "not_after", render_date(cert->not_after_us));
	return NH_OK;
}
static SHAPE(authority_shape, "CertificateAuthority", {"cert", FIELD_TEXT, .about = "PEM"}, {"serial", FIELD_TEXT, .about = "In decimal"}, {"subject", FIELD_TEXT},
             {"not_before", FIELD_TEXT, .format = MOMENT}, {"not_after", FIELD_TEXT, .format = MOMENT});
#define NO_AUTHORITY {404, .about = "This server issues no certificates"}
static const struct answer authority_refusals[] = {NO_AUTHORITY, {0}};
const struct endpoint ep_authority = {.run = authority, .anonymous = true, .success = 200, .data = &authority_shape, .also = authority_refusals, .tag = TAG};

struct crl_call {
	struct call call; /* first */
	struct nh_crl_source source;
};

static nh_rc load_crl(struct call *call, struct nh_err *err)
{
	struct crl_call *c = (struct crl_call *)call;
	struct nh_authority *a = call->ctx.config->authority;
	return a ? nh_crl_load(&call->ctx, a, &c->source, err) : no_authority(call, err);
}

const struct endpoint ep_crl = {.anonymous = true, .success = 200, .media = "application/pkix-crl", .also = authority_refusals, .tag = TAG};

/* Whoever asks, and be it every minute: signed once an hour, and after each revocation. */
void handle_crl(struct nh_request *req, struct nh_response *res)
{
	struct crl_call c = {0};
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	int64_t until = 0;
	if (!call_open(&c.call, req, res, &ep_crl))
		return;
	int64_t now = nh_clock_now(c.call.api->config.clock);
	nh_rc rc = call_transact(&c.call, load_crl, false, &err);
	if (rc == NH_OK)
		rc = nh_crl_take(c.call.api->config.hub->authority, &c.source, now, &der, &until, &err);
	if (rc == NH_OK) {
		NH_AUTO_BUF struct nh_buf expires = NH_BUF_INIT;
		nh_time_put_http(&expires, until);
		send_common_headers(req, res);
		nh_response_header(res, "expires", nh_buf_slice(&expires));
		nh_response_send(res, 200, "application/pkix-crl", nh_buf_slice(&der));
	}
	call_close(&c.call, rc, &err);
}

/* ---- issued certificates ----------------------------------------------------------------------------------------------- */

static json_t *render_issued(const struct nh_issued *c, bool whole)
{
	json_t *out = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "kind", nh_json_new_text(c->kind), "serial", nh_json_new_text(c->serial), "subject",
	                        nh_json_new_text(c->subject), "description", text_or_null(c->description), "not_before", render_date(c->not_before_us), "not_after", render_date(c->not_after_us),
	                        "last_used", render_date(c->last_used_at_us), "revoked_at", render_date(c->revoked_at_us), "reason",
	                        c->revoked_at_us ? json_string(nh_crl_reason_name(c->reason)) : json_null());
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	if (whole && nh_cert_parse_der(c->der, &cert, NULL) == NH_OK)
		json_object_set_new(out, "cert", render_pem(cert));
	return out;
}
static const char *const words_issued[] = {"user", "device", "device_ca", "server", NULL};
#define ISSUED                                                                                                                                                                            \
	{"kind", FIELD_TEXT, .words = words_issued}, {"serial", FIELD_TEXT, .about = "In decimal"}, {"subject", FIELD_TEXT}, {"description", FIELD_TEXT, FIELD_NULLABLE},                   \
		{"not_before", FIELD_TEXT, .format = MOMENT}, {"not_after", FIELD_TEXT, .format = MOMENT}, {"last_used", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT},                     \
		{"revoked_at", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT}, {"reason", FIELD_TEXT, FIELD_NULLABLE, .words = nh_crl_reason_words}
static SHAPE(issued_row, "IssuedCertificateRow", ISSUED);
static SHAPE(issued_whole, "IssuedCertificate", ISSUED, {"cert", FIELD_TEXT, .about = "PEM"});
static SHAPE(issued_query, "IssuedCertificatesQuery", {"limit", FIELD_INTEGER, FIELD_OPTIONAL, .about = "How many at most"},
             {"before", FIELD_INTEGER, FIELD_OPTIONAL, .about = "Only older ones: what an answer named as next"});
static SHAPE(revoke_query, "RevocationQuery", {"reason", FIELD_TEXT, FIELD_OPTIONAL, .words = nh_crl_reason_words});

/* Three doors to the same rows: the own account's, the organization's, and everybody's for administrators of the server. */
static struct nh_issued_of whose(const struct call *call)
{
	if (call->endpoint->scope == SCOPE_ORG)
		return (struct nh_issued_of){NH_ISSUED_ORG, call->org.id};
	bool own = nh_slice_find(nh_slice_str(call->req->route->path), NH_LIT("/users/me/")) >= 0;
	return (struct nh_issued_of){own ? NH_ISSUED_OWN : NH_ISSUED_ALL, 0};
}

static nh_rc issued_list(struct call *call, struct nh_err *err)
{
	struct nh_issued *list;
	size_t limit, count = 0;
	int64_t before = 0;
	nh_slice text = nh_json_text(call->params, "before");
	NH_TRY(read_limit(call, 500, &limit, err));
	if (text.len && nh_parse_i64(text, 1, INT64_MAX, &before) != NH_OK) {
		call->errors = json_pack("{s:[s]}", "before", "is invalid");
		return NH_FAIL(err, NH_EINVAL, "before is invalid");
	}
	NH_TRY(nh_issued_list(&call->ctx, &call->actor, whose(call), before, limit, &list, &count, err));
	call->data = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(call->data, render_issued(&list[i], false));
	set_pagination(call, limit, count == limit ? json_sprintf("%lld", (long long)list[count - 1].id) : NULL);
	return NH_OK;
}

static nh_rc issued(struct call *call, struct nh_err *err)
{
	struct nh_issued c;
	NH_TRY(nh_issued_open(&call->ctx, &call->actor, whose(call), param(call, "serial"), &c, err));
	call->data = render_issued(&c, true);
	return NH_OK;
}

static nh_rc issued_revoke(struct call *call, struct nh_err *err)
{
	return nh_issued_revoke(&call->ctx, &call->actor, whose(call), param(call, "serial"), nh_json_text(call->params, "reason"), &call->errors, err);
}

#define ISSUED_LIST .run = issued_list, .success = 200, .query = &issued_query, .data = &issued_row, .list = true, .beside = &shape_next, .tag = TAG
#define ISSUED_ONE .run = issued, .success = 200, .data = &issued_whole, .tag = TAG
#define ISSUED_REVOKE .run = issued_revoke, .write = true, .success = 204, .query = &revoke_query, .tag = TAG
const struct endpoint ep_own_issueds = {ISSUED_LIST}, ep_own_issued = {ISSUED_ONE}, ep_own_revoke = {ISSUED_REVOKE};
const struct endpoint ep_all_issueds = {ISSUED_LIST}, ep_all_issued = {ISSUED_ONE}, ep_all_revoke = {ISSUED_REVOKE};
const struct endpoint ep_org_issueds = {ISSUED_LIST, .scope = SCOPE_ORG, .may = NH_MAY_ISSUED_SEE}, ep_org_issued = {ISSUED_ONE, .scope = SCOPE_ORG, .may = NH_MAY_ISSUED_SEE},
		      ep_org_revoke = {ISSUED_REVOKE, .scope = SCOPE_ORG, .may = NH_MAY_ISSUED_REVOKE};

/* ---- signing ----------------------------------------------------------------------------------------------------------- */

struct sign_call {
	struct login_call login; /* first: its call */
	const struct signing *how;
	struct nh_csr *csr;
	struct nh_issue what;
	struct nh_cert *cert;
};

/* How one route signs. */
struct signing {
	const struct endpoint *endpoint;
	enum { TOKEN, TOKEN_AND_PASSWORD, PASSWORD } proof; /* of who asks. A token alone, perhaps found somewhere, makes no credential that outlives it */
	bool service;  /* of the stand-alone CA: every fault of the caller's is 400 */
	nh_rc (*prepare)(struct sign_call *s, struct nh_err *err); /* may it be had, and what does it say; inside both transactions */
	void (*answer)(struct sign_call *s, const struct nh_issued *issued);
};

static struct call *call_of(struct sign_call *s) { return &s->login.call; }

static nh_rc prepare_user(struct sign_call *s, struct nh_err *err)
{
	struct call *call = call_of(s);
	return nh_issue_for_user(&call->ctx, &call->actor, nh_json_text(call->params, "description"), &s->what, &call->errors, err);
}

static nh_rc prepare_successor(struct sign_call *s, struct nh_err *err)
{
	struct call *call = call_of(s);
	if (!call->by_certificate) {
		call->errors = json_pack("{s:s}", "detail", "Only a certificate can ask for its successor: please ask on the API port, with the certificate and without a token.");
		return NH_FAIL(err, NH_EINVAL, "not signed in with a certificate");
	}
	return nh_issue_for_successor(&call->ctx, &call->actor, nh_slice_of(call->req->fingerprint, 32), &s->what, &call->errors, err);
}

static nh_rc prepare_device(struct sign_call *s, struct nh_err *err)
{
	struct call *call = call_of(s);
	return nh_issue_for_device(&call->ctx, &call->actor, &call->device, s->csr, &s->what, &call->errors, err);
}

static nh_rc prepare_org(struct sign_call *s, struct nh_err *err)
{
	struct call *call = call_of(s);
	return nh_issue_for_org(&call->ctx, &call->actor, call->org.id, call->org.name, call->params, s->csr, &s->what, &call->errors, err);
}

static nh_rc prepare_service_user(struct sign_call *s, struct nh_err *err)
{
	struct call *call = call_of(s);
	return nh_issue_for_service(&call->ctx, &call->actor, NH_ISSUE_USER, s->csr, &s->what, &call->errors, err);
}

static nh_rc prepare_service_device(struct sign_call *s, struct nh_err *err)
{
	struct call *call = call_of(s);
	return nh_issue_for_service(&call->ctx, &call->actor, NH_ISSUE_DEVICE, s->csr, &s->what, &call->errors, err);
}

static void answer_issued(struct sign_call *s, const struct nh_issued *issued)
{
	struct call *call = call_of(s);
	set_location(call, issued->serial);
	call->data = render_issued(issued, true);
}

/* The successor stands beside the one that asked, not below it. */
static void answer_successor(struct sign_call *s, const struct nh_issued *issued) { call_of(s)->data = render_issued(issued, true); }

static void answer_cert(struct sign_call *s, const struct nh_issued *issued) { call_of(s)->data = json_pack("{s:o}", "cert", render_pem(s->cert)); }

static void answer_service(struct sign_call *s, const struct nh_issued *issued)
{
	struct call *call = call_of(s);
	call->whole = json_pack("{s:o, s:o}", "cert", render_pem(s->cert), "issuer", render_pem(nh_authority_cert(call->ctx.config->authority)));
}

#define CSR {"csr", FIELD_TEXT, .about = "PEM, in base64; at most 16 KiB of PEM"}
static SHAPE(csr_body, "CertificateRequest", CSR);
static SHAPE(user_csr_body, "UserCertificateRequest", CSR, {"current_password", FIELD_TEXT, FIELD_OPTIONAL, .about = "Of an account that has a password"}, {"description", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE});
static SHAPE(password_csr_body, "UserCertificateRequestWithPassword", CSR, {"email", FIELD_TEXT}, {"password", FIELD_TEXT},
             {"otp", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "A code, or a recovery code, where the account has a second factor"}, {"description", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE});
static const char *const words_org_kinds[] = {"device_ca", "server", NULL};
static SHAPE(org_csr_body, "OrganizationCertificateRequest", CSR, {"kind", FIELD_TEXT, .words = words_org_kinds, .about = "server takes an administrator of the server"},
             {"common_name", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "The request's unless it is given"},
             {"names", FIELD_TEXT, FIELD_LIST | FIELD_OPTIONAL | FIELD_NULLABLE, .about = "Of a server: hosts and addresses; the common name unless they are given"},
             {"description", FIELD_TEXT, FIELD_OPTIONAL | FIELD_NULLABLE}, {"valid_days", FIELD_INTEGER, FIELD_OPTIONAL | FIELD_NULLABLE});
static SHAPE(cert_shape, "SignedCertificate", {"cert", FIELD_TEXT, .about = "PEM"});

static const struct answer sign_refusals[] = {{401, .about = "Wrong e-mail address or password"}, NO_AUTHORITY, {429, .about = "Too many attempts"}, {0}};
const struct endpoint ep_own_sign = {.write = true, .success = 201, .body = &user_csr_body, .data = &issued_whole, .also = sign_refusals, .tag = TAG};
const struct endpoint ep_own_renew = {.write = true, .success = 201, .body = &csr_body, .data = &issued_whole, .also = authority_refusals, .tag = TAG};
const struct endpoint ep_user_sign = {.anonymous = true, .write = true, .success = 200, .body = &password_csr_body, .data = &cert_shape, .also = sign_refusals, .tag = TAG};
const struct endpoint ep_org_sign = {.scope = SCOPE_ORG, .may = NH_MAY_ISSUED_CREATE, .write = true, .success = 201, .body = &org_csr_body, .data = &issued_whole, .tag = TAG};
const struct endpoint ep_device_sign = {.scope = SCOPE_DEVICE, .may = NH_MAY_CERTIFICATE_ADD, .write = true, .success = 200, .body = &csr_body, .data = &cert_shape, .tag = "Device Certificates"};
static const struct endpoint service_user = {.write = true, .success = 200, .tag = TAG}, service_device = {.write = true, .success = 200, .tag = TAG};

static const struct signing signings[] = {
	{&ep_own_sign, TOKEN_AND_PASSWORD, false, prepare_user, answer_issued},
	{&ep_own_renew, TOKEN, false, prepare_successor, answer_successor},
	{&ep_user_sign, PASSWORD, false, prepare_user, answer_cert},
	{&ep_org_sign, TOKEN, false, prepare_org, answer_issued},
	{&ep_device_sign, TOKEN, false, prepare_device, answer_cert},
	{&service_user, TOKEN, true, prepare_service_user, answer_service},
	{&service_device, TOKEN, true, prepare_service_device, answer_service},
};

static nh_rc read_step(struct call *call, struct nh_err *err)
{
	struct sign_call *s = (struct sign_call *)call;
	if (!call->ctx.config->authority)
		return no_authority(call, err);
	/* PostgreSQL may run this again. */
	if (!s->csr)
		NH_TRY(nh_csr_read(nh_json_text(call->params, "csr"), &s->csr, &call->errors, err));
	return s->how->prepare(s, err);
}

static nh_rc write_step(struct call *call, struct nh_err *err)
{
	struct sign_call *s = (struct sign_call *)call;
	struct nh_issued issued;
	NH_TRY(s->how->prepare(s, err));
	NH_TRY(nh_issue_record(&call->ctx, &call->actor, call->ctx.config->authority, &s->what, s->cert, &issued, &call->errors, err));
	s->how->answer(s, &issued);
	return NH_OK;
}

static nh_rc sign(struct sign_call *s, struct nh_err *err)
{
	struct call *call = call_of(s);
	const struct nh_user_api_config *config = &call->api->config;
	if (s->how->proof == TOKEN_AND_PASSWORD) {
		NH_TRY(call_transact(call, NULL, false, err));
		NH_TRY(password_again(call, err));
	} else if (s->how->proof == PASSWORD) {
		NH_TRY(login_check(&s->login, err));
		call->user = s->login.login.user;
		call->actor = nh_actor_of_user(&call->user);
	}
	NH_TRY(call_transact(call, read_step, false, err));
	NH_TRY(nh_authority_sign(config->hub->authority, &s->what, s->csr->spki_der, nh_clock_now(config->clock), config->rng, &s->cert, err));
	NH_TRY(call_transact(call, write_step, true, err));
	call_effects(call);
	return NH_OK;
}

void handle_sign(struct nh_request *req, struct nh_response *res)
{
	struct sign_call s = {0};
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(call_of(&s), req, res, req->route->extra))
		return;
	for (size_t i = 0; i < NH_ARRAY_LEN(signings); i++) {
		if (signings[i].endpoint == req->route->extra)
			s.how = &signings[i];
	}
	nh_rc rc = sign(&s, &err);
	bool refused = s.how->service && (rc == NH_EINVAL || rc == NH_EFORMAT || rc == NH_ETOOBIG);
	if (refused)
		call_of(&s)->status = 400;
	if (refused && !json_object_get(call_of(&s)->params, "csr")) {
		nh_response_send(res, 400, "text/plain; charset=utf-8", NH_LIT("Missing parameter: csr"));
		call_leave(call_of(&s));
	} else {
		call_close(call_of(&s), rc, &err);
	}
	nh_csr_free(s.csr);
	nh_cert_free(s.cert);
}

/* ---- the stand-alone CA's service -------------------------------------------------------------------------------------- */

static void handle_service_health(struct nh_request *req, struct nh_response *res)
{
	nh_response_send(res, 200, "text/plain; charset=utf-8", NH_LIT("ok"));
}

#define CSR_BODY_MAX ((uint64_t)64 << 10)

const struct nh_route nh_user_api_service_routes[] = {
	{.method = NH_HTTP_GET, .path = "/health_check", .handle = handle_service_health, .where = NH_ON_LOOP, .summary = "Is the authority there?"},
	{.method = NH_HTTP_POST, .path = "/sign_device_csr", .handle = handle_sign, .body_max = CSR_BODY_MAX, .summary = "Sign a device's request", .extra = &service_device},
	{.method = NH_HTTP_POST, .path = "/sign_user_csr", .handle = handle_sign, .body_max = CSR_BODY_MAX, .summary = "Sign a user's request", .extra = &service_user},
	{.path = NULL},
};

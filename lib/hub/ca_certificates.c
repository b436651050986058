/*
 * Device CAs: registering one takes proof that its key is held, a certificate signed by it that names a token of this server.
 *
 * source: reference/user-api-and-cli "9", "17.4"
 */
#include "base/encode.h"
#include "crypto/hmac.h"
#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/certificates.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/authority.h"
#include "store/foundation.h"

#define URN "urn:nerveshub:verify:"
#define TOKEN_VERSION "1"
#define TOKEN_SKEW_US (60 * NH_US_PER_S) /* nodes' clocks may differ */

/* ---- verification token ------------------------------------------------------------------------------------------------ */

/* The first line keeps this use of the key apart from every other one. */
static void put_mac(struct nh_buf *out, const struct nh_hub_config *config, nh_slice body)
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT;
	uint8_t mac[NH_SHA256_LEN];
	nh_buf_put_str(&message, "nerveshub ca verification\n");
	nh_buf_put_slice(&message, body);
	nh_hmac(NH_SHA256, config->secret_key, nh_buf_slice(&message), mac);
	nh_b64_put(out, nh_slice_of(mac, sizeof(mac)), NH_B64_URL_NOPAD);
}

static nh_rc check_age(int64_t at_us, int64_t now_us, struct nh_err *err)
{
	if (now_us - at_us > NH_VERIFICATION_TTL_S * NH_US_PER_S || at_us - now_us > TOKEN_SKEW_US)
		return NH_FAIL(err, NH_ETIMEOUT, "verification token has expired");
	return NH_OK;
}

nh_rc nh_verification_token(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_buf *out, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_CA_SEE, err));
	NH_AUTO_BUF struct nh_buf body = NH_BUF_INIT;
	nh_buf_printf(&body, TOKEN_VERSION ".%lld.%lld", (long long)org_id, (long long)(nh_ctx_now(ctx) / NH_US_PER_S));
	nh_buf_put_slice(out, nh_buf_slice(&body));
	nh_buf_put_u8(out, '.');
	put_mac(out, ctx->config, nh_buf_slice(&body));
	return NH_OK;
}

nh_rc nh_verification_token_check(const struct nh_hub_config *config, nh_slice token, int64_t org_id, int64_t now_us, struct nh_err *err)
{
	nh_slice version, org, issued, mac, rest;
	int64_t named = 0, at_s = 0;
	if (token.len > 256 || !nh_slice_cut(token, '.', &version, &rest) || !nh_slice_cut(rest, '.', &org, &rest) ||
	    !nh_slice_cut(rest, '.', &issued, &mac) || !nh_slice_eq_str(version, TOKEN_VERSION) || nh_parse_i64(org, 1, INT64_MAX, &named) != NH_OK ||
	    nh_parse_i64(issued, 0, INT64_MAX / NH_US_PER_S, &at_s) != NH_OK)
		return NH_FAIL(err, NH_EAUTH, "verification token is malformed");
	NH_AUTO_BUF struct nh_buf expected = NH_BUF_INIT;
	put_mac(&expected, config, nh_slice_sub(token, 0, token.len - mac.len - 1));
	if (!nh_slice_eq_ct(nh_buf_slice(&expected), mac) || named != org_id)
		return NH_FAIL(err, NH_EAUTH, "verification token is not one of this organization");
	return check_age(at_s * NH_US_PER_S, now_us, err);
}

/* ---- verification code ------------------------------------------------------------------------------------------------- */

/*
 * The other form of the proof: 32 bytes as upper-case hexadecimal digits, which are as long as a common name may be. The first four are the time, the others vouch for it and for
 * the organization, so that nothing has to be kept.
 */
#define CODE_BYTES 32
#define CODE_TIME_BYTES 4

static void put_code(struct nh_buf *out, const struct nh_hub_config *config, int64_t org_id, uint32_t at_s)
{
	NH_AUTO_BUF struct nh_buf message = NH_BUF_INIT, bytes = NH_BUF_INIT;
	uint8_t mac[NH_SHA256_LEN];
	nh_buf_printf(&message, "nerveshub ca verification code\n%lld.%lu", (long long)org_id, (unsigned long)at_s);
	nh_hmac(NH_SHA256, config->secret_key, nh_buf_slice(&message), mac);
	for (unsigned shift = 32; shift > 0; shift -= 8)
		nh_buf_put_u8(&bytes, (uint8_t)(at_s >> (shift - 8)));
	nh_buf_put(&bytes, mac, CODE_BYTES - CODE_TIME_BYTES);
	nh_hex_put_upper(out, nh_buf_slice(&bytes));
}

nh_rc nh_verification_code(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_buf *out, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_CA_SEE, err));
	put_code(out, ctx->config, org_id, (uint32_t)(nh_ctx_now(ctx) / NH_US_PER_S));
	return NH_OK;
}

nh_rc nh_verification_code_check(const struct nh_hub_config *config, nh_slice code, int64_t org_id, int64_t now_us, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_MAX(CODE_BYTES), expected = NH_BUF_INIT;
	if (code.len != 2 * CODE_BYTES || nh_hex_decode(code, &bytes) != NH_OK || bytes.len != CODE_BYTES)
		return NH_FAIL(err, NH_EAUTH, "verification code is malformed");
	uint32_t at_s = 0;
	for (size_t i = 0; i < CODE_TIME_BYTES; i++)
		at_s = at_s << 8 | bytes.ptr[i];
	put_code(&expected, config, org_id, at_s);
	if (!nh_slice_eq_ct(nh_buf_slice(&expected), code))
		return NH_FAIL(err, NH_EAUTH, "verification code is not one of this organization");
	return check_age((int64_t)at_s * NH_US_PER_S, now_us, err);
}

/* ---- registering ------------------------------------------------------------------------------------------------------- */

static nh_rc check_ownership(struct nh_ctx *ctx, int64_t org_id, const struct nh_cert *ca, const struct nh_cert *proof, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	if (proof->san_count == 0) {
		NH_TRY(nh_verification_code_check(ctx->config, proof->common_name, org_id, now, err));
	} else if (proof->san_count == 1 && proof->sans[0].kind == NH_SAN_URI && !proof->san_critical && nh_slice_starts(proof->sans[0].value, NH_LIT(URN))) {
		nh_slice token = nh_slice_skip(proof->sans[0].value, sizeof(URN) - 1);
		NH_TRY(nh_verification_token_check(ctx->config, token, org_id, now, err));
	} else {
		return NH_FAIL(err, NH_EAUTH, "verification certificate needs exactly one alternative name, the URI " URN "TOKEN, not critical; or none, and the code as common name");
	}
	if (proof->not_before_us > now || proof->not_after_us < now)
		return NH_FAIL(err, NH_EAUTH, "verification certificate is expired or not yet valid");
	if (proof->unknown_critical)
		return NH_FAIL(err, NH_EAUTH, "verification certificate has an unknown critical extension");
	return nh_cert_signed_by(proof, ca, err);
}

/* A self-signed certificate may leave its authority key identifier out, since it is its own (RFC 5280 4.2.1.1); openssl does. */
static bool self_issued(const struct nh_cert *cert)
{
	return nh_slice_eq(cert->subject_der, cert->issuer_der);
}

struct jitp {
	bool present;
	int64_t product_id;
	nh_slice tags, description;
};

static nh_rc jitp_product(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const json_t *object, int64_t *out, struct nh_err *err)
{
	struct nh_product product;
	int64_t id = nh_json_int(object, "product_id", 0);
	nh_slice name = nh_json_text(object, "product_name");
	if (id > 0) {
		NH_TRY(nh_product_by_id(ctx, id, &product, err));
		if (product.org_id != org_id)
			return NH_FAIL(err, NH_ENOTFOUND, "no such product");
	} else {
		NH_TRY(nh_product_open(ctx, actor, org_id, name, NH_MAY_CA_CREATE, &product, err));
	}
	*out = product.id;
	return NH_OK;
}

static nh_rc read_jitp(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const json_t *object, struct jitp *out, json_t **errors,
                       struct nh_err *err)
{
	json_t *found = NULL;
	*out = (struct jitp){0};
	if (!object || json_is_null(object))
		return NH_OK;
	if (!json_is_object(object))
		return nh_refuse(errors, err, NH_EINVAL, "jitp", "is invalid");

	nh_slice description = nh_json_text(object, "description");
	if (description.len == 0)
		NH_IGNORE(nh_refuse(&found, err, NH_EINVAL, "description", "can't be blank")); /* collected; answered below */
	else if (!nh_input_text_ok(description, NH_NAME_MAX_BYTES))
		NH_IGNORE(nh_refuse(&found, err, NH_EINVAL, "description", "should be at most %d character(s)", NH_NAME_MAX_BYTES));
	const char *text = "can't be blank";
	const json_t *value = json_object_get(object, "tags");
	NH_AUTO_JSON json_t *tags = value && !json_is_null(value) ? nh_tags_read(value, &text) : NULL;
	if (!tags)
		NH_IGNORE(nh_refuse(&found, err, NH_EINVAL, "tags", "%s", text));
	nh_rc rc = jitp_product(ctx, actor, org_id, object, &out->product_id, err);
	if (rc == NH_ENOTFOUND)
		NH_IGNORE(nh_refuse(&found, err, NH_EINVAL, "product_id", "can't be blank"));
	else if (rc != NH_OK)
		json_decref(found);
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return rc;
	if (found) {
		if (errors)
			*errors = json_pack("{s:o}", "jitp", found);
		else
			json_decref(found);
		return NH_FAIL(err, NH_EINVAL, "jitp is not acceptable");
	}
	NH_AUTO_BUF struct nh_buf json = NH_BUF_INIT;
	nh_json_put(&json, tags);
	out->tags = nh_arena_copy(ctx->arena, nh_buf_slice(&json));
	out->description = nh_arena_copy(ctx->arena, description);
	out->present = true;
	return NH_OK;
}

static nh_rc insert_jitp(struct nh_ctx *ctx, int64_t ca_id, const struct jitp *jitp, struct nh_err *err)
{
	if (!jitp->present)
		return NH_OK;
	return nh_sql_exec(ctx->tx, &nh_q_jitp_insert, NH_PARAMS(nh_p_int(ca_id), nh_p_int(jitp->product_id), nh_p_text(jitp->tags), nh_p_text(jitp->description)), NULL, err);
}

static nh_rc insert(struct nh_ctx *ctx, int64_t org_id, const struct nh_cert *ca, nh_slice description, const struct jitp *jitp, int64_t *id,
                    json_t **errors, struct nh_err *err)
{
	nh_slice sha256 = nh_slice_of(ca->sha256, sizeof(ca->sha256));
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_ca_taken, NH_PARAMS(nh_p_blob(sha256), nh_p_int(org_id), nh_p_text(ca->serial_decimal)), id, err);
	if (rc == NH_ENOTFOUND)
		rc = nh_query_id(ctx->tx, &nh_q_ca_insert,
		                 NH_PARAMS(nh_p_int(org_id), nh_p_text(ca->serial_decimal), nh_p_blob(ca->aki.len ? ca->aki : ca->ski), nh_p_blob(ca->ski),
		                           nh_p_int(ca->not_before_us), nh_p_int(ca->not_after_us), nh_p_blob(ca->der), nh_p_blob(sha256),
		                           description.len ? nh_p_text(description) : nh_p_null(), nh_p_int(nh_ctx_now(ctx))),
		                 id, err);
	else if (rc == NH_OK)
		rc = NH_ECONFLICT;
	if (rc == NH_ECONFLICT)
		return nh_refuse(errors, err, NH_EINVAL, "serial", "has already been taken");
	NH_TRY(rc);
	return insert_jitp(ctx, *id, jitp, err);
}

static nh_rc read_check_expiration(const json_t *fields, bool *out, json_t **errors, struct nh_err *err)
{
	const json_t *value = json_object_get(fields, "check_expiration");
	if (!value)
		return NH_OK;
	return nh_input_bool(value, out) ? NH_OK : nh_refuse(errors, err, NH_EINVAL, "check_expiration", "is invalid");
}

static nh_rc update(struct nh_ctx *ctx, int64_t id, nh_slice description, bool check_expiration, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_ca_update, NH_PARAMS(description.len ? nh_p_text(description) : nh_p_null(), nh_p_bool(check_expiration), nh_p_int(id)), NULL, err);
}

nh_rc nh_ca_certificate_add(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const json_t *fields, struct nh_ca_certificate *out,
                            json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_CA_CREATE, err));
	nh_slice cert = nh_json_text(fields, "cert"), proof = nh_json_text(fields, "verification_cert");
	if (cert.len == 0 || proof.len == 0)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "The CA certificate or verification certificate is missing");
	NH_AUTO_CERT struct nh_cert *ca = NULL;
	NH_AUTO_CERT struct nh_cert *verification = NULL;
	NH_TRY(nh_input_certificate(cert, &ca, errors, err));
	NH_TRY(nh_input_certificate(proof, &verification, errors, err));
	if (ca->aki.len == 0 && !self_issued(ca))
		return nh_refuse(errors, err, NH_EINVAL, "aki", "can't be blank");
	if (ca->ski.len == 0)
		return nh_refuse(errors, err, NH_EINVAL, "ski", "can't be blank");
	if (check_ownership(ctx, org_id, ca, verification, err) != NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "CA Certificate ownership verification failed");

	bool present, check_expiration = false;
	nh_slice description;
	struct jitp jitp;
	int64_t id = 0;
	NH_TRY(read_check_expiration(fields, &check_expiration, errors, err));
	NH_TRY(nh_input_optional_text(ctx->arena, fields, "description", NH_NAME_MAX_BYTES, &present, &description, errors, err));
	NH_TRY(read_jitp(ctx, actor, org_id, json_object_get(fields, "jitp"), &jitp, errors, err));
	NH_TRY(insert(ctx, org_id, ca, description, &jitp, &id, errors, err));
	if (check_expiration)
		NH_TRY(update(ctx, id, description, true, err));
	NH_TRY(nh_audit_add(ctx, actor, org_id, NH_AUDIT_CA, id, err, "%.*s registered CA certificate %.*s", NH_ARG(actor->name),
	                    NH_ARG(ca->serial_decimal)));
	return nh_ca_certificate_open(ctx, actor, org_id, ca->serial_decimal, out, err);
}

/* ---- looking and removing ---------------------------------------------------------------------------------------------- */

static void read_ca(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_ca_certificate *)item = (struct nh_ca_certificate){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.serial = nh_col_text(rows, 2, arena),
		.description = nh_col_text(rows, 3, arena),
		.not_before_us = nh_col_int(rows, 4),
		.not_after_us = nh_col_int(rows, 5),
		.last_used_at_us = nh_col_int(rows, 6),
		.inserted_at_us = nh_col_int(rows, 7),
		.check_expiration = nh_col_bool(rows, 8),
		.has_jitp = !nh_col_null(rows, 9),
		.jitp_product_id = nh_col_int(rows, 9),
		.jitp_product_name = nh_col_text(rows, 10, arena),
		.jitp_tags = nh_col_text(rows, 11, arena),
		.jitp_description = nh_col_text(rows, 12, arena),
	};
}

nh_rc nh_ca_certificate_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_ca_certificate **out, size_t *count,
                             struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_CA_SEE, err));
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_ca_certificate);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_ca_list, NH_PARAMS(nh_p_int(org_id)), read_ca, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_ca_certificate_open(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice serial, struct nh_ca_certificate *out,
                             struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_CA_SEE, err));
	if (!nh_input_text_ok(serial, NH_NAME_MAX_BYTES))
		return NH_FAIL(err, NH_ENOTFOUND, "no such CA certificate");
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_ca_by_serial, NH_PARAMS(nh_p_int(org_id), nh_p_text(serial)), read_ca, out, "CA certificate", err);
}

nh_rc nh_ca_certificate_update(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice serial, const json_t *fields, struct nh_ca_certificate *out,
                               json_t **errors, struct nh_err *err)
{
	struct nh_ca_certificate ca;
	struct jitp jitp = {0};
	bool present;
	nh_slice description;
	NH_TRY(nh_ca_certificate_open(ctx, actor, org_id, serial, &ca, err));
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_CA_UPDATE, err));
	NH_TRY(read_check_expiration(fields, &ca.check_expiration, errors, err));
	NH_TRY(nh_input_optional_text(ctx->arena, fields, "description", NH_NAME_MAX_BYTES, &present, &description, errors, err));
	NH_TRY(update(ctx, ca.id, present ? description : ca.description, ca.check_expiration, err));
	if (json_object_get(fields, "jitp")) {
		NH_TRY(read_jitp(ctx, actor, org_id, json_object_get(fields, "jitp"), &jitp, errors, err));
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_jitp_delete, NH_PARAMS(nh_p_int(ca.id)), NULL, err));
		NH_TRY(insert_jitp(ctx, ca.id, &jitp, err));
	}
	NH_TRY(nh_audit_add(ctx, actor, org_id, NH_AUDIT_CA, ca.id, err, "%.*s changed CA certificate %.*s", NH_ARG(actor->name), NH_ARG(serial)));
	return nh_ca_certificate_open(ctx, actor, org_id, serial, out, err);
}

nh_rc nh_ca_certificate_delete(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice serial, struct nh_err *err)
{
	struct nh_ca_certificate ca;
	NH_TRY(nh_ca_certificate_open(ctx, actor, org_id, serial, &ca, err));
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_CA_DELETE, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_ca_delete, NH_PARAMS(nh_p_int(ca.id)), NULL, err));
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_CA, ca.id, err, "%.*s deleted CA certificate %.*s", NH_ARG(actor->name), NH_ARG(serial));
}

/*
 * Who may have which certificate of the server's authority, and what it says. Subjects are made of what the server knows; of a request only its key is taken, and names where
 * nobody else has a say in them.
 *
 * source: reference/user-api-and-cli "17.6", "19.2", "19.4"
 */
#include <arpa/inet.h>

#include "authority_int.h"
#include "base/encode.h"
#include "hub/accounts.h"
#include "hub/audit.h"
#include "hub/certificates.h"
#include "hub/permissions.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/authority.h"

#define COMMON_NAME_MAX 64 /* characters: X.520's upper bound */
#define NAMES_MAX 50
#define HOST_MAX 253
#define VALID_DAYS_MAX 36500

nh_rc nh_csr_read(nh_slice base64_pem, struct nh_csr **out, json_t **errors, struct nh_err *err)
{
	*out = NULL;
	if (!base64_pem.ptr)
		return nh_refuse(errors, err, NH_EINVAL, "csr", "can't be blank");
	if (base64_pem.len > NH_CSR_MAX / 3 * 4 + 4)
		return NH_FAIL(err, NH_ETOOBIG, "certificate request is over %zu bytes", NH_CSR_MAX);
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_MAX(NH_CSR_MAX);
	struct nh_err why = NH_ERR_INIT;
	if (nh_b64_decode(base64_pem, NH_B64_STD, &pem) != NH_OK || !nh_buf_ok(&pem))
		return NH_FAIL(err, NH_EFORMAT, "certificate request is not base64");
	nh_rc rc = nh_csr_parse_pem(nh_buf_slice(&pem), out, &why);
	if (rc == NH_ENOMEM)
		return NH_FAIL(err, rc, "%s", why.msg);
	if (rc != NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, "csr", "%s", why.msg);
	if ((*out)->strong)
		return NH_OK;
	rc = nh_refuse(errors, err, NH_EINVAL, "csr", "has a key of %u bits and kind %s; expected EC of at least 256, RSA of at least 2048, or Ed25519", (*out)->key_bits, (*out)->key_kind);
	nh_csr_free(*out);
	*out = NULL;
	return rc;
}

nh_rc nh_server_admin(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_err *err)
{
	struct nh_user user;
	if (actor->kind == NH_ACTOR_SYSTEM)
		return NH_OK;
	if (actor->kind != NH_ACTOR_USER)
		return NH_FAIL(err, NH_EPERM, "only an administrator of the server may do that");
	NH_TRY(nh_user_get(ctx, actor->id, &user, err));
	return user.server_admin ? NH_OK : NH_FAIL(err, NH_EPERM, "only an administrator of the server may do that");
}

/* ---- users ------------------------------------------------------------------------------------------------------------- */

static nh_rc user_subject(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_issue *out, json_t **errors, struct nh_err *err)
{
	struct nh_user user;
	int64_t live = 0;
	NH_TRY(nh_user_get(ctx, actor->id, &user, err));
	NH_TRY(nh_query_id(ctx->tx, &nh_q_issued_user_count, NH_PARAMS(nh_p_int(user.id), nh_p_int(nh_ctx_now(ctx))), &live, err));
	if (live >= NH_USER_CERTIFICATES_MAX)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "You have %d certificates that are neither over nor revoked: please revoke some", NH_USER_CERTIFICATES_MAX);
	*out = (struct nh_issue){.kind = NH_ISSUE_USER, .user_id = user.id, .organization = NH_LIT("NervesHub"), .common_name = user.email};
	return NH_OK;
}

nh_rc nh_issue_for_user(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice description, struct nh_issue *out, json_t **errors, struct nh_err *err)
{
	NH_TRY(user_subject(ctx, actor, out, errors, err));
	out->description = nh_input_name(ctx->arena, description);
	if (!nh_input_text_ok(out->description, NH_NAME_MAX_BYTES))
		return nh_refuse(errors, err, NH_EINVAL, "description", "is invalid");
	return NH_OK;
}

nh_rc nh_issue_for_successor(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice sha256, struct nh_issue *out, json_t **errors, struct nh_err *err)
{
	struct nh_issued now;
	NH_TRY(nh_issued_by_sha256(ctx, sha256, &now, err));
	if (actor->kind != NH_ACTOR_USER || now.user_id != actor->id)
		return NH_FAIL(err, NH_ENOTFOUND, "no such certificate");
	NH_TRY(user_subject(ctx, actor, out, errors, err));
	out->description = now.description;
	out->family_id = now.family_id ? now.family_id : now.id;
	return NH_OK;
}

/* ---- devices ----------------------------------------------------------------------------------------------------------- */

nh_rc nh_issue_for_device(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, const struct nh_csr *csr, struct nh_issue *out, json_t **errors,
                          struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_CERTIFICATE_ADD, err));
	if (csr->common_name.len && !nh_slice_eq(csr->common_name, device->identifier))
		return nh_refuse(errors, err, NH_EINVAL, "csr", "has a common name that is not the device's identifier");
	*out = (struct nh_issue){.kind = NH_ISSUE_DEVICE, .org_id = device->org_id, .device_id = device->id, .organization = device->org_name, .common_name = device->identifier};
	return NH_OK;
}

/* ---- organizations ----------------------------------------------------------------------------------------------------- */

static bool host_ok(nh_slice name)
{
	bool dot = true; /* no label is empty, none begins or ends with '-' */
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c == '*' && i == 0);
		bool last = i + 1 == name.len || name.ptr[i + 1] == '.';
		if (!(letter || (c == '-' && !dot && !last) || (c == '.' && !dot && i + 1 < name.len)))
			return false;
		dot = c == '.';
	}
	return name.len > 0 && name.len <= HOST_MAX;
}

static bool read_name(struct nh_arena *arena, nh_slice text, struct nh_san *out)
{
	uint8_t address[16];
	const char *name = nh_arena_str(arena, text);
	if (nh_slice_chr(text, 0) >= 0 || text.len > HOST_MAX)
		return false;
	size_t len = inet_pton(AF_INET, name, address) == 1 ? 4 : inet_pton(AF_INET6, name, address) == 1 ? 16 : 0;
	if (len)
		*out = (struct nh_san){NH_SAN_IP, nh_arena_copy(arena, nh_slice_of(address, len))};
	else
		*out = (struct nh_san){NH_SAN_DNS, nh_arena_copy(arena, text)};
	return len || host_ok(text);
}

static nh_rc read_names(struct nh_ctx *ctx, const json_t *names, struct nh_issue *out, json_t **errors, struct nh_err *err)
{
	size_t count = json_array_size(names);
	if (names && !json_is_null(names) && (!json_is_array(names) || count == 0 || count > NAMES_MAX))
		return nh_refuse(errors, err, NH_EINVAL, "names", "is invalid: expected 1 to %d host names or addresses", NAMES_MAX);
	struct nh_san *sans = nh_arena_array(ctx->arena, count ? count : 1, sizeof(*sans));
	for (size_t i = 0; i < count; i++) {
		const json_t *name = json_array_get(names, i);
		nh_slice text = json_is_string(name) ? nh_slice_of(json_string_value(name), json_string_length(name)) : NH_SLICE_EMPTY;
		if (!read_name(ctx->arena, text, &sans[i]))
			return nh_refuse(errors, err, NH_EINVAL, "names", "is invalid: '%.*s' is no host name and no address", NH_ARG(nh_slice_sub(text, 0, 100)));
	}
	if (count == 0 && !read_name(ctx->arena, out->common_name, &sans[0]))
		return nh_refuse(errors, err, NH_EINVAL, "names", "can't be blank where the common name is no host name");
	out->sans = sans;
	out->san_count = count ? count : 1;
	return NH_OK;
}

static nh_rc read_common(struct nh_ctx *ctx, const json_t *fields, nh_slice fallback, struct nh_issue *out, json_t **errors, struct nh_err *err)
{
	bool present;
	const json_t *days = json_object_get(fields, "valid_days");
	NH_TRY(nh_input_optional_text(ctx->arena, fields, "common_name", NH_NAME_MAX_BYTES, &present, &out->common_name, errors, err));
	if (out->common_name.len == 0)
		out->common_name = nh_arena_copy(ctx->arena, fallback);
	if (!nh_input_name_ok(out->common_name, NH_NAME_MAX_BYTES) || nh_input_characters(out->common_name) > COMMON_NAME_MAX)
		return nh_refuse(errors, err, NH_EINVAL, "common_name", "should be at most %d character(s), none of them '/' or a control character", COMMON_NAME_MAX);
	NH_TRY(nh_input_optional_text(ctx->arena, fields, "description", NH_NAME_MAX_BYTES, &present, &out->description, errors, err));
	if (days && !json_is_null(days)) {
		int64_t n = 0;
		if (!nh_input_integer(days, &n) || n < 1 || n > VALID_DAYS_MAX)
			return nh_refuse(errors, err, NH_EINVAL, "valid_days", "is invalid: expected a number from 1 to %d", VALID_DAYS_MAX);
		out->valid_days = (unsigned)n;
	}
	return NH_OK;
}

nh_rc nh_issue_for_org(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice org_name, const json_t *fields, const struct nh_csr *csr, struct nh_issue *out,
                       json_t **errors, struct nh_err *err)
{
	NH_TRY(nh_may(ctx, actor, org_id, NH_MAY_ISSUED_CREATE, err));
	nh_slice kind = nh_json_text(fields, "kind");
	bool server = nh_slice_eq_str(kind, "server");
	if (!server && !nh_slice_eq_str(kind, "device_ca"))
		return nh_refuse(errors, err, NH_EINVAL, "kind", "is invalid: expected device_ca or server");
	if (server)
		NH_TRY(nh_server_admin(ctx, actor, err));
	*out = (struct nh_issue){.kind = server ? NH_ISSUE_SERVER : NH_ISSUE_DEVICE_CA, .org_id = org_id, .organization = org_name};
	NH_TRY(read_common(ctx, fields, csr->common_name.len ? csr->common_name : org_name, out, errors, err));
	return server ? read_names(ctx, json_object_get(fields, "names"), out, errors, err) : NH_OK;
}

/* ---- the stand-alone CA's service -------------------------------------------------------------------------------------- */

nh_rc nh_issue_for_service(struct nh_ctx *ctx, const struct nh_actor *actor, nh_issue_kind kind, const struct nh_csr *csr, struct nh_issue *out, json_t **errors,
                           struct nh_err *err)
{
	NH_TRY(nh_server_admin(ctx, actor, err));
	*out = (struct nh_issue){.kind = kind, .organization = csr->organization, .common_name = csr->common_name};
	if ((csr->organization.len == 0 && csr->common_name.len == 0) || !nh_input_text_ok(csr->organization, NH_NAME_MAX_BYTES) || !nh_input_text_ok(csr->common_name, NH_NAME_MAX_BYTES))
		return nh_refuse(errors, err, NH_EINVAL, "csr", "has no organization and no common name");
	return NH_OK;
}

/* ---- writing down ------------------------------------------------------------------------------------------------------ */

static nh_rc audit(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_issue *what, const struct nh_cert *cert, struct nh_err *err)
{
	const char *kind = nh_issue_kind_name(what->kind);
	if (what->device_id)
		return nh_audit_add(ctx, actor, what->org_id, NH_AUDIT_DEVICE, what->device_id, err, "%.*s had certificate %.*s issued for device %.*s", NH_ARG(actor->name),
		                    NH_ARG(cert->serial_decimal), NH_ARG(what->common_name));
	if (what->org_id)
		return nh_audit_add(ctx, actor, what->org_id, NH_AUDIT_ORG, what->org_id, err, "%.*s had %s certificate %.*s issued for %.*s", NH_ARG(actor->name), kind,
		                    NH_ARG(cert->serial_decimal), NH_ARG(cert->subject));
	int64_t org_id = 0;
	NH_TRY(nh_query_id(ctx->tx, &nh_q_personal_org, NH_PARAMS(nh_p_int(actor->id)), &org_id, err));
	return nh_audit_add(ctx, actor, org_id, NH_AUDIT_USER, actor->id, err, "%.*s had %s certificate %.*s issued%s for %.*s", NH_ARG(actor->name), kind,
	                    NH_ARG(cert->serial_decimal), what->family_id ? " as a successor" : "", NH_ARG(cert->subject));
}

nh_rc nh_issue_record(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_authority *a, const struct nh_issue *what, const struct nh_cert *cert,
                      struct nh_issued *out, json_t **errors, struct nh_err *err)
{
	int64_t id = 0;
	struct nh_device_certificate pinned;
	nh_slice sha256 = nh_slice_of(cert->sha256, sizeof(cert->sha256));
	if (what->device_id)
		NH_TRY(nh_device_certificate_store(ctx, what->org_id, what->device_id, cert, &pinned, errors, err));
	NH_TRY(nh_query_id(ctx->tx, &nh_q_issued_insert,
	                   NH_PARAMS(nh_p_int(nh_authority_id(a)), nh_p_str(nh_issue_kind_name(what->kind)), nh_p_ref(what->user_id), nh_p_ref(what->org_id), nh_p_ref(what->device_id),
	                             nh_p_ref(what->family_id), nh_p_text(cert->serial_decimal), nh_p_text(cert->subject), what->description.len ? nh_p_text(what->description) : nh_p_null(),
	                             nh_p_int(cert->not_before_us), nh_p_int(cert->not_after_us), nh_p_blob(cert->der), nh_p_blob(sha256), nh_p_int(nh_ctx_now(ctx))),
	                   &id, err));
	NH_TRY(audit(ctx, actor, what, cert, err));
	return nh_issued_by_sha256(ctx, sha256, out, err);
}

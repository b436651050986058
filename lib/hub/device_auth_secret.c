/*
 * Shared secrets (NH1): looking the key up, and which device the signed identifier is. The signature itself: nh1.c. Reasons' names: here, too.
 *
 * source: reference/device-protocol "6.5"; reference/server-behaviour "2.2"
 */
#include "base/encode.h"
#include "base/json.h"
#include "hub/device_auth.h"
#include "hub/devices.h"
#include "hub/overview.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/rollout.h"

#define KEY_MAX 64

const char *nh_auth_reason_name(nh_auth_reason reason)
{
	static const char *const names[NH_AUTH_REASON_COUNT] = {
		[NH_AUTH_ACCEPTED_KNOWN] = "known",
		[NH_AUTH_ACCEPTED_RENEWED] = "renewed",
		[NH_AUTH_ACCEPTED_FIRST] = "first",
		[NH_AUTH_ACCEPTED_CREATED] = "created",
		[NH_AUTH_BAD_CERTIFICATE] = "bad_certificate",
		[NH_AUTH_DEVICE_DELETED] = "device_deleted",
		[NH_AUTH_MISSING_COMMON_NAME] = "missing_common_name",
		[NH_AUTH_MISSING_AKI] = "missing_authority_key_identifier",
		[NH_AUTH_UNKNOWN_CA] = "unknown_ca",
		[NH_AUTH_BAD_SIGNATURE] = "bad_signature",
		[NH_AUTH_CA_EXPIRED] = "ca_expired",
		[NH_AUTH_CERT_EXPIRED] = "cert_expired",
		[NH_AUTH_CERT_NOT_YET_VALID] = "cert_not_yet_valid",
		[NH_AUTH_MISMATCHED_CERT] = "mismatched_cert",
		[NH_AUTH_MISMATCHED_ORG] = "mismatched_org",
		[NH_AUTH_UNEXPECTED_PUBKEY] = "unexpected_pubkey",
		[NH_AUTH_NOT_REGISTERED] = "device_not_registered",
		[NH_AUTH_REGISTRATION_FAILED] = "device_registration_failed",
		[NH_AUTH_SECRETS_DISABLED] = "shared_secrets_disabled",
		[NH_AUTH_BAD_HEADERS] = "bad_headers",
		[NH_AUTH_UNKNOWN_KEY] = "unknown_key",
		[NH_AUTH_BAD_TOKEN] = "bad_token",
		[NH_AUTH_TOKEN_EXPIRED] = "token_expired",
		[NH_AUTH_TOKEN_FROM_FUTURE] = "token_from_future",
		[NH_AUTH_IDENTIFIER_MISMATCH] = "identifier_mismatch",
		[NH_AUTH_IDENTIFIER_TAKEN] = "identifier_taken",
	};
	NH_ASSERT((size_t)reason < NH_ARRAY_LEN(names));
	return names[reason];
}

struct nh_secret_finding {
	struct nh_nh1_headers headers;
	nh_auth_reason reason;     /* accepted so far, or why not */
	bool known_key;
	nh_slice secret;
	int64_t product_id, org_id;
	int64_t device_id;         /* device secret: its device */
	nh_slice device_identifier;
	nh_slice identifier;       /* what the token says, after verify */
};

/* ---- find -------------------------------------------------------------------------------------------------------------------- */

static void read_product_secret(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_secret_finding *f = item;
	f->secret = nh_col_text(rows, 0, arena);
	f->product_id = nh_col_int(rows, 1);
	f->org_id = nh_col_int(rows, 2);
}

static void read_device_secret(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_secret_finding *f = item;
	read_product_secret(rows, arena, item);
	f->device_id = nh_col_int(rows, 3);
	f->device_identifier = nh_col_text(rows, 4, arena);
}

static nh_slice keep(struct nh_arena *arena, nh_slice value)
{
	return value.ptr ? nh_arena_copy(arena, value) : NH_SLICE_EMPTY;
}

nh_rc nh_device_auth_secret_find(struct nh_ctx *ctx, const struct nh_nh1_headers *h, struct nh_secret_finding **out, struct nh_err *err)
{
	struct nh_secret_finding *f = NH_NEW(ctx->arena, struct nh_secret_finding);
	*out = f;
	f->reason = NH_AUTH_ACCEPTED_KNOWN;
	f->headers = (struct nh_nh1_headers){keep(ctx->arena, h->alg), keep(ctx->arena, h->key), keep(ctx->arena, h->time), keep(ctx->arena, h->signature)};
	if (!ctx->config->shared_secrets_enabled)
		f->reason = NH_AUTH_SECRETS_DISABLED;
	else if (!nh_input_text_ok(f->headers.key, KEY_MAX) || f->headers.key.len == 0)
		f->reason = NH_AUTH_BAD_HEADERS;
	if (f->reason != NH_AUTH_ACCEPTED_KNOWN)
		return NH_OK;
	bool product = nh_slice_starts(f->headers.key, NH_LIT("nhp_"));
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, product ? &nh_q_auth_product_secret : &nh_q_auth_device_secret, NH_PARAMS(nh_p_text(f->headers.key)),
	                      product ? read_product_secret : read_device_secret, f, "shared secret", err);
	f->known_key = rc == NH_OK;
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* ---- verify ------------------------------------------------------------------------------------------------------------------- */

void nh_device_auth_secret_verify(struct nh_secret_finding *f, struct nh_arena *arena, int64_t now_us)
{
	if (f->reason != NH_AUTH_ACCEPTED_KNOWN)
		return;
	/* An unknown key costs what a known one does. */
	nh_slice secret = f->known_key ? f->secret : NH_LIT("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
	f->reason = nh_nh1_verify(arena, &f->headers, secret, now_us, &f->identifier);
	if (!f->known_key && f->reason != NH_AUTH_BAD_HEADERS)
		f->reason = NH_AUTH_UNKNOWN_KEY;
	if (f->reason == NH_AUTH_ACCEPTED_KNOWN && f->device_id && !nh_slice_eq(f->identifier, f->device_identifier))
		f->reason = NH_AUTH_IDENTIFIER_MISMATCH;
}

/* ---- record ------------------------------------------------------------------------------------------------------------------- */

static void refuse(struct nh_auth_verdict *out, const struct nh_secret_finding *f, nh_auth_reason reason)
{
	*out = (struct nh_auth_verdict){.reason = reason, .identifier = f->identifier};
}

static void admit(struct nh_auth_verdict *out, const struct nh_secret_finding *f, int64_t device_id, nh_auth_reason reason)
{
	*out = (struct nh_auth_verdict){
		.accepted = true,
		.reason = reason,
		.device_id = device_id,
		.org_id = f->org_id,
		.product_id = f->product_id,
		.identifier = f->identifier,
	};
}

static void read_place(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	int64_t *place = item;
	place[0] = nh_col_int(rows, 0);
	place[1] = nh_col_int(rows, 2);
}

/* Only people can tell which of the two devices is wrong. source: reference/server-behaviour "9.7" */
static nh_rc tell_taken(struct nh_ctx *ctx, const struct nh_secret_finding *f, int64_t device_id, struct nh_err *err)
{
	NH_AUTO_JSON json_t *metadata = json_pack("{s:o}", "identifier", nh_json_new_text(f->identifier));
	return nh_notification_add(ctx, f->product_id, NH_NOTIFY_WARNING, nh_arena_printf(ctx->arena, "duplicate_device_identifier-%lld", (long long)device_id),
	                           NH_LIT("Device identifier is taken"),
	                           nh_slice_str(nh_arena_printf(ctx->arena,
	                                                        "A device that calls itself %.*s came with a shared secret of this product, and was refused: another product of the "
	                                                        "organization has a device of that name.",
	                                                        NH_ARG(f->identifier))),
	                           metadata, err);
}

/* Is the identifier a live device of the secret's product? Without one, *open tells whether it may be created; *taken_by is the device of another product that has it, or 0. */
static nh_rc find_existing(struct nh_ctx *ctx, const struct nh_secret_finding *f, struct nh_auth_verdict *out, bool *open, int64_t *taken_by, struct nh_err *err)
{
	int64_t place[2] = {0}, deleted = 0; /* device, product */
	*open = false;
	*taken_by = 0;
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_auth_device_find, NH_PARAMS(nh_p_int(f->org_id), nh_p_text(f->identifier)), read_place, place,
	                      "device", err);
	if (rc == NH_OK) {
		if (place[1] == f->product_id) {
			admit(out, f, place[0], NH_AUTH_ACCEPTED_KNOWN);
			return NH_OK;
		}
		refuse(out, f, NH_AUTH_IDENTIFIER_TAKEN);
		*taken_by = place[0];
		return NH_OK;
	}
	if (rc != NH_ENOTFOUND)
		return rc;
	rc = nh_query_id(ctx->tx, &nh_q_auth_device_deleted, NH_PARAMS(nh_p_int(f->org_id), nh_p_text(f->identifier)), &deleted, err);
	refuse(out, f, NH_AUTH_DEVICE_DELETED);
	*open = rc == NH_ENOTFOUND;
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* True where nothing needs to be written. */
static bool settled(const struct nh_secret_finding *f, struct nh_auth_verdict *out)
{
	if (f->reason != NH_AUTH_ACCEPTED_KNOWN)
		refuse(out, f, f->reason);
	else if (f->device_id)
		admit(out, f, f->device_id, NH_AUTH_ACCEPTED_KNOWN);
	else
		return false;
	return true;
}

nh_rc nh_device_auth_secret_record(struct nh_ctx *ctx, const struct nh_secret_finding *f, struct nh_auth_verdict *out, struct nh_err *err)
{
	bool open;
	int64_t device_id = 0, taken_by;
	if (settled(f, out))
		return NH_OK;
	NH_TRY(find_existing(ctx, f, out, &open, &taken_by, err));
	if (taken_by)
		return tell_taken(ctx, f, taken_by, err);
	if (!open)
		return NH_OK;
	struct nh_new_device input = {.identifier = f->identifier};
	nh_rc rc = nh_device_provision(ctx, f->org_id, f->product_id, &input, &device_id, err);
	if (rc == NH_OK)
		admit(out, f, device_id, NH_AUTH_ACCEPTED_CREATED);
	else if (rc == NH_EINVAL || rc == NH_ENOTFOUND || rc == NH_ECONFLICT)
		refuse(out, f, NH_AUTH_REGISTRATION_FAILED);
	else
		return rc;
	return NH_OK;
}

/* ---- all steps ---------------------------------------------------------------------------------------------------------------- */

struct steps {
	const struct nh_auth_env *env;
	const struct nh_nh1_headers *headers;
	struct nh_secret_finding *finding;
	struct nh_auth_verdict verdict;
	bool open;
	int64_t taken_by;
};

static struct nh_ctx context(const struct nh_auth_env *env, struct nh_tx *tx, struct nh_effects *effects)
{
	return (struct nh_ctx){.tx = tx, .arena = env->arena, .clock = env->clock, .rng = env->rng, .config = env->config, .effects = effects};
}

static nh_rc find_step(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct steps *s = arg;
	struct nh_ctx ctx = context(s->env, tx, NULL);
	return nh_device_auth_secret_find(&ctx, s->headers, &s->finding, err);
}

static nh_rc look_step(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct steps *s = arg;
	struct nh_ctx ctx = context(s->env, tx, NULL);
	return find_existing(&ctx, s->finding, &s->verdict, &s->open, &s->taken_by, err);
}

static nh_rc record_step(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct steps *s = arg;
	*s->env->effects = (struct nh_effects){0};
	struct nh_ctx ctx = context(s->env, tx, s->env->effects);
	return nh_device_auth_secret_record(&ctx, s->finding, &s->verdict, err);
}

nh_rc nh_device_auth_secret(const struct nh_auth_env *env, const struct nh_nh1_headers *headers, struct nh_auth_verdict *out, struct nh_err *err)
{
	struct steps s = {.env = env, .headers = headers};
	NH_TRY(nh_db_read(env->db, find_step, &s, err));
	nh_device_auth_secret_verify(s.finding, env->arena, nh_clock_now(env->clock));
	if (settled(s.finding, out))
		return NH_OK;
	/* Most connects are of devices that exist: no write for them. */
	NH_TRY(nh_db_read(env->db, look_step, &s, err));
	if (s.open || s.taken_by)
		NH_TRY(nh_db_write(env->db, record_step, &s, err));
	*out = s.verdict;
	return NH_OK;
}

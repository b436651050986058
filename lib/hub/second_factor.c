/*
 * The second factor.
 *
 * source: RFC 6238, RFC 4226 "5.3", "7.2", "7.3"
 */
#include "hub/audit.h"
#include "hub/second_factor.h"

#include "base/encode.h"
#include "crypto/hmac.h"
#include "crypto/secret.h"
#include "hub/mails.h"
#include "input_int.h"
#include "rows_int.h"
#include "seal_int.h"
#include "store/accounts.h"

#define PURPOSE "second factor"
#define SECRET_LEN 20
#define WINDOW 1 /* steps before and after now: clocks differ */
#define FAILURES_MAX 5
#define BLOCK_US (INT64_C(300) * NH_US_PER_S)

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

uint32_t nh_totp(nh_digest_alg alg, nh_slice key, uint64_t step, unsigned digits)
{
	NH_ASSERT(digits >= 6 && digits <= 8);
	uint8_t counter[8], mac[NH_DIGEST_MAX];
	uint32_t modulus = 1;
	for (int i = 0; i < 8; i++)
		counter[i] = (uint8_t)(step >> (56 - 8 * i));
	nh_hmac(alg, key, nh_slice_of(counter, sizeof(counter)), mac);
	const uint8_t *at = mac + (mac[nh_digest_len(alg) - 1] & 0xf);
	uint32_t number = (uint32_t)(at[0] & 0x7f) << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
	for (unsigned i = 0; i < digits; i++)
		modulus *= 10;
	nh_wipe(mac, sizeof(mac));
	return number % modulus;
}

/* ---- rows -------------------------------------------------------------------------------------------------------------- */

struct factor {
	nh_slice sealed;
	bool enabled;
	int64_t step, failures, blocked_until_us, recovery_codes;
};

static void read_factor(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct factor *)item = (struct factor){
		.sealed = nh_col_blob(rows, 0, arena),
		.enabled = !nh_col_null(rows, 1),
		.step = nh_col_int(rows, 2),
		.failures = nh_col_int(rows, 3),
		.blocked_until_us = nh_col_int(rows, 4),
		.recovery_codes = nh_col_int(rows, 5),
	};
}

static nh_rc load(struct nh_ctx *ctx, int64_t user_id, struct factor *out, struct nh_err *err)
{
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_factor_get, NH_PARAMS(nh_p_int(user_id)), read_factor, out, "user", err);
}

static nh_rc load_enabled(struct nh_ctx *ctx, int64_t user_id, struct factor *out, struct nh_err *err)
{
	NH_TRY(load(ctx, user_id, out, err));
	return out->enabled ? NH_OK : NH_FAIL(err, NH_ENOTFOUND, "the account has no second factor");
}

static nh_rc load_begun(struct nh_ctx *ctx, int64_t user_id, struct factor *out, struct nh_err *err)
{
	NH_TRY(load(ctx, user_id, out, err));
	return !out->enabled && out->sealed.len > 0 ? NH_OK : NH_FAIL(err, NH_ENOTFOUND, "no second factor was begun");
}

nh_rc nh_second_factor_state(struct nh_ctx *ctx, int64_t user_id, struct nh_second_factor *out, struct nh_err *err)
{
	struct factor f;
	NH_TRY(load(ctx, user_id, &f, err));
	*out = (struct nh_second_factor){f.enabled, !f.enabled && f.sealed.len > 0, f.recovery_codes};
	return NH_OK;
}

/* ---- codes ------------------------------------------------------------------------------------------------------------- */

/* The digits of what people type: blanks and hyphens between them are theirs. 0: not as many digits as a code has. */
static bool parse_code(nh_slice text, uint32_t *out)
{
	unsigned digits = 0;
	*out = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == ' ' || text.ptr[i] == '-')
			continue;
		if (text.ptr[i] < '0' || text.ptr[i] > '9' || ++digits > NH_SECOND_FACTOR_DIGITS)
			return false;
		*out = *out * 10 + (uint32_t)(text.ptr[i] - '0');
	}
	return digits == NH_SECOND_FACTOR_DIGITS;
}

/* The step whose code it is, newer than the last one taken; 0: none. */
static nh_rc matching_step(struct nh_ctx *ctx, int64_t user_id, const struct factor *f, nh_slice text, int64_t *out, struct nh_err *err)
{
	uint32_t code;
	struct nh_buf key = NH_BUF_INIT;
	*out = 0;
	if (!parse_code(text, &code))
		return NH_OK;
	nh_rc rc = nh_unseal(ctx, PURPOSE, user_id, f->sealed, &key, err);
	int64_t now = nh_ctx_now(ctx) / NH_US_PER_S / NH_SECOND_FACTOR_STEP_S;
	for (int64_t step = now - WINDOW; rc == NH_OK && step <= now + WINDOW; step++) {
		if (nh_totp(NH_SHA1, nh_buf_slice(&key), (uint64_t)step, NH_SECOND_FACTOR_DIGITS) == code && step > f->step)
			*out = step;
	}
	nh_buf_wipe(&key);
	/* A secret that does not open any more is the server's trouble, and no wrong code. */
	return rc == NH_EAUTH ? NH_FAIL(err, NH_EINTERNAL, "the second factor of user %lld cannot be read: was the server's secret key changed?", (long long)user_id) : rc;
}

static void put_base32(struct nh_buf *out, nh_slice bytes)
{
	unsigned bits = 0, value = 0;
	for (size_t i = 0; i < bytes.len; i++) {
		value = value << 8 | bytes.ptr[i];
		for (bits += 8; bits >= 5; bits -= 5)
			nh_buf_put_u8(out, (uint8_t)base32[value >> (bits - 5) & 31]);
		value &= (1u << bits) - 1;
	}
	NH_ASSERT(bits == 0); /* only lengths that need no padding are written here */
}

static void recovery_hmac(const struct nh_ctx *ctx, int64_t user_id, nh_slice letters, uint8_t out[NH_SHA256_LEN])
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_printf(&text, "nerveshub recovery code\n%lld\n%.*s", (long long)user_id, NH_ARG(letters));
	nh_hmac(NH_SHA256, ctx->config->secret_key, nh_buf_slice(&text), out);
}

static nh_rc make_recovery_codes(struct nh_ctx *ctx, int64_t user_id, char codes[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX], struct nh_err *err)
{
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_recovery_delete_all, NH_PARAMS(nh_p_int(user_id)), NULL, err));
	for (size_t i = 0; i < NH_RECOVERY_CODES; i++) {
		uint8_t random[10], mac[NH_SHA256_LEN];
		NH_AUTO_BUF struct nh_buf letters = NH_BUF_INIT;
		nh_rng_fill(ctx->rng, random, sizeof(random));
		put_base32(&letters, nh_slice_of(random, sizeof(random)));
		recovery_hmac(ctx, user_id, nh_buf_slice(&letters), mac);
		size_t at = 0;
		for (size_t k = 0; k < letters.len; k++) {
			if (k > 0 && k % 4 == 0)
				codes[i][at++] = '-';
			codes[i][at++] = (char)letters.ptr[k];
		}
		codes[i][at] = '\0';
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_recovery_insert, NH_PARAMS(nh_p_int(user_id), nh_p_blob(nh_slice_of(mac, sizeof(mac)))), NULL, err));
	}
	return NH_OK;
}

static nh_rc use_recovery_code(struct nh_ctx *ctx, int64_t user_id, nh_slice text, bool *used, struct nh_err *err)
{
	char letters[17];
	size_t len = 0;
	for (size_t i = 0; i < text.len && len < sizeof(letters); i++) {
		uint8_t c = text.ptr[i];
		if (c != ' ' && c != '-')
			letters[len++] = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
	}
	*used = false;
	if (len != 16)
		return NH_OK;
	uint8_t mac[NH_SHA256_LEN];
	int64_t changed = 0;
	recovery_hmac(ctx, user_id, nh_slice_of(letters, len), mac);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_recovery_use, NH_PARAMS(nh_p_int(user_id), nh_p_blob(nh_slice_of(mac, sizeof(mac)))), &changed, err));
	*used = changed > 0;
	return NH_OK;
}

/* ---- on and off -------------------------------------------------------------------------------------------------------- */

nh_rc nh_second_factor_begin(struct nh_ctx *ctx, int64_t user_id, struct nh_err *err)
{
	struct factor f;
	uint8_t random[SECRET_LEN];
	NH_AUTO_BUF struct nh_buf sealed = NH_BUF_INIT;
	NH_TRY(load(ctx, user_id, &f, err));
	if (f.enabled)
		return NH_FAIL(err, NH_ECONFLICT, "The account has a second factor already; switch it off first.");
	nh_rng_fill(ctx->rng, random, sizeof(random));
	nh_rc rc = nh_seal(ctx, PURPOSE, user_id, nh_slice_of(random, sizeof(random)), &sealed, err);
	nh_wipe(random, sizeof(random));
	NH_TRY(rc);
	return nh_sql_exec(ctx->tx, &nh_q_factor_set, NH_PARAMS(nh_p_blob(nh_buf_slice(&sealed)), nh_p_int(user_id)), NULL, err);
}

nh_rc nh_second_factor_secret(struct nh_ctx *ctx, const struct nh_user *user, nh_slice *secret, nh_slice *uri, struct nh_err *err)
{
	struct factor f;
	struct nh_buf key = NH_BUF_INIT, text = NH_BUF_INIT;
	NH_TRY(load_begun(ctx, user->id, &f, err));
	nh_rc rc = nh_unseal(ctx, PURPOSE, user->id, f.sealed, &key, err);
	if (rc == NH_OK) {
		put_base32(&text, nh_buf_slice(&key));
		*secret = nh_arena_copy(ctx->arena, nh_buf_slice(&text));
		nh_buf_wipe(&text);
		nh_buf_put_str(&text, "otpauth://totp/NervesHub:");
		nh_uri_put(&text, user->email);
		nh_buf_printf(&text, "?secret=%.*s&issuer=NervesHub", NH_ARG(*secret));
		*uri = nh_arena_copy(ctx->arena, nh_buf_slice(&text));
	}
	nh_buf_wipe(&key);
	nh_buf_wipe(&text);
	return rc;
}

nh_rc nh_second_factor_confirm(struct nh_ctx *ctx, const struct nh_user *user, nh_slice code, bool *fits, char codes[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX],
                               struct nh_err *err)
{
	struct factor f;
	int64_t step = 0;
	*fits = false;
	NH_TRY(load_begun(ctx, user->id, &f, err));
	NH_TRY(matching_step(ctx, user->id, &f, code, &step, err));
	if (step == 0)
		return NH_OK;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_factor_enable, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(step), nh_p_int(user->id)), NULL, err));
	NH_TRY(make_recovery_codes(ctx, user->id, codes, err));
	*fits = true;
	NH_TRY(nh_audit_account(ctx, user->id, err, "switched their second factor on"));
	return nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_SECOND_FACTOR_ON, .to = user->email, .name = user->name}, err);
}

nh_rc nh_second_factor_recovery(struct nh_ctx *ctx, int64_t user_id, char codes[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX], struct nh_err *err)
{
	struct factor f;
	NH_TRY(load_enabled(ctx, user_id, &f, err));
	NH_TRY(nh_audit_account(ctx, user_id, err, "made new recovery codes"));
	return make_recovery_codes(ctx, user_id, codes, err);
}

nh_rc nh_second_factor_disable(struct nh_ctx *ctx, const struct nh_user *user, struct nh_err *err)
{
	struct factor f;
	NH_TRY(load(ctx, user->id, &f, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_factor_clear, NH_PARAMS(nh_p_int(user->id)), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_recovery_delete_all, NH_PARAMS(nh_p_int(user->id)), NULL, err));
	if (!f.enabled)
		return NH_OK;
	NH_TRY(nh_audit_account(ctx, user->id, err, "switched their second factor off"));
	return nh_mail_queue(ctx, &(struct nh_mail){.kind = NH_MAIL_SECOND_FACTOR_OFF, .to = user->email, .name = user->name}, err);
}

/* ---- at the door ------------------------------------------------------------------------------------------------------- */

nh_rc nh_second_factor_check(struct nh_ctx *ctx, int64_t user_id, nh_slice code, nh_code_answer *out, struct nh_err *err)
{
	struct factor f;
	int64_t step = 0, now = nh_ctx_now(ctx);
	bool recovered = false;
	NH_TRY(load_enabled(ctx, user_id, &f, err));
	*out = NH_CODE_BLOCKED;
	if (f.blocked_until_us > now)
		return NH_OK;
	NH_TRY(matching_step(ctx, user_id, &f, code, &step, err));
	if (step == 0)
		NH_TRY(use_recovery_code(ctx, user_id, code, &recovered, err));
	bool fits = step > 0 || recovered;
	int64_t failures = fits ? 0 : f.failures + 1, changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_factor_note,
	                   NH_PARAMS(nh_p_int(step > 0 ? step : f.step), nh_p_int(failures), failures >= FAILURES_MAX ? nh_p_int(now + BLOCK_US) : nh_p_null(),
	                             nh_p_int(user_id), nh_p_int(f.step), nh_p_int(f.failures)),
	                   &changed, err));
	/* Two at the same time with one code: the second finds that the row has changed. */
	if (changed)
		*out = fits ? NH_CODE_FITS : NH_CODE_WRONG;
	return NH_OK;
}

/*
 * API tokens: their text form, which carries a check sum, and the rows that hold only a digest of them.
 *
 * source: reference/user-api-and-cli "2.2", "2.3"
 */
#include "crypto/digest.h"
#include "crypto/secret.h"
#include "hub/accounts.h"
#include "hub/audit.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/foundation.h"

#define PREFIX "nhu_"
#define RAW_LEN 32
#define BODY_LEN (RAW_LEN + 4)
#define DIGITS_MAX 49
#define TOUCH_INTERVAL_US (60 * NH_US_PER_S) /* last_used is for people: a write for each request would be dear */

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static uint32_t crc32_of(const uint8_t *bytes, size_t len)
{
	uint32_t crc = 0xffffffff;
	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static void put_u32be(uint8_t *out, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(v >> (24 - 8 * i));
}

void nh_token_format(const uint8_t random[32], char out[NH_TOKEN_TEXT_MAX])
{
	NH_ASSERT(random[0] != 0); /* a leading zero byte would be lost in the number */
	uint8_t body[BODY_LEN];
	for (size_t i = 0; i < RAW_LEN; i++)
		body[i] = random[i];
	put_u32be(body + RAW_LEN, crc32_of(random, RAW_LEN));

	/* The body is one big-endian number; digits come out last first. */
	char reversed[DIGITS_MAX];
	size_t count = 0, start = 0;
	while (start < BODY_LEN) {
		unsigned rest = 0;
		for (size_t i = start; i < BODY_LEN; i++) {
			unsigned value = rest * 256 + body[i];
			body[i] = (uint8_t)(value / 62);
			rest = value % 62;
		}
		NH_ASSERT(count < DIGITS_MAX);
		reversed[count++] = digits[rest];
		while (start < BODY_LEN && body[start] == 0)
			start++;
	}
	size_t at = 0;
	for (const char *p = PREFIX; *p; p++)
		out[at++] = *p;
	while (count > 0)
		out[at++] = reversed[--count];
	out[at] = '\0';
	nh_wipe(reversed, sizeof(reversed));
	nh_wipe(body, sizeof(body));
}

static int digit_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 36;
	return -1;
}

nh_rc nh_token_parse(nh_slice text, uint8_t random[32])
{
	nh_slice rest = nh_slice_skip(text, sizeof(PREFIX) - 1);
	if (!nh_slice_starts(text, NH_LIT(PREFIX)) || rest.len == 0 || rest.len > DIGITS_MAX || rest.ptr[0] == '0')
		return NH_EFORMAT;
	uint8_t body[BODY_LEN] = {0};
	for (size_t i = 0; i < rest.len; i++) {
		int value = digit_value(rest.ptr[i]);
		if (value < 0)
			return NH_EFORMAT;
		unsigned carry = (unsigned)value;
		for (size_t j = BODY_LEN; j-- > 0;) {
			carry += body[j] * 62u;
			body[j] = (uint8_t)carry;
			carry >>= 8;
		}
		if (carry)
			return NH_EFORMAT;
	}
	uint8_t crc[4];
	put_u32be(crc, crc32_of(body, RAW_LEN));
	bool good = body[0] != 0 && nh_slice_eq_ct(nh_slice_of(crc, 4), nh_slice_of(body + RAW_LEN, 4));
	for (size_t i = 0; i < RAW_LEN; i++)
		random[i] = good ? body[i] : 0;
	nh_wipe(body, sizeof(body));
	return good ? NH_OK : NH_EFORMAT;
}

nh_rc nh_token_create(struct nh_ctx *ctx, int64_t user_id, const char *context, nh_slice note, char out[NH_TOKEN_TEXT_MAX], struct nh_err *err)
{
	uint8_t random[RAW_LEN], hash[NH_SHA512_LEN];
	do {
		nh_rng_fill(ctx->rng, random, sizeof(random));
	} while (random[0] == 0);
	nh_digest(NH_SHA512, nh_slice_of(random, sizeof(random)), hash);
	nh_token_format(random, out);
	nh_wipe(random, sizeof(random));

	nh_slice name = nh_input_name(ctx->arena, note);
	if (!nh_input_text_ok(name, NH_NAME_MAX_BYTES))
		name = NH_SLICE_EMPTY;
	int64_t id;
	NH_TRY(nh_query_id(ctx->tx, &nh_q_token_insert,
	                   NH_PARAMS(nh_p_int(user_id), nh_p_str(context), nh_p_blob(nh_slice_of(hash, sizeof(hash))),
	                             name.len ? nh_p_text(name) : nh_p_null(), nh_p_int(nh_ctx_now(ctx))),
	                   &id, err));
	return nh_audit_account(ctx, user_id, err, "signed in and got API token %lld (%.*s)", (long long)id, NH_ARG(name));
}

#define OLD_LEN 40
#define OLD_BODY_LEN 30

/* The first generation's form: "nh?_", 30 characters, and their check sum as 6 digits of base 62. Taken over from an older server, rows hold the SHA-512 of the whole text. source: "2.3" */
static bool old_form(nh_slice text)
{
	if (text.len != OLD_LEN || text.ptr[0] != 'n' || text.ptr[1] != 'h' || text.ptr[3] != '_' || digit_value(text.ptr[2]) < 0)
		return false;
	uint64_t sum = 0;
	for (size_t i = 4; i < OLD_LEN; i++) {
		int value = digit_value(text.ptr[i]);
		if (value < 0)
			return false;
		if (i >= 4 + OLD_BODY_LEN)
			sum = sum * 62 + (uint64_t)value;
	}
	return sum == crc32_of(text.ptr + 4, OLD_BODY_LEN);
}

static nh_rc stored_form(nh_slice text, uint8_t hash[NH_SHA512_LEN])
{
	uint8_t random[RAW_LEN];
	if (old_form(text)) {
		nh_digest(NH_SHA512, text, hash);
		return NH_OK;
	}
	nh_rc rc = nh_token_parse(text, random);
	if (rc == NH_OK)
		nh_digest(NH_SHA512, nh_slice_of(random, sizeof(random)), hash);
	nh_wipe(random, sizeof(random));
	return rc;
}

nh_rc nh_user_of_credential(struct nh_ctx *ctx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, const char *unknown, struct nh_user *out, int64_t *touch,
                            struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	nh_rc rc = nh_sql_one(ctx->tx, stmt, params, count, &rows, err);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_EAUTH, "%s", unknown);
	NH_TRY(rc);
	nh_user_read(rows, ctx->arena, out);
	int64_t id = nh_col_int(rows, NH_USER_COLUMNS), last_used = nh_col_int(rows, NH_USER_COLUMNS + 1);
	if (touch)
		*touch = nh_ctx_now(ctx) - last_used > TOUCH_INTERVAL_US ? id : 0;
	nh_sql_end(rows);
	return NH_OK;
}

nh_rc nh_token_user(struct nh_ctx *ctx, nh_slice text, const char *context, struct nh_user *out, int64_t *touch, struct nh_err *err)
{
	uint8_t hash[NH_SHA512_LEN];
	if (stored_form(text, hash) != NH_OK)
		return NH_FAIL(err, NH_EAUTH, "token is malformed");
	return nh_user_of_credential(ctx, &nh_q_token_find, NH_PARAMS(nh_p_str(context), nh_p_blob(nh_slice_of(hash, sizeof(hash)))), "token is unknown", out, touch, err);
}

nh_rc nh_token_touch(struct nh_ctx *ctx, int64_t token_id, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	return nh_sql_exec(ctx->tx, &nh_q_token_touch, NH_PARAMS(nh_p_int(now - now % NH_US_PER_S), nh_p_int(token_id)), NULL, err);
}

nh_rc nh_token_list(struct nh_ctx *ctx, int64_t user_id, struct nh_token **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_token);
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_query(ctx->tx, &nh_q_token_list, NH_PARAMS(nh_p_int(user_id), nh_p_str(NH_TOKEN_API)), &rows, err));
	nh_rc rc;
	while ((rc = nh_sql_next(rows, err)) == NH_OK) {
		struct nh_token *t = nh_list_add(&list);
		t->id = nh_col_int(rows, 0);
		t->note = nh_col_text(rows, 1, ctx->arena);
		t->last_used_at_us = nh_col_int(rows, 2);
		t->inserted_at_us = nh_col_int(rows, 3);
	}
	nh_sql_end(rows);
	*out = list.items;
	*count = list.count;
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

nh_rc nh_token_delete(struct nh_ctx *ctx, int64_t user_id, int64_t token_id, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_token_delete, NH_PARAMS(nh_p_int(user_id), nh_p_int(token_id)), &changed, err));
	return changed ? nh_audit_account(ctx, user_id, err, "revoked API token %lld", (long long)token_id) : NH_FAIL(err, NH_ENOTFOUND, "no such token");
}

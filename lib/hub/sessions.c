/*
 * Sessions of browsers, and the tickets they are made of.
 *
 * source: reference/server-behaviour "9.4"
 */
#include "crypto/digest.h"
#include "crypto/secret.h"
#include "hub/audit.h"
#include "hub/sessions.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/accounts.h"
#include "tickets_int.h"

#define TOUCH_INTERVAL_US (60 * NH_US_PER_S)
#define TRIM_ROWS 500

/* ---- tickets ----------------------------------------------------------------------------------------------------------- */

nh_rc nh_token_sha512(nh_slice text, uint8_t out[64])
{
	uint8_t random[32];
	nh_rc rc = nh_token_parse(text, random);
	if (rc == NH_OK)
		nh_digest(NH_SHA512, nh_slice_of(random, sizeof(random)), out);
	nh_wipe(random, sizeof(random));
	return rc;
}

nh_rc nh_ticket_issue(struct nh_ctx *ctx, const struct nh_ticket_kind *kind, int64_t user_id, nh_slice note, nh_slice address, char out[NH_TOKEN_TEXT_MAX],
                      struct nh_err *err)
{
	uint8_t random[32], hash[NH_SHA512_LEN];
	do {
		nh_rng_fill(ctx->rng, random, sizeof(random));
	} while (random[0] == 0);
	nh_token_format(random, out);
	nh_digest(NH_SHA512, nh_slice_of(random, sizeof(random)), hash);
	nh_wipe(random, sizeof(random));
	if (kind->only)
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_ticket_delete_all, NH_PARAMS(nh_p_int(user_id), nh_p_str(kind->context), nh_p_int(0)), NULL, err));
	int64_t id, now = nh_ctx_now(ctx);
	return nh_query_id(ctx->tx, &nh_q_ticket_insert,
	                   NH_PARAMS(nh_p_int(user_id), nh_p_str(kind->context), nh_p_blob(nh_slice_of(hash, sizeof(hash))), note.len ? nh_p_text(note) : nh_p_null(),
	                             address.len ? nh_p_text(address) : nh_p_null(), nh_p_int(now), nh_p_int(now + kind->ttl_s * NH_US_PER_S)),
	                   &id, err);
}

void nh_ticket_read(const struct nh_rows *rows, int column, struct nh_arena *arena, struct nh_ticket *out)
{
	*out = (struct nh_ticket){
		.id = nh_col_int(rows, column),
		.note = nh_col_text(rows, column + 1, arena),
		.address = nh_col_text(rows, column + 2, arena),
		.inserted_at_us = nh_col_int(rows, column + 3),
		.last_used_at_us = nh_col_int(rows, column + 4),
		.expires_at_us = nh_col_int(rows, column + 5),
	};
}

nh_rc nh_ticket_find(struct nh_ctx *ctx, const char *context, nh_slice text, struct nh_user *user, struct nh_ticket *ticket, struct nh_err *err)
{
	uint8_t hash[NH_SHA512_LEN];
	if (nh_token_sha512(text, hash) != NH_OK)
		return NH_FAIL(err, NH_EAUTH, "token is malformed");
	struct nh_rows *rows = NULL;
	nh_rc rc = nh_sql_one(ctx->tx, &nh_q_ticket_find,
	                      NH_PARAMS(nh_p_str(context), nh_p_blob(nh_slice_of(hash, sizeof(hash))), nh_p_int(nh_ctx_now(ctx))), &rows, err);
	if (rc == NH_ENOTFOUND)
		return NH_FAIL(err, NH_EAUTH, "token is unknown or has ended");
	NH_TRY(rc);
	nh_user_read(rows, ctx->arena, user);
	if (ticket)
		nh_ticket_read(rows, NH_USER_COLUMNS, ctx->arena, ticket);
	nh_sql_end(rows);
	return NH_OK;
}

nh_rc nh_tickets_trim(struct nh_ctx *ctx, int64_t *deleted, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_ticket_expire, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(TRIM_ROWS)), deleted, err);
}

/* ---- sessions ---------------------------------------------------------------------------------------------------------- */

/* What a browser says of itself, fit to be shown: valid text without control characters. */
static nh_slice plain(struct nh_arena *arena, nh_slice text, size_t max_bytes)
{
	if (!nh_utf8_valid(text))
		return NH_SLICE_EMPTY;
	text = nh_text_cut(arena, text, max_bytes);
	uint8_t *out = nh_arena_alloc(arena, text.len + 1);
	size_t len = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] >= 0x20 && text.ptr[i] != 0x7f)
			out[len++] = text.ptr[i];
	}
	return nh_slice_of(out, len);
}

nh_rc nh_user_session_create(struct nh_ctx *ctx, int64_t user_id, const struct nh_user_session_origin *origin, char out[NH_TOKEN_TEXT_MAX], struct nh_err *err)
{
	const struct nh_ticket_kind kind = {NH_TOKEN_SESSION, origin->lasting ? NH_SESSION_LASTING_S : NH_SESSION_BRIEF_S, false};
	nh_slice address = plain(ctx->arena, origin->address, 64);
	NH_TRY(nh_audit_account(ctx, user_id, err, "signed in with a browser from %.*s", NH_ARG(address)));
	return nh_ticket_issue(ctx, &kind, user_id, plain(ctx->arena, origin->agent, NH_NAME_MAX_BYTES), address, out, err);
}

static struct nh_user_session session_of(const struct nh_ticket *t)
{
	return (struct nh_user_session){t->id, t->note, t->address, t->inserted_at_us, t->last_used_at_us, t->expires_at_us};
}

nh_rc nh_user_session_find(struct nh_ctx *ctx, nh_slice token, struct nh_user *out, struct nh_user_session *session, int64_t *touch, struct nh_err *err)
{
	struct nh_ticket ticket;
	NH_TRY(nh_ticket_find(ctx, NH_TOKEN_SESSION, token, out, &ticket, err));
	if (session)
		*session = session_of(&ticket);
	if (touch)
		*touch = nh_ctx_now(ctx) - ticket.last_used_at_us > TOUCH_INTERVAL_US ? ticket.id : 0;
	return NH_OK;
}

nh_rc nh_user_session_touch(struct nh_ctx *ctx, int64_t session_id, struct nh_err *err)
{
	return nh_sql_exec(ctx->tx, &nh_q_ticket_touch, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(session_id)), NULL, err);
}

nh_rc nh_user_session_end(struct nh_ctx *ctx, nh_slice token, struct nh_err *err)
{
	uint8_t hash[NH_SHA512_LEN];
	if (nh_token_sha512(token, hash) != NH_OK)
		return NH_OK;
	return nh_sql_exec(ctx->tx, &nh_q_ticket_delete_hash, NH_PARAMS(nh_p_str(NH_TOKEN_SESSION), nh_p_blob(nh_slice_of(hash, sizeof(hash)))), NULL, err);
}

static void read_session(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_ticket ticket;
	nh_ticket_read(rows, 0, arena, &ticket);
	*(struct nh_user_session *)item = session_of(&ticket);
}

nh_rc nh_user_session_list(struct nh_ctx *ctx, int64_t user_id, struct nh_user_session **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_user_session);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_ticket_list, NH_PARAMS(nh_p_int(user_id), nh_p_str(NH_TOKEN_SESSION), nh_p_int(nh_ctx_now(ctx))), read_session,
	                    err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_user_session_revoke(struct nh_ctx *ctx, int64_t user_id, int64_t session_id, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_ticket_delete, NH_PARAMS(nh_p_int(user_id), nh_p_str(NH_TOKEN_SESSION), nh_p_int(session_id)), &changed, err));
	return changed ? nh_audit_account(ctx, user_id, err, "ended a session") : NH_FAIL(err, NH_ENOTFOUND, "no such session");
}

nh_rc nh_user_session_revoke_others(struct nh_ctx *ctx, int64_t user_id, int64_t keep_id, struct nh_err *err)
{
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_ticket_delete_all, NH_PARAMS(nh_p_int(user_id), nh_p_str(NH_TOKEN_SESSION), nh_p_int(keep_id)), NULL, err));
	return nh_audit_account(ctx, user_id, err, keep_id ? "ended all other sessions" : "ended all sessions");
}

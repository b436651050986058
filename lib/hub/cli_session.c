/*
 * Sign-in of a command line that a person confirms in the browser. The API token is made when the command line fetches it, so none is ever stored
 * in clear; it is delivered once.
 *
 * source: reference/user-api-and-cli "2.5"
 */
#include "base/uuid.h"
#include "hub/accounts.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/foundation.h"

struct row {
	nh_slice note;
	int64_t code, user_id;
};

static void read_row(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct row *)item = (struct row){.note = nh_col_text(rows, 0, arena), .code = nh_col_int(rows, 1), .user_id = nh_col_int(rows, 2)};
}

static nh_rc find(struct nh_ctx *ctx, nh_slice token, struct row *out, struct nh_err *err)
{
	struct nh_uuid uuid;
	if (nh_uuid_parse(token, &uuid) != NH_OK)
		return NH_FAIL(err, NH_ENOTFOUND, "no such session");
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_cli_get, NH_PARAMS(nh_p_text(token), nh_p_int(nh_ctx_now(ctx))), read_row, out, "session", err);
}

nh_rc nh_cli_session_create(struct nh_ctx *ctx, nh_slice note, struct nh_cli_session *out, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	struct nh_uuid uuid;
	char text[NH_UUID_TEXT_LEN + 1];
	nh_uuid_v4(&uuid, ctx->rng);
	nh_uuid_format(&uuid, text);
	nh_slice name = nh_input_name(ctx->arena, note);
	if (!nh_input_text_ok(name, NH_NAME_MAX_BYTES))
		name = NH_SLICE_EMPTY;
	*out = (struct nh_cli_session){
		.token = nh_arena_copy(ctx->arena, nh_slice_str(text)),
		.note = name,
		.confirmation_code = 100000 + (int64_t)nh_rng_below(ctx->rng, 900000),
	};
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_cli_expire, NH_PARAMS(nh_p_int(now)), NULL, err));
	return nh_sql_exec(ctx->tx, &nh_q_cli_insert,
	                   NH_PARAMS(nh_p_text(out->token), name.len ? nh_p_text(name) : nh_p_null(), nh_p_int(out->confirmation_code),
	                             nh_p_int(now + NH_CLI_SESSION_TTL_S * NH_US_PER_S)),
	                   NULL, err);
}

nh_rc nh_cli_session_get(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice token, struct nh_cli_session *out, struct nh_err *err)
{
	struct row row;
	NH_TRY(find(ctx, token, &row, err));
	if (actor->kind != NH_ACTOR_USER || (row.user_id && row.user_id != actor->id))
		return NH_FAIL(err, NH_ENOTFOUND, "no such session");
	*out = (struct nh_cli_session){
		.token = nh_arena_copy(ctx->arena, token),
		.note = row.note,
		.confirmation_code = row.code,
		.confirmed = row.user_id != 0,
	};
	return NH_OK;
}

nh_rc nh_cli_session_confirm(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice token, struct nh_err *err)
{
	struct nh_cli_session session;
	NH_TRY(nh_cli_session_get(ctx, actor, token, &session, err));
	return nh_sql_exec(ctx->tx, &nh_q_cli_confirm, NH_PARAMS(nh_p_int(actor->id), nh_p_text(token)), NULL, err);
}

nh_rc nh_cli_session_poll(struct nh_ctx *ctx, nh_slice token, bool *ready, char token_text[NH_TOKEN_TEXT_MAX], struct nh_err *err)
{
	struct row row;
	int64_t changed = 0;
	*ready = false;
	NH_TRY(find(ctx, token, &row, err));
	if (!row.user_id)
		return NH_OK;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_cli_deliver, NH_PARAMS(nh_p_text(token)), &changed, err));
	if (!changed)
		return NH_FAIL(err, NH_ENOTFOUND, "no such session");
	NH_TRY(nh_token_create(ctx, row.user_id, NH_TOKEN_API, row.note, token_text, err));
	*ready = true;
	return NH_OK;
}

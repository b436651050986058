/*
 * The queue of mails.
 *
 * source: reference/server-behaviour "9.6"
 */
#include "hub/mails.h"

#include "base/encode.h"
#include "crypto/secret.h"
#include "input_int.h"
#include "rows_int.h"
#include "seal_int.h"
#include "store/accounts.h"

#define PURPOSE "mail"
#define MAIL_MAX ((size_t)64 << 10)
#define PAUSE_MAX_US (INT64_C(3600) * NH_US_PER_S)
#define GIVE_UP_US (INT64_C(86400) * NH_US_PER_S)

static const char *const names[NH_MAIL_KIND_COUNT] = {
	[NH_MAIL_CONFIRM] = "confirm",
	[NH_MAIL_WELCOME] = "welcome",
	[NH_MAIL_RESET] = "reset",
	[NH_MAIL_PASSWORD_RESET] = "password_reset",
	[NH_MAIL_PASSWORD_CHANGED] = "password_changed",
	[NH_MAIL_INVITATION] = "invitation",
	[NH_MAIL_SOMEONE_INVITED] = "someone_invited",
	[NH_MAIL_MEMBER_ADDED] = "member_added",
	[NH_MAIL_YOU_WERE_ADDED] = "you_were_added",
	[NH_MAIL_MEMBER_REMOVED] = "member_removed",
	[NH_MAIL_MEMBER_LEFT] = "member_left",
	[NH_MAIL_ADDRESS_CHANGED] = "address_changed",
	[NH_MAIL_SECOND_FACTOR_ON] = "second_factor_on",
	[NH_MAIL_SECOND_FACTOR_OFF] = "second_factor_off",
	[NH_MAIL_ACCOUNT_DELETED] = "account_deleted",
	[NH_MAIL_WEBHOOK_DISABLED] = "webhook_disabled",
};

const char *nh_mail_kind_name(nh_mail_kind kind) { return names[kind]; }

/* The members of a mail as its JSON has them. */
static const struct {
	const char *key;
	size_t offset;
} members[] = {
	{"to", offsetof(struct nh_mail, to)},   {"name", offsetof(struct nh_mail, name)},       {"org", offsetof(struct nh_mail, org)},
	{"who", offsetof(struct nh_mail, who)}, {"address", offsetof(struct nh_mail, address)}, {"link", offsetof(struct nh_mail, link)},
};

nh_rc nh_mail_queue(struct nh_ctx *ctx, const struct nh_mail *mail, struct nh_err *err)
{
	if (!ctx->config->mails)
		return NH_OK;
	NH_AUTO_JSON json_t *object = json_object();
	for (size_t i = 0; i < NH_ARRAY_LEN(members); i++) {
		nh_slice value = *(const nh_slice *)((const char *)mail + members[i].offset);
		if (value.len > 0)
			json_object_set_new(object, members[i].key, nh_json_new_text(value));
	}
	int64_t id = 0, now = nh_ctx_now(ctx);
	struct nh_buf text = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf sealed = NH_BUF_INIT;
	nh_json_put(&text, object);
	nh_rc rc = nh_seal(ctx, PURPOSE, 0, nh_buf_slice(&text), &sealed, err);
	nh_buf_wipe(&text);
	NH_TRY(rc);
	NH_TRY(nh_query_id(ctx->tx, &nh_q_mail_insert, NH_PARAMS(nh_p_str(names[mail->kind]), nh_p_blob(nh_buf_slice(&sealed)), nh_p_int(now)), &id, err));
	if (ctx->effects)
		nh_effect_add(ctx, NH_EFFECT_MAIL, id, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	return NH_OK;
}

nh_slice nh_mail_link(const struct nh_ctx *ctx, const char *path, nh_slice token)
{
	const char *url = ctx->config->web_url ? ctx->config->web_url : "";
	return nh_slice_str(nh_arena_printf(ctx->arena, "%s%s%.*s", url, path, NH_ARG(token)));
}

/* ---- to admins ------------------------------------------------------------------------------------------------------------ */

struct addressee {
	nh_slice name, email;
};

static void read_addressee(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct addressee *)item = (struct addressee){nh_col_text(rows, 0, arena), nh_col_text(rows, 1, arena)};
}

nh_rc nh_mail_queue_admins(struct nh_ctx *ctx, int64_t org_id, int64_t except, const struct nh_mail *mail, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct addressee);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_org_admins, NH_PARAMS(nh_p_int(org_id), nh_p_int(except)), read_addressee, err));
	const struct addressee *to = list.items;
	for (size_t i = 0; i < list.count; i++) {
		struct nh_mail one = *mail;
		one.to = to[i].email;
		one.name = to[i].name;
		NH_TRY(nh_mail_queue(ctx, &one, err));
	}
	return NH_OK;
}

/* ---- the sender's side -------------------------------------------------------------------------------------------------- */

struct row {
	int64_t id, attempts, inserted_at_us, due_at_us;
	nh_slice kind, sealed;
};

static void read_row(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct row *)item = (struct row){
		.id = nh_col_int(rows, 0),
		.kind = nh_col_text(rows, 1, arena),
		.sealed = nh_col_blob(rows, 2, arena),
		.attempts = nh_col_int(rows, 3),
		.inserted_at_us = nh_col_int(rows, 4),
		.due_at_us = nh_col_int(rows, 5),
	};
}

/* NH_EAUTH, NH_EFORMAT: not a mail that this server wrote. */
static nh_rc open_mail(struct nh_ctx *ctx, const struct row *row, struct nh_mail *out, struct nh_err *err)
{
	struct nh_buf text = NH_BUF_INIT;
	NH_AUTO_JSON json_t *object = NULL;
	size_t kind = 0;
	while (kind < NH_MAIL_KIND_COUNT && !nh_slice_eq_str(row->kind, names[kind]))
		kind++;
	if (kind == NH_MAIL_KIND_COUNT)
		return NH_FAIL(err, NH_EFORMAT, "a mail of an unknown kind");
	nh_rc rc = nh_unseal(ctx, PURPOSE, 0, row->sealed, &text, err);
	if (rc == NH_OK)
		rc = nh_json_parse(nh_buf_slice(&text), MAIL_MAX, &object, err);
	nh_buf_wipe(&text);
	NH_TRY(rc);
	*out = (struct nh_mail){.kind = (nh_mail_kind)kind};
	for (size_t i = 0; i < NH_ARRAY_LEN(members); i++)
		*(nh_slice *)((char *)out + members[i].offset) = nh_arena_copy(ctx->arena, nh_json_text(object, members[i].key));
	return NH_OK;
}

nh_rc nh_mail_claim(struct nh_ctx *ctx, int64_t lease_us, struct nh_queued_mail *out, int64_t *next_due_us, bool *broken, struct nh_err *err)
{
	struct row row;
	int64_t now = nh_ctx_now(ctx);
	*next_due_us = 0;
	*broken = false;
	NH_TRY(nh_one_row(ctx->tx, ctx->arena, &nh_q_mail_first, NH_NO_PARAMS, read_row, &row, "mail", err));
	if (row.due_at_us > now) {
		*next_due_us = row.due_at_us;
		return NH_FAIL(err, NH_ENOTFOUND, "no mail is due");
	}
	nh_rc rc = open_mail(ctx, &row, &out->mail, err);
	if (rc == NH_EAUTH || rc == NH_EFORMAT) {
		*broken = true;
		return nh_mail_done(ctx, row.id, err);
	}
	NH_TRY(rc);
	out->id = row.id;
	out->attempts = row.attempts + 1;
	out->inserted_at_us = row.inserted_at_us;
	int64_t changed = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_mail_claim, NH_PARAMS(nh_p_int(out->attempts), nh_p_int(now + lease_us), nh_p_int(row.id), nh_p_int(row.due_at_us)), &changed,
	                   err));
	*next_due_us = now;
	return changed ? NH_OK : NH_FAIL(err, NH_ENOTFOUND, "another server has claimed it");
}

nh_rc nh_mail_done(struct nh_ctx *ctx, int64_t id, struct nh_err *err) { return nh_sql_exec(ctx->tx, &nh_q_mail_delete, NH_PARAMS(nh_p_int(id)), NULL, err); }

nh_rc nh_mail_failed(struct nh_ctx *ctx, const struct nh_queued_mail *mail, int64_t pause_us, bool for_good, bool *given_up, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	*given_up = for_good || now - mail->inserted_at_us > GIVE_UP_US;
	if (*given_up)
		return nh_mail_done(ctx, mail->id, err);
	for (int64_t i = 1; i < mail->attempts && pause_us < PAUSE_MAX_US; i++)
		pause_us *= 2;
	if (pause_us > PAUSE_MAX_US)
		pause_us = PAUSE_MAX_US;
	return nh_sql_exec(ctx->tx, &nh_q_mail_move, NH_PARAMS(nh_p_int(mail->attempts), nh_p_int(now + pause_us), nh_p_int(mail->id)), NULL, err);
}

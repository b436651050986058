/*
 * Sealing, anchoring and cutting of audit logs (hub/audit_chain.h). Each begins by holding the row of the organization's chain, so that one server does it at a time, and by asking whether the head in it
 * is what we signed: a server that signs on from a head that somebody else has put there would vouch for it.
 *
 * source: issue 8
 */
#include "audit_chain_int.h"
#include "audit_int.h"
#include "base/encode.h"
#include "hub/events.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/audit.h"

#define CHAIN_ID_BYTES (NH_CHAIN_ID_LEN / 2)

/* ---- rows ---------------------------------------------------------------------------------------------------------------- */

static void copy(uint8_t *out, size_t len, nh_slice bytes)
{
	for (size_t i = 0; i < len; i++)
		out[i] = i < bytes.len ? bytes.ptr[i] : 0;
}

static void copy_chain(char out[NH_CHAIN_ID_LEN + 1], nh_slice text)
{
	for (size_t i = 0; i <= NH_CHAIN_ID_LEN; i++)
		out[i] = i < text.len && i < NH_CHAIN_ID_LEN ? (char)text.ptr[i] : 0;
}

/* Columns from `first` on: from, seq, hash, previous, at, public key, signature. */
static void read_claims(const struct nh_rows *rows, int first, struct nh_arena *arena, struct nh_chain_statement *s)
{
	s->from = nh_col_int(rows, first);
	s->seq = nh_col_int(rows, first + 1);
	copy(s->hash, sizeof(s->hash), nh_col_blob(rows, first + 2, arena));
	copy(s->previous, sizeof(s->previous), nh_col_blob(rows, first + 3, arena));
	s->at_us = nh_col_int(rows, first + 4);
	copy(s->key, sizeof(s->key), nh_col_blob(rows, first + 5, arena));
	copy(s->signature, sizeof(s->signature), nh_col_blob(rows, first + 6, arena));
}

struct chain {
	struct nh_chain_beginning beginning;
	struct nh_chain_statement head;
	int64_t unanchored_at_us; /* 0: none */
};

static void read_chain(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct chain *c = item;
	*c = (struct chain){.head.kind = NH_CHAIN_HEAD};
	copy_chain(c->beginning.chain, nh_col_text(rows, 0, arena));
	copy_chain(c->head.chain, nh_col_text(rows, 0, arena));
	c->beginning.first = nh_col_int(rows, 1);
	read_claims(rows, 2, arena, &c->head);
	c->unanchored_at_us = nh_col_int(rows, 9);
}

static nh_rc get_chain(struct nh_ctx *ctx, int64_t org_id, struct chain *out, struct nh_err *err)
{
	NH_TRY(nh_one_row(ctx->tx, ctx->arena, &nh_q_audit_chain_get, NH_PARAMS(nh_p_int(org_id)), read_chain, out, "chain of the audit log", err));
	out->beginning.org_id = out->head.org_id = org_id;
	return NH_OK;
}

static struct nh_param blob(const uint8_t *bytes, size_t len) { return nh_p_blob(nh_slice_of(bytes, len)); }

/* The head as it is now: signed and written. */
static nh_rc put_head(struct nh_ctx *ctx, const struct nh_audit_signer *signer, struct chain *c, struct nh_err *err)
{
	struct nh_chain_statement *h = &c->head;
	h->at_us = nh_ctx_now(ctx);
	nh_chain_sign(h, signer->secret_key);
	return nh_sql_exec(ctx->tx, &nh_q_audit_chain_update,
	                   NH_PARAMS(nh_p_int(h->from), nh_p_int(h->seq), blob(h->hash, sizeof(h->hash)), blob(h->previous, sizeof(h->previous)), nh_p_int(h->at_us), blob(h->key, sizeof(h->key)),
	                             blob(h->signature, sizeof(h->signature)), nh_p_ref(c->unanchored_at_us), nh_p_int(h->org_id)),
	                   NULL, err);
}

/* Entries that an older chain has sealed (its row was removed) are before this one's beginning. */
static nh_rc begin_chain(struct nh_ctx *ctx, const struct nh_audit_signer *signer, int64_t org_id, struct nh_err *err)
{
	struct nh_chain_statement h = {.kind = NH_CHAIN_HEAD, .org_id = org_id, .at_us = nh_ctx_now(ctx)};
	uint8_t random[CHAIN_ID_BYTES];
	NH_AUTO_BUF struct nh_buf digits = NH_BUF_INIT;
	nh_rng_fill(ctx->rng, random, sizeof(random));
	nh_hex_put(&digits, nh_slice_of(random, sizeof(random)));
	copy_chain(h.chain, nh_buf_slice(&digits));
	NH_TRY(nh_query_id(ctx->tx, &nh_q_audit_last_seq, NH_PARAMS(nh_p_int(org_id)), &h.seq, err));
	h.from = h.seq;
	struct nh_chain_beginning beginning = {.org_id = org_id, .first = h.seq};
	copy_chain(beginning.chain, nh_buf_slice(&digits));
	nh_chain_begin(&beginning, h.hash);
	copy(h.previous, sizeof(h.previous), nh_slice_of(h.hash, sizeof(h.hash)));
	nh_chain_sign(&h, signer->secret_key);
	nh_rc rc = nh_sql_exec(ctx->tx, &nh_q_audit_chain_insert,
	                       NH_PARAMS(nh_p_int(org_id), nh_p_str(h.chain), nh_p_int(h.seq), nh_p_int(h.seq), nh_p_int(h.seq), blob(h.hash, sizeof(h.hash)),
	                                 blob(h.previous, sizeof(h.previous)), nh_p_int(h.at_us), blob(h.key, sizeof(h.key)), blob(h.signature, sizeof(h.signature))),
	                       NULL, err);
	return rc == NH_ECONFLICT ? NH_OK : rc; /* another server was faster: its row is as good */
}

/* Holds the chain until the end of the transaction. NH_ENOTFOUND: there is none, and begin does not want one. */
static nh_rc hold_chain(struct nh_ctx *ctx, const struct nh_audit_signer *signer, int64_t org_id, bool begin, struct chain *out, struct nh_err *err)
{
	int64_t held = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_audit_chain_lock, NH_PARAMS(nh_p_int(org_id)), &held, err));
	if (held == 0 && begin) {
		NH_TRY(begin_chain(ctx, signer, org_id, err));
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_audit_chain_lock, NH_PARAMS(nh_p_int(org_id)), NULL, err));
	}
	NH_TRY(get_chain(ctx, org_id, out, err));
	if (!nh_audit_signer_vouches(signer, &out->head))
		return NH_FAIL(err, NH_EAUTH, "the head of the audit log of organization %lld is not what this server signed: its row in audit_chains was changed. Restore it from a backup", (long long)org_id);
	return NH_OK;
}

/* ---- sealing ------------------------------------------------------------------------------------------------------------- */

nh_rc nh_audit_unsealed_org(struct nh_ctx *ctx, int64_t after_id, int64_t *org_id, struct nh_err *err)
{
	return nh_query_id(ctx->tx, &nh_q_audit_unsealed_org, NH_PARAMS(nh_p_int(after_id)), org_id, err);
}

json_t *nh_audit_sealed_json(int64_t org_id, const struct nh_audit_entry *e, int64_t seq)
{
	NH_AUTO_BUF struct nh_buf at = NH_BUF_INIT;
	nh_time_put_iso_us(&at, e->at_us);
	return json_pack("{s:I, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:s, s:I}", "actor_id", (json_int_t)e->actor_id, "actor_kind", nh_audit_actor_name(e->actor_kind), "actor_name",
	                 nh_json_new_text(e->actor_name), "at", nh_json_new_text(nh_buf_slice(&at)), "description", nh_json_new_text(e->description), "id", (json_int_t)e->id, "org",
	                 (json_int_t)org_id, "resource_id", (json_int_t)e->resource_id, "resource_kind", nh_audit_resource_name(e->kind), "seq", (json_int_t)seq);
}

nh_rc nh_audit_seal(struct nh_ctx *ctx, int64_t org_id, size_t *sealed, struct nh_err *err)
{
	NH_AUTO_SIGNER struct nh_audit_signer signer = {0};
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct chain c;
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_audit_entry);
	*sealed = 0;
	NH_TRY(nh_audit_signer_open(ctx, &signer, err));
	NH_TRY(hold_chain(ctx, &signer, org_id, true, &c, err));
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_audit_unsealed, NH_PARAMS(nh_p_int(org_id), nh_p_int((int64_t)NH_AUDIT_SEAL_MAX)), nh_audit_entry_read, err));
	const struct nh_audit_entry *entries = list.items;
	for (size_t i = 0; i < list.count; i++) {
		NH_AUTO_JSON json_t *entry = nh_audit_sealed_json(org_id, &entries[i], ++c.head.seq);
		NH_TRY(nh_chain_step(c.head.hash, entry, &text, err));
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_audit_seal, NH_PARAMS(nh_p_int(c.head.seq), blob(c.head.hash, sizeof(c.head.hash)), nh_p_int(entries[i].id)), NULL, err));
	}
	if (list.count == 0)
		return NH_OK;
	*sealed = list.count;
	if (!c.unanchored_at_us)
		c.unanchored_at_us = nh_ctx_now(ctx);
	return put_head(ctx, &signer, &c, err);
}

/* ---- anchors ------------------------------------------------------------------------------------------------------------- */

nh_rc nh_audit_unanchored_org(struct nh_ctx *ctx, int64_t before_us, int64_t *org_id, struct nh_err *err)
{
	return nh_query_id(ctx->tx, &nh_q_audit_chain_due, NH_PARAMS(nh_p_int(before_us)), org_id, err);
}

nh_rc nh_audit_anchor(struct nh_ctx *ctx, int64_t org_id, struct nh_chain_statement *out, struct nh_err *err)
{
	NH_AUTO_SIGNER struct nh_audit_signer signer = {0};
	struct chain c;
	NH_TRY(nh_audit_signer_open(ctx, &signer, err));
	NH_TRY(hold_chain(ctx, &signer, org_id, false, &c, err));
	if (!c.unanchored_at_us)
		return NH_FAIL(err, NH_ENOTFOUND, "every sealed entry is in an anchor");
	*out = c.head;
	out->kind = NH_CHAIN_ANCHOR;
	out->at_us = nh_ctx_now(ctx);
	nh_chain_sign(out, signer.secret_key);
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_audit_anchor_insert,
	                   NH_PARAMS(nh_p_int(org_id), nh_p_int(out->seq), nh_p_str(out->chain), nh_p_int(out->from), blob(out->hash, sizeof(out->hash)), blob(out->previous, sizeof(out->previous)),
	                             nh_p_int(out->at_us), blob(out->key, sizeof(out->key)), blob(out->signature, sizeof(out->signature))),
	                   NULL, err));
	nh_chain_statement_hash(out, c.head.previous);
	c.unanchored_at_us = 0;
	NH_TRY(put_head(ctx, &signer, &c, err));
	return nh_event_add(ctx, NH_EVENT_AUDIT_ANCHOR, &(struct nh_event_subject){.org_id = org_id}, nh_chain_statement_json(out), err);
}

/* ---- retention ----------------------------------------------------------------------------------------------------------- */

struct place {
	int64_t org_id, seq;
};

static void read_place(const struct nh_rows *rows, struct nh_arena *arena, void *item) { *(struct place *)item = (struct place){nh_col_int(rows, 0), nh_col_int(rows, 1)}; }

/* From now on the log begins behind that anchor; what is before it is deleted afterwards, some at a time. */
static nh_rc cut(struct nh_ctx *ctx, const struct place *at, struct nh_err *err)
{
	NH_AUTO_SIGNER struct nh_audit_signer signer = {0};
	struct chain c;
	NH_TRY(nh_audit_signer_open(ctx, &signer, err));
	NH_TRY(hold_chain(ctx, &signer, at->org_id, false, &c, err));
	if (at->seq <= c.head.from)
		return NH_OK; /* another server was faster */
	c.head.from = at->seq;
	return put_head(ctx, &signer, &c, err);
}

nh_rc nh_audit_trim(struct nh_ctx *ctx, unsigned days, int64_t *skip, size_t *rows, struct nh_err *err)
{
	struct place at;
	int64_t deleted = 0;
	*rows = 0;
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_audit_cut_left, NH_NO_PARAMS, read_place, &at, "entry that was cut", err);
	if (rc == NH_OK) {
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_audit_cut, NH_PARAMS(nh_p_int(at.org_id), nh_p_int(at.seq), nh_p_int((int64_t)NH_AUDIT_SEAL_MAX)), &deleted, err));
		*rows = (size_t)deleted;
		return NH_OK;
	}
	if (rc != NH_ENOTFOUND || days == 0)
		return rc == NH_ENOTFOUND ? NH_OK : rc;
	rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_audit_cut_due, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_int(days), nh_p_int(*skip)), read_place, &at, "log to cut", err);
	if (rc != NH_OK)
		return rc == NH_ENOTFOUND ? NH_OK : rc;
	rc = cut(ctx, &at, err);
	if (rc == NH_EAUTH)
		*skip = at.org_id;
	*rows = rc == NH_OK;
	return rc;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

static void read_anchor(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_chain_statement *s = item;
	*s = (struct nh_chain_statement){.kind = NH_CHAIN_ANCHOR};
	copy_chain(s->chain, nh_col_text(rows, 0, arena));
	read_claims(rows, 1, arena, s);
}

nh_rc nh_audit_anchor_at(struct nh_ctx *ctx, int64_t org_id, const char *chain, int64_t seq, struct nh_chain_statement *out, struct nh_err *err)
{
	NH_TRY(nh_one_row(ctx->tx, ctx->arena, &nh_q_audit_anchor_get, NH_PARAMS(nh_p_int(org_id), nh_p_str(chain), nh_p_int(seq)), read_anchor, out, "anchor", err));
	out->org_id = org_id;
	return NH_OK;
}

static nh_rc list_anchors(struct nh_ctx *ctx, int64_t org_id, const struct nh_stmt *stmt, const struct nh_param *params, size_t param_count, struct nh_chain_statement **out, size_t *count,
                          struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_chain_statement);
	NH_TRY(nh_list_rows(ctx->tx, &list, stmt, params, param_count, read_anchor, err));
	*out = list.items;
	*count = list.count;
	for (size_t i = 0; i < list.count; i++)
		(*out)[i].org_id = org_id;
	return NH_OK;
}

nh_rc nh_audit_anchor_list(struct nh_ctx *ctx, int64_t org_id, const char *chain, int64_t after, size_t limit, struct nh_chain_statement **out, size_t *count, struct nh_err *err)
{
	return list_anchors(ctx, org_id, &nh_q_audit_anchor_list, NH_PARAMS(nh_p_int(org_id), nh_p_str(chain), nh_p_int(after), nh_p_int((int64_t)limit)), out, count, err);
}

nh_rc nh_audit_anchor_newest(struct nh_ctx *ctx, int64_t org_id, int64_t before, size_t limit, struct nh_chain_statement **out, size_t *count, struct nh_err *err)
{
	return list_anchors(ctx, org_id, &nh_q_audit_anchor_newest, NH_PARAMS(nh_p_int(org_id), nh_p_int(before ? before : INT64_MAX), nh_p_int((int64_t)limit)), out, count, err);
}

nh_rc nh_audit_chain_get(struct nh_ctx *ctx, int64_t org_id, struct nh_audit_chain *out, struct nh_err *err)
{
	struct chain c;
	NH_TRY(get_chain(ctx, org_id, &c, err));
	*out = (struct nh_audit_chain){.beginning = c.beginning, .head = c.head};
	if (c.head.from == c.beginning.first)
		return NH_OK;
	nh_rc rc = nh_audit_anchor_at(ctx, org_id, c.head.chain, c.head.from, &out->base, err);
	out->cut = rc == NH_OK;
	return rc == NH_ENOTFOUND ? NH_OK : rc; /* it was removed: who checks the log finds that */
}

static void read_sealed(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct nh_sealed_entry *s = item;
	nh_audit_entry_read(rows, arena, &s->entry);
	s->seq = nh_col_int(rows, 8);
	s->hash = nh_col_blob(rows, 9, arena);
}

nh_rc nh_audit_sealed_list(struct nh_ctx *ctx, int64_t org_id, int64_t after, size_t limit, struct nh_sealed_entry **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_sealed_entry);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_audit_sealed, NH_PARAMS(nh_p_int(org_id), nh_p_int(after), nh_p_int((int64_t)limit)), read_sealed, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

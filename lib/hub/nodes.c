/*
 * The servers on one database (hub/nodes.h). Which effects concern another server, and which of them all, is the table `travels`.
 */
#include "hub/nodes.h"

#include <stdlib.h>

#include "base/encode.h"
#include "crypto/hmac.h"
#include "effects_int.h"
#include "hub/device_session.h"
#include "rows_int.h"
#include "store/nodes.h"

/* ---- the secret ------------------------------------------------------------------------------------------------------------ */

/* Says nothing about the secret but whether it is the same. */
static nh_slice fingerprint(struct nh_ctx *ctx)
{
	uint8_t mac[NH_DIGEST_MAX];
	NH_AUTO_BUF struct nh_buf hex = NH_BUF_INIT;
	nh_hmac(NH_SHA256, ctx->config->secret_key, NH_LIT("nerveshub secret of a database"), mac);
	nh_hex_put(&hex, nh_slice_of(mac, 16));
	return nh_arena_copy(ctx->arena, nh_buf_slice(&hex));
}

nh_rc nh_node_secret_check(struct nh_ctx *ctx, bool replace, struct nh_err *err)
{
	struct nh_rows *rows = NULL;
	nh_slice own = fingerprint(ctx);
	NH_TRY(nh_sql_exec(ctx->tx, replace ? &nh_q_node_secret_set : &nh_q_node_secret_add, NH_PARAMS(nh_p_text(own)), NULL, err));
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_node_secret, NH_NO_PARAMS, &rows, err));
	nh_slice known = nh_col_text(rows, 0, ctx->arena);
	nh_sql_end(rows);
	if (nh_slice_eq(known, own))
		return NH_OK;
	return NH_FAIL(err, NH_EAUTH, "this server's secret (fingerprint %.*s) is not the one that the database is run with (%.*s): give all servers of a database the same SECRET_KEY_BASE, which is what "
		       "secret.key in the data directory of the first one holds. Where that is lost for good, start once with --new-secret", NH_ARG(own), NH_ARG(known));
}

/* ---- life ------------------------------------------------------------------------------------------------------------------ */

#define ALL NH_LIT("*")

static nh_rc tell(struct nh_ctx *ctx, nh_slice node, struct nh_err *err)
{
	const struct nh_nodes *nodes = ctx->config->nodes;
	return nodes ? nodes->tell(nodes->ctx, ctx->tx, node, err) : NH_OK;
}

nh_rc nh_node_enter(struct nh_ctx *ctx, const struct nh_node *n, struct nh_err *err)
{
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_node_put,
	                   NH_PARAMS(nh_p_text(n->name), nh_p_text(n->life), nh_p_int(nh_ctx_now(ctx)), nh_p_text(n->version), nh_p_text(n->url), nh_p_text(n->certificate)), NULL, err));
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_node_drop, NH_PARAMS(nh_p_text(n->name)), NULL, err));
	return tell(ctx, ALL, err);
}

nh_rc nh_node_beat(struct nh_ctx *ctx, const struct nh_node *n, struct nh_err *err)
{
	int64_t changed = 0;
	struct nh_rows *rows = NULL;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_node_beat, NH_PARAMS(nh_p_int(nh_ctx_now(ctx)), nh_p_text(n->name), nh_p_text(n->life)), &changed, err));
	if (changed)
		return NH_OK;
	nh_rc rc = nh_sql_one(ctx->tx, &nh_q_node_life, NH_PARAMS(nh_p_text(n->name)), &rows, err);
	nh_slice life = rc == NH_OK ? nh_col_text(rows, 0, ctx->arena) : NH_SLICE_EMPTY;
	nh_sql_end(rows);
	if (rc != NH_OK && rc != NH_ENOTFOUND)
		return rc;
	if (life.len)
		return NH_FAIL(err, NH_ECONFLICT, "another process runs on this database under this server's name, %.*s: was the data directory copied? Delete the file 'node' in one of them and start that server anew",
			       NH_ARG(n->name));
	return NH_FAIL(err, NH_ENOTFOUND, "this server was silent for so long that another one took it for dead");
}

nh_rc nh_node_leave(struct nh_ctx *ctx, const struct nh_node *n, struct nh_err *err)
{
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_node_delete, NH_PARAMS(nh_p_text(n->name), nh_p_text(n->life)), NULL, err));
	return tell(ctx, ALL, err);
}

static void read_node(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_node *)item = (struct nh_node){
		.name = nh_col_text(rows, 0, arena),
		.life = nh_col_text(rows, 1, arena),
		.beat = nh_col_int(rows, 2),
		.url = nh_col_text(rows, 3, arena),
		.certificate = nh_col_text(rows, 4, arena),
		.version = nh_col_text(rows, 5, arena),
		.started_at_us = nh_col_int(rows, 6),
		.seen_at_us = nh_col_int(rows, 7),
	};
}

nh_rc nh_node_list(struct nh_ctx *ctx, struct nh_node **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_node);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_node_list, NH_NO_PARAMS, read_node, err));
	*out = list.items;
	*count = list.count < NH_NODES_MAX ? list.count : NH_NODES_MAX;
	return NH_OK;
}

nh_rc nh_node_bury(struct nh_ctx *ctx, const struct nh_node *n, size_t *ended, struct nh_err *err)
{
	int64_t changed = 0;
	*ended = 0;
	NH_TRY(nh_sql_exec(ctx->tx, &nh_q_node_end, NH_PARAMS(nh_p_text(n->name), nh_p_text(n->life), nh_p_int(n->beat)), &changed, err));
	if (!changed)
		return NH_FAIL(err, NH_ENOTFOUND, "server %.*s lives, or is gone", NH_ARG(n->name));
	NH_TRY(nh_session_clean_node(ctx, n->name, ended, err));
	return *ended ? NH_OK : nh_sql_exec(ctx->tx, &nh_q_node_delete, NH_PARAMS(nh_p_text(n->name), nh_p_text(NH_LIT(""))), NULL, err);
}

/* ---- telling --------------------------------------------------------------------------------------------------------------- */

enum whom { NOBODY, HOLDER, EVERYBODY };

/*
 * By kind of effect. What is missing concerns the process alone, or lies in the database for whoever is first (jobs, mails, loose objects). A certificate that became known needs no telling: nobody else can know it
 * as another device's, since that was told when it was forgotten. Names are written into rows: servers of two versions may run at once.
 */
static const struct travel {
	const char *name;
	enum whom whom;
} travels[NH_EFFECT_OBJECT_DELETE + 1] = {
	[NH_EFFECT_DEVICE_PUSH] = {"push", HOLDER},
	[NH_EFFECT_DEVICE_CLOSE] = {"close", HOLDER},
	[NH_EFFECT_DEVICE_TYPE] = {"type", HOLDER},
	[NH_EFFECT_DEVICE_SETTINGS] = {"settings", HOLDER},
	[NH_EFFECT_PRODUCT_SETTINGS] = {"product-settings", EVERYBODY},
	[NH_EFFECT_CERT_FORGET] = {"certificate-forget", EVERYBODY},
};

/* Runs a statement that writes messages, and tells those for whom they are. */
static nh_rc leave(struct nh_ctx *ctx, const struct nh_stmt *stmt, const struct nh_param *params, size_t count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, nh_slice);
	struct nh_rows *rows = NULL;
	nh_rc rc;
	NH_TRY(nh_sql_query(ctx->tx, stmt, params, count, &rows, err));
	while ((rc = nh_sql_next(rows, err)) == NH_OK)
		*(nh_slice *)nh_list_add(&list) = nh_col_text(rows, 0, ctx->arena);
	nh_sql_end(rows);
	for (size_t i = 0; rc == NH_ENOTFOUND && i < list.count; i++) {
		nh_slice node = ((nh_slice *)list.items)[i];
		struct nh_effects *e = ctx->effects;
		if (e && nh_slice_eq(e->told, node))
			continue; /* it will look anyway; the database drops doubles, too, but each is a question */
		if (e)
			e->told = node;
		NH_TRY(tell(ctx, node, err));
	}
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

static nh_slice not_null(nh_slice s) { return s.ptr ? s : NH_LIT(""); }

nh_rc nh_effect_tell(struct nh_ctx *ctx, const struct nh_effect *e, struct nh_err *err)
{
	const struct nh_nodes *nodes = ctx->config ? ctx->config->nodes : NULL;
	const struct travel *t = &travels[e->kind];
	/* Who only reads cannot leave anything: reminders are each server's for its own devices. */
	if (!nodes || t->whom == NOBODY || !ctx->tx || nh_tx_reads(ctx->tx) || (t->whom == HOLDER && nodes->here(nodes->ctx, e->id)))
		return NH_OK;
	struct nh_param kind = nh_p_str(t->name), name = nh_p_text(not_null(e->name)), payload = nh_p_blob(not_null(e->payload)), own = nh_p_text(nh_ctx_node(ctx));
	if (t->whom == HOLDER)
		return leave(ctx, &nh_q_node_tell_device, NH_PARAMS(kind, name, payload, nh_p_int(e->id), own), err);
	return leave(ctx, &nh_q_node_tell_all, NH_PARAMS(kind, nh_p_int(e->id), name, payload, own), err);
}

#define REPLACED "replaced"

nh_rc nh_node_replaced(struct nh_ctx *ctx, int64_t device_id, struct nh_err *err)
{
	const struct nh_nodes *nodes = ctx->config ? ctx->config->nodes : NULL;
	if (!nodes || !__atomic_load_n(&nodes->others, __ATOMIC_ACQUIRE))
		return NH_OK;
	return leave(ctx, &nh_q_node_tell_old, NH_PARAMS(nh_p_str(REPLACED), nh_p_blob(NH_LIT("")), nh_p_int(device_id), nh_p_text(nh_ctx_node(ctx))), err);
}

/* ---- taking ---------------------------------------------------------------------------------------------------------------- */

struct row {
	int64_t id, subject;
	nh_slice kind, name, payload;
};

static void read_row(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct row *)item = (struct row){nh_col_int(rows, 0), nh_col_int(rows, 2), nh_col_text(rows, 1, arena), nh_col_text(rows, 3, arena), nh_col_blob(rows, 4, arena)};
}

static int by_id(const void *a, const void *b)
{
	int64_t x = ((const struct row *)a)->id, y = ((const struct row *)b)->id;
	return (x > y) - (x < y);
}

nh_rc nh_node_take(struct nh_ctx *ctx, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct row);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_node_take, NH_PARAMS(nh_p_text(nh_ctx_node(ctx)), nh_p_int(NH_NODE_MESSAGES_MAX)), read_row, err));
	struct row *rows = list.items;
	*count = list.count;
	if (list.count)
		qsort(rows, list.count, sizeof *rows, by_id);
	for (size_t i = 0; i < list.count; i++) {
		if (nh_slice_eq_str(rows[i].kind, REPLACED)) {
			/* Only that connection: the device may have come back here meanwhile. */
			nh_effect_put(ctx, NH_EFFECT_DEVICE_CLOSE, rows[i].subject, NH_LIT(REPLACED), rows[i].name);
			continue;
		}
		for (size_t k = 0; k < NH_ARRAY_LEN(travels); k++) {
			if (travels[k].name && nh_slice_eq_str(rows[i].kind, travels[k].name))
				nh_effect_put(ctx, (nh_effect_kind)k, rows[i].subject, rows[i].name, rows[i].payload);
		}
	}
	return NH_OK;
}

/* ---- who stands still ------------------------------------------------------------------------------------------------------ */

static void copy(char *to, size_t size, nh_slice from)
{
	size_t n = from.len < size - 1 ? from.len : size - 1;
	for (size_t i = 0; i < n; i++)
		to[i] = (char)from.ptr[i];
	to[n] = 0;
}

static struct nh_node_seen *seen_of(struct nh_node_watch *w, nh_slice name)
{
	for (size_t i = 0; i < w->count; i++) {
		if (nh_slice_eq_str(name, w->seen[i].name))
			return &w->seen[i];
	}
	if (w->count == NH_NODES_MAX || name.len >= sizeof w->seen[0].name)
		return NULL; /* nobody's name of this program's making */
	struct nh_node_seen *s = &w->seen[w->count++];
	*s = (struct nh_node_seen){0};
	copy(s->name, sizeof s->name, name);
	return s;
}

static void forget_unlisted(struct nh_node_watch *w)
{
	size_t kept = 0;
	for (size_t i = 0; i < w->count; i++) {
		if (w->seen[i].listed)
			w->seen[kept++] = w->seen[i];
	}
	w->count = kept;
}

void nh_node_look(struct nh_node_watch *w, nh_slice own, const struct nh_node *nodes, size_t count, uint64_t mono_ms, uint64_t lease_ms, bool *dead)
{
	bool blind = w->looked_ms == 0 || mono_ms - w->looked_ms > lease_ms / 2;
	w->looked_ms = mono_ms;
	for (size_t i = 0; i < w->count; i++)
		w->seen[i].listed = false;
	for (size_t i = 0; i < count; i++) {
		const struct nh_node *n = &nodes[i];
		struct nh_node_seen *s = seen_of(w, n->name);
		dead[i] = false;
		if (!s)
			continue;
		s->listed = true;
		if (blind || s->beat != n->beat || !nh_slice_eq_str(n->life, s->life)) {
			copy(s->life, sizeof s->life, n->life);
			s->beat = n->beat;
			s->since_ms = mono_ms;
		}
		dead[i] = !nh_slice_eq(n->name, own) && (n->life.len == 0 || mono_ms - s->since_ms >= lease_ms);
	}
	forget_unlisted(w);
}

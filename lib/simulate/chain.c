/*
 * The audit log of simulated servers: sealed and anchored by a job, and checked after each seal by whoever has kept nothing but the last hash. In the end it is walked from its beginning once more, with its
 * anchors.
 *
 * source: src/nerveshubd/audit_jobs.c, crypto/log_chain.h
 */
#include "hub/audit_chain.h"
#include "simulate_int.h"

#define ANCHOR_AFTER_US SIM_HOUR

/* ---- the job -------------------------------------------------------------------------------------------------------------------- */

nh_rc sim_chain_seal(struct nh_ctx *ctx, bool *more, struct nh_err *err)
{
	int64_t org_id = 0;
	struct nh_chain_statement anchor;
	size_t sealed = 0;
	nh_rc rc;
	*more = false;
	while ((rc = nh_audit_unsealed_org(ctx, org_id, &org_id, err)) == NH_OK) {
		NH_TRY(nh_audit_seal(ctx, org_id, &sealed, err));
		*more = *more || sealed == NH_AUDIT_SEAL_MAX;
	}
	while (rc == NH_ENOTFOUND && (rc = nh_audit_unanchored_org(ctx, nh_ctx_now(ctx) - ANCHOR_AFTER_US, &org_id, err)) == NH_OK) {
		NH_TRY(nh_audit_anchor(ctx, org_id, &anchor, err));
		rc = NH_ENOTFOUND;
	}
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* ---- the check -------------------------------------------------------------------------------------------------------------------- */

struct walk {
	struct sim_chain *chain;
	const struct nh_chain_statement *anchors; /* those to come; NULL: nobody asks */
	size_t anchor_count;
	uint8_t previous[NH_SHA256_LEN];
};

static bool same(const uint8_t *a, const uint8_t *b) { return nh_slice_eq(nh_slice_of(a, NH_SHA256_LEN), nh_slice_of(b, NH_SHA256_LEN)); }

/* Anchors at the place that the walk has come to. */
static nh_rc check_anchors(struct walk *w, int64_t org_id, struct nh_err *err)
{
	while (w->anchor_count > 0 && w->anchors->seq == w->chain->seq) {
		const struct nh_chain_statement *a = w->anchors++;
		w->anchor_count--;
		if (!nh_chain_signed(a) || !same(a->hash, w->chain->hash) || !same(a->previous, w->previous))
			return sim_broken(err, "the anchor at entry %lld of the audit log of organization %lld is not what was sealed", (long long)a->seq, (long long)org_id);
		nh_chain_statement_hash(a, w->previous);
	}
	return NH_OK;
}

static nh_rc step(struct walk *w, int64_t org_id, const struct nh_sealed_entry *e, struct nh_buf *text, struct nh_err *err)
{
	struct sim_chain *c = w->chain;
	NH_AUTO_JSON json_t *json = nh_audit_sealed_json(org_id, &e->entry, e->seq);
	NH_TRY(nh_chain_step(c->hash, json, text, err));
	if (e->seq != c->seq + 1 || e->hash.len != NH_SHA256_LEN || !same(e->hash.ptr, c->hash))
		return sim_broken(err, "entry %lld of the audit log of organization %lld does not follow from the one before", (long long)e->seq, (long long)org_id);
	c->seq = e->seq;
	return check_anchors(w, org_id, err);
}

/* From where w stands to the head. */
static nh_rc walk(struct nh_ctx *ctx, int64_t org_id, const struct nh_audit_chain *now, struct walk *w, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_sealed_entry *entries;
	size_t count = 1;
	while (count > 0) {
		NH_TRY(nh_audit_sealed_list(ctx, org_id, w->chain->seq, NH_AUDIT_SEAL_MAX, &entries, &count, err));
		for (size_t i = 0; i < count; i++)
			NH_TRY(step(w, org_id, &entries[i], &text, err));
	}
	if (!nh_chain_signed(&now->head) || now->head.seq != w->chain->seq || !same(now->head.hash, w->chain->hash))
		return sim_broken(err, "the head of the audit log of organization %lld is not its last entry", (long long)org_id);
	return NH_OK;
}

static void at_beginning(const struct nh_audit_chain *now, struct sim_chain *c)
{
	*c = (struct sim_chain){.seq = now->beginning.first};
	nh_chain_begin(&now->beginning, c->hash);
}

static nh_rc check_all(struct nh_ctx *ctx, int64_t org_id, const struct nh_audit_chain *now, struct nh_err *err)
{
	struct sim_chain chain;
	struct nh_chain_statement *anchors;
	struct walk w = {.chain = &chain};
	at_beginning(now, &chain);
	nh_chain_begin(&now->beginning, w.previous);
	NH_TRY(nh_audit_anchor_list(ctx, org_id, now->beginning.chain, 0, 500, &anchors, &w.anchor_count, err));
	w.anchors = anchors;
	NH_TRY(walk(ctx, org_id, now, &w, err));
	return w.anchor_count ? sim_broken(err, "an anchor of organization %lld speaks of entry %lld, which is not there", (long long)org_id, (long long)w.anchors->seq) : NH_OK;
}

struct check {
	bool all;
};

static nh_rc check_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	const struct check *check = arg;
	for (size_t i = 0; i < s->product_count; i++) {
		struct nh_audit_chain now;
		struct sim_chain *c = &s->chains[i];
		int64_t org_id = s->products[i].org_id;
		if (i > 0 && org_id == s->products[i - 1].org_id)
			continue;
		nh_rc rc = nh_audit_chain_get(ctx, org_id, &now, err);
		if (rc == NH_ENOTFOUND && !c->begun && !check->all)
			continue;
		if (rc == NH_ENOTFOUND)
			return sim_broken(err, "the audit log of organization %lld has no chain", (long long)org_id);
		NH_TRY(rc);
		if (!c->begun)
			at_beginning(&now, c);
		c->begun = true;
		struct walk w = {.chain = c};
		NH_TRY(walk(ctx, org_id, &now, &w, err));
		if (check->all)
			NH_TRY(check_all(ctx, org_id, &now, err));
	}
	return NH_OK;
}

nh_rc sim_judge_chains(struct sim *s, struct sim_node *node, bool all, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = {.cap_bytes = (size_t)1 << 28};
	struct nh_effects effects = {0};
	struct check check = {all};
	return sim_read(s, node, check_tx, &check, &effects, &arena, err);
}

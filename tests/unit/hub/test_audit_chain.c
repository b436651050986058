/*
 * The chain of the audit log on each engine: sealing, anchors, retention, keys, and what somebody who writes into the database cannot hide. What is sealed is written out as an export is and checked
 * by the check that has no database.
 */
#include "hub_world.h"

#include <string.h>

#include "base/encode.h"
#include "db_int.h"
#include "hub/audit_chain.h"

#define DAY_US (INT64_C(86400) * NH_US_PER_S)

/* ---- checking what the database holds -------------------------------------------------------------------------------------- */

struct checked {
	struct nh_chain_report report;
	nh_chain_fault first;
	int64_t seq; /* of the first fault */
	char text[200];
};

static void note(void *ctx, const struct nh_chain_finding *f)
{
	struct checked *c = ctx;
	if (c->first != NH_CHAIN_SOUND)
		return;
	c->first = f->fault;
	c->seq = f->seq;
	snprintf(c->text, sizeof(c->text), "%s", f->text);
}

static void put_line(struct nh_buf *out, json_t *take_line)
{
	nh_json_put(out, take_line);
	nh_buf_put_u8(out, '\n');
	json_decref(take_line);
}

static nh_rc write_log(struct world *w, int64_t org_id, const struct nh_audit_chain *chain, struct nh_buf *file, struct nh_err *err)
{
	struct nh_sealed_entry *entries;
	struct nh_chain_statement *anchors;
	size_t count, anchor_count, a = 0;
	put_line(file, json_pack("{s:s, s:i, s:o, s:o}", "format", "nerveshub-log", "version", 1, "beginning", nh_chain_beginning_json(&chain->beginning), "base",
	                         chain->cut ? nh_chain_statement_json(&chain->base) : json_null()));
	OK(nh_audit_sealed_list(&w->ctx, org_id, chain->head.from, 500, &entries, &count, E(w)));
	OK(nh_audit_anchor_list(&w->ctx, org_id, chain->head.chain, chain->head.from, 500, &anchors, &anchor_count, E(w)));
	for (size_t i = 0; i < count; i++) {
		NH_AUTO_BUF struct nh_buf hash = NH_BUF_INIT;
		nh_hex_put(&hash, entries[i].hash);
		put_line(file, json_pack("{s:o, s:s}", "entry", nh_audit_sealed_json(org_id, &entries[i].entry, entries[i].seq), "hash", nh_buf_cstr(&hash)));
		while (a < anchor_count && anchors[a].seq <= entries[i].seq)
			put_line(file, nh_chain_statement_json(&anchors[a++]));
	}
	put_line(file, nh_chain_statement_json(&chain->head));
	return NH_OK;
}

static nh_rc check_log(struct world *w, int64_t org_id, const struct nh_chain_statement *kept, struct checked *out, struct nh_err *err)
{
	struct nh_audit_chain chain;
	struct nh_audit_key *keys;
	size_t key_count;
	uint8_t public_keys[4][NH_ED25519_PUBLIC_LEN];
	NH_AUTO_BUF struct nh_buf file = NH_BUF_INIT;
	*out = (struct checked){0};
	OK(nh_audit_chain_get(&w->ctx, org_id, &chain, E(w)));
	OK(nh_audit_key_list(&w->ctx, &keys, &key_count, E(w)));
	CHECK(key_count >= 1 && key_count <= 4);
	for (size_t i = 0; i < key_count; i++)
		memcpy(public_keys[i], keys[i].public_key, sizeof(public_keys[i]));
	NH_TRY(write_log(w, org_id, &chain, &file, err));
	struct nh_chain_check *c =
		nh_chain_check_new(&(struct nh_chain_check_config){.keys = (const uint8_t(*)[NH_ED25519_PUBLIC_LEN])public_keys, .key_count = key_count, .kept = kept, .found = note, .ctx = out});
	nh_chain_check_feed(c, nh_buf_slice(&file));
	nh_chain_check_end(c, &out->report);
	nh_chain_check_free(c);
	return NH_OK;
}

static nh_rc add_entries(struct world *w, int64_t org_id, int count, struct nh_err *err)
{
	for (int i = 0; i < count; i++)
		OK(nh_audit_add(&w->ctx, &w->as_ada, org_id, NH_AUDIT_ORG, org_id, E(w), "entry \"%d\" \u20ac", i));
	return NH_OK;
}

static nh_rc seal_all(struct world *w, int64_t org_id, size_t *sealed, struct nh_err *err)
{
	size_t some;
	*sealed = 0;
	do {
		OK(nh_audit_seal(&w->ctx, org_id, &some, E(w)));
		*sealed += some;
	} while (some > 0);
	return NH_OK;
}

#define SOUND(w, org, c)                                                                                     \
	do {                                                                                                 \
		NH_TRY(check_log(w, org, NULL, c, err));                                                     \
		if ((c)->report.faults)                                                                      \
			return nh_err_set(err, NH_EINTERNAL, __FILE__, __LINE__, "%d: %s", __LINE__, (c)->text); \
	} while (0)

/* ---- sealing --------------------------------------------------------------------------------------------------------------- */

static nh_rc sealing(struct world *w, struct nh_err *err)
{
	size_t sealed;
	int64_t org_id = 0;
	struct checked c;
	struct nh_audit_chain chain;
	CHECK_RC(NH_ENOTFOUND, nh_audit_chain_get(&w->ctx, w->acme.id, &chain, E(w)));
	OK(nh_audit_unsealed_org(&w->ctx, 0, &org_id, E(w)));
	NH_TRY(seal_all(w, w->acme.id, &sealed, err)); /* what making the world has written */
	NH_TRY(add_entries(w, w->acme.id, 3, err));
	NH_TRY(add_entries(w, w->other.id, 2, err));
	OK(nh_audit_unsealed_org(&w->ctx, w->acme.id - 1, &org_id, E(w)));
	CHECK(org_id == w->acme.id);
	size_t more;
	NH_TRY(seal_all(w, w->acme.id, &more, err));
	CHECK(more == 3);
	OK(nh_audit_unsealed_org(&w->ctx, w->acme.id, &org_id, E(w)));
	CHECK(org_id == w->other.id); /* one organization's sealing leaves the others' entries alone */
	SOUND(w, w->acme.id, &c);
	CHECK(c.report.entries == sealed + 3 && c.report.to == (int64_t)(sealed + 3) && c.report.from == 0);
	CHECK_RC(NH_ENOTFOUND, nh_audit_chain_get(&w->ctx, w->other.id, &chain, E(w)));
	NH_TRY(seal_all(w, w->other.id, &more, err));
	SOUND(w, w->other.id, &c);
	/* more than one transaction's worth */
	NH_TRY(add_entries(w, w->other.id, (int)NH_AUDIT_SEAL_MAX + 1, err));
	OK(nh_audit_seal(&w->ctx, w->other.id, &more, E(w)));
	CHECK(more == NH_AUDIT_SEAL_MAX);
	OK(nh_audit_seal(&w->ctx, w->other.id, &more, E(w)));
	CHECK(more == 1);
	OK(nh_audit_seal(&w->ctx, w->other.id, &more, E(w)));
	CHECK(more == 0);
	CHECK_RC(NH_ENOTFOUND, nh_audit_unsealed_org(&w->ctx, w->other.id, &org_id, E(w)));
	return NH_OK;
}
static void test_sealing(void **state) { on_each_engine(sealing, NULL); }

/* ---- anchors and retention --------------------------------------------------------------------------------------------------- */

static nh_rc trim_all(struct world *w, unsigned days, size_t *rows, struct nh_err *err)
{
	size_t some;
	int64_t skip = 0;
	*rows = 0;
	do {
		OK(nh_audit_trim(&w->ctx, days, &skip, &some, E(w)));
		*rows += some;
	} while (some > 0);
	return NH_OK;
}

/* Ten days, three entries and an anchor each. */
static nh_rc ten_days(struct world *w, struct nh_chain_statement anchors[10], struct nh_err *err)
{
	size_t sealed;
	int64_t org_id = 0;
	NH_TRY(seal_all(w, w->acme.id, &sealed, err));
	OK(nh_audit_anchor(&w->ctx, w->acme.id, &anchors[0], E(w)));
	for (int day = 0; day < 10; day++) {
		NH_TRY(add_entries(w, w->acme.id, 3, err));
		NH_TRY(seal_all(w, w->acme.id, &sealed, err));
		CHECK_RC(NH_ENOTFOUND, nh_audit_unanchored_org(&w->ctx, w->now_us, &org_id, E(w)));
		world_pass(w, DAY_US);
		OK(nh_audit_unanchored_org(&w->ctx, w->now_us, &org_id, E(w)));
		CHECK(org_id == w->acme.id);
		OK(nh_audit_anchor(&w->ctx, org_id, &anchors[day], E(w)));
		CHECK(nh_chain_signed(&anchors[day]) && anchors[day].at_us == w->now_us);
		CHECK_RC(NH_ENOTFOUND, nh_audit_anchor(&w->ctx, org_id, &anchors[day], E(w)));
	}
	return NH_OK;
}

static nh_rc retention(struct world *w, struct nh_err *err)
{
	struct nh_chain_statement anchors[10] = {0}, *list;
	struct checked c;
	size_t rows, count;
	CHECK_RC(NH_ENOTFOUND, nh_audit_anchor(&w->ctx, w->acme.id, &anchors[0], E(w))); /* nothing is sealed */
	NH_TRY(ten_days(w, anchors, err));
	OK(nh_audit_anchor_newest(&w->ctx, w->acme.id, 0, 500, &list, &count, E(w)));
	CHECK(count == 11);
	struct nh_chain_statement newest = list[0], fourth = list[6]; /* the fourth of ten_days */
	OK(nh_audit_anchor_newest(&w->ctx, w->acme.id, list[9].seq, 500, &list, &count, E(w)));
	CHECK(count == 1);
	SOUND(w, w->acme.id, &c);
	CHECK(c.report.anchors == 11 && c.report.to == newest.seq);
	int64_t all = c.report.to;

	NH_TRY(trim_all(w, 0, &rows, err)); /* switched off */
	CHECK(rows == 0);
	NH_TRY(trim_all(w, 30, &rows, err)); /* nothing is that old */
	CHECK(rows == 0);
	world_pass(w, DAY_US / 2);
	NH_TRY(trim_all(w, 6, &rows, err)); /* the fourth anchor is 6.5 days old */
	CHECK(rows == (size_t)fourth.seq + 1);
	SOUND(w, w->acme.id, &c);
	CHECK(c.report.from == fourth.seq && c.report.to == all && c.report.older == 0 && c.report.anchors == 6);
	NH_TRY(check_log(w, w->acme.id, &fourth, &c, err));
	CHECK(c.report.kept_compared && !c.report.faults);
	NH_TRY(trim_all(w, 6, &rows, err));
	CHECK(rows == 0);

	/* the organization's own days come first */
	OK(nh_sql_text_exec(w->ctx.tx, "UPDATE orgs SET audit_log_days_to_keep = 2 WHERE id = $1", NH_PARAMS(nh_p_int(w->acme.id)), E(w)));
	NH_TRY(trim_all(w, 100, &rows, err));
	SOUND(w, w->acme.id, &c);
	CHECK(c.report.from == fourth.seq + 12);

	/* all of it is old: the last anchor and what was sealed since are left, and the chain goes on */
	world_pass(w, 400 * DAY_US);
	NH_TRY(trim_all(w, 100, &rows, err));
	SOUND(w, w->acme.id, &c);
	CHECK(c.report.from == all && c.report.entries == 0);
	NH_TRY(add_entries(w, w->acme.id, 2, err));
	NH_TRY(seal_all(w, w->acme.id, &count, err));
	SOUND(w, w->acme.id, &c);
	CHECK(c.report.to == all + 2);
	return NH_OK;
}
static void test_retention(void **state) { on_each_engine(retention, NULL); }

/* ---- somebody writes into the database ----------------------------------------------------------------------------------------- */

static nh_rc anchored_log(struct world *w, struct nh_chain_statement *anchor, struct nh_err *err)
{
	size_t sealed;
	NH_TRY(add_entries(w, w->acme.id, 10, err));
	NH_TRY(add_entries(w, w->other.id, 12, err));
	NH_TRY(seal_all(w, w->acme.id, &sealed, err));
	NH_TRY(seal_all(w, w->other.id, &sealed, err));
	OK(nh_audit_anchor(&w->ctx, w->acme.id, anchor, E(w)));
	NH_TRY(add_entries(w, w->acme.id, 5, err));
	NH_TRY(seal_all(w, w->acme.id, &sealed, err));
	return NH_OK;
}

static const struct tampering {
	const char *name, *sql, *more; /* $1: acme, $2: the other organization */
	nh_chain_fault fault;
	bool stops; /* the sealer notices, too, and stops */
} tamperings[] = {
	{"text of an entry", "UPDATE audit_logs SET description = 'nothing' WHERE org_id = $1 AND seq = 4", NULL, NH_CHAIN_ALTERED, false},
	{"who it was", "UPDATE audit_logs SET actor_id = actor_id + 1 WHERE org_id = $1 AND seq = 4", NULL, NH_CHAIN_ALTERED, false},
	{"when it was", "UPDATE audit_logs SET inserted_at = inserted_at - 1 WHERE org_id = $1 AND seq = 4", NULL, NH_CHAIN_ALTERED, false},
	{"deleted in the middle", "DELETE FROM audit_logs WHERE org_id = $1 AND seq BETWEEN 5 AND 7", NULL, NH_CHAIN_GAP, false},
	{"deleted first", "DELETE FROM audit_logs WHERE org_id = $1 AND seq = 1", NULL, NH_CHAIN_GAP, false},
	{"deleted tail", "DELETE FROM audit_logs WHERE org_id = $1 AND seq >= (SELECT seq FROM audit_chains WHERE org_id = $1)", NULL, NH_CHAIN_TAIL, false},
	{"exchanged", "UPDATE audit_logs SET seq = -1 WHERE org_id = $1 AND seq = 3", "UPDATE audit_logs SET seq = 3 WHERE org_id = $1 AND seq = 4", NH_CHAIN_ALTERED, false},
	{"unsealed again", "UPDATE audit_logs SET seq = NULL, hash = NULL WHERE org_id = $1 AND seq = 4", NULL, NH_CHAIN_GAP, false},
	{"from another organization", "DELETE FROM audit_logs WHERE org_id = $1 AND seq = 4", "UPDATE audit_logs SET org_id = $1 WHERE org_id = $2 AND seq = 4", NH_CHAIN_ALTERED, false},
	{"the head, back", "UPDATE audit_chains SET seq = seq - 1 WHERE org_id = $1", NULL, NH_CHAIN_UNSIGNED, true},
	{"the head, cut", "UPDATE audit_chains SET from_seq = 5 WHERE org_id = $1", "DELETE FROM audit_logs WHERE org_id = $1 AND seq <= 5", NH_CHAIN_UNSIGNED, true},
	{"the head's key", "UPDATE audit_chains SET public_key = hash WHERE org_id = $1", NULL, NH_CHAIN_UNSIGNED, true},
	{"the head of another organization", "DELETE FROM audit_chains WHERE org_id = $1", "UPDATE audit_chains SET org_id = $1 WHERE org_id = $2", NH_CHAIN_UNSIGNED, true},
	{"an anchor", "UPDATE audit_anchors SET at = at + 1 WHERE org_id = $1", NULL, NH_CHAIN_UNSIGNED, false},
	{"an anchor is deleted", "DELETE FROM audit_anchors WHERE org_id = $1", NULL, NH_CHAIN_GAP, false},
};

static nh_rc tamper(struct world *w, struct nh_err *err)
{
	const struct tampering *t = w->arg;
	struct nh_chain_statement anchor;
	struct checked c;
	size_t sealed;
	NH_TRY(anchored_log(w, &anchor, err));
	SOUND(w, w->acme.id, &c);
	const char *const both[] = {t->sql, t->more};
	const struct nh_param orgs[] = {nh_p_int(w->acme.id), nh_p_int(w->other.id)};
	for (size_t i = 0; i < 2 && both[i]; i++)
		OK(nh_sql_text_exec(w->ctx.tx, both[i], orgs, strstr(both[i], "$2") ? 2 : 1, E(w)));
	NH_TRY(check_log(w, w->acme.id, NULL, &c, err));
	if (c.report.worst != t->fault)
		return nh_err_set(err, NH_EINTERNAL, __FILE__, __LINE__, "%s: found %s (%s)", t->name, nh_chain_fault_name(c.report.worst), c.text);
	NH_TRY(add_entries(w, w->acme.id, 1, err));
	CHECK_RC(t->stops ? NH_EAUTH : NH_OK, nh_audit_seal(&w->ctx, w->acme.id, &sealed, E(w)));
	NH_TRY(check_log(w, w->acme.id, NULL, &c, err)); /* and what comes later heals nothing */
	CHECK(c.report.faults > 0);
	return NH_OK;
}

static void test_tampering(void **state)
{
	for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++) {
		for (size_t i = 0; i < NH_ARRAY_LEN(tamperings); i++) {
			if (!on_engine(engine, tamper, (void *)(uintptr_t)&tamperings[i], tamperings[i].name))
				break;
		}
	}
}

/* Everything of the last entries is gone, and the head as it was before them put back: the database alone is sound. A statement that was kept is not. */
static nh_rc rollback(struct world *w, struct nh_err *err)
{
	struct nh_chain_statement anchor;
	struct nh_audit_chain before, after;
	struct checked c;
	size_t sealed;
	NH_TRY(anchored_log(w, &anchor, err));
	OK(nh_audit_chain_get(&w->ctx, w->acme.id, &before, E(w)));
	NH_TRY(add_entries(w, w->acme.id, 3, err));
	NH_TRY(seal_all(w, w->acme.id, &sealed, err));
	OK(nh_audit_chain_get(&w->ctx, w->acme.id, &after, E(w)));
	OK(nh_sql_text_exec(w->ctx.tx, "DELETE FROM audit_logs WHERE org_id = $1 AND seq > $2", NH_PARAMS(nh_p_int(w->acme.id), nh_p_int(before.head.seq)), E(w)));
	OK(nh_sql_text_exec(w->ctx.tx, "UPDATE audit_chains SET seq = $1, hash = $2, at = $3, signature = $4 WHERE org_id = $5",
	               NH_PARAMS(nh_p_int(before.head.seq), nh_p_blob(nh_slice_of(before.head.hash, 32)), nh_p_int(before.head.at_us), nh_p_blob(nh_slice_of(before.head.signature, 64)),
	                         nh_p_int(w->acme.id)), E(w)));
	SOUND(w, w->acme.id, &c);
	NH_TRY(check_log(w, w->acme.id, &after.head, &c, err));
	CHECK(c.report.worst == NH_CHAIN_TAIL && c.seq == before.head.seq + 1);
	/* other entries in their place */
	world_pass(w, 1);
	NH_TRY(add_entries(w, w->acme.id, 4, err));
	NH_TRY(seal_all(w, w->acme.id, &sealed, err));
	NH_TRY(check_log(w, w->acme.id, &after.head, &c, err));
	CHECK(c.report.worst == NH_CHAIN_ALTERED && c.seq == after.head.seq);
	/* without its row the chain begins anew, behind what was sealed, and is another one */
	OK(nh_sql_text_exec(w->ctx.tx, "DELETE FROM audit_chains WHERE org_id = $1", NH_PARAMS(nh_p_int(w->acme.id)), E(w)));
	NH_TRY(add_entries(w, w->acme.id, 2, err));
	NH_TRY(seal_all(w, w->acme.id, &sealed, err));
	SOUND(w, w->acme.id, &c);
	CHECK(sealed == 2 && c.report.beginning.first == before.head.seq + 4 && c.report.entries == 2);
	NH_TRY(check_log(w, w->acme.id, &after.head, &c, err));
	CHECK(c.report.worst == NH_CHAIN_FOREIGN);
	return NH_OK;
}
static void test_rollback(void **state) { on_each_engine(rollback, NULL); }

/* ---- keys ------------------------------------------------------------------------------------------------------------------- */

static nh_rc keys(struct world *w, struct nh_err *err)
{
	struct nh_audit_key *list;
	size_t count, sealed;
	struct checked c;
	uint8_t first[NH_ED25519_PUBLIC_LEN];
	OK(nh_audit_key_list(&w->ctx, &list, &count, E(w)));
	CHECK(count == 0);
	OK(nh_audit_key_ensure(&w->ctx, E(w)));
	OK(nh_audit_key_ensure(&w->ctx, E(w)));
	OK(nh_audit_key_list(&w->ctx, &list, &count, E(w)));
	CHECK(count == 1 && list[0].number == 1);
	memcpy(first, list[0].public_key, sizeof(first));
	NH_TRY(add_entries(w, w->acme.id, 2, err));
	NH_TRY(seal_all(w, w->acme.id, &sealed, err));
	/* the server's secret is another one: the key does not open, and a new one signs on */
	w->config.secret_key = NH_LIT("another secret of the server 012345");
	NH_TRY(add_entries(w, w->acme.id, 2, err));
	NH_TRY(seal_all(w, w->acme.id, &sealed, err));
	OK(nh_audit_key_list(&w->ctx, &list, &count, E(w)));
	CHECK(count == 2 && list[0].number == 2 && memcmp(list[1].public_key, first, sizeof(first)) == 0 && memcmp(list[0].public_key, first, sizeof(first)) != 0);
	SOUND(w, w->acme.id, &c);
	CHECK(memcmp(c.report.head.key, list[0].public_key, sizeof(first)) == 0);
	/* somebody has put a key of theirs in its place */
	OK(nh_sql_text_exec(w->ctx.tx, "UPDATE audit_keys SET public_key = $1 WHERE number = 2", NH_PARAMS(nh_p_blob(nh_slice_of(first, sizeof(first)))), E(w)));
	NH_TRY(add_entries(w, w->acme.id, 1, err));
	CHECK_RC(NH_EAUTH, nh_audit_seal(&w->ctx, w->acme.id, &sealed, E(w)));
	return NH_OK;
}
static void test_keys(void **state) { on_each_engine(keys, NULL); }

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sealing),  cmocka_unit_test(test_retention), cmocka_unit_test(test_tampering),
	                                   cmocka_unit_test(test_rollback), cmocka_unit_test(test_keys)};
	return cmocka_run_group_tests_name("hub_audit_chain", tests, NULL, NULL);
}

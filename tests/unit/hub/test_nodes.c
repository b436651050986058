/*
 * Servers on one database, as rules: who is told what, who is taken for dead, who may start. Both engines, one transaction each; "here" is this server.
 */
#include "rollout_world.h"

#include <string.h>

#include "hub/nodes.h"

/* ---- who stands still: pure ----------------------------------------------------------------------------------------------- */

#define LEASE 1000

struct look {
	uint64_t at_ms;
	const char *life;  /* of "there"; NULL: its row is gone */
	int64_t beat;
	bool dead;
};

static void watch_all(const struct look *looks, size_t count)
{
	struct nh_node_watch watch = {0};
	for (size_t i = 0; i < count; i++) {
		const struct look *l = &looks[i];
		const struct nh_node nodes[] = {{.name = NH_LIT("here"), .life = NH_LIT("own"), .beat = 1}, {.name = NH_LIT("there"), .life = nh_slice_str(l->life ? l->life : ""), .beat = l->beat}};
		bool dead[2] = {true, true};
		nh_node_look(&watch, NH_LIT("here"), nodes, l->life ? 2 : 1, l->at_ms, LEASE, dead);
		assert_false(dead[0]); /* who looks lives, however long its own beat stands still */
		if (l->life && dead[1] != l->dead)
			fail_msg("look %zu at %llu ms: dead is %d", i, (unsigned long long)l->at_ms, dead[1]);
	}
}

static void test_standing_still(void **state)
{
	static const struct look beats[] = {{5000, "x", 1, false}, {5400, "x", 2, false}, {5800, "x", 2, false}, {6200, "x", 2, false}, {6399, "x", 2, false}, {6400, "x", 2, true}, {6500, "x", 3, false}};
	static const struct look began_anew[] = {{5000, "x", 7, false}, {5450, "x", 7, false}, {5900, "x", 7, false}, {6000, "y", 7, false}, {6450, "y", 7, false}, {6900, "y", 7, false}, {7000, "y", 7, true}};
	static const struct look marked[] = {{5000, "", 1, true}};
	/* The database was away: whoever could not look knows nothing of the time. */
	static const struct look blind[] = {{5000, "x", 1, false}, {9000, "x", 1, false}, {9450, "x", 1, false}, {9900, "x", 1, false}, {10000, "x", 1, true}};
	static const struct look gone[] = {{5000, "x", 1, false}, {5400, NULL, 0, false}, {5800, "x", 1, false}, {6200, "x", 1, false}, {6700, "x", 1, false}, {6800, "x", 1, true}};
	watch_all(beats, NH_ARRAY_LEN(beats));
	watch_all(began_anew, NH_ARRAY_LEN(began_anew));
	watch_all(marked, NH_ARRAY_LEN(marked));
	watch_all(blind, NH_ARRAY_LEN(blind));
	watch_all(gone, NH_ARRAY_LEN(gone));
}

/* ---- in a database --------------------------------------------------------------------------------------------------------- */

static int64_t held_here;
static char told[256];

static bool here(void *ctx, int64_t device_id) { return device_id == held_here; }

static nh_rc tell(void *ctx, struct nh_tx *tx, nh_slice node, struct nh_err *err)
{
	size_t at = strlen(told);
	snprintf(told + at, sizeof told - at, "%.*s ", NH_ARG(node));
	return NH_OK;
}

static struct nh_nodes shared;

static struct nh_node node(const char *name, const char *life) { return (struct nh_node){.name = nh_slice_str(name), .life = nh_slice_str(life), .url = NH_LIT(""), .certificate = NH_LIT(""), .version = NH_LIT("1")}; }

/* Servers "here", "there" and "far"; device d-1 is connected to "there", d-2 to "here". */
static nh_rc three(struct world *w, int64_t ids[2], struct nh_session *session, struct nh_err *err)
{
	struct nh_node nodes[] = {node("here", "1"), node("there", "2"), node("far", "3")};
	struct nh_session s;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &ids[0], err));
	NH_TRY(add_device(w, "d-2", NULL, &ids[1], err));
	for (size_t i = 0; i < 3; i++)
		NH_TRY(nh_node_enter(&w->ctx, &nodes[i], err));
	w->config.node = NH_LIT("there");
	NH_TRY(join(w, ids[0], 1, "1.0.0", session));
	w->config.node = NH_LIT("here");
	NH_TRY(join(w, ids[1], 1, "1.0.0", &s));
	held_here = ids[1];
	shared = (struct nh_nodes){.here = here, .tell = tell, .others = true};
	w->config.nodes = &shared;
	told[0] = 0;
	return NH_OK;
}

/* What lies there for a server, as effects. */
static nh_rc taken(struct world *w, const char *name, size_t *count, struct nh_err *err)
{
	nh_slice own = w->config.node;
	w->effects.count = 0;
	w->config.node = nh_slice_str(name);
	nh_rc rc = nh_node_take(&w->ctx, count, err);
	w->config.node = own;
	return rc;
}

static nh_rc telling(struct world *w, struct nh_err *err)
{
	static const char *const servers[] = {"there", "far", "here"};
	static const struct {
		nh_effect_kind kind;
		int device;            /* index; 2: nobody's */
		const char *told;
		size_t rows[3];
	} table[] = {
		{NH_EFFECT_DEVICE_PUSH, 0, "there ", {1, 0, 0}},
		{NH_EFFECT_DEVICE_CLOSE, 0, "there ", {1, 0, 0}},
		{NH_EFFECT_DEVICE_TYPE, 0, "there ", {1, 0, 0}},
		{NH_EFFECT_DEVICE_SETTINGS, 0, "there ", {1, 0, 0}},
		{NH_EFFECT_DEVICE_PUSH, 1, "", {0, 0, 0}}, /* it is here */
		{NH_EFFECT_DEVICE_PUSH, 2, "", {0, 0, 0}}, /* it is nowhere */
		{NH_EFFECT_PRODUCT_SETTINGS, 2, "far there ", {1, 1, 0}},
		{NH_EFFECT_CERT_FORGET, 0, "far there ", {1, 1, 0}},
		{NH_EFFECT_CERT_KNOWN, 0, "", {0, 0, 0}},
		{NH_EFFECT_GROUP_WAKE, 0, "", {0, 0, 0}},
		{NH_EFFECT_MAIL, 0, "", {0, 0, 0}},
	};
	int64_t ids[3] = {0};
	struct nh_session s;
	OK(three(w, ids, &s, err));
	ids[2] = 999;
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		w->effects = (struct nh_effects){0};
		told[0] = 0;
		nh_effect_add(&w->ctx, table[i].kind, ids[table[i].device], NH_LIT("name"), nh_slice_of("\0\1", 2));
		CHECK(w->effects.count == 1); /* and carried out here as ever */
		/* In which order servers of all are told is the database's. */
		CHECK(strlen(told) == strlen(table[i].told) && (strlen(told) < 7 || strstr(told, "there ")));
		for (size_t k = 0; k < 3; k++) {
			size_t count = 0;
			OK(taken(w, servers[k], &count, err));
			CHECK(count == table[i].rows[k]);
			CHECK(!count || (w->effects.items[0].kind == table[i].kind && w->effects.items[0].id == ids[table[i].device] && nh_slice_eq_str(w->effects.items[0].name, "name") &&
			                 nh_slice_eq(w->effects.items[0].payload, nh_slice_of("\0\1", 2))));
		}
	}
	return NH_OK;
}

/* The older connection, and only that, is closed by whoever holds it; and what was left for a life that is over is nobody's. */
static nh_rc replacing(struct world *w, struct nh_err *err)
{
	int64_t ids[2];
	struct nh_session old, new;
	size_t count = 0;
	struct nh_node there = node("there", "4");
	OK(three(w, ids, &old, err));
	OK(join(w, ids[0], 1, "1.0.0", &new));
	OK(taken(w, "there", &count, err));
	CHECK(count == 1 && w->effects.items[0].kind == NH_EFFECT_DEVICE_CLOSE && w->effects.items[0].id == ids[0] && nh_slice_eq_str(w->effects.items[0].payload, old.connection_id));
	nh_effect_add(&w->ctx, NH_EFFECT_PRODUCT_SETTINGS, 1, NH_SLICE_EMPTY, NH_SLICE_EMPTY);
	OK(nh_node_enter(&w->ctx, &there, err));
	OK(taken(w, "there", &count, err));
	CHECK(count == 0);
	OK(taken(w, "far", &count, err));
	CHECK(count == 1);
	return NH_OK;
}

static nh_rc burying(struct world *w, struct nh_err *err)
{
	int64_t ids[2];
	struct nh_session s;
	struct nh_device_facts d;
	struct nh_node *list, there = node("there", "2"), again = node("there", "5");
	size_t count = 0, ended = 0;
	OK(three(w, ids, &s, err));
	OK(nh_node_list(&w->ctx, &list, &count, err));
	CHECK(count == 3 && nh_slice_eq_str(list[2].name, "there") && list[2].beat == 1);
	struct nh_node seen = list[2];
	/* It beats after all. */
	OK(nh_node_beat(&w->ctx, &there, err));
	CHECK(nh_node_bury(&w->ctx, &seen, &ended, E(w)) == NH_ENOTFOUND);
	seen.beat = 2;
	OK(nh_node_bury(&w->ctx, &seen, &ended, err));
	CHECK(ended == 1);
	OK(nh_device_facts_load(&w->ctx, ids[0], &d, err));
	CHECK(!d.connected);
	OK(nh_device_facts_load(&w->ctx, ids[1], &d, err));
	CHECK(d.connected);
	CHECK(nh_node_beat(&w->ctx, &there, E(w)) == NH_ENOTFOUND); /* it finds itself marked */
	seen.life = NH_LIT("");
	OK(nh_node_bury(&w->ctx, &seen, &ended, err)); /* none is left: its row goes */
	CHECK(ended == 0);
	CHECK(nh_node_bury(&w->ctx, &seen, &ended, E(w)) == NH_ENOTFOUND);
	CHECK(nh_node_beat(&w->ctx, &there, E(w)) == NH_ENOTFOUND);
	OK(nh_node_enter(&w->ctx, &again, err));
	CHECK(nh_node_beat(&w->ctx, &there, E(w)) == NH_ECONFLICT); /* another process goes by its name */
	OK(nh_node_leave(&w->ctx, &there, err));                    /* and is not signed off by this one */
	OK(nh_node_beat(&w->ctx, &again, err));
	OK(nh_node_leave(&w->ctx, &again, err));
	OK(nh_node_list(&w->ctx, &list, &count, err));
	CHECK(count == 2);
	return NH_OK;
}

static nh_rc secrets(struct world *w, struct nh_err *err)
{
	nh_slice first = w->config.secret_key;
	OK(nh_node_secret_check(&w->ctx, false, err));
	OK(nh_node_secret_check(&w->ctx, false, err));
	w->config.secret_key = NH_LIT("another secret that is long enough too");
	CHECK(nh_node_secret_check(&w->ctx, false, E(w)) == NH_EAUTH && strstr(E(w)->msg, "SECRET_KEY_BASE"));
	OK(nh_node_secret_check(&w->ctx, true, err));
	OK(nh_node_secret_check(&w->ctx, false, err));
	w->config.secret_key = first;
	CHECK(nh_node_secret_check(&w->ctx, false, E(w)) == NH_EAUTH);
	return NH_OK;
}

#define TEST(name) \
	static void test_##name(void **state) { on_each_engine(name, NULL); }
TEST(telling)
TEST(replacing)
TEST(burying)
TEST(secrets)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_standing_still), cmocka_unit_test(test_telling), cmocka_unit_test(test_replacing), cmocka_unit_test(test_burying), cmocka_unit_test(test_secrets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

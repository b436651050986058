/*
 * A small world for tests of hub rules: a database of each engine, a clock that stands where it is put, seeded randomness, two organizations that do not
 * know each other.
 *
 * A scenario runs inside one write transaction, which may be on another thread than the test: it reports with CHECK and never with cmocka's asserts.
 */
#pragma once

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hub/accounts.h"
#include "hub/products.h"
#include "testdb.h"

#define CHECK(condition)                                                                                                          \
	do {                                                                                                                      \
		if (!(condition))                                                                                                 \
			return nh_err_set(err, NH_EINTERNAL, __FILE__, __LINE__, "%s:%d: not so: %s (last refusal: %s)", __FILE__,       \
			                  __LINE__, #condition, w->last.msg);                                                     \
	} while (0)
/* The call refuses with code; the refusal's text is kept in w->last. */
#define CHECK_RC(code, call) CHECK((call) == (code))
#define OK(call) CHECK_RC(NH_OK, call)

struct world {
	struct nh_ctx ctx;
	struct nh_arena arena;
	struct nh_clock clock;
	struct nh_rng rng;
	struct nh_rng_seeded seed;
	struct nh_hub_config config;
	struct nh_effects effects;
	int64_t now_us;
	struct nh_err last;
	json_t *errors;
	struct nh_user ada, eve;    /* ada: admin of acme; eve: of another organization */
	struct nh_actor as_ada, as_eve;
	struct nh_org acme, other;
	struct nh_product widget;   /* acme's "Thermo Widget" */
	void *arg;
};

#define NO_ERRORS(w) (json_decref((w)->errors), (w)->errors = NULL, &(w)->errors)
#define E(w) (&(w)->last)

/* The refusal that the last call left names field (NULL: detail) and holds text. */
static inline bool refused_with(struct world *w, const char *field, const char *text)
{
	const json_t *value = json_object_get(w->errors, field ? field : "detail");
	const char *found = json_string_value(json_is_array(value) ? json_array_get(value, 0) : value);
	return found && strstr(found, text);
}

static inline size_t effects_of(const struct world *w, nh_effect_kind kind)
{
	size_t n = 0;
	for (size_t i = 0; i < w->effects.count; i++)
		n += w->effects.items[i].kind == kind;
	return n;
}

/* A running server reads it on threads of its own. */
static inline int64_t world_now(void *ctx) { return __atomic_load_n(&((struct world *)ctx)->now_us, __ATOMIC_RELAXED); }
static inline void world_pass(struct world *w, int64_t us) { __atomic_fetch_add(&w->now_us, us, __ATOMIC_RELAXED); }

static inline nh_rc world_user(struct world *w, const char *name, const char *email, struct nh_user *out, struct nh_err *err)
{
	struct nh_new_user input;
	OK(nh_user_prepare(&w->arena, nh_slice_str(name), nh_slice_str(email), NH_LIT("correct horse battery"), &nh_password_cost_test, &input, NULL, E(w)));
	OK(nh_user_create(&w->ctx, &input, out, NULL, E(w)));
	return NH_OK;
}

static inline nh_rc world_fill(struct world *w, struct nh_err *err)
{
	NH_TRY(world_user(w, "Ada Lovelace", "ada@example.com", &w->ada, err));
	NH_TRY(world_user(w, "Eve", "eve@example.com", &w->eve, err));
	w->as_ada = nh_actor_of_user(&w->ada);
	w->as_eve = nh_actor_of_user(&w->eve);
	OK(nh_org_create(&w->ctx, &w->as_ada, NH_LIT("acme"), &w->acme, NULL, E(w)));
	OK(nh_org_create(&w->ctx, &w->as_eve, NH_LIT("other"), &w->other, NULL, E(w)));
	OK(nh_product_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("Thermo Widget"), &w->widget, NULL, E(w)));
	return NH_OK;
}

struct scenario {
	struct world *world;
	nh_rc (*run)(struct world *w, struct nh_err *err);
};

static inline nh_rc run_scenario(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct scenario *s = arg;
	struct world *w = s->world;
	nh_arena_fini(&w->arena);
	w->seed = (struct nh_rng_seeded){0};
	w->rng = nh_rng_seeded_init(&w->seed, 42);
	w->clock = (struct nh_clock){world_now, w};
	w->now_us = INT64_C(1800000000) * NH_US_PER_S;
	w->effects = (struct nh_effects){0};
	w->config = (struct nh_hub_config){
		.secret_key = NH_LIT("0123456789abcdef0123456789abcdef"),
		.download_base_url = "https://devices.example.com",
		.download_ttl_s = 86400,
		.max_firmware_bytes = 1 << 20,
		.shared_secrets_enabled = true,
	};
	w->ctx = (struct nh_ctx){tx, &w->arena, &w->clock, &w->rng, &w->config, &w->effects};
	NH_TRY(world_fill(w, err));
	return s->run(w, err);
}

/* Runs the scenario on a fresh database of one engine; false where that engine is not at hand. A failure's message begins with `what`. */
static inline bool on_engine(unsigned engine, nh_rc (*run)(struct world *w, struct nh_err *err), void *arg, const char *what)
{
	struct nh_db *db = testdb_open(engine);
	if (!db)
		return false;
	struct world world = {.arg = arg};
	struct scenario s = {&world, run};
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = nh_db_write(db, run_scenario, &s, &err);
	json_decref(world.errors);
	nh_arena_fini(&world.arena);
	testdb_close(db);
	if (rc != NH_OK)
		fail_msg("%s%s: %s", what, testdb_name(engine), err.msg);
	return true;
}

/* The same on each engine at hand. */
static inline void on_each_engine(nh_rc (*run)(struct world *w, struct nh_err *err), void *arg)
{
	for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++)
		on_engine(engine, run, arg, "");
}

/*
 * The world that a run begins with: an organization with two products and a stranger's with one, firmwares for two platforms, groups, devices.
 */
#include <stdio.h>

#include "simulate_int.h"
#include "store/foundation.h"

static const char *const platforms[] = {"rpi4", "bbb"};

nh_rc sim_user_make(struct nh_ctx *ctx, struct sim *s, const char *name, const char *email, struct nh_actor *out, struct nh_err *err)
{
	struct nh_new_user input = {.name = nh_slice_str(name), .email = nh_slice_str(email), .password_hash = "!"};
	struct nh_user user;
	NH_TRY(nh_user_create(ctx, &input, &user, NULL, err));
	*out = nh_actor_of_user(&user);
	out->name = nh_arena_copy(&s->arena, user.name);
	return NH_OK;
}

nh_rc sim_firmware_make(struct nh_ctx *ctx, struct sim *s, struct sim_product *p, int64_t key, const char *version, const char *platform, const char *architecture, struct nh_err *err)
{
	size_t number = p->firmware_count, at = (size_t)(p - s->products);
	struct sim_firmware *f = &p->firmwares[p->firmware_count++];
	struct nh_rows *rows = NULL;
	NH_ASSERT(number < SIM_FIRMWARES);
	f->platform = platform;
	f->architecture = architecture;
	snprintf(f->uuid, sizeof f->uuid, "00000000-0000-4000-8%03zu-%012zu", at % 1000, number + 1);
	snprintf(f->version, sizeof f->version, "%s", version);
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_firmware_insert,
			  NH_PARAMS(nh_p_int(p->org_id), nh_p_int(p->product.id), nh_p_int(key), nh_p_str(f->uuid), nh_p_str(f->version), nh_p_blob(nh_slice_str(f->version)),
				    nh_p_str(f->platform), nh_p_str(f->architecture), nh_p_null(), nh_p_null(), nh_p_null(), nh_p_null(), nh_p_int(2500000), nh_p_str("ABCDEF"), nh_p_str("[]"), nh_p_int(!s->lean),
				    nh_p_str("0.2.0"), nh_p_str(nh_arena_printf(ctx->arena, "firmware/%zu-%zu.fw", at, number)), nh_p_int(nh_ctx_now(ctx))),
			  &rows, err));
	f->id = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return nh_sql_exec(ctx->tx, &nh_q_product_count_firmwares, NH_PARAMS(nh_p_int(1), nh_p_int(p->product.id)), NULL, err);
}

nh_rc sim_product_make(struct nh_ctx *ctx, struct sim *s, const struct nh_actor *actor, int64_t org_id, const char *name, int64_t *key, struct nh_err *err)
{
	struct sim_product *p = &s->products[s->product_count++];
	struct nh_rows *rows = NULL;
	nh_slice text = nh_slice_str(nh_arena_printf(ctx->arena, "%zuAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", s->product_count));
	NH_TRY(nh_product_create(ctx, actor, org_id, nh_slice_str(name), &p->product, NULL, err));
	p->org_id = org_id;
	p->product.name = nh_arena_copy(&s->arena, p->product.name);
	p->product.org_name = nh_arena_copy(&s->arena, p->product.org_name);
	NH_TRY(nh_sql_one(ctx->tx, &nh_q_key_insert,
			  NH_PARAMS(nh_p_int(org_id), nh_p_null(), nh_p_str(name), nh_p_str("ed25519"), nh_p_text(text), nh_p_int(nh_ctx_now(ctx))), &rows, err));
	*key = nh_col_int(rows, 0);
	nh_sql_end(rows);
	return NH_OK;
}

static nh_rc stock(struct nh_ctx *ctx, struct sim *s, const struct nh_actor *actor, int64_t org_id, const char *name, size_t firmwares, struct nh_err *err)
{
	int64_t key;
	NH_TRY(sim_product_make(ctx, s, actor, org_id, name, &key, err));
	struct sim_product *p = &s->products[s->product_count - 1];
	while (p->firmware_count < firmwares)
		NH_TRY(sim_firmware_make(ctx, s, p, key, nh_arena_printf(ctx->arena, "1.%zu.0", p->firmware_count), platforms[p->firmware_count % 4 == 3], "aarch64", err));
	return NH_OK;
}

static nh_rc make_group(struct nh_ctx *ctx, struct sim *s, const struct nh_actor *actor, const struct sim_product *p, size_t number, int64_t *id, struct nh_err *err)
{
	struct nh_group group;
	json_t *errors = NULL;
	NH_AUTO_JSON json_t *fields = json_pack("{s:s, s:s, s:s, s:i, s:i, s:{}}", "name", nh_arena_printf(ctx->arena, "group-%zu", number), "firmware", p->firmwares[number % 2].uuid, "state", "on",
						"concurrent_updates", 2 + 2 * (int)number, "penalty_timeout_minutes", 60, "conditions");
	if (number > 0)
		json_object_set_new(json_object_get(fields, "conditions"), "tags", json_pack("[s]", nh_arena_printf(ctx->arena, "group-%zu", number)));
	nh_rc rc = nh_group_create(ctx, actor, p->org_id, p->product.id, fields, &group, &errors, err);
	json_decref(errors);
	*id = rc == NH_OK ? group.id : 0;
	return rc;
}

static nh_rc make_device(struct nh_ctx *ctx, struct sim *s, struct sim_device *d, struct nh_err *err)
{
	const struct sim_product *p = &s->products[0];
	struct nh_device made;
	json_t *errors = NULL;
	const struct sim_firmware *f = &p->firmwares[sim_pick(s, p->firmware_count)];
	NH_AUTO_JSON json_t *fields = json_pack("{s:[s]}", "tags", nh_arena_printf(ctx->arena, "group-%zu", d->index % s->scenario->groups));
	d->identifier = nh_slice_str(nh_arena_printf(&s->arena, "device-%zu", d->index));
	nh_rc rc = nh_device_create(ctx, &s->ada, &p->product, d->identifier, fields, &made, &errors, err);
	json_decref(errors);
	NH_TRY(rc);
	d->id = made.id;
	d->polls = sim_pick(s, 100) < s->scenario->polling_percent;
	d->platform = f->platform;
	d->architecture = f->architecture;
	d->validated = true;
	snprintf(d->running, sizeof d->running, "%s", f->uuid);
	snprintf(d->version, sizeof d->version, "%s", f->version);
	return NH_OK;
}

static nh_rc organizations_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	struct nh_org acme, other;
	struct nh_member member;
	json_t *errors = NULL;
	NH_TRY(sim_user_make(ctx, s, "Ada Lovelace", "ada@example.com", &s->ada, err));
	NH_TRY(sim_user_make(ctx, s, "Eve", "eve@example.com", &s->eve, err));
	NH_TRY(nh_org_create(ctx, &s->ada, NH_LIT("acme"), &acme, NULL, err));
	NH_TRY(nh_org_create(ctx, &s->eve, NH_LIT("other"), &other, NULL, err));
	nh_rc rc = nh_member_add(ctx, &s->eve, other.id, NH_LIT("ada@example.com"), NH_LIT("admin"), &member, &errors, err); /* so that she may move devices there */
	json_decref(errors);
	NH_TRY(rc);
	NH_TRY(stock(ctx, s, &s->ada, acme.id, "Thermo Widget", s->scenario->firmwares, err));
	NH_TRY(stock(ctx, s, &s->ada, acme.id, "Hydro Widget", 3, err));
	NH_TRY(stock(ctx, s, &s->eve, other.id, "Thermo Widget", 4, err));
	int64_t unused;
	for (size_t i = 0; i < s->scenario->groups; i++)
		NH_TRY(make_group(ctx, s, &s->ada, &s->products[0], i, &s->groups[i], err));
	s->groups_made = s->scenario->groups;
	NH_TRY(make_group(ctx, s, &s->ada, &s->products[1], 0, &unused, err));
	return make_group(ctx, s, &s->eve, &s->products[2], 0, &unused, err);
}

static nh_rc devices_tx(struct nh_ctx *ctx, struct sim *s, void *arg, struct nh_err *err)
{
	for (size_t *next = arg, end = *next + 200; *next < s->device_count && *next < end; ++*next)
		NH_TRY(make_device(ctx, s, &s->devices[*next], err));
	return NH_OK;
}

nh_rc sim_nodes_make(struct sim *s, struct nh_err *err)
{
	static const char *const names[SIM_NODES] = {"node-a", "node-b"};
	s->node_count = s->scenario->nodes;
	s->device_count = s->scenario->devices;
	s->devices = nh_xcalloc(s->device_count, sizeof *s->devices);
	for (size_t i = 0; i < s->device_count; i++)
		s->devices[i].index = i;
	for (size_t i = 0; i < s->node_count; i++) {
		s->nodes[i] = (struct sim_node){.index = i, .sim = s};
		s->nodes[i].config = (struct nh_hub_config){.secret_key = NH_LIT("0123456789abcdef0123456789abcdef"), .download_base_url = "https://devices.example.com", .download_ttl_s = 86400,
							    .max_firmware_bytes = 1 << 20, .shared_secrets_enabled = true, .node = nh_slice_str(names[i])};
		NH_TRY(sim_node_start(s, &s->nodes[i], err));
	}
	return NH_OK;
}

nh_rc sim_world_make(struct sim *s, struct nh_err *err)
{
	size_t next = 0;
	NH_TRY(sim_nodes_make(s, err));
	NH_TRY(sim_write(s, &s->nodes[0], organizations_tx, NULL, err));
	while (next < s->device_count)
		NH_TRY(sim_write(s, &s->nodes[0], devices_tx, &next, err));
	return NH_OK;
}

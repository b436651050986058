/*
 * What devices are called in networks of other kinds (iroh, NetBird, Tailscale, WireGuard). A name belongs to one holder on the whole server: a device may bring its own, replace its own, and
 * take over what its organization has registered for whoever comes; it never gets one that somebody else holds.
 *
 * source: reference/device-protocol "12.6"; reference/server-behaviour "1.9", "7.7"
 */
#include "hub/audit.h"
#include "input_int.h"
#include "rollout_int.h"
#include "rows_int.h"
#include "store/overview.h"
#include "telemetry_int.h"

#define IDENTITIES_MAX 10 /* of one report */
#define NAME_MAX_CHARACTERS 255

struct reported {
	nh_slice service, instance, identifier, details;
};

struct holder {
	int64_t id, org_id, device_id, member_id;
	nh_slice instance, source, details;
};

bool nh_network_service_known(nh_slice service)
{
	static const char *const services[] = {"iroh", "netbird", "tailscale", "wireguard"};
	for (size_t i = 0; i < NH_ARRAY_LEN(services); i++) {
		if (nh_slice_eq_str(service, services[i]))
			return true;
	}
	return false;
}

bool nh_network_name_ok(nh_slice name)
{
	return name.len > 0 && nh_input_text_ok(name, 4 * NAME_MAX_CHARACTERS) && nh_input_characters(name) <= NAME_MAX_CHARACTERS;
}

static void read_fields(struct nh_arena *arena, const json_t *entry, struct reported *out)
{
	const json_t *details = json_object_get(entry, "details"), *instance = json_object_get(entry, "instance");
	*out = (struct reported){
		.service = nh_json_text(entry, "service"),
		.instance = instance && !json_is_null(instance) ? nh_json_text(entry, "instance") : NH_LIT("default"),
		.identifier = nh_json_text(entry, "identifier"),
		.details = json_is_object(details) ? nh_json_arena(arena, details) : NH_LIT("{}"),
	};
}

static bool read_entry(struct nh_arena *arena, const json_t *entry, struct reported *out)
{
	read_fields(arena, entry, out);
	return nh_network_service_known(out->service) && nh_network_name_ok(out->instance) && nh_network_name_ok(out->identifier) && out->details.len <= NH_NETWORK_DETAILS_MAX;
}

static void read_holder(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct holder *)item = (struct holder){
		.id = nh_col_int(rows, 0),
		.org_id = nh_col_int(rows, 1),
		.device_id = nh_col_int(rows, 2),
		.member_id = nh_col_int(rows, 3),
		.instance = nh_col_text(rows, 4, arena),
		.source = nh_col_text(rows, 5, arena),
		.details = nh_col_text(rows, 6, arena),
	};
}

static void read_own(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct holder *)item = (struct holder){.id = nh_col_int(rows, 0), .source = nh_col_text(rows, 1, arena)};
}

static bool is_operators(const struct holder *h) { return nh_slice_eq_str(h->source, "operator"); }

/* The device's row of that service and instance; id 0: none. */
static nh_rc find_own(struct nh_ctx *ctx, int64_t device_id, const struct reported *r, struct holder *own, struct nh_err *err)
{
	*own = (struct holder){0};
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_identity_of, NH_PARAMS(nh_p_int(device_id), nh_p_text(r->service), nh_p_text(r->instance)), read_own, own, "identity", err);
	return rc == NH_ENOTFOUND ? NH_OK : rc;
}

/* ---- the rules: each tells whether something changed, or was ignored --------------------------------------------------------- */

struct outcome {
	unsigned changed, ignored;
};

/* Nobody has it: it is the device's, in place of the one it had there. */
static nh_rc bring(struct nh_ctx *ctx, const struct nh_session *s, const struct reported *r, struct outcome *o, struct nh_err *err)
{
	struct holder own;
	int64_t now = nh_ctx_now(ctx);
	NH_TRY(find_own(ctx, s->device_id, r, &own, err));
	if (own.id && is_operators(&own)) {
		o->ignored++;
		return NH_OK;
	}
	o->changed++;
	if (own.id)
		return nh_sql_exec(ctx->tx, &nh_q_identity_replace, NH_PARAMS(nh_p_text(r->identifier), nh_p_text(r->details), nh_p_int(now), nh_p_int(own.id)), NULL, err);
	return nh_sql_exec(ctx->tx, &nh_q_identity_add,
	                   NH_PARAMS(nh_p_int(s->org_id), nh_p_int(s->device_id), nh_p_text(r->service), nh_p_text(r->instance), nh_p_text(r->identifier), nh_p_text(r->details),
	                             nh_p_int(now)),
	                   NULL, err);
}

/* The device has it already. What an operator wrote stays as it was written. */
static nh_rc refresh(struct nh_ctx *ctx, const struct holder *h, const struct reported *r, struct outcome *o, struct nh_err *err)
{
	int64_t now = nh_ctx_now(ctx);
	if (is_operators(h) || nh_slice_eq(h->details, r->details))
		return nh_sql_exec(ctx->tx, &nh_q_identity_touch, NH_PARAMS(nh_p_int(now), nh_p_int(h->id)), NULL, err);
	o->changed++;
	return nh_sql_exec(ctx->tx, &nh_q_identity_refresh, NH_PARAMS(nh_p_text(r->details), nh_p_int(now), nh_p_int(h->id)), NULL, err);
}

/* The organization registered it for whoever comes: the device came. */
static nh_rc take_over(struct nh_ctx *ctx, const struct nh_session *s, const struct holder *h, const struct reported *r, struct outcome *o, struct nh_err *err)
{
	struct holder own;
	NH_TRY(find_own(ctx, s->device_id, r, &own, err));
	if (own.id)
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_identity_delete, NH_PARAMS(nh_p_int(own.id)), NULL, err));
	o->changed++;
	return nh_sql_exec(ctx->tx, &nh_q_identity_take,
	                   NH_PARAMS(nh_p_int(s->device_id), nh_p_text(r->instance), nh_p_text(r->details), nh_p_int(nh_ctx_now(ctx)), nh_p_int(h->id)), NULL, err);
}

static nh_rc settle(struct nh_ctx *ctx, const struct nh_session *s, const struct reported *r, struct outcome *o, struct nh_err *err)
{
	struct holder h = {0};
	nh_rc rc = nh_one_row(ctx->tx, ctx->arena, &nh_q_identity_holder, NH_PARAMS(nh_p_text(r->service), nh_p_text(r->identifier)), read_holder, &h, "identity", err);
	if (rc == NH_ENOTFOUND)
		return bring(ctx, s, r, o, err);
	NH_TRY(rc);
	if (h.device_id == s->device_id && nh_slice_eq(h.instance, r->instance))
		return refresh(ctx, &h, r, o, err);
	if (h.org_id == s->org_id && !h.device_id && !h.member_id)
		return take_over(ctx, s, &h, r, o, err);
	o->ignored++; /* claimed elsewhere */
	return NH_OK;
}

nh_rc nh_network_identity_report(struct nh_ctx *ctx, struct nh_told *told, struct nh_err *err)
{
	const json_t *list = json_object_get(told->payload, "identities");
	struct outcome o = {.ignored = !json_is_array(list)};
	struct reported r;
	size_t count = json_array_size(list);
	for (size_t i = 0; i < count && i < IDENTITIES_MAX; i++) {
		if (read_entry(ctx->arena, json_array_get(list, i), &r))
			NH_TRY(settle(ctx, told->session, &r, &o, err));
		else
			o.ignored++;
	}
	if (o.changed > 0)
		nh_telemetry_topic(ctx, told->session->device_id, NH_LIT("network_identities"));
	told->ignored += o.ignored + (unsigned)(count > IDENTITIES_MAX ? count - IDENTITIES_MAX : 0);
	return NH_OK;
}

/* ---- what operators say ---------------------------------------------------------------------------------------------------- */

/* The first field of what an operator wrote that is not as it should be; NULL: none. */
static const char *bad_field(const struct reported *r, const json_t *fields)
{
	const json_t *details = json_object_get(fields, "details"), *instance = json_object_get(fields, "instance");
	if (!nh_network_service_known(r->service))
		return "service";
	if (!nh_network_name_ok(r->identifier))
		return "identifier";
	if ((instance && !json_is_string(instance) && !json_is_null(instance)) || !nh_network_name_ok(r->instance))
		return "instance";
	if ((details && !json_is_object(details) && !json_is_null(details)) || r->details.len > NH_NETWORK_DETAILS_MAX)
		return "details";
	return NULL;
}

nh_rc nh_network_identity_assign(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, const json_t *fields, struct nh_network_identity *out,
				 json_t **errors, struct nh_err *err)
{
	struct reported r;
	int64_t holder;
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_IDENTITY_CREATE, err));
	read_fields(ctx->arena, fields, &r);
	const char *bad = bad_field(&r, fields);
	if (bad)
		return nh_refuse(errors, err, NH_EINVAL, bad, "is invalid");
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_identity_holder, NH_PARAMS(nh_p_text(r.service), nh_p_text(r.identifier)), &holder, err);
	if (rc == NH_OK)
		return nh_refuse(errors, err, NH_ECONFLICT, "identifier", "has already been taken");
	if (rc != NH_ENOTFOUND)
		return rc;
	rc = nh_sql_exec(ctx->tx, &nh_q_identity_assign,
	                 NH_PARAMS(nh_p_int(device->org_id), nh_p_int(device->id), nh_p_text(r.service), nh_p_text(r.instance), nh_p_text(r.identifier), nh_p_text(r.details),
	                           nh_p_int(nh_ctx_now(ctx))),
	                 NULL, err);
	if (rc == NH_ECONFLICT) /* the device has one of that service and instance */
		return nh_refuse(errors, err, NH_EINVAL, "instance", "has already been taken");
	NH_TRY(rc);
	nh_telemetry_topic(ctx, device->id, NH_LIT("network_identities"));
	NH_TRY(nh_audit_add(ctx, actor, device->org_id, NH_AUDIT_DEVICE, device->id, err, "%.*s gave device %.*s the %.*s identity %.*s", NH_ARG(actor->name),
	                    NH_ARG(device->identifier), NH_ARG(r.service), NH_ARG(r.identifier)));
	return nh_one_row(ctx->tx, ctx->arena, &nh_q_identity_get, NH_PARAMS(nh_p_int(device->id), nh_p_text(r.service), nh_p_text(r.identifier)), nh_network_identity_read, out,
	                  "network identity", err);
}

nh_rc nh_network_identity_remove(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_device *device, nh_slice service, nh_slice identifier, struct nh_err *err)
{
	int64_t changed = 0;
	NH_TRY(nh_may(ctx, actor, device->org_id, NH_MAY_IDENTITY_DELETE, err));
	if (nh_network_service_known(service) && nh_network_name_ok(identifier))
		NH_TRY(nh_sql_exec(ctx->tx, &nh_q_identity_remove, NH_PARAMS(nh_p_int(device->id), nh_p_text(service), nh_p_text(identifier)), &changed, err));
	if (!changed)
		return NH_FAIL(err, NH_ENOTFOUND, "no such network identity");
	nh_telemetry_topic(ctx, device->id, NH_LIT("network_identities"));
	return nh_audit_add(ctx, actor, device->org_id, NH_AUDIT_DEVICE, device->id, err, "%.*s took the %.*s identity %.*s from device %.*s", NH_ARG(actor->name), NH_ARG(service),
	                    NH_ARG(identifier), NH_ARG(device->identifier));
}

/* ---- what people see ---------------------------------------------------------------------------------------------------- */

void nh_network_identity_read(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_network_identity *)item = (struct nh_network_identity){
		.id = nh_col_int(rows, 0),
		.device_id = nh_col_int(rows, 1),
		.service = nh_col_text(rows, 2, arena),
		.instance = nh_col_text(rows, 3, arena),
		.identifier = nh_col_text(rows, 4, arena),
		.details = nh_col_text(rows, 5, arena),
		.source = nh_col_text(rows, 6, arena),
		.last_reported_us = nh_col_int(rows, 7),
		.inserted_at_us = nh_col_int(rows, 8),
		.updated_at_us = nh_col_int(rows, 9),
	};
}

nh_rc nh_network_identity_list(struct nh_ctx *ctx, int64_t device_id, struct nh_network_identity **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_network_identity);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_identity_list, NH_PARAMS(nh_p_int(device_id)), nh_network_identity_read, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

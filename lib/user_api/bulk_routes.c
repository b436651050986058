/*
 * One action on many devices: those that are named, or all that a filter or a query finds. Each device has its own entry in the audit log, as if the action had been asked for it alone, and
 * one that refuses keeps no other: what was refused is in the answer, with the reason.
 *
 * Devices are done in batches, a transaction each; a batch in which one refuses is done again one by one. What a crash cuts off is done for whole batches or not at all.
 *
 * source: reference/server-behaviour "14.3"
 */
#include "api_int.h"
#include "hub/updates.h"
#include "store/device_query.h"

#define DEVICES_MAX 10000
#define NAMED_MAX 1000
#define BATCH 100
#define PAGE 1000

struct bulk {
	struct call call; /* first */
	const struct action *action;
	nh_slice *identifiers;
	size_t count;
	/* the batch that is under way */
	size_t from, to, bad;
	json_t *failed;
	size_t done;
};

/* ---- the actions --------------------------------------------------------------------------------------------------------- */

static nh_rc set_fields(struct call *call, const struct nh_device *d, json_t *take_fields, struct nh_err *err)
{
	struct nh_device changed;
	NH_AUTO_JSON json_t *fields = take_fields;
	return nh_device_update(&call->ctx, &call->actor, d, fields, &changed, &call->errors, err);
}

static nh_rc set_tags(struct call *call, const struct nh_device *d, struct nh_err *err)
{
	return set_fields(call, d, json_pack("{s:O}", "tags", json_object_get(call->params, "tags")), err);
}

static nh_rc enable_updates(struct call *call, const struct nh_device *d, struct nh_err *err) { return set_fields(call, d, json_pack("{s:b}", "updates_enabled", 1), err); }

static nh_rc disable_updates(struct call *call, const struct nh_device *d, struct nh_err *err) { return set_fields(call, d, json_pack("{s:b}", "updates_enabled", 0), err); }

static nh_rc set_deployment(struct call *call, const struct nh_device *d, struct nh_err *err)
{
	struct nh_group group;
	NH_TRY(nh_group_get(&call->ctx, call->product.id, nh_json_text(call->params, "deployment"), &group, err));
	return set_fields(call, d, json_pack("{s:I}", "deployment_id", (json_int_t)group.id), err);
}

static nh_rc clear_deployment(struct call *call, const struct nh_device *d, struct nh_err *err) { return set_fields(call, d, json_pack("{s:n}", "deployment_id"), err); }

static nh_rc move(struct call *call, const struct nh_device *d, struct nh_err *err)
{
	struct nh_device moved;
	return nh_device_move(&call->ctx, &call->actor, d, nh_json_text(call->params, "new_org_name"), nh_json_text(call->params, "new_product_name"), &moved, &call->errors, err);
}

static nh_rc clear_penalty(struct call *call, const struct nh_device *d, struct nh_err *err) { return nh_penalty_clear(&call->ctx, &call->actor, d->org_id, d->id, err); }

static nh_rc upgrade(struct call *call, const struct nh_device *d, struct nh_err *err)
{
	return nh_update_push(&call->ctx, &call->actor, d->org_id, d->id, nh_json_text(call->params, "uuid"), err);
}

static nh_rc reboot(struct call *call, const struct nh_device *d, struct nh_err *err) { return nh_device_reboot(&call->ctx, &call->actor, d->org_id, d->id, err); }

static nh_rc reconnect(struct call *call, const struct nh_device *d, struct nh_err *err) { return nh_device_reconnect(&call->ctx, &call->actor, d->org_id, d->id, err); }

static nh_rc delete_one(struct call *call, const struct nh_device *d, struct nh_err *err) { return nh_device_delete(&call->ctx, &call->actor, d, err); }

static const struct action {
	const char *name;
	nh_action may;
	nh_rc (*run)(struct call *call, const struct nh_device *device, struct nh_err *err);
	const char *needs[2]; /* members of the body */
} actions[] = {
	{"set_tags", NH_MAY_DEVICE_UPDATE, set_tags, {"tags"}},
	{"enable_updates", NH_MAY_DEVICE_UPDATE, enable_updates, {NULL}},
	{"disable_updates", NH_MAY_DEVICE_UPDATE, disable_updates, {NULL}},
	{"set_deployment", NH_MAY_DEVICE_UPDATE, set_deployment, {"deployment"}},
	{"clear_deployment", NH_MAY_DEVICE_UPDATE, clear_deployment, {NULL}},
	{"move", NH_MAY_DEVICE_MOVE, move, {"new_org_name", "new_product_name"}},
	{"clear_penalty", NH_MAY_DEVICE_FORGIVE, clear_penalty, {NULL}},
	{"upgrade", NH_MAY_DEVICE_UPGRADE, upgrade, {"uuid"}},
	{"reboot", NH_MAY_DEVICE_REBOOT, reboot, {NULL}},
	{"reconnect", NH_MAY_DEVICE_RECONNECT, reconnect, {NULL}},
	{"delete", NH_MAY_DEVICE_DELETE, delete_one, {NULL}},
};
static const char *const words_actions[] = {"set_tags", "enable_updates", "disable_updates", "set_deployment", "clear_deployment", "move", "clear_penalty", "upgrade", "reboot",
                                            "reconnect", "delete", NULL};
_Static_assert(NH_ARRAY_LEN(words_actions) == NH_ARRAY_LEN(actions) + 1, "a word for each action");

/* ---- which devices --------------------------------------------------------------------------------------------------------- */

static nh_rc refuse(struct call *call, const char *field, struct nh_err *err, const char *text)
{
	json_decref(call->errors);
	call->errors = json_pack("{s:[s]}", field, text);
	return NH_FAIL(err, NH_EINVAL, "%s %s", field, text);
}

static nh_rc take_named(struct bulk *b, const json_t *list, struct nh_err *err)
{
	size_t i;
	json_t *item;
	if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > NAMED_MAX)
		return refuse(&b->call, "identifiers", err, "must be a list of 1 to 1000 identifiers");
	json_array_foreach(list, i, item) {
		if (!json_is_string(item))
			return refuse(&b->call, "identifiers", err, "is invalid");
		b->identifiers[b->count++] = nh_slice_of(json_string_value(item), json_string_length(item));
	}
	return NH_OK;
}

/* A filter that is not known would find all devices: here it is refused. */
static nh_rc read_filters(struct call *call, const json_t *object, struct nh_filter *out, size_t *count, struct nh_err *err)
{
	const char *key;
	json_t *value;
	if (object && !json_is_object(object))
		return refuse(call, "filters", err, "is invalid");
	json_object_foreach((json_t *)(uintptr_t)object, key, value) {
		struct nh_filter filter = {nh_slice_str(key), nh_slice_of(json_string_value(value), json_string_length(value))};
		const struct nh_device_search alone = {.filters = &filter, .filter_count = 1};
		if (*count == NH_DEVICE_FILTERS_MAX || !json_is_string(value) || filter.value.len == 0 || !nh_device_search_filtered(&alone))
			return refuse(call, "filters", err, "may only name filters that are known, each with a text");
		out[(*count)++] = filter;
	}
	return NH_OK;
}

static nh_rc take_found(struct bulk *b, struct nh_err *err)
{
	struct call *call = &b->call;
	struct nh_filter filters[NH_DEVICE_FILTERS_MAX];
	struct nh_device_query query = {.filters = filters, .text = nh_json_text(call->params, "query"), .page_size = PAGE, .page_size_max = PAGE, .keyset = true};
	struct nh_device_page page;
	NH_TRY(read_filters(call, json_object_get(call->params, "filters"), filters, &query.filter_count, err));
	do {
		NH_TRY(nh_device_list(&call->ctx, &call->actor, &call->product, &query, &page, &call->errors, err));
		if (b->count + page.count > DEVICES_MAX)
			return refuse(call, "filters", err, "find more than 10000 devices; ask for fewer at once");
		for (size_t i = 0; i < page.count; i++)
			b->identifiers[b->count++] = page.items[i].identifier;
		query.after = page.next;
	} while (page.next.len > 0);
	return NH_OK;
}

static nh_rc prepare(struct call *call, struct nh_err *err)
{
	struct bulk *b = (struct bulk *)call;
	nh_slice name = nh_json_text(call->params, "action");
	const json_t *named = json_object_get(call->params, "identifiers");
	bool found = json_object_get(call->params, "filters") || json_object_get(call->params, "query");
	b->action = NULL;
	b->count = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(actions); i++) {
		if (nh_slice_eq_str(name, actions[i].name))
			b->action = &actions[i];
	}
	if (!b->action)
		return refuse(call, "action", err, name.ptr ? "is invalid" : "can't be blank");
	NH_TRY(nh_may(&call->ctx, &call->actor, call->org.id, b->action->may, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(b->action->needs) && b->action->needs[i]; i++) {
		if (!json_object_get(call->params, b->action->needs[i]))
			return refuse(call, b->action->needs[i], err, "can't be blank");
	}
	if (!named == !found)
		return refuse(call, "identifiers", err, "either these, or filters and query must say which devices are meant");
	b->identifiers = NH_NEW_ARRAY(call->arena, named ? NAMED_MAX : DEVICES_MAX, nh_slice);
	return named ? take_named(b, named, err) : take_found(b, err);
}

/* ---- doing it -------------------------------------------------------------------------------------------------------------- */

static nh_rc run_batch(struct call *call, struct nh_err *err)
{
	struct bulk *b = (struct bulk *)call;
	struct nh_device device;
	for (b->bad = b->from; b->bad < b->to; b->bad++) {
		NH_TRY(nh_device_open(&call->ctx, &call->actor, &call->product, b->identifiers[b->bad], b->action->may, &device, err));
		NH_TRY(b->action->run(call, &device, err));
	}
	return NH_OK;
}

/* Refusals are a device's; everything else ends the whole. */
static bool refused(nh_rc rc) { return rc == NH_EINVAL || rc == NH_ENOTFOUND || rc == NH_ECONFLICT || rc == NH_EPERM || rc == NH_EUNSUPPORTED; }

static nh_rc run_range(struct bulk *b, size_t from, size_t to, struct nh_err *err)
{
	b->from = from;
	b->to = to;
	nh_rc rc = call_transact(&b->call, run_batch, true, err);
	if (rc == NH_OK) {
		call_effects(&b->call);
		b->done += to - from;
		return NH_OK;
	}
	if (!refused(rc))
		return rc;
	if (to - from > 1) {
		for (size_t i = from; i < to; i++)
			NH_TRY(run_range(b, i, i + 1, err));
		return NH_OK;
	}
	json_array_append_new(b->failed, json_pack("{s:o, s:s}", "identifier", nh_json_new_text(b->identifiers[from]), "reason", err->msg));
	return NH_OK;
}

void handle_bulk(struct nh_request *req, struct nh_response *res)
{
	struct bulk b = {0};
	struct nh_err err = NH_ERR_INIT;
	if (!call_open(&b.call, req, res, req->route->extra))
		return;
	NH_AUTO_JSON json_t *failed = json_array();
	b.failed = failed;
	nh_rc rc = call_transact(&b.call, prepare, false, &err);
	for (size_t from = 0; rc == NH_OK && from < b.count; from += BATCH)
		rc = run_range(&b, from, from + BATCH < b.count ? from + BATCH : b.count, &err);
	if (rc == NH_OK) {
		b.call.status = 0; /* the last one's may have been a refusal */
		b.call.data = json_pack("{s:I, s:O}", "done", (json_int_t)b.done, "failed", b.failed);
	}
	call_close(&b.call, rc, &err);
}

static SHAPE(bulk_body, "BulkAction", {"action", FIELD_TEXT, .words = words_actions},
             {"identifiers", FIELD_TEXT, FIELD_LIST | FIELD_OPTIONAL, .about = "Of the devices that are meant, up to 1000; or filters, or query, or both"},
             {"filters", FIELD_MAP, FIELD_OPTIONAL, .about = "Those of the list of devices; {} means all devices. At most 10000 may be found"}, {"query", FIELD_TEXT, FIELD_OPTIONAL},
             {"tags", FIELD_TAGS, FIELD_OPTIONAL | FIELD_NULLABLE, .about = "Of set_tags"}, {"deployment", FIELD_TEXT, FIELD_OPTIONAL, .about = "Of set_deployment: a deployment group's name"},
             {"new_org_name", FIELD_TEXT, FIELD_OPTIONAL, .about = "Of move"}, {"new_product_name", FIELD_TEXT, FIELD_OPTIONAL, .about = "Of move"},
             {"uuid", FIELD_TEXT, FIELD_OPTIONAL, .about = "Of upgrade: a firmware's"});
static SHAPE(bulk_failure, "BulkFailure", {"identifier", FIELD_TEXT}, {"reason", FIELD_TEXT});
static SHAPE(bulk_result, "BulkResult", {"done", FIELD_INTEGER, .about = "How many devices it was done with"}, {"failed", FIELD_OBJECT, FIELD_LIST, &bulk_failure});
const struct endpoint ep_bulk = {
	.scope = SCOPE_PRODUCT, .may = NH_MAY_DEVICE_UPDATE, .write = true, .success = 200, .body = &bulk_body, .data = &bulk_result, .tag = "Devices"};

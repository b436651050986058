/*
 * What can be said about each reason that keeps an update from a device, and about each that keeps a device out of a group: its name for programs, the facts it was decided by, and what would
 * change it. Two tables, a row for each reason; who adds a reason adds a row, or this does not compile. Whether a reason holds is never asked here.
 *
 * A remedy is a sentence, and where one request or one command would do it, that request and that command.
 */
#include <string.h>

#include "base/encode.h"
#include "explain_int.h"
#include "hub/orchestrator.h"
#include "hub/rollouts.h"

#define REMEDIES_MAX 2

struct remedy {
	const char *text;
	/* What would do it: :org :product :device :group are filled in. NULL: nothing that this server could be asked for. */
	const char *method, *path, *command;
	const char *body;                            /* JSON */
	json_t *(*make_body)(const struct question *q); /* instead; NULL: none */
};

struct reason_row {
	struct nh_reason_kind kind;
	void (*facts)(const struct question *q, json_t *facts); /* NULL: there are none */
	struct remedy remedies[REMEDIES_MAX];
};

/* ---- facts ---------------------------------------------------------------------------------------------------------------- */

json_t *moment_json(int64_t at_us)
{
	if (at_us == 0)
		return json_null();
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_time_put_iso(&text, at_us);
	return nh_json_new_text(nh_buf_slice(&text));
}

static json_t *texts(const nh_slice *items, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, nh_json_new_text(items[i]));
	return list;
}

static bool among(const nh_slice *items, size_t count, nh_slice wanted)
{
	for (size_t i = 0; i < count; i++) {
		if (nh_slice_eq(items[i], wanted))
			return true;
	}
	return false;
}

static json_t *lacking(const struct nh_device_facts *d, const nh_slice *wanted, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++) {
		if (!among(d->tags, d->tag_count, wanted[i]))
			json_array_append_new(list, nh_json_new_text(wanted[i]));
	}
	return list;
}

static void put_text(json_t *facts, const char *name, nh_slice text)
{
	json_object_set_new(facts, name, nh_json_new_text(text.len ? text : NH_SLICE_EMPTY));
}

static void put_number(json_t *facts, const char *name, int64_t number) { json_object_set_new(facts, name, json_integer(number)); }

static void group_facts(const struct question *q, json_t *facts)
{
	static const char *const status[] = {"ready", "preparing", "deltas_failed", "unknown_error"};
	put_text(facts, "deployment_group", q->x.group.name);
	json_object_set_new(facts, "status", json_string(status[q->x.group.status]));
}

static void deleted_facts(const struct question *q, json_t *facts) { json_object_set_new(facts, "deleted_at", moment_json(q->device->deleted_at_us)); }

static void delta_facts(const struct question *q, json_t *facts)
{
	put_text(facts, "source", q->x.facts.firmware_uuid);
	json_object_set_new(facts, "until", moment_json(q->x.facts.delta_until_us));
}

static void penalty_facts(const struct question *q, json_t *facts)
{
	int64_t left = q->x.facts.blocked_until_us - nh_ctx_now(q->ctx);
	json_object_set_new(facts, "until", moment_json(q->x.facts.blocked_until_us));
	put_number(facts, "seconds_left", left > 0 ? (left + NH_US_PER_S - 1) / NH_US_PER_S : 0);
	put_text(facts, "last_failure", q->x.facts.last_failure);
	json_object_set_new(facts, "last_failure_at", moment_json(q->x.facts.last_failure_at_us));
}

static void running_facts(const struct question *q, json_t *facts)
{
	put_text(facts, "firmware_uuid", q->x.facts.firmware_uuid);
	put_text(facts, "firmware_version", q->x.facts.firmware_version);
}

static void connection_facts(const struct question *q, json_t *facts)
{
	put_text(facts, "connection_status", q->device->connection_status);
	json_object_set_new(facts, "last_seen_at", moment_json(q->device->last_seen_at_us));
}

static void inflight_facts(const struct question *q, json_t *facts)
{
	if (!q->inflight_known)
		return; /* it ended between two looks */
	const struct nh_inflight *row = &q->inflight;
	put_text(facts, "firmware_uuid", row->firmware_uuid);
	json_object_set_new(facts, "sent_by", json_string(row->group_id ? "deployment_group" : "person"));
	json_object_set_new(facts, "stage", json_string(nh_update_stage_name(row->stage)));
	json_object_set_new(facts, "progress", row->progress < 0 ? json_null() : json_integer(row->progress));
	json_object_set_new(facts, "sent_at", moment_json(row->inserted_at_us));
	json_object_set_new(facts, "expires_at", moment_json(row->updated_at_us + NH_INFLIGHT_EXPIRY_S * NH_US_PER_S));
}

static void interface_facts(const struct question *q, json_t *facts)
{
	put_text(facts, "network_interface", q->x.facts.network_interface);
	json_object_set_new(facts, "allowed", texts(q->x.group.release_interfaces, q->x.group.release_interface_count));
}

static void tag_facts(const struct question *q, json_t *facts)
{
	json_object_set_new(facts, "wanted", texts(q->x.group.release_tags, q->x.group.release_tag_count));
	json_object_set_new(facts, "missing", lacking(&q->x.facts, q->x.group.release_tags, q->x.group.release_tag_count));
}

static void attempt_facts(const struct question *q, json_t *facts)
{
	const struct nh_device_facts *d = &q->x.facts;
	json_t *at = json_array();
	for (size_t i = 0; i < d->attempt_count; i++)
		json_array_append_new(at, moment_json(d->attempts[i]));
	put_number(facts, "attempts", (int64_t)d->attempt_count);
	json_object_set_new(facts, "attempted_at", at);
	put_number(facts, "penalty_minutes", q->x.group.penalty_minutes);
}

static void rate_facts(const struct question *q, json_t *facts)
{
	attempt_facts(q, facts);
	put_number(facts, "limit", q->x.group.failure_rate_amount);
	put_number(facts, "within_seconds", q->x.group.failure_rate_seconds);
}

static void threshold_facts(const struct question *q, json_t *facts)
{
	attempt_facts(q, facts);
	put_number(facts, "limit", q->x.group.failure_threshold_attempts);
}

static void priority_facts(const struct question *q, json_t *facts)
{
	put_text(facts, "firmware_version", q->x.facts.firmware_version);
	put_text(facts, "threshold", q->x.group.priority_queue_threshold);
}

static void slot_facts(const struct question *q, json_t *facts)
{
	put_number(facts, "concurrent_updates", q->x.normal.limit);
	put_number(facts, "in_flight", q->x.normal.used);
	json_object_set_new(facts, "order", json_string(q->x.group.lifo ? "LIFO" : "FIFO"));
}

static void rollout_facts(const struct question *q, json_t *facts)
{
	put_text(facts, "deployment_group", q->x.group.name);
	put_number(facts, "release", q->x.group.release.number);
	put_number(facts, "wave", q->x.group.rollout.wave);
	put_number(facts, "waves", q->x.group.rollout.waves);
}

static void not_before_facts(const struct question *q, json_t *facts) { json_object_set_new(facts, "not_before", moment_json(q->x.group.rollout.not_before_us)); }

/* A share of the group counts the waves before in: the device's place says at how many percent it is its turn. */
static void wave_facts(const struct question *q, json_t *facts)
{
	const struct nh_rollout *r = &q->x.group.rollout;
	uint64_t rank = nh_rollout_rank(r->release_id, q->x.facts.id);
	rollout_facts(q, facts);
	json_object_set_new(facts, "begun_percent", json_real(100.0 * (double)r->share / (double)NH_ROLLOUT_WHOLE));
	json_object_set_new(facts, "device_percent", json_real(100.0 * (double)rank / (double)NH_ROLLOUT_WHOLE));
}

static void window_facts(const struct question *q, json_t *facts)
{
	const struct nh_rollout *r = &q->x.group.rollout;
	const struct nh_device_facts *d = &q->x.facts;
	put_text(facts, "zone", d->timezone.len ? d->timezone : r->zone_name);
	json_object_set_new(facts, "opens_at", moment_json(nh_windows_next(r->windows, r->window_count, nh_rollout_zone(r, d), nh_ctx_now(q->ctx))));
}

/* ---- remedies ---------------------------------------------------------------------------------------------------------------- */

#define PRODUCT "/api/orgs/:org/products/:product"
#define DEVICE PRODUCT "/devices/:device"
#define GROUP PRODUCT "/deployments/:group"

/* The tags that it has and those that it would need, so that the request keeps the others. */
static json_t *all_tags(const struct question *q, const nh_slice *wanted, size_t count)
{
	json_t *list = texts(q->x.facts.tags, q->x.facts.tag_count), *missing = lacking(&q->x.facts, wanted, count);
	json_array_extend(list, missing);
	json_decref(missing);
	return json_pack("{s:o}", "tags", list);
}

static json_t *release_tags_body(const struct question *q) { return all_tags(q, q->x.group.release_tags, q->x.group.release_tag_count); }

static json_t *condition_tags_body(const struct question *q)
{
	size_t needed = q->about->tags_any && q->about->condition_tag_count ? 1 : q->about->condition_tag_count;
	return all_tags(q, q->about->condition_tags, needed);
}

static json_t *join_body(const struct question *q) { return json_pack("{s:I}", "deployment_id", (json_int_t)q->about->id); }

static json_t *firmware_body(const struct question *q) { return json_pack("{s:o}", "uuid", nh_json_new_text(q->about->release.firmware_uuid)); }

static const struct reason_row reasons[] = {
	[NH_UPDATE_NO_GROUP] = {{"no_deployment_group", false, false}, NULL,
		{{"Put it into a deployment group, or change a group's conditions so that it matches; membership says which group lacks what.", "PUT", DEVICE,
		  "nh device bulk set_deployment --device :device --deployment <deployment>", NULL, join_body}}},
	[NH_UPDATE_GROUP_INACTIVE] = {{"deployment_group_inactive", true, false}, group_facts,
		{{"Switch the deployment group on.", "PUT", GROUP, "nh deployment update :group --state on", "{\"deployment\":{\"state\":\"on\"}}"}}},
	[NH_UPDATE_GROUP_NOT_READY] = {{"deployment_group_not_ready", true, true}, group_facts,
		{{"It ends once the release is prepared. Without deltas there is nothing to wait for.", "PUT", GROUP, "nh deployment update :group --delta-updatable=false",
		  "{\"deployment\":{\"delta_updatable\":false}}"}}},
	[NH_UPDATE_DEVICE_DELETED] = {{"device_deleted", false, false}, deleted_facts,
		{{"Restore the device; it has to be given a credential again.", "POST", DEVICE "/restore", "nh device restore :device"}}},
	[NH_UPDATE_DISABLED] = {{"updates_disabled", false, false}, NULL,
		{{"Enable updates of the device. Who sends it firmware by hand switches them off.", "PUT", DEVICE, "nh device update :device --updates-enabled", "{\"updates_enabled\":true}"}}},
	[NH_UPDATE_BLOCKED] = {{"penalty_box", false, true}, penalty_facts,
		{{"It ends by itself. Or let the device out now.", "DELETE", DEVICE "/penalty", "nh device clear-penalty :device"}}},
	[NH_UPDATE_NO_METADATA] = {{"firmware_unknown", false, false}, connection_facts,
		{{"The device has to connect and say which firmware it runs; if it does connect, its client sends no metadata."}}},
	[NH_UPDATE_NOT_VALIDATED] = {{"firmware_not_validated", false, true}, running_facts,
		{{"The device has to validate what it runs, or to revert. Or send it the release's firmware all the same; that switches its updates off.", "POST", DEVICE "/upgrade",
		  "nh device upgrade :device <firmware>", NULL, firmware_body}}},
	[NH_UPDATE_NOT_CONNECTED] = {{"not_connected", false, true}, connection_facts, {{"It has to connect. Devices that ask from time to time instead get their update when they ask."}}},
	[NH_UPDATE_SAME_FIRMWARE] = {{"up_to_date", false, false}, running_facts, {{"Nothing is missing. Another firmware comes with a new release of its group."}}},
	[NH_UPDATE_INFLIGHT] = {{"update_in_flight", false, true}, inflight_facts, {{"It ends with the update, or when nothing was heard of it for half an hour."}}},
	[NH_UPDATE_NETWORK_INTERFACE] = {{"network_interface", false, false}, interface_facts,
		{{"The device has to connect through one of the allowed networks."},
		 {"Or allow all of them.", "PUT", GROUP, NULL, "{\"deployment\":{\"release_network_interfaces\":[]}}"}}},
	[NH_UPDATE_RELEASE_TAGS] = {{"release_tags", false, false}, tag_facts,
		{{"Give the device the tags that are missing.", "PUT", DEVICE, NULL, NULL, release_tags_body},
		 {"Or release to devices without them, too.", "PUT", GROUP, NULL, "{\"deployment\":{\"release_tags\":[]}}"}}},
	[NH_UPDATE_FAILURE_RATE] = {{"failure_rate", false, true}, rate_facts,
		{{"It goes into the penalty box at the next run of its group; after that it is tried again. Clearing the penalty forgets the attempts.", "DELETE", DEVICE "/penalty",
		  "nh device clear-penalty :device"}}},
	[NH_UPDATE_FAILURE_THRESHOLD] = {{"failure_threshold", false, true}, threshold_facts,
		{{"It goes into the penalty box at the next run of its group; after that it is tried again. Clearing the penalty forgets the attempts.", "DELETE", DEVICE "/penalty",
		  "nh device clear-penalty :device"}}},
	[NH_UPDATE_ABOVE_THRESHOLD] = {{"above_priority_threshold", false, false}, priority_facts, {{"It waits in the normal queue."}}},
	[NH_UPDATE_ROLLOUT_PAUSED] = {{"rollout_paused", true, false}, rollout_facts,
		{{"Resume the rollout.", "POST", GROUP "/rollout/resume", "nh rollout resume :group"}}},
	[NH_UPDATE_ROLLOUT_STOPPED] = {{"rollout_stopped", true, false}, rollout_facts,
		{{"Look at what failed (`nh rollout show`). Then roll back.", "POST", GROUP "/rollout/rollback", "nh rollout rollback :group"},
		 {"Or resume: counting begins anew.", "POST", GROUP "/rollout/resume", "nh rollout resume :group"}}},
	[NH_UPDATE_NOT_BEFORE] = {{"not_before", true, true}, not_before_facts, {{"The rollout begins by itself."}}},
	[NH_UPDATE_WAVE_NOT_BEGUN] = {{"wave_not_begun", false, true}, wave_facts,
		{{"Its wave comes when the gates before it have passed. Let the current gate pass now.", "POST", GROUP "/rollout/approve", "nh rollout approve :group"},
		 {"Or send this device its update now, ahead of its wave.", "POST", DEVICE "/upgrade/available", "nh device upgrade :device"}}},
	[NH_UPDATE_OUTSIDE_WINDOW] = {{"outside_window", false, true}, window_facts,
		{{"The next window opens by itself. Or send this device its update now.", "POST", DEVICE "/upgrade/available", "nh device upgrade :device"}}},
	[NH_UPDATE_DELTA] = {{"delta_under_way", false, true}, delta_facts,
		{{"The delta is built in a while; if not, the device gets the whole firmware. Or let devices of the group not wait for deltas.", "PUT", GROUP, "nh deployment update :group --delta-wait-minutes 0",
		  "{\"deployment\":{\"delta_wait_minutes\":0}}"}}},
};
/* Not the device's reason but its queue's: nh_update_decide lets it go, and the orchestrator has no slot for it. */
static const struct reason_row no_free_slot = {{"no_free_slot", true, true}, slot_facts,
	{{"It is its turn when updates of others have ended. Or let more devices update at once.", "PUT", GROUP, "nh deployment update :group --concurrent-updates <n>"}}};
_Static_assert(NH_ARRAY_LEN(reasons) == NH_UPDATE_REASON_COUNT && NH_UPDATE_REASON_COUNT == 22, "a row above for each reason, then the new count here");

static const struct reason_row *row_of(nh_update_reason reason)
{
	NH_ASSERT((size_t)reason <= NH_ARRAY_LEN(reasons));
	return reason == NH_UPDATE_REASON_COUNT ? &no_free_slot : &reasons[reason];
}

const struct nh_reason_kind *nh_update_reason_kind(nh_update_reason reason)
{
	return &row_of(reason)->kind;
}

/* ---- mismatches ----------------------------------------------------------------------------------------------------------- */

static void version_mismatch(const struct question *q, json_t *facts)
{
	put_text(facts, "version", q->x.facts.firmware_version);
	put_text(facts, "requirement", q->about->condition_version);
}

static void platform_mismatch(const struct question *q, json_t *facts)
{
	put_text(facts, "platform", q->x.facts.platform);
	put_text(facts, "wanted", q->about->platform);
}

static void architecture_mismatch(const struct question *q, json_t *facts)
{
	put_text(facts, "architecture", q->x.facts.architecture);
	put_text(facts, "wanted", q->about->architecture);
}

static void tag_mismatch(const struct question *q, json_t *facts)
{
	json_object_set_new(facts, "wanted", texts(q->about->condition_tags, q->about->condition_tag_count));
	json_object_set_new(facts, "tag_operator", json_string(q->about->tags_any ? "or" : "and"));
	json_object_set_new(facts, "missing", lacking(&q->x.facts, q->about->condition_tags, q->about->condition_tag_count));
}

static const struct mismatch_row {
	const char *code, *text;
	void (*facts)(const struct question *q, json_t *facts);
	struct remedy remedy;
} mismatches[] = {
	[NH_MATCH_OK] = {"matches", "it matches", NULL, {0}},
	[NH_MISMATCH_INACTIVE] = {"inactive", "the group is inactive, and takes no devices by itself", NULL,
		{"Switch the group on.", "PUT", GROUP, "nh deployment update :group --state on", "{\"deployment\":{\"state\":\"on\"}}"}},
	[NH_MISMATCH_LOCKED] = {"locked", "the group's membership is locked: only people change it", NULL,
		{"Put the device in by hand.", "PUT", DEVICE, "nh device bulk set_deployment --device :device --deployment :group", NULL, join_body}},
	[NH_MISMATCH_VERSION] = {"version", "its version does not meet the group's requirement", version_mismatch, {"Change the requirement, or put the device in by hand.", "PUT", DEVICE,
		"nh device bulk set_deployment --device :device --deployment :group", NULL, join_body}},
	[NH_MISMATCH_PLATFORM] = {"platform", "the group is for another platform", platform_mismatch, {0}},
	[NH_MISMATCH_ARCHITECTURE] = {"architecture", "the group is for another architecture", architecture_mismatch, {0}},
	[NH_MISMATCH_TAGS] = {"tags", "it lacks tags of the group's conditions", tag_mismatch, {"Give the device the tags that are missing.", "PUT", DEVICE, NULL, NULL, condition_tags_body}},
};
_Static_assert(NH_ARRAY_LEN(mismatches) == NH_MISMATCH_TAGS + 1, "a row for each mismatch");

const char *nh_mismatch_code(nh_mismatch mismatch) { return mismatches[mismatch].code; }

/* ---- words -------------------------------------------------------------------------------------------------------------------- */

/* As a shell reads it: as it is, or between apostrophes. */
static void put_shell_word(struct nh_buf *out, nh_slice word)
{
	bool plain = word.len > 0 && word.ptr[0] != '-';
	for (size_t i = 0; i < word.len && plain; i++) {
		uint8_t c = word.ptr[i];
		plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == ':' || c == '/';
	}
	if (plain) {
		nh_buf_put_slice(out, word);
		return;
	}
	nh_buf_put_u8(out, '\'');
	for (size_t i = 0; i < word.len; i++)
		word.ptr[i] == '\'' ? nh_buf_put_str(out, "'\\''") : nh_buf_put_u8(out, word.ptr[i]);
	nh_buf_put_u8(out, '\'');
}

static json_t *fill(const struct question *q, const char *pattern, bool path)
{
	const struct {
		const char *name;
		nh_slice value;
	} names[] = {{":org", q->device->org_name}, {":product", q->device->product_name}, {":device", q->device->identifier}, {":group", q->about ? q->about->name : NH_SLICE_EMPTY}};
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	for (nh_slice rest = nh_slice_str(pattern); rest.len > 0;) {
		size_t n = 0;
		while (n < NH_ARRAY_LEN(names) && !nh_slice_starts(rest, nh_slice_str(names[n].name)))
			n++;
		if (n == NH_ARRAY_LEN(names)) {
			nh_buf_put_u8(&out, rest.ptr[0]);
			rest = nh_slice_skip(rest, 1);
			continue;
		}
		path ? nh_uri_put(&out, names[n].value) : put_shell_word(&out, names[n].value);
		rest = nh_slice_skip(rest, nh_slice_str(names[n].name).len);
	}
	return nh_json_new_text(nh_buf_slice(&out));
}

static bool names_group(const char *pattern) { return pattern && strstr(pattern, ":group"); }

/* Where no group is known, a request that would name one is left out. */
static json_t *remedy_json(const struct question *q, const struct remedy *r)
{
	json_t *action = NULL, *command = NULL;
	if (r->method && (q->about || !(r->make_body || names_group(r->path)))) {
		json_t *body = r->make_body ? r->make_body(q) : NULL;
		if (r->body)
			NH_IGNORE(nh_json_parse(nh_slice_str(r->body), 1024, &body, NULL));
		action = json_pack("{s:s, s:o, s:o}", "method", r->method, "path", fill(q, r->path, true), "body", body ? body : json_null());
	}
	if (r->command && (q->about || !names_group(r->command)))
		command = fill(q, r->command, false);
	return json_pack("{s:s, s:o, s:o}", "text", r->text, "action", action ? action : json_null(), "command", command ? command : json_null());
}

static json_t *remedies_json(const struct question *q, const struct remedy *first, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count && first[i].text; i++)
		json_array_append_new(list, remedy_json(q, &first[i]));
	return list;
}

json_t *reason_json(const struct question *q, nh_update_reason reason)
{
	const struct reason_row *row = row_of(reason);
	json_t *facts = json_object();
	if (row->facts)
		row->facts(q, facts);
	const char *text = reason == NH_UPDATE_REASON_COUNT ? "as many devices of its group update already as may at once" : nh_update_reason_text(reason);
	return json_pack("{s:s, s:s, s:b, s:b, s:o, s:o}", "code", row->kind.code, "text", text, "of_group", row->kind.of_group, "ends_by_itself", row->kind.ends_by_itself, "facts", facts,
	                 "remedies", remedies_json(q, row->remedies, REMEDIES_MAX));
}

void mismatch_json(const struct question *q, nh_mismatch mismatch, json_t *object)
{
	const struct mismatch_row *row = &mismatches[mismatch];
	json_t *facts = json_object();
	if (row->facts)
		row->facts(q, facts);
	json_object_set_new(object, "result", json_string(row->code));
	json_object_set_new(object, "text", json_string(row->text));
	json_object_set_new(object, "facts", facts);
	json_object_set_new(object, "remedies", remedies_json(q, &row->remedy, 1));
}

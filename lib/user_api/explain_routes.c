/*
 * Why a device is or is not updated, and sending it what its group has for it.
 *
 * source: reference/server-behaviour "3.8" to "3.11"
 */
#include "api_int.h"
#include "hub/explain.h"

#define MOMENT "date-time"

static nh_rc explain(struct call *call, struct nh_err *err) { return nh_device_explain(&call->ctx, &call->device, &call->data, err); }

static const char *const words_verdicts[] = {"up_to_date", "update", "wait", "penalize", NULL};
static const char *const words_results[] = {"matches", "inactive", "locked", "version", "platform", "architecture", "tags", NULL};
static const char *const words_senders[] = {"deployment_group", "person", NULL};
static const char *const words_validation[] = {"unknown", "validated", "not_validated", NULL};

static SHAPE(remedy_action, "RemedyAction", {"method", FIELD_TEXT}, {"path", FIELD_TEXT}, {"body", FIELD_MAP, FIELD_NULLABLE, .about = "As the request needs it; null: none, or the caller's choice"});
static SHAPE(remedy, "Remedy", {"text", FIELD_TEXT}, {"action", FIELD_OBJECT, FIELD_NULLABLE, &remedy_action, .about = "The request that would do it; null: no request does"},
             {"command", FIELD_TEXT, FIELD_NULLABLE, .about = "The same with nh; what stands in <> is the caller's choice"});
static SHAPE(reason, "UpdateReason", {"code", FIELD_TEXT, .about = "For programs; new ones may come"}, {"text", FIELD_TEXT},
             {"of_group", FIELD_BOOLEAN, .about = "It keeps updates from all devices of the group alike"}, {"ends_by_itself", FIELD_BOOLEAN}, {"facts", FIELD_MAP, .about = "What it was decided by"},
             {"remedies", FIELD_OBJECT, FIELD_LIST, &remedy});
static SHAPE(queue, "UpdateQueue", {"limit", FIELD_INTEGER}, {"in_flight", FIELD_INTEGER}, {"free", FIELD_INTEGER}, {"takes_device", FIELD_BOOLEAN, .about = "But for its slots, it would"});
static SHAPE(queues, "UpdateQueues", {"normal", FIELD_OBJECT, 0, &queue}, {"priority", FIELD_OBJECT, 0, &queue, .about = "Limit 0: it is switched off"});
static SHAPE(explained_group, "ExplainedGroup", {"name", FIELD_TEXT}, {"is_active", FIELD_BOOLEAN}, {"release", FIELD_INTEGER}, {"firmware_uuid", FIELD_TEXT}, {"firmware_version", FIELD_TEXT},
             {"queues", FIELD_OBJECT, 0, &queues});
static SHAPE(candidate, "CandidateGroup", {"deployment_group", FIELD_TEXT}, {"member", FIELD_BOOLEAN}, {"chosen", FIELD_BOOLEAN, .about = "Of the groups that match, it is the best"},
             {"result", FIELD_TEXT, .words = words_results, .about = "`matches`, or the first thing that speaks against it"}, {"text", FIELD_TEXT}, {"facts", FIELD_MAP},
             {"remedies", FIELD_OBJECT, FIELD_LIST, &remedy});
static SHAPE(membership, "Membership", {"deployment_group", FIELD_TEXT, FIELD_NULLABLE}, {"matching", FIELD_INTEGER, .about = "How many groups it could join by itself"},
             {"groups", FIELD_OBJECT, FIELD_LIST, &candidate, .about = "At most 200, by name"},
             {"leaves_because", FIELD_TEXT, FIELD_NULLABLE, .words = words_results, .about = "Why it leaves its group at its next join; null: it stays"},
             {"would_join", FIELD_TEXT, FIELD_NULLABLE, .about = "The group that it joins at its next join; null: none"});
static SHAPE(running, "RunningFirmware", {"firmware_uuid", FIELD_TEXT}, {"firmware_version", FIELD_TEXT, FIELD_NULLABLE}, {"validation", FIELD_TEXT, .words = words_validation}, {"auto_reverted", FIELD_BOOLEAN});
static SHAPE(in_flight, "UpdateInFlight", {"firmware_uuid", FIELD_TEXT, FIELD_NULLABLE}, {"sent_by", FIELD_TEXT, .words = words_senders}, {"stage", FIELD_TEXT},
             {"progress", FIELD_INTEGER, FIELD_NULLABLE, .about = "Percent"}, {"priority", FIELD_BOOLEAN}, {"sent_at", FIELD_TEXT, .format = MOMENT}, {"updated_at", FIELD_TEXT, .format = MOMENT});
static SHAPE(past_update, "PastUpdate", {"type", FIELD_TEXT}, {"from_firmware_uuid", FIELD_TEXT, FIELD_NULLABLE}, {"firmware_uuid", FIELD_TEXT}, {"bytes", FIELD_INTEGER}, {"saved_bytes", FIELD_INTEGER},
             {"at", FIELD_TEXT, .format = MOMENT}, {"sent_at", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT, .about = "null: this server had not sent it"},
             {"seconds", FIELD_INTEGER, FIELD_NULLABLE, .about = "From there until it came back"});
static SHAPE(failure, "UpdateFailure", {"reason", FIELD_TEXT}, {"at", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT});
static SHAPE(history, "UpdateHistory", {"running", FIELD_OBJECT, FIELD_NULLABLE, &running, .about = "null: it never said"}, {"in_flight", FIELD_OBJECT, FIELD_NULLABLE, &in_flight},
             {"last_update", FIELD_OBJECT, FIELD_NULLABLE, &past_update}, {"last_failure", FIELD_OBJECT, FIELD_NULLABLE, &failure, .about = "null: none since its last update"},
             {"attempts", FIELD_TEXT, FIELD_LIST, .format = MOMENT, .about = "That count for the penalty box"}, {"blocked_until", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT});
static SHAPE(explanation, "Explanation", {"identifier", FIELD_TEXT}, {"verdict", FIELD_TEXT, .words = words_verdicts}, {"summary", FIELD_TEXT},
             {"reasons", FIELD_OBJECT, FIELD_LIST, &reason, .about = "All that keep an update from it now"},
             {"deployment_group", FIELD_OBJECT, FIELD_NULLABLE, &explained_group}, {"membership", FIELD_OBJECT, 0, &membership}, {"history", FIELD_OBJECT, 0, &history});

const struct endpoint ep_device_explain = {.run = explain, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_SEE, .success = 200, .data = &explanation, .tag = "Devices"};
const struct endpoint ep_short_explain = {.run = explain, .scope = SCOPE_DEVICE_ANYWHERE, .may = NH_MAY_DEVICE_SEE, .success = 200, .data = &explanation, .tag = "Devices (short URL)"};

static nh_rc upgrade_available(struct call *call, struct nh_err *err)
{
	return nh_update_push_available(&call->ctx, &call->actor, call->device.org_id, call->device.id, err);
}
const struct endpoint ep_device_upgrade_available = {.run = upgrade_available, .scope = SCOPE_DEVICE, .may = NH_MAY_DEVICE_UPGRADE, .write = true, .success = 204, .tag = "Devices"};

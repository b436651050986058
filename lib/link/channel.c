/*
 * The device channel: join with fresh facts, dispatch what the server says, push what the device says, validate a new firmware after the first accepted
 * join. source: reference/device-protocol "7", "8", "9", "14.6"
 */
#include "extras_int.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- pushes */

bool channel_push(struct nh_link *l, const char *event, const char *payload) { return topic_push(l, LINK_DEVICE, event, NULL, payload) != 0; }
bool channel_push_json(struct nh_link *l, const char *event, json_t *take_payload) { return topic_push_json(l, LINK_DEVICE, event, take_payload) != 0; }

/* ---- join */

void channel_run_state(struct nh_link *l)
{
	nh_arena_fini(&l->state_arena);
	l->state = (struct nh_link_state){0};
	l->job_err = NH_ERR_INIT;
	l->job_rc = l->config.platform->read_state(l->config.platform_ctx, &l->state_arena, &l->state, &l->job_err);
}

static json_t *join_payload(const struct nh_link *l)
{
	json_t *p = json_object();
	const char *uuid = updater_uuid(l);
	for (size_t i = 0; i < l->state.count; i++) {
		char name[256];
		nh_slice key = l->state.pairs[i].name;
		if (key.len == 0 || key.len >= sizeof name)
			continue;
		snprintf(name, sizeof name, "%.*s", NH_ARG(key));
		json_object_set_new(p, name, nh_json_new_text(l->state.pairs[i].value));
	}
	json_object_set_new(p, "device_api_version", json_string(l->config.device_api_version));
	if (l->config.fwup_version)
		json_object_set_new(p, "fwup_version", json_string(l->config.fwup_version));
	json_object_set_new(p, "currently_downloading_uuid", uuid ? json_string(uuid) : json_null());
	if (l->config.request_keys && l->key_count == 0)
		json_object_set_new(p, "fwup_public_keys", json_string("on_connect"));
	json_object_set_new(p, "meta", json_pack("{s:b, s:b}", "firmware_auto_revert_detected", (int)l->state.auto_reverted, "firmware_validated", (int)l->state.validated));
	return p;
}

void channel_remember(struct nh_link *l)
{
	l->validated = l->state.validated;
	snprintf(l->running_uuid, sizeof l->running_uuid, "%.*s", NH_ARG(nh_link_state_get(&l->state, "nerves_fw_uuid")));
}

static void send_join(struct nh_link *l)
{
	NH_AUTO_JSON json_t *payload = join_payload(l);
	channel_remember(l);
	topic_join(l, LINK_DEVICE, payload);
	nh_arena_fini(&l->state_arena);
	l->state = (struct nh_link_state){0};
}

void channel_rejoin(struct nh_link *l)
{
	l->join_wanted = true;
	if (!link_job_busy(l, &l->state_job))
		link_job_submit(l, &l->state_job);
}

void channel_on_state(struct nh_link *l)
{
	if (l->phase != LINK_OPEN || !l->join_wanted)
		return;
	l->join_wanted = false;
	if (l->job_rc == NH_OK) {
		send_join(l);
		return;
	}
	topic_rejoin_later(l, LINK_DEVICE);
	char text[600];
	snprintf(text, sizeof text, "cannot read what this machine runs: %s", l->job_err.msg);
	link_event_text(l, NH_LINK_ERROR, text);
}

void channel_left(struct nh_link *l)
{
	if (l->phase == LINK_JOINED)
		l->phase = LINK_OPEN;
	if (!l->closing)
		nh_timer_stop(l->validate_timer);
	route_left(l);
}

void channel_joined(struct nh_link *l, const json_t *response)
{
	l->phase = LINK_JOINED;
	l->redirects = 0;
	link_event_text(l, NH_LINK_JOINED, "");
	if (l->closing || l->phase != LINK_JOINED)
		return;
	extras_joined(l);
	route_report(l);
	if (l->pending_status && channel_push(l, "status_update", l->pending_status))
		link_set_text(&l->pending_status, NH_SLICE_EMPTY);
	validation_joined(l);
	if (!l->validated)
		channel_on_validate_timer(l);
}

/* ---- validation */

void channel_on_validate_timer(void *arg)
{
	struct nh_link *l = arg;
	if (l->phase == LINK_JOINED && !link_job_busy(l, &l->validate_job))
		link_job_submit(l, &l->validate_job);
}

/* Without a validate function somebody else marks the slot: look whether it happened. */
void channel_run_validate(struct nh_link *l)
{
	l->job_err = NH_ERR_INIT;
	if (l->config.platform->validate) {
		l->job_rc = l->config.platform->validate(l->config.platform_ctx, &l->job_err);
		return;
	}
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_state state = {0};
	l->job_rc = l->config.platform->read_state(l->config.platform_ctx, &arena, &state, &l->job_err);
	if (l->job_rc != NH_OK || !state.validated)
		l->job_rc = NH_EAGAIN;
}

void channel_on_validate(struct nh_link *l)
{
	if (l->job_rc == NH_OK) {
		/* Where the socket was lost meanwhile the next join says it. */
		l->validated = true;
		channel_push(l, "firmware_validated", "{}");
		link_event_text(l, NH_LINK_VALIDATED, "");
		return;
	}
	if (l->job_rc == NH_EAGAIN) {
		nh_timer_start(l->validate_timer, l->config.validate_interval_ms, 0);
		return;
	}
	struct nh_err err = l->job_err;
	link_event_text(l, NH_LINK_VALIDATION_FAILED, err.msg);
	if (!l->closing)
		link_reboot(l, "validation");
}

/* ---- what the server says */

static void on_update(struct nh_link *l, const json_t *payload) { updater_offer(l, payload); }

static void on_reboot(struct nh_link *l, const json_t *payload)
{
	channel_push(l, "rebooting", "{}");
	link_event_text(l, NH_LINK_REBOOT, "");
	if (!l->closing)
		link_reboot(l, "server");
}

static void on_identify(struct nh_link *l, const json_t *payload)
{
	link_event_text(l, NH_LINK_IDENTIFY, "");
	if (!l->closing && l->config.platform->identify)
		l->config.platform->identify(l->config.platform_ctx);
}

/* Only asked for where none is configured; an empty or broken list changes nothing. source: reference/device-protocol "8.4" */
static void on_keys(struct nh_link *l, const json_t *payload)
{
	const json_t *list = json_object_get(payload, "keys"), *item;
	size_t i, count = 0;
	char *keys[LINK_KEYS_MAX];
	if (!l->config.request_keys || l->config.public_key_count > 0 || l->update)
		return;
	json_array_foreach (list, i, item) {
		nh_slice text = nh_slice_str(json_string_value(item));
		if (count < LINK_KEYS_MAX && link_key_valid(text))
			keys[count++] = nh_xstrdup(text);
	}
	if (count == 0)
		return;
	for (i = 0; i < l->key_count; i++)
		free(l->keys[i]);
	free(l->keys);
	l->keys = nh_xcalloc(count + 1, sizeof *l->keys);
	for (i = 0; i < count; i++)
		l->keys[i] = keys[i];
	l->key_count = count;
	link_event(l, &(struct nh_link_event){.kind = NH_LINK_KEYS, .percent = (unsigned)count});
}

static const struct {
	const char *event;
	void (*handle)(struct nh_link *l, const json_t *payload);
} handlers[] = {
	{"update", on_update},
	{"reboot", on_reboot},
	{"identify", on_identify},
	{"fwup_public_keys", on_keys},
	{"extensions:get", extras_get},
	{"scripts/run", scripts_event},
	{"archive", archive_event},
};

void channel_event(struct nh_link *l, nh_slice event, const json_t *payload)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(handlers); i++)
		if (nh_slice_eq_str(event, handlers[i].event)) {
			handlers[i].handle(l, payload);
			return;
		}
}

/*
 * The device channel: join with fresh facts, dispatch what the server says, push what the device says, validate a new firmware after the first accepted
 * join. source: reference/device-protocol "3.5", "3.7", "7", "8", "9", "14.6"
 */
#include "link_int.h"

#include <stdio.h>
#include <stdlib.h>

#define JOIN_TIMEOUT_MS 30000

static nh_slice ref_text(char out[24], uint64_t ref)
{
	snprintf(out, 24, "%llu", (unsigned long long)ref);
	return nh_slice_str(out);
}

/* ---- pushes */

static bool push(struct nh_link *l, const char *event, const json_t *payload, const char *text)
{
	char join[24], ref[24];
	if (l->phase != LINK_JOINED && !(l->phase == LINK_REBOOTING && l->ws))
		return false;
	struct nh_phoenix_message m = {
		.join_ref = nh_phoenix_ref_text(ref_text(join, l->join_ref)),
		.ref = nh_phoenix_ref_text(ref_text(ref, ++l->next_ref)),
		.topic = NH_LIT("device"),
		.event = nh_slice_str(event),
		.payload = (json_t *)(uintptr_t)payload,
		.payload_text = nh_slice_str(text),
	};
	return connection_send(l, &m);
}

bool channel_push(struct nh_link *l, const char *event, const char *payload) { return push(l, event, NULL, payload); }

bool channel_push_json(struct nh_link *l, const char *event, json_t *take_payload)
{
	bool sent = push(l, event, take_payload, NULL);
	json_decref(take_payload);
	return sent;
}

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

static void send_join(struct nh_link *l)
{
	char ref[24];
	NH_AUTO_JSON json_t *payload = join_payload(l);
	l->join_ref = ++l->next_ref;
	ref_text(ref, l->join_ref);
	struct nh_phoenix_message m = {
		.join_ref = nh_phoenix_ref_text(nh_slice_str(ref)),
		.ref = nh_phoenix_ref_text(nh_slice_str(ref)),
		.topic = NH_LIT("device"),
		.event = NH_LIT("phx_join"),
		.payload = payload,
	};
	l->validated = l->state.validated;
	snprintf(l->running_uuid, sizeof l->running_uuid, "%.*s", NH_ARG(nh_link_state_get(&l->state, "nerves_fw_uuid")));
	nh_timer_start(l->timer, JOIN_TIMEOUT_MS, 0);
	connection_send(l, &m);
	nh_arena_fini(&l->state_arena);
	l->state = (struct nh_link_state){0};
}

void channel_rejoin(struct nh_link *l)
{
	l->join_ref = 0;
	l->join_wanted = true;
	if (!link_job_busy(l, &l->state_job))
		link_job_submit(l, &l->state_job);
}

void channel_opened(struct nh_link *l) { channel_rejoin(l); }

static void rejoin_later(struct nh_link *l)
{
	l->phase = LINK_OPEN;
	l->join_ref = 0;
	nh_timer_stop(l->validate_timer);
	nh_timer_start(l->timer, link_jitter(l, l->config.rejoin_ms), 0);
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
	rejoin_later(l);
	char text[600];
	snprintf(text, sizeof text, "cannot read what this machine runs: %s", l->job_err.msg);
	link_event_text(l, NH_LINK_ERROR, text);
}

void channel_closed(struct nh_link *l)
{
	l->join_ref = 0;
	l->join_wanted = false;
	nh_timer_stop(l->validate_timer);
	nh_timer_stop(l->timer);
}

static void joined(struct nh_link *l)
{
	l->phase = LINK_JOINED;
	l->redirects = 0;
	nh_timer_stop(l->timer);
	link_event_text(l, NH_LINK_JOINED, "");
	if (l->closing || l->phase != LINK_JOINED)
		return;
	if (l->config.network_interface)
		channel_push_json(l, "report_network_interface", json_pack("{s:s}", "interface", l->config.network_interface));
	if (l->pending_status && channel_push(l, "status_update", l->pending_status))
		link_set_text(&l->pending_status, NH_SLICE_EMPTY);
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
};

static void dispatch(struct nh_link *l, const struct nh_phoenix_message *m)
{
	if (l->phase != LINK_JOINED || !nh_slice_eq_str(m->topic, "device"))
		return;
	for (size_t i = 0; i < NH_ARRAY_LEN(handlers); i++)
		if (nh_slice_eq_str(m->event, handlers[i].event)) {
			handlers[i].handle(l, m->payload);
			return;
		}
}

static void heartbeat_answered(struct nh_link *l)
{
	l->heartbeat_ref = 0;
	if (l->phase == LINK_JOINED)
		link_backoff_reset(l);
}

static void on_reply(struct nh_link *l, const struct nh_phoenix_message *m)
{
	char text[24];
	bool ok;
	const json_t *response;
	if (nh_slice_eq_str(m->topic, "phoenix")) {
		if (l->heartbeat_ref && nh_slice_eq(m->ref.text, ref_text(text, l->heartbeat_ref)))
			heartbeat_answered(l);
		return;
	}
	/* Replies to pushes are of no interest; the join's is known by its ref. */
	if (l->phase != LINK_OPEN || !l->join_ref || !nh_slice_eq(m->ref.text, ref_text(text, l->join_ref)) || !nh_phoenix_reply(m, &ok, &response))
		return;
	if (ok) {
		joined(l);
		return;
	}
	NH_AUTO_BUF struct nh_buf why = NH_BUF_INIT;
	nh_buf_put_str(&why, "the server refused the join: ");
	if (response)
		nh_json_put(&why, response);
	rejoin_later(l);
	link_event_text(l, NH_LINK_ERROR, nh_buf_cstr(&why));
}

void channel_message(struct nh_link *l, nh_slice text)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_phoenix_message m;
	struct nh_err err = NH_ERR_INIT;
	if (l->phase == LINK_REBOOTING)
		return;
	if (nh_phoenix_json_v2.decode(&arena, text, LINK_MESSAGE_MAX, &m, &err) != NH_OK) {
		link_event_text(l, NH_LINK_ERROR, err.msg);
		return;
	}
	nh_phoenix_kind kind = nh_phoenix_kind_of(&m);
	char ref[24];
	bool ours = nh_slice_eq_str(m.topic, "device") && l->join_ref && nh_slice_eq(m.ref.text, ref_text(ref, l->join_ref));
	if (kind == NH_PHOENIX_EVENT)
		dispatch(l, &m);
	else if (kind == NH_PHOENIX_REPLY)
		on_reply(l, &m);
	else if (ours)
		rejoin_later(l); /* phx_error, and phx_close too: nobody here asked to leave */
	nh_phoenix_message_fini(&m);
}

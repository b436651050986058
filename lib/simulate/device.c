/*
 * A virtual device: it connects or polls, takes updates through their phases, loses power and connection, comes back with the new firmware or the old one. It knows the meaning of the
 * device protocol and nothing of its bytes.
 *
 * source: reference/device-protocol "7" to "10", "15"
 */
#include <stdio.h>

#include "simulate_int.h"

#define BACK_OFF_FIRST_US SIM_S
#define BACK_OFF_MAX_US SIM_MINUTE
#define JSON_MAX ((size_t)1 << 20)

static nh_rc on_connect(struct sim *s, const struct sim_event *e, struct nh_err *err);
static nh_rc on_poll(struct sim *s, const struct sim_event *e, struct nh_err *err);
static nh_rc on_phase(struct sim *s, const struct sim_event *e, struct nh_err *err);
static void boot(struct sim *s, struct sim_device *d);

struct sim_device *sim_device_by_id(struct sim *s, int64_t id)
{
	/* Made one after the other. */
	int64_t first = s->device_count ? s->devices[0].id : 0;
	return id >= first && id < first + (int64_t)s->device_count ? &s->devices[id - first] : NULL;
}

const struct sim_firmware *sim_firmware_find(struct sim *s, nh_slice uuid)
{
	for (size_t p = 0; p < s->product_count; p++)
		for (size_t i = 0; i < s->products[p].firmware_count; i++)
			if (nh_slice_eq_str(uuid, s->products[p].firmwares[i].uuid))
				return &s->products[p].firmwares[i];
	return NULL;
}

static struct sim_conn *conn_of(struct sim *s, const struct sim_device *d) { return d->conn ? s->conns[d->conn - 1] : NULL; }

static void say(struct sim *s, struct sim_device *d, nh_slice event, json_t *take_payload)
{
	struct sim_conn *c = conn_of(s, d);
	if (c)
		sim_conn_say(s, c, event, take_payload);
	else
		json_decref(take_payload);
}

static void say_status(struct sim *s, struct sim_device *d, const char *status)
{
	say(s, d, NH_LIT("status_update"), json_pack("{s:s, s:s, s:i}", "status", status, "reason", "because", "delay_for", 5 + (int)sim_pick(s, 40)));
}

/* ---- connecting ---------------------------------------------------------------------------------------------------------------- */

json_t *sim_device_says(struct sim *s, const struct sim_device *d)
{
	json_t *p = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:b, s:b}}", "nerves_fw_uuid", d->running, "nerves_fw_product", "Thermo Widget", "nerves_fw_version", d->version,
			      "nerves_fw_platform", d->platform, "nerves_fw_architecture", d->architecture, "device_api_version", "2.3.0", "fwup_version", d->index % 4 ? "1.13.0" : "1.10.1", "meta", "firmware_validated", d->validated,
			      "firmware_auto_revert_detected", d->reverted);
	if (d->downloading && d->offered[0])
		json_object_set_new(p, "currently_downloading_uuid", json_string(d->offered));
	return p;
}

/* Again after a pause that grows while nothing comes of it. */
static void connect_later(struct sim *s, struct sim_device *d)
{
	d->back_off_us = d->back_off_us == 0 ? BACK_OFF_FIRST_US : 2 * d->back_off_us < BACK_OFF_MAX_US ? 2 * d->back_off_us : BACK_OFF_MAX_US;
	sim_at(s, s->now_us + sim_span(s, d->back_off_us / 2, d->back_off_us), on_connect, d->index, d->serial, 0, NH_SLICE_EMPTY);
}

static nh_rc on_connect(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_device *d = &s->devices[e->who];
	const struct sim_conn *c = conn_of(s, d);
	if (d->serial != e->serial || !d->powered || (c && c->device_end))
		return NH_OK;
	if (!sim_conn_open(s, d))
		connect_later(s, d);
	return NH_OK;
}

static nh_rc on_give_up(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_device *d = &s->devices[e->who];
	struct sim_conn *c = s->conns[e->number];
	if (d->serial != e->serial || conn_of(s, d) != c || !c->device_end)
		return NH_OK;
	sim_conn_close(s, c, true);
	connect_later(s, d);
	return NH_OK;
}

void sim_device_accepted(struct sim *s, struct sim_conn *c)
{
	struct sim_device *d = &s->devices[c->device];
	if (conn_of(s, d) != c)
		return;
	if (sim_fault(s, NH_SIM_NO_JOIN)) {
		sim_at(s, s->now_us + sim_span(s, 5 * SIM_S, SIM_MINUTE), on_give_up, d->index, d->serial, (int64_t)c->index, NH_SLICE_EMPTY);
		return;
	}
	sim_conn_say(s, c, NH_LIT("phx_join"), sim_device_says(s, d));
	d->back_off_us = 0;
}

void sim_device_cut(struct sim *s, struct sim_conn *c)
{
	struct sim_device *d = &s->devices[c->device];
	if (conn_of(s, d) != c || !d->powered)
		return;
	/* Whoever is turned away at once is not let in because it asks more often. */
	d->back_off_us = d->back_off_us ? d->back_off_us : BACK_OFF_MAX_US / 4;
	connect_later(s, d);
}

/* ---- power ----------------------------------------------------------------------------------------------------------------------- */

static void drop_update(struct sim_device *d)
{
	d->offered[0] = 0;
	d->downloading = false;
	d->update++;
}

static nh_rc on_power(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_device *d = &s->devices[e->who];
	if (d->serial == e->serial && !d->powered && !d->bricked)
		boot(s, d);
	return NH_OK;
}

static nh_rc on_fate(struct sim *s, const struct sim_event *e, struct nh_err *err);

static void boot(struct sim *s, struct sim_device *d)
{
	d->powered = true;
	d->serial++;
	d->back_off_us = 0;
	sim_note(s, "device %zu boots %s", d->index, d->running);
	if (d->polls) {
		sim_at(s, s->now_us + sim_span(s, SIM_S, 30 * SIM_S), on_poll, d->index, d->serial, 0, NH_SLICE_EMPTY);
		return;
	}
	sim_at(s, s->now_us + sim_span(s, SIM_S / 10, 10 * SIM_S), on_connect, d->index, d->serial, 0, NH_SLICE_EMPTY);
	if (!s->lean)
		sim_at(s, s->now_us + sim_span(s, 5 * SIM_MINUTE, SIM_HOUR), on_fate, d->index, d->serial, 0, NH_SLICE_EMPTY);
}

static void power_off(struct sim *s, struct sim_device *d, bool noticed, int64_t for_us)
{
	struct sim_conn *c = conn_of(s, d);
	if (c)
		sim_conn_close(s, c, noticed);
	drop_update(d);
	d->powered = false;
	d->serial++;
	sim_at(s, s->now_us + for_us, on_power, d->index, d->serial, 0, NH_SLICE_EMPTY);
}

void sim_device_start(struct sim *s, struct sim_device *d, int64_t at_us) { sim_at(s, at_us, on_power, d->index, d->serial, 0, NH_SLICE_EMPTY); }

/* Everybody behaves from now on. What was off comes on; of the others every second one connects anew, and whatever the server still owes the rest it has to find by itself. */
void sim_device_honest(struct sim *s, struct sim_device *d)
{
	const struct sim_conn *c = conn_of(s, d);
	bool stays = d->index % 2 && d->powered && !d->polls && c && c->device_end && c->server_end && c->joined && !d->offered[0];
	if (stays && d->validated)
		return;
	d->bricked = false;
	power_off(s, d, true, sim_span(s, SIM_S, 5 * SIM_MINUTE));
}

/* ---- what befalls it -------------------------------------------------------------------------------------------------------------- */

static void reflash(struct sim *s, struct sim_device *d)
{
	const struct sim_product *p = &s->products[0];
	const struct sim_firmware *f = &p->firmwares[sim_pick(s, p->firmware_count)];
	power_off(s, d, false, sim_span(s, SIM_MINUTE, 10 * SIM_MINUTE));
	d->platform = f->platform;
	d->validated = true;
	d->reverted = false;
	snprintf(d->running, sizeof d->running, "%s", f->uuid);
	snprintf(d->version, sizeof d->version, "%s", f->version);
}

static nh_rc on_fate(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	static const char *const interfaces[] = {"eth0", "wlan0", "wwan0", "usb0"};
	struct sim_device *d = &s->devices[e->who];
	if (d->serial != e->serial || !d->powered)
		return NH_OK;
	if (s->honest)
		return NH_OK; /* it asks for nothing any more: the server has to come by itself */
	sim_at(s, s->now_us + sim_span(s, 5 * SIM_MINUTE, SIM_HOUR), on_fate, d->index, d->serial, 0, NH_SLICE_EMPTY);
	struct sim_conn *c = conn_of(s, d);
	if (sim_fault(s, NH_SIM_LINK) && c && c->device_end) {
		sim_conn_close(s, c, false);
		connect_later(s, d);
	} else if (sim_fault(s, NH_SIM_TWIN)) {
		sim_conn_open(s, d);
	} else if (sim_fault(s, NH_SIM_POWER)) {
		power_off(s, d, false, sim_span(s, 10 * SIM_S, 2 * SIM_HOUR));
	} else if (sim_fault(s, NH_SIM_REFLASH)) {
		reflash(s, d);
	} else if (sim_pick(s, 4) == 0) {
		say(s, d, NH_LIT("report_network_interface"), json_pack("{s:s}", "interface", interfaces[sim_pick(s, NH_ARRAY_LEN(interfaces))]));
	} else if (sim_pick(s, 4) == 0) {
		say(s, d, NH_LIT("check_update_available"), json_object());
	}
	return NH_OK;
}

/* ---- the update ---------------------------------------------------------------------------------------------------------------------- */

static nh_rc on_boot_new(struct sim *s, const struct sim_event *e, struct nh_err *err);

static void plan_phase(struct sim *s, struct sim_device *d, int64_t phase, int64_t least_us, int64_t most_us)
{
	sim_at(s, s->now_us + sim_span(s, least_us, most_us), on_phase, d->index, d->update, phase, NH_SLICE_EMPTY);
}

static nh_rc on_forget(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_device *d = &s->devices[e->who];
	if (d->update == e->serial)
		drop_update(d);
	return NH_OK;
}

/* It has an update and begins, unless something is the matter. */
static void take_update(struct sim *s, struct sim_device *d, const struct sim_firmware *f)
{
	d->update++;
	d->downloading = false;
	snprintf(d->offered, sizeof d->offered, "%s", f->uuid);
	sim_note(s, "device %zu takes %s", d->index, f->uuid);
	if (sim_fault(s, NH_SIM_MUTE)) {
		sim_at(s, s->now_us + sim_span(s, 10 * SIM_MINUTE, 3 * SIM_HOUR), on_forget, d->index, d->update, 0, NH_SLICE_EMPTY);
		return;
	}
	if (sim_fault(s, NH_SIM_IGNORE)) {
		say_status(s, d, "ignored");
		drop_update(d);
		return;
	}
	if (sim_fault(s, NH_SIM_PUT_OFF)) {
		say_status(s, d, "rescheduled");
		drop_update(d);
		return;
	}
	if (sim_pick(s, 3))
		say_status(s, d, "received");
	plan_phase(s, d, 0, SIM_S, 20 * SIM_S);
}

nh_rc sim_device_hear(struct sim *s, struct sim_conn *c, nh_slice event, nh_slice text, struct nh_err *err)
{
	struct sim_device *d = &s->devices[c->device];
	NH_AUTO_JSON json_t *payload = NULL;
	if (!nh_slice_eq_str(event, "update") || conn_of(s, d) != c)
		return NH_OK;
	NH_TRY(nh_json_parse(text, JSON_MAX, &payload, err));
	const struct sim_firmware *f = sim_firmware_find(s, nh_json_text(json_object_get(payload, "firmware_meta"), "uuid"));
	if (!f)
		return sim_broken(err, "device %zu hears of a firmware that nobody made", d->index);
	NH_TRY(sim_judge_heard(s, d, nh_slice_str(f->uuid), nh_json_text(payload, "firmware_url"), err));
	/* What it has, or is busy with, it does not take again. */
	if (d->offered[0] || nh_slice_eq_str(nh_slice_str(f->uuid), d->running))
		return NH_OK;
	take_update(s, d, f);
	return NH_OK;
}

/* The last phase before it restarts: the new firmware is written. */
static void restart(struct sim *s, struct sim_device *d)
{
	const struct sim_firmware *f = sim_firmware_find(s, nh_slice_str(d->offered));
	char offered[sizeof d->offered];
	snprintf(offered, sizeof offered, "%s", d->offered);
	power_off(s, d, sim_pick(s, 2), SIM_HOUR * 1000); /* it is switched on by on_boot_new */
	d->reverted = false;
	if (sim_fault(s, NH_SIM_BRICK)) {
		d->bricked = true;
		return;
	}
	bool reverts = sim_fault(s, NH_SIM_REVERT);
	d->reverted = reverts && sim_pick(s, 2);
	bool at_once = d->reverted; /* else it says hello with the new one before it falls back */
	if (!at_once) {
		snprintf(d->before, sizeof d->before, "%s", d->running);
		snprintf(d->before_version, sizeof d->before_version, "%s", d->version);
		snprintf(d->running, sizeof d->running, "%s", offered);
		snprintf(d->version, sizeof d->version, "%s", f->version);
		d->platform = f->platform;
		d->validated = !reverts && !sim_fault(s, NH_SIM_UNVALIDATED);
	}
	sim_at(s, s->now_us + sim_span(s, 10 * SIM_S, SIM_MINUTE), on_boot_new, d->index, d->serial, reverts && !at_once, NH_SLICE_EMPTY);
}

static nh_rc on_validate(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_device *d = &s->devices[e->who];
	if (d->serial != e->serial || !d->powered)
		return NH_OK;
	if (!e->number) {
		d->validated = true;
		say(s, d, NH_LIT("firmware_validated"), json_object());
		return NH_OK;
	}
	const struct sim_firmware *f = sim_firmware_find(s, nh_slice_str(d->before));
	power_off(s, d, false, sim_span(s, 10 * SIM_S, SIM_MINUTE));
	snprintf(d->running, sizeof d->running, "%s", d->before);
	snprintf(d->version, sizeof d->version, "%s", d->before_version);
	d->platform = f->platform;
	d->validated = d->reverted = true;
	s->result->reverted++;
	return NH_OK;
}

/* number: this one will fall back. */
static nh_rc on_boot_new(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_device *d = &s->devices[e->who];
	if (d->serial != e->serial)
		return NH_OK;
	s->result->reverted += d->reverted;
	boot(s, d);
	if (!d->validated || e->number)
		sim_at(s, s->now_us + sim_span(s, SIM_MINUTE, 10 * SIM_MINUTE), on_validate, d->index, d->serial, e->number, NH_SLICE_EMPTY);
	return NH_OK;
}

static void report(struct sim *s, struct sim_device *d, const char *stage, int value)
{
	say(s, d, NH_LIT("fwup_progress"), json_pack("{s:s, s:i}", "stage", stage, "value", value));
}

/* One phase after the other; each may be the last. */
static nh_rc on_phase(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	static const struct {
		const char *stage; /* NULL: a status */
		const char *status;
		int value;
	} phases[] = {{NULL, "started", 0}, {"downloading", NULL, 5}, {"downloading", NULL, 60}, {"downloading", NULL, 100}, {"updating", NULL, 40}, {"updating", NULL, 100}};
	struct sim_device *d = &s->devices[e->who];
	struct sim_conn *c = conn_of(s, d);
	if (d->update != e->serial || !d->powered)
		return NH_OK;
	d->downloading = true;
	if (sim_fault(s, NH_SIM_POWER)) {
		power_off(s, d, false, sim_span(s, 10 * SIM_S, 2 * SIM_HOUR));
		return NH_OK;
	}
	if (c && c->device_end && sim_fault(s, NH_SIM_LINK)) {
		sim_conn_close(s, c, false);
		connect_later(s, d);
	}
	if (s->lean && e->number == 0) {
		say_status(s, d, "started");
		plan_phase(s, d, (int64_t)NH_ARRAY_LEN(phases) - 1, s->update_us / 2, s->update_us + s->update_us / 2);
		return NH_OK;
	}
	if (e->number >= (int64_t)NH_ARRAY_LEN(phases)) {
		restart(s, d);
		return NH_OK;
	}
	if (phases[e->number].stage)
		report(s, d, phases[e->number].stage, phases[e->number].value);
	else
		say_status(s, d, phases[e->number].status);
	if (e->number + 1 == (int64_t)NH_ARRAY_LEN(phases)) {
		if (sim_fault(s, NH_SIM_INSTALL)) {
			say_status(s, d, "failed");
			s->result->failed++;
			drop_update(d);
			return NH_OK;
		}
		say_status(s, d, "completed");
		plan_phase(s, d, e->number + 1, SIM_S, 5 * SIM_S);
		return NH_OK;
	}
	bool slow = sim_fault(s, NH_SIM_SLOW);
	plan_phase(s, d, e->number + 1, slow ? 20 * SIM_MINUTE : SIM_S, slow ? 3 * SIM_HOUR : 40 * SIM_S);
	return NH_OK;
}

/* ---- polling --------------------------------------------------------------------------------------------------------------------------- */

static nh_rc on_poll(struct sim *s, const struct sim_event *e, struct nh_err *err)
{
	struct sim_device *d = &s->devices[e->who];
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	nh_slice update = NH_SLICE_EMPTY;
	if (d->serial != e->serial || !d->powered)
		return NH_OK;
	sim_at(s, s->now_us + sim_span(s, 4 * SIM_MINUTE, 12 * SIM_MINUTE), on_poll, d->index, d->serial, 0, NH_SLICE_EMPTY);
	nh_rc rc = sim_poll(s, d, sim_device_says(s, d), &arena, &update, err);
	NH_TRY(sim_answer(rc));
	NH_AUTO_JSON json_t *payload = NULL;
	if (rc != NH_OK || update.len == 0 || d->offered[0])
		return NH_OK;
	NH_TRY(nh_json_parse(update, JSON_MAX, &payload, err));
	const struct sim_firmware *f = sim_firmware_find(s, nh_json_text(json_object_get(payload, "firmware_meta"), "uuid"));
	if (!f)
		return sim_broken(err, "device %zu is offered a firmware that nobody made", d->index);
	NH_TRY(sim_judge_heard(s, d, nh_slice_str(f->uuid), nh_json_text(payload, "firmware_url"), err));
	take_update(s, d, f);
	return NH_OK;
}

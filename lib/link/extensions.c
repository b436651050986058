/*
 * The extensions channel: offers what the owner switched on, attaches what the server wants of it, and hands each event to its extension. A server that refuses a message of an extension
 * (the one reply it ever gives to a push) has it detached. source: reference/device-protocol "12.1"
 */
#include <stdio.h>

#include "extras_int.h"

#define VERSION "0.0.1"

static bool has_health(const struct nh_link_extensions *k) { return k->health; }
static bool has_geo(const struct nh_link_extensions *k) { return k->geo_fixed || k->geo_argv; }
static bool has_logging(const struct nh_link_extensions *k) { return k->logging; }
static bool has_shell(const struct nh_link_extensions *k) { return k->local_shell; }
static bool has_identity(const struct nh_link_extensions *k) { return k->identity_argv != NULL; }

static const struct {
	const char *name;
	bool (*has)(const struct nh_link_extensions *k);
	void (*attached)(struct nh_link *l);            /* may be NULL */
	void (*detached)(struct nh_link *l, bool lost); /* lost: with the channel, and may come back */
	void (*event)(struct nh_link *l, nh_slice event, const json_t *payload); /* without the name; may be NULL */
} rows[LINK_EXTENSIONS_COUNT] = {
	[LINK_EXT_HEALTH] = {"health", has_health, health_attached, health_detached, health_event},
	[LINK_EXT_GEO] = {"geo", has_geo, NULL, geo_detached, geo_event},
	[LINK_EXT_LOGGING] = {"logging", has_logging, logging_attached, logging_detached, NULL},
	[LINK_EXT_LOCAL_SHELL] = {"local_shell", has_shell, shell_attached, shell_detached, shell_event},
	[LINK_EXT_NETWORK_IDENTITY] = {"network_identity", has_identity, identity_attached, identity_detached, identity_event},
};

bool extension_attached(const struct nh_link *l, link_extension_id id) { return l->extras->extensions[id].attached; }

void extensions_push(struct nh_link *l, const char *event, json_t *take_payload) { topic_push_json(l, LINK_EXTENSIONS, event, take_payload); }

/* "name:what" to the server; its ref. */
static uint64_t say(struct nh_link *l, nh_slice name, const char *what, const char *payload)
{
	char event[NH_PHOENIX_TOPIC_MAX];
	snprintf(event, sizeof event, "%.*s:%s", NH_ARG(nh_slice_sub(name, 0, 64)), what);
	return topic_push(l, LINK_EXTENSIONS, event, NULL, payload);
}

static void tell(struct nh_link *l, unsigned id, const char *what)
{
	char text[64];
	snprintf(text, sizeof text, "%s %s", rows[id].name, what);
	link_event_text(l, NH_LINK_EXTENSION, text);
}

static unsigned find(nh_slice name)
{
	unsigned id = 0;
	while (id < LINK_EXTENSIONS_COUNT && !nh_slice_eq_str(name, rows[id].name))
		id++;
	return id;
}

static void attach(struct nh_link *l, nh_slice name)
{
	unsigned id = find(name);
	struct link_extension *e = l->extras->extensions;
	if (id == LINK_EXTENSIONS_COUNT || !rows[id].has(&l->extras->config)) {
		say(l, name, "error", "{\"reason\":\"unknown_extension\"}");
		return;
	}
	if (e[id].attached)
		return;
	e[id].attached = true;
	e[id].ref = say(l, name, "attached", NULL);
	if (rows[id].attached)
		rows[id].attached(l);
	tell(l, id, "attached");
}

static void drop(struct nh_link *l, unsigned id, bool lost)
{
	struct link_extension *e = &l->extras->extensions[id];
	bool was = e->attached;
	*e = (struct link_extension){0};
	if (was)
		rows[id].detached(l, lost);
}

static void detach(struct nh_link *l, nh_slice name)
{
	unsigned id = find(name);
	if (id == LINK_EXTENSIONS_COUNT || !l->extras->extensions[id].attached)
		return;
	drop(l, id, false);
	say(l, name, "detached", NULL);
	tell(l, id, "detached");
}

/* A list of names, one name, or "all". */
static void each(struct nh_link *l, const json_t *names, void (*fn)(struct nh_link *l, nh_slice name))
{
	const json_t *name;
	size_t i;
	nh_slice one = nh_slice_str(json_string_value(names));
	if (nh_slice_eq_str(one, "all")) {
		for (unsigned id = 0; id < LINK_EXTENSIONS_COUNT && !l->closing; id++)
			if (rows[id].has(&l->extras->config))
				fn(l, nh_slice_str(rows[id].name));
	} else if (one.len > 0) {
		fn(l, one);
	}
	json_array_foreach (names, i, name)
		if (i < 2 * (size_t)LINK_EXTENSIONS_COUNT && json_is_string(name) && !l->closing)
			fn(l, nh_slice_str(json_string_value(name)));
}

/* ---- the channel */

/* Nothing switched on: the channel is not joined at all. */
void extensions_begin(struct nh_link *l)
{
	NH_AUTO_JSON json_t *payload = json_object();
	for (unsigned id = 0; id < LINK_EXTENSIONS_COUNT; id++)
		if (rows[id].has(&l->extras->config))
			json_object_set_new(payload, rows[id].name, json_string(VERSION));
	if (json_object_size(payload) > 0)
		topic_join(l, LINK_EXTENSIONS, payload);
}

void extensions_joined(struct nh_link *l, const json_t *response) { each(l, response, attach); }

void extensions_left(struct nh_link *l)
{
	for (unsigned id = 0; id < LINK_EXTENSIONS_COUNT; id++)
		drop(l, id, true);
}

void extensions_event(struct nh_link *l, nh_slice event, const json_t *payload)
{
	nh_slice name, rest;
	if (nh_slice_eq_str(event, "attach") || nh_slice_eq_str(event, "detach")) {
		each(l, json_object_get(payload, "extensions"), nh_slice_eq_str(event, "attach") ? attach : detach);
		return;
	}
	nh_slice_cut(event, ':', &name, &rest);
	unsigned id = find(name);
	if (id < LINK_EXTENSIONS_COUNT && l->extras->extensions[id].attached && rows[id].event)
		rows[id].event(l, rest, payload);
}

void extensions_reply(struct nh_link *l, uint64_t ref, bool ok, const json_t *response)
{
	const char *text = json_string_value(response);
	if (ok || !text || strcmp(text, "detach") != 0)
		return;
	for (unsigned id = 0; id < LINK_EXTENSIONS_COUNT; id++)
		if (l->extras->extensions[id].attached && l->extras->extensions[id].ref == ref) {
			drop(l, id, false);
			tell(l, id, "refused by the server");
			return;
		}
}

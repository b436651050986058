/*
 * Which topic is whose: `device`, `console`, `extensions`, and `firmware:UUID`, by which the first clients join what later ones call `device`. A topic means the
 * device that the connection belongs to and never names another. What each channel does with its messages is in its own file.
 *
 * What devices of ten years send is never a reason to end a connection: a message for a topic that is not joined is answered as such, one of an earlier join is
 * dropped, and what a channel does not know it counts.
 *
 * source: reference/device-protocol "3.5", "3.6"
 */
#include <stdlib.h>

#include "base/uuid.h"
#include "socket_int.h"

struct nh_phoenix_ref channel_ref(const struct channel *c) { return (struct nh_phoenix_ref){c->ref_kind, nh_slice_str(c->join_ref)}; }

void channel_enter(struct channel *c, const struct nh_phoenix_message *join)
{
	struct nh_phoenix_ref ref = nh_phoenix_join_ref_of(join);
	size_t len = ref.text.len < NH_PHOENIX_REF_MAX ? ref.text.len : NH_PHOENIX_REF_MAX;
	for (size_t i = 0; i < len; i++)
		c->join_ref[i] = (char)ref.text.ptr[i];
	c->join_ref[len] = 0;
	c->ref_kind = ref.kind;
	c->joined = true;
}

bool channel_takes(const struct channel *c, const struct nh_phoenix_message *m) { return c->joined && nh_phoenix_join_ref_current(channel_ref(c), m); }

void channel_close(struct nh_conn *conn, const struct session *s, struct channel *c, nh_slice topic)
{
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	if (!c->joined)
		return;
	c->joined = false;
	nh_phoenix_put_channel_end(s->codec, &frame, "phx_close", topic, channel_ref(c), NULL);
	socket_send(conn, s, &frame);
}

static void unmatched(struct nh_conn *conn, const struct session *s, const struct nh_phoenix_message *m)
{
	TALLY(s->api, unmatched_topics);
	socket_reply(conn, s, m, NH_PHOENIX_NO_REF, "error", json_pack("{s:s}", "reason", "unmatched topic"));
}

static const struct channel_kind *find(nh_slice topic)
{
	static const struct channel_kind *const kinds[] = {&device_channel, &console_channel, &extensions_channel};
	struct nh_uuid uuid;
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++)
		if (nh_slice_eq_str(topic, kinds[i]->topic))
			return kinds[i];
	bool old_name = nh_slice_starts(topic, NH_LIT(FIRMWARE_TOPIC)) && nh_uuid_parse(nh_slice_skip(topic, strlen(FIRMWARE_TOPIC)), &uuid) == NH_OK;
	return old_name ? &device_channel : NULL;
}

void channels_message(struct nh_conn *conn, struct session *s, struct nh_phoenix_message *m, struct nh_arena *arena)
{
	const struct channel_kind *kind = find(m->topic);
	bool join = nh_slice_eq_str(m->event, "phx_join"), leave = nh_slice_eq_str(m->event, "phx_leave");
	if (leave)
		socket_reply(conn, s, m, m->join_ref, "ok", NULL); /* also for a topic that is not joined */
	if (leave && kind)
		kind->leave(conn, s, m);
	else if (join && kind)
		kind->join(conn, s, m, arena);
	else if (join)
		socket_reply(conn, s, m, m->join_ref, "error", json_pack("{s:s}", "reason", "unmatched topic"));
	else if (!leave && (!kind || !kind->event(conn, s, m, arena)))
		unmatched(conn, s, m);
}

void channels_close(struct session *s)
{
	scripts_close(s);
	console_close(s);
	extensions_close(s);
	device_close(s);
}

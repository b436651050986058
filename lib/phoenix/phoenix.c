/*
 * The rules that are the same in every wire format: codec by version, refs, replies, what kind of frame it is. The formats are in json.c and msgpack.c.
 */
#include "phoenix/phoenix.h"

#include "base/semver.h"

static const struct {
	uint64_t major, minor;
	const struct nh_phoenix_codec *codec;
} versions[] = {
	{1, 0, &nh_phoenix_json_v1},
	{2, 0, &nh_phoenix_json_v2},
	{3, 0, &nh_phoenix_msgpack},
};

const struct nh_phoenix_codec *nh_phoenix_codec_for_vsn(nh_slice vsn)
{
	struct nh_semver v;
	if (vsn.len == 0)
		vsn = NH_LIT("1.0.0");
	if (nh_semver_parse(vsn, &v) != NH_OK || v.pre.len > 0)
		return NULL;
	for (size_t i = 0; i < NH_ARRAY_LEN(versions); i++)
		if (versions[i].major == v.major && versions[i].minor == v.minor)
			return versions[i].codec;
	return NULL;
}

bool nh_phoenix_ref_eq(struct nh_phoenix_ref a, struct nh_phoenix_ref b)
{
	if (a.kind == NH_PHOENIX_REF_NULL || b.kind == NH_PHOENIX_REF_NULL)
		return a.kind == b.kind;
	return nh_slice_eq(a.text, b.text);
}

void nh_phoenix_message_fini(struct nh_phoenix_message *m)
{
	json_decref(m->payload);
	m->payload = NULL;
}

void nh_phoenix_put_reply(const struct nh_phoenix_codec *codec, struct nh_buf *out, const struct nh_phoenix_message *request, struct nh_phoenix_ref join_ref,
			  const char *status, const json_t *response)
{
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
	nh_buf_put_str(&payload, "{\"status\":");
	nh_json_put_string(&payload, nh_slice_str(status));
	nh_buf_put_str(&payload, ",\"response\":");
	if (response)
		nh_json_put(&payload, response);
	else
		nh_buf_put_str(&payload, "{}");
	nh_buf_put_u8(&payload, '}');
	struct nh_phoenix_message m = {
		.join_ref = join_ref, .ref = request->ref, .topic = request->topic, .event = NH_LIT("phx_reply"), .payload_text = nh_buf_slice(&payload)};
	codec->encode(out, &m);
}

void nh_phoenix_put_channel_end(const struct nh_phoenix_codec *codec, struct nh_buf *out, const char *event, nh_slice topic, struct nh_phoenix_ref join_ref, const char *reason)
{
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
	if (reason) {
		nh_buf_put_str(&payload, "{\"reason\":");
		nh_json_put_string(&payload, nh_slice_str(reason));
		nh_buf_put_u8(&payload, '}');
	}
	struct nh_phoenix_message m = {.join_ref = join_ref, .ref = join_ref, .topic = topic, .event = nh_slice_str(event), .payload_text = nh_buf_slice(&payload)};
	codec->encode(out, &m);
}

void nh_phoenix_put_push(const struct nh_phoenix_codec *codec, struct nh_buf *out, struct nh_phoenix_ref join_ref, nh_slice topic, const char *event, const json_t *payload)
{
	struct nh_phoenix_message m = {.join_ref = join_ref, .topic = topic, .event = nh_slice_str(event), .payload = (json_t *)(uintptr_t)payload};
	codec->encode(out, &m);
}

struct nh_phoenix_ref nh_phoenix_join_ref_of(const struct nh_phoenix_message *join)
{
	return join->join_ref.kind == NH_PHOENIX_REF_NULL ? join->ref : join->join_ref;
}

bool nh_phoenix_join_ref_current(struct nh_phoenix_ref channel, const struct nh_phoenix_message *m)
{
	return m->join_ref.kind == NH_PHOENIX_REF_NULL || nh_phoenix_ref_eq(channel, m->join_ref);
}

bool nh_phoenix_is_heartbeat(const struct nh_phoenix_message *m)
{
	return nh_slice_eq_str(m->topic, "phoenix") && nh_slice_eq_str(m->event, "heartbeat");
}

nh_phoenix_kind nh_phoenix_kind_of(const struct nh_phoenix_message *m)
{
	static const struct {
		const char *event;
		nh_phoenix_kind kind;
	} kinds[] = {{"phx_reply", NH_PHOENIX_REPLY}, {"phx_close", NH_PHOENIX_CLOSED}, {"phx_error", NH_PHOENIX_ERROR}};
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++)
		if (nh_slice_eq_str(m->event, kinds[i].event))
			return kinds[i].kind;
	return NH_PHOENIX_EVENT;
}

bool nh_phoenix_reply(const struct nh_phoenix_message *m, bool *ok, const json_t **response)
{
	nh_slice status = nh_json_text(m->payload, "status");
	*ok = nh_slice_eq_str(status, "ok");
	*response = json_object_get(m->payload, "response");
	return json_is_object(m->payload) && (*ok || nh_slice_eq_str(status, "error"));
}

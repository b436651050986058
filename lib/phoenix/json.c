/*
 * JSON V2 (array of five) and JSON V1 (object) of channel messages. source: reference/device-protocol "3.1", "3.2"
 */
#include "phoenix_int.h"

/* A ref in whatever type the peer chose. Absent counts as null. */
static nh_rc take_ref(struct nh_arena *arena, const json_t *v, const char *what, struct nh_phoenix_ref *out, struct nh_err *err)
{
	*out = NH_PHOENIX_NO_REF;
	if (!v || json_is_null(v))
		return NH_OK;
	if (json_is_integer(v)) {
		out->kind = NH_PHOENIX_REF_NUMBER;
		out->text = nh_slice_str(nh_arena_printf(arena, "%lld", (long long)json_integer_value(v)));
		return NH_OK;
	}
	if (!json_is_string(v))
		return NH_FAIL(err, NH_EFORMAT, "%s is neither a string nor an integer nor null", what);
	if (json_string_length(v) > NH_PHOENIX_REF_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "%s over %d bytes", what, NH_PHOENIX_REF_MAX);
	out->kind = NH_PHOENIX_REF_TEXT;
	out->text = nh_arena_copy(arena, nh_slice_of(json_string_value(v), json_string_length(v)));
	return NH_OK;
}

static nh_rc take_name(struct nh_arena *arena, const json_t *v, const char *what, nh_slice *out, struct nh_err *err)
{
	if (!json_is_string(v))
		return NH_FAIL(err, NH_EFORMAT, "%s is not a string", what);
	if (json_string_length(v) > NH_PHOENIX_TOPIC_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "%s over %d bytes", what, NH_PHOENIX_TOPIC_MAX);
	*out = nh_arena_copy(arena, nh_slice_of(json_string_value(v), json_string_length(v)));
	return NH_OK;
}

struct fields {
	json_t *join_ref, *ref, *topic, *event, *payload;
};

static nh_rc take_fields(struct nh_arena *arena, const struct fields *f, struct nh_phoenix_message *out, struct nh_err *err)
{
	*out = (struct nh_phoenix_message){0};
	NH_TRY(take_ref(arena, f->join_ref, "join_ref", &out->join_ref, err));
	NH_TRY(take_ref(arena, f->ref, "ref", &out->ref, err));
	NH_TRY(take_name(arena, f->topic, "topic", &out->topic, err));
	NH_TRY(take_name(arena, f->event, "event", &out->event, err));
	if (!f->payload)
		return NH_FAIL(err, NH_EFORMAT, "no payload");
	out->payload = json_incref(f->payload);
	return NH_OK;
}

nh_rc phoenix_take_array(struct nh_arena *arena, const json_t *array, struct nh_phoenix_message *out, struct nh_err *err)
{
	if (!json_is_array(array) || json_array_size(array) < 5)
		return NH_FAIL(err, NH_EFORMAT, "a message must be an array of five elements");
	struct fields f = {json_array_get(array, 0), json_array_get(array, 1), json_array_get(array, 2), json_array_get(array, 3), json_array_get(array, 4)};
	return take_fields(arena, &f, out, err);
}

static nh_rc decode_v2(struct nh_arena *arena, nh_slice frame, size_t max_bytes, struct nh_phoenix_message *out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *root = NULL;
	*out = (struct nh_phoenix_message){0};
	NH_TRY(nh_json_parse(frame, max_bytes, &root, err));
	return phoenix_take_array(arena, root, out, err);
}

static nh_rc decode_v1(struct nh_arena *arena, nh_slice frame, size_t max_bytes, struct nh_phoenix_message *out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *root = NULL;
	*out = (struct nh_phoenix_message){0};
	NH_TRY(nh_json_parse(frame, max_bytes, &root, err));
	if (!json_is_object(root) || !json_object_get(root, "ref"))
		return NH_FAIL(err, NH_EFORMAT, "a message must be an object with topic, event, payload and ref");
	struct fields f = {json_object_get(root, "join_ref"), json_object_get(root, "ref"), json_object_get(root, "topic"), json_object_get(root, "event"),
			   json_object_get(root, "payload")};
	return take_fields(arena, &f, out, err);
}

static void put_ref(struct nh_buf *out, struct nh_phoenix_ref ref)
{
	if (ref.kind == NH_PHOENIX_REF_NULL)
		nh_buf_put_str(out, "null");
	else if (ref.kind == NH_PHOENIX_REF_NUMBER)
		nh_buf_put_slice(out, ref.text);
	else
		nh_json_put_string(out, ref.text);
}

static void put_payload(struct nh_buf *out, const struct nh_phoenix_message *m)
{
	if (m->payload)
		nh_json_put(out, m->payload);
	else if (m->payload_text.len > 0)
		nh_buf_put_slice(out, m->payload_text);
	else
		nh_buf_put_str(out, "{}");
}

static void encode_v2(struct nh_buf *out, const struct nh_phoenix_message *m)
{
	nh_buf_put_u8(out, '[');
	put_ref(out, m->join_ref);
	nh_buf_put_u8(out, ',');
	put_ref(out, m->ref);
	nh_buf_put_u8(out, ',');
	nh_json_put_string(out, m->topic);
	nh_buf_put_u8(out, ',');
	nh_json_put_string(out, m->event);
	nh_buf_put_u8(out, ',');
	put_payload(out, m);
	nh_buf_put_u8(out, ']');
}

/* join_ref is never sent in V1. */
static void encode_v1(struct nh_buf *out, const struct nh_phoenix_message *m)
{
	nh_buf_put_str(out, "{\"topic\":");
	nh_json_put_string(out, m->topic);
	nh_buf_put_str(out, ",\"event\":");
	nh_json_put_string(out, m->event);
	nh_buf_put_str(out, ",\"payload\":");
	put_payload(out, m);
	nh_buf_put_str(out, ",\"ref\":");
	put_ref(out, m->ref);
	nh_buf_put_u8(out, '}');
}

const struct nh_phoenix_codec nh_phoenix_json_v1 = {"json-v1", false, decode_v1, encode_v1};
const struct nh_phoenix_codec nh_phoenix_json_v2 = {"json-v2", false, decode_v2, encode_v2};

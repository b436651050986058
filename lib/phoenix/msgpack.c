/*
 * MessagePack form of channel messages (vsn 3.0): an array of five, each frame a binary WebSocket message.
 *
 * Read with a bounds-checked cursor into the same JSON values that the other formats give, so that nobody above sees a difference. Not with msgpack-c: it allocates by the counts
 * that a frame claims, and five bytes can claim four billion elements. Here an element costs its sender at least a byte, and nothing is reserved ahead.
 *
 * What JSON has no word for: a timestamp (extension -1) becomes its ISO 8601 text; other extensions, NaN, infinity and text that is no UTF-8 become null; `bin` counts as `str`.
 * source: reference/device-protocol "3.3"; https://github.com/msgpack/msgpack/blob/master/spec.md
 */
#include <math.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "phoenix_int.h"

#define DEPTH_MAX 32u
#define TIMESTAMP (-1)
#define YEAR_10000_S INT64_C(253402300800)

/* ---- reading */

static bool value_next(struct nh_rd *r, unsigned depth, json_t **out);

/* Length or count of `width` bytes. */
static uint32_t length_next(struct nh_rd *r, unsigned width)
{
	return width == 1 ? nh_rd_u8(r) : width == 2 ? nh_rd_u16be(r) : nh_rd_u32be(r);
}

static bool text_next(struct nh_rd *r, uint32_t len, json_t **out)
{
	nh_slice text = nh_rd_bytes(r, len);
	if (nh_rd_ok(r))
		*out = json_stringn(text.len ? (const char *)text.ptr : "", text.len);
	/* Consoles print what they like, and one such message must not cost a device its connection. */
	if (nh_rd_ok(r) && !*out)
		*out = json_null();
	return *out != NULL;
}

static bool array_next(struct nh_rd *r, uint32_t count, unsigned depth, json_t **out)
{
	*out = json_array();
	for (uint32_t i = 0; i < count; i++) {
		json_t *item = NULL;
		if (!value_next(r, depth + 1, &item) || json_array_append_new(*out, item) != 0)
			return false;
	}
	return true;
}

static bool map_next(struct nh_rd *r, uint32_t count, unsigned depth, json_t **out)
{
	*out = json_object();
	for (uint32_t i = 0; i < count; i++) {
		NH_AUTO_JSON json_t *key = NULL;
		json_t *value = NULL;
		/* A key with NUL is none in the other formats either. */
		if (!value_next(r, depth + 1, &key) || !json_is_string(key) || strlen(json_string_value(key)) != json_string_length(key) || !value_next(r, depth + 1, &value))
			return false;
		if (json_object_setn_new(*out, json_string_value(key), json_string_length(key), value) != 0)
			return false;
	}
	return true;
}

static json_t *number_of(double d) { return isfinite(d) ? json_real(d) : json_null(); }

/* Content of extension -1: seconds; or 30 bits of nanoseconds and 34 of seconds; or both apart. */
static json_t *timestamp_of(nh_slice content)
{
	struct nh_rd r = nh_rd_of(content);
	uint64_t packed;
	int64_t s = 0;
	uint32_t ns = 0;
	if (content.len == 4) {
		s = nh_rd_u32be(&r);
	} else if (content.len == 8) {
		packed = nh_rd_u64be(&r);
		ns = (uint32_t)(packed >> 34);
		s = (int64_t)(packed & 0x3ffffffff);
	} else if (content.len == 12) {
		ns = nh_rd_u32be(&r);
		s = (int64_t)nh_rd_u64be(&r);
	} else {
		return json_null();
	}
	if (s < 0 || s >= YEAR_10000_S || ns >= 1000000000)
		return json_null();
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_time_put_iso_us(&text, s * NH_US_PER_S + ns / 1000);
	return json_string(nh_buf_cstr(&text));
}

static bool extension_next(struct nh_rd *r, uint32_t len, json_t **out)
{
	int8_t type = (int8_t)nh_rd_u8(r);
	nh_slice content = nh_rd_bytes(r, len);
	if (nh_rd_ok(r))
		*out = type == TIMESTAMP ? timestamp_of(content) : json_null();
	return *out != NULL;
}

/* The tags from 0xc0 to 0xdf that are neither constants nor have their length in the tag. */
static bool tagged_next(struct nh_rd *r, uint8_t tag, unsigned depth, json_t **out)
{
	union {
		uint32_t u32;
		float f32;
		uint64_t u64;
		double f64;
	} number;
	switch (tag) {
	case 0xc4: case 0xc5: case 0xc6: /* bin */
		return text_next(r, length_next(r, 1u << (tag - 0xc4)), out);
	case 0xc7: case 0xc8: case 0xc9: /* ext */
		return extension_next(r, length_next(r, 1u << (tag - 0xc7)), out);
	case 0xca:
		number.u32 = nh_rd_u32be(r);
		*out = number_of((double)number.f32);
		return true;
	case 0xcb:
		number.u64 = nh_rd_u64be(r);
		*out = number_of(number.f64);
		return true;
	case 0xcc: case 0xcd: case 0xce: /* uint */
		*out = json_integer(length_next(r, 1u << (tag - 0xcc)));
		return true;
	case 0xcf:
		number.u64 = nh_rd_u64be(r);
		*out = number.u64 <= INT64_MAX ? json_integer((json_int_t)number.u64) : json_real((double)number.u64);
		return true;
	case 0xd0:
		*out = json_integer((int8_t)nh_rd_u8(r));
		return true;
	case 0xd1:
		*out = json_integer((int16_t)nh_rd_u16be(r));
		return true;
	case 0xd2:
		*out = json_integer((int32_t)nh_rd_u32be(r));
		return true;
	case 0xd3:
		*out = json_integer((int64_t)nh_rd_u64be(r));
		return true;
	case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: /* fixext */
		return extension_next(r, 1u << (tag - 0xd4), out);
	case 0xd9: case 0xda: case 0xdb: /* str */
		return text_next(r, length_next(r, 1u << (tag - 0xd9)), out);
	case 0xdc: case 0xdd:
		return array_next(r, length_next(r, 2u << (tag - 0xdc)), depth, out);
	case 0xde: case 0xdf:
		return map_next(r, length_next(r, 2u << (tag - 0xde)), depth, out);
	default: /* 0xc1 means nothing */
		return false;
	}
}

/* The next value, owned by the caller also where it is incomplete and the answer false. */
static bool value_next(struct nh_rd *r, unsigned depth, json_t **out)
{
	uint8_t tag = nh_rd_u8(r);
	bool ok = true;
	if (!nh_rd_ok(r) || depth > DEPTH_MAX)
		return false;
	if (tag < 0x80 || tag >= 0xe0)
		*out = json_integer((int8_t)tag);
	else if (tag < 0x90)
		ok = map_next(r, tag & 0x0f, depth, out);
	else if (tag < 0xa0)
		ok = array_next(r, tag & 0x0f, depth, out);
	else if (tag < 0xc0)
		ok = text_next(r, tag & 0x1f, out);
	else if (tag == 0xc0)
		*out = json_null();
	else if (tag == 0xc2 || tag == 0xc3)
		*out = json_boolean(tag == 0xc3);
	else
		ok = tagged_next(r, tag, depth, out);
	if (ok && nh_rd_ok(r))
		return true;
	json_decref(*out);
	*out = NULL;
	return false;
}

/* Refs are text in this format: integers become their digits, and go back as such. */
static void ref_to_text(struct nh_phoenix_ref *ref)
{
	if (ref->kind == NH_PHOENIX_REF_NUMBER)
		ref->kind = NH_PHOENIX_REF_TEXT;
}

static nh_rc decode(struct nh_arena *arena, nh_slice frame, size_t max_bytes, struct nh_phoenix_message *out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *root = NULL;
	struct nh_rd r = nh_rd_of(frame);
	*out = (struct nh_phoenix_message){0};
	if (frame.len > max_bytes)
		return NH_FAIL(err, NH_ETOOBIG, "a message of %zu bytes: at most %zu", frame.len, max_bytes);
	if (!value_next(&r, 0, &root) || nh_rd_left(&r) > 0)
		return NH_FAIL(err, NH_EFORMAT, "not one well-formed MessagePack value (byte %zu of %zu)", r.pos, frame.len);
	NH_TRY(phoenix_take_array(arena, root, out, err));
	ref_to_text(&out->join_ref);
	ref_to_text(&out->ref);
	return NH_OK;
}

/* ---- writing */

/* The shortest of up to four forms: in the tag (fewer than `small`; 0 = there is none), 8 bits (tag8 0 = there is none), 16, 32. */
static void head_put(struct nh_buf *out, size_t n, uint8_t small_tag, size_t small, uint8_t tag8, uint8_t tag16)
{
	if (n < small) {
		nh_buf_put_u8(out, (uint8_t)(small_tag | n));
	} else if (tag8 && n <= UINT8_MAX) {
		nh_buf_put_u8(out, tag8);
		nh_buf_put_u8(out, (uint8_t)n);
	} else if (n <= UINT16_MAX) {
		nh_buf_put_u8(out, tag16);
		nh_wr_u16be(out, (uint16_t)n);
	} else {
		nh_buf_put_u8(out, (uint8_t)(tag16 + 1));
		nh_wr_u32be(out, (uint32_t)n);
	}
}

static void text_put(struct nh_buf *out, nh_slice text)
{
	head_put(out, text.len, 0xa0, 32, 0xd9, 0xda);
	nh_buf_put_slice(out, text);
}

static void integer_put(struct nh_buf *out, json_int_t n)
{
	if (n >= -32 && n < 128) {
		nh_buf_put_u8(out, (uint8_t)n);
	} else if (n >= 0 && n <= UINT32_MAX) {
		head_put(out, (size_t)n, 0, 0, 0xcc, 0xcd);
	} else {
		nh_buf_put_u8(out, n >= 0 ? 0xcf : 0xd3);
		nh_wr_u64be(out, (uint64_t)n);
	}
}

static void real_put(struct nh_buf *out, double d)
{
	const union {
		double f64;
		uint64_t u64;
	} number = {d};
	nh_buf_put_u8(out, 0xcb);
	nh_wr_u64be(out, number.u64);
}

/* Depth is bounded where values come in (JSON 64, here 32) and by what the server builds. */
static void value_put(struct nh_buf *out, const json_t *v)
{
	size_t i;
	const char *key;
	size_t key_len;
	json_t *item;
	if (json_is_object(v)) {
		head_put(out, json_object_size(v), 0x80, 16, 0, 0xde);
		json_object_keylen_foreach((json_t *)(uintptr_t)v, key, key_len, item) {
			text_put(out, nh_slice_of(key, key_len));
			value_put(out, item);
		}
	} else if (json_is_array(v)) {
		head_put(out, json_array_size(v), 0x90, 16, 0, 0xdc);
		json_array_foreach(v, i, item)
			value_put(out, item);
	} else if (json_is_string(v)) {
		text_put(out, nh_slice_of(json_string_value(v), json_string_length(v)));
	} else if (json_is_integer(v)) {
		integer_put(out, json_integer_value(v));
	} else if (json_is_real(v)) {
		real_put(out, json_real_value(v));
	} else {
		nh_buf_put_u8(out, json_is_boolean(v) ? (json_is_true(v) ? 0xc3 : 0xc2) : 0xc0);
	}
}

static void ref_put(struct nh_buf *out, struct nh_phoenix_ref ref)
{
	if (ref.kind == NH_PHOENIX_REF_NULL)
		nh_buf_put_u8(out, 0xc0);
	else
		text_put(out, ref.text);
}

static void encode(struct nh_buf *out, const struct nh_phoenix_message *m)
{
	nh_buf_put_u8(out, 0x95);
	ref_put(out, m->join_ref);
	ref_put(out, m->ref);
	text_put(out, m->topic);
	text_put(out, m->event);
	if (m->payload) {
		value_put(out, m->payload);
	} else if (m->payload_text.len > 0) {
		NH_AUTO_JSON json_t *payload = NULL;
		NH_IGNORE(nh_json_parse(m->payload_text, m->payload_text.len, &payload, NULL)); /* text of our own making; were it none, the peer gets nil */
		value_put(out, payload);
	} else {
		nh_buf_put_u8(out, 0x80);
	}
}

const struct nh_phoenix_codec nh_phoenix_msgpack = {"msgpack", true, decode, encode};

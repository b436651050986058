/* MessagePack messages: the reference's examples byte for byte, every form of the format, and what is refused. */
#include "test_base.h"

#include <stdlib.h>

#include "base/encode.h"
#include "phoenix/phoenix.h"

#define C nh_phoenix_msgpack

static nh_rc decode(struct nh_arena *arena, const char *hex, struct nh_phoenix_message *m)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	assert_int_equal(nh_hex_decode(nh_slice_str(hex), &bytes), NH_OK);
	/* A copy of exactly this size, so that reading behind it is noticed. */
	uint8_t *exact = malloc(bytes.len ? bytes.len : 1);
	for (size_t i = 0; i < bytes.len; i++)
		exact[i] = bytes.ptr[i];
	nh_rc rc = C.decode(arena, nh_slice_of(exact, bytes.len), 1 << 20, m, NULL);
	free(exact);
	return rc;
}

static void assert_encodes(const struct nh_phoenix_message *m, const char *hex)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, text = NH_BUF_INIT;
	C.encode(&bytes, m);
	nh_hex_put(&text, nh_buf_slice(&bytes));
	assert_string_equal(nh_buf_cstr(&text), hex);
}

#define HEARTBEAT "95c0a137a770686f656e6978a968656172746265617480"
#define REPLY "95c0a137a770686f656e6978a97068785f7265706c7982a6737461747573a26f6ba8726573706f6e736580"
#define JOIN "95a131a131a6646576696365a87068785f6a6f696e81b26465766963655f6170695f76657273696f6ea5322e332e30"

static void examples_of_the_reference(void **state)
{
	static const char *const rows[] = {HEARTBEAT, REPLY, JOIN};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_phoenix_message m;
		assert_int_equal(decode(&arena, rows[i], &m), NH_OK);
		assert_encodes(&m, rows[i]);
		if (i == 0) {
			NH_AUTO_BUF struct nh_buf reply = NH_BUF_INIT, hex = NH_BUF_INIT;
			assert_true(nh_phoenix_is_heartbeat(&m));
			nh_phoenix_put_reply(&C, &reply, &m, NH_PHOENIX_NO_REF, "ok", NULL);
			nh_hex_put(&hex, nh_buf_slice(&reply));
			assert_string_equal(nh_buf_cstr(&hex), "95c0a137a770686f656e6978a97068785f7265706c7982a6737461747573a26f6ba8726573706f6e736580");
		}
		nh_phoenix_message_fini(&m);
	}
	assert_ptr_equal(nh_phoenix_codec_for_vsn(NH_LIT("3.0.0")), &C);
	assert_null(nh_phoenix_codec_for_vsn(NH_LIT("3.1.0")));
	assert_true(C.binary);
}

/* Each value as the payload {"v": value}: what it is as JSON, and how it is written back (NULL: as it came). */
static void values(void **state)
{
	static const struct {
		const char *hex, *json, *again;
	} rows[] = {
		{"00", "0", NULL},
		{"7f", "127", NULL},
		{"e0", "-32", NULL},
		{"ff", "-1", NULL},
		{"c0", "null", NULL},
		{"c2", "false", NULL},
		{"c3", "true", NULL},
		{"cc80", "128", NULL},
		{"ccff", "255", NULL},
		{"cd0100", "256", NULL},
		{"ce00010000", "65536", NULL},
		{"ceffffffff", "4294967295", NULL},
		{"cf0000000100000000", "4294967296", NULL},
		{"cf7fffffffffffffff", "9223372036854775807", NULL},
		{"cfffffffffffffffff", "18446744073709551616.0", "cb43f0000000000000"},
		{"d080", "-128", "d3ffffffffffffff80"},
		{"d18000", "-32768", "d3ffffffffffff8000"},
		{"d280000000", "-2147483648", "d3ffffffff80000000"},
		{"d38000000000000000", "-9223372036854775808", NULL},
		{"cd0001", "1", "01"},
		{"ca3fc00000", "1.5", "cb3ff8000000000000"},
		{"cb4009000000000000", "3.125", NULL},
		{"a2c328", "null", "c0"}, /* no UTF-8 */
		{"ca7f800000", "null", "c0"},
		{"cb7ff8000000000000", "null", "c0"},
		{"a0", "\"\"", NULL},
		{"a3c3a978", "\"\xc3\xa9x\"", NULL},
		{"a3610062", "\"a\\u0000b\"", NULL},
		{"c403616263", "\"abc\"", "a3616263"},
		{"c50003616263", "\"abc\"", "a3616263"},
		{"c600000003616263", "\"abc\"", "a3616263"},
		{"d903616263", "\"abc\"", "a3616263"},
		{"da0003616263", "\"abc\"", "a3616263"},
		{"db00000003616263", "\"abc\"", "a3616263"},
		{"9301c0a161", "[1,null,\"a\"]", NULL},
		{"dc000101", "[1]", "9101"},
		{"dd0000000101", "[1]", "9101"},
		{"81a16101", "{\"a\":1}", NULL},
		{"de0001a16101", "{\"a\":1}", "81a16101"},
		{"df00000001a16101", "{\"a\":1}", "81a16101"},
		{"d6ff00000001", "\"1970-01-01T00:00:01.000000Z\"", "bb313937302d30312d30315430303a30303a30312e3030303030305a"},
		{"d7ffee6b186000000001", "\"1970-01-01T00:00:01.999999Z\"", "bb313937302d30312d30315430303a30303a30312e3939393939395a"},
		{"c70cff000003e80000000000000001", "\"1970-01-01T00:00:01.000001Z\"", "bb313937302d30312d30315430303a30303a30312e3030303030315a"},
		{"c70cff000000007fffffffffffffff", "null", "c0"},
		{"c70cff00000000ffffffffffffffff", "null", "c0"},
		{"d6070102030405", NULL, NULL}, /* a byte too many */
		{"d40700", "null", "c0"},
		{"c7020700ff", "null", "c0"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		NH_AUTO_BUF struct nh_buf json = NH_BUF_INIT;
		struct nh_phoenix_message m;
		const char *in = nh_arena_printf(&arena, "95c0c0a174a16581a176%s", rows[i].hex);
		nh_rc rc = decode(&arena, in, &m);
		if (!rows[i].json) {
			assert_int_equal(rc, NH_EFORMAT);
			continue;
		}
		if (rc != NH_OK)
			fail_msg("%s: %s", rows[i].hex, nh_rc_name(rc));
		nh_json_put(&json, json_object_get(m.payload, "v"));
		if (strstr(rows[i].json, ".0"))
			assert_true(json_is_real(json_object_get(m.payload, "v")) || json_is_string(json_object_get(m.payload, "v")));
		else
			assert_string_equal(nh_buf_cstr(&json), rows[i].json);
		assert_encodes(&m, nh_arena_printf(&arena, "95c0c0a174a16581a176%s", rows[i].again ? rows[i].again : rows[i].hex));
		nh_phoenix_message_fini(&m);
	}
}

/* Texts and collections at the borders of their forms. */
static void sizes(void **state)
{
	static const struct {
		size_t n;
		const char *text_head, *array_head, *map_head;
	} rows[] = {
		{15, "af", "9f", "8f"},         {16, "b0", "dc0010", "de0010"},           {31, "bf", "dc001f", "de001f"}, {32, "d920", "dc0020", "de0020"},
		{255, "d9ff", "dc00ff", "de00ff"}, {256, "da0100", "dc0100", "de0100"}, {65536, "db00010000", "dd00010000", "df00010000"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, frame = NH_BUF_INIT, hex = NH_BUF_INIT;
		NH_AUTO_JSON json_t *payload = json_object();
		json_t *array = json_array(), *map = json_object();
		nh_buf_fill(&text, 'x', rows[i].n);
		for (size_t k = 0; k < rows[i].n; k++) {
			json_array_append_new(array, json_integer(0));
			json_object_set_new(map, nh_arena_printf(&arena, "%zu", k), json_null());
		}
		json_object_set_new(payload, "t", nh_json_new_text(nh_buf_slice(&text)));
		json_object_set_new(payload, "a", array);
		json_object_set_new(payload, "m", map);
		struct nh_phoenix_message m = {.topic = NH_LIT("t"), .event = NH_LIT("e"), .payload = payload}, back;
		C.encode(&frame, &m);
		assert_int_equal(C.decode(&arena, nh_buf_slice(&frame), 1 << 20, &back, NULL), NH_OK);
		assert_true(json_equal(back.payload, payload));
		nh_hex_put(&hex, nh_buf_slice(&frame));
		assert_non_null(strstr(nh_buf_cstr(&hex), nh_arena_printf(&arena, "a174%s7878", rows[i].text_head)));
		assert_non_null(strstr(nh_buf_cstr(&hex), nh_arena_printf(&arena, "a161%s0000", rows[i].array_head)));
		assert_non_null(strstr(nh_buf_cstr(&hex), nh_arena_printf(&arena, "a16d%s", rows[i].map_head)));
		nh_phoenix_message_fini(&back);
	}
}

static void refs(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_phoenix_message m;
	assert_int_equal(decode(&arena, "9501cd0100a174a16580", &m), NH_OK);
	assert_int_equal(m.join_ref.kind, NH_PHOENIX_REF_TEXT);
	assert_encodes(&m, "95a131a3323536a174a16580"); /* integers come back as text */
	nh_phoenix_message_fini(&m);
}

static void refused(void **state)
{
	static const char *const rows[] = {
		"",
		"80",
		"94c0c0a174a165",
		"95c0c0a174a16580ff",     /* bytes behind it */
		"95c0c0a174a1658101c0",   /* a key that is no text */
		"95c0c0a174a16581a176c1", /* the tag that means nothing */
		"95c0c0a2c328a16580",     /* a topic that is not UTF-8 */
		"95c0c0a174a16581a10001", /* NUL in a key */
		"95c0c0c0a16580",
		"95c0cb3ff8000000000000a174a16580",
		"ddffffffff",
		"dfffffffff",
		"95c0c0a174a16581a176dbffffffff61",
		"95c0c0a174a16581a176c6ffffffff61",
		"95c0c0a174a16581a176c9ffffffffff61",
	};
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf deep = NH_BUF_INIT;
	struct nh_phoenix_message m;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		if (decode(&arena, rows[i], &m) != NH_EFORMAT)
			fail_msg("%s", rows[i]);
		assert_null(m.payload);
	}
	/* Every beginning of a good message. */
	for (size_t len = 0; len < sizeof JOIN - 1; len += 2)
		assert_int_equal(decode(&arena, nh_arena_str(&arena, nh_slice_of(JOIN, len)), &m), NH_EFORMAT);
	for (unsigned depth = 20; depth <= 100000; depth = depth < 60 ? depth + 1 : depth * 2) {
		nh_buf_clear(&deep);
		nh_buf_put(&deep, "\x95\xc0\xc0\xa1t\xa1" "e\x81\xa1v", 10);
		nh_buf_fill(&deep, 0x91, depth);
		nh_buf_put_u8(&deep, 0xc0);
		nh_rc rc = C.decode(&arena, nh_buf_slice(&deep), 1 << 20, &m, NULL);
		assert_int_equal(rc, depth <= 30 ? NH_OK : NH_EFORMAT);
		if (rc == NH_OK)
			nh_phoenix_message_fini(&m);
	}
	assert_int_equal(C.decode(&arena, nh_slice_of("\x95", 1), 0, &m, NULL), NH_ETOOBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(examples_of_the_reference), cmocka_unit_test(values), cmocka_unit_test(sizes), cmocka_unit_test(refs), cmocka_unit_test(refused),
	};
	return cmocka_run_group_tests_name("msgpack", tests, NULL, NULL);
}

/* Channel messages of the reference's transcripts and the quirks of real clients. */
#include "test_base.h"

#include "phoenix/phoenix.h"

static nh_rc decode(const struct nh_phoenix_codec *c, struct nh_arena *arena, const char *text, struct nh_phoenix_message *m)
{
	return c->decode(arena, nh_slice_str(text), 4096, m, NULL);
}

static void versions(void **state)
{
	assert_ptr_equal(nh_phoenix_codec_for_vsn(NH_LIT("2.0.0")), &nh_phoenix_json_v2);
	assert_ptr_equal(nh_phoenix_codec_for_vsn(NH_LIT("2.0.9")), &nh_phoenix_json_v2);
	assert_ptr_equal(nh_phoenix_codec_for_vsn(NH_LIT("1.0.0")), &nh_phoenix_json_v1);
	assert_ptr_equal(nh_phoenix_codec_for_vsn(NH_SLICE_EMPTY), &nh_phoenix_json_v1);
	static const char *const bad[] = {"2", "2.0", "2.1.0", "1.1.0", "4.0.0", "2.0.0-rc.1", "x"};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		assert_null(nh_phoenix_codec_for_vsn(nh_slice_str(bad[i])));
}

/* Decoded and encoded again, each must come out as written in `out` (NULL: as it went in). */
static void round_trips(void **state)
{
	static const struct {
		const struct nh_phoenix_codec *codec;
		const char *in, *out;
	} rows[] = {
		{&nh_phoenix_json_v2, "[\"1\",\"1\",\"device\",\"phx_join\",{\"device_api_version\":\"2.3.0\"}]", NULL},
		{&nh_phoenix_json_v2, "[null,\"9\",\"phoenix\",\"heartbeat\",{}]", NULL},
		{&nh_phoenix_json_v2, "[null,2,\"phoenix\",\"heartbeat\",null]", NULL},
		{&nh_phoenix_json_v2, "[null,null,\"device\",\"update\",{\"a\":[1,null]},\"ignored\"]", "[null,null,\"device\",\"update\",{\"a\":[1,null]}]"},
		{&nh_phoenix_json_v2, "[null,null,\"t\",\"e\",[]]", NULL}, /* what its handler cannot read it ignores */
		{&nh_phoenix_json_v2, "[null,null,\"t\",\"e\",\"x\"]", NULL},
		{&nh_phoenix_json_v2, "[\"\\u00e9\",null,\"t\",\"e\",{}]", "[\"\xc3\xa9\",null,\"t\",\"e\",{}]"},
		{&nh_phoenix_json_v1, "{\"topic\":\"device\",\"event\":\"phx_join\",\"payload\":{\"x\":1},\"ref\":\"1\"}", NULL},
		{&nh_phoenix_json_v1, "{\"join_ref\":\"1\",\"topic\":\"device\",\"event\":\"e\",\"payload\":{},\"ref\":null}",
		 "{\"topic\":\"device\",\"event\":\"e\",\"payload\":{},\"ref\":null}"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		struct nh_phoenix_message m;
		assert_int_equal(decode(rows[i].codec, &arena, rows[i].in, &m), NH_OK);
		rows[i].codec->encode(&out, &m);
		assert_string_equal(nh_buf_cstr(&out), rows[i].out ? rows[i].out : rows[i].in);
		nh_phoenix_message_fini(&m);
	}
}

static void refused(void **state)
{
	static const struct {
		const struct nh_phoenix_codec *codec;
		const char *in;
	} rows[] = {
		{&nh_phoenix_json_v2, ""},
		{&nh_phoenix_json_v2, "{}"},
		{&nh_phoenix_json_v2, "[null,null,\"t\",\"e\"]"},
		{&nh_phoenix_json_v2, "[null,null,1,\"e\",{}]"},
		{&nh_phoenix_json_v2, "[null,null,\"t\",null,{}]"},
		{&nh_phoenix_json_v2, "[null,1.5,\"t\",\"e\",{}]"},
		{&nh_phoenix_json_v2, "[{},null,\"t\",\"e\",{}]"},
		{&nh_phoenix_json_v2, "[null,null,\"t\",\"e\",{}] x"},
		{&nh_phoenix_json_v1, "[]"},
		{&nh_phoenix_json_v1, "{\"topic\":\"t\",\"event\":\"e\",\"payload\":{}}"},
		{&nh_phoenix_json_v1, "{\"topic\":\"t\",\"event\":\"e\",\"ref\":\"1\"}"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_phoenix_message m;
		assert_int_equal(decode(rows[i].codec, &arena, rows[i].in, &m), NH_EFORMAT);
		assert_null(m.payload);
	}
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf big = NH_BUF_INIT;
	struct nh_phoenix_message m;
	nh_buf_put_str(&big, "[null,null,\"");
	nh_buf_fill(&big, 't', NH_PHOENIX_TOPIC_MAX + 1);
	nh_buf_put_str(&big, "\",\"e\",{}]");
	assert_int_equal(nh_phoenix_json_v2.decode(&arena, nh_buf_slice(&big), 4096, &m, NULL), NH_ETOOBIG);
	nh_buf_clear(&big);
	nh_buf_put_str(&big, "[null,\"");
	nh_buf_fill(&big, 'r', NH_PHOENIX_REF_MAX + 1);
	nh_buf_put_str(&big, "\",\"t\",\"e\",{}]");
	assert_int_equal(nh_phoenix_json_v2.decode(&arena, nh_buf_slice(&big), 4096, &m, NULL), NH_ETOOBIG);
	assert_int_equal(nh_phoenix_json_v2.decode(&arena, nh_buf_slice(&big), 10, &m, NULL), NH_ETOOBIG);
}

/* A push with a payload of bytes: 00, four lengths, join_ref, ref, topic, event, bytes. */
static void bytes(void **state)
{
	static const struct {
		const char *frame;
		size_t len;
		nh_rc rc;
		const char *again; /* as a text frame with payload null */
	} rows[] = {
#define ROW(text, rc, again) {text, sizeof text - 1, rc, again}
		ROW("\x00\x01\x01\x07\x02" "14consoleuphi", NH_OK, "[\"1\",\"4\",\"console\",\"up\",null]"),
		ROW("\x00\x00\x00\x06\x01" "devicex", NH_OK, "[null,null,\"device\",\"x\",null]"),
		ROW("\x00\x00\x00\x00\x00", NH_OK, "[null,null,\"\",\"\",null]"),
		ROW("", NH_EFORMAT, NULL),
		ROW("\x00\x01\x01\x07", NH_EFORMAT, NULL),
		ROW("\x00\x01\x01\x07\x02" "14console", NH_EFORMAT, NULL),
		ROW("\x00\xff\xff\xff\xff" "14consoleup", NH_EFORMAT, NULL),
		ROW("\x01\x01\x01\x07\x02" "14consoleuphi", NH_EFORMAT, NULL), /* a reply: only servers send those */
		ROW("\x02\x07\x02" "consoleuphi", NH_EFORMAT, NULL),
		ROW("\x00\x00\x00\x01\x01\xff" "x", NH_EFORMAT, NULL),
#undef ROW
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		struct nh_phoenix_message m;
		assert_int_equal(nh_phoenix_decode_bytes(&arena, nh_slice_of(rows[i].frame, rows[i].len), &m, NULL), rows[i].rc);
		if (rows[i].rc != NH_OK) {
			assert_null(m.payload);
			continue;
		}
		nh_phoenix_json_v2.encode(&out, &m);
		assert_string_equal(nh_buf_cstr(&out), rows[i].again);
		nh_phoenix_message_fini(&m);
	}
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf big = NH_BUF_INIT;
	struct nh_phoenix_message m;
	nh_buf_put(&big, "\x00\x00\x41\x01\x01", 5);
	nh_buf_fill(&big, 'r', NH_PHOENIX_REF_MAX + 1);
	nh_buf_put_str(&big, "te");
	assert_int_equal(nh_phoenix_decode_bytes(&arena, nh_buf_slice(&big), &m, NULL), NH_ETOOBIG);
}

static void server_side(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	NH_AUTO_JSON json_t *response = json_pack("{s:s}", "reason", "unmatched topic");
	struct nh_phoenix_message m;
	const struct nh_phoenix_codec *c = &nh_phoenix_json_v2;

	assert_int_equal(decode(c, &arena, "[null,2,\"phoenix\",\"heartbeat\",null]", &m), NH_OK);
	assert_true(nh_phoenix_is_heartbeat(&m));
	nh_phoenix_put_reply(c, &out, &m, NH_PHOENIX_NO_REF, "ok", NULL);
	assert_string_equal(nh_buf_cstr(&out), "[null,2,\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]");
	nh_phoenix_message_fini(&m);

	nh_buf_clear(&out);
	assert_int_equal(decode(c, &arena, "[\"1\",\"3\",\"nope\",\"x\",{}]", &m), NH_OK);
	assert_false(nh_phoenix_is_heartbeat(&m));
	nh_phoenix_put_reply(c, &out, &m, m.join_ref, "error", response);
	assert_string_equal(nh_buf_cstr(&out), "[\"1\",\"3\",\"nope\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\"unmatched topic\"}}]");
	nh_phoenix_message_fini(&m);

	nh_buf_clear(&out);
	nh_phoenix_put_channel_end(c, &out, "phx_error", NH_LIT("device"), nh_phoenix_ref_text(NH_LIT("1")), "channel_crash");
	nh_phoenix_put_channel_end(c, &out, "phx_close", NH_LIT("device"), nh_phoenix_ref_text(NH_LIT("1")), NULL);
	nh_phoenix_put_push(c, &out, NH_PHOENIX_NO_REF, NH_LIT("device"), "reboot", NULL);
	nh_phoenix_put_push(&nh_phoenix_json_v1, &out, NH_PHOENIX_NO_REF, NH_LIT("device"), "update", response);
	assert_string_equal(nh_buf_cstr(&out), "[\"1\",\"1\",\"device\",\"phx_error\",{\"reason\":\"channel_crash\"}]"
					       "[\"1\",\"1\",\"device\",\"phx_close\",{}]"
					       "[null,null,\"device\",\"reboot\",{}]"
					       "{\"topic\":\"device\",\"event\":\"update\",\"payload\":{\"reason\":\"unmatched topic\"},\"ref\":null}");
}

static void join_refs(void **state)
{
	static const struct {
		const char *join, *later;
		bool current;
	} rows[] = {
		{"[\"1\",\"1\",\"device\",\"phx_join\",{}]", "[\"1\",\"4\",\"device\",\"x\",{}]", true},
		{"[\"1\",\"1\",\"device\",\"phx_join\",{}]", "[null,\"4\",\"device\",\"x\",{}]", true},
		{"[\"2\",\"2\",\"device\",\"phx_join\",{}]", "[\"1\",\"4\",\"device\",\"x\",{}]", false},
		{"[null,\"1\",\"device\",\"phx_join\",{}]", "[\"1\",\"4\",\"device\",\"x\",{}]", true}, /* phoenix_client */
		{"[null,1,\"device\",\"phx_join\",{}]", "[\"1\",\"4\",\"device\",\"x\",{}]", true},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_phoenix_message join, later;
		assert_int_equal(decode(&nh_phoenix_json_v2, &arena, rows[i].join, &join), NH_OK);
		assert_int_equal(decode(&nh_phoenix_json_v2, &arena, rows[i].later, &later), NH_OK);
		assert_int_equal(nh_phoenix_join_ref_current(nh_phoenix_join_ref_of(&join), &later), rows[i].current);
		nh_phoenix_message_fini(&join);
		nh_phoenix_message_fini(&later);
	}
	assert_false(nh_phoenix_ref_eq(NH_PHOENIX_NO_REF, nh_phoenix_ref_text(NH_LIT(""))));
	assert_true(nh_phoenix_ref_eq(NH_PHOENIX_NO_REF, NH_PHOENIX_NO_REF));
}

static void client_side(void **state)
{
	static const struct {
		const char *text;
		nh_phoenix_kind kind;
		bool reply, ok;
	} rows[] = {
		{"[\"1\",\"1\",\"device\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]", NH_PHOENIX_REPLY, true, true},
		{"[\"1\",\"1\",\"device\",\"phx_reply\",{\"status\":\"error\",\"response\":\"detach\"}]", NH_PHOENIX_REPLY, true, false},
		{"[\"1\",\"1\",\"device\",\"phx_reply\",{\"status\":\"maybe\"}]", NH_PHOENIX_REPLY, false, false},
		{"[\"1\",\"1\",\"device\",\"phx_reply\",null]", NH_PHOENIX_REPLY, false, false},
		{"[\"1\",\"1\",\"device\",\"phx_error\",{}]", NH_PHOENIX_ERROR, false, false},
		{"[\"1\",\"1\",\"device\",\"phx_close\",{}]", NH_PHOENIX_CLOSED, false, false},
		{"[null,null,\"device\",\"update\",{}]", NH_PHOENIX_EVENT, false, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_phoenix_message m;
		const json_t *response;
		bool ok;
		assert_int_equal(decode(&nh_phoenix_json_v2, &arena, rows[i].text, &m), NH_OK);
		assert_int_equal(nh_phoenix_kind_of(&m), rows[i].kind);
		assert_int_equal(nh_phoenix_reply(&m, &ok, &response), rows[i].reply);
		assert_int_equal(ok, rows[i].ok);
		nh_phoenix_message_fini(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions),    cmocka_unit_test(round_trips), cmocka_unit_test(refused),
		cmocka_unit_test(bytes),       cmocka_unit_test(server_side), cmocka_unit_test(join_refs), cmocka_unit_test(client_side),
	};
	return cmocka_run_group_tests_name("phoenix", tests, NULL, NULL);
}

/* Frames in both roles, whole and one byte at a time, and the handshake values. */
#include "test_base.h"

#include <stdlib.h>

#include "base/encode.h"
#include "net/ws_codec.h"

/* Decodes hex; events are written as text: "T:data", "B:", "P:", "O:" (pong), "C1000:reason"; then "!code" for a failure. */
static void run(nh_ws_role role, const char *hex, size_t step, size_t max, struct nh_buf *log)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	struct nh_ws_decoder d;
	assert_int_equal(nh_hex_decode(nh_slice_str(hex), &bytes), NH_OK);
	nh_ws_decoder_init(&d, role, max);
	for (size_t at = 0; at < bytes.len;) {
		size_t n = bytes.len - at < step ? bytes.len - at : step;
		uint8_t *exact = malloc(n);
		memcpy(exact, bytes.ptr + at, n);
		struct nh_ws_input in = {exact, n};
		struct nh_ws_event ev = {0};
		nh_rc rc;
		while ((rc = nh_ws_decode(&d, &in, &ev, NULL)) == NH_OK && ev.kind != NH_WS_EV_NONE) {
			static const char letters[] = {'-', '?', 'P', 'O', 'C'};
			char letter = ev.kind == NH_WS_EV_MESSAGE ? (ev.opcode == NH_WS_TEXT ? 'T' : 'B') : letters[ev.kind];
			nh_buf_put_u8(log, (uint8_t)letter);
			if (ev.kind == NH_WS_EV_CLOSE)
				nh_buf_printf(log, "%u", ev.code);
			nh_buf_printf(log, ":%.*s ", NH_ARG(ev.data));
		}
		free(exact);
		at += n;
		if (rc == NH_ECLOSED) {
			nh_buf_put_str(log, "closed");
			break;
		}
		if (rc != NH_OK) {
			assert_int_equal(rc, d.close_code == NH_WS_CLOSE_TOO_BIG ? NH_ETOOBIG : NH_EFORMAT);
			nh_buf_printf(log, "!%u", d.close_code);
			break;
		}
	}
	if (!d.failed && !d.closed && nh_ws_decoder_idle(&d)) {
		assert_null(d.message.ptr);
		assert_null(d.control.ptr);
		nh_buf_put_str(log, "idle");
	}
	nh_ws_decoder_fini(&d);
}

static void frames(void **state)
{
	static const struct {
		nh_ws_role role;
		const char *hex, *log;
	} rows[] = {
		/* RFC 6455 5.7 */
		{NH_WS_CLIENT, "810548656c6c6f", "T:Hello idle"},
		{NH_WS_SERVER, "818537fa213d7f9f4d5158", "T:Hello idle"},
		{NH_WS_CLIENT, "010348656c80026c6f", "T:Hello idle"},
		{NH_WS_CLIENT, "890548656c6c6f", "P:Hello idle"},
		{NH_WS_SERVER, "8a8537fa213d7f9f4d5158", "O:Hello idle"},
		{NH_WS_CLIENT, "8201ff", "B:\xff idle"},
		{NH_WS_CLIENT, "8100", "T: idle"},
		{NH_WS_CLIENT, "8900810161", "P: T:a idle"},
		{NH_WS_CLIENT, "010161890170000162800163", "P:p T:abc idle"},
		{NH_WS_CLIENT, "0100800161", "T:a idle"},
		{NH_WS_CLIENT, "0101618000", "T:a idle"},
		{NH_WS_CLIENT, "01", ""},
		{NH_WS_CLIENT, "010161", ""},
		{NH_WS_SERVER, "810548656c6c6f", "!1002"}, /* unmasked from a client */
		{NH_WS_CLIENT, "818537fa213d7f9f4d5158", "!1002"},
		{NH_WS_CLIENT, "c100", "!1002"},
		{NH_WS_CLIENT, "8300", "!1002"},
		{NH_WS_CLIENT, "8b00", "!1002"},
		{NH_WS_CLIENT, "0900", "!1002"},
		{NH_WS_CLIENT, "897e0080", "!1002"},
		{NH_WS_CLIENT, "800161", "!1002"},
		{NH_WS_CLIENT, "010161810162", "!1002"},
		{NH_WS_CLIENT, "010161020162", "!1002"},
		{NH_WS_CLIENT, "0101610000", "!1008"},
		{NH_WS_CLIENT, "817e0005", "!1002"},
		{NH_WS_CLIENT, "817f000000000000ffff", "!1002"},
		{NH_WS_CLIENT, "817f8000000000000000", "!1002"},
		{NH_WS_CLIENT, "817e0401", "!1009"},
		{NH_WS_CLIENT, "817f0000000100000000", "!1009"},
		{NH_WS_CLIENT, "817f7fffffffffffffff", "!1009"},
		/* text: UTF-8 across fragments */
		{NH_WS_CLIENT, "0101c38001a9", "T:\xc3\xa9 idle"},
		{NH_WS_CLIENT, "0102f09f800299 8a", NULL},
		{NH_WS_CLIENT, "0102f09f8002998a", "T:\xf0\x9f\x99\x8a idle"},
		{NH_WS_CLIENT, "8101ff", "!1007"},
		{NH_WS_CLIENT, "8101c3", "!1007"},
		{NH_WS_CLIENT, "0101c38000", "!1007"},
		{NH_WS_CLIENT, "8102c080", "!1007"},
		{NH_WS_CLIENT, "8103eda080", "!1007"},
		{NH_WS_CLIENT, "8104f4908080", "!1007"},
		{NH_WS_CLIENT, "8103e08080", "!1007"},
		{NH_WS_CLIENT, "8104f0808080", "!1007"},
		{NH_WS_CLIENT, "8101f5", "!1007"},
		/* close */
		{NH_WS_CLIENT, "880203e8", "C1000: closed"},
		{NH_WS_CLIENT, "8800", "C1005: closed"},
		{NH_WS_CLIENT, "880503f0627965", NULL},
		{NH_WS_CLIENT, "880503e9627965", "C1001:bye closed"},
		{NH_WS_CLIENT, "880203e88100", "C1000: closed"},
		{NH_WS_CLIENT, "880103", "!1002"},
		{NH_WS_CLIENT, "880203ed", "!1002"},
		{NH_WS_CLIENT, "880203e7", "!1002"},
		{NH_WS_CLIENT, "8802ffff", "!1002"},
		{NH_WS_CLIENT, "880303e8ff", "!1007"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		if (!rows[i].log)
			continue;
		for (size_t step = 1; step <= 100; step = step == 1 ? 3 : step * 100) {
			NH_AUTO_BUF struct nh_buf log = NH_BUF_INIT;
			run(rows[i].role, rows[i].hex, step, 1024, &log);
			/* "closed" shows only where bytes follow the close frame in another call */
			nh_slice got = nh_buf_slice(&log), want = nh_slice_str(rows[i].log);
			if (nh_slice_ends(got, NH_LIT("closed")))
				got.len -= 6;
			if (nh_slice_ends(want, NH_LIT("closed")))
				want.len -= 6;
			if (!nh_slice_eq(got, want))
				fail_msg("row %zu step %zu: got '%.*s', expected '%.*s'", i, step, NH_ARG(got), NH_ARG(want));
		}
	}
}

/* A whole unfragmented frame is a view of the input; nothing is allocated. */
static void views(void **state)
{
	uint8_t bytes[] = {0x82, 0x83, 1, 2, 3, 4, 'a' ^ 1, 'b' ^ 2, 'c' ^ 3};
	struct nh_ws_decoder d;
	struct nh_ws_event ev;
	struct nh_ws_input in = {bytes, sizeof bytes};
	nh_ws_decoder_init(&d, NH_WS_SERVER, 100);
	assert_int_equal(nh_ws_decode(&d, &in, &ev, NULL), NH_OK);
	assert_slice(ev.data, "abc");
	assert_ptr_equal(ev.data.ptr, bytes + 6);
	assert_null(d.message.ptr);
	nh_ws_decoder_fini(&d);
}

static void message_cap(void **state)
{
	for (size_t max = 5; max <= 6; max++) {
		NH_AUTO_BUF struct nh_buf log = NH_BUF_INIT;
		run(NH_WS_CLIENT, "02036161618003626262", 1, max, &log);
		assert_string_equal(nh_buf_cstr(&log), max == 6 ? "B:aaabbb idle" : "!1009");
	}
}

static void encoding(void **state)
{
	static const size_t lengths[] = {0, 1, 125, 126, 65535, 65536};
	static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
	for (size_t i = 0; i < NH_ARRAY_LEN(lengths); i++) {
		for (int masked = 0; masked < 2; masked++) {
			NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
			NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
			struct nh_ws_decoder d;
			struct nh_ws_event ev;
			nh_buf_fill(&payload, 'x', lengths[i]);
			nh_ws_put_frame(&frame, NH_WS_BINARY, nh_buf_slice(&payload), masked ? mask : NULL);
			nh_ws_decoder_init(&d, masked ? NH_WS_SERVER : NH_WS_CLIENT, 1 << 20);
			struct nh_ws_input in = {frame.ptr, frame.len};
			assert_int_equal(nh_ws_decode(&d, &in, &ev, NULL), NH_OK);
			assert_int_equal(ev.kind, NH_WS_EV_MESSAGE);
			assert_true(nh_slice_eq(ev.data, nh_buf_slice(&payload)));
			assert_int_equal(in.len, 0);
			nh_ws_decoder_fini(&d);
		}
	}
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf reason = NH_BUF_INIT;
	for (int i = 0; i < 62; i++)
		nh_buf_put_str(&reason, "\xc3\xa9"); /* 124 bytes: the cut must not split the last character */
	nh_ws_put_close(&out, 1001, nh_buf_slice(&reason), NULL);
	assert_int_equal(out.ptr[1], 2 + 122);
	nh_buf_clear(&out);
	nh_ws_put_close(&out, NH_WS_CLOSE_NO_STATUS, NH_LIT("x"), NULL);
	assert_int_equal(out.len, 2);
}

static void handshake(void **state)
{
	char accept[NH_WS_ACCEPT_LEN + 1];
	nh_slice key_text = NH_LIT("dGhlIHNhbXBsZSBub25jZQ==");
	nh_ws_accept_key(key_text, accept);
	assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); /* RFC 6455 1.3 */

#define GOOD "Host: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define V13 "Sec-WebSocket-Version: 13\r\n"
	static const struct {
		const char *text;
		nh_rc rc;
	} rows[] = {
		{"GET /s HTTP/1.1\r\n" GOOD KEY V13 "\r\n", NH_OK},
		{"POST /s HTTP/1.1\r\n" GOOD KEY V13 "\r\n", NH_EINVAL},
		{"GET /s HTTP/1.0\r\n" GOOD KEY V13 "\r\n", NH_EFORMAT},
		{"GET /s HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n" KEY V13 "\r\n", NH_EFORMAT},
		{"GET /s HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n" KEY V13 "\r\n", NH_EFORMAT},
		{"GET /s HTTP/1.1\r\n" GOOD KEY "\r\n", NH_EUNSUPPORTED},
		{"GET /s HTTP/1.1\r\n" GOOD KEY "Sec-WebSocket-Version: 8\r\n\r\n", NH_EUNSUPPORTED},
		{"GET /s HTTP/1.1\r\n" GOOD V13 "\r\n", NH_EFORMAT},
		{"GET /s HTTP/1.1\r\n" GOOD V13 KEY KEY "\r\n", NH_EFORMAT},
		{"GET /s HTTP/1.1\r\n" GOOD V13 "Sec-WebSocket-Key: c2hvcnQ=\r\n\r\n", NH_EFORMAT},
		{"GET /s HTTP/1.1\r\n" GOOD V13 KEY "Content-Length: 3\r\n\r\n", NH_EFORMAT},
		{"GET /s HTTP/1.1\r\n" GOOD V13 KEY "Origin: https://H:99\r\n\r\n", NH_OK},
		{"GET /s HTTP/1.1\r\n" GOOD V13 KEY "Origin: https://hh\r\n\r\n", NH_EPERM},
		{"GET /s HTTP/1.1\r\n" GOOD V13 KEY "Origin: https://h.evil\r\n\r\n", NH_EPERM},
		{"GET /s HTTP/1.1\r\n" GOOD V13 KEY "Origin: null\r\n\r\n", NH_EPERM},
		{"GET /s HTTP/1.1\r\n" GOOD V13 KEY "Origin: h\r\n\r\n", NH_EPERM},
		{"GET /s HTTP/1.1\r\n" GOOD V13 KEY "Origin:\r\n\r\n", NH_EPERM},
		{"GET /s HTTP/1.1\r\n" GOOD V13 KEY "Origin: https://h\r\nOrigin: https://h\r\n\r\n", NH_EPERM},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_http_scan scan = {0};
		struct nh_http_request_head head;
		nh_slice key;
		assert_int_equal(nh_http_request_parse(NULL, nh_slice_str(rows[i].text), &scan, &head, NULL), NH_OK);
		assert_int_equal(nh_ws_server_check(&head, &key, NULL), rows[i].rc);
	}
#define UP "Connection: Upgrade\r\nUpgrade: websocket\r\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
	static const struct {
		const char *text;
		nh_rc rc;
	} answers[] = {
		{"HTTP/1.1 101 Switching Protocols\r\n" UP ACCEPT "\r\n", NH_OK},
		{"HTTP/1.1 200 OK\r\n" UP ACCEPT "\r\n", NH_EFORMAT},
		{"HTTP/1.1 101 Switching Protocols\r\n" ACCEPT "\r\n", NH_EFORMAT},
		{"HTTP/1.1 101 Switching Protocols\r\n" UP "\r\n", NH_EFORMAT},
		{"HTTP/1.1 101 Switching Protocols\r\n" UP "Sec-WebSocket-Accept: wrong\r\n\r\n", NH_EFORMAT},
		{"HTTP/1.1 101 Switching Protocols\r\n" UP ACCEPT "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", NH_EFORMAT},
		{"HTTP/1.1 101 Switching Protocols\r\n" UP ACCEPT "Sec-WebSocket-Protocol: x\r\n\r\n", NH_EFORMAT},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(answers); i++) {
		struct nh_http_scan scan = {0};
		struct nh_http_response_head head;
		assert_int_equal(nh_http_response_parse(NULL, nh_slice_str(answers[i].text), &scan, NH_HTTP_GET, &head, NULL), NH_OK);
		assert_int_equal(nh_ws_client_check(&head, key_text, NULL), answers[i].rc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames), cmocka_unit_test(views), cmocka_unit_test(message_cap), cmocka_unit_test(encoding), cmocka_unit_test(handshake),
	};
	return cmocka_run_group_tests_name("ws_codec", tests, NULL, NULL);
}

/*
 * The server as other programs see it: curl, openssl s_client and Python's websockets. They judge what our own client, which shares our code, cannot.
 * A program that is not installed is skipped, and the test says so.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/process.h"
#include "net/server.h"
#include "test_peer.h"
#include "test_pki.h"

#define FILE_SIZE 300000u

static struct test_pki pki;
static struct nh_tls *device_tls, *web_tls, *api_tls;
static struct nh_pool *pool;
static struct nh_server *server;
static struct nh_listener listeners[3]; /* device: certificate optional; web: none, tickets; api: required */
static char dir[] = "/tmp/nh-peers-XXXXXX";
static uint8_t device_fingerprint[32];

/* ---- the application --------------------------------------------------------------------------------------------------- */

static void handle_who(struct nh_request *req, struct nh_response *res)
{
	nh_response_send(res, 200, "text/plain", nh_slice_str(nh_arena_printf(req->arena, "tag=%lld cert=%d", (long long)req->peer_tag, req->fingerprint != NULL)));
}

static void handle_length(struct nh_request *req, struct nh_response *res)
{
	nh_response_send(res, 200, "text/plain", nh_slice_str(nh_arena_printf(req->arena, "got %zu", req->body.len)));
}

static void handle_file(struct nh_request *req, struct nh_response *res)
{
	int fd = open(nh_arena_printf(req->arena, "%s/data", dir), O_RDONLY | O_CLOEXEC);
	nh_response_file(res, fd, FILE_SIZE, "application/octet-stream", NH_LIT("v1"));
}

static void ws_open(struct nh_conn *conn, void *session) {}
static void ws_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data) { nh_ws_send(conn, opcode, data); }
static void ws_close(struct nh_conn *conn, void *session, uint16_t code) {}
static const struct nh_ws_handler echo = {.max_message_bytes = 1000000, .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};
static void handle_socket(struct nh_request *req, struct nh_response *res) { nh_response_upgrade(res, &echo, NULL); }

static const struct nh_route routes[] = {
	{.method = NH_HTTP_GET, .path = "/who", .handle = handle_who},
	{.method = NH_HTTP_POST, .path = "/length", .handle = handle_length, .body_max = 10000000},
	{.method = NH_HTTP_PUT, .path = "/length", .handle = handle_length, .body_max = 10000000},
	{.method = NH_HTTP_GET, .path = "/file", .handle = handle_file},
	{.method = NH_HTTP_GET, .path = "/socket", .handle = handle_socket},
	{0},
};
static const struct nh_mount mounts[] = {{.routes = routes}, {0}};

static nh_tls_verdict verify(void *app, nh_slice der, const uint8_t fingerprint[32], int64_t *tag) { return NH_TLS_PENDING; }

static nh_tls_verdict verify_slow(void *worker, void *app, nh_slice der, const uint8_t fingerprint[32], int64_t *tag)
{
	*tag = 42;
	return memcmp(fingerprint, device_fingerprint, 32) == 0 ? NH_TLS_ACCEPT : NH_TLS_REFUSE;
}

/* ---- set-up ------------------------------------------------------------------------------------------------------------ */

static void put_file(const char *name, nh_slice bytes)
{
	char path[64];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(nh_file_write_atomic(path, bytes, 0600, NULL), NH_OK);
}

static void put_identity(const char *name, uint8_t fingerprint[32])
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	char path[32];
	test_pki_issue(&pki, name, NULL, &cert, &key, fingerprint);
	snprintf(path, sizeof path, "%s.pem", name);
	put_file(path, nh_buf_slice(&cert));
	snprintf(path, sizeof path, "%s.key", name);
	put_file(path, nh_buf_slice(&key));
}

static int set_up(void **state)
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT, data = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	uint8_t ignored[32];
	assert_non_null(mkdtemp(dir));
	test_pki_init(&pki);
	test_pki_issue(&pki, "localhost", "localhost", &cert, &key, NULL);
	put_file("ca.pem", nh_buf_slice(&pki.pem));
	put_identity("device", device_fingerprint);
	put_identity("other", ignored);
	for (size_t i = 0; i < FILE_SIZE; i++)
		nh_buf_put_u8(&data, (uint8_t)('a' + i % 26));
	put_file("data", nh_buf_slice(&data));
	struct nh_tls_server_config tls = {.cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key), .client_auth = NH_TLS_CLIENT_OPTIONAL, .verify = nh_server_verify};
	assert_int_equal(nh_tls_server_new(&tls, &device_tls, &err), NH_OK);
	tls.client_auth = NH_TLS_CLIENT_REQUIRED;
	assert_int_equal(nh_tls_server_new(&tls, &api_tls, &err), NH_OK);
	tls.client_auth = NH_TLS_CLIENT_NONE;
	tls.tickets = true;
	assert_int_equal(nh_tls_server_new(&tls, &web_tls, &err), NH_OK);
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &pool, &err), NH_OK);
	struct nh_listener device = {.name = "device", .address = "127.0.0.1", .mounts = mounts, .tls = device_tls, .verify = verify, .verify_slow = verify_slow};
	listeners[0] = listeners[1] = listeners[2] = device;
	listeners[1].tls = web_tls;
	listeners[2].tls = api_tls;
	assert_int_equal(nh_server_open(&(struct nh_server_config){.pool = pool, .listeners = listeners, .listener_count = 3}, &server, &err), NH_OK);
	assert_int_equal(nh_server_start(server, &err), NH_OK);
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"ca.pem", "device.pem", "device.key", "other.pem", "other.key", "data"};
	nh_server_drain(server, 2000);
	nh_pool_free(pool);
	nh_server_free(server);
	nh_tls_unref(device_tls);
	nh_tls_unref(web_tls);
	nh_tls_unref(api_tls);
	test_pki_fini(&pki);
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++) {
		char path[64];
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
	return 0;
}

/* ---- running a peer ---------------------------------------------------------------------------------------------------- */

/* Runs a command line of words in the test's directory. "@0" to "@2" become the listeners' ports. Out and error output go to *out. Exit status, -1: not installed. */
static int run(const char *line, nh_slice input, struct nh_buf *out)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf errout = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	const char *argv[40] = {0};
	size_t count = 0;
	nh_slice rest = nh_slice_str(line), word;
	int status = -1;
	while (rest.len && count < NH_ARRAY_LEN(argv) - 1) {
		nh_slice_cut(rest, ' ', &word, &rest);
		ptrdiff_t at = nh_slice_chr(word, '@');
		if (at >= 0 && (size_t)at + 1 < word.len && word.ptr[at + 1] >= '0' && word.ptr[at + 1] <= '2')
			argv[count++] = nh_arena_printf(&arena, "%.*s%u%.*s", (int)at, (const char *)word.ptr, listeners[word.ptr[at + 1] - '0'].port,
							NH_ARG(nh_slice_skip(word, (size_t)at + 2)));
		else
			argv[count++] = nh_arena_str(&arena, word);
	}
	nh_buf_clear(out);
	struct nh_process p = {.argv = argv, .cwd = dir, .stdin_bytes = input, .timeout_ms = 60000};
	nh_rc rc = nh_process_run(&p, &status, out, &errout, &err);
	if (rc == NH_ENOTFOUND)
		return -1;
	assert_int_equal(rc, NH_OK);
	nh_buf_put_slice(out, nh_buf_slice(&errout));
	return status;
}

static bool missing(const char *program, int status)
{
	if (status == -1)
		print_message("skipped: %s is not installed\n", program);
	return status == -1;
}

static void expect(size_t row, const struct nh_buf *out, const char *text)
{
	if (text && !strstr(nh_buf_cstr(out), text))
		fail_msg("row %zu: expected '%s' in:\n%s", row, text, nh_buf_cstr(out));
}

/* ---- tests ------------------------------------------------------------------------------------------------------------- */

static void test_curl(void **state)
{
	static const struct {
		const char *line;
		int status;
		const char *text;
	} rows[] = {
		{"curl -sS --cacert ca.pem https://localhost:@0/who", 0, "tag=0 cert=0"},
		{"curl -sS --cacert ca.pem --cert device.pem --key device.key https://localhost:@0/who", 0, "tag=42 cert=1"},
		{"curl -sS --tls-max 1.2 --cacert ca.pem --cert device.pem --key device.key https://localhost:@0/who", 0, "tag=42 cert=1"},
		{"curl -sS --tls-max 1.2 --cacert ca.pem --cert other.pem --key other.key https://localhost:@0/who", 56, "alert"}, /* 56: after the handshake */
		{"curl -sS --tls-max 1.2 --cacert ca.pem https://localhost:@2/who", 35, NULL},
		{"curl -sS --cacert ca.pem --cert device.pem --key device.key https://localhost:@2/who", 0, "tag=42 cert=1"},
		{"curl -sS --http2 --cacert ca.pem https://localhost:@1/who -w %{http_version}", 0, "cert=01.1"},
		{"curl -sS --cacert ca.pem https://localhost:@1/who https://localhost:@1/who https://localhost:@1/who -w %{num_connects}", 0, "cert=0"},
		{"curl -sS --cacert ca.pem https://localhost:@1/file -o /dev/null -w %{size_download}", 0, "300000"},
		{"curl -sS --cacert ca.pem https://localhost:@1/file -r 26-28 -w %{http_code}", 0, "abc206"},
		{"curl -sS --cacert ca.pem https://localhost:@1/file -r 300000- -w %{http_code}", 0, "416"},
		{"curl -sS --cacert ca.pem https://localhost:@1/file -I", 0, "Content-Length: 300000\r\n"},
		{"curl -sS --cacert ca.pem https://localhost:@1/file -H If-None-Match:\"v1\" -w %{http_code}", 0, "304"},
		{"curl -sS --cacert ca.pem https://localhost:@1/length --data-binary @data", 0, "got 300000"},
		{"curl -sS --cacert ca.pem https://localhost:@1/length -T data", 0, "got 300000"},
		{"curl -sS --cacert ca.pem https://localhost:@1/length -T data -H Transfer-Encoding:chunked", 0, "got 300000"},
		{"curl -sS --cacert ca.pem https://localhost:@1/who --data-binary @data -w %{http_code}", 0, "405"},
	};
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		int status = run(rows[i].line, NH_SLICE_EMPTY, &out);
		if (missing("curl", status))
			return;
		if (status != rows[i].status)
			fail_msg("row %zu: exit status %d\n%s", i, status, nh_buf_cstr(&out));
		expect(i, &out, rows[i].text);
	}
}

#define S_CLIENT "openssl s_client -CAfile ca.pem -verify_return_error -servername localhost -ign_eof "

static void test_openssl(void **state)
{
	static const struct {
		const char *line;
		bool works;
		const char *text;
	} rows[] = {
		{S_CLIENT "-tls1_3 -groups X25519 -connect 127.0.0.1:@0", true, "Server Temp Key: X25519"},
		{S_CLIENT "-tls1_3 -groups P-384:X25519 -connect 127.0.0.1:@0", true, "Server Temp Key: X25519"},
		{S_CLIENT "-tls1_3 -groups P-256 -connect 127.0.0.1:@0", true, "ECDH, prime256v1"},
		{S_CLIENT "-tls1_3 -groups P-384 -connect 127.0.0.1:@0", false, NULL},
		{S_CLIENT "-tls1_2 -groups P-256 -connect 127.0.0.1:@0", true, "TLSv1.2"},
		{S_CLIENT "-tls1_1 -cipher DEFAULT@SECLEVEL=0 -connect 127.0.0.1:@0", false, NULL},
		{S_CLIENT "-alpn h2,http/1.1 -connect 127.0.0.1:@0", true, "ALPN protocol: http/1.1"},
		{S_CLIENT "-connect 127.0.0.1:@0", true, "No client certificate CA names sent"},
		{S_CLIENT "-cert device.pem -key device.key -connect 127.0.0.1:@0", true, "tag=42 cert=1"},
		{S_CLIENT "-cert other.pem -key other.key -connect 127.0.0.1:@0", false, "alert"},
		{S_CLIENT "-tls1_2 -cert other.pem -key other.key -connect 127.0.0.1:@0", false, "alert"},
		{S_CLIENT "-connect 127.0.0.1:@2", false, "alert certificate required"},
		{S_CLIENT "-tls1_2 -connect 127.0.0.1:@1", true, "TLS session ticket:"},
	};
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		int status = run(rows[i].line, NH_LIT("GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), &out);
		if (missing("openssl", status))
			return;
		bool works = strstr(nh_buf_cstr(&out), "HTTP/1.1 200 OK") != NULL;
		if (works != rows[i].works)
			fail_msg("row %zu: exit status %d\n%s", i, status, nh_buf_cstr(&out));
		expect(i, &out, rows[i].text);
	}
	/* Where certificates decide there are no tickets: a resumed session would skip the decision. */
	assert_true(run(S_CLIENT "-tls1_2 -connect 127.0.0.1:@0", NH_LIT("GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), &out) >= 0);
	assert_null(strstr(nh_buf_cstr(&out), "TLS session ticket:"));
}

static const char python[] =
	"import asyncio, ssl, sys\n"
	"try:\n"
	"    import websockets\n"
	"except ImportError:\n"
	"    sys.exit(77)\n"
	"async def main():\n"
	"    context = ssl.create_default_context(cafile='ca.pem')\n"
	"    context.load_cert_chain('device.pem', 'device.key')\n"
	"    async with websockets.connect('wss://localhost:@0/socket', ssl=context, max_size=None) as ws:\n"
	"        assert not ws.extensions, ws.extensions\n"
	"        for text in ('', 'a', 'x' * 125, 'x' * 126, 'y' * 65535, 'z' * 65536, 'w' * 1000000):\n"
	"            await ws.send(text)\n"
	"            assert await ws.recv() == text\n"
	"        await ws.send(b'\\x00\\xff' * 300)\n"
	"        assert await ws.recv() == b'\\x00\\xff' * 300\n"
	"        await ws.send(['fra', 'gm', 'ents \\u00e9\\u20ac'])\n"
	"        assert await ws.recv() == 'fragments \\u00e9\\u20ac'\n"
	"        await asyncio.wait_for(await ws.ping(b'p'), 30)\n"
	"        await ws.close(1000, 'done')\n"
	"        assert ws.close_code == 1000, ws.close_code\n"
	"    async with websockets.connect('wss://localhost:@0/socket', ssl=context) as ws:\n"
	"        await ws.send('v' * 1000001)\n"
	"        try:\n"
	"            await ws.recv()\n"
	"        except websockets.ConnectionClosed:\n"
	"            pass\n"
	"        assert ws.close_code == 1009, ws.close_code\n"
	"asyncio.run(main())\n"
	"print('fine')\n";

static void test_python_websockets(void **state)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT, script = NH_BUF_INIT;
	for (const char *p = python; *p; p++)
		if (p[0] == '@' && p[1] == '0') {
			nh_buf_printf(&script, "%u", listeners[0].port);
			p++;
		} else {
			nh_buf_put_u8(&script, (uint8_t)*p);
		}
	int status = run("/usr/bin/python3 -", nh_buf_slice(&script), &out);
	if (missing("python3-websockets", status == 77 ? -1 : status))
		return;
	if (status != 0)
		fail_msg("exit status %d\n%s", status, nh_buf_cstr(&out));
	expect(0, &out, "fine");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_curl),
		cmocka_unit_test(test_openssl),
		cmocka_unit_test(test_python_websockets),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

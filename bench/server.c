/*
 * The server under measurement: the real nh_server on one loop, with the smallest application that shows its cost. Devices are authorised from a sorted
 * index of fingerprints in memory, as a warm index would. Stopped by closing its control pipe.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "bench.h"
#include "net/server.h"

/* ---- the application --------------------------------------------------------------------------------------------------------- */

struct session {
	struct nh_conn *conn;
	size_t index;
};

/* One loop, so all of this belongs to one thread. */
static struct session **sessions;
static size_t session_count, session_room;

static void ws_open(struct nh_conn *conn, void *arg)
{
	struct session *s = arg;
	if (session_count == session_room) {
		session_room = session_room ? session_room * 2 : 1024;
		sessions = realloc(sessions, session_room * sizeof *sessions);
		NH_ASSERT(sessions);
	}
	*s = (struct session){conn, session_count};
	sessions[session_count++] = s;
}

static void ws_message(struct nh_conn *conn, void *arg, nh_ws_opcode opcode, nh_slice data)
{
	/* What a heartbeat's answer looks like. source: reference/device-protocol "4" */
	nh_ws_send(conn, NH_WS_TEXT, NH_LIT("[null,\"1\",\"phoenix\",\"phx_reply\",{\"response\":{},\"status\":\"ok\"}]"));
}

static void ws_close(struct nh_conn *conn, void *arg, uint16_t code)
{
	struct session *s = arg;
	if (s->conn) {
		sessions[s->index] = sessions[--session_count];
		sessions[s->index]->index = s->index;
	}
	free(s);
}

static const struct nh_ws_handler handler = {.max_message_bytes = 1000000, .idle_ms = 3600000, .on_open = ws_open, .on_message = ws_message, .on_close = ws_close};

static void handle_socket(struct nh_request *req, struct nh_response *res) { nh_response_upgrade(res, &handler, nh_xcalloc(1, sizeof(struct session))); }

static void handle_blob(struct nh_request *req, struct nh_response *res)
{
	int fd = open(nh_arena_printf(req->arena, "%s/blob", world.dir), O_RDONLY | O_CLOEXEC);
	nh_response_file(res, fd, BLOB_BYTES, "application/octet-stream", NH_LIT("blob"));
}

static void handle_broadcast(struct nh_request *req, struct nh_response *res)
{
	static uint8_t payload[1000];
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	memset(payload, 'b', sizeof payload);
	nh_ws_put_frame(&frame, NH_WS_TEXT, nh_slice_of(payload, sizeof payload), NULL);
	for (size_t i = 0; i < session_count; i++)
		nh_ws_send_frame(sessions[i]->conn, nh_buf_slice(&frame));
	nh_response_send(res, 200, "text/plain", nh_slice_str(nh_arena_printf(req->arena, "%zu", session_count)));
}

static struct nh_server *server;

static void handle_connections(struct nh_request *req, struct nh_response *res)
{
	struct nh_server_stats stats;
	nh_server_stats(server, &stats);
	nh_response_send(res, 200, "text/plain", nh_slice_str(nh_arena_printf(req->arena, "%llu", (unsigned long long)stats.connections)));
}

static nh_rc upload_begin(struct nh_request *req, struct nh_response *res, void **stream)
{
	*stream = nh_xcalloc(1, sizeof(uint64_t));
	return NH_OK;
}

static nh_rc upload_data(void *worker, void *stream, nh_slice bytes)
{
	*(uint64_t *)stream += bytes.len;
	return NH_OK;
}

static void upload_abort(void *worker, void *stream) { free(stream); }
static const struct nh_body_sink upload_sink = {upload_begin, upload_data, upload_abort};

static void handle_upload(struct nh_request *req, struct nh_response *res)
{
	nh_response_send(res, 200, "text/plain", nh_slice_str(nh_arena_printf(req->arena, "%llu", (unsigned long long)*(uint64_t *)req->stream)));
	free(req->stream);
}

static const struct nh_route routes[] = {
	{.method = NH_HTTP_GET, .path = "/socket", .handle = handle_socket, .where = NH_ON_LOOP},
	{.method = NH_HTTP_GET, .path = "/blob", .handle = handle_blob, .where = NH_ON_LOOP},
	{.method = NH_HTTP_POST, .path = "/broadcast", .handle = handle_broadcast, .where = NH_ON_LOOP},
	{.method = NH_HTTP_GET, .path = "/connections", .handle = handle_connections, .where = NH_ON_LOOP},
	{.method = NH_HTTP_POST, .path = "/upload", .handle = handle_upload, .body = NH_BODY_STREAM, .body_max = UINT64_C(8) << 30, .sink = &upload_sink},
	{0},
};
static const struct nh_mount mounts[] = {{.routes = routes}, {0}};

static int fingerprint_cmp(const void *a, const void *b) { return memcmp(a, b, NH_TLS_FINGERPRINT_LEN); }

static nh_tls_verdict verify(void *app, nh_slice der, const uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN], int64_t *tag)
{
	const void *found = bsearch(fingerprint, world.fingerprints, world.count, NH_TLS_FINGERPRINT_LEN, fingerprint_cmp);
	*tag = 1;
	return found ? NH_TLS_ACCEPT : NH_TLS_REFUSE;
}

/* ---- the process --------------------------------------------------------------------------------------------------------------- */

static void serve(int control, int ports_out)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_tls *tls = NULL;
	struct nh_pool *pool = NULL;
	char end;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(SERVER_CORE);
	struct nh_tls_server_config config = {.cert_pem = nh_buf_slice(&world.server.cert), .key_pem = nh_buf_slice(&world.server.key),
					      .client_auth = NH_TLS_CLIENT_OPTIONAL, .verify = nh_server_verify};
	struct nh_listener listeners[2] = {
		{.name = "device", .address = "127.0.0.1", .mounts = mounts, .verify = verify},
		{.name = "plain", .address = "127.0.0.1", .mounts = mounts},
	};
	if (nh_tls_server_new(&config, &tls, &err) != NH_OK || nh_pool_new(&(struct nh_pool_config){.threads = 2}, &pool, &err) != NH_OK)
		die("server", &err);
	listeners[0].tls = tls;
	if (nh_server_open(&(struct nh_server_config){.pool = pool, .listeners = listeners, .listener_count = 2}, &server, &err) != NH_OK ||
	    nh_server_start(server, &err) != NH_OK)
		die("server", &err);
	uint16_t ports[2] = {listeners[0].port, listeners[1].port};
	malloc_trim(0);
	if (write(ports_out, ports, sizeof ports) != sizeof ports)
		die("server", NULL);
	while (read(control, &end, 1) > 0)
		continue;
	_exit(0);
}

struct server server_start(void)
{
	struct server s = {0};
	int control[2], out[2];
	uint16_t ports[2];
	if (pipe2(control, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
		die("pipe", NULL);
	fflush(stdout);
	s.pid = fork();
	if (s.pid == 0) {
		close(control[1]);
		serve(control[0], out[1]);
	}
	close(control[0]);
	close(out[1]);
	if (s.pid < 0 || read(out[0], ports, sizeof ports) != sizeof ports)
		die("the server did not start", NULL);
	close(out[0]);
	s.control = control[1];
	s.tls = ports[0];
	s.plain = ports[1];
	return s;
}

void server_stop(struct server *s)
{
	close(s->control);
	waitpid(s->pid, NULL, 0);
}

uint64_t server_ask(const struct server *s, const char *method, const char *path)
{
	char text[2048];
	size_t have = 0;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(s->plain), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int len = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0 || write(fd, text, (size_t)len) != len)
		die("asking the server", NULL);
	ssize_t n;
	while (have < sizeof text - 1 && (n = read(fd, text + have, sizeof text - 1 - have)) > 0)
		have += (size_t)n;
	close(fd);
	text[have] = 0;
	const char *body = strstr(text, "\r\n\r\n");
	if (strncmp(text, "HTTP/1.1 200", 12) != 0 || !body)
		die("the server's answer", NULL);
	return strtoull(body + 4, NULL, 10);
}

/*
 * The load: one process, one loop, the real clients of net. It speaks with the parent over a socket pair: a double each time it reached a point, a
 * byte to go on. It is never measured, only what it does to the server.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "bench.h"
#include "loop/loop.h"
#include "net/client.h"

struct peer {
	struct nh_ws_client *client;
	struct nh_http_get *get;
	size_t index;
};

static struct {
	const struct server *server;
	struct load_task task;
	int channel;
	struct nh_loop *loop;
	struct peer *peers;
	size_t started, opened, sent, received, wanted, beats;
	uint64_t began_us;
	uint64_t bytes;
	struct nh_timer *pace;
	struct nh_tls *anonymous;
} load;

/* ---- points -------------------------------------------------------------------------------------------------------------------- */

static void point(double value)
{
	char go;
	if (write(load.channel, &value, sizeof value) != sizeof value || read(load.channel, &go, 1) != 1)
		_exit(0);
}

/* ---- WebSockets ---------------------------------------------------------------------------------------------------------------- */

static void start_one(void);

/* Inside a callback, which waits for the parent: the sockets keep what comes meanwhile. */
static void next_phase(void)
{
	point((double)(nh_mono_us() - load.began_us) / 1e6);
	load.began_us = nh_mono_us();
	load.received = 0;
	load.sent = 0;
	if (load.task.rounds) {
		load.task.rounds--;
		load.wanted = load.beats = load.task.heartbeats;
		nh_timer_start(load.pace, 1, 1);
	} else if (load.task.broadcasts) {
		load.task.broadcasts--;
		load.wanted = load.task.connections;
	} else {
		_exit(0);
	}
}

static void on_open(void *ctx, const struct nh_http_response_head *head)
{
	load.opened++;
	if (load.opened == load.task.connections)
		next_phase();
	else
		start_one();
}

static void on_message(void *ctx, nh_ws_opcode opcode, nh_slice data)
{
	if (++load.received == load.wanted)
		next_phase();
}

static void on_close(void *ctx, const struct nh_ws_client_closed *closed) { die("a device's connection", &closed->err); }

static const struct nh_ws_client_events ws_events = {on_open, on_message, on_close, NULL};

static struct nh_tls *client_tls(const struct identity *id)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_tls *tls = NULL;
	struct nh_tls_client_config config = {.ca_pem = nh_buf_slice(&world.ca)};
	if (id) {
		config.cert_pem = nh_buf_slice(&id->cert);
		config.key_pem = nh_buf_slice(&id->key);
	}
	if (nh_tls_client_new(&config, &tls, &err) != NH_OK)
		die("client", &err);
	return tls;
}

static void start_one(void)
{
	struct nh_err err = NH_ERR_INIT;
	char url[64];
	if (load.started == load.task.connections)
		return;
	struct peer *p = &load.peers[load.started];
	struct nh_tls *tls = client_tls(&world.devices[load.started]);
	load.started++;
	snprintf(url, sizeof url, "wss://127.0.0.1:%u/socket", load.server->tls);
	struct nh_ws_client_config config = {.url = nh_slice_str(url), .tls = tls, .server_name = "localhost", .connect_timeout_ms = 300000};
	if (nh_ws_client_open(load.loop, &config, &ws_events, &p->client, &err) != NH_OK)
		die("client", &err);
	nh_tls_unref(tls);
}

/* A few each millisecond, so that the server is woken for nearly each of them, as a fleet does. */
#define BEATS_PER_MS 4

static void on_pace(void *arg)
{
	for (unsigned i = 0; i < BEATS_PER_MS && load.sent < load.beats; i++, load.sent++)
		NH_IGNORE(nh_ws_client_send(load.peers[load.sent % load.task.connections].client, NH_WS_TEXT, NH_LIT("[null,\"1\",\"phoenix\",\"heartbeat\",{}]"))); /* a lost one would show: all are awaited */
}

static void run_sockets(void)
{
	load.began_us = nh_mono_us();
	load.pace = nh_timer_new(load.loop, on_pace, NULL);
	for (size_t i = 0; i < load.task.at_once && i < load.task.connections; i++)
		start_one();
	nh_loop_run(load.loop);
}

/* ---- downloads ----------------------------------------------------------------------------------------------------------------- */

static void start_get(struct peer *p);

static nh_rc on_head(void *ctx, const struct nh_http_response_head *head) { return head->status == 200 ? NH_OK : NH_EFORMAT; }

static nh_rc on_body(void *ctx, nh_slice bytes)
{
	load.bytes += bytes.len;
	return NH_OK;
}

static void on_done(void *ctx, nh_rc rc, const struct nh_err *err)
{
	struct peer *p = ctx;
	if (rc != NH_OK)
		die("a download", err);
	nh_http_get_close(p->get);
	if (load.bytes >= load.task.bytes)
		nh_loop_stop(load.loop);
	else
		start_get(p);
}

static void start_get(struct peer *p)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_http_get_config config = {.url = nh_slice_str(load.task.url), .tls = load.anonymous, .server_name = "localhost"};
	struct nh_http_get_events events = {on_head, on_body, on_done, p};
	if (nh_http_get_open(load.loop, &config, &events, &p->get, &err) != NH_OK)
		die("a download", &err);
}

static void run_downloads(void)
{
	uint64_t began = nh_mono_us();
	load.anonymous = client_tls(NULL);
	for (size_t i = 0; i < load.task.connections; i++)
		start_get(&load.peers[i]);
	nh_loop_run(load.loop);
	point((double)load.bytes);
	point((double)(nh_mono_us() - began) / 1e6);
}

/* ---- one upload ---------------------------------------------------------------------------------------------------------------- */

static void wait_fd(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	if (poll(&p, 1, -1) < 0)
		die("poll", NULL);
}

static void send_all(struct nh_tls_session *s, int fd, nh_slice bytes)
{
	while (bytes.len) {
		size_t put;
		nh_rc rc = nh_tls_write(s, nh_slice_sub(bytes, 0, NH_TLS_RECORD_MAX), &put);
		if (rc == NH_EAGAIN)
			wait_fd(fd, POLLOUT);
		else if (rc != NH_OK)
			die("upload", NULL);
		bytes = nh_slice_skip(bytes, put);
	}
}

static void run_upload(void)
{
	static uint8_t block[1 << 20];
	char text[256];
	struct nh_err err = NH_ERR_INIT;
	struct nh_tls_session *s = NULL;
	struct nh_tls *tls = client_tls(NULL);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(load.server->tls), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint64_t began = nh_mono_us();
	size_t got = 0;
	nh_rc rc;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
		die("upload", NULL);
	if (nh_tls_session_new(tls, fd, "localhost", NULL, &s, &err) != NH_OK)
		die("upload", &err);
	while ((rc = nh_tls_handshake(s, &err)) == NH_EAGAIN)
		wait_fd(fd, nh_tls_wants_write(s) ? POLLOUT : POLLIN);
	if (rc != NH_OK)
		die("upload", &err);
	snprintf(text, sizeof text, "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %llu\r\n\r\n", (unsigned long long)load.task.bytes);
	send_all(s, fd, nh_slice_str(text));
	for (uint64_t sent = 0; sent < load.task.bytes; sent += sizeof block)
		send_all(s, fd, nh_slice_of(block, sizeof block));
	while ((rc = nh_tls_read(s, text, sizeof text, &got)) == NH_EAGAIN)
		wait_fd(fd, POLLIN);
	if (rc != NH_OK || got < 12 || !nh_slice_starts(nh_slice_of(text, got), NH_LIT("HTTP/1.1 200")))
		die("upload: the server's answer", NULL);
	point((double)(nh_mono_us() - began) / 1e6);
	nh_tls_free(s);
	nh_tls_unref(tls);
	close(fd);
}

/* ---- the process --------------------------------------------------------------------------------------------------------------- */

static void work(const struct server *s, struct load_task task, int channel)
{
	struct nh_err err = NH_ERR_INIT;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(LOAD_CORE);
	load.server = s;
	load.task = task;
	load.channel = channel;
	load.peers = nh_xcalloc(task.connections + 1, sizeof *load.peers);
	if (nh_loop_new(NULL, &load.loop, &err) != NH_OK)
		die("load", &err);
	if (task.upload)
		run_upload();
	else if (task.url)
		run_downloads();
	else
		run_sockets();
	_exit(0);
}

struct load load_start(const struct server *s, struct load_task task)
{
	struct load l = {0};
	int channel[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0)
		die("socket pair", NULL);
	fflush(stdout);
	l.pid = fork();
	if (l.pid == 0) {
		close(channel[0]);
		close(s->control);
		work(s, task, channel[1]);
	}
	close(channel[1]);
	l.channel = channel[0];
	return l;
}

double load_wait(struct load *l)
{
	double value;
	if (l->pid < 0 || read(l->channel, &value, sizeof value) != sizeof value)
		die("the load process ended early", NULL);
	return value;
}

void load_go(struct load *l)
{
	if (write(l->channel, "g", 1) != 1)
		die("the load process ended early", NULL);
}

void load_end(struct load *l)
{
	kill(l->pid, SIGKILL);
	waitpid(l->pid, NULL, 0);
	close(l->channel);
}

/*
 * What a person's client sends, line by line one frame, to the real sockets on a real database, with devices at the other end of the relay that answer what they hear. The
 * first byte chooses the socket, the format, whose token it is, and whether permissions are asked for at each message.
 *
 * Nothing a client says ends in anything but frames that its own format can read; every session is gone when its connection is. And what is passed on to a device is whole: an
 * object that is JSON again, under a name that is not the protocol's, and a file's name is a name.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"

#include "base/log.h"
#include "fuzz_db.h"
#include "net/http_parser.h"
#include "web_int.h"

#define FRAMES_MAX 64

enum person { ADMIN, VIEWER, STRANGER, PEOPLE };
enum { LAZY, STRICT, LISTENERS }; /* how often permissions are asked for */

static char tokens[PEOPLE][NH_TOKEN_TEXT_MAX];
static int64_t device_id;

static nh_rc furnish(struct world *w, struct nh_err *err)
{
	struct nh_user vic;
	struct nh_member member;
	int64_t other;
	NH_TRY(world_user(w, "Vic Viewer", "vic@example.com", &vic, err));
	OK(nh_member_add(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("vic@example.com"), NH_LIT("view"), &member, NULL, E(w)));
	OK(nh_token_create(&w->ctx, w->ada.id, NH_TOKEN_API, NH_LIT("fuzz"), tokens[ADMIN], E(w)));
	OK(nh_token_create(&w->ctx, vic.id, NH_TOKEN_API, NH_LIT("fuzz"), tokens[VIEWER], E(w)));
	OK(nh_token_create(&w->ctx, w->eve.id, NH_TOKEN_API, NH_LIT("fuzz"), tokens[STRANGER], E(w)));
	NH_TRY(add_device(w, "d-1", NULL, &device_id, err));
	return add_device(w, "d-2", NULL, &other, err);
}

/* ---- the device's end ------------------------------------------------------------------------------------------------------- */

static struct nh_relay *relay;
static struct nh_loop *loop;
static struct nh_relay_device *ends[NH_RELAY_CHANNELS];
static const struct {
	nh_slice event, output;
} speech[NH_RELAY_CHANNELS] = {
	[NH_RELAY_CONSOLE] = {{(const uint8_t *)"up", 2}, {(const uint8_t *)"one line\r\n\xe2\x82\xac", 13}},
	[NH_RELAY_SHELL] = {{(const uint8_t *)"output", 6}, {(const uint8_t *)"# ", 2}},
	[NH_RELAY_EVENTS] = {{(const uint8_t *)"firmware_update", 15}, {NULL, 0}},
};

static void open_end(nh_relay_channel channel);

/* What a device hears it says again; some words make it come and go. */
static void hear(void *ctx, nh_slice event, nh_slice payload, uint64_t question)
{
	nh_relay_channel channel = (nh_relay_channel)(uintptr_t)ctx;
	NH_AUTO_JSON json_t *heard = NULL;
	FUZZ_CHECK(nh_json_parse(payload, payload.len, &heard, NULL) == NH_OK && json_is_object(heard), "%.*s", NH_ARG(payload));
	FUZZ_CHECK(event.len > 0 && !nh_slice_starts(event, NH_LIT("phx_")), "%.*s", NH_ARG(event));
	if (nh_slice_eq_str(event, "file-data/start") || nh_slice_eq_str(event, "file-data") || nh_slice_eq_str(event, "file-data/stop")) {
		nh_slice name = nh_json_text(heard, "filename");
		FUZZ_CHECK(name.len > 0 && nh_slice_chr(name, '/') < 0 && nh_slice_chr(name, '\\') < 0 && !nh_slice_eq_str(name, ".."), "%.*s", NH_ARG(name));
	}
	nh_relay_device_say(ends[channel], speech[channel].event, payload, speech[channel].output);
	if (nh_slice_eq_str(event, "clear"))
		nh_relay_device_clear(ends[channel]);
	if (nh_slice_eq_str(event, "restart")) {
		struct nh_relay_device *old = ends[channel];
		open_end(channel);
		nh_relay_device_close(old);
	}
}

static void open_end(nh_relay_channel channel)
{
	ends[channel] = nh_relay_device_open(relay, device_id, channel, NH_LIT("{\"version\":\"2.0.0\"}"), loop, hear, (void *)(uintptr_t)channel);
}

static void open_ends(void *posted)
{
	for (nh_relay_channel c = NH_RELAY_CONSOLE; c <= NH_RELAY_EVENTS; c++)
		open_end(c);
	sem_post(posted);
}

static void close_ends(void *posted)
{
	for (nh_relay_channel c = NH_RELAY_CONSOLE; c <= NH_RELAY_EVENTS; c++)
		nh_relay_device_close(ends[c]);
	sem_post(posted);
}

static void on_loop(nh_loop_fn fn)
{
	sem_t posted;
	sem_init(&posted, 0, 0);
	FUZZ_CHECK(nh_loop_post(loop, fn, &posted) == NH_OK, "the loop does not take it");
	while (sem_wait(&posted) != 0) /* libFuzzer's own alarm */
		FUZZ_CHECK(errno == EINTR, "%s", strerror(errno));
	sem_destroy(&posted);
}

/* ---- the server ------------------------------------------------------------------------------------------------------------- */

static struct world world;
static struct nh_db *db;
static struct nh_pool *pool;
static struct nh_server *server;
static struct nh_web *webs[LISTENERS];
static struct nh_mount mounts[LISTENERS][2];
static struct nh_listener listeners[LISTENERS];

static void stop(void)
{
	on_loop(close_ends);
	nh_server_drain(server, 1000);
	nh_pool_free(pool);
	nh_server_free(server);
	for (size_t i = 0; i < LISTENERS; i++)
		nh_web_free(webs[i]);
	nh_relay_free(relay);
	testdb_close(db);
	nh_arena_fini(&world.arena);
}

static void start(void)
{
	struct nh_err err = NH_ERR_INIT;
	struct scenario scenario = {&world, furnish};
	nh_log_set_level(NH_LOG_ERROR);
	db = testdb_open(0);
	nh_rc rc = nh_db_write(db, run_scenario, &scenario, &err);
	if (rc == NH_OK)
		rc = nh_pool_new(&(struct nh_pool_config){.threads = 1}, &pool, &err);
	relay = nh_relay_new();
	for (size_t i = 0; i < LISTENERS; i++) {
		webs[i] = nh_web_new(&(struct nh_web_config){.db = db, .pool = pool, .relay = relay, .hub = &world.config, .clock = &nh_clock_system, .rng = &nh_rng_system,
							     .recheck_ms = i == STRICT ? 0 : 10000});
		mounts[i][0] = (struct nh_mount){.routes = nh_web_routes, .app = webs[i]};
		listeners[i] = (struct nh_listener){.name = "fuzz", .address = "127.0.0.1", .mounts = mounts[i]};
	}
	if (rc == NH_OK)
		rc = nh_server_open(&(struct nh_server_config){.pool = pool, .listeners = listeners, .listener_count = LISTENERS}, &server, &err);
	if (rc == NH_OK)
		rc = nh_server_start(server, &err);
	FUZZ_CHECK(rc == NH_OK, "%s", err.msg);
	loop = nh_server_loop(server, 0);
	on_loop(open_ends);
	atexit(stop);
}

/* ---- the client ------------------------------------------------------------------------------------------------------------- */

struct choice {
	unsigned listener;
	enum person person;
	const char *path, *vsn;
	const struct nh_phoenix_codec *codec;
};

static struct choice choose(uint8_t byte)
{
	static const char *const paths[] = {"/api/socket/websocket", "/events-socket/websocket"};
	static const char *const versions[] = {"2.0.0", "1.0.0", "3.0.0", "2.0.0"};
	struct choice c = {.listener = byte & 1 ? STRICT : LAZY, .path = paths[byte >> 1 & 1], .vsn = versions[byte >> 2 & 3], .person = (enum person)((byte >> 4) % PEOPLE)};
	c.codec = nh_phoenix_codec_for_vsn(nh_slice_str(c.vsn));
	return c;
}

/* Everything the client says: it does not wait for answers. */
static void put_client(struct nh_buf *out, const struct choice *c, nh_slice in)
{
	static const uint8_t mask[4] = {1, 2, 3, 4};
	nh_buf_printf(out, "GET %s?token=%s&vsn=%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
			   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", c->path, tokens[c->person], c->vsn);
	for (unsigned n = 0; in.len > 0 && n < FRAMES_MAX; n++)
		nh_ws_put_frame(out, c->codec->binary ? NH_WS_BINARY : NH_WS_TEXT, fuzz_until(&in, '\n'), mask);
	nh_ws_put_close(out, NH_WS_CLOSE_NORMAL, NH_SLICE_EMPTY, mask);
}

/* Sends it and reads to the end. */
static void talk(const struct choice *c, nh_slice said, struct nh_buf *got)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(listeners[c->listener].port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct linger now = {.l_onoff = 1, .l_linger = 0}; /* thousands of ports must not stay taken */
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	FUZZ_CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "%s", strerror(errno));
	bool ended = false;
	while (!ended) {
		struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (said.len > 0 ? POLLOUT : 0))};
		int ready = poll(&p, 1, 15000);
		FUZZ_CHECK(ready == 1 || (ready < 0 && errno == EINTR), "the connection hangs");
		ssize_t n = p.revents & POLLOUT ? send(fd, said.ptr, said.len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
		said = n < 0 ? NH_SLICE_EMPTY : nh_slice_skip(said, (size_t)n); /* the server has ended: what it said counts */
		if (p.revents & (POLLIN | POLLHUP)) {
			uint8_t block[16384];
			n = recv(fd, block, sizeof block, MSG_DONTWAIT);
			ended = n == 0 || (n < 0 && errno != EAGAIN);
			nh_buf_put(got, block, n > 0 ? (size_t)n : 0);
		}
	}
	FUZZ_CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0, "%s", strerror(errno));
	close(fd);
}

static void check_frames(const struct choice *c, uint8_t *bytes, size_t len)
{
	struct nh_ws_input input = {bytes, len};
	struct nh_ws_decoder d;
	struct nh_ws_event ev = {.kind = NH_WS_EV_PING};
	nh_ws_decoder_init(&d, NH_WS_CLIENT, 4 << 20);
	while (ev.kind != NH_WS_EV_NONE && ev.kind != NH_WS_EV_CLOSE) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_phoenix_message m = {0};
		nh_rc rc = nh_ws_decode(&d, &input, &ev, NULL);
		FUZZ_CHECK(rc == NH_OK, "frames that are none: %s", nh_rc_name(rc));
		if (ev.kind != NH_WS_EV_MESSAGE)
			continue;
		rc = c->codec->decode(&arena, ev.data, 4 << 20, &m, NULL);
		FUZZ_CHECK(rc == NH_OK && json_is_object(m.payload), "%s: %.*s", nh_rc_name(rc), NH_ARG(ev.data));
		nh_phoenix_message_fini(&m);
	}
	nh_ws_decoder_fini(&d);
}

static uint64_t sessions(void)
{
	uint64_t all = 0;
	for (size_t i = 0; i < LISTENERS; i++) {
		struct nh_web_stats stats;
		nh_web_stats(webs[i], &stats);
		all += stats.sockets;
	}
	return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice in = nh_slice_of(data, size);
	struct nh_relay_stats stats = {0};
	NH_AUTO_BUF struct nh_buf said = NH_BUF_INIT, got = NH_BUF_INIT;
	if (!server)
		start();
	struct choice c = choose(fuzz_byte(&in));
	put_client(&said, &c, in);
	talk(&c, nh_buf_slice(&said), &got);
	ptrdiff_t head = nh_slice_find(nh_buf_slice(&got), NH_LIT("\r\n\r\n"));
	FUZZ_CHECK(nh_slice_starts(nh_buf_slice(&got), NH_LIT("HTTP/1.1 101 ")) && head > 0, "no upgrade: %.*s", NH_ARG(nh_buf_slice(&got)));
	check_frames(&c, got.ptr + head + 4, got.len - (size_t)head - 4);
	do {
		sched_yield();
		nh_relay_stats(relay, &stats);
	} while (sessions() > 0 || stats.viewers > 0);
	FUZZ_CHECK(stats.devices == 3, "%llu ends", (unsigned long long)stats.devices);
	return 0;
}

/* The figures, one function each. source: design/connection-layer "Floors" */
#include <stdio.h>
#include <time.h>

#include "bench.h"

#define SMALL 5000u

static double min_of(double a, double b) { return a < b ? a : b; }
static double max_of(double a, double b) { return a > b ? a : b; }

static void rest_ms(long ms) { nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL); }

/* ---- handshakes ---------------------------------------------------------------------------------------------------------------- */

static void run_handshake(void)
{
	enum { COUNT = 3000, ROUNDS = 3 };
	double bare = 0, ours = 0;
	world_devices(COUNT);
	/* Alternating, and the best of each: other programs only ever add. */
	for (unsigned i = 0; i < ROUNDS; i++) {
		double b = bare_handshake_us(COUNT / 2);
		struct server s = server_start();
		int64_t before = cpu_ns(s.pid);
		struct load l = load_start(&s, (struct load_task){.connections = COUNT, .at_once = 32});
		load_wait(&l);
		double o = (double)(cpu_ns(s.pid) - before) / 1e3 / COUNT;
		load_end(&l);
		server_stop(&s);
		bare = i ? min_of(bare, b) : b;
		ours = i ? min_of(ours, o) : o;
	}
	report("handshake.in_memory", bare, "us", 0, true, "server side of a full handshake with client certificate, no sockets");
	report("handshake.with_upgrade", ours, "us", 0, true, "server CPU from connect to 101, certificate from the warm index");
	report("handshake.ratio", ours / bare, "x", 1.25, true, "the second against the first");
}

/* ---- memory -------------------------------------------------------------------------------------------------------------------- */

/* Memory of an idle connection when `count` are there. */
static double idle_bytes(size_t count)
{
	struct server s = server_start();
	uint64_t before = anon_bytes(s.pid);
	struct load l = load_start(&s, (struct load_task){.connections = count, .at_once = 64});
	load_wait(&l);
	double each = (double)(anon_bytes(s.pid) - before) / (double)count;
	load_end(&l);
	server_stop(&s);
	return each;
}

static void run_memory(void)
{
	world_devices(world.large);
	double bare = bare_session_bytes(SMALL) / 1024;
	double small = idle_bytes(SMALL) / 1024, large = idle_bytes(world.large) / 1024;
	char text[96];
	report("memory.bare_session", bare, "KiB", 0, true, "a TLS server session after its handshake, nothing else");
	report("memory.idle_5000", small, "KiB", 14, true, "resident memory of an idle WebSocket over TLS");
	snprintf(text, sizeof text, "the same with %zu connections", world.large);
	report("memory.idle_large", large, "KiB", 14, true, text);
	report("memory.against_bare", large / bare, "x", 1.25, true, "against the bare session");
	report("memory.growth_with_size", max_of(small, large) / min_of(small, large), "x", 1.05, true, "the two sizes against each other");
}

static void run_storms(void)
{
	enum { COUNT = 3000, STORMS = 4 };
	double after[STORMS], idle = 0, peak = 0;
	world_devices(COUNT);
	struct server s = server_start();
	uint64_t empty = anon_bytes(s.pid);
	for (unsigned i = 0; i < STORMS; i++) {
		peak_reset(s.pid);
		uint64_t before = peak_bytes(s.pid);
		/* All at once: the server sees every connect before it finished the first handshakes. */
		struct load l = load_start(&s, (struct load_task){.connections = COUNT, .at_once = COUNT});
		load_wait(&l);
		if (i == 0) {
			idle = (double)(anon_bytes(s.pid) - empty);
			peak = (double)(peak_bytes(s.pid) - before);
		}
		load_end(&l);
		while (server_ask(&s, "GET", "/connections") > 1)
			rest_ms(50);
		rest_ms(1500); /* two sweeps: memory goes back when it is calm */
		after[i] = (double)anon_bytes(s.pid) / 1048576;
	}
	server_stop(&s);
	report("storm.peak", peak / idle, "x", 1.5, true, "highest memory while 3000 connect at once, against them idle");
	report("storm.after_first", after[0], "MiB", 0, true, "resident after the first storm is gone");
	report("storm.growth", (after[STORMS - 1] - after[0]) / after[0] * 100, "%", 5, true, "after the fourth, against after the first");
}

/* ---- messages ------------------------------------------------------------------------------------------------------------------ */

static double heartbeat_us(size_t connections)
{
	enum { BEATS = 12000, ROUNDS = 5 };
	double best = 0;
	struct server s = server_start();
	struct load l = load_start(&s, (struct load_task){.connections = connections, .at_once = 64, .heartbeats = BEATS, .rounds = ROUNDS});
	load_wait(&l);
	rest_ms(500);
	/* The best round: other programs only ever add. */
	for (unsigned i = 0; i < ROUNDS; i++) {
		int64_t before = cpu_ns(s.pid);
		load_go(&l);
		load_wait(&l);
		double each = (double)(cpu_ns(s.pid) - before) / 1e3 / BEATS;
		best = i ? min_of(best, each) : each;
	}
	load_end(&l);
	server_stop(&s);
	return best;
}

static void run_heartbeat(void)
{
	world_devices(world.large);
	double small = heartbeat_us(1000), large = heartbeat_us(world.large);
	report("heartbeat.1000", small, "us", 25, true, "server CPU of one heartbeat and its answer, 4000 a second");
	report("heartbeat.large", large, "us", 25, true, "the same at the large size");
	report("heartbeat.growth", max_of(small, large) / min_of(small, large), "x", 1.25, true, "the two against each other");
}

static void run_broadcast(void)
{
	enum { COUNT = 10000, ROUNDS = 8, PLAIN = 5000, RECORD = 1004 + 22 }; /* frame header; TLS 1.3 record around it */
	double spent = 0, last = 0;
	world_devices(COUNT);
	struct server s = server_start();
	struct load l = load_start(&s, (struct load_task){.connections = COUNT, .at_once = 64, .broadcasts = ROUNDS});
	load_wait(&l);
	rest_ms(500);
	for (unsigned i = 0; i < ROUNDS; i++) {
		int64_t before = cpu_ns(s.pid);
		load_go(&l);
		if (server_ask(&s, "POST", "/broadcast") != COUNT)
			die("broadcast", NULL);
		last += load_wait(&l);
		spent += (double)(cpu_ns(s.pid) - before);
	}
	load_end(&l);
	server_stop(&s);
	double bare = bare_send_us(PLAIN, RECORD, ROUNDS), ours = spent / 1e3 / COUNT / ROUNDS;
	report("broadcast.plain_send", bare, "us", 0, true, "send() of as many bytes, no TLS");
	report("broadcast.message", ours, "us", 0, true, "server CPU of 1 kB to one of 10 000 devices");
	report("broadcast.ratio", ours / bare, "x", 2, true, "the second against the first");
	report("broadcast.last", last / ROUNDS * 1000, "ms", 0, true, "until the last of 10 000 has it, the load's own work included");
}

/* ---- transfers ----------------------------------------------------------------------------------------------------------------- */

/* Bytes for a second of the process's CPU, in MB. */
static double download(pid_t pid, const char *scheme, uint16_t port)
{
	enum { STREAMS = 8 };
	struct server nobody = {.control = -1};
	char url[64];
	snprintf(url, sizeof url, "%s://127.0.0.1:%u/blob", scheme, port);
	int64_t before = cpu_ns(pid);
	struct load l = load_start(&nobody, (struct load_task){.connections = STREAMS, .url = url, .bytes = BLOB_BYTES * 24});
	double bytes = load_wait(&l);
	double rate = bytes / ((double)(cpu_ns(pid) - before) / 1e9) / 1e6;
	load_end(&l);
	return rate;
}

static void run_download(void)
{
	enum { ROUNDS = 3 };
	struct nginx n = {0};
	double ours[2] = {0}, theirs[2] = {0};
	if (!nginx_start(&n)) {
		report_skipped("download", "nginx is not installed");
		return;
	}
	struct server s = server_start();
	for (unsigned i = 0; i < ROUNDS; i++) {
		ours[0] = max_of(ours[0], download(s.pid, "http", s.plain));
		theirs[0] = max_of(theirs[0], download(n.worker, "http", n.plain));
		ours[1] = max_of(ours[1], download(s.pid, "https", s.tls));
		theirs[1] = max_of(theirs[1], download(n.worker, "https", n.tls));
	}
	server_stop(&s);
	nginx_stop(&n);
	report("download.plain", ours[0], "MB/s", 0, false, "for a second of the server's CPU, 8 streams of a cached file");
	report("download.plain_nginx", theirs[0], "MB/s", 0, false, "nginx with sendfile");
	report("download.plain_ratio", ours[0] / theirs[0], "x", 0.95, false, "ours against nginx");
	report("download.tls", ours[1], "MB/s", 0, false, "the same over TLS 1.3");
	report("download.tls_nginx", theirs[1], "MB/s", 0, false, "nginx, same cipher");
	report("download.tls_ratio", ours[1] / theirs[1], "x", 1.0, false, "ours against nginx");
}

static void run_upload(void)
{
	static const uint64_t bytes = UINT64_C(1) << 30;
	struct server s = server_start();
	/* A small one first, so that what every upload needs once is there. */
	struct load l = load_start(&s, (struct load_task){.upload = true, .bytes = UINT64_C(16) << 20});
	load_wait(&l);
	load_end(&l);
	peak_reset(s.pid);
	uint64_t before = peak_bytes(s.pid);
	int64_t cpu = cpu_ns(s.pid);
	l = load_start(&s, (struct load_task){.upload = true, .bytes = bytes});
	load_wait(&l);
	load_end(&l);
	report("upload.growth", (double)(peak_bytes(s.pid) - before) / 1048576, "MiB", 4, true, "highest memory during an upload of 1 GiB, against before");
	report("upload.rate", (double)bytes / ((double)(cpu_ns(s.pid) - cpu) / 1e9) / 1e6, "MB/s", 0, false, "for a second of the server's CPU, over TLS");
	server_stop(&s);
}

const struct figure figures[] = {
	{"handshake", "full TLS handshake with client certificate, and upgrade", run_handshake},
	{"memory", "resident memory of an idle connection", run_memory},
	{"storm", "memory while and after all connect at once", run_storms},
	{"heartbeat", "one heartbeat and its answer", run_heartbeat},
	{"broadcast", "one message to 10 000 devices", run_broadcast},
	{"download", "firmware downloads against nginx", run_download},
	{"upload", "memory during a large upload", run_upload},
	{0},
};

/*
 * Load: very many devices that have no disk and install nothing, in one thread, to size a server. Each has its own key and certificate (or the shared
 * secret), its own TLS connection, joins the device channel, sends heartbeats, and comes back by itself where it is thrown out. Only one
 * task runs at a time; its end is told by on_done.
 *
 * What a device asks of the server is what a real one asks; what it spends itself is kept small, so the clients are lib/net's and not whole links.
 *
 * thread: the loop's for everything below, or any before it runs. source: reference/device-protocol "2" to "4", "7.1"; design/connection-layer "Floors"
 */
#pragma once

#include "base/buf.h"
#include "loop/loop.h"

/* ---- identities -------------------------------------------------------------------------------------------------------------- */

/* Keys and certificates of devices first … first + count - 1, kept in one file so that the next run has the same ones. */
struct nh_load_identities {
	struct nh_buf *keys, *certs; /* PEM, count each */
	size_t count;
};

/*
 * nh_load_identities_open - reads DIR/PREFIX-FIRST-CA.pem (CA: 16 hex digits of the certificate's SHA-256), makes what is missing of it, and writes it back.
 * About 6 000 a second. Blocks. NH_EINVAL: count 0; NH_EFORMAT: CA, its key, or a file that is not ours; NH_EIO, NH_EPERM, NH_ENOSPC: the directory.
 * *out: nh_load_identities_fini, also after a failure.
 */
nh_rc nh_load_identities_open(const char *dir, const char *prefix, size_t first, size_t count, nh_slice ca_pem, nh_slice ca_key_pem,
			      struct nh_load_identities *out, struct nh_err *err);
void nh_load_identities_fini(struct nh_load_identities *ids); /* wipes the keys */

/* ---- devices ----------------------------------------------------------------------------------------------------------------- */

struct nh_load;

/* Borrowed until free. */
struct nh_load_config {
	struct nh_loop *loop;
	const char *server;          /* host:port of the device endpoint */
	nh_slice ca_pem;             /* who vouches for the server; empty = the system's roots */
	const char *prefix;          /* of names: PREFIX-NUMBER */
	size_t first, count;         /* numbers of the devices: first … first + count - 1 */
	const struct nh_load_identities *identities; /* NULL: by shared secret */
	const char *secret_key, *secret;
	const char *product;         /* what they say at the join */
	uint64_t connect_timeout_ms; /* of one attempt; 0 = 300 000: in a storm the queue is the server's to keep */
	void (*on_done)(void *ctx);  /* the task is over: read the report; a next one may be started in here */
	void *ctx;
};

/* nh_load_new - NH_EINVAL: no server, fewer identities than devices, or a secret without its key. Nobody connects yet. */
nh_rc nh_load_new(const struct nh_load_config *config, struct nh_load **out, struct nh_err *err);
void nh_load_free(struct nh_load *l); /* drops all connections. NULL legal */

/* Tasks. Starting one while another runs is a programmer's error (see nh_load_busy). */

/* nh_load_connect - the first `devices` (clamped to count) open their socket, `join`: and join; at_once attempts in progress (0 = all). */
void nh_load_connect(struct nh_load *l, size_t devices, size_t at_once, bool join);
/* nh_load_join - everybody who has a socket joins, at once. */
void nh_load_join(struct nh_load *l);
/* nh_load_heartbeat - per_second (1 to 1 000 000) heartbeats over all sockets in turn, for duration_ms, then until the last is answered. */
void nh_load_heartbeat(struct nh_load *l, uint64_t per_second, uint64_t duration_ms);
/* nh_load_receive - until `messages` pushes came since the last receive ended (or the start): 0 forgets what came. */
void nh_load_receive(struct nh_load *l, uint64_t messages);
bool nh_load_busy(const struct nh_load *l);

/* nh_load_drop - not a task: every socket is closed at once and without a word; nobody comes back by itself. Ends a running task (without on_done). */
void nh_load_drop(struct nh_load *l);

struct nh_load_latency {
	size_t count;
	uint32_t p50_us, p90_us, p99_us, max_us; /* nearest rank; 0 where count is 0 */
};
/* nh_load_latency_of - sorts `samples`. */
struct nh_load_latency nh_load_latency_of(uint32_t *samples, size_t count);

struct nh_load_report {
	size_t wanted, connected, joined;          /* devices, now */
	uint64_t connects, joins, heartbeats, pushes, failures, lost; /* since start; failures: attempts and joins; lost: joined or open sockets that ended */
	uint64_t unanswered;                       /* heartbeats whose socket ended */
	uint64_t task_us;                          /* length of the last task, or of the running one so far */
	uint64_t ended_mono_us;                    /* when it ended, by the monotonic clock; receive: when the last message came */
	struct nh_load_latency connect, join, beat; /* of the last task: first attempt → 101; first attempt (or nh_load_join) → joined; heartbeat → answer */
	char last_error[160];                      /* of the latest failure, empty if none */
};
void nh_load_report(const struct nh_load *l, struct nh_load_report *out);

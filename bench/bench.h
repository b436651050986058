/*
 * What the benchmark's files share. Three processes: the server under measurement on the first core, the load on the second, and the parent, which
 * reads the server's CPU time and memory from the kernel and prints. A figure is a number of one run beside its floor; no figure judges a time of day.
 */
#pragma once

#include <sys/types.h>

#include "base/buf.h"
#include "net/tls.h"

/* ---- world.c: identities, processes, what the kernel knows of them -------------------------------------------------------- */

struct identity {
	struct nh_buf cert, key; /* PEM */
};

struct world {
	struct nh_buf ca;                /* PEM */
	struct identity server;
	struct identity *devices;
	uint8_t (*fingerprints)[NH_TLS_FINGERPRINT_LEN]; /* sorted */
	size_t count;                    /* devices made so far */
	size_t large;                    /* the large size on this machine */
	char dir[32];                    /* scratch files */
};

extern struct world world;

void world_open(void);
void world_devices(size_t count); /* makes as many identities as are missing */
void world_close(void);
void die(const char *what, const struct nh_err *err) __attribute__((noreturn));

#define SERVER_CORE 0u
#define LOAD_CORE 1u
void pin(unsigned core); /* the calling process, and what it starts; without effect on one core */

int64_t cpu_ns(pid_t pid);        /* user and system time of all threads */
uint64_t anon_bytes(pid_t pid);   /* resident anonymous memory */
uint64_t peak_bytes(pid_t pid);   /* highest resident size since peak_reset */
void peak_reset(pid_t pid);

/* ---- server.c ---------------------------------------------------------------------------------------------------------------- */

struct server {
	pid_t pid;
	int control; /* closing it ends the process */
	uint16_t tls, plain;
};

struct server server_start(void);
void server_stop(struct server *s);
/* A request to the plain listener; the body of the answer as a number. */
uint64_t server_ask(const struct server *s, const char *method, const char *path);

#define BLOB_BYTES (UINT64_C(64) << 20)

/* ---- load.c ------------------------------------------------------------------------------------------------------------------ */

/* A load process runs one of these, says when it reached a point, and goes on when told. */
struct load {
	pid_t pid;
	int channel;
};

struct load_task {
	size_t connections;
	size_t at_once;    /* handshakes in progress */
	size_t heartbeats; /* after the first go: messages in all, paced */
	size_t rounds;     /* of heartbeats, one go each */
	size_t broadcasts; /* after that: messages to be received by every connection, one go each */
	const char *url;   /* download instead: this many bytes over `connections` streams */
	uint64_t bytes;
	bool upload;       /* instead: bytes to the server's /upload */
};

struct load load_start(const struct server *s, struct load_task task);
double load_wait(struct load *l); /* until the next point; a number it reports, in seconds or as the point says */
void load_go(struct load *l);
void load_end(struct load *l);    /* kills it: all its connections vanish at once */

/* ---- baseline.c: what the same library and kernel need at least -------------------------------------------------------------- */

double bare_handshake_us(size_t count);       /* server side of an in-memory handshake */
double bare_session_bytes(size_t count);      /* resident memory of a server session after it */
double bare_send_us(size_t sockets, size_t bytes, size_t rounds);

/* ---- nginx.c ----------------------------------------------------------------------------------------------------------------- */

struct nginx {
	pid_t master, worker;
	uint16_t tls, plain;
};
bool nginx_start(struct nginx *n); /* false: not installed */
void nginx_stop(struct nginx *n);

/* ---- report.c ---------------------------------------------------------------------------------------------------------------- */

/* floor 0: reported only. at_most: the value must not be above the floor; else not below. */
void report(const char *figure, double value, const char *unit, double floor, bool at_most, const char *explanation);
void report_skipped(const char *figure, const char *why);
int report_write(const char *path); /* JSON; the number of floors missed, -1 where it cannot be written */

/* ---- figures.c --------------------------------------------------------------------------------------------------------------- */

struct figure {
	const char *name;
	const char *help;
	void (*run)(void);
};
extern const struct figure figures[];

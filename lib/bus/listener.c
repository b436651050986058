/*
 * One thread that listens to the other nodes through PostgreSQL. What this node itself has sent is skipped: it was delivered here after the commit.
 * When the connection breaks it is made again, with growing pauses, and subscribers are told that there is a gap.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/encode.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/uuid.h"
#include "bus_int.h"

#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 10000
#define IDLE_CHECK_MS 30000

struct nh_bus_listener {
	struct nh_bus_listener_events events;
	char *url;
	char node[NH_UUID_TEXT_LEN + 1]; /* of this process's life */
	int wake;                        /* eventfd: readable = close */
	pthread_t thread;
	bool thread_runs;
	PGconn *conn;
	char address[NI_MAXHOST]; /* of this end; empty: it has none */
};

void nh_bus_listener_encode(const struct nh_bus_listener *l, nh_slice topic, nh_slice payload, struct nh_buf *out)
{
	nh_buf_printf(out, "%s %.*s ", l->node, NH_ARG(topic));
	nh_b64_put(out, payload, NH_B64_STD);
}

static void receive(struct nh_bus_listener *l, nh_slice text)
{
	NH_AUTO_BUF struct nh_buf payload = NH_BUF_INIT;
	nh_slice node, topic, rest;
	nh_slice_cut(text, ' ', &node, &rest);
	if (nh_slice_eq_str(node, l->node))
		return;
	nh_slice_cut(rest, ' ', &topic, &rest);
	if (nh_b64_decode(rest, NH_B64_STD, &payload) == NH_OK)
		l->events.message(l->events.ctx, topic, nh_buf_slice(&payload));
}

static nh_rc connect_listener(struct nh_bus_listener *l, struct nh_err *err)
{
	const char *const keys[] = {"dbname", "fallback_application_name", "connect_timeout", "keepalives_idle", NULL};
	const char *const values[] = {l->url, "nerveshub-bus", "10", "30", NULL};
	l->conn = PQconnectdbParams(keys, values, 1);
	PGresult *res = PQstatus(l->conn) == CONNECTION_OK ? PQexec(l->conn, "LISTEN " NH_BUS_CHANNEL) : NULL;
	nh_rc rc = NH_OK;
	if (PQresultStatus(res) != PGRES_COMMAND_OK) {
		nh_slice text = nh_slice_trim(nh_slice_str(PQerrorMessage(l->conn)));
		rc = NH_FAIL(err, NH_EIO, "cannot listen to PostgreSQL: %.*s", NH_ARG(text));
		PQfinish(l->conn);
		l->conn = NULL;
	}
	PQclear(res);
	return rc;
}

/* Once, before the thread runs: whoever asks later must not look at a connection that is being mended. */
static void note_address(struct nh_bus_listener *l)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof address;
	if (getsockname(PQsocket(l->conn), (struct sockaddr *)&address, &len) != 0 || (address.ss_family != AF_INET && address.ss_family != AF_INET6) ||
	    getnameinfo((const struct sockaddr *)&address, len, l->address, sizeof l->address, NULL, 0, NI_NUMERICHOST) != 0)
		l->address[0] = 0;
}

const char *nh_bus_listener_address(const struct nh_bus_listener *l) { return l->address; }

/* Waits for the connection or the wish to close. False: close. */
static bool wait_for(struct nh_bus_listener *l, int fd, int timeout_ms)
{
	struct pollfd fds[] = {{.fd = l->wake, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	int n = poll(fds, fd < 0 ? 1 : 2, timeout_ms);
	return !(n > 0 && fds[0].revents);
}

/* Reads what there is. False: the connection is gone. */
static bool drain(struct nh_bus_listener *l)
{
	if (PQconsumeInput(l->conn) != 1)
		return false;
	for (PGnotify *n; (n = PQnotifies(l->conn)) != NULL; PQfreemem(n))
		receive(l, nh_slice_str(n->extra));
	return PQstatus(l->conn) == CONNECTION_OK;
}

/* Makes the connection again. False: close. */
static bool mend(struct nh_bus_listener *l)
{
	NH_LOG(NH_LOG_WARN, "bus.lost", NH_STR("what", "connection to PostgreSQL"));
	PQfinish(l->conn);
	l->conn = NULL;
	for (int pause_ms = PAUSE_MIN_MS; wait_for(l, -1, pause_ms + (int)nh_rng_below(&nh_rng_system, PAUSE_MIN_MS));
	     pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS) {
		struct nh_err err = NH_ERR_INIT;
		if (connect_listener(l, &err) == NH_OK) {
			NH_LOG(NH_LOG_INFO, "bus.mended");
			l->events.gap(l->events.ctx);
			return true;
		}
		NH_LOG(NH_LOG_DEBUG, "bus.connect", NH_STR("why", err.msg));
	}
	return false;
}

static void *listener_main(void *arg)
{
	struct nh_bus_listener *l = arg;
	while (wait_for(l, PQsocket(l->conn), IDLE_CHECK_MS)) {
		if (!drain(l) && !mend(l))
			break;
	}
	return NULL;
}

nh_rc nh_bus_listener_open(const char *url, const struct nh_bus_listener_events *events, struct nh_bus_listener **out, struct nh_err *err)
{
	struct nh_bus_listener *l = nh_xcalloc(1, sizeof(*l));
	struct nh_uuid id;
	l->events = *events;
	l->url = nh_xstrdup(nh_slice_str(url));
	nh_uuid_v4(&id, &nh_rng_system);
	nh_uuid_format(&id, l->node);
	l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	nh_rc rc = l->wake < 0 ? NH_FAIL(err, NH_EIO, "cannot make an eventfd: %s", strerror(errno)) : connect_listener(l, err);
	if (rc == NH_OK)
		note_address(l);
	if (rc == NH_OK && pthread_create(&l->thread, NULL, listener_main, l) != 0)
		rc = NH_FAIL(err, NH_EIO, "cannot start the bus's listener thread");
	l->thread_runs = rc == NH_OK;
	if (rc != NH_OK) {
		nh_bus_listener_close(l);
		return rc;
	}
	pthread_setname_np(l->thread, "bus-listener");
	*out = l;
	return NH_OK;
}

void nh_bus_listener_close(struct nh_bus_listener *l)
{
	if (!l)
		return;
	if (l->thread_runs) {
		uint64_t one = 1;
		NH_ASSERT(write(l->wake, &one, sizeof(one)) == sizeof(one)); /* an eventfd this far from its limit takes it */
		pthread_join(l->thread, NULL);
	}
	if (l->wake >= 0)
		close(l->wake);
	PQfinish(l->conn);
	explicit_bzero(l->url, strlen(l->url)); /* it may hold a password */
	free(l->url);
	free(l);
}

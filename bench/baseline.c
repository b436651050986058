/*
 * What the library and the kernel need at least: the denominators. The handshake runs between two sessions in memory with the settings of lib/net/tls.c,
 * so GnuTLS is used directly here; only the server's side is timed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "bench.h"

/* As lib/net/tls.c has them. */
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1"

static int64_t thread_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- handshakes in memory ------------------------------------------------------------------------------------------------------ */

struct end {
	gnutls_session_t session;
	struct nh_buf in; /* written by the other end */
	struct end *other;
};

static ssize_t push(gnutls_transport_ptr_t ptr, const void *bytes, size_t len)
{
	struct end *e = ptr;
	nh_buf_put(&e->other->in, bytes, len);
	return (ssize_t)len;
}

static ssize_t pull(gnutls_transport_ptr_t ptr, void *bytes, size_t len)
{
	struct end *e = ptr;
	if (e->in.len == 0) {
		gnutls_transport_set_errno(e->session, EAGAIN);
		return -1;
	}
	size_t n = len < e->in.len ? len : e->in.len;
	memcpy(bytes, e->in.ptr, n);
	nh_buf_consume(&e->in, n);
	return (ssize_t)n;
}

static int verify_client(gnutls_session_t session)
{
	uint8_t fingerprint[NH_TLS_FINGERPRINT_LEN];
	unsigned count = 0;
	const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &count);
	return list && count ? gnutls_hash_fast(GNUTLS_DIG_SHA256, list[0].data, list[0].size, fingerprint) : 0;
}

static void check(int rc)
{
	if (rc < 0) {
		struct nh_err err = NH_ERR_INIT;
		NH_IGNORE(NH_FAIL(&err, NH_EINTERNAL, "%s", gnutls_strerror(rc))); /* shown by die */
		die("handshake in memory", &err);
	}
}

static gnutls_certificate_credentials_t credentials(const struct identity *id, bool client)
{
	gnutls_certificate_credentials_t c;
	gnutls_datum_t cert = {id->cert.ptr, (unsigned)id->cert.len}, key = {id->key.ptr, (unsigned)id->key.len}, ca = {world.ca.ptr, (unsigned)world.ca.len};
	check(gnutls_certificate_allocate_credentials(&c));
	check(gnutls_certificate_set_x509_key_mem(c, &cert, &key, GNUTLS_X509_FMT_PEM));
	if (client)
		check(gnutls_certificate_set_x509_trust_mem(c, &ca, GNUTLS_X509_FMT_PEM));
	else
		gnutls_certificate_set_verify_function(c, verify_client);
	return c;
}

static void end_init(struct end *e, unsigned flags, gnutls_priority_t priorities, gnutls_certificate_credentials_t c)
{
	static const gnutls_datum_t http11 = {(unsigned char *)"http/1.1", 8};
	check(gnutls_init(&e->session, flags | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS));
	check(gnutls_priority_set(e->session, priorities));
	check(gnutls_credentials_set(e->session, GNUTLS_CRD_CERTIFICATE, c));
	check(gnutls_alpn_set_protocols(e->session, &http11, 1, 0));
	gnutls_transport_set_ptr(e->session, e);
	gnutls_transport_set_push_function(e->session, push);
	gnutls_transport_set_pull_function(e->session, pull);
}

static bool step(struct end *e)
{
	int rc = gnutls_handshake(e->session);
	if (rc != GNUTLS_E_AGAIN)
		check(rc);
	return rc == 0;
}

/* One handshake; the server's session stays open in *server. Returns the server's CPU time. */
static int64_t shake(struct end *server, gnutls_priority_t priorities, gnutls_certificate_credentials_t server_c, const struct identity *device)
{
	struct end client = {.other = server};
	gnutls_certificate_credentials_t client_c = credentials(device, true);
	bool server_done = false, client_done = false;
	server->other = &client;
	end_init(&client, GNUTLS_CLIENT, priorities, client_c);
	check(gnutls_server_name_set(client.session, GNUTLS_NAME_DNS, "localhost", 9));
	gnutls_session_set_verify_cert(client.session, "localhost", 0);
	int64_t began = thread_ns(), spent;
	end_init(server, GNUTLS_SERVER, priorities, server_c);
	gnutls_certificate_server_set_request(server->session, GNUTLS_CERT_REQUEST);
	spent = thread_ns() - began;
	while (!server_done || !client_done) {
		client_done = client_done || step(&client);
		began = thread_ns();
		server_done = server_done || step(server);
		spent += thread_ns() - began;
	}
	gnutls_deinit(client.session);
	gnutls_certificate_free_credentials(client_c);
	nh_buf_fini(&client.in);
	nh_buf_fini(&server->in);
	return spent;
}

/* Runs in a process of its own on the server's core, so that memory and cache are fresh. */
static double in_child(double (*fn)(size_t a, size_t b, size_t c), size_t a, size_t b, size_t c)
{
	int out[2];
	double value = 0;
	if (pipe(out) != 0)
		die("pipe", NULL);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		pin(SERVER_CORE);
		value = fn(a, b, c);
		_exit(write(out[1], &value, sizeof value) == sizeof value ? 0 : 1);
	}
	close(out[1]);
	if (pid < 0 || read(out[0], &value, sizeof value) != sizeof value)
		die("a baseline", NULL);
	close(out[0]);
	waitpid(pid, NULL, 0);
	return value;
}

static double handshake_child(size_t count, size_t b, size_t c)
{
	gnutls_priority_t priorities;
	gnutls_certificate_credentials_t server_c = credentials(&world.server, false);
	int64_t spent = 0;
	check(gnutls_priority_init2(&priorities, PRIORITIES, NULL, 0));
	for (size_t i = 0; i < count + 50; i++) {
		struct end server = {0};
		int64_t one = shake(&server, priorities, server_c, &world.devices[i % world.count]);
		gnutls_deinit(server.session);
		if (i >= 50) /* the first ones warm up */
			spent += one;
	}
	return (double)spent / 1e3 / (double)count;
}

static double session_child(size_t count, size_t b, size_t c)
{
	gnutls_priority_t priorities;
	gnutls_certificate_credentials_t server_c = credentials(&world.server, false);
	struct end *ends = nh_xcalloc(count, sizeof *ends);
	check(gnutls_priority_init2(&priorities, PRIORITIES, NULL, 0));
	for (size_t i = 0; i < count / 10; i++)
		shake(&ends[i], priorities, server_c, &world.devices[i % world.count]);
	malloc_trim(0);
	uint64_t before = anon_bytes(getpid());
	for (size_t i = count / 10; i < count; i++)
		shake(&ends[i], priorities, server_c, &world.devices[i % world.count]);
	malloc_trim(0);
	return (double)(anon_bytes(getpid()) - before) / (double)(count - count / 10);
}

double bare_handshake_us(size_t count) { return in_child(handshake_child, count, 0, 0); }
double bare_session_bytes(size_t count) { return in_child(session_child, count, 0, 0); }

/* ---- plain sends ----------------------------------------------------------------------------------------------------------------- */

static void tcp_pair(int listener, const struct sockaddr_in *at, int pair[2])
{
	int on = 1;
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (pair[0] < 0 || connect(pair[0], (const struct sockaddr *)at, sizeof *at) != 0 || (pair[1] = accept(listener, NULL, NULL)) < 0)
		die("socket pair over TCP", NULL);
	setsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static double send_child(size_t sockets, size_t bytes, size_t rounds)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int (*pairs)[2] = nh_xcalloc(sockets, sizeof *pairs);
	uint8_t *block = nh_xcalloc(1, bytes);
	int64_t spent = 0;
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 128) != 0 ||
	    getsockname(listener, (struct sockaddr *)&at, &len) != 0)
		die("listening", NULL);
	for (size_t i = 0; i < sockets; i++)
		tcp_pair(listener, &at, pairs[i]);
	for (size_t round = 0; round < rounds; round++) {
		int64_t began = thread_ns();
		for (size_t i = 0; i < sockets; i++)
			if (send(pairs[i][1], block, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
				die("plain send", NULL);
		spent += thread_ns() - began;
		for (size_t i = 0; i < sockets; i++)
			if (recv(pairs[i][0], block, bytes, MSG_WAITALL) != (ssize_t)bytes)
				die("plain receive", NULL);
	}
	return (double)spent / 1e3 / (double)(sockets * rounds);
}

double bare_send_us(size_t sockets, size_t bytes, size_t rounds) { return in_child(send_child, sockets, bytes, rounds); }

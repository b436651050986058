/*
 * nh-bench-baseline: what the library and the kernel need at least, the denominators of scripts/bench. The handshake runs between two sessions in memory with
 * the settings of lib/net/tls.c, so GnuTLS is used directly here; only the server's side is timed. Prints one number.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/encode.h"
#include "base/rng.h"
#include "crypto/pki.h"
#include "loop/loop.h"

struct identity {
	struct nh_buf cert, key; /* PEM */
};

#define DEVICES 64 /* identities that take turns */

static struct {
	struct nh_buf ca; /* PEM */
	struct identity server, devices[DEVICES];
} world;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "nh-bench-baseline: %s: %s\n", what, why);
	exit(1);
}

/* ---- identities ------------------------------------------------------------------------------------------------------------------ */

static void must(nh_rc rc, const struct nh_err *err)
{
	if (rc != NH_OK)
		die("identities", err->msg);
}

static struct nh_cert *issue(struct nh_cert_profile profile, const char *name, struct nh_key *key, const struct nh_cert *issuer, const struct nh_key *issuer_key, struct identity *out)
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	struct nh_cert *cert = NULL;
	profile.common_name = nh_slice_str(name);
	must(nh_key_put_spki(&spki, key, &err), &err);
	must(nh_cert_issue(&der, &profile, nh_buf_slice(&spki), issuer, issuer_key, &nh_rng_system, &err), &err);
	must(nh_cert_parse_der(nh_buf_slice(&der), &cert, &err), &err);
	nh_cert_put_pem(&out->cert, cert);
	must(nh_key_put_pem(&out->key, key, &err), &err);
	return cert;
}

static void make_world(void)
{
	static const int64_t year_us = INT64_C(365) * 86400 * NH_US_PER_S;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_KEY struct nh_key *ca_key = NULL;
	struct identity ca_identity = {0};
	must(nh_key_generate_p256(&ca_key, &err), &err);
	NH_AUTO_CERT struct nh_cert *ca = issue(nh_cert_profile_ca(nh_now_us(), year_us), "bench CA", ca_key, NULL, ca_key, &ca_identity);
	world.ca = ca_identity.cert;
	nh_buf_wipe(&ca_identity.key);
	for (size_t i = 0; i <= DEVICES; i++) {
		NH_AUTO_KEY struct nh_key *key = NULL;
		const struct nh_san san = {NH_SAN_DNS, NH_LIT("localhost")};
		struct nh_cert_profile profile = i == DEVICES ? nh_cert_profile_server(nh_now_us(), year_us) : nh_cert_profile_device(nh_now_us(), year_us);
		profile.sans = &san;
		profile.san_count = i == DEVICES;
		must(nh_key_generate_p256(&key, &err), &err);
		nh_cert_free(issue(profile, "localhost", key, ca, ca_key, i == DEVICES ? &world.server : &world.devices[i]));
	}
}

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
	uint8_t fingerprint[32];
	unsigned count = 0;
	const gnutls_datum_t *list = gnutls_certificate_get_peers(session, &count);
	return list && count ? gnutls_hash_fast(GNUTLS_DIG_SHA256, list[0].data, list[0].size, fingerprint) : 0;
}

static void check(int rc)
{
	if (rc < 0)
		die("handshake in memory", gnutls_strerror(rc));
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

/* Microseconds of the server's side of a full handshake. */
static double handshake(size_t count, size_t b, size_t c)
{
	gnutls_priority_t priorities;
	gnutls_certificate_credentials_t server_c = credentials(&world.server, false);
	int64_t spent = 0;
	check(gnutls_priority_init2(&priorities, PRIORITIES, NULL, 0));
	for (size_t i = 0; i < count + 50; i++) {
		struct end server = {0};
		int64_t one = shake(&server, priorities, server_c, &world.devices[i % DEVICES]);
		gnutls_deinit(server.session);
		if (i >= 50) /* the first ones warm up */
			spent += one;
	}
	return (double)spent / 1e3 / (double)count;
}

static uint64_t anon_bytes(void)
{
	char line[256];
	unsigned long long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "RssAnon: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * 1024;
}

/* Resident bytes of a server session after its handshake. */
static double session(size_t count, size_t b, size_t c)
{
	gnutls_priority_t priorities;
	gnutls_certificate_credentials_t server_c = credentials(&world.server, false);
	struct end *ends = nh_xcalloc(count, sizeof *ends);
	check(gnutls_priority_init2(&priorities, PRIORITIES, NULL, 0));
	for (size_t i = 0; i < count / 10; i++)
		shake(&ends[i], priorities, server_c, &world.devices[i % DEVICES]);
	malloc_trim(0);
	uint64_t before = anon_bytes();
	for (size_t i = count / 10; i < count; i++)
		shake(&ends[i], priorities, server_c, &world.devices[i % DEVICES]);
	malloc_trim(0);
	return (double)(anon_bytes() - before) / (double)(count - count / 10);
}

/* ---- plain sends ----------------------------------------------------------------------------------------------------------------- */

static void tcp_pair(int listener, const struct sockaddr_in *at, int pair[2])
{
	int on = 1;
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (pair[0] < 0 || connect(pair[0], (const struct sockaddr *)at, sizeof *at) != 0 || (pair[1] = accept(listener, NULL, NULL)) < 0)
		die("socket pair over TCP", strerror(errno));
	setsockopt(pair[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Microseconds of one send() of so many bytes to one of so many sockets. */
static double plain_send(size_t sockets, size_t bytes, size_t rounds)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int (*pairs)[2] = nh_xcalloc(sockets, sizeof *pairs);
	uint8_t *block = nh_xcalloc(1, bytes);
	int64_t spent = 0;
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 128) != 0 ||
	    getsockname(listener, (struct sockaddr *)&at, &len) != 0)
		die("listening", strerror(errno));
	for (size_t i = 0; i < sockets; i++)
		tcp_pair(listener, &at, pairs[i]);
	for (size_t round = 0; round < rounds; round++) {
		int64_t began = thread_ns();
		for (size_t i = 0; i < sockets; i++)
			if (send(pairs[i][1], block, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
				die("plain send", strerror(errno));
		spent += thread_ns() - began;
		for (size_t i = 0; i < sockets; i++)
			if (recv(pairs[i][0], block, bytes, MSG_WAITALL) != (ssize_t)bytes)
				die("plain receive", strerror(errno));
	}
	return (double)spent / 1e3 / (double)(sockets * rounds);
}

/* ---- the program ----------------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name, *arguments;
	double (*run)(size_t a, size_t b, size_t c);
} measures[] = {
	{"handshake", "COUNT", handshake},
	{"session", "COUNT", session},
	{"send", "SOCKETS BYTES ROUNDS", plain_send},
};

int main(int argc, char **argv)
{
	uint64_t numbers[3] = {0};
	for (int i = 2; i < argc && i < 5; i++)
		if (nh_parse_u64(nh_slice_str(argv[i]), 1, 10000000, &numbers[i - 2]) != NH_OK)
			die(argv[i], "a number from 1 to 10000000");
	for (size_t i = 0; argc > 2 && i < NH_ARRAY_LEN(measures); i++) {
		if (strcmp(argv[1], measures[i].name) != 0)
			continue;
		nh_fd_limit_raise();
		make_world();
		printf("%.3f\n", measures[i].run(numbers[0], numbers[1], numbers[2]));
		return 0;
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(measures); i++)
		fprintf(stderr, "usage: nh-bench-baseline %s %s\n", measures[i].name, measures[i].arguments);
	return 2;
}

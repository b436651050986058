/*
 * Proxies: which addresses are understood, which servers are reached directly, what a proxy is told, and what its answers make of the connection. The proxy
 * is a thread that says exactly what its row tells it to; a real one is met by the integration tests.
 */
#include "test_base.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "loop/loop.h"
#include "net/client.h"

/* ---- the proxy */

struct proxy {
	int listen_fd;
	unsigned port;
	const char *say[2]; /* after the first request and after the second; NULL = the end */
	bool silent;        /* stays open, says nothing more */
	size_t step;
	struct nh_buf heard[2];
	pthread_t thread;
};

static bool read_head(int fd, struct nh_buf *out)
{
	char byte;
	while (nh_slice_find(nh_buf_slice(out), NH_LIT("\r\n\r\n")) < 0) {
		if (read(fd, &byte, 1) != 1)
			return false;
		nh_buf_put(out, &byte, 1);
	}
	return true;
}

static void *proxy_run(void *arg)
{
	struct proxy *p = arg;
	char byte;
	int fd = accept(p->listen_fd, NULL, NULL);
	for (int i = 0; i < 2 && p->say[i] && read_head(fd, &p->heard[i]); i++)
		for (size_t at = 0, all = strlen(p->say[i]); at < all; at += p->step)
			if (send(fd, p->say[i] + at, all - at < p->step ? all - at : p->step, MSG_NOSIGNAL) < 0)
				break;
	while (p->silent && read(fd, &byte, 1) > 0)
		;
	shutdown(fd, SHUT_WR);
	while (read(fd, &byte, 1) > 0)
		;
	close(fd);
	return NULL;
}

static void proxy_start(struct proxy *p)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	p->listen_fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(p->listen_fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(p->listen_fd, 1), 0);
	assert_int_equal(getsockname(p->listen_fd, (struct sockaddr *)&a, &len), 0);
	p->port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&p->thread, NULL, proxy_run, p), 0);
}

static void proxy_end(struct proxy *p)
{
	pthread_join(p->thread, NULL);
	close(p->listen_fd);
}

/* ---- a client */

struct get {
	struct nh_loop *loop;
	struct nh_buf body;
	nh_rc rc;
	struct nh_err err;
};

static nh_rc on_body(void *ctx, nh_slice bytes)
{
	nh_buf_put_slice(&((struct get *)ctx)->body, bytes);
	return NH_OK;
}

static void on_done(void *ctx, nh_rc rc, const struct nh_err *err)
{
	struct get *g = ctx;
	g->rc = rc;
	g->err = *err;
	nh_loop_stop(g->loop);
}

static void run_get(struct get *g, const char *url, const struct nh_proxy *proxy, uint64_t timeout_ms)
{
	struct nh_http_get *get;
	struct nh_http_get_config config = {.url = nh_slice_str(url), .proxy = proxy, .connect_timeout_ms = timeout_ms};
	struct nh_http_get_events events = {.on_body = on_body, .on_done = on_done, .ctx = g};
	assert_int_equal(nh_loop_new(NULL, &g->loop, NULL), NH_OK);
	assert_int_equal(nh_http_get_open(g->loop, &config, &events, &get, NULL), NH_OK);
	nh_loop_run(g->loop);
	nh_http_get_close(get);
	nh_loop_free(g->loop);
}

/* start: all of the address but its port. */
static struct nh_proxy *proxy_of(const char *start, unsigned port, const char *bypass)
{
	char address[100];
	struct nh_proxy *p;
	snprintf(address, sizeof address, "%s%u", start, port);
	assert_int_equal(nh_proxy_new(nh_slice_str(address), nh_slice_str(bypass), &p, NULL), NH_OK);
	return p;
}

/* ---- tests */

static void addresses(void **state)
{
	static const struct {
		const char *address;
		bool good;
	} rows[] = {
		{"http://proxy.example.com:8080", true},
		{"proxy:3128", true},
		{"http://proxy/", true},
		{"http://[::1]:3128", true},
		{"http://user@proxy:1", true},
		{"http://user:p@ss:w0rd@proxy:1", true},
		{"", false},
		{"http://", false},
		{"https://proxy:1", false},
		{"socks5://proxy:1", false},
		{"http://proxy:0", false},
		{"http://proxy:99999", false},
		{"http://proxy/path", false},
		{"http://proxy?x", false},
		{"http://hunter2%zz:x@proxy:1", false},
		{"http://hunter2:x@pro xy:1", false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_proxy *p;
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = nh_proxy_new(nh_slice_str(rows[i].address), NH_SLICE_EMPTY, &p, &err);
		if (rc != (rows[i].good ? NH_OK : NH_EINVAL) || strstr(err.msg, "hunter2"))
			fail_msg("'%s': %s (%s)", rows[i].address, nh_rc_name(rc), err.msg);
		nh_proxy_free(p);
	}
	nh_proxy_free(NULL);
}

static void tunnels(void **state)
{
	static const struct {
		const char *start, *url, *connect; /* connect: what the proxy hears, in full */
	} rows[] = {
		{"http://127.0.0.1:", "http://device.example:81/x", "CONNECT device.example:81 HTTP/1.1\r\nHost: device.example:81\r\nUser-Agent: nerveshub-link/" NH_VERSION "\r\n\r\n"},
		{"http://127.0.0.1:", "http://[2001:db8::1]/x", "CONNECT [2001:db8::1]:80 HTTP/1.1\r\nHost: [2001:db8::1]:80\r\nUser-Agent: nerveshub-link/" NH_VERSION "\r\n\r\n"},
		{"http://Aladdin:open%20sesame@127.0.0.1:", "http://h/x",
		 "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\nUser-Agent: nerveshub-link/" NH_VERSION "\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows) * 2; i++) {
		struct proxy p = {.say = {"HTTP/1.1 200 Connection established\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"}, .step = i % 2 ? 1 : 1000};
		struct get g = {0};
		proxy_start(&p);
		struct nh_proxy *proxy = proxy_of(rows[i / 2].start, p.port, "other.example");
		run_get(&g, rows[i / 2].url, proxy, 0);
		proxy_end(&p);
		if (g.rc != NH_OK)
			fail_msg("row %zu: %s", i / 2, g.err.msg);
		assert_string_equal(nh_buf_cstr(&g.body), "hello");
		assert_string_equal(nh_buf_cstr(&p.heard[0]), rows[i / 2].connect);
		assert_true(nh_slice_starts(nh_buf_slice(&p.heard[1]), NH_LIT("GET /x HTTP/1.1\r\n")));
		nh_proxy_free(proxy);
		nh_buf_fini(&g.body);
		nh_buf_fini(&p.heard[0]);
		nh_buf_fini(&p.heard[1]);
	}
}

static void answers(void **state)
{
	NH_AUTO_BUF struct nh_buf endless = NH_BUF_INIT;
	nh_buf_put_str(&endless, "HTTP/1.1 200 OK\r\nX: ");
	nh_buf_fill(&endless, 'x', 100000);
	const struct {
		const char *say;
		bool silent;
		nh_rc rc;
		const char *msg;
		bool at_once; /* only what comes with the answer is known to be none of the server's */
	} rows[] = {
		{"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n", false, NH_EIO, "it wants another user name or password (HTTP 407)"},
		{"HTTP/1.1 401 Unauthorized\r\n\r\n", false, NH_EIO, "it wants another user name or password (HTTP 401)"},
		{"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", false, NH_EIO, "it refused with HTTP 502 Bad Gateway"},
		{"HTTP/1.1 301 Moved\r\nLocation: http://elsewhere/\r\n\r\n", false, NH_EIO, "it refused with HTTP 301"},
		{"HTTP/1.1 101 Switching Protocols\r\n\r\n", false, NH_EIO, "it refused with HTTP 101"},
		{"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, NH_EIO, "it said more than an answer", true},
		{"SSH-2.0-OpenSSH\r\n\r\n", false, NH_EIO, "its answer is not HTTP"},
		{"HTTP/1.1 200 OK\r\nContent-", false, NH_EIO, "the connection ended before it answered"},
		{"", false, NH_EIO, "the connection ended before it answered"},
		{nh_buf_cstr(&endless), true, NH_EIO, "its answer is not HTTP"},
		{"HTTP/1.1 200 OK\r\nContent-", true, NH_ETIMEOUT, "time out while waiting for the proxy's answer"},
		{"", true, NH_ETIMEOUT, "time out while waiting for the proxy's answer"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows) * 2; i++) {
		struct proxy p = {.say = {rows[i / 2].say}, .silent = rows[i / 2].silent, .step = i % 2 && !rows[i / 2].at_once ? 1 : 1000000};
		struct get g = {0};
		proxy_start(&p);
		struct nh_proxy *proxy = proxy_of("http://hunter2:x@127.0.0.1:", p.port, NULL);
		run_get(&g, "http://device.example/x", proxy, rows[i / 2].rc == NH_ETIMEOUT ? 300 : 0);
		proxy_end(&p);
		if (g.rc != rows[i / 2].rc || !strstr(g.err.msg, rows[i / 2].msg) || strstr(g.err.msg, "hunter2") || !nh_slice_starts(nh_slice_str(g.err.msg), NH_LIT("proxy 127.0.0.1 port ")))
			fail_msg("row %zu: %s (%s)", i / 2, nh_rc_name(g.rc), g.err.msg);
		nh_proxy_free(proxy);
		nh_buf_fini(&g.body);
		nh_buf_fini(&p.heard[0]);
	}
}

/* Reached directly, a peer hears the request itself. */
static void bypasses(void **state)
{
	static const struct {
		const char *bypass;
		bool direct; /* for localhost */
	} rows[] = {
		{"", false}, {"*", true}, {"localhost", true}, {" example.com , LOCALHOST ", true}, {".localhost", true}, {"host", false}, {"calhost", false}, {"x.localhost", false}, {",,", false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct proxy p = {.say = {"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"}, .step = 1000};
		char url[64];
		struct get g = {0};
		if (rows[i].direct)
			p.say[0] = p.say[1], p.say[1] = NULL;
		proxy_start(&p);
		struct nh_proxy *proxy = proxy_of("127.0.0.1:", p.port, rows[i].bypass);
		snprintf(url, sizeof url, "http://localhost:%u/x", p.port);
		run_get(&g, url, proxy, 0);
		proxy_end(&p);
		if (g.rc != NH_OK || nh_slice_starts(nh_buf_slice(&p.heard[0]), NH_LIT("GET /x ")) != rows[i].direct)
			fail_msg("'%s': %s, heard '%s'", rows[i].bypass, g.err.msg, nh_buf_cstr(&p.heard[0]));
		nh_proxy_free(proxy);
		nh_buf_fini(&p.heard[0]);
		nh_buf_fini(&p.heard[1]);
	}
}

static void environment(void **state)
{
	static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"};
	static const struct {
		const char *name[2];
		const char *value[2]; /* of the first: without the proxy's port */
		const char *bypass;
		bool used;            /* for a plain connection to localhost */
	} rows[] = {
		{{NULL}, {NULL}, NULL, false},
		{{"http_proxy"}, {"http://127.0.0.1:"}, NULL, true},
		{{"HTTP_PROXY"}, {"http://127.0.0.1:"}, NULL, false},
		{{"https_proxy"}, {"http://127.0.0.1:"}, NULL, false},
		{{"ALL_PROXY"}, {"127.0.0.1:"}, NULL, true},
		{{"http_proxy", "no_proxy"}, {"127.0.0.1:", "localhost"}, NULL, false},
		{{"http_proxy", "NO_PROXY"}, {"127.0.0.1:", "localhost"}, "elsewhere", true},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct proxy p = {.say = {"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"}, .step = 1000};
		char text[64];
		struct get g = {0};
		struct nh_proxy *proxy;
		if (!rows[i].used)
			p.say[0] = p.say[1], p.say[1] = NULL;
		proxy_start(&p);
		for (size_t k = 0; k < NH_ARRAY_LEN(names); k++)
			unsetenv(names[k]);
		for (size_t k = 0; k < 2 && rows[i].name[k]; k++) {
			if (k == 0)
				snprintf(text, sizeof text, "%s%u", rows[i].value[k], p.port);
			setenv(rows[i].name[k], k == 0 ? text : rows[i].value[k], 1);
		}
		assert_int_equal(nh_proxy_new(NH_LIT("environment"), nh_slice_str(rows[i].bypass), &proxy, NULL), NH_OK);
		snprintf(text, sizeof text, "http://localhost:%u/x", p.port);
		run_get(&g, text, proxy, 0);
		proxy_end(&p);
		if (g.rc != NH_OK || nh_slice_starts(nh_buf_slice(&p.heard[0]), NH_LIT("CONNECT ")) != rows[i].used)
			fail_msg("row %zu: %s, heard '%s'", i, g.err.msg, nh_buf_cstr(&p.heard[0]));
		nh_proxy_free(proxy);
		nh_buf_fini(&p.heard[0]);
		nh_buf_fini(&p.heard[1]);
	}
	setenv("https_proxy", "socks5://x", 1);
	struct nh_proxy *proxy;
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(nh_proxy_new(NH_LIT("environment"), NH_SLICE_EMPTY, &proxy, &err), NH_EINVAL);
	assert_true(nh_slice_starts(nh_slice_str(err.msg), NH_LIT("environment: ")));
	unsetenv("https_proxy");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(addresses), cmocka_unit_test(tunnels), cmocka_unit_test(answers), cmocka_unit_test(bypasses), cmocka_unit_test(environment)};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

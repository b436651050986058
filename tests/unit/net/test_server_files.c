/*
 * Files that are not in memory, or only a part of them: the kernel's answers to reads that must not wait are given by this file, so that each of them comes at every
 * place. What arrives must be the file, byte by byte, and the loop must not have read what was not there.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "test_peer.h"
#include "test_pki.h"
#include "test_serving.h"

#define FILE_SIZE ((size_t)6 << 20) /* more than a socket takes at once */

static struct test_pki pki;
static struct nh_tls *server_tls, *client_tls;
static struct nh_listener listeners[2];
static FILE *file;

static struct {
	unsigned cold_every; /* each n-th look finds nothing; 0: never */
	const size_t *lengths; /* what is there at most, in turn, ended by 0; NULL: everything */
	bool unsupported;
	unsigned looks, length, cold;
} kernel;

static pthread_mutex_t kernel_lock = PTHREAD_MUTEX_INITIALIZER; /* the loop asks, the test says what it is told */

/* What the kernel says to a read of so many bytes: how many of them are there, or 0 and why not. */
static size_t kernel_says(size_t want, int *error)
{
	pthread_mutex_lock(&kernel_lock);
	*error = kernel.unsupported ? EOPNOTSUPP : 0;
	if (!*error && kernel.cold_every && ++kernel.looks % kernel.cold_every == 0) {
		kernel.cold++;
		*error = EAGAIN;
	}
	if (!*error && kernel.lengths) {
		if (kernel.lengths[kernel.length] == 0)
			kernel.length = 0;
		want = want < kernel.lengths[kernel.length] ? want : kernel.lengths[kernel.length];
		kernel.length++;
	}
	pthread_mutex_unlock(&kernel_lock);
	return *error ? 0 : want;
}

/* Instead of libc's: the one call that the server's loop reads files with. */
ssize_t preadv2(int fd, const struct iovec *io, int count, off_t at, int flags)
{
	int error = count == 1 && flags == RWF_NOWAIT ? 0 : EINVAL;
	size_t want = error ? 0 : kernel_says(io->iov_len, &error);
	if (error) {
		errno = error;
		return -1;
	}
	return pread(fd, io->iov_base, want, at);
}

static uint8_t file_byte(size_t at) { return (uint8_t)(at * 7 + at / 4096 * 13 + at / 1048576); }

static void handle_file(struct nh_request *req, struct nh_response *res)
{
	nh_response_file(res, dup(fileno(file)), FILE_SIZE, "application/octet-stream", NH_LIT("tag"));
}

static const struct nh_route routes[] = {{.method = NH_HTTP_GET, .path = "/file", .handle = handle_file}, {0}};
static const struct nh_mount mounts[] = {{.routes = routes}, {0}};

static int set_up(void **state)
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	uint8_t *bytes = malloc(FILE_SIZE);
	for (size_t i = 0; i < FILE_SIZE; i++)
		bytes[i] = file_byte(i);
	file = tmpfile();
	assert_int_equal(fwrite(bytes, 1, FILE_SIZE, file), FILE_SIZE);
	assert_int_equal(fflush(file), 0);
	free(bytes);
	test_pki_init(&pki);
	test_pki_issue(&pki, "localhost", "localhost", &cert, &key, NULL);
	struct nh_tls_server_config tls = {.cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key)};
	assert_int_equal(nh_tls_server_new(&tls, &server_tls, &err), NH_OK);
	assert_int_equal(nh_tls_client_new(&(struct nh_tls_client_config){.ca_pem = nh_buf_slice(&pki.pem)}, &client_tls, &err), NH_OK);
	listeners[0] = (struct nh_listener){.name = "plain", .address = "127.0.0.1", .mounts = mounts};
	listeners[1] = (struct nh_listener){.name = "tls", .address = "127.0.0.1", .mounts = mounts, .tls = server_tls};
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &pool, &err), NH_OK);
	struct nh_server_config config = {.pool = pool, .listeners = listeners, .listener_count = 2, .loops = 1};
	assert_int_equal(nh_server_open(&config, &server, &err), NH_OK);
	assert_int_equal(nh_server_start(server, &err), NH_OK);
	return 0;
}

static int tear_down(void **state)
{
	end();
	nh_tls_unref(server_tls);
	nh_tls_unref(client_tls);
	test_pki_fini(&pki);
	fclose(file);
	return 0;
}

/* The socket's buffer is small, so that writes get stuck in the middle of what was read. */
static void fetch(unsigned kind)
{
	static const char request[] = "GET /file HTTP/1.1\r\nHost: x\r\n\r\n";
	NH_AUTO_BUF struct nh_buf headers = NH_BUF_INIT, body = NH_BUF_INIT;
	struct client c;
	int small = 131072;
	assert_int_equal(client_dial(&c, listeners[kind].port, kind ? client_tls : NULL), NH_OK);
	assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
	client_send(&c, nh_slice_of(request, sizeof request - 1));
	assert_int_equal(client_response(&c, false, &headers, &body), 200);
	assert_int_equal(body.len, FILE_SIZE);
	for (size_t i = 0; i < FILE_SIZE; i++)
		if (body.ptr[i] != file_byte(i))
			fail_msg("byte %zu is not the file's", i);
	client_close(&c);
	WAIT_UNTIL(stats().connections == 0); /* the loop looks at `kernel` no more */
}

static void test_what_is_not_in_memory(void **state)
{
	static const size_t odd[] = {65536, 1, 16384, 5000, 40000, 17, 0}, pages[] = {4096, 0};
	static const struct {
		const char *what;
		unsigned cold_every;
		const size_t *lengths;
		bool unsupported;
	} rows[] = {
		{.what = "all is there"},
		{.what = "nothing at first sight", .cold_every = 2},
		{.what = "now and then nothing", .cold_every = 5},
		{.what = "parts", .lengths = odd},
		{.what = "single pages, and now and then nothing", .lengths = pages, .cold_every = 7},
		{.what = "a file system that cannot say", .unsupported = true},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		for (unsigned kind = 0; kind < 2; kind++) {
			print_message("%s, %s\n", rows[i].what, listeners[kind].name);
			pthread_mutex_lock(&kernel_lock);
			memset(&kernel, 0, sizeof kernel);
			kernel.cold_every = rows[i].cold_every;
			kernel.lengths = rows[i].lengths;
			kernel.unsupported = rows[i].unsupported;
			pthread_mutex_unlock(&kernel_lock);
			fetch(kind);
			pthread_mutex_lock(&kernel_lock);
			unsigned cold = kernel.cold;
			pthread_mutex_unlock(&kernel_lock);
			assert_int_equal(cold > 0, rows[i].cold_every > 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_not_in_memory)};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

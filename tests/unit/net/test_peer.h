/*
 * A blocking client for tests of the server: plain system calls (and our own TLS client side), so that what is seen is what any peer sees.
 * Every wait is for bytes or for the end of a connection. Include after cmocka.h.
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "net/tls.h"
#include "net/ws_codec.h"

struct client {
	int fd;
	struct nh_tls_session *tls;
	struct nh_buf in;
};

static inline void wait_fd(int fd, bool write)
{
	struct pollfd p = {.fd = fd, .events = write ? POLLOUT : POLLIN};
	assert_int_equal(poll(&p, 1, 30000), 1);
}

static inline int dial(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static inline nh_rc client_dial(struct client *c, uint16_t port, struct nh_tls *tls)
{
	struct nh_err err = NH_ERR_INIT;
	*c = (struct client){.fd = dial(port)};
	if (!tls)
		return NH_OK;
	assert_int_equal(nh_tls_session_new(tls, c->fd, "localhost", NULL, &c->tls, &err), NH_OK);
	nh_rc rc;
	while ((rc = nh_tls_handshake(c->tls, &err)) == NH_EAGAIN)
		wait_fd(c->fd, nh_tls_wants_write(c->tls));
	return rc;
}

static inline void client_close(struct client *c)
{
	nh_tls_free(c->tls);
	close(c->fd);
	nh_buf_fini(&c->in);
}

static inline void client_send(struct client *c, nh_slice bytes)
{
	while (bytes.len) {
		size_t put = 0;
		nh_rc rc = NH_OK;
		if (c->tls) {
			rc = nh_tls_write(c->tls, bytes, &put);
		} else {
			ssize_t n = send(c->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
			put = n > 0 ? (size_t)n : 0;
			rc = n < 0 ? (errno == EAGAIN ? NH_EAGAIN : NH_ECLOSED) : NH_OK;
		}
		if (rc == NH_EAGAIN)
			wait_fd(c->fd, true);
		else if (rc != NH_OK)
			return;
		bytes = nh_slice_skip(bytes, put);
	}
}

/* Reads something more; false at the end of the connection. */
static inline bool client_more(struct client *c)
{
	uint8_t bytes[65536];
	for (;;) {
		size_t got = 0;
		nh_rc rc = NH_OK;
		if (c->tls) {
			rc = nh_tls_read(c->tls, bytes, sizeof bytes, &got);
		} else {
			ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
			got = n > 0 ? (size_t)n : 0;
			rc = n > 0 ? NH_OK : n < 0 && errno == EAGAIN ? NH_EAGAIN : NH_ECLOSED;
		}
		if (rc == NH_EAGAIN) {
			wait_fd(c->fd, false);
			continue;
		}
		if (rc != NH_OK)
			return false;
		nh_buf_put(&c->in, bytes, got);
		return true;
	}
}

/* One response with Content-Length (or without a body) off the front. */
static inline unsigned client_response(struct client *c, bool head_only, struct nh_buf *headers, struct nh_buf *body)
{
	ptrdiff_t end;
	nh_buf_clear(headers);
	nh_buf_clear(body);
	while ((end = nh_slice_find(nh_buf_slice(&c->in), NH_LIT("\r\n\r\n"))) < 0)
		if (!client_more(c))
			return 0;
	nh_buf_put_slice(headers, nh_slice_sub(nh_buf_slice(&c->in), 0, (size_t)end));
	nh_buf_consume(&c->in, (size_t)end + 4);
	unsigned status = (unsigned)strtoul(nh_buf_cstr(headers) + 9, NULL, 10);
	const char *length = strcasestr(nh_buf_cstr(headers), "\r\nContent-Length: ");
	size_t want = length && !head_only ? strtoul(length + 18, NULL, 10) : 0;
	while (c->in.len < want)
		if (!client_more(c))
			break;
	nh_buf_put_slice(body, nh_slice_sub(nh_buf_slice(&c->in), 0, want));
	nh_buf_consume(&c->in, want);
	return status;
}

static inline void ws_frame(struct client *c, nh_ws_opcode opcode, nh_slice payload)
{
	static const uint8_t mask[4] = {1, 2, 3, 4};
	NH_AUTO_BUF struct nh_buf frame = NH_BUF_INIT;
	nh_ws_put_frame(&frame, opcode, payload, mask);
	client_send(c, nh_buf_slice(&frame));
}

/* Next frame of the server: always short and unfragmented in these tests. */
static inline void ws_expect(struct client *c, uint8_t opcode, const char *text)
{
	while (c->in.len < 2 || c->in.len < 2u + c->in.ptr[1])
		assert_true(client_more(c));
	assert_int_equal(c->in.ptr[0], 0x80 | opcode);
	assert_int_equal(c->in.ptr[1], strlen(text));
	assert_memory_equal(c->in.ptr + 2, text, strlen(text));
	nh_buf_consume(&c->in, 2u + strlen(text));
}

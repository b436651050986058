/*
 * The client's side of the simulated bus: one request, one answer, blocking. The preloaded shim uses it inside of programs that know nothing of it: no signal, no inherited descriptor, no
 * memory beyond the stack but for texts.
 * source: atecc/bus.h
 */
#include "atecc/bus.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

#define HEAD_LEN 4u

nh_rc nh_atecc_bus_connect(const char *path, int *fd, struct nh_err *err)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	*fd = -1;
	if (len == 0 || len >= sizeof name.sun_path)
		return NH_FAIL(err, NH_EINVAL, "%s: the path of a socket has 1 to %zu bytes", path, sizeof name.sun_path - 1);
	memmove(name.sun_path, path, len);
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return NH_FAIL(err, NH_EIO, "socket: %s", strerrordesc_np(errno));
	int failed = connect(s, (struct sockaddr *)&name, sizeof name) == 0 ? 0 : errno;
	if (failed == 0) {
		*fd = s;
		return NH_OK;
	}
	close(s);
	if (failed == ENOENT)
		return NH_FAIL(err, NH_ENOTFOUND, "%s: no such socket; is nerveskey-sim running with --socket %s?", path, path);
	if (failed == ECONNREFUSED)
		return NH_FAIL(err, NH_EIO, "%s: nobody listens; nerveskey-sim is not running any more", path);
	return NH_FAIL(err, failed == EACCES || failed == EPERM ? NH_EPERM : NH_EIO, "%s: %s", path, strerrordesc_np(failed));
}

static nh_rc gone(struct nh_err *err) { return NH_FAIL(err, NH_EIO, "nerveskey-sim closed the connection"); }

static nh_rc send_all(int fd, nh_slice bytes, struct nh_err *err)
{
	while (bytes.len) {
		ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno != EPIPE && errno != ECONNRESET ? NH_FAIL(err, NH_EIO, "nerveskey-sim: %s", strerrordesc_np(errno)) : gone(err);
		bytes = nh_slice_skip(bytes, (size_t)n);
	}
	return NH_OK;
}

static nh_rc receive_all(int fd, uint8_t *out, size_t len, struct nh_err *err)
{
	while (len) {
		ssize_t n = recv(fd, out, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno != ECONNRESET ? NH_FAIL(err, NH_EIO, "nerveskey-sim: %s", strerrordesc_np(errno)) : gone(err);
		out += n;
		len -= (size_t)n;
	}
	return NH_OK;
}

/* Head and, for requests that carry some, bytes. In one piece, so that the simulator is woken once. */
static nh_rc ask(int fd, uint8_t op, uint8_t address, size_t len, nh_slice bytes, struct nh_err *err)
{
	uint8_t request[HEAD_LEN + NH_ATECC_BUS_TRANSFER_MAX] = {op, address, (uint8_t)len, (uint8_t)(len >> 8)};
	if (len > NH_ATECC_BUS_TRANSFER_MAX)
		return NH_FAIL(err, NH_EINVAL, "a transfer of %zu bytes: the simulated bus takes up to %u", len, NH_ATECC_BUS_TRANSFER_MAX);
	if (bytes.len)
		memmove(request + HEAD_LEN, bytes.ptr, bytes.len);
	return send_all(fd, nh_slice_of(request, HEAD_LEN + bytes.len), err);
}

/* 1 or 0. */
static nh_rc answer(int fd, bool *yes, struct nh_err *err)
{
	uint8_t byte;
	NH_TRY(receive_all(fd, &byte, 1, err));
	if (byte > 1)
		return NH_FAIL(err, NH_EIO, "the socket answers with byte 0x%02x: nerveskey-sim is not what listens there", byte);
	*yes = byte;
	return NH_OK;
}

static nh_rc acknowledged(int fd, struct nh_err *err)
{
	bool yes = false;
	NH_TRY(answer(fd, &yes, err));
	return yes ? NH_OK : NH_FAIL(err, NH_EAGAIN, "not acknowledged");
}

nh_rc nh_atecc_bus_write(int fd, uint8_t address, nh_slice bytes, struct nh_err *err)
{
	NH_TRY(ask(fd, 'W', address, bytes.len, bytes, err));
	return acknowledged(fd, err);
}

nh_rc nh_atecc_bus_read(int fd, uint8_t address, uint8_t *out, size_t len, struct nh_err *err)
{
	NH_TRY(ask(fd, 'R', address, len, NH_SLICE_EMPTY, err));
	NH_TRY(acknowledged(fd, err));
	return receive_all(fd, out, len, err);
}

static nh_rc expect_yes(int fd, const char *what, struct nh_err *err)
{
	bool yes = false;
	NH_TRY(answer(fd, &yes, err));
	return yes ? NH_OK : NH_FAIL(err, NH_EIO, "nerveskey-sim refused to %s the bus", what);
}

nh_rc nh_atecc_bus_lock(int fd, struct nh_err *err)
{
	NH_TRY(ask(fd, 'L', 0, 0, NH_SLICE_EMPTY, err));
	return expect_yes(fd, "lock", err);
}

nh_rc nh_atecc_bus_lock_within(int fd, uint32_t timeout_ms, struct nh_err *err)
{
	uint64_t now = nh_mono_ms(), deadline = now + timeout_ms;
	NH_TRY(ask(fd, 'L', 0, 0, NH_SLICE_EMPTY, err));
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int n = poll(&p, 1, (int)(deadline - now > INT32_MAX ? INT32_MAX : deadline - now));
		if (n > 0)
			return expect_yes(fd, "lock", err);
		if (n < 0 && errno != EINTR)
			return NH_FAIL(err, NH_EIO, "poll: %s", strerrordesc_np(errno));
		now = nh_mono_ms();
		if (now >= deadline)
			return NH_FAIL(err, NH_ETIMEOUT, "another connection has held the simulated bus for %u ms", timeout_ms);
	}
}

nh_rc nh_atecc_bus_unlock(int fd, struct nh_err *err)
{
	NH_TRY(ask(fd, 'U', 0, 0, NH_SLICE_EMPTY, err));
	return expect_yes(fd, "unlock", err);
}

nh_rc nh_atecc_bus_control(int fd, nh_slice command, struct nh_buf *text, struct nh_err *err)
{
	bool yes = false;
	uint8_t head[2], bytes[UINT16_MAX];
	NH_TRY(ask(fd, 'C', 0, command.len, command, err));
	NH_TRY(answer(fd, &yes, err));
	NH_TRY(receive_all(fd, head, sizeof head, err));
	size_t len = (size_t)head[0] | (size_t)head[1] << 8;
	NH_TRY(receive_all(fd, bytes, len, err));
	nh_buf_put(text, bytes, len);
	NH_TRY(nh_buf_check(text, "nerveskey-sim's answer", err));
	return yes ? NH_OK : NH_FAIL(err, NH_EINVAL, "nerveskey-sim: %.*s", (int)len, (const char *)bytes);
}

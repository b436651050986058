/* The socket of a simulated bus; see server.h. One poll loop; a client is one buffer of input, of which one request at a time is carried out, and one of output. */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atecc/bus.h"
#include "base/file.h"

#define CLIENTS_MAX 64u
#define HEADER_LEN 4u

struct client {
	int fd; /* -1: free place */
	uint64_t ticket; /* its place in the queue for the bus; 0: it doesn't wait */
	size_t in_len, out_len, out_sent;
	uint8_t in[HEADER_LEN + NH_ATECC_BUS_TRANSFER_MAX];
	uint8_t out[3 + NH_ATECC_BUS_TRANSFER_MAX];
};

struct server {
	struct simbus *bus;
	char *path, *bus_path;
	int listen_fd, signal_fd;
	bool crowded; /* no descriptor was left for the last newcomer: the next look is when somebody goes */
	bool stop;
	pid_t child;
	int child_status;
	uint64_t tickets;
	struct client *holder;
	struct client *turn; /* the bus is free and this one is the next that waited for it */
	struct client clients[CLIENTS_MAX];
	nh_rc rc; /* of a chip's file */
	struct nh_err err;
};

struct request {
	uint8_t op, address;
	size_t len;
	nh_slice bytes;
};

static void drop(struct server *s, struct client *c)
{
	close(c->fd);
	c->fd = -1;
	c->ticket = 0;
	s->crowded = false;
	if (s->holder == c)
		s->holder = NULL;
}

/* ---- requests: atecc/bus.h */

static void op_write(struct server *s, struct client *c, const struct request *r)
{
	bool ack;
	s->rc = simbus_write(s->bus, r->address, r->bytes, &ack, &s->err);
	c->out[0] = ack;
	c->out_len = 1;
}

static void op_read(struct server *s, struct client *c, const struct request *r)
{
	bool ack;
	s->rc = simbus_read(s->bus, r->address, c->out + 1, r->len, &ack, &s->err);
	c->out[0] = ack;
	c->out_len = ack ? 1 + r->len : 1;
}

static void op_lock(struct server *s, struct client *c, const struct request *r)
{
	s->holder = c;
	c->out[0] = 1;
	c->out_len = 1;
}

static void op_unlock(struct server *s, struct client *c, const struct request *r)
{
	c->out[0] = s->holder == c;
	c->out_len = 1;
	if (s->holder == c)
		s->holder = NULL;
}

static void op_control(struct server *s, struct client *c, const struct request *r)
{
	NH_AUTO_BUF struct nh_buf answer = NH_BUF_MAX(NH_ATECC_BUS_TRANSFER_MAX);
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = simbus_control(s->bus, r->bytes, &answer, &err);
	if (rc == NH_OK && !nh_buf_ok(&answer))
		rc = NH_FAIL(&err, NH_EINVAL, "the answer does not fit");
	if (rc != NH_OK) {
		nh_buf_clear(&answer);
		nh_buf_put_str(&answer, err.msg);
		if (rc != NH_EINVAL && rc != NH_ENOTFOUND) {
			s->rc = rc;
			s->err = err;
		}
	}
	c->out[0] = rc == NH_OK;
	c->out[1] = (uint8_t)answer.len;
	c->out[2] = (uint8_t)(answer.len >> 8);
	if (answer.len)
		memcpy(c->out + 3, answer.ptr, answer.len);
	c->out_len = 3 + answer.len;
}

static const struct {
	uint8_t op;
	bool bytes;   /* length bytes follow */
	bool empty;   /* length must be 0 */
	bool bus;     /* waits while another client has the bus */
	void (*run)(struct server *s, struct client *c, const struct request *r);
} ops[] = {
	{'W', true, false, true, op_write},
	{'R', false, false, true, op_read},
	{'L', false, true, true, op_lock},
	{'U', false, true, false, op_unlock},
	{'C', true, false, false, op_control},
};

/* Somebody else has the bus, or stood in the queue for it before: who gives it back and asks again comes last. */
static bool must_wait(const struct server *s, const struct client *c)
{
	if (s->holder || s->turn)
		return s->holder != c && s->turn != c;
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i].fd >= 0 && s->clients[i].ticket && &s->clients[i] != c)
			return true;
	return false;
}

/* Carries out the first request of the input, if it is whole and may go now. false: nothing to do at present. */
static bool step(struct server *s, struct client *c)
{
	if (c->fd < 0 || s->rc != NH_OK || c->out_len || c->in_len < HEADER_LEN)
		return false;
	struct request r = {.op = c->in[0], .address = c->in[1], .len = (size_t)c->in[2] | (size_t)c->in[3] << 8};
	size_t i = 0;
	while (i < NH_ARRAY_LEN(ops) && ops[i].op != r.op)
		i++;
	if (i == NH_ARRAY_LEN(ops) || r.address > 0x7f || r.len > NH_ATECC_BUS_TRANSFER_MAX || (ops[i].empty && r.len)) {
		drop(s, c);
		return false;
	}
	size_t whole = HEADER_LEN + (ops[i].bytes ? r.len : 0);
	if (c->in_len < whole)
		return false;
	if (ops[i].bus && must_wait(s, c)) {
		if (!c->ticket)
			c->ticket = ++s->tickets;
		return false;
	}
	c->ticket = 0;
	r.bytes = nh_slice_of(c->in + HEADER_LEN, whole - HEADER_LEN);
	ops[i].run(s, c, &r);
	c->in_len -= whole;
	memmove(c->in, c->in + whole, c->in_len);
	return true;
}

static void flush(struct server *s, struct client *c)
{
	if (c->fd < 0 || !c->out_len || s->rc != NH_OK)
		return;
	ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		drop(s, c);
		return;
	}
	c->out_sent += n > 0 ? (size_t)n : 0;
	if (c->out_sent == c->out_len)
		c->out_len = c->out_sent = 0;
}

static void serve(struct server *s, struct client *c)
{
	while (step(s, c))
		flush(s, c);
}

/* The bus came free: those that wait, in the order in which they came, until one of them takes it. */
static void serve_waiting(struct server *s)
{
	while (!s->holder && s->rc == NH_OK) {
		struct client *first = NULL;
		for (size_t i = 0; i < CLIENTS_MAX; i++)
			if (s->clients[i].fd >= 0 && s->clients[i].ticket && (!first || s->clients[i].ticket < first->ticket))
				first = &s->clients[i];
		if (!first)
			return;
		s->turn = first;
		if (step(s, first))
			flush(s, first);
		s->turn = NULL;
		serve(s, first);
	}
}

/* ---- connections */

static void receive(struct server *s, struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		drop(s, c);
		return;
	}
	c->in_len += n > 0 ? (size_t)n : 0;
	serve(s, c);
}

static void admit(struct server *s)
{
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		s->crowded = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
		return;
	}
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i].fd < 0) {
			s->clients[i] = (struct client){.fd = fd};
			return;
		}
	close(fd);
}

static void take_signal(struct server *s)
{
	struct signalfd_siginfo info;
	while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
		bool child = s->child > 0;
		if (info.ssi_signo == SIGCHLD && child && waitpid(s->child, &s->child_status, WNOHANG) == s->child)
			s->stop = true;
		else if ((info.ssi_signo == SIGTERM || info.ssi_signo == SIGHUP) && child)
			kill(s->child, (int)info.ssi_signo);
		else if (info.ssi_signo != SIGCHLD && !child)
			s->stop = true;
	}
}

/* What a client is watched for: input while there is room and nothing of its own is pending; its end always. */
static short watched(const struct client *c)
{
	short events = POLLRDHUP;
	if (c->out_len)
		events |= POLLOUT;
	else if (!c->ticket && c->in_len < sizeof c->in)
		events |= POLLIN;
	return events;
}

static void serve_events(struct server *s, struct client *c, short events)
{
	if (events & POLLOUT) {
		flush(s, c);
		serve(s, c);
	} else if (events & POLLIN) {
		receive(s, c);
	} else if (events & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) {
		drop(s, c); /* it waits for the bus, or doesn't read what it asked for, and has gone */
	}
}

static nh_rc round_once(struct server *s, struct nh_err *err)
{
	struct pollfd fds[2 + CLIENTS_MAX];
	struct client *who[CLIENTS_MAX];
	nfds_t count = 2;
	fds[0] = (struct pollfd){.fd = s->signal_fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = s->crowded ? -1 : s->listen_fd, .events = POLLIN};
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i].fd >= 0) {
			who[count - 2] = &s->clients[i];
			fds[count++] = (struct pollfd){.fd = s->clients[i].fd, .events = watched(&s->clients[i])};
		}
	if (poll(fds, count, s->crowded && count == 2 ? 100 : -1) < 0)
		return errno == EINTR ? NH_OK : NH_FAIL(err, NH_EIO, "poll: %s", strerror(errno));
	if (fds[0].revents)
		take_signal(s);
	for (nfds_t i = 2; i < count; i++)
		if (fds[i].revents && who[i - 2]->fd == fds[i].fd)
			serve_events(s, who[i - 2], fds[i].revents);
	serve_waiting(s);
	s->crowded = s->crowded && count > 2;
	if (fds[1].revents)
		admit(s);
	return NH_OK;
}

nh_rc server_run(struct server *s, pid_t child, int *status, struct nh_err *err)
{
	s->child = child;
	while (!s->stop && s->rc == NH_OK)
		NH_TRY(round_once(s, err));
	if (s->rc != NH_OK && err)
		*err = s->err;
	if (status)
		*status = s->child_status;
	return s->rc;
}

/* ---- the socket in the file system, and beside it the file that the preloaded library opens instead of a device (preload.h) */

static nh_rc address_of(const char *path, struct sockaddr_un *out, struct nh_err *err)
{
	size_t len = strlen(path);
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len == 0 || len >= sizeof out->sun_path)
		return NH_FAIL(err, NH_EINVAL, "%s: a socket's path has 1 to %zu bytes", path, sizeof out->sun_path - 1);
	memcpy(out->sun_path, path, len);
	return NH_OK;
}

/* A socket that nobody listens at any more is in the way; one that somebody listens at, and anything else, stays. */
static nh_rc clear_path(const char *path, const struct sockaddr_un *at, struct nh_err *err)
{
	struct stat st;
	if (lstat(path, &st) != 0)
		return NH_OK;
	if (!S_ISSOCK(st.st_mode))
		return NH_FAIL(err, NH_EINVAL, "%s exists and is not a socket", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)at, sizeof *at);
	bool dead = rc != 0 && errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	if (!dead)
		return NH_FAIL(err, NH_ECONFLICT, "%s: another nerveskey-sim listens there", path);
	return unlink(path) == 0 ? NH_OK : NH_FAIL(err, NH_EIO, "%s: %s", path, strerror(errno));
}

static nh_rc listen_at(const char *path, int *out, struct nh_err *err)
{
	struct sockaddr_un at;
	NH_TRY(address_of(path, &at, err));
	NH_TRY(clear_path(path, &at, err));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask = umask(0177);
	bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) == 0;
	umask(mask);
	if (!bound || listen(fd, (int)CLIENTS_MAX) != 0) {
		nh_rc rc = NH_FAIL(err, errno == EACCES ? NH_EPERM : NH_EIO, "%s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return rc;
	}
	*out = fd;
	return NH_OK;
}

/* Kept where it is there already: programs that outlive a simulator find their bus again in the next one. Its mode is its mark. */
static nh_rc make_bus_file(const char *path, struct nh_err *err)
{
	struct stat st;
	nh_rc rc = NH_OK;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0 || fstat(fd, &st) != 0)
		rc = NH_FAIL(err, nh_rc_from_errno(errno), "%s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode) || st.st_size != 0)
		rc = NH_FAIL(err, NH_ECONFLICT, "%s is in the way: the bus needs a file of this name", path);
	else if (fchmod(fd, S_ISVTX | 0600) != 0)
		rc = NH_FAIL(err, nh_rc_from_errno(errno), "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

static nh_rc prepare(struct server *s, const char *path, struct simbus *bus, struct nh_err *err)
{
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	s->bus = bus;
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		s->clients[i].fd = -1;
	s->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	s->path = strdup(path);
	if (s->signal_fd < 0 || !s->path || asprintf(&s->bus_path, "%s.bus", path) < 0) {
		s->bus_path = NULL;
		return NH_FAIL(err, NH_ENOMEM, "no memory or descriptors left");
	}
	nh_rc rc = make_bus_file(s->bus_path, err);
	if (rc != NH_OK) { /* it is somebody else's: not to be removed at the end */
		free(s->bus_path);
		s->bus_path = NULL;
	}
	return rc;
}

nh_rc server_open(const char *path, struct simbus *bus, struct server **out, struct nh_err *err)
{
	int fd = -1;
	*out = NULL;
	NH_TRY(listen_at(path, &fd, err));
	struct server *s = calloc(1, sizeof *s);
	if (!s) {
		close(fd);
		unlink(path);
		return NH_FAIL(err, NH_ENOMEM, "no memory left");
	}
	s->listen_fd = fd;
	nh_rc rc = prepare(s, path, bus, err);
	if (rc == NH_OK)
		*out = s;
	else
		server_close(s);
	return rc;
}

void server_close(struct server *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < CLIENTS_MAX; i++)
		if (s->clients[i].fd >= 0)
			drop(s, &s->clients[i]);
	if (s->bus_path)
		unlink(s->bus_path);
	if (s->path)
		unlink(s->path);
	close(s->listen_fd);
	if (s->signal_fd >= 0)
		close(s->signal_fd);
	free(s->bus_path);
	free(s->path);
	free(s);
}

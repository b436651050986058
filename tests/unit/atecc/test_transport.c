/*
 * How transfers reach a chip: names and addresses, the simulated bus and servers that are none, Linux I2C over an adapter made of a simulated chip (ioctl(2) is this file's), the bus between
 * processes, recordings.
 */
#include "test_atecc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atecc/bus.h"
#include "atecc/chip.h"
#include "base/process.h"
#include "chip_transport.h"
#include "transport_int.h"

static char dir[] = "/tmp/nh-atecc-XXXXXX";

static int dir_make(void **state) { return mkdtemp(dir) ? 0 : -1; }

static int dir_remove(void **state)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	const char *argv[] = {"rm", "-rf", dir, NULL};
	struct nh_err err;
	int status;
	return nh_process_run(&(struct nh_process){.argv = argv}, &status, &out, &out, &err) == NH_OK ? 0 : -1;
}

static const char *in_dir(struct nh_buf *path, const char *name)
{
	nh_buf_clear(path);
	nh_buf_printf(path, "%s/%s", dir, name);
	return nh_buf_cstr(path);
}

static void put_file(const char *name, nh_slice bytes)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	assert_ok(nh_file_write_atomic(in_dir(&path, name), bytes, 0600, &err), err);
}

/* A socket that listens in the scratch folder. */
static int listen_at(const char *name)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	in_dir(&path, name);
	memcpy(at.sun_path, path.ptr, path.len);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, 64), 0);
	return fd;
}

/* ---- names */

static void names_that_open(void **state)
{
	static const struct {
		const char *before, *file, *after;
		uint8_t address;
		const char *shown; /* behind the folder */
	} rows[] = {
		{"sim:", "s", "", 0x60, "/s address 0x60"},
		{"sim:", "s", "@0x35", 0x35, "/s address 0x35"},
		{"sim:", "s", "@53", 0x35, "/s address 0x35"},
		{"sim:", "s", "@0xC0", 0x60, "/s address 0x60"}, /* the 8-bit notation of data sheets */
		{"sim:", "s", "@0x6A", 0x6A, "/s address 0x6a"}, /* 7-bit as well: taken as it stands */
		{"sim:", "s", "@0x77", 0x77, "/s address 0x77"},
		{"sim:", "s", "@0x03", 0x03, "/s address 0x03"},
		{"sim:", "a@b", "", 0x60, "/a@b address 0x60"},
		{"sim:", "a@b", "@0x36", 0x36, "/a@b address 0x36"},
		{"nerveskey+sim://", "s", "", 0x60, "/s address 0x60"},
		{"nerveskey+sim://", "s", "?address=0x35", 0x35, "/s address 0x35"},
		{"nerveskey+sim://", "a%40b", "?address=0x58", 0x58, "/a@b address 0x58"},
	};
	int s = listen_at("s"), a = listen_at("a@b");
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf spec = NH_BUF_INIT, shown = NH_BUF_INIT;
		struct nh_atecc_transport t;
		struct nh_err err = NH_ERR_INIT;
		nh_buf_printf(&spec, "%s%s/%s%s", rows[i].before, dir, rows[i].file, rows[i].after);
		assert_ok(nh_atecc_transport_open(nh_buf_cstr(&spec), &t, &err), err);
		assert_int_equal(t.address, rows[i].address);
		nh_buf_printf(&shown, "simulator %s%s", dir, rows[i].shown);
		assert_string_equal(t.name, nh_buf_cstr(&shown));
		nh_atecc_transport_close(&t);
		nh_atecc_transport_close(&t);
	}
	close(s);
	close(a);
}

static void names_that_do_not(void **state)
{
	static const struct {
		const char *spec;
		nh_rc rc;
		const char *says;
	} rows[] = {
		{"", NH_EINVAL, "expected i2c-1"},
		{"i2c", NH_EINVAL, "expected i2c-1"},
		{"spi-1", NH_EINVAL, "spi-1"},
		{"i2c-", NH_EINVAL, "number"},
		{"i2c-x", NH_EINVAL, "number"},
		{"i2c--1", NH_EINVAL, "number"},
		{"i2c-1/../2", NH_EINVAL, "number"},
		{"i2c-99999999999999999999", NH_EINVAL, "number"},
		{"i2c-987654", NH_ENOTFOUND, "/dev/i2c-987654: no such I2C bus"},
		{"i2c:987654", NH_ENOTFOUND, "i2c_arm"},
		{"/dev/i2c-987654@0x60", NH_ENOTFOUND, "i2c-dev"},
		{"nerveskey://i2c-987654", NH_ENOTFOUND, "/dev/i2c-987654"},
		{"nerveskey://i2c-987654?address=0x35", NH_ENOTFOUND, "/dev/i2c-987654"},
		{"nerveskey://i2c-987654?speed=1", NH_EINVAL, "?speed=1"},
		{"nerveskey://spi-1", NH_EINVAL, "spi-1"},
		{"i2c-1@0x00", NH_EINVAL, "0x00"},
		{"i2c-1@0x02", NH_EINVAL, "0x02"},
		{"i2c-1@0x79", NH_EINVAL, "0x79"}, /* no 7-bit address, odd: no 8-bit one */
		{"i2c-1@0xF2", NH_EINVAL, "0xF2"},
		{"i2c-1@0x600", NH_EINVAL, "0x600"},
		{"i2c-1@300", NH_EINVAL, "300"},
		{"i2c-1@0x6", NH_EINVAL, "0x6"},
		{"sim:", NH_EINVAL, "path"},
		{"sim:/nonexistent/socket", NH_ENOTFOUND, "nerveskey-sim"},
		{"sim:/dev/null", NH_EIO, "nobody listens"},
		{"nerveskey+sim://relative", NH_EINVAL, "absolute"},
		{"nerveskey+sim:///bad%zz", NH_EINVAL, "absolute"},
		{"nerveskey+sim:///s?address=1", NH_EINVAL, "?address="},
		{"record:", NH_EINVAL, "record:FILE,BUS"},
		{"record:/tmp/x", NH_EINVAL, "record:FILE,BUS"},
		{"record:/tmp/x,record:/tmp/y,sim:z", NH_EINVAL, "record:FILE,BUS"},
		{"record:/tmp/x,nothing", NH_EINVAL, "nothing"},
		{"replay:", NH_EINVAL, "path"},
		{"replay:/nonexistent/file", NH_ENOTFOUND, "/nonexistent/file"},
		{"replay:/proc/self/status", NH_EFORMAT, "not a recording"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_atecc_transport t;
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = nh_atecc_transport_open(rows[i].spec, &t, &err);
		if (rc != rows[i].rc || !strstr(err.msg, rows[i].says))
			fail_msg("\"%s\": %s \"%s\"", rows[i].spec, nh_rc_name(rc), err.msg);
		assert_null(t.ops);
	}
	NH_AUTO_BUF struct nh_buf spec = NH_BUF_INIT;
	struct nh_atecc_transport t;
	struct nh_err err = NH_ERR_INIT;
	nh_buf_put_str(&spec, "sim:");
	nh_buf_fill(&spec, 'x', 300);
	assert_int_equal(nh_atecc_transport_open(nh_buf_cstr(&spec), &t, &err), NH_EINVAL);
	nh_buf_fill(&spec, 'x', 5000);
	assert_int_equal(nh_atecc_transport_open(nh_buf_cstr(&spec), &t, &err), NH_EINVAL);
}

/* ---- the simulated bus: servers that answer as they like */

struct server {
	int listener;
	nh_slice answer; /* said at once, then the connection is closed where it is not empty; empty: silence until the client leaves */
};

static void *serve_one(void *arg)
{
	struct server *s = arg;
	uint8_t asked[8192];
	int fd = accept(s->listener, NULL, NULL);
	if (s->answer.len && recv(fd, asked, sizeof asked, 0) > 0)
		send(fd, s->answer.ptr, s->answer.len, MSG_NOSIGNAL);
	if (s->answer.len)
		shutdown(fd, SHUT_WR);
	while (recv(fd, asked, sizeof asked, 0) > 0)
		;
	close(fd);
	return NULL;
}

enum asked { WRITE, READ, LOCK, UNLOCK, CONTROL };

static nh_rc ask_for(enum asked what, int fd, struct nh_buf *text, struct nh_err *err)
{
	uint8_t out[4];
	switch (what) {
	case WRITE: return nh_atecc_bus_write(fd, 0x60, NH_LIT("\x03"), err);
	case READ: return nh_atecc_bus_read(fd, 0x60, out, sizeof out, err);
	case LOCK: return nh_atecc_bus_lock(fd, err);
	case UNLOCK: return nh_atecc_bus_unlock(fd, err);
	default: return nh_atecc_bus_control(fd, NH_LIT("show"), text, err);
	}
}

static void answers_of_servers(void **state)
{
	static const struct {
		enum asked asked;
		const char *answer;
		size_t len;
		nh_rc rc;
		const char *text;
	} rows[] = {
		{WRITE, "\1", 1, NH_OK, ""},		 {WRITE, "\0", 1, NH_EAGAIN, ""},      {WRITE, "H", 1, NH_EIO, ""},
		{READ, "\1abcd", 5, NH_OK, ""},	 {READ, "\0", 1, NH_EAGAIN, ""},       {READ, "\1abc", 4, NH_EIO, ""}, {READ, "HTTP/1.1", 8, NH_EIO, ""},
		{LOCK, "\1", 1, NH_OK, ""},		 {LOCK, "\0", 1, NH_EIO, ""},	       {UNLOCK, "\0", 1, NH_EIO, ""},	{UNLOCK, "\1", 1, NH_OK, ""},
		{CONTROL, "\1\2\0ok", 5, NH_OK, "ok"}, {CONTROL, "\0\2\0no", 5, NH_EINVAL, "no"}, {CONTROL, "\1\3\0ok", 5, NH_EIO, ""}, {CONTROL, "\1\0\0", 3, NH_OK, ""},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, text = NH_BUF_INIT;
		struct nh_err err = NH_ERR_INIT;
		pthread_t thread;
		int fd;
		in_dir(&path, "answers");
		unlink(nh_buf_cstr(&path));
		struct server s = {listen_at("answers"), nh_slice_of(rows[i].answer, rows[i].len)};
		assert_int_equal(pthread_create(&thread, NULL, serve_one, &s), 0);
		assert_ok(nh_atecc_bus_connect(nh_buf_cstr(&path), &fd, &err), err);
		nh_rc rc = ask_for(rows[i].asked, fd, &text, &err);
		close(fd);
		pthread_join(thread, NULL);
		close(s.listener);
		if (rc != rows[i].rc)
			fail_msg("row %zu: %s \"%s\"", i, nh_rc_name(rc), err.msg);
		assert_slice(nh_buf_slice(&text), rows[i].text);
	}
}

static void bounds_of_the_bus(void **state)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, text = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	static uint8_t big[NH_ATECC_BUS_TRANSFER_MAX + 1];
	pthread_t thread;
	int fd;
	struct server s = {listen_at("bounds"), NH_SLICE_EMPTY};
	assert_int_equal(pthread_create(&thread, NULL, serve_one, &s), 0);
	assert_ok(nh_atecc_bus_connect(in_dir(&path, "bounds"), &fd, &err), err);
	assert_int_equal(nh_atecc_bus_write(fd, 0x60, nh_slice_of(big, sizeof big), &err), NH_EINVAL);
	assert_int_equal(nh_atecc_bus_read(fd, 0x60, big, sizeof big, &err), NH_EINVAL);
	assert_int_equal(nh_atecc_bus_control(fd, nh_slice_of(big, sizeof big), &text, &err), NH_EINVAL);
	/* Nobody answers: a lock with a bound gives up. */
	assert_int_equal(nh_atecc_bus_lock_within(fd, 20, &err), NH_ETIMEOUT);
	close(fd);
	pthread_join(thread, NULL);
	/* The same through the transport, which starts anew with another connection. */
	NH_AUTO_BUF struct nh_buf spec = NH_BUF_INIT;
	struct nh_atecc_transport t;
	nh_buf_printf(&spec, "sim:%s", nh_buf_cstr(&path));
	assert_int_equal(pthread_create(&thread, NULL, serve_one, &s), 0);
	assert_ok(nh_atecc_transport_open(nh_buf_cstr(&spec), &t, &err), err);
	assert_int_equal(t.ops->lock(t.ctx, 20, &err), NH_ETIMEOUT);
	pthread_join(thread, NULL);
	s.answer = NH_LIT("\1");
	assert_int_equal(pthread_create(&thread, NULL, serve_one, &s), 0);
	assert_ok(t.ops->lock(t.ctx, 1000, &err), err);
	assert_int_equal(t.ops->write(t.ctx, NH_LIT("\1"), &err), NH_EIO); /* and this server goes away */
	t.ops->unlock(t.ctx);
	pthread_join(thread, NULL);
	nh_atecc_transport_close(&t);
	close(s.listener);
}

/* A simulator that was started anew between two transactions: the next one finds it. */
static void simulator_started_anew(void **state)
{
	NH_AUTO_BUF struct nh_buf spec = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct nh_atecc_transport t;
	pthread_t thread;
	struct server s = {listen_at("anew"), NH_LIT("\1")};
	nh_buf_printf(&spec, "sim:%s/anew", dir);
	assert_ok(nh_atecc_transport_open(nh_buf_cstr(&spec), &t, &err), err);
	close(accept(s.listener, NULL, NULL)); /* the first one is gone */
	assert_int_equal(pthread_create(&thread, NULL, serve_one, &s), 0);
	assert_ok(t.ops->lock(t.ctx, 1000, &err), err);
	nh_atecc_transport_close(&t);
	pthread_join(thread, NULL);
	/* One that stays away is an error. */
	assert_ok(nh_atecc_transport_open(nh_buf_cstr(&spec), &t, &err), err);
	close(accept(s.listener, NULL, NULL));
	close(s.listener);
	assert_int_equal(t.ops->lock(t.ctx, 1000, &err), NH_EIO);
	assert_non_null(strstr(err.msg, "nobody listens"));
	nh_atecc_transport_close(&t);
}

/* ---- Linux I2C: the adapter */

static struct {
	struct chip_bus *bus;
	unsigned long functions;
	int error;               /* of every transfer; 0: the chip answers */
	int not_acknowledged;    /* ENXIO, or EREMOTEIO */
	unsigned messages;
} adapter;

int ioctl(int fd, unsigned long request, ...);

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	va_start(ap, request);
	void *arg = va_arg(ap, void *);
	va_end(ap);
	if (request == I2C_FUNCS && adapter.functions) {
		*(unsigned long *)arg = adapter.functions;
		return 0;
	}
	if (request != I2C_RDWR || !adapter.functions) {
		errno = ENOTTY;
		return -1;
	}
	struct i2c_rdwr_ioctl_data *data = arg;
	assert_int_equal(data->nmsgs, 1);
	struct i2c_msg *m = &data->msgs[0];
	adapter.messages++;
	nh_rc rc = NH_EAGAIN;
	if (adapter.error) {
		errno = adapter.error;
		return -1;
	}
	if (m->addr == 0)
		assert_int_equal(chip_bus_wake(adapter.bus, NULL), NH_OK);
	else if (m->addr == nh_chip_address(adapter.bus->chip))
		rc = m->flags & I2C_M_RD ? chip_bus_read(adapter.bus, m->buf, m->len, NULL) : chip_bus_write(adapter.bus, nh_slice_of(m->buf, m->len), NULL);
	if (rc == NH_OK)
		return 1;
	errno = adapter.not_acknowledged;
	return -1;
}

static void adapter_init(struct chip_bus *bus)
{
	chip_bus_init(bus, NH_CHIP_608B, NH_CHIP_BLANK, 4);
	bus->locked = true; /* here the file is what is locked */
	adapter.bus = bus;
	adapter.functions = I2C_FUNC_I2C;
	adapter.error = 0;
	adapter.not_acknowledged = ENXIO;
}

static nh_rc open_node(struct nh_atecc_transport *t, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	put_file("i2c-7", NH_LIT(""));
	*t = (struct nh_atecc_transport){.address = 0x60, .name = "node"};
	return nh_atecc_i2c_open(in_dir(&path, "i2c-7"), t, err);
}

static void commands_over_i2c(void **state)
{
	static const int nak[] = {ENXIO, EREMOTEIO};
	for (size_t i = 0; i < NH_ARRAY_LEN(nak); i++) {
		struct chip_bus bus;
		struct nh_atecc_transport t;
		struct nh_atecc *chip;
		struct nh_err err = NH_ERR_INIT;
		uint8_t config[128];
		adapter_init(&bus);
		adapter.not_acknowledged = nak[i];
		assert_ok(open_node(&t, &err), err);
		nh_atecc_new(t, &chip);
		assert_ok(nh_atecc_read_config(chip, config, &err), err);
		assert_bytes(config, nh_chip_state_of(bus.chip)->config, 128);
		assert_int_equal(nh_atecc_genkey(chip, 0, config, &err), NH_EPERM); /* its configuration is open */
		adapter.error = nak[i];
		assert_int_equal(nh_atecc_detect(chip, &err), NH_ENOTFOUND);
		adapter.error = ETIMEDOUT;
		assert_int_equal(nh_atecc_detect(chip, &err), NH_EIO);
		assert_non_null(strstr(err.msg, "node: the bus hangs"));
		nh_atecc_free(chip);
		bus.locked = false;
		chip_bus_fini(&bus);
	}
}

static void errors_of_adapters(void **state)
{
	static const struct {
		int number;
		nh_rc rc;
		const char *says;
	} rows[] = {
		{ENXIO, NH_EAGAIN, "not acknowledged"},	   {EREMOTEIO, NH_EAGAIN, "not acknowledged"}, {ETIMEDOUT, NH_EIO, "SDA or SCL"}, {EAGAIN, NH_EIO, "arbitration"},
		{EBUSY, NH_EIO, "kernel driver"},	   {EOPNOTSUPP, NH_EUNSUPPORTED, "SMBus"},     {ENODEV, NH_EIO, "unplugged"},	 {EACCES, NH_EPERM, "permission"},
		{EIO, NH_EIO, "Input/output error"},
	};
	struct chip_bus bus;
	struct nh_atecc_transport t;
	struct nh_err err = NH_ERR_INIT;
	uint8_t bytes[300] = {1};
	adapter_init(&bus);
	assert_ok(open_node(&t, &err), err);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		adapter.error = rows[i].number;
		assert_int_equal(t.ops->write(t.ctx, nh_slice_of(bytes, 1), &err), rows[i].rc);
		assert_non_null(strstr(err.msg, rows[i].says));
		assert_int_equal(t.ops->read(t.ctx, bytes, 4, &err), rows[i].rc);
		assert_int_equal(t.ops->wake(t.ctx, &err), NH_OK); /* nobody acknowledges address 0, whatever the adapter calls it */
	}
	assert_int_equal(t.ops->write(t.ctx, nh_slice_of(bytes, sizeof bytes), &err), NH_EINVAL);
	assert_int_equal(t.ops->write(t.ctx, NH_SLICE_EMPTY, &err), NH_EINVAL);
	assert_int_equal(t.ops->read(t.ctx, bytes, sizeof bytes, &err), NH_EINVAL);
	nh_atecc_transport_close(&t);
	adapter.functions = I2C_FUNC_SMBUS_BYTE;
	assert_int_equal(open_node(&t, &err), NH_EUNSUPPORTED);
	assert_non_null(strstr(err.msg, "SMBus only"));
	adapter.functions = 0;
	assert_int_equal(open_node(&t, &err), NH_EUNSUPPORTED);
	assert_non_null(strstr(err.msg, "not an I2C bus"));
	bus.locked = false;
	chip_bus_fini(&bus);
}

static void permission_names_the_group(void **state)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	int status;
	put_file("i2c-8", NH_LIT(""));
	in_dir(&path, "i2c-8");
	assert_int_equal(chmod(dir, 0755), 0);
	if (geteuid() != 0)
		assert_int_equal(chmod(nh_buf_cstr(&path), 0), 0);
	pid_t child = fork();
	if (child == 0) { /* as somebody who may not */
		struct nh_atecc_transport t = {.address = 0x60};
		struct nh_err err = NH_ERR_INIT;
		if (geteuid() == 0 && setuid(65534) < 0)
			_exit(3);
		nh_rc rc = nh_atecc_i2c_open(nh_buf_cstr(&path), &t, &err);
		_exit(rc == NH_EPERM && strstr(err.msg, "permission denied") && strstr(err.msg, "usermod -aG") ? 0 : 4);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void hints(void **state)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT, sys = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	in_dir(&sys, "sys");
	nh_atecc_i2c_hint(nh_buf_cstr(&sys), 1, 0x60, &b);
	assert_int_equal(b.len, 0);
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, link = NH_BUF_INIT;
	assert_ok(nh_dir_make(in_dir(&path, "sys/bus/i2c/devices/i2c-1/of_node"), 0755, &err), err);
	assert_ok(nh_dir_make(in_dir(&path, "sys/bus/i2c/devices/1-0060"), 0755, &err), err);
	put_file("sys/bus/i2c/devices/i2c-1/of_node/clock-frequency", NH_LIT("\x00\x01\x86\xa0")); /* 100000 */
	nh_atecc_i2c_hint(nh_buf_cstr(&sys), 1, 0x60, &b);
	assert_int_equal(b.len, 0);
	put_file("sys/bus/i2c/devices/i2c-1/of_node/clock-frequency", NH_LIT("\x00\x06\x1a\x80"));
	in_dir(&link, "sys/bus/i2c/devices/1-0060/driver");
	assert_int_equal(symlink("../../drivers/atmel-ecc", nh_buf_cstr(&link)), 0);
	nh_atecc_i2c_hint(nh_buf_cstr(&sys), 1, 0x60, &b);
	assert_slice(nh_buf_slice(&b), " The device tree sets this bus to 400000 Hz. The kernel's driver atmel-ecc has this chip: echo 1-0060 >/sys/bus/i2c/drivers/atmel-ecc/unbind");
}

/* ---- the bus between processes */

static void lock_tables(void **state)
{
	static const char text[] = "1: POSIX  ADVISORY  WRITE 500 00:2d:77 0 EOF\n"
				   "2: FLOCK  ADVISORY  WRITE 600 00:2d:78 0 EOF\n"
				   "2: -> FLOCK  ADVISORY  WRITE 601 00:2d:78 0 EOF\n"
				   "3: FLOCK  ADVISORY  WRITE 700 00:2d:77 0 EOF\n"
				   "4: FLOCK  ADVISORY  WRITE x 00:2d:79 0 EOF\n"
				   "5: FLOCK\n\n"
				   "6: FLOCK  ADVISORY  WRITE 0 00:2d:79 0 EOF";
	assert_int_equal(nh_atecc_flock_holder(nh_slice_str(text), 0, 0x2d, 77), 700);
	assert_int_equal(nh_atecc_flock_holder(nh_slice_str(text), 0, 0x2d, 78), 600);
	assert_int_equal(nh_atecc_flock_holder(nh_slice_str(text), 0, 0x2d, 79), 0);
	assert_int_equal(nh_atecc_flock_holder(nh_slice_str(text), 0, 0x2d, 7), 0);
	assert_int_equal(nh_atecc_flock_holder(NH_SLICE_EMPTY, 0, 0x2d, 77), 0);
}

/* Another process holds the bus: waiting has an end, and the message names that process. */
static void holder_is_named(void **state)
{
	struct chip_bus bus;
	struct nh_atecc_transport t, other;
	struct nh_err err = NH_ERR_INIT;
	int ready[2], done[2], status;
	char byte;
	adapter_init(&bus);
	assert_ok(open_node(&t, &err), err);
	assert_int_equal(pipe(ready) | pipe(done), 0);
	pid_t child = fork();
	if (child == 0) {
		NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
		other = (struct nh_atecc_transport){.address = 0x60};
		bool held = nh_atecc_i2c_open(in_dir(&path, "i2c-7"), &other, &err) == NH_OK && other.ops->lock(other.ctx, 1000, &err) == NH_OK;
		_exit(held && write(ready[1], "r", 1) == 1 && read(done[0], &byte, 1) == 1 ? 0 : 1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(t.ops->lock(t.ctx, 30, &err), NH_ETIMEOUT);
	NH_AUTO_BUF struct nh_buf name = NH_BUF_INIT;
	nh_buf_printf(&name, "process %d (test_atecc", (int)child);
	if (!strstr(err.msg, nh_buf_cstr(&name)))
		fail_msg("%s", err.msg);
	assert_int_equal(write(done[1], "d", 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_ok(t.ops->lock(t.ctx, 1000, &err), err); /* a process that ends gives the bus back */
	t.ops->unlock(t.ctx);
	nh_atecc_transport_close(&t);
	bus.locked = false;
	chip_bus_fini(&bus);
}

struct shared {
	volatile pid_t owner;
	volatile bool collision, stop;
};

/* Takes the bus, looks whether it is alone for hold_us, gives it back. */
static bool take_turn(struct nh_atecc_transport *t, struct shared *shared, uint32_t hold_us)
{
	struct nh_err err = NH_ERR_INIT;
	if (t->ops->lock(t->ctx, 60000, &err) != NH_OK)
		return false;
	if (shared->owner != 0)
		shared->collision = true;
	shared->owner = getpid();
	t->ops->delay_us(t->ctx, hold_us);
	if (shared->owner != getpid())
		shared->collision = true;
	shared->owner = 0;
	t->ops->unlock(t->ctx);
	return true;
}

/* One process takes the bus again as soon as it has given it back; another one still gets its turns, and never are both inside. */
static void processes_take_turns(void **state)
{
	struct chip_bus bus;
	struct nh_atecc_transport t;
	struct nh_err err = NH_ERR_INIT;
	int ready[2], status;
	char byte;
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	adapter_init(&bus);
	assert_ok(open_node(&t, &err), err);
	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	if (child == 0) {
		NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
		struct nh_atecc_transport mine = {.address = 0x60};
		if (nh_atecc_i2c_open(in_dir(&path, "i2c-7"), &mine, &err) != NH_OK)
			_exit(1);
		bool ok = true, said = false;
		while (ok && !shared->stop) {
			ok = take_turn(&mine, shared, 10000);
			if (!said)
				said = write(ready[1], "r", 1) == 1;
		}
		_exit(ok ? 0 : 2);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	bool ok = true;
	for (unsigned turn = 0; ok && turn < 12; turn++)
		ok = take_turn(&t, shared, 100);
	shared->stop = true;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(ok);
	assert_int_equal(status, 0);
	assert_false(shared->collision);
	nh_atecc_transport_close(&t);
	munmap(shared, sizeof *shared);
	bus.locked = false;
	chip_bus_fini(&bus);
}

/* A forked process has the bus for itself or not at all, though it inherited its parent's transport. */
static void forked_processes_are_others(void **state)
{
	struct chip_bus bus;
	struct nh_atecc_transport t;
	struct nh_err err = NH_ERR_INIT;
	int status;
	adapter_init(&bus);
	assert_ok(open_node(&t, &err), err);
	assert_ok(t.ops->lock(t.ctx, 1000, &err), err);
	pid_t child = fork();
	if (child == 0) {
		t.ops->unlock(t.ctx); /* which is not the child's to give back */
		_exit(t.ops->lock(t.ctx, 20, &err) == NH_ETIMEOUT ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	t.ops->unlock(t.ctx);
	nh_atecc_transport_close(&t);
	bus.locked = false;
	chip_bus_fini(&bus);

	/* On the simulator's socket: a connection of its own. */
	NH_AUTO_BUF struct nh_buf spec = NH_BUF_INIT;
	int listener = listen_at("forked");
	nh_buf_printf(&spec, "sim:%s/forked", dir);
	assert_ok(nh_atecc_transport_open(nh_buf_cstr(&spec), &t, &err), err);
	int first = accept(listener, NULL, NULL);
	child = fork();
	if (child == 0)
		_exit(t.ops->lock(t.ctx, 20, &err) == NH_ETIMEOUT ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	uint8_t asked[8];
	assert_int_equal(recv(first, asked, sizeof asked, MSG_DONTWAIT), -1); /* nothing came this way */
	int second = accept(listener, NULL, NULL);
	assert_int_equal(recv(second, asked, sizeof asked, 0), 4);
	assert_int_equal(asked[0], 'L');
	nh_atecc_transport_close(&t);
	close(first);
	close(second);
	close(listener);
}

/* ---- recordings */

struct seen {
	uint8_t config[128], revision[4];
	nh_rc genkey, random;
};

static void session(struct nh_atecc_transport take_transport, struct seen *seen)
{
	struct nh_atecc *chip;
	struct nh_err err = NH_ERR_INIT;
	uint8_t key[64];
	nh_atecc_new(take_transport, &chip);
	assert_ok(nh_atecc_revision(chip, seen->revision, &err), err);
	assert_ok(nh_atecc_read_config(chip, seen->config, &err), err);
	seen->genkey = nh_atecc_genkey(chip, 0, key, &err);
	seen->random = nh_atecc_random(chip, key, &err);
	nh_atecc_free(chip);
}

static void recorded_and_replayed(void **state)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, text = NH_BUF_INIT, spec = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct stat st;
	in_dir(&path, "recording");
	nh_buf_printf(&spec, "replay:%s", nh_buf_cstr(&path));
	/* Faults are replayed with the rest. */
	for (int fault = -1; fault < NH_CHIP_FAULTS; fault++) {
		struct chip_bus bus;
		struct seen plain = {0}, recorded = {0}, replayed = {0};
		struct nh_atecc_transport t;
		for (unsigned with = 0; with < 2; with++) { /* without the recorder and with it: the same */
			chip_bus_init(&bus, NH_CHIP_608A, NH_CHIP_BLANK, 9);
			if (fault >= 0)
				nh_chip_fault_arm(bus.chip, (nh_chip_fault)fault, 2, 2, 0x11);
			if (fault == NH_CHIP_FAULT_STATUS)
				bus.fail_at = 7, bus.fail_count = 2;
			t = chip_bus_transport(&bus);
			if (with)
				assert_ok(nh_atecc_record_open(nh_buf_cstr(&path), t, &t, &err), err);
			assert_string_equal(t.name, "simulated chip");
			session(t, with ? &recorded : &plain);
			chip_bus_fini(&bus);
		}
		assert_memory_equal(&recorded, &plain, sizeof plain);
		assert_int_equal(stat(nh_buf_cstr(&path), &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
		assert_ok(nh_atecc_transport_open(nh_buf_cstr(&spec), &t, &err), err);
		assert_string_equal(t.name, "recording of simulated chip");
		assert_int_equal(t.address, 0x60);
		session(t, &replayed);
		assert_memory_equal(&replayed, &plain, sizeof plain);
		/* Once more without an end: played as far as it goes. */
		nh_buf_clear(&text);
		assert_ok(nh_file_read(nh_buf_cstr(&path), 1 << 20, &text, &err), err);
		while (text.len && text.ptr[text.len - 1] != 'e')
			nh_buf_truncate(&text, text.len - 1);
		nh_buf_truncate(&text, text.len - 1);
		t = (struct nh_atecc_transport){0};
		assert_ok(nh_atecc_replay_open_text(nh_buf_slice(&text), &t, &err), err);
		session(t, &replayed);
		assert_memory_equal(&replayed, &plain, sizeof plain);
	}
}

/* By name; and a driver that writes other data than was recorded. The message has the command, not the data. */
static void recording_by_name(void **state)
{
	NH_AUTO_BUF struct nh_buf spec = NH_BUF_INIT, path = NH_BUF_INIT;
	struct nh_atecc_transport t;
	struct nh_err err = NH_ERR_INIT;
	pthread_t thread;
	struct server s = {listen_at("recorded"), NH_LIT("\1")};
	nh_buf_printf(&spec, "record:%s/by-name,sim:%s/recorded@0x35", dir, dir);
	assert_int_equal(pthread_create(&thread, NULL, serve_one, &s), 0);
	assert_ok(nh_atecc_transport_open(nh_buf_cstr(&spec), &t, &err), err);
	assert_int_equal(t.address, 0x35);
	assert_ok(t.ops->write(t.ctx, NH_LIT("\x03\x0b\x12\x02\x08\x00secret!!"), &err), err);
	nh_atecc_transport_close(&t);
	pthread_join(thread, NULL);
	close(s.listener);
	nh_buf_clear(&spec);
	nh_buf_printf(&spec, "replay:%s", in_dir(&path, "by-name"));
	assert_ok(nh_atecc_transport_open(nh_buf_cstr(&spec), &t, &err), err);
	assert_int_equal(t.ops->write(t.ctx, NH_LIT("\x03\x0b\x12\x02\x08\x00SECRET!!"), &err), NH_EFORMAT);
	assert_non_null(strstr(err.msg, "030b12020800 has other data"));
	assert_null(strstr(err.msg, "736563"));
	assert_null(strstr(err.msg, "534543"));
	assert_int_equal(t.ops->write(t.ctx, NH_LIT("\x03\x0b\x12\x02\x08\x00secret!!"), &err), NH_EFORMAT); /* parted for good */
	nh_atecc_transport_close(&t);
}

static void recorder_that_cannot_write(void **state)
{
	struct chip_bus bus;
	struct seen plain = {0}, recorded = {0};
	struct nh_atecc_transport t;
	struct nh_err err = NH_ERR_INIT;
	chip_bus_init(&bus, NH_CHIP_508A, NH_CHIP_BLANK, 9);
	session(chip_bus_transport(&bus), &plain);
	assert_ok(nh_atecc_record_open("/dev/full", chip_bus_transport(&bus), &t, &err), err);
	session(t, &recorded);
	assert_memory_equal(&recorded, &plain, sizeof plain);
	assert_int_equal(nh_atecc_record_open("/nonexistent/file", chip_bus_transport(&bus), &t, &err), NH_ENOTFOUND);
	chip_bus_fini(&bus);
}

#define HEAD "nerveskey-recording 1\nchip 0x60 somewhere\n"
#define WAKE "W 0x60 01 nak\nK 0x00 00 nak\nR 0x60 04113343 ok\n"

static void broken_recordings(void **state)
{
	static const struct {
		const char *text;
		nh_rc opens, detects;
	} rows[] = {
		{HEAD WAKE "W 0x60 01 ok\nend 4\n", NH_OK, NH_OK},
		{HEAD WAKE, NH_OK, NH_OK}, /* cut short behind the last answer: sleep is not waited for */
		{HEAD "W 0x60 01 nak\n", NH_OK, NH_EFORMAT},
		{HEAD "end 0\n", NH_OK, NH_EFORMAT},
		{HEAD "K 0x00 00 nak\n", NH_OK, NH_EFORMAT},                                    /* another order */
		{HEAD "W 0x60 02 nak\nK 0x00 00 nak\nR 0x60 04113343 ok\n", NH_OK, NH_EFORMAT}, /* other bytes */
		{HEAD "W 0x60 01 nak\nK 0x00 00 nak\nR 0x60 041133 ok\n", NH_OK, NH_EFORMAT},   /* another length */
		{"", NH_EFORMAT, NH_OK},
		{"nerveskey-recording 2\nchip 0x60 x\n", NH_EFORMAT, NH_OK},
		{"nerveskey-recording 1\n", NH_EFORMAT, NH_OK},
		{"nerveskey-recording 1\nchip 60 x\n", NH_EFORMAT, NH_OK},
		{"nerveskey-recording 1\nchip 0x60\n", NH_EFORMAT, NH_OK},
		{HEAD WAKE "end 3", NH_OK, NH_OK},
		{HEAD WAKE "end 4\n", NH_EFORMAT, NH_OK},
		{HEAD WAKE "end x\n", NH_EFORMAT, NH_OK},
		{HEAD WAKE "end 3\nW 0x60 01 ok\n", NH_EFORMAT, NH_OK},
		{HEAD "X 0x60 01 ok\n", NH_EFORMAT, NH_OK},
		{HEAD "W 0x61 01 ok\n", NH_EFORMAT, NH_OK},
		{HEAD "W 0x60 0 ok\n", NH_EFORMAT, NH_OK},
		{HEAD "W 0x60  ok\n", NH_EFORMAT, NH_OK},
		{HEAD "W 0x60 01 perhaps\n", NH_EFORMAT, NH_OK},
		{HEAD "R 0x60 0 nak\n", NH_EFORMAT, NH_OK},
		{HEAD "R 0x60 257 nak\n", NH_EFORMAT, NH_OK},
		{HEAD "\n", NH_EFORMAT, NH_OK},
		{HEAD "W 0x60 01 nak \n", NH_EFORMAT, NH_OK},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_atecc_transport t = {0};
		struct nh_atecc *chip;
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = nh_atecc_replay_open_text(nh_slice_str(rows[i].text), &t, &err);
		if (rc != rows[i].opens)
			fail_msg("row %zu opens: %s \"%s\"", i, nh_rc_name(rc), err.msg);
		if (rc != NH_OK)
			continue;
		nh_atecc_new(t, &chip);
		rc = nh_atecc_detect(chip, &err);
		if (rc != rows[i].detects)
			fail_msg("row %zu detects: %s \"%s\"", i, nh_rc_name(rc), err.msg);
		nh_atecc_free(chip);
	}
	NH_AUTO_BUF struct nh_buf big = NH_BUF_INIT;
	struct nh_atecc_transport t = {0};
	nh_buf_put_str(&big, HEAD "W 0x60 ");
	nh_buf_fill(&big, '0', 514);
	nh_buf_put_str(&big, " ok\n");
	assert_int_equal(nh_atecc_replay_open_text(nh_buf_slice(&big), &t, NULL), NH_EFORMAT);
}

/* What comes back after the wake pulse: the vectors' two, the second with the CRC of the chip's own rule as well. */
static void answers_to_wake(void **state)
{
	NH_AUTO_JSON json_t *root = vectors();
	const char *woken = json_string_value(json_object_get(root, "wake_response")), *failed = json_string_value(json_object_get(root, "selftest_failed_wake_response"));
	const struct {
		const char *answer;
		nh_rc rc;
		const char *says;
	} rows[] = {{woken, NH_OK, ""}, {failed, NH_EINTERNAL, "self-test"}, {"040740c2", NH_EINTERNAL, "self-test"}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		struct nh_atecc_transport t = {0};
		struct nh_atecc *chip;
		struct nh_err err = NH_ERR_INIT;
		nh_buf_printf(&text, HEAD "W 0x60 01 nak\nK 0x00 00 ok\nR 0x60 %s ok\n", rows[i].answer);
		assert_ok(nh_atecc_replay_open_text(nh_buf_slice(&text), &t, &err), err);
		nh_atecc_new(t, &chip);
		assert_int_equal(nh_atecc_detect(chip, &err), rows[i].rc);
		assert_non_null(strstr(err.msg, rows[i].says));
		nh_atecc_free(chip);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_that_open),	cmocka_unit_test(names_that_do_not), cmocka_unit_test(answers_of_servers),
		cmocka_unit_test(bounds_of_the_bus),	cmocka_unit_test(simulator_started_anew),	cmocka_unit_test(commands_over_i2c), cmocka_unit_test(errors_of_adapters),
		cmocka_unit_test(permission_names_the_group), cmocka_unit_test(hints),	     cmocka_unit_test(lock_tables),
		cmocka_unit_test(holder_is_named),	cmocka_unit_test(processes_take_turns), cmocka_unit_test(forked_processes_are_others), cmocka_unit_test(recorded_and_replayed),
		cmocka_unit_test(recording_by_name), cmocka_unit_test(recorder_that_cannot_write), cmocka_unit_test(broken_recordings), cmocka_unit_test(answers_to_wake),
	};
	return cmocka_run_group_tests(tests, dir_make, dir_remove);
}

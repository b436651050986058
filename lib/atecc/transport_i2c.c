/*
 * Linux I2C. Each transfer is one I2C_RDWR message that carries its address: no I2C_SLAVE, so a kernel driver that has claimed the address does not keep us out. Processes share the bus
 * by flock(2) on the device node, which whoever wants to may take as well; a forked process opens the node again, since the lock of an inherited descriptor is its parent's too.
 * source: reference/nerveskey "2.3", "2.6", "17"; Linux Documentation/i2c/dev-interface, fault-codes
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/encode.h"
#include "base/file.h"
#include "transport_int.h"

#define LOCK_POLL_US 5000u
#define LOCKS_TEXT_MAX ((size_t)1 << 20)
#define CLOCK_MAX_HZ 133000u /* above it, eight zero bits are too short a wake pulse */

struct i2c {
	int fd;
	pid_t owner; /* of fd */
	uint8_t address;
	char path[];
};

/* What an adapter's error number means for its user. NH_EAGAIN: the chip did not acknowledge. source: reference/nerveskey "2.6" */
static const struct {
	int number;
	nh_rc rc;
	const char *text;
} errors[] = {
	{ENXIO, NH_EAGAIN, "not acknowledged"},
	{EREMOTEIO, NH_EAGAIN, "not acknowledged"},
	{ENODEV, NH_EIO, "the bus is gone: was its adapter unplugged?"},
	{ETIMEDOUT, NH_EIO, "the bus hangs: SDA or SCL is held low, or pull-up resistors are missing"},
	{EAGAIN, NH_EIO, "lost arbitration: another master drives the bus"},
	{EBUSY, NH_EIO, "the bus is busy, or a kernel driver has claimed the chip"},
	{EOPNOTSUPP, NH_EUNSUPPORTED, "the adapter speaks SMBus only and cannot carry the chip's transfers"},
	{EACCES, NH_EPERM, "permission denied"},
	{EPERM, NH_EPERM, "permission denied"},
};

static nh_rc fail_errno(struct nh_err *err, int number)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(errors); i++)
		if (errors[i].number == number)
			return NH_FAIL(err, errors[i].rc, "%s (%s)", errors[i].text, strerrorname_np(number));
	return NH_FAIL(err, NH_EIO, "%s", strerrordesc_np(number));
}

static nh_rc transfer(const struct i2c *i2c, struct i2c_msg *message, struct nh_err *err)
{
	struct i2c_rdwr_ioctl_data data = {.msgs = message, .nmsgs = 1};
	int n;
	do
		n = ioctl(i2c->fd, I2C_RDWR, &data);
	while (n < 0 && errno == EINTR);
	return n < 0 ? fail_errno(err, errno) : n == 1 ? NH_OK : NH_FAIL(err, NH_EIO, "the adapter carried out no transfer");
}

static nh_rc i2c_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct i2c *i2c = ctx;
	uint8_t copy[256]; /* the kernel's message is not const */
	if (bytes.len == 0 || bytes.len > sizeof copy)
		return NH_FAIL(err, NH_EINVAL, "a transfer of %zu bytes", bytes.len);
	memmove(copy, bytes.ptr, bytes.len);
	nh_rc rc = transfer(i2c, &(struct i2c_msg){.addr = i2c->address, .len = (uint16_t)bytes.len, .buf = copy}, err);
	explicit_bzero(copy, sizeof copy);
	return rc;
}

static nh_rc i2c_read(void *ctx, uint8_t *out, size_t len, struct nh_err *err)
{
	struct i2c *i2c = ctx;
	if (len == 0 || len > UINT8_MAX)
		return NH_FAIL(err, NH_EINVAL, "a transfer of %zu bytes", len);
	return transfer(i2c, &(struct i2c_msg){.addr = i2c->address, .flags = I2C_M_RD, .len = (uint16_t)len, .buf = out}, err);
}

static nh_rc i2c_wake(void *ctx, struct nh_err *err)
{
	struct i2c *i2c = ctx;
	uint8_t zero = 0;
	/* Address 0 and the write bit are the pulse. Nobody acknowledges, and adapters each say so in their own way; whether it worked shows in the answer. */
	NH_IGNORE(transfer(i2c, &(struct i2c_msg){.addr = 0, .len = 1, .buf = &zero}, NULL));
	return NH_OK;
}

/* ---- sharing the bus */

uint64_t nh_atecc_flock_holder(nh_slice locks, unsigned device_major, unsigned device_minor, uint64_t inode)
{
	NH_AUTO_BUF struct nh_buf file = NH_BUF_INIT;
	nh_slice line;
	nh_buf_printf(&file, "%02x:%02x:%llu", device_major, device_minor, (unsigned long long)inode);
	/* "1: FLOCK  ADVISORY  WRITE 708 00:05:312 0 EOF"; one that waits has "->" behind its number */
	while (locks.len) {
		nh_slice fields[6] = {{0}};
		size_t count = 0;
		nh_slice_cut(locks, '\n', &line, &locks);
		while (line.len && count < NH_ARRAY_LEN(fields)) {
			nh_slice_cut(line, ' ', &fields[count], &line);
			if (fields[count].len)
				count++;
		}
		uint64_t pid;
		if (count == NH_ARRAY_LEN(fields) && nh_slice_eq(fields[1], NH_LIT("FLOCK")) && nh_slice_eq(fields[5], nh_buf_slice(&file)) &&
		    nh_parse_u64(fields[4], 1, INT32_MAX, &pid) == NH_OK)
			return pid;
	}
	return 0;
}

/* "process 708 (i2cdump)", or "another process". */
static void describe_holder(const struct i2c *i2c, struct nh_buf *out)
{
	NH_AUTO_BUF struct nh_buf locks = NH_BUF_INIT, path = NH_BUF_INIT, name = NH_BUF_INIT;
	struct stat st;
	uint64_t pid = 0;
	if (fstat(i2c->fd, &st) == 0 && nh_file_read("/proc/locks", LOCKS_TEXT_MAX, &locks, NULL) == NH_OK)
		pid = nh_atecc_flock_holder(nh_buf_slice(&locks), major(st.st_dev), minor(st.st_dev), st.st_ino);
	if (pid == 0) {
		nh_buf_put_str(out, "another process");
		return;
	}
	nh_buf_printf(&path, "/proc/%llu/comm", (unsigned long long)pid);
	if (nh_file_read(nh_buf_cstr(&path), 64, &name, NULL) == NH_OK)
		nh_buf_printf(out, "process %llu (%.*s)", (unsigned long long)pid, NH_ARG(nh_slice_trim(nh_buf_slice(&name))));
	else
		nh_buf_printf(out, "process %llu", (unsigned long long)pid);
}

/*
 * Who waits looks now and then, so one that takes the bus again right after it gave it back would never let another in. Those who wait therefore hold a read lock on the node's first byte, and who
 * gives the bus back while there is one leaves it alone for longer than they look away. Where the node cannot have such locks, nobody waits, as far as this can tell.
 */
static void waiting(const struct i2c *i2c, bool yes)
{
	struct flock byte = {.l_type = yes ? F_RDLCK : F_UNLCK, .l_whence = SEEK_SET, .l_len = 1};
	fcntl(i2c->fd, F_OFD_SETLK, &byte);
}

static bool somebody_waits(const struct i2c *i2c)
{
	struct flock byte = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	return fcntl(i2c->fd, F_OFD_GETLK, &byte) == 0 && byte.l_type != F_UNLCK;
}

static nh_rc reopen_after_fork(struct i2c *i2c, struct nh_err *err)
{
	if (i2c->owner == getpid())
		return NH_OK;
	int fd = open(i2c->path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return NH_FAIL(err, NH_EIO, "cannot open the bus again after a fork: %s", strerrordesc_np(errno));
	close(i2c->fd);
	i2c->fd = fd;
	i2c->owner = getpid();
	return NH_OK;
}

static nh_rc i2c_lock(void *ctx, uint32_t timeout_ms, struct nh_err *err)
{
	struct i2c *i2c = ctx;
	NH_TRY(reopen_after_fork(i2c, err));
	uint64_t deadline = nh_mono_ms() + timeout_ms;
	nh_rc rc = NH_OK;
	bool waited = false;
	while (rc == NH_OK && flock(i2c->fd, LOCK_EX | LOCK_NB) < 0) {
		int number = errno;
		if (!waited)
			waiting(i2c, waited = true);
		if (number != EWOULDBLOCK && number != EINTR) {
			rc = NH_FAIL(err, NH_EIO, "cannot lock the bus: %s", strerrordesc_np(number));
		} else if (nh_mono_ms() >= deadline) {
			NH_AUTO_BUF struct nh_buf holder = NH_BUF_INIT;
			describe_holder(i2c, &holder);
			rc = NH_FAIL(err, NH_ETIMEOUT, "%s has held the bus for %u ms; end it or wait for it", nh_buf_cstr(&holder), timeout_ms);
		} else {
			nh_atecc_sleep_us(NULL, LOCK_POLL_US); /* flock(2) has no time-out, and signals belong to the program we live in */
		}
	}
	if (waited)
		waiting(i2c, false);
	return rc;
}

static void i2c_unlock(void *ctx)
{
	struct i2c *i2c = ctx;
	if (i2c->owner != getpid())
		return; /* forked inside of the parent's transaction, whose lock it is */
	flock(i2c->fd, LOCK_UN);
	if (somebody_waits(i2c))
		nh_atecc_sleep_us(NULL, 2 * LOCK_POLL_US);
}

/* ---- what may be wrong with the bus */

static bool driver_of(const char *sys, unsigned bus, uint8_t address, char name[static PATH_MAX])
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	nh_buf_printf(&path, "%s/bus/i2c/devices/%u-%04x/driver", sys, bus, address);
	ssize_t n = readlink(nh_buf_cstr(&path), name, PATH_MAX - 1);
	if (n <= 0)
		return false;
	name[n] = 0;
	const char *slash = strrchr(name, '/');
	if (slash)
		memmove(name, slash + 1, strlen(slash + 1) + 1);
	return true;
}

static uint32_t clock_of(const char *sys, unsigned bus)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, value = NH_BUF_INIT;
	nh_buf_printf(&path, "%s/bus/i2c/devices/i2c-%u/of_node/clock-frequency", sys, bus);
	if (nh_file_read(nh_buf_cstr(&path), 64, &value, NULL) != NH_OK)
		return 0;
	struct nh_rd r = nh_rd_of(nh_buf_slice(&value));
	uint32_t hz = nh_rd_u32be(&r);
	return nh_rd_ok(&r) ? hz : 0;
}

void nh_atecc_i2c_hint(const char *sys, unsigned bus, uint8_t address, struct nh_buf *out)
{
	char driver[PATH_MAX];
	uint32_t hz = clock_of(sys, bus);
	if (hz > CLOCK_MAX_HZ)
		nh_buf_printf(out, " The device tree sets this bus to %u Hz.", hz);
	if (driver_of(sys, bus, address, driver))
		nh_buf_printf(out, " The kernel's driver %.32s has this chip: echo %u-%04x >/sys/bus/i2c/drivers/%.32s/unbind", driver, bus, address, driver);
}

static bool bus_number(const char *path, uint64_t *bus)
{
	const char *dash = strrchr(path, '-');
	return dash && nh_parse_u64(nh_slice_str(dash + 1), 0, UINT32_MAX, bus) == NH_OK;
}

static void i2c_hint(void *ctx, struct nh_buf *out)
{
	struct i2c *i2c = ctx;
	uint64_t bus;
	if (bus_number(i2c->path, &bus))
		nh_atecc_i2c_hint("/sys", (unsigned)bus, i2c->address, out);
}

/* ---- open and close */

static void i2c_close(void *ctx)
{
	struct i2c *i2c = ctx;
	close(i2c->fd);
	free(i2c);
}

static const struct nh_atecc_transport_ops i2c_ops = {
	.wake = i2c_wake,
	.write = i2c_write,
	.read = i2c_read,
	.delay_us = nh_atecc_sleep_us,
	.lock = i2c_lock,
	.unlock = i2c_unlock,
	.close = i2c_close,
	.hint = i2c_hint,
};

static nh_rc fail_open(const char *path, int number, struct nh_err *err)
{
	struct stat st;
	struct group entry, *found = NULL;
	char text[4096];
	if (number == ENOENT || number == ENXIO || number == ENODEV)
		return NH_FAIL(err, NH_ENOTFOUND, "%s: no such I2C bus. Enable it (Raspberry Pi: dtparam=i2c_arm=on) and load the module i2c-dev; ls /dev/i2c-* shows what there is", path);
	if (number != EACCES && number != EPERM)
		return NH_FAIL(err, NH_EIO, "%s: %s", path, strerrordesc_np(number));
	if (stat(path, &st) == 0 && getgrgid_r(st.st_gid, &entry, text, sizeof text, &found) == 0 && found)
		return NH_FAIL(err, NH_EPERM, "%s: permission denied; it belongs to group %s: usermod -aG %s USER, then log in again", path, found->gr_name, found->gr_name);
	return NH_FAIL(err, NH_EPERM, "%s: permission denied", path);
}

nh_rc nh_atecc_i2c_open(const char *path, struct nh_atecc_transport *out, struct nh_err *err)
{
	unsigned long functions = 0;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fail_open(path, errno, err);
	nh_rc rc = NH_OK;
	if (ioctl(fd, I2C_FUNCS, &functions) < 0)
		rc = NH_FAIL(err, NH_EUNSUPPORTED, "%s: not an I2C bus (%s)", path, strerrordesc_np(errno));
	else if (!(functions & I2C_FUNC_I2C))
		rc = NH_FAIL(err, NH_EUNSUPPORTED, "%s: this adapter speaks SMBus only; the chip needs plain I2C transfers", path);
	size_t size = strlen(path) + 1;
	struct i2c *i2c = rc == NH_OK ? malloc(sizeof *i2c + size) : NULL;
	if (!i2c) {
		close(fd);
		return rc != NH_OK ? rc : NH_FAIL(err, NH_ENOMEM, "no memory");
	}
	i2c->fd = fd;
	i2c->owner = getpid();
	i2c->address = out->address;
	memmove(i2c->path, path, size);
	out->ops = &i2c_ops;
	out->ctx = i2c;
	return NH_OK;
}

/*
 * The kernel's i2c-dev interface over a simulated bus: limits, results and errno as documented for real adapters; a missing acknowledgement is ENXIO, what the kernel's list of fault codes
 * has for it, and a simulator that went away EIO.
 * source: Linux Documentation/i2c/dev-interface, fault-codes, functionality; include/uapi/linux/i2c.h, i2c-dev.h
 */
#include "preload.h"

#include <errno.h>
#include <limits.h>
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "atecc/bus.h"

/* SMBus goes over plain I2C messages, as the kernel does for adapters without SMBus of their own; what needs a length from the device or a checksum isn't offered. */
#define FUNCTIONS                                                                                                                                     \
	(I2C_FUNC_I2C | I2C_FUNC_SMBUS_QUICK | I2C_FUNC_SMBUS_BYTE | I2C_FUNC_SMBUS_BYTE_DATA | I2C_FUNC_SMBUS_WORD_DATA | I2C_FUNC_SMBUS_PROC_CALL |  \
	 I2C_FUNC_SMBUS_WRITE_BLOCK_DATA | I2C_FUNC_SMBUS_I2C_BLOCK)

static int fail(int error)
{
	errno = error;
	return -1;
}

static int errno_of(nh_rc rc)
{
	return rc == NH_EAGAIN ? ENXIO : rc == NH_EINVAL ? EINVAL : EIO;
}

int preload_probe(const struct preload_bus *bus)
{
	int fd;
	nh_rc rc = nh_atecc_bus_connect(bus->socket, &fd, NULL);
	if (rc != NH_OK)
		return fail(rc == NH_ENOTFOUND ? ENOENT : rc == NH_EPERM ? EACCES : ENXIO);
	close(fd);
	return 0;
}

static nh_rc transfer(int connection, const struct i2c_msg *message)
{
	if (message->flags & I2C_M_RD)
		return nh_atecc_bus_read(connection, (uint8_t)message->addr, message->buf, message->len, NULL);
	return nh_atecc_bus_write(connection, (uint8_t)message->addr, nh_slice_of(message->buf, message->len), NULL);
}

/* One transfer with repeated starts: nobody comes between its messages, and the first one that isn't acknowledged ends it. The end of the connection gives the bus back. */
static int transfer_all(const struct preload_bus *bus, const struct i2c_msg *messages, unsigned count)
{
	int connection, saved = errno;
	nh_rc rc = nh_atecc_bus_connect(bus->socket, &connection, NULL);
	if (rc != NH_OK)
		return fail(EIO);
	if (count > 1)
		rc = nh_atecc_bus_lock(connection, NULL);
	for (unsigned i = 0; i < count && rc == NH_OK; i++)
		rc = transfer(connection, &messages[i]);
	close(connection);
	errno = saved;
	return rc == NH_OK ? (int)count : fail(errno_of(rc));
}

static uint16_t address_of(int fd)
{
	off_t at = lseek(fd, 0, SEEK_CUR);
	return at > 0 && at <= 0x7f ? (uint16_t)at : 0;
}

ssize_t preload_read(const struct preload_bus *bus, int fd, void *out, size_t len)
{
	size_t part = len < NH_ATECC_BUS_TRANSFER_MAX ? len : NH_ATECC_BUS_TRANSFER_MAX;
	struct i2c_msg message = {.addr = address_of(fd), .flags = I2C_M_RD, .len = (uint16_t)part, .buf = out};
	return transfer_all(bus, &message, 1) < 0 ? -1 : (ssize_t)part;
}

ssize_t preload_write(const struct preload_bus *bus, int fd, const void *bytes, size_t len)
{
	uint8_t copy[NH_ATECC_BUS_TRANSFER_MAX]; /* a message's bytes are not const */
	size_t part = len < sizeof copy ? len : sizeof copy;
	if (part)
		memcpy(copy, bytes, part);
	struct i2c_msg message = {.addr = address_of(fd), .len = (uint16_t)part, .buf = copy};
	return transfer_all(bus, &message, 1) < 0 ? -1 : (ssize_t)part;
}

static int set_address(const struct preload_bus *bus, int fd, void *argument)
{
	uintptr_t address = (uintptr_t)argument;
	return address > 0x7f ? fail(EINVAL) : lseek(fd, (off_t)address, SEEK_SET) < 0 ? -1 : 0;
}

static int accept_number(const struct preload_bus *bus, int fd, void *argument)
{
	return (uintptr_t)argument > INT_MAX ? fail(EINVAL) : 0; /* retries and timeouts: a simulated bus needs neither */
}

static int only_zero(const struct preload_bus *bus, int fd, void *argument)
{
	return argument ? fail(EINVAL) : 0; /* neither ten-bit addresses nor SMBus checksums */
}

static int functions(const struct preload_bus *bus, int fd, void *argument)
{
	if (!argument)
		return fail(EFAULT);
	*(unsigned long *)argument = FUNCTIONS;
	return 0;
}

static int combined(const struct preload_bus *bus, int fd, void *argument)
{
	const struct i2c_rdwr_ioctl_data *data = argument;
	if (!data)
		return fail(EFAULT);
	if (!data->msgs || data->nmsgs == 0 || data->nmsgs > I2C_RDWR_IOCTL_MAX_MSGS)
		return fail(EINVAL);
	for (unsigned i = 0; i < data->nmsgs; i++) {
		const struct i2c_msg *m = &data->msgs[i];
		if (m->flags & (I2C_M_NOSTART | I2C_M_RECV_LEN))
			return fail(EOPNOTSUPP);
		if (m->flags & I2C_M_TEN || m->addr > 0x7f || m->len > NH_ATECC_BUS_TRANSFER_MAX)
			return fail(EINVAL);
		if (m->len && !m->buf)
			return fail(EFAULT);
	}
	return transfer_all(bus, data->msgs, data->nmsgs);
}

/* ---- SMBus: each kind of access as a write, a read, or both */

struct smbus_form {
	uint32_t size;
	bool read;
	bool command;      /* the command byte goes out first */
	uint8_t out, in;   /* bytes of data, COUNTED: as many as block[0] says */
	bool count;        /* block[0] itself goes out too */
};
#define COUNTED 0xffu

static const struct smbus_form forms[] = {
	{I2C_SMBUS_QUICK, false, false, 0, 0, false},
	{I2C_SMBUS_QUICK, true, false, 0, 0, false},
	{I2C_SMBUS_BYTE, false, true, 0, 0, false},
	{I2C_SMBUS_BYTE, true, false, 0, 1, false},
	{I2C_SMBUS_BYTE_DATA, false, true, 1, 0, false},
	{I2C_SMBUS_BYTE_DATA, true, true, 0, 1, false},
	{I2C_SMBUS_WORD_DATA, false, true, 2, 0, false},
	{I2C_SMBUS_WORD_DATA, true, true, 0, 2, false},
	{I2C_SMBUS_PROC_CALL, false, true, 2, 2, false},
	{I2C_SMBUS_PROC_CALL, true, true, 2, 2, false},
	{I2C_SMBUS_BLOCK_DATA, false, true, COUNTED, 0, true},
	{I2C_SMBUS_I2C_BLOCK_BROKEN, false, true, COUNTED, 0, false},
	{I2C_SMBUS_I2C_BLOCK_BROKEN, true, true, 0, 32, false},
	{I2C_SMBUS_I2C_BLOCK_DATA, false, true, COUNTED, 0, false},
	{I2C_SMBUS_I2C_BLOCK_DATA, true, true, 0, COUNTED, false},
};

static bool blocks(const struct smbus_form *f)
{
	return f->out == COUNTED || f->in == COUNTED || f->in == I2C_SMBUS_BLOCK_MAX;
}

/* Words travel low byte first. */
static size_t put_out(const struct smbus_form *f, const struct i2c_smbus_ioctl_data *data, uint8_t *out)
{
	size_t n = 0, count = f->out == COUNTED ? data->data->block[0] : f->out;
	if (f->command)
		out[n++] = data->command;
	if (f->count)
		out[n++] = (uint8_t)count;
	if (blocks(f))
		memcpy(out + n, data->data->block + 1, count);
	else if (count)
		out[n] = count == 1 ? data->data->byte : (uint8_t)data->data->word;
	if (!blocks(f) && count == 2)
		out[n + 1] = (uint8_t)(data->data->word >> 8);
	return n + count;
}

static void take_in(const struct smbus_form *f, const uint8_t *in, size_t count, union i2c_smbus_data *data)
{
	if (blocks(f)) {
		data->block[0] = (uint8_t)count;
		memcpy(data->block + 1, in, count);
	} else if (count == 1) {
		data->byte = in[0];
	} else if (count == 2) {
		data->word = (uint16_t)(in[0] | in[1] << 8);
	}
}

static int smbus_do(const struct preload_bus *bus, int fd, const struct smbus_form *f, struct i2c_smbus_ioctl_data *data)
{
	uint8_t out[2 + I2C_SMBUS_BLOCK_MAX], in[I2C_SMBUS_BLOCK_MAX];
	struct i2c_msg messages[2];
	unsigned count = 0;
	uint16_t address = address_of(fd);
	if ((f->out == COUNTED || f->in == COUNTED) && (data->data->block[0] == 0 || data->data->block[0] > I2C_SMBUS_BLOCK_MAX))
		return fail(EINVAL);
	size_t in_len = f->in == COUNTED ? data->data->block[0] : f->in;
	if (f->command || !f->read)
		messages[count++] = (struct i2c_msg){.addr = address, .len = (uint16_t)put_out(f, data, out), .buf = out};
	if (in_len || (f->read && !f->command))
		messages[count++] = (struct i2c_msg){.addr = address, .flags = I2C_M_RD, .len = (uint16_t)in_len, .buf = in};
	if (transfer_all(bus, messages, count) < 0)
		return -1;
	if (in_len)
		take_in(f, in, in_len, data->data);
	return 0;
}

static int smbus(const struct preload_bus *bus, int fd, void *argument)
{
	struct i2c_smbus_ioctl_data *data = argument;
	if (!data)
		return fail(EFAULT);
	for (size_t i = 0; i < NH_ARRAY_LEN(forms); i++) {
		const struct smbus_form *f = &forms[i];
		if (f->size != data->size || f->read != (data->read_write == I2C_SMBUS_READ))
			continue;
		if (!data->data && (f->out || f->in))
			return fail(EINVAL);
		return smbus_do(bus, fd, f, data);
	}
	return fail(data->size > I2C_SMBUS_I2C_BLOCK_DATA ? EINVAL : EOPNOTSUPP);
}

static const struct {
	unsigned long request;
	int (*run)(const struct preload_bus *bus, int fd, void *argument);
} requests[] = {
	{I2C_RETRIES, accept_number}, {I2C_TIMEOUT, accept_number}, {I2C_SLAVE, set_address}, {I2C_SLAVE_FORCE, set_address}, {I2C_TENBIT, only_zero},
	{I2C_FUNCS, functions},	      {I2C_RDWR, combined},	    {I2C_PEC, only_zero},     {I2C_SMBUS, smbus},
};

int preload_ioctl(const struct preload_bus *bus, int fd, unsigned long request, void *argument)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(requests); i++)
		if (requests[i].request == request)
			return requests[i].run(bus, fd, argument);
	return fail(ENOTTY);
}

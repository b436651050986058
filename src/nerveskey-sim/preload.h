/*
 * What the preloaded library's two files share: preload.c stands in front of the C library and decides whose call it is, preload_i2c.c answers as the kernel's i2c-dev would.
 *
 * Nothing is remembered in the process. An open bus is a descriptor of the simulator's file SOCKET.bus: which bus it is the inode says, and the address chosen by I2C_SLAVE is kept
 * as the file's offset, which the kernel shares between duplicates, forked and executed processes exactly as it shares the address of a real one; flock(2) and close(2) need no help
 * at all. Each call is a connection of its own. So there are no tables to keep right, no locks for fork(2) to break and no hidden descriptors to lose.
 *
 * thread: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct preload_bus {
	unsigned number;       /* N of /dev/i2c-N */
	const char *socket;    /* of nerveskey-sim */
};

/* As ioctl(2), read(2) and write(2) on an i2c-dev device: -1 and errno, or what the kernel returns. fd holds the address. */
int preload_ioctl(const struct preload_bus *bus, int fd, unsigned long request, void *argument);
ssize_t preload_read(const struct preload_bus *bus, int fd, void *out, size_t len);
ssize_t preload_write(const struct preload_bus *bus, int fd, const void *bytes, size_t len);
/* Does somebody listen? 0, or -1 and errno: ENOENT no simulator, ENXIO not any more, EACCES. */
int preload_probe(const struct preload_bus *bus);

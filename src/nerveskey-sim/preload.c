/*
 * Stands in front of the C library's calls on files, so that a program that knows nothing of the simulator finds chips at /dev/i2c-N. NERVESKEY_SIM says which buses are simulated
 * ("1=/run/sim.sock,2=/run/other.sock"); everything else goes on to the C library unseen. Silent, without memory of its own; see preload.h.
 */
#include "preload.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define BUSES_MAX 8u
#define I2C_MAJOR 89u
#define SUFFIX ".bus"
/* Which requests could be i2c-dev's; others don't even cost a look at the descriptor. */
#define I2C_REQUEST(request) (((request) & ~0xfful) == 0x0700)

struct seat {
	struct preload_bus bus;
	char socket[sizeof((struct sockaddr_un *)0)->sun_path];
	char file[sizeof((struct sockaddr_un *)0)->sun_path + sizeof SUFFIX];
	_Atomic uint64_t dev, ino; /* of the file, once known */
};

static struct seat seats[BUSES_MAX];
static size_t seat_count;
static atomic_bool opened; /* this process, or the one it was forked from, has had a bus open */

/* The next one in line, which is the C library's or another preloaded library's. */
#define REAL(name) ((__typeof__(&name))next_of((_Atomic(void *) *)&(static_##name), #name))
#define NEXT(name) static _Atomic(void *) static_##name
static void *next_of(_Atomic(void *) *slot, const char *name)
{
	void *f = atomic_load_explicit(slot, memory_order_relaxed);
	if (!f) {
		f = dlsym(RTLD_NEXT, name);
		atomic_store_explicit(slot, f, memory_order_relaxed);
	}
	return f;
}

/* ---- which buses there are */

static bool number_of(const char **text, unsigned *out)
{
	const char *p = *text;
	unsigned n = 0;
	while (*p >= '0' && *p <= '9' && n < 100000)
		n = n * 10 + (unsigned)(*p++ - '0');
	if (p == *text)
		return false;
	*text = p;
	*out = n;
	return true;
}

static void learn_inode(struct seat *s, const struct stat *st)
{
	atomic_store(&s->dev, (uint64_t)st->st_dev);
	atomic_store(&s->ino, (uint64_t)st->st_ino);
}

NEXT(stat);

__attribute__((constructor)) static void read_environment(void)
{
	const char *p = getenv("NERVESKEY_SIM");
	struct stat st;
	while (p && *p && seat_count < BUSES_MAX) {
		struct seat *s = &seats[seat_count];
		size_t len;
		if (!number_of(&p, &s->bus.number) || *p++ != '=')
			return;
		len = strcspn(p, ",");
		if (len == 0 || len >= sizeof s->socket)
			return;
		memcpy(s->socket, p, len);
		memcpy(s->file, p, len);
		memcpy(s->file + len, SUFFIX, sizeof SUFFIX);
		s->bus.socket = s->socket;
		if (REAL(stat)(s->file, &st) == 0)
			learn_inode(s, &st); /* a descriptor may have been inherited */
		seat_count++;
		p += len + (p[len] == ',');
	}
}

static struct seat *seat_of_path(const char *path)
{
	static const char prefix[] = "/dev/i2c-";
	unsigned number;
	if (!path || seat_count == 0 || strncmp(path, prefix, sizeof prefix - 1) != 0)
		return NULL;
	path += sizeof prefix - 1;
	if (!number_of(&path, &number) || *path)
		return NULL;
	for (size_t i = 0; i < seat_count; i++)
		if (seats[i].bus.number == number)
			return &seats[i];
	return NULL;
}

NEXT(fstat);

/* The simulator makes its file with a mode that no other file has by accident, since an inode's number may be given away again. */
static struct seat *seat_of_fd(int fd)
{
	struct stat st;
	if (seat_count == 0 || fd < 0)
		return NULL;
	int saved = errno;
	int rc = REAL(fstat)(fd, &st);
	errno = saved;
	if (rc != 0 || !S_ISREG(st.st_mode) || (st.st_mode & 07777) != (S_ISVTX | 0600))
		return NULL;
	for (size_t i = 0; i < seat_count; i++)
		if (atomic_load(&seats[i].dev) == (uint64_t)st.st_dev && atomic_load(&seats[i].ino) == (uint64_t)st.st_ino)
			return &seats[i];
	return NULL;
}

/* ---- open */

NEXT(open);

static int open_bus(struct seat *s, int flags)
{
	struct stat st;
	if (preload_probe(&s->bus) != 0)
		return -1;
	int fd = REAL(open)(s->file, flags & (O_ACCMODE | O_CLOEXEC | O_NONBLOCK));
	if (fd >= 0 && REAL(fstat)(fd, &st) == 0) {
		learn_inode(s, &st);
		atomic_store(&opened, true);
	}
	return fd;
}

static mode_t mode_of(int flags, va_list ap)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

#define OPEN(name)                                                                          \
	EXPORT int name(const char *path, int flags, ...)                                   \
	{                                                                                   \
		va_list ap;                                                                 \
		va_start(ap, flags);                                                        \
		mode_t mode = mode_of(flags, ap);                                           \
		va_end(ap);                                                                 \
		struct seat *s = seat_of_path(path);                                        \
		return s ? open_bus(s, flags) : REAL(name)(path, flags, mode);              \
	}
#define OPENAT(name)                                                                        \
	EXPORT int name(int dir, const char *path, int flags, ...)                          \
	{                                                                                   \
		va_list ap;                                                                 \
		va_start(ap, flags);                                                        \
		mode_t mode = mode_of(flags, ap);                                           \
		va_end(ap);                                                                 \
		struct seat *s = seat_of_path(path);                                        \
		return s ? open_bus(s, flags) : REAL(name)(dir, path, flags, mode);         \
	}
OPEN(open)
NEXT(open64);
OPEN(open64)
NEXT(openat);
OPENAT(openat)
NEXT(openat64);
OPENAT(openat64)

/* What the compiler's fortified headers make of open without a mode, and of read. */
#define OPEN_2(name)                                                                        \
	int name(const char *path, int flags);                                              \
	NEXT(name);                                                                         \
	EXPORT int name(const char *path, int flags)                                        \
	{                                                                                   \
		struct seat *s = seat_of_path(path);                                        \
		return s ? open_bus(s, flags) : REAL(name)(path, flags);                    \
	}
#define OPENAT_2(name)                                                                      \
	int name(int dir, const char *path, int flags);                                     \
	NEXT(name);                                                                         \
	EXPORT int name(int dir, const char *path, int flags)                               \
	{                                                                                   \
		struct seat *s = seat_of_path(path);                                        \
		return s ? open_bus(s, flags) : REAL(name)(dir, path, flags);               \
	}
OPEN_2(__open_2)
OPEN_2(__open64_2)
OPENAT_2(__openat_2)
OPENAT_2(__openat64_2)

/* ---- read, write, ioctl */

NEXT(read);
EXPORT ssize_t read(int fd, void *out, size_t len)
{
	struct seat *s = atomic_load_explicit(&opened, memory_order_relaxed) ? seat_of_fd(fd) : NULL;
	return s ? preload_read(&s->bus, fd, out, len) : REAL(read)(fd, out, len);
}

ssize_t __read_chk(int fd, void *out, size_t len, size_t room);
NEXT(__read_chk);
EXPORT ssize_t __read_chk(int fd, void *out, size_t len, size_t room)
{
	struct seat *s = len <= room && atomic_load_explicit(&opened, memory_order_relaxed) ? seat_of_fd(fd) : NULL;
	return s ? preload_read(&s->bus, fd, out, len) : REAL(__read_chk)(fd, out, len, room);
}

NEXT(write);
EXPORT ssize_t write(int fd, const void *bytes, size_t len)
{
	struct seat *s = atomic_load_explicit(&opened, memory_order_relaxed) ? seat_of_fd(fd) : NULL;
	return s ? preload_write(&s->bus, fd, bytes, len) : REAL(write)(fd, bytes, len);
}

int ioctl(int fd, unsigned long request, ...); /* its own header has macros for requests that i2c-dev doesn't share */
NEXT(ioctl);
EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	va_start(ap, request);
	void *argument = va_arg(ap, void *);
	va_end(ap);
	struct seat *s = I2C_REQUEST(request) ? seat_of_fd(fd) : NULL;
	if (s)
		atomic_store(&opened, true);
	return s ? preload_ioctl(&s->bus, fd, request, argument) : REAL(ioctl)(fd, request, argument);
}

/* ---- what kind of file it is: the simulator's own file answers for owner and times, a character device it is called here */

static dev_t device_of(const struct seat *s)
{
	return makedev(I2C_MAJOR, s->bus.number);
}

/* Programs do ask with no path at all, to see what the kernel says to it. */
static bool no_path(const char *path)
{
	return !path || !*path;
}

/* Each call, once for a path and once for a descriptor, in the two layouts that the C library has. */
#define DISGUISE(st, s) ((st)->st_mode = S_IFCHR | 0600, (st)->st_rdev = device_of(s), (st)->st_size = 0, (st)->st_blocks = 0)
#define STAT(name, layout)                                                                  \
	EXPORT int name(const char *path, struct layout *st)                                \
	{                                                                                   \
		struct seat *s = seat_of_path(path);                                        \
		int rc = REAL(name)(s ? s->file : path, st);                                \
		if (s && rc == 0)                                                           \
			DISGUISE(st, s);                                                    \
		return rc;                                                                  \
	}
#define FSTAT(name, layout)                                                                 \
	EXPORT int name(int fd, struct layout *st)                                          \
	{                                                                                   \
		struct seat *s = seat_of_fd(fd);                                            \
		int rc = REAL(name)(fd, st);                                                \
		if (s && rc == 0)                                                           \
			DISGUISE(st, s);                                                    \
		return rc;                                                                  \
	}
#define FSTATAT(name, layout)                                                               \
	EXPORT int name(int dir, const char *restrict path, struct layout *restrict st, int flags) \
	{                                                                                   \
		struct seat *s = no_path(path) && flags & AT_EMPTY_PATH ? seat_of_fd(dir) : seat_of_path(path); \
		int rc = REAL(name)(dir, s && !no_path(path) ? s->file : path, st, flags);           \
		if (s && rc == 0)                                                           \
			DISGUISE(st, s);                                                    \
		return rc;                                                                  \
	}
STAT(stat, stat)
NEXT(stat64);
STAT(stat64, stat64)
NEXT(lstat);
STAT(lstat, stat)
NEXT(lstat64);
STAT(lstat64, stat64)
FSTAT(fstat, stat)
NEXT(fstat64);
FSTAT(fstat64, stat64)
NEXT(fstatat);
FSTATAT(fstatat, stat)
NEXT(fstatat64);
FSTATAT(fstatat64, stat64)

NEXT(statx);
EXPORT int statx(int dir, const char *restrict path, int flags, unsigned mask, struct statx *restrict st)
{
	struct seat *s = no_path(path) && flags & AT_EMPTY_PATH ? seat_of_fd(dir) : seat_of_path(path);
	int rc = REAL(statx)(dir, s && !no_path(path) ? s->file : path, flags, mask, st);
	if (s && rc == 0) {
		st->stx_mode = S_IFCHR | 0600;
		st->stx_rdev_major = I2C_MAJOR;
		st->stx_rdev_minor = s->bus.number;
		st->stx_size = st->stx_blocks = 0;
	}
	return rc;
}

#define ACCESS(name)                                                                        \
	EXPORT int name(const char *path, int how)                                          \
	{                                                                                   \
		struct seat *s = seat_of_path(path);                                        \
		return REAL(name)(s ? s->file : path, how);                                 \
	}
NEXT(access);
ACCESS(access)
NEXT(euidaccess);
ACCESS(euidaccess)

NEXT(faccessat);
EXPORT int faccessat(int dir, const char *path, int how, int flags)
{
	struct seat *s = seat_of_path(path);
	return REAL(faccessat)(dir, s ? s->file : path, how, flags);
}

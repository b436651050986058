/*
 * Put in front of the C library by test_nh_fwup_preload.py: a medium that stores a wrong bit, block devices and a /sys that aren't there, a UBI volume.
 * It sees what nh-fwup does only as far as that uses the C library's own calls by these names, which other people's fault injectors count on too.
 *
 *   FLIP_FILE   end of a path; FLIP_AT   byte of that file whose lowest bit is stored wrong
 *   FAKE_SYS    folder in place of /sys
 *   FAKE_STAT   "PATH=MAJOR:MINOR;…": block devices below /dev, elsewhere the file system that holds PATH
 *   FAKE_UBI    end of the path of a UBI volume; UBI_LOG   file that is told of updates
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <mtd/ubi-user.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))
/* The C library's own function of this name, once it is needed. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int flip_fd = -1, ubi_fd = -1;
static long long ubi_declared = -1, ubi_written;

SHOWN int open64(const char *path, int flags, ...);
SHOWN ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t offset);
SHOWN ssize_t write(int fd, const void *bytes, size_t len);
SHOWN int stat64(const char *path, struct stat64 *st);
SHOWN int scandir64(const char *path, struct dirent64 ***entries, int (*filter)(const struct dirent64 *), int (*order)(const struct dirent64 **, const struct dirent64 **));
SHOWN int ioctl(int fd, unsigned long request, ...);
SHOWN int close(int fd);

static bool ends(const char *path, const char *variable)
{
	const char *end = getenv(variable);
	return end && strlen(path) >= strlen(end) && strcmp(path + strlen(path) - strlen(end), end) == 0;
}

static const char *moved(const char *path, char out[4096])
{
	const char *sys = getenv("FAKE_SYS");
	if (!sys || strncmp(path, "/sys/", 5) != 0)
		return path;
	snprintf(out, 4096, "%s/%s", sys, path + 5);
	return out;
}

static void ubi_told(const char *what)
{
	char line[128];
	const char *log = getenv("UBI_LOG");
	int fd = log ? REAL(open64)(log, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
	int n = snprintf(line, sizeof line, "%s %lld %lld\n", what, ubi_declared, ubi_written);
	if (fd < 0 || REAL(write)(fd, line, (size_t)n) != n)
		abort();
	REAL(close)(fd);
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	char other[4096];
	va_start(ap, flags);
	int fd = REAL(open64)(moved(path, other), flags, flags & O_CREAT ? va_arg(ap, mode_t) : 0);
	va_end(ap);
	if (fd >= 0 && ends(path, "FLIP_FILE"))
		flip_fd = fd;
	if (fd >= 0 && ends(path, "FAKE_UBI"))
		ubi_fd = fd;
	return fd;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t offset)
{
	const char *at = getenv("FLIP_AT");
	off64_t flip = at ? strtoll(at, NULL, 0) : -1;
	if (fd == ubi_fd && fd >= 0) {
		errno = EPERM;
		return -1;
	}
	if (fd < 0 || fd != flip_fd || flip < offset || flip >= offset + (off64_t)len)
		return REAL(pwrite64)(fd, bytes, len, offset);
	void *wrong = NULL;
	if (posix_memalign(&wrong, 4096, len) != 0)
		abort();
	memcpy(wrong, bytes, len);
	((uint8_t *)wrong)[flip - offset] ^= 1;
	ssize_t n = REAL(pwrite64)(fd, wrong, len, offset);
	free(wrong);
	return n;
}

int stat64(const char *path, struct stat64 *st)
{
	const char *list = getenv("FAKE_STAT"), *found = list;
	unsigned maj, min;
	char other[4096];
	while (found && !(strncmp(found, path, strlen(path)) == 0 && found[strlen(path)] == '=')) {
		found = strchr(found, ';');
		found = found ? found + 1 : NULL;
	}
	if (!found || sscanf(found + strlen(path) + 1, "%u:%u", &maj, &min) != 2)
		return REAL(stat64)(moved(path, other), st);
	bool device = strncmp(path, "/dev/", 5) == 0;
	*st = (struct stat64){.st_mode = device ? S_IFBLK : S_IFDIR};
	*(device ? &st->st_rdev : &st->st_dev) = makedev(maj, min);
	return 0;
}

int scandir64(const char *path, struct dirent64 ***entries, int (*filter)(const struct dirent64 *), int (*order)(const struct dirent64 **, const struct dirent64 **))
{
	char other[4096];
	return REAL(scandir64)(moved(path, other), entries, filter, order);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	va_start(ap, request);
	void *argument = va_arg(ap, void *);
	va_end(ap);
	if (fd != ubi_fd || fd < 0 || request != UBI_IOCVOLUP)
		return REAL(ioctl)(fd, request, argument);
	memcpy(&ubi_declared, argument, sizeof ubi_declared);
	ubi_written = 0;
	ubi_told("update");
	return 0;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	if (fd == ubi_fd && fd >= 0 && ubi_written + (long long)len > ubi_declared) {
		errno = EPERM;
		return -1;
	}
	ssize_t n = REAL(write)(fd, bytes, len);
	if (fd == ubi_fd && fd >= 0 && n > 0)
		ubi_written += n;
	return n;
}

int close(int fd)
{
	if (fd == flip_fd)
		flip_fd = -1;
	if (fd == ubi_fd && fd >= 0) {
		ubi_fd = -1;
		ubi_told("close");
	}
	return REAL(close)(fd);
}

/*
 * Opening the destination: image files grow and are created, devices have an end and must not be in use.  source: reference/fwup-format "11.3", "15.3"
 */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply_int.h"
#include "base/file.h"

/* Every file system on the device or a partition of it. Collected first: unmounting changes the list that is read. */
static nh_rc unmount_all(const char *path, struct nh_err *err)
{
	struct nh_arena arena = NH_ARENA_INIT;
	const char *dirs[64];
	size_t count = 0;
	FILE *f = setmntent("/proc/mounts", "r");
	for (struct mntent *m; f && count < NH_ARRAY_LEN(dirs) && (m = getmntent(f));)
		if (strncmp(m->mnt_fsname, path, strlen(path)) == 0)
			dirs[count++] = nh_arena_str(&arena, nh_slice_str(m->mnt_dir));
	if (f)
		endmntent(f);
	nh_rc rc = NH_OK;
	while (count > 0 && rc == NH_OK) {
		const char *dir = dirs[--count]; /* the latest first: it may lie inside an earlier one */
		if (umount2(dir, 0) != 0)
			rc = NH_FAIL(err, nh_rc_from_errno(errno), "Could not unmount '%s': %s", dir, strerror(errno));
	}
	nh_arena_fini(&arena);
	return rc;
}

static nh_rc open_failed(const char *path, bool creating, struct nh_err *err)
{
	int number = errno;
	if (creating)
		return NH_FAIL(err, nh_rc_from_errno(number), "Cannot create '%s'.\nCheck the path and permissions: %s", path, strerror(number));
	return NH_FAIL(err, nh_rc_from_errno(number), "Cannot open '%s' for output.\nCheck that it exists, isn't in use and may be written: %s", path,
		       strerror(number));
}

static nh_rc sizes_of(const struct nh_fw_apply_config *config, struct nh_fw_destination *d, struct nh_err *err)
{
	struct stat st;
	if (fstat(d->fd, &st) != 0)
		return NH_FAIL(err, NH_EIO, "Cannot look at the destination: %s", strerror(errno));
	uint64_t limit = config->max_blocks > NH_FW_BLOCKS_MAX ? 0 : config->max_blocks * NH_FW_BLOCK;
	d->is_device = !S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode);
	if (d->is_device) {
		off_t end = lseek(d->fd, 0, SEEK_END);
		if (end <= 0)
			return NH_FAIL(err, NH_EIO, "Cannot tell the size of the destination");
		d->hard_end = (uint64_t)end;
	} else {
		d->soft_end = (uint64_t)st.st_size;
	}
	if (limit && (!d->hard_end || limit < d->hard_end))
		d->hard_end = limit;
	return NH_OK;
}

static nh_rc open_path(const struct nh_fw_apply_config *config, struct nh_fw_destination *d, struct nh_err *err)
{
	struct stat st;
	const char *path = config->path;
	bool exists = stat(path, &st) == 0;
	bool file = exists ? S_ISREG(st.st_mode) : strncmp(path, "/dev/", 5) != 0;
	if (strcmp(path, "/dev/null") == 0) {
		/* For reading too: what lies around a write is asked for, and found to be nothing. */
		d->fd = open(path, O_RDWR | O_CLOEXEC);
		d->forgets = true;
	} else if (file) {
		if (exists && (st.st_mode & 0222) == 0) {
			errno = EACCES; /* root could, but whoever took the permission away meant it */
			return open_failed(path, false, err);
		}
		d->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	} else {
		if (!config->no_unmount)
			NH_TRY(unmount_all(path, err));
		d->fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	}
	d->owned = true;
	return d->fd < 0 ? open_failed(path, !exists, err) : NH_OK;
}

nh_rc nh_fw_destination_open(const struct nh_fw_apply_config *config, struct nh_fw_destination *d, struct nh_err *err)
{
	*d = (struct nh_fw_destination){.fd = config->fd};
	if (config->path)
		NH_TRY(open_path(config, d, err));
	nh_rc rc = sizes_of(config, d, err);
	if (rc != NH_OK)
		NH_IGNORE(nh_fw_destination_close(d, NULL)); /* nothing was written */
	return rc;
}

nh_rc nh_fw_destination_close(struct nh_fw_destination *d, struct nh_err *err)
{
	int fd = d->fd;
	d->fd = -1;
	if (!d->owned || fd < 0 || close(fd) == 0)
		return NH_OK;
	return NH_FAIL(err, NH_EIO, "closing the destination failed: %s", strerror(errno));
}

/*
 * Object store in a directory: an object's key is its path. Uploads are written to `.uploads/`, in the same file system, so that a rename gives
 * the key; file and folders are synced before that is called done. No index, no cache: the directory is the truth.
 *
 * Invariant: what can be opened under a key was written, synced and renamed completely. One process owns the directory, by a
 * lock that ends with it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/file.h"
#include "objects_int.h"

#define UPLOADS ".uploads"
#define DEPTH_MAX 32

struct directory {
	struct nh_objects base;
	int root, uploads; /* descriptors; their numbers stay, what they name may be opened anew (look_again) */
	char *path;
	pthread_mutex_t lock; /* of look_again */
	bool opened;          /* whole: failures are outages from now on */
	atomic_uint_fast64_t next;
};

struct file_upload {
	struct nh_object_upload base;
	int fd;
	char name[24]; /* in .uploads */
};

static struct directory *dir_of(struct nh_objects *o) { return (struct directory *)o; }

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* Another process that opened this store would take our uploads for leftovers. Where the file system knows no locks, people must see to it. */
static bool locked_by_other(int root)
{
	return flock(root, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

static bool same_folder(const struct directory *d)
{
	struct stat held, named;
	return fstat(d->root, &held) == 0 && stat(d->path, &named) == 0 && held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

/*
 * The folder under the store's path is not the one that is open: it was unmounted, mounted, moved or made anew. Opens what is there now in place of
 * the old, so that nobody has to restart the server. False where it cannot: no such folder, or one that was never a store and so must not be taken for one.
 */
static bool look_again(struct directory *d)
{
	pthread_mutex_lock(&d->lock);
	bool good = same_folder(d);
	int root = good ? -1 : open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int uploads = root < 0 ? -1 : openat(root, UPLOADS, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (uploads >= 0 && !locked_by_other(root))
		good = dup3(root, d->root, O_CLOEXEC) >= 0 && dup3(uploads, d->uploads, O_CLOEXEC) >= 0;
	close_fd(uploads);
	close_fd(root);
	pthread_mutex_unlock(&d->lock);
	return good;
}

/*
 * errno → code and one line that names the place and what to do. Once the store is open, everything but a missing object and a full disk is its
 * trouble and not the caller's: NH_EIO.
 */
static nh_rc fail(const struct directory *d, const char *what, const char *key, struct nh_err *err)
{
	int number = errno;
	if (number == ENOSPC || number == EDQUOT || number == EFBIG)
		return NH_FAIL(err, NH_ENOSPC, "the object store %s is full: free some space or move it to a larger disk", d->path);
	nh_rc rc = nh_rc_from_errno(number);
	if (d->opened && rc != NH_ENOTFOUND && rc != NH_ENOMEM)
		rc = NH_EIO;
	return NH_FAIL(err, rc, "object store %s: cannot %s %s: %s", d->path, what, key, strerror(number));
}

static nh_rc gone(const struct directory *d, struct nh_err *err)
{
	return NH_FAIL(err, NH_EIO, "the object store %s is not there: mount it, or put it back", d->path);
}

/* As fail, where nothing that may be missing was asked for. */
static nh_rc fail_store(const struct directory *d, const char *what, const char *key, struct nh_err *err)
{
	nh_rc rc = fail(d, what, key, err);
	return rc == NH_ENOTFOUND && err ? (err->rc = NH_EIO) : rc == NH_ENOTFOUND ? NH_EIO : rc;
}


static void dir_close(struct nh_objects *o)
{
	struct directory *d = dir_of(o);
	close_fd(d->uploads);
	close_fd(d->root);
	pthread_mutex_destroy(&d->lock);
	free(d->path);
	free(d);
}

/* ---- upload ------------------------------------------------------------------------------------------------------------- */

static nh_rc dir_upload(struct nh_objects *o, struct nh_object_upload **out, struct nh_err *err)
{
	struct directory *d = dir_of(o);
	struct file_upload *u = nh_xcalloc(1, sizeof(*u));
	u->base.objects = o;
	snprintf(u->name, sizeof(u->name), "%llu", (unsigned long long)atomic_fetch_add(&d->next, 1));
	bool there = same_folder(d) || look_again(d);
	u->fd = openat(d->uploads, u->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (u->fd < 0 || !there) {
		nh_rc rc = there ? fail_store(d, "create", "an upload", err) : gone(d, err);
		if (u->fd >= 0)
			unlinkat(d->uploads, u->name, 0);
		close_fd(u->fd);
		free(u);
		return rc;
	}
	*out = &u->base;
	return NH_OK;
}

static nh_rc file_write(struct nh_object_upload *upload, nh_slice bytes, struct nh_err *err)
{
	struct file_upload *u = (struct file_upload *)upload;
	while (bytes.len > 0) {
		ssize_t n = write(u->fd, bytes.ptr, bytes.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(dir_of(upload->objects), "write", "an upload", err);
		bytes = nh_slice_skip(bytes, (size_t)n);
	}
	return NH_OK;
}

static nh_rc file_fd(struct nh_object_upload *upload, int *fd, struct nh_err *err)
{
	struct file_upload *u = (struct file_upload *)upload;
	if (lseek(u->fd, 0, SEEK_SET) < 0)
		return fail(dir_of(upload->objects), "read", "an upload", err);
	*fd = u->fd;
	return NH_OK;
}

static void file_abort(struct nh_object_upload *upload)
{
	struct file_upload *u = (struct file_upload *)upload;
	close_fd(u->fd);
	unlinkat(dir_of(upload->objects)->uploads, u->name, 0);
	free(u);
}

/*
 * Opens the folder of key, made where absent, and syncs each folder that got a new entry. *leaf: the name in it. The caller closes *folder.
 * A folder that a concurrent delete left empty is not removed, so that no race can take it away here.
 */
static nh_rc open_folder(const struct directory *d, const char *key, bool make, int *folder, const char **leaf, struct nh_err *err)
{
	int at = dup(d->root);
	if (at < 0)
		return fail(d, "open", key, err);
	for (const char *slash; (slash = strchr(key, '/')) != NULL; key = slash + 1) {
		char name[513];
		snprintf(name, sizeof(name), "%.*s", (int)(slash - key), key);
		bool made = make && mkdirat(at, name, 0700) == 0;
		int next = (made && fsync(at) != 0) ? -1 : openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (next < 0) {
			nh_rc rc = (make ? fail_store : fail)(d, "open", name, err);
			close(at);
			return rc;
		}
		close(at);
		at = next;
	}
	*folder = at;
	*leaf = key;
	return NH_OK;
}

static nh_rc file_commit(struct nh_object_upload *upload, const char *key, struct nh_err *err)
{
	struct file_upload *u = (struct file_upload *)upload;
	struct directory *d = dir_of(upload->objects);
	int folder = -1;
	const char *leaf = NULL;
	nh_rc rc = fsync(u->fd) == 0 ? NH_OK : fail(d, "sync", key, err);
	if (rc == NH_OK)
		rc = open_folder(d, key, true, &folder, &leaf, err);
	if (rc == NH_OK && renameat(d->uploads, u->name, folder, leaf) != 0)
		rc = fail_store(d, "name", key, err);
	if (rc != NH_OK) {
		close_fd(folder);
		file_abort(upload);
		return rc;
	}
	rc = fsync(folder) == 0 ? NH_OK : fail(d, "sync the folder of", key, err);
	close(folder);
	close(u->fd);
	free(u);
	return rc;
}

/* ---- reading and deleting ------------------------------------------------------------------------------------------------- */

static nh_rc dir_open_read(struct nh_objects *o, const char *key, int *fd, uint64_t *size, struct nh_err *err)
{
	struct directory *d = dir_of(o);
	struct stat st;
	int got = openat(d->root, key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	/* Missing, but perhaps only together with the whole store. */
	if (got < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ESTALE) && !same_folder(d)) {
		if (!look_again(d))
			return gone(d, err);
		got = openat(d->root, key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	}
	if (got < 0)
		return fail(d, "open", key, err);
	if (fstat(got, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(got);
		return NH_FAIL(err, NH_ENOTFOUND, "object store %s: %s is not an object", d->path, key);
	}
	*fd = got;
	*size = (uint64_t)st.st_size;
	return NH_OK;
}

static nh_rc dir_delete(struct nh_objects *o, const char *key, struct nh_err *err)
{
	struct directory *d = dir_of(o);
	int folder = -1;
	const char *leaf = NULL;
	struct nh_err inner = NH_ERR_INIT;
	nh_rc rc = open_folder(d, key, false, &folder, &leaf, &inner);
	if (rc == NH_ENOTFOUND)
		return same_folder(d) ? NH_OK : gone(d, err);
	if (rc != NH_OK)
		return NH_FAIL(err, rc, "%s", inner.msg);
	if (unlinkat(folder, leaf, 0) != 0)
		rc = errno == ENOENT ? NH_OK : fail(d, "delete", key, err);
	else if (fsync(folder) != 0)
		rc = fail(d, "sync the folder of", key, err);
	close(folder);
	return rc;
}

/* ---- listing ---------------------------------------------------------------------------------------------------------------- */

struct listing {
	const struct directory *d;
	const char *prefix;
	bool (*each)(void *ctx, const char *key, uint64_t size);
	void *ctx;
	struct nh_buf key;
	bool stopped;
};

static nh_rc list_folder(struct listing *l, int fd, unsigned depth, struct nh_err *err);

static nh_rc list_entry(struct listing *l, int folder, const char *name, unsigned depth, struct nh_err *err)
{
	struct stat st;
	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? NH_OK : fail(l->d, "list", name, err);
	nh_buf_put_str(&l->key, name);
	if (S_ISREG(st.st_mode)) {
		const char *key = nh_buf_cstr(&l->key);
		if (nh_slice_starts(nh_buf_slice(&l->key), nh_slice_str(l->prefix)))
			l->stopped = !l->each(l->ctx, key, (uint64_t)st.st_size);
	} else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
		int next = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (next < 0)
			return errno == ENOENT ? NH_OK : fail(l->d, "list", name, err);
		nh_buf_put_u8(&l->key, '/');
		return list_folder(l, next, depth + 1, err);
	}
	return NH_OK;
}

/* Takes fd. */
static nh_rc list_folder(struct listing *l, int fd, unsigned depth, struct nh_err *err)
{
	DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return fail(l->d, "list", "a folder", err);
	}
	nh_rc rc = NH_OK;
	size_t length = l->key.len;
	for (struct dirent *entry; rc == NH_OK && !l->stopped && (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] != '.')
			rc = list_entry(l, fd, entry->d_name, depth, err);
		nh_buf_truncate(&l->key, length);
	}
	closedir(dir);
	return rc;
}

static nh_rc dir_list(struct nh_objects *o, const char *prefix, bool (*each)(void *ctx, const char *key, uint64_t size), void *ctx, struct nh_err *err)
{
	struct listing l = {.d = dir_of(o), .prefix = prefix ? prefix : "", .each = each, .ctx = ctx};
	int fd = openat(l.d->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	nh_rc rc = fd < 0 ? fail(l.d, "list", "it", err) : list_folder(&l, fd, 0, err);
	nh_buf_fini(&l.key);
	return rc;
}

/* ---- open ------------------------------------------------------------------------------------------------------------------- */

static const struct nh_objects_kind directory_kind = {
	.close = dir_close,
	.upload = dir_upload,
	.upload_write = file_write,
	.upload_fd = file_fd,
	.upload_commit = file_commit,
	.upload_abort = file_abort,
	.open_read = dir_open_read,
	.del = dir_delete,
	.list = dir_list,
};

/* Uploads of an earlier process that ended in their middle. */
static nh_rc sweep_uploads(struct directory *d, struct nh_err *err)
{
	int fd = openat(d->uploads, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		close_fd(fd);
		return fail(d, "list", UPLOADS, err);
	}
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] != '.')
			unlinkat(d->uploads, entry->d_name, 0);
	}
	closedir(dir);
	return NH_OK;
}

nh_rc nh_objects_open_dir(const char *path, struct nh_objects **out, struct nh_err *err)
{
	*out = NULL;
	NH_TRY(nh_dir_make(path, 0700, err));
	struct directory *d = nh_xcalloc(1, sizeof(*d));
	d->base.kind = &directory_kind;
	d->path = nh_xstrdup(nh_slice_str(path));
	d->uploads = -1;
	d->base.reading.event = "objects.read";
	d->base.writing.event = "objects.write";
	pthread_mutex_init(&d->lock, NULL);
	d->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	nh_rc rc = d->root < 0 ? fail(d, "open", "it", err) : NH_OK;
	if (rc == NH_OK && locked_by_other(d->root))
		rc = NH_FAIL(err, NH_ECONFLICT, "another process uses the object store %s: stop it first, or choose another folder", path);
	if (rc == NH_OK && mkdirat(d->root, UPLOADS, 0700) != 0 && errno != EEXIST)
		rc = fail(d, "create", UPLOADS, err);
	if (rc == NH_OK) {
		d->uploads = openat(d->root, UPLOADS, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		rc = d->uploads < 0 ? fail(d, "open", UPLOADS, err) : sweep_uploads(d, err);
	}
	if (rc != NH_OK) {
		dir_close(&d->base);
		return rc;
	}
	d->opened = true;
	*out = &d->base;
	return NH_OK;
}

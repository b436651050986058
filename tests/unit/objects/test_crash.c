/*
 * The process ends at any system call of upload, commit and delete, like a SIGKILL would end it: a child makes the calls and exits before the Nth one that
 * changes the disk (seen through the linker, --wrap); the parent opens the store again and looks. An object is whole or absent, what was answered is true,
 * and nothing temporary stays.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objects/objects.h"
#include "test_base.h"

#define KEY "firmware/1/2/object.fw"
#define SIZE 100000
#define PIECE 40000
#define CUT 77 /* exit status: the call was reached */

static unsigned calls_left; /* 0 = not counting */

static void one_call(void)
{
	if (calls_left && --calls_left == 0)
		_exit(CUT);
}

int __real_openat64(int fd, const char *path, int flags, ...);
int __wrap_openat64(int fd, const char *path, int flags, mode_t mode);
ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_mkdirat(int fd, const char *path, mode_t mode);
int __wrap_mkdirat(int fd, const char *path, mode_t mode);
int __real_renameat(int from, const char *old, int to, const char *new);
int __wrap_renameat(int from, const char *old, int to, const char *new);
int __real_unlinkat(int fd, const char *path, int flags);
int __wrap_unlinkat(int fd, const char *path, int flags);

int __wrap_openat64(int fd, const char *path, int flags, mode_t mode)
{
	if (flags & O_CREAT)
		one_call();
	return __real_openat64(fd, path, flags, mode);
}

/* The last write may also end in its middle. */
ssize_t __wrap_write(int fd, const void *bytes, size_t len)
{
	if (calls_left == 1)
		(void)!__real_write(fd, bytes, len / 2);
	one_call();
	return __real_write(fd, bytes, len);
}

int __wrap_fsync(int fd) { one_call(); return __real_fsync(fd); }
int __wrap_mkdirat(int fd, const char *path, mode_t mode) { one_call(); return __real_mkdirat(fd, path, mode); }
int __wrap_renameat(int from, const char *old, int to, const char *new) { one_call(); return __real_renameat(from, old, to, new); }
int __wrap_unlinkat(int fd, const char *path, int flags) { one_call(); return __real_unlinkat(fd, path, flags); }

static char root[64];
static uint8_t *answered; /* shared with the child: it was told the operation is done */

static void fill(uint8_t *bytes, uint8_t salt)
{
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)(i * 31 + salt);
}

static struct nh_objects *open_store(void)
{
	struct nh_objects *o = NULL;
	struct nh_err err = NH_ERR_INIT;
	if (nh_objects_open_dir(root, &o, &err) != NH_OK)
		fail_msg("%s", err.msg);
	return o;
}

static nh_rc put(struct nh_objects *o, uint8_t salt)
{
	static uint8_t bytes[SIZE];
	struct nh_object_upload *u = NULL;
	fill(bytes, salt);
	nh_rc rc = nh_objects_upload(o, &u, NULL);
	for (size_t at = 0; rc == NH_OK && at < SIZE; at += PIECE)
		rc = nh_object_upload_write(u, nh_slice_of(bytes + at, SIZE - at < PIECE ? SIZE - at : PIECE), NULL);
	if (rc != NH_OK) {
		nh_object_upload_abort(u);
		return rc;
	}
	return nh_object_upload_commit(u, KEY, NULL);
}

/* What lies under the key: 0 nothing, else the salt it was made with; anything but a whole object fails. */
static uint8_t found(struct nh_objects *o)
{
	static uint8_t got[SIZE + 1], wanted[SIZE];
	int fd;
	uint64_t size;
	nh_rc rc = nh_objects_open_read(o, KEY, &fd, &size, NULL);
	if (rc == NH_ENOTFOUND)
		return 0;
	assert_int_equal(rc, NH_OK);
	assert_int_equal(size, SIZE);
	assert_int_equal(read(fd, got, sizeof(got)), SIZE);
	close(fd);
	fill(wanted, got[0]);
	assert_memory_equal(got, wanted, SIZE);
	return got[0];
}

static unsigned files_in(const char *folder)
{
	char path[128];
	unsigned n = 0;
	snprintf(path, sizeof(path), "%s/%s", root, folder);
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

typedef enum operation { PUT_NEW, REPLACE, DELETE, ABORT } operation;

static nh_rc operate(struct nh_objects *o, operation op)
{
	struct nh_object_upload *u = NULL;
	switch (op) {
	case PUT_NEW: return put(o, 1);
	case REPLACE: return put(o, 2);
	case DELETE: return nh_objects_delete(o, KEY, NULL);
	case ABORT: break;
	}
	nh_rc rc = nh_objects_upload(o, &u, NULL);
	if (rc == NH_OK)
		rc = nh_object_upload_write(u, NH_LIT("half"), NULL);
	nh_object_upload_abort(u);
	return rc;
}

/* False: the operation ended before its Nth call. */
static bool cut_at(operation op, unsigned n)
{
	*answered = 0;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct nh_objects *o = NULL;
		if (nh_objects_open_dir(root, &o, NULL) != NH_OK)
			_exit(1);
		calls_left = n;
		if (operate(o, op) != NH_OK)
			_exit(2);
		*answered = 1;
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) != CUT)
		assert_int_equal(WEXITSTATUS(status), 0);
	return WEXITSTATUS(status) == CUT;
}

static void each_call(operation op, bool before, uint8_t old, uint8_t new, unsigned least)
{
	unsigned n = 1;
	for (bool cut = true; cut; n++) {
		char command[160];
		snprintf(command, sizeof(command), "rm -rf '%s'", root);
		assert_int_equal(system(command), 0);
		struct nh_objects *o = open_store();
		if (before)
			assert_int_equal(put(o, 1), NH_OK);
		nh_objects_close(o);

		cut = cut_at(op, n);
		assert_int_equal(*answered, !cut);
		o = open_store();
		uint8_t is = found(o);
		if (*answered ? is != new : is != new && is != old)
			fail_msg("operation %d cut at call %u: %d lies there", (int)op, n, is);
		assert_int_equal(files_in(".uploads"), 0);
		assert_int_equal(files_in("firmware/1/2"), is != 0);
		/* what was cut off can be repeated */
		assert_int_equal(operate(o, op), NH_OK);
		assert_int_equal(found(o), new);
		nh_objects_close(o);
	}
	assert_true(n - 1 >= least); /* else the calls were not seen */
}

static void test_new_object(void **state) { each_call(PUT_NEW, false, 0, 1, 12); }
static void test_replaced_object(void **state) { each_call(REPLACE, true, 1, 2, 7); }
static void test_deleted_object(void **state) { each_call(DELETE, true, 1, 0, 3); }
static void test_aborted_upload(void **state) { each_call(ABORT, true, 1, 1, 4); }

static void test_one_owner(void **state)
{
	struct nh_objects *o = open_store(), *other = NULL;
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(nh_objects_open_dir(root, &other, &err), NH_ECONFLICT);
	assert_non_null(strstr(err.msg, root));
	nh_objects_close(o);
	nh_objects_close(open_store());
}

static int make_root(void **state)
{
	snprintf(root, sizeof(root), "/tmp/nh-objects-crash-XXXXXX");
	answered = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return mkdtemp(root) && answered != MAP_FAILED ? 0 : -1;
}

static int drop_root(void **state)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_object), cmocka_unit_test(test_replaced_object), cmocka_unit_test(test_deleted_object),
		cmocka_unit_test(test_aborted_upload), cmocka_unit_test(test_one_owner),
	};
	return cmocka_run_group_tests(tests, make_root, drop_root);
}

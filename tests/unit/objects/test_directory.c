/*
 * The object store in a directory: keys, uploads, reading, deleting, listing, what is left behind, a full disk.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "objects/objects.h"
#include "test_base.h"

static char root[64];

static int make_root(void **state)
{
	snprintf(root, sizeof(root), "/tmp/nh-objects-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int drop_root(void **state)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

static struct nh_objects *open_store(void)
{
	struct nh_objects *o = NULL;
	struct nh_err err = NH_ERR_INIT;
	if (nh_objects_open_dir(root, &o, &err) != NH_OK)
		fail_msg("%s", err.msg);
	return o;
}

static void put(struct nh_objects *o, const char *key, const char *text)
{
	struct nh_object_upload *u = NULL;
	assert_int_equal(nh_objects_upload(o, &u, NULL), NH_OK);
	assert_int_equal(nh_object_upload_write(u, nh_slice_str(text), NULL), NH_OK);
	assert_int_equal(nh_object_upload_commit(u, key, NULL), NH_OK);
}

static void assert_object(struct nh_objects *o, const char *key, const char *text)
{
	int fd;
	uint64_t size;
	char got[64] = {0};
	assert_int_equal(nh_objects_open_read(o, key, &fd, &size, NULL), NH_OK);
	assert_int_equal(size, strlen(text));
	assert_int_equal(read(fd, got, sizeof(got) - 1), size);
	assert_string_equal(got, text);
	close(fd);
}

static unsigned uploads_left(void)
{
	char path[128];
	unsigned n = 0;
	snprintf(path, sizeof(path), "%s/.uploads", root);
	DIR *d = opendir(path);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void test_keys(void **state)
{
	static const char *const good[] = {"a", "a/b", "firmware/1/0-9_x.fw", "a.b", "a..b", "-"};
	static const char *const bad[] = {"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.hidden", ".uploads/0", "A", "a b", "a\\b", "a\n", "\xc3\xa4", "a:b"};
	for (size_t i = 0; i < NH_ARRAY_LEN(good); i++) {
		if (!nh_objects_key_valid(good[i]))
			fail_msg("'%s' refused", good[i]);
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		if (nh_objects_key_valid(bad[i]))
			fail_msg("'%s' taken", bad[i]);
	}
	char longest[514];
	memset(longest, 'k', sizeof(longest));
	longest[512] = 0;
	assert_true(nh_objects_key_valid(longest));
	longest[512] = 'k';
	longest[513] = 0;
	assert_false(nh_objects_key_valid(longest));

	struct nh_objects *o = open_store();
	struct nh_object_upload *u = NULL;
	struct nh_err err = NH_ERR_INIT;
	int fd;
	uint64_t size;
	assert_int_equal(nh_objects_open_read(o, "../etc/passwd", &fd, &size, &err), NH_EINVAL);
	assert_int_equal(nh_objects_delete(o, "../x", &err), NH_EINVAL);
	assert_int_equal(nh_objects_upload(o, &u, NULL), NH_OK);
	assert_int_equal(nh_object_upload_commit(u, "/x", &err), NH_EINVAL);
	assert_int_equal(uploads_left(), 0);
	nh_objects_close(o);
}

static void test_life(void **state)
{
	struct nh_objects *o = open_store();
	struct nh_err err = NH_ERR_INIT;
	int fd;
	uint64_t size;
	assert_int_equal(nh_objects_open_read(o, "firmware/1/a.fw", &fd, &size, &err), NH_ENOTFOUND);
	put(o, "firmware/1/a.fw", "first");
	assert_object(o, "firmware/1/a.fw", "first");
	assert_int_equal(nh_objects_open_read(o, "firmware/1", &fd, &size, &err), NH_ENOTFOUND); /* a folder is no object */

	/* who reads keeps reading what was there */
	assert_int_equal(nh_objects_open_read(o, "firmware/1/a.fw", &fd, &size, NULL), NH_OK);
	put(o, "firmware/1/a.fw", "second one");
	char got[16] = {0};
	assert_int_equal(read(fd, got, sizeof(got)), 5);
	assert_string_equal(got, "first");
	close(fd);
	assert_object(o, "firmware/1/a.fw", "second one");

	assert_int_equal(nh_objects_delete(o, "firmware/1/a.fw", &err), NH_OK);
	assert_int_equal(nh_objects_delete(o, "firmware/1/a.fw", &err), NH_OK);
	assert_int_equal(nh_objects_delete(o, "nowhere/a.fw", &err), NH_OK);
	assert_int_equal(nh_objects_open_read(o, "firmware/1/a.fw", &fd, &size, &err), NH_ENOTFOUND);
	nh_objects_close(o);
}

static void test_upload(void **state)
{
	struct nh_objects *o = open_store();
	struct nh_object_upload *u = NULL, *second = NULL;
	int fd;
	char got[8] = {0};
	assert_int_equal(nh_objects_upload(o, &u, NULL), NH_OK);
	assert_int_equal(nh_objects_upload(o, &second, NULL), NH_OK);
	assert_int_equal(nh_object_upload_write(u, NH_LIT("ab"), NULL), NH_OK);
	assert_int_equal(nh_object_upload_write(u, NH_LIT("cd"), NULL), NH_OK);
	assert_int_equal(nh_object_upload_fd(u, &fd, NULL), NH_OK);
	assert_int_equal(read(fd, got, sizeof(got)), 4);
	assert_string_equal(got, "abcd");
	assert_int_equal(uploads_left(), 2);
	assert_int_equal(nh_object_upload_commit(u, "x/y", NULL), NH_OK);
	assert_object(o, "x/y", "abcd");
	nh_object_upload_abort(second);
	nh_object_upload_abort(NULL);
	assert_int_equal(uploads_left(), 0);
	/* the name of a folder is taken */
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(nh_objects_upload(o, &u, NULL), NH_OK);
	assert_int_not_equal(nh_object_upload_commit(u, "x", &err), NH_OK);
	assert_non_null(strstr(err.msg, "x"));
	assert_int_equal(uploads_left(), 0);
	nh_objects_close(o);
	nh_objects_close(NULL);
}

/* What a killed process left in the middle is gone after the next start; what it finished is not. */
static void test_left_behind(void **state)
{
	struct nh_objects *o = open_store();
	put(o, "kept", "kept");
	char path[128];
	snprintf(path, sizeof(path), "%s/.uploads/7", root);
	assert_int_equal(nh_file_write_atomic(path, NH_LIT("half"), 0600, NULL), NH_OK);
	nh_objects_close(o);
	o = open_store();
	assert_int_equal(uploads_left(), 0);
	assert_object(o, "kept", "kept");
	nh_objects_close(o);
}

struct seen {
	char text[128];
	unsigned count, stop_at;
};

static bool see(void *ctx, const char *key, uint64_t size)
{
	struct seen *s = ctx;
	size_t used = strlen(s->text);
	snprintf(s->text + used, sizeof(s->text) - used, "%s:%u ", key, (unsigned)size);
	return ++s->count != s->stop_at;
}

static void test_list(void **state)
{
	struct nh_objects *o = open_store();
	put(o, "f/1/a", "1");
	put(o, "f/2/b", "22");
	put(o, "g", "333");
	struct seen all = {0}, some = {0}, one = {.stop_at = 1};
	assert_int_equal(nh_objects_list(o, "", see, &all, NULL), NH_OK);
	assert_int_equal(all.count, 3);
	assert_int_equal(nh_objects_list(o, "f/2", see, &some, NULL), NH_OK);
	assert_string_equal(some.text, "f/2/b:2 ");
	assert_int_equal(nh_objects_list(o, "", see, &one, NULL), NH_OK);
	assert_int_equal(one.count, 1);
	nh_objects_close(o);
}

static void test_disk_full(void **state)
{
	struct nh_objects *o = open_store();
	struct nh_object_upload *u = NULL;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf big = NH_BUF_INIT;
	struct rlimit old, small;
	nh_buf_fill(&big, 'x', 1 << 20);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small = (struct rlimit){64 << 10, old.rlim_max};
	assert_int_equal(nh_objects_upload(o, &u, NULL), NH_OK);
	setrlimit(RLIMIT_FSIZE, &small);
	nh_rc rc = nh_object_upload_write(u, nh_buf_slice(&big), &err);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(rc, NH_ENOSPC);
	assert_non_null(strstr(err.msg, root));
	nh_object_upload_abort(u);
	assert_int_equal(uploads_left(), 0);
	nh_objects_close(o);
}

static void test_refused_folder(void **state)
{
	char path[128];
	struct nh_objects *o = NULL;
	struct nh_err err = NH_ERR_INIT;
	snprintf(path, sizeof(path), "%s/file", root);
	assert_int_equal(nh_file_write_atomic(path, NH_LIT("x"), 0600, NULL), NH_OK);
	assert_int_not_equal(nh_objects_open_dir(path, &o, &err), NH_OK);
	assert_non_null(strstr(err.msg, path));
	assert_null(o);
}

/* The folder is moved away (as an unmount does), an empty one appears in its place, and the real one comes back: an outage, and no answer of "not found". */
static void test_away(void **state)
{
	char elsewhere[128];
	struct nh_objects *o = open_store();
	struct nh_object_upload *u = NULL;
	struct nh_objects_stats stats;
	int fd = -1;
	uint64_t size = 0;
	put(o, "f/kept", "1");
	snprintf(elsewhere, sizeof(elsewhere), "%s.away", root);
	for (unsigned empty = 0; empty < 2; empty++) {
		assert_int_equal(rename(root, elsewhere), 0);
		if (empty)
			assert_int_equal(mkdir(root, 0700), 0);
		assert_int_equal(nh_objects_open_read(o, "f/missing", &fd, &size, NULL), NH_EIO);
		assert_int_equal(nh_objects_upload(o, &u, NULL), NH_EIO);
		assert_int_equal(nh_objects_delete(o, "f/g/missing", NULL), NH_EIO);
		nh_objects_stats(o, &stats);
		assert_false(stats.available);
		if (empty)
			assert_int_equal(rmdir(root), 0);
		assert_int_equal(rename(elsewhere, root), 0);
		assert_int_equal(nh_objects_open_read(o, "f/missing", &fd, &size, NULL), NH_ENOTFOUND);
		assert_int_equal(nh_objects_open_read(o, "f/kept", &fd, &size, NULL), NH_OK);
		close(fd);
		put(o, "f/new", "2");
		nh_objects_stats(o, &stats);
		assert_true(stats.available);
		assert_int_equal(stats.errors, 3 * (empty + 1));
	}
	/* another store, as a restored backup is: taken into use */
	assert_int_equal(rename(root, elsewhere), 0);
	struct nh_objects *other = open_store();
	put(other, "f/restored", "3");
	nh_objects_close(other);
	assert_int_equal(nh_objects_open_read(o, "f/restored", &fd, &size, NULL), NH_OK);
	close(fd);
	put(o, "f/again", "4");
	assert_int_equal(nh_objects_open_read(o, "f/again", &fd, &size, NULL), NH_OK);
	close(fd);
	nh_objects_close(o);
	char command[160];
	snprintf(command, sizeof(command), "rm -rf '%s'", elsewhere);
	assert_int_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_keys, make_root, drop_root), cmocka_unit_test_setup_teardown(test_life, make_root, drop_root),
		cmocka_unit_test_setup_teardown(test_upload, make_root, drop_root), cmocka_unit_test_setup_teardown(test_left_behind, make_root, drop_root),
		cmocka_unit_test_setup_teardown(test_list, make_root, drop_root), cmocka_unit_test_setup_teardown(test_disk_full, make_root, drop_root),
		cmocka_unit_test_setup_teardown(test_refused_folder, make_root, drop_root), cmocka_unit_test_setup_teardown(test_away, make_root, drop_root),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

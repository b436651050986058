/*
 * What every object store does, on each kind there is: a folder always, a bucket where NH_S3_ENDPOINT names a server (NH_S3_BUCKET, NH_S3_KEY_ID, NH_S3_SECRET, NH_S3_REGION beside it; NH_S3_AS_HOST: the bucket in the host's name).
 * tests/integration/test_objects.py gives it a real one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "objects/objects.h"
#include "test_base.h"

#define PART ((size_t)5 << 20)

static char root[64];
static struct nh_objects *store;

static int make_root(void **state)
{
	snprintf(root, sizeof root, "/tmp/nh-contract-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int drop_root(void **state)
{
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", root);
	return system(command);
}

static struct nh_s3_config s3_config(void)
{
	static char spool[80];
	snprintf(spool, sizeof spool, "%s/spool", root);
	return (struct nh_s3_config){.endpoint = getenv("NH_S3_ENDPOINT"), .region = getenv("NH_S3_REGION"), .bucket = getenv("NH_S3_BUCKET"), .key_id = getenv("NH_S3_KEY_ID"),
				     .secret = getenv("NH_S3_SECRET"), .bucket_as_host = getenv("NH_S3_AS_HOST") != NULL, .spool = spool, .part_bytes = PART};
}

static int open_dir(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	char path[80];
	make_root(state);
	snprintf(path, sizeof path, "%s/objects", root);
	return nh_objects_open_dir(path, &store, &err) == NH_OK ? 0 : -1;
}

static int open_s3(void **state)
{
	struct nh_err err = NH_ERR_INIT;
	make_root(state);
	struct nh_s3_config config = s3_config();
	if (nh_objects_open_s3(&config, &store, &err) == NH_OK)
		return 0;
	print_error("%s\n", err.msg);
	return -1;
}

static int close_store(void **state)
{
	nh_objects_close(store);
	store = NULL;
	return drop_root(state);
}

/* Bytes that tell their place, so that a part in the wrong one is seen. */
static void fill(uint8_t *out, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)((i * 2654435761u + seed) >> 13);
}

static void put(const char *key, const uint8_t *bytes, size_t len)
{
	struct nh_object_upload *upload;
	struct nh_err err = NH_ERR_INIT;
	int fd;
	struct stat st;
	assert_int_equal(nh_objects_upload(store, &upload, &err), NH_OK);
	for (size_t at = 0; at < len; at += 300000)
		assert_int_equal(nh_object_upload_write(upload, nh_slice_of(bytes + at, len - at < 300000 ? len - at : 300000), &err), NH_OK);
	assert_int_equal(nh_object_upload_fd(upload, &fd, &err), NH_OK);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, len);
	if (nh_object_upload_commit(upload, key, &err) != NH_OK)
		fail_msg("%s: %s", key, err.msg);
}

static void expect(const char *key, const uint8_t *bytes, size_t len)
{
	struct nh_err err = NH_ERR_INIT;
	uint64_t size;
	int fd;
	if (nh_objects_open_read(store, key, &fd, &size, &err) != NH_OK)
		fail_msg("%s: %s", key, err.msg);
	assert_int_equal(size, len);
	uint8_t *got = calloc(1, len + 1);
	for (size_t at = 0; at < len;) {
		ssize_t n = read(fd, got + at, len - at);
		assert_true(n > 0);
		at += (size_t)n;
	}
	assert_int_equal(read(fd, got, 0), 0);
	assert_memory_equal(got, bytes, len);
	free(got);
	close(fd);
}

static void expect_none(const char *key)
{
	uint64_t size;
	int fd;
	assert_int_equal(nh_objects_open_read(store, key, &fd, &size, NULL), NH_ENOTFOUND);
	assert_int_equal(fd, -1);
}

/* Sizes around the border between one request and several. */
static void test_life(void **state)
{
	static const size_t sizes[] = {0, 1, 65536, PART, PART + 1, 2 * PART + 12345};
	uint8_t *bytes = malloc(3 * PART);
	for (size_t i = 0; i < NH_ARRAY_LEN(sizes); i++) {
		char key[64];
		snprintf(key, sizeof key, "contract/life/%zu-a_b.c.fw", sizes[i]);
		fill(bytes, sizes[i], (unsigned)i);
		expect_none(key);
		put(key, bytes, sizes[i]);
		expect(key, bytes, sizes[i]);
		fill(bytes, 100, 77); /* what is put again replaces it */
		put(key, bytes, 100);
		expect(key, bytes, 100);
		assert_int_equal(nh_objects_delete(store, key, NULL), NH_OK);
		expect_none(key);
		assert_int_equal(nh_objects_delete(store, key, NULL), NH_OK); /* what is gone may be deleted */
	}
	free(bytes);
}

static void test_aborted(void **state)
{
	struct nh_object_upload *upload;
	assert_int_equal(nh_objects_upload(store, &upload, NULL), NH_OK);
	assert_int_equal(nh_object_upload_write(upload, NH_LIT("nobody's"), NULL), NH_OK);
	nh_object_upload_abort(upload);
	assert_int_equal(nh_objects_upload(store, &upload, NULL), NH_OK);
	assert_int_equal(nh_object_upload_commit(upload, "contract/../x", NULL), NH_EINVAL);
	expect_none("contract/aborted");
}

struct seen {
	unsigned count, stop_at;
	uint64_t bytes;
};

static bool see(void *ctx, const char *key, uint64_t size)
{
	struct seen *seen = ctx;
	assert_true(nh_objects_key_valid(key));
	assert_int_equal(strncmp(key, "contract/list/", 14), 0);
	seen->bytes += size;
	return ++seen->count != seen->stop_at;
}

static void test_list(void **state)
{
	char key[64];
	for (unsigned i = 0; i < 12; i++) {
		snprintf(key, sizeof key, "contract/list/%u/%u", i % 3, i);
		put(key, (const uint8_t *)"twelve bytes", i);
	}
	put("contract/other", (const uint8_t *)"x", 1);
	struct seen all = {0}, few = {.stop_at = 5}, none = {0};
	assert_int_equal(nh_objects_list(store, "contract/list/", see, &all, NULL), NH_OK);
	assert_int_equal(all.count, 12);
	assert_int_equal(all.bytes, 66);
	assert_int_equal(nh_objects_list(store, "contract/list/", see, &few, NULL), NH_OK);
	assert_int_equal(few.count, 5);
	assert_int_equal(nh_objects_list(store, "contract/nothing/", see, &none, NULL), NH_OK);
	assert_int_equal(none.count, 0);
	for (unsigned i = 0; i < 12; i++) {
		snprintf(key, sizeof key, "contract/list/%u/%u", i % 3, i);
		assert_int_equal(nh_objects_delete(store, key, NULL), NH_OK);
	}
	assert_int_equal(nh_objects_delete(store, "contract/other", NULL), NH_OK);
}

static void test_url_of_a_folder(void **state)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	assert_int_equal(nh_objects_url(store, "contract/x", 60, &url, NULL), NH_EUNSUPPORTED);
	assert_int_equal(nh_objects_url(store, "../x", 60, &url, NULL), NH_EINVAL);
}

/* Leaves an object and prints where anybody may fetch it: the test around this one does. */
static void test_url_of_a_bucket(void **state)
{
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	put("contract/url-a_b.fw", (const uint8_t *)"0123456789", 10);
	assert_int_equal(nh_objects_url(store, "contract/url-a_b.fw", 600, &url, &err), NH_OK);
	assert_int_equal(nh_objects_url(store, "contract/x", 0, &url, NULL), NH_EINVAL);
	printf("# url %s\n", nh_buf_cstr(&url));
}

/* What is wrong is said when the store is opened, in one line that helps, and without the secret. */
static void test_refused(void **state)
{
	static const struct {
		const char *endpoint, *bucket, *secret;
		nh_rc rc;
		const char *says;
	} rows[] = {
		{NULL, "no-such-bucket", NULL, NH_ENOTFOUND, "create it"},
		{NULL, NULL, "wrong", NH_EAUTH, "check the key"},
		{"ftp://x", NULL, NULL, NH_EINVAL, "no http"},
		{"http://", NULL, NULL, NH_EINVAL, "no host"},
		{"http://127.0.0.1:1/path", NULL, NULL, NH_EINVAL, "more than"},
		{"http://user@127.0.0.1:1", NULL, NULL, NH_EINVAL, "more than"},
		{"http://127.0.0.1:1", NULL, NULL, NH_EIO, "cannot be reached"},
		{NULL, "a/b", NULL, NH_EINVAL, "no name of a bucket"},
		{NULL, "", NULL, NH_EINVAL, "needs its bucket name"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_err err = NH_ERR_INIT;
		struct nh_s3_config config = s3_config();
		struct nh_objects *other;
		config.endpoint = rows[i].endpoint ? rows[i].endpoint : config.endpoint;
		config.bucket = rows[i].bucket ? rows[i].bucket : config.bucket;
		config.secret = rows[i].secret ? rows[i].secret : config.secret;
		nh_rc rc = nh_objects_open_s3(&config, &other, &err);
		if (rc != rows[i].rc || !strstr(err.msg, rows[i].says) || strstr(err.msg, config.secret))
			fail_msg("row %zu: %d %s", i, rc, err.msg);
	}
}

#define ON(open_, test_) {#open_ " " #test_, test_, open_, close_store, NULL}

int main(void)
{
	const struct CMUnitTest folder[] = {ON(open_dir, test_life), ON(open_dir, test_aborted), ON(open_dir, test_list), ON(open_dir, test_url_of_a_folder)};
	const struct CMUnitTest bucket[] = {
		ON(open_s3, test_life), ON(open_s3, test_aborted), ON(open_s3, test_list), ON(open_s3, test_url_of_a_bucket),
		{"test_refused", test_refused, make_root, drop_root, NULL},
	};
	return getenv("NH_S3_ENDPOINT") ? cmocka_run_group_tests(bucket, NULL, NULL) : cmocka_run_group_tests(folder, NULL, NULL);
}

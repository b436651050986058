/*
 * Downloads in files: what may be continued after what, parts that are not what they should be, the end of the process, room, and who else's files are left alone.
 */
#include "test_base.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "cache_int.h"

#define UUID "22222222-2222-2222-2222-222222222222"
#define OTHER "33333333-3333-3333-3333-333333333333"
#define PARTS 3
#define SIZE (2 * PART_BYTES + 12345)

static char dir[64];
static uint8_t file[SIZE];
static char hex[PARTS + 1][65]; /* of the parts, and last of the file */
static nh_slice part_hex[PARTS];

static const char *path(const char *name)
{
	static char text[4][200];
	static unsigned n;
	char *out = text[n++ % 4];
	snprintf(out, 200, "%s/%s", dir, name);
	return out;
}

static bool exists(const char *name) { return access(path(name), F_OK) == 0; }

static struct nh_link_offer offer(bool size, bool sha, size_t parts)
{
	return (struct nh_link_offer){.url = NH_LIT("https://h/f"), .uuid = NH_LIT(UUID), .version = NH_LIT("1.1.0"), .size_bytes = size ? SIZE : 0,
				      .sha256_hex = sha ? nh_slice_str(hex[PARTS]) : NH_SLICE_EMPTY, .parts_sha256_hex = part_hex, .part_count = parts};
}

static struct link_cache *open_cache(const struct nh_link_offer *o, bool parts)
{
	struct link_cache *c;
	struct nh_err err = NH_ERR_INIT;
	if (cache_open(dir, o, parts, &c, &err) != NH_OK)
		fail_msg("%s", err.msg);
	return c;
}

static nh_rc append(struct link_cache *c, uint64_t from, uint64_t to, struct nh_err *err)
{
	for (uint64_t at = from; at < to; at += 100000) {
		nh_rc rc = cache_append(c, nh_slice_of(file + at, (size_t)(to - at < 100000 ? to - at : 100000)), err);
		if (rc != NH_OK)
			return rc;
	}
	return NH_OK;
}

static void assert_sealed(struct link_cache *c)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	if (cache_seal(c, &err) != NH_OK)
		fail_msg("%s", err.msg);
	assert_true(cache_sealed(c) && exists(UUID ".fw") && !exists(UUID ".partial"));
	assert_string_equal(cache_path(c), path(UUID ".fw"));
	assert_int_equal(cache_read(c, 0, SIZE + 10, &bytes, NULL), NH_OK);
	assert_true(nh_slice_eq(nh_buf_slice(&bytes), nh_slice_of(file, SIZE)));
}

static void assert_empty(void)
{
	DIR *d = opendir(dir);
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			fail_msg("%s is still there", e->d_name);
	closedir(d);
}

/* Some bytes, the end of the process, the rest. */
static void continued(void **state)
{
	static const struct {
		bool size, sha;
		size_t parts;
		bool by_parts;
		const char *etag;
		uint64_t first, there; /* bytes before the restart, and found after it */
	} rows[] = {
		{true, true, PARTS, true, "", 1500000, 1500000},
		{true, true, PARTS, false, "", 1500000, 1500000},
		{true, true, PARTS, true, "", PART_BYTES, PART_BYTES},
		{true, true, PARTS, true, "", SIZE, SIZE},
		{true, true, 0, true, "", 1500000, 1500000},          /* no checksums of parts: the whole file has one */
		{true, true, PARTS - 1, true, "", 1500000, 1500000},  /* not as many as the size asks for */
		{true, false, PARTS, true, "", 1500000, 0},           /* nothing says that it will be the same file */
		{false, true, 0, false, "", 1500000, 1500000},
		{false, false, 0, false, "\"tag\"", 1500000, 1500000},
		{false, false, 0, false, "", 1500000, 0},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_link_offer o = offer(rows[i].size, rows[i].sha, rows[i].parts);
		struct link_cache *c = open_cache(&o, rows[i].by_parts);
		assert_int_equal(cache_size(c), 0);
		assert_int_equal(cache_expect(c, nh_slice_str(rows[i].etag), SIZE, NULL), NH_OK);
		assert_int_equal(append(c, 0, rows[i].first, NULL), NH_OK);
		cache_close(c, CACHE_KEEP);
		c = open_cache(&o, rows[i].by_parts);
		if (cache_size(c) != rows[i].there || !nh_slice_eq_str(cache_etag(c), rows[i].there ? rows[i].etag : ""))
			fail_msg("row %zu: %llu bytes", i, (unsigned long long)cache_size(c));
		assert_int_equal(append(c, cache_size(c), SIZE, NULL), NH_OK);
		assert_sealed(c);
		cache_close(c, CACHE_KEEP);
		if (rows[i].sha) {
			c = open_cache(&o, rows[i].by_parts);
			assert_true(cache_sealed(c));
			assert_sealed(c);
			cache_close(c, CACHE_DROP);
		} else {
			cache_forget(dir, NH_LIT(UUID));
		}
		assert_empty();
	}
}

/* A part of the file is not what it should be, once, twice, always. */
static void bad_parts(void **state)
{
	static const struct {
		bool by_parts;
		unsigned bad;
		uint64_t back; /* where the download has to go on after a bad one */
	} rows[] = {{true, 1, PART_BYTES}, {true, 2, PART_BYTES}, {true, 3, PART_BYTES}, {false, 2, 0}, {false, 3, 0}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_link_offer o = offer(true, true, PARTS);
		struct link_cache *c = open_cache(&o, rows[i].by_parts);
		struct nh_err err = NH_ERR_INIT;
		for (unsigned n = 1; n <= rows[i].bad; n++) {
			file[PART_BYTES + 5] ^= 1;
			nh_rc rc = append(c, cache_size(c), SIZE, &err);
			if (rc == NH_OK)
				rc = cache_seal(c, &err);
			file[PART_BYTES + 5] ^= 1;
			if (rc != (n < PART_TRIES ? NH_ECONFLICT : NH_EFORMAT) || cache_size(c) != rows[i].back)
				fail_msg("row %zu, attempt %u: %s, goes on at %llu", i, n, nh_rc_name(rc), (unsigned long long)cache_size(c));
			assert_non_null(strstr(err.msg, "does not have the checksum that was announced"));
		}
		if (rows[i].bad < PART_TRIES) {
			assert_int_equal(append(c, cache_size(c), SIZE, NULL), NH_OK);
			assert_sealed(c);
		}
		cache_close(c, CACHE_DROP);
		assert_empty();
	}
	/* More bytes than the file has. */
	struct nh_link_offer o = offer(true, true, PARTS);
	struct link_cache *c = open_cache(&o, true);
	assert_int_equal(append(c, 0, SIZE, NULL), NH_OK);
	assert_int_equal(cache_append(c, NH_LIT("x"), NULL), NH_EFORMAT);
	cache_close(c, CACHE_DROP);
	/* Fewer. */
	c = open_cache(&o, false);
	assert_int_equal(append(c, 0, SIZE - 1, NULL), NH_OK);
	assert_int_equal(cache_seal(c, NULL), NH_EFORMAT);
	/* From the start, where the server sends no ranges. */
	assert_int_equal(cache_rewind(c, NULL), NH_OK);
	assert_int_equal(append(c, 0, SIZE, NULL), NH_OK);
	assert_sealed(c);
	cache_close(c, CACHE_DROP);
}

/* What a power cut may leave: the note is of another boot, and what comes after the last full MiB is anybody's guess. */
static void power_cut(void **state)
{
	static const struct {
		bool by_parts;
		uint64_t written, damaged_at, there;
	} rows[] = {
		{false, 2 * PART_BYTES + 500, 2 * PART_BYTES + 10, 2 * PART_BYTES},
		{true, 2 * PART_BYTES + 500, 2 * PART_BYTES + 10, 2 * PART_BYTES},
		{false, 2 * PART_BYTES, PART_BYTES + 10, PART_BYTES}, /* the flush itself may not have come to its end */
		{true, 2 * PART_BYTES + 500, 10, 0},                  /* against all rules: its checksum says so */
		{true, 2 * PART_BYTES + 500, PART_BYTES + 10, PART_BYTES},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_link_offer o = offer(true, true, PARTS);
		struct link_cache *c = open_cache(&o, rows[i].by_parts);
		assert_int_equal(append(c, 0, rows[i].written, NULL), NH_OK);
		cache_close(c, CACHE_KEEP);
		NH_AUTO_BUF struct nh_buf note = NH_BUF_INIT;
		assert_int_equal(nh_file_read(path(UUID ".offer"), 100000, &note, NULL), NH_OK);
		ptrdiff_t boot = nh_slice_find(nh_buf_slice(&note), NH_LIT("\"boot\":\""));
		assert_true(boot > 0);
		note.ptr[boot + 8] = note.ptr[boot + 8] == '0' ? '1' : '0';
		assert_int_equal(nh_file_write_atomic(path(UUID ".offer"), nh_buf_slice(&note), 0600, NULL), NH_OK);
		int fd = open(path(UUID ".partial"), O_WRONLY);
		assert_int_equal(pwrite(fd, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, (off_t)rows[i].damaged_at), 16);
		close(fd);
		c = open_cache(&o, rows[i].by_parts);
		if (cache_size(c) != rows[i].there)
			fail_msg("row %zu: takes up %llu bytes", i, (unsigned long long)cache_size(c));
		assert_int_equal(append(c, cache_size(c), SIZE, NULL), NH_OK);
		assert_sealed(c);
		cache_close(c, CACHE_DROP);
	}
}

static void restored(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_link_offer o = offer(true, true, PARTS), back;
	assert_int_equal(cache_restore(dir, &arena, &back, NULL), NH_ENOTFOUND);
	assert_int_equal(cache_restore("/no/such/folder", &arena, &back, NULL), NH_ENOTFOUND);
	struct link_cache *c = open_cache(&o, true);
	assert_int_equal(append(c, 0, 1000, NULL), NH_OK);
	cache_close(c, CACHE_KEEP);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(cache_restore(dir, &arena, &back, NULL), NH_OK);
		assert_slice(back.uuid, UUID);
		assert_slice(back.url, "https://h/f");
		assert_int_equal(back.size_bytes, SIZE);
		assert_int_equal(back.part_count, PARTS);
		assert_true(nh_slice_eq(back.parts_sha256_hex[1], part_hex[1]));
	}
	/* One that never comes to its end is left to the server; its bytes stay. */
	assert_int_equal(cache_restore(dir, &arena, &back, NULL), NH_ENOTFOUND);
	assert_int_equal(cache_restore(dir, &arena, &back, NULL), NH_ENOTFOUND);
	c = open_cache(&o, true);
	assert_int_equal(cache_size(c), 1000);
	cache_close(c, CACHE_FORGET);
	assert_int_equal(cache_restore(dir, &arena, &back, NULL), NH_ENOTFOUND);
	c = open_cache(&o, true);
	assert_int_equal(cache_size(c), 1000);
	cache_close(c, CACHE_KEEP);
	assert_int_equal(cache_restore(dir, &arena, &back, NULL), NH_OK);
	/* Notes that are none. */
	static const char *const broken[] = {"", "{", "[]", "{\"open\":true}", "{\"open\":true,\"uuid\":\"" OTHER "\",\"url\":\"x\"}"};
	for (size_t i = 0; i < NH_ARRAY_LEN(broken); i++) {
		assert_int_equal(nh_file_write_atomic(path(UUID ".offer"), nh_slice_str(broken[i]), 0600, NULL), NH_OK);
		assert_int_not_equal(cache_restore(dir, &arena, &back, NULL), NH_OK);
	}
	c = open_cache(&o, true);
	assert_int_equal(cache_size(c), 0); /* bytes of which nobody knows what they are */
	cache_close(c, CACHE_DROP);
	assert_empty();
}

static void folders(void **state)
{
	struct nh_link_offer o = offer(true, true, PARTS);
	struct nh_err err = NH_ERR_INIT;
	struct link_cache *c;
	static const char *const ours[] = {OTHER ".partial", OTHER ".fw", OTHER ".offer", UUID ".offer.abc123"}, *const others[] = {"notes.txt", OTHER ".txt", "x.partial"};
	for (size_t i = 0; i < NH_ARRAY_LEN(ours); i++)
		assert_int_equal(nh_file_write_atomic(path(ours[i]), NH_LIT("x"), 0600, NULL), NH_OK);
	for (size_t i = 0; i < NH_ARRAY_LEN(others); i++)
		assert_int_equal(nh_file_write_atomic(path(others[i]), NH_LIT("x"), 0600, NULL), NH_OK);
	c = open_cache(&o, true);
	for (size_t i = 0; i < NH_ARRAY_LEN(ours); i++)
		assert_false(exists(ours[i]));
	for (size_t i = 0; i < NH_ARRAY_LEN(others); i++) {
		assert_true(exists(others[i]));
		unlink(path(others[i]));
	}
	struct stat st;
	assert_int_equal(stat(path(UUID ".offer"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600); /* the address is a key to the download */
	cache_close(c, CACHE_DROP);

	static const char *const hostile[] = {"", "../../../etc/passwd", "22222222-2222-2222-2222-22222222222/", "22222222-2222-2222-2222-222222222222x"};
	for (size_t i = 0; i < NH_ARRAY_LEN(hostile); i++) {
		o.uuid = nh_slice_str(hostile[i]);
		assert_int_equal(cache_open(dir, &o, true, &c, &err), NH_EINVAL);
		assert_null(c);
	}
	/* More than any disk has. */
	o = offer(true, true, 0);
	o.size_bytes = UINT64_MAX / 2;
	assert_int_equal(cache_open(dir, &o, false, &c, &err), NH_ENOSPC);
	assert_non_null(strstr(err.msg, "no room for the download in "));
	assert_empty();
	o.size_bytes = 0;
	c = open_cache(&o, false);
	assert_int_equal(cache_expect(c, NH_SLICE_EMPTY, UINT64_MAX / 2, &err), NH_ENOSPC);
	cache_close(c, CACHE_DROP);
	/* A file where the folder should be. */
	assert_int_equal(nh_file_write_atomic(path("file"), NH_LIT("x"), 0600, NULL), NH_OK);
	assert_int_not_equal(cache_open(path("file"), &o, false, &c, &err), NH_OK);
	unlink(path("file"));
	assert_empty();
}

static int set_up(void **state)
{
	snprintf(dir, sizeof dir, "/tmp/nh-cache-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < SIZE; i++)
		file[i] = (uint8_t)(i * 31 + i / 997);
	for (size_t i = 0; i <= PARTS; i++) {
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		nh_slice whole = nh_slice_of(file, SIZE);
		nh_digest_put_hex(&text, NH_SHA256, i < PARTS ? nh_slice_sub(whole, (size_t)(i * PART_BYTES), (size_t)PART_BYTES) : whole);
		for (size_t k = 0; k < 64; k++) /* servers write them in upper case */
			hex[i][k] = (char)(text.ptr[k] >= 'a' ? text.ptr[k] - 32 : text.ptr[k]);
		if (i < PARTS)
			part_hex[i] = nh_slice_str(hex[i]);
	}
	return 0;
}

static int tear_down(void **state) { return rmdir(dir); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(continued), cmocka_unit_test(bad_parts), cmocka_unit_test(power_cut), cmocka_unit_test(restored), cmocka_unit_test(folders),
	};
	return cmocka_run_group_tests_name("cache", tests, set_up, tear_down);
}

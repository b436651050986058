/* Error records, slices, UTF-8, buffers, arenas, cursors, maps. */
#include "test_base.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/cursor.h"
#include "base/map.h"

static nh_rc inner(struct nh_err *err) { return NH_FAIL(err, NH_EFORMAT, "line %d is broken", 3); }

static nh_rc outer(struct nh_err *err)
{
	NH_TRY_CTX(inner(err), err, "reading %s", "a.conf");
	return NH_OK;
}

static void errors(void **state)
{
	struct nh_err e = NH_ERR_INIT;
	assert_int_equal(outer(&e), NH_EFORMAT);
	assert_string_equal(e.msg, "reading a.conf: line 3 is broken");
	assert_int_equal(e.rc, NH_EFORMAT);
	assert_int_equal(outer(NULL), NH_EFORMAT);
	assert_string_equal(nh_rc_name(NH_ENOTFOUND), "ENOTFOUND");
	assert_string_equal(nh_rc_name(NH_EINTERNAL), "EINTERNAL");
	assert_string_equal(nh_rc_name((nh_rc)-99), "EUNKNOWN");
	assert_string_equal(nh_rc_name((nh_rc)7), "EUNKNOWN");
	char big[2000];
	memset(big, 'x', sizeof big);
	big[sizeof big - 1] = 0;
	assert_int_equal(NH_FAIL(&e, NH_EIO, "%s", big), NH_EIO);
	assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
}

static void slices(void **state)
{
	nh_slice s = NH_LIT(" \tabc=d=e\r\n"), head, rest;
	assert_slice(nh_slice_trim(s), "abc=d=e");
	assert_true(nh_slice_cut(nh_slice_trim(s), '=', &head, &rest));
	assert_slice(head, "abc");
	assert_slice(rest, "d=e");
	assert_false(nh_slice_cut(NH_LIT("abc"), '=', &head, &rest));
	assert_int_equal(rest.len, 0);
	assert_int_equal(nh_slice_find(s, NH_LIT("d=e")), 6);
	assert_int_equal(nh_slice_find(NH_LIT("ab"), NH_LIT("abc")), -1);
	assert_int_equal(nh_slice_chr(NH_SLICE_EMPTY, 'a'), -1);
	assert_true(nh_slice_ieq(NH_LIT("SHA256"), NH_LIT("sha256")));
	assert_false(nh_slice_ieq(NH_LIT("a"), NH_LIT("ab")));
	assert_true(nh_slice_starts(NH_LIT("abc"), NH_LIT("ab")));
	assert_false(nh_slice_starts(NH_LIT("a"), NH_LIT("ab")));
	assert_true(nh_slice_ends(NH_LIT("abc"), NH_LIT("bc")));
	assert_int_equal(nh_slice_cmp(NH_LIT("a"), NH_LIT("ab")), -1);
	assert_true(nh_slice_cmp(NH_LIT("b"), NH_LIT("ab")) > 0);
	assert_slice(nh_slice_sub(NH_LIT("abc"), 2, 99), "c");
	assert_slice(nh_slice_sub(NH_LIT("abc"), 9, 1), "");
	assert_true(nh_slice_eq_ct(NH_LIT("abc"), NH_LIT("abc")));
	assert_true(nh_slice_eq_ct(NH_SLICE_EMPTY, NH_SLICE_EMPTY));
	static const char *const other[] = {"", "ab", "abd", "xbc", "abcabc"};
	for (size_t i = 0; i < NH_ARRAY_LEN(other); i++) {
		assert_false(nh_slice_eq_ct(NH_LIT("abc"), nh_slice_str(other[i])));
		assert_false(nh_slice_eq_ct(nh_slice_str(other[i]), NH_LIT("abc")));
	}
}

static void utf8(void **state)
{
	static const struct {
		const char *text;
		bool valid;
	} rows[] = {
		{"", true}, {"abc", true}, {"ä€😀", true}, {"\xf4\x8f\xbf\xbf", true}, {"\xed\x9f\xbf", true}, {"\xc0\x80", false},
		{"\xc1\xbf", false}, {"\xe0\x9f\xbf", false}, {"\xed\xa0\x80", false}, {"\xf0\x8f\xbf\xbf", false}, {"\xf4\x90\x80\x80", false},
		{"\xf5\x80\x80\x80", false}, {"\x80", false}, {"\xc3", false}, {"\xe2\x82", false}, {"\xe2\x28\xa1", false}, {"\xff", false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		assert_int_equal(nh_utf8_valid(nh_slice_str(rows[i].text)), rows[i].valid);
}

static void buffers(void **state)
{
	struct nh_buf b = NH_BUF_INIT;
	assert_string_equal(nh_buf_cstr(&b), "");
	for (int i = 0; i < 100; i++)
		nh_buf_printf(&b, "%02d,", i);
	assert_int_equal(b.len, 300);
	assert_int_equal(b.ptr[300], 0);
	nh_buf_consume(&b, 297);
	assert_slice(nh_buf_slice(&b), "99,");
	nh_buf_consume(&b, 99);
	assert_int_equal(b.len, 0);
	nh_buf_put_str(&b, "hello");
	nh_buf_truncate(&b, 4);
	nh_buf_fill(&b, '!', 2);
	struct nh_buf moved = nh_steal_buf(&b);
	assert_slice(nh_buf_slice(&moved), "hell!!");
	assert_null(b.ptr);
	nh_buf_wipe(&moved);
	struct nh_buf small = NH_BUF_MAX(4);
	nh_buf_put_str(&small, "abcd");
	assert_true(nh_buf_ok(&small));
	nh_buf_put_u8(&small, 'e');
	assert_false(nh_buf_ok(&small));
	assert_slice(nh_buf_slice(&small), "abcd");
	struct nh_err e = NH_ERR_INIT;
	assert_int_equal(nh_buf_check(&small, "name", &e), NH_ETOOBIG);
	assert_string_equal(e.msg, "name does not fit in 4 bytes");
	nh_buf_clear(&small);
	assert_true(nh_buf_ok(&small));
	nh_buf_fini(&small);
}

static void arenas(void **state)
{
	NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
	assert_string_equal(nh_arena_printf(&a, "%s-%d", "x", 7), "x-7");
	uint64_t *many = NH_NEW_ARRAY(&a, 100000, uint64_t);
	for (size_t i = 0; i < 100000; i++)
		assert_int_equal(many[i], 0);
	many[99999] = 1;
	assert_slice(nh_arena_copy(&a, NH_LIT("copy")), "copy");
	for (int i = 0; i < 1000; i++)
		assert_int_equal((uintptr_t)nh_arena_alloc(&a, (size_t)i) % _Alignof(max_align_t), 0);
	nh_arena_reset(&a);
	assert_int_equal(a.used_bytes, 0);
	char *again = nh_arena_alloc(&a, 64);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(again[i], 0);
}

static void cursors(void **state)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_wr_u16le(&b, 0x0102);
	nh_wr_u32le(&b, 0x01020304);
	nh_wr_u64le(&b, 0x0102030405060708);
	nh_wr_u16be(&b, 0x0102);
	nh_wr_u32be(&b, 0x01020304);
	nh_wr_u64be(&b, 0x0102030405060708);
	struct nh_rd r = nh_rd_of(nh_buf_slice(&b));
	assert_int_equal(nh_rd_peek(&r), 2);
	assert_int_equal(nh_rd_u16le(&r), 0x0102);
	assert_int_equal(nh_rd_u32le(&r), 0x01020304);
	assert_true(nh_rd_u64le(&r) == 0x0102030405060708);
	assert_int_equal(nh_rd_u16be(&r), 0x0102);
	assert_int_equal(nh_rd_u32be(&r), 0x01020304);
	assert_int_equal(nh_rd_left(&r), 8);
	assert_true(nh_rd_u64be(&r) == 0x0102030405060708);
	assert_true(nh_rd_ok(&r));
	assert_int_equal(nh_rd_u8(&r), 0);
	assert_false(nh_rd_ok(&r));
	struct nh_rd shorter = nh_rd_of(NH_LIT("abc"));
	nh_rd_skip(&shorter, 2);
	assert_int_equal(nh_rd_u16be(&shorter), 0);
	assert_int_equal(nh_rd_left(&shorter), 0);
	assert_int_equal(nh_rd_bytes(&shorter, 1).len, 0); /* sticky */
}

static void maps(void **state)
{
	struct nh_map *m = nh_map_new();
	static char values[2000];
	for (size_t i = 0; i < 2000; i++) {
		char key[16];
		int n = snprintf(key, sizeof key, "k%zu", i);
		assert_null(nh_map_put(m, nh_slice_of(key, (size_t)n), &values[i]));
	}
	assert_int_equal(nh_map_count(m), 2000);
	assert_ptr_equal(nh_map_put(m, NH_LIT("k5"), &values[6]), &values[5]);
	assert_null(nh_map_get(m, NH_LIT("absent")));
	assert_null(nh_map_del(m, NH_LIT("absent")));
	/* delete every second: the rest must still be found over the gaps */
	for (size_t i = 0; i < 2000; i += 2) {
		char key[16];
		int n = snprintf(key, sizeof key, "k%zu", i);
		assert_ptr_equal(nh_map_del(m, nh_slice_of(key, (size_t)n)), &values[i]);
	}
	for (size_t i = 1; i < 2000; i += 2) {
		char key[16];
		int n = snprintf(key, sizeof key, "k%zu", i);
		assert_ptr_equal(nh_map_get(m, nh_slice_of(key, (size_t)n)), &values[i == 5 ? 6 : i]);
	}
	size_t it = 0, seen = 0;
	nh_slice key;
	void *value;
	while (nh_map_next(m, &it, &key, &value))
		seen++;
	assert_int_equal(seen, 1000);
	assert_null(nh_map_put(m, NH_SLICE_EMPTY, &values[0])); /* the empty key is a key */
	assert_ptr_equal(nh_map_get(m, NH_LIT("")), &values[0]);
	nh_map_free(m);
	nh_map_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors),  cmocka_unit_test(slices),  cmocka_unit_test(utf8), cmocka_unit_test(buffers),
		cmocka_unit_test(arenas), cmocka_unit_test(cursors), cmocka_unit_test(maps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

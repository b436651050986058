/* Erlang external terms: the token payload of reference/device-protocol 6.7, every tag, every cut, the caps. */
#include "test_base.h"

#include "base/encode.h"
#include "base/etf.h"

static nh_rc parse_hex(struct nh_arena *a, const char *hex, struct nh_etf **out)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	assert_int_equal(nh_hex_decode(nh_slice_str(hex), &bytes), NH_OK);
	return nh_etf_parse(a, nh_arena_copy(a, nh_buf_slice(&bytes)), out, NULL);
}

static void token_payload(void **state)
{
	NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
	struct nh_etf *t = NULL;
	static const char hex[] = "8368036d0000000b6465766963652d313233346e06000068e5cf8b016200015180";
	assert_int_equal(parse_hex(&a, hex, &t), NH_OK);
	assert_int_equal(t->kind, NH_ETF_TUPLE);
	assert_int_equal(t->count, 3);
	assert_slice(t->items[0].bytes, "device-1234");
	assert_true(t->items[1].number == INT64_C(1700000000000));
	assert_true(t->items[2].number == 86400);
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT, text = NH_BUF_INIT;
	nh_etf_put_version(&b);
	nh_etf_put_tuple(&b, 3);
	nh_etf_put_binary(&b, NH_LIT("device-1234"));
	nh_etf_put_int(&b, INT64_C(1700000000000));
	nh_etf_put_int(&b, 86400);
	nh_hex_put(&text, nh_buf_slice(&b));
	assert_slice(nh_buf_slice(&text), hex);
}

static void integers(void **state)
{
	static const int64_t values[] = {0, 1, 255, 256, -1, INT32_MAX, INT32_MIN, (int64_t)INT32_MAX + 1, (int64_t)INT32_MIN - 1, INT64_MAX, INT64_MIN};
	for (size_t i = 0; i < NH_ARRAY_LEN(values); i++) {
		NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
		struct nh_etf *t = NULL;
		nh_etf_put_version(&b);
		nh_etf_put_int(&b, values[i]);
		assert_int_equal(nh_etf_parse(&a, nh_buf_slice(&b), &t, NULL), NH_OK);
		assert_true(t->kind == NH_ETF_INT && t->number == values[i]);
	}
}

static void maps_and_lists(void **state)
{
	NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	struct nh_etf *t = NULL;
	nh_etf_put_version(&b);
	nh_etf_put_map(&b, 2);
	nh_etf_put_atom(&b, "data");
	nh_etf_put_binary(&b, NH_LIT("d"));
	nh_etf_put_atom(&b, "signed");
	nh_etf_put_int(&b, 5);
	assert_int_equal(nh_etf_parse(&a, nh_buf_slice(&b), &t, NULL), NH_OK);
	assert_int_equal(t->count, 2);
	assert_slice(nh_etf_map_get(t, "data")->bytes, "d");
	assert_true(nh_etf_map_get(t, "signed")->number == 5);
	assert_null(nh_etf_map_get(t, "absent"));
	assert_null(nh_etf_map_get(NULL, "data"));
	assert_null(nh_etf_map_get(nh_etf_map_get(t, "data"), "data"));
	/* list of old atom, utf8 atom, small atom; string; float; large tuple; nil */
	assert_int_equal(parse_hex(&a, "836c00000006640001617600016273016b6b0002070846400c0000000000006900000001616a6a", &t), NH_OK);
	assert_int_equal(t->count, 6);
	assert_slice(t->items[0].bytes, "a");
	assert_slice(t->items[1].bytes, "b");
	assert_slice(t->items[2].bytes, "k");
	assert_int_equal(t->items[3].kind, NH_ETF_LIST);
	assert_true(t->items[3].items[1].number == 8);
	assert_true(t->items[4].real == 3.5);
	assert_true(t->items[5].items[0].number == 0x6a);
}

static void refused(void **state)
{
	static const struct {
		const char *hex;
		nh_rc rc;
	} rows[] = {
		{"", NH_EFORMAT},
		{"83", NH_EFORMAT},
		{"826101", NH_EFORMAT},
		{"83610100", NH_EFORMAT},	  /* bytes behind */
		{"836dffffffff61", NH_EFORMAT},	  /* length lies */
		{"836cffffffff6a", NH_EFORMAT},	  /* count lies */
		{"8374ffffffff6a", NH_EFORMAT},
		{"836e0902000000000000000000", NH_EFORMAT}, /* sign neither 0 nor 1 */
		{"836e0900000000000000000001", NH_EUNSUPPORTED},
		{"836e0800ffffffffffffffff", NH_EUNSUPPORTED},
		{"836c000000016101" "6102", NH_EUNSUPPORTED}, /* improper list */
		{"83500000000a", NH_EUNSUPPORTED},	      /* compressed */
		{"8367", NH_EUNSUPPORTED},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
		struct nh_etf *t = NULL;
		if (parse_hex(&a, rows[i].hex, &t) != rows[i].rc)
			fail_msg("row %zu", i);
		assert_null(t);
	}
	/* every proper prefix of a good term is refused */
	static const char good[] = "837400000001770464617461680261056d00000003616263";
	for (size_t n = 2; n < sizeof good - 1; n += 2) {
		NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
		char cut[sizeof good] = {0};
		struct nh_etf *t = NULL;
		for (size_t i = 0; i < n; i++)
			cut[i] = good[i];
		assert_int_equal(parse_hex(&a, cut, &t), NH_EFORMAT);
	}
}

static void caps(void **state)
{
	for (unsigned depth = 15; depth <= 18; depth++) {
		NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
		struct nh_etf *t = NULL;
		nh_etf_put_version(&b);
		for (unsigned i = 0; i < depth; i++)
			nh_etf_put_tuple(&b, 1);
		nh_etf_put_int(&b, 1);
		assert_int_equal(nh_etf_parse(&a, nh_buf_slice(&b), &t, NULL), depth <= 16 ? NH_OK : NH_ETOOBIG);
	}
	NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	struct nh_etf *t = NULL;
	nh_etf_put_version(&b);
	nh_etf_put_map(&b, 6000);
	for (int i = 0; i < 12000; i++)
		nh_etf_put_int(&b, 1);
	assert_int_equal(nh_etf_parse(&a, nh_buf_slice(&b), &t, NULL), NH_ETOOBIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(token_payload), cmocka_unit_test(integers), cmocka_unit_test(maps_and_lists),
					   cmocka_unit_test(refused), cmocka_unit_test(caps)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

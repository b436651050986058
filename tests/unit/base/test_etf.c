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
		{"836f0000000902000000000000000001", NH_EFORMAT},
		{"836fffffffff0001", NH_EFORMAT},
		{"836c0000000161016c000000016102" "6a", NH_EUNSUPPORTED}, /* a list in two pieces */
		{"836c000000006102", NH_EUNSUPPORTED},			  /* nothing but a tail */
		{"83500000000a", NH_EUNSUPPORTED},			  /* compressed */
		{"834d000000010061", NH_EFORMAT},			  /* bit strings: no bits, nine, no byte */
		{"834d000000010961", NH_EFORMAT},
		{"834d0000000001", NH_EFORMAT},
		{"83467ff0000000000000", NH_EFORMAT}, /* infinity, and no number */
		{"83467ff8000000000000", NH_EFORMAT},
		{"8363312e3530303030303030303030303030303030303030652b30300000000000", NH_OK}, /* 1.5 in digits */
		{"8363312e3530303030303030303030303030303030303030652b30305858000000", NH_EFORMAT},
		{"836300000000000000000000000000000000000000000000000000000000000000", NH_EFORMAT},
		{"837701ff", NH_EFORMAT}, /* atom that is not UTF-8 */
		{"83760001ff", NH_EFORMAT},
		{"8367", NH_EUNSUPPORTED},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
		struct nh_etf *t = NULL;
		if (parse_hex(&a, rows[i].hex, &t) != rows[i].rc)
			fail_msg("row %zu", i);
		assert_true((t != NULL) == (rows[i].rc == NH_OK));
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

/* Everything that is no small integer, text or container: read, and written again to the byte. */
static void odd_terms(void **state)
{
	static const struct {
		const char *hex;
		nh_etf_kind kind;
		int64_t number;
		const char *bytes; /* hex */
	} rows[] = {
		{"836e0900000000000000000001", NH_ETF_BIG, 0, "000000000000000001"},
		{"836e0800ffffffffffffffff", NH_ETF_BIG, 0, "ffffffffffffffff"},
		{"836e08010100000000000080", NH_ETF_BIG, 1, "0100000000000080"},
		{"836e08010000000000000080", NH_ETF_INT, INT64_MIN, ""},
		{"836e0800ffffffffffffff7f", NH_ETF_INT, INT64_MAX, ""},
		{"834d0000000203616263", NH_ETF_BITS, 3, "6162"},
		{"834d0000000108ff", NH_ETF_BITS, 8, "ff"},
		{"837702c3a9", NH_ETF_ATOM, 0, "c3a9"},
		{"83640002" "6f6b", NH_ETF_ATOM, 0, "6f6b"},
		{"836400" "00", NH_ETF_ATOM, 0, ""},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, again = NH_BUF_INIT, text = NH_BUF_INIT;
		struct nh_etf *t = NULL;
		size_t used = 0;
		assert_int_equal(nh_hex_decode(nh_slice_str(rows[i].hex), &bytes), NH_OK);
		assert_int_equal(nh_etf_parse_first(&a, nh_buf_slice(&bytes), &t, &used, NULL), NH_OK);
		assert_int_equal(t->kind, rows[i].kind);
		assert_true(t->number == rows[i].number);
		nh_hex_put(&text, t->bytes);
		assert_slice(nh_buf_slice(&text), rows[i].bytes);
		nh_etf_put(&again, t);
		assert_true(nh_slice_eq(nh_buf_slice(&again), nh_slice_sub(nh_buf_slice(&bytes), 0, used)));
	}
}

/* Forms that come out in another one when written: the same term. */
static void normalised(void **state)
{
	static const struct {
		const char *in, *out; /* hex */
	} rows[] = {
		{"836f0000000300010203", "836200030201"},	     /* a big integer that is none */
		{"836e03000100" "00", "836101"},		     /* zeros on top */
		{"836f0000000a0000000000000000000100", "836e0900000000000000000001"},
		{"837701" "61", "836400" "01" "61"},		     /* ASCII atom: the tag of old */
		{"837301" "e9", "837702c3a9"},			     /* Latin-1 becomes UTF-8 */
		{"83640001" "e9", "837702c3a9"},
		{"836c0000000261016102" "6a", "836b00020102"},	     /* list of bytes */
		{"836c00000002610161026103", "836c00000002610161026103"}, /* unless its end is no end */
		{"83690000000161" "01", "83680161" "01"},
		{"8363312e3530303030303030303030303030303030303030652b30300000000000", "83463ff8000000000000"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
		NH_AUTO_BUF struct nh_buf again = NH_BUF_INIT, text = NH_BUF_INIT;
		struct nh_etf *t = NULL;
		if (parse_hex(&a, rows[i].in, &t) != NH_OK)
			fail_msg("row %zu", i);
		nh_etf_put(&again, t);
		nh_hex_put(&text, nh_buf_slice(&again));
		assert_slice(nh_buf_slice(&text), rows[i].out);
	}
}

/* What follows the first term is not looked at: zeros up to the end of a chip's slots. */
static void first_of_more(void **state)
{
	NH_AUTO_ARENA struct nh_arena a = NH_ARENA_INIT;
	static const uint8_t padded[] = {131, 116, 0, 0, 0, 0, 0, 0, 0};
	struct nh_etf *t = NULL;
	size_t used = 0;
	assert_int_equal(nh_etf_parse_first(&a, nh_slice_of(padded, sizeof padded), &t, &used, NULL), NH_OK);
	assert_int_equal(used, 6);
	assert_int_equal(nh_etf_parse(&a, nh_slice_of(padded, sizeof padded), &t, NULL), NH_EFORMAT);
	assert_null(t);
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
	/* atoms: 255 characters, whatever bytes they take */
	for (unsigned n = 254; n <= 256; n++) {
		static const struct {
			uint8_t tag;
			const char *character;
		} forms[] = {{100, "a"}, {100, "\xe9"}, {118, "\xe2\x82\xac"}};
		for (size_t i = 0; i < NH_ARRAY_LEN(forms); i++) {
			size_t len = n * strlen(forms[i].character);
			const uint8_t head[] = {131, forms[i].tag, (uint8_t)(len >> 8), (uint8_t)len};
			nh_buf_clear(&b);
			nh_buf_put(&b, head, sizeof head);
			for (unsigned k = 0; k < n; k++)
				nh_buf_put_str(&b, forms[i].character);
			assert_int_equal(nh_etf_parse(&a, nh_buf_slice(&b), &t, NULL), n <= NH_ETF_ATOM_MAX ? NH_OK : NH_EFORMAT);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(token_payload), cmocka_unit_test(integers), cmocka_unit_test(maps_and_lists),
					   cmocka_unit_test(refused), cmocka_unit_test(odd_terms), cmocka_unit_test(normalised),
					   cmocka_unit_test(first_of_more), cmocka_unit_test(caps)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

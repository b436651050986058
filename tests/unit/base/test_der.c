/* DER items: minimal lengths at every border, numbers, nesting, and the reader's refusals. */
#include "test_base.h"

#include "base/der.h"
#include "base/encode.h"

static void lengths(void **state)
{
	static const struct {
		size_t len;
		const char *head;
	} rows[] = {{0, "0400"}, {1, "0401"}, {127, "047f"}, {128, "048180"}, {255, "0481ff"}, {256, "04820100"}, {65535, "0482ffff"}, {65536, "0483010000"}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf content = NH_BUF_INIT, whole = NH_BUF_INIT, late = NH_BUF_INIT, head = NH_BUF_INIT;
		nh_buf_fill(&content, 0xA5, rows[i].len);
		nh_der_put(&whole, NH_DER_OCTET_STRING, nh_buf_slice(&content));
		size_t begin = nh_der_begin(&late, NH_DER_OCTET_STRING);
		nh_buf_put_slice(&late, nh_buf_slice(&content));
		nh_der_end(&late, begin);
		assert_true(nh_slice_eq(nh_buf_slice(&whole), nh_buf_slice(&late)));
		nh_hex_put(&head, nh_slice_sub(nh_buf_slice(&whole), 0, whole.len - rows[i].len));
		assert_slice(nh_buf_slice(&head), rows[i].head);
		struct nh_rd r = nh_rd_of(nh_buf_slice(&whole));
		assert_true(nh_slice_eq(nh_der_expect(&r, NH_DER_OCTET_STRING).content, nh_buf_slice(&content)));
		assert_true(nh_rd_ok(&r) && nh_rd_left(&r) == 0);
	}
}

static void numbers(void **state)
{
	static const struct {
		const char *number, *der;
	} rows[] = {{"", "020100"}, {"0000", "020100"}, {"7f", "02017f"}, {"80", "02020080"}, {"000080", "02020080"}, {"00017f", "0202017f"}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf number = NH_BUF_INIT, der = NH_BUF_INIT, hex = NH_BUF_INIT;
		assert_int_equal(nh_hex_decode(nh_slice_str(rows[i].number), &number), NH_OK);
		nh_der_put_unsigned(&der, nh_buf_slice(&number));
		nh_hex_put(&hex, nh_buf_slice(&der));
		assert_slice(nh_buf_slice(&hex), rows[i].der);
	}
}

static void nesting(void **state)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	size_t outer = nh_der_begin(&b, NH_DER_SEQUENCE), inner = nh_der_begin(&b, NH_DER_SET);
	nh_buf_fill(&b, 1, 200);
	nh_der_end(&b, inner);
	nh_der_put(&b, NH_DER_BOOLEAN, NH_LIT("\xff"));
	nh_der_end(&b, outer);
	struct nh_rd r = nh_rd_of(nh_buf_slice(&b));
	struct nh_rd in = nh_rd_of(nh_der_expect(&r, NH_DER_SEQUENCE).content);
	assert_int_equal(nh_der_expect(&in, NH_DER_SET).content.len, 200);
	assert_int_equal(nh_der_expect(&in, NH_DER_BOOLEAN).content.ptr[0], 0xff);
	assert_true(nh_rd_ok(&in) && nh_rd_left(&in) == 0 && nh_rd_left(&r) == 0);
	/* A cap that only the late length breaks. */
	struct nh_buf full = NH_BUF_MAX(5);
	size_t begin = nh_der_begin(&full, NH_DER_SEQUENCE);
	nh_buf_fill(&full, 1, 4);
	nh_der_end(&full, begin);
	assert_false(nh_buf_ok(&full));
	nh_der_end(&full, begin);
	nh_buf_fini(&full);
}

static void refusals(void **state)
{
	static const char *const rows[] = {"", "30", "3001", "3080", "308400000001", "30820100", "020101"};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
		assert_int_equal(nh_hex_decode(nh_slice_str(rows[i]), &b), NH_OK);
		struct nh_rd r = nh_rd_of(nh_buf_slice(&b));
		assert_int_equal(nh_der_expect(&r, NH_DER_SEQUENCE).whole.len, 0);
		assert_false(nh_rd_ok(&r));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(lengths), cmocka_unit_test(numbers), cmocka_unit_test(nesting), cmocka_unit_test(refusals)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

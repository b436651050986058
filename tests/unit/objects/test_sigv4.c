/*
 * Signatures against the published examples: those of the Amazon S3 API Reference (bucket examplebucket, 24 May 2013) and the first of the general test suite.
 */
#include "../../../lib/objects/sigv4_int.h"
#include "test_base.h"

#define AT_S3 (INT64_C(1369353600) * 1000000)    /* 2013-05-24T00:00:00Z */
#define AT_SUITE (INT64_C(1440938160) * 1000000) /* 2015-08-30T12:36:00Z */
#define HOST "examplebucket.s3.amazonaws.com"

struct row {
	const char *what, *method, *path, *param[4], *header[8], *payload, *signature;
};

static const struct row rows[] = {
	{"an object's first bytes", "GET", "/test.txt", {NULL}, {"host", HOST, "range", "bytes=0-9", "x-amz-content-sha256", SIGV4_EMPTY_SHA256, "x-amz-date", "20130524T000000Z"},
	 SIGV4_EMPTY_SHA256, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
	{"a setting of the bucket", "GET", "/", {"lifecycle", ""}, {"host", HOST, "x-amz-content-sha256", SIGV4_EMPTY_SHA256, "x-amz-date", "20130524T000000Z"},
	 SIGV4_EMPTY_SHA256, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
	{"a listing, its parameters out of order", "GET", "/", {"prefix", "J", "max-keys", "2"}, {"x-amz-date", "20130524T000000Z", "host", HOST, "x-amz-content-sha256", SIGV4_EMPTY_SHA256},
	 SIGV4_EMPTY_SHA256, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
};

static size_t pairs(const char *const *texts, size_t most, struct sigv4_pair *out)
{
	size_t count = 0;
	for (; count * 2 < most && texts[count * 2]; count++)
		out[count] = (struct sigv4_pair){nh_slice_str(texts[count * 2]), nh_slice_str(texts[count * 2 + 1])};
	return count;
}

static struct sigv4_credentials s3(void)
{
	return (struct sigv4_credentials){NH_LIT("AKIAIOSFODNN7EXAMPLE"), NH_LIT("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), NH_SLICE_EMPTY, NH_LIT("us-east-1"), NH_LIT("s3")};
}

static void test_published(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct sigv4_pair params[2], headers[4];
		struct sigv4_credentials c = s3();
		struct sigv4_request r = {.method = nh_slice_str(rows[i].method), .path = nh_slice_str(rows[i].path), .params = params, .headers = headers,
					  .payload_sha256 = nh_slice_str(rows[i].payload), .at_us = AT_S3};
		r.param_count = pairs(rows[i].param, 4, params);
		r.header_count = pairs(rows[i].header, 8, headers);
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		assert_int_equal(sigv4_authorization(&c, &r, &out, NULL), NH_OK);
		const char *signature = strstr(nh_buf_cstr(&out), "Signature=");
		assert_non_null(signature);
		assert_string_equal(signature + 10, rows[i].signature);
		assert_non_null(strstr(nh_buf_cstr(&out), "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;"));
	}
}

/* A name that must be encoded, once, and a body with more headers. */
static void test_put(void **state)
{
	const struct sigv4_pair headers[] = {
		{NH_LIT("date"), NH_LIT("Fri, 24 May 2013 00:00:00 GMT")},
		{NH_LIT("host"), NH_LIT(HOST)},
		{NH_LIT("x-amz-content-sha256"), NH_LIT("44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072")},
		{NH_LIT("x-amz-date"), NH_LIT("20130524T000000Z")},
		{NH_LIT("x-amz-storage-class"), NH_LIT("REDUCED_REDUNDANCY")},
	};
	struct sigv4_credentials c = s3();
	struct sigv4_request r = {.method = NH_LIT("PUT"), .path = NH_LIT("/test$file.text"), .headers = headers, .header_count = NH_ARRAY_LEN(headers), .payload_sha256 = headers[2].value,
				  .at_us = AT_S3};
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	assert_int_equal(sigv4_authorization(&c, &r, &out, NULL), NH_OK);
	assert_non_null(strstr(nh_buf_cstr(&out), "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
}

static void test_other_service(void **state)
{
	const struct sigv4_pair headers[] = {{NH_LIT("host"), NH_LIT("example.amazonaws.com")}, {NH_LIT("x-amz-date"), NH_LIT("20150830T123600Z")}};
	const struct sigv4_credentials c = {NH_LIT("AKIDEXAMPLE"), NH_LIT("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), NH_SLICE_EMPTY, NH_LIT("us-east-1"), NH_LIT("service")};
	struct sigv4_request r = {.method = NH_LIT("GET"), .path = NH_LIT("/"), .headers = headers, .header_count = 2, .payload_sha256 = NH_LIT(SIGV4_EMPTY_SHA256), .at_us = AT_SUITE};
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	assert_int_equal(sigv4_authorization(&c, &r, &out, NULL), NH_OK);
	assert_non_null(strstr(nh_buf_cstr(&out), "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"));
}

static void test_presigned(void **state)
{
	const struct sigv4_pair host = {NH_LIT("host"), NH_LIT(HOST)};
	struct sigv4_credentials c = s3();
	struct sigv4_request r = {.method = NH_LIT("GET"), .path = NH_LIT("/test.txt"), .headers = &host, .header_count = 1, .at_us = AT_S3};
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	assert_int_equal(sigv4_presign(&c, &r, 86400, &out, NULL), NH_OK);
	assert_string_equal(nh_buf_cstr(&out),
			    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z"
			    "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
	assert_int_equal(sigv4_presign(&c, &r, 0, &out, NULL), NH_EINVAL);
	assert_int_equal(sigv4_presign(&c, &r, 604801, &out, NULL), NH_EINVAL);
}

static void test_forms(void **state)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	sigv4_put_path(&out, NH_LIT("/a b/c+d/\xc3\xa4~-._"));
	nh_buf_put_u8(&out, '|');
	sigv4_put_path(&out, NH_LIT("/"));
	nh_buf_put_u8(&out, '|');
	const struct sigv4_pair params[] = {{NH_LIT("b"), NH_LIT("2")}, {NH_LIT("a"), NH_LIT("x/y=z")}, {NH_LIT("b"), NH_LIT("1")}, {NH_LIT("uploads"), NH_SLICE_EMPTY}};
	sigv4_put_query(&out, params, NH_ARRAY_LEN(params));
	assert_string_equal(nh_buf_cstr(&out), "/a%20b/c%2Bd/%C3%A4~-._|/|a=x%2Fy%3Dz&b=1&b=2&uploads=");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published), cmocka_unit_test(test_put), cmocka_unit_test(test_other_service), cmocka_unit_test(test_presigned), cmocka_unit_test(test_forms),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

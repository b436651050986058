/* Forms whole and in steps; what came out is written as text. */
#include "test_base.h"

#include "net/multipart.h"

struct sink {
	struct nh_buf log;
	nh_rc answer;
};

static nh_rc field(void *ctx, nh_slice name, nh_slice value)
{
	struct sink *s = ctx;
	nh_buf_printf(&s->log, "%.*s=%.*s;", NH_ARG(name), NH_ARG(value));
	return s->answer;
}

static nh_rc file_begin(void *ctx, nh_slice name, nh_slice filename, nh_slice type)
{
	struct sink *s = ctx;
	nh_buf_printf(&s->log, "%.*s(%.*s,%.*s){", NH_ARG(name), NH_ARG(filename), NH_ARG(type));
	return s->answer;
}

static nh_rc file_data(void *ctx, nh_slice bytes)
{
	nh_buf_put_slice(&((struct sink *)ctx)->log, bytes);
	return NH_OK;
}

static nh_rc file_end(void *ctx)
{
	nh_buf_put_str(&((struct sink *)ctx)->log, "};");
	return NH_OK;
}

static nh_rc run(const char *text, size_t step, const struct nh_multipart_limits *limits, struct sink *s)
{
	struct nh_multipart_events events = {field, file_begin, file_data, file_end, s};
	struct nh_multipart *m;
	nh_slice all = nh_slice_str(text);
	assert_int_equal(nh_multipart_new(NH_LIT("B"), limits, &events, &m, NULL), NH_OK);
	nh_rc rc = NH_OK;
	for (size_t at = 0; at < all.len && rc == NH_OK; at += step)
		rc = nh_multipart_feed(m, nh_slice_sub(all, at, step), NULL);
	if (rc == NH_OK)
		rc = nh_multipart_end(m, NULL);
	nh_multipart_free(m);
	return rc;
}

#define CD "Content-Disposition: form-data; name="

static void forms(void **state)
{
	static const struct {
		const char *text;
		nh_rc rc;
		const char *log;
	} rows[] = {
		{"--B\r\n" CD "a\r\n\r\n1\r\n--B\r\n" CD "\"b c\"\r\n\r\n2\r\n--B--\r\nepilogue", NH_OK, "a=1;b c=2;"},
		{"preamble\r\n--B  \r\n" CD "a\r\n\r\n\r\n--B--", NH_OK, "a=;"},
		{"--B\r\ncontent-type: x/y\r\n" CD "\"f\"; filename=\"a \\\"b\\\".fw\"\r\n\r\n\r\r\n-\r\n--A\r\n--\r\n--B--", NH_OK, "f(a \"b\".fw,x/y){\r\r\n-\r\n--A\r\n--};"},
		{"--B\r\n" CD "f; filename=\"C:\\new\"\r\n\r\nx\r\n--B--", NH_OK, "f(C:\\new,){x};"},
		{"--B\r\n" CD "f; filename=\"\"\r\n\r\n\r\n--B--", NH_OK, "f(,){};"},
		{"--B--", NH_OK, ""},
		{"", NH_EFORMAT, NULL},
		{"--B\r\n" CD "a\r\n\r\n1\r\n--B", NH_EFORMAT, NULL},
		{"--B\r\n" CD "a\r\n\r\n1", NH_EFORMAT, NULL},
		{"--Bx\r\n", NH_EFORMAT, NULL},
		{"--B-x", NH_EFORMAT, NULL},
		{"--B\rx", NH_EFORMAT, NULL},
		{"--B\r\n\r\nx\r\n--B--", NH_EFORMAT, NULL},
		{"--B\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--B--", NH_EFORMAT, NULL},
		{"--B\r\nContent-Disposition: form-data; filename=a\r\n\r\nx\r\n--B--", NH_EFORMAT, NULL},
		{"--B\r\n" CD "\"a\r\n\r\nx\r\n--B--", NH_EFORMAT, NULL},
		{"--B\r\n" CD "a; x\r\n\r\nx\r\n--B--", NH_EFORMAT, NULL},
		{"--B\r\nnocolon\r\n\r\nx\r\n--B--", NH_EFORMAT, NULL},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		for (size_t step = 1; step <= 1000; step *= 10) {
			struct sink s = {NH_BUF_INIT, NH_OK};
			nh_rc rc = run(rows[i].text, step, NULL, &s);
			if (rc != rows[i].rc || (rows[i].log && strcmp(nh_buf_cstr(&s.log), rows[i].log) != 0))
				fail_msg("row %zu step %zu: %s '%s'", i, step, nh_rc_name(rc), nh_buf_cstr(&s.log));
			nh_buf_fini(&s.log);
		}
	}
}

static void limits(void **state)
{
	static const struct {
		struct nh_multipart_limits limits;
		const char *text;
		nh_rc rc;
	} rows[] = {
		{{.field_bytes = 3}, "--B\r\n" CD "a\r\n\r\n123\r\n--B--", NH_OK},
		{{.field_bytes = 3}, "--B\r\n" CD "a\r\n\r\n1234\r\n--B--", NH_ETOOBIG},
		{{.field_bytes = 3}, "--B\r\n" CD "a; filename=b\r\n\r\n1234\r\n--B--", NH_OK},
		{{.head_bytes = 20}, "--B\r\n" CD "a\r\n\r\n1234\r\n--B--", NH_ETOOBIG},
		{{.parts = 1}, "--B\r\n" CD "a\r\n\r\n1\r\n--B\r\n" CD "b\r\n\r\n2\r\n--B--", NH_ETOOBIG},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct sink s = {NH_BUF_INIT, NH_OK};
		assert_int_equal(run(rows[i].text, 1, &rows[i].limits, &s), rows[i].rc);
		nh_buf_fini(&s.log);
	}
	struct sink s = {NH_BUF_INIT, NH_ENOSPC};
	assert_int_equal(run("--B\r\n" CD "a\r\n\r\n1\r\n--B--", 1, NULL, &s), NH_ENOSPC);
	nh_buf_fini(&s.log);
}

static void boundaries(void **state)
{
	static const struct {
		const char *type, *boundary;
	} rows[] = {
		{"multipart/form-data; boundary=abc", "abc"},
		{"Multipart/Form-Data; charset=x; Boundary=\"a b\"", "a b"},
		{"multipart/form-data", NULL},
		{"multipart/form-data; boundary=", NULL},
		{"multipart/form-data; boundary=\"a \"", NULL},
		{"multipart/form-data; boundary=a<b", NULL},
		{"multipart/mixed; boundary=a", NULL},
		{"multipart/form-data; boundary=01234567890123456789012345678901234567890123456789012345678901234567890", NULL},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		nh_slice b;
		assert_int_equal(nh_multipart_boundary(nh_slice_str(rows[i].type), &b), rows[i].boundary ? NH_OK : NH_EFORMAT);
		if (rows[i].boundary)
			assert_slice(b, rows[i].boundary);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(forms), cmocka_unit_test(limits), cmocka_unit_test(boundaries)};
	return cmocka_run_group_tests_name("multipart", tests, NULL, NULL);
}

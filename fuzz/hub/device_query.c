/*
 * Any text as a query of the device list. Either it is one, within its limits and with SQL that binds each value, or the fault stands inside of the text and says something.
 */
#include "fuzz.h"

#include "device_query_int.h"
#include "hub/device_query.h"

static unsigned tests_of(const struct nh_expression *e, unsigned depth)
{
	FUZZ_CHECK(e && depth <= NH_QUERY_DEPTH_MAX + NH_QUERY_TESTS_MAX, "no tree");
	switch (e->kind) {
	case NH_EXPRESSION_TEST:
		FUZZ_CHECK(e->column < NH_COLUMN_COUNT, "column %d", (int)e->column);
		return 1;
	case NH_EXPRESSION_NOT:
		return tests_of(e->left, depth + 1);
	default:
		return tests_of(e->left, depth + 1) + tests_of(e->right, depth + 1);
	}
}

/* What stands in the SQL is ours: letters of ASCII, and no quotation mark but in pairs. */
static void compile(struct nh_arena *arena, const struct nh_expression *e)
{
	const struct nh_device_search search = {.product_id = 1, .expression = e, .limit = 1};
	struct query q = {.arena = arena, .search = &search};
	nh_rc rc = device_query_compile(&q, NULL);
	FUZZ_CHECK(rc == NH_OK || rc == NH_ETOOBIG, "code %d", (int)rc);
	size_t quotes = 0, brackets = 0;
	for (size_t i = 0; i < q.sql.len; i++) {
		FUZZ_CHECK(q.sql.ptr[i] >= 0x20 && q.sql.ptr[i] < 0x7f && q.sql.ptr[i] != ';', "byte %u", q.sql.ptr[i]);
		quotes += q.sql.ptr[i] == '\'';
		brackets += q.sql.ptr[i] == '(';
		brackets -= q.sql.ptr[i] == ')';
	}
	FUZZ_CHECK(quotes % 2 == 0 && brackets == 0 && q.count <= NH_DEVICE_QUERY_PARAMS_MAX, "%s", nh_buf_cstr(&q.sql));
	nh_buf_fini(&q.sql);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	const struct nh_expression *e = NULL;
	struct nh_query_fault fault = {0};
	nh_rc rc = nh_device_query_parse(&arena, nh_slice_of(data, size), INT64_C(1800000000000000), &e, &fault, NULL);
	if (rc != NH_OK) {
		FUZZ_CHECK(rc == NH_EINVAL && fault.text && fault.text[0] && fault.at <= size, "code %d", (int)rc);
	} else if (e) {
		FUZZ_CHECK(tests_of(e, 0) <= NH_QUERY_TESTS_MAX, "too many");
		compile(&arena, e);
	}
	return 0;
}

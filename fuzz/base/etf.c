/* Any bytes as an Erlang term: parse, and walk what came out, so that a view outside the input is seen. What was written once reads the same again. */
#include "base/etf.h"

static volatile uint64_t sum;

static void walk(const struct nh_etf *t)
{
	for (size_t i = 0; i < t->bytes.len; i++)
		sum += t->bytes.ptr[i];
	size_t parts = t->kind == NH_ETF_MAP ? t->count * 2 : t->count;
	for (size_t i = 0; i < parts; i++)
		walk(&t->items[i]);
	if (t->tail)
		walk(t->tail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct nh_etf *term = NULL;
	if (nh_etf_parse(&arena, nh_slice_of(data, size), &term, &err) == NH_OK) {
		walk(term);
		(void)nh_etf_map_get(term, "data");
		NH_AUTO_BUF struct nh_buf once = NH_BUF_INIT, twice = NH_BUF_INIT;
		nh_etf_put(&once, term);
		NH_ASSERT(nh_etf_parse(&arena, nh_buf_slice(&once), &term, &err) == NH_OK);
		nh_etf_put(&twice, term);
		NH_ASSERT(nh_slice_eq(nh_buf_slice(&once), nh_buf_slice(&twice)));
	}
	return 0;
}

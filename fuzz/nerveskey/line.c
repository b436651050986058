/*
 * A production order, line by line: JSON or CSV with its line of names. What was parsed is looked at to the last byte.
 */
#include "fuzz.h"

#include "batch_line.h"

static volatile uint64_t sum;

static void look(nh_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		sum += s.ptr[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NH_AUTO_ARENA struct nh_arena columns_arena = NH_ARENA_INIT;
	struct batch_columns columns = {.count = 0};
	nh_slice in = nh_slice_of(data, size);
	while (in.len) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct batch_line line;
		struct nh_err err = NH_ERR_INIT;
		nh_slice text = nh_slice_trim(fuzz_until(&in, '\n'));
		nh_rc rc = text.len ? batch_line_parse(text, &arena, &columns_arena, &columns, &line, &err) : NH_ECLOSED;
		if (rc == NH_ECLOSED)
			continue;
		FUZZ_CHECK((rc == NH_OK) == (line.label != NULL), "%s", err.msg);
		FUZZ_CHECK(rc == NH_OK || err.msg[0], "no reason");
		look(line.serial);
		look(line.board);
		look(line.user_data);
		json_decref(line.label);
	}
	return 0;
}

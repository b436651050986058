/*
 * Configuration parser, manifest and expressions. What was parsed is written and parsed again: the second writing must equal the first.
 */
#include <stdlib.h>

#include "firmware/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Titles are written unescaped, as the reference does, so trees with such titles do not survive. */
static bool plain_titles(nh_slice text)
{
	return nh_slice_chr(text, '\\') < 0 && nh_slice_chr(text, '\'') < 0 && nh_slice_chr(text, '$') < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice text = nh_slice_of(data, size);
	struct nh_arena arena = NH_ARENA_INIT;
	struct nh_buf first = NH_BUF_INIT, second = NH_BUF_INIT;
	struct nh_fw_section *tree, *again;
	if (nh_fw_config_parse(text, "[buf]", NULL, NULL, &arena, &tree, NULL) == NH_OK) {
		nh_fw_config_write(tree, &first);
		if (plain_titles(text)) {
			if (nh_fw_config_parse(nh_buf_slice(&first), "[buf]", NULL, NULL, &arena, &again, NULL) != NH_OK)
				abort();
			nh_fw_config_write(again, &second);
			if (!nh_slice_eq(nh_buf_slice(&first), nh_buf_slice(&second)))
				abort();
		}
	}
	struct nh_fw_manifest *m;
	if (nh_fw_manifest_parse(text, NULL, NH_SLICE_EMPTY, &arena, &m, NULL) == NH_OK) {
		nh_buf_clear(&first);
		nh_fw_metadata_put(&first, &m->meta);
		nh_fw_tasks_put(&first, m);
		(void)nh_fw_manifest_delta_updatable(m);
	}
	int64_t value;
	if (nh_fw_eval(text, &value, NULL) != NH_OK && size == 1 && data[0] == '1')
		abort();
	nh_buf_fini(&first);
	nh_buf_fini(&second);
	nh_arena_fini(&arena);
	return 0;
}

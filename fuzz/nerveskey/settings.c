/* Any bytes as settings: what can be shown as JSON comes back as the same term. Then the same bytes as JSON: what can be stored is shown, and stored again, the same. */
#include "base/etf.h"
#include "nerveskey/settings.h"

#define INPUT_MAX 4096u /* so that no text grows over what the reader takes */

static void from_chip(nh_slice bytes)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf json = NH_BUF_INIT, again = NH_BUF_INIT, want = NH_BUF_INIT;
	struct nh_etf *term = NULL;
	struct nh_err err = NH_ERR_INIT;
	size_t used = 0;
	if (nh_nerveskey_settings_to_json(bytes, false, &json, &err) != NH_OK)
		return;
	NH_ASSERT(nh_etf_parse_first(&arena, bytes, &term, &used, &err) == NH_OK);
	if (term->kind != NH_ETF_MAP)
		return;
	nh_etf_put(&want, term);
	NH_ASSERT(nh_nerveskey_settings_from_json(nh_buf_slice(&json), &again, &err) == NH_OK);
	NH_ASSERT(nh_slice_eq(nh_buf_slice(&again), nh_buf_slice(&want)));
}

static void from_people(nh_slice text)
{
	NH_AUTO_BUF struct nh_buf once = NH_BUF_INIT, json = NH_BUF_INIT, twice = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	if (nh_nerveskey_settings_from_json(text, &once, &err) != NH_OK)
		return;
	NH_ASSERT(nh_nerveskey_settings_to_json(nh_buf_slice(&once), true, &json, &err) == NH_OK);
	NH_ASSERT(nh_nerveskey_settings_from_json(nh_buf_slice(&json), &twice, &err) == NH_OK);
	NH_ASSERT(nh_slice_eq(nh_buf_slice(&once), nh_buf_slice(&twice)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > INPUT_MAX)
		return 0;
	from_chip(nh_slice_of(data, size));
	from_people(nh_slice_of(data, size));
	return 0;
}

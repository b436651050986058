/*
 * First byte chooses a decoder; the rest is its text. What a strict decoder takes, the encoder must write back the same.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"
#include "base/uuid.h"

static void base64(nh_slice text, nh_b64 form)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, again = NH_BUF_INIT;
	if (nh_b64_decode(text, form, &bytes) != NH_OK)
		return;
	nh_b64_put(&again, nh_buf_slice(&bytes), form);
	NH_ASSERT(nh_slice_eq(nh_buf_slice(&again), text));
}

static void dates(nh_slice text)
{
	int64_t at = 0, back = 0;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	if (nh_time_parse_iso(text, &at) == NH_OK) {
		nh_time_put_iso_us(&b, at);
		/* an offset can lead outside the years that have a text */
		if (nh_time_parse_iso(nh_buf_slice(&b), &back) != NH_OK)
			NH_ASSERT(false);
		NH_ASSERT(back == at || at < -INT64_C(62167219200000000) || at >= INT64_C(253402300800000000));
	}
	nh_buf_clear(&b);
	if (nh_time_parse_http(text, &at) == NH_OK)
		nh_time_put_http(&b, at);
}

static void strings(nh_slice text)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT, c = NH_BUF_INIT;
	json_t *v = NULL;
	nh_json_put_string(&b, text);
	NH_ASSERT(nh_json_parse(nh_buf_slice(&b), SIZE_MAX, &v, NULL) == NH_OK && json_is_string(v));
	json_decref(v);
	if (nh_uri_decode(text, true, &c) == NH_OK) {
		NH_AUTO_BUF struct nh_buf d = NH_BUF_INIT, e = NH_BUF_INIT;
		nh_uri_put(&d, nh_buf_slice(&c));
		NH_ASSERT(nh_uri_decode(nh_buf_slice(&d), false, &e) == NH_OK && nh_slice_eq(nh_buf_slice(&e), nh_buf_slice(&c)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice all = nh_slice_of(data, size), text = nh_slice_skip(all, 1);
	struct nh_uuid uuid;
	uint64_t n = 0;
	int64_t i = 0;
	json_t *v = NULL;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	switch (size ? data[0] % 8 : 0) {
	case 0: dates(text); break;
	case 1: strings(text); break;
	case 2: base64(text, NH_B64_STD); break;
	case 3: base64(text, NH_B64_STD_NOPAD); break;
	case 4: base64(text, NH_B64_URL); break;
	case 5: base64(text, NH_B64_URL_NOPAD); break;
	case 6:
		NH_IGNORE(nh_hex_decode(text, &b)); /* only looked at for memory errors, as the numbers below */
		NH_IGNORE(nh_parse_u64(text, 0, UINT64_MAX, &n));
		NH_IGNORE(nh_parse_i64(text, INT64_MIN, INT64_MAX, &i));
		NH_IGNORE(nh_parse_size(text, UINT64_MAX, &n));
		NH_IGNORE(nh_parse_duration_ms(text, UINT64_MAX, &n));
		NH_IGNORE(nh_uuid_parse(text, &uuid));
		break;
	default:
		if (nh_json_parse(text, 1 << 16, &v, NULL) == NH_OK)
			json_decref(v);
	}
	return 0;
}

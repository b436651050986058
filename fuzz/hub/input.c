/*
 * First byte chooses what people and tools send as text: API tokens, verification tokens, tags, versions to be ordered.
 */
#include "fuzz.h"

#include "base/json.h"
#include "base/semver.h"
#include "hub/accounts.h"
#include "hub/certificates.h"
#include "hub/devices.h"
#include "hub/firmware.h"

static void token(nh_slice text)
{
	uint8_t random[32];
	char again[NH_TOKEN_TEXT_MAX];
	if (nh_token_parse(text, random) != NH_OK)
		return;
	nh_token_format(random, again);
	NH_ASSERT(nh_slice_eq_str(text, again));
}

static void verification(nh_slice text)
{
	const struct nh_hub_config config = {.secret_key = NH_LIT("0123456789abcdef0123456789abcdef")};
	NH_ASSERT(nh_verification_token_check(&config, text, 1, INT64_C(1800000000) * NH_US_PER_S, NULL) != NH_OK);
}

static void tags(nh_slice text)
{
	const char *why;
	NH_AUTO_JSON json_t *value = NULL;
	if (nh_json_parse(text, 65536, &value, NULL) != NH_OK)
		return;
	NH_AUTO_JSON json_t *list = nh_tags_read(value, &why);
	NH_ASSERT(list ? json_array_size(list) <= NH_DEVICE_TAGS_MAX : *why != '\0');
}

/* Two versions, a blank between: the key by which the database sorts must order them as the rules do. */
static void version(nh_slice text)
{
	NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT, other_key = NH_BUF_INIT;
	nh_slice one = fuzz_until(&text, ' ');
	struct nh_semver v, w;
	if (nh_version_key(one, &key) != NH_OK)
		return;
	NH_ASSERT(key.len > 24);
	if (nh_version_key(text, &other_key) != NH_OK || nh_semver_parse(one, &v) != NH_OK || nh_semver_parse(text, &w) != NH_OK)
		return;
	int by_key = nh_slice_cmp(nh_buf_slice(&key), nh_buf_slice(&other_key)), by_rule = nh_semver_cmp(&v, &w);
	FUZZ_CHECK((by_key > 0) - (by_key < 0) == (by_rule > 0) - (by_rule < 0), "%.*s and %.*s: %d by key, %d by rule", NH_ARG(one), NH_ARG(text), by_key,
	           by_rule);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const targets[])(nh_slice text) = {token, verification, tags, version};
	if (size == 0)
		return 0;
	targets[data[0] % NH_ARRAY_LEN(targets)](nh_slice_of(data + 1, size - 1));
	return 0;
}

/*
 * An exported log of any bytes: the check never fails in itself, says the same however the bytes are cut, and calls nothing sound that no trusted key has signed.
 */
#include "crypto/log_chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct nh_chain_report check(const uint8_t key[1][NH_ED25519_PUBLIC_LEN], nh_slice text, size_t step)
{
	struct nh_chain_report report;
	struct nh_chain_check *c = nh_chain_check_new(&(struct nh_chain_check_config){.keys = key, .key_count = 1});
	for (; text.len > 0; text = nh_slice_skip(text, step < text.len ? step : text.len))
		nh_chain_check_feed(c, nh_slice_sub(text, 0, step < text.len ? step : text.len));
	nh_chain_check_end(c, &report);
	nh_chain_check_free(c);
	return report;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t seed[NH_ED25519_SEED_LEN] = {1};
	uint8_t ours[1][NH_ED25519_PUBLIC_LEN], secret[NH_ED25519_SECRET_LEN];
	nh_ed25519_from_seed(seed, ours[0], secret);
	struct nh_chain_report whole = check(ours, nh_slice_of(data, size), size ? size : 1);
	struct nh_chain_report pieces = check(ours, nh_slice_of(data, size), 7);
	NH_ASSERT(whole.worst == pieces.worst && whole.faults == pieces.faults && whole.entries == pieces.entries && whole.to == pieces.to);
	NH_ASSERT((whole.worst == NH_CHAIN_SOUND) == (whole.faults == 0));
	ours[0][0] ^= 1; /* a key that has signed nothing */
	struct nh_chain_report stranger = check(ours, nh_slice_of(data, size), size ? size : 1);
	NH_ASSERT(stranger.worst != NH_CHAIN_SOUND);
	return 0;
}

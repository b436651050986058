/*
 * HMAC and PBKDF2 by GnuTLS.
 */
#include "crypto/hmac.h"

#include <gnutls/crypto.h>

static bool mac_of(nh_digest_alg alg, gnutls_mac_algorithm_t *out)
{
	switch (alg) {
	case NH_SHA256: *out = GNUTLS_MAC_SHA256; return true;
	case NH_SHA384: *out = GNUTLS_MAC_SHA384; return true;
	case NH_SHA512: *out = GNUTLS_MAC_SHA512; return true;
	case NH_SHA1: *out = GNUTLS_MAC_SHA1; return true;
	case NH_BLAKE2B_256:
	case NH_BLAKE2B_512: break;
	}
	return false;
}

static const void *bytes_of(nh_slice s) { return s.ptr ? (const void *)s.ptr : ""; }

void nh_hmac(nh_digest_alg alg, nh_slice key, nh_slice message, uint8_t *out)
{
	gnutls_mac_algorithm_t mac;
	NH_ASSERT(mac_of(alg, &mac));
	NH_ASSERT(gnutls_hmac_fast(mac, bytes_of(key), key.len, bytes_of(message), message.len, out) == 0);
}

bool nh_digest_alg_parse(nh_slice name, nh_digest_alg *out)
{
	static const struct {
		const char *name;
		nh_digest_alg alg;
	} table[] = {{"sha256", NH_SHA256}, {"sha384", NH_SHA384}, {"sha512", NH_SHA512}};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++)
		if (nh_slice_ieq(name, nh_slice_str(table[i].name))) {
			*out = table[i].alg;
			return true;
		}
	return false;
}

nh_rc nh_pbkdf2(nh_digest_alg alg, nh_slice password, nh_slice salt, uint32_t iterations, uint8_t *out, size_t out_len)
{
	gnutls_mac_algorithm_t mac;
	if (alg == NH_SHA1 || !mac_of(alg, &mac) || iterations == 0 || iterations > NH_PBKDF2_MAX_ITERATIONS || out_len == 0 || out_len > NH_PBKDF2_MAX_LEN)
		return NH_EINVAL;
	/* GnuTLS only reads from these. */
	gnutls_datum_t key = {.data = (unsigned char *)(uintptr_t)bytes_of(password), .size = (unsigned)password.len};
	gnutls_datum_t s = {.data = (unsigned char *)(uintptr_t)bytes_of(salt), .size = (unsigned)salt.len};
	NH_ASSERT(password.len <= UINT32_MAX && salt.len <= UINT32_MAX && gnutls_pbkdf2(mac, &key, &s, iterations, out, out_len) == 0);
	return NH_OK;
}

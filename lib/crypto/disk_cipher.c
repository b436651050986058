/*
 * Disk ciphers by GnuTLS.
 */
#include "crypto/disk_cipher.h"

#include <gnutls/crypto.h>
#include <stdlib.h>

#include "base/arena.h"

#define IV_LEN 16u

struct nh_disk_cipher {
	gnutls_cipher_hd_t handle;
	unsigned number_bytes; /* of the block number in the initial vector */
};

static const struct {
	gnutls_cipher_algorithm_t algorithm;
	size_t key_len;
	unsigned number_bytes;
} kinds[] = {
	[NH_DISK_AES_CBC_PLAIN] = {GNUTLS_CIPHER_AES_256_CBC, 32, 4},
	[NH_DISK_AES_XTS_PLAIN64] = {GNUTLS_CIPHER_AES_256_XTS, 64, 8},
};

size_t nh_disk_cipher_key_len(nh_disk_cipher_kind kind) { return kinds[kind].key_len; }

nh_rc nh_disk_cipher_new(nh_disk_cipher_kind kind, nh_slice key, struct nh_disk_cipher **out, struct nh_err *err)
{
	*out = NULL;
	if (key.len != kinds[kind].key_len)
		return NH_FAIL(err, NH_EINVAL, "a key of %zu bytes; expected %zu", key.len, kinds[kind].key_len);
	uint8_t zeros[IV_LEN] = {0};
	gnutls_datum_t k = {.data = (unsigned char *)(uintptr_t)key.ptr, .size = (unsigned)key.len}, iv = {.data = zeros, .size = sizeof zeros};
	struct nh_disk_cipher *c = nh_xcalloc(1, sizeof *c);
	c->number_bytes = kinds[kind].number_bytes;
	int rc = gnutls_cipher_init(&c->handle, kinds[kind].algorithm, &k, &iv);
	if (rc < 0) {
		free(c);
		return NH_FAIL(err, NH_EINVAL, "the cipher refuses this key: %s", gnutls_strerror(rc));
	}
	*out = c;
	return NH_OK;
}

void nh_disk_cipher_free(struct nh_disk_cipher *c)
{
	if (!c)
		return;
	gnutls_cipher_deinit(c->handle);
	free(c);
}

typedef int (*nh_cipher_fn)(gnutls_cipher_hd_t handle, const void *in, size_t in_len, void *out, size_t out_len);

static void each_block(struct nh_disk_cipher *c, uint64_t number, uint8_t *bytes, size_t len, nh_cipher_fn work)
{
	NH_ASSERT(len % NH_DISK_BLOCK == 0);
	for (; len > 0; len -= NH_DISK_BLOCK, bytes += NH_DISK_BLOCK, number++) {
		uint8_t iv[IV_LEN] = {0};
		for (unsigned i = 0; i < c->number_bytes; i++)
			iv[i] = (uint8_t)(number >> 8 * i);
		gnutls_cipher_set_iv(c->handle, iv, sizeof iv);
		NH_ASSERT(work(c->handle, bytes, NH_DISK_BLOCK, bytes, NH_DISK_BLOCK) == 0);
	}
}

void nh_disk_encrypt(struct nh_disk_cipher *c, uint64_t first, uint8_t *bytes, size_t len) { each_block(c, first, bytes, len, gnutls_cipher_encrypt2); }

void nh_disk_decrypt(struct nh_disk_cipher *c, uint64_t first, uint8_t *bytes, size_t len) { each_block(c, first, bytes, len, gnutls_cipher_decrypt2); }

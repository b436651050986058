/*
 * Ciphers of disks: each block of 512 bytes by itself, its number in the tweak, compatible with dm-crypt's plain mappings. Not authenticated: what was
 * changed on the disk decrypts to something else.  thread: one at a time.  source: reference/fwup-format "12.6"
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"

#define NH_DISK_BLOCK 512u

typedef enum nh_disk_cipher_kind {
	NH_DISK_AES_CBC_PLAIN,   /* AES-256, 32 bytes of key; initial vector = low 32 bits of the block number */
	NH_DISK_AES_XTS_PLAIN64, /* AES-256, 64 bytes of key; data unit = block number */
} nh_disk_cipher_kind;

struct nh_disk_cipher;
size_t nh_disk_cipher_key_len(nh_disk_cipher_kind kind); /* bytes */
/* nh_disk_cipher_new - key: of the kind's length, copied. NH_EINVAL: another length, or a key the cipher refuses (XTS with equal halves). */
nh_rc nh_disk_cipher_new(nh_disk_cipher_kind kind, nh_slice key, struct nh_disk_cipher **out, struct nh_err *err);
void nh_disk_cipher_free(struct nh_disk_cipher *c); /* wipes the key. NULL legal */
/* In place. len: whole blocks; first: number of the first one. */
void nh_disk_encrypt(struct nh_disk_cipher *c, uint64_t first, uint8_t *bytes, size_t len);
void nh_disk_decrypt(struct nh_disk_cipher *c, uint64_t first, uint8_t *bytes, size_t len);

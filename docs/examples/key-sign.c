/*
 * Signs standard input with the key of a NervesKey; the signature comes out in DER, as openssl dgst -verify takes it: key-sign BUS < message > signature
 *
 * cc -o key-sign key-sign.c $(pkg-config --cflags --libs libnerveskey)
 */
#include <stdio.h>

#include "nerveskey/nerveskey.h"

#define MESSAGE_MAX (16u << 20)

static nh_rc sign(const char *bus, nh_slice message, struct nh_buf *der, struct nh_err *err)
{
	struct nh_nerveskey *key;
	uint8_t digest[32], signature[NH_P256_SIGNATURE_LEN];
	nh_p256_sha256(message, digest);
	NH_TRY(nh_nerveskey_open(bus, &key, err));
	nh_rc rc = nh_nerveskey_sign(key, digest, signature, err);
	if (rc == NH_OK)
		nh_p256_signature_put_der(der, signature);
	nh_nerveskey_close(key);
	return rc;
}

int main(int argc, char **argv)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_buf message = NH_BUF_MAX(MESSAGE_MAX), der = NH_BUF_INIT;
	unsigned char bytes[65536];
	if (argc != 2) {
		fprintf(stderr, "usage: key-sign BUS < message > signature\n");
		return 2;
	}
	for (size_t n; (n = fread(bytes, 1, sizeof bytes, stdin)) > 0;)
		nh_buf_put(&message, bytes, n);
	nh_rc rc = nh_buf_check(&message, "message", &err);
	if (rc == NH_OK)
		rc = sign(argv[1], nh_buf_slice(&message), &der, &err);
	if (rc == NH_OK)
		fwrite(der.ptr, 1, der.len, stdout);
	else
		fprintf(stderr, "key-sign: %s\n", err.msg);
	nh_buf_fini(&message);
	nh_buf_fini(&der);
	return rc == NH_OK ? 0 : 1;
}

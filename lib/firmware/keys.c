/*
 * fwup keys: decoding what people paste, reading and writing key files, generating pairs. Private material is wiped from every buffer it
 * passed through and never appears in a message.
 *
 * The base64 reader here is lenient on purpose (it stops at the first foreign character): keys come with newlines, padding or comments
 * behind them.  source: reference/fwup-format "4"
 */
#include "firmware/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "crypto/ed25519.h"
#include "crypto/secret.h"

static int base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool decode_base64(nh_slice text, uint8_t *out, size_t out_len)
{
	uint32_t bits = 0;
	unsigned bit_count = 0;
	size_t done = 0;
	for (size_t i = 0; i < text.len; i++) {
		int v = base64_value(text.ptr[i]);
		if (v < 0)
			break;
		bits = (bits << 6 | (uint32_t)v) & 0xffff;
		bit_count += 6;
		if (bit_count >= 8) {
			bit_count -= 8;
			if (done == out_len)
				return false;
			out[done++] = (uint8_t)(bits >> bit_count);
		}
	}
	return done == out_len && (bits & ((1u << bit_count) - 1)) == 0;
}

static bool decode_key(nh_slice text, uint8_t *out, size_t out_len, size_t min_base64)
{
	if (text.len == out_len) {
		for (size_t i = 0; i < out_len; i++)
			out[i] = text.ptr[i];
		return true;
	}
	return text.len >= min_base64 && decode_base64(text, out, out_len);
}

nh_rc nh_fw_public_key_decode(nh_slice text, struct nh_fw_public_key *out, struct nh_err *err)
{
	if (!decode_key(text, out->bytes, sizeof out->bytes, 43))
		return NH_FAIL(err, NH_EFORMAT, "Error decoding public key");
	return NH_OK;
}

nh_rc nh_fw_private_key_decode(nh_slice text, struct nh_fw_private_key *out, struct nh_err *err)
{
	if (decode_key(text, out->bytes, sizeof out->bytes, 86))
		return NH_OK;
	nh_wipe(out->bytes, sizeof out->bytes);
	return NH_FAIL(err, NH_EFORMAT, "Error decoding private key");
}

/* Reads at most max bytes: what follows the key in a file does not count. */
static nh_rc read_start(const char *path, const char *kind, size_t max, struct nh_buf *out, struct nh_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "Error opening %s key file '%s'", kind, path);
	uint8_t bytes[128];
	ssize_t n = 1;
	while (n > 0 && out->len < max) {
		n = read(fd, bytes, max - out->len);
		if (n > 0)
			nh_buf_put(out, bytes, (size_t)n);
	}
	nh_wipe(bytes, sizeof bytes);
	close(fd);
	if (n < 0)
		return NH_FAIL(err, NH_EIO, "Error reading or decoding %s key from file '%s'", kind, path);
	return NH_OK;
}

nh_rc nh_fw_public_key_read(const char *path, struct nh_fw_public_key *out, struct nh_err *err)
{
	struct nh_buf b = NH_BUF_INIT;
	nh_rc rc = read_start(path, "public", 44, &b, err);
	if (rc == NH_OK && nh_fw_public_key_decode(nh_buf_slice(&b), out, NULL) != NH_OK)
		rc = NH_FAIL(err, NH_EFORMAT, "Error reading or decoding public key from file '%s'", path);
	nh_buf_fini(&b);
	return rc;
}

nh_rc nh_fw_private_key_read(const char *path, struct nh_fw_private_key *out, struct nh_err *err)
{
	struct nh_buf b = NH_BUF_INIT;
	nh_buf_reserve(&b, 128); /* so that it never moves and leaves a copy behind */
	nh_rc rc = read_start(path, "private", 88, &b, err);
	if (rc == NH_OK && nh_fw_private_key_decode(nh_buf_slice(&b), out, NULL) != NH_OK)
		rc = NH_FAIL(err, NH_EFORMAT, "Error reading or decoding private key from file '%s'", path);
	nh_buf_wipe(&b);
	return rc;
}

void nh_fw_public_key_put(struct nh_buf *out, const struct nh_fw_public_key *key)
{
	nh_b64_put(out, nh_slice_of(key->bytes, sizeof key->bytes), NH_B64_STD);
}

void nh_fw_private_key_put(struct nh_buf *out, const struct nh_fw_private_key *key)
{
	nh_b64_put(out, nh_slice_of(key->bytes, sizeof key->bytes), NH_B64_STD);
}

void nh_fw_key_generate(const struct nh_rng *rng, struct nh_fw_public_key *pub, struct nh_fw_private_key *priv)
{
	nh_ed25519_generate(rng, pub->bytes, priv->bytes);
}

static nh_rc write_new(const char *path, nh_slice bytes, struct nh_err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "Couldn't create '%s': %s", path, strerror(errno));
	ssize_t n = write(fd, bytes.ptr, bytes.len);
	bool ok = n == (ssize_t)bytes.len && fsync(fd) == 0;
	if (close(fd) != 0 || !ok) {
		unlink(path);
		return NH_FAIL(err, NH_EIO, "Couldn't write '%s'", path);
	}
	return NH_OK;
}

nh_rc nh_fw_key_files_write(const char *prefix, const struct nh_fw_public_key *pub, const struct nh_fw_private_key *priv, struct nh_err *err)
{
	struct nh_buf pub_path = NH_BUF_INIT, priv_path = NH_BUF_INIT, text = NH_BUF_INIT;
	nh_buf_printf(&pub_path, "%s.pub", prefix);
	nh_buf_printf(&priv_path, "%s.priv", prefix);
	nh_buf_reserve(&text, 128);
	nh_rc rc = NH_OK;
	/* Look first, so that an existing private key does not leave a lone new public key beside it. */
	const char *paths[] = {nh_buf_cstr(&pub_path), nh_buf_cstr(&priv_path)};
	for (size_t i = 0; i < 2 && rc == NH_OK; i++)
		if (access(paths[i], F_OK) == 0)
			rc = NH_FAIL(err, NH_ECONFLICT, "Couldn't create '%s': %s", paths[i], strerror(EEXIST));
	if (rc == NH_OK) {
		nh_fw_public_key_put(&text, pub);
		rc = write_new(paths[0], nh_buf_slice(&text), err);
	}
	if (rc == NH_OK) {
		nh_buf_clear(&text);
		nh_fw_private_key_put(&text, priv);
		rc = write_new(paths[1], nh_buf_slice(&text), err);
		if (rc != NH_OK)
			unlink(paths[0]);
	}
	nh_buf_wipe(&text);
	nh_buf_fini(&pub_path);
	nh_buf_fini(&priv_path);
	return rc;
}

/*
 * The options of raw_write and of encrypted delta sources, "cipher=…,secret=…", to a cipher.  source: reference/fwup-format "12.6"
 */
#include "apply_int.h"
#include "base/encode.h"

static const struct {
	const char *name;
	nh_disk_cipher_kind kind;
	bool base64; /* the key may also be written so: deprecated, but in the field */
} ciphers[] = {
	{"aes-cbc-plain", NH_DISK_AES_CBC_PLAIN, true},
	{"aes-xts-plain64", NH_DISK_AES_XTS_PLAIN64, false},
};

struct options {
	nh_slice cipher, secret;
};

static nh_rc option_take(struct options *o, nh_slice text, struct nh_err *err)
{
	nh_slice name, value;
	nh_slice_cut(text, '=', &name, &value);
	if (nh_slice_eq_str(name, "cipher"))
		o->cipher = value;
	else if (nh_slice_eq_str(name, "secret"))
		o->secret = value;
	else
		return NH_FAIL(err, NH_EFORMAT, "Unexpected parameter: %.*s", NH_ARG(name)); /* not its value, which may be a secret in the wrong place */
	return NH_OK;
}

nh_rc nh_fw_disk_cipher_of(const nh_slice *options, size_t count, struct nh_disk_cipher **out, struct nh_err *err)
{
	struct options o = {0};
	*out = NULL;
	for (size_t i = 0; i < count; i++) {
		nh_slice part, rest = options[i];
		while (rest.len > 0) {
			nh_slice_cut(rest, ',', &part, &rest);
			NH_TRY(option_take(&o, part, err));
		}
	}
	if (o.cipher.len == 0 && o.secret.len == 0)
		return NH_OK;
	if (o.cipher.len == 0 || o.secret.len == 0)
		return NH_FAIL(err, NH_EFORMAT, "encryption needs both cipher= and secret=");
	for (size_t i = 0; i < NH_ARRAY_LEN(ciphers); i++) {
		if (!nh_slice_eq_str(o.cipher, ciphers[i].name))
			continue;
		uint8_t key[64];
		size_t len = nh_disk_cipher_key_len(ciphers[i].kind);
		struct nh_buf decoded = NH_BUF_INIT;
		nh_rc rc = nh_hex_decode_fixed(o.secret, key, len);
		if (rc != NH_OK && ciphers[i].base64 && nh_b64_decode(o.secret, NH_B64_STD, &decoded) == NH_OK && decoded.len == len) {
			for (size_t k = 0; k < len; k++)
				key[k] = decoded.ptr[k];
			rc = NH_OK;
		}
		nh_buf_wipe(&decoded);
		rc = rc == NH_OK ? nh_disk_cipher_new(ciphers[i].kind, nh_slice_of(key, len), out, err) :
				   NH_FAIL(err, NH_EFORMAT, "%s: the secret must be %zu hex digits", ciphers[i].name, len * 2);
		explicit_bzero(key, sizeof key);
		return rc;
	}
	return NH_FAIL(err, NH_EUNSUPPORTED, "Unsupported cipher '%.*s'", NH_ARG(o.cipher));
}

/*
 * From a certificate to its 72 bytes. Nothing is compressed without being rebuilt and compared: a certificate that would come back otherwise makes a device whose chain never
 * verifies, and nobody would notice before the first handshake (traps 3 and 4).
 */
#include "base/der.h"
#include "base/encode.h"
#include "certificate_int.h"

/* A Name for people: "CN=Signer, O=…", what is not UTF-8 text in hexadecimal. */
static void name_describe(struct nh_buf *out, nh_slice name)
{
	static const struct {
		const char *oid, *shown;
	} known[] = {{"\x55\x04\x03", "CN"}, {"\x55\x04\x05", "serialNumber"}, {"\x55\x04\x06", "C"}, {"\x55\x04\x07", "L"}, {"\x55\x04\x08", "ST"}, {"\x55\x04\x0a", "O"}, {"\x55\x04\x0b", "OU"}};
	struct nh_rd r = nh_rd_of(name);
	struct nh_rd sets = nh_rd_of(nh_der_expect(&r, NH_DER_SEQUENCE).content);
	size_t begin = out->len;
	while (nh_rd_left(&sets)) {
		struct nh_rd set = nh_rd_of(nh_der_expect(&sets, NH_DER_SET).content);
		struct nh_rd pair = nh_rd_of(nh_der_expect(&set, NH_DER_SEQUENCE).content);
		nh_slice oid = nh_der_expect(&pair, NH_DER_OID).content;
		struct nh_der value = nh_der_next(&pair);
		const char *shown = "?";
		for (size_t i = 0; i < NH_ARRAY_LEN(known); i++)
			if (nh_slice_eq_str(oid, known[i].oid))
				shown = known[i].shown;
		nh_buf_printf(out, "%s%s=", out->len > begin ? ", " : "", shown);
		bool text = nh_utf8_valid(value.content);
		for (size_t i = 0; i < value.content.len; i++)
			text &= value.content.ptr[i] >= 0x20 && value.content.ptr[i] != 0x7f;
		if (text)
			nh_buf_put_slice(out, nh_slice_sub(value.content, 0, 64));
		else
			nh_hex_put(out, nh_slice_sub(value.content, 0, 32));
		if (text && value.tag != NH_DER_UTF8_STRING)
			nh_buf_printf(out, " (string type 0x%02x, not UTF8String)", value.tag);
	}
	if (out->len == begin)
		nh_buf_put_str(out, "empty");
}

static void hex_describe(struct nh_buf *out, nh_slice item)
{
	nh_hex_put(out, nh_slice_sub(item, 0, 40));
	nh_buf_put_str(out, item.len > 40 ? "…" : item.len == 0 ? "absent" : "");
}

/* In the order in which telling helps: a serial number differs wherever dates or keys do. */
static const struct {
	const char *name;
	size_t at; /* in struct nh_nerveskey_fields */
	void (*describe)(struct nh_buf *out, nh_slice item);
	const char *must_signer, *must_device; /* in words, where bytes say nothing */
} compared[] = {
	{"issuer", offsetof(struct nh_nerveskey_fields, issuer), name_describe},
	{"subject", offsetof(struct nh_nerveskey_fields, subject), name_describe},
	{"public key", offsetof(struct nh_nerveskey_fields, spki), hex_describe},
	{"validity", offsetof(struct nh_nerveskey_fields, validity), hex_describe},
	{"version", offsetof(struct nh_nerveskey_fields, version), hex_describe},
	{"extensions", offsetof(struct nh_nerveskey_fields, rest), NULL,
	 "basicConstraints (critical, CA, path length 0), keyUsage (critical: digitalSignature, keyCertSign, cRLSign), extKeyUsage (serverAuth, clientAuth), subjectKeyIdentifier and "
	 "authorityKeyIdentifier (SHA-1 of the whole SubjectPublicKeyInfo), in this order",
	 "basicConstraints (empty), keyUsage (critical: digitalSignature, keyEncipherment), extKeyUsage (clientAuth), authorityKeyIdentifier (SHA-1 of the signer's whole "
	 "SubjectPublicKeyInfo), in this order"},
	{"serial number", offsetof(struct nh_nerveskey_fields, serial), hex_describe},
	{"signature", offsetof(struct nh_nerveskey_fields, signature), hex_describe},
};

/* der is not what its 72 bytes give back: which part, and what it must be. */
static nh_rc differs(nh_nerveskey_template which, nh_slice der, nh_slice rebuilt, struct nh_err *err)
{
	struct nh_nerveskey_fields is, must;
	bool signer = which == NH_NERVESKEY_TEMPLATE_SIGNER;
	const char *what = signer ? "signer" : "device";
	NH_TRY(nh_nerveskey_fields_of(der, &is, err));
	NH_TRY(nh_nerveskey_fields_of(rebuilt, &must, err));
	for (size_t i = 0; i < NH_ARRAY_LEN(compared); i++) {
		nh_slice a = *(const nh_slice *)(const void *)((const char *)&is + compared[i].at), b = *(const nh_slice *)(const void *)((const char *)&must + compared[i].at);
		NH_AUTO_BUF struct nh_buf have = NH_BUF_INIT, want = NH_BUF_INIT;
		if (nh_slice_eq(a, b))
			continue;
		if (!compared[i].describe)
			return NH_FAIL(err, NH_EINVAL, "the %s certificate cannot be rebuilt from what the chip stores of it: its extensions must be %s", what,
				       signer ? compared[i].must_signer : compared[i].must_device);
		compared[i].describe(&have, a);
		compared[i].describe(&want, b);
		return NH_FAIL(err, NH_EINVAL, "the %s certificate cannot be rebuilt from what the chip stores of it: its %s is %s and must be %s", what, compared[i].name,
			       nh_buf_cstr(&have), nh_buf_cstr(&want));
	}
	return NH_FAIL(err, NH_EINVAL, "the %s certificate cannot be rebuilt from what the chip stores of it: it is not DER in its shortest form", what);
}

nh_rc nh_nerveskey_compress(nh_nerveskey_template which, nh_slice der, const struct nh_nerveskey_parts *parts, uint8_t out[NH_NERVESKEY_COMPRESSED_LEN], struct nh_err *err)
{
	struct nh_nerveskey_certificate c;
	struct nh_nerveskey_parts all = *parts;
	uint8_t dates[3];
	NH_AUTO_BUF struct nh_buf rebuilt = NH_BUF_INIT;
	struct nh_err why = NH_ERR_INIT;
	if (nh_nerveskey_certificate_parse(der, &c, &why) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "%s", why.msg);
	NH_TRY(nh_nerveskey_dates_encode(c.not_before_s, c.not_after_s, dates, err));
	nh_nerveskey_compressed_fill(which, c.signature, dates, out);
	all.subject_key = parts->subject_key ? parts->subject_key : c.public_key;
	NH_TRY(nh_nerveskey_certificate_rebuild(which, out, &all, &rebuilt, err));
	return nh_slice_eq(nh_buf_slice(&rebuilt), der) ? NH_OK : differs(which, der, nh_buf_slice(&rebuilt), err);
}

nh_rc nh_nerveskey_signer_compress(nh_slice der, uint8_t out[NH_NERVESKEY_COMPRESSED_LEN], struct nh_err *err)
{
	struct nh_nerveskey_certificate c;
	NH_TRY(nh_nerveskey_compress(NH_NERVESKEY_TEMPLATE_SIGNER, der, &(struct nh_nerveskey_parts){0}, out, err));
	if (nh_nerveskey_certificate_parse(der, &c, err) != NH_OK || nh_nerveskey_certificate_check(der, c.public_key, NULL) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "the signer certificate is not signed by its own key");
	return NH_OK;
}

nh_rc nh_nerveskey_device_compress(nh_slice der, const struct nh_nerveskey_parts *parts, uint8_t out[NH_NERVESKEY_COMPRESSED_LEN], struct nh_err *err)
{
	NH_TRY(nh_nerveskey_compress(NH_NERVESKEY_TEMPLATE_DEVICE, der, parts, out, err));
	if (nh_nerveskey_certificate_check(der, parts->signer_key, NULL) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "the device certificate is not signed by the signer's key");
	return NH_OK;
}

/*
 * Certificates from outside: finding their parts in DER, the facts the chip's format needs, checking a signature. Only what a NervesKey's certificate can be is understood;
 * this is no general X.509 reader and decides nothing about trust.
 */
#include "base/der.h"
#include "base/pem.h"
#include "certificate_int.h"

nh_rc nh_nerveskey_fields_of(nh_slice der, struct nh_nerveskey_fields *out, struct nh_err *err)
{
	struct nh_rd all = nh_rd_of(der);
	struct nh_rd certificate = nh_rd_of(nh_der_expect(&all, NH_DER_SEQUENCE).content);
	struct nh_der tbs = nh_der_expect(&certificate, NH_DER_SEQUENCE);
	out->tbs = tbs.whole;
	out->outer_algorithm = nh_der_expect(&certificate, NH_DER_SEQUENCE).whole;
	out->signature = nh_der_expect(&certificate, NH_DER_BIT_STRING).whole;
	struct nh_rd r = nh_rd_of(tbs.content);
	out->version = out->rest = NH_SLICE_EMPTY;
	if (tbs.content.len && tbs.content.ptr[0] == NH_DER_CONTEXT_0)
		out->version = nh_der_next(&r).whole;
	out->serial = nh_der_expect(&r, NH_DER_INTEGER).whole;
	out->algorithm = nh_der_expect(&r, NH_DER_SEQUENCE).whole;
	out->issuer = nh_der_expect(&r, NH_DER_SEQUENCE).whole;
	out->validity = nh_der_expect(&r, NH_DER_SEQUENCE).whole;
	out->subject = nh_der_expect(&r, NH_DER_SEQUENCE).whole;
	out->spki = nh_der_expect(&r, NH_DER_SEQUENCE).whole;
	out->rest = nh_rd_bytes(&r, nh_rd_left(&r));
	if (!nh_rd_ok(&all) || !nh_rd_ok(&certificate) || !nh_rd_ok(&r))
		return NH_FAIL(err, NH_EFORMAT, "this is not an X.509 certificate");
	if (nh_rd_left(&all) || nh_rd_left(&certificate))
		return NH_FAIL(err, NH_EFORMAT, "the certificate is followed by bytes that do not belong to it");
	return NH_OK;
}

static nh_rc parse_time(struct nh_rd *r, int64_t *out_s)
{
	struct nh_der t = nh_der_next(r);
	bool utc = t.tag == NH_DER_UTC_TIME;
	size_t year_len = utc ? 2 : 4;
	if (!nh_rd_ok(r) || (!utc && t.tag != NH_DER_GENERALIZED_TIME) || t.content.len != year_len + 11 || t.content.ptr[t.content.len - 1] != 'Z')
		return NH_EFORMAT;
	for (size_t i = 0; i + 1 < t.content.len; i++)
		if (t.content.ptr[i] < '0' || t.content.ptr[i] > '9')
			return NH_EFORMAT;
	const uint8_t *d = t.content.ptr;
	NH_AUTO_BUF struct nh_buf iso = NH_BUF_INIT;
	nh_buf_put_str(&iso, !utc ? "" : d[0] >= '5' ? "19" : "20"); /* RFC 5280 4.1.2.5.1 */
	nh_buf_put(&iso, d, year_len);
	d += year_len;
	nh_buf_printf(&iso, "-%.2s-%.2sT%.2s:%.2s:%.2sZ", (const char *)d, (const char *)d + 2, (const char *)d + 4, (const char *)d + 6, (const char *)d + 8);
	int64_t at_us = 0;
	NH_TRY(nh_time_parse_iso(nh_buf_slice(&iso), &at_us));
	/* A whole second always; years before 1970 are negative and stay what they are. */
	*out_s = at_us / NH_US_PER_S;
	return NH_OK;
}

static nh_rc parse_validity(nh_slice validity, struct nh_nerveskey_certificate *out)
{
	struct nh_rd r = nh_rd_of(validity);
	struct nh_rd in = nh_rd_of(nh_der_expect(&r, NH_DER_SEQUENCE).content);
	NH_TRY(parse_time(&in, &out->not_before_s));
	NH_TRY(parse_time(&in, &out->not_after_s));
	return nh_rd_left(&in) ? NH_EFORMAT : NH_OK;
}

/* The last commonName of a Name: empty where there is none. A Name that is not one gives nothing either. */
static nh_slice common_name(nh_slice name)
{
	struct nh_rd r = nh_rd_of(name);
	struct nh_rd sets = nh_rd_of(nh_der_expect(&r, NH_DER_SEQUENCE).content);
	nh_slice found = NH_SLICE_EMPTY;
	while (nh_rd_left(&sets)) {
		struct nh_rd set = nh_rd_of(nh_der_expect(&sets, NH_DER_SET).content);
		while (nh_rd_left(&set)) {
			struct nh_rd pair = nh_rd_of(nh_der_expect(&set, NH_DER_SEQUENCE).content);
			nh_slice oid = nh_der_expect(&pair, NH_DER_OID).content;
			struct nh_der value = nh_der_next(&pair);
			if (nh_rd_ok(&pair) && nh_slice_eq(oid, NH_LIT("\x55\x04\x03")))
				found = value.content;
		}
	}
	return found;
}

static nh_rc parse_signature(nh_slice bit_string, uint8_t signature[NH_P256_SIGNATURE_LEN], struct nh_err *err)
{
	struct nh_rd r = nh_rd_of(bit_string);
	nh_slice content = nh_der_expect(&r, NH_DER_BIT_STRING).content;
	if (content.len < 1 || content.ptr[0] != 0 || nh_p256_signature_parse_der(nh_slice_skip(content, 1), signature) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "the certificate's signature is not a well-formed ECDSA signature for P-256");
	return NH_OK;
}

static nh_rc parse_key(nh_slice spki, uint8_t key[NH_P256_PUBLIC_LEN], struct nh_err *err)
{
	switch (nh_p256_spki_parse(spki, key)) {
	case NH_OK: return NH_OK;
	case NH_EUNSUPPORTED: return NH_FAIL(err, NH_EUNSUPPORTED, "the certificate's key is not an EC key on P-256 (prime256v1), the only kind that the chip knows");
	case NH_EINVAL: return NH_FAIL(err, NH_EFORMAT, "the certificate's public key is not a point of P-256");
	default: return NH_FAIL(err, NH_EFORMAT, "the certificate's public key is not well-formed");
	}
}

static nh_rc check_algorithms(const struct nh_nerveskey_fields *f, struct nh_err *err)
{
	nh_slice known = nh_slice_of(nh_nerveskey_ecdsa_sha256, sizeof nh_nerveskey_ecdsa_sha256);
	if (nh_slice_eq(f->algorithm, known) && nh_slice_eq(f->outer_algorithm, known))
		return NH_OK;
	return NH_FAIL(err, NH_EUNSUPPORTED, "the certificate is not signed with ecdsa-with-SHA256, the only algorithm that the chip's format knows");
}

nh_rc nh_nerveskey_certificate_parse(nh_slice der, struct nh_nerveskey_certificate *out, struct nh_err *err)
{
	struct nh_nerveskey_fields f;
	*out = (struct nh_nerveskey_certificate){0};
	if (der.len > CERTIFICATE_MAX)
		return NH_FAIL(err, NH_EFORMAT, "a certificate of %zu bytes is none of a NervesKey", der.len);
	NH_TRY(nh_nerveskey_fields_of(der, &f, err));
	NH_TRY(check_algorithms(&f, err));
	NH_TRY(parse_key(f.spki, out->public_key, err));
	NH_TRY(parse_signature(f.signature, out->signature, err));
	if (parse_validity(f.validity, out) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "the certificate's validity is not two times in the forms of RFC 5280");
	struct nh_rd serial = nh_rd_of(f.serial);
	out->tbs = f.tbs;
	out->serial = nh_der_next(&serial).content;
	out->issuer = f.issuer;
	out->subject = f.subject;
	out->common_name = common_name(f.subject);
	nh_p256_sha1(f.spki, out->key_identifier);
	return NH_OK;
}

nh_rc nh_nerveskey_certificate_check(nh_slice der, const uint8_t signer_key[NH_P256_PUBLIC_LEN], struct nh_err *err)
{
	struct nh_nerveskey_fields f;
	uint8_t signature[NH_P256_SIGNATURE_LEN], digest[32];
	NH_TRY(nh_nerveskey_fields_of(der, &f, err));
	if (check_algorithms(&f, NULL) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "the certificate is not signed with ecdsa-with-SHA256");
	NH_TRY(parse_signature(f.signature, signature, err));
	nh_p256_sha256(f.tbs, digest);
	if (nh_p256_verify(signer_key, nh_slice_of(digest, sizeof digest), signature) != NH_OK)
		return NH_FAIL(err, NH_EAUTH, "the certificate's signature was not made by the signer's key");
	return NH_OK;
}

nh_rc nh_nerveskey_certificate_read(nh_slice text, struct nh_buf *der, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf block = NH_BUF_INIT;
	nh_slice label, rest = text;
	for (nh_rc rc; (rc = nh_pem_find(rest, &label, &block, &rest)) != NH_ENOTFOUND; nh_buf_clear(&block)) {
		if (rc != NH_OK)
			return NH_FAIL(err, NH_EFORMAT, "the PEM text is broken");
		if (!nh_slice_eq(label, NH_LIT("CERTIFICATE")))
			continue;
		nh_buf_put_slice(der, nh_buf_slice(&block));
		return nh_buf_check(der, "the certificate", err);
	}
	if (text.len == 0 || text.ptr[0] != NH_DER_SEQUENCE || text.len > CERTIFICATE_MAX)
		return NH_FAIL(err, NH_EFORMAT, "there is no certificate in it, neither PEM (-----BEGIN CERTIFICATE-----) nor DER");
	nh_buf_put_slice(der, text);
	return nh_buf_check(der, "the certificate", err);
}

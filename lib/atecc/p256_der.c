/*
 * P-256 keys and signatures as files and certificates hold them. All of these have a fixed shape (RFC 5480, RFC 5915), so writing is a template with the numbers put in; reading follows the DER.
 * source: reference/nerveskey "8.3", "8.4", "9"
 */
#include "atecc/p256.h"
#include "base/der.h"
#include "base/pem.h"

#define DER_OCTET_STRING 0x04
#define DER_OID 0x06
#define DER_CONTEXT_1 0xA1
#define PEM_TEXT_MAX ((size_t)64 << 10)
#define KEY_DER_MAX 512u

#define OID_EC_PUBLIC_KEY "\x2a\x86\x48\xce\x3d\x02\x01"
#define OID_P256 "\x2a\x86\x48\xce\x3d\x03\x01\x07"

/* ---- signatures */

/* 1 to 33 bytes: without leading zeros, with one where the top bit would make the number negative. */
static void integer_put(struct nh_buf *out, const uint8_t number[NH_P256_LEN])
{
	nh_slice rest = nh_slice_of(number, NH_P256_LEN);
	while (rest.len > 1 && rest.ptr[0] == 0)
		rest = nh_slice_skip(rest, 1);
	bool sign = rest.ptr[0] & 0x80;
	nh_buf_put_u8(out, NH_DER_INTEGER);
	nh_buf_put_u8(out, (uint8_t)(rest.len + sign));
	if (sign)
		nh_buf_put_u8(out, 0);
	nh_buf_put_slice(out, rest);
}

void nh_p256_signature_put_der(struct nh_buf *out, const uint8_t signature[NH_P256_SIGNATURE_LEN])
{
	size_t length_at = out->len + 1;
	nh_buf_put(out, "\x30\x00", 2);
	integer_put(out, signature);
	integer_put(out, signature + NH_P256_LEN);
	if (nh_buf_ok(out))
		out->ptr[length_at] = (uint8_t)(out->len - length_at - 1);
}

/* number: content of an INTEGER or OCTET STRING, right-aligned into 32 bytes. false: it needs more. */
static bool number_take(nh_slice content, uint8_t out[NH_P256_LEN])
{
	while (content.len > NH_P256_LEN && content.ptr[0] == 0)
		content = nh_slice_skip(content, 1);
	if (content.len > NH_P256_LEN)
		return false;
	memset(out, 0, NH_P256_LEN);
	for (size_t i = 0; i < content.len; i++)
		out[NH_P256_LEN - content.len + i] = content.ptr[i];
	return true;
}

nh_rc nh_p256_signature_parse_der(nh_slice der, uint8_t signature[NH_P256_SIGNATURE_LEN])
{
	struct nh_rd r = nh_rd_of(der);
	struct nh_rd body = nh_rd_of(nh_der_expect(&r, NH_DER_SEQUENCE).content);
	nh_slice first = nh_der_expect(&body, NH_DER_INTEGER).content, second = nh_der_expect(&body, NH_DER_INTEGER).content;
	if (!nh_rd_ok(&r) || !nh_rd_ok(&body) || !number_take(first, signature) || !number_take(second, signature + NH_P256_LEN))
		return NH_EFORMAT;
	/* There is one way to write each signature: whatever is not it (longer lengths, more zeros, a negative number, trailing bytes) differs here. */
	NH_AUTO_BUF struct nh_buf again = NH_BUF_INIT;
	nh_p256_signature_put_der(&again, signature);
	return nh_slice_eq(nh_buf_slice(&again), der) ? NH_OK : NH_EFORMAT;
}

/* ---- public keys */

static const uint8_t spki_head[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
				    0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};

void nh_p256_spki_put(struct nh_buf *out, const uint8_t public_key[NH_P256_PUBLIC_LEN])
{
	nh_buf_put(out, spki_head, sizeof spki_head);
	nh_buf_put(out, public_key, NH_P256_PUBLIC_LEN);
}

/* An AlgorithmIdentifier of a key on P-256. NH_EUNSUPPORTED: another one. */
static nh_rc algorithm_check(nh_slice content)
{
	struct nh_rd r = nh_rd_of(content);
	nh_slice type = nh_der_expect(&r, DER_OID).content;
	if (!nh_rd_ok(&r))
		return NH_EFORMAT;
	if (!nh_slice_eq(type, NH_LIT(OID_EC_PUBLIC_KEY)))
		return NH_EUNSUPPORTED;
	struct nh_der curve = nh_der_next(&r);
	if (!nh_rd_ok(&r) || nh_rd_left(&r))
		return NH_EFORMAT;
	return curve.tag == DER_OID && nh_slice_eq(curve.content, NH_LIT(OID_P256)) ? NH_OK : NH_EUNSUPPORTED;
}

/* Content of a BIT STRING with an uncompressed point. */
static nh_rc point_take(nh_slice bits, uint8_t public_key[NH_P256_PUBLIC_LEN])
{
	struct nh_rd r = nh_rd_of(bits);
	uint8_t unused = nh_rd_u8(&r), form = nh_rd_u8(&r);
	if (!nh_rd_ok(&r) || unused != 0)
		return NH_EFORMAT;
	if (form == 2 || form == 3)
		return NH_EUNSUPPORTED; /* compressed */
	nh_slice numbers = nh_rd_bytes(&r, NH_P256_PUBLIC_LEN);
	if (form != 4 || !nh_rd_ok(&r) || nh_rd_left(&r))
		return NH_EFORMAT;
	memmove(public_key, numbers.ptr, NH_P256_PUBLIC_LEN);
	return NH_OK;
}

nh_rc nh_p256_spki_parse(nh_slice der, uint8_t public_key[NH_P256_PUBLIC_LEN])
{
	struct nh_rd r = nh_rd_of(der);
	struct nh_rd body = nh_rd_of(nh_der_expect(&r, NH_DER_SEQUENCE).content);
	struct nh_der algorithm = nh_der_expect(&body, NH_DER_SEQUENCE), bits = nh_der_expect(&body, NH_DER_BIT_STRING);
	if (!nh_rd_ok(&r) || nh_rd_left(&r) || !nh_rd_ok(&body) || nh_rd_left(&body))
		return NH_EFORMAT;
	NH_TRY(algorithm_check(algorithm.content));
	NH_TRY(point_take(bits.content, public_key));
	return nh_p256_public_check(public_key);
}

/* ---- private keys */

void nh_p256_key_put_pem(struct nh_buf *out, const struct nh_p256_key *key)
{
	static const uint8_t head[] = {0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20}, parameters[] = {0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07},
			     point[] = {0xa1, 0x44, 0x03, 0x42, 0x00, 0x04};
	struct nh_buf der = NH_BUF_INIT;
	nh_buf_reserve(&der, KEY_DER_MAX); /* so that growing leaves no copy behind */
	nh_buf_put(&der, head, sizeof head);
	nh_buf_put(&der, key->scalar, NH_P256_LEN);
	nh_buf_put(&der, parameters, sizeof parameters);
	nh_buf_put(&der, point, sizeof point);
	nh_buf_put(&der, key->public_key, NH_P256_PUBLIC_LEN);
	nh_pem_put(out, "EC PRIVATE KEY", nh_buf_slice(&der));
	nh_buf_wipe(&der);
}

/* ECPrivateKey (RFC 5915). named: the curve was already said around it, so that parameters may be missing. */
static nh_rc sec1_parse(nh_slice der, bool named, struct nh_p256_key *out, struct nh_err *err)
{
	struct nh_rd r = nh_rd_of(der);
	struct nh_rd body = nh_rd_of(nh_der_expect(&r, NH_DER_SEQUENCE).content);
	nh_slice version = nh_der_expect(&body, NH_DER_INTEGER).content, number = nh_der_expect(&body, DER_OCTET_STRING).content;
	nh_slice bits = NH_SLICE_EMPTY;
	if (!nh_rd_ok(&r) || nh_rd_left(&r) || !nh_rd_ok(&body) || !nh_slice_eq(version, NH_LIT("\x01")))
		return NH_FAIL(err, NH_EFORMAT, "the private key is not a well-formed EC key");
	if (nh_rd_left(&body) && nh_rd_peek(&body) == NH_DER_CONTEXT_0) {
		struct nh_rd inside = nh_rd_of(nh_der_next(&body).content);
		struct nh_der curve = nh_der_next(&inside);
		named = curve.tag == DER_OID && nh_slice_eq(curve.content, NH_LIT(OID_P256)) && nh_rd_left(&inside) == 0;
	}
	if (nh_rd_left(&body) && nh_rd_peek(&body) == DER_CONTEXT_1) {
		struct nh_rd inside = nh_rd_of(nh_der_next(&body).content);
		bits = nh_der_expect(&inside, NH_DER_BIT_STRING).content;
		if (!nh_rd_ok(&inside) || nh_rd_left(&inside))
			return NH_FAIL(err, NH_EFORMAT, "the public key inside of the private key is garbled");
	}
	if (!nh_rd_ok(&body) || nh_rd_left(&body))
		return NH_FAIL(err, NH_EFORMAT, "the private key is not a well-formed EC key");
	if (!named || number.len > NH_P256_LEN + 1) /* GnuTLS writes a zero in front where the top bit is set */
		return NH_FAIL(err, NH_EUNSUPPORTED, "the private key is not one on the curve P-256 (prime256v1, secp256r1)");
	uint8_t scalar[NH_P256_LEN], public_key[NH_P256_PUBLIC_LEN];
	nh_rc rc = number_take(number, scalar) ? nh_p256_from_scalar(scalar, out) : NH_EINVAL;
	explicit_bzero(scalar, sizeof scalar);
	if (rc != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "the private key's number is not one of the curve's");
	rc = bits.len ? point_take(bits, public_key) : NH_EUNSUPPORTED;
	if (rc == NH_EUNSUPPORTED) /* none, or in the compressed form: nothing to compare */
		return NH_OK;
	if (rc != NH_OK)
		return NH_FAIL(err, rc, "the public key inside of the private key is garbled");
	if (!nh_slice_eq(nh_slice_of(public_key, sizeof public_key), nh_slice_of(out->public_key, NH_P256_PUBLIC_LEN)))
		return NH_FAIL(err, NH_EINVAL, "the public key in the file does not belong to the private key beside it");
	return NH_OK;
}

/* PrivateKeyInfo (RFC 5958); attributes behind the key are not looked at. */
static nh_rc pkcs8_parse(nh_slice der, struct nh_p256_key *out, struct nh_err *err)
{
	struct nh_rd r = nh_rd_of(der);
	struct nh_rd body = nh_rd_of(nh_der_expect(&r, NH_DER_SEQUENCE).content);
	nh_slice version = nh_der_expect(&body, NH_DER_INTEGER).content;
	nh_slice algorithm = nh_der_expect(&body, NH_DER_SEQUENCE).content, key = nh_der_expect(&body, DER_OCTET_STRING).content;
	if (!nh_rd_ok(&r) || nh_rd_left(&r) || !nh_rd_ok(&body) || version.len != 1 || version.ptr[0] > 1)
		return NH_FAIL(err, NH_EFORMAT, "the private key is not well-formed PKCS#8");
	nh_rc rc = algorithm_check(algorithm);
	if (rc != NH_OK)
		return NH_FAIL(err, rc, "the private key is not one on the curve P-256 (prime256v1, secp256r1)");
	return sec1_parse(key, true, out, err);
}

nh_rc nh_p256_key_parse_pem(nh_slice pem, struct nh_p256_key *out, struct nh_err *err)
{
	nh_slice label = NH_SLICE_EMPTY, rest = pem;
	struct nh_buf der = NH_BUF_INIT;
	nh_rc rc;
	*out = (struct nh_p256_key){0};
	if (pem.len > PEM_TEXT_MAX)
		return NH_FAIL(err, NH_EFORMAT, "a key file of %zu bytes: expected at most %zu", pem.len, PEM_TEXT_MAX);
	do {
		nh_buf_wipe(&der);
		nh_buf_reserve(&der, KEY_DER_MAX);
		rc = nh_pem_find(rest, &label, &der, &rest);
	} while (rc == NH_OK && nh_slice_eq_str(label, "EC PARAMETERS"));
	if (nh_slice_eq_str(label, "ENCRYPTED PRIVATE KEY") || nh_slice_find(pem, NH_LIT("Proc-Type: 4,ENCRYPTED")) >= 0)
		rc = NH_FAIL(err, NH_EUNSUPPORTED, "the private key is encrypted: decrypt it first (openssl pkey -in FILE -out NEW)");
	else if (rc != NH_OK)
		rc = NH_FAIL(err, NH_EFORMAT, rc == NH_ENOTFOUND ? "no PEM block with a private key" : "the PEM block of the private key is garbled");
	else if (nh_slice_eq_str(label, "EC PRIVATE KEY"))
		rc = sec1_parse(nh_buf_slice(&der), false, out, err);
	else if (nh_slice_eq_str(label, "PRIVATE KEY"))
		rc = pkcs8_parse(nh_buf_slice(&der), out, err);
	else
		rc = NH_FAIL(err, NH_EUNSUPPORTED, "the file holds a %.*s, not an EC private key", NH_ARG(label));
	nh_buf_wipe(&der);
	if (rc != NH_OK)
		nh_p256_key_wipe(out);
	return rc;
}

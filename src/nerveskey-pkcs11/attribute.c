/*
 * What each object answers to each attribute: tables of rows, one table a class, behind what all have in common. An attribute that is in no table does not exist.
 */
#include "module.h"

#include <time.h>

#include "atecc/p256.h"
#include "nerveskey/certificate.h"

typedef CK_RV (*getter)(const struct object *o, CK_ULONG arg, struct nh_buf *out);
struct row {
	CK_ATTRIBUTE_TYPE type;
	getter get;
	CK_ULONG arg;
};

static CK_RV boolean(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	nh_buf_put_u8(out, arg ? CK_TRUE : CK_FALSE);
	return CKR_OK;
}

static CK_RV number(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	nh_buf_put(out, &arg, sizeof arg);
	return CKR_OK;
}

static CK_RV nothing(const struct object *o, CK_ULONG arg, struct nh_buf *out) { return CKR_OK; }
static CK_RV sensitive(const struct object *o, CK_ULONG arg, struct nh_buf *out) { return CKR_ATTRIBUTE_SENSITIVE; }
static CK_RV class(const struct object *o, CK_ULONG arg, struct nh_buf *out) { return number(o, object_class(o->kind), out); }

/* The aux pair, shown beside the primary one, needs names of its own; shown alone, it takes the primary's. */
static bool beside(const struct object *o)
{
	return o->slot->set.pair == PAIR_BOTH && (o->kind == OBJECT_AUX_DEVICE_CERTIFICATE || o->kind == OBJECT_AUX_SIGNER_CERTIFICATE);
}

static bool of_signer(const struct object *o) { return o->kind == OBJECT_SIGNER_CERTIFICATE || o->kind == OBJECT_AUX_SIGNER_CERTIFICATE; }

/* As it has always been for the key: '0' plus the slot. The same for its public half and its certificate, so that they are found together. */
static CK_RV id(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	nh_buf_put_u8(out, (uint8_t)('0' + o->slot->set.id));
	if (beside(o))
		nh_buf_put_str(out, "a");
	if (of_signer(o))
		nh_buf_put_str(out, "s");
	return CKR_OK;
}

static CK_RV label(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	nh_buf_put_str(out, o->slot->set.label);
	if (beside(o))
		nh_buf_put_str(out, " aux");
	if (of_signer(o))
		nh_buf_put_str(out, " signer");
	return CKR_OK;
}

static CK_RV curve(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	static const uint8_t prime256v1[] = {0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07};
	nh_buf_put(out, prime256v1, sizeof prime256v1);
	return CKR_OK;
}

/* An OCTET STRING around the uncompressed point; libp11 and OpenSC insist on the wrapping. */
static CK_RV point(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	nh_buf_put(out, (const uint8_t[]){0x04, 65, 0x04}, 3);
	nh_buf_put(out, o->slot->info.public_key, NH_P256_PUBLIC_LEN);
	return CKR_OK;
}

static CK_RV key_info(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	nh_p256_spki_put(out, o->slot->info.public_key);
	return CKR_OK;
}

static CK_RV private_mechanisms(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	static const CK_MECHANISM_TYPE list[] = {CKM_ECDSA, CKM_ECDSA_SHA256, CKM_ECDH1_DERIVE};
	nh_buf_put(out, list, sizeof list);
	return CKR_OK;
}

static CK_RV public_mechanisms(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	static const CK_MECHANISM_TYPE list[] = {CKM_ECDSA, CKM_ECDSA_SHA256};
	nh_buf_put(out, list, sizeof list);
	return CKR_OK;
}

/* ---- certificates */
enum part { PART_VALUE, PART_SUBJECT, PART_ISSUER, PART_SERIAL, PART_FROM, PART_TO, PART_KEY, PART_CHECK };

static void put_date(struct nh_buf *out, int64_t at_s)
{
	struct tm tm;
	time_t t = (time_t)at_s;
	if (gmtime_r(&t, &tm))
		nh_buf_printf(out, "%04d%02d%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
}

static void put_part(const struct certificate *c, enum part which, struct nh_buf *out)
{
	uint8_t digest[20];
	switch (which) {
	case PART_VALUE: nh_buf_put_slice(out, nh_buf_slice(&c->der)); break;
	case PART_SUBJECT: nh_buf_put_slice(out, c->parsed.subject); break;
	case PART_ISSUER: nh_buf_put_slice(out, c->parsed.issuer); break;
	case PART_SERIAL: /* as the DER INTEGER that it is; at most 20 bytes long */
		nh_buf_put_u8(out, 0x02);
		nh_buf_put_u8(out, (uint8_t)c->parsed.serial.len);
		nh_buf_put_slice(out, c->parsed.serial);
		break;
	case PART_FROM: put_date(out, c->parsed.not_before_s); break;
	case PART_TO: put_date(out, c->parsed.not_after_s); break;
	case PART_KEY: nh_p256_spki_put(out, c->parsed.public_key); break;
	case PART_CHECK:
		nh_p256_sha1(nh_buf_slice(&c->der), digest);
		nh_buf_put(out, digest, 3);
		break;
	}
}

static CK_RV certificate(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	const struct certificate *c = NULL;
	CK_RV rv = object_certificate(o, &c);
	if (rv != CKR_OK || !c)
		return rv != CKR_OK ? rv : CKR_DEVICE_REMOVED;
	put_part(c, (enum part)arg, out);
	return CKR_OK;
}

/* 1: the user's own, 2: an authority's */
static CK_RV category(const struct object *o, CK_ULONG arg, struct nh_buf *out) { return number(o, of_signer(o) ? 2 : 1, out); }

/* ---- derived secrets */
static CK_RV secret_own(const struct object *o, CK_ULONG arg, struct nh_buf *out) { return secret_attribute(o->secret, arg, out); }
static CK_RV secret_type(const struct object *o, CK_ULONG arg, struct nh_buf *out) { return number(o, o->secret->type, out); }
static CK_RV secret_len(const struct object *o, CK_ULONG arg, struct nh_buf *out) { return number(o, o->secret->len, out); }
static CK_RV secret_label(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	nh_buf_put(out, o->secret->label, o->secret->label_len);
	return CKR_OK;
}
static CK_RV secret_id(const struct object *o, CK_ULONG arg, struct nh_buf *out)
{
	nh_buf_put(out, o->secret->id, o->secret->id_len);
	return CKR_OK;
}

/* clang-format off */
static const struct row of_all[] = {
	{CKA_CLASS, class, 0}, {CKA_MODIFIABLE, boolean, CK_FALSE}, {CKA_COPYABLE, boolean, CK_FALSE},
};
/* Everything of the chip's is visible without logging in. */
static const struct row of_token[] = {
	{CKA_TOKEN, boolean, CK_TRUE}, {CKA_PRIVATE, boolean, CK_FALSE}, {CKA_DESTROYABLE, boolean, CK_FALSE}, {CKA_LABEL, label, 0}, {CKA_ID, id, 0},
};
static const struct row of_key[] = {
	{CKA_KEY_TYPE, number, CKK_EC}, {CKA_START_DATE, nothing, 0}, {CKA_END_DATE, nothing, 0}, {CKA_LOCAL, boolean, CK_TRUE}, {CKA_KEY_GEN_MECHANISM, number, CKM_EC_KEY_PAIR_GEN},
	{CKA_SUBJECT, nothing, 0}, {CKA_EC_PARAMS, curve, 0}, {CKA_EC_POINT, point, 0}, {CKA_PUBLIC_KEY_INFO, key_info, 0},
};
static const struct row of_private[] = {
	{CKA_SENSITIVE, boolean, CK_TRUE}, {CKA_ALWAYS_SENSITIVE, boolean, CK_TRUE}, {CKA_EXTRACTABLE, boolean, CK_FALSE}, {CKA_NEVER_EXTRACTABLE, boolean, CK_TRUE},
	{CKA_SIGN, boolean, CK_TRUE}, {CKA_SIGN_RECOVER, boolean, CK_FALSE}, {CKA_DECRYPT, boolean, CK_FALSE}, {CKA_UNWRAP, boolean, CK_FALSE}, {CKA_DERIVE, boolean, CK_TRUE},
	{CKA_WRAP_WITH_TRUSTED, boolean, CK_FALSE}, {CKA_ALWAYS_AUTHENTICATE, boolean, CK_FALSE}, {CKA_ALLOWED_MECHANISMS, private_mechanisms, 0},
	{CKA_VALUE, sensitive, 0},
};
static const struct row of_public[] = {
	{CKA_ENCRYPT, boolean, CK_FALSE}, {CKA_VERIFY, boolean, CK_TRUE}, {CKA_VERIFY_RECOVER, boolean, CK_FALSE}, {CKA_WRAP, boolean, CK_FALSE}, {CKA_DERIVE, boolean, CK_FALSE},
	{CKA_TRUSTED, boolean, CK_FALSE}, {CKA_ALLOWED_MECHANISMS, public_mechanisms, 0},
};
static const struct row of_certificate[] = {
	{CKA_CERTIFICATE_TYPE, number, CKC_X_509}, {CKA_TRUSTED, boolean, CK_FALSE}, {CKA_CERTIFICATE_CATEGORY, category, 0}, {CKA_VALUE, certificate, PART_VALUE},
	{CKA_SUBJECT, certificate, PART_SUBJECT}, {CKA_ISSUER, certificate, PART_ISSUER}, {CKA_SERIAL_NUMBER, certificate, PART_SERIAL}, {CKA_START_DATE, certificate, PART_FROM},
	{CKA_END_DATE, certificate, PART_TO}, {CKA_PUBLIC_KEY_INFO, certificate, PART_KEY}, {CKA_CHECK_VALUE, certificate, PART_CHECK}, {CKA_URL, nothing, 0},
	{CKA_HASH_OF_SUBJECT_PUBLIC_KEY, nothing, 0}, {CKA_HASH_OF_ISSUER_PUBLIC_KEY, nothing, 0}, {CKA_JAVA_MIDP_SECURITY_DOMAIN, number, 0},
};
static const struct row of_secret[] = {
	{CKA_TOKEN, boolean, CK_FALSE}, {CKA_DESTROYABLE, boolean, CK_TRUE}, {CKA_LABEL, secret_label, 0}, {CKA_ID, secret_id, 0}, {CKA_KEY_TYPE, secret_type, 0},
	{CKA_VALUE_LEN, secret_len, 0}, {CKA_START_DATE, nothing, 0}, {CKA_END_DATE, nothing, 0}, {CKA_LOCAL, boolean, CK_FALSE},
	{CKA_KEY_GEN_MECHANISM, number, CK_UNAVAILABLE_INFORMATION}, {CKA_ALWAYS_SENSITIVE, boolean, CK_FALSE}, {CKA_NEVER_EXTRACTABLE, boolean, CK_FALSE},
	{CKA_WRAP_WITH_TRUSTED, boolean, CK_FALSE}, {CKA_TRUSTED, boolean, CK_FALSE}, {CKA_VALUE, secret_own, CKA_VALUE}, {CKA_PRIVATE, secret_own, CKA_PRIVATE},
	{CKA_SENSITIVE, secret_own, CKA_SENSITIVE}, {CKA_EXTRACTABLE, secret_own, CKA_EXTRACTABLE}, {CKA_ENCRYPT, secret_own, CKA_ENCRYPT}, {CKA_DECRYPT, secret_own, CKA_DECRYPT},
	{CKA_SIGN, secret_own, CKA_SIGN}, {CKA_VERIFY, secret_own, CKA_VERIFY}, {CKA_WRAP, secret_own, CKA_WRAP}, {CKA_UNWRAP, secret_own, CKA_UNWRAP}, {CKA_DERIVE, secret_own, CKA_DERIVE},
};
#define TABLE(t) {t, NH_ARRAY_LEN(t)}
static const struct {
	CK_OBJECT_CLASS class;
	struct { const struct row *rows; size_t count; } tables[4];
} classes[] = {
	{CKO_PRIVATE_KEY, {TABLE(of_all), TABLE(of_token), TABLE(of_key), TABLE(of_private)}},
	{CKO_PUBLIC_KEY, {TABLE(of_all), TABLE(of_token), TABLE(of_key), TABLE(of_public)}},
	{CKO_CERTIFICATE, {TABLE(of_all), TABLE(of_token), TABLE(of_certificate), {NULL, 0}}},
	{CKO_SECRET_KEY, {TABLE(of_all), TABLE(of_secret), {NULL, 0}, {NULL, 0}}},
};
/* clang-format on */

CK_RV attribute_get(const struct object *o, CK_ATTRIBUTE_TYPE type, struct nh_buf *out)
{
	nh_buf_clear(out);
	for (size_t i = 0; i < NH_ARRAY_LEN(classes); i++) {
		if (classes[i].class != object_class(o->kind))
			continue;
		for (size_t t = 0; t < NH_ARRAY_LEN(classes[i].tables); t++)
			for (size_t r = 0; r < classes[i].tables[t].count; r++) {
				const struct row *row = &classes[i].tables[t].rows[r];
				if (row->type == type) {
					CK_RV rv = row->get(o, row->arg, out);
					return rv == CKR_OK && !nh_buf_ok(out) ? CKR_HOST_MEMORY : rv;
				}
			}
	}
	return CKR_ATTRIBUTE_TYPE_INVALID;
}

CK_RV attribute_match(const struct object *o, const CK_ATTRIBUTE *attributes, CK_ULONG count, bool *out)
{
	struct nh_buf value = NH_BUF_INIT;
	CK_RV rv = CKR_OK;
	*out = true;
	for (CK_ULONG i = 0; rv == CKR_OK && *out && i < count; i++) {
		rv = attribute_get(o, attributes[i].type, &value);
		/* what it does not have or does not tell, it does not match */
		*out = rv == CKR_OK && (attributes[i].pValue || attributes[i].ulValueLen == 0) &&
		       nh_slice_eq(nh_buf_slice(&value), nh_slice_of(attributes[i].pValue, attributes[i].ulValueLen));
		if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE)
			rv = CKR_OK;
	}
	nh_buf_wipe(&value);
	return rv;
}

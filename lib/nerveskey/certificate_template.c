/*
 * Templates: everything of a certificate that is not in the 72 bytes. A template is a row here: which names, which extensions in which order, whose key identifiers and how they
 * are hashed. What comes out must be the signed bytes to the last bit.
 *
 * source: reference/nerveskey "8.3", "8.4", "8.7"
 */
#include "base/der.h"
#include "base/encode.h"
#include "certificate_int.h"

#define BYTES(s) s, sizeof(s) - 1

const uint8_t nh_nerveskey_ecdsa_sha256[12] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};

const uint8_t nh_nerveskey_tng_root_key[NH_P256_PUBLIC_LEN] = {
	0xbd, 0x54, 0xe6, 0x6d, 0xe3, 0x87, 0x54, 0x84, 0x00, 0x6b, 0x53, 0xae, 0x15, 0x80, 0xd5, 0x0a, 0xa0, 0x69, 0xe7, 0x8a, 0xdf, 0x55, 0x78, 0xd8, 0x5c, 0xe2, 0xd5, 0x4d, 0xd5, 0xb8, 0x30, 0x29,
	0x6b, 0xff, 0xdd, 0x6e, 0x6f, 0x72, 0x56, 0xfb, 0xd9, 0x9e, 0xf1, 0xa1, 0x16, 0xb1, 0x1d, 0x33, 0xad, 0x49, 0x10, 0x3a, 0xa1, 0x85, 0x87, 0x39, 0xdc, 0xfa, 0xe4, 0x37, 0xe1, 0x9d, 0x63, 0x4e,
};

typedef enum name_kind { NAME_SIGNER, NAME_MANUFACTURER, NAME_TNG_ROOT, NAME_TNG_SIGNER, NAME_TNG_CHIP } name_kind;
typedef enum key_kind { KEY_OWN, KEY_SIGNER, KEY_TNG_ROOT } key_kind;
typedef enum extension_kind { EXT_FIXED, EXT_SUBJECT_KEY, EXT_AUTHORITY_KEY, EXT_MAC } extension_kind;

struct extension {
	uint8_t id; /* of 2.5.29; 0 ends */
	bool critical;
	extension_kind kind;
	const char *fixed;
	size_t fixed_len;
};

/* Identifiers of extensions, the last number of their OID. */
#define ID_SUBJECT_KEY 0x0e
#define ID_KEY_USAGE 0x0f
#define ID_ALT_NAME 0x11
#define ID_CONSTRAINTS 0x13
#define ID_AUTHORITY_KEY 0x23
#define ID_EXT_KEY_USAGE 0x25

static const struct extension signer_extensions[] = {
	{ID_CONSTRAINTS, true, EXT_FIXED, BYTES("\x30\x06\x01\x01\xff\x02\x01\x00")}, /* CA, no CA below it */
	{ID_KEY_USAGE, true, EXT_FIXED, BYTES("\x03\x02\x01\x86")},                   /* digitalSignature, keyCertSign, cRLSign */
	{ID_EXT_KEY_USAGE, false, EXT_FIXED, BYTES("\x30\x14\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02")}, /* serverAuth, clientAuth */
	{ID_SUBJECT_KEY, false, EXT_SUBJECT_KEY},
	{ID_AUTHORITY_KEY, false, EXT_AUTHORITY_KEY},
	{0},
};

static const struct extension device_extensions[] = {
	{ID_CONSTRAINTS, false, EXT_FIXED, BYTES("\x30\x00")},
	{ID_KEY_USAGE, true, EXT_FIXED, BYTES("\x03\x02\x05\xa0")}, /* digitalSignature, keyEncipherment */
	{ID_EXT_KEY_USAGE, false, EXT_FIXED, BYTES("\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02")}, /* clientAuth */
	{ID_AUTHORITY_KEY, false, EXT_AUTHORITY_KEY},
	{0},
};

static const struct extension tng_signer_extensions[] = {
	{ID_KEY_USAGE, true, EXT_FIXED, BYTES("\x03\x02\x01\x86")},
	{ID_CONSTRAINTS, true, EXT_FIXED, BYTES("\x30\x06\x01\x01\xff\x02\x01\x00")},
	{ID_SUBJECT_KEY, false, EXT_SUBJECT_KEY},
	{ID_AUTHORITY_KEY, false, EXT_AUTHORITY_KEY},
	{0},
};

/* The older of the two device templates leaves the first out. */
static const struct extension tng_device_extensions[] = {
	{ID_ALT_NAME, false, EXT_MAC},
	{ID_CONSTRAINTS, true, EXT_FIXED, BYTES("\x30\x00")},
	{ID_KEY_USAGE, true, EXT_FIXED, BYTES("\x03\x02\x03\x88")}, /* digitalSignature, keyAgreement */
	{ID_SUBJECT_KEY, false, EXT_SUBJECT_KEY},
	{ID_AUTHORITY_KEY, false, EXT_AUTHORITY_KEY},
	{0},
};

#define TNG_OLD_DEVICE 2u /* template id */
#define SOURCE_KEY 0xAu   /* serial number: of public key and dates */
#define SOURCE_CHIP 0xBu  /* of the chip's serial number and dates */

struct template {
	const char *name;
	uint8_t id, other_id; /* template ids that it takes */
	uint8_t source;
	bool tng;             /* names with an organization, any signer id, keys hashed as points, notAfter always as GeneralizedTime */
	bool needs_signer_key, needs_chip_serial, needs_manufacturer;
	name_kind issuer, subject;
	key_kind authority;
	const struct extension *extensions;
};

static const struct template templates[] = {
	[NH_NERVESKEY_TEMPLATE_SIGNER] = {"signer certificate", 1, 1, SOURCE_KEY, .issuer = NAME_SIGNER, .subject = NAME_SIGNER, .authority = KEY_OWN, .extensions = signer_extensions},
	[NH_NERVESKEY_TEMPLATE_DEVICE] = {"device certificate", 0, 0, SOURCE_CHIP, .needs_signer_key = true, .needs_chip_serial = true, .needs_manufacturer = true,
					  .issuer = NAME_SIGNER, .subject = NAME_MANUFACTURER, .authority = KEY_SIGNER, .extensions = device_extensions},
	[NH_NERVESKEY_TEMPLATE_TNG_SIGNER] = {"Trust&Go signer certificate", 1, 1, SOURCE_KEY, .tng = true, .issuer = NAME_TNG_ROOT, .subject = NAME_TNG_SIGNER,
					      .authority = KEY_TNG_ROOT, .extensions = tng_signer_extensions},
	[NH_NERVESKEY_TEMPLATE_TNG_DEVICE] = {"Trust&Go device certificate", 3, TNG_OLD_DEVICE, SOURCE_KEY, .tng = true, .needs_signer_key = true, .needs_chip_serial = true,
					      .issuer = NAME_TNG_SIGNER, .subject = NAME_TNG_CHIP, .authority = KEY_SIGNER, .extensions = tng_device_extensions},
};

/* One rebuilding. */
struct making {
	const struct template *t;
	const struct nh_nerveskey_parts *p;
	const uint8_t *compressed;
};

static unsigned template_id(const struct making *m) { return m->compressed[COMPRESSED_TEMPLATE] >> 4; }

void nh_nerveskey_compressed_fill(nh_nerveskey_template which, const uint8_t signature[NH_P256_SIGNATURE_LEN], const uint8_t dates[3], uint8_t out[NH_NERVESKEY_COMPRESSED_LEN])
{
	memset(out, 0, NH_NERVESKEY_COMPRESSED_LEN);
	memcpy(out, signature, NH_P256_SIGNATURE_LEN);
	memcpy(out + COMPRESSED_DATES, dates, 3);
	out[COMPRESSED_TEMPLATE] = (uint8_t)(templates[which].id << 4);
	out[COMPRESSED_SOURCE] = (uint8_t)(templates[which].source << 4);
}

static nh_rc check_compressed(const struct making *m, struct nh_err *err)
{
	const struct template *t = m->t;
	const uint8_t *c = m->compressed;
	unsigned version = c[COMPRESSED_SOURCE] & 15, source = c[COMPRESSED_SOURCE] >> 4, id = template_id(m), chain = c[COMPRESSED_TEMPLATE] & 15;
	size_t zeros = 0;
	while (zeros < NH_NERVESKEY_COMPRESSED_LEN && c[zeros] == 0)
		zeros++;
	if (zeros == NH_NERVESKEY_COMPRESSED_LEN)
		return NH_FAIL(err, NH_EFORMAT, "no %s is stored: its slot holds zeros only", t->name);
	if (version != 0 || c[COMPRESSED_RESERVED] != 0)
		return NH_FAIL(err, NH_EFORMAT, "the stored %s has format version %u (reserved byte 0x%02x); only version 0 is known", t->name, version, c[COMPRESSED_RESERVED]);
	if ((id != t->id && id != t->other_id) || chain != 0)
		return NH_FAIL(err, NH_EFORMAT, "the stored %s has template %u, chain %u; expected template %u, chain 0: something else is in its slot", t->name, id, chain, t->id);
	if (source != t->source)
		return NH_FAIL(err, NH_EFORMAT, "the stored %s has serial number source 0x%X; expected 0x%X: something else is in its slot", t->name, source, t->source);
	if (!t->tng && (c[COMPRESSED_SIGNER_ID] || c[COMPRESSED_SIGNER_ID + 1]))
		return NH_FAIL(err, NH_EFORMAT, "the stored %s has signer id 0x%02x%02x; expected 0: something else is in its slot", t->name, c[COMPRESSED_SIGNER_ID], c[COMPRESSED_SIGNER_ID + 1]);
	return NH_OK;
}

static nh_rc check_parts(const struct making *m, struct nh_err *err)
{
	const struct template *t = m->t;
	const struct nh_nerveskey_parts *p = m->p;
	if (!p->subject_key || (t->needs_signer_key && !p->signer_key) || (t->needs_chip_serial && !p->chip_serial))
		return NH_FAIL(err, NH_EINVAL, "a %s needs its public key%s%s to be rebuilt", t->name, t->needs_signer_key ? ", the signer's" : "",
			       t->needs_chip_serial ? ", the chip's serial number" : "");
	if (t->needs_manufacturer && (p->manufacturer_serial.len < 1 || p->manufacturer_serial.len > NH_NERVESKEY_SERIAL_MAX))
		return NH_FAIL(err, NH_EINVAL, "a %s needs a manufacturer's serial number of 1 to %u bytes, not %zu", t->name, NH_NERVESKEY_SERIAL_MAX, p->manufacturer_serial.len);
	if (t->extensions[0].kind == EXT_MAC && template_id(m) != TNG_OLD_DEVICE && p->mac.len != 12)
		return NH_FAIL(err, NH_EINVAL, "a %s needs the chip's MAC address of 12 digits, not %zu bytes", t->name, p->mac.len);
	return NH_OK;
}

/* One RDN with one attribute. oid: the last byte of 2.5.4.x */
static void attribute_put(struct nh_buf *out, uint8_t oid, uint8_t tag, nh_slice text)
{
	size_t set = nh_der_begin(out, NH_DER_SET), pair = nh_der_begin(out, NH_DER_SEQUENCE);
	nh_der_put(out, NH_DER_OID, nh_slice_of((const uint8_t[]){0x55, 0x04, oid}, 3));
	nh_der_put(out, tag, text);
	nh_der_end(out, pair);
	nh_der_end(out, set);
}

static void common_name_put(struct nh_buf *text, const struct making *m, name_kind kind)
{
	const uint8_t *id = m->compressed + COMPRESSED_SIGNER_ID;
	bool old = template_id(m) == TNG_OLD_DEVICE;
	switch (kind) {
	case NAME_SIGNER: nh_buf_put_str(text, "Signer"); break;
	case NAME_MANUFACTURER: nh_buf_put_slice(text, m->p->manufacturer_serial); break;
	case NAME_TNG_ROOT: nh_buf_put_str(text, "Crypto Authentication Root CA 002"); break;
	case NAME_TNG_SIGNER: nh_buf_printf(text, "Crypto Authentication Signer %02X%02X", id[0], id[1]); break;
	case NAME_TNG_CHIP:
		nh_buf_put_str(text, old ? "" : "sn");
		nh_hex_put_upper(text, nh_slice_of(m->p->chip_serial, NH_ATECC_SERIAL_LEN));
		nh_buf_put_str(text, old ? " ATECC" : "");
		break;
	}
}

static void name_put(struct nh_buf *out, const struct making *m, name_kind kind)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	size_t name = nh_der_begin(out, NH_DER_SEQUENCE);
	common_name_put(&text, m, kind);
	if (m->t->tng)
		attribute_put(out, 0x0a, NH_DER_UTF8_STRING, NH_LIT("Microchip Technology Inc"));
	attribute_put(out, 0x03, NH_DER_UTF8_STRING, nh_buf_slice(&text));
	nh_der_end(out, name);
}

/* NervesKey hashes the whole SubjectPublicKeyInfo, not the point as everybody else (trap 1); Trust&Go the point. */
static void key_identifier(const struct making *m, const uint8_t key[NH_P256_PUBLIC_LEN], uint8_t out[20])
{
	NH_AUTO_BUF struct nh_buf hashed = NH_BUF_INIT;
	if (m->t->tng) {
		nh_buf_put_u8(&hashed, 4);
		nh_buf_put(&hashed, key, NH_P256_PUBLIC_LEN);
	} else {
		nh_p256_spki_put(&hashed, key);
	}
	nh_p256_sha1(nh_buf_slice(&hashed), out);
}

static const uint8_t *authority_key(const struct making *m)
{
	switch (m->t->authority) {
	case KEY_OWN: break;
	case KEY_SIGNER: return m->p->signer_key;
	case KEY_TNG_ROOT: return nh_nerveskey_tng_root_key;
	}
	return m->p->subject_key;
}

static void extension_value_put(struct nh_buf *out, const struct making *m, const struct extension *e)
{
	NH_AUTO_BUF struct nh_buf mac = NH_BUF_INIT;
	uint8_t id[20];
	size_t outer, inner;
	switch (e->kind) {
	case EXT_FIXED: nh_buf_put(out, e->fixed, e->fixed_len); break;
	case EXT_SUBJECT_KEY:
		key_identifier(m, m->p->subject_key, id);
		nh_der_put(out, NH_DER_OCTET_STRING, nh_slice_of(id, sizeof id));
		break;
	case EXT_AUTHORITY_KEY:
		key_identifier(m, authority_key(m), id);
		outer = nh_der_begin(out, NH_DER_SEQUENCE);
		nh_der_put(out, 0x80, nh_slice_of(id, sizeof id)); /* [0] keyIdentifier */
		nh_der_end(out, outer);
		break;
	case EXT_MAC:
		nh_buf_printf(&mac, "eui48_%.*s", NH_ARG(m->p->mac));
		outer = nh_der_begin(out, NH_DER_SEQUENCE);
		inner = nh_der_begin(out, 0xA4); /* [4] directoryName */
		size_t name = nh_der_begin(out, NH_DER_SEQUENCE);
		attribute_put(out, 0x05, NH_DER_PRINTABLE_STRING, nh_buf_slice(&mac)); /* serialNumber */
		nh_der_end(out, name);
		nh_der_end(out, inner);
		nh_der_end(out, outer);
		break;
	}
}

static void extensions_put(struct nh_buf *out, const struct making *m)
{
	size_t tagged = nh_der_begin(out, NH_DER_CONTEXT_3), list = nh_der_begin(out, NH_DER_SEQUENCE);
	for (const struct extension *e = m->t->extensions; e->id; e++) {
		if (e->kind == EXT_MAC && template_id(m) == TNG_OLD_DEVICE)
			continue;
		size_t item = nh_der_begin(out, NH_DER_SEQUENCE);
		nh_der_put(out, NH_DER_OID, nh_slice_of((const uint8_t[]){0x55, 0x1d, e->id}, 3));
		if (e->critical)
			nh_der_put(out, NH_DER_BOOLEAN, NH_LIT("\xff"));
		size_t value = nh_der_begin(out, NH_DER_OCTET_STRING);
		extension_value_put(out, m, e);
		nh_der_end(out, value);
		nh_der_end(out, item);
	}
	nh_der_end(out, list);
	nh_der_end(out, tagged);
}

/* The two highest bits 01 keep the number positive and its length fixed. */
void nh_nerveskey_serial_of(nh_slice input, const uint8_t dates[3], uint8_t out[NH_NERVESKEY_SERIAL_LEN])
{
	NH_AUTO_BUF struct nh_buf hashed = NH_BUF_INIT;
	uint8_t digest[32];
	nh_buf_put_slice(&hashed, input);
	nh_buf_put(&hashed, dates, 3);
	nh_p256_sha256(nh_buf_slice(&hashed), digest);
	digest[0] = (uint8_t)((digest[0] & 0x3F) | 0x40);
	memcpy(out, digest, NH_NERVESKEY_SERIAL_LEN);
}

static void serial_put(struct nh_buf *out, const struct making *m)
{
	uint8_t serial[NH_NERVESKEY_SERIAL_LEN];
	nh_slice input = m->t->source == SOURCE_KEY ? nh_slice_of(m->p->subject_key, NH_P256_PUBLIC_LEN) : nh_slice_of(m->p->chip_serial, NH_ATECC_SERIAL_LEN);
	nh_nerveskey_serial_of(input, m->compressed + COMPRESSED_DATES, serial);
	nh_der_put(out, NH_DER_INTEGER, nh_slice_of(serial, sizeof serial));
}

nh_rc nh_nerveskey_tbs_put(nh_nerveskey_template which, const uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN], const struct nh_nerveskey_parts *parts, struct nh_buf *out,
                           struct nh_err *err)
{
	NH_ASSERT((unsigned)which < NH_ARRAY_LEN(templates));
	const struct making m = {&templates[which], parts, compressed};
	int64_t not_before_s, not_after_s;
	NH_TRY(check_compressed(&m, err));
	if (nh_nerveskey_dates_decode(compressed + COMPRESSED_DATES, &not_before_s, &not_after_s) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "the stored %s has dates that do not exist (%02x%02x%02x)", m.t->name, compressed[COMPRESSED_DATES], compressed[COMPRESSED_DATES + 1],
			       compressed[COMPRESSED_DATES + 2]);
	NH_TRY(check_parts(&m, err));
	size_t tbs = nh_der_begin(out, NH_DER_SEQUENCE), version = nh_der_begin(out, NH_DER_CONTEXT_0);
	nh_der_put(out, NH_DER_INTEGER, NH_LIT("\x02")); /* v3 */
	nh_der_end(out, version);
	serial_put(out, &m);
	nh_buf_put(out, nh_nerveskey_ecdsa_sha256, sizeof nh_nerveskey_ecdsa_sha256);
	name_put(out, &m, m.t->issuer);
	size_t validity = nh_der_begin(out, NH_DER_SEQUENCE);
	nh_nerveskey_time_put(out, not_before_s, false);
	nh_nerveskey_time_put(out, not_after_s, m.t->tng);
	nh_der_end(out, validity);
	name_put(out, &m, m.t->subject);
	nh_p256_spki_put(out, parts->subject_key);
	extensions_put(out, &m);
	nh_der_end(out, tbs);
	return nh_buf_check(out, m.t->name, err);
}

nh_rc nh_nerveskey_certificate_rebuild(nh_nerveskey_template which, const uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN], const struct nh_nerveskey_parts *parts,
                                       struct nh_buf *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf signature = NH_BUF_INIT, body = NH_BUF_INIT;
	NH_TRY(nh_nerveskey_tbs_put(which, compressed, parts, &body, err));
	nh_buf_put(&body, nh_nerveskey_ecdsa_sha256, sizeof nh_nerveskey_ecdsa_sha256);
	nh_buf_put_u8(&signature, 0); /* no unused bits */
	nh_p256_signature_put_der(&signature, compressed);
	nh_der_put(&body, NH_DER_BIT_STRING, nh_buf_slice(&signature));
	nh_der_put(out, NH_DER_SEQUENCE, nh_buf_slice(&body));
	return nh_buf_check(out, "the certificate", err);
}

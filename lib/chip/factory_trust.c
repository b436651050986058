/*
 * Trust&Go parts: keys and certificates are in the chip when it is sold. The certificates are what Microchip's would be, byte for byte but for the keys: a simulator has a root of its
 * own, whose private key anybody can compute, so nothing that trusts the real root trusts a simulated part. They name the real root's key identifier all the same, because readers
 * rebuild that field from what they know.
 * source: reference/nerveskey "6.5", "8.1" to "8.3", "8.7"
 */
#include <stdio.h>

#include "base/der.h"
#include "base/encode.h"
#include "factory_int.h"

#define SIGNER_ID 0x5349u
#define TEMPLATE_SIGNER 0x10u
#define TEMPLATE_DEVICE 0x30u
#define SOURCE_KEY_AND_DATES 0xA0u
#define MAC_LEN 12u
#define COMPRESSED_LEN 72u

static const char otp_code[] = "KQp2ZkD8";
static const uint8_t mac_vendor[3] = {0xE8, 0xEB, 0x1B};

/* 1 January 2024, 0 o'clock, for 28 and 31 years. */
static const uint8_t device_dates[3] = {0xC0, 0x84, 0x1C};
static const uint8_t signer_dates[3] = {0xC0, 0x84, 0x1F};
#define NOT_BEFORE "240101000000Z"
#define DEVICE_NOT_AFTER "20520101000000Z"
#define SIGNER_NOT_AFTER "20550101000000Z"

/* SlotConfig and KeyConfig: permanent key, attestation key, three keys of the user's, the MAC, a key for the host, a secret, storage, a secret, certificates, the rest free. */
static const uint8_t configs[NH_ATECC_SLOTS][4] = {
	{0x85, 0x00, 0x53, 0x00}, {0x82, 0x00, 0x53, 0x00}, {0x85, 0x20, 0x73, 0x00}, {0x85, 0x20, 0x73, 0x00},
	{0x85, 0x20, 0x73, 0x00}, {0x0F, 0x8F, 0x1C, 0x00}, {0x8F, 0x0F, 0x3C, 0x00}, {0x9F, 0x8F, 0x3C, 0x00},
	{0x0F, 0x0F, 0x3C, 0x00}, {0x8F, 0x0F, 0x3C, 0x00}, {0x0F, 0x8F, 0x3C, 0x00}, {0x0F, 0x8F, 0x30, 0x00},
	{0x0F, 0x8F, 0x3C, 0x00}, {0x0F, 0x0F, 0x3C, 0x00}, {0x0F, 0x0F, 0x3C, 0x00}, {0x0F, 0x0F, 0x3C, 0x00},
};
#define KEY_SLOTS 5u
#define MAC_SLOT 5u
#define STORAGE_SLOT 8u
#define DEVICE_SLOT 10u
#define SIGNER_KEY_SLOT 11u
#define SIGNER_SLOT 12u
static const uint8_t slots_locked[2] = {0xDC, 0xE3}; /* 0, 1, 5, 10, 11, 12 */
static const uint8_t chip_options[2] = {0x06, 0x60}; /* IO protection key in slot 6, AES in KDF */

/* SHA-1 of 04 ‖ X ‖ Y of the root that signs real signers. */
static const uint8_t real_root_identifier[20] = {0x7A, 0xED, 0x7D, 0x6D, 0xC6, 0xB7, 0x78, 0x9D, 0xB2, 0x38, 0x01, 0xA5, 0xE8, 0x4A, 0x8C, 0xB0, 0xA4, 0x0E, 0x2A, 0x8C};

static const uint8_t oid_common_name[] = {0x55, 0x04, 0x03}, oid_organization[] = {0x55, 0x04, 0x0A}, oid_serial[] = {0x55, 0x04, 0x05};
static const uint8_t oid_alternative_name[] = {0x55, 0x1D, 0x11}, oid_constraints[] = {0x55, 0x1D, 0x13}, oid_usage[] = {0x55, 0x1D, 0x0F};
static const uint8_t oid_subject_id[] = {0x55, 0x1D, 0x0E}, oid_authority_id[] = {0x55, 0x1D, 0x23};
static const uint8_t oid_ecdsa_sha256[] = {0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02};
#define OID(bytes) nh_slice_of(bytes, sizeof(bytes))
#define CONTEXT_DIRECTORY_NAME 0xA4
#define CONTEXT_KEY_IDENTIFIER 0x80

/* What one certificate is made of. */
struct subject {
	const uint8_t *public_key, *dates;
	char issuer[48], name[48];
	const char *not_after;
	const char *mac; /* a device's; NULL: a signer's certificate */
	uint8_t authority[20];
};

static void key_named(const char *label, struct nh_p256_key *out)
{
	uint8_t scalar[32];
	nh_p256_sha256(nh_slice_str(label), scalar);
	nh_rc rc = nh_p256_from_scalar(scalar, out);
	NH_ASSERT(rc == NH_OK); /* the labels are constants, and these are fine */
}

static void root_key(struct nh_p256_key *out) { key_named("NervesHub simulated Trust&Go root", out); }
static void signer_key(struct nh_p256_key *out) { key_named("NervesHub simulated Trust&Go signer", out); }

void nh_chip_trust_root(uint8_t public_key[NH_P256_PUBLIC_LEN])
{
	struct nh_p256_key key;
	root_key(&key);
	memcpy(public_key, key.public_key, NH_P256_PUBLIC_LEN);
	nh_p256_key_wipe(&key);
}

static void identifier(const uint8_t public_key[64], uint8_t out[20])
{
	uint8_t point[65] = {0x04};
	memcpy(point + 1, public_key, 64);
	nh_p256_sha1(nh_slice_of(point, sizeof(point)), out);
}

/* ---- DER */

static void put_rdn(struct nh_buf *out, nh_slice oid, uint8_t tag, nh_slice text)
{
	size_t set = nh_der_begin(out, NH_DER_SET), pair = nh_der_begin(out, NH_DER_SEQUENCE);
	nh_der_put(out, NH_DER_OID, oid);
	nh_der_put(out, tag, text);
	nh_der_end(out, pair);
	nh_der_end(out, set);
}

static void put_name(struct nh_buf *out, const char *common_name)
{
	size_t name = nh_der_begin(out, NH_DER_SEQUENCE);
	put_rdn(out, OID(oid_organization), NH_DER_UTF8_STRING, NH_LIT("Microchip Technology Inc"));
	put_rdn(out, OID(oid_common_name), NH_DER_UTF8_STRING, nh_slice_str(common_name));
	nh_der_end(out, name);
}

static void put_extension(struct nh_buf *out, nh_slice oid, bool critical, nh_slice value)
{
	static const uint8_t yes[1] = {0xFF};
	size_t extension = nh_der_begin(out, NH_DER_SEQUENCE);
	nh_der_put(out, NH_DER_OID, oid);
	if (critical)
		nh_der_put(out, NH_DER_BOOLEAN, nh_slice_of(yes, 1));
	nh_der_put(out, NH_DER_OCTET_STRING, value);
	nh_der_end(out, extension);
}

static void put_alternative_name(struct nh_buf *out, const char *mac)
{
	NH_AUTO_BUF struct nh_buf value = NH_BUF_INIT;
	char text[32];
	snprintf(text, sizeof(text), "eui48_%s", mac);
	size_t names = nh_der_begin(&value, NH_DER_SEQUENCE), directory = nh_der_begin(&value, CONTEXT_DIRECTORY_NAME), name = nh_der_begin(&value, NH_DER_SEQUENCE);
	put_rdn(&value, OID(oid_serial), NH_DER_PRINTABLE_STRING, nh_slice_str(text));
	nh_der_end(&value, name);
	nh_der_end(&value, directory);
	nh_der_end(&value, names);
	put_extension(out, OID(oid_alternative_name), false, nh_buf_slice(&value));
}

static void put_identifiers(struct nh_buf *out, const struct subject *s)
{
	NH_AUTO_BUF struct nh_buf own = NH_BUF_INIT, authority = NH_BUF_INIT;
	uint8_t id[20];
	identifier(s->public_key, id);
	nh_der_put(&own, NH_DER_OCTET_STRING, nh_slice_of(id, sizeof(id)));
	put_extension(out, OID(oid_subject_id), false, nh_buf_slice(&own));
	size_t sequence = nh_der_begin(&authority, NH_DER_SEQUENCE);
	nh_der_put(&authority, CONTEXT_KEY_IDENTIFIER, nh_slice_of(s->authority, sizeof(s->authority)));
	nh_der_end(&authority, sequence);
	put_extension(out, OID(oid_authority_id), false, nh_buf_slice(&authority));
}

/* Devices and signers have the same extensions in another order and with other contents. */
static void put_extensions(struct nh_buf *out, const struct subject *s)
{
	static const uint8_t no_ca[] = {0x30, 0x00}, ca[] = {0x30, 0x06, 0x01, 0x01, 0xFF, 0x02, 0x01, 0x00};
	static const uint8_t device_usage[] = {0x03, 0x02, 0x03, 0x88}, signer_usage[] = {0x03, 0x02, 0x01, 0x86};
	size_t context = nh_der_begin(out, NH_DER_CONTEXT_3), list = nh_der_begin(out, NH_DER_SEQUENCE);
	if (s->mac) {
		put_alternative_name(out, s->mac);
		put_extension(out, OID(oid_constraints), true, OID(no_ca));
		put_extension(out, OID(oid_usage), true, OID(device_usage));
	} else {
		put_extension(out, OID(oid_usage), true, OID(signer_usage));
		put_extension(out, OID(oid_constraints), true, OID(ca));
	}
	put_identifiers(out, s);
	nh_der_end(out, list);
	nh_der_end(out, context);
}

static void put_serial(struct nh_buf *out, const struct subject *s)
{
	uint8_t input[67], digest[32];
	memcpy(input, s->public_key, 64);
	memcpy(input + 64, s->dates, 3);
	nh_p256_sha256(nh_slice_of(input, sizeof(input)), digest);
	digest[0] = (uint8_t)((digest[0] & 0x3F) | 0x40);
	nh_der_put(out, NH_DER_INTEGER, nh_slice_of(digest, 16));
}

/* The signed part of a certificate. */
static void put_tbs(struct nh_buf *out, const struct subject *s)
{
	static const uint8_t version_3[] = {NH_DER_INTEGER, 1, 2};
	size_t tbs = nh_der_begin(out, NH_DER_SEQUENCE);
	nh_der_put(out, NH_DER_CONTEXT_0, OID(version_3));
	put_serial(out, s);
	size_t algorithm = nh_der_begin(out, NH_DER_SEQUENCE);
	nh_der_put(out, NH_DER_OID, OID(oid_ecdsa_sha256));
	nh_der_end(out, algorithm);
	put_name(out, s->issuer);
	size_t validity = nh_der_begin(out, NH_DER_SEQUENCE);
	nh_der_put(out, NH_DER_UTC_TIME, NH_LIT(NOT_BEFORE));
	nh_der_put(out, NH_DER_GENERALIZED_TIME, nh_slice_str(s->not_after));
	nh_der_end(out, validity);
	put_name(out, s->name);
	nh_p256_spki_put(out, s->public_key);
	put_extensions(out, s);
	nh_der_end(out, tbs);
}

/* Signature and the eight bytes behind it, as the chip keeps a certificate. */
static void compress(const struct subject *s, const struct nh_p256_key *issuer, const struct nh_rng *rng, uint8_t out[COMPRESSED_LEN])
{
	NH_AUTO_BUF struct nh_buf tbs = NH_BUF_INIT;
	uint8_t digest[32];
	put_tbs(&tbs, s);
	NH_ASSERT(nh_buf_ok(&tbs));
	nh_p256_sha256(nh_buf_slice(&tbs), digest);
	nh_p256_sign(issuer, nh_slice_of(digest, sizeof(digest)), rng, out);
	memcpy(out + 64, s->dates, 3);
	out[67] = SIGNER_ID >> 8;
	out[68] = SIGNER_ID & 0xFF;
	out[69] = s->mac ? TEMPLATE_DEVICE : TEMPLATE_SIGNER;
	out[70] = SOURCE_KEY_AND_DATES;
	out[71] = 0;
}

/* ---- the part */

static void certificates_put(struct nh_chip_state *state, const uint8_t device_public[64], const char *mac, const struct nh_rng *rng)
{
	struct nh_p256_key root, signer;
	NH_AUTO_BUF struct nh_buf serial = NH_BUF_INIT;
	root_key(&root);
	signer_key(&signer);
	struct subject device = {.public_key = device_public, .dates = device_dates, .not_after = DEVICE_NOT_AFTER, .mac = mac};
	struct subject issuer = {.public_key = signer.public_key, .dates = signer_dates, .not_after = SIGNER_NOT_AFTER};
	nh_hex_put_upper(&serial, nh_slice_of(state->config + CFG_SERIAL_HEAD, 4));
	nh_hex_put_upper(&serial, nh_slice_of(state->config + CFG_SERIAL_TAIL, 5));
	snprintf(device.name, sizeof(device.name), "sn%s", nh_buf_cstr(&serial));
	snprintf(device.issuer, sizeof(device.issuer), "Crypto Authentication Signer %04X", SIGNER_ID);
	snprintf(issuer.name, sizeof(issuer.name), "Crypto Authentication Signer %04X", SIGNER_ID);
	snprintf(issuer.issuer, sizeof(issuer.issuer), "Crypto Authentication Root CA 002");
	identifier(signer.public_key, device.authority);
	memcpy(issuer.authority, real_root_identifier, sizeof(issuer.authority));
	compress(&device, &signer, rng, state->slots[DEVICE_SLOT]);
	compress(&issuer, &root, rng, state->slots[SIGNER_SLOT]);
	memset(state->slots[SIGNER_KEY_SLOT], 0, 72);
	memcpy(state->slots[SIGNER_KEY_SLOT] + 4, signer.public_key, 32);
	memcpy(state->slots[SIGNER_KEY_SLOT] + 40, signer.public_key + 32, 32);
	nh_p256_key_wipe(&root);
	nh_p256_key_wipe(&signer);
}

static void keys_put(struct nh_chip_state *state, const struct nh_rng *rng, uint8_t device_public[64])
{
	for (unsigned slot = 0; slot < KEY_SLOTS; slot++) {
		struct nh_p256_key key;
		nh_p256_generate(rng, &key);
		memset(state->slots[slot], 0, 4);
		memcpy(state->slots[slot] + 4, key.scalar, 32);
		state->key_valid |= (uint16_t)(1u << slot);
		if (slot == 0)
			memcpy(device_public, key.public_key, 64);
		nh_p256_key_wipe(&key);
	}
}

void nh_chip_factory_trust(struct nh_chip_state *state, const struct nh_rng *rng)
{
	NH_AUTO_BUF struct nh_buf mac = NH_BUF_INIT;
	uint8_t device_public[64], eui[6];
	memcpy(eui, mac_vendor, 3);
	nh_rng_fill(rng, eui + 3, 3);
	nh_hex_put_upper(&mac, nh_slice_of(eui, sizeof(eui)));
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++) {
		memcpy(state->config + CFG_SLOT_CONFIG + 2 * slot, configs[slot], 2);
		memcpy(state->config + CFG_KEY_CONFIG + 2 * slot, configs[slot] + 2, 2);
	}
	memcpy(state->config + CFG_SLOT_LOCKED, slots_locked, 2);
	memcpy(state->config + CFG_CHIP_OPTIONS, chip_options, 2);
	state->config[CFG_ADDRESS] = NH_ATECC_ADDRESS_TNG << 1;
	state->config[CFG_AES_ENABLE] = 0x01;
	state->config[CFG_LOCK_VALUE] = state->config[CFG_LOCK_CONFIG] = 0;
	memset(state->otp, 0, sizeof(state->otp));
	memcpy(state->otp, otp_code, sizeof(otp_code) - 1);
	memset(state->slots[MAC_SLOT], 0, nh_atecc_slot_len(MAC_SLOT));
	memcpy(state->slots[MAC_SLOT], mac.ptr, MAC_LEN);
	memset(state->slots[STORAGE_SLOT], 0, nh_atecc_slot_len(STORAGE_SLOT));
	keys_put(state, rng, device_public);
	certificates_put(state, device_public, nh_buf_cstr(&mac), rng);
}

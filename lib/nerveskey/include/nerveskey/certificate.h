/*
 * Certificates as the chip stores them (72 bytes) and as the world sees them (X.509 DER): compress, rebuild, create. The rebuilt bytes must be the signed ones to the last bit, so
 * everything that is not in the 72 bytes comes from a template.
 *
 * Pure functions; signing on the host takes the signer's key. thread: any.  source: reference/nerveskey "8", "9"
 */
#pragma once

#include "atecc/p256.h"
#include "atecc/packet.h"
#include "base/clock.h"
#include "nerveskey/layout.h"

#define NH_NERVESKEY_COMPRESSED_LEN 72u
#define NH_NERVESKEY_YEARS_MAX 31u
#define NH_NERVESKEY_NEVER INT64_C(253402300799) /* 9999-12-31T23:59:59Z, seconds: notAfter of a certificate that does not expire */

/* Validity in 24 bits. Seconds since 1970 UTC. NH_EINVAL: would not come back as it is (year outside 2000-2031, minutes, another day of the year, over 31 years): says which. source: "8.2" */
nh_rc nh_nerveskey_dates_encode(int64_t not_before_s, int64_t not_after_s, uint8_t out[3], struct nh_err *err);
/* NH_EFORMAT: a month, day or hour that does not exist. */
nh_rc nh_nerveskey_dates_decode(const uint8_t dates[3], int64_t *not_before_s, int64_t *not_after_s);

/* Microchip's root for Trust&Go parts: signs their signers. source: "8.7" */
extern const uint8_t nh_nerveskey_tng_root_key[NH_P256_PUBLIC_LEN];

typedef enum nh_nerveskey_template {
	NH_NERVESKEY_TEMPLATE_SIGNER,
	NH_NERVESKEY_TEMPLATE_DEVICE,
	NH_NERVESKEY_TEMPLATE_TNG_SIGNER,
	NH_NERVESKEY_TEMPLATE_TNG_DEVICE, /* with and without subjectAltName: by the template id in the 72 bytes (3, 2) */
} nh_nerveskey_template;

/* What a certificate is rebuilt from besides its 72 bytes; each template says what it needs. Views, borrowed for the call. */
struct nh_nerveskey_parts {
	const uint8_t *subject_key;   /* 64 bytes: all templates */
	const uint8_t *signer_key;    /* 64 bytes: DEVICE, TNG_DEVICE */
	const uint8_t *chip_serial;   /* 9 bytes: DEVICE, TNG_DEVICE */
	nh_slice manufacturer_serial; /* DEVICE: 1 to 48 bytes */
	nh_slice mac;                 /* TNG_DEVICE with template id 3: 12 characters */
};

/*
 * nh_nerveskey_certificate_rebuild - appends the DER. NH_EFORMAT: the 72 bytes have another version, template, chain or serial source than the template, or impossible dates;
 * NH_EINVAL: a part is missing or too long. Signatures are not looked at: nh_nerveskey_certificate_check.
 */
nh_rc nh_nerveskey_certificate_rebuild(nh_nerveskey_template which, const uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN], const struct nh_nerveskey_parts *parts,
                                       struct nh_buf *out, struct nh_err *err);
/* Does signer_key verify the certificate's signature? NH_OK, NH_EAUTH, NH_EFORMAT. */
nh_rc nh_nerveskey_certificate_check(nh_slice der, const uint8_t signer_key[NH_P256_PUBLIC_LEN], struct nh_err *err);

/* The facts a DER certificate has to have to be stored; views into der. NH_EFORMAT, NH_EUNSUPPORTED (not P-256, not ecdsa-with-SHA256). */
struct nh_nerveskey_certificate {
	nh_slice tbs;
	nh_slice serial;           /* INTEGER content */
	nh_slice issuer, subject;  /* DER Names */
	nh_slice common_name;      /* of the subject, empty where absent */
	int64_t not_before_s, not_after_s;
	uint8_t public_key[NH_P256_PUBLIC_LEN];
	uint8_t signature[NH_P256_SIGNATURE_LEN];
	uint8_t key_identifier[20]; /* SHA-1 of the whole SubjectPublicKeyInfo (trap 1), computed */
};
nh_rc nh_nerveskey_certificate_parse(nh_slice der, struct nh_nerveskey_certificate *out, struct nh_err *err);
/* The first CERTIFICATE block of a PEM text, or the bytes as they are where they are no PEM: appends the DER. */
nh_rc nh_nerveskey_certificate_read(nh_slice text, struct nh_buf *der, struct nh_err *err);

/*
 * nh_nerveskey_signer_compress - 72 bytes of a signer certificate, after proving that it comes back byte for byte and that it signed itself (trap 4).
 * NH_EINVAL: it would not; the message names the first field that differs and what it must be.
 */
nh_rc nh_nerveskey_signer_compress(nh_slice der, uint8_t out[NH_NERVESKEY_COMPRESSED_LEN], struct nh_err *err);
/* The same for a device certificate; parts as for rebuild. */
nh_rc nh_nerveskey_device_compress(nh_slice der, const struct nh_nerveskey_parts *parts, uint8_t out[NH_NERVESKEY_COMPRESSED_LEN], struct nh_err *err);

/* notBefore for certificates made now: the current hour; 28 February where the day is the 29th. source: "8.2" */
int64_t nh_nerveskey_not_before(const struct nh_clock *clock);
/* To be asked before anything is made for a chip: NH_EINVAL: the clock is before NH_NERVESKEY_CLOCK_YEAR (a machine that does not know the time) or after 2031. source: "1" (10) */
#define NH_NERVESKEY_CLOCK_YEAR 2025u
nh_rc nh_nerveskey_clock_check(const struct nh_clock *clock, struct nh_err *err);
/* nh_nerveskey_signer_create - self-signed; years 1 to 31, 0 = never expires. Appends DER. NH_EINVAL: years, clock outside 2000-2031. */
nh_rc nh_nerveskey_signer_create(const struct nh_p256_key *key, unsigned years, const struct nh_clock *clock, const struct nh_rng *rng, struct nh_buf *der, struct nh_err *err);
/*
 * nh_nerveskey_device_create - 31 years, signed by signer_key; signer_der must belong to it. Appends DER and fills compressed where not NULL; the result has been rebuilt from its 72 bytes and compared.
 * NH_EINVAL: names, keys that do not belong together, signer not reproducible, clock.
 */
nh_rc nh_nerveskey_device_create(const uint8_t device_key[NH_P256_PUBLIC_LEN], nh_slice manufacturer_serial, const uint8_t chip_serial[NH_ATECC_SERIAL_LEN],
                                 nh_slice signer_der, const struct nh_p256_key *signer_key, const struct nh_clock *clock, const struct nh_rng *rng,
                                 struct nh_buf *der, uint8_t *compressed, struct nh_err *err);

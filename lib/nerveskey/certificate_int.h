/*
 * What the files of certificates share: the parts of a certificate as they lie in its DER, templates, steps of rebuilding. Private to nerveskey (and to its fuzz targets).
 */
#pragma once

#include "nerveskey/certificate.h"

/* Where things are in the 72 bytes. source: reference/nerveskey "8.1" */
#define COMPRESSED_DATES 64u
#define COMPRESSED_SIGNER_ID 67u
#define COMPRESSED_TEMPLATE 69u /* template id, chain id */
#define COMPRESSED_SOURCE 70u   /* serial number source, format version */
#define COMPRESSED_RESERVED 71u

#define CERTIFICATE_MAX ((size_t)16 << 10) /* bytes of DER that are looked at: a chip's certificate has some 400 */

/* ecdsa-with-SHA256 without parameters: the one algorithm. */
extern const uint8_t nh_nerveskey_ecdsa_sha256[12];

/* Every item whole, with tag and length: views into the DER. */
struct nh_nerveskey_fields {
	nh_slice tbs;
	nh_slice version, serial, algorithm, issuer, validity, subject, spki, rest; /* rest: all that follows the key, extensions as a rule */
	nh_slice outer_algorithm, signature;
};
/* certificate_parse.c: NH_EFORMAT. */
nh_rc nh_nerveskey_fields_of(nh_slice der, struct nh_nerveskey_fields *out, struct nh_err *err);

/* certificate_template.c: a certificate's serial number, of the subject's key or the chip's serial number. */
#define NH_NERVESKEY_SERIAL_LEN 16u
void nh_nerveskey_serial_of(nh_slice input, const uint8_t dates[3], uint8_t out[NH_NERVESKEY_SERIAL_LEN]);
/* The 72 bytes of which template, signature and dates given; appends what is signed; appends the whole. */
void nh_nerveskey_compressed_fill(nh_nerveskey_template which, const uint8_t signature[NH_P256_SIGNATURE_LEN], const uint8_t dates[3], uint8_t out[NH_NERVESKEY_COMPRESSED_LEN]);
nh_rc nh_nerveskey_tbs_put(nh_nerveskey_template which, const uint8_t compressed[NH_NERVESKEY_COMPRESSED_LEN], const struct nh_nerveskey_parts *parts, struct nh_buf *out,
                           struct nh_err *err);

/* certificate_compress.c: compression with its comparison, the signature not verified. parts->subject_key NULL: the certificate's own. */
nh_rc nh_nerveskey_compress(nh_nerveskey_template which, nh_slice der, const struct nh_nerveskey_parts *parts, uint8_t out[NH_NERVESKEY_COMPRESSED_LEN], struct nh_err *err);

/* certificate_dates.c: the same day and hour, years later (0: NH_NERVESKEY_NEVER). NH_EINVAL: there is no such day. */
nh_rc nh_nerveskey_years_later(int64_t at_s, unsigned years, int64_t *out_s);
/* UTCTime before 2050 unless generalized, GeneralizedTime from then on. */
void nh_nerveskey_time_put(struct nh_buf *out, int64_t at_s, bool generalized);

/*
 * What an entry says, by format. Entries come from other companies' machines and from spreadsheets: whatever is wrong with one is a sentence in it and ends nothing else.
 *
 * source: reference/user-api-and-cli "11.6"; docs/man/nerveskey.1 (receipts); RFC 7515 (signed manifests)
 */
#include "base/encode.h"
#include "base/json.h"
#include "base/pem.h"
#include "crypto/public_key.h"
#include "hub/import.h"
#include "input_int.h"

#define JSON_MAX NH_IMPORT_ENTRY_MAX

static const struct {
	const char *name;
	nh_record_form form;
} formats[NH_IMPORT_FORMATS] = {
	[NH_IMPORT_TRUST_AND_GO] = {"microchip_trust_and_go", NH_RECORDS_JSON},
	[NH_IMPORT_CSV] = {"csv", NH_RECORDS_CSV},
	[NH_IMPORT_NERVESKEY] = {"nerveskey", NH_RECORDS_JSON},
};

nh_record_form nh_import_format_form(nh_import_format format) { return formats[format].form; }

bool nh_import_format_find(nh_slice name, nh_import_format *out)
{
	for (size_t i = 0; i < NH_IMPORT_FORMATS; i++) {
		if (nh_slice_eq_str(name, formats[i].name)) {
			*out = (nh_import_format)i;
			return true;
		}
	}
	return false;
}

/* ---- helpers ------------------------------------------------------------------------------------------------------------- */

/* Either alphabet, with padding or without. */
static bool decode(nh_slice text, struct nh_buf *out)
{
	static const nh_b64 forms[] = {NH_B64_URL_NOPAD, NH_B64_STD_NOPAD, NH_B64_STD, NH_B64_URL};
	for (size_t i = 0; i < NH_ARRAY_LEN(forms); i++) {
		nh_buf_clear(out);
		if (nh_b64_decode(text, forms[i], out) == NH_OK && nh_buf_ok(out))
			return out->len > 0;
	}
	return false;
}

static const char *read_pem(struct nh_arena *arena, nh_slice text, nh_slice *der)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_MAX(NH_PEM_MAX);
	nh_slice label, rest;
	if (nh_pem_find(text, &label, &bytes, &rest) != NH_OK || !nh_slice_eq_str(label, "CERTIFICATE"))
		return "certificate is no PEM certificate";
	*der = nh_arena_copy(arena, nh_buf_slice(&bytes));
	return NULL;
}

/* Texts that the entry may lack; of another type they count as lacking. */
static nh_slice text_of(struct nh_arena *arena, const json_t *object, const char *key)
{
	nh_slice text = nh_json_text(object, key);
	return text.len > 0 ? nh_arena_copy(arena, text) : NH_SLICE_EMPTY;
}

/* ---- Microchip's manifest: a JWS for each chip ----------------------------------------------------------------------------- */

/* SubjectPublicKeyInfo of an uncompressed P-256 point, up to the point's coordinates. source: RFC 5480 "2" */
static const uint8_t p256_prefix[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};

static bool signed_by(const struct nh_cert *signer, nh_slice protected_text, nh_slice payload, nh_slice signature)
{
	NH_AUTO_BUF struct nh_buf data = NH_BUF_MAX(2 * JSON_MAX), raw = NH_BUF_MAX(JSON_MAX);
	struct nh_public_key *key = NULL;
	nh_slice spki = signer->spki_der;
	if (spki.len != sizeof(p256_prefix) + 64 || memcmp(spki.ptr, p256_prefix, sizeof(p256_prefix)) != 0 || !decode(signature, &raw))
		return false;
	nh_slice point = nh_slice_skip(spki, sizeof(p256_prefix));
	if (nh_public_key_new_p256(nh_slice_sub(point, 0, 32), nh_slice_sub(point, 32, 32), &key, NULL) != NH_OK)
		return false;
	nh_buf_put_slice(&data, protected_text);
	nh_buf_put_u8(&data, '.');
	nh_buf_put_slice(&data, payload);
	bool good = nh_public_key_verify(key, NH_SIGNATURE_ES256, nh_buf_slice(&data), nh_buf_slice(&raw), NULL) == NH_OK;
	nh_public_key_free(key);
	return good;
}

/* The name stands in a part that nobody signed: it counts only where the signed part says the same. */
static const char *check_signature(const struct nh_import_reader *reader, const json_t *entry, const json_t *payload, nh_slice identifier)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_MAX(JSON_MAX);
	NH_AUTO_JSON json_t *header = NULL;
	nh_slice protected_text = nh_json_text(entry, "protected");
	if (!reader->signer)
		return NULL;
	if (!decode(protected_text, &text) || nh_json_parse(nh_buf_slice(&text), JSON_MAX, &header, NULL) != NH_OK || !nh_slice_eq_str(nh_json_text(header, "alg"), "ES256"))
		return "entry is not signed with ES256";
	if (!signed_by(reader->signer, protected_text, nh_json_text(entry, "payload"), nh_json_text(entry, "signature")))
		return "signature is not that of the given certificate";
	return nh_slice_eq(nh_json_text(payload, "uniqueId"), identifier) ? NULL : "uniqueId is another one in the signed part";
}

static const char *first_certificate(struct nh_arena *arena, const json_t *payload, nh_slice *der)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_MAX(JSON_MAX);
	size_t i;
	json_t *key;
	json_array_foreach(json_object_get(json_object_get(payload, "publicKeySet"), "keys"), i, key) {
		const json_t *text = json_array_get(json_object_get(key, "x5c"), 0);
		if (!json_is_string(text))
			continue;
		if (!decode(nh_slice_of(json_string_value(text), json_string_length(text)), &bytes))
			return "certificate is no base64";
		*der = nh_arena_copy(arena, nh_buf_slice(&bytes));
		return NULL;
	}
	return "entry holds no certificate";
}

static const char *read_trust_and_go(struct nh_import_reader *reader, struct nh_arena *arena, const json_t *entry, struct nh_import_device *out)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_MAX(JSON_MAX);
	NH_AUTO_JSON json_t *payload = NULL;
	out->identifier = text_of(arena, json_object_get(entry, "header"), "uniqueId");
	if (!out->identifier.ptr)
		return "header.uniqueId is missing";
	if (!decode(nh_json_text(entry, "payload"), &text))
		return "payload is no base64";
	if (nh_json_parse(nh_buf_slice(&text), JSON_MAX, &payload, NULL) != NH_OK || !json_is_object(payload))
		return "payload is no JSON object";
	const char *problem = check_signature(reader, entry, payload, out->identifier);
	return problem ? problem : first_certificate(arena, payload, &out->certificate);
}

/* ---- receipts of `nerveskey batch` ----------------------------------------------------------------------------------------- */

static const char *read_receipt(struct nh_arena *arena, const json_t *entry, struct nh_import_device *out)
{
	const json_t *label = json_object_get(entry, "label");
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	out->identifier = text_of(arena, entry, "manufacturer_serial");
	if (!nh_json_bool(entry, "ok", false))
		return "the chip was not provisioned";
	const char *problem = read_pem(arena, nh_json_text(json_object_get(entry, "certificate"), "pem"), &out->certificate);
	if (problem)
		return problem;
	if (nh_cert_parse_der(out->certificate, &cert, NULL) != NH_OK)
		return "certificate cannot be read";
	/* A NervesKey is who its certificate says. */
	if (cert->common_name.len == 0 || (out->identifier.ptr && !nh_slice_eq(out->identifier, cert->common_name)))
		return "certificate is of another serial number";
	out->identifier = nh_arena_copy(arena, cert->common_name);
	out->description = text_of(arena, label, "description");
	out->tags = text_of(arena, label, "tags");
	return NULL;
}

/* ---- CSV ------------------------------------------------------------------------------------------------------------------- */

/* The fields of a line; more than max are counted only. source: RFC 4180 "2" */
static const char *read_fields(struct nh_arena *arena, nh_slice line, nh_slice *fields, unsigned max, unsigned *count)
{
	size_t i = 0;
	*count = 0;
	for (;;) {
		NH_AUTO_BUF struct nh_buf field = NH_BUF_INIT;
		bool quoted = i < line.len && line.ptr[i] == '"';
		for (i += quoted; i < line.len && (quoted || line.ptr[i] != ','); i++) {
			if (quoted && line.ptr[i] == '"') {
				if (i + 1 == line.len || line.ptr[i + 1] != '"')
					break;
				i++;
			}
			nh_buf_put_u8(&field, line.ptr[i]);
		}
		if (quoted && i == line.len)
			return "a quotation does not end";
		i += quoted;
		if (i < line.len && line.ptr[i] != ',')
			return "there is text behind a quotation";
		if (*count < max)
			fields[*count] = nh_arena_copy(arena, nh_slice_trim(nh_buf_slice(&field)));
		++*count;
		if (i == line.len)
			return NULL;
		i++; /* the comma */
	}
}

static nh_rc read_head(struct nh_import_reader *reader, struct nh_arena *arena, nh_slice line, struct nh_err *err)
{
	const struct {
		const char *name;
		int *at;
	} names[] = {{"identifier", &reader->identifier}, {"description", &reader->description}, {"tags", &reader->tags}, {"certificate", &reader->certificate},
	             {"certificates", &reader->certificate}};
	nh_slice fields[NH_IMPORT_COLUMNS_MAX];
	if (nh_slice_starts(line, NH_LIT("\xef\xbb\xbf")))
		line = nh_slice_skip(line, 3); /* as spreadsheets begin */
	reader->has_head = true;
	reader->identifier = reader->description = reader->tags = reader->certificate = -1;
	const char *problem = read_fields(arena, line, fields, NH_IMPORT_COLUMNS_MAX, &reader->columns);
	for (unsigned i = 0; !problem && i < reader->columns && i < NH_IMPORT_COLUMNS_MAX; i++) {
		for (size_t k = 0; k < NH_ARRAY_LEN(names); k++) {
			if (nh_slice_ieq(fields[i], nh_slice_str(names[k].name)))
				*names[k].at = (int)i;
		}
	}
	if (problem || reader->columns > NH_IMPORT_COLUMNS_MAX || reader->identifier < 0)
		return NH_FAIL(err, NH_EINVAL, "the first line of the CSV must name the columns, one of them identifier (others: description, tags, certificate)");
	return NH_ENOTFOUND;
}

static nh_slice field_at(const nh_slice *fields, int at)
{
	return at >= 0 && fields[at].len > 0 ? fields[at] : NH_SLICE_EMPTY;
}

static const char *read_csv(struct nh_import_reader *reader, struct nh_arena *arena, nh_slice line, struct nh_import_device *out)
{
	NH_AUTO_BUF struct nh_buf der = NH_BUF_MAX(JSON_MAX);
	nh_slice fields[NH_IMPORT_COLUMNS_MAX];
	unsigned count = 0;
	const char *problem = read_fields(arena, line, fields, NH_IMPORT_COLUMNS_MAX, &count);
	if (problem)
		return problem;
	if (count != reader->columns)
		return nh_arena_printf(arena, "line has %u columns instead of %u", count, reader->columns);
	out->identifier = field_at(fields, reader->identifier);
	out->description = field_at(fields, reader->description);
	out->tags = field_at(fields, reader->tags);
	nh_slice certificate = field_at(fields, reader->certificate);
	if (!out->identifier.ptr)
		return "identifier can't be blank";
	if (!certificate.ptr)
		return NULL;
	if (nh_slice_find(certificate, NH_LIT("-----BEGIN")) >= 0)
		return read_pem(arena, certificate, &out->certificate);
	if (!decode(certificate, &der))
		return "certificate is neither PEM nor base64";
	if (nh_slice_find(nh_buf_slice(&der), NH_LIT("-----BEGIN")) >= 0)
		return read_pem(arena, nh_buf_slice(&der), &out->certificate);
	out->certificate = nh_arena_copy(arena, nh_buf_slice(&der));
	return NULL;
}

/* ---- all ------------------------------------------------------------------------------------------------------------------- */

/* What is shown in answers, logs and the database is text. */
static const char *check_texts(const struct nh_import_device *d)
{
	if (!nh_input_text_ok(d->identifier, NH_DEVICE_IDENTIFIER_MAX))
		return "identifier is invalid";
	return nh_input_text_ok(d->description, NH_TEXT_MAX_BYTES) && nh_input_text_ok(d->tags, NH_TEXT_MAX_BYTES) ? NULL : "description or tags are no text";
}

nh_rc nh_import_read(struct nh_import_reader *reader, struct nh_arena *arena, const struct nh_record *record, struct nh_import_device *out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *entry = NULL;
	*out = (struct nh_import_device){.line = record->line};
	if (record->too_long) {
		out->problem = "entry is longer than 65536 bytes";
	} else if (reader->format == NH_IMPORT_CSV) {
		if (!reader->has_head)
			return read_head(reader, arena, record->text, err);
		out->problem = read_csv(reader, arena, record->text, out);
	} else if (nh_json_parse(record->text, JSON_MAX, &entry, NULL) != NH_OK || !json_is_object(entry)) {
		out->problem = "entry is no JSON object";
	} else {
		out->problem = reader->format == NH_IMPORT_NERVESKEY ? read_receipt(arena, entry, out) : read_trust_and_go(reader, arena, entry, out);
	}
	const char *texts = check_texts(out);
	if (texts) {
		out->problem = texts;
		out->identifier = NH_SLICE_EMPTY;
	}
	return NH_OK;
}

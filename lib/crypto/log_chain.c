/*
 * Hashes and statements of a chained log (crypto/log_chain.h). Checking a whole one: log_chain_check.c.
 */
#include "crypto/log_chain.h"

#include "base/clock.h"
#include "base/encode.h"
#include "crypto/secret.h"

#define SEQ_MAX (INT64_C(1) << 53)

static const char *const kinds[] = {[NH_CHAIN_ANCHOR] = "anchor", [NH_CHAIN_HEAD] = "head"};

/* What we build ourselves always has a canonical form. */
static void put_canonical(struct nh_buf *out, const json_t *take_value)
{
	NH_AUTO_JSON json_t *value = (json_t *)(uintptr_t)take_value;
	NH_ASSERT(nh_json_put_canonical(out, value, NULL) == NH_OK && nh_buf_ok(out));
}

static json_t *hex(const uint8_t *bytes, size_t len)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_hex_put(&text, nh_slice_of(bytes, len));
	return nh_json_new_text(nh_buf_slice(&text));
}

/* ---- the beginning and the entries ------------------------------------------------------------------------------------- */

json_t *nh_chain_beginning_json(const struct nh_chain_beginning *b)
{
	return json_pack("{s:s, s:I, s:I, s:s, s:i}", "chain", b->chain, "first", (json_int_t)b->first, "org", (json_int_t)b->org_id, "type", "beginning", "version", 1);
}

void nh_chain_begin(const struct nh_chain_beginning *b, uint8_t hash[NH_SHA256_LEN])
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	put_canonical(&text, nh_chain_beginning_json(b));
	nh_sha256(nh_buf_slice(&text), hash);
}

nh_rc nh_chain_step(uint8_t hash[NH_SHA256_LEN], const json_t *entry, struct nh_buf *text, struct nh_err *err)
{
	nh_buf_clear(text);
	nh_buf_put(text, hash, NH_SHA256_LEN);
	NH_TRY(nh_json_put_canonical(text, entry, err));
	NH_TRY(nh_buf_check(text, "log entry", err));
	nh_sha256(nh_buf_slice(text), hash);
	return NH_OK;
}

/* ---- statements -------------------------------------------------------------------------------------------------------- */

static json_t *claims(const struct nh_chain_statement *s)
{
	NH_AUTO_BUF struct nh_buf at = NH_BUF_INIT;
	nh_time_put_iso_us(&at, s->at_us);
	return json_pack("{s:o, s:s, s:I, s:o, s:o, s:I, s:o, s:I, s:s}", "at", nh_json_new_text(nh_buf_slice(&at)), "chain", s->chain, "from", (json_int_t)s->from, "hash",
	                 hex(s->hash, sizeof(s->hash)), "key", hex(s->key, sizeof(s->key)), "org", (json_int_t)s->org_id, "previous", hex(s->previous, sizeof(s->previous)), "seq",
	                 (json_int_t)s->seq, "type", kinds[s->kind]);
}

static void put_claims(const struct nh_chain_statement *s, struct nh_buf *out) { put_canonical(out, claims(s)); }

void nh_chain_sign(struct nh_chain_statement *s, const uint8_t secret_key[NH_ED25519_SECRET_LEN])
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	uint8_t again[NH_ED25519_SECRET_LEN];
	nh_ed25519_from_seed(secret_key, s->key, again);
	nh_wipe(again, sizeof(again));
	put_claims(s, &text);
	nh_ed25519_sign(secret_key, nh_buf_slice(&text), s->signature);
}

bool nh_chain_signed(const struct nh_chain_statement *s)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	put_claims(s, &text);
	return nh_ed25519_verify(s->key, nh_buf_slice(&text), s->signature);
}

void nh_chain_statement_hash(const struct nh_chain_statement *s, uint8_t hash[NH_SHA256_LEN])
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	put_claims(s, &text);
	nh_sha256(nh_buf_slice(&text), hash);
}

json_t *nh_chain_statement_json(const struct nh_chain_statement *s)
{
	NH_AUTO_BUF struct nh_buf signature = NH_BUF_INIT;
	nh_b64_put(&signature, nh_slice_of(s->signature, sizeof(s->signature)), NH_B64_STD);
	return json_pack("{s:o, s:o}", kinds[s->kind], claims(s), "signature", nh_json_new_text(nh_buf_slice(&signature)));
}

/* ---- reading statements ------------------------------------------------------------------------------------------------ */

static bool read_number(const json_t *object, const char *name, int64_t *out)
{
	*out = nh_json_int(object, name, -1);
	return *out >= 0 && *out <= SEQ_MAX;
}

static bool read_hex(const json_t *object, const char *name, uint8_t *out, size_t len) { return nh_hex_decode_fixed(nh_json_text(object, name), out, len) == NH_OK; }

static bool read_chain(const json_t *object, char out[NH_CHAIN_ID_LEN + 1])
{
	nh_slice text = nh_json_text(object, "chain");
	uint8_t bytes[NH_CHAIN_ID_LEN / 2];
	if (text.len != NH_CHAIN_ID_LEN || nh_hex_decode_fixed(text, bytes, sizeof(bytes)) != NH_OK)
		return false;
	for (size_t i = 0; i < text.len; i++)
		out[i] = (char)text.ptr[i];
	out[NH_CHAIN_ID_LEN] = 0;
	return true;
}

static bool read_signature(const json_t *line, uint8_t out[NH_ED25519_SIGNATURE_LEN])
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_MAX(NH_ED25519_SIGNATURE_LEN);
	if (nh_b64_decode(nh_json_text(line, "signature"), NH_B64_STD, &bytes) != NH_OK || !nh_buf_ok(&bytes) || bytes.len != NH_ED25519_SIGNATURE_LEN)
		return false;
	for (size_t i = 0; i < bytes.len; i++)
		out[i] = bytes.ptr[i];
	return true;
}

nh_rc nh_chain_statement_read(const json_t *line, struct nh_chain_statement *out, struct nh_err *err)
{
	*out = (struct nh_chain_statement){.kind = json_object_get(line, kinds[NH_CHAIN_HEAD]) ? NH_CHAIN_HEAD : NH_CHAIN_ANCHOR};
	const json_t *s = json_object_get(line, kinds[out->kind]);
	const char *wrong = !json_is_object(s)                                      ? "anchor"
	                    : !nh_slice_eq_str(nh_json_text(s, "type"), kinds[out->kind]) ? "type"
	                    : !read_chain(s, out->chain)                           ? "chain"
	                    : !read_number(s, "org", &out->org_id)                 ? "org"
	                    : !read_number(s, "from", &out->from)                  ? "from"
	                    : !read_number(s, "seq", &out->seq)                    ? "seq"
	                    : nh_time_parse_iso(nh_json_text(s, "at"), &out->at_us) != NH_OK ? "at"
	                    : !read_hex(s, "hash", out->hash, sizeof(out->hash))   ? "hash"
	                    : !read_hex(s, "previous", out->previous, sizeof(out->previous)) ? "previous"
	                    : !read_hex(s, "key", out->key, sizeof(out->key))      ? "key"
	                    : !read_signature(line, out->signature)                ? "signature"
	                                                                           : NULL;
	return wrong ? NH_FAIL(err, NH_EFORMAT, "a signed statement without a valid %s", wrong) : NH_OK;
}

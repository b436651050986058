/*
 * The check of a whole log (crypto/log_chain.h): line by line, with the memory of one. It goes on behind what it finds: an entry that was changed is named, and the hash that its line claims
 * is taken for the next one, so that each change is found where it was made. Who wrote false hashes, too, is found by the next signed statement.
 */
#include "crypto/log_chain.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/encode.h"

#define LINE_MAX_BYTES ((size_t)64 << 10)
#define SEQ_MAX (INT64_C(1) << 53)

struct nh_chain_check {
	struct nh_chain_check_config config;
	struct nh_chain_report report;
	struct nh_buf line, text;
	uint64_t line_number;
	bool too_long;  /* the rest of a line over the limit is skipped */
	bool began;     /* the header was read */
	bool hopeless;  /* no header: nothing can be said of the rest */
	bool ended;     /* the head was read */
	bool from_anchor; /* the log begins at a signed anchor, not at the chain's beginning */
	int64_t seq;    /* of the entry before */
	uint8_t hash[NH_SHA256_LEN], previous[NH_SHA256_LEN];
};

static const char *const names[NH_CHAIN_FAULT_COUNT] = {[NH_CHAIN_SOUND] = "sound", [NH_CHAIN_UNREADABLE] = "unreadable", [NH_CHAIN_UNSIGNED] = "unsigned", [NH_CHAIN_FOREIGN] = "foreign",
							[NH_CHAIN_ALTERED] = "altered", [NH_CHAIN_GAP] = "gap", [NH_CHAIN_TAIL] = "tail"};

const char *nh_chain_fault_name(nh_chain_fault fault) { return names[fault]; }

[[gnu::format(printf, 4, 5)]] static void found(struct nh_chain_check *c, nh_chain_fault fault, int64_t seq, const char *fmt, ...)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	va_list ap;
	va_start(ap, fmt);
	nh_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	c->report.faults++;
	if (c->report.worst == NH_CHAIN_SOUND || fault < c->report.worst)
		c->report.worst = fault;
	if (c->config.found)
		c->config.found(c->config.ctx, &(struct nh_chain_finding){fault, seq, c->line_number, nh_buf_cstr(&text)});
}

static bool same(const uint8_t *a, const uint8_t *b) { return memcmp(a, b, NH_SHA256_LEN) == 0; }

static bool trusted(const struct nh_chain_check *c, const uint8_t *key)
{
	for (size_t i = 0; i < c->config.key_count; i++) {
		if (memcmp(c->config.keys[i], key, NH_ED25519_PUBLIC_LEN) == 0)
			return true;
	}
	return false;
}

/* ---- statements -------------------------------------------------------------------------------------------------------- */

/* Signed by whom it should be, and about this log? */
static bool statement_counts(struct nh_chain_check *c, const struct nh_chain_statement *s)
{
	const char *what = s->kind == NH_CHAIN_HEAD ? "head" : "anchor";
	const struct nh_chain_beginning *b = &c->report.beginning;
	if (!trusted(c, s->key))
		found(c, NH_CHAIN_UNSIGNED, s->seq, "the %s at entry %lld is signed with another key than those given", what, (long long)s->seq);
	else if (!nh_chain_signed(s))
		found(c, NH_CHAIN_UNSIGNED, s->seq, "the signature of the %s at entry %lld is wrong", what, (long long)s->seq);
	else if (s->org_id != b->org_id || strcmp(s->chain, b->chain) != 0)
		found(c, NH_CHAIN_FOREIGN, s->seq, "the %s at entry %lld belongs to another organization's or server's log", what, (long long)s->seq);
	else
		return true;
	return false;
}

static void compare_kept(struct nh_chain_check *c)
{
	const struct nh_chain_statement *kept = c->config.kept;
	if (!kept || kept->seq != c->seq || c->report.kept_compared)
		return;
	if (same(kept->hash, c->hash))
		c->report.kept_compared = true;
	else
		found(c, NH_CHAIN_ALTERED, c->seq, "the statement that was kept has another hash for entry %lld: what stands up to there was changed since", (long long)c->seq);
}

/* A statement that counts names the anchor before it. */
static bool follows(struct nh_chain_check *c, const struct nh_chain_statement *s)
{
	if (!statement_counts(c, s))
		return false;
	if (!same(s->previous, c->previous))
		found(c, NH_CHAIN_GAP, s->seq, "an anchor is missing, or was put elsewhere, before the %s at entry %lld", s->kind == NH_CHAIN_HEAD ? "head" : "anchor", (long long)s->seq);
	return true;
}

static void read_anchor(struct nh_chain_check *c, const struct nh_chain_statement *s)
{
	if (!follows(c, s))
		return;
	nh_chain_statement_hash(s, c->previous);
	c->report.anchors++;
	if (s->seq > c->seq) {
		found(c, NH_CHAIN_GAP, s->seq, "an anchor at entry %lld stands behind entry %lld: those between are missing", (long long)s->seq, (long long)c->seq);
		c->seq = s->seq;
		memcpy(c->hash, s->hash, sizeof(c->hash));
	} else if (s->seq < c->seq) {
		found(c, NH_CHAIN_GAP, s->seq, "the anchor at entry %lld stands behind entry %lld", (long long)s->seq, (long long)c->seq);
	} else if (!same(s->hash, c->hash)) {
		found(c, NH_CHAIN_ALTERED, s->seq, "the anchor at entry %lld was made of another log: entries before it were changed, and their hashes, too", (long long)s->seq);
		memcpy(c->hash, s->hash, sizeof(c->hash));
	}
}

static void read_head(struct nh_chain_check *c, const struct nh_chain_statement *s)
{
	c->ended = true;
	if (!follows(c, s))
		return;
	c->report.head = *s;
	if (s->seq > c->seq)
		found(c, NH_CHAIN_TAIL, c->seq + 1, "the end is missing: the server has signed %lld entries, the last one here is %lld", (long long)s->seq, (long long)c->seq);
	else if (s->seq < c->seq)
		found(c, NH_CHAIN_ALTERED, s->seq + 1, "entries from %lld on were never signed", (long long)s->seq + 1);
	else if (!same(s->hash, c->hash))
		found(c, NH_CHAIN_ALTERED, s->seq, "the head was made of another log: entries before it were changed, and their hashes, too");
	if (s->from > c->report.from || (s->from < c->report.from && !c->from_anchor))
		found(c, NH_CHAIN_GAP, c->report.from, "the server has signed a log that begins behind entry %lld; this one begins behind entry %lld", (long long)s->from, (long long)c->report.from);
	c->report.older = c->report.from > s->from ? c->report.from - s->from : 0;
}

static void read_statement(struct nh_chain_check *c, const json_t *line)
{
	struct nh_chain_statement s;
	struct nh_err err = NH_ERR_INIT;
	if (nh_chain_statement_read(line, &s, &err) != NH_OK)
		found(c, NH_CHAIN_UNREADABLE, 0, "%s", err.msg);
	else if (s.kind == NH_CHAIN_HEAD)
		read_head(c, &s);
	else
		read_anchor(c, &s);
}

/* ---- the header -------------------------------------------------------------------------------------------------------- */

/* A log that was cut begins at an anchor, which is worth what its signature is. */
static void begin_at(struct nh_chain_check *c, const json_t *base)
{
	struct nh_chain_statement s;
	struct nh_err err = NH_ERR_INIT;
	if (nh_chain_statement_read(base, &s, &err) != NH_OK || s.kind != NH_CHAIN_ANCHOR || s.seq < c->report.beginning.first) {
		found(c, NH_CHAIN_UNREADABLE, 0, "the log begins at no anchor: %s", *err.msg ? err.msg : "it is a head, or before the chain's beginning");
		return;
	}
	(void)statement_counts(c, &s); /* what it says of the rest is compared all the same */
	c->from_anchor = true;
	c->seq = c->report.from = s.seq;
	memcpy(c->hash, s.hash, sizeof(c->hash));
	nh_chain_statement_hash(&s, c->previous);
}

static void read_header(struct nh_chain_check *c, const json_t *line)
{
	const json_t *beginning = json_object_get(line, "beginning"), *base = json_object_get(line, "base");
	struct nh_chain_beginning *b = &c->report.beginning;
	nh_slice chain = nh_json_text(beginning, "chain");
	uint8_t digits[NH_CHAIN_ID_LEN / 2];
	c->hopeless = true;
	if (!nh_slice_eq_str(nh_json_text(line, "format"), "nerveshub-log")) {
		found(c, NH_CHAIN_UNREADABLE, 0, "this is no export of a log: its first line names no format \"nerveshub-log\"");
		return;
	}
	b->org_id = nh_json_int(beginning, "org", -1);
	b->first = nh_json_int(beginning, "first", -1);
	if (nh_json_int(line, "version", 0) != 1 || nh_json_int(beginning, "version", 0) != 1 || b->org_id < 0 || b->first < 0 || b->first > SEQ_MAX || chain.len != NH_CHAIN_ID_LEN ||
	    nh_hex_decode_fixed(chain, digits, sizeof(digits)) != NH_OK) {
		found(c, NH_CHAIN_UNREADABLE, 0, "the header names no chain that this program knows");
		return;
	}
	c->hopeless = false;
	c->began = true;
	memcpy(b->chain, chain.ptr, chain.len);
	nh_chain_begin(b, c->hash);
	memcpy(c->previous, c->hash, sizeof(c->previous));
	c->seq = c->report.from = b->first;
	if (json_is_object(base))
		begin_at(c, base);
	if (c->config.kept && (c->config.kept->org_id != b->org_id || strcmp(c->config.kept->chain, b->chain) != 0))
		found(c, NH_CHAIN_FOREIGN, 0, "the statement that was kept belongs to another organization's log, or to one that was begun anew since");
	else
		compare_kept(c);
}

/* ---- entries ----------------------------------------------------------------------------------------------------------- */

static void read_entry(struct nh_chain_check *c, const json_t *line)
{
	const json_t *entry = json_object_get(line, "entry");
	int64_t seq = nh_json_int(entry, "seq", -1);
	uint8_t claimed[NH_SHA256_LEN];
	if (!json_is_object(entry) || seq < 1 || seq > SEQ_MAX || nh_hex_decode_fixed(nh_json_text(line, "hash"), claimed, sizeof(claimed)) != NH_OK) {
		found(c, NH_CHAIN_UNREADABLE, 0, "an entry without its number or hash");
		return;
	}
	c->report.entries++;
	if (nh_json_int(entry, "org", -1) != c->report.beginning.org_id)
		found(c, NH_CHAIN_FOREIGN, seq, "entry %lld belongs to another organization", (long long)seq);
	if (seq <= c->seq) {
		found(c, NH_CHAIN_GAP, seq, "entry %lld stands behind entry %lld", (long long)seq, (long long)c->seq);
		return;
	}
	if (seq > c->seq + 1)
		found(c, NH_CHAIN_GAP, c->seq + 1, "entries %lld to %lld are missing", (long long)c->seq + 1, (long long)seq - 1);
	else if (nh_chain_step(c->hash, entry, &c->text, NULL) != NH_OK || !same(c->hash, claimed))
		found(c, NH_CHAIN_ALTERED, seq, "entry %lld is not the one that was sealed", (long long)seq);
	memcpy(c->hash, claimed, sizeof(c->hash));
	c->seq = seq;
	compare_kept(c);
}

/* ---- lines ------------------------------------------------------------------------------------------------------------- */

static void read_line(struct nh_chain_check *c, nh_slice text)
{
	NH_AUTO_JSON json_t *line = NULL;
	struct nh_err err = NH_ERR_INIT;
	if (c->hopeless || nh_slice_trim(text).len == 0)
		return;
	bool object = nh_json_parse(text, LINE_MAX_BYTES, &line, &err) == NH_OK && json_is_object(line);
	if (!c->began)
		read_header(c, object ? line : NULL);
	else if (!object)
		found(c, NH_CHAIN_UNREADABLE, 0, "a line that is no JSON object");
	else if (c->ended)
		found(c, NH_CHAIN_UNREADABLE, 0, "something stands behind the head");
	else if (json_object_get(line, "entry"))
		read_entry(c, line);
	else
		read_statement(c, line);
}

struct nh_chain_check *nh_chain_check_new(const struct nh_chain_check_config *config)
{
	struct nh_chain_check *c = calloc(1, sizeof(*c));
	NH_ASSERT(c);
	c->config = *config;
	c->line = NH_BUF_MAX(LINE_MAX_BYTES + 1);
	return c;
}

static void end_of_line(struct nh_chain_check *c)
{
	c->line_number++;
	if (c->too_long && !c->hopeless)
		found(c, NH_CHAIN_UNREADABLE, 0, "a line of more than %zu bytes", LINE_MAX_BYTES);
	else if (!c->too_long)
		read_line(c, nh_buf_slice(&c->line));
	c->hopeless |= !c->began;
	c->too_long = false;
	nh_buf_clear(&c->line);
}

void nh_chain_check_feed(struct nh_chain_check *c, nh_slice bytes)
{
	while (bytes.len > 0) {
		ptrdiff_t at = nh_slice_chr(bytes, '\n');
		nh_slice piece = nh_slice_sub(bytes, 0, at < 0 ? bytes.len : (size_t)at);
		if (!c->too_long)
			nh_buf_put_slice(&c->line, piece);
		c->too_long |= !nh_buf_ok(&c->line);
		if (at < 0)
			return;
		end_of_line(c);
		bytes = nh_slice_skip(bytes, (size_t)at + 1);
	}
}

void nh_chain_check_end(struct nh_chain_check *c, struct nh_chain_report *out)
{
	const struct nh_chain_statement *kept = c->config.kept;
	if (c->line.len > 0 || c->too_long)
		end_of_line(c);
	if (!c->began && !c->report.faults)
		found(c, NH_CHAIN_UNREADABLE, 0, "the file is empty");
	if (c->began && !c->ended)
		found(c, NH_CHAIN_TAIL, c->seq + 1, "the file ends without a head: its end is missing");
	if (c->began && kept && kept->seq > c->seq && kept->org_id == c->report.beginning.org_id && strcmp(kept->chain, c->report.beginning.chain) == 0)
		found(c, NH_CHAIN_TAIL, c->seq + 1, "the end is missing: the statement that was kept tells of %lld entries, the last one here is %lld", (long long)kept->seq, (long long)c->seq);
	c->report.to = c->seq;
	*out = c->report;
}

void nh_chain_check_free(struct nh_chain_check *c)
{
	if (!c)
		return;
	nh_buf_fini(&c->line);
	nh_buf_fini(&c->text);
	free(c);
}

/*
 * Chained logs: one is written, then somebody tampers with it in each way there is, and the check says what and where. Hashes are also worked out by hand once, so that the form cannot change unseen.
 */
#include "test_base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/encode.h"
#include "crypto/log_chain.h"

#define ENTRIES 12
#define LINES_MAX 40

struct log {
	struct nh_chain_beginning beginning;
	struct nh_chain_statement anchors[8], head;
	size_t anchor_count;
	char *lines[LINES_MAX];
	size_t count;
	size_t entry_line[ENTRIES + 1]; /* line of entry n */
	size_t anchor_line[8];
};

static uint8_t public_key[2][NH_ED25519_PUBLIC_LEN], secret_key[2][NH_ED25519_SECRET_LEN];

static int make_keys(void **state)
{
	for (uint8_t i = 0; i < 2; i++) {
		uint8_t seed[NH_ED25519_SEED_LEN] = {(uint8_t)(i + 1)};
		nh_ed25519_from_seed(seed, public_key[i], secret_key[i]);
	}
	return 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------------- */

static void add_line(struct log *l, json_t *take_line)
{
	assert_true(l->count < LINES_MAX);
	l->lines[l->count++] = json_dumps(take_line, JSON_COMPACT);
	json_decref(take_line);
}

static json_t *hex(const uint8_t *bytes)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_hex_put(&text, nh_slice_of(bytes, NH_SHA256_LEN));
	return json_string(nh_buf_cstr(&text));
}

static struct nh_chain_statement state_of(const struct log *l, nh_chain_kind kind, int64_t from, int64_t seq, const uint8_t *hash, const uint8_t *previous, int key)
{
	struct nh_chain_statement s = {.kind = kind, .org_id = l->beginning.org_id, .from = from, .seq = seq, .at_us = INT64_C(1800000000000000) + seq};
	memcpy(s.chain, l->beginning.chain, sizeof(s.chain));
	memcpy(s.hash, hash, sizeof(s.hash));
	memcpy(s.previous, previous, sizeof(s.previous));
	nh_chain_sign(&s, secret_key[key]);
	return s;
}

static void put_header(struct log *l, const struct nh_chain_statement *base)
{
	add_line(l, json_pack("{s:s, s:i, s:o, s:o, s:s}", "format", "nerveshub-log", "version", 1, "beginning", nh_chain_beginning_json(&l->beginning), "base",
	                      base ? nh_chain_statement_json(base) : json_null(), "organization", "acme"));
}

/* Entries 1 to ENTRIES of an organization, an anchor behind 5 and 10. begin_anchor: 0, or the log was cut at that one (1: the first). */
static void write_log(struct log *l, int64_t org_id, const char *chain, size_t begin_anchor)
{
	uint8_t hash[NH_SHA256_LEN], previous[NH_SHA256_LEN];
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	*l = (struct log){.beginning = {.org_id = org_id}};
	memcpy(l->beginning.chain, chain, NH_CHAIN_ID_LEN);
	nh_chain_begin(&l->beginning, hash);
	memcpy(previous, hash, sizeof(previous));
	if (begin_anchor == 0)
		put_header(l, NULL);
	for (int n = 1; n <= ENTRIES; n++) {
		NH_AUTO_JSON json_t *entry = json_pack("{s:i, s:I, s:s, s:s}", "seq", n, "org", (json_int_t)org_id, "actor_name", "Ada", "description", n % 2 ? "odd" : "even \u20ac");
		assert_int_equal(nh_chain_step(hash, entry, &text, NULL), NH_OK);
		if (l->anchor_count >= begin_anchor) {
			l->entry_line[n] = l->count;
			add_line(l, json_pack("{s:O, s:o}", "entry", entry, "hash", hex(hash)));
		}
		if (n % 5 != 0)
			continue;
		struct nh_chain_statement *a = &l->anchors[l->anchor_count];
		*a = state_of(l, NH_CHAIN_ANCHOR, 0, n, hash, previous, 0);
		nh_chain_statement_hash(a, previous);
		if (l->anchor_count++ + 1 == begin_anchor)
			put_header(l, a);
		if (l->anchor_count > begin_anchor) {
			l->anchor_line[l->anchor_count - 1] = l->count;
			add_line(l, nh_chain_statement_json(a));
		}
	}
	int64_t from = begin_anchor ? l->anchors[begin_anchor - 1].seq : 0;
	l->head = state_of(l, NH_CHAIN_HEAD, from, ENTRIES, hash, previous, 0);
	add_line(l, nh_chain_statement_json(&l->head));
}

static void free_log(struct log *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->lines[i]);
}

/* ---- checking ---------------------------------------------------------------------------------------------------------- */

struct seen {
	nh_chain_fault faults[32];
	int64_t seqs[32];
	size_t count;
	char text[256];
};

static void note(void *ctx, const struct nh_chain_finding *f)
{
	struct seen *s = ctx;
	if (s->count == 0)
		snprintf(s->text, sizeof(s->text), "%s", f->text);
	if (s->count < 32) {
		s->faults[s->count] = f->fault;
		s->seqs[s->count] = f->seq;
	}
	s->count++;
}

/* step 0: all at once, else so many bytes at a time. */
static struct nh_chain_report check_log(const struct log *l, const struct nh_chain_statement *kept, int key, size_t step, struct seen *seen)
{
	struct nh_chain_report report;
	NH_AUTO_BUF struct nh_buf file = NH_BUF_INIT;
	*seen = (struct seen){0};
	for (size_t i = 0; i < l->count; i++)
		nh_buf_printf(&file, "%s\n", l->lines[i]);
	struct nh_chain_check *c = nh_chain_check_new(
		&(struct nh_chain_check_config){.keys = (const uint8_t(*)[NH_ED25519_PUBLIC_LEN])public_key[key], .key_count = 1, .kept = kept, .found = note, .ctx = seen});
	for (nh_slice rest = nh_buf_slice(&file); rest.len > 0; rest = nh_slice_skip(rest, step ? step : rest.len))
		nh_chain_check_feed(c, nh_slice_sub(rest, 0, step && step < rest.len ? step : rest.len));
	nh_chain_check_end(c, &report);
	nh_chain_check_free(c);
	assert_int_equal(report.faults, seen->count);
	return report;
}

#define CHAIN_A "00112233445566778899aabbccddeeff"
#define CHAIN_B "ffeeddccbbaa99887766554433221100"

static void test_sound(void **state)
{
	static const size_t steps[] = {0, 1, 7, 100};
	struct log l;
	struct seen seen;
	write_log(&l, 7, CHAIN_A, 0);
	for (size_t i = 0; i < NH_ARRAY_LEN(steps); i++) {
		struct nh_chain_report r = check_log(&l, NULL, 0, steps[i], &seen);
		if (r.faults)
			fail_msg("%s", seen.text);
		assert_true(r.worst == NH_CHAIN_SOUND && r.from == 0 && r.to == ENTRIES && r.entries == ENTRIES && r.anchors == 2 && r.older == 0 && r.head.seq == ENTRIES && !r.kept_compared);
	}
	free_log(&l);
}

/* Cut at its first anchor; and only a part of it asked for, which is said. */
static void test_cut(void **state)
{
	struct log l;
	struct seen seen;
	write_log(&l, 7, CHAIN_A, 1);
	struct nh_chain_report r = check_log(&l, NULL, 0, 0, &seen);
	if (r.faults)
		fail_msg("%s", seen.text);
	assert_true(r.from == 5 && r.to == ENTRIES && r.entries == 7 && r.anchors == 1 && r.older == 0);
	struct nh_chain_statement head = state_of(&l, NH_CHAIN_HEAD, 0, ENTRIES, l.head.hash, l.head.previous, 0);
	free(l.lines[l.count - 1]);
	l.count--;
	add_line(&l, nh_chain_statement_json(&head));
	r = check_log(&l, NULL, 0, 0, &seen);
	assert_true(r.faults == 0 && r.older == 5);
	free_log(&l);
}

/* ---- tampering --------------------------------------------------------------------------------------------------------- */

static void replace(struct log *l, size_t line, const char *old, const char *new)
{
	char *at = strstr(l->lines[line], old);
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	assert_non_null(at);
	nh_buf_put(&text, l->lines[line], (size_t)(at - l->lines[line]));
	nh_buf_put_str(&text, new);
	nh_buf_put_str(&text, at + strlen(old));
	free(l->lines[line]);
	l->lines[line] = strdup(nh_buf_cstr(&text));
}

static void drop(struct log *l, size_t line, size_t how_many)
{
	for (size_t i = line; i < line + how_many; i++)
		free(l->lines[i]);
	memmove(&l->lines[line], &l->lines[line + how_many], (l->count - line - how_many) * sizeof(char *));
	l->count -= how_many;
}

static void swap(struct log *l, size_t a, size_t b)
{
	char *line = l->lines[a];
	l->lines[a] = l->lines[b];
	l->lines[b] = line;
}

static void put_line(struct log *l, size_t line, json_t *take_line)
{
	free(l->lines[line]);
	l->lines[line] = json_dumps(take_line, JSON_COMPACT);
	json_decref(take_line);
}

static void change(struct log *l) { replace(l, l->entry_line[3], "odd", "old"); }
static void change_first(struct log *l) { replace(l, l->entry_line[1], "Ada", "Eve"); }
static void change_last(struct log *l) { replace(l, l->entry_line[12], "Ada", "Eve"); }
static void change_hash(struct log *l) { replace(l, l->entry_line[3], "\"hash\":\"", "\"hash\":\"00"); }
static void delete_middle(struct log *l) { drop(l, l->entry_line[7], 2); }
static void delete_first(struct log *l) { drop(l, l->entry_line[1], 1); }
static void delete_tail(struct log *l) { drop(l, l->entry_line[11], 2); }
static void delete_tail_and_head(struct log *l) { drop(l, l->entry_line[11], 3); }
static void reorder(struct log *l) { swap(l, l->entry_line[2], l->entry_line[3]); }
static void repeat(struct log *l)
{
	free(l->lines[l->entry_line[4]]);
	l->lines[l->entry_line[4]] = strdup(l->lines[l->entry_line[3]]);
}
static void drop_anchor(struct log *l) { drop(l, l->anchor_line[0], 1); }
static void drop_last_anchor(struct log *l) { drop(l, l->anchor_line[1], 1); }
static void move_anchor(struct log *l) { swap(l, l->anchor_line[0], l->anchor_line[0] + 1); }
static void forge_anchor(struct log *l)
{
	struct nh_chain_statement s = state_of(l, NH_CHAIN_ANCHOR, 0, 5, l->anchors[0].hash, l->anchors[0].previous, 1);
	put_line(l, l->anchor_line[0], nh_chain_statement_json(&s));
}
static void claim_the_key(struct log *l) /* signed with another key, and the right one named */
{
	struct nh_chain_statement s = l->anchors[0];
	s.signature[9] ^= 1;
	put_line(l, l->anchor_line[0], nh_chain_statement_json(&s));
}
static void later_anchor(struct log *l) { replace(l, l->anchor_line[0], "\"seq\":5", "\"seq\":6"); }
static void forge_head(struct log *l)
{
	struct nh_chain_statement s = state_of(l, NH_CHAIN_HEAD, 0, ENTRIES, l->head.hash, l->head.previous, 1);
	put_line(l, l->count - 1, nh_chain_statement_json(&s));
}
static void old_head(struct log *l) /* the entries behind it were never signed */
{
	struct nh_chain_statement s = state_of(l, NH_CHAIN_HEAD, 0, 11, l->head.hash, l->head.previous, 0);
	put_line(l, l->count - 1, nh_chain_statement_json(&s));
}
static void two_heads(struct log *l) { add_line(l, nh_chain_statement_json(&l->head)); }
static void rewrite(struct log *l) /* an entry is changed and all hashes behind it are made anew: only the signatures cannot be */
{
	uint8_t hash[NH_SHA256_LEN];
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_chain_begin(&l->beginning, hash);
	for (int n = 1; n <= ENTRIES; n++) {
		NH_AUTO_JSON json_t *line = json_loads(l->lines[l->entry_line[n]], 0, NULL);
		json_t *entry = json_object_get(line, "entry");
		if (n == 11)
			json_object_set_new(entry, "actor_name", json_string("Eve"));
		assert_int_equal(nh_chain_step(hash, entry, &text, NULL), NH_OK);
		json_object_set_new(line, "hash", hex(hash));
		put_line(l, l->entry_line[n], json_incref(line));
	}
}
static void rewrite_early(struct log *l)
{
	rewrite(l);
	free_log(l);
	write_log(l, 7, CHAIN_A, 0);
	uint8_t hash[NH_SHA256_LEN];
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_chain_begin(&l->beginning, hash);
	for (int n = 1; n <= 5; n++) {
		NH_AUTO_JSON json_t *line = json_loads(l->lines[l->entry_line[n]], 0, NULL);
		json_t *entry = json_object_get(line, "entry");
		if (n == 2)
			json_object_set_new(entry, "description", json_string("nothing"));
		assert_int_equal(nh_chain_step(hash, entry, &text, NULL), NH_OK);
		json_object_set_new(line, "hash", hex(hash));
		put_line(l, l->entry_line[n], json_incref(line));
	}
}
static void foreign_entry(struct log *l)
{
	struct log other;
	write_log(&other, 8, CHAIN_B, 0);
	free(l->lines[l->entry_line[4]]);
	l->lines[l->entry_line[4]] = strdup(other.lines[other.entry_line[4]]);
	free_log(&other);
}
static void foreign_log(struct log *l) /* of another organization, under our header */
{
	struct log other;
	write_log(&other, 8, CHAIN_B, 0);
	char *header = strdup(l->lines[0]);
	free_log(l);
	*l = other;
	free(l->lines[0]);
	l->lines[0] = header;
}
static void foreign_statement(struct log *l)
{
	struct log other;
	write_log(&other, 7, CHAIN_B, 0);
	put_line(l, l->anchor_line[0], nh_chain_statement_json(&other.anchors[0]));
	free_log(&other);
}
static void cut_at_no_anchor(struct log *l) { drop(l, l->entry_line[1], 3); }
static void cut_at_an_old_anchor(struct log *l) /* the server has never cut: its head says so, but a log may be asked for from an anchor on; a cut at the beginning's place cannot be told as that */
{
	struct nh_chain_statement s = state_of(l, NH_CHAIN_HEAD, 5, ENTRIES, l->head.hash, l->head.previous, 0);
	put_line(l, l->count - 1, nh_chain_statement_json(&s));
}
static void cut_at_a_head(struct log *l)
{
	put_line(l, 0, json_pack("{s:s, s:i, s:o, s:o}", "format", "nerveshub-log", "version", 1, "beginning", nh_chain_beginning_json(&l->beginning), "base", nh_chain_statement_json(&l->head)));
}
static void cut_at_a_forged_anchor(struct log *l)
{
	struct nh_chain_statement s = state_of(l, NH_CHAIN_ANCHOR, 0, 5, l->anchors[0].hash, l->anchors[0].previous, 1);
	drop(l, 0, l->anchor_line[0] + 1);
	put_header(l, &s);
	char *header = l->lines[l->count - 1];
	memmove(&l->lines[1], &l->lines[0], (l->count - 1) * sizeof(char *));
	l->lines[0] = header;
}
static void no_header(struct log *l) { drop(l, 0, 1); }
static void other_format(struct log *l) { replace(l, 0, "nerveshub-log", "something"); }
static void newer_version(struct log *l) { replace(l, 0, "\"version\":1", "\"version\":2"); }
static void nothing(struct log *l) { drop(l, 0, l->count); }
static void noise(struct log *l) { replace(l, l->entry_line[6], "{", "["); }
static void stray(struct log *l) { replace(l, l->entry_line[6], "\"entry\"", "\"Entry\""); }
static void no_number(struct log *l) { replace(l, l->entry_line[6], "\"seq\":6", "\"seq\":\"6\""); }
static void long_line(struct log *l)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_fill(&text, 'x', 70000);
	replace(l, l->entry_line[6], "Ada", nh_buf_cstr(&text));
}

static const struct {
	const char *name;
	void (*tamper)(struct log *l);
	nh_chain_fault worst;
	nh_chain_fault first; /* what is found first, */
	int64_t seq;          /* about which entry */
	size_t faults;        /* 0: any number */
} cases[] = {
	{"an entry is changed", change, NH_CHAIN_ALTERED, NH_CHAIN_ALTERED, 3, 1},
	{"the first entry is changed", change_first, NH_CHAIN_ALTERED, NH_CHAIN_ALTERED, 1, 1},
	{"the last entry is changed", change_last, NH_CHAIN_ALTERED, NH_CHAIN_ALTERED, 12, 1},
	{"a hash is broken", change_hash, NH_CHAIN_UNREADABLE, NH_CHAIN_UNREADABLE, 0, 0},
	{"entries in the middle are deleted", delete_middle, NH_CHAIN_GAP, NH_CHAIN_GAP, 7, 1},
	{"the first entry is deleted", delete_first, NH_CHAIN_GAP, NH_CHAIN_GAP, 1, 1},
	{"the tail is deleted", delete_tail, NH_CHAIN_TAIL, NH_CHAIN_TAIL, 11, 1},
	{"the tail and the head are deleted", delete_tail_and_head, NH_CHAIN_TAIL, NH_CHAIN_TAIL, 11, 1},
	{"entries change places", reorder, NH_CHAIN_GAP, NH_CHAIN_GAP, 2, 2},
	{"an entry stands twice, in another's place", repeat, NH_CHAIN_GAP, NH_CHAIN_GAP, 3, 2},
	{"an anchor is missing", drop_anchor, NH_CHAIN_GAP, NH_CHAIN_GAP, 10, 1},
	{"the last anchor is missing", drop_last_anchor, NH_CHAIN_GAP, NH_CHAIN_GAP, 12, 1},
	{"an anchor stands elsewhere", move_anchor, NH_CHAIN_GAP, NH_CHAIN_GAP, 5, 1},
	{"an anchor is signed by somebody else", forge_anchor, NH_CHAIN_UNSIGNED, NH_CHAIN_UNSIGNED, 5, 0},
	{"an anchor's signature is wrong", claim_the_key, NH_CHAIN_UNSIGNED, NH_CHAIN_UNSIGNED, 5, 0},
	{"an anchor claims another entry", later_anchor, NH_CHAIN_UNSIGNED, NH_CHAIN_UNSIGNED, 6, 0},
	{"the head is signed by somebody else", forge_head, NH_CHAIN_UNSIGNED, NH_CHAIN_UNSIGNED, 12, 1},
	{"the head is older than the last entry", old_head, NH_CHAIN_ALTERED, NH_CHAIN_ALTERED, 12, 1},
	{"something stands behind the head", two_heads, NH_CHAIN_UNREADABLE, NH_CHAIN_UNREADABLE, 0, 1},
	{"the end is written anew", rewrite, NH_CHAIN_ALTERED, NH_CHAIN_ALTERED, 12, 1},
	{"the beginning is written anew up to an anchor", rewrite_early, NH_CHAIN_ALTERED, NH_CHAIN_ALTERED, 5, 1},
	{"an entry of another organization", foreign_entry, NH_CHAIN_FOREIGN, NH_CHAIN_FOREIGN, 4, 3},
	{"the log of another organization", foreign_log, NH_CHAIN_FOREIGN, NH_CHAIN_FOREIGN, 1, 0},
	{"an anchor of another chain", foreign_statement, NH_CHAIN_FOREIGN, NH_CHAIN_FOREIGN, 5, 0},
	{"a cut not at an anchor", cut_at_no_anchor, NH_CHAIN_GAP, NH_CHAIN_GAP, 1, 1},
	{"a head that begins elsewhere", cut_at_an_old_anchor, NH_CHAIN_GAP, NH_CHAIN_GAP, 0, 1},
	{"a log that begins at a head", cut_at_a_head, NH_CHAIN_UNREADABLE, NH_CHAIN_UNREADABLE, 0, 0},
	{"a cut at an anchor that somebody else signed", cut_at_a_forged_anchor, NH_CHAIN_UNSIGNED, NH_CHAIN_UNSIGNED, 5, 0},
	{"the header is missing", no_header, NH_CHAIN_UNREADABLE, NH_CHAIN_UNREADABLE, 0, 1},
	{"another format", other_format, NH_CHAIN_UNREADABLE, NH_CHAIN_UNREADABLE, 0, 1},
	{"a newer version", newer_version, NH_CHAIN_UNREADABLE, NH_CHAIN_UNREADABLE, 0, 1},
	{"an empty file", nothing, NH_CHAIN_UNREADABLE, NH_CHAIN_UNREADABLE, 0, 1},
	{"no JSON", noise, NH_CHAIN_UNREADABLE, NH_CHAIN_UNREADABLE, 0, 2},
	{"an unknown line", stray, NH_CHAIN_UNREADABLE, NH_CHAIN_UNREADABLE, 0, 2},
	{"an entry without a number", no_number, NH_CHAIN_UNREADABLE, NH_CHAIN_UNREADABLE, 0, 2},
	{"a line without end", long_line, NH_CHAIN_UNREADABLE, NH_CHAIN_UNREADABLE, 0, 2},
};

static void test_tampering(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct log l;
		struct seen seen;
		write_log(&l, 7, CHAIN_A, 0);
		cases[i].tamper(&l);
		struct nh_chain_report r = check_log(&l, NULL, 0, i % 3 == 0 ? 0 : 1, &seen);
		if (r.worst != cases[i].worst || seen.faults[0] != cases[i].first || seen.seqs[0] != cases[i].seq || (cases[i].faults && r.faults != cases[i].faults))
			fail_msg("%s: %s, first %s at %lld (\"%s\"), %llu found", cases[i].name, nh_chain_fault_name(r.worst), nh_chain_fault_name(seen.faults[0]), (long long)seen.seqs[0], seen.text,
			         (unsigned long long)r.faults);
		free_log(&l);
	}
}

static void test_other_key(void **state)
{
	struct log l;
	struct seen seen;
	write_log(&l, 7, CHAIN_A, 0);
	struct nh_chain_report r = check_log(&l, NULL, 1, 0, &seen);
	assert_true(r.worst == NH_CHAIN_UNSIGNED && r.faults == 3 && r.head.seq == 0);
	free_log(&l);
}

/* ---- statements that were kept elsewhere ------------------------------------------------------------------------------- */

static void test_kept(void **state)
{
	struct log l, longer, other, cut;
	struct seen seen;
	write_log(&l, 7, CHAIN_A, 0);
	write_log(&other, 7, CHAIN_B, 0);
	write_log(&cut, 7, CHAIN_A, 2);
	assert_true(check_log(&l, &l.anchors[0], 0, 0, &seen).kept_compared && seen.count == 0);
	assert_true(check_log(&l, &l.head, 0, 0, &seen).kept_compared && seen.count == 0);
	assert_true(!check_log(&cut, &l.anchors[0], 0, 0, &seen).kept_compared && seen.count == 0); /* cut since: cannot be said */
	assert_true(check_log(&cut, &l.anchors[1], 0, 0, &seen).kept_compared && seen.count == 0);
	/* another chain was put in its place, with all that belongs to it */
	assert_true(check_log(&other, &l.anchors[0], 0, 0, &seen).worst == NH_CHAIN_FOREIGN);
	/* the server was made to go back: all it has signed is sound, but it had signed more before */
	uint8_t later_hash[NH_SHA256_LEN] = {1};
	struct nh_chain_statement later = state_of(&l, NH_CHAIN_HEAD, 0, ENTRIES + 3, later_hash, later_hash, 0);
	struct nh_chain_report r = check_log(&l, &later, 0, 0, &seen);
	assert_true(r.worst == NH_CHAIN_TAIL && r.faults == 1 && seen.seqs[0] == ENTRIES + 1);
	/* and then on, with other entries */
	write_log(&longer, 7, CHAIN_A, 0);
	struct nh_chain_statement rival = state_of(&l, NH_CHAIN_ANCHOR, 0, 9, later_hash, later_hash, 0);
	r = check_log(&longer, &rival, 0, 0, &seen);
	assert_true(r.worst == NH_CHAIN_ALTERED && seen.seqs[0] == 9 && !r.kept_compared);
	free_log(&l);
	free_log(&other);
	free_log(&cut);
	free_log(&longer);
}

/* ---- the form ---------------------------------------------------------------------------------------------------------- */

/* Made with: printf '%s' TEXT | sha256sum; for the entry the 32 bytes of the first come before its text. */
static void test_form(void **state)
{
	struct nh_chain_beginning b = {CHAIN_A, 7, 0};
	uint8_t hash[NH_SHA256_LEN];
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT, digits = NH_BUF_INIT;
	NH_AUTO_JSON json_t *entry = json_pack("{s:i, s:s, s:i}", "seq", 1, "description", "x", "org", 7);
	nh_chain_begin(&b, hash);
	nh_hex_put(&digits, nh_slice_of(hash, sizeof(hash)));
	assert_string_equal(nh_buf_cstr(&digits), "f4a0c893124c34eb22bae3d5366b9f3a764516ac048ee08f5f680d964e940a3c");
	assert_int_equal(nh_chain_step(hash, entry, &text, NULL), NH_OK);
	assert_slice(nh_slice_skip(nh_buf_slice(&text), NH_SHA256_LEN), "{\"description\":\"x\",\"org\":7,\"seq\":1}");
	nh_buf_clear(&digits);
	nh_hex_put(&digits, nh_slice_of(hash, sizeof(hash)));
	assert_string_equal(nh_buf_cstr(&digits), "275a4a861f868f5809836b46047d7d9647adec837df1951a562d44eb138932e9");

	struct log l;
	write_log(&l, 7, CHAIN_A, 0);
	assert_true(nh_chain_signed(&l.anchors[0]) && nh_chain_signed(&l.head));
	NH_AUTO_JSON json_t *line = nh_chain_statement_json(&l.anchors[1]);
	struct nh_chain_statement again;
	assert_int_equal(nh_chain_statement_read(line, &again, NULL), NH_OK);
	assert_true(nh_chain_signed(&again) && again.seq == 10 && again.at_us == l.anchors[1].at_us);
	uint8_t one[NH_SHA256_LEN], two[NH_SHA256_LEN];
	nh_chain_statement_hash(&again, one);
	nh_chain_statement_hash(&l.anchors[1], two);
	assert_memory_equal(one, two, sizeof(one));
	assert_memory_equal(l.head.previous, two, sizeof(two));
	free_log(&l);
}

/* Each member a statement must have. */
static void test_statement_refusals(void **state)
{
	static const char *const members[] = {"at", "chain", "from", "hash", "key", "org", "previous", "seq", "type"};
	struct log l;
	write_log(&l, 7, CHAIN_A, 0);
	for (size_t i = 0; i < NH_ARRAY_LEN(members); i++) {
		NH_AUTO_JSON json_t *line = nh_chain_statement_json(&l.head);
		struct nh_chain_statement s;
		struct nh_err err = NH_ERR_INIT;
		json_object_set_new(json_object_get(line, "head"), members[i], json_real(0.5));
		assert_int_equal(nh_chain_statement_read(line, &s, &err), NH_EFORMAT);
		assert_non_null(strstr(err.msg, members[i]));
	}
	static const char *const signatures[] = {"", "AAAA", "!"};
	for (size_t i = 0; i < NH_ARRAY_LEN(signatures); i++) {
		NH_AUTO_JSON json_t *line = nh_chain_statement_json(&l.head);
		struct nh_chain_statement s;
		json_object_set_new(line, "signature", json_string(signatures[i]));
		assert_int_equal(nh_chain_statement_read(line, &s, NULL), NH_EFORMAT);
	}
	struct nh_chain_statement s;
	assert_int_equal(nh_chain_statement_read(NULL, &s, NULL), NH_EFORMAT);
	free_log(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_sound), cmocka_unit_test(test_cut),  cmocka_unit_test(test_tampering),         cmocka_unit_test(test_other_key),
	                                   cmocka_unit_test(test_kept),  cmocka_unit_test(test_form), cmocka_unit_test(test_statement_refusals)};
	return cmocka_run_group_tests_name("crypto_log_chain", tests, make_keys, NULL);
}

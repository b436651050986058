/*
 * `nh audit`: the audit log of an organization as a file, and the proof that nobody has changed it since. `verify` needs no server and no account: a file, and a public key that was kept elsewhere.
 *
 * Its exit status says what was found, the gravest first: the rows of `statuses`.
 *
 * source: crypto/log_chain.h; docs/guides/audit.md
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "cli_int.h"
#include "crypto/log_chain.h"

#define KEYS_MAX 64
#define FINDINGS_MAX 1000
#define KEPT_MAX ((size_t)16 << 20) /* of a file that is one JSON document */
#define LINE_MAX_BYTES ((size_t)64 << 10)

/* ---- asking the server ----------------------------------------------------------------------------------------------------- */

/* All of it as it came: it is signed. */
static const struct cli_shape statement_shape[] = {{"at", SHAPE_TEXT}, {"chain", SHAPE_TEXT}, {"from", SHAPE_INT}, {"hash", SHAPE_TEXT}, {"key", SHAPE_TEXT}, {"org", SHAPE_INT},
						   {"previous", SHAPE_TEXT}, {"seq", SHAPE_INT}, {"type", SHAPE_TEXT}, {NULL}};
static const struct cli_shape anchor_shape[] = {{"anchor", SHAPE_OBJECT, false, statement_shape}, {"signature", SHAPE_TEXT}, {NULL}};
static const struct cli_cell anchor_list[] = {{"AT", "anchor.at", cli_as_time}, {"ENTRY", "anchor.seq"}, {"HASH", "anchor.hash"}, {NULL}};
static const struct cli_view anchor_view = {anchor_shape, anchor_list, NULL, "No anchors yet: the first one is signed once a day has ended."};
static const struct cli_shape key_shape[] = {{"number", SHAPE_INT}, {"public_key", SHAPE_TEXT}, {"inserted_at", SHAPE_TIME}, {NULL}};
static const struct cli_cell key_list[] = {{"KEY", "public_key"}, {"SINCE", "inserted_at", cli_as_time}, {NULL}};
static const struct cli_view key_view = {key_shape, key_list, NULL, "No key yet: it is made when the first entry is sealed."};

static const struct cli_action anchors = {"GET", CLI_ORG "/audit_logs/anchors", &anchor_view};
static const struct cli_action keys = {"GET", CLI_ORG "/audit_logs/key", &key_view};

static nh_rc save(struct nh_cli *c, const char *route, const char *path, struct nh_err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	FILE *to = fd < 0 ? NULL : fdopen(fd, "w");
	if (!to)
		return NH_FAIL(err, errno == EEXIST ? NH_ECONFLICT : NH_EIO, "cannot write %s: %s", path, strerrordesc_np(errno));
	nh_rc rc = cli_download(c, route, to, path, err);
	if (fclose(to) != 0 && rc == NH_OK)
		rc = NH_FAIL(err, NH_EIO, "cannot write %s: %s", path, strerrordesc_np(errno));
	if (rc != NH_OK)
		unlink(path);
	return rc;
}

/* A log that was kept is never overwritten. */
static nh_rc export(struct nh_cli *c, struct nh_err *err)
{
	const char *after = cli_text(c, "after");
	NH_AUTO_BUF struct nh_buf route = NH_BUF_INIT;
	nh_buf_printf(&route, "%s?format=jsonl", cli_fill(c, CLI_ORG "/audit_logs/export", true));
	if (after)
		cli_put_query(&route, "after", after);
	const char *path = c->arg_count ? c->args[0] : "-";
	if (strcmp(path, "-") == 0)
		return cli_download(c, nh_buf_cstr(&route), c->io->out, "standard output", err);
	NH_TRY(save(c, nh_buf_cstr(&route), path, err));
	cli_note(c, "Exported the audit log of %s to %s\n", c->org, path);
	return NH_OK;
}

/* ---- keys to trust ---------------------------------------------------------------------------------------------------------- */

struct trust {
	uint8_t keys[KEYS_MAX][NH_ED25519_PUBLIC_LEN];
	size_t count;
};

static bool add_key(struct trust *t, nh_slice text)
{
	return t->count < KEYS_MAX && nh_hex_decode_fixed(nh_slice_trim(text), t->keys[t->count], NH_ED25519_PUBLIC_LEN) == NH_OK && ++t->count;
}

/* What `nh audit key` printed as JSON, or lines of which each is a key. */
static nh_rc load_keys(const char *path, struct trust *t, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_AUTO_JSON json_t *list = NULL;
	size_t i, before = t->count;
	const json_t *row;
	NH_TRY(cli_file_load(path, &text, err));
	if (nh_json_parse(nh_slice_trim(nh_buf_slice(&text)), text.len, &list, NULL) == NH_OK && json_is_array(list)) {
		json_array_foreach(list, i, row) (void)add_key(t, nh_json_text(row, "public_key"));
	} else {
		nh_slice rest = nh_buf_slice(&text), line;
		for (bool more = true; more;) {
			more = nh_slice_cut(rest, '\n', &line, &rest);
			(void)add_key(t, line);
		}
	}
	return t->count > before ? NH_OK : NH_FAIL(err, NH_EINVAL, "%s holds no public key: 64 hexadecimal digits, or what `nh audit key --output json` prints", path);
}

static nh_rc read_keys(struct nh_cli *c, struct trust *t, struct nh_err *err)
{
	const struct nh_option_list *given = cli_list(c, "key");
	for (size_t i = 0; i < given->count; i++) {
		if (!add_key(t, nh_slice_str(given->items[i])))
			NH_TRY(load_keys(given->items[i], t, err));
	}
	if (t->count == 0)
		return NH_FAIL(err, NH_EINVAL, "--key is needed: the server's public key, which `nh audit key` shows. A key that comes with the file proves nothing");
	return NH_OK;
}

/* ---- statements that were kept ------------------------------------------------------------------------------------------------ */

/* Of several the latest counts: the hash of an entry covers all before it. */
static void consider(const struct trust *t, const json_t *line, struct nh_chain_statement *kept)
{
	struct nh_chain_statement s;
	if (nh_chain_statement_read(line, &s, NULL) != NH_OK || s.seq < kept->seq || !nh_chain_signed(&s))
		return;
	for (size_t i = 0; i < t->count; i++) {
		if (memcmp(t->keys[i], s.key, sizeof(s.key)) == 0)
			*kept = s;
	}
}

static void consider_text(const struct trust *t, nh_slice text, struct nh_chain_statement *kept)
{
	NH_AUTO_JSON json_t *value = NULL;
	size_t i;
	const json_t *row;
	if (nh_json_parse(text, KEPT_MAX, &value, NULL) != NH_OK)
		return;
	consider(t, value, kept);
	json_array_foreach(value, i, row) consider(t, row, kept);
}

/* An export, of which only the statements are looked at, or a list as `nh audit anchors` prints it. */
static nh_rc read_kept(const char *path, const struct trust *t, struct nh_chain_statement *kept, struct nh_err *err)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;
	NH_AUTO_BUF struct nh_buf whole = NH_BUF_MAX(KEPT_MAX);
	if (!file)
		return NH_FAIL(err, NH_EIO, "cannot read %s: %s", path, strerrordesc_np(errno));
	while ((len = getline(&line, &cap, file)) > 0) {
		nh_slice text = nh_slice_trim(nh_slice_of((const uint8_t *)line, (size_t)len));
		bool statement = nh_slice_starts(text, NH_LIT("{\"anchor\"")) || nh_slice_starts(text, NH_LIT("{\"head\""));
		if (statement && text.len <= LINE_MAX_BYTES)
			consider_text(t, text, kept);
		else if (!nh_slice_starts(text, NH_LIT("{\"entry\"")))
			nh_buf_put_slice(&whole, text);
	}
	bool failed = ferror(file) != 0;
	fclose(file);
	free(line);
	if (failed)
		return NH_FAIL(err, NH_EIO, "cannot read %s", path);
	if (kept->seq == 0 && nh_buf_ok(&whole))
		consider_text(t, nh_buf_slice(&whole), kept);
	return kept->seq > 0 ? NH_OK : NH_FAIL(err, NH_EINVAL, "%s holds no anchor and no head that is signed with a key given", path);
}

/* ---- verifying -------------------------------------------------------------------------------------------------------------- */

static const struct {
	nh_chain_fault fault;
	int status;
} statuses[] = {{NH_CHAIN_UNREADABLE, 3}, {NH_CHAIN_UNSIGNED, 4}, {NH_CHAIN_FOREIGN, 5}, {NH_CHAIN_ALTERED, 6}, {NH_CHAIN_GAP, 7}, {NH_CHAIN_TAIL, 8}};

static int status_of(nh_chain_fault fault)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(statuses); i++) {
		if (statuses[i].fault == fault)
			return statuses[i].status;
	}
	return 0;
}

struct findings {
	struct nh_cli *c;
	json_t *list;
};

static void keep_finding(void *ctx, const struct nh_chain_finding *f)
{
	struct findings *all = ctx;
	if (json_array_size(all->list) < FINDINGS_MAX)
		json_array_append_new(all->list, json_pack("{s:s, s:I, s:I, s:s}", "fault", nh_chain_fault_name(f->fault), "entry", (json_int_t)f->seq, "line", (json_int_t)f->line, "text", f->text));
}

static nh_rc feed(struct nh_cli *c, const char *path, struct nh_chain_check *check, struct nh_err *err)
{
	static const size_t size = (size_t)256 << 10;
	bool standard = strcmp(path, "-") == 0;
	FILE *file = standard ? c->io->in : fopen(path, "re");
	if (!file)
		return NH_FAIL(err, NH_EIO, "cannot read %s: %s", path, strerrordesc_np(errno));
	uint8_t *block = nh_arena_alloc(&c->arena, size);
	for (size_t n; (n = fread(block, 1, size, file)) > 0;)
		nh_chain_check_feed(check, nh_slice_of(block, n));
	bool failed = ferror(file) != 0;
	if (!standard)
		fclose(file);
	return failed ? NH_FAIL(err, NH_EIO, "cannot read %s", path) : NH_OK;
}

static json_t *render_report(const struct nh_chain_report *r, const struct nh_chain_statement *kept, json_t *findings)
{
	struct nh_buf at = NH_BUF_INIT;
	if (r->head.seq)
		nh_time_put_iso_us(&at, r->head.at_us);
	json_t *out = json_pack("{s:b, s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:I, s:O}", "verified", r->worst == NH_CHAIN_SOUND, "worst", nh_chain_fault_name(r->worst), "org",
	                        (json_int_t)r->beginning.org_id, "chain", r->beginning.chain, "first", (json_int_t)r->from + 1, "last", (json_int_t)r->to, "entries", (json_int_t)r->entries, "anchors",
	                        (json_int_t)r->anchors, "older_entries_elsewhere", (json_int_t)r->older, "signed_at", nh_buf_cstr(&at), "kept_statement_agrees",
	                        kept ? json_boolean(r->kept_compared) : json_null(), "faults", (json_int_t)r->faults, "findings", findings);
	nh_buf_fini(&at);
	return out;
}

static void tell(struct nh_cli *c, const struct nh_chain_report *r, const struct nh_chain_statement *kept, const json_t *findings)
{
	size_t i;
	const json_t *f;
	json_array_foreach(findings, i, f) cli_note(c, "line %lld: %s: %s\n", (long long)nh_json_int(f, "line", 0), cli_get(f, "fault"), cli_visible(c, cli_get(f, "text")));
	if (r->faults > json_array_size(findings))
		cli_note(c, "… and %llu more\n", (unsigned long long)(r->faults - json_array_size(findings)));
	if (r->worst != NH_CHAIN_SOUND) {
		cli_out(c, "NOT verified: %llu fault(s) in entries %lld to %lld\n", (unsigned long long)r->faults, (long long)r->from + 1, (long long)r->to);
		return;
	}
	NH_AUTO_BUF struct nh_buf at = NH_BUF_INIT;
	nh_time_put_iso(&at, r->head.at_us);
	cli_out(c, "Verified: entries %lld to %lld, %llu anchor(s), signed %s\n", (long long)r->from + 1, (long long)r->to, (unsigned long long)r->anchors, nh_buf_cstr(&at));
	if (r->older)
		cli_out(c, "%lld entries before them are on the server and not in this file\n", (long long)r->older);
	if (kept && !r->kept_compared)
		cli_out(c, "The statement that was kept, at entry %lld, is older than this file and could not be compared\n", (long long)kept->seq);
	else if (kept)
		cli_out(c, "The statement that was kept, at entry %lld, agrees\n", (long long)kept->seq);
}

static nh_rc verify(struct nh_cli *c, struct nh_err *err)
{
	struct trust trust = {.count = 0};
	struct nh_chain_statement kept = {.seq = 0};
	struct nh_chain_report report;
	NH_AUTO_JSON json_t *list = json_array();
	struct findings findings = {c, list};
	const char *kept_path = cli_text(c, "kept");
	NH_TRY(read_keys(c, &trust, err));
	if (kept_path)
		NH_TRY(read_kept(kept_path, &trust, &kept, err));
	const struct nh_chain_statement *compare = kept_path ? &kept : NULL;
	struct nh_chain_check *check = nh_chain_check_new(&(struct nh_chain_check_config){.keys = (const uint8_t(*)[NH_ED25519_PUBLIC_LEN])trust.keys, .key_count = trust.count, .kept = compare,
	                                                                                  .found = keep_finding, .ctx = &findings});
	nh_rc rc = feed(c, c->args[0], check, err);
	nh_chain_check_end(check, &report);
	nh_chain_check_free(check);
	NH_TRY(rc);
	c->status = status_of(report.worst);
	if (c->format == CLI_TABLE) {
		tell(c, &report, compare, list);
		return NH_OK;
	}
	NH_AUTO_JSON json_t *answer = render_report(&report, compare, list);
	cli_out_json(c, answer);
	return NH_OK;
}

/* ---- the table --------------------------------------------------------------------------------------------------------------- */

static const struct cli_flag export_flags[] = {{"after", 0, CLI_NUMBER, "N", "only what comes behind the anchor at entry N", NULL}, {NULL}};
static const struct cli_flag anchor_flags[] = {
	{"limit", 0, CLI_NUMBER, "N", "rows at most (default 25)", "limit"}, {"before", 0, CLI_TEXT, "N", "earlier ones, as the list before ended", "before"}, {NULL}};
static const struct cli_flag verify_flags[] = {{"key", 0, CLI_LIST, "KEY", "public key to trust, or a file of them; repeatable"},
					       {"kept", 0, CLI_TEXT, "file", "an export or a list of anchors from earlier, which this one has to go on from"},
					       {NULL}};

const struct cli_command cli_audit_commands[] = {
	{"audit export", "[file]", 0, 1, CLI_IN_ORG, export_flags, export, "write the organization's whole audit log to a new file"},
	{"audit anchors", "", 0, 0, CLI_IN_ORG, anchor_flags, cli_run_list, "list the signed anchors of the audit log", &anchors},
	{"audit key", "", 0, 0, CLI_IN_ORG, NULL, cli_run_list, "show the public keys that sign audit logs", &keys},
	{"audit verify", "<file>", 1, 1, 0, verify_flags, verify, "prove that an exported audit log is whole and unchanged; needs no server"},
	{NULL},
};

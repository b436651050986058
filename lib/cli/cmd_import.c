/*
 * `nh device import`: devices of a factory's manifest: CSV, Microchip's Trust&Go manifest, or the receipts of `nerveskey batch`. The server reads the file; here it is
 * sent as it is, and what became of each entry is shown.
 *
 * source: reference/user-api-and-cli "11.6"
 */
#include "base/encode.h"
#include "cli_int.h"

static const struct cli_shape result_shape[] = {{"line", SHAPE_INT}, {"identifier", SHAPE_TEXT}, {"result", SHAPE_TEXT}, {"reason", SHAPE_TEXT, true}, {NULL}};
static const struct cli_shape report_shape[] = {{"dry_run", SHAPE_BOOL}, {"created", SHAPE_INT}, {"updated", SHAPE_INT}, {"unchanged", SHAPE_INT}, {"failed", SHAPE_INT},
						{"results", SHAPE_OBJECTS, false, result_shape}, {NULL}};
static const struct cli_cell result_list[] = {{"LINE", "line"}, {"IDENTIFIER", "identifier"}, {"RESULT", "result"}, {"REASON", "reason"}, {NULL}};
static const struct cli_view result_view = {result_shape, result_list, NULL, "The file has no entries."};

static const struct format {
	const char *name, *ending, *media;
} formats[] = {
	{"csv", ".csv", "text/csv"},
	{"microchip_trust_and_go", ".json", "application/json"},
	{"nerveskey", ".jsonl", "application/x-ndjson"},
	{"nerveskey", ".ndjson", "application/x-ndjson"},
};

/* By --format, else by how the file is called. */
static const struct format *format_of(const struct nh_cli *c, const char *file)
{
	const char *name = cli_text(c, "format");
	for (size_t i = 0; i < NH_ARRAY_LEN(formats); i++)
		if (name ? nh_slice_eq_str(nh_slice_str(name), formats[i].name) : nh_slice_ends(nh_slice_str(file), nh_slice_str(formats[i].ending)))
			return &formats[i];
	return NULL;
}

/* Headers, as the older clients send them. */
static nh_rc make_headers(struct nh_cli *c, const struct format *format, const char *headers[4], struct nh_err *err)
{
	const struct nh_option_list *tags = cli_list(c, "tag");
	const char *signer = cli_text(c, "manifest-certificate");
	NH_AUTO_BUF struct nh_buf list = NH_BUF_INIT, pem = NH_BUF_INIT, text = NH_BUF_INIT;
	size_t n = 0;
	for (size_t i = 0; i < tags->count; i++) {
		if (strpbrk(tags->items[i], ",\r\n"))
			return NH_FAIL(err, NH_EINVAL, "--tag takes one tag, and it may be repeated; '%.60s' has a comma or a line end", tags->items[i]);
		nh_buf_printf(&list, "%s%s", i ? "," : "tags: ", tags->items[i]);
	}
	headers[n++] = nh_arena_printf(&c->arena, "format: %s", format->name);
	if (list.len)
		headers[n++] = nh_arena_str(&c->arena, nh_buf_slice(&list));
	if (signer) {
		NH_TRY(cli_file_load(signer, &pem, err));
		nh_buf_put_str(&text, "manifest-certificate: ");
		nh_b64_put(&text, nh_buf_slice(&pem), NH_B64_STD);
		headers[n++] = nh_arena_str(&c->arena, nh_buf_slice(&text));
	}
	headers[n] = NULL;
	return NH_OK;
}

static nh_rc show(struct nh_cli *c, const json_t *report, struct nh_err *err)
{
	const json_t *results = json_object_get(report, "results");
	int64_t failed = nh_json_int(report, "failed", 0);
	size_t i;
	const json_t *row;
	if (c->format == CLI_JSON)
		cli_out_json(c, report);
	else if (c->format == CLI_CSV || cli_on(c, "verbose"))
		NH_TRY(cli_view_list(c, &result_view, results));
	if (c->format == CLI_TABLE)
		cli_out(c, "%sCreated %lld, updated %lld, unchanged %lld, failed %lld\n", nh_json_bool(report, "dry_run", false) ? "Nothing was done. It would be: " : "",
			(long long)nh_json_int(report, "created", 0), (long long)nh_json_int(report, "updated", 0), (long long)nh_json_int(report, "unchanged", 0), (long long)failed);
	json_array_foreach(results, i, row)
		if (*cli_get(row, "reason"))
			cli_note(c, "line %lld, %s: %s\n", (long long)nh_json_int(row, "line", 0), cli_visible(c, cli_dash(cli_get(row, "identifier"))),
				 cli_visible(c, cli_get(row, "reason")));
	return failed == 0 ? NH_OK : NH_FAIL(err, NH_EINVAL, "%lld of the entries failed; the others are done, and the same file can be imported again", (long long)failed);
}

static nh_rc import(struct nh_cli *c, struct nh_err *err)
{
	const struct format *format = format_of(c, c->args[0]);
	const char *headers[4];
	NH_AUTO_JSON json_t *answer = NULL;
	if (!format)
		return NH_FAIL(err, NH_EINVAL, "what is in %s? Say with --format csv, microchip_trust_and_go or nerveskey", c->args[0]);
	NH_TRY(make_headers(c, format, headers, err));
	struct cli_file_request request = {.route = cli_fill(c, CLI_PRODUCT "/devices/import", true), .query = cli_on(c, "dry-run") ? "dry_run=true" : NULL, .file = c->args[0],
					   .media = format->media, .headers = headers};
	NH_TRY(cli_send_file(c, &request, &answer, err));
	if (!answer) {
		cli_out(c, "The server took the file and imports it now; it tells the result in the product's notifications\n");
		return NH_OK;
	}
	NH_AUTO_JSON json_t *report = cli_shape_object(report_shape, json_object_get(answer, "data"));
	return show(c, report, err);
}

static const struct cli_flag import_flags[] = {
	{"format", 0, CLI_TEXT, "csv|microchip_trust_and_go|nerveskey", "what the file is (default: by its name: .csv, .json, .jsonl)"},
	{"tag", 0, CLI_LIST, "TAG", "give new devices this tag; repeatable"},
	{"manifest-certificate", 0, CLI_TEXT, "FILE", "entries of a Microchip manifest must be signed by this certificate's key"},
	{"dry-run", 0, CLI_FLAG, NULL, "only say what would be done"},
	{"verbose", 'v', CLI_FLAG, NULL, "list every entry"},
	{NULL}};

const struct cli_command cli_import_commands[] = {
	{"device import", "<file>", 1, 1, CLI_IN_PRODUCT, import_flags, import, "create the devices of a manifest"}, {NULL}};

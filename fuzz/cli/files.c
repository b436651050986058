/*
 * What `nh` reads from disk and from people. The first byte chooses: settings.json (read, saved, read again: the same), an encrypted key that was changed
 * after it was sealed, validity, serial numbers and times, words of a command line.
 */
#include <unistd.h>

#include "fuzz.h"

#include "base/file.h"
#include "cli_int.h"
#include "crypto/secret.h"

static char dir[64];

static void remove_dir(void)
{
	char path[96];
	snprintf(path, sizeof(path), "%s/settings.json", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/README.md", dir);
	unlink(path);
	rmdir(dir);
}

static void settings(struct nh_cli *c, nh_slice text)
{
	char path[96];
	struct nh_err err = NH_ERR_INIT;
	snprintf(path, sizeof(path), "%s/settings.json", dir);
	FILE *f = fopen(path, "wb");
	FUZZ_CHECK(f && fwrite(text.ptr, 1, text.len, f) == text.len && fclose(f) == 0, "%s", path);
	c->data_dir = dir;
	if (cli_settings_load(c, &err) != NH_OK)
		return;
	NH_AUTO_JSON json_t *first = json_deep_copy(c->settings.root);
	(void)cli_settings_get(c, "uri");
	cli_settings_set(c, "org", "acme");
	json_object_set_new(first, "org", json_string("acme"));
	FUZZ_CHECK(cli_settings_save(c, &err) == NH_OK, "%s", err.msg);
	json_decref(c->settings.root);
	c->settings.root = NULL;
	FUZZ_CHECK(cli_settings_load(c, &err) == NH_OK, "%s", err.msg);
	const char *key;
	json_t *value;
	json_object_foreach(c->settings.root, key, value)
		FUZZ_CHECK(json_equal(value, json_object_get(first, key)), "%s changed", key);
}

/* Text behind the first two bytes is put over the envelope at the place they name. */
static void envelope(struct nh_cli *c, nh_slice text)
{
	static const uint8_t secret[64] = {1, 2, 3}, salt[CLI_SALT_LEN] = {4}, nonce[12] = {5};
	static struct nh_buf sealed;
	struct nh_err err = NH_ERR_INIT;
	uint8_t key[64];
	if (sealed.len == 0)
		FUZZ_CHECK(cli_envelope_seal(secret, NH_LIT("password"), salt, nonce, &sealed, &err) == NH_OK, "%s", err.msg);
	size_t at = (size_t)fuzz_byte(&text) << 8;
	at = (at | fuzz_byte(&text)) % (sealed.len + 1);
	NH_AUTO_BUF struct nh_buf changed = NH_BUF_INIT;
	nh_buf_put_slice(&changed, nh_slice_sub(nh_buf_slice(&sealed), 0, at));
	nh_buf_put_slice(&changed, text);
	nh_buf_put_slice(&changed, nh_slice_skip(nh_buf_slice(&sealed), at + text.len));
	if (cli_envelope_open(nh_buf_slice(&changed), NH_LIT("password"), key, &err) == NH_OK)
		FUZZ_CHECK(nh_slice_eq(nh_slice_of(key, 64), nh_slice_of(secret, 64)), "another key comes out of a changed envelope");
	nh_wipe(key, sizeof(key));
}

static void small_words(struct nh_cli *c, nh_slice text)
{
	struct nh_err err = NH_ERR_INIT;
	const char *word = nh_arena_str(&c->arena, text);
	int64_t us = 0;
	if (cli_parse_validity(word, &us, &err) == NH_OK)
		FUZZ_CHECK(us > 0, "%s", word);
	char *decimal = cli_serial_decimal(c, word);
	char *hex = cli_serial_hex(c, nh_slice_str(decimal));
	FUZZ_CHECK(decimal && hex, "%s", word);
	(void)cli_truth(word);
	(void)cli_parse_time(text, &us);
	NH_AUTO_JSON json_t *value = nh_json_new_text(text);
	FUZZ_CHECK(cli_time_cell(c, value, true) && cli_time_cell(c, value, false), "%s", word);
	NH_IGNORE(cli_check_name(word, "name", &err)); /* looked at for memory errors only */
}

static void command_line(struct nh_cli *c, nh_slice text)
{
	enum { WORDS = 16 };
	bool flag = false;
	const char *name = NULL;
	uint64_t number = 0, size = 0, time_ms = 0;
	struct nh_option_list list = {0};
	struct nh_err err = NH_ERR_INIT;
	const struct nh_option table[] = {
		{.name = "flag", .letter = 'f', .kind = NH_OPT_FLAG, .target = &flag, .help = "h"},
		{.name = "name", .letter = 'n', .kind = NH_OPT_TEXT, .target = &name, .help = "h"},
		{.name = "port", .letter = 'p', .kind = NH_OPT_U64, .target = &number, .help = "h", .min = 1, .max = 65535},
		{.name = "size", .kind = NH_OPT_SIZE, .target = &size, .help = "h", .max = 1 << 20},
		{.name = "time", .kind = NH_OPT_DURATION, .target = &time_ms, .help = "h", .max = 60000},
		{.name = "tag", .letter = 't', .kind = NH_OPT_LIST, .target = &list, .help = "h"},
		{.name = NULL},
	};
	char *argv[WORDS + 1] = {nh_arena_str(&c->arena, NH_LIT("program"))};
	int argc = 1, rest = 0, depth, count;
	while (text.len > 0 && argc < WORDS)
		argv[argc++] = nh_arena_str(&c->arena, fuzz_until(&text, '\n'));
	char *words[WORDS + 1], *left[WORDS + 1];
	for (int i = 0; i < argc; i++)
		words[i] = argv[i];
	(void)cli_find(argc - 1, words + 1, &depth, left, &count);
	FUZZ_CHECK(count <= argc - 1, "more words than there were");
	if (nh_option_parse(table, argc, argv, &rest, &err) == NH_OK)
		FUZZ_CHECK(rest >= 0 && rest < argc && number <= 65535 && size <= 1 << 20 && time_ms <= 60000, "bounds");
	else
		FUZZ_CHECK(err.msg[0] != 0, "refused without a word");
	free(list.items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(struct nh_cli *c, nh_slice text) = {settings, envelope, small_words, command_line};
	nh_slice text = nh_slice_of(data, size);
	uint8_t which = fuzz_byte(&text) % NH_ARRAY_LEN(readers);
	if (!dir[0]) {
		snprintf(dir, sizeof(dir), "/tmp/nh-fuzz-cli-XXXXXX");
		FUZZ_CHECK(mkdtemp(dir), "%s", dir);
		atexit(remove_dir);
	}
	struct nh_cli c = {0};
	readers[which](&c, text);
	json_decref(c.settings.root);
	nh_arena_fini(&c.arena);
	return 0;
}

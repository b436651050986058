/* What is typed at a terminal session: the escape character, and characters that come in pieces. */
#include "test_base.h"

#include "terminal.h"

static void escape_character(void **state)
{
	static const struct {
		const char *text;
		int key; /* -2: refused */
	} table[] = {{NULL, '~'}, {"~", '~'}, {"^]", 0x1D}, {"^a", 0x01}, {"^", '^'}, {"none", CLI_ESCAPE_NONE}, {"", -2}, {"ab", -2}, {"^1", -2}, {"\n", -2}, {"\xC3\xA4", -2}, {"\xE4", -2}};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		struct cli_escape e;
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = cli_escape_parse(table[i].text, &e, &err);
		assert_int_equal(rc, table[i].key == -2 ? NH_EINVAL : NH_OK);
		if (rc == NH_OK)
			assert_int_equal(e.key, table[i].key);
		else
			assert_non_null(strstr(err.msg, "--escape"));
	}
}

/* typed: one byte after the other. sent: with commands in it as E, H and S in angle brackets. */
static void keys(void **state)
{
	static const struct {
		const char *escape, *typed, *sent;
	} table[] = {
		{"~", "ls\r", "ls\r"},
		{"~", "~.", "<E>"},
		{"~", "~?~\x1a~.", "<H><S><E>"}, /* after a command the line begins anew */
		{"~", "a~.\r~.", "a~.\r<E>"},
		{"~", "\n~.", "\n<E>"},
		{"~", "~~.", "~."},
		{"~", "~~\r~~~", "~\r~~"},
		{"~", "~x~.", "~x~."},
		{"~", "~\r~.", "~\r<E>"},
		{"~", "~", ""}, /* waits for what follows */
		{"^]", "~.\x1d.\r\x1d.", "~.\x1d.\r<E>"},
		{"none", "~.\r~.", "~.\r~."},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		static const char *const names[] = {[CLI_KEY_PLAIN] = "", [CLI_KEY_END] = "<E>", [CLI_KEY_HELP] = "<H>", [CLI_KEY_SUSPEND] = "<S>"};
		NH_AUTO_BUF struct nh_buf sent = NH_BUF_INIT;
		struct cli_escape e;
		assert_int_equal(cli_escape_parse(table[i].escape, &e, NULL), NH_OK);
		for (const char *p = table[i].typed; *p; p++)
			nh_buf_put_str(&sent, names[cli_escape_feed(&e, (uint8_t)*p, &sent)]);
		assert_string_equal(nh_buf_cstr(&sent), table[i].sent);
	}
}

/* Cut at every place, a text arrives whole; what is no text is replaced byte by byte and counted. */
static void characters(void **state)
{
	static const struct {
		const char *typed, *sent;
		size_t replaced;
	} table[] = {
		{"plain", "plain", 0},
		{"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80.", "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80.", 0},
		{"a\xFFz", "a\xEF\xBF\xBDz", 1},
		{"\xC3x", "\xEF\xBF\xBDx", 1},
		{"\xE2\x82", "\xEF\xBF\xBD\xEF\xBF\xBD", 2}, /* cut off by the end */
		{"\xC0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD", 2}, /* overlong */
		{"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 3}, /* a surrogate */
		{"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 4},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++)
		for (size_t cut = 0, len = strlen(table[i].typed); cut <= len; cut++) {
			NH_AUTO_BUF struct nh_buf in = NH_BUF_INIT, out = NH_BUF_INIT;
			nh_buf_put(&in, table[i].typed, cut);
			size_t replaced = cli_utf8_take(&in, &out, false);
			assert_true(nh_utf8_valid(nh_buf_slice(&out)));
			assert_true(in.len < 4);
			nh_buf_put_str(&in, table[i].typed + cut);
			replaced += cli_utf8_take(&in, &out, true);
			assert_string_equal(nh_buf_cstr(&out), table[i].sent);
			assert_int_equal(replaced, table[i].replaced);
			assert_int_equal(in.len, 0);
		}
	NH_AUTO_BUF struct nh_buf in = NH_BUF_INIT, out = NH_BUF_INIT;
	nh_buf_put_str(&in, "a\xE2\x82");
	assert_int_equal(cli_utf8_take(&in, &out, false), 0);
	assert_string_equal(nh_buf_cstr(&out), "a"); /* the rest is not sent before it is whole */
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(escape_character), cmocka_unit_test(keys), cmocka_unit_test(characters)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

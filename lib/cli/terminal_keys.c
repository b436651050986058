/*
 * What is typed at a terminal session: the escape character as ssh has it, and whole characters, since the protocol carries text and nothing else.
 *
 * source: reference/user-api-and-cli "16.6"; reference/device-protocol "11.3"
 */
#include "terminal.h"

#define CTRL(letter) ((letter) & 0x1F)

nh_rc cli_escape_parse(const char *text, struct cli_escape *out, struct nh_err *err)
{
	nh_slice s = nh_slice_str(text ? text : "~");
	bool control = s.len == 2 && s.ptr[0] == '^' && s.ptr[1] >= '?' && s.ptr[1] <= 'z';
	*out = (struct cli_escape){CLI_ESCAPE_NONE, CLI_AT_START};
	if (nh_slice_eq_str(s, "none"))
		return NH_OK;
	if (s.len != 1 && !control)
		return NH_FAIL(err, NH_EINVAL, "--escape needs one character, one with Control as in \"^]\", or none, not '%.40s'", text);
	if ((s.ptr[0] & 0x80) || s.ptr[0] == '\r' || s.ptr[0] == '\n')
		return NH_FAIL(err, NH_EINVAL, "--escape needs a character of ASCII that is no line end");
	out->key = control ? CTRL(s.ptr[1]) : s.ptr[0];
	return NH_OK;
}

static const struct {
	uint8_t byte;
	cli_key key;
} commands[] = {{'.', CLI_KEY_END}, {'?', CLI_KEY_HELP}, {CTRL('Z'), CLI_KEY_SUSPEND}};

cli_key cli_escape_feed(struct cli_escape *e, uint8_t byte, struct nh_buf *out)
{
	bool after = e->at == CLI_AFTER_KEY;
	if (e->at == CLI_AT_START && byte == e->key) {
		e->at = CLI_AFTER_KEY;
		return CLI_KEY_PLAIN;
	}
	for (size_t i = 0; after && i < NH_ARRAY_LEN(commands); i++)
		if (byte == commands[i].byte) {
			e->at = CLI_AT_START;
			return commands[i].key;
		}
	if (after && byte != e->key) /* it was no command: both are meant */
		nh_buf_put_u8(out, (uint8_t)e->key);
	nh_buf_put_u8(out, byte);
	e->at = byte == '\r' || byte == '\n' ? CLI_AT_START : CLI_IN_LINE;
	return CLI_KEY_PLAIN;
}

/* Bytes of the character that begins so; 1 for what begins none. source: RFC 3629 "4" */
static size_t char_len(uint8_t lead) { return lead >= 0xC2 && lead <= 0xDF ? 2 : lead >= 0xE0 && lead <= 0xEF ? 3 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 1; }

static bool may_go_on(nh_slice tail)
{
	for (size_t i = 1; i < tail.len; i++)
		if ((tail.ptr[i] & 0xC0) != 0x80)
			return false;
	return tail.len < char_len(tail.ptr[0]);
}

size_t cli_utf8_take(struct nh_buf *in, struct nh_buf *out, bool end)
{
	nh_slice rest = nh_buf_slice(in);
	size_t replaced = 0;
	while (rest.len) {
		size_t len = char_len(rest.ptr[0]);
		if (!end && may_go_on(rest))
			break;
		bool good = len <= rest.len && nh_utf8_valid(nh_slice_sub(rest, 0, len));
		nh_buf_put_slice(out, good ? nh_slice_sub(rest, 0, len) : NH_LIT("\xEF\xBF\xBD"));
		rest = nh_slice_skip(rest, good ? len : 1);
		replaced += !good;
	}
	nh_buf_consume(in, in->len - rest.len);
	return replaced;
}

/*
 * What mails say, as a table, and the message around it: headers, a part for text and one for HTML. Whatever comes from people is encoded where it stands in a header and escaped where it stands
 * in HTML, so nobody's name becomes a header line or a link.
 *
 * source: reference/server-behaviour "9.6"; RFC 5322; RFC 2045 "6.7"; RFC 2047
 */
#include <stdio.h>
#include <time.h>

#include "base/encode.h"
#include "outbound/mail.h"

/* {name}, {org}, {who}, {address} are replaced; paragraphs end with NULL; the link stands behind the first one. */
static const struct wording {
	const char *subject, *button;
	const char *paragraphs[4];
} wordings[NH_MAIL_KIND_COUNT] = {
	[NH_MAIL_CONFIRM] = {"Confirm your address", "Confirm the address",
	                     {"Somebody, probably you, gave this address for an account. Please confirm that it is yours:", "The link is good for a day. If it was not you, do nothing."}},
	[NH_MAIL_WELCOME] = {"Welcome", NULL, {"Your address is confirmed, and your account is ready."}},
	[NH_MAIL_RESET] = {"Reset your password", "Choose a new password",
	                   {"Somebody, probably you, asked for a new password of your account:", "The link is good for a day. If it was not you, do nothing: your password stays as it is."}},
	[NH_MAIL_PASSWORD_RESET] = {"Your password was reset", NULL, {"Your password was reset by the link in a mail, and all sessions and API tokens of your account have ended."}},
	[NH_MAIL_PASSWORD_CHANGED] = {"Your password was changed", "Reset the password",
	                              {"The password of your account was changed. If it was not you, take the account back with this link, which is good for a day:"}},
	[NH_MAIL_INVITATION] = {"You are invited to {org}", "Accept the invitation", {"{who} invites you to the organization {org}:", "The link is good for two days."}},
	[NH_MAIL_SOMEONE_INVITED] = {"{address} was invited to {org}", NULL, {"{who} invited {address} to the organization {org}."}},
	[NH_MAIL_MEMBER_ADDED] = {"{address} joined {org}", NULL, {"{address} is a member of the organization {org} now, by the doing of {who}."}},
	[NH_MAIL_YOU_WERE_ADDED] = {"You were added to {org}", NULL, {"{who} added you to the organization {org}."}},
	[NH_MAIL_MEMBER_REMOVED] = {"{address} was removed from {org}", NULL, {"{who} removed {address} from the organization {org}."}},
	[NH_MAIL_MEMBER_LEFT] = {"{address} left {org}", NULL, {"{address} left the organization {org}."}},
	[NH_MAIL_ADDRESS_CHANGED] = {"Your address is being changed", NULL, {"Your account shall have the address {address}. If it was not you, change your password at once."}},
	[NH_MAIL_SECOND_FACTOR_ON] = {"A second factor was switched on", NULL, {"From now on, signing in to your account takes a code beside the password. If it was not you, write to us at once."}},
	[NH_MAIL_SECOND_FACTOR_OFF] = {"The second factor was switched off", NULL, {"From now on, signing in to your account takes the password only. If it was not you, change your password at once."}},
	[NH_MAIL_ACCOUNT_DELETED] = {"Your account was deleted", NULL, {"Your account was deleted, as somebody who was signed in with it asked for. If it was not you, write to us at once."}},
	[NH_MAIL_WEBHOOK_DISABLED] = {"A webhook of {org} was switched off", NULL,
	                              {"The webhook of the organization {org} that tells {address} of events was switched off: {who}.",
	                               "Nothing more is sent there until somebody switches it on again. What could not be delivered can be sent anew then."}},
};

/* What people are called, on one line. */
static void put_name(struct nh_buf *out, nh_slice name)
{
	for (size_t i = 0; i < name.len; i++)
		nh_buf_put_u8(out, name.ptr[i] < 0x20 || name.ptr[i] == 0x7f ? ' ' : name.ptr[i]);
}

static void put_greeting(struct nh_buf *out, nh_slice name)
{
	nh_buf_put_str(out, name.len ? "Hello " : "Hello");
	put_name(out, name);
	nh_buf_put_u8(out, ',');
}

static void expand(struct nh_buf *out, const char *template, const struct nh_mail *mail)
{
	const struct {
		nh_slice mark, value;
	} marks[] = {{NH_LIT("{name}"), mail->name}, {NH_LIT("{org}"), mail->org}, {NH_LIT("{who}"), mail->who.len ? mail->who : NH_LIT("somebody")}, {NH_LIT("{address}"), mail->address}};
	nh_slice rest = nh_slice_str(template);
	while (rest.len > 0) {
		size_t i = 0;
		while (i < NH_ARRAY_LEN(marks) && !nh_slice_starts(rest, marks[i].mark))
			i++;
		if (i < NH_ARRAY_LEN(marks)) {
			put_name(out, marks[i].value);
			rest = nh_slice_skip(rest, marks[i].mark.len);
		} else {
			nh_buf_put_u8(out, rest.ptr[0]);
			rest = nh_slice_skip(rest, 1);
		}
	}
}

/* ---- headers -------------------------------------------------------------------------------------------------------------- */

/* An address that stands between < and > and in an SMTP command as it is. */
static bool address_ok(nh_slice address)
{
	static const char *const foreign = "<>()[],;:\\\"";
	bool ok = address.len > 2 && address.len <= 254 && nh_slice_chr(address, '@') > 0;
	for (size_t i = 0; i < address.len; i++) {
		ok = ok && address.ptr[i] > 0x20 && address.ptr[i] < 0x7f;
		for (const char *c = foreign; *c; c++)
			ok = ok && address.ptr[i] != (uint8_t)*c;
	}
	return ok;
}

/* As an atom where it is plain, else in encoded words, none longer than 75 characters. */
static void put_words(struct nh_buf *out, nh_slice text)
{
	bool plain = text.len <= 60;
	for (size_t i = 0; plain && i < text.len; i++) {
		uint8_t c = text.ptr[i];
		plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c == ' ' && i > 0 && i + 1 < text.len) || c == '-' || c == '\'';
	}
	if (plain) {
		nh_buf_put_slice(out, text);
		return;
	}
	for (bool first = true; text.len > 0; first = false) {
		size_t len = text.len < 42 ? text.len : 42;
		while (len < text.len && len > 1 && (text.ptr[len] & 0xc0) == 0x80)
			len--;
		nh_buf_put_str(out, first ? "=?UTF-8?B?" : "\r\n =?UTF-8?B?");
		nh_b64_put(out, nh_slice_sub(text, 0, len), NH_B64_STD);
		nh_buf_put_str(out, "?=");
		text = nh_slice_skip(text, len);
	}
}

static void put_mailbox(struct nh_buf *out, const char *header, nh_slice name, nh_slice address)
{
	nh_buf_printf(out, "%s: ", header);
	if (name.len > 0) {
		put_words(out, name);
		nh_buf_put_u8(out, ' ');
	}
	nh_buf_printf(out, "<%.*s>\r\n", NH_ARG(address));
}

static void put_date(struct nh_buf *out, int64_t now_us)
{
	static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t at = (time_t)(now_us / NH_US_PER_S);
	struct tm t;
	gmtime_r(&at, &t);
	nh_buf_printf(out, "Date: %s, %02d %s %d %02d:%02d:%02d +0000\r\n", days[t.tm_wday], t.tm_mday, months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

/* ---- parts ---------------------------------------------------------------------------------------------------------------- */

static void put_quoted_printable(struct nh_buf *out, nh_slice text)
{
	size_t column = 0;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		if (c == '\n') {
			nh_buf_put_str(out, "\r\n");
			column = 0;
			continue;
		}
		bool last_blank = c == ' ' && (i + 1 == text.len || text.ptr[i + 1] == '\n');
		bool plain = c >= 0x20 && c < 0x7f && c != '=' && !last_blank && !(c == '.' && column == 0);
		if (column + (plain ? 1u : 3u) > 75) {
			nh_buf_put_str(out, "=\r\n");
			column = 0;
			plain = plain && c != '.';
		}
		if (plain)
			nh_buf_put_u8(out, c);
		else
			nh_buf_printf(out, "=%02X", c);
		column += plain ? 1 : 3;
	}
}

static void put_escaped(struct nh_buf *out, nh_slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		if (c == '&' || c == '<' || c == '>' || c == '"' || c == '\'')
			nh_buf_printf(out, "&#%u;", c);
		else
			nh_buf_put_u8(out, c);
	}
}

static void put_help(struct nh_buf *out, const struct nh_mail_style *style)
{
	if (*style->support_address)
		nh_buf_printf(out, "Questions? Write to %s.", style->support_address);
	else
		nh_buf_put_str(out, "Questions? Ask the administrator of this server.");
}

static void put_text(struct nh_buf *out, const struct nh_mail_style *style, const struct nh_mail *mail)
{
	const struct wording *w = &wordings[mail->kind];
	put_greeting(out, mail->name);
	nh_buf_put_str(out, "\n\n");
	for (size_t i = 0; w->paragraphs[i]; i++) {
		expand(out, w->paragraphs[i], mail);
		nh_buf_put_str(out, "\n\n");
		if (i == 0 && w->button)
			nh_buf_printf(out, "%.*s\n\n", NH_ARG(mail->link));
	}
	put_help(out, style);
	nh_buf_printf(out, "\n%s%s", style->signoff, *style->signoff ? "\n" : "");
}

static void put_html_paragraph(struct nh_buf *out, nh_slice text)
{
	nh_buf_put_str(out, "<p>");
	put_escaped(out, text);
	nh_buf_put_str(out, "</p>\n");
}

static void put_html(struct nh_buf *out, const struct nh_mail_style *style, const struct nh_mail *mail)
{
	const struct wording *w = &wordings[mail->kind];
	NH_AUTO_BUF struct nh_buf line = NH_BUF_INIT;
	nh_buf_put_str(out, "<!doctype html>\n<html lang=\"en\">\n<body style=\"font:16px/1.5 sans-serif;max-width:36em;margin:2em auto\">\n");
	put_greeting(&line, mail->name);
	put_html_paragraph(out, nh_buf_slice(&line));
	for (size_t i = 0; w->paragraphs[i]; i++) {
		nh_buf_clear(&line);
		expand(&line, w->paragraphs[i], mail);
		put_html_paragraph(out, nh_buf_slice(&line));
		if (i == 0 && w->button) {
			nh_buf_put_str(out, "<p><a href=\"");
			put_escaped(out, mail->link);
			nh_buf_printf(out, "\">%s</a></p>\n", w->button);
		}
	}
	nh_buf_clear(&line);
	put_help(&line, style);
	put_html_paragraph(out, nh_buf_slice(&line));
	if (*style->signoff)
		put_html_paragraph(out, nh_slice_str(style->signoff));
	nh_buf_put_str(out, "</body>\n</html>\n");
}

static void put_part(struct nh_buf *out, const char *boundary, const char *type, nh_slice text)
{
	nh_buf_printf(out, "--%s\r\nContent-Type: %s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", boundary, type);
	put_quoted_printable(out, text);
	nh_buf_put_str(out, "\r\n");
}

nh_rc nh_mail_put(struct nh_buf *out, const struct nh_mail_style *style, const struct nh_mail *mail, int64_t now_us, const char *boundary, struct nh_err *err)
{
	nh_slice from = nh_slice_str(style->from_email), user, host;
	if (!address_ok(mail->to) || !address_ok(from))
		return NH_FAIL(err, NH_EINVAL, "a mail cannot go from or to such an address");
	nh_slice_cut(from, '@', &user, &host);
	NH_AUTO_BUF struct nh_buf subject = NH_BUF_INIT;
	struct nh_buf text = NH_BUF_INIT, html = NH_BUF_INIT; /* with the link */
	nh_buf_printf(&subject, "%s: ", style->platform);
	expand(&subject, wordings[mail->kind].subject, mail);
	put_text(&text, style, mail);
	put_html(&html, style, mail);
	put_mailbox(out, "From", nh_slice_str(style->sender), from);
	put_mailbox(out, "To", mail->name, mail->to);
	nh_buf_put_str(out, "Subject: ");
	put_words(out, nh_buf_slice(&subject));
	nh_buf_put_str(out, "\r\n");
	put_date(out, now_us);
	nh_buf_printf(out, "Message-ID: <%s@%.*s>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"%s\"\r\n\r\n", boundary,
	              NH_ARG(host), boundary);
	put_part(out, boundary, "text/plain", nh_buf_slice(&text));
	put_part(out, boundary, "text/html", nh_buf_slice(&html));
	nh_buf_printf(out, "--%s--\r\n", boundary);
	nh_buf_wipe(&text);
	nh_buf_wipe(&html);
	return NH_OK;
}

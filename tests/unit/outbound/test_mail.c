/*
 * What a mail looks like: every kind has words, names of people become neither headers nor markup, lines keep to their length.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "outbound/mail.h"

static const struct nh_mail_style style = {"hub@example.com", "Hübsch & Co", "Hub", "", "Yours"};

static struct nh_mail mail_of(nh_mail_kind kind)
{
	return (struct nh_mail){kind, NH_LIT("ada@example.com"), NH_LIT("Ada"), NH_LIT("acme"), NH_LIT("Bob"), NH_LIT("carl@example.com"), NH_LIT("https://hub.example.com/confirm/nhu_1")};
}

static bool holds(const struct nh_buf *b, const char *text) { return nh_slice_find(nh_buf_slice(b), nh_slice_str(text)) >= 0; }

static void test_every_kind(void **state)
{
	for (nh_mail_kind kind = 0; kind < NH_MAIL_KIND_COUNT; kind++) {
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		struct nh_mail mail = mail_of(kind);
		assert_int_equal(nh_mail_put(&out, &style, &mail, INT64_C(1767323045) * NH_US_PER_S, "bound", NULL), NH_OK);
		assert_true(holds(&out, "Subject: "));
		assert_true(holds(&out, "\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n"));
		assert_true(holds(&out, "From: =?UTF-8?B?SMO8YnNjaCAmIENv?= <hub@example.com>\r\nTo: Ada <ada@example.com>\r\n"));
		assert_true(holds(&out, "\r\n--bound--\r\n"));
		assert_false(holds(&out, "{")); /* nothing is left to be filled in */
		nh_slice line, rest = nh_buf_slice(&out);
		while (rest.len > 0) {
			nh_slice_cut(rest, '\n', &line, &rest);
			assert_true(line.len > 0 && line.len <= 78 && line.ptr[line.len - 1] == '\r');
			for (size_t i = 0; i < line.len; i++)
				assert_true(line.ptr[i] < 0x80);
		}
	}
}

static void test_names_stay_names(void **state)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	struct nh_mail mail = mail_of(NH_MAIL_INVITATION);
	mail.name = NH_LIT("Eve\r\nBcc: all@example.com");
	mail.who = NH_LIT("<a href=\"//evil\">");
	mail.org = NH_LIT("an organization with quite a long name and, at its end, an ellipsis\xe2\x80\xa6 and more\xe2\x80\xa6");
	assert_int_equal(nh_mail_put(&out, &style, &mail, 0, "bound", NULL), NH_OK);
	assert_false(holds(&out, "\nBcc"));
	nh_buf_consume(&out, (size_t)nh_slice_find(nh_buf_slice(&out), NH_LIT("text/html"))); /* as text it is only text */
	assert_false(holds(&out, "<a href=3D\"//evil"));
	assert_true(holds(&out, "&#60;a href=3D&#34;//evil&#34;&#62;"));
}

static void test_addresses(void **state)
{
	static const char *const bad[] = {"", "ada", "@x", "a b@example.com", "a@b>,<c@d", "a@b\r\nRCPT TO:<c@d>", "\xc3\xa4@example.com", "a@b;c"};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		struct nh_mail mail = mail_of(NH_MAIL_WELCOME);
		mail.to = nh_slice_str(bad[i]);
		assert_int_equal(nh_mail_put(&out, &style, &mail, 0, "bound", NULL), NH_EINVAL);
	}
}

static void test_settings(void **state)
{
	static const struct {
		const char *from, *versions, *word;
	} rows[] = {{"nobody", "", "FROM_EMAIL"}, {"a@example.com", "tlsv1.1", "SMTP_TLS_VERSIONS"}, {"a@example.com", "tlsv1.2,,", "SMTP_TLS_VERSIONS"}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_err err = NH_ERR_INIT;
		struct nh_mailer *mailer;
		struct nh_mailer_config config = {.style = style, .tls_versions = rows[i].versions};
		config.style.from_email = rows[i].from;
		assert_int_equal(nh_mailer_new(&config, &mailer, &err), NH_EINVAL);
		assert_non_null(strstr(err.msg, rows[i].word));
	}
	nh_mailer_free(NULL);
	nh_mailer_wake(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_kind), cmocka_unit_test(test_names_stay_names), cmocka_unit_test(test_addresses), cmocka_unit_test(test_settings)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The parts of nh that need no server: key envelope, small languages, tables, shapes, error texts, addresses. */
#include "test_base.h"

#include <stdlib.h>

#include "base/encode.h"
#include "cli_int.h"

static const char *no_env(const char *name) { return NULL; }

struct capture {
	struct nh_cli_io io;
	struct nh_cli c;
	char *text;
	size_t len;
};

static void begin(struct capture *k)
{
	*k = (struct capture){0};
	k->io = (struct nh_cli_io){.out = open_memstream(&k->text, &k->len), .err = stderr, .env = no_env};
	k->c.io = &k->io;
}

static void end(struct capture *k, const char *expected)
{
	fclose(k->io.out);
	if (expected)
		assert_string_equal(k->text, expected);
	free(k->text);
	nh_arena_fini(&k->c.arena);
}

/* The vector of reference/user-api-and-cli 18.4. */
static const char vector[] =
	"g3QAAAAFdwlwcm90ZWN0ZWRtAAAAYIN0AAAABHcDYWxnbQAAAAtQQkVTMi1IUzUxMncDZW5jbQAAAAdBMjU2R0NNdwNwMmNiAAAQAHcDcDJzbQAAACBAQUJDREVGR0hJSktM"
	"TU5PUFFSU1RVVldYWVpbXF1eX3cCaXZtAAAADHBxcnN0dXZ3eHl6e3cNZW5jcnlwdGVkX2tleW0AAAAAdwtjaXBoZXJfdGV4dG0AAABYHhBGM6bmIztZutXKwuqppmpwYBOI"
	"VON5TeOsr4xpQo_xDgy3h6NL8rQ4u9iXaObI7oS5pRJo85PGVbU5syX7f1v7Pl1OkKbCftaj_dyui32YNwU-LZDX7ncKY2lwaGVyX3RhZ20AAAAQL8_yWLJRTis4bgHuIXIx"
	"Fw";

static void envelope(void **state)
{
	uint8_t secret[64], opened[64], salt[CLI_SALT_LEN], nonce[12];
	NH_AUTO_BUF struct nh_buf pub = NH_BUF_INIT, text = NH_BUF_INIT, varied = NH_BUF_INIT;
	struct nh_err e = NH_ERR_INIT;
	assert_int_equal(nh_b64_decode(NH_LIT("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="), NH_B64_STD, &pub), NH_OK);
	for (unsigned i = 0; i < 32; i++) {
		secret[i] = (uint8_t)i;
		secret[32 + i] = pub.ptr[i];
		salt[i] = (uint8_t)(0x40 + i);
	}
	for (unsigned i = 0; i < 12; i++)
		nonce[i] = (uint8_t)(0x70 + i);
	assert_int_equal(cli_envelope_seal(secret, NH_LIT("secret"), salt, nonce, &text, &e), NH_OK);
	assert_slice(nh_buf_slice(&text), vector);
	nh_buf_printf(&varied, " %s==\n", vector); /* padding and blanks are tolerated */
	assert_int_equal(cli_envelope_open(nh_buf_slice(&varied), NH_LIT("secret"), opened, &e), NH_OK);
	assert_memory_equal(opened, secret, 64);
	assert_int_equal(cli_envelope_open(nh_slice_str(vector), NH_LIT("Secret"), opened, &e), NH_EAUTH);
	assert_string_equal(e.msg, "cannot decrypt the private key: wrong password");
	assert_int_equal(cli_envelope_open(NH_LIT("not base64!"), NH_LIT("x"), opened, &e), NH_EFORMAT);
	assert_int_equal(cli_envelope_open(NH_LIT(""), NH_LIT("x"), opened, &e), NH_EFORMAT);
	/* every letter of the file matters, save those that only name unused members */
	nh_buf_clear(&text);
	nh_buf_put_str(&text, vector);
	for (size_t i = 0; i < text.len; i += 7) {
		uint8_t before = text.ptr[i];
		text.ptr[i] = before == 'A' ? 'B' : 'A';
		nh_rc rc = cli_envelope_open(nh_buf_slice(&text), NH_LIT("secret"), opened, &e);
		assert_true(rc != NH_OK || nh_slice_eq(nh_slice_of(opened, 64), nh_slice_of(secret, 64)));
		text.ptr[i] = before;
	}
	/* no password is a password too */
	nh_buf_clear(&text);
	assert_int_equal(cli_envelope_seal(secret, NH_SLICE_EMPTY, salt, nonce, &text, &e), NH_OK);
	assert_int_equal(cli_envelope_open(nh_buf_slice(&text), NH_SLICE_EMPTY, opened, &e), NH_OK);
}

static void foreign_algorithm(void **state)
{
	uint8_t opened[64];
	struct nh_err e = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, text = NH_BUF_INIT;
	assert_int_equal(nh_b64_decode(nh_slice_str(vector), NH_B64_URL_NOPAD, &bytes), NH_OK);
	bytes.ptr[nh_slice_find(nh_buf_slice(&bytes), NH_LIT("HS512"))] = 'X';
	nh_b64_put(&text, nh_buf_slice(&bytes), NH_B64_URL_NOPAD);
	assert_int_equal(cli_envelope_open(nh_buf_slice(&text), NH_LIT("secret"), opened, &e), NH_EUNSUPPORTED);
	assert_string_equal(e.msg, "pki: unsupported key encryption (alg=\"PBES2-XS512\" enc=\"A256GCM\")");
}

#define DAY_US (INT64_C(86400) * 1000000)

static void validity(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} rows[] = {
		{"31y", 31 * 365 * DAY_US}, {"1.5y", 365 * 3 * DAY_US / 2}, {"90d", 90 * DAY_US}, {"12h", DAY_US / 2}, {"90m", DAY_US / 16},
		{"1h30m", DAY_US / 16}, {"0.5d", DAY_US / 2}, {"1500ms", 1500000}, {".5h", DAY_US / 48},
	};
	static const char *const bad[] = {"", "y", "12", "-1d", "0d", "1w", "1y1d", "1h1d", "d1", "1..5d", "99999999y", "1 d", "9999999999999999999999d"};
	struct nh_err e = NH_ERR_INIT;
	int64_t us = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		assert_int_equal(cli_parse_validity(rows[i].text, &us, &e), NH_OK);
		assert_true(us == rows[i].us);
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		if (cli_parse_validity(bad[i], &us, &e) != NH_EINVAL)
			fail_msg("'%s' was taken", bad[i]);
}

static void serials(void **state)
{
	struct capture k;
	begin(&k);
	assert_string_equal(cli_serial_hex(&k.c, NH_LIT("99887766")), "05:F4:2A:96");
	assert_string_equal(cli_serial_hex(&k.c, NH_LIT("0")), "00");
	assert_string_equal(cli_serial_hex(&k.c, NH_LIT("")), "");
	assert_string_equal(cli_serial_hex(&k.c, NH_LIT("-1")), "-1");
	assert_string_equal(cli_serial_decimal(&k.c, "05:F4:2A:96"), "99887766");
	assert_string_equal(cli_serial_decimal(&k.c, "0x5f42a96"), "99887766");
	assert_string_equal(cli_serial_decimal(&k.c, "5F42A96"), "99887766");
	assert_string_equal(cli_serial_decimal(&k.c, "99887766"), "99887766");
	assert_string_equal(cli_serial_decimal(&k.c, "what"), "what");
	assert_string_equal(cli_serial_decimal(&k.c, "FF:FF:FF:FF:FF:FF:FF:FF:FF:FF:FF:FF:FF:FF:FF:FF:FF:FF:FF:FF"),
			    "1461501637330902918203684832716283019655932542975");
	end(&k, "");
}

static void tables(void **state)
{
	struct capture k;
	begin(&k);
	struct cli_table t = {.arena = &k.c.arena, .columns = 3};
	cli_table_row(&t, "NAME", "KEY", "X");
	cli_table_row(&t, "größe", "a", "");
	cli_table_row(&t, "a\x1b[2J\nb", "", "last");
	cli_table_print(&k.c, &t);
	for (int i = 0; i < 100; i++)
		cli_table_row(&t, "n", "k", "x");
	assert_int_equal(t.used, 103 * 3);
	struct cli_table d = {.arena = &k.c.arena, .columns = 2};
	cli_table_detail(&d, "Name", "x");
	cli_table_detail(&d, "Nothing", "");
	cli_table_detail(&d, "Description", "y");
	cli_table_print(&k.c, &d);
	end(&k, "NAME           KEY  X\n"
		"größe          a    \n"
		"a\\x1b[2J\\x0ab       last\n"
		"Name:         x\n"
		"Description:  y\n");
}

static void shapes(void **state)
{
	static const struct cli_shape inner[] = {{"n", SHAPE_INT}, {NULL}};
	static const struct cli_shape shape[] = {{"text", SHAPE_TEXT}, {"flag", SHAPE_BOOL}, {"at", SHAPE_TIME}, {"late", SHAPE_TIME, true},
						 {"tags", SHAPE_TEXTS}, {"in", SHAPE_OBJECT, true, inner}, {"must", SHAPE_OBJECT, false, inner},
						 {"many", SHAPE_OBJECTS, false, inner}, {"page", SHAPE_INT, .from = "page_number"}, {"any", SHAPE_ANY, true}, {NULL}};
	struct capture k;
	begin(&k);
	json_t *server = NULL;
	assert_int_equal(nh_json_parse(NH_LIT("{\"unknown\":1,\"tags\":[\"a\",\"<&>\\u2028\"],\"text\":null,\"at\":\"2026-01-02 03:04:05.120000Z\","
					      "\"late\":\"never\",\"many\":[{\"n\":2,\"x\":1}],\"page_number\":7,\"in\":null}"),
				       1000, &server, NULL),
			 NH_OK);
	json_t *out = cli_shape_object(shape, server);
	cli_out_json(&k.c, out);
	json_decref(out);
	json_decref(server);
	out = cli_shape_list(shape, NULL);
	cli_out_json(&k.c, out);
	json_decref(out);
	end(&k, "{\n  \"text\": \"\",\n  \"flag\": false,\n  \"at\": \"2026-01-02T03:04:05.12Z\",\n  \"tags\": [\n    \"a\",\n    \"\\u003c\\u0026\\u003e\\u2028\"\n  ],\n"
		"  \"must\": {\n    \"n\": 0\n  },\n  \"many\": [\n    {\n      \"n\": 2\n    }\n  ],\n  \"page\": 7\n}\nnull\n");
}

static void times(void **state)
{
	struct capture k;
	begin(&k);
	static const struct {
		const char *text, *day, *second;
	} rows[] = {{"2026-01-02T03:04:05", "2026-01-02", "2026-01-02 03:04:05 UTC"}, {"2026-01-02T03:04:05Z", "2026-01-02", "2026-01-02 03:04:05 UTC"},
		    {"2026-01-02 03:04:05.123456Z", "2026-01-02", "2026-01-02 03:04:05 UTC"}, {"never", "", ""}, {"", "", ""}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		json_t *v = json_string(rows[i].text);
		assert_string_equal(cli_time_cell(&k.c, v, true), rows[i].day);
		assert_string_equal(cli_time_cell(&k.c, v, false), rows[i].second);
		json_decref(v);
	}
	assert_string_equal(cli_time_cell(&k.c, NULL, true), "");
	end(&k, "");
}

static void error_texts(void **state)
{
	static const struct {
		long status;
		const char *body, *text;
	} rows[] = {
		{401, "{\"errors\":{\"detail\":\"Nope\"}}", "api: 401: Nope"},
		{422, "{\"errors\":{\"name\":[\"is bad\",\"is short\"],\"key\":\"broken\",\"conditions\":{\"version\":[\"x\"]}}}",
		 "api: 422: Unprocessable Entity\n  key: broken\n  name: is bad, is short"},
		{422, "{\"errors\":\"plain\"}", "api: 422: plain"},
		{403, "{\"status\":\"Unauthorized\"}", "api: 403: Unauthorized"},
		{400, "{\"detail\":\"top\",\"errors\":{\"detail\":\"below\"}}", "api: 400: top"},
		{403, "Forbidden\n", "api: 403: Forbidden"},
		{502, "", "api: 502: Bad Gateway"},
		{500, "{}", "api: 500: Internal Server Error"},
		{422, "{\"errors\":{\"detail\":[\"one\"]}}", "api: 422: one"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
		cli_api_error_put(&b, rows[i].status, nh_slice_str(rows[i].body));
		assert_slice(nh_buf_slice(&b), rows[i].text);
	}
}

static void addresses(void **state)
{
	static const struct {
		const char *uri, *url;
	} rows[] = {
		{"https://h", "https://h/api/orgs"},	       {"https://h/", "https://h/api/orgs"},	   {"https://h/api", "https://h/api/orgs"},
		{"https://h/api/", "https://h/api/orgs"},      {"https://h//x/", "https://h/x/api/orgs"}, {"http://h:4000/x/api", "http://h:4000/x/api/orgs"},
		{"https://h/x/?q=1", "https://h/x/api/orgs"},
	};
	static const char *const bad[] = {"", "h", "ftp://h", "https://", "//h", "h:4000", "https:///x"};
	struct capture k;
	char *url = NULL;
	begin(&k);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		k.c.uri = rows[i].uri;
		assert_int_equal(cli_api_url(&k.c, "orgs", &url, NULL), NH_OK);
		assert_string_equal(url, rows[i].url);
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		k.c.uri = bad[i];
		assert_int_equal(cli_api_url(&k.c, "orgs", &url, NULL), NH_EINVAL);
	}
	k.c.org = "a b";
	k.c.product = "p/q";
	assert_string_equal(cli_product_route(&k.c, "devices", "ü@1", NULL), "orgs/a%20b/products/p%2Fq/devices/%C3%BC%401");
	end(&k, "");
}

static void progress(void **state)
{
	for (int terminal = 0; terminal < 2; terminal++) {
		char *text = NULL;
		size_t len = 0;
		struct nh_cli_io io = {.err = open_memstream(&text, &len), .err_terminal = terminal, .env = no_env};
		struct nh_cli c = {.io = &io};
		struct cli_progress p = {.c = &c, .verb = "Uploading", .name = "x.fw"};
		cli_progress_update(&p, 512, 2048);
		cli_progress_update(&p, 2048, 2048);
		cli_progress_update(&p, 2048, 2048); /* the end is drawn once */
		cli_progress_end(&p);
		cli_progress_end(&p);
		fclose(io.err);
		assert_string_equal(text, terminal ? "\rUploading x.fw [######..................]  25%  0.5 KiB of 2.0 KiB\x1b[K"
						     "\rUploading x.fw [########################] 100%  2.0 KiB of 2.0 KiB\x1b[K\n"
						   : "");
		free(text);
	}
}

static void names(void **state)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "/a"};
	struct nh_err e = NH_ERR_INIT;
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		assert_int_equal(cli_check_name(bad[i], "CA name", &e), NH_EINVAL);
	assert_string_equal(e.msg, "invalid CA name \"/a\"");
	assert_int_equal(cli_check_name("a.b-c", "CA name", &e), NH_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(envelope), cmocka_unit_test(foreign_algorithm), cmocka_unit_test(validity), cmocka_unit_test(serials), cmocka_unit_test(tables),
		cmocka_unit_test(shapes), cmocka_unit_test(times), cmocka_unit_test(error_texts), cmocka_unit_test(addresses), cmocka_unit_test(names), cmocka_unit_test(progress),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

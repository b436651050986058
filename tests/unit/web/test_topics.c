/*
 * What may be joined where, and what becomes of what people say: one row for each thing that may be said.
 */
#include <string.h>

#include "base/encode.h"
#include "test_base.h"
#include "web_int.h"

static const struct {
	web_socket socket;
	const char *topic, *identifier; /* NULL: not there */
	nh_conversation_kind kind;
} names[] = {
	{WEB_SOCKET_API, "user:console:identifier-d1", "d1", NH_CONVERSATION_CONSOLE},
	{WEB_SOCKET_API, "user:console:identifier-identifier-:1", "identifier-:1", NH_CONVERSATION_CONSOLE},
	{WEB_SOCKET_API, "user:local_shell:identifier-d1", "d1", NH_CONVERSATION_SHELL},
	{WEB_SOCKET_API, "user:console:identifier-", "", NH_CONVERSATION_CONSOLE}, /* no device is called that */
	{WEB_SOCKET_EVENTS, "device:d1", "d1", NH_CONVERSATION_EVENTS},
	{WEB_SOCKET_API, "device:d1", NULL, 0},
	{WEB_SOCKET_EVENTS, "user:console:identifier-d1", NULL, 0},
	{WEB_SOCKET_API, "user:console:d1", NULL, 0},
	{WEB_SOCKET_API, "User:console:identifier-d1", NULL, 0},
	{WEB_SOCKET_API, "", NULL, 0},
};

static void test_names(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++) {
		nh_slice identifier = NH_SLICE_EMPTY;
		const struct web_topic *topic = web_topic_find(names[i].socket, nh_slice_str(names[i].topic), &identifier);
		if ((topic != NULL) != (names[i].identifier != NULL))
			fail_msg("%s: %s", names[i].topic, topic ? "found" : "not found");
		if (!topic)
			continue;
		assert_slice(identifier, names[i].identifier);
		assert_int_equal(topic->kind, names[i].kind);
	}
}

#define CONSOLE "user:console:identifier-x"
#define SHELL "user:local_shell:identifier-x"
#define STREAM "device:x"

static const struct {
	const char *topic, *event, *payload;
	web_verdict verdict;
	const char *shaped; /* NULL: as it came */
} said[] = {
	{CONSOLE, "dn", "{\"data\":\"ls\\r\"}", WEB_TO_DEVICE, NULL},
	{CONSOLE, "dn", "{\"data\":\"\",\"more\":[1]}", WEB_TO_DEVICE, NULL},
	{CONSOLE, "dn", "{\"data\":1}", WEB_IGNORE, NULL},
	{CONSOLE, "dn", "{}", WEB_IGNORE, NULL},
	{CONSOLE, "dn", "null", WEB_IGNORE, NULL},
	{CONSOLE, "dn", "[\"data\"]", WEB_IGNORE, NULL},
	{CONSOLE, "window_size", "{\"height\":24,\"width\":80}", WEB_TO_DEVICE, NULL},
	{CONSOLE, "window_size", "{\"height\":24}", WEB_IGNORE, NULL},
	{CONSOLE, "window_size", "{\"height\":24,\"width\":\"80\"}", WEB_IGNORE, NULL},
	{CONSOLE, "window_size", "{\"height\":2.5,\"width\":80}", WEB_IGNORE, NULL},
	{CONSOLE, "restart", "{}", WEB_TO_DEVICE, NULL},
	{CONSOLE, "anything", "{\"a\":{\"b\":null}}", WEB_TO_DEVICE, NULL},
	{CONSOLE, "", "{}", WEB_IGNORE, NULL},
	{CONSOLE, "phx_error", "{}", WEB_IGNORE, NULL},
	{CONSOLE, "phx_anything", "{}", WEB_IGNORE, NULL},
	{CONSOLE, "message", "{\"event\":\"hi\"}", WEB_TO_PEOPLE, "{\"event\":\"hi\",\"name\":\"Mia\"}"},
	{CONSOLE, "message", "{\"event\":\"hi\",\"name\":\"root\"}", WEB_TO_PEOPLE, "{\"event\":\"hi\",\"name\":\"Mia\"}"},
	{CONSOLE, "file-data/start", "{\"filename\":\"a.txt\"}", WEB_TO_DEVICE, "{\"filename\":\"a.txt\",\"uploaded_by\":7}"},
	{CONSOLE, "file-data/start", "{\"filename\":\"/etc/passwd\",\"uploaded_by\":1}", WEB_TO_DEVICE, "{\"filename\":\"passwd\",\"uploaded_by\":7}"},
	{CONSOLE, "file-data/stop", "{\"filename\":\"C:\\\\a\\\\b.txt\"}", WEB_TO_DEVICE, "{\"filename\":\"b.txt\",\"uploaded_by\":7}"},
	{CONSOLE, "file-data/stop", "{\"filename\":\"...\"}", WEB_TO_DEVICE, "{\"filename\":\"...\",\"uploaded_by\":7}"},
	{CONSOLE, "file-data/start", "{\"filename\":\"\"}", WEB_REFUSE, NULL},
	{CONSOLE, "file-data/start", "{\"filename\":\"a/\"}", WEB_REFUSE, NULL},
	{CONSOLE, "file-data/start", "{\"filename\":\"a/..\"}", WEB_REFUSE, NULL},
	{CONSOLE, "file-data/start", "{\"filename\":\".\"}", WEB_REFUSE, NULL},
	{CONSOLE, "file-data/start", "{\"filename\":\"a\\tb\"}", WEB_REFUSE, NULL},
	{CONSOLE, "file-data/start", "{}", WEB_IGNORE, NULL},
	{CONSOLE, "file-data", "{\"filename\":\"../a\",\"chunk\":0,\"data\":\"aGVsbG8K\"}", WEB_TO_DEVICE, "{\"filename\":\"a\",\"chunk\":0,\"data\":\"aGVsbG8K\"}"},
	{CONSOLE, "file-data", "{\"filename\":\"a\",\"chunk\":0,\"data\":\"\"}", WEB_TO_DEVICE, NULL},
	{CONSOLE, "file-data", "{\"filename\":\"a\",\"chunk\":0,\"data\":\"aGVsbG8\"}", WEB_REFUSE, NULL},
	{CONSOLE, "file-data", "{\"filename\":\"a\",\"chunk\":0,\"data\":\"a b=\"}", WEB_REFUSE, NULL},
	{SHELL, "input", "{\"data\":\"ls\\r\"}", WEB_TO_DEVICE, NULL},
	{SHELL, "input", "{\"data\":null}", WEB_IGNORE, NULL},
	{SHELL, "window_size", "{\"rows\":24,\"cols\":80}", WEB_TO_DEVICE, NULL},
	{SHELL, "window_size", "{\"height\":24,\"width\":80}", WEB_IGNORE, NULL},
	{SHELL, "kill_shell", "{\"signal\":9}", WEB_IGNORE, NULL},
	{SHELL, "message", "{\"event\":\"hi\"}", WEB_IGNORE, NULL},
	{STREAM, "dn", "{\"data\":\"x\"}", WEB_IGNORE, NULL},
};

static void test_said(void **state)
{
	static const struct web_person mia = {7, {(const uint8_t *)"Mia", 3}};
	for (size_t i = 0; i < NH_ARRAY_LEN(said); i++) {
		nh_slice identifier;
		const char *why = NULL;
		NH_AUTO_JSON json_t *payload = NULL, *wanted = NULL;
		const struct web_topic *topic = web_topic_find(strcmp(said[i].topic, STREAM) == 0 ? WEB_SOCKET_EVENTS : WEB_SOCKET_API, nh_slice_str(said[i].topic), &identifier);
		assert_non_null(topic);
		assert_int_equal(nh_json_parse(nh_slice_str(said[i].payload), 4096, &payload, NULL), NH_OK);
		assert_int_equal(nh_json_parse(nh_slice_str(said[i].shaped ? said[i].shaped : said[i].payload), 4096, &wanted, NULL), NH_OK);
		web_verdict verdict = web_topic_judge(topic, &mia, nh_slice_str(said[i].event), payload, &why);
		if (verdict != said[i].verdict || (verdict == WEB_REFUSE) != (why != NULL))
			fail_msg("%s %s %s: verdict %d", said[i].topic, said[i].event, said[i].payload, (int)verdict);
		if ((verdict == WEB_TO_DEVICE || verdict == WEB_TO_PEOPLE) && !json_equal(payload, wanted))
			fail_msg("%s %s %s: not shaped as expected", said[i].topic, said[i].event, said[i].payload);
	}
}

/* The last size that is taken, and the first that is not; the longest name, and one that is longer. */
static void test_limits(void **state)
{
	static const struct web_person mia = {7, {(const uint8_t *)"Mia", 3}};
	static const struct {
		size_t data, name;
		web_verdict verdict;
	} rows[] = {{65535, 255, WEB_TO_DEVICE}, {65536, 1, WEB_TO_DEVICE}, {65537, 1, WEB_REFUSE}, {1, 256, WEB_REFUSE}};
	nh_slice identifier;
	const struct web_topic *topic = web_topic_find(WEB_SOCKET_API, NH_LIT(CONSOLE), &identifier);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		const char *why = NULL;
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, text = NH_BUF_INIT, name = NH_BUF_INIT;
		nh_buf_fill(&bytes, 0xAB, rows[i].data);
		nh_b64_put(&text, nh_buf_slice(&bytes), NH_B64_STD);
		nh_buf_fill(&name, 'n', rows[i].name);
		NH_AUTO_JSON json_t *payload = json_pack("{s:o,s:o}", "data", nh_json_new_text(nh_buf_slice(&text)), "filename", nh_json_new_text(nh_buf_slice(&name)));
		assert_int_equal(web_topic_judge(topic, &mia, NH_LIT("file-data"), payload, &why), rows[i].verdict);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_said), cmocka_unit_test(test_limits)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

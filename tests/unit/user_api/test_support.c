/*
 * Archives and support scripts over real sockets, on each database at hand. The device is this file's: it sits at the other end of the relay and answers, or does not.
 */
#include "place.h"

#include <pthread.h>
#include <sched.h>

#include "base/encode.h"
#include "bus/relay.h"

/* ---- archives ---------------------------------------------------------------------------------------------------------- */

static void archives(struct place *p)
{
	struct api_server *s = p->s;
	NH_AUTO_BUF struct nh_buf file = fixture("widget-1.0.0.fw"), newer = fixture("widget-1.1.0.fw");
	/* Of whatever product the file says it is. */
	status(s, 201, "POST", "/orgs/acme/products", p->ada, "{\"name\":\"Other\"}");
	AUTO_ANSWER other = upload(s, "/orgs/acme/products/Other/archives", p->ada, nh_buf_slice(&file), true);
	assert_int_equal(other.status, 201);
	IS(other, "data.product", "Other");

	AUTO_ANSWER up = upload(s, P "/archives", p->ada, nh_buf_slice(&file), false);
	assert_int_equal(up.status, 201);
	assert_non_null(strstr(nh_buf_cstr(&up.head), "location: /api" P "/archives/" UUID1));
	IS(up, "data.uuid", UUID1);
	IS(up, "data.version", "1.0.0");
	AUTO_ANSWER up2 = upload(s, P "/archives", p->ada, nh_buf_slice(&newer), true);
	assert_int_equal(up2.status, 201);
	AUTO_ANSWER twice = upload(s, P "/archives", p->ada, nh_buf_slice(&file), false);
	assert_int_equal(twice.status, 422);
	IS(twice, "errors.uuid.0", "has already been taken");
	assert_int_equal(api_server_objects(s), 3);

	AUTO_ANSWER list = expect(s, 200, "GET", P "/archives", p->ada, NULL);
	IS(list, "data.0.uuid", UUID2);
	IS(list, "data.1.uuid", UUID1);
	AUTO_ANSWER one = expect(s, 200, "GET", P "/archives/" UUID1, p->ada, NULL);
	assert_int_equal(strtoul(at(&one, "data.size"), NULL, 10), file.len);
	assert_int_equal(strlen(at(&one, "data.inserted_at")), 19);
	AUTO_ANSWER bytes = expect(s, 200, "GET", P "/archives/" UUID1 "/download", p->ada, NULL);
	assert_true(nh_slice_eq(nh_buf_slice(&bytes.body), nh_buf_slice(&file)));
	/* the two kinds do not meet */
	status(s, 404, "GET", P "/firmwares/" UUID1, p->ada, NULL);
	status(s, 404, "GET", P "/archives/" UUID1 "0", p->ada, NULL);
	status(s, 404, "GET", P "/archives", p->eve, NULL);
	status(s, 404, "DELETE", P "/archives/" UUID1, p->eve, NULL);

	AUTO_ANSWER fw = upload(s, P "/firmwares", p->ada, nh_buf_slice(&file), false);
	assert_int_equal(fw.status, 201);
	AUTO_ANSWER group = expect(s, 201, "POST", P "/deployments", p->ada, "{\"name\":\"main\",\"firmware\":\"" UUID1 "\"}");
	IS(group, "data.archive_uuid", "null");
	AUTO_ANSWER release = expect(s, 200, "PUT", P "/deployments/main", p->ada, "{\"deployment\":{\"firmware\":\"" UUID1 "\",\"archive\":\"" UUID2 "\"}}");
	IS(release, "data.archive_uuid", UUID2);
	AUTO_ANSWER used = expect(s, 409, "DELETE", P "/archives/" UUID2, p->ada, NULL);
	IS(used, "errors.deployment_releases.0", "Archive has associated deployment releases");
	status(s, 204, "DELETE", P "/archives/" UUID1, p->ada, NULL);
	status(s, 404, "GET", P "/archives/" UUID1, p->ada, NULL);
	assert_int_equal(api_server_objects(s), 3); /* two archives, one firmware */
}
static void test_archives(void **state) { on_each_engine(archives); }

static void archive_refusals(struct place *p)
{
	static const struct {
		const char *file, *text;
	} table[] = {
		{"not-a-zip.fw", "Unrecognised archive format. Expected an fwup archive (.fw)."},
		{"truncated-in-rootfs.fw", "The archive file is truncated."},
		{"tampered-payload.fw", "The archive file is damaged, or was changed"},
		{"minimal-unsigned.fw", "The archive is not signed."},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		NH_AUTO_BUF struct nh_buf file = fixture(table[i].file);
		AUTO_ANSWER a = upload(p->s, P "/archives", p->ada, nh_buf_slice(&file), i % 2);
		assert_int_equal(a.status, 422);
		if (strncmp(at(&a, "errors.detail"), table[i].text, strlen(table[i].text)) != 0)
			fail_msg("%s: %s", table[i].file, at(&a, "errors.detail"));
	}
	AUTO_ANSWER nothing = ask(p->s, &(struct ask){.method = "POST", .path = P "/archives", .token = p->ada, .json = "{}"});
	assert_int_equal(nothing.status, 422);
	IS(nothing, "errors.detail", "No archive uploaded");
	/* a part of the other kind's name is no file of this one */
	AUTO_ANSWER misnamed = ask(p->s, &(struct ask){.method = "POST", .path = P "/archives", .token = p->ada, .headers = "Content-Type: multipart/form-data; boundary=b\r\n",
		.body = NH_LIT("--b\r\nContent-Disposition: form-data; name=\"firmware\"; filename=\"x\"\r\n\r\nPK\r\n--b--\r\n")});
	assert_int_equal(misnamed.status, 422);
	NH_AUTO_BUF struct nh_buf large = NH_BUF_INIT;
	nh_buf_put_str(&large, "PK\003\004");
	nh_buf_fill(&large, 'x', 150001);
	AUTO_ANSWER big = upload(p->s, P "/archives", p->ada, nh_buf_slice(&large), true);
	assert_int_equal(big.status, 413);
	assert_int_equal(api_server_objects(p->s), 0);
}
static void test_archive_refusals(void **state) { on_each_engine(archive_refusals); }

/* ---- scripts as rows --------------------------------------------------------------------------------------------------- */

#define NH_AGENT "User-Agent: nh/0.3.1\r\n"

static struct answer as_nh(struct place *p, const char *method, const char *path, const char *json)
{
	return ask(p->s, &(struct ask){.method = method, .path = path, .token = p->ada, .json = json, .headers = NH_AGENT});
}

static void scripts(struct place *p)
{
	struct api_server *s = p->s;
	AUTO_ANSWER made = expect(s, 200, "POST", P "/scripts", p->ada, "{\"name\":\"hello\",\"text\":\"IO.puts 1\",\"tags\":\"a, b\"}");
	IS(made, "data.id", "1");
	assert_true(json_is_integer(json_object_get(json_object_get(made.json, "data"), "id")));
	IS(made, "data.tags", "[\"a\",\"b\"]");
	IS(made, "data.text", "IO.puts 1");
	IS(made, "data.created_by.email", "ada@example.com");
	assert_int_equal(strlen(at(&made, "data.inserted_at")), 19);
	status(s, 200, "POST", P "/scripts", p->ada, "{\"name\":\"other\",\"text\":\"2\"}");
	AUTO_ANSWER blank = expect(s, 422, "POST", P "/scripts", p->ada, "{\"text\":\"2\"}");
	IS(blank, "errors.name.0", "can't be blank");

	AUTO_ANSWER list = expect(s, 200, "GET", P "/scripts", p->ada, NULL);
	IS(list, "data", "[{\"id\":1,\"name\":\"hello\",\"tags\":[\"a\",\"b\"]},{\"id\":2,\"name\":\"other\",\"tags\":null}]");
	IS(list, "pagination", "{\"page_number\":1,\"page_size\":25,\"total_entries\":2,\"total_pages\":1}");
	AUTO_ANSWER second = expect(s, 200, "GET", P "/scripts?pagination[page]=2&pagination[page_size]=1", p->ada, NULL);
	IS(second, "data.0.name", "other");
	IS(second, "pagination.total_pages", "2");
	AUTO_ANSWER found = expect(s, 200, "GET", P "/scripts?filters[tags]=b&filters[name]=HELL&filters[search]=", p->ada, NULL);
	IS(found, "pagination.total_entries", "1");
	status(s, 422, "GET", P "/scripts?pagination[page]=none", p->ada, NULL);

	AUTO_ANSWER changed = expect(s, 200, "PUT", P "/scripts/1", p->ada, "{\"text\":\"IO.puts 3\"}");
	IS(changed, "data.name", "hello");
	IS(changed, "data.text", "IO.puts 3");
	static const struct {
		unsigned status;
		const char *method, *path;
	} table[] = {
		{404, "GET", P "/scripts/none"}, {404, "GET", P "/scripts/99"}, {400, "PUT", P "/scripts/none"}, {404, "PUT", P "/scripts/99"},
		{400, "DELETE", P "/scripts/none"}, {404, "DELETE", P "/scripts/99"}, {204, "DELETE", P "/scripts/2"}, {404, "DELETE", P "/scripts/2"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++)
		status(s, table[i].status, table[i].method, table[i].path, p->ada, strcmp(table[i].method, "PUT") == 0 ? "{}" : NULL);
	status(s, 404, "GET", P "/scripts", p->eve, NULL);
	status(s, 404, "GET", P "/scripts/1", p->eve, NULL);
}
static void test_scripts(void **state) { on_each_engine(scripts); }

/* One wrong type fails nh's whole command. source: reference/user-api-and-cli "14" */
static void what_nh_decodes(struct place *p)
{
	AUTO_ANSWER made = as_nh(p, "POST", P "/scripts", "{\"name\":\"hello\",\"text\":\"1\",\"tags\":\"a,b\"}");
	assert_int_equal(made.status, 200);
	const json_t *data = json_object_get(made.json, "data"), *creator = json_object_get(data, "created_by");
	assert_true(json_is_string(json_object_get(data, "id")) && json_is_string(json_object_get(creator, "id")));
	IS(made, "data.tags", "a,b");
	AUTO_ANSWER bare = as_nh(p, "POST", P "/scripts", "{\"name\":\"bare\",\"text\":\"1\"}");
	IS(bare, "data.tags", "");
	assert_true(json_is_string(json_object_get(json_object_get(bare.json, "data"), "tags")));
	status(p->s, 201, "POST", P "/devices", p->ada, "{\"identifier\":\"d1\"}");
	static const char *const paths[] = {P "/scripts", P "/devices/d1/scripts", "/devices/d1/scripts"};
	for (size_t i = 0; i < NH_ARRAY_LEN(paths); i++) {
		AUTO_ANSWER list = as_nh(p, "GET", paths[i], NULL);
		IS(list, "data", "[{\"id\":\"2\",\"name\":\"bare\",\"tags\":\"\"},{\"id\":\"1\",\"name\":\"hello\",\"tags\":\"a,b\"}]");
		AUTO_ANSWER others = expect(p->s, 200, "GET", paths[i], p->ada, NULL);
		IS(others, "data.1", "{\"id\":1,\"name\":\"hello\",\"tags\":[\"a\",\"b\"]}");
	}
}
static void test_what_nh_decodes(void **state) { on_each_engine(what_nh_decodes); }

/* ---- running ----------------------------------------------------------------------------------------------------------- */

#define DEVICE_ID 1 /* the first of a fresh database */

/* The device: what it was asked lately; the text of the script says what it does. */
struct device {
	struct nh_relay *relay;
	struct nh_loop *loop;
	struct nh_relay_device *end;
	pthread_mutex_t lock;
	char asked[256];
};

static void on_question(void *ctx, nh_slice event, nh_slice payload, uint64_t question)
{
	struct device *d = ctx;
	NH_AUTO_JSON json_t *said = NULL;
	assert_int_equal(nh_json_parse(payload, 10000, &said, NULL), NH_OK);
	pthread_mutex_lock(&d->lock);
	snprintf(d->asked, sizeof d->asked, "%.*s %.*s", NH_ARG(event), NH_ARG(payload));
	pthread_mutex_unlock(&d->lock);
	nh_slice text = nh_json_text(said, "text");
	if (nh_slice_eq_str(text, "answer"))
		nh_relay_device_answer(d->end, question, NH_LIT("{\"output\":\"hello\\n\\u00e4 <b>\"}"));
	else if (nh_slice_eq_str(text, "nothing"))
		nh_relay_device_answer(d->end, question, NH_LIT("{\"output\":\"\"}"));
	else if (nh_slice_eq_str(text, "nonsense"))
		nh_relay_device_answer(d->end, question, NH_LIT("{\"output\""));
	else if (nh_slice_eq_str(text, "leave")) {
		nh_relay_device_close(d->end);
		d->end = NULL;
	}
}

static void open_end(void *arg)
{
	struct device *d = arg;
	if (!d->end)
		d->end = nh_relay_device_open(d->relay, DEVICE_ID, NH_RELAY_SCRIPTS, NH_SLICE_EMPTY, d->loop, on_question, d);
}

static void close_end(void *arg)
{
	struct device *d = arg;
	nh_relay_device_close(d->end);
	d->end = NULL;
	nh_loop_stop(d->loop);
}

static void device_start(struct device *d, struct api_server *s)
{
	struct nh_err err = NH_ERR_INIT;
	*d = (struct device){.relay = api_server_relay(s)};
	pthread_mutex_init(&d->lock, NULL);
	assert_int_equal(nh_loop_new(NULL, &d->loop, &err), NH_OK);
	assert_int_equal(nh_loop_start(d->loop, &err), NH_OK);
	assert_int_equal(nh_loop_post(d->loop, open_end, d), NH_OK);
}

static void device_stop(struct device *d)
{
	assert_int_equal(nh_loop_post(d->loop, close_end, d), NH_OK);
	nh_loop_join(d->loop);
	nh_loop_free(d->loop);
	pthread_mutex_destroy(&d->lock);
}

static bool was_asked(struct device *d, const char *part)
{
	pthread_mutex_lock(&d->lock);
	bool found = strstr(d->asked, part) != NULL;
	pthread_mutex_unlock(&d->lock);
	return found;
}

static uint64_t devices_at(struct nh_relay *relay)
{
	struct nh_relay_stats stats;
	nh_relay_stats(relay, &stats);
	return stats.devices;
}

static void wait_for_device(struct nh_relay *relay, uint64_t devices)
{
	while (devices_at(relay) != devices)
		sched_yield();
}

static void make_scripts(struct place *p)
{
	static const char *const texts[] = {"answer", "nothing", "nonsense", "leave", "silence"};
	status(p->s, 201, "POST", P "/devices", p->ada, "{\"identifier\":\"d1\"}");
	for (size_t i = 0; i < NH_ARRAY_LEN(texts); i++) {
		char body[128];
		snprintf(body, sizeof body, "{\"name\":\"%s\",\"text\":\"%s\"}", texts[i], texts[i]);
		status(p->s, 200, "POST", P "/scripts", p->ada, body);
	}
}

#define AWAY "device not available or responding"

static void runs(struct place *p)
{
	static const struct {
		const char *path;
		unsigned status;
		const char *text; /* the body, or the detail of a refusal */
	} table[] = {
		{"answer", 200, "hello\n\u00e4 <b>"},
		{"1", 200, "hello\n\u00e4 <b>"}, /* by id */
		{"nothing", 200, ""},
		{"nonsense", 403, AWAY},
		{"silence?timeout=1", 403, AWAY},
		{"none", 404, NOT_FOUND},
		{"answer?timeout=soon", 400, "timeout must be a number of milliseconds"},
		{"answer?timeout=0", 400, "timeout must be a number of milliseconds"},
		{"answer?timeout=-5", 400, "timeout must be a number of milliseconds"},
		{"answer?timeout=1.5", 400, "timeout must be a number of milliseconds"},
		{"answer?timeout=", 400, "timeout must be a number of milliseconds"},
		{"leave", 403, AWAY},
		{"answer", 403, AWAY}, /* it has left */
	};
	static const char *const prefixes[] = {P "/devices/d1/scripts/", "/devices/d1/scripts/"};
	struct nh_relay *relay = api_server_relay(p->s);
	make_scripts(p);
	for (size_t k = 0; k < NH_ARRAY_LEN(prefixes); k++) {
		struct device d;
		device_start(&d, p->s);
		wait_for_device(relay, 1);
		for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
			char path[256];
			snprintf(path, sizeof path, "%s%s", prefixes[k], table[i].path);
			AUTO_ANSWER a = expect(p->s, table[i].status, "POST", path, p->ada, NULL);
			if (table[i].status == 200)
				assert_string_equal(nh_buf_cstr(&a.body), table[i].text);
			else
				IS(a, "errors.detail", table[i].text);
			const char *type = table[i].status == 200 ? "Content-Type: text/plain; charset=utf-8" : "Content-Type: application/json; charset=utf-8";
			assert_non_null(strstr(nh_buf_cstr(&a.head), type));
			assert_non_null(strstr(nh_buf_cstr(&a.head), "x-request-id: "));
		}
		device_stop(&d);
		AUTO_ANSWER stranger = expect(p->s, 404, "POST", k ? "/devices/d1/scripts/answer" : P "/devices/d1/scripts/answer", p->eve, NULL);
		AUTO_ANSWER anonymous = expect(p->s, 401, "POST", k ? "/devices/d1/scripts/answer" : P "/devices/d1/scripts/answer", NULL, NULL);
	}
	struct nh_relay_stats stats;
	nh_relay_stats(relay, &stats);
	assert_int_equal(stats.questions, 0);
}
static void test_runs(void **state) { on_each_engine(runs); }

/* How long the device is given: as the request says, else as long as the client waits. */
static void patience(struct place *p)
{
	static const struct {
		const char *query, *headers, *asked;
	} table[] = {
		{"", NULL, "\"timeout\":30000"},
		{"", "User-Agent: nh/1.0\r\n", "\"timeout\":28000"},
		{"", "User-Agent: nhx/1.0\r\n", "\"timeout\":30000"},
		{"?timeout=29999", "User-Agent: nh/1.0\r\n", "\"timeout\":29999"},
		{"?timeout=600001", NULL, "\"timeout\":600000"},
		{"?timeout=18446744073709551615", NULL, "\"timeout\":600000"},
	};
	struct device d;
	make_scripts(p);
	device_start(&d, p->s);
	wait_for_device(api_server_relay(p->s), 1);
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		char path[256];
		snprintf(path, sizeof path, "%s%s", P "/devices/d1/scripts/answer", table[i].query);
		AUTO_ANSWER a = ask(p->s, &(struct ask){.method = "POST", .path = path, .token = p->ada, .headers = table[i].headers});
		assert_int_equal(a.status, 200);
		if (!was_asked(&d, table[i].asked) || !was_asked(&d, "scripts/run {\"text\":\"answer\","))
			fail_msg("row %zu: %s", i, d.asked);
	}
	device_stop(&d);
}
static void test_patience(void **state) { on_each_engine(patience); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_archives), cmocka_unit_test(test_archive_refusals), cmocka_unit_test(test_scripts), cmocka_unit_test(test_what_nh_decodes),
		cmocka_unit_test(test_runs), cmocka_unit_test(test_patience),
	};
	return cmocka_run_group_tests_name("user_api_support", tests, NULL, NULL);
}

/*
 * A link that asks, against a small hub on the real server over real TLS: what it says, what each answer makes of it, and that asking, updating and judging a
 * new firmware take turns. The hub has its answers from a row; every wait is for an event.
 */
#include "test_base.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "link/link.h"
#include "net/server.h"
#include "test_pki.h"

#define KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define NOTHING "{\"data\":{\"update_available\":false,\"firmware_url\":null,\"firmware_meta\":null,\"deployment_id\":null}}"
#define OFFER "offer" /* replaced by one with this hub's address */
#define ANSWERS_MAX 6

static struct test_pki pki;
static struct nh_pool *pool, *device_pool;
static struct nh_server *server;
static struct nh_tls *server_tls;
static struct nh_listener listeners[1];
static struct nh_buf cert_pem, key_pem;
static char long_text[40000]; /* a value that fits into no head */

/* ---- the hub */

struct answer {
	unsigned status; /* 0 = the end of the list: the last one again */
	const char *body, *retry_after;
};

static struct hub {
	pthread_mutex_t lock;
	const struct answer *answers;
	size_t at;
	struct nh_buf heads; /* of the questions: what the tests look for, one a line */
	unsigned questions, downloads;
} hub = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void handle_question(struct nh_request *req, struct nh_response *res)
{
	static const char *const names[] = {"x-nerveshub-uuid", "x-nerveshub-version", "x-nerveshub-application_part0_devpath", "x-nerveshub-evil", "x-nerveshub-fwup-version"};
	NH_AUTO_BUF struct nh_buf body = NH_BUF_INIT;
	pthread_mutex_lock(&hub.lock);
	const struct answer *a = &hub.answers[hub.at];
	if (hub.at + 1 < ANSWERS_MAX && hub.answers[hub.at + 1].status)
		hub.at++;
	hub.questions++;
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++)
		nh_buf_printf(&hub.heads, "%.*s|", NH_ARG(nh_request_header(req, names[i])));
	nh_buf_put_u8(&hub.heads, '\n');
	pthread_mutex_unlock(&hub.lock);
	if (strcmp(a->body, OFFER) == 0)
		nh_buf_printf(&body, "{\"data\":{\"update_available\":true,\"firmware_url\":\"https://localhost:%u/file\",\"firmware_meta\":{\"uuid\":\"22222222-2222-2222-2222-222222222222\",\"version\":\"1.1.0\"},"
				     "\"deployment_id\":3}}", listeners[0].port);
	else
		nh_buf_put_str(&body, a->body);
	if (a->retry_after)
		nh_response_header(res, "Retry-After", nh_slice_str(a->retry_after));
	nh_response_send(res, a->status, "application/json", nh_buf_slice(&body));
}

/* A slow one: dozens of intervals, in which nothing may be asked. */
static void handle_file(struct nh_request *req, struct nh_response *res)
{
	usleep(30000);
	pthread_mutex_lock(&hub.lock);
	hub.downloads++;
	pthread_mutex_unlock(&hub.lock);
	nh_response_send(res, 200, "application/octet-stream", NH_LIT("firmware"));
}

static const struct nh_route routes[] = {
	{.method = NH_HTTP_GET, .path = "/device/update", .handle = handle_question}, {.method = NH_HTTP_GET, .path = "/file", .handle = handle_file}, {0}};
static const struct nh_mount mounts[] = {{.routes = routes}, {0}};

static nh_tls_verdict verify(void *app, nh_slice der, const uint8_t fingerprint[32], int64_t *tag) { return NH_TLS_ACCEPT; }

static int set_up(void **state)
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT;
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof long_text; i++)
		long_text[i] = 'x';
	test_pki_init(&pki);
	test_pki_issue(&pki, "server", "localhost", &cert, &key, NULL);
	test_pki_issue(&pki, "dev-1", NULL, &cert_pem, &key_pem, NULL);
	struct nh_tls_server_config tls = {.cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key), .client_auth = NH_TLS_CLIENT_OPTIONAL, .verify = nh_server_verify};
	assert_int_equal(nh_tls_server_new(&tls, &server_tls, NULL), NH_OK);
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &pool, NULL), NH_OK);
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &device_pool, NULL), NH_OK);
	listeners[0] = (struct nh_listener){.name = "device", .address = "127.0.0.1", .mounts = mounts, .tls = server_tls, .verify = verify};
	assert_int_equal(nh_server_open(&(struct nh_server_config){.pool = pool, .listeners = listeners, .listener_count = 1}, &server, NULL), NH_OK);
	assert_int_equal(nh_server_start(server, NULL), NH_OK);
	return 0;
}

static int tear_down(void **state)
{
	nh_server_drain(server, 1000);
	nh_pool_free(pool);
	nh_pool_free(device_pool);
	nh_server_free(server);
	nh_tls_unref(server_tls);
	test_pki_fini(&pki);
	nh_buf_fini(&cert_pem);
	nh_buf_fini(&key_pem);
	nh_buf_fini(&hub.heads);
	return 0;
}

/* ---- the device */

struct device {
	struct nh_loop *loop;
	struct nh_link *link;
	struct nh_buf events, disk;
	nh_link_event_kind stop_on;
	int stop_after;
	bool stopping, unvalidated, drop;
	nh_rc read_rc, validate_rc, write_rc;
	int reboots;
	char why[300];
	uint64_t delay_ms;
	unsigned status;
};

static nh_rc dev_read_state(void *ctx, struct nh_arena *arena, struct nh_link_state *out, struct nh_err *err)
{
	const struct nh_link_pair pairs[] = {
		{NH_LIT("nerves_fw_uuid"), NH_LIT("11111111-1111-1111-1111-111111111111")},
		{NH_LIT("nerves_fw_version"), NH_LIT("1.0.0")},
		{NH_LIT("nerves_fw_application_part0_devpath"), NH_LIT("/dev/mmcblk0p3")},
		{NH_LIT("nerves_fw_evil"), NH_LIT("a\r\nX-Evil: b")}, /* none of these may go out, nor keep the others from it */
		{NH_LIT("nerves_fw_sp ace"), NH_LIT("x")},
		{NH_LIT("nerves_fw_"), NH_LIT("x")},
		{NH_LIT("nerves_fw_empty"), NH_LIT("")},
		{NH_LIT("nerves_fw_description"), nh_slice_of(long_text, sizeof long_text)},
		{NH_LIT("nerves_serial_number"), NH_LIT("secret-ish")},
	};
	struct device *d = ctx;
	if (d->read_rc != NH_OK) {
		nh_rc rc = d->read_rc;
		d->read_rc = NH_OK;
		return NH_FAIL(err, rc, "no disk");
	}
	struct nh_link_pair *kept = NH_NEW_ARRAY(arena, NH_ARRAY_LEN(pairs), struct nh_link_pair);
	for (size_t i = 0; i < NH_ARRAY_LEN(pairs); i++)
		kept[i] = pairs[i];
	*out = (struct nh_link_state){kept, NH_ARRAY_LEN(pairs), !d->unvalidated, false};
	return NH_OK;
}

static nh_rc dev_open(void *ctx, const struct nh_link_offer *offer, void **apply, struct nh_err *err)
{
	*apply = ctx;
	return NH_OK;
}

static nh_rc dev_write(void *apply, nh_slice bytes, unsigned *percent, struct nh_err *err)
{
	struct device *d = apply;
	nh_buf_put_slice(&d->disk, bytes);
	return d->write_rc == NH_OK ? NH_OK : NH_FAIL(err, d->write_rc, "signed by a stranger");
}

static nh_rc dev_finish(void *apply, struct nh_err *err) { return NH_OK; }
static void dev_abort(void *apply) {}
static nh_rc dev_validate(void *ctx, struct nh_err *err)
{
	nh_rc rc = ((struct device *)ctx)->validate_rc;
	return rc == NH_OK ? NH_OK : NH_FAIL(err, rc, "sensor dead");
}

static void on_closed(void *ctx) { nh_loop_stop(((struct device *)ctx)->loop); }

static void stop(struct device *d)
{
	if (d->stopping)
		return;
	d->stopping = true;
	nh_link_close(d->link, on_closed, d);
}

static void dev_reboot(void *ctx, const char *why)
{
	struct device *d = ctx;
	d->reboots++;
	stop(d);
}

static const struct nh_link_platform platform = {.read_state = dev_read_state, .apply_open = dev_open, .apply_write = dev_write, .apply_finish = dev_finish,
						 .apply_abort = dev_abort, .validate = dev_validate, .reboot = dev_reboot};

static void on_event(void *ctx, struct nh_link *link, const struct nh_link_event *e)
{
	struct device *d = ctx;
	if (e->kind != NH_LINK_UPDATE_PROGRESS)
		nh_buf_printf(&d->events, "%s ", nh_link_event_name(e->kind));
	if (e->kind == NH_LINK_DISCONNECTED || e->kind == NH_LINK_UPDATE_FAILED || e->kind == NH_LINK_VALIDATION_FAILED) {
		snprintf(d->why, sizeof d->why, "%.*s", NH_ARG(e->text));
		d->delay_ms = e->delay_ms;
		d->status = e->status;
	}
	if (e->kind == d->stop_on && --d->stop_after <= 0)
		stop(d);
}

static void run_device(struct device *d, const struct answer *answers)
{
	static const char *const keys[] = {KEY};
	static const uint32_t quick[] = {1};
	char host[64];
	struct nh_err err = NH_ERR_INIT;
	pthread_mutex_lock(&hub.lock);
	hub.answers = answers;
	hub.at = hub.questions = hub.downloads = 0;
	nh_buf_fini(&hub.heads);
	pthread_mutex_unlock(&hub.lock);
	snprintf(host, sizeof host, "localhost:%u", listeners[0].port);
	struct nh_link_config c = {
		.host = host, .ca_pem = nh_buf_slice(&pki.pem), .cert_pem = nh_buf_slice(&cert_pem), .key_pem = nh_buf_slice(&key_pem), .public_keys = keys, .public_key_count = 1,
		.transport = NH_LINK_POLL, .poll_interval_ms = 1, .platform = &platform, .platform_ctx = d, .on_event = on_event, .event_ctx = d, .fwup_version = "1.10.1",
		.backoff = {.delays_ms = quick, .count = 1}, .validate_interval_ms = 1};
	assert_int_equal(nh_loop_new(NULL, &d->loop, NULL), NH_OK);
	if (nh_link_open(d->loop, device_pool, &c, &d->link, &err) != NH_OK)
		fail_msg("%s", err.msg);
	nh_loop_run(d->loop);
	nh_pool_drain(device_pool);
	nh_loop_free(d->loop);
}

static void check(const char *what, size_t row, const struct device *d, const char *events)
{
	if (strcmp(nh_buf_cstr(&d->events), events) != 0)
		fail_msg("%s row %zu: '%s' instead of '%s' (%s)", what, row, nh_buf_cstr(&d->events), events, d->why);
}

/* ---- tests */

static void refusals(void **state)
{
	static const struct {
		struct answer answers[ANSWERS_MAX];
		unsigned status;
		uint64_t least_ms;
		const char *why;
	} rows[] = {
		{{{403, "{\"status\":\"forbidden\"}", NULL}}, 403, 0, "the server refused: HTTP 403 Forbidden"},
		{{{404, "{}", NULL}}, 404, 0, "the server refused: HTTP 404 Not Found; it may have no polling API"},
		{{{500, NOTHING, NULL}}, 500, 0, "the server refused: HTTP 500 Internal Server Error"},
		{{{503, "", "7"}}, 503, 7000, "the server refused: HTTP 503 Service Unavailable"},
		{{{429, "", "100000000"}}, 429, 900000, "the server refused: HTTP 429 Too Many Requests"},
		{{{204, "", NULL}}, 204, 0, "the server refused: HTTP 204 No Content"},
		{{{200, "", NULL}}, 0, 0, "the server's answer is not one of the polling API"},
		{{{200, "[]", NULL}}, 0, 0, "the server's answer is not one of the polling API"},
		{{{200, "{\"data\":[]}", NULL}}, 0, 0, "the server's answer is not one of the polling API"},
		{{{200, "{\"data\":{\"update_available\":1}}", NULL}}, 0, 0, "the server's answer is not one of the polling API"},
		{{{200, NOTHING "x", NULL}}, 0, 0, "the server's answer is not one of the polling API"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct device d = {.stop_on = NH_LINK_DISCONNECTED, .stop_after = 1};
		run_device(&d, rows[i].answers);
		check("refusals", i, &d, "connecting disconnected ");
		if (strcmp(d.why, rows[i].why) != 0 || d.status != rows[i].status || d.delay_ms < rows[i].least_ms || d.delay_ms > rows[i].least_ms * 3 / 2 + 2)
			fail_msg("row %zu: '%s' %u, %llu ms", i, d.why, d.status, (unsigned long long)d.delay_ms);
		nh_buf_fini(&d.events);
	}
}

static void lives(void **state)
{
	static const struct {
		const char *what;
		struct answer answers[ANSWERS_MAX];
		struct device device;
		const char *events;
		unsigned questions, downloads;
	} rows[] = {
		{"one join, however many answers", {{200, NOTHING, NULL}}, {.stop_on = NH_LINK_CONNECTED, .stop_after = 3}, "connecting connected joined connected connected ", 3, 0},
		{"lost and found", {{200, NOTHING, NULL}, {500, "", NULL}, {500, "", NULL}, {200, NOTHING, NULL}}, {.stop_on = NH_LINK_JOINED, .stop_after = 2},
		 "connecting connected joined disconnected connecting disconnected connecting connected joined ", 4, 0},
		{"an unreadable disk", {{200, NOTHING, NULL}}, {.stop_on = NH_LINK_JOINED, .read_rc = NH_EIO}, "connecting disconnected connecting connected joined ", 1, 0},
		{"an update; nothing is asked meanwhile", {{200, NOTHING, NULL}, {200, OFFER, NULL}}, {.stop_on = NH_LINK_EVENT_KINDS},
		 "connecting connected joined connected update.offered update.started update.installed ", 2, 1},
		{"an update that fails, and the next question", {{200, OFFER, NULL}, {200, NOTHING, NULL}}, {.stop_on = NH_LINK_CONNECTED, .stop_after = 2, .write_rc = NH_EAUTH},
		 "connecting connected joined update.offered update.started update.failed connected ", 2, 1},
		{"an offer without an address", {{200, "{\"data\":{\"update_available\":true,\"firmware_url\":null,\"firmware_meta\":null}}", NULL}}, {.stop_on = NH_LINK_CONNECTED, .stop_after = 2},
		 "connecting connected joined connected ", 2, 0},
		{"new firmware proves itself after the first answer", {{500, "", NULL}, {200, NOTHING, NULL}}, {.stop_on = NH_LINK_VALIDATED, .unvalidated = true},
		 NULL, 0, 0},
		{"or not", {{200, NOTHING, NULL}}, {.stop_on = NH_LINK_EVENT_KINDS, .unvalidated = true, .validate_rc = NH_EPERM}, NULL, 0, 0},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct device d = rows[i].device;
		run_device(&d, rows[i].answers);
		if (rows[i].events) {
			check(rows[i].what, i, &d, rows[i].events);
			assert_int_equal(hub.questions, rows[i].questions);
			assert_int_equal(hub.downloads, rows[i].downloads);
		}
		if (d.unvalidated) { /* further answers may come before the verdict */
			const char *verdict = strstr(nh_buf_cstr(&d.events), d.validate_rc == NH_OK ? "validated " : "validation.failed ");
			assert_non_null(verdict);
			assert_true(verdict > strstr(nh_buf_cstr(&d.events), "joined "));
		}
		bool ends = d.stop_on == NH_LINK_EVENT_KINDS;
		assert_int_equal(d.reboots, ends);
		nh_buf_fini(&d.events);
		nh_buf_fini(&d.disk);
	}
}

static void what_is_said(void **state)
{
	static const struct answer answers[ANSWERS_MAX] = {{200, NOTHING, NULL}};
	struct device d = {.stop_on = NH_LINK_JOINED};
	run_device(&d, answers);
	assert_string_equal(nh_buf_cstr(&hub.heads), "11111111-1111-1111-1111-111111111111|1.0.0|/dev/mmcblk0p3||1.10.1|\n");
	nh_buf_fini(&d.events);
}

/* Closed at any moment: while the disk is read, while the question is under way, while an update runs. */
static void closed_at_any_moment(void **state)
{
	static const struct answer answers[ANSWERS_MAX] = {{200, OFFER, NULL}};
	static const nh_link_event_kind moments[] = {NH_LINK_CONNECTING, NH_LINK_CONNECTED, NH_LINK_JOINED, NH_LINK_UPDATE_OFFERED, NH_LINK_UPDATE_STARTED, NH_LINK_UPDATE_INSTALLED};
	for (size_t i = 0; i < NH_ARRAY_LEN(moments); i++) {
		struct device d = {.stop_on = moments[i]};
		run_device(&d, answers);
		assert_int_equal(d.reboots, 0);
		nh_buf_fini(&d.events);
		nh_buf_fini(&d.disk);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(refusals), cmocka_unit_test(lives), cmocka_unit_test(what_is_said), cmocka_unit_test(closed_at_any_moment)};
	return cmocka_run_group_tests_name("poll", tests, set_up, tear_down);
}

/*
 * A link against a small hub on the real server, over real TLS: connect, join, update in all its endings, resume, validation, orders. The hub notes what the
 * device says; the machine is a block of memory. Every wait is for an event.
 */
#include "test_base.h"

#include <pthread.h>
#include <signal.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/encode.h"
#include "crypto/digest.h"
#include "link/link.h"
#include "net/server.h"
#include "phoenix/phoenix.h"
#include "test_pki.h"

#define FILE_SIZE 400000u
#define KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define RUNNING "11111111-1111-1111-1111-111111111111"
#define TARGET "22222222-2222-2222-2222-222222222222"

static struct test_pki pki;
static struct nh_pool *pool, *device_pool;
static struct nh_server *server;
static struct nh_tls *server_tls;
static struct nh_listener listeners[1];
static struct nh_buf cert_pem, key_pem;
static uint8_t device_fingerprint[32];
static uint8_t file[FILE_SIZE];
static char file_path[] = "/tmp/nh-link-test-XXXXXX", file_hex[65];

/* ---- the hub: shared with the server's threads */

static struct hub {
	pthread_mutex_t lock;
	struct nh_buf log;            /* what the device pushed, in short */
	struct nh_buf joins;          /* payloads of its joins, one a line */
	struct nh_buf requests;       /* download requests: their Range, or "whole" */
	const char *after_join[4];    /* event and payload, JSON, sent after each accepted join */
	int refuse_joins;             /* so many joins are answered with an error */
	int refuse_upgrades;          /* so many upgrades are answered with 401, or, with retry_after, 503 */
	const char *retry_after;
	int run;                      /* what sockets of earlier runs still say is not noted */
	char times[200];              /* x-nh-time of each attempt */
	int connections;
	bool crash_after_join;        /* phx_error once */
	bool silent;                  /* heartbeats are not answered */
	uint16_t close_after_join[4]; /* code of the close that follows each join, 0 = none more */
	unsigned closes;
	unsigned close_after_heartbeat; /* close with 1012 after so many heartbeats of joined devices, once */
	int heartbeats;
} hub = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hub_send(struct nh_conn *conn, const char *text) { nh_ws_send(conn, NH_WS_TEXT, nh_slice_str(text)); }

static void hub_join(struct nh_conn *conn, const struct nh_phoenix_message *m)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	nh_json_put(&hub.joins, m->payload);
	nh_buf_put_u8(&hub.joins, '\n');
	bool refused = hub.refuse_joins > 0;
	if (refused)
		hub.refuse_joins--;
	nh_phoenix_put_reply(&nh_phoenix_json_v2, &out, m, m->join_ref, refused ? "error" : "ok", NULL);
	hub_send(conn, nh_buf_cstr(&out));
	if (refused)
		return;
	if (hub.crash_after_join) {
		hub.crash_after_join = false;
		nh_buf_clear(&out);
		nh_phoenix_put_channel_end(&nh_phoenix_json_v2, &out, "phx_error", m->topic, m->join_ref, "channel_crash");
		hub_send(conn, nh_buf_cstr(&out));
		return;
	}
	if (hub.closes < NH_ARRAY_LEN(hub.close_after_join) && hub.close_after_join[hub.closes]) {
		nh_ws_close(conn, hub.close_after_join[hub.closes++], NH_SLICE_EMPTY);
		return;
	}
	for (size_t i = 0; i + 1 < NH_ARRAY_LEN(hub.after_join) && hub.after_join[i]; i += 2) {
		nh_buf_clear(&out);
		nh_buf_printf(&out, "[null,null,\"device\",\"%s\",%s]", hub.after_join[i], hub.after_join[i + 1]);
		hub_send(conn, nh_buf_cstr(&out));
	}
}

static void hub_message(struct nh_conn *conn, void *session, nh_ws_opcode opcode, nh_slice data)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	struct nh_phoenix_message m;
	if (nh_phoenix_json_v2.decode(&arena, data, 1 << 20, &m, NULL) != NH_OK)
		return;
	pthread_mutex_lock(&hub.lock);
	if (*(int *)session != hub.run) {
		/* of a device that is gone */
	} else if (nh_phoenix_is_heartbeat(&m)) {
		hub.heartbeats++;
		nh_phoenix_put_reply(&nh_phoenix_json_v2, &out, &m, NH_PHOENIX_NO_REF, "ok", NULL);
		if (!hub.silent)
			hub_send(conn, nh_buf_cstr(&out));
		if (hub.close_after_heartbeat && hub.joins.len && --hub.close_after_heartbeat == 0)
			nh_ws_close(conn, NH_WS_CLOSE_RESTART, NH_SLICE_EMPTY);
	} else if (nh_slice_eq_str(m.event, "phx_join")) {
		hub_join(conn, &m);
	} else if (nh_slice_eq_str(m.event, "status_update")) {
		nh_slice reason = nh_json_text(m.payload, "reason");
		nh_buf_printf(&hub.log, "%.*s", NH_ARG(nh_json_text(m.payload, "status")));
		if (reason.len)
			nh_buf_printf(&hub.log, "(%.*s)", NH_ARG(reason));
		if (nh_json_int(m.payload, "delay_for", 0))
			nh_buf_printf(&hub.log, "[%lld]", (long long)nh_json_int(m.payload, "delay_for", 0));
		nh_buf_put_u8(&hub.log, ' ');
	} else if (!nh_slice_eq_str(m.event, "fwup_progress") || nh_json_int(m.payload, "value", 0) == 100) {
		nh_buf_printf(&hub.log, "%.*s ", NH_ARG(m.event));
	}
	pthread_mutex_unlock(&hub.lock);
	nh_phoenix_message_fini(&m);
}

static void hub_close(struct nh_conn *conn, void *session, uint16_t code) { free(session); }

static const struct nh_ws_handler ws_handler = {.max_message_bytes = 1 << 20, .on_message = hub_message, .on_close = hub_close};

static void ws_open(struct nh_conn *conn, void *session) {}

static void handle_socket(struct nh_request *req, struct nh_response *res)
{
	static struct nh_ws_handler handler;
	pthread_mutex_lock(&hub.lock);
	handler = ws_handler;
	handler.on_open = ws_open;
	hub.connections++;
	nh_slice time = nh_request_header(req, "x-nh-time");
	size_t used = strlen(hub.times);
	snprintf(hub.times + used, sizeof hub.times - used, "%.*s ", NH_ARG(time));
	int *session = nh_xcalloc(1, sizeof *session);
	*session = hub.run;
	bool refuse = hub.refuse_upgrades > 0;
	if (refuse)
		hub.refuse_upgrades--;
	pthread_mutex_unlock(&hub.lock);
	if (refuse || (!req->fingerprint && time.len == 0)) {
		free(session);
		if (refuse && hub.retry_after)
			nh_response_header(res, "Retry-After", nh_slice_str(hub.retry_after));
		nh_response_send(res, refuse && hub.retry_after ? 503 : 401, NULL, NH_SLICE_EMPTY);
	} else {
		nh_response_upgrade(res, &handler, session);
	}
}

static void note_request(struct nh_request *req)
{
	nh_slice range = nh_request_header(req, "range");
	pthread_mutex_lock(&hub.lock);
	nh_buf_printf(&hub.requests, "%s ", range.len ? "part" : "whole");
	pthread_mutex_unlock(&hub.lock);
}

static void handle_file(struct nh_request *req, struct nh_response *res)
{
	note_request(req);
	nh_response_file(res, open(file_path, O_RDONLY | O_CLOEXEC), FILE_SIZE, "application/octet-stream", NH_LIT("tag1"));
}

/* A server without ranges and entity tags. */
static void handle_plain(struct nh_request *req, struct nh_response *res)
{
	note_request(req);
	nh_response_send(res, 200, "application/octet-stream", nh_slice_of(file, sizeof file));
}

/* Another file at every request. */
static void handle_changing(struct nh_request *req, struct nh_response *res)
{
	static int count;
	note_request(req);
	NH_AUTO_BUF struct nh_buf copy = NH_BUF_INIT;
	nh_buf_put(&copy, file, sizeof file);
	copy.ptr[0] = (uint8_t)count++;
	nh_response_send(res, 200, "application/octet-stream", nh_buf_slice(&copy));
}

static void handle_busy(struct nh_request *req, struct nh_response *res)
{
	note_request(req);
	nh_response_send(res, 503, NULL, NH_SLICE_EMPTY);
}

static const struct nh_route routes[] = {
	{.method = NH_HTTP_GET, .path = "/socket/websocket", .handle = handle_socket},
	{.method = NH_HTTP_GET, .path = "/device-socket/websocket", .handle = handle_socket},
	{.method = NH_HTTP_GET, .path = "/file", .handle = handle_file},
	{.method = NH_HTTP_GET, .path = "/plain", .handle = handle_plain},
	{.method = NH_HTTP_GET, .path = "/changing", .handle = handle_changing},
	{.method = NH_HTTP_GET, .path = "/busy", .handle = handle_busy},
	{0},
};
static const struct nh_mount mounts[] = {{.routes = routes}, {0}};

static nh_tls_verdict verify(void *app, nh_slice der, const uint8_t fingerprint[32], int64_t *tag)
{
	return memcmp(fingerprint, device_fingerprint, 32) == 0 ? NH_TLS_ACCEPT : NH_TLS_REFUSE;
}

static int set_up(void **state)
{
	NH_AUTO_BUF struct nh_buf cert = NH_BUF_INIT, key = NH_BUF_INIT, hex = NH_BUF_INIT;
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < FILE_SIZE; i++)
		file[i] = (uint8_t)(i * 7 + i / 251);
	FILE *f = fdopen(mkstemp(file_path), "w");
	fwrite(file, 1, sizeof file, f);
	fclose(f);
	nh_digest_put_hex(&hex, NH_SHA256, nh_slice_of(file, sizeof file));
	snprintf(file_hex, sizeof file_hex, "%s", nh_buf_cstr(&hex));
	test_pki_init(&pki);
	test_pki_issue(&pki, "server", "localhost", &cert, &key, NULL);
	test_pki_issue(&pki, "dev-1", NULL, &cert_pem, &key_pem, device_fingerprint);
	struct nh_tls_server_config tls = {.cert_pem = nh_buf_slice(&cert), .key_pem = nh_buf_slice(&key), .client_auth = NH_TLS_CLIENT_OPTIONAL, .verify = nh_server_verify};
	assert_int_equal(nh_tls_server_new(&tls, &server_tls, NULL), NH_OK);
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &pool, NULL), NH_OK);
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &device_pool, NULL), NH_OK);
	listeners[0] = (struct nh_listener){.name = "device", .address = "127.0.0.1", .mounts = mounts, .tls = server_tls, .verify = verify};
	assert_int_equal(nh_server_open(&(struct nh_server_config){.pool = pool, .listeners = listeners, .listener_count = 1}, &server, NULL), NH_OK);
	assert_int_equal(nh_server_start(server, NULL), NH_OK);
	return 0;
}

static void hub_reset(void)
{
	pthread_mutex_lock(&hub.lock);
	nh_buf_fini(&hub.log);
	nh_buf_fini(&hub.joins);
	nh_buf_fini(&hub.requests);
	hub.refuse_joins = hub.refuse_upgrades = hub.connections = hub.heartbeats = 0;
	hub.crash_after_join = hub.silent = false;
	hub.retry_after = NULL;
	hub.closes = hub.close_after_heartbeat = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(hub.close_after_join); i++)
		hub.close_after_join[i] = 0;
	hub.times[0] = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(hub.after_join); i++)
		hub.after_join[i] = NULL;
	hub.run++;
	pthread_mutex_unlock(&hub.lock);
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
	hub_reset();
	unlink(file_path);
	return 0;
}

/* ---- the device */

struct device {
	struct nh_loop *loop;
	struct nh_link *link;
	struct nh_buf events;
	struct nh_buf disk;
	nh_link_event_kind stop_on;
	int stop_after;              /* so many of it */
	bool stopping;
	/* behaviour of the machine */
	bool unvalidated, reverted;
	nh_rc read_rc, open_rc, write_rc, finish_rc, validate_rc[3];
	int reads_failing, validations;
	nh_link_decision decision;
	int drops;                   /* cut the download so often, at progress */
	bool close_in_write;
	int opens, finishes, aborts, reboots, identifies;
	char why[32];
	char failure[300];
	uint64_t delays_ms[8];       /* of its disconnects */
	unsigned codes[8];
	size_t disconnects;
};

static nh_rc dev_read_state(void *ctx, struct nh_arena *arena, struct nh_link_state *out, struct nh_err *err)
{
	static const struct nh_link_pair pairs[] = {{NH_LIT("nerves_fw_uuid"), NH_LIT(RUNNING)}, {NH_LIT("nerves_fw_version"), NH_LIT("1.0.0")}};
	struct device *d = ctx;
	if (d->reads_failing > 0) {
		d->reads_failing--;
		return NH_FAIL(err, NH_EIO, "no disk");
	}
	*out = (struct nh_link_state){pairs, 2, !d->unvalidated, d->reverted};
	return NH_OK;
}

static nh_link_decision dev_decide(void *ctx, const struct nh_link_offer *offer, uint64_t *delay_ms, char *reason, size_t size)
{
	struct device *d = ctx;
	snprintf(reason, size, "not now");
	*delay_ms = 60000;
	assert_slice(offer->version, "1.1.0");
	return d->decision;
}

static nh_rc dev_open(void *ctx, const struct nh_link_offer *offer, void **apply, struct nh_err *err)
{
	struct device *d = ctx;
	assert_int_equal(offer->key_count, 1);
	assert_string_equal(offer->public_keys[0], KEY);
	if (d->open_rc != NH_OK)
		return NH_FAIL(err, d->open_rc, "disk is gone");
	d->opens++;
	nh_buf_clear(&d->disk);
	*apply = d;
	return NH_OK;
}

static nh_rc dev_write(void *apply, nh_slice bytes, unsigned *percent, struct nh_err *err)
{
	struct device *d = apply;
	if (d->write_rc != NH_OK)
		return NH_FAIL(err, d->write_rc, "signed by a stranger");
	nh_buf_put_slice(&d->disk, bytes);
	return NH_OK;
}

static nh_rc dev_finish(void *apply, struct nh_err *err)
{
	struct device *d = apply;
	d->finishes++;
	return d->finish_rc == NH_OK ? NH_OK : NH_FAIL(err, d->finish_rc, "archive is not complete");
}

static void dev_abort(void *apply) { ((struct device *)apply)->aborts++; }

static nh_rc dev_validate(void *ctx, struct nh_err *err)
{
	struct device *d = ctx;
	nh_rc rc = d->validate_rc[d->validations < 2 ? d->validations : 2];
	d->validations++;
	return rc == NH_EPERM ? NH_FAIL(err, rc, "sensor dead") : rc;
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
	snprintf(d->why, sizeof d->why, "%s", why);
	stop(d);
}

static void dev_identify(void *ctx) { ((struct device *)ctx)->identifies++; }

static const struct nh_link_platform platform = {dev_read_state, dev_decide, dev_open, dev_write, dev_finish, dev_abort, dev_validate, dev_reboot, dev_identify};

static void on_event(void *ctx, struct nh_link *link, const struct nh_link_event *e)
{
	struct device *d = ctx;
	if (e->kind != NH_LINK_UPDATE_PROGRESS || e->percent == 100)
		nh_buf_printf(&d->events, "%s ", nh_link_event_name(e->kind));
	if (e->kind == NH_LINK_DISCONNECTED) {
		size_t at = d->disconnects++ % NH_ARRAY_LEN(d->delays_ms);
		d->delays_ms[at] = e->delay_ms;
		d->codes[at] = e->code;
	}
	if (e->kind == NH_LINK_UPDATE_FAILED)
		snprintf(d->failure, sizeof d->failure, "%.*s", NH_ARG(e->text));
	if (e->kind == NH_LINK_UPDATE_PROGRESS && e->percent < 90 && d->drops > 0) {
		d->drops--;
		nh_link_drop(link, true);
	}
	if (e->kind == d->stop_on && --d->stop_after <= 0)
		stop(d);
}

static const uint32_t quick[] = {1};

static void run(struct device *d, const struct nh_link_config *extra, bool secret)
{
	static const char *const keys[] = {KEY};
	char host[64];
	struct nh_err err = NH_ERR_INIT;
	struct nh_link_config c = extra ? *extra : (struct nh_link_config){.public_keys = keys, .public_key_count = 1};
	if (extra && !extra->public_keys && !extra->request_keys) {
		c.public_keys = keys;
		c.public_key_count = 1;
	}
	snprintf(host, sizeof host, "localhost:%u", listeners[0].port);
	c.host = host;
	c.ca_pem = nh_buf_slice(&pki.pem);
	if (secret) {
		c.secret_key = "nhp_abc";
		c.secret = "s3cret";
		c.identifier = "dev-2";
	} else {
		c.cert_pem = nh_buf_slice(&cert_pem);
		c.key_pem = nh_buf_slice(&key_pem);
	}
	c.platform = &platform;
	c.platform_ctx = d;
	c.on_event = on_event;
	c.event_ctx = d;
	if (!c.backoff.delays_ms)
		c.backoff = (struct nh_link_backoff){.delays_ms = quick, .count = 1};
	c.rejoin_ms = 1;
	c.validate_interval_ms = 1;
	c.download_retry_ms = 1;
	c.progress_interval_ms = 1;
	assert_int_equal(nh_loop_new(NULL, &d->loop, NULL), NH_OK);
	assert_int_equal(nh_link_open(d->loop, device_pool, &c, &d->link, &err), NH_OK);
	nh_loop_run(d->loop);
	nh_loop_free(d->loop);
}

static void device_fini(struct device *d)
{
	nh_buf_fini(&d->events);
	nh_buf_fini(&d->disk);
}

/* An update's payload for a path of this server. */
static const char *offer(char *out, size_t size, const char *path, const char *uuid, uint64_t bytes, const char *sha)
{
	snprintf(out, size,
		 "{\"update_available\":true,\"firmware_url\":\"https://localhost:%u%s\",\"firmware_meta\":{\"uuid\":\"%s\",\"version\":\"1.1.0\",\"product\":\"p\"},"
		 "\"size\":%s%llu,\"checksum\":%s%s%s,\"deployment_id\":1}",
		 listeners[0].port, path, uuid, bytes ? "" : "null,\"x\":", (unsigned long long)bytes, sha ? "\"" : "", sha ? sha : "null", sha ? "\"" : "");
	return out;
}

/* The last words may still be on their way when the device is done. */
static void assert_hub_log(const char *expected)
{
	for (;;) {
		pthread_mutex_lock(&hub.lock);
		bool same = strcmp(nh_buf_cstr(&hub.log), expected) == 0;
		bool prefix = strncmp(nh_buf_cstr(&hub.log), expected, hub.log.len) == 0;
		if (!same && !prefix)
			fail_msg("hub saw '%s', expected '%s'", nh_buf_cstr(&hub.log), expected);
		pthread_mutex_unlock(&hub.lock);
		if (same)
			return;
		sched_yield();
	}
}

/* ---- tests */

static void join_and_update(void **state)
{
	static char text[600]; /* a late join of the device still has it said */
	for (int secret = 0; secret < 2; secret++) {
		struct device d = {.stop_on = NH_LINK_EVENT_KINDS};
		hub_reset();
		hub.after_join[0] = "update";
		hub.after_join[1] = offer(text, sizeof text, "/file", TARGET, FILE_SIZE, file_hex);
		run(&d, NULL, secret);
		assert_string_equal(nh_buf_cstr(&d.events), "connecting connected joined update.offered update.started update.progress update.installed ");
		assert_true(nh_slice_eq(nh_buf_slice(&d.disk), nh_slice_of(file, sizeof file)));
		assert_string_equal(d.why, "update");
		assert_int_equal(d.finishes, 1);
		assert_int_equal(d.aborts, 0);
		assert_hub_log("received started fwup_progress completed ");
		assert_string_equal(nh_buf_cstr(&hub.joins),
				    "{\"nerves_fw_uuid\":\"" RUNNING "\",\"nerves_fw_version\":\"1.0.0\",\"device_api_version\":\"2.3.0\",\"currently_downloading_uuid\":null,"
				    "\"meta\":{\"firmware_auto_revert_detected\":false,\"firmware_validated\":true}}\n");
		assert_true((hub.times[0] != ' ') == secret);
		device_fini(&d);
	}
}

static void resumed_downloads(void **state)
{
	static const struct {
		const char *path;
		bool sha;
		int drops;
		const char *again, *ending; /* what every request after the first asked for */
	} rows[] = {
		{"/file", false, 3, "part ", "update.installed "},
		{"/plain", false, 3, "whole ", "update.installed "},
		{"/plain", true, 1, "part ", "update.installed "}, /* answered with everything all the same */
		{"/changing", false, 3, "whole ", "update.failed "},
	};
	static char text[600]; /* a late join of the device still has it said */
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		/* Slow enough that a cut finds the download unfinished. */
		struct nh_link_config slow = {.download_bytes_per_s = 2000000};
		struct device d = {.stop_on = NH_LINK_UPDATE_FAILED, .drops = rows[i].drops};
		hub_reset();
		hub.after_join[0] = "update";
		hub.after_join[1] = offer(text, sizeof text, rows[i].path, TARGET, FILE_SIZE, rows[i].sha ? file_hex : NULL);
		run(&d, &slow, false);
		pthread_mutex_lock(&hub.lock); /* the last join may still be under way */
		if (!nh_slice_ends(nh_buf_slice(&d.events), nh_slice_str(rows[i].ending)))
			fail_msg("row %zu: %s", i, nh_buf_cstr(&d.events));
		if (nh_slice_starts(nh_slice_str(rows[i].ending), NH_LIT("update.installed"))) {
			/* How many cuts met an open download is up to the scheduler; at least the first did. */
			nh_slice rest = nh_buf_slice(&hub.requests), again = nh_slice_str(rows[i].again);
			assert_true(nh_slice_starts(rest, NH_LIT("whole ")));
			for (rest = nh_slice_skip(rest, 6), assert_true(rest.len > 0); rest.len > 0; rest = nh_slice_skip(rest, again.len))
				assert_true(nh_slice_starts(rest, again));
			assert_true(nh_slice_eq(nh_buf_slice(&d.disk), nh_slice_of(file, sizeof file)));
			assert_int_equal(d.opens, 1);
		} else {
			assert_int_equal(d.aborts, 1);
			assert_non_null(strstr(d.failure, "changed during the download"));
		}
		/* The drop took the socket too: later joins said what is being downloaded. */
		nh_slice first, joins = nh_buf_slice(&hub.joins);
		for (nh_slice_cut(joins, '\n', &first, &joins); joins.len > 0 && !d.failure[0];) {
			nh_slice_cut(joins, '\n', &first, &joins);
			assert_true(nh_slice_find(first, NH_LIT("\"currently_downloading_uuid\":\"" TARGET "\"")) > 0);
		}
		pthread_mutex_unlock(&hub.lock);
		device_fini(&d);
	}
}

static void failed_updates(void **state)
{
	static const struct {
		struct device d;
		const char *path, *uuid, *sha, *log;
		uint64_t size;
		int aborts;
		nh_link_event_kind end;
	} rows[] = {
		{{0}, "/none", TARGET, NULL, "received started failed(Download failed : HTTP 404 Not Found) ", FILE_SIZE, 1, NH_LINK_UPDATE_FAILED},
		{{0}, "/file", TARGET, NULL, "received started failed(Download failed : the file does not have the size that was announced) ", 5, 1, NH_LINK_UPDATE_FAILED},
		{{0}, "/file", TARGET, "0000000000000000000000000000000000000000000000000000000000000000", "received started failed(Download failed : the file does not have the checksum that was announced) ", 0, 1, NH_LINK_UPDATE_FAILED},
		{{.open_rc = NH_EIO}, "/file", TARGET, NULL, "received failed(Update failed : disk is gone) ", 0, 0, NH_LINK_UPDATE_FAILED},
		{{.write_rc = NH_EAUTH}, "/file", TARGET, NULL, "received started failed(Update failed : signed by a stranger) ", 0, 1, NH_LINK_UPDATE_FAILED},
		{{.finish_rc = NH_EFORMAT}, "/file", TARGET, NULL, "received started failed(Update failed : archive is not complete) ", 0, 0, NH_LINK_UPDATE_FAILED},
		{{0}, "/busy", TARGET, NULL, "received started started started failed(Download failed : HTTP 503 Service Unavailable (3 attempts)) ", 0, 1, NH_LINK_UPDATE_FAILED},
		{{0}, "/file", RUNNING, NULL, "received ignored(already running) ", 0, 0, NH_LINK_UPDATE_IGNORED},
		{{.decision = NH_LINK_IGNORE}, "/file", TARGET, NULL, "received ignored(not now) ", 0, 0, NH_LINK_UPDATE_IGNORED},
		{{.decision = NH_LINK_RESCHEDULE}, "/file", TARGET, NULL, "received rescheduled(not now)[300000] ", 0, 0, NH_LINK_UPDATE_RESCHEDULED},
	};
	static char text[600]; /* a late join of the device still has it said */
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct device d = rows[i].d;
		struct nh_link_config config = {.download_retries = 2};
		d.stop_on = rows[i].end;
		hub_reset();
		hub.after_join[0] = "update";
		hub.after_join[1] = offer(text, sizeof text, rows[i].path, rows[i].uuid, rows[i].size, rows[i].sha);
		run(&d, &config, false);
		assert_hub_log(rows[i].log);
		if (d.aborts != rows[i].aborts || d.reboots)
			fail_msg("row %zu: %d aborts", i, d.aborts);
		device_fini(&d);
	}
}

static void no_key_no_update(void **state)
{
	static char text[600]; /* a late join of the device still has it said */
	struct nh_link_config asking = {.request_keys = true};
	struct device d = {.stop_on = NH_LINK_UPDATE_FAILED};
	hub_reset();
	hub.after_join[0] = "update";
	hub.after_join[1] = offer(text, sizeof text, "/file", TARGET, 0, NULL);
	run(&d, &asking, false);
	assert_hub_log("failed(Refusing unverified firmware : no public keys available) ");
	assert_int_equal(d.opens, 0);
	assert_non_null(strstr(nh_buf_cstr(&hub.joins), "\"fwup_public_keys\":\"on_connect\""));
	device_fini(&d);
	/* The server's keys are taken where they were asked for. */
	d = (struct device){.stop_on = NH_LINK_EVENT_KINDS};
	hub_reset();
	hub.after_join[0] = "fwup_public_keys";
	hub.after_join[1] = "{\"keys\":[\"" KEY "\",\"broken\",7]}";
	hub.after_join[2] = "update";
	hub.after_join[3] = text;
	run(&d, &asking, false);
	assert_string_equal(d.why, "update");
	device_fini(&d);
}

static void useless_offers(void **state)
{
	static const char *const rows[] = {
		"{\"update_available\":false,\"firmware_url\":null,\"firmware_meta\":null,\"deployment_id\":null}",
		"{\"update_available\":true,\"firmware_url\":null,\"firmware_meta\":{\"uuid\":\"" TARGET "\"}}",
		"{\"update_available\":true,\"firmware_url\":\"https://x/\",\"firmware_meta\":null}",
		"{\"update_available\":false,\"firmware_url\":\"https://x/\",\"firmware_meta\":{\"uuid\":\"" TARGET "\"}}",
		"{}",
		"null",
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct device d = {.stop_on = NH_LINK_IDENTIFY};
		hub_reset();
		hub.after_join[0] = "update";
		hub.after_join[1] = rows[i];
		hub.after_join[2] = "identify";
		hub.after_join[3] = "{}";
		run(&d, NULL, false);
		assert_string_equal(nh_buf_cstr(&d.events), "connecting connected joined identify ");
		device_fini(&d);
	}
}

static void validation(void **state)
{
	static const struct {
		nh_rc rcs[3];
		nh_link_event_kind stop_on;
		int validations, reboots;
		const char *log;
	} rows[] = {
		{{NH_OK}, NH_LINK_VALIDATED, 1, 0, "firmware_validated "},
		{{NH_EAGAIN, NH_EAGAIN, NH_OK}, NH_LINK_VALIDATED, 3, 0, "firmware_validated "},
		{{NH_EAGAIN, NH_EPERM}, NH_LINK_EVENT_KINDS, 2, 1, ""},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct device d = {.unvalidated = true, .reverted = true, .stop_on = rows[i].stop_on, .validate_rc = {rows[i].rcs[0], rows[i].rcs[1], rows[i].rcs[2]}};
		hub_reset();
		run(&d, NULL, false);
		assert_int_equal(d.validations, rows[i].validations);
		assert_int_equal(d.reboots, rows[i].reboots);
		assert_hub_log(rows[i].log);
		assert_non_null(strstr(nh_buf_cstr(&hub.joins), "\"meta\":{\"firmware_auto_revert_detected\":true,\"firmware_validated\":false}"));
		device_fini(&d);
	}
}

static void orders(void **state)
{
	struct device d = {.stop_on = NH_LINK_EVENT_KINDS};
	struct nh_link_config config = {.network_interface = "eth0"};
	hub_reset();
	hub.after_join[0] = "identify";
	hub.after_join[1] = "{}";
	hub.after_join[2] = "reboot";
	hub.after_join[3] = "{}";
	run(&d, &config, false);
	assert_int_equal(d.identifies, 1);
	assert_string_equal(d.why, "server");
	assert_hub_log("report_network_interface rebooting ");
	device_fini(&d);
}

static void troubles(void **state)
{
	/* refused upgrades, then an unreadable disk, then a refused join, then a crashed channel */
	struct device d = {.stop_on = NH_LINK_JOINED, .stop_after = 2, .reads_failing = 1};
	hub_reset();
	hub.refuse_upgrades = 2;
	hub.refuse_joins = 1;
	hub.crash_after_join = true;
	run(&d, NULL, true);
	assert_string_equal(nh_buf_cstr(&d.events), "connecting disconnected connecting disconnected connecting connected error error joined joined ");
	assert_int_equal(hub.connections, 3);
	device_fini(&d);

	/* nobody answers heartbeats */
	struct nh_link_config impatient = {.heartbeat_ms = 30};
	d = (struct device){.stop_on = NH_LINK_DISCONNECTED};
	hub_reset();
	hub.silent = true;
	run(&d, &impatient, false);
	assert_string_equal(nh_buf_cstr(&d.events), "connecting connected joined disconnected ");
	device_fini(&d);

	/* closed while an update is being applied: it is given up, and nothing is told */
	static char text[600]; /* a late join of the device still has it said */
	struct nh_link_config slow = {.download_bytes_per_s = 500000};
	d = (struct device){.stop_on = NH_LINK_UPDATE_STARTED};
	hub_reset();
	hub.after_join[0] = "update";
	hub.after_join[1] = offer(text, sizeof text, "/file", TARGET, 0, NULL);
	run(&d, &slow, false);
	assert_int_equal(d.opens, 1);
	assert_int_equal(d.aborts, 1);
	assert_int_equal(d.finishes, 0);
	device_fini(&d);
}

static const uint32_t growing[] = {1, 10, 40};
static const struct nh_link_config growing_config = {.backoff = {.delays_ms = growing, .count = NH_ARRAY_LEN(growing), .jitter_percent = 1}};

/* Thrown out right after each join, by a restart or by a twin: comes back, ever more rarely. */
static void short_connections(void **state)
{
	struct device d = {.stop_on = NH_LINK_JOINED, .stop_after = 4};
	hub_reset();
	hub.close_after_join[0] = NH_WS_CLOSE_RESTART;
	hub.close_after_join[1] = hub.close_after_join[2] = NH_WS_CLOSE_GOING_AWAY;
	run(&d, &growing_config, false);
	assert_int_equal(d.disconnects, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(d.delays_ms[i], growing[i]);
		assert_int_equal(d.codes[i], i ? NH_WS_CLOSE_GOING_AWAY : NH_WS_CLOSE_RESTART);
	}
	device_fini(&d);
}

/* Refused twice, then a connection that lasts for an answered heartbeat: the list starts anew. */
static void lasting_connection(void **state)
{
	struct nh_link_config config = growing_config;
	struct device d = {.stop_on = NH_LINK_DISCONNECTED, .stop_after = 3};
	config.heartbeat_ms = 5;
	hub_reset();
	hub.refuse_upgrades = 2;
	hub.close_after_heartbeat = 1;
	run(&d, &config, false);
	assert_int_equal(d.disconnects, 3);
	assert_int_equal(d.delays_ms[0], growing[0]);
	assert_int_equal(d.delays_ms[1], growing[1]);
	assert_int_equal(d.delays_ms[2], growing[0]);
	assert_int_equal(d.codes[2], NH_WS_CLOSE_RESTART);
	device_fini(&d);
}

static void retry_after(void **state)
{
	static const struct {
		const char *text;
		uint64_t lowest, highest;
	} rows[] = {
		{"7", 7000, 10500}, {"0", 1, 1},     {"Fri, 01 Jan 2100 00:00:00 GMT", 900000, 1350000}, {"Thu, 01 Jan 1970 00:00:00 GMT", 1, 1},
		{"soon", 1, 1},     {"-5", 1, 1},    {"18446744073709551616", 1, 1},                      {"100000000", 900000, 1350000},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct device d = {.stop_on = NH_LINK_DISCONNECTED};
		hub_reset();
		hub.refuse_upgrades = 1;
		hub.retry_after = rows[i].text;
		run(&d, &growing_config, true);
		if (d.disconnects != 1 || d.delays_ms[0] < rows[i].lowest || d.delays_ms[0] > rows[i].highest)
			fail_msg("'%s': comes back after %llu ms", rows[i].text, (unsigned long long)d.delays_ms[0]);
		device_fini(&d);
	}
}

static int64_t past(void *ctx) { return INT64_C(1000) * NH_US_PER_S; }

/* A device that believes it is 1970 learns the time from the refusal's Date. */
static void clock_hint(void **state)
{
	struct nh_clock clock = {past, NULL};
	struct nh_link_config config = {.clock = &clock};
	struct device d = {.stop_on = NH_LINK_JOINED};
	int64_t first = 0, second = 0;
	hub_reset();
	hub.refuse_upgrades = 1;
	run(&d, &config, true);
	nh_slice a, b;
	assert_true(nh_slice_cut(nh_slice_str(hub.times), ' ', &a, &b));
	assert_int_equal(nh_parse_i64(a, 0, INT64_MAX, &first), NH_OK);
	assert_int_equal(nh_parse_i64(nh_slice_trim(b), 0, INT64_MAX, &second), NH_OK);
	assert_int_equal(first, 1000);
	assert_true(second > 1700000000);
	device_fini(&d);
}

static void configurations(void **state)
{
	static const char *const good[] = {KEY}, *const bad[] = {"short"};
	const nh_slice pem = NH_LIT("x");
	const struct {
		struct nh_link_config c;
		const char *says;
	} rows[] = {
		{{.cert_pem = pem, .key_pem = pem}, "no server"},
		{{.host = "h"}, "no identity"},
		{{.host = "h", .cert_pem = pem}, "without its key"},
		{{.host = "h", .key_pem = pem}, "without its certificate"},
		{{.host = "h", .cert_pem = pem, .key_pem = pem, .secret = "s", .secret_key = "nhp_x", .identifier = "i"}, "one identity"},
		{{.host = "h", .secret = "s", .secret_key = "nhp_x"}, "identifier"},
		{{.host = "h", .secret = "s", .secret_key = "x", .identifier = "i"}, "nhp_"},
		{{.host = "ws://h", .cert_pem = pem, .key_pem = pem}, "needs TLS"},
		{{.host = "h:x", .cert_pem = pem, .key_pem = pem}, "port"},
		{{.host = "h", .cert_pem = pem, .key_pem = pem, .public_keys = bad, .public_key_count = 1}, "base64"},
		{{.host = "h:4001", .cert_pem = pem, .key_pem = pem, .public_keys = good, .public_key_count = 1}, NULL},
		{{.host = "ws://h", .secret = "s", .secret_key = "nhd_x", .identifier = "i"}, NULL},
		{{.host = "ws://h/x?vsn=3.0.0", .secret = "s", .secret_key = "nhd_x", .identifier = "i"}, NULL},
		{{.host = "ws://h/x?a=b&vsn=9.0.0", .secret = "s", .secret_key = "nhd_x", .identifier = "i"}, "no wire format of that vsn"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_link_config c = rows[i].c;
		struct nh_err err = NH_ERR_INIT;
		c.platform = &platform;
		nh_rc rc = nh_link_config_check(&c, &err);
		if (rc != (rows[i].says ? NH_EINVAL : NH_OK) || (rows[i].says && !strstr(err.msg, rows[i].says)))
			fail_msg("row %zu: %s '%s'", i, nh_rc_name(rc), err.msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configurations),   cmocka_unit_test(join_and_update), cmocka_unit_test(resumed_downloads), cmocka_unit_test(failed_updates),
		cmocka_unit_test(no_key_no_update), cmocka_unit_test(useless_offers),  cmocka_unit_test(validation),        cmocka_unit_test(orders),
		cmocka_unit_test(troubles),         cmocka_unit_test(clock_hint),      cmocka_unit_test(short_connections), cmocka_unit_test(lasting_connection),
		cmocka_unit_test(retry_after),
	};
	return cmocka_run_group_tests_name("link", tests, set_up, tear_down);
}

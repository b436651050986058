#include "api_server.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/process.h"
#include "loop/pool.h"
#include "store/foundation.h"
#include "testdb.h"

struct api_server {
	struct nh_db *db;
	struct nh_objects *objects;
	struct nh_pool *pool;
	struct nh_server *server;
	struct nh_user_api *api;
	struct nh_relay *relay;
	struct nh_hub_config config;
	struct nh_clock clock;
	int64_t ahead_us; /* atomic */
	unsigned effects[16]; /* atomic */
	struct nh_mount mounts[3];
	struct nh_listener listener;
	char dir[64];
	char orphan[32]; /* the latest */
	unsigned orphans;
};

static int64_t now(void *ctx)
{
	return nh_now_us() + __atomic_load_n(&((struct api_server *)ctx)->ahead_us, __ATOMIC_SEQ_CST);
}

static void count_effects(void *ctx, const struct nh_effects *effects)
{
	struct api_server *s = ctx;
	for (size_t i = 0; i < effects->count; i++)
		__atomic_add_fetch(&s->effects[effects->items[i].kind], 1, __ATOMIC_SEQ_CST);
}

static void must(nh_rc rc, const struct nh_err *err, const char *what)
{
	if (rc != NH_OK)
		fail_msg("%s: %s %s", what, nh_rc_name(rc), err->msg);
}

struct api_server *api_server_new(unsigned engine)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_db *db = testdb_open(engine);
	if (!db)
		return NULL;
	struct api_server *s = nh_xcalloc(1, sizeof(*s));
	s->db = db;
	snprintf(s->dir, sizeof(s->dir), "/tmp/nh-user-api-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	must(nh_objects_open_dir(s->dir, &s->objects, &err), &err, "objects");
	must(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &s->pool, &err), &err, "pool");
	s->clock = (struct nh_clock){now, s};
	s->config = (struct nh_hub_config){
		.secret_key = NH_LIT("0123456789abcdef0123456789abcdef"),
		.download_base_url = "https://devices.example.com",
		.download_ttl_s = 86400,
		.max_firmware_bytes = 200000,
		.max_archive_bytes = 150000,
		.shared_secrets_enabled = true,
		.registration_open = true,
	};
	s->relay = nh_relay_new();
	s->api = nh_user_api_new(&(struct nh_user_api_config){.db = s->db,
	                                                      .objects = s->objects,
	                                                      .hub = &s->config,
	                                                      .clock = &s->clock,
	                                                      .cost = &nh_password_cost_test,
	                                                      .effects = count_effects,
	                                                      .effects_ctx = s,
	                                                      .relay = s->relay});
	s->mounts[0] = (struct nh_mount){.routes = nh_user_api_routes, .app = s->api, .fault = nh_user_api_fault};
	s->mounts[1] = (struct nh_mount){.routes = nh_user_api_last_routes, .app = s->api, .fault = nh_user_api_fault};
	s->listener = (struct nh_listener){.name = "web", .address = "127.0.0.1", .mounts = s->mounts};
	must(nh_server_open(&(struct nh_server_config){.pool = s->pool, .listeners = &s->listener, .listener_count = 1}, &s->server, &err), &err, "server");
	nh_user_api_start(s->api, s->server);
	must(nh_server_start(s->server, &err), &err, "start");
	return s;
}

void api_server_free(struct api_server *s)
{
	int status;
	nh_server_drain(s->server, 1000);
	nh_pool_free(s->pool);
	nh_server_free(s->server);
	nh_user_api_free(s->api);
	nh_relay_free(s->relay);
	nh_objects_close(s->objects);
	testdb_close(s->db);
	const char *const argv[] = {"rm", "-r", s->dir, NULL};
	NH_IGNORE(nh_process_run(&(struct nh_process){.argv = argv}, &status, NULL, NULL, NULL)); /* a left-over folder in /tmp fails nothing */
	free(s);
}

struct nh_user_api *api_server_app(struct api_server *s) { return s->api; }
struct nh_hub_config *api_server_config(struct api_server *s) { return &s->config; }
struct nh_relay *api_server_relay(struct api_server *s) { return s->relay; }
void api_server_age_claims(struct api_server *s) { __atomic_add_fetch(&s->ahead_us, 3601 * NH_US_PER_S, __ATOMIC_SEQ_CST); }
unsigned api_server_effects(struct api_server *s, nh_effect_kind kind) { return __atomic_load_n(&s->effects[kind], __ATOMIC_SEQ_CST); }

static bool count_object(void *ctx, const char *key, uint64_t size)
{
	(*(size_t *)ctx)++;
	return true;
}

size_t api_server_objects(struct api_server *s)
{
	size_t count = 0;
	struct nh_err err = NH_ERR_INIT;
	must(nh_objects_list(s->objects, "", count_object, &count, &err), &err, "list");
	return count;
}

/* ---- straight at the rules, as the browser pages would be ----------------------------------------------------------------- */

struct direct {
	struct api_server *s;
	struct nh_arena arena;
	struct nh_effects effects;
	struct nh_new_user input;
	const char *email, *session;
};

static struct nh_ctx direct_ctx(struct direct *d, struct nh_tx *tx)
{
	return (struct nh_ctx){tx, &d->arena, &d->s->clock, &nh_rng_system, &d->s->config, &d->effects};
}

static nh_rc create_user(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct nh_ctx ctx = direct_ctx(arg, tx);
	struct nh_user user;
	return nh_user_create(&ctx, &((struct direct *)arg)->input, &user, NULL, err);
}

void api_server_user(struct api_server *s, const char *name, const char *email, const char *password)
{
	struct direct d = {.s = s};
	struct nh_err err = NH_ERR_INIT;
	must(nh_user_prepare(&d.arena, nh_slice_str(name), nh_slice_str(email), nh_slice_str(password), &nh_password_cost_test, &d.input, NULL, &err), &err,
	     "user");
	must(nh_db_write(s->db, create_user, &d, &err), &err, "user");
	nh_arena_fini(&d.arena);
}

static nh_rc claim_orphan(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct direct *d = arg;
	return nh_sql_exec(tx, &nh_q_loose_put, NH_PARAMS(nh_p_str(d->s->orphan), nh_p_int(now(d->s) + 3600 * NH_US_PER_S), nh_p_str("")), NULL, err);
}

void api_server_orphan(struct api_server *s)
{
	struct direct d = {.s = s};
	struct nh_err err = NH_ERR_INIT;
	struct nh_object_upload *u = NULL;
	snprintf(s->orphan, sizeof(s->orphan), "firmware/orphan-%u.fw", s->orphans++);
	must(nh_db_write(s->db, claim_orphan, &d, &err), &err, "claim");
	must(nh_objects_upload(s->objects, &u, &err), &err, "upload");
	must(nh_object_upload_write(u, NH_LIT("bytes"), &err), &err, "upload");
	must(nh_object_upload_commit(u, s->orphan, &err), &err, "upload");
}

static nh_rc confirm(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct direct *d = arg;
	struct nh_ctx ctx = direct_ctx(d, tx);
	struct nh_user user;
	NH_TRY(nh_user_by_email(&ctx, nh_slice_str(d->email), &user, err));
	struct nh_actor actor = nh_actor_of_user(&user);
	return nh_cli_session_confirm(&ctx, &actor, nh_slice_str(d->session), err);
}

void api_server_confirm(struct api_server *s, const char *email, const char *session)
{
	struct direct d = {.s = s, .email = email, .session = session};
	struct nh_err err = NH_ERR_INIT;
	must(nh_db_write(s->db, confirm, &d, &err), &err, "confirm");
	nh_arena_fini(&d.arena);
}

/* ---- the client --------------------------------------------------------------------------------------------------------- */

void answer_fini(struct answer *a)
{
	nh_buf_fini(&a->head);
	nh_buf_fini(&a->body);
	json_decref(a->json);
	*a = (struct answer){0};
}

static void send_all(int fd, nh_slice bytes)
{
	while (bytes.len > 0) {
		ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
		if (n <= 0)
			return; /* refused early: the answer says why */
		bytes = nh_slice_skip(bytes, (size_t)n);
	}
}

static void put_body(struct nh_buf *out, nh_slice body, bool chunked)
{
	if (!chunked) {
		nh_buf_printf(out, "Content-Length: %zu\r\n\r\n", body.len);
		nh_buf_put_slice(out, body);
		return;
	}
	nh_buf_put_str(out, "Transfer-Encoding: chunked\r\n\r\n");
	for (size_t step = 1; body.len > 0; step = step * 3 + 1) {
		nh_slice piece = nh_slice_sub(body, 0, step);
		nh_buf_printf(out, "%zx\r\n%.*s", piece.len, 0, "");
		nh_buf_put_slice(out, piece);
		nh_buf_put_str(out, "\r\n");
		body = nh_slice_skip(body, piece.len);
	}
	nh_buf_put_str(out, "0\r\n\r\n");
}

static int connect_to(struct api_server *s)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(s->listener.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

void abandon_upload(struct api_server *s, const char *path, const char *token)
{
	NH_AUTO_BUF struct nh_buf request = NH_BUF_INIT;
	nh_buf_printf(&request,
	              "POST /api%s HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer %s\r\nContent-Type: multipart/form-data; boundary=b\r\n"
	              "Content-Length: 100000\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"firmware\"; filename=\"x\"\r\n\r\nPK\003\004",
	              path, token);
	nh_buf_fill(&request, 'x', 50000);
	int fd = connect_to(s);
	send_all(fd, nh_buf_slice(&request));
	close(fd);
}

struct answer ask(struct api_server *s, const struct ask *a)
{
	struct answer out = {0};
	NH_AUTO_BUF struct nh_buf request = NH_BUF_INIT;
	const char *prefix = strncmp(a->path, "/status", 7) == 0 ? "" : "/api";
	nh_buf_printf(&request, "%s %s%s HTTP/1.1\r\nHost: hub.test\r\nConnection: close\r\n", a->method, prefix, a->path);
	if (a->token)
		nh_buf_printf(&request, "Authorization: Bearer %s\r\n", a->token);
	if (a->json)
		nh_buf_put_str(&request, "Content-Type: application/json\r\n");
	if (a->headers)
		nh_buf_put_str(&request, a->headers);
	put_body(&request, a->json ? nh_slice_str(a->json) : a->body, a->chunked);

	int fd = connect_to(s);
	send_all(fd, nh_buf_slice(&request));
	NH_AUTO_BUF struct nh_buf all = NH_BUF_INIT;
	uint8_t block[4096];
	ssize_t n;
	while ((n = recv(fd, block, sizeof(block), 0)) > 0)
		nh_buf_put(&all, block, (size_t)n);
	close(fd);

	ptrdiff_t end = nh_slice_find(nh_buf_slice(&all), NH_LIT("\r\n\r\n"));
	if (end < 0)
		fail_msg("%s %s: no answer (%zu bytes)", a->method, a->path, all.len);
	nh_buf_put(&out.head, all.ptr, (size_t)end + 2);
	nh_buf_put_slice(&out.body, nh_slice_skip(nh_buf_slice(&all), (size_t)end + 4));
	uint64_t status = 0;
	assert_int_equal(nh_parse_u64(nh_slice_sub(nh_buf_slice(&out.head), 9, 3), 100, 599, &status), NH_OK);
	out.status = (unsigned)status;
	NH_IGNORE(nh_json_parse(nh_buf_slice(&out.body), 1 << 24, &out.json, NULL)); /* not every body is JSON */
	return out;
}

struct answer expect(struct api_server *s, unsigned status, const char *method, const char *path, const char *token, const char *json)
{
	struct answer a = ask(s, &(struct ask){.method = method, .path = path, .token = token, .json = json});
	if (a.status != status)
		fail_msg("%s %s: %u instead of %u: %.*s", method, path, a.status, status, (int)(a.body.len < 600 ? a.body.len : 600), nh_buf_cstr(&a.body));
	return a;
}

struct answer upload(struct api_server *s, const char *path, const char *token, nh_slice file, bool chunked)
{
	NH_AUTO_BUF struct nh_buf body = NH_BUF_INIT;
	nh_buf_printf(&body,
	              "--b0undary\r\nContent-Disposition: form-data; name=\"ttl\"\r\n\r\n3600\r\n"
	              "--b0undary\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"x.fw\"\r\n"
	              "Content-Type: application/octet-stream\r\n\r\n",
	              nh_slice_ends(nh_slice_str(path), NH_LIT("/archives")) ? "archive" : "firmware");
	nh_buf_put_slice(&body, file);
	nh_buf_put_str(&body, "\r\n--b0undary--\r\n");
	return ask(s, &(struct ask){.method = "POST",
	                            .path = path,
	                            .token = token,
	                            .headers = "Content-Type: multipart/form-data; boundary=b0undary\r\n",
	                            .body = nh_buf_slice(&body),
	                            .chunked = chunked});
}

const char *at(const struct answer *a, const char *where)
{
	static char texts[4][2048];
	static unsigned turn;
	char *text = texts[turn++ % 4];
	const json_t *value = a->json;
	nh_slice part, rest = nh_slice_str(where);
	while (value && rest.len > 0) {
		char key[64];
		uint64_t index = 0;
		nh_slice_cut(rest, '.', &part, &rest);
		snprintf(key, sizeof(key), "%.*s", NH_ARG(part));
		if (json_is_array(value))
			value = nh_parse_u64(part, 0, 1000000, &index) == NH_OK ? json_array_get(value, (size_t)index) : NULL;
		else
			value = json_object_get(value, key);
	}
	NH_AUTO_BUF struct nh_buf json = NH_BUF_INIT;
	if (value && !json_is_string(value))
		nh_json_put(&json, value);
	snprintf(text, sizeof(texts[0]), "%s", !value ? "" : json_is_string(value) ? json_string_value(value) : nh_buf_cstr(&json));
	return text;
}

/*
 * The world of the User API targets (world.h). Keys and certificates are made anew by each process: inputs name them by leaving parameters empty.
 */
#include <unistd.h>

#include "world.h"

#include "base/encode.h"
#include "base/file.h"
#include "hub/archives.h"
#include "hub/scripts.h"

#define SIGNER "9IYP+5uUmFNiL8MLdYueMcog8FSfMHWSsf3+JG2ajd0=" /* of the fixtures' firmware: tests/vectors/firmware */

static struct fuzz_api *the_world;

/* ---- furnishing ---------------------------------------------------------------------------------------------------------- */

static nh_rc add_token(struct world *w, struct fuzz_api *f, fuzz_person who, int64_t user, struct nh_err *err)
{
	char text[NH_TOKEN_TEXT_MAX];
	OK(nh_token_create(&w->ctx, user, NH_TOKEN_API, NH_LIT("fuzz"), text, E(w)));
	snprintf(f->tokens[who], sizeof(f->tokens[who]), "Bearer %s", text);
	return NH_OK;
}

static nh_rc add_people(struct world *w, struct fuzz_api *f, struct nh_err *err)
{
	struct nh_member member;
	NH_TRY(world_user(w, "Vic Viewer", "vic@example.com", &f->vic, err));
	OK(nh_member_add(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("vic@example.com"), NH_LIT("view"), &member, NULL, E(w)));
	NH_TRY(add_token(w, f, FUZZ_ADMIN, w->ada.id, err));
	NH_TRY(add_token(w, f, FUZZ_VIEWER, f->vic.id, err));
	return add_token(w, f, FUZZ_STRANGER, w->eve.id, err);
}

static nh_rc add_certificates(struct world *w, struct fuzz_api *f, struct nh_err *err)
{
	AUTO_PAIR ca = {0};
	AUTO_PAIR device = {0};
	int64_t id;
	struct nh_device d;
	struct nh_device_certificate stored;
	NH_TRY(make_ca(w, "Factory", NULL, 1000 * DAY_US, &ca, err));
	NH_TRY(register_ca(w, w->acme.id, ca.cert, true, &id, err));
	NH_TRY(make_device(w, "d-1", &ca, NULL, &device, err));
	OK(nh_device_open(&w->ctx, &w->as_ada, &w->widget, NH_LIT("d-1"), NH_MAY_DEVICE_SEE, &d, E(w)));
	OK(nh_device_certificate_store(&w->ctx, w->acme.id, d.id, device.cert, &stored, NULL, E(w)));
	f->ca_serial = nh_xstrdup(ca.cert->serial_decimal);
	f->cert_serial = nh_xstrdup(stored.serial);
	return NH_OK;
}

static nh_rc add_secret(struct world *w, struct fuzz_api *f, struct nh_err *err)
{
	struct nh_shared_secret secret;
	struct nh_cli_session session;
	OK(nh_product_secret_create(&w->ctx, &w->as_ada, &w->widget, &secret, E(w)));
	OK(nh_cli_session_create(&w->ctx, NH_LIT("laptop"), &session, E(w)));
	f->secret_key = nh_xstrdup(secret.key);
	f->cli_token = nh_xstrdup(session.token);
	return NH_OK;
}

static nh_rc add_support(struct world *w, struct nh_err *err)
{
	struct nh_script script;
	struct nh_firmware_intake intake;
	struct nh_archive archive;
	nh_slice object;
	NH_AUTO_JSON json_t *fields = json_pack("{s:s, s:s, s:[s]}", "name", "hello", "text", "IO.puts 1", "tags", "lab");
	OK(nh_script_create(&w->ctx, &w->as_ada, &w->widget, fields, &script, NULL, E(w)));
	OK(nh_archive_intake_open(&w->ctx, &w->as_ada, w->acme.id, w->widget.name, &intake, E(w)));
	struct nh_firmware_facts facts = {.org_key_id = intake.keys[0].id, .uuid = fw_uuid(w, 1), .version = NH_LIT("1.0.0"), .platform = NH_LIT("generic"),
		.architecture = NH_LIT("generic"), .size_bytes = 4, .checksum = NH_LIT("AB")};
	OK(nh_archive_claim(&w->ctx, &w->as_ada, &intake, &facts, &object, NULL, E(w)));
	OK(nh_archive_publish(&w->ctx, &w->as_ada, &intake, &facts, object, &archive, NULL, E(w)));
	return NH_OK;
}

static nh_rc furnish(struct world *w, struct nh_err *err)
{
	struct fuzz_api *f = w->arg;
	struct nh_org_key key;
	struct nh_group group;
	int64_t device;
	NH_TRY(add_people(w, f, err));
	OK(nh_org_key_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("main"), NH_LIT(SIGNER), NH_SLICE_EMPTY, &key, NULL, E(w)));
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_device(w, "d-1", "[\"beta\"]", &device, err));
	NH_TRY(add_device(w, "d-2", NULL, &device, err));
	OK(add_group(w, group_fields(w, "main", 2), &group));
	NH_TRY(add_certificates(w, f, err));
	NH_TRY(add_support(w, err));
	return add_secret(w, f, err);
}

static void remove_objects(void)
{
	char command[160];
	snprintf(command, sizeof(command), "rm -rf /tmp/nh-fuzz-objects-%d", (int)getpid());
	if (system(command) != 0)
		fprintf(stderr, "left behind: %s\n", command);
}

struct fuzz_api *fuzz_api_world(void)
{
	if (the_world)
		return the_world;
	char dir[128];
	struct nh_err err = NH_ERR_INIT;
	the_world = nh_xcalloc(1, sizeof(*the_world));
	the_world->world.arg = the_world;
	the_world->db = fuzz_db_open(&the_world->world, furnish);
	the_world->world.config.registration_open = true;
	the_world->world.config.max_firmware_bytes = 200000;
	snprintf(dir, sizeof(dir), "/tmp/nh-fuzz-objects-%d", (int)getpid());
	FUZZ_CHECK(nh_objects_open_dir(dir, &the_world->objects, &err) == NH_OK, "%s", err.msg);
	atexit(remove_objects);
	return the_world;
}

/* ---- one input ----------------------------------------------------------------------------------------------------------- */

void fuzz_api_begin(struct fuzz_api *w, nh_slice input)
{
	w->input = input;
	w->rng = nh_rng_seeded_init(&w->seed, 7);
	w->api = nh_user_api_new(&(struct nh_user_api_config){
		.db = w->db,
		.objects = w->objects,
		.hub = &w->world.config,
		.clock = &w->world.clock,
		.rng = &w->rng,
		.cost = &nh_password_cost_test,
	});
}

struct dropping {
	struct nh_objects *objects;
};

static bool drop_object(void *ctx, const char *key, uint64_t size)
{
	return nh_objects_delete(((struct dropping *)ctx)->objects, key, NULL) == NH_OK;
}

void fuzz_api_end(struct fuzz_api *w)
{
	struct dropping dropping = {w->objects};
	nh_user_api_free(w->api);
	w->api = NULL;
	FUZZ_CHECK(nh_objects_list(w->objects, "", drop_object, &dropping, NULL) == NH_OK, "objects");
}

/* ---- one request --------------------------------------------------------------------------------------------------------- */

static nh_slice known(const struct fuzz_api *w, const struct nh_route *route, nh_slice name)
{
	const struct {
		const char *name, *value;
	} table[] = {
		{"org_name", "acme"},
		{"product_name", "Thermo Widget"},
		{"identifier", "d-1"},
		{"user_email", "vic@example.com"},
		{"name", "main"},
		{"uuid", "00000000-0000-4000-8000-000000000001"},
		{"serial", strstr(route->path, "/ca_certificates/") ? w->ca_serial : w->cert_serial},
		{"key", w->secret_key},
		{"token", w->cli_token},
		{"id", "1"},
		{"name_or_id", "hello"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		if (nh_slice_eq_str(name, table[i].name))
			return nh_slice_str(table[i].value);
	}
	FUZZ_CHECK(false, "no value for the parameter %.*s of %s", NH_ARG(name), route->path);
	return NH_SLICE_EMPTY;
}

static void fill_params(const struct fuzz_api *w, struct nh_request *req)
{
	nh_slice part, rest = nh_slice_str(req->route->path);
	for (size_t i = 0; rest.len > 0 && i < req->param_count;) {
		nh_slice_cut(rest, '/', &part, &rest);
		if (part.len == 0 || (part.ptr[0] != ':' && part.ptr[0] != '*'))
			continue;
		if (nh_slice_eq_str(req->params[i], "-"))
			req->params[i] = known(w, req->route, nh_slice_skip(part, 1));
		i++;
	}
}

void fuzz_ask_open(struct fuzz_api *w, struct fuzz_ask *a, fuzz_person person, nh_slice line)
{
	const struct nh_mount mounts[] = {{.routes = nh_user_api_routes, .app = w->api, .fault = nh_user_api_fault}, {.routes = NULL}};
	const struct nh_listener listener = {.mounts = mounts};
	struct nh_http_request_head head = {0};
	NH_AUTO_BUF struct nh_buf allow = NH_BUF_INIT;
	*a = (struct fuzz_ask){.person = person};
	struct nh_request *req = &a->ex.request;
	response_init(&a->ex.response);
	head.method = nh_http_method_of(fuzz_until(&line, ' '));
	nh_slice_cut(line, '?', &head.path, &head.query);
	*req = (struct nh_request){
		.method = head.method,
		.path = head.path,
		.query = head.query,
		.host = NH_LIT("hub.test"),
		.headers = &a->ex.headers,
		.arena = &a->ex.arena,
		.app = w->api,
		.remote = NH_LIT("127.0.0.1"),
	};
	fuzz_ask_header(a, "authorization", nh_slice_str(w->tokens[person]));
	a->found = route_find(&listener, &head, &a->ex, &allow);
	if (a->found == NH_OK)
		fill_params(w, req);
	else
		nh_user_api_fault(req, &a->ex.response, a->found == NH_EPERM ? 405 : a->found == NH_EFORMAT ? 400 : 404, "No such thing");
}

void fuzz_ask_header(struct fuzz_ask *a, const char *name, nh_slice value)
{
	if (value.len > 0)
		a->ex.headers.items[a->ex.headers.count++] = (struct nh_http_header){nh_slice_str(name), value};
}

static void check_head(const struct fuzz_ask *a)
{
	struct nh_http_scan scan = {0};
	struct nh_http_response_head head;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_printf(&text, "HTTP/1.1 %u X\r\n", a->ex.response.status);
	nh_buf_put_slice(&text, nh_buf_slice(&a->ex.response.headers));
	nh_buf_put_str(&text, "\r\n");
	nh_rc rc = nh_http_response_parse(NULL, nh_buf_slice(&text), &scan, a->ex.request.method, &head, &err);
	FUZZ_CHECK(rc == NH_OK && head.head_len == text.len, "%s: %s", err.msg, nh_buf_cstr(&text));
}

void fuzz_ask_check(const struct fuzz_ask *a)
{
	static const char *const secrets[] = {"$argon2", "0123456789abcdef0123456789abcdef"};
	const struct nh_response *res = &a->ex.response;
	nh_slice body = nh_buf_slice(&res->body);
	FUZZ_CHECK(res->status >= 200 && res->status < 500, "%s %.*s answered with %u: %.*s", nh_http_method_name(a->ex.request.method),
	           NH_ARG(a->ex.request.path), res->status, NH_ARG(body));
	check_head(a);
	for (size_t i = 0; i < NH_ARRAY_LEN(secrets); i++) {
		nh_slice secret = nh_slice_str(secrets[i]);
		/* What was asked may be repeated in the answer, and the fuzzer learns our strings. */
		FUZZ_CHECK(nh_slice_find(body, secret) < 0 || nh_slice_find(the_world->input, secret) >= 0, "a secret goes out: %.*s", NH_ARG(body));
	}
	FUZZ_CHECK(res->status != 204 || body.len == 0, "%.*s", NH_ARG(body));
	if (!res->type || strncmp(res->type, "application/json", 16) != 0)
		return;
	NH_AUTO_JSON json_t *json = NULL;
	FUZZ_CHECK(nh_json_parse(body, SIZE_MAX, &json, NULL) == NH_OK, "%.*s", NH_ARG(body));
	FUZZ_CHECK(res->status < 400 || json_object_size(json) > 0, "%.*s", NH_ARG(body));
}

void fuzz_ask_check_role(const struct fuzz_ask *a)
{
	static const nh_role roles[] = {NH_ROLE_ADMIN, NH_ROLE_VIEW, NH_ROLE_NONE, NH_ROLE_NONE};
	const struct nh_request *req = &a->ex.request;
	const struct endpoint *e = a->found == NH_OK ? req->route->extra : NULL;
	if (!e || e->anonymous || a->ex.response.status >= 300)
		return;
	FUZZ_CHECK(a->person != FUZZ_NOBODY, "%s was answered to nobody", req->route->path);
	/* The stranger may ask for things of its own organizations, which paths may name. */
	nh_slice org = nh_request_param(req, "org_name");
	if (e->scope == SCOPE_NONE || (org.ptr && !nh_slice_eq_str(org, "acme")))
		return;
	FUZZ_CHECK(nh_role_may(roles[a->person], e->may, NULL) == NH_OK, "%s %s is %s", nh_http_method_name(req->method), req->route->path, nh_action_name(e->may));
}

void fuzz_ask_close(struct fuzz_ask *a)
{
	response_fini(&a->ex.response);
	nh_arena_fini(&a->ex.arena);
}

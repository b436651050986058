/*
 * Whole commands: argv, environment and files in; requests, files, output and exit status out. The server is a scripted one on a real socket, so
 * that method, path, headers and bodies are compared as they go over the wire.
 */
#include "test_base.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "cli/cli.h"
#include "crypto/pki.h"
#include "firmware/verify.h"

struct exchange {
	const char *request; /* "GET /api/orgs" */
	const char *has;     /* text the request (headers or body) must hold, or NULL */
	int status;
	const char *answer;
};

struct server {
	int fd;
	unsigned port;
	const struct exchange *script;
	size_t count, done;
	struct nh_buf complaint;
	struct nh_buf last; /* the last request, headers and body */
	pthread_t thread;
};

static char dir[] = "/tmp/nh-test-cli-XXXXXX";
static struct server server;
static struct nh_buf out, err;
static const char *const *environment; /* name, value, …, NULL */

static const char *env(const char *name)
{
	for (const char *const *e = environment; e && *e; e += 2)
		if (strcmp(name, e[0]) == 0)
			return e[1];
	return strcmp(name, "HOME") == 0 ? dir : NULL;
}

/* One request: until the blank line, then Content-Length bytes. */
static void read_request(int fd, struct nh_buf *request)
{
	size_t need = SIZE_MAX;
	char block[65536];
	ssize_t n;
	while (request->len < need && (n = read(fd, block, sizeof block)) > 0) {
		nh_buf_put(request, block, (size_t)n);
		ptrdiff_t head = nh_slice_find(nh_buf_slice(request), NH_LIT("\r\n\r\n"));
		if (head < 0 || need != SIZE_MAX)
			continue;
		ptrdiff_t at = nh_slice_find(nh_buf_slice(request), NH_LIT("Content-Length: "));
		uint64_t length = 0;
		nh_slice value, rest;
		if (at > 0 && nh_slice_cut(nh_slice_skip(nh_buf_slice(request), (size_t)at + 16), '\r', &value, &rest))
			assert_int_equal(nh_parse_u64(value, 0, 1 << 30, &length), NH_OK);
		need = (size_t)head + 4 + length;
	}
}

static void answer(struct server *s, const struct exchange *e, int fd)
{
	NH_AUTO_BUF struct nh_buf reply = NH_BUF_INIT;
	nh_slice first, rest, method_and_path;
	nh_buf_clear(&s->last);
	read_request(fd, &s->last);
	nh_slice_cut(nh_buf_slice(&s->last), '\r', &first, &rest);
	method_and_path = first.len > 9 ? nh_slice_sub(first, 0, first.len - 9) : first;
	if (!nh_slice_eq(method_and_path, nh_slice_str(e->request)))
		nh_buf_printf(&s->complaint, "got '%.*s', expected '%s'; ", NH_ARG(first), e->request);
	if (e->has && nh_slice_find(nh_buf_slice(&s->last), nh_slice_str(e->has)) < 0)
		nh_buf_printf(&s->complaint, "'%s' is not in: %s; ", e->has, nh_buf_cstr(&s->last));
	nh_buf_printf(&reply, "HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %zu\r\n", e->status, e->status == 302 ? 0 : strlen(e->answer));
	if (e->status == 302)
		nh_buf_printf(&reply, "Location: %s\r\n\r\n", e->answer);
	else
		nh_buf_printf(&reply, "\r\n%s", e->answer);
	size_t sent = 0;
	for (ssize_t n; sent < reply.len && (n = write(fd, reply.ptr + sent, reply.len - sent)) > 0;)
		sent += (size_t)n;
}

static void *serve(void *ctx)
{
	struct server *s = ctx;
	while (s->done < s->count) {
		int fd = accept(s->fd, NULL, NULL);
		if (fd < 0)
			break;
		answer(s, &s->script[s->done++], fd);
		close(fd);
	}
	return NULL;
}

static void start(const struct exchange *script, size_t count)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	nh_buf_fini(&server.last);
	server = (struct server){.script = script, .count = count, .fd = socket(AF_INET, SOCK_STREAM, 0)};
	assert_int_equal(bind(server.fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(server.fd, 16), 0);
	assert_int_equal(getsockname(server.fd, (struct sockaddr *)&a, &len), 0);
	server.port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&server.thread, NULL, serve, &server), 0);
}

static void stop(void)
{
	shutdown(server.fd, SHUT_RDWR);
	pthread_join(server.thread, NULL);
	close(server.fd);
	if (server.done != server.count)
		nh_buf_printf(&server.complaint, "%zu of %zu requests came; ", server.done, server.count);
	if (server.complaint.len)
		fail_msg("%s (stderr: %s)", nh_buf_cstr(&server.complaint), nh_buf_cstr(&err));
	nh_buf_fini(&server.complaint);
}

/* Runs `nh args…`, input on stdin; the exit status. */
static int run_with(const char *input, const char *const *args)
{
	char *argv[64] = {(char *)(uintptr_t)"nh"}, *text[2] = {NULL};
	size_t len[2];
	int argc = 1;
	while (*args)
		argv[argc++] = strdup(*args++);
	FILE *in = tmpfile();
	fputs(input, in);
	rewind(in);
	struct nh_cli_io io = {.in = in, .out = open_memstream(&text[0], &len[0]), .err = open_memstream(&text[1], &len[1]), .env = env};
	int status = nh_cli_run(&io, argc, argv);
	fclose(io.in);
	fclose(io.out);
	fclose(io.err);
	nh_buf_clear(&out);
	nh_buf_clear(&err);
	nh_buf_put(&out, text[0], len[0]);
	nh_buf_put(&err, text[1], len[1]);
	free(text[0]);
	free(text[1]);
	for (int i = 1; i < argc; i++)
		free(argv[i]);
	return status;
}

#define RUN(...) run_with("", (const char *const[]){__VA_ARGS__, NULL})

static void assert_has(const struct nh_buf *b, const char *text)
{
	if (nh_slice_find(nh_buf_slice(b), nh_slice_str(text)) < 0)
		fail_msg("'%s' is not in: %s", text, nh_buf_cstr(b));
}

static char *uri(void)
{
	static char text[64];
	snprintf(text, sizeof text, "http://127.0.0.1:%u", server.port);
	return text;
}

static int setup_dir(void **state) { return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1; }

static int clean(void **state)
{
	environment = NULL;
	int status = 0;
	struct nh_process p = {.argv = (const char *const[]){"sh", "-c", "rm -rf ./.nh ./.[a-z]* ./*", NULL}, .cwd = dir};
	return nh_process_run(&p, &status, NULL, NULL, NULL) == NH_OK ? status : -1;
}

static int remove_dir(void **state)
{
	nh_buf_fini(&out);
	nh_buf_fini(&err);
	nh_buf_fini(&server.last);
	return chdir("/") == 0 ? rmdir(dir) : -1;
}

static void parsing(void **state)
{
	static const struct {
		const char *args[8];
		int status;
		const char *out, *err;
	} rows[] = {
		{{"--version"}, 0, "nh " NH_VERSION "\n", ""},
		{{"version"}, 0, "nh " NH_VERSION "\n", ""},
		{{NULL}, 0, "Commands:\n  config", ""},
		{{"device", "foo"}, 0, "nh device <command>", ""},
		{{"device", "certs"}, 0, "nh device certificates <command>", ""},
		{{"help", "device", "list"}, 0, "nh device list [flags]", ""},
		{{"deployments", "create", "--help"}, 0, "--version REQUIREMENT", ""},
		{{"--org", "x", "firmware", "publish", "-h"}, 0, "nh firmware upload [file] [flags]", ""},
		{{"foo"}, 1, "", "Error: unknown command \"foo\" for \"nh\"; `nh --help` lists the commands\n"},
		{{"devices", "list"}, 1, "", "Error: unknown command \"devices\" for \"nh\"; did you mean \"device\"?\n"},
		{{"device", "list", "--fliter", "x"}, 1, "", "Error: unknown option '--fliter'; did you mean '--filter'?\n"},
		{{"device", "show"}, 1, "", "Error: missing argument: nh device show <device>\n"},
		{{"device", "show", "a", "b"}, 1, "", "Error: too many arguments (\"b\"): nh device show <device>\n"},
		{{"-o", "xml", "config", "get"}, 1, "", "Error: invalid output format \"xml\": must be \"table\", \"json\" or \"csv\"\n"},
		{{"device", "list"}, 1, "", "Error: no organization set: pass --org, set NERVES_HUB_ORG, or run `nh config set org <name>`\n"},
		{{"device", "list", "--org=a"}, 1, "", "Error: no product set: pass --product, set NERVES_HUB_PRODUCT, or run `nh config set product <name>`\n"},
		{{"--org", "a", "device", "list", "--product", "p"}, 1, "", "Error: not authenticated: run `nh user auth` or set NERVES_HUB_TOKEN\n"},
		{{"user", "whoami"}, 1, "", "Error: not authenticated: run `nh user auth` or set NERVES_HUB_TOKEN\n"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		int status = run_with("", rows[i].args);
		if (status != rows[i].status || nh_slice_find(nh_buf_slice(&out), nh_slice_str(rows[i].out)) < 0)
			fail_msg("row %zu: status %d, out %s, err %s", i, status, nh_buf_cstr(&out), nh_buf_cstr(&err));
		assert_slice(nh_buf_slice(&err), rows[i].err);
	}
}

static void configuration(void **state)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct stat st;
	assert_int_equal(RUN("config", "get", "org"), 0);
	assert_slice(nh_buf_slice(&out), "\n");
	assert_int_equal(RUN("config", "set", "org", "acme"), 0);
	assert_slice(nh_buf_slice(&out), "Set org to \"acme\"\n");
	assert_int_equal(RUN("config", "set", "uri", "https://hub.example.com"), 0);
	assert_int_equal(RUN("config", "set", "uri", "hub.example.com"), 1);
	assert_int_equal(RUN("config", "set", "token", "x"), 1);
	assert_slice(nh_buf_slice(&err), "Error: unknown setting \"token\" (valid: uri, org, product)\n");
	assert_int_equal(RUN("config", "save", "staging"), 0);
	assert_int_equal(nh_file_read(".nh/settings.json", 10000, &text, NULL), NH_OK);
	assert_slice(nh_buf_slice(&text), "{\n  \"uri\": \"https://hub.example.com\",\n  \"org\": \"acme\",\n  \"profiles\": {\n    \"staging\": {\n"
					  "      \"uri\": \"https://hub.example.com\",\n      \"org\": \"acme\"\n    }\n  }\n}\n");
	assert_int_equal(stat(".nh/settings.json", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(".nh", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(RUN("config", "unset", "org"), 0);
	assert_int_equal(RUN("config", "get", "-o", "json"), 0);
	assert_slice(nh_buf_slice(&out), "{\n  \"uri\": \"https://hub.example.com\"\n}\n");
	assert_int_equal(RUN("config", "load", "nope"), 1);
	assert_slice(nh_buf_slice(&err), "Error: no profile named \"nope\" (available: staging)\n");
	assert_int_equal(RUN("config", "load", "staging"), 0);
	assert_int_equal(RUN("config", "get", "org"), 0);
	assert_slice(nh_buf_slice(&out), "acme\n");
	assert_int_equal(RUN("config", "list"), 0);
	assert_slice(nh_buf_slice(&out), "NAME     URI                      ORG   PRODUCT  TOKEN\nstaging  https://hub.example.com  acme  -        no\n");
	/* a broken file stops every command and is named */
	assert_int_equal(nh_file_write_atomic(".nh/settings.json", NH_LIT("{"), 0600, NULL), NH_OK);
	assert_int_equal(RUN("config", "get"), 1);
	assert_has(&err, "Error: config: parsing settings file ");
}

/* Where organization and token come from, seen by what is sent. */
static void precedence(void **state)
{
	static const char *const hub[] = {"NERVES_HUB_ORG", "hub-env", "NERVES_CLOUD_ORG", "cloud-env", "NERVES_HUB_TOKEN", "t-env", NULL};
	static const char *const cloud[] = {"NERVES_HUB_ORG", "", "NERVES_CLOUD_ORG", "cloud-env", "NERVES_CLOUD_TOKEN", "t-cloud", NULL};
	static const struct exchange script[] = {
		{"GET /api/orgs/flag/keys", "Authorization: Bearer t-flag", 200, "{\"data\":[]}"},
		{"GET /api/orgs/hub-env/keys", "Authorization: Bearer t-env", 200, "{\"data\":[]}"},
		{"GET /api/orgs/cloud-env/keys", "Authorization: Bearer t-cloud", 200, "{\"data\":[]}"},
		{"GET /api/orgs/saved/keys", "Authorization: Bearer t-saved", 200, "{\"data\":[]}"},
	};
	start(script, NH_ARRAY_LEN(script));
	NH_AUTO_BUF struct nh_buf settings = NH_BUF_INIT;
	nh_buf_printf(&settings, "{\"uri\":\"%s\",\"org\":\"saved\",\"token\":\"t-saved\"}", uri());
	assert_int_equal(nh_dir_make(".nh", 0700, NULL), NH_OK);
	assert_int_equal(nh_file_write_atomic(".nh/settings.json", nh_buf_slice(&settings), 0600, NULL), NH_OK);
	environment = hub;
	assert_int_equal(RUN("key", "list", "--org", "flag", "--token", "t-flag"), 0);
	assert_slice(nh_buf_slice(&out), "No signing keys found in flag.\n");
	assert_int_equal(RUN("key", "list"), 0);
	environment = cloud;
	assert_int_equal(RUN("key", "list"), 0);
	environment = NULL;
	assert_int_equal(RUN("key", "list"), 0);
	environment = hub;
	assert_int_equal(RUN("key", "list", "--org", ""), 1); /* an empty flag is given */
	assert_has(&err, "no organization set");
	stop();
}

static void signing_in(void **state)
{
	static const struct exchange script[] = {
		{"POST /api/users/login", "\"email\":\"a@b.c\",\"password\":\"pass word\",\"note\":\"nh " NH_VERSION " (", 200,
		 "{\"data\":{\"name\":\"Ada\",\"email\":\"a@b.c\",\"token\":\"nhu_x\"}}"},
		{"GET /api/users/me", "Authorization: Bearer nhu_x", 200, "{\"data\":{\"name\":\"Ada\",\"email\":\"a@b.c\",\"more\":1}}"},
		{"POST /api/users/login", NULL, 401, "{\"errors\":{\"detail\":\"Authentication failed\"}}"},
		{"POST /api/auth/cli_session", "\"note\"", 200, "{\"data\":{\"token\":\"u-1\",\"url\":\"http://h/auth/cli/u-1\",\"confirmation_code\":438231}}"},
		{"GET /api/auth/cli_session/u-1", NULL, 200, "{\"data\":{\"status\":\"ready\",\"user_token\":\"nhu_y\"}}"},
		{"POST /api/auth/cli_session", NULL, 200, "{\"data\":{\"confirmation_code\":438231}}"}, /* nothing to wait for: say so at once */
	};
	start(script, NH_ARRAY_LEN(script));
	assert_int_equal(RUN("config", "set", "uri", uri()), 0);
	assert_int_equal(run_with("pass word\n", (const char *const[]){"user", "auth", "--email", "a@b.c", "--non-interactive", NULL}), 0);
	assert_has(&out, "\nSuccessfully authenticated as Ada\nToken saved to ");
	assert_int_equal(RUN("user", "whoami", "-ojson"), 0);
	assert_slice(nh_buf_slice(&out), "{\n  \"name\": \"Ada\",\n  \"email\": \"a@b.c\"\n}\n");
	assert_int_equal(run_with("a@b.c\nwrong\n", (const char *const[]){"user", "auth", NULL}), 1);
	assert_slice(nh_buf_slice(&err), "Email: Password: Error: api: 401: Authentication failed\n");
	assert_int_equal(RUN("user", "login"), 0);
	assert_has(&out, "4 3 8 2 3 1");
	assert_has(&out, "\nSuccessfully authenticated\n");
	assert_int_equal(RUN("user", "login"), 1);
	assert_has(&err, "Error: the server began no login; is ");
	assert_int_equal(RUN("user", "logout"), 0);
	assert_has(&out, "Logged out; removed the saved token from ");
	assert_int_equal(RUN("user", "logout"), 0);
	assert_slice(nh_buf_slice(&out), "No saved token to remove\n");
	assert_int_equal(RUN("user", "auth", "--non-interactive"), 1);
	stop();
}

static void set_scope(void)
{
	NH_AUTO_BUF struct nh_buf settings = NH_BUF_INIT;
	nh_buf_printf(&settings, "{\"uri\":\"%s\",\"org\":\"acme\",\"product\":\"widget\",\"token\":\"nhu_x\"}", uri());
	assert_int_equal(nh_dir_make(".nh", 0700, NULL), NH_OK);
	assert_int_equal(nh_file_write_atomic(".nh/settings.json", nh_buf_slice(&settings), 0600, NULL), NH_OK);
}

#define DEVICE                                                                                                                                        \
	"{\"identifier\":\"d1\",\"connection_status\":\"connected\",\"online\":\"connected\",\"description\":null,\"tags\":[\"qa\",\"x\"],"        \
	"\"version\":\"1.0.0\",\"org_name\":\"acme\",\"product_name\":\"widget\",\"updates_enabled\":true,\"updates_blocked_until\":null,"           \
	"\"last_communication\":\"never\",\"firmware_metadata\":null,\"deployment_group\":null,\"deleted\":false}"
#define DEPLOYMENT                                                                                                                          \
	"{\"name\":\"main\",\"state\":\"on\",\"is_active\":true,\"device_count\":3,\"releases_count\":2,\"firmware_uuid\":\"u1\","                  \
	"\"delta_updatable\":true,\"conditions\":{\"version\":\"\",\"tags\":[\"qa\"],\"tag_operator\":\"and\"},"                                  \
	"\"current_release\":{\"number\":2,\"firmware\":{\"version\":\"1.0.0\",\"architecture\":\"arm\",\"platform\":\"p\",\"uuid\":\"u1\"},"         \
	"\"inserted_at\":\"2026-01-02T03:04:05\",\"updated_at\":\"2026-01-02T03:04:05\"}}"

static const struct {
	const char *args[14], *input;
	struct exchange exchange;
	int status;
	const char *out, *err;
} calls[] = {
	{{"org", "list"}, "", {"GET /api/orgs", "User-Agent: nh/", 200, "{\"data\":[{\"name\":\"acme\",\"inserted_at\":\"2026-01-02T03:04:05\"}]}"}, 0,
	 "NAME  CREATED\nacme  2026-01-02\n", ""},
	{{"org", "show"}, "", {"GET /api/orgs?include=products", NULL, 200, "{\"data\":[{\"name\":\"acme\",\"products\":[{\"name\":\"a\"},{\"name\":\"b\"}]}]}"}, 0,
	 "Name:      acme\nProducts:  a, b\n", ""},
	{{"org", "show", "x"}, "", {"GET /api/orgs?include=products", NULL, 200, "{\"data\":[]}"}, 1, "",
	 "Error: organization \"x\" not found (or you are not a member)\n"},
	{{"org", "create", "new"}, "", {"POST /api/orgs", "\r\n\r\n{\"name\":\"new\"}", 201, "{\"data\":{\"name\":\"new\"}}"}, 0, "Created organization new\n", ""},
	{{"org", "invite", "a@b.c", "view"}, "", {"POST /api/orgs/acme/users/invite", "{\"email\":\"a@b.c\",\"role\":\"view\"}", 204, ""}, 0,
	 "Invited a@b.c to acme as view\n", ""},
	{{"org", "remove-member", "a@b.c"}, "y\n", {"DELETE /api/orgs/acme/users/a%40b.c", NULL, 204, ""}, 0, "Removed a@b.c from acme\n",
	 "Remove a@b.c from acme? [y/N] "},
	{{"product", "create", "gadget"}, "", {"POST /api/orgs/acme/products", "{\"name\":\"gadget\"}", 201, "{\"data\":{\"name\":\"gadget\"}}"}, 0,
	 "Created product gadget in acme\n", ""},
	{{"product", "create", "gadget"}, "", {"POST /api/orgs/acme/products", NULL, 422, "{\"errors\":{\"name\":[\"has already been taken\"]}}"}, 1, "",
	 "Error: api: 422: Unprocessable Entity\n  name: has already been taken\n"},
	{{"product", "secret", "create", "-o", "json"}, "", {"POST /api/orgs/acme/products/widget/shared_secrets", "{}", 201,
	 "{\"data\":{\"key\":\"nhp_k\",\"secret\":\"s\"}}"}, 0, "{\n  \"key\": \"nhp_k\",\n  \"secret\": \"s\"\n}\n", ""},
	{{"device", "list", "--filter", "connection:connected", "--sort", "identifier:desc", "--page", "2"}, "",
	 {"GET /api/orgs/acme/products/widget/devices?pagination%5Bpage%5D=2&sort=identifier&sort_direction=desc&filters%5Bconnection%5D=connected", NULL, 200,
	  "{\"data\":[" DEVICE "],\"pagination\":{\"page_number\":2,\"page_size\":10,\"total_entries\":11,\"total_pages\":2}}"}, 0,
	 "Page 2 of 2 — 11 device(s) total\n\nIDENTIFIER  STATUS     VERSION\nd1          connected  1.0.0\n", ""},
	{{"device", "show", "d1"}, "", {"GET /api/orgs/acme/products/widget/devices/d1", NULL, 200, "{\"data\":" DEVICE "}"}, 0,
	 "Identifier:          d1\nStatus:              connected\nOnline:              connected\nVersion:             1.0.0\nTags:                qa, x\n"
	 "Updates enabled:     yes\nLast communication:  never\n", ""},
	{{"device", "create", "d1", "--tag", "qa", "--tag", "x", "--updates-enabled=false", "-o", "json"}, "",
	 {"POST /api/orgs/acme/products/widget/devices", "{\"identifier\":\"d1\",\"tags\":[\"qa\",\"x\"],\"updates_enabled\":false}", 201, "{\"data\":" DEVICE "}"}, 0,
	 "\"last_communication\": \"0001-01-01T00:00:00Z\"", ""},
	{{"device", "update", "d1", "--updates-enabled"}, "", {"PUT /api/orgs/acme/products/widget/devices/d1", "{\"updates_enabled\":true}", 201, "{\"data\":" DEVICE "}"}, 0,
	 "Updated device d1\nIdentifier:", ""},
	{{"device", "delete", "d1", "-y"}, "", {"DELETE /api/orgs/acme/products/widget/devices/d1", NULL, 204, ""}, 0, "Deleted device d1 from acme/widget\n", ""},
	{{"device", "reboot", "d1"}, "", {"POST /api/orgs/acme/products/widget/devices/d1/reboot", "Content-Length: 0\r\n", 204, ""}, 0,
	 "Reboot requested for device d1\n", ""},
	{{"device", "upgrade", "d1", "u1"}, "", {"POST /api/orgs/acme/products/widget/devices/d1/upgrade", "{\"uuid\":\"u1\"}", 204, ""}, 0,
	 "Upgrade to u1 requested for device d1\n", ""},
	{{"device", "move", "d1", "--to-product", "other"}, "", {"POST /api/orgs/acme/products/widget/devices/d1/move?new_org_name=acme&new_product_name=other", NULL, 200,
	 "{\"data\":" DEVICE "}"}, 0, "Moved device d1 to acme/other\n", ""},
	{{"device", "certificates", "list", "d1"}, "", {"GET /api/orgs/acme/products/widget/devices/d1/certificates", NULL, 200,
	 "{\"data\":[{\"serial\":\"99887766\",\"not_before\":\"2026-01-02T03:04:05Z\",\"not_after\":\"2057-01-02T03:04:05Z\"}]}"}, 0,
	 "SERIAL       NOT BEFORE  NOT AFTER\n05:F4:2A:96  2026-01-02  2057-01-02\n", ""},
	{{"device", "certs", "delete", "d1", "05:F4:2A:96", "--yes"}, "", {"DELETE /api/orgs/acme/products/widget/devices/d1/certificates/99887766", NULL, 204, ""}, 0,
	 "Deleted certificate 05:F4:2A:96 from device d1\n", ""},
	{{"deployment", "create", "main", "--firmware", "u1"}, "", {"POST /api/orgs/acme/products/widget/deployments",
	 "{\"name\":\"main\",\"firmware\":\"u1\",\"conditions\":{}}", 201, "{\"data\":" DEPLOYMENT "}"}, 0, "Created deployment group \"main\" in acme/widget\n", ""},
	{{"deployment", "update", "main", "--state", "on", "--version", "< 2.0.0", "--tag", "qa"}, "", {"PUT /api/orgs/acme/products/widget/deployments/main",
	 "{\"deployment\":{\"state\":\"on\",\"conditions\":{\"version\":\"< 2.0.0\",\"tags\":[\"qa\"]}}}", 200, "{\"data\":" DEPLOYMENT "}"}, 0,
	 "Updated deployment group \"main\" in acme/widget\n", ""},
	{{"deployments", "list"}, "", {"GET /api/orgs/acme/products/widget/deployments", NULL, 200, "{\"data\":[" DEPLOYMENT "]}"}, 0,
	 "NAME  STATE  ACTIVE  DEVICES  VERSION  FIRMWARE\nmain  on     yes     3        1.0.0    u1\n", ""},
	{{"deployment", "show", "main"}, "", {"GET /api/orgs/acme/products/widget/deployments/main", NULL, 200, "{\"data\":" DEPLOYMENT "}"}, 0,
	 "Current release:  #2 (1.0.0 u1)\n", ""},
	{{"firmware", "list", "-o", "json"}, "", {"GET /api/orgs/acme/products/widget/firmwares", NULL, 200, "{\"data\":[]}"}, 0, "[]\n", ""},
	{{"firmware", "show", "u1"}, "", {"GET /api/orgs/acme/products/widget/firmwares/u1", NULL, 200, "{\"data\":{\"uuid\":\"u1\",\"version\":\"1.0.0\"}}"}, 0,
	 "UUID:     u1\nVersion:  1.0.0\n", ""},
	{{"firmware", "delete", "u1", "--yes"}, "", {"DELETE /api/orgs/acme/products/widget/firmwares/u1", NULL, 204, ""}, 0, "Firmware deleted successfully\n", ""},
	{{"ca", "list"}, "", {"GET /api/orgs/acme/ca_certificates", NULL, 200, "{\"data\":[]}"}, 0, "No CA certificates found for acme.\n", ""},
	{{"archive", "list"}, "", {"GET /api/orgs/acme/products/widget/archives", NULL, 200, "{\"data\":[{\"uuid\":\"a1\",\"version\":\"1.0.0\",\"size\":7}]}"}, 0,
	 "VERSION  PLATFORM  ARCHITECTURE  SIZE  UUID\n1.0.0    -         -             7     a1\n", ""},
	{{"archive", "delete", "a1", "-y"}, "", {"DELETE /api/orgs/acme/products/widget/archives/a1", NULL, 204, ""}, 0, "Deleted archive a1\n", ""},
	{{"script", "list"}, "",
	 {"GET /api/orgs/acme/products/widget/scripts", NULL, 200,
	  "{\"data\":[{\"id\":\"3\",\"name\":\"df\",\"tags\":\"a,b\"}],\"pagination\":{\"page_number\":1,\"page_size\":25,\"total_pages\":1,\"total_entries\":1}}"}, 0,
	 "Page 1 of 1 — 1 script(s) total\n\nID  NAME  TAGS\n3   df    a,b\n", ""},
	{{"support-script", "create", "--name", "df", "--text-file", "-", "--tags", "a,b"}, "df -h\n",
	 {"POST /api/orgs/acme/products/widget/scripts", "{\"name\":\"df\",\"tags\":\"a,b\",\"text\":\"df -h\\n\"}", 200, "{\"data\":{\"id\":\"3\",\"name\":\"df\"}}"}, 0,
	 "Created support script df (id 3)\n", ""},
	{{"script", "show", "3"}, "",
	 {"GET /api/orgs/acme/products/widget/scripts/3", NULL, 200,
	  "{\"data\":{\"id\":\"3\",\"name\":\"df\",\"text\":\"df -h\",\"created_by\":{\"id\":\"1\",\"name\":\"Ada\",\"email\":\"a@b.c\"}}}"}, 0,
	 "Created by:  Ada <a@b.c>\n\nText:\ndf -h\n", ""},
	{{"device", "run-script", "d1", "disk usage", "--timeout", "60"}, "",
	 {"POST /api/orgs/acme/products/widget/devices/d1/scripts/disk%20usage?timeout=60000", "Accept: text/plain", 200, "all of it"}, 0, "all of it", ""},
	{{"device", "run-script", "d1", "df"}, "",
	 {"POST /api/orgs/acme/products/widget/devices/d1/scripts/df", NULL, 403, "{\"errors\":{\"detail\":\"device not available or responding\"}}"}, 1, "",
	 "Error: api: 403: device not available or responding\n"},
	{{"device", "logs", "d1", "--level", "error", "--limit", "1"}, "",
	 {"GET /api/orgs/acme/products/widget/devices/d1/logs?level=error&limit=1", NULL, 200,
	  "{\"data\":[{\"at\":\"2026-01-02T03:04:05.678Z\",\"level\":\"error\",\"message\":\"no\"}],\"pagination\":{\"page_size\":1,\"next\":\"17-4\"}}"}, 0,
	 "AT                       LEVEL  MESSAGE\n2026-01-02 03:04:05 UTC  error  no\n", "There is more: --before 17-4\n"},
	{{"device", "health", "d1"}, "",
	 {"GET /api/orgs/acme/products/widget/devices/d1/health", NULL, 200, "{\"data\":{\"at\":null,\"status\":\"unhealthy\",\"alarms\":{\"hot\":\"yes\"},\"metrics\":{\"cpu_temp\":71.5}}}"}, 0,
	 "Status:   unhealthy\nAlarms:   hot yes\nMetrics:  cpu_temp 71.5\n", ""},
	{{"device", "identities", "d1", "--service", "iroh"}, "",
	 {"GET /api/orgs/acme/products/widget/devices/d1/network_identities?service=iroh", NULL, 200, "{\"data\":[]}"}, 0, "No network identities found for device d1.\n", ""},
	{{"iroh", "register", "e1", "--user-email", "a@b.c", "--detail", "k=v=w"}, "",
	 {"POST /api/orgs/acme/iroh_endpoints", "{\"identifier\":\"e1\",\"details\":{\"k\":\"v=w\"},\"user_email\":\"a@b.c\"}", 201, "{\"data\":{\"identifier\":\"e1\"}}"}, 0,
	 "Registered iroh endpoint e1 with acme\n", ""},
	{{"iroh-endpoint", "list", "--owner", "user"}, "",
	 {"GET /api/orgs/acme/iroh_endpoints?owner=user", NULL, 200,
	  "{\"data\":[{\"identifier\":\"e1\",\"instance\":\"default\",\"source\":\"operator\",\"owner\":{\"type\":\"user\",\"user_email\":\"a@b.c\"}}]}"}, 0,
	 "e1          default   operator  user (a@b.c)  -\n", ""},
	{{"device", "update", "d1", "--tag", ""}, "", {"PUT /api/orgs/acme/products/widget/devices/d1", "{\"tags\":[]}", 201, "{\"data\":" DEVICE "}"}, 0, "Updated device d1\n", ""},
	{{"device", "certs", "delete", "d1", "05:F4:2A:96", "-y"}, "", {"DELETE /api/orgs/acme/products/widget/devices/d1/certificates/99887766", NULL, 204, ""}, 0,
	 "Deleted certificate 05:F4:2A:96 from device d1\n", ""},
	/* CSV: the members of the structure that JSON shows, quoted where they must be */
	{{"key", "list", "-o", "csv"}, "", {"GET /api/orgs/acme/keys", NULL, 200, "{\"data\":[{\"name\":\"a,\\\"b\",\"key\":\"x\\u001b[2J\"}]}"}, 0,
	 "name,key\r\n\"a,\"\"b\",x\\x1b[2J\r\n", ""},
	{{"deployment", "show", "main", "-o", "csv"}, "", {"GET /api/orgs/acme/products/widget/deployments/main", NULL, 200, "{\"data\":" DEPLOYMENT "}"}, 0,
	 "name,state,is_active,device_count,releases_count,firmware_uuid,delta_updatable,conditions.tags,conditions.version,current_release.number,", ""},
	{{"org", "create", "acme", "-o", "csv"}, "", {"POST /api/orgs", NULL, 201, "{\"data\":{\"name\":\"acme\"}}"}, 0, "name,inserted_at,updated_at,products\r\nacme,,,\r\n", ""},
	{{"key", "show", "k"}, "", {"GET /api/orgs/acme/keys/k", NULL, 200, "not json"}, 1, "", NULL},
	{{"key", "list"}, "", {"GET /api/orgs/acme/keys", NULL, 502, "<html>"}, 1, "", "Error: api: 502: <html>\n"},
};

static void lists_and_objects(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(calls); i++) {
		start(&calls[i].exchange, 1);
		set_scope();
		int status = run_with(calls[i].input, calls[i].args);
		if (status != calls[i].status || nh_slice_find(nh_buf_slice(&out), nh_slice_str(calls[i].out)) < 0)
			fail_msg("row %zu: status %d, out %s, err %s", i, status, nh_buf_cstr(&out), nh_buf_cstr(&err));
		if (calls[i].err)
			assert_slice(nh_buf_slice(&err), calls[i].err);
		stop();
	}
}

#define DEVICES "GET /api/orgs/acme/products/widget/devices?filters%5Btags%5D=qa&pagination%5Bpage_size%5D=100&pagination%5B"

/* --all asks for page after page, by cursors where the server has them, and shows one list. */
static void all_pages(void **state)
{
	static const struct exchange numbered[] = {
		{DEVICES "after%5D=", NULL, 200, "{\"data\":[{\"identifier\":\"a\"}],\"pagination\":{\"page_number\":1,\"total_pages\":3}}"},
		{DEVICES "page%5D=2", NULL, 200, "{\"data\":[{\"identifier\":\"b\"}],\"pagination\":{\"page_number\":2,\"total_pages\":3}}"},
		{DEVICES "page%5D=3", NULL, 200, "{\"data\":[{\"identifier\":\"c\"}],\"pagination\":{\"page_number\":3,\"total_pages\":3}}"},
	};
	static const struct exchange cursors[] = {
		{DEVICES "after%5D=", NULL, 200, "{\"data\":[{\"identifier\":\"a\"}],\"pagination\":{\"page_size\":1,\"next\":\"x/1\"}}"},
		{DEVICES "after%5D=x%2F1", NULL, 200, "{\"data\":[{\"identifier\":\"b\"},{\"identifier\":\"c\"}],\"pagination\":{\"page_size\":1,\"next\":null}}"},
	};
	static const struct {
		const struct exchange *script;
		size_t count;
	} rows[] = {{numbered, NH_ARRAY_LEN(numbered)}, {cursors, NH_ARRAY_LEN(cursors)}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		start(rows[i].script, rows[i].count);
		set_scope();
		assert_int_equal(RUN("device", "list", "--all", "--filter", "tags:qa"), 0);
		assert_slice(nh_buf_slice(&out), "IDENTIFIER  STATUS  VERSION\na           -       -\nb           -       -\nc           -       -\n");
		stop();
	}
	assert_int_equal(RUN("device", "list", "--all", "--page", "2"), 1);
	assert_slice(nh_buf_slice(&err), "Error: --all and --page exclude each other\n");
}

/* What may stand at the end of a command line. */
static void completion(void **state)
{
	static const struct {
		const char *args[8];
		struct exchange exchange; /* request NULL: the server is not asked */
		const char *out;
	} rows[] = {
		{{"depl"}, {NULL}, "deployment\n:words\n"},
		{{"device", "certs", "g"}, {NULL}, "generate\tmake a key and a certificate or request\n:words\n"},
		{{"device", "cert"}, {NULL}, "certificates\n:words\n"},
		{{"--org", "x", "device", "rec"}, {NULL}, "reconnect\tmake a device connect anew\n:words\n"},
		{{"device", "move", "--to"}, {NULL}, "--to-product\tproduct to move to\n--to-org\tits organization (default: the same)\n--token\tAPI token\n:words\n"},
		{{"key", "list", "-o", ""}, {NULL}, "table\njson\ncsv\n:words\n"},
		{{"key", "list", "--output=j"}, {NULL}, "--output=json\n:words\n"},
		{{"deployment", "update", "g", "--state", ""}, {NULL}, "on\noff\n:words\n"},
		{{"deployment", "update", "g", "--delta-updatable="}, {NULL}, "--delta-updatable=true\n--delta-updatable=false\n:words\n"},
		{{"org", "invite", "a@b.c", "m"}, {NULL}, "manage\n:words\n"},
		{{"firmware", "upload", ""}, {NULL}, ":files\n"},
		{{"firmware", "upload", "--key", ""}, {NULL}, "dev\n:words\n"},
		{{"config", "load", ""}, {NULL}, "staging\n:words\n"},
		{{"device", "run-code", "d1", ""}, {NULL}, ":words\n"},
		{{"nonsense", ""}, {NULL}, ":words\n"},
		{{"__"}, {NULL}, ":words\n"},
		{{"device", "show", "d"},
		 {"GET /api/orgs/acme/products/widget/devices?pagination%5Bpage_size%5D=100&filters%5Bidentifier%5D=d", NULL, 200,
		  "{\"data\":[{\"identifier\":\"d1\",\"description\":\"hall 3\"},{\"identifier\":\"dx\\u001b[2J\"},{\"identifier\":\"d\\ny\"},{\"identifier\":\"ad\"}]}"},
		 "d1\thall 3\n:words\n"},
		{{"device", "upgrade", "d1", "--product", "other", ""}, {"GET /api/orgs/acme/products/other/firmwares", "Bearer nhu_x", 200, "{\"data\":[{\"uuid\":\"u1\",\"version\":\"1.0.0\"}]}"},
		 "u1\t1.0.0\n:words\n"},
		{{"device", "certs", "show", "d1", ""}, {"GET /api/orgs/acme/products/widget/devices/d1/certificates", NULL, 200, "{\"data\":[{\"serial\":\"99\"}]}"}, "99\n:words\n"},
		{{"--org", "a"}, {"GET /api/orgs", NULL, 200, "{\"data\":[{\"name\":\"acme\"},{\"name\":\"b\"}]}"}, "acme\n:words\n"},
		{{"product", "show", ""}, {"GET /api/orgs/acme/products", NULL, 500, "no"}, ":words\n"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		const char *args[10] = {"__complete", "--"};
		for (size_t k = 0; rows[i].args[k]; k++)
			args[k + 2] = rows[i].args[k];
		start(&rows[i].exchange, rows[i].exchange.request ? 1 : 0);
		set_scope();
		assert_int_equal(run_with("", (const char *const[]){"config", "save", "staging", NULL}), 0);
		assert_int_equal(nh_dir_make(".nh/keys/acme", 0700, NULL), NH_OK);
		assert_int_equal(nh_file_write_atomic(".nh/keys/acme/dev.priv", NH_LIT("x"), 0600, NULL), NH_OK);
		assert_int_equal(run_with("", args), 0);
		if (!nh_slice_eq_str(nh_buf_slice(&out), rows[i].out) || err.len)
			fail_msg("row %zu: %s%s", i, nh_buf_cstr(&out), nh_buf_cstr(&err));
		stop();
	}
	assert_int_equal(RUN("completion", "tcsh"), 1);
	assert_slice(nh_buf_slice(&err), "Error: unknown shell \"tcsh\": use bash, zsh or fish\n");
}

/* One command with the values of a profile; what signing in gives goes there, too. */
static void profiles(void **state)
{
	static const struct exchange script[] = {
		{"GET /api/orgs/other/keys", "Bearer nhu_other", 200, "{\"data\":[]}"},
		{"POST /api/users/login", NULL, 200, "{\"data\":{\"name\":\"Ada\",\"email\":\"a@b.c\",\"token\":\"nhu_new\"}}"},
		{"GET /api/orgs/other/keys", "Bearer nhu_new", 200, "{\"data\":[]}"},
		{"GET /api/orgs/acme/keys", "Bearer nhu_x", 200, "{\"data\":[]}"},
	};
	static const char *const from_env[] = {"NERVES_HUB_PROFILE", "second", NULL};
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	start(script, NH_ARRAY_LEN(script));
	assert_int_equal(nh_dir_make(".nh", 0700, NULL), NH_OK);
	nh_buf_printf(&text, "{\"uri\":\"%s\",\"org\":\"acme\",\"token\":\"nhu_x\",\"profiles\":{\"second\":{\"uri\":\"%s\",\"org\":\"other\",\"token\":\"nhu_other\"}}}", uri(), uri());
	assert_int_equal(nh_file_write_atomic(".nh/settings.json", nh_buf_slice(&text), 0600, NULL), NH_OK);
	assert_int_equal(RUN("key", "list", "--profile", "second"), 0);
	assert_int_equal(run_with("secret\n", (const char *const[]){"--profile", "second", "user", "auth", "--email", "a@b.c", NULL}), 0);
	environment = from_env;
	assert_int_equal(RUN("key", "list"), 0);
	environment = NULL;
	assert_int_equal(RUN("key", "list"), 0);
	assert_int_equal(RUN("key", "list", "--profile", "third"), 1);
	assert_slice(nh_buf_slice(&err), "Error: no profile named \"third\" (available: second)\n");
	stop();
}

static void migration(void **state)
{
	static const uint8_t config[] = {131, 116, 0, 0, 0, 2, 100, 0, 3, 'o', 'r', 'g', 109, 0, 0, 0, 3, 'o', 'l', 'd', 119, 5, 't', 'o', 'k', 'e', 'n', 109, 0, 0, 0, 5, 'n', 'h', 'u', '_', 'o'};
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct stat st;
	assert_int_equal(RUN("migrate"), 1);
	assert_has(&err, "Error: there is nothing to migrate at ");
	assert_int_equal(nh_dir_make(".nerves-hub/keys/old", 0700, NULL), NH_OK);
	assert_int_equal(nh_file_write_atomic(".nerves-hub/nerves-hub.config", nh_slice_of(config, sizeof config), 0600, NULL), NH_OK);
	assert_int_equal(nh_file_write_atomic(".nerves-hub/keys/old/dev.priv", NH_LIT("g3QAAAA/+w=="), 0600, NULL), NH_OK); /* the other base64 */
	assert_int_equal(nh_file_write_atomic(".nerves-hub/keys/old/dev.pub", NH_LIT("cHVi"), 0644, NULL), NH_OK);
	assert_int_equal(nh_file_write_atomic(".nerves-hub/keys/old/bad.priv", NH_LIT("bm8="), 0600, NULL), NH_OK);
	assert_int_equal(RUN("config", "set", "org", "mine"), 0);
	assert_int_equal(RUN("migrate", "--dry-run"), 0);
	assert_has(&out, "key old/dev: would be imported\n");
	assert_int_equal(lstat(".nh/keys", &st), -1);
	assert_int_equal(RUN("migrate", "-o", "json"), 0);
	assert_has(&out, "{\n      \"name\": \"org\",\n      \"action\": \"skip\",\n      \"reason\": \"already set\"\n    }");
	assert_has(&out, "\"name\": \"bad\",\n      \"action\": \"skip\",\n      \"reason\": \"not an encrypted private key\"");
	assert_int_equal(nh_file_read(".nh/keys/old/dev.priv", 100, &text, NULL), NH_OK);
	assert_slice(nh_buf_slice(&text), "g3QAAAA_-w\n");
	assert_int_equal(stat(".nh/keys/old/dev.priv", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(RUN("config", "get", "org"), 0);
	assert_slice(nh_buf_slice(&out), "mine\n");
	assert_int_equal(RUN("migrate"), 0);
	assert_has(&out, "key old/dev: skipped, already exists\n");
	assert_int_equal(RUN("migrate", "--force"), 0);
	assert_int_equal(RUN("config", "get", "org"), 0);
	assert_slice(nh_buf_slice(&out), "old\n");
}

/* Refused before anything is sent. */
static void refused_locally(void **state)
{
	static const struct {
		const char *args[8], *err;
	} rows[] = {
		{{"product", "create", "a b"}, "Error: product name must not contain whitespace\n"},
		{{"product", "delete", "a", "--non-interactive"}, "Error: refusing to delete without confirmation; pass --yes to proceed non-interactively\n"},
		{{"org", "remove-member", "a", "--non-interactive"},
		 "Error: refusing to remove a member without confirmation; pass --yes to proceed non-interactively\n"},
		{{"org", "set-role", "a", "king"}, "Error: invalid role \"king\": use admin, manage, view\n"},
		{{"device", "update", "d"}, "Error: nothing to update: provide --description, --tag, --updates-enabled, --timezone, or --deployment-group-id\n"},
		{{"device", "update", "d", "--updates-enabled=maybe"}, "Error: --updates-enabled needs true or false, not 'maybe'\n"},
		{{"device", "list", "--page", "0"}, "Error: --page needs a number from 1, not '0'\n"},
		{{"device", "list", "--filter", "x"}, "Error: --filter needs key:value, not 'x'\n"},
		{{"deployment", "create", "g"}, "Error: --firmware is required\n"},
		{{"deployment", "update", "g", "--state", "maybe"}, "Error: invalid --state \"maybe\" (use on or off)\n"},
		{{"deployment", "update", "g"}, "Error: nothing to update: provide --firmware, --state, --version, --tag, --delta-updatable, or another flag of its --help\n"},
		{{"key", "create", "../x"}, "Error: invalid signing key name \"../x\"\n"},
		{{"device", "certificates", "generate", "a/b"}, "Error: invalid device identifier \"a/b\"\n"},
		{{"device", "certificates", "generate", "a", "--upload"},
		 "Error: --valid-for and --upload need --ca or --self-signed: without them only a request is made\n"},
		{{"ca", "generate", "--valid-for", "soon"}, "Error: invalid --valid-for \"soon\": use a number with y or d, or a duration such as 12h\n"},
		{{"ca", "upload"}, "Error: pass the name of a generated CA, or both --cert and --key\n"},
		{{"ca", "upload", "--cert", "x"}, "Error: pass the name of a generated CA, or both --cert and --key\n"},
		{{"firmware", "upload", "x", "--key", "a", "--skip-signing"}, "Error: --key and --skip-signing exclude each other\n"},
		{{"firmware", "upload"}, "Error: firmware file path missing (and the working directory is not a Nerves project to detect one from)\n"},
		{{"firmware", "upload", "absent.fw", "--skip-signing"}, "Error: cannot read absent.fw: No such file or directory\n"},
	};
	server.port = 1;
	set_scope();
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		assert_int_equal(run_with("", rows[i].args), 1);
		assert_slice(nh_buf_slice(&err), rows[i].err);
	}
	assert_int_equal(run_with("n\n", (const char *const[]){"product", "delete", "a", NULL}), 0);
	assert_slice(nh_buf_slice(&out), "Aborted.\n");
	assert_int_equal(RUN("product", "delete", "a"), 0); /* end of input is a no */
	assert_slice(nh_buf_slice(&out), "Aborted.\n");
	assert_int_equal(RUN("key", "list"), 1);
	assert_has(&err, "cannot reach http://127.0.0.1:1: ");
}

static char *vector(const char *name)
{
	static char path[512];
	snprintf(path, sizeof path, "%s/firmware/%s", getenv("NH_VECTORS"), name);
	return path;
}

static void keys_and_firmware(void **state)
{
	static const struct exchange script[] = {
		{"POST /api/orgs/acme/keys", "{\"name\":\"dev\",\"key\":\"", 201, "{\"data\":{\"name\":\"dev\",\"key\":\"x\"}}"},
		{"POST /api/orgs/acme/products/Thermo%20Widget/firmwares", "name=\"firmware\"; filename=\"widget-1.0.0.fw\"\r\nContent-Type: application/octet-stream", 201,
		 "{\"data\":{\"uuid\":\"u1\",\"version\":\"1.0.0\"}}"},
		{"PUT /api/orgs/acme/products/Thermo%20Widget/deployments/main", "{\"deployment\":{\"firmware\":\"u1\"}}", 200, "{\"data\":" DEPLOYMENT "}"},
		{"POST /api/orgs/acme/keys", NULL, 422, "{\"errors\":{\"name\":[\"has already been taken\"]}}"},
	};
	NH_AUTO_BUF struct nh_buf pub = NH_BUF_INIT, raw = NH_BUF_INIT;
	struct stat st;
	start(script, NH_ARRAY_LEN(script));
	set_scope();
	assert_int_equal(RUN("key", "create", "dev", "--password", "secret"), 0);
	assert_has(&out, "Created signing key dev in acme\n");
	assert_int_equal(stat(".nh/keys/acme/dev.priv", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(RUN("key", "create", "dev"), 1);
	assert_has(&err, "Error: key file already exists: ");
	/* what is uploaded is signed by the new key, and only the temporary file was */
	static const char product[] = "Thermo Widget";
	assert_int_equal(RUN("firmware", "publish", vector("widget-1.0.0.fw"), "--key", "dev", "--password", "secret", "--deploy", "main", "--product", product), 0);
	assert_slice(nh_buf_slice(&out), "Uploaded firmware 1.0.0 (u1)\nUpdated deployment group main to firmware u1\n");
	assert_has(&err, "Signing widget-1.0.0.fw with key dev\n");
	assert_int_equal(nh_file_read(".nh/keys/acme/dev.pub", 100, &pub, NULL), NH_OK);
	assert_int_equal(nh_b64_decode(nh_slice_trim(nh_buf_slice(&pub)), NH_B64_STD, &raw), NH_OK);
	/* wrong product and wrong password are noticed here */
	assert_int_equal(RUN("firmware", "upload", vector("widget-1.0.0.fw"), "--key", "dev"), 1);
	assert_has(&err, "firmware is built for product \"Thermo Widget\" but you are uploading to \"widget\"; check --product");
	assert_int_equal(RUN("firmware", "upload", vector("widget-1.0.0.fw"), "--key", "dev", "--password", "no", "--product", product), 1);
	assert_has(&err, "Error: signing key dev: cannot decrypt the private key: wrong password\n");
	assert_int_equal(RUN("firmware", "upload", vector("widget-1.0.0.fw"), "--product", product), 1);
	assert_has(&err, "Error: no signing key: pass --key <name>, set NERVES_HUB_PRIVATE_KEY, or pass --skip-signing to upload the firmware as is\n");
	assert_int_equal(RUN("key", "create", "taken"), 1);
	assert_has(&err, "keypair saved to ");
	assert_has(&err, " but uploading the public key failed: api: 422: ");
	/* the exported pair is what fwup takes */
	assert_int_equal(RUN("key", "export", "dev", "--password", "secret"), 0);
	assert_int_equal(stat("dev.priv", &st), 0);
	assert_int_equal(RUN("key", "export", "dev", "--password", "secret"), 1);
	stop();
}

/* The body of the last multipart request is a firmware signed by the key whose public half is given. */
static void uploaded_signature(void **state)
{
	static const struct exchange script[] = {
		{"POST /api/orgs/acme/keys", NULL, 201, "{\"data\":{\"name\":\"dev\",\"key\":\"x\"}}"},
		{"POST /api/orgs/acme/products/Thermo%20Widget/firmwares", "filename=\"widget-1.1.0.fw\"", 201, "{\"data\":{\"uuid\":\"u1\",\"version\":\"1.1.0\"}}"},
	};
	start(script, NH_ARRAY_LEN(script));
	set_scope();
	assert_int_equal(RUN("key", "create", "dev"), 0);
	assert_int_equal(RUN("firmware", "upload", vector("widget-1.1.0.fw"), "--key", "dev", "--product", "Thermo Widget", "-o", "json"), 0);
	assert_true(nh_slice_starts(nh_buf_slice(&out), NH_LIT("{\n  \"uuid\": \"u1\",\n  \"version\": \"1.1.0\",\n")));
	stop();
	NH_AUTO_BUF struct nh_buf pub = NH_BUF_INIT;
	struct nh_fw_public_key key;
	struct nh_err e = NH_ERR_INIT;
	assert_int_equal(nh_file_read(".nh/keys/acme/dev.pub", 100, &pub, NULL), NH_OK);
	assert_int_equal(nh_fw_public_key_decode(nh_slice_trim(nh_buf_slice(&pub)), &key, &e), NH_OK);
	nh_slice body = nh_buf_slice(&server.last);
	ptrdiff_t begin = nh_slice_find(body, NH_LIT("PK\x03\x04"));
	assert_true(begin > 0);
	struct nh_fw_verifier *v = nh_fw_verifier_new(&(struct nh_fw_verify_config){.keys = &key, .key_count = 1});
	assert_int_equal(nh_fw_verifier_feed(v, nh_slice_skip(body, (size_t)begin), &e), NH_OK);
	assert_int_equal(nh_fw_verifier_finish(v, &e), NH_OK);
	assert_int_equal(nh_fw_verifier_signature(v), NH_FW_SIGNED);
	nh_fw_verifier_free(v);
}

static void downloading(void **state)
{
	static const struct exchange script[] = {
		{"GET /api/orgs/acme/products/widget/firmwares/u1/download", NULL, 302, "/files/u1.fw?expires=1"},
		{"GET /files/u1.fw?expires=1", NULL, 200, "firmware bytes"},
		{"GET /api/orgs/acme/products/widget/firmwares/u1/download", NULL, 200, "direct"},
		{"GET /api/orgs/acme/products/widget/firmwares/u2/download", NULL, 404, "{\"errors\":{\"detail\":\"gone\"}}"},
	};
	NH_AUTO_BUF struct nh_buf got = NH_BUF_INIT;
	start(script, NH_ARRAY_LEN(script));
	set_scope();
	assert_int_equal(RUN("firmware", "download", "u1"), 0);
	assert_slice(nh_buf_slice(&out), "Downloaded firmware to u1.fw\n");
	assert_int_equal(nh_file_read("u1.fw", 100, &got, NULL), NH_OK);
	assert_slice(nh_buf_slice(&got), "firmware bytes");
	assert_int_equal(RUN("firmware", "download", "u1", "-f", "-"), 0);
	assert_slice(nh_buf_slice(&out), "direct");
	assert_int_equal(RUN("firmware", "download", "u2", "-f", "x.fw"), 1);
	assert_slice(nh_buf_slice(&err), "Error: api: 404: gone\n");
	assert_int_equal(access("x.fw", F_OK), -1);
	stop();
	int status = 0;
	nh_buf_clear(&got);
	struct nh_process p = {.argv = (const char *const[]){"ls", "-A", NULL}, .cwd = dir};
	assert_int_equal(nh_process_run(&p, &status, &got, NULL, NULL), NH_OK);
	assert_slice(nh_buf_slice(&got), ".nh\nu1.fw\n"); /* no temporary file is left */
}

static void borrowed_keys(void **state)
{
	static const struct exchange script[] = {
		{"POST /api/orgs/acme/keys", "{\"name\":\"old\",\"key\":\"", 201, "{\"data\":{\"name\":\"old\",\"key\":\"x\"}}"},
		{"POST /api/orgs/acme/products/Thermo%20Widget/firmwares", "filename=\"widget-1.1.0.fw\"", 201, "{\"data\":{\"uuid\":\"u1\",\"version\":\"1.1.0\"}}"},
		{"PUT /api/orgs/acme/products/Thermo%20Widget/deployments/from-env", NULL, 404, "{\"errors\":{\"detail\":\"none\"}}"},
	};
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	static char key[100];
	static const char *const from_env[] = {"NERVES_HUB_PRIVATE_KEY", key, "NERVES_CLOUD_DEPLOYMENT_NAME", "from-env", NULL};
	start(script, NH_ARRAY_LEN(script));
	set_scope();
	assert_int_equal(nh_file_read(vector("keys/key1.priv"), 200, &text, NULL), NH_OK);
	snprintf(key, sizeof key, "%.*s", NH_ARG(nh_slice_trim(nh_buf_slice(&text))));
	char *pub = strdup(vector("keys/key1.pub")), *other = strdup(vector("keys/key2.pub"));
	assert_int_equal(RUN("key", "import", "old", other, vector("keys/key1.priv")), 1);
	assert_has(&err, " are not the two halves of one key");
	assert_int_equal(RUN("key", "import", "old", pub, vector("keys/key1.priv")), 0);
	assert_has(&out, "Imported signing key old in acme\n");
	free(pub);
	free(other);
	environment = from_env;
	assert_int_equal(RUN("firmware", "upload", vector("widget-1.1.0.fw"), "--product", "Thermo Widget"), 1);
	assert_has(&err, "Signing widget-1.1.0.fw with key from NERVES_HUB_PRIVATE_KEY\n");
	assert_has(&err, "Error: firmware u1 uploaded, but updating deployment group \"from-env\" failed: api: 404: none\n");
	stop();
}

/* A Mix project names organization and product where nothing else does. */
static void mix_project(void **state)
{
	static const struct exchange script[] = {{"GET /api/orgs/mixed/products/gadget/firmwares", NULL, 200, "{\"data\":[]}"}};
	static const char mix[] = "#!/bin/sh\ncase $2 in *:org*) echo compiling; echo mixed; echo;; *:name*) echo;; *:app*) echo gadget;; esac\n";
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, settings = NH_BUF_INIT;
	start(script, 1);
	nh_buf_printf(&settings, "{\"uri\":\"%s\",\"token\":\"t\"}", uri());
	assert_int_equal(nh_dir_make(".nh", 0700, NULL), NH_OK);
	assert_int_equal(nh_file_write_atomic(".nh/settings.json", nh_buf_slice(&settings), 0600, NULL), NH_OK);
	assert_int_equal(nh_file_write_atomic("mix.exs", NH_LIT("x"), 0644, NULL), NH_OK);
	assert_int_equal(nh_file_write_atomic("mix", nh_slice_str(mix), 0755, NULL), NH_OK);
	char *before = strdup(getenv("PATH"));
	nh_buf_printf(&path, "%s:%s", dir, before);
	setenv("PATH", nh_buf_cstr(&path), 1);
	int status = RUN("firmware", "list");
	setenv("PATH", before, 1);
	free(before);
	assert_int_equal(status, 0);
	assert_slice(nh_buf_slice(&out), "No firmware found in mixed/gadget.\n");
	assert_int_equal(RUN("firmware", "upload", "--skip-signing", "--org", "a", "--product", "b"), 1);
	assert_has(&err, "MIX_TARGET is not set");
	stop();
}

/* The PEM of a base64 member of the last request's JSON body. */
static struct nh_cert *sent_cert(const char *member)
{
	nh_slice request = nh_buf_slice(&server.last);
	NH_AUTO_JSON json_t *body = NULL;
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	struct nh_cert *cert = NULL;
	ptrdiff_t at = nh_slice_find(request, NH_LIT("\r\n\r\n"));
	assert_int_equal(nh_json_parse(nh_slice_skip(request, (size_t)at + 4), 100000, &body, NULL), NH_OK);
	assert_int_equal(nh_b64_decode(nh_json_text(body, member), NH_B64_STD, &pem), NH_OK);
	assert_int_equal(nh_cert_parse_pem(nh_buf_slice(&pem), &cert, NULL), NH_OK);
	return cert;
}

static void authorities(void **state)
{
	static const struct exchange script[] = {
		{"GET /api/orgs/acme/ca_certificates/verification_token", NULL, 200, "{\"data\":{\"verification_token\":\"tok-1\"}}"},
		{"POST /api/orgs/acme/ca_certificates", "\"description\":\"line 1\"", 201, "{\"data\":{\"serial\":\"1\"}}"},
	};
	static const struct exchange more[] = {
		{"POST /api/orgs/acme/products/widget/devices/d-1/certificates", NULL, 201, "{\"data\":{\"serial\":\"1\"}}"},
	};
	start(script, NH_ARRAY_LEN(script));
	set_scope();
	assert_int_equal(RUN("ca", "generate", "--name", "Factory 1", "--upload", "--description", "line 1"), 0);
	assert_has(&out, "Generated CA Factory 1 for acme\n");
	assert_has(&out, "Registered CA certificate ");
	stop();
	NH_AUTO_CERT struct nh_cert *ca = sent_cert("cert");
	NH_AUTO_CERT struct nh_cert *proof = sent_cert("verification_cert");
	assert_slice(ca->common_name, "Factory 1");
	assert_int_equal(nh_cert_signed_by(proof, ca, NULL), NH_OK);
	assert_int_equal(proof->san_count, 1);
	assert_slice(proof->sans[0].value, "urn:nerveshub:verify:tok-1");
	assert_false(proof->san_critical);
	/* its name is the stamp printed */
	nh_slice rest, name;
	ptrdiff_t at = nh_slice_find(nh_buf_slice(&out), NH_LIT("Name:         "));
	nh_slice_cut(nh_slice_skip(nh_buf_slice(&out), (size_t)at + 14), '\n', &name, &rest);
	char stamp[64];
	snprintf(stamp, sizeof stamp, "%.*s", NH_ARG(name));
	start(more, 1);
	set_scope();
	assert_int_equal(RUN("device", "certificates", "generate", "d-1", "--ca", stamp, "--upload", "--valid-for", "2y"), 0);
	assert_has(&out, "Uploaded certificate ");
	stop();
	NH_AUTO_CERT struct nh_cert *device = sent_cert("cert");
	assert_slice(device->common_name, "d-1");
	assert_slice(device->organization, "acme");
	assert_int_equal(nh_cert_signed_by(device, ca, NULL), NH_OK);
	assert_int_equal(device->ski.len, 0);
	assert_true(nh_slice_eq(device->aki, ca->ski));
	/* twice in one minute would overwrite: refused; an unknown CA is named */
	assert_int_equal(RUN("device", "certificates", "generate", "d-2", "--ca", "nope"), 1);
	assert_has(&err, "Error: no CA named nope");
	assert_int_equal(RUN("device", "certificates", "generate", "d-3"), 0);
	assert_has(&out, "Certificate request:");
	assert_int_equal(RUN("device", "certificates", "generate", "d-4", "--self-signed"), 0);
	assert_has(&out, "Nothing was uploaded.");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(parsing, clean),	   cmocka_unit_test_setup(configuration, clean),	  cmocka_unit_test_setup(precedence, clean),
		cmocka_unit_test_setup(signing_in, clean), cmocka_unit_test_setup(lists_and_objects, clean), cmocka_unit_test_setup(refused_locally, clean),
		cmocka_unit_test_setup(all_pages, clean), cmocka_unit_test_setup(completion, clean), cmocka_unit_test_setup(profiles, clean), cmocka_unit_test_setup(migration, clean),
		cmocka_unit_test_setup(borrowed_keys, clean),	cmocka_unit_test_setup(mix_project, clean), cmocka_unit_test_setup(keys_and_firmware, clean), cmocka_unit_test_setup(uploaded_signature, clean), cmocka_unit_test_setup(downloading, clean),
		cmocka_unit_test_setup_teardown(authorities, clean, clean),
	};
	return cmocka_run_group_tests(tests, setup_dir, remove_dir);
}

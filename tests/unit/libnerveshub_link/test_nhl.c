/* libnerveshub-link's surface: what nhl_new refuses and how it says so, handlers of other versions, and a life without a server, turned by this program alone. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "nerveshub-link.h"

static int open_nothing(void *ctx, const struct nhl_offer *offer, struct nhl_error *why) { return NHL_FAILED; }
static int write_nothing(void *ctx, const void *bytes, size_t len, struct nhl_error *why) { return NHL_FAILED; }
static int finish_nothing(void *ctx, struct nhl_error *why) { return NHL_FAILED; }
static void abort_nothing(void *ctx) { }

static char secret_file[] = "/tmp/test-nhl-XXXXXX";

static int setup(void **state)
{
	int fd = mkstemp(secret_file);
	return fd >= 0 && write(fd, "s3cret\n", 7) == 7 && close(fd) == 0 ? 0 : -1;
}

static int teardown(void **state) { return unlink(secret_file); }

/* A device with a shared secret, whose firmware the program knows. Nobody listens on port 9 of this machine. */
static struct nhl_options *good_options(void)
{
	static const char *const pairs[][2] = {{"nerves_fw_uuid", "00000000-0000-4000-8000-000000000001"}, {"nerves_fw_product", "p"}, {"nerves_fw_version", "1.0.0"},
					       {"nerves_fw_platform", "x"}, {"nerves_fw_architecture", "y"}, {"nerves_fw_version", "1.0.1"}};
	struct nhl_options *o = nhl_options_new();
	nhl_options_set(o, "server", "ws://127.0.0.1:9");
	nhl_options_set(o, "secret-key", "nhp_abc");
	nhl_options_set(o, "secret-file", secret_file);
	nhl_options_set(o, "identifier", "d-1");
	for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
		nhl_options_firmware(o, pairs[i][0], pairs[i][1]);
	return o;
}

static void refused(struct nhl_options *o, const char *part)
{
	struct nhl_error error = {{0}};
	struct nhl *n = (struct nhl *)o;
	int rc = nhl_new(o, &n, &error);
	if (rc != NHL_FAILED || n || !strstr(error.text, part))
		fail_msg("'%s' instead of '%s'", error.text, part);
	assert_int_equal(nhl_new(o, &n, NULL), NHL_FAILED);
	nhl_options_free(o);
}

static void test_refused(void **state)
{
	static const struct {
		const char *name, *value, *part;
	} options[] = {
		{"servre", "x", "did you mean '--server'"}, {"heartbeat", "soon", "needs a duration"}, {"cert", "/none", "/none"}, {"request-keys", "yes", "takes no value"},
		{"public-key", "AAAA", "--public-key"},     {"config", "/none", "/none"},              {"server", NULL, ""},  {"secret-file", "/none", "/none"},
	};
	for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
		struct nhl_options *o = good_options();
		nhl_options_set(o, options[i].name, options[i].value);
		refused(o, options[i].part);
	}
	refused(nhl_options_new(), "nhl_options_firmware");
	struct nhl_options *o = good_options();
	nhl_options_firmware(o, "nerves_fw_platform", "");
	refused(o, "nerves_fw_platform");
}

static void test_handlers(void **state)
{
	static const struct nhl_handlers whole = {.size = sizeof whole, .install_open = open_nothing, .install_write = write_nothing, .install_finish = finish_nothing, .install_abort = abort_nothing};
	for (int missing = 0; missing < 4; missing++) {
		struct nhl_handlers h = whole;
		h.install_open = missing == 0 ? NULL : h.install_open;
		h.install_write = missing == 1 ? NULL : h.install_write;
		h.install_finish = missing == 2 ? NULL : h.install_finish;
		h.install_abort = missing == 3 ? NULL : h.install_abort;
		struct nhl_options *o = good_options();
		nhl_options_handlers(o, &h);
		refused(o, "install_abort");
	}
	/* A program made with a later header: fine as long as it sets nothing that is not known here; one made with an earlier: what it does not have is not set. */
	struct {
		struct nhl_handlers known;
		void (*later)(void *ctx);
	} next = {.known = whole, .later = abort_nothing};
	next.known.size = sizeof next;
	struct nhl_options *o = good_options();
	nhl_options_handlers(o, &next.known);
	refused(o, "does not know");
	next.later = NULL;
	o = good_options();
	nhl_options_handlers(o, &next.known);
	struct nhl *n = NULL;
	assert_int_equal(nhl_new(o, &n, NULL), NHL_OK);
	nhl_free(n);
	struct nhl_handlers earlier = {.size = offsetof(struct nhl_handlers, install_write), .install_open = open_nothing, .install_write = write_nothing};
	nhl_options_handlers(o, &earlier);
	refused(o, "install_abort");
}

struct seen {
	struct nhl *nhl;
	unsigned connecting, disconnected, others;
	bool close_inside;
	char last[64];
};

static void on_event(void *ctx, const struct nhl_event *e)
{
	struct seen *s = ctx;
	assert_non_null(e->text);
	assert_non_null(e->uuid);
	s->connecting += e->kind == NHL_CONNECTING;
	s->disconnected += e->kind == NHL_DISCONNECTED;
	s->others += e->kind != NHL_CONNECTING && e->kind != NHL_DISCONNECTED;
	snprintf(s->last, sizeof s->last, "%s", e->name);
	if (s->close_inside && e->kind == NHL_CONNECTING)
		nhl_close(s->nhl);
}

static void turn_until(struct seen *s, const unsigned *count)
{
	bool open = true;
	while (open && !(count && *count)) {
		struct pollfd fd = {.fd = nhl_fd(s->nhl), .events = POLLIN};
		int timeout = nhl_timeout_ms(s->nhl);
		assert_in_range(timeout + 1, 0, 61000);
		poll(&fd, 1, timeout);
		open = nhl_process(s->nhl);
	}
	assert_true(open || !count);
}

static void open_device(struct seen *s)
{
	struct nhl_error error = {{0}};
	struct nhl_options *o = good_options();
	nhl_options_handlers(o, &(struct nhl_handlers){.size = sizeof(struct nhl_handlers), .ctx = s, .event = on_event});
	if (nhl_new(o, &s->nhl, &error) != NHL_OK)
		fail_msg("%s", error.text);
	nhl_options_free(o); /* nothing refers to them any more */
}

static void test_life(void **state)
{
	struct seen s = {0};
	open_device(&s);
	assert_false(nhl_updating(s.nhl));
	assert_int_equal(s.connecting, 0); /* nothing happens outside of process */
	turn_until(&s, &s.disconnected);
	assert_int_equal(s.connecting, 1);
	assert_string_equal(s.last, "disconnected");
	nhl_close(s.nhl);
	nhl_close(s.nhl);
	turn_until(&s, NULL);
	assert_false(nhl_process(s.nhl));
	assert_int_equal(nhl_timeout_ms(s.nhl), 0);
	assert_int_equal(s.connecting + s.disconnected + s.others, 2);
	nhl_free(s.nhl);
}

static void test_closed_by_a_callback(void **state)
{
	struct seen s = {.close_inside = true};
	open_device(&s);
	turn_until(&s, NULL);
	assert_int_equal(s.connecting, 1);
	assert_int_equal(s.disconnected, 0);
	nhl_free(s.nhl);
	nhl_free(NULL);
	nhl_options_free(NULL);
	assert_string_equal(nhl_version(), NH_VERSION);
}

static void test_freed_at_once(void **state)
{
	struct seen s = {0};
	open_device(&s);
	nhl_free(s.nhl);
	assert_int_equal(s.connecting + s.disconnected + s.others, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused), cmocka_unit_test(test_handlers), cmocka_unit_test(test_life), cmocka_unit_test(test_closed_by_a_callback), cmocka_unit_test(test_freed_at_once),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

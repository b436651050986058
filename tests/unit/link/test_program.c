/* nerveshub-link as people run it: options, configuration file, and one clear line for whatever is wrong. */
#include "test_base.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/process.h"

#define ARGS_MAX 12
#define KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static char dir[] = "/tmp/nh-link-program-XXXXXX";

static void put_file(const char *name, const char *text)
{
	char path[200];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	assert_int_equal(nh_file_write_atomic(path, nh_slice_str(text), 0600, NULL), NH_OK);
}

/* Words of the command line; %D is the test's folder. */
static int run(const char *const *words, struct nh_buf *out, struct nh_buf *errout)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	const char *argv[ARGS_MAX + 2] = {getenv("NH_PROGRAM")};
	for (size_t i = 0; i < ARGS_MAX && words[i]; i++) {
		const char *at = strstr(words[i], "%D");
		argv[i + 1] = at ? nh_arena_printf(&arena, "%.*s%s%s", (int)(at - words[i]), words[i], dir, at + 2) : words[i];
	}
	struct nh_process p = {.argv = argv, .timeout_ms = 60000};
	int status = -1;
	struct nh_err err = NH_ERR_INIT;
	if (nh_process_run(&p, &status, out, errout, &err) != NH_OK)
		fail_msg("%s", err.msg);
	return status;
}

static void commands(void **state)
{
	static const struct {
		const char *words[ARGS_MAX];
		int status;
		const char *says; /* on stdout for status 0, else the start of the one line on stderr */
	} rows[] = {
		{{"--help"}, 0, "usage: nerveshub-link"},
		{{"--version"}, 0, "nerveshub-link "},
		{{"-c", "%D/good.conf", "--check"}, 0, "all right"},
		{{"-c", "%D/good.conf", "--check", "--public-key", "%D/key.pub", "--fwup-arg", "--quiet"}, 0, "all right"},
		{{NULL}, 1, "--device says"},
		{{"--device", "/x"}, 1, "no server is configured"},
		{{"--device", "/x", "--server", "h"}, 1, "no identity is configured"},
		{{"--device", "/x", "--server", "h:x", "--secret-key", "nhp_x"}, 1, "server 'h:x'"},
		{{"--device", "/x", "--server", "h", "--secret-key", "nhp_x"}, 1, "a shared secret needs"},
		{{"--device", "/x", "--server", "h", "--cert", "%D/none"}, 1, "--cert: "},
		{{"--device", "/x", "--server", "h", "--cert", "%D/key.pub", "--key", "%D/key.pub"}, 1, "TLS certificate and key"},
		{{"--device", "/x", "--server", "h", "--identity", "tpm:0"}, 1, "--identity is nerveskey://"},
		{{"--device", "/x", "--server", "h", "--identity", "nerveskey://i2c-1", "--certificate-pair", "second"}, 1, "--certificate-pair is primary or aux"},
		{{"--device", "/x", "--server", "h", "--identity", "pkcs11:token=x", "--certificate-pair", "aux"}, 1, "--certificate-pair needs a NervesKey"},
		{{"--device", "/x", "--server", "h", "--certificate-pair", "aux"}, 1, "--certificate-pair needs a NervesKey"},
		{{"--device", "/x", "--server", "h", "--identity", "nerveskey://i2c-1", "--secret-key", "nhp_x"}, 1, "more than one of certificate, shared secret, NervesKey and PKCS#11 token"},
		{{"--device", "/x", "--server", "ws://h", "--identity", "nerveskey://i2c-1"}, 1, "a certificate needs TLS"},
		{{"--device", "/x", "--installer", "rpm"}, 1, "--installer is auto, fwup, builtin, rauc or swupdate, not 'rpm'"},
		{{"--device", "/x", "--installer", "builtin", "--installer", "rauc"}, 1, "rauc and swupdate install from a file: give --fetch cached"},
		{{"--device", "/x", "--fetch", "later"}, 1, "--fetch is streaming, cached or parts, not 'later'"},
		{{"--device", "/x", "--fetch", "parts"}, 1, "--fetch parts needs a --state-dir or a --cache-dir"},
		{{"--device", "/x", "--update-policy", "window 25:00-3:00"}, 1, "--update-policy: a window is HH:MM-HH:MM[,day...]"},
		{{"--device", "/x", "--update-policy", "now", "--update-command", "true"}, 1, "either --update-policy decides or --update-command"},
		{{"-c", "%D/good.conf", "--check", "--fetch", "parts", "--state-dir", "%D/state", "--installer", "rauc", "--update-policy", "window 23:00-04:00,sat"}, 0, "all right"},
		{{"--device", "/x", "--installer", "fwup", "--fwup", "%D/none"}, 1, "cannot run '"},
		{{"--device", "/x", "--public-key", "short"}, 1, "--public-key is neither"},
		{{"--srever", "h"}, 1, "unknown option '--srever'; did you mean '--server'?"},
		{{"--heartbeat", "1ms"}, 1, "--heartbeat"},
		{{"--log-level", "loud"}, 1, "--log-level is debug"},
		{{"-c", "%D/extras.conf", "--check"}, 0, "all right"},
		{{"--device", "/x", "--wire-format", "xml"}, 1, "--wire-format is json or msgpack"},
		{{"--device", "/x", "--geo", "52.1"}, 1, "--geo is LATITUDE,LONGITUDE"},
		{{"--device", "/x", "--geo", "52.1,4.3,10,1"}, 1, "--geo is LATITUDE,LONGITUDE"},
		{{"--device", "/x", "--geo", "91,4.3"}, 1, "--geo is LATITUDE,LONGITUDE"},
		{{"--device", "/x", "--geo", "north,4.3"}, 1, "--geo is LATITUDE,LONGITUDE"},
		{{"--device", "/x", "--geo", "1,2", "--geo-command", "true"}, 1, "--geo or --geo-command, not both"},
		{{"--device", "/x", "--health", "--health-metadata", "x"}, 1, "--health-metadata is NAME=TEXT"},
		{{"--device", "/x", "--health-plugins", "/x"}, 1, "--health-plugins needs --health"},
		{{"--device", "/x", "--logging", "--logging-level", "loud"}, 1, "--logging-level is debug"},
		{{"--device", "/x", "--files-directory", "/x"}, 1, "--files-directory needs --console"},
		{{"--device", "/x", "--shell-user", "x"}, 1, "--shell-user needs --console or --local-shell"},
		{{"--device", "/x", "--archive-command", "x"}, 1, "--archive-command needs --archive-directory"},
		{{"--device", "/x", "--transport", "carrier"}, 1, "--transport is channel or poll, not 'carrier'"},
		{{"--device", "/x", "--no-proxy", "h"}, 1, "--no-proxy needs a --proxy"},
		{{"--device", "/x", "--reconnect-delay", "1s", "--reconnect-delay", "2h"}, 1, "--reconnect-delay is a time up to an hour, such as 500ms or 30s, not '2h'"},
		{{"-c", "%D/good.conf", "--check", "--transport", "poll"}, 1, "polling needs a certificate"},
		{{"-c", "%D/good.conf", "--check", "--proxy", "socks5://u:hunter2@h"}, 1, "proxy: http://[USER:PASSWORD@]HOST:PORT is expected"},
		{{"-c", "%D/good.conf", "--check", "--proxy", "http://u:p@h", "--no-proxy", "a,b", "--reconnect-delay", "1s"}, 0, "all right"},
		{{"stray"}, 1, "unexpected argument 'stray'"},
		{{"-c", "%D/none"}, 1, "cannot read "},
		{{"-c", "%D/unknown.conf"}, 1, "%D/unknown.conf line 2: unknown name 'sever'"},
		{{"-c", "%D/flag.conf"}, 1, "%D/flag.conf line 1: request-keys is true or false"},
		{{"-c", "%D/line.conf"}, 1, "%D/line.conf line 1: missing '='"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT, errout = NH_BUF_INIT;
		char expected[300];
		const char *says = rows[i].says;
		int status = run(rows[i].words, &out, &errout);
		if (strncmp(says, "%D", 2) == 0)
			says = (snprintf(expected, sizeof expected, "%s%s", dir, says + 2), expected);
		bool good = status == rows[i].status;
		if (status == 0)
			good = good && strstr(nh_buf_cstr(&out), says);
		else
			good = good && strncmp(nh_buf_cstr(&errout), "nerveshub-link: ", 16) == 0 && strncmp(nh_buf_cstr(&errout) + 16, says, strlen(says)) == 0 &&
			       nh_slice_chr(nh_buf_slice(&errout), '\n') == (ptrdiff_t)errout.len - 1;
		if (!good)
			fail_msg("row %zu: status %d, '%s' '%s'", i, status, nh_buf_cstr(&out), nh_buf_cstr(&errout));
	}
}

static int set_up(void **state)
{
	assert_non_null(mkdtemp(dir));
	put_file("secret", "s3cret\n");
	put_file("key.pub", KEY "\n");
	char text[1000];
	snprintf(text, sizeof text,
		 "# a device\nserver = localhost:1\n\nca = /etc/ssl/certs/ca-certificates.crt\ndevice=%s/disk\nsecret-key = nhp_x\nidentifier = dev 1\nsecret-file = %s/secret\n"
		 "request-keys = false\npublic-key = " KEY "\nenv-size = 8k\n",
		 dir, dir);
	/* Where no list of roots is installed a plain connection needs none. */
	if (access("/etc/ssl/certs/ca-certificates.crt", R_OK) != 0)
		snprintf(text, sizeof text, "server = ws://localhost:1\ndevice=%s/disk\nsecret-key = nhp_x\nidentifier = i\nsecret-file = %s/secret\n", dir, dir);
	put_file("good.conf", text);
	snprintf(text + strlen(text), sizeof text - strlen(text),
		 "health = yes\nhealth-metadata = site=Lab 7\nhealth-metadata = rack=2\ngeo = -33.9,151,20\nlogging = yes\nlogging-socket = %s/socket\nconsole = yes\nshell-user = root\nscripts = yes\n",
		 dir);
	put_file("extras.conf", text);
	put_file("unknown.conf", "server = h\nsever = h\n");
	put_file("flag.conf", "request-keys = maybe\n");
	put_file("line.conf", "request-keys\n");
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"secret", "key.pub", "good.conf", "extras.conf", "unknown.conf", "flag.conf", "line.conf"};
	char path[200];
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	snprintf(path, sizeof path, "%s/state", dir);
	rmdir(path);
	rmdir(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(commands)};
	return cmocka_run_group_tests_name("program", tests, set_up, tear_down);
}

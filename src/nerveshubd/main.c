/*
 * nerveshubd: reads settings, opens the server, waits for SIGTERM or SIGINT, closes it in order; a second signal ends it at once. One line on standard error for each thing that is
 * wrong.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "delta_worker.h"
#include "hubd.h"

static int fail(const struct nh_err *err)
{
	fprintf(stderr, "nerveshubd: %s\n", err->msg);
	return 1;
}

static void print(void (*put)(struct nh_buf *out, const struct settings *s), const struct settings *s)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	put(&text, s);
	fwrite(text.ptr, 1, text.len, stdout);
}

static void put_help(struct nh_buf *out, const struct settings *s) { settings_help(out); }

static void stop(void *loop) { nh_loop_stop(loop); }

/* Where everything listens: for people on a terminal, for programs in the ready file. */
static nh_rc announce(const struct hubd *h, struct nh_err *err)
{
	const struct nh_listener *l = h->listeners;
	NH_LOG(NH_LOG_INFO, "server.ready", NH_I("device_port", l[LISTENER_DEVICE].port), NH_I("web_port", l[LISTENER_WEB].port),
	       NH_I("metrics_port", l[LISTENER_METRICS].port), NH_STR("data", h->settings->data_dir));
	if (isatty(STDOUT_FILENO)) {
		printf("User API %s, devices on port %u, data in %s\n", nh_buf_cstr(&h->web_url), l[LISTENER_DEVICE].port, h->settings->data_dir);
		if (h->first_start)
			printf("Next: nh config set uri %s && nh user auth --email admin@localhost\n", nh_buf_cstr(&h->web_url));
		fflush(stdout);
	}
	if (!*h->settings->ready_file)
		return NH_OK;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_buf_printf(&text, "device=%u\nweb=%u\nmetrics=%u\n", l[LISTENER_DEVICE].port, l[LISTENER_WEB].port, l[LISTENER_METRICS].port);
	if (h->authority)
		nh_buf_printf(&text, "api=%u\n", l[LISTENER_API].port);
	return nh_file_write_atomic(h->settings->ready_file, nh_buf_slice(&text), 0644, err);
}

static nh_rc serve(const struct settings *s, struct nh_err *err)
{
	static const int numbers[] = {SIGTERM, SIGINT};
	struct nh_signal *signals[2] = {0};
	struct nh_loop *loop = NULL;
	struct hubd hubd;
	NH_TRY(nh_loop_new(&(struct nh_loop_config){.name = "main"}, &loop, err));
	nh_rc rc = NH_OK;
	for (size_t i = 0; rc == NH_OK && i < NH_ARRAY_LEN(numbers); i++)
		rc = nh_signal_open(loop, numbers[i], stop, loop, &signals[i], err);
	if (rc == NH_OK)
		rc = hubd_open(s, &hubd, err);
	bool opened = rc == NH_OK;
	if (opened) {
		rc = announce(&hubd, err);
		if (rc == NH_OK)
			nh_loop_run(loop);
	}
	/*
	 * From here a second signal does what it does by default: whoever cannot wait for the drain loses nothing that was answered. Said only then: one that
	 * follows what the log says must not be lost.
	 */
	for (size_t i = 0; i < NH_ARRAY_LEN(signals); i++)
		nh_signal_close(signals[i]);
	if (opened) {
		NH_LOG(NH_LOG_INFO, "server.stopping");
		hubd_close(&hubd);
	}
	nh_loop_free(loop);
	return rc;
}

int main(int argc, char **argv)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct settings s;
	nh_log_level level;
	nh_log_format format;
	signal(SIGPIPE, SIG_IGN);
	if (argc > 1 && strcmp(argv[1], DELTA_WORKER_WORD) == 0)
		return delta_worker(argc - 1, argv + 1);
	if (settings_read(&s, argc, argv, &arena, &err) != NH_OK)
		return fail(&err);
	if (s.help) {
		print(put_help, &s);
		return 0;
	}
	if (s.version) {
		puts("nerveshubd " NH_VERSION);
		return 0;
	}
	if (!nh_log_level_parse(nh_slice_str(s.log_level), &level)) {
		NH_IGNORE(NH_FAIL(&err, NH_EINVAL, "LOG_LEVEL is '%s'; expected debug, info, warn or error", s.log_level)); /* printed by fail */
		return fail(&err);
	}
	if (!nh_log_format_parse(nh_slice_str(s.log_format), &format)) {
		NH_IGNORE(NH_FAIL(&err, NH_EINVAL, "NERVESHUB_LOG_FORMAT is '%s'; expected logfmt or json", s.log_format)); /* printed by fail */
		return fail(&err);
	}
	nh_log_set_level(level);
	nh_log_set_format(format);
	if (s.check_config) {
		print(settings_explain, &s);
		return 0;
	}
	return serve(&s, &err) == NH_OK ? 0 : fail(&err);
}

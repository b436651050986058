/*
 * nerveshub-link: the device agent. Options, a machine, a link, and a log line for everything that happens; runs until a signal or until the machine reboots.
 *
 * Exit status: 0 after a signal or when a reboot was started, 1 where options or files are not right.
 */
#include <malloc.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "link/link.h"
#include "loop/pool.h"
#include "notify.h"
#include "options.h"

extern char **environ;

struct agent {
	struct settings settings;
	struct nh_machine_config machine_config;
	struct nh_machine *machine;
	struct nh_loop *loop;
	struct nh_pool *pool;
	struct nh_link *link;
	struct nh_signal *signals[2];
	struct notifier notifier;
	bool closing;
};

/* ---- what happens */

static void on_event(void *ctx, struct nh_link *link, const struct nh_link_event *e)
{
	static const nh_log_level levels[NH_LINK_EVENT_KINDS] = {
		[NH_LINK_CONNECTING] = NH_LOG_DEBUG,        [NH_LINK_CONNECTED] = NH_LOG_DEBUG,
		[NH_LINK_JOINED] = NH_LOG_INFO,             [NH_LINK_DISCONNECTED] = NH_LOG_WARN,
		[NH_LINK_UPDATE_OFFERED] = NH_LOG_INFO,     [NH_LINK_UPDATE_IGNORED] = NH_LOG_INFO,
		[NH_LINK_UPDATE_RESCHEDULED] = NH_LOG_INFO, [NH_LINK_UPDATE_STARTED] = NH_LOG_INFO,
		[NH_LINK_UPDATE_PROGRESS] = NH_LOG_INFO,    [NH_LINK_UPDATE_INSTALLED] = NH_LOG_INFO,
		[NH_LINK_UPDATE_FAILED] = NH_LOG_ERROR,     [NH_LINK_VALIDATED] = NH_LOG_INFO,
		[NH_LINK_VALIDATION_FAILED] = NH_LOG_ERROR, [NH_LINK_REBOOT] = NH_LOG_INFO,
		[NH_LINK_IDENTIFY] = NH_LOG_INFO,           [NH_LINK_KEYS] = NH_LOG_INFO,
		[NH_LINK_EXTENSION] = NH_LOG_INFO,          [NH_LINK_CONSOLE] = NH_LOG_INFO,
		[NH_LINK_SCRIPT] = NH_LOG_INFO,             [NH_LINK_FILE] = NH_LOG_INFO,
		[NH_LINK_ARCHIVE] = NH_LOG_INFO,            [NH_LINK_ERROR] = NH_LOG_WARN,
		[NH_LINK_REVERTED] = NH_LOG_WARN,
	};
	struct nh_log_field fields[8];
	size_t n = 0;
	if (e->text.len)
		fields[n++] = NH_S("text", e->text);
	if (e->version.len)
		fields[n++] = NH_S("version", e->version);
	if (e->uuid.len)
		fields[n++] = NH_S("uuid", e->uuid);
	if (e->kind == NH_LINK_UPDATE_PROGRESS || e->kind == NH_LINK_KEYS)
		fields[n++] = NH_I(e->kind == NH_LINK_KEYS ? "count" : "percent", e->percent);
	if (e->status)
		fields[n++] = NH_I("status", e->status);
	if (e->delay_ms)
		fields[n++] = NH_I("delay_ms", e->delay_ms);
	fields[n] = (struct nh_log_field){0};
	if (nh_log_enabled(levels[e->kind]))
		nh_log_write(levels[e->kind], nh_link_event_name(e->kind), fields);
	notify_event(&((struct agent *)ctx)->notifier, e);
	/* The handshake's list of roots was megabytes: give them back, now that the agent will be idle for long. */
	if (e->kind == NH_LINK_CONNECTED)
		malloc_trim(0);
}

/* Own lines go to the server, too. What they begin with, time and level, travels beside the text. */
static void on_log_line(void *ctx, nh_log_level level, nh_slice line)
{
	nh_slice word, rest;
	ssize_t n = write(STDERR_FILENO, line.ptr, line.len);
	nh_slice_cut(line, ' ', &word, &rest);
	nh_slice_cut(rest, ' ', &word, &rest);
	if (n > 0 || rest.len > 0)
		nh_link_log(ctx, level, "agent", nh_slice_trim(rest));
}

/* What people elsewhere may do with this device stands in the log, once. */
static void tell_extras(struct agent *a, bool polls)
{
	NH_AUTO_BUF struct nh_buf on = NH_BUF_INIT;
	extras_summary(&a->settings.extras, &on);
	if (on.len > 0)
		NH_LOG(NH_LOG_INFO, "switched.on", NH_S("text", nh_buf_slice(&on)));
	if (on.len > 0 && polls)
		NH_LOG(NH_LOG_WARN, "switched.on.in.vain", NH_STR("text", "questions carry none of it: it needs --transport channel"));
	if (a->settings.extras.logging)
		nh_log_set_sink(on_log_line, a->link);
}

/* ---- end */

static void on_closed(void *ctx) { nh_loop_stop(((struct agent *)ctx)->loop); }

static void begin_close(void *arg)
{
	struct agent *a = arg;
	if (a->closing)
		return;
	a->closing = true;
	notify_stopping(&a->notifier);
	nh_log_set_sink(NULL, NULL);
	for (size_t i = 0; i < NH_ARRAY_LEN(a->signals); i++)
		nh_signal_close(a->signals[i]);
	nh_link_close(a->link, on_closed, a);
}

/* The machine goes down: start that, and let go of the disk. */
static void on_reboot(void *ctx, const char *why)
{
	struct agent *a = ctx;
	pid_t pid;
	int rc = posix_spawnp(&pid, a->settings.reboot_argv[0], NULL, NULL, (char *const *)(uintptr_t)a->settings.reboot_argv, environ);
	NH_LOG(rc == 0 ? NH_LOG_INFO : NH_LOG_ERROR, "rebooting", NH_STR("why", why), NH_STR("command", a->settings.reboot_argv[2]), NH_STR("result", rc == 0 ? "started" : strerror(rc)));
	begin_close(a);
}

/* ---- start */

static nh_rc start(struct agent *a, struct nh_err *err)
{
	struct nh_link_config config;
	static const int numbers[] = {SIGTERM, SIGINT};
	NH_TRY(notify_open(&a->notifier, err));
	NH_TRY(settings_load(&a->settings, err));
	NH_TRY(settings_machine(&a->settings, &a->machine_config, err));
	a->machine_config.reboot = on_reboot;
	a->machine_config.ctx = a;
	NH_TRY(nh_machine_new(&a->machine_config, &a->machine, err));
	if (a->settings.check)
		a->settings.extras.loaded.log_socket = NULL; /* it is the running agent's */
	settings_link(&a->settings, &config);
	config.platform = &nh_machine_platform;
	config.platform_ctx = a->machine;
	config.on_event = on_event;
	config.event_ctx = a;
	config.fwup_version = nh_machine_fwup_version(a->machine);
	NH_TRY(nh_link_config_check(&config, err));
	NH_TRY(nh_loop_new(NULL, &a->loop, err));
	NH_TRY(nh_pool_new(&(struct nh_pool_config){.threads = 1, .queue_max = 16}, &a->pool, err));
	NH_TRY(nh_link_open(a->loop, a->pool, &config, &a->link, err));
	settings_forget(&a->settings);
	if (a->settings.key_count == 0 && !a->settings.request_keys)
		NH_LOG(NH_LOG_WARN, "no.public.key", NH_STR("text", "updates will be refused: give --public-key"));
	if (!a->settings.check)
		tell_extras(a, config.transport == NH_LINK_POLL);
	for (size_t i = 0; i < NH_ARRAY_LEN(numbers); i++)
		NH_TRY(nh_signal_open(a->loop, numbers[i], begin_close, a, &a->signals[i], err));
	if (!a->settings.check)
		notify_ready(&a->notifier, a->loop);
	return NH_OK;
}

static void clean_up(struct agent *a)
{
	notify_close(&a->notifier);
	nh_pool_free(a->pool);
	nh_loop_free(a->loop);
	nh_machine_free(a->machine);
	settings_fini(&a->settings);
}

static int fail(struct agent *a, const struct nh_err *err)
{
	fprintf(stderr, "nerveshub-link: %s\n", err->msg);
	clean_up(a);
	return 1;
}

static int show(struct agent *a)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (a->settings.version)
		nh_buf_put_str(&text, "nerveshub-link " NH_VERSION "\n");
	else
		settings_help(&text);
	fputs(nh_buf_cstr(&text), stdout);
	clean_up(a);
	return 0;
}

int main(int argc, char **argv)
{
	struct agent a = {0};
	struct nh_err err = NH_ERR_INIT;
	nh_log_level level = NH_LOG_INFO;
	signal(SIGPIPE, SIG_IGN);
	if (settings_parse(&a.settings, argc, argv, &err) != NH_OK)
		return fail(&a, &err);
	if (a.settings.help || a.settings.version)
		return show(&a);
	if (a.settings.log_level && !nh_log_level_parse(nh_slice_str(a.settings.log_level), &level)) {
		NH_IGNORE(NH_FAIL(&err, NH_EINVAL, "--log-level is debug, info, warn or error, not '%s'", a.settings.log_level)); /* printed next */
		return fail(&a, &err);
	}
	nh_log_set_level(level);
	nh_rc rc = start(&a, &err);
	if (rc == NH_OK && !a.settings.check) {
		nh_loop_run(a.loop);
		clean_up(&a);
		return 0;
	}
	if (a.link) {
		begin_close(&a);
		nh_loop_run(a.loop);
	}
	if (rc != NH_OK)
		return fail(&a, &err);
	puts("nerveshub-link: options and files are all right");
	clean_up(&a);
	return 0;
}

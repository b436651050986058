/*
 * Everything beside updates: made where the owner switched something on, ended with the link. A link without any of it has no more than a NULL here.
 */
#include <stdlib.h>

#include "extras_int.h"

static const char *const *keep_argv(struct nh_link *l, const char *const *argv)
{
	size_t count = 0;
	while (argv && argv[count])
		count++;
	if (count == 0)
		return NULL;
	const char **kept = nh_arena_array(&l->arena, count + 1, sizeof *kept);
	for (size_t i = 0; i < count; i++)
		kept[i] = nh_arena_str(&l->arena, nh_slice_str(argv[i]));
	return kept;
}

static void copy(struct nh_link *l, struct nh_link_extensions *k)
{
	const char **texts[] = {&k->health_disk, &k->health_directory, &k->log_socket, &k->files_directory, &k->archive_directory};
	const char *const **commands[] = {&k->geo_argv, &k->identity_argv, &k->shell_argv, &k->script_argv, &k->archive_argv};
	const struct {
		uint64_t *field;
		uint64_t value;
	} defaults[] = {
		{&k->health_plugin_ms, 10000}, {&k->identity_interval_ms, 300000}, {&k->console_idle_ms, 300000}, {&k->linger_ms, 60000}, {&k->files_quota_bytes, (uint64_t)100 << 20},
	};
	if (!k->health_disk)
		k->health_disk = "/";
	for (size_t i = 0; i < NH_ARRAY_LEN(texts); i++)
		*texts[i] = *texts[i] ? nh_arena_str(&l->arena, nh_slice_str(*texts[i])) : NULL;
	for (size_t i = 0; i < NH_ARRAY_LEN(commands); i++)
		*commands[i] = keep_argv(l, *commands[i]);
	for (size_t i = 0; i < NH_ARRAY_LEN(defaults); i++)
		if (*defaults[i].field == 0)
			*defaults[i].field = defaults[i].value;
	struct nh_link_pair *pairs = NH_NEW_ARRAY(&l->arena, k->metadata_count, struct nh_link_pair);
	for (size_t i = 0; i < k->metadata_count; i++)
		pairs[i] = (struct nh_link_pair){nh_arena_copy(&l->arena, k->metadata[i].name), nh_arena_copy(&l->arena, k->metadata[i].value)};
	k->metadata = pairs;
}

static void on_programs_gone(void *ctx)
{
	struct nh_link *l = ctx;
	if (l->closing)
		link_close_step(l);
}

nh_rc extras_open(struct nh_link *l, const struct nh_link_extensions *config, struct nh_err *err)
{
	if (!config)
		return NH_OK;
	struct link_extras *x = nh_xcalloc(1, sizeof *x);
	l->extras = x;
	x->config = *config;
	copy(l, &x->config);
	x->programs = (struct programs){.loop = l->loop, .on_empty = on_programs_gone, .ctx = l};
	terminal_init(&x->console, l, LINK_CONSOLE, "up", console_ended);
	terminal_init(&x->shell, l, LINK_EXTENSIONS, "local_shell:shell_output", shell_ended);
	x->console_idle = nh_timer_new(l->loop, console_on_idle, l);
	x->identity_timer = nh_timer_new(l->loop, identity_on_timer, l);
	x->health.job = (struct link_job){.run = health_run, .done = health_done};
	x->health.timer = nh_timer_new(l->loop, health_on_timer, l);
	x->files.job = (struct link_job){.run = files_run, .done = files_done};
	x->files.last = &x->files.todo;
	nh_rc rc = logging_open(l, err);
	if (rc != NH_OK) {
		extras_close(l);
		extras_free(l);
	}
	return rc;
}

void extras_joined(struct nh_link *l)
{
	if (l->extras && l->extras->config.console)
		topic_start(l, LINK_CONSOLE);
}

void extras_close(struct nh_link *l)
{
	struct link_extras *x = l->extras;
	if (!x)
		return;
	terminal_close(&x->console);
	terminal_close(&x->shell);
	nh_timer_close(x->console_idle);
	nh_timer_close(x->identity_timer);
	health_close(x);
	logging_close(l);
	archive_close(x);
	programs_kill(&x->programs);
}

bool extras_busy(const struct nh_link *l) { return l->extras && (l->extras->programs.first || l->extras->log.waking); }

void extras_free(struct nh_link *l)
{
	struct link_extras *x = l->extras;
	if (!x)
		return;
	health_free(x);
	logging_free(x);
	files_free(x);
	archive_free(x);
	free(x->identities);
	free(x);
	l->extras = NULL;
}

void extras_get(struct nh_link *l, const json_t *payload)
{
	if (l->extras)
		extensions_begin(l);
}

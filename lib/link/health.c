/*
 * The health extension: a report when the server asks, and by the owner's interval. Facts come from a job on the pool; then all plug-ins run beside each other under their time limit, and
 * the report leaves when the last of them has ended. One that hangs, talks too much or fails costs a line in the log, and the report what it would have said. source: reference/device-protocol "12.2"
 */
#include <stdio.h>
#include <stdlib.h>

#include "extras_int.h"

#define PLUGIN_OUTPUT_MAX ((size_t)16 << 10)

struct health_plugin {
	struct nh_link *link;
	struct program *program;
	const char *name;
};

static void forget(struct health *h)
{
	for (size_t i = 0; i < h->plugin_count && h->started; i++)
		program_stop(h->started[i].program);
	free(h->started);
	h->started = NULL;
	h->plugin_count = h->running = 0;
	json_decref(h->facts);
	h->facts = NULL;
	nh_arena_fini(&h->arena);
	h->collecting = false;
}

static void add_metadata(const struct nh_link_extensions *k, json_t *metadata)
{
	for (size_t i = 0; i < k->metadata_count; i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		json_object_set_new(metadata, nh_arena_str(&arena, k->metadata[i].name), nh_json_new_text(k->metadata[i].value));
	}
}

static void send_report(struct nh_link *l)
{
	struct health *h = &l->extras->health;
	NH_AUTO_BUF struct nh_buf iso = NH_BUF_INIT;
	nh_time_put_iso_us(&iso, nh_clock_now(&l->clock));
	json_object_set_new(h->facts, "timestamp", json_string(nh_buf_cstr(&iso)));
	json_object_set_new(h->facts, "checks", json_object());
	add_metadata(&l->extras->config, json_object_get(h->facts, "metadata"));
	extensions_push(l, "health:report", json_pack("{s:O}", "value", h->facts));
	forget(h);
}

/* ---- plug-ins */

static void complain(struct nh_link *l, const char *name, const char *why)
{
	char text[700];
	snprintf(text, sizeof text, "plug-in %s: %s", name, why);
	link_event_text(l, NH_LINK_ERROR, text);
}

static void on_plugin_end(void *ctx, const struct program_end *end)
{
	struct health_plugin *p = ctx;
	struct nh_link *l = p->link;
	struct health *h = &l->extras->health;
	struct nh_err err = NH_ERR_INIT;
	p->program = NULL;
	h->running--;
	if (end->rc == NH_ETIMEOUT)
		complain(l, p->name, "took too long and was killed");
	else if (end->rc == NH_ETOOBIG)
		complain(l, p->name, "said too much and was killed");
	else if (end->status != 0)
		complain(l, p->name, "failed");
	else if (health_plugin_read(end->output, h->facts, &err) != NH_OK)
		complain(l, p->name, err.msg);
	if (h->collecting && h->running == 0 && !l->closing)
		send_report(l);
}

static void start_plugins(struct nh_link *l)
{
	struct link_extras *x = l->extras;
	struct health *h = &x->health;
	h->started = nh_xcalloc(h->plugin_count + 1, sizeof *h->started);
	for (size_t i = 0; i < h->plugin_count; i++) {
		struct health_plugin *p = &h->started[i];
		const char *argv[] = {h->plugins[i], NULL};
		struct program_config config = {.argv = argv, .timeout_ms = x->config.health_plugin_ms, .output_max = PLUGIN_OUTPUT_MAX, .on_end = on_plugin_end, .ctx = p};
		struct nh_err err = NH_ERR_INIT;
		*p = (struct health_plugin){.link = l, .name = h->plugins[i]};
		if (program_start(&x->programs, &config, &p->program, &err) == NH_OK)
			h->running++;
		else
			complain(l, p->name, err.msg);
		if (l->closing)
			return;
	}
}

/* ---- collecting */

void health_run(struct nh_link *l)
{
	struct health *h = &l->extras->health;
	const struct nh_link_extensions *k = &l->extras->config;
	l->job_err = NH_ERR_INIT;
	l->job_rc = NH_OK;
	health_facts("", k->health_disk, &h->cpu, json_object_get(h->facts, "metrics"), json_object_get(h->facts, "connectivity"));
	if (k->health_directory)
		l->job_rc = health_plugin_list(k->health_directory, &h->arena, &h->plugins, &h->plugin_count, &l->job_err);
}

void health_done(struct nh_link *l)
{
	struct health *h = &l->extras->health;
	if (l->job_rc != NH_OK)
		link_event_text(l, NH_LINK_ERROR, l->job_err.msg);
	if (l->closing)
		return;
	if (!extension_attached(l, LINK_EXT_HEALTH)) {
		forget(h);
		return;
	}
	start_plugins(l);
	if (h->running == 0 && !l->closing)
		send_report(l);
}

/* One report at a time: who asks meanwhile gets the one that is being made. */
static void collect(struct nh_link *l)
{
	struct health *h = &l->extras->health;
	if (h->collecting)
		return;
	h->collecting = true;
	h->facts = json_pack("{s:{}, s:{}, s:{}, s:{}}", "metadata", "alarms", "metrics", "connectivity");
	link_job_submit(l, &h->job);
}

void health_on_timer(void *arg) { collect(arg); }

void health_attached(struct nh_link *l)
{
	uint64_t interval_ms = l->extras->config.health_interval_ms;
	if (interval_ms)
		nh_timer_start(l->extras->health.timer, interval_ms, interval_ms);
}

/* A job that is with the pool ends by itself, and health_done sees that nobody wants the report. */
void health_detached(struct nh_link *l, bool lost)
{
	struct health *h = &l->extras->health;
	if (!l->closing)
		nh_timer_stop(h->timer);
	if (h->collecting && !link_job_busy(l, &h->job))
		forget(h);
}

void health_event(struct nh_link *l, nh_slice event, const json_t *payload)
{
	if (nh_slice_eq_str(event, "check"))
		collect(l);
}

/* Their programs are killed with all others of the link. */
void health_close(struct link_extras *x)
{
	nh_timer_close(x->health.timer);
	for (size_t i = 0; i < x->health.plugin_count && x->health.started; i++)
		x->health.started[i].program = NULL;
}

void health_free(struct link_extras *x) { forget(&x->health); }

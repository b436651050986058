/*
 * The library's surface: options as words of a command line, which the agent's own table reads, so that an option means in a program what it means to nerveshub-link(8); a loop that the
 * program turns; events as C texts. No policy: what a device does is in the link room.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "nhl_int.h"

#define API __attribute__((visibility("default")))

API const char *nhl_version(void) { return NH_VERSION; }

/* ---- options */

static void *grown(void *array, size_t count, size_t size)
{
	/* Options are few: one more each time. */
	void *more = nh_xcalloc(count + 2, size);
	if (count)
		memcpy(more, array, count * size);
	free(array);
	return more;
}

API struct nhl_options *nhl_options_new(void)
{
	struct nhl_options *o = nh_xcalloc(1, sizeof *o);
	o->words = grown(NULL, 0, sizeof *o->words);
	o->words[o->word_count++] = nh_arena_str(&o->arena, NH_LIT("libnerveshub-link"));
	return o;
}

API void nhl_options_free(struct nhl_options *o)
{
	if (!o)
		return;
	free(o->words);
	free(o->firmware);
	nh_arena_fini(&o->arena);
	free(o);
}

API void nhl_options_set(struct nhl_options *o, const char *name, const char *value)
{
	o->words = grown(o->words, o->word_count, sizeof *o->words);
	o->words[o->word_count++] = nh_arena_printf(&o->arena, "--%s%s%s", name, value ? "=" : "", value ? value : "");
}

API void nhl_options_firmware(struct nhl_options *o, const char *name, const char *value)
{
	struct nh_link_pair pair = {nh_arena_copy(&o->arena, nh_slice_str(name)), nh_arena_copy(&o->arena, nh_slice_str(value))};
	for (size_t i = 0; i < o->firmware_count; i++)
		if (nh_slice_eq(o->firmware[i].name, pair.name)) {
			o->firmware[i] = pair;
			return;
		}
	o->firmware = grown(o->firmware, o->firmware_count, sizeof *o->firmware);
	o->firmware[o->firmware_count++] = pair;
}

API void nhl_options_handlers(struct nhl_options *o, const struct nhl_handlers *h)
{
	const unsigned char *bytes = (const unsigned char *)h;
	o->handlers = (struct nhl_handlers){0};
	memcpy(&o->handlers, h, h->size < sizeof *h ? h->size : sizeof *h);
	o->unknown_handlers = 0;
	for (size_t i = sizeof *h; i < h->size; i++)
		o->unknown_handlers += bytes[i] != 0;
}

/* ---- events */

static const enum nhl_event_kind kinds[NH_LINK_EVENT_KINDS] = {
	[NH_LINK_CONNECTING] = NHL_CONNECTING,
	[NH_LINK_CONNECTED] = NHL_CONNECTED,
	[NH_LINK_JOINED] = NHL_JOINED,
	[NH_LINK_DISCONNECTED] = NHL_DISCONNECTED,
	[NH_LINK_UPDATE_OFFERED] = NHL_UPDATE_OFFERED,
	[NH_LINK_UPDATE_IGNORED] = NHL_UPDATE_IGNORED,
	[NH_LINK_UPDATE_RESCHEDULED] = NHL_UPDATE_RESCHEDULED,
	[NH_LINK_UPDATE_STARTED] = NHL_UPDATE_STARTED,
	[NH_LINK_UPDATE_PROGRESS] = NHL_UPDATE_PROGRESS,
	[NH_LINK_UPDATE_INSTALLED] = NHL_UPDATE_INSTALLED,
	[NH_LINK_UPDATE_FAILED] = NHL_UPDATE_FAILED,
	[NH_LINK_VALIDATED] = NHL_VALIDATED,
	[NH_LINK_VALIDATION_FAILED] = NHL_VALIDATION_FAILED,
	[NH_LINK_REBOOT] = NHL_REBOOT,
	[NH_LINK_IDENTIFY] = NHL_IDENTIFY,
	[NH_LINK_KEYS] = NHL_KEYS,
	[NH_LINK_EXTENSION] = NHL_EXTENSION,
	[NH_LINK_CONSOLE] = NHL_CONSOLE,
	[NH_LINK_SCRIPT] = NHL_SCRIPT,
	[NH_LINK_FILE] = NHL_FILE,
	[NH_LINK_ARCHIVE] = NHL_ARCHIVE,
	[NH_LINK_REVERTED] = NHL_REVERTED,
	[NH_LINK_ERROR] = NHL_ERROR,
};

static void on_event(void *ctx, struct nh_link *link, const struct nh_link_event *e)
{
	struct nhl *n = ctx;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	if (!n->handlers.event)
		return;
	struct nhl_event event = {
		.kind = kinds[e->kind],
		.name = nh_link_event_name(e->kind),
		.text = nh_arena_str(&arena, e->text),
		.uuid = nh_arena_str(&arena, e->uuid),
		.version = nh_arena_str(&arena, e->version),
		.percent = e->percent,
		.status = e->status,
		.code = e->code,
		.delay_ms = e->delay_ms,
	};
	n->handlers.event(n->handlers.ctx, &event);
}

/* ---- life */

static void copy_options(struct nhl *n, const struct nhl_options *o, char ***words)
{
	*words = nh_arena_array(&n->arena, o->word_count + 1, sizeof **words);
	for (size_t i = 0; i < o->word_count; i++)
		(*words)[i] = nh_arena_str(&n->arena, nh_slice_str(o->words[i]));
	n->handlers = o->handlers;
	n->firmware_count = o->firmware_count;
	n->firmware = o->firmware_count ? NH_NEW_ARRAY(&n->arena, o->firmware_count, struct nh_link_pair) : NULL;
	for (size_t i = 0; i < o->firmware_count; i++)
		n->firmware[i] = (struct nh_link_pair){nh_arena_copy(&n->arena, o->firmware[i].name), nh_arena_copy(&n->arena, o->firmware[i].value)};
}

/* The worker leaves every signal to the program's own threads. */
static nh_rc start_worker(struct nhl *n, struct nh_err *err)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	nh_rc rc = nh_pool_new(&(struct nh_pool_config){.threads = 1, .queue_max = 16, .name = "nhl"}, &n->pool, err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static nh_rc start(struct nhl *n, const struct nhl_options *o, struct nh_err *err)
{
	char **words;
	struct nh_link_config config;
	copy_options(n, o, &words);
	if (o->unknown_handlers)
		return NH_FAIL(err, NH_EUNSUPPORTED, "handlers are set that version " NH_VERSION " of libnerveshub-link does not know");
	NH_TRY(settings_parse(&n->settings, (int)o->word_count, words, err));
	NH_TRY(settings_load(&n->settings, err));
	NH_TRY(nhl_machine_init(n, err));
	settings_link(&n->settings, &config);
	config.platform = &n->platform;
	config.platform_ctx = n;
	config.on_event = on_event;
	config.event_ctx = n;
	config.fwup_version = n->machine ? nh_machine_fwup_version(n->machine) : NULL;
	config.installer_verifies = n->machine && !n->handlers.install_open && nh_machine_verifies(n->machine);
	NH_TRY(nh_link_config_check(&config, err));
	NH_TRY(nh_loop_new(NULL, &n->loop, err));
	NH_TRY(start_worker(n, err));
	NH_TRY(nh_link_open(n->loop, n->pool, &config, &n->link, err));
	settings_forget(&n->settings);
	return NH_OK;
}

static void clean_up(struct nhl *n)
{
	nh_pool_free(n->pool);
	nh_loop_free(n->loop);
	nh_machine_free(n->machine);
	settings_fini(&n->settings);
	nh_arena_fini(&n->arena);
	free(n);
}

API int nhl_new(const struct nhl_options *options, struct nhl **out, struct nhl_error *error)
{
	struct nh_err err = NH_ERR_INIT;
	struct nhl *n = nh_xcalloc(1, sizeof *n);
	*out = NULL;
	if (start(n, options, &err) == NH_OK) {
		*out = n;
		return NHL_OK;
	}
	if (error)
		memcpy(error->text, err.msg, sizeof error->text);
	clean_up(n);
	return NHL_FAILED;
}

API int nhl_fd(const struct nhl *n) { return nh_loop_fd(n->loop); }
API int nhl_timeout_ms(struct nhl *n) { return n->closed ? 0 : nh_loop_timeout_ms(n->loop); }
API bool nhl_updating(const struct nhl *n) { return n->link && nh_link_updating(n->link); }

API bool nhl_process(struct nhl *n)
{
	NH_ASSERT(!n->inside);
	n->inside = true;
	if (!n->closed)
		nh_loop_turn(n->loop);
	n->inside = false;
	return !n->closed;
}

static void on_closed(void *ctx) { ((struct nhl *)ctx)->closed = true; }

API void nhl_close(struct nhl *n)
{
	struct nh_link *link = n->link;
	n->link = NULL;
	if (link)
		nh_link_close(link, on_closed, n);
}

API void nhl_free(struct nhl *n)
{
	if (!n)
		return;
	nhl_close(n);
	while (nhl_process(n))
		poll(&(struct pollfd){.fd = nhl_fd(n), .events = POLLIN}, 1, nhl_timeout_ms(n));
	clean_up(n);
}

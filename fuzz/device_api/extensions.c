/*
 * What a joined device tells through its extensions, a line each: the event with its extension ("health:report"), a space, the payload as JSON. Handled by the same functions as in the server, on a
 * database. Nothing a device says may be an error of ours; and whatever was kept of it is what readers rely on: JSON objects where they expect them, finite numbers, valid text within its caps.
 */
#include <math.h>

#include "fuzz.h"

#include "fuzz_db.h"
#include "base/encode.h"
#include "hub/extensions.h"

#define LINES_MAX 64
#define REPORT_MAX 65536

static struct world world;
static int64_t device;

struct input {
	struct nh_db *db;
	nh_slice lines;
};

#define MUST(w, call) FUZZ_CHECK((call) == NH_OK, "%s", (w)->last.msg)

static nh_rc furnish(struct world *w, struct nh_err *err) { return add_device(w, "d-1", NULL, &device, err); }

static void tell(struct world *w, const struct nh_session *s, nh_slice line)
{
	nh_slice name = fuzz_until(&line, ' '), event;
	nh_slice extension_name;
	NH_AUTO_JSON json_t *payload = NULL;
	unsigned ignored = 0;
	nh_slice_cut(name, ':', &extension_name, &event);
	nh_extension extension = nh_extension_find(extension_name);
	if (extension == NH_EXTENSIONS || nh_json_parse(line, 1 << 20, &payload, NULL) != NH_OK)
		return;
	nh_rc rc = nh_extension_event(&w->ctx, s, extension, event, payload, &ignored, E(w));
	FUZZ_CHECK(rc == NH_OK, "%.*s: %s %s", NH_ARG(name), nh_rc_name(rc), w->last.msg);
}

static void check_object(nh_slice text, size_t most, const char *what)
{
	NH_AUTO_JSON json_t *value = NULL;
	if (text.ptr)
		FUZZ_CHECK(text.len <= most && nh_json_parse(text, most, &value, NULL) == NH_OK && json_is_object(value), "%s: %.*s", what, NH_ARG(nh_slice_sub(text, 0, 200)));
}

static void check_health(struct world *w)
{
	struct nh_health *reports;
	struct nh_metric *metrics;
	size_t count;
	MUST(w, nh_health_list(&w->ctx, device, INT64_MAX, NH_HEALTH_LIST_MAX, &reports, &count, E(w)));
	for (size_t i = 0; i < count; i++) {
		check_object(reports[i].data, REPORT_MAX, "report");
		check_object(reports[i].alarms, REPORT_MAX, "alarms");
		check_object(reports[i].reasons, REPORT_MAX, "reasons");
	}
	MUST(w, nh_metric_list(&w->ctx, device, NH_SLICE_EMPTY, 0, INT64_MAX, NH_METRIC_LIST_MAX, &metrics, &count, E(w)));
	for (size_t i = 0; i < count; i++)
		FUZZ_CHECK(isfinite(metrics[i].value) && nh_utf8_valid(metrics[i].key) && metrics[i].key.len > 0 && metrics[i].key.len <= 255, "%.*s", NH_ARG(metrics[i].key));
}

static void check_logs(struct world *w)
{
	struct nh_log_line *lines, next;
	size_t count;
	bool more;
	MUST(w, nh_log_list(&w->ctx, device, &(struct nh_log_filter){.to_us = INT64_MAX}, NH_LOG_LIST_MAX, &lines, &count, &more, &next, E(w)));
	for (size_t i = 0; i < count; i++) {
		FUZZ_CHECK(nh_utf8_valid(lines[i].message) && lines[i].message.len <= NH_LOG_MESSAGE_MAX && nh_utf8_valid(lines[i].level), "%.*s", NH_ARG(nh_slice_sub(lines[i].message, 0, 200)));
		check_object(lines[i].meta, REPORT_MAX, "meta");
	}
}

static void check_identities(struct world *w)
{
	struct nh_network_identity *list;
	size_t count;
	MUST(w, nh_network_identity_list(&w->ctx, device, &list, &count, E(w)));
	for (size_t i = 0; i < count; i++) {
		FUZZ_CHECK(nh_network_service_known(list[i].service) && list[i].identifier.len > 0 && nh_utf8_valid(list[i].identifier) && nh_utf8_valid(list[i].instance), "identity %zu", i);
		check_object(list[i].details, REPORT_MAX, "details");
	}
}

static nh_rc play(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	const struct nh_retention nothing = {0};
	const struct input *in = arg;
	struct world *w = &world;
	struct nh_session s;
	struct nh_connection connection;
	nh_slice rest = in->lines;
	size_t trimmed = 1;
	w->ctx.tx = tx;
	MUST(w, join(w, device, 1, "1.0.0", &s));
	for (unsigned i = 0; i < LINES_MAX && rest.len > 0; i++)
		tell(w, &s, fuzz_until(&rest, '\n'));
	check_health(w);
	check_logs(w);
	check_identities(w);
	MUST(w, nh_connection_get(&w->ctx, device, &connection, E(w)));
	check_object(connection.metadata, REPORT_MAX, "metadata");
	while (trimmed > 0)
		MUST(w, nh_telemetry_trim(&w->ctx, &nothing, &trimmed, E(w)));
	return NH_OK;
}

static void play_one(void *arg)
{
	struct nh_arena before = world.arena;
	world.arena = NH_ARENA_INIT;
	world.effects = (struct nh_effects){0};
	world.rng = nh_rng_seeded_init(&world.seed, 43);
	nh_rc rc = nh_db_write(((struct input *)arg)->db, play, arg, NULL);
	FUZZ_CHECK(rc == NH_OK, "%s", nh_rc_name(rc));
	nh_arena_fini(&world.arena);
	world.arena = before;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nh_db *db;
	if (!db)
		db = fuzz_db_open(&world, furnish);
	struct input in = {.db = db, .lines = nh_slice_of(data, size)};
	fuzz_db_play(db, play_one, &in);
	return 0;
}

/*
 * What a joined device sends, line by line one frame: decoded in both formats, judged by the progress gate and handled by the same functions as in the
 * server, on a database. The first byte chooses whether an update is running ('u'). Nothing a device says may be an error of ours: every event ends with
 * NH_OK or NH_ECLOSED; and whatever was said, the device can connect and join again.
 */
#include "fuzz.h"

#include "fuzz_db.h"
#include "phoenix/phoenix.h"

#define FRAMES_MAX 64

static struct world world;
static int64_t idle_device, updating_device, group_id;

struct input {
	struct nh_db *db;
	nh_slice frames;
	bool updating;
};

static nh_rc furnish(struct world *w, struct nh_err *err)
{
	struct nh_group group;
	struct nh_orchestrator_result result;
	struct nh_session session;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_device(w, "d-1", NULL, &updating_device, err));
	NH_TRY(add_device(w, "d-2", NULL, &idle_device, err));
	OK(add_group(w, group_fields(w, "prod", 2), &group));
	OK(join(w, updating_device, 1, "1.0.0", &session));
	OK(run_group(w, group.id, &result));
	group_id = group.id;
	return NH_OK;
}

static void handle(struct world *w, struct nh_session *s, struct nh_progress_gate *gate, const struct nh_phoenix_message *m)
{
	struct nh_join_result joined;
	nh_rc rc = NH_OK;
	const struct nh_session_event *event = nh_session_event_find(m->event);
	if (nh_slice_eq_str(m->event, "phx_join"))
		rc = nh_session_join(&w->ctx, s, NULL, m->payload, &joined, E(w));
	else if (event && event->handle && nh_session_progress_due(gate, m->event, m->payload, 1))
		rc = event->handle(&w->ctx, s, m->payload, E(w));
	FUZZ_CHECK(rc == NH_OK || rc == NH_ECLOSED || (rc == NH_EFORMAT && !json_is_object(m->payload)), "%.*s: %s %s", NH_ARG(m->event), nh_rc_name(rc),
	           w->last.msg);
}

static void frame(struct world *w, struct nh_session *s, struct nh_progress_gate *gate, nh_slice text)
{
	static const struct nh_phoenix_codec *const codecs[] = {&nh_phoenix_json_v1, &nh_phoenix_json_v2};
	for (size_t i = 0; i < NH_ARRAY_LEN(codecs); i++) {
		struct nh_phoenix_message m = {0};
		if (codecs[i]->decode(&w->arena, text, 65536, &m, NULL) != NH_OK)
			continue;
		handle(w, s, gate, &m);
		nh_phoenix_message_fini(&m);
	}
}

#define MUST(w, call) FUZZ_CHECK((call) == NH_OK, "%s", (w)->last.msg)

static nh_rc play(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	const struct input *in = arg;
	struct world *w = &world;
	struct nh_session s, again;
	struct nh_progress_gate gate = {0};
	struct nh_orchestrator_result result;
	int64_t device = in->updating ? updating_device : idle_device;
	nh_slice rest = in->frames;
	w->ctx.tx = tx;
	MUST(w, open_connection(w, device, &s));
	for (unsigned i = 0; i < FRAMES_MAX && rest.len > 0; i++)
		frame(w, &s, &gate, fuzz_until(&rest, '\n'));
	MUST(w, nh_session_disconnect(&w->ctx, device, s.connection_id, NH_SLICE_EMPTY, E(w)));
	MUST(w, join(w, device, 1, "1.0.0", &again));
	MUST(w, run_group(w, group_id, &result));
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
	nh_slice all = nh_slice_of(data, size);
	if (!db)
		db = fuzz_db_open(&world, furnish);
	struct input in = {.db = db, .updating = fuzz_byte(&all) == 'u'};
	in.frames = all;
	fuzz_db_play(db, play_one, &in);
	return 0;
}

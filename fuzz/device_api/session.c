/*
 * What a joined device sends, line by line one frame: decoded in both formats, judged by the progress gate and handled by the same functions as in the
 * server, in a transaction on a small database that is rolled back. The first byte chooses whether an update is running. Nothing a device says may be
 * an error of ours: every event ends with NH_OK or NH_ECLOSED.
 */
#include "phoenix/phoenix.h"
#include "rollout_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	nh_slice frames;
	bool updating;
};

static nh_rc prepare(struct world *w, bool updating, int64_t *device, struct nh_err *err)
{
	struct nh_group group;
	struct nh_orchestrator_result result;
	struct nh_session session;
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_device(w, "d-1", NULL, device, err));
	OK(add_group(w, group_fields(w, "prod", 2), &group));
	if (!updating)
		return NH_OK;
	OK(join(w, *device, 1, "1.0.0", &session));
	OK(run_group(w, group.id, &result));
	return NH_OK;
}

static nh_rc handle(struct world *w, struct nh_session *s, struct nh_progress_gate *gate, const struct nh_phoenix_message *m, struct nh_err *err)
{
	struct nh_join_result joined;
	nh_rc rc = NH_OK;
	const struct nh_session_event *event = nh_session_event_find(m->event);
	if (nh_slice_eq_str(m->event, "phx_join"))
		rc = nh_session_join(&w->ctx, s, m->payload, &joined, E(w));
	else if (event && event->handle && nh_session_progress_due(gate, m->event, m->payload, 1))
		rc = event->handle(&w->ctx, s, m->payload, E(w));
	CHECK(rc == NH_OK || rc == NH_ECLOSED || (rc == NH_EFORMAT && !json_is_object(m->payload)));
	return NH_OK;
}

static nh_rc frame(struct world *w, struct nh_session *s, struct nh_progress_gate *gate, nh_slice text, struct nh_err *err)
{
	static const struct nh_phoenix_codec *const codecs[] = {&nh_phoenix_json_v1, &nh_phoenix_json_v2};
	for (size_t i = 0; i < NH_ARRAY_LEN(codecs); i++) {
		struct nh_phoenix_message m = {0};
		if (codecs[i]->decode(&w->arena, text, 65536, &m, NULL) != NH_OK)
			continue;
		nh_rc rc = handle(w, s, gate, &m, err);
		nh_phoenix_message_fini(&m);
		NH_TRY(rc);
	}
	return NH_OK;
}

/* Always ends with a code: the database stays as it was. NH_ECONFLICT is the good one. */
static nh_rc play(struct world *w, struct nh_err *err)
{
	const struct input *in = w->arg;
	struct nh_session s;
	struct nh_progress_gate gate = {0};
	int64_t device;
	nh_slice rest = in->frames, line;
	NH_TRY(prepare(w, in->updating, &device, err));
	OK(nh_session_connect(&w->ctx, device, NH_SLICE_EMPTY, &s, E(w)));
	while (rest.len) {
		nh_slice_cut(rest, '\n', &line, &rest);
		NH_TRY(frame(w, &s, &gate, line, err));
	}
	OK(nh_session_disconnect(&w->ctx, device, s.connection_id, NH_SLICE_EMPTY, E(w)));
	return NH_ECONFLICT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nh_db *db; /* testdb removes it at exit */
	if (!db)
		db = testdb_open(0);
	if (size == 0)
		return 0;
	struct input in = {nh_slice_of(data + 1, size - 1), data[0] == 'u'};
	struct world world = {.arg = &in};
	struct scenario scenario = {&world, play};
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = nh_db_write(db, run_scenario, &scenario, &err);
	json_decref(world.errors);
	nh_arena_fini(&world.arena);
	if (rc != NH_ECONFLICT) {
		fprintf(stderr, "%s %s\n", nh_rc_name(rc), err.msg);
		abort();
	}
	return 0;
}

/*
 * Is the server well? For those who restart it, and for those who send it work:
 *
 *	GET /status/live	200 while every loop turns, else 503: only a new start helps
 *	GET /status/ready	200 while it can do all its work, else 503 with reasons: others should be asked meanwhile
 *
 * Both answer from memory, on the loop that was asked; what they say of the database and the object store is looked at in the background (upkeep.c), so that many who ask cost nothing.
 */
#include "hubd.h"

#include <unistd.h>

#include "base/json.h"

#define BEAT_LATE_MS 10000

/* ---- looked at in the background -------------------------------------------------------------------------------------------- */

static void beat_back(void *arg)
{
	struct beat *beat = arg;
	__atomic_store_n(&beat->asked_ms, 0, __ATOMIC_RELEASE);
}

void beat_loops(struct hubd *h)
{
	for (unsigned i = 0; i < h->settings->loops && i < NH_ARRAY_LEN(h->figures.beats); i++) {
		struct beat *beat = &h->figures.beats[i];
		if (__atomic_load_n(&beat->asked_ms, __ATOMIC_ACQUIRE) != 0)
			continue; /* it owes the last answer */
		__atomic_store_n(&beat->asked_ms, nh_mono_ms(), __ATOMIC_RELEASE);
		beat->message = (struct nh_message){.fn = beat_back, .arg = beat};
		nh_loop_send(nh_server_loop(h->server, i), &beat->message);
	}
}

static nh_rc nothing(struct nh_ctx *ctx, void *arg, struct nh_err *err) { return NH_OK; }

/* What comes of it is db.h's to remember; where devices write all the time it adds nothing. */
void probe_database(struct hubd *h)
{
	NH_IGNORE(job_read(h, nothing, NULL, NULL));
	NH_IGNORE(job_write(h, nothing, NULL, NULL));
}

/* An object that nobody has: whoever can say so is there. */
void probe_objects(struct hubd *h)
{
	int fd = -1;
	uint64_t size = 0;
	nh_rc rc = nh_objects_open_read(h->objects, "status/probe", &fd, &size, NULL);
	if (rc == NH_OK)
		close(fd);
	__atomic_store_n(&h->figures.objects_away, nh_rc_outage(rc), __ATOMIC_RELAXED);
}

/* ---- answers ---------------------------------------------------------------------------------------------------------------- */

static void answer(struct nh_response *res, const char *word, bool yes, json_t *take_reasons)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_AUTO_JSON json_t *object = json_pack("{s:b, s:o}", word, yes, "reasons", take_reasons);
	nh_json_put(&text, object);
	nh_response_header(res, "Cache-Control", NH_LIT("no-store"));
	nh_response_send(res, yes ? 200 : 503, "application/json; charset=utf-8", nh_buf_slice(&text));
}

static void live(struct nh_request *req, struct nh_response *res)
{
	const struct hubd *h = req->app;
	json_t *reasons = json_array();
	for (size_t i = 0; i < NH_ARRAY_LEN(h->figures.beats); i++) {
		uint64_t asked_ms = __atomic_load_n(&h->figures.beats[i].asked_ms, __ATOMIC_ACQUIRE);
		if (asked_ms != 0 && nh_mono_ms() > asked_ms + BEAT_LATE_MS)
			json_array_append_new(reasons, json_string("a loop does not answer"));
	}
	answer(res, "live", json_array_size(reasons) == 0, reasons);
}

static void ready(struct nh_request *req, struct nh_response *res)
{
	const struct hubd *h = req->app;
	struct nh_objects_stats objects;
	nh_objects_stats(h->objects, &objects);
	const struct {
		bool so;
		const char *reason;
	} reasons[] = {
		{__atomic_load_n(&h->draining, __ATOMIC_ACQUIRE), "draining"},
		{!nh_db_available(h->db), "the database cannot be read or written"},
		{!objects.available || __atomic_load_n(&h->figures.objects_away, __ATOMIC_RELAXED), "the object store cannot be read or written"},
	};
	json_t *list = json_array();
	for (size_t i = 0; i < NH_ARRAY_LEN(reasons); i++) {
		if (reasons[i].so)
			json_array_append_new(list, json_string(reasons[i].reason));
	}
	answer(res, "ready", json_array_size(list) == 0, list);
}

const struct nh_route status_routes[] = {
	{.method = NH_HTTP_GET, .path = "/status/live", .handle = live, .where = NH_ON_LOOP, .summary = "Does every loop turn?"},
	{.method = NH_HTTP_GET, .path = "/status/ready", .handle = ready, .where = NH_ON_LOOP, .summary = "Can the server do all its work?"},
	{0},
};

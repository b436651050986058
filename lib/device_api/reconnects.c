/*
 * Devices that connect again and again: each connect costs a handshake and a write, so one that does nothing else is told to stay away for a while. Two machines that
 * hold one identity look the same, as each connect ends the other's connection.
 *
 * Counted per device and minute in a table of fixed size, in sets of eight: nothing is allocated for a device. Who is counted least often gives way to who comes new, so a device that goes on
 * is found however many others come. Refused connects count as well, and the minute begins anew with the first connect after it is over.
 */
#include <stdlib.h>

#include "device_api_int.h"

#define WINDOW_MS 60000

void reconnects_init(struct reconnects *r, unsigned per_minute)
{
	*r = (struct reconnects){.per_minute = per_minute, .entries = nh_xcalloc(RECONNECT_SETS * RECONNECT_WAYS, sizeof *r->entries), .episode = {.event = "device.reconnecting"}};
	pthread_mutex_init(&r->lock, NULL);
}

void reconnects_fini(struct reconnects *r)
{
	pthread_mutex_destroy(&r->lock);
	free(r->entries);
}

/* Ids are given out one after the other. */
static struct reconnect *set_of(struct reconnects *r, int64_t device_id) { return &r->entries[(uint64_t)device_id % RECONNECT_SETS * RECONNECT_WAYS]; }

static bool over(const struct reconnect *e, uint64_t now_ms) { return e->count == 0 || now_ms - e->since_ms >= WINDOW_MS; }

static struct reconnect *entry_of(struct reconnects *r, int64_t device_id, uint64_t now_ms)
{
	struct reconnect *set = set_of(r, device_id), *entry = &set[0];
	for (size_t i = 0; i < RECONNECT_WAYS; i++) {
		if (set[i].device_id == device_id)
			return &set[i];
		if (!over(entry, now_ms) && (over(&set[i], now_ms) || set[i].count < entry->count))
			entry = &set[i];
	}
	*entry = (struct reconnect){.device_id = device_id};
	return entry;
}

bool reconnects_admit(struct reconnects *r, int64_t device_id, uint64_t now_ms)
{
	pthread_mutex_lock(&r->lock);
	struct reconnect *e = entry_of(r, device_id, now_ms);
	if (over(e, now_ms))
		*e = (struct reconnect){.device_id = device_id, .since_ms = now_ms};
	if (e->count < UINT32_MAX)
		e->count++;
	bool admitted = e->count <= r->per_minute;
	if (!admitted)
		r->refused_ms = now_ms;
	bool quiet = now_ms - r->refused_ms >= WINDOW_MS;
	pthread_mutex_unlock(&r->lock);
	if (!admitted) {
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = NH_FAIL(&err, NH_EAGAIN, "device %lld connects more than %u times a minute", (long long)device_id, r->per_minute);
		nh_episode_failed(&r->episode, rc, err.msg);
	} else if (quiet) {
		nh_episode_fine(&r->episode);
	}
	return admitted;
}

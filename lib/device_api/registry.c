/*
 * Which connection of this process a device has: at most one. Effects find their connection here; the newest connection replaces an older one.
 */
#include <stdlib.h>

#include "base/arena.h"
#include "device_api_int.h"

void registry_init(struct registry *r)
{
	pthread_mutex_init(&r->lock, NULL);
	r->devices = nh_map_new();
}

void registry_fini(struct registry *r)
{
	size_t it = 0;
	nh_slice key;
	void *value;
	while (nh_map_next(r->devices, &it, &key, &value))
		free(value);
	nh_map_free(r->devices);
	pthread_mutex_destroy(&r->lock);
}

static bool same(const struct nh_conn_id *a, const struct nh_conn_id *b) { return a->loop == b->loop && a->slot == b->slot && a->generation == b->generation; }

static nh_slice key_of(const int64_t *device_id) { return nh_slice_of(device_id, sizeof *device_id); }

void registry_put(struct registry *r, int64_t device_id, struct nh_conn_id id, struct nh_conn_id *old)
{
	*old = (struct nh_conn_id){0};
	pthread_mutex_lock(&r->lock);
	struct registered *entry = nh_map_get(r->devices, key_of(&device_id));
	if (entry) {
		*old = entry->conn;
	} else {
		entry = nh_xcalloc(1, sizeof *entry);
		nh_map_put(r->devices, key_of(&device_id), entry);
	}
	*entry = (struct registered){.conn = id};
	pthread_mutex_unlock(&r->lock);
}

bool registry_get(struct registry *r, int64_t device_id, struct nh_conn_id *out)
{
	pthread_mutex_lock(&r->lock);
	const struct registered *entry = nh_map_get(r->devices, key_of(&device_id));
	if (entry)
		*out = entry->conn;
	pthread_mutex_unlock(&r->lock);
	return entry != NULL;
}

bool registry_is(struct registry *r, int64_t device_id, struct nh_conn_id id)
{
	struct nh_conn_id now;
	return registry_get(r, device_id, &now) && same(&now, &id);
}

void registry_remove(struct registry *r, int64_t device_id, struct nh_conn_id id)
{
	pthread_mutex_lock(&r->lock);
	const struct registered *entry = nh_map_get(r->devices, key_of(&device_id));
	if (entry && same(&entry->conn, &id))
		free(nh_map_del(r->devices, key_of(&device_id)));
	pthread_mutex_unlock(&r->lock);
}

void registry_set_product(struct registry *r, int64_t device_id, struct nh_conn_id id, int64_t product_id)
{
	pthread_mutex_lock(&r->lock);
	struct registered *entry = nh_map_get(r->devices, key_of(&device_id));
	if (entry && same(&entry->conn, &id))
		entry->product_id = product_id;
	pthread_mutex_unlock(&r->lock);
}

void registry_each(struct registry *r, int64_t product_id, void (*each)(void *ctx, int64_t device_id, struct nh_conn_id id), void *ctx)
{
	size_t it = 0;
	nh_slice key;
	void *value;
	pthread_mutex_lock(&r->lock);
	while (nh_map_next(r->devices, &it, &key, &value)) {
		const struct registered *entry = value;
		int64_t device_id;
		memcpy(&device_id, key.ptr, sizeof device_id);
		if (product_id == 0 || entry->product_id == product_id)
			each(ctx, device_id, entry->conn);
	}
	pthread_mutex_unlock(&r->lock);
}

size_t registry_count(struct registry *r)
{
	pthread_mutex_lock(&r->lock);
	size_t count = nh_map_count(r->devices);
	pthread_mutex_unlock(&r->lock);
	return count;
}

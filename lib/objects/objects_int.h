/*
 * What a kind of object store implements. The public functions check keys and forward. Private to objects.
 */
#pragma once

#include "base/episode.h"
#include "objects/objects.h"

struct nh_objects_kind {
	void (*close)(struct nh_objects *objects);
	nh_rc (*upload)(struct nh_objects *objects, struct nh_object_upload **out, struct nh_err *err);
	nh_rc (*upload_write)(struct nh_object_upload *upload, nh_slice bytes, struct nh_err *err);
	nh_rc (*upload_fd)(struct nh_object_upload *upload, int *fd, struct nh_err *err);
	nh_rc (*upload_commit)(struct nh_object_upload *take_upload, const char *key, struct nh_err *err);
	void (*upload_abort)(struct nh_object_upload *take_upload);
	nh_rc (*open_read)(struct nh_objects *objects, const char *key, int *fd, uint64_t *size, struct nh_err *err);
	nh_rc (*del)(struct nh_objects *objects, const char *key, struct nh_err *err);
	nh_rc (*url)(const struct nh_objects *objects, const char *key, uint64_t ttl_s, struct nh_buf *out, struct nh_err *err); /* NULL: there are none */
	void (*tend)(struct nh_objects *objects); /* NULL: nothing expires */
	nh_rc (*list)(struct nh_objects *objects, const char *prefix, bool (*each)(void *ctx, const char *key, uint64_t size), void *ctx, struct nh_err *err);
};

struct nh_objects {
	const struct nh_objects_kind *kind;
	struct nh_episode reading, writing;
	uint64_t full; /* relaxed atomic */
};

struct nh_object_upload {
	struct nh_objects *objects;
};

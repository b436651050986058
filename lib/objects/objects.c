/*
 * The door of the object store: checks every key, then calls what is behind it.
 */
#include "objects_int.h"

#define KEY_MAX 512

static bool key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool nh_objects_key_valid(const char *key)
{
	size_t i = 0;
	bool start = true; /* at the first character of a segment */
	for (; key[i] != 0 && i <= KEY_MAX; i++) {
		if (key[i] == '/' ? start : (!key_char(key[i]) || (start && key[i] == '.')))
			return false;
		start = key[i] == '/';
	}
	return i > 0 && i <= KEY_MAX && !start;
}

static nh_rc check_key(const char *key, struct nh_err *err)
{
	return nh_objects_key_valid(key) ? NH_OK : NH_FAIL(err, NH_EINVAL, "'%.100s' is not an object key", key);
}

/* Notes how a call ended: an outage is logged once for its episode, and not by callers. */
static nh_rc ended(struct nh_objects *objects, struct nh_episode *episode, nh_rc rc, const struct nh_err *err)
{
	if (!nh_rc_outage(rc)) {
		nh_episode_fine(episode);
		return rc;
	}
	if (rc == NH_ENOSPC)
		__atomic_fetch_add(&objects->full, 1, __ATOMIC_RELAXED);
	nh_episode_failed(episode, rc, err->msg);
	return rc;
}

/* As ended, for what tells little when it succeeds: only a committed upload says that there is room and that it is synced. */
static nh_rc begun(struct nh_objects *objects, nh_rc rc, const struct nh_err *err)
{
	return nh_rc_outage(rc) ? ended(objects, &objects->writing, rc, err) : rc;
}

void nh_objects_stats(const struct nh_objects *objects, struct nh_objects_stats *out)
{
	*out = (struct nh_objects_stats){
		.available = !nh_episode_going(&objects->reading) && !nh_episode_going(&objects->writing),
		.errors = nh_episode_total(&objects->reading) + nh_episode_total(&objects->writing),
		.full = __atomic_load_n(&objects->full, __ATOMIC_RELAXED),
	};
}

void nh_objects_close(struct nh_objects *objects)
{
	if (objects)
		objects->kind->close(objects);
}

#define OWN_ERR(err)                          \
	struct nh_err own_err_ = NH_ERR_INIT; \
	(err) = (err) ? (err) : &own_err_

nh_rc nh_objects_upload(struct nh_objects *objects, struct nh_object_upload **out, struct nh_err *err)
{
	OWN_ERR(err);
	*out = NULL;
	return begun(objects, objects->kind->upload(objects, out, err), err);
}

nh_rc nh_object_upload_write(struct nh_object_upload *upload, nh_slice bytes, struct nh_err *err)
{
	OWN_ERR(err);
	return begun(upload->objects, upload->objects->kind->upload_write(upload, bytes, err), err);
}

nh_rc nh_object_upload_fd(struct nh_object_upload *upload, int *fd, struct nh_err *err)
{
	return upload->objects->kind->upload_fd(upload, fd, err);
}

nh_rc nh_object_upload_commit(struct nh_object_upload *take_upload, const char *key, struct nh_err *err)
{
	OWN_ERR(err);
	struct nh_objects *objects = take_upload->objects;
	nh_rc rc = check_key(key, err);
	if (rc == NH_OK)
		return ended(objects, &objects->writing, objects->kind->upload_commit(take_upload, key, err), err);
	nh_object_upload_abort(take_upload);
	return rc;
}

void nh_object_upload_abort(struct nh_object_upload *take_upload)
{
	if (take_upload)
		take_upload->objects->kind->upload_abort(take_upload);
}

nh_rc nh_objects_open_read(struct nh_objects *objects, const char *key, int *fd, uint64_t *size, struct nh_err *err)
{
	OWN_ERR(err);
	*fd = -1;
	*size = 0;
	NH_TRY(check_key(key, err));
	return ended(objects, &objects->reading, objects->kind->open_read(objects, key, fd, size, err), err);
}

nh_rc nh_objects_url(const struct nh_objects *objects, const char *key, uint64_t ttl_s, struct nh_buf *out, struct nh_err *err)
{
	NH_TRY(check_key(key, err));
	if (!objects->kind->url)
		return NH_FAIL(err, NH_EUNSUPPORTED, "objects of this store have no URL of their own");
	return objects->kind->url(objects, key, ttl_s, out, err);
}

void nh_objects_tend(struct nh_objects *objects)
{
	if (objects->kind->tend)
		objects->kind->tend(objects);
}

nh_rc nh_objects_delete(struct nh_objects *objects, const char *key, struct nh_err *err)
{
	OWN_ERR(err);
	NH_TRY(check_key(key, err));
	return begun(objects, objects->kind->del(objects, key, err), err);
}

nh_rc nh_objects_list(struct nh_objects *objects, const char *prefix, bool (*each)(void *ctx, const char *key, uint64_t size), void *ctx, struct nh_err *err)
{
	OWN_ERR(err);
	return ended(objects, &objects->reading, objects->kind->list(objects, prefix, each, ctx, err), err);
}

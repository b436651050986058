/*
 * Variables of a configuration: a map that a caller fills, in front of an optional lookup the caller provides. Nothing here reads the
 * environment.  source: reference/fwup-format "2.4", "8.1"
 */
#include "firmware/vars.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"

struct value {
	size_t len;
	uint8_t bytes[];
};

struct nh_fw_vars {
	struct nh_map *map;
	const char *(*lookup)(void *ctx, const char *name);
	void *ctx;
};

struct nh_fw_vars *nh_fw_vars_new(const char *(*lookup)(void *ctx, const char *name), void *ctx)
{
	struct nh_fw_vars *v = nh_xcalloc(1, sizeof *v);
	v->map = nh_map_new();
	v->lookup = lookup;
	v->ctx = ctx;
	return v;
}

void nh_fw_vars_free(struct nh_fw_vars *v)
{
	if (!v)
		return;
	size_t it = 0;
	nh_slice key;
	void *value;
	while (nh_map_next(v->map, &it, &key, &value))
		free(value);
	nh_map_free(v->map);
	free(v);
}

void nh_fw_vars_set(struct nh_fw_vars *v, nh_slice name, nh_slice value)
{
	struct value *copy = nh_xcalloc(1, sizeof *copy + value.len + 1);
	copy->len = value.len;
	for (size_t i = 0; i < value.len; i++)
		copy->bytes[i] = value.ptr[i];
	free(nh_map_put(v->map, name, copy));
}

bool nh_fw_vars_get(const struct nh_fw_vars *v, nh_slice name, nh_slice *value)
{
	*value = NH_SLICE_EMPTY;
	if (!v)
		return false;
	const struct value *found = nh_map_get(v->map, name);
	if (found) {
		*value = nh_slice_of(found->bytes, found->len);
		return true;
	}
	if (!v->lookup || name.len == 0 || nh_slice_chr(name, 0) >= 0)
		return false;
	struct nh_buf cname = NH_BUF_INIT;
	nh_buf_put_slice(&cname, name);
	const char *text = v->lookup(v->ctx, nh_buf_cstr(&cname));
	nh_buf_fini(&cname);
	if (!text)
		return false;
	*value = nh_slice_str(text);
	return true;
}

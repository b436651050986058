/*
 * From the server's JSON to ours: known members in a fixed order, of the right type, nothing else, so that scripts can rely on what they get.
 *
 * source: reference/user-api-and-cli "18.6"
 */
#include "base/clock.h"
#include "cli_int.h"

#define ZERO_TIME "0001-01-01T00:00:00Z"

/* RFC 3339 with as many fractional digits as are needed. */
static json_t *time_value(const json_t *value, bool *empty)
{
	int64_t at = 0;
	nh_slice text = nh_slice_of(json_string_value(value), json_string_length(value));
	*empty = !cli_parse_time(text, &at);
	if (*empty)
		return json_string(ZERO_TIME);
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	if (at % NH_US_PER_S == 0) {
		nh_time_put_iso(&b, at);
	} else {
		nh_time_put_iso_us(&b, at);
		nh_buf_truncate(&b, b.len - 1);
		while (b.ptr[b.len - 1] == '0')
			nh_buf_truncate(&b, b.len - 1);
		nh_buf_put_u8(&b, 'Z');
	}
	return json_string(nh_buf_cstr(&b));
}

static json_t *text_list(const json_t *value)
{
	size_t i;
	const json_t *item;
	if (!json_is_array(value))
		return json_null();
	json_t *out = json_array();
	json_array_foreach(value, i, item) json_array_append_new(out, json_string(json_is_string(item) ? json_string_value(item) : ""));
	return out;
}

static json_t *member(const struct cli_shape *row, const json_t *value, bool *empty)
{
	*empty = !value || json_is_null(value);
	switch (row->kind) {
	case SHAPE_TEXT:
		*empty = !json_is_string(value) || json_string_length(value) == 0;
		return *empty ? json_string("") : json_deep_copy(value);
	case SHAPE_BOOL: *empty = !json_is_true(value); return json_boolean(!*empty);
	case SHAPE_INT: *empty = !json_is_integer(value) || json_integer_value(value) == 0; return json_integer(json_integer_value(value));
	case SHAPE_TIME: return time_value(value, empty);
	case SHAPE_TEXTS: return text_list(value);
	case SHAPE_OBJECT: return json_is_object(value) || !row->optional ? cli_shape_object(row->rows, value) : json_null();
	case SHAPE_OBJECTS: return cli_shape_list(row->rows, value);
	case SHAPE_ANY: break;
	}
	return *empty ? json_null() : json_deep_copy(value);
}

json_t *cli_shape_object(const struct cli_shape *shape, const json_t *server)
{
	json_t *out = json_object();
	for (; shape->name; shape++) {
		bool empty = false;
		json_t *value = member(shape, json_object_get(server, shape->from ? shape->from : shape->name), &empty);
		if (empty && shape->optional)
			json_decref(value);
		else
			json_object_set_new(out, shape->name, value);
	}
	return out;
}

json_t *cli_shape_list(const struct cli_shape *shape, const json_t *server)
{
	size_t i;
	const json_t *item;
	if (!json_is_array(server))
		return json_null();
	json_t *out = json_array();
	json_array_foreach(server, i, item) json_array_append_new(out, cli_shape_object(shape, item));
	return out;
}

const char *cli_get(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

json_t *cli_text_array(const struct nh_option_list *list)
{
	json_t *out = json_array();
	bool none = list->count == 1 && !list->items[0][0];
	for (size_t i = 0; !none && i < list->count; i++)
		json_array_append_new(out, nh_json_new_text(nh_slice_str(list->items[i])));
	return out;
}

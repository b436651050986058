/*
 * How an object or a list of objects is shown: as a table of its view's cells, or as JSON or CSV of its shape, so that what programs read does not change with
 * what people like to see.
 *
 * source: reference/user-api-and-cli "18.6"
 */
#include "cli_int.h"

/* ---- cells ----------------------------------------------------------------------------------------------------------------- */

const char *cli_as_time(struct nh_cli *c, const json_t *object, const json_t *value) { return cli_time_cell(c, value, false); }
const char *cli_as_date(struct nh_cli *c, const json_t *object, const json_t *value) { return cli_time_cell(c, value, true); }
const char *cli_as_serial(struct nh_cli *c, const json_t *object, const json_t *value) { return cli_serial_hex(c, nh_slice_str(json_string_value(value))); }

/* "a.b" in the object; a name with no dot is the usual case. */
static const json_t *at_path(const json_t *object, const char *path)
{
	nh_slice word, rest = nh_slice_str(path);
	while (path && rest.len) {
		nh_slice_cut(rest, '.', &word, &rest);
		object = json_object_getn(object, (const char *)word.ptr, word.len);
	}
	return object;
}

static const char *compact(struct nh_cli *c, const json_t *value)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_json_put(&b, value);
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}

static bool all_texts(const json_t *array)
{
	size_t i;
	const json_t *item;
	json_array_foreach(array, i, item) if (!json_is_string(item)) return false;
	return json_is_array(array);
}

static const char *joined(struct nh_cli *c, const json_t *texts, const char *separator)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	size_t i;
	const json_t *item;
	json_array_foreach(texts, i, item) nh_buf_printf(&b, "%s%s", i ? separator : "", json_string_value(item));
	return nh_arena_str(&c->arena, nh_buf_slice(&b));
}

static const char *plain(struct nh_cli *c, const json_t *value, const char *separator)
{
	if (!value || json_is_null(value))
		return "";
	if (json_is_string(value))
		return json_string_value(value);
	return all_texts(value) ? joined(c, value, separator) : compact(c, value);
}

static const char *cell(struct nh_cli *c, const struct cli_cell *cell, const json_t *object)
{
	const json_t *value = at_path(object, cell->path);
	if (cell->as)
		return cell->as(c, object, value);
	return json_is_boolean(value) ? json_is_true(value) ? "yes" : "no" : plain(c, value, ", ");
}

/* ---- CSV ------------------------------------------------------------------------------------------------------------------- */

/* source: RFC 4180 "2" */
static void put_field(struct nh_buf *out, const char *text, bool first)
{
	bool quoted = strpbrk(text, ",\"\r\n") != NULL;
	nh_buf_put_str(out, first ? "" : ",");
	nh_buf_put_str(out, quoted ? "\"" : "");
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;
		if (byte == '"')
			nh_buf_put_str(out, "\"\"");
		else if ((byte < ' ' && byte != '\n' && byte != '\r' && byte != '\t') || byte == 0x7F)
			nh_buf_printf(out, "\\x%02x", byte); /* a terminal must not obey what a device is called */
		else
			nh_buf_put_u8(out, byte);
	}
	nh_buf_put_str(out, quoted ? "\"" : "");
}

/* The members of an object as fields, those of objects in it one by one. object NULL with names: the heading. */
static void put_members(struct nh_cli *c, struct nh_buf *out, const struct cli_shape *shape, const json_t *object, const char *names, bool *first)
{
	for (; shape->name; shape++) {
		const char *name = names ? nh_arena_printf(&c->arena, "%s%s", names, shape->name) : NULL;
		const json_t *value = json_object_get(object, shape->name);
		if (shape->kind == SHAPE_OBJECT) {
			put_members(c, out, shape->rows, value, name ? nh_arena_printf(&c->arena, "%s.", name) : NULL, first);
			continue;
		}
		bool no_time = shape->kind == SHAPE_TIME && nh_slice_starts(nh_slice_str(json_string_value(value)), NH_LIT("0001-"));
		put_field(out, name ? name : no_time ? "" : plain(c, value, ","), *first);
		*first = false;
	}
}

static void print_csv(struct nh_cli *c, const struct cli_shape *shape, const json_t *list)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	size_t i;
	const json_t *object;
	bool first = true;
	put_members(c, &b, shape, NULL, "", &first);
	nh_buf_put_str(&b, "\r\n");
	json_array_foreach(list, i, object)
	{
		first = true;
		put_members(c, &b, shape, object, NULL, &first);
		nh_buf_put_str(&b, "\r\n");
	}
	fwrite(nh_buf_cstr(&b), 1, b.len, c->io->out);
}

/* ---- printing -------------------------------------------------------------------------------------------------------------- */

static void list_row(struct nh_cli *c, struct cli_table *t, const struct cli_cell *cells, const json_t *object)
{
	for (size_t i = 0; cells[i].label; i++)
		cli_table_cell(t, object ? cli_dash(cell(c, &cells[i], object)) : cells[i].label);
}

static void print_table(struct nh_cli *c, const struct cli_view *view, const json_t *list)
{
	struct cli_table t = {.arena = &c->arena};
	size_t i;
	const json_t *object;
	while (view->list[t.columns].label)
		t.columns++;
	list_row(c, &t, view->list, NULL);
	json_array_foreach(list, i, object) list_row(c, &t, view->list, object);
	if (json_array_size(list))
		cli_table_print(c, &t);
	else
		cli_out(c, "%s\n", cli_fill(c, view->empty, false));
}

nh_rc cli_view_list(struct nh_cli *c, const struct cli_view *view, const json_t *list)
{
	const json_t *rows = view->pages ? json_object_get(list, "data") : list, *p = view->pages ? json_object_get(list, "pagination") : NULL;
	if (c->format == CLI_JSON) {
		cli_out_json(c, list);
		return NH_OK;
	}
	if (c->format == CLI_CSV) {
		print_csv(c, view->shape, rows);
		return NH_OK;
	}
	if (p)
		cli_out(c, "Page %lld of %lld — %lld %s total\n\n", (long long)nh_json_int(p, "page", 0), (long long)nh_json_int(p, "total_pages", 0),
			(long long)nh_json_int(p, "total_count", 0), view->pages);
	print_table(c, view, rows);
	return NH_OK;
}

nh_rc cli_view_one(struct nh_cli *c, const struct cli_view *view, const json_t *object)
{
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	if (c->format == CLI_JSON) {
		cli_out_json(c, object);
	} else if (c->format == CLI_CSV) {
		NH_AUTO_JSON json_t *list = json_array();
		json_array_append(list, (json_t *)object);
		print_csv(c, view->shape, list);
	} else {
		for (const struct cli_cell *row = view->detail; row->label; row++)
			cli_table_detail(&t, row->label, cell(c, row, object));
		cli_table_print(c, &t);
	}
	return NH_OK;
}

nh_rc cli_call_and_view(struct nh_cli *c, const char *method, const char *route, json_t *take_body, const struct cli_view *view, struct nh_err *err)
{
	NH_AUTO_JSON json_t *object = NULL;
	NH_TRY(cli_call(c, method, route, take_body, view->shape, false, &object, err));
	return cli_view_one(c, view, object);
}

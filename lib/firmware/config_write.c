/*
 * Writer of meta.conf: the tree in table order, without defaults, empty strings and (but for tasks) empty sections. These bytes are signed and hashed into the
 * UUID, so they must not differ from the reference tool's by a single one.  source: reference/fwup-format "3.1"
 */
#include "firmware/config.h"

static bool is_bare(nh_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		if (!((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c == '.'))
			return false;
	}
	return s.len > 0;
}

void nh_fw_config_put_string(struct nh_buf *out, nh_slice text)
{
	if (is_bare(text)) {
		nh_buf_put_slice(out, text);
		return;
	}
	nh_buf_put_u8(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '"' || text.ptr[i] == '\\')
			nh_buf_put_u8(out, '\\');
		nh_buf_put_u8(out, text.ptr[i]);
	}
	nh_buf_put_u8(out, '"');
}

static void put_value(struct nh_buf *out, const struct nh_fw_option *row, const struct nh_fw_value *v)
{
	if (row->kind == NH_FW_STRING || row->kind == NH_FW_STRINGS)
		nh_fw_config_put_string(out, v->text);
	else if (row->kind == NH_FW_BOOLEAN)
		nh_buf_put_str(out, v->number ? "true" : "false");
	else
		nh_buf_printf(out, "%lld", (long long)v->number);
}

static bool is_default(const struct nh_fw_option *row, const struct nh_fw_setting *s)
{
	if (s->count != 1)
		return s->count == 0;
	const struct nh_fw_value *v = &s->values[0];
	if (row->kind == NH_FW_STRING || row->kind == NH_FW_STRINGS)
		return v->text.len == 0 || (row->text && nh_slice_eq_str(v->text, row->text));
	return v->number == row->number;
}

static void put_option(struct nh_buf *out, const struct nh_fw_option *row, const struct nh_fw_setting *s)
{
	if (is_default(row, s))
		return;
	nh_buf_printf(out, "%s=", row->name);
	if (s->count == 1) {
		put_value(out, row, &s->values[0]);
	} else {
		for (size_t i = 0; i < s->count; i++) {
			nh_buf_put_u8(out, i == 0 ? '{' : ',');
			put_value(out, row, &s->values[i]);
		}
		nh_buf_put_u8(out, '}');
	}
	nh_buf_put_u8(out, '\n');
}

static void put_rows(struct nh_buf *out, const struct nh_fw_section *section)
{
	for (size_t i = 0; section->rows[i].name; i++) {
		const struct nh_fw_option *row = &section->rows[i];
		const struct nh_fw_setting *s = &section->settings[i];
		if (row->unwritten)
			continue;
		if (row->kind != NH_FW_SECTION) {
			put_option(out, row, s);
			continue;
		}
		for (size_t n = 0; n < s->count; n++) {
			size_t start = out->len;
			if (row->titled) /* titles aren't escaped: reference "3.1" */
				nh_buf_printf(out, "%s \"%.*s\" {\n", row->name, NH_ARG(s->sections[n]->title));
			else
				nh_buf_printf(out, "%s {\n", row->name);
			size_t before = out->len;
			put_rows(out, s->sections[n]);
			/* A task without anything can still be chosen, and must be found. */
			if (out->len == before && !nh_slice_eq_str(nh_slice_str(row->name), "task"))
				nh_buf_truncate(out, start);
			else
				nh_buf_put_str(out, "}\n");
		}
	}
}

void nh_fw_config_write(const struct nh_fw_section *root, struct nh_buf *out)
{
	size_t before = out->len;
	put_rows(out, root);
	if (out->len == before)
		nh_buf_put_str(out, "# Empty file\n");
}

/*
 * Lines of CSV, as RFC 4180 has them.
 */
#include "api_int.h"

void csv_put_cell(struct nh_buf *out, nh_slice text, bool last)
{
	bool quoted = false;
	for (size_t i = 0; i < text.len; i++)
		quoted = quoted || text.ptr[i] == ',' || text.ptr[i] == '"' || text.ptr[i] == '\n' || text.ptr[i] == '\r';
	if (quoted)
		nh_buf_put_u8(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		nh_buf_put_u8(out, text.ptr[i]);
		if (quoted && text.ptr[i] == '"')
			nh_buf_put_u8(out, '"');
	}
	if (quoted)
		nh_buf_put_u8(out, '"');
	nh_buf_put_str(out, last ? "\r\n" : ",");
}

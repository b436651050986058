/*
 * A QR code as inline SVG, for authenticators that look at the screen: one path, no script, nothing fetched.
 */
#include <qrencode.h>

#include "forms_int.h"

#define QUIET 4 /* modules of margin that readers want; source: ISO/IEC 18004 "6.3.8" */

void page_qr(struct form *f, nh_slice text)
{
	QRcode *code = QRcode_encodeString8bit(nh_arena_str(f->arena, text), 0, QR_ECLEVEL_M);
	if (!code)
		return; /* the text beside it says the same */
	int side = code->width + 2 * QUIET;
	nh_buf_printf(&f->page, "<p><svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" aria-label=\"QR code\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">"
	                        "<path fill=\"#fff\" d=\"M0 0h%dv%dH0z\"/><path fill=\"#000\" d=\"", side * 5, side * 5, side, side, side, side);
	for (int y = 0; y < code->width; y++) {
		for (int x = 0; x < code->width; x++) {
			if (code->data[y * code->width + x] & 1)
				nh_buf_printf(&f->page, "M%d %dh1v1h-1z", x + QUIET, y + QUIET);
		}
	}
	nh_buf_put_str(&f->page, "\"/></svg></p>\n");
	QRcode_free(code);
}

/*
 * The text of a page: head, form fields, end, and the headers that keep it to itself. Everything that comes from outside is escaped here; the only text that is not is a constant of this
 * program. The stylesheet is its own (no script, nothing from elsewhere), readable on a phone, light and dark as the reader has it.
 */
#include <stdio.h>

#include "forms_int.h"

#define POLICY "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

static const char stylesheet[] =
	":root{color-scheme:light dark;--ink:#1c1e26;--paper:#fff;--edge:#c9cdd8;--mark:#4338ca;--bad:#b42318;--soft:#f3f4f8}\n"
	"@media (prefers-color-scheme:dark){:root{--ink:#e7e9f0;--paper:#14161d;--edge:#3a3f4d;--mark:#a5b4fc;--bad:#fda29b;--soft:#1f222c}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:36rem;font:1rem/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}\n"
	"h1{font-size:1.5rem;border-bottom:2px solid var(--mark);padding-bottom:.5rem}\nh2{font-size:1.15rem;margin-top:2.5rem}\n"
	"a{color:var(--mark)}\nform{margin:1rem 0}\nlabel{display:block;margin:.75rem 0 .25rem;font-weight:600}\n"
	"input{width:100%;font:inherit;padding:.6rem .7rem;color:inherit;background:var(--paper);border:1px solid var(--edge);border-radius:.4rem}\n"
	"input[type=checkbox]{width:auto;margin-right:.5rem}\n"
	"button{font:inherit;font-weight:600;margin-top:1rem;padding:.6rem 1.2rem;border:0;border-radius:.4rem;color:var(--paper);background:var(--mark);cursor:pointer}\n"
	"input:focus-visible,button:focus-visible,a:focus-visible{outline:3px solid var(--mark);outline-offset:2px}\n"
	".notice{padding:.75rem 1rem;border-left:4px solid var(--mark);background:var(--soft)}\n.bad{border-color:var(--bad)}\n"
	".error{color:var(--bad);margin:.25rem 0 0}\n.code{font:700 1.6rem/1.2 ui-monospace,monospace;letter-spacing:.3em;overflow-wrap:anywhere}\n"
	".secret{font-family:ui-monospace,monospace;overflow-wrap:anywhere;background:var(--soft);padding:.75rem 1rem}\n"
	"ul{list-style:none;padding:0}\nli{border-top:1px solid var(--edge);padding:.75rem 0;overflow-wrap:anywhere}\nli form{margin:0}\nli button{margin-top:.4rem;padding:.3rem .8rem}\n"
	"svg{max-width:100%;height:auto;background:#fff}\nfooter{margin-top:3rem;font-size:.9rem}\n";

void page_html(struct form *f, const char *constant) { nh_buf_put_str(&f->page, constant); }

void page_text(struct form *f, nh_slice text)
{
	static const struct {
		char byte;
		const char *escaped;
	} table[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"}};
	for (size_t i = 0; i < text.len; i++) {
		const char *escaped = NULL;
		for (size_t k = 0; k < NH_ARRAY_LEN(table) && !escaped; k++)
			escaped = text.ptr[i] == (uint8_t)table[k].byte ? table[k].escaped : NULL;
		if (escaped)
			nh_buf_put_str(&f->page, escaped);
		else
			nh_buf_put_u8(&f->page, text.ptr[i]);
	}
}

void page_printf(struct form *f, const char *fmt, ...)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	va_list ap;
	va_start(ap, fmt);
	nh_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	page_text(f, nh_buf_slice(&text));
}

void page_paragraph(struct form *f, const char *text)
{
	page_html(f, "<p>");
	page_text(f, nh_slice_str(text));
	page_html(f, "</p>\n");
}

void page_notice(struct form *f, bool bad, const char *text)
{
	if (!text || !*text)
		return;
	page_html(f, bad ? "<p class=\"notice bad\" role=\"alert\">" : "<p class=\"notice\" role=\"status\">");
	page_text(f, nh_slice_str(text));
	page_html(f, "</p>\n");
}

void page_notice_of(struct form *f, const struct form_notice *notices)
{
	nh_slice word = form_query(f, "notice");
	for (; notices->word; notices++) {
		if (nh_slice_eq_str(word, notices->word))
			page_notice(f, false, notices->text);
	}
}

void page_begin(struct form *f, const char *title)
{
	page_html(f, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	             "<link rel=\"stylesheet\" href=\"/forms.css\">\n<title>");
	page_text(f, nh_slice_str(title));
	page_html(f, " - NervesHub</title>\n</head>\n<body>\n<main>\n<h1>");
	page_text(f, nh_slice_str(title));
	page_html(f, "</h1>\n");
}

void page_send(struct form *f, unsigned status)
{
	page_html(f, "</main>\n");
	if (f->signed_in) {
		page_html(f, "<footer><a href=\"/account\">");
		page_text(f, f->user.email);
		page_html(f, "</a> &middot; <a href=\"/logout\">Sign out</a></footer>\n");
	}
	page_html(f, "</body>\n</html>\n");
	nh_response_header(f->res, "Content-Security-Policy", NH_LIT(POLICY));
	nh_response_header(f->res, "X-Content-Type-Options", NH_LIT("nosniff"));
	nh_response_header(f->res, "X-Frame-Options", NH_LIT("DENY"));
	/* Links of mails are secrets in paths: no other site may hear of them. */
	nh_response_header(f->res, "Referrer-Policy", NH_LIT("same-origin"));
	nh_response_header(f->res, "Cache-Control", NH_LIT("no-store"));
	nh_response_send(f->res, status, "text/html; charset=utf-8", nh_buf_slice(&f->page));
}

void page_message(struct form *f, unsigned status, const char *title, const char *text)
{
	nh_buf_clear(&f->page);
	page_begin(f, title);
	page_paragraph(f, text);
	page_send(f, status);
}

/* ---- forms ------------------------------------------------------------------------------------------------------------- */

void form_begin(struct form *f, const char *action)
{
	page_html(f, "<form method=\"post\" action=\"");
	page_text(f, form_local(nh_slice_str(action), "/"));
	page_html(f, "\">\n");
	form_hidden(f, FORM_FORGERY_FIELD, form_forgery_token(f));
}

void form_hidden(struct form *f, const char *name, nh_slice value)
{
	page_html(f, "<input type=\"hidden\" name=\"");
	page_html(f, name);
	page_html(f, "\" value=\"");
	page_text(f, value);
	page_html(f, "\">\n");
}

static void field_errors(struct form *f, const char *name)
{
	const json_t *list = json_object_get(f->errors, name);
	size_t i;
	json_t *text;
	json_array_foreach(list, i, text) {
		page_html(f, "<p class=\"error\">");
		page_text(f, nh_slice_str(json_string_value(text)));
		page_html(f, "</p>\n");
	}
}

static void checkbox(struct form *f, const struct page_field *field)
{
	page_html(f, "<label><input type=\"checkbox\" value=\"true\" name=\"");
	page_html(f, field->name);
	page_html(f, field->value.len > 0 ? "\" checked>" : "\">");
	page_html(f, field->label);
	page_html(f, "</label>\n");
}

void form_field(struct form *f, const struct page_field *field)
{
	bool code = strcmp(field->type, "code") == 0;
	if (strcmp(field->type, "checkbox") == 0) {
		checkbox(f, field);
		return;
	}
	page_html(f, "<label for=\"");
	page_html(f, field->name);
	page_html(f, "\">");
	page_html(f, field->label);
	page_html(f, "</label>\n<input id=\"");
	page_html(f, field->name);
	page_html(f, "\" name=\"");
	page_html(f, field->name);
	page_html(f, "\" type=\"");
	page_html(f, code ? "text\" autocapitalize=\"off\" spellcheck=\"false" : field->type);
	page_html(f, "\" autocomplete=\"");
	page_html(f, code ? "one-time-code" : field->autocomplete ? field->autocomplete : "off");
	page_html(f, "\" value=\"");
	if (strcmp(field->type, "password") != 0 && !code)
		page_text(f, field->value);
	page_html(f, field->optional ? "\">\n" : "\" required>\n");
	field_errors(f, field->name);
}

void form_end(struct form *f, const char *button)
{
	page_html(f, "<button>");
	page_html(f, button);
	page_html(f, "</button>\n</form>\n");
}

/* ---- the stylesheet ---------------------------------------------------------------------------------------------------- */

void form_stylesheet(struct nh_request *req, struct nh_response *res)
{
	nh_response_header(res, "Cache-Control", NH_LIT("public, max-age=3600"));
	nh_response_header(res, "X-Content-Type-Options", NH_LIT("nosniff"));
	nh_response_send(res, 200, "text/css; charset=utf-8", nh_slice_of(stylesheet, sizeof(stylesheet) - 1));
}

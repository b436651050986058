/*
 * The API for people: a page of the same tables that the OpenAPI document is made of. It works without scripts, loads nothing but its own style sheet, and its policy allows nothing else.
 *
 * source: reference/user-api-and-cli "15"; Content Security Policy Level 3
 */
#include "document_int.h"

#define SHAPES_MAX 256

struct page {
	struct nh_buf *out;
	nh_slice server; /* where the API is, for the examples */
	const struct shape *shapes[SHAPES_MAX];
	size_t shape_count;
};

static void put(struct page *p, const char *html) { nh_buf_put_str(p->out, html); }

static void put_text(struct page *p, nh_slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		switch (text.ptr[i]) {
		case '<': put(p, "&lt;"); break;
		case '>': put(p, "&gt;"); break;
		case '&': put(p, "&amp;"); break;
		case '"': put(p, "&quot;"); break;
		default: nh_buf_put_u8(p->out, text.ptr[i]);
		}
	}
}

static void put_str(struct page *p, const char *text) { put_text(p, nh_slice_str(text)); }

/* ---- members -------------------------------------------------------------------------------------------------------------- */

/* Notes the shape and those in it, for the list of objects at the end. */
static void note(struct page *p, const struct shape *shape)
{
	for (size_t i = 0; i < p->shape_count; i++) {
		if (p->shapes[i] == shape)
			return;
	}
	if (p->shape_count == SHAPES_MAX)
		return;
	p->shapes[p->shape_count++] = shape;
	for (const struct field *f = shape->fields; f->name; f++) {
		if (f->of)
			note(p, f->of);
	}
}

static void put_link(struct page *p, const struct shape *shape)
{
	note(p, shape);
	nh_buf_printf(p->out, "<a href=\"#%s\">%s</a>", shape->name, shape->name);
}

static void put_kind(struct page *p, const struct field *f)
{
	static const char *const kinds[] = {
		[FIELD_TEXT] = "text",     [FIELD_INTEGER] = "integer",   [FIELD_NUMBER] = "number",
		[FIELD_BOOLEAN] = "true or false", [FIELD_OBJECT] = "object",     [FIELD_ID] = "integer, or the same as text",
		[FIELD_MAP] = "object of any members", [FIELD_ANY] = "anything",  [FIELD_TAGS] = "list of texts, or one text with commas",
	};
	if (f->flags & FIELD_LIST)
		put(p, "list of ");
	if (f->kind == FIELD_MAP && f->of)
		put(p, "any names, each with ");
	if (f->of)
		put_link(p, f->of);
	else
		put(p, kinds[f->kind]);
	for (size_t i = 0; f->words && f->words[i]; i++)
		nh_buf_printf(p->out, "%s<code>%s</code>", i ? " or " : ": ", f->words[i]);
	if (f->format)
		nh_buf_printf(p->out, " (%s)", f->format);
	if (f->flags & FIELD_NULLABLE)
		put(p, ", or null");
}

static void put_row(struct page *p, const struct field *f, const char *place)
{
	put(p, "<tr><td><code>");
	put_str(p, f->name);
	put(p, "</code>");
	if (place)
		nh_buf_printf(p->out, "<td>%s", place);
	put(p, "<td>");
	put_kind(p, f);
	nh_buf_printf(p->out, "<td>%s<td>", f->flags & FIELD_OPTIONAL ? "may be absent" : "");
	put_str(p, f->about ? f->about : "");
}

static void put_rows(struct page *p, const struct shape *shape, const char *place)
{
	for (const struct field *f = shape ? shape->fields : NULL; f && f->name; f++)
		put_row(p, f, place);
}

/* ---- one route ------------------------------------------------------------------------------------------------------------ */

static void put_parameters(struct page *p, const struct nh_route *r, const struct endpoint *e)
{
	nh_slice path = nh_slice_str(r->path), name;
	bool rest, any = e->query || e->headers;
	size_t before = p->out->len;
	put(p, "<h4>Parameters</h4><table><tr><th>Name<th>In<th>Type<th><th>Meaning");
	while (document_next_parameter(&path, &name, &rest)) {
		any = true;
		nh_buf_printf(p->out, "<tr><td><code>%.*s</code><td>path<td>text<td><td>%s", NH_ARG(name), rest ? "All of the path that is left; it may hold slashes" : "");
	}
	put_rows(p, e->query, "query");
	put_rows(p, e->headers, "header");
	put(p, "</table>");
	if (!any)
		nh_buf_truncate(p->out, before);
}

static void put_body(struct page *p, const struct nh_route *r, const struct endpoint *e)
{
	for (size_t i = 0; e->body_media && e->body_media[i]; i++)
		nh_buf_printf(p->out, "%s<code>%s</code>", i ? " or " : "<h4>Body</h4><p>", e->body_media[i]);
	if (r->body == NH_BODY_STREAM && !e->body_media)
		nh_buf_printf(p->out, "<h4>Body</h4><p><code>multipart/form-data</code> with the file as part <code>%s</code>.", file_kind_of(e)->noun);
	if (!e->body)
		return;
	put(p, "<h4>Body</h4><p>");
	put(p, e->body_list ? "A list of " : "");
	put_link(p, e->body);
	if (e->nested)
		nh_buf_printf(p->out, ", as it is or within a member <code>%s</code>", e->nested);
	put(p, ".<table><tr><th>Member<th>Type<th><th>Meaning");
	put_rows(p, e->body, NULL);
	put(p, "</table>");
}

static void put_content(struct page *p, const struct endpoint *e, const struct answer *a)
{
	if (a->media)
		nh_buf_printf(p->out, "<code>%s</code>", a->media);
	else if (a->whole)
		put_link(p, a->whole);
	else if (a->status >= 400)
		put(p, "<a href=\"#Errors\">Errors</a>");
	else if (a->status == e->success && e->data) {
		nh_buf_printf(p->out, "<code>data</code>: %s", e->list ? "list of " : "");
		put_link(p, e->data);
		if (e->beside) {
			put(p, ", beside it ");
			put_link(p, e->beside);
		}
	}
}

static void put_answers(struct page *p, const struct nh_route *r, const struct endpoint *e)
{
	struct answer answers[ANSWERS_MAX];
	size_t count = document_answers(r, answers);
	put(p, "<h4>Answers</h4><table><tr><th>Status<th>Body<th>Meaning");
	for (size_t i = 0; i < count; i++) {
		nh_buf_printf(p->out, "<tr><td>%u<td>", answers[i].status);
		put_content(p, e, &answers[i]);
		put(p, "<td>");
		put_str(p, answers[i].about ? answers[i].about : "");
	}
	put(p, "</table>");
}

/* A value that the example gives to a member. */
static void put_value(struct page *p, const struct field *f)
{
	static const char *const values[] = {
		[FIELD_TEXT] = "\"…\"", [FIELD_INTEGER] = "1", [FIELD_NUMBER] = "1.5",        [FIELD_BOOLEAN] = "true", [FIELD_OBJECT] = "{}",
		[FIELD_ID] = "1",       [FIELD_MAP] = "{}",    [FIELD_TAGS] = "[\"a\",\"b\"]", [FIELD_ANY] = "null",
	};
	put(p, f->flags & FIELD_LIST ? "[" : "");
	if (f->words)
		nh_buf_printf(p->out, "\"%s\"", f->words[0]);
	else if (f->kind == FIELD_OBJECT && f->of)
		put(p, "{…}");
	else
		put(p, values[f->kind]);
	put(p, f->flags & FIELD_LIST ? "]" : "");
}

/* With the members that must be there, or else with the first. */
static void put_example_body(struct page *p, const struct endpoint *e)
{
	const struct field *first = e->body->fields;
	while (first->name && first->flags & FIELD_OPTIONAL)
		first++;
	bool none_needed = !first->name;
	const char *between = "";
	put(p, e->body_list ? "[{" : "{");
	for (const struct field *f = e->body->fields; f->name; f++) {
		if (none_needed ? f != e->body->fields : f->flags & FIELD_OPTIONAL)
			continue;
		nh_buf_printf(p->out, "%s\"%s\":", between, f->name);
		put_value(p, f);
		between = ",";
	}
	put(p, e->body_list ? "}]" : "}");
}

static void put_example(struct page *p, const struct nh_route *r, const struct endpoint *e)
{
	put(p, "<pre>curl");
	if (r->method != NH_HTTP_GET)
		nh_buf_printf(p->out, " -X %s", nh_http_method_name(r->method));
	if (!e->anonymous)
		put(p, " -H \"Authorization: Bearer $NERVES_HUB_TOKEN\"");
	if (e->body_media)
		nh_buf_printf(p->out, " -H \"Content-Type: %s\" --data-binary @file", e->body_media[0]);
	else if (r->body == NH_BODY_STREAM)
		nh_buf_printf(p->out, " -F %s=@file.fw", file_kind_of(e)->noun);
	if (e->body) {
		put(p, " \\\n     -H \"Content-Type: application/json\" -d '");
		put_example_body(p, e);
		put(p, "'");
	}
	put(p, " \\\n     '");
	put_text(p, p->server);
	document_put_path(p->out, r->path);
	put(p, "'</pre>");
}

static void put_route(struct page *p, const struct nh_route *r)
{
	const struct endpoint *e = document_endpoint(r);
	put(p, "<details id=\"");
	document_put_operation_id(p->out, r);
	nh_buf_printf(p->out, "\"><summary><b>%s</b> <code>", nh_http_method_name(r->method));
	document_put_path(p->out, r->path);
	put(p, "</code> <span>");
	put_str(p, r->summary);
	put(p, "</span></summary>");
	put_example(p, r, e);
	put_parameters(p, r, e);
	put_body(p, r, e);
	put_answers(p, r, e);
	put(p, "</details>\n");
}

/* ---- the page ------------------------------------------------------------------------------------------------------------- */

/* In the order of their first routes, each word once: fn runs for the first route of every tag. */
static void each_tag(struct page *p, void (*fn)(struct page *p, const char *tag))
{
	const char *seen[64];
	size_t count = 0;
	for (size_t t = 0; document_tables[t]; t++) {
		for (const struct nh_route *r = document_tables[t]; r->path; r++) {
			const char *tag = document_endpoint(r)->tag;
			bool known = false;
			for (size_t i = 0; i < count; i++)
				known = known || nh_slice_eq_str(nh_slice_str(seen[i]), tag);
			if (known || count == NH_ARRAY_LEN(seen))
				continue;
			seen[count++] = tag;
			fn(p, tag);
		}
	}
}

static void put_tag_link(struct page *p, const char *tag)
{
	put(p, "<li><a href=\"#tag_");
	document_put_word(p->out, nh_slice_str(tag));
	nh_buf_printf(p->out, "\">%s</a>", tag);
}

static void put_tag(struct page *p, const char *tag)
{
	put(p, "<h2 id=\"tag_");
	document_put_word(p->out, nh_slice_str(tag));
	nh_buf_printf(p->out, "\">%s</h2>\n", tag);
	for (size_t t = 0; document_tables[t]; t++) {
		for (const struct nh_route *r = document_tables[t]; r->path; r++) {
			if (nh_slice_eq_str(nh_slice_str(document_endpoint(r)->tag), tag))
				put_route(p, r);
		}
	}
}

static void put_shapes(struct page *p)
{
	put(p, "<h2 id=\"objects\">Objects</h2>\n");
	for (size_t i = 0; i < p->shape_count; i++) {
		nh_buf_printf(p->out, "<h3 id=\"%s\">%s</h3><table><tr><th>Member<th>Type<th><th>Meaning", p->shapes[i]->name, p->shapes[i]->name);
		put_rows(p, p->shapes[i], NULL);
		put(p, "</table>\n");
	}
	put(p, "<h3 id=\"Errors\">Errors</h3><p><code>{\"errors\":{\"detail\":\"…\"}}</code> in words, or by member what is wrong with it: "
	       "<code>{\"errors\":{\"name\":[\"can't be blank\"]}}</code>; of a member that is an object, an object of the same form.\n");
}

void handle_docs(struct nh_request *req, struct nh_response *res)
{
	const struct nh_user_api *api = req->app;
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	struct page page = {.out = &out, .server = nh_slice_str(public_url(req))};
	put(&page, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>");
	put_str(&page, api->config.platform_name);
	put(&page, " API</title><link rel=\"stylesheet\" href=\"/api/docs/style.css\"><h1>");
	put_str(&page, api->config.platform_name);
	put(&page, " API</h1><p>For programs, as OpenAPI 3.1: <a href=\"/api/openapi\">/api/openapi</a>. Requests name an API token: <code>Authorization: Bearer nhu_…</code>.<ul>");
	each_tag(&page, put_tag_link);
	put(&page, "<li><a href=\"#objects\">Objects</a></ul>\n");
	each_tag(&page, put_tag);
	put_shapes(&page);
	put(&page, "</html>\n");
	send_common_headers(req, res);
	nh_response_header(res, "content-security-policy", NH_LIT("default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"));
	nh_response_header(res, "x-content-type-options", NH_LIT("nosniff"));
	nh_response_header(res, "referrer-policy", NH_LIT("no-referrer"));
	nh_response_send(res, 200, "text/html; charset=utf-8", nh_buf_slice(&out));
}

static const char style[] =
	"body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}"
	"ul{columns:3}code,pre{font:14px/1.5 ui-monospace,monospace}pre{background:#f4f4f4;padding:.7rem;overflow-x:auto}"
	"summary{cursor:pointer;padding:.3rem 0}summary b{display:inline-block;width:5rem}summary span{color:#666}"
	"details{border-bottom:1px solid #ddd}details[open]{padding-bottom:1rem}"
	"table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.2rem .6rem;border-bottom:1px solid #eee}"
	"@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}pre{background:#2a2a2a}a{color:#8bf}summary span{color:#999}"
	"details,th,td{border-color:#333}}@media(max-width:40rem){ul{columns:1}}\n";

void handle_docs_style(struct nh_request *req, struct nh_response *res)
{
	send_common_headers(req, res);
	nh_response_header(res, "x-content-type-options", NH_LIT("nosniff"));
	nh_response_send(res, 200, "text/css; charset=utf-8", nh_slice_of(style, sizeof(style) - 1));
}

void handle_swagger(struct nh_request *req, struct nh_response *res)
{
	send_common_headers(req, res);
	nh_response_header(res, "location", NH_LIT("/api/docs"));
	nh_response_send(res, 302, NULL, NH_SLICE_EMPTY);
}

#define OPEN_PAGE(id, status_, media_) \
	const struct endpoint id = {.anonymous = true, .fixed = true, .success = (status_), .media = (media_), .tag = "Platform Status"}
OPEN_PAGE(ep_docs, 200, "text/html");
OPEN_PAGE(ep_docs_style, 200, "text/css");
OPEN_PAGE(ep_swagger, 302, "");

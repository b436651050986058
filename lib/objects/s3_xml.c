/*
 * Answers of S3 are flat XML: lists of small records. Elements without children are handed out with their text, namespaces are not looked at. Documents come from the network: depth and
 * texts are bounded, and a document type (entities) ends the reading.
 */
#include <expat.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "s3_int.h"

#define DEPTH_MAX 16
#define ELEMENT_MAX 64
#define TEXT_MAX ((size_t)8 << 10)

struct reading {
	const struct s3_xml *xml;
	XML_Parser parser;
	char names[DEPTH_MAX][ELEMENT_MAX];
	unsigned depth;
	bool leaf; /* no child so far */
	struct nh_buf text;
	bool stopped, refused;
};

static void stop(struct reading *r, bool refused)
{
	r->stopped = !refused;
	r->refused = refused;
	XML_StopParser(r->parser, XML_FALSE);
}

/* A parser that was stopped may still tell of the end of an empty element. */
static bool over(const struct reading *r) { return r->stopped || r->refused; }

static void on_start(void *ctx, const char *name, const char **attributes)
{
	struct reading *r = ctx;
	const char *local = strrchr(name, ':');
	local = local ? local + 1 : name;
	if (r->depth == DEPTH_MAX || strlen(local) >= ELEMENT_MAX) {
		stop(r, true);
		return;
	}
	snprintf(r->names[r->depth++], ELEMENT_MAX, "%s", local);
	r->leaf = true;
	nh_buf_clear(&r->text);
}

static void on_text(void *ctx, const char *text, int len)
{
	struct reading *r = ctx;
	if (over(r))
		return;
	nh_buf_put(&r->text, text, (size_t)len);
	if (!nh_buf_ok(&r->text))
		stop(r, true);
}

static void on_end(void *ctx, const char *name)
{
	struct reading *r = ctx;
	if (over(r))
		return;
	const char *local = r->names[--r->depth];
	bool on = true;
	if (r->leaf && r->xml->leaf)
		on = r->xml->leaf(r->xml->ctx, r->depth ? r->names[r->depth - 1] : "", local, nh_buf_slice(&r->text));
	if (on && r->xml->end)
		on = r->xml->end(r->xml->ctx, local);
	r->leaf = false;
	if (!on)
		stop(r, false);
}

static void on_doctype(void *ctx, const char *name, const char *system, const char *public, int internal) { stop(ctx, true); }

nh_rc s3_xml_read(nh_slice document, const struct s3_xml *xml, struct nh_err *err)
{
	struct reading r = {.xml = xml, .text = {.max = TEXT_MAX}};
	r.parser = XML_ParserCreate("UTF-8");
	if (!r.parser)
		return NH_FAIL(err, NH_ENOMEM, "no memory to read an answer");
	XML_SetUserData(r.parser, &r);
	XML_SetElementHandler(r.parser, on_start, on_end);
	XML_SetCharacterDataHandler(r.parser, on_text);
	XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
	bool whole = document.len <= S3_ANSWER_MAX && XML_Parse(r.parser, (const char *)document.ptr, (int)document.len, 1) == XML_STATUS_OK;
	XML_ParserFree(r.parser);
	nh_buf_fini(&r.text);
	return whole || r.stopped ? NH_OK : NH_FAIL(err, NH_EFORMAT, "the answer is not the XML that S3 writes");
}

struct wanted {
	const char *name;
	struct nh_buf *out;
	bool found;
};

static bool is_wanted(void *ctx, const char *parent, const char *name, nh_slice text)
{
	struct wanted *w = ctx;
	if (strcmp(name, w->name) != 0)
		return true;
	nh_buf_put_slice(w->out, text);
	w->found = true;
	return false;
}

nh_rc s3_xml_text(nh_slice document, const char *name, struct nh_buf *out, struct nh_err *err)
{
	struct wanted w = {.name = name, .out = out};
	NH_TRY(s3_xml_read(document, &(struct s3_xml){.leaf = is_wanted, .ctx = &w}, err));
	return w.found ? NH_OK : NH_FAIL(err, NH_ENOTFOUND, "the answer has no %s", name);
}

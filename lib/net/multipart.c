/*
 * multipart/form-data in pieces. The delimiter "CRLF--boundary" is matched byte by byte; since CR stands only at its start, a failed match is
 * plain data plus the byte at hand, and never needs the input again. Between delimiters runs of bytes without CR are handed on as views.
 */
#include "net/multipart.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "net/http_message.h"

#define DEFAULT_FIELD_BYTES 65536
#define DEFAULT_HEAD_BYTES 4096
#define DEFAULT_PARTS 64

enum state {
	ST_BODY,      /* preamble or a part's content: looking for the delimiter */
	ST_DELIMITED, /* delimiter seen: "--", or padding and CRLF */
	ST_DASH,      /* first '-' seen */
	ST_PADDING_LF,
	ST_HEAD,
	ST_END,
	ST_FAILED,
};

enum part { PART_NONE, PART_FIELD, PART_FILE };

struct nh_multipart {
	struct nh_multipart_events events;
	struct nh_multipart_limits limits;
	struct nh_buf delimiter;
	struct nh_buf head;
	struct nh_buf name;
	struct nh_buf filename;
	struct nh_buf type;
	struct nh_buf value;
	size_t matched; /* bytes of the delimiter */
	unsigned parts;
	enum state state;
	enum part part;
};

static bool boundary_char(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c != 0 && strchr("'()+_,-./:=? ", c));
}

/* Takes `; name=value` off the front of *rest; the value is unquoted into out. False at the end; *bad on a syntax error. */
static bool next_param(nh_slice *rest, nh_slice *name, struct nh_buf *out, bool *bad)
{
	nh_slice s = nh_slice_trim(*rest);
	*bad = false;
	if (s.len == 0)
		return false;
	*bad = true;
	if (s.ptr[0] != ';')
		return false;
	s = nh_slice_trim(nh_slice_skip(s, 1));
	ptrdiff_t eq = nh_slice_chr(s, '=');
	if (eq < 0)
		return false;
	*name = nh_slice_trim(nh_slice_sub(s, 0, (size_t)eq));
	s = nh_slice_skip(s, (size_t)eq + 1);
	nh_buf_clear(out);
	size_t i = 0;
	if (s.len > 0 && s.ptr[0] == '"') {
		for (i = 1; i < s.len && s.ptr[i] != '"'; i++) {
			/* Only these two are escaped by real clients; a path like C:\new must survive. */
			if (s.ptr[i] == '\\' && i + 1 < s.len && (s.ptr[i + 1] == '"' || s.ptr[i + 1] == '\\'))
				i++;
			nh_buf_put_u8(out, s.ptr[i]);
		}
		if (i == s.len)
			return false;
		i++;
	} else {
		while (i < s.len && s.ptr[i] != ';')
			i++;
		nh_buf_put_slice(out, nh_slice_trim(nh_slice_sub(s, 0, i)));
	}
	*rest = nh_slice_skip(s, i);
	*bad = false;
	return true;
}

nh_rc nh_multipart_boundary(nh_slice content_type, nh_slice *boundary)
{
	nh_slice type, rest;
	*boundary = NH_SLICE_EMPTY;
	if (!nh_slice_cut(content_type, ';', &type, &rest) || !nh_slice_ieq(nh_slice_trim(type), NH_LIT("multipart/form-data")))
		return NH_EFORMAT;
	while (rest.len > 0 && boundary->len == 0) {
		nh_slice param, name, value;
		nh_slice_cut(rest, ';', &param, &rest);
		if (!nh_slice_cut(param, '=', &name, &value) || !nh_slice_ieq(nh_slice_trim(name), NH_LIT("boundary")))
			continue;
		value = nh_slice_trim(value);
		if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
			value = nh_slice_sub(value, 1, value.len - 2);
		*boundary = value;
	}
	if (boundary->len == 0 || boundary->len > 70 || boundary->ptr[boundary->len - 1] == ' ')
		return NH_EFORMAT;
	for (size_t i = 0; i < boundary->len; i++)
		if (!boundary_char(boundary->ptr[i]))
			return NH_EFORMAT;
	return NH_OK;
}

nh_rc nh_multipart_new(nh_slice boundary, const struct nh_multipart_limits *limits, const struct nh_multipart_events *events, struct nh_multipart **out, struct nh_err *err)
{
	*out = NULL;
	if (boundary.len == 0 || boundary.len > 70)
		return NH_FAIL(err, NH_EFORMAT, "multipart boundary must have 1 to 70 characters");
	struct nh_multipart *m = nh_xcalloc(1, sizeof *m);
	m->events = *events;
	m->limits = limits ? *limits : (struct nh_multipart_limits){0};
	if (m->limits.field_bytes == 0)
		m->limits.field_bytes = DEFAULT_FIELD_BYTES;
	if (m->limits.head_bytes == 0)
		m->limits.head_bytes = DEFAULT_HEAD_BYTES;
	if (m->limits.parts == 0)
		m->limits.parts = DEFAULT_PARTS;
	m->head.max = m->limits.head_bytes;
	m->value.max = m->limits.field_bytes;
	nh_buf_put_str(&m->delimiter, "\r\n--");
	nh_buf_put_slice(&m->delimiter, boundary);
	m->matched = 2; /* the first delimiter needs no CRLF before it */
	*out = m;
	return NH_OK;
}

void nh_multipart_free(struct nh_multipart *m)
{
	if (!m)
		return;
	struct nh_buf *all[] = {&m->delimiter, &m->head, &m->name, &m->filename, &m->type, &m->value};
	for (size_t i = 0; i < NH_ARRAY_LEN(all); i++)
		nh_buf_fini(all[i]);
	free(m);
}

static nh_rc put_data(struct nh_multipart *m, nh_slice data, struct nh_err *err)
{
	if (data.len == 0)
		return NH_OK;
	if (m->part == PART_FILE)
		return m->events.on_file_data ? m->events.on_file_data(m->events.ctx, data) : NH_OK;
	if (m->part == PART_FIELD) {
		nh_buf_put_slice(&m->value, data);
		if (!nh_buf_ok(&m->value))
			return NH_FAIL(err, NH_ETOOBIG, "form field '%.*s' over %zu bytes", NH_ARG(nh_slice_sub(nh_buf_slice(&m->name), 0, 60)), m->limits.field_bytes);
	}
	return NH_OK;
}

static nh_rc end_part(struct nh_multipart *m)
{
	enum part part = m->part;
	m->part = PART_NONE;
	if (part == PART_FILE && m->events.on_file_end)
		return m->events.on_file_end(m->events.ctx);
	if (part == PART_FIELD && m->events.on_field)
		return m->events.on_field(m->events.ctx, nh_buf_slice(&m->name), nh_buf_slice(&m->value));
	return NH_OK;
}

static nh_rc parse_disposition(struct nh_multipart *m, nh_slice value, bool *has_name, bool *has_file, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_slice kind = value, name;
	bool bad = false;
	ptrdiff_t semi = nh_slice_chr(value, ';');
	if (semi >= 0)
		kind = nh_slice_sub(value, 0, (size_t)semi);
	nh_slice rest = nh_slice_skip(value, kind.len);
	if (!nh_slice_ieq(nh_slice_trim(kind), NH_LIT("form-data")))
		return NH_FAIL(err, NH_EFORMAT, "part is not form-data");
	while (next_param(&rest, &name, &text, &bad)) {
		bool is_name = nh_slice_ieq(name, NH_LIT("name")), is_file = nh_slice_ieq(name, NH_LIT("filename"));
		struct nh_buf *into = is_name ? &m->name : is_file ? &m->filename : NULL;
		if (!into)
			continue;
		nh_buf_clear(into);
		nh_buf_put_slice(into, nh_buf_slice(&text));
		*has_name |= is_name;
		*has_file |= is_file;
	}
	return bad ? NH_FAIL(err, NH_EFORMAT, "broken Content-Disposition of a part") : NH_OK;
}

/* The part's head is complete in m->head, ending with an empty line. */
static nh_rc begin_part(struct nh_multipart *m, struct nh_err *err)
{
	nh_slice head = nh_buf_slice(&m->head);
	bool has_name = false, has_file = false;
	nh_buf_clear(&m->type);
	nh_buf_clear(&m->value);
	while (head.len > 0) {
		nh_slice line, name, value;
		nh_slice_cut(head, '\n', &line, &head);
		line = nh_slice_trim(line);
		if (line.len == 0)
			continue;
		if (!nh_slice_cut(line, ':', &name, &value))
			return NH_FAIL(err, NH_EFORMAT, "header of a part without colon");
		if (nh_slice_ieq(name, NH_LIT("content-disposition")))
			NH_TRY(parse_disposition(m, nh_slice_trim(value), &has_name, &has_file, err));
		else if (nh_slice_ieq(name, NH_LIT("content-type")))
			nh_buf_put_slice(&m->type, nh_slice_trim(value));
	}
	nh_buf_clear(&m->head);
	if (!has_name)
		return NH_FAIL(err, NH_EFORMAT, "part without a name");
	m->part = has_file ? PART_FILE : PART_FIELD;
	if (has_file && m->events.on_file_begin)
		return m->events.on_file_begin(m->events.ctx, nh_buf_slice(&m->name), nh_buf_slice(&m->filename), nh_buf_slice(&m->type));
	return NH_OK;
}

/* Content up to and including the next delimiter, or all of in. */
static nh_rc feed_body(struct nh_multipart *m, nh_slice *in, struct nh_err *err)
{
	nh_slice delimiter = nh_buf_slice(&m->delimiter);
	if (m->matched == 0) {
		ptrdiff_t cr = nh_slice_chr(*in, '\r');
		size_t plain = cr < 0 ? in->len : (size_t)cr;
		nh_slice data = nh_slice_sub(*in, 0, plain);
		*in = nh_slice_skip(*in, plain);
		NH_TRY(put_data(m, data, err));
	}
	while (in->len > 0 && m->matched < delimiter.len) {
		if (in->ptr[0] != delimiter.ptr[m->matched]) {
			/* What was held back was data. The preamble's virtual CRLF lands in PART_NONE and vanishes. */
			nh_slice held = nh_slice_sub(delimiter, 0, m->matched);
			m->matched = 0;
			return put_data(m, held, err);
		}
		m->matched++;
		*in = nh_slice_skip(*in, 1);
	}
	if (m->matched < delimiter.len)
		return NH_OK;
	m->matched = 0;
	m->state = ST_DELIMITED;
	return end_part(m);
}

static nh_rc feed_head(struct nh_multipart *m, nh_slice *in, struct nh_err *err)
{
	while (in->len > 0) {
		uint8_t c = in->ptr[0];
		*in = nh_slice_skip(*in, 1);
		if (c == 0)
			return NH_FAIL(err, NH_EFORMAT, "NUL in the head of a part");
		nh_buf_put_u8(&m->head, c);
		if (!nh_buf_ok(&m->head))
			return NH_FAIL(err, NH_ETOOBIG, "head of a part over %zu bytes", m->limits.head_bytes);
		nh_slice head = nh_buf_slice(&m->head);
		if (c == '\n' && (nh_slice_eq_str(head, "\r\n") || nh_slice_ends(head, NH_LIT("\r\n\r\n")))) {
			m->state = ST_BODY;
			return begin_part(m, err);
		}
	}
	return NH_OK;
}

/* The few bytes between delimiter and part head. */
static nh_rc feed_delimiter_end(struct nh_multipart *m, nh_slice *in, struct nh_err *err)
{
	uint8_t c = in->ptr[0];
	*in = nh_slice_skip(*in, 1);
	if (m->state == ST_DASH && c == '-') {
		m->state = ST_END;
	} else if (m->state == ST_PADDING_LF && c == '\n') {
		if (++m->parts > m->limits.parts)
			return NH_FAIL(err, NH_ETOOBIG, "form with more than %u parts", m->limits.parts);
		m->state = ST_HEAD;
	} else if (m->state == ST_DELIMITED && c == '-') {
		m->state = ST_DASH;
	} else if (m->state == ST_DELIMITED && c == '\r') {
		m->state = ST_PADDING_LF;
	} else if (m->state != ST_DELIMITED || (c != ' ' && c != '\t')) {
		return NH_FAIL(err, NH_EFORMAT, "multipart delimiter followed by something else");
	}
	return NH_OK;
}

nh_rc nh_multipart_feed(struct nh_multipart *m, nh_slice in, struct nh_err *err)
{
	NH_ASSERT(m->state != ST_FAILED);
	while (in.len > 0 && m->state != ST_END) {
		nh_rc rc = m->state == ST_BODY ? feed_body(m, &in, err) : m->state == ST_HEAD ? feed_head(m, &in, err) : feed_delimiter_end(m, &in, err);
		if (rc != NH_OK) {
			m->state = ST_FAILED;
			return rc;
		}
	}
	return NH_OK;
}

nh_rc nh_multipart_end(struct nh_multipart *m, struct nh_err *err)
{
	return m->state == ST_END ? NH_OK : NH_FAIL(err, NH_EFORMAT, "the form ends before its closing delimiter");
}

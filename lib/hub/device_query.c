/*
 * Reads the query language: a lexer of four kinds of token, a table of columns, and a parser that follows the grammar. The first fault ends it, with its place.
 *
 * Depth and number of tests are bounded here, for everybody who walks the tree afterwards.
 */
#include "hub/device_query.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"

typedef enum token_kind { TOKEN_END, TOKEN_WORD, TOKEN_QUOTED, TOKEN_SIGN, TOKEN_BROKEN } token_kind;

struct token {
	token_kind kind;
	size_t at;
	nh_slice text; /* of QUOTED: without quotes and escapes */
};

struct parser {
	struct nh_arena *arena;
	nh_slice text;
	size_t pos;
	int64_t now_us;
	struct token token; /* the next one */
	struct nh_query_fault *fault;
	unsigned depth, tests;
};

/* ---- columns ------------------------------------------------------------------------------------------------------------- */

typedef enum operators { BY_PATTERN, BY_EQUALITY, BY_CONTENT, BY_MOMENT, BY_STATE, BY_SIZE } operators;

static const struct {
	const char *first, *second; /* the operator, in one word or two */
	operators of;
	bool negated;
} signs[] = {
	{"like", NULL, BY_PATTERN, false},   {"not", "like", BY_PATTERN, true},      {"=", NULL, BY_EQUALITY, false}, {"!=", NULL, BY_EQUALITY, true},
	{"contains", NULL, BY_CONTENT, false}, {"not_contains", NULL, BY_CONTENT, true}, {"is", "not", BY_STATE, true},   {"is", NULL, BY_STATE, false},
	{">", NULL, BY_MOMENT, false},       {"<", NULL, BY_MOMENT, false},          {">", NULL, BY_SIZE, false},     {">=", NULL, BY_SIZE, false},
	{"<", NULL, BY_SIZE, false},         {"<=", NULL, BY_SIZE, false},
};

static const char *const sign_texts[] = {
	[BY_PATTERN] = "like or not like", [BY_EQUALITY] = "= or !=",        [BY_CONTENT] = "contains or not_contains",
	[BY_MOMENT] = "> or <",            [BY_STATE] = "is or is not",      [BY_SIZE] = ">, >=, < or <=",
};

static const struct column {
	const char *name;
	nh_device_column column;
	operators operators;
	bool not_set;             /* may be ":not_set" */
	const char *const values; /* the legal ones, with blanks around each; NULL: any text */
} columns[] = {
	{"identifier", NH_COLUMN_IDENTIFIER, BY_PATTERN, false, NULL},
	{"search", NH_COLUMN_SEARCH, BY_PATTERN, false, NULL},
	{"platform", NH_COLUMN_PLATFORM, BY_EQUALITY, false, NULL},
	{"architecture", NH_COLUMN_ARCHITECTURE, BY_EQUALITY, false, NULL},
	{"firmware", NH_COLUMN_FIRMWARE, BY_EQUALITY, false, NULL},
	{"deployment_group", NH_COLUMN_GROUP, BY_EQUALITY, true, NULL},
	{"tags", NH_COLUMN_TAGS, BY_CONTENT, true, NULL},
	{"connection", NH_COLUMN_CONNECTION, BY_EQUALITY, false, "connected, connecting, disconnected, not_seen"},
	{"connection_type", NH_COLUMN_CONNECTION_TYPE, BY_EQUALITY, false, "cellular, ethernet, wifi, unknown"},
	{"last_seen", NH_COLUMN_LAST_SEEN, BY_MOMENT, false, NULL},
	{"health_status", NH_COLUMN_HEALTH, BY_EQUALITY, false, "unknown, healthy, warning, unhealthy"},
	{"alarm_status", NH_COLUMN_ALARM_STATUS, BY_EQUALITY, false, "with, without"},
	{"alarm", NH_COLUMN_ALARM, BY_CONTENT, false, NULL},
	{"updates", NH_COLUMN_UPDATES, BY_EQUALITY, false, "enabled, disabled, penalty-box"},
	{"update_status", NH_COLUMN_UPDATE_STATUS, BY_STATE, false, "updating, not updating"},
	{"deleted", NH_COLUMN_DELETED, BY_EQUALITY, false, "true, false"},
};

static const struct column metric = {"metric:", NH_COLUMN_METRIC, BY_SIZE, false, NULL};
#define METRIC_PREFIX NH_LIT("metric:")

static const struct column *column_find(nh_slice word)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(columns); i++) {
		if (nh_slice_ieq(word, nh_slice_str(columns[i].name)))
			return &columns[i];
	}
	bool is_metric = word.len > METRIC_PREFIX.len && nh_slice_ieq(nh_slice_sub(word, 0, METRIC_PREFIX.len), METRIC_PREFIX);
	return is_metric ? &metric : NULL;
}

/* The legal value that the text is, without case; pointer NULL where it is none. */
static nh_slice value_find(const struct column *column, nh_slice text)
{
	nh_slice value, rest = nh_slice_str(column->values);
	while (rest.len > 0) {
		nh_slice_cut(rest, ',', &value, &rest);
		value = nh_slice_trim(value);
		if (nh_slice_ieq(value, text))
			return value;
	}
	return NH_SLICE_EMPTY;
}

/* ---- tokens -------------------------------------------------------------------------------------------------------------- */

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static bool is_bare(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == ':' || c == '-';
}

static nh_rc fault(struct parser *p, size_t at, const char *text)
{
	*p->fault = (struct nh_query_fault){at, text};
	return NH_EINVAL;
}

/* \" and \\ are escapes; any other backslash stays. */
static struct token read_quoted(struct parser *p, size_t at)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	for (size_t i = at + 1; i < p->text.len; i++) {
		uint8_t c = p->text.ptr[i];
		bool escape = c == '\\' && i + 1 < p->text.len && (p->text.ptr[i + 1] == '"' || p->text.ptr[i + 1] == '\\');
		if (c == '"') {
			p->pos = i + 1;
			return (struct token){TOKEN_QUOTED, at, nh_arena_copy(p->arena, nh_buf_slice(&out))};
		}
		nh_buf_put_u8(&out, escape ? p->text.ptr[++i] : c);
	}
	p->pos = p->text.len;
	return (struct token){TOKEN_BROKEN, at, NH_LIT("a quotation that does not end")};
}

static struct token read_token(struct parser *p)
{
	while (p->pos < p->text.len && is_blank(p->text.ptr[p->pos]))
		p->pos++;
	size_t at = p->pos;
	if (at == p->text.len)
		return (struct token){TOKEN_END, at, NH_SLICE_EMPTY};
	uint8_t c = p->text.ptr[at];
	if (c == '"')
		return read_quoted(p, at);
	if (is_bare(c)) {
		while (p->pos < p->text.len && is_bare(p->text.ptr[p->pos]))
			p->pos++;
		return (struct token){TOKEN_WORD, at, nh_slice_sub(p->text, at, p->pos - at)};
	}
	bool equals_behind = at + 1 < p->text.len && p->text.ptr[at + 1] == '=';
	if (c == '(' || c == ')' || c == '=' || c == '<' || c == '>' || (c == '!' && equals_behind)) {
		p->pos += (c == '!' || c == '<' || c == '>') && equals_behind ? 2 : 1;
		return (struct token){TOKEN_SIGN, at, nh_slice_sub(p->text, at, p->pos - at)};
	}
	p->pos = at + 1;
	return (struct token){TOKEN_BROKEN, at, NH_LIT("a character that means nothing here; texts with such characters stand in quotation marks")};
}

static void step(struct parser *p) { p->token = read_token(p); }

static bool at_word(const struct parser *p, const char *word) { return p->token.kind == TOKEN_WORD && nh_slice_ieq(p->token.text, nh_slice_str(word)); }

static bool at_sign(const struct parser *p, const char *sign)
{
	return (p->token.kind == TOKEN_SIGN || p->token.kind == TOKEN_WORD) && nh_slice_ieq(p->token.text, nh_slice_str(sign));
}

static nh_rc unexpected(struct parser *p, const char *wanted)
{
	const struct token *t = &p->token;
	if (t->kind == TOKEN_BROKEN)
		return fault(p, t->at, (const char *)t->text.ptr);
	if (t->kind == TOKEN_END)
		return fault(p, t->at, nh_arena_printf(p->arena, "expected %s instead of the end", wanted));
	return fault(p, t->at, nh_arena_printf(p->arena, "expected %s instead of '%.*s'", wanted, (int)(t->text.len > 60 ? 60 : t->text.len), (const char *)t->text.ptr));
}

/* ---- values -------------------------------------------------------------------------------------------------------------- */

/* "3 days ago", in hours, days or weeks; or a moment as ISO 8601. */
static bool read_moment(const struct parser *p, nh_slice text, int64_t *out)
{
	static const struct {
		const char *unit;
		int64_t hours;
	} units[] = {{"hour", 1}, {"hours", 1}, {"day", 24}, {"days", 24}, {"week", 168}, {"weeks", 168}};
	nh_slice count, unit, rest;
	int64_t n;
	if (nh_time_parse_iso(text, out) == NH_OK)
		return true;
	nh_slice_cut(text, ' ', &count, &rest);
	nh_slice_cut(rest, ' ', &unit, &rest);
	if (nh_parse_i64(count, 0, 10000, &n) != NH_OK || !nh_slice_ieq(rest, NH_LIT("ago")))
		return false;
	for (size_t i = 0; i < NH_ARRAY_LEN(units); i++) {
		if (nh_slice_ieq(unit, nh_slice_str(units[i].unit))) {
			*out = p->now_us - n * units[i].hours * 3600 * NH_US_PER_S;
			return true;
		}
	}
	return false;
}

static bool read_number(nh_slice text, double *out)
{
	NH_AUTO_JSON json_t *value = NULL;
	if (nh_json_parse(text, 64, &value, NULL) != NH_OK || !json_is_number(value))
		return false;
	*out = json_number_value(value);
	return true;
}

static nh_rc read_value(struct parser *p, const struct column *column, struct nh_expression *test)
{
	const struct token t = p->token;
	test->at = t.at;
	test->value = t.text;
	if (t.kind != TOKEN_WORD && t.kind != TOKEN_QUOTED)
		return unexpected(p, column->values ? nh_arena_printf(p->arena, "one of %s", column->values) : "a value");
	if (column->values) {
		test->value = value_find(column, t.text);
		if (!test->value.ptr)
			return unexpected(p, nh_arena_printf(p->arena, "one of %s", column->values));
	} else if (column->not_set && t.kind == TOKEN_WORD && nh_slice_ieq(t.text, NH_LIT(":not_set"))) {
		test->not_set = true;
		test->value = NH_SLICE_EMPTY;
	} else if (column->operators == BY_MOMENT && !read_moment(p, t.text, &test->moment)) {
		return unexpected(p, "a time as \"3 days ago\" or \"2026-01-31T12:00:00Z\"");
	} else if (column->operators == BY_SIZE && !read_number(t.text, &test->number)) {
		return unexpected(p, "a number");
	} else if (column->column == NH_COLUMN_TAGS && (t.text.len == 0 || nh_slice_eq_str(t.text, ","))) {
		return fault(p, t.at, "no device has such a tag; those without any are: tags contains :not_set");
	}
	step(p);
	return NH_OK;
}

/* ---- grammar ------------------------------------------------------------------------------------------------------------- */

static nh_rc read_sign(struct parser *p, const struct column *column, struct nh_expression *test)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(signs); i++) {
		if (signs[i].of != column->operators || !at_sign(p, signs[i].first))
			continue;
		const struct parser before = *p;
		test->compare = nh_slice_str(signs[i].first);
		test->negated = signs[i].negated;
		step(p);
		if (!signs[i].second)
			return NH_OK;
		if (at_word(p, signs[i].second)) {
			step(p);
			return NH_OK;
		}
		*p = before;
	}
	test->negated = false;
	return unexpected(p, sign_texts[column->operators]);
}

/* "is not updating" says the same as "is" with the value "not updating", in whichever way it is read. */
static nh_rc read_test(struct parser *p, const struct nh_expression **out)
{
	const struct column *column = p->token.kind == TOKEN_WORD ? column_find(p->token.text) : NULL;
	if (!column)
		return unexpected(p, "a column, 'not' or '('");
	if (++p->tests > NH_QUERY_TESTS_MAX)
		return fault(p, p->token.at, "more than 40 conditions");
	struct nh_expression *test = NH_NEW(p->arena, struct nh_expression);
	test->column = column->column;
	test->key = column == &metric ? nh_slice_skip(p->token.text, METRIC_PREFIX.len) : NH_SLICE_EMPTY;
	step(p);
	NH_TRY(read_sign(p, column, test));
	NH_TRY(read_value(p, column, test));
	*out = test;
	return NH_OK;
}

static nh_rc read_or(struct parser *p, const struct nh_expression **out);

static nh_rc read_term(struct parser *p, const struct nh_expression **out)
{
	bool negation = at_word(p, "not");
	if (!negation && !at_sign(p, "("))
		return read_test(p, out);
	if (p->depth == NH_QUERY_DEPTH_MAX)
		return fault(p, p->token.at, "nested more than 32 times");
	p->depth++;
	step(p);
	if (negation) {
		struct nh_expression *e = NH_NEW(p->arena, struct nh_expression);
		e->kind = NH_EXPRESSION_NOT;
		NH_TRY(read_term(p, &e->left));
		*out = e;
	} else {
		NH_TRY(read_or(p, out));
		if (!at_sign(p, ")"))
			return unexpected(p, "'and', 'or' or ')'");
		step(p);
	}
	p->depth--;
	return NH_OK;
}

/* What `word` joins, from the left; each side is read by `side`. */
static nh_rc read_chain(struct parser *p, const char *word, nh_expression_kind kind, nh_rc (*side)(struct parser *, const struct nh_expression **),
                        const struct nh_expression **out)
{
	NH_TRY(side(p, out));
	while (at_word(p, word)) {
		struct nh_expression *e = NH_NEW(p->arena, struct nh_expression);
		step(p);
		e->kind = kind;
		e->left = *out;
		NH_TRY(side(p, &e->right));
		*out = e;
	}
	return NH_OK;
}

static nh_rc read_and(struct parser *p, const struct nh_expression **out) { return read_chain(p, "and", NH_EXPRESSION_AND, read_term, out); }

static nh_rc read_or(struct parser *p, const struct nh_expression **out) { return read_chain(p, "or", NH_EXPRESSION_OR, read_and, out); }

static nh_rc read_query(struct parser *p, const struct nh_expression **out)
{
	step(p);
	NH_TRY(read_or(p, out));
	return p->token.kind == TOKEN_END ? NH_OK : unexpected(p, "'and', 'or' or the end");
}

/* ---- text that is no query ----------------------------------------------------------------------------------------------- */

static bool looks_like_query(struct nh_arena *arena, nh_slice text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '=' || text.ptr[i] == '<' || text.ptr[i] == '>' || text.ptr[i] == '"')
			return true;
	}
	struct parser p = {.arena = arena, .text = text};
	step(&p);
	return at_sign(&p, "(") || at_word(&p, "not") || (p.token.kind == TOKEN_WORD && column_find(p.token.text) != NULL);
}

static const struct nh_expression *search_for(struct nh_arena *arena, nh_slice text)
{
	NH_AUTO_BUF struct nh_buf pattern = NH_BUF_INIT;
	nh_buf_put_u8(&pattern, '%');
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '%' || text.ptr[i] == '_' || text.ptr[i] == '\\')
			nh_buf_put_u8(&pattern, '\\');
		nh_buf_put_u8(&pattern, text.ptr[i]);
	}
	nh_buf_put_u8(&pattern, '%');
	struct nh_expression *e = NH_NEW(arena, struct nh_expression);
	e->column = NH_COLUMN_SEARCH;
	e->value = nh_arena_copy(arena, nh_buf_slice(&pattern));
	return e;
}

nh_rc nh_device_query_parse(struct nh_arena *arena, nh_slice text, int64_t now_us, const struct nh_expression **out, struct nh_query_fault *why, struct nh_err *err)
{
	struct parser p = {.arena = arena, .text = text, .now_us = now_us, .fault = why};
	nh_slice bare = nh_slice_trim(text);
	nh_rc rc = NH_OK;
	*out = NULL;
	if (bare.len == 0)
		return NH_OK;
	if (text.len > NH_QUERY_MAX_BYTES || !nh_utf8_valid(text) || nh_slice_chr(text, 0) >= 0)
		rc = fault(&p, 0, "is no text of at most 4096 bytes");
	else
		rc = read_query(&p, out);
	if (rc != NH_OK && text.len <= NH_QUERY_MAX_BYTES && nh_utf8_valid(text) && nh_slice_chr(text, 0) < 0 && !looks_like_query(arena, bare)) {
		*out = search_for(arena, bare);
		return NH_OK;
	}
	if (rc == NH_OK)
		return NH_OK;
	*out = NULL;
	return NH_FAIL(err, rc, "query, byte %zu: %s", why->at + 1, why->text);
}

/*
 * Parser of the configuration language: tokens to a tree of sections and settings, driven by the language table.
 *
 * Recursive descent with a bounded depth, all state in `struct parser`. Creation (hooks given) executes define, define-eval and include and hands
 * calls to the creator; reading (no hooks) refuses these and skips whatever the table does not know, so that newer archives stay readable.
 * source: reference/fwup-format "2.2", "2.3", "8"
 */
#include "firmware/config.h"

#include "lexer_int.h"

#define DEPTH_MAX 16
#define LIST_MAX 100000
#define SECTIONS_MAX 4096

struct parser {
	struct fw_lexer x;
	struct nh_fw_vars *vars;
	const struct nh_fw_config_hooks *hooks;
	struct nh_arena *arena;
	struct nh_fw_section *root;
	unsigned depth;
};

#define REFUSE(p, err, ...) refuse((p), (err), NH_FAIL((err), NH_EFORMAT, __VA_ARGS__))

/* Puts "NAME:LINE: " of the current token in front. */
static nh_rc refuse(const struct parser *p, struct nh_err *err, nh_rc rc)
{
	return nh_err_prefix(err, rc, "%s:%u", p->x.name, p->x.line);
}

static size_t row_index(const struct nh_fw_option *rows, nh_slice name)
{
	size_t i = 0;
	while (rows[i].name && !nh_slice_eq_str(name, rows[i].name))
		i++;
	return i;
}

static struct nh_fw_section *section_new(struct parser *p, const struct nh_fw_option *rows, nh_slice title)
{
	size_t count = 0;
	while (rows[count].name)
		count++;
	struct nh_fw_section *s = NH_NEW(p->arena, struct nh_fw_section);
	s->title = title;
	s->rows = rows;
	s->settings = NH_NEW_ARRAY(p->arena, count, struct nh_fw_setting);
	s->line = p->x.line;
	s->path = p->x.path;
	return s;
}

/* Room for one more element; elements are of one size per setting. */
static void *grown(struct nh_arena *arena, const void *old, size_t count, size_t *capacity, size_t element)
{
	if (count < *capacity)
		return (void *)(uintptr_t)old;
	size_t next = *capacity ? *capacity * 2 : 1;
	uint8_t *fresh = nh_arena_array(arena, next, element);
	for (size_t i = 0; i < count * element; i++)
		fresh[i] = ((const uint8_t *)old)[i];
	*capacity = next;
	return fresh;
}

static void append_value(struct nh_arena *arena, struct nh_fw_setting *s, struct nh_fw_value v)
{
	s->values = grown(arena, s->values, s->count, &s->capacity, sizeof v);
	s->values[s->count++] = v;
	s->is_set = true;
}

static nh_rc convert(struct parser *p, const struct nh_fw_option *row, nh_slice text, struct nh_fw_value *v, struct nh_err *err)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {{"true", true}, {"on", true}, {"yes", true}, {"false", false}, {"off", false}, {"no", false}};
	*v = (struct nh_fw_value){.text = text};
	if (row->kind == NH_FW_INTEGER || row->kind == NH_FW_INTEGERS) {
		if (nh_fw_parse_int(text, &v->number) != NH_OK)
			return REFUSE(p, err, "invalid integer value for option '%s'", row->name);
	} else if (row->kind == NH_FW_BOOLEAN) {
		size_t i = 0;
		while (i < NH_ARRAY_LEN(words) && !nh_slice_ieq(text, nh_slice_str(words[i].word)))
			i++;
		if (i == NH_ARRAY_LEN(words))
			return REFUSE(p, err, "invalid boolean value for option '%s'", row->name);
		v->number = words[i].value;
	}
	return NH_OK;
}

static nh_rc one_value(struct parser *p, const struct nh_fw_option *row, struct nh_fw_setting *s, struct nh_err *err)
{
	struct nh_fw_value v;
	NH_TRY(convert(p, row, p->x.text, &v, err));
	if (s->count >= LIST_MAX)
		return REFUSE(p, err, "option '%s' has too many values", row->name);
	append_value(p->arena, s, v);
	return NH_OK;
}

/* Behind the name: `= value`, `= { list }` or `+= …`. The current token is the sign. */
static nh_rc assignment(struct parser *p, const struct nh_fw_option *row, struct nh_fw_setting *s, struct nh_err *err)
{
	bool list = row->kind == NH_FW_STRINGS || row->kind == NH_FW_INTEGERS;
	if (p->x.token == FW_APPEND && !list)
		return REFUSE(p, err, "'+=' needs a list, and '%s' isn't one", row->name);
	if (p->x.token == FW_EQUALS)
		s->count = 0;
	s->is_set = true;
	NH_TRY(fw_lexer_next(&p->x, err));
	if (p->x.token == FW_STRING)
		return one_value(p, row, s, err);
	if (!list || p->x.token != FW_OPEN)
		return REFUSE(p, err, "a value for option '%s' was expected", row->name);
	for (;;) {
		NH_TRY(fw_lexer_next(&p->x, err));
		if (p->x.token == FW_CLOSE)
			return NH_OK;
		if (p->x.token != FW_STRING)
			return REFUSE(p, err, "a value for option '%s' was expected", row->name);
		NH_TRY(one_value(p, row, s, err));
		NH_TRY(fw_lexer_next(&p->x, err));
		if (p->x.token == FW_CLOSE)
			return NH_OK;
		if (p->x.token != FW_COMMA)
			return REFUSE(p, err, "',' or '}' was expected in the list '%s'", row->name);
	}
}

static nh_rc items(struct parser *p, struct nh_fw_section *in, const struct nh_fw_option *row, bool top, struct nh_err *err);

static nh_rc section(struct parser *p, const struct nh_fw_option *row, struct nh_fw_setting *s, struct nh_err *err)
{
	nh_slice title = NH_SLICE_EMPTY;
	if (row->titled) {
		if (p->x.token != FW_STRING)
			return REFUSE(p, err, "section '%s' needs a title", row->name);
		title = p->x.text;
		for (size_t i = 0; i < s->count; i++)
			if (nh_slice_eq(s->sections[i]->title, title))
				return REFUSE(p, err, "found duplicate title '%.*s'", NH_ARG(title));
		NH_TRY(fw_lexer_next(&p->x, err));
	}
	if (p->x.token != FW_OPEN)
		return REFUSE(p, err, "'{' was expected behind section '%s'", row->name);
	struct nh_fw_section *section;
	if (!row->titled && s->count == 1) {
		section = s->sections[0]; /* given twice: its actions accumulate */
	} else {
		if (s->count >= SECTIONS_MAX)
			return REFUSE(p, err, "too many sections '%s'", row->name);
		section = section_new(p, row->rows, title);
		s->sections = grown(p->arena, s->sections, s->count, &s->capacity, sizeof section);
		s->sections[s->count++] = section;
		s->is_set = true;
	}
	NH_TRY(items(p, section, row, false, err));
	if (p->hooks && p->hooks->section_end)
		NH_TRY(p->hooks->section_end(p->hooks->ctx, p->root, row, section, err));
	return NH_OK;
}

/* Everything that belongs to a name the table does not know. The current token is the one behind the name. */
static nh_rc skip_unknown(struct parser *p, struct nh_err *err)
{
	if (p->x.token == FW_STRING) /* the title of a section */
		NH_TRY(fw_lexer_next(&p->x, err));
	else if (p->x.token == FW_EQUALS || p->x.token == FW_APPEND) {
		NH_TRY(fw_lexer_next(&p->x, err));
		if (p->x.token == FW_STRING)
			return NH_OK;
	}
	fw_token open = p->x.token, close = open == FW_OPEN ? FW_CLOSE : FW_PAREN_CLOSE;
	if (open != FW_OPEN && open != FW_PAREN_OPEN)
		return REFUSE(p, err, "syntax error");
	for (unsigned depth = 1; depth > 0;) {
		NH_TRY(fw_lexer_next(&p->x, err));
		if (p->x.token == FW_END)
			return REFUSE(p, err, "unexpected end of the configuration");
		if (p->x.token == open)
			depth++;
		else if (p->x.token == close)
			depth--;
	}
	return NH_OK;
}

/* Behind '(': strings up to ')'. strings[0] is set by the caller. */
static nh_rc arguments(struct parser *p, nh_slice strings[NH_FW_CALL_ARGS_MAX], size_t *count, struct nh_err *err)
{
	NH_TRY(fw_lexer_next(&p->x, err));
	while (p->x.token != FW_PAREN_CLOSE) {
		if (p->x.token != FW_STRING)
			return REFUSE(p, err, "an argument of %.*s() was expected", NH_ARG(strings[0]));
		if (*count == NH_FW_CALL_ARGS_MAX)
			return REFUSE(p, err, "too many arguments to %.*s()", NH_ARG(strings[0]));
		strings[(*count)++] = p->x.text;
		NH_TRY(fw_lexer_next(&p->x, err));
		if (p->x.token == FW_COMMA)
			NH_TRY(fw_lexer_next(&p->x, err));
		else if (p->x.token != FW_PAREN_CLOSE)
			return REFUSE(p, err, "',' or ')' was expected in %.*s()", NH_ARG(strings[0]));
	}
	return NH_OK;
}

static nh_rc run_define(struct parser *p, const nh_slice *strings, size_t count, struct nh_err *err)
{
	bool always = nh_slice_ends(strings[0], NH_LIT("!"));
	bool eval = nh_slice_starts(strings[0], NH_LIT("define-eval"));
	if (count != 3)
		return REFUSE(p, err, "%.*s() takes a name and a value", NH_ARG(strings[0]));
	nh_slice old;
	if (!p->vars || (!always && nh_fw_vars_get(p->vars, strings[1], &old)))
		return NH_OK;
	if (!eval) {
		nh_fw_vars_set(p->vars, strings[1], strings[2]);
		return NH_OK;
	}
	int64_t value;
	nh_rc rc = nh_fw_eval(strings[2], &value, err);
	if (rc != NH_OK)
		return refuse(p, err, rc);
	nh_fw_vars_set(p->vars, strings[1], nh_slice_str(nh_arena_printf(p->arena, "%lld", (long long)value)));
	return NH_OK;
}

static nh_rc run_include(struct parser *p, const nh_slice *strings, size_t count, struct nh_err *err)
{
	if (count != 2)
		return REFUSE(p, err, "include() takes one path");
	if (strings[1].len == 0)
		return REFUSE(p, err, "Cannot include the contents of an undefined variable");
	nh_slice text;
	const char *resolved;
	nh_rc rc = p->hooks->include(p->hooks->ctx, p->x.path, strings[1], p->arena, &text, &resolved, err);
	if (rc != NH_OK)
		return refuse(p, err, rc);
	return fw_lexer_include(&p->x, text, resolved, err);
}

/* name( … ). The current token is '('. */
static nh_rc call(struct parser *p, struct nh_fw_section *in, const struct nh_fw_option *row, nh_slice name, struct nh_err *err)
{
	nh_slice strings[NH_FW_CALL_ARGS_MAX] = {name};
	size_t count = 1;
	bool live = nh_slice_eq_str(name, "define") || nh_slice_eq_str(name, "define!") || nh_slice_eq_str(name, "define-eval") ||
		    nh_slice_eq_str(name, "define-eval!");
	bool include = nh_slice_eq_str(name, "include");
	if (!p->hooks) {
		/* Two readers of one signed text must understand the same: what the reference would execute is refused, not skipped. */
		if (live || include)
			return REFUSE(p, err, "%.*s() isn't allowed in meta.conf", NH_ARG(name));
		return skip_unknown(p, err);
	}
	NH_TRY(arguments(p, strings, &count, err));
	if (live)
		return run_define(p, strings, count, err);
	if (include)
		return run_include(p, strings, count, err);
	if (!row || !row->calls)
		return REFUSE(p, err, "no such option '%.*s'", NH_ARG(name));
	nh_rc rc = p->hooks->call(p->hooks->ctx, p->root, row, in, strings, &count, err);
	if (rc != NH_OK)
		return refuse(p, err, rc);
	struct nh_fw_setting *list = &in->settings[row_index(in->rows, nh_slice_str(row->calls))];
	if (list->count + count + 1 > LIST_MAX)
		return REFUSE(p, err, "too many calls");
	nh_slice number = nh_slice_str(nh_arena_printf(p->arena, "%zu", count));
	append_value(p->arena, list, (struct nh_fw_value){.text = number});
	for (size_t i = 0; i < count; i++)
		append_value(p->arena, list, (struct nh_fw_value){.text = nh_arena_copy(p->arena, strings[i])});
	return NH_OK;
}

static nh_rc item(struct parser *p, struct nh_fw_section *in, const struct nh_fw_option *row, struct nh_err *err)
{
	if (p->x.token != FW_STRING)
		return REFUSE(p, err, "syntax error");
	nh_slice name = p->x.text;
	NH_TRY(fw_lexer_next(&p->x, err));
	if (p->x.token == FW_PAREN_OPEN)
		return call(p, in, row, name, err);
	size_t i = row_index(in->rows, name);
	const struct nh_fw_option *known = &in->rows[i];
	if (!known->name)
		return p->hooks ? REFUSE(p, err, "no such option '%.*s'", NH_ARG(name)) : skip_unknown(p, err);
	if (known->kind == NH_FW_SECTION)
		return section(p, known, &in->settings[i], err);
	if (p->x.token != FW_EQUALS && p->x.token != FW_APPEND)
		return REFUSE(p, err, "'=' was expected behind option '%s'", known->name);
	return assignment(p, known, &in->settings[i], err);
}

/* Items up to '}' (or the end of the text at the top). */
static nh_rc items(struct parser *p, struct nh_fw_section *in, const struct nh_fw_option *row, bool top, struct nh_err *err)
{
	if (++p->depth > DEPTH_MAX)
		return REFUSE(p, err, "sections are nested too deeply");
	for (;;) {
		NH_TRY(fw_lexer_next(&p->x, err));
		if (p->x.token == (top ? FW_END : FW_CLOSE))
			break;
		if (p->x.token == FW_END)
			return REFUSE(p, err, "unexpected end of the configuration, '}' is missing");
		NH_TRY(item(p, in, row, err));
	}
	p->depth--;
	return NH_OK;
}

nh_rc nh_fw_config_parse(nh_slice text, const char *name, struct nh_fw_vars *vars, const struct nh_fw_config_hooks *hooks, struct nh_arena *arena,
			 struct nh_fw_section **out, struct nh_err *err)
{
	*out = NULL;
	if (text.len > NH_FW_TEXT_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "%s: configuration is longer than %u bytes", name, NH_FW_TEXT_MAX);
	struct parser p = {.vars = vars, .hooks = hooks, .arena = arena};
	fw_lexer_init(&p.x, text, name, hooks && hooks->from ? hooks->from : "", vars, arena);
	p.x.name = name;
	p.x.path = p.x.stack[0].path;
	p.root = section_new(&p, nh_fw_language, NH_SLICE_EMPTY);
	nh_rc rc = items(&p, p.root, NULL, true, err);
	fw_lexer_fini(&p.x);
	if (rc == NH_OK)
		*out = p.root;
	return rc;
}

const struct nh_fw_setting *nh_fw_section_get(const struct nh_fw_section *s, const char *option)
{
	size_t i = row_index(s->rows, nh_slice_str(option));
	NH_ASSERT(s->rows[i].name);
	return &s->settings[i];
}

nh_slice nh_fw_section_text(const struct nh_fw_section *s, const char *option)
{
	const struct nh_fw_setting *v = nh_fw_section_get(s, option);
	return v->count ? v->values[0].text : nh_slice_str(s->rows[v - s->settings].text);
}

int64_t nh_fw_section_number(const struct nh_fw_section *s, const char *option)
{
	const struct nh_fw_setting *v = nh_fw_section_get(s, option);
	return v->count ? v->values[0].number : s->rows[v - s->settings].number;
}

const struct nh_fw_section *nh_fw_section_find(const struct nh_fw_section *s, const char *option, nh_slice title)
{
	const struct nh_fw_setting *v = nh_fw_section_get(s, option);
	NH_ASSERT(s->rows[v - s->settings].kind == NH_FW_SECTION);
	for (size_t i = 0; i < v->count; i++)
		if (nh_slice_eq(v->sections[i]->title, title))
			return v->sections[i];
	return NULL;
}

static struct nh_fw_setting *changed(struct nh_fw_section *s, const char *option)
{
	size_t i = row_index(s->rows, nh_slice_str(option));
	NH_ASSERT(s->rows[i].name && s->rows[i].kind != NH_FW_SECTION);
	return &s->settings[i];
}

void nh_fw_section_set_text(struct nh_fw_section *s, struct nh_arena *arena, const char *option, nh_slice text)
{
	struct nh_fw_setting *v = changed(s, option);
	v->count = 0;
	append_value(arena, v, (struct nh_fw_value){.text = nh_arena_copy(arena, text)});
}

void nh_fw_section_set_number(struct nh_fw_section *s, struct nh_arena *arena, const char *option, int64_t number)
{
	changed(s, option)->count = 0;
	nh_fw_section_add_number(s, arena, option, number);
}

void nh_fw_section_add_number(struct nh_fw_section *s, struct nh_arena *arena, const char *option, int64_t number)
{
	append_value(arena, changed(s, option), (struct nh_fw_value){.number = number});
}

/*
 * Option tables: flags in any position, values glued or apart, environment as second source, one clear line for a mistake.
 */
#include "base/option.h"

#include <stdlib.h>

#include "base/encode.h"

static bool takes_value(const struct nh_option *o) { return o->kind != NH_OPT_FLAG; }

static nh_rc range_error(const struct nh_option *o, const char *shown, const char *value, struct nh_err *err)
{
	if (o->kind == NH_OPT_U64 && o->max)
		return NH_FAIL(err, NH_EINVAL, "%s needs a number from %llu to %llu, not '%.100s'", shown, (unsigned long long)o->min,
			       (unsigned long long)o->max, value);
	if (o->kind == NH_OPT_U64)
		return NH_FAIL(err, NH_EINVAL, "%s needs a number of at least %llu, not '%.100s'", shown, (unsigned long long)o->min, value);
	if (o->kind == NH_OPT_SIZE)
		return NH_FAIL(err, NH_EINVAL, "%s needs a size such as 64k, 16M or 1GiB within its bounds, not '%.100s'", shown, value);
	return NH_FAIL(err, NH_EINVAL, "%s needs a duration such as 250ms, 30s or 5m within its bounds, not '%.100s'", shown, value);
}

static nh_rc parse_number(const struct nh_option *o, const char *value, uint64_t *out)
{
	uint64_t max = o->max ? o->max : UINT64_MAX;
	nh_slice text = nh_slice_str(value);
	nh_rc rc = o->kind == NH_OPT_U64 ? nh_parse_u64(text, o->min, max, out)
		 : o->kind == NH_OPT_SIZE ? nh_parse_size(text, max, out)
					  : nh_parse_duration_ms(text, max, out);
	if (rc == NH_OK && *out < o->min)
		rc = NH_EINVAL;
	return rc;
}

static nh_rc append(struct nh_option_list *list, const char *value, struct nh_err *err)
{
	const char **items = realloc(list->items, (list->count + 1) * sizeof *items);
	if (!items)
		return NH_FAIL(err, NH_ENOMEM, "out of memory");
	items[list->count++] = value;
	list->items = items;
	return NH_OK;
}

/* shown: the flag as the user wrote it, or the variable's name */
static nh_rc store(const struct nh_option *o, const char *shown, const char *value, struct nh_err *err)
{
	uint64_t number = 0;
	switch (o->kind) {
	case NH_OPT_FLAG: *(bool *)o->target = true; return NH_OK;
	case NH_OPT_TEXT: *(const char **)o->target = value; return NH_OK;
	case NH_OPT_LIST: return append(o->target, value, err);
	case NH_OPT_U64:
	case NH_OPT_SIZE:
	case NH_OPT_DURATION: break;
	}
	if (parse_number(o, value, &number) != NH_OK)
		return range_error(o, shown, value, err);
	*(uint64_t *)o->target = number;
	return NH_OK;
}

/* Edit distance, enough of it to tell a typo: insert, delete, replace, each 1. */
static size_t distance(nh_slice a, nh_slice b)
{
	size_t row[64];
	if (b.len >= NH_ARRAY_LEN(row))
		return SIZE_MAX;
	for (size_t j = 0; j <= b.len; j++)
		row[j] = j;
	for (size_t i = 0; i < a.len; i++) {
		size_t diagonal = row[0]++;
		for (size_t j = 0; j < b.len; j++) {
			size_t replace = diagonal + (a.ptr[i] != b.ptr[j]);
			size_t other = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
			diagonal = row[j + 1];
			row[j + 1] = replace < other ? replace : other;
		}
	}
	return row[b.len];
}

static nh_rc unknown(const struct nh_option *table, const char *arg, nh_slice name, struct nh_err *err)
{
	const char *best = NULL;
	size_t best_distance = name.len < 4 ? 2 : 3;
	for (const struct nh_option *o = table; name.len > 1 && o->name; o++) {
		nh_slice full = nh_slice_str(o->name);
		/* A beginning of three letters or more counts as a near miss too. */
		size_t d = name.len >= 3 && nh_slice_starts(full, name) ? 1 : distance(name, full);
		if (d < best_distance) {
			best_distance = d;
			best = o->name;
		}
	}
	if (best)
		return NH_FAIL(err, NH_EINVAL, "unknown option '%.100s'; did you mean '--%s'?", arg, best);
	return NH_FAIL(err, NH_EINVAL, "unknown option '%.100s'; --help lists the options", arg);
}

struct walk {
	const struct nh_option *table;
	int argc;
	char **argv;
	int at;    /* next argument to look at */
	bool *seen; /* per table row */
};

static nh_rc long_option(struct walk *w, char *arg, struct nh_err *err)
{
	nh_slice name, ignored;
	bool glued = nh_slice_cut(nh_slice_str(arg + 2), '=', &name, &ignored);
	const struct nh_option *o = w->table;
	while (o->name && !nh_slice_eq_str(name, o->name))
		o++;
	if (!o->name)
		return unknown(w->table, arg, name, err);
	char shown[80];
	NH_AUTO_BUF struct nh_buf text = NH_BUF_MAX(sizeof shown - 1);
	nh_buf_printf(&text, "--%s", o->name);
	w->seen[o - w->table] = true;
	if (!takes_value(o)) {
		if (glued)
			return NH_FAIL(err, NH_EINVAL, "--%s takes no value", o->name);
		return store(o, nh_buf_cstr(&text), NULL, err);
	}
	const char *value = glued ? arg + 2 + name.len + 1 : w->at < w->argc ? w->argv[w->at++] : NULL;
	if (!value)
		return NH_FAIL(err, NH_EINVAL, "--%s needs a value: --%s %s", o->name, o->name, o->value ? o->value : "VALUE");
	return store(o, nh_buf_cstr(&text), value, err);
}

/* "-v", "-vq" (flags together), "-nvalue", "-n value" */
static nh_rc short_options(struct walk *w, char *arg, struct nh_err *err)
{
	for (char *p = arg + 1; *p; p++) {
		const struct nh_option *o = w->table;
		while (o->name && o->letter != *p)
			o++;
		if (!o->name)
			return NH_FAIL(err, NH_EINVAL, "unknown option '-%c'; --help lists the options", *p);
		char shown[3] = {'-', *p, 0};
		w->seen[o - w->table] = true;
		if (!takes_value(o)) {
			NH_TRY(store(o, shown, NULL, err));
			continue;
		}
		const char *value = p[1] == '=' ? p + 2 : p[1] ? p + 1 : w->at < w->argc ? w->argv[w->at++] : NULL;
		if (!value)
			return NH_FAIL(err, NH_EINVAL, "%s needs a value: %s %s", shown, shown, o->value ? o->value : "VALUE");
		return store(o, shown, value, err);
	}
	return NH_OK;
}

static bool truth(const char *value)
{
	static const char *const yes[] = {"1", "true", "yes", "y", "on"};
	nh_slice text = nh_slice_trim(nh_slice_str(value));
	for (size_t i = 0; i < NH_ARRAY_LEN(yes); i++)
		if (nh_slice_ieq(text, nh_slice_str(yes[i])))
			return true;
	return false;
}

/* An empty variable counts as unset. */
static nh_rc from_environment(const struct walk *w, struct nh_err *err)
{
	for (const struct nh_option *o = w->table; o->name; o++) {
		const char *value = o->env && !w->seen[o - w->table] ? getenv(o->env) : NULL;
		if (value && *value && (takes_value(o) || truth(value)))
			NH_TRY(store(o, o->env, value, err));
	}
	return NH_OK;
}

nh_rc nh_option_parse(const struct nh_option *table, int argc, char **argv, int *rest, struct nh_err *err)
{
	bool seen[256] = {false};
	size_t rows = 0;
	while (table[rows].name)
		rows++;
	NH_ASSERT(rows < NH_ARRAY_LEN(seen));
	struct walk w = {.table = table, .argc = argc, .argv = argv, .at = 1, .seen = seen};
	int kept = 0;
	bool only_arguments = false;
	while (w.at < argc) {
		char *arg = argv[w.at++];
		if (only_arguments || arg[0] != '-' || arg[1] == 0) /* "-" alone is an argument: standard input */
			argv[++kept] = arg;
		else if (nh_slice_eq_str(NH_LIT("--"), arg))
			only_arguments = true;
		else if (arg[1] == '-')
			NH_TRY(long_option(&w, arg, err));
		else
			NH_TRY(short_options(&w, arg, err));
	}
	*rest = kept;
	return from_environment(&w, err);
}

/* "  -o, --output FORMAT" */
static void put_left(struct nh_buf *out, const struct nh_option *o)
{
	if (o->letter)
		nh_buf_printf(out, "  -%c, --%s", o->letter, o->name);
	else
		nh_buf_printf(out, "      --%s", o->name);
	if (takes_value(o))
		nh_buf_printf(out, " %s", o->value ? o->value : "VALUE");
}

void nh_option_help(struct nh_buf *out, const struct nh_option *table)
{
	size_t width = 0;
	for (const struct nh_option *o = table; o->name; o++) {
		NH_AUTO_BUF struct nh_buf left = NH_BUF_INIT;
		put_left(&left, o);
		if (left.len > width)
			width = left.len;
	}
	for (const struct nh_option *o = table; o->name; o++) {
		size_t start = out->len;
		put_left(out, o);
		nh_buf_fill(out, ' ', width - (out->len - start) + 2);
		nh_buf_put_str(out, o->help);
		if (o->env)
			nh_buf_printf(out, " [%s]", o->env);
		nh_buf_put_u8(out, '\n');
	}
}

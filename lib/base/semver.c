/*
 * Semantic versions, and requirements in the language of Elixir's Version module: comparisons joined by "and", which binds tighter, and "or".
 * Nothing is allocated; a requirement is read anew each time, as the texts are short.
 *
 * source: reference/server-behaviour "3.2", reference/user-api-and-cli "13.5"
 */
#include "base/semver.h"

#include "base/encode.h"

#define DIGITS_MAX 14
#define REQUIREMENT_MAX 1024

static bool digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool identifier_byte(uint8_t c) { return digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-'; }

static bool all_digits(nh_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!digit(s.ptr[i]))
			return false;
	return s.len > 0;
}

/* Decimal without leading zeros, at most DIGITS_MAX digits. */
static bool number(nh_slice s, uint64_t *out)
{
	if (s.len > DIGITS_MAX || (s.len > 1 && s.ptr[0] == '0'))
		return false;
	return nh_parse_u64(s, 0, UINT64_MAX, out) == NH_OK;
}

/* Dot-separated, none empty; numeric ones without leading zeros where asked. */
static bool identifiers(nh_slice s, bool numbers_canonical)
{
	bool more = true;
	while (more) {
		nh_slice one;
		more = nh_slice_cut(s, '.', &one, &s);
		if (one.len == 0)
			return false;
		for (size_t i = 0; i < one.len; i++)
			if (!identifier_byte(one.ptr[i]))
				return false;
		if (numbers_canonical && one.len > 1 && one.ptr[0] == '0' && all_digits(one))
			return false;
	}
	return true;
}

/* patch_optional: "1.2" is read as 1.2.0 and *no_patch set (only "~>" allows it). */
static bool parse(nh_slice text, struct nh_semver *out, bool patch_optional, bool *no_patch)
{
	*out = (struct nh_semver){0};
	nh_slice core, major, minor, patch;
	bool has_build = nh_slice_cut(text, '+', &text, &out->build);
	bool has_pre = nh_slice_cut(text, '-', &core, &out->pre);
	bool has_minor = nh_slice_cut(core, '.', &major, &core);
	bool has_patch = nh_slice_cut(core, '.', &minor, &patch);
	*no_patch = !has_patch;
	return (!has_build || identifiers(out->build, false)) && (!has_pre || identifiers(out->pre, true)) && has_minor &&
	       number(major, &out->major) && number(minor, &out->minor) && (has_patch ? number(patch, &out->patch) : patch_optional);
}

nh_rc nh_semver_parse(nh_slice text, struct nh_semver *out)
{
	bool no_patch;
	return parse(text, out, false, &no_patch) ? NH_OK : NH_EFORMAT;
}

static int order(uint64_t a, uint64_t b) { return (a > b) - (a < b); }

static int identifier_cmp(nh_slice a, nh_slice b)
{
	bool na = all_digits(a), nb = all_digits(b);
	if (na != nb)
		return na ? -1 : 1;
	/* Without leading zeros the longer number is the larger, whatever its size. */
	if (na && a.len != b.len)
		return order(a.len, b.len);
	int c = nh_slice_cmp(a, b);
	return (c > 0) - (c < 0);
}

static int pre_cmp(nh_slice a, nh_slice b)
{
	if (a.len == 0 || b.len == 0)
		return (a.len == 0) - (b.len == 0);
	bool more_a = true, more_b = true;
	while (more_a && more_b) {
		nh_slice one_a, one_b;
		more_a = nh_slice_cut(a, '.', &one_a, &a);
		more_b = nh_slice_cut(b, '.', &one_b, &b);
		int c = identifier_cmp(one_a, one_b);
		if (c)
			return c;
	}
	return (int)more_a - (int)more_b;
}

int nh_semver_cmp(const struct nh_semver *a, const struct nh_semver *b)
{
	int c = order(a->major, b->major);
	c = c ? c : order(a->minor, b->minor);
	c = c ? c : order(a->patch, b->patch);
	return c ? c : pre_cmp(a->pre, b->pre);
}

typedef enum comparison { EQ, NE, GT, GE, LT, LE, PESSIMISTIC } comparison;

struct term {
	comparison op;
	struct nh_semver version;
	bool no_patch; /* "~> 1.2" */
};

static bool term_matches(const struct term *t, const struct nh_semver *v)
{
	int c = nh_semver_cmp(v, &t->version);
	switch (t->op) {
	case EQ: return c == 0;
	case NE: return c != 0;
	case GT: return c > 0;
	case GE: return c >= 0;
	case LT: return c < 0;
	case LE: return c <= 0;
	case PESSIMISTIC: break;
	}
	/* The upper bound ends in "-0", the lowest pre-release, so that pre-releases of the next series stay outside. */
	struct nh_semver below = {.major = t->version.major, .minor = t->version.minor, .pre = NH_LIT("0")};
	if (t->no_patch) {
		below.major++;
		below.minor = 0;
	} else {
		below.minor++;
	}
	return c >= 0 && nh_semver_cmp(v, &below) < 0;
}

static nh_slice skip_spaces(nh_slice s)
{
	while (s.len && s.ptr[0] == ' ')
		s = nh_slice_skip(s, 1);
	return s;
}

/* Longer operators first. "!" is an old spelling of "!=". */
static const struct {
	const char *text;
	comparison op;
} operators[] = {{"==", EQ}, {"!=", NE}, {"~>", PESSIMISTIC}, {">=", GE}, {"<=", LE}, {">", GT}, {"<", LT}, {"!", NE}};

static bool take_term(nh_slice *s, struct term *out, struct nh_err *err)
{
	*out = (struct term){.op = EQ};
	*s = skip_spaces(*s);
	for (size_t i = 0; i < NH_ARRAY_LEN(operators); i++)
		if (nh_slice_starts(*s, nh_slice_str(operators[i].text))) {
			out->op = operators[i].op;
			*s = skip_spaces(nh_slice_skip(*s, strlen(operators[i].text)));
			break;
		}
	size_t len = 0;
	while (len < s->len && s->ptr[len] != ' ')
		len++;
	nh_slice word = nh_slice_sub(*s, 0, len);
	*s = nh_slice_skip(*s, len);
	if (parse(word, &out->version, out->op == PESSIMISTIC, &out->no_patch))
		return true;
	if (len == 0)
		(void)NH_FAIL(err, NH_EFORMAT, "version requirement ends where a version is expected");
	else
		(void)NH_FAIL(err, NH_EFORMAT, "'%.*s' is not a version; expected MAJOR.MINOR.PATCH, as in \"~> 1.2.0\"", NH_ARG(nh_slice_sub(word, 0, 80)));
	return false;
}

typedef enum joint { END, AND, OR, BROKEN } joint;

static joint take_joint(nh_slice *s, struct nh_err *err)
{
	*s = skip_spaces(*s);
	if (s->len == 0)
		return END;
	nh_slice word;
	nh_slice_cut(*s, ' ', &word, s);
	if (nh_slice_eq_str(word, "and"))
		return AND;
	if (nh_slice_eq_str(word, "or"))
		return OR;
	(void)NH_FAIL(err, NH_EFORMAT, "expected 'and' or 'or' in the version requirement, not '%.*s'", NH_ARG(nh_slice_sub(word, 0, 80)));
	return BROKEN;
}

/* Always reads to the end, so that a broken tail is noticed whatever the version is. */
static nh_rc evaluate(nh_slice text, const struct nh_semver *version, bool *matches, struct nh_err *err)
{
	*matches = true;
	if (text.len == 0)
		return NH_OK;
	if (text.len > REQUIREMENT_MAX)
		return NH_FAIL(err, NH_EFORMAT, "version requirement is longer than %d bytes", REQUIREMENT_MAX);
	bool any = false, all = true;
	for (;;) {
		struct term t;
		if (!take_term(&text, &t, err))
			return NH_EFORMAT;
		all = all && term_matches(&t, version);
		joint j = take_joint(&text, err);
		if (j == BROKEN)
			return NH_EFORMAT;
		if (j == AND)
			continue;
		any = any || all;
		all = true;
		if (j == END)
			break;
	}
	*matches = any;
	return NH_OK;
}

nh_rc nh_semver_req_check(nh_slice requirement, struct nh_err *err)
{
	struct nh_semver zero = {0};
	bool ignored;
	return evaluate(requirement, &zero, &ignored, err);
}

nh_rc nh_semver_req_match(nh_slice requirement, nh_slice version, bool *matches)
{
	struct nh_semver v;
	*matches = false;
	/* Without a requirement every device fits, whatever it calls its version. */
	if (requirement.len == 0) {
		*matches = true;
		return NH_OK;
	}
	NH_TRY(nh_semver_parse(version, &v));
	nh_rc rc = evaluate(requirement, &v, matches, NULL);
	if (rc != NH_OK)
		*matches = false;
	return rc;
}

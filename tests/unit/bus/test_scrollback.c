/*
 * What a scrollback keeps: lines, bytes, characters, and how much memory all of them have.
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "bus/relay.h"
#include "scrollback_int.h"
#include "test_base.h"

static struct nh_scrollback_budget plenty(void) { return (struct nh_scrollback_budget){0, NH_RELAY_SCROLLBACK_TOTAL}; }

static struct nh_buf kept(const struct nh_scrollback *s)
{
	struct nh_buf out = NH_BUF_INIT;
	nh_scrollback_put(s, &out);
	return out;
}

/* count repetitions of text, the last followed by end. */
static struct nh_buf many(const char *text, size_t count, const char *end)
{
	struct nh_buf out = NH_BUF_INIT;
	for (size_t i = 0; i < count; i++)
		nh_buf_put_str(&out, text);
	nh_buf_put_str(&out, end);
	return out;
}

#define KIB256 ((size_t)256 << 10)

/* What is kept is the end of everything that was added; len says how much of it. Each row is added whole, in pieces of 1 byte, and of 1000. */
static const struct {
	const char *name, *text;
	size_t count;
	const char *end;
	size_t len;
} rows[] = {
	{"nothing", "", 0, "", 0},
	{"a prompt", "iex> ", 1, "", 5},
	{"lines", "one\r\ntwo\r\n", 2, "iex> ", 25},
	{"all lines that are kept, and the current one", "x\n", 1024, "iex> ", 2053},
	{"one line too many", "x\n", 1025, "iex> ", 2053},
	{"a line without end", "x", KIB256 + 17, "", KIB256},
	{"a line of characters of three bytes", "\xe2\x82\xac", KIB256 / 3 + 9, "", KIB256 / 3 * 3},
	{"long lines: whole ones are kept", "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
					    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
					    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
					    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\n",
	 1000, "end", KIB256 / 401 * 401 + 3},
};

static void test_kept(void **state)
{
	static const size_t pieces[] = {0, 1000, 1};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf all = many(rows[i].text, rows[i].count, rows[i].end);
		for (size_t p = 0; p < NH_ARRAY_LEN(pieces); p++) {
			struct nh_scrollback_budget budget = plenty();
			struct nh_scrollback s = {0};
			size_t step = pieces[p] ? pieces[p] : all.len;
			for (size_t at = 0; at < all.len; at += step)
				nh_scrollback_add(&s, &budget, nh_slice_sub(nh_buf_slice(&all), at, step));
			NH_AUTO_BUF struct nh_buf got = kept(&s);
			if (got.len != rows[i].len || !nh_slice_ends(nh_buf_slice(&all), nh_buf_slice(&got)))
				fail_msg("%s, by %zu: %zu bytes kept, expected the last %zu", rows[i].name, step, got.len, rows[i].len);
			assert_int_equal(budget.used, s.cap);
			nh_scrollback_clear(&s, &budget);
			assert_int_equal(budget.used, 0);
			assert_null(s.ring);
		}
	}
}

/* One text behind another of a different kind: what is kept is the end of both together, and how many lines it has. */
static void test_behind_another(void **state)
{
	static const struct {
		const char *first;
		size_t first_count;
		const char *second;
		size_t second_count, len, lines;
	} rows_of_two[] = {
		{"a\n", 100, "x", KIB256 + 10, KIB256, 0},       /* a line that leaves no room for anything before it */
		{"\n", 1030, "y", 5000, 1024 + 5000, 1024},       /* the ring grows when its beginning is somewhere inside */
		{"\n", 1030, "yy\n", 2000, 3072, 1024},
		{"x", KIB256 + 10, "a\n", 100, KIB256, 100},      /* what ends a long line takes only its beginning */
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows_of_two); i++) {
		struct nh_scrollback_budget budget = plenty();
		struct nh_scrollback s = {0};
		NH_AUTO_BUF struct nh_buf first = many(rows_of_two[i].first, rows_of_two[i].first_count, ""), second = many(rows_of_two[i].second, rows_of_two[i].second_count, "");
		nh_scrollback_add(&s, &budget, nh_buf_slice(&first));
		nh_scrollback_add(&s, &budget, nh_buf_slice(&second));
		nh_buf_put_slice(&first, nh_buf_slice(&second));
		NH_AUTO_BUF struct nh_buf got = kept(&s);
		if (got.len != rows_of_two[i].len || s.lines != rows_of_two[i].lines || !nh_slice_ends(nh_buf_slice(&first), nh_buf_slice(&got)))
			fail_msg("row %zu: %zu bytes in %zu lines kept", i, got.len, s.lines);
		nh_scrollback_clear(&s, &budget);
	}
}

/* Where memory for all is used up, each still keeps its last 256 bytes, and one that is larger stays as it is. */
static void test_budget(void **state)
{
	struct nh_scrollback_budget budget = {0, 1024};
	struct nh_scrollback first = {0}, second = {0};
	NH_AUTO_BUF struct nh_buf text = many("0123456789abcde\n", 200, "");
	nh_scrollback_add(&first, &budget, nh_buf_slice(&text));
	assert_int_equal(first.cap, 1024);
	nh_scrollback_add(&second, &budget, nh_buf_slice(&text));
	assert_int_equal(second.cap, NH_SCROLLBACK_FIRST);
	assert_int_equal(second.len, 256);
	assert_int_equal(second.lines, 16);
	assert_int_equal(budget.used, 1024 + NH_SCROLLBACK_FIRST);
	nh_scrollback_add(&first, &budget, NH_LIT("more"));
	assert_int_equal(first.cap, 1024);
	NH_AUTO_BUF struct nh_buf got = kept(&first);
	assert_true(nh_slice_ends(nh_buf_slice(&got), NH_LIT("abcde\nmore")));
	nh_scrollback_clear(&first, &budget);
	nh_scrollback_add(&second, &budget, nh_buf_slice(&text)); /* room again */
	assert_int_equal(second.cap, 1024);
	nh_scrollback_clear(&second, &budget);
	assert_int_equal(budget.used, 0);
}

/* What is no UTF-8 at all is kept or not, but never disturbs. */
static void test_binary(void **state)
{
	struct nh_scrollback_budget budget = plenty();
	struct nh_scrollback s = {0};
	NH_AUTO_BUF struct nh_buf text = many("\x80\xff\n\xbf", 100000, "");
	nh_scrollback_add(&s, &budget, nh_buf_slice(&text));
	nh_scrollback_add(&s, &budget, NH_LIT("ok"));
	NH_AUTO_BUF struct nh_buf got = kept(&s);
	assert_true(nh_slice_ends(nh_buf_slice(&got), NH_LIT("ok")));
	assert_true(s.lines <= NH_RELAY_SCROLLBACK_LINES);
	nh_scrollback_clear(&s, &budget);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_kept), cmocka_unit_test(test_behind_another), cmocka_unit_test(test_budget), cmocka_unit_test(test_binary)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

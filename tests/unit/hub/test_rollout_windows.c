/* Maintenance windows on wall clocks, also where the clock is changed; and how they are written. */
#include "test_base.h"

#include "base/clock.h"
#include "base/cursor.h"
#include "hub/windows.h"

#define HOUR (3600 * NH_US_PER_S)
#define DAY (24 * HOUR)
/* A Friday in UTC; in this zone summer is from 28 March 01:00 UTC (a Sunday) to 31 October 01:00 UTC. */
#define Y2027 (INT64_C(1798761600) * NH_US_PER_S)
#define SPRING (Y2027 + 86 * DAY)
#define AUTUMN (Y2027 + 303 * DAY)

/* A file without transitions: the rule alone. */
static struct nh_zone *zone_of(const char *rule)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	struct nh_zone *zone = NULL;
	for (unsigned block = 0; block < 2; block++) {
		nh_buf_put_str(&b, "TZif2");
		for (unsigned i = 0; i < 15; i++)
			nh_buf_put_u8(&b, 0);
		const uint32_t counts[] = {0, 0, 0, 0, 1, 0};
		for (size_t i = 0; i < NH_ARRAY_LEN(counts); i++)
			nh_wr_u32be(&b, counts[i]);
		for (unsigned i = 0; i < 6; i++)
			nh_buf_put_u8(&b, 0);
	}
	nh_buf_printf(&b, "\n%s\n", rule);
	assert_int_equal(nh_zone_parse(nh_buf_slice(&b), &zone, NULL), NH_OK);
	return zone;
}

static size_t windows_of(const char *json, struct nh_window windows[NH_WINDOWS_MAX])
{
	NH_AUTO_JSON json_t *list = NULL;
	size_t count = 0;
	assert_int_equal(nh_json_parse(nh_slice_str(json), 10000, &list, NULL), NH_OK);
	const char *wrong = nh_windows_read(list, windows, &count);
	if (wrong)
		fail_msg("%s: %s", json, wrong);
	return count;
}

static const struct {
	const char *windows;
	bool utc;
	int64_t at, next; /* next == at: open */
} cases[] = {
	{"[]", false, Y2027, Y2027},
	/* Friday midnight UTC is one in the morning here. */
	{"[{\"days\":[\"fri\"],\"from\":\"01:00\",\"to\":\"02:00\"}]", false, Y2027, Y2027},
	{"[{\"days\":[\"fri\"],\"from\":\"01:00\",\"to\":\"02:00\"}]", false, Y2027 + HOUR, Y2027 + 7 * DAY},
	{"[{\"days\":[\"fri\"],\"from\":\"01:00\",\"to\":\"02:00\"}]", true, Y2027, Y2027 + HOUR},
	{"[{\"days\":[\"sat\"],\"from\":\"01:00\",\"to\":\"02:00\"}]", false, Y2027, Y2027 + DAY},
	/* Over midnight: the day is that of the beginning. */
	{"[{\"days\":[\"thu\"],\"from\":\"22:00\",\"to\":\"04:00\"}]", false, Y2027, Y2027},
	{"[{\"days\":[\"thu\"],\"from\":\"22:00\",\"to\":\"04:00\"}]", false, Y2027 + 3 * HOUR, Y2027 + 6 * DAY + 21 * HOUR},
	{"[{\"days\":[\"fri\"],\"from\":\"22:00\",\"to\":\"04:00\"}]", false, Y2027, Y2027 + 21 * HOUR},
	/* From Sunday to Monday. */
	{"[{\"days\":[\"sun\"],\"from\":\"23:00\",\"to\":\"01:00\"}]", true, Y2027 + 3 * DAY + 30 * 60 * NH_US_PER_S, Y2027 + 3 * DAY + 30 * 60 * NH_US_PER_S},
	/* Equal ends: the whole day. */
	{"[{\"days\":[\"sat\"],\"from\":\"00:00\",\"to\":\"00:00\"}]", true, Y2027, Y2027 + DAY},
	{"[{\"days\":[\"sat\"],\"from\":\"00:00\",\"to\":\"00:00\"}]", true, Y2027 + 2 * DAY - 1, Y2027 + 2 * DAY - 1},
	/* The nearer one of two; seconds do not matter. */
	{"[{\"from\":\"12:00\",\"to\":\"13:00\"},{\"from\":\"06:00\",\"to\":\"07:00\"}]", true, Y2027 + 59 * NH_US_PER_S + 999999, Y2027 + 6 * HOUR},
	/* Spring: 02:00 to 03:00 does not exist on that Sunday, so it opens a week later, by then an hour earlier in UTC. */
	{"[{\"days\":[\"sun\"],\"from\":\"02:00\",\"to\":\"03:00\"}]", false, SPRING, SPRING + 7 * DAY},
	/* What reaches out of the gap opens when the clock has jumped. */
	{"[{\"days\":[\"sun\"],\"from\":\"02:30\",\"to\":\"04:00\"}]", false, SPRING, SPRING + HOUR},
	{"[{\"days\":[\"sun\"],\"from\":\"01:30\",\"to\":\"03:00\"}]", false, SPRING + HOUR - 1, SPRING + HOUR - 1},
	{"[{\"days\":[\"sun\"],\"from\":\"01:30\",\"to\":\"03:00\"}]", false, SPRING + HOUR, SPRING + 6 * DAY + 23 * HOUR + HOUR / 2},
	/* Autumn: 02:00 to 03:00 is shown twice, and open twice. */
	{"[{\"days\":[\"sun\"],\"from\":\"02:00\",\"to\":\"03:00\"}]", false, AUTUMN, AUTUMN},
	{"[{\"days\":[\"sun\"],\"from\":\"02:00\",\"to\":\"03:00\"}]", false, AUTUMN + 2 * HOUR - 1, AUTUMN + 2 * HOUR - 1},
	{"[{\"days\":[\"sun\"],\"from\":\"02:00\",\"to\":\"02:30\"}]", false, AUTUMN + HOUR / 2, AUTUMN + HOUR},
	{"[{\"days\":[\"sun\"],\"from\":\"02:00\",\"to\":\"03:00\"}]", false, AUTUMN + 2 * HOUR, AUTUMN + 7 * DAY + HOUR},
	/* Long before 1970. */
	{"[{\"days\":[\"wed\"],\"from\":\"23:59\",\"to\":\"00:00\"}]", true, -1, -1},
	{"[{\"days\":[\"wed\"],\"from\":\"23:00\",\"to\":\"23:59\"}]", true, -1, 7 * DAY - HOUR},
};

static void open_and_next(void **state)
{
	struct nh_zone *zone = zone_of("CET-1CEST,M3.5.0,M10.5.0/3");
	for (size_t i = 0; i < NH_ARRAY_LEN(cases); i++) {
		struct nh_window windows[NH_WINDOWS_MAX];
		size_t count = windows_of(cases[i].windows, windows);
		const struct nh_zone *in = cases[i].utc ? NULL : zone;
		int64_t next = nh_windows_next(windows, count, in, cases[i].at);
		if (next != cases[i].next || nh_windows_open(windows, count, in, cases[i].at) != (cases[i].next == cases[i].at))
			fail_msg("row %zu: %+lld minutes, wanted %+lld", i, (long long)((next - cases[i].at) / 60000000), (long long)((cases[i].next - cases[i].at) / 60000000));
	}
	nh_zone_free(zone);
}

static void refusals(void **state)
{
	static const char *const wrong[] = {
		"5", "{}", "[5]", "[{}]", "[{\"from\":\"1:00\",\"to\":\"02:00\"}]", "[{\"from\":\"24:00\",\"to\":\"02:00\"}]", "[{\"from\":\"22:60\",\"to\":\"02:00\"}]",
		"[{\"from\":\"22:00\"}]", "[{\"from\":\"22:00\",\"to\":700}]", "[{\"from\":\"22-00\",\"to\":\"02:00\"}]", "[{\"days\":[],\"from\":\"22:00\",\"to\":\"02:00\"}]",
		"[{\"days\":[\"someday\"],\"from\":\"22:00\",\"to\":\"02:00\"}]", "[{\"days\":[1],\"from\":\"22:00\",\"to\":\"02:00\"}]", "[{\"days\":\"mon\",\"from\":\"22:00\",\"to\":\"02:00\"}]",
		"[5,5,5,5,5,5,5,5,5,5,5,5,5,5,5]",
	};
	struct nh_window windows[NH_WINDOWS_MAX];
	size_t count;
	for (size_t i = 0; i < NH_ARRAY_LEN(wrong); i++) {
		NH_AUTO_JSON json_t *list = NULL;
		assert_int_equal(nh_json_parse(nh_slice_str(wrong[i]), 10000, &list, NULL), NH_OK);
		if (!nh_windows_read(list, windows, &count) || count != 0)
			fail_msg("row %zu", i);
	}
	assert_null(nh_windows_read(NULL, windows, &count));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(open_and_next), cmocka_unit_test(refusals)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

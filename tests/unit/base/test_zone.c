/* Time zones: files made here byte by byte, so that nothing depends on the system's; names; and every way in which a file can be cut off or wrong. */
#include "test_base.h"

#include <stdlib.h>

#include "base/cursor.h"
#include "base/zone.h"

struct made {
	int64_t at[4];
	uint8_t type[4];
	unsigned times;
	int32_t offsets[3];
	unsigned types;
	const char *rule; /* NULL: a file of version 1 */
};

static void put_block(struct nh_buf *b, const struct made *m, uint8_t version, unsigned width, bool empty)
{
	uint32_t times = empty ? 0 : m->times, types = empty ? 1 : m->types;
	nh_buf_put_str(b, "TZif");
	nh_buf_put_u8(b, version);
	for (unsigned i = 0; i < 15; i++)
		nh_buf_put_u8(b, 0);
	const uint32_t counts[] = {0, 0, 0, times, types, 4};
	for (size_t i = 0; i < NH_ARRAY_LEN(counts); i++)
		nh_wr_u32be(b, counts[i]);
	for (uint32_t i = 0; i < times; i++) {
		if (width == 8)
			nh_wr_u64be(b, (uint64_t)m->at[i]);
		else
			nh_wr_u32be(b, (uint32_t)m->at[i]);
	}
	for (uint32_t i = 0; i < times; i++)
		nh_buf_put_u8(b, m->type[i]);
	for (uint32_t i = 0; i < types; i++) {
		nh_wr_u32be(b, (uint32_t)(empty ? 0 : m->offsets[i]));
		nh_buf_put_u8(b, 0);
		nh_buf_put_u8(b, 0);
	}
	nh_buf_put(b, "ABC", 4);
}

static void put_file(struct nh_buf *b, const struct made *m)
{
	put_block(b, m, m->rule ? '2' : 0, 4, m->rule != NULL);
	if (!m->rule)
		return;
	put_block(b, m, '2', 8, false);
	nh_buf_put_str(b, "\n");
	nh_buf_put_str(b, m->rule);
	nh_buf_put_str(b, "\n");
}

/* 2027-01-01T00:00:00Z and the changes of that year, UTC, by hand. */
#define Y2027 INT64_C(1798761600)
#define DAY INT64_C(86400)

static const struct {
	const char *rule;
	int64_t at;
	int32_t offset;
} by_rule[] = {
	/* Central Europe: the last Sundays of March (28) and October (31), at 01:00 UTC. */
	{"CET-1CEST,M3.5.0,M10.5.0/3", Y2027, 3600},
	{"CET-1CEST,M3.5.0,M10.5.0/3", Y2027 + 86 * DAY + 3600 - 1, 3600},
	{"CET-1CEST,M3.5.0,M10.5.0/3", Y2027 + 86 * DAY + 3600, 7200},
	{"CET-1CEST,M3.5.0,M10.5.0/3", Y2027 + 303 * DAY + 3600 - 1, 7200},
	{"CET-1CEST,M3.5.0,M10.5.0/3", Y2027 + 303 * DAY + 3600, 3600},
	/* A leap year: 2028-03-26. */
	{"CET-1CEST,M3.5.0,M10.5.0/3", Y2027 + 365 * DAY + 85 * DAY + 3600 - 1, 3600},
	{"CET-1CEST,M3.5.0,M10.5.0/3", Y2027 + 365 * DAY + 85 * DAY + 3600, 7200},
	/* New York: the second Sunday of March (14) at 07:00 UTC, the first of November (7) at 06:00. */
	{"EST5EDT,M3.2.0,M11.1.0", Y2027 + 72 * DAY + 7 * 3600 - 1, -18000},
	{"EST5EDT,M3.2.0,M11.1.0", Y2027 + 72 * DAY + 7 * 3600, -14400},
	{"EST5EDT,M3.2.0,M11.1.0", Y2027 + 310 * DAY + 6 * 3600, -18000},
	/* South of the equator summer goes over the new year: Sydney, the first Sundays of October (3) and April (4). */
	{"AEST-10AEDT,M10.1.0,M4.1.0/3", Y2027, 39600},
	{"AEST-10AEDT,M10.1.0,M4.1.0/3", Y2027 + 92 * DAY + 16 * 3600 + 86400, 36000},
	{"AEST-10AEDT,M10.1.0,M4.1.0/3", Y2027 + 275 * DAY + 16 * 3600, 39600},
	/* Half an hour, a quoted name, no summer. */
	{"<+0530>-5:30", Y2027 + 200 * DAY, 19800},
	{"<-0330>3:30", Y2027, -12600},
	/* Days counted with and without 29 February; a time before the day. */
	{"AAA0BBB,J60/0,J300/0", Y2027 + 59 * DAY, 3600},
	{"AAA0BBB,J60/0,J300/0", Y2027 + 59 * DAY - 1, 0},
	{"AAA0BBB,J60/0,J300/0", Y2027 + 365 * DAY + 60 * DAY, 3600},
	{"AAA0BBB,J60/0,J300/0", Y2027 + 365 * DAY + 60 * DAY - 1, 0},
	{"AAA0BBB,59/-1,300/0", Y2027 + 59 * DAY - 3600, 3600},
	{"AAA0BBB-2,M1.1.0,M12.5.6", Y2027 + 100 * DAY, 7200},
};

static void rules(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(by_rule); i++) {
		const struct made m = {.at = {0}, .type = {0}, .times = 1, .offsets = {-1}, .types = 1, .rule = by_rule[i].rule};
		NH_AUTO_BUF struct nh_buf file = NH_BUF_INIT;
		struct nh_zone *zone;
		put_file(&file, &m);
		assert_int_equal(nh_zone_parse(nh_buf_slice(&file), &zone, NULL), NH_OK);
		if (nh_zone_offset_s(zone, by_rule[i].at) != by_rule[i].offset)
			fail_msg("row %zu: %s: %d", i, by_rule[i].rule, nh_zone_offset_s(zone, by_rule[i].at));
		nh_zone_free(zone);
	}
}

static void transitions(void **state)
{
	const struct made made[] = {{{-100, 50, 1000}, {1, 2, 1}, 3, {10, 20, 30}, 3, ""}, {{-100, 50, 1000}, {1, 2, 1}, 3, {10, 20, 30}, 3, NULL}};
	static const struct {
		int64_t at;
		int32_t offset;
	} want[] = {{INT64_MIN, 10}, {-101, 10}, {-100, 20}, {49, 20}, {50, 30}, {999, 30}, {1000, 20}, {INT64_MAX, 20}};
	for (size_t k = 0; k < NH_ARRAY_LEN(made); k++) {
		NH_AUTO_BUF struct nh_buf file = NH_BUF_INIT;
		struct nh_zone *zone;
		put_file(&file, &made[k]);
		assert_int_equal(nh_zone_parse(nh_buf_slice(&file), &zone, NULL), NH_OK);
		for (size_t i = 0; i < NH_ARRAY_LEN(want); i++)
			assert_int_equal(nh_zone_offset_s(zone, want[i].at), want[i].offset);
		nh_zone_free(zone);
		/* Cut off anywhere it is none any more. */
		for (size_t len = 0; len < file.len; len++)
			assert_int_equal(nh_zone_parse(nh_slice_of(file.ptr, len), &zone, NULL), NH_EFORMAT);
	}
	assert_int_equal(nh_zone_offset_s(NULL, 0), 0);
}

static void refusals(void **state)
{
	static const struct made wrong[] = {
		{{50, 50}, {0, 0}, 2, {0}, 1, ""},          {{50, 40}, {0, 0}, 2, {0}, 1, ""},    {{1}, {1}, 1, {0}, 1, ""},
		{{1}, {0}, 1, {200000}, 1, ""},             {{1}, {0}, 1, {0}, 0, ""},            {{1}, {0}, 1, {0}, 1, "X"},
		{{1}, {0}, 1, {0}, 1, "CET"},               {{1}, {0}, 1, {0}, 1, "CET-1CEST"},   {{1}, {0}, 1, {0}, 1, "CET-1CEST,M13.1.0,M10.5.0"},
		{{1}, {0}, 1, {0}, 1, "CET-1CEST,M3.6.0,M10.5.0"}, {{1}, {0}, 1, {0}, 1, "CET-1CEST,M3.5.7,M10.5.0"}, {{1}, {0}, 1, {0}, 1, "CET-1CEST,M3.5.0,M10.5.0x"},
		{{1}, {0}, 1, {0}, 1, "CET-1CEST,J366,J1"}, {{1}, {0}, 1, {0}, 1, "<CET-1"},      {{1}, {0}, 1, {0}, 1, "CET-168"},
	};
	struct nh_zone *zone;
	for (size_t i = 0; i < NH_ARRAY_LEN(wrong); i++) {
		NH_AUTO_BUF struct nh_buf file = NH_BUF_INIT;
		put_file(&file, &wrong[i]);
		if (nh_zone_parse(nh_buf_slice(&file), &zone, NULL) != NH_EFORMAT || zone)
			fail_msg("row %zu", i);
	}
	assert_int_equal(nh_zone_parse(NH_LIT("TZjf"), &zone, NULL), NH_EFORMAT);
}

static void names(void **state)
{
	static const char *const good[] = {"UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "Etc/GMT-14", "GB-Eire"};
	static const char *const bad[] = {"", "/etc/passwd", "..", "../passwd", "Europe/../x", "Europe//Berlin", "Europe/", "Europe/.x", "a b", "a.b", "Ä", "a\\b",
					  "0123456789012345678901234567890123456789012345678901234567890123x"};
	const struct nh_zone *zone;
	for (size_t i = 0; i < NH_ARRAY_LEN(good); i++)
		assert_true(nh_zone_name_ok(nh_slice_str(good[i])));
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		assert_false(nh_zone_name_ok(nh_slice_str(bad[i])));
		assert_int_equal(nh_zone_find(nh_slice_str(bad[i]), &zone, NULL), NH_EINVAL);
	}
	assert_int_equal(nh_zone_find(NH_LIT("UTC"), &zone, NULL), NH_OK);
	assert_null(zone);
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(nh_zone_find(NH_LIT("Europe/Atlantis"), &zone, &err), NH_ENOTFOUND);
	assert_int_equal(nh_zone_find(NH_LIT("Europe"), &zone, &err) == NH_OK, 0); /* a folder */
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(rules), cmocka_unit_test(transitions), cmocka_unit_test(refusals), cmocka_unit_test(names)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Time zones from TZif files: a bounded reader of the 64-bit data (of the 32-bit data in files of version 1) and of the rule behind it, which says what happens after the last
 * transition; and a list of the zones that were asked for, which only grows.
 *
 * Leap seconds are not looked at: the "right" files that hold them are nobody's system zones. source: RFC 8536; POSIX.1-2017 "8.3" TZ
 */
#include "base/zone.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/file.h"

#define TRANSITIONS_MAX 4096
#define TYPES_MAX 256
#define ZONES_MAX 600
#define OFFSET_MAX_S (26 * 3600)
#define DAY_S INT64_C(86400)

/* When a rule's half of the year begins: "M3.2.0/2", "J60", "59". */
struct edge {
	enum { EDGE_MONTH_WEEK_DAY, EDGE_JULIAN, EDGE_DAY } form;
	int month, week, day;
	int32_t at_s; /* of the local day; may be negative or beyond the day */
};

struct rule {
	bool given, dst;
	int32_t standard_s, summer_s;
	struct edge summer, standard; /* begin */
};

struct nh_zone {
	size_t count; /* transitions */
	int64_t *at;
	uint8_t *type;
	int32_t offsets[TYPES_MAX];
	struct rule rule;
};

/* ---- the rule behind the last transition -------------------------------------------------------------------------------- */

static bool take(nh_slice *text, char c)
{
	if (text->len == 0 || text->ptr[0] != (uint8_t)c)
		return false;
	*text = nh_slice_skip(*text, 1);
	return true;
}

static bool take_number(nh_slice *text, int max, int *out)
{
	size_t digits = 0;
	*out = 0;
	while (digits < text->len && digits < 4 && text->ptr[digits] >= '0' && text->ptr[digits] <= '9')
		*out = *out * 10 + (text->ptr[digits++] - '0');
	*text = nh_slice_skip(*text, digits);
	return digits > 0 && *out <= max;
}

/* "<+0330>" or "CET" */
static bool take_name(nh_slice *text)
{
	bool quoted = take(text, '<');
	size_t len = 0;
	while (len < text->len && (quoted ? text->ptr[len] != '>' : (text->ptr[len] | 0x20) >= 'a' && (text->ptr[len] | 0x20) <= 'z'))
		len++;
	*text = nh_slice_skip(*text, len);
	return len >= 3 && (!quoted || take(text, '>'));
}

/* [+-]hh[:mm[:ss]] */
static bool take_time(nh_slice *text, int32_t *out)
{
	int part[3] = {0}, sign = take(text, '-') ? -1 : 1;
	if (sign > 0)
		(void)take(text, '+');
	if (!take_number(text, 167, &part[0]))
		return false;
	for (int i = 1; i < 3 && take(text, ':'); i++) {
		if (!take_number(text, 59, &part[i]))
			return false;
	}
	*out = sign * (part[0] * 3600 + part[1] * 60 + part[2]);
	return true;
}

static bool take_edge(nh_slice *text, struct edge *e)
{
	bool ok = take(text, ',');
	e->at_s = 2 * 3600;
	if (take(text, 'M')) {
		e->form = EDGE_MONTH_WEEK_DAY;
		ok = ok && take_number(text, 12, &e->month) && e->month > 0 && take(text, '.') && take_number(text, 5, &e->week) && e->week > 0 && take(text, '.') && take_number(text, 6, &e->day);
	} else {
		e->form = take(text, 'J') ? EDGE_JULIAN : EDGE_DAY;
		ok = ok && take_number(text, 365, &e->day);
	}
	return ok && (!take(text, '/') || take_time(text, &e->at_s));
}

/* An empty rule is legal and says nothing. */
static bool read_rule(nh_slice text, struct rule *r)
{
	if (text.len == 0)
		return true;
	if (!take_name(&text) || !take_time(&text, &r->standard_s))
		return false;
	r->given = true;
	r->standard_s = -r->standard_s; /* POSIX counts westwards */
	r->summer_s = r->standard_s + 3600;
	if (text.len == 0)
		return true;
	r->dst = true;
	if (!take_name(&text))
		return false;
	if (text.len > 0 && text.ptr[0] != ',') {
		if (!take_time(&text, &r->summer_s))
			return false;
		r->summer_s = -r->summer_s;
	}
	return take_edge(&text, &r->summer) && take_edge(&text, &r->standard) && text.len == 0;
}

static bool is_leap(int64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

/* Days from 1970-01-01 to the first of January. */
static int64_t year_begins(int64_t year)
{
	int64_t y = year - 1;
	return 365 * (year - 1970) + (y / 4 - y / 100 + y / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
}

static int64_t year_of(int64_t local_s)
{
	int64_t day = local_s / DAY_S, year = 1970 + day / 366;
	while (year_begins(year + 1) <= day)
		year++;
	return year;
}

/* Seconds on the local clock before the edge, from 1970 on. */
static int64_t edge_in(const struct edge *e, int64_t year)
{
	static const int begins[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
	int64_t first = year_begins(year), leap = is_leap(year);
	if (e->form == EDGE_DAY)
		return (first + e->day) * DAY_S + e->at_s;
	if (e->form == EDGE_JULIAN) /* 29 February is never counted */
		return (first + e->day - 1 + (leap && e->day >= 60)) * DAY_S + e->at_s;
	int64_t month = first + begins[e->month - 1] + (leap && e->month > 2);
	int64_t next = first + begins[e->month] + (leap && e->month >= 2);
	int64_t weekday = (month + 4) % 7; /* 1970 began on a Thursday; Sunday is 0 */
	int64_t day = month + (e->day - weekday + 7) % 7 + (int64_t)(e->week - 1) * 7;
	while (day >= next)
		day -= 7;
	return day * DAY_S + e->at_s;
}

static int32_t rule_offset(const struct rule *r, int64_t utc_s)
{
	if (!r->dst || utc_s < 0)
		return r->standard_s;
	int64_t year = year_of(utc_s + r->standard_s);
	int64_t summer = edge_in(&r->summer, year) - r->standard_s, standard = edge_in(&r->standard, year) - r->summer_s;
	bool is_summer = summer < standard ? utc_s >= summer && utc_s < standard : utc_s >= summer || utc_s < standard;
	return is_summer ? r->summer_s : r->standard_s;
}

int32_t nh_zone_offset_s(const struct nh_zone *zone, int64_t utc_s)
{
	if (!zone)
		return 0;
	if (zone->count == 0 || utc_s < zone->at[0])
		return zone->count == 0 && zone->rule.given ? rule_offset(&zone->rule, utc_s) : zone->offsets[0];
	if (utc_s >= zone->at[zone->count - 1] && zone->rule.given)
		return rule_offset(&zone->rule, utc_s);
	size_t low = 0, high = zone->count; /* at[low] <= utc_s < at[high] */
	while (high - low > 1) {
		size_t middle = (low + high) / 2;
		if (zone->at[middle] <= utc_s)
			low = middle;
		else
			high = middle;
	}
	return zone->offsets[zone->type[low]];
}

/* ---- files ---------------------------------------------------------------------------------------------------------------- */

struct header {
	uint8_t version;
	uint32_t isutc, isstd, leap, times, types, chars;
};

static bool read_header(struct nh_rd *r, struct header *h)
{
	nh_slice magic = nh_rd_bytes(r, 4);
	h->version = nh_rd_u8(r);
	nh_rd_skip(r, 15);
	uint32_t *const counts[] = {&h->isutc, &h->isstd, &h->leap, &h->times, &h->types, &h->chars};
	for (size_t i = 0; i < NH_ARRAY_LEN(counts); i++)
		*counts[i] = nh_rd_u32be(r);
	return !r->failed && nh_slice_eq_str(magic, "TZif") && h->times <= TRANSITIONS_MAX && h->types > 0 && h->types <= TYPES_MAX && h->chars <= 2048 && h->leap <= 1024 &&
	       h->isutc <= h->types && h->isstd <= h->types;
}

static int64_t read_time(struct nh_rd *r, unsigned width)
{
	return width == 8 ? (int64_t)nh_rd_u64be(r) : (int32_t)nh_rd_u32be(r);
}

static bool read_body(struct nh_rd *r, const struct header *h, unsigned width, struct nh_zone *z)
{
	z->count = h->times;
	z->at = nh_xcalloc(h->times + 1, sizeof *z->at);
	z->type = nh_xcalloc(h->times + 1, sizeof *z->type);
	for (size_t i = 0; i < z->count; i++) {
		z->at[i] = read_time(r, width);
		if (i > 0 && z->at[i] <= z->at[i - 1])
			return false;
	}
	for (size_t i = 0; i < z->count; i++) {
		z->type[i] = nh_rd_u8(r);
		if (z->type[i] >= h->types)
			return false;
	}
	for (size_t i = 0; i < h->types; i++) {
		z->offsets[i] = (int32_t)nh_rd_u32be(r);
		nh_rd_skip(r, 2);
		if (z->offsets[i] < -OFFSET_MAX_S || z->offsets[i] > OFFSET_MAX_S)
			return false;
	}
	nh_rd_skip(r, (size_t)h->chars + (size_t)h->leap * (width + 4) + h->isstd + h->isutc);
	return !r->failed;
}

static bool read_file(nh_slice tzif, struct nh_zone *z)
{
	struct nh_rd r = nh_rd_of(tzif);
	struct header h;
	if (!read_header(&r, &h))
		return false;
	if (h.version == 0)
		return read_body(&r, &h, 4, z);
	nh_rd_skip(&r, (size_t)h.times * 5 + (size_t)h.types * 6 + h.chars + (size_t)h.leap * 8 + h.isstd + h.isutc);
	if (r.failed || !read_header(&r, &h) || !read_body(&r, &h, 8, z) || nh_rd_u8(&r) != '\n')
		return false;
	nh_slice rest = nh_rd_bytes(&r, nh_rd_left(&r)), rule, after;
	return nh_slice_cut(rest, '\n', &rule, &after) && read_rule(rule, &z->rule);
}

void nh_zone_free(struct nh_zone *zone)
{
	if (!zone)
		return;
	free(zone->at);
	free(zone->type);
	free(zone);
}

nh_rc nh_zone_parse(nh_slice tzif, struct nh_zone **out, struct nh_err *err)
{
	struct nh_zone *z = nh_xcalloc(1, sizeof *z);
	*out = NULL;
	if (!read_file(tzif, z)) {
		nh_zone_free(z);
		return NH_FAIL(err, NH_EFORMAT, "this is no TZif file");
	}
	*out = z;
	return NH_OK;
}

/* ---- zones by name -------------------------------------------------------------------------------------------------------- */

bool nh_zone_name_ok(nh_slice name)
{
	bool begins = true; /* of a part */
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i], letter = c | 0x20;
		bool inner = (letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '+' || c == '-';
		if (!inner && (c != '/' || begins))
			return false;
		begins = c == '/';
	}
	return name.len > 0 && name.len <= NH_ZONE_NAME_MAX && !begins;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	char name[NH_ZONE_NAME_MAX + 1];
	struct nh_zone *zone;
} loaded[ZONES_MAX];
static size_t loaded_count;

static nh_rc load(const char *name, const struct nh_zone **out, struct nh_err *err)
{
	char path[128];
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	for (size_t i = 0; i < loaded_count; i++) {
		if (strcmp(loaded[i].name, name) == 0) {
			*out = loaded[i].zone;
			return NH_OK;
		}
	}
	if (loaded_count == ZONES_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "too many time zones are in use");
	snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
	if (nh_file_read(path, NH_ZONE_FILE_MAX, &bytes, NULL) != NH_OK)
		return NH_FAIL(err, NH_ENOTFOUND, "no time zone %s on this server (are the zones, tzdata, installed?)", name);
	NH_TRY(nh_zone_parse(nh_buf_slice(&bytes), &loaded[loaded_count].zone, err));
	snprintf(loaded[loaded_count].name, sizeof loaded[0].name, "%s", name);
	*out = loaded[loaded_count++].zone;
	return NH_OK;
}

nh_rc nh_zone_find(nh_slice name, const struct nh_zone **out, struct nh_err *err)
{
	char text[NH_ZONE_NAME_MAX + 1] = "";
	*out = NULL;
	if (nh_slice_eq_str(name, "UTC") || nh_slice_eq_str(name, "Etc/UTC"))
		return NH_OK;
	if (!nh_zone_name_ok(name))
		return NH_FAIL(err, NH_EINVAL, "this is no name of a time zone, such as Europe/Berlin");
	snprintf(text, sizeof text, "%.*s", NH_ARG(name));
	pthread_mutex_lock(&lock);
	nh_rc rc = load(text, out, err);
	pthread_mutex_unlock(&lock);
	return rc;
}

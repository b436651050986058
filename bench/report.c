/* The table on standard output, and the same rows as JSON. */
#include <stdio.h>

#include "base/file.h"
#include "base/json.h"
#include "bench.h"

static json_t *rows;
static int missed;

static void row(json_t *take_row)
{
	if (!rows)
		rows = json_array();
	json_array_append_new(rows, take_row);
}

void report(const char *figure, double value, const char *unit, double floor, bool at_most, const char *explanation)
{
	bool met = floor <= 0 || (at_most ? value <= floor : value >= floor);
	missed += !met;
	if (floor > 0)
		printf("%-34s %10.2f %-6s %s %-8.2f %-6s %s\n", figure, value, unit, at_most ? "<=" : ">=", floor, met ? "met" : "MISSED", explanation);
	else
		printf("%-34s %10.2f %-6s %-18s %s\n", figure, value, unit, "", explanation);
	fflush(stdout);
	json_t *r = json_pack("{s:s, s:f, s:s}", "figure", figure, "value", value, "unit", unit);
	json_object_set_new(r, "floor", floor > 0 ? json_real(floor) : json_null());
	json_object_set_new(r, "floor_kind", floor > 0 ? json_string(at_most ? "at_most" : "at_least") : json_null());
	json_object_set_new(r, "met", floor > 0 ? json_boolean(met) : json_null());
	row(r);
}

void report_skipped(const char *figure, const char *why)
{
	printf("%-34s skipped: %s\n", figure, why);
	row(json_pack("{s:s, s:n, s:s, s:n, s:n}", "figure", figure, "value", "skipped", why, "floor", "met"));
}

int report_write(const char *path)
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_json_put_pretty(&text, rows ? rows : json_array());
	json_decref(rows);
	if (nh_file_write_atomic(path, nh_buf_slice(&text), 0644, &err) == NH_OK)
		return missed;
	fprintf(stderr, "nh-bench: %s\n", err.msg);
	return -1;
}

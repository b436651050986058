/*
 * What a person sees: one line a device, drawn anew on a terminal, or one line for each change where the output is a file. Large fleets are shown as
 * counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"
#include "commands.h"

#define LINES_MAX 40
#define BAR 20

struct view {
	struct nh_fleet *fleet;
	uint64_t *seen; /* changes already printed */
	unsigned *percent;
	bool terminal;
	size_t drawn;
	size_t settled;
};

struct view *view_new(struct nh_fleet *fleet)
{
	struct view *v = nh_xcalloc(1, sizeof *v);
	v->fleet = fleet;
	v->seen = nh_xcalloc(nh_fleet_count(fleet), sizeof *v->seen);
	v->percent = nh_xcalloc(nh_fleet_count(fleet), sizeof *v->percent);
	v->terminal = isatty(STDOUT_FILENO) == 1;
	return v;
}

void view_free(struct view *v)
{
	free(v->seen);
	free(v->percent);
	free(v);
}

static void put_line(struct nh_buf *out, const struct nh_fleet_view *d)
{
	bool busy = d->phase == NH_FLEET_DOWNLOADING || d->phase == NH_FLEET_INSTALLING;
	unsigned full = busy ? d->percent * BAR / 100 : d->outcome == NH_FLEET_UPDATED ? BAR : 0;
	nh_buf_printf(out, "%-14s %-11s %-8s [", d->name, nh_fleet_identity_name(d->identity), *d->version ? d->version : "-");
	for (unsigned i = 0; i < BAR; i++)
		nh_buf_put_u8(out, i < full ? '#' : '.');
	nh_buf_printf(out, "] ");
	if (busy)
		nh_buf_printf(out, "%s %s %3u %%", nh_fleet_phase_name(d->phase), d->target, d->percent);
	else if (d->outcome == NH_FLEET_PENDING)
		nh_buf_put_str(out, nh_fleet_phase_name(d->phase));
	else
		nh_buf_printf(out, "%s, %s", nh_fleet_phase_name(d->phase), nh_fleet_outcome_name(d->outcome));
	if (*d->note)
		nh_buf_printf(out, " (%s)", d->note);
}

static void draw_counts(struct view *v)
{
	size_t phases[NH_FLEET_FAULTY + 1] = {0};
	for (size_t i = 0; i < nh_fleet_count(v->fleet); i++) {
		struct nh_fleet_view d;
		nh_fleet_view(v->fleet, i, &d);
		phases[d.phase]++;
	}
	size_t settled = nh_fleet_settled(v->fleet);
	if (!v->terminal && settled == v->settled && v->drawn)
		return;
	v->settled = settled;
	v->drawn = 1;
	printf(v->terminal ? "\r\033[K" : "");
	for (size_t i = NH_FLEET_BOOTING; i <= NH_FLEET_FAULTY; i++)
		if (phases[i])
			printf("%s %zu  ", nh_fleet_phase_name((nh_fleet_phase)i), phases[i]);
	printf("settled %zu of %zu%s", settled, nh_fleet_count(v->fleet), v->terminal ? "" : "\n");
	fflush(stdout);
}

static void draw_terminal(struct view *v)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	if (v->drawn)
		nh_buf_printf(&out, "\033[%zuA", v->drawn);
	for (size_t i = 0; i < nh_fleet_count(v->fleet); i++) {
		struct nh_fleet_view d;
		nh_fleet_view(v->fleet, i, &d);
		nh_buf_put_str(&out, "\033[K");
		put_line(&out, &d);
		nh_buf_put_str(&out, "\n");
	}
	v->drawn = nh_fleet_count(v->fleet);
	fwrite(out.ptr, 1, out.len, stdout);
	fflush(stdout);
}

/* In a file: a line when something changed, and at every quarter of a download. */
static void draw_changes(struct view *v)
{
	for (size_t i = 0; i < nh_fleet_count(v->fleet); i++) {
		struct nh_fleet_view d;
		nh_fleet_view(v->fleet, i, &d);
		bool quarter = d.percent / 25 != v->percent[i] / 25;
		if (d.changes == v->seen[i] && !quarter)
			continue;
		v->seen[i] = d.changes;
		v->percent[i] = d.percent;
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		put_line(&out, &d);
		puts(nh_buf_cstr(&out));
	}
	fflush(stdout);
}

void view_draw(struct view *v)
{
	if (nh_fleet_count(v->fleet) > LINES_MAX)
		draw_counts(v);
	else if (v->terminal)
		draw_terminal(v);
	else
		draw_changes(v);
}

void view_end(struct view *v)
{
	view_draw(v);
	if (nh_fleet_count(v->fleet) <= LINES_MAX)
		return; /* every device has its line already */
	if (v->terminal)
		puts("");
	for (size_t i = 0; i < nh_fleet_count(v->fleet); i++) {
		struct nh_fleet_view d;
		NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
		nh_fleet_view(v->fleet, i, &d);
		if (d.outcome == NH_FLEET_UPDATED || (d.outcome == NH_FLEET_PENDING && d.phase == NH_FLEET_ONLINE && !*d.note))
			continue; /* as it should be */
		put_line(&out, &d);
		puts(nh_buf_cstr(&out));
	}
	fflush(stdout);
}

nh_rc view_write_json(struct nh_fleet *fleet, const char *path, struct nh_err *err)
{
	json_t *list = json_array();
	for (size_t i = 0; i < nh_fleet_count(fleet); i++) {
		struct nh_fleet_view d;
		nh_fleet_view(fleet, i, &d);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i}", "identifier", d.name, "identity", nh_fleet_identity_name(d.identity),
						      "transport", d.polls ? "poll" : "channel",
						      "phase", nh_fleet_phase_name(d.phase), "outcome", nh_fleet_outcome_name(d.outcome), "version", d.version, "target", d.target,
						      "note", d.note, "connects", (int)d.connects, "updates", (int)d.updates));
	}
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_json_put_pretty(&text, list);
	json_decref(list);
	return nh_file_write_atomic(path, nh_buf_slice(&text), 0644, err);
}

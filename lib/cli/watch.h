/*
 * A rollout as it is watched: what was found and how it is shown. Private to cli.
 */
#pragma once

#include "cli_int.h"

struct cli_rollout {
	int64_t total, waiting, updating, downloading, done, failed, penalty_box;
	json_t *devices;  /* under way: identifier → {"stage", "percent"}, each null until it is told */
	json_t *failures; /* identifier → reason */
	const char *name; /* of the deployment group or device */
	json_t *firmware; /* {"uuid", "version"} that is rolled out */
};

/* watch_view.c: one state as it fits standard output: drawn over the one before on a terminal, else as a line (text, JSON or CSV) where it differs from the one before. */
struct cli_watch_view {
	struct nh_cli *c;
	bool terminal;
	unsigned drawn;     /* lines on the terminal */
	struct nh_buf last; /* the line before, without its time */
};
void cli_watch_view_init(struct cli_watch_view *v, struct nh_cli *c);
void cli_watch_view_show(struct cli_watch_view *v, const struct cli_rollout *r);
void cli_watch_view_fini(struct cli_watch_view *v);

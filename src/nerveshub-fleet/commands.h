/* What the commands of nerveshub-fleet share. */
#pragma once

#include "base/err.h"
#include "base/json.h"
#include "base/option.h"
#include "fleet/fleet.h"
#include "fleet/load.h"

struct command {
	const char *name, *help;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
};

int load_main(int argc, char **argv);
int make_firmware_main(int argc, char **argv);
int run_main(int argc, char **argv);

int command_fail(const struct nh_err *err); /* one line on standard error; returns 1 */
void command_help(const char *usage, const struct nh_option *options);

/*
 * load_steer.c: a load that follows lines on standard input, for programs that measure. Runs the loop until "quit" or the end of input.
 * NH_EIO: standard input cannot be watched (a regular file).
 */
nh_rc load_steer(struct nh_loop *loop, const struct nh_load_config *config, struct nh_err *err);
json_t *load_report_json(const struct nh_load_report *r);

/* view.c: what a person sees of a running fleet. */
struct view;
struct view *view_new(struct nh_fleet *fleet);
void view_free(struct view *v);
void view_draw(struct view *v);       /* on a terminal: all lines anew; else a line for each change */
void view_end(struct view *v);        /* the last picture; of a large fleet also each device that was not updated, and why */
nh_rc view_write_json(struct nh_fleet *fleet, const char *path, struct nh_err *err);

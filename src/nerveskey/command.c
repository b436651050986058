/*
 * From argv to a command: its row, its options, help on every level, and how it ends. The rows are in the cmd_*.c files.
 */
#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS_MAX 40

static const struct flag global_flags[] = {
	{"bus", 'b', NH_OPT_TEXT, AT(bus), "BUS", "where the chip is: i2c-1, /dev/i2c-1, i2c:1@0x60, sim:PATH, nerveskey+sim:///PATH (i2c-1)", .env = "NERVESKEY_BUS"},
	{"address", 'a', NH_OPT_TEXT, AT(address), "ADDRESS", "7-bit address, 0x03 to 0x77 (0x60; Trust&Go parts have 0x35)"},
	{"json", 0, NH_OPT_FLAG, AT(json), NULL, "answer in JSON"},
	{"help", 'h', NH_OPT_FLAG, AT(help), NULL, "show help"},
	{"version", 0, NH_OPT_FLAG, AT(version), NULL, "show the version"},
	{NULL},
};

static const struct command *const tables[] = {chip_commands,	     check_commands,	provision_commands, batch_commands,
					       certificate_commands, settings_commands, sign_commands,	    NULL};

static const char *const names[] = {
	[STATUS_OK] = "ok", [STATUS_FAILED] = "failed", [STATUS_USAGE] = "usage", [STATUS_NO_CHIP] = "no-chip", [STATUS_NOT_PROVISIONED] = "not-provisioned",
	[STATUS_PROVISIONED] = "already-provisioned", [STATUS_FOREIGN] = "foreign-layout", [STATUS_REFUSED] = "refused", [STATUS_IO] = "io", [STATUS_INTERRUPTED] = "interrupted",
	[STATUS_BURNT] = "interrupted-after-burning", [STATUS_UNTRUE] = "untrue", [STATUS_UNFINISHED] = "unfinished",
	[STATUS_LATCHED] = "latched",
};

const char *status_name(status s) { return names[s]; }

nh_rc app_fail(struct app *app, status s, nh_rc rc)
{
	app->status = s;
	return rc;
}

static status status_of(const struct app *app, nh_rc rc)
{
	switch (rc) {
	case NH_OK: return STATUS_OK;
	case NH_ENOTFOUND: return STATUS_NO_CHIP;
	case NH_EINVAL:
	case NH_ETOOBIG:
	case NH_EUNSUPPORTED: return STATUS_REFUSED;
	case NH_ECONFLICT: return STATUS_PROVISIONED;
	case NH_EAUTH: return STATUS_UNTRUE;
	case NH_EPERM: return app->latched ? STATUS_LATCHED : STATUS_IO; /* the chip, whose state allows it, refuses */
	case NH_EFORMAT:
	case NH_EIO:
	case NH_ENOSPC:
	case NH_ETIMEOUT:
	case NH_EAGAIN:
	case NH_ECLOSED: return STATUS_IO;
	default: return STATUS_FAILED;
	}
}

/* ---- finding */

/* How many of the words are row's path; 0: another command. */
static int path_words(const char *path, int count, char *const *words)
{
	nh_slice rest = nh_slice_str(path), word;
	int n = 0;
	while (rest.len) {
		nh_slice_cut(rest, ' ', &word, &rest);
		if (n >= count || !nh_slice_eq_str(word, words[n]))
			return 0;
		n++;
	}
	return n;
}

static const struct command *find(int count, char *const *words, int *used)
{
	const struct command *found = NULL;
	*used = 0;
	for (size_t t = 0; tables[t]; t++)
		for (const struct command *row = tables[t]; row->path; row++) {
			int n = path_words(row->path, count, words);
			if (n > *used) {
				*used = n;
				found = row;
			}
		}
	return found;
}

static bool takes_value(const char *arg)
{
	bool is_long = arg[1] == '-';
	nh_slice name = nh_slice_str(arg + (is_long ? 2 : 1));
	if (nh_slice_chr(name, '=') >= 0 || (!is_long && name.len != 1))
		return false;
	for (const struct flag *f = global_flags; f->name; f++)
		if (f->kind != NH_OPT_FLAG && (is_long ? nh_slice_eq_str(name, f->name) : name.ptr[0] == (uint8_t)f->letter))
			return true;
	return false;
}

/* Puts the command's words first, so that global options may stand before them. */
static const struct command *find_anywhere(int argc, char **argv, int *used)
{
	int at = 1;
	while (at < argc && argv[at][0] == '-' && argv[at][1])
		at += 1 + (takes_value(argv[at]) ? 1 : 0);
	if (at >= argc)
		return NULL;
	const struct command *found = find(argc - at, argv + at, used);
	if (!found)
		return NULL;
	/* argv[1..at) are options: moved behind the words. */
	for (int n = 0; n < *used; n++) {
		char *word = argv[at + n];
		for (int i = at + n; i > 1 + n; i--)
			argv[i] = argv[i - 1];
		argv[1 + n] = word;
	}
	return found;
}

/* ---- options and help */

static void add_options(struct nh_option *rows, size_t *count, const struct flag *flags, struct options *o)
{
	for (const struct flag *f = flags; f && f->name; f++) {
		NH_ASSERT(*count + 1 < FLAGS_MAX);
		rows[(*count)++] = (struct nh_option){.name = f->name, .letter = f->letter, .kind = f->kind, .target = (char *)o + f->target, .value = f->value, .help = f->help,
						      .min = f->min, .max = f->max, .env = f->env};
	}
}

static void command_help(struct app *app)
{
	const struct command *c = app->command;
	struct nh_option own[FLAGS_MAX] = {0}, global[FLAGS_MAX] = {0};
	size_t own_count = 0, global_count = 0;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	add_options(own, &own_count, c->flags, &app->o);
	add_options(global, &global_count, global_flags, &app->o);
	nh_buf_printf(&b, "usage: nerveskey %s%s%s [OPTION...]\n\n%s\n\nOptions:\n", c->path, c->args[0] ? " " : "", c->args, c->help);
	nh_option_help(&b, own);
	nh_option_help(&b, global);
	fputs(nh_buf_cstr(&b), stdout);
}

static void general_help(struct app *app)
{
	struct nh_option global[FLAGS_MAX] = {0};
	size_t count = 0;
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	add_options(global, &count, global_flags, &app->o);
	nh_buf_put_str(&b, "usage: nerveskey COMMAND [OPTION...]\n\nProvisions and uses ATECC508A, 608A and 608B chips as NervesKeys.\n\nCommands:\n");
	for (size_t t = 0; tables[t]; t++)
		for (const struct command *row = tables[t]; row->path; row++) {
			size_t begin = b.len;
			nh_buf_printf(&b, "  %s %s", row->path, row->args);
			nh_buf_fill(&b, ' ', b.len - begin < 38 ? 38 - (b.len - begin) : 2);
			nh_buf_printf(&b, "%s\n", row->help);
		}
	nh_buf_put_str(&b, "\nOptions of all commands:\n");
	nh_option_help(&b, global);
	nh_buf_put_str(&b, "\nnerveskey COMMAND --help lists the options of a command.\n");
	fputs(nh_buf_cstr(&b), stdout);
}

/* "settings" alone is no command, but the beginning of some. */
static nh_rc unknown_command(const char *word, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf below = NH_BUF_INIT;
	for (size_t t = 0; tables[t]; t++)
		for (const struct command *row = tables[t]; row->path; row++) {
			nh_slice first, rest;
			if (nh_slice_cut(nh_slice_str(row->path), ' ', &first, &rest) && nh_slice_eq_str(first, word))
				nh_buf_printf(&below, "%s%s", below.len ? ", " : "", row->path);
		}
	if (below.len)
		return NH_FAIL(err, NH_EINVAL, "'%.40s' is not the whole command: %s", word, nh_buf_cstr(&below));
	return NH_FAIL(err, NH_EINVAL, "unknown command '%.80s'; nerveskey --help lists the commands", word);
}

static nh_rc dispatch(struct app *app, int argc, char **argv, struct nh_err *err)
{
	struct nh_option rows[FLAGS_MAX] = {0};
	size_t count = 0;
	int used = 0;
	app->command = find_anywhere(argc, argv, &used);
	if (app->command)
		add_options(rows, &count, app->command->flags, &app->o);
	add_options(rows, &count, global_flags, &app->o);
	app->status = STATUS_USAGE;
	NH_TRY(nh_option_parse(rows, argc - used, argv + used, &app->arg_count, err));
	app->args = argv + used + 1;
	if (app->o.version) {
		puts("nerveskey " NH_VERSION);
		return NH_OK;
	}
	if (!app->command) {
		if (app->arg_count)
			return unknown_command(app->args[0], err);
		general_help(app);
		return app->o.help ? NH_OK : NH_FAIL(err, NH_EINVAL, "a command is missing");
	}
	if (app->o.help) {
		command_help(app);
		return NH_OK;
	}
	const struct command *c = app->command;
	if (app->arg_count < c->min_args)
		return NH_FAIL(err, NH_EINVAL, "missing argument: nerveskey %s %s", c->path, c->args);
	if (app->arg_count > c->max_args)
		return NH_FAIL(err, NH_EINVAL, "too many arguments ('%.80s'): nerveskey %s %s", app->args[c->max_args], c->path, c->args);
	app->status = STATUS_OK;
	return c->run(app, err);
}

int command_main(int argc, char **argv)
{
	struct app app = {0};
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = dispatch(&app, argc, argv, &err);
	/* A command may end well with a status that says something, and badly with one that says more than the code. */
	status s = app.status;
	if (rc == NH_OK && s == STATUS_USAGE)
		s = STATUS_OK; /* help, version */
	if (rc != NH_OK && s == STATUS_OK)
		s = status_of(&app, rc);
	if (rc != NH_OK) {
		const char *message = err.msg[0] ? err.msg : nh_rc_name(rc);
		if (app.o.json)
			print_json(json_pack("{s:b,s:s,s:i,s:o}", "ok", 0, "code", status_name(s), "status", (int)s, "error", nh_json_new_text(nh_slice_str(message))));
		fflush(stdout);
		note("nerveskey: %s\n", message);
		if (s == STATUS_NO_CHIP && app.key && !app.o.json)
			note("nerveskey: detect --scan tries the addresses that such chips have\n");
	}
	nh_nerveskey_close(app.key);
	free(app.o.claims.items);
	if ((fflush(stdout) != 0 || ferror(stdout)) && s == STATUS_OK) {
		note("nerveskey: cannot write to standard output\n");
		s = STATUS_IO;
	}
	return (int)s;
}

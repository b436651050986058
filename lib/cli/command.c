/*
 * From argv to a command: finding its row, reading flags wherever they stand. The rows are in the cmd_*.c files.
 *
 * source: reference/user-api-and-cli "18.1" "18.2"
 */
#include <stdlib.h>

#include "cli_int.h"

const struct cli_flag cli_global_flags[] = {
	{"uri", 0, CLI_TEXT, "URL", "address of the server"},
	{"token", 0, CLI_TEXT, "TOKEN", "API token"},
	{"org", 0, CLI_TEXT, "ORG", "organization"},
	{"product", 0, CLI_TEXT, "PRODUCT", "product"},
	{"profile", 0, CLI_TEXT, "PROFILE", "use this saved profile instead of the active settings"},
	{"data-dir", 0, CLI_TEXT, "DIR", "settings, keys and certificates (default ~/.nh)"},
	{"non-interactive", 0, CLI_FLAG, NULL, "never ask"},
	{"output", 'o', CLI_TEXT, "table|json|csv", "how lists and objects are printed"},
	{"help", 'h', CLI_FLAG, NULL, "show help"},
	{"version", 0, CLI_FLAG, NULL, "show the version"},
	{NULL},
};

static nh_rc run_version(struct nh_cli *c, struct nh_err *err)
{
	cli_out(c, "nh %s\n", NH_VERSION);
	return NH_OK;
}

const struct cli_flag cli_yes_flags[] = {{"yes", 'y', CLI_FLAG, NULL, "do not ask"}, {NULL}};

static const struct cli_command own_commands[] = {{"version", "", 0, 0, 0, NULL, run_version, "show the version"}, {NULL}};

static const struct cli_command *const tables[] = {
	cli_config_commands,	 cli_user_commands,	 cli_account_commands,	  cli_overview_commands,	 cli_org_commands,	  cli_product_commands, cli_key_commands,
	cli_firmware_commands,	 cli_archive_commands,	 cli_device_commands,	  cli_agent_commands,	cli_import_commands,	  cli_telemetry_commands, cli_certificate_commands,
	cli_deployment_commands,
	cli_rollout_commands, cli_script_commands,	 cli_iroh_commands,	  cli_ca_commands,	cli_authority_commands, cli_migrate_commands,
	cli_watch_commands,
	cli_explain_commands, cli_plan_commands, cli_simulate_commands,
	cli_webhook_commands,
	cli_audit_commands,
	cli_completion_commands,
	cli_help_commands,	 own_commands,
};

const struct cli_alias cli_aliases[] = {
	{"", "deployments", "deployment"}, {"", "iroh", "iroh-endpoint"},     {"", "support-script", "script"},
	{"firmware", "publish", "upload"}, {"device", "certs", "certificates"}, {"device", "identities", "network-identities"},
	{"org", "users", "members"},	   {"config", "list", "profiles"},    {"config", "show", "get"},
	{NULL, NULL, NULL},
};

const struct cli_command *cli_row(size_t index)
{
	for (size_t t = 0; t < NH_ARRAY_LEN(tables); t++)
		for (const struct cli_command *row = tables[t]; row->path; row++)
			if (index-- == 0)
				return row;
	return NULL;
}

static nh_slice word_below(const struct cli_command *row, nh_slice group, bool *deeper)
{
	nh_slice path = nh_slice_str(row->path), word, rest;
	bool below = group.len == 0 || (nh_slice_starts(path, group) && path.len > group.len && path.ptr[group.len] == ' ');
	if (!below || row->path[0] == '_')
		return NH_SLICE_EMPTY;
	*deeper = nh_slice_cut(group.len ? nh_slice_skip(path, group.len + 1) : path, ' ', &word, &rest);
	return word;
}

nh_slice cli_new_word(size_t index, nh_slice group, bool *deeper)
{
	bool ignored;
	nh_slice word = word_below(cli_row(index), group, deeper);
	for (size_t i = 0; i < index; i++)
		if (nh_slice_eq(word, word_below(cli_row(i), group, &ignored)))
			return NH_SLICE_EMPTY;
	return word;
}

const char *cli_word(nh_slice below, const char *word)
{
	for (const struct cli_alias *a = cli_aliases; a->alias; a++)
		if (nh_slice_eq_str(below, a->below) && nh_slice_eq_str(nh_slice_str(word), a->alias))
			return a->word;
	return word;
}

const struct cli_flag *cli_flag_named(const struct cli_flag *table, nh_slice name)
{
	for (; table && table->name; table++)
		if (nh_slice_eq_str(name, table->name) || (name.len == 1 && table->letter && name.ptr[0] == (uint8_t)table->letter))
			return table;
	return NULL;
}

const struct cli_flag *cli_flag_anywhere(nh_slice name)
{
	const struct cli_flag *f = cli_flag_named(cli_global_flags, name);
	const struct cli_command *row;
	for (size_t i = 0; !f && (row = cli_row(i)); i++)
		f = cli_flag_named(row->flags, name);
	return f;
}

/* Any flag of any command: before the command is known, only whether a value follows matters. */
bool cli_value_follows(const char *arg)
{
	bool is_long = arg[1] == '-';
	nh_slice name = nh_slice_str(arg + (is_long ? 2 : 1));
	if (nh_slice_chr(name, '=') >= 0 || (!is_long && name.len != 1))
		return false;
	const struct cli_flag *f = cli_flag_anywhere(name);
	return f && (f->kind == CLI_TEXT || f->kind == CLI_NUMBER || f->kind == CLI_LIST);
}

static const struct cli_command *exact(nh_slice path)
{
	const struct cli_command *row;
	for (size_t i = 0; (row = cli_row(i)); i++)
		if (nh_slice_eq_str(path, row->path))
			return row;
	return NULL;
}

/* "device" is a group when a command begins with "device ". */
static bool is_group(nh_slice path)
{
	bool deeper;
	for (size_t i = 0; cli_row(i); i++)
		if (word_below(cli_row(i), path, &deeper).len)
			return true;
	return false;
}

const struct cli_command *cli_find(int argc, char **argv, int *depth, char **rest, int *rest_count)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	const struct cli_command *found = NULL;
	bool searching = true;
	*depth = *rest_count = 0;
	for (int i = 0; i < argc; i++) {
		char *arg = argv[i];
		if (i == 0 || !searching || (arg[0] == '-' && arg[1])) {
			rest[(*rest_count)++] = arg;
			if (i > 0 && searching && nh_slice_eq_str(NH_LIT("--"), arg))
				searching = false;
			else if (i > 0 && searching && cli_value_follows(arg) && i + 1 < argc)
				rest[(*rest_count)++] = argv[++i];
			continue;
		}
		size_t before = path.len;
		const char *word = cli_word(nh_buf_slice(&path), arg);
		if (before)
			nh_buf_put_u8(&path, ' ');
		nh_buf_put_str(&path, word);
		const struct cli_command *row = exact(nh_buf_slice(&path));
		bool group = is_group(nh_buf_slice(&path));
		if (row || group) {
			++*depth;
			found = row;
		} else {
			nh_buf_truncate(&path, before);
			rest[(*rest_count)++] = arg;
		}
		searching = group;
	}
	rest[*rest_count] = NULL;
	return found;
}

/* The command's own flags first: `deployment --version REQ` hides the global --version. */
static void add_flags(struct nh_cli *c, const struct cli_flag *table)
{
	for (; table && table->name; table++) {
		bool hidden = false;
		for (size_t i = 0; i < c->flag_count; i++)
			hidden |= nh_slice_eq_str(nh_slice_str(table->name), c->flags[i]->name);
		NH_ASSERT(c->flag_count < CLI_FLAGS_MAX);
		if (!hidden)
			c->flags[c->flag_count++] = table;
	}
}

void cli_use_flags(struct nh_cli *c)
{
	c->flag_count = 0;
	if (c->command)
		add_flags(c, c->command->flags);
	add_flags(c, cli_global_flags);
}

/* Rows for the option parser; their targets are our values. */
struct nh_option *cli_options(struct nh_cli *c)
{
	struct nh_option *rows = NH_NEW_ARRAY(&c->arena, c->flag_count + 1, struct nh_option);
	for (size_t i = 0; i < c->flag_count; i++) {
		const struct cli_flag *f = c->flags[i];
		struct cli_value *v = &c->values[i];
		rows[i] = (struct nh_option){.name = f->name, .letter = f->letter, .value = f->value, .help = f->help};
		rows[i].kind = f->kind == CLI_FLAG ? NH_OPT_FLAG : f->kind == CLI_LIST ? NH_OPT_LIST : NH_OPT_TEXT;
		rows[i].target = f->kind == CLI_FLAG ? (void *)&v->on : f->kind == CLI_LIST ? (void *)&v->list : (void *)&v->text;
	}
	return rows;
}

/* "--updates-enabled" alone means "=true": the option parser knows no optional values. */
static void spell_out_booleans(struct nh_cli *c, int argc, char **argv)
{
	for (int i = 1; i < argc && !nh_slice_eq_str(NH_LIT("--"), argv[i]); i++)
		for (size_t k = 0; k < c->flag_count; k++)
			if (c->flags[k]->kind == CLI_BOOL && argv[i][0] == '-' && argv[i][1] == '-' &&
			    nh_slice_eq_str(nh_slice_str(argv[i] + 2), c->flags[k]->name))
				argv[i] = nh_arena_printf(&c->arena, "--%s=true", c->flags[k]->name);
}

static size_t common_prefix(nh_slice a, nh_slice b)
{
	size_t n = 0;
	while (n < a.len && n < b.len && a.ptr[n] == b.ptr[n])
		n++;
	return n;
}

static nh_rc unknown_command(const char *word, struct nh_err *err)
{
	nh_slice best = NH_SLICE_EMPTY;
	size_t score = 1;
	for (size_t i = 0; cli_row(i); i++) {
		bool deeper;
		nh_slice first = word_below(cli_row(i), NH_LIT(""), &deeper);
		size_t n = common_prefix(first, nh_slice_str(word));
		if (n > score) {
			score = n;
			best = first;
		}
	}
	if (best.len)
		return NH_FAIL(err, NH_EINVAL, "unknown command \"%.80s\" for \"nh\"; did you mean \"%.*s\"?", word, NH_ARG(best));
	return NH_FAIL(err, NH_EINVAL, "unknown command \"%.80s\" for \"nh\"; `nh --help` lists the commands", word);
}

static nh_rc check_arguments(const struct nh_cli *c, struct nh_err *err)
{
	if (c->arg_count < c->command->min_args)
		return NH_FAIL(err, NH_EINVAL, "missing argument: nh %s %s", c->command->path, c->command->args);
	if (c->arg_count > c->command->max_args)
		return NH_FAIL(err, NH_EINVAL, "too many arguments (\"%.80s\"): nh %s %s", c->args[c->command->max_args], c->command->path, c->command->args);
	return NH_OK;
}

/* The words in front of a group's help, as given on the command line (canonical). */
static nh_slice group_words(struct nh_cli *c, int argc, char **argv, int depth)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	for (int i = 1; i < argc && depth > 0; i++) {
		if (argv[i][0] == '-') {
			i += cli_value_follows(argv[i]);
			continue;
		}
		const char *word = cli_word(nh_buf_slice(&path), argv[i]);
		nh_buf_printf(&path, "%s%s", path.len ? " " : "", word);
		depth--;
	}
	return nh_arena_copy(&c->arena, nh_buf_slice(&path));
}

static nh_rc dispatch(struct nh_cli *c, int argc, char **argv, struct nh_err *err)
{
	char **rest = NH_NEW_ARRAY(&c->arena, (size_t)argc + 2, char *);
	int depth = 0, rest_count = 0;
	bool asked = argc > 1 && nh_slice_eq_str(NH_LIT("help"), argv[1]);
	if (asked) {
		argv++;
		argc--;
	}
	c->command = cli_find(argc, argv, &depth, rest, &rest_count);
	cli_use_flags(c);
	spell_out_booleans(c, rest_count, rest);
	NH_TRY(nh_option_parse(cli_options(c), rest_count, rest, &c->arg_count, err));
	c->args = rest + 1;
	if (cli_on(c, "version")) {
		cli_out(c, "nh %s\n", NH_VERSION);
		return NH_OK;
	}
	if (!c->command && depth == 0 && c->arg_count > 0)
		return unknown_command(c->args[0], err);
	if (!c->command) {
		cli_group_help(c, group_words(c, argc, argv, depth));
		return NH_OK;
	}
	if (asked || cli_on(c, "help")) {
		cli_command_help(c);
		return NH_OK;
	}
	NH_TRY(check_arguments(c, err));
	NH_TRY(cli_resolve(c, err));
	NH_TRY(cli_require(c, c->command->needs, err));
	return c->command->run(c, err);
}

void cli_close(struct nh_cli *c)
{
	for (size_t i = 0; i < c->flag_count; i++)
		free(c->values[i].list.items);
	json_decref(c->settings.root);
	nh_arena_fini(&c->arena);
}

int nh_cli_run(const struct nh_cli_io *io, int argc, char **argv)
{
	struct nh_cli c = {.io = io};
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = dispatch(&c, argc, argv, &err);
	if (rc != NH_OK && rc != NH_ECLOSED) {
		fflush(io->out);
		cli_note(&c, "Error: %s\n", err.msg[0] ? cli_visible(&c, err.msg) : nh_rc_name(rc));
	}
	/* A full disk under a redirected stdout shows only now. */
	if (fflush(io->out) != 0 && rc == NH_OK) {
		cli_note(&c, "Error: cannot write to standard output\n");
		rc = NH_EIO;
	}
	cli_close(&c);
	return c.status ? c.status : rc == NH_OK || rc == NH_ECLOSED ? 0 : 1;
}

/*
 * What `--help` says, and the man page's list of commands: from the command table, so they cannot differ from what is done.
 *
 * source: reference/user-api-and-cli "18.1"
 */
#include "cli_int.h"

static size_t own_flags(const struct nh_cli *c)
{
	size_t own = 0;
	while (c->command && c->command->flags && c->command->flags[own].name)
		own++;
	return own;
}

static void put_flags(struct nh_cli *c, struct nh_buf *out)
{
	struct nh_option *all = cli_options(c);
	size_t own = own_flags(c);
	nh_buf_put_str(out, own ? "\nFlags:\n" : "");
	struct nh_option first_global = all[own];
	all[own] = (struct nh_option){0};
	nh_option_help(out, all);
	all[own] = first_global;
	nh_buf_put_str(out, "\nGlobal flags:\n");
	nh_option_help(out, all + own);
}

static void put_aliases(struct nh_buf *out, const struct cli_command *command)
{
	nh_slice path = nh_slice_str(command->path);
	for (const struct cli_alias *a = cli_aliases; a->alias; a++) {
		size_t below = strlen(a->below);
		nh_slice last = nh_slice_skip(path, below ? below + 1 : 0);
		if (nh_slice_starts(path, nh_slice_str(a->below)) && nh_slice_eq_str(last, a->word))
			nh_buf_printf(out, "\nAlso:\n  nh %s%s%s\n", a->below, below ? " " : "", a->alias);
	}
}

void cli_command_help(struct nh_cli *c)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_buf_printf(&b, "%s\n\nUsage:\n  nh %s%s%s [flags]\n", c->command->help, c->command->path, c->command->args[0] ? " " : "", c->command->args);
	put_aliases(&b, c->command);
	put_flags(c, &b);
	cli_out(c, "%s", nh_buf_cstr(&b));
}

/* At the top a line for each group; below, each command with its arguments. */
static void put_line(struct nh_cli *c, struct cli_table *t, size_t index, nh_slice group)
{
	const struct cli_command *row = cli_row(index);
	bool deeper = false, below = nh_slice_starts(nh_slice_str(row->path), group) && row->path[group.len] == ' ';
	nh_slice word = cli_new_word(index, group, &deeper);
	if (group.len ? !below : word.len == 0)
		return;
	if (group.len == 0 && deeper)
		cli_table_row(t, nh_arena_printf(&c->arena, "  %.*s", NH_ARG(word)), nh_arena_printf(&c->arena, "see: nh %.*s --help", NH_ARG(word)));
	else
		cli_table_row(t, nh_arena_printf(&c->arena, "  %s%s%s", row->path + (group.len ? group.len + 1 : 0), row->args[0] ? " " : "", row->args), row->help);
}

void cli_group_help(struct nh_cli *c, nh_slice group)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	struct cli_table t = {.arena = &c->arena, .columns = 2};
	if (group.len == 0)
		nh_buf_put_str(&b, "Talks to a NervesHub server.\n\n");
	nh_buf_printf(&b, "Usage:\n  nh %.*s%s<command> [flags]\n\nCommands:\n", NH_ARG(group), group.len ? " " : "");
	cli_out(c, "%s", nh_buf_cstr(&b));
	for (size_t i = 0; cli_row(i); i++)
		put_line(c, &t, i, group);
	cli_table_print(c, &t);
	nh_buf_clear(&b);
	put_flags(c, &b);
	cli_out(c, "%s", nh_buf_cstr(&b));
}

/* ---- man page -------------------------------------------------------------------------------------------------------------- */

/* A sentence: help texts begin small. */
static void put_sentence(struct nh_buf *out, const char *text)
{
	nh_buf_put_u8(out, (uint8_t)(text[0] >= 'a' && text[0] <= 'z' ? text[0] - 32 : text[0]));
	for (text++; *text; text++) {
		nh_buf_put_str(out, *text == '\\' ? "\\e" : "");
		if (*text != '\\')
			nh_buf_put_u8(out, (uint8_t)*text);
	}
	nh_buf_put_str(out, text[-1] == '.' ? "\n" : ".\n");
}

static void put_argument(struct nh_buf *out, nh_slice word)
{
	bool optional = nh_slice_starts(word, NH_LIT("["));
	nh_slice name = nh_slice_sub(word, 1, word.len - 2);
	nh_buf_printf(out, optional ? " Op Ar %.*s" : " Ar %.*s", NH_ARG(name));
}

static void put_flag(struct nh_buf *out, const struct cli_flag *f)
{
	nh_buf_put_str(out, ".It ");
	if (f->letter)
		nh_buf_printf(out, "Fl %c , ", f->letter);
	nh_buf_printf(out, "Fl Fl %s%s%s\n", f->name, f->value ? " Ar " : "", f->value ? f->value : "");
	put_sentence(out, f->help);
}

static void put_command(struct nh_buf *out, const struct cli_command *row, nh_slice words)
{
	nh_slice word, rest = nh_slice_str(row->args);
	nh_buf_printf(out, ".It Cm %.*s", NH_ARG(words));
	while (rest.len) {
		nh_slice_cut(rest, ' ', &word, &rest);
		put_argument(out, word);
	}
	nh_buf_put_u8(out, '\n');
	put_sentence(out, row->help);
	if (!row->flags)
		return;
	nh_buf_put_str(out, ".Bl -tag -width Ds -compact\n");
	for (const struct cli_flag *f = row->flags; f->name; f++)
		put_flag(out, f);
	nh_buf_put_str(out, ".El\n");
}

/* All commands that begin with this word, as a section. */
static void put_section(struct nh_buf *out, nh_slice first)
{
	const struct cli_command *row;
	nh_buf_printf(out, ".Ss nh %.*s\n.Bl -tag -width Ds\n", NH_ARG(first));
	for (size_t i = 0; (row = cli_row(i)); i++) {
		nh_slice path = nh_slice_str(row->path);
		if (nh_slice_eq(path, first) || (nh_slice_starts(path, first) && path.ptr[first.len] == ' '))
			put_command(out, row, path.len > first.len ? nh_slice_skip(path, first.len + 1) : path);
	}
	nh_buf_put_str(out, ".El\n");
}

/* The part of nh.1 that is not written by hand. */
static nh_rc run_man(struct nh_cli *c, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_buf_put_str(&b, ".Sh GLOBAL FLAGS\n.Bl -tag -width Ds\n");
	for (const struct cli_flag *f = cli_global_flags; f->name; f++)
		put_flag(&b, f);
	nh_buf_put_str(&b, ".El\n.Sh COMMANDS\n");
	for (size_t i = 0; cli_row(i); i++) {
		bool deeper;
		nh_slice word = cli_new_word(i, NH_SLICE_EMPTY, &deeper);
		if (word.len)
			put_section(&b, word);
	}
	cli_out(c, "%s", nh_buf_cstr(&b));
	return NH_OK;
}

const struct cli_command cli_help_commands[] = {{"__man", "", 0, 0, 0, NULL, run_man, "the lists of commands and flags as mdoc"}, {NULL}};

/*
 * Parses the command line with GNU getopt_long (mixed operands, abbreviated long options), since callers written for fwup count on its habits.
 * What each option does is its row's kind; no option has code of its own outside this file.
 */
#include "options.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "firmware/vars.h"

typedef enum kind { COMMAND, FLAG, UNFLAG, TEXT, NUMBER, PUBLIC_FILE, PUBLIC_TEXT, PRIVATE_FILE, PRIVATE_TEXT, LEVEL } kind;

struct row {
	char letter;        /* 0: long only */
	const char *name;   /* NULL: short only */
	const char *value;  /* name of the argument in the help text; NULL: none */
	kind kind;
	size_t field;       /* of struct options; COMMAND: the letter stored */
	bool not_easy;
	const char *help;
};

#define F(field) offsetof(struct options, field)

static const struct row rows[] = {
	{'a', "apply", NULL, COMMAND, 'a', true, "apply a firmware archive (-d, -i, -t)"},
	{'c', "create", NULL, COMMAND, 'c', true, "create a firmware archive (-f, -o)"},
	{'g', "gen-keys", NULL, COMMAND, 'g', true, "generate a key pair for signing (-o = prefix)"},
	{'l', "list", NULL, COMMAND, 'l', true, "list the tasks of an archive (-i)"},
	{'m', "metadata", NULL, COMMAND, 'm', true, "print the metadata of an archive (-i)"},
	{'S', "sign", NULL, COMMAND, 'S', true, "sign an archive (-i, -o, -s)"},
	{'V', "verify", NULL, COMMAND, 'V', true, "verify an archive (-i, -p)"},
	{'z', NULL, NULL, COMMAND, 'z', true, "print the path of the only memory card"},
	{'D', "detect", NULL, COMMAND, 'D', true, "list memory cards: PATH,BYTES"},
	{0, "sparse-check", "PATH", TEXT, F(sparse_path), true, "test whether the file system of PATH keeps holes in files"},
	{0, "sparse-check-size", "BYTES", NUMBER, F(sparse_size), true, "size of the hole for it (4096)"},
	{'d', NULL, "PATH", TEXT, F(destination), false, "destination: file or device (the only memory card)"},
	{'f', NULL, "PATH", TEXT, F(config), true, "configuration to create from (fwupdate.conf; - = standard input)"},
	{'i', NULL, "PATH", TEXT, F(input), true, "archive to read (- or absent = standard input)"},
	{'o', NULL, "PATH", TEXT, F(output), true, "file to write (- or absent = standard output for create)"},
	{'t', "task", "PREFIX", TEXT, F(task), false, "task to run: the first whose name begins so and whose requirements hold"},
	{'p', "public-key-file", "PATH", PUBLIC_FILE, 0, true, "public key that must have signed the archive; may be repeated"},
	{0, "public-key", "KEY", PUBLIC_TEXT, 0, false, "the same, key as text"},
	{'s', "private-key-file", "PATH", PRIVATE_FILE, 0, true, "key to sign with"},
	{0, "private-key", "KEY", PRIVATE_TEXT, 0, true, "the same, key as text"},
	{0, "metadata-key", "KEY", TEXT, F(metadata_key), false, "with -m: only this value, unquoted"},
	{'n', NULL, NULL, FLAG, F(numeric), false, "progress as numbers"},
	{'q', "quiet", NULL, FLAG, F(quiet), false, "no progress"},
	{'F', "framing", NULL, FLAG, F(framing), true, "packets on standard input and output"},
	{0, "exit-handshake", NULL, FLAG, F(exit_handshake), false, "at the end send 0x1a and the status, then wait for the end of input"},
	{0, "progress-low", "N", NUMBER, F(progress_low), false, "first progress value (0)"},
	{0, "progress-high", "N", NUMBER, F(progress_high), false, "last progress value (100)"},
	{'u', "unmount", NULL, FLAG, F(unmount), false, "unmount the destination's file systems first (default)"},
	{'U', "no-unmount", NULL, FLAG, F(no_unmount), false, "do not"},
	{'E', "eject", NULL, FLAG, F(eject), false, "eject afterwards (no effect on Linux)"},
	{0, "no-eject", NULL, UNFLAG, F(eject), false, "do not"},
	{0, "enable-trim", NULL, FLAG, F(enable_trim), false, "let trim() and fat_mkfs() tell the device what is free"},
	{0, "max-size", "BLOCKS", NUMBER, F(max_blocks), false, "limit of the destination in 512-byte blocks"},
	{0, "minimize-writes", NULL, FLAG, F(minimize_writes), false, "read first and write only what differs"},
	{0, "no-minimize-writes", NULL, UNFLAG, F(minimize_writes), false, "write always (default)"},
	{0, "verify-writes", NULL, FLAG, F(verify_writes), false, "read back what was written (default for devices)"},
	{0, "no-verify-writes", NULL, FLAG, F(no_verify_writes), false, "do not"},
	{0, "reboot-param-path", "PATH", TEXT, F(reboot_param_path), false, "file that reboot_param() writes"},
	{0, "unsafe", NULL, FLAG, F(unsafe), false, "allow functions that act on the host (execute, path_write, pipe_write, ubi_volume_write)"},
	{'y', NULL, NULL, FLAG, F(accept_found), false, "without -d: use the only memory card unasked"},
	{'v', "verbose", NULL, FLAG, F(verbose), false, "also say which task runs"},
	{'1', NULL, NULL, LEVEL, 0, false, "-1 to -9: compression when creating (9)"},
	{'h', "help", NULL, COMMAND, 'h', true, "this text"},
	{0, "version", NULL, COMMAND, 'v', true, "print the versions: of the fwup language, then of this program"},
};

static nh_rc add_public(struct options *o, const struct nh_fw_public_key *key)
{
	if (o->key_count == KEYS_MAX)
		o->too_many_keys = true;
	else
		o->keys[o->key_count++] = *key;
	return NH_OK;
}

static nh_rc take(struct options *o, const struct row *r, const char *value, struct nh_err *err)
{
	char *field = (char *)o + r->field;
	struct nh_fw_public_key key;
	o->not_easy |= r->not_easy;
	switch (r->kind) {
	case COMMAND: o->command = (char)r->field; return NH_OK;
	case FLAG: *(bool *)(void *)field = true; return NH_OK;
	case UNFLAG: *(bool *)(void *)field = false; return NH_OK;
	case TEXT: *(const char **)(void *)field = value; return NH_OK;
	case NUMBER:
		if (nh_fw_parse_u64(nh_slice_str(value), (uint64_t *)(void *)field) != NH_OK)
			return NH_FAIL(err, NH_EINVAL, "--%s needs a number, not '%s'", r->name, value);
		return NH_OK;
	case PUBLIC_FILE: NH_TRY(nh_fw_public_key_read(value, &key, err)); return add_public(o, &key);
	case PUBLIC_TEXT: NH_TRY(nh_fw_public_key_decode(nh_slice_str(value), &key, err)); return add_public(o, &key);
	case PRIVATE_FILE: o->has_private_key = true; return nh_fw_private_key_read(value, &o->private_key, err);
	case PRIVATE_TEXT: o->has_private_key = true; return nh_fw_private_key_decode(nh_slice_str(value), &o->private_key, err);
	case LEVEL: o->level = value[0] - '0'; return NH_OK;
	}
	return NH_OK;
}

static nh_rc finish(struct options *o, int argc, char **argv, struct nh_err *err)
{
	int operands = argc - optind;
	if (o->numeric && o->quiet)
		return NH_FAIL(err, NH_EINVAL, "pick either -n or -q, but not both");
	if (o->sparse_path)
		o->command = 'C';
	if (!o->not_easy && operands == 1) { /* a lone archive: write it to the destination */
		o->command = 'a';
		o->input = argv[optind];
		if (!o->task)
			o->task = "complete";
	} else if (operands > 0) {
		return NH_FAIL(err, NH_EINVAL, "unexpected parameter: %s", argv[optind]);
	}
	if (o->progress_low > 100 || o->progress_high > 100 || o->progress_low > o->progress_high)
		return NH_FAIL(err, NH_EINVAL, "--progress-low and --progress-high must be 0 to 100, in this order");
	return NH_OK;
}

nh_rc options_parse(struct options *o, int argc, char **argv, struct nh_err *err)
{
	*o = (struct options){.level = 9, .progress_high = 100, .sparse_size = 4096, .config = "fwupdate.conf"};
	struct option longs[NH_ARRAY_LEN(rows) + 1] = {0};
	struct nh_buf shorts = NH_BUF_INIT;
	size_t long_count = 0;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		if (rows[i].name)
			longs[long_count++] = (struct option){rows[i].name, rows[i].value ? required_argument : no_argument, NULL, 256 + (int)i};
		if (rows[i].letter)
			nh_buf_printf(&shorts, "%c%s", rows[i].letter, rows[i].value ? ":" : "");
	}
	nh_buf_put_str(&shorts, "23456789");

	nh_rc rc = NH_OK, first = NH_OK;
	for (int c; rc == NH_OK && (c = getopt_long(argc, argv, nh_buf_cstr(&shorts), longs, NULL)) != -1;) {
		if (c == '?') {
			rc = NH_EINVAL;
			break;
		}
		char digit[2] = {(char)c, 0};
		bool level = c >= '1' && c <= '9';
		for (size_t i = 0; i < NH_ARRAY_LEN(rows) && rc == NH_OK; i++)
			if (c == 256 + (int)i || (rows[i].letter && c == rows[i].letter) || (level && rows[i].kind == LEVEL)) {
				/* A bad key must still be reported in the framing that is asked for further along the line. */
				nh_rc taken = take(o, &rows[i], level ? digit : optarg, first == NH_OK ? err : NULL);
				first = first == NH_OK ? taken : first;
				break;
			}
	}
	nh_buf_fini(&shorts);
	NH_TRY(rc);
	NH_TRY(first);
	return finish(o, argc, argv, err);
}

void options_usage(struct nh_buf *out, const char *program)
{
	nh_buf_printf(out,
		      "Usage: %s [options] [archive]\n\n"
		      "Creates, signs, verifies, describes and applies firmware archives. Without -p or --public-key an archive's\n"
		      "signature isn't checked.\n\nOptions:\n",
		      program);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		char left[64];
		char letter[8] = "";
		if (rows[i].letter)
			snprintf(letter, sizeof letter, "-%c", rows[i].letter);
		snprintf(left, sizeof left, "%2s%s %s%s%s%s", letter, rows[i].letter && rows[i].name ? "," : rows[i].name ? " " : "",
			 rows[i].name ? "--" : "", rows[i].name ? rows[i].name : "", rows[i].value ? " " : "", rows[i].value ? rows[i].value : "");
		nh_buf_printf(out, "  %-32s %s\n", left, rows[i].help);
	}
	nh_buf_printf(out,
		      "\nExamples:\n"
		      "  %s -c -f fwup.conf -o my.fw          create an archive\n"
		      "  %s -S -s key.priv -i my.fw -o my.fw  sign it\n"
		      "  %s -V -p key.pub -i my.fw            verify it\n"
		      "  %s -a -d /dev/sdX -i my.fw -t complete -p key.pub\n",
		      program, program, program, program);
}

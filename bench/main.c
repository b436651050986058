/* nh-bench: runs the figures that are named, or all; prints a table and writes it as JSON. Exit status 1 where a floor is missed. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/option.h"
#include "bench.h"

static const struct figure *figure_named(const char *name)
{
	for (const struct figure *f = figures; f->name; f++)
		if (strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

static void help(const struct nh_option *options)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_option_help(&text, options);
	printf("usage: nh-bench [options] [FIGURE...]\n\nMeasures the connection layer on this machine: ratios of one run, floors beside them.\n\nFigures:\n");
	for (const struct figure *f = figures; f->name; f++)
		printf("  %-12s %s\n", f->name, f->help);
	printf("\nOptions:\n%s", nh_buf_cstr(&text));
}

int main(int argc, char **argv)
{
	struct nh_err err = NH_ERR_INIT;
	const char *output = "bench.json";
	bool wants_help = false;
	int count = 0;
	const struct nh_option options[] = {
		{.name = "output", .letter = 'o', .kind = NH_OPT_TEXT, .target = &output, .value = "FILE", .help = "where the JSON goes (bench.json)"},
		{.name = "help", .letter = 'h', .kind = NH_OPT_FLAG, .target = &wants_help, .help = "this text"},
		{0},
	};
	if (nh_option_parse(options, argc, argv, &count, &err) != NH_OK) {
		fprintf(stderr, "nh-bench: %s\n", err.msg);
		return 2;
	}
	if (wants_help) {
		help(options);
		return 0;
	}
	for (int i = 1; i <= count; i++) {
		if (!figure_named(argv[i])) {
			fprintf(stderr, "nh-bench: no figure '%s'; nh-bench --help lists them\n", argv[i]);
			return 2;
		}
	}
	signal(SIGPIPE, SIG_IGN);
	world_open();
	if (count == 0)
		for (const struct figure *f = figures; f->name; f++)
			f->run();
	for (int i = 1; i <= count; i++)
		figure_named(argv[i])->run();
	world_close();
	return report_write(output) == 0 ? 0 : 1;
}

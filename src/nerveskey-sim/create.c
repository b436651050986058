/* nerveskey-sim create: a part as it leaves the factory. */
#include <stdio.h>

#include "commands.h"

int create_main(int argc, char **argv)
{
	struct part_options part = {0};
	struct chip_wish wish;
	struct nh_err err = NH_ERR_INIT;
	bool help = false;
	int rest = 0;
	const struct nh_option options[] = {
		PART_OPTIONS(part),
		{.name = "serial", .kind = NH_OPT_TEXT, .target = &part.serial, .value = "HEX", .help = "serial number, 18 digits (random)"},
		{.name = "address", .kind = NH_OPT_TEXT, .target = &part.address, .value = "ADDRESS", .help = "7-bit I2C address, hexadecimal (0x60)"},
		{.name = "help", .letter = 'h', .kind = NH_OPT_FLAG, .target = &help, .help = "this text"},
		{0},
	};
	if (nh_option_parse(options, argc, argv, &rest, &err) != NH_OK)
		return command_fail(&err);
	if (help) {
		command_help("create STATE [options]", options);
		return 0;
	}
	nh_rc rc = rest == 1 ? NH_OK : NH_FAIL(&err, NH_EINVAL, "create makes one part: name its file");
	if (rc == NH_OK)
		rc = part_options_take(&part, &wish, &err);
	if (rc == NH_OK)
		rc = chip_file_create(argv[1], &wish, &err);
	if (rc != NH_OK)
		return command_fail(&err);
	printf("%s\n", argv[1]);
	return 0;
}

/* nerveshub-fleet make-firmware: an archive for virtual devices. */
#include <stdio.h>

#include "commands.h"
#include "fleet/firmware.h"

int make_firmware_main(int argc, char **argv)
{
	struct nh_fleet_firmware f = {0};
	struct nh_fw_private_key key;
	struct nh_err err = NH_ERR_INIT;
	const char *output = NULL, *key_file = NULL;
	bool help = false;
	int rest = 0;
	const struct nh_option options[] = {
		{.name = "output", .letter = 'o', .kind = NH_OPT_TEXT, .target = &output, .value = "FILE", .help = "archive to write (needed)"},
		{.name = "product", .kind = NH_OPT_TEXT, .target = &f.product, .value = "NAME", .help = "product (virtual)"},
		{.name = "version", .kind = NH_OPT_TEXT, .target = &f.version, .value = "VERSION", .help = "semantic version (1.0.0)"},
		{.name = "platform", .kind = NH_OPT_TEXT, .target = &f.platform, .value = "NAME", .help = "platform (virtual)"},
		{.name = "architecture", .kind = NH_OPT_TEXT, .target = &f.architecture, .value = "NAME", .help = "architecture (generic)"},
		{.name = "size", .kind = NH_OPT_SIZE, .target = &f.size_bytes, .value = "BYTES", .help = "size of the root file system, 4k to 16M (256k)", .max = UINT64_C(16) << 20},
		{.name = "fails", .kind = NH_OPT_TEXT, .target = &f.fails, .value = "REASON", .help = "the firmware's self-test fails with this reason"},
		{.name = "key", .kind = NH_OPT_TEXT, .target = &key_file, .value = "FILE", .help = "sign with this private key (else unsigned)"},
		{.name = "help", .letter = 'h', .kind = NH_OPT_FLAG, .target = &help, .help = "this text"},
		{0},
	};
	if (nh_option_parse(options, argc, argv, &rest, &err) != NH_OK)
		return command_fail(&err);
	if (help) {
		command_help("make-firmware --output FILE [options]", options);
		return 0;
	}
	nh_rc rc = NH_OK;
	if (rest > 0)
		rc = NH_FAIL(&err, NH_EINVAL, "unexpected argument '%s'", argv[1]);
	else if (!output)
		rc = NH_FAIL(&err, NH_EINVAL, "--output says where to write the archive");
	if (rc == NH_OK && key_file)
		rc = nh_fw_private_key_read(key_file, &key, &err);
	if (rc == NH_OK && key_file)
		f.key = &key;
	if (rc == NH_OK)
		rc = nh_fleet_firmware_make(&f, output, &err);
	explicit_bzero(&key, sizeof key);
	if (rc != NH_OK)
		return command_fail(&err);
	printf("%s\n", output);
	return 0;
}

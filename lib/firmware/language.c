/*
 * The words of the configuration language, as one table: every section and option, in the order in which they are written to meta.conf.
 *
 * The order and the defaults decide the bytes that are signed and hashed into the UUID: never change a row that exists.
 * source: reference/fwup-format "3.2"
 */
#include "firmware/config.h"

#define STRING(n) {.name = (n), .kind = NH_FW_STRING}
#define STRING_NW(n) {.name = (n), .kind = NH_FW_STRING, .unwritten = true}
#define INTEGER(n, d) {.name = (n), .kind = NH_FW_INTEGER, .number = (d)}
#define BOOLEAN(n) {.name = (n), .kind = NH_FW_BOOLEAN}
#define TITLED(n, r) {.name = (n), .kind = NH_FW_SECTION, .titled = true, .rows = (r)}
#define EVENT(n) {.name = (n), .kind = NH_FW_SECTION, .rows = event_rows, .calls = "funlist"}
#define COUNT_DEFAULT 2147483647 /* "not given" of counts that must be given */

static const struct nh_fw_option resource_rows[] = {
	STRING_NW("host-path"),
	{.name = "skip-holes", .kind = NH_FW_BOOLEAN, .unwritten = true},
	{.name = "length", .kind = NH_FW_INTEGERS},
	STRING_NW("contents"),
	STRING("blake2b-256"),
	STRING("sha256"),
	{.name = "assert-size-lte", .kind = NH_FW_INTEGER, .number = -1, .unwritten = true},
	{.name = "assert-size-gte", .kind = NH_FW_INTEGER, .number = -1, .unwritten = true},
	{0},
};

static const struct nh_fw_option mbr_partition_rows[] = {
	STRING("block-offset"), INTEGER("block-count", COUNT_DEFAULT), INTEGER("type", -1), BOOLEAN("boot"), BOOLEAN("expand"), {0},
};

static const struct nh_fw_option osii_rows[] = {
	INTEGER("os-major", 0), INTEGER("os-minor", 0), INTEGER("start-block-offset", 0), INTEGER("ddr-load-address", 0),
	INTEGER("entry-point", 0), INTEGER("image-size-blocks", 0), INTEGER("attribute", 15), {0},
};

static const struct nh_fw_option mbr_rows[] = {
	STRING_NW("bootstrap-code-host-path"),
	STRING("bootstrap-code"),
	BOOLEAN("include-osip"),
	INTEGER("osip-major", 1),
	INTEGER("osip-minor", 0),
	INTEGER("osip-num-pointers", 1),
	STRING("signature"),
	TITLED("partition", mbr_partition_rows),
	TITLED("osii", osii_rows),
	{0},
};

static const struct nh_fw_option gpt_partition_rows[] = {
	STRING("block-offset"), INTEGER("block-count", COUNT_DEFAULT), STRING("type"), STRING("guid"), STRING("name"),
	{.name = "flags", .kind = NH_FW_STRING, .text = "0"}, BOOLEAN("expand"), BOOLEAN("boot"), {0},
};

static const struct nh_fw_option gpt_rows[] = {STRING("guid"), TITLED("partition", gpt_partition_rows), {0}};

static const struct nh_fw_option event_rows[] = {{.name = "funlist", .kind = NH_FW_STRINGS}, {0}};

static const struct nh_fw_option on_resource_rows[] = {
	BOOLEAN("verify-on-the-fly"),
	STRING("delta-source-raw-offset"),
	INTEGER("delta-source-raw-count", COUNT_DEFAULT),
	STRING("delta-source-raw-options"),
	STRING("delta-source-fat-offset"),
	STRING("delta-source-fat-path"),
	{.name = "funlist", .kind = NH_FW_STRINGS},
	{0},
};

static const struct nh_fw_option task_rows[] = {
	{.name = "reqlist", .kind = NH_FW_STRINGS},
	INTEGER("require-partition1-offset", -1),
	BOOLEAN("require-unmounted-destination"),
	BOOLEAN("verify-on-the-fly"),
	EVENT("on-init"),
	EVENT("on-finish"),
	EVENT("on-error"),
	{.name = "on-resource", .kind = NH_FW_SECTION, .titled = true, .rows = on_resource_rows, .calls = "funlist"},
	{0},
};

static const struct nh_fw_option uboot_rows[] = {
	STRING("block-offset"), INTEGER("block-count", COUNT_DEFAULT), STRING("block-offset-redund"), {0},
};

const struct nh_fw_option nh_fw_language[] = {
	STRING("meta-product"),
	STRING("meta-description"),
	STRING("meta-version"),
	STRING("meta-author"),
	STRING("meta-platform"),
	STRING("meta-architecture"),
	STRING_NW("meta-creation-date"),
	STRING("meta-fwup-version"),
	STRING("meta-vcs-identifier"),
	STRING("meta-misc"),
	STRING_NW("meta-uuid"),
	STRING_NW("meta-nickname"),
	{.name = "require-fwup-version", .kind = NH_FW_STRING, .text = "0"},
	INTEGER("block-cache-size-mb", 8),
	TITLED("file-resource", resource_rows),
	TITLED("mbr", mbr_rows),
	TITLED("gpt", gpt_rows),
	{.name = "task", .kind = NH_FW_SECTION, .titled = true, .rows = task_rows, .calls = "reqlist"},
	TITLED("uboot-environment", uboot_rows),
	{0},
};

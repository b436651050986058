/*
 * Firmware of virtual devices: a real archive with two slots and a U-Boot environment, as Nerves systems have them, whose root file system says in its
 * first lines what version it is and whether it passes its own self-test.
 *
 * Disk, in blocks of 512 bytes: environment at NH_FLEET_ENV_BLOCK, slot A at NH_FLEET_SLOT_A, slot B at NH_FLEET_SLOT_B.
 * thread: any; blocks. source: reference/fwup-format "17", reference/device-protocol "14.6"
 */
#pragma once

#include "base/buf.h"
#include "firmware/keys.h"

#define NH_FLEET_BLOCK 512u
#define NH_FLEET_ENV_BLOCK 16u
#define NH_FLEET_ENV_BLOCKS 16u
#define NH_FLEET_SLOT_A 256u
#define NH_FLEET_SLOT_BLOCKS 32768u /* 16 MiB */
#define NH_FLEET_SLOT_B (NH_FLEET_SLOT_A + NH_FLEET_SLOT_BLOCKS)

struct nh_fleet_firmware {
	const char *product, *version, *platform, *architecture; /* NULL: "virtual", "1.0.0", "virtual", "generic" */
	uint64_t size_bytes;  /* of the root file system: 4 KiB to 16 MiB; 0 = 256 KiB */
	const char *fails;    /* what the self-test says; NULL = passes */
	const struct nh_fw_private_key *key; /* NULL: unsigned */
};

/* nh_fleet_firmware_make - writes the archive. NH_EINVAL: size, or text with line breaks; else as nh_fw_create_file. */
nh_rc nh_fleet_firmware_make(const struct nh_fleet_firmware *f, const char *path, struct nh_err *err);

/* nh_fleet_selftest - runs the self-test of the slot that is active on this disk: NH_OK, NH_EFORMAT (no such system there), NH_EPERM with what it says. */
nh_rc nh_fleet_selftest(const char *disk, struct nh_err *err);

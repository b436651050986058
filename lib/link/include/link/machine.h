/*
 * The platform for a machine whose firmware lives on one disk (a block device or a file that stands for it) with a U-Boot environment: reads slot,
 * versions and validation from the environment, installs with fwup (framed protocol on its stdin) or with the built-in firmware room, marks
 * slots valid, runs a validation hook, reboots by a command or by a callback. Nothing is cached: every answer comes from the disk.
 *
 * thread: new and free by the link's owner; platform functions as link.h marks them; boot on a worker. source: reference/device-protocol "14.4", "14.6"
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "link/link.h"
#include "link/schedule.h"

typedef enum nh_machine_installer {
	NH_MACHINE_AUTO,    /* fwup where it is found in PATH, else built in */
	NH_MACHINE_FWUP,
	NH_MACHINE_BUILTIN,
} nh_machine_installer;

/*
 * An installer for archives of another format, recognised by how they begin: RAUC bundles, SWUpdate images. It verifies signatures by keys and settings of its own, so it
 * works only where the machine's owner switched it on. It needs the archive in a file: nh_link_config.fetch cached or parts.
 */
struct nh_machine_tool {
	bool on;
	const char *program;      /* name or path; NULL = rauc, swupdate */
	const char *const *args;  /* in front of "install FILE" and "-i FILE", NULL-terminated; NULL = none. swupdate needs its key here: "-k", "cert.pem" */
};

/* Borrowed by the machine until it is freed. */
struct nh_machine_config {
	const char *devpath;        /* disk that firmware is applied to */
	const char *task;           /* NULL = "upgrade" */
	const char *env_path;       /* file or device with the U-Boot environment; NULL = devpath */
	uint64_t env_offset;        /* bytes */
	uint64_t env_size;          /* bytes of one copy, with its CRC; 0 = 0x20000 */
	uint64_t env_second_offset; /* of the second copy, where there are two: then a power cut while one is written leaves the other. 0 = one copy */
	nh_machine_installer installer;
	const char *fwup;           /* program name or path; NULL = "fwup" */
	const char *const *fwup_args; /* extra arguments, NULL-terminated; NULL = none */
	struct nh_machine_tool rauc, swupdate;
	const char *const *validate_argv; /* command that judges a new firmware: status 0 good, 75 (EX_TEMPFAIL) ask again, else bad; NULL = good at once */
	uint64_t validate_timeout_ms;     /* 0 = 60 000; expiry = bad */
	/* Whether and when an offer is taken: a program (link/machine_decide.c says how it answers), or else a policy. All zero = at once. */
	const char *const *consider_argv;
	uint64_t consider_timeout_ms;     /* 0 = 60 000; expiry = postponed by an hour */
	struct nh_policy policy;
	/* Where the reason of a revert is kept over the reboot; made where missing. NULL = it is not. */
	const char *state_dir;
	/* Run before the reboot that gives a firmware up, for machines whose boot loader does not go back by itself; NULL = none. */
	const char *const *revert_argv;
	/* Instead of validate_argv where set. [worker] Return as nh_link_platform.validate. */
	nh_rc (*validate)(void *ctx, struct nh_err *err);
	const char *const *reboot_argv;   /* NULL = no command */
	void (*reboot)(void *ctx, const char *why); /* [loop] called instead of the command where set */
	void (*identify)(void *ctx);
	void *ctx;
};

struct nh_machine;
/* NH_EINVAL: no devpath, FWUP demanded but not found. Does not touch the disk. */
nh_rc nh_machine_new(const struct nh_machine_config *config, struct nh_machine **out, struct nh_err *err);
void nh_machine_free(struct nh_machine *m);
/* Use as nh_link_config.platform with platform_ctx = the machine. */
extern const struct nh_link_platform nh_machine_platform;
/* "1.10.1" of the fwup that would be used, or of the built-in installer; NULL when unknown. Blocks the first time. */
const char *nh_machine_fwup_version(struct nh_machine *m);

/* For nh_link_config.installer_verifies: is an installer switched on that verifies by keys of its own? */
bool nh_machine_verifies(const struct nh_machine *m);

/*
 * What a boot script does with an A/B environment that knows validation, for machines that are simulated and as the reference for real boot scripts. [worker]
 *   active slot not validated and booted before  → *reverted = true: the other slot becomes active
 *   active slot not validated and not yet booted → remembered as booted
 * nerves_fw_booted is the marker kept in the environment. NH_EFORMAT: no valid environment. NH_EIO.
 */
nh_rc nh_machine_boot(struct nh_machine *m, bool *reverted, struct nh_err *err);

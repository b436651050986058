/*
 * The machine as the link sees it: the built-in one, or what the program says of itself, each question answered by the program's handler where there is one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nhl_int.h"

/* ---- what runs */

static nh_rc read_state(void *ctx, struct nh_arena *arena, struct nh_link_state *out, struct nh_err *err)
{
	struct nhl *n = ctx;
	if (n->machine)
		return nh_machine_platform.read_state(n->machine, arena, out, err);
	*out = (struct nh_link_state){.pairs = n->firmware, .count = n->firmware_count, .validated = n->validated};
	return NH_OK;
}

static nh_rc validate_by_program(void *ctx, struct nh_err *err)
{
	struct nhl *n = ctx;
	struct nhl_error why = {{0}};
	switch (n->handlers.validate(n->handlers.ctx, &why)) {
	case NHL_GOOD: return NH_OK;
	case NHL_LATER: return NH_EAGAIN;
	case NHL_BAD: break;
	}
	return NH_FAIL(err, NH_EPERM, "%s", nhl_why(&why, "the program found the firmware bad"));
}

static nh_rc validate(void *ctx, struct nh_err *err)
{
	struct nhl *n = ctx;
	if (n->machine)
		return nh_machine_platform.validate(n->machine, err); /* asks validate_by_program, then writes the verdict to the disk */
	nh_rc rc = n->handlers.validate ? validate_by_program(n, err) : NH_OK;
	n->validated = rc == NH_OK;
	return rc;
}

/* ---- the rest */

/* By the program's handler. */
static nh_link_decision decide(void *ctx, const struct nh_link_offer *offer, uint64_t *delay_ms, char *reason, size_t reason_size)
{
	static const nh_link_decision decisions[] = {[NHL_APPLY] = NH_LINK_APPLY, [NHL_IGNORE] = NH_LINK_IGNORE, [NHL_RESCHEDULE] = NH_LINK_RESCHEDULE};
	struct nhl *n = ctx;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nhl_answer answer = {0};
	struct nhl_offer o = nhl_offer_of(&arena, offer);
	enum nhl_decision decision = n->handlers.decide(n->handlers.ctx, &o, &answer);
	answer.reason[sizeof answer.reason - 1] = 0;
	snprintf(reason, reason_size, "%s", answer.reason);
	*delay_ms = answer.delay_ms;
	/* A value that is none of ours is no consent. */
	return (size_t)decision < NH_ARRAY_LEN(decisions) ? decisions[decision] : NH_LINK_IGNORE;
}

/* By the options of the machine: a command or a policy. */
static nh_link_decision consider(void *ctx, const struct nh_link_offer *offer, uint64_t *delay_ms, char *reason, size_t reason_size)
{
	return nh_machine_platform.consider(((struct nhl *)ctx)->machine, offer, delay_ms, reason, reason_size);
}

static void reboot_by_program(void *ctx, const char *why)
{
	struct nhl *n = ctx;
	n->handlers.reboot(n->handlers.ctx, why);
}

static void reboot(void *ctx, const char *why)
{
	struct nhl *n = ctx;
	if (n->handlers.reboot)
		reboot_by_program(n, why);
	else if (n->machine)
		nh_machine_platform.reboot(n->machine, why);
}

static nh_rc apply_open(void *ctx, const struct nh_link_offer *offer, void **apply, struct nh_err *err)
{
	return nh_machine_platform.apply_open(((struct nhl *)ctx)->machine, offer, apply, err);
}

static nh_rc revert(void *ctx, const char *why, struct nh_err *err) { return nh_machine_platform.revert(((struct nhl *)ctx)->machine, why, err); }

static nh_slice revert_reason(void *ctx, struct nh_arena *arena, bool told)
{
	return nh_machine_platform.revert_reason(((struct nhl *)ctx)->machine, arena, told);
}

/* ---- start */

static nh_rc check_firmware(struct nhl *n, struct nh_err *err)
{
	static const char *const needed[] = {"nerves_fw_uuid", "nerves_fw_product", "nerves_fw_version", "nerves_fw_platform", "nerves_fw_architecture"};
	struct nh_link_state state = {.pairs = n->firmware, .count = n->firmware_count};
	for (size_t i = 0; i < NH_ARRAY_LEN(needed); i++)
		if (nh_link_state_get(&state, needed[i]).len == 0)
			return NH_FAIL(err, NH_EINVAL, "%s of the running firmware is not set", needed[i]);
	n->validated = !nh_slice_eq_str(nh_link_state_get(&state, "nerves_fw_validated"), "0");
	return NH_OK;
}

static nh_rc make_machine(struct nhl *n, struct nh_err *err)
{
	NH_TRY_CTX(settings_machine(&n->settings, &n->machine_config, err), err, "neither the running firmware (nhl_options_firmware) nor a disk is known");
	n->machine_config.ctx = n;
	n->machine_config.reboot = n->handlers.reboot ? reboot_by_program : NULL;
	n->machine_config.reboot_argv = n->settings.reboot_command ? n->settings.reboot_argv : NULL; /* a program is not rebooted behind its back */
	n->machine_config.validate = n->handlers.validate ? validate_by_program : NULL;
	return nh_machine_new(&n->machine_config, &n->machine, err);
}

nh_rc nhl_machine_init(struct nhl *n, struct nh_err *err)
{
	const struct nhl_handlers *h = &n->handlers;
	int own = !!h->install_open + !!h->install_write + !!h->install_finish + !!h->install_abort;
	if (own != 0 && own != 4)
		return NH_FAIL(err, NH_EINVAL, "an installer has all of install_open, install_write, install_finish and install_abort");
	NH_TRY(n->firmware ? check_firmware(n, err) : make_machine(n, err));
	n->platform = (struct nh_link_platform){.read_state = read_state, .validate = validate, .reboot = reboot, .decide = h->decide ? decide : NULL};
	if (n->machine) {
		n->platform.consider = consider;
		n->platform.revert = revert;
		n->platform.revert_reason = revert_reason;
	}
	if (own) {
		n->platform.apply_open = nhl_install_open;
		n->platform.apply_write = nhl_install_write;
		n->platform.apply_finish = nhl_install_finish;
		n->platform.apply_abort = nhl_install_abort;
	} else if (n->machine) {
		n->platform.apply_open = apply_open;
		n->platform.apply_write = nh_machine_platform.apply_write;
		n->platform.apply_file = nh_machine_platform.apply_file;
		n->platform.apply_finish = nh_machine_platform.apply_finish;
		n->platform.apply_abort = nh_machine_platform.apply_abort;
	}
	return NH_OK;
}

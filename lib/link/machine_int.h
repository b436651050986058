/* Private to the machine. */
#pragma once

#include "link/machine.h"

struct nh_machine {
	struct nh_machine_config config;
	char *version;          /* of the installer, once known */
	bool builtin;
};

/* machine_apply.c */
nh_rc machine_apply_open(void *ctx, const struct nh_link_offer *offer, void **apply, struct nh_err *err);
nh_rc machine_apply_write(void *apply, nh_slice bytes, unsigned *percent, struct nh_err *err);
nh_rc machine_apply_finish(void *apply, struct nh_err *err);
void machine_apply_abort(void *apply);

/* The part of the factory that provisions Trust&Go chips. */
#pragma once

#include "chip_int.h"

/* Keys, certificates, configuration and locks of a Trust&Go part, on a blank 608B with its serial number. source: reference/nerveskey "6.5", "8.7" */
void nh_chip_factory_trust(struct nh_chip_state *state, const struct nh_rng *rng);

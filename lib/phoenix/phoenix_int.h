/* Private to phoenix: what the formats share. */
#pragma once

#include "phoenix/phoenix.h"

/* The five fields out of an array of at least so many (borrowed); texts go into the arena. NH_EFORMAT, NH_ETOOBIG; out holds nothing then. */
nh_rc phoenix_take_array(struct nh_arena *arena, const json_t *array, struct nh_phoenix_message *out, struct nh_err *err);

/*
 * What every unit test includes: cmocka in its order, and slice comparison that prints both sides.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"

#define assert_slice(slice, text)                                                                                             \
	do {                                                                                                                  \
		nh_slice got_ = (slice), want_ = nh_slice_str(text);                                                          \
		if (!nh_slice_eq(got_, want_))                                                                                \
			fail_msg("got '%.*s', expected '%.*s'", NH_ARG(got_), NH_ARG(want_));                                 \
	} while (0)

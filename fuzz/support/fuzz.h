/*
 * What fuzz targets share: a check that names what is broken, and reading an input as a few choices followed by text.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The property that the target is there for; in every build. */
#define FUZZ_CHECK(condition, ...)                                                            \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			fprintf(stderr, "%s:%d: not so: %s: ", __FILE__, __LINE__, #condition); \
			fprintf(stderr, "" __VA_ARGS__);                                      \
			fputc('\n', stderr);                                                  \
			abort();                                                              \
		}                                                                             \
	} while (0)

/* fuzz_byte - takes the first byte off; 0 where there is none. */
static inline uint8_t fuzz_byte(nh_slice *in)
{
	uint8_t byte = in->len ? in->ptr[0] : 0;
	*in = nh_slice_skip(*in, 1);
	return byte;
}

/* fuzz_until - takes what stands before sep off, and sep. */
static inline nh_slice fuzz_until(nh_slice *in, uint8_t sep)
{
	nh_slice head;
	nh_slice_cut(*in, sep, &head, in);
	return head;
}

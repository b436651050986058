/*
 * Access to tests/vectors/nerveskey/vectors.json for the tests of this room. What is borrowed lives until the process ends.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/json.h"
#include "test_base.h"

static json_t *vectors_root;
static void vectors_release(void) { json_decref(vectors_root); }

/* A member of the file's top object; fails the test where it is missing. */
static inline const json_t *vectors(const char *name)
{
	if (!vectors_root) {
		char path[1024];
		const char *root = getenv("NH_VECTORS");
		struct nh_err err = NH_ERR_INIT;
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		snprintf(path, sizeof path, "%s/nerveskey/vectors.json", root ? root : "tests/vectors");
		if (nh_file_read(path, 4u << 20, &text, &err) != NH_OK || nh_json_parse(nh_buf_slice(&text), 4u << 20, &vectors_root, &err) != NH_OK)
			fail_msg("%s: %s", path, err.msg);
		atexit(vectors_release);
	}
	const json_t *v = json_object_get(vectors_root, name);
	if (!v)
		fail_msg("no vector '%s'", name);
	return v;
}

/* A member in hex, appended to out. */
static inline void vector_hex(const json_t *object, const char *key, struct nh_buf *out)
{
	const char *text = json_string_value(json_object_get(object, key));
	if (!text || nh_hex_decode(nh_slice_str(text), out) != NH_OK)
		fail_msg("vector member '%s' is no hex", key);
}

/* The same of a known length. */
static inline void vector_bytes(const json_t *object, const char *key, uint8_t *out, size_t len)
{
	const char *text = json_string_value(json_object_get(object, key));
	if (!text || nh_hex_decode_fixed(nh_slice_str(text), out, len) != NH_OK)
		fail_msg("vector member '%s' is not hex of %zu bytes", key, len);
}

/* Equal bytes; both sides in hex where not. */
#define assert_bytes(slice, want)                                                                                             \
	do {                                                                                                                  \
		nh_slice got_b_ = (slice), want_b_ = (want);                                                                  \
		if (!nh_slice_eq(got_b_, want_b_)) {                                                                          \
			struct nh_buf g_ = NH_BUF_INIT, w_ = NH_BUF_INIT;                                                     \
			nh_hex_put(&g_, got_b_);                                                                              \
			nh_hex_put(&w_, want_b_);                                                                             \
			print_error("got  %s\nwant %s\n", nh_buf_cstr(&g_), nh_buf_cstr(&w_));                                 \
			nh_buf_fini(&g_);                                                                                     \
			nh_buf_fini(&w_);                                                                                     \
			fail();                                                                                               \
		}                                                                                                             \
	} while (0)

/* The message holds this text. */
#define assert_says(err, text)                                                                                                \
	do {                                                                                                                  \
		if (!strstr((err).msg, text))                                                                                 \
			fail_msg("message '%s' does not say '%s'", (err).msg, text);                                          \
	} while (0)

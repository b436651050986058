/* What the tests of the driver share: the vectors, bytes from hex. */
#pragma once

#include "test_base.h"

#include <stdlib.h>

#include "base/encode.h"
#include "base/file.h"
#include "base/json.h"

/* tests/vectors/nerveskey/vectors.json; the caller's reference. */
static inline json_t *vectors(void)
{
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT, text = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	json_t *root = NULL;
	nh_buf_printf(&path, "%s/nerveskey/vectors.json", getenv("NH_VECTORS"));
	if (nh_file_read(nh_buf_cstr(&path), 1 << 20, &text, &err) != NH_OK || nh_json_parse(nh_buf_slice(&text), 1 << 20, &root, &err) != NH_OK)
		fail_msg("%s", err.msg);
	return root;
}

/* b's bytes are what the hex says. */
static inline nh_slice unhex(struct nh_buf *b, nh_slice text)
{
	nh_buf_clear(b);
	assert_int_equal(nh_hex_decode(text, b), NH_OK);
	return nh_buf_slice(b);
}

static inline nh_slice unhex_of(struct nh_buf *b, const json_t *object, const char *key) { return unhex(b, nh_json_text(object, key)); }

static inline nh_slice unhex_at(struct nh_buf *b, const json_t *array, size_t i)
{
	return unhex(b, nh_slice_str(json_string_value(json_array_get(array, i))));
}

#define assert_bytes(got, want, len)                                                                                      \
	do {                                                                                                              \
		NH_AUTO_BUF struct nh_buf got_ = NH_BUF_INIT, want_ = NH_BUF_INIT;                                        \
		nh_hex_put(&got_, nh_slice_of((got), (len)));                                                             \
		nh_hex_put(&want_, nh_slice_of((want), (len)));                                                           \
		assert_string_equal(nh_buf_cstr(&got_), nh_buf_cstr(&want_));                                             \
	} while (0)

#define assert_ok(call, err)                                                                                              \
	do {                                                                                                              \
		nh_rc rc_ = (call);                                                                                       \
		if (rc_ != NH_OK)                                                                                         \
			fail_msg("%s: %s %s", #call, nh_rc_name(rc_), (err).msg);                                         \
	} while (0)

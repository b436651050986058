/*
 * What filing a firmware and filing an archive have in common: who may, the object's key and its claim, and how an object goes. Private to hub; the functions are firmware.c's.
 */
#pragma once

#include "hub/firmware.h"

/* nh_intake_check - the actor may still upload to the product, which is *product, and the key that signed the file is still there. NH_EINVAL with *errors: it is not. */
nh_rc nh_intake_check(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts,
                      struct nh_product *product, json_t **errors, struct nh_err *err);
/* nh_intake_claim - a key of its own for this upload, below folder, written down as loose. */
nh_rc nh_intake_claim(struct nh_ctx *ctx, const struct nh_firmware_intake *intake, const struct nh_firmware_facts *facts, const char *folder, nh_slice *object_key,
                      struct nh_err *err);
/* nh_intake_settle - a row names the object: it is loose no more. NH_ETIMEOUT: its claim has run out. */
nh_rc nh_intake_settle(struct nh_ctx *ctx, nh_slice object_key, struct nh_err *err);
/* nh_intake_discard - no row names the object any more: loose, due at once, effect OBJECT_DELETE. */
nh_rc nh_intake_discard(struct nh_ctx *ctx, int64_t id, nh_slice object_key, struct nh_err *err);

/* Metadata that an empty text stands for is NULL. */
static inline struct nh_param nh_intake_optional(nh_slice text) { return text.len > 0 ? nh_p_text(text) : nh_p_null(); }

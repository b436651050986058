/*
 * What the files of explanations share: the question with everything that words for it need, and the table of reasons. Private to hub.
 */
#pragma once

#include "hub/explain.h"

struct question {
	struct nh_ctx *ctx;
	const struct nh_device *device;
	struct nh_explained x;
	bool inflight_known;
	struct nh_inflight inflight;  /* where inflight_known */
	const struct nh_group *about; /* the group that a remedy is about: the device's own, or one it could join; NULL: none */
};

/* reason_json - code, text, facts and remedies of one reason that holds, a new reference. reason NH_UPDATE_REASON_COUNT: there is no free slot. */
json_t *reason_json(const struct question *q, nh_update_reason reason);
/* mismatch_json - what speaks against q->about, into object: "result", "text", "facts", "remedies". */
void mismatch_json(const struct question *q, nh_mismatch mismatch, json_t *object);
json_t *moment_json(int64_t at_us); /* ISO 8601 text; null for 0 */

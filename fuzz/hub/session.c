/*
 * What a device says: a join payload of any shape becomes a report that holds what the rest of the hub relies on, progress of any shape is judged,
 * and a token of any shape is refused.
 */
#include "hub/audit.h"
#include "hub/device_auth.h"
#include "session_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_join(struct nh_arena *arena, const json_t *payload)
{
	struct nh_reported r;
	nh_reported_read(payload, arena, &r);
	NH_AUTO_JSON json_t *kept = NULL;
	NH_ASSERT(nh_json_parse(nh_reported_json(&r, arena), 1 << 20, &kept, NULL) == NH_OK);
	NH_ASSERT(json_object_size(kept) == 10);
	NH_ASSERT(r.api_version.len > 0);
	NH_ASSERT(!nh_reported_complete(&r) || (r.uuid.len > 0 && nh_utf8_valid(r.uuid) && nh_slice_chr(r.version, 0) < 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	NH_AUTO_JSON json_t *payload = NULL;
	nh_slice text = nh_slice_of(data, size);
	if (nh_json_parse(text, 1 << 16, &payload, NULL) == NH_OK) {
		struct nh_progress_gate gate = {0};
		(void)nh_session_progress_due(&gate, NH_LIT("fwup_progress"), payload, 1);
		check_join(&arena, payload);
	}
	nh_slice identifier;
	struct nh_nh1_headers h = {NH_LIT("NH1-HMAC-sha256-1-16"), NH_LIT("nhp_x"), NH_LIT("1"), text};
	NH_ASSERT(nh_nh1_verify(&arena, &h, NH_LIT("secret"), 0, &identifier) != NH_AUTH_ACCEPTED_KNOWN);
	nh_slice reason = nh_audit_reason(&arena, text);
	NH_ASSERT(nh_utf8_valid(reason));
	return 0;
}

/*
 * Tickets: tokens of one purpose that end by themselves (a browser's session, the link in a mail, the step between password and second factor). They have the text form of API tokens, so
 * what is mistyped never reaches the database, and rows hold their SHA-512 only. Private to hub.
 */
#pragma once

#include "hub/sessions.h"

struct nh_ticket_kind {
	const char *context;
	int64_t ttl_s;
	bool only; /* a new one of the user ends the older ones */
};

struct nh_ticket {
	int64_t id;
	nh_slice note, address;
	int64_t inserted_at_us, last_used_at_us, expires_at_us;
};

/* note: stored as it is, NULL where empty. */
nh_rc nh_ticket_issue(struct nh_ctx *ctx, const struct nh_ticket_kind *kind, int64_t user_id, nh_slice note, nh_slice address, char out[NH_TOKEN_TEXT_MAX],
                      struct nh_err *err);
/* NH_EAUTH: malformed, unknown, ended, or the account is deleted. ticket may be NULL. */
nh_rc nh_ticket_find(struct nh_ctx *ctx, const char *context, nh_slice text, struct nh_user *user, struct nh_ticket *ticket, struct nh_err *err);
void nh_ticket_read(const struct nh_rows *rows, int column, struct nh_arena *arena, struct nh_ticket *out);
/* The text to what rows hold. NH_EFORMAT. */
nh_rc nh_token_sha512(nh_slice text, uint8_t out[64]);

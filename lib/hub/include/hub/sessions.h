/*
 * Sessions of browsers: one row for each sign-in, found by the cookie's token, of which only the SHA-512 is kept. A session is made anew at each sign-in (nobody can plant one), ends by
 * itself after its time, and can be listed and ended by its owner from any other.
 *
 * Conventions: hub/accounts.h. source: reference/server-behaviour "9.4"
 */
#pragma once

#include "hub/accounts.h"

#define NH_TOKEN_SESSION "session"
#define NH_SESSION_LASTING_S (60 * 86400) /* "remember me": the cookie outlives the browser */
#define NH_SESSION_BRIEF_S (7 * 86400)    /* the cookie ends with the browser, the session at the latest then */

/* What is known of who signs in; all of it is shown to the account's owner only. */
struct nh_user_session_origin {
	nh_slice agent;   /* the browser's name of itself; cut at 255 bytes, control characters dropped; may be empty */
	nh_slice address; /* from where, as text; may be empty */
	bool lasting;
};

struct nh_user_session {
	int64_t id;
	nh_slice agent, address;
	int64_t inserted_at_us, last_used_at_us, expires_at_us;
};

/* nh_user_session_create - signs the user in: out receives the cookie's token, which is stored nowhere. The caller has found out that it is this user. */
nh_rc nh_user_session_create(struct nh_ctx *ctx, int64_t user_id, const struct nh_user_session_origin *origin, char out[NH_TOKEN_TEXT_MAX], struct nh_err *err);
/*
 * nh_user_session_find - whose is it (read)? session (NULL legal); *touch (NULL legal): the session's id where nh_user_session_touch is due (once a minute), else 0.
 * NH_EAUTH: malformed, unknown, ended, or the account is deleted.
 */
nh_rc nh_user_session_find(struct nh_ctx *ctx, nh_slice token, struct nh_user *out, struct nh_user_session *session, int64_t *touch, struct nh_err *err);
nh_rc nh_user_session_touch(struct nh_ctx *ctx, int64_t session_id, struct nh_err *err);
/* nh_user_session_end - signing out. That there is none any more is no error. */
nh_rc nh_user_session_end(struct nh_ctx *ctx, nh_slice token, struct nh_err *err);

nh_rc nh_user_session_list(struct nh_ctx *ctx, int64_t user_id, struct nh_user_session **out, size_t *count, struct nh_err *err); /* newest first, at most 500 */
nh_rc nh_user_session_revoke(struct nh_ctx *ctx, int64_t user_id, int64_t session_id, struct nh_err *err);                  /* NH_ENOTFOUND */
nh_rc nh_user_session_revoke_others(struct nh_ctx *ctx, int64_t user_id, int64_t keep_id, struct nh_err *err);              /* keep_id 0: all */
/* nh_tickets_trim - deletes at most 500 sessions and links that have ended; *deleted tells how many, so that the caller repeats. */
nh_rc nh_tickets_trim(struct nh_ctx *ctx, int64_t *deleted, struct nh_err *err);

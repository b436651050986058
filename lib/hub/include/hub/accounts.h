/*
 * Accounts: users, organizations with their members and roles, API tokens, sign-in, command-line sessions.
 *
 * Every user has a personal organization that is made with the account. What a user may do follows from the role in an organization:
 * admin includes manage includes view. A thing of an organization the actor is no member of does not exist for that actor (NH_ENOTFOUND).
 *
 * Refused input: functions with `errors` return NH_EINVAL (or NH_ECONFLICT) and put a new reference there: the API's error object,
 * {"field":["text", …]} or {"detail":"text"}. *errors is NULL in every other case.
 *
 * thread: a worker's (reads; pure functions) or the writer's (create, update, delete). Results live in ctx->arena. All may fail with NH_EIO.
 * source: reference/user-api-and-cli "2", "3", "7"; reference/server-behaviour "1.2", "9.1"; design/architecture "7", "8"
 */
#pragma once

#include "crypto/password.h"
#include "hub/hub.h"
#include "hub/permissions.h"

/* ---- users ------------------------------------------------------------------------------------------------------------- */

struct nh_user {
	int64_t id;
	nh_slice name, email;
	bool server_admin;
	int64_t inserted_at_us, updated_at_us;
};

/* The user as the one who acts; the name is borrowed. */
static inline struct nh_actor nh_actor_of_user(const struct nh_user *u) { return (struct nh_actor){NH_ACTOR_USER, u->id, u->name}; }

/* A checked new account; the password is only in it as a hash. */
struct nh_new_user {
	nh_slice name, email; /* trimmed, in arena */
	char password_hash[NH_PASSWORD_HASH_MAX];
	bool server_admin;
};

/*
 * nh_user_prepare - checks name (2..100 characters), e-mail (x@y, at most 160) and password (12..72 characters, at most 72 bytes) and hashes the
 * password. Pure, slow on purpose: a worker's, outside any transaction. NH_EINVAL with *errors; NH_ENOMEM.
 */
nh_rc nh_user_prepare(struct nh_arena *arena, nh_slice name, nh_slice email, nh_slice password, const struct nh_password_cost *cost,
                      struct nh_new_user *out, json_t **errors, struct nh_err *err);

/* nh_user_check - the same rules for name and e-mail address alone. Pure. NH_EINVAL with *errors. */
nh_rc nh_user_check(nh_slice name, nh_slice email, json_t **errors, struct nh_err *err);

/* nh_user_create - the account and its personal organization. NH_EINVAL: e-mail "has already been taken". The caller decides whether registration is open. */
nh_rc nh_user_create(struct nh_ctx *ctx, const struct nh_new_user *input, struct nh_user *out, json_t **errors, struct nh_err *err);

/* nh_user_bootstrap - as nh_user_create, but only where no user exists yet (first start): *created tells. */
nh_rc nh_user_bootstrap(struct nh_ctx *ctx, const struct nh_new_user *input, bool *created, struct nh_user *out, struct nh_err *err);
/* nh_users_any - is there an account? */
nh_rc nh_users_any(struct nh_ctx *ctx, bool *any, struct nh_err *err);

nh_rc nh_user_get(struct nh_ctx *ctx, int64_t user_id, struct nh_user *out, struct nh_err *err);       /* NH_ENOTFOUND */
nh_rc nh_user_by_email(struct nh_ctx *ctx, nh_slice email, struct nh_user *out, struct nh_err *err);   /* NH_ENOTFOUND; letter case does not matter */

/* nh_user_set_password - also deletes all the user's tokens and revokes the user's certificates. NH_ENOTFOUND. */
nh_rc nh_user_set_password(struct nh_ctx *ctx, int64_t user_id, const char *password_hash, struct nh_err *err);

/* ---- sign-in by e-mail and password: find (read), verify (no transaction), then nh_token_create (write) ------------------- */

struct nh_login {
	bool known;
	struct nh_user user;
	nh_slice password_hash; /* empty: unknown account, or one without a password */
};
nh_rc nh_login_find(struct nh_ctx *ctx, nh_slice email, struct nh_login *out, struct nh_err *err);
/* nh_login_verify - NH_OK or NH_EAUTH; takes as long for an unknown account. cost: that of existing hashes. */
nh_rc nh_login_verify(const struct nh_login *login, nh_slice password, const struct nh_password_cost *cost);

/* ---- tokens -------------------------------------------------------------------------------------------------------------- */

#define NH_TOKEN_API "api"
#define NH_TOKEN_TEXT_MAX 64 /* bytes of the text including its NUL; "nhu_" and 48 or 49 characters */

/* nh_token_format / nh_token_parse - pure: 32 random bytes (first not 0) to text and back. parse: NH_EFORMAT for a wrong prefix, alphabet or check sum. */
void nh_token_format(const uint8_t random[32], char out[NH_TOKEN_TEXT_MAX]);
nh_rc nh_token_parse(nh_slice text, uint8_t random[32]);

/* nh_token_create - a token of the user; out receives the text, which is stored nowhere. note may be empty; blanks are collapsed, at most 255 bytes kept. */
nh_rc nh_token_create(struct nh_ctx *ctx, int64_t user_id, const char *context, nh_slice note, char out[NH_TOKEN_TEXT_MAX], struct nh_err *err);
/* nh_token_user - whose token is it (read)? *touch (NULL legal): id of the token where nh_token_touch is due, else 0. NH_EAUTH. */
nh_rc nh_token_user(struct nh_ctx *ctx, nh_slice text, const char *context, struct nh_user *out, int64_t *touch, struct nh_err *err);
nh_rc nh_token_touch(struct nh_ctx *ctx, int64_t token_id, struct nh_err *err);
struct nh_token {
	int64_t id;
	nh_slice note;
	int64_t last_used_at_us, inserted_at_us;
};
nh_rc nh_token_list(struct nh_ctx *ctx, int64_t user_id, struct nh_token **out, size_t *count, struct nh_err *err);
nh_rc nh_token_delete(struct nh_ctx *ctx, int64_t user_id, int64_t token_id, struct nh_err *err); /* NH_ENOTFOUND */

/* ---- organizations -------------------------------------------------------------------------------------------------------- */

struct nh_org {
	int64_t id;
	nh_slice name;
	bool personal;
	nh_role role; /* the actor's */
	int64_t inserted_at_us, updated_at_us;
};

/* nh_org_open - the organization by name, where the actor may do the action. NH_ENOTFOUND: unknown, or no member. NH_EPERM: lower role. */
nh_rc nh_org_open(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice name, nh_action action, struct nh_org *out, struct nh_err *err);
nh_rc nh_org_list(struct nh_ctx *ctx, const struct nh_actor *actor, struct nh_org **out, size_t *count, struct nh_err *err); /* the actor's, by name */
/* nh_org_create - the actor becomes its admin. NH_EINVAL: name absent, not [A-Za-z0-9_-]+, over 255 bytes, or taken. */
nh_rc nh_org_create(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice name, struct nh_org *out, json_t **errors, struct nh_err *err);

/* ---- members (all: admin) -------------------------------------------------------------------------------------------------- */

struct nh_member {
	int64_t user_id;
	nh_slice name, email;
	nh_role role;
};
const char *nh_role_name(nh_role role);           /* "view", "manage", "admin", "none" */
bool nh_role_parse(nh_slice text, nh_role *out);  /* the first three only */
nh_rc nh_member_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_member **out, size_t *count, struct nh_err *err);
nh_rc nh_member_get(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice email, struct nh_member *out, struct nh_err *err);
/* nh_member_add - an existing account. NH_EINVAL: role; "org_users": already a member; detail: no account with that address. */
nh_rc nh_member_add(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice email, nh_slice role, struct nh_member *out,
                    json_t **errors, struct nh_err *err);
/* NH_EINVAL: unknown role; the last admin stays one (deviation: a web of members without an admin helps nobody). NH_ENOTFOUND. */
nh_rc nh_member_set_role(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice email, nh_slice role, struct nh_member *out,
                         json_t **errors, struct nh_err *err);
nh_rc nh_member_remove(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, nh_slice email, json_t **errors, struct nh_err *err);

/* ---- command-line sessions --------------------------------------------------------------------------------------------------- */

#define NH_CLI_SESSION_TTL_S 300
struct nh_cli_session {
	nh_slice token; /* UUID text */
	nh_slice note;
	int64_t confirmation_code; /* 100000..999999 */
	bool confirmed;
};
nh_rc nh_cli_session_create(struct nh_ctx *ctx, nh_slice note, struct nh_cli_session *out, struct nh_err *err); /* also drops expired ones */
/* For the page that asks the user; NH_ENOTFOUND: unknown, expired, delivered, or confirmed by another user. */
nh_rc nh_cli_session_get(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice token, struct nh_cli_session *out, struct nh_err *err);
nh_rc nh_cli_session_confirm(struct nh_ctx *ctx, const struct nh_actor *actor, nh_slice token, struct nh_err *err); /* twice is harmless */
/* nh_cli_session_poll - *ready: the session was confirmed, token_text holds a new API token, delivered this once. NH_ENOTFOUND: unknown, expired, delivered. */
nh_rc nh_cli_session_poll(struct nh_ctx *ctx, nh_slice token, bool *ready, char token_text[NH_TOKEN_TEXT_MAX], struct nh_err *err);

/*
 * What people do with their own account: register, confirm the address, reset or change the password, change name and address, delete it. Links in mails are tickets (hub/sessions.h): one use,
 * one day, worth nothing once the address has changed. An address counts as the user's once the link that was mailed to it has been opened; a server that sends no mails takes it as it is.
 *
 * Conventions: hub/accounts.h. source: reference/server-behaviour "9.2", "9.4", "9.6", "9.8"
 */
#pragma once

#include "hub/accounts.h"

#define NH_TOKEN_CONFIRM "confirm"
#define NH_TOKEN_RESET "reset"
#define NH_TOKEN_STEP "second_factor"
#define NH_LINK_S 86400
#define NH_STEP_S 600

struct nh_account_state {
	bool confirmed, has_password, second_factor;
};
nh_rc nh_account_state(struct nh_ctx *ctx, int64_t user_id, struct nh_account_state *out, struct nh_err *err); /* NH_ENOTFOUND */

/* nh_account_register - nh_user_create of an account whose address is not confirmed yet, and the mail with the link. The caller decides whether registration is open. */
nh_rc nh_account_register(struct nh_ctx *ctx, const struct nh_new_user *input, struct nh_user *out, json_t **errors, struct nh_err *err);
/* nh_account_mail_confirmation - another link to the user's address (earlier ones end). */
nh_rc nh_account_mail_confirmation(struct nh_ctx *ctx, const struct nh_user *user, struct nh_err *err);
/* nh_account_confirmable - whose link is it, and which address does it confirm (read)? NH_EAUTH. */
nh_rc nh_account_confirmable(struct nh_ctx *ctx, nh_slice token, struct nh_user *out, nh_slice *address, struct nh_err *err);
/* nh_account_confirm - uses the link up: the address is the user's now. NH_EAUTH. NH_EINVAL: another account has the address meanwhile. */
nh_rc nh_account_confirm(struct nh_ctx *ctx, nh_slice token, struct nh_user *out, json_t **errors, struct nh_err *err);

/* nh_account_mail_reset - a link to the account of that address; an unknown address is no error, so that nobody learns who has an account. */
nh_rc nh_account_mail_reset(struct nh_ctx *ctx, nh_slice email, struct nh_err *err);
nh_rc nh_account_resettable(struct nh_ctx *ctx, nh_slice token, struct nh_user *out, struct nh_err *err); /* read. NH_EAUTH */
/* nh_account_reset - uses the link up: new password, all sessions, links and API tokens end, the address is confirmed. NH_EAUTH. */
nh_rc nh_account_reset(struct nh_ctx *ctx, nh_slice token, const char *password_hash, struct nh_user *out, struct nh_err *err);

/* nh_account_prepare_password - as nh_user_prepare checks and hashes one. Pure, slow. NH_EINVAL with *errors. */
nh_rc nh_account_prepare_password(nh_slice password, const struct nh_password_cost *cost, char out[NH_PASSWORD_HASH_MAX], json_t **errors, struct nh_err *err);
/* nh_account_change_password - sessions and API tokens stay, links end; a mail tells of it. */
nh_rc nh_account_change_password(struct nh_ctx *ctx, const struct nh_user *user, const char *password_hash, struct nh_err *err);
/*
 * nh_account_update - name and address; an empty slice leaves one as it is. A new address has to be confirmed by its mail first: *pending. The old one is told.
 * NH_EINVAL with *errors: as nh_user_prepare; the address "has already been taken".
 */
nh_rc nh_account_update(struct nh_ctx *ctx, const struct nh_user *user, nh_slice name, nh_slice email, struct nh_user *out, bool *pending, json_t **errors, struct nh_err *err);
/*
 * nh_account_delete - the account is gone, its address free. Organizations that nobody else belongs to go with it. NH_EINVAL with detail: the user is the last admin of one
 * that has other members, or the only member of one that has products.
 */
nh_rc nh_account_delete(struct nh_ctx *ctx, const struct nh_user *user, json_t **errors, struct nh_err *err);

/* The step between password and second factor: a ticket of ten minutes, used up by nh_account_step_done. find: NH_EAUTH. */
nh_rc nh_account_step(struct nh_ctx *ctx, int64_t user_id, char out[NH_TOKEN_TEXT_MAX], struct nh_err *err);
nh_rc nh_account_step_find(struct nh_ctx *ctx, nh_slice token, struct nh_user *out, struct nh_err *err);
nh_rc nh_account_step_done(struct nh_ctx *ctx, nh_slice token, struct nh_err *err);

/*
 * Mails that the server owes somebody: rules queue them in the transaction of what they tell, so neither exists without the other; `outbound` words and sends them. What a mail holds is sealed
 * in the database, since its link signs in.
 *
 * A mail is tried until it is a day old, in growing steps; whoever claims one keeps it from others for a while, so that several servers of one database do not send it twice. A server that
 * ends between sending and nh_mail_done sends it again: twice is better than never.
 *
 * Conventions: hub/accounts.h. source: reference/server-behaviour "9.6"
 */
#pragma once

#include "hub/hub.h"

typedef enum nh_mail_kind {
	NH_MAIL_CONFIRM,           /* link */
	NH_MAIL_WELCOME,
	NH_MAIL_RESET,             /* link */
	NH_MAIL_PASSWORD_RESET,    /* it was */
	NH_MAIL_PASSWORD_CHANGED,  /* link */
	NH_MAIL_INVITATION,        /* org, who, link */
	NH_MAIL_SOMEONE_INVITED,   /* org, who, address */
	NH_MAIL_MEMBER_ADDED,      /* org, who, address */
	NH_MAIL_YOU_WERE_ADDED,    /* org, who */
	NH_MAIL_MEMBER_REMOVED,    /* org, who, address */
	NH_MAIL_MEMBER_LEFT,       /* org, address */
	NH_MAIL_ADDRESS_CHANGED,   /* address: the new one; to the old one */
	NH_MAIL_SECOND_FACTOR_ON,
	NH_MAIL_SECOND_FACTOR_OFF,
	NH_MAIL_ACCOUNT_DELETED,
	NH_MAIL_WEBHOOK_DISABLED,  /* org, address: scheme and host of the endpoint, who: why */
	NH_MAIL_KIND_COUNT,
} nh_mail_kind;

const char *nh_mail_kind_name(nh_mail_kind kind); /* "confirm" … */

struct nh_mail {
	nh_mail_kind kind;
	nh_slice to, name;                /* address and name of who gets it; the name may be empty */
	nh_slice org, who, address, link; /* what the text names; empty where the kind has none */
};

/* nh_mail_queue - leaves the effect NH_EFFECT_MAIL. Where the server sends no mails (ctx->config->mails) nothing happens. */
nh_rc nh_mail_queue(struct nh_ctx *ctx, const struct nh_mail *mail, struct nh_err *err);
/* nh_mail_queue_admins - the same to each of the organization's administrators (at most 100) but the user `except`, who knows it already (0: to all). to and name of mail are not looked at. */
nh_rc nh_mail_queue_admins(struct nh_ctx *ctx, int64_t org_id, int64_t except, const struct nh_mail *mail, struct nh_err *err);
/* nh_mail_link - web_url, path and token. In the context's arena. */
nh_slice nh_mail_link(const struct nh_ctx *ctx, const char *path, nh_slice token);

struct nh_queued_mail {
	int64_t id, attempts, inserted_at_us; /* attempts: this one counts */
	struct nh_mail mail;
};
/*
 * nh_mail_claim - the one that is due for the longest, for lease_us (write). NH_ENOTFOUND: none is due; *next_due_us: when one is, 0 = none waits.
 * One that does not open any more is deleted: *broken tells.
 */
nh_rc nh_mail_claim(struct nh_ctx *ctx, int64_t lease_us, struct nh_queued_mail *out, int64_t *next_due_us, bool *broken, struct nh_err *err);
nh_rc nh_mail_done(struct nh_ctx *ctx, int64_t id, struct nh_err *err); /* sent */
/* nh_mail_failed - tried again after pause_us, doubled with each attempt up to an hour; *given_up: deleted, since it is a day old or for_good. */
nh_rc nh_mail_failed(struct nh_ctx *ctx, const struct nh_queued_mail *mail, int64_t pause_us, bool for_good, bool *given_up, struct nh_err *err);

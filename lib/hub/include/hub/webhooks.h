/*
 * Webhooks: where an organization wants to be told of events (hub/events.h), by signed POST requests to a server of its own. People's side: make, change, look after them. The sender's side: give
 * events out to whoever asks for them, claim what is due, note what became of it; outbound/webhook.h does the sending.
 *
 * Each event is one delivery a webhook, sent at least once and in no promised order; the event's id is the same in all repetitions. What fails is tried again in growing pauses for about a day and
 * then is dead: kept, listed, and sent anew if somebody says so. An endpoint that fails is left alone for growing pauses, too, and asked with one delivery at a time; after three days of nothing but
 * failures, or when it answers 410, its webhook is switched off, and the organization's administrators hear of it. Of what an endpoint can not keep up with a bounded number waits; what exceeds it is
 * lost, and an `events.lost` says how many.
 *
 * Signing is that of "Standard Webhooks": webhook-id, webhook-timestamp, webhook-signature: "v1," and base64 of HMAC-SHA256 over ID.TIMESTAMP.BODY under the bytes of the secret, which people get as
 * "whsec_" and base64. The secret is shown once; the database has it sealed. After a change the old one signs, too, for a day.
 *
 * Conventions of errors, threads and results: hub/accounts.h. Results are in the context's arena. source: Standard Webhooks 1.0
 */
#pragma once

#include "hub/events.h"

#define NH_WEBHOOKS_MAX 50 /* of an organization */
#define NH_WEBHOOK_LIST_MAX 500

struct nh_webhook {
	int64_t id, product_id; /* product 0: all of the organization */
	nh_slice product, description, url, disabled_reason; /* pointer NULL: none; the reason where the server switched it off */
	int64_t kinds;          /* NH_EVENT_ALL, or bits */
	bool enabled;
	int64_t waiting, dead;  /* deliveries */
	int64_t failing_since_us, delivered_at_us, old_secret_until_us; /* 0: not failing, never, no old one */
	int64_t inserted_at_us, updated_at_us;
};

#define NH_WEBHOOK_SECRET_MAX 64
struct nh_webhook_secret {
	char text[NH_WEBHOOK_SECRET_MAX]; /* "whsec_…"; the caller's to wipe */
};

/* nh_webhook_list - by id. nh_webhook_get - NH_ENOTFOUND. */
nh_rc nh_webhook_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, struct nh_webhook **out, size_t *count, struct nh_err *err);
nh_rc nh_webhook_get(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t id, struct nh_webhook *out, struct nh_err *err);
/*
 * nh_webhook_create - from an object: url (https; http where the server is so set), description, product (name), events (names of kinds, "*" for all, which is also the default), enabled.
 * NH_EINVAL with *errors; also where there are NH_WEBHOOKS_MAX. nh_webhook_update - members that are there; switching on, or another url, forgets earlier failures. Both: audit entry.
 */
nh_rc nh_webhook_create(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, const json_t *fields, struct nh_webhook *out, struct nh_webhook_secret *secret, json_t **errors,
                        struct nh_err *err);
nh_rc nh_webhook_update(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t id, const json_t *fields, struct nh_webhook *out, json_t **errors, struct nh_err *err);
/* nh_webhook_delete - at most 500 of its deliveries; *more: call again. The webhook goes with the last ones and gets nothing from the first call on. Audit entry. */
nh_rc nh_webhook_delete(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t id, bool *more, struct nh_err *err);
/* nh_webhook_rotate - a new secret; the one before signs, too, for a day. Audit entry. */
nh_rc nh_webhook_rotate(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t id, struct nh_webhook *out, struct nh_webhook_secret *secret, struct nh_err *err);
/* nh_webhooks_end - those of a product that was deleted are switched off; product_id 0: all of the organization, since it was. */
nh_rc nh_webhooks_end(struct nh_ctx *ctx, int64_t org_id, int64_t product_id, struct nh_err *err);

/* ---- deliveries ------------------------------------------------------------------------------------------------------------- */

typedef enum nh_delivery_status { NH_DELIVERY_WAITING, NH_DELIVERY_DELIVERED, NH_DELIVERY_DEAD, NH_DELIVERY_ANY } nh_delivery_status;
const char *nh_delivery_status_name(nh_delivery_status status); /* "waiting", "delivered", "dead"; not of ANY */

struct nh_delivery {
	int64_t id, attempts;
	nh_slice kind, uuid, status, error; /* error: of the latest try, pointer NULL: none */
	int64_t answer_status;              /* of the latest try; 0: there was no answer */
	int64_t inserted_at_us, due_at_us, tried_at_us, until_us; /* due: of one that waits; tried 0: never */
};

/* nh_delivery_list - newest first, older than before_id (0: from the newest). limit: 1..NH_WEBHOOK_LIST_MAX. NH_ENOTFOUND: no such webhook. */
nh_rc nh_delivery_list(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t webhook_id, nh_delivery_status status, int64_t before_id, size_t limit, struct nh_delivery **out,
                       size_t *count, struct nh_err *err);
/* nh_delivery_retry - a dead one waits again, for a day. delivery_id 0: at most 500 of them; *retried: how many, so that the caller repeats. NH_ENOTFOUND; NH_ECONFLICT: it is not dead. Audit entry. */
nh_rc nh_delivery_retry(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t webhook_id, int64_t delivery_id, int64_t *retried, struct nh_err *err);

/* ---- one request ------------------------------------------------------------------------------------------------------------ */

/* What is sent. In the arena; headers are ready to be sent. */
struct nh_webhook_request {
	int64_t webhook_id, delivery_id; /* delivery 0: a test */
	int64_t attempts;                /* this one counts */
	nh_slice url, kind, uuid, timestamp, signature, body;
};

/* What came back, where somebody waits for it. */
struct nh_webhook_answer {
	unsigned status;            /* 0: there was none */
	nh_slice type, body;        /* the beginning of it, whatever bytes those are */
	const char *error;          /* why it counts as failed; NULL: it was delivered */
	uint64_t ms;                /* how long it took */
};

/* nh_webhook_sign - appends " v1,BASE64" (without the blank where out is empty). Pure. */
void nh_webhook_sign(struct nh_buf *out, nh_slice secret, nh_slice uuid, nh_slice timestamp, nh_slice body);
/* nh_webhook_ping - a request of kind "webhook.test" to be sent at once, whether the webhook is enabled or not. Audit entry. NH_EAUTH: its secret does not open. */
nh_rc nh_webhook_ping(struct nh_ctx *ctx, const struct nh_actor *actor, int64_t org_id, int64_t id, struct nh_webhook_request *out, struct nh_err *err);

/* ---- the sender's side -------------------------------------------------------------------------------------------------------- */

/* nh_webhooks_give_out - events that wait become deliveries of who asks for them, at most 200; *more: there may be more of them. Write. */
nh_rc nh_webhooks_give_out(struct nh_ctx *ctx, bool *more, struct nh_err *err);

/* How many requests of a webhook the caller has under way. */
struct nh_webhook_busy {
	int64_t webhook_id;
	unsigned count;
};
#define NH_WEBHOOK_PARALLEL 4 /* to one endpoint, of one server */

/*
 * nh_webhooks_claim - up to max requests that are due, so that no other sends them within lease_us (write). A webhook gets NH_WEBHOOK_PARALLEL at a time, one that fails a single one.
 * *next_due_us: when there will be more, 0: not before there is a new event. What has a secret that does not open dies here, *broken tells how many.
 */
nh_rc nh_webhooks_claim(struct nh_ctx *ctx, const struct nh_webhook_busy *busy, size_t busy_count, size_t max, int64_t lease_us, struct nh_webhook_request **out, size_t *count, int64_t *next_due_us,
                        unsigned *broken, struct nh_err *err);

struct nh_webhook_result {
	int64_t webhook_id, delivery_id, attempts;
	unsigned status;          /* of the answer; 0: there was none */
	int64_t retry_after_us;   /* what the answer asked for; 0: nothing */
	const char *error;        /* why it counts as failed; NULL: it was delivered. Cut at 200 bytes */
};

typedef enum nh_webhook_end { NH_WEBHOOK_DELIVERED, NH_WEBHOOK_AGAIN, NH_WEBHOOK_DIED, NH_WEBHOOK_GONE } nh_webhook_end;
/*
 * nh_webhook_note - what became of it (write); *end: AGAIN: it is tried again; DIED; GONE: somebody else has noted its end, or the webhook was deleted. *disabled: the webhook is switched off now;
 * a notification of its product (or of all) and mails to administrators say so.
 */
nh_rc nh_webhook_note(struct nh_ctx *ctx, const struct nh_webhook_result *result, nh_webhook_end *end, bool *disabled, struct nh_err *err);
/* nh_webhook_pause_us - how long to wait after a delivery's n-th attempt (from 1): 5 s, three times as long each time, up to 6 h, a fifth more or less by chance; all in proportion to give_up_us. Pure. */
int64_t nh_webhook_pause_us(int64_t attempts, int64_t give_up_us, const struct nh_rng *rng);

/* nh_webhooks_trim - old deliveries (delivered: 3 days, dead: 30), those that waited too long, old secrets; at most 500 rows of each kind; *rows: how many, so that the caller repeats. Write. */
nh_rc nh_webhooks_trim(struct nh_ctx *ctx, size_t *rows, struct nh_err *err);

struct nh_webhook_figures {
	int64_t waiting, dead;
};
nh_rc nh_webhook_figures(struct nh_ctx *ctx, struct nh_webhook_figures *out, struct nh_err *err); /* of all organizations (read) */

/*
 * What the database is asked: whose token it is, whether a conversation may begin or go on, and the audit entry of its end. The token is looked at each time, so that one that
 * was revoked is worth nothing at the next question.
 */
#include <stdlib.h>

#include "base/log.h"
#include "store/db.h"
#include "web_int.h"

struct question {
	struct nh_web *web;
	struct nh_arena *arena;
	nh_slice token;
	struct nh_user *user; /* its owner */
	int64_t touch;
	nh_rc (*ask)(struct nh_ctx *ctx, const struct nh_actor *actor, struct question *q, struct nh_err *err);
	/* of open */
	nh_conversation_kind kind;
	nh_slice identifier;
	struct nh_conversation *conversation;
	/* of check */
	struct web_check *checks;
	size_t count;
};

static struct nh_ctx context(struct nh_web *web, struct nh_tx *tx, struct nh_arena *arena, struct nh_effects *effects)
{
	const struct nh_web_config *c = &web->config;
	return (struct nh_ctx){.tx = tx, .arena = arena, .clock = c->clock, .rng = c->rng, .config = c->hub, .effects = effects};
}

static nh_rc ask_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct question *q = arg;
	struct nh_ctx ctx = context(q->web, tx, q->arena, NULL);
	NH_TRY(nh_token_user(&ctx, q->token, NH_TOKEN_API, q->user, &q->touch, err));
	struct nh_actor actor = nh_actor_of_user(q->user);
	return q->ask ? q->ask(&ctx, &actor, q, err) : NH_OK;
}

static nh_rc touch_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct question *q = arg;
	struct nh_ctx ctx = context(q->web, tx, q->arena, NULL);
	return nh_token_touch(&ctx, q->touch, err);
}

nh_rc web_access_user(struct nh_web *web, nh_slice token, struct nh_arena *arena, struct nh_user *out, struct nh_err *err)
{
	struct question q = {.web = web, .arena = arena, .token = token, .user = out};
	NH_TRY(nh_db_read(web->config.db, ask_tx, &q, err));
	/* When a token was used last is for people to look at: not being able to note it is no reason to refuse. */
	if (q.touch)
		NH_IGNORE(nh_db_write(web->config.db, touch_tx, &q, NULL));
	return NH_OK;
}

static nh_rc ask_open(struct nh_ctx *ctx, const struct nh_actor *actor, struct question *q, struct nh_err *err)
{
	return nh_conversation_open(ctx, actor, q->kind, q->identifier, q->conversation, err);
}

nh_rc web_access_open(struct nh_web *web, nh_slice token, nh_conversation_kind kind, nh_slice identifier, struct nh_conversation *out, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_user user;
	struct question q = {.web = web, .arena = &arena, .token = token, .user = &user, .ask = ask_open, .kind = kind, .identifier = identifier, .conversation = out};
	return nh_conversation_audited(kind) ? nh_db_write(web->config.db, ask_tx, &q, err) : nh_db_read(web->config.db, ask_tx, &q, err);
}

static nh_rc ask_check(struct nh_ctx *ctx, const struct nh_actor *actor, struct question *q, struct nh_err *err)
{
	for (size_t i = 0; i < q->count; i++) {
		nh_rc rc = nh_conversation_check(ctx, actor, &q->checks[i].conversation, err);
		if (rc != NH_OK && rc != NH_ENOTFOUND && rc != NH_EPERM)
			return rc;
		q->checks[i].rc = rc;
	}
	return NH_OK;
}

nh_rc web_access_check(struct nh_web *web, nh_slice token, struct web_check *checks, size_t count, struct nh_err *err)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_user user;
	struct question q = {.web = web, .arena = &arena, .token = token, .user = &user, .ask = ask_check, .checks = checks, .count = count};
	return nh_db_read(web->config.db, ask_tx, &q, err);
}

/* ---- ends ------------------------------------------------------------------------------------------------------------------- */

struct farewell {
	struct nh_work work;
	struct nh_web *web;
	struct nh_conversation conversation;
	struct nh_actor actor;
	char *name;
};

static nh_rc farewell_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct farewell *f = arg;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx ctx = context(f->web, tx, &arena, NULL);
	return nh_conversation_close(&ctx, &f->actor, &f->conversation, err);
}

static void farewell_run(void *worker, struct nh_work *work)
{
	struct farewell *f = (struct farewell *)(void *)work;
	struct nh_err err = NH_ERR_INIT;
	nh_rc rc = nh_db_write(f->web->config.db, farewell_tx, f, &err);
	if (rc != NH_OK)
		NH_LOG(nh_rc_outage(rc) ? NH_LOG_DEBUG : NH_LOG_WARN, "web.end_not_written", NH_I("device_id", f->conversation.device_id), NH_STR("why", err.msg));
	free(f->name);
	free(f);
}

void web_access_close(struct nh_web *web, const struct web_person *person, const struct nh_conversation *conversation)
{
	if (!nh_conversation_audited(conversation->kind))
		return;
	struct farewell *f = nh_xcalloc(1, sizeof *f);
	f->name = nh_xstrdup(person->name);
	f->work = (struct nh_work){.run = farewell_run};
	f->web = web;
	f->conversation = *conversation;
	f->actor = (struct nh_actor){NH_ACTOR_USER, person->id, nh_slice_str(f->name)};
	nh_work_queue(web->config.pool, NULL, &f->work);
}

/*
 * The gate.
 */
#include "hub/gate.h"

#include "base/log.h"
#include "hub/second_factor.h"
#include "input_int.h"

#define PAIR_PER_MINUTE 20
#define ADDRESS_PER_MINUTE 300
#define ACCOUNT_PER_MINUTE 100

struct question {
	const struct nh_gate *gate;
	nh_slice email;
	int64_t user_id;
	nh_slice code;
	struct nh_login login;
	struct nh_account_state state;
	nh_code_answer answer;
	bool none;
};

static struct nh_ctx context(const struct nh_gate *g, struct nh_tx *tx)
{
	return (struct nh_ctx){.tx = tx, .arena = g->arena, .clock = g->clock, .rng = g->rng, .config = g->hub};
}

static nh_rc login_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct question *q = arg;
	struct nh_ctx ctx = context(q->gate, tx);
	NH_TRY(nh_login_find(&ctx, q->email, &q->login, err));
	return q->login.known ? nh_account_state(&ctx, q->login.user.id, &q->state, err) : NH_OK;
}

static nh_rc code_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct question *q = arg;
	struct nh_ctx ctx = context(q->gate, tx);
	nh_rc rc = nh_second_factor_check(&ctx, q->user_id, q->code, &q->answer, err);
	q->none = rc == NH_ENOTFOUND;
	return q->none ? NH_OK : rc;
}

/* Letter case is no other account. */
static nh_slice key_of(const struct nh_gate *g, const char *kind, nh_slice remote, nh_slice name)
{
	nh_slice lower = nh_input_lower(g->arena, nh_slice_sub(nh_slice_trim(name), 0, 256));
	return nh_slice_str(nh_arena_printf(g->arena, "%s %.*s %.*s", kind, NH_ARG(remote), NH_ARG(lower)));
}

bool nh_gate_knock(const struct nh_gate *g, const char *kind, nh_slice key, unsigned per_minute)
{
	return nh_limiter_allow(g->limiter, key_of(g, kind, NH_SLICE_EMPTY, key), per_minute, nh_clock_now(g->clock));
}

static bool may_try(const struct nh_gate *g, nh_slice email)
{
	return nh_gate_knock(g, "address", g->remote, ADDRESS_PER_MINUTE) && nh_limiter_allow(g->limiter, key_of(g, "pair", g->remote, email), PAIR_PER_MINUTE, nh_clock_now(g->clock)) &&
	       nh_gate_knock(g, "account", email, ACCOUNT_PER_MINUTE);
}

/* What fitted is no guess at this account. The address's count stays: a guesser could clear it with an account of his own. */
static void forget_tries(const struct nh_gate *g, nh_slice email)
{
	nh_limiter_clear(g->limiter, key_of(g, "pair", g->remote, email));
	nh_limiter_clear(g->limiter, key_of(g, "account", NH_SLICE_EMPTY, email));
}

nh_rc nh_gate_password(const struct nh_gate *g, nh_slice email, nh_slice password, struct nh_user *user, struct nh_account_state *state, nh_gate_answer *out, struct nh_err *err)
{
	struct question q = {.gate = g, .email = nh_slice_trim(email)};
	*out = NH_GATE_TOO_MANY;
	if (!may_try(g, q.email))
		return NH_OK;
	NH_TRY(nh_db_read(g->db, login_tx, &q, err));
	*out = NH_GATE_WRONG;
	if (nh_login_verify(&q.login, password, g->cost) != NH_OK) {
		NH_LOG(NH_LOG_WARN, "login.refused", NH_S("email", email), NH_S("remote", g->remote));
		return NH_OK;
	}
	*user = q.login.user;
	*state = q.state;
	*out = q.state.second_factor ? NH_GATE_CODE_NEEDED : NH_GATE_OPEN;
	if (*out == NH_GATE_OPEN)
		forget_tries(g, q.email);
	return NH_OK;
}

nh_rc nh_gate_code(const struct nh_gate *g, int64_t user_id, nh_slice code, nh_gate_answer *out, struct nh_err *err)
{
	struct question q = {.gate = g, .user_id = user_id, .code = code};
	NH_TRY(nh_db_write(g->db, code_tx, &q, err));
	*out = q.none || q.answer == NH_CODE_WRONG ? NH_GATE_WRONG : q.answer == NH_CODE_BLOCKED ? NH_GATE_TOO_MANY : NH_GATE_OPEN;
	if (*out != NH_GATE_OPEN)
		NH_LOG(NH_LOG_WARN, "login.code_refused", NH_I("user_id", user_id), NH_S("remote", g->remote));
	return NH_OK;
}

nh_rc nh_gate_again(const struct nh_gate *g, const struct nh_user *user, nh_slice password, nh_gate_answer *out, struct nh_err *err)
{
	struct question q = {.gate = g, .email = user->email};
	*out = NH_GATE_TOO_MANY;
	if (!may_try(g, user->email))
		return NH_OK;
	NH_TRY(nh_db_read(g->db, login_tx, &q, err));
	if (q.login.known && !q.state.has_password)
		*out = NH_GATE_OPEN;
	else
		*out = nh_login_verify(&q.login, password, g->cost) == NH_OK ? NH_GATE_OPEN : NH_GATE_WRONG;
	if (*out == NH_GATE_OPEN)
		forget_tries(g, user->email);
	return NH_OK;
}

/*
 * The gate: how it is found out who somebody is, the same way for the User API and for the pages. Between its transactions passwords are hashed, which takes tens of milliseconds on purpose, so
 * these functions open transactions of their own; they are the hub's only ones that do.
 *
 * Throttled in one place: 20 tries a minute of one account from one address, 300 of one address, 100 of one account from everywhere. An owner whose account somebody guesses at from
 * everywhere still comes in with an API token or a session.
 *
 * thread: a worker's, outside of any transaction; all take tens of milliseconds. Errors: NH_EIO and the store's others; what is wrong with the person is an answer.
 * source: reference/user-api-and-cli "2.4"; reference/server-behaviour "9.4"
 */
#pragma once

#include "hub/limiter.h"
#include "hub/own_account.h"

/* Borrowed for the call. */
struct nh_gate {
	struct nh_db *db;
	const struct nh_hub_config *hub;
	const struct nh_clock *clock;
	const struct nh_rng *rng;
	const struct nh_password_cost *cost;
	struct nh_limiter *limiter;
	struct nh_arena *arena; /* results */
	nh_slice remote;        /* the peer's address */
};

typedef enum nh_gate_answer {
	NH_GATE_OPEN,
	NH_GATE_WRONG,       /* address, password, or code */
	NH_GATE_TOO_MANY,    /* tries; later */
	NH_GATE_CODE_NEEDED, /* the password fits, and the account has a second factor */
} nh_gate_answer;

/* nh_gate_password - CODE_NEEDED and OPEN leave the user and its state. Takes as long for an unknown address. */
nh_rc nh_gate_password(const struct nh_gate *gate, nh_slice email, nh_slice password, struct nh_user *user, struct nh_account_state *state, nh_gate_answer *out, struct nh_err *err);
/* nh_gate_code - the second factor's code, or a recovery code: OPEN, WRONG, TOO_MANY. An account whose factor has been switched off meanwhile: WRONG. */
nh_rc nh_gate_code(const struct nh_gate *gate, int64_t user_id, nh_slice code, nh_gate_answer *out, struct nh_err *err);
/* nh_gate_again - the password of somebody who is signed in already, asked before what matters: OPEN, WRONG, TOO_MANY. An account without a password (sign-in elsewhere): OPEN. */
nh_rc nh_gate_again(const struct nh_gate *gate, const struct nh_user *user, nh_slice password, nh_gate_answer *out, struct nh_err *err);
/* nh_gate_knock - counts a request that costs something or mails somebody: false where the address has made too many of that kind this minute. */
bool nh_gate_knock(const struct nh_gate *gate, const char *kind, nh_slice key, unsigned per_minute);

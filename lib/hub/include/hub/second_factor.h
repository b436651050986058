/*
 * The second factor: codes of six digits that change every 30 seconds (RFC 6238, HMAC-SHA-1, as authenticator programs make them), and recovery codes for who lost the program. The secret is
 * sealed in the database. No code is taken twice; from the fifth wrong one in a row on, each costs five minutes in which none is taken, on all servers of the database.
 *
 * Conventions: hub/accounts.h. source: RFC 6238, RFC 4226
 */
#pragma once

#include "crypto/digest.h"
#include "hub/accounts.h"

#define NH_RECOVERY_CODES 10
#define NH_RECOVERY_CODE_MAX 20 /* bytes of "xxxx-xxxx-xxxx-xxxx" with its NUL: 80 bits */
#define NH_SECOND_FACTOR_STEP_S 30
#define NH_SECOND_FACTOR_DIGITS 6

/* nh_totp - pure: the code of a step of time (seconds since 1970 / 30); alg NH_SHA1, NH_SHA256 or NH_SHA512; digits 6 to 8. */
uint32_t nh_totp(nh_digest_alg alg, nh_slice key, uint64_t step, unsigned digits);

struct nh_second_factor {
	bool enabled;
	bool begun;            /* and not confirmed yet */
	int64_t recovery_codes; /* how many are left */
};
nh_rc nh_second_factor_state(struct nh_ctx *ctx, int64_t user_id, struct nh_second_factor *out, struct nh_err *err);

/* nh_second_factor_begin - makes a new secret, which counts once a code of it was confirmed. NH_ECONFLICT: one is enabled already. */
nh_rc nh_second_factor_begin(struct nh_ctx *ctx, int64_t user_id, struct nh_err *err);
/* nh_second_factor_secret - of one that was begun, for its owner's authenticator: base32 text and otpauth URI, in the context's arena. NH_ENOTFOUND: none begun. */
nh_rc nh_second_factor_secret(struct nh_ctx *ctx, const struct nh_user *user, nh_slice *secret, nh_slice *uri, struct nh_err *err);
/* nh_second_factor_confirm - *fits: it is on now, and codes holds fresh recovery codes, which are stored as digests only. NH_ENOTFOUND: none begun. */
nh_rc nh_second_factor_confirm(struct nh_ctx *ctx, const struct nh_user *user, nh_slice code, bool *fits, char codes[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX], struct nh_err *err);
/* nh_second_factor_recovery - new recovery codes; the old ones are worth nothing any more. NH_ENOTFOUND: it is not on. */
nh_rc nh_second_factor_recovery(struct nh_ctx *ctx, int64_t user_id, char codes[NH_RECOVERY_CODES][NH_RECOVERY_CODE_MAX], struct nh_err *err);
nh_rc nh_second_factor_disable(struct nh_ctx *ctx, const struct nh_user *user, struct nh_err *err); /* that it is off already is no error */

typedef enum nh_code_answer { NH_CODE_FITS, NH_CODE_WRONG, NH_CODE_BLOCKED } nh_code_answer;
/* nh_second_factor_check - a code, or a recovery code, of somebody whose factor is on (write: it is used up, or counted as wrong). NH_ENOTFOUND: it is not on. */
nh_rc nh_second_factor_check(struct nh_ctx *ctx, int64_t user_id, nh_slice code, nh_code_answer *out, struct nh_err *err);

/*
 * Password hashes: Argon2id in the usual text form ("$argon2id$v=19$m=…,t=…,p=1$salt$hash"), salt from the system.
 * Costs tens of milliseconds and tens of MiB on purpose: run on a worker, never on a loop thread. thread: any.
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"

#define NH_PASSWORD_HASH_MAX 128 /* bytes of the text including its NUL */

struct nh_password_cost {
	uint64_t passes;
	size_t memory_bytes;
};

extern const struct nh_password_cost nh_password_cost_default; /* 2 passes over 19 MiB and more: see the definition */
extern const struct nh_password_cost nh_password_cost_test;    /* the least Argon2id takes: tests and demos only */

/* nh_password_hash - NH_ENOMEM where memory_bytes cannot be had; NH_ETOOBIG for a password over 1024 bytes. */
nh_rc nh_password_hash(nh_slice password, const struct nh_password_cost *cost, char out[NH_PASSWORD_HASH_MAX], struct nh_err *err);
/* nh_password_verify - NH_OK, NH_EAUTH for a wrong password, NH_EFORMAT for a text that is no such hash (both cost the same to a caller that
 * maps them to one answer; hash some fixed text where no account exists, so that time does not tell). */
nh_rc nh_password_verify(const char *hash, nh_slice password);
/* true where the hash was made with another cost (or is none): hash the password anew at the next login */
bool nh_password_needs_rehash(const char *hash, const struct nh_password_cost *cost);

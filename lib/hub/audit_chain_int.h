/*
 * What the files of the audit chain share. Private to hub.
 */
#pragma once

#include "hub/audit_chain.h"

struct nh_audit_signer {
	uint8_t secret_key[NH_ED25519_SECRET_LEN];
	struct nh_audit_key *keys; /* all there ever were, in the context's arena */
	size_t count;
};

/* nh_audit_signer_open - the key that signs now, made where there is none. Close it on every way out: it holds a secret. NH_ECONFLICT: another server makes one now. NH_EIO. audit_keys.c */
nh_rc nh_audit_signer_open(struct nh_ctx *ctx, struct nh_audit_signer *out, struct nh_err *err);
void nh_audit_signer_close(struct nh_audit_signer *signer);
/* Is the statement signed by one of them? */
bool nh_audit_signer_vouches(const struct nh_audit_signer *signer, const struct nh_chain_statement *statement);
#define NH_AUTO_SIGNER __attribute__((cleanup(nh_audit_signer_close)))

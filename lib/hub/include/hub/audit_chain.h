/*
 * The audit log as a chain (crypto/log_chain.h). Entries are written as ever, in the transaction of what they tell of, and nobody waits for anybody: a *sealer* gives those that were committed
 * their places later, in seconds, one organization after the other. So an entry's place is the order of sealing, which is the order of writing but for transactions that ran at the same time; what is
 * not sealed yet is not protected yet. Each sealing signs how far the chain goes now (the head); once a day a signed anchor stays, for people to keep elsewhere. Retention cuts a log at anchors only.
 *
 * The key (Ed25519) is the server's, made when it is first needed, and lies sealed under the server's secret in the database, so that all nodes of it sign with the same one. Where the secret was changed,
 * a new key is made, and the older ones stay listed.
 *
 * thread: as hub/hub.h. source: issue 8; reference/server-behaviour "8", "11", "13.7"
 */
#pragma once

#include "crypto/log_chain.h"
#include "hub/audit.h"

#define NH_AUDIT_SEAL_MAX ((size_t)500) /* entries of one transaction */

/* nh_audit_unsealed_org - the first organization after the one with id after_id that has unsealed entries. NH_ENOTFOUND: none. NH_EIO. */
nh_rc nh_audit_unsealed_org(struct nh_ctx *ctx, int64_t after_id, int64_t *org_id, struct nh_err *err);
/*
 * nh_audit_seal - the oldest NH_AUDIT_SEAL_MAX unsealed entries of the organization get the next places, *sealed says how many; begins its chain where it has none. Of several servers one does it at a time.
 * NH_EAUTH: the head that the database holds is not what a key of this server signed: somebody has changed it, and nothing more is sealed until it is back, since the next signature would hide that. NH_EIO.
 */
nh_rc nh_audit_seal(struct nh_ctx *ctx, int64_t org_id, size_t *sealed, struct nh_err *err);

/* nh_audit_unanchored_org - an organization of which something that was sealed before before_us is in no anchor yet. NH_ENOTFOUND: none. NH_EIO. */
nh_rc nh_audit_unanchored_org(struct nh_ctx *ctx, int64_t before_us, int64_t *org_id, struct nh_err *err);
/* nh_audit_anchor - signs an anchor at the last sealed entry, and tells who wants to know (NH_EVENT_AUDIT_ANCHOR). NH_ENOTFOUND: everything is in one already. NH_EAUTH as nh_audit_seal, NH_EIO. */
nh_rc nh_audit_anchor(struct nh_ctx *ctx, int64_t org_id, struct nh_chain_statement *out, struct nh_err *err);

/*
 * nh_audit_trim - one step of retention: cuts one log at its newest anchor that is older than the organization's days (days, where it has none of its own), or deletes up to NH_AUDIT_SEAL_MAX entries
 * of what was cut. *rows: how much was done; 0: nothing is left. days 0: no log is cut. NH_EAUTH as nh_audit_seal (*skip is the organization then; others are cut with skip set to it), NH_EIO.
 */
nh_rc nh_audit_trim(struct nh_ctx *ctx, unsigned days, int64_t *skip, size_t *rows, struct nh_err *err);

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

struct nh_audit_chain {
	struct nh_chain_beginning beginning;
	struct nh_chain_statement head, base;
	bool cut; /* the log begins at the anchor base, not at the chain's beginning */
};

/* nh_audit_chain_get - NH_ENOTFOUND: the organization has none yet. NH_EIO. */
nh_rc nh_audit_chain_get(struct nh_ctx *ctx, int64_t org_id, struct nh_audit_chain *out, struct nh_err *err);

struct nh_sealed_entry {
	struct nh_audit_entry entry;
	int64_t seq;
	nh_slice hash; /* 32 bytes, in the arena */
};

/* nh_audit_sealed_list - entries behind place after, in their order. limit: 1..500. NH_EIO. */
nh_rc nh_audit_sealed_list(struct nh_ctx *ctx, int64_t org_id, int64_t after, size_t limit, struct nh_sealed_entry **out, size_t *count, struct nh_err *err);
/* nh_audit_sealed_json - the entry as it is hashed. New reference. */
json_t *nh_audit_sealed_json(int64_t org_id, const struct nh_audit_entry *entry, int64_t seq);
/* nh_audit_anchor_list - of the chain, behind place after, the oldest first. limit: 1..500. NH_EIO. */
nh_rc nh_audit_anchor_list(struct nh_ctx *ctx, int64_t org_id, const char *chain, int64_t after, size_t limit, struct nh_chain_statement **out, size_t *count, struct nh_err *err);
/* nh_audit_anchor_newest - of all chains the organization ever had, the newest first, before place before (0: from the newest). limit: 1..500. NH_EIO. */
nh_rc nh_audit_anchor_newest(struct nh_ctx *ctx, int64_t org_id, int64_t before, size_t limit, struct nh_chain_statement **out, size_t *count, struct nh_err *err);
/* nh_audit_anchor_at - the chain's anchor at that place. NH_ENOTFOUND, NH_EIO. */
nh_rc nh_audit_anchor_at(struct nh_ctx *ctx, int64_t org_id, const char *chain, int64_t seq, struct nh_chain_statement *out, struct nh_err *err);

struct nh_audit_key {
	int64_t number; /* from 1; the highest signs */
	uint8_t public_key[NH_ED25519_PUBLIC_LEN];
	int64_t inserted_at_us;
};

/* nh_audit_key_list - the newest first. NH_EIO. */
nh_rc nh_audit_key_list(struct nh_ctx *ctx, struct nh_audit_key **out, size_t *count, struct nh_err *err);
/* nh_audit_key_ensure - makes the first one, or a new one where the server's secret does not open the newest. Needs a write transaction. NH_ECONFLICT: another server makes one now. NH_EIO. */
nh_rc nh_audit_key_ensure(struct nh_ctx *ctx, struct nh_err *err);

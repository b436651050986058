/*
 * A log whose past cannot be changed unseen: each entry's hash covers the entry and the hash before it, and from time to time the writer signs how far it has come. Here is the form of
 * all that and the check of a whole log, without any database; who writes one (the server) and who checks one (a program that knows no server) use the same text.
 *
 * Everything hashed or signed is canonical JSON (base/json.h):
 *
 *   beginning  {"chain":C,"first":N,"org":O,"type":"beginning","version":1}; its SHA-256 is the hash before the first entry, whose seq is N + 1
 *   entry      any object with "org" and "seq"; hash(n) = SHA-256(hash(n - 1) || entry)
 *   statement  {"at":T,"chain":C,"from":F,"hash":H,"key":K,"org":O,"previous":P,"seq":S,"type":"anchor" or "head"}, signed with Ed25519: "at T the log of O held the entries F + 1 to S,
 *              and the hash of S was H". K is the public key; P the SHA-256 of the anchor before it, or of the beginning. An anchor stays; a head is replaced by the next one.
 *
 * A log on its way is lines of JSON: a header, then entries in order, each anchor behind the entry it speaks of, at last the head.
 *
 *   {"format":"nerveshub-log","version":1,"beginning":{…},"base":{"anchor":{…},"signature":B} or null, …}   base: where a log begins that was cut, or was asked for from there
 *   {"entry":{…},"hash":H}
 *   {"anchor":{…},"signature":B}
 *   {"head":{…},"signature":B}
 *
 * Hashes and keys are lower-case hexadecimal, signatures base64. thread: any; a check belongs to one thread at a time. source: issue 8; RFC 8785, RFC 8032, FIPS 180-4
 */
#pragma once

#include "base/json.h"
#include "crypto/digest.h"
#include "crypto/ed25519.h"

#define NH_CHAIN_ID_LEN 32 /* hexadecimal digits */

typedef enum nh_chain_kind { NH_CHAIN_ANCHOR, NH_CHAIN_HEAD } nh_chain_kind;

struct nh_chain_beginning {
	char chain[NH_CHAIN_ID_LEN + 1];
	int64_t org_id;
	int64_t first; /* entries before it, which belong to no chain or to an older one */
};

struct nh_chain_statement {
	nh_chain_kind kind;
	char chain[NH_CHAIN_ID_LEN + 1];
	int64_t org_id, from, seq, at_us;
	uint8_t hash[NH_SHA256_LEN], previous[NH_SHA256_LEN];
	uint8_t key[NH_ED25519_PUBLIC_LEN];
	uint8_t signature[NH_ED25519_SIGNATURE_LEN];
};

/* ---- making one -------------------------------------------------------------------------------------------------------- */

/* nh_chain_begin - the hash before the first entry. */
void nh_chain_begin(const struct nh_chain_beginning *beginning, uint8_t hash[NH_SHA256_LEN]);
json_t *nh_chain_beginning_json(const struct nh_chain_beginning *beginning); /* new reference */
/*
 * nh_chain_step - hash(n) from hash(n - 1) and the entry, in place. text: reused from call to call; holds the entry's canonical JSON afterwards, behind NH_SHA256_LEN other bytes.
 * NH_EFORMAT: it has no canonical form.
 */
nh_rc nh_chain_step(uint8_t hash[NH_SHA256_LEN], const json_t *entry, struct nh_buf *text, struct nh_err *err);
/* nh_chain_sign - fills key and signature; all else is filled. */
void nh_chain_sign(struct nh_chain_statement *statement, const uint8_t secret_key[NH_ED25519_SECRET_LEN]);
/* nh_chain_signed - is the signature its key's? Whether the key is one to trust is not asked. */
bool nh_chain_signed(const struct nh_chain_statement *statement);
/* nh_chain_statement_hash - what the next statement calls previous. */
void nh_chain_statement_hash(const struct nh_chain_statement *statement, uint8_t hash[NH_SHA256_LEN]);
json_t *nh_chain_statement_json(const struct nh_chain_statement *statement);        /* {"anchor" or "head":{…},"signature":…}; new reference */
/* nh_chain_statement_read - from such an object. NH_EFORMAT names what is missing or wrong. The signature is not checked. */
nh_rc nh_chain_statement_read(const json_t *line, struct nh_chain_statement *out, struct nh_err *err);

/* ---- checking one ------------------------------------------------------------------------------------------------------ */

typedef enum nh_chain_fault {
	NH_CHAIN_SOUND,       /* none */
	NH_CHAIN_UNREADABLE,  /* a line that is none of a log, or one in the wrong place */
	NH_CHAIN_UNSIGNED,    /* a signature that is wrong, or by a key that is not among those to trust */
	NH_CHAIN_FOREIGN,     /* of another organization or another chain */
	NH_CHAIN_ALTERED,     /* an entry, or the entries up to an anchor, are not those that were sealed */
	NH_CHAIN_GAP,         /* entries or an anchor are missing between others, or stand in another order */
	NH_CHAIN_TAIL,        /* the end is missing: the head or a statement kept elsewhere tells of later entries */
	NH_CHAIN_FAULT_COUNT,
} nh_chain_fault;

/* "altered", "gap", …: a word for programs. */
const char *nh_chain_fault_name(nh_chain_fault fault);

struct nh_chain_finding {
	nh_chain_fault fault;
	int64_t seq;      /* the entry it is about; 0: none */
	uint64_t line;    /* from 1 */
	const char *text; /* for people; borrowed for the call */
};

struct nh_chain_check_config {
	const uint8_t (*keys)[NH_ED25519_PUBLIC_LEN]; /* those to trust; borrowed until the end */
	size_t key_count;
	const struct nh_chain_statement *kept;        /* a statement that was kept elsewhere, signed by one of the keys; NULL: none. Borrowed until the end */
	void (*found)(void *ctx, const struct nh_chain_finding *finding); /* each fault, as it is found; NULL legal */
	void *ctx;
};

struct nh_chain_report {
	nh_chain_fault worst;    /* the first of the enumeration's that was found */
	uint64_t faults;
	struct nh_chain_beginning beginning;
	int64_t from, to;        /* the file holds entries from + 1 to `to` */
	uint64_t entries, anchors;
	int64_t older;           /* entries before from that the signed log still held and this file was not asked for; 0: none */
	bool kept_compared;      /* the kept statement speaks of an entry of this file, and agrees with it */
	struct nh_chain_statement head; /* seq 0: none was read */
};

struct nh_chain_check;
/* nh_chain_check_new - never NULL. Memory is that of one line, whatever the log's length. */
struct nh_chain_check *nh_chain_check_new(const struct nh_chain_check_config *config);
/* nh_chain_check_feed - the next bytes of the file, cut anywhere. Goes on after a fault, so that one run finds all. A line may have 64 KiB. */
void nh_chain_check_feed(struct nh_chain_check *check, nh_slice bytes);
/* nh_chain_check_end - after the last byte; once. Faults that only the end shows are found now. */
void nh_chain_check_end(struct nh_chain_check *check, struct nh_chain_report *out);
void nh_chain_check_free(struct nh_chain_check *check); /* NULL is legal */

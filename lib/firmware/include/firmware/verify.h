/*
 * Streaming verification of a whole archive: signature, structure, and the BLAKE2b-256 hash of every resource. For the server's intake
 * (all kinds of refusal told apart), for devices that check archives before keeping them, and for `nh-fwup -V`.
 * Fails when no key is given unless explicitly allowed. thread: one at a time.  source: reference/fwup-format "7.3"
 */
#pragma once

#include "firmware/reader.h"

struct nh_fw_verify_config {
	const struct nh_fw_public_key *keys;
	size_t key_count;
	bool allow_unverified; /* see nh_fw_reader_config */
	bool whole;            /* refuse files whose end is missing or followed by something */
	bool local_time;
	const char *path;
	struct nh_fw_vars *vars;
};

struct nh_fw_verifier;
/* config is copied; what it points to is borrowed while the verifier lives. Never NULL. */
struct nh_fw_verifier *nh_fw_verifier_new(const struct nh_fw_verify_config *config);
void nh_fw_verifier_free(struct nh_fw_verifier *v); /* with its manifest. NULL legal */
nh_rc nh_fw_verifier_feed(struct nh_fw_verifier *v, nh_slice bytes, struct nh_err *err); /* NH_EFORMAT NH_EAUTH NH_ETOOBIG NH_EUNSUPPORTED; final */
bool nh_fw_verifier_done(const struct nh_fw_verifier *v);
/* End of input: NH_OK says that everything the metadata names was there and had the right hash. */
nh_rc nh_fw_verifier_finish(struct nh_fw_verifier *v, struct nh_err *err);

/* After finish (the manifest also after a failure behind meta.conf). Borrowed from the verifier. */
const struct nh_fw_manifest *nh_fw_verifier_manifest(const struct nh_fw_verifier *v); /* NULL: not reached */
nh_fw_signature nh_fw_verifier_signature(const struct nh_fw_verifier *v);
int nh_fw_verifier_key_index(const struct nh_fw_verifier *v); /* -1: not signed by any of the keys */
/* Did a member hold a patch instead of its resource? Then that content is not covered by the signature's hashes until it is applied. */
bool nh_fw_verifier_patches(const struct nh_fw_verifier *v);
nh_fw_fault nh_fw_verifier_fault(const struct nh_fw_verifier *v);
/* The sentence of reference "7.3" step 6. */
const char *nh_fw_verifier_sentence(const struct nh_fw_verifier *v);

/*
 * nh_fw_verify_fd - feeds the verifier from fd's current position to the end and finishes it. Blocks; not on a loop thread. NH_EIO.
 *
 *   struct nh_fw_verifier *v = nh_fw_verifier_new(&(struct nh_fw_verify_config){.keys = keys, .key_count = n, .whole = true});
 *   nh_rc rc = nh_fw_verify_fd(v, fd, &err);   then nh_fw_verifier_fault(v), …_key_index(v), …_manifest(v)->meta.product
 */
nh_rc nh_fw_verify_fd(struct nh_fw_verifier *v, int fd, struct nh_err *err);

/*
 * Firmware archives, read forward from bytes pushed in pieces of any size: signature, meta.conf (authenticated and parsed before anything
 * else is delivered), then the resources in archive order. Does not judge resource contents (verify.h) nor run tasks (apply.h), except that
 * CRC-32 and lengths of the container hold for every member that ended. Sans-IO.
 *
 * A reader with no key refuses, unless allow_unverified says that the caller accepts any archive.
 * thread: one at a time.  source: reference/fwup-format "1", "2.5", "4"
 */
#pragma once

#include "firmware/keys.h"
#include "firmware/metadata.h"
#include "firmware/zip.h"

typedef enum nh_fw_signature {
	NH_FW_UNSIGNED,   /* no signature member */
	NH_FW_UNVERIFIED, /* there is one, but no key was given */
	NH_FW_SIGNED,     /* good, by the key at nh_fw_reader_key_index */
} nh_fw_signature;

/* Handlers stop the reader by returning a code. Any may be NULL. Calls for one member: begin, data…, end. */
struct nh_fw_reader_handler {
	void *ctx;
	/* Once, before any resource: meta.conf is authentic (as far as keys were given) and parsed. The manifest lives as long as the reader. */
	nh_rc (*manifest)(void *ctx, const struct nh_fw_manifest *manifest, struct nh_err *err);
	/* name: the resource's; resource: NULL where meta.conf does not know it. member->size_known, ->size: for delta recognition (7.3, 14.2). */
	nh_rc (*begin)(void *ctx, nh_slice name, const struct nh_fw_resource *resource, const struct nh_fw_member *member, struct nh_err *err);
	nh_rc (*data)(void *ctx, nh_slice bytes, struct nh_err *err);
	nh_rc (*end)(void *ctx, uint64_t size, struct nh_err *err);
};

struct nh_fw_reader_config {
	const struct nh_fw_public_key *keys; /* borrowed while the reader lives; any number */
	size_t key_count;
	bool allow_unverified;   /* with key_count 0: accept without looking at the signature. With keys it changes nothing */
	bool whole;              /* as in nh_fw_zip_reader_new: for files */
	bool local_time;         /* meta-creation-date from DOS time: in the C library's time zone instead of UTC (tools) */
	const char *path;        /* for messages, NULL = "archive" */
	const char *order_text;  /* NULL = "at the beginning of"; what "Expecting meta.conf to be …" says (tools) */
	struct nh_fw_vars *vars; /* for ${…} in meta.conf; NULL = none but FWUP_META_*. Borrowed */
	struct nh_fw_reader_handler handler;
};

struct nh_fw_reader;
/* config is copied; what it points to is borrowed. Never NULL. */
struct nh_fw_reader *nh_fw_reader_new(const struct nh_fw_reader_config *config);
void nh_fw_reader_free(struct nh_fw_reader *r); /* with its manifest. NULL legal */
/* nh_fw_reader_feed - as nh_fw_zip_reader_feed; NH_EAUTH for signatures and missing keys. An error is final. */
nh_rc nh_fw_reader_feed(struct nh_fw_reader *r, nh_slice bytes, struct nh_err *err);
bool nh_fw_reader_done(const struct nh_fw_reader *r); /* no further bytes are needed */
/* End of input: NH_OK where done and a manifest was seen; else NH_EFORMAT, fault TRUNCATED, NOT_ARCHIVE or MALFORMED. */
nh_rc nh_fw_reader_finish(struct nh_fw_reader *r, struct nh_err *err);
nh_fw_fault nh_fw_reader_fault(const struct nh_fw_reader *r);

const struct nh_fw_manifest *nh_fw_reader_manifest(const struct nh_fw_reader *r); /* NULL before it was seen */
nh_fw_signature nh_fw_reader_signature(const struct nh_fw_reader *r);
int nh_fw_reader_key_index(const struct nh_fw_reader *r); /* index into config.keys, -1 where not NH_FW_SIGNED */

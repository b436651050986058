/*
 * Importing devices: files of manufacturers and of people, in three formats, entry by entry.
 *
 *   records    bytes in, entries out (sans-IO): a JSON array or lines of JSON objects, or CSV with quotation marks
 *   formats    an entry to what is wanted: identifier, description, tags, certificate
 *   import     what is wanted to rows, a batch in one transaction; the same file again changes nothing
 *
 * An entry that cannot be used is told and left out; nothing of it remains. Every size is bounded.
 *
 * source: reference/user-api-and-cli "11.6"; reference/server-behaviour "14.3"; RFC 4180; RFC 7515
 */
#pragma once

#include "hub/certificates.h"

#define NH_IMPORT_ENTRY_MAX ((size_t)65536) /* bytes of one entry */
#define NH_IMPORT_ENTRIES_MAX 100000u       /* of one file */
#define NH_IMPORT_BATCH 500u                /* entries of one transaction */

/* ---- records: any thread, one at a time; no I/O, no clock ---------------------------------------------------------------- */

typedef enum nh_record_form { NH_RECORDS_JSON, NH_RECORDS_CSV } nh_record_form;

struct nh_record {
	nh_slice text;  /* borrowed for the call */
	uint64_t line;  /* where it begins, from 1 */
	bool too_long;  /* over NH_IMPORT_ENTRY_MAX: text is empty */
};

/* Zeroed but for form, each and ctx before the first call; nh_records_fini at the end. */
struct nh_records {
	nh_record_form form;
	nh_rc (*each)(void *ctx, const struct nh_record *record, struct nh_err *err); /* another code than NH_OK ends it */
	void *ctx;
	/* private */
	struct nh_buf entry;
	uint64_t line, began;
	unsigned depth;
	bool open, quoted, escaped, too_long, in_array, ended;
};

/* nh_records_feed - the next piece, of any size. NH_EFORMAT: no entries (JSON only), with the line; or what each returned. */
nh_rc nh_records_feed(struct nh_records *r, nh_slice bytes, struct nh_err *err);
/* nh_records_end - no more comes: a last CSV line without an end is given out. NH_EFORMAT: the file ends in the middle of something. */
nh_rc nh_records_end(struct nh_records *r, struct nh_err *err);
void nh_records_fini(struct nh_records *r);

/* ---- formats ------------------------------------------------------------------------------------------------------------- */

typedef enum nh_import_format { NH_IMPORT_TRUST_AND_GO, NH_IMPORT_CSV, NH_IMPORT_NERVESKEY, NH_IMPORT_FORMATS } nh_import_format;

/* nh_import_format_find - by its name: "microchip_trust_and_go", "csv", "nerveskey". nh_import_format_form - what its entries are cut as. Pure. */
bool nh_import_format_find(nh_slice name, nh_import_format *out);
nh_record_form nh_import_format_form(nh_import_format format);

#define NH_IMPORT_COLUMNS_MAX 32u

/* How a file is read: what its entries have in common. */
struct nh_import_reader {
	nh_import_format format;
	/* TRUST_AND_GO: the certificate whose key must have signed each entry; NULL: signatures are not looked at. Borrowed. */
	const struct nh_cert *signer;
	/* private: the CSV's columns, from its first line */
	bool has_head;
	unsigned columns;
	int identifier, description, tags, certificate; /* -1: there is none */
};

struct nh_import_device {
	uint64_t line;
	nh_slice identifier;  /* pointer NULL where the entry does not even say that */
	nh_slice description; /* pointer NULL: none */
	nh_slice tags;        /* commas between them; pointer NULL: none */
	nh_slice certificate; /* DER; pointer NULL: none */
	const char *problem;  /* why the entry cannot be used, for people; NULL: it can */
};

/*
 * nh_import_read - an entry, in the arena. NH_ENOTFOUND: it is the CSV's first line, which says what the columns are. NH_EINVAL: that line does not name an identifier, so that nothing
 * of the file can be used. Whatever else is wrong is out->problem. Pure; any thread, a reader belongs to one at a time.
 */
nh_rc nh_import_read(struct nh_import_reader *reader, struct nh_arena *arena, const struct nh_record *record, struct nh_import_device *out, struct nh_err *err);

/* ---- import -------------------------------------------------------------------------------------------------------------- */

typedef enum nh_import_result { NH_IMPORT_CREATED, NH_IMPORT_UPDATED, NH_IMPORT_UNCHANGED, NH_IMPORT_FAILED, NH_IMPORT_RESULTS } nh_import_result;

const char *nh_import_result_name(nh_import_result result); /* "created", "updated", "unchanged", "failed" */

struct nh_import_outcome {
	nh_import_result result;
	const char *reason; /* of FAILED, in the context's arena */
};

/*
 * nh_import_apply - entries of one batch, in order, each wholly or not at all. A device that the product has already keeps what it is and gets the certificate where it has not got it (UPDATED).
 * tags: commas between them, for every device that is made, beside its own. Effects and audit entries as of nh_device_create and nh_device_certificate_add.
 * NH_EPERM, NH_ENOTFOUND (product gone), of the store; then the transaction must not be committed. Inside a write transaction.
 */
nh_rc nh_import_apply(struct nh_ctx *ctx, const struct nh_actor *actor, const struct nh_product *product, nh_slice tags, const struct nh_import_device *devices, size_t count,
                      struct nh_import_outcome *outcomes, struct nh_err *err);

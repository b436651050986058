/*
 * Private to the updater: an archive in a file until it is whole. parts.c knows which bytes have proven themselves and touches no file; cache.c keeps the files.
 *
 * All of cache.c blocks and runs on a worker; one cache belongs to one update.
 */
#pragma once

#include "base/arena.h"
#include "crypto/digest.h"
#include "link/link.h"

#define PART_BYTES ((uint64_t)1 << 20) /* source: reference/device-protocol "8.1" */
#define PART_TRIES 3

/* ---- parts.c */

struct link_parts {
	const nh_slice *hex;      /* checksums of the parts; the file is one part where whole */
	size_t count;
	bool whole;
	uint64_t total;           /* bytes of the file; 0 = unknown */
	uint64_t start;           /* of the part begun; everything before has been verified */
	uint64_t at;              /* bytes taken */
	struct nh_digest_stream *digest; /* of the part begun */
	unsigned tries;           /* failed ones, of the part begun */
};

/* Parts where they are wanted and as many checksums are there as the size asks for; else the file is one part against its own checksum, where there is one. */
void parts_init(struct link_parts *p, const struct nh_link_offer *offer, bool wanted);
void parts_fini(struct link_parts *p);
uint64_t parts_room(const struct link_parts *p);  /* bytes until the part begun ends; UINT64_MAX where that is not known */
/* Takes bytes, at most parts_room. NH_ECONFLICT: they complete the part, and its checksum is another; the part begins anew, at == start. NH_EFORMAT: for the third time. */
nh_rc parts_take(struct link_parts *p, nh_slice bytes, struct nh_err *err);
nh_rc parts_end(struct link_parts *p, struct nh_err *err); /* no more bytes come: as take, for what is left. */
void parts_rewind(struct link_parts *p);                   /* the file is read from its start again */

/* ---- cache.c */

struct link_cache;

/* What becomes of the files when the cache is closed. */
typedef enum cache_fate {
	CACHE_DROP,   /* nothing in them is of use */
	CACHE_KEEP,   /* this update goes on after a restart, by itself */
	CACHE_FORGET, /* the bytes stay for the next offer of this file; the update is over */
} cache_fate;

/*
 * cache_open - makes the folder, removes what is there of other firmware, and takes up what is there of this file: the one that the checksum names, or the entity tag. NH_EINVAL: the uuid is none.
 * NH_ENOSPC: no room for it (the message says how much is missing). NH_EPERM, NH_EIO.
 */
nh_rc cache_open(const char *dir, const struct nh_link_offer *offer, bool parts, struct link_cache **out, struct nh_err *err);
void cache_close(struct link_cache *c, cache_fate fate);  /* NULL legal */
uint64_t cache_size(const struct link_cache *c);          /* bytes there: where the download goes on */
bool cache_sealed(const struct link_cache *c);            /* the file is whole and verified */
nh_slice cache_etag(const struct link_cache *c);          /* of the server that sent them; empty where unknown */
const char *cache_path(const struct link_cache *c);       /* of the sealed file */
/* The answer to a request: its entity tag, and the file's size (0 = unknown). NH_ENOSPC. */
nh_rc cache_expect(struct link_cache *c, nh_slice etag, uint64_t total, struct nh_err *err);
nh_rc cache_rewind(struct link_cache *c, struct nh_err *err); /* the server sends the file from its start */
/* NH_ECONFLICT: a part was bad and has been cut off; go on at cache_size. NH_EFORMAT: for the third time. NH_ENOSPC, NH_EIO. */
nh_rc cache_append(struct link_cache *c, nh_slice bytes, struct nh_err *err);
nh_rc cache_seal(struct link_cache *c, struct nh_err *err);   /* all bytes are there: verified, on the disk, renamed. As append. */
nh_rc cache_read(struct link_cache *c, uint64_t at, size_t size, struct nh_buf *out, struct nh_err *err); /* of the sealed file; shorter at its end */

/*
 * cache_restore - the update that was under way when this process or the machine ended, everything in arena. NH_ENOTFOUND: none, or one that was taken up ten times without coming to an end.
 */
nh_rc cache_restore(const char *dir, struct nh_arena *arena, struct nh_link_offer *out, struct nh_err *err);
/* Removes what there is of a firmware. */
void cache_forget(const char *dir, nh_slice uuid);

/*
 * Object store: firmware files under keys. What is behind it is a table of functions: a folder, or a bucket of S3 and its like. Written in two steps, so that
 * an object is visible whole or not at all: bytes go to an upload, and one commit gives it its key.
 *
 * Keys: [a-z0-9._-] segments joined by '/', at most 512 bytes, no empty segment, none that starts with '.'. Anything else: NH_EINVAL.
 * Uploads that no commit ended are removed when the store is opened again.
 *
 * Outages are NH_EIO (it is away, unreadable or damaged) and NH_ENOSPC: logged once for their episode ("objects.read", "objects.write"), not by callers, and
 * over by themselves. NH_ENOTFOUND is said only of a store that is there. After a failed fsync an upload is thrown away and never synced again.
 *
 * thread: any, all functions block; one upload belongs to one thread at a time.  source: design/architecture "5. Data"
 */
#pragma once

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

struct nh_objects;
struct nh_object_upload;

/*
 * nh_objects_open_dir - file store under path, created with parents where absent. NH_EPERM, NH_ENOSPC, NH_EIO; NH_ECONFLICT: another process has it open
 * (messages name the path).
 */
nh_rc nh_objects_open_dir(const char *path, struct nh_objects **out, struct nh_err *err);

/* Where keys are lent by the machine's cloud. source: Amazon EC2 User Guide, Amazon ECS Developer Guide */
struct nh_s3_role {
	const char *metadata_url;         /* of an instance: "http://169.254.169.254" */
	const char *container_url;        /* of a container's agent, asked instead of the instance's; NULL: there is none */
	const char *container_token;      /* shown to it; NULL: nothing */
	const char *container_token_file; /* the same, read each time; NULL: the text above */
};

/* Everything is copied, except the clock. */
struct nh_s3_config {
	const char *endpoint;       /* "https://s3.eu-central-1.amazonaws.com", "http://127.0.0.1:9000": scheme, host, port; no path */
	const char *region;         /* "eu-central-1" */
	const char *bucket;         /* exists already */
	const char *key_id, *secret; /* both empty or NULL: the role's, and asked for anew before they expire */
	struct nh_s3_role role;
	const char *session_token;  /* NULL: the credentials are not temporary */
	bool bucket_as_host;        /* https://BUCKET.HOST/KEY; else https://HOST/BUCKET/KEY */
	const char *ca_file;        /* PEM; NULL = the system's */
	const char *spool;          /* folder for uploads under way and objects being read; made where absent. What lies in it has no name, so a crash leaves nothing */
	uint64_t part_bytes;        /* larger objects travel in parts of this size; 0 = 16 MiB, at least 5 MiB for S3 itself */
	uint64_t stall_ms;          /* a transfer that moves nothing for so long has failed; 0 = 30 000 */
	const struct nh_clock *clock; /* NULL = the system's. S3 refuses requests of a clock that is 15 minutes wrong */
};

/*
 * nh_objects_open_s3 - store in a bucket that several servers may share. Asks for the bucket once: NH_ENOTFOUND (no such bucket), NH_EAUTH (credentials refused), NH_EINVAL (configuration),
 * NH_EIO (not reachable); messages name endpoint and bucket and never a secret. A request that fails for a passing reason (5xx, connection lost) is made three times in all. Parts of
 * uploads that were begun over a day ago and never ended are given back to the bucket.
 * Objects are read by way of the spool: whoever can should hand out nh_objects_url instead.
 * source: Amazon S3 API Reference: PutObject, GetObject, DeleteObject, ListObjectsV2, HeadBucket, CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload, ListMultipartUploads
 */
nh_rc nh_objects_open_s3(const struct nh_s3_config *config, struct nh_objects **out, struct nh_err *err);

/*
 * nh_objects_url - appends a URL that anybody may GET the object from for ttl_s seconds (1 to 604 800), ranges included, without asking the server here; whether there is such an object
 * is not looked at. Does not block. NH_EUNSUPPORTED: objects of this store have no URL of their own (a folder). NH_EINVAL (key, ttl).
 */
nh_rc nh_objects_url(const struct nh_objects *objects, const char *key, uint64_t ttl_s, struct nh_buf *out, struct nh_err *err);

/*
 * nh_objects_tend - renews what expires (credentials that are lent). A program calls it about every minute; where nothing is due it costs nothing. Blocks; a worker's. Failures are logged,
 * once an episode; what is there serves until it has expired, then requests fail with NH_EAUTH or NH_EIO and objects have no URL.
 */
void nh_objects_tend(struct nh_objects *objects);

void nh_objects_close(struct nh_objects *objects); /* no upload may be open; NULL legal */

/* nh_objects_upload - starts an upload. NH_ENOSPC, NH_EIO. */
nh_rc nh_objects_upload(struct nh_objects *objects, struct nh_object_upload **out, struct nh_err *err);
/* nh_object_upload_write - appends. After a failure only abort is legal. NH_ENOSPC ("… is full"), NH_EIO. */
nh_rc nh_object_upload_write(struct nh_object_upload *upload, nh_slice bytes, struct nh_err *err);
/* nh_object_upload_fd - descriptor at offset 0 for reading back what was written (firmware is inspected before it gets a key). Borrowed until commit
 * or abort; nothing may be written after it. NH_EIO. */
nh_rc nh_object_upload_fd(struct nh_object_upload *upload, int *fd, struct nh_err *err);
/* nh_object_upload_commit - makes it durable (file and folder) under key, replacing what was there; the upload is gone afterwards, also on failure.
 * NH_EINVAL (key), NH_ENOSPC, NH_EIO. */
nh_rc nh_object_upload_commit(struct nh_object_upload *take_upload, const char *key, struct nh_err *err);
void nh_object_upload_abort(struct nh_object_upload *take_upload); /* NULL legal */

/* nh_objects_open_read - descriptor at offset 0 (caller closes) and size. NH_ENOTFOUND, NH_EINVAL (key), NH_EIO. */
nh_rc nh_objects_open_read(struct nh_objects *objects, const char *key, int *fd, uint64_t *size, struct nh_err *err);
/* nh_objects_delete - removes it durably; an absent object is fine. NH_EINVAL (key), NH_EIO. */
nh_rc nh_objects_delete(struct nh_objects *objects, const char *key, struct nh_err *err);
/* nh_objects_list - calls each with every key that starts with prefix, in no order, until it returns false. For finding orphans. NH_EIO. */
nh_rc nh_objects_list(struct nh_objects *objects, const char *prefix, bool (*each)(void *ctx, const char *key, uint64_t size), void *ctx,
                      struct nh_err *err);
struct nh_objects_stats {
	bool available;  /* the latest read was no outage, and no outage of writing came after the latest upload that was committed */
	uint64_t errors; /* calls that failed by an outage */
	uint64_t full;   /* those of them that found no room */
};
void nh_objects_stats(const struct nh_objects *objects, struct nh_objects_stats *out); /* any thread */
/* nh_objects_key_valid - is it a legal key? */
bool nh_objects_key_valid(const char *key);

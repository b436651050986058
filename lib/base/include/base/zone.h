/*
 * Time zones by their IANA names ("Europe/Berlin"), read from the system's TZif files by a reader of our own: libc knows one zone at a time, that of the process, and is told of another
 * by an environment variable, which is no way for threads.
 *
 * A zone is immutable; NULL is UTC everywhere. thread: any. source: RFC 8536
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"

struct nh_zone;

#define NH_ZONE_NAME_MAX 64
#define NH_ZONE_FILE_MAX ((size_t)64 << 10)

/* nh_zone_name_ok - pure: may it name a zone? Letters, digits and _ + - in parts with / between them, no part empty or beginning with a dot: no path leads out of the folder. */
bool nh_zone_name_ok(nh_slice name);

/*
 * nh_zone_find - the zone of that name; loaded once, then it stays for the program's life. *out NULL: UTC (and "Etc/UTC"), which needs no file. NH_EINVAL: no such name; NH_ENOTFOUND: the system
 * has no such zone (or no tzdata); NH_EFORMAT: its file is not TZif; NH_ETOOBIG: more than 600 zones are loaded.
 */
nh_rc nh_zone_find(nh_slice name, const struct nh_zone **out, struct nh_err *err);

/* nh_zone_parse - the bytes of a TZif file, versions 1 to 4. NH_EFORMAT. The caller's: nh_zone_free. */
nh_rc nh_zone_parse(nh_slice tzif, struct nh_zone **out, struct nh_err *err);
void nh_zone_free(struct nh_zone *zone);

/* nh_zone_offset_s - what is added to UTC at that moment (seconds since 1970), in seconds; zone NULL: 0. */
int32_t nh_zone_offset_s(const struct nh_zone *zone, int64_t utc_s);

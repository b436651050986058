/*
 * Who knows where an address lies: nobody, one place for all, or a database in MaxMind's format (GeoIP2, GeoLite2 and others), which is mapped once and read by any thread.
 * A file that is replaced is noticed at the next start; it must be replaced by renaming, as geoipupdate does, and never be cut while it is mapped.
 */
#pragma once

#include "hub/extensions.h"

struct geo;

/*
 * geo_open - setting: "none", "static:LATITUDE,LONGITUDE" in degrees, or "maxmind:FILE". *out NULL for none. NH_EINVAL: none of these, or no place on earth. NH_ENOTFOUND,
 * NH_EFORMAT: the file cannot be read, or is no such database; the message says what to do. thread: main.
 */
nh_rc geo_open(const char *setting, struct geo **out, struct nh_err *err);
void geo_close(struct geo *geo); /* NULL legal; nobody may be asking */
const struct nh_geo_resolver *geo_resolver(const struct geo *geo); /* NULL for NULL */

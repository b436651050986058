/*
 * Resolvers of addresses to places.
 */
#include "geo.h"

#include <arpa/inet.h>
#include <maxminddb.h>
#include <math.h>
#include <stdlib.h>

#include "base/log.h"

#define EARTH_RADIUS_MAX_KM 20038 /* half way around: more is no accuracy */

struct geo {
	struct nh_geo_resolver resolver;
	double latitude, longitude; /* static */
	MMDB_s database;
	bool mapped;
};

static bool on_earth(double latitude, double longitude)
{
	return isfinite(latitude) && isfinite(longitude) && fabs(latitude) <= 90 && fabs(longitude) <= 180;
}

/* ---- one place for all ------------------------------------------------------------------------------------------------------ */

static bool locate_static(void *ctx, nh_slice remote_address, double *latitude, double *longitude, uint32_t *accuracy_m, const char **source)
{
	const struct geo *geo = ctx;
	*latitude = geo->latitude;
	*longitude = geo->longitude;
	*accuracy_m = 0;
	*source = "static";
	return true;
}

static bool read_degrees(nh_slice text, double *out)
{
	NH_AUTO_JSON json_t *number = NULL;
	if (nh_json_parse(nh_slice_trim(text), 64, &number, NULL) != NH_OK || !json_is_number(number))
		return false;
	*out = json_number_value(number);
	return true;
}

static nh_rc open_static(struct geo *geo, nh_slice place, struct nh_err *err)
{
	nh_slice latitude, longitude;
	geo->resolver = (struct nh_geo_resolver){.ctx = geo, .locate = locate_static};
	if (nh_slice_cut(place, ',', &latitude, &longitude) && read_degrees(latitude, &geo->latitude) && read_degrees(longitude, &geo->longitude) &&
	    on_earth(geo->latitude, geo->longitude))
		return NH_OK;
	return NH_FAIL(err, NH_EINVAL, "GEO_RESOLVER: '%.*s' is no place; expected static:LATITUDE,LONGITUDE in degrees, such as static:52.52,13.40", NH_ARG(place));
}

/* ---- a database ------------------------------------------------------------------------------------------------------------- */

static bool to_sockaddr(nh_slice text, struct sockaddr_storage *out)
{
	char address[INET6_ADDRSTRLEN + 1] = "";
	*out = (struct sockaddr_storage){0};
	if (text.len >= sizeof address)
		return false;
	for (size_t i = 0; i < text.len; i++)
		address[i] = (char)text.ptr[i];
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		return true;
	}
	v6->sin6_family = AF_INET6;
	return inet_pton(AF_INET6, address, &v6->sin6_addr) == 1;
}

static bool read_double(MMDB_entry_s *entry, const char *name, double *out)
{
	MMDB_entry_data_s data;
	const char *const path[] = {"location", name, NULL};
	if (MMDB_aget_value(entry, &data, path) != MMDB_SUCCESS || !data.has_data || data.type != MMDB_DATA_TYPE_DOUBLE)
		return false;
	*out = data.double_value;
	return true;
}

static uint32_t read_accuracy_m(MMDB_entry_s *entry)
{
	MMDB_entry_data_s data;
	const char *const path[] = {"location", "accuracy_radius", NULL};
	if (MMDB_aget_value(entry, &data, path) != MMDB_SUCCESS || !data.has_data || data.type != MMDB_DATA_TYPE_UINT16 || data.uint16 > EARTH_RADIUS_MAX_KM)
		return 0;
	return (uint32_t)data.uint16 * 1000;
}

static bool locate_in_database(void *ctx, nh_slice remote_address, double *latitude, double *longitude, uint32_t *accuracy_m, const char **source)
{
	const struct geo *geo = ctx;
	struct sockaddr_storage address;
	int status = MMDB_SUCCESS;
	if (!to_sockaddr(remote_address, &address))
		return false;
	MMDB_lookup_result_s found = MMDB_lookup_sockaddr(&geo->database, (const struct sockaddr *)&address, &status);
	if (status != MMDB_SUCCESS || !found.found_entry || !read_double(&found.entry, "latitude", latitude) || !read_double(&found.entry, "longitude", longitude))
		return false;
	*accuracy_m = read_accuracy_m(&found.entry);
	*source = "geoip";
	return on_earth(*latitude, *longitude);
}

static nh_rc open_database(struct geo *geo, const char *file, struct nh_err *err)
{
	int status = MMDB_open(file, MMDB_MODE_MMAP, &geo->database);
	geo->mapped = status == MMDB_SUCCESS;
	if (!geo->mapped)
		return NH_FAIL(err, status == MMDB_FILE_OPEN_ERROR ? NH_ENOTFOUND : NH_EFORMAT,
		               "GEO_RESOLVER: cannot use '%s': %s. It has to be a City database in MaxMind's format (geoipupdate fetches one); GEO_RESOLVER=none does without",
		               file, MMDB_strerror(status));
	geo->resolver = (struct nh_geo_resolver){.ctx = geo, .locate = locate_in_database};
	NH_LOG(NH_LOG_INFO, "geo.database", NH_STR("file", file), NH_STR("type", geo->database.metadata.database_type),
	       NH_I("built", (int64_t)geo->database.metadata.build_epoch));
	return NH_OK;
}

/* ---- all --------------------------------------------------------------------------------------------------------------------- */

nh_rc geo_open(const char *setting, struct geo **out, struct nh_err *err)
{
	nh_slice kind, rest;
	*out = NULL;
	nh_slice_cut(nh_slice_str(setting), ':', &kind, &rest);
	if (nh_slice_eq_str(nh_slice_str(setting), "none"))
		return NH_OK;
	struct geo *geo = nh_xcalloc(1, sizeof *geo);
	nh_rc rc;
	if (nh_slice_eq_str(kind, "static"))
		rc = open_static(geo, rest, err);
	else if (nh_slice_eq_str(kind, "maxmind") && rest.len > 0)
		rc = open_database(geo, (const char *)rest.ptr, err);
	else
		rc = NH_FAIL(err, NH_EINVAL, "GEO_RESOLVER is '%s'; expected none, static:LATITUDE,LONGITUDE or maxmind:FILE", setting);
	if (rc == NH_OK)
		*out = geo;
	else
		geo_close(geo);
	return rc;
}

void geo_close(struct geo *geo)
{
	if (geo && geo->mapped)
		MMDB_close(&geo->database);
	free(geo);
}

const struct nh_geo_resolver *geo_resolver(const struct geo *geo) { return geo ? &geo->resolver : NULL; }

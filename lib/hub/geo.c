/*
 * Where a device is: as it says itself, or as its address tells whoever was asked. Kept with the connection, so a new connection begins without.
 *
 * source: reference/device-protocol "12.3"; reference/server-behaviour "7.4"
 */
#include <math.h>

#include "input_int.h"
#include "rollout_int.h"
#include "telemetry_int.h"

#define TEXT_MAX 255

static bool number_between(const json_t *value, double least, double most)
{
	double number = json_number_value(value);
	return json_is_number(value) && isfinite(number) && number >= least && number <= most;
}

static bool copy_text(json_t *to, const json_t *from, const char *key)
{
	nh_slice text = nh_json_text(from, key);
	return text.len > 0 && nh_input_text_ok(text, TEXT_MAX) && json_object_set_new(to, key, nh_json_new_text(text)) == 0;
}

/* Either coordinates, with source and accuracy where they make sense, or the reason why there are none. NULL: neither. */
static json_t *read_location(const json_t *payload)
{
	json_t *location = json_object();
	json_t *latitude = json_object_get(payload, "latitude"), *longitude = json_object_get(payload, "longitude"), *accuracy = json_object_get(payload, "accuracy");
	if (number_between(latitude, -90, 90) && number_between(longitude, -180, 180)) {
		json_object_set(location, "latitude", latitude);
		json_object_set(location, "longitude", longitude);
		if (number_between(accuracy, 0, 1e9))
			json_object_set(location, "accuracy", accuracy);
		copy_text(location, payload, "source");
		return location;
	}
	if (copy_text(location, payload, "error_code")) {
		copy_text(location, payload, "error_description");
		return location;
	}
	json_decref(location);
	return NULL;
}

nh_rc nh_geo_update(struct nh_ctx *ctx, struct nh_told *told, struct nh_err *err)
{
	json_t *location = read_location(told->payload);
	if (!location) {
		told->ignored++;
		return NH_OK;
	}
	nh_device_topic(ctx, told->session->device_id);
	return nh_session_note(ctx, told->session, told->metadata, "location", location, err);
}

nh_rc nh_geo_observe(struct nh_ctx *ctx, const struct nh_session *session, const struct nh_geo_resolver *resolver, nh_slice remote_address, struct nh_err *err)
{
	double latitude, longitude;
	uint32_t accuracy_m = 0;
	const char *source = NULL;
	nh_slice metadata;
	if (!resolver || !resolver->locate(resolver->ctx, remote_address, &latitude, &longitude, &accuracy_m, &source))
		return NH_OK;
	NH_TRY(nh_session_live(ctx, session, &metadata, err));
	NH_AUTO_JSON json_t *known = NULL;
	if (nh_json_parse(metadata, (size_t)64 << 10, &known, NULL) == NH_OK && json_object_get(known, "location"))
		return NH_OK;
	json_t *location = json_pack("{s:f, s:f, s:s}", "latitude", latitude, "longitude", longitude, "source", source);
	if (accuracy_m > 0)
		json_object_set_new(location, "accuracy", json_integer(accuracy_m));
	return nh_session_note(ctx, session, metadata, "location", location, err);
}

/*
 * The geo extension: where the device is, when asked; a place the owner wrote down, or what a program says. source: reference/device-protocol "12.3"
 */
#include "extras_int.h"

#define COMMAND_MS 30000
#define ANSWER_MAX 4096

static void refuse(struct nh_link *l, const char *code, const char *text)
{
	extensions_push(l, "geo:location:update", json_pack("{s:s, s:o}", "error_code", code, "error_description", nh_json_new_text(nh_slice_str(text))));
}

static void answer(struct nh_link *l, const char *source, double latitude, double longitude, double accuracy)
{
	json_t *p = json_pack("{s:s, s:f, s:f}", "source", source, "latitude", latitude, "longitude", longitude);
	if (accuracy > 0)
		json_object_set_new(p, "accuracy", json_real(accuracy));
	extensions_push(l, "geo:location:update", p);
}

static bool coordinate(const json_t *place, const char *name, double max, double *out)
{
	const json_t *v = json_object_get(place, name);
	*out = json_number_value(v);
	return json_is_number(v) && *out >= -max && *out <= max;
}

static void on_end(void *ctx, const struct program_end *end)
{
	struct nh_link *l = ctx;
	double latitude, longitude;
	NH_AUTO_JSON json_t *place = NULL;
	l->extras->geo_program = NULL;
	if (end->rc != NH_OK || end->status != 0) {
		refuse(l, "COMMAND_FAILED", end->rc == NH_ETIMEOUT ? "the command took too long" : "the command failed");
		return;
	}
	if (nh_json_parse(nh_slice_trim(end->output), ANSWER_MAX, &place, NULL) != NH_OK || !coordinate(place, "latitude", 90, &latitude) || !coordinate(place, "longitude", 180, &longitude)) {
		refuse(l, "UNKNOWN_PLACE", "the command printed no latitude and longitude");
		return;
	}
	const char *source = json_string_value(json_object_get(place, "source"));
	answer(l, source ? source : "command", latitude, longitude, json_number_value(json_object_get(place, "accuracy")));
}

void geo_event(struct nh_link *l, nh_slice event, const json_t *payload)
{
	const struct nh_link_extensions *k = &l->extras->config;
	struct nh_err err = NH_ERR_INIT;
	if (!nh_slice_eq_str(event, "location:request") || l->extras->geo_program)
		return;
	if (k->geo_fixed) {
		answer(l, "static", k->latitude, k->longitude, k->accuracy_m);
		return;
	}
	struct program_config config = {.argv = k->geo_argv, .timeout_ms = COMMAND_MS, .output_max = ANSWER_MAX, .on_end = on_end, .ctx = l};
	if (program_start(&l->extras->programs, &config, &l->extras->geo_program, &err) != NH_OK)
		refuse(l, "COMMAND_FAILED", err.msg);
}

void geo_detached(struct nh_link *l, bool lost)
{
	program_stop(l->extras->geo_program);
	l->extras->geo_program = NULL;
}

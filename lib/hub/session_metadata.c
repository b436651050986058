/*
 * What firmware does a device say it runs? Reads the join payload of Nerves devices and of ESP-IDF devices into one shape. Pure.
 *
 * Every value is the device's word: wrong types and overlong texts count as absent, nothing here fails.
 * source: reference/device-protocol "7.1" to "7.3"; reference/server-behaviour "2.5", "4.7"
 */
#include <stdio.h>

#include "base/encode.h"
#include "base/semver.h"
#include "session_int.h"

#define VALUE_MAX 1024

static nh_slice text(const json_t *payload, const char *key)
{
	nh_slice value = nh_json_text(payload, key);
	return value.len <= VALUE_MAX && nh_slice_chr(value, 0) < 0 ? value : NH_SLICE_EMPTY;
}

static void read_fwup(const json_t *p, struct nh_arena *arena, struct nh_reported *out)
{
	out->uuid = text(p, "nerves_fw_uuid");
	out->product = text(p, "nerves_fw_product");
	out->version = text(p, "nerves_fw_version");
	out->platform = text(p, "nerves_fw_platform");
	out->architecture = text(p, "nerves_fw_architecture");
	out->author = text(p, "nerves_fw_author");
	out->description = text(p, "nerves_fw_description");
	out->vcs_identifier = text(p, "nerves_fw_vcs_identifier");
	out->misc = text(p, "nerves_fw_misc");
	out->fwup_version = text(p, "fwup_version");
}

/* ---- ESP-IDF --------------------------------------------------------------------------------------------------------------- */

static const struct {
	int64_t id;
	const char *platform, *architecture;
} chips[] = {
	{0, "esp32", "xtensa"},    {2, "esp32s2", "xtensa"},  {5, "esp32c3", "riscv"},  {9, "esp32s3", "xtensa"}, {12, "esp32c2", "riscv"},
	{13, "esp32c6", "riscv"},  {16, "esp32h2", "riscv"},  {18, "esp32p4", "riscv"}, {23, "esp32c5", "riscv"},
};

static void read_chip(const json_t *p, struct nh_arena *arena, struct nh_reported *out)
{
	const json_t *value = json_object_get(p, "esp_idf_chip_id");
	int64_t id = -1;
	if (json_is_integer(value))
		id = json_integer_value(value);
	else if (nh_parse_i64(nh_json_text(p, "esp_idf_chip_id"), 0, UINT16_MAX, &id) != NH_OK)
		return;
	for (size_t i = 0; i < NH_ARRAY_LEN(chips); i++) {
		if (chips[i].id == id) {
			out->platform = nh_slice_str(chips[i].platform);
			out->architecture = nh_slice_str(chips[i].architecture);
			return;
		}
	}
	out->platform = nh_slice_str(nh_arena_printf(arena, "esp32-%lld", (long long)id));
	out->architecture = NH_LIT("unknown");
}

/* "v1" → 1.0.0, "1.2" → 1.2.0, "1.2.3.4" → 1.2.3+4 */
static nh_slice esp_version(struct nh_arena *arena, nh_slice version)
{
	if (version.len > 0 && (version.ptr[0] == 'v' || version.ptr[0] == 'V'))
		version = nh_slice_skip(version, 1);
	size_t dots = 0, third = 0;
	for (size_t i = 0; i < version.len; i++) {
		if (version.ptr[i] == '.' && ++dots == 3)
			third = i;
	}
	if (version.len == 0)
		return version;
	if (dots < 2)
		return nh_slice_str(nh_arena_printf(arena, dots ? "%.*s.0" : "%.*s.0.0", NH_ARG(version)));
	if (dots == 3)
		return nh_slice_str(nh_arena_printf(arena, "%.*s+%.*s", (int)third, (const char *)version.ptr, NH_ARG(nh_slice_skip(version, third + 1))));
	return version;
}

static void read_esp_idf(const json_t *p, struct nh_arena *arena, struct nh_reported *out)
{
	struct nh_uuid uuid;
	nh_slice sha = text(p, "esp_idf_app_elf_sha256");
	if (sha.len == 64 && nh_hex_decode_fixed(nh_slice_sub(sha, 0, 32), uuid.bytes, sizeof(uuid.bytes)) == NH_OK) {
		char *formatted = nh_arena_alloc(arena, NH_UUID_TEXT_LEN + 1);
		nh_uuid_format(&uuid, formatted);
		out->uuid = nh_slice_str(formatted);
	}
	out->product = text(p, "esp_idf_project_name");
	out->version = esp_version(arena, text(p, "esp_idf_version"));
	read_chip(p, arena, out);
	nh_slice idf = text(p, "esp_idf_ver");
	if (idf.len > 0)
		out->description = nh_slice_str(nh_arena_printf(arena, "ESP-IDF %.*s", NH_ARG(idf)));
}

/* ---- both ------------------------------------------------------------------------------------------------------------------ */

static bool is_esp_idf(const json_t *p)
{
	nh_slice tool = nh_json_text(p, "update_tool");
	if (nh_slice_eq_str(tool, "fwup") || nh_slice_eq_str(tool, "esp-idf"))
		return nh_slice_eq_str(tool, "esp-idf");
	if (json_object_get(p, "nerves_fw_uuid"))
		return false;
	return json_object_get(p, "esp_idf_app_elf_sha256") || json_object_get(p, "esp_idf_project_name");
}

bool nh_reported_complete(const struct nh_reported *r)
{
	return r->uuid.len > 0 && r->product.len > 0 && r->version.len > 0 && r->platform.len > 0 && r->architecture.len > 0;
}

static int flag(const json_t *meta, const char *key)
{
	const json_t *value = json_object_get(meta, key);
	return json_is_boolean(value) ? json_is_true(value) : -1;
}

void nh_reported_read(const json_t *payload, struct nh_arena *arena, struct nh_reported *out)
{
	struct nh_semver api;
	*out = (struct nh_reported){0};
	if (is_esp_idf(payload))
		read_esp_idf(payload, arena, out);
	else
		read_fwup(payload, arena, out);

	const json_t *meta = json_object_get(payload, "meta");
	int validated = flag(meta, "firmware_validated");
	out->validation = validated < 0 ? NH_VALIDATION_UNKNOWN : validated ? NH_VALIDATION_VALIDATED : NH_VALIDATION_NOT_VALIDATED;
	out->reverted = flag(meta, "firmware_auto_revert_detected") > 0;
	out->downloading = text(payload, "currently_downloading_uuid").len > 0;
	out->names_tool = nh_json_text(payload, "update_tool").len > 0;
	out->wants_fwup_keys = nh_slice_eq_str(nh_json_text(payload, "fwup_public_keys"), "on_connect");
	out->wants_archive_keys = nh_slice_eq_str(nh_json_text(payload, "archive_public_keys"), "on_connect");

	/* Missing or not a version: 1.0.0. A pre-release is lower than its release. source: device-protocol "7.3", "17.2" */
	out->api_version = text(payload, "device_api_version");
	if (out->api_version.len == 0 || nh_semver_parse(out->api_version, &api) != NH_OK) {
		out->api_version = NH_LIT("1.0.0");
		return;
	}
	out->api_2_0 = nh_semver_cmp(&api, &(struct nh_semver){.major = 2}) >= 0;
	out->api_2_1 = nh_semver_cmp(&api, &(struct nh_semver){.major = 2, .minor = 1}) >= 0;
	out->api_2_2 = nh_semver_cmp(&api, &(struct nh_semver){.major = 2, .minor = 2}) >= 0;
}

nh_slice nh_reported_json(const struct nh_reported *r, struct nh_arena *arena)
{
	const struct {
		const char *key;
		nh_slice value;
	} fields[] = {
		{"uuid", r->uuid},       {"product", r->product},         {"version", r->version},
		{"platform", r->platform}, {"architecture", r->architecture}, {"author", r->author},
		{"description", r->description}, {"fwup_version", r->fwup_version}, {"vcs_identifier", r->vcs_identifier},
		{"misc", r->misc},
	};
	NH_AUTO_JSON json_t *object = json_object();
	for (size_t i = 0; i < NH_ARRAY_LEN(fields); i++)
		json_object_set_new(object, fields[i].key, nh_json_new_text(fields[i].value));
	return nh_json_arena(arena, object);
}

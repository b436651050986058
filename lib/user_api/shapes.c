/*
 * The shapes of what render.c renders, and of what several routes read or answer. Whoever changes a renderer changes its shape: the tests hold every answer against it.
 *
 * source: reference/user-api-and-cli "5", "7" to "14"
 */
#include <stddef.h>

#include "shapes.h"

#define ZONELESS "UTC, without a zone: 2026-01-02T03:04:05"
#define MOMENT "date-time"

const char *const words_roles[] = {"view", "manage", "admin", NULL};
const char *const words_services[] = {"iroh", "netbird", "tailscale", "wireguard", NULL};
const char *const words_interfaces[] = {"wifi", "ethernet", "cellular", "unknown", NULL};
const char *const words_tag_operators[] = {"and", "or", NULL};
static const char *const words_tools[] = {"fwup", "esp-idf", NULL};
static const char *const words_schemes[] = {"ed25519", "secure_boot_v2_rsa", NULL};
static const char *const words_connection[] = {"connected", "connecting", "disconnected", "not_seen", NULL};
static const char *const words_states[] = {"on", "off", NULL};
static const char *const words_health[] = {"unknown", "healthy", "warning", "unhealthy", NULL};
static const char *const words_sources[] = {"device_reported", "operator", NULL};
static const char *const words_owners[] = {"device", "user", "none", NULL};
static const char *const words_refused[] = {"Unauthorized", NULL};

/* ---- pages --------------------------------------------------------------------------------------------------------------- */

static SHAPE(page_numbers, "PageNumbers", {"page_number", FIELD_INTEGER}, {"page_size", FIELD_INTEGER}, {"total_entries", FIELD_INTEGER}, {"total_pages", FIELD_INTEGER});
SHAPE(shape_pages, "Pages", {"pagination", FIELD_OBJECT, 0, &page_numbers});

static SHAPE(page_next, "PageNext", {"page_size", FIELD_INTEGER},
             {"next", FIELD_TEXT, FIELD_NULLABLE, .about = "What to ask with next, as `before` or, where a list begins with the oldest, as `from`; null: there is no more"});
SHAPE(shape_next, "Next", {"pagination", FIELD_OBJECT, 0, &page_next});

SHAPE(shape_page_wanted, "PageWanted", {"page", FIELD_INTEGER, FIELD_OPTIONAL, .about = "From 1, which is also the default"}, {"page_size", FIELD_INTEGER, FIELD_OPTIONAL});

/* ---- organizations and people --------------------------------------------------------------------------------------------- */

SHAPE(shape_extensions, "Extensions", {"health", FIELD_BOOLEAN}, {"geo", FIELD_BOOLEAN}, {"logging", FIELD_BOOLEAN}, {"local_shell", FIELD_BOOLEAN}, {"network_identity", FIELD_BOOLEAN});
SHAPE(shape_extensions_change, "ExtensionsChange", {"health", FIELD_BOOLEAN, FIELD_OPTIONAL}, {"geo", FIELD_BOOLEAN, FIELD_OPTIONAL}, {"logging", FIELD_BOOLEAN, FIELD_OPTIONAL},
      {"local_shell", FIELD_BOOLEAN, FIELD_OPTIONAL}, {"network_identity", FIELD_BOOLEAN, FIELD_OPTIONAL});

SHAPE(shape_product, "Product", {"name", FIELD_TEXT}, {"require_unique_firmware_version", FIELD_BOOLEAN}, {"allowed_update_tools", FIELD_TEXT, FIELD_LIST, .words = words_tools},
      {"allow_unsigned_esp_idf_firmware", FIELD_BOOLEAN}, {"extensions", FIELD_OBJECT, 0, &shape_extensions, .about = "Of all devices of the product"});

SHAPE(shape_org, "Organization", {"name", FIELD_TEXT}, {"personal", FIELD_BOOLEAN}, {"inserted_at", FIELD_TEXT, .about = ZONELESS}, {"updated_at", FIELD_TEXT, .about = ZONELESS},
      {"products", FIELD_OBJECT, FIELD_LIST | FIELD_OPTIONAL, &shape_product, .about = "Where they were asked for"});

SHAPE(shape_user, "User", {"name", FIELD_TEXT}, {"email", FIELD_TEXT});
SHAPE(shape_member, "Member", {"name", FIELD_TEXT}, {"email", FIELD_TEXT}, {"role", FIELD_TEXT, .words = words_roles});
SHAPE(shape_key, "SigningKey", {"name", FIELD_TEXT}, {"key", FIELD_TEXT, .about = "The public key"}, {"scheme", FIELD_TEXT, .words = words_schemes});

SHAPE(shape_secret, "SharedSecret", {"key", FIELD_TEXT}, {"inserted_at", FIELD_TEXT, .format = MOMENT}, {"deactivated_at", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT},
      {"secret", FIELD_TEXT, FIELD_OPTIONAL, .about = "Once, when it was made"});

/* ---- certificates --------------------------------------------------------------------------------------------------------- */

static SHAPE(jitp, "JustInTimeProvisioning", {"product_name", FIELD_TEXT, FIELD_NULLABLE}, {"tags", FIELD_TEXT, FIELD_LIST}, {"description", FIELD_TEXT, FIELD_NULLABLE});

SHAPE(shape_ca, "CaCertificate", {"serial", FIELD_TEXT, .about = "In decimal"}, {"not_before", FIELD_TEXT, .format = MOMENT}, {"not_after", FIELD_TEXT, .format = MOMENT},
      {"description", FIELD_TEXT, FIELD_NULLABLE}, {"check_expiration", FIELD_BOOLEAN, .about = "Are devices that it signed refused once it is over?"},
      {"jitp", FIELD_OBJECT, FIELD_NULLABLE, &jitp});

SHAPE(shape_certificate, "DeviceCertificate", {"serial", FIELD_TEXT, .about = "In decimal"}, {"not_before", FIELD_TEXT, .format = MOMENT}, {"not_after", FIELD_TEXT, .format = MOMENT});

/* ---- files ---------------------------------------------------------------------------------------------------------------- */

#define SIGNED_FILE                                                                                                                                                                          \
	{"uuid", FIELD_TEXT}, {"version", FIELD_TEXT}, {"platform", FIELD_TEXT}, {"architecture", FIELD_TEXT}, {"author", FIELD_TEXT, FIELD_NULLABLE}, {"product", FIELD_TEXT},               \
		{"description", FIELD_TEXT, FIELD_NULLABLE}, {"vcs_identifier", FIELD_TEXT, FIELD_NULLABLE}, {"misc", FIELD_TEXT, FIELD_NULLABLE}, {"inserted_at", FIELD_TEXT, .about = ZONELESS}, \
		{"updated_at", FIELD_TEXT, .about = ZONELESS}

SHAPE(shape_firmware, "Firmware", SIGNED_FILE, {"tool", FIELD_TEXT, .words = words_tools});
SHAPE(shape_archive, "Archive", SIGNED_FILE, {"size", FIELD_INTEGER, .about = "In bytes"});

const struct answer file_answers[] = {
	{206, "application/octet-stream", .about = "The part that was asked for"},
	{302, "", .about = "Where the bytes are, without a token"},
	{304, "", .about = "As the client has it already"},
	{416, "", .about = "There is no such part"},
	{0},
};

/* ---- support scripts ------------------------------------------------------------------------------------------------------ */

static SHAPE(script_creator, "ScriptCreator", {"id", FIELD_ID}, {"name", FIELD_TEXT}, {"email", FIELD_TEXT});
SHAPE(shape_script_row, "ScriptSummary", {"id", FIELD_ID}, {"name", FIELD_TEXT}, {"tags", FIELD_TAGS, FIELD_NULLABLE});
SHAPE(shape_script, "Script", {"id", FIELD_ID}, {"name", FIELD_TEXT}, {"tags", FIELD_TAGS, FIELD_NULLABLE}, {"text", FIELD_TEXT}, {"inserted_at", FIELD_TEXT, .about = ZONELESS},
      {"updated_at", FIELD_TEXT, .about = ZONELESS}, {"created_by", FIELD_OBJECT, FIELD_NULLABLE, &script_creator});

/* ---- devices and deployment groups ---------------------------------------------------------------------------------------- */

#define TEXT_OR_NULL(name) {(name), FIELD_TEXT, FIELD_NULLABLE}

static SHAPE(firmware_metadata, "FirmwareMetadata", TEXT_OR_NULL("id"), TEXT_OR_NULL("uuid"), TEXT_OR_NULL("product"), TEXT_OR_NULL("version"), TEXT_OR_NULL("architecture"),
             TEXT_OR_NULL("platform"), TEXT_OR_NULL("author"), TEXT_OR_NULL("description"), TEXT_OR_NULL("fwup_version"), TEXT_OR_NULL("vcs_identifier"), TEXT_OR_NULL("misc"));
static SHAPE(group_of_device, "DeploymentGroupOfDevice", TEXT_OR_NULL("name"), {"is_active", FIELD_BOOLEAN}, TEXT_OR_NULL("firmware_uuid"), TEXT_OR_NULL("firmware_version"));

SHAPE(shape_device, "Device", {"identifier", FIELD_TEXT}, TEXT_OR_NULL("description"), {"tags", FIELD_TEXT, FIELD_LIST | FIELD_NULLABLE},
      {"online", FIELD_TEXT, .words = words_connection, .about = "The same as connection_status"}, {"connection_status", FIELD_TEXT, .words = words_connection},
      {"firmware_metadata", FIELD_OBJECT, FIELD_NULLABLE, &firmware_metadata}, {"version", FIELD_TEXT, .about = "Of its firmware, or `unknown`"},
      {"deployment_group", FIELD_OBJECT, FIELD_NULLABLE, &group_of_device}, {"updates_enabled", FIELD_BOOLEAN},
      {"updates_blocked_until", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT, .about = "The end of its time in the penalty box"}, {"org_name", FIELD_TEXT}, {"product_name", FIELD_TEXT},
      {"last_communication", FIELD_TEXT, .about = "2026-01-02 03:04:05.678901Z, or `never`"}, {"deleted", FIELD_BOOLEAN},
      {"last_failure", FIELD_TEXT, FIELD_NULLABLE, .about = "Why its latest update did not succeed"}, {"last_failure_at", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT},
      {"extensions", FIELD_OBJECT, 0, &shape_extensions, .about = "What was not switched off for it; the product decides first"});

static SHAPE(release_firmware, "ReleaseFirmware", {"version", FIELD_TEXT}, {"architecture", FIELD_TEXT}, {"platform", FIELD_TEXT}, {"uuid", FIELD_TEXT});
static SHAPE(release, "Release", {"number", FIELD_INTEGER}, {"firmware", FIELD_OBJECT, 0, &release_firmware}, {"inserted_at", FIELD_TEXT, .about = ZONELESS},
             {"updated_at", FIELD_TEXT, .about = ZONELESS});
static SHAPE(conditions, "DeploymentConditions", {"version", FIELD_TEXT, .about = "A version requirement; empty: any"}, {"tags", FIELD_TEXT, FIELD_LIST},
             {"tag_operator", FIELD_TEXT, .words = words_tag_operators});

SHAPE(shape_group, "DeploymentGroup", {"name", FIELD_TEXT}, {"is_active", FIELD_BOOLEAN}, {"state", FIELD_TEXT, .words = words_states}, {"firmware_uuid", FIELD_TEXT},
      {"current_release", FIELD_OBJECT, 0, &release}, TEXT_OR_NULL("archive_uuid"), {"conditions", FIELD_OBJECT, 0, &conditions}, {"delta_updatable", FIELD_BOOLEAN},
      {"delta_wait_minutes", FIELD_INTEGER, .about = "How long a device waits at most for its delta while that is built, before it gets the whole firmware"},
      {"device_count", FIELD_INTEGER}, {"releases_count", FIELD_INTEGER}, TEXT_OR_NULL("notes"));

/* All of an answer that refuses to name a device. */
SHAPE(shape_status, "Status", {"status", FIELD_TEXT, .words = words_refused});

/* ---- telemetry ------------------------------------------------------------------------------------------------------------ */

static SHAPE(crossed, "CrossedThreshold", {"value", FIELD_NUMBER}, {"threshold", FIELD_NUMBER});
static SHAPE(reasons, "HealthReasons", {"warning", FIELD_MAP, FIELD_OPTIONAL, &crossed}, {"unhealthy", FIELD_MAP, FIELD_OPTIONAL, &crossed});

SHAPE(shape_health, "Health", {"at", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT, .about = "null: there was no report"}, {"status", FIELD_TEXT, .words = words_health},
      {"status_reasons", FIELD_OBJECT, FIELD_NULLABLE, &reasons}, {"alarms", FIELD_MAP, .about = "Name to description"},
      {"metrics", FIELD_MAP, FIELD_NULLABLE, .about = "As the device told them"}, {"report", FIELD_MAP, FIELD_NULLABLE, .about = "As the device told it"});

SHAPE(shape_log_line, "LogLine", {"at", FIELD_TEXT, .format = MOMENT}, {"level", FIELD_TEXT}, {"message", FIELD_TEXT}, {"meta", FIELD_MAP, FIELD_NULLABLE, .about = "As the device told it"});

#define IDENTITY                                                                                                                                                                      \
	{"identifier", FIELD_TEXT}, {"service", FIELD_TEXT, .words = words_services}, {"instance", FIELD_TEXT}, {"source", FIELD_TEXT, .words = words_sources}, {"details", FIELD_MAP}, \
		{"last_reported_at", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT}, {"inserted_at", FIELD_TEXT, .about = ZONELESS}, {"updated_at", FIELD_TEXT, .about = ZONELESS}

SHAPE(shape_network_identity, "NetworkIdentity", IDENTITY);
static SHAPE(owner, "IrohOwner", {"type", FIELD_TEXT, .words = words_owners}, TEXT_OR_NULL("device_identifier"), TEXT_OR_NULL("user_name"), TEXT_OR_NULL("user_email"));
SHAPE(shape_iroh_endpoint, "IrohEndpoint", IDENTITY, {"owner", FIELD_OBJECT, 0, &owner});

SHAPE(shape_past_connection, "Connection", {"id", FIELD_TEXT}, {"established_at", FIELD_TEXT, .format = MOMENT},
      {"disconnected_at", FIELD_TEXT, FIELD_NULLABLE, .format = MOMENT, .about = "null: it stands"}, TEXT_OR_NULL("disconnected_reason"), TEXT_OR_NULL("network_interface"));

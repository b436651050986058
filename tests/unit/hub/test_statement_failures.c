/*
 * Every statement of every function that writes fails in turn, and then the commit: the code that comes out is the outage's, and the database is byte by byte
 * what it was before. A function that overlooks a failed statement would commit the rest. The steps build on each other: what one made, the next ones change.
 */
#include <string.h>

#include "rollout_pki.h"

#include "hub/archives.h"
#include "hub/certificates.h"
#include "hub/extensions.h"
#include "hub/firmware.h"
#include "hub/import.h"
#include "hub/keys.h"
#include "hub/overview.h"
#include "hub/scripts.h"
#include "hub/secrets.h"

#define UPLOADED "aaaaaaaa-0000-0000-0000-000000000001"
#define ARCHIVE "bbbbbbbb-0000-0000-0000-000000000001"
#define KEY1 "9IYP+5uUmFNiL8MLdYueMcog8FSfMHWSsf3+JG2ajd0="

/* What the steps hand on. */
struct made {
	struct nh_user bob;
	struct nh_member member;
	struct nh_product product;
	struct nh_org_key key;
	struct nh_shared_secret product_secret, device_secret;
	struct nh_device device;
	struct nh_group group;
	struct nh_session session;
	struct nh_cli_session cli;
	char token[NH_TOKEN_TEXT_MAX];
	struct pair factory, born, imported; /* a CA that makes devices known, and its certificates */
	nh_slice object; /* of the file that is uploaded */
	struct nh_script script;
	int64_t target; /* a device with firmware 1 that updates are sent to */
};

#define MADE(w) ((struct made *)(w)->arg)

typedef nh_rc (*step_fn)(struct world *w, struct nh_err *err);

/* ---- the steps ---------------------------------------------------------------------------------------------------------- */

static nh_rc user_create(struct world *w, struct nh_err *err)
{
	struct nh_new_user input;
	NH_TRY(nh_user_prepare(&w->arena, NH_LIT("Bob"), NH_LIT("bob@example.com"), NH_LIT("correct horse battery"), &nh_password_cost_test, &input, NO_ERRORS(w), err));
	return nh_user_create(&w->ctx, &input, &MADE(w)->bob, NO_ERRORS(w), err);
}

static nh_rc user_set_password(struct world *w, struct nh_err *err) { return nh_user_set_password(&w->ctx, MADE(w)->bob.id, "another hash", err); }
static nh_rc token_create(struct world *w, struct nh_err *err) { return nh_token_create(&w->ctx, w->ada.id, "api", NH_LIT("note"), MADE(w)->token, err); }

static nh_rc token_delete(struct world *w, struct nh_err *err)
{
	struct nh_token *list;
	size_t count;
	NH_TRY(nh_token_list(&w->ctx, w->ada.id, &list, &count, err));
	return nh_token_delete(&w->ctx, w->ada.id, list[0].id, err);
}

static nh_rc org_create(struct world *w, struct nh_err *err)
{
	struct nh_org org;
	return nh_org_create(&w->ctx, &w->as_ada, NH_LIT("third"), &org, NO_ERRORS(w), err);
}

static nh_rc org_update(struct world *w, struct nh_err *err)
{
	struct nh_org org;
	NH_AUTO_JSON json_t *fields = json_pack("{s:s, s:i}", "name", "fourth", "audit_log_days_to_keep", 30);
	NH_TRY(nh_org_open(&w->ctx, &w->as_ada, NH_LIT("third"), NH_MAY_ORG_UPDATE, &org, err));
	return nh_org_update(&w->ctx, &w->as_ada, &org, fields, &org, NO_ERRORS(w), err);
}

static nh_rc org_delete(struct world *w, struct nh_err *err)
{
	struct nh_org org;
	NH_TRY(nh_org_open(&w->ctx, &w->as_ada, NH_LIT("fourth"), NH_MAY_ORG_DELETE, &org, err));
	return nh_org_delete(&w->ctx, &w->as_ada, &org, NO_ERRORS(w), err);
}

static nh_rc member_add(struct world *w, struct nh_err *err)
{
	return nh_member_add(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("bob@example.com"), NH_LIT("view"), &MADE(w)->member, NO_ERRORS(w), err);
}

static nh_rc member_set_role(struct world *w, struct nh_err *err)
{
	return nh_member_set_role(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("bob@example.com"), NH_LIT("manage"), &MADE(w)->member, NO_ERRORS(w), err);
}

static nh_rc member_remove(struct world *w, struct nh_err *err)
{
	return nh_member_remove(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("bob@example.com"), NO_ERRORS(w), err);
}

static nh_rc cli_create(struct world *w, struct nh_err *err) { return nh_cli_session_create(&w->ctx, NH_LIT("laptop"), &MADE(w)->cli, err); }
static nh_rc cli_confirm(struct world *w, struct nh_err *err) { return nh_cli_session_confirm(&w->ctx, &w->as_ada, MADE(w)->cli.token, err); }

static nh_rc cli_poll(struct world *w, struct nh_err *err)
{
	bool ready;
	return nh_cli_session_poll(&w->ctx, MADE(w)->cli.token, &ready, MADE(w)->token, err);
}

static nh_rc product_create(struct world *w, struct nh_err *err)
{
	return nh_product_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("Second"), &MADE(w)->product, NO_ERRORS(w), err);
}

static nh_rc product_delete(struct world *w, struct nh_err *err) { return nh_product_delete(&w->ctx, &w->as_ada, &MADE(w)->product, NO_ERRORS(w), err); }

static nh_rc key_create(struct world *w, struct nh_err *err)
{
	return nh_org_key_create(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k1"), NH_LIT(KEY1), NH_SLICE_EMPTY, &MADE(w)->key, NO_ERRORS(w), err);
}

static struct nh_firmware_facts facts_of(struct world *w)
{
	return (struct nh_firmware_facts){.org_key_id = MADE(w)->key.id, .product = NH_LIT("Thermo Widget"), .uuid = NH_LIT(UPLOADED), .version = NH_LIT("2.0.0"),
		.platform = NH_LIT("rpi4"), .architecture = NH_LIT("aarch64"), .size_bytes = 4, .checksum = NH_LIT("AB"), .partials_checksums = NH_LIT("[]")};
}

static nh_rc firmware_claim(struct world *w, struct nh_err *err)
{
	struct nh_firmware_intake intake = {.product = w->widget, .max_bytes = 1 << 20};
	struct nh_firmware_facts facts = facts_of(w);
	return nh_firmware_claim(&w->ctx, &w->as_ada, &intake, &facts, &MADE(w)->object, NO_ERRORS(w), err);
}

static nh_rc firmware_publish(struct world *w, struct nh_err *err)
{
	struct nh_firmware_intake intake = {.product = w->widget, .max_bytes = 1 << 20};
	struct nh_firmware_facts facts = facts_of(w);
	struct nh_firmware out;
	return nh_firmware_publish(&w->ctx, &w->as_ada, &intake, &facts, MADE(w)->object, &out, NO_ERRORS(w), err);
}

static nh_rc firmware_delete(struct world *w, struct nh_err *err) { return nh_firmware_delete(&w->ctx, &w->as_ada, &w->widget, NH_LIT(UPLOADED), NO_ERRORS(w), err); }
static nh_rc object_gone(struct world *w, struct nh_err *err) { return nh_loose_object_gone(&w->ctx, MADE(w)->object, err); }

static nh_rc key_delete(struct world *w, struct nh_err *err) { return nh_org_key_delete(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("k1"), NO_ERRORS(w), err); }
static nh_rc product_secret_create(struct world *w, struct nh_err *err) { return nh_product_secret_create(&w->ctx, &w->as_ada, &w->widget, &MADE(w)->product_secret, err); }

static nh_rc product_secret_deactivate(struct world *w, struct nh_err *err)
{
	return nh_product_secret_deactivate(&w->ctx, &w->as_ada, &w->widget, MADE(w)->product_secret.key, err);
}

static nh_rc device_create(struct world *w, struct nh_err *err)
{
	NH_AUTO_JSON json_t *fields = json_pack("{s:s, s:[s]}", "description", "a device", "tags", "lab");
	return nh_device_create(&w->ctx, &w->as_ada, &w->widget, NH_LIT("made"), fields, &MADE(w)->device, NO_ERRORS(w), err);
}

static nh_rc device_update(struct world *w, struct nh_err *err)
{
	NH_AUTO_JSON json_t *fields = json_pack("{s:s, s:[s, s]}", "description", "moved", "tags", "lab", "roof");
	return nh_device_update(&w->ctx, &w->as_ada, &MADE(w)->device, fields, &MADE(w)->device, NO_ERRORS(w), err);
}

static nh_rc device_move(struct world *w, struct nh_err *err)
{
	return nh_device_move(&w->ctx, &w->as_ada, &MADE(w)->device, NH_LIT("acme"), NH_LIT("Second"), &MADE(w)->device, NO_ERRORS(w), err);
}

static nh_rc device_delete(struct world *w, struct nh_err *err) { return nh_device_delete(&w->ctx, &w->as_ada, &MADE(w)->device, err); }

static nh_rc device_restore(struct world *w, struct nh_err *err)
{
	struct nh_product product;
	NH_TRY(nh_product_by_id(&w->ctx, MADE(w)->device.product_id, &product, err));
	return nh_device_restore(&w->ctx, &w->as_ada, &product, MADE(w)->device.identifier, &MADE(w)->device, NO_ERRORS(w), err);
}

static nh_rc device_destroy(struct world *w, struct nh_err *err)
{
	struct nh_product product;
	NH_TRY(nh_product_by_id(&w->ctx, MADE(w)->device.product_id, &product, err));
	return nh_device_destroy(&w->ctx, &w->as_ada, &product, MADE(w)->device.identifier, err);
}

static nh_rc pin(struct world *w, struct nh_err *err) { return nh_pin_set(&w->ctx, &w->as_ada, &MADE(w)->device, true, err); }
static nh_rc unpin(struct world *w, struct nh_err *err) { return nh_pin_set(&w->ctx, &w->as_ada, &MADE(w)->device, false, err); }

static nh_rc identity_assigned(struct world *w, struct nh_err *err)
{
	struct nh_network_identity identity;
	NH_AUTO_JSON json_t *fields = json_pack("{s:s, s:s}", "service", "wireguard", "identifier", "fd00::1");
	return nh_network_identity_assign(&w->ctx, &w->as_ada, &MADE(w)->device, fields, &identity, NO_ERRORS(w), err);
}

static nh_rc identity_removed(struct world *w, struct nh_err *err)
{
	return nh_network_identity_remove(&w->ctx, &w->as_ada, &MADE(w)->device, NH_LIT("wireguard"), NH_LIT("fd00::1"), err);
}

static nh_rc notify(struct world *w, struct nh_err *err)
{
	return nh_notification_add(&w->ctx, w->widget.id, NH_NOTIFY_INFO, "tests-1", NH_LIT("title"), NH_LIT("message"), NULL, err);
}

static nh_rc notifications_dismiss(struct world *w, struct nh_err *err) { return nh_notification_dismiss(&w->ctx, &w->as_ada, &w->widget, err); }

static nh_rc device_secret_create(struct world *w, struct nh_err *err) { return nh_device_secret_create(&w->ctx, &w->as_ada, &MADE(w)->device, &MADE(w)->device_secret, err); }

static nh_rc device_secret_deactivate(struct world *w, struct nh_err *err)
{
	return nh_device_secret_deactivate(&w->ctx, &w->as_ada, &MADE(w)->device, MADE(w)->device_secret.key, err);
}

/* A device that was never seen before, let in by its factory's CA. */
static nh_rc device_is_born(struct world *w, struct nh_err *err)
{
	struct nh_cert_finding *finding;
	struct nh_auth_verdict verdict;
	NH_TRY(nh_device_auth_certificate_find(&w->ctx, MADE(w)->born.cert->der, &finding, err));
	NH_TRY(nh_device_auth_certificate_record(&w->ctx, finding, &verdict, err));
	return verdict.accepted ? NH_OK : NH_FAIL(err, NH_EINTERNAL, "a device of the factory was refused");
}

/* One device that is there and gets its certificate, one that is made. */
static nh_rc import(struct world *w, struct nh_err *err)
{
	const struct nh_import_device devices[] = {{.line = 1, .identifier = MADE(w)->device.identifier, .certificate = MADE(w)->imported.cert->der}, {.line = 2, .identifier = NH_LIT("imported")}};
	struct nh_import_outcome outcomes[2];
	NH_TRY(nh_import_apply(&w->ctx, &w->as_ada, &w->widget, NH_LIT("t"), devices, 2, outcomes, err));
	bool fine = outcomes[0].result == NH_IMPORT_UPDATED && outcomes[1].result == NH_IMPORT_CREATED;
	return fine ? NH_OK : NH_FAIL(err, NH_EINTERNAL, "imported as %d and %d", (int)outcomes[0].result, (int)outcomes[1].result);
}

static nh_rc certificate_delete(struct world *w, struct nh_err *err)
{
	struct nh_device device;
	NH_TRY(nh_device_open(&w->ctx, &w->as_ada, &w->widget, NH_LIT("born"), NH_MAY_DEVICE_UPDATE, &device, err));
	return nh_device_certificate_delete(&w->ctx, &w->as_ada, &device, MADE(w)->born.cert->serial_decimal, err);
}

static nh_rc ca_delete(struct world *w, struct nh_err *err)
{
	return nh_ca_certificate_delete(&w->ctx, &w->as_ada, w->acme.id, MADE(w)->factory.cert->serial_decimal, err);
}

static nh_rc group_create(struct world *w, struct nh_err *err)
{
	NH_AUTO_JSON json_t *fields = group_fields(w, "all", 2);
	return nh_group_create(&w->ctx, &w->as_ada, w->acme.id, w->widget.id, fields, &MADE(w)->group, NO_ERRORS(w), err);
}

static nh_rc group_update(struct world *w, struct nh_err *err)
{
	nh_slice uuid = fw_uuid(w, 3);
	NH_AUTO_JSON json_t *fields = json_pack("{s:s%}", "firmware", (const char *)uuid.ptr, uuid.len);
	return nh_group_update(&w->ctx, &w->as_ada, &MADE(w)->group, fields, &MADE(w)->group, NO_ERRORS(w), err);
}

static nh_rc archive_intake(struct world *w, struct nh_firmware_intake *intake, struct nh_firmware_facts *facts, struct nh_err *err)
{
	struct nh_org_key key;
	NH_TRY(nh_org_key_open(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("key"), &key, err));
	NH_TRY(nh_archive_intake_open(&w->ctx, &w->as_ada, w->acme.id, w->widget.name, intake, err));
	*facts = facts_of(w);
	facts->uuid = NH_LIT(ARCHIVE);
	facts->org_key_id = key.id;
	return NH_OK;
}

static nh_rc archive_claim(struct world *w, struct nh_err *err)
{
	struct nh_firmware_intake intake;
	struct nh_firmware_facts facts;
	NH_TRY(archive_intake(w, &intake, &facts, err));
	return nh_archive_claim(&w->ctx, &w->as_ada, &intake, &facts, &MADE(w)->object, NO_ERRORS(w), err);
}

static nh_rc archive_publish(struct world *w, struct nh_err *err)
{
	struct nh_firmware_intake intake;
	struct nh_firmware_facts facts;
	struct nh_archive out;
	NH_TRY(archive_intake(w, &intake, &facts, err));
	return nh_archive_publish(&w->ctx, &w->as_ada, &intake, &facts, MADE(w)->object, &out, NO_ERRORS(w), err);
}

static nh_rc archive_release(struct world *w, struct nh_err *err)
{
	nh_slice uuid = fw_uuid(w, 3);
	NH_AUTO_JSON json_t *fields = json_pack("{s:s%, s:s}", "firmware", (const char *)uuid.ptr, uuid.len, "archive", ARCHIVE);
	return nh_group_update(&w->ctx, &w->as_ada, &MADE(w)->group, fields, &MADE(w)->group, NO_ERRORS(w), err);
}

static nh_rc archive_tell(struct world *w, struct nh_err *err) { return nh_archive_tell_changed(&w->ctx, MADE(w)->target, err); }

static nh_rc archive_spread(struct world *w, struct nh_err *err)
{
	bool more;
	return nh_archive_tell_members(&w->ctx, MADE(w)->group.id, 100, &more, err);
}

static nh_rc archive_delete(struct world *w, struct nh_err *err) { return nh_archive_delete(&w->ctx, &w->as_ada, &w->widget, NH_LIT(ARCHIVE), NO_ERRORS(w), err); }

static nh_rc script_create(struct world *w, struct nh_err *err)
{
	NH_AUTO_JSON json_t *fields = json_pack("{s:s, s:s, s:[s]}", "name", "hello", "text", "1", "tags", "lab");
	return nh_script_create(&w->ctx, &w->as_ada, &w->widget, fields, &MADE(w)->script, NO_ERRORS(w), err);
}

static nh_rc script_update(struct world *w, struct nh_err *err)
{
	NH_AUTO_JSON json_t *fields = json_pack("{s:s}", "text", "2");
	return nh_script_update(&w->ctx, &w->as_ada, &w->widget, &MADE(w)->script, fields, &MADE(w)->script, NO_ERRORS(w), err);
}

static nh_rc script_run(struct world *w, struct nh_err *err)
{
	struct nh_device device;
	struct nh_script script;
	NH_TRY(nh_device_by_id(&w->ctx, MADE(w)->target, &device, err));
	return nh_script_run(&w->ctx, &w->as_ada, &device, NH_LIT("hello"), &script, err);
}

static nh_rc script_delete(struct world *w, struct nh_err *err) { return nh_script_delete(&w->ctx, &w->as_ada, &w->widget, &MADE(w)->script, err); }

static nh_rc group_delete(struct world *w, struct nh_err *err) { return nh_group_delete(&w->ctx, &w->as_ada, &MADE(w)->group, err); }
static nh_rc connect(struct world *w, struct nh_err *err) { return open_connection(w, MADE(w)->target, &MADE(w)->session); }

static nh_rc join_step(struct world *w, struct nh_err *err)
{
	struct nh_join_result result;
	NH_AUTO_JSON json_t *payload = join_payload(w, 1, "1.0.0");
	return nh_session_join(&w->ctx, &MADE(w)->session, NULL, payload, &result, err);
}

static nh_rc group_assign(struct world *w, struct nh_err *err) { return nh_group_assign(&w->ctx, &w->as_ada, w->acme.id, MADE(w)->target, &MADE(w)->group, err); }

static nh_rc group_unassign(struct world *w, struct nh_err *err) { return nh_group_assign(&w->ctx, &w->as_ada, w->acme.id, MADE(w)->target, NULL, err); }

static nh_rc orchestrator_run(struct world *w, struct nh_err *err)
{
	struct nh_orchestrator_result result;
	return nh_orchestrator_run(&w->ctx, MADE(w)->group.id, &result, err);
}

static nh_rc progress(struct world *w, struct nh_err *err)
{
	NH_AUTO_JSON json_t *payload = json_pack("{s:i}", "value", 40);
	return nh_session_progress(&w->ctx, &MADE(w)->session, payload, err);
}

static nh_rc failed(struct world *w, struct nh_err *err)
{
	return nh_update_report(&w->ctx, MADE(w)->target, &(struct nh_update_report){.stage = NH_STAGE_FAILED, .progress = -1, .reason = NH_LIT("no space")}, err);
}

static nh_rc update_push(struct world *w, struct nh_err *err) { return nh_update_push(&w->ctx, &w->as_ada, w->acme.id, MADE(w)->target, fw_uuid(w, 3), err); }
static nh_rc updates_off(struct world *w, struct nh_err *err) { return nh_updates_enable(&w->ctx, &w->as_ada, w->acme.id, MADE(w)->target, false, err); }
static nh_rc penalty_clear(struct world *w, struct nh_err *err) { return nh_penalty_clear(&w->ctx, &w->as_ada, w->acme.id, MADE(w)->target, err); }
static nh_rc reboot(struct world *w, struct nh_err *err) { return nh_device_reboot(&w->ctx, &w->as_ada, w->acme.id, MADE(w)->target, err); }

static nh_rc say(struct world *w, nh_extension extension, const char *event, json_t *take_payload, struct nh_err *err)
{
	nh_rc rc = nh_extension_event(&w->ctx, &MADE(w)->session, extension, nh_slice_str(event), take_payload, NULL, err);
	json_decref(take_payload);
	return rc;
}

/* More numbers than one statement takes. */
static nh_rc health_report(struct world *w, struct nh_err *err)
{
	json_t *metrics = json_object();
	for (int i = 0; i < 30; i++)
		json_object_set_new(metrics, nh_arena_printf(&w->arena, "m%d", i), json_integer(i));
	return say(w, NH_EXT_HEALTH, "report", json_pack("{s:{s:o, s:{s:s}}}", "value", "metrics", metrics, "alarms", "Fan", "stuck"), err);
}

static nh_rc location(struct world *w, struct nh_err *err) { return say(w, NH_EXT_GEO, "location:update", json_pack("{s:i, s:i}", "latitude", 1, "longitude", 2), err); }

static nh_rc log_line(struct world *w, struct nh_err *err)
{
	return say(w, NH_EXT_LOGGING, "send", json_pack("{s:s, s:s, s:s}", "level", "info", "message", "m", "timestamp", "2026-01-01T00:00:00Z"), err);
}

static nh_rc identity(struct world *w, const char *identifier, struct nh_err *err)
{
	return say(w, NH_EXT_NETWORK_IDENTITY, "report", json_pack("{s:[{s:s, s:s}]}", "identities", "service", "iroh", "identifier", identifier), err);
}
static nh_rc identity_brought(struct world *w, struct nh_err *err) { return identity(w, "a", err); }
static nh_rc identity_replaced(struct world *w, struct nh_err *err) { return identity(w, "b", err); }
static nh_rc identity_seen(struct world *w, struct nh_err *err) { return identity(w, "b", err); }

static nh_rc endpoint_register(struct world *w, struct nh_err *err)
{
	struct nh_iroh_endpoint e;
	NH_AUTO_JSON json_t *fields = json_pack("{s:s, s:s}", "identifier", "laptop", "user_email", "ada@example.com");
	return nh_iroh_endpoint_register(&w->ctx, &w->as_ada, w->acme.id, fields, &e, NO_ERRORS(w), err);
}

static nh_rc endpoint_for_all(struct world *w, struct nh_err *err)
{
	struct nh_iroh_endpoint e;
	NH_AUTO_JSON json_t *fields = json_pack("{s:s}", "identifier", "c");
	return nh_iroh_endpoint_register(&w->ctx, &w->as_ada, w->acme.id, fields, &e, NO_ERRORS(w), err);
}

static nh_rc endpoint_delete(struct world *w, struct nh_err *err) { return nh_iroh_endpoint_delete(&w->ctx, &w->as_ada, w->acme.id, NH_LIT("laptop"), err); }
static nh_rc identity_taken_over(struct world *w, struct nh_err *err) { return identity(w, "c", err); }

static nh_rc extensions_on(struct world *w, struct nh_err *err)
{
	NH_AUTO_JSON json_t *fields = json_pack("{s:{s:b}}", "extensions", "health", 1);
	return nh_product_update(&w->ctx, &w->as_ada, &w->widget, fields, &w->widget, NO_ERRORS(w), err);
}

/* Everything a device said is too old. */
static nh_rc telemetry_trim(struct world *w, struct nh_err *err)
{
	static const struct nh_retention keep = {0};
	size_t trimmed;
	return nh_telemetry_trim(&w->ctx, &keep, &trimmed, err);
}

static nh_rc disconnect(struct world *w, struct nh_err *err)
{
	return nh_session_disconnect(&w->ctx, MADE(w)->target, MADE(w)->session.connection_id, NH_SLICE_EMPTY, err);
}

static const struct step {
	const char *name;
	step_fn run;
} steps[] = {
	{"user_create", user_create}, {"user_set_password", user_set_password}, {"token_create", token_create}, {"token_delete", token_delete},
	{"org_create", org_create}, {"org_update", org_update}, {"org_delete", org_delete}, {"member_add", member_add}, {"member_set_role", member_set_role}, {"member_remove", member_remove},
	{"cli_create", cli_create}, {"cli_confirm", cli_confirm}, {"cli_poll", cli_poll},
	{"product_create", product_create}, {"key_create", key_create}, {"firmware_claim", firmware_claim}, {"firmware_publish", firmware_publish},
	{"firmware_delete", firmware_delete}, {"object_gone", object_gone}, {"key_delete", key_delete},
	{"product_secret_create", product_secret_create}, {"product_secret_deactivate", product_secret_deactivate},
	{"device_create", device_create}, {"device_update", device_update}, {"import", import}, {"device_secret_create", device_secret_create},
	{"device_secret_deactivate", device_secret_deactivate}, {"pin", pin}, {"identity_assigned", identity_assigned}, {"device_move", device_move}, {"unpin", unpin}, {"pin again", pin},
	{"identity_removed", identity_removed}, {"device_delete", device_delete}, {"device_restore", device_restore}, {"device_delete again", device_delete}, {"device_destroy", device_destroy}, {"notify", notify},
	{"notify again", notify}, {"notifications_dismiss", notifications_dismiss}, {"product_delete", product_delete},
	{"device_is_born", device_is_born}, {"certificate_delete", certificate_delete}, {"ca_delete", ca_delete},
	{"group_create", group_create}, {"group_update", group_update}, {"archive_claim", archive_claim}, {"archive_publish", archive_publish},
	{"archive_release", archive_release}, {"connect", connect}, {"join", join_step}, {"archive_tell", archive_tell}, {"archive_spread", archive_spread}, {"group_unassign", group_unassign}, {"group_assign", group_assign},
	{"orchestrator_run", orchestrator_run}, {"progress", progress}, {"failed", failed}, {"penalty_clear", penalty_clear}, {"update_push", update_push},
	{"updates_off", updates_off}, {"reboot", reboot},
	{"extensions_on", extensions_on}, {"health_report", health_report}, {"health_report again", health_report}, {"location", location}, {"log_line", log_line},
	{"identity_brought", identity_brought}, {"identity_replaced", identity_replaced}, {"identity_seen", identity_seen},
	{"endpoint_register", endpoint_register}, {"endpoint_for_all", endpoint_for_all}, {"identity_taken_over", identity_taken_over}, {"endpoint_delete", endpoint_delete},
	{"disconnect", disconnect}, {"telemetry_trim", telemetry_trim}, {"group_delete", group_delete},
	{"archive_delete", archive_delete}, {"script_create", script_create}, {"script_update", script_update}, {"script_run", script_run}, {"script_delete", script_delete},
};

/* ---- what the database holds ----------------------------------------------------------------------------------------------- */

/* A query for each table that gives one text of all its rows, in the order of their texts. */
static const char *const tables_sql[TESTDB_ENGINES] = {
	"SELECT 'SELECT group_concat(x) FROM (SELECT ' || group_concat('quote(\"' || p.name || '\")', '||'',''||') || ' AS x FROM \"' || m.name || '\" ORDER BY 1)'"
	" FROM sqlite_schema m JOIN pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' GROUP BY m.name ORDER BY m.name",
	"SELECT 'SELECT string_agg(t::text, '','' ORDER BY t::text) FROM ' || table_name || ' t' FROM information_schema.tables"
	" WHERE table_schema = current_schema() ORDER BY table_name",
};

struct content {
	unsigned engine;
	struct nh_buf *out;
};

static nh_rc content_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct content *c = arg;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_rows *rows = NULL;
	nh_slice queries[64];
	size_t count = 0;
	NH_TRY(nh_sql_dynamic(tx, nh_slice_str(tables_sql[c->engine]), NH_NO_PARAMS, &rows, err));
	while (nh_sql_next(rows, err) == NH_OK && count < NH_ARRAY_LEN(queries))
		queries[count++] = nh_col_text(rows, 0, &arena);
	nh_sql_end(rows);
	for (size_t i = 0; i < count; i++) {
		NH_TRY(nh_sql_dynamic(tx, queries[i], NH_NO_PARAMS, &rows, err));
		NH_TRY(nh_sql_next(rows, err));
		nh_buf_put_slice(c->out, nh_col_text(rows, 0, &arena));
		nh_buf_put_u8(c->out, '\n');
		nh_sql_end(rows);
	}
	return count > 10 ? NH_OK : NH_FAIL(err, NH_EINTERNAL, "only %zu tables", count);
}

static void content_of(struct nh_db *db, unsigned engine, struct nh_buf *out)
{
	struct nh_err err = NH_ERR_INIT;
	nh_buf_clear(out);
	if (nh_db_read(db, content_tx, &(struct content){engine, out}, &err) != NH_OK)
		fail_msg("%s", err.msg);
}

/* ---- the run ------------------------------------------------------------------------------------------------------------- */

static nh_rc begin(struct world *w, struct nh_err *err)
{
	int64_t ca;
	NH_TRY(make_ca(w, "Factory", NULL, 1000 * DAY_US, &MADE(w)->factory, err));
	NH_TRY(register_ca(w, w->acme.id, MADE(w)->factory.cert, true, &ca, err));
	NH_TRY(make_device(w, "born", &MADE(w)->factory, NULL, &MADE(w)->born, err));
	NH_TRY(make_device(w, "made", &MADE(w)->factory, NULL, &MADE(w)->imported, err));
	NH_TRY(add_firmware(w, 1, "1.0.0", err));
	NH_TRY(add_firmware(w, 2, "1.1.0", err));
	NH_TRY(add_firmware(w, 3, "1.2.0", err));
	return add_device(w, "target", NULL, &MADE(w)->target, err);
}

struct one_step {
	struct world *world;
	const struct step *step;
};

static nh_rc step_tx(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct one_step *s = arg;
	s->world->ctx.tx = tx;
	s->world->effects = (struct nh_effects){0};
	return s->step->run(s->world, err);
}

/* One statement after the other, until there is none left to fail. How many there were. */
static int64_t fail_each(struct nh_db *db, unsigned engine, struct world *w, const struct step *step)
{
	NH_AUTO_BUF struct nh_buf before = NH_BUF_INIT, after = NH_BUF_INIT;
	struct one_step s = {w, step};
	struct made kept = *MADE(w);
	content_of(db, engine, &before);
	for (int64_t at = TESTDB_AT_COMMIT;; at++) {
		struct nh_err err = NH_ERR_INIT;
		testdb_fail(db, NH_EIO, at);
		nh_rc rc = nh_db_write(db, step_tx, &s, &err);
		bool hit = testdb_failed();
		testdb_heal(db);
		content_of(db, engine, &after);
		bool same = nh_slice_eq(nh_buf_slice(&before), nh_buf_slice(&after));
		if (!hit) {
			if (rc != NH_OK || same)
				fail_msg("%s, %s, without a failure: %s %s", testdb_name(engine), step->name, nh_rc_name(rc), rc == NH_OK ? "and nothing was written" : err.msg);
			return at - 1;
		}
		*MADE(w) = kept; /* what a transaction handed out that was rolled back */
		if (rc != NH_EIO || !same)
			fail_msg("%s, %s, statement %lld: %s %s%s", testdb_name(engine), step->name, (long long)at, nh_rc_name(rc), err.msg, same ? "" : "; something was written");
	}
}

static void test_every_statement_of_every_write(void **state)
{
	for (unsigned engine = 0; engine < TESTDB_ENGINES; engine++) {
		struct nh_db *db = testdb_open(engine);
		if (!db)
			continue;
		struct made made = {0};
		struct world world = {.arg = &made};
		struct nh_err err = NH_ERR_INIT;
		int64_t statements = 0;
		if (nh_db_write(db, run_scenario, &(struct scenario){&world, begin}, &err) != NH_OK)
			fail_msg("%s", err.msg);
		for (size_t i = 0; i < NH_ARRAY_LEN(steps); i++) {
			int64_t count = fail_each(db, engine, &world, &steps[i]);
			assert_true(count > 0);
			statements += count;
			world.now_us += NH_US_PER_S;
		}
		print_message("%s: %zu functions, %lld statements failed in turn\n", testdb_name(engine), NH_ARRAY_LEN(steps), (long long)statements);
		pair_fini(&made.factory);
		pair_fini(&made.born);
		pair_fini(&made.imported);
		json_decref(world.errors);
		nh_arena_fini(&world.arena);
		testdb_close(db);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_statement_of_every_write)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Looking at a chip: is one there, what is it, in which state; its random numbers; the latch of volatile keys; its name in PKCS#11.
 */
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "command.h"

static const struct flag detect_flags[] = {{"scan", 0, NH_OPT_FLAG, AT(scan), NULL, "try all addresses that such chips have: 0x60, 0x35, 0x36, 0x58"}, {NULL}};

static const struct {
	const char *address, *what;
} addresses[] = {{"0x60", "blank parts and NervesKeys"}, {"0x35", "Trust&Go"}, {"0x36", "TrustFLEX"}, {"0x58", "kits"}};

/* One address: its row, or nothing. */
static nh_rc look_at(struct app *app, json_t *list, struct nh_err *err)
{
	NH_TRY(app_open(app, err));
	NH_TRY(nh_atecc_detect(nh_nerveskey_chip(app->key), err));
	const struct nh_atecc_transport *t = nh_atecc_transport_of(nh_nerveskey_chip(app->key));
	json_array_append_new(list, json_pack("{s:o,s:i}", "bus", nh_json_new_text(nh_slice_str(t->name)), "address", (int)t->address));
	if (!app->o.json)
		printf("%s: a chip answers\n", t->name);
	return NH_OK;
}

static nh_rc detect(struct app *app, struct nh_err *err)
{
	NH_AUTO_JSON json_t *found = json_array();
	size_t count = app->o.scan ? NH_ARRAY_LEN(addresses) : 1;
	for (size_t i = 0; i < count; i++) {
		if (app->o.scan)
			app->o.address = addresses[i].address;
		nh_rc rc = look_at(app, found, err);
		if (rc != NH_OK && (rc != NH_ENOTFOUND || !app->key || !app->o.scan))
			return rc;
		nh_nerveskey_close(app->key);
		app->key = NULL;
	}
	if (app->o.json)
		print_json(json_pack("{s:O}", "found", found));
	if (json_array_size(found) == 0)
		return app_fail(app, STATUS_NO_CHIP,
				NH_FAIL(err, NH_ENOTFOUND, "%s: nothing answers at 0x60, 0x35, 0x36 or 0x58. Check wiring and power, and that the bus runs at 100 kHz", app_bus(app)));
	return NH_OK;
}

static nh_rc info(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info i;
	NH_TRY(app_info(app, &i, err));
	if (app->o.json)
		print_json(info_json(app, &i));
	else
		info_print(app, &i);
	return NH_OK;
}

static nh_rc state(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info i;
	NH_TRY(app_info(app, &i, err));
	app->status = state_status(&i.state);
	if (app->o.json)
		print_json(json_pack("{s:s,s:s,s:i}", "state", status_name(app->status), "layout", kind_text(i.state.kind), "status", (int)app->status));
	else
		printf("%s (layout: %s)\n", stage_text(&i.state), kind_text(i.state.kind));
	return NH_OK;
}

static nh_rc serial(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info i;
	NH_TRY(app_provisioned(app, &i, err));
	if (!i.manufacturer_serial[0])
		return app_fail(app, STATUS_NOT_PROVISIONED, NH_FAIL(err, NH_ENOTFOUND, "the chip has the layout of a NervesKey, but no manufacturer's serial number is stored in it"));
	if (app->o.json)
		print_json(json_pack("{s:o,s:o}", "manufacturer_serial", nh_json_new_text(nh_slice_str(i.manufacturer_serial)), "chip_serial", json_hex(i.chip_serial, sizeof i.chip_serial)));
	else
		puts(i.manufacturer_serial);
	return NH_OK;
}

static nh_rc config_show(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info i;
	NH_TRY(app_info(app, &i, err));
	json_t *slots = json_array();
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++) {
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		nh_nerveskey_slot_describe(i.config, slot, &text);
		json_array_append_new(slots, nh_json_new_text(nh_slice_trim(nh_buf_slice(&text))));
	}
	if (app->o.json) {
		print_json(json_pack("{s:o,s:b,s:b,s:o}", "configuration", json_hex(i.config, sizeof i.config), "config_locked", i.state.config_locked, "data_locked", i.state.data_locked, "slots",
				     slots));
		return NH_OK;
	}
	for (unsigned at = 0; at < NH_ATECC_CONFIG_LEN; at += 16) {
		printf("%3u:", at);
		for (unsigned b = 0; b < 16; b++)
			printf(" %02x", i.config[at + b]);
		putchar('\n');
	}
	printf("\nconfiguration %s, data %s, layout %s\n\n", i.state.config_locked ? "locked" : "open", i.state.data_locked ? "locked" : "open", kind_text(i.state.kind));
	for (size_t slot = 0; slot < json_array_size(slots); slot++)
		puts(json_string_value(json_array_get(slots, slot)));
	json_decref(slots);
	return NH_OK;
}

static const struct flag random_flags[] = {{"format", 'f', NH_OPT_TEXT, AT(format), "FORMAT", "hex, base64 or binary (hex)"},
					   {"output", 'o', NH_OPT_TEXT, AT(output), "FILE", "write to a file"},
					   {NULL}};

static nh_rc random_bytes(struct app *app, struct nh_err *err)
{
	uint64_t count = 32;
	uint8_t bytes[4096];
	if (app->arg_count && nh_parse_u64(nh_slice_str(app->args[0]), 1, sizeof bytes, &count) != NH_OK)
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "a count of 1 to %zu bytes is expected, not '%.40s'", sizeof bytes, app->args[0]));
	NH_TRY(app_open(app, err));
	nh_rc rc = nh_nerveskey_random(app->key, bytes, (size_t)count, err);
	if (rc == NH_EPERM)
		app->status = STATUS_NOT_PROVISIONED;
	NH_TRY(rc);
	return output_formatted(app, nh_slice_of(bytes, (size_t)count), "hex", err);
}

static const struct flag unlock_flags[] = {{"activation-key", 0, NH_OPT_TEXT, AT(activation_key), "HEX|@FILE", "the 16 bytes that the chip was provisioned with"}, {NULL}};

static nh_rc need_volatile(struct app *app, struct nh_err *err)
{
	struct nh_nerveskey_info i;
	NH_TRY(app_provisioned(app, &i, err));
	if (i.state.kind == NH_NERVESKEY_VOLATILE)
		return NH_OK;
	return app_fail(app, STATUS_REFUSED, NH_FAIL(err, NH_EUNSUPPORTED, "the chip has no volatile layout: its key needs no unlocking"));
}

static nh_rc unlock(struct app *app, struct nh_err *err)
{
	struct nh_buf key = NH_BUF_INIT;
	if (!app->o.activation_key)
		return app_fail(app, STATUS_USAGE, NH_FAIL(err, NH_EINVAL, "--activation-key is needed"));
	nh_rc rc = input_hex(app, app->o.activation_key, "the activation key", 16, &key, err);
	if (rc == NH_OK && key.len != 16)
		rc = app_fail(app, STATUS_REFUSED, NH_FAIL(err, NH_EINVAL, "the activation key has %zu bytes, not 16", key.len));
	if (rc == NH_OK)
		rc = need_volatile(app, err);
	if (rc == NH_OK)
		rc = nh_atecc_latch_unlock(nh_nerveskey_chip(app->key), 1, key.ptr, &nh_rng_system, err);
	if (rc == NH_OK && !app->o.json)
		puts("unlocked until the chip loses power");
	else if (rc == NH_OK)
		print_json(json_pack("{s:b}", "latch", 1));
	nh_buf_wipe(&key);
	return rc;
}

static nh_rc latch(struct app *app, struct nh_err *err)
{
	bool set = false;
	NH_TRY(need_volatile(app, err));
	NH_TRY(nh_atecc_latch_get(nh_nerveskey_chip(app->key), &set, err));
	if (app->o.json)
		print_json(json_pack("{s:b}", "latch", set));
	else
		puts(set ? "set: the key works until the chip loses power" : "not set: the key does not work; nerveskey unlock");
	return NH_OK;
}

/* The module numbers slots as the reference does: the bus's number, 16 more for Trust&Go's address. false: a place that it does not know by itself. */
static bool usual_token(const struct nh_atecc_transport *t, unsigned *token)
{
	nh_slice name = nh_slice_str(t->name), number, rest;
	uint64_t bus = 0;
	if (!nh_slice_starts(name, NH_LIT("/dev/i2c-")) || (t->address != NH_ATECC_ADDRESS && t->address != NH_ATECC_ADDRESS_TNG))
		return false;
	nh_slice_cut(nh_slice_skip(name, 9), ' ', &number, &rest);
	if (nh_parse_u64(number, 0, 15, &bus) != NH_OK)
		return false;
	*token = (unsigned)bus + (t->address == NH_ATECC_ADDRESS_TNG ? 16 : 0);
	return true;
}

static nh_rc pkcs11_uri(struct app *app, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf uri = NH_BUF_INIT, setting = NH_BUF_INIT;
	unsigned token = 0;
	NH_TRY(app_open(app, err)); /* refuses what is no bus */
	const struct nh_atecc_transport *t = nh_atecc_transport_of(nh_nerveskey_chip(app->key));
	if (usual_token(t, &token)) {
		nh_buf_printf(&uri, "pkcs11:token=%u;object=%u;type=private", token, token); /* GnuTLS looks for no key without object or id */
	} else {
		char address[8];
		snprintf(address, sizeof address, "0x%02x", t->address);
		nh_buf_put_str(&uri, "pkcs11:token=nerveskey;object=nerveskey;type=private");
		spec_with_address(app_bus(app), address, &setting);
		nh_buf_put_str(&setting, " label=nerveskey");
	}
	if (app->o.json) {
		print_json(json_pack("{s:o,s:o}", "uri", nh_json_new_text(nh_buf_slice(&uri)), "module_configuration", setting.len ? nh_json_new_text(nh_buf_slice(&setting)) : json_null()));
		return NH_OK;
	}
	if (setting.len)
		note("nerveskey: the module must be told of this place: NERVESKEY_PKCS11='%s'\n", nh_buf_cstr(&setting));
	puts(nh_buf_cstr(&uri));
	return NH_OK;
}

const struct command chip_commands[] = {
	{"detect", "", 0, 0, detect_flags, detect, "is there a chip?"},
	{"info", "", 0, 0, NULL, info, "what the chip is and what it says about itself"},
	{"status", "", 0, 0, NULL, state, "the state of provisioning, also as exit status"},
	{"serial", "", 0, 0, NULL, serial, "the manufacturer's serial number"},
	{"config show", "", 0, 0, NULL, config_show, "the configuration, byte by byte and slot by slot"},
	{"random", "[COUNT]", 0, 1, random_flags, random_bytes, "random bytes of the chip (32)"},
	{"unlock", "", 0, 0, unlock_flags, unlock, "let the key of a volatile layout work until power goes"},
	{"latch", "", 0, 0, NULL, latch, "whether it does"},
	{"pkcs11-uri", "", 0, 0, NULL, pkcs11_uri, "the key's name for PKCS#11"},
	{NULL},
};

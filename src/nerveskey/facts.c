/*
 * Chips, certificates, plans and receipts described: as JSON for programs, as lines for people. Nothing is read here.
 */
#include "command.h"

#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/pem.h"

json_t *json_hex(const uint8_t *bytes, size_t len)
{
	NH_AUTO_BUF struct nh_buf hex = NH_BUF_INIT;
	nh_hex_put(&hex, nh_slice_of(bytes, len));
	return nh_json_new_text(nh_slice_str(nh_buf_cstr(&hex)));
}

json_t *json_time(int64_t at_s)
{
	NH_AUTO_BUF struct nh_buf iso = NH_BUF_INIT;
	nh_time_put_iso(&iso, at_s * NH_US_PER_S);
	return nh_json_new_text(nh_buf_slice(&iso));
}

static json_t *json_pem(nh_slice der)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	nh_pem_put(&pem, "CERTIFICATE", der);
	return nh_json_new_text(nh_buf_slice(&pem));
}

static json_t *json_slots(unsigned bits)
{
	json_t *list = json_array();
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		if (bits >> slot & 1)
			json_array_append_new(list, json_integer((json_int_t)slot));
	return list;
}

const char *kind_text(nh_nerveskey_kind kind)
{
	switch (kind) {
	case NH_NERVESKEY_REGULAR: return "nerveskey";
	case NH_NERVESKEY_VOLATILE: return "nerveskey-volatile";
	case NH_NERVESKEY_TRUST_AND_GO: return "trust-and-go";
	case NH_NERVESKEY_BLANK: return "blank";
	case NH_NERVESKEY_FOREIGN: break;
	}
	return "foreign";
}

const char *stage_text(const struct nh_nerveskey_state *s)
{
	switch (s->stage) {
	case NH_NERVESKEY_STAGE_BLANK: return "blank: nothing is locked";
	case NH_NERVESKEY_STAGE_CONFIGURED: return "unfinished: configuration locked, data open (nerveskey provision goes on)";
	case NH_NERVESKEY_STAGE_KEY_OPEN: return "unfinished: data locked, the key's slot is not (nerveskey repair)";
	case NH_NERVESKEY_STAGE_DONE: return "provisioned";
	case NH_NERVESKEY_STAGE_FOREIGN: break;
	}
	return "locked to another layout";
}

static void put_otp(json_t *o, const struct nh_nerveskey_info *info)
{
	json_object_set_new(o, "manufacturer_serial", info->manufacturer_serial[0] ? nh_json_new_text(nh_slice_str(info->manufacturer_serial)) : json_null());
	json_object_set_new(o, "board_name", info->has_otp ? nh_json_new_text(nh_slice_str(info->otp.board_name)) : json_null());
	json_object_set_new(o, "user_data", info->has_otp && info->otp.has_user_data ? json_hex(info->otp.user_data, sizeof info->otp.user_data) : json_null());
}

json_t *info_json(const struct app *app, const struct nh_nerveskey_info *info)
{
	const struct nh_atecc_transport *t = nh_atecc_transport_of(nh_nerveskey_chip(app->key));
	json_t *o = json_object();
	json_object_set_new(o, "bus", nh_json_new_text(nh_slice_str(t->name)));
	json_object_set_new(o, "address", json_integer(t->address));
	json_object_set_new(o, "model", json_string(nh_atecc_model_name(info->model)));
	json_object_set_new(o, "revision", json_hex(info->revision, sizeof info->revision));
	json_object_set_new(o, "chip_serial", json_hex(info->chip_serial, sizeof info->chip_serial));
	json_object_set_new(o, "layout", json_string(kind_text(info->state.kind)));
	json_object_set_new(o, "state", json_string(status_name(state_status(&info->state))));
	json_object_set_new(o, "config_locked", json_boolean(info->state.config_locked));
	json_object_set_new(o, "data_locked", json_boolean(info->state.data_locked));
	json_object_set_new(o, "open_slots", json_slots(info->state.open_slots));
	json_object_set_new(o, "differing_slots", json_slots(info->state.differing_slots));
	put_otp(o, info);
	json_object_set_new(o, "default_serial", json_string(info->default_serial));
	if (info->mac[0])
		json_object_set_new(o, "mac", json_string(info->mac));
	json_object_set_new(o, "public_key", info->has_public_key ? json_hex(info->public_key, sizeof info->public_key) : json_null());
	json_object_set_new(o, "auxiliary_certificate", json_boolean(info->has_aux));
	if (info->latch_known)
		json_object_set_new(o, "latch", json_boolean(info->latch));
	return o;
}

static void row_hex(const char *label, const uint8_t *bytes, size_t len)
{
	NH_AUTO_BUF struct nh_buf hex = NH_BUF_INIT;
	nh_hex_put(&hex, nh_slice_of(bytes, len));
	print_row(label, "%s", nh_buf_cstr(&hex));
}

static void row_slots(const char *label, unsigned bits)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		if (bits >> slot & 1)
			nh_buf_printf(&text, "%s%u", text.len ? " " : "", slot);
	print_row(label, "%s", text.len ? nh_buf_cstr(&text) : "none");
}

void info_print(const struct app *app, const struct nh_nerveskey_info *info)
{
	print_row("bus", "%s", nh_atecc_transport_of(nh_nerveskey_chip(app->key))->name);
	print_row("chip", "%s, revision %02x%02x%02x%02x", nh_atecc_model_name(info->model), info->revision[0], info->revision[1], info->revision[2], info->revision[3]);
	row_hex("chip serial", info->chip_serial, sizeof info->chip_serial);
	print_row("layout", "%s", kind_text(info->state.kind));
	print_row("state", "%s", stage_text(&info->state));
	print_row("configuration", "%s", info->state.config_locked ? "locked" : "open");
	print_row("data", "%s", info->state.data_locked ? "locked" : "open");
	row_slots("unlocked slots", info->state.open_slots);
	if (info->state.kind == NH_NERVESKEY_FOREIGN)
		row_slots("differing slots", info->state.differing_slots);
	if (info->manufacturer_serial[0])
		print_row("manufacturer serial", "%s", info->manufacturer_serial);
	else
		print_row("default serial", "%s", info->default_serial);
	if (info->has_otp)
		print_row("board name", "%s", info->otp.board_name);
	if (info->has_otp && info->otp.has_user_data)
		row_hex("user data", info->otp.user_data, sizeof info->otp.user_data);
	if (info->mac[0])
		print_row("MAC address", "%s", info->mac);
	if (info->has_public_key)
		row_hex("public key", info->public_key, sizeof info->public_key);
	if (info->state.data_locked)
		print_row("auxiliary certificate", "%s", info->has_aux ? "yes" : "no");
	if (info->latch_known)
		print_row("latch", "%s", info->latch ? "set: the key works" : "not set: nerveskey unlock lets the key work");
}

/* ---- certificates */

json_t *certificate_json(nh_slice der)
{
	struct nh_nerveskey_certificate c;
	uint8_t fingerprint[32];
	if (nh_nerveskey_certificate_parse(der, &c, NULL) != NH_OK)
		return json_null();
	nh_p256_sha256(der, fingerprint);
	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "common_name", nh_json_new_text(c.common_name), "serial", json_hex(c.serial.ptr, c.serial.len), "not_before",
			 json_time(c.not_before_s), "not_after", json_time(c.not_after_s), "public_key", json_hex(c.public_key, sizeof c.public_key), "key_identifier",
			 json_hex(c.key_identifier, sizeof c.key_identifier), "sha256", json_hex(fingerprint, sizeof fingerprint), "pem", json_pem(der));
}

void certificate_print(const char *title, nh_slice der)
{
	struct nh_nerveskey_certificate c;
	NH_AUTO_BUF struct nh_buf from = NH_BUF_INIT, to = NH_BUF_INIT;
	uint8_t fingerprint[32];
	if (nh_nerveskey_certificate_parse(der, &c, NULL) != NH_OK)
		return;
	nh_p256_sha256(der, fingerprint);
	nh_time_put_iso(&from, c.not_before_s * NH_US_PER_S);
	nh_time_put_iso(&to, c.not_after_s * NH_US_PER_S);
	print_row(title, "CN=%.*s", NH_ARG(c.common_name));
	row_hex("  serial number", c.serial.ptr, c.serial.len);
	print_row("  valid", "%s to %s", nh_buf_cstr(&from), nh_buf_cstr(&to));
	row_hex("  key identifier", c.key_identifier, sizeof c.key_identifier);
	row_hex("  SHA-256", fingerprint, sizeof fingerprint);
}

/* ---- plans */

static json_t *config_changes(const struct nh_nerveskey_plan *plan)
{
	json_t *list = json_array();
	for (size_t i = 0; i < NH_ATECC_CONFIG_LEN; i++)
		if (plan->info.config[i] != plan->config[i])
			json_array_append_new(list, json_pack("{s:i,s:o,s:o}", "byte", (int)i, "from", json_hex(plan->info.config + i, 1), "to", json_hex(plan->config + i, 1)));
	return list;
}

/* The device certificate as it will be, but for key and signature. */
static json_t *device_to_be(const struct nh_nerveskey_plan *plan)
{
	return json_pack("{s:s,s:s,s:o,s:i}", "common_name", plan->manufacturer_serial, "issuer", "Signer", "not_before", json_time(nh_nerveskey_not_before(&nh_clock_system)), "years",
			 (int)NH_NERVESKEY_YEARS_MAX);
}

json_t *plan_json(const struct nh_nerveskey_plan *plan, nh_slice signer_der)
{
	json_t *steps = json_array();
	for (int i = 0; i < NH_NERVESKEY_STEPS; i++)
		if (plan->needed[i])
			json_array_append_new(steps, json_string(nh_nerveskey_step_name((nh_nerveskey_step)i)));
	return json_pack("{s:b,s:s,s:o,s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "dry_run", 1, "layout", kind_text(plan->kind), "chip_serial",
			 json_hex(plan->info.chip_serial, NH_ATECC_SERIAL_LEN), "manufacturer_serial", plan->manufacturer_serial, "board_name", plan->board_name, "steps", steps,
			 "configuration_changes", config_changes(plan), "configuration", json_hex(plan->config, sizeof plan->config), "otp", json_hex(plan->otp, sizeof plan->otp),
			 "signer_compressed", json_hex(plan->signer_compressed, sizeof plan->signer_compressed), "signer", certificate_json(signer_der), "device", device_to_be(plan));
}

/* What a byte of the configuration is for. source: reference/nerveskey "4.3" */
static void config_byte_describe(struct nh_buf *out, size_t at)
{
	static const struct {
		size_t from, to;
		const char *name;
	} ranges[] = {{16, 16, "I2C address"}, {18, 18, "OTP mode"}, {19, 19, "chip mode"}, {69, 69, "volatile key permission"}, {92, 95, "certificate formats"}};
	if (at >= 20 && at < 52)
		nh_buf_printf(out, "SlotConfig of slot %zu", (at - 20) / 2);
	else if (at >= 96)
		nh_buf_printf(out, "KeyConfig of slot %zu", (at - 96) / 2);
	for (size_t i = 0; i < NH_ARRAY_LEN(ranges); i++)
		if (at >= ranges[i].from && at <= ranges[i].to)
			nh_buf_put_str(out, ranges[i].name);
}

static void config_print(const struct nh_nerveskey_plan *plan)
{
	bool any = false;
	for (size_t i = 0; i < NH_ATECC_CONFIG_LEN; i++)
		if (plan->info.config[i] != plan->config[i]) {
			if (!any)
				puts("\nConfiguration bytes that change, then locked for ever:");
			NH_AUTO_BUF struct nh_buf what = NH_BUF_INIT;
			config_byte_describe(&what, i);
			printf("  %3zu: %02x -> %02x  %s\n", i, plan->info.config[i], plan->config[i], nh_buf_cstr(&what));
			any = true;
		}
	if (!any)
		puts("\nConfiguration: as it is.");
}

static void otp_print(const struct nh_nerveskey_plan *plan)
{
	static const char *const fields[] = {"magic, flags, board name", "serial number", "user data, or more of the serial", ""};
	puts("\nOne-time-programmable zone, all 64 bytes, then locked for ever:");
	for (unsigned row = 0; row < 4; row++) {
		printf("  %2u:", row * 16);
		for (unsigned i = 0; i < 16; i++)
			printf(" %02x", plan->otp[row * 16 + i]);
		putchar(' ');
		for (unsigned i = 0; i < 16; i++) {
			uint8_t c = plan->otp[row * 16 + i];
			putchar(c >= 0x20 && c < 0x7f ? c : '.');
		}
		printf("  %s\n", fields[row]);
	}
}

void plan_print(const struct nh_nerveskey_plan *plan, nh_slice signer_der)
{
	NH_AUTO_BUF struct nh_buf from = NH_BUF_INIT, signer = NH_BUF_INIT;
	nh_time_put_iso(&from, nh_nerveskey_not_before(&nh_clock_system) * NH_US_PER_S);
	nh_hex_put(&signer, nh_slice_of(plan->signer_compressed, sizeof plan->signer_compressed));
	print_row("chip", "%s", nh_atecc_model_name(plan->info.model));
	row_hex("chip serial", plan->info.chip_serial, NH_ATECC_SERIAL_LEN);
	print_row("found", "%s", stage_text(&plan->info.state));
	print_row("layout", "%s", kind_text(plan->kind));
	print_row("manufacturer serial", "%s", plan->manufacturer_serial);
	print_row("board name", "%s", plan->board_name);
	certificate_print("signer certificate", signer_der);
	print_row("device certificate", "CN=%s", plan->manufacturer_serial);
	print_row("  valid", "from %s, %u years", nh_buf_cstr(&from), NH_NERVESKEY_YEARS_MAX);
	if (!plan->repair_only) {
		config_print(plan);
		otp_print(plan);
		puts("\nSlots:\n   0: a private key made in the chip, which never leaves it; locked for ever\n  10: the device certificate's 72 bytes, made when the key is known; locked for ever");
		printf("  11: the signer's public key; locked for ever\n  12: %s; locked for ever\n", nh_buf_cstr(&signer));
		puts(plan->kind == NH_NERVESKEY_VOLATILE ? "   1: the activation key, 2: the encryption key; locked for ever\n   others: zeros" : "  others: zeros");
	}
	fputs("\nSteps:", stdout);
	for (int i = 0; i < NH_NERVESKEY_STEPS; i++)
		if (plan->needed[i])
			printf(" %s", nh_nerveskey_step_name((nh_nerveskey_step)i));
	putchar('\n');
}

/* ---- receipts */

json_t *receipt_json(const struct nh_nerveskey_info *info, nh_slice device_der, nh_slice signer_der)
{
	json_t *o = json_object();
	json_object_set_new(o, "ok", json_true());
	put_otp(o, info);
	json_object_set_new(o, "chip_serial", json_hex(info->chip_serial, sizeof info->chip_serial));
	json_object_set_new(o, "model", json_string(nh_atecc_model_name(info->model)));
	json_object_set_new(o, "revision", json_hex(info->revision, sizeof info->revision));
	json_object_set_new(o, "layout", json_string(kind_text(info->state.kind)));
	json_object_set_new(o, "public_key", json_hex(info->public_key, sizeof info->public_key));
	json_object_set_new(o, "certificate", certificate_json(device_der));
	json_object_set_new(o, "signer", certificate_json(signer_der));
	json_object_set_new(o, "configuration", json_hex(info->config, sizeof info->config));
	json_object_set_new(o, "provisioned_at", json_time(nh_clock_now(&nh_clock_system) / NH_US_PER_S));
	json_object_set_new(o, "tool", json_string("nerveskey " NH_VERSION));
	return o;
}

/*
 * What survives power, as the text of a state file: a JSON object with every byte of the chip in hexadecimal, private keys included, so that a file can be read, compared and edited
 * by hand. A text that says something impossible is refused whole.
 */
#include "base/encode.h"
#include "base/json.h"
#include "chip_int.h"

#define FORMAT "nerveskey-sim 1"
#define TEXT_MAX 65536u

static const char *const model_names[] = {[NH_CHIP_508A] = "ATECC508A", [NH_CHIP_608A] = "ATECC608A", [NH_CHIP_608B] = "ATECC608B"};
static const char *const member_names[] = {"format", "model", "address", "config", "otp", "slots", "private_keys", "validated_keys"};

/* ---- out */

static json_t *hex_new(const uint8_t *bytes, size_t len)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_hex_put(&text, nh_slice_of(bytes, len));
	json_t *value = nh_json_new_text(nh_buf_slice(&text));
	nh_chip_wipe(text.ptr, text.len);
	return value;
}

static json_t *slots_new(uint16_t bits)
{
	json_t *list = json_array();
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		if ((bits >> slot & 1) != 0)
			json_array_append_new(list, json_integer((json_int_t)slot));
	return list;
}

void nh_chip_state_put(struct nh_buf *out, const struct nh_chip_state *state)
{
	NH_AUTO_JSON json_t *root = json_object();
	json_t *slots = json_array();
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		json_array_append_new(slots, hex_new(state->slots[slot], nh_atecc_slot_len(slot)));
	json_object_set_new(root, "format", json_string(FORMAT));
	json_object_set_new(root, "model", json_string(model_names[state->model]));
	json_object_set_new(root, "address", json_integer(state->address));
	json_object_set_new(root, "config", hex_new(state->config, sizeof(state->config)));
	json_object_set_new(root, "otp", hex_new(state->otp, sizeof(state->otp)));
	json_object_set_new(root, "slots", slots);
	json_object_set_new(root, "private_keys", slots_new(state->key_valid));
	json_object_set_new(root, "validated_keys", slots_new(state->key_validated));
	nh_json_put_pretty(out, root);
}

/* ---- in */

static nh_rc hex_get(nh_slice text, const char *what, uint8_t *out, size_t len, struct nh_err *err)
{
	if (text.len != 2 * len || nh_hex_decode_fixed(text, out, len) != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "state of a simulated chip: \"%s\" must be %zu bytes in hexadecimal", what, len);
	return NH_OK;
}

static nh_rc model_get(nh_slice name, nh_chip_model *out, struct nh_err *err)
{
	for (unsigned i = 0; i < NH_ARRAY_LEN(model_names); i++) {
		if (nh_slice_eq_str(name, model_names[i])) {
			*out = (nh_chip_model)i;
			return NH_OK;
		}
	}
	return NH_FAIL(err, NH_EFORMAT, "state of a simulated chip: \"model\" is '%.*s', expected ATECC508A, ATECC608A or ATECC608B", NH_ARG(nh_slice_sub(name, 0, 40)));
}

static nh_rc slots_get(const json_t *list, const char *what, uint16_t *out, struct nh_err *err)
{
	*out = 0;
	if (!json_is_array(list))
		return NH_FAIL(err, NH_EFORMAT, "state of a simulated chip: \"%s\" must be a list of slot numbers", what);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *slot = json_array_get(list, i);
		json_int_t number = json_integer_value(slot);
		if (!json_is_integer(slot) || number < 0 || number >= (json_int_t)NH_ATECC_SLOTS)
			return NH_FAIL(err, NH_EFORMAT, "state of a simulated chip: \"%s\" holds something that is no slot number (0 to 15)", what);
		*out |= (uint16_t)(1u << number);
	}
	return NH_OK;
}

static nh_rc contents_get(const json_t *root, struct nh_chip_state *out, struct nh_err *err)
{
	const json_t *slots = json_object_get(root, "slots");
	if (!json_is_array(slots) || json_array_size(slots) != NH_ATECC_SLOTS)
		return NH_FAIL(err, NH_EFORMAT, "state of a simulated chip: \"slots\" must be a list of 16 texts");
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++) {
		const json_t *text = json_array_get(slots, slot);
		char what[16];
		snprintf(what, sizeof(what), "slots[%u]", slot);
		NH_TRY(hex_get(nh_slice_of(json_string_value(text), json_string_length(text)), what, out->slots[slot], nh_atecc_slot_len(slot), err));
	}
	NH_TRY(hex_get(nh_json_text(root, "config"), "config", out->config, sizeof(out->config), err));
	NH_TRY(hex_get(nh_json_text(root, "otp"), "otp", out->otp, sizeof(out->otp), err));
	NH_TRY(slots_get(json_object_get(root, "private_keys"), "private_keys", &out->key_valid, err));
	return slots_get(json_object_get(root, "validated_keys"), "validated_keys", &out->key_validated, err);
}

/* Locks are one of two values, and what is called a private key must be one. */
static nh_rc plausible(const struct nh_chip_state *state, struct nh_err *err)
{
	for (unsigned at = CFG_LOCK_VALUE; at <= CFG_LOCK_CONFIG; at++)
		if (state->config[at] != UNLOCKED && state->config[at] != 0)
			return NH_FAIL(err, NH_EFORMAT, "state of a simulated chip: byte %u of \"config\" is 0x%02x, a lock is 55 (open) or 00 (locked)", at, state->config[at]);
	if (state->config[CFG_LOCK_VALUE] == 0 && state->config[CFG_LOCK_CONFIG] != 0)
		return NH_FAIL(err, NH_EFORMAT, "state of a simulated chip: the data zone is locked and the configuration is not");
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++) {
		struct nh_p256_key key;
		if ((state->key_valid >> slot & 1) == 0)
			continue;
		if (nh_p256_from_scalar(state->slots[slot] + 4, &key) != NH_OK)
			return NH_FAIL(err, NH_EFORMAT, "state of a simulated chip: \"private_keys\" names slot %u, which does not hold a P-256 key", slot);
		nh_p256_key_wipe(&key);
	}
	return NH_OK;
}

static nh_rc members_known(const json_t *root, struct nh_err *err)
{
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)root, name, value) {
		size_t i = 0;
		while (i < NH_ARRAY_LEN(member_names) && strcmp(name, member_names[i]) != 0)
			i++;
		if (i == NH_ARRAY_LEN(member_names))
			return NH_FAIL(err, NH_EFORMAT, "state of a simulated chip: unknown member \"%.40s\"", name);
	}
	return NH_OK;
}

nh_rc nh_chip_state_parse(nh_slice text, struct nh_chip_state *out, struct nh_err *err)
{
	NH_AUTO_JSON json_t *root = NULL;
	struct nh_chip_state state = {.model = NH_CHIP_508A};
	NH_TRY_CTX(nh_json_parse(text, TEXT_MAX, &root, err), err, "state of a simulated chip");
	if (!nh_slice_eq_str(nh_json_text(root, "format"), FORMAT))
		return NH_FAIL(err, NH_EFORMAT, "state of a simulated chip: \"format\" must be '" FORMAT "'");
	NH_TRY(members_known(root, err));
	NH_TRY(model_get(nh_json_text(root, "model"), &state.model, err));
	int64_t address = nh_json_int(root, "address", -1);
	if (address < 0 || address > 0x7F)
		return NH_FAIL(err, NH_EFORMAT, "state of a simulated chip: \"address\" must be a 7-bit number");
	state.address = (uint8_t)address;
	NH_TRY(contents_get(root, &state, err));
	NH_TRY(plausible(&state, err));
	*out = state;
	nh_chip_wipe(&state, sizeof(state));
	return NH_OK;
}

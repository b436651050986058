/* The text commands of a simulated bus: a table, one function each. */
#include "simbus.h"

static uint16_t le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static void put_hex(struct nh_buf *out, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		nh_buf_printf(out, "%02X", bytes[i]);
}

static bool locked(const struct nh_chip_state *s, unsigned byte)
{
	return s->config[byte] != 0x55;
}

/* What a slot is, from its two configuration words. source: reference/nerveskey "4.3" */
static void describe_slot(struct nh_buf *out, const struct nh_chip_state *s, unsigned slot)
{
	uint16_t use = le16(s->config + 20 + 2 * slot), key = le16(s->config + 96 + 2 * slot);
	bool slot_locked = !(le16(s->config + 88) >> slot & 1), private_key = key & 1;
	nh_buf_printf(out, "  %2u %3zu bytes  ", slot, nh_atecc_slot_len(slot));
	put_hex(out, s->config + 20 + 2 * slot, 2);
	nh_buf_put_str(out, " ");
	put_hex(out, s->config + 96 + 2 * slot, 2);
	if (private_key)
		nh_buf_printf(out, "  private key, %s", s->key_valid >> slot & 1 ? "generated or written" : "none yet");
	else
		nh_buf_printf(out, "  data, %s", use & 0x80 ? (use & 0x40 ? "read encrypted" : "secret") : "readable");
	nh_buf_printf(out, "%s\n", slot_locked ? ", locked" : "");
}

void simbus_describe(struct nh_buf *out, const struct nh_chip_state *s)
{
	uint8_t serial[NH_ATECC_SERIAL_LEN];
	chip_serial_of(s, serial);
	nh_buf_printf(out, "%s at 0x%02x, serial number ", chip_model_name(s->model), s->address);
	put_hex(out, serial, sizeof serial);
	nh_buf_printf(out, "\nconfiguration %s, data and OTP %s\n", locked(s, 87) ? "locked" : "unlocked", locked(s, 86) ? "locked" : "unlocked");
	nh_buf_put_str(out, "configuration zone\n");
	for (size_t i = 0; i < NH_ATECC_CONFIG_LEN; i += 32) {
		nh_buf_printf(out, "  %3zu ", i);
		put_hex(out, s->config + i, 32);
		nh_buf_put_str(out, "\n");
	}
	nh_buf_put_str(out, "OTP zone\n  ");
	put_hex(out, s->otp, sizeof s->otp);
	nh_buf_put_str(out, "\nslots (SlotConfig, KeyConfig)\n");
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		describe_slot(out, s, slot);
}

/* "7", or the whole of it where it is absent. */
static nh_rc number(nh_slice text, uint32_t *out, struct nh_err *err)
{
	uint64_t value = 0;
	if (text.len == 0)
		return NH_OK;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9' || (value = value * 10 + (text.ptr[i] - '0')) > UINT32_MAX)
			return NH_FAIL(err, NH_EINVAL, "a fault's numbers are 0 to 4294967295, not '%.*s'", NH_ARG(text));
	}
	*out = (uint32_t)value;
	return NH_OK;
}

nh_rc fault_parse(nh_slice text, struct fault_wish *out, struct nh_err *err)
{
	nh_slice name, rest = text, field;
	*out = (struct fault_wish){.count = 1};
	uint32_t *const numbers[] = {&out->skip, &out->count, &out->argument};
	nh_slice_cut(text, ':', &name, &rest);
	for (size_t i = 0; i < NH_ARRAY_LEN(numbers); i++) {
		nh_slice_cut(rest, ':', &field, &rest);
		NH_TRY(number(field, numbers[i], err));
	}
	if (rest.len)
		return NH_FAIL(err, NH_EINVAL, "a fault is NAME[:SKIP[:COUNT[:ARGUMENT]]], not '%.*s'", NH_ARG(text));
	NH_AUTO_BUF struct nh_buf known = NH_BUF_INIT;
	for (unsigned f = 0; f < NH_CHIP_FAULTS; f++) {
		if (nh_slice_eq_str(name, nh_chip_fault_name((nh_chip_fault)f))) {
			out->fault = (nh_chip_fault)f;
			return NH_OK;
		}
		nh_buf_printf(&known, "%s%s", f ? ", " : "", nh_chip_fault_name((nh_chip_fault)f));
	}
	return NH_FAIL(err, NH_EINVAL, "there is no fault '%.*s', only %s", NH_ARG(name), nh_buf_cstr(&known));
}

typedef nh_rc command_fn(struct simbus *bus, struct chip_file *chip, nh_slice argument, struct nh_buf *answer, struct nh_err *err);

static nh_rc show(struct simbus *bus, struct chip_file *chip, nh_slice argument, struct nh_buf *answer, struct nh_err *err)
{
	if (chip) {
		simbus_describe(answer, nh_chip_state_of(chip->chip));
		return NH_OK;
	}
	for (size_t i = 0; i < bus->count; i++)
		nh_buf_printf(answer, "0x%02x %s %s\n", nh_chip_address(bus->chips[i]->chip), chip_model_name(nh_chip_state_of(bus->chips[i]->chip)->model), bus->chips[i]->path);
	return NH_OK;
}

static nh_rc power_cycle(struct simbus *bus, struct chip_file *chip, nh_slice argument, struct nh_buf *answer, struct nh_err *err)
{
	for (size_t i = 0; i < bus->count; i++) {
		if (chip && chip != bus->chips[i])
			continue;
		nh_chip_power_cycle(bus->chips[i]->chip);
		NH_TRY(chip_file_settle(bus->chips[i], err));
	}
	return NH_OK;
}

static nh_rc wipe(struct simbus *bus, struct chip_file *chip, nh_slice argument, struct nh_buf *answer, struct nh_err *err)
{
	return chip_file_wipe(chip, err);
}

static nh_rc fault(struct simbus *bus, struct chip_file *chip, nh_slice argument, struct nh_buf *answer, struct nh_err *err)
{
	struct fault_wish wish;
	NH_TRY(fault_parse(argument, &wish, err));
	nh_chip_fault_arm(chip->chip, wish.fault, wish.skip, wish.count, wish.argument);
	return NH_OK;
}

static const struct {
	const char *name;
	bool argument; /* a word before the address */
	bool one_chip; /* the address may be left out only where there is one chip */
	command_fn *run;
} commands[] = {
	{"show", false, false, show},
	{"power-cycle", false, false, power_cycle},
	{"wipe", false, true, wipe},
	{"fault", true, true, fault},
};

static nh_rc choose(struct simbus *bus, nh_slice address, bool needed, struct chip_file **out, struct nh_err *err)
{
	*out = bus->count == 1 ? bus->chips[0] : NULL;
	if (address.len) {
		char text[16] = "";
		uint8_t value;
		if (address.len < sizeof text)
			memcpy(text, address.ptr, address.len);
		NH_TRY(chip_address_parse(text, &value, err));
		if (!(*out = simbus_find(bus, value)))
			return NH_FAIL(err, NH_ENOTFOUND, "there is no chip at 0x%02x", value);
	}
	return *out || !needed ? NH_OK : NH_FAIL(err, NH_EINVAL, "there are %zu chips on this bus: say which by its address", bus->count);
}

nh_rc simbus_control(struct simbus *bus, nh_slice command, struct nh_buf *answer, struct nh_err *err)
{
	nh_slice name, argument = NH_SLICE_EMPTY, rest;
	struct chip_file *chip;
	nh_slice_cut(nh_slice_trim(command), ' ', &name, &rest);
	for (size_t i = 0; i < NH_ARRAY_LEN(commands); i++) {
		if (!nh_slice_eq_str(name, commands[i].name))
			continue;
		if (commands[i].argument)
			nh_slice_cut(rest, ' ', &argument, &rest);
		NH_TRY(choose(bus, nh_slice_trim(rest), commands[i].one_chip, &chip, err));
		return commands[i].run(bus, chip, argument, answer, err);
	}
	return NH_FAIL(err, NH_EINVAL, "unknown command '%.*s': show, power-cycle, wipe or fault", NH_ARG(nh_slice_sub(name, 0, 32)));
}

/*
 * Chips as they leave the factory: the configuration of real parts with a serial number of their own, everything else erased.
 * source: reference/nerveskey "4.4", "4.5", "15"
 */
#include "factory_int.h"

#define ERASED 0xFFu

/* What the models' configurations differ in; the rest is the same on all parts that were looked at. */
struct part {
	uint8_t revision[4];
	uint8_t aes_enable, i2c_enable, mode_18, last_key_use;
};
static const struct part parts[] = {
	[NH_CHIP_508A] = {{0x00, 0x00, 0x50, 0x00}, 0xC0, 0x59, 0x55, 0xFF},
	[NH_CHIP_608A] = {{0x00, 0x00, 0x60, 0x02}, 0xC1, 0x55, 0x00, 0x00},
	[NH_CHIP_608B] = {{0x00, 0x00, 0x60, 0x03}, 0x61, 0x55, 0x00, 0x00},
};

static const uint8_t slot_configs[32] = {0x83, 0x20, 0x87, 0x20, 0x8F, 0x20, 0xC4, 0x8F, 0x8F, 0x8F, 0x8F, 0x8F, 0x9F, 0x8F, 0xAF, 0x8F, [30] = 0xAF, [31] = 0x8F};
static const uint8_t key_configs[32] = {0x33, 0x00, 0x33, 0x00, 0x33, 0x00, 0x1C, 0x00, 0x1C, 0x00, 0x1C, 0x00, 0x1C, 0x00, 0x1C, 0x00,
					0x3C, 0x00, 0x3C, 0x00, 0x3C, 0x00, 0x3C, 0x00, 0x3C, 0x00, 0x3C, 0x00, 0x3C, 0x00, 0x1C, 0x00};
static const uint8_t counter_zero[8] = {0xFF, 0xFF, 0xFF, 0xFF};

/* 01 23 … EE is what generic parts have; Trust&Go ends with 01. */
static void serial_make(const struct nh_rng *rng, nh_chip_personality personality, uint8_t serial[NH_ATECC_SERIAL_LEN])
{
	nh_rng_fill(rng, serial, NH_ATECC_SERIAL_LEN);
	serial[0] = 0x01;
	serial[1] = 0x23;
	serial[8] = personality == NH_CHIP_TRUST_AND_GO ? 0x01 : 0xEE;
}

static void config_make(uint8_t *config, const struct part *part, const uint8_t serial[NH_ATECC_SERIAL_LEN])
{
	memset(config, 0, NH_ATECC_CONFIG_LEN);
	memcpy(config + CFG_SERIAL_HEAD, serial, 4);
	memcpy(config + CFG_REVISION, part->revision, 4);
	memcpy(config + CFG_SERIAL_TAIL, serial + 4, 5);
	config[CFG_AES_ENABLE] = part->aes_enable;
	config[CFG_AES_ENABLE + 1] = part->i2c_enable;
	config[CFG_ADDRESS] = NH_ATECC_ADDRESS << 1;
	config[CFG_MODE_18] = part->mode_18;
	memcpy(config + CFG_SLOT_CONFIG, slot_configs, sizeof(slot_configs));
	memcpy(config + CFG_COUNTERS, counter_zero, sizeof(counter_zero));
	memcpy(config + CFG_COUNTERS + 8, counter_zero, sizeof(counter_zero));
	memset(config + CFG_LAST_KEY_USE, part->last_key_use, CFG_USER_EXTRA - CFG_LAST_KEY_USE);
	config[CFG_LOCK_VALUE] = config[CFG_LOCK_CONFIG] = UNLOCKED;
	config[CFG_SLOT_LOCKED] = config[CFG_SLOT_LOCKED + 1] = 0xFF;
	memcpy(config + CFG_KEY_CONFIG, key_configs, sizeof(key_configs));
}

void nh_chip_state_factory(nh_chip_model model, nh_chip_personality personality, const uint8_t *serial, const struct nh_rng *rng, struct nh_chip_state *out)
{
	uint8_t made[NH_ATECC_SERIAL_LEN];
	NH_ASSERT((unsigned)model < NH_ARRAY_LEN(parts));
	*out = (struct nh_chip_state){.model = personality == NH_CHIP_TRUST_AND_GO ? NH_CHIP_608B : model};
	if (!serial)
		serial_make(rng, personality, made);
	config_make(out->config, &parts[out->model], serial ? serial : made);
	memset(out->otp, ERASED, sizeof(out->otp));
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		memset(out->slots[slot], ERASED, nh_atecc_slot_len(slot));
	if (personality == NH_CHIP_TRUST_AND_GO)
		nh_chip_factory_trust(out, rng);
	out->address = out->config[CFG_ADDRESS] >> 1;
}

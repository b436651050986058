/*
 * What the configuration zone says about locks, slots, keys and counters, and the persistent memory behind it. Every answer is computed from the 128 bytes themselves, as a driver
 * would read them; nothing is cached.
 * source: reference/nerveskey "4.3", "4.6", "4.7"
 */
#include "chip_int.h"

#define LIN_BITS 16u
#define USES_BYTES 16u

static uint16_t config_u16(const struct nh_chip *chip, unsigned at) { return (uint16_t)(chip->state.config[at] | chip->state.config[at + 1] << 8); }

bool nh_chip_is_608(const struct nh_chip *chip) { return chip->state.model != NH_CHIP_508A; }
bool nh_chip_config_locked(const struct nh_chip *chip) { return chip->state.config[CFG_LOCK_CONFIG] != UNLOCKED; }
bool nh_chip_data_locked(const struct nh_chip *chip) { return chip->state.config[CFG_LOCK_VALUE] != UNLOCKED; }
bool nh_chip_slot_locked(const struct nh_chip *chip, unsigned slot) { return (config_u16(chip, CFG_SLOT_LOCKED) >> slot & 1) == 0; }
uint16_t nh_chip_slot_config(const struct nh_chip *chip, unsigned slot) { return config_u16(chip, CFG_SLOT_CONFIG + 2 * slot); }
uint16_t nh_chip_key_config(const struct nh_chip *chip, unsigned slot) { return config_u16(chip, CFG_KEY_CONFIG + 2 * slot); }

bool nh_chip_is_private_slot(const struct nh_chip *chip, unsigned slot)
{
	uint16_t key = nh_chip_key_config(chip, slot);
	return (key & KEY_PRIVATE) != 0 && KEY_TYPE(key) == KEY_TYPE_P256;
}

/* Public keys take 72 bytes, so slots 0 to 7 cannot hold one. */
bool nh_chip_is_public_slot(const struct nh_chip *chip, unsigned slot)
{
	uint16_t key = nh_chip_key_config(chip, slot);
	return slot >= 8 && (key & KEY_PRIVATE) == 0 && KEY_TYPE(key) == KEY_TYPE_P256;
}

/* ---- counters: a bit per count in two registers that take turns, a binary number per round of each */

uint32_t nh_chip_counter_get(const struct nh_chip *chip, unsigned counter)
{
	const uint8_t *at = chip->state.config + CFG_COUNTERS + 8 * counter;
	uint32_t lin_a = (uint32_t)(at[0] << 8 | at[1]), lin_b = (uint32_t)(at[2] << 8 | at[3]);
	uint32_t bin_a = (uint32_t)(at[4] << 8 | at[5]), bin_b = (uint32_t)(at[6] << 8 | at[7]);
	uint32_t lin = lin_a != 0 ? lin_a : lin_b, zeros = 0;
	while (zeros < LIN_BITS && (lin >> (LIN_BITS - 1 - zeros) & 1) == 0)
		zeros++;
	return (lin_a != 0 ? bin_a * 32 : bin_b * 32 + LIN_BITS) + zeros;
}

/* shift 16 to 31 leaves nothing: a linear register whose turn is over. */
static uint16_t lin_of(uint32_t value) { return (uint16_t)(0xFFFFu >> value % 32); }

void nh_chip_counter_set(struct nh_chip *chip, unsigned counter, uint32_t value)
{
	uint32_t behind = value >= LIN_BITS ? value - LIN_BITS : 0;
	uint16_t fields[4] = {lin_of(value), lin_of(behind), (uint16_t)(value / 32), (uint16_t)(behind / 32)};
	uint8_t bytes[8];
	for (unsigned i = 0; i < 4; i++) {
		bytes[2 * i] = (uint8_t)(fields[i] >> 8);
		bytes[2 * i + 1] = (uint8_t)fields[i];
	}
	nh_chip_store(chip, chip->state.config + CFG_COUNTERS + 8 * counter, bytes, sizeof(bytes));
}

/* ---- use of keys */

/*
 * The 608's CountMatch: the limit stands twice at the begin of a slot. Where the two differ the first one counts: the vendor's tests keep AES keys in that slot and go on signing, so a real
 * chip doesn't refuse everything then.
 */
static uint32_t counter_limit(const struct nh_chip *chip)
{
	uint8_t match = chip->state.config[CFG_MODE_18];
	if (!nh_chip_is_608(chip) || (match & 1) == 0)
		return COUNTER_MAX;
	const uint8_t *at = chip->state.slots[match >> 4];
	uint32_t limit = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
	return limit < COUNTER_MAX ? limit : COUNTER_MAX;
}

/* Slot 15 of a 508A has its 128 uses as bits of its own, LastKeyUse; all other limited keys share counter 0. */
static bool uses_bits(const struct nh_chip *chip, unsigned slot) { return chip->state.model == NH_CHIP_508A && slot == 15; }

static bool uses_left(const struct nh_chip *chip, unsigned slot)
{
	if (!uses_bits(chip, slot))
		return nh_chip_counter_get(chip, 0) < counter_limit(chip);
	for (unsigned i = 0; i < USES_BYTES; i++)
		if (chip->state.config[CFG_LAST_KEY_USE + i] != 0)
			return true;
	return false;
}

static void use_count(struct nh_chip *chip, unsigned slot)
{
	if (!uses_bits(chip, slot)) {
		nh_chip_counter_set(chip, 0, nh_chip_counter_get(chip, 0) + 1);
		return;
	}
	unsigned i = 0;
	while (chip->state.config[CFG_LAST_KEY_USE + i] == 0)
		i++;
	uint8_t left = (uint8_t)(chip->state.config[CFG_LAST_KEY_USE + i] >> 1);
	nh_chip_store(chip, chip->state.config + CFG_LAST_KEY_USE + i, &left, 1);
}

bool nh_chip_key_usable(const struct nh_chip *chip, unsigned slot)
{
	uint16_t key = nh_chip_key_config(chip, slot);
	if ((key & KEY_REQ_AUTH) != 0 && chip->authorized != KEY_AUTH_KEY(key))
		return false;
	if (nh_chip_is_608(chip) && (key & KEY_DISABLE) != 0 && !chip->latch)
		return false;
	return (nh_chip_slot_config(chip, slot) & SLOT_LIMITED_USE) == 0 || uses_left(chip, slot);
}

uint8_t nh_chip_key_use(struct nh_chip *chip, unsigned slot)
{
	if (!nh_chip_key_usable(chip, slot))
		return NH_ATECC_EXECUTION_ERROR;
	if ((nh_chip_slot_config(chip, slot) & SLOT_LIMITED_USE) != 0)
		use_count(chip, slot);
	return NH_ATECC_SUCCESS;
}

/* ---- memory */

void nh_chip_store(struct nh_chip *chip, void *to, const void *from, size_t len)
{
	size_t reached = len < chip->write_limit ? len : chip->write_limit;
	chip->write_limit -= chip->write_limit == UINT32_MAX ? 0 : (uint32_t)reached;
	if (reached > 0 && memcmp(to, from, reached) != 0) {
		memcpy(to, from, reached);
		chip->dirty = true;
	}
}

bool nh_chip_key_load(const struct nh_chip *chip, unsigned slot, struct nh_p256_key *out)
{
	return (chip->state.key_valid >> slot & 1) != 0 && nh_p256_from_scalar(chip->state.slots[slot] + 4, out) == NH_OK;
}

void nh_chip_key_store(struct nh_chip *chip, unsigned slot, const uint8_t scalar[32])
{
	uint8_t padded[36] = {0};
	memcpy(padded + 4, scalar, NH_P256_LEN);
	nh_chip_store(chip, chip->state.slots[slot], padded, sizeof(padded));
	nh_chip_wipe(padded, sizeof(padded));
	chip->state.key_valid |= (uint16_t)(1u << slot);
	chip->dirty = true;
}

void nh_chip_public_load(const struct nh_chip *chip, unsigned slot, uint8_t public_key[64])
{
	memcpy(public_key, chip->state.slots[slot] + 4, NH_P256_LEN);
	memcpy(public_key + NH_P256_LEN, chip->state.slots[slot] + 40, NH_P256_LEN);
}

bool nh_chip_session_with(const struct nh_chip *chip, unsigned key)
{
	return chip->temp.valid && chip->temp.gen_dig && !chip->temp.from_input && !chip->temp.no_mac && chip->temp.key_id == key;
}

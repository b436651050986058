/*
 * A bus in the hands of an attacker: transfers, wakes, power cycles and faults from bytes, on any model in any lock state. What is locked stays locked, and the state can always be
 * stored and read back.
 *
 * Input: model and locks (1 byte), then steps: what (1), length (1), bytes. A write's packet gets its count and CRC from here, so that the search is not for CRCs.
 */
#include "fuzz.h"

#include "base/cursor.h"
#include "chip/chip.h"

#define STEPS_MAX 64u

static uint64_t fake_now(void *ctx) { return *(uint64_t *)ctx; }

static bool is_slow(uint8_t opcode) { return opcode == NH_ATECC_VERIFY || opcode == NH_ATECC_ECDH || opcode == NH_ATECC_SECURE_BOOT; }

/* opcode ‖ param1 ‖ param2 ‖ data as one good packet. */
static void send_packet(struct nh_chip *chip, nh_slice body, unsigned *curve_left)
{
	NH_AUTO_BUF struct nh_buf packet = NH_BUF_INIT;
	struct nh_rd r = nh_rd_of(body);
	uint8_t opcode = nh_rd_u8(&r), param1 = nh_rd_u8(&r);
	uint16_t param2 = nh_rd_u16le(&r);
	if (!nh_rd_ok(&r) || (is_slow(opcode) && (*curve_left)-- == 0))
		return;
	nh_buf_put_u8(&packet, NH_ATECC_COMMAND);
	if (nh_atecc_packet_put(&packet, opcode, param1, param2, nh_rd_bytes(&r, nh_rd_left(&r))) == NH_OK)
		(void)nh_chip_write(chip, nh_buf_slice(&packet));
}

static void step(struct nh_chip *chip, uint8_t what, nh_slice bytes, uint64_t *now_us, unsigned *curve_left)
{
	uint8_t reply[NH_ATECC_RESPONSE_MAX + 8];
	switch (what % 8) {
	case 0:
		nh_chip_power_cycle(chip);
		break;
	case 1:
		nh_chip_wake(chip);
		break;
	case 2:
		(void)nh_chip_read(chip, reply, bytes.len < sizeof(reply) ? bytes.len : sizeof(reply));
		break;
	case 3:
		(void)nh_chip_write(chip, bytes);
		break;
	case 4:
		nh_chip_fault_arm(chip, (nh_chip_fault)(what / 8 % NH_CHIP_FAULTS), 0, 1, bytes.len > 0 ? bytes.ptr[0] : 0);
		break;
	case 5:
		*now_us += (uint64_t)bytes.len * 10000;
		break;
	default:
		nh_chip_wake(chip);
		send_packet(chip, bytes, curve_left);
		*now_us += 1000;
		break;
	}
}

static void check(const struct nh_chip_state *before, const struct nh_chip_state *after)
{
	for (unsigned at = 86; at <= 87; at++)
		FUZZ_CHECK(before->config[at] == after->config[at] || after->config[at] == 0, "byte %u was unlocked", at);
	FUZZ_CHECK(memcmp(before->config, after->config, 16) == 0, "the factory's bytes changed");
	if (before->config[87] != 0)
		return;
	FUZZ_CHECK(memcmp(before->config + 90, after->config + 90, 38) == 0, "the locked configuration changed");
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++) {
		bool locked = (before->config[88 + slot / 8] >> slot % 8 & 1) == 0;
		FUZZ_CHECK(!locked || memcmp(before->slots[slot], after->slots[slot], NH_ATECC_SLOT_MAX) == 0, "locked slot %u changed", slot);
	}
}

static void check_storable(const struct nh_chip_state *state)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_chip_state back;
	nh_chip_state_put(&text, state);
	FUZZ_CHECK(nh_chip_state_parse(nh_buf_slice(&text), &back, NULL) == NH_OK, "not readable");
	FUZZ_CHECK(memcmp(back.slots, state->slots, sizeof(back.slots)) == 0, "read back differently");
}

/* 0-1 model, 0x08 and 0x10 locks, 0x20 Trust&Go, 0x40 times, 0x80 watchdog. */
static void chip_make(uint8_t first, const struct nh_chip_config *config, struct nh_chip **out)
{
	struct nh_chip_state state;
	nh_chip_state_factory((nh_chip_model)((first & 3) % 3), (first & 0x20) != 0 ? NH_CHIP_TRUST_AND_GO : NH_CHIP_BLANK, NULL, config->rng, &state);
	if ((first & 0x08) != 0)
		state.config[87] = 0;
	if ((first & 0x18) == 0x18)
		state.config[86] = 0;
	nh_chip_new(config, &state, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nh_rd r = nh_rd_of(nh_slice_of(data, size));
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 1);
	struct nh_chip *chip;
	uint64_t now_us = 1000000;
	unsigned curve_left = 3;
	uint8_t first = nh_rd_u8(&r);
	struct nh_chip_config config = {.rng = &rng, .now_us = fake_now, .clock_ctx = &now_us, .speed_percent = (first & 0x40) != 0 ? 100 : 0, .watchdog = (first & 0x80) != 0};
	chip_make(first, &config, &chip);
	nh_chip_wake(chip);
	for (unsigned i = 0; i < STEPS_MAX && nh_rd_left(&r) > 0; i++) {
		struct nh_chip_state before = *nh_chip_state_of(chip);
		uint8_t what = nh_rd_u8(&r), len = nh_rd_u8(&r);
		step(chip, what, nh_rd_bytes(&r, len < nh_rd_left(&r) ? len : nh_rd_left(&r)), &now_us, &curve_left);
		check(&before, nh_chip_state_of(chip));
	}
	check_storable(nh_chip_state_of(chip));
	nh_chip_free(chip);
	return 0;
}

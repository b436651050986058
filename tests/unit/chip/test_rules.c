/*
 * What is allowed when: one table of commands with the status in each of the three lock states, the addresses that exist, what Write may touch, locks and their sums.
 * source: reference/nerveskey "4.2", "4.3", "4.7", "5.6"
 */
#include "test_chip.h"

#include "chip_host.h"

#define Z32 "0000000000000000000000000000000000000000000000000000000000000000"
#define OK NH_ATECC_SUCCESS
#define PARSE NH_ATECC_PARSE_ERROR
#define EXEC NH_ATECC_EXECUTION_ERROR
#define ON_508A 1
#define ON_608 2
#define ON_ALL 3

/* A NervesKey's slots: 0 private, 1 to 9, 14, 15 free, 10 to 13 readable only; 4 is made a slot that is never read, 5 one that is secret. */
static const uint16_t slot_configs[NH_ATECC_SLOTS] = {0x2087, 0x0F0F, 0x0F0F, 0x0F0F, 0x8F80, 0x0F8F, 0x4F0F, 0x0F4F, 0x0F0F, 0x0F0F, 0x2F0F, 0x2F0F, 0x2F0F, 0x2F0F, 0x0F0F, 0x0F0F};
static const uint16_t key_configs[NH_ATECC_SLOTS] = {0x0033, 0x001C, 0x001C, 0x001C, 0x001C, 0x001C, 0x001C, 0x001C, 0x003C, 0x003C, 0x003C, 0x0030, 0x003C, 0x003C, 0x003C, 0x003C};

enum { OPEN, CONFIGURED, LOCKED, STATES };

static void start(struct bench *b, nh_chip_model model, int locks)
{
	struct nh_chip_state chip;
	bench_configured(b, model, locks == LOCKED, slot_configs, key_configs);
	chip = *nh_chip_state_of(b->chip);
	bench_stop(b);
	chip.config[18] = 0xAA; /* OTP is read only on a 508A */
	chip.config[87] = locks == OPEN ? 0x55 : 0;
	bench_start(b, &chip, 0, false);
}

static const struct rule {
	const char *command;
	uint8_t status[STATES];
	unsigned models;
} rules[] = {
	/* Read */
	{"02800000", {OK, OK, OK}, ON_ALL},
	{"02001500", {OK, OK, OK}, ON_ALL},
	{"02001f00", {OK, OK, OK}, ON_ALL},
	{"02002000", {PARSE, PARSE, PARSE}, ON_ALL},
	{"02802000", {PARSE, PARSE, PARSE}, ON_ALL},
	{"02800300", {OK, OK, OK}, ON_ALL},             /* a block's offset does not count */
	{"02810000", {EXEC, EXEC, OK}, ON_ALL},
	{"02010f00", {EXEC, EXEC, OK}, ON_ALL},
	{"02011000", {PARSE, PARSE, PARSE}, ON_ALL},
	{"02830000", {PARSE, PARSE, PARSE}, ON_ALL},
	{"02c20000", {PARSE, PARSE, PARSE}, ON_ALL},
	{"02820000", {EXEC, EXEC, EXEC}, ON_ALL},       /* a private key */
	{"02820800", {EXEC, EXEC, OK}, ON_ALL},
	{"02020801", {EXEC, EXEC, OK}, ON_ALL},         /* the last word of 36 bytes */
	{"02820801", {EXEC, EXEC, OK}, ON_ALL},         /* a partial block */
	{"02020901", {PARSE, PARSE, PARSE}, ON_ALL},
	{"02820802", {PARSE, PARSE, PARSE}, ON_ALL},
	{"0282400c", {EXEC, EXEC, OK}, ON_ALL},
	{"0202470c", {EXEC, EXEC, OK}, ON_ALL},
	{"0282400d", {PARSE, PARSE, PARSE}, ON_ALL},
	{"02824902", {EXEC, EXEC, OK}, ON_ALL},
	{"02024902", {EXEC, EXEC, OK}, ON_ALL},
	{"02024a02", {PARSE, PARSE, PARSE}, ON_ALL},
	{"02828000", {PARSE, PARSE, PARSE}, ON_ALL},    /* slot 16 */
	{"02822000", {EXEC, EXEC, EXEC}, ON_ALL},       /* secret, never readable */
	{"02823800", {EXEC, EXEC, EXEC}, ON_ALL},       /* encrypted but not secret: a configuration that allows nothing */
	{"0282500000", {PARSE, PARSE, PARSE}, ON_ALL},
	/* Write to the configuration */
	{"1200040001020304", {OK, EXEC, EXEC}, ON_ALL},
	{"1200030001020304", {EXEC, EXEC, EXEC}, ON_ALL},
	{"1200150001020304", {EXEC, EXEC, EXEC}, ON_ALL},
	{"120014000102030f", {OK, EXEC, EXEC}, ON_ALL},
	{"12001600ffff0000", {OK, EXEC, EXEC}, ON_ALL},
	{"1200170000000000", {OK, EXEC, EXEC}, ON_ALL},
	{"12800000" Z32, {EXEC, EXEC, EXEC}, ON_ALL},
	{"12801000" Z32, {EXEC, EXEC, EXEC}, ON_ALL},   /* a block with protected bytes */
	{"12801800" Z32, {OK, EXEC, EXEC}, ON_ALL},
	{"1200200001020304", {PARSE, PARSE, PARSE}, ON_ALL},
	{"12400400" Z32 Z32, {PARSE, PARSE, PARSE}, ON_ALL},
	{"12c00800" Z32 Z32, {EXEC, EXEC, EXEC}, ON_ALL},
	{"1280080001020304", {PARSE, PARSE, PARSE}, ON_ALL},
	{"12000400" Z32, {PARSE, PARSE, PARSE}, ON_ALL},
	{"12000400010203", {PARSE, PARSE, PARSE}, ON_ALL},
	/* Write to OTP */
	{"12810000" Z32, {EXEC, OK, EXEC}, ON_ALL},
	{"1201000001020304", {EXEC, EXEC, EXEC}, ON_ALL},
	{"12811000" Z32, {PARSE, PARSE, PARSE}, ON_ALL},
	/* Write to slots */
	{"12820800" Z32, {EXEC, OK, OK}, ON_ALL},
	{"12820801" Z32, {EXEC, OK, OK}, ON_ALL},
	{"1202080001020304", {EXEC, EXEC, OK}, ON_ALL},
	{"12820000" Z32, {EXEC, EXEC, EXEC}, ON_ALL},
	{"12822000" Z32, {EXEC, OK, EXEC}, ON_ALL},     /* never, but for the factory */
	{"12822800" Z32, {EXEC, OK, OK}, ON_ALL},
	{"1202280001020304", {EXEC, EXEC, EXEC}, ON_ALL}, /* secrets are written whole */
	{"12823000" Z32, {EXEC, OK, EXEC}, ON_ALL},     /* encrypted only */
	{"12825000" Z32, {EXEC, OK, EXEC}, ON_ALL},
	{"12825102" Z32, {EXEC, OK, EXEC}, ON_ALL},
	{"12825003" Z32, {PARSE, PARSE, PARSE}, ON_ALL},
	{"12828000" Z32, {PARSE, PARSE, PARSE}, ON_ALL},
	/* Random and Nonce work always */
	{"1b000000", {OK, OK, OK}, ON_ALL},
	{"1b010000", {OK, OK, OK}, ON_ALL},
	{"1b020000", {PARSE, PARSE, PARSE}, ON_ALL},
	{"16000000" NUM_IN, {OK, OK, OK}, ON_ALL},
	{"16010000" NUM_IN, {OK, OK, OK}, ON_ALL},
	{"16020000" NUM_IN, {PARSE, PARSE, PARSE}, ON_ALL},
	{"16030000" Z32, {OK, OK, OK}, ON_ALL},
	{"16030000" NUM_IN, {PARSE, PARSE, PARSE}, ON_ALL},
	{"16000000" Z32, {PARSE, PARSE, PARSE}, ON_ALL},
	{"16000080" NUM_IN, {PARSE, PARSE, PARSE}, ON_508A},
	{"16000080" NUM_IN, {OK, OK, OK}, ON_608},
	{"16430000" Z32, {PARSE, PARSE, PARSE}, ON_508A},
	{"16430000" Z32, {OK, OK, OK}, ON_608},
	{"16830000" Z32, {OK, OK, OK}, ON_608},
	{"16c30000" Z32, {PARSE, PARSE, PARSE}, ON_608},
	{"16230000" Z32 Z32, {PARSE, PARSE, PARSE}, ON_508A},
	{"16230000" Z32 Z32, {OK, OK, OK}, ON_608},
	{"16a30000" Z32 Z32, {PARSE, PARSE, PARSE}, ON_608},
	/* Keys need a configuration that is final */
	{"40040000", {EXEC, OK, OK}, ON_ALL},
	{"40040100", {EXEC, EXEC, EXEC}, ON_ALL},
	{"40200000", {PARSE, PARSE, PARSE}, ON_ALL},
	{"4004ffff", {EXEC, OK, OK}, ON_608},
	{"08000100" Z32, {EXEC, OK, OK}, ON_ALL},
	{"08000000" Z32, {EXEC, EXEC, EXEC}, ON_ALL},
	{"28000100" Z32 Z32 "00000000000000000000000000", {EXEC, NH_ATECC_MISCOMPARE, NH_ATECC_MISCOMPARE}, ON_ALL},
	{"28000100" Z32 Z32, {PARSE, PARSE, PARSE}, ON_ALL},
	{"41800000", {EXEC, EXEC, EXEC}, ON_ALL},       /* nothing to sign */
	{"1c000100", {EXEC, EXEC, EXEC}, ON_ALL},
	{"24000000", {OK, OK, OK}, ON_ALL},
	{"24010000", {OK, OK, OK}, ON_ALL},
	/* Info */
	{"30000000", {OK, OK, OK}, ON_ALL},
	{"30020000", {OK, OK, OK}, ON_ALL},
	{"30030000", {OK, OK, OK}, ON_ALL},
	{"30050000", {PARSE, PARSE, PARSE}, ON_ALL},
	{"30040000", {PARSE, PARSE, PARSE}, ON_508A},
	{"30040000", {OK, OK, OK}, ON_608},
	{"30040100", {PARSE, PARSE, PARSE}, ON_608},
	{"3000000000", {PARSE, PARSE, PARSE}, ON_ALL},
	/* Lock */
	{"17800000", {OK, EXEC, EXEC}, ON_ALL},
	{"17810000", {EXEC, OK, EXEC}, ON_ALL},
	{"17000000", {EXEC, EXEC, EXEC}, ON_ALL},       /* wrong sum */
	{"17010000", {EXEC, EXEC, EXEC}, ON_ALL},
	{"17020000", {EXEC, OK, OK}, ON_ALL},
	{"17060000", {EXEC, EXEC, EXEC}, ON_ALL},       /* slot 1 is not lockable */
	{"17030000", {PARSE, PARSE, PARSE}, ON_ALL},
	{"17840000", {PARSE, PARSE, PARSE}, ON_ALL},
	{"17c00000", {PARSE, PARSE, PARSE}, ON_ALL},
	/* What a model does not have */
	{"51000000" Z32, {PARSE, PARSE, PARSE}, ON_508A},
	{"77010000", {PARSE, PARSE, PARSE}, ON_508A},
	{"11040000", {PARSE, PARSE, PARSE}, ON_608},
	{"99000000", {PARSE, PARSE, PARSE}, ON_ALL},
};

static bool lock_kept(uint8_t before, uint8_t after) { return before == after || (before == 0x55 && after == 0); }

static void statuses(void **state)
{
	for (unsigned model = NH_CHIP_508A; model <= NH_CHIP_608B; model++) {
		for (size_t i = 0; i < NH_ARRAY_LEN(rules); i++) {
			const struct rule *rule = &rules[i];
			if ((rule->models & (model == NH_CHIP_508A ? ON_508A : ON_608)) == 0)
				continue;
			for (int locks = OPEN; locks < STATES; locks++) {
				struct bench b;
				start(&b, (nh_chip_model)model, locks);
				struct nh_chip_state before = *nh_chip_state_of(b.chip);
				nh_chip_dirty(b.chip);
				uint8_t got = bench_hex(&b, rule->command);
				if (got != rule->status[locks])
					fail_msg("%.40s on model %u in lock state %d: status %02x, expected %02x", rule->command, model, locks, got, rule->status[locks]);
				const struct nh_chip_state *after = nh_chip_state_of(b.chip);
				bool same = memcmp(&before, after, sizeof(before)) == 0;
				if (got != OK)
					assert_true(same); /* a refusal changes nothing */
				assert_int_equal(nh_chip_dirty(b.chip), !same);
				assert_true(lock_kept(before.config[86], after->config[86]) && lock_kept(before.config[87], after->config[87]));
				bench_stop(&b);
			}
		}
	}
}

static void fixed_pattern(void **state)
{
	static const uint8_t pattern[8] = {0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0};
	struct bench b;
	uint8_t first[32];
	start(&b, NH_CHIP_508A, OPEN);
	assert_status(&b, 0, "1b000000");
	assert_int_equal(b.reply_len, 32);
	for (size_t i = 0; i < 32; i += 8)
		assert_memory_equal(b.reply + i, pattern, 8);
	assert_status(&b, 0, "16000000" NUM_IN);
	assert_memory_equal(b.reply, pattern, 8);
	assert_status(&b, 0, "17800000");
	assert_status(&b, 0, "1b000000");
	memcpy(first, b.reply, 32);
	assert_memory_not_equal(first, pattern, 8);
	assert_status(&b, 0, "1b000000");
	assert_memory_not_equal(first, b.reply, 32);
	bench_stop(&b);
}

/* A slot's end: what is behind it is cut off in writing and zeros in reading. */
static void partial_blocks(void **state)
{
	struct bench b;
	static const char ones[] = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
	char command[128];
	start(&b, NH_CHIP_608B, LOCKED);
	snprintf(command, sizeof(command), "12820801%s", ones);
	assert_status(&b, 0, command);
	assert_status(&b, 0, "02820801");
	for (size_t i = 0; i < 32; i++)
		assert_int_equal(b.reply[i], i < 4 ? 0xFF : 0);
	snprintf(command, sizeof(command), "12824902%s", ones); /* slot 9, the offset does not count */
	assert_status(&b, 0, command);
	assert_status(&b, 0, "02824802");
	for (size_t i = 0; i < 32; i++)
		assert_int_equal(b.reply[i], i < 8 ? 0xFF : 0);
	assert_status(&b, 0, "02825000"); /* the slot behind is as it was */
	assert_int_equal(b.reply[0], (uint8_t)(10 * 16));
	bench_stop(&b);
}

/* One-time fuses of a 508A: bits only go from 1 to 0, and only in consumption mode. */
static void otp_consumption(void **state)
{
	for (unsigned model = NH_CHIP_508A; model <= NH_CHIP_608B; model++) {
		struct bench b;
		struct nh_chip_state chip;
		start(&b, (nh_chip_model)model, LOCKED);
		chip = *nh_chip_state_of(b.chip);
		bench_stop(&b);
		chip.config[18] = 0x55;
		memset(chip.otp, 0xF0, sizeof(chip.otp));
		bench_start(&b, &chip, 0, false);
		if (model != NH_CHIP_508A) {
			assert_status(&b, EXEC, "120101003c3c3c3c");
		} else {
			assert_status(&b, 0, "120101003c3c3c3c");
			assert_status(&b, 0, "02010100");
			assert_memory_equal(b.reply, "\x30\x30\x30\x30", 4);
			assert_status(&b, 0, "12810800" Z32);
			assert_status(&b, 0, "02810800");
			assert_int_equal(b.reply[31], 0);
		}
		bench_stop(&b);
	}
}

/* The sums that Lock compares: over the whole configuration; over all slots but private ones, then OTP. */
static void lock_sums(void **state)
{
	struct bench b;
	uint8_t data[1208 + 64];
	size_t len = 0;
	start(&b, NH_CHIP_508A, OPEN);
	uint16_t crc = nh_atecc_crc16(nh_slice_of(nh_chip_state_of(b.chip)->config, 128));
	assert_int_equal(bench_run(&b, NH_ATECC_LOCK, 0, (uint16_t)(crc + 1), NH_SLICE_EMPTY), EXEC);
	assert_int_equal(bench_run(&b, NH_ATECC_LOCK, 0, crc, NH_SLICE_EMPTY), OK);
	const struct nh_chip_state *chip = nh_chip_state_of(b.chip);
	for (unsigned slot = 1; slot < NH_ATECC_SLOTS; slot++) {
		memcpy(data + len, chip->slots[slot], nh_atecc_slot_len(slot));
		len += nh_atecc_slot_len(slot);
	}
	memcpy(data + len, chip->otp, 64);
	assert_int_equal(len + 64, 1236);
	crc = nh_atecc_crc16(nh_slice_of(data, len + 64));
	assert_int_equal(bench_run(&b, NH_ATECC_LOCK, 1, (uint16_t)(crc ^ 0x8000), NH_SLICE_EMPTY), EXEC);
	assert_int_equal(bench_run(&b, NH_ATECC_LOCK, 1, crc, NH_SLICE_EMPTY), OK);
	assert_int_equal(chip->config[86] | chip->config[87], 0);
	bench_stop(&b);
}

/* A locked slot: neither written nor replaced, in no state. */
static void locked_slots(void **state)
{
	for (int locks = CONFIGURED; locks < STATES; locks++) {
		struct bench b;
		start(&b, NH_CHIP_608A, locks);
		assert_status(&b, 0, "40040000");
		assert_status(&b, 0, "12824000" Z32);
		assert_status(&b, 0, "17020000");
		assert_status(&b, 0, "17220000"); /* slot 8 */
		assert_status(&b, EXEC, "17220000");
		assert_memory_equal(nh_chip_state_of(b.chip)->config + 88, "\xfe\xfe", 2);
		assert_status(&b, EXEC, "40040000");
		assert_status(&b, EXEC, "12824000" Z32);
		assert_status(&b, 0, "40000000");
		bench_stop(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(statuses),
		cmocka_unit_test(fixed_pattern),
		cmocka_unit_test(partial_blocks),
		cmocka_unit_test(otp_consumption),
		cmocka_unit_test(lock_sums),
		cmocka_unit_test(locked_slots),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

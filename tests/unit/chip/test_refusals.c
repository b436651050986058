/*
 * Every reason to refuse, one row each: a chip in which only this one thing is wrong. The rows of a command are together with one that shows that the command works there.
 */
#include "test_chip.h"

#include "chip_host.h"

#define OK NH_ATECC_SUCCESS
#define PARSE NH_ATECC_PARSE_ERROR
#define EXEC NH_ATECC_EXECUTION_ERROR
#define NONCE "16000000" NUM_IN
#define PASS "16030000:20"
#define TEMP_PRIVATE "4004ffff" /* TempKey holds a private key */
#define SHA_START "47000000"

/* Slots. */
enum { KEY, KEY_AUTH, KEY_LIMITED, AES_RANDOM, AES_LATCHED, SECRET, NO_MAC, RANDOM_ONLY, FREE, PUBLIC, LIMITED, ROLLED, ROLLED_LOCKED, OF_PRIVATE, KEY_LOCKED, CHILD };
static const uint16_t slot_configs[NH_ATECC_SLOTS] = {0x2087, 0x2087, 0x20A7, 0x0F0F, 0x0F0F, 0x8F80, 0x8F90, 0x8F80, 0x0F0F, 0x0F0F, 0x8FA0, 0x20A0, 0x2080, 0x3080, 0x2587, 0x1F09};
static const uint16_t key_configs[NH_ATECC_SLOTS] = {0x0033, 0x05B3, 0x0033, 0x0058, 0x1018, 0x001C, 0x001C, 0x005C, 0x003C, 0x0030, 0x003C, 0x003C, 0x003C, 0x003C, 0x0033, 0x0032};

/* What else is wrong with the chip. */
#define OLD 0x01u       /* a 508A */
#define OPEN 0x02u      /* configuration not locked */
#define DATA_OPEN 0x04u
#define WORN 0x08u      /* counter 0 is at its end */
#define NO_AES 0x10u
#define NO_IO 0x20u
#define MATCHED 0x40u   /* CountMatch: byte 18 of a 508A means something else */
#define WRAPPED 0x80u   /* the locked private key may be written encrypted */

static const struct row {
	unsigned chip;
	const char *before[3]; /* commands that succeed; "…:20" fills up with 0x20 bytes of data, "…:20=41" with bytes 0x41 */
	const char *command;
	uint8_t status;
} rows[] = {
	/* AES */
	{0, {NONCE}, "51000300:10", OK},
	{0, {0}, "51000300:10", EXEC},
	{0, {PASS}, "51000300:10", EXEC},
	{0, {0}, "51000400:10", EXEC},
	{0, {"30040300"}, "51000400:10", OK},
	{OPEN, {NONCE}, "51000300:10", EXEC},
	{0, {PASS}, "5100ffff:10", OK},
	{NO_AES, {PASS}, "5100ffff:10", EXEC},
	{0, {TEMP_PRIVATE}, "5100ffff:10", EXEC},
	{0, {PASS}, "5102ffff:10", PARSE},
	{0, {PASS}, "5100ffff:20", PARSE},
	{0, {PASS}, "5103ffff:10", PARSE},
	{0, {PASS}, "5103ffff:20", OK},
	/* KDF */
	{0, {PASS}, "56100000" "01000000", OK},
	{0, {PASS}, "56100000" "0100", PARSE},
	{0, {PASS}, "56100000" "01000080" ":80", OK},
	{0, {PASS}, "56100000" "01000081" ":81", PARSE},
	{0, {PASS}, "56100000" "01000000" ":1", PARSE},
	{0, {0}, "56520500" "02000000", OK},
	{0, {0}, "56521000" "02000000", PARSE},
	{0, {0}, "564a0508" "02000000", OK},
	{0, {0}, "564a0510" "02000000", PARSE},
	{0, {0}, "564a050c" "02000000", EXEC},
	{0, {0}, "56120500" "03000000", EXEC},
	{0, {0}, "56120900" "03000000", OK},
	{WORN, {0}, "56520a00" "02000000", EXEC},
	{0, {0}, "56520a00" "02000000", OK},
	{0, {TEMP_PRIVATE}, "56100000" "01000000", EXEC},
	{0, {PASS}, "56110000" "01000000", EXEC},
	{0, {"16230000:40"}, "56110000" "01000000", OK},
	{0, {0}, "56520500" "00050004" ":4", OK},
	{0, {0}, "56520500" "00000004" ":4", EXEC},
	{0, {0}, "56520500" "00050028" ":28", EXEC},
	{0, {PASS}, "56520500" "01000020" ":20", OK},
	{0, {0}, "56520500" "01000000", EXEC},
	{0, {PASS}, "56520500" "01000021" ":21", EXEC},
	{0, {TEMP_PRIVATE}, "56520500" "01000020" ":20", EXEC},
	{0, {PASS}, "56460500" "02000000", OK},
	{0, {0}, "56460500" "02000000", EXEC},
	{0, {PASS}, "56060500" "01010000", EXEC},
	{0, {0}, "560e0500" "01000000", OK},
	{0, {0}, "560e0500" "01010000", EXEC},
	{NO_IO, {0}, "56560500" "02000000", EXEC},
	{0, {0}, "56560500" "02000000", OK},
	{OPEN, {PASS}, "56100000" "01000000", EXEC},
	/* GenKey */
	{0, {NONCE}, "40100900000000", OK},
	{0, {NONCE}, "40100900", PARSE},
	{0, {NONCE}, "40140900000000", PARSE},
	{0, {NONCE}, "40101000000000", PARSE},
	{0, {NONCE}, "40100800000000", EXEC},
	{0, {0}, "40100900000000", EXEC},
	{OPEN, {NONCE}, "40100900000000", EXEC},
	{0, {NONCE}, "4008ffff", PARSE},
	{0, {TEMP_PRIVATE}, "4000ffff", OK},
	{0, {PASS}, "4000ffff", EXEC},
	{0, {0}, "40080000", EXEC},
	{0, {NONCE}, "40080000", OK},
	{0, {0}, "40000100", EXEC},
	{0, {0}, "40040e00", EXEC},
	/* Info */
	{0, {0}, "30010000", OK},
	{0, {0}, "30011000", PARSE},
	/* MAC, CheckMac, HMAC */
	{0, {0}, "28010500:4d", EXEC},
	{0, {NONCE}, "28010500:4d", NH_ATECC_MISCOMPARE},
	{0, {0}, "28000700:4d", EXEC},
	{0, {0}, "28000000:4d", EXEC},
	{0, {0}, "28001000:4d", PARSE},
	{WORN, {0}, "28000a00:4d", EXEC},
	{0, {0}, "28000a00:4d", NH_ATECC_MISCOMPARE},
	{OLD, {NONCE}, "11000a00", OK},
	{OLD | WORN, {NONCE}, "11000a00", EXEC},
	{OLD, {NONCE}, "11000600", EXEC},
	{OLD, {NONCE}, "11001000", PARSE},
	{OLD | OPEN, {NONCE}, "11000500", EXEC},
	{OLD | WORN, {0}, "08000a00:20", EXEC},
	{OLD | WORN | MATCHED, {0}, "08000a00:20", EXEC},
	{OLD | MATCHED, {0}, "08000a00:20", OK}, /* the 508A has no CountMatch */
	/* PrivWrite */
	{DATA_OPEN, {0}, "46000000:44=01", OK},
	{DATA_OPEN, {0}, "46001000:44=01", PARSE},
	{DATA_OPEN, {0}, "46000500:44=01", EXEC},
	{DATA_OPEN, {0}, "46000e00:44=01", EXEC},
	{DATA_OPEN | OPEN, {0}, "46000000:44=01", EXEC},
	{0, {0}, "46000000:44=01", EXEC},
	{WRAPPED, {0}, "46400000:44=01", EXEC},
	{WRAPPED, {NONCE, "15020500"}, "46400000:44=01", NH_ATECC_MISCOMPARE},
	{0, {NONCE, "15020500"}, "46400000:44=01", EXEC},
	/* DeriveKey */
	{0, {NONCE}, "1c000b00", OK},
	{OPEN, {NONCE}, "1c000b00", EXEC},
	{WORN, {NONCE}, "1c000b00", EXEC},
	{0, {NONCE}, "1c000800", EXEC},
	{0, {NONCE}, "1c000c00", EXEC},
	{0, {NONCE}, "1c000d00", EXEC},
	{0, {TEMP_PRIVATE}, "1c000b00", EXEC},
	{0, {NONCE, "15020600c1c2c3c4"}, "1c000b00", EXEC},
	{0, {PASS}, "1c040b00", OK},
	/* SecureBoot: the key in its slot is no point of the curve */
	{0, {0}, "80060000:20", NH_ATECC_MISCOMPARE},
	{0, {0}, "80050000:60", EXEC},
	{0, {NONCE}, "80860000:20", NH_ATECC_MISCOMPARE},
	{0, {PASS}, "80860000:20", EXEC},
	{0, {TEMP_PRIVATE}, "80860000:20", EXEC},
	{NO_IO, {NONCE}, "80860000:20", EXEC},
	{DATA_OPEN, {0}, "80060000:20", EXEC},
	{0, {0}, "80060100:20", PARSE},
	/* SHA */
	{0, {SHA_START}, "47024000:40", OK},
	{0, {SHA_START}, "47020000:41", PARSE},
	{0, {SHA_START}, "47020500:4", PARSE},
	{0, {SHA_START}, "47014000:40", OK},
	{0, {SHA_START}, "47010300:4", PARSE},
	{0, {SHA_START}, "47014100:41", PARSE},
	{0, {0}, "47014000:40", EXEC},
	{OLD, {SHA_START}, "47012000:20", PARSE},
	{0, {0}, "47000000:1", PARSE},
	{0, {SHA_START}, "47030900", OK},
	{0, {SHA_START}, "47031000", PARSE},
	{0, {SHA_START}, "47030900:1", PARSE},
	{0, {0}, "47030900", EXEC},
	{0, {SHA_START}, "47030800", EXEC},
	{OPEN, {SHA_START}, "47030900", EXEC},
	{0, {0}, "47040500", OK},
	{0, {0}, "47041000", PARSE},
	{0, {0}, "47040500:1", PARSE},
	{OPEN, {0}, "47040500", EXEC},
	{0, {PASS}, "4704ffff", OK},
	{OLD, {PASS}, "4704ffff", PARSE},
	{0, {0}, "4704ffff", EXEC},
	{0, {TEMP_PRIVATE}, "4704ffff", EXEC},
	{0, {0}, "47040000", EXEC},
	{0, {0}, "47040700", EXEC},
	{0, {NONCE}, "47040700", OK},
	{0, {NONCE}, "47040600", EXEC},
	{WORN, {0}, "47040a00", EXEC},
	{OLD, {"47040500"}, "47020000", EXEC}, /* an HMAC has an end of its own */
	{OLD, {"47040500"}, "47050000", OK},
	{OLD, {SHA_START}, "47050000", EXEC},
	{0, {"47040500"}, "47050000", PARSE},
	{0, {SHA_START}, "47060000:1", PARSE},
	{0, {0}, "47060000", EXEC},
	{0, {0}, "47072400:24=00", OK},
	{0, {0}, "47072300:23=00", PARSE},
	{0, {0}, "47076400:64=00", PARSE},
	{0, {0}, "47072300:24=00", PARSE},
	{OLD, {0}, "47072400:24=00", PARSE},
	/* Sign */
	{0, {PASS}, "41800000", OK},
	{OPEN, {PASS}, "41800000", EXEC},
	{0, {PASS}, "41800100", EXEC},
	{WORN, {PASS}, "41800200", EXEC},
	{0, {PASS}, "41800200", OK},
	{0, {PASS}, "41810000", PARSE},
	{0, {"16430000:20"}, "41200000", PARSE},
	{0, {NONCE, "40080000"}, "41000000", OK},
	/* ECDH: the peer is no point, so what comes before is seen by the missing 0x05 of a 508A */
	{OLD, {0}, "43000000:40", NH_ATECC_ECC_FAULT},
	{OLD | OPEN, {0}, "43000000:40", EXEC},
	{OLD, {0}, "43000100:40", EXEC},
	{OLD | WORN, {0}, "43000200:40", EXEC},
	{OLD, {0}, "43000200:40", NH_ATECC_ECC_FAULT},
	/* Verify: a slot whose key is no point gives 0x0F too, so the lengths and modes */
	{0, {PASS}, "45030f00:40", PARSE},
	{0, {PASS}, "45031000:53", PARSE},
	{0, {PASS}, "45230f00:53", PARSE},
	{0, {PASS}, "45830f00:53", PARSE},
	{0, {PASS}, "45020400:53", PARSE},
	{0, {PASS}, "45000900:53", PARSE},
	{0, {PASS}, "45040900:40", PARSE},
};

static void make(const struct row *row, struct bench *b)
{
	struct nh_chip_state chip;
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 4);
	bench_configured(b, (row->chip & OLD) != 0 ? NH_CHIP_508A : NH_CHIP_608B, (row->chip & (OPEN | DATA_OPEN)) == 0, slot_configs, key_configs);
	chip = *nh_chip_state_of(b->chip);
	bench_stop(b);
	static const uint8_t keys[] = {KEY, KEY_AUTH, KEY_LIMITED, KEY_LOCKED};
	for (size_t i = 0; i < NH_ARRAY_LEN(keys); i++) {
		struct nh_p256_key key;
		nh_p256_generate(&rng, &key);
		memcpy(chip.slots[keys[i]] + 4, key.scalar, 32);
		chip.key_valid |= (uint16_t)(1u << keys[i]);
	}
	chip.config[87] = (row->chip & OPEN) != 0 ? 0x55 : 0;
	chip.config[89] = 0xFF & ~(1u << (ROLLED_LOCKED - 8)) & ~(1u << (KEY_LOCKED - 8));
	chip.config[70] = 3; /* SecureBoot: digest in FREE, key in PUBLIC */
	chip.config[71] = PUBLIC << 4 | FREE;
	chip.config[90] = (row->chip & NO_IO) != 0 ? 0x04 : 0x06;
	chip.config[91] = SECRET << 4;
	chip.config[13] = (row->chip & NO_AES) != 0 ? 0 : 1;
	if ((row->chip & WORN) != 0)
		memcpy(chip.config + 52, "\x00\x00\x00\x01\xff\xff\xff\xff", 8);
	if ((row->chip & MATCHED) != 0)
		chip.config[18] = FREE << 4 | 1;
	if ((row->chip & MATCHED) != 0)
		memset(chip.slots[FREE], 0, 8); /* a limit of nothing, if it were one */
	if ((row->chip & WRAPPED) != 0)
		chip.config[21] = 0x65;
	bench_start(b, &chip, 0, false);
}

/* "hex", "hex:LEN" or "hex:LEN=BYTE", the numbers in hexadecimal. */
static uint8_t run(struct bench *b, const char *text)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	nh_slice hex, fill = NH_SLICE_EMPTY, len, byte = NH_SLICE_EMPTY;
	nh_slice_cut(nh_slice_str(text), ':', &hex, &fill);
	nh_slice_cut(fill, '=', &len, &byte);
	assert_int_equal(nh_hex_decode(hex, &bytes), NH_OK);
	if (len.len > 0)
		nh_buf_fill(&bytes, byte.len > 0 ? (uint8_t)strtoul((const char *)byte.ptr, NULL, 16) : 0x41, strtoul((const char *)len.ptr, NULL, 16));
	return bench_run(b, bytes.ptr[0], bytes.ptr[1], (uint16_t)(bytes.ptr[2] | bytes.ptr[3] << 8), nh_slice_skip(nh_buf_slice(&bytes), 4));
}

static void refusals(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		const struct row *row = &rows[i];
		struct bench b;
		make(row, &b);
		for (size_t k = 0; k < NH_ARRAY_LEN(row->before) && row->before[k]; k++)
			if (run(&b, row->before[k]) != OK)
				fail_msg("row %zu (%s): %s does not succeed", i, row->command, row->before[k]);
		struct nh_chip_state before = *nh_chip_state_of(b.chip);
		uint8_t got = run(&b, row->command);
		if (got != row->status)
			fail_msg("row %zu: %s, chip %02x: status %02x, expected %02x", i, row->command, row->chip, got, row->status);
		if (got == PARSE || got == EXEC)
			assert_memory_equal(&before, nh_chip_state_of(b.chip), sizeof(before));
		bench_stop(&b);
	}
}

/* Commands that use a session up, whatever comes of it: TempKey is gone afterwards. */
static void used_up(void **state)
{
	static const struct row uses[] = {
		{WRAPPED, {NONCE, "15020500"}, "46400000:44=01", NH_ATECC_MISCOMPARE},
		{0, {PASS}, "41800000", OK},
		{OLD, {NONCE}, "11000a00", OK},
		{0, {NONCE}, "08010500", OK},
		{0, {NONCE}, "28010500:4d", NH_ATECC_MISCOMPARE},
		{0, {NONCE}, "1c000b00", OK},
		{0, {NONCE}, "80860000:20", NH_ATECC_MISCOMPARE},
		{0, {PASS}, "45020400:80", EXEC},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(uses); i++) {
		struct bench b;
		make(&uses[i], &b);
		for (size_t k = 0; k < NH_ARRAY_LEN(uses[i].before) && uses[i].before[k]; k++)
			assert_int_equal(run(&b, uses[i].before[k]), OK);
		assert_status(&b, 0, "30020000");
		assert_int_equal(b.reply[1] & 0x80, 0x80);
		assert_int_equal(run(&b, uses[i].command), uses[i].status);
		assert_status(&b, 0, "30020000");
		if ((b.reply[1] & 0x80) != 0)
			fail_msg("%s leaves TempKey", uses[i].command);
		bench_stop(&b);
	}
}

/* Each command that uses a limited key counts, once. */
static void counted(void **state)
{
	static const struct row uses[] = {
		{0, {0}, "08000a00:20", OK}, {0, {0}, "28000a00:4d", NH_ATECC_MISCOMPARE}, {0, {0}, "47040a00", OK}, {0, {0}, "56520a0002000000", OK},
		{0, {NONCE}, "15020a00", OK}, {0, {NONCE}, "1c000b00", OK}, {0, {PASS}, "41800200", OK}, {OLD, {NONCE}, "11000a00", OK},
		{0, {0}, "08000500:20", OK}, /* this one is not limited */
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(uses); i++) {
		struct bench b;
		make(&uses[i], &b);
		for (size_t k = 0; k < NH_ARRAY_LEN(uses[i].before) && uses[i].before[k]; k++)
			assert_int_equal(run(&b, uses[i].before[k]), OK);
		assert_int_equal(run(&b, uses[i].command), uses[i].status);
		assert_status(&b, 0, "24000000");
		assert_int_equal(b.reply[0], i + 1 < NH_ARRAY_LEN(uses));
		bench_stop(&b);
	}
	struct bench b;
	uint8_t peer[64];
	make(&uses[0], &b);
	assert_status(&b, 0, "40000000");
	memcpy(peer, b.reply, 64);
	assert_int_equal(bench_run(&b, NH_ATECC_ECDH, 0, KEY_LIMITED, nh_slice_of(peer, 64)), OK);
	assert_status(&b, 0, "24000000");
	assert_int_equal(b.reply[0], 1);
	bench_stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(refusals), cmocka_unit_test(used_up), cmocka_unit_test(counted)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

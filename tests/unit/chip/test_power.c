/* The chip's outside: wake, sleep, idle, the read pointer, the watchdog, execution times, address, and every fault. */
#include "test_chip.h"

static const uint8_t wake_answer[4] = {0x04, 0x11, 0x33, 0x43};
#define INFO "30000000"
#define RANDOM "1b000000"

static bool read_bytes(struct bench *b, uint8_t *out, size_t len) { return nh_chip_read(b->chip, out, len); }

static void send_hex(struct bench *b, const char *hex)
{
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT, packet = NH_BUF_INIT;
	hex_bytes(hex, &bytes);
	nh_buf_put_u8(&packet, NH_ATECC_COMMAND);
	assert_int_equal(nh_atecc_packet_put(&packet, bytes.ptr[0], bytes.ptr[1], (uint16_t)(bytes.ptr[2] | bytes.ptr[3] << 8), nh_slice_skip(nh_buf_slice(&bytes), 4)), NH_OK);
	assert_true(nh_chip_write(b->chip, nh_buf_slice(&packet)));
}

static void sleep_now(struct bench *b) { assert_true(nh_chip_write(b->chip, NH_LIT("\x01"))); }

static bool awake(struct bench *b) { return nh_chip_write(b->chip, NH_LIT("\x00")); }

static void waking(void **state)
{
	struct bench b;
	uint8_t bytes[8];
	bench_factory(&b, NH_CHIP_608B);
	assert_true(read_bytes(&b, bytes, 4));
	assert_memory_equal(bytes, wake_answer, 4);
	assert_true(read_bytes(&b, bytes, 2)); /* behind the response */
	assert_int_equal(bytes[0] & bytes[1], 0xFF);
	assert_true(nh_chip_write(b.chip, NH_SLICE_EMPTY)); /* only the address */
	sleep_now(&b);
	assert_false(read_bytes(&b, bytes, 4));
	assert_false(nh_chip_write(b.chip, NH_LIT("\x03")));
	assert_false(nh_chip_write(b.chip, NH_SLICE_EMPTY));
	nh_chip_wake(b.chip);
	assert_true(read_bytes(&b, bytes, 4));
	assert_memory_equal(bytes, wake_answer, 4);
	send_hex(&b, INFO);
	nh_chip_wake(b.chip); /* a pulse while awake changes nothing */
	assert_true(read_bytes(&b, bytes, 7));
	assert_int_equal(bytes[0], 7);
	bench_stop(&b);
}

static void read_pointer(void **state)
{
	struct bench b;
	uint8_t whole[7], piece[7];
	bench_factory(&b, NH_CHIP_508A);
	send_hex(&b, INFO);
	assert_true(read_bytes(&b, whole, 7));
	assert_true(awake(&b)); /* word address 0: back to the begin */
	for (unsigned i = 0; i < 7; i++)
		assert_true(read_bytes(&b, piece + i, 1));
	assert_memory_equal(whole, piece, 7);
	assert_memory_equal(whole + 1, "\x00\x00\x50\x00", 4);
	bench_stop(&b);
}

static void idle_keeps_tempkey(void **state)
{
	struct bench b;
	bench_factory(&b, NH_CHIP_608A);
	assert_status(&b, 0, "160300004142434445464748494a4b4c4d4e4f505152535455565758595a303132333435");
	assert_true(nh_chip_write(b.chip, NH_LIT("\x02")));
	assert_false(awake(&b));
	nh_chip_wake(b.chip);
	assert_status(&b, 0, "30020000");
	assert_int_equal(b.reply[1] & 0x80, 0x80); /* TempKey valid */
	sleep_now(&b);
	nh_chip_wake(b.chip);
	assert_status(&b, 0, "30020000");
	assert_int_equal(b.reply[1] & 0x80, 0);
	bench_stop(&b);
}

/* The latch lives until power fails; the configuration's address counts from the next sleep on. */
static void latch_and_address(void **state)
{
	struct bench b;
	bench_factory(&b, NH_CHIP_608A);
	assert_status(&b, 0, "30040300");
	assert_int_equal(b.reply[0], 1);
	assert_status(&b, 0, "120004006a000000");
	assert_int_equal(nh_chip_address(b.chip), 0x60);
	sleep_now(&b);
	assert_int_equal(nh_chip_address(b.chip), 0x35);
	nh_chip_wake(b.chip);
	assert_status(&b, 0, "30040000");
	assert_int_equal(b.reply[0], 1);
	nh_chip_power_cycle(b.chip);
	assert_false(awake(&b));
	nh_chip_wake(b.chip);
	assert_status(&b, 0, "30040000");
	assert_int_equal(b.reply[0], 0);
	bench_stop(&b);
}

static void watchdog_runs(struct bench *b, uint64_t limit_us)
{
	uint8_t bytes[4];
	b->now_us += limit_us - 1;
	assert_true(awake(b));
	b->now_us += 1;
	assert_false(read_bytes(b, bytes, 4));
	nh_chip_wake(b->chip);
	assert_true(awake(b));
}

static void watchdog(void **state)
{
	struct bench b;
	struct nh_chip_state chip;
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 2);
	nh_chip_state_factory(NH_CHIP_608A, NH_CHIP_BLANK, NULL, &rng, &chip);
	bench_start(&b, &chip, 0, true);
	watchdog_runs(&b, 1300000);
	bench_stop(&b);
	chip.config[19] = 0x04; /* the long one */
	bench_start(&b, &chip, 0, true);
	watchdog_runs(&b, 10000000);
	bench_stop(&b);
}

/* No command begins that could not end before the watchdog bites. */
static void watchdog_near(void **state)
{
	struct bench b;
	struct nh_chip_state chip;
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 2);
	nh_chip_state_factory(NH_CHIP_508A, NH_CHIP_BLANK, NULL, &rng, &chip);
	bench_start(&b, &chip, 100, true);
	b.now_us += 1300000 - 23000; /* Random takes 23 ms */
	assert_status(&b, NH_ATECC_WATCHDOG, RANDOM);
	send_hex(&b, INFO);
	b.now_us += 2000;
	assert_true(bench_fetch(&b));
	assert_int_equal(b.reply_len, 4);
	bench_stop(&b);
}

static void execution_time(nh_chip_model model, uint8_t chip_mode, uint32_t speed_percent, uint64_t want_us)
{
	struct bench b;
	struct nh_chip_state chip;
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 2);
	nh_chip_state_factory(model, NH_CHIP_BLANK, NULL, &rng, &chip);
	chip.config[19] = chip_mode;
	chip.config[87] = 0;
	bench_start(&b, &chip, speed_percent, false);
	send_hex(&b, "40040000");
	if (want_us > 0) {
		b.now_us += want_us - 1;
		assert_false(bench_fetch(&b));
		assert_false(nh_chip_write(b.chip, NH_LIT("\x01"))); /* busy chips hear nothing */
		b.now_us += 1;
	}
	assert_true(bench_fetch(&b));
	assert_int_equal(b.reply_len, 64);
	bench_stop(&b);
}

static void execution_times(void **state)
{
	execution_time(NH_CHIP_508A, 0x00, 100, 115000);
	execution_time(NH_CHIP_608B, 0x00, 100, 115000);
	execution_time(NH_CHIP_608B, 0x28, 100, 215000);
	execution_time(NH_CHIP_608B, 0x68, 100, 653000);
	execution_time(NH_CHIP_608B, 0x68, 50, 326500);
	execution_time(NH_CHIP_608B, 0x68, 0, 0);
}

static void garbled_packets(void **state)
{
	struct bench b;
	bench_factory(&b, NH_CHIP_608B);
	static const char *const packets[] = {"03", "0307", "03073000000003", "030730000000035c", "03083000000000035d", "0306300000035d", "03ff30000000035d", "0300"};
	for (size_t i = 0; i < NH_ARRAY_LEN(packets); i++) {
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
		hex_bytes(packets[i], &bytes);
		assert_true(nh_chip_write(b.chip, nh_buf_slice(&bytes)));
		assert_true(bench_fetch(&b));
		assert_int_equal(b.reply_len, 1);
		assert_int_equal(b.reply[0], NH_ATECC_CRC_ERROR);
	}
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	hex_bytes("030730000000035d0000", &bytes); /* clocks behind the packet reach nobody */
	assert_true(nh_chip_write(b.chip, nh_buf_slice(&bytes)));
	assert_true(bench_fetch(&b));
	assert_int_equal(b.reply_len, 4);
	bench_stop(&b);
}

/* ---- faults */

static void fault_statuses(void **state)
{
	static const struct {
		nh_chip_fault fault;
		uint32_t argument;
		uint8_t status;
	} rows[] = {
		{NH_CHIP_FAULT_COMMAND_CRC, 0, NH_ATECC_CRC_ERROR},
		{NH_CHIP_FAULT_EE, 0, NH_ATECC_WATCHDOG},
		{NH_CHIP_FAULT_STATUS, 0x05, NH_ATECC_ECC_FAULT},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct bench b;
		bench_factory(&b, NH_CHIP_608B);
		nh_chip_fault_arm(b.chip, rows[i].fault, 1, 2, rows[i].argument);
		assert_status(&b, 0, "1200050001020304"); /* skipped */
		assert_status(&b, rows[i].status, "1200050005060708");
		assert_status(&b, rows[i].status, "1200050005060708");
		assert_memory_equal(nh_chip_state_of(b.chip)->config + 20, "\1\2\3\4", 4); /* not executed */
		assert_status(&b, 0, "1200050005060708");
		nh_chip_fault_arm(b.chip, rows[i].fault, 0, 5, rows[i].argument);
		nh_chip_fault_arm(b.chip, rows[i].fault, 0, 0, 0); /* disarmed */
		assert_status(&b, 0, INFO);
		bench_stop(&b);
	}
}

static void fault_transfers(void **state)
{
	struct bench b;
	uint8_t bytes[35];
	nh_slice payload;
	bench_factory(&b, NH_CHIP_608B);
	nh_chip_fault_arm(b.chip, NH_CHIP_FAULT_NAK, 1, 1, 0);
	assert_true(awake(&b));
	assert_false(awake(&b));
	assert_true(awake(&b));
	nh_chip_fault_arm(b.chip, NH_CHIP_FAULT_CRC, 0, 1, 0);
	send_hex(&b, RANDOM);
	assert_true(read_bytes(&b, bytes, sizeof(bytes)));
	assert_int_equal(nh_atecc_response_parse(nh_slice_of(bytes, sizeof(bytes)), &payload), NH_EFORMAT);
	assert_status(&b, 0, RANDOM);
	bench_stop(&b);
}

/* Whether the chip is asleep afterwards, and whether the write happened. */
static void fault_power(void **state)
{
	static const struct {
		nh_chip_fault fault;
		bool executed, latch_kept;
	} rows[] = {
		{NH_CHIP_FAULT_WATCHDOG, false, true},
		{NH_CHIP_FAULT_LOST_REPLY, true, true},
		{NH_CHIP_FAULT_POWER_BEFORE, false, false},
		{NH_CHIP_FAULT_POWER_AFTER, true, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct bench b;
		bench_factory(&b, NH_CHIP_608B);
		assert_status(&b, 0, "30040300");
		nh_chip_dirty(b.chip);
		nh_chip_fault_arm(b.chip, rows[i].fault, 0, 1, 0);
		send_hex(&b, "1200050001020304");
		assert_false(awake(&b));
		assert_int_equal(nh_chip_dirty(b.chip), rows[i].executed);
		assert_int_equal(memcmp(nh_chip_state_of(b.chip)->config + 20, "\1\2\3\4", 4) == 0, rows[i].executed);
		nh_chip_wake(b.chip);
		assert_status(&b, 0, "30040000");
		assert_int_equal(b.reply[0], rows[i].latch_kept);
		bench_stop(&b);
	}
}

static void fault_torn_write(void **state)
{
	static const char block[] = "128008000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20";
	for (uint32_t reached = 0; reached <= 33; reached += 11) {
		struct bench b;
		uint8_t before[32];
		bench_factory(&b, NH_CHIP_508A);
		memcpy(before, nh_chip_state_of(b.chip)->config + 32, 32);
		nh_chip_fault_arm(b.chip, NH_CHIP_FAULT_POWER_AT_BYTE, 0, 1, reached);
		assert_status(&b, 0, INFO); /* writes only */
		send_hex(&b, block);
		assert_false(awake(&b));
		const uint8_t *config = nh_chip_state_of(b.chip)->config + 32;
		for (uint8_t i = 0; i < 32; i++)
			assert_int_equal(config[i], i < reached ? i + 1 : before[i]);
		nh_chip_wake(b.chip);
		assert_status(&b, 0, block);
		assert_int_equal(nh_chip_state_of(b.chip)->config[63], 32);
		bench_stop(&b);
	}
}

static void fault_slow(void **state)
{
	struct bench b;
	bench_factory(&b, NH_CHIP_508A);
	nh_chip_fault_arm(b.chip, NH_CHIP_FAULT_SLOW, 0, 1, 0);
	send_hex(&b, RANDOM);
	b.now_us += 229999;
	assert_false(bench_fetch(&b));
	b.now_us += 1;
	assert_true(bench_fetch(&b));
	assert_status(&b, 0, RANDOM);
	bench_stop(&b);
}

/* A chip that hangs is put to sleep by its watchdog: the command has run, its answer is lost. */
static void fault_slow_watchdog(void **state)
{
	struct bench b;
	struct nh_chip_state chip;
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 2);
	nh_chip_state_factory(NH_CHIP_608B, NH_CHIP_BLANK, NULL, &rng, &chip);
	chip.config[19] = 0x68;
	chip.config[87] = 0;
	bench_start(&b, &chip, 100, true);
	nh_chip_fault_arm(b.chip, NH_CHIP_FAULT_SLOW, 0, 1, 0);
	send_hex(&b, "40040000");
	b.now_us += 1299999;
	assert_false(bench_fetch(&b));
	b.now_us += 10000000;
	assert_false(bench_fetch(&b));
	nh_chip_wake(b.chip);
	assert_true(awake(&b));
	assert_int_equal(nh_chip_state_of(b.chip)->key_valid, 1);
	bench_stop(&b);
}

static void fault_self_test(void **state)
{
	struct bench b;
	uint8_t bytes[4];
	bench_factory(&b, NH_CHIP_608B);
	sleep_now(&b);
	nh_chip_fault_arm(b.chip, NH_CHIP_FAULT_SELF_TEST, 0, 1, 0);
	nh_chip_wake(b.chip);
	assert_true(read_bytes(&b, bytes, 4));
	assert_memory_equal(bytes, "\x04\x07\xC4\x40", 4);
	bench_stop(&b);
}

static void fault_names(void **state)
{
	for (unsigned i = 0; i < NH_CHIP_FAULTS; i++) {
		assert_non_null(nh_chip_fault_name((nh_chip_fault)i));
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(nh_chip_fault_name((nh_chip_fault)i), nh_chip_fault_name((nh_chip_fault)k));
	}
	assert_string_equal(nh_chip_fault_name(NH_CHIP_FAULT_POWER_AFTER), "power-after");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waking),
		cmocka_unit_test(read_pointer),
		cmocka_unit_test(idle_keeps_tempkey),
		cmocka_unit_test(latch_and_address),
		cmocka_unit_test(watchdog),
		cmocka_unit_test(watchdog_near),
		cmocka_unit_test(execution_times),
		cmocka_unit_test(garbled_packets),
		cmocka_unit_test(fault_statuses),
		cmocka_unit_test(fault_transfers),
		cmocka_unit_test(fault_power),
		cmocka_unit_test(fault_torn_write),
		cmocka_unit_test(fault_slow),
		cmocka_unit_test(fault_slow_watchdog),
		cmocka_unit_test(fault_self_test),
		cmocka_unit_test(fault_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

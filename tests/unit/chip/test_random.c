/*
 * 100 000 packets that nobody would send: noise, well-formed packets with random fields, and random histories of real commands. Nothing crashes (the build is sanitized), the state
 * stays one that could be stored and read back, what is locked stays locked, and no secret of the chip ever comes out.
 */
#include "chip_host.h"

/* What the fields of a command look like: bits of param1, lengths of data. */
static const struct shape {
	uint8_t opcode, modes;
	uint8_t lens[4];
} shapes[] = {
	{NH_ATECC_READ, 0x83, {0, 0, 0, 0}},
	{NH_ATECC_MAC, 0x77, {0, 0, 32, 32}},
	{NH_ATECC_HMAC, 0x74, {0, 0, 0, 0}},
	{NH_ATECC_WRITE, 0xC3, {4, 32, 32, 64}},
	{NH_ATECC_GENDIG, 0x07, {0, 0, 4, 32}},
	{NH_ATECC_NONCE, 0xE3, {20, 20, 32, 64}},
	{NH_ATECC_LOCK, 0xBF, {0, 0, 0, 0}},
	{NH_ATECC_RANDOM, 0x01, {0, 0, 0, 0}},
	{NH_ATECC_DERIVE_KEY, 0x04, {0, 0, 32, 32}},
	{NH_ATECC_UPDATE_EXTRA, 0x01, {0, 0, 0, 0}},
	{NH_ATECC_COUNTER, 0x01, {0, 0, 0, 0}},
	{NH_ATECC_CHECK_MAC, 0x27, {77, 77, 77, 77}},
	{NH_ATECC_INFO, 0x07, {0, 0, 0, 0}},
	{NH_ATECC_SHA, 0xC7, {0, 64, 36, 7}},
	{NH_ATECC_AES, 0xC3, {16, 16, 16, 32}},
	{NH_ATECC_KDF, 0x7F, {20, 20, 36, 68}},
	{NH_ATECC_SELF_TEST, 0x3F, {0, 0, 0, 0}},
	{0x01, 0xFF, {0, 0, 0, 0}}, /* Pause */
	/* these compute on the curve, for milliseconds: rarer */
	{NH_ATECC_PRIV_WRITE, 0x40, {68, 68, 68, 68}},
	{NH_ATECC_VERIFY, 0xA7, {64, 128, 128, 83}},
	{NH_ATECC_SECURE_BOOT, 0xC7, {32, 96, 96, 96}},
	{NH_ATECC_ECDH, 0x0F, {64, 64, 64, 64}},
	{NH_ATECC_SIGN, 0xE1, {0, 0, 0, 0}},
	{NH_ATECC_GENKEY, 0x1C, {0, 0, 0, 3}},
};
#define CURVE_SHAPES 6u

/* What came back, so that the test can be seen to reach behind the first checks. */
static struct {
	uint32_t data, success, refused, parse, garbled;
} seen;

static void count(const struct bench *b)
{
	if (b->reply_len > 1)
		seen.data++;
	else if (b->reply[0] == NH_ATECC_SUCCESS)
		seen.success++;
	else if (b->reply[0] == NH_ATECC_PARSE_ERROR)
		seen.parse++;
	else if (b->reply[0] == NH_ATECC_CRC_ERROR)
		seen.garbled++;
	else
		seen.refused++;
}

static uint32_t draw(struct bench *b, uint32_t below) { return (uint32_t)nh_rng_below(&b->rng, below); }

/* Is `secret` somewhere in the reply? */
static bool holds(const uint8_t *reply, size_t len, const uint8_t *secret, size_t secret_len)
{
	return nh_slice_find(nh_slice_of(reply, len), nh_slice_of(secret, secret_len)) >= 0;
}

/* Private keys always; other slots that the configuration calls secret once it is in force. */
static void assert_nothing_leaks(const struct bench *b, const struct nh_chip_state *before, nh_slice packet)
{
	uint8_t opcode = packet.len > 3 ? packet.ptr[2] : 0, mode = packet.len > 3 ? packet.ptr[3] : 0;
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++) {
		bool secret = (before->config[20 + 2 * slot] & 0x80) != 0 && before->config[86] == 0;
		if ((before->key_valid >> slot & 1) != 0 && holds(b->reply, b->reply_len, before->slots[slot] + 4, 32))
			fail_msg("command %02x, mode %02x: the private key of slot %u came out", opcode, mode, slot);
		if (secret && b->reply_len > 1 && holds(b->reply, b->reply_len, before->slots[slot], 16))
			fail_msg("command %02x, mode %02x: the secret of slot %u came out", opcode, mode, slot);
	}
}

static void assert_monotonic(const struct nh_chip_state *before, const struct nh_chip_state *after)
{
	for (unsigned at = 86; at <= 87; at++)
		assert_true(before->config[at] == after->config[at] || (before->config[at] == 0x55 && after->config[at] == 0));
	assert_memory_equal(before->config, after->config, 16);
	if (before->config[87] != 0x55) {
		assert_memory_equal(before->config + 16, after->config + 16, 36);
		assert_memory_equal(before->config + 90, after->config + 90, 38);
		for (unsigned i = 88; i < 90; i++)
			assert_int_equal(after->config[i] & ~before->config[i], 0);
		for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++) {
			bool locked = (before->config[88 + slot / 8] >> slot % 8 & 1) == 0;
			if (locked && memcmp(before->slots[slot], after->slots[slot], nh_atecc_slot_len(slot)) != 0)
				fail_msg("locked slot %u changed", slot);
		}
	}
	if (before->config[86] != 0x55 && before->model != NH_CHIP_508A)
		assert_memory_equal(before->otp, after->otp, sizeof(before->otp));
}

static void assert_storable(const struct nh_chip_state *state)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_chip_state back;
	struct nh_err err = NH_ERR_INIT;
	nh_chip_state_put(&text, state);
	if (nh_chip_state_parse(nh_buf_slice(&text), &back, &err) != NH_OK)
		fail_msg("%s", err.msg);
	assert_memory_equal(back.slots, state->slots, sizeof(back.slots));
}

/* A packet with fields that have some chance of meaning something. */
static void likely_packet(struct bench *b, struct nh_buf *out)
{
	uint8_t data[NH_ATECC_DATA_MAX];
	bool curve = draw(b, 40) == 0;
	const struct shape *shape = &shapes[curve ? NH_ARRAY_LEN(shapes) - 1 - draw(b, CURVE_SHAPES) : draw(b, NH_ARRAY_LEN(shapes) - CURVE_SHAPES)];
	uint8_t opcode = shape->opcode, mode = (uint8_t)(draw(b, 20) == 0 ? draw(b, 256) : draw(b, 256) & shape->modes);
	size_t len = draw(b, 20) == 0 ? draw(b, sizeof(data)) : shape->lens[draw(b, 4)];
	uint16_t param2 = (uint16_t)(draw(b, 20) == 0 ? draw(b, 65536) : draw(b, 18));
	if (opcode == NH_ATECC_SHA && draw(b, 2) == 0)
		param2 = (uint16_t)len;
	else if ((opcode == NH_ATECC_READ || opcode == NH_ATECC_WRITE) && draw(b, 2) == 0)
		param2 = (uint16_t)(draw(b, 16) << 3 | draw(b, 2) << 8);
	nh_rng_fill(&b->rng, data, len);
	if (opcode == NH_ATECC_KDF && len > 4)
		data[3] = (uint8_t)(len - 4);
	if (opcode == NH_ATECC_LOCK && draw(b, 50) != 0)
		opcode = NH_ATECC_RANDOM; /* or the chip would be locked after a few packets */
	nh_buf_put_u8(out, NH_ATECC_COMMAND);
	assert_int_equal(nh_atecc_packet_put(out, opcode, mode, param2, nh_slice_of(data, len)), NH_OK);
}

/* Commands that drivers really send, to a slot of chance: so histories arise in which one leads to the next. */
static void usual_packet(struct bench *b, struct nh_buf *out)
{
	static const struct {
		uint8_t opcode, mode;
		uint8_t len;
		uint8_t slot_shift;
	} rows[] = {
		{NH_ATECC_NONCE, 0x00, 20, 16}, {NH_ATECC_NONCE, 0x00, 20, 16}, {NH_ATECC_NONCE, 0x03, 32, 16}, {NH_ATECC_NONCE, 0x43, 32, 16}, {NH_ATECC_GENDIG, 0x02, 0, 0},
		{NH_ATECC_GENDIG, 0x02, 4, 0}, {NH_ATECC_READ, 0x82, 0, 3}, {NH_ATECC_WRITE, 0x82, 32, 3}, {NH_ATECC_WRITE, 0x02, 4, 3}, {NH_ATECC_WRITE, 0xC2, 64, 3},
		{NH_ATECC_WRITE, 0x00, 4, 0}, {NH_ATECC_MAC, 0x01, 0, 0}, {NH_ATECC_MAC, 0x00, 32, 0}, {NH_ATECC_DERIVE_KEY, 0x00, 0, 0}, {NH_ATECC_SHA, 0x00, 0, 16},
		{NH_ATECC_SHA, 0x04, 0, 0}, {NH_ATECC_COUNTER, 0x01, 0, 16}, {NH_ATECC_KDF, 0x10, 20, 0}, {NH_ATECC_KDF, 0x12, 20, 0}, {NH_ATECC_AES, 0x00, 16, 0},
	};
	uint8_t data[64];
	size_t i = draw(b, NH_ARRAY_LEN(rows));
	nh_rng_fill(&b->rng, data, sizeof(data));
	if (rows[i].opcode == NH_ATECC_KDF)
		data[3] = (uint8_t)(rows[i].len - 4);
	nh_buf_put_u8(out, NH_ATECC_COMMAND);
	uint16_t param2 = (uint16_t)(draw(b, 16) << rows[i].slot_shift); /* shifted out where no slot is meant */
	assert_int_equal(nh_atecc_packet_put(out, rows[i].opcode, rows[i].mode, param2, nh_slice_of(data, rows[i].len)), NH_OK);
}

static void noise(struct bench *b, struct nh_buf *out)
{
	uint8_t bytes[200];
	size_t len = draw(b, sizeof(bytes));
	nh_rng_fill(&b->rng, bytes, sizeof(bytes));
	if (draw(b, 2) == 0)
		bytes[0] = NH_ATECC_COMMAND;
	nh_buf_put(out, bytes, len);
}

/* The tool of a manufacturer that has not read the data sheet: factory image with random slot rules. */
static void random_part(struct bench *b, struct nh_chip_state *out)
{
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, draw(b, 1u << 30));
	nh_chip_state_factory((nh_chip_model)draw(b, 3), draw(b, 10) == 0 ? NH_CHIP_TRUST_AND_GO : NH_CHIP_BLANK, NULL, &rng, out);
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		if ((out->key_valid >> slot & 1) == 0)
			nh_rng_fill(&b->rng, out->slots[slot], nh_atecc_slot_len(slot)); /* no two secrets are alike */
	if (out->config[87] == 0)
		return;
	if (draw(b, 2) == 0) {
		nh_rng_fill(&b->rng, out->config + 18, 34);
		nh_rng_fill(&b->rng, out->config + 68, 16);
		nh_rng_fill(&b->rng, out->config + 90, 38);
	}
	if (draw(b, 3) != 0)
		out->config[87] = 0;
	if (out->config[87] == 0 && draw(b, 3) != 0)
		out->config[86] = 0;
}

static void one_packet(struct bench *b, bool likely)
{
	NH_AUTO_BUF struct nh_buf packet = NH_BUF_INIT;
	struct nh_chip_state before = *nh_chip_state_of(b->chip);
	nh_chip_wake(b->chip);
	if (likely && draw(b, 2) == 0)
		usual_packet(b, &packet);
	else if (likely)
		likely_packet(b, &packet);
	else
		noise(b, &packet);
	nh_chip_dirty(b->chip);
	(void)nh_chip_write(b->chip, nh_buf_slice(&packet));
	bool dirty = nh_chip_dirty(b->chip);
	if (packet.len == 0 || packet.ptr[0] != NH_ATECC_COMMAND || !bench_fetch(b))
		return;
	const struct nh_chip_state *after = nh_chip_state_of(b->chip);
	count(b);
	if (!dirty)
		assert_memory_equal(&before, after, sizeof(before));
	assert_nothing_leaks(b, &before, nh_buf_slice(&packet));
	assert_monotonic(&before, after);
	if (draw(b, 200) == 0)
		nh_chip_power_cycle(b->chip);
	else if (draw(b, 30) == 0)
		assert_true(nh_chip_write(b->chip, NH_LIT("\x01")));
}

static void hundred_thousand(void **state)
{
	struct bench dice = {0};
	dice.rng = nh_rng_seeded_init(&dice.seeded, 20261121);
	for (unsigned part = 0; part < 200; part++) {
		struct nh_chip_state made;
		struct bench b;
		random_part(&dice, &made);
		bench_start(&b, &made, 0, false);
		b.rng = nh_rng_seeded_init(&b.seeded, part);
		for (unsigned i = 0; i < 500; i++)
			one_packet(&b, part % 4 != 0);
		assert_storable(nh_chip_state_of(b.chip));
		bench_stop(&b);
	}
	print_message("# data %u, success %u, refused %u, parse %u, garbled %u\n", seen.data, seen.success, seen.refused, seen.parse, seen.garbled);
	assert_true(seen.data > 10000 && seen.success > 5000 && seen.refused > 10000 && seen.parse > 10000 && seen.garbled > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(hundred_thousand)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

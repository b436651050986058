/*
 * The driver against the simulated chip: every command on every model, and every fault at every place of what a program does with a chip. A fault is either mended or comes out as an error with
 * words; it never becomes a wrong answer.
 */
#include "test_atecc.h"

#include "atecc/chip.h"
#include "atecc/p256.h"
#include "chip_transport.h"

static const nh_chip_model models[] = {NH_CHIP_508A, NH_CHIP_608A, NH_CHIP_608B};

/* NervesKey's configuration put over a chip's own. */
static void nerveskey_config(uint8_t config[128])
{
	NH_AUTO_JSON json_t *root = vectors();
	json_t *c = json_object_get(root, "config");
	NH_AUTO_BUF struct nh_buf slots = NH_BUF_INIT, keys = NH_BUF_INIT;
	unhex_of(&slots, c, "slot_config");
	unhex_of(&keys, c, "key_config");
	assert_int_equal(slots.len + keys.len, 64);
	config[18] = 0xAA;
	config[19] = 0;
	memcpy(config + 20, slots.ptr, 32);
	memset(config + 92, 0, 4);
	memcpy(config + 96, keys.ptr, 32);
}

static const uint8_t zeros[NH_ATECC_SLOT_MAX];

/* All a factory line does, through the driver; slot 0 stays open. Leaves the public key. */
static void personalize(struct nh_atecc *chip, uint8_t public_key[64])
{
	struct nh_err err = NH_ERR_INIT;
	uint8_t config[128], back[128], otp[64] = "Nrvs";
	assert_ok(nh_atecc_read_config(chip, config, &err), err);
	nerveskey_config(config);
	assert_ok(nh_atecc_write_config(chip, config, &err), err);
	assert_ok(nh_atecc_read_config(chip, back, &err), err);
	assert_bytes(back, config, 128);
	assert_ok(nh_atecc_lock_config(chip, nh_atecc_crc16(nh_slice_of(config, 128)), &err), err);
	assert_ok(nh_atecc_write_otp(chip, otp, &err), err);
	assert_ok(nh_atecc_genkey(chip, 0, public_key, &err), err);
	uint16_t crc = 0;
	for (unsigned slot = 1; slot < 16; slot++) {
		uint8_t bytes[NH_ATECC_SLOT_MAX];
		size_t len = nh_atecc_slot_len(slot);
		memset(bytes, (int)slot, len);
		assert_ok(nh_atecc_write_slot(chip, slot, nh_slice_of(bytes, len), false, &err), err);
		crc = nh_atecc_crc16_more(crc, nh_slice_of(bytes, len));
	}
	assert_ok(nh_atecc_lock_data(chip, nh_atecc_crc16_more(crc, nh_slice_of(otp, 64)), &err), err);
}

struct world {
	struct chip_bus bus;
	struct nh_atecc *chip;
	struct nh_chip_state ready; /* personalized */
	uint8_t public_key[64];
};

static void world_open(struct world *w, const struct nh_chip_state *state)
{
	chip_bus_init_state(&w->bus, state, 11);
	nh_atecc_new(chip_bus_transport(&w->bus), &w->chip);
}

static void world_close(struct world *w)
{
	nh_atecc_free(w->chip);
	chip_bus_fini(&w->bus);
}

/* A personalized chip, open. */
static void world_init(struct world *w, nh_chip_model model)
{
	chip_bus_init(&w->bus, model, NH_CHIP_BLANK, 3);
	nh_atecc_new(chip_bus_transport(&w->bus), &w->chip);
	personalize(w->chip, w->public_key);
	w->ready = *nh_chip_state_of(w->bus.chip);
}

static void digest_of(const char *text, uint8_t out[32]) { nh_p256_sha256(nh_slice_str(text), out); }

/* Runs test on a personalized chip of each model. */
static void on_every_model(void (*test)(struct world *w, nh_chip_model model))
{
	for (size_t m = 0; m < NH_ARRAY_LEN(models); m++) {
		struct world w;
		world_init(&w, models[m]);
		test(&w, models[m]);
		world_close(&w);
	}
}

static void keys(struct world *w, nh_chip_model model)
{
	struct nh_err err = NH_ERR_INIT;
	uint8_t digest[32], signature[64], again[64], shared[32], mine[32];
	digest_of("message", digest);
	assert_ok(nh_atecc_sign(w->chip, 0, digest, signature, &err), err);
	assert_int_equal(nh_p256_verify(w->public_key, nh_slice_of(digest, 32), signature), NH_OK);
	assert_ok(nh_atecc_public_key(w->chip, 0, again, &err), err);
	assert_bytes(again, w->public_key, 64);
	assert_ok(nh_atecc_verify(w->chip, w->public_key, digest, signature, &err), err);
	digest[5] ^= 1;
	assert_int_equal(nh_atecc_verify(w->chip, w->public_key, digest, signature, &err), NH_EAUTH);
	assert_int_equal(nh_atecc_last_status(w->chip), NH_ATECC_MISCOMPARE);
	assert_int_equal(nh_atecc_verify(w->chip, zeros, digest, signature, &err), NH_EINVAL);
	assert_int_equal(nh_atecc_sign(w->chip, 3, digest, signature, &err), NH_EPERM); /* no private key there */
	assert_non_null(strstr(err.msg, "execution error"));
	assert_non_null(strstr(err.msg, "simulated chip: Sign 80 0003"));
	assert_int_equal(nh_atecc_sign(w->chip, 16, digest, signature, &err), NH_EINVAL);

	struct nh_p256_key peer;
	nh_p256_generate(&w->bus.rng, &peer);
	assert_ok(nh_atecc_ecdh(w->chip, 0, peer.public_key, shared, &err), err);
	assert_int_equal(nh_p256_ecdh(&peer, w->public_key, mine), NH_OK);
	assert_bytes(shared, mine, 32);
	assert_int_equal(nh_atecc_ecdh(w->chip, 0, zeros, shared, &err), NH_EINVAL);
	assert_int_equal(nh_atecc_ecdh(w->chip, 16, peer.public_key, shared, &err), NH_EINVAL);
	assert_int_equal(nh_atecc_genkey(w->chip, 16, again, &err), NH_EINVAL);
	assert_int_equal(nh_atecc_public_key(w->chip, 16, again, &err), NH_EINVAL);

	assert_ok(nh_atecc_lock_slot(w->chip, 0, &err), err);
	assert_int_equal(nh_atecc_lock_slot(w->chip, 0, &err), NH_EPERM);
	assert_int_equal(nh_atecc_lock_slot(w->chip, 16, &err), NH_EINVAL);
	assert_int_equal(nh_atecc_genkey(w->chip, 0, again, &err), NH_EPERM);
}

static void zones(struct world *w, nh_chip_model model)
{
	struct nh_err err = NH_ERR_INIT;
	uint8_t bytes[NH_ATECC_SLOT_MAX + 1], want[NH_ATECC_SLOT_MAX];
	for (unsigned slot = 1; slot < 16; slot++) {
		size_t len = nh_atecc_slot_len(slot);
		memset(want, (int)slot, len);
		for (size_t part = len; part > 0; part = part > 7 ? part - 7 : 0) {
			memset(bytes, 0xA5, sizeof bytes);
			assert_ok(nh_atecc_read_slot(w->chip, slot, bytes, part, &err), err);
			assert_bytes(bytes, want, part);
			assert_int_equal(bytes[part], 0xA5);
		}
	}
	assert_int_equal(nh_atecc_read_slot(w->chip, 0, bytes, 36, &err), NH_EPERM);
	assert_int_equal(nh_atecc_read_slot(w->chip, 1, bytes, 37, &err), NH_EINVAL);
	assert_int_equal(nh_atecc_read_slot(w->chip, 16, bytes, 1, &err), NH_EINVAL);
	assert_int_equal(nh_atecc_read_slot(w->chip, 1, bytes, 0, &err), NH_EINVAL);

	nh_rng_fill(&w->bus.rng, want, sizeof want);
	assert_ok(nh_atecc_write_slot(w->chip, 8, nh_slice_of(want, 416), true, &err), err);
	assert_ok(nh_atecc_read_slot(w->chip, 8, bytes, 416, &err), err);
	assert_bytes(bytes, want, 416);
	assert_ok(nh_atecc_write_slot(w->chip, 9, nh_slice_of(want, 72), true, &err), err);
	assert_ok(nh_atecc_read_slot(w->chip, 9, bytes, 72, &err), err);
	assert_bytes(bytes, want, 72);
	assert_ok(nh_atecc_write_part(w->chip, 9, 64, nh_slice_of("wxyz", 4), &err), err);
	assert_ok(nh_atecc_read_slot(w->chip, 9, bytes, 72, &err), err);
	assert_bytes(bytes + 64, "wxyz", 4);
	assert_bytes(bytes + 68, want + 68, 4);
	assert_int_equal(nh_atecc_write_part(w->chip, 9, 2, nh_slice_of("wxyz", 4), &err), NH_EINVAL);
	assert_int_equal(nh_atecc_write_slot(w->chip, 9, nh_slice_of(want, 71), true, &err), NH_EINVAL);
	assert_int_equal(nh_atecc_write_slot(w->chip, 9, nh_slice_of(want, 76), true, &err), NH_EINVAL);
	assert_int_equal(nh_atecc_write_slot(w->chip, 10, nh_slice_of(want, 72), true, &err), NH_EPERM);
	assert_int_equal(nh_atecc_write_otp(w->chip, want, &err), NH_EPERM);
	assert_int_equal(nh_atecc_write_config(w->chip, want, &err), NH_EPERM);
	assert_int_equal(nh_atecc_lock_config(w->chip, 0, &err), NH_EPERM);
	assert_int_equal(nh_atecc_lock_data(w->chip, 0, &err), NH_EPERM);
	assert_ok(nh_atecc_read_otp(w->chip, bytes, &err), err);
	assert_bytes(bytes, "Nrvs\0\0", 6);
}

static void numbers(struct world *w, nh_chip_model model)
{
	struct nh_err err = NH_ERR_INIT;
	uint8_t random[2][32], text[200], got[32], want[32];
	uint32_t value;
	assert_ok(nh_atecc_random(w->chip, random[0], &err), err);
	assert_ok(nh_atecc_random(w->chip, random[1], &err), err);
	assert_memory_not_equal(random[0], random[1], 32);
	nh_rng_fill(&w->bus.rng, text, sizeof text);
	static const size_t lengths[] = {0, 1, 55, 56, 63, 64, 65, 127, 128, 129, 200};
	for (size_t i = 0; i < NH_ARRAY_LEN(lengths); i++) {
		assert_ok(nh_atecc_sha256(w->chip, nh_slice_of(text, lengths[i]), got, &err), err);
		nh_p256_sha256(nh_slice_of(text, lengths[i]), want);
		assert_bytes(got, want, 32);
	}
	for (uint32_t n = 1; n < 70; n++) {
		assert_ok(nh_atecc_counter(w->chip, n % 2, true, &value, &err), err);
		assert_int_equal(value, (n + 1) / 2);
		assert_ok(nh_atecc_counter(w->chip, n % 2, false, &value, &err), err);
		assert_int_equal(value, (n + 1) / 2);
	}
	assert_int_equal(nh_atecc_counter(w->chip, 2, false, &value, &err), NH_EINVAL);
}

static void models_and_raw(struct world *w, nh_chip_model model)
{
	static const nh_atecc_model found[] = {[NH_CHIP_508A] = NH_ATECC_508A, [NH_CHIP_608A] = NH_ATECC_608A, [NH_CHIP_608B] = NH_ATECC_608B};
	struct nh_err err = NH_ERR_INIT;
	uint8_t revision[4], reply[NH_ATECC_RESPONSE_MAX], data[200] = {0};
	size_t len;
	bool set;
	assert_ok(nh_atecc_detect(w->chip, &err), err);
	assert_ok(nh_atecc_revision(w->chip, revision, &err), err);
	assert_int_equal(nh_atecc_model_of(revision), found[model]);
	assert_int_equal(nh_atecc_latch_get(w->chip, &set, &err), model == NH_CHIP_508A ? NH_EUNSUPPORTED : NH_OK);
	assert_ok(nh_atecc_raw(w->chip, NH_ATECC_INFO, 0, 0, NH_SLICE_EMPTY, reply, &len, &err), err);
	assert_int_equal(len, 4);
	assert_bytes(reply, revision, 4);
	assert_int_equal(nh_atecc_raw(w->chip, 0x99, 0, 0, NH_SLICE_EMPTY, reply, &len, &err), NH_EUNSUPPORTED);
	assert_int_equal(nh_atecc_raw(w->chip, NH_ATECC_SIGN, 0x80, 0, NH_SLICE_EMPTY, reply, &len, &err), NH_EPERM); /* nothing in TempKey */
	assert_int_equal(nh_atecc_raw(w->chip, NH_ATECC_NONCE, 3, 0, nh_slice_of(data, sizeof data), reply, &len, &err), NH_EINVAL);
	assert_int_equal(len, 0);
}

static void every_key_command(void **state) { on_every_model(keys); }
static void every_zone_command(void **state) { on_every_model(zones); }
static void every_number_command(void **state) { on_every_model(numbers); }
static void every_other_command(void **state) { on_every_model(models_and_raw); }

static void revisions(void **state)
{
	static const struct {
		uint8_t revision[4];
		nh_atecc_model model;
		const char *name;
	} rows[] = {
		{{0, 0, 0x50, 0}, NH_ATECC_508A, "ATECC508A"},  {{0, 0, 0x60, 1}, NH_ATECC_608A, "ATECC608A"}, {{0, 0, 0x60, 2}, NH_ATECC_608A, "ATECC608A"},
		{{0, 0, 0x60, 3}, NH_ATECC_608B, "ATECC608B"},  {{0, 0, 0x60, 4}, NH_ATECC_608B, "ATECC608B"}, {{0x80, 0, 0x10, 1}, NH_ATECC_UNKNOWN, "unknown"},
		{{0, 2, 0, 8}, NH_ATECC_UNKNOWN, "unknown"},	 {{0, 4, 5, 8}, NH_ATECC_UNKNOWN, "unknown"},	{{0xFF, 0xFF, 0xFF, 0xFF}, NH_ATECC_UNKNOWN, "unknown"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		assert_int_equal(nh_atecc_model_of(rows[i].revision), rows[i].model);
		assert_string_equal(nh_atecc_model_name(nh_atecc_model_of(rows[i].revision)), rows[i].name);
	}
	assert_string_equal(nh_atecc_model_name((nh_atecc_model)77), "unknown");
}

/* The volatile configuration: the key signs only after the activation key was shown since power-up, and the other key answers with MACs. */
static void volatile_keys(void **state)
{
	static const nh_chip_model with_latch[] = {NH_CHIP_608A, NH_CHIP_608B};
	static const uint8_t activation[36] = "correcthorsenail", encryption[36] = "nailhorsecorrect";
	NH_AUTO_JSON json_t *root = vectors();
	NH_AUTO_BUF struct nh_buf slots = NH_BUF_INIT, key_config = NH_BUF_INIT;
	unhex_of(&slots, json_object_get(root, "config"), "volatile_slot_config");
	unhex_of(&key_config, json_object_get(root, "config"), "volatile_key_config");
	for (size_t m = 0; m < NH_ARRAY_LEN(with_latch); m++) {
		struct world w;
		struct nh_err err = NH_ERR_INIT;
		uint8_t config[128], otp[64] = "Nrvs", digest[32], signature[64], serial[9], got[32], want[32], message[88] = {0};
		uint16_t crc = 0;
		bool set;
		chip_bus_init(&w.bus, with_latch[m], NH_CHIP_BLANK, 5);
		nh_atecc_new(chip_bus_transport(&w.bus), &w.chip);
		assert_ok(nh_atecc_read_config(w.chip, config, &err), err);
		nerveskey_config(config);
		config[69] = 0x81;
		memcpy(config + 20, slots.ptr, 32);
		memcpy(config + 96, key_config.ptr, 32);
		assert_ok(nh_atecc_write_config(w.chip, config, &err), err);
		assert_ok(nh_atecc_lock_config(w.chip, nh_atecc_crc16(nh_slice_of(config, 128)), &err), err);
		assert_ok(nh_atecc_write_otp(w.chip, otp, &err), err);
		assert_ok(nh_atecc_genkey(w.chip, 0, w.public_key, &err), err);
		for (unsigned slot = 1; slot < 16; slot++) {
			nh_slice bytes = nh_slice_of(slot == 1 ? activation : slot == 2 ? encryption : zeros, nh_atecc_slot_len(slot));
			assert_ok(nh_atecc_write_slot(w.chip, slot, bytes, false, &err), err);
			crc = nh_atecc_crc16_more(crc, bytes);
		}
		assert_ok(nh_atecc_lock_data(w.chip, nh_atecc_crc16_more(crc, nh_slice_of(otp, 64)), &err), err);

		digest_of("volatile", digest);
		assert_ok(nh_atecc_latch_get(w.chip, &set, &err), err);
		assert_false(set);
		assert_int_equal(nh_atecc_sign(w.chip, 0, digest, signature, &err), NH_EPERM);
		assert_int_equal(nh_atecc_latch_unlock(w.chip, 1, encryption, &w.bus.rng, &err), NH_EAUTH);
		assert_int_equal(nh_atecc_latch_unlock(w.chip, 16, activation, &w.bus.rng, &err), NH_EINVAL);
		assert_int_equal(nh_atecc_sign(w.chip, 0, digest, signature, &err), NH_EPERM);
		assert_ok(nh_atecc_latch_unlock(w.chip, 1, activation, &w.bus.rng, &err), err);
		assert_ok(nh_atecc_latch_get(w.chip, &set, &err), err);
		assert_true(set);
		assert_ok(nh_atecc_sign(w.chip, 0, digest, signature, &err), err);
		assert_int_equal(nh_p256_verify(w.public_key, nh_slice_of(digest, 32), signature), NH_OK);

		assert_ok(nh_atecc_mac(w.chip, 2, digest, got, &err), err);
		nh_atecc_serial_of(config, serial);
		memcpy(message, encryption, 32);
		memcpy(message + 32, digest, 32);
		memcpy(message + 64, "\x08\x05\x02", 3);
		message[79] = serial[8];
		memcpy(message + 84, serial, 2);
		nh_p256_sha256(nh_slice_of(message, sizeof message), want);
		assert_bytes(got, want, 32);
		assert_int_equal(nh_atecc_mac(w.chip, 16, digest, got, &err), NH_EINVAL);

		nh_chip_power_cycle(w.bus.chip);
		assert_int_equal(nh_atecc_sign(w.chip, 0, digest, signature, &err), NH_EPERM);
		world_close(&w);
	}
}

/* Before the locks: what is refused, and that a chip with an open configuration has no random numbers. */
static void blank_chips(void **state)
{
	for (size_t m = 0; m < NH_ARRAY_LEN(models); m++) {
		struct chip_bus bus;
		struct nh_atecc *chip;
		struct nh_err err = NH_ERR_INIT;
		uint8_t bytes[416], serial[9];
		chip_bus_init(&bus, models[m], NH_CHIP_BLANK, 8);
		nh_atecc_new(chip_bus_transport(&bus), &chip);
		assert_int_equal(nh_atecc_random(chip, bytes, &err), NH_EPERM);
		assert_int_equal(nh_atecc_genkey(chip, 0, bytes, &err), NH_EPERM);
		assert_int_equal(nh_atecc_read_slot(chip, 8, bytes, 416, &err), NH_EPERM);
		assert_int_equal(nh_atecc_read_otp(chip, bytes, &err), NH_EPERM);
		assert_int_equal(nh_atecc_write_otp(chip, zeros, &err), NH_EPERM);
		assert_int_equal(nh_atecc_lock_data(chip, 0, &err), NH_EPERM);
		assert_int_equal(nh_atecc_lock_config(chip, 1, &err), NH_EPERM); /* CRC of something else */
		assert_ok(nh_atecc_read_config(chip, bytes, &err), err);
		assert_int_equal(bytes[87], 0x55);
		nh_atecc_serial_of(bytes, serial);
		assert_int_equal(serial[0], 0x01);
		assert_int_equal(serial[1], 0x23);
		assert_int_equal(serial[8], 0xEE);
		nh_atecc_free(chip);
		chip_bus_fini(&bus);
	}
}

/* TempKey lives from one command of a transaction to the next, also where the transaction outlasts the watchdog. */
static void long_transactions(void **state)
{
	struct world w;
	struct nh_err err = NH_ERR_INIT;
	uint8_t digest[32], reply[NH_ATECC_RESPONSE_MAX], config[128];
	size_t len;
	world_init(&w, NH_CHIP_608B);
	digest_of("kept", digest);
	assert_ok(nh_atecc_begin(w.chip, &err), err);
	assert_ok(nh_atecc_raw(w.chip, NH_ATECC_NONCE, 3, 0, nh_slice_of(digest, 32), reply, &len, &err), err);
	uint64_t begin = w.bus.now_us;
	while (w.bus.now_us - begin < 20 * 1000000)
		assert_ok(nh_atecc_read_config(w.chip, config, &err), err);
	assert_ok(nh_atecc_raw(w.chip, NH_ATECC_SIGN, 0x80, 0, NH_SLICE_EMPTY, reply, &len, &err), err);
	assert_int_equal(len, 64);
	assert_int_equal(nh_p256_verify(w.public_key, nh_slice_of(digest, 32), reply), NH_OK);
	nh_atecc_end(w.chip);
	nh_atecc_end(w.chip); /* nothing */
	w.bus.lock_refused = true;
	assert_int_equal(nh_atecc_begin(w.chip, &err), NH_ETIMEOUT);
	assert_non_null(strstr(err.msg, "held by another process"));
	w.bus.lock_refused = false;
	assert_ok(nh_atecc_detect(w.chip, &err), err);
	world_close(&w);
}

static void nobody_there(void **state)
{
	struct world w;
	struct nh_err err = NH_ERR_INIT;
	world_init(&w, NH_CHIP_608B);
	nh_chip_fault_arm(w.bus.chip, NH_CHIP_FAULT_NAK, 0, 100000, 0);
	assert_int_equal(nh_atecc_detect(w.chip, &err), NH_ENOTFOUND);
	assert_non_null(strstr(err.msg, "100 kHz"));
	assert_non_null(strstr(err.msg, "0x35"));
	nh_chip_fault_arm(w.bus.chip, NH_CHIP_FAULT_NAK, 0, 0, 0);
	w.bus.fail_at = w.bus.transfers + 1;
	w.bus.fail_count = UINT32_MAX;
	assert_int_equal(nh_atecc_detect(w.chip, &err), NH_EIO);
	assert_non_null(strstr(err.msg, "injected"));
	w.bus.fail_at = 0;
	assert_ok(nh_atecc_detect(w.chip, &err), err);
	world_close(&w);
}

static void unbind_it(void *ctx, struct nh_buf *out) { nh_buf_put_str(out, " Unbind it."); }

/* What a transport knows of its bus stands in the messages that it may explain, and in no other. */
static void hints_of_the_bus(void **state)
{
	static const struct {
		nh_chip_fault fault;
		uint32_t argument;
		nh_rc rc;
		bool hint;
	} rows[] = {
		{NH_CHIP_FAULT_NAK, 0, NH_ENOTFOUND, true}, {NH_CHIP_FAULT_CRC, 0, NH_EFORMAT, true},	   {NH_CHIP_FAULT_STATUS, 0xFF, NH_EIO, true},
		{NH_CHIP_FAULT_STATUS, 0x11, NH_EIO, true}, {NH_CHIP_FAULT_STATUS, 0x0F, NH_EPERM, false}, {NH_CHIP_FAULT_STATUS, 0xEE, NH_ETIMEOUT, false},
	};
	struct nh_atecc_transport_ops with_hint = chip_bus_ops;
	with_hint.hint = unbind_it;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct chip_bus bus;
		struct nh_atecc *chip;
		struct nh_err err = NH_ERR_INIT;
		uint8_t revision[4];
		chip_bus_init(&bus, NH_CHIP_608B, NH_CHIP_BLANK, 3);
		struct nh_atecc_transport t = chip_bus_transport(&bus);
		t.ops = &with_hint;
		nh_atecc_new(t, &chip);
		nh_chip_fault_arm(bus.chip, rows[i].fault, 0, 100000, rows[i].argument);
		assert_int_equal(nh_atecc_revision(chip, revision, &err), rows[i].rc);
		assert_int_equal(strstr(err.msg, " Unbind it.") != NULL, rows[i].hint);
		nh_atecc_free(chip);
		chip_bus_fini(&bus);
	}
}

/* ---- faults */

/* One thing that a program does. NH_OK only with the right answer, which the function itself judges. */
static nh_rc do_sign(struct world *w, struct nh_err *err)
{
	uint8_t digest[32], signature[64] = {0};
	digest_of("fault", digest);
	NH_TRY(nh_atecc_sign(w->chip, 0, digest, signature, err));
	assert_int_equal(nh_p256_verify(w->public_key, nh_slice_of(digest, 32), signature), NH_OK);
	return NH_OK;
}

static nh_rc do_read(struct world *w, struct nh_err *err)
{
	uint8_t config[128], slot[72];
	NH_TRY(nh_atecc_read_config(w->chip, config, err));
	assert_bytes(config, nh_chip_state_of(w->bus.chip)->config, 128);
	NH_TRY(nh_atecc_read_slot(w->chip, 10, slot, 72, err));
	assert_bytes(slot, nh_chip_state_of(w->bus.chip)->slots[10], 72);
	return NH_OK;
}

static nh_rc do_write(struct world *w, struct nh_err *err)
{
	uint8_t slot[72];
	nh_rng_fill(&w->bus.rng, slot, sizeof slot);
	NH_TRY(nh_atecc_write_slot(w->chip, 9, nh_slice_of(slot, 72), true, err));
	assert_bytes(nh_chip_state_of(w->bus.chip)->slots[9], slot, 72);
	return NH_OK;
}

static nh_rc do_lock(struct world *w, struct nh_err *err)
{
	NH_TRY(nh_atecc_lock_slot(w->chip, 0, err));
	assert_int_equal(nh_chip_state_of(w->bus.chip)->config[88] & 1, 0);
	return NH_OK;
}

static nh_rc do_genkey(struct world *w, struct nh_err *err)
{
	uint8_t key[64], again[64];
	NH_TRY(nh_atecc_genkey(w->chip, 0, key, err));
	memcpy(w->public_key, key, 64);
	NH_TRY(nh_atecc_public_key(w->chip, 0, again, err));
	assert_bytes(again, key, 64);
	return do_sign(w, err);
}

static nh_rc do_count(struct world *w, struct nh_err *err)
{
	uint32_t value;
	NH_TRY(nh_atecc_counter(w->chip, 0, true, &value, err));
	assert_int_equal(value, 1); /* the chip is a fresh one */
	return NH_OK;
}

static nh_rc do_ecdh(struct world *w, struct nh_err *err)
{
	struct nh_p256_key peer;
	uint8_t shared[32], mine[32];
	nh_p256_generate(&w->bus.rng, &peer);
	NH_TRY(nh_atecc_ecdh(w->chip, 0, peer.public_key, shared, err));
	assert_int_equal(nh_p256_ecdh(&peer, w->public_key, mine), NH_OK);
	assert_bytes(shared, mine, 32);
	return NH_OK;
}

static nh_rc do_sha(struct world *w, struct nh_err *err)
{
	uint8_t text[150], digest[32], got[32];
	nh_rng_fill(&w->bus.rng, text, sizeof text);
	nh_p256_sha256(nh_slice_of(text, sizeof text), digest);
	NH_TRY(nh_atecc_sha256(w->chip, nh_slice_of(text, sizeof text), got, err));
	assert_bytes(got, digest, 32);
	return NH_OK;
}

static nh_rc do_random(struct world *w, struct nh_err *err)
{
	uint8_t bytes[32] = {0};
	NH_TRY(nh_atecc_random(w->chip, bytes, err));
	assert_memory_not_equal(bytes, zeros, 32);
	return NH_OK;
}

static nh_rc do_verify(struct world *w, struct nh_err *err)
{
	struct nh_p256_key key;
	uint8_t digest[32], signature[64];
	digest_of("elsewhere", digest);
	nh_p256_generate(&w->bus.rng, &key);
	nh_p256_sign(&key, nh_slice_of(digest, 32), &w->bus.rng, signature);
	return nh_atecc_verify(w->chip, key.public_key, digest, signature, err);
}

static const struct {
	const char *name;
	nh_rc (*run)(struct world *w, struct nh_err *err);
} deeds[] = {
	{"sign", do_sign}, {"read", do_read}, {"write", do_write}, {"lock", do_lock}, {"genkey", do_genkey}, {"count", do_count},
	{"ecdh", do_ecdh}, {"sha", do_sha}, {"random", do_random}, {"verify", do_verify},
};

static const struct {
	nh_chip_fault fault;
	uint32_t argument;
	bool mended; /* one occasion is mended; else an error is as good */
	nh_rc rc;    /* where it is neither: the error */
} faults[] = {
	{NH_CHIP_FAULT_NAK, 0, true, NH_OK},
	{NH_CHIP_FAULT_CRC, 0, true, NH_OK},
	{NH_CHIP_FAULT_COMMAND_CRC, 0, true, NH_OK},
	{NH_CHIP_FAULT_WATCHDOG, 0, true, NH_OK},
	{NH_CHIP_FAULT_EE, 0, true, NH_OK},
	{NH_CHIP_FAULT_SLOW, 0, false, NH_ETIMEOUT},
	{NH_CHIP_FAULT_LOST_REPLY, 0, true, NH_OK},
	{NH_CHIP_FAULT_POWER_BEFORE, 0, true, NH_OK},
	{NH_CHIP_FAULT_POWER_AFTER, 0, true, NH_OK},
	{NH_CHIP_FAULT_POWER_AT_BYTE, 0, true, NH_OK},
	{NH_CHIP_FAULT_POWER_AT_BYTE, 1, true, NH_OK},
	{NH_CHIP_FAULT_POWER_AT_BYTE, 17, true, NH_OK},
	{NH_CHIP_FAULT_STATUS, NH_ATECC_MISCOMPARE, false, NH_EAUTH},
	{NH_CHIP_FAULT_STATUS, NH_ATECC_PARSE_ERROR, false, NH_EUNSUPPORTED},
	{NH_CHIP_FAULT_STATUS, NH_ATECC_ECC_FAULT, false, NH_EINTERNAL},
	{NH_CHIP_FAULT_STATUS, NH_ATECC_SELF_TEST_ERROR, false, NH_EINTERNAL},
	{NH_CHIP_FAULT_STATUS, NH_ATECC_HEALTH_TEST_ERROR, false, NH_EINTERNAL},
	{NH_CHIP_FAULT_STATUS, NH_ATECC_EXECUTION_ERROR, false, NH_EPERM},
	{NH_CHIP_FAULT_STATUS, NH_ATECC_AFTER_WAKE, true, NH_OK},
	{NH_CHIP_FAULT_STATUS, NH_ATECC_WATCHDOG, true, NH_OK},
	{NH_CHIP_FAULT_STATUS, NH_ATECC_CRC_ERROR, true, NH_OK},
	{NH_CHIP_FAULT_STATUS, 0x42, true, NH_OK},
	{NH_CHIP_FAULT_SELF_TEST, 0, false, NH_EINTERNAL},
};

/* One fault, from occasion skip on, count times. false: the deed was over before. */
static bool fault_run(const struct world *base, size_t deed, size_t fault, uint32_t skip, uint32_t count)
{
	struct world w = *base;
	struct nh_err err = NH_ERR_INIT;
	world_open(&w, &base->ready);
	nh_chip_fault_arm(w.bus.chip, faults[fault].fault, skip, count, faults[fault].argument);
	uint32_t untouched_writes = w.bus.writes;
	nh_rc rc = deeds[deed].run(&w, &err);
	bool known = rc == NH_OK || rc == NH_ENOTFOUND || rc == NH_EIO || rc == NH_ETIMEOUT || rc == NH_EPERM || rc == NH_EUNSUPPORTED || rc == NH_EAUTH || rc == NH_EFORMAT || rc == NH_EINTERNAL;
	if (!known || (rc != NH_OK && err.msg[0] == 0) || (rc != NH_OK && err.rc != rc))
		fail_msg("%s, %s %u at %u: %s (%s) \"%s\"", deeds[deed].name, nh_chip_fault_name(faults[fault].fault), faults[fault].argument, skip, nh_rc_name(rc), nh_rc_name(err.rc), err.msg);
	if (count == 1 && rc != NH_OK && (faults[fault].mended || rc != faults[fault].rc))
		fail_msg("%s, %s %u at %u: %s \"%s\"", deeds[deed].name, nh_chip_fault_name(faults[fault].fault), faults[fault].argument, skip, nh_rc_name(rc), err.msg);
	assert_false(w.bus.locked);
	/* Afterwards the chip serves again. */
	nh_chip_fault_arm(w.bus.chip, faults[fault].fault, 0, 0, 0);
	bool reached = w.bus.writes > untouched_writes + skip;
	w.bus.now_us += 60 * 1000000;
	assert_ok(nh_atecc_detect(w.chip, &err), err);
	world_close(&w);
	return reached;
}

static void faults_of(nh_chip_model model, uint32_t count)
{
	struct world base;
	world_init(&base, model);
	world_close(&base);
	for (size_t deed = 0; deed < NH_ARRAY_LEN(deeds); deed++)
		for (size_t fault = 0; fault < NH_ARRAY_LEN(faults); fault++)
			for (uint32_t skip = 0; skip < 40 && fault_run(&base, deed, fault, skip, count); skip++)
				;
}

static void one_fault_508a(void **state) { faults_of(NH_CHIP_508A, 1); }
static void one_fault_608a(void **state) { faults_of(NH_CHIP_608A, 1); }
static void one_fault_608b(void **state) { faults_of(NH_CHIP_608B, 1); }
static void five_faults(void **state) { faults_of(NH_CHIP_608B, 5); }
static void faults_without_end(void **state) { faults_of(NH_CHIP_608B, 100000); }

/* The bus fails instead of the chip: once is mended, for ever is NH_EIO. */
static void bus_errors(void **state)
{
	struct world base;
	world_init(&base, NH_CHIP_608B);
	world_close(&base);
	for (size_t deed = 0; deed < NH_ARRAY_LEN(deeds); deed++) {
		for (uint32_t at = 1, count = 1; at < 200; at++, count = 1 + at % 2) {
			struct world w = base;
			struct nh_err err = NH_ERR_INIT;
			world_open(&w, &base.ready);
			w.bus.fail_at = at;
			w.bus.fail_count = count == 1 ? 1 : UINT32_MAX;
			nh_rc rc = deeds[deed].run(&w, &err);
			if (rc != NH_OK && (count == 1 || rc != NH_EIO))
				fail_msg("%s, transfer %u: %s \"%s\"", deeds[deed].name, at, nh_rc_name(rc), err.msg);
			bool over = w.bus.transfers < at;
			world_close(&w);
			if (over)
				break;
		}
	}
}

/* A lock whose answer is lost and after which the chip stays away: the message says that nothing is known. */
static void unknown_lock(void **state)
{
	struct world w;
	struct nh_err err = NH_ERR_INIT;
	world_init(&w, NH_CHIP_508A);
	assert_ok(nh_atecc_begin(w.chip, &err), err);
	w.bus.fail_at = w.bus.transfers + 2; /* the command arrives, nothing comes back */
	w.bus.fail_count = UINT32_MAX;
	assert_int_equal(nh_atecc_lock_slot(w.chip, 0, &err), NH_EIO);
	assert_non_null(strstr(err.msg, "is not known"));
	nh_atecc_end(w.chip);
	w.bus.fail_at = 0;
	assert_int_equal(nh_chip_state_of(w.bus.chip)->config[88] & 1, 0); /* it had */
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_command),  cmocka_unit_test(every_zone_command), cmocka_unit_test(every_number_command), cmocka_unit_test(every_other_command),
		cmocka_unit_test(revisions),	    cmocka_unit_test(volatile_keys),  cmocka_unit_test(blank_chips),
		    cmocka_unit_test(long_transactions), cmocka_unit_test(nobody_there), cmocka_unit_test(hints_of_the_bus),
		cmocka_unit_test(one_fault_508a),   cmocka_unit_test(one_fault_608a), cmocka_unit_test(one_fault_608b),	   cmocka_unit_test(five_faults),
		cmocka_unit_test(faults_without_end), cmocka_unit_test(bus_errors),   cmocka_unit_test(unknown_lock),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The bytes of every command, held against recorded exchanges of the reference software; and answers of all kinds that no chip gives.
 */
#include "test_atecc.h"

#include "atecc/chip.h"
#include "atecc/p256.h"

/* ---- a chip that expects certain commands and has their answers */

struct script {
	const json_t *steps; /* [[command, reply], …] in hex, without word address, count and CRC */
	size_t at;
	uint8_t reply[NH_ATECC_RESPONSE_MAX];
	size_t reply_len;
};

static void script_say(struct script *s, nh_slice payload)
{
	NH_AUTO_BUF struct nh_buf framed = NH_BUF_INIT;
	nh_atecc_response_put(&framed, payload);
	memcpy(s->reply, framed.ptr, framed.len);
	s->reply_len = framed.len;
}

static nh_rc script_wake(void *ctx, struct nh_err *err)
{
	script_say(ctx, NH_LIT("\x11"));
	return NH_OK;
}

static nh_rc script_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct script *s = ctx;
	NH_AUTO_BUF struct nh_buf sent = NH_BUF_INIT, reply = NH_BUF_INIT;
	struct nh_atecc_packet packet;
	if (bytes.ptr[0] != NH_ATECC_COMMAND)
		return NH_OK;
	assert_int_equal(nh_atecc_packet_parse(nh_slice_skip(bytes, 1), &packet), NH_OK);
	nh_hex_put(&sent, nh_slice_sub(bytes, 2, bytes.len - 4));
	const json_t *step = json_array_get(s->steps, s->at++);
	if (!step)
		fail_msg("command %zu: %s: nothing more expected", s->at, nh_buf_cstr(&sent));
	assert_string_equal(nh_buf_cstr(&sent), json_string_value(json_array_get(step, 0)));
	script_say(s, unhex_at(&reply, step, 1));
	return NH_OK;
}

static nh_rc script_read(void *ctx, uint8_t *out, size_t len, struct nh_err *err)
{
	struct script *s = ctx;
	for (size_t i = 0; i < len; i++)
		out[i] = i < s->reply_len ? s->reply[i] : 0xFF;
	return NH_OK;
}

static void no_delay(void *ctx, uint32_t us) {}
static nh_rc no_lock(void *ctx, uint32_t timeout_ms, struct nh_err *err) { return NH_OK; }
static void no_unlock(void *ctx) {}

static const struct nh_atecc_transport_ops script_ops = {
	.wake = script_wake, .write = script_write, .read = script_read, .delay_us = no_delay, .lock = no_lock, .unlock = no_unlock, .close = no_unlock};

static struct nh_atecc *script_open(struct script *s, const json_t *steps)
{
	struct nh_atecc *chip;
	*s = (struct script){.steps = steps};
	nh_atecc_new((struct nh_atecc_transport){.ops = &script_ops, .ctx = s, .name = "script", .address = 0x60}, &chip);
	return chip;
}

static void script_close(struct script *s, struct nh_atecc *chip)
{
	assert_int_equal(s->at, json_array_size(s->steps));
	nh_atecc_free(chip);
}

/* Bytes that a transcript's Write commands put into a slot or zone, from the first block on. */
static void written(const json_t *steps, uint8_t param1, unsigned slot, uint8_t *out, size_t len)
{
	size_t i;
	json_t *step;
	json_array_foreach(steps, i, step)
	{
		NH_AUTO_BUF struct nh_buf c = NH_BUF_INIT;
		unhex_at(&c, step, 0);
		if (c.ptr[0] != NH_ATECC_WRITE || c.ptr[1] != param1 || (param1 == 0x82 && (c.ptr[2] >> 3) != slot))
			continue;
		size_t at = (param1 == 0x82 ? c.ptr[3] : c.ptr[2] >> 3) * (size_t)32;
		for (size_t k = 0; k < 32 && at + k < len; k++)
			out[at + k] = c.ptr[4 + k];
	}
}

static void provision(const json_t *steps, const char *config_hex, unsigned config_reads, unsigned slots_to_lock)
{
	struct script s;
	struct nh_err err = NH_ERR_INIT;
	struct nh_atecc *chip = script_open(&s, steps);
	NH_AUTO_BUF struct nh_buf after = NH_BUF_INIT;
	uint8_t config[128], image[128], otp[64] = {0}, key[64];
	unhex(&after, nh_slice_str(config_hex));
	for (unsigned i = 0; i < config_reads; i++)
		assert_ok(nh_atecc_read_config(chip, config, &err), err);
	memcpy(image, after.ptr, 128);
	memset(image + 86, 0x55, 2); /* as before the locks, over which the CRC goes */
	memset(image + 88, 0xFF, 2);
	assert_ok(nh_atecc_write_config(chip, image, &err), err);
	assert_ok(nh_atecc_lock_config(chip, nh_atecc_crc16(nh_slice_of(image, 128)), &err), err);
	written(steps, 0x81, 0, otp, 64);
	assert_ok(nh_atecc_write_otp(chip, otp, &err), err);
	assert_ok(nh_atecc_genkey(chip, 0, key, &err), err);
	assert_int_equal(nh_p256_public_check(key), NH_OK);
	assert_ok(nh_atecc_read_config(chip, config, &err), err);
	uint16_t crc = 0;
	for (unsigned slot = 1; slot < 16; slot++) {
		uint8_t bytes[NH_ATECC_SLOT_MAX] = {0};
		nh_slice whole = nh_slice_of(bytes, nh_atecc_slot_len(slot));
		written(steps, 0x82, slot, bytes, whole.len);
		assert_ok(nh_atecc_write_slot(chip, slot, whole, false, &err), err);
		crc = nh_atecc_crc16_more(crc, whole);
	}
	assert_ok(nh_atecc_lock_data(chip, nh_atecc_crc16_more(crc, nh_slice_of(otp, 64)), &err), err);
	for (unsigned slot = 0; slot < slots_to_lock; slot++)
		assert_ok(nh_atecc_lock_slot(chip, slot, &err), err);
	script_close(&s, chip);
}

static void provisioning_transcripts(void **state)
{
	NH_AUTO_JSON json_t *root = vectors();
	static const struct {
		const char *transcript, *config;
		unsigned config_reads, slots_to_lock;
	} rows[] = {{"transcript_508a", "config_after", 3, 1}, {"transcript_608b", "config_after", 3, 1}, {"transcript_volatile_608b", "config", 4, 3}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		json_t *t = json_object_get(root, rows[i].transcript);
		provision(json_object_get(t, "provision"), json_string_value(json_object_get(t, rows[i].config)), rows[i].config_reads, rows[i].slots_to_lock);
	}
}

/* what: c configuration, o OTP, k public key, a b d slots 10, 11, 12. */
static void read_transcript(const json_t *steps, const char *what)
{
	struct script s;
	struct nh_err err = NH_ERR_INIT;
	struct nh_atecc *chip = script_open(&s, steps);
	uint8_t config[128], slot[72], otp[64], key[64];
	NH_AUTO_BUF struct nh_buf first = NH_BUF_INIT;
	for (const char *p = what; *p; p++) {
		unhex_at(&first, json_array_get(steps, s.at), 1);
		const uint8_t *got = *p == 'c' ? config : *p == 'o' ? otp : *p == 'k' ? key : slot;
		if (*p == 'c')
			assert_ok(nh_atecc_read_config(chip, config, &err), err);
		else if (*p == 'o')
			assert_ok(nh_atecc_read_otp(chip, otp, &err), err);
		else if (*p == 'k')
			assert_ok(nh_atecc_public_key(chip, 0, key, &err), err);
		else
			assert_ok(nh_atecc_read_slot(chip, *p == 'a' ? 10 : *p == 'b' ? 11 : 12, slot, 72, &err), err);
		assert_bytes(got, first.ptr, first.len);
	}
	script_close(&s, chip);
}

static void reading_transcripts(void **state)
{
	NH_AUTO_JSON json_t *root = vectors();
	static const char *const transcripts[] = {"transcript_508a", "transcript_608b"};
	for (size_t i = 0; i < NH_ARRAY_LEN(transcripts); i++) {
		json_t *t = json_object_get(root, transcripts[i]);
		read_transcript(json_object_get(t, "read_device_cert"), "cabok");
		read_transcript(json_object_get(t, "read_signer_cert"), "db");
	}
}

/* Auxiliary certificates are written as padded blocks, settings as blocks and words. */
static void writing_transcripts(void **state)
{
	NH_AUTO_JSON json_t *root = vectors();
	static const char *const transcripts[] = {"transcript_508a", "transcript_608b"};
	static const struct {
		const char *part;
		struct {
			unsigned slot;
			size_t len;
			bool data_locked;
		} writes[4];
		size_t skip; /* reads before */
	} rows[] = {
		{"put_settings", {{8, 416, true}, {7, 36, true}, {6, 36, true}, {5, 36, true}}, 0},
		{"clear_aux", {{9, 72, false}, {14, 72, false}, {15, 72, false}}, 0},
		{"provision_aux", {{9, 72, false}, {14, 64, false}, {15, 72, false}}, 7},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(transcripts) * NH_ARRAY_LEN(rows); i++) {
		size_t row = i % NH_ARRAY_LEN(rows);
		json_t *steps = json_object_get(json_object_get(root, transcripts[i / NH_ARRAY_LEN(rows)]), rows[row].part);
		struct script s;
		struct nh_err err = NH_ERR_INIT;
		struct nh_atecc *chip = script_open(&s, steps);
		s.at = rows[row].skip;
		for (size_t k = 0; k < 4 && rows[row].writes[k].len; k++) {
			uint8_t bytes[NH_ATECC_SLOT_MAX] = {0};
			unsigned slot = rows[row].writes[k].slot;
			written(steps, 0x82, slot, bytes, rows[row].writes[k].len);
			assert_ok(nh_atecc_write_slot(chip, slot, nh_slice_of(bytes, rows[row].writes[k].len), rows[row].writes[k].data_locked, &err), err);
		}
		script_close(&s, chip);
	}
}

/* The reference reads the last 32 bytes of slot 8 in eight words; a block brings the same in one command, so ours is its transcript with those eight put together. */
static void settings_are_read_in_blocks(void **state)
{
	NH_AUTO_JSON json_t *root = vectors();
	NH_AUTO_JSON json_t *ours = json_array();
	json_t *steps = json_object_get(json_object_get(root, "transcript_608b"), "get_settings"), *step;
	NH_AUTO_BUF struct nh_buf last = NH_BUF_INIT, all = NH_BUF_INIT;
	size_t i;
	json_array_foreach(steps, i, step)
	{
		const char *command = json_string_value(json_array_get(step, 0)), *reply = json_string_value(json_array_get(step, 1));
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
		nh_buf_put_slice(&all, unhex(&bytes, nh_slice_str(reply)));
		if (strncmp(command, "02024", 5) != 0)
			json_array_append(ours, step);
		else
			nh_buf_put_str(&last, reply);
		if (strcmp(command, "0202470c") == 0)
			json_array_append_new(ours, json_pack("[ss]", "0282400c", nh_buf_cstr(&last)));
	}
	assert_int_equal(json_array_size(ours), 19);
	struct script s;
	struct nh_err err = NH_ERR_INIT;
	struct nh_atecc *chip = script_open(&s, ours);
	uint8_t got[416 + 3 * 36];
	assert_ok(nh_atecc_read_slot(chip, 8, got, 416, &err), err);
	for (unsigned slot = 7; slot >= 5; slot--)
		assert_ok(nh_atecc_read_slot(chip, slot, got + 416 + (7 - slot) * (size_t)36, 36, &err), err);
	assert_int_equal(all.len, sizeof got);
	assert_bytes(got, all.ptr, sizeof got);
	script_close(&s, chip);
}

/* On purpose not the reference's 0x43 and 0xA0, which only a 608 knows and which a 508A answers with 0x03 (in its transcript): 0x03 and 0x80 sign on every model. */
static void sign_works_on_every_chip(void **state)
{
	NH_AUTO_JSON json_t *root = vectors();
	json_t *t = json_object_get(root, "transcript_608b");
	const char *digest_hex = json_string_value(json_object_get(t, "digest"));
	const char *signature_hex = json_string_value(json_array_get(json_array_get(json_object_get(t, "sign_digest"), 1), 1));
	NH_AUTO_BUF struct nh_buf nonce = NH_BUF_INIT, digest = NH_BUF_INIT, signature = NH_BUF_INIT, key = NH_BUF_INIT;
	nh_buf_printf(&nonce, "16030000%s", digest_hex);
	NH_AUTO_JSON json_t *steps = json_pack("[[ss][ss]]", nh_buf_cstr(&nonce), "00", "41800000", signature_hex);
	struct script s;
	struct nh_err err = NH_ERR_INIT;
	struct nh_atecc *chip = script_open(&s, steps);
	uint8_t got[64];
	unhex(&digest, nh_slice_str(digest_hex));
	assert_ok(nh_atecc_sign(chip, 0, digest.ptr, got, &err), err);
	unhex(&signature, nh_slice_str(signature_hex));
	assert_bytes(got, signature.ptr, 64);
	assert_int_equal(nh_p256_verify(unhex_of(&key, t, "device_pub").ptr, nh_buf_slice(&digest), got), NH_OK);
	script_close(&s, chip);

	/* A status where the signature belongs is an error (trap 8). */
	NH_AUTO_JSON json_t *refused = json_pack("[[ss][ss]]", nh_buf_cstr(&nonce), "00", "41800000", "0f");
	chip = script_open(&s, refused);
	assert_int_equal(nh_atecc_sign(chip, 0, digest.ptr, got, &err), NH_EPERM);
	assert_int_equal(nh_atecc_last_status(chip), NH_ATECC_EXECUTION_ERROR);
	assert_non_null(strstr(err.msg, "script: Sign 80 0000: execution error"));
	script_close(&s, chip);
}

struct fixed_rng {
	const uint8_t *bytes;
	size_t len;
};

static void fixed_fill(void *ctx, void *out, size_t len)
{
	struct fixed_rng *f = ctx;
	assert_int_equal(len, f->len);
	memcpy(out, f->bytes, len);
}

static void volatile_activation(void **state)
{
	NH_AUTO_JSON json_t *root = vectors();
	json_t *steps = json_object_get(json_object_get(root, "transcript_volatile_608b"), "auth"), *facts = json_object_get(root, "volatile_authorisation");
	NH_AUTO_BUF struct nh_buf key = NH_BUF_INIT, num_in = NH_BUF_INIT;
	unhex_of(&key, facts, "key_32");
	unhex_of(&num_in, facts, "num_in");
	struct fixed_rng fixed = {num_in.ptr, num_in.len};
	struct nh_rng rng = {fixed_fill, &fixed};
	struct script s;
	struct nh_err err = NH_ERR_INIT;
	struct nh_atecc *chip = script_open(&s, steps);
	assert_ok(nh_atecc_latch_unlock(chip, 1, key.ptr, &rng, &err), err);
	script_close(&s, chip);

	/* The wrong key; and the right one where the chip does not set its latch. */
	static const struct {
		size_t step;
		const char *reply;
		nh_rc rc;
	} rows[] = {{2, "01", NH_EAUTH}, {3, "00000000", NH_EPERM}, {3, "0f", NH_EPERM}, {1, "03", NH_EUNSUPPORTED}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_JSON json_t *changed = json_deep_copy(steps);
		json_array_set_new(json_array_get(changed, rows[i].step), 1, json_string(rows[i].reply));
		while (json_array_size(changed) > rows[i].step + 1)
			json_array_remove(changed, json_array_size(changed) - 1);
		chip = script_open(&s, changed);
		assert_int_equal(nh_atecc_latch_unlock(chip, 1, key.ptr, &rng, &err), rows[i].rc);
		script_close(&s, chip);
	}
}

/* Replies of a length that the command does not have, statuses where data belongs. */
static void wrong_lengths(void **state)
{
	static const char *const replies[] = {"00", "0011223344", "00112233", "000102030405060708090a0b0c0d0e0f"};
	for (size_t i = 0; i < NH_ARRAY_LEN(replies); i++) {
		NH_AUTO_JSON json_t *steps = json_array();
		for (unsigned k = 0; k < 3; k++) /* asked three times, then given up */
			json_array_append_new(steps, json_pack("[ss]", "1b000000", replies[i]));
		struct script s;
		struct nh_err err = NH_ERR_INIT;
		struct nh_atecc *chip = script_open(&s, steps);
		uint8_t out[32];
		assert_int_equal(nh_atecc_random(chip, out, &err), NH_EFORMAT);
		assert_non_null(strstr(err.msg, "expected 32"));
		script_close(&s, chip);
	}
}

/* GenKey draws again three times after an ECC fault; nothing else is asked again after an answer that is final. */
static void what_is_asked_again(void **state)
{
	static const struct {
		const char *command, *status;
		unsigned times;
		nh_rc rc;
	} rows[] = {
		{"40040000", "05", 4, NH_EINTERNAL}, {"40040000", "0f", 1, NH_EPERM},	   {"40040000", "03", 1, NH_EUNSUPPORTED}, {"40040000", "01", 1, NH_EAUTH},
		{"40040000", "ff", 9, NH_EIO},	     {"40040000", "ee", 9, NH_ETIMEOUT}, {"40040000", "11", 3, NH_EIO},	       {"40040000", "42", 3, NH_EIO},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_JSON json_t *steps = json_array();
		for (unsigned k = 0; k < rows[i].times; k++)
			json_array_append_new(steps, json_pack("[ss]", rows[i].command, rows[i].status));
		struct script s;
		struct nh_err err = NH_ERR_INIT;
		struct nh_atecc *chip = script_open(&s, steps);
		uint8_t key[64];
		assert_int_equal(nh_atecc_genkey(chip, 0, key, &err), rows[i].rc);
		assert_non_null(strstr(err.msg, "script: GenKey 04 0000: "));
		script_close(&s, chip);
	}
}

/* A lock that is answered with 0x11 is looked up, and sent again only where the chip says that it is open. */
static void locks_are_looked_up(void **state)
{
	static const struct {
		const char *looks[3]; /* word 21 of the configuration each time */
		nh_rc rc;
	} rows[] = {{{"00005500"}, NH_OK}, {{"00005555", "00005500"}, NH_OK}, {{"00005555", "00005555", "00005555"}, NH_EIO}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_JSON json_t *steps = json_array();
		for (size_t k = 0; k < 3 && rows[i].looks[k]; k++) {
			json_array_append_new(steps, json_pack("[ss]", "17003412", "11"));
			json_array_append_new(steps, json_pack("[ss]", "02001500", rows[i].looks[k]));
		}
		struct script s;
		struct nh_err err = NH_ERR_INIT;
		struct nh_atecc *chip = script_open(&s, steps);
		assert_int_equal(nh_atecc_lock_config(chip, 0x1234, &err), rows[i].rc);
		script_close(&s, chip);
	}
}

/* The same with a counter: it goes up by one, however often the answer is lost. */
static void counters_are_looked_up(void **state)
{
	static const struct {
		const char *looks[3];
		nh_rc rc;
		uint32_t value;
	} rows[] = {{{"06000000"}, NH_OK, 6}, {{"05000000", "06000000"}, NH_OK, 6}, {{"05000000", "05000000", "05000000"}, NH_EIO, 5}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_JSON json_t *steps = json_pack("[[ss]]", "24000100", "05000000");
		for (size_t k = 0; k < 3 && rows[i].looks[k]; k++) {
			json_array_append_new(steps, json_pack("[ss]", "24010100", "11"));
			json_array_append_new(steps, json_pack("[ss]", "24000100", rows[i].looks[k]));
		}
		struct script s;
		struct nh_err err = NH_ERR_INIT;
		struct nh_atecc *chip = script_open(&s, steps);
		uint32_t value;
		assert_int_equal(nh_atecc_counter(chip, 1, true, &value, &err), rows[i].rc);
		assert_int_equal(value, rows[i].value);
		script_close(&s, chip);
	}
}

/* ---- a chip that says anything */

struct noise {
	struct nh_rng_seeded seeded;
	struct nh_rng rng;
	uint32_t replies;
};

static nh_rc noise_wake(void *ctx, struct nh_err *err)
{
	struct noise *n = ctx;
	return nh_rng_below(&n->rng, 50) ? NH_OK : NH_FAIL(err, NH_EIO, "noise");
}

static nh_rc noise_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct noise *n = ctx;
	uint64_t dice = nh_rng_below(&n->rng, 20);
	return dice == 0 ? NH_EAGAIN : dice == 1 ? NH_FAIL(err, NH_EIO, "noise") : NH_OK;
}

static nh_rc noise_read(void *ctx, uint8_t *out, size_t len, struct nh_err *err)
{
	struct noise *n = ctx;
	uint64_t dice = nh_rng_below(&n->rng, 10);
	NH_AUTO_BUF struct nh_buf framed = NH_BUF_INIT;
	n->replies++;
	if (dice == 0)
		return NH_EAGAIN;
	nh_rng_fill(&n->rng, out, len);
	if (dice == 1)
		return NH_OK;
	static const uint8_t statuses[] = {0x00, 0x11, 0x11, 0x11, 0x0F, 0xFF, 0xEE, 0x05};
	uint8_t payload[64];
	nh_rng_fill(&n->rng, payload, sizeof payload);
	size_t payload_len = 1 + nh_rng_below(&n->rng, sizeof payload);
	if (dice < 4)
		payload_len = len > 3 && len - 3 <= sizeof payload ? len - 3 : 1; /* the length asked for */
	if (payload_len == 1 || dice > 7) {
		payload_len = 1;
		payload[0] = statuses[nh_rng_below(&n->rng, sizeof statuses)];
	}
	nh_atecc_response_put(&framed, nh_slice_of(payload, payload_len));
	memcpy(out, framed.ptr, framed.len < len ? framed.len : len);
	return NH_OK;
}

static const struct nh_atecc_transport_ops noise_ops = {
	.wake = noise_wake, .write = noise_write, .read = noise_read, .delay_us = no_delay, .lock = no_lock, .unlock = no_unlock, .close = no_unlock};

static void hundred_thousand_replies(void **state)
{
	struct noise n = {0};
	struct nh_atecc *chip;
	unsigned ok = 0, failed = 0;
	n.rng = nh_rng_seeded_init(&n.seeded, 2026);
	nh_atecc_new((struct nh_atecc_transport){.ops = &noise_ops, .ctx = &n, .name = "noise", .address = 0x60}, &chip);
	while (n.replies < 100000) {
		struct nh_err err = NH_ERR_INIT;
		uint8_t big[NH_ATECC_SLOT_MAX], reply[NH_ATECC_RESPONSE_MAX];
		uint32_t value;
		size_t len;
		bool set;
		nh_rc rc = NH_OK;
		nh_rng_fill(&n.rng, big, sizeof big);
		switch (nh_rng_below(&n.rng, 12)) {
		case 0: rc = nh_atecc_read_config(chip, big, &err); break;
		case 1: rc = nh_atecc_read_slot(chip, 8, big, 416, &err); break;
		case 2: rc = nh_atecc_write_slot(chip, 1, nh_slice_of(big, 36), true, &err); break;
		case 3: rc = nh_atecc_lock_config(chip, 7, &err); break;
		case 4: rc = nh_atecc_genkey(chip, 0, big, &err); break;
		case 5: rc = nh_atecc_sign(chip, 0, big, big + 64, &err); break;
		case 6: rc = nh_atecc_random(chip, big, &err); break;
		case 7: rc = nh_atecc_counter(chip, 1, true, &value, &err); break;
		case 8: rc = nh_atecc_latch_unlock(chip, 1, big, &n.rng, &err); break;
		case 9: rc = nh_atecc_latch_get(chip, &set, &err); break;
		case 10: rc = nh_atecc_sha256(chip, nh_slice_of(big, 130), big + 200, &err); break;
		default:
			rc = nh_atecc_raw(chip, big[0], big[1], 0, nh_slice_of(big, big[2] % 40), reply, &len, &err);
			assert_true(len <= NH_ATECC_RESPONSE_MAX - 3);
			break;
		}
		*(rc == NH_OK ? &ok : &failed) += 1;
		if (rc != NH_OK && (rc == NH_EAGAIN || err.rc != rc || err.msg[0] == 0))
			fail_msg("%s without words: %s", nh_rc_name(rc), err.msg);
	}
	assert_true(ok > 100 && failed > 100);
	nh_atecc_free(chip);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(provisioning_transcripts),   cmocka_unit_test(reading_transcripts), cmocka_unit_test(writing_transcripts),
		cmocka_unit_test(settings_are_read_in_blocks), cmocka_unit_test(sign_works_on_every_chip), cmocka_unit_test(volatile_activation),
		cmocka_unit_test(wrong_lengths),	       cmocka_unit_test(what_is_asked_again), cmocka_unit_test(locks_are_looked_up), cmocka_unit_test(counters_are_looked_up),
		cmocka_unit_test(hundred_thousand_replies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The recorded exchanges of the reference implementation, on the simulated chip: every status and every reply that does not depend on chance is equal; public keys and signatures are
 * the chip's own and are checked by mathematics.
 */
#include "test_chip.h"

#include "atecc/p256.h"

struct replay {
	struct bench bench;
	uint8_t public_key[64];
	uint8_t digest[32];
	bool has_key;
};

/* A chip whose configuration is `config`, otherwise fresh. */
static void replay_start(struct replay *r, nh_chip_model model, const char *config)
{
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 3);
	struct nh_chip_state state;
	*r = (struct replay){.has_key = false};
	nh_chip_state_factory(model, NH_CHIP_BLANK, NULL, &rng, &state);
	assert_int_equal(nh_hex_decode_fixed(nh_slice_str(config), state.config, sizeof(state.config)), NH_OK);
	bench_start(&r->bench, &state, 100, true);
}

/* The data lock's CRC covers certificates that the recording has, so it fits as it is; only what the chip drew itself differs. */
static void exchange(struct replay *r, const char *command, const char *reply)
{
	NH_AUTO_BUF struct nh_buf sent = NH_BUF_INIT, want = NH_BUF_INIT;
	struct bench *b = &r->bench;
	hex_bytes(command, &sent);
	hex_bytes(reply, &want);
	b->now_us += 1000;
	nh_chip_write(b->chip, NH_LIT("\x01"));
	nh_chip_wake(b->chip);
	NH_AUTO_BUF struct nh_buf packet = NH_BUF_INIT;
	nh_buf_put_u8(&packet, NH_ATECC_COMMAND);
	assert_int_equal(nh_atecc_packet_put(&packet, sent.ptr[0], sent.ptr[1], (uint16_t)(sent.ptr[2] | sent.ptr[3] << 8), nh_slice_skip(nh_buf_slice(&sent), 4)), NH_OK);
	assert_true(nh_chip_write(b->chip, nh_buf_slice(&packet)));
	b->now_us += 700000; /* the longest command */
	assert_true(bench_fetch(b));
	if (b->reply_len != want.len)
		fail_msg("%.40s: %zu bytes (first %02x), expected %zu", command, b->reply_len, b->reply[0], want.len);
	if (sent.ptr[0] == NH_ATECC_GENKEY) {
		if (r->has_key)
			assert_memory_equal(b->reply, r->public_key, 64);
		memcpy(r->public_key, b->reply, 64);
		r->has_key = true;
		assert_int_equal(nh_p256_public_check(r->public_key), NH_OK);
	} else if (!nh_slice_eq(nh_slice_of(b->reply, b->reply_len), nh_buf_slice(&want))) {
		fail_msg("%.40s: other bytes than recorded (%02x…)", command, b->reply[0]);
	}
}

static void play(struct replay *r, const json_t *transcript, const char *part)
{
	const json_t *list = json_object_get(transcript, part);
	assert_true(json_array_size(list) > 0);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *pair = json_array_get(list, i);
		exchange(r, json_string_value(json_array_get(pair, 0)), json_string_value(json_array_get(pair, 1)));
	}
}

/* Nonce and Sign in one session; the signature is checked instead of compared. */
static void play_sign(struct replay *r, const json_t *transcript)
{
	const json_t *list = json_object_get(transcript, "sign_digest");
	const char *nonce = json_string_value(json_array_get(json_array_get(list, 0), 0));
	NH_AUTO_BUF struct nh_buf digest = NH_BUF_INIT;
	r->bench.now_us += 2000000;
	nh_chip_wake(r->bench.chip);
	hex_bytes(json_string_value(json_object_get(transcript, "digest")), &digest);
	const struct nh_chip_state *state = nh_chip_state_of(r->bench.chip);
	struct bench b;
	bench_start(&b, state, 0, false);
	if (state->model == NH_CHIP_508A) {
		assert_status(&b, NH_ATECC_PARSE_ERROR, nonce);
		assert_int_equal(bench_run(&b, NH_ATECC_NONCE, 0x03, 0, nh_buf_slice(&digest)), 0);
		assert_status(&b, 0, "41800000");
	} else {
		assert_status(&b, 0, nonce);
		assert_status(&b, 0, "41a00000");
	}
	assert_int_equal(b.reply_len, 64);
	assert_int_equal(nh_p256_verify(r->public_key, nh_buf_slice(&digest), b.reply), NH_OK);
	bench_stop(&b);
}

static void whole(nh_chip_model model, const char *name)
{
	static const char *const parts[] = {"provision", "read_device_cert", "read_signer_cert", "put_settings", "get_settings", "provision_aux", "clear_aux"};
	NH_AUTO_JSON json_t *vectors = vectors_load();
	const json_t *transcript = json_object_get(vectors, name);
	uint8_t after[NH_ATECC_CONFIG_LEN];
	struct replay r;
	replay_start(&r, model, json_string_value(json_object_get(transcript, "config_before")));
	for (size_t i = 0; i < NH_ARRAY_LEN(parts); i++)
		play(&r, transcript, parts[i]);
	play_sign(&r, transcript);
	assert_int_equal(nh_hex_decode_fixed(nh_json_text(transcript, "config_after"), after, sizeof(after)), NH_OK);
	assert_memory_equal(nh_chip_state_of(r.bench.chip)->config, after, sizeof(after));
	bench_stop(&r.bench);
}

static void transcript_508a(void **state) { whole(NH_CHIP_508A, "transcript_508a"); }
static void transcript_608b(void **state) { whole(NH_CHIP_608B, "transcript_608b"); }

static void transcript_volatile(void **state)
{
	NH_AUTO_JSON json_t *vectors = vectors_load();
	const json_t *transcript = json_object_get(vectors, "transcript_volatile_608b");
	static const char before[] = "012345670000600389abcdefee615500c0000000832087208f20c48f8f8f8f8f9f8faf8f0000000000000000000000000000af8fffffffff00000000ffffffff"
				     "000000000000000000000000000000000000000000005555ffff0000000000003300330033001c001c001c001c001c003c003c003c003c003c003c003c001c00";
	uint8_t after[NH_ATECC_CONFIG_LEN];
	struct replay r;
	replay_start(&r, NH_CHIP_608B, before);
	play(&r, transcript, "provision");
	assert_int_equal(nh_hex_decode_fixed(nh_json_text(transcript, "config"), after, sizeof(after)), NH_OK);
	assert_memory_equal(nh_chip_state_of(r.bench.chip)->config, after, sizeof(after));
	bench_stop(&r.bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(transcript_508a),
		cmocka_unit_test(transcript_608b),
		cmocka_unit_test(transcript_volatile),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

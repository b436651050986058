/*
 * Provisioning: what the reference's transcripts end with, on every model and layout; everything refused before the chip is touched; what is repaired and what is not.
 * Interruptions at every command: test_interruptions.c.
 */
#include "base/clock.h"
#include "key_world.h"

static const uint8_t activation[] = "correcthorsenail", encryption[] = "nailhorsecorrect";

static const struct {
	const char *transcript;
	nh_chip_model model;
	const char *serial, *board;
	bool latch;
} references[] = {
	{"transcript_508a", NH_CHIP_508A, "N1234", "NervesKey", false},
	{"transcript_608b", NH_CHIP_608B, "N1234", "NervesKey", false},
	{"transcript_volatile_608b", NH_CHIP_608B, "LAB00001-long-serial-number", "PowerBoard", true},
};

/* The first four replies of a transcript are the configuration as it was. */
static void config_before(const json_t *transcript, uint8_t config[NH_ATECC_CONFIG_LEN])
{
	for (size_t i = 0; i < 4; i++) {
		const json_t *row = json_array_get(json_object_get(transcript, "provision"), i);
		assert_int_equal(nh_hex_decode_fixed(nh_slice_str(json_string_value(json_array_get(row, 1))), config + 32 * i, 32), NH_OK);
	}
}

/* The same chip, serial number, signer and hour as in the transcripts: all bytes are the same but the keys' and signatures'. */
static void as_the_reference(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(references); i++) {
		const json_t *t = vectors(references[i].transcript);
		struct world w;
		struct nh_chip_state chip = {.model = references[i].model, .address = NH_ATECC_ADDRESS}, want = {0};
		struct nh_p256_key signer_key;
		struct nh_nerveskey_receipt receipt;
		struct nh_err err = NH_ERR_INIT;
		NH_AUTO_BUF struct nh_buf signer = NH_BUF_INIT;
		memset(chip.otp, 0xFF, sizeof chip.otp);
		memset(chip.slots, 0xFF, sizeof chip.slots);
		config_before(t, chip.config);
		vector_bytes(t, references[i].latch ? "config" : "config_after", want.config, sizeof want.config);
		state_apply(&want, json_object_get(t, "provision"));
		world_begin(&w, &chip, 40 + i);
		struct nh_nerveskey_order order = world_order(&w);
		order.manufacturer_serial = nh_slice_str(references[i].serial);
		order.board_name = nh_slice_str(references[i].board);
		if (references[i].latch) {
			order.activation_key = activation;
			order.encryption_key = encryption;
		} else {
			vector_hex(t, "signer_cert_der", &signer);
			assert_int_equal(nh_p256_key_parse_pem(nh_json_text(t, "signer_key_pem"), &signer_key, NULL), NH_OK);
			order.signer_der = nh_buf_slice(&signer);
			order.signer_key = &signer_key;
		}
		if (nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, &err) != NH_OK)
			fail_msg("%s: %s", references[i].transcript, err.msg);
		assert_true(receipt.burnt);
		assert_int_equal(receipt.reached, NH_NERVESKEY_STEP_VERIFY);
		assert_int_equal(receipt.info.state.stage, NH_NERVESKEY_STAGE_DONE);
		assert_int_equal(w.genkeys, 1);
		struct nh_chip_state got = world_state(&w);
		assert_memory_equal(got.config, want.config, sizeof want.config);
		assert_memory_equal(got.otp, want.otp, sizeof want.otp);
		for (unsigned slot = 1; slot < NH_ATECC_SLOTS; slot++) {
			unsigned skip = slot == 10 || (slot == 12 && references[i].latch) ? NH_P256_SIGNATURE_LEN : 0;
			if (slot == 11 && references[i].latch)
				continue; /* that transcript's signer key is not known */
			assert_memory_equal(got.slots[slot] + skip, want.slots[slot] + skip, nh_atecc_slot_len(slot) - skip);
		}
		nh_nerveskey_receipt_fini(&receipt);
		world_end(&w);
	}
}

struct tally {
	const struct world *w;
	unsigned steps[NH_NERVESKEY_STEPS];
	uint32_t sleeps;
};

/* Between two steps the chip has been asleep: what a lock changes is in force then, on any chip. */
static void count_step(void *ctx, nh_nerveskey_step step)
{
	struct tally *t = ctx;
	t->steps[step]++;
	if (step > 0)
		assert_true(t->w->sleeps > t->sleeps);
	t->sleeps = t->w->sleeps;
}

/* Every model; serial numbers of all shapes; what the receipt says is what the chip says afterwards. */
static void all_models(void **state)
{
	static const struct {
		nh_chip_model model;
		bool latch;
		const char *serial, *board, *user, *want_serial;
	} rows[] = {
		{NH_CHIP_508A, false, "", "", "", NULL},
		{NH_CHIP_608A, false, "X", "b", "calibration", "X"},
		{NH_CHIP_608B, false, "0123456789abcdef", "0123456789", "0123456789abcdef0123456789abcdef", "0123456789abcdef"},
		{NH_CHIP_608B, false, "0123456789abcdef0123456789abcdef0123456789abcdef", "b", "", "0123456789abcdef0123456789abcdef0123456789abcdef"},
		{NH_CHIP_608A, true, "S\xc3\xa4ge", "b", "", "S\xc3\xa4ge"},
		{NH_CHIP_608B, true, "0123456789abcdefg", "b", "", "0123456789abcdefg"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct world w;
		struct nh_err err = NH_ERR_INIT;
		struct nh_nerveskey_receipt receipt;
		struct nh_nerveskey_plan plan;
		struct tally tally = {.w = &w};
		world_factory(&w, rows[i].model, NH_CHIP_BLANK, 50 + i);
		struct nh_nerveskey_order order = world_order(&w);
		order.manufacturer_serial = nh_slice_str(rows[i].serial);
		order.board_name = nh_slice_str(rows[i].board);
		order.user_data = nh_slice_str(rows[i].user);
		if (rows[i].latch) {
			order.activation_key = activation;
			order.encryption_key = encryption;
		}
		struct nh_chip_state before = world_state(&w);
		assert_int_equal(nh_nerveskey_plan(w.key, &order, &plan, &err), NH_OK);
		assert_memory_equal(&before, nh_chip_state_of(w.bus.chip), sizeof before); /* a plan writes nothing */
		if (nh_nerveskey_provision(w.key, &order, count_step, &tally, &receipt, &err) != NH_OK)
			fail_msg("row %zu: %s", i, err.msg);
		for (unsigned s = 0; s < NH_NERVESKEY_STEPS; s++)
			assert_int_equal(tally.steps[s], 1);
		const char *serial = rows[i].want_serial ? rows[i].want_serial : receipt.info.default_serial;
		assert_string_equal(receipt.info.manufacturer_serial, serial);
		assert_string_equal(plan.manufacturer_serial, serial);
		assert_string_equal(receipt.info.otp.board_name, rows[i].board[0] ? rows[i].board : "NervesKey");
		assert_memory_equal(receipt.info.otp.user_data, rows[i].user, strlen(rows[i].user));
		assert_int_equal(receipt.info.state.kind, rows[i].latch ? NH_NERVESKEY_VOLATILE : NH_NERVESKEY_REGULAR);
		struct nh_nerveskey_certificate device;
		assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&receipt.device_der), &device, NULL), NH_OK);
		assert_slice(device.common_name, serial);
		assert_true(nh_slice_eq(nh_buf_slice(&receipt.signer_der), nh_buf_slice(&w.signer_der)));
		NH_AUTO_BUF struct nh_buf first = nh_steal_buf(&receipt.device_der);
		nh_nerveskey_receipt_fini(&receipt);
		/* done is done, and says what it is */
		before = world_state(&w);
		assert_int_equal(nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, &err), NH_ECONFLICT);
		NH_AUTO_BUF struct nh_buf since = NH_BUF_INIT, text = NH_BUF_INIT;
		nh_time_put_iso(&since, device.not_before_s * 1000000);
		nh_buf_printf(&text, "already provisioned on %.10s, with serial number '%s'", nh_buf_cstr(&since), serial);
		assert_non_null(strstr(err.msg, nh_buf_cstr(&text)));
		assert_false(receipt.burnt);
		assert_string_equal(receipt.info.manufacturer_serial, serial);
		assert_true(nh_slice_eq(nh_buf_slice(&receipt.device_der), nh_buf_slice(&first)) && nh_slice_eq(nh_buf_slice(&receipt.signer_der), nh_buf_slice(&w.signer_der)));
		assert_memory_equal(&before, nh_chip_state_of(w.bus.chip), sizeof before);
		nh_nerveskey_receipt_fini(&receipt);
		world_end(&w);
	}
}

/* Another program, or a worn cell, changes a byte at the worst time: just before the step that would make it final. */
struct meddler {
	struct world *w;
	nh_nerveskey_step step;
	int slot; /* -1: configuration, -2: one-time zone */
	unsigned byte;
};

static void meddle(void *ctx, nh_nerveskey_step step)
{
	const struct meddler *m = ctx;
	struct nh_chip_state *s = (struct nh_chip_state *)(uintptr_t)nh_chip_state_of(m->w->bus.chip);
	if (step == m->step)
		(m->slot >= 0 ? s->slots[m->slot] : m->slot == -1 ? s->config : s->otp)[m->byte] ^= 1;
}

static void meddled(void **state)
{
	static const struct {
		nh_nerveskey_step step;
		int slot;
		unsigned byte;
		nh_rc rc;
		const char *says;
		bool burnt, again; /* the next attempt mends it */
	} rows[] = {
		{NH_NERVESKEY_STEP_CONFIG_LOCK, -1, 40, NH_EPERM, "Nothing was burnt", false, true},
		{NH_NERVESKEY_STEP_DATA_LOCK, 0, 20, NH_EIO, "another key", true, true},
		{NH_NERVESKEY_STEP_DATA_LOCK, 5, 3, NH_EPERM, "does not hold what was written", true, true},
		{NH_NERVESKEY_STEP_DATA_LOCK, 10, 3, NH_EPERM, "does not hold what was written", true, true},
		{NH_NERVESKEY_STEP_DATA_LOCK, -2, 63, NH_EPERM, "does not hold what was written", true, true},
		{NH_NERVESKEY_STEP_VERIFY, 3, 35, NH_EIO, "slot 3", true, false},
		{NH_NERVESKEY_STEP_VERIFY, 12, 3, NH_EIO, "slot 12", true, false},
		{NH_NERVESKEY_STEP_VERIFY, -2, 20, NH_EIO, "one-time zone", true, false},
		{NH_NERVESKEY_STEP_VERIFY, 0, 20, NH_EAUTH, "another key", true, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct world w;
		struct nh_err err = NH_ERR_INIT;
		struct nh_nerveskey_receipt receipt;
		struct nh_nerveskey_plan plan;
		world_factory(&w, NH_CHIP_608B, NH_CHIP_BLANK, 90 + i);
		struct nh_nerveskey_order order = world_order(&w);
		struct meddler m = {&w, rows[i].step, rows[i].slot, rows[i].byte};
		nh_rc rc = nh_nerveskey_provision(w.key, &order, meddle, &m, &receipt, &err);
		if (rc != rows[i].rc || receipt.burnt != rows[i].burnt || receipt.reached != rows[i].step || !strstr(err.msg, rows[i].says))
			fail_msg("row %zu: %s: %s", i, nh_rc_name(rc), err.msg);
		nh_nerveskey_receipt_fini(&receipt);
		if (rows[i].again) {
			assert_int_equal(nh_nerveskey_plan(w.key, &order, &plan, NULL), NH_OK);
			assert_true(plan.needed[NH_NERVESKEY_STEP_KEY] && plan.needed[NH_NERVESKEY_STEP_CONFIG_LOCK] == !rows[i].burnt && !plan.repair_only);
			assert_int_equal(nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, &err), NH_OK);
			nh_nerveskey_receipt_fini(&receipt);
		}
		world_end(&w);
	}
}

/* The volatile layout's key sleeps until it is told; provisioning leaves it asleep. */
static void latch(void **state)
{
	struct world w;
	struct nh_nerveskey_info info;
	struct nh_nerveskey_receipt receipt;
	struct nh_err err = NH_ERR_INIT;
	uint8_t digest[32] = {3}, signature[NH_P256_SIGNATURE_LEN];
	world_factory(&w, NH_CHIP_608B, NH_CHIP_BLANK, 60);
	struct nh_nerveskey_order order = world_order(&w);
	order.activation_key = activation;
	order.encryption_key = encryption;
	if (nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, &err) != NH_OK)
		fail_msg("%s", err.msg);
	nh_nerveskey_receipt_fini(&receipt);
	assert_int_equal(nh_nerveskey_sign(w.key, digest, signature, &err), NH_EPERM);
	assert_non_null(strstr(err.msg, "activation key"));
	assert_int_equal(nh_atecc_latch_unlock(nh_nerveskey_chip(w.key), 1, encryption, &w.bus.rng, NULL), NH_EAUTH);
	assert_int_equal(nh_atecc_latch_unlock(nh_nerveskey_chip(w.key), 1, activation, &w.bus.rng, NULL), NH_OK);
	assert_int_equal(nh_nerveskey_info_read(w.key, &info, NULL), NH_OK);
	assert_true(info.latch_known && info.latch && info.has_public_key);
	assert_int_equal(nh_nerveskey_sign(w.key, digest, signature, NULL), NH_OK);
	assert_int_equal(nh_p256_verify(info.public_key, nh_slice_of(digest, sizeof digest), signature), NH_OK);
	nh_chip_power_cycle(w.bus.chip);
	assert_int_equal(nh_nerveskey_sign(w.key, digest, signature, NULL), NH_EPERM);
	world_end(&w);
}

/* ---- refused: the chip stays as it is, to the bit */

struct refusal {
	const char *name;
	nh_chip_model model;
	void (*chip)(struct nh_chip_state *state);            /* what is odd about the chip */
	void (*order)(struct world *w, struct nh_nerveskey_order *o); /* or the order */
	nh_rc rc;
	const char *says;
};

static struct nh_buf odd_signer; /* a signer's certificate made for a row */
static struct nh_p256_key odd_key;

static void serial_slash(struct world *w, struct nh_nerveskey_order *o) { o->manufacturer_serial = NH_LIT("A/1"); }
static void serial_49(struct world *w, struct nh_nerveskey_order *o) { o->manufacturer_serial = NH_LIT("0123456789abcdef0123456789abcdef0123456789abcdefg"); }
static void serial_utf8(struct world *w, struct nh_nerveskey_order *o) { o->manufacturer_serial = NH_LIT("A\xff"); }
static void serial_newline(struct world *w, struct nh_nerveskey_order *o) { o->manufacturer_serial = NH_LIT("A\n"); }
static void board_11(struct world *w, struct nh_nerveskey_order *o) { o->board_name = NH_LIT("PowerBoard5"); }
static void user_33(struct world *w, struct nh_nerveskey_order *o) { o->user_data = NH_LIT("0123456789abcdef0123456789abcdefg"); }
static void user_with_17(struct world *w, struct nh_nerveskey_order *o)
{
	o->manufacturer_serial = NH_LIT("0123456789abcdefg");
	o->user_data = NH_LIT("x");
}
static void no_signer(struct world *w, struct nh_nerveskey_order *o) { o->signer_der = NH_SLICE_EMPTY; }
static void no_signer_key(struct world *w, struct nh_nerveskey_order *o) { o->signer_key = NULL; }
static void other_signer_key(struct world *w, struct nh_nerveskey_order *o)
{
	nh_p256_generate(&w->bus.rng, &odd_key);
	o->signer_key = &odd_key;
}
static void signer_cut(struct world *w, struct nh_nerveskey_order *o) { o->signer_der.len--; }
static void signer_broken(struct world *w, struct nh_nerveskey_order *o)
{
	nh_buf_put_slice(&odd_signer, o->signer_der);
	odd_signer.ptr[odd_signer.len - 1] ^= 1; /* the signature's last byte */
	o->signer_der = nh_buf_slice(&odd_signer);
}
static void signer_of_vectors(struct world *w, struct nh_nerveskey_order *o)
{
	size_t i;
	const json_t *row;
	json_array_foreach((json_t *)vectors("signer_certs"), i, row) {
		if (json_is_false(json_object_get(row, "reconstructed_equals_der")))
			vector_hex(row, "der", &odd_signer);
	}
	o->signer_der = nh_buf_slice(&odd_signer);
}
static void signer_tomorrow(struct world *w, struct nh_nerveskey_order *o)
{
	w->now_us += 48 * 3600 * NH_US_PER_S;
	assert_int_equal(nh_nerveskey_signer_create(&w->signer_key, 5, &w->clock, &w->bus.rng, &odd_signer, NULL), NH_OK);
	w->now_us -= 48 * 3600 * NH_US_PER_S;
	o->signer_der = nh_buf_slice(&odd_signer);
}
static void clock_1970(struct world *w, struct nh_nerveskey_order *o) { w->now_us = 3600 * NH_US_PER_S; }
static void clock_2032(struct world *w, struct nh_nerveskey_order *o) { w->now_us = INT64_C(1956528000) * NH_US_PER_S; }
static void half_latch(struct world *w, struct nh_nerveskey_order *o) { o->activation_key = activation; }
static void other_half(struct world *w, struct nh_nerveskey_order *o) { o->encryption_key = encryption; }
static void with_latch(struct world *w, struct nh_nerveskey_order *o)
{
	o->activation_key = activation;
	o->encryption_key = encryption;
}

static void chip_unknown(struct nh_chip_state *s) { s->config[6] = 0x20; }
static void chip_foreign(struct nh_chip_state *s) { s->config[87] = 0; }
static void chip_foreign_done(struct nh_chip_state *s) { s->config[86] = s->config[87] = 0; }
static void chip_slot_locked(struct nh_chip_state *s) { s->config[88] = 0xFB; }
static void chip_data_locked(struct nh_chip_state *s) { s->config[86] = 0; }
static void chip_regular(struct nh_chip_state *s)
{
	nh_nerveskey_config_apply(s->config, NH_NERVESKEY_REGULAR);
	s->config[87] = 0;
}
static void chip_volatile(struct nh_chip_state *s)
{
	nh_nerveskey_config_apply(s->config, NH_NERVESKEY_VOLATILE);
	s->config[87] = 0;
}
static void chip_nearly(struct nh_chip_state *s) /* as the reference compares, a NervesKey; but slot 5 takes no settings */
{
	chip_regular(s);
	s->config[20 + 2 * 5] = 0x8F;
}
static void chip_no_otp(struct nh_chip_state *s) /* somebody locked the data zone without a word in it */
{
	chip_regular(s);
	s->config[86] = 0;
}

static const struct refusal refusals[] = {
	{"slash", NH_CHIP_608B, NULL, serial_slash, NH_EINVAL, "'/'"},
	{"serial too long", NH_CHIP_508A, NULL, serial_49, NH_EINVAL, "49 bytes"},
	{"serial not UTF-8", NH_CHIP_608B, NULL, serial_utf8, NH_EINVAL, "UTF-8"},
	{"serial with newline", NH_CHIP_608B, NULL, serial_newline, NH_EINVAL, "control"},
	{"board name too long", NH_CHIP_508A, NULL, board_11, NH_EINVAL, "11 bytes"},
	{"user data too long", NH_CHIP_608B, NULL, user_33, NH_EINVAL, "33 bytes"},
	{"user data beside long serial", NH_CHIP_608B, NULL, user_with_17, NH_EINVAL, "16 bytes"},
	{"no signer", NH_CHIP_608B, NULL, no_signer, NH_EINVAL, "signer"},
	{"no signer key", NH_CHIP_608B, NULL, no_signer_key, NH_EINVAL, "signer"},
	{"another signer's key", NH_CHIP_508A, NULL, other_signer_key, NH_EINVAL, "does not belong"},
	{"signer cut short", NH_CHIP_508A, NULL, signer_cut, NH_EINVAL, "X.509"},
	{"signer with broken signature", NH_CHIP_608B, NULL, signer_broken, NH_EINVAL, ""},
	{"signer that would not come back", NH_CHIP_608B, NULL, signer_of_vectors, NH_EINVAL, ""},
	{"signer of tomorrow", NH_CHIP_608B, NULL, signer_tomorrow, NH_EINVAL, "clock"},
	{"clock at 1970", NH_CHIP_508A, NULL, clock_1970, NH_EINVAL, "clock"},
	{"clock beyond 2031", NH_CHIP_608B, NULL, clock_2032, NH_EINVAL, ""},
	{"activation key alone", NH_CHIP_608B, NULL, half_latch, NH_EINVAL, "encryption key"},
	{"encryption key alone", NH_CHIP_608B, NULL, other_half, NH_EINVAL, "activation key"},
	{"latch on a 508A", NH_CHIP_508A, NULL, with_latch, NH_EUNSUPPORTED, "508A"},
	{"another kind of chip", NH_CHIP_608B, chip_unknown, NULL, NH_EUNSUPPORTED, "revision"},
	{"foreign layout", NH_CHIP_508A, chip_foreign, NULL, NH_EPERM, "slots 0, 1, 2"},
	{"foreign layout, all locked", NH_CHIP_608B, chip_foreign_done, NULL, NH_EPERM, "different layout"},
	{"a slot locked early", NH_CHIP_608B, chip_slot_locked, NULL, NH_EPERM, "slots 2 "},
	{"data locked, configuration open", NH_CHIP_608B, chip_data_locked, NULL, NH_EFORMAT, "faulty"},
	{"regular chip, volatile order", NH_CHIP_608B, chip_regular, with_latch, NH_EPERM, "regular layout"},
	{"volatile chip, regular order", NH_CHIP_608B, chip_volatile, NULL, NH_EPERM, "volatile layout"},
	{"nearly a NervesKey", NH_CHIP_608B, chip_nearly, NULL, NH_EPERM, "slots 5"},
	{"locked without a word", NH_CHIP_608B, chip_no_otp, NULL, NH_ECONFLICT, "locked already"},
};

static void refused(void **state)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(refusals); i++) {
		const struct refusal *r = &refusals[i];
		struct world w;
		struct nh_rng_seeded seeded;
		struct nh_rng rng = nh_rng_seeded_init(&seeded, i);
		struct nh_chip_state chip;
		struct nh_err err = NH_ERR_INIT;
		struct nh_nerveskey_plan plan;
		struct nh_nerveskey_receipt receipt;
		nh_chip_state_factory(r->model, NH_CHIP_BLANK, NULL, &rng, &chip);
		if (r->chip)
			r->chip(&chip);
		world_begin(&w, &chip, 70 + i);
		struct nh_nerveskey_order order = world_order(&w);
		if (r->order)
			r->order(&w, &order);
		struct nh_chip_state before = world_state(&w);
		nh_rc planned = nh_nerveskey_plan(w.key, &order, &plan, &err);
		if (planned != r->rc || !strstr(err.msg, r->says) || !strstr(err.msg, "Nothing was written."))
			fail_msg("%s: %s: %s", r->name, nh_rc_name(planned), err.msg);
		assert_int_equal(nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, &err), r->rc);
		assert_false(receipt.burnt);
		assert_int_equal(receipt.reached, NH_NERVESKEY_STEP_CHECK);
		nh_nerveskey_receipt_fini(&receipt);
		assert_memory_equal(&before, nh_chip_state_of(w.bus.chip), sizeof before);
		nh_buf_fini(&odd_signer);
		world_end(&w);
	}
}

/* ---- repair and resumption by state */

/* A provisioned chip whose key slots are open again, as if it had stopped there. */
static void reopened(struct world *w, struct nh_chip_state *chip, bool latched, uint64_t seed)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_nerveskey_receipt receipt;
	world_factory(w, NH_CHIP_608B, NH_CHIP_BLANK, seed);
	struct nh_nerveskey_order order = world_order(w);
	if (latched)
		with_latch(w, &order);
	if (nh_nerveskey_provision(w->key, &order, NULL, NULL, &receipt, &err) != NH_OK)
		fail_msg("%s", err.msg);
	nh_nerveskey_receipt_fini(&receipt);
	*chip = world_state(w);
	chip->config[88] = 0xFF;
	nh_chip_free(w->bus.chip);
	w->bus.chip = NULL;
}

static void reboot(struct world *w, const struct nh_chip_state *chip)
{
	struct nh_chip_config config = {.rng = &w->bus.rng, .now_us = chip_bus_now, .clock_ctx = &w->bus, .speed_percent = 100, .watchdog = true};
	nh_chip_free(w->bus.chip);
	nh_chip_new(&config, chip, &w->bus.chip);
	world_open(w);
}

static void repaired(void **state)
{
	struct world w;
	struct nh_chip_state chip, other;
	struct nh_err err = NH_ERR_INIT;
	struct nh_nerveskey_plan plan;
	struct nh_nerveskey_receipt receipt;
	reopened(&w, &chip, false, 100);
	struct nh_nerveskey_order order = world_order(&w);
	/* the plan says so, and other orders are not mistaken for this one */
	reboot(&w, &chip);
	assert_int_equal(nh_nerveskey_plan(w.key, &order, &plan, &err), NH_OK);
	assert_true(plan.repair_only && plan.needed[NH_NERVESKEY_STEP_SLOT_LOCK] && !plan.needed[NH_NERVESKEY_STEP_KEY] && !plan.needed[NH_NERVESKEY_STEP_DATA_LOCK]);
	order.manufacturer_serial = NH_LIT("N1235");
	assert_int_equal(nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, &err), NH_ECONFLICT);
	assert_non_null(strstr(err.msg, "N1234"));
	assert_memory_equal(&chip, nh_chip_state_of(w.bus.chip), sizeof chip);
	/* the same order finishes it */
	order.manufacturer_serial = NH_LIT("N1234");
	w.genkeys = 0;
	assert_int_equal(nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, &err), NH_OK);
	assert_true(receipt.burnt && receipt.device_der.len > 0 && receipt.signer_der.len > 0);
	assert_int_equal(receipt.info.state.stage, NH_NERVESKEY_STAGE_DONE);
	nh_nerveskey_receipt_fini(&receipt);
	assert_int_equal(w.genkeys, 0);
	/* and so does repair, once */
	reboot(&w, &chip);
	assert_int_equal(nh_nerveskey_repair(w.key, &err), NH_OK);
	assert_int_equal(nh_chip_state_of(w.bus.chip)->config[88], 0xFE);
	assert_int_equal(nh_nerveskey_repair(w.key, &err), NH_ECONFLICT);
	/* but not where it would make a wrong key final */
	static const struct {
		unsigned slot, byte;
	} wrong[] = {{0, 20}, {10, 7}, {11, 8}, {12, 9}};
	for (size_t i = 0; i < NH_ARRAY_LEN(wrong); i++) {
		other = chip;
		other.slots[wrong[i].slot][wrong[i].byte] ^= 1;
		reboot(&w, &other);
		assert_int_equal(nh_nerveskey_repair(w.key, &err), NH_EAUTH);
		assert_memory_equal(&other, nh_chip_state_of(w.bus.chip), sizeof other);
		if (wrong[i].slot == 12)
			continue; /* that is not even the same order */
		assert_int_equal(nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, &err), NH_EAUTH);
		assert_false(receipt.burnt);
		assert_memory_equal(&other, nh_chip_state_of(w.bus.chip), sizeof other);
		nh_nerveskey_receipt_fini(&receipt);
	}
	world_end(&w);
}

/* The volatile layout has three slots to lock, and its key is asleep: the order brings what wakes it. */
static void repaired_volatile(void **state)
{
	for (uint8_t open = 1; open < 8; open++) {
		struct world w;
		struct nh_chip_state chip;
		struct nh_err err = NH_ERR_INIT;
		struct nh_nerveskey_receipt receipt;
		reopened(&w, &chip, true, 110 + open);
		chip.config[88] = (uint8_t)(0xF8 | open);
		reboot(&w, &chip);
		struct nh_nerveskey_order order = world_order(&w);
		with_latch(&w, &order);
		if (nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, &err) != NH_OK)
			fail_msg("open slots %u: %s", open, err.msg);
		assert_int_equal(nh_chip_state_of(w.bus.chip)->config[88], 0xF8);
		nh_nerveskey_receipt_fini(&receipt);
		reboot(&w, &chip);
		assert_int_equal(nh_nerveskey_repair(w.key, &err), NH_EPERM); /* asleep */
		assert_memory_equal(&chip, nh_chip_state_of(w.bus.chip), sizeof chip);
		assert_int_equal(nh_atecc_latch_unlock(nh_nerveskey_chip(w.key), 1, activation, &w.bus.rng, NULL), NH_OK);
		if (nh_nerveskey_repair(w.key, &err) != NH_OK)
			fail_msg("open slots %u: %s", open, err.msg);
		assert_int_equal(nh_chip_state_of(w.bus.chip)->config[88], 0xF8);
		world_end(&w);
	}
}

static void step_names(void **state)
{
	assert_string_equal(nh_nerveskey_step_name(NH_NERVESKEY_STEP_CONFIG_LOCK), "config-lock");
	assert_string_equal(nh_nerveskey_step_name(NH_NERVESKEY_STEP_VERIFY), "verify");
	assert_string_equal(nh_nerveskey_step_name(NH_NERVESKEY_STEPS), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(as_the_reference), cmocka_unit_test(all_models), cmocka_unit_test(meddled), cmocka_unit_test(latch),     cmocka_unit_test(refused),
					   cmocka_unit_test(repaired),         cmocka_unit_test(repaired_volatile), cmocka_unit_test(step_names)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

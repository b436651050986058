/*
 * Provisioning that is interrupted, at every command that there is, and gone on with. Power that goes for good before a command or right after it; answers and transfers lost underway; several interruptions in a
 * row. Whatever happens: the chip ends as a NervesKey whose certificates verify, each lock was set once, nothing was locked before everything was checked, and no key is made once the data zone is locked.
 *
 * The layout is the program's argument (508a, 608a, 608b, volatile), so that they run beside each other.
 */
#include "key_world.h"

static const uint8_t activation[] = "correcthorsenail", encryption[] = "nailhorsecorrect";
static nh_chip_model model = NH_CHIP_608B;
static bool latched;

static struct nh_nerveskey_order order_of(struct world *w)
{
	struct nh_nerveskey_order o = world_order(w);
	o.activation_key = latched ? activation : NULL;
	o.encryption_key = latched ? encryption : NULL;
	return o;
}

static void state_of(const struct world *w, struct nh_nerveskey_state *out) { nh_nerveskey_state_of(nh_chip_state_of(w->bus.chip)->config, NULL, out); }

/* A provisioned chip that does all it should, asked by somebody who was not there. */
static void assert_whole(struct world *w, const char *when)
{
	struct nh_nerveskey_state s;
	struct nh_nerveskey_info info;
	struct nh_nerveskey_certificate device;
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf device_der = NH_BUF_INIT, signer_der = NH_BUF_INIT;
	uint8_t digest[32] = {5}, signature[NH_P256_SIGNATURE_LEN];
	state_of(w, &s);
	if (s.stage != NH_NERVESKEY_STAGE_DONE || s.kind != (latched ? NH_NERVESKEY_VOLATILE : NH_NERVESKEY_REGULAR))
		fail_msg("%s: stage %d, kind %d", when, s.stage, s.kind);
	world_open(w);
	if (latched)
		assert_int_equal(nh_atecc_latch_unlock(nh_nerveskey_chip(w->key), 1, activation, &w->bus.rng, NULL), NH_OK);
	if (nh_nerveskey_info_read(w->key, &info, &err) != NH_OK || nh_nerveskey_device_certificate(w->key, NH_NERVESKEY_PRIMARY, &device_der, &err) != NH_OK ||
	    nh_nerveskey_signer_certificate(w->key, NH_NERVESKEY_PRIMARY, &signer_der, &err) != NH_OK || nh_nerveskey_sign(w->key, digest, signature, &err) != NH_OK)
		fail_msg("%s: %s", when, err.msg);
	assert_string_equal(info.manufacturer_serial, "N1234");
	assert_int_equal(nh_nerveskey_certificate_parse(nh_buf_slice(&device_der), &device, NULL), NH_OK);
	assert_true(nh_slice_eq(nh_buf_slice(&signer_der), nh_buf_slice(&w->signer_der)));
	assert_int_equal(nh_p256_verify(device.public_key, nh_slice_of(digest, sizeof digest), signature), NH_OK);
	assert_false(w->genkey_when_locked);
}

/* What a receipt of a failed attempt may say about the chip as it is. */
static void assert_honest(const struct world *w, const struct nh_nerveskey_receipt *r, const struct nh_chip_state *before, const char *when)
{
	const struct nh_chip_state *after = nh_chip_state_of(w->bus.chip);
	bool burnt = false;
	for (unsigned byte = 86; byte < 90; byte++)
		burnt |= before->config[byte] != after->config[byte];
	if (burnt && !r->burnt)
		fail_msg("%s: something was burnt and the receipt denies it", when);
	if (r->burnt && r->reached < NH_NERVESKEY_STEP_CONFIG_LOCK)
		fail_msg("%s: the receipt says burnt before the first lock", when);
	if (r->reached == NH_NERVESKEY_STEP_CHECK && memcmp(before, after, sizeof *after) != 0)
		fail_msg("%s: a check changed the chip", when);
}

/* Until it is done: the attempt after an interruption has nothing in its way. */
static void go_on(struct world *w, const char *when)
{
	struct nh_nerveskey_receipt receipt;
	struct nh_nerveskey_state s;
	struct nh_err err = NH_ERR_INIT;
	struct nh_chip_state between = world_state(w);
	state_of(w, &s);
	uint32_t genkeys = w->genkeys;
	world_revive(w);
	world_open(w);
	struct nh_nerveskey_order order = order_of(w);
	nh_rc rc = nh_nerveskey_provision(w->key, &order, NULL, NULL, &receipt, &err);
	/* Where only looking at the result was interrupted, there is nothing left to do. */
	if (rc != (s.stage == NH_NERVESKEY_STAGE_DONE ? NH_ECONFLICT : NH_OK))
		fail_msg("%s, then: %s", when, err.msg);
	nh_nerveskey_receipt_fini(&receipt);
	if (s.data_locked && (w->genkeys != genkeys || memcmp(between.slots[0], nh_chip_state_of(w->bus.chip)->slots[0], 36) != 0))
		fail_msg("%s: another key after the data lock", when);
	assert_whole(w, when);
}

static void dying(bool after)
{
	for (uint32_t n = 1;; n++) {
		struct world w;
		struct nh_nerveskey_receipt receipt;
		char when[64];
		snprintf(when, sizeof when, "power lost %s command %u", after ? "after" : "before", n);
		world_factory(&w, model, NH_CHIP_BLANK, 200);
		struct nh_chip_state before = world_state(&w);
		struct nh_nerveskey_order order = order_of(&w);
		w.dies_at = n;
		w.dies_after = after;
		nh_rc rc = nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, NULL);
		bool untouched = w.commands < n;
		w.dies_at = 0;
		if ((rc == NH_OK) != untouched && !(rc == NH_OK && latched)) /* clearing the latch at the end may fail */
			fail_msg("%s: %s", when, nh_rc_name(rc));
		assert_honest(&w, &receipt, &before, when);
		nh_nerveskey_receipt_fini(&receipt);
		if (!untouched)
			go_on(&w, when);
		else
			assert_whole(&w, when);
		world_end(&w);
		if (untouched) {
			assert_in_range(n, 100, 400);
			break;
		}
	}
}

static void power_before(void **state) { dying(false); }
static void power_after(void **state) { dying(true); }

/* Something goes wrong once and the chip is there again: the driver recovers, or the next attempt does. */
static void hiccups(void **state)
{
	static const struct {
		nh_chip_fault fault;
		uint32_t count, argument, step;
	} rows[] = {
		{NH_CHIP_FAULT_POWER_BEFORE, 1, 0, 3}, {NH_CHIP_FAULT_POWER_AFTER, 1, 0, 3}, {NH_CHIP_FAULT_LOST_REPLY, 1, 0, 3}, {NH_CHIP_FAULT_CRC, 1, 0, 7},
		{NH_CHIP_FAULT_CRC, 4, 0, 7},	       {NH_CHIP_FAULT_COMMAND_CRC, 1, 0, 7},  {NH_CHIP_FAULT_EE, 1, 0, 7},	 {NH_CHIP_FAULT_WATCHDOG, 1, 0, 7},
		{NH_CHIP_FAULT_STATUS, 1, 0x05, 7},    {NH_CHIP_FAULT_STATUS, 1, 0x0F, 7},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		for (uint32_t skip = 0; skip < 180; skip += rows[i].step) {
			struct world w;
			struct nh_nerveskey_receipt receipt;
			char when[64];
			snprintf(when, sizeof when, "%s after %u commands", nh_chip_fault_name(rows[i].fault), skip);
			world_factory(&w, model, NH_CHIP_BLANK, 300 + skip);
			struct nh_chip_state before = world_state(&w);
			struct nh_nerveskey_order order = order_of(&w);
			nh_chip_fault_arm(w.bus.chip, rows[i].fault, skip, rows[i].count, rows[i].argument);
			nh_rc rc = nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, NULL);
			assert_honest(&w, &receipt, &before, when);
			nh_nerveskey_receipt_fini(&receipt);
			nh_chip_fault_arm(w.bus.chip, rows[i].fault, 0, 0, 0);
			if (rc != NH_OK)
				go_on(&w, when);
			else
				assert_whole(&w, when);
			world_end(&w);
		}
	}
}

/*
 * Nobody hears the chip for a while after a lock, longer than the driver asks: whoever gets through first finds it locked, and the attempt goes on or says what it does not know.
 */
static void deaf_at_locks(void **state)
{
	unsigned went_on = 0, gave_up = 0;
	for (uint32_t n = 15; n < 85; n += n == 25 ? 45 : 1) {
		for (uint32_t deaf = 2; deaf < 120; deaf += 9) {
			struct world w;
			struct nh_nerveskey_receipt receipt;
			char when[64];
			snprintf(when, sizeof when, "deaf for %u transfers after command %u", deaf, n);
			world_factory(&w, model, NH_CHIP_BLANK, 350);
			struct nh_chip_state before = world_state(&w);
			struct nh_nerveskey_order order = order_of(&w);
			w.dies_at = n;
			w.dies_after = true;
			w.deaf_for = deaf;
			nh_rc rc = nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, NULL);
			assert_honest(&w, &receipt, &before, when);
			nh_nerveskey_receipt_fini(&receipt);
			if (rc != NH_OK)
				go_on(&w, when);
			else
				assert_whole(&w, when);
			went_on += rc == NH_OK;
			gave_up += rc != NH_OK;
			world_end(&w);
		}
	}
	assert_true(went_on > 0 && gave_up > 0);
}

/* Interrupted again and again, each time somewhere else. */
static void chains(void **state)
{
	for (unsigned chain = 0; chain < 25; chain++) {
		struct world w;
		struct nh_rng_seeded seeded;
		struct nh_rng rng = nh_rng_seeded_init(&seeded, chain);
		char when[64];
		snprintf(when, sizeof when, "chain %u", chain);
		world_factory(&w, model, NH_CHIP_BLANK, 400 + chain);
		for (unsigned attempt = 0; attempt < 8; attempt++) {
			struct nh_nerveskey_receipt receipt;
			struct nh_chip_state before = world_state(&w);
			world_revive(&w);
			world_open(&w);
			struct nh_nerveskey_order order = order_of(&w);
			w.dies_at = (uint32_t)nh_rng_below(&rng, 130) + 1;
			w.dies_after = nh_rng_below(&rng, 2);
			NH_IGNORE(nh_nerveskey_provision(w.key, &order, NULL, NULL, &receipt, NULL));
			assert_honest(&w, &receipt, &before, when);
			nh_nerveskey_receipt_fini(&receipt);
		}
		go_on(&w, when);
		world_end(&w);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		nh_chip_model model;
		bool latched;
	} layouts[] = {{"508a", NH_CHIP_508A, false}, {"608a", NH_CHIP_608A, false}, {"608b", NH_CHIP_608B, false}, {"volatile", NH_CHIP_608B, true}};
	for (size_t i = 0; i < NH_ARRAY_LEN(layouts); i++) {
		if (argc > 1 && strcmp(argv[1], layouts[i].name) == 0) {
			model = layouts[i].model;
			latched = layouts[i].latched;
		}
	}
	const struct CMUnitTest tests[] = {cmocka_unit_test(power_before), cmocka_unit_test(power_after), cmocka_unit_test(hiccups), cmocka_unit_test(deaf_at_locks), cmocka_unit_test(chains)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

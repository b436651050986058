/*
 * What the endpoint keeps in memory: known certificates (bounded, replaced, forgotten) and who is connected here (newest wins, only the owner
 * removes).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "device_api_int.h"

struct fingerprint {
	uint8_t bytes[NH_TLS_FINGERPRINT_LEN];
};

/* The first 8 bytes choose the set; the last tell fingerprints of one set apart. */
static struct fingerprint fingerprint(uint8_t set, unsigned number)
{
	struct fingerprint f = {{[7] = set, [NH_TLS_FINGERPRINT_LEN - 2] = (uint8_t)(number >> 8), [NH_TLS_FINGERPRINT_LEN - 1] = (uint8_t)number}};
	return f;
}

/* ---- certificates ---------------------------------------------------------------------------------------------------------- */

static void test_known_replaced_forgotten(void **state)
{
	struct certificates c;
	certificates_init(&c, 64);
	struct fingerprint a = fingerprint(1, 1), b = fingerprint(1, 2);
	assert_int_equal(certificates_find(&c, a.bytes), 0);
	certificates_put(&c, a.bytes, 11);
	certificates_put(&c, b.bytes, 12);
	assert_int_equal(certificates_find(&c, a.bytes), 11);
	assert_int_equal(certificates_find(&c, b.bytes), 12);
	/* moved to another device: one entry, the new answer */
	certificates_put(&c, a.bytes, 13);
	assert_int_equal(certificates_find(&c, a.bytes), 13);
	assert_int_equal(c.count, 2);
	certificates_forget(&c, a.bytes);
	assert_int_equal(certificates_find(&c, a.bytes), 0);
	assert_int_equal(certificates_find(&c, b.bytes), 12);
	certificates_forget(&c, a.bytes); /* what is not there is forgotten already */
	assert_int_equal(c.count, 1);
	certificates_put(&c, a.bytes, 14);
	assert_int_equal(certificates_find(&c, a.bytes), 14);
	assert_int_equal(c.count, 2);
	assert_int_equal(c.used, 2); /* in the place of the one that was forgotten */
	certificates_fini(&c);
}

/* A fingerprint must be in the cache once even where a free place lies before its own. */
static void test_no_second_entry_before_the_first(void **state)
{
	struct certificates c;
	certificates_init(&c, 8);
	struct fingerprint a = fingerprint(0, 1), b = fingerprint(0, 2);
	certificates_put(&c, a.bytes, 1);
	certificates_put(&c, b.bytes, 2);
	certificates_forget(&c, a.bytes);
	certificates_put(&c, b.bytes, 3);
	certificates_forget(&c, b.bytes);
	assert_int_equal(certificates_find(&c, b.bytes), 0);
	assert_int_equal(c.count, 0);
	certificates_fini(&c);
}

static void test_bounded(void **state)
{
	struct certificates c;
	certificates_init(&c, 64);
	size_t room = c.sets * CERTIFICATE_WAYS;
	for (unsigned i = 1; i <= 10000; i++) {
		struct fingerprint f = fingerprint((uint8_t)(i % 251), i);
		certificates_put(&c, f.bytes, i);
		assert_int_equal(certificates_find(&c, f.bytes), i); /* the newest is always there */
		assert_true(c.count <= room);
	}
	assert_int_equal(c.count, room);
	size_t found = 0;
	for (unsigned i = 1; i <= 10000; i++) {
		struct fingerprint f = fingerprint((uint8_t)(i % 251), i);
		int64_t device = certificates_find(&c, f.bytes);
		assert_true(device == 0 || device == i); /* never another's */
		found += device != 0;
	}
	assert_int_equal(found, room);
	certificates_fini(&c);
}

/* A full set gives up one in turn; the other sets lose nothing. */
static void test_full_set_gives_up_one(void **state)
{
	struct certificates c;
	certificates_init(&c, 64);
	struct fingerprint neighbour = fingerprint(1, 99);
	certificates_put(&c, neighbour.bytes, 99);
	for (unsigned i = 0; i < CERTIFICATE_WAYS + 1; i++) {
		struct fingerprint f = fingerprint(0, i);
		certificates_put(&c, f.bytes, i + 1);
	}
	unsigned missing = 0;
	for (unsigned i = 0; i < CERTIFICATE_WAYS + 1; i++) {
		struct fingerprint f = fingerprint(0, i);
		missing += certificates_find(&c, f.bytes) == 0;
	}
	assert_int_equal(missing, 1);
	assert_int_equal(certificates_find(&c, neighbour.bytes), 99);
	assert_int_equal(c.count, CERTIFICATE_WAYS + 1);
	certificates_fini(&c);
}

/* ---- registry -------------------------------------------------------------------------------------------------------------- */

static void test_newest_wins(void **state)
{
	struct registry r;
	struct nh_conn_id first = {0, 4, 1}, second = {1, 4, 1}, old, now;
	registry_init(&r);
	assert_false(registry_get(&r, 7, &now));
	registry_put(&r, 7, first, &old);
	assert_int_equal(old.generation, 0);
	registry_put(&r, 7, second, &old);
	assert_memory_equal(&old, &first, sizeof old);
	assert_true(registry_get(&r, 7, &now));
	assert_memory_equal(&now, &second, sizeof now);
	assert_int_equal(registry_count(&r), 1);
	registry_fini(&r);
}

/* The replaced connection ends after the new one came: its end must not remove the new one. Each part of a connection's name counts. */
static void test_only_own_is_removed(void **state)
{
	static const struct nh_conn_id mine = {1, 4, 9}, others[] = {{0, 4, 9}, {1, 5, 9}, {1, 4, 8}};
	struct registry r;
	struct nh_conn_id old, now;
	registry_init(&r);
	registry_put(&r, 7, mine, &old);
	registry_put(&r, 8, mine, &old);
	for (size_t i = 0; i < NH_ARRAY_LEN(others); i++) {
		registry_remove(&r, 7, others[i]);
		assert_true(registry_get(&r, 7, &now));
	}
	registry_remove(&r, 9, mine); /* nobody's */
	assert_int_equal(registry_count(&r), 2);
	registry_remove(&r, 7, mine);
	assert_false(registry_get(&r, 7, &now));
	assert_true(registry_get(&r, 8, &now));
	assert_int_equal(registry_count(&r), 1);
	registry_put(&r, 7, others[0], &old);
	assert_int_equal(old.generation, 0);
	registry_fini(&r);
}

struct found {
	int64_t ids[4];
	size_t count;
};

static void note(void *ctx, int64_t device_id, struct nh_conn_id id)
{
	struct found *found = ctx;
	assert_true(found->count < NH_ARRAY_LEN(found->ids));
	assert_int_equal(id.slot, device_id); /* as put below */
	found->ids[found->count++] = device_id;
}

/* Devices of a product are those whose newest connection has joined. */
static void test_each_of_a_product(void **state)
{
	struct registry r;
	struct nh_conn_id old;
	struct found found = {0};
	registry_init(&r);
	for (uint32_t i = 1; i <= 4; i++)
		registry_put(&r, i, (struct nh_conn_id){0, i, 1}, &old);
	registry_set_product(&r, 1, (struct nh_conn_id){0, 1, 1}, 70);
	registry_set_product(&r, 2, (struct nh_conn_id){0, 2, 1}, 71);
	registry_set_product(&r, 3, (struct nh_conn_id){0, 3, 1}, 70);
	registry_set_product(&r, 4, (struct nh_conn_id){0, 4, 2}, 70); /* a connection that was replaced */
	registry_set_product(&r, 5, (struct nh_conn_id){0, 5, 1}, 70); /* nobody */
	registry_put(&r, 3, (struct nh_conn_id){0, 3, 2}, &old);       /* has not joined yet */
	registry_each(&r, 70, note, &found);
	assert_int_equal(found.count, 1);
	assert_int_equal(found.ids[0], 1);
	registry_fini(&r);
}

/* ---- who connects again and again ---------------------------------------------------------------------------------------------- */

static void test_reconnects(void **state)
{
	static const struct {
		int64_t device;
		uint64_t at_ms;
		bool admitted;
	} rows[] = {
		{1, 1000, true}, {1, 1001, true}, {1, 1002, true}, {1, 1003, false}, {1, 60999, false}, /* the first connect's minute */
		{2, 1003, true}, {1, 61000, true}, {1, 61001, true}, {1, 61002, true}, {1, 61003, false},
		{2, 61002, true}, {2, 61003, true}, {2, 62002, true}, {2, 62003, true}, {2, 122001, true}, {2, 122002, true}, {2, 122003, true},
	};
	struct reconnects r;
	reconnects_init(&r, 3);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		if (reconnects_admit(&r, rows[i].device, rows[i].at_ms) != rows[i].admitted)
			fail_msg("row %zu", i);
	reconnects_fini(&r);
}

/* However many others share its set, a device that goes on is not forgotten, and one whose minute is over makes room first. */
static void test_reconnects_among_many(void **state)
{
	struct reconnects r;
	uint64_t now_ms = 1000;
	int64_t other = 5 + RECONNECT_SETS;
	reconnects_init(&r, 30);
	for (int connect = 1; connect <= 60; connect++) {
		assert_int_equal(reconnects_admit(&r, 5, now_ms++), connect <= 30);
		for (int i = 0; connect > 1 && i < 3 * RECONNECT_WAYS; i++, other += RECONNECT_SETS)
			assert_true(reconnects_admit(&r, other, now_ms));
	}
	reconnects_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_replaced_forgotten), cmocka_unit_test(test_no_second_entry_before_the_first), cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_full_set_gives_up_one),    cmocka_unit_test(test_newest_wins),                     cmocka_unit_test(test_only_own_is_removed),
		cmocka_unit_test(test_each_of_a_product),        cmocka_unit_test(test_reconnects),                      cmocka_unit_test(test_reconnects_among_many),
	};
	return cmocka_run_group_tests_name("device_api_tables", tests, NULL, NULL);
}

/*
 * Load without a server: percentiles, what a load refuses, and the file of identities. The devices themselves are tested against the real server by
 * tests/integration/test_load.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "crypto/pki.h"
#include "fleet/load.h"
#include "test_base.h"

static char dir[64];

struct authority {
	struct nh_buf cert, key;
	char hex[17];
};
static struct authority ours, other;

static void make_authority(struct authority *a, const char *name)
{
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_CERT struct nh_cert *ca = NULL;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	struct nh_cert_profile profile = nh_cert_profile_ca(nh_now_us(), 86400 * NH_US_PER_S);
	profile.common_name = nh_slice_str(name);
	assert_int_equal(nh_key_generate_p256(&key, NULL), NH_OK);
	assert_int_equal(nh_key_put_spki(&spki, key, NULL), NH_OK);
	assert_int_equal(nh_cert_issue(&der, &profile, nh_buf_slice(&spki), NULL, key, &nh_rng_system, NULL), NH_OK);
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &ca, NULL), NH_OK);
	nh_cert_put_pem(&a->cert, ca);
	assert_int_equal(nh_key_put_pem(&a->key, key, NULL), NH_OK);
	for (size_t i = 0; i < 8; i++)
		snprintf(a->hex + 2 * i, 3, "%02x", ca->sha256[i]);
}

static int setup(void **state)
{
	snprintf(dir, sizeof dir, "/tmp/nh-load-XXXXXX");
	assert_non_null(mkdtemp(dir));
	make_authority(&ours, "Factory");
	make_authority(&other, "Another");
	return 0;
}

static int teardown(void **state)
{
	char command[128];
	nh_buf_fini(&ours.cert);
	nh_buf_wipe(&ours.key);
	nh_buf_fini(&other.cert);
	nh_buf_wipe(&other.key);
	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	return system(command);
}

static nh_rc open_with(const struct authority *ca, const struct authority *key, size_t first, size_t count, struct nh_load_identities *out)
{
	return nh_load_identities_open(dir, "load", first, count, nh_buf_slice(&ca->cert), nh_buf_slice(&key->key), out, NULL);
}

static void path_of(char out[128], size_t first) { snprintf(out, 128, "%s/load-%zu-%s.pem", dir, first, ours.hex); }

/* ---- percentiles ------------------------------------------------------------------------------------------------------------------ */

static void test_latency(void **state)
{
	static const struct {
		size_t count;      /* samples count, count - 1 … 1: unsorted on purpose */
		uint32_t p50, p90, p99, max;
	} rows[] = {
		{0, 0, 0, 0, 0}, {1, 1, 1, 1, 1}, {2, 1, 2, 2, 2}, {10, 5, 9, 10, 10}, {100, 50, 90, 99, 100}, {101, 51, 91, 100, 101}, {1000, 500, 900, 990, 1000},
	};
	uint32_t samples[1000];
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		for (size_t k = 0; k < rows[i].count; k++)
			samples[k] = (uint32_t)(rows[i].count - k);
		struct nh_load_latency l = nh_load_latency_of(samples, rows[i].count);
		assert_int_equal(l.count, rows[i].count);
		assert_int_equal(l.p50_us, rows[i].p50);
		assert_int_equal(l.p90_us, rows[i].p90);
		assert_int_equal(l.p99_us, rows[i].p99);
		assert_int_equal(l.max_us, rows[i].max);
	}
}

/* ---- identities ------------------------------------------------------------------------------------------------------------------- */

static void test_identities_are_good(void **state)
{
	struct nh_load_identities ids;
	NH_AUTO_CERT struct nh_cert *ca = NULL;
	char path[128];
	struct stat st;
	assert_int_equal(open_with(&ours, &ours, 7, 3, &ids), NH_OK);
	assert_int_equal(nh_cert_parse_pem(nh_buf_slice(&ours.cert), &ca, NULL), NH_OK);
	for (size_t i = 0; i < 3; i++) {
		NH_AUTO_CERT struct nh_cert *cert = NULL;
		NH_AUTO_KEY struct nh_key *key = NULL;
		char name[32];
		snprintf(name, sizeof name, "load-%zu", 7 + i);
		assert_int_equal(nh_cert_parse_pem(nh_buf_slice(&ids.certs[i]), &cert, NULL), NH_OK);
		assert_int_equal(nh_key_parse_pem(nh_buf_slice(&ids.keys[i]), &key, NULL), NH_OK);
		assert_true(nh_slice_eq_str(cert->common_name, name));
		assert_true(nh_key_fits_cert(key, cert));
		assert_int_equal(nh_cert_signed_by(cert, ca, NULL), NH_OK);
	}
	path_of(path, 7);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	nh_load_identities_fini(&ids);
}

/* The same devices again, whether fewer or more of them. */
static void test_identities_are_kept(void **state)
{
	static const size_t counts[] = {2, 1, 4, 4};
	struct nh_load_identities first, again;
	assert_int_equal(open_with(&ours, &ours, 100, 3, &first), NH_OK);
	for (size_t i = 0; i < NH_ARRAY_LEN(counts); i++) {
		assert_int_equal(open_with(&ours, &ours, 100, counts[i], &again), NH_OK);
		for (size_t k = 0; k < counts[i] && k < 3; k++) {
			assert_true(nh_slice_eq(nh_buf_slice(&first.keys[k]), nh_buf_slice(&again.keys[k])));
			assert_true(nh_slice_eq(nh_buf_slice(&first.certs[k]), nh_buf_slice(&again.certs[k])));
		}
		nh_load_identities_fini(&again);
	}
	nh_load_identities_fini(&first);
}

static void test_identities_refused(void **state)
{
	struct nh_load_identities ids;
	struct nh_buf bytes = NH_BUF_INIT;
	char path[128];
	assert_int_equal(open_with(&ours, &ours, 0, 0, &ids), NH_EINVAL);
	nh_load_identities_fini(&ids);
	assert_int_equal(open_with(&ours, &other, 0, 1, &ids), NH_EFORMAT);
	nh_load_identities_fini(&ids);
	assert_int_equal(nh_load_identities_open(dir, "load", 0, 1, NH_LIT("no certificate"), nh_buf_slice(&ours.key), &ids, NULL), NH_EFORMAT);
	nh_load_identities_fini(&ids);
	/* A file that is damaged at any place is refused, never half used: cut in a key, in a certificate, in the CA; or of another CA. */
	assert_int_equal(open_with(&ours, &ours, 200, 2, &ids), NH_OK);
	nh_load_identities_fini(&ids);
	path_of(path, 200);
	assert_int_equal(nh_file_read(path, 1u << 20, &bytes, NULL), NH_OK);
	const size_t cuts[] = {bytes.len - 1, bytes.len - 400, bytes.len - 700, ours.cert.len + 5, ours.cert.len - 1, 0};
	for (size_t i = 0; i < NH_ARRAY_LEN(cuts); i++) {
		assert_int_equal(nh_file_write_atomic(path, nh_slice_sub(nh_buf_slice(&bytes), 0, cuts[i]), 0600, NULL), NH_OK);
		assert_int_equal(open_with(&ours, &ours, 200, 2, &ids), NH_EFORMAT);
		nh_load_identities_fini(&ids);
	}
	assert_int_equal(nh_file_write_atomic(path, nh_buf_slice(&other.cert), 0600, NULL), NH_OK);
	assert_int_equal(open_with(&ours, &ours, 200, 2, &ids), NH_EFORMAT);
	nh_load_identities_fini(&ids);
	nh_buf_wipe(&bytes);
}

/* ---- what a load refuses ---------------------------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
	struct nh_loop *loop = NULL;
	struct nh_load *load = NULL;
	struct nh_load_identities one;
	assert_int_equal(nh_loop_new(NULL, &loop, NULL), NH_OK);
	assert_int_equal(open_with(&ours, &ours, 300, 1, &one), NH_OK);
	const struct {
		struct nh_load_config config;
		nh_rc rc;
	} rows[] = {
		{{.count = 1, .identities = &one}, NH_EINVAL},
		{{.server = "", .count = 1, .identities = &one}, NH_EINVAL},
		{{.server = "localhost:1", .count = 0, .identities = &one}, NH_EINVAL},
		{{.server = "localhost:1", .count = 2, .identities = &one}, NH_EINVAL},
		{{.server = "localhost:1", .count = 1}, NH_EINVAL},
		{{.server = "localhost:1", .count = 1, .secret = "s"}, NH_EINVAL},
		{{.server = "localhost:1", .count = 1, .secret_key = "nhp_x"}, NH_EINVAL},
		{{.server = "localhost:1", .count = 1, .secret_key = "nhp_x", .secret = "s", .ca_pem = NH_LIT("no certificate")}, NH_EFORMAT},
		{{.server = "localhost:1", .count = 1, .identities = &one}, NH_OK},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_load_config config = rows[i].config;
		config.loop = loop;
		config.prefix = "load";
		config.product = "virtual";
		assert_int_equal(nh_load_new(&config, &load, NULL), rows[i].rc);
		assert_int_equal(load == NULL, rows[i].rc != NH_OK);
		nh_load_free(load);
	}
	nh_load_free(NULL);
	nh_load_identities_fini(&one);
	nh_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_latency),
		cmocka_unit_test(test_identities_are_good),
		cmocka_unit_test(test_identities_are_kept),
		cmocka_unit_test(test_identities_refused),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

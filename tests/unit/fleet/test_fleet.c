/*
 * The fleet itself: what it refuses, the identities it makes, and devices that cannot boot.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "crypto/pki.h"
#include "fleet/firmware.h"
#include "fleet/fleet.h"
#include "loop/loop.h"
#include "scratch.h"
#include "test_base.h"

static struct nh_buf ca_pem, ca_key_pem;
static struct nh_pool *pool;
static struct nh_loop *loops[2];

static int setup(void **state)
{
	NH_AUTO_KEY struct nh_key *key = NULL;
	NH_AUTO_CERT struct nh_cert *ca = NULL;
	NH_AUTO_BUF struct nh_buf spki = NH_BUF_INIT, der = NH_BUF_INIT;
	struct nh_cert_profile profile = nh_cert_profile_ca(nh_now_us(), 86400 * NH_US_PER_S);
	profile.common_name = NH_LIT("Factory");
	snprintf(dir, sizeof(dir), "/tmp/nh-fleet-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(nh_key_generate_p256(&key, NULL), NH_OK);
	assert_int_equal(nh_key_put_spki(&spki, key, NULL), NH_OK);
	assert_int_equal(nh_cert_issue(&der, &profile, nh_buf_slice(&spki), NULL, key, &nh_rng_system, NULL), NH_OK);
	assert_int_equal(nh_cert_parse_der(nh_buf_slice(&der), &ca, NULL), NH_OK);
	nh_cert_put_pem(&ca_pem, ca);
	assert_int_equal(nh_key_put_pem(&ca_key_pem, key, NULL), NH_OK);
	assert_int_equal(nh_pool_new(&(struct nh_pool_config){.threads = 2}, &pool, NULL), NH_OK);
	for (size_t i = 0; i < NH_ARRAY_LEN(loops); i++) {
		assert_int_equal(nh_loop_new(NULL, &loops[i], NULL), NH_OK);
		assert_int_equal(nh_loop_start(loops[i], NULL), NH_OK);
	}
	return 0;
}

static int teardown(void **state)
{
	char command[128];
	nh_pool_free(pool);
	for (size_t i = 0; i < NH_ARRAY_LEN(loops); i++) {
		nh_loop_stop(loops[i]);
		nh_loop_join(loops[i]);
		nh_loop_free(loops[i]);
	}
	nh_buf_fini(&ca_pem);
	nh_buf_wipe(&ca_key_pem);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static struct nh_fleet_config config(void)
{
	static const char key[] = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
	return (struct nh_fleet_config){.server = "127.0.0.1:1", .dir = dir, .firmware = in_dir("none.fw"), .public_key = key, .device_ca_pem = nh_buf_slice(&ca_pem),
					.device_ca_key_pem = nh_buf_slice(&ca_key_pem), .seed = 7, .loops = loops, .loop_count = NH_ARRAY_LEN(loops), .pool = pool};
}

static void test_refused(void **state)
{
	struct nh_fleet *fleet = NULL;
	struct nh_fleet_config none = config(), no_ca = config(), no_secret = config(), bad_ca = config();
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(nh_fleet_new(&none, &fleet, &err), NH_EINVAL);
	assert_non_null(strstr(err.msg, "--certificates"));
	no_ca.certificates = 1;
	no_ca.device_ca_pem = NH_SLICE_EMPTY;
	assert_int_equal(nh_fleet_new(&no_ca, &fleet, &err), NH_EINVAL);
	assert_non_null(strstr(err.msg, "--device-ca"));
	no_secret.secrets = 1;
	assert_int_equal(nh_fleet_new(&no_secret, &fleet, &err), NH_EINVAL);
	assert_non_null(strstr(err.msg, "--secret-key"));
	bad_ca.certificates = 1;
	bad_ca.device_ca_pem = NH_LIT("junk");
	assert_int_equal(nh_fleet_new(&bad_ca, &fleet, &err), NH_EFORMAT);
	assert_non_null(strstr(err.msg, "device CA"));
	no_secret.secret_key = no_secret.secret = "x";
	no_secret.transport = NH_FLEET_POLL;
	assert_int_equal(nh_fleet_new(&no_secret, &fleet, &err), NH_EINVAL);
	assert_non_null(strstr(err.msg, "cannot poll"));
	assert_null(fleet);
	nh_fleet_free(NULL);
}

static void test_who_polls(void **state)
{
	static const struct {
		const char *name;
		bool polls[5]; /* three with certificates, two with secrets */
	} rows[] = {{"channel", {false, false, false, false, false}}, {"mixed", {true, false, true, false, false}}, {"poll", {true, true, true}}};
	nh_fleet_transport transport;
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_fleet *fleet = NULL;
		struct nh_fleet_config c = config();
		c.certificates = 3;
		c.secret_key = c.secret = "x";
		assert_int_equal(nh_fleet_transport_parse(nh_slice_str(rows[i].name), &c.transport, NULL), NH_OK);
		c.secrets = c.transport == NH_FLEET_POLL ? 0 : 2;
		assert_int_equal(nh_fleet_new(&c, &fleet, NULL), NH_OK);
		for (size_t k = 0; k < nh_fleet_count(fleet); k++) {
			struct nh_fleet_view v;
			nh_fleet_view(fleet, k, &v);
			assert_int_equal(v.polls, rows[i].polls[k]);
		}
		nh_fleet_free(fleet);
	}
	assert_int_equal(nh_fleet_transport_parse(NH_LIT("Poll"), &transport, NULL), NH_EINVAL);
}

/* Each device has a key of its own that only its owner may read, a certificate signed by the CA, and keeps both. */
static void test_identities(void **state)
{
	struct nh_fleet *fleet = NULL;
	struct nh_err err = NH_ERR_INIT;
	struct nh_fleet_config c = config();
	NH_AUTO_BUF struct nh_buf first = NH_BUF_INIT, second = NH_BUF_INIT, key = NH_BUF_INIT, again = NH_BUF_INIT;
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	NH_AUTO_KEY struct nh_key *private_key = NULL;
	struct stat st;
	c.certificates = 2;
	c.secrets = 1;
	c.secret_key = "nhp_key";
	c.secret = "secret";
	c.prefix = "x-";
	if (nh_fleet_new(&c, &fleet, &err) != NH_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(nh_fleet_count(fleet), 3);
	struct nh_fleet_view v;
	nh_fleet_view(fleet, 2, &v);
	assert_string_equal(v.name, "x-secret-01");
	assert_int_equal(v.identity, NH_FLEET_SECRET);
	assert_int_equal(v.outcome, NH_FLEET_PENDING);
	nh_fleet_free(fleet);
	assert_int_equal(nh_file_read(in_dir("x-cert-01.crt"), 1 << 16, &first, NULL), NH_OK);
	assert_int_equal(nh_file_read(in_dir("x-cert-02.crt"), 1 << 16, &second, NULL), NH_OK);
	assert_int_equal(nh_file_read(in_dir("x-cert-01.key"), 1 << 16, &key, NULL), NH_OK);
	assert_false(nh_slice_eq(nh_buf_slice(&first), nh_buf_slice(&second)));
	assert_int_equal(nh_cert_parse_pem(nh_buf_slice(&first), &cert, NULL), NH_OK);
	assert_int_equal(nh_key_parse_pem(nh_buf_slice(&key), &private_key, NULL), NH_OK);
	assert_true(nh_key_fits_cert(private_key, cert));
	assert_int_equal(stat(in_dir("x-cert-01.key"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(nh_fleet_new(&c, &fleet, &err), NH_OK);
	nh_fleet_free(fleet);
	assert_int_equal(nh_file_read(in_dir("x-cert-01.crt"), 1 << 16, &again, NULL), NH_OK);
	assert_true(nh_slice_eq(nh_buf_slice(&first), nh_buf_slice(&again)));
}

/* Without a firmware for their disks no device can boot: all of them end as failed with the reason, and nobody waits for ever. */
static void test_faulty(void **state)
{
	struct nh_fleet *fleet = NULL;
	struct nh_fleet_config c = config();
	struct nh_fleet_view v;
	c.secrets = 5;
	c.secret_key = "nhp_key";
	c.secret = "secret";
	assert_int_equal(nh_fleet_new(&c, &fleet, NULL), NH_OK);
	nh_fleet_start(fleet);
	while (nh_fleet_settled(fleet) < nh_fleet_count(fleet))
		sched_yield();
	for (size_t i = 0; i < nh_fleet_count(fleet); i++) {
		nh_fleet_view(fleet, i, &v);
		assert_string_equal(nh_fleet_phase_name(v.phase), "faulty");
		assert_string_equal(nh_fleet_outcome_name(v.outcome), "failed");
		assert_non_null(strstr(v.note, "none.fw"));
		assert_int_equal(access(in_dir("secret-01.disk"), F_OK), -1);
	}
	nh_fleet_stop(fleet);
	nh_fleet_free(fleet);
}

/* Stopping in the middle: some boot, some try to reach a server that is not there. */
static void test_stop(void **state)
{
	struct nh_fleet *fleet = NULL;
	struct nh_fleet_config c = config();
	struct nh_err err = NH_ERR_INIT;
	struct nh_fw_public_key pub;
	struct nh_fw_private_key priv;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	struct nh_fleet_firmware f = {.key = &priv, .size_bytes = 4096};
	nh_fw_key_generate(&nh_rng_system, &pub, &priv);
	nh_fw_public_key_put(&text, &pub);
	assert_int_equal(nh_fleet_firmware_make(&f, in_dir("one.fw"), &err), NH_OK);
	c.firmware = in_dir("one.fw");
	c.public_key = nh_buf_cstr(&text);
	c.certificates = 6;
	assert_int_equal(nh_fleet_new(&c, &fleet, &err), NH_OK);
	nh_fleet_start(fleet);
	nh_fleet_stop(fleet);
	nh_fleet_free(fleet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown), cmocka_unit_test_setup_teardown(test_who_polls, setup, teardown), cmocka_unit_test_setup_teardown(test_identities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_faulty, setup, teardown), cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

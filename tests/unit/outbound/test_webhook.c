/*
 * Where webhooks may go: addresses of every kind, and networks as administrators write them.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "outbound/webhook.h"

static bool allowed(const char *networks, const char *text)
{
	struct nh_networks list;
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	assert_int_equal(nh_networks_parse(nh_slice_str(networks), &list, NULL), NH_OK);
	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		return nh_networks_allow(&list, (const struct sockaddr *)(const void *)&v4);
	assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
	return nh_networks_allow(&list, (const struct sockaddr *)(const void *)&v6);
}

static void test_public(void **state)
{
	static const char *const addresses[] = {"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1", "172.15.255.255", "172.32.0.0",
						"192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2a00::1", "3ffe:ffff::1", "2001:200::1",
						"::ffff:8.8.8.8", "64:ff9b::8.8.8.8"};
	for (size_t i = 0; i < NH_ARRAY_LEN(addresses); i++) {
		if (!allowed("", addresses[i]))
			fail_msg("%s is public", addresses[i]);
	}
}

static void test_special(void **state)
{
	static const char *const addresses[] = {
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255",
		"192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
		"255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8", "fe80::1",
		"fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "2002:a00:1::", "3fff::1", "100::1", "4000::1"};
	for (size_t i = 0; i < NH_ARRAY_LEN(addresses); i++) {
		if (allowed("", addresses[i]))
			fail_msg("%s is not public", addresses[i]);
	}
	const struct sockaddr local = {.sa_family = AF_UNIX};
	assert_false(nh_networks_allow(&(struct nh_networks){0}, &local));
}

static void test_networks(void **state)
{
	assert_true(allowed("10.0.0.0/8", "10.1.2.3"));
	assert_true(allowed("10.0.0.0/8", "::ffff:10.1.2.3"));
	assert_false(allowed("10.0.0.0/8", "11.0.0.1") != allowed("", "11.0.0.1"));
	assert_false(allowed("10.0.0.0/8", "192.168.0.1"));
	assert_true(allowed(" 192.168.1.0/25 , 10.0.0.0/8", "192.168.1.127"));
	assert_false(allowed("192.168.1.0/25", "192.168.1.128"));
	assert_true(allowed("127.0.0.1", "127.0.0.1"));
	assert_false(allowed("127.0.0.1", "127.0.0.2"));
	assert_true(allowed("fd00::/8", "fdff::1"));
	assert_false(allowed("fd00::/8", "fc00::1"));
	assert_true(allowed("::1", "::1"));
	assert_true(allowed("0.0.0.0/0", "127.0.0.1"));
	assert_false(allowed("0.0.0.0/0", "::1"));
	assert_true(allowed("::/0", "fe80::1"));
}

static void test_no_networks(void **state)
{
	static const char *const texts[] = {"10", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0/8", "fd00::/129", "example.com", "10.0.0.0/8;11.0.0.0/8", "10.0.0.0/8/8"};
	for (size_t i = 0; i < NH_ARRAY_LEN(texts); i++) {
		struct nh_networks list;
		struct nh_err err = NH_ERR_INIT;
		assert_int_equal(nh_networks_parse(nh_slice_str(texts[i]), &list, &err), NH_EINVAL);
		assert_non_null(strstr(err.msg, "network"));
	}
	NH_AUTO_BUF struct nh_buf many = NH_BUF_INIT;
	struct nh_networks list;
	for (int i = 0; i <= NH_NETWORKS_MAX; i++)
		nh_buf_put_str(&many, "10.0.0.0/8,");
	assert_int_equal(nh_networks_parse(nh_buf_slice(&many), &list, NULL), NH_EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_public), cmocka_unit_test(test_special), cmocka_unit_test(test_networks), cmocka_unit_test(test_no_networks)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The pure rules of the rollout: matching, choosing, deciding, NH1 signatures, download capabilities.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/encode.h"
#include "base/etf.h"
#include "crypto/hmac.h"
#include "hub/device_auth.h"
#include "hub/device_session.h"
#include "hub/download.h"
#include "hub/updates.h"

#define S(text) nh_slice_str(text)
#define NOW (INT64_C(1700000000) * NH_US_PER_S)

/* ---- groups ------------------------------------------------------------------------------------------------------------ */

static struct nh_group group(int64_t id, const char *version)
{
	return (struct nh_group){
		.id = id,
		.name = NH_LIT("g"),
		.platform = NH_LIT("rpi4"),
		.architecture = NH_LIT("aarch64"),
		.condition_version = NH_LIT(""),
		.is_active = true,
		.concurrent_updates = 10,
		.failure_threshold_attempts = 3,
		.failure_rate_amount = 5,
		.failure_rate_seconds = 180,
		.penalty_minutes = 1440,
		.release = {.firmware_uuid = NH_LIT("target"), .firmware_version = S(version), .platform = NH_LIT("rpi4"), .architecture = NH_LIT("aarch64")},
	};
}

static nh_slice ab[] = {{(const uint8_t *)"a", 1}, {(const uint8_t *)"b", 1}};
static nh_slice only_a[] = {{(const uint8_t *)"a", 1}};

static void test_match(void **state)
{
	static const struct {
		const char *requirement;
		size_t group_tags, device_tags;
		bool any;
		const char *version, *platform;
		nh_mismatch expected;
	} table[] = {
		{"", 0, 0, false, "1.0.0", "rpi4", NH_MATCH_OK},
		{"", 2, 2, false, "1.0.0", "rpi4", NH_MATCH_OK},
		{"", 2, 1, false, "1.0.0", "rpi4", NH_MISMATCH_TAGS},
		{"", 2, 1, true, "1.0.0", "rpi4", NH_MATCH_OK},
		{"", 2, 0, true, "1.0.0", "rpi4", NH_MISMATCH_TAGS},
		{"", 0, 0, true, "1.0.0", "rpi4", NH_MATCH_OK},
		{"~> 1.0", 0, 0, false, "1.9.0", "rpi4", NH_MATCH_OK},
		{"~> 1.0", 0, 0, false, "2.0.0-rc.0", "rpi4", NH_MISMATCH_VERSION},
		{"< 2.0.0", 0, 0, false, "2.0.0-rc.0", "rpi4", NH_MATCH_OK},
		{"~> 1.0", 0, 0, false, "not a version", "rpi4", NH_MISMATCH_VERSION},
		{"nonsense", 0, 0, false, "1.0.0", "rpi4", NH_MISMATCH_VERSION},
		{"", 0, 0, false, "not a version", "rpi4", NH_MATCH_OK},
		{"", 0, 0, false, "1.0.0", "bbb", NH_MISMATCH_PLATFORM},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		struct nh_group g = group(1, "2.0.0");
		g.condition_version = S(table[i].requirement);
		g.condition_tags = ab;
		g.condition_tag_count = table[i].group_tags;
		g.tags_any = table[i].any;
		struct nh_match_device d = {S(table[i].version), S(table[i].platform), NH_LIT("aarch64"), ab, table[i].device_tags};
		assert_int_equal(nh_group_match(&g, &d), table[i].expected);
	}
	struct nh_group g = group(1, "2.0.0");
	struct nh_match_device d = {NH_LIT("1.0.0"), NH_LIT("rpi4"), NH_LIT("arm"), NULL, 0};
	assert_int_equal(nh_group_match(&g, &d), NH_MISMATCH_ARCHITECTURE);
	g.lock_device_membership = true;
	assert_int_equal(nh_group_match(&g, &d), NH_MISMATCH_LOCKED);
	assert_int_equal(nh_group_keep(&g, &d), NH_MISMATCH_ARCHITECTURE); /* which no lock makes right */
	g.is_active = false;
	assert_int_equal(nh_group_match(&g, &d), NH_MISMATCH_INACTIVE);
	for (int m = NH_MATCH_OK; m <= NH_MISMATCH_TAGS; m++)
		assert_true(strlen(nh_mismatch_text((nh_mismatch)m)) > 0);
}

static void test_keep(void **state)
{
	struct nh_group g = group(1, "2.0.0");
	struct nh_match_device d = {NH_LIT("1.0.0"), NH_LIT("rpi4"), NH_LIT("aarch64"), NULL, 0};
	g.condition_tags = ab;
	g.condition_tag_count = 2;
	assert_int_equal(nh_group_keep(&g, &d), NH_MATCH_OK); /* tags are not tested again */
	g.condition_version = NH_LIT(">= 1.1.0");
	assert_int_equal(nh_group_keep(&g, &d), NH_MISMATCH_VERSION);
	g.lock_device_membership = true;
	assert_int_equal(nh_group_keep(&g, &d), NH_MATCH_OK);
	g.lock_device_membership = false;
	g.condition_version = NH_LIT("");
	g.platform = NH_LIT("x");
	assert_int_equal(nh_group_keep(&g, &d), NH_MISMATCH_PLATFORM);
	g.platform = NH_LIT("rpi4");
	g.architecture = NH_LIT("x");
	assert_int_equal(nh_group_keep(&g, &d), NH_MISMATCH_ARCHITECTURE);
}

static void test_choose(void **state)
{
	struct nh_match_device d = {NH_LIT("1.0.0"), NH_LIT("rpi4"), NH_LIT("aarch64"), ab, 2};
	size_t matches = 0;
	struct nh_group groups[4] = {group(7, "1.9.0"), group(5, "1.10.0"), group(3, "1.10.0"), group(9, "1.10.0-rc.1")};
	assert_int_equal(nh_group_choose(groups, 4, &d, &matches), 2); /* highest version, then lowest id */
	assert_int_equal(matches, 4);
	groups[1].condition_tags = only_a;
	groups[1].condition_tag_count = 1;
	assert_int_equal(nh_group_choose(groups, 4, &d, NULL), 1); /* more matching tags */
	groups[1].is_active = groups[2].is_active = false;
	assert_int_equal(nh_group_choose(groups, 4, &d, NULL), 3);
	groups[3].release.firmware_version = NH_LIT("?");
	assert_int_equal(nh_group_choose(groups, 4, &d, NULL), 0);
	assert_int_equal(nh_group_choose(groups, 0, &d, &matches), -1);
	assert_int_equal(matches, 0);
}

/* ---- deciding ---------------------------------------------------------------------------------------------------------- */

static struct nh_device_facts waiting(void)
{
	return (struct nh_device_facts){
		.id = 1,
		.group_id = 1,
		.identifier = NH_LIT("d"),
		.updates_enabled = true,
		.firmware_uuid = NH_LIT("old"),
		.firmware_version = NH_LIT("1.0.0"),
		.platform = NH_LIT("rpi4"),
		.architecture = NH_LIT("aarch64"),
		.validation = NH_VALIDATION_VALIDATED,
		.connected = true,
	};
}

static void inactive(struct nh_device_facts *d, struct nh_group *g) { g->is_active = false; }
static void unready(struct nh_device_facts *d, struct nh_group *g) { g->status = NH_GROUP_PREPARING; }
static void deleted(struct nh_device_facts *d, struct nh_group *g) { d->deleted = true; }
static void disabled(struct nh_device_facts *d, struct nh_group *g) { d->updates_enabled = false; }
static void blocked(struct nh_device_facts *d, struct nh_group *g) { d->blocked_until_us = NOW + 1; }
static void unknown(struct nh_device_facts *d, struct nh_group *g) { d->firmware_uuid = NH_SLICE_EMPTY; }
static void unvalidated(struct nh_device_facts *d, struct nh_group *g) { d->validation = NH_VALIDATION_NOT_VALIDATED; }
static void offline(struct nh_device_facts *d, struct nh_group *g) { d->connected = false; }
static void current(struct nh_device_facts *d, struct nh_group *g) { d->firmware_uuid = NH_LIT("target"); }
static void inflight(struct nh_device_facts *d, struct nh_group *g) { d->inflight = true; }
static void wrong_interface(struct nh_device_facts *d, struct nh_group *g)
{
	g->release_interfaces = only_a;
	g->release_interface_count = 1;
}
static void lacks_tag(struct nh_device_facts *d, struct nh_group *g)
{
	g->release_tags = ab;
	g->release_tag_count = 2;
	d->tags = only_a;
	d->tag_count = 1;
}
static void tried(struct nh_device_facts *d, size_t times, int64_t ago_s)
{
	d->attempt_count = times;
	for (size_t i = 0; i < times; i++)
		d->attempts[i] = NOW - ago_s * NH_US_PER_S;
}
static void tried_lately(struct nh_device_facts *d, struct nh_group *g)
{
	g->failure_threshold_attempts = 100;
	tried(d, 5, 179);
}
static void tried_in_all(struct nh_device_facts *d, struct nh_group *g) { tried(d, 3, 1000000); }

static void test_decide(void **state)
{
	static const struct {
		void (*change)(struct nh_device_facts *d, struct nh_group *g);
		nh_update_reason reason;
		nh_update_verdict verdict;
	} table[] = {
		{inactive, NH_UPDATE_GROUP_INACTIVE, NH_UPDATE_WAIT},
		{unready, NH_UPDATE_GROUP_NOT_READY, NH_UPDATE_WAIT},
		{deleted, NH_UPDATE_DEVICE_DELETED, NH_UPDATE_WAIT},
		{disabled, NH_UPDATE_DISABLED, NH_UPDATE_WAIT},
		{blocked, NH_UPDATE_BLOCKED, NH_UPDATE_WAIT},
		{unknown, NH_UPDATE_NO_METADATA, NH_UPDATE_WAIT},
		{unvalidated, NH_UPDATE_NOT_VALIDATED, NH_UPDATE_WAIT},
		{offline, NH_UPDATE_NOT_CONNECTED, NH_UPDATE_WAIT},
		{current, NH_UPDATE_SAME_FIRMWARE, NH_UPDATE_WAIT},
		{inflight, NH_UPDATE_INFLIGHT, NH_UPDATE_WAIT},
		{wrong_interface, NH_UPDATE_NETWORK_INTERFACE, NH_UPDATE_WAIT},
		{lacks_tag, NH_UPDATE_RELEASE_TAGS, NH_UPDATE_WAIT},
		{tried_lately, NH_UPDATE_FAILURE_RATE, NH_UPDATE_PENALIZE},
		{tried_in_all, NH_UPDATE_FAILURE_THRESHOLD, NH_UPDATE_PENALIZE},
	};
	struct nh_device_facts d = waiting();
	struct nh_group g = group(1, "2.0.0");
	struct nh_update_decision decision = nh_update_decide(&d, &g, NH_UPDATE_QUEUE, NOW);
	assert_int_equal(decision.verdict, NH_UPDATE_SEND);
	assert_int_equal(decision.count, 0);

	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		d = waiting();
		g = group(1, "2.0.0");
		table[i].change(&d, &g);
		decision = nh_update_decide(&d, &g, NH_UPDATE_QUEUE, NOW);
		assert_int_equal(decision.verdict, table[i].verdict);
		assert_int_equal(decision.count, 1);
		assert_int_equal(decision.reasons[0], table[i].reason);
	}
	/* all at once are all named, and nothing is sent */
	d = waiting();
	g = group(1, "2.0.0");
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++)
		table[i].change(&d, &g);
	decision = nh_update_decide(&d, &g, NH_UPDATE_QUEUE, NOW);
	assert_int_equal(decision.verdict, NH_UPDATE_WAIT);
	assert_true(decision.count >= 10);
	decision = nh_update_decide(&d, NULL, NH_UPDATE_QUEUE, NOW);
	assert_true(nh_update_has_reason(&decision, NH_UPDATE_NO_GROUP));
	for (int r = 0; r < NH_UPDATE_REASON_COUNT; r++)
		assert_true(strlen(nh_update_reason_text((nh_update_reason)r)) > 5);
}

static void test_decide_edges(void **state)
{
	struct nh_group g = group(1, "2.0.0");
	struct nh_device_facts d = waiting();
	d.blocked_until_us = NOW; /* the penalty ends at that moment */
	d.validation = NH_VALIDATION_UNKNOWN;
	assert_int_equal(nh_update_decide(&d, &g, NH_UPDATE_QUEUE, NOW).verdict, NH_UPDATE_SEND);
	tried(&d, 2, 10);
	assert_int_equal(nh_update_decide(&d, &g, NH_UPDATE_QUEUE, NOW).verdict, NH_UPDATE_SEND);
	d.connected = false;
	assert_int_equal(nh_update_decide(&d, &g, NH_UPDATE_POLL, NOW).verdict, NH_UPDATE_SEND);

	static const struct {
		const char *threshold, *version;
		bool enabled, sent;
	} queue[] = {
		{"1.0.0", "1.0.0", true, true}, {"1.0.0", "1.0.1", true, false}, {"1.0.0", "1.0.0-rc.1", true, true},
		{"1.0.0", "junk", true, false}, {NULL, "1.0.0", true, false},    {"1.0.0", "1.0.0", false, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(queue); i++) {
		d = waiting();
		d.firmware_version = S(queue[i].version);
		g.priority_queue_enabled = queue[i].enabled;
		g.priority_queue_threshold = S(queue[i].threshold);
		assert_int_equal(nh_update_decide(&d, &g, NH_UPDATE_PRIORITY, NOW).verdict, queue[i].sent ? NH_UPDATE_SEND : NH_UPDATE_WAIT);
	}
}

/* ---- NH1 --------------------------------------------------------------------------------------------------------------- */

struct example {
	const char *secret, *identifier, *alg, *key, *time, *signature;
};

/* source: reference/device-protocol "6.7" */
static const struct example examples[] = {
	{"Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OWFiY2RlZmdoaWo", "device-1234", "NH1-HMAC-sha256-1000-32", "nhp_8IBbqBKMlyrKYv1UzoZvy7dDYMWSRF9C1qTbcjsW1yk",
	 "1700000000", "SFMyNTY.g2gDbQAAAAtkZXZpY2UtMTIzNG4GAABo5c-LAWIAAVGA.oB9d5VM3JzxKf3RVrat4sqWq8EtFbb7qSkuaRU1U0B8"},
	{"Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OWFiY2RlZmdoaWo", "device-1234", "NH1-HMAC-sha512-2000-64", "nhd_8IBbqBKMlyrKYv1UzoZvy7dDYMWSRF9C1qTbcjsW1yk",
	 "1700000000", "SFMyNTY.g2gDbQAAAAtkZXZpY2UtMTIzNG4GAABo5c-LAWIAAVGA.4WkHN1rfuTqNkOwZWMMjIwbY8N4aPjNA8-6sM5ukw0M"},
	{"s3cret-value", "my-device", "NH1-HMAC-SHA256-1000-32", "nhp_abc123", "1787120842",
	 "SFMyNTY.g2gDbQAAAAlteS1kZXZpY2VuBgAQ9bMYoAFiAAFRgA.9qXfZC7_ENQyT5_LZc6LsXd_uEoUB2V-IZDqcmNd7gQ"},
};

static nh_auth_reason verify(const struct example *e, int64_t now_us, char identifier[64])
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_nh1_headers h = {S(e->alg), S(e->key), S(e->time), S(e->signature)};
	nh_slice name;
	nh_auth_reason reason = nh_nh1_verify(&arena, &h, S(e->secret), now_us, &name);
	snprintf(identifier, 64, "%.*s", NH_ARG(name));
	return reason;
}

static void test_nh1_examples(void **state)
{
	char identifier[64];
	for (size_t i = 0; i < NH_ARRAY_LEN(examples); i++) {
		int64_t at = strtoll(examples[i].time, NULL, 10) * NH_US_PER_S;
		assert_int_equal(verify(&examples[i], at, identifier), NH_AUTH_ACCEPTED_KNOWN);
		assert_string_equal(identifier, examples[i].identifier);
		assert_int_equal(verify(&examples[i], at + 90 * NH_US_PER_S, identifier), NH_AUTH_ACCEPTED_KNOWN);
		assert_int_equal(verify(&examples[i], at + 90 * NH_US_PER_S + 1000, identifier), NH_AUTH_TOKEN_EXPIRED);
		assert_int_equal(verify(&examples[i], at - 90 * NH_US_PER_S, identifier), NH_AUTH_ACCEPTED_KNOWN);
		assert_int_equal(verify(&examples[i], at - 90 * NH_US_PER_S - 1000, identifier), NH_AUTH_TOKEN_FROM_FUTURE);
	}
}

static void test_nh1_refusals(void **state)
{
	static const struct {
		const char *alg, *time;
		nh_auth_reason reason;
	} table[] = {
		{"NH1-HMAC-sha256-0-32", "1700000000", NH_AUTH_BAD_HEADERS},
		{"NH1-HMAC-sha256-100001-32", "1700000000", NH_AUTH_BAD_HEADERS},
		{"NH1-HMAC-sha256-1000-15", "1700000000", NH_AUTH_BAD_HEADERS},
		{"NH1-HMAC-sha256-1000-65", "1700000000", NH_AUTH_BAD_HEADERS},
		{"NH1-HMAC-sha1-1000-32", "1700000000", NH_AUTH_BAD_HEADERS},
		{"NH1-HMAC-md5-1000-32", "1700000000", NH_AUTH_BAD_HEADERS},
		{"NH1-HMAC-sha256-1000", "1700000000", NH_AUTH_BAD_HEADERS},
		{"NH1-HMAC-sha256-1000-32-1", "1700000000", NH_AUTH_BAD_HEADERS},
		{"NH2-HMAC-sha256-1000-32", "1700000000", NH_AUTH_BAD_HEADERS},
		{"", "1700000000", NH_AUTH_BAD_HEADERS},
		{NULL, "1700000000", NH_AUTH_BAD_HEADERS},
		{"NH1-HMAC-sha256-1000-32", NULL, NH_AUTH_BAD_HEADERS},
		{"NH1-HMAC-sha256-1000-32", "1700000000x", NH_AUTH_BAD_HEADERS},
		{"NH1-HMAC-sha256-1000-32", "-1", NH_AUTH_BAD_HEADERS},
		{"NH1-HMAC-sha256-1000-32", "1700000001", NH_AUTH_BAD_TOKEN}, /* the time is signed */
		{"NH1-HMAC-SHA256-1000-32", "1700000000", NH_AUTH_BAD_TOKEN}, /* and so is the alg text */
	};
	char identifier[64];
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		struct example e = examples[0];
		e.alg = table[i].alg;
		e.time = table[i].time;
		assert_int_equal(verify(&e, NOW, identifier), table[i].reason);
	}
	static const char *const tokens[] = {"", "a", "a.b", "a.b.c", "SFMyNTY..", "SFMyNTY.g2gDbQAAAAtkZXZpY2UtMTIzNG4GAABo5c-LAWIAAVGA.",
		"SFMyNTY.g2gDbQAAAAtkZXZpY2UtMTIzNW4GAABo5c-LAWIAAVGA.oB9d5VM3JzxKf3RVrat4sqWq8EtFbb7qSkuaRU1U0B8",
		"SFMyNTY.g2gDbQAAAAtkZXZpY2UtMTIzNG4GAABo5c-LAWIAAVGA.oB9d5VM3JzxKf3RVrat4sqWq8EtFbb7qSkuaRU1U0B8.x",
		"SFMzODQ.g2gDbQAAAAtkZXZpY2UtMTIzNG4GAABo5c-LAWIAAVGA.oB9d5VM3JzxKf3RVrat4sqWq8EtFbb7qSkuaRU1U0B8"};
	for (size_t i = 0; i < NH_ARRAY_LEN(tokens); i++) {
		struct example e = examples[0];
		e.signature = tokens[i];
		nh_auth_reason reason = verify(&e, NOW, identifier);
		assert_int_equal(reason, i == 0 ? NH_AUTH_BAD_HEADERS : NH_AUTH_BAD_TOKEN);
	}
	struct example e = examples[0];
	e.secret = "another";
	assert_int_equal(verify(&e, NOW, identifier), NH_AUTH_BAD_TOKEN);
}

/* Other forms of the token that a verifier must take: 2-tuple, map, HS384, HS512. Signed here, with the primitives of crypto. */
static void test_nh1_forms(void **state)
{
	static const struct {
		const char *header;
		nh_digest_alg digest;
		int form; /* 0: 2-tuple, 1: map, 2: 3-tuple, 3: identifier is an integer, 4: list of nothing */
		nh_auth_reason reason;
	} table[] = {
		{"SFMyNTY", NH_SHA256, 0, NH_AUTH_ACCEPTED_KNOWN}, {"SFMzODQ", NH_SHA384, 1, NH_AUTH_ACCEPTED_KNOWN},
		{"SFM1MTI", NH_SHA512, 2, NH_AUTH_ACCEPTED_KNOWN}, {"SFMyNTY", NH_SHA256, 3, NH_AUTH_BAD_TOKEN},
		{"SFMyNTY", NH_SHA256, 4, NH_AUTH_BAD_TOKEN},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		NH_AUTO_BUF struct nh_buf term = NH_BUF_INIT;
		NH_AUTO_BUF struct nh_buf token = NH_BUF_INIT;
		struct example e = examples[0];
		nh_etf_put_version(&term);
		if (table[i].form == 1) {
			nh_etf_put_map(&term, 2);
			nh_etf_put_atom(&term, "data");
			nh_etf_put_binary(&term, S("device-1234"));
			nh_etf_put_atom(&term, "signed");
			nh_etf_put_int(&term, INT64_C(1700000000000));
		} else {
			nh_etf_put_tuple(&term, table[i].form == 2 ? 3 : table[i].form == 4 ? 1 : 2);
			if (table[i].form == 3)
				nh_etf_put_int(&term, 5);
			else
				nh_etf_put_binary(&term, S("device-1234"));
			if (table[i].form != 4)
				nh_etf_put_int(&term, INT64_C(1700000000000));
			if (table[i].form == 2)
				nh_etf_put_int(&term, 1);
		}
		nh_buf_printf(&token, "%s.", table[i].header);
		nh_b64_put(&token, nh_buf_slice(&term), NH_B64_URL_NOPAD);

		uint8_t key[32], mac[NH_DIGEST_MAX];
		NH_AUTO_BUF struct nh_buf salt = NH_BUF_INIT;
		nh_buf_printf(&salt, "NH1:device-socket:shared-secret:connect\n\nx-nh-alg=%s\nx-nh-key=%s\nx-nh-time=%s\n", e.alg, e.key, e.time);
		assert_int_equal(nh_pbkdf2(NH_SHA256, S(e.secret), nh_buf_slice(&salt), 1000, key, 32), NH_OK);
		nh_hmac(table[i].digest, nh_slice_of(key, 32), nh_buf_slice(&token), mac);
		nh_buf_put_u8(&token, '.');
		nh_b64_put(&token, nh_slice_of(mac, nh_digest_len(table[i].digest)), NH_B64_URL_NOPAD);
		e.signature = nh_buf_cstr(&token);
		char identifier[64];
		assert_int_equal(verify(&e, NOW, identifier), table[i].reason);
		if (table[i].reason == NH_AUTH_ACCEPTED_KNOWN)
			assert_string_equal(identifier, "device-1234");
	}
	for (int r = 0; r < NH_AUTH_REASON_COUNT; r++)
		assert_true(strlen(nh_auth_reason_name((nh_auth_reason)r)) > 3);
}

/* ---- downloads ---------------------------------------------------------------------------------------------------------- */

static void test_download(void **state)
{
	struct nh_hub_config config = {.secret_key = NH_LIT("0123456789abcdef0123456789abcdef"), .download_base_url = "https://h:1", .download_ttl_s = 60};
	NH_AUTO_BUF struct nh_buf path = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	nh_download_path(&path, 7, S("u-u-i-d"));
	assert_string_equal(nh_buf_cstr(&path), "/firmware/7/u-u-i-d.fw");
	nh_download_url(&config, nh_buf_slice(&path), NH_LIT("firmware/1/x.fw"), NOW, &url);
	nh_slice query, head;
	assert_true(nh_slice_starts(nh_buf_slice(&url), NH_LIT("https://h:1/firmware/7/u-u-i-d.fw?expires=1700000060&signature=")));
	nh_slice_cut(nh_buf_slice(&url), '?', &head, &query);
	nh_slice p = nh_buf_slice(&path);
	assert_int_equal(nh_download_check(&config, p, query, NOW, NULL), NH_OK);
	assert_int_equal(nh_download_check(&config, p, query, NOW + 60 * NH_US_PER_S, NULL), NH_OK);
	assert_int_equal(nh_download_check(&config, p, query, NOW + 61 * NH_US_PER_S, NULL), NH_ETIMEOUT);
	assert_int_equal(nh_download_check(&config, S("/firmware/8/u-u-i-d.fw"), query, NOW, NULL), NH_EAUTH);
	assert_int_equal(nh_download_check(&config, p, NH_LIT(""), NOW, NULL), NH_EAUTH);
	assert_int_equal(nh_download_check(&config, p, NH_LIT("expires=9999999999"), NOW, NULL), NH_EAUTH);
	for (size_t i = 0; i < query.len; i++) { /* every byte matters, in key names too */
		uint8_t *byte = url.ptr + head.len + 1 + i;
		*byte ^= 1;
		assert_int_not_equal(nh_download_check(&config, p, query, NOW, NULL), NH_OK);
		*byte ^= 1;
	}
	struct nh_hub_config other = config;
	other.secret_key = NH_LIT("another key of at least 32 bytes.");
	assert_int_equal(nh_download_check(&other, p, query, NOW, NULL), NH_EAUTH);
}

/* ---- progress and reasons ------------------------------------------------------------------------------------------------- */

static bool due(struct nh_progress_gate *gate, const char *event, const char *text, uint64_t ms)
{
	NH_AUTO_JSON json_t *payload = NULL;
	assert_int_equal(nh_json_parse(S(text), 1000, &payload, NULL), NH_OK);
	return nh_session_progress_due(gate, S(event), payload, ms);
}

static void test_progress_gate(void **state)
{
	struct nh_progress_gate gate = {0};
	assert_true(due(&gate, "fwup_progress", "{\"stage\":\"downloading\",\"value\":0}", 5));
	assert_false(due(&gate, "fwup_progress", "{\"stage\":\"downloading\",\"value\":1}", 10));
	assert_true(due(&gate, "fwup_progress", "{\"stage\":\"downloading\",\"value\":100}", 20));
	assert_true(due(&gate, "update_progress", "{\"stage\":\"updating\",\"value\":1}", 21));
	assert_false(due(&gate, "update_progress", "{\"stage\":\"updating\",\"value\":99}", 15020));
	assert_true(due(&gate, "update_progress", "{\"stage\":\"updating\",\"value\":99}", 15021));
	assert_true(due(&gate, "fwup_progress", "{\"value\":100}", 15022)); /* completed */
	assert_true(due(&gate, "status_update", "{\"status\":\"received\"}", 15023));
	assert_true(due(&gate, "fwup_progress", "{\"value\":100}", 15024));
	static const char *const nothing[] = {"{}", "[]", "null", "7", "{\"value\":\"x\"}", "{\"stage\":\"melting\",\"value\":3}", "{\"stage\":5}"};
	for (size_t i = 0; i < NH_ARRAY_LEN(nothing); i++)
		assert_false(due(&gate, "fwup_progress", nothing[i], 99999));
	assert_null(nh_session_event_find(S("nonsense")));
	assert_non_null(nh_session_event_find(S("rebooting")));
	for (int s = NH_STAGE_REQUESTED; s <= NH_STAGE_FAILED; s++)
		assert_int_equal(nh_update_stage_parse(S(nh_update_stage_name((nh_update_stage)s))), s);
	assert_int_equal(nh_update_stage_parse(S("")), NH_STAGE_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_match),        cmocka_unit_test(test_keep),         cmocka_unit_test(test_choose),
		cmocka_unit_test(test_decide),       cmocka_unit_test(test_decide_edges), cmocka_unit_test(test_nh1_examples),
		cmocka_unit_test(test_nh1_refusals), cmocka_unit_test(test_nh1_forms),    cmocka_unit_test(test_download),
		cmocka_unit_test(test_progress_gate),
	};
	return cmocka_run_group_tests_name("hub_rollout_rules", tests, NULL, NULL);
}

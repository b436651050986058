/* Versions and requirements: the tables of reference/server-behaviour 3.2 and reference/user-api-and-cli 13.5. */
#include "test_base.h"

#include "base/rng.h"
#include "base/semver.h"

static void versions(void **state)
{
	static const char *const ordered[] = {"0.0.0-0",      "0.0.0",	       "0.0.1",	       "0.1.0",	     "1.0.0-1",	    "1.0.0-2",	   "1.0.0-10",
					      "1.0.0-alpha",  "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
					      "1.0.0",	      "1.2.3",	       "1.10.0",       "2.0.0",	     "99999999999999.0.0"};
	for (size_t i = 0; i < NH_ARRAY_LEN(ordered); i++)
		for (size_t k = 0; k < NH_ARRAY_LEN(ordered); k++) {
			struct nh_semver a, b;
			assert_int_equal(nh_semver_parse(nh_slice_str(ordered[i]), &a), NH_OK);
			assert_int_equal(nh_semver_parse(nh_slice_str(ordered[k]), &b), NH_OK);
			assert_int_equal(nh_semver_cmp(&a, &b), (i > k) - (i < k));
		}
	struct nh_semver v;
	assert_int_equal(nh_semver_parse(NH_LIT("1.2.3-a.1+b-1.007"), &v), NH_OK);
	assert_slice(v.pre, "a.1");
	assert_slice(v.build, "b-1.007");
	struct nh_semver w;
	assert_int_equal(nh_semver_parse(NH_LIT("1.2.3-a.1+other"), &w), NH_OK);
	assert_int_equal(nh_semver_cmp(&v, &w), 0);
	static const char *const bad[] = {"",	    "1",      "1.2",	"1.2.3.4", "v1.2.3", "1.2.x",	"01.2.3", "1.02.3",  "1.2.03",  "1.2.3-",
					  "1.2.3-a..b", "1.2.3-01", "1.2.3+", "1.2.3+a..b", " 1.2.3", "1.2.3 ", "-1.2.3", "1.2.3-ä", "1..3",	 "1.2.3-a+b+c",
					  "123456789012345.0.0"};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++)
		assert_int_equal(nh_semver_parse(nh_slice_str(bad[i]), &v), NH_EFORMAT);
	assert_int_equal(nh_semver_parse(NH_LIT("1.2.3-0a"), &v), NH_OK); /* alphanumeric: leading zero allowed */
}

static void requirements(void **state)
{
	static const char *const on[] = {"1.2.3", "1.2.4-rc.1", "1.3.0-dev", "1.3.0", "2.0.0-rc.0"};
	static const struct {
		const char *requirement, *matches; /* y/n per version above */
	} rows[] = {
		{"~> 1.2.3", "yynnn"},	     {"~> 1.2", "yyyyn"},
		{">= 1.2.3", "yyyyy"},	     {"< 2.0.0", "yyyyy"},
		{"== 1.2.3", "ynnnn"},	     {">= 1.2.0 and < 1.3.0", "yyynn"},
		{"~> 1.2.0 or >= 2.0.0-rc.0", "yynny"},
		{"", "yyyyy"},		     {"1.2.3", "ynnnn"},
		{"!= 1.2.3", "nyyyy"},	     {"! 1.2.3", "nyyyy"},
		{"!1.2.3", "nyyyy"},	     {">1.2.3", "nyyyy"},
		{"<= 1.3.0-dev", "yyynn"},   {"  ~>   1.2.3  ", "yynnn"},
		{"~> 1.2.4-rc.1", "nynnn"},  {"~> 1.3-dev", "nnyyn"},
		{"== 1.2.3+build", "ynnnn"}, {"== 1.2.3 or == 1.3.0 and < 1.0.0", "ynnnn"},
		{"== 1.2.3 and < 1.0.0 or == 1.3.0", "nnnyn"},
		{"== 9.0.0 or == 1.2.3 or == 1.3.0 and == 1.3.0", "ynnyn"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++)
		for (size_t k = 0; k < NH_ARRAY_LEN(on); k++) {
			bool matches = false;
			assert_int_equal(nh_semver_req_match(nh_slice_str(rows[i].requirement), nh_slice_str(on[k]), &matches), NH_OK);
			if (matches != (rows[i].matches[k] == 'y'))
				fail_msg("'%s' on %s gave %d", rows[i].requirement, on[k], matches);
		}
}

static void broken_requirements(void **state)
{
	static const char *const bad[] = {" ",		 "~>",	       "and",	      "~> 1",	     "> 1.2",	     "1.2",	 "== 1.2.3 and", "and == 1.2.3",
					  "== 1.2.3 == 1.2.4", "1.2.3 1.2.4", "== == 1.2.3", "> 1.2.3 && < 2.0.0", "~> 1.2.3\n", "\t== 1.2.3", "== 1.2.3 or or 1.2.4",
					  "=> 1.2.3",	 "== v1.2.3",  "(== 1.2.3)",  "== 1.2.3 xor 1.2.4", "== 1.2.3 AND 1.2.4"};
	for (size_t i = 0; i < NH_ARRAY_LEN(bad); i++) {
		struct nh_err e = NH_ERR_INIT;
		bool matches = true;
		if (nh_semver_req_check(nh_slice_str(bad[i]), &e) != NH_EFORMAT)
			fail_msg("'%s' was taken", bad[i]);
		assert_true(e.msg[0] != 0);
		assert_int_equal(nh_semver_req_match(nh_slice_str(bad[i]), NH_LIT("1.2.3"), &matches), NH_EFORMAT);
		assert_false(matches);
	}
	bool matches = true;
	assert_int_equal(nh_semver_req_match(NH_LIT(">= 1.0.0"), NH_LIT("nonsense"), &matches), NH_EFORMAT);
	assert_false(matches);
	assert_int_equal(nh_semver_req_match(NH_LIT(""), NH_LIT("nonsense"), &matches), NH_OK);
	assert_true(matches);
	assert_int_equal(nh_semver_req_check(NH_LIT("~> 1.2 or == 3.0.0"), NULL), NH_OK);
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	nh_buf_put_str(&b, "== 1.2.3");
	for (int i = 0; i < 200; i++)
		nh_buf_put_str(&b, " or == 1.2.3");
	assert_int_equal(nh_semver_req_check(nh_buf_slice(&b), NULL), NH_EFORMAT);
}

/* ---- random requirements on versions whose order is known, since they are numbered in it ------------------------------------ */

static const char *const pres[] = {"-0", "-alpha", "-alpha.1", "-rc.2", "-rc.10", ""};
#define PRES 6u
#define NUMBERS 3u
#define UNIVERSE (NUMBERS * NUMBERS * NUMBERS * PRES)

struct draws {
	struct nh_rng_seeded seed;
	struct nh_rng rng;
};

static unsigned draw(struct draws *d, unsigned below)
{
	uint32_t v;
	nh_rng_fill(&d->rng, &v, sizeof(v));
	return v % below;
}

static void put_version(struct nh_buf *out, unsigned rank, bool patch)
{
	unsigned core = rank / PRES;
	nh_buf_printf(out, "%u.%u", core / (NUMBERS * NUMBERS), core / NUMBERS % NUMBERS);
	if (patch)
		nh_buf_printf(out, ".%u", core % NUMBERS);
	nh_buf_put_str(out, pres[rank % PRES]);
}

static void put_blanks(struct draws *d, struct nh_buf *out, unsigned least)
{
	nh_buf_fill(out, ' ', least + draw(d, 3) / 2);
}

/* One comparison: written to out, judged for the version that is number v. */
static bool comparison(struct draws *d, struct nh_buf *out, unsigned v)
{
	static const char *const ops[] = {"", "==", "!=", "!", ">", ">=", "<", "<=", "~>", "~>"};
	unsigned op = draw(d, NH_ARRAY_LEN(ops)), a = draw(d, UNIVERSE), series = NUMBERS * PRES;
	bool patch = op != 9;
	if (!patch)
		a -= a / PRES % NUMBERS * PRES; /* X.Y stands for X.Y.0 */
	nh_buf_put_str(out, ops[op]);
	put_blanks(d, out, 0);
	put_version(out, a, patch);
	if (draw(d, 4) == 0)
		nh_buf_put_str(out, "+build.7"); /* says nothing */
	switch (op) {
	case 0:
	case 1:
		return v == a;
	case 2:
	case 3:
		return v != a;
	case 4:
		return v > a;
	case 5:
		return v >= a;
	case 6:
		return v < a;
	case 7:
		return v <= a;
	case 8:
		return v >= a && v / series == a / series;
	default:
		return v >= a && v / (series * NUMBERS) == a / (series * NUMBERS);
	}
}

static void random_requirements(void **state)
{
	struct draws d = {0};
	d.rng = nh_rng_seeded_init(&d.seed, 3);
	for (unsigned round = 0; round < 20000; round++) {
		NH_AUTO_BUF struct nh_buf requirement = NH_BUF_INIT, version = NH_BUF_INIT;
		unsigned v = draw(&d, UNIVERSE);
		bool any = false, matches = false;
		put_version(&version, v, true);
		put_blanks(&d, &requirement, 0);
		for (unsigned i = 0, sides = 1 + draw(&d, 3); i < sides; i++) {
			bool all = true;
			if (i) {
				put_blanks(&d, &requirement, 1);
				nh_buf_put_str(&requirement, "or");
				put_blanks(&d, &requirement, 1);
			}
			for (unsigned k = 0, terms = 1 + draw(&d, 3); k < terms; k++) {
				if (k) {
					put_blanks(&d, &requirement, 1);
					nh_buf_put_str(&requirement, "and");
					put_blanks(&d, &requirement, 1);
				}
				all = comparison(&d, &requirement, v) && all;
			}
			any = any || all;
		}
		put_blanks(&d, &requirement, 0);
		nh_rc rc = nh_semver_req_match(nh_buf_slice(&requirement), nh_buf_slice(&version), &matches);
		if (rc != NH_OK || matches != any)
			fail_msg("'%s' on %s: code %d, %s", nh_buf_cstr(&requirement), nh_buf_cstr(&version), (int)rc, matches ? "matches" : "does not match");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(versions), cmocka_unit_test(requirements), cmocka_unit_test(broken_requirements), cmocka_unit_test(random_requirements)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

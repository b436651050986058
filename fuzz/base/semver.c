/*
 * First line: versions, separated by blanks; the rest: a requirement. Comparison must be an order, both readings of a requirement
 * must agree on what is broken, and its words must mean what they say.
 */
#include "fuzz.h"

#include "base/buf.h"
#include "base/semver.h"

#define VERSIONS_MAX 3

static int sign_of(int n) { return (n > 0) - (n < 0); }

/* "OP VERSION" against that comparison. */
static void check_words(nh_slice text, const struct nh_semver *v)
{
	static const struct {
		const char *op;
		bool below, same, above;
	} ops[] = {{"==", false, true, false}, {"!=", true, false, true}, {">", false, false, true}, {">=", false, true, true}, {"<", true, false, false},
		   {"<=", true, true, false}};
	struct nh_semver other;
	NH_AUTO_BUF struct nh_buf version = NH_BUF_INIT;
	if (text.len > 200 || nh_semver_parse(text, &other) != NH_OK)
		return;
	int c = nh_semver_cmp(v, &other);
	nh_buf_printf(&version, "%llu.%llu.%llu", (unsigned long long)v->major, (unsigned long long)v->minor, (unsigned long long)v->patch);
	if (v->pre.len > 0)
		nh_buf_printf(&version, "-%.*s", NH_ARG(v->pre));
	for (size_t i = 0; i < NH_ARRAY_LEN(ops); i++) {
		bool matches = false;
		NH_AUTO_BUF struct nh_buf requirement = NH_BUF_INIT;
		nh_buf_printf(&requirement, "%s %.*s", ops[i].op, NH_ARG(text));
		FUZZ_CHECK(nh_semver_req_match(nh_buf_slice(&requirement), nh_buf_slice(&version), &matches) == NH_OK, "%s", nh_buf_cstr(&requirement));
		FUZZ_CHECK(matches == (c < 0 ? ops[i].below : c > 0 ? ops[i].above : ops[i].same), "%s: %s", nh_buf_cstr(&requirement), nh_buf_cstr(&version));
	}
}

static void check_order(const struct nh_semver *v, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		FUZZ_CHECK(nh_semver_cmp(&v[i], &v[i]) == 0, "reflexive");
		for (size_t j = 0; j < count; j++)
			FUZZ_CHECK(sign_of(nh_semver_cmp(&v[i], &v[j])) == -sign_of(nh_semver_cmp(&v[j], &v[i])), "antisymmetric");
	}
	if (count == 3 && nh_semver_cmp(&v[0], &v[1]) <= 0 && nh_semver_cmp(&v[1], &v[2]) <= 0)
		FUZZ_CHECK(nh_semver_cmp(&v[0], &v[2]) <= 0, "transitive");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice requirement = nh_slice_of(data, size), line = fuzz_until(&requirement, '\n');
	struct nh_semver v[VERSIONS_MAX];
	size_t count = 0;
	nh_rc checked = nh_semver_req_check(requirement, NULL);
	FUZZ_CHECK(requirement.len > 0 || checked == NH_OK, "the empty requirement matches all");
	while (line.len > 0 && count < VERSIONS_MAX) {
		nh_slice text = fuzz_until(&line, ' ');
		bool matches = false;
		nh_rc parsed = nh_semver_parse(text, &v[count]), matched = nh_semver_req_match(requirement, text, &matches);
		FUZZ_CHECK(matched == NH_OK || !matches, "broken, but it matches");
		/* Without a requirement every text matches. */
		FUZZ_CHECK((matched == NH_OK) == (requirement.len == 0 || (parsed == NH_OK && checked == NH_OK)), "%d %d %d", (int)parsed, (int)checked, (int)matched);
		if (parsed == NH_OK) {
			check_words(requirement, &v[count]);
			count++;
		}
	}
	check_order(v, count);
	return 0;
}

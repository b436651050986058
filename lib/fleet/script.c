/* Scripts of misbehaviour: name=value words, nothing else. */
#include "base/encode.h"
#include "fleet/fleet.h"

typedef enum word_kind { RATE, SIZE, TIME } word_kind;

static const struct {
	const char *name;
	word_kind kind;
	size_t offset;
} words[] = {
	{"drop", RATE, offsetof(struct nh_fleet_script, drop)},
	{"slow", RATE, offsetof(struct nh_fleet_script, slow)},
	{"slow-rate", SIZE, offsetof(struct nh_fleet_script, slow_bytes_per_s)},
	{"fail-install", RATE, offsetof(struct nh_fleet_script, fail_install)},
	{"revert", RATE, offsetof(struct nh_fleet_script, revert)},
	{"duplicate", RATE, offsetof(struct nh_fleet_script, duplicate)},
	{"skew", RATE, offsetof(struct nh_fleet_script, skew)},
	{"skew-by", TIME, offsetof(struct nh_fleet_script, skew_s)},
};

static nh_rc assign(struct nh_fleet_script *out, nh_slice name, nh_slice value, unsigned line, struct nh_err *err)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(words); i++) {
		uint64_t number = 0;
		void *field = (char *)out + words[i].offset;
		if (!nh_slice_eq_str(name, words[i].name))
			continue;
		if (words[i].kind == RATE && nh_parse_u64(value, 0, 1000, &number) == NH_OK)
			*(unsigned *)field = (unsigned)number;
		else if (words[i].kind == SIZE && nh_parse_size(value, UINT64_C(1) << 40, &number) == NH_OK)
			*(uint64_t *)field = number;
		else if (words[i].kind == TIME && nh_parse_duration_ms(value, UINT64_C(1) << 40, &number) == NH_OK)
			*(int64_t *)field = (int64_t)(number / 1000);
		else
			return NH_FAIL(err, NH_EFORMAT, "line %u: %s takes %s, not '%.*s'", line, words[i].name,
				       words[i].kind == RATE ? "devices per thousand, 0 to 1000" : words[i].kind == SIZE ? "a size such as 20k" : "a time such as 45s", NH_ARG(value));
		return NH_OK;
	}
	return NH_FAIL(err, NH_EFORMAT, "line %u: '%.*s' is no kind of misbehaviour", line, NH_ARG(name));
}

nh_rc nh_fleet_script_parse(nh_slice text, struct nh_fleet_script *out, struct nh_err *err)
{
	*out = (struct nh_fleet_script){.slow_bytes_per_s = 20000, .skew_s = 45};
	for (unsigned number = 1; text.len; number++) {
		nh_slice line, comment, word, name, value;
		nh_slice_cut(text, '\n', &line, &text);
		nh_slice_cut(line, '#', &line, &comment);
		while ((line = nh_slice_trim(line)).len) {
			nh_slice_cut(line, ' ', &word, &line);
			if (!nh_slice_cut(nh_slice_trim(word), '=', &name, &value))
				return NH_FAIL(err, NH_EFORMAT, "line %u: '%.*s' is not NAME=VALUE", number, NH_ARG(word));
			NH_TRY(assign(out, name, value, number, err));
		}
	}
	return NH_OK;
}

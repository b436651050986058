/*
 * Names on FAT volumes: one path component to its long form (UTF-16), its 8.3 alias and the bits that say which of them is stored. Bytes of 0x80
 * and more are code page 850, as in the reference tool.  source: reference/fwup-format "9", "12.5"
 */
#include "fat_int.h"

/* Code page 850, 0x80..0xff, in Unicode. */
static const uint16_t cp850_unicode[128] = {
	0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef, 0x00ee, 0x00ec, 0x00c4, 0x00c5,
	0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9, 0x00ff, 0x00d6, 0x00dc, 0x00f8, 0x00a3, 0x00d8, 0x00d7, 0x0192,
	0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1, 0x00aa, 0x00ba, 0x00bf, 0x00ae, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb,
	0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x00c1, 0x00c2, 0x00c0, 0x00a9, 0x2563, 0x2551, 0x2557, 0x255d, 0x00a2, 0x00a5, 0x2510,
	0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x00e3, 0x00c3, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x00a4,
	0x00f0, 0x00d0, 0x00ca, 0x00cb, 0x00c8, 0x0131, 0x00cd, 0x00ce, 0x00cf, 0x2518, 0x250c, 0x2588, 0x2584, 0x00a6, 0x00cc, 0x2580,
	0x00d3, 0x00df, 0x00d4, 0x00d2, 0x00f5, 0x00d5, 0x00b5, 0x00fe, 0x00de, 0x00da, 0x00db, 0x00d9, 0x00fd, 0x00dd, 0x00af, 0x00b4,
	0x00ad, 0x00b1, 0x2017, 0x00be, 0x00b6, 0x00a7, 0x00f7, 0x00b8, 0x00b0, 0x00a8, 0x00b7, 0x00b9, 0x00b3, 0x00b2, 0x25a0, 0x00a0,
};

/* The same in upper case, as code page 850 again. */
static const uint8_t cp850_upper[128] = {
	0x80, 0x9a, 0x90, 0xb6, 0x8e, 0xb7, 0x8f, 0x80, 0xd2, 0xd3, 0xd4, 0xd8, 0xd7, 0xde, 0x8e, 0x8f,
	0x90, 0x92, 0x92, 0xe2, 0x99, 0xe3, 0xea, 0xeb, 0x98, 0x99, 0x9a, 0x9d, 0x9c, 0x9d, 0x9e, 0x9f,
	0xb5, 0xd6, 0xe0, 0xe9, 0xa5, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
	0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf,
	0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc7, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf,
	0xd1, 0xd1, 0xd2, 0xd3, 0xd4, 0x49, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf,
	0xe0, 0xe1, 0xe2, 0xe3, 0xe5, 0xe5, 0xe6, 0xe8, 0xe8, 0xe9, 0xea, 0xeb, 0xed, 0xed, 0xee, 0xef,
	0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
};

static bool is_in(uint8_t c, const char *set)
{
	return c != 0 && strchr(set, c) != NULL;
}

static bool is_lower(uint8_t c)
{
	return c >= 'a' && c <= 'z';
}

/* One byte of an alias; *changed: it stands for something that an alias cannot hold. */
static uint8_t alias_byte(uint8_t c, bool *changed)
{
	if (is_in(c, "+,;=[]")) {
		*changed = true;
		return '_';
	}
	return c >= 0x80 ? cp850_upper[c - 0x80] : is_lower(c) ? (uint8_t)(c - 'a' + 'A') : c;
}

struct alias_part {
	uint8_t *out;
	size_t room, used;
	bool upper, lower, high;
};

/* Puts text into body or extension; false: something was lost. */
static bool alias_put(struct alias_part *part, nh_slice text)
{
	bool lost = false;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		if (c == ' ' || c == '.') {
			lost = true;
			continue;
		}
		if (part->used == part->room) {
			lost = true;
			break;
		}
		part->high = part->high || c >= 0x80;
		part->lower = part->lower || is_lower(c);
		part->upper = part->upper || (c >= 'A' && c <= 'Z');
		part->out[part->used++] = alias_byte(c, &lost);
	}
	return !lost;
}

static void alias_of(nh_slice name, struct nh_fw_fat_name *out)
{
	size_t lead = 0;
	while (lead < name.len && name.ptr[lead] == ' ')
		lead++;
	bool lossy = lead > 0 || name.ptr[lead] == '.';
	size_t dot = name.len; /* the last one; a dot at the very start begins no extension of an empty body */
	while (dot > 0 && name.ptr[dot - 1] != '.')
		dot--;
	nh_slice body = dot ? nh_slice_sub(name, lead, dot > lead ? dot - 1 - lead : 0) : nh_slice_skip(name, lead);
	nh_slice extension = dot ? nh_slice_skip(name, dot) : NH_SLICE_EMPTY;
	memset(out->alias, ' ', sizeof out->alias);
	struct alias_part b = {.out = out->alias, .room = 8}, e = {.out = out->alias + 8, .room = 3};
	lossy = !alias_put(&b, body) || lossy;
	lossy = !alias_put(&e, extension) || lossy;
	if (out->alias[0] == 0xe5)
		out->alias[0] = 0x05; /* 0xe5 marks deleted entries */
	out->is_lossy = lossy;
	out->is_long = lossy || b.high || e.high || (b.lower && b.upper) || (e.lower && e.upper);
	if (!out->is_long)
		out->case_bits = (uint8_t)((b.lower ? 0x08 : 0) | (e.lower ? 0x10 : 0));
}

nh_rc nh_fw_fat_name_parse(nh_slice component, struct nh_fw_fat_name *out, struct nh_err *err)
{
	memset(out, 0, sizeof *out);
	nh_slice name = component;
	while (name.len > 0 && (name.ptr[name.len - 1] == ' ' || name.ptr[name.len - 1] == '.'))
		name.len--;
	if (name.len == 0 || name.len > NH_FW_FAT_NAME_MAX)
		return NH_FAIL(err, NH_EINVAL, "'%.*s' can't be a name on a FAT volume", NH_ARG(component));
	bool only_blank = true;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.ptr[i];
		if (c < ' ' || is_in(c, "\"*:<>?|\x7f"))
			return NH_FAIL(err, NH_EINVAL, "'%.*s' can't be a name on a FAT volume", NH_ARG(component));
		only_blank = only_blank && c == ' ';
		out->text[out->len++] = c >= 0x80 ? cp850_unicode[c - 0x80] : c;
	}
	NH_ASSERT(!only_blank); /* trailing blanks were cut */
	alias_of(name, out);
	return NH_OK;
}

/* Names that give the same alias too often are told apart by a hash. */
static unsigned alias_hash(const struct nh_fw_fat_name *name, unsigned number)
{
	unsigned hash = number;
	for (size_t i = 0; i < name->len; i++) {
		for (unsigned bit = 0; bit < 16; bit++) {
			hash = (hash << 1) + (name->text[i] >> bit & 1u);
			if (hash & 0x10000)
				hash ^= 0x11021;
		}
	}
	return hash;
}

void nh_fw_fat_name_number(const struct nh_fw_fat_name *name, unsigned number, uint8_t alias[11])
{
	static const char digits[] = "0123456789ABCDEF";
	uint8_t tail[8];
	size_t n = 0, at = 0;
	memcpy(alias, name->alias, 11);
	if (number > 5)
		number = alias_hash(name, number);
	do {
		tail[n++] = (uint8_t)digits[number % 16];
		number /= 16;
	} while (number && n < 7);
	tail[n++] = '~';
	while (at < 8 - n && alias[at] != ' ')
		at++;
	while (n > 0)
		alias[at++] = tail[--n];
	while (at < 8)
		alias[at++] = ' ';
}

uint8_t nh_fw_fat_alias_sum(const uint8_t alias[11])
{
	uint8_t sum = 0;
	for (size_t i = 0; i < 11; i++)
		sum = (uint8_t)((sum >> 1 | sum << 7) + alias[i]);
	return sum;
}

static uint16_t fold(uint16_t c)
{
	bool latin = c >= 0xe0 && c <= 0xfe && c != 0xf7;
	return (c >= 'a' && c <= 'z') || latin ? (uint16_t)(c - 0x20) : c;
}

bool nh_fw_fat_text_eq(const uint16_t *a, size_t a_len, const uint16_t *b, size_t b_len)
{
	if (a_len != b_len)
		return false;
	for (size_t i = 0; i < a_len; i++)
		if (fold(a[i]) != fold(b[i]))
			return false;
	return true;
}

nh_rc nh_fw_fat_label_parse(nh_slice text, uint8_t out[11], struct nh_err *err)
{
	bool ok = text.len <= 11 && !(text.len > 0 && text.ptr[0] == ' ');
	memset(out, ' ', 11);
	for (size_t i = 0; ok && i < text.len; i++) {
		uint8_t c = text.ptr[i];
		ok = c >= ' ' && !is_in(c, "*?<>|\":/\\[]+=,;.&^\x7f");
		out[i] = c >= 0x80 ? cp850_upper[c - 0x80] : is_lower(c) ? (uint8_t)(c - 'a' + 'A') : c;
	}
	return ok ? NH_OK : NH_FAIL(err, NH_EINVAL, "'%.*s' can't be the label of a FAT volume", NH_ARG(text));
}

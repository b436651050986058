/*
 * Which slots the module has: NERVESKEY_PKCS11, else /etc/nerveskey/pkcs11.conf, else one for each I2C bus of the machine and each of the two addresses that chips come with.
 *
 * Items end with a line or a semicolon; words are separated by blanks; '#' begins a comment. An item is a setting, NAME=VALUE, or a slot: where the chip is (atecc/transport.h), then label=, id=, pair=.
 * Naming a slot turns the default ones off, unless buses= lists buses too: no bus that nobody named sees a wake pulse.
 */
#include "module.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/encode.h"
#include "base/file.h"

#define CONFIG_FILE "/etc/nerveskey/pkcs11.conf"
#define CONFIG_MAX 65536u
#define BUSES 16u
#define CACHE_DEFAULT_MS 5000u
#define CACHE_MAX_MS 3600000u
#define FIRST_FREE_ID 32u

struct parser {
	struct config *out;
	bool id_given[SLOTS_MAX];
	bool buses_given;
	bool bus[BUSES];
};

static nh_rc set_text(char *out, size_t size, nh_slice text, const char *what, struct nh_err *err)
{
	if (text.len == 0 || text.len >= size || nh_slice_chr(text, 0) >= 0)
		return NH_FAIL(err, NH_EINVAL, "%s \"%.*s\": 1 to %zu bytes are possible", what, NH_ARG(text), size - 1);
	memcpy(out, text.ptr, text.len);
	out[text.len] = '\0';
	return NH_OK;
}

static nh_rc set_label(struct slot_setting *slot, nh_slice value, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_MAX(256);
	if (nh_uri_decode(value, false, &text) != NH_OK || !nh_utf8_valid(nh_buf_slice(&text)))
		return NH_FAIL(err, NH_EINVAL, "label \"%.*s\": not UTF-8 with %%XX for blanks", NH_ARG(value));
	return set_text(slot->label, sizeof slot->label, nh_buf_slice(&text), "label", err);
}

static nh_rc set_id(struct slot_setting *slot, nh_slice value, struct nh_err *err)
{
	uint64_t id = 0;
	if (nh_parse_u64(value, 0, SLOT_ID_MAX, &id) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "id \"%.*s\": a number from 0 to %u", NH_ARG(value), SLOT_ID_MAX);
	slot->id = id;
	return NH_OK;
}

static nh_rc set_pair(struct slot_setting *slot, nh_slice value, struct nh_err *err)
{
	static const char *const names[] = {[PAIR_BOTH] = "both", [PAIR_PRIMARY] = "primary", [PAIR_AUX] = "aux"};
	for (size_t i = 0; i < NH_ARRAY_LEN(names); i++)
		if (nh_slice_eq_str(value, names[i])) {
			slot->pair = (pair_choice)i;
			return NH_OK;
		}
	return NH_FAIL(err, NH_EINVAL, "pair \"%.*s\": primary, aux or both", NH_ARG(value));
}

static nh_rc set_cache(struct parser *p, nh_slice value, struct nh_err *err)
{
	if (nh_parse_duration_ms(value, CACHE_MAX_MS, &p->out->cache_ms) != NH_OK)
		return NH_FAIL(err, NH_EINVAL, "cache \"%.*s\": a time such as 5s or 500ms, up to an hour", NH_ARG(value));
	return NH_OK;
}

static nh_rc set_buses(struct parser *p, nh_slice value, struct nh_err *err)
{
	p->buses_given = true;
	if (nh_slice_eq_str(value, "none"))
		return NH_OK;
	for (nh_slice rest = value, one; rest.len > 0;) {
		uint64_t bus = 0;
		nh_slice_cut(rest, ',', &one, &rest);
		if (nh_parse_u64(one, 0, BUSES - 1, &bus) != NH_OK)
			return NH_FAIL(err, NH_EINVAL, "buses \"%.*s\": numbers from 0 to %u with commas, or none", NH_ARG(value), BUSES - 1);
		p->bus[bus] = true;
	}
	return NH_OK;
}

static const struct {
	const char *name;
	nh_rc (*of_slot)(struct slot_setting *slot, nh_slice value, struct nh_err *err);
	nh_rc (*of_all)(struct parser *p, nh_slice value, struct nh_err *err);
} settings[] = {
	{"label", set_label, NULL}, {"id", set_id, NULL}, {"pair", set_pair, NULL}, {"cache", NULL, set_cache}, {"buses", NULL, set_buses},
};

/* One NAME=VALUE; slot NULL where it stands by itself. */
static nh_rc setting(struct parser *p, struct slot_setting *slot, nh_slice name, nh_slice value, struct nh_err *err)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(settings); i++) {
		if (!nh_slice_eq_str(name, settings[i].name) || !(slot ? (void *)settings[i].of_slot : (void *)settings[i].of_all))
			continue;
		if (slot && settings[i].of_slot == set_id)
			p->id_given[p->out->count] = true;
		return slot ? settings[i].of_slot(slot, value, err) : settings[i].of_all(p, value, err);
	}
	return NH_FAIL(err, NH_EINVAL, "\"%.*s=\": %s", NH_ARG(name), slot ? "a slot knows label=, id= and pair=" : "buses=, cache=, or a slot: i2c-1, nerveskey+sim:///path");
}

static bool next_word(nh_slice *rest, nh_slice *word)
{
	size_t from = 0, len = 0;
	while (from < rest->len && (rest->ptr[from] == ' ' || rest->ptr[from] == '\t' || rest->ptr[from] == '\r'))
		from++;
	while (from + len < rest->len && !(rest->ptr[from + len] == ' ' || rest->ptr[from + len] == '\t' || rest->ptr[from + len] == '\r'))
		len++;
	*word = nh_slice_sub(*rest, from, len);
	*rest = nh_slice_skip(*rest, from + len);
	return len > 0;
}

/* "i2c-1" and its like at one of the two usual addresses have always had a number of their own. */
static bool usual_id(const char *spec, CK_SLOT_ID *id)
{
	static const struct {
		const char *form;
		bool trust_and_go;
	} forms[] = {
		{"i2c-%u", false}, {"i2c:%u", false}, {"/dev/i2c-%u", false}, {"nerveskey://i2c-%u", false}, {"i2c-%u@0x60", false}, {"i2c:%u@0x60", false},
		{"/dev/i2c-%u@0x60", false}, {"nerveskey://i2c-%u?address=0x60", false}, {"i2c-%u@0x35", true}, {"i2c:%u@0x35", true}, {"/dev/i2c-%u@0x35", true},
		{"nerveskey://i2c-%u?address=0x35", true},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(forms); i++)
		for (unsigned bus = 0; bus < BUSES; bus++) {
			NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			nh_buf_printf(&text, forms[i].form, bus);
#pragma GCC diagnostic pop
			if (strcmp(nh_buf_cstr(&text), spec) == 0) {
				*id = bus + (forms[i].trust_and_go ? BUSES : 0);
				return true;
			}
		}
	return false;
}

static nh_rc slot_item(struct parser *p, nh_slice spec, nh_slice rest, struct nh_err *err)
{
	if (p->out->count == SLOTS_MAX)
		return NH_FAIL(err, NH_EINVAL, "more than %u slots", SLOTS_MAX);
	struct slot_setting *slot = &p->out->slots[p->out->count];
	*slot = (struct slot_setting){.bus = -1};
	NH_TRY(set_text(slot->spec, sizeof slot->spec, spec, "slot", err));
	p->id_given[p->out->count] = usual_id(slot->spec, &slot->id);
	for (nh_slice word; next_word(&rest, &word);) {
		nh_slice name, value;
		if (!nh_slice_cut(word, '=', &name, &value))
			return NH_FAIL(err, NH_EINVAL, "slot %s: \"%.*s\" is none of label=, id=, pair=", slot->spec, NH_ARG(word));
		NH_TRY_CTX(setting(p, slot, name, value, err), err, "slot %s", slot->spec);
	}
	p->out->count++;
	return NH_OK;
}

static nh_rc item(struct parser *p, nh_slice text, struct nh_err *err)
{
	nh_slice word, name, value, rest = text;
	if (!next_word(&rest, &word))
		return NH_OK;
	/* a URI may have '=' behind its '?', a setting's name has neither ':' nor '/' */
	if (!nh_slice_cut(word, '=', &name, &value) || nh_slice_chr(name, ':') >= 0 || nh_slice_chr(name, '/') >= 0 || nh_slice_chr(name, '@') >= 0)
		return slot_item(p, word, rest, err);
	NH_TRY(setting(p, NULL, name, value, err));
	if (next_word(&rest, &word))
		return NH_FAIL(err, NH_EINVAL, "\"%.*s\" behind %.*s=: one setting a line", NH_ARG(word), NH_ARG(name));
	return NH_OK;
}

static bool id_taken(const struct parser *p, CK_SLOT_ID id, size_t except)
{
	for (size_t i = 0; i < p->out->count; i++)
		if (i != except && p->id_given[i] && p->out->slots[i].id == id)
			return true;
	return false;
}

/* Numbers and labels of slots that were not given one. */
static nh_rc number(struct parser *p, struct nh_err *err)
{
	CK_SLOT_ID next = FIRST_FREE_ID;
	for (size_t i = 0; i < p->out->count; i++) {
		struct slot_setting *slot = &p->out->slots[i];
		if (!p->id_given[i]) {
			while (id_taken(p, next, i))
				next++;
			slot->id = next++;
		} else if (id_taken(p, slot->id, i)) {
			return NH_FAIL(err, NH_EINVAL, "slot %s: another one has the id %lu; give one of them another by id=", slot->spec, slot->id);
		}
		if (!*slot->label)
			snprintf(slot->label, sizeof slot->label, "%lu", slot->id);
	}
	return NH_OK;
}

static void add_default(struct parser *p, unsigned bus, bool trust_and_go)
{
	CK_SLOT_ID id = bus + (trust_and_go ? BUSES : 0);
	if (p->out->count == SLOTS_MAX || id_taken(p, id, SIZE_MAX))
		return;
	struct slot_setting *slot = &p->out->slots[p->out->count];
	*slot = (struct slot_setting){.id = id, .bus = (int)bus};
	snprintf(slot->spec, sizeof slot->spec, "/dev/i2c-%u@0x%02x", bus, trust_and_go ? NH_ATECC_ADDRESS_TNG : NH_ATECC_ADDRESS);
	p->id_given[p->out->count++] = true;
}

/* '#' where a word could begin, to the line's end. */
static nh_slice without_comment(nh_slice line)
{
	for (size_t i = 0; i < line.len; i++)
		if (line.ptr[i] == '#' && (i == 0 || line.ptr[i - 1] == ' ' || line.ptr[i - 1] == '\t' || line.ptr[i - 1] == ';'))
			return nh_slice_sub(line, 0, i);
	return line;
}

nh_rc config_parse(nh_slice text, struct config *out, struct nh_err *err)
{
	struct parser p = {.out = out};
	*out = (struct config){.cache_ms = CACHE_DEFAULT_MS};
	for (nh_slice line, rest = text; rest.len > 0;) {
		nh_slice_cut(rest, '\n', &line, &rest);
		line = without_comment(line);
		for (nh_slice one; line.len > 0;) {
			nh_slice_cut(line, ';', &one, &line);
			NH_TRY(item(&p, one, err));
		}
	}
	bool every = !p.buses_given && out->count == 0;
	for (unsigned kind = 0; kind < 2; kind++)
		for (unsigned bus = 0; bus < BUSES; bus++)
			if (every || p.bus[bus])
				add_default(&p, bus, kind == 1);
	return number(&p, err);
}

nh_rc config_load(struct config *out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	/* not in programs that run with more rights than whoever started them */
	const char *named = secure_getenv("NERVESKEY_PKCS11"), *path = CONFIG_FILE;
	if (named && *named && *named != '@') {
		NH_TRY_CTX(config_parse(nh_slice_str(named), out, err), err, "NERVESKEY_PKCS11");
		return NH_OK;
	}
	if (named && *named == '@')
		path = named + 1;
	nh_rc rc = nh_file_read(path, CONFIG_MAX, &text, err);
	if (rc != NH_OK && !(rc == NH_ENOTFOUND && strcmp(path, CONFIG_FILE) == 0))
		return rc;
	NH_TRY_CTX(config_parse(nh_buf_slice(&text), out, err), err, "%s", path);
	return NH_OK;
}

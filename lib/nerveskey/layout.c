/*
 * The configuration of a NervesKey: the image that is locked into a chip, and what the bytes of a chip say about how far it got. Bytes in, bytes and words out; who reads and locks
 * is provision.c.
 *
 * source: reference/nerveskey "4.3", "6.1", "6.2", "6.5", "6.6"
 */
#include "nerveskey/layout.h"

#define SLOT_CONFIG 20u
#define KEY_CONFIG 96u
#define CHIP_MODE 19u
#define VOLATILE_PERMISSION 69u
#define LOCK_VALUE 86u
#define LOCK_CONFIG 87u
#define SLOT_LOCKED 88u
#define UNLOCKED 0x55u

/* Two bytes of each slot, in the order of the zone. */
struct slot_bytes {
	uint8_t slot_config[2], key_config[2];
};

#define FREE {{0x0F, 0x0F}, {0x1C, 0x00}}     /* anybody reads and writes */
#define LOCKABLE {{0x0F, 0x0F}, {0x3C, 0x00}} /* the same, and could be locked */
#define FIXED {{0x0F, 0x2F}, {0x3C, 0x00}}    /* read only once the data zone is locked */

static const struct slot_bytes regular[NH_ATECC_SLOTS] = {
	{{0x87, 0x20}, {0x33, 0x00}}, FREE, FREE, FREE, FREE, FREE, FREE, FREE, LOCKABLE, LOCKABLE, FIXED, {{0x0F, 0x2F}, {0x30, 0x00}}, FIXED, FIXED, LOCKABLE, LOCKABLE,
};
/* The first three slots of the volatile layout; the others are the regular one's. */
static const struct slot_bytes with_latch[] = {{{0x87, 0x20}, {0x33, 0x10}}, {{0x81, 0x90}, {0x78, 0x00}}, {{0x81, 0x90}, {0x38, 0x10}}};

static const struct slot_bytes *layout_of(nh_nerveskey_kind kind, unsigned slot)
{
	return kind == NH_NERVESKEY_VOLATILE && slot < NH_ARRAY_LEN(with_latch) ? &with_latch[slot] : &regular[slot];
}

static bool slot_is(const uint8_t *config, nh_nerveskey_kind kind, unsigned slot)
{
	const struct slot_bytes *want = layout_of(kind, slot);
	const uint8_t *sc = config + SLOT_CONFIG + 2 * slot, *kc = config + KEY_CONFIG + 2 * slot;
	return sc[0] == want->slot_config[0] && sc[1] == want->slot_config[1] && kc[0] == want->key_config[0] && kc[1] == want->key_config[1];
}

uint16_t nh_nerveskey_slots_differing(const uint8_t config[NH_ATECC_CONFIG_LEN], nh_nerveskey_kind kind)
{
	uint16_t differing = 0;
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++)
		if (!slot_is(config, kind, slot))
			differing |= (uint16_t)(1u << slot);
	return differing;
}

/* Of the sixteen slots the reference looks at the device key and the certificates' only: what a chip holds elsewhere does not make it another thing. */
static bool compatible(const uint8_t *config, nh_nerveskey_kind kind, uint16_t decisive)
{
	return config[LOCK_CONFIG] == 0 && config[CHIP_MODE] == 0 && !(nh_nerveskey_slots_differing(config, kind) & decisive);
}

bool nh_nerveskey_config_compatible(const uint8_t config[NH_ATECC_CONFIG_LEN]) { return compatible(config, NH_NERVESKEY_REGULAR, 0x3C01); }

bool nh_nerveskey_volatile_compatible(const uint8_t config[NH_ATECC_CONFIG_LEN])
{
	/* Slot 2 as far as the reference looks: its SlotConfig is not among the bytes compared, its KeyConfig neither. */
	return (config[VOLATILE_PERMISSION] & 0x80) && compatible(config, NH_NERVESKEY_VOLATILE, 0x3C03);
}

void nh_nerveskey_config_apply(uint8_t config[NH_ATECC_CONFIG_LEN], nh_nerveskey_kind kind)
{
	NH_ASSERT(kind == NH_NERVESKEY_REGULAR || kind == NH_NERVESKEY_VOLATILE);
	config[18] = 0xAA; /* 508A: one-time zone read-only; 608: CountMatch off */
	config[CHIP_MODE] = 0;
	for (unsigned slot = 0; slot < NH_ATECC_SLOTS; slot++) {
		const struct slot_bytes *want = layout_of(kind, slot);
		for (unsigned i = 0; i < 2; i++) {
			config[SLOT_CONFIG + 2 * slot + i] = want->slot_config[i];
			config[KEY_CONFIG + 2 * slot + i] = want->key_config[i];
		}
	}
	if (kind == NH_NERVESKEY_VOLATILE)
		config[VOLATILE_PERMISSION] = 0x81; /* by the key in slot 1 */
	for (unsigned i = 92; i < 96; i++)
		config[i] = 0; /* X509format */
}

/* What Trust Platform parts carry at the begin of the one-time zone. LoRaWAN and TrustFLEX parts have codes of their own and another layout. */
static bool trust_and_go(const uint8_t *otp)
{
	static const char codes[][9] = {"KQp2ZkD8", "x6tjuZMy", "wdNxAjae", "Rsuy5YJh"};
	for (size_t i = 0; i < NH_ARRAY_LEN(codes); i++)
		if (nh_slice_eq(nh_slice_of(otp, 8), nh_slice_str(codes[i])))
			return true;
	return false;
}

static nh_nerveskey_stage stage_of(const struct nh_nerveskey_state *s)
{
	if (!s->config_locked)
		return NH_NERVESKEY_STAGE_BLANK;
	if (s->kind == NH_NERVESKEY_FOREIGN)
		return NH_NERVESKEY_STAGE_FOREIGN;
	if (!s->data_locked)
		return NH_NERVESKEY_STAGE_CONFIGURED;
	if (s->kind == NH_NERVESKEY_TRUST_AND_GO)
		return NH_NERVESKEY_STAGE_DONE;
	return s->open_slots & nh_nerveskey_slots_to_lock(s->kind) ? NH_NERVESKEY_STAGE_KEY_OPEN : NH_NERVESKEY_STAGE_DONE;
}

uint16_t nh_nerveskey_slots_to_lock(nh_nerveskey_kind kind) { return kind == NH_NERVESKEY_VOLATILE ? 0x0007 : kind == NH_NERVESKEY_REGULAR ? 0x0001 : 0; }

void nh_nerveskey_state_of(const uint8_t config[NH_ATECC_CONFIG_LEN], const uint8_t *otp, struct nh_nerveskey_state *out)
{
	/* A lock byte that is neither 0x55 nor 0 is no permission to write. */
	*out = (struct nh_nerveskey_state){.config_locked = config[LOCK_CONFIG] != UNLOCKED, .data_locked = config[LOCK_VALUE] != UNLOCKED};
	out->open_slots = (uint16_t)(config[SLOT_LOCKED] | config[SLOT_LOCKED + 1] << 8);
	if (out->config_locked)
		out->differing_slots = nh_nerveskey_slots_differing(config, NH_NERVESKEY_REGULAR);
	if (!out->config_locked)
		out->kind = NH_NERVESKEY_BLANK;
	else if (otp && trust_and_go(otp))
		out->kind = NH_NERVESKEY_TRUST_AND_GO;
	else if (nh_nerveskey_config_compatible(config))
		out->kind = NH_NERVESKEY_REGULAR;
	else if (nh_nerveskey_volatile_compatible(config))
		out->kind = NH_NERVESKEY_VOLATILE;
	else
		out->kind = NH_NERVESKEY_FOREIGN;
	out->stage = stage_of(out);
}

/* ---- for people */

struct word {
	unsigned mask, value;
	const char *text;
};

static void put_words(struct nh_buf *out, unsigned bits, const struct word *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if ((bits & words[i].mask) == words[i].value)
			nh_buf_printf(out, ", %s", words[i].text);
}

/* SlotConfig (low 16 bits) and KeyConfig (high 16 bits) in words; the first table for slots that hold a private P-256 key. */
static const struct word key_words[] = {
	{0x0001, 0x0001, "signs anything"},
	{0x0002, 0x0002, "signs internal messages"},
	{0x0004, 0x0004, "ECDH"},
	{0x0008, 0x0008, "ECDH into the next slot"},
	{0x2000, 0x2000, "GenKey"},
	{0x4000, 0x4000, "PrivWrite"},
	{0x0020, 0x0020, "limited use"},
	{0x20000, 0x20000, "public key readable"},
};
static const struct word data_words[] = {
	{0x00C0, 0x0000, "readable"},
	{0x00C0, 0x0040, "not readable"}, /* EncryptRead without IsSecret: the chip refuses */
	{0x00C0, 0x0080, "never readable"},
	{0x00C0, 0x00C0, "readable encrypted"},
	{0xF000, 0x0000, "writable"},
	{0xF000, 0x1000, "writable while not validated"},
	{0xE000, 0x2000, "never writable"},
	{0x4000, 0x4000, "writable encrypted"},
	{0xC000, 0x8000, "never writable"},
	{0x0020, 0x0020, "limited use"},
};
static const struct word common_words[] = {
	{0x200000, 0x200000, "lockable"},
	{0x400000, 0x400000, "random nonce required"},
	{0x800000, 0x800000, "authorization required"},
	{0x10000000, 0x10000000, "only with the latch set"},
};
static const char *const key_types[8] = {"reserved", "reserved", "reserved", "reserved", "P-256", "reserved", "AES", "data"};

void nh_nerveskey_slot_describe(const uint8_t config[NH_ATECC_CONFIG_LEN], unsigned slot, struct nh_buf *out)
{
	const uint8_t *sc = config + SLOT_CONFIG + 2 * slot, *kc = config + KEY_CONFIG + 2 * slot;
	unsigned bits = (unsigned)(sc[0] | sc[1] << 8) | (unsigned)kc[0] << 16 | (unsigned)kc[1] << 24;
	bool private_key = kc[0] & 1, open = (config[SLOT_LOCKED + slot / 8] >> slot % 8) & 1;
	nh_buf_printf(out, "slot %-2u  SlotConfig %02X %02X  KeyConfig %02X %02X  %s %s", slot, sc[0], sc[1], kc[0], kc[1], private_key ? "private" : "holds",
	              private_key && (kc[0] >> 2 & 7) != 4 ? "key of no known type" : key_types[kc[0] >> 2 & 7]);
	if (private_key)
		put_words(out, bits, key_words, NH_ARRAY_LEN(key_words));
	else
		put_words(out, bits, data_words, NH_ARRAY_LEN(data_words));
	put_words(out, bits, common_words, NH_ARRAY_LEN(common_words));
	nh_buf_put_str(out, open ? "\n" : ", locked\n");
}

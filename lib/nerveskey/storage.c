/*
 * The bytes of the settings in their slots. They have no length and no checksum, so a half-written mixture of old and new could pass for settings: the first word is made undecodable
 * before anything else is touched, and written last; torn in its middle it is no term either. What is there already is not written again.
 *
 * Invariant: at every moment the slots hold the old settings, the new ones, or bytes that do not begin a term.
 * source: reference/nerveskey "10"
 */
#include "nerveskey_int.h"

/* In the order of the bytes. */
static const unsigned slots[] = {8, 7, 6, 5};
#define PIECES_MAX 19u /* 13 blocks of slot 8; a block and a word of the three others */

struct piece {
	unsigned slot, byte; /* where in the chip */
	size_t at, len;      /* where in the settings */
};

struct room {
	struct piece pieces[PIECES_MAX];
	size_t count, len; /* pieces, bytes */
};

static void room_of(const struct nh_nerveskey_info *info, struct room *room)
{
	size_t used = info->state.kind == NH_NERVESKEY_TRUST_AND_GO ? 1 : NH_ARRAY_LEN(slots);
	*room = (struct room){0};
	for (size_t i = 0; i < used; i++) {
		size_t size = nh_atecc_slot_len(slots[i]);
		for (unsigned byte = 0; byte < size;) {
			size_t len = size - byte >= NH_ATECC_BLOCK ? NH_ATECC_BLOCK : NH_ATECC_WORD;
			room->pieces[room->count++] = (struct piece){slots[i], byte, room->len, len};
			room->len += len;
			byte += (unsigned)len;
		}
	}
}

static nh_rc find_room(struct nh_nerveskey *key, struct room *room, struct nh_err *err)
{
	struct nh_nerveskey_info info;
	NH_TRY(nh_nerveskey_identity_read(key, &info, err));
	if (!info.state.data_locked)
		return NH_FAIL(err, NH_EPERM, "%s: not provisioned: the chip keeps no settings before", nh_nerveskey_name(key));
	if (!info.has_otp && info.state.kind != NH_NERVESKEY_TRUST_AND_GO)
		return NH_FAIL(err, NH_EPERM, "%s: no NervesKey: its one-time zone begins with something else", nh_nerveskey_name(key));
	room_of(&info, room);
	return NH_OK;
}

static nh_rc read_room(struct nh_nerveskey *key, const struct room *room, uint8_t *out, struct nh_err *err)
{
	for (size_t i = 0, at = 0; at < room->len; i++) {
		NH_TRY(nh_atecc_read_slot(key->chip, slots[i], out + at, nh_atecc_slot_len(slots[i]), err));
		at += nh_atecc_slot_len(slots[i]);
	}
	return NH_OK;
}

static nh_rc settings_read(struct nh_nerveskey *key, struct nh_buf *out, struct nh_err *err)
{
	struct room room;
	uint8_t bytes[NH_NERVESKEY_SETTINGS_MAX];
	NH_TRY(find_room(key, &room, err));
	NH_TRY(read_room(key, &room, bytes, err));
	nh_buf_put(out, bytes, room.len);
	return nh_buf_check(out, "settings", err);
}

nh_rc nh_nerveskey_settings_read(struct nh_nerveskey *key, struct nh_buf *out, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = settings_read(key, out, err);
	nh_nerveskey_leave(key);
	return rc;
}

/* was: what the slots hold now, changed along. */
static nh_rc write_changed(struct nh_nerveskey *key, const struct room *room, uint8_t *was, const uint8_t *bytes, struct nh_err *err)
{
	uint8_t next[NH_NERVESKEY_SETTINGS_MAX];
	const nh_slice no_term = {(const uint8_t[NH_ATECC_WORD]){0}, NH_ATECC_WORD}, first = {bytes, NH_ATECC_WORD};
	if (memcmp(was, bytes, room->len) == 0)
		return NH_OK;
	if (!nh_nerveskey_all_zero(was, NH_ATECC_WORD))
		NH_TRY(nh_atecc_write_part(key->chip, slots[0], 0, no_term, err));
	for (size_t i = 0; i < room->len; i++)
		next[i] = i < NH_ATECC_WORD ? 0 : bytes[i];
	for (size_t i = 0; i < NH_ATECC_WORD; i++)
		was[i] = 0;
	for (size_t i = room->count; i > 0; i--) {
		const struct piece *p = &room->pieces[i - 1];
		if (memcmp(was + p->at, next + p->at, p->len) != 0)
			NH_TRY(nh_atecc_write_part(key->chip, p->slot, p->byte, nh_slice_of(next + p->at, p->len), err));
	}
	return nh_nerveskey_all_zero(first.ptr, first.len) ? NH_OK : nh_atecc_write_part(key->chip, slots[0], 0, first, err);
}

static nh_rc settings_write(struct nh_nerveskey *key, nh_slice settings, struct nh_err *err)
{
	struct room room;
	uint8_t was[NH_NERVESKEY_SETTINGS_MAX], bytes[NH_NERVESKEY_SETTINGS_MAX] = {0};
	NH_TRY(find_room(key, &room, err));
	if (settings.len > room.len)
		return NH_FAIL(err, NH_ETOOBIG, "%s: %zu bytes of settings, this chip has room for %zu; nothing was written", nh_nerveskey_name(key), settings.len, room.len);
	for (size_t i = 0; i < settings.len; i++)
		bytes[i] = settings.ptr[i];
	NH_TRY(read_room(key, &room, was, err));
	NH_TRY_CTX(write_changed(key, &room, was, bytes, err), err, "settings not written, or not wholly: write them again");
	NH_TRY(read_room(key, &room, was, err));
	if (memcmp(was, bytes, room.len) != 0)
		return NH_FAIL(err, NH_EIO, "%s: the settings do not read back as they were written; write them again", nh_nerveskey_name(key));
	return NH_OK;
}

nh_rc nh_nerveskey_settings_write(struct nh_nerveskey *key, nh_slice bytes, struct nh_err *err)
{
	NH_TRY(nh_nerveskey_enter(key, err));
	nh_rc rc = settings_write(key, bytes, err);
	nh_nerveskey_leave(key);
	return rc;
}

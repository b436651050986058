/*
 * Slots, tokens and mechanisms described. All text is padded with blanks, as the standard says.
 */
#include "module.h"

#include <stdio.h>
#include <unistd.h>

#include "base/encode.h"

static void pad(unsigned char *out, size_t size, const char *text)
{
	size_t len = strlen(text);
	while (len > size)
		len--;
	/* not in the middle of a character */
	while (text[len] && len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
		len--;
	memset(out, ' ', size);
	memcpy(out, text, len);
}
#define PAD(field, text) pad((field), sizeof(field), (text))

static unsigned char version_part(unsigned which)
{
	nh_slice part = NH_SLICE_EMPTY, rest = NH_LIT(NH_VERSION);
	uint64_t n = 0;
	for (unsigned i = 0; i <= which; i++)
		nh_slice_cut(rest, '.', &part, &rest);
	return nh_parse_u64(part, 0, 255, &n) == NH_OK ? (unsigned char)n : 0;
}

CK_RV module_info(CK_INFO *out)
{
	if (!out)
		return CKR_ARGUMENTS_BAD;
	*out = (CK_INFO){.cryptokiVersion = {CRYPTOKI_VERSION_MAJOR, CRYPTOKI_VERSION_MINOR}, .libraryVersion = {version_part(0), version_part(1)}};
	PAD(out->manufacturerID, "NervesKey");
	PAD(out->libraryDescription, "NervesKey PKCS#11 Library");
	return CKR_OK;
}

static bool listed(const struct slot *slot)
{
	char path[32];
	if (slot->set.bus < 0)
		return true;
	snprintf(path, sizeof path, "/dev/i2c-%d", slot->set.bus);
	return access(path, F_OK) == 0;
}

static bool present(struct slot *slot)
{
	if (lock_take(&slot->lock) != CKR_OK)
		return false;
	CK_RV rv = token_look(slot);
	lock_give(&slot->lock);
	return rv == CKR_OK || rv == CKR_TOKEN_NOT_RECOGNIZED;
}

CK_RV slots_list(struct module *m, bool only_present, CK_SLOT_ID *list, CK_ULONG *count)
{
	if (!count)
		return CKR_ARGUMENTS_BAD;
	CK_ULONG room = *count, n = 0;
	for (size_t i = 0; i < m->slot_count; i++) {
		struct slot *slot = &m->slots[i];
		if (!listed(slot) || (only_present && !present(slot)))
			continue;
		if (list && n < room)
			list[n] = slot->set.id;
		n++;
	}
	*count = n;
	return list && n > room ? CKR_BUFFER_TOO_SMALL : CKR_OK;
}

CK_RV slot_info(struct slot *slot, CK_SLOT_INFO *out)
{
	char text[320];
	if (!out)
		return CKR_ARGUMENTS_BAD;
	CK_RV there = listed(slot) ? token_look(slot) : CKR_TOKEN_NOT_PRESENT;
	*out = (CK_SLOT_INFO){.flags = CKF_HW_SLOT | CKF_REMOVABLE_DEVICE};
	if (there == CKR_OK || there == CKR_TOKEN_NOT_RECOGNIZED)
		out->flags |= CKF_TOKEN_PRESENT;
	snprintf(text, sizeof text, "NervesKey %s", slot->set.spec);
	PAD(out->slotDescription, text);
	PAD(out->manufacturerID, "NervesKey");
	return CKR_OK;
}

CK_RV slot_token_info(struct slot *slot, CK_TOKEN_INFO *out)
{
	char serial[17];
	if (!out)
		return CKR_ARGUMENTS_BAD;
	CK_RV rv = listed(slot) ? token_look(slot) : CKR_TOKEN_NOT_PRESENT;
	/* Applications that go through all slots give up at any other error; one bus that is out of order must not hide the others. */
	if (rv != CKR_OK)
		return rv == CKR_TOKEN_NOT_RECOGNIZED ? rv : CKR_TOKEN_NOT_PRESENT;
	const struct nh_nerveskey_info *info = &slot->info;
	*out = (CK_TOKEN_INFO){
		.flags = CKF_RNG | CKF_WRITE_PROTECTED | CKF_TOKEN_INITIALIZED,
		.ulMaxSessionCount = SESSIONS_MAX,
		.ulMaxRwSessionCount = SESSIONS_MAX,
		.ulTotalPublicMemory = CK_UNAVAILABLE_INFORMATION,
		.ulFreePublicMemory = CK_UNAVAILABLE_INFORMATION,
		.ulTotalPrivateMemory = CK_UNAVAILABLE_INFORMATION,
		.ulFreePrivateMemory = CK_UNAVAILABLE_INFORMATION,
		.hardwareVersion = {info->revision[2], info->revision[3]},
	};
	module_gate_close();
	out->ulSessionCount = slot->sessions;
	out->ulRwSessionCount = slot->rw_sessions;
	module_gate_open();
	for (size_t i = 0; i < 8; i++)
		snprintf(serial + 2 * i, 3, "%02X", info->chip_serial[1 + i]);
	PAD(out->label, slot->set.label);
	PAD(out->manufacturerID, "NervesKey");
	PAD(out->model, nh_atecc_model_name(info->model));
	PAD(out->serialNumber, serial);
	PAD(out->utcTime, "");
	return CKR_OK;
}

#define EC_FLAGS (CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS)
static const struct {
	CK_MECHANISM_TYPE type;
	CK_MECHANISM_INFO info;
	bool parameters;
} mechanisms[] = {
	{CKM_ECDSA, {256, 256, CKF_HW | CKF_SIGN | CKF_VERIFY | EC_FLAGS}, false},
	{CKM_ECDSA_SHA256, {256, 256, CKF_HW | CKF_SIGN | CKF_VERIFY | EC_FLAGS}, false},
	{CKM_ECDH1_DERIVE, {256, 256, CKF_HW | CKF_DERIVE | EC_FLAGS}, true},
	{CKM_SHA256, {0, 0, CKF_DIGEST}, false},
};

CK_RV mechanism_check(const CK_MECHANISM *mechanism, CK_FLAGS use)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(mechanisms); i++) {
		if (mechanisms[i].type != mechanism->mechanism || !(mechanisms[i].info.flags & use))
			continue;
		bool given = mechanism->ulParameterLen != 0;
		return given == mechanisms[i].parameters && !(given && !mechanism->pParameter) ? CKR_OK : CKR_MECHANISM_PARAM_INVALID;
	}
	return CKR_MECHANISM_INVALID;
}

CK_RV slot_mechanisms(struct slot *slot, CK_MECHANISM_TYPE *list, CK_ULONG *count)
{
	if (!count)
		return CKR_ARGUMENTS_BAD;
	CK_ULONG room = *count;
	*count = NH_ARRAY_LEN(mechanisms);
	if (!list)
		return CKR_OK;
	if (room < NH_ARRAY_LEN(mechanisms))
		return CKR_BUFFER_TOO_SMALL;
	for (size_t i = 0; i < NH_ARRAY_LEN(mechanisms); i++)
		list[i] = mechanisms[i].type;
	return CKR_OK;
}

CK_RV slot_mechanism_info(struct slot *slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *out)
{
	if (!out)
		return CKR_ARGUMENTS_BAD;
	for (size_t i = 0; i < NH_ARRAY_LEN(mechanisms); i++)
		if (mechanisms[i].type == type) {
			*out = mechanisms[i].info;
			return CKR_OK;
		}
	return CKR_MECHANISM_INVALID;
}

/* Provisioning is irreversible and the command's business, not a side effect of somebody's pkcs11-tool. */
CK_RV slot_refuse_init(struct slot *slot) { return CKR_TOKEN_WRITE_PROTECTED; }

CK_RV slots_wait(CK_FLAGS flags, const CK_SLOT_ID *slot, const void *reserved)
{
	if (!slot || reserved)
		return CKR_ARGUMENTS_BAD;
	return flags & CKF_DONT_BLOCK ? CKR_NO_EVENT : CKR_FUNCTION_NOT_SUPPORTED;
}

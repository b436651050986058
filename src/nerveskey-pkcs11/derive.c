/*
 * Keys that C_DeriveKey makes: the shared X coordinate of an ECDH in the chip becomes a secret session object that can be read where its template lets it be. They live in the slot's list and die with their
 * session.
 *
 * source: PKCS#11 2.40 mechanisms "2.3.8 ECDH"
 */
#include "module.h"

#include <stdlib.h>

#define FLAG(n) (1u << (n))
static const struct {
	CK_ATTRIBUTE_TYPE type;
	uint32_t flag;
	bool initially;
} booleans[] = {
	{CKA_PRIVATE, FLAG(0), false}, {CKA_SENSITIVE, FLAG(1), false}, {CKA_EXTRACTABLE, FLAG(2), true}, {CKA_ENCRYPT, FLAG(3), false}, {CKA_DECRYPT, FLAG(4), false},
	{CKA_SIGN, FLAG(5), false},    {CKA_VERIFY, FLAG(6), false},    {CKA_WRAP, FLAG(7), false},       {CKA_UNWRAP, FLAG(8), false},  {CKA_DERIVE, FLAG(9), false},
};
#define SENSITIVE FLAG(1)
#define EXTRACTABLE FLAG(2)

struct secret *secret_find(const struct slot *slot, CK_OBJECT_HANDLE handle)
{
	for (struct secret *k = slot->secrets; k; k = k->next)
		if (k->handle == handle)
			return k;
	return NULL;
}

void secret_drop(struct slot *slot, CK_SESSION_HANDLE owner, CK_OBJECT_HANDLE handle)
{
	for (struct secret **at = &slot->secrets; *at;) {
		struct secret *k = *at;
		if ((owner != 0 && k->owner != owner) || (handle != 0 && k->handle != handle)) {
			at = &k->next;
			continue;
		}
		*at = k->next;
		slot->secret_count--;
		explicit_bzero(k, sizeof *k);
		free(k);
	}
}

static CK_RV set_boolean(struct secret *k, const CK_ATTRIBUTE *a)
{
	for (size_t i = 0; i < NH_ARRAY_LEN(booleans); i++) {
		if (booleans[i].type != a->type)
			continue;
		if (a->ulValueLen != sizeof(CK_BBOOL) || !a->pValue)
			return CKR_ATTRIBUTE_VALUE_INVALID;
		k->flags = *(const CK_BBOOL *)a->pValue ? k->flags | booleans[i].flag : k->flags & ~booleans[i].flag;
		return CKR_OK;
	}
	return CKR_ATTRIBUTE_TYPE_INVALID;
}

static CK_RV set_bytes(uint8_t *out, size_t size, size_t *len, const CK_ATTRIBUTE *a)
{
	if (a->ulValueLen > size || (a->ulValueLen != 0 && !a->pValue))
		return CKR_ATTRIBUTE_VALUE_INVALID;
	if (a->ulValueLen != 0)
		memcpy(out, a->pValue, a->ulValueLen);
	*len = a->ulValueLen;
	return CKR_OK;
}

static CK_RV get_number(const CK_ATTRIBUTE *a, CK_ULONG *out)
{
	if (a->ulValueLen != sizeof *out || !a->pValue)
		return CKR_ATTRIBUTE_VALUE_INVALID;
	memcpy(out, a->pValue, sizeof *out);
	return CKR_OK;
}

static CK_RV set_class(const CK_ATTRIBUTE *a)
{
	CK_ULONG class = 0;
	CK_RV rv = get_number(a, &class);
	return rv == CKR_OK && class != CKO_SECRET_KEY ? CKR_TEMPLATE_INCONSISTENT : rv;
}

static CK_RV set_token(const CK_ATTRIBUTE *a)
{
	if (a->ulValueLen != sizeof(CK_BBOOL) || !a->pValue)
		return CKR_ATTRIBUTE_VALUE_INVALID;
	return *(const CK_BBOOL *)a->pValue ? CKR_TOKEN_WRITE_PROTECTED : CKR_OK;
}

static CK_RV set_length(struct secret *k, const CK_ATTRIBUTE *a)
{
	CK_ULONG len = 0;
	CK_RV rv = get_number(a, &len);
	if (rv == CKR_OK && (len == 0 || len > SECRET_MAX))
		return CKR_ATTRIBUTE_VALUE_INVALID;
	if (rv == CKR_OK)
		k->len = len;
	return rv;
}

static CK_RV apply(struct secret *k, const CK_ATTRIBUTE *a)
{
	switch (a->type) {
	case CKA_CLASS: return set_class(a);
	case CKA_TOKEN: return set_token(a);
	case CKA_KEY_TYPE: return get_number(a, &k->type);
	case CKA_VALUE_LEN: return set_length(k, a);
	case CKA_LABEL: return set_bytes((uint8_t *)k->label, sizeof k->label, &k->label_len, a);
	case CKA_ID: return set_bytes(k->id, sizeof k->id, &k->id_len, a);
	default: return set_boolean(k, a);
	}
}

/* Generic secrets of 1 to 32 bytes, AES keys of 16, 24 or 32. */
static CK_RV read_template(struct secret *k, const CK_ATTRIBUTE *attributes, CK_ULONG count)
{
	k->type = CKK_GENERIC_SECRET;
	for (size_t i = 0; i < NH_ARRAY_LEN(booleans); i++)
		k->flags |= booleans[i].initially ? booleans[i].flag : 0;
	for (CK_ULONG i = 0; i < count; i++) {
		CK_RV rv = apply(k, &attributes[i]);
		if (rv != CKR_OK)
			return rv;
	}
	if (k->len == 0)
		k->len = SECRET_MAX;
	if (k->type == CKK_AES)
		return k->len == 16 || k->len == 24 || k->len == 32 ? CKR_OK : CKR_ATTRIBUTE_VALUE_INVALID;
	return k->type == CKK_GENERIC_SECRET ? CKR_OK : CKR_ATTRIBUTE_VALUE_INVALID;
}

/* The peer's point: 04 X Y, bare or as a DER OCTET STRING; both are in use. */
static CK_RV read_peer(const CK_MECHANISM *mechanism, uint8_t peer[NH_P256_PUBLIC_LEN])
{
	CK_ECDH1_DERIVE_PARAMS p;
	if (mechanism->ulParameterLen != sizeof p)
		return CKR_MECHANISM_PARAM_INVALID;
	memcpy(&p, mechanism->pParameter, sizeof p);
	if (p.kdf != CKD_NULL || p.ulSharedDataLen != 0 || !p.pPublicData)
		return CKR_MECHANISM_PARAM_INVALID;
	nh_slice point = nh_slice_of(p.pPublicData, p.ulPublicDataLen);
	if (point.len == 67 && point.ptr[0] == 0x04 && point.ptr[1] == 65)
		point = nh_slice_skip(point, 2);
	if (point.len != 65 || point.ptr[0] != 0x04 || nh_p256_public_check(point.ptr + 1) != NH_OK)
		return CKR_MECHANISM_PARAM_INVALID;
	memcpy(peer, point.ptr + 1, NH_P256_PUBLIC_LEN);
	return CKR_OK;
}

static CK_RV compute(struct session *s, struct secret *k, const uint8_t peer[NH_P256_PUBLIC_LEN])
{
	uint8_t shared[NH_P256_LEN];
	CK_RV rv = session_chip(s);
	if (rv != CKR_OK)
		return rv;
	rv = s->slot->secret_count >= SECRETS_MAX ? CKR_DEVICE_MEMORY : token_ecdh(s->slot, peer, shared);
	if (rv == CKR_OK) {
		/* the standard truncates at the leading end */
		memcpy(k->value, shared + sizeof shared - k->len, k->len);
		module_gate_close();
		k->handle = s->module->next_secret++;
		module_gate_open();
		k->owner = s->handle;
		k->next = s->slot->secrets;
		s->slot->secrets = k;
		s->slot->secret_count++;
	}
	session_chip_leave(s);
	explicit_bzero(shared, sizeof shared);
	return rv;
}

CK_RV derive_key(struct session *s, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base, const CK_ATTRIBUTE *attributes, CK_ULONG count, CK_OBJECT_HANDLE *out)
{
	uint8_t peer[NH_P256_PUBLIC_LEN];
	if (!mechanism || !out || (!attributes && count != 0))
		return CKR_ARGUMENTS_BAD;
	CK_RV rv = mechanism_check(mechanism, CKF_DERIVE);
	if (rv == CKR_OK)
		rv = read_peer(mechanism, peer);
	if (rv == CKR_OK)
		rv = key_check(s, base, OBJECT_PRIVATE_KEY, NULL);
	if (rv != CKR_OK)
		return rv;
	struct secret *k = calloc(1, sizeof *k);
	if (!k)
		return CKR_HOST_MEMORY;
	rv = read_template(k, attributes, count);
	if (rv == CKR_OK)
		rv = compute(s, k, peer);
	if (rv != CKR_OK) {
		free(k);
		return rv;
	}
	*out = k->handle;
	return CKR_OK;
}

CK_RV secret_attribute(const struct secret *k, CK_ATTRIBUTE_TYPE type, struct nh_buf *out)
{
	if (type == CKA_VALUE) {
		if ((k->flags & SENSITIVE) || !(k->flags & EXTRACTABLE))
			return CKR_ATTRIBUTE_SENSITIVE;
		nh_buf_put(out, k->value, k->len);
		return CKR_OK;
	}
	for (size_t i = 0; i < NH_ARRAY_LEN(booleans); i++)
		if (booleans[i].type == type) {
			nh_buf_put_u8(out, k->flags & booleans[i].flag ? CK_TRUE : CK_FALSE);
			return CKR_OK;
		}
	return CKR_ATTRIBUTE_TYPE_INVALID;
}

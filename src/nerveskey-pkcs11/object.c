/*
 * Objects: the key, its public half, the certificates the chip has, and derived secrets; found by template.
 *
 * A chip's object has a fixed handle: its slot's number and its kind. Which certificates are shown is the slot's pair= setting.
 */
#include "module.h"

#include <stdlib.h>

#define KIND_BITS 4u

static CK_OBJECT_HANDLE handle_of(const struct slot *slot, object_kind kind) { return (slot->set.id << KIND_BITS) | (CK_OBJECT_HANDLE)kind; }

static const struct {
	CK_OBJECT_CLASS class;
	nh_nerveskey_pair pair;
	bool signer;
} kinds[] = {
	[OBJECT_PRIVATE_KEY] = {CKO_PRIVATE_KEY, NH_NERVESKEY_PRIMARY, false},
	[OBJECT_PUBLIC_KEY] = {CKO_PUBLIC_KEY, NH_NERVESKEY_PRIMARY, false},
	[OBJECT_DEVICE_CERTIFICATE] = {CKO_CERTIFICATE, NH_NERVESKEY_PRIMARY, false},
	[OBJECT_SIGNER_CERTIFICATE] = {CKO_CERTIFICATE, NH_NERVESKEY_PRIMARY, true},
	[OBJECT_AUX_DEVICE_CERTIFICATE] = {CKO_CERTIFICATE, NH_NERVESKEY_AUX, false},
	[OBJECT_AUX_SIGNER_CERTIFICATE] = {CKO_CERTIFICATE, NH_NERVESKEY_AUX, true},
	[OBJECT_SECRET] = {CKO_SECRET_KEY, NH_NERVESKEY_PRIMARY, false},
};

CK_OBJECT_CLASS object_class(object_kind kind) { return kinds[kind].class; }

CK_RV object_certificate(const struct object *o, const struct certificate **out)
{
	*out = NULL;
	if (kinds[o->kind].class != CKO_CERTIFICATE)
		return CKR_OK;
	return token_certificate(o->slot, kinds[o->kind].pair, kinds[o->kind].signer, out);
}

static bool shown(const struct slot *slot, object_kind kind)
{
	if (kinds[kind].class != CKO_CERTIFICATE || slot->set.pair == PAIR_BOTH)
		return true;
	return (slot->set.pair == PAIR_AUX) == (kinds[kind].pair == NH_NERVESKEY_AUX);
}

CK_RV object_of(struct slot *slot, CK_OBJECT_HANDLE handle, struct object *out)
{
	*out = (struct object){.slot = slot};
	for (object_kind kind = OBJECT_PRIVATE_KEY; kind < OBJECT_SECRET; kind++)
		if (handle == handle_of(slot, kind) && shown(slot, kind)) {
			const struct certificate *c = NULL;
			out->kind = kind;
			CK_RV rv = object_certificate(out, &c);
			return rv != CKR_OK ? rv : kinds[kind].class == CKO_CERTIFICATE && !c ? CKR_OBJECT_HANDLE_INVALID : CKR_OK;
		}
	out->kind = OBJECT_SECRET;
	out->secret = secret_find(slot, handle);
	return out->secret ? CKR_OK : CKR_OBJECT_HANDLE_INVALID;
}

CK_RV key_check(struct session *s, CK_OBJECT_HANDLE handle, object_kind kind, uint8_t *public_key)
{
	struct object o;
	CK_RV rv = session_chip(s);
	if (rv != CKR_OK)
		return rv;
	rv = object_of(s->slot, handle, &o);
	if (rv == CKR_OBJECT_HANDLE_INVALID || (rv == CKR_OK && kinds[o.kind].class == CKO_CERTIFICATE))
		rv = CKR_KEY_HANDLE_INVALID;
	else if (rv == CKR_OK && o.kind != kind)
		rv = o.kind == OBJECT_SECRET ? CKR_KEY_TYPE_INCONSISTENT : CKR_KEY_FUNCTION_NOT_PERMITTED;
	if (rv == CKR_OK && public_key)
		memcpy(public_key, s->slot->info.public_key, NH_P256_PUBLIC_LEN);
	session_chip_leave(s);
	return rv;
}

/* Appends the object's handle where it matches. The class is looked at first: a certificate is read from the chip only for somebody who may want one. */
static CK_RV try_one(struct session *s, const struct object *o, CK_OBJECT_HANDLE handle, const CK_ATTRIBUTE *attributes, CK_ULONG count)
{
	bool match = false;
	const struct certificate *c = NULL;
	for (CK_ULONG i = 0; i < count; i++)
		if (attributes[i].type == CKA_CLASS) {
			CK_RV rv = attribute_match(o, &attributes[i], 1, &match);
			if (rv != CKR_OK || !match)
				return rv;
		}
	CK_RV rv = object_certificate(o, &c);
	if (rv == CKR_OK && (kinds[o->kind].class != CKO_CERTIFICATE || c))
		rv = attribute_match(o, attributes, count, &match);
	else
		match = false;
	if (rv == CKR_OK && match)
		s->found[s->found_count++] = handle;
	return rv;
}

static CK_RV search(struct session *s, const CK_ATTRIBUTE *attributes, CK_ULONG count)
{
	CK_RV rv = CKR_OK;
	for (object_kind kind = OBJECT_PRIVATE_KEY; rv == CKR_OK && kind < OBJECT_SECRET; kind++) {
		struct object o = {.slot = s->slot, .kind = kind};
		if (shown(s->slot, kind))
			rv = try_one(s, &o, handle_of(s->slot, kind), attributes, count);
	}
	for (const struct secret *k = s->slot->secrets; rv == CKR_OK && k; k = k->next) {
		struct object o = {.slot = s->slot, .kind = OBJECT_SECRET, .secret = k};
		rv = try_one(s, &o, k->handle, attributes, count);
	}
	return rv;
}

CK_RV find_begin(struct session *s, const CK_ATTRIBUTE *attributes, CK_ULONG count)
{
	if (s->finding)
		return CKR_OPERATION_ACTIVE;
	if (!attributes && count != 0)
		return CKR_ARGUMENTS_BAD;
	s->found = calloc(FIND_MAX, sizeof *s->found);
	if (!s->found)
		return CKR_HOST_MEMORY;
	s->found_count = s->found_next = 0;
	CK_RV rv = session_chip(s);
	if (rv == CKR_OK) {
		rv = search(s, attributes, count);
		session_chip_leave(s);
	}
	s->finding = rv == CKR_OK;
	if (!s->finding) {
		free(s->found);
		s->found = NULL;
	}
	return rv;
}

CK_RV find_next(struct session *s, CK_OBJECT_HANDLE *out, CK_ULONG max, CK_ULONG *count)
{
	if (!s->finding)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (!count || (!out && max != 0))
		return CKR_ARGUMENTS_BAD;
	for (*count = 0; *count < max && s->found_next < s->found_count;)
		out[(*count)++] = s->found[s->found_next++];
	return CKR_OK;
}

CK_RV find_end(struct session *s)
{
	if (!s->finding)
		return CKR_OPERATION_NOT_INITIALIZED;
	s->finding = false;
	free(s->found);
	s->found = NULL;
	return CKR_OK;
}

/* One attribute into the application's buffer. */
static CK_RV hand_over(const struct object *o, CK_ATTRIBUTE *a, struct nh_buf *value)
{
	CK_RV rv = attribute_get(o, a->type, value);
	if (rv != CKR_OK) {
		a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
		return rv;
	}
	CK_ULONG have = a->ulValueLen;
	a->ulValueLen = value->len;
	if (!a->pValue)
		return CKR_OK;
	if (have < value->len) {
		a->ulValueLen = CK_UNAVAILABLE_INFORMATION;
		return CKR_BUFFER_TOO_SMALL;
	}
	if (value->len != 0)
		memcpy(a->pValue, value->ptr, value->len);
	return CKR_OK;
}

/* Takes the slot; CKR_OK: the object is there, and session_chip_leave gives the slot back. */
static CK_RV take_object(struct session *s, CK_OBJECT_HANDLE handle, struct object *out)
{
	CK_RV rv = session_chip(s);
	if (rv != CKR_OK)
		return rv;
	rv = object_of(s->slot, handle, out);
	if (rv != CKR_OK)
		session_chip_leave(s);
	return rv;
}

CK_RV object_attributes(struct session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE *attributes, CK_ULONG count)
{
	struct object o;
	struct nh_buf value = NH_BUF_INIT;
	if (!attributes && count != 0)
		return CKR_ARGUMENTS_BAD;
	CK_RV rv = take_object(s, handle, &o);
	if (rv != CKR_OK)
		return rv;
	/* every attribute is answered, whatever the others were */
	for (CK_ULONG i = 0; i < count; i++) {
		CK_RV one = hand_over(&o, &attributes[i], &value);
		if (rv == CKR_OK)
			rv = one;
	}
	session_chip_leave(s);
	nh_buf_wipe(&value);
	return rv;
}

CK_RV object_size(struct session *s, CK_OBJECT_HANDLE handle, CK_ULONG *out)
{
	struct object o;
	if (!out)
		return CKR_ARGUMENTS_BAD;
	CK_RV rv = take_object(s, handle, &o);
	if (rv != CKR_OK)
		return rv;
	*out = CK_UNAVAILABLE_INFORMATION;
	session_chip_leave(s);
	return CKR_OK;
}

CK_RV object_create(struct session *s, const CK_ATTRIBUTE *attributes, CK_ULONG count, const CK_OBJECT_HANDLE *out)
{
	if (!out || (!attributes && count != 0))
		return CKR_ARGUMENTS_BAD;
	for (CK_ULONG i = 0; i < count; i++)
		if (attributes[i].type == CKA_TOKEN && attributes[i].ulValueLen == sizeof(CK_BBOOL) && attributes[i].pValue && *(const CK_BBOOL *)attributes[i].pValue)
			return s->flags & CKF_RW_SESSION ? CKR_TOKEN_WRITE_PROTECTED : CKR_SESSION_READ_ONLY;
	return CKR_FUNCTION_NOT_SUPPORTED;
}

CK_RV object_refuse(struct session *s, CK_OBJECT_HANDLE handle)
{
	struct object o;
	CK_RV rv = take_object(s, handle, &o);
	if (rv != CKR_OK)
		return rv;
	session_chip_leave(s);
	return CKR_ACTION_PROHIBITED;
}

CK_RV object_destroy(struct session *s, CK_OBJECT_HANDLE handle)
{
	struct object o;
	CK_RV rv = take_object(s, handle, &o);
	if (rv != CKR_OK)
		return rv;
	if (o.kind == OBJECT_SECRET)
		secret_drop(s->slot, 0, handle);
	else
		rv = CKR_ACTION_PROHIBITED;
	session_chip_leave(s);
	return rv;
}

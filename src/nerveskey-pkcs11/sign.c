/*
 * C_Sign and its kin: CKM_ECDSA and CKM_ECDSA_SHA256, at once or in parts. Every call ends the operation but asking for the length and a buffer that is too small.
 */
#include "module.h"

CK_RV sign_begin(struct session *s, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	bool active = s->sign.state != OPERATION_NONE;
	if (!mechanism) {
		s->sign.state = OPERATION_NONE;
		return active ? CKR_OK : CKR_ARGUMENTS_BAD;
	}
	if (active)
		return CKR_OPERATION_ACTIVE;
	CK_RV rv = mechanism_check(mechanism, CKF_SIGN);
	if (rv == CKR_OK)
		rv = key_check(s, key, OBJECT_PRIVATE_KEY, NULL);
	if (rv != CKR_OK)
		return rv;
	message_begin(&s->sign.message, mechanism->mechanism == CKM_ECDSA_SHA256);
	s->sign.state = OPERATION_BEGUN;
	return CKR_OK;
}

static CK_RV fail(struct session *s, CK_RV rv)
{
	s->sign.state = OPERATION_NONE;
	return rv;
}

static CK_RV finish(struct session *s, uint8_t *signature)
{
	uint8_t digest[32], made[NH_P256_SIGNATURE_LEN];
	if (!s->sign.message.hashed && s->sign.message.len == 0)
		return fail(s, CKR_DATA_LEN_RANGE);
	message_end(&s->sign.message, digest);
	CK_RV rv = session_chip(s);
	if (rv == CKR_OK) {
		rv = token_sign(s->slot, digest, made);
		session_chip_leave(s);
	}
	if (rv == CKR_OK)
		memcpy(signature, made, sizeof made);
	return fail(s, rv);
}

/* CKR_OK with *only_length: the caller asked how long it will be. */
static CK_RV room(const uint8_t *signature, CK_ULONG *signature_len, bool *only_length)
{
	CK_ULONG have = *signature_len;
	*signature_len = NH_P256_SIGNATURE_LEN;
	*only_length = !signature;
	return signature && have < NH_P256_SIGNATURE_LEN ? CKR_BUFFER_TOO_SMALL : CKR_OK;
}

CK_RV sign_once(struct session *s, const uint8_t *data, CK_ULONG len, uint8_t *signature, CK_ULONG *signature_len)
{
	bool only_length = false;
	if (s->sign.state == OPERATION_NONE)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (s->sign.state == OPERATION_PARTS)
		return fail(s, CKR_OPERATION_ACTIVE);
	if (!signature_len || (!data && len != 0))
		return fail(s, CKR_ARGUMENTS_BAD);
	CK_RV rv = room(signature, signature_len, &only_length);
	if (rv != CKR_OK || only_length)
		return rv;
	message_add(&s->sign.message, nh_slice_of(data, len));
	return finish(s, signature);
}

CK_RV sign_more(struct session *s, const uint8_t *data, CK_ULONG len)
{
	if (s->sign.state == OPERATION_NONE)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (!data && len != 0)
		return fail(s, CKR_ARGUMENTS_BAD);
	message_add(&s->sign.message, nh_slice_of(data, len));
	s->sign.state = OPERATION_PARTS;
	return CKR_OK;
}

CK_RV sign_end(struct session *s, uint8_t *signature, CK_ULONG *signature_len)
{
	bool only_length = false;
	if (s->sign.state == OPERATION_NONE)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (!signature_len)
		return fail(s, CKR_ARGUMENTS_BAD);
	CK_RV rv = room(signature, signature_len, &only_length);
	return rv != CKR_OK || only_length ? rv : finish(s, signature);
}

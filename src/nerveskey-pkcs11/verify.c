/*
 * C_Verify and its kin, in software: the public key is known, and the chip has better things to do.
 */
#include "module.h"

CK_RV verify_begin(struct session *s, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	bool active = s->verify.state != OPERATION_NONE;
	if (!mechanism) {
		s->verify.state = OPERATION_NONE;
		return active ? CKR_OK : CKR_ARGUMENTS_BAD;
	}
	if (active)
		return CKR_OPERATION_ACTIVE;
	CK_RV rv = mechanism_check(mechanism, CKF_VERIFY);
	if (rv == CKR_OK)
		rv = key_check(s, key, OBJECT_PUBLIC_KEY, s->verify.public_key);
	if (rv != CKR_OK)
		return rv;
	message_begin(&s->verify.message, mechanism->mechanism == CKM_ECDSA_SHA256);
	s->verify.state = OPERATION_BEGUN;
	return CKR_OK;
}

static CK_RV end(struct session *s, CK_RV rv)
{
	s->verify.state = OPERATION_NONE;
	return rv;
}

static CK_RV finish(struct session *s, const uint8_t *signature, CK_ULONG signature_len)
{
	uint8_t digest[32];
	if (!signature)
		return end(s, CKR_ARGUMENTS_BAD);
	if (signature_len != NH_P256_SIGNATURE_LEN)
		return end(s, CKR_SIGNATURE_LEN_RANGE);
	if (!s->verify.message.hashed && s->verify.message.len == 0)
		return end(s, CKR_DATA_LEN_RANGE);
	message_end(&s->verify.message, digest);
	return end(s, nh_p256_verify(s->verify.public_key, nh_slice_of(digest, sizeof digest), signature) == NH_OK ? CKR_OK : CKR_SIGNATURE_INVALID);
}

CK_RV verify_once(struct session *s, const uint8_t *data, CK_ULONG len, const uint8_t *signature, CK_ULONG signature_len)
{
	if (s->verify.state == OPERATION_NONE)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (s->verify.state == OPERATION_PARTS)
		return end(s, CKR_OPERATION_ACTIVE);
	if (!data && len != 0)
		return end(s, CKR_ARGUMENTS_BAD);
	message_add(&s->verify.message, nh_slice_of(data, len));
	return finish(s, signature, signature_len);
}

CK_RV verify_more(struct session *s, const uint8_t *data, CK_ULONG len)
{
	if (s->verify.state == OPERATION_NONE)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (!data && len != 0)
		return end(s, CKR_ARGUMENTS_BAD);
	message_add(&s->verify.message, nh_slice_of(data, len));
	s->verify.state = OPERATION_PARTS;
	return CKR_OK;
}

CK_RV verify_end(struct session *s, const uint8_t *signature, CK_ULONG signature_len)
{
	return s->verify.state == OPERATION_NONE ? CKR_OPERATION_NOT_INITIALIZED : finish(s, signature, signature_len);
}

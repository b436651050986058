/*
 * C_Digest and its kin: SHA-256 in software.
 */
#include "module.h"

CK_RV digest_begin(struct session *s, const CK_MECHANISM *mechanism)
{
	bool active = s->digest.state != OPERATION_NONE;
	if (!mechanism) {
		s->digest.state = OPERATION_NONE;
		return active ? CKR_OK : CKR_ARGUMENTS_BAD;
	}
	if (active)
		return CKR_OPERATION_ACTIVE;
	CK_RV rv = mechanism_check(mechanism, CKF_DIGEST);
	if (rv != CKR_OK)
		return rv;
	message_begin(&s->digest.message, true);
	s->digest.state = OPERATION_BEGUN;
	return CKR_OK;
}

static CK_RV end(struct session *s, CK_RV rv)
{
	s->digest.state = OPERATION_NONE;
	return rv;
}

/* *done: there is nothing more to do but to return. */
static CK_RV room(const uint8_t *digest, CK_ULONG *digest_len, bool *done)
{
	CK_ULONG have = *digest_len;
	*digest_len = SHA256_DIGEST_SIZE;
	*done = !digest || have < SHA256_DIGEST_SIZE;
	return digest && *done ? CKR_BUFFER_TOO_SMALL : CKR_OK;
}

CK_RV digest_once(struct session *s, const uint8_t *data, CK_ULONG len, uint8_t *digest, CK_ULONG *digest_len)
{
	bool done = false;
	if (s->digest.state == OPERATION_NONE)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (s->digest.state == OPERATION_PARTS)
		return end(s, CKR_OPERATION_ACTIVE);
	if (!digest_len || (!data && len != 0))
		return end(s, CKR_ARGUMENTS_BAD);
	CK_RV rv = room(digest, digest_len, &done);
	if (done)
		return rv;
	message_add(&s->digest.message, nh_slice_of(data, len));
	message_end(&s->digest.message, digest);
	return end(s, CKR_OK);
}

CK_RV digest_more(struct session *s, const uint8_t *data, CK_ULONG len)
{
	if (s->digest.state == OPERATION_NONE)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (!data && len != 0)
		return end(s, CKR_ARGUMENTS_BAD);
	message_add(&s->digest.message, nh_slice_of(data, len));
	s->digest.state = OPERATION_PARTS;
	return CKR_OK;
}

CK_RV digest_key(struct session *s, CK_OBJECT_HANDLE key)
{
	struct object o;
	if (s->digest.state == OPERATION_NONE)
		return CKR_OPERATION_NOT_INITIALIZED;
	CK_RV rv = lock_take(&s->slot->lock);
	if (rv != CKR_OK)
		return end(s, rv);
	rv = object_of(s->slot, key, &o);
	if (rv != CKR_OK)
		rv = CKR_KEY_HANDLE_INVALID;
	else if (o.kind != OBJECT_SECRET)
		rv = CKR_KEY_INDIGESTIBLE;
	else
		message_add(&s->digest.message, nh_slice_of(o.secret->value, o.secret->len));
	lock_give(&s->slot->lock);
	if (rv != CKR_OK)
		return end(s, rv);
	s->digest.state = OPERATION_PARTS;
	return CKR_OK;
}

CK_RV digest_end(struct session *s, uint8_t *digest, CK_ULONG *digest_len)
{
	bool done = false;
	if (s->digest.state == OPERATION_NONE)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (!digest_len)
		return end(s, CKR_ARGUMENTS_BAD);
	CK_RV rv = room(digest, digest_len, &done);
	if (done)
		return rv;
	message_end(&s->digest.message, digest);
	return end(s, CKR_OK);
}

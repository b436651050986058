/*
 * Random bytes from the chip. Slow: 32 bytes a command.
 */
#include "module.h"

CK_RV random_generate(struct session *s, uint8_t *out, CK_ULONG len)
{
	if ((!out && len != 0) || len > RANDOM_MAX)
		return CKR_ARGUMENTS_BAD;
	if (len == 0)
		return CKR_OK;
	CK_RV rv = session_chip(s);
	if (rv != CKR_OK)
		return rv;
	rv = token_random(s->slot, out, len);
	session_chip_leave(s);
	return rv;
}

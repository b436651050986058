/*
 * The one-time initialisation of libsodium, the self-wiping secret, and overwriting.
 */
#include "sodium_int.h"

#include <sodium.h>
#include <stdlib.h>

#include "base/arena.h"
#include "crypto/secret.h"

void nh_sodium_ready(void)
{
	/* Thread-safe and cheap after the first call; fails only where the kernel has no random source. */
	NH_ASSERT(sodium_init() >= 0);
}

void nh_wipe(void *ptr, size_t len)
{
	if (len)
		sodium_memzero(ptr, len);
}

void nh_secret_init(struct nh_secret *s, nh_slice bytes)
{
	*s = (struct nh_secret){.ptr = (uint8_t *)nh_xstrdup(bytes), .len = bytes.len};
}

void nh_secret_take(struct nh_secret *s, struct nh_buf *take)
{
	nh_secret_init(s, nh_buf_slice(take));
	nh_buf_wipe(take);
}

void nh_secret_fini(struct nh_secret *s)
{
	if (s->ptr)
		nh_wipe(s->ptr, s->len);
	free(s->ptr);
	*s = NH_SECRET_INIT;
}

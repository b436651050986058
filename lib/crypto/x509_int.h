/*
 * What the certificate files share: library objects from our own. Private to crypto.
 */
#pragma once

#include <gnutls/abstract.h>
#include <gnutls/x509.h>

#include "base/arena.h"
#include "crypto/pki.h"

static inline gnutls_datum_t nh_datum(nh_slice s)
{
	/* The library only reads from input datums. */
	return (gnutls_datum_t){.data = (unsigned char *)(uintptr_t)s.ptr, .size = (unsigned)s.len};
}

/* First value of the attribute in the subject Name (RFC 4519 OID), copied to the arena; empty if there is none. */
nh_slice nh_dn_first(struct nh_arena *arena, nh_slice name_der, const char *oid);
/* SHA-1 of the public key BIT STRING's content (RFC 5280 4.2.1.2 method 1). false: not an SPKI. */
bool nh_spki_key_id(nh_slice spki_der, uint8_t out[20]);

/* What signs with the key, borrowed; the digest that goes with it. */
gnutls_privkey_t nh_key_handle(const struct nh_key *k);
gnutls_digest_algorithm_t nh_key_digest(const struct nh_key *k);

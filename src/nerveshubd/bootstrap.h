/*
 * First start on an empty data directory: makes the directory, the signing secret, the node's name, the development CA and the certificate of the device port.
 * Everything is made once and read afterwards; nothing existing is ever replaced. thread: main, before anything else starts.
 *
 * source: design/architecture "7. Endpoints"
 */
#pragma once

#include "base/buf.h"
#include "crypto/pki.h"
#include "settings.h"

struct identity {
	struct nh_buf secret;        /* at least 32 bytes; wiped by identity_fini */
	struct nh_buf node;          /* names this data directory's server in a database that several share */
	struct nh_buf device_cert;   /* PEM chain of the device port */
	struct nh_buf device_key;    /* PEM; wiped */
	bool development;            /* the certificate is the development CA's */
};

/* bootstrap - NH_EPERM, NH_EIO, NH_ENOSPC with the path and what to do; NH_EFORMAT: a file that is there does not hold what it should. */
nh_rc bootstrap(const struct settings *s, struct identity *out, struct nh_err *err);
void identity_fini(struct identity *id);

/* certificate_at - the PEM certificate at path, issued first where there is none. issuer NULL: self-signed. NH_EFORMAT with the path, NH_EIO. *out: nh_cert_free. */
nh_rc certificate_at(const char *path, const struct nh_cert_profile *profile, const struct nh_key *key, const struct nh_cert *issuer, const struct nh_key *issuer_key,
		     struct nh_cert **out, struct nh_err *err);

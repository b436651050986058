/*
 * First start on an empty data directory: makes the directory, the signing secret, the node's name, the development CA and the certificate of the device port.
 * Everything is made once and read afterwards; nothing existing is ever replaced. thread: main, before anything else starts.
 *
 * source: design/architecture "7. Endpoints"
 */
#pragma once

#include "base/buf.h"
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

/*
 * What the files of OpenID Connect share. oidc_issuer.c: what an issuer publishes, fetched and kept. oidc.c: an attempt from its begin to its end.
 */
#pragma once

#include <pthread.h>

#include "http_int.h"
#include "jwt_int.h"
#include "outbound/oidc.h"

#define DOCUMENT_MAX ((size_t)64 << 10) /* bytes of a discovery document, of a token answer, of facts about a person */

#define METADATA_AGE_US (24 * 3600 * NH_US_PER_S)
#define KEYS_AGE_US (3600 * NH_US_PER_S)  /* a key that the issuer took back is worth nothing after so long */
#define UNKNOWN_KEY_US (60 * NH_US_PER_S) /* how often a token with an unknown key may have the keys fetched again */

/* What the discovery document says. Immutable, but for refs. */
struct metadata {
	unsigned refs; /* atomic */
	int64_t fetched_us;
	char *authorization, *token, *keys; /* URLs, never empty */
	char *userinfo;                     /* empty: none */
	bool secret_in_body;                /* client_secret_post; otherwise HTTP Basic */
	bool names_itself;                  /* answers bear "iss" always */
};

struct nh_oidc {
	struct nh_oidc_config config; /* its strings are ours */
	bool plain;                   /* the issuer is reached by http, on this machine */
	int calls;                    /* atomic: under way */
	pthread_mutex_t lock;         /* of what follows; never held during a call */
	struct metadata *metadata;
	struct jwks *keys;
	int64_t keys_fetched_us, unknown_key_us;
};

/* One call at a time counted, so that an issuer that hangs holds few workers. NH_EAGAIN. `json`: the answer must be 200 and a JSON object, returned in *out. */
nh_rc oidc_call(struct nh_oidc *oidc, struct http_call *call, struct nh_err *err);
/* The answer as an object, a new reference. NH_EFORMAT; NH_EIO for 5xx. */
nh_rc oidc_object(const struct http_call *call, const char *what, json_t **out, struct nh_err *err);

nh_rc oidc_metadata(struct nh_oidc *oidc, struct metadata **out, struct nh_err *err); /* a reference */
void oidc_metadata_unref(struct metadata *m); /* NULL legal */
/* The issuer's keys, a reference. again: one was unknown; NH_ENOTFOUND where they were fetched for that reason less than UNKNOWN_KEY_US ago. */
nh_rc oidc_keys(struct nh_oidc *oidc, const struct metadata *m, bool again, struct jwks **out, struct nh_err *err);

bool oidc_url_ok(const struct nh_oidc *oidc, nh_slice url); /* https, or http on this machine where the issuer is so; a host, no user, no fragment */
nh_slice oidc_url_host(nh_slice url);                       /* with its port */

static inline void oidc_metadata_unrefp(struct metadata **m) { oidc_metadata_unref(*m); }
#define AUTO_METADATA __attribute__((cleanup(oidc_metadata_unrefp)))
static inline void jwks_unrefp(struct jwks **set) { jwks_unref(*set); }
#define AUTO_JWKS __attribute__((cleanup(jwks_unrefp)))

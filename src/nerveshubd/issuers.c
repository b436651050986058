/*
 * Issuers of OpenID Connect by the settings: Google under upstream's names, and one that may be any.
 */
#include "hubd.h"

#include "outbound/oidc.h"

static nh_rc add(struct hubd *h, const struct nh_oidc_config *config, struct nh_err *err)
{
	NH_ASSERT(h->issuer_count < NH_ARRAY_LEN(h->issuers));
	NH_TRY(nh_oidc_new(config, &h->issuers[h->issuer_count], err));
	h->issuer_count++;
	return NH_OK;
}

nh_rc issuers_open(struct hubd *h, struct nh_err *err)
{
	const struct settings *s = h->settings;
	const struct nh_oidc_config google = {.key = "google", .name = "Google", .issuer = "https://accounts.google.com", .client_id = s->google_client_id, .client_secret = s->google_client_secret,
	                                      .scopes = "openid email profile", .clock = &nh_clock_system};
	const struct nh_oidc_config other = {.key = "oidc", .name = s->oidc_name, .issuer = s->oidc_issuer, .client_id = s->oidc_client_id, .client_secret = s->oidc_client_secret,
	                                     .scopes = s->oidc_scopes, .ca_file = s->oidc_ca_file, .clock = &nh_clock_system};
	if (*s->oidc_issuer)
		NH_TRY_CTX(add(h, &other, err), err, "OIDC_ISSUER");
	if (*s->google_client_id)
		NH_TRY_CTX(add(h, &google, err), err, "GOOGLE_CLIENT_ID");
	return NH_OK;
}

void issuers_close(struct hubd *h)
{
	for (size_t i = 0; i < h->issuer_count; i++)
		nh_oidc_free(h->issuers[i]);
}

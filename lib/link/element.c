/*
 * The identity of a device whose key is locked in a NervesKey: the chip's certificates, rebuilt and verified, become the client certificate, and the chip signs each handshake. Both take long (a
 * few dozen transfers, a computation of up to a second) and run on the pool, one after the other. A key in a PKCS#11 token is used in the same way.
 *
 * The signer's certificate goes out behind the device's: a server that knows only the signer needs both at first contact. source: reference/nerveskey "11", "17"
 */
#include "base/pem.h"
#include "link_int.h"

static nh_rc sign(void *ctx, const uint8_t digest[32], uint8_t signature[64], struct nh_err *err)
{
	struct nh_link *l = ctx;
	return nh_nerveskey_sign(l->element, digest, signature, err);
}

/* The TLS library talks to the token itself, and finds its module through p11-kit. */
static nh_rc load_token(struct nh_link *l, struct nh_err *err)
{
	struct nh_tls_client_config tls = {.ca_later = true, .cert_pem = l->config.cert_pem, .key_url = l->config.pkcs11};
	return nh_tls_client_new(&tls, &l->tls, err);
}

static nh_rc load_nerveskey(struct nh_link *l, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf device = NH_BUF_INIT, signer = NH_BUF_INIT, chain = NH_BUF_INIT;
	nh_nerveskey_pair pair = l->config.nerveskey_aux ? NH_NERVESKEY_AUX : NH_NERVESKEY_PRIMARY;
	if (!l->element)
		NH_TRY(nh_nerveskey_open(l->config.nerveskey, &l->element, err));
	NH_TRY(nh_nerveskey_device_certificate(l->element, pair, &device, err));
	NH_TRY(nh_nerveskey_signer_certificate(l->element, pair, &signer, err));
	nh_pem_put(&chain, "CERTIFICATE", nh_buf_slice(&device));
	nh_pem_put(&chain, "CERTIFICATE", nh_buf_slice(&signer));
	struct nh_tls_client_config tls = {.ca_later = true, .cert_pem = nh_buf_slice(&chain), .sign = sign, .sign_ctx = l};
	return nh_tls_client_new(&tls, &l->tls, err);
}

bool element_has(const struct nh_link *l) { return l->config.nerveskey || l->config.pkcs11; }

void element_forget(struct nh_link *l)
{
	if (!element_has(l) || link_job_busy(l, &l->prepare_job))
		return;
	nh_tls_unref(l->tls);
	l->tls = NULL;
	l->trusts = false;
}

nh_rc element_load(struct nh_link *l, struct nh_err *err) { return l->config.pkcs11 ? load_token(l, err) : load_nerveskey(l, err); }

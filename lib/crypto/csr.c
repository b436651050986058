/*
 * PKCS#10 requests: built without requested extensions, parsed with their own signature checked. What a request asks for beyond subject and key is
 * not read: the issuer's profile decides.
 *
 * source: reference/user-api-and-cli "17.2" "17.6"
 */
#include <stdlib.h>

#include "base/der.h"
#include "base/pem.h"
#include "crypto/pki.h"
#include "x509_int.h"

static int set_part(gnutls_x509_crq_t crq, const char *oid, nh_slice value)
{
	return value.len ? gnutls_x509_crq_set_dn_by_oid(crq, oid, 0, value.ptr, (unsigned)value.len) : 0;
}

nh_rc nh_csr_build(struct nh_buf *out_pem, nh_slice organization, nh_slice common_name, const struct nh_key *key, struct nh_err *err)
{
	if (organization.len == 0 && common_name.len == 0)
		return NH_FAIL(err, NH_EINVAL, "a certificate request needs a common name or an organization");
	struct nh_buf key_der = NH_BUF_INIT;
	NH_TRY(nh_key_put_der(&key_der, key, err));
	gnutls_x509_crq_t crq = NULL;
	gnutls_x509_privkey_t x509 = NULL;
	gnutls_privkey_t priv = NULL;
	gnutls_datum_t der = nh_datum(nh_buf_slice(&key_der)), pem = {0};
	int rc = gnutls_x509_privkey_init(&x509);
	rc = rc ? rc : gnutls_x509_privkey_import2(x509, &der, GNUTLS_X509_FMT_DER, NULL, GNUTLS_PKCS_PLAIN);
	rc = rc ? rc : gnutls_privkey_init(&priv);
	rc = rc ? rc : gnutls_privkey_import_x509(priv, x509, 0);
	rc = rc ? rc : gnutls_x509_crq_init(&crq);
	rc = rc ? rc : gnutls_x509_crq_set_version(crq, 1);
	rc = rc ? rc : set_part(crq, GNUTLS_OID_X520_ORGANIZATION_NAME, organization);
	rc = rc ? rc : set_part(crq, GNUTLS_OID_X520_COMMON_NAME, common_name);
	rc = rc ? rc : gnutls_x509_crq_set_key(crq, x509);
	gnutls_digest_algorithm_t digest = !rc && gnutls_x509_privkey_get_pk_algorithm(x509) == GNUTLS_PK_EDDSA_ED25519 ? GNUTLS_DIG_SHA512
														       : GNUTLS_DIG_SHA256;
	rc = rc ? rc : gnutls_x509_crq_privkey_sign(crq, priv, digest, 0);
	rc = rc ? rc : gnutls_x509_crq_export2(crq, GNUTLS_X509_FMT_DER, &pem);
	if (rc == 0) {
		nh_pem_put(out_pem, "CERTIFICATE REQUEST", nh_slice_of(pem.data, pem.size));
		gnutls_free(pem.data);
	}
	if (crq)
		gnutls_x509_crq_deinit(crq);
	if (priv)
		gnutls_privkey_deinit(priv);
	if (x509)
		gnutls_x509_privkey_deinit(x509);
	nh_buf_wipe(&key_der);
	return rc ? NH_FAIL(err, NH_EINTERNAL, "cannot build a certificate request: %s", gnutls_strerror(rc)) : nh_buf_check(out_pem, "request", err);
}

struct parsed {
	struct nh_csr csr; /* first: the public pointer is this one */
	struct nh_arena arena;
};

static nh_rc read_request(struct parsed *p, nh_slice der, struct nh_err *err)
{
	gnutls_x509_crq_t crq = NULL;
	gnutls_datum_t d = nh_datum(der);
	nh_rc rc = NH_OK;
	if (gnutls_x509_crq_init(&crq) != 0)
		return NH_FAIL(err, NH_ENOMEM, "out of memory");
	if (gnutls_x509_crq_import(crq, &d, GNUTLS_X509_FMT_DER) != 0)
		rc = NH_FAIL(err, NH_EFORMAT, "not a certificate request");
	else if (gnutls_x509_crq_verify(crq, 0) < 0)
		rc = NH_FAIL(err, NH_EAUTH, "the certificate request's own signature does not verify");
	gnutls_x509_crq_deinit(crq);
	NH_TRY(rc);
	/* CertificationRequestInfo: version, subject, subjectPublicKeyInfo, attributes (RFC 2986 4.1). */
	struct nh_rd whole = nh_rd_of(der);
	struct nh_rd request = nh_rd_of(nh_der_expect(&whole, NH_DER_SEQUENCE).content);
	struct nh_rd info = nh_rd_of(nh_der_expect(&request, NH_DER_SEQUENCE).content);
	(void)nh_der_expect(&info, NH_DER_INTEGER);
	nh_slice subject = nh_der_expect(&info, NH_DER_SEQUENCE).whole;
	nh_slice spki = nh_der_expect(&info, NH_DER_SEQUENCE).whole;
	if (!nh_rd_ok(&info))
		return NH_FAIL(err, NH_EFORMAT, "not a certificate request");
	p->csr.common_name = nh_dn_first(&p->arena, subject, GNUTLS_OID_X520_COMMON_NAME);
	p->csr.organization = nh_dn_first(&p->arena, subject, GNUTLS_OID_X520_ORGANIZATION_NAME);
	p->csr.spki_der = nh_arena_copy(&p->arena, spki);
	return NH_OK;
}

nh_rc nh_csr_parse_pem(nh_slice pem, struct nh_csr **out, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	nh_slice label, rest;
	*out = NULL;
	nh_rc rc = nh_pem_find(pem, &label, &der, &rest);
	if (rc == NH_ETOOBIG || der.len > NH_CERT_DER_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "certificate request is over the limit of %zu bytes", NH_CERT_DER_MAX);
	if (rc != NH_OK)
		return NH_FAIL(err, NH_EFORMAT, "no PEM certificate request found");
	if (!nh_slice_eq_str(label, "CERTIFICATE REQUEST") && !nh_slice_eq_str(label, "NEW CERTIFICATE REQUEST"))
		return NH_FAIL(err, NH_EFORMAT, "expected a CERTIFICATE REQUEST PEM block, found \"%.*s\"", NH_ARG(label));
	struct parsed *p = nh_xcalloc(1, sizeof *p);
	rc = read_request(p, nh_buf_slice(&der), err);
	if (rc == NH_OK)
		*out = &p->csr;
	else
		nh_csr_free(&p->csr);
	return rc;
}

void nh_csr_free(struct nh_csr *r)
{
	if (!r)
		return;
	struct parsed *p = (struct parsed *)r;
	nh_arena_fini(&p->arena);
	free(p);
}

/*
 * PKCS#10 requests: built without requested extensions, parsed with their own signature checked. What a request asks for beyond subject and key is
 * not read: the issuer's profile decides.
 *
 * source: reference/user-api-and-cli "17.2" "17.6"
 */
#include <limits.h>
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
	gnutls_x509_crq_t crq = NULL;
	gnutls_pubkey_t pub = NULL;
	gnutls_datum_t pem = {0};
	int rc = gnutls_pubkey_init(&pub);
	rc = rc ? rc : gnutls_pubkey_import_privkey(pub, nh_key_handle(key), 0, 0);
	rc = rc ? rc : gnutls_x509_crq_init(&crq);
	rc = rc ? rc : gnutls_x509_crq_set_version(crq, 1);
	rc = rc ? rc : set_part(crq, GNUTLS_OID_X520_ORGANIZATION_NAME, organization);
	rc = rc ? rc : set_part(crq, GNUTLS_OID_X520_COMMON_NAME, common_name);
	rc = rc ? rc : gnutls_x509_crq_set_pubkey(crq, pub);
	rc = rc ? rc : gnutls_x509_crq_privkey_sign(crq, nh_key_handle(key), nh_key_digest(key), 0);
	rc = rc ? rc : gnutls_x509_crq_export2(crq, GNUTLS_X509_FMT_DER, &pem);
	if (rc == 0) {
		nh_pem_put(out_pem, "CERTIFICATE REQUEST", nh_slice_of(pem.data, pem.size));
		gnutls_free(pem.data);
	}
	if (crq)
		gnutls_x509_crq_deinit(crq);
	if (pub)
		gnutls_pubkey_deinit(pub);
	return rc ? NH_FAIL(err, NH_EINTERNAL, "cannot build a certificate request: %s", gnutls_strerror(rc)) : nh_buf_check(out_pem, "request", err);
}

struct parsed {
	struct nh_csr csr; /* first: the public pointer is this one */
	struct nh_arena arena;
};

/* What may be certified: keys that nobody can guess, of kinds that every reader of certificates knows. */
static nh_rc judge_key(struct nh_csr *csr, struct nh_err *err)
{
	static const struct {
		int algorithm;
		unsigned min_bits, max_bits;
	} kinds[] = {{GNUTLS_PK_ECDSA, 256, 528 /* P-521, in whole bytes */}, {GNUTLS_PK_RSA, 2048, 8192}, {GNUTLS_PK_EDDSA_ED25519, 0, UINT_MAX}};
	gnutls_pubkey_t key = NULL;
	gnutls_datum_t spki = nh_datum(csr->spki_der);
	unsigned bits = 0;
	int algorithm = GNUTLS_PK_UNKNOWN;
	if (gnutls_pubkey_init(&key) != 0)
		return NH_FAIL(err, NH_ENOMEM, "out of memory");
	if (gnutls_pubkey_import(key, &spki, GNUTLS_X509_FMT_DER) == 0)
		algorithm = gnutls_pubkey_get_pk_algorithm(key, &bits);
	gnutls_pubkey_deinit(key);
	for (size_t i = 0; i < NH_ARRAY_LEN(kinds); i++)
		csr->strong |= algorithm == kinds[i].algorithm && bits >= kinds[i].min_bits && bits <= kinds[i].max_bits;
	const char *name = gnutls_pk_algorithm_get_name((gnutls_pk_algorithm_t)algorithm);
	csr->key_kind = name ? name : "unknown";
	csr->key_bits = bits;
	return NH_OK;
}

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
	return judge_key(&p->csr, err);
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

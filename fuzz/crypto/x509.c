/* Bytes as DER certificate, PEM certificates, PEM request, PEM key: every door that takes certificates from outside. */
#include "base/buf.h"
#include "crypto/pki.h"

static volatile uint64_t sum;

static void look(nh_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		sum += s.ptr[i];
}

static void facts(const struct nh_cert *c)
{
	look(c->serial_decimal);
	look(c->subject);
	look(c->issuer);
	look(c->common_name);
	look(c->organization);
	look(c->ski);
	look(c->aki);
	look(c->spki_der);
	for (size_t i = 0; i < c->san_count; i++)
		look(c->sans[i].value);
	sum += nh_cert_signed_by(c, c, NULL) == NH_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	nh_slice all = nh_slice_of(data, size);
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	struct nh_cert *chain[NH_CERT_CHAIN_MAX];
	size_t count = 0;
	struct nh_csr *csr = NULL;
	NH_AUTO_KEY struct nh_key *key = NULL;
	if (nh_cert_parse_der(all, &cert, NULL) == NH_OK)
		facts(cert);
	if (nh_cert_parse_pem_chain(all, chain, &count, NULL) == NH_OK)
		for (size_t i = 0; i < count; i++) {
			facts(chain[i]);
			nh_cert_free(chain[i]);
		}
	if (nh_csr_parse_pem(all, &csr, NULL) == NH_OK)
		look(csr->common_name);
	nh_csr_free(csr);
	NH_IGNORE(nh_key_parse_pem(all, &key, NULL)); /* looked at for memory errors only */
	return 0;
}

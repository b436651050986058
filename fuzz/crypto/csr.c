/* Bytes as a DER certificate request and as its PEM: what strangers hand to the certificate authority. What is taken has a key that the library can certify, or is told to be weak. */
#include "base/pem.h"
#include "crypto/pki.h"

static volatile uint64_t sum;

static void look(nh_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		sum += s.ptr[i];
}

static void read_request(nh_slice pem)
{
	struct nh_csr *csr = NULL;
	if (nh_csr_parse_pem(pem, &csr, NULL) == NH_OK) {
		look(csr->common_name);
		look(csr->organization);
		look(csr->spki_der);
		sum += csr->key_bits;
	}
	nh_csr_free(csr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	NH_AUTO_BUF struct nh_buf pem = NH_BUF_INIT;
	read_request(nh_slice_of(data, size));
	nh_pem_put(&pem, "CERTIFICATE REQUEST", nh_slice_of(data, size));
	read_request(nh_buf_slice(&pem));
	return 0;
}

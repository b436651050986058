/*
 * Client certificates from the wire to the verdict, on a database with two device CAs: one makes devices just in time, one does not and insists on its
 * dates. The first byte chooses: the rest is a whole certificate (0), or the part to be signed (tbsCertificate), signed here by the first (1) or second
 * (2) CA or by a stranger (3), so that what only a CA can say gets past the signature.
 *
 * A certificate is never an error of ours. What is accepted was pinned, or signed by a registered CA; who is accepted once is the same device the
 * next time; who is refused stays refused.
 */
#include <gnutls/abstract.h>

#include "fuzz.h"

#include "fuzz_db.h"
#include "hub/certificates.h"

/* Three keys for this purpose only. */
static const char *const ca_keys[] = {
	"-----BEGIN EC PRIVATE KEY-----\n"
	"MHcCAQEEIImGxWIeutQp6YCSMPFUQi0R3N/SZjIcCmDMuXsEJBuqoAoGCCqGSM49\n"
	"AwEHoUQDQgAEnin8Y9wkUF00gu3/fqySNrF++o5Ke1bSFl0+f/dvf0rl21A6FL2R\n"
	"PlNiLgh+6gOeaA2D566gzBO8v0eWRLvHEw==\n"
	"-----END EC PRIVATE KEY-----\n",
	"-----BEGIN EC PRIVATE KEY-----\n"
	"MHcCAQEEIE/jkAyk90xPLSsSKkk9mVYHimm4O+FQO30U7qUKFteHoAoGCCqGSM49\n"
	"AwEHoUQDQgAEEJUl2gBQ2ZPzymPceQmjzDUcT4+EtQ3vPVJtRE1vJe83xEnGS8q1\n"
	"US7TM9hKcnPCDiapB2sh4AHqq2+ZpPPqcg==\n"
	"-----END EC PRIVATE KEY-----\n",
	"-----BEGIN EC PRIVATE KEY-----\n"
	"MHcCAQEEIC08yEOX1LuDAx1a0RAlwn+IoLP+0tRhjo/VEoL3NeyIoAoGCCqGSM49\n"
	"AwEHoUQDQgAEzE6/NApJUQbg8ekaMd6P5NcXTkwn0NC66IfZUdetMSJPp6uYi4y9\n"
	"QLq8ybHYAWPAdNM5ocz7/R8CmrSi5iXDBw==\n"
	"-----END EC PRIVATE KEY-----\n",
};
#define CAS 2u /* registered; the third is the stranger, whose key is also that of the pinned certificate */

static struct world world;
static struct pair cas[NH_ARRAY_LEN(ca_keys)];
static gnutls_privkey_t signers[NH_ARRAY_LEN(ca_keys)];

/* ---- the world ----------------------------------------------------------------------------------------------------------- */

static void load_signer(size_t i)
{
	gnutls_x509_privkey_t key;
	gnutls_datum_t pem = {(unsigned char *)(uintptr_t)ca_keys[i], (unsigned)strlen(ca_keys[i])};
	bool ok = gnutls_x509_privkey_init(&key) == 0 && gnutls_x509_privkey_import2(key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0) == 0 &&
	          gnutls_privkey_init(&signers[i]) == 0 && gnutls_privkey_import_x509(signers[i], key, GNUTLS_PRIVKEY_IMPORT_AUTO_RELEASE) == 0;
	FUZZ_CHECK(ok, "key %zu", i);
}

static nh_rc furnish(struct world *w, struct nh_err *err)
{
	static const char *const names[] = {"Line 7", "Line 8", "Stranger"};
	int64_t id, device;
	AUTO_PAIR pinned = {0};
	struct nh_device d;
	struct nh_device_certificate stored;
	for (size_t i = 0; i < NH_ARRAY_LEN(ca_keys); i++) {
		load_signer(i);
		NH_TRY(nh_key_parse_pem(nh_slice_str(ca_keys[i]), &cas[i].key, err));
		NH_TRY(make_ca(w, names[i], cas[i].key, 1000 * DAY_US, &cas[i], err));
		if (i < CAS)
			NH_TRY(register_ca(w, w->acme.id, cas[i].cert, i == 0, &id, err));
	}
	NH_TRY(add_device(w, "d-1", NULL, &device, err));
	NH_TRY(add_device(w, "d-2", NULL, &id, err));
	NH_TRY(make_device(w, "d-1", &cas[0], cas[2].key, &pinned, err));
	OK(nh_device_open(&w->ctx, &w->as_ada, &w->widget, NH_LIT("d-1"), NH_MAY_DEVICE_SEE, &d, E(w)));
	OK(nh_device_certificate_store(&w->ctx, w->acme.id, d.id, pinned.cert, &stored, NULL, E(w)));
	return NH_OK;
}

/* ---- one certificate ----------------------------------------------------------------------------------------------------- */

static void put_der(struct nh_buf *out, uint8_t tag, nh_slice content)
{
	nh_buf_put_u8(out, tag);
	if (content.len < 0x80) {
		nh_buf_put_u8(out, (uint8_t)content.len);
	} else {
		nh_buf_put_u8(out, 0x83);
		nh_buf_put_u8(out, (uint8_t)(content.len >> 16));
		nh_buf_put_u8(out, (uint8_t)(content.len >> 8));
		nh_buf_put_u8(out, (uint8_t)content.len);
	}
	nh_buf_put_slice(out, content);
}

/* Lengths in three bytes are no DER for short certificates, so those below 64 KiB get two. */
static void put_sequence(struct nh_buf *out, nh_slice content)
{
	if (content.len < 0x100 || content.len > 0xffff) {
		put_der(out, 0x30, content);
		return;
	}
	nh_buf_put_u8(out, 0x30);
	nh_buf_put_u8(out, 0x82);
	nh_buf_put_u8(out, (uint8_t)(content.len >> 8));
	nh_buf_put_u8(out, (uint8_t)content.len);
	nh_buf_put_slice(out, content);
}

static void sign_tbs(struct nh_buf *out, nh_slice tbs, size_t who)
{
	static const uint8_t ecdsa_sha256[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
	gnutls_datum_t data = {(unsigned char *)(uintptr_t)tbs.ptr, (unsigned)tbs.len}, signature;
	NH_AUTO_BUF struct nh_buf content = NH_BUF_INIT, bits = NH_BUF_INIT;
	FUZZ_CHECK(gnutls_privkey_sign_data(signers[who], GNUTLS_DIG_SHA256, GNUTLS_PRIVKEY_FLAG_REPRODUCIBLE, &data, &signature) == 0, "signing");
	nh_buf_put_u8(&bits, 0);
	nh_buf_put(&bits, signature.data, signature.size);
	gnutls_free(signature.data);
	nh_buf_put_slice(&content, tbs);
	nh_buf_put(&content, ecdsa_sha256, sizeof(ecdsa_sha256));
	put_der(&content, 0x03, nh_buf_slice(&bits));
	put_sequence(out, nh_buf_slice(&content));
}

struct input {
	struct nh_db *db;
	nh_slice der;
};

static void decide(const struct input *in, struct nh_arena *arena, struct nh_effects *effects, struct nh_auth_verdict *out)
{
	struct nh_err err = NH_ERR_INIT;
	const struct nh_auth_env env = {in->db, arena, &world.clock, &world.rng, &world.config, effects};
	nh_rc rc = nh_device_auth_certificate(&env, &in->der, 1, out, &err);
	FUZZ_CHECK(rc == NH_OK, "%s %s", nh_rc_name(rc), err.msg);
	FUZZ_CHECK(out->accepted == (out->reason <= NH_AUTH_ACCEPTED_CREATED), "%s", nh_auth_reason_name(out->reason));
}

static void check_accepted(const struct input *in, const struct nh_auth_verdict *v, const struct nh_effects *effects)
{
	NH_AUTO_CERT struct nh_cert *cert = NULL;
	FUZZ_CHECK(nh_cert_parse_der(in->der, &cert, NULL) == NH_OK, "accepted, but no certificate");
	bool ours = v->reason == NH_AUTH_ACCEPTED_KNOWN;
	for (size_t i = 0; i < CAS; i++)
		ours = ours || nh_cert_signed_by(cert, cas[i].cert, NULL) == NH_OK;
	FUZZ_CHECK(ours, "accepted as %s without a registered signer", nh_auth_reason_name(v->reason));
	FUZZ_CHECK(v->device_id > 0 && v->org_id == world.acme.id && v->product_id == world.widget.id, "device %lld", (long long)v->device_id);
	FUZZ_CHECK(v->identifier.len > 0 && v->identifier.len <= 255 && nh_utf8_valid(v->identifier), "identifier");
	FUZZ_CHECK(nh_slice_eq(v->identifier, cert->common_name), "identifier");
	FUZZ_CHECK(effects->count > 0 && effects->items[effects->count - 1].id == v->device_id, "no effect");
}

static void play(void *arg)
{
	const struct input *in = arg;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_effects effects = {0}, more = {0};
	struct nh_auth_verdict first, second;
	decide(in, &arena, &effects, &first);
	if (first.accepted)
		check_accepted(in, &first, &effects);
	decide(in, &arena, &more, &second);
	FUZZ_CHECK(first.accepted == second.accepted && first.device_id == second.device_id, "%s, then %s", nh_auth_reason_name(first.reason),
	           nh_auth_reason_name(second.reason));
	FUZZ_CHECK(second.reason == (first.accepted ? NH_AUTH_ACCEPTED_KNOWN : first.reason), "%s, then %s", nh_auth_reason_name(first.reason),
	           nh_auth_reason_name(second.reason));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nh_db *db;
	nh_slice in = nh_slice_of(data, size);
	if (!db)
		db = fuzz_db_open(&world, furnish);
	uint8_t how = fuzz_byte(&in) % 4;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	if (how == 0)
		nh_buf_put_slice(&der, in);
	else
		sign_tbs(&der, in, how - 1u);
	fuzz_db_play(db, play, &(struct input){db, nh_buf_slice(&der)});
	return 0;
}

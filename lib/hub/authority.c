/*
 * The certificate authority's key at work: certificates and revocation lists are signed here, outside of transactions, one at a time. Who may have what, and what is written
 * down of it: issuing.c, issued_certificates.c.
 *
 * source: reference/user-api-and-cli "17.6"
 */
#include "hub/authority.h"

#include <pthread.h>
#include <stdlib.h>

#include "authority_int.h"
#include "base/der.h"
#include "base/encode.h"
#include "input_int.h"
#include "rows_int.h"
#include "store/authority.h"

#define HOUR_US (INT64_C(3600) * NH_US_PER_S)
#define DAY_US (24 * HOUR_US)

struct nh_authority {
	int64_t id;
	struct nh_key *key;
	struct nh_cert *cert;
	pthread_mutex_t lock; /* of what follows, and of the key */
	struct nh_buf crl;
	int64_t crl_revision, crl_at_us;
};

/* ---- life -------------------------------------------------------------------------------------------------------------- */

nh_rc nh_authority_new(struct nh_key *take_key, struct nh_cert *take_cert, int64_t now_us, struct nh_authority **out, struct nh_err *err)
{
	struct nh_authority *a = nh_xcalloc(1, sizeof(*a));
	const unsigned needed = NH_KU_KEY_CERT_SIGN | NH_KU_CRL_SIGN;
	nh_rc rc = NH_OK;
	*a = (struct nh_authority){.key = take_key, .cert = take_cert};
	pthread_mutex_init(&a->lock, NULL);
	if (!take_cert->is_ca || (take_cert->has_key_usage && (take_cert->key_usage & needed) != needed))
		rc = NH_FAIL(err, NH_EINVAL, "the certificate is not that of a CA which signs certificates and revocation lists");
	else if (!nh_key_fits_cert(take_key, take_cert))
		rc = NH_FAIL(err, NH_EINVAL, "the key does not belong to the certificate");
	else if (take_cert->ski.len == 0)
		rc = NH_FAIL(err, NH_EINVAL, "the certificate has no subject key identifier");
	else if (take_cert->not_after_us <= now_us)
		rc = NH_FAIL(err, NH_EINVAL, "the certificate is over");
	if (rc != NH_OK) {
		nh_authority_free(a);
		a = NULL;
	}
	*out = a;
	return rc;
}

void nh_authority_free(struct nh_authority *a)
{
	if (!a)
		return;
	nh_key_free(a->key);
	nh_cert_free(a->cert);
	nh_buf_fini(&a->crl);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

const struct nh_cert *nh_authority_cert(const struct nh_authority *a) { return a->cert; }
int64_t nh_authority_id(const struct nh_authority *a) { return a->id; }

nh_rc nh_authority_enter(struct nh_ctx *ctx, struct nh_authority *a, struct nh_err *err)
{
	struct nh_param sha256 = nh_p_blob(nh_slice_of(a->cert->sha256, sizeof(a->cert->sha256)));
	nh_rc rc = nh_query_id(ctx->tx, &nh_q_authority_insert, NH_PARAMS(sha256, nh_p_blob(a->cert->der), nh_p_int(a->cert->not_after_us), nh_p_int(nh_ctx_now(ctx))), &a->id, err);
	return rc == NH_ENOTFOUND ? nh_query_id(ctx->tx, &nh_q_authority_find, NH_PARAMS(sha256), &a->id, err) : rc;
}

/* ---- certificates ------------------------------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	struct nh_cert_profile (*profile)(int64_t now_us, int64_t valid_us);
	unsigned years;
} kinds[NH_ISSUE_KIND_COUNT] = {
	[NH_ISSUE_USER] = {"user", nh_cert_profile_user, 1},
	[NH_ISSUE_DEVICE] = {"device", nh_cert_profile_user, 31}, /* 17.6: the same but for the years */
	[NH_ISSUE_DEVICE_CA] = {"device_ca", nh_cert_profile_device_ca, 10},
	[NH_ISSUE_SERVER] = {"server", nh_cert_profile_server, 5},
};

const char *nh_issue_kind_name(nh_issue_kind kind) { return kinds[kind].name; }

/* The same hour of another year; the 29th of February becomes the 28th where there is none. */
static int64_t years_later(int64_t at_us, unsigned years)
{
	int64_t out;
	for (;; at_us -= DAY_US) {
		NH_AUTO_BUF struct nh_buf iso = NH_BUF_INIT, moved = NH_BUF_INIT;
		uint64_t year = 0;
		nh_time_put_iso(&iso, at_us);
		NH_ASSERT(nh_parse_u64(nh_slice_sub(nh_buf_slice(&iso), 0, 4), 1970, 9000, &year) == NH_OK);
		nh_buf_printf(&moved, "%llu%.*s", (unsigned long long)year + years, NH_ARG(nh_slice_skip(nh_buf_slice(&iso), 4)));
		if (nh_time_parse_iso(nh_buf_slice(&moved), &out) == NH_OK)
			return out;
	}
}

nh_rc nh_authority_sign(struct nh_authority *a, const struct nh_issue *what, nh_slice spki_der, int64_t now_us, const struct nh_rng *rng, struct nh_cert **out,
                        struct nh_err *err)
{
	*out = NULL;
	if (a->cert->not_after_us <= now_us)
		return NH_FAIL(err, NH_EUNSUPPORTED, "the certificate of the server's authority is over: its operator has to make a new one");
	int64_t hour = now_us - now_us % HOUR_US;
	int64_t end = what->valid_days ? hour + what->valid_days * DAY_US : years_later(hour, kinds[what->kind].years);
	struct nh_cert_profile p = kinds[what->kind].profile(hour, end - hour);
	p.organization = what->organization;
	p.common_name = what->common_name;
	p.sans = what->sans;
	p.san_count = what->san_count;
	/* Whoever checks the chain asks both dates of both certificates. */
	if (p.not_after_us > a->cert->not_after_us)
		p.not_after_us = a->cert->not_after_us;
	if (p.not_before_us < a->cert->not_before_us)
		p.not_before_us = a->cert->not_before_us;
	NH_AUTO_BUF struct nh_buf der = NH_BUF_INIT;
	pthread_mutex_lock(&a->lock);
	nh_rc rc = nh_cert_issue(&der, &p, spki_der, a->cert, a->key, rng, err);
	pthread_mutex_unlock(&a->lock);
	return rc == NH_OK ? nh_cert_parse_der(nh_buf_slice(&der), out, err) : rc;
}

/* ---- the revocation list ----------------------------------------------------------------------------------------------- */

/* A list of a later revision than the one asked for is as good: it was signed while the asker waited. */
static bool fresh(const struct nh_authority *a, int64_t revision, int64_t now_us)
{
	return a->crl.len > 0 && a->crl_revision >= revision && now_us >= a->crl_at_us && now_us - a->crl_at_us < NH_CRL_FRESH_S * NH_US_PER_S;
}

/* INTEGER content of the serial number, out of a certificate that we made ourselves. */
static nh_slice serial_of(nh_slice der)
{
	struct nh_rd whole = nh_rd_of(der);
	struct nh_rd cert = nh_rd_of(nh_der_expect(&whole, NH_DER_SEQUENCE).content);
	struct nh_rd tbs = nh_rd_of(nh_der_expect(&cert, NH_DER_SEQUENCE).content);
	(void)nh_der_expect(&tbs, NH_DER_CONTEXT_0);
	return nh_der_expect(&tbs, NH_DER_INTEGER).content;
}

static void read_entry(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	*(struct nh_crl_entry *)item = (struct nh_crl_entry){
		.serial = serial_of(nh_col_blob(rows, 0, arena)),
		.revoked_at_us = nh_col_int(rows, 1),
		.reason = (nh_crl_reason)nh_col_int(rows, 2),
	};
}

nh_rc nh_crl_load(struct nh_ctx *ctx, struct nh_authority *a, struct nh_crl_source *out, struct nh_err *err)
{
	struct nh_param id = nh_p_int(a->id);
	*out = (struct nh_crl_source){0};
	NH_TRY(nh_query_id(ctx->tx, &nh_q_authority_revision, NH_PARAMS(id), &out->revision, err));
	pthread_mutex_lock(&a->lock);
	out->cached = fresh(a, out->revision, nh_ctx_now(ctx));
	pthread_mutex_unlock(&a->lock);
	if (out->cached)
		return NH_OK;
	struct nh_list list = NH_LIST_OF(ctx->arena, struct nh_crl_entry);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_issued_revoked, NH_PARAMS(id, nh_p_int(nh_ctx_now(ctx))), read_entry, err));
	out->entries = list.items;
	out->count = list.count;
	return NH_OK;
}

nh_rc nh_crl_take(struct nh_authority *a, const struct nh_crl_source *source, int64_t now_us, struct nh_buf *out, int64_t *until_us, struct nh_err *err)
{
	nh_rc rc = NH_OK;
	pthread_mutex_lock(&a->lock);
	/* One that load found in memory is given out even where its hour ended between the two. */
	if (!source->cached && !fresh(a, source->revision, now_us)) {
		struct nh_buf der = NH_BUF_INIT;
		rc = nh_crl_issue(&der, a->cert, a->key, now_us, now_us + NH_CRL_NEXT_UPDATE_S * NH_US_PER_S, source->entries, source->count, err);
		if (rc == NH_OK) {
			nh_buf_fini(&a->crl);
			a->crl = der;
			a->crl_revision = source->revision;
			a->crl_at_us = now_us;
		} else {
			nh_buf_fini(&der);
		}
	}
	if (rc == NH_OK) {
		nh_buf_put_slice(out, nh_buf_slice(&a->crl));
		*until_us = a->crl_at_us + NH_CRL_FRESH_S * NH_US_PER_S;
	}
	pthread_mutex_unlock(&a->lock);
	return rc;
}

/*
 * The keys that sign audit logs: the newest that the server's secret opens (hub/audit_chain.h).
 */
#include "audit_chain_int.h"
#include "crypto/secret.h"
#include "rows_int.h"
#include "seal_int.h"
#include "store/audit.h"

#define PURPOSE "audit-key"

struct stored {
	struct nh_audit_key key;
	nh_slice sealed;
};

static void copy_key(uint8_t out[NH_ED25519_PUBLIC_LEN], nh_slice bytes)
{
	for (size_t i = 0; i < NH_ED25519_PUBLIC_LEN; i++)
		out[i] = i < bytes.len ? bytes.ptr[i] : 0;
}

static void read_stored(const struct nh_rows *rows, struct nh_arena *arena, void *item)
{
	struct stored *s = item;
	*s = (struct stored){.key = {.number = nh_col_int(rows, 0), .inserted_at_us = nh_col_int(rows, 3)}, .sealed = nh_col_blob(rows, 2, arena)};
	copy_key(s->key.public_key, nh_col_blob(rows, 1, arena));
}

static nh_rc list_stored(struct nh_ctx *ctx, struct stored **out, size_t *count, struct nh_err *err)
{
	struct nh_list list = NH_LIST_OF(ctx->arena, struct stored);
	NH_TRY(nh_list_rows(ctx->tx, &list, &nh_q_audit_key_list, NH_NO_PARAMS, read_stored, err));
	*out = list.items;
	*count = list.count;
	return NH_OK;
}

nh_rc nh_audit_key_list(struct nh_ctx *ctx, struct nh_audit_key **out, size_t *count, struct nh_err *err)
{
	struct stored *all = NULL;
	NH_TRY(list_stored(ctx, &all, count, err));
	*out = nh_arena_alloc(ctx->arena, (*count + 1) * sizeof(**out));
	for (size_t i = 0; i < *count; i++)
		(*out)[i] = all[i].key;
	return NH_OK;
}

/* Opens the newest; another secret than it was sealed with does not. */
static bool open_newest(struct nh_ctx *ctx, const struct stored *s, uint8_t secret_key[NH_ED25519_SECRET_LEN])
{
	uint8_t public_key[NH_ED25519_PUBLIC_LEN];
	struct nh_buf seed = NH_BUF_INIT;
	bool opened = nh_unseal(ctx, PURPOSE, s->key.number, s->sealed, &seed, NULL) == NH_OK && seed.len == NH_ED25519_SEED_LEN;
	if (opened)
		nh_ed25519_from_seed(seed.ptr, public_key, secret_key);
	nh_buf_wipe(&seed);
	return opened && nh_slice_eq(nh_slice_of(public_key, sizeof(public_key)), nh_slice_of(s->key.public_key, sizeof(s->key.public_key)));
}

static nh_rc make(struct nh_ctx *ctx, int64_t number, uint8_t secret_key[NH_ED25519_SECRET_LEN], struct nh_err *err)
{
	uint8_t public_key[NH_ED25519_PUBLIC_LEN];
	NH_AUTO_BUF struct nh_buf sealed = NH_BUF_INIT;
	nh_ed25519_generate(ctx->rng, public_key, secret_key);
	NH_TRY(nh_seal(ctx, PURPOSE, number, nh_slice_of(secret_key, NH_ED25519_SEED_LEN), &sealed, err));
	return nh_sql_exec(ctx->tx, &nh_q_audit_key_insert,
	                   NH_PARAMS(nh_p_int(number), nh_p_blob(nh_slice_of(public_key, sizeof(public_key))), nh_p_blob(nh_buf_slice(&sealed)), nh_p_int(nh_ctx_now(ctx))), NULL, err);
}

nh_rc nh_audit_signer_open(struct nh_ctx *ctx, struct nh_audit_signer *out, struct nh_err *err)
{
	struct stored *all = NULL;
	size_t count = 0;
	*out = (struct nh_audit_signer){0};
	NH_TRY(list_stored(ctx, &all, &count, err));
	if (count == 0 || !open_newest(ctx, &all[0], out->secret_key)) {
		NH_TRY(make(ctx, count ? all[0].key.number + 1 : 1, out->secret_key, err));
		NH_TRY(list_stored(ctx, &all, &count, err));
	}
	out->keys = nh_arena_alloc(ctx->arena, count * sizeof(*out->keys));
	out->count = count;
	for (size_t i = 0; i < count; i++)
		out->keys[i] = all[i].key;
	return NH_OK;
}

void nh_audit_signer_close(struct nh_audit_signer *signer) { nh_wipe(signer->secret_key, sizeof(signer->secret_key)); }

bool nh_audit_signer_vouches(const struct nh_audit_signer *signer, const struct nh_chain_statement *statement)
{
	for (size_t i = 0; i < signer->count; i++) {
		if (nh_slice_eq(nh_slice_of(signer->keys[i].public_key, NH_ED25519_PUBLIC_LEN), nh_slice_of(statement->key, sizeof(statement->key))))
			return nh_chain_signed(statement);
	}
	return false;
}

nh_rc nh_audit_key_ensure(struct nh_ctx *ctx, struct nh_err *err)
{
	struct nh_audit_signer signer;
	nh_rc rc = nh_audit_signer_open(ctx, &signer, err);
	nh_audit_signer_close(&signer);
	return rc;
}

/*
 * The program's own installer behind a verifier: it sees no byte before a configured key has verified the archive's signature, and does not finish unless every resource has the hash that
 * was signed. Until then the archive's beginning is held back; meta.conf, which is signed, comes first and is small. [worker]
 */
#include <stdlib.h>

#include "nhl_int.h"

/* The signature and meta.conf with their ZIP headers: their caps, and room for what else an archive may begin with. */
#define HELD_MAX ((size_t)NH_FW_META_MAX + 16384)

struct nhl_install {
	struct nhl *nhl;
	struct nh_fw_verifier *verifier;
	struct nh_fw_public_key *keys;
	size_t key_count;
	struct nh_buf held; /* not passed on yet */
	bool trusted;
};

const char *nhl_why(const struct nhl_error *why, const char *otherwise)
{
	return why->text[0] ? why->text : otherwise;
}

struct nhl_offer nhl_offer_of(struct nh_arena *arena, const struct nh_link_offer *o)
{
	return (struct nhl_offer){
		.url = nh_arena_str(arena, o->url),
		.uuid = nh_arena_str(arena, o->uuid),
		.product = nh_arena_str(arena, o->product),
		.version = nh_arena_str(arena, o->version),
		.platform = nh_arena_str(arena, o->platform),
		.architecture = nh_arena_str(arena, o->architecture),
		.sha256 = nh_arena_str(arena, o->sha256_hex),
		.size_bytes = o->size_bytes,
	};
}

static void install_free(struct nhl_install *i)
{
	nh_fw_verifier_free(i->verifier);
	nh_buf_fini(&i->held);
	free(i->keys);
	free(i);
}

/* What a handler said: its words, cut where it forgot to end them. */
static nh_rc said(int rc, struct nhl_error *why, struct nh_err *err)
{
	why->text[sizeof why->text - 1] = 0;
	return rc == NHL_OK ? NH_OK : NH_FAIL(err, NH_EPERM, "%s", nhl_why(why, "the installer failed"));
}

static nh_rc open_installer(struct nhl_install *i, const struct nh_link_offer *offer, struct nh_err *err)
{
	const struct nhl_handlers *h = &i->nhl->handlers;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nhl_offer o = nhl_offer_of(&arena, offer);
	struct nhl_error why = {{0}};
	i->keys = nh_xcalloc(offer->key_count + 1, sizeof *i->keys);
	for (; i->key_count < offer->key_count; i->key_count++)
		NH_TRY(nh_fw_public_key_decode(nh_slice_str(offer->public_keys[i->key_count]), &i->keys[i->key_count], err));
	i->verifier = nh_fw_verifier_new(&(struct nh_fw_verify_config){.keys = i->keys, .key_count = i->key_count, .whole = true});
	return said(h->install_open(h->ctx, &o, &why), &why, err);
}

nh_rc nhl_install_open(void *ctx, const struct nh_link_offer *offer, void **apply, struct nh_err *err)
{
	struct nhl_install *i = nh_xcalloc(1, sizeof *i);
	i->nhl = ctx;
	i->held = NH_BUF_MAX(HELD_MAX);
	*apply = NULL;
	nh_rc rc = open_installer(i, offer, err);
	if (rc == NH_OK)
		*apply = i;
	else
		install_free(i);
	return rc;
}

static nh_rc pass_on(struct nhl_install *i, nh_slice bytes, struct nh_err *err)
{
	const struct nhl_handlers *h = &i->nhl->handlers;
	struct nhl_error why = {{0}};
	return bytes.len ? said(h->install_write(h->ctx, bytes.ptr, bytes.len, &why), &why, err) : NH_OK;
}

nh_rc nhl_install_write(void *apply, nh_slice bytes, unsigned *percent, struct nh_err *err)
{
	struct nhl_install *i = apply;
	NH_TRY(nh_fw_verifier_feed(i->verifier, bytes, err));
	if (!i->trusted && !nh_fw_verifier_manifest(i->verifier)) {
		nh_buf_put(&i->held, bytes.ptr, bytes.len);
		return nh_buf_check(&i->held, "the archive's beginning", err);
	}
	if (!i->trusted) {
		i->trusted = true;
		NH_TRY(pass_on(i, nh_buf_slice(&i->held), err));
		nh_buf_fini(&i->held);
	}
	return pass_on(i, bytes, err);
}

nh_rc nhl_install_finish(void *apply, struct nh_err *err)
{
	struct nhl_install *i = apply;
	const struct nhl_handlers *h = &i->nhl->handlers;
	struct nhl_error why = {{0}};
	nh_rc rc = nh_fw_verifier_finish(i->verifier, err);
	if (rc == NH_OK && nh_fw_verifier_patches(i->verifier))
		rc = NH_FAIL(err, NH_EUNSUPPORTED, "the archive holds patches, which this installer was not made for");
	if (rc != NH_OK) {
		nhl_install_abort(i);
		return rc;
	}
	rc = said(h->install_finish(h->ctx, &why), &why, err);
	install_free(i);
	return rc;
}

void nhl_install_abort(void *apply)
{
	struct nhl_install *i = apply;
	i->nhl->handlers.install_abort(i->nhl->handlers.ctx);
	install_free(i);
}

/*
 * What every hub function shares: appending effects. Carrying them out is the caller's, after the commit; those that concern a device of another server are also written down for that one.
 */
#include "effects_int.h"

void nh_effect_put(struct nh_ctx *ctx, nh_effect_kind kind, int64_t id, nh_slice name, nh_slice payload)
{
	NH_ASSERT(ctx->effects != NULL);

	struct nh_effects *list = ctx->effects;
	if (list->count == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 8;
		struct nh_effect *items = NH_NEW_ARRAY(ctx->arena, cap, struct nh_effect);
		for (size_t i = 0; i < list->count; i++)
			items[i] = list->items[i];
		list->items = items;
		list->cap = cap;
	}
	list->items[list->count++] = (struct nh_effect){
		.kind = kind,
		.id = id,
		.name = nh_arena_copy(ctx->arena, name),
		.payload = nh_arena_copy(ctx->arena, payload),
	};
}

void nh_effect_add(struct nh_ctx *ctx, nh_effect_kind kind, int64_t id, nh_slice name, nh_slice payload)
{
	struct nh_err err = NH_ERR_INIT;
	nh_effect_put(ctx, kind, id, name, payload);
	NH_IGNORE(nh_effect_tell(ctx, &ctx->effects->items[ctx->effects->count - 1], &err)); /* what fails there ends the transaction at its commit, with the cause */
}

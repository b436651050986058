/*
 * Functions on plain blocks: raw_write (sparse, encrypted), raw_memset, trim, mbr_write, gpt_write.  source: reference/fwup-format "7.2", "9", "11.3"
 */
#include "apply_int.h"

nh_rc nh_fw_act_raw_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	run->raw.start = nh_fw_call_number(call, 0) * NH_FW_BLOCK;
	run->raw.filled = false;
	nh_disk_cipher_free(run->raw.cipher);
	return nh_fw_disk_cipher_of(&call->args[1], call->arg_count - 1, &run->raw.cipher, err);
}

/* Whole blocks at a position of the resource. */
static nh_rc raw_put(struct nh_fw_run *run, uint64_t position, nh_slice blocks, struct nh_err *err)
{
	if (!run->raw.cipher)
		return nh_fw_cache_write(run->cache, run->raw.start + position, blocks, true, err);
	uint8_t sealed[16 * NH_FW_BLOCK];
	while (blocks.len > 0) {
		size_t n = blocks.len < sizeof sealed ? blocks.len : sizeof sealed;
		memcpy(sealed, blocks.ptr, n);
		nh_disk_encrypt(run->raw.cipher, position / NH_FW_BLOCK, sealed, n);
		NH_TRY(nh_fw_cache_write(run->cache, run->raw.start + position, nh_slice_of(sealed, n), true, err));
		position += n;
		blocks = nh_slice_skip(blocks, n);
	}
	return NH_OK;
}

/* The block being gathered goes out; what nobody wrote of it is zero. */
static nh_rc raw_block_put(struct nh_fw_run *run, struct nh_err *err)
{
	if (!run->raw.filled)
		return NH_OK;
	run->raw.filled = false;
	return raw_put(run, run->raw.block_at, nh_slice_of(run->raw.block, NH_FW_BLOCK), err);
}

nh_rc nh_fw_act_raw_data(struct nh_fw_run *run, uint64_t position, nh_slice bytes, struct nh_err *err)
{
	while (bytes.len > 0) {
		uint64_t block_at = position - position % NH_FW_BLOCK;
		size_t at = (size_t)(position % NH_FW_BLOCK), n;
		if (run->raw.filled && run->raw.block_at != block_at)
			NH_TRY(raw_block_put(run, err));
		if (!run->raw.filled && at == 0 && bytes.len >= NH_FW_BLOCK) {
			n = bytes.len - bytes.len % NH_FW_BLOCK;
			NH_TRY(raw_put(run, position, nh_slice_sub(bytes, 0, n), err));
		} else {
			if (!run->raw.filled) {
				memset(run->raw.block, 0, sizeof run->raw.block);
				run->raw.filled = true;
				run->raw.block_at = block_at;
			}
			n = NH_FW_BLOCK - at < bytes.len ? NH_FW_BLOCK - at : bytes.len;
			memcpy(run->raw.block + at, bytes.ptr, n);
			if (at + n == NH_FW_BLOCK)
				NH_TRY(raw_block_put(run, err));
		}
		position += n;
		bytes = nh_slice_skip(bytes, n);
		nh_fw_run_progress(run, n);
	}
	return NH_OK;
}

nh_rc nh_fw_act_raw_end(struct nh_fw_run *run, uint64_t size, struct nh_err *err)
{
	/* A hole at the end: its last block gives an image file its length. */
	bool ends_in_hole = run->on->resource->run_count % 2 == 0 && size > 0;
	uint64_t last = size ? (size - 1) / NH_FW_BLOCK * NH_FW_BLOCK : 0;
	uint64_t data_end = size - (ends_in_hole ? run->on->resource->runs[run->on->resource->run_count - 1] : 0);
	NH_TRY(raw_block_put(run, err));
	if (!ends_in_hole || data_end > last)
		return NH_OK;
	static const uint8_t zeros[NH_FW_BLOCK];
	return raw_put(run, last, nh_slice_of(zeros, sizeof zeros), err);
}

nh_rc nh_fw_act_raw_memset(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	uint64_t at = nh_fw_call_number(call, 0) * NH_FW_BLOCK, left = nh_fw_call_number(call, 1) * NH_FW_BLOCK;
	uint8_t bytes[16 * NH_FW_BLOCK];
	memset(bytes, (int)nh_fw_call_number(call, 2), sizeof bytes);
	while (left > 0) {
		size_t n = left < sizeof bytes ? (size_t)left : sizeof bytes;
		NH_TRY(nh_fw_cache_write(run->cache, at, nh_slice_of(bytes, n), true, err));
		at += n;
		left -= n;
		nh_fw_run_progress(run, n);
	}
	return NH_OK;
}

nh_rc nh_fw_act_trim(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	nh_fw_cache_trim(run->cache, nh_fw_call_number(call, 0) * NH_FW_BLOCK, nh_fw_call_number(call, 1) * NH_FW_BLOCK);
	return NH_OK;
}

nh_rc nh_fw_act_mbr_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	return nh_fw_mbr_write(run->cache, nh_fw_manifest_mbr(run->manifest, call->args[0]), err);
}

nh_rc nh_fw_act_gpt_write(struct nh_fw_run *run, const struct nh_fw_call *call, struct nh_err *err)
{
	return nh_fw_gpt_write(run->cache, nh_fw_manifest_gpt(run->manifest, call->args[0]), err);
}

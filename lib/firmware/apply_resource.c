/*
 * One resource on its way from the archive to the task's functions: holes of sparse resources, length and hash, and the functions before and behind
 * the one that takes the data.  source: reference/fwup-format "7.1", "7.2", "9", "14.2"
 */
#include "apply_int.h"

/* Runs calls up to the next one that consumes (which it begins) or the end. */
static nh_rc calls_until_consumer(struct nh_fw_run *run, bool may_consume, struct nh_err *err)
{
	const struct nh_fw_calls *calls = &run->on->calls;
	run->consumer = NULL;
	while (run->call < calls->count && !run->consumer) {
		const struct nh_fw_call *call = &calls->items[run->call++];
		const struct nh_fw_action *action;
		NH_TRY(nh_fw_action_check(run, call, true, &action, err));
		if (action->data && !may_consume && run->on->resource->size_bytes > 0)
			return NH_FAIL(err, NH_EFORMAT,
				       "%s didn't write anything and was likely called twice in an on-resource for '%.*s'. Try a \"cp\" function.",
				       action->name, NH_ARG(run->on->name));
		NH_TRY(action->act(run, call, err));
		if (action->data)
			run->consumer = action;
		else
			nh_fw_run_progress(run, nh_fw_action_units(run, action, call));
	}
	return NH_OK;
}

/* A member of another size than its resource is a patch. */
static nh_rc delta_begin(struct nh_fw_run *run, const struct nh_fw_on_resource *on, const struct nh_fw_member *member, struct nh_err *err)
{
	const struct nh_fw_resource *r = on->resource;
	nh_fw_delta_free(run->delta);
	run->delta = NULL;
	if (r->run_count != 1 || !member->size_known || member->size == r->size_bytes)
		return NH_OK;
	if (on->has_raw_source || on->has_fat_source)
		return nh_fw_delta_new(run, on, &run->delta, err);
	return NH_FAIL(err, NH_EUNSUPPORTED,
		       "File '%.*s' isn't expected size (%llu vs %llu) and xdelta3 patch support not enabled on it. (Add "
		       "delta-source-raw-offset / delta-source-raw-count or delta-source-fat-offset / delta-source-fat-path)",
		       NH_ARG(on->name), (unsigned long long)member->size, (unsigned long long)r->size_bytes);
}

nh_rc nh_fw_resource_begin(struct nh_fw_run *run, const struct nh_fw_on_resource *on, const struct nh_fw_member *member, struct nh_err *err)
{
	const struct nh_fw_resource *r = on->resource;
	NH_ASSERT(r); /* checked when the task was chosen */
	NH_TRY(delta_begin(run, on, member, err));
	run->on = on;
	run->call = 0;
	run->run_index = 0;
	run->run_left = r->runs[0];
	run->position = run->stored = 0;
	nh_digest_stream_free(run->hash);
	run->hash = nh_digest_stream_new(NH_BLAKE2B_256);
	NH_TRY(calls_until_consumer(run, true, err));
	if (run->consumer && !r->hash_ok)
		return NH_FAIL(err, NH_EFORMAT, "invalid blake2b hash for '%.*s'", NH_ARG(on->name));
	return NH_OK;
}

/* Moves over holes (and empty runs) to the next byte of data; false: there is none. */
static bool at_data(struct nh_fw_run *run)
{
	const struct nh_fw_resource *r = run->on->resource;
	while (run->run_left == 0) {
		if (run->run_index + 2 >= r->run_count)
			return false;
		run->position += r->runs[run->run_index + 1];
		run->run_index += 2;
		run->run_left = r->runs[run->run_index];
	}
	return true;
}

nh_rc nh_fw_resource_data(struct nh_fw_run *run, nh_slice bytes, struct nh_err *err)
{
	if (!run->consumer)
		return NH_OK;
	return run->delta ? nh_fw_delta_feed(run->delta, bytes, err) : nh_fw_resource_put(run, bytes, err);
}

nh_rc nh_fw_resource_put(struct nh_fw_run *run, nh_slice bytes, struct nh_err *err)
{
	const struct nh_fw_resource *r = run->on->resource;
	nh_digest_stream_update(run->hash, bytes);
	while (bytes.len > 0) {
		if (!at_data(run))
			return NH_FAIL(err, NH_EFORMAT, "%s wrote %llu bytes for '%.*s', but should have written %llu", run->consumer->name,
				       (unsigned long long)(run->stored + bytes.len), NH_ARG(run->on->name), (unsigned long long)r->stored_bytes);
		size_t n = run->run_left < bytes.len ? (size_t)run->run_left : bytes.len;
		NH_TRY(run->consumer->data(run, run->position, nh_slice_sub(bytes, 0, n), err));
		run->position += n;
		run->run_left -= n;
		run->stored += n;
		bytes = nh_slice_skip(bytes, n);
	}
	return NH_OK;
}

nh_rc nh_fw_resource_end(struct nh_fw_run *run, struct nh_err *err)
{
	const struct nh_fw_resource *r = run->on->resource;
	const struct nh_fw_action *first = run->consumer;
	if (first) {
		uint8_t hash[NH_DIGEST_MAX];
		if (run->delta)
			NH_TRY(nh_fw_delta_finish(run->delta, err));
		nh_digest_stream_final(run->hash, hash);
		if (run->stored != r->stored_bytes)
			return NH_FAIL(err, NH_EFORMAT, "%s wrote %llu bytes for '%.*s', but should have written %llu", first->name,
				       (unsigned long long)run->stored, NH_ARG(run->on->name), (unsigned long long)r->stored_bytes);
		NH_TRY(first->end(run, r->size_bytes, err));
		if (memcmp(hash, r->blake2b, sizeof r->blake2b) != 0)
			return NH_FAIL(err, NH_EFORMAT, "%s detected blake2b mismatch on '%.*s'", first->name, NH_ARG(run->on->name));
	}
	/* An empty resource may be consumed several times: there is nothing to run out of. */
	for (bool more = run->call < run->on->calls.count; more; more = run->consumer != NULL) {
		NH_TRY(calls_until_consumer(run, false, err));
		if (run->consumer)
			NH_TRY(run->consumer->end(run, r->size_bytes, err));
	}
	run->on = NULL;
	run->consumer = NULL;
	return NH_OK;
}

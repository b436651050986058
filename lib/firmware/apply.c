/*
 * The applier: reader in front, write cache behind, the chosen task between. Order is what it is for: signature, task, checks of all that will run,
 * on-init, resources in archive order, on-finish, flush.
 *
 * Invariants: before `started` nothing was written; after a failure unwritten data is gone and on-error has run; on-finish runs only when every
 * resource of the task came and verified.  source: reference/fwup-format "11.1", "11.2"
 */
#include <stdlib.h>

#include "apply_int.h"

struct nh_fw_apply {
	struct nh_fw_apply_config config;
	struct nh_fw_destination destination;
	struct nh_fw_reader *reader;
	struct nh_fw_run run;
	bool *resource_done; /* one for each on-resource of the task */
	bool started, ended;
	struct nh_err failure; /* rc NH_OK: none */
};

static nh_rc calls_run(struct nh_fw_run *run, const struct nh_fw_calls *calls, struct nh_err *err)
{
	for (size_t i = 0; i < calls->count; i++) {
		const struct nh_fw_action *action;
		NH_TRY(nh_fw_action_check(run, &calls->items[i], false, &action, err));
		uint64_t before = run->units_done, units = nh_fw_action_units(run, action, &calls->items[i]);
		NH_TRY(action->act(run, &calls->items[i], err));
		uint64_t reported = run->units_done - before;
		if (reported < units)
			nh_fw_run_progress(run, units - reported);
	}
	return calls->malformed ? NH_FAIL(err, NH_EFORMAT, "a funlist in meta.conf is malformed") : NH_OK;
}

/* Everything that will run is looked at before the first write; progress units are summed on the way. */
static nh_rc calls_check(struct nh_fw_run *run, const struct nh_fw_calls *calls, bool in_resource, struct nh_err *err)
{
	for (size_t i = 0; i < calls->count; i++) {
		const struct nh_fw_action *action;
		NH_TRY(nh_fw_action_check(run, &calls->items[i], in_resource, &action, err));
		uint64_t units = nh_fw_action_units(run, action, &calls->items[i]);
		run->units_total += units < (UINT64_C(1) << 62) - run->units_total / 2 ? units : 0;
	}
	return calls->malformed ? NH_FAIL(err, NH_EFORMAT, "a funlist in meta.conf is malformed") : NH_OK;
}

static nh_rc on_resource_check(struct nh_fw_run *run, struct nh_err *err)
{
	struct nh_disk_cipher *cipher;
	NH_TRY_CTX(nh_fw_disk_cipher_of(&run->on->raw_options, 1, &cipher, err), err, "delta-source-raw-options");
	nh_disk_cipher_free(cipher);
	return calls_check(run, &run->on->calls, true, err);
}

static nh_rc task_check(struct nh_fw_run *run, struct nh_err *err)
{
	const struct nh_fw_task *t = run->task;
	NH_TRY(calls_check(run, &t->on_init, false, err));
	for (size_t i = 0; i < t->on_resource_count; i++) {
		run->on = &t->on_resources[i];
		nh_rc rc = run->on->resource ? on_resource_check(run, err) :
					       NH_FAIL(err, NH_EFORMAT, "Resource '%.*s' used, but metadata is missing. Archive is corrupt.",
						       NH_ARG(run->on->name));
		run->on = NULL;
		NH_TRY(rc);
	}
	return calls_check(run, &t->on_finish, false, err);
}

static nh_rc on_manifest(void *ctx, const struct nh_fw_manifest *manifest, struct nh_err *err)
{
	struct nh_fw_apply *a = ctx;
	struct nh_fw_run *run = &a->run;
	run->manifest = manifest;
	nh_fw_cache_set_segments(run->cache, (unsigned)((uint64_t)manifest->block_cache_size_mb * 1048576 / NH_FW_SEGMENT));
	NH_TRY(nh_fw_task_choose(run, nh_slice_str(a->config.task), &run->task, err));
	NH_TRY(task_check(run, err));
	a->resource_done = calloc(run->task->on_resource_count + 1, sizeof *a->resource_done);
	NH_ASSERT(a->resource_done);
	a->started = true;
	return calls_run(run, &run->task->on_init, err);
}

static nh_rc on_begin(void *ctx, nh_slice name, const struct nh_fw_resource *resource, const struct nh_fw_member *member, struct nh_err *err)
{
	struct nh_fw_apply *a = ctx;
	const struct nh_fw_on_resource *on = nh_fw_task_on_resource(a->run.task, name);
	return on ? nh_fw_resource_begin(&a->run, on, member, err) : NH_OK;
}

static nh_rc on_data(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct nh_fw_apply *a = ctx;
	return a->run.on ? nh_fw_resource_data(&a->run, bytes, err) : NH_OK;
}

static nh_rc on_end(void *ctx, uint64_t size, struct nh_err *err)
{
	struct nh_fw_apply *a = ctx;
	const struct nh_fw_on_resource *on = a->run.on;
	if (!on)
		return NH_OK;
	NH_TRY(nh_fw_resource_end(&a->run, err));
	a->resource_done[on - a->run.task->on_resources] = true;
	return NH_OK;
}

/* Gives up: nothing unwritten gets out, then the task's own on-error has its say. */
static nh_rc fail(struct nh_fw_apply *a, nh_rc rc, struct nh_err *err)
{
	struct nh_err first = err && err->rc != NH_OK ? *err : (struct nh_err){.rc = rc};
	a->failure = first;
	nh_fw_run_host_forget(&a->run);
	nh_fw_run_volumes_forget(&a->run);
	nh_fw_cache_discard(a->run.cache);
	a->run.on = NULL;
	if (a->started) {
		if (calls_run(&a->run, &a->run.task->on_error, NULL) != NH_OK) {
			nh_fw_run_volumes_forget(&a->run);
			nh_fw_cache_discard(a->run.cache);
		}
		/* The first failure is the one to tell. */
		NH_IGNORE(nh_fw_run_volumes_sync(&a->run, NULL));
		NH_IGNORE(nh_fw_cache_flush(a->run.cache, NULL));
	}
	NH_IGNORE(nh_fw_destination_close(&a->destination, NULL));
	if (err)
		*err = first;
	return rc;
}

static nh_rc again(const struct nh_fw_apply *a, struct nh_err *err)
{
	if (err)
		*err = a->failure;
	return a->failure.rc;
}

nh_rc nh_fw_apply_new(const struct nh_fw_apply_config *config, struct nh_fw_apply **out, struct nh_err *err)
{
	*out = NULL;
	if (!config->task)
		return NH_FAIL(err, NH_EINVAL, "specify a task (-t)");
	struct nh_fw_apply *a = nh_xcalloc(1, sizeof *a);
	a->config = *config;
	if (a->config.progress_high == 0)
		a->config.progress_high = 100;
	a->run.config = &a->config;
	a->run.progress_last = -1;
	a->run.host.fd = -1;
	nh_fw_run_progress(&a->run, 0);
	nh_rc rc = nh_fw_destination_open(&a->config, &a->destination, err);
	if (rc != NH_OK) {
		free(a);
		return rc;
	}
	if (config->enable_trim && !a->destination.is_device)
		nh_fw_run_message(&a->run, NH_LIT("Ignoring --enable-trim: the destination isn't a device"));
	a->run.cache = nh_fw_cache_new(&(struct nh_fw_cache_config){
		.fd = a->destination.fd,
		.hard_end = a->destination.hard_end,
		.soft_end = a->destination.soft_end,
		.minimize = config->minimize_writes && !a->destination.forgets,
		.verify = !a->destination.forgets &&
			  (config->verify_writes == NH_FW_ON || (config->verify_writes == NH_FW_DEFAULT && a->destination.is_device)),
		.sync = !config->no_sync,
		.discard = config->enable_trim && a->destination.is_device,
	});
	a->reader = nh_fw_reader_new(&(struct nh_fw_reader_config){
		.keys = config->keys,
		.key_count = config->key_count,
		.allow_unverified = config->allow_unverified,
		.whole = config->whole,
		.local_time = config->local_time,
		.path = config->archive_path,
		.vars = config->vars,
		.handler = {a, on_manifest, on_begin, on_data, on_end},
	});
	*out = a;
	return NH_OK;
}

void nh_fw_apply_free(struct nh_fw_apply *a)
{
	if (!a)
		return;
	nh_fw_run_host_forget(&a->run);
	nh_fw_cache_free(a->run.cache);
	nh_fw_reader_free(a->reader);
	nh_fw_delta_free(a->run.delta);
	nh_digest_stream_free(a->run.hash);
	nh_disk_cipher_free(a->run.raw.cipher);
	NH_IGNORE(nh_fw_destination_close(&a->destination, NULL)); /* finished: closed already; given up: nothing to lose */
	free(a->resource_done);
	free(a);
}

nh_rc nh_fw_apply_feed(struct nh_fw_apply *a, nh_slice bytes, struct nh_err *err)
{
	if (a->failure.rc != NH_OK)
		return again(a, err);
	struct nh_err own = NH_ERR_INIT;
	struct nh_err *e = err ? err : &own;
	*e = NH_ERR_INIT;
	nh_rc rc = nh_fw_reader_feed(a->reader, bytes, e);
	return rc == NH_OK ? NH_OK : fail(a, rc, e);
}

bool nh_fw_apply_done(const struct nh_fw_apply *a)
{
	return a->failure.rc != NH_OK || a->ended || nh_fw_reader_done(a->reader);
}

static nh_rc finish(struct nh_fw_apply *a, struct nh_err *err)
{
	struct nh_fw_run *run = &a->run;
	NH_TRY(nh_fw_reader_finish(a->reader, err));
	for (size_t i = 0; i < run->task->on_resource_count; i++)
		if (!a->resource_done[i])
			return NH_FAIL(err, NH_EFORMAT, "Resource %.*s not found in archive", NH_ARG(run->task->on_resources[i].name));
	NH_TRY(nh_fw_run_volumes_sync(run, err));
	NH_TRY(calls_run(run, &run->task->on_finish, err));
	NH_TRY(nh_fw_run_volumes_sync(run, err));
	NH_TRY(nh_fw_cache_flush(run->cache, err));
	return nh_fw_destination_close(&a->destination, err);
}

nh_rc nh_fw_apply_finish(struct nh_fw_apply *a, struct nh_err *err)
{
	if (a->failure.rc != NH_OK)
		return again(a, err);
	if (a->ended)
		return NH_OK;
	struct nh_err own = NH_ERR_INIT;
	struct nh_err *e = err ? err : &own;
	*e = NH_ERR_INIT;
	nh_rc rc = finish(a, e);
	if (rc != NH_OK)
		return fail(a, rc, e);
	a->ended = true;
	/* Everything is counted as done, and the reported value stops one short of this. */
	if (a->config.handler.progress && a->run.progress_last < (int)a->config.progress_high)
		a->config.handler.progress(a->config.handler.ctx, a->config.progress_high);
	return NH_OK;
}

void nh_fw_apply_give_up(struct nh_fw_apply *a, struct nh_err *err)
{
	if (a->failure.rc == NH_OK && !a->ended)
		NH_IGNORE(fail(a, err->rc == NH_OK ? NH_EIO : err->rc, err)); /* what it returns is what it was given */
}

uint64_t nh_fw_apply_units(const struct nh_fw_apply *a)
{
	return a->run.units_done;
}

nh_slice nh_fw_apply_task(const struct nh_fw_apply *a)
{
	return a->run.task ? a->run.task->name : NH_SLICE_EMPTY;
}

nh_fw_signature nh_fw_apply_signature(const struct nh_fw_apply *a)
{
	return nh_fw_reader_signature(a->reader);
}

nh_fw_fault nh_fw_apply_fault(const struct nh_fw_apply *a)
{
	nh_fw_fault fault = nh_fw_reader_fault(a->reader);
	return fault == NH_FW_FAULT_NONE && a->failure.rc != NH_OK ? NH_FW_FAULT_CALLER : fault;
}

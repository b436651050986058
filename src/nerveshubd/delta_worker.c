/*
 * Builds one delta and checks it, then says what came of it.
 */
#include "delta_worker.h"

#include <stdio.h>

#include "base/json.h"
#include "base/option.h"
#include "base/process.h"
#include "firmware/delta.h"

#define SOURCE "/proc/self/fd/3" /* opened anew by whoever reads it; has perhaps no other name */
#define TARGET "/proc/self/fd/4"

struct orders {
	const char *scratch, *output;
	uint64_t memory_bytes, timeout_ms;
};

static nh_rc read_orders(int argc, char **argv, struct orders *o, struct nh_err *err)
{
	int rest = 0;
	const struct nh_option options[] = {
		{"scratch", 0, NH_OPT_TEXT, &o->scratch, "DIR", "for what is unpacked"},
		{"output", 0, NH_OPT_TEXT, &o->output, "FILE", "where the delta goes"},
		{"memory", 0, NH_OPT_SIZE, &o->memory_bytes, "BYTES", "of xdelta3"},
		{"timeout", 0, NH_OPT_DURATION, &o->timeout_ms, "TIME", "of xdelta3, for one resource"},
		{NULL},
	};
	NH_TRY(nh_option_parse(options, argc, argv, &rest, err));
	return o->scratch && o->output && rest == 0 ? NH_OK : NH_FAIL(err, NH_EINVAL, "this is the server's own: it builds deltas with it");
}

/* source: reference/server-behaviour "4.4" */
static json_t *metadata_json(const struct nh_fw_delta_result *r)
{
	const struct nh_fw_features *f = &r->features;
	json_t *out = json_pack("{s:s, s:s, s:b, s:b, s:b, s:b}", "complete_fwup_version", f->complete_version, "delta_fwup_version", f->delta_version, "raw_deltas", f->raw_deltas, "fat_deltas",
				f->fat_deltas, "encryption", f->encryption, "encrypted_deltas", f->encrypted_deltas);
	json_object_set_new(out, "delta_updatable", json_boolean(f->raw_deltas || f->fat_deltas));
	if (r->block_cache_mb > 0)
		json_object_set_new(out, "block_cache_size_mb", json_integer((json_int_t)r->block_cache_mb));
	return out;
}

static void say(const struct nh_fw_delta_result *r, const char *message)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	NH_AUTO_JSON json_t *out = json_pack("{s:s, s:o, s:I, s:s, s:o}", "outcome", nh_fw_delta_outcome_name(r->outcome), "message", nh_json_new_text(nh_slice_str(message)), "patches",
					     (json_int_t)r->patches, "required_version", r->features.delta_version ? r->features.delta_version : "", "tool_metadata", metadata_json(r));
	nh_json_put(&text, out);
	fwrite(text.ptr, 1, text.len, stdout);
}

static nh_rc build(const struct orders *o, struct nh_arena *arena, struct nh_fw_delta_result *r, struct nh_err *err)
{
	const struct nh_process_limits limits = {.memory_bytes = o->memory_bytes};
	NH_TRY(nh_fw_delta_build(&(struct nh_fw_delta_build){.source = SOURCE, .target = TARGET, .output = o->output, .scratch = o->scratch, .timeout_ms = o->timeout_ms, .limits = &limits, .arena = arena}, r,
				 err));
	if (r->outcome != NH_FW_DELTA_BUILT)
		return NH_OK;
	struct nh_err why = NH_ERR_INIT;
	nh_rc rc = nh_fw_delta_check(&(struct nh_fw_delta_check){.source = SOURCE, .target = TARGET, .delta = o->output, .scratch = o->scratch}, &why);
	/* Both archives were read well: what is wrong is xdelta3's doing, or the disk's, and may be right next time. */
	return rc == NH_OK ? NH_OK : NH_FAIL(err, rc == NH_EFORMAT ? NH_EIO : rc, "the delta is wrong: %s", why.msg);
}

int delta_worker(int argc, char **argv)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct orders orders = {0};
	struct nh_err err = NH_ERR_INIT;
	struct nh_fw_delta_result result;
	nh_rc rc = read_orders(argc, argv, &orders, &err);
	if (rc == NH_OK)
		rc = build(&orders, &arena, &result, &err);
	if (rc == NH_OK) {
		say(&result, err.msg);
		return fflush(stdout) == 0 ? 0 : 1;
	}
	fprintf(stderr, "%s\n", err.msg);
	return rc == NH_EFORMAT || rc == NH_EUNSUPPORTED || rc == NH_ETOOBIG ? DELTA_WORKER_HOPELESS : 1;
}

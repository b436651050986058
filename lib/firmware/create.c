/*
 * Creates archives: parses the configuration with live calls, fills in what only the author's machine knows (lengths, hashes), writes meta.conf and
 * then the members in the order of their sections.  source: reference/fwup-format "1.5", "8"
 */
#include "firmware/create.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/file.h"
#include "create_int.h"
#include "crypto/ed25519.h"
#include "file_sink_int.h"
#include "firmware/metadata.h"

#define ARENA_CAP ((size_t)512 << 20)
#define CONFIG_MAX (1u << 20)

struct creator {
	struct nh_arena *arena;
	struct nh_fw_vars *vars;
};

static nh_rc on_call(void *ctx, const struct nh_fw_section *root, const struct nh_fw_option *row, const struct nh_fw_section *in, nh_slice *strings,
		     size_t *count, struct nh_err *err)
{
	return fw_create_check_call(root, row, in, strings, count, err);
}

/* FWUP_SIZE_<name> of a resource's file, as `stat` sees the path from the current directory. */
static void set_size_variable(struct creator *c, const struct nh_fw_section *s)
{
	nh_slice path = nh_fw_section_text(s, "host-path");
	struct stat st;
	if (path.len == 0 || (stat((const char *)path.ptr, &st) != 0 && stat(fw_path_beside(s->path, path, c->arena), &st) != 0))
		return;
	char *name = nh_arena_printf(c->arena, "FWUP_SIZE_%.*s", NH_ARG(s->title));
	for (char *p = name; *p; p++)
		if (*p == '-' || *p == '/' || *p == '.')
			*p = '_';
	nh_fw_vars_set(c->vars, nh_slice_str(name), nh_slice_str(nh_arena_printf(c->arena, "%lld", (long long)st.st_size)));
}

static nh_rc on_section_end(void *ctx, const struct nh_fw_section *root, const struct nh_fw_option *row, struct nh_fw_section *section,
			    struct nh_err *err)
{
	struct creator *c = ctx;
	nh_rc rc = fw_create_check_section(root, row, section, c->arena, err);
	if (rc != NH_OK)
		return nh_err_prefix(err, rc, "%s:%u", section->path[0] ? section->path : "[buf]", section->line);
	if (nh_slice_eq_str(nh_slice_str(row->name), "file-resource"))
		set_size_variable(c, section);
	return NH_OK;
}

static nh_rc on_include(void *ctx, const char *from, nh_slice path, struct nh_arena *arena, nh_slice *text, const char **resolved, struct nh_err *err)
{
	const char *full = fw_path_beside(from, path, arena);
	struct stat st;
	if (stat(full, &st) != 0)
		return NH_FAIL(err, NH_EFORMAT, "Cannot include '%.*s': File not found", NH_ARG(path));
	if (!S_ISREG(st.st_mode))
		return NH_FAIL(err, NH_EFORMAT, "Cannot include '%.*s': Not a regular file", NH_ARG(path));
	NH_AUTO_BUF struct nh_buf b = NH_BUF_INIT;
	NH_TRY(nh_file_read(full, CONFIG_MAX, &b, err));
	*text = nh_arena_copy(arena, nh_buf_slice(&b));
	*resolved = full;
	return NH_OK;
}

static nh_rc parse(struct creator *c, const struct nh_fw_create_options *o, struct nh_fw_section **tree, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	if (o->path)
		NH_TRY_CTX(nh_file_read(o->path, CONFIG_MAX, &text, err), err, "Error opening configuration file '%s'", o->path);
	/* Both "${FWUP_META_UUID}" and "\${FWUP_META_UUID}" are to be resolved by the reader, who alone knows them. */
	nh_fw_vars_set(c->vars, NH_LIT("FWUP_META_UUID"), NH_LIT("${FWUP_META_UUID}"));
	nh_fw_vars_set(c->vars, NH_LIT("FWUP_META_NICKNAME"), NH_LIT("${FWUP_META_NICKNAME}"));
	const struct nh_fw_config_hooks hooks = {
		.ctx = c, .from = o->path ? o->path : "", .call = on_call, .section_end = on_section_end, .include = on_include,
	};
	NH_TRY(nh_fw_config_parse(o->path ? nh_buf_slice(&text) : o->text, o->path ? o->path : "[buf]", c->vars, &hooks, c->arena, tree, err));
	return nh_fw_version_check(nh_fw_section_text(*tree, "require-fwup-version"), err);
}

static nh_rc member_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	return nh_fw_zip_writer_data(ctx, bytes, err);
}

static nh_rc put_bytes(struct nh_fw_zip_writer *zip, nh_slice name, nh_fw_method method, nh_slice bytes, const int64_t *time_s, struct nh_err *err)
{
	NH_TRY(nh_fw_zip_writer_begin(zip, name, method, bytes.len, time_s, false, err));
	NH_TRY(nh_fw_zip_writer_data(zip, bytes, err));
	return nh_fw_zip_writer_end(zip, 0, err);
}

static nh_rc write_archive(const struct nh_fw_create_options *o, struct nh_fw_zip_writer *zip, const struct nh_fw_section *tree,
			   const struct fw_payload *payloads, nh_slice meta, struct nh_arena *arena, struct nh_err *err)
{
	if (o->key) {
		uint8_t signature[NH_ED25519_SIGNATURE_LEN];
		nh_ed25519_sign(o->key->bytes, meta, signature);
		NH_TRY(put_bytes(zip, NH_LIT("meta.conf.ed25519"), NH_FW_STORED, nh_slice_of(signature, sizeof signature), NULL, err));
	}
	NH_TRY(put_bytes(zip, NH_LIT("meta.conf"), NH_FW_DEFLATED, meta, &o->time_s, err));
	const struct nh_fw_setting *resources = nh_fw_section_get(tree, "file-resource");
	for (size_t i = 0; i < resources->count; i++) {
		nh_slice name = resources->sections[i]->title;
		nh_slice member = nh_slice_starts(name, NH_LIT("/")) ? nh_slice_skip(name, 1) :
								       nh_slice_str(nh_arena_printf(arena, "data/%.*s", NH_ARG(name)));
		NH_TRY(nh_fw_zip_writer_begin(zip, member, NH_FW_DEFLATED, payloads[i].stored_bytes, NULL, false, err));
		NH_TRY(fw_payload_read(&payloads[i], member_write, zip, err));
		NH_TRY(nh_fw_zip_writer_end(zip, 0, err));
	}
	return nh_fw_zip_writer_finish(zip, err);
}

static nh_rc create(struct creator *c, const struct nh_fw_create_options *o, const struct nh_fw_sink *sink, struct nh_buf *meta, struct nh_err *err)
{
	struct nh_fw_section *tree;
	NH_TRY(parse(c, o, &tree, err));
	const struct nh_fw_setting *resources = nh_fw_section_get(tree, "file-resource");
	struct fw_payload *payloads = NH_NEW_ARRAY(c->arena, resources->count, struct fw_payload);
	for (size_t i = 0; i < resources->count; i++)
		NH_TRY(fw_payload_prepare(resources->sections[i], c->arena, &payloads[i], err));
	nh_fw_config_write(tree, meta);
	NH_TRY(nh_buf_check(meta, "meta.conf", err));
	if (meta->len > NH_FW_META_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "Unexpected meta.conf size: %zu (at most %d can be read again)", meta->len, NH_FW_META_MAX);
	struct nh_fw_zip_writer *zip = nh_fw_zip_writer_new(sink, o->level ? o->level : 9, o->utc_offset_s);
	nh_rc rc = write_archive(o, zip, tree, payloads, nh_buf_slice(meta), c->arena, err);
	nh_fw_zip_writer_free(zip);
	return rc;
}

nh_rc nh_fw_create(const struct nh_fw_create_options *options, const struct nh_fw_sink *sink, struct nh_buf *meta_conf, struct nh_err *err)
{
	struct nh_arena arena = {.cap_bytes = ARENA_CAP};
	struct nh_fw_vars *own = options->vars ? NULL : nh_fw_vars_new(NULL, NULL);
	struct nh_buf meta = NH_BUF_INIT;
	struct creator c = {.arena = &arena, .vars = own ? own : options->vars};
	nh_rc rc = create(&c, options, sink, &meta, err);
	if (rc == NH_OK && meta_conf)
		nh_buf_put_slice(meta_conf, nh_buf_slice(&meta));
	nh_buf_fini(&meta);
	nh_fw_vars_free(own);
	nh_arena_fini(&arena);
	return rc;
}

nh_rc nh_fw_create_file(const struct nh_fw_create_options *options, const char *out, struct nh_err *err)
{
	struct fw_file_sink file;
	NH_TRY(fw_file_sink_open(&file, out, err));
	nh_rc rc = nh_fw_create(options, &file.sink, NULL, err);
	if (rc == NH_OK)
		return fw_file_sink_commit(&file, err);
	fw_file_sink_abandon(&file);
	return rc;
}

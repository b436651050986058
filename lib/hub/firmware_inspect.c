/*
 * Looking at an uploaded firmware or archive: one pass over the file feeds the archive verifier and the check sums, then the metadata is judged. Nothing in the
 * file is expanded, executed or written anywhere; every refusal says what is wrong and what to do.
 *
 * source: reference/user-api-and-cli "12.1"; reference/server-behaviour "4.1", "4.2"
 */
#include <errno.h>
#include <unistd.h>

#include "base/semver.h"
#include "firmware/vars.h"
#include "firmware/verify.h"
#include "hub/file_sums.h"
#include "hub/firmware.h"
#include "input_int.h"

#define READ_BYTES ((size_t)64 << 10)
#define KEYS_MAX 256

static const uint8_t zip_magic[4] = {0x50, 0x4b, 0x03, 0x04};

static const char *noun(nh_intake_kind kind) { return kind == NH_INTAKE_ARCHIVE ? "archive" : "firmware"; }

/* What to tell for each kind of fault, with the verifier's own sentence behind it. */
static nh_rc refuse_fault(nh_intake_kind kind, nh_fw_fault fault, const struct nh_err *cause, json_t **errors, struct nh_err *err)
{
	static const struct {
		nh_fw_fault fault;
		const char *before, *after; /* the noun stands between */
		bool with_cause;
	} table[] = {
		{NH_FW_FAULT_TRUNCATED, "The ", " file is truncated. Build or copy it again, then upload the complete file.", true},
		{NH_FW_FAULT_TAMPERED, "The ", " file is damaged, or was changed after it was signed. Build and sign it again.", true},
		{NH_FW_FAULT_UNSIGNED, "The ",
		 " is not signed. Sign it with one of the organization's signing keys (nh firmware sign, fwup --sign) and upload it again.", false},
		{NH_FW_FAULT_BAD_SIGNATURE, "The ",
		 " signature does not match any of the organization's signing keys. Sign it with a registered key, or register the key that signed it.", false},
		{NH_FW_FAULT_NO_KEY, "The organization has no firmware signing keys. Register the public key your ", " is signed with first.", false},
		{NH_FW_FAULT_UNSUPPORTED, "The ", " needs something that this server does not support.", true},
	};
	if (fault == NH_FW_FAULT_NOT_ARCHIVE)
		return nh_refuse(errors, err, NH_EINVAL, NULL, "Unrecognised %s format. Expected an fwup archive (.fw)%s.", noun(kind),
		                 kind == NH_INTAKE_FIRMWARE ? " or an ESP-IDF application image (.bin)" : "");
	for (size_t i = 0; i < NH_ARRAY_LEN(table); i++) {
		if (table[i].fault == fault)
			return nh_refuse(errors, err, NH_EINVAL, NULL, table[i].with_cause && cause->msg[0] ? "%s%s%s (%s)" : "%s%s%s", table[i].before, noun(kind),
			                 table[i].after, cause->msg);
	}
	return nh_refuse(errors, err, NH_EINVAL, NULL, "The %s file is not a valid fwup archive: %s", noun(kind), cause->msg);
}

static nh_slice own(struct nh_arena *arena, nh_slice s)
{
	return s.len > 0 ? nh_arena_copy(arena, s) : NH_SLICE_EMPTY;
}

static nh_rc judge_metadata(struct nh_arena *arena, const struct nh_firmware_intake *intake, const struct nh_fw_manifest *manifest,
                            struct nh_firmware_facts *out, json_t **errors, struct nh_err *err)
{
	const struct nh_fw_metadata *m = &manifest->meta;
	const struct {
		const char *name;
		nh_slice from, *to;
		bool required;
	} fields[] = {
		{"meta-product", m->product, &out->product, true},
		{"meta-version", m->version, &out->version, true},
		{"meta-platform", m->platform, &out->platform, true},
		{"meta-architecture", m->architecture, &out->architecture, true},
		{"meta-uuid", m->uuid, &out->uuid, true},
		{"meta-author", m->author, &out->author, false},
		{"meta-description", m->description, &out->description, false},
		{"meta-misc", m->misc, &out->misc, false},
		{"meta-vcs-identifier", m->vcs_identifier, &out->vcs_identifier, false},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(fields); i++) {
		if (fields[i].required && fields[i].from.len == 0)
			return nh_refuse(errors, err, NH_EINVAL, NULL, "The %s's metadata lacks %s. Set it in fwup.conf and build it again.", noun(intake->kind),
			                 fields[i].name);
		if (!nh_input_text_ok(fields[i].from, fields[i].required ? NH_NAME_MAX_BYTES : NH_TEXT_MAX_BYTES))
			return nh_refuse(errors, err, NH_EINVAL, NULL, "The %s's metadata has a value of %s that is too long or not UTF-8.", noun(intake->kind),
			                 fields[i].name);
		*fields[i].to = own(arena, fields[i].from);
	}
	out->required_fwup_version = own(arena, manifest->require_fwup_version);
	out->delta_updatable = nh_fw_manifest_delta_updatable(manifest);
	/* An archive is for whatever devices its releases reach. source: reference/server-behaviour "5" */
	if (intake->kind == NH_INTAKE_FIRMWARE && !nh_slice_eq(out->product, intake->product.name))
		return nh_refuse(errors, err, NH_EINVAL, NULL, "This firmware is built for the product \"%.*s\", but was uploaded to \"%.*s\".",
		                 NH_ARG(out->product), NH_ARG(intake->product.name));
	struct nh_semver version;
	if (nh_semver_parse(out->version, &version) != NH_OK)
		return nh_refuse(errors, err, NH_EINVAL, "version", "must be a valid semantic version");
	return NH_OK;
}

/* Feeds the whole file; a refusal by the verifier ends the reading and leaves its code in *verdict. */
static nh_rc read_all(const struct nh_firmware_intake *intake, int fd, struct nh_fw_verifier *verifier, struct nh_file_sums *sums, nh_rc *verdict,
                      struct nh_err *cause, struct nh_err *err)
{
	NH_AUTO_BUF struct nh_buf block = NH_BUF_INIT;
	nh_buf_reserve(&block, READ_BYTES);
	if (!nh_buf_ok(&block))
		return NH_FAIL(err, NH_ENOMEM, "no memory to read the %s", noun(intake->kind));
	if (lseek(fd, 0, SEEK_SET) < 0)
		return NH_FAIL(err, NH_EIO, "could not rewind the uploaded %s", noun(intake->kind));
	for (;;) {
		ssize_t n = read(fd, block.ptr, READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return NH_FAIL(err, NH_EIO, "could not read the uploaded %s", noun(intake->kind));
		if (n == 0)
			break;
		nh_slice bytes = nh_slice_of(block.ptr, (size_t)n);
		if (nh_file_sums_size(sums) == 0 && !nh_slice_starts(bytes, nh_slice_of(zip_magic, sizeof(zip_magic)))) {
			*verdict = NH_EFORMAT;
			return NH_OK;
		}
		if (nh_file_sums_size(sums) + bytes.len > intake->max_bytes)
			return NH_FAIL(err, NH_ETOOBIG, "%s is larger than %llu bytes", noun(intake->kind), (unsigned long long)intake->max_bytes);
		nh_file_sums_update(sums, bytes);
		*verdict = nh_fw_verifier_feed(verifier, bytes, cause);
		if (*verdict != NH_OK)
			return NH_OK;
	}
	*verdict = nh_file_sums_size(sums) == 0 ? NH_EFORMAT : nh_fw_verifier_finish(verifier, cause);
	return NH_OK;
}

static nh_rc inspect(struct nh_arena *arena, const struct nh_firmware_intake *intake, int fd, struct nh_fw_verifier *verifier, struct nh_file_sums *sums,
                     const int64_t *key_ids, struct nh_firmware_facts *out, json_t **errors, struct nh_err *err)
{
	struct nh_err cause = NH_ERR_INIT;
	nh_rc verdict = NH_OK;
	NH_TRY(read_all(intake, fd, verifier, sums, &verdict, &cause, err));
	if (verdict != NH_OK) {
		nh_fw_fault fault = nh_fw_verifier_fault(verifier);
		/* Stopped before the verifier saw a byte: no archive at all. */
		return refuse_fault(intake->kind, fault == NH_FW_FAULT_NONE ? NH_FW_FAULT_NOT_ARCHIVE : fault, &cause, errors, err);
	}
	int key = nh_fw_verifier_key_index(verifier);
	if (key < 0)
		return refuse_fault(intake->kind, NH_FW_FAULT_BAD_SIGNATURE, &cause, errors, err);
	/* The hashes of patched contents can only be checked on a device, so what was changed after signing would not be noticed here. */
	if (nh_fw_verifier_patches(verifier))
		return nh_refuse(errors, err, NH_EINVAL, NULL, "This file is a delta update and not a whole firmware. Upload the archive it was made from.");
	out->org_key_id = key_ids[key];
	nh_file_sums_end(sums, arena, &out->checksum, &out->partials_checksums);
	out->size_bytes = nh_file_sums_size(sums);
	return judge_metadata(arena, intake, nh_fw_verifier_manifest(verifier), out, errors, err);
}

/* "${NAME}" in an upload stands for itself: nothing of the server's may show through, and nothing of the author's may get lost. */
static const char *keep_as_text(void *arena, const char *name)
{
	return nh_arena_printf(arena, "${%s}", name);
}

nh_rc nh_firmware_inspect(struct nh_arena *arena, const struct nh_firmware_intake *intake, int fd, struct nh_firmware_facts *out, json_t **errors,
                          struct nh_err *err)
{
	*out = (struct nh_firmware_facts){0};
	size_t count = 0, wanted = intake->key_count < KEYS_MAX ? intake->key_count : KEYS_MAX;
	struct nh_fw_public_key *keys = NH_NEW_ARRAY(arena, wanted + 1, struct nh_fw_public_key);
	int64_t *ids = NH_NEW_ARRAY(arena, wanted + 1, int64_t);
	for (size_t i = 0; i < wanted; i++) {
		if (nh_fw_public_key_decode(intake->keys[i].key, &keys[count], NULL) == NH_OK)
			ids[count++] = intake->keys[i].id;
	}

	struct nh_fw_vars *vars = nh_fw_vars_new(keep_as_text, arena);
	struct nh_fw_verifier *verifier = nh_fw_verifier_new(
		&(struct nh_fw_verify_config){.keys = keys, .key_count = count, .whole = true, .path = "firmware", .vars = vars});
	struct nh_file_sums *sums = nh_file_sums_new();
	nh_rc rc = inspect(arena, intake, fd, verifier, sums, ids, out, errors, err);
	nh_fw_verifier_free(verifier);
	nh_fw_vars_free(vars);
	nh_file_sums_free(sums);
	return rc;
}

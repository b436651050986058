/*
 * Every row of the fixtures' facts.tsv, and the expected metadata and meta.conf files: what the reference tool says of these archives.
 * Each archive is read in one piece and one byte at a time.
 */
#include "fixtures.h"

#include "base/arena.h"
#include "crypto/digest.h"
#include "firmware/verify.h"

struct outcome {
	nh_rc rc;
	struct nh_err err;
	nh_fw_fault fault;
	struct nh_fw_verifier *v;
};

static struct outcome verify(nh_slice bytes, size_t piece, const struct nh_fw_public_key *keys, size_t key_count)
{
	struct outcome o = {0};
	o.v = nh_fw_verifier_new(&(struct nh_fw_verify_config){.keys = keys, .key_count = key_count, .allow_unverified = true});
	/* exactly sized pieces, so that the sanitizer sees a read beyond one */
	for (size_t at = 0; at < bytes.len && o.rc == NH_OK; at += piece) {
		nh_slice part = nh_slice_sub(bytes, at, piece);
		uint8_t *copy = malloc(part.len);
		memcpy(copy, part.ptr, part.len);
		o.rc = nh_fw_verifier_feed(o.v, nh_slice_of(copy, part.len), &o.err);
		free(copy);
	}
	if (o.rc == NH_OK)
		o.rc = nh_fw_verifier_finish(o.v, &o.err);
	o.fault = nh_fw_verifier_fault(o.v);
	return o;
}

/* Texts that come from the ZIP library the reference was built with: only that there is one counts (fixtures' README). */
static bool library_text(nh_slice text)
{
	static const char *const starts[] = {"Unrecognized archive format", "ZIP decompression failed", "Truncated ZIP", "ZIP bad CRC"};
	for (size_t i = 0; i < NH_ARRAY_LEN(starts); i++)
		if (nh_slice_starts(text, nh_slice_str(starts[i])))
			return true;
	return false;
}

static void check_output(nh_slice file, const struct outcome *o, nh_slice exit_code, nh_slice output)
{
	if ((o->rc == NH_OK) != nh_slice_eq_str(exit_code, "0"))
		fail_msg("%.*s: expected exit %.*s, got %s: %s", NH_ARG(file), NH_ARG(exit_code), nh_rc_name(o->rc), o->err.msg);
	if (o->rc == NH_OK) {
		assert_slice(output, nh_fw_verifier_sentence(o->v));
		assert_int_equal(o->fault, NH_FW_FAULT_NONE);
		return;
	}
	assert_int_not_equal(o->fault, NH_FW_FAULT_NONE);
	assert_true(nh_slice_starts(output, NH_LIT("fwup: ")));
	nh_slice text = nh_slice_skip(output, 6);
	if (library_text(text))
		assert_true(o->err.msg[0] != 0);
	else
		assert_slice(text, o->err.msg);
}

static void check_metadata(nh_slice file, const nh_slice *columns, const struct nh_fw_manifest *m)
{
	if (nh_slice_eq_str(columns[F_META_EXIT], "1")) {
		assert_null(m);
		return;
	}
	assert_non_null(m);
	assert_true(nh_slice_eq(m->meta.uuid, columns[F_UUID]));
	assert_true(nh_slice_eq(m->meta.nickname, columns[F_NICKNAME]));
	NH_AUTO_BUF struct nh_buf tasks = NH_BUF_INIT;
	nh_fw_tasks_put(&tasks, m);
	for (size_t i = 0; i + 1 < tasks.len; i++)
		if (tasks.ptr[i] == '\n')
			tasks.ptr[i] = ',';
	nh_buf_truncate(&tasks, tasks.len - 1);
	assert_true(nh_slice_eq(nh_buf_slice(&tasks), columns[F_TASKS]));

	/* exact listing and meta.conf, where the fixtures hold them */
	char name[128];
	nh_slice stem = nh_slice_sub(file, 0, file.len - 3);
	snprintf(name, sizeof name, "expected/%.*s.metadata.txt", NH_ARG(stem));
	if (access(fixture_path(name), F_OK) == 0) {
		struct nh_buf want = fixture(name);
		NH_AUTO_BUF struct nh_buf got = NH_BUF_INIT;
		nh_fw_metadata_put(&got, &m->meta);
		assert_slice(nh_buf_slice(&got), nh_buf_cstr(&want));
		nh_buf_fini(&want);
	}
	snprintf(name, sizeof name, "expected/%.*s.meta.conf", NH_ARG(stem));
	if (access(fixture_path(name), F_OK) == 0) {
		struct nh_buf want = fixture(name);
		assert_slice(m->text, nh_buf_cstr(&want));
		/* writing what was read gives the same bytes, unless a variable was expanded */
		NH_AUTO_BUF struct nh_buf again = NH_BUF_INIT;
		nh_fw_config_write(m->tree, &again);
		if (nh_slice_find(m->text, NH_LIT("${")) < 0)
			assert_slice(nh_buf_slice(&again), nh_buf_cstr(&want));
		nh_buf_fini(&want);
	}
}

static void facts(void **state)
{
	const struct nh_fw_public_key keys[] = {fixture_key(1), fixture_key(2)};
	struct nh_buf table = fixture("expected/facts.tsv");
	nh_slice rest = nh_buf_slice(&table), columns[F_COUNT];
	assert_true(next_fact(&rest, columns));
	unsigned rows = 0;
	while (next_fact(&rest, columns)) {
		char name[128];
		snprintf(name, sizeof name, "%.*s", NH_ARG(columns[F_FILE]));
		struct nh_buf file = fixture(name);
		nh_slice bytes = nh_buf_slice(&file);
		NH_AUTO_BUF struct nh_buf hex = NH_BUF_INIT;
		nh_digest_put_hex(&hex, NH_SHA256, bytes);
		assert_true(nh_slice_eq(nh_buf_slice(&hex), columns[F_SHA256]));
		static const size_t pieces[] = {SIZE_MAX / 2, 1, 7};
		for (size_t p = 0; p < NH_ARRAY_LEN(pieces); p++) {
			struct outcome none = verify(bytes, pieces[p], NULL, 0);
			struct outcome first = verify(bytes, pieces[p], &keys[0], 1);
			struct outcome second = verify(bytes, pieces[p], &keys[1], 1);
			struct outcome both = verify(bytes, pieces[p], keys, 2);
			check_output(columns[F_FILE], &none, columns[F_NOKEY_EXIT], columns[F_NOKEY]);
			check_output(columns[F_FILE], &first, columns[F_KEY1_EXIT], columns[F_KEY1]);
			check_output(columns[F_FILE], &second, columns[F_KEY2_EXIT], columns[F_KEY2]);
			/* with both keys, whichever signed is found */
			assert_true((both.rc == NH_OK) == (first.rc == NH_OK || second.rc == NH_OK));
			if (both.rc == NH_OK)
				assert_int_equal(nh_fw_verifier_key_index(both.v), first.rc == NH_OK ? 0 : 1);
			check_metadata(columns[F_FILE], columns, nh_fw_verifier_manifest(none.v));
			nh_fw_verifier_free(none.v);
			nh_fw_verifier_free(first.v);
			nh_fw_verifier_free(second.v);
			nh_fw_verifier_free(both.v);
		}
		nh_buf_fini(&file);
		rows++;
	}
	nh_buf_fini(&table);
	assert_int_equal(rows, 19);
}

static void faults(void **state)
{
	static const struct {
		const char *file;
		nh_fw_fault fault;
		nh_rc rc;
	} rows[] = {
		{"not-a-zip.fw", NH_FW_FAULT_NOT_ARCHIVE, NH_EFORMAT},
		{"truncated-in-meta.fw", NH_FW_FAULT_TRUNCATED, NH_EFORMAT},
		{"truncated-in-rootfs.fw", NH_FW_FAULT_TRUNCATED, NH_EFORMAT},
		{"truncated-no-directory.fw", NH_FW_FAULT_TRUNCATED, NH_EFORMAT},
		{"tampered-payload.fw", NH_FW_FAULT_TAMPERED, NH_EFORMAT},
		{"tampered-raw-byte.fw", NH_FW_FAULT_TAMPERED, NH_EFORMAT},
		{"tampered-meta.fw", NH_FW_FAULT_BAD_SIGNATURE, NH_EAUTH},
		{"tampered-signature.fw", NH_FW_FAULT_BAD_SIGNATURE, NH_EAUTH},
		{"widget-1.0.0-key2.fw", NH_FW_FAULT_BAD_SIGNATURE, NH_EAUTH},
		{"minimal-unsigned.fw", NH_FW_FAULT_UNSIGNED, NH_EAUTH},
		{"widget-1.0.0.fw", NH_FW_FAULT_NONE, NH_OK},
	};
	const struct nh_fw_public_key key = fixture_key(1);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_buf file = fixture(rows[i].file);
		struct outcome o = verify(nh_buf_slice(&file), 4096, &key, 1);
		if (o.rc != rows[i].rc || o.fault != rows[i].fault)
			fail_msg("%s: %s, %s: %s", rows[i].file, nh_rc_name(o.rc), nh_fw_fault_name(o.fault), o.err.msg);
		nh_fw_verifier_free(o.v);
		nh_buf_fini(&file);
	}
}

/* No key and no explicit permission: refused, signed or not. */
static void no_key(void **state)
{
	static const char *const files[] = {"minimal-signed.fw", "minimal-unsigned.fw"};
	for (size_t i = 0; i < NH_ARRAY_LEN(files); i++) {
		struct nh_buf file = fixture(files[i]);
		struct nh_fw_verifier *v = nh_fw_verifier_new(&(struct nh_fw_verify_config){.whole = true});
		struct nh_err err = NH_ERR_INIT;
		assert_int_equal(nh_fw_verifier_feed(v, nh_buf_slice(&file), &err), NH_EAUTH);
		assert_int_equal(nh_fw_verifier_fault(v), NH_FW_FAULT_NO_KEY);
		assert_null(nh_fw_verifier_manifest(v));
		/* an error is final and repeats itself */
		struct nh_err again = NH_ERR_INIT;
		assert_int_equal(nh_fw_verifier_feed(v, NH_LIT("x"), &again), NH_EAUTH);
		assert_string_equal(again.msg, err.msg);
		assert_int_equal(nh_fw_verifier_finish(v, &again), NH_EAUTH);
		nh_fw_verifier_free(v);
		nh_buf_fini(&file);
	}
}

/* A whole file cut at any byte is refused as truncated; so is anything behind its end. */
static void cut_everywhere(void **state)
{
	const struct nh_fw_public_key key = fixture_key(1);
	struct nh_buf file = fixture("minimal-signed.fw");
	for (size_t n = 0; n <= file.len + 1; n++) {
		NH_AUTO_BUF struct nh_buf cut = NH_BUF_INIT;
		nh_buf_put_slice(&cut, nh_slice_sub(nh_buf_slice(&file), 0, n));
		if (n > file.len)
			nh_buf_put_u8(&cut, 0);
		struct nh_fw_verifier *v = nh_fw_verifier_new(&(struct nh_fw_verify_config){.keys = &key, .key_count = 1, .whole = true});
		struct nh_err err = NH_ERR_INIT;
		nh_rc rc = nh_fw_verifier_feed(v, nh_buf_slice(&cut), &err);
		if (rc == NH_OK)
			rc = nh_fw_verifier_finish(v, &err);
		nh_fw_fault want = n == 0 ? NH_FW_FAULT_NOT_ARCHIVE : n < file.len ? NH_FW_FAULT_TRUNCATED : n == file.len ? NH_FW_FAULT_NONE :
											      NH_FW_FAULT_MALFORMED;
		if (nh_fw_verifier_fault(v) != want || (rc == NH_OK) != (want == NH_FW_FAULT_NONE))
			fail_msg("%zu bytes: %s, %s: %s", n, nh_rc_name(rc), nh_fw_fault_name(nh_fw_verifier_fault(v)), err.msg);
		nh_fw_verifier_free(v);
	}
	nh_buf_fini(&file);
}

/* A flipped bit is either noticed or lies where nothing is said (times, owners, directory); then contents are what was signed. */
static void flip_every_bit(void **state)
{
	const struct nh_fw_public_key key = fixture_key(1);
	struct nh_buf file = fixture("minimal-signed.fw");
	unsigned refused = 0, accepted = 0;
	for (size_t bit = 0; bit < file.len * 8; bit++) {
		file.ptr[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		struct outcome o = verify(nh_buf_slice(&file), 4096, &key, 1);
		file.ptr[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		if (o.rc == NH_OK) {
			accepted++;
			assert_slice(nh_fw_verifier_manifest(o.v)->meta.uuid, "27507a8d-e720-5878-d294-846d46e4ccc2");
		} else {
			refused++;
			assert_int_not_equal(o.fault, NH_FW_FAULT_NONE);
		}
		nh_fw_verifier_free(o.v);
	}
	nh_buf_fini(&file);
	/* signature 64 bytes, contents 222 + 33 bytes: all of their bits count */
	assert_true(refused >= (64 + 222 + 33) * 8);
	assert_true(accepted > 0);
}

static void types(void **state)
{
	struct nh_buf file = fixture("widget-1.1.0.fw");
	struct outcome o = verify(nh_buf_slice(&file), 4096, NULL, 0);
	assert_int_equal(o.rc, NH_OK);
	assert_int_equal(nh_fw_verifier_signature(o.v), NH_FW_UNVERIFIED);
	assert_int_equal(nh_fw_verifier_key_index(o.v), -1);
	const struct nh_fw_manifest *m = nh_fw_verifier_manifest(o.v);
	assert_int_equal(m->resource_count, 3);
	const struct nh_fw_resource *r = nh_fw_manifest_resource(m, NH_LIT("rootfs.img"));
	assert_int_equal(r->size_bytes, 39848);
	assert_int_equal(r->index, 2);
	assert_true(r->hash_ok);
	assert_null(nh_fw_manifest_resource(m, NH_LIT("nothing")));
	assert_int_equal(m->task_count, 4);
	const struct nh_fw_task *t = &m->tasks[1];
	assert_slice(t->name, "upgrade.a");
	assert_int_equal(t->requirements.count, 2);
	assert_slice(t->requirements.items[1].name, "require-uboot-variable");
	assert_slice(t->requirements.items[1].args[2], "fixture_board");
	assert_int_equal(t->on_init.count, 6);
	assert_slice(t->on_init.items[0].args[0], "Upgrading partition A");
	assert_int_equal(t->on_error.count, 0);
	/* only the identity is expanded */
	const struct nh_fw_call *set = &t->on_finish.items[2];
	assert_slice(set->args[2], "300375cc-3528-57e6-328d-eeb8ab15459c");
	const struct nh_fw_on_resource *on = nh_fw_task_on_resource(t, NH_LIT("kernel.bin"));
	assert_true(on->has_fat_source);
	assert_false(on->has_raw_source);
	assert_int_equal(on->fat_offset, 768);
	assert_ptr_equal(on->resource, nh_fw_manifest_resource(m, NH_LIT("kernel.bin")));
	on = nh_fw_task_on_resource(t, NH_LIT("rootfs.img"));
	assert_int_equal(on->raw_offset, 1536);
	assert_int_equal(on->raw_count, 256);
	const struct nh_fw_mbr *mbr = nh_fw_manifest_mbr(m, NH_LIT("table-b"));
	assert_int_equal(mbr->signature, 0x57494447);
	assert_int_equal(mbr->partition_count, 3);
	assert_int_equal(mbr->partitions[1].type, 0x83);
	assert_true(mbr->partitions[2].expand);
	assert_int_equal(nh_fw_manifest_uboot_area(m, NH_LIT("vars"))->block_offset, 16);
	assert_int_equal(m->block_cache_size_mb, 8);
	assert_true(nh_fw_manifest_delta_updatable(m));
	nh_fw_verifier_free(o.v);
	nh_buf_fini(&file);

	static const struct {
		const char *file;
		bool delta;
	} rows[] = {{"encrypted-delta-signed.fw", true}, {"minimal-signed.fw", false}, {"sparse-unsigned.fw", false}};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		file = fixture(rows[i].file);
		o = verify(nh_buf_slice(&file), 4096, NULL, 0);
		assert_int_equal(o.rc, NH_OK);
		assert_int_equal(nh_fw_manifest_delta_updatable(nh_fw_verifier_manifest(o.v)), rows[i].delta);
		nh_fw_verifier_free(o.v);
		nh_buf_fini(&file);
	}
}

static const char *late(void *ctx, const char *name)
{
	return strcmp(name, "FIXTURE_LATE") == 0 ? "now" : NULL;
}

/* Variables come from the caller, never from the environment. */
static void variables(void **state)
{
	setenv("FIXTURE_LATE", "leaked", 1);
	struct nh_buf file = fixture("quoting-signed.fw");
	for (int with = 0; with < 2; with++) {
		struct nh_fw_vars *vars = with ? nh_fw_vars_new(late, NULL) : NULL;
		struct nh_fw_verifier *v = nh_fw_verifier_new(&(struct nh_fw_verify_config){.allow_unverified = true, .vars = vars});
		assert_int_equal(nh_fw_verifier_feed(v, nh_buf_slice(&file), NULL), NH_OK);
		assert_slice(nh_fw_verifier_manifest(v)->meta.misc, with ? "late: now" : "late: unset");
		assert_slice(nh_fw_verifier_manifest(v)->meta.uuid, "af2ff2e6-5f49-5c33-f0e8-2c6fd36c00ec");
		assert_slice(nh_fw_verifier_manifest(v)->meta.product, "Quote \"Test\" \\ Co");
		nh_fw_verifier_free(v);
		nh_fw_vars_free(vars);
	}
	nh_buf_fini(&file);
	unsetenv("FIXTURE_LATE");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(facts), cmocka_unit_test(faults), cmocka_unit_test(no_key), cmocka_unit_test(cut_everywhere),
		cmocka_unit_test(flip_every_bit), cmocka_unit_test(types), cmocka_unit_test(variables),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Making deltas: what the feature scan says of archives, every outcome of the builder, and that what it builds, applied over the old system, leaves
 * the image that the whole archive would.
 */
#include "applying.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "firmware/create.h"
#include "firmware/delta.h"
#include "firmware/verify.h"

static char dir[] = "/tmp/nh-delta-XXXXXX";

static const char *at(struct nh_arena *arena, const char *name) { return nh_arena_printf(arena, "%s/%s", dir, name); }

static int set_up(void **state) { return mkdtemp(dir) ? 0 : -1; }

static unsigned files_left(void)
{
	unsigned count = 0;
	DIR *d = opendir(dir);
	for (struct dirent *e; (e = readdir(d));)
		count += e->d_name[0] != '.';
	closedir(d);
	return count;
}

/* ---- features ------------------------------------------------------------------------------------------------------------------- */

static struct nh_fw_features features_of(struct nh_arena *arena, nh_slice meta)
{
	struct nh_fw_manifest *m;
	struct nh_fw_features f;
	struct nh_err err = NH_ERR_INIT;
	if (nh_fw_manifest_parse(meta, NULL, NH_SLICE_EMPTY, arena, &m, &err) != NH_OK)
		fail_msg("%s", err.msg);
	nh_fw_features_scan(m, arena, &f);
	assert_int_equal(nh_fw_manifest_delta_updatable(m), f.raw_deltas || f.fat_deltas);
	return f;
}

static void features(void **state)
{
	static const struct {
		const char *meta; /* "@…": an expected meta.conf of the fixtures */
		bool raw, fat, encryption, encrypted;
		const char *complete, *delta;
	} rows[] = {
		{"@widget-1.0.0.meta.conf", true, true, false, false, "1.10.0", "1.10.0"},
		{"@encrypted-delta-signed.meta.conf", true, false, true, true, "1.5.0", "1.13.0"},
		{"@minimal-unsigned.meta.conf", false, false, false, false, "0.2.0", "1.6.0"},
		{"@sparse-unsigned.meta.conf", false, false, false, false, "0.2.0", "1.6.0"},
		{"require-fwup-version=\"1.8\"\ntask a { on-resource r { delta-source-raw-offset=1 funlist={2,info,x,2,raw_write,0} } }", false, false, false, false, "1.8.0",
		 "1.8.0"},
		{"task a { on-resource r { delta-source-raw-offset=1 funlist={2,raw_write,0} } }", true, false, false, false, "0.2.0", "1.6.0"},
		{"task a { on-resource r { delta-source-fat-offset=1 delta-source-fat-path=x funlist={3,fat_write,0,x,2,info,x} } }", false, false, false, false, "0.2.0",
		 "1.6.0"},
		/* flags of several tasks come together */
		{"task a { on-resource r { delta-source-raw-offset=1 } }\ntask b { on-resource r { funlist={2,raw_write,0} } }", true, false, false, false, "0.2.0", "1.6.0"},
		/* encrypted where it is written, but the old data is not said to be */
		{"task a { on-resource r { delta-source-raw-offset=1 funlist={4,raw_write,0,\"cipher=x\",\"secret=y\"} } }", false, false, true, false, "1.5.0", "1.5.0"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
		if (rows[i].meta[0] == '@')
			text = fixture(nh_arena_printf(&arena, "expected/%s", rows[i].meta + 1));
		else
			nh_buf_put_str(&text, rows[i].meta);
		struct nh_fw_features f = features_of(&arena, nh_buf_slice(&text));
		if (f.raw_deltas != rows[i].raw || f.fat_deltas != rows[i].fat || f.encryption != rows[i].encryption || f.encrypted_deltas != rows[i].encrypted ||
		    strcmp(f.complete_version, rows[i].complete) != 0 || strcmp(f.delta_version, rows[i].delta) != 0)
			fail_msg("%s: raw %d fat %d encryption %d encrypted %d complete %s delta %s", rows[i].meta, f.raw_deltas, f.fat_deltas, f.encryption,
				 f.encrypted_deltas, f.complete_version, f.delta_version);
	}
}

/* ---- building -------------------------------------------------------------------------------------------------------------------- */

static nh_rc build(const char *source, const char *target, const char *output, struct nh_fw_delta_result *result, struct nh_err *err)
{
	return nh_fw_delta_build(&(struct nh_fw_delta_build){.source = source, .target = target, .output = output, .scratch = dir, .timeout_ms = 60000}, result, err);
}

static nh_rc apply(int fd, nh_slice archive, const char *task, const struct nh_fw_public_key *key, struct nh_err *err)
{
	struct heard h;
	nh_rc rc = run_job(&(struct job){.task = task, .archive = archive, .fd = fd, .key = key}, &h, err);
	nh_buf_fini(&h.messages);
	return rc;
}

static void built_delta_equals_the_whole(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct nh_fw_delta_result r;
	const char *out = at(&arena, "delta.fw");
	if (build(fixture_path("widget-1.0.0.fw"), fixture_path("widget-1.1.0.fw"), out, &r, &err) != NH_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(r.outcome, NH_FW_DELTA_BUILT);
	assert_int_equal(r.patches, 2);
	assert_int_equal(r.source_bytes, 16212);
	assert_int_equal(r.target_bytes, 16343);
	NH_AUTO_BUF struct nh_buf delta = NH_BUF_INIT, base = fixture("widget-1.0.0.fw"), whole = fixture("widget-1.1.0.fw");
	assert_int_equal(nh_file_read(out, 1u << 20, &delta, &err), NH_OK);
	assert_int_equal(delta.len, r.size_bytes);
	assert_in_range(delta.len, 1500, 2500); /* the reference's is 1984 */
	struct nh_fw_public_key key = fixture_key(1);
	int one = image_new(), two = image_new();
	assert_int_equal(apply(one, nh_buf_slice(&base), "complete", &key, &err), NH_OK);
	assert_int_equal(apply(two, nh_buf_slice(&base), "complete", &key, &err), NH_OK);
	assert_int_equal(apply(one, nh_buf_slice(&whole), "upgrade", &key, &err), NH_OK);
	if (apply(two, nh_buf_slice(&delta), "upgrade", &key, &err) != NH_OK)
		fail_msg("%s", err.msg);
	NH_AUTO_BUF struct nh_buf a = image_bytes(one), b = image_bytes(two);
	assert_true(nh_slice_eq(nh_buf_slice(&a), nh_buf_slice(&b)));
	close(one);
	close(two);
	unlink(out);
	assert_int_equal(files_left(), 0);
}

static nh_rc check(const char *source, const char *target, const char *delta, struct nh_err *err)
{
	return nh_fw_delta_check(&(struct nh_fw_delta_check){.source = source, .target = target, .delta = delta, .scratch = dir}, err);
}

/* A delta is good for exactly its source and its target, and with every byte of it. */
static void only_a_good_delta_passes(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct nh_fw_delta_result r;
	const char *source = nh_arena_printf(&arena, "%s", fixture_path("widget-1.0.0.fw")), *target = nh_arena_printf(&arena, "%s", fixture_path("widget-1.1.0.fw"));
	const char *out = at(&arena, "delta.fw"), *bad = at(&arena, "bad.fw");
	assert_int_equal(build(source, target, out, &r, &err), NH_OK);
	if (check(source, target, out, &err) != NH_OK)
		fail_msg("%s", err.msg);
	assert_int_equal(check(source, target, fixture_path("widget-1.0.0-to-1.1.0.delta.fw"), &err), NH_OK);
	assert_int_equal(check(source, target, target, &err), NH_OK); /* no patch at all: nothing is wrong with it */

	assert_int_equal(check(fixture_path("widget-2.0.0-rc.1.fw"), target, out, &err), NH_EFORMAT);
	assert_int_equal(check(source, fixture_path("widget-2.0.0-rc.1.fw"), out, &err), NH_EFORMAT);
	assert_string_equal(err.msg, "metadata and signature of the delta are not the target's");
	assert_int_equal(check(fixture_path("minimal-unsigned.fw"), target, out, &err), NH_EFORMAT);
	assert_int_equal(check(source, target, at(&arena, "none.fw"), &err), NH_ENOTFOUND);
	assert_int_equal(nh_fw_delta_check(&(struct nh_fw_delta_check){.source = source, .target = target, .delta = out, .scratch = dir, .scratch_max_bytes = 100}, &err), NH_ETOOBIG);

	/* A bit of every seventh byte flipped: noticed, or one that means nothing; in so small an archive much of the container does. */
	NH_AUTO_BUF struct nh_buf delta = NH_BUF_INIT;
	size_t refused = 0, tried = 0;
	assert_int_equal(nh_file_read(out, 1u << 20, &delta, &err), NH_OK);
	for (size_t i = 0; i < delta.len; i += 7, tried++) {
		delta.ptr[i] ^= 0x10;
		assert_int_equal(nh_file_write_atomic(bad, nh_buf_slice(&delta), 0600, &err), NH_OK);
		refused += check(source, target, bad, &err) != NH_OK;
		delta.ptr[i] ^= 0x10;
	}
	if (refused * 10 < tried * 6)
		fail_msg("%zu of %zu noticed", refused, tried);
	unlink(bad);
	unlink(out);
	assert_int_equal(files_left(), 0);
}

/* xdelta3 reads more of the old data than a device may: the tasks say where that ends. */
static const char *create(struct nh_arena *arena, const char *name, const char *conf);
static void old_data_ends_where_the_task_says(void **state)
{
	static const char conf[] = "file-resource r { contents=\"%s%s%s%s%s%s\" }\ntask upgrade { on-resource r { delta-source-raw-offset=0 delta-source-raw-count=%d raw_write(9) } }";
	static const char part[] = "0123456789 every good boy deserves fudge, said the quick brown fox to the lazy dog; then it jumped 9876543210 |";
	for (int blocks = 1; blocks <= 2; blocks++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_err err = NH_ERR_INIT;
		struct nh_fw_delta_result r;
		const char *out = at(&arena, "d.fw"), *end = "this is what is only at the very end of both, where a device with one block cannot read it at all";
		const char *source = create(&arena, "s.fw", nh_arena_printf(&arena, conf, part, part, part, part, part, end, blocks));
		const char *target = create(&arena, "t.fw", nh_arena_printf(&arena, conf, end, part, part, part, part, "b", blocks));
		assert_int_equal(build(source, target, out, &r, &err), NH_OK);
		assert_int_equal(r.outcome, NH_FW_DELTA_BUILT);
		if (check(source, target, out, &err) != (blocks == 2 ? NH_OK : NH_EFORMAT))
			fail_msg("%d blocks: %s", blocks, err.msg);
		unlink(out);
		unlink(source);
		unlink(target);
	}
	assert_int_equal(files_left(), 0);
}

static const char *create(struct nh_arena *arena, const char *name, const char *conf)
{
	struct nh_err err = NH_ERR_INIT;
	struct nh_fw_vars *vars = nh_fw_vars_new(NULL, NULL);
	const char *path = at(arena, name);
	if (nh_fw_create_file(&(struct nh_fw_create_options){.text = nh_slice_str(conf), .vars = vars, .time_s = 1}, path, &err) != NH_OK)
		fail_msg("%s\n%s", err.msg, conf);
	nh_fw_vars_free(vars);
	return path;
}

#define LONG "0123456789 every good boy deserves fudge, said the quick brown fox to the lazy dog; then it jumped 9876543210 "
#define FIFTY "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define SOURCE(text) "file-resource r { contents=\"" text "\" }\nfile-resource unused { contents=\"" LONG LONG "\" }\n"

static void outcomes(void **state)
{
	static const struct {
		const char *source, *target;
		nh_fw_delta_outcome outcome;
		const char *text;
	} rows[] = {
		{SOURCE(LONG "a") "task upgrade { on-resource r { raw_write(0) } }", SOURCE(LONG "b") "task upgrade { on-resource r { raw_write(0) } }",
		 NH_FW_DELTA_NO_SUPPORT, ""},
		{SOURCE(LONG LONG LONG "a") "task upgrade { on-resource r { raw_write(0) } }",
		 SOURCE(LONG LONG LONG "b") "task upgrade { on-resource r { delta-source-raw-offset=0 delta-source-raw-count=9 raw_write(9) } }", NH_FW_DELTA_BUILT, ""},
		{SOURCE("a") "task upgrade { on-resource r { raw_write(0) } }",
		 SOURCE("b") "task upgrade { on-resource r { delta-source-raw-offset=0 delta-source-raw-count=9 raw_write(9) } }", NH_FW_DELTA_NO_CHANGES, ""},
		{"file-resource r { contents=\"x\" }\ntask upgrade { on-resource r { raw_write(0) } }", /* a row of one letter: deflate says it shorter than a patch */
		 "file-resource r { contents=\"" FIFTY FIFTY "\" }\ntask upgrade { on-resource r { delta-source-raw-offset=0 delta-source-raw-count=9 raw_write(9) } }",
		 NH_FW_DELTA_LARGER, ""},
		{SOURCE(LONG) "task upgrade { on-resource r { fat_write(0, x) } }",
		 SOURCE(LONG) "task upgrade { on-resource r { delta-source-raw-offset=0 delta-source-raw-count=9 raw_write(9) } }", NH_FW_DELTA_INCOMPATIBLE,
		 "r: Target uses raw deltas but source has no raw writes."},
		{SOURCE(LONG) "task upgrade { on-resource r { raw_write(0) } }",
		 SOURCE(LONG) "task upgrade { on-resource r { delta-source-fat-offset=0 delta-source-fat-path=x fat_write(9, x) } }", NH_FW_DELTA_INCOMPATIBLE,
		 "r: Target uses FAT deltas but source has no FAT writes."},
		{SOURCE(LONG) "task upgrade { on-resource r { raw_write(0, \"cipher=aes-cbc-plain\", \"secret=00\") } }",
		 SOURCE(LONG) "task upgrade { on-resource r { delta-source-raw-offset=0 delta-source-raw-count=9 raw_write(9) } }", NH_FW_DELTA_INCOMPATIBLE,
		 "r: Target uses raw deltas and source firmware uses encryption"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
		struct nh_err err = NH_ERR_INIT;
		struct nh_fw_delta_result r;
		const char *source = create(&arena, "s.fw", rows[i].source), *target = create(&arena, "t.fw", rows[i].target), *out = at(&arena, "d.fw");
		nh_rc rc = build(source, target, out, &r, &err);
		if (rc != NH_OK || r.outcome != rows[i].outcome || !strstr(err.msg, rows[i].text))
			fail_msg("%zu: %s %s '%s'", i, nh_rc_name(rc), nh_fw_delta_outcome_name(r.outcome), err.msg);
		assert_int_equal(access(out, F_OK) == 0, r.outcome == NH_FW_DELTA_BUILT);
		unlink(out);
		unlink(source);
		unlink(target);
		assert_int_equal(files_left(), 0);
	}
}

/* Whatever goes wrong, no output and nothing in the scratch folder stays. */
static void failures(void **state)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_err err = NH_ERR_INIT;
	struct nh_fw_delta_result r;
	const char *good = fixture_path("widget-1.1.0.fw"), *out = at(&arena, "d.fw");
	assert_int_equal(build(at(&arena, "none.fw"), good, out, &r, &err), NH_ENOTFOUND);
	assert_int_equal(build(fixture_path("not-a-zip.fw"), good, out, &r, &err), NH_EFORMAT);
	assert_int_equal(build(good, fixture_path("truncated-in-rootfs.fw"), out, &r, &err), NH_EFORMAT);
	assert_int_equal(nh_fw_delta_build(&(struct nh_fw_delta_build){.source = good, .target = good, .output = out, .scratch = dir, .scratch_max_bytes = 10000}, &r, &err),
			 NH_ETOOBIG);
	assert_int_equal(nh_fw_delta_build(&(struct nh_fw_delta_build){.source = good, .target = good, .output = out, .scratch = "/nonexistent"}, &r, &err), NH_ENOTFOUND);
	char *path = getenv("PATH");
	NH_AUTO_BUF struct nh_buf kept = NH_BUF_INIT;
	nh_buf_put_str(&kept, path);
	setenv("PATH", "/nonexistent", 1);
	assert_int_equal(build(fixture_path("widget-1.0.0.fw"), good, out, &r, &err), NH_ENOTFOUND);
	setenv("PATH", nh_buf_cstr(&kept), 1);
	assert_int_equal(access(out, F_OK), -1);
	assert_int_equal(files_left(), 0);
}

static int tear_down(void **state) { return rmdir(dir); }

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(features), cmocka_unit_test(built_delta_equals_the_whole), cmocka_unit_test(outcomes), cmocka_unit_test(only_a_good_delta_passes),
		cmocka_unit_test(old_data_ends_where_the_task_says), cmocka_unit_test(failures)};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/*
 * Creating and signing: the fixtures are made again from their configurations, byte for byte, and every rule of the language has its refusal.
 */
#include "fixtures.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "firmware/create.h"
#include "firmware/sign.h"
#include "firmware/verify.h"

#define FIXTURE_TIME 1700000000

static nh_rc to_buf(void *ctx, nh_slice bytes, struct nh_err *err)
{
	nh_buf_put_slice(ctx, bytes);
	return NH_OK;
}

struct recipe {
	const char *conf, *meta, *archive;
	const char *version, *commit;
	unsigned key; /* 0: made unsigned, then signed with key1 by sign_file where `archive` is signed */
	bool sign_after;
};

static const struct recipe recipes[] = {
	{"minimal.conf", "minimal-unsigned", "minimal-unsigned.fw", NULL, NULL, 0, false},
	{"minimal.conf", "minimal-unsigned", "minimal-signed.fw", NULL, NULL, 1, true},
	{"no-product.conf", NULL, "no-product-signed.fw", NULL, NULL, 1, false},
	{"quoting.conf", "quoting-signed", "quoting-signed.fw", NULL, NULL, 1, false},
	{"widget.conf", "widget-1.0.0", "widget-1.0.0.fw", "1.0.0", "c0ffee01", 1, true},
	{"widget.conf", "widget-1.1.0", "widget-1.1.0.fw", "1.1.0", "c0ffee02", 1, true},
	{"widget.conf", "widget-2.0.0-rc.1", "widget-2.0.0-rc.1.fw", "2.0.0-rc.1", "c0ffee03", 1, true},
	{"widget.conf", "widget-1.0.0", "widget-1.0.0-key2.fw", "1.0.0", "c0ffee01", 2, true},
	{"encrypted-delta.conf", "encrypted-delta-signed", "encrypted-delta-signed.fw", "1.0.0", "", 1, false},
};

static struct nh_fw_vars *recipe_vars(const struct recipe *r)
{
	struct nh_fw_vars *vars = nh_fw_vars_new(NULL, NULL);
	if (r->version) {
		char name[64];
		nh_fw_vars_set(vars, NH_LIT("WIDGET_VERSION"), nh_slice_str(r->version));
		nh_fw_vars_set(vars, NH_LIT("WIDGET_COMMIT"), nh_slice_str(r->commit));
		snprintf(name, sizeof name, "payload/kernel-%s.bin", r->version);
		nh_fw_vars_set(vars, NH_LIT("WIDGET_KERNEL"), nh_slice_str(realpath(fixture_path(name), (char[4096]){0})));
		snprintf(name, sizeof name, "payload/rootfs-%s.img", r->version);
		nh_fw_vars_set(vars, NH_LIT("WIDGET_ROOTFS"), nh_slice_str(realpath(fixture_path(name), (char[4096]){0})));
	}
	return vars;
}

static void fixtures_again(void **state)
{
	char *dir = make_dir();
	for (size_t i = 0; i < NH_ARRAY_LEN(recipes); i++) {
		const struct recipe *r = &recipes[i];
		char conf[64], out[512], name[128];
		snprintf(conf, sizeof conf, "conf/%s", r->conf);
		snprintf(out, sizeof out, "%s/%zu.fw", dir, i);
		struct nh_fw_vars *vars = recipe_vars(r);
		struct nh_fw_private_key key = fixture_private_key(r->key ? r->key : 1);
		struct nh_fw_create_options options = {
			.path = fixture_path(conf), .vars = vars, .key = r->key && !r->sign_after ? &key : NULL, .time_s = FIXTURE_TIME,
		};
		NH_AUTO_BUF struct nh_buf meta = NH_BUF_INIT;
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
		struct nh_err err = NH_ERR_INIT;
		if (nh_fw_create(&options, &(struct nh_fw_sink){&bytes, to_buf}, &meta, &err) != NH_OK)
			fail_msg("%s: %s", r->archive, err.msg);
		nh_fw_vars_free(vars);
		if (r->meta) {
			snprintf(name, sizeof name, "expected/%s.meta.conf", r->meta);
			struct nh_buf want = fixture(name);
			assert_slice(nh_buf_slice(&meta), nh_buf_cstr(&want));
			nh_buf_fini(&want);
		}
		assert_int_equal(nh_file_write_atomic(out, nh_buf_slice(&bytes), 0644, NULL), NH_OK);
		if (r->sign_after && nh_fw_sign_file(out, out, &(struct nh_fw_sign_options){.key = &key, .time_s = FIXTURE_TIME}, &err) != NH_OK)
			fail_msg("sign %s: %s", r->archive, err.msg);
		struct nh_buf want = fixture(r->archive);
		NH_AUTO_BUF struct nh_buf got = NH_BUF_INIT;
		assert_int_equal(nh_file_read(out, 1u << 20, &got, NULL), NH_OK);
		if (!nh_slice_eq(nh_buf_slice(&got), nh_buf_slice(&want)))
			fail_msg("%s differs from the reference tool's (%zu against %zu bytes)", r->archive, got.len, want.len);
		nh_buf_fini(&want);
	}
	remove_dir(dir);
}

/* Every good fixture signed anew with the other key: same contents, same UUID, accepted by that key only; a delta stays a delta. */
static void sign_round_trip(void **state)
{
	static const char *const files[] = {"minimal-unsigned.fw", "widget-1.1.0.fw", "widget-1.0.0-to-1.1.0.delta.fw", "sparse-unsigned.fw",
					    "tampered-payload.fw"};
	char *dir = make_dir();
	struct nh_fw_private_key priv = fixture_private_key(2);
	const struct nh_fw_public_key pubs[] = {fixture_key(1), fixture_key(2)};
	for (size_t i = 0; i < NH_ARRAY_LEN(files); i++) {
		char out[512];
		snprintf(out, sizeof out, "%s/out.fw", dir);
		struct nh_err err = NH_ERR_INIT;
		if (nh_fw_sign_file(fixture_path(files[i]), out, &(struct nh_fw_sign_options){.key = &priv, .time_s = 1}, &err) != NH_OK)
			fail_msg("%s: %s", files[i], err.msg);
		int before = open(fixture_path(files[i]), O_RDONLY), after = open(out, O_RDONLY);
		struct nh_fw_verifier *a = nh_fw_verifier_new(&(struct nh_fw_verify_config){.allow_unverified = true, .whole = true});
		struct nh_fw_verifier *b = nh_fw_verifier_new(&(struct nh_fw_verify_config){.keys = pubs, .key_count = 2, .whole = true});
		nh_rc rc_before = nh_fw_verify_fd(a, before, NULL), rc_after = nh_fw_verify_fd(b, after, NULL);
		assert_int_equal(rc_before, rc_after); /* bad contents stay bad */
		assert_int_equal(nh_fw_verifier_key_index(b), 1);
		assert_true(nh_slice_eq(nh_fw_verifier_manifest(a)->text, nh_fw_verifier_manifest(b)->text));
		assert_slice(nh_fw_verifier_manifest(b)->meta.creation_date, "1970-01-01T00:00:01Z");
		nh_fw_verifier_free(a);
		nh_fw_verifier_free(b);
		close(before);
		close(after);
		/* nothing but the result is left beside it, and Info-ZIP agrees that it is whole */
		char pattern[512], command[600];
		snprintf(pattern, sizeof pattern, "%s/*", dir);
		glob_t found;
		assert_int_equal(glob(pattern, 0, NULL, &found), 0);
		assert_int_equal(found.gl_pathc, 1);
		globfree(&found);
		snprintf(command, sizeof command, "! command -v unzip >/dev/null || unzip -tq '%s' >/dev/null", out);
		assert_int_equal(system(command), 0);
	}
	remove_dir(dir);
}

static void sign_refused(void **state)
{
	static const struct {
		const char *file;
		nh_rc rc;
		const char *message;
	} rows[] = {
		{"nothing.fw", NH_ENOTFOUND, NULL},
		{"not-a-zip.fw", NH_EFORMAT, "Unrecognized archive format"},
		{"truncated-in-rootfs.fw", NH_EFORMAT, "Truncated ZIP file: it ends inside 'data/rootfs.img'"},
		{"tampered-raw-byte.fw", NH_EFORMAT, NULL},
	};
	char *dir = make_dir(), out[512], pattern[512];
	snprintf(out, sizeof out, "%s/out.fw", dir);
	snprintf(pattern, sizeof pattern, "%s/*", dir);
	struct nh_fw_private_key key = fixture_private_key(1);
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		struct nh_err err = NH_ERR_INIT;
		assert_int_equal(nh_fw_sign_file(fixture_path(rows[i].file), out, &(struct nh_fw_sign_options){.key = &key}, &err), rows[i].rc);
		if (rows[i].message)
			assert_string_equal(err.msg, rows[i].message);
		glob_t found;
		assert_int_equal(glob(pattern, 0, NULL, &found), GLOB_NOMATCH);
		globfree(&found);
	}
	struct nh_err err = NH_ERR_INIT;
	assert_int_not_equal(nh_fw_sign_file(fixture_path("minimal-signed.fw"), "/nonexistent/x.fw", &(struct nh_fw_sign_options){.key = &key}, &err), NH_OK);
	remove_dir(dir);
}

static nh_rc create_text(const char *text, struct nh_buf *meta, struct nh_buf *bytes, struct nh_err *err)
{
	return nh_fw_create(&(struct nh_fw_create_options){.text = nh_slice_str(text), .time_s = 1}, &(struct nh_fw_sink){bytes, to_buf}, meta, err);
}

/* meta.conf that a configuration gives. */
static void language(void **state)
{
	static const struct {
		const char *conf, *meta;
	} rows[] = {
		{"", "# Empty file\n"},
		{"define(A, 1) define(A, 2) define!(B, 1) define!(B, 2) meta-misc=\"${A}${B}\"", "meta-misc=12\n"},
		{"define-eval(A, \"1K / 2\") define-eval!(A, \"${A} + 1\") meta-misc=${A}", "meta-misc=513\n"},
		{"meta-uuid=x meta-nickname=y meta-creation-date=z meta-author=\"a b\"", "meta-author=\"a b\"\n"},
		{"meta-misc=\"${FWUP_META_UUID}\" meta-author=\"\\${FWUP_META_UUID}\"",
		 "meta-author=\"${FWUP_META_UUID}\"\nmeta-misc=\"${FWUP_META_UUID}\"\n"},
		{"require-fwup-version=\"0\" block-cache-size-mb=8", "# Empty file\n"},
		{"task t { } task u { on-init { } }", "task \"t\" {\n}\ntask \"u\" {\n}\n"},
		{"file-resource e { contents=\"\" }",
		 "file-resource \"e\" {\nblake2b-256=0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8\n}\n"},
		{"file-resource a.b { contents=\"hello from the minimal fixture\\n\" } task t { on-resource a.b { fat_write(1) } }",
		 "file-resource \"a.b\" {\nlength=31\nblake2b-256=a5b961b3d8e362ba6c3cf9689915409bf60b02ee4bfc1df036062aa01fcc5414\n}\n"
		 "task \"t\" {\non-resource \"a.b\" {\nfunlist={3,fat_write,1,a.b}\n}\n}\n"},
		{"task t { on-init { info(a) } on-init { info(\"b c\") } on-error { error(x) } on-finish { trim(0, 1) } }",
		 "task \"t\" {\non-init {\nfunlist={2,info,a,2,info,\"b c\"}\n}\non-finish {\nfunlist={3,trim,0,1}\n}\non-error {\nfunlist={2,error,x}\n}\n}\n"},
		{"gpt g { guid=00000000-0000-0000-0000-000000000001 partition 0 { block-offset=0x22 block-count=0x10 boot=true flags=0x1 "
		 "type=00000000-0000-0000-0000-000000000002 guid=00000000-0000-0000-0000-000000000003 } }",
		 "gpt \"g\" {\nguid=\"00000000-0000-0000-0000-000000000001\"\npartition \"0\" {\nblock-offset=0x22\nblock-count=16\n"
		 "type=\"00000000-0000-0000-0000-000000000002\"\nguid=\"00000000-0000-0000-0000-000000000003\"\nflags=0x5\n}\n}\n"},
		{"uboot-environment e { block-offset=16 block-count=0x10 block-offset-redund=32 } "
		 "task t { require-uboot-variable(e, a, b) require-partition-offset(0, 1) on-init { uboot_setenv(e, n, v) } }",
		 "task \"t\" {\nreqlist={4,\"require-uboot-variable\",e,a,b,3,\"require-partition-offset\",0,1}\non-init {\n"
		 "funlist={4,uboot_setenv,e,n,v}\n}\n}\nuboot-environment \"e\" {\nblock-offset=16\nblock-count=16\nblock-offset-redund=32\n}\n"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf meta = NH_BUF_INIT;
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
		struct nh_err err = NH_ERR_INIT;
		if (create_text(rows[i].conf, &meta, &bytes, &err) != NH_OK)
			fail_msg("%s: %s", rows[i].conf, err.msg);
		assert_slice(nh_buf_slice(&meta), rows[i].meta);
		struct nh_fw_verifier *v = nh_fw_verifier_new(&(struct nh_fw_verify_config){.allow_unverified = true, .whole = true});
		if (nh_fw_verifier_feed(v, nh_buf_slice(&bytes), &err) != NH_OK || nh_fw_verifier_finish(v, &err) != NH_OK)
			fail_msg("%s: %s", rows[i].conf, err.msg);
		nh_fw_verifier_free(v);
	}
}

static void language_refused(void **state)
{
	static const struct {
		const char *conf, *message;
	} rows[] = {
		{"unknown=1", "[buf]:1: no such option 'unknown'"},
		{"raw_write(1)", "[buf]:1: no such option 'raw_write'"},
		{"task t { raw_write(1) }", "[buf]:1: no such option 'raw_write'"},
		{"task t { on-init { require-execute(x) } }", "[buf]:1: no such option 'require-execute'"},
		{"task t { on-init { raw_write(1) } }", "[buf]:1: raw_write can only be used in an on-resource section"},
		{"task t { on-init { info() } }", "[buf]:1: info requires 1 argument, not 0"},
		{"task t { on-init { info(a, b) } }", "[buf]:1: info requires 1 argument, not 2"},
		{"task t { on-init { trim(0, 0) } }", "[buf]:1: trim requires a count of at least 1 as argument 2, not '0'"},
		{"task t { on-init { raw_memset(0, 1, 256) } }", "[buf]:1: raw_memset requires a value from 0 to 255 as argument 3, not '256'"},
		{"task t { on-init { fat_mkfs(x, 1) } }", "[buf]:1: fat_mkfs requires a non-negative number as argument 1, not 'x'"},
		{"task t { on-init { mbr_write(m) } }", "[buf]:1: mbr_write requires the name of an mbr section as argument 1, not 'm'"},
		{"task t { on-init { fat_attrib(1, a, X) } }", "[buf]:1: fat_attrib requires attributes out of S, H and R as argument 3, not 'X'"},
		{"task t { require-partition-offset(4, 1) }",
		 "[buf]:1: require-partition-offset requires a partition from 0 to 3 as argument 1, not '4'"},
		{"task t { on-resource r { } }", "[buf]:1: unknown resource: r"},
		{"file-resource r { }", "[buf]:1: file-resource 'r' needs either host-path or contents"},
		{"file-resource r { contents=a host-path=b }", "[buf]:1: file-resource 'r' needs either host-path or contents"},
		{"file-resource /meta.conf { contents=a }", "[buf]:1: a file-resource can't be named '/meta.conf'"},
		{"file-resource r/ { contents=a }", "[buf]:1: a file-resource can't be named 'r/'"},
		{"file-resource r { host-path=/nonexistent }", "can't open path '/nonexistent' in file-resource 'r'"},
		{"file-resource r { contents=abc assert-size-lte=0 }",
		 "file size assertion failed on 'r'. Size is 3 bytes. It must be <= 0 bytes (0 blocks)"},
		{"file-resource r { contents=abc assert-size-gte=1 }",
		 "file size assertion failed on 'r'. Size is 3 bytes. It must be >= 512 bytes (1 blocks)"},
		{"define-eval(A, \"1+\")", "[buf]:1: '1+' isn't an expression: a number was expected"},
		{"define(A)", "[buf]:1: define() takes a name and a value"},
		{"include(${X})", "[buf]:1: Cannot include the contents of an undefined variable"},
		{"include(/nonexistent)", "[buf]:1: Cannot include '/nonexistent': File not found"},
		{"include(/dev)", "[buf]:1: Cannot include '/dev': Not a regular file"},
		{"require-fwup-version=2", "fwup version '2' required. This is fwup version '1.16.0'."},
		{"mbr m { partition 0 { block-offset=0 block-count=2 type=1 } partition 1 { block-offset=1 block-count=2 type=1 } }",
		 "[buf]:1: 'm': partitions 0 and 1 overlap"},
		{"mbr m { partition 0 { block-offset=0 type=1 } }", "[buf]:1: 'm': partition 0 needs a block-count"},
		{"mbr m { partition 0 { block-offset=0 block-count=2 } }", "[buf]:1: 'm': partition 0 needs a type from 0 to 255"},
		{"mbr m { partition 0 { block-offset=0 block-count=1 type=1 expand=true } partition 1 { block-offset=1 block-count=2 type=1 } }",
		 "[buf]:1: 'm': only the last partition can expand, 0 isn't"},
		{"mbr m { partition 4 { block-offset=1 block-count=1 type=1 } }",
		 "[buf]:1: mbr 'm': partitions from 4 on need partition 3 to be an extended partition"},
		{"mbr m { partition 0 { block-offset=1 block-count=1 type=5 } }", "[buf]:1: mbr 'm': only partition 3 can be an extended partition"},
		{"mbr m { bootstrap-code=00 }", "[buf]:1: mbr 'm': bootstrap-code must be exactly 440 bytes as hex digits"},
		{"gpt g { }", "[buf]:1: gpt 'g' needs a guid"},
		{"gpt g { guid=00000000-0000-0000-0000-000000000001 }", "[buf]:1: gpt 'g' needs at least one partition"},
		{"uboot-environment e { block-count=1 }", "[buf]:1: uboot-environment 'e' needs a valid block-offset"},
		{"uboot-environment e { block-offset=1 }", "[buf]:1: uboot-environment 'e' needs a block-count from 1 to 65534"},
		{"uboot-environment e { block-offset=1 block-count=2 block-offset-redund=2 }", "[buf]:1: uboot-environment 'e': the two copies overlap"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		NH_AUTO_BUF struct nh_buf meta = NH_BUF_INIT;
		NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
		struct nh_err err = NH_ERR_INIT;
		if (create_text(rows[i].conf, &meta, &bytes, &err) == NH_OK)
			fail_msg("accepted: %s", rows[i].conf);
		if (strcmp(err.msg, rows[i].message) != 0)
			fail_msg("%s\n  got      %s\n  expected %s", rows[i].conf, err.msg, rows[i].message);
	}
}

/* Includes and host-paths are relative to the file that names them; FWUP_SIZE_ is set; several paths join; holes are found. */
static void files(void **state)
{
	char *dir = make_dir(), path[512], out[512];
	snprintf(path, sizeof path, "%s/sub", dir);
	assert_int_equal(mkdir(path, 0755), 0);
	static const struct {
		const char *name, *text;
	} contents[] = {
		{"main.conf", "include(\"sub/more.conf\")\ntask t { include(sub/task.conf) }\nmeta-misc=${FWUP_SIZE_two_bin}"},
		{"sub/more.conf", "file-resource two.bin { host-path=\"one.txt;two.txt\" }\nfile-resource one { host-path=one.txt }\n"
				  "file-resource sparse { host-path=sparse skip-holes=true }\nmeta-author=${FWUP_SIZE_one}"},
		{"sub/task.conf", "on-resource one { raw_write(0) }"},
		{"sub/one.txt", "111"},
		{"sub/two.txt", "22222"},
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(contents); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, contents[i].name);
		assert_int_equal(nh_file_write_atomic(path, nh_slice_str(contents[i].text), 0644, NULL), NH_OK);
	}
	snprintf(path, sizeof path, "%s/sub/sparse", dir);
	int fd = open(path, O_WRONLY | O_CREAT, 0644);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(pwrite(fd, "x", 1, 512 * 1024), 1);
	close(fd);
	snprintf(path, sizeof path, "%s/main.conf", dir);
	snprintf(out, sizeof out, "%s/out.fw", dir);
	struct nh_err err = NH_ERR_INIT;
	if (nh_fw_create_file(&(struct nh_fw_create_options){.path = path}, out, &err) != NH_OK)
		fail_msg("%s", err.msg);
	struct nh_fw_verifier *v = nh_fw_verifier_new(&(struct nh_fw_verify_config){.allow_unverified = true, .whole = true});
	fd = open(out, O_RDONLY);
	if (nh_fw_verify_fd(v, fd, &err) != NH_OK)
		fail_msg("%s", err.msg);
	close(fd);
	const struct nh_fw_manifest *m = nh_fw_verifier_manifest(v);
	assert_int_equal(nh_fw_manifest_resource(m, NH_LIT("two.bin"))->size_bytes, 8);
	const struct nh_fw_resource *sparse = nh_fw_manifest_resource(m, NH_LIT("sparse"));
	assert_int_equal(sparse->size_bytes, 1 << 20);
	struct stat st;
	snprintf(path, sizeof path, "%s/sub/sparse", dir);
	assert_int_equal(stat(path, &st), 0);
	if (st.st_blocks * 512 < st.st_size) /* the file system has holes */
		assert_true(sparse->stored_bytes < sparse->size_bytes && sparse->runs[0] == 0);
	assert_slice(m->meta.author, "3");
	assert_int_equal(m->meta.misc.len, 0); /* not set for a list of paths */
	nh_fw_verifier_free(v);

	/* a failure leaves nothing, not even the old file changed */
	snprintf(path, sizeof path, "%s/bad.conf", dir);
	assert_int_equal(nh_file_write_atomic(path, NH_LIT("nonsense=1"), 0644, NULL), NH_OK);
	struct nh_buf before = NH_BUF_INIT, after = NH_BUF_INIT;
	assert_int_equal(nh_file_read(out, 1u << 20, &before, NULL), NH_OK);
	assert_int_equal(nh_fw_create_file(&(struct nh_fw_create_options){.path = path}, out, NULL), NH_EFORMAT);
	assert_int_equal(nh_file_read(out, 1u << 20, &after, NULL), NH_OK);
	assert_true(nh_slice_eq(nh_buf_slice(&before), nh_buf_slice(&after)));
	nh_buf_fini(&before);
	nh_buf_fini(&after);
	remove_dir(dir);
}

/* The sparse fixture, where the file system keeps holes as finely as the one it was made on. */
static void sparse_fixture(void **state)
{
	char *dir = make_dir(), path[512];
	snprintf(path, sizeof path, "%s/sparse.bin", dir);
	struct nh_buf rootfs = fixture("payload/rootfs-1.0.0.img"), want = fixture("sparse-unsigned.fw");
	int fd = open(path, O_RDWR | O_CREAT, 0644);
	assert_int_equal(ftruncate(fd, 65536), 0);
	assert_int_equal(pwrite(fd, rootfs.ptr, 4096, 16384), 4096);
	bool fine = lseek(fd, 0, SEEK_DATA) == 16384 && lseek(fd, 16384, SEEK_HOLE) == 20480;
	close(fd);
	NH_AUTO_BUF struct nh_buf conf = NH_BUF_INIT;
	NH_AUTO_BUF struct nh_buf bytes = NH_BUF_INIT;
	nh_buf_printf(&conf, "meta-product = \"Fixture Sparse\"\nmeta-version = \"0.1.0\"\nmeta-platform = \"bench\"\nmeta-architecture = \"arm\"\n"
			     "file-resource holes.bin {\n host-path = \"%s\"\n skip-holes = true\n}\n"
			     "task complete {\n on-resource holes.bin { raw_write(0) }\n}\n", path);
	struct nh_err err = NH_ERR_INIT;
	if (nh_fw_create(&(struct nh_fw_create_options){.text = nh_buf_slice(&conf), .time_s = FIXTURE_TIME}, &(struct nh_fw_sink){&bytes, to_buf},
			 NULL, &err) != NH_OK)
		fail_msg("%s", err.msg);
	if (fine)
		assert_true(nh_slice_eq(nh_buf_slice(&bytes), nh_buf_slice(&want)));
	else
		print_message("sparse_fixture: this file system keeps no 4 KiB holes, bytes not compared\n");
	nh_buf_fini(&rootfs);
	nh_buf_fini(&want);
	remove_dir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixtures_again), cmocka_unit_test(sign_round_trip), cmocka_unit_test(sign_refused),
		cmocka_unit_test(language), cmocka_unit_test(language_refused), cmocka_unit_test(files), cmocka_unit_test(sparse_fixture),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

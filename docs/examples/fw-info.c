/*
 * Says what a firmware archive is, once it is known to be whole and signed by the key given: fw-info KEY-FILE ARCHIVE
 *
 * cc -o fw-info fw-info.c $(pkg-config --cflags --libs libfwarchive)
 */
#include <stdio.h>

#include "firmware/keys.h"
#include "firmware/verify.h"

static nh_rc feed_file(struct nh_fw_verifier *v, FILE *f, struct nh_err *err)
{
	unsigned char bytes[65536];
	for (size_t n; !nh_fw_verifier_done(v) && (n = fread(bytes, 1, sizeof bytes, f)) > 0;)
		NH_TRY(nh_fw_verifier_feed(v, nh_slice_of(bytes, n), err));
	return nh_fw_verifier_finish(v, err);
}

static nh_rc inform(const char *key_path, const char *path, struct nh_err *err)
{
	struct nh_fw_public_key key;
	NH_TRY(nh_fw_public_key_read(key_path, &key, err));
	FILE *f = fopen(path, "rb");
	if (!f)
		return NH_FAIL(err, NH_ENOTFOUND, "cannot open '%s'", path);
	struct nh_fw_verifier *v = nh_fw_verifier_new(&(struct nh_fw_verify_config){.keys = &key, .key_count = 1, .path = path});
	nh_rc rc = feed_file(v, f, err);
	if (rc == NH_OK) {
		struct nh_buf text = NH_BUF_INIT;
		nh_fw_metadata_put(&text, &nh_fw_verifier_manifest(v)->meta);
		nh_buf_put_str(&text, "tasks:\n");
		nh_fw_tasks_put(&text, nh_fw_verifier_manifest(v));
		fputs(nh_buf_cstr(&text), stdout);
		nh_buf_fini(&text);
	}
	nh_fw_verifier_free(v);
	fclose(f);
	return rc;
}

int main(int argc, char **argv)
{
	struct nh_err err = NH_ERR_INIT;
	if (argc != 3) {
		fprintf(stderr, "usage: fw-info KEY-FILE ARCHIVE\n");
		return 2;
	}
	if (inform(argv[1], argv[2], &err) == NH_OK)
		return 0;
	fprintf(stderr, "fw-info: %s\n", err.msg);
	return 1;
}

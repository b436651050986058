/*
 * Applies an archive that comes through standard input: fw-apply KEY-FILE TASK DESTINATION <ARCHIVE
 *
 * cc -o fw-apply fw-apply.c $(pkg-config --cflags --libs libfwarchive)
 */
#include <stdio.h>

#include "firmware/apply.h"

static void on_progress(void *ctx, unsigned percent)
{
	printf("%u %%\n", percent);
}

static void on_message(void *ctx, const char *text)
{
	printf("%s\n", text);
}

static nh_rc apply(char **argv, struct nh_err *err)
{
	struct nh_fw_public_key key;
	struct nh_fw_apply *a;
	NH_TRY(nh_fw_public_key_read(argv[1], &key, err));
	NH_TRY(nh_fw_apply_new(&(struct nh_fw_apply_config){.path = argv[3], .fd = -1, .task = argv[2], .keys = &key, .key_count = 1,
							    .handler = {.progress = on_progress, .message = on_message}},
			       &a, err));
	unsigned char bytes[65536];
	nh_rc rc = NH_OK;
	for (size_t n; rc == NH_OK && !nh_fw_apply_done(a) && (n = fread(bytes, 1, sizeof bytes, stdin)) > 0;)
		rc = nh_fw_apply_feed(a, nh_slice_of(bytes, n), err);
	if (rc == NH_OK)
		rc = nh_fw_apply_finish(a, err); /* notices an input that ended early */
	nh_fw_apply_free(a);
	return rc;
}

int main(int argc, char **argv)
{
	struct nh_err err = NH_ERR_INIT;
	if (argc != 4) {
		fprintf(stderr, "usage: fw-apply KEY-FILE TASK DESTINATION <ARCHIVE\n");
		return 2;
	}
	if (apply(argv, &err) == NH_OK)
		return 0;
	fprintf(stderr, "fw-apply: %s\n", err.msg);
	return 1;
}

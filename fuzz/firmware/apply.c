/*
 * Any archive applied to a small disk in memory, first to an empty one, then once more to what that left. Nothing may be written beyond the
 * disk's end, and with a key that nobody has nothing may be written at all.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "firmware/apply.h"

#define BLOCKS 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(int fd, nh_slice bytes, const char *task, const struct nh_fw_public_key *key)
{
	struct nh_fw_apply *a;
	struct nh_err err = NH_ERR_INIT;
	struct nh_fw_apply_config config = {.fd = fd, .task = task, .keys = key, .key_count = key ? 1 : 0, .allow_unverified = true,
					    .max_blocks = BLOCKS, .no_sync = true, .reboot_param_path = "/dev/null/none"};
	if (nh_fw_apply_new(&config, &a, &err) != NH_OK)
		abort();
	nh_rc rc = nh_fw_apply_feed(a, nh_slice_sub(bytes, 0, bytes.len / 2), &err);
	if (rc == NH_OK)
		rc = nh_fw_apply_feed(a, nh_slice_skip(bytes, bytes.len / 2), &err);
	if (rc == NH_OK)
		rc = nh_fw_apply_finish(a, &err);
	if (rc != NH_OK && err.msg[0] == 0 && nh_fw_apply_fault(a) != NH_FW_FAULT_CALLER) /* only error("") may say nothing */
		abort();
	nh_fw_apply_free(a);
	struct stat st;
	if (fstat(fd, &st) != 0 || st.st_size > BLOCKS * 512 || (key && st.st_size > 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct nh_fw_public_key nobody = {{0x5a, 0x11}};
	nh_slice bytes = nh_slice_of(data, size);
	int fd = memfd_create("disk", MFD_CLOEXEC);
	if (fd < 0)
		abort();
	run(fd, bytes, "complete", &nobody);
	run(fd, bytes, "", NULL);
	run(fd, bytes, "upgrade", NULL);
	close(fd);
	return 0;
}

/*
 * Disks that somebody else wrote: the bytes are the disk, and a fixed list of requirements and functions reads and changes its partition
 * table, its environment and its FAT volume. The archive is made once, by the creator.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "firmware/apply.h"
#include "firmware/create.h"

#define BLOCKS 8192

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char conf[] =
	"meta-product=\"T\"\n"
	"file-resource r { contents=\"0123456789\" }\n"
	"uboot-environment e { block-offset=1 block-count=2 block-offset-redund=3 }\n"
	"task a { require-partition-offset(1, 7) require-fat-file-match(8, \"dir/Some file.txt\", \"zz\") require-uboot-variable(e, a, b)\n"
	" on-init { uboot_setenv(e, c, d) fat_rm(8, \"dir/x\") } }\n"
	"task b { on-init { fat_mkdir(8, \"new dir\") fat_touch(8, \"new dir/Another long name.text\") fat_cp(8, a.txt, b.txt)\n"
	"  fat_mv(8, b.txt, \"dir/c.txt\") fat_rm(8, \"dir/c.txt\") fat_setlabel(8, x) fat_attrib(8, a.txt, H) uboot_recover(e) }\n"
	" on-resource r { fat_write(8, \"new dir/Written here.bin\") } }\n"
	"task c { on-init { fat_rm(8, a.txt) } on-resource r { fat_write(8, \"dir/Some file.txt\") } }\n";

static nh_rc to_buf(void *ctx, nh_slice bytes, struct nh_err *err)
{
	nh_buf_put_slice(ctx, bytes);
	return NH_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nh_buf archive;
	static const char *const tasks[] = {"a", "b", "c"};
	if (archive.len == 0) {
		struct nh_fw_vars *vars = nh_fw_vars_new(NULL, NULL);
		if (nh_fw_create(&(struct nh_fw_create_options){.text = nh_slice_str(conf), .vars = vars}, &(struct nh_fw_sink){&archive, to_buf}, NULL,
				 NULL) != NH_OK)
			abort();
		nh_fw_vars_free(vars);
	}
	int fd = memfd_create("disk", MFD_CLOEXEC);
	if (fd < 0 || (size > 0 && pwrite(fd, data, size, 0) != (ssize_t)size))
		abort();
	for (size_t i = 0; i < NH_ARRAY_LEN(tasks); i++) {
		struct nh_fw_apply *a;
		struct nh_err err = NH_ERR_INIT;
		if (nh_fw_apply_new(&(struct nh_fw_apply_config){.fd = fd, .task = tasks[i], .allow_unverified = true, .max_blocks = BLOCKS, .no_sync = true},
				    &a, &err) != NH_OK)
			abort();
		if (nh_fw_apply_feed(a, nh_buf_slice(&archive), &err) == NH_OK)
			(void)nh_fw_apply_finish(a, &err);
		nh_fw_apply_free(a);
	}
	close(fd);
	return 0;
}

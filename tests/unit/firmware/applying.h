/*
 * Runs the applier on images in memory, for the tests of this room.
 */
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "crypto/digest.h"
#include "firmware/apply.h"
#include "fixtures.h"

struct heard {
	int last;             /* progress */
	unsigned reports;
	bool fell, early_100;
	struct nh_buf messages;
};

static inline void on_progress(void *ctx, unsigned percent)
{
	struct heard *h = ctx;
	h->fell = h->fell || (int)percent <= h->last;
	h->last = (int)percent;
	h->reports++;
}

static inline void on_message(void *ctx, const char *text)
{
	struct heard *h = ctx;
	nh_buf_put_str(&h->messages, text);
	nh_buf_put_u8(&h->messages, '\n');
}

struct job {
	const char *task;
	nh_slice archive;
	int fd;
	size_t step;                         /* bytes a feed; 0 = all */
	const struct nh_fw_public_key *key;  /* NULL: unverified */
	bool verify, minimize;
	uint64_t max_blocks;
};

static inline nh_rc run_job(const struct job *j, struct heard *h, struct nh_err *err)
{
	*h = (struct heard){.last = -1};
	struct nh_fw_apply *a;
	struct nh_fw_apply_config config = {
		.fd = j->fd,
		.task = j->task,
		.keys = j->key,
		.key_count = j->key ? 1 : 0,
		.allow_unverified = !j->key,
		.verify_writes = j->verify ? NH_FW_ON : NH_FW_DEFAULT,
		.minimize_writes = j->minimize,
		.max_blocks = j->max_blocks,
		.handler = {h, on_progress, on_message},
	};
	nh_rc rc = nh_fw_apply_new(&config, &a, err);
	if (rc != NH_OK)
		return rc;
	size_t step = j->step ? j->step : j->archive.len;
	for (size_t at = 0; at < j->archive.len && rc == NH_OK && !nh_fw_apply_done(a); at += step)
		rc = nh_fw_apply_feed(a, nh_slice_sub(j->archive, at, step), err);
	if (rc == NH_OK) {
		h->early_100 = h->last == 100;
		rc = nh_fw_apply_finish(a, err);
	}
	if (rc != NH_OK) { /* an error is final and stays the same */
		struct nh_err again = NH_ERR_INIT;
		assert_int_equal(nh_fw_apply_finish(a, &again), rc);
		assert_string_equal(again.msg, err->msg);
		assert_int_not_equal(nh_fw_apply_fault(a), NH_FW_FAULT_NONE);
	}
	nh_fw_apply_free(a);
	return rc;
}

static inline int image_new(void)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static inline struct nh_buf image_bytes(int fd)
{
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	struct nh_buf b = NH_BUF_INIT;
	nh_buf_fill(&b, 0, (size_t)st.st_size);
	assert_int_equal(pread(fd, b.ptr, b.len, 0), (ssize_t)b.len);
	return b;
}

static inline void image_set(int fd, nh_slice bytes)
{
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, bytes.ptr, bytes.len, 0), (ssize_t)bytes.len);
}

static inline void assert_image(int fd, uint64_t size, const char *sha256, const char *what)
{
	NH_AUTO_BUF struct nh_buf bytes = image_bytes(fd), hex = NH_BUF_INIT;
	nh_digest_put_hex(&hex, NH_SHA256, nh_buf_slice(&bytes));
	if (bytes.len != size || strcmp(nh_buf_cstr(&hex), sha256) != 0)
		fail_msg("%s: image of %zu bytes, SHA-256 %s", what, bytes.len, nh_buf_cstr(&hex));
}

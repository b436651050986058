/*
 * Access to tests/vectors/firmware for the tests of this room.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "firmware/keys.h"
#include "test_base.h"

static inline char *fixture_path(const char *name)
{
	static char paths[4][1024];
	static unsigned turn;
	char *path = paths[turn++ % 4];
	const char *root = getenv("NH_VECTORS");
	snprintf(path, sizeof paths[0], "%s/firmware/%s", root ? root : "tests/vectors", name);
	return path;
}

/* Contents of a fixture; fails the test where it is missing. */
static inline struct nh_buf fixture(const char *name)
{
	struct nh_buf b = NH_BUF_INIT;
	struct nh_err err = NH_ERR_INIT;
	if (nh_file_read(fixture_path(name), 16u << 20, &b, &err) != NH_OK)
		fail_msg("%s: %s", name, err.msg);
	return b;
}

static inline struct nh_fw_public_key fixture_key(unsigned n)
{
	char name[32];
	struct nh_fw_public_key key;
	snprintf(name, sizeof name, "keys/key%u.pub", n);
	assert_int_equal(nh_fw_public_key_read(fixture_path(name), &key, NULL), NH_OK);
	return key;
}

static inline struct nh_fw_private_key fixture_private_key(unsigned n)
{
	char name[32];
	struct nh_fw_private_key key;
	snprintf(name, sizeof name, "keys/key%u.priv", n);
	assert_int_equal(nh_fw_private_key_read(fixture_path(name), &key, NULL), NH_OK);
	return key;
}

/* A fresh directory; the caller removes it with remove_dir. */
static inline char *make_dir(void)
{
	char *dir = nh_xstrdup(NH_LIT("/tmp/nh-firmware-XXXXXX"));
	assert_non_null(mkdtemp(dir));
	return dir;
}

static inline void remove_dir(char *dir)
{
	char command[256];
	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	assert_int_equal(system(command), 0);
	free(dir);
}

/* A row of facts.tsv cut into its columns. */
enum { F_FILE, F_SIZE, F_SHA256, F_META_EXIT, F_UUID, F_NICKNAME, F_NOKEY_EXIT, F_NOKEY, F_KEY1_EXIT, F_KEY1, F_KEY2_EXIT, F_KEY2, F_TASKS, F_COUNT };

static inline bool next_fact(nh_slice *rest, nh_slice columns[F_COUNT])
{
	nh_slice line;
	if (rest->len == 0)
		return false;
	nh_slice_cut(*rest, '\n', &line, rest);
	for (size_t i = 0; i < F_COUNT; i++)
		nh_slice_cut(line, '\t', &columns[i], &line);
	return columns[0].len > 0;
}

/*
 * The VCDIFF decoder: what xdelta3 makes of pairs of files comes out right however it is cut, every broken patch is refused, and no broken patch gives
 * wrong data without saying so.
 */
#include "test_base.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/process.h"
#include "base/rng.h"
#include "vcdiff_int.h"

struct world {
	nh_slice old;
	struct nh_buf made;
	uint64_t furthest; /* end of what was read of the old data */
};

static nh_rc on_source(void *ctx, uint64_t offset, uint8_t *out, size_t len, struct nh_err *err)
{
	struct world *w = ctx;
	if (offset > w->old.len || len > w->old.len - offset)
		return NH_FAIL(err, NH_EFORMAT, "outside of the old data");
	memcpy(out, w->old.ptr + offset, len);
	w->furthest = offset + len > w->furthest ? offset + len : w->furthest;
	return NH_OK;
}

static nh_rc on_target(void *ctx, nh_slice bytes, struct nh_err *err)
{
	nh_buf_put_slice(&((struct world *)ctx)->made, bytes);
	return NH_OK;
}

static nh_rc decode(struct world *w, nh_slice patch, size_t step, struct nh_err *err)
{
	struct nh_fw_vcdiff *d = nh_fw_vcdiff_new(&(struct nh_fw_vcdiff_config){w, on_source, on_target});
	nh_rc rc = NH_OK;
	nh_buf_clear(&w->made);
	for (size_t at = 0; at < patch.len && rc == NH_OK; at += step)
		rc = nh_fw_vcdiff_feed(d, nh_slice_sub(patch, at, step), err);
	if (rc == NH_OK)
		rc = nh_fw_vcdiff_finish(d, err);
	else
		assert_int_not_equal(nh_fw_vcdiff_feed(d, NH_LIT("more"), NULL), NH_OK); /* final */
	nh_fw_vcdiff_free(d);
	return rc;
}

/* ---- patches of xdelta3 --------------------------------------------------------------------------------------------------------- */

static void xdelta3(const char *dir, nh_slice old, nh_slice new, const char *option, struct nh_buf *patch)
{
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	const char *a = nh_arena_printf(&arena, "%s/old", dir), *b = nh_arena_printf(&arena, "%s/new", dir), *c = nh_arena_printf(&arena, "%s/patch", dir);
	const char *argv[] = {"xdelta3", "-S", "-f", "-s", a, b, c, NULL, NULL};
	int status;
	struct nh_err err = NH_ERR_INIT;
	assert_int_equal(nh_file_write_atomic(a, old, 0600, &err), NH_OK);
	assert_int_equal(nh_file_write_atomic(b, new, 0600, &err), NH_OK);
	if (option) { /* before -S, which takes an optional argument */
		argv[1] = option;
		argv[2] = "-Snone";
		argv[3] = "-fs";
		argv[4] = a;
	}
	if (nh_process_run(&(struct nh_process){.argv = argv}, &status, NULL, NULL, &err) != NH_OK || status != 0)
		fail_msg("xdelta3: %d %s", status, err.msg);
	nh_buf_clear(patch);
	assert_int_equal(nh_file_read(c, 1u << 30, patch, &err), NH_OK);
}

static void random_put(struct nh_buf *b, const struct nh_rng *rng, size_t len)
{
	size_t at = b->len;
	nh_buf_fill(b, 0, len);
	nh_rng_fill(rng, b->ptr + at, len);
}

/* New data made of pieces of the old, runs, repetitions and news. */
static void mutate(struct nh_buf *new, nh_slice old, const struct nh_rng *rng)
{
	while (new->len < old.len) {
		size_t at = nh_rng_below(rng, old.len), n = nh_rng_below(rng, 5000) + 1;
		switch (nh_rng_below(rng, 5)) {
		case 0: random_put(new, rng, n / 20 + 1); break;
		case 1: nh_buf_fill(new, (uint8_t)n, n); break;
		case 2:
			for (size_t i = 0; i < n; i++)
				nh_buf_put_u8(new, (uint8_t)"a pattern of its own"[i % 20]);
			break;
		default: nh_buf_put_slice(new, nh_slice_sub(old, at, n)); break;
		}
	}
}

static void patches_of_xdelta3(void **state)
{
	static const char *const options[] = {NULL, "-9", "-n", "-W16384"}; /* -n: no checksums; -W: several windows */
	char dir[] = "/tmp/nh-vcdiff-XXXXXX";
	assert_non_null(mkdtemp(dir));
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 4711);
	for (size_t i = 0; i < 12; i++) {
		NH_AUTO_BUF struct nh_buf old = NH_BUF_INIT, new = NH_BUF_INIT, patch = NH_BUF_INIT;
		random_put(&old, &rng, 1 + nh_rng_below(&rng, 200000));
		mutate(&new, nh_buf_slice(&old), &rng);
		xdelta3(dir, nh_buf_slice(&old), nh_buf_slice(&new), options[i % NH_ARRAY_LEN(options)], &patch);
		static const size_t steps[] = {SIZE_MAX / 2, 1, 4093};
		for (size_t s = 0; s < NH_ARRAY_LEN(steps); s++) {
			struct world w = {.old = nh_buf_slice(&old)};
			struct nh_err err = NH_ERR_INIT;
			if (decode(&w, nh_buf_slice(&patch), steps[s], &err) != NH_OK)
				fail_msg("round %zu: %s", i, err.msg);
			assert_true(nh_slice_eq(nh_buf_slice(&w.made), nh_buf_slice(&new)));
			nh_buf_fini(&w.made);
		}
		assert_true(nh_fw_vcdiff_begins_well(nh_slice_sub(nh_buf_slice(&patch), 0, NH_FW_VCDIFF_HEAD_MAX)));
		/* Cut anywhere it is incomplete; with a bit turned it is refused or, in the header's free text, means the same. */
		for (size_t cut = 0; cut < patch.len; cut += 1 + patch.len / 50) {
			struct world w = {.old = nh_buf_slice(&old)};
			assert_int_equal(decode(&w, nh_slice_sub(nh_buf_slice(&patch), 0, cut), SIZE_MAX / 2, NULL) == NH_OK && w.made.len == new.len, 0);
			nh_buf_clear(&w.made);
			if (i % NH_ARRAY_LEN(options) != 2) { /* without checksums nobody notices */
				patch.ptr[cut] ^= (uint8_t)(1u << cut % 8);
				if (decode(&w, nh_buf_slice(&patch), SIZE_MAX / 2, NULL) == NH_OK)
					assert_true(nh_slice_eq(nh_buf_slice(&w.made), nh_buf_slice(&new)));
				patch.ptr[cut] ^= (uint8_t)(1u << cut % 8);
			}
			nh_buf_fini(&w.made);
		}
	}
	const char *argv[] = {"rm", "-r", dir, NULL};
	int status;
	assert_int_equal(nh_process_run(&(struct nh_process){.argv = argv}, &status, NULL, NULL, NULL), NH_OK);
}

/* ---- patches by hand -------------------------------------------------------------------------------------------------------------- */

#define HEAD "\xd6\xc3\xc4\0\0"
#define BYTES(text) nh_slice_of((text), sizeof(text) - 1)

static void by_hand(void **state)
{
	/* window: kind, [source length, position], length of the rest, target length, 0, data, codes, addresses; then these three */
	static const struct {
		const char *what;
		const char *patch;
		size_t len;
		nh_rc rc;
		const char *text; /* result or error */
	} rows[] = {
#define ROW(what, patch, rc, text) {what, patch, sizeof(patch) - 1, rc, text}
		ROW("nothing but the header", HEAD, NH_OK, ""),
		ROW("an application header", "\xd6\xc3\xc4\0\4\3abc", NH_OK, ""),
		ROW("add", HEAD "\0\x0a\4\0\4\1\0" "data" "\5", NH_OK, "data"),
		ROW("add, size apart", HEAD "\0\x0b\4\0\4\2\0" "data" "\1\4", NH_OK, "data"),
		ROW("run", HEAD "\0\x08\5\0\1\2\0" "x" "\0\5", NH_OK, "xxxxx"),
		ROW("copy of the old", HEAD "\1\5\2\7\4\0\0\1\1" "\x14" "\1", NH_OK, "3456"),
		ROW("copy from old into new", HEAD "\1\2\1\x08\6\0\0\2\1" "\x13\6" "\0", NH_OK, "121212"),
		ROW("copy of what it writes", HEAD "\0\x0a\7\0\1\3\1" "z" "\2\x13\6" "\0", NH_OK, "zzzzzzz"),
		ROW("two in one code", HEAD "\1\5\0\x08\5\0\1\1\1" "!" "\xa3" "\2", NH_OK, "!234!"),
		ROW("address before here", HEAD "\1\5\0\x07\4\0\0\1\1" "\x24" "\4", NH_OK, "1234"),
		ROW("empty", "", NH_EFORMAT, "ended early"),
		ROW("another format", "PK\3\4\0", NH_EFORMAT, "not a VCDIFF patch"),
		ROW("secondary compression", "\xd6\xc3\xc4\0\1", NH_EFORMAT, "secondary compression"),
		ROW("a code table", "\xd6\xc3\xc4\0\2", NH_EFORMAT, "code table"),
		ROW("a huge application header", "\xd6\xc3\xc4\0\4\x84\x80\1", NH_EFORMAT, "application header of 65537 bytes"),
		ROW("half a header", "\xd6\xc3", NH_EFORMAT, "ended early"),
		ROW("copy of the target", HEAD "\2\1\0\6\0\0\0\0\0", NH_EFORMAT, "a window of kind 2"),
		ROW("half a window", HEAD "\0\x0a\4\0\4\1\0" "dat", NH_EFORMAT, "ended early"),
		ROW("compressed sections", HEAD "\0\x0a\4\1\4\1\0" "data" "\5", NH_EFORMAT, "secondary compression"),
		ROW("a window too large", HEAD "\0\x0a\xa0\x80\x80\1\0\4\1\0" "data" "\5", NH_ETOOBIG, "a window of 67108865 bytes"),
		ROW("instructions too large", HEAD "\0\xa0\x80\x80\1\4\0\4\1\0", NH_ETOOBIG, "a window of 67108865 bytes"),
		ROW("lengths that do not add up", HEAD "\0\x0b\4\0\4\1\0" "data" "\5" "!", NH_EFORMAT, "contradict"),
		ROW("a source out of range", HEAD "\1\xff\xff\xff\xff\xff\xff\xff\xff\x7f\1\5\0\0\0\0\0", NH_EFORMAT, "source segment"),
		ROW("more than the window", HEAD "\0\x0a\3\0\4\1\0" "data" "\5", NH_EFORMAT, "beyond its window"),
		ROW("less than the window", HEAD "\0\x0a\5\0\4\1\0" "data" "\5", NH_EFORMAT, "a window of 4 bytes; expected 5"),
		ROW("data too short", HEAD "\0\x08\4\0\2\1\0" "da" "\5", NH_EFORMAT, "data of a window ended"),
		ROW("data left over", HEAD "\0\x0b\4\0\5\1\0" "data!" "\5", NH_EFORMAT, "a window of 4 bytes"),
		ROW("an address at here", HEAD "\1\5\0\x07\4\0\0\1\1" "\x14" "\5", NH_EFORMAT, "an address leaves the data"),
		ROW("an address before everything", HEAD "\1\5\0\x07\4\0\0\1\1" "\x24" "\6", NH_EFORMAT, "an address leaves the data"),
		ROW("no address", HEAD "\1\5\0\x06\4\0\0\1\0" "\x14", NH_EFORMAT, "an address leaves the data"),
		ROW("no size", HEAD "\0\x0a\4\0\4\1\0" "data" "\1", NH_EFORMAT, "beyond its window"),
		ROW("a size written long", HEAD "\0\x0c\4\0\4\3\0" "data" "\1\x80\4", NH_EFORMAT, "beyond its window"),
		ROW("old data that is not there", HEAD "\1\5\x09\x07\4\0\0\1\1" "\x14" "\0", NH_EFORMAT, "outside of the old data"),
		ROW("a wrong checksum", HEAD "\4\x0e\4\0\4\1\0\1\2\3\4" "data" "\5", NH_EFORMAT, "checksum mismatch"),
#undef ROW
	};
	for (size_t i = 0; i < NH_ARRAY_LEN(rows); i++) {
		for (size_t step = 1; step < 100; step += 98) {
			struct world w = {.old = NH_LIT("0123456789")};
			struct nh_err err = NH_ERR_INIT;
			/* "copy of the old" and others count from the segment: old data here begins at its position */
			nh_rc rc = decode(&w, nh_slice_of(rows[i].patch, rows[i].len), step, &err);
			if (rc != rows[i].rc || (rc == NH_OK ? strcmp(nh_buf_cstr(&w.made), rows[i].text) != 0 : !strstr(err.msg, rows[i].text)))
				fail_msg("%s: %s '%s' '%s'", rows[i].what, nh_rc_name(rc), nh_buf_cstr(&w.made), err.msg);
			nh_buf_fini(&w.made);
		}
	}
	assert_false(nh_fw_vcdiff_begins_well(NH_LIT("PK\3\4")));
	assert_false(nh_fw_vcdiff_begins_well(BYTES(HEAD "\0\x0a")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(patches_of_xdelta3), cmocka_unit_test(by_hand)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

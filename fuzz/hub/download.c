/*
 * Download links: "PATH?QUERY". As it came, only the link that the server would have written passes; and with a right signature (made here where the
 * query ends in "signature=") the path is looked up on a database, where nothing is an error of ours.
 */
#include "fuzz.h"

#include "fuzz_db.h"
#include "hub/download.h"

static struct world world;

static nh_rc furnish(struct world *w, struct nh_err *err) { return add_firmware(w, 1, "1.0.0", err); }

/* The signature that the server gives a path, for the expiry that it chooses by itself. */
static nh_slice right_query(nh_slice path, struct nh_buf *url)
{
	nh_slice before, query;
	nh_download_url(&world.config, path, NH_SLICE_EMPTY, world.now_us, url);
	nh_slice rest = nh_slice_skip(nh_buf_slice(url), strlen(world.config.download_base_url) + path.len);
	nh_slice_cut(rest, '?', &before, &query);
	return query;
}

struct input {
	struct nh_db *db;
	nh_slice path;
};

static nh_rc look(struct nh_tx *tx, void *arg, struct nh_err *err)
{
	struct nh_download_target target;
	NH_AUTO_ARENA struct nh_arena arena = NH_ARENA_INIT;
	struct nh_ctx ctx = world.ctx;
	ctx.tx = tx;
	ctx.arena = &arena;
	nh_rc rc = nh_download_resolve(&ctx, ((const struct input *)arg)->path, &target, err);
	FUZZ_CHECK(rc == NH_OK || rc == NH_ENOTFOUND, "%s", nh_rc_name(rc));
	FUZZ_CHECK(rc != NH_OK || (target.id > 0 && target.object_key.len > 0 && target.size_bytes > 0), "target");
	return rc;
}

static void play(void *arg)
{
	struct nh_err err = NH_ERR_INIT;
	const struct input *in = arg;
	NH_IGNORE(nh_db_read(in->db, look, arg, &err)); /* judged in look */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nh_db *db;
	nh_slice query = nh_slice_of(data, size);
	NH_AUTO_BUF struct nh_buf url = NH_BUF_INIT;
	struct input in = {.path = fuzz_until(&query, '?')};
	if (!db)
		db = fuzz_db_open(&world, furnish);
	in.db = db;
	nh_slice right = right_query(in.path, &url);
	nh_rc rc = nh_download_check(&world.config, in.path, query, world.now_us, NULL);
	FUZZ_CHECK(rc == NH_EAUTH || rc == NH_ETIMEOUT || rc == NH_OK, "%s", nh_rc_name(rc));
	FUZZ_CHECK(rc == NH_EAUTH || nh_slice_find(query, nh_slice_skip(right, right.len - 43)) >= 0, "a link passes that nobody wrote: %.*s", NH_ARG(query));
	FUZZ_CHECK(nh_download_check(&world.config, in.path, right, world.now_us, NULL) == NH_OK, "%.*s", NH_ARG(right));
	FUZZ_CHECK(nh_download_check(&world.config, in.path, right, world.now_us + 100000 * NH_US_PER_S, NULL) == NH_ETIMEOUT, "for ever");
	fuzz_db_play(db, play, &in);
	return 0;
}

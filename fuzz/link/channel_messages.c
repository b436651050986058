/*
 * What a hostile server may say on the agent's channels, after everything was switched on: any message, in any order, in both wire formats. No socket, and no program that could run: what is
 * checked is that nothing breaks, and that the link can be closed afterwards. Lines are JSON messages; an input that begins with 'm' is one MessagePack message.
 */
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "extras_int.h"
#include "loop/pool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char directory[] = "/tmp/nh-fuzz-link-XXXXXX";

static nh_rc read_state(void *ctx, struct nh_arena *arena, struct nh_link_state *out, struct nh_err *err)
{
	static const struct nh_link_pair pairs[] = {{NH_LIT("nerves_fw_uuid"), NH_LIT("11111111-1111-1111-1111-111111111111")}};
	*out = (struct nh_link_state){pairs, 1, true, false};
	return NH_OK;
}

static void at_exit(void)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	while (dir && (entry = readdir(dir)) != NULL)
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(directory);
}

static struct nh_link *open_link(struct nh_loop *loop, struct nh_pool *pool, bool msgpack)
{
	static const struct nh_link_platform platform = {.read_state = read_state};
	static const char *const nothing[] = {"/nonexistent/program", NULL};
	struct nh_link_extensions all = {
		.health = true, .geo_argv = nothing, .logging = true, .identity_argv = nothing, .console = true, .local_shell = true, .shell_argv = nothing,
		.files_directory = directory, .files_quota_bytes = 100000, .scripts = true, .script_argv = nothing,
	};
	struct nh_link_config config = {
		.host = "ws://127.0.0.1:1", .secret_key = "nhp_x", .secret = "x", .identifier = "x", .platform = &platform, .extensions = &all, .msgpack = msgpack, .network_interface = "auto",
	};
	struct nh_link *l;
	if (nh_link_open(loop, pool, &config, &l, NULL) != NH_OK)
		abort();
	l->phase = LINK_JOINED;
	for (unsigned id = 0; id < LINK_TOPICS; id++) {
		l->topics[id].joined = true;
		l->topics[id].join_ref = id + 1;
	}
	l->next_ref = LINK_TOPICS;
	NH_AUTO_JSON json_t *names = json_pack("[s, s, s, s, s]", "health", "geo", "logging", "local_shell", "network_identity");
	extensions_joined(l, names);
	return l;
}

static void on_closed(void *ctx) { nh_loop_stop(ctx); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nh_pool *pool;
	struct nh_loop *loop;
	nh_slice rest = nh_slice_of(data, size), line;
	bool msgpack = size > 0 && data[0] == 'm';
	if (!pool) {
		if (!mkdtemp(directory) || nh_pool_new(&(struct nh_pool_config){.threads = 1}, &pool, NULL) != NH_OK)
			abort();
		atexit(at_exit);
	}
	if (nh_loop_new(NULL, &loop, NULL) != NH_OK)
		abort();
	struct nh_link *l = open_link(loop, pool, msgpack);
	if (msgpack)
		topics_message(l, nh_slice_skip(rest, 1));
	while (!msgpack && rest.len > 0) {
		nh_slice_cut(rest, '\n', &line, &rest);
		topics_message(l, line);
	}
	nh_link_close(l, on_closed, loop);
	nh_loop_run(loop);
	nh_loop_free(loop);
	return 0;
}

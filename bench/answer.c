/*
 * nh-bench-answer FILE: the product's own HTTP server with one route, whose handler on a worker answers what is in FILE, whatever is asked. Prints its port and serves until it is ended:
 * what a request costs before anything of the API is done.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "loop/pool.h"
#include "net/server.h"

static struct nh_buf body;

static void answer(struct nh_request *req, struct nh_response *res)
{
	nh_response_header(res, "cache-control", NH_LIT("max-age=0, private, must-revalidate"));
	nh_response_header(res, "x-request-id", NH_LIT("0123456789abcdef0123456789abcdef"));
	nh_response_send(res, 200, "application/json; charset=utf-8", nh_buf_slice(&body));
}

static const struct nh_route routes[] = {
	{.method = NH_HTTP_GET, .path = "/api/*rest", .handle = answer},
	{.path = NULL},
};

static nh_rc serve(const char *file, struct nh_err *err)
{
	static const struct nh_mount mounts[] = {{.routes = routes}, {.routes = NULL}};
	struct nh_listener listener = {.name = "web", .address = "127.0.0.1", .mounts = mounts};
	struct nh_pool *pool = NULL;
	struct nh_server *server = NULL;
	NH_TRY(nh_file_read(file, (size_t)1 << 20, &body, err));
	NH_TRY(nh_pool_new(&(struct nh_pool_config){.threads = 16}, &pool, err));
	NH_TRY(nh_server_open(&(struct nh_server_config){.loops = 1, .pool = pool, .listeners = &listener, .listener_count = 1}, &server, err));
	NH_TRY(nh_server_start(server, err));
	printf("%u\n", listener.port);
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	struct nh_err err = NH_ERR_INIT;
	signal(SIGPIPE, SIG_IGN);
	nh_rc rc = argc == 2 ? serve(argv[1], &err) : NH_FAIL(&err, NH_EINVAL, "usage: nh-bench-answer FILE");
	if (rc != NH_OK)
		fprintf(stderr, "nh-bench-answer: %s\n", err.msg);
	return 1;
}

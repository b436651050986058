/* The server under test, for files with one at a time: how it ends and what it counts. Include after test_peer.h. */
#pragma once

#include <sched.h>

#include "net/server.h"

static struct nh_pool *pool;
static struct nh_server *server;

static void end(void)
{
	nh_server_drain(server, 100);
	nh_pool_free(pool);
	nh_server_free(server);
}

static struct nh_server_stats stats(void)
{
	struct nh_server_stats s;
	nh_server_stats(server, &s);
	return s;
}

#define WAIT_UNTIL(condition) \
	do \
		sched_yield(); \
	while (!(condition))

/* What the files of this room share: the loop's members. */
#pragma once

#include <pthread.h>
#include <uv.h>

#include "loop/loop.h"

struct deferred {
	struct deferred *next;
	nh_loop_fn fn;
	void *arg;
};

struct nh_loop {
	uv_loop_t uv;
	uv_async_t wake;
	uv_check_t check;
	struct deferred *deferred; /* the loop's thread only */
	pthread_t thread; /* of nh_loop_start, to be joined */
	pthread_t runner; /* who runs the loop; valid while running */
	bool own_thread;
	bool running;   /* atomic */
	char *name;
	size_t mailbox_max;

	pthread_mutex_t lock; /* guards what follows */
	struct nh_message *head, **tail;
	size_t posted;
	bool stopping;
};

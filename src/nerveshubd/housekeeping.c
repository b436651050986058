/*
 * What has to be done from time to time though nobody asks: today the sweep of loose objects. A timer on the server's first loop gives the work to a
 * worker; one at a time.
 */
#include <semaphore.h>

#include "base/log.h"
#include "hubd.h"

static void sweep(void *worker, struct nh_work *work)
{
	struct hubd *h = (struct hubd *)(void *)((char *)work - offsetof(struct hubd, housekeeping.work));
	struct nh_err err = NH_ERR_INIT;
	size_t deleted = 0;
	nh_rc rc = nh_user_api_sweep(h->user_api, &deleted, &err);
	if (deleted > 0)
		NH_LOG(NH_LOG_INFO, "objects.swept", NH_I("deleted", deleted));
	if (rc != NH_OK)
		NH_LOG(NH_LOG_WARN, "objects.sweep_failed", NH_STR("why", err.msg));
	__atomic_store_n(&h->housekeeping.running, false, __ATOMIC_RELEASE);
}

static void on_tick(void *arg)
{
	struct hubd *h = arg;
	if (__atomic_exchange_n(&h->housekeeping.running, true, __ATOMIC_ACQ_REL))
		return;
	h->housekeeping.work = (struct nh_work){.run = sweep};
	if (nh_work_submit(h->pool, NULL, &h->housekeeping.work) != NH_OK)
		__atomic_store_n(&h->housekeeping.running, false, __ATOMIC_RELEASE); /* busy: the next tick */
}

static void start_on_loop(void *arg)
{
	struct hubd *h = arg;
	h->housekeeping.timer = nh_timer_new(nh_server_loop(h->server, 0), on_tick, h);
	nh_timer_start(h->housekeeping.timer, NH_USER_API_SWEEP_EVERY_MS, NH_USER_API_SWEEP_EVERY_MS);
}

nh_rc housekeeping_start(struct hubd *h, struct nh_err *err)
{
	nh_rc rc = nh_loop_post(nh_server_loop(h->server, 0), start_on_loop, h);
	return rc == NH_OK ? NH_OK : NH_FAIL(err, rc, "cannot start the timer of housekeeping");
}

struct stop {
	struct hubd *h;
	sem_t done;
};

static void stop_on_loop(void *arg)
{
	struct stop *stop = arg;
	nh_timer_close(stop->h->housekeeping.timer);
	stop->h->housekeeping.timer = NULL;
	sem_post(&stop->done);
}

void housekeeping_stop(struct hubd *h)
{
	struct stop stop = {.h = h};
	struct nh_message message = {.fn = stop_on_loop, .arg = &stop};
	sem_init(&stop.done, 0, 0);
	nh_loop_send(nh_server_loop(h->server, 0), &message);
	while (sem_wait(&stop.done) != 0)
		continue;
	sem_destroy(&stop.done);
}

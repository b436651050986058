/* SCHED_BATCH: the one scheduling policy for which waking up is no reason to preempt, and which needs no right. source: sched(7) */
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>

void nh_thread_background(const char *name)
{
	pthread_setname_np(pthread_self(), name);
	pthread_setschedparam(pthread_self(), SCHED_BATCH, &(struct sched_param){0});
}

/*
 * What threads are to the kernel.
 */
#pragma once

/*
 * nh_thread_background - names the calling thread (at most 15 characters, for top and perf) and makes it one that never takes the core from a running
 * thread when it wakes up: it waits until that one sleeps or has used its share. For workers and writers: woken for each job, they would interrupt a loop in the
 * middle of a handshake, whose caches are then cold. Where the kernel refuses, only that is lost. thread: any.
 */
void nh_thread_background(const char *name);

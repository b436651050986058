/*
 * What the service manager wants to hear, as datagrams to NOTIFY_SOCKET: that the agent runs, what it is at, that its loop still turns, that it stops. Where no manager
 * asks (no such variable) every function does nothing. No library: the protocol is lines of NAME=VALUE. source: sd_notify(3)
 *
 * thread: main.
 */
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include "link/link.h"
#include "loop/loop.h"

struct notifier {
	int fd; /* 0 = nobody asks */
	struct sockaddr_un address;
	socklen_t address_len;
	uint64_t watchdog_ms; /* the manager's patience; 0 = it does not watch */
	struct nh_timer *watchdog;
};

/*
 * notify_open - reads NOTIFY_SOCKET (a path, or "@name" in the abstract namespace), WATCHDOG_USEC and WATCHDOG_PID, and takes them out of the environment: programs
 * started later must not speak for the agent. NH_EINVAL: an address that cannot be one; NH_EIO: no socket.
 */
nh_rc notify_open(struct notifier *n, struct nh_err *err);
/* READY=1: options and identity are right and signals are handled. A server need not be reached: nothing in a boot should wait for one. From now on the watchdog is fed, twice as often as it asks. */
void notify_ready(struct notifier *n, struct nh_loop *loop);
void notify_event(struct notifier *n, const struct nh_link_event *e); /* STATUS=, where the event changes what the agent is at */
void notify_stopping(struct notifier *n);
void notify_close(struct notifier *n);

/*
 * The socket of a simulated bus: many clients, one transfer at a time, and a bus that one client may keep for itself. What is on the wire: atecc/bus.h.
 * A client that sends anything else is disconnected, and only that client. The end of a connection gives the bus back.
 *
 * thread: main; blocks in server_run until a signal or the child's end.
 */
#pragma once

#include <sys/types.h>

#include "simbus.h"

struct server;

/*
 * server_open - listens at path (mode 0600). A socket left behind by a dead process is replaced. SIGTERM, SIGHUP, SIGINT and SIGCHLD are blocked from here on and taken by server_run.
 * NH_ECONFLICT: somebody listens there; NH_EINVAL: path too long for a socket or not a socket; NH_EPERM NH_EIO. bus is borrowed until server_close.
 */
nh_rc server_open(const char *path, struct simbus *bus, struct server **out, struct nh_err *err);
/*
 * server_run - serves until SIGTERM, SIGHUP or SIGINT (NH_OK), or until a chip's file cannot be written: then no answer goes out any more. child > 0: serves until that
 * process has ended, *status as waitpid(2); SIGTERM and SIGHUP are passed on to it, and SIGINT, which a terminal sends to both, left to it.
 */
nh_rc server_run(struct server *s, pid_t child, int *status, struct nh_err *err);
void server_close(struct server *s); /* removes the socket; NULL legal */

/*
 * nerveskey-sim's socket as a transport. Locking has a bound, so one that runs out closes the connection (its request would still stand) and opens another. So does a forked process, whose
 * requests would mix with its parent's.
 */
#include <stdlib.h>
#include <unistd.h>

#include "atecc/bus.h"
#include "transport_int.h"

struct sim {
	int fd;
	pid_t owner; /* of the connection */
	uint8_t address;
	char path[];
};

static nh_rc connected(struct sim *sim, struct nh_err *err)
{
	if (sim->fd >= 0 && sim->owner != getpid()) {
		close(sim->fd);
		sim->fd = -1;
	}
	sim->owner = getpid();
	return sim->fd >= 0 ? NH_OK : nh_atecc_bus_connect(sim->path, &sim->fd, err);
}

/* After NH_EIO the stream may stand in the middle of an answer. */
static nh_rc checked(struct sim *sim, nh_rc rc)
{
	if (rc == NH_EIO || rc == NH_ETIMEOUT) {
		close(sim->fd);
		sim->fd = -1;
	}
	return rc;
}

static nh_rc sim_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct sim *sim = ctx;
	NH_TRY(connected(sim, err));
	return checked(sim, nh_atecc_bus_write(sim->fd, sim->address, bytes, err));
}

static nh_rc sim_read(void *ctx, uint8_t *out, size_t len, struct nh_err *err)
{
	struct sim *sim = ctx;
	NH_TRY(connected(sim, err));
	return checked(sim, nh_atecc_bus_read(sim->fd, sim->address, out, len, err));
}

static nh_rc sim_wake(void *ctx, struct nh_err *err)
{
	struct sim *sim = ctx;
	NH_TRY(connected(sim, err));
	nh_rc rc = checked(sim, nh_atecc_bus_write(sim->fd, 0, NH_LIT("\0"), err));
	return rc == NH_EAGAIN ? NH_OK : rc; /* nobody acknowledges the general call */
}

static nh_rc sim_lock(void *ctx, uint32_t timeout_ms, struct nh_err *err)
{
	struct sim *sim = ctx;
	NH_TRY(connected(sim, err));
	nh_rc rc = checked(sim, nh_atecc_bus_lock_within(sim->fd, timeout_ms, err));
	if (rc != NH_EIO)
		return rc;
	/* The simulator may have been started anew since the last transaction, and nothing was lost with the old one. */
	NH_TRY(connected(sim, err));
	return checked(sim, nh_atecc_bus_lock_within(sim->fd, timeout_ms, err));
}

static void sim_unlock(void *ctx)
{
	struct sim *sim = ctx;
	if (sim->fd >= 0 && sim->owner == getpid()) /* a connection that is gone has given the bus back */
		NH_IGNORE(checked(sim, nh_atecc_bus_unlock(sim->fd, NULL)));
}

static void sim_close(void *ctx)
{
	struct sim *sim = ctx;
	if (sim->fd >= 0)
		close(sim->fd);
	free(sim);
}

static const struct nh_atecc_transport_ops sim_ops = {
	.wake = sim_wake,
	.write = sim_write,
	.read = sim_read,
	.delay_us = nh_atecc_sleep_us,
	.lock = sim_lock,
	.unlock = sim_unlock,
	.close = sim_close,
};

nh_rc nh_atecc_sim_open(const char *path, struct nh_atecc_transport *out, struct nh_err *err)
{
	int fd;
	NH_TRY(nh_atecc_bus_connect(path, &fd, err));
	size_t size = strlen(path) + 1;
	struct sim *sim = malloc(sizeof *sim + size);
	if (!sim) {
		close(fd);
		return NH_FAIL(err, NH_ENOMEM, "no memory");
	}
	sim->fd = fd;
	sim->owner = getpid();
	sim->address = out->address;
	memmove(sim->path, path, size);
	out->ops = &sim_ops;
	out->ctx = sim;
	return NH_OK;
}

/*
 * A simulated chip as the driver's transport, in one process and on a clock that only moves when the driver waits or bytes move: every test is deterministic and takes no time.
 *
 *	struct chip_bus bus;
 *	chip_bus_init(&bus, NH_CHIP_608B, NH_CHIP_BLANK, 1);
 *	struct nh_atecc *chip;
 *	nh_atecc_new(chip_bus_transport(&bus), &chip);
 *	…
 *	nh_atecc_free(chip);
 *	chip_bus_fini(&bus);
 */
#pragma once

#include "atecc/transport.h"
#include "base/buf.h"
#include "chip/chip.h"

#define CHIP_BUS_BYTE_US 90u /* eight bits and the acknowledgement at 100 kHz */

struct chip_bus {
	struct nh_chip *chip; /* arm faults here: nh_chip_fault_arm(bus.chip, …) */
	uint64_t now_us;
	struct nh_rng_seeded seeded;
	struct nh_rng rng;
	bool locked, lock_refused;       /* lock_refused: another process has the bus */
	uint32_t transfers, writes;      /* so far; wakes not counted */
	uint32_t fail_at, fail_count;    /* from the fail_at-th transfer on (1 is the first; 0: never) fail_count of them fail with NH_EIO */
	struct nh_buf *log;              /* where set: commands as hex, a line each, without count and CRC */
};

static inline uint64_t chip_bus_now(void *ctx) { return ((struct chip_bus *)ctx)->now_us; }

/* The chip goes on from state; NULL clock and randomness are the bus's own. */
static inline void chip_bus_init_state(struct chip_bus *bus, const struct nh_chip_state *state, uint64_t seed)
{
	*bus = (struct chip_bus){0};
	bus->rng = nh_rng_seeded_init(&bus->seeded, seed);
	struct nh_chip_config config = {.rng = &bus->rng, .now_us = chip_bus_now, .clock_ctx = bus, .speed_percent = 100, .watchdog = true};
	nh_chip_new(&config, state, &bus->chip);
}

static inline void chip_bus_init(struct chip_bus *bus, nh_chip_model model, nh_chip_personality personality, uint64_t seed)
{
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, seed + 1000);
	struct nh_chip_state state;
	nh_chip_state_factory(model, personality, NULL, &rng, &state);
	chip_bus_init_state(bus, &state, seed);
}

static inline void chip_bus_fini(struct chip_bus *bus) { nh_chip_free(bus->chip); }

/* true: this transfer fails. */
static inline bool chip_bus_transfer(struct chip_bus *bus, size_t len)
{
	bus->now_us += (len + 1) * CHIP_BUS_BYTE_US;
	bus->transfers++;
	return bus->fail_at && bus->transfers >= bus->fail_at && bus->transfers - bus->fail_at < bus->fail_count;
}

static inline nh_rc chip_bus_wake(void *ctx, struct nh_err *err)
{
	struct chip_bus *bus = ctx;
	bus->now_us += 2 * CHIP_BUS_BYTE_US;
	nh_chip_wake(bus->chip);
	return NH_OK;
}

static inline nh_rc chip_bus_write(void *ctx, nh_slice bytes, struct nh_err *err)
{
	struct chip_bus *bus = ctx;
	NH_ASSERT(bus->locked); /* every transfer belongs to a transaction */
	if (chip_bus_transfer(bus, bytes.len))
		return NH_FAIL(err, NH_EIO, "injected");
	bus->writes++;
	if (!nh_chip_write(bus->chip, bytes))
		return NH_EAGAIN;
	if (bus->log && bytes.len > 4 && bytes.ptr[0] == NH_ATECC_COMMAND) {
		for (size_t i = 2; i + 2 < bytes.len; i++)
			nh_buf_printf(bus->log, "%02x", bytes.ptr[i]);
		nh_buf_put_u8(bus->log, '\n');
	}
	return NH_OK;
}

static inline nh_rc chip_bus_read(void *ctx, uint8_t *out, size_t len, struct nh_err *err)
{
	struct chip_bus *bus = ctx;
	NH_ASSERT(bus->locked);
	if (chip_bus_transfer(bus, len))
		return NH_FAIL(err, NH_EIO, "injected");
	return nh_chip_read(bus->chip, out, len) ? NH_OK : NH_EAGAIN;
}

static inline void chip_bus_delay(void *ctx, uint32_t us) { ((struct chip_bus *)ctx)->now_us += us; }

static inline nh_rc chip_bus_lock(void *ctx, uint32_t timeout_ms, struct nh_err *err)
{
	struct chip_bus *bus = ctx;
	NH_ASSERT(!bus->locked);
	if (bus->lock_refused)
		return NH_FAIL(err, NH_ETIMEOUT, "held by another process");
	bus->locked = true;
	return NH_OK;
}

static inline void chip_bus_unlock(void *ctx)
{
	struct chip_bus *bus = ctx;
	NH_ASSERT(bus->locked);
	bus->locked = false;
}

static inline void chip_bus_close(void *ctx) { NH_ASSERT(!((struct chip_bus *)ctx)->locked); }

static const struct nh_atecc_transport_ops chip_bus_ops = {
	.wake = chip_bus_wake,
	.write = chip_bus_write,
	.read = chip_bus_read,
	.delay_us = chip_bus_delay,
	.lock = chip_bus_lock,
	.unlock = chip_bus_unlock,
	.close = chip_bus_close,
};

/* Borrows bus, which must outlive the transport. Many may be opened one after the other. */
static inline struct nh_atecc_transport chip_bus_transport(struct chip_bus *bus)
{
	return (struct nh_atecc_transport){.ops = &chip_bus_ops, .ctx = bus, .name = "simulated chip", .address = nh_chip_address(bus->chip)};
}

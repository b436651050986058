/*
 * The chips of one simulated I2C bus: transfers by address, and the text commands of people who hold the board in their hands (power, faults, a look inside).
 * Whatever a transfer changed is on disk when the function returns.
 *
 * thread: main.
 */
#pragma once

#include "chipfile.h"

#define SIMBUS_CHIPS_MAX 16u

struct simbus {
	struct nh_chip_config config;
	bool stray_wake; /* any transfer wakes whose address holds SDA low for 60 us at 100 kHz, as on a real bus: a write to 0x60 does */
	struct chip_file *chips[SIMBUS_CHIPS_MAX];
	size_t count;
};

/* simbus_init - no chips yet. speed_percent: execution times, 100 = the data sheet's maximum, 0 = none. */
void simbus_init(struct simbus *bus, uint32_t speed_percent, bool watchdog);
void simbus_fini(struct simbus *bus);
/* simbus_add - NH_ECONFLICT: its address is taken; NH_ETOOBIG: over SIMBUS_CHIPS_MAX; else as chip_file_open. */
nh_rc simbus_add(struct simbus *bus, const char *path, struct nh_err *err);

struct chip_file *simbus_find(struct simbus *bus, uint8_t address); /* the chip that answers there now; NULL */

/* One transfer; *ack: acknowledged. Errors: a state file cannot be written, and no chip may be heard again. Address 0 is the general call: its eight zero bits wake every chip and nobody answers. */
nh_rc simbus_write(struct simbus *bus, uint8_t address, nh_slice bytes, bool *ack, struct nh_err *err);
nh_rc simbus_read(struct simbus *bus, uint8_t address, uint8_t *out, size_t len, bool *ack, struct nh_err *err);

/*
 * simbus_control - one text command ("show", "power-cycle", "wipe", "fault"), each followed by an address where one chip is meant. Appends what there is to say, or why it is refused.
 * NH_OK; NH_EINVAL and NH_ENOTFOUND: refused; other errors as simbus_write's.
 */
nh_rc simbus_control(struct simbus *bus, nh_slice command, struct nh_buf *answer, struct nh_err *err);
/* A state in words, without anything that the chip itself would keep secret. */
void simbus_describe(struct nh_buf *out, const struct nh_chip_state *state);
/* NAME[:SKIP[:COUNT[:ARGUMENT]]] */
struct fault_wish {
	nh_chip_fault fault;
	uint32_t skip, count, argument;
};
nh_rc fault_parse(nh_slice text, struct fault_wish *out, struct nh_err *err);

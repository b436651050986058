/*
 * Under the commands: one exchange with the chip, and repeating what may be repeated. Each command_*.c builds its packets, hands them down here and checks what comes back.
 * thread: one at a time per chip.
 */
#pragma once

#include "atecc/chip.h"

struct nh_atecc {
	struct nh_atecc_transport transport;
	bool open;            /* between begin and end */
	uint8_t last_status;
	uint32_t awake_us;    /* since the last wake, by our own waits and the length of our transfers: the same in every run, so that recordings replay */
	nh_rc trouble;        /* what NH_EAGAIN of the last exchange becomes when nothing more is tried */
};

struct nh_atecc_command {
	uint8_t opcode, param1;
	uint16_t param2;
	nh_slice data;
	uint8_t *reply;       /* NULL: the answer is a status */
	size_t reply_len;     /* exactly; in nh_atecc_exchange_any the room */
};

/*
 * nh_atecc_exchange - one command of an open transaction. 0xFF (arrived garbled) and 0xEE (watchdog) mean that nothing was executed and TempKey is whole: those are repeated here.
 * NH_EAGAIN: no telling whether the chip executed it, nor whether TempKey survived; err and chip->trouble say what happened. Else as atecc/chip.h.
 */
nh_rc nh_atecc_exchange(struct nh_atecc *chip, const struct nh_atecc_command *c, struct nh_err *err);
/* As nh_atecc_exchange, for a reply of unknown length: *reply_len bytes. */
nh_rc nh_atecc_exchange_any(struct nh_atecc *chip, const struct nh_atecc_command *c, size_t *reply_len, struct nh_err *err);

/* After NH_EAGAIN: brings the chip back to "just woken", volatile state lost. */
nh_rc nh_atecc_recover(struct nh_atecc *chip, struct nh_err *err);

/*
 * nh_atecc_sequence - commands that belong together, in a transaction of their own unless one is open; step is called again from its begin after NH_EAGAIN, three times in all, so
 * doing it twice must do no harm.
 */
typedef nh_rc (*nh_atecc_step)(struct nh_atecc *chip, void *arg, struct nh_err *err);
nh_rc nh_atecc_sequence(struct nh_atecc *chip, nh_atecc_step step, void *arg, struct nh_err *err);
/* A sequence of one command. */
nh_rc nh_atecc_repeatable(struct nh_atecc *chip, const struct nh_atecc_command *c, struct nh_err *err);

#define NH_ATECC_ATTEMPTS 3u

/* Opens a transaction unless one is open; *own says which, for transaction_close. */
nh_rc nh_atecc_transaction_open(struct nh_atecc *chip, bool *own, struct nh_err *err);
void nh_atecc_transaction_close(struct nh_atecc *chip, bool own);

/* "/dev/i2c-1 address 0x60: Sign 80 0000: " and the text. */
[[gnu::format(printf, 5, 6)]] nh_rc nh_atecc_fail(const struct nh_atecc *chip, const struct nh_atecc_command *c, struct nh_err *err, nh_rc rc, const char *fmt, ...);

/* Parts of sequences. Nonce in pass-through mode: digest goes to TempKey. */
nh_rc nh_atecc_load_tempkey(struct nh_atecc *chip, const uint8_t value[32], struct nh_err *err);
nh_rc nh_atecc_read_word(struct nh_atecc *chip, unsigned config_byte, uint8_t out[4], struct nh_err *err);

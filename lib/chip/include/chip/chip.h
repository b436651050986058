/*
 * A simulated ATECC508A, 608A or 608B: what the silicon does with I2C transfers, as far as it is known. Zones, slot and key configuration, locks, counters, volatile registers, the watchdog; real P-256.
 * Sans-IO: the owner brings transfers, a clock and randomness, and stores the state where it wants. The driver's code is not used here beyond the vocabulary of atecc/packet.h and p256.h.
 *
 * thread: one at a time per chip.  source: reference/nerveskey "2" to "5", "15"
 */
#pragma once

#include "atecc/packet.h"
#include "base/rng.h"

struct nh_chip;

typedef enum nh_chip_model { NH_CHIP_508A, NH_CHIP_608A, NH_CHIP_608B } nh_chip_model;
typedef enum nh_chip_personality { NH_CHIP_BLANK, NH_CHIP_TRUST_AND_GO } nh_chip_personality;

/* What survives power. Written out after every command that changed it (nh_chip_dirty). */
struct nh_chip_state {
	nh_chip_model model;
	uint8_t address;                       /* 7-bit, from configuration byte 16 at power-up */
	uint8_t config[NH_ATECC_CONFIG_LEN];
	uint8_t otp[NH_ATECC_OTP_LEN];
	uint8_t slots[NH_ATECC_SLOTS][NH_ATECC_SLOT_MAX];
	uint16_t key_valid;                    /* bit n: slot n holds a valid private key */
	uint16_t key_validated;                /* bit n: public key in slot n is validated */
};
/* A part as it leaves the factory, with a random serial number (serial NULL) or the given 9 bytes. TRUST_AND_GO: 608B provisioned with keys and certificates of a root made up for the simulator. */
void nh_chip_state_factory(nh_chip_model model, nh_chip_personality personality, const uint8_t *serial, const struct nh_rng *rng, struct nh_chip_state *out);
/* The public key X‖Y of the root that signs the signers of simulated Trust&Go parts. Its private key is no secret: the SHA-256 of a label in the source. */
void nh_chip_trust_root(uint8_t public_key[64]);
/* As text for the state file (JSON), and back. It holds the private keys. parse: NH_EFORMAT with the name of what is wrong, *out untouched. */
void nh_chip_state_put(struct nh_buf *out, const struct nh_chip_state *state);
nh_rc nh_chip_state_parse(nh_slice text, struct nh_chip_state *out, struct nh_err *err);

struct nh_chip_config {
	const struct nh_rng *rng;
	uint64_t (*now_us)(void *ctx);  /* monotonic; drives the watchdog and execution times */
	void *clock_ctx;
	uint32_t speed_percent;         /* execution times: 100 = data sheet maximum (reference "3.5"), 0 = none */
	bool watchdog;                  /* falls asleep 1.3 s after wake (10 s with ChipMode bit 2) */
};
void nh_chip_new(const struct nh_chip_config *config, const struct nh_chip_state *state, struct nh_chip **out); /* powered up, asleep */
void nh_chip_free(struct nh_chip *chip);
const struct nh_chip_state *nh_chip_state_of(const struct nh_chip *chip);
bool nh_chip_dirty(struct nh_chip *chip); /* the state changed since the last call */

void nh_chip_wake(struct nh_chip *chip);                   /* the pulse: ignored when awake */
/* Transfers to the chip's address: true = acknowledged. */
bool nh_chip_write(struct nh_chip *chip, nh_slice bytes);  /* begins with the word address */
bool nh_chip_read(struct nh_chip *chip, uint8_t *out, size_t len);
void nh_chip_power_cycle(struct nh_chip *chip);
uint8_t nh_chip_address(const struct nh_chip *chip);       /* that it answers to now */

/* Faults, each for the next `count` occasions. source: "15" */
typedef enum nh_chip_fault {
	NH_CHIP_FAULT_NAK,          /* transfers are not acknowledged */
	NH_CHIP_FAULT_CRC,          /* one bit of a response flips */
	NH_CHIP_FAULT_COMMAND_CRC,  /* a command arrives garbled: status 0xFF */
	NH_CHIP_FAULT_WATCHDOG,     /* asleep in the middle of a transaction */
	NH_CHIP_FAULT_EE,           /* status 0xEE */
	NH_CHIP_FAULT_SLOW,         /* takes ten times its maximum, the watchdog permitting */
	NH_CHIP_FAULT_LOST_REPLY,   /* executed, then asleep before the answer is read */
	NH_CHIP_FAULT_POWER_BEFORE, /* power fails before the command executes */
	NH_CHIP_FAULT_POWER_AFTER,  /* and right after it did, before the answer */
	NH_CHIP_FAULT_POWER_AT_BYTE,/* `argument` bytes of a Write's data have reached the array */
	NH_CHIP_FAULT_STATUS,       /* answers status `argument` without executing */
	NH_CHIP_FAULT_SELF_TEST,    /* wakes with status 0x07: the self-test at power-up failed. Occasions: wakes */
	NH_CHIP_FAULTS,
} nh_chip_fault;
/* nh_chip_fault_arm - after skipping `skip` occasions (commands; transfers for NAK, Writes for POWER_AT_BYTE, wakes for SELF_TEST). count 0 disarms. */
void nh_chip_fault_arm(struct nh_chip *chip, nh_chip_fault fault, uint32_t skip, uint32_t count, uint32_t argument);
const char *nh_chip_fault_name(nh_chip_fault fault); /* "power-after" */

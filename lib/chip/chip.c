/*
 * The chip's outside: power, wake, sleep, the watchdog, the read pointer, time, and the faults that are done to it. A command runs at once when its packet has arrived; the chip then
 * acknowledges nothing until its execution time is over.
 * source: reference/nerveskey "2", "3.2", "15"
 */
#include <stdlib.h>

#include "chip_int.h"

#define WATCHDOG_US 1300000u
#define WATCHDOG_LONG_US 10000000u
#define CHIP_MODE_WATCHDOG_LONG 0x04u
#define CHIP_MODE_EXTRA_ADDRESS 0x01u
#define SLOW_FACTOR 10u
#define US_PER_MS 1000u
#define FILLER 0xFFu /* what is read behind the response */

/* What drivers compare with; its last two bytes aren't the sum of the others. source: reference/nerveskey "2.3" */
static const uint8_t self_test_failed[4] = {0x04, 0x07, 0xC4, 0x40};

static const char *const fault_names[NH_CHIP_FAULTS] = {
	[NH_CHIP_FAULT_NAK] = "nak",
	[NH_CHIP_FAULT_CRC] = "crc",
	[NH_CHIP_FAULT_COMMAND_CRC] = "command-crc",
	[NH_CHIP_FAULT_WATCHDOG] = "watchdog",
	[NH_CHIP_FAULT_EE] = "ee",
	[NH_CHIP_FAULT_SLOW] = "slow",
	[NH_CHIP_FAULT_LOST_REPLY] = "lost-reply",
	[NH_CHIP_FAULT_POWER_BEFORE] = "power-before",
	[NH_CHIP_FAULT_POWER_AFTER] = "power-after",
	[NH_CHIP_FAULT_POWER_AT_BYTE] = "power-at-byte",
	[NH_CHIP_FAULT_STATUS] = "status",
	[NH_CHIP_FAULT_SELF_TEST] = "self-test",
};

const char *nh_chip_fault_name(nh_chip_fault fault)
{
	NH_ASSERT((unsigned)fault < NH_CHIP_FAULTS);
	return fault_names[fault];
}

void nh_chip_fault_arm(struct nh_chip *chip, nh_chip_fault fault, uint32_t skip, uint32_t count, uint32_t argument)
{
	NH_ASSERT((unsigned)fault < NH_CHIP_FAULTS);
	chip->faults[fault].skip = skip;
	chip->faults[fault].count = count;
	chip->faults[fault].argument = argument;
}

bool nh_chip_fault_strikes(struct nh_chip *chip, nh_chip_fault fault, uint32_t *argument)
{
	if (chip->faults[fault].count == 0)
		return false;
	if (chip->faults[fault].skip > 0) {
		chip->faults[fault].skip--;
		return false;
	}
	chip->faults[fault].count--;
	if (argument)
		*argument = chip->faults[fault].argument;
	return true;
}

/* ---- life */

static uint64_t now_us(const struct nh_chip *chip) { return chip->env.now_us ? chip->env.now_us(chip->env.clock_ctx) : 0; }

/* The 608 answers to UserExtraAdd instead where ChipMode says so and it was set. */
static uint8_t address_of(const struct nh_chip *chip)
{
	const uint8_t *config = chip->state.config;
	if (nh_chip_is_608(chip) && (config[CFG_CHIP_MODE] & CHIP_MODE_EXTRA_ADDRESS) != 0 && config[CFG_SELECTOR] != 0)
		return config[CFG_SELECTOR] >> 1;
	return config[CFG_ADDRESS] >> 1;
}

static void volatile_clear(struct nh_chip *chip)
{
	nh_chip_register_clear(&chip->temp);
	nh_chip_register_clear(&chip->digest);
	nh_chip_register_clear(&chip->alternate);
	nh_chip_wipe(&chip->sha, sizeof(chip->sha));
	nh_chip_wipe(chip->response, sizeof(chip->response));
	chip->response_len = chip->response_at = 0;
	chip->authorized = NO_SLOT;
}

static void go_asleep(struct nh_chip *chip)
{
	volatile_clear(chip);
	chip->power = NH_CHIP_ASLEEP;
	chip->busy_us = 0;
	chip->address = address_of(chip);
	if (chip->state.address != chip->address) {
		chip->state.address = chip->address;
		chip->dirty = true;
	}
}

/* TempKey and the other registers stay; a digest in progress and the response do not. */
void nh_chip_go_idle(struct nh_chip *chip)
{
	chip->power = NH_CHIP_IDLE;
	chip->busy_us = 0;
	chip->response_len = chip->response_at = 0;
}

void nh_chip_power_cycle(struct nh_chip *chip)
{
	go_asleep(chip);
	chip->latch = chip->boot_forbidden = false;
}

void nh_chip_new(const struct nh_chip_config *config, const struct nh_chip_state *state, struct nh_chip **out)
{
	struct nh_chip *chip = calloc(1, sizeof(*chip));
	NH_ASSERT(chip != NULL);
	chip->env = *config;
	chip->state = *state;
	chip->write_limit = UINT32_MAX;
	nh_chip_power_cycle(chip);
	*out = chip;
}

void nh_chip_free(struct nh_chip *chip)
{
	if (!chip)
		return;
	nh_chip_wipe(chip, sizeof(*chip));
	free(chip);
}

const struct nh_chip_state *nh_chip_state_of(const struct nh_chip *chip) { return &chip->state; }
uint8_t nh_chip_address(const struct nh_chip *chip) { return chip->address; }

bool nh_chip_dirty(struct nh_chip *chip)
{
	bool dirty = chip->dirty;
	chip->dirty = false;
	return dirty;
}

/* ---- answers */

static void respond(struct nh_chip *chip, nh_slice payload)
{
	NH_AUTO_BUF struct nh_buf out = NH_BUF_INIT;
	nh_atecc_response_put(&out, payload);
	NH_ASSERT(nh_buf_ok(&out) && out.len <= sizeof(chip->response));
	memcpy(chip->response, out.ptr, out.len);
	chip->response_len = out.len;
	chip->response_at = 0;
	nh_chip_wipe(out.ptr, out.len);
}

static void respond_status(struct nh_chip *chip, uint8_t status) { respond(chip, nh_slice_of(&status, 1)); }

void nh_chip_wake(struct nh_chip *chip)
{
	if (chip->power == NH_CHIP_AWAKE)
		return;
	chip->power = NH_CHIP_AWAKE;
	chip->awake_us = now_us(chip);
	chip->busy_us = 0;
	respond_status(chip, NH_ATECC_AFTER_WAKE);
	if (nh_chip_fault_strikes(chip, NH_CHIP_FAULT_SELF_TEST, NULL))
		memcpy(chip->response, self_test_failed, sizeof(self_test_failed));
}

static uint64_t watchdog_end_us(const struct nh_chip *chip)
{
	bool long_watchdog = (chip->state.config[CFG_CHIP_MODE] & CHIP_MODE_WATCHDOG_LONG) != 0;
	return chip->awake_us + (long_watchdog ? WATCHDOG_LONG_US : WATCHDOG_US);
}

/* Does the chip take part in a transfer now? The watchdog runs from waking on, whatever happens meanwhile. */
static bool listening(struct nh_chip *chip)
{
	if (chip->power == NH_CHIP_AWAKE && chip->env.watchdog && now_us(chip) >= watchdog_end_us(chip))
		go_asleep(chip);
	if (nh_chip_fault_strikes(chip, NH_CHIP_FAULT_NAK, NULL))
		return false;
	return chip->power == NH_CHIP_AWAKE && now_us(chip) >= chip->busy_us;
}

/* ---- a command */

static uint64_t duration_us(struct nh_chip *chip, const struct nh_chip_command *command)
{
	return (uint64_t)nh_chip_command_ms(chip, command) * US_PER_MS * chip->env.speed_percent / 100;
}

static void execute(struct nh_chip *chip, const struct nh_chip_command *command, const struct nh_atecc_packet *in)
{
	struct nh_chip_reply reply = {.len = 0};
	uint8_t status = command->run(chip, in, &reply);
	if (chip->power != NH_CHIP_AWAKE)
		return; /* Pause */
	if (status != NH_ATECC_SUCCESS || reply.len == 0)
		respond_status(chip, status);
	else
		respond(chip, nh_slice_of(reply.bytes, reply.len));
	nh_chip_wipe(&reply, sizeof(reply));
}

/* Faults that strike instead of the command; true: one did. */
static bool fault_instead(struct nh_chip *chip)
{
	uint32_t argument = 0;
	if (nh_chip_fault_strikes(chip, NH_CHIP_FAULT_POWER_BEFORE, NULL)) {
		nh_chip_power_cycle(chip);
	} else if (nh_chip_fault_strikes(chip, NH_CHIP_FAULT_WATCHDOG, NULL)) {
		go_asleep(chip);
	} else if (nh_chip_fault_strikes(chip, NH_CHIP_FAULT_COMMAND_CRC, NULL)) {
		respond_status(chip, NH_ATECC_CRC_ERROR);
	} else if (nh_chip_fault_strikes(chip, NH_CHIP_FAULT_EE, NULL)) {
		respond_status(chip, NH_ATECC_WATCHDOG);
	} else if (nh_chip_fault_strikes(chip, NH_CHIP_FAULT_STATUS, &argument)) {
		respond_status(chip, (uint8_t)argument);
	} else {
		return false;
	}
	return true;
}

/* Faults that strike when the command has run. */
static void fault_behind(struct nh_chip *chip)
{
	if (nh_chip_fault_strikes(chip, NH_CHIP_FAULT_POWER_AFTER, NULL))
		nh_chip_power_cycle(chip);
	else if (nh_chip_fault_strikes(chip, NH_CHIP_FAULT_LOST_REPLY, NULL))
		go_asleep(chip);
	else if (nh_chip_fault_strikes(chip, NH_CHIP_FAULT_CRC, NULL))
		chip->response[chip->response_len - 1] ^= 0x10;
}

static void receive(struct nh_chip *chip, nh_slice bytes)
{
	struct nh_atecc_packet in;
	uint32_t reached = UINT32_MAX;
	/* The count byte says where the packet ends; clocks behind it reach nobody. */
	if (bytes.len == 0 || nh_atecc_packet_parse(nh_slice_sub(bytes, 0, bytes.ptr[0]), &in) != NH_OK) {
		respond_status(chip, NH_ATECC_CRC_ERROR);
		return;
	}
	if (fault_instead(chip))
		return;
	const struct nh_chip_command *command = nh_chip_command_find(chip, in.opcode);
	if (!command || !nh_chip_command_allows(chip, command, &in)) {
		respond_status(chip, NH_ATECC_PARSE_ERROR);
		return;
	}
	uint64_t done_us = now_us(chip) + duration_us(chip, command);
	if (chip->env.watchdog && done_us >= watchdog_end_us(chip)) {
		respond_status(chip, NH_ATECC_WATCHDOG);
		return;
	}
	if (nh_chip_fault_strikes(chip, NH_CHIP_FAULT_SLOW, NULL)) /* not foreseen, so the watchdog may bite meanwhile */
		done_us = now_us(chip) + (uint64_t)nh_chip_command_ms(chip, command) * US_PER_MS * SLOW_FACTOR;
	bool torn = in.opcode == NH_ATECC_WRITE && nh_chip_fault_strikes(chip, NH_CHIP_FAULT_POWER_AT_BYTE, &reached);
	chip->write_limit = reached;
	execute(chip, command, &in);
	chip->write_limit = UINT32_MAX;
	if (torn) {
		nh_chip_power_cycle(chip);
		return;
	}
	if (chip->power == NH_CHIP_AWAKE)
		chip->busy_us = done_us;
	fault_behind(chip);
}

/* ---- transfers */

bool nh_chip_write(struct nh_chip *chip, nh_slice bytes)
{
	if (!listening(chip))
		return false;
	if (bytes.len == 0)
		return true; /* a probe: only the address was sent */
	switch (bytes.ptr[0]) {
	case NH_ATECC_RESET:
		chip->response_at = 0;
		break;
	case NH_ATECC_SLEEP:
		go_asleep(chip);
		break;
	case NH_ATECC_IDLE:
		nh_chip_go_idle(chip);
		break;
	case NH_ATECC_COMMAND:
		receive(chip, nh_slice_skip(bytes, 1));
		break;
	default:
		break; /* acknowledged and forgotten */
	}
	return true;
}

bool nh_chip_read(struct nh_chip *chip, uint8_t *out, size_t len)
{
	if (!listening(chip))
		return false;
	for (size_t i = 0; i < len; i++)
		out[i] = chip->response_at < chip->response_len ? chip->response[chip->response_at++] : FILLER;
	return true;
}

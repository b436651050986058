/* The chips of one simulated bus; see simbus.h. */
#include "simbus.h"

#include "base/clock.h"

static uint64_t monotonic_us(void *ctx)
{
	return nh_mono_us();
}

void simbus_init(struct simbus *bus, uint32_t speed_percent, bool watchdog)
{
	*bus = (struct simbus){.config = {.rng = &nh_rng_system, .now_us = monotonic_us, .speed_percent = speed_percent, .watchdog = watchdog}};
}

void simbus_fini(struct simbus *bus)
{
	for (size_t i = 0; i < bus->count; i++)
		chip_file_close(bus->chips[i]);
	bus->count = 0;
}

nh_rc simbus_add(struct simbus *bus, const char *path, struct nh_err *err)
{
	struct chip_file *file;
	if (bus->count == SIMBUS_CHIPS_MAX)
		return NH_FAIL(err, NH_ETOOBIG, "more than %u chips on one bus", SIMBUS_CHIPS_MAX);
	NH_TRY(chip_file_open(path, &bus->config, &file, err));
	for (size_t i = 0; i < bus->count; i++)
		if (nh_chip_address(bus->chips[i]->chip) == nh_chip_address(file->chip)) {
			nh_rc rc = NH_FAIL(err, NH_ECONFLICT, "%s and %s both answer at 0x%02x; create one of them with another --address", bus->chips[i]->path, path,
					   nh_chip_address(file->chip));
			chip_file_close(file);
			return rc;
		}
	bus->chips[bus->count++] = file;
	return NH_OK;
}

struct chip_file *simbus_find(struct simbus *bus, uint8_t address)
{
	for (size_t i = 0; i < bus->count; i++)
		if (nh_chip_address(bus->chips[i]->chip) == address)
			return bus->chips[i];
	return NULL;
}

static nh_rc wake_all(struct simbus *bus, const struct chip_file *except, struct nh_err *err)
{
	for (size_t i = 0; i < bus->count; i++) {
		if (bus->chips[i] == except)
			continue;
		nh_chip_wake(bus->chips[i]->chip);
		NH_TRY(chip_file_settle(bus->chips[i], err));
	}
	return NH_OK;
}

/* Six zero bits in a row last 60 us at 100 kHz. source: reference/nerveskey "2.3" */
static bool wakes(uint8_t address_byte)
{
	for (unsigned shift = 0; shift <= 2; shift++)
		if ((address_byte >> shift & 0x3f) == 0)
			return true;
	return false;
}

/* After the transfer, since a chip that it wakes has not heard its beginning; one that acknowledged was awake, and may have been sent to sleep by it. */
static nh_rc stray(struct simbus *bus, uint8_t address_byte, const struct chip_file *heard, struct nh_err *err)
{
	return bus->stray_wake && wakes(address_byte) ? wake_all(bus, heard, err) : NH_OK;
}

nh_rc simbus_write(struct simbus *bus, uint8_t address, nh_slice bytes, bool *ack, struct nh_err *err)
{
	*ack = false;
	if (address == 0)
		return wake_all(bus, NULL, err);
	struct chip_file *file = simbus_find(bus, address);
	if (file) {
		*ack = nh_chip_write(file->chip, bytes);
		NH_TRY(chip_file_settle(file, err));
	}
	return stray(bus, (uint8_t)(address << 1), *ack ? file : NULL, err);
}

nh_rc simbus_read(struct simbus *bus, uint8_t address, uint8_t *out, size_t len, bool *ack, struct nh_err *err)
{
	struct chip_file *file = simbus_find(bus, address);
	*ack = file && nh_chip_read(file->chip, out, len);
	if (file)
		NH_TRY(chip_file_settle(file, err)); /* a command may finish when somebody looks */
	return stray(bus, (uint8_t)(address << 1 | 1), *ack ? file : NULL, err);
}

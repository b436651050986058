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

nh_rc simbus_write(struct simbus *bus, uint8_t address, nh_slice bytes, bool *ack, struct nh_err *err)
{
	*ack = false;
	if (address == 0) {
		for (size_t i = 0; i < bus->count; i++) {
			nh_chip_wake(bus->chips[i]->chip);
			NH_TRY(chip_file_settle(bus->chips[i], err));
		}
		return NH_OK;
	}
	struct chip_file *file = simbus_find(bus, address);
	if (!file)
		return NH_OK;
	*ack = nh_chip_write(file->chip, bytes);
	return chip_file_settle(file, err);
}

nh_rc simbus_read(struct simbus *bus, uint8_t address, uint8_t *out, size_t len, bool *ack, struct nh_err *err)
{
	struct chip_file *file = simbus_find(bus, address);
	*ack = file && nh_chip_read(file->chip, out, len);
	return file ? chip_file_settle(file, err) : NH_OK; /* a command may finish when somebody looks */
}

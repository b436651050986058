/* State files: whatever is accepted is a chip that runs, and is written as the same state again. */
#include "fuzz.h"

#include "chip/chip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nh_chip_state state, again;
	struct nh_rng_seeded seeded;
	struct nh_rng rng = nh_rng_seeded_init(&seeded, 1);
	struct nh_chip_config config = {.rng = &rng};
	struct nh_chip *chip;
	uint8_t reply[4];
	if (nh_chip_state_parse(nh_slice_of(data, size), &state, NULL) != NH_OK)
		return 0;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_chip_state_put(&text, &state);
	FUZZ_CHECK(nh_chip_state_parse(nh_buf_slice(&text), &again, NULL) == NH_OK, "not readable");
	FUZZ_CHECK(memcmp(state.config, again.config, sizeof(state.config)) == 0 && memcmp(state.slots, again.slots, sizeof(state.slots)) == 0, "read back differently");
	FUZZ_CHECK(state.key_valid == again.key_valid && state.key_validated == again.key_validated, "other keys");
	nh_chip_new(&config, &state, &chip);
	nh_chip_wake(chip);
	FUZZ_CHECK(nh_chip_read(chip, reply, sizeof(reply)) && reply[1] == NH_ATECC_AFTER_WAKE, "does not wake");
	nh_chip_free(chip);
	return 0;
}

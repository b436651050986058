/* Chips as they leave the factory. */
#include "chip/chip.h"

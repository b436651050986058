/* What a NervesKey keeps where. */
#include "nerveskey/layout.h"

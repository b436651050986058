/* Linux I2C. */
#include "transport_int.h"

nh_rc nh_atecc_i2c_open(const char *path, struct nh_atecc_transport *out, struct nh_err *err)
{
	return NH_FAIL(err, NH_EUNSUPPORTED, "%s: not built yet", path);
}

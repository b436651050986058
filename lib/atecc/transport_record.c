/* Recordings. */
#include "transport_int.h"

nh_rc nh_atecc_replay_open(const char *path, struct nh_atecc_transport *out, struct nh_err *err)
{
	return NH_FAIL(err, NH_EUNSUPPORTED, "%s: not built yet", path);
}

nh_rc nh_atecc_record_open(const char *path, struct nh_atecc_transport take_inner, struct nh_atecc_transport *out, struct nh_err *err)
{
	nh_atecc_transport_close(&take_inner);
	return NH_FAIL(err, NH_EUNSUPPORTED, "%s: not built yet", path);
}

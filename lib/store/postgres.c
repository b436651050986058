#include "db_int.h"
nh_rc nh_postgres_open(const char *url, unsigned connections, struct nh_db **out, struct nh_err *err) { return NH_FAIL(err, NH_EUNSUPPORTED, "PostgreSQL"); }

/* Reading an archive that is a file. Private to firmware. */
#pragma once

#include "firmware/zip.h"

/* fw_zip_file_pass - feeds the file at fd from its beginning to a reader, to the end of its members. path: for messages. NH_EIO, NH_EFORMAT, a handler's code. */
nh_rc fw_zip_file_pass(int fd, const char *path, const struct nh_fw_zip_handler *handler, struct nh_err *err);

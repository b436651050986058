/* What the files of mail share. Private to outbound. */
#pragma once

#include "outbound/mail.h"

/* mail_smtp.c: hands one message to the server. *stopping (atomic): cut it off. *for_good: the server will never take it. NH_EIO, NH_EAUTH, NH_ETIMEOUT; messages hold no secret and no text. */
nh_rc mail_smtp_check(const struct nh_mailer_config *config, struct nh_err *err);
nh_rc mail_smtp_send(const struct nh_mailer_config *config, nh_slice to, nh_slice message, const bool *stopping, bool *for_good, struct nh_err *err);

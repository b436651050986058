/*
 * Reads the archive. Stops as soon as the reader has what it needs, because a pipe may never close.
 */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "firmware/framing.h"

static nh_rc feed_piece(struct nh_fw_deframer *d, bool framed, nh_slice bytes, nh_rc (*feed)(void *ctx, nh_slice bytes, struct nh_err *err),
			bool (*done)(void *ctx), void *ctx, struct nh_err *err)
{
	if (!framed)
		return feed(ctx, bytes, err);
	for (nh_slice run; !done(ctx) && (run = nh_fw_deframe(d, &bytes)).len > 0;)
		NH_TRY(feed(ctx, run, err));
	return NH_OK;
}

nh_rc input_run(const struct input *in, nh_rc (*feed)(void *ctx, nh_slice bytes, struct nh_err *err), bool (*done)(void *ctx), void *ctx,
		struct nh_err *err)
{
	static uint8_t bytes[128 * 1024];
	bool standard = !in->path || strcmp(in->path, "-") == 0;
	int fd = standard ? STDIN_FILENO : open(in->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NH_FAIL(err, nh_rc_from_errno(errno), "Failed to open '%s'", in->path);
	bool framed = standard && in->framing;
	struct nh_fw_deframer d = {0};
	nh_rc rc = NH_OK;
	while (rc == NH_OK && !done(ctx) && !d.ended) {
		ssize_t n = read(fd, bytes, sizeof bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = NH_FAIL(err, NH_EIO, "Error reading '%s': %s", in->path ? in->path : "-", strerror(errno));
		else if (n == 0 && framed)
			rc = NH_FAIL(err, NH_EIO, "Framed input ended without an end packet");
		else if (n == 0)
			break;
		else
			rc = feed_piece(&d, framed, nh_slice_of(bytes, (size_t)n), feed, done, ctx, err);
	}
	if (!standard)
		close(fd);
	return rc;
}

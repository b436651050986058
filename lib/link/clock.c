/*
 * A time that is certainly over, for machines whose clock starts in 1970: one before this program was written, and the newest one that the TLS library has learnt from servers whose
 * certificates it accepted, kept in a file. Written when it changes, which is when a server gets a new certificate: flash memory is spared. net/tls.h says what the
 * floor is good for, and why a clock that is ahead of the truth is left alone.
 */
#include "base/file.h"
#include "link_int.h"

#define NOT_YET_WRITTEN_US (INT64_C(1735689600) * NH_US_PER_S) /* 2025-01-01: there was no such agent */

void clock_open(struct nh_link *l)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_tls_time_floor(NOT_YET_WRITTEN_US);
	if (!l->config.clock_file || nh_file_read(l->config.clock_file, 64, &text, NULL) != NH_OK || nh_time_parse_iso(nh_slice_trim(nh_buf_slice(&text)), &l->clock_saved_us) != NH_OK)
		return; /* missing or torn: nothing is remembered, which is where everybody starts */
	nh_tls_time_floor(l->clock_saved_us);
}

void clock_run(struct nh_link *l)
{
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	nh_time_put_iso(&text, l->clock_saved_us);
	nh_buf_put_u8(&text, '\n');
	l->job_err = NH_ERR_INIT;
	l->job_rc = nh_file_write_atomic(l->config.clock_file, nh_buf_slice(&text), 0644, &l->job_err);
}

void clock_done(struct nh_link *l)
{
	struct nh_err err = l->job_err;
	if (l->job_rc != NH_OK)
		link_event_text(l, NH_LINK_ERROR, err.msg);
}

void clock_connected(struct nh_link *l)
{
	int64_t known = nh_tls_time_known();
	if (!l->config.clock_file || known <= l->clock_saved_us || link_job_busy(l, &l->clock_job))
		return;
	l->clock_saved_us = known;
	link_job_submit(l, &l->clock_job);
}

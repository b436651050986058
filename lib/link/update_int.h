/*
 * Private to updater.c and download.c: one update in progress.
 *
 * Bytes travel: socket → queue (loop) → writing (worker, hashed and applied). While the queue is full the socket is not read.
 */
#pragma once

#include "link_int.h"

#define UPDATE_QUEUE_MAX ((size_t)256 << 10)

typedef enum update_phase { UPDATE_OPENING, UPDATE_RUNNING, UPDATE_FINISHING, UPDATE_ABORTING } update_phase;

struct link_update {
	struct nh_arena arena;
	struct nh_link_offer offer;     /* texts in arena */
	update_phase phase;

	/* download: [loop] */
	struct nh_http_get *get;
	struct nh_tls *tls;             /* without our certificate; made on the worker */
	struct nh_timer *retry;
	struct nh_timer *pace;
	struct nh_buf queue;
	uint64_t received;              /* bytes taken off the network for good: offset of the next one */
	uint64_t total;                 /* 0 = unknown */
	uint64_t attempt_bytes;         /* of this connection, for pacing */
	uint64_t attempt_ms;
	char *etag;                     /* strong entity tag of the first answer, or NULL */
	char *why;                      /* why the last connection ended */
	unsigned disconnects;
	uint64_t restart_skip;          /* the server sends from the start: so many bytes are only compared */
	bool restart_pending;           /* tell the worker before the next bytes */
	bool paused_queue, paused_pace;
	bool retry_due;                 /* retry once the queue is drained */
	bool complete;                  /* all bytes were received */

	/* worker's while a job runs */
	void *apply;
	struct nh_buf writing;
	struct nh_digest_stream *digest;   /* of all bytes in order */
	struct nh_digest_stream *recheck;  /* of the first skip_left bytes after a restart */
	uint8_t prefix[NH_SHA256_LEN];
	uint64_t skip_left;
	uint64_t restart_skip_job;         /* restart_skip as handed to the job */
	uint64_t applied;
	unsigned percent;
	bool percent_known;
	bool apply_failed;                 /* the failing call's error is about the install, not the download */
	nh_rc rc;
	struct nh_err err;

	unsigned percent_sent;
	uint64_t percent_sent_ms;
};

void download_start(struct nh_link *l);
void download_pump(struct nh_link *l);     /* hands queued bytes to the worker, resumes the socket, goes on at the end */
void download_stop(struct link_update *u);
void download_lost(struct nh_link *l, const char *why); /* this connection is over: retry or fail */

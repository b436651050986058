/*
 * Private to updater.c, decision.c and download.c: one update in progress.
 *
 * Bytes travel: socket → queue (loop) → writing (worker). While the queue is full the socket is not read. With the streaming way the worker hashes and applies them;
 * with the others it puts them into the cache, and applies from there once the file is whole.
 */
#pragma once

#include "cache_int.h"
#include "link_int.h"

#define UPDATE_QUEUE_MAX ((size_t)256 << 10)

typedef enum update_phase {
	UPDATE_DECIDING,
	UPDATE_OPENING,
	UPDATE_RUNNING,    /* bytes come from the network */
	UPDATE_SEALING,    /* the cache is judged as a whole, the installer opened */
	UPDATE_INSTALLING, /* from the cache */
	UPDATE_FINISHING,
	UPDATE_ABORTING,
} update_phase;

struct link_update {
	struct nh_arena arena;
	struct nh_link_offer offer;     /* texts in arena */
	update_phase phase;
	uint64_t offered_ms;            /* when it was first offered */
	bool begun;                     /* in an earlier life */
	bool old;                       /* taken up after a delay or a restart: its URL may have run out */

	/* decision; worker's while consider_job runs */
	nh_link_decision decision;
	uint64_t delay_ms;
	char reason[256];

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
	uint64_t restart_skip;          /* streaming, and the server sends from the start: so many bytes are only compared */
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
	bool restart_job;                  /* the next bytes are the file's first again */
	struct link_cache *cache;          /* NULL: streaming */
	cache_fate fate;                   /* of the cache, once the update is over */
	uint64_t fed;                      /* of the cache's file, to the installer */
	bool by_file;                      /* the installer took the file itself */
	bool all_fed;
	uint64_t applied;
	unsigned percent;
	bool percent_known;
	bool apply_failed;                 /* the failing call's error is about the install, not the download */
	nh_rc rc;
	struct nh_err err;

	const char *stage_sent;
	unsigned percent_sent;
	uint64_t percent_sent_ms;
};

/* updater.c */
void update_free(struct nh_link *l);
void update_begin(struct nh_link *l); /* the decision is to apply */
void update_status(struct nh_link *l, const char *status, const char *reason, uint64_t delay_ms); /* one that cannot be sent now is told after the next join */
void updater_downloaded(struct nh_link *l); /* all bytes were received and written */
void updater_outdated(struct nh_link *l);   /* the URL of an old offer is no longer good: the server is asked for a new one */
/* decision.c */
void decision_begin(struct nh_link *l);                   /* l->update is an offer; at the end it is begun, kept for later or gone */
void decision_postpone(struct nh_link *l, uint64_t delay_ms, const char *reason);
void decision_drop(struct nh_link *l);                    /* the postponed offer goes */
void decision_close(struct nh_link *l);
void decision_run(struct nh_link *l);
void decision_done(struct nh_link *l);
/* download.c */
void download_start(struct nh_link *l);
void download_pump(struct nh_link *l);     /* hands queued bytes to the worker, resumes the socket, goes on at the end */
void download_stop(struct link_update *u);
void download_lost(struct nh_link *l, const char *why); /* this connection is over: retry or fail */

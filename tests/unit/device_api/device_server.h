/*
 * The real server with the device endpoint's routes over TLS, and a blocking device: a WebSocket client on a loop thread of its own whose frames the
 * test takes one by one. Everything here fails the test where it fails; every wait ends with a message or after DEADLINE_S.
 */
#pragma once

#include "../hub/rollout_pki.h"

#include "device_api/device_api.h"
#include "hub/device_session.h"
#include "net/client.h"

#define DEADLINE_S 60

struct device_server {
	struct nh_db *db;
	struct nh_pool *pool;
	struct nh_objects *objects;
	struct nh_server *server;
	struct nh_device_api *api;
	struct world world;
	struct nh_loop *client_loop;
	struct pair root, identity;        /* of the server */
	struct nh_mount mounts[2];
	struct nh_listener listener;
	struct nh_tls *tls;
	char dir[64];
};

void device_server_open(struct device_server *s, struct nh_db *take_db, nh_rc (*fill)(struct world *w, struct nh_err *err), void *arg);
void device_server_close(struct device_server *s);
/* Runs rules against the server's database and carries their effects out. */
void device_server_do(struct device_server *s, nh_rc (*run)(struct world *w, struct nh_err *err));
struct nh_device_api_stats device_server_stats(struct device_server *s);

/* The device's connection as its row says; empty where it never connected. */
struct look {
	char status[32], id[NH_UUID_TEXT_LEN + 1];
	int64_t established_at_us, disconnected_at_us;
};
struct look look(struct device_server *s, int64_t device);
void wait_for_status(struct device_server *s, int64_t device, const char *status);
void wait_for_pending(struct device_server *s, uint64_t count); /* ends that are not written */

struct peer;
/* path with query; device NULL: no client certificate. Returns when the socket is open or refused. */
struct peer *peer_new(struct device_server *s, const char *path, const struct pair *device, const struct nh_nh1_headers *secret);
void peer_free(struct peer *p);
bool peer_open(struct peer *p);
void peer_send(struct peer *p, const char *text);
void peer_send_binary(struct peer *p, nh_slice bytes);
/* The next frame; fails the test when the socket closes instead. Lives until the next call. */
const char *peer_next(struct peer *p);
/* Frames up to the first that holds part are dropped; returns that one. */
const char *peer_until(struct peer *p, const char *part);
/* Waits for the end, dropping frames. code: of the close frame; status: of a refused upgrade. */
struct peer_end {
	nh_rc rc;
	uint16_t code;
	unsigned status;
	bool dated; /* the refusal carried a Date */
} peer_end(struct peer *p);

/* A GET over the server's TLS port; url may name any host. */
struct download {
	unsigned status;
	struct nh_buf body;
	char content_range[64], content_length[24], etag[96];
	nh_rc rc;
};
struct download fetch(struct device_server *s, const char *url, bool range, uint64_t first);

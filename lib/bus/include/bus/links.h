/*
 * Links between the servers of a database: what people say to a device that another server holds, and what it answers. A link leads from the server where somebody looks on to every other one, is made when
 * the first does and ends a while after the last. It is a WebSocket over TLS in which each side knows the other by its certificate, which that one wrote into the database when it started: whoever can write
 * there is a server, and nobody needs to be given a key.
 *
 * Why not NOTIFY: its messages have 8000 bytes and all of a database stand in one queue, whose writers take turns at one lock, with nobody who slows down who says too much. A link has a window.
 *
 * Bounds: of what one viewer says at most NH_RELAY_PENDING_MAX is under way (relay.h); of what a device says so much waits for one link, and what exceeds it is lost and told; at most NH_LINK_STREAMS_MAX viewers
 * and questions come over one link.
 *
 * thread: new, free and set_peers by main or any one thread at a time, the rest on the loop.  source: design/architecture "6. More than one node"
 */
#pragma once

#include "bus/relay.h"
#include "net/server.h"

#define NH_LINK_STREAMS_MAX 4096

struct nh_links;

struct nh_link_peer {
	nh_slice name, url;    /* "https://host:port"; empty: it takes no links, and is left out */
	nh_slice certificate;  /* PEM */
};

#define NH_LINK_NAME "nerveshub-node" /* what each server's certificate of links says, whatever its address */

struct nh_links_config {
	struct nh_relay *relay; /* whose hooks this sets */
	struct nh_loop *loop;   /* outlives the links */
	nh_slice cert_pem, key_pem; /* own; copied */
};

struct nh_links *nh_links_new(const struct nh_links_config *config); /* never NULL */
/* nh_links_set_peers - all other servers, as they are now (copied). Links to those that are gone, or began anew, end. Any thread. */
void nh_links_set_peers(struct nh_links *links, const struct nh_link_peer *peers, size_t count);
/* nh_links_close - [main] nobody looks on any more and no loop of the relay's ends runs; blocks until the loop let go. NULL legal */
void nh_links_close(struct nh_links *links);

/* The other end: routes for a listener whose TLS lets in other servers only. The mount's app is an nh_link_end, which outlives the server. */
struct nh_link_end {
	struct nh_relay *relay;
};
extern const struct nh_route nh_link_routes[];

/*
 * A socket of the server for people: channels over one WebSocket, for terminals and for watching. Private to cli.
 *
 * thread: that of the loop given. Callbacks never run inside the function that opened the socket; a callback may close it.
 * source: reference/user-api-and-cli "16.1"
 */
#pragma once

#include "cli_int.h"

struct nh_loop;
struct cli_socket;

#define CLI_SOCKET_API "api/socket/websocket"
#define CLI_SOCKET_EVENTS "events-socket/websocket"

struct cli_socket_events {
	void (*on_open)(void *ctx); /* join now */
	/* Answer to a join: reason NULL: joined, else why not, borrowed. */
	void (*on_join)(void *ctx, nh_slice topic, const char *reason);
	void (*on_event)(void *ctx, nh_slice topic, nh_slice event, const json_t *payload);
	void (*on_left)(void *ctx, nh_slice topic);   /* the server ended a channel that was joined */
	void (*on_settled)(void *ctx);                /* everything sent before cli_socket_settle was taken by the server; NULL: never asked */
	void (*on_end)(void *ctx, const struct nh_err *why); /* once and last: the server closed it, or it was never reached. NH_EAUTH: the token is not accepted */
	void *ctx;
};

/* cli_socket_open - starts connecting with the command's server, token, SSL_CERT_FILE and proxy. path: CLI_SOCKET_…. NH_EAUTH: there is no token. NH_EINVAL, NH_EFORMAT: uri, certificates or proxy. */
nh_rc cli_socket_open(struct nh_cli *c, struct nh_loop *loop, const char *path, const struct cli_socket_events *events, struct cli_socket **out, struct nh_err *err);
void cli_socket_join(struct cli_socket *s, const char *topic);
void cli_socket_leave(struct cli_socket *s, const char *topic);
void cli_socket_push(struct cli_socket *s, const char *topic, const char *event, json_t *take_payload); /* lost where the socket is going down: on_end follows */
void cli_socket_settle(struct cli_socket *s);                 /* on_settled follows */
size_t cli_socket_unsent(const struct cli_socket *s);         /* bytes */
void cli_socket_pause(struct cli_socket *s, bool paused);     /* the server has to wait */
void cli_socket_goodbye(struct cli_socket *s);                /* on_end follows at the server's answer or after 5 s */
void cli_socket_close(struct cli_socket *s);                  /* no callback any more. NULL legal */

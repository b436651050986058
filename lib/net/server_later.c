/*
 * Answers that come later. A handler takes its response away and somebody gives the answer from any thread; until then the connection holds its place, its exchange and nothing
 * else: no worker, no loop waits. Which of connection and answer ends first is not known to either, so the answer carries the connection's name and not its address.
 *
 * Invariant: as long as an answer is owed its exchange is the connection's, so whoever finds the connection finds the exchange.
 */
#include <stddef.h>
#include <stdlib.h>

#include "server_int.h"

struct nh_later {
	struct nh_message message;
	struct shard *shard;
	struct nh_conn_id id;
	unsigned status;
	const char *type;
	struct nh_buf body;
};

void later_free(struct nh_later *later)
{
	if (!later)
		return;
	UNCOUNT(later->shard, later, 1);
	nh_buf_fini(&later->body);
	free(later);
}

static void answer(struct exchange *ex, struct nh_later *take_later)
{
	nh_response_send(&ex->response, take_later->status, take_later->type, nh_buf_slice(&take_later->body));
	later_free(take_later);
	respond(ex);
}

static void on_answer(void *arg)
{
	struct nh_later *later = arg;
	struct nh_conn *c = conn_find(later->shard, later->id);
	if (!c)
		later_free(later); /* nobody waits any more */
	else if (c->state == CONN_LATER)
		answer(c->exchange, later);
	else
		c->exchange->early = later; /* the handler's job is not back yet; the response is still its */
}

void later_wait(struct exchange *ex)
{
	struct nh_later *early = ex->early;
	ex->early = NULL;
	if (early) {
		answer(ex, early);
		return;
	}
	conn_enter(ex->conn, CONN_LATER, CLASS_WORKING);
	conn_rewatch(ex->conn);
}

/* On the handler's thread, while its job keeps connection and exchange in memory. What is read of the connection never changes. */
struct nh_later *nh_response_later(struct nh_response *res)
{
	struct exchange *ex = (struct exchange *)(void *)((char *)res - offsetof(struct exchange, response));
	struct shard *shard = ex->conn->shard;
	NH_ASSERT(!res->later);
	if (COUNT(shard, later, 1) >= shard->server->config.max_later) {
		UNCOUNT(shard, later, 1);
		return NULL;
	}
	struct nh_later *later = nh_xcalloc(1, sizeof *later);
	later->shard = shard;
	later->id = nh_conn_id_of(ex->conn);
	res->later = true;
	return later;
}

void nh_later_send(struct nh_later *take_later, unsigned status, const char *type, nh_slice body)
{
	take_later->status = status;
	take_later->type = type;
	nh_buf_put_slice(&take_later->body, body);
	take_later->message = (struct nh_message){.fn = on_answer, .arg = take_later};
	nh_loop_send(take_later->shard->loop, &take_later->message);
}

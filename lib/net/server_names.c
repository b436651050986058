/*
 * Names of connections, and how others reach them. A name is a place in the shard's table and a number that is never used twice: whoever keeps one finds its connection or nobody, and
 * never another one that has its memory or its place.
 */
#include <stdlib.h>

#include "server_int.h"

void conn_name(struct nh_conn *c)
{
	struct shard *shard = c->shard;
	if (shard->free_count == 0) {
		uint32_t more = shard->slot_count ? shard->slot_count : 64;
		struct slot *slots = realloc(shard->slots, (shard->slot_count + more) * sizeof *slots);
		uint32_t *free_slots = realloc(shard->free_slots, (shard->slot_count + more) * sizeof *free_slots);
		NH_ASSERT(slots && free_slots);
		shard->slots = slots;
		shard->free_slots = free_slots;
		for (uint32_t i = 0; i < more; i++)
			shard->free_slots[shard->free_count++] = shard->slot_count + more - 1 - i;
		shard->slot_count += more;
	}
	c->slot = shard->free_slots[--shard->free_count];
	c->generation = ++shard->next_generation;
	shard->slots[c->slot] = (struct slot){c, c->generation};
}

void conn_unname(struct nh_conn *c)
{
	c->shard->slots[c->slot] = (struct slot){0};
	c->shard->free_slots[c->shard->free_count++] = c->slot;
}

struct nh_conn *conn_find(const struct shard *shard, struct nh_conn_id id)
{
	return id.slot < shard->slot_count && shard->slots[id.slot].generation == id.generation ? shard->slots[id.slot].conn : NULL;
}

struct nh_conn_id nh_conn_id_of(const struct nh_conn *conn) { return (struct nh_conn_id){conn->shard->index, conn->slot, conn->generation}; }

/* ---- connections from elsewhere ---------------------------------------------------------------------------------------- */

struct posted {
	struct shard *shard;
	struct nh_conn_id id;
	void (*fn)(struct nh_conn *conn, void *arg);
	void *arg;
};

static struct nh_conn *find(const struct shard *shard, struct nh_conn_id id)
{
	struct nh_conn *c = conn_find(shard, id);
	return c && c->state == CONN_WEBSOCKET ? c : NULL;
}

static void run_posted(void *arg)
{
	struct posted *p = arg;
	p->fn(find(p->shard, p->id), p->arg);
	free(p);
}

nh_rc nh_server_post(struct nh_server *server, struct nh_conn_id id, void (*fn)(struct nh_conn *conn, void *arg), void *arg)
{
	NH_ASSERT(id.loop < server->config.loops);
	struct posted *p = nh_xcalloc(1, sizeof *p);
	*p = (struct posted){&server->shards[id.loop], id, fn, arg};
	nh_rc rc = nh_loop_post(p->shard->loop, run_posted, p);
	if (rc != NH_OK)
		free(p);
	return rc;
}

static void run_sent(void *arg)
{
	struct nh_conn_message *m = arg;
	m->fn(find(&m->server->shards[m->id.loop], m->id), m);
}

void nh_server_send(struct nh_server *server, struct nh_conn_id id, struct nh_conn_message *message)
{
	NH_ASSERT(id.loop < server->config.loops);
	message->server = server;
	message->id = id;
	message->message = (struct nh_message){.fn = run_sent, .arg = message};
	nh_loop_send(server->shards[id.loop].loop, &message->message);
}

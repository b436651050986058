/*
 * Texts of the family of servers (see store/nodes.h). One text serves both engines; parameters are numbered by first use.
 */
#include "store/nodes.h"

#define STMT(id, text) const struct nh_stmt nh_q_##id = {#id, text}

STMT(node_put, "INSERT INTO nodes (name, life, beat, started_at, seen_at, version, url, certificate) VALUES ($1, $2, 1, $3, $3, $4, $5, $6) "
               "ON CONFLICT (name) DO UPDATE SET life = excluded.life, beat = nodes.beat + 1, started_at = excluded.started_at, seen_at = excluded.seen_at, "
               "version = excluded.version, url = excluded.url, certificate = excluded.certificate");
STMT(node_beat, "UPDATE nodes SET beat = beat + 1, seen_at = $1 WHERE name = $2 AND life = $3");
STMT(node_life, "SELECT life FROM nodes WHERE name = $1");
STMT(node_list, "SELECT name, life, beat, url, certificate, version, started_at, seen_at FROM nodes ORDER BY name");
STMT(node_end, "UPDATE nodes SET life = '' WHERE name = $1 AND life = $2 AND beat = $3");
STMT(node_delete, "DELETE FROM nodes WHERE name = $1 AND life = $2");

STMT(node_tell_device, "INSERT INTO node_messages (node, kind, subject_id, name, payload) "
                       "SELECT n.name, $1, c.device_id, $2, $3 FROM device_connections c JOIN nodes n ON n.name = c.node "
                       "WHERE c.device_id = $4 AND c.status <> 'disconnected' AND n.name <> $5 RETURNING node");
STMT(node_tell_all, "INSERT INTO node_messages (node, kind, subject_id, name, payload) "
                    "SELECT n.name, $1, $2, $3, $4 FROM nodes n WHERE n.name <> $5 RETURNING node");
STMT(node_tell_old, "INSERT INTO node_messages (node, kind, subject_id, name, payload) "
                    "SELECT n.name, $1, c.device_id, c.id, $2 FROM device_connections c JOIN nodes n ON n.name = c.node "
                    "WHERE c.device_id = $3 AND c.status <> 'disconnected' AND n.name <> $4 RETURNING node");
STMT(node_take, "DELETE FROM node_messages WHERE id IN (SELECT id FROM node_messages WHERE node = $1 ORDER BY id LIMIT $2) "
                "RETURNING id, kind, subject_id, name, payload");
STMT(node_drop, "DELETE FROM node_messages WHERE node = $1");

STMT(node_secret, "SELECT fingerprint FROM node_secret WHERE id = 1");
STMT(node_secret_add, "INSERT INTO node_secret (id, fingerprint) VALUES (1, $1) ON CONFLICT (id) DO NOTHING");
STMT(node_secret_set, "INSERT INTO node_secret (id, fingerprint) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET fingerprint = excluded.fingerprint");

const struct nh_stmt *const nh_nodes_statements[] = {
	&nh_q_node_put, &nh_q_node_beat, &nh_q_node_life, &nh_q_node_list, &nh_q_node_end, &nh_q_node_delete,
	&nh_q_node_tell_device, &nh_q_node_tell_all, &nh_q_node_tell_old, &nh_q_node_take, &nh_q_node_drop,
	&nh_q_node_secret, &nh_q_node_secret_add, &nh_q_node_secret_set,
	NULL,
};

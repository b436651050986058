/*
 * Connections between servers and devices, seen from the server (connection.c). Private to simulate.
 */
#pragma once

#include "simulate_int.h"

void sim_server_push(struct sim *s, struct sim_conn *c, nh_slice event, nh_slice payload); /* to a joined device */
void sim_server_close(struct sim *s, struct sim_conn *c); /* the server closes; its row is written soon */
void sim_server_gone(struct sim *s, struct sim_conn *c);  /* the server died: nobody writes anything */

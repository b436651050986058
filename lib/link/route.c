/*
 * The network interface that is reported to the server: the one the owner names, or, for "auto", the one whose address the connection has. Old servers know no such report and break the channel over
 * it; such a server hears it once a connection. source: reference/device-protocol "9.3", "17.3" (23)
 */
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>

#include "link_int.h"

#define RETRY_MS 60000

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
	if (!a || a->sa_family != b->sa_family)
		return false;
	if (a->sa_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr == ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
	return a->sa_family == AF_INET6 &&
	       memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

static bool find(const struct nh_link *l, char name[IF_NAMESIZE])
{
	struct sockaddr_storage local = {0};
	socklen_t length = sizeof local;
	struct ifaddrs *all = NULL;
	bool found = false;
	int fd = l->ws ? nh_ws_client_descriptor(l->ws) : -1;
	if (fd < 0 || getsockname(fd, (struct sockaddr *)&local, &length) != 0 || getifaddrs(&all) != 0)
		return false;
	for (const struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
		found = same_address(i->ifa_addr, (const struct sockaddr *)&local);
		snprintf(name, IF_NAMESIZE, "%.15s", i->ifa_name);
	}
	freeifaddrs(all);
	return found;
}

static void on_timer(void *arg) { route_report(arg); }

void route_report(struct nh_link *l)
{
	const char *name = l->config.network_interface;
	if (!name || l->route_muted)
		return;
	if (strcmp(name, "auto") == 0) {
		if (!find(l, l->route_found)) {
			l->route_found[0] = 0;
			if (!l->route_timer)
				l->route_timer = nh_timer_new(l->loop, on_timer, l);
			nh_timer_start(l->route_timer, RETRY_MS, 0);
			return;
		}
		name = l->route_found;
	}
	l->route_told = channel_push_json(l, "report_network_interface", json_pack("{s:s}", "interface", name));
}

const char *route_name(const struct nh_link *l)
{
	const char *name = l->config.network_interface;
	return !name || strcmp(name, "auto") != 0 ? name : l->route_found[0] ? l->route_found : NULL;
}

void route_left(struct nh_link *l)
{
	l->route_muted = l->ws && l->route_told;
	l->route_told = false;
	if (l->route_timer && !l->closing)
		nh_timer_stop(l->route_timer);
}

void route_close(struct nh_link *l)
{
	nh_timer_close(l->route_timer);
	l->route_timer = NULL;
}

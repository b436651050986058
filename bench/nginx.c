/* Debian's nginx as the measure for downloads: one worker on the server's core, the same certificate and file, no logs. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "bench.h"

#define NGINX "/usr/sbin/nginx"

static uint16_t free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || getsockname(fd, (struct sockaddr *)&a, &len) != 0)
		die("a port for nginx", NULL);
	close(fd);
	return ntohs(a.sin_port);
}

static void write_config(const struct nginx *n)
{
	struct nh_err err = NH_ERR_INIT;
	NH_AUTO_BUF struct nh_buf text = NH_BUF_INIT;
	char path[64];
	nh_buf_printf(&text,
		      "daemon off; worker_processes 1; pid %1$s/nginx.pid; error_log %1$s/error.log;\n"
		      "events { worker_connections 1024; }\n"
		      "http { access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream; keepalive_requests 100000;\n"
		      "client_body_temp_path %1$s/b; proxy_temp_path %1$s/p; fastcgi_temp_path %1$s/f; uwsgi_temp_path %1$s/u; scgi_temp_path %1$s/s;\n"
		      "ssl_certificate %1$s/cert.pem; ssl_certificate_key %1$s/key.pem; ssl_protocols TLSv1.3;\n"
		      "server { listen 127.0.0.1:%2$u; root %1$s; }\n"
		      "server { listen 127.0.0.1:%3$u ssl; root %1$s; }\n}\n",
		      world.dir, n->plain, n->tls);
	snprintf(path, sizeof path, "%s/nginx.conf", world.dir);
	if (nh_file_write_atomic(path, nh_buf_slice(&text), 0644, &err) != NH_OK)
		die(path, &err);
}

static bool answers(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
	close(fd);
	return ok;
}

static pid_t first_child(pid_t parent)
{
	char path[64];
	int child = 0;
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
	FILE *f = fopen(path, "r");
	if (!f || fscanf(f, "%d", &child) != 1)
		child = 0;
	if (f)
		fclose(f);
	return child;
}

bool nginx_start(struct nginx *n)
{
	char config[64];
	if (access(NGINX, X_OK) != 0)
		return false;
	n->plain = free_port();
	n->tls = free_port();
	write_config(n);
	snprintf(config, sizeof config, "%s/nginx.conf", world.dir);
	fflush(stdout);
	n->master = fork();
	if (n->master == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		pin(SERVER_CORE);
		execl(NGINX, "nginx", "-c", config, "-e", "/dev/null", (char *)NULL);
		_exit(127);
	}
	for (int tries = 0; tries < 500 && !(answers(n->tls) && (n->worker = first_child(n->master))); tries++) {
		if (waitpid(n->master, NULL, WNOHANG) != 0)
			die("nginx ended at once; see " NGINX " -t", NULL);
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	if (!n->worker)
		die("nginx does not answer", NULL);
	return true;
}

void nginx_stop(struct nginx *n)
{
	static const char folders[] = "bpfus";
	char path[64];
	kill(n->master, SIGTERM);
	waitpid(n->master, NULL, 0);
	for (size_t i = 0; folders[i]; i++) {
		snprintf(path, sizeof path, "%s/%c", world.dir, folders[i]);
		rmdir(path);
	}
}

/*
 * What a link does beside updates: facts about the device's health, place, logs and networks, a console and a shell, files, support scripts, archives. Everything is off unless its owner
 * switches it on here, whatever the server asks for; a server learns only of what is on.
 *
 * Programs named here are run with their arguments and never through a shell, without input, in a process group of their own that is killed with them. Nothing a server sends becomes
 * an argument; a support script's text is the content of a file. Needs Linux 5.3 (pidfd). The rest of the process must not wait for children it does not know, nor ignore SIGCHLD: every program
 * would seem to end with status 255.
 *
 * source: reference/device-protocol "8.3", "8.5", "9.4", "11", "12"
 */
#pragma once

#include "base/log.h"
#include "link/link.h"

/* Pointed to by nh_link_config.extensions; copied at open. Zeroed = everything off. argv: NULL-terminated. */
struct nh_link_extensions {
	/* health: reports the standard metrics when asked, and where an interval is given also unasked */
	bool health;
	uint64_t health_interval_ms;         /* 0 = when asked only */
	const char *health_disk;             /* a path on the file system that disk metrics are about; NULL = "/" */
	const char *health_directory;        /* every executable in it adds metrics, alarms and metadata; NULL = none. source: nerveshub-link(8) "PLUG-INS" */
	uint64_t health_plugin_ms;           /* time each of them has; 0 = 10 000 */
	const struct nh_link_pair *metadata; /* goes into every report */
	size_t metadata_count;

	/* geo: a fixed place, or a program that prints {"latitude":…,"longitude":…,"accuracy":…} */
	bool geo_fixed;
	double latitude, longitude;          /* degrees */
	uint32_t accuracy_m;                 /* 0 = unknown */
	const char *const *geo_argv;

	/* logging: lines given to nh_link_log, and datagrams in syslog's form sent to a socket */
	bool logging;
	nh_log_level log_level;              /* least level sent */
	const char *log_socket;              /* path of the socket, made at open; NULL = none */

	/* network_identity: a program that prints {"identities":[…]}; changes are reported */
	const char *const *identity_argv;
	uint64_t identity_interval_ms;       /* 0 = 300 000 */

	/* console (a channel) and local_shell (an extension): a login shell in a pseudo terminal */
	bool console, local_shell;
	const char *const *shell_argv;       /* NULL = $SHELL, else /bin/sh, as a login shell */
	uint64_t console_idle_ms;            /* without input and output for so long it is ended; 0 = 300 000 */
	uint64_t linger_ms;                  /* shells outlive the connection for so long; 0 = 60 000 */
	const char *files_directory;         /* where files sent through the console go; NULL = they are refused */
	uint64_t files_quota_bytes;          /* of all files there; 0 = 100 MiB */

	/* scripts/run, and the connecting code */
	bool scripts;
	const char *const *script_argv;      /* interpreter, gets the script's path as last argument; NULL = /bin/sh */

	/* archives: signed by one of the configured public keys; the program gets the file's path as last argument once the file is there */
	const char *archive_directory;       /* NULL = none */
	const char *const *archive_argv;     /* NULL = none */
};

/*
 * nh_link_log - one line for the logging extension: queued, sent five a second at most, dropped and counted where 256 wait. Text that is not UTF-8 is repaired, long text cut at 4096 bytes.
 * Does nothing where logging is off or level is below log_level. source_name: "agent"; a literal. thread: any, until nh_link_close is called.
 */
void nh_link_log(struct nh_link *link, nh_log_level level, const char *source_name, nh_slice text);

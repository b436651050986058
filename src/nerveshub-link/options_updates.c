/*
 * Rows about updates, and their meaning.
 */
#include "options_updates.h"

#include <string.h>

size_t updates_rows(struct updates_settings *u, struct nh_option *rows)
{
	const struct nh_option all[] = {
		{.name = "device", .letter = 'd', .kind = NH_OPT_TEXT, .target = &u->device, .value = "PATH", .help = "disk that firmware is applied to (needed)"},
		{.name = "task", .letter = 't', .kind = NH_OPT_TEXT, .target = &u->task, .value = "NAME", .help = "task of the firmware to apply (upgrade)"},
		{.name = "env", .kind = NH_OPT_TEXT, .target = &u->env_path, .value = "PATH", .help = "file or device with the U-Boot environment (the disk)"},
		{.name = "env-offset", .kind = NH_OPT_SIZE, .target = &u->env_offset, .value = "BYTES", .help = "where the environment starts (0)"},
		{.name = "env-second-offset", .kind = NH_OPT_SIZE, .target = &u->env_second_offset, .value = "BYTES", .help = "where its second copy starts (there is none)"},
		{.name = "env-size", .kind = NH_OPT_SIZE, .target = &u->env_size, .value = "BYTES", .help = "its size (128k)"},
		{.name = "installer", .kind = NH_OPT_LIST, .target = &u->installers, .value = "WHICH", .help = "fwup, builtin, or auto: fwup where it is installed (auto); rauc and swupdate, besides, for archives of theirs; several may be given"},
		{.name = "fwup", .kind = NH_OPT_TEXT, .target = &u->fwup, .value = "PROGRAM", .help = "the fwup to run (fwup)"},
		{.name = "fwup-arg", .kind = NH_OPT_LIST, .target = &u->fwup_args, .value = "ARG", .help = "further argument for fwup; several may be given"},
		{.name = "rauc", .kind = NH_OPT_TEXT, .target = &u->rauc, .value = "PROGRAM", .help = "the rauc to run (rauc)"},
		{.name = "rauc-arg", .kind = NH_OPT_LIST, .target = &u->rauc_args, .value = "ARG", .help = "argument for rauc, in front of 'install'; several may be given"},
		{.name = "swupdate", .kind = NH_OPT_TEXT, .target = &u->swupdate, .value = "PROGRAM", .help = "the swupdate to run (swupdate)"},
		{.name = "swupdate-arg", .kind = NH_OPT_LIST, .target = &u->swupdate_args, .value = "ARG", .help = "argument for swupdate, such as -k and the file with its key; several may be given"},
		{.name = "fetch", .kind = NH_OPT_TEXT, .target = &u->fetch, .value = "HOW", .help = "streaming: straight into the installer; cached: into a file first; parts: the same, each MiB verified (streaming)"},
		{.name = "cache-dir", .kind = NH_OPT_TEXT, .target = &u->cache_dir, .value = "DIR", .help = "folder for that file, nobody else's (firmware in --state-dir)"},
		{.name = "update-policy", .kind = NH_OPT_TEXT, .target = &u->policy, .value = "POLICY", .help = "when updates are installed: now, ignore, 'postpone TIME', or 'window HH:MM-HH:MM[,day...]' in local time (now)"},
		{.name = "update-command", .kind = NH_OPT_TEXT, .target = &u->update_command, .value = "COMMAND", .help = "decides instead: reads the offer as JSON, says apply, 'ignore REASON' or 'postpone TIME REASON'"},
		{.name = "update-timeout", .kind = NH_OPT_DURATION, .target = &u->update_timeout_ms, .value = "TIME", .help = "how long that may take (60s)", .min = 100, .max = 600000},
		{.name = "validate-command", .kind = NH_OPT_TEXT, .target = &u->validate_command, .value = "COMMAND", .help = "judges new firmware after its first connection: status 0 good, 75 ask again later, else bad"},
		{.name = "validate-timeout", .kind = NH_OPT_DURATION, .target = &u->validate_timeout_ms, .value = "TIME", .help = "how long that may take (60s)"},
		{.name = "validate-interval", .kind = NH_OPT_DURATION, .target = &u->validate_interval_ms, .value = "TIME", .help = "until one that said later is asked again (10s)", .min = 100, .max = 3600000},
		{.name = "validate-deadline", .kind = NH_OPT_DURATION, .target = &u->validate_deadline_ms, .value = "TIME", .help = "after the boot, by which new firmware must be validated, or is reverted (none)"},
		{.name = "revert-offline", .kind = NH_OPT_FLAG, .target = &u->revert_offline, .help = "the deadline counts even while no server can be reached"},
		{.name = "revert-command", .kind = NH_OPT_TEXT, .target = &u->revert_command, .value = "COMMAND", .help = "run before the reboot that gives new firmware up (none)"},
	};
	_Static_assert(NH_ARRAY_LEN(all) <= UPDATES_ROWS_MAX, "UPDATES_ROWS_MAX is too small");
	for (size_t i = 0; i < NH_ARRAY_LEN(all); i++)
		rows[i] = all[i];
	return NH_ARRAY_LEN(all);
}

void set_command(const char *argv[COMMAND_WORDS], const char *command)
{
	if (!command)
		return;
	argv[0] = "/bin/sh";
	argv[1] = "-c";
	argv[2] = command;
	argv[3] = NULL;
}

static const char *const *words(struct nh_arena *arena, const struct nh_option_list *list)
{
	const char **out = nh_arena_array(arena, list->count + 1, sizeof *out);
	for (size_t i = 0; i < list->count; i++)
		out[i] = list->items[i];
	return out;
}

static nh_rc load_installers(struct updates_settings *u, struct nh_err *err)
{
	struct nh_machine_config *m = &u->machine;
	const struct {
		const char *name;
		bool *on; /* of its own formats, beside the others */
		nh_machine_installer installer;
	} table[] = {
		{"auto", NULL, NH_MACHINE_AUTO}, {"fwup", NULL, NH_MACHINE_FWUP}, {"builtin", NULL, NH_MACHINE_BUILTIN}, {"rauc", &m->rauc.on, NH_MACHINE_AUTO}, {"swupdate", &m->swupdate.on, NH_MACHINE_AUTO},
	};
	for (size_t i = 0; i < u->installers.count; i++) {
		size_t k = 0;
		while (k < NH_ARRAY_LEN(table) && strcmp(table[k].name, u->installers.items[i]) != 0)
			k++;
		if (k == NH_ARRAY_LEN(table))
			return NH_FAIL(err, NH_EINVAL, "--installer is auto, fwup, builtin, rauc or swupdate, not '%s'", u->installers.items[i]);
		if (table[k].on)
			*table[k].on = true;
		else
			m->installer = table[k].installer;
	}
	return NH_OK;
}

static nh_rc load_fetch(struct updates_settings *u, const char *state_dir, struct nh_arena *arena, struct nh_err *err)
{
	static const char *const names[] = {[NH_LINK_STREAMING] = "streaming", [NH_LINK_CACHED] = "cached", [NH_LINK_PARTS] = "parts"};
	size_t how = 0;
	while (u->fetch && how < NH_ARRAY_LEN(names) && strcmp(names[how], u->fetch) != 0)
		how++;
	if (how == NH_ARRAY_LEN(names))
		return NH_FAIL(err, NH_EINVAL, "--fetch is streaming, cached or parts, not '%s'", u->fetch);
	u->how = (nh_link_fetch)how;
	u->folder = u->cache_dir ? u->cache_dir : state_dir ? nh_arena_printf(arena, "%s/firmware", state_dir) : NULL;
	if (u->how != NH_LINK_STREAMING && !u->folder)
		return NH_FAIL(err, NH_EINVAL, "--fetch %s needs a --state-dir or a --cache-dir for the file", u->fetch);
	if (u->how == NH_LINK_STREAMING && (u->machine.rauc.on || u->machine.swupdate.on))
		return NH_FAIL(err, NH_EINVAL, "rauc and swupdate install from a file: give --fetch cached or --fetch parts");
	return NH_OK;
}

static nh_rc load_policy(struct updates_settings *u, struct nh_err *err)
{
	if (u->policy && u->update_command)
		return NH_FAIL(err, NH_EINVAL, "either --update-policy decides or --update-command");
	if (u->policy)
		NH_TRY_CTX(nh_policy_parse(nh_slice_str(u->policy), &u->machine.policy, err), err, "--update-policy");
	return NH_OK;
}

nh_rc updates_load(struct updates_settings *u, const char *state_dir, struct nh_arena *arena, struct nh_err *err)
{
	set_command(u->update_argv, u->update_command);
	set_command(u->validate_argv, u->validate_command);
	set_command(u->revert_argv, u->revert_command);
	u->machine = (struct nh_machine_config){
		.devpath = u->device,
		.task = u->task,
		.env_path = u->env_path,
		.env_offset = u->env_offset,
		.env_size = u->env_size,
		.env_second_offset = u->env_second_offset,
		.fwup = u->fwup,
		.fwup_args = words(arena, &u->fwup_args),
		.rauc = {.program = u->rauc, .args = words(arena, &u->rauc_args)},
		.swupdate = {.program = u->swupdate, .args = words(arena, &u->swupdate_args)},
		.consider_argv = u->update_command ? u->update_argv : NULL,
		.consider_timeout_ms = u->update_timeout_ms,
		.validate_argv = u->validate_command ? u->validate_argv : NULL,
		.validate_timeout_ms = u->validate_timeout_ms,
		.revert_argv = u->revert_command ? u->revert_argv : NULL,
		.state_dir = state_dir,
	};
	NH_TRY(load_installers(u, err));
	NH_TRY(load_fetch(u, state_dir, arena, err));
	return load_policy(u, err);
}

void updates_link(const struct updates_settings *u, struct nh_link_config *out)
{
	out->fetch = u->how;
	out->cache_dir = u->folder;
	out->installer_verifies = u->machine.rauc.on || u->machine.swupdate.on;
	out->validate_interval_ms = u->validate_interval_ms;
	out->validate_deadline_ms = u->validate_deadline_ms;
	out->validate_deadline_offline = u->revert_offline;
}

-- Staged rollouts: a release's plan, its waves, what each device of it came to, and the figures by which a bad release is stopped. A release without a row in rollouts goes to everybody at once.

-- What releases to come take over; NULL: no plan.
ALTER TABLE deployment_groups ADD COLUMN rollout_plan TEXT;

CREATE TABLE rollouts (
	release_id {{int}} NOT NULL PRIMARY KEY REFERENCES deployment_releases(id) ON DELETE CASCADE,
	deployment_id {{int}} NOT NULL REFERENCES deployment_groups(id) ON DELETE CASCADE,
	state TEXT NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'stopped', 'finished', 'rolled_back')),
	state_by TEXT NOT NULL DEFAULT '', -- who brought it there
	state_why TEXT NOT NULL DEFAULT '',
	state_at {{int}} NOT NULL,
	evidence TEXT, -- JSON object: what it was stopped by
	epoch {{int}} NOT NULL DEFAULT 1, -- counting begins anew with each
	plan TEXT NOT NULL, -- JSON object, as it was given
	wave {{int}} NOT NULL DEFAULT 0, -- the one that runs; above waves: everybody
	waves {{int}} NOT NULL,
	share {{int}} NOT NULL DEFAULT 0, -- of begun waves the largest, in 2^32 of the group
	named {{int}} NOT NULL DEFAULT 0, -- a begun wave names its devices
	not_before {{int}} NOT NULL DEFAULT 0,
	windows TEXT NOT NULL DEFAULT '[]',
	zone TEXT NOT NULL DEFAULT 'UTC',
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX rollouts_deployment ON rollouts (deployment_id);

CREATE TABLE rollout_waves (
	release_id {{int}} NOT NULL REFERENCES rollouts(release_id) ON DELETE CASCADE,
	number {{int}} NOT NULL, -- from 1
	share {{int}} NOT NULL DEFAULT 0, -- of the group, in 2^32, those before counted in; 0: the query names its devices
	query TEXT NOT NULL DEFAULT '',
	gate TEXT NOT NULL CHECK (gate IN ('none', 'manual', 'time', 'health')),
	gate_seconds {{int}} NOT NULL DEFAULT 0, -- since the wave's share is updated
	gate_share {{int}} NOT NULL DEFAULT 1000000, -- in millionths of the wave
	state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'running', 'waiting', 'done')),
	size {{int}}, -- devices that had other firmware when it began; NULL: not counted yet
	updated {{int}} NOT NULL DEFAULT 0,
	failed {{int}} NOT NULL DEFAULT 0,
	began_at {{int}},
	waiting_at {{int}},
	done_at {{int}},
	done_by TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (release_id, number)
) {{clustered}};

-- One row for each device that began a staged release.
CREATE TABLE rollout_devices (
	release_id {{int}} NOT NULL REFERENCES rollouts(release_id) ON DELETE CASCADE,
	device_id {{int}} NOT NULL REFERENCES devices(id) ON DELETE CASCADE,
	epoch {{int}} NOT NULL,
	wave {{int}} NOT NULL,
	state TEXT NOT NULL CHECK (state IN ('installing', 'returning', 'settling', 'well', 'failed')),
	due_at {{int}}, -- returning: when it counts as lost; settling: when it counts as well
	PRIMARY KEY (release_id, device_id)
) {{clustered}};
CREATE INDEX rollout_devices_device ON rollout_devices (device_id);
CREATE INDEX rollout_devices_due ON rollout_devices (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE rollout_signals (
	release_id {{int}} NOT NULL REFERENCES rollouts(release_id) ON DELETE CASCADE,
	epoch {{int}} NOT NULL,
	signal TEXT NOT NULL CHECK (signal IN ('install', 'return', 'revert', 'health')),
	trials {{int}} NOT NULL DEFAULT 0,
	failures {{int}} NOT NULL DEFAULT 0,
	PRIMARY KEY (release_id, epoch, signal)
) {{clustered}};

-- The device's own time zone, where it differs from its rollout's; and the release for which a wave named it.
ALTER TABLE devices ADD COLUMN timezone TEXT;
ALTER TABLE devices ADD COLUMN rollout_release_id {{int}};
ALTER TABLE devices ADD COLUMN rollout_wave {{int}};
-- A share of a group is a range of places: (id mod 1000000007) * 2654435761 mod 2^32, as hub/rollouts.h computes it.
CREATE INDEX devices_waiting_share ON devices (deployment_id, firmware_uuid, ((id % 1000000007) * 2654435761 % 4294967296)) WHERE connected_at IS NOT NULL;
CREATE INDEX devices_waiting_named ON devices (rollout_release_id, firmware_uuid, connected_at, id) WHERE connected_at IS NOT NULL AND rollout_release_id IS NOT NULL;
CREATE INDEX devices_timezone ON devices (deployment_id, timezone) WHERE timezone IS NOT NULL;

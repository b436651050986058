-- Work that the server owes itself: periodic work has one row a kind, work on demand one row for each key that waits. A row is claimed by one server at a time.

CREATE TABLE jobs (
	id {{id}},
	kind TEXT NOT NULL,
	key TEXT NOT NULL, -- '' for periodic work
	payload TEXT NOT NULL DEFAULT '',
	due_at {{int}} NOT NULL, -- when it was to run
	ready_at {{int}} NOT NULL, -- when it may be claimed: due_at, the end of a pause after a failure, or, while it runs, the end of its lease
	again_at {{int}}, -- added again while it runs: when it is to run then
	attempts {{int}} NOT NULL DEFAULT 0, -- since it was due
	claims {{int}} NOT NULL DEFAULT 0, -- ever: whoever holds an older number has lost it
	node TEXT NOT NULL DEFAULT '', -- who runs it; '': nobody
	started_at {{int}},
	last_error TEXT, -- of the latest attempt; null: none, or it went well
	failed_at {{int}}, -- given up: stays until it is added again
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX jobs_key ON jobs (kind, key);
CREATE INDEX jobs_ready ON jobs (ready_at, id) WHERE failed_at IS NULL;
CREATE INDEX jobs_node ON jobs (node) WHERE node <> '';
CREATE INDEX jobs_failed ON jobs (failed_at, id) WHERE failed_at IS NOT NULL;

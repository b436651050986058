-- Support: archives that releases carry to devices, and scripts that people run on them.
-- source: reference/server-behaviour "1.7", "1.9", "5", "6"

CREATE TABLE archives (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs (id),
	product_id {{int}} NOT NULL REFERENCES products (id),
	org_key_id {{int}} NOT NULL REFERENCES org_keys (id),
	uuid TEXT NOT NULL,
	version TEXT NOT NULL,
	version_key {{blob}} NOT NULL, -- bytewise order = precedence of versions
	platform TEXT NOT NULL,
	architecture TEXT NOT NULL,
	author TEXT,
	description TEXT,
	misc TEXT,
	vcs_identifier TEXT,
	size_bytes {{int}} NOT NULL,
	checksum TEXT NOT NULL, -- SHA-256 of the file, upper-case hex
	object_key TEXT NOT NULL,
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX archives_uuid ON archives (product_id, uuid);
CREATE UNIQUE INDEX archives_object ON archives (object_key);
CREATE INDEX archives_version ON archives (product_id, version_key, id);
CREATE INDEX archives_org ON archives (org_id);
CREATE INDEX archives_key ON archives (org_key_id);

-- deployment_releases.archive_id is older than this table: archives are deleted by a statement that asks for releases.
CREATE INDEX deployment_releases_archive ON deployment_releases (archive_id) WHERE archive_id IS NOT NULL;
-- Members up to this device id have been told of the current release's archive; NULL: nobody is to be told any more.
ALTER TABLE deployment_groups ADD COLUMN archive_told {{int}};

CREATE TABLE scripts (
	id {{id}},
	product_id {{int}} NOT NULL REFERENCES products (id),
	name TEXT NOT NULL, -- not unique
	text TEXT NOT NULL,
	tags TEXT, -- JSON array of strings, or null: never set
	created_by_id {{int}} REFERENCES users (id) ON DELETE SET NULL,
	last_updated_by_id {{int}} REFERENCES users (id) ON DELETE SET NULL,
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX scripts_product ON scripts (product_id, name, id);
CREATE INDEX scripts_creator ON scripts (created_by_id);
CREATE INDEX scripts_editor ON scripts (last_updated_by_id);

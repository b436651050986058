-- Accounts, products, keys, firmware, devices and their credentials.
-- Dates are microseconds UTC, booleans 0/1, JSON is text. Rollout tables and further device columns: 0002.

CREATE TABLE users (
	id {{id}},
	name TEXT NOT NULL,
	email TEXT NOT NULL,
	email_key TEXT NOT NULL, -- lower case: how addresses are compared
	password_hash TEXT,
	confirmed_at {{int}},
	server_admin {{int}} NOT NULL DEFAULT 0,
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL,
	deleted_at {{int}}
) {{strict}};
CREATE UNIQUE INDEX users_email ON users (email_key) WHERE deleted_at IS NULL;

CREATE TABLE orgs (
	id {{id}},
	name TEXT NOT NULL,
	personal_user_id {{int}} REFERENCES users (id), -- whose personal organization this is
	audit_log_days_to_keep {{int}},
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL,
	deleted_at {{int}}
) {{strict}};
CREATE UNIQUE INDEX orgs_name ON orgs (name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX orgs_personal_user ON orgs (personal_user_id) WHERE personal_user_id IS NOT NULL;

CREATE TABLE org_users (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
	user_id {{int}} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	role {{int}} NOT NULL, -- enum nh_role
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX org_users_member ON org_users (org_id, user_id);
CREATE INDEX org_users_user ON org_users (user_id);

CREATE TABLE user_tokens (
	id {{id}},
	user_id {{int}} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	context TEXT NOT NULL, -- 'api', 'session'
	token_sha512 {{blob}} NOT NULL,
	note TEXT,
	last_used_at {{int}},
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX user_tokens_token ON user_tokens (context, token_sha512);
CREATE INDEX user_tokens_user ON user_tokens (user_id, id);

-- Browser-confirmed sign-in of a command line. The token is made when it is fetched, so no clear token is ever stored.
CREATE TABLE cli_sessions (
	token TEXT NOT NULL PRIMARY KEY, -- UUID
	note TEXT,
	confirmation_code {{int}} NOT NULL,
	user_id {{int}} REFERENCES users (id) ON DELETE CASCADE, -- set: confirmed by this user
	delivered {{int}} NOT NULL DEFAULT 0,
	expires_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX cli_sessions_expiry ON cli_sessions (expires_at);

CREATE TABLE products (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs (id),
	name TEXT NOT NULL,
	require_unique_firmware_version {{int}} NOT NULL DEFAULT 1,
	allowed_update_tools TEXT NOT NULL DEFAULT '["fwup"]',
	allow_unsigned_esp_idf_firmware {{int}} NOT NULL DEFAULT 0,
	extensions TEXT NOT NULL DEFAULT '{}',
	device_count {{int}} NOT NULL DEFAULT 0,   -- live devices, maintained
	firmware_count {{int}} NOT NULL DEFAULT 0, -- maintained
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL,
	deleted_at {{int}}
) {{strict}};
CREATE UNIQUE INDEX products_name ON products (org_id, name) WHERE deleted_at IS NULL;

CREATE TABLE org_keys (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs (id),
	created_by_id {{int}} REFERENCES users (id),
	name TEXT NOT NULL,
	scheme TEXT NOT NULL DEFAULT 'ed25519',
	key TEXT NOT NULL, -- ed25519: standard base64 of 32 bytes
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX org_keys_name ON org_keys (org_id, name);
CREATE UNIQUE INDEX org_keys_key ON org_keys (org_id, key);

CREATE TABLE firmwares (
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
	checksum TEXT NOT NULL,           -- SHA-256 of the file, upper-case hex
	partials_checksums TEXT NOT NULL, -- JSON array: the same of each MiB
	delta_updatable {{int}} NOT NULL DEFAULT 0,
	tool TEXT NOT NULL DEFAULT 'fwup',
	tool_full_required_version TEXT NOT NULL DEFAULT '0.2.0',
	object_key TEXT NOT NULL,
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX firmwares_uuid ON firmwares (product_id, uuid);
CREATE UNIQUE INDEX firmwares_object ON firmwares (object_key);
CREATE INDEX firmwares_version ON firmwares (product_id, version_key, id);
CREATE INDEX firmwares_org_uuid ON firmwares (org_id, uuid);
CREATE INDEX firmwares_key ON firmwares (org_key_id);

-- Objects that shall be deleted once due, unless a row claims them before: uploads under way, and what deleted rows named.
CREATE TABLE loose_objects (
	object_key TEXT NOT NULL PRIMARY KEY,
	due_at {{int}} NOT NULL
) {{strict}};
CREATE INDEX loose_objects_due ON loose_objects (due_at);

CREATE TABLE devices (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs (id),
	product_id {{int}} NOT NULL REFERENCES products (id),
	identifier TEXT NOT NULL,
	description TEXT,
	tags TEXT, -- JSON array of strings, or null: never set
	status TEXT NOT NULL DEFAULT 'registered', -- 'registered', 'provisioned'
	first_seen_at {{int}},
	updates_enabled {{int}} NOT NULL DEFAULT 1,
	connecting_code TEXT,
	custom_location TEXT, -- JSON array [longitude, latitude]
	extensions TEXT NOT NULL DEFAULT '{}',
	firmware_uuid TEXT, -- what it reported to run; null: nothing yet
	firmware_version TEXT,
	firmware_platform TEXT,
	firmware_architecture TEXT,
	firmware_metadata TEXT, -- JSON object of all fields
	firmware_validation_status TEXT NOT NULL DEFAULT 'unknown', -- 'validated', 'not_validated', 'unknown'
	firmware_auto_revert_detected {{int}} NOT NULL DEFAULT 0,
	inserted_at {{int}} NOT NULL,
	updated_at {{int}} NOT NULL,
	deleted_at {{int}}
) {{strict}};
-- Unique among the organization's live devices; lists walk the second one.
CREATE UNIQUE INDEX devices_identifier ON devices (org_id, identifier) WHERE deleted_at IS NULL;
CREATE INDEX devices_product ON devices (product_id, identifier) WHERE deleted_at IS NULL;
CREATE INDEX devices_by_identifier ON devices (identifier) WHERE deleted_at IS NULL;
CREATE INDEX devices_firmware ON devices (product_id, firmware_uuid) WHERE deleted_at IS NULL;

CREATE TABLE device_certificates (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs (id),
	device_id {{int}} NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
	serial TEXT NOT NULL, -- decimal
	aki {{blob}} NOT NULL,
	ski {{blob}},
	not_before {{int}} NOT NULL,
	not_after {{int}} NOT NULL,
	der {{blob}} NOT NULL,
	sha256 {{blob}} NOT NULL,      -- of der: pins the certificate
	spki_sha256 {{blob}} NOT NULL, -- of the public key
	last_used_at {{int}},
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX device_certificates_sha256 ON device_certificates (sha256);
CREATE UNIQUE INDEX device_certificates_serial ON device_certificates (device_id, serial);
CREATE INDEX device_certificates_spki ON device_certificates (spki_sha256);

CREATE TABLE ca_certificates (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs (id),
	serial TEXT NOT NULL, -- decimal
	aki {{blob}} NOT NULL,
	ski {{blob}} NOT NULL,
	not_before {{int}} NOT NULL,
	not_after {{int}} NOT NULL,
	der {{blob}} NOT NULL,
	sha256 {{blob}} NOT NULL,
	description TEXT,
	check_expiration {{int}} NOT NULL DEFAULT 0,
	last_used_at {{int}},
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX ca_certificates_sha256 ON ca_certificates (sha256);
CREATE UNIQUE INDEX ca_certificates_serial ON ca_certificates (org_id, serial);
CREATE INDEX ca_certificates_ski ON ca_certificates (ski);

-- Just-in-time provisioning: where devices go that a CA signed and nobody registered.
CREATE TABLE jitp (
	ca_certificate_id {{int}} NOT NULL PRIMARY KEY REFERENCES ca_certificates (id) ON DELETE CASCADE,
	product_id {{int}} NOT NULL REFERENCES products (id),
	tags TEXT NOT NULL, -- JSON array
	description TEXT NOT NULL
) {{strict}};

CREATE TABLE product_shared_secrets (
	id {{id}},
	product_id {{int}} NOT NULL REFERENCES products (id),
	key TEXT NOT NULL,    -- 'nhp_' and 43 characters
	secret TEXT NOT NULL, -- 43 characters; in clear, since both sides derive keys from it
	deactivated_at {{int}},
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX product_shared_secrets_key ON product_shared_secrets (key);
CREATE INDEX product_shared_secrets_product ON product_shared_secrets (product_id, id);

CREATE TABLE device_shared_secrets (
	id {{id}},
	device_id {{int}} NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
	product_shared_secret_id {{int}} REFERENCES product_shared_secrets (id),
	key TEXT NOT NULL, -- 'nhd_' and 43 characters
	secret TEXT NOT NULL,
	deactivated_at {{int}},
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX device_shared_secrets_key ON device_shared_secrets (key);
CREATE INDEX device_shared_secrets_device ON device_shared_secrets (device_id, id);

-- Certificate authority: its own certificates, what it issued and what of that is revoked; what the lists of certificates that expire are read from.
-- source: reference/user-api-and-cli "17.6", "19.2", "19.4"

CREATE TABLE authorities (
	id {{id}},
	sha256 {{blob}} NOT NULL, -- of der
	der {{blob}} NOT NULL,
	not_after {{int}} NOT NULL,
	crl_revision {{int}} NOT NULL DEFAULT 0, -- grows with each revocation
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX authorities_sha256 ON authorities (sha256);

CREATE TABLE authority_certificates (
	id {{id}},
	authority_id {{int}} NOT NULL REFERENCES authorities (id),
	kind TEXT NOT NULL CHECK (kind IN ('user', 'device', 'device_ca', 'server')),
	user_id {{int}} REFERENCES users (id) ON DELETE SET NULL, -- who signs in with it
	org_id {{int}} REFERENCES orgs (id) ON DELETE SET NULL,
	device_id {{int}} REFERENCES devices (id) ON DELETE SET NULL,
	family_id {{int}}, -- of a successor: the first certificate of its line
	serial TEXT NOT NULL, -- decimal
	subject TEXT NOT NULL,
	description TEXT,
	not_before {{int}} NOT NULL,
	not_after {{int}} NOT NULL,
	der {{blob}} NOT NULL,
	sha256 {{blob}} NOT NULL, -- of der
	last_used_at {{int}},
	revoked_at {{int}},
	reason {{int}}, -- of RFC 5280 5.3.1
	inserted_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX authority_certificates_serial ON authority_certificates (authority_id, serial);
CREATE UNIQUE INDEX authority_certificates_sha256 ON authority_certificates (sha256);
CREATE INDEX authority_certificates_user ON authority_certificates (user_id, id);
CREATE INDEX authority_certificates_org ON authority_certificates (org_id, id);
CREATE INDEX authority_certificates_device ON authority_certificates (device_id);
CREATE INDEX authority_certificates_family ON authority_certificates (family_id) WHERE family_id IS NOT NULL;
CREATE INDEX authority_certificates_revoked ON authority_certificates (authority_id, not_after) WHERE revoked_at IS NOT NULL;
CREATE INDEX authority_certificates_expiry ON authority_certificates (not_after) WHERE revoked_at IS NULL;

CREATE INDEX device_certificates_expiry ON device_certificates (org_id, not_after);
CREATE INDEX ca_certificates_expiry ON ca_certificates (org_id, not_after);

-- Accounts: sessions of browsers, second factors, invitations, and mails that wait to be sent.
-- source: reference/server-behaviour "9"

-- Tokens that end: contexts 'session', 'confirm', 'reset', 'second_factor'. Null: never ('api').
ALTER TABLE user_tokens ADD COLUMN expires_at {{int}};
ALTER TABLE user_tokens ADD COLUMN address TEXT; -- from where a session was begun
CREATE INDEX user_tokens_expiry ON user_tokens (expires_at) WHERE expires_at IS NOT NULL;

ALTER TABLE users ADD COLUMN totp_secret {{blob}}; -- sealed with the server's secret; null: none
ALTER TABLE users ADD COLUMN totp_enabled_at {{int}}; -- null: begun, and not confirmed yet
ALTER TABLE users ADD COLUMN totp_step {{int}} NOT NULL DEFAULT 0; -- the newest step of time whose code was taken: none is taken twice
ALTER TABLE users ADD COLUMN totp_failures {{int}} NOT NULL DEFAULT 0; -- since the last code that fitted
ALTER TABLE users ADD COLUMN totp_blocked_until {{int}};

CREATE TABLE recovery_codes (
	user_id {{int}} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	code_hmac {{blob}} NOT NULL, -- SHA-256 under the server's secret
	PRIMARY KEY (user_id, code_hmac)
) {{clustered}};

CREATE TABLE invites (
	id {{id}},
	org_id {{int}} NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
	invited_by_id {{int}} REFERENCES users (id) ON DELETE SET NULL,
	email TEXT NOT NULL,
	email_key TEXT NOT NULL, -- lower case
	role {{int}} NOT NULL, -- enum nh_role
	token_sha512 {{blob}} NOT NULL,
	inserted_at {{int}} NOT NULL,
	expires_at {{int}} NOT NULL
) {{strict}};
CREATE UNIQUE INDEX invites_token ON invites (token_sha512);
CREATE INDEX invites_org ON invites (org_id, id);
CREATE INDEX invites_inviter ON invites (invited_by_id);
CREATE INDEX invites_expiry ON invites (expires_at);

-- Gone once they were sent, or given up. What they say holds links that sign in, so it is sealed with the server's secret.
CREATE TABLE mails (
	id {{id}},
	kind TEXT NOT NULL,
	sealed {{blob}} NOT NULL, -- JSON: to whom, and what the text needs
	attempts {{int}} NOT NULL DEFAULT 0,
	inserted_at {{int}} NOT NULL,
	due_at {{int}} NOT NULL -- not before; moved on by whoever tries, so that no other does meanwhile
) {{strict}};
CREATE INDEX mails_due ON mails (due_at, id);

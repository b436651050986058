-- Identities: who signs in with an account of another issuer (OpenID Connect). The issuer and its subject say for ever who it is; the address is what the issuer said last, for people to look at.
-- source: OpenID Connect Core "2", "5.7"

CREATE TABLE user_identities (
	id {{id}},
	user_id {{int}} NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	issuer TEXT NOT NULL,
	subject TEXT NOT NULL,
	email TEXT NOT NULL, -- empty: the issuer does not say
	inserted_at {{int}} NOT NULL,
	last_used_at {{int}} -- null: connected, and never used to sign in
) {{strict}};
CREATE UNIQUE INDEX user_identities_subject ON user_identities (issuer, subject);
CREATE INDEX user_identities_user ON user_identities (user_id, id);

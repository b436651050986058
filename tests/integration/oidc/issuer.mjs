// A real OpenID Connect issuer (npm's oidc-provider) with its development pages, for test_oidc.py. Prints its port, reads one line of JSON, prints "ready":
//   redirect: where our server wants its answers; alg: how ID tokens are signed; clock_s: how far its clock is off;
//   claims_in_token: whether the ID token holds e-mail and name, or only the userinfo answer does; auth: how the client names itself
// Who signs in as NAME has the address NAME@example.com, verified unless the name begins with "doubtful".
import http from 'node:http';
import readline from 'node:readline';

import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

const server = http.createServer().listen(Number(process.argv[2]), '127.0.0.1');
await new Promise((resolve) => server.once('listening', resolve));
console.log(server.address().port);

const config = JSON.parse(await new Promise((resolve) => readline.createInterface({ input: process.stdin }).once('line', resolve)));

const now = Date.now;
Date.now = () => now() + (config.clock_s ?? 0) * 1000;

const { privateKey } = await generateKeyPair(config.alg, { extractable: true });
const key = { ...(await exportJWK(privateKey)), alg: config.alg, use: 'sig', kid: `key-${config.alg}-${now()}` };
const other = { ...(await exportJWK((await generateKeyPair('ES256', { extractable: true })).privateKey)), alg: 'ES256', use: 'sig', kid: `other-${now()}` };

const issuer = `http://127.0.0.1:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'nerveshub', ...(config.auth === 'none' ? {} : { client_secret: 'a secret: with / and %' }), redirect_uris: [config.redirect],
    grant_types: ['authorization_code'], response_types: ['code'],
    id_token_signed_response_alg: config.alg, token_endpoint_auth_method: config.auth ?? 'client_secret_basic',
  }],
  jwks: { keys: [other, key] },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
  clientAuthMethods: [config.auth ?? 'client_secret_basic'],
  cookies: { keys: ['for tests only'] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  conformIdTokenClaims: !config.claims_in_token,
  pkce: { required: () => true },
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: !id.startsWith('doubtful'), name: `Person ${id}` }),
  }),
});
server.on('request', provider.callback());
console.log('ready');

// An OpenID issuer on loopback for the tests: npm's oidc-provider, with groups, the device flow, and keys that rotate.
//
//   node issuer.mjs PORT REDIRECT_URI AUDIENCE
//
// Lines of JSON on its standard input change it while it runs: {"groups": {"ada": ["press"]}} sets somebody's groups,
// {"rotate": true} replaces the signing key, the old one staying published; {"drop": true} drops all but the newest.
// It answers each with a line. Who signs in is the login that the form names; any password does.
import { createInterface } from "node:readline";
import { createServer } from "node:http";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import Provider from "oidc-provider";

const [port, redirectUri, audience] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
console.info = console.log = console.warn = console.error; // standard output is for the answers
const groups = new Map();
const kept = new Map();
const ofGrant = new Map();
const keys = [freshKey()];
let handle = await provider();

createServer((request, answer) => handle(request, answer)).listen(Number(port), "127.0.0.1", () => tell({ ready: issuer }));
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  for (const [login, names] of Object.entries(order.groups ?? {})) groups.set(login, names);
  if (order.rotate) keys.unshift(freshKey());
  if (order.drop) keys.length = 1;
  if (order.rotate || order.drop) handle = await provider();
  tell({ done: true, kid: keys[0].kid });
}
process.exit(0);

function tell(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

function freshKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), alg: "RS256", use: "sig" };
}

function claimsOf(login) {
  return { name: login, email: `${login}@example.org`, email_verified: true, groups: groups.get(login) ?? [] };
}

// A new provider for each set of keys; what was granted lives in the adapter of the first one.
async function provider() {
  const made = new Provider(issuer, {
    adapter: Stored,
    clients: [
      {
        client_id: "guildhall-browser", client_secret: "a secret of the tests", redirect_uris: [redirectUri],
        grant_types: ["authorization_code", "refresh_token"], response_types: ["code"],
      },
      {
        client_id: "guildhall-cli", token_endpoint_auth_method: "none", redirect_uris: [], response_types: [],
        grant_types: ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
      },
    ],
    jwks: { keys },
    cookies: { keys: ["only for tests"] },
    claims: { openid: ["sub"], profile: ["name"], email: ["email", "email_verified"], groups: ["groups"] },
    scopes: ["openid", "offline_access", "profile", "email", "groups"],
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    rotateRefreshToken: true,
    issueRefreshToken: async (_context, client) => client.grantTypeAllowed("refresh_token"),
    ttl: { AccessToken: 300, IdToken: 300, RefreshToken: 86_400, DeviceCode: 600, Session: 600, Grant: 86_400, Interaction: 600 },
    findAccount: async (_context, sub) => ({ accountId: sub, claims: async () => ({ sub, ...claimsOf(sub) }) }),
    extraTokenClaims: async (_context, token) => claimsOf(token.accountId),
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: "openid profile email groups offline_access", audience, accessTokenTTL: 300, accessTokenFormat: "jwt",
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
  });
  made.on("server_error", (_context, error) => console.error(error));
  return made.callback();
}

function Stored(model) {
  const key = (id) => `${model}:${id}`;
  return {
    upsert: async (id, payload) => {
      kept.set(key(id), payload);
      if (payload.grantId) ofGrant.set(payload.grantId, [...(ofGrant.get(payload.grantId) ?? []), key(id)]);
    },
    find: async (id) => kept.get(key(id)),
    findByUid: async (uid) => [...kept].find(([name, value]) => name.startsWith(`${model}:`) && value.uid === uid)?.[1],
    findByUserCode: async (code) =>
      [...kept].find(([name, value]) => name.startsWith(`${model}:`) && value.userCode === code)?.[1],
    consume: async (id) => { kept.get(key(id)).consumed = Math.floor(Date.now() / 1000); },
    destroy: async (id) => { kept.delete(key(id)); },
    revokeByGrantId: async (grantId) => { for (const name of ofGrant.get(grantId) ?? []) kept.delete(name); },
  };
}

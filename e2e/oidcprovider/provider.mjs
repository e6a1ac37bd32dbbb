// The OpenID provider of the end-to-end tests: the certified npm package
// oidc-provider, configured like a tenant of a hosted provider. It has one
// confidential client and accepts every login name. With CLIENT_JWKS_URI the
// client has keys instead of a secret, which are fetched from there, and with
// REQUIRE_PAR its requests must be pushed. SIGNING_ALG is the algorithm of all
// tokens, RS256 without it. With API_CLIENT_SECRET access tokens are opaque, and
// the API is a client that may introspect them. Endpoints under /test/ tell a test
// what was issued. Everything is in memory and new at each start.
import { createServer } from 'node:http';
import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider, { errors } from 'oidc-provider';

const required = ['PORT', 'CLIENT_ID', 'CLIENT_SECRET', 'REDIRECT_URI', 'POST_LOGOUT_REDIRECT_URI', 'AUDIENCE'];
const missing = required.filter((name) => !process.env[name]);
if (missing.length > 0) {
  console.error(`provider.mjs: set ${missing.join(', ')}`);
  process.exit(2);
}
const { env } = process;
const issuer = `http://127.0.0.1:${env.PORT}`;

// Lifetime of the next access token in seconds; POST /test/ttl changes it.
let accessTokenTTL = Number(env.ACCESS_TOKEN_TTL || 600);

// The response of GET /test/state.
const seen = {
  issued: [], // { kind, value }
  grants: {}, // grant type -> number of token responses
  refused: [], // errors of the token endpoint
  backchannel: { success: 0, error: [] },
};

// The key goes through PEM, because exporting a key object right after its generation takes a lock,
// and one start of many hung there.
const alg = env.SIGNING_ALG || 'RS256';
const [type, options] = { ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519'], Ed25519: ['ed25519'] }[alg] || ['rsa', { modulusLength: 2048 }];
const { privateKey } = generateKeyPairSync(type, {
  ...options,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});
const signingKey = {
  ...createPrivateKey(privateKey).export({ format: 'jwk' }), use: 'sig', alg, kid: randomBytes(8).toString('hex'),
};

const provider = new Provider(issuer, {
  clients: [{
    client_id: env.CLIENT_ID,
    ...(env.CLIENT_JWKS_URI
      ? { token_endpoint_auth_method: 'private_key_jwt', jwks_uri: env.CLIENT_JWKS_URI }
      : { client_secret: env.CLIENT_SECRET }),
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    id_token_signed_response_alg: alg,
    redirect_uris: [env.REDIRECT_URI],
    post_logout_redirect_uris: [env.POST_LOGOUT_REDIRECT_URI],
    ...(env.BACKCHANNEL_LOGOUT_URI && {
      backchannel_logout_uri: env.BACKCHANNEL_LOGOUT_URI,
      backchannel_logout_session_required: true,
    }),
  }, ...(env.API_CLIENT_SECRET ? [{
    client_id: 'api', client_secret: env.API_CLIENT_SECRET, id_token_signed_response_alg: alg,
    grant_types: [], response_types: [], redirect_uris: [],
  }] : [])],
  jwks: { keys: [signingKey] },
  enabledJWA: { idTokenSigningAlgValues: [alg] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  scopes: ['openid', 'offline_access'],
  claims: { profile: ['name', 'nickname'], email: ['email', 'email_verified'] },
  // As at Auth0, the ID token has the user's claims. The userinfo endpoint
  // refuses an access token for an API.
  conformIdTokenClaims: false,
  findAccount: (_ctx, sub) => ({
    accountId: sub,
    claims: () => ({
      sub, name: `The person ${sub}`, nickname: sub, email: `${sub}@example.com`, email_verified: true,
    }),
  }),
  pkce: { required: () => true },
  rotateRefreshToken: true,
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: Boolean(env.REQUIRE_PAR) },
    revocation: { enabled: true },
    introspection: {
      enabled: Boolean(env.API_CLIENT_SECRET),
      // Any other client learns nothing about a token, as RFC 7662 section 2.2 has it.
      allowedPolicy: (_ctx, client, token) => client.clientId === 'api' && token.kind === 'AccessToken',
    },
    rpInitiatedLogout: { enabled: true, logoutSource: confirmLogout },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(_ctx, resource) {
        if (![env.AUDIENCE, env.OTHER_AUDIENCE].includes(resource)) {
          throw new errors.InvalidTarget();
        }
        return {
          scope: '', audience: resource, accessTokenTTL,
          accessTokenFormat: env.API_CLIENT_SECRET ? 'opaque' : 'jwt', jwt: { sign: { alg } },
        };
      },
    },
  },
  // Every user may sell.
  extraTokenClaims: () => ({ permissions: ['products:write'] }),
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  ttl: {
    AccessToken: () => accessTokenTTL,
    Grant: 24 * 3600,
    IdToken: 3600,
    Interaction: 600,
    RefreshToken: 24 * 3600,
    Session: 24 * 3600,
  },
  // Removes the option with which the package refuses to call loopback
  // addresses: the relying party under test has one.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
});

function confirmLogout(ctx, form) {
  ctx.body = page('Sign out?', `${form}
    <button type="submit" form="op.logoutForm" name="logout" value="yes">Sign out</button>`);
}

function page(title, body) {
  return `<!DOCTYPE html><html lang="en"><head><title>${title}</title></head><body><h1>${title}</h1>${body}</body></html>`;
}

provider.on('grant.success', ({ oidc, body }) => {
  const type = oidc.params.grant_type;
  seen.grants[type] = (seen.grants[type] || 0) + 1;
  for (const kind of ['access_token', 'refresh_token', 'id_token']) {
    if (body[kind]) {
      seen.issued.push({ kind, value: body[kind] });
    }
  }
});
provider.on('authorization.success', (_ctx, out) => {
  if (out?.code) {
    seen.issued.push({ kind: 'code', value: out.code });
  }
});
provider.on('grant.error', (_ctx, err) => seen.refused.push(err.error));
provider.on('backchannel.success', () => { seen.backchannel.success += 1; });
provider.on('backchannel.error', (_ctx, err) => seen.backchannel.error.push(String(err)));
provider.on('server_error', (_ctx, err) => console.error(err.stack));

// state returns what was issued, and which refresh tokens are still valid.
async function state() {
  const live = [];
  for (const { kind, value } of seen.issued) {
    if (kind === 'refresh_token') {
      const found = await provider.RefreshToken.find(value);
      if (found && !found.consumed) {
        live.push(value);
      }
    }
  }
  return { ...seen, live };
}

// interact accepts every login name and grants everything.
async function interact(req, res) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(req, res);
  if (prompt.name === 'login') {
    if (req.method !== 'POST') {
      res.setHeader('content-type', 'text/html; charset=utf-8');
      res.end(page('Sign in', `<form method="post" action="${req.url}">
        <label>Name <input name="login" autocomplete="username"></label>
        <button type="submit">Continue</button></form>`));
      return;
    }
    const accountId = new URLSearchParams(await read(req)).get('login');
    await provider.interactionFinished(req, res, { login: { accountId } }, { mergeWithLastSubmission: false });
    return;
  }
  const grant = (grantId && await provider.Grant.find(grantId))
    || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  if (prompt.details.missingOIDCScope) {
    grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
  }
  await provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } });
}

async function read(req) {
  let body = '';
  for await (const chunk of req) {
    body += chunk;
  }
  return body;
}

const protocol = provider.callback();
const server = createServer(async (req, res) => {
  try {
    if (req.url.startsWith('/interaction/')) {
      await interact(req, res);
    } else if (req.method === 'GET' && req.url === '/test/state') {
      res.setHeader('content-type', 'application/json');
      res.end(JSON.stringify(await state()));
    } else if (req.method === 'POST' && req.url === '/test/ttl') {
      accessTokenTTL = Number(await read(req));
      res.end();
    } else {
      protocol(req, res);
    }
  } catch (err) {
    console.error(err.stack);
    res.statusCode = 500;
    res.end();
  }
});

process.on('SIGTERM', () => process.exit(0));
server.listen(Number(env.PORT), '127.0.0.1', () => console.log(`oidc-provider is ready at ${issuer}`));

// An OpenID provider for tests: oidc-provider with one page that asks who logs in, and with switches.
//
// Started with a port (0: any) and, as JSON, what the test wants; says `ready PORT` once it listens, and ends with its
// standard input. `POST /test/flags` changes switches, `GET /test/counts` says how often what was asked for.
import http from 'node:http';
import net from 'node:net';
import * as jose from 'jose';
import { Provider } from 'oidc-provider';

const [port, text] = process.argv.slice(2);
const wanted = JSON.parse(text);
// tokens: seconds that those of a login are good for. blob: bytes that everybody's profile has. claims: what ID tokens say
// instead. gateway: the port that logouts are told to, whatever host the client names. foreign: they are signed by somebody else. broken: the token endpoint fails.
const flags = { tokens: 3600, blob: 0, claims: null, foreign: false, broken: false, gateway: 0 };
const counts = { code: 0, refresh: 0, userinfo: 0, discovery: 0, refused: 0 };
let lastToken = null;

const generated = await jose.generateKeyPair('ES256', { extractable: true });
const exported = await jose.exportJWK(generated.privateKey);
const key = { ...exported, kid: await jose.calculateJwkThumbprint(exported), use: 'sig', alg: 'ES256' };
const foreign = (await jose.generateKeyPair('ES256')).privateKey;

class ToGateway extends http.Agent {
  createConnection(options, done) {
    return net.connect({ port: flags.gateway, host: '127.0.0.1' }, done);
  }
}

const server = http.createServer();
await new Promise((resolve) => server.listen(Number(port), '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: wanted.clients.map((client) => ({
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    id_token_signed_response_alg: 'ES256',
    ...client,
  })),
  jwks: { keys: [key] },
  cookies: { keys: ['of the tests'] },
  pkce: { required: () => true, methods: ['S256'] },
  scopes: ['openid', 'offline_access', 'email', 'profile'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'blob'] },
  conformIdTokenClaims: false,
  rotateRefreshToken: true,
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  ttl: {
    AccessToken: (ctx) => (ctx.oidc.params.grant_type === 'refresh_token' ? 3600 : flags.tokens),
    AuthorizationCode: 600, Grant: 3600, IdToken: 3600, Interaction: 600, RefreshToken: 3600, Session: 3600,
  },
  httpOptions: () => ({ agent: new ToGateway() }),
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: true },
    userinfo: { enabled: true },
  },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({
      sub: id, name: `${id} of the tests`, email: `${id}@example.com`, email_verified: true,
      blob: flags.blob ? 'x'.repeat(flags.blob) : undefined,
    }),
  }),
  // Nobody is asked for consent.
  loadExistingGrant: async (ctx) => {
    const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid offline_access email profile');
    await grant.save();
    return grant;
  },
});

provider.use(async (ctx, next) => {
  const route = ctx.path;
  if (route === '/token' && flags.broken) {
    ctx.status = 500;
    return;
  }
  await next();
  if (route === '/.well-known/openid-configuration') counts.discovery += 1;
  if (route === '/me') counts.userinfo += 1;
  if (route !== '/token') return;
  if (ctx.status !== 200) {
    counts.refused += 1;
    return;
  }
  counts[ctx.oidc.params.grant_type === 'refresh_token' ? 'refresh' : 'code'] += 1;
  if (ctx.body.id_token && (flags.claims || flags.foreign)) {
    const claims = { ...jose.decodeJwt(ctx.body.id_token), ...flags.claims };
    const signer = flags.foreign ? foreign : await jose.importJWK(key, 'ES256');
    ctx.body.id_token = await new jose.SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: key.kid }).sign(signer);
  }
  lastToken = ctx.body.access_token;
});

const body = async (request) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces).toString();
};

const say = (response, value) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(value));
};

server.on('request', async (request, response) => {
  try {
    if (request.url === '/test/flags') {
      Object.assign(flags, JSON.parse(await body(request)));
      return say(response, flags);
    }
    if (request.url === '/test/counts') return say(response, { ...counts, lastToken });
    if (!request.url.startsWith('/interaction/')) return provider.callback()(request, response);
    if (request.method === 'GET') {
      await provider.interactionDetails(request, response);
      response.setHeader('content-type', 'text/html');
      return response.end('<form method="post"><input name="account"></form>');
    }
    const form = new URLSearchParams(await body(request));
    const result = form.has('error')
      ? { error: form.get('error'), error_description: 'said by the tests' }
      : { login: { accountId: form.get('account') } };
    return await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  } catch (error) {
    response.statusCode = 500;
    return response.end(String(error));
  }
});

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
console.log(`ready ${server.address().port}`);

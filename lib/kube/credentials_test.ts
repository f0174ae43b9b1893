/**
 * Credentials that are rotated, damaged and refused, with a real server to judge them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { createCertificateAuthority } from "../../tests/api_server/certificates.ts";
import { connectTo } from "../../tests/api_server/fixture.ts";
import { startApiServer } from "../../tests/api_server/server.ts";
import { createApi } from "./api.ts";
import { type Credentials, loadCredentials } from "./credentials.ts";
import { CredentialsError } from "./error.ts";
import type { ResourceType } from "./resource.ts";

const OPTIONS = { signal: new AbortController().signal, attempts: 1 };
const NEVER_MS = 1_000_000_000;
const NODES: ResourceType = { group: "", version: "v1", resource: "nodes" };
const NODE = { apiVersion: "v1", kind: "Node", metadata: { name: "n" } };
const noEnv = (): undefined => undefined;

/** Asks for something with these credentials. */
function ask(credentials: Credentials): Promise<unknown> {
  return createApi({ credentials }).get({ type: NODES, name: "n" }, OPTIONS);
}

Deno.test("loadCredentials() takes a new token at once when the old one is refused", async () => {
  await using server = await startApiServer({ objects: [NODE] });
  await using fixture = await connectTo(server, { freshMs: NEVER_MS });
  await ask(fixture.credentials);
  await Deno.writeTextFile(fixture.tokenFile, `${server.rotateToken()}\n`);
  server.log.clear();
  await ask(fixture.credentials);
  assert.deepEqual(server.log.records.map(({ code }) => code), [401, 200]);
});

Deno.test("loadCredentials() takes a new token before the old one is refused", async () => {
  await using server = await startApiServer({ objects: [NODE] });
  await using fixture = await connectTo(server, { freshMs: 0 });
  await ask(fixture.credentials);
  await Deno.writeTextFile(fixture.tokenFile, server.rotateToken());
  server.log.clear();
  await ask(fixture.credentials);
  assert.deepEqual(server.log.records.map(({ code }) => code), [200]);
});

Deno.test("loadCredentials() trusts a new authority when the file changes", async () => {
  await using server = await startApiServer({ objects: [NODE] });
  await using fixture = await connectTo(server, { freshMs: 0 });
  await ask(fixture.credentials);
  await server.rotateAuthority();
  // A session that was agreed on before the change may be resumed.
  fixture.credentials.reconnect(await fixture.credentials.connect());
  await assert.rejects(
    ask(fixture.credentials),
    /invalid peer certificate|UnknownIssuer/,
  );
  await Deno.writeTextFile(fixture.caFile, server.caPem);
  await ask(fixture.credentials);
});

Deno.test("loadCredentials() serves on with what was good when files are damaged", async (t) => {
  await using server = await startApiServer({ objects: [NODE] });
  await using fixture = await connectTo(server, { freshMs: 0 });
  const kubeconfig = join(fixture.dir, "kubeconfig");
  const damages: [what: string, file: string, text: string | undefined][] = [
    ["token missing", fixture.tokenFile, undefined],
    ["token empty", fixture.tokenFile, ""],
    ["token of several lines", fixture.tokenFile, "a\nb\n"],
    ["authority missing", fixture.caFile, undefined],
    ["authority half-written", fixture.caFile, server.caPem.slice(0, 100)],
    [
      "authority not a certificate",
      fixture.caFile,
      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
    ["kubeconfig missing", kubeconfig, undefined],
    ["kubeconfig empty", kubeconfig, ""],
    ["kubeconfig half-written", kubeconfig, server.kubeconfig().slice(0, 150)],
  ];
  for (const [what, file, text] of damages) {
    await t.step(what, async () => {
      const good = await Deno.readTextFile(file);
      if (text === undefined) await Deno.remove(file);
      else await Deno.writeTextFile(file, text);
      await ask(fixture.credentials);
      assert.ok(
        fixture.credentials.problem?.includes(file) ||
          fixture.credentials.problem?.includes("Certificates"),
      );
      await Deno.writeTextFile(file, good);
      await ask(fixture.credentials);
      assert.equal(fixture.credentials.problem, undefined);
    });
  }
});

Deno.test("loadCredentials() shows a client certificate, and the next one when it is renewed", async () => {
  await using server = await startApiServer({ objects: [NODE] });
  await using fixture = await connectTo(server);
  const authority = await createCertificateAuthority("clients");
  const pairFile = join(fixture.dir, "pair.pem");
  const renew = async (): Promise<void> => {
    const { certPem, keyPem } = await authority.issue({ hosts: ["node"] });
    await Deno.writeTextFile(pairFile, certPem + keyPem);
  };
  await renew();
  const kubeconfig = join(fixture.dir, "kubeconfig");
  const user =
    "tokenFile: token\n    client-certificate: pair.pem\n    client-key: pair.pem";
  await Deno.writeTextFile(
    kubeconfig,
    server.kubeconfig().replace(/token: .*/, user),
  );
  using credentials = await loadCredentials({
    kubeconfig,
    env: noEnv,
    freshMs: 0,
  });
  const { client } = await credentials.connect();
  await ask(credentials);
  assert.equal((await credentials.connect()).client, client);
  await renew();
  assert.notEqual((await credentials.connect()).client, client);
  await Deno.writeTextFile(
    kubeconfig,
    server.kubeconfig().replace(/token: .*/, "client-key: pair.pem"),
  );
  await ask(credentials);
  assert.match(credentials.problem ?? "", /belong together/);
});

Deno.test("loadCredentials() follows a kubeconfig to another server", async () => {
  await using server = await startApiServer({ objects: [NODE] });
  await using other = await startApiServer({ objects: [NODE] });
  await using fixture = await connectTo(server, { freshMs: 0 });
  await ask(fixture.credentials);
  await Deno.writeTextFile(join(fixture.dir, "kubeconfig"), other.kubeconfig());
  await ask(fixture.credentials);
  assert.equal(other.log.count(), 1);
  assert.equal(fixture.credentials.server, other.url);
});

Deno.test("loadCredentials() finds what a pod is given", async (t) => {
  for (const hostname of ["127.0.0.1", "::1"]) {
    await t.step(hostname, async () => {
      await using server = await startApiServer({ hostname, objects: [NODE] });
      await using fixture = await connectTo(server);
      const env = (name: string): string | undefined =>
        ({
          KUBERNETES_SERVICE_HOST: hostname,
          KUBERNETES_SERVICE_PORT: String(server.port),
        })[name];
      using credentials = await loadCredentials({
        env,
        serviceAccountDir: fixture.dir,
      });
      assert.equal(credentials.server, server.url);
      await ask(credentials);
    });
  }
});

Deno.test("loadCredentials() says what is missing", async () => {
  const inPod = (name: string): string | undefined =>
    ({ KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" })[
      name
    ];
  const table: [
    options: Parameters<typeof loadCredentials>[0],
    message: RegExp,
  ][] = [
    [{ env: noEnv }, /^Not in a cluster/],
    [
      { env: inPod, serviceAccountDir: "/nonexistent" },
      /^Cannot read \/nonexistent\//,
    ],
    [
      { env: noEnv, kubeconfig: "/nonexistent/kubeconfig" },
      /^Cannot read \/nonexistent\/kubeconfig/,
    ],
  ];
  for (const [options, message] of table) {
    await assert.rejects(loadCredentials(options), (error: unknown) => {
      assert.ok(error instanceof CredentialsError);
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("loadCredentials() reconnects only for the connection in use", async () => {
  await using server = await startApiServer({ objects: [NODE] });
  await using fixture = await connectTo(server, { freshMs: NEVER_MS });
  const { credentials } = fixture;
  const first = await credentials.connect();
  credentials.reconnect(first);
  const second = await credentials.connect();
  assert.notEqual(second.client, first.client);
  credentials.reconnect(first);
  assert.equal((await credentials.connect()).client, second.client);
  await ask(credentials);
});

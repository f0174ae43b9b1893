import {
  deepEqual,
  equal,
  match,
  notEqual,
  ok,
  rejects,
} from "node:assert/strict";
import { join } from "node:path";
import { createCertificateAuthority } from "../../tests/api_server/certificates.ts";
import {
  type ApiServer,
  type ApiServerOptions,
  startApiServer,
} from "../../tests/api_server/server.ts";
import { waitUntil } from "../../tests/api_server/wait.ts";
import { loadCredentials } from "./credentials.ts";
import {
  KUBECONFIG_FILE,
  type NodeCertificate,
  type NodeCertificateEvent,
  type NodeCertificateOptions,
  PAIR_FILE,
  startNodeCertificate,
} from "./node_certificate.ts";
import { type ClientPair, readClientPair } from "./signing_request.ts";

const HOUR_MS = 3_600_000;
/** Nothing here waits for a person. */
const WAIT_MS = 20_000;

/** A node that has bootstrap credentials, and a server that signs unless told otherwise. */
interface Fixture extends AsyncDisposable {
  readonly dir: string;
  readonly server: ApiServer;
  readonly events: NodeCertificateEvent[];
  /** The clock of the next certificate that is looked after. */
  nowMs: () => number;
  start(more?: Partial<NodeCertificateOptions>): NodeCertificate;
  readPair(): Promise<ClientPair>;
}

async function createFixture(
  options: ApiServerOptions = { signsRequests: true },
): Promise<Fixture> {
  const dir = await Deno.makeTempDir();
  const server = await startApiServer({ takesTokenless: true, ...options });
  const bootstrapKubeconfig = join(dir, "bootstrap");
  await Deno.writeTextFile(bootstrapKubeconfig, server.kubeconfig());
  const events: NodeCertificateEvent[] = [];
  const fixture: Fixture = {
    dir,
    server,
    events,
    nowMs: Date.now,
    start: (more = {}) =>
      startNodeCertificate({
        nodeName: "node-a",
        bootstrapKubeconfig,
        certDir: join(dir, "certs"),
        certDurationMs: 24 * HOUR_MS,
        env: () => undefined,
        writeFile: (path, text) => Deno.writeTextFile(path, text),
        onEvent: (event) => events.push(event),
        now: () => fixture.nowMs(),
        lookMs: 5,
        ...more,
      }),
    readPair: async () =>
      await readClientPair(
        await Deno.readTextFile(join(dir, "certs", PAIR_FILE)),
      ),
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      await Deno.remove(dir, { recursive: true });
    },
  };
  return fixture;
}

function kinds(fixture: Fixture): string[] {
  return fixture.events.map(({ kind }) => kind);
}

/** What was asked about signing requests: "create with token". */
function askedFor({ server }: Fixture): string[] {
  return server.log.records
    .filter(({ resource }) => resource === "certificatesigningrequests")
    .map(({ verb, token }) =>
      `${verb} ${token === "" ? "without token" : "with token"}`
    );
}

async function ready(certificate: NodeCertificate): Promise<void> {
  await certificate.whenReady(AbortSignal.timeout(WAIT_MS));
}

Deno.test("startNodeCertificate() gets a certificate for the node, and a kubeconfig that shows it", async () => {
  await using fixture = await createFixture();
  await using certificate = fixture.start();
  ok(!certificate.isReady);
  await ready(certificate);
  const pair = await fixture.readPair();
  equal(pair.commonName, "system:multus:node-a");
  const [request] = fixture.server.list("CertificateSigningRequest");
  ok(request !== undefined);
  match(request.metadata.name, /^multus-node-a-/);
  deepEqual(
    { ...request.spec as Record<string, unknown>, request: "" },
    {
      request: "",
      signerName: "kubernetes.io/kube-apiserver-client",
      expirationSeconds: 24 * 3600,
      usages: ["digital signature", "client auth"],
    },
  );
  equal(certificate.kubeconfig, join(fixture.dir, "certs", KUBECONFIG_FILE));
  using credentials = await loadCredentials({
    kubeconfig: certificate.kubeconfig,
    env: () => undefined,
  });
  equal(credentials.server, fixture.server.url);
  deepEqual((await credentials.connect()).headers, {});
  deepEqual(kinds(fixture), ["requested", "issued"]);
});

Deno.test("startNodeCertificate() makes a pair that a server which verifies it accepts", async () => {
  await using fixture = await createFixture();
  await using certificate = fixture.start();
  await ready(certificate);
  using credentials = await loadCredentials({
    kubeconfig: certificate.kubeconfig,
    env: () => undefined,
  });
  const { client } = await credentials.connect();
  await using verifier = await startVerifyingServer(fixture);
  const response = await fetch(verifier.url, { client } as RequestInit);
  const page = await response.text();
  equal(response.status, 200);
  match(page, /Verify return code: 0 \(ok\)/);
  match(page, /CN ?= ?system:multus:node-a/);
  using stranger = Deno.createHttpClient({ caCerts: [fixture.server.caPem] });
  await rejects(
    fetch(verifier.url, { client: stranger } as RequestInit)
      .then((answer) => answer.text()),
  );
});

/** OpenSSL's own server, which takes only clients with a certificate of the authority. */
async function startVerifyingServer(
  { dir, server }: Fixture,
): Promise<AsyncDisposable & { url: string }> {
  const pair = await server.issue({ hosts: ["127.0.0.1"] });
  const files = {
    "ca.crt": server.caPem,
    "s.crt": pair.certPem,
    "s.key": pair.keyPem,
  };
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(join(dir, name), text);
  }
  const child = new Deno.Command("openssl", {
    args: [
      ...["s_server", "-accept", "127.0.0.1:0", "-www", "-naccept", "100"],
      ...["-cert", "s.crt", "-key", "s.key", "-CAfile", "ca.crt"],
      ...["-Verify", "1", "-verify_return_error"],
    ],
    cwd: dir,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  const port = (): string | undefined => /ACCEPT \S+:(\d+)/.exec(said)?.[1];
  while (port() === undefined) {
    const { value, done } = await reader.read();
    if (done) throw new TypeError(`openssl s_server ended: ${said}`);
    said += value;
  }
  return {
    url: `https://127.0.0.1:${port()}/`,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await reader.cancel();
      await child.status;
    },
  };
}

Deno.test("startNodeCertificate() uses a pair that lies there, and asks nobody", async () => {
  await using fixture = await createFixture();
  {
    await using first = fixture.start();
    await ready(first);
  }
  fixture.server.log.clear();
  // Not even the bootstrap credentials are needed any more.
  await Deno.remove(join(fixture.dir, "bootstrap"));
  await using second = fixture.start();
  await ready(second);
  deepEqual(askedFor(fixture), []);
  equal(second.problem, undefined);
});

Deno.test("startNodeCertificate() gets a new pair for one that cannot be used", async (t) => {
  const foreign = await createForeignPair();
  const cases: readonly {
    readonly name: string;
    readonly damage: (text: string) => string;
    readonly nowMs?: () => number;
    readonly reason: RegExp | undefined;
  }[] = [
    { name: "empty", damage: () => "", reason: /^No whole certificate/ },
    {
      name: "half-written",
      damage: (text) => text.slice(0, text.length / 2),
      reason: /^No whole (key|certificate)/,
    },
    {
      name: "without key",
      damage: (text) => text.slice(0, text.indexOf("-----BEGIN PRIVATE")),
      reason: /^No whole key/,
    },
    {
      name: "rubbish inside",
      damage: (text) => text.replace(/(CERTIFICATE-----\n)[^-]+/, "$1AAAA\n"),
      reason: /^Certificate cannot be decoded/,
    },
    {
      name: "somebody else's key",
      damage: (text) =>
        text.slice(0, text.indexOf("-----BEGIN PRIVATE")) +
        foreign.slice(foreign.indexOf("-----BEGIN PRIVATE")),
      reason: /^Certificate and key do not belong together/,
    },
    {
      name: "somebody else's",
      damage: () => foreign,
      reason: /^it is for another user than system:multus:node-a: /,
    },
    {
      name: "expired",
      damage: (text) => text,
      nowMs: () => Date.now() + 25 * HOUR_MS,
      reason: /^expired on /,
    },
  ];
  for (const { name, damage, nowMs = Date.now, reason } of cases) {
    await t.step({
      name,
      fn: async () => {
        await using fixture = await createFixture();
        const file = join(fixture.dir, "certs", PAIR_FILE);
        {
          await using first = fixture.start();
          await ready(first);
        }
        const before = await Deno.readTextFile(file);
        await Deno.writeTextFile(file, damage(before));
        fixture.events.length = 0;
        fixture.nowMs = nowMs;
        // The clock goes on as soon as the new one is there: the stand-in signs by its own.
        await using second = fixture.start({
          onEvent: (event) => {
            fixture.events.push(event);
            if (event.kind === "issued") fixture.nowMs = Date.now;
          },
        });
        await ready(second);
        deepEqual(kinds(fixture).slice(0, 3), [
          "unusable",
          "requested",
          "issued",
        ]);
        const [unusable] = fixture.events;
        match(
          unusable?.kind === "unusable" ? unusable.reason : "",
          reason ?? /^$/,
        );
        notEqual(await Deno.readTextFile(file), before);
        await fixture.readPair();
      },
    });
  }
});

/** A good pair of somebody else. */
async function createForeignPair(): Promise<string> {
  const authority = await createCertificateAuthority("another");
  const { certPem, keyPem } = await authority.issue({ hosts: ["other"] });
  return certPem + keyPem;
}

Deno.test("startNodeCertificate() renews with the certificate itself, and uses the old one until then", async () => {
  await using fixture = await createFixture();
  await using certificate = fixture.start();
  await ready(certificate);
  const file = join(fixture.dir, "certs", PAIR_FILE);
  const old = await Deno.readTextFile(file);
  fixture.server.log.clear();
  // The signer has no time: the old pair stays, and stays whole.
  fixture.server.faults.add({
    match: { resource: "certificatesigningrequests" },
    status: 503,
    times: 1,
  });
  fixture.nowMs = () => Date.now() + 23 * HOUR_MS;
  await waitUntil(() => kinds(fixture).includes("failed"), {
    what: "a failed renewal",
  });
  equal(await Deno.readTextFile(file), old);
  ok(certificate.isReady);
  match(certificate.problem ?? "", /503/);
  await waitUntil(
    () => kinds(fixture).filter((kind) => kind === "issued").length >= 2,
    { what: "a second certificate" },
  );
  notEqual(await Deno.readTextFile(file), old);
  deepEqual(
    new Set(askedFor(fixture)),
    new Set([
      "create without token",
      "get without token",
    ]),
  );
  await waitUntil(() => certificate.problem === undefined, {
    what: "no problem any more",
  });
});

Deno.test("startNodeCertificate() renews with the bootstrap credentials when the certificate may not", async () => {
  let mayAsk = true;
  await using fixture = await createFixture({
    signsRequests: true,
    allows: ({ resource, verb }) =>
      resource !== "certificatesigningrequests" || verb !== "create" ||
      mayAsk ||
      fixtureAllowsBootstrap(),
  });
  let refused = 0;
  function fixtureAllowsBootstrap(): boolean {
    // The first to ask is the node itself, and is refused; the second is the bootstrap user.
    refused += 1;
    return refused > 1;
  }
  await using certificate = fixture.start();
  await ready(certificate);
  fixture.server.log.clear();
  mayAsk = false;
  fixture.nowMs = () => Date.now() + 23 * HOUR_MS;
  await waitUntil(
    () => kinds(fixture).filter((kind) => kind === "issued").length >= 2,
    { what: "a second certificate" },
  );
  deepEqual(askedFor(fixture).slice(0, 3), [
    "create without token",
    "create with token",
    "get with token",
  ]);
  equal(certificate.problem, undefined);
});

Deno.test("startNodeCertificate() waits for approval, and says why there is none", async (t) => {
  const approve = (fixture: Fixture, status: unknown): void => {
    const [request] = fixture.server.list("CertificateSigningRequest");
    ok(request !== undefined);
    fixture.server.put({
      ...request,
      status,
    });
  };
  const waiting = (fixture: Fixture): Promise<void> =>
    waitUntil(() => askedFor(fixture).some((one) => one.startsWith("get")), {
      what: "somebody who waits",
    });
  await t.step({
    name: "approved later",
    fn: async () => {
      await using fixture = await createFixture({ signsRequests: false });
      await using certificate = fixture.start();
      await waiting(fixture);
      ok(!certificate.isReady);
      const [request] = fixture.server.list("CertificateSigningRequest");
      const spec = request?.spec as { request: string };
      const signed = await fixture.server.sign(atob(spec.request));
      approve(fixture, {
        conditions: [{ type: "Approved", status: "True" }],
        certificate: btoa(signed),
      });
      await ready(certificate);
      await fixture.readPair();
    },
  });
  for (
    const [type, reason] of [
      [
        "Denied",
        /^Certificate signing request \S+ was denied: NoNode: not ours$/,
      ],
      [
        "Failed",
        /^Certificate signing request \S+ was not signed: NoNode: not ours$/,
      ],
    ] as const
  ) {
    await t.step({
      name: type,
      fn: async () => {
        await using fixture = await createFixture({ signsRequests: false });
        await using certificate = fixture.start();
        await waiting(fixture);
        approve(fixture, {
          conditions: [{
            type,
            status: "True",
            reason: "NoNode",
            message: "not ours",
          }],
        });
        await waitUntil(() => certificate.problem !== undefined, {
          what: "a reason",
        });
        match(certificate.problem ?? "", reason);
        ok(!certificate.isReady);
      },
    });
  }
});

Deno.test("startNodeCertificate() says what is wrong with the bootstrap credentials", async () => {
  await using fixture = await createFixture();
  await Deno.remove(join(fixture.dir, "bootstrap"));
  await using certificate = fixture.start();
  await waitUntil(() => certificate.problem !== undefined, {
    what: "a reason",
  });
  match(certificate.problem ?? "", /bootstrap: No such file/);
  await rejects(certificate.whenReady(AbortSignal.abort()));
});

/**
 * The stand-in API server, asked over real TLS the way a client asks.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { createSigningRequest } from "./certificates.ts";
import { type ApiServer, startApiServer } from "./server.ts";
import { waitUntil } from "./wait.ts";

const POD = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "a", namespace: "default", uid: "uid-a" },
  spec: { nodeName: "node-1" },
};
const NAD = {
  apiVersion: "k8s.cni.cncf.io/v1",
  kind: "NetworkAttachmentDefinition",
  metadata: { name: "net-a", namespace: "default" },
  spec: { config: "{}" },
};
const PODS = "/api/v1/pods";
const POD_A = "/api/v1/namespaces/default/pods/a";
const MERGE_PATCH = { "content-type": "application/merge-patch+json" };

// deno-lint-ignore no-explicit-any -- answers of a server, looked at by tests only
type Answer = { status: number; body: any; headers: Headers };

type ClientInit = RequestInit & { client: Deno.HttpClient };

/** `fetch` with a client, which the DOM's types do not know. */
function fetchWith(url: string, init: ClientInit): Promise<Response> {
  return fetch(url, init);
}

async function ask(
  server: ApiServer,
  path: string,
  init: RequestInit = {},
): Promise<Answer> {
  using client = Deno.createHttpClient({ caCerts: [server.caPem] });
  const headers = { authorization: `Bearer ${server.token}`, ...init.headers };
  const response = await fetchWith(server.url + path, {
    ...init,
    headers,
    client,
  });
  const text = await response.text();
  const body = text.startsWith("{") ? JSON.parse(text) : text;
  return { status: response.status, body, headers: response.headers };
}

/** Opens a watch and hands out its events one by one. */
async function* follow(
  server: ApiServer,
  path: string,
): AsyncGenerator<{ type: string; object: typeof POD }> {
  using client = Deno.createHttpClient({ caCerts: [server.caPem] });
  const response = await fetchWith(server.url + path, {
    client,
    headers: { authorization: `Bearer ${server.token}` },
  });
  let rest = "";
  for await (
    const text of (response.body ?? ReadableStream.from([])).pipeThrough(
      new TextDecoderStream(),
    )
  ) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line);
  }
}

async function next<T>(events: AsyncGenerator<T>): Promise<T> {
  const { value, done } = await events.next();
  if (done) throw new RangeError("Watch ended");
  return value;
}

Deno.test("startApiServer() wants its token", async () => {
  await using server = await startApiServer({ objects: [POD] });
  assert.equal(
    (await ask(server, PODS, { headers: { authorization: "Bearer x" } }))
      .status,
    401,
  );
  assert.equal((await ask(server, PODS)).status, 200);
  const before = server.token;
  server.rotateToken();
  assert.equal(
    (await ask(server, PODS, {
      headers: { authorization: `Bearer ${before}` },
    })).status,
    401,
  );
  assert.equal(
    (await ask(server, "/readyz", { headers: { authorization: "" } })).body,
    "ok",
  );
});

Deno.test("startApiServer() is trusted by its own authority only", async () => {
  await using server = await startApiServer();
  await using other = await startApiServer();
  using client = Deno.createHttpClient({ caCerts: [other.caPem] });
  await assert.rejects(
    fetchWith(`${server.url}/readyz`, { client }),
    TypeError,
  );
});

Deno.test("startApiServer() lists in pages and by field", async () => {
  const objects = [1, 2, 3, 4, 5].map((i) => ({
    ...POD,
    metadata: { name: `p${i}`, namespace: i < 4 ? "a" : "b" },
    spec: { nodeName: i % 2 === 0 ? "even" : "odd" },
  }));
  await using server = await startApiServer({ objects });
  const names = async (query: string): Promise<string[]> => {
    const { body } = await ask(server, query);
    return body.items.map((item: typeof POD) => item.metadata.name);
  };
  assert.deepEqual(await names(`${PODS}?fieldSelector=spec.nodeName%3Deven`), [
    "p2",
    "p4",
  ]);
  assert.deepEqual(await names(`/api/v1/namespaces/b/pods`), ["p4", "p5"]);
  assert.deepEqual(
    await names(`${PODS}?fieldSelector=spec.nodeName!=even,metadata.name=p3`),
    ["p3"],
  );
  const first = await ask(server, `${PODS}?limit=2`);
  assert.equal(first.body.metadata.remainingItemCount, 3);
  const second = `${PODS}?limit=2&continue=${
    encodeURIComponent(first.body.metadata.continue)
  }`;
  assert.deepEqual(await names(second), ["p3", "p4"]);
  server.compact();
  assert.equal((await ask(server, second)).status, 410);
});

Deno.test("startApiServer() creates, gets, patches and deletes", async () => {
  await using server = await startApiServer();
  const path =
    "/apis/k8s.cni.cncf.io/v1/namespaces/default/network-attachment-definitions";
  const post = { method: "POST", body: JSON.stringify(NAD) };
  assert.equal((await ask(server, path, post)).status, 201);
  assert.equal((await ask(server, path, post)).body.reason, "AlreadyExists");
  assert.equal((await ask(server, `${path}/net-a`)).body.spec.config, "{}");
  const patch = {
    method: "PATCH",
    headers: MERGE_PATCH,
    body: '{"spec":{"config":null,"more":{"a":1}}}',
  };
  assert.deepEqual((await ask(server, `${path}/net-a`, patch)).body.spec, {
    more: { a: 1 },
  });
  assert.equal(
    (await ask(server, `${path}/net-a`, { method: "DELETE" })).status,
    200,
  );
  const missing = await ask(server, `${path}/net-a`);
  assert.equal(missing.status, 404);
  assert.equal(
    missing.body.message,
    'network-attachment-definitions.k8s.cni.cncf.io "net-a" not found',
  );
});

Deno.test("startApiServer() patches the status only with the right UID", async () => {
  await using server = await startApiServer({ objects: [POD] });
  const patch = (metadata: unknown): RequestInit => ({
    method: "PATCH",
    headers: MERGE_PATCH,
    body: JSON.stringify({ metadata, spec: { nodeName: "stolen" } }),
  });
  const written = await ask(
    server,
    `${POD_A}/status`,
    patch({ uid: "uid-a", annotations: { k: "v" } }),
  );
  assert.equal(written.status, 200);
  const { metadata, spec } = server.get("Pod", "a");
  assert.deepEqual([metadata.annotations, spec], [{ k: "v" }, {
    nodeName: "node-1",
  }]);
  const refused = await ask(server, `${POD_A}/status`, patch({ uid: "uid-b" }));
  assert.equal(refused.status, 422);
  assert.equal(refused.body.details.causes[0].field, "metadata.uid");
  assert.equal(
    (await ask(server, `${POD_A}/status`, patch({ resourceVersion: "1" })))
      .status,
    409,
  );
});

Deno.test("startApiServer() tells a watch what its selector sees", async () => {
  await using server = await startApiServer({ objects: [POD] });
  const selector =
    "fieldSelector=spec.nodeName%3Dnode-1&allowWatchBookmarks=true";
  const events = follow(server, `${PODS}?watch=true&${selector}`);
  const seen: string[] = [(await next(events)).type];
  server.put({ ...POD, spec: { nodeName: "node-1", more: 1 } });
  seen.push((await next(events)).type);
  server.put({ ...POD, spec: { nodeName: "node-2" } });
  seen.push((await next(events)).type);
  server.put(POD);
  seen.push((await next(events)).type);
  server.sendBookmarks();
  seen.push((await next(events)).type);
  server.delete("Pod", "a");
  seen.push((await next(events)).type);
  assert.deepEqual(seen, [
    "ADDED",
    "MODIFIED",
    "DELETED",
    "ADDED",
    "BOOKMARK",
    "DELETED",
  ]);
  server.endWatches();
  assert.ok((await events.next()).done);
  await waitUntil(() => server.openWatches === 0, {
    what: "the watch is closed",
  });
});

Deno.test("startApiServer() resumes a watch until the history is compacted", async () => {
  await using server = await startApiServer({ objects: [POD] });
  const { resourceVersion } = server.get("Pod", "a").metadata;
  server.delete("Pod", "a");
  const events = follow(
    server,
    `${PODS}?watch=true&resourceVersion=${resourceVersion}`,
  );
  assert.equal((await next(events)).type, "DELETED");
  await events.return(undefined);
  server.compact();
  assert.equal(
    (await ask(server, `${PODS}?watch=true&resourceVersion=${resourceVersion}`))
      .status,
    410,
  );
});

Deno.test("startApiServer() fails as it is told", async (t) => {
  await using server = await startApiServer({ objects: [POD] });
  for (const status of [401, 409, 410, 429, 500, 503]) {
    await t.step(`once ${status}`, async () => {
      server.faults.add({
        match: { resource: "pods" },
        status,
        times: 1,
        retryAfterS: 7,
      });
      const failed = await ask(server, POD_A);
      assert.deepEqual([failed.status, failed.headers.get("retry-after")], [
        status,
        "7",
      ]);
      assert.equal((await ask(server, POD_A)).status, 200);
    });
  }
  await t.step("always, until taken back", async () => {
    const takeBack = server.faults.add({ status: 500 });
    for (const path of [POD_A, PODS]) {
      assert.equal((await ask(server, path)).status, 500);
    }
    takeBack();
    assert.equal((await ask(server, POD_A)).status, 200);
  });
  await t.step("at a rate", async () => {
    server.faults.add({ status: 500, rate: 0 });
    assert.equal((await ask(server, POD_A)).status, 200);
    server.faults.add({ status: 500, rate: 1 });
    assert.equal((await ask(server, POD_A)).status, 500);
    server.faults.clear();
  });
  await t.step("cut", async () => {
    server.faults.add({ cut: true, times: 1 });
    await assert.rejects(ask(server, POD_A), TypeError);
    assert.equal((await ask(server, POD_A)).status, 200);
  });
  await t.step("dropped", async () => {
    server.faults.add({ drop: true, times: 1 });
    await assert.rejects(ask(server, POD_A), TypeError);
    assert.equal((await ask(server, POD_A)).status, 200);
  });
  await t.step("hanging", async () => {
    server.faults.add({ hang: true, times: 1 });
    await assert.rejects(
      ask(server, POD_A, { signal: AbortSignal.timeout(50) }),
      { name: "TimeoutError" },
    );
  });
  await t.step("expired watch", async () => {
    server.faults.add({
      match: { verb: "watch" },
      expireWatch: true,
      times: 1,
    });
    const events = follow(server, `${PODS}?watch=true`);
    assert.equal((await next(events)).type, "ERROR");
    await events.return(undefined);
  });
});

Deno.test("startApiServer() stops, and starts again on its port", async () => {
  await using server = await startApiServer({ objects: [POD] });
  const { port } = server;
  const events = follow(server, `${PODS}?watch=true`);
  await next(events);
  await server.stop();
  await assert.rejects(events.next(), TypeError);
  await assert.rejects(ask(server, POD_A), TypeError);
  await server.start();
  assert.equal(server.port, port);
  assert.equal((await ask(server, POD_A)).status, 200);
});

Deno.test("startApiServer() signs certificates when it is told to", async () => {
  await using server = await startApiServer({ signsRequests: true });
  const { requestPem, keyPem } = await createSigningRequest("system:node");
  const path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
  const body = JSON.stringify({
    apiVersion: "certificates.k8s.io/v1",
    kind: "CertificateSigningRequest",
    metadata: { generateName: "node-" },
    spec: { request: btoa(requestPem) },
  });
  const { status, body: made } = await ask(server, path, {
    method: "POST",
    body,
  });
  assert.equal(status, 201);
  const { body: { status: signed } } = await ask(
    server,
    `${path}/${made.metadata.name}`,
  );
  assert.equal(signed.conditions[0].type, "Approved");
  using client = Deno.createHttpClient({
    caCerts: [server.caPem],
    cert: atob(signed.certificate),
    key: keyPem,
  });
  const response = await fetchWith(`${server.url}/readyz`, { client });
  assert.equal(await response.text(), "ok");
});

Deno.test("startApiServer() answers access reviews", async () => {
  await using server = await startApiServer({
    allows: (access) => access.verb !== "delete",
  });
  const review = (verb: string): RequestInit => ({
    method: "POST",
    body: JSON.stringify({
      apiVersion: "authorization.k8s.io/v1",
      kind: "SelfSubjectAccessReview",
      spec: { resourceAttributes: { verb, resource: "pods" } },
    }),
  });
  const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
  const answers = [
    await ask(server, path, review("get")),
    await ask(server, path, review("delete")),
  ];
  assert.deepEqual(answers.map(({ body }) => body.status.allowed), [
    true,
    false,
  ]);
  assert.equal((await ask(server, POD_A, { method: "DELETE" })).status, 403);
});

Deno.test("startApiServer() counts what it was asked", async () => {
  await using server = await startApiServer({ objects: [POD] });
  await ask(server, POD_A);
  await ask(server, `${POD_A}x`);
  assert.equal(server.log.count({ verb: "get", resource: "pods" }), 2);
  assert.deepEqual({ ...server.log.counters }, {
    "get pods 200": 1,
    "get pods 404": 1,
  });
});

Deno.test("main serves the manifests it is given, as a process", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const manifests = `${JSON.stringify(POD)}\n---\n${
      JSON.stringify(NAD)
    }\n---\nkind: Service\napiVersion: v1\n`;
    await Deno.writeTextFile(join(dir, "all.yaml"), manifests);
    const main = new URL("./main.ts", import.meta.url).pathname;
    const command = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--allow-read",
        "--allow-net",
        "--allow-env=LOG_TOKENS,LOG_STREAM",
        main,
        dir,
      ],
      stdout: "piped",
      stderr: "inherit",
    });
    await using child = command.spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream())
      .getReader();
    const { value = "" } = await reader.read();
    const server = JSON.parse(value) as ApiServer;
    assert.equal((await ask(server, POD_A)).body.metadata.uid, "uid-a");
    await reader.cancel();
    child.kill();
    await child.status;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

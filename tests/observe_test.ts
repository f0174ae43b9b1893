/**
 * The daemon watched from outside while it works: what its log says of each
 * request and what it does not say, its metrics as a strict reader reads them,
 * its traces as a collector gets them. With its real grants, and real plugins.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { parsePrometheusText } from "./prometheus_text.ts";
import { waitUntil } from "./api_server/wait.ts";
import { layNetworks, type Networks } from "./networks.ts";
import { type NodeOptions, TestNode } from "./node.ts";
import { installNoopPlugin, readCalls } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import { addPod, assertDone, createPod, putDefinition } from "./pods.ts";

/** A password as it stands in the configurations of some IPAM plugins. */
const SECRET = "hunter2-and-more";

interface Line {
  readonly time: string;
  readonly level: string;
  readonly message: string;
  readonly [name: string]: unknown;
}

interface Scene extends AsyncDisposable {
  readonly node: TestNode;
  readonly networks: Networks;
}

/** A node with a daemon, two networks and a plugin that fails. */
async function createScene(
  options: NodeOptions & { env?: Record<string, string> },
): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(
    await TestNode.create({
      ...options,
      plugins: ["bad", "traced"],
    }),
  );
  const networks = stack.use(await layNetworks(node));
  putDefinition(node, "macvlan", {
    ...networks.macvlan(1),
    password: SECRET,
  });
  putDefinition(node, "bad", { cniVersion: "1.0.0", type: "bad" });
  await installNoopPlugin(node.binDir, "bad", {
    ADD: `fail 7 "No port free"`,
  });
  await node.startDaemon({ env: options.env ?? {} });
  const kept = stack.move();
  return {
    node,
    networks,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function linesOf(text: string): Line[] {
  return text.split("\n").filter((line) => line !== "").map((line) =>
    JSON.parse(line)
  );
}

/** Runs a pod with one network from ADD to DEL. */
async function runPod(node: TestNode, name: string): Promise<string> {
  const sandbox = await createPod(node, name, { networks: "macvlan" });
  await addPod(node, sandbox);
  assertDone(node, await node.cni("CHECK", sandbox));
  assertDone(node, await node.cni("DEL", sandbox));
  return sandbox.containerId;
}

nodeTest("the daemon's log", async (t) => {
  const logDir = await Deno.makeTempDir({ prefix: "multus-log-" });
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => Deno.remove(logDir, { recursive: true }));
  const logFile = join(logDir, "multus.log");
  // One megabyte, the smallest limit there is: the daemon's first line puts the file aside.
  const old = `${"x".repeat(1023)}\n`.repeat(1024);
  await Deno.writeTextFile(logFile, old);
  await using scene = await createScene({
    profile: { logFile },
    daemonConf: {
      logLevel: "debug",
      logFormat: "json",
      logFile,
      logOptions: { maxSize: 1, maxBackups: 2, compress: false },
    },
  });
  const { node } = scene;
  const said = (): Line[] => linesOf(node.daemonLog);
  const container = await runPod(node, "good");
  const ofPod = (): Line[] =>
    said().filter((line) => line.container === container);

  await step(
    t,
    "names request, command, pod and container in each line of a request",
    async () => {
      await waitUntil(
        () => ofPod().some((line) => line.message === "DEL done"),
        {
          what: "the line about the DEL",
        },
      );
      for (const command of ["ADD", "CHECK", "DEL"]) {
        const lines = ofPod().filter((line) => line.command === command);
        equal(new Set(lines.map((line) => line.request)).size, 1, command);
        for (const line of lines) equal(line.pod, "default/good");
        const plugins = lines.filter((line) => line.plugin !== undefined)
          .map((line) => `${line.plugin} ${line.network} ${line.interface}`);
        const forward = ["bridge cluster-net eth0", "macvlan macvlan net1"];
        deepEqual(plugins, command === "DEL" ? forward.toReversed() : forward);
        for (const line of lines.filter((line) => line.plugin !== undefined)) {
          equal(typeof line.durationMs, "number");
        }
        const last = lines.at(-1);
        equal(last?.message, `${command} done`);
        ok(Number(last?.durationMs) >= Number(last?.pluginMs));
        equal(typeof last?.waitMs, "number");
      }
      equal(ofPod().filter((line) => line.request === undefined).length, 0);
    },
  );

  await step(t, "has no error when all went well", () => {
    deepEqual(
      said().filter((line) => ["error", "panic"].includes(line.level)),
      [],
    );
    return Promise.resolve();
  });

  await step(
    t,
    "has configurations at debug only, and secrets never",
    async () => {
      const withConf = said().filter((line) =>
        JSON.stringify(line).includes("host-local")
      );
      ok(withConf.length > 0);
      deepEqual([...new Set(withConf.map((line) => line.level))], ["debug"]);
      for (const secret of [SECRET, node.api.token]) {
        ok(!node.daemonLog.includes(secret), secret);
        ok(!(await Deno.readTextFile(logFile)).includes(secret), secret);
      }
      ok(node.daemonLog.includes("(hidden)"));
    },
  );

  await step(
    t,
    "has one error for a request that failed, with what the runtime was told",
    async () => {
      const sandbox = await createPod(node, "unlucky", { networks: "bad" });
      const { code, json } = await node.cni("ADD", sandbox);
      equal(code, 1);
      const errors = (): Line[] =>
        said().filter((line) => line.level === "error");
      await waitUntil(() => errors().length > 0, { what: "the error" });
      const [error, ...others] = errors();
      deepEqual(others, []);
      equal(error?.message, `ADD failed: ${json.msg}`);
      equal(error?.code, 7);
      equal(error?.pod, "default/unlucky");
      equal(error?.container, sandbox.containerId);
    },
  );

  await step(
    t,
    "goes to the file too, which is put aside at its limit",
    async () => {
      const lines = linesOf(await Deno.readTextFile(logFile));
      equal(lines.length, said().length);
      deepEqual(lines, said());
      const names = (await Array.fromAsync(Deno.readDir(logDir)))
        .map(({ name }) => name).sort();
      equal(names.length, 2, names.join());
      match(names[0] ?? "", /^multus-[\dT.-]+\.log$/);
      equal(await Deno.readTextFile(join(logDir, names[0] ?? "")), old);
    },
  );

  await step(
    t,
    "says less or more after SIGHUP, and goes on with what was when the file is bad",
    async () => {
      const log = { logFormat: "json", logFile };
      const reread = async (what: RegExp): Promise<void> => {
        const before = said().length;
        Deno.kill(node.daemonPid, "SIGHUP");
        await waitUntil(
          () => said().slice(before).some((line) => what.test(line.message)),
          { what: String(what) },
        );
      };
      await node.writeDaemonConf({ ...log, logLevel: "verbose" });
      await reread(/^Configuration read again$/);
      let before = said().length;
      await runPod(node, "after");
      await waitUntil(
        () => said().slice(before).some((line) => line.message === "DEL done"),
        { what: "the line about the DEL" },
      );
      deepEqual(
        [...new Set(said().slice(before).map((line) => line.level))],
        ["verbose"],
      );
      await Deno.writeTextFile(node.profile.daemonConfig, "{");
      await reread(
        /^The configuration cannot be read again, the old one holds: /,
      );
      await node.writeDaemonConf({ ...log, logLevel: "debug" });
      await reread(/^Configuration read again$/);
      before = said().length;
      await runPod(node, "at-last");
      ok(said().slice(before).some((line) => line.level === "debug"));
    },
  );

  equal(await node.stopDaemon(), 0);
});

nodeTest("the daemon's metrics", async (t) => {
  await using scene = await createScene({
    profile: { metrics: "127.0.0.1" },
    daemonConf: {
      logFormat: "json",
      metricsPort: 0,
      pluginTimeoutSeconds: 3,
      metricsBindAddress: "127.0.0.1",
    },
  });
  const { node } = scene;
  const line = linesOf(node.daemonLog).find((line) =>
    line.message === "Serving metrics"
  );
  const url = `http://127.0.0.1:${line?.port}/metrics`;
  const read = async (): Promise<Map<string, number>> => {
    const families = parsePrometheusText(await (await fetch(url)).text());
    return new Map(
      families.flatMap(({ samples }) =>
        samples.map(({ name, labels, value }) => [
          [
            name,
            ...Object.entries(labels).sort().map(([key, one]) =>
              `${key}=${one}`
            ),
          ]
            .join(" "),
          value,
        ])
      ),
    );
  };

  await step(t, "count requests, plugins and attachments", async () => {
    const sandbox = await createPod(node, "counted", { networks: "macvlan" });
    await addPod(node, sandbox);
    const added = await read();
    const sum = (name: string): number =>
      added.get(`multus_operation_${name}_seconds_sum command=ADD`) ?? NaN;
    equal(added.get("multus_attachments kind=file state=done"), 1);
    equal(added.get("multus_attachments kind=definition state=done"), 1);
    equal(
      added.get(
        "multus_server_request_total code=200 handler=/cni method=POST",
      ),
      1,
    );
    for (const plugin of ["bridge", "macvlan"]) {
      const labels = `command=ADD plugin=${plugin}`;
      const name = "multus_cni_plugin_execution";
      equal(added.get(`${name}_total ${labels} result=success`), 1);
      equal(added.get(`${name}_duration_seconds_count ${labels}`), 1);
    }
    ok(sum("overhead") > 0 && sum("overhead") < sum("duration"));
    equal(added.get("multus_queue_wait_seconds_count lane=add"), 1);
    equal(added.get("multus_cni_config_effective sha256="), 1);
    equal(added.get("multus_api_cache_synced resource=pods"), 1);
    ok(
      (added.get(
        "multus_api_requests_total code=200 resource=pods verb=list",
      ) ?? 0) >= 1,
    );
    assertDone(node, await node.cni("DEL", sandbox));
    const deleted = await read();
    equal(deleted.get("multus_attachments kind=file state=done"), undefined);
    equal(deleted.get("multus_pending_teardowns"), 0);
  });

  await step(t, "count what fails, and what runs out of time", async () => {
    const sandbox = await createPod(node, "unlucky", { networks: "bad" });
    equal((await node.cni("ADD", sandbox)).code, 1);
    const labels = "command=ADD plugin=bad result=failure";
    const values = await read();
    equal(values.get(`multus_cni_plugin_execution_total ${labels}`), 1);
    equal(values.get("multus_deadline_exceeded_total command=ADD"), 0);
    await installNoopPlugin(node.binDir, "bad", { ADD: "hang" });
    equal((await node.cni("ADD", sandbox)).code, 1);
    const late = await read();
    equal(late.get("multus_deadline_exceeded_total command=ADD"), 1);
  });

  await step(t, "have no label that names a pod or a container", async () => {
    const sandbox = await createPod(node, "secret-name");
    await addPod(node, sandbox);
    const page = await (await fetch(url)).text();
    for (const name of ["secret-name", sandbox.containerId, sandbox.uid]) {
      ok(!page.includes(name), name);
    }
    assertDone(node, await node.cni("DEL", sandbox));
  });
});

nodeTest(
  "a port for metrics that is taken costs no pod its networks",
  async () => {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr as Deno.NetAddr;
    await using scene = await createScene({
      profile: { metrics: "127.0.0.1" },
      daemonConf: { metricsPort: port, metricsBindAddress: "127.0.0.1" },
    });
    ok(
      scene.node.daemonLog.includes(
        `[error] Cannot serve metrics on 127.0.0.1:${port}: another program has this port; choose another metricsPort`,
      ),
    );
    await runPod(scene.node, "good");
  },
);

interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly status: { readonly code: number; readonly message: string };
}

/** What stands in for a collector: takes traces over HTTP, as JSON. */
interface Collector extends AsyncDisposable {
  readonly endpoint: string;
  spans(): readonly Span[];
}

function startCollector(): Collector {
  const spans: Span[] = [];
  const address = { hostname: "127.0.0.1", port: 0 };
  const server = Deno.serve(
    { ...address, onListen: () => {} },
    async (request) => {
      const body = await request.json();
      for (const resource of body.resourceSpans ?? []) {
        for (const scope of resource.scopeSpans) spans.push(...scope.spans);
      }
      return Response.json({});
    },
  );
  return {
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    spans: () => spans,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

nodeTest(
  "an ADD is one trace, from the runtime through the shim to each plugin",
  async () => {
    await using collector = startCollector();
    const env = {
      OTEL_DENO: "true",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    };
    await using scene = await createScene({ env });
    const { node } = scene;
    await installNoopPlugin(node.binDir, "traced", {});
    await Deno.mkdir(join(node.binDir, "calls"), { recursive: true });
    putDefinition(node, "traced", { cniVersion: "1.0.0", type: "traced" });
    const sandbox = await createPod(node, "traced", {
      networks: "macvlan,traced",
    });
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const runtimeSpan = "b7ad6b7169203331";
    const outcome = await node.cni("ADD", sandbox, {
      env: {
        ...env,
        TRACEPARENT: `00-${traceId}-${runtimeSpan}-01`,
        TRACESTATE: "runtime=1",
      },
    });
    assertDone(node, outcome);
    const untraced = await createPod(node, "untraced");
    await addPod(node, untraced);
    equal(await node.stopDaemon(), 0);

    const spans = collector.spans().filter((span) => span.traceId === traceId);
    const parentOf = new Map(spans.map((span) => {
      const parent = spans.find((one) => one.spanId === span.parentSpanId);
      return [span.name, parent?.name ?? span.parentSpanId];
    }));
    const expected = {
      "multus-shim ADD": runtimeSpan,
      "CNI ADD": "multus-shim ADD",
      "queue": "CNI ADD",
      "pod": "CNI ADD",
      "networks": "CNI ADD",
      "ADD bridge": "CNI ADD",
      "ADD macvlan": "CNI ADD",
      "ADD traced": "CNI ADD",
    };
    deepEqual(
      Object.fromEntries(
        Object.keys(expected).map((name) => [name, parentOf.get(name)]),
      ),
      expected,
    );
    const [call] = await readCalls(node.binDir);
    const plugin = spans.find((span) => span.name === "ADD traced");
    equal(call?.env.TRACEPARENT, `00-${traceId}-${plugin?.spanId}-01`);
    equal(call?.env.TRACESTATE, "runtime=1");
    // Without a trace of the runtime's the daemon begins one.
    const own = collector.spans().find((span) =>
      span.name === "CNI ADD" && span.traceId !== traceId
    );
    ok(own !== undefined && own.parentSpanId === "", JSON.stringify(own));
    ok(!collector.spans().some((span) => span.name === "probe"));
  },
);

nodeTest(
  "a failed plugin is a failed span, and without OTEL_DENO the trace is handed on as it came",
  async (t) => {
    await using collector = startCollector();
    await using scene = await createScene({
      env: {
        OTEL_DENO: "true",
        OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
      },
    });
    const { node } = scene;
    const sandbox = await createPod(node, "unlucky", { networks: "bad" });
    equal((await node.cni("ADD", sandbox)).code, 1);
    equal(await node.stopDaemon(), 0);
    const failed = collector.spans().filter((span) =>
      span.status.code === 2 && span.name.includes("ADD")
    );
    deepEqual(failed.map((span) => span.name).sort(), ["ADD bad", "CNI ADD"]);

    await step(t, "as it came", async () => {
      await node.startDaemon();
      await installNoopPlugin(node.binDir, "traced", {});
      putDefinition(node, "traced", { cniVersion: "1.0.0", type: "traced" });
      const sandbox = await createPod(node, "handed-on", {
        networks: "traced",
      });
      const TRACEPARENT =
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
      await Deno.mkdir(join(node.binDir, "calls"), { recursive: true });
      assertDone(
        node,
        await node.cni("ADD", sandbox, { env: { TRACEPARENT } }),
      );
      const call = (await readCalls(node.binDir)).find(({ type }) =>
        type === "traced"
      );
      equal(call?.env.TRACEPARENT, TRACEPARENT);
    });
  },
);

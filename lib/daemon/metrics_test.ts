import { deepEqual, equal, match, ok } from "node:assert/strict";
import {
  type MetricFamily,
  parsePrometheusText,
} from "../../tests/prometheus_text.ts";
import type { LaneGauge, LaneName } from "./limits.ts";
import { createMetrics, type MetricSources, serveMetrics } from "./metrics.ts";

const LANES: readonly LaneName[] = ["add", "delete", "check", "gc", "status"];

function lanes(gauge: LaneGauge): Record<LaneName, LaneGauge> {
  return Object.fromEntries(LANES.map((name) => [name, gauge])) as Record<
    LaneName,
    LaneGauge
  >;
}

const QUIET: MetricSources = {
  lanes: () => lanes({ inFlight: 0, queued: 0 }),
  records: () => new Map(),
  pendingTeardowns: () => 0,
  damagedRecords: () => 0,
  quarantinedRecords: () => 0,
  barePods: () => 0,
  api: () => [],
  configuration: () => ({ effective: true }),
  credentialExpiryMs: () => undefined,
};

/** Value by name and labels, as they stand on the page. */
function valuesOf(families: readonly MetricFamily[]): Record<string, number> {
  const entries = families.flatMap(({ samples }) =>
    samples.map(({ name, labels, value }) => {
      const text = Object.entries(labels).map(([key, label]) =>
        `${key}=${label}`
      ).join();
      return [text === "" ? name : `${name}{${text}}`, value] as const;
    })
  );
  return Object.fromEntries(entries);
}

Deno.test("createMetrics() makes a page that says what it knows, and nothing it does not", async () => {
  const attachment = { name: "ns/net", network: "net", ifname: "net1" };
  const values = valuesOf(parsePrometheusText(
    await createMetrics({
      ...QUIET,
      lanes: () => lanes({ inFlight: 2, queued: 3 }),
      records: () =>
        new Map([["c", {
          attachments: [
            { ...attachment, state: "done" },
            { ...attachment, state: "done" },
            { ...attachment, name: "cluster-net", state: "begun" },
          ],
        }]]),
      pendingTeardowns: () => 4,
      damagedRecords: () => 5,
      quarantinedRecords: () => 6,
      barePods: () => 7,
      api: () => [
        { resource: "pods", isSynced: true, silentMs: 1500 },
        { resource: "nads", isSynced: false, silentMs: Infinity },
      ],
      configuration: () => ({ effective: false, sha256: "abc" }),
      credentialExpiryMs: () => 1.8e12,
    }, { version: "1.2.3" }).page(),
  ));
  const expected = {
    "multus_operations_in_flight{lane=add}": 2,
    "multus_operations_queued{lane=gc}": 3,
    "multus_attachments{kind=definition,state=done}": 2,
    "multus_attachments{kind=file,state=begun}": 1,
    "multus_pending_teardowns": 4,
    "multus_damaged_records": 5,
    "multus_quarantined_records_total": 6,
    "multus_bare_pods": 7,
    "multus_api_watch_age_seconds{resource=pods}": 1.5,
    "multus_api_watch_age_seconds{resource=nads}": undefined,
    "multus_api_cache_synced{resource=pods}": 1,
    "multus_api_cache_synced{resource=nads}": 0,
    "multus_cni_config_effective{sha256=abc}": 0,
    "multus_credential_expiry_timestamp_seconds": 1.8e9,
    "multus_last_gc_timestamp_seconds": undefined,
    "multus_deadline_exceeded_total{command=ADD}": 0,
    [`multus_build_info{version=1.2.3,deno=${Deno.version.deno}}`]: 1,
  };
  deepEqual(
    Object.fromEntries(Object.keys(expected).map((key) => [key, values[key]])),
    expected,
  );
  ok((values["process_cpu_seconds_total"] ?? 0) > 0);
  ok((values["process_resident_memory_bytes"] ?? 0) > 1_000_000);
  const quiet = valuesOf(
    parsePrometheusText(
      await createMetrics(QUIET, { version: "1" }).page(),
    ),
  );
  equal(quiet["multus_credential_expiry_timestamp_seconds"], undefined);
});

Deno.test("createMetrics() takes plugins and the queue out of the own overhead", async () => {
  const metrics = createMetrics(QUIET, { version: "1" });
  const tally = { pluginMs: 300, waitMs: 150 };
  const served = { handler: "/cni", method: "POST", code: 200 };
  metrics.served({ ...served, command: "ADD", durationMs: 500, tally });
  metrics.served({ ...served, command: "GC", durationMs: 1 });
  metrics.served({
    ...served,
    code: 400,
    command: "ADD",
    durationMs: 1,
    isLate: true,
  });
  const values = valuesOf(parsePrometheusText(await metrics.page()));
  equal(values["multus_operation_duration_seconds_sum{command=ADD}"], 0.501);
  const overhead =
    values["multus_operation_overhead_seconds_sum{command=ADD}"] ?? 0;
  ok(Math.abs(overhead - 0.051) < 1e-9, String(overhead));
  equal(values["multus_deadline_exceeded_total{command=ADD}"], 1);
  const gc = values["multus_last_gc_timestamp_seconds"] ?? 0;
  ok(Math.abs(gc - Date.now() / 1000) < 60, String(gc));
});

Deno.test("createMetrics() has labels of which there are not many, whatever clients and configurations say", async () => {
  const metrics = createMetrics(QUIET, { version: "1" });
  for (let at = 0; at < 500; at++) {
    metrics.served({
      handler: "other",
      method: `M${at}`,
      code: 404,
      durationMs: 1,
    });
    metrics.plugin({
      type: `plugin-${at}`,
      command: "ADD",
      ifname: `net${at}`,
      network: `n${at}`,
      durationMs: 1,
    });
  }
  const families = parsePrometheusText(await metrics.page());
  const labels = new Set(
    families.flatMap(({ samples }) =>
      samples.flatMap((sample) => Object.keys(sample.labels))
    ),
  );
  deepEqual([...labels].sort(), [
    "code",
    "command",
    "deno",
    "handler",
    "lane",
    "le",
    "method",
    "plugin",
    "result",
    "sha256",
    "version",
  ]);
  for (const [name, max] of [["method", 4], ["plugin", 41]] as const) {
    const values = new Set(
      families.flatMap(({ samples }) =>
        samples.map((sample) => sample.labels[name])
      ),
    );
    values.delete(undefined);
    ok(values.size <= max, `${name}: ${values.size}`);
    ok(values.has("other"), name);
  }
});

Deno.test("serveMetrics() serves the page, and ends whoever holds a connection", async () => {
  const metrics = createMetrics(QUIET, { version: "1" });
  const hostname = "127.0.0.1";
  const server = serveMetrics(metrics, { hostname, port: 0 });
  const url = `http://${hostname}:${server.port}`;
  const answer = await fetch(`${url}/metrics`);
  match(answer.headers.get("content-type") ?? "", /version=0\.0\.4/);
  ok(parsePrometheusText(await answer.text()).length > 10);
  const other = await fetch(`${url}/`);
  equal(other.status, 404);
  await other.text();
  using half = await Deno.connect({ hostname, port: server.port });
  await half.write(new TextEncoder().encode("GET /metrics HTTP/1.1\r\nHost"));
  await server[Symbol.asyncDispose]();
  equal(await half.read(new Uint8Array(1)).catch(() => null), null);
});

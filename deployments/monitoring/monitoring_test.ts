import { deepEqual, equal, match, ok } from "node:assert/strict";
import { parse } from "yaml";
import { createMetrics } from "../../lib/daemon/metrics.ts";
import { parsePrometheusText } from "../../tests/prometheus_text.ts";

/** What a scrape adds to each sample. */
const SCRAPE_LABELS = ["instance", "job"];

/** The daemon's metrics, each with the labels that it can have. */
async function readMetrics(): Promise<Map<string, Set<string>>> {
  const gauge = { inFlight: 1, queued: 1 };
  const metrics = createMetrics({
    lanes: () => ({
      add: gauge,
      delete: gauge,
      check: gauge,
      gc: gauge,
      status: gauge,
    }),
    records: () =>
      new Map([["c", {
        attachments: [{ name: "n", network: "n", ifname: "i", state: "done" }],
      }]]),
    pendingTeardowns: () => 1,
    damagedRecords: () => 1,
    quarantinedRecords: () => 1,
    barePods: () => 1,
    api: () => [{ resource: "pods", isSynced: true, silentMs: 1 }],
    configuration: () => ({ effective: true, sha256: "abc" }),
    credentialExpiryMs: () => 1,
  }, { version: "1" });
  const durationMs = 1;
  const served = { handler: "/cni", method: "POST", code: 200, durationMs };
  metrics.served({ ...served, command: "GC" });
  const names = { ifname: "i", network: "n" };
  metrics.plugin({ type: "bridge", command: "ADD", ...names, durationMs });
  metrics.waited("add", 1);
  metrics.requested({ verb: "get", resource: "pods", code: 200, durationMs });
  const known = new Map<string, Set<string>>();
  for (const { samples } of parsePrometheusText(await metrics.page())) {
    for (const { name, labels } of samples) {
      known.set(name, new Set([...SCRAPE_LABELS, ...Object.keys(labels)]));
    }
  }
  return known;
}

const METRIC = /\b(?:multus|process)_[a-z_]+\b(?:\{([^}]*)\})?/g;

interface Used {
  readonly name: string;
  readonly labels: readonly string[];
}

/** The metrics that an expression asks for, with the labels that it selects by; `by (…)` counts for each of them. */
function usedIn(expr: string): Used[] {
  const grouped = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap((found) =>
    (found[1] ?? "").split(",").map((label) => label.trim())
  );
  return [...expr.matchAll(METRIC)].map(([text, selectors = ""]) => ({
    name: text.replace(/\{.*/s, ""),
    labels: [
      ...grouped,
      ...[...selectors.matchAll(/([a-z_]+)\s*(?:=~|!~|!=|=)/g)].map((found) =>
        found[1] ?? ""
      ),
    ],
  }));
}

interface Source {
  readonly title: string;
  readonly expr: string;
  /** What stands in the text about the series. */
  readonly shown: readonly string[];
}

/** As Prometheus has them. */
interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: {
    readonly summary: string;
    readonly description: string;
  };
}

async function readAlerts(): Promise<
  (Source & { readonly description: string })[]
> {
  const url = new URL("alerts.yaml", import.meta.url);
  const { groups } = parse(await Deno.readTextFile(url));
  return groups.flatMap(({ rules }: { rules: Rule[] }) =>
    rules.map(({ alert, expr, annotations: { summary, description } }) => {
      const text = `${summary} ${description}`;
      const shown = [...text.matchAll(/\$labels\.(\w+)/g)].map(([, label]) =>
        label
      );
      return { title: alert, expr, description, shown };
    })
  );
}

async function readPanels(): Promise<Source[]> {
  const url = new URL("dashboard.json", import.meta.url);
  const dashboard = JSON.parse(await Deno.readTextFile(url));
  equal(dashboard.uid, "multus");
  const ids = dashboard.panels.map(({ id }: { id: number }) => id);
  equal(new Set(ids).size, ids.length);
  return dashboard.panels.flatMap((
    { title, targets = [] }: {
      title: string;
      targets?: { expr: string; legendFormat: string }[];
    },
  ) =>
    targets.map(({ expr, legendFormat }) => ({
      title,
      expr,
      shown: [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map((found) =>
        found[1]
      ),
    }))
  );
}

function assertKnown(
  known: ReadonlyMap<string, ReadonlySet<string>>,
  { title, expr, shown }: Source,
): void {
  const used = usedIn(expr);
  ok(used.length > 0 || /\bup\{/.test(expr), `${title}: ${expr}`);
  for (const { name, labels } of used) {
    const has = known.get(name);
    ok(has !== undefined, `${title} uses a metric that is not there: ${name}`);
    // `and on (…) multus_build_info` only picks the processes that are ours.
    for (const label of name === "multus_build_info" ? [] : labels) {
      ok(has.has(label), `${title}: ${name} has no label ${label}`);
    }
  }
  const [first] = used;
  for (const label of shown) {
    const has = known.get(first?.name ?? "") ?? new Set(SCRAPE_LABELS);
    ok(has.has(label), `${title} shows a label that is not there: ${label}`);
  }
  equal(expr.split("(").length, expr.split(")").length, title);
}

Deno.test("alerts and dashboard use metrics and labels that exist", async (t) => {
  const known = await readMetrics();
  for (
    const [what, sources] of [
      ["alert", await readAlerts()],
      ["panel", await readPanels()],
    ] as const
  ) {
    for (const source of sources) {
      await t.step(`${what} ${source.title}`, () => assertKnown(known, source));
    }
  }
});

Deno.test("every metric of the daemon is on the dashboard", async () => {
  const shown = new Set(
    (await readPanels()).flatMap(({ expr }) =>
      usedIn(expr).map(({ name }) => name.replace(/_(bucket|sum|count)$/, ""))
    ),
  );
  const names = [...(await readMetrics()).keys()].map((name) =>
    name.replace(/_(bucket|sum|count)$/, "")
  );
  deepEqual(new Set(names).difference(shown), new Set());
});

Deno.test("every alert has a name of its own and says what to do", async () => {
  const alerts = await readAlerts();
  equal(new Set(alerts.map(({ title }) => title)).size, alerts.length);
  ok(alerts.length >= 10);
  for (const { title, description } of alerts) {
    match(title, /^Multus[A-Z]\w+$/);
    ok(description.length > 60, title);
  }
});

/**
 * Which module may know which: the directions between the rooms (design: cni ←
 * selection ← daemon ← cli, the others know none above them), looked at in the
 * whole module graph as Deno resolves it, so that no re-export, type or import
 * at run time goes around the rules of `tests/lint.ts`. What the shim may
 * import is in `shim_process_test.ts`.
 */
import { deepEqual, ok } from "node:assert/strict";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { DAEMON_PARTS } from "../deployments/parts.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** What each room may import, its own files apart; what is not named in `lib` itself belongs to no room. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  cni: [],
  host: ["cni"],
  kube: ["cni"],
  devices: ["cni", "host"],
  wire: ["cni"],
  selection: ["cni"],
  daemon: ["selection", "cni", "kube", "devices", "host", "wire"],
  cli: ["daemon", "selection", "cni", "kube", "devices", "host", "wire"],
  // It grants multusctl the very paths that its detection looks at.
  "lib/grants.ts": ["cli"],
};

/** Packages that a room may use; the others use none. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  kube: ["@kubernetes/client-node", "@peculiar/x509", "yaml"],
  devices: ["@grpc/grpc-js", "zod"],
  daemon: ["commander", "prom-client", "zod"],
  cli: ["commander", "yaml", "zod"],
  lib: ["@logtape/logtape", "@logtape/file"],
};

/** How far an import goes: only for the checker, when the module is loaded, or when it is asked for. */
type Kind = "type" | "static" | "dynamic";

interface Import {
  readonly to: string;
  readonly kind: Kind;
}

/** The modules of this project and what each imports: files by their path here, packages as `npm:NAME`. */
type Graph = ReadonlyMap<string, readonly Import[]>;

interface InfoModule {
  readonly specifier: string;
  readonly dependencies?: readonly {
    readonly specifier: string;
    readonly isDynamic?: boolean;
    readonly code?: { readonly specifier?: string };
    readonly type?: { readonly specifier?: string };
  }[];
}

function nameOf(specifier: string): string {
  const npm = /^npm:\/?((?:@[^/]+\/)?[^/@]+)/.exec(specifier);
  if (npm !== null) return `npm:${npm[1]}`;
  return specifier.startsWith("file:")
    ? relative(ROOT, fileURLToPath(specifier))
    : specifier;
}

function importsOf({ dependencies = [] }: InfoModule): Import[] {
  return dependencies.flatMap(({ code, type, isDynamic = false }) => {
    const to = code?.specifier ?? type?.specifier;
    const kind = code === undefined ? "type" : isDynamic ? "dynamic" : "static";
    return to === undefined ? [] : [{ to: nameOf(to), kind }];
  });
}

async function listSources(dir: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(ROOT, dir))) {
    const path = join(dir, name);
    if (isDirectory) found.push(...await listSources(path));
    else if (name.endsWith(".ts") && !name.endsWith("_test.ts")) {
      found.push(path);
    }
  }
  return found.sort();
}

/** What is started: the two mains, and what writes them to disk with their grants. */
const PROGRAMS = ["main.ts", "shim.ts"] as const;
const BUILD = "deployments/build.ts";

/** The graph of the programs, the build, and all modules under `lib`. */
async function readGraph(): Promise<Graph> {
  const sources = [...PROGRAMS, BUILD, ...await listSources("lib")];
  const dir = await Deno.makeTempDir({ prefix: "structure" });
  try {
    const entry = join(dir, "entry.ts");
    const lines = sources.map((path) =>
      `import ${JSON.stringify(new URL(join("..", path), import.meta.url))};`
    );
    await Deno.writeTextFile(entry, lines.join("\n"));
    const { stdout, success } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--config", join(ROOT, "deno.json"), entry],
      stderr: "inherit",
    }).output();
    ok(success);
    const { modules }: { modules: InfoModule[] } = JSON.parse(
      new TextDecoder().decode(stdout),
    );
    const graph = new Map(
      modules.map((module) => [nameOf(module.specifier), importsOf(module)]),
    );
    ok(sources.every((path) => graph.has(path)));
    return graph;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

function roomOf(path: string): string | undefined {
  return /^lib\/(\w+)\/[^/]+$/.exec(path)?.[1];
}

/** What is reached from modules by imports of these kinds. */
function reach(
  graph: Graph,
  starts: readonly string[],
  kinds: readonly Kind[],
): ReadonlySet<string> {
  const seen = new Set<string>(starts);
  for (const path of seen) {
    for (const { to, kind } of graph.get(path) ?? []) {
      if (kinds.includes(kind)) seen.add(to);
    }
  }
  return seen;
}

const ALL_KINDS: readonly Kind[] = ["type", "static", "dynamic"];

const graph = await readGraph();

Deno.test("each room imports only the rooms below it", () => {
  const wrong: string[] = [];
  for (const [path, imports] of graph) {
    if (!path.startsWith("lib/")) continue;
    // What lies in lib itself is for all rooms, and knows none, with the exceptions that the table names.
    const room = roomOf(path) ?? path;
    for (const { to } of imports) {
      const target = roomOf(to);
      const isAllowed = target === undefined || target === room ||
        ROOMS[room]?.includes(target) === true;
      if (!isAllowed) wrong.push(`${path} imports ${to}`);
    }
  }
  deepEqual(wrong, []);
});

Deno.test("every room has its rule", async () => {
  const rooms: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(ROOT, "lib"))) {
    if (isDirectory) rooms.push(name);
  }
  const ruled = Object.keys(ROOMS).filter((name) => !name.includes("/"));
  deepEqual(rooms.sort(), ruled.sort());
});

Deno.test("a room uses only the packages that are meant for it", () => {
  const wrong: string[] = [];
  for (const [path, imports] of graph) {
    if (!path.startsWith("lib/")) continue;
    const allowed = PACKAGES[roomOf(path) ?? "lib"] ?? [];
    for (const { to } of imports) {
      const name = /^npm:(.*)$/.exec(to)?.[1];
      if (name !== undefined && !allowed.includes(name)) {
        wrong.push(`${path} imports ${name}`);
      }
    }
  }
  deepEqual(wrong, []);
});

Deno.test("the programs consist of lib, of packages and of what Deno brings", () => {
  const foreign = [...reach(graph, PROGRAMS, ALL_KINDS)].filter((path) =>
    !/^(?:lib\/|npm:|node:|main\.ts$|shim\.ts$)/.test(path)
  );
  deepEqual(foreign, []);
});

Deno.test("main.ts loads daemon and multusctl only when it is that one, and gRPC only when a device is asked for", () => {
  deepEqual([...reach(graph, ["main.ts"], ["static"])], ["main.ts"]);
  const program = ["lib/daemon/program.ts"];
  const daemon = [...reach(graph, program, ["static"])];
  ok(!daemon.includes("npm:@grpc/grpc-js"));
  deepEqual(daemon.filter((path) => roomOf(path) === "cli"), []);
  ok(reach(graph, program, ALL_KINDS).has("npm:@grpc/grpc-js"));
});

Deno.test("what is bundled apart has no module in common with the rest", () => {
  const program = reach(graph, ["lib/daemon/program.ts"], ["static"]);
  const owners = new Map<string, string>();
  const shared: string[] = [];
  for (const part of DAEMON_PARTS.values()) {
    for (const path of reach(graph, [part], ["static"])) {
      if (path.startsWith("node:")) continue;
      const owner = program.has(path) ? "the daemon" : owners.get(path);
      if (owner !== undefined) shared.push(`${path}: ${part} and ${owner}`);
      owners.set(path, part);
    }
  }
  deepEqual(shared, []);
});

Deno.test("every module is part of a program or of the build", () => {
  const used = reach(graph, [...PROGRAMS, BUILD], ALL_KINDS);
  const unused = [...graph.keys()].filter((path) =>
    path.startsWith("lib/") && !used.has(path)
  );
  deepEqual(unused, []);
});

Deno.test("no module is loaded by way of itself", () => {
  const cycles: string[] = [];
  for (const [path, imports] of graph) {
    for (const { to, kind } of imports) {
      if (kind !== "static" || !reach(graph, [to], ["static"]).has(path)) {
        continue;
      }
      cycles.push(`${path} imports ${to}, which leads back`);
    }
  }
  deepEqual(cycles, []);
});

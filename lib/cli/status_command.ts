/**
 * `multusctl status`: what the daemon of this node says of itself, and whether
 * the shim that the runtime executes is the one that belongs to it.
 *
 * Needs: the daemon's socket, read of the CNI directory.
 */
import { join } from "node:path";
import { seenBinDirs } from "../grants.ts";
import { PROGRAM_VERSION } from "../wire/program_version.ts";
import { type Call, type CtlCommand, ExitCode } from "./command.ts";
import { askStatus } from "./daemon_question.ts";
import { type NodeView, viewNode } from "./node_view.ts";
import {
  formatAge,
  type Output,
  OUTPUT_OPTION,
  type Paint,
  painterOf,
  renderOutput,
} from "./output.ts";
import { PROFILE_OPTION } from "./own_profile.ts";
import type { StatusReport } from "./status_schema.ts";
import { renderTable } from "./table.ts";

const HELP =
  `Exits 1 when the daemon does not answer, or answers that it is not ready.

Examples:
  multusctl status
  multusctl status --output json
  kubectl -n kube-system exec ds/kube-multus-ds -- multusctl status`;

/** The command `status`. */
export const STATUS: CtlCommand = {
  arguments: [],
  options: [OUTPUT_OPTION, PROFILE_OPTION],
  help: HELP,
  run: runStatus,
};

async function runStatus({ options, world }: Call): Promise<number> {
  const report = await makeStatusReport(await viewNode(options, world));
  const paint = painterOf(world);
  world.stdout(renderOutput(report, {
    output: options["output"] as Output,
    toText: (value) => renderStatus(value, paint),
  }));
  return report.daemon.ready ? ExitCode.ok : ExitCode.finding;
}

/**
 * Asks the daemon, and looks at the shim.
 *
 * @throws {NoDaemonError} when the daemon does not answer.
 */
export async function makeStatusReport(
  view: NodeView,
): Promise<StatusReport> {
  const daemon = await askStatus(view.socketPath);
  const shim = await findShim(view);
  return {
    multusctl: PROGRAM_VERSION,
    ...(shim === undefined ? {} : { shim }),
    daemon,
  };
}

/** Where install puts it, and under which name. */
const SHIM_NAME = "multus-shim";

async function findShim(
  { profile }: NodeView,
): Promise<StatusReport["shim"]> {
  for (const dir of seenBinDirs(profile)) {
    const path = join(dir, SHIM_NAME);
    const digest = await digestIfThere(path);
    if (digest === undefined) continue;
    const own = await digestIfThere(join(profile.programDir, SHIM_NAME));
    const same = digest === own;
    return { path, same, ...(same ? { version: PROGRAM_VERSION } : {}) };
  }
  return undefined;
}

async function digestIfThere(path: string): Promise<string | undefined> {
  try {
    const bytes = await Deno.readFile(path);
    return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function renderStatus(report: StatusReport, paint: Paint): string {
  const { daemon } = report;
  const blocks = [
    renderTable({ headings: ["What", "Is"], rows: factsOf(report) }),
    renderTable({
      headings: ["Check", "State", "Reason"],
      rows: daemon.checks.map(({ name, ok, reason }) => [
        name,
        ok ? "ok" : "FAILS",
        reason,
      ]),
    }),
    renderTable({
      headings: ["Lane", "Running", "Waiting"],
      rows: Object.entries(daemon.lanes).map(([name, gauge]) => [
        name,
        String(gauge.inFlight),
        String(gauge.queued),
      ]),
    }),
  ];
  return blocks.join("\n").replace(/\bFAILS\b/g, paint("FAILS", "error"))
    .replace(
      /^(ready\s+)(yes|no)$/m,
      (_, label, word) =>
        `${label}${paint(word, word === "yes" ? "ok" : "error")}`,
    );
}

function factsOf({ multusctl, shim, daemon }: StatusReport): string[][] {
  const { configuration, caches, damagedRecords } = daemon;
  return [
    ["daemon", `${daemon.version} on Deno ${daemon.deno}`],
    ["multusctl", multusctl],
    ["shim", describeShim(shim)],
    ["last caller", describeCaller(daemon.lastClient)],
    ["ready", daemon.ready ? "yes" : "no"],
    [
      "up",
      formatAge(Date.now() - Date.parse(daemon.startedAt)),
    ],
    ["daemon configuration", daemon.configPath],
    ...describeConfiguration(configuration),
    ...caches.map(({ resource, isSynced, silentMs }) => [
      `cache of ${resource}`,
      `${isSynced ? "complete" : "not complete"}, ${
        silentMs < 0
          ? "the API server never answered"
          : `last heard of ${formatAge(silentMs)} ago`
      }`,
    ]),
    ["containers attached", String(daemon.containers)],
    ["DELs that wait", String(daemon.pendingTeardowns)],
    ["statuses that wait", String(daemon.pendingStatuses)],
    ["damaged records", damagedRecords.join(", ") || "none"],
  ];
}

function describeShim(shim: StatusReport["shim"]): string {
  if (shim === undefined) return "not installed in the CNI directory";
  return shim.same
    ? `${shim.version} in ${shim.path}`
    : `${shim.path} is of another build: install it again`;
}

/** What the Go library for HTTP calls itself when nobody says otherwise. */
const GO_CLIENT = /^Go-http-client\b/;

function describeCaller(client: string | undefined): string {
  if (client === undefined) return "none yet";
  return GO_CLIENT.test(client) ? `${client}, a shim of the Go Multus` : client;
}

function describeConfiguration(
  configuration: StatusReport["daemon"]["configuration"],
): string[][] {
  if (configuration === undefined) return [];
  const { mode, file, chosen, reason, effective } = configuration;
  if (mode === "off") return [["runtime configuration", "not kept by us"]];
  return [
    [
      "runtime configuration",
      `${file ?? "none"}, ${effective ? "effective" : "NOT effective"}`,
    ],
    ["default network", chosen ?? "none"],
    ["because", reason],
  ];
}

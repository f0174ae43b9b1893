/**
 * `multusctl delete-pending`: has the daemon do now what it would try again
 * later, and says what fails; or gives up a container that can never be undone.
 *
 * Needs: read and write of the state directory, the daemon's socket.
 */
import { type Call, type CtlCommand, ExitCode, UsageError } from "./command.ts";
import type { PendingDelete, PendingReport } from "./delete_pending_schema.ts";
import { type NodeView, viewNode } from "./node_view.ts";
import {
  formatAge,
  type Output,
  OUTPUT_OPTION,
  renderOutput,
  tableOr,
} from "./output.ts";
import { PROFILE_OPTION } from "./own_profile.ts";
import {
  doPending,
  dropPending,
  forgetContainer,
  listPending,
  type Pending,
} from "./pending.ts";
import { type Progress, startProgress } from "./progress.ts";

const HELP =
  `A DEL waits when the daemon did not run, or when a plugin failed. The daemon tries
it again by itself, less and less often; this does all of them once, now.

--forget gives a container up: its record is put aside (quarantine in the state
directory), and what its plugins still hold, such as addresses, stays; doctor
finds it.
Exits 1 when a DEL failed.

Examples:
  multusctl delete-pending --dry-run
  multusctl delete-pending
  multusctl delete-pending --forget 4a5cbd1e0f6d4d0c9d0a5b6d7e8f9012`;

/** The command `delete-pending`. */
export const DELETE_PENDING: CtlCommand = {
  arguments: [],
  options: [
    { syntax: "--dry-run", summary: "only list what waits" },
    { syntax: "--forget <container>", summary: "give this container up" },
    OUTPUT_OPTION,
    PROFILE_OPTION,
  ],
  help: HELP,
  run: runDeletePending,
};

async function runDeletePending({ options, world }: Call): Promise<number> {
  const view = await viewNode(options, world);
  const pending = await listPending(view.stateDir);
  const { forget } = options as { forget?: string };
  using progress = startProgress(world);
  const report: PendingReport = {
    pending: options["dryRun"] === true
      ? pending.map((one) => told(one, "waiting"))
      : forget === undefined
      ? await doAll(pending, view, progress)
      : await giveUp(pending, view, forget),
  };
  progress[Symbol.dispose]();
  world.stdout(renderOutput(report, {
    output: options["output"] as Output,
    toText: renderPending,
  }));
  return report.pending.some(({ outcome }) => outcome === "failed")
    ? ExitCode.finding
    : ExitCode.ok;
}

function told(
  { containerId, pod, leftAt }: Pending,
  outcome: PendingDelete["outcome"],
  reason?: string,
): PendingDelete {
  return {
    containerId,
    ...(pod === undefined ? {} : { pod }),
    leftAt: leftAt.toISOString(),
    outcome,
    ...(reason === undefined ? {} : { reason }),
  };
}

async function doAll(
  pending: readonly Pending[],
  { socketPath, stateDir }: NodeView,
  progress: Progress,
): Promise<PendingDelete[]> {
  const outcomes: PendingDelete[] = [];
  for (const [index, one] of pending.entries()) {
    progress.say(`${index + 1} of ${pending.length}: ${one.containerId}`);
    const reason = await doPending(one, { socketPath, stateDir });
    if (reason === undefined) await dropPending(one);
    outcomes.push(told(one, reason === undefined ? "done" : "failed", reason));
  }
  return outcomes;
}

async function giveUp(
  pending: readonly Pending[],
  { stateDir }: NodeView,
  containerId: string,
): Promise<PendingDelete[]> {
  const own = pending.filter((one) => one.containerId === containerId);
  if (own.length === 0) {
    throw new UsageError(`No DEL waits for this container: ${containerId}`);
  }
  await forgetContainer(own, { stateDir, containerId });
  return own.map((one) => told(one, "forgotten"));
}

function renderPending({ pending }: PendingReport): string {
  const rows = pending.map(({ containerId, pod, leftAt, outcome, reason }) => [
    pod ?? "-",
    containerId,
    formatAge(Date.now() - Date.parse(leftAt)),
    outcome,
    reason ?? "",
  ]);
  const headings = ["Pod", "Container", "Waits for", "Outcome", "Reason"];
  return tableOr({ headings, rows }, "No DEL waits");
}

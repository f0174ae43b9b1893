/**
 * `multusctl doctor`: looks at everything on this node that a pod's networks
 * depend on, and says what is wrong and what to do. It changes nothing.
 *
 * Needs: what its checks need, see `doctor_*.ts`.
 */
import {
  type Call,
  type CliWorld,
  type CtlCommand,
  ExitCode,
} from "./command.ts";
import {
  checkApi,
  checkClock,
  checkCredentials,
  checkProxy,
  checkRbac,
} from "./doctor_api.ts";
import { type DoctorContext, gatherContext } from "./doctor_context.ts";
import { checkAddresses, checkInterfaces } from "./doctor_leftovers.ts";
import {
  checkMasters,
  checkNetworks,
  checkPlugins,
  checkPods,
} from "./doctor_networks.ts";
import {
  checkConfiguration,
  checkDaemon,
  checkDirectories,
  checkNamespaces,
} from "./doctor_node.ts";
import {
  DOCTOR_CHECKS,
  type DoctorFinding,
  type DoctorReport,
  type Finding,
} from "./doctor_schema.ts";
import { type NodeView, viewNode } from "./node_view.ts";
import {
  type Output,
  OUTPUT_OPTION,
  type Paint,
  painterOf,
  renderOutput,
} from "./output.ts";
import { PROFILE_OPTION } from "./own_profile.ts";
import { startProgress } from "./progress.ts";

const HELP =
  `Looks at configurations, directories, plugins, network namespaces, the daemon, the
API server with what the daemon may do there, credentials, clock, proxies, networks
with their masters, the pods' annotations, and at addresses and interfaces that pods
have left. A network that no pod of this node asks for gives warnings only.
Exits 1 when there is an error; warnings alone exit 0.

Examples:
  multusctl doctor
  multusctl doctor --output json
  kubectl -n kube-system exec ds/kube-multus-ds -- multusctl doctor`;

/** The command `doctor`. */
export const DOCTOR: CtlCommand = {
  arguments: [],
  options: [OUTPUT_OPTION, PROFILE_OPTION],
  help: HELP,
  run: runDoctor,
};

/** An API server that answers nothing costs some waits of ten seconds; all the rest is done in one. */
const DOCTOR_MS = 60_000;

type Check = (context: DoctorContext) => Promise<Finding[]>;

const CHECKS: Readonly<Record<typeof DOCTOR_CHECKS[number], Check>> = {
  configuration: checkConfiguration,
  directories: checkDirectories,
  namespaces: checkNamespaces,
  daemon: checkDaemon,
  api: checkApi,
  rbac: checkRbac,
  credentials: checkCredentials,
  clock: checkClock,
  proxy: checkProxy,
  networks: checkNetworks,
  plugins: checkPlugins,
  masters: checkMasters,
  pods: checkPods,
  addresses: checkAddresses,
  interfaces: checkInterfaces,
};

/** Checks that have nothing to say when the API server cannot be asked: one finding says that. */
const ASKS_API: readonly string[] = ["rbac", "clock"];

async function runDoctor({ options, world }: Call): Promise<number> {
  const view = await viewNode(options, world);
  const report = await examine(view, world);
  const paint = painterOf(world);
  world.stdout(renderOutput(report, {
    output: options["output"] as Output,
    toText: (value) => renderReport(value, paint),
  }));
  return report.errors === 0 ? ExitCode.ok : ExitCode.finding;
}

/** Does all checks, one after the other. */
export async function examine(
  view: NodeView,
  world: CliWorld,
): Promise<DoctorReport> {
  using progress = startProgress(world);
  const say = (what: string): void => progress.say(what);
  const signal = AbortSignal.timeout(DOCTOR_MS);
  const context = await gatherContext(view, { world, signal, say });
  await using _link = context.link.value;
  const findings: DoctorFinding[] = [];
  for (const check of DOCTOR_CHECKS) {
    say(`checking ${check}`);
    const isApiDown = findings.some((one) =>
      one.check === "api" && one.severity === "error"
    );
    if (isApiDown && ASKS_API.includes(check)) continue;
    const found = await runCheck(CHECKS[check], context);
    const all = found.length > 0 ? found : [well(check)];
    findings.push(...all.map((one) => ({ check, ...one })));
  }
  const count = (severity: string): number =>
    findings.filter((one) => one.severity === severity).length;
  return {
    node: view.nodeName,
    findings,
    errors: count("error"),
    warnings: count("warning"),
  };
}

function well(check: string): Finding {
  return { severity: "ok", subject: check, message: "as it should be" };
}

/** A check that fails is a finding, and no reason to leave out the others. */
async function runCheck(
  check: Check,
  context: DoctorContext,
): Promise<Finding[]> {
  try {
    return await check(context);
  } catch (error) {
    return [{
      severity: "warning",
      subject: "multusctl",
      message: `This could not be checked: ${
        error instanceof Error ? error.message : error
      }`,
      remedy:
        "Run multusctl in the daemon's container, or as root on the host; multusctl grants shows what it may look at",
    }];
  }
}

function renderReport(report: DoctorReport, paint: Paint): string {
  const { findings, errors, warnings } = report;
  const lines = findings.map(
    ({ check, severity, subject, message, remedy }) => {
      const word = paint(severity.padEnd("warning".length), severity);
      if (severity === "ok") return `${word}  ${check}\n`;
      const more = remedy === undefined ? "" : `${" ".repeat(9)}${remedy}\n`;
      return `${word}  ${check}: ${subject}: ${message}\n${more}`;
    },
  );
  return `${lines.join("")}\n${errors} errors, ${warnings} warnings\n`;
}

/**
 * `multusctl explain`: a dry run of ADD: which networks a pod would get, where
 * each came from, and what each plugin would be told. It changes nothing.
 *
 * Needs: read of the configurations, the API server, read of the CNI
 * directories.
 */
import type { Pod } from "../kube/objects.ts";
import { assertPodName } from "./attachments_command.ts";
import {
  type Call,
  type CliWorld,
  type CtlCommand,
  ExitCode,
  UsageError,
} from "./command.ts";
import { explainPod } from "./explain.ts";
import type { ExplainReport } from "./explain_schema.ts";
import { readInput } from "./input_file.ts";
import { type Manifests, readManifests } from "./manifests.ts";
import {
  type ApiLink,
  connectApi,
  type NodeView,
  readRuntimeConf,
  requireApi,
  viewNode,
} from "./node_view.ts";
import {
  type Output,
  OUTPUT_OPTION,
  type Paint,
  painterOf,
  renderOutput,
} from "./output.ts";
import { PROFILE_OPTION } from "./own_profile.ts";
import { createPluginFinder } from "./plugin_finder.ts";

const HELP =
  `The configuration is what the runtime and the daemon of this node have now. With
--file the pod need not exist; NetworkAttachmentDefinitions in the same file come
before those of the cluster. multusctl may read few directories: see validate.
Exits 1 when ADD would be refused, or a plugin is missing.

Examples:
  multusctl explain default/web-0
  multusctl explain --file - < pod.yaml
  multusctl explain default/web-0 --output json`;

/** The command `explain`. */
export const EXPLAIN: CtlCommand = {
  arguments: [{ syntax: "[pod]", summary: "a pod, as NAMESPACE/NAME" }],
  options: [
    {
      syntax: "-f, --file <file>",
      summary: "a manifest with the pod; - is standard input",
    },
    OUTPUT_OPTION,
    PROFILE_OPTION,
  ],
  help: HELP,
  run: runExplain,
};

/** As long as an operator waits for an API server that does not answer. */
const API_WAIT_MS = 15_000;

async function runExplain({ args, options, world }: Call): Promise<number> {
  const [podName] = args as [string?];
  const { file } = options as { file?: string };
  if ((podName === undefined) === (file === undefined)) {
    throw new UsageError("Name either a pod or a file with one");
  }
  const view = await viewNode(options, world);
  const report = file === undefined
    ? await explainExisting(podName ?? "", view, world)
    : await explainFile(file, view, world);
  const paint = painterOf(world);
  world.stdout(renderOutput(report, {
    output: options["output"] as Output,
    toText: (value) => renderExplanation(value, paint),
  }));
  const isGood = report.error === undefined &&
    report.warnings.every(({ reason }) => reason !== "PluginMissing");
  return isGood ? ExitCode.ok : ExitCode.finding;
}

async function explainExisting(
  podName: string,
  view: NodeView,
  world: CliWorld,
): Promise<ExplainReport> {
  const { namespace, name } = assertPodName(podName);
  await using link = await requireApi(view, world);
  const signal = AbortSignal.timeout(API_WAIT_MS);
  const pod = await link.cluster.getPod(namespace, name, { signal });
  return await explain(pod, { view, link, signal, given: [] });
}

async function explainFile(
  file: string,
  view: NodeView,
  world: CliWorld,
): Promise<ExplainReport> {
  const manifests = readManifests(await readInput(file, world), file);
  await using link = await connectApi(view, world);
  return await explain(onlyPod(manifests, file), {
    view,
    link,
    signal: AbortSignal.timeout(API_WAIT_MS),
    given: manifests.attachments,
  });
}

function onlyPod({ pods }: Manifests, file: string): Pod {
  const [pod] = pods;
  if (pod !== undefined && pods.length === 1) return pod;
  throw new UsageError(
    `Expected one pod, or one thing that makes pods, found ${pods.length}: ${file}`,
  );
}

async function explain(
  pod: Pod,
  { view, link, signal, given }: {
    view: NodeView;
    link: ApiLink | undefined;
    signal: AbortSignal;
    given: Manifests["attachments"];
  },
): Promise<ExplainReport> {
  if (view.confProblem !== undefined) throw new SyntaxError(view.confProblem);
  return await explainPod(pod, {
    runtimeConf: await readRuntimeConf(view),
    daemonConfig: view.profile.daemonConfig,
    cluster: link?.cluster,
    given,
    plugins: createPluginFinder(view.profile),
    signal,
  });
}

function renderExplanation(report: ExplainReport, paint: Paint): string {
  const { pod, configuration, delegates, warnings, error } = report;
  const { daemon, runtime = "no file of Multus in the runtime's directory" } =
    configuration;
  const parts = [
    `Pod ${pod}, by ${daemon} and ${runtime}\n`,
    ...delegates.map((delegate) => renderDelegate(delegate, paint)),
    ...warnings.map(({ network, interface: ifname, message }) =>
      `${paint("warning", "warning")}: ${network} (${ifname}): ${message}\n`
    ),
  ];
  if (error !== undefined) {
    parts.push(`${paint("ADD would be refused", "error")}: ${error}\n`);
  }
  return parts.join("\n");
}

function renderDelegate(
  delegate: ExplainReport["delegates"][number],
  paint: Paint,
): string {
  const { order, network, from, cniArgs, defaultRoute, plugins } = delegate;
  const lines = [
    `${order}. ${delegate.interface}: ${network}`,
    `   from           ${from}`,
    `   default route  IPv4 ${defaultRoute.ipv4}; IPv6 ${defaultRoute.ipv6}`,
    `   CNI_ARGS       ${cniArgs}`,
    ...plugins.flatMap(({ type, path, problem, input }) => [
      `   plugin         ${type}: ${
        problem === undefined
          ? path ?? "done by the daemon itself"
          : paint(problem, "error")
      }`,
      `   gets           ${input}`,
    ]),
  ];
  return `${lines.join("\n")}\n`;
}

/**
 * `multusctl attachments`: what is attached to the pods of this node, by the
 * records that DEL will go by. It reads them itself, so it works without a
 * daemon, and whatever the API server says.
 *
 * Needs: read of the state directory.
 */
import type { Result } from "../cni/result.ts";
import {
  type AttachmentRecord,
  createRecords,
  type RecordedAttachment,
} from "../daemon/records.ts";
import type {
  AttachmentsReport,
  DamagedRecord,
  ListedAttachment,
} from "./attachments_schema.ts";
import {
  type Call,
  type CliWorld,
  type CtlCommand,
  ExitCode,
  UsageError,
} from "./command.ts";
import { viewNode } from "./node_view.ts";
import {
  formatAge,
  type Output,
  OUTPUT_OPTION,
  renderOutput,
  tableOr,
} from "./output.ts";
import { PROFILE_OPTION } from "./own_profile.ts";

const HELP =
  `States: done (it is there), begun (it may be there: an ADD runs, or was
interrupted), todo (not begun), undone (it is gone).
Exits 1 when a record cannot be read.

With --watch it goes on until it is interrupted, and prints anew when something
has changed; as JSON one line each.

Examples:
  multusctl attachments
  multusctl attachments --pod default/web-0
  multusctl attachments --watch
  multusctl attachments --output json`;

/** The command `attachments`. */
export const ATTACHMENTS: CtlCommand = {
  arguments: [],
  options: [
    { syntax: "--pod <namespace/name>", summary: "only those of this pod" },
    { syntax: "--watch", summary: "go on, and print anew what has changed" },
    OUTPUT_OPTION,
    PROFILE_OPTION,
  ],
  help: HELP,
  run: runAttachments,
};

/** There are no records, nor a place for them. */
export class NoStateDirError extends Error {
  /** The name of the class. */
  override readonly name = "NoStateDirError";

  /** Names the directory. */
  constructor(dir: string, options: { cause: unknown }) {
    super(
      `There is no state directory: has a Multus daemon ever run on this node, and is its cniDir mounted here? ${dir}`,
      options,
    );
  }
}

/** Somebody looks on: a second is soon enough, and a node's records are read within milliseconds. */
const LOOK_MS = 1_000;

async function runAttachments({ options, world }: Call): Promise<number> {
  const { pod } = options as { pod?: string };
  if (pod !== undefined) assertPodName(pod);
  const { stateDir } = await viewNode(options, world);
  const output = options["output"] as Output;
  if (options["watch"] === true) {
    return await watch({ stateDir, pod, output, world });
  }
  const report = await listAttachments(stateDir, pod);
  world.stdout(renderOutput(report, { output, toText: renderAttachments }));
  return report.damaged.length === 0 ? ExitCode.ok : ExitCode.finding;
}

/**
 * Reads a pod's name.
 *
 * @throws {UsageError} when it is none.
 */
export function assertPodName(
  text: string,
): { namespace: string; name: string } {
  const [namespace = "", name = "", ...rest] = text.split("/");
  if (namespace !== "" && name !== "" && rest.length === 0) {
    return { namespace, name };
  }
  throw new UsageError(`A pod is named as NAMESPACE/NAME, found: ${text}`);
}

async function watch(
  { stateDir, pod, output, world }: {
    stateDir: string;
    pod: string | undefined;
    output: Output;
    world: CliWorld;
  },
): Promise<number> {
  const clear = world.isTerminal && output === "table" ? "\x1b[H\x1b[2J" : "";
  for (let last = "";;) {
    const report = await listAttachments(stateDir, pod);
    const key = JSON.stringify(report);
    // Ages pass on a terminal; a program hears of changes only.
    if (key !== last || clear !== "") {
      const text = output === "json"
        ? `${key}\n`
        : renderOutput(report, { output, toText: renderAttachments });
      world.stdout(`${clear}${text}`);
    }
    last = key;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/**
 * What the records of a state directory hold, in order of pod and interface.
 *
 * @throws {NoStateDirError} when there is none.
 */
export async function listAttachments(
  stateDir: string,
  pod?: string,
): Promise<AttachmentsReport> {
  const attachments: ListedAttachment[] = [];
  const damaged: DamagedRecord[] = [];
  try {
    for await (const listed of createRecords({ dir: stateDir }).list()) {
      const { containerId } = listed;
      if ("error" in listed) {
        damaged.push({ containerId, reason: listed.error.reason });
      } else attachments.push(...toListed(listed.record));
    }
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new NoStateDirError(stateDir, { cause });
  }
  const wanted = attachments.filter((one) =>
    pod === undefined || one.pod === pod
  );
  return { attachments: wanted.sort(byPod), damaged };
}

function byPod(a: ListedAttachment, b: ListedAttachment): number {
  const key = ({ pod = "", containerId }: ListedAttachment): string =>
    `${pod} ${containerId}`;
  return key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0;
}

function toListed(record: AttachmentRecord): ListedAttachment[] {
  const { containerId, pod } = record;
  return record.attachments.map((attachment) => {
    const { result, source, recordedAt } = attachment;
    const mac = macOf(attachment, result);
    return {
      ...(pod === undefined ? {} : { pod: `${pod.namespace}/${pod.name}` }),
      containerId,
      network: attachment.name,
      interface: attachment.ifname,
      addresses: result?.ips.map(({ address }) => address) ?? [],
      ...(mac === undefined ? {} : { mac }),
      state: attachment.state,
      isDefault: attachment.isDefault,
      ...(source === undefined ? {} : { source }),
      ...(recordedAt === undefined ? {} : { recordedAt }),
    };
  });
}

function macOf(
  { ifname }: RecordedAttachment,
  result: Result | undefined,
): string | undefined {
  return result?.interfaces.find(({ name, sandbox }) =>
    name === ifname && (sandbox ?? "") !== ""
  )?.mac;
}

function renderAttachments(report: AttachmentsReport): string {
  const rows = report.attachments.map((one) => [
    one.pod ?? `container ${one.containerId.slice(0, 12)}`,
    one.network,
    one.interface,
    one.addresses.join(",") || "-",
    one.state,
    one.recordedAt === undefined
      ? "-"
      : formatAge(Date.now() - Date.parse(one.recordedAt)),
  ]);
  const headings = [
    "Pod",
    "Network",
    "Interface",
    "Addresses",
    "State",
    "Age",
  ];
  const damaged = report.damaged.map(({ containerId, reason }) =>
    `The record of container ${containerId} cannot be read: ${reason}\n`
  );
  return tableOr({ headings, rows }, "Nothing is attached") + damaged.join("");
}

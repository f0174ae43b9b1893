/**
 * Everything that somebody needs who is to find out from afar what is wrong
 * with a node: what the daemon says, what the doctor finds, configurations,
 * networks, records, the end of the log. Secrets are taken out of each file; a
 * part that cannot be read is a file that says so.
 *
 * Needs: what doctor, status and attachments need, and read of the log.
 */
import { basename } from "node:path";
import { listConfFiles } from "../cni/conf_dir.ts";
import { createRecords } from "../daemon/records.ts";
import { PROGRAM_VERSION } from "../wire/program_version.ts";
import { decodeConfig } from "../wire/request.ts";
import { listAttachments } from "./attachments_command.ts";
import type { CliWorld } from "./command.ts";
import { gatherContext } from "./doctor_context.ts";
import { examine } from "./doctor_command.ts";
import type { NodeView } from "./node_view.ts";
import { listPending } from "./pending.ts";
import { redactText, redactValue } from "./secrets.ts";
import { makeStatusReport } from "./status_command.ts";
import type { TarFile } from "./tar.ts";

/** A day of a busy node; more than the last part of it nobody reads. */
const LOG_BYTES_MAX = 2 * 1024 * 1024;

/** Gathering asks the API server for lists; the doctor has its own bound. */
const GATHER_MS = 60_000;

const README = `What multusctl bundle has gathered on this node.

about.json        versions, when, which node
doctor.json       what multusctl doctor finds
status.json       what the daemon says of itself
attachments.json  what is attached, by the records
records.json      the records themselves
pending.json      DELs that wait
networks.json     NetworkAttachmentDefinitions and default networks, as they are understood
pods.json         the pods of this node, with the annotations that Multus reads
links.json        the node's links
profile.json      where things are on this node
daemon-config.json, net.d/, multus.net.d/   configurations
multus.log        the end of the daemon's log file, where it writes one

Secrets are taken out, "(removed)" stands in their place. Names and addresses
of pods and networks are in it: look through it before you publish it.
`;

/** Gathers the files; `say` tells what is being done. */
export async function gatherBundle(
  view: NodeView,
  { world, say, now }: {
    world: CliWorld;
    say: (what: string) => void;
    now: Date;
  },
): Promise<TarFile[]> {
  const { stateDir, profile, nodeName } = view;
  const about = {
    multusctl: PROGRAM_VERSION,
    deno: Deno.version.deno,
    platform: Deno.build.target,
    node: nodeName,
    at: now.toISOString(),
  };
  say("asking the daemon");
  const files: TarFile[] = [
    { name: "README.txt", text: README },
    await jsonFile("about.json", () => Promise.resolve(about)),
    await jsonFile("status.json", () => makeStatusReport(view)),
    await jsonFile("attachments.json", () => listAttachments(stateDir)),
    await jsonFile("records.json", () => listRecords(stateDir)),
    await jsonFile("pending.json", () => listPendingCalls(stateDir)),
    await jsonFile("profile.json", () => Promise.resolve(profile)),
    await textFile("daemon-config.json", profile.daemonConfig),
    ...await confFiles("net.d", profile.cniConfDir),
    ...await confFiles("multus.net.d", profile.multusConfDir),
  ];
  say("examining the node");
  files.push(await jsonFile("doctor.json", () => examine(view, world)));
  files.push(...await clusterFiles(view, { world, say }));
  if (profile.logFile !== undefined) {
    files.push(await logFile(profile.logFile));
  }
  return files;
}

async function clusterFiles(
  view: NodeView,
  { world, say }: { world: CliWorld; say: (what: string) => void },
): Promise<TarFile[]> {
  const signal = AbortSignal.timeout(GATHER_MS);
  const context = await gatherContext(view, { world, signal, say });
  await using _link = context.link.value;
  const { networks, pods, kernelLinks } = context;
  return [
    await jsonFile("networks.json", () => Promise.resolve(networks)),
    await jsonFile("pods.json", () => Promise.resolve(pods)),
    await jsonFile("links.json", () => Promise.resolve(kernelLinks)),
  ];
}

/** With configurations as text, in which secrets are found. */
async function listPendingCalls(stateDir: string): Promise<unknown[]> {
  const pending = await listPending(stateDir);
  return pending.map(({ request, ...rest }) => ({
    ...rest,
    ...(request === undefined
      ? {}
      : { env: request.env, config: decodeConfig(request) }),
  }));
}

async function listRecords(stateDir: string): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const listed of createRecords({ dir: stateDir }).list()) {
    found.push(
      "record" in listed ? listed.record : {
        containerId: listed.containerId,
        damage: listed.error.message,
      },
    );
  }
  return found;
}

async function jsonFile(
  name: string,
  read: () => Promise<unknown>,
): Promise<TarFile> {
  return {
    name,
    text: await orReason(async () => {
      // Sets and the like as JSON has them, then without secrets.
      const value = JSON.parse(JSON.stringify(await read()));
      return `${JSON.stringify(redactValue(value), null, 2)}\n`;
    }),
  };
}

async function textFile(name: string, path: string): Promise<TarFile> {
  const read = (): Promise<string> => Deno.readTextFile(path);
  return { name, text: await orReason(async () => redactText(await read())) };
}

async function orReason(read: () => Promise<string>): Promise<string> {
  try {
    return await read();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return `Not there: ${redactText(reason)}\n`;
  }
}

/** More configurations than a runtime would look at are a mistake. */
const CONF_FILES_MAX = 100;

async function confFiles(name: string, dir: string): Promise<TarFile[]> {
  const paths = await listConfFiles(dir).catch((): string[] => []);
  const files: TarFile[] = [];
  for (const path of paths.slice(0, CONF_FILES_MAX)) {
    files.push(await textFile(`${name}/${basename(path)}`.slice(0, 100), path));
  }
  return files;
}

async function logFile(path: string): Promise<TarFile> {
  const text = await orReason(async () => {
    using file = await Deno.open(path, { read: true });
    const { size } = await file.stat();
    await file.seek(Math.max(0, size - LOG_BYTES_MAX), Deno.SeekMode.Start);
    const bytes = new Uint8Array(Math.min(size, LOG_BYTES_MAX));
    let length = 0;
    while (length < bytes.length) {
      const count = await file.read(bytes.subarray(length));
      if (count === null) break;
      length += count;
    }
    const lines = new TextDecoder().decode(bytes.subarray(0, length))
      .split("\n");
    return lines.map(redactText).join("\n");
  });
  return { name: "multus.log", text };
}

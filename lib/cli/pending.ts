/**
 * The DELs that could not be done, as they lie in the spool directory, seen
 * and worked on from outside the daemon: it is asked to do them, as a runtime
 * would ask, so that two never undo the same container at once.
 *
 * Needs: read of the state directory, the daemon's socket; write of the state
 * directory to forget one.
 */
import { join } from "node:path";
import { parseCniArgs } from "../cni/args.ts";
import { readErrorDocument } from "../cni/error.ts";
import { setMember } from "../cni/json_text.ts";
import { createRecords } from "../daemon/records.ts";
import { spoolDirIn } from "../wire/places.ts";
import {
  CNI_ROUTE,
  type CniRequest,
  decodeConfig,
  decodeRequest,
  encodeConfig,
  encodeRequest,
} from "../wire/request.ts";
import { parseSpoolName, SPOOL_COUNT_MAX } from "../wire/spool_file.ts";
import { askDaemon } from "./daemon_question.ts";

/** A DEL that waits. */
export interface Pending {
  /** Its file. */
  readonly path: string;
  /** The container. */
  readonly containerId: string;
  /** `<namespace>/<name>`, where the runtime said it. */
  readonly pod?: string;
  /** When it was left. */
  readonly leftAt: Date;
  /** What it is; absent when the file cannot be read. */
  readonly request?: CniRequest;
}

/** Entries that the daemon is working on lie in here. */
const TAKEN = "taken";

/** What waits, oldest first; without a spool directory, nothing. */
export async function listPending(stateDir: string): Promise<Pending[]> {
  const dir = spoolDirIn(stateDir);
  const found: Pending[] = [];
  for (const place of [dir, join(dir, TAKEN)]) {
    for (const name of await namesIn(place)) {
      const pending = await readPending(place, name);
      if (pending !== undefined) found.push(pending);
    }
  }
  return found.sort((a, b) => a.leftAt.getTime() - b.leftAt.getTime());
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(dir));
    return entries.map(({ name }) => name).slice(0, SPOOL_COUNT_MAX);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

async function readPending(
  dir: string,
  name: string,
): Promise<Pending | undefined> {
  const parsed = parseSpoolName(name);
  if (parsed === undefined) return undefined;
  const path = join(dir, name);
  try {
    const { mtime } = await Deno.stat(path);
    const request = decodeIfPossible(await Deno.readTextFile(path));
    const pod = request === undefined ? undefined : podOf(request);
    return {
      path,
      containerId: request?.env["CNI_CONTAINERID"] ?? parsed.containerId,
      leftAt: mtime ?? new Date(0),
      ...(pod === undefined ? {} : { pod }),
      ...(request === undefined ? {} : { request }),
    };
  } catch (error) {
    // Done in this moment.
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function decodeIfPossible(text: string): CniRequest | undefined {
  try {
    return decodeRequest(text);
  } catch {
    return undefined;
  }
}

function podOf({ env }: CniRequest): string | undefined {
  try {
    const args = new Map(parseCniArgs(env["CNI_ARGS"] ?? ""));
    const name = args.get("K8S_POD_NAME");
    return name === undefined
      ? undefined
      : `${args.get("K8S_POD_NAMESPACE") ?? ""}/${name}`;
  } catch {
    return undefined;
  }
}

/** The daemon ends a request after 160 s, and undoing has 30 s of its own. */
const DEL_WAIT_MS = 200_000;

/**
 * Asks the daemon to do a DEL now; why it failed, or undefined when it is done.
 *
 * @throws {NoDaemonError} when it does not answer.
 */
export async function doPending(
  { request }: Pending,
  { socketPath, stateDir }: { socketPath: string; stateDir: string },
): Promise<string | undefined> {
  if (request === undefined) {
    return "The file cannot be read: the daemon puts it away as junk";
  }
  const { interfaceAttributes: _, ...rest } = request;
  const body = encodeRequest({ ...rest, config: tellingErrors(request) });
  const { status, body: answer } = await askDaemon(
    { socketPath, route: CNI_ROUTE, body },
    DEL_WAIT_MS,
  );
  if (status !== 200) return readErrorDocument(answer)?.msg ?? answer.trim();
  return await findRest(request, stateDir);
}

/** Without it a DEL is answered well and kept, whatever becomes of it. */
function tellingErrors(request: CniRequest): string {
  const text = setMember(decodeConfig(request), "retryDeleteOnError", "true");
  return encodeConfig(new TextEncoder().encode(text));
}

/** A daemon whose configuration says otherwise keeps errors to itself; the record tells. */
async function findRest(
  { env }: CniRequest,
  stateDir: string,
): Promise<string | undefined> {
  const containerId = env["CNI_CONTAINERID"] ?? "";
  const record = await createRecords({ dir: stateDir }).read(containerId);
  const rest = record?.attachments.filter(({ state }) =>
    state === "begun" || state === "done"
  ).map(({ name, ifname }) => `${ifname} (${name})`);
  return rest === undefined || rest.length === 0
    ? undefined
    : `Not undone: ${rest.join(", ")}; the daemon's log says why`;
}

/** Takes a DEL off the list. One that the daemon did or dropped meanwhile is no error. */
export async function dropPending({ path }: Pending): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Gives a container up: its DELs are taken off the list, and its record is put aside. */
export async function forgetContainer(
  pending: readonly Pending[],
  { stateDir, containerId }: { stateDir: string; containerId: string },
): Promise<void> {
  await createRecords({ dir: stateDir }).quarantine(containerId);
  for (const one of pending) await dropPending(one);
}

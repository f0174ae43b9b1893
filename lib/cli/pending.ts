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
  /** Where its file may be: the daemon moves it aside while it works on it. */
  readonly paths: readonly string[];
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
  const places = [dir, join(dir, TAKEN)];
  // The daemon moves entries to and fro: what goes back while the second is listed is seen in the third look.
  const names = new Set<string>();
  for (const place of [...places, dir]) {
    for (const name of await namesIn(place)) names.add(name);
  }
  const found: Pending[] = [];
  for (const name of names) {
    const pending = await readPending([...places, dir], name);
    if (pending !== undefined) found.push(pending);
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
  places: readonly string[],
  name: string,
): Promise<Pending | undefined> {
  const parsed = parseSpoolName(name);
  if (parsed === undefined) return undefined;
  const file = await readFirst(places.map((place) => join(place, name)));
  if (file === undefined) return undefined;
  const request = decodeIfPossible(file.text);
  const pod = request === undefined ? undefined : podOf(request);
  return {
    paths: [...new Set(places)].map((place) => join(place, name)),
    containerId: request?.env["CNI_CONTAINERID"] ?? parsed.containerId,
    leftAt: file.mtime,
    ...(pod === undefined ? {} : { pod }),
    ...(request === undefined ? {} : { request }),
  };
}

/** The first of these files that is there; one that is done in this moment is in none of the places. */
async function readFirst(
  paths: readonly string[],
): Promise<{ text: string; mtime: Date } | undefined> {
  for (const path of paths) {
    try {
      const { mtime } = await Deno.stat(path);
      const text = await Deno.readTextFile(path);
      return { text, mtime: mtime ?? new Date(0) };
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return undefined;
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
export async function dropPending({ paths }: Pending): Promise<void> {
  for (const path of paths) {
    try {
      await Deno.remove(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
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

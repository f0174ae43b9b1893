/**
 * Installs the scripted plugin `tests/noop_plugin` (its head says what it can be told) and reads back
 * what it was given.
 */
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("./noop_plugin", import.meta.url));
/** How long a process may take until it shows a sign of life; a busy machine needs seconds. */
const MARK_WAIT_MS = 20_000;
/** How often is looked. */
const MARK_LOOK_MS = 2;

/** One call of a scripted plugin. */
export interface NoopCall {
  /** The name under which it was called. */
  readonly type: string;
  /** CNI_COMMAND. */
  readonly command: string;
  /** Its process. */
  readonly pid: number;
  /** The CNI variables, those of tracing, and PATH, as far as they were set. */
  readonly env: Readonly<Record<string, string>>;
  /** What it read, to the byte. */
  readonly stdin: string;
}

/** A directory of scripted plugins that goes when it is disposed of. */
export interface NoopPlugins extends AsyncDisposable {
  /** The directory, for CNI_PATH. */
  readonly dir: string;
  /** Puts a plugin there, or tells one that is there something else; scripts by command, or `any`. */
  install(
    type: string,
    scripts?: Readonly<Record<string, string>>,
  ): Promise<string>;
  /** The calls so far, in the order in which they began. */
  calls(): Promise<NoopCall[]>;
  /** Returns when a plugin has said `mark NAME`. */
  marked(type: string, name: string): Promise<void>;
}

/** Makes a directory whose plugins write down their calls. */
export async function createNoopPlugins(): Promise<NoopPlugins> {
  const dir = await Deno.makeTempDir({ prefix: "noop" });
  await Deno.mkdir(`${dir}/calls`);
  return {
    dir,
    install: (type, scripts = {}) => installNoopPlugin(dir, type, scripts),
    calls: () => readCalls(dir),
    marked: (type, name) => waitForFile(`${dir}/${type}.mark.${name}`),
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

/** Puts a scripted plugin into a directory; gives its path. */
export async function installNoopPlugin(
  dir: string,
  type: string,
  scripts: Readonly<Record<string, string>>,
): Promise<string> {
  const path = `${dir}/${type}`;
  await Deno.copyFile(SOURCE, path);
  await Deno.chmod(path, 0o755);
  await Deno.mkdir(`${path}.d`, { recursive: true });
  for (const [command, script] of Object.entries(scripts)) {
    await Deno.writeTextFile(`${path}.d/${command}`, script);
  }
  return path;
}

/** The calls written down in a directory, in the order in which they began. */
export async function readCalls(dir: string): Promise<NoopCall[]> {
  const order = await Deno.readTextFile(`${dir}/calls/order`).catch(() => "");
  const names = order.split("\n").filter((name) => name !== "");
  return await Promise.all(
    names.map(async (name) =>
      readCall(await Deno.readTextFile(`${dir}/calls/${name}`))
    ),
  );
}

/** Returns when the file is there. */
export async function waitForFile(path: string): Promise<void> {
  const end = performance.now() + MARK_WAIT_MS;
  while (performance.now() < end) {
    try {
      await Deno.lstat(path);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, MARK_LOOK_MS));
    }
  }
  throw new DOMException(`Never appeared: ${path}`, "TimeoutError");
}

function readCall(text: string): NoopCall {
  const end = text.indexOf("\n\n");
  const entries = text.slice(0, end).split("\n").map(
    (line): [string, string] => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)];
    },
  );
  const { TYPE: type = "", PID: pid = "", ...env } = Object.fromEntries(
    entries,
  );
  return {
    type,
    command: env.CNI_COMMAND ?? "",
    pid: Number(pid),
    env,
    stdin: text.slice(end + 2),
  };
}

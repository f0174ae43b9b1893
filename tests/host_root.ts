/**
 * A host's root in small, as a directory to chroot into: a shell with what it needs, the directories
 * that are given, and `delegate-exec` written for it. Needs root, because chroot does.
 */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { renderDelegateExec } from "../lib/host/libexec.ts";

const LIBEXEC = fileURLToPath(
  new URL("../deployments/libexec", import.meta.url),
);
/** What plugins that are shell scripts need, `tests/noop_plugin` too. */
const PROGRAMS = ["/bin/sh", "/bin/cat", "/bin/sleep", "/bin/mkdir"];

/** The directory; it goes when it is disposed of. */
export interface HostRoot extends AsyncDisposable {
  /** Where it is in this process' root. */
  readonly path: string;
  /** The script written for it, outside of it. */
  readonly delegateExec: string;
  /** Writes a file with its directories; the path is the host's. */
  write(path: string, text: string, mode: number): Promise<void>;
  /** Makes a link with its directories; both are the host's. */
  link(target: string, path: string): Promise<void>;
}

/** Makes one; plugins are in `/opt/cni/bin` unless told otherwise. */
export async function createHostRoot(
  { pluginDirs = ["/opt/cni/bin"] }: { pluginDirs?: readonly string[] } = {},
): Promise<HostRoot> {
  const dir = await Deno.realPath(await Deno.makeTempDir({ prefix: "host" }));
  const path = `${dir}/root`;
  const make = (file: string): Promise<void> =>
    Deno.mkdir(dirname(path + file), { recursive: true });
  for (const file of await filesOf(PROGRAMS)) {
    await make(file);
    await Deno.copyFile(file, path + file);
  }
  await Deno.mkdir(`${path}/dev`);
  await Deno.writeTextFile(`${path}/dev/null`, ""); // A file does for what shells throw away.
  const template = await Deno.readTextFile(`${LIBEXEC}/delegate-exec`);
  const delegateExec = `${dir}/delegate-exec`;
  await Deno.writeTextFile(
    delegateExec,
    renderDelegateExec(template, { hostRoot: path, pluginDirs }),
    { mode: 0o755 },
  );
  return {
    path,
    delegateExec,
    write: async (file, text, mode) => {
      await make(file);
      await Deno.writeTextFile(path + file, text);
      await Deno.chmod(path + file, mode);
    },
    link: async (target, file) => {
      await make(file);
      await Deno.symlink(target, path + file);
    },
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

/** The programs and the libraries that they are linked with. */
async function filesOf(programs: readonly string[]): Promise<string[]> {
  const { stdout } = await new Deno.Command("/usr/bin/ldd", {
    args: [...programs],
  }).output();
  const libraries = new TextDecoder().decode(stdout).matchAll(
    /(?:=>\s*|^\s+)(\/\S+) \(/gm,
  );
  return [
    ...new Set([...programs, ...[...libraries].map(([, file = ""]) => file)]),
  ];
}

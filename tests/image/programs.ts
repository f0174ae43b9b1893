/**
 * The part of Debian that an image or a host has, made from this machine's
 * own files: Debian itself cannot be had in a test. Programs come with the
 * libraries that they are linked with; directories are laid out as Debian's.
 */
import { dirname, join } from "node:path";

/** What `deployments/Dockerfile` counts on from Debian, iproute2 and util-linux. */
export const IMAGE_PROGRAMS: readonly string[] = [
  "/usr/bin/cat",
  "/usr/bin/env",
  "/usr/bin/nsenter",
  "/usr/bin/readlink",
  "/usr/bin/setpriv",
  "/usr/bin/setsid",
  "/usr/bin/sh",
  "/usr/bin/sleep",
  "/usr/sbin/chroot",
  "/usr/sbin/ip",
];

/** What a host's shim and plugins need. */
export const HOST_PROGRAMS: readonly string[] = ["/usr/bin/cat", "/usr/bin/sh"];

/** Directories that are links in Debian, and so in images. */
const LINKS: readonly (readonly [path: string, target: string])[] = [
  ["bin", "usr/bin"],
  ["sbin", "usr/sbin"],
  ["lib", "usr/lib"],
  ["lib64", "usr/lib64"],
];

/** Lays out a root as Debian has it, with these programs and the libraries of these files. */
export async function layDebian(
  root: string,
  programs: readonly string[],
  linked: readonly string[] = [],
): Promise<void> {
  const dirs = ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "run", "var"];
  for (const dir of [...dirs, "dev", "proc", "tmp"]) {
    await Deno.mkdir(join(root, dir), { recursive: true });
  }
  for (const [path, target] of LINKS) {
    await Deno.symlink(target, join(root, path));
  }
  await Deno.symlink("/run", join(root, "var/run"));
  for (
    const path of [...programs, ...await librariesOf([...programs, ...linked])]
  ) {
    const target = join(root, path);
    await Deno.mkdir(dirname(target), { recursive: true });
    await Deno.copyFile(path, target);
  }
}

/** The libraries, the loader among them, that programs are linked with; static ones have none. */
async function librariesOf(programs: readonly string[]): Promise<Set<string>> {
  const { stdout } = await new Deno.Command("/usr/bin/ldd", {
    args: [...programs],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).output();
  const text = new TextDecoder().decode(stdout);
  const found = text.matchAll(/(?:=>\s*|^\s+)(\/\S+) \(/gm);
  return new Set([...found].map(([, path = ""]) => path));
}

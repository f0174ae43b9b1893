/**
 * What `multusctl install` writes besides programs: `00-multus.conf` as the
 * entrypoint of the user's guide does, by the same rules as the daemon; or
 * the daemon's configuration, for the daemon to do it and to see to it as
 * long as it runs.
 *
 * Needs read of the directory with the default network's configuration, and
 * read and write of the one with ours.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { type JsonText, removeMember, setMember } from "../cni/json_text.ts";
import { chooseConf, findOutSorting } from "../daemon/auto_config_choice.ts";
import { OWN_FILE } from "../daemon/auto_config.ts";
import {
  readCandidates,
  readOwnFile,
  readSource,
  writeOwnFile,
} from "../daemon/auto_config_files.ts";
import {
  assertMultusConf,
  type DefaultNetwork,
  renderMultusConf,
} from "../daemon/auto_config_render.ts";
import { type DaemonConf, parseDaemonConf } from "../daemon/configuration.ts";
import { loadConfFile } from "../cni/conf_dir.ts";
import { syncDir, writeFileAtomic } from "../host/atomic_file.ts";
import { hostName } from "./node_dirs.ts";
import { lookAt } from "./install_file.ts";
import type { Installation, Renaming } from "./installation.ts";
import type { InstallOptions } from "./install_options.ts";

/** No configuration can be written: there is nothing to write it around, or it would have no effect. */
export class InstallConfError extends Error {
  /** The name of the class. */
  override readonly name = "InstallConfError";
}

/** Where configurations are, as this process sees it. */
export interface ConfDirs {
  /** The host's root; `/` outside a pod. */
  readonly hostRoot: string;
  /** Where the container runtime looks for configurations. */
  readonly confDir: string;
}

/** What a renamed file's name ends in, so that no runtime takes it for a configuration. */
const RENAMED_EXTENSION = ".old";

/** The daemon's configuration holds no secret, and operators read it. */
const DAEMON_CONFIG_MODE = 0o644;

/**
 * Writes what the options ask for, and says what was done.
 *
 * @throws {InstallConfError} when there is no default network to write a configuration around.
 * @throws {CniError} when a configuration is not what it should be.
 */
export async function installConf(
  installation: Installation,
  options: { readonly asked: InstallOptions; readonly dirs: ConfDirs },
  say: (line: string) => void,
): Promise<void> {
  const { asked, dirs } = options;
  const conf = confOf(asked, dirs);
  if (asked.daemonConfig !== undefined) {
    say(await writeDaemonConfig(asked.daemonConfig, asked.keys));
    return;
  }
  if (asked.confFile === undefined) return;
  const isGenerated = asked.confFile === "auto";
  say(
    isGenerated
      ? await generate(installation, { conf, asked, dirs })
      : await copy(asked.confFile, { conf, dirs }),
  );
  const name = isGenerated ? OWN_FILE : basename(asked.confFile);
  await warnIfOutSorted(join(dirs.confDir, name), say);
}

/** The daemon's configuration with the same keys: what is wrong with one is said here already. */
function confOf(asked: InstallOptions, dirs: ConfDirs): DaemonConf {
  const overrides = { cniConfigDir: dirs.confDir, ...asked.keys };
  return parseDaemonConf("{}", {
    path: "the command line",
    flags: { configPath: "", isConfigGiven: false, overrides },
  });
}

async function writeDaemonConfig(
  path: string,
  keys: InstallOptions["keys"],
): Promise<string> {
  const before = await lookAt(path) === undefined
    ? undefined
    : await Deno.readTextFile(path);
  let text: JsonText = before ?? "{}\n";
  for (const [key, value] of Object.entries(keys)) {
    text = setMember(text, key, JSON.stringify(value));
  }
  // What the operator wrote there by hand may be wrong: better told now than by a daemon that does not start.
  parseDaemonConf(text, {
    path,
    flags: { configPath: path, isConfigGiven: true, overrides: {} },
  });
  if (text === before) return `${path}: unchanged`;
  await writeFileAtomic(path, text, { mode: DAEMON_CONFIG_MODE });
  return `${path}: written; the daemon reads it when it starts, or on SIGHUP`;
}

interface GenerateOptions {
  readonly conf: DaemonConf;
  readonly asked: InstallOptions;
  readonly dirs: ConfDirs;
}

async function generate(
  installation: Installation,
  options: GenerateOptions,
): Promise<string> {
  const { conf, asked, dirs } = options;
  const dir = asked.autoconfDir ?? dirs.confDir;
  const { network, reason } = await findNetwork(installation, dir, options);
  const rendered = renderMultusConf(conf, network);
  const text = asked.renamesConfFile ? inline(rendered, network) : rendered;
  assertMultusConf(text, { name: OWN_FILE, conf });
  const outcome = await place(join(dirs.confDir, OWN_FILE), text);
  const name = basename(network.path);
  const said =
    `${OWN_FILE}: ${outcome}; the default network is ${name}: ${reason}`;
  if (!asked.renamesConfFile) return said;
  return `${said}\n${await rename(installation, network.path, dirs)}`;
}

interface FoundNetwork {
  readonly network: DefaultNetwork;
  readonly reason: string;
}

/** Looks for the default network as the daemon does; a file that an earlier run renamed counts under its old name. */
async function findNetwork(
  installation: Installation,
  dir: string,
  { conf, asked, dirs }: GenerateOptions,
): Promise<FoundNetwork> {
  const pinned = conf.multusMasterCNI;
  const choice = chooseConf(await readCandidates(dir, pinned), {
    dir,
    ...(pinned !== undefined && { pinned }),
  });
  if (choice.kind === "chosen") {
    const { path, list, reason } = choice;
    return { network: { path, list }, reason };
  }
  const renamed = asked.renamesConfFile
    ? findRenamed(installation, dir, dirs.hostRoot)
    : undefined;
  if (renamed === undefined) throw new InstallConfError(choice.reason);
  const list = await loadConfFile(renamed);
  return {
    network: { path: renamed, list },
    reason: "that is what an earlier run renamed it to",
  };
}

function findRenamed(
  installation: Installation,
  dir: string,
  hostRoot: string,
): string | undefined {
  const found = installation.renamed.find(({ to }) =>
    dirname(to) === hostName(dir, hostRoot)
  );
  return found === undefined ? undefined : join(dir, basename(found.to));
}

/** The default network's configuration itself in the place of its path: the file is about to be renamed. */
function inline(text: JsonText, { list }: DefaultNetwork): JsonText {
  const without = removeMember(text, "clusterNetwork");
  return setMember(without, "delegates", `[${list.text.trim()}]`);
}

async function rename(
  installation: Installation,
  path: string,
  { hostRoot }: ConfDirs,
): Promise<string> {
  if (path.endsWith(RENAMED_EXTENSION)) {
    return `${basename(path)}: renamed already`;
  }
  const renaming: Renaming = {
    from: hostName(path, hostRoot),
    to: hostName(`${path}${RENAMED_EXTENSION}`, hostRoot),
  };
  await installation.noteRenaming(renaming);
  await Deno.rename(path, `${path}${RENAMED_EXTENSION}`);
  await syncDir(dirname(path));
  return `${basename(path)}: renamed to ${basename(renaming.to)}`;
}

async function copy(
  source: string,
  { conf, dirs }: { conf: DaemonConf; dirs: ConfDirs },
): Promise<string> {
  const name = basename(source);
  const text = await readSource(source);
  assertMultusConf(text, { name, conf });
  return `${name}: ${await place(join(dirs.confDir, name), text)}`;
}

/** Whole or not at all; the same text again changes nothing. */
async function place(path: string, text: string): Promise<string> {
  if ((await readOwnFile(path))?.text === text) return "unchanged";
  await writeOwnFile(path, text);
  return "written";
}

/** Runtimes take the first configuration of the directory: one before ours keeps pods from their networks. */
async function warnIfOutSorted(
  path: string,
  say: (line: string) => void,
): Promise<void> {
  const name = basename(path);
  const first = findOutSorting(await readCandidates(dirname(path)), name);
  if (first === undefined) return;
  say(
    `Warning: ${first.name} comes before ${name}, and runtimes take the first`,
  );
}

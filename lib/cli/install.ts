/**
 * `multusctl install`: puts the shim (and what it needs) into the CNI
 * directory of a node, and, where asked for, a configuration beside those of
 * the runtime. Doing it twice changes nothing; it may be done while the
 * runtime executes what it replaces.
 *
 * Needs read and write of the CNI directory, read of the programs and of the
 * runtime's configuration; with a configuration, read and write of its
 * directory.
 */
import { join } from "node:path";
import { type Call, type CtlCommand, ExitCode } from "./command.ts";
import { installConf, InstallConfError } from "./install_conf.ts";
import {
  INSTALL_PARAMETERS,
  type InstallOptions,
  readInstallOptions,
} from "./install_options.ts";
import { installPrograms } from "./install_programs.ts";
import { openInstallation } from "./installation.ts";
import { findNodeDirs, type NodeDirs } from "./node_dirs.ts";

const HELP =
  `Without --cni-bin-dir and --profile the directories are those that the node's
containerd or CRI-O is configured for; what was found is printed. Directories
are named as this program sees them, below --host-root or /host in a container.

What was there before is kept in multus.d in the CNI directory, and
multusctl uninstall puts it back.

The parameters of the entrypoint of the Multus user's guide mean what they mean
there, with three exceptions:
  --restart-crio            CRI-O watches its directory; a container without the
                            host's privileges could not restart it
  --skip-tls-verify         refused: certificates are always verified
  --cleanup-config-on-exit  is for the daemon: see --daemon-config

Examples:
  multusctl install                                 on a node
  multusctl install --profile k3s --plugins ipvlan,host-local
  multusctl install --host-root /hostroot --cni-bin-dir /hostroot/opt/cni/bin
  multusctl install --multus-conf-file=auto         with 00-multus.conf
  multusctl install --daemon-config /etc/cni/net.d/multus.d/daemon-config.json \\
    --multus-conf-file=auto --namespace-isolation=true`;

/** The command `install`. */
export const INSTALL: CtlCommand = {
  arguments: [],
  options: INSTALL_PARAMETERS,
  help: HELP,
  run: runInstall,
};

async function runInstall({ options, world }: Call): Promise<number> {
  const asked = readInstallOptions(options);
  const say = (line: string): void => world.stdout(`${line}\n`);
  const dirs = await findNodeDirs(asked, world);
  describe(dirs, say);
  try {
    await install(asked, dirs, say);
  } catch (error) {
    if (!(error instanceof InstallConfError)) throw error;
    world.stderr(`multusctl: ${error.message}\n`);
    return ExitCode.finding;
  }
  for (const note of asked.notes) say(`Note: ${note}`);
  return ExitCode.ok;
}

function describe(dirs: NodeDirs, say: (line: string) => void): void {
  for (const reason of dirs.reasons) say(reason);
  say(`Programs go to ${dirs.hostBinDir}`);
  for (const warning of dirs.warnings) say(`Warning: ${warning}`);
}

async function install(
  asked: InstallOptions,
  dirs: NodeDirs,
  say: (line: string) => void,
): Promise<void> {
  await using installation = await openInstallation(dirs.binDir);
  if (!asked.skipsPrograms) {
    await installPrograms(installation, {
      ...dirs,
      shim: asked.shimFile ?? join(dirs.programDir, "multus-shim"),
      deno: dirs.profile?.deno ?? Deno.execPath(),
      plugins: asked.plugins,
      pluginDir: asked.pluginDir ?? join(dirs.programDir, "plugins"),
    }, say);
  }
  await installConf(installation, { asked, dirs }, say);
  // Where nothing was to be installed, nothing stays.
  await installation.removeOwnDir();
}

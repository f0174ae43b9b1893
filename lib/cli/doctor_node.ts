/**
 * The doctor's checks of the node itself: configurations, directories and the
 * scripts in them, network namespaces of pods, and the daemon.
 *
 * Needs: read of the paths of the profile, the daemon's socket.
 */
import { basename, dirname, join } from "node:path";
import { isExecutableFile } from "../cni/exec.ts";
import { listConfFiles } from "../cni/conf_dir.ts";
import { seenBinDirs } from "../grants.ts";
import { askStatus, NoDaemonError } from "./daemon_question.ts";
import type { DoctorContext } from "./doctor_context.ts";
import type { Finding } from "./doctor_schema.ts";

/** Which configuration the daemon and the runtime use, and whether they can. */
export async function checkConfiguration(
  { view, runtimeConf }: DoctorContext,
): Promise<Finding[]> {
  const { profile, conf, confProblem } = view;
  const findings: Finding[] = conf.warnings.map((message) => ({
    severity: "warning",
    subject: profile.daemonConfig,
    message,
    remedy: "Correct it, and send the daemon SIGHUP",
  }));
  if (confProblem !== undefined) {
    findings.push({
      severity: "error",
      subject: profile.daemonConfig,
      message: confProblem,
      remedy:
        "Correct the daemon's configuration (multusctl validate shows line and column); the daemon does not start with this one",
    });
  }
  const [first] = await listConfFiles(profile.cniConfDir);
  const path = runtimeConf.value?.path;
  if (runtimeConf.problem !== undefined) {
    findings.push({
      severity: "error",
      subject: profile.cniConfDir,
      message: runtimeConf.problem,
      remedy:
        "Correct the configuration, or remove it and let the daemon write it again (multusConfigFile: auto)",
    });
  } else if (path === undefined) {
    findings.push({
      severity: "error",
      subject: profile.cniConfDir,
      message:
        "The runtime has no configuration of Multus: pods get the default network only",
      remedy:
        'Set "multusConfigFile": "auto" in the daemon\'s configuration, or put 00-multus.conf there',
    });
  } else if (first !== path) {
    findings.push({
      severity: "error",
      subject: path,
      message: `The runtime uses ${
        basename(first ?? "")
      }, which comes before it: pods get no networks of Multus`,
      remedy: `Rename ${basename(first ?? "")} so that it sorts behind ${
        basename(path)
      }, or tell its owner to leave the first place free (Cilium: cni.exclusive=false)`,
    });
  }
  return findings;
}

interface Place {
  readonly path: string;
  readonly purpose: string;
  readonly severity: "warning" | "error";
  readonly remedy: string;
}

function placesOf({ view: { profile } }: DoctorContext): Place[] {
  const mount =
    "Mount it into the daemon's container, or correct the profile and build again";
  return [
    {
      path: profile.cniConfDir,
      purpose: "the runtime's CNI configurations",
      severity: "error",
      remedy: mount,
    },
    ...seenBinDirs(profile).map((path): Place => ({
      path,
      purpose: "CNI plugins",
      severity: "error",
      remedy: mount,
    })),
    {
      path: profile.cniStateDir,
      purpose: "attachment records",
      severity: "error",
      remedy:
        "Start the daemon, which makes it; in a pod it must be the host's",
    },
    {
      path: profile.socketDir,
      purpose: "the daemon's socket",
      severity: "error",
      remedy:
        "Start the daemon, which makes it; in a pod it must be the host's",
    },
    {
      path: profile.multusConfDir,
      purpose: "CNI files of networks that are given by name",
      severity: "warning",
      remedy:
        "Make it, if there are NetworkAttachmentDefinitions without spec.config",
    },
    ...(profile.readinessIndicatorFile === undefined ? [] : [
      {
        path: profile.readinessIndicatorFile,
        purpose: "the default network's sign of life",
        severity: "error" as const,
        remedy:
          "See why the default network is not ready; every ADD waits for this file",
      },
    ]),
  ];
}

/** The scripts that the daemon runs. */
const SCRIPTS = ["delegate-exec", "default-route"] as const;

/** Whether the directories are there, and the daemon's scripts can be executed. */
export async function checkDirectories(
  context: DoctorContext,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { path, purpose, severity, remedy } of placesOf(context)) {
    if (await statOf(path) !== undefined) continue;
    findings.push({
      severity,
      subject: path,
      message: `It is not there: ${purpose}`,
      remedy,
    });
  }
  for (const name of SCRIPTS) {
    const path = join(context.view.profile.libexecDir, name);
    const info = await statOf(path);
    if (info !== undefined && isExecutableFile(info)) continue;
    findings.push({
      severity: "error",
      subject: path,
      message: info === undefined
        ? "The script is not there"
        : "The script cannot be executed",
      remedy: "Take it from the build again, mode 0755",
    });
  }
  return findings;
}

async function statOf(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return undefined;
  }
}

/**
 * Whether the network namespaces that the runtime mounts are seen here: in a
 * pod they are only if the host's mounts propagate into it. One that is not
 * mounted here is a plain file on the directory's own file system.
 */
export async function checkNamespaces(
  { view: { profile }, records }: DoctorContext,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const root = profile.hostRoot ?? "";
  for (const { netns = "", pod, containerId } of records.value ?? []) {
    // What lies in /proc can be looked at by nobody without all permissions.
    if (!/^(?:\/var)?\/run\/netns\//.test(netns)) continue;
    const path = root + netns.replace(/^\/var\/run\//, "/run/");
    const [own, dir] = [await statOf(path), await statOf(dirname(path))];
    if (own === undefined || own.dev !== dir?.dev) continue;
    findings.push({
      severity: "error",
      subject: netns,
      message: `The namespace of ${
        pod === undefined
          ? `container ${containerId}`
          : `pod ${pod.namespace}/${pod.name}`
      } is not seen in the daemon's container`,
      remedy:
        "Mount the host's /run/netns with mountPropagation: HostToContainer",
    });
  }
  return findings;
}

/** Whether the daemon answers, is ready, and has nothing left to do. */
export async function checkDaemon(
  { view }: DoctorContext,
): Promise<Finding[]> {
  try {
    return findingsOf(await askStatus(view.socketPath));
  } catch (error) {
    if (!(error instanceof NoDaemonError)) throw error;
    return [{
      severity: "error",
      subject: view.socketPath,
      message: error.message,
      remedy:
        "kubectl -n kube-system get pods -o wide -l name=multus, and look into the log of the one of this node",
    }];
  }
}

function findingsOf(
  status: Awaited<ReturnType<typeof askStatus>>,
): Finding[] {
  const { checks, pendingTeardowns, damagedRecords } = status;
  const findings: Finding[] = checks.filter(({ ok }) => !ok).map((
    { name, reason },
  ) => ({
    severity: "error",
    subject: name,
    message: `The daemon takes no ADD: ${reason}`,
    remedy: "It becomes ready by itself when the reason is gone",
  }));
  if (pendingTeardowns > 0) {
    findings.push({
      severity: "warning",
      subject: "spool",
      message: `DELs wait to be done: ${pendingTeardowns}`,
      remedy: "multusctl delete-pending does them now and says what fails",
    });
  }
  for (const containerId of damagedRecords) {
    findings.push({
      severity: "warning",
      subject: containerId,
      message: "The attachment record of the container cannot be read",
      remedy:
        "Nothing to do while its pod runs; its DEL goes by libcni's cache instead",
    });
  }
  return findings;
}

import assert from "node:assert/strict";
import { UsageError } from "./command.ts";
import {
  INSTALL_PARAMETERS,
  type InstallOptions,
  readInstallOptions,
} from "./install_options.ts";

/** All parameters of the entrypoint, as the user's guide lists them, each with a value and what it comes to. */
const GUIDE: readonly {
  name: string;
  value: unknown;
  options?: Partial<InstallOptions>;
  keys?: InstallOptions["keys"];
}[] = [
  {
    name: "cni-conf-dir",
    value: "/host/etc/cni/net.d/",
    options: { confDir: "/host/etc/cni/net.d" },
    keys: { cniConfigDir: "/host/etc/cni/net.d" },
  },
  {
    name: "cni-bin-dir",
    value: "/host/opt/cni/bin",
    options: { binDir: "/host/opt/cni/bin" },
  },
  {
    name: "multus-conf-file",
    value: "auto",
    options: { confFile: "auto" },
    keys: { multusConfigFile: "auto" },
  },
  {
    name: "multus-conf-file",
    value: "/x/70-multus.conf",
    options: { confFile: "/x/70-multus.conf" },
    keys: { multusConfigFile: "/x/70-multus.conf" },
  },
  {
    name: "multus-autoconfig-dir",
    value: "/host/etc/cni/net.d",
    options: { autoconfDir: "/host/etc/cni/net.d" },
    keys: { multusAutoconfigDir: "/host/etc/cni/net.d" },
  },
  {
    name: "multus-kubeconfig-file-host",
    value: "/etc/cni/net.d/multus.d/multus.kubeconfig",
    keys: { kubeconfig: "/etc/cni/net.d/multus.d/multus.kubeconfig" },
  },
  {
    name: "multus-master-cni-file-name",
    value: "10-calico.conflist",
    keys: { multusMasterCNI: "10-calico.conflist" },
  },
  {
    name: "multus-log-level",
    value: "verbose",
    keys: { logLevel: "verbose" },
  },
  {
    name: "multus-log-file",
    value: "/var/log/multus.log",
    keys: { logFile: "/var/log/multus.log" },
  },
  {
    name: "namespace-isolation",
    value: "true",
    keys: { namespaceIsolation: true },
  },
  {
    name: "global-namespaces",
    value: "default,foo, bar",
    keys: { globalNamespaces: "default,foo, bar" },
  },
  {
    name: "multus-bin-file",
    value: "/usr/src/multus",
    options: { shimFile: "/usr/src/multus" },
  },
  { name: "cni-version", value: "0.3.1", keys: { cniVersion: "0.3.1" } },
  {
    name: "cleanup-config-on-exit",
    value: true,
    keys: { cleanupConfigOnExit: true },
  },
  { name: "restart-crio", value: "false" },
  { name: "rename-conf-file", value: "false" },
  {
    name: "additional-bin-dir",
    value: "/opt/multus/bin",
    keys: { binDir: "/opt/multus/bin" },
  },
  {
    name: "skip-multus-binary-copy",
    value: "true",
    options: { skipsPrograms: true },
  },
  {
    name: "readiness-indicator-file",
    value: "/run/x",
    keys: { readinessindicatorfile: "/run/x" },
  },
  {
    name: "override-network-name",
    value: "1",
    keys: { overrideNetworkName: true },
  },
  { name: "skip-tls-verify", value: "false" },
];

function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

Deno.test("readInstallOptions() gives each parameter of the user's guide its meaning", async (t) => {
  for (const { name, value, options = {}, keys = {} } of GUIDE) {
    await t.step(`--${name}=${value}`, () => {
      const read = readInstallOptions({ [camelCase(name)]: value });
      assert.deepEqual(read.keys, keys);
      for (const [member, expected] of Object.entries(options)) {
        assert.deepEqual(read[member as keyof InstallOptions], expected);
      }
    });
  }
});

Deno.test("INSTALL_PARAMETERS has every parameter of the user's guide", () => {
  for (const { name } of GUIDE) {
    assert.ok(
      INSTALL_PARAMETERS.some(({ syntax }) => syntax.startsWith(`--${name} `)),
      name,
    );
  }
});

Deno.test("readInstallOptions() takes an empty value for one that is not given", () => {
  const given = Object.fromEntries(
    GUIDE.map(({ name }) => [camelCase(name), ""]),
  );
  assert.deepEqual(readInstallOptions(given), readInstallOptions({}));
});

const REFUSED: readonly {
  given: Record<string, unknown>;
  message: string;
}[] = [
  {
    given: { cniConfDir: "etc/cni" },
    message:
      '--cni-conf-dir: expected an absolute path without comma, found "etc/cni"',
  },
  {
    given: { cniBinDir: "/a,/b" },
    message:
      '--cni-bin-dir: expected an absolute path without comma, found "/a,/b"',
  },
  {
    given: { multusConfFile: "yes" },
    message:
      '--multus-conf-file: expected "auto" or an absolute path, found "yes"',
  },
  {
    given: { multusMasterCniFileName: "../10-x.conf" },
    message:
      '--multus-master-cni-file-name: expected a plain file name, found "../10-x.conf"',
  },
  {
    given: { multusLogLevel: "loud" },
    message:
      '--multus-log-level: expected debug, verbose, error, panic, found "loud"',
  },
  {
    given: { namespaceIsolation: "yes" },
    message: '--namespace-isolation: expected true or false, found "yes"',
  },
  {
    given: { globalNamespaces: "default,Big" },
    message:
      '--global-namespaces: expected names of namespaces with commas between, found "default,Big"',
  },
  {
    given: { cniVersion: "2.0.0" },
    message:
      '--cni-version: expected 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0, found "2.0.0"',
  },
  {
    given: { profile: "minikube" },
    message:
      '--profile: expected kubeadm, k3s, rke2, k0s, talos, crio, or the absolute path of a profile, found "minikube"',
  },
  {
    given: { plugins: "ipvlan,../x" },
    message:
      '--plugins: expected plain file names with commas between, found "ipvlan,../x"',
  },
  {
    given: { skipTlsVerify: true },
    message:
      "--skip-tls-verify: the API server's certificate is always verified: give its authority in the kubeconfig, or use the pod's service account",
  },
  {
    given: { renameConfFile: true },
    message:
      "--rename-conf-file needs --multus-conf-file=auto, which takes the file's content over",
  },
  {
    given: {
      renameConfFile: true,
      multusConfFile: "auto",
      daemonConfig: "/x",
    },
    message:
      "--rename-conf-file and --daemon-config exclude each other: a daemon that writes 00-multus.conf needs the file under its name",
  },
];

Deno.test("readInstallOptions() refuses what cannot be, and says what is expected", async (t) => {
  for (const { given, message } of REFUSED) {
    await t.step(message, () => {
      assert.throws(() => readInstallOptions(given), (error: unknown) => {
        assert.ok(error instanceof UsageError);
        assert.equal(error.message, message);
        return true;
      });
    });
  }
});

const NOTED: readonly { given: Record<string, unknown>; note: RegExp }[] = [
  {
    given: { restartCrio: "true" },
    note: /CRI-O is not restarted.*systemctl restart crio$/,
  },
  {
    given: { multusLogLevel: "debug", namespaceIsolation: "true" },
    note:
      /^--multus-log-level, --namespace-isolation: without --multus-conf-file=auto/,
  },
  {
    given: { cleanupConfigOnExit: "true", multusConfFile: "auto" },
    note: /^--cleanup-config-on-exit: this command ends at once/,
  },
];

Deno.test("readInstallOptions() notes what is asked for and not done", async (t) => {
  for (const { given, note } of NOTED) {
    await t.step(JSON.stringify(given), () => {
      const { notes } = readInstallOptions(given);
      assert.equal(notes.length, 1);
      assert.match(notes[0] ?? "", note);
    });
  }
  await t.step("not when a daemon is there to do it", () => {
    const given = {
      cleanupConfigOnExit: "true",
      multusLogLevel: "debug",
      daemonConfig: "/x",
      restartCrio: "false",
    };
    assert.deepEqual(readInstallOptions(given).notes, []);
  });
});

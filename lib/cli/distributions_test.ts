import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { CONTAINERD_CONFIGS, DETECTION_PATHS } from "./detection_paths.ts";
import {
  defaultLayout,
  detectLayout,
  type Distribution,
  DISTRIBUTIONS,
  isDistribution,
} from "./distributions.ts";

/** What stands on a host: texts of files by path, and links. */
interface Host {
  readonly files?: Readonly<Record<string, string>>;
  readonly links?: Readonly<Record<string, string>>;
}

async function makeHost(host: Host): Promise<string> {
  const root = await Deno.makeTempDir({ prefix: "multus-host-" });
  for (const [path, text] of Object.entries(host.files ?? {})) {
    await Deno.mkdir(join(root, dirname(path)), { recursive: true });
    await Deno.writeTextFile(join(root, path), text);
  }
  for (const [path, target] of Object.entries(host.links ?? {})) {
    await Deno.mkdir(join(root, dirname(path)), { recursive: true });
    await Deno.symlink(target, join(root, path));
  }
  return root;
}

const K3S = "/var/lib/rancher/k3s";
const HASH = "9de9bfcf367b723ef0ac73dd91761165a4a8ad11ad16a758d3a996264e60c612";

function cri(version: 1 | 2 | 3, lines: string): string {
  const table = {
    1: "[plugins.cri.cni]",
    2: '[plugins."io.containerd.grpc.v1.cri".cni]',
    3: "[plugins.'io.containerd.cri.v1.runtime'.cni]",
  }[version];
  return `version = ${version}\n${table}\n${lines}\n[other]\nbin_dir = "/no"\n`;
}

interface Case extends Host {
  readonly name: string;
  readonly distribution: Distribution;
  readonly binDirs: readonly string[];
  readonly confDir: string;
  /** What one of the reasons says. */
  readonly reason: RegExp;
  /** What one of the warnings says; without it there is none. */
  readonly warning?: RegExp;
}

const CASES: readonly Case[] = [
  {
    name: "nothing at all",
    distribution: "kubeadm",
    binDirs: ["/opt/cni/bin"],
    confDir: "/etc/cni/net.d",
    reason: /No configuration of containerd or CRI-O/,
  },
  {
    name: "kubeadm, containerd without directories",
    files: { "/etc/containerd/config.toml": "version = 2\n" },
    distribution: "kubeadm",
    binDirs: ["/opt/cni/bin"],
    confDir: "/etc/cni/net.d",
    reason: /names no CNI directory/,
  },
  {
    name: "kubeadm, containerd of Debian",
    files: {
      "/etc/containerd/config.toml": cri(
        2,
        'bin_dir = "/usr/lib/cni"\nconf_dir = "/etc/cni/net.d/"',
      ),
    },
    distribution: "kubeadm",
    binDirs: ["/usr/lib/cni"],
    confDir: "/etc/cni/net.d",
    reason: /Plugins are in \/usr\/lib\/cni \(\/etc\/containerd\/config.toml\)/,
  },
  {
    name: "GKE",
    files: {
      "/etc/containerd/config.toml": cri(
        1,
        'bin_dir = "/home/kubernetes/bin"',
      ),
    },
    distribution: "kubeadm",
    binDirs: ["/home/kubernetes/bin"],
    confDir: "/etc/cni/net.d",
    reason: /\/home\/kubernetes\/bin/,
  },
  {
    name: "containerd 2.1 with a list of plugin directories",
    files: {
      "/etc/containerd/config.toml": cri(
        3,
        "bin_dir = ''\nbin_dirs = ['/opt/a', '/opt/b']\nconf_dir = '/etc/x'",
      ),
    },
    distribution: "kubeadm",
    binDirs: ["/opt/a", "/opt/b"],
    confDir: "/etc/x",
    reason: /\/opt\/a, \/opt\/b/,
  },
  {
    name: "containerd that imports",
    files: {
      "/etc/containerd/config.toml":
        'imports = ["/etc/containerd/conf.d/*.toml", "/srv/*.toml"]\n' +
        cri(2, 'bin_dir = "/one"'),
      "/etc/containerd/conf.d/20-cni.toml": cri(2, 'bin_dir = "/two"'),
      "/etc/containerd/conf.d/note.txt": cri(2, 'bin_dir = "/three"'),
      "/srv/x.toml": cri(2, 'bin_dir = "/four"'),
    },
    distribution: "kubeadm",
    binDirs: ["/two"],
    confDir: "/etc/cni/net.d",
    reason: /\/etc\/containerd\/conf\.d\/20-cni\.toml/,
  },
  {
    name: "k3s since October 2024",
    files: {
      [`${K3S}/agent/etc/containerd/config.toml`]: cri(
        3,
        `bin_dirs = ["${K3S}/data/cni"]\nconf_dir = "${K3S}/agent/etc/cni/net.d"`,
      ),
    },
    distribution: "k3s",
    binDirs: [`${K3S}/data/cni`],
    confDir: `${K3S}/agent/etc/cni/net.d`,
    reason: /: k3s$/,
  },
  {
    name: "k3s before October 2024",
    files: {
      [`${K3S}/agent/etc/containerd/config.toml`]: cri(
        2,
        `bin_dir = "${K3S}/data/${HASH}/bin"\nconf_dir = "${K3S}/agent/etc/cni/net.d"`,
      ),
      [`${K3S}/data/${HASH}/bin/cni`]: "",
    },
    links: { [`${K3S}/data/current`]: `${K3S}/data/${HASH}` },
    distribution: "k3s",
    binDirs: [`${K3S}/data/current/bin`],
    confDir: `${K3S}/agent/etc/cni/net.d`,
    reason: /leads to the plugins of the running version/,
    warning: /every upgrade leaves behind/,
  },
  {
    name: "k3s on a machine that has containerd besides",
    files: {
      [`${K3S}/agent/etc/containerd/config.toml`]: "version = 3\n",
      "/etc/containerd/config.toml": cri(2, 'bin_dir = "/no"'),
    },
    distribution: "k3s",
    binDirs: [`${K3S}/data/cni`],
    confDir: `${K3S}/agent/etc/cni/net.d`,
    reason: /those of k3s as it comes/,
  },
  {
    name: "rke2",
    files: {
      "/var/lib/rancher/rke2/agent/etc/containerd/config.toml": cri(
        2,
        'bin_dir = "/opt/cni/bin"\nconf_dir = "/etc/cni/net.d"',
      ),
    },
    distribution: "rke2",
    binDirs: ["/opt/cni/bin"],
    confDir: "/etc/cni/net.d",
    reason: /: rke2$/,
  },
  {
    name: "k0s, whose own part is imported",
    files: {
      "/etc/k0s/containerd.toml":
        '# k0s_managed=true\nversion = 2\nimports = [\n\t"/run/k0s/containerd-cri.toml",\n]\n',
      "/run/k0s/containerd-cri.toml": cri(2, 'bin_dir = "/opt/k0s/bin"'),
    },
    distribution: "k0s",
    binDirs: ["/opt/k0s/bin"],
    confDir: "/etc/cni/net.d",
    reason: /\/run\/k0s\/containerd-cri\.toml/,
  },
  {
    name: "Talos",
    files: {
      "/etc/cri/containerd.toml":
        'version = 2\nimports = ["/etc/cri/conf.d/*.part"]\n',
      "/etc/cri/conf.d/20-customization.part": cri(
        2,
        'bin_dir = "/opt/cni/bin"',
      ),
    },
    distribution: "talos",
    binDirs: ["/opt/cni/bin"],
    confDir: "/etc/cni/net.d",
    reason: /: talos$/,
  },
  {
    name: "Talos by its name",
    files: { "/etc/os-release": 'NAME="Talos"\nID=talos\n' },
    distribution: "talos",
    binDirs: ["/opt/cni/bin"],
    confDir: "/etc/cni/net.d",
    reason: /The operating system is Talos/,
  },
  {
    name: "CRI-O alone",
    files: {
      "/etc/crio/crio.conf":
        '[crio.network]\nnetwork_dir = "/etc/cni/net.d/"\nplugin_dirs = [\n\t"/opt/cni/bin/",\n\t"/usr/libexec/cni/",\n]\n',
    },
    distribution: "crio",
    binDirs: ["/opt/cni/bin", "/usr/libexec/cni"],
    confDir: "/etc/cni/net.d",
    reason: /containerd has none/,
  },
  {
    name: "CRI-O of OpenShift: the last file counts",
    files: {
      "/etc/crio/crio.conf.d/00-default":
        '[crio.network]\nnetwork_dir = "/etc/one"\nplugin_dirs = ["/one"]\n',
      "/etc/crio/crio.conf.d/10-network":
        '[crio.network]\nnetwork_dir = "/etc/kubernetes/cni/net.d/"\nplugin_dirs = ["/var/lib/cni/bin", "/usr/libexec/cni"]\n',
    },
    distribution: "crio",
    binDirs: ["/var/lib/cni/bin", "/usr/libexec/cni"],
    confDir: "/etc/kubernetes/cni/net.d",
    reason: /\/etc\/crio\/crio\.conf\.d\/10-network/,
  },
  {
    name: "CRI-O with a network by name",
    files: {
      "/etc/crio/crio.conf": '[crio.network]\ncni_default_network = "cbr0"\n',
    },
    distribution: "crio",
    binDirs: ["/opt/cni/bin"],
    confDir: "/etc/cni/net.d",
    reason: /CRI-O's own directories/,
    warning: /takes no other network than cbr0/,
  },
  {
    name: "both runtimes, and the kubelet talks to CRI-O",
    files: {
      "/etc/containerd/config.toml": cri(2, 'bin_dir = "/no"'),
      "/etc/crio/crio.conf": '[crio.network]\nplugin_dir = "/yes"\n',
      "/var/lib/kubelet/kubeadm-flags.env":
        'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///var/run/crio/crio.sock --x=y"\n',
    },
    distribution: "crio",
    binDirs: ["/yes"],
    confDir: "/etc/cni/net.d",
    reason: /unix:\/\/\/var\/run\/crio\/crio\.sock/,
  },
  {
    name: "both runtimes, and the kubelet talks to containerd",
    files: {
      "/etc/containerd/config.toml": cri(2, 'bin_dir = "/yes"'),
      "/etc/crio/crio.conf": '[crio.network]\nplugin_dir = "/no"\n',
      "/var/lib/kubelet/config.yaml":
        "kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n",
    },
    distribution: "kubeadm",
    binDirs: ["/yes"],
    confDir: "/etc/cni/net.d",
    reason: /\/yes/,
  },
  {
    name: "a configuration behind an absolute link",
    files: { "/srv/config.toml": cri(2, 'bin_dir = "/linked"') },
    links: { "/etc/containerd/config.toml": "/srv/config.toml" },
    distribution: "kubeadm",
    binDirs: ["/linked"],
    confDir: "/etc/cni/net.d",
    reason: /\/linked/,
  },
  {
    name: "relative directories, which mean nothing",
    files: {
      "/etc/containerd/config.toml": cri(2, 'bin_dir = "bin"\nconf_dir = ""'),
    },
    distribution: "kubeadm",
    binDirs: ["/opt/cni/bin"],
    confDir: "/etc/cni/net.d",
    reason: /names no CNI directory/,
  },
];

Deno.test("detectLayout() finds the directories of a node and says why", async (t) => {
  for (const { name, ...expected } of CASES) {
    await t.step(name, async () => {
      const root = await makeHost(expected);
      try {
        const layout = await detectLayout(root);
        const { distribution, binDirs, confDir, reasons, warnings } = layout;
        assert.deepEqual({ distribution, binDirs, confDir }, {
          distribution: expected.distribution,
          binDirs: expected.binDirs,
          confDir: expected.confDir,
        });
        assert.match(reasons.join("\n"), new RegExp(expected.reason, "m"));
        if (expected.warning === undefined) assert.deepEqual(warnings, []);
        else assert.match(warnings.join("\n"), expected.warning);
      } finally {
        await Deno.remove(root, { recursive: true });
      }
    });
  }
});

Deno.test("detectLayout() needs no more than the paths that are named for it", async () => {
  const files: Record<string, string> = { "/etc/crio/crio.conf": "" };
  for (const { path } of CONTAINERD_CONFIGS) {
    files[path] = 'imports = ["/etc/containerd/conf.d/*.toml"]';
  }
  files["/etc/containerd/conf.d/a.toml"] = cri(2, 'bin_dir = "/imported"');
  const root = await makeHost({ files });
  const code =
    `import { detectLayout } from "${
      import.meta.resolve("./distributions.ts")
    }";` +
    `Deno.stdout.writeSync(new TextEncoder().encode((await detectLayout(Deno.args[0])).binDirs.join()));`;
  const script = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(script, code);
    const read = DETECTION_PATHS.map((path) => join(root, path)).join(",");
    const outcome = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--no-prompt",
        `--allow-read=${read}`,
        script,
        root,
      ],
      stdout: "piped",
      stderr: "piped",
    }).output();
    assert.equal(new TextDecoder().decode(outcome.stderr), "");
    assert.equal(new TextDecoder().decode(outcome.stdout), "/imported");
    assert.equal(outcome.code, 0);
  } finally {
    await Deno.remove(script);
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("isDistribution() knows exactly those that have a layout", () => {
  for (const name of DISTRIBUTIONS) {
    assert.ok(isDistribution(name));
    assert.ok(defaultLayout(name).confDir.startsWith("/"));
  }
  assert.ok(!isDistribution("minikube"));
});

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { CniError, ErrorCode } from "../cni/error.ts";
import {
  createDeviceInfoFiles,
  type DeviceInfoFiles,
  type DeviceInfoKey,
} from "./device_info.ts";

const KEY: DeviceInfoKey = {
  network: "default/sriov-a",
  containerId: "c0ffee",
  ifname: "net1",
};
const DEVICE = { resourceName: "intel.com/sriov", deviceId: "0000:03:02.3" };
const DP_FILE = "dp/intel.com-sriov-0000:03:02.3-device.json";
const CNI_FILE = "cni/default-sriov-a-c0ffee_net1";

Deno.test("provide() copies what the device plugin left and remove() takes it away", async () => {
  await withDir(async ({ dir, files }) => {
    // Passed on as it stands: white space, order and large numbers.
    const text =
      '{ "type": "pci",\n "version":"1.1.0", "pci": {"pci-address":"0000:03:02.3"}, "n": 90071992547409931 }';
    await Deno.writeTextFile(`${dir}/${DP_FILE}`, text);
    strictEqual(await files.provide(KEY, DEVICE), `${dir}/${CNI_FILE}`);
    strictEqual(await Deno.readTextFile(`${dir}/${CNI_FILE}`), text);
    strictEqual((await files.read(KEY))?.type, "pci");
    await files.remove(KEY);
    strictEqual(await files.read(KEY), undefined);
    await files.remove(KEY);
    deepStrictEqual(await Array.fromAsync(Deno.readDir(`${dir}/cni`)), []);
    strictEqual(
      await Deno.readTextFile(`${dir}/${DP_FILE}`),
      text,
      "the device plugin's file stays",
    );
  });
});

Deno.test("provide() names the file where plugins see it", async () => {
  await withDir(async ({ dir }) => {
    const files = createDeviceInfoFiles(dir, {
      hostDir: "/var/run/k8s.cni.cncf.io/devinfo",
    });
    strictEqual(
      files.pathOf(KEY),
      `/var/run/k8s.cni.cncf.io/devinfo/${CNI_FILE}`,
    );
    strictEqual(await files.provide(KEY, DEVICE), files.pathOf(KEY));
  });
});

Deno.test("provide() goes without what the device plugin did not leave", async () => {
  await withDir(async ({ dir, files }) => {
    await Deno.mkdir(`${dir}/cni`);
    await Deno.writeTextFile(`${dir}/${CNI_FILE}`, '{"type":"stale"}');
    strictEqual(await files.provide(KEY, DEVICE), `${dir}/${CNI_FILE}`);
    strictEqual(await files.read(KEY), undefined);
  });
});

Deno.test("provide() makes the directory, open to plugins of any user", async () => {
  await withDir(async ({ dir, files }) => {
    await Deno.remove(`${dir}/dp`);
    await files.provide(KEY, DEVICE);
    ok((await Deno.stat(`${dir}/cni`)).isDirectory);
    await Deno.mkdir(`${dir}/dp`);
    await Deno.writeTextFile(`${dir}/${DP_FILE}`, "{}");
    await files.provide(KEY, DEVICE);
    strictEqual(
      ((await Deno.stat(`${dir}/${CNI_FILE}`)).mode ?? 0) & 0o777,
      0o644,
    );
  });
});

Deno.test("read() gives back what the network's plugin wrote", async () => {
  await withDir(async ({ files }) => {
    const path = await files.provide(KEY, DEVICE);
    await Deno.writeTextFile(path, '{"type":"vdpa"}');
    deepStrictEqual(await files.read(KEY), { type: "vdpa" });
  });
});

Deno.test("provide() and read() refuse what is not a short JSON object", async (t) => {
  const rows: Record<string, string> = {
    "empty": "",
    "half": '{"type":"pci"',
    "list": "[]",
    "null": "null",
    "text": '"pci"',
    "too long": JSON.stringify({ type: "x".repeat(16 * 1024) }),
  };
  for (const [what, text] of Object.entries(rows)) {
    await t.step(what, async () => {
      await withDir(async ({ dir, files }) => {
        const cannot = (file: string) => (error: unknown): boolean => {
          ok(error instanceof CniError);
          strictEqual(error.code, ErrorCode.decodingFailure);
          ok(error.message.endsWith(`"${dir}/${file}"`), error.message);
          return true;
        };
        await Deno.writeTextFile(`${dir}/${DP_FILE}`, text);
        await rejects(files.provide(KEY, DEVICE), cannot(DP_FILE));
        await Deno.mkdir(`${dir}/cni`, { recursive: true });
        await Deno.writeTextFile(`${dir}/${CNI_FILE}`, text);
        await rejects(files.read(KEY), cannot(CNI_FILE));
      });
    });
  }
});

Deno.test("provide() leaves no half-made file when it cannot put it in place", async () => {
  await withDir(async ({ dir, files }) => {
    await Deno.writeTextFile(`${dir}/${DP_FILE}`, "{}");
    await Deno.mkdir(`${dir}/${CNI_FILE}`, { recursive: true });
    await rejects(files.provide(KEY, DEVICE));
    deepStrictEqual(
      await Array.fromAsync(Deno.readDir(`${dir}/cni`), ({ name }) => name),
      [CNI_FILE.slice(4)],
    );
  });
});

async function withDir(
  use: (scene: { dir: string; files: DeviceInfoFiles }) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${dir}/dp`);
    await use({ dir, files: createDeviceInfoFiles(dir) });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

import { deepEqual, equal, throws } from "node:assert/strict";
import { makeTar, type TarFile } from "./tar.ts";

async function runTar(args: string[], archive: Uint8Array): Promise<string> {
  const path = await Deno.makeTempFile({ suffix: ".tar" });
  try {
    await Deno.writeFile(path, archive);
    const { code, stdout, stderr } = await new Deno.Command("tar", {
      args: [...args.slice(0, 1), path, ...args.slice(1)],
    }).output();
    equal(code, 0, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("makeTar() makes what tar reads back", async (t) => {
  const files: readonly TarFile[] = [
    { name: "empty.txt", text: "" },
    { name: "dir/block.txt", text: "x".repeat(512) },
    { name: "umlaut.txt", text: "Grüße\n".repeat(200) },
    { name: "n".repeat(100), text: "long name\n" },
  ];
  const archive = makeTar(files, new Date("2026-01-02T03:04:05Z"));
  equal(archive.length % 512, 0);
  deepEqual(
    (await runTar(["-tf"], archive)).trim().split("\n"),
    files.map(({ name }) => name),
  );
  for (const { name, text } of files) {
    await t.step(name, async () => {
      equal(await runTar(["-xOf", name], archive), text);
    });
  }
});

Deno.test("makeTar() refuses a name that has no room", () => {
  throws(
    () => makeTar([{ name: "ü".repeat(51), text: "" }], new Date(0)),
    RangeError,
  );
});

import {
  deepEqual,
  equal,
  match,
  notEqual,
  ok,
  throws,
} from "node:assert/strict";
import { join } from "node:path";
import { GRANT_NOTES } from "../deployments/grant_notes.ts";
import {
  listPurposes,
  readProfiles,
  renderPermissions,
} from "../deployments/permissions.ts";
import { EXECUTABLES, grantsOf } from "../lib/grants.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const DOCUMENT = join(ROOT, "deployments/PERMISSIONS.md");

Deno.test("PERMISSIONS.md says what lib/grants.ts says", async () => {
  const text = await Deno.readTextFile(DOCUMENT);
  ok(
    renderPermissions(text, await readProfiles()) === text,
    "Run deno task permissions",
  );
});

Deno.test("PERMISSIONS.md is formatted as it is written", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--check", "--quiet", DOCUMENT],
  }).output();
  equal(code, 0, new TextDecoder().decode(stderr));
});

Deno.test("PERMISSIONS.md names every grant of the profile that it shows", async () => {
  const text = await Deno.readTextFile(DOCUMENT);
  const { pod, full, host } = await readProfiles();
  for (const executable of EXECUTABLES) {
    for (const { value } of grantsOf(executable, pod)) {
      ok(text.includes(`\`${value}\``), value);
    }
  }
  for (const profile of [full, host]) {
    const run = grantsOf("multus-daemon", profile).filter(({ kind }) =>
      kind === "run"
    );
    for (const { value } of run) ok(text.includes(`\`${value}\``), value);
  }
});

Deno.test("renderPermissions() shows it when a grant has changed", async () => {
  const text = await Deno.readTextFile(DOCUMENT);
  const profiles = await readProfiles();
  const pod = { ...profiles.pod, apiServers: ["192.0.2.0/24"] };
  const changed = renderPermissions(text, { ...profiles, pod });
  notEqual(changed, text);
  ok(changed.includes("net `192.0.2.0/24`"));
});

Deno.test("renderPermissions() refuses a document without a place for each table, or with one too many", async () => {
  const text = await Deno.readTextFile(DOCUMENT);
  const profiles = await readProfiles();
  const mark = "<!-- table: multusctl -->";
  throws(
    () => renderPermissions(text.replace(mark, ""), profiles),
    /^MarkError: The document has no place for a table: multusctl$/,
  );
  throws(
    () => renderPermissions(text.replace(mark, "<!-- table: x -->"), profiles),
    /^MarkError: There is no such table: x$/,
  );
});

Deno.test("GRANT_NOTES has a note on every reason of the table, and on no other", async (t) => {
  const profiles = await readProfiles();
  for (const executable of EXECUTABLES) {
    await t.step(executable, () => {
      const purposes = listPurposes(executable, profiles);
      deepEqual(Object.keys(GRANT_NOTES[executable]).sort(), purposes.sort());
    });
  }
});

Deno.test("GRANT_NOTES names tests that are there", async () => {
  const named = Object.values(GRANT_NOTES)
    .flatMap((notes) => Object.values(notes)).flatMap(({ tests }) => tests);
  ok(named.length > 0);
  for (const path of new Set(named)) {
    match(path, /_test\.ts$/);
    const text = await Deno.readTextFile(join(ROOT, path));
    match(text, /\b(?:Deno\.test|nodeTest)\(/, path);
  }
});

Deno.test("permissions.ts exits 0 when all is up to date, 1 when it is not, 2 for wrong usage", async (t) => {
  const dir = await Deno.makeTempDir({ prefix: "permissions" });
  try {
    const sources = ["deno.json", "deno.lock", "lib", "deployments"];
    const copied = await new Deno.Command("cp", {
      args: ["-R", ...sources.map((name) => join(ROOT, name)), dir],
    }).output();
    ok(copied.success);
    const document = join(dir, "deployments/PERMISSIONS.md");
    const text = await Deno.readTextFile(document);
    const rows:
      readonly (readonly [content: string, args: string[], code: number])[] = [
        [text, ["--check"], 0],
        [text.replace("| env ", "| environment "), ["--check"], 1],
        [text.replace("<!-- end -->", ""), ["--check"], 1],
        [text, ["--verify"], 2],
        [text, ["--check", "x"], 2],
        [text.replace("| env ", "| environment "), [], 0],
      ];
    for (const [index, [content, args, expected]] of rows.entries()) {
      await t.step(`${index}: ${args.join(" ")}`, async () => {
        await Deno.writeTextFile(document, content);
        const { code, stderr } = await new Deno.Command(Deno.execPath(), {
          args: [
            "run",
            "--quiet",
            "--no-prompt",
            `--allow-read=${dir}`,
            `--allow-write=${document}`,
            join(dir, "deployments/permissions.ts"),
            ...args,
          ],
        }).output();
        equal(code, expected, new TextDecoder().decode(stderr));
      });
    }
    equal(await Deno.readTextFile(document), text);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

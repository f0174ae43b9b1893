import assert from "node:assert/strict";
import { CniError } from "../cni/error.ts";
import type { Result } from "../cni/result.ts";
import {
  type AttachmentState,
  createRecords,
  DamagedRecordError,
  mustUndo,
  type NewAttachment,
  type NewRecord,
  RecordExistsError,
  type RecordHandle,
  type Records,
  RESERVED_NAMES,
} from "./records.ts";

function attachmentOf(name: string, ifname: string): NewAttachment {
  return {
    config: `{"cniVersion":"1.0.0","name":"${name}","type":"bridge"}`,
    name: `default/${name}`,
    ifname,
    isDefault: ifname === "eth0",
    isFilterV4Gateway: false,
    isFilterV6Gateway: false,
  };
}

function recordOf(containerId: string): NewRecord {
  return {
    containerId,
    netns: "/var/run/netns/x",
    pod: { namespace: "default", name: "pod", uid: "u" },
    attachments: [attachmentOf("a", "eth0"), attachmentOf("b", "net1")],
  };
}

function resultOf(names: number): Result {
  const interfaces = Array.from(
    { length: names },
    (_, n) => ({ name: `veth${n}`, mac: "02:00:00:00:00:01" }),
  );
  return { interfaces, ips: [], routes: [] };
}

interface Store extends AsyncDisposable {
  readonly dir: string;
  readonly records: Records;
  /** The same directory as another process would see it. */
  reopen(): Records;
}

async function createStore(): Promise<Store> {
  const dir = await Deno.makeTempDir();
  const options = { dir, bootId: "boot-1" };
  const records = createRecords(options);
  await records.load();
  return {
    dir,
    records,
    reopen: () => createRecords(options),
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

/** Begins a record, and waits until the disk has it. */
async function begin(
  records: Records,
  containerId: string,
): Promise<RecordHandle> {
  const handle = await records.begin(recordOf(containerId));
  await handle.saved;
  return handle;
}

async function statesOf(
  records: Records,
  containerId: string,
): Promise<AttachmentState[] | undefined> {
  const record = await records.read(containerId);
  return record?.attachments.map(({ state }) => state);
}

async function namesIn(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
}

Deno.test("begin() writes a record that another process reads, every attachment still to do", async () => {
  await using store = await createStore();
  using handle = await begin(store.records, "c1");
  const read = await store.reopen().read("c1");
  assert.deepEqual(read, handle.record);
  assert.equal(read?.bootId, "boot-1");
  assert.deepEqual(await statesOf(store.reopen(), "c1"), ["todo", "todo"]);
  assert.deepEqual(await namesIn(store.dir), ["c1"]);
  const { mode } = await Deno.stat(`${store.dir}/c1`);
  assert.equal((mode ?? 0) & 0o777, 0o600);
});

Deno.test("begin() refuses to overwrite a record", async () => {
  await using store = await createStore();
  using first = await begin(store.records, "c1");
  await first.update(1, { state: "begun" });
  await assert.rejects(store.records.begin(recordOf("c1")), RecordExistsError);
  assert.deepEqual(await statesOf(store.records, "c1"), ["todo", "begun"]);
  await Deno.writeTextFile(`${store.dir}/c2`, "damaged");
  await assert.rejects(store.records.read("c2"), DamagedRecordError);
  await assert.rejects(store.records.begin(recordOf("c2")), RecordExistsError);
  assert.equal(await Deno.readTextFile(`${store.dir}/c2`), "damaged");
});

Deno.test("begin() refuses what another process has written, and nothing that is gone", async () => {
  await using store = await createStore();
  const { records } = store;
  (await begin(store.reopen(), "c1"))[Symbol.dispose]();
  await assert.rejects(records.begin(recordOf("c1")), RecordExistsError);
  (await records.open("c1"))?.[Symbol.dispose]();
  await Deno.remove(`${store.dir}/c1`);
  using again = await begin(records, "c1");
  assert.equal(again.record.attachments.length, 2);
});

Deno.test("begin() throws code 5 and names the file when it cannot be written", async () => {
  const records = createRecords({ dir: "/nonexistent/multus" });
  await assert.rejects(
    records.begin(recordOf("c1")),
    (error) =>
      error instanceof CniError && error.code === 5 &&
      error.message.includes("/nonexistent/multus/c1"),
  );
  assert.equal(records.summaries().size, 0);
});

Deno.test("update() writes states and results that another process reads, in the same file", async () => {
  await using store = await createStore();
  using handle = await begin(store.records, "c1");
  const { ino } = await Deno.stat(`${store.dir}/c1`);
  await handle.update(0, { state: "begun" });
  assert.deepEqual(await statesOf(store.reopen(), "c1"), ["begun", "todo"]);
  await handle.update(0, { state: "done", result: resultOf(2) });
  await handle.update(1, { state: "begun" });
  const read = await store.reopen().read("c1");
  assert.deepEqual(read, handle.record);
  assert.deepEqual(read?.attachments[0]?.result, resultOf(2));
  assert.deepEqual(await statesOf(store.reopen(), "c1"), ["done", "begun"]);
  await handle.update(0, { state: "done", result: resultOf(1) });
  assert.deepEqual(
    (await store.reopen().read("c1"))?.attachments[0]?.result,
    resultOf(1),
  );
  assert.equal((await Deno.stat(`${store.dir}/c1`)).ino, ino);
});

Deno.test("update() makes room for a result that is larger than what was reserved", async () => {
  await using store = await createStore();
  using handle = await begin(store.records, "c1");
  await handle.update(0, { state: "done", result: resultOf(500) });
  await handle.update(1, { state: "begun" });
  const read = await store.reopen().read("c1");
  assert.deepEqual(read?.attachments[0]?.result, resultOf(500));
  assert.deepEqual(read, handle.record);
});

Deno.test("update() keeps changes apart that are made at once", async () => {
  await using store = await createStore();
  using handle = await begin(store.records, "c1");
  await Promise.all([
    handle.update(0, { state: "done", result: resultOf(3) }),
    handle.update(1, { state: "begun" }),
    handle.update(1, { state: "done", result: resultOf(500) }),
    handle.update(0, { state: "undone" }),
  ]);
  const read = await store.reopen().read("c1");
  assert.deepEqual(read, handle.record);
  assert.deepEqual(await statesOf(store.reopen(), "c1"), ["undone", "done"]);
});

Deno.test("update() throws RangeError for an attachment that is not there, and goes on working", async () => {
  await using store = await createStore();
  using handle = await begin(store.records, "c1");
  await assert.rejects(handle.update(2, { state: "begun" }), RangeError);
  await handle.update(1, { state: "begun" });
  assert.deepEqual(await statesOf(store.records, "c1"), ["todo", "begun"]);
});

Deno.test("update() throws code 5 when the record that was opened has gone", async () => {
  await using store = await createStore();
  (await begin(store.records, "c1"))[Symbol.dispose]();
  using handle = await store.records.open("c1");
  assert.ok(handle !== undefined);
  await store.records.remove("c1");
  await assert.rejects(
    handle.update(0, { state: "begun" }),
    (error) => error instanceof CniError && error.code === 5,
  );
});

Deno.test("open() turns a record of the Go daemon into ours when it is changed", async () => {
  await using store = await createStore();
  const Bytes = new TextEncoder().encode('{"name":"a","type":"bridge"}')
    .toBase64();
  const go = JSON.stringify([{ Bytes }, { Bytes, ifnameRequest: "data0" }]);
  await Deno.writeTextFile(`${store.dir}/c1`, go);
  using handle = await store.records.open("c1", { ifname: "eth5" });
  assert.ok(handle);
  assert.equal(handle.record.origin, "go");
  await handle.update(1, { state: "undone" });
  const read = await store.reopen().read("c1");
  assert.equal(read?.origin, "own");
  assert.deepEqual(
    read?.attachments.map(({ ifname, state }) => [ifname, state]),
    [["eth5", "done"], ["data0", "undone"]],
  );
});

Deno.test("append() and drop() change which attachments there are, the states of the others stay", async () => {
  await using store = await createStore();
  using handle = await begin(store.records, "c1");
  await handle.update(0, { state: "done", result: resultOf(1) });
  assert.equal(await handle.append([attachmentOf("hot", "net7")]), 2);
  await handle.update(2, { state: "begun" });
  assert.deepEqual(
    await statesOf(store.reopen(), "c1"),
    ["done", "todo", "begun"],
  );
  await handle.drop(1);
  assert.deepEqual(await statesOf(store.reopen(), "c1"), ["done", "begun"]);
  const read = await store.reopen().read("c1");
  assert.deepEqual(read, handle.record);
  assert.deepEqual(
    read?.attachments.map(({ ifname }) => ifname),
    ["eth0", "net7"],
  );
  await assert.rejects(handle.drop(2), RangeError);
  await handle.drop(0);
  await assert.rejects(handle.drop(0), RangeError);
  assert.deepEqual(await statesOf(store.reopen(), "c1"), ["begun"]);
});

Deno.test("read() and open() give undefined for a container without a record", async () => {
  await using store = await createStore();
  assert.equal(await store.records.read("c1"), undefined);
  assert.equal(await store.records.open("c1"), undefined);
  assert.equal(await store.records.quarantine("c1"), undefined);
  await store.records.remove("c1");
});

Deno.test("every method refuses a name that could be another file", async () => {
  await using store = await createStore();
  const names = ["", "../x", "a/b", ".tmp-x", "a\0b", "x".repeat(201)];
  for (const name of [...names, ...RESERVED_NAMES]) {
    for (
      const call of [
        (): Promise<unknown> => store.records.read(name),
        (): Promise<unknown> => store.records.open(name),
        (): Promise<unknown> => store.records.remove(name),
        (): Promise<unknown> => store.records.quarantine(name),
        (): Promise<unknown> => store.records.begin(recordOf(name)),
      ]
    ) {
      await assert.rejects(
        call(),
        (error) => error instanceof CniError && error.code === 4,
      );
    }
  }
  assert.deepEqual(await namesIn(store.dir), []);
});

Deno.test("read() throws DamagedRecordError with path and reason, quarantine() puts the file aside", async () => {
  await using store = await createStore();
  const path = `${store.dir}/c1`;
  for (const text of ["", "null", "[]", "\0\0\0\0", '[{"multusDeno":']) {
    await Deno.writeTextFile(path, text);
    await assert.rejects(
      store.records.read("c1"),
      (error) =>
        error instanceof DamagedRecordError && error.path === path &&
        error.containerId === "c1" && error.reason !== "" &&
        error.message.endsWith(`: ${path}`),
    );
  }
  assert.deepEqual([...store.records.damaged()], ["c1"]);
  const moved = await store.records.quarantine("c1") ?? "";
  assert.equal(await Deno.readTextFile(moved), '[{"multusDeno":');
  assert.ok(moved.startsWith(`${store.dir}/quarantine/`));
  assert.equal(store.records.damaged().size, 0);
  assert.equal(await store.records.read("c1"), undefined);
  using _handle = await begin(store.records, "c1");
});

Deno.test("quarantine() keeps the newest hundred files", async () => {
  await using store = await createStore();
  let time = Date.UTC(2026, 0, 1);
  const records = createRecords({
    dir: store.dir,
    now: () => new Date(time += 1_000),
  });
  for (let n = 0; n < 105; n++) {
    await Deno.writeTextFile(`${store.dir}/c${n}`, "");
    await records.quarantine(`c${n}`);
  }
  const names = await namesIn(`${store.dir}/quarantine`);
  assert.equal(names.length, 100);
  assert.ok(names[0]?.endsWith("-c5") && names[99]?.endsWith("-c104"));
});

Deno.test("list() gives every record and every damaged one, and nothing else", async () => {
  await using store = await createStore();
  for (const id of ["c2", "c1"]) {
    using _handle = await begin(store.records, id);
  }
  await Deno.writeTextFile(`${store.dir}/c3`, "[");
  await Deno.writeTextFile(`${store.dir}/.tmp-1`, "[");
  await Deno.writeTextFile(`${store.dir}/no record~`, "[");
  await Deno.mkdir(`${store.dir}/results`);
  await Deno.mkdir(`${store.dir}/directory`);
  await Deno.symlink(`${store.dir}/c1`, `${store.dir}/link`);
  const listed = await Array.fromAsync(store.reopen().list());
  assert.deepEqual(
    listed.map((
      line,
    ) => [line.containerId, "record" in line ? "record" : line.error.name]),
    [["c1", "record"], ["c2", "record"], ["c3", "DamagedRecordError"]],
  );
});

Deno.test("load() makes the directory, removes what a crash left, and fills the summaries", async () => {
  await using store = await createStore();
  const dir = `${store.dir}/new/multus`;
  await createRecords({ dir }).load();
  const { mode } = await Deno.stat(dir);
  assert.equal((mode ?? 0) & 0o777, 0o700);
  const first = createRecords({ dir });
  using handle = await begin(first, "c1");
  await handle.update(0, { state: "begun" });
  await Deno.writeTextFile(`${dir}/.tmp-left`, "half");
  await Deno.writeTextFile(`${dir}/c2`, "half");
  const second = createRecords({ dir });
  await second.load();
  assert.deepEqual(await namesIn(dir), ["c1", "c2"]);
  assert.deepEqual([...second.summaries()], [...first.summaries()]);
  assert.deepEqual([...second.damaged()], ["c2"]);
});

Deno.test("load() puts aside in a new boot what a power cut left without content, and nothing else", async () => {
  await using store = await createStore();
  const { dir } = store;
  (await begin(store.records, "c1"))[Symbol.dispose]();
  const whole = await Deno.readFile(`${dir}/c1`);
  await Deno.writeFile(`${dir}/empty`, new Uint8Array(0));
  await Deno.writeFile(`${dir}/zeroes`, whole.slice().fill(0, 1_000));
  await Deno.writeFile(`${dir}/half`, whole.subarray(0, 1_000));
  const sameBoot = store.reopen();
  await sameBoot.load();
  assert.deepEqual([...sameBoot.damaged()], ["empty", "half", "zeroes"]);
  const newBoot = store.reopen();
  await newBoot.load({ isNewBoot: true });
  assert.deepEqual([...newBoot.damaged()], ["half"]);
  assert.equal(newBoot.quarantined(), 2);
  assert.deepEqual(await namesIn(dir), ["c1", "half", "quarantine"]);
});

Deno.test("summaries() follow every change", async () => {
  await using store = await createStore();
  const { records } = store;
  using handle = await begin(records, "c1");
  await handle.update(1, { state: "done" });
  assert.deepEqual(records.summaries().get("c1"), {
    pod: { namespace: "default", name: "pod", uid: "u" },
    attachments: [
      { name: "default/a", network: "a", ifname: "eth0", state: "todo" },
      { name: "default/b", network: "b", ifname: "net1", state: "done" },
    ],
  });
  await handle.drop(1);
  assert.equal(records.summaries().get("c1")?.attachments.length, 1);
  await records.remove("c1");
  assert.equal(records.summaries().size, 0);
});

Deno.test("mustUndo() goes by the state within a boot, and undoes all after another", () => {
  const same = { recorded: "b", current: "b" };
  const table = [
    ["todo", same, false],
    ["begun", same, true],
    ["done", same, true],
    ["undone", same, false],
    ["todo", { recorded: "a", current: "b" }, true],
    ["undone", { recorded: "a", current: "b" }, true],
    ["todo", { recorded: undefined, current: "b" }, true],
    ["todo", { recorded: undefined, current: undefined }, true],
  ] as const;
  for (const [state, bootIds, expected] of table) {
    assert.equal(mustUndo({ state }, bootIds), expected, state);
  }
});

// Runs in a process of its own: makes and changes so many records, telling each change, and stays.
const CHANGER = `
  const { createRecords } = await import(${
  JSON.stringify(new URL("./records.ts", import.meta.url).href)
});
  const records = createRecords({ dir: Deno.args[0], bootId: "b" });
  const config = '{"name":"a","type":"bridge"}';
  const attachments = [0, 1, 2].map((n) =>
    ({ config, name: "a", ifname: "net" + n, isDefault: n === 0 }));
  const result = { interfaces: [{ name: "x".repeat(200) }], ips: [], routes: [] };
  const out = new TextEncoder();
  for (let round = 0; round < Number(Deno.args[1]); round++) {
    using handle = await records.begin({ containerId: "c" + round, attachments });
    for (const index of [0, 1, 2]) {
      await handle.update(index, { state: "begun" });
      await Deno.stdout.write(out.encode(index + " begun\\n"));
      await handle.update(index, { state: "done", result });
      await Deno.stdout.write(out.encode(index + " done\\n"));
    }
  }
  await Deno.stdin.read(new Uint8Array(1));`;

/** Has the changer killed when it has told so many changes, and gives those. */
async function killAfter(
  lines: number,
  { dir, rounds }: { dir: string; rounds: number },
): Promise<string[]> {
  const script = `${dir}/changer.ts~`;
  await Deno.writeTextFile(script, CHANGER);
  await using child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--no-prompt",
      `--config=${new URL("../../deno.json", import.meta.url).pathname}`,
      `--allow-read=${dir}`,
      `--allow-write=${dir}`,
      "--ext=ts",
      script,
      dir,
      String(rounds),
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const told = await readLines(child.stdout, lines);
  child.kill("SIGKILL");
  await child.stdin.abort().catch(() => {});
  return told;
}

Deno.test("a record says all that its writer told before it was killed", async () => {
  await using store = await createStore();
  for (const lines of [1, 2, 3, 4, 5, 6]) {
    const told = await killAfter(lines, { dir: store.dir, rounds: 1 });
    const states = await statesOf(store.reopen(), "c0");
    await store.reopen().remove("c0");
    const [index, state] = told.at(-1)?.split(" ") ?? [];
    const order = ["todo", "begun", "done"];
    const found = order.indexOf(states?.[Number(index)] ?? "");
    assert.ok(found >= order.indexOf(state ?? ""), `${told} ${states}`);
  }
});

Deno.test("a record is sound when its writer is killed at any point", async () => {
  await using store = await createStore();
  for (const lines of [7, 13, 29, 50, 100]) {
    await killAfter(lines, { dir: store.dir, rounds: 1_000 });
    const found = await Array.fromAsync(store.reopen().list());
    assert.ok(found.length >= lines / 6, `${found.length} of ${lines}`);
    for (const listed of found) {
      assert.ok("record" in listed, listed.containerId);
      assert.equal(listed.record.attachments.length, 3);
      await store.reopen().remove(listed.containerId);
    }
  }
});

/** Reads so many lines, and lets go of the stream. */
async function readLines(
  stream: ReadableStream<Uint8Array>,
  count: number,
): Promise<string[]> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    if (text.split("\n").length > count) break;
  }
  return text.split("\n").slice(0, -1);
}

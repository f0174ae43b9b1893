import assert from "node:assert/strict";
import fc from "fast-check";
import { parseConf } from "../cni/conf.ts";
import {
  type Candidate,
  type Choice,
  chooseConf,
  findOutSorting,
  type HeldChoice,
  holdChoice,
  toCandidate,
} from "./auto_config_choice.ts";

const DIR = "/etc/cni/net.d";

function file(name: string): { name: string; path: string } {
  return { name, path: `${DIR}/${name}` };
}

function good(name: string): Candidate {
  return toCandidate(file(name), parseConf('{"name":"a","type":"bridge"}'));
}

function own(name: string): Candidate {
  const text = '{"name":"a","plugins":[{"type":"multus-shim"}]}';
  return toCandidate(file(name), parseConf(text));
}

function broken(name: string): Candidate {
  return { ...file(name), fault: "Configuration is not JSON" };
}

function nameOf(choice: Choice): string {
  return choice.kind === "chosen" ? choice.name : "";
}

Deno.test("toCandidate() finds Multus wherever it stands in a configuration", () => {
  const texts = [
    '{"name":"a","type":"multus"}',
    '{"name":"a","type":"multus-shim","clusterNetwork":"x"}',
    '{"name":"a","plugins":[{"type":"multus"}]}',
    '{"name":"a","plugins":[{"type":"tuning"},{"type":"multus-shim"}]}',
    '{"name":"a","type":"multus-shim","plugins":[{"type":"bridge"}]}',
    '{"name":"a","type":"bridge","delegates":[{"type":"multus"}]}',
    '{"name":"a","type":"flannel","delegate":{"type":"multus-shim"}}',
    '{"name":"a","plugins":[{"type":"x","ipam":{"deep":[[{"type":"multus"}]]}}]}',
  ];
  for (const text of texts) {
    const { list, fault = "" } = toCandidate(file("05-x"), parseConf(text));
    assert.match(fault, /Multus/, text);
    assert.ok(list, text);
  }
});

Deno.test("toCandidate() takes others for what they are", () => {
  const texts = [
    '{"name":"multus","type":"bridge"}',
    '{"name":"a","plugins":[{"type":"multus-like"},{"type":"portmap"}]}',
    '{"name":"a","type":"bridge","args":{"cni":{"type":"multus"}}}',
  ];
  for (const text of texts) {
    assert.equal(toCandidate(file("05-x"), parseConf(text)).fault, undefined);
  }
});

Deno.test("chooseConf() takes the lexically first that can be used", () => {
  const table: [name: string, candidates: Candidate[], chosen: string][] = [
    ["nothing", [], ""],
    ["one", [good("10-a.conf")], "10-a.conf"],
    ["not in order", [good("10-b.conf"), good("05-a.conf")], "05-a.conf"],
    ["whole names", [good("9-a.conf"), good("10-a.conf")], "10-a.conf"],
    ["capitals first", [good("a.conf"), good("B.conf")], "B.conf"],
    [
      "broken passed over",
      [broken("05-a.conf"), good("10-b.conf")],
      "10-b.conf",
    ],
    ["own passed over", [own("05-x.conflist"), good("10-b.conf")], "10-b.conf"],
    ["only own", [own("00-multus.conf"), own("05-x.conflist")], ""],
    ["only broken", [broken("10-a.conf")], ""],
  ];
  for (const [what, candidates, chosen] of table) {
    assert.equal(nameOf(chooseConf(candidates, { dir: DIR })), chosen, what);
  }
});

Deno.test("chooseConf() says why, and what it passed over", () => {
  const candidates = [
    own("00-multus.conf"),
    broken("05-a.conf"),
    good("10-b.conf"),
    good("20-c.conf"),
  ];
  assert.equal(
    chooseConf(candidates, { dir: DIR }).reason,
    'lexically first CNI configuration of /etc/cni/net.d; passed over: "00-multus.conf" (Multus itself), "05-a.conf" (Configuration is not JSON)',
  );
  const faulty = { ...file("0"), fault: "x".repeat(5_000) };
  const many = ["1", "2", "3", "4"].map((name) => ({ ...faulty, name }));
  const { reason } = chooseConf(many, { dir: DIR });
  assert.match(reason, /^No CNI configuration for the default network in /);
  assert.ok(reason.length < 700, reason);
});

Deno.test("chooseConf() never takes the next best of a pinned file", () => {
  const others = [good("05-a.conf"), good("20-c.conf")];
  const options = { dir: DIR, pinned: "10-b.conf" };
  const table: [Candidate[], chosen: string, reason: RegExp][] = [
    [[good("10-b.conf")], "10-b.conf", /pinned by multusMasterCNI/],
    [[], "", /file is not there, .*"10-b.conf" in/],
    [[broken("10-b.conf")], "", /cannot be used \(Configuration is not JSON\)/],
    [[own("10-b.conf")], "", /cannot be used \(Multus itself\)/],
  ];
  for (const [candidates, chosen, reason] of table) {
    const choice = chooseConf([...others, ...candidates], options);
    assert.equal(nameOf(choice), chosen);
    assert.match(choice.reason, reason);
  }
});

Deno.test("chooseConf() depends on the files, not on their order", () => {
  const kinds = [good, own, broken];
  const files = fc.uniqueArray(
    fc.record({ name: fc.string({ minLength: 1 }), kind: fc.nat(2) }),
    { selector: ({ name }) => name },
  );
  fc.assert(fc.property(files, fc.infiniteStream(fc.nat()), (set, random) => {
    const candidates = set.flatMap(({ name, kind }) =>
      kinds[kind]?.(name) ?? []
    );
    const shuffled = candidates
      .map((candidate) => ({ candidate, at: Number(random.next().value) }))
      .toSorted((a, b) => a.at - b.at)
      .map(({ candidate }) => candidate);
    const [expected = ""] = set.filter(({ kind }) => kind === 0)
      .map(({ name }) => name).sort();
    const choice = chooseConf(shuffled, { dir: DIR });
    assert.equal(nameOf(choice), expected);
    assert.deepEqual(choice, chooseConf(candidates, { dir: DIR }));
  }));
});

Deno.test("holdChoice() holds to a lost file for its grace, and to nothing else", () => {
  const a = chooseConf([good("05-a.conf")], { dir: DIR });
  const b = chooseConf([good("10-b.conf")], { dir: DIR });
  const missing = chooseConf([], { dir: DIR });
  const table: [string, HeldChoice | undefined, Choice, number, HeldChoice][] =
    [
      ["the first at all", undefined, b, 0, { choice: b }],
      ["none yet", undefined, missing, 0, { choice: missing }],
      ["one after none", { choice: missing }, b, 0, { choice: b }],
      ["a better one at once", { choice: b }, a, 0, { choice: a }],
      ["a worse one later", { choice: a }, b, 7, { choice: a, lostAt: 7 }],
      ["none later", { choice: a }, missing, 7, { choice: a, lostAt: 7 }],
      ["still in grace", { choice: a, lostAt: 7 }, b, 106, {
        choice: a,
        lostAt: 7,
      }],
      ["after it", { choice: a, lostAt: 7 }, b, 107, { choice: b }],
      ["after it, none", { choice: a, lostAt: 7 }, missing, 107, {
        choice: missing,
      }],
      ["back in grace", { choice: a, lostAt: 7 }, a, 50, { choice: a }],
      ["better in grace", { choice: b, lostAt: 7 }, a, 50, { choice: a }],
    ];
  for (const [what, held, seen, now, expected] of table) {
    const holds = holdChoice(held, seen, { now, graceMs: 100 });
    assert.deepEqual(holds, expected, what);
  }
});

Deno.test("findOutSorting() finds the first CNI configuration before ours, of whomever", () => {
  const table: [Candidate[], string | undefined][] = [
    [[], undefined],
    [[own("00-multus.conf"), good("10-a.conf")], undefined],
    [[good("00-aaa.conflist")], "00-aaa.conflist"],
    [[own("00-b.conf"), good("00-c.conf")], "00-b.conf"],
    [[broken("00-aaa.conf")], undefined],
    [[good("00-multus.conflist")], undefined],
  ];
  for (const [candidates, expected] of table) {
    assert.equal(
      findOutSorting(candidates, "00-multus.conf")?.name,
      expected,
    );
  }
});

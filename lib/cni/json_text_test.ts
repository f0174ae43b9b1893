import assert from "node:assert/strict";
import fc from "fast-check";
import {
  appendElements,
  getMember,
  isJsonObject,
  type JsonText,
  mapElements,
  mergeObjects,
  readElements,
  readMembers,
  removeMember,
  setMember,
} from "./json_text.ts";

/** White space, wherever JSON allows it. */
const space = fc.constantFrom("", "", " ", "\n\t", "\r\n  ");

/** Keys that objects of JavaScript treat in a way of their own, and any others. */
const key = fc.oneof(
  fc.constantFrom("__proto__", "constructor", "2", "1", "", "a", 'q"\\', "é\n"),
  fc.string({ unit: "binary", maxLength: 6 }),
);

/** Scalars, numbers in forms that do not survive `JSON.stringify`. */
const scalar: fc.Arbitrary<JsonText> = fc.oneof(
  fc.constantFrom(
    "9007199254740993",
    "1.0",
    "-0",
    "1E+2",
    "1e400",
    "true",
    "false",
    "null",
    '"\\u0061\\/"',
    '"}],\\"{["',
    '"\\\\"',
  ),
  fc.string({ unit: "binary", maxLength: 8 }).map((text) =>
    JSON.stringify(text)
  ),
);

const { value: json } = fc.letrec<{ value: JsonText; object: JsonText }>(
  (tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      scalar,
      arrayOf(tie("value")),
      tie("object"),
    ),
    object: objectOf(tie("value")),
  }),
);
const object = objectOf(json);
const array = arrayOf(json);

function arrayOf(element: fc.Arbitrary<JsonText>): fc.Arbitrary<JsonText> {
  const items = fc.array(fc.tuple(space, element, space), { maxLength: 4 });
  return fc.tuple(space, space, items, space).map(
    ([lead, none, parts, trail]) => {
      const body = parts.map((part) => part.join("")).join(",");
      return `${lead}[${parts.length === 0 ? none : body}]${trail}`;
    },
  );
}

function objectOf(value: fc.Arbitrary<JsonText>): fc.Arbitrary<JsonText> {
  const member = fc.tuple(space, key, space, space, value, space)
    .map(([a, name, b, c, text, d]) =>
      `${a}${JSON.stringify(name)}${b}:${c}${text}${d}`
    );
  const items = fc.array(member, { maxLength: 5 });
  return fc.tuple(space, space, items, space).map((
    [lead, none, parts, trail],
  ) => `${lead}{${parts.length === 0 ? none : parts.join(",")}}${trail}`);
}

function keysOf(text: JsonText): string[] {
  return readMembers(text).map((member) => member.key);
}

Deno.test("setMember() replaces in place and appends otherwise", () => {
  const table: [text: string, key: string, value: string, expected: string][] =
    [
      ["{}", "a", "1", '{"a":1}'],
      ["{ }", "a", "1", '{"a":1 }'],
      ['{"a":1}', "a", "2", '{"a":2}'],
      ['{"a":1}', "b", "1.0", '{"a":1,"b":1.0}'],
      ['{\n  "a": 1\n}', "b", "2", '{\n  "a": 1,"b":2\n}'],
      [' { "a" : 1 , "b" : 2 } ', "a", "[]", ' { "a" : [] , "b" : 2 } '],
      ['{"\\u0061":1}', "a", "2", '{"\\u0061":2}'],
      ['{"x":"a\\":1","a":0}', "a", "2", '{"x":"a\\":1","a":2}'],
      ['{"n":{"a":1}}', "a", "2", '{"n":{"a":1},"a":2}'],
      ['{"a":1,"b":2,"a":3}', "a", "4", '{"b":2,"a":4}'],
      ['{"a":1,"a":2}', "a", "4", '{"a":4}'],
      ['{"a":9007199254740993}', "b", "1", '{"a":9007199254740993,"b":1}'],
      ['{"2":1,"1":2}', "0", "3", '{"2":1,"1":2,"0":3}'],
      ['{"a":1}', "__proto__", "{}", '{"a":1,"__proto__":{}}'],
      ['{"__proto__":1}', "__proto__", "2", '{"__proto__":2}'],
      ['{"a":1}', 'q"\n', "2", '{"a":1,"q\\"\\n":2}'],
    ];
  for (const [text, key, value, expected] of table) {
    assert.equal(setMember(text, key, value), expected);
  }
});

Deno.test("removeMember() takes out every member of the key and one comma each", () => {
  const table: [text: string, key: string, expected: string][] = [
    ["{}", "a", "{}"],
    ['{"a":1}', "a", "{}"],
    ['{ "a": 1 }', "a", "{ }"],
    ['{"a":1,"b":2}', "a", '{"b":2}'],
    ['{"a":1,"b":2}', "b", '{"a":1}'],
    ['{"a":1,"b":2,"c":3}', "b", '{"a":1,"c":3}'],
    ['{"a":1,"b":2,"a":3,"c":4,"a":5}', "a", '{"b":2,"c":4}'],
    ['{"a":1,"a":3,"c":4}', "a", '{"c":4}'],
    ['{\n  "a": 1,\n  "b": 2\n}', "a", '{\n  "b": 2\n}'],
    ['{\n  "a": 1,\n  "b": 2\n}', "b", '{\n  "a": 1\n}'],
    ['{"__proto__":{"a":1},"a":2}', "__proto__", '{"a":2}'],
  ];
  for (const [text, key, expected] of table) {
    assert.equal(removeMember(text, key), expected);
  }
});

Deno.test("getMember() gives the text of the last value of the key", () => {
  const text =
    '{"n": 1.0 ,"b":9007199254740993,"a":[1, 2],"n":"x\\"}","o":{"n":0}}';
  assert.equal(getMember(text, "n"), '"x\\"}"');
  assert.equal(getMember(text, "b"), "9007199254740993");
  assert.equal(getMember(text, "a"), "[1, 2]");
  assert.equal(getMember(text, "o"), '{"n":0}');
  assert.equal(getMember(text, "constructor"), undefined);
  assert.equal(getMember(text, "__proto__"), undefined);
});

Deno.test("readMembers() keeps the order in which members stand", () => {
  assert.deepEqual(keysOf('{"2":0,"10":0,"1":0,"__proto__":0,"a":0,"10":1}'), [
    "2",
    "1",
    "__proto__",
    "a",
    "10",
  ]);
});

Deno.test("mergeObjects() sets every member of the second in the first", () => {
  const table: [base: string, over: string, expected: string][] = [
    ["{}", "{}", "{}"],
    ['{"a":1}', "{ }", '{"a":1}'],
    ['{"a":1}', '{"b":1.0,"a":2}', '{"a":2,"b":1.0}'],
    ['{"a":{"x":1}}', '{"a":{"y":2}}', '{"a":{"y":2}}'],
    ['{"a":1}', '{"b":1,"b":2}', '{"a":1,"b":2}'],
    ["{}", '{"2":1,"1":2,"__proto__":3}', '{"2":1,"1":2,"__proto__":3}'],
  ];
  for (const [base, over, expected] of table) {
    assert.equal(mergeObjects(base, over), expected);
  }
});

Deno.test("mapElements() and appendElements() leave what stands between alone", () => {
  assert.equal(
    mapElements("[ 1.0,\n{} ]", (e) => `[${e}]`),
    "[ [1.0],\n[{}] ]",
  );
  assert.equal(mapElements("[ ]", () => "1"), "[ ]");
  assert.equal(appendElements("[ 1.0 ]", ["2", '"3"']), '[ 1.0,2,"3" ]');
  assert.equal(appendElements(" [ ]", ["1"]), " [1 ]");
  assert.equal(appendElements("[1]", []), "[1]");
});

Deno.test("every reader refuses with a SyntaxError what is not of its kind", () => {
  const notObjects = ["", " ", "{", "[]", "1", '"{}"', "null", "{a:1}", "{}x"];
  for (const text of notObjects) {
    assert.throws(() => readMembers(text), SyntaxError, text);
    assert.throws(() => getMember(text, "a"), SyntaxError, text);
    assert.throws(() => setMember(text, "a", "1"), SyntaxError, text);
    assert.throws(() => removeMember(text, "a"), SyntaxError, text);
    assert.throws(() => mergeObjects("{}", text), SyntaxError, text);
  }
  for (const text of ["", "[", "{}", "1", "[1,]", "[]]", "true"]) {
    assert.throws(() => readElements(text), SyntaxError, text);
    assert.throws(() => mapElements(text, (e) => e), SyntaxError, text);
    assert.throws(() => appendElements(text, ["1"]), SyntaxError, text);
  }
  assert.throws(() => readMembers(" [1]"), /Not a JSON object: an array/);
  assert.throws(() => readElements("null"), /Not a JSON array: null/);
});

Deno.test("a value that is not JSON cannot be spliced in", () => {
  for (const value of ["", '1,"b":2', "x", "1}", "{"]) {
    assert.throws(() => setMember("{}", "a", value), SyntaxError, value);
    assert.throws(() => appendElements("[]", [value]), SyntaxError, value);
    assert.throws(() => mapElements("[1]", () => value), SyntaxError, value);
  }
});

Deno.test("readMembers() refuses what is nested too deep, without overflowing", () => {
  const nested = (depth: number): string =>
    `{"a":${"[".repeat(depth)}${"]".repeat(depth)}}`;
  assert.equal(getMember(nested(1000), "a")?.length, 2000);
  assert.throws(() => getMember(nested(1001), "a"), /deeper than 1000 levels/);
  assert.throws(() => getMember(nested(1_000_000), "a"), SyntaxError);
});

Deno.test("readMembers() finds the spans that JSON.parse sees", () => {
  fc.assert(fc.property(object, (text) => {
    const members = readMembers(text);
    const parsed = new Map(Object.entries(JSON.parse(text)));
    assert.equal(members.length, parsed.size);
    for (const { key, keyStart, start, end } of members) {
      assert.deepEqual(JSON.parse(text.slice(start, end)), parsed.get(key));
      assert.equal(text.charAt(keyStart), '"');
    }
  }));
});

Deno.test("setMember() changes one member and no byte of the others", () => {
  fc.assert(fc.property(object, key, json, (text, key, value) => {
    const others = readMembers(text).filter((member) => member.key !== key);
    const edited = setMember(text, key, value);
    assert.deepEqual(getMember(edited, key), value.trim());
    assert.deepEqual(
      keysOf(edited).filter((other) => other !== key),
      others.map((member) => member.key),
    );
    for (const { key: other, start, end } of others) {
      assert.equal(getMember(edited, other), text.slice(start, end));
    }
    assert.equal(setMember(edited, key, value), edited);
  }));
});

Deno.test("setMember() and removeMember() leave at most one of a key that stood more than once", () => {
  const pair = fc.tuple(fc.constantFrom("a", "b"), scalar);
  const write = (pairs: readonly (readonly [string, string])[]): JsonText =>
    `{${pairs.map(([name, value]) => `"${name}":${value}`).join(",")}}`;
  fc.assert(fc.property(fc.array(pair, { minLength: 1 }), (pairs) => {
    const last = pairs.findLastIndex(([name]) => name === "a");
    const set: [string, string][] = pairs
      .filter(([name], index) => name !== "a" || index === last)
      .map(([name, value]) => [name, name === "a" ? "1.0" : value]);
    if (last === -1) set.push(["a", "1.0"]);
    assert.equal(setMember(write(pairs), "a", "1.0"), write(set));
    const kept = pairs.filter(([name]) => name !== "a");
    assert.equal(removeMember(write(pairs), "a"), write(kept));
  }));
});

Deno.test("mergeObjects() means the same as a spread of the parsed objects", () => {
  fc.assert(fc.property(object, object, (base, over) => {
    const merged = JSON.parse(mergeObjects(base, over));
    // Not a spread: it would take "__proto__" for the prototype.
    const expected = new Map([
      ...Object.entries(JSON.parse(base)),
      ...Object.entries(JSON.parse(over)),
    ]);
    assert.deepEqual(new Map(Object.entries(merged)), expected);
  }));
});

Deno.test("readElements(), mapElements() and appendElements() agree with JSON.parse", () => {
  fc.assert(
    fc.property(array, fc.array(json, { maxLength: 3 }), (text, more) => {
      const elements = readElements(text);
      assert.deepEqual(elements.map((e) => JSON.parse(e)), JSON.parse(text));
      assert.equal(mapElements(text, (element) => element), text);
      assert.deepEqual(
        JSON.parse(appendElements(text, more)),
        [...elements, ...more].map((element) => JSON.parse(element)),
      );
    }),
  );
});

Deno.test("no text makes the readers throw anything but a SyntaxError", () => {
  const piece = fc.constantFrom(
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    "1",
    "a",
  );
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(piece, { maxLength: 12 }).map((parts) => parts.join("")),
  );
  fc.assert(fc.property(text, (text) => {
    for (const read of [readMembers, readElements]) {
      try {
        read(text);
      } catch (error) {
        assert.ok(error instanceof SyntaxError);
      }
    }
  }));
});

Deno.test("isJsonObject() tells objects from the other kinds", () => {
  assert.ok(isJsonObject({}));
  for (const value of [[], null, undefined, "{}", 1, true]) {
    assert.ok(!isJsonObject(value));
  }
});

import assert from "node:assert/strict";
import fc from "fast-check";
import {
  appendPlugins,
  type ConfOptions,
  isMultusType,
  mapPlugins,
  type NetConfList,
  parseConf,
  parseConfList,
  parsePluginConf,
  parseSingleConf,
} from "./conf.ts";
import { CniError } from "./error.ts";
import {
  getMember,
  readElements,
  removeMember,
  setMember,
} from "./json_text.ts";
import { SUPPORTED_VERSIONS } from "./version.ts";

/** As people write them: unknown keys, numbers that a double cannot hold, order that counts. */
const LIST = `{
  "name": "n", "cniVersion": "1.0.0",
  "2": 1.0, "1": 9007199254740993,
  "plugins": [
    {"type": "bridge", "mtu": 1.0, "capabilities": {"ips": true, "mac": false}},
    { "z": {"b": 1e2, "a": 0}, "type": "tuning" }
  ]
}
`;
const SINGLE = ' { "x" : 1.0, "type":"macvlan", "name":"s" } ';

function errorOf(run: () => unknown): CniError {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof CniError, String(error));
    return error;
  }
  assert.fail("Nothing was thrown");
}

Deno.test("parseConf() reads a list", () => {
  const list = parseConf(LIST);
  const { plugins, ...rest } = list;
  assert.deepEqual(rest, {
    name: "n",
    cniVersion: "1.0.0",
    disableCheck: false,
    disableGC: false,
    loadOnlyInlinedPlugins: false,
    text: LIST,
    single: false,
  });
  assert.deepEqual(plugins.map(({ type }) => type), ["bridge", "tuning"]);
  assert.deepEqual([...plugins[0]?.capabilities ?? []], ["ips"]);
  assert.equal(
    plugins[1]?.text,
    '{ "z": {"b": 1e2, "a": 0}, "type": "tuning" }',
  );
  assert.deepEqual(parseConfList(LIST), list);
});

Deno.test("parseConf() reads a single plugin as a list of one", () => {
  const list = parseConf(SINGLE);
  assert.equal(list.name, "s");
  assert.equal(list.cniVersion, "0.1.0");
  assert.ok(list.single);
  assert.equal(list.text, SINGLE);
  assert.deepEqual(list.plugins, [
    { type: "macvlan", capabilities: new Set(), text: SINGLE },
  ]);
  assert.deepEqual(parseSingleConf(SINGLE), list);
});

Deno.test("parseConf() reads the same text once, whatever was read between, and an invalid one each time", () => {
  const textOf = (name: string): string =>
    JSON.stringify({ cniVersion: "1.0.0", name, type: "noop" });
  const first = parseConf(textOf("first"));
  assert.equal(parseConf(textOf("first")), first);
  for (let at = 0; at < 500; at++) {
    assert.equal(parseConf(textOf(`other-${at}`)).name, `other-${at}`);
  }
  assert.deepEqual(parseConf(textOf("first")), first);
  const nameless = `{"type":"noop"}`;
  const named = ["a", "b"].map((defaultName) =>
    parseConf(nameless, { defaultName }).name
  );
  assert.deepEqual(named, ["a", "b"]);
  for (let time = 0; time < 2; time++) {
    assert.throws(() => parseConf(nameless), CniError);
  }
});

Deno.test("a single plugin's own keys are not taken for the network's", () => {
  const list = parseConf(
    '{"name":"a","type":"b","disableCheck":{"own":1},"cniVersions":["1.0.0"]}',
  );
  assert.ok(!list.disableCheck);
  assert.equal(list.cniVersion, "0.1.0");
});

Deno.test("parseConf() speaks every supported version", () => {
  for (const version of SUPPORTED_VERSIONS) {
    for (const text of [LIST, SINGLE]) {
      const edited = setMember(text, "cniVersion", JSON.stringify(version));
      assert.equal(parseConf(edited).cniVersion, version);
    }
  }
});

Deno.test("parseConf() takes the highest known of cniVersions and cniVersion", () => {
  const table: [own: unknown, listed: unknown, expected: string][] = [
    [undefined, undefined, "0.1.0"],
    [null, null, "0.1.0"],
    ["", [], "0.1.0"],
    ["0.3.1", [], "0.3.1"],
    ["0.3.1", ["1.0.0", "0.4.0"], "1.0.0"],
    ["1.0.0", ["0.3.1"], "1.0.0"],
    [undefined, ["0.4.0", "0.3.0"], "0.4.0"],
    ["0.4.0", ["1.0.0", "2.0.0", "1.10.0"], "1.0.0"],
    ["9.0.0", ["1.1.0"], "1.1.0"],
  ];
  for (const [cniVersion, cniVersions, expected] of table) {
    const plugins = [{ type: "a" }];
    const text = JSON.stringify({
      name: "n",
      cniVersion,
      cniVersions,
      plugins,
    });
    assert.equal(parseConf(text).cniVersion, expected, text);
  }
});

Deno.test("parseConf() reads the switches as booleans or words", () => {
  const keys = ["disableCheck", "disableGC", "loadOnlyInlinedPlugins"] as const;
  for (const key of keys) {
    for (
      const [value, expected] of [
        ["true", 1],
        ['"true"', 1],
        ['"True"', 1],
        ["false", 0],
        ['"false"', 0],
        ["null", 0],
      ] as const
    ) {
      const list = parseConf(setMember(LIST, key, value));
      assert.equal(Number(list[key]), expected, `${key} ${value}`);
    }
    for (const value of ['"yes"', '""', "1", "[]", "{}"]) {
      const error = errorOf(() => parseConf(setMember(LIST, key, value)));
      assert.equal(error.code, 7);
      assert.match(
        error.message,
        new RegExp(`^"${key}" must be true or false: `),
      );
    }
  }
});

Deno.test("parseConf() says what is wrong, where, and what stands there", () => {
  const of = (key: string, value: string): string =>
    setMember(LIST, key, value);
  const plugin = (key: string, value: string): string =>
    of("plugins", `[{"type":"a"},${setMember('{"type":"b"}', key, value)}]`);
  const table: [text: string, code: number, message: RegExp | string][] = [
    ["", 6, "Configuration is not JSON: Unexpected end of JSON input"],
    ["{", 6, /^Configuration is not JSON: .* position 1/],
    ["{,}", 6, /^Configuration is not JSON: .* position 1/],
    [`${"[".repeat(2000)}`, 6, /^Configuration is not JSON: /],
    [
      of("deep", "[".repeat(2000) + "]".repeat(2000)),
      6,
      "Configuration is not usable: JSON nested deeper than 1000 levels",
    ],
    ["[1,2]", 7, "Configuration must be a JSON object: an array"],
    ["null", 7, "Configuration must be a JSON object: null"],
    ['"x"', 7, 'Configuration must be a JSON object: "x"'],
    [removeMember(LIST, "name"), 7, '"name" of the network is missing'],
    [of("name", '""'), 7, '"name" of the network is missing'],
    [of("name", "5"), 7, '"name" must be a string: 5'],
    [of("name", '"../a"'), 7, /^Invalid network name .*: "\.\.\/a"$/],
    [of("plugins", "[]"), 7, 'No plugin in network "n"'],
    [
      of("plugins", "{}"),
      7,
      '"plugins" of network "n" must be a list: an object',
    ],
    [
      of("plugins", "[5]"),
      7,
      '"plugins[0]" of network "n" must be an object: 5',
    ],
    [plugin("type", '""'), 7, '"plugins[1].type" of network "n" is missing'],
    [plugin("type", "null"), 7, '"plugins[1].type" of network "n" is missing'],
    [
      plugin("type", '"../sh"'),
      7,
      '"plugins[1].type" of network "n" must be a plain file name: "../sh"',
    ],
    [
      plugin("type", "[]"),
      7,
      '"plugins[1].type" of network "n" must be a plain file name: an array',
    ],
    [
      plugin("capabilities", '["ips"]'),
      7,
      '"plugins[1].capabilities" of network "n" must be an object: an array',
    ],
    [
      plugin("capabilities", '{"ips":"yes"}'),
      7,
      '"plugins[1].capabilities" of network "n" must be true or false for "ips": "yes"',
    ],
    [
      setMember(SINGLE, "type", '"a/b"'),
      7,
      '"type" of network "s" must be a plain file name: "a/b"',
    ],
    [removeMember(SINGLE, "type"), 7, '"type" of network "s" is missing'],
    [of("cniVersion", "1"), 7, '"cniVersion" must be a string: 1'],
    [of("cniVersion", '"9.9.9"'), 1, /^Unsupported CNI version .*: "9\.9\.9"$/],
    [
      setMember(SINGLE, "cniVersion", '"0.3"'),
      1,
      /^Unsupported CNI version .*: "0\.3"$/,
    ],
    [
      of("cniVersions", '"1.0.0"'),
      7,
      '"cniVersions" must be a list of strings: "1.0.0"',
    ],
    [
      of("cniVersions", "[1]"),
      7,
      '"cniVersions" must be a list of strings: an array',
    ],
    [
      setMember(removeMember(LIST, "cniVersion"), "cniVersions", '["2.0.0"]'),
      1,
      /^Unsupported CNI version .*: "2\.0\.0"$/,
    ],
  ];
  for (const [text, code, message] of table) {
    const error = errorOf(() => parseConf(text));
    assert.equal(error.code, code, error.message);
    if (typeof message === "string") assert.equal(error.message, message);
    else assert.match(error.message, message);
  }
});

Deno.test("a type that is no plain file name is refused", () => {
  for (
    const type of ["/bin/sh", "a/", "..", ".", "a\0", "a\n", "x".repeat(256)]
  ) {
    const text = JSON.stringify({ name: "n", type });
    assert.equal(errorOf(() => parseConf(text)).code, 7, type);
  }
  for (const type of ["a", "...", "host-local", "x".repeat(255), "a b"]) {
    assert.equal(
      parseConf(JSON.stringify({ name: "n", type })).plugins[0]?.type,
      type,
    );
  }
});

Deno.test("parseSingleConf() and parseConfList() say when it is the other kind", () => {
  assert.equal(
    errorOf(() => parseSingleConf(LIST)).message,
    "This is a list: name it .conflist",
  );
  assert.equal(
    errorOf(() => parseConfList(SINGLE)).message,
    "This is a single plugin, not a list: name it .conf",
  );
});

Deno.test("parseConf() puts the default name in when there is none", () => {
  const table: [text: string, expected: string][] = [
    ['{"type":"a"}', '{"type":"a","name":"d"}'],
    ['{"name":"","type":"a"}', '{"name":"d","type":"a"}'],
    ['{"name":null,"type":"a"}', '{"name":"d","type":"a"}'],
    ['{"name":"own","type":"a"}', '{"name":"own","type":"a"}'],
    [
      '{"plugins":[{"type":"a","x":1.0}]}',
      '{"plugins":[{"type":"a","x":1.0}],"name":"d"}',
    ],
  ];
  for (const [text, expected] of table) {
    const list = parseConf(text, { defaultName: "d" });
    assert.equal(list.text, expected);
    assert.equal(list.name, getMember(expected, "name")?.slice(1, -1));
    if (list.single) assert.equal(list.plugins[0]?.text, expected);
    assert.deepEqual(parseConf(list.text), list);
  }
  const options: ConfOptions = { defaultName: "no name" };
  assert.equal(errorOf(() => parseConf('{"type":"a"}', options)).code, 7);
});

Deno.test("parseConfList() takes a list without plugins only where it is allowed", () => {
  const options: ConfOptions = { allowEmptyPlugins: true };
  for (const text of ['{"name":"a"}', '{"name":"a","plugins":[]}']) {
    assert.deepEqual(parseConfList(text, options).plugins, []);
    assert.equal(
      errorOf(() => parseConfList(text)).message,
      'No plugin in network "a"',
    );
    const inlined = setMember(text, "loadOnlyInlinedPlugins", "true");
    assert.equal(errorOf(() => parseConfList(inlined, options)).code, 7);
  }
});

Deno.test("the last of two equal keys is the one that counts", () => {
  const list = parseConf(
    '{"name":"a","plugins":[{"type":"x"}],"name":"b","plugins":[{"type":"y","type":"z"}]}',
  );
  assert.equal(list.name, "b");
  assert.deepEqual(list.plugins.map(({ type }) => type), ["z"]);
});

Deno.test("mapPlugins() edits each plugin and nothing around", () => {
  const edited = mapPlugins(
    parseConf(LIST),
    (text, { type }) => setMember(text, "seen", JSON.stringify(type)),
  );
  assert.equal(
    edited.text,
    LIST.replace("false}}", 'false},"seen":"bridge"}')
      .replace('"tuning" }', '"tuning","seen":"tuning" }'),
  );
  assert.equal(getMember(edited.plugins[1]?.text ?? "", "seen"), '"tuning"');
  assert.deepEqual(parseConf(edited.text), edited);
});

Deno.test("mapPlugins() edits a single plugin's whole object", () => {
  const edited = mapPlugins(
    parseConf(SINGLE),
    (text) => setMember(text, "deviceID", '"0000:00:01.0"'),
  );
  assert.equal(
    edited.text,
    ' { "x" : 1.0, "type":"macvlan", "name":"s","deviceID":"0000:00:01.0" } ',
  );
  assert.equal(edited.plugins[0]?.text, edited.text);
  assert.ok(edited.single);
});

Deno.test("mapPlugins() of a list without plugins changes nothing", () => {
  const options: ConfOptions = { allowEmptyPlugins: true };
  for (const text of ['{"name":"a","plugins":null}', '{"name":"a"}']) {
    const list = parseConfList(text, options);
    assert.deepEqual(mapPlugins(list, () => "broken"), list);
  }
});

Deno.test("mapPlugins() refuses an edit that breaks the configuration", () => {
  for (const text of [LIST, SINGLE]) {
    const list = parseConf(text);
    const without = (plugin: string): string => removeMember(plugin, "type");
    assert.equal(errorOf(() => mapPlugins(list, without)).code, 7);
  }
  assert.throws(() => mapPlugins(parseConf(LIST), () => "{"), SyntaxError);
});

Deno.test("appendPlugins() puts plugins behind those that stand there", () => {
  const options: ConfOptions = { allowEmptyPlugins: true };
  const more = ['{"type":"x","n":1.0}', '{"type":"y"}'];
  for (const text of ['{"name":"a"}', '{"name":"a","plugins":null}', LIST]) {
    const list = parseConfList(text, options);
    const longer = appendPlugins(list, more);
    assert.equal(longer.plugins.length, list.plugins.length + 2);
    assert.equal(longer.plugins.at(-2)?.text, more[0]);
    assert.deepEqual(parseConf(longer.text), longer);
    assert.equal(appendPlugins(list, []), list);
  }
  const list = parseConf(LIST);
  assert.equal(
    errorOf(() => appendPlugins(list, ['{"a":1}'])).message,
    '"plugins[2].type" of network "n" is missing',
  );
  assert.equal(errorOf(() => appendPlugins(parseConf(SINGLE), more)).code, 7);
});

Deno.test("parsePluginConf() needs a type and no name", () => {
  assert.equal(parsePluginConf('{"type":"a"}').type, "a");
  assert.equal(
    errorOf(() => parsePluginConf('{"name":"a"}')).message,
    '"type" is missing',
  );
  assert.equal(errorOf(() => parsePluginConf("x")).code, 6);
});

Deno.test("isMultusType() knows the names of the program itself", () => {
  assert.deepEqual(
    ["multus", "multus-shim", "bridge", "multus2", ""].map(isMultusType),
    [true, true, false, false, false],
  );
});

Deno.test("an edit of a plugin keeps every other byte, and reads back", () => {
  const scalar = fc.constantFrom(
    "9007199254740993",
    "1.0",
    "-0",
    '"\\u0061"',
    "[1, 2]",
  );
  const plugin = fc.tuple(fc.stringMatching(/^[a-z]{1,8}$/), scalar)
    .map(([type, value]) => `{ "k": ${value},"type" :"${type}"}`);
  fc.assert(fc.property(fc.array(plugin, { minLength: 1 }), (plugins) => {
    const text = `{"name":"a", "plugins":[ ${plugins.join(" ,\n")} ], "z":1.0}`;
    const list = parseConf(text);
    assert.deepEqual(list.plugins.map((p) => p.text), plugins);
    assert.equal(mapPlugins(list, (p) => p).text, text);
    const edited = mapPlugins(list, (p) => setMember(p, "new", "1.0"));
    const undone = mapPlugins(edited, (p) => removeMember(p, "new"));
    assert.equal(undone.text, text);
    const texts = readElements(getMember(edited.text, "plugins") ?? "");
    assert.deepEqual(edited.plugins.map((p) => p.text), texts);
  }));
});

Deno.test("no text makes the parsers throw anything but a CniError of code 1, 6 or 7", () => {
  const conf = fc.record({
    name: fc.oneof(fc.constant("a"), fc.jsonValue()),
    cniVersion: fc.oneof(
      fc.constantFrom(...SUPPORTED_VERSIONS),
      fc.jsonValue(),
    ),
    cniVersions: fc.jsonValue(),
    type: fc.oneof(fc.constant("a"), fc.jsonValue()),
    capabilities: fc.jsonValue(),
    disableCheck: fc.jsonValue(),
    plugins: fc.oneof(
      fc.array(fc.record({ type: fc.string(), capabilities: fc.jsonValue() })),
      fc.jsonValue(),
    ),
  }, { requiredKeys: [] }).map((value) => JSON.stringify(value));
  const text = fc.oneof(fc.string({ unit: "binary" }), fc.json(), conf);
  const parsers = [parseConf, parseConfList, parseSingleConf, parsePluginConf];
  fc.assert(fc.property(text, (text) => {
    for (const parse of parsers as ((text: string) => Partial<NetConfList>)[]) {
      try {
        assert.equal(typeof parse(text).text, "string");
      } catch (error) {
        assert.ok(error instanceof CniError, String(error));
        assert.ok([1, 6, 7].includes(error.code));
        assert.ok(error.message.length < 300, error.message);
      }
    }
  }));
});

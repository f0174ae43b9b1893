import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import { parse, stringify } from "yaml";
import { parseValuePath, readLocatedText } from "./located_text.ts";

Deno.test("parseValuePath() reads what messages say", () => {
  deepEqual(parseValuePath("plugins[0].ipam.type"), [
    "plugins",
    0,
    "ipam",
    "type",
  ]);
  deepEqual(parseValuePath("[1].ips[0]"), [1, "ips", 0]);
  deepEqual(parseValuePath(""), []);
});

Deno.test("readLocatedText() finds values, and what is around those that are not there", () => {
  const text = 'a: 1\nb:\n  - x\n  - {c: "d"}\n';
  const [document] = readLocatedText(text).documents;
  const at = (...path: (string | number)[]): string =>
    text.slice(document?.offsetOf(path)).slice(0, 3);
  equal(at("a"), "1\nb");
  equal(at("b", 0), "x\n ");
  equal(at("b", 1, "c"), '"d"');
  equal(at("b", 1, "nothing"), "{c:");
  equal(at("b", 7), "- x");
  equal(at("nothing", "at", "all"), "a: ");
});

Deno.test("an embedded text's characters are found in the file, however YAML wrote it", () => {
  const word = fc.stringMatching(/^[a-zA-Z0-9{}",:' \\]{0,12}$/);
  const lines = fc.array(word, { minLength: 1, maxLength: 5 });
  const style = fc.constantFrom(
    "BLOCK_LITERAL",
    "QUOTE_SINGLE",
    "QUOTE_DOUBLE",
    "PLAIN",
  );
  fc.assert(fc.property(lines, style, (given, type) => {
    // A mark that stands there once: its place in the file is known without any mapping.
    const value = `${given.join("\n")}\u00a7${given.toReversed().join("\n")}`;
    const text = stringify({ spec: { config: value } }, {
      defaultStringType: type as "PLAIN",
      lineWidth: 0,
    });
    // The library does not read all that it writes: not a line of one space between double quotes (2.9.1).
    fc.pre(parse(text).spec.config === value);
    const [document] = readLocatedText(text).documents;
    const embedded = document?.embedded(["spec", "config"]);
    equal(embedded?.text, value);
    const found = embedded?.offsetOf(value.indexOf("\u00a7"));
    // What is written as \\xa7 begins with the backslash.
    const expected = text.indexOf("\u00a7") >= 0
      ? text.indexOf("\u00a7")
      : text.search(/\\xa7|\\u00a7/i);
    equal(found, expected, text);
  }));
});

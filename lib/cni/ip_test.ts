import assert from "node:assert/strict";
import fc from "fast-check";
import { familyOf, isIp, parseCidr } from "./ip.ts";

const IPV4 = ["0.0.0.0", "10.1.2.3", "255.255.255.255"];
const IPV6 = [
  "::",
  "::1",
  "1::",
  "fe80::1",
  "2001:DB8::8:800:200C:417A",
  "1:2:3:4:5:6:7:8",
  "1:2:3:4:5:6:7::",
  "::2:3:4:5:6:7:8",
  "::ffff:10.0.0.1",
  "1:2:3:4:5:6:1.2.3.4",
  "64:ff9b::192.0.2.33",
];
const NEITHER = [
  ...["", " ", ".", ":", ":::", "localhost", "<nil>", "10.0.0", "10.0.0.0.1"],
  ...[
    "10.0.0.256",
    "010.0.0.1",
    "10.0.0.1 ",
    " 10.0.0.1",
    "10.0.0.-1",
    "1e1.0.0.0",
  ],
  ...["0x10.0.0.1", "10..0.1", "10.0.0.", ".10.0.0.1", "١.١.١.١", "10.0.0.1\n"],
  ...["1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "1::2::3"],
  ...["::1:2:3:4:5:6:7:8", "12345::", "g::", "::1%eth0", "[::1]", ":1", "1:"],
  ...[
    "1.2.3.4::",
    "::1.2.3.4:5",
    "::1.2.3",
    "1:2:3:4:5:6:7:1.2.3.4",
    "::01.2.3.4",
  ],
];

Deno.test("familyOf() tells addresses of both families from other texts", () => {
  for (const text of IPV4) assert.equal(familyOf(text), 4, text);
  for (const text of IPV6) assert.equal(familyOf(text), 6, text);
  for (const text of NEITHER) {
    assert.equal(familyOf(text), undefined, text);
    assert.ok(!isIp(text), text);
  }
});

Deno.test("isIp() wants an address alone, familyOf() takes one with prefix too", () => {
  assert.equal(familyOf("10.0.0.1/24"), 4);
  assert.equal(familyOf("fd00::1/64"), 6);
  assert.ok(!isIp("10.0.0.1/24"));
  assert.ok(isIp("10.0.0.1"));
});

Deno.test("parseCidr() reads address and prefix length", () => {
  for (
    const [addresses, bits, family] of [[IPV4, 32, 4], [IPV6, 128, 6]] as const
  ) {
    for (const address of addresses) {
      for (const prefixLength of [0, 8, bits]) {
        const read = parseCidr(`${address}/${prefixLength}`);
        assert.deepEqual(read, { address, prefixLength, family });
      }
      for (
        const prefix of [
          "",
          "-1",
          "08",
          "x",
          "1.0",
          " 1",
          "255.0.0.0",
          bits + 1,
        ]
      ) {
        assert.equal(parseCidr(`${address}/${prefix}`), undefined, `${prefix}`);
      }
      assert.equal(parseCidr(address), undefined);
      assert.equal(parseCidr(`${address}/8/8`), undefined);
    }
  }
  for (const text of NEITHER) {
    assert.equal(parseCidr(`${text}/8`), undefined, text);
  }
});

Deno.test("isIp() takes every address that fast-check writes", () => {
  fc.assert(fc.property(fc.ipV4(), (text) => assert.equal(familyOf(text), 4)));
  fc.assert(fc.property(fc.ipV6(), (text) => assert.equal(familyOf(text), 6)));
});

Deno.test("isIp() agrees with the URL parser on texts that look like IPv6", () => {
  const piece = fc.constantFrom(
    ":",
    "::",
    "0",
    "1",
    "ff",
    "abcd",
    "12345",
    "1.2.3.4",
  );
  const text = fc.array(piece, { maxLength: 17 }).map((parts) =>
    parts.join("")
  );
  fc.assert(fc.property(text.filter((text) => text.includes(":")), (text) => {
    assert.equal(isIp(text), URL.canParse(`http://[${text}]/`), text);
  }));
});

Deno.test("isIp() and parseCidr() never throw", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    assert.equal(typeof isIp(text), "boolean");
    assert.equal(
      parseCidr(text)?.family,
      text.includes("/") ? familyOf(text) : undefined,
    );
  }));
});

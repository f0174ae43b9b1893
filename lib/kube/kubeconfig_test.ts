/**
 * Kubeconfigs, good and bad.
 *
 * @module
 */
import assert from "node:assert/strict";
import { CredentialsError } from "./error.ts";
import { normalizeServer, parseKubeconfig } from "./kubeconfig.ts";

const PATH = "/etc/multus/kubeconfig";

function kubeconfig(
  parts: { cluster?: string; user?: string; current?: string } = {},
): string {
  const {
    cluster = "server: https://server:6443",
    user = "token: t",
    current = "main",
  } = parts;
  return `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {${cluster}}}]
users: [{name: u, user: {${user}}}]
contexts: [{name: main, context: {cluster: c, user: u}}]
current-context: ${current}
`;
}

Deno.test("parseKubeconfig() finds every part of a credential", async () => {
  const data = btoa("pem");
  const table: [
    parts: { cluster?: string; user?: string },
    expected: Record<string, unknown>,
  ][] = [
    [{}, { token: { text: "t" } }],
    [{ user: "tokenFile: token" }, { token: { file: "/etc/multus/token" } }],
    [{ user: "tokenFile: /run/token, token: t" }, {
      token: { file: "/run/token" },
    }],
    [{ user: "auth-provider: {name: x, config: {tokenFile: ../t}}" }, {
      token: { file: "/etc/t" },
    }],
    [{ user: "client-certificate: pair.pem, client-key: pair.pem" }, {
      token: undefined,
      cert: { file: "/etc/multus/pair.pem" },
      key: { file: "/etc/multus/pair.pem" },
    }],
    [{ user: `client-certificate-data: ${data}, client-key-data: ${data}` }, {
      token: undefined,
      cert: { text: "pem" },
      key: { text: "pem" },
    }],
    [{ user: "username: a, password: b" }, {
      token: undefined,
      basic: { username: "a", password: "b" },
    }],
    [{ user: "token: t, as: somebody" }, { impersonate: "somebody" }],
    [{ cluster: `server: https://s/, certificate-authority-data: ${data}` }, {
      server: "https://s",
      ca: { text: "pem" },
    }],
    [{ cluster: "server: https://s, certificate-authority: ca.crt" }, {
      server: "https://s",
      ca: { file: "/etc/multus/ca.crt" },
    }],
    [{ cluster: "server: https://s, proxy-url: http://proxy:3128" }, {
      server: "https://s",
      proxyUrl: "http://proxy:3128",
    }],
  ];
  for (const [parts, expected] of table) {
    const none = {
      ca: undefined,
      cert: undefined,
      key: undefined,
      token: { text: "t" },
    };
    const sources = await parseKubeconfig(kubeconfig(parts), PATH);
    assert.deepEqual(sources, {
      server: "https://server:6443",
      ...none,
      ...expected,
    });
  }
});

Deno.test("parseKubeconfig() says what is wrong", async () => {
  const table: [text: string, message: RegExp][] = [
    ["", /is empty: \/etc\/multus\/kubeconfig$/],
    ["a: [", /is not YAML/],
    ["text", /is empty/],
    [kubeconfig({ current: "other" }), /has no context: other$/],
    [kubeconfig().replace("cluster: c,", "cluster: d,"), /has no cluster: d$/],
    [kubeconfig().replace("user: u}", "user: v}"), /has no user: v$/],
    [kubeconfig({ cluster: "" }), /is incomplete: clusters\[0\]/],
    [kubeconfig({ cluster: "server: ftp://x" }), /not an HTTP URL: ftp:/],
    [
      kubeconfig({
        cluster: "server: https://s, insecure-skip-tls-verify: true",
      }),
      /not supported: insecure-skip/,
    ],
    [
      kubeconfig({ cluster: "server: https://s, tls-server-name: x" }),
      /not supported: tls-server-name$/,
    ],
    [kubeconfig({ user: "exec: {command: aws}" }), /not supported: exec$/],
    [kubeconfig({ user: "client-key-data: '%'" }), /not base64$/],
  ];
  for (const [text, message] of table) {
    await assert.rejects(parseKubeconfig(text, PATH), (error: unknown) => {
      assert.ok(error instanceof CredentialsError, String(error));
      assert.match(error.message, message);
      return true;
    }, text);
  }
});

Deno.test("normalizeServer() mends what older installers wrote", () => {
  const table: [given: string, mended: string][] = [
    ["https://[10.96.0.1]:443", "https://10.96.0.1"],
    ["https://[10.96.0.1]:6443", "https://10.96.0.1:6443"],
    ["https://[fd00::1]:6443", "https://[fd00::1]:6443"],
    ["https://server/prefix/", "https://server/prefix"],
    ["http://localhost:8001", "http://localhost:8001"],
  ];
  for (const [given, mended] of table) {
    assert.equal(normalizeServer(given), mended);
  }
});

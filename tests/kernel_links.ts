/**
 * Which kinds of links this kernel has, and a scripted plugin for those that
 * it has not: it makes a real interface all the same, only of another kind, so
 * that kernel, result, cache and status can still be compared.
 */
import { installNoopPlugin } from "./noop_plugin.ts";
import { ip, runProgram, type TestNode } from "./node.ts";

/** How each kind is asked for; `LINK` is a link of the node to put it on. */
const PROBES: Readonly<Record<string, readonly string[]>> = {
  ipvlan: ["link", "LINK", "type", "ipvlan", "mode", "l2"],
  vlan: ["link", "LINK", "type", "vlan", "id", "7"],
  vrf: ["type", "vrf", "table", "77"],
};

/** Whether the kernel makes links of a kind; `link` is one to put it on. Leaves nothing behind. */
export async function hasLinkKind(
  kind: string,
  link: string,
): Promise<boolean> {
  const words = (PROBES[kind] ?? []).map((word) =>
    word === "LINK" ? link : word
  );
  const { code } = await runProgram(["ip", "link", "add", "probe0", ...words]);
  if (code === 0) await ip("link", "delete", "probe0");
  return code === 0;
}

/** How a step that may need a scripted plugin is called. */
export function titleOf(title: string, isReal: boolean): string {
  return isReal ? title : `${title} (scripted: this kernel has none)`;
}

/** ADD makes a veth with this address; DEL takes it away. */
function linkScripts(address: string): Record<string, string> {
  return {
    ADD: `
PATH=/usr/sbin:/sbin:/usr/bin:/bin
ns=\${CNI_NETNS##*/}
ip link add "v$$" type veth peer name "$CNI_IFNAME" netns "$ns" || fail 100 "no link"
ip -n "$ns" addr add ${address} dev "$CNI_IFNAME" || fail 100 "no address"
mac=$(ip -n "$ns" -o link show "$CNI_IFNAME" | sed 's/.*link.ether \\([0-9a-f:]*\\).*/\\1/')
print "{\\"cniVersion\\":\\"1.0.0\\",\\"interfaces\\":[{\\"name\\":\\"$CNI_IFNAME\\",\\"mac\\":\\"$mac\\",\\"sandbox\\":\\"$CNI_NETNS\\"}],\\"ips\\":[{\\"address\\":\\"${address}\\",\\"interface\\":0}]}"
`,
    DEL: `
PATH=/usr/sbin:/sbin:/usr/bin:/bin
ip -n "\${CNI_NETNS##*/}" link delete "$CNI_IFNAME" 2>/dev/null
true
`,
    CHECK: "true",
  };
}

/** Prints what it got from the plugin before it. */
const HAND_ON = {
  ADD: `
PATH=/usr/bin:/bin
print "$(sed '1,/^$/d' "$stdin_file" | tr -d '\\n' | sed 's/^.*"prevResult":\\({.*}\\)[[:space:]]*}[[:space:]]*$/\\1/')"
`,
  DEL: "true",
  CHECK: "true",
};

/** Puts a scripted plugin of this type on the node that makes an interface with this address. */
export async function installLinkPlugin(
  node: TestNode,
  type: string,
  address: string,
): Promise<void> {
  await Deno.mkdir(`${node.binDir}/calls`, { recursive: true });
  await installNoopPlugin(node.binDir, type, linkScripts(address));
}

/** Puts a scripted plugin of this type on the node that hands on what the one before it did. */
export async function installHandOnPlugin(
  node: TestNode,
  type: string,
): Promise<void> {
  await Deno.mkdir(`${node.binDir}/calls`, { recursive: true });
  await installNoopPlugin(node.binDir, type, HAND_ON);
}

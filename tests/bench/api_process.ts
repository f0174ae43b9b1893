/**
 * The stand-in API server as a process that the benchmark talks to: reads one
 * command as JSON from each line of stdin, answers each with one line. It
 * makes the objects itself, so that thousands need not be handed over.
 */
import { TextLineStream } from "./lines.ts";
import { startApiServer } from "../api_server/server.ts";
import { type ApiAnswer, type ApiCommand } from "./api.ts";
import { networkObject, noopConf, podObject } from "./objects.ts";

const server = await startApiServer();

function populate(command: ApiCommand): void {
  const { pods, networks, objects = [] } = command;
  for (const object of objects) server.put(object);
  for (let at = 0; at < (pods?.count ?? 0); at++) {
    const { prefix = "pod", ...options } = pods ?? {};
    server.put(podObject(`${prefix}-${at}`, options));
  }
  for (let at = 0; at < (networks?.count ?? 0); at++) {
    const name = `${networks?.prefix ?? "net"}-${at}`;
    server.put(networkObject(name, noopConf(name)));
  }
}

function remove(prefix: string): void {
  for (const { metadata } of server.list("Pod")) {
    const { name, namespace } = metadata;
    if (name.startsWith(`${prefix}-`)) server.delete("Pod", name, namespace);
  }
}

function obey(command: ApiCommand): ApiAnswer {
  populate(command);
  if (command.removePods !== undefined) remove(command.removePods);
  if (command.delayMs !== undefined) {
    server.faults.clear();
    if (command.delayMs > 0) server.faults.add({ delayMs: command.delayMs });
  }
  const counters = { ...server.log.counters };
  if (command.clear) server.log.clear();
  const { port, token, caPem, inFlight } = server;
  return { port, token, caPem, counters, inFlight };
}

const encoder = new TextEncoder();
const lines = Deno.stdin.readable
  .pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream());
for await (const line of lines) {
  const answer = JSON.stringify(obey(JSON.parse(line)));
  await Deno.stdout.write(encoder.encode(`${answer}\n`));
}
await server[Symbol.asyncDispose]();

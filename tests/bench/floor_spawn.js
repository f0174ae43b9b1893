// Three starts of a program, one after the other, in a bare loop: the floor of an ADD with three delegates.
// Reads how often from stdin, line by line, and answers each line with a JSON list of milliseconds.
const [program, input] = Deno.args;
const bytes = await Deno.readFile(input);
const env = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "floor",
  CNI_NETNS: "/var/run/netns/floor",
  CNI_IFNAME: "net1",
  CNI_ARGS: "IgnoreUnknown=1",
  CNI_PATH: "/opt/cni/bin",
};

async function spawn() {
  const child = new Deno.Command(program, {
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(bytes);
  await writer.close();
  await child.output();
}

async function measure(times) {
  const durations = [];
  for (let time = 0; time < times; time++) {
    const start = performance.now();
    for (let delegate = 0; delegate < 3; delegate++) await spawn();
    durations.push(performance.now() - start);
  }
  return durations;
}

const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream());
let pending = "";
for await (const text of lines) {
  const complete = (pending + text).split("\n");
  pending = complete.pop() ?? "";
  for (const line of complete) {
    const durations = await measure(Number(line));
    const answer = `${JSON.stringify(durations)}\n`;
    await Deno.stdout.write(new TextEncoder().encode(answer));
  }
}

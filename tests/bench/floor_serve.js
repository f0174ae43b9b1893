// Deno's server on a unix socket, answering every request at once with the first argument but one, a file's
// content: the daemon that the shim is measured against, and the floor of the daemon's memory.
const [socketPath, answerFile] = Deno.args;
const answer = await Deno.readTextFile(answerFile);
const headers = { "content-type": "application/json" };
Deno.serve(
  { path: socketPath, onListen: () => {} },
  () => new Response(answer, { headers }),
);

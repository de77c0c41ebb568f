#!/usr/bin/env node
// The services' log is not for a person at a command line; and it must be set before anything that logs is loaded.
process.env['VIRTCFT_LOG'] ??= 'error';
const { run } = await import('./program.js');

const stop = new AbortController();
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) {
  process.once(signal, () => {
    process.once(signal, () => process.exit(code));
    stop.abort();
  });
}
// `virtcft events | head`: the reader went away, and that is all there is to say.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});
process.exitCode = await run(process.argv.slice(2), {
  out: (text) => void process.stdout.write(text), err: (text) => void process.stderr.write(text), env: process.env, signal: stop.signal, terminal: process.stdout.isTTY === true,
});

export {};

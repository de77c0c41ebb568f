// A process of its own in the site: puts as many bytes as each line of its input says, and answers with the milliseconds until they were durable.
import { randomBytes, randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { openStore } from '@virtcft/object-store';

const store = await openStore(process.argv[2] ?? '');
for await (const line of createInterface({ input: process.stdin })) {
  // Segments are compressed: nothing of a server can make them smaller.
  const body = randomBytes(Number(line));
  const from_ms = performance.now();
  await store.put(`bench/packs/${randomUUID()}`, body);
  process.stdout.write(`${performance.now() - from_ms}\n`);
}
await store.close();

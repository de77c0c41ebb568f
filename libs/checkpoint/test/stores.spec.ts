import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDirectoryStore, openS3Store } from '@virtcft/object-store';
import type { ObjectStore } from '@virtcft/object-store';
import { startS3Server } from '../../object-store/test/s3-server.js';
import { foldCut, lineage, verifyCut } from '../src/index.js';
import type { Lineage } from '../src/index.js';
import { History, rootObjects } from './history.js';
import { cluster } from './samples.js';

let root: string;
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'virtcft-stores-')); });
afterAll(async () => { await rm(root, { recursive: true, force: true }); });

async function filled(store: ObjectStore): Promise<History> {
  const history = new History(3);
  for (let at = 0; at < 12; at++) {
    await history.run({ writes: [[0, at, at + 1], [1, at + 2, at + 7], [2, 3, at]], stored: at % 5 === 3 ? [true, false] : [true, true], late: false, full: null, recovery: at === 6 });
  }
  for (const [key, body] of history.objects.map) expect(await store.put(key, body)).toBe('created');
  return history;
}

/** From nothing but the store to the images at its newest cut. */
async function rebuilds(store: ObjectStore, history: History): Promise<void> {
  const { tip } = (await lineage(store, cluster)) as Lineage;
  const cut = history.cuts.at(-1);
  expect(tip).toEqual(cut?.ref);
  if (tip === null) return;
  const fold = await foldCut(store, tip, join(root, store.constructor.name));
  expect(await fold.digests()).toEqual(cut?.digests);
  await fold.close();
  expect(await verifyCut(store, tip, { scratch: root })).toMatchObject({ ok: true, vms: cut?.digests });
}

describe('a cluster is rebuilt from', () => {
  it('a folder, where a byte changed on the disk is found and named', async () => {
    const path = join(root, 'objects');
    const store = await openDirectoryStore({ path });
    const history = await filled(store);
    await rebuilds(store, history);
    const [pack] = (history.cuts[0] as (typeof history.cuts)[number]).packs.map(({ key }) => key) as [string];
    const tip = (history.cuts.at(-1) as (typeof history.cuts)[number]).ref;
    for (const key of [pack, ...rootObjects.map((object) => object.key)]) {
      const good = await readFile(join(path, key));
      const bad = Buffer.from(good);
      bad[bad.length - 100] = (bad[bad.length - 100] as number) ^ 4;
      await writeFile(join(path, key), bad);
      expect(await verifyCut(store, tip, { scratch: root })).toMatchObject({ ok: false, key });
      await store.remove(key);
      expect(await verifyCut(store, tip, { scratch: root })).toMatchObject({ ok: false, key });
      await store.put(key, good);
    }
  });

  it('an S3 server; while it is away the store is unavailable and the cut not broken', async () => {
    const server = await startS3Server();
    const store = await openS3Store({ endPoint: server.endPoint, port: server.port, useSSL: false, accessKey: server.accessKey, secretKey: server.secretKey, bucket: 'cuts' });
    const history = await filled(store);
    await rebuilds(store, history);
    await server.stop();
    await expect(verifyCut(store, (history.cuts.at(-1) as (typeof history.cuts)[number]).ref, { scratch: root })).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await store.close();
  }, 900_000);
});

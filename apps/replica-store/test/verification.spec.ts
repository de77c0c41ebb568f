import { mkdtemp, readdir, readFile, rm, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openDirectoryStore, type ObjectStore } from '@virtcft/object-store';
// eslint-disable-next-line @nx/enforce-module-boundaries -- as the data plane's tests: the history of a cluster as a store sees it
import { History } from '../../../libs/checkpoint/test/history.js';
import { Verifications, type VerificationStatus } from '../src/index.js';

let folder: string;
let store: ObjectStore;
let history: History;
let verifications: Verifications;
const cluster = (): string => history.cuts[0]?.manifest.cluster ?? '';
const ref = (at: number) => history.cuts.at(at)?.ref as History['cuts'][number]['ref'];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'virtcft-verification-'));
  store = await openDirectoryStore({ path: join(folder, 'store') });
  history = new History(2);
  for (let at = 0; at < 4; at++) await history.run({ writes: [[0, at, at + 1], [1, 3, at]], stored: [true, true], late: false, full: null, recovery: at === 2 });
  for (const [key, bytes] of history.objects.map) await store.put(key, bytes);
  verifications = new Verifications(store, join(folder, 'scratch'));
});
afterEach(async () => {
  await verifications.close();
  await store.close();
  await rm(folder, { recursive: true });
});

async function ended({ id }: VerificationStatus): Promise<VerificationStatus> {
  for (;;) {
    const status = verifications.status(id);
    if (status.state !== 'running') return status;
    await sleep(5);
  }
}
const one = (at: number) => ended(verifications.start(cluster(), { cut: ref(at) }));
const all = () => ended(verifications.start(cluster(), { all: history.cuts.map((cut) => cut.ref) }));
const path = (key: string): string => join(folder, 'store', key);

describe('a verification', () => {
  it('of a cut builds it as a restore does, and leaves nothing', async () => {
    const done = await one(-1);
    expect(done).toMatchObject({ state: 'done', faults_total: 0, broken: [], cuts: 4, cuts_total: 4, digests: history.cuts.at(-1)?.digests });
    expect(done.objects).toBeGreaterThan(8);
    expect(await readdir(join(folder, 'scratch'))).toEqual([]);
  });

  it('finds one flipped bit on the disk, a cut-off and a missing object, by name', async () => {
    const pack = history.cuts[1]?.packs[0]?.key ?? '';
    const bytes = await readFile(path(pack));
    bytes[bytes.length - 70] = (bytes[bytes.length - 70] as number) ^ 4;
    await writeFile(path(pack), bytes);
    expect(await one(0)).toMatchObject({ state: 'done', faults: [], digests: history.cuts[0]?.digests });
    for (const verified of [await one(-1), await all()]) {
      expect(verified).toMatchObject({ state: 'done', faults: [{ key: pack }], digests: null });
      expect(verified.faults[0]?.part).not.toBe('');
      expect(verified.broken).toEqual(history.cuts.slice(1).map((cut) => cut.ref.key));
    }
    await writeFile(path(ref(3).key), 'cut off');
    await unlink(path(ref(2).key));
    expect((await all()).faults.map(({ key, part }) => [key, part])).toEqual([[pack, expect.any(String)], [ref(2).key, 'object'], [ref(3).key, 'manifest']]);
  });

  it('runs alone, and says that it failed when the store cannot be read', async () => {
    const first = verifications.start(cluster(), { all: [] });
    expect(() => verifications.start(cluster(), { all: [] })).toThrow('another verification is running');
    await ended(first);
    const away = new Verifications({ ...store, list: () => { throw new Error('the store is away'); }, get: () => Promise.reject(new Error('the store is away')) } as unknown as ObjectStore, folder);
    const { id } = away.start(cluster(), { cut: ref(0) });
    await away.close();
    expect(away.status(id)).toMatchObject({ state: 'failed', detail: 'the store is away' });
  });
});

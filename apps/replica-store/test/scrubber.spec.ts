import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Report } from '@virtcft/events';
import { openDirectoryStore, type ObjectStore } from '@virtcft/object-store';
// eslint-disable-next-line @nx/enforce-module-boundaries -- as the data plane's tests: the history of a cluster as a store sees it
import { History } from '../../../libs/checkpoint/test/history.js';
import { Scrubber, Verifications, type ScrubOptions } from '../src/index.js';

let folder: string;
let store: ObjectStore;
let history: History;
let told: Report[];
const cluster = (): string => history.cuts[0]?.manifest.cluster ?? '';
const known = () => history.cuts.map(({ ref }) => ref);
const scrubber = (options: ScrubOptions = { bytes_per_ms: 1e9 }): Scrubber => new Scrubber(store, join(folder, 'scrub'), async (_, report) => void told.push(report), options);

async function live(epochs: number): Promise<void> {
  for (let at = 0; at < epochs; at++) await history.run({ writes: [[0, at, at + 1], [1, 3, at]], stored: [true, true], late: false, full: null, recovery: false });
  for (const [key, bytes] of history.objects.map) await store.put(key, bytes).catch(() => undefined);
}

async function damage(key: string): Promise<() => Promise<void>> {
  const path = join(folder, 'store', key);
  const good = await readFile(path);
  const bad = Buffer.from(good);
  bad[bad.length - 70] = (bad[bad.length - 70] as number) ^ 1;
  await writeFile(path, bad);
  return () => writeFile(path, good);
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'virtcft-scrubber-'));
  store = await openDirectoryStore({ path: join(folder, 'store') });
  history = new History(2);
  told = [];
  await live(3);
});
afterEach(async () => {
  await store.close();
  await rm(folder, { recursive: true });
});

describe('the scrubber', () => {
  it('goes to the newest cut, and after a restart on from its watermark', async () => {
    const first = scrubber();
    expect(await first.watermark(cluster())).toBeNull();
    await first.scrub(cluster(), known());
    expect(await first.watermark(cluster())).toEqual({ key: known()[2]?.key, hash: known()[2]?.hash });
    // What is behind the watermark is not read again in this pass.
    await damage(history.cuts[0]?.packs[0]?.key ?? '');
    await live(1);
    await damage(history.cuts[3]?.packs[0]?.key ?? '');
    await scrubber().scrub(cluster(), known());
    expect(told.filter(({ type }) => type === 'object.damaged').map(({ data }) => (data as { key: string }).key)).toEqual([history.cuts[3]?.packs[0]?.key]);
  });

  it('tells of a damaged object by an event and an alarm, once a pass, and clears the alarm after a pass without', async () => {
    const key = history.cuts[1]?.packs[0]?.key ?? '';
    const repair = await damage(key);
    await scrubber().scrub(cluster(), known());
    await scrubber().scrub(cluster(), known());
    expect(told).toMatchObject([{ type: 'object.damaged', data: { key } }, { type: 'alarm.raised', data: { alarm: 'object-damaged', detail: expect.stringContaining(key) } }]);
    await repair();
    const anew = scrubber({ bytes_per_ms: 1e9, again_ms: -1 });
    await anew.scrub(cluster(), known());
    await anew.scrub(cluster(), known());
    expect(told.slice(2)).toEqual([{ type: 'alarm.cleared', data: { alarm: 'object-damaged' } }]);
  });

  it('knows what is damaged also after a restart, until all was verified and nothing is wrong', async () => {
    const key = history.cuts[1]?.packs[0]?.key ?? '';
    const repair = await damage(key);
    await scrubber().scrub(cluster(), known());
    expect(await scrubber().damaged(cluster())).toEqual([key]);
    const again = scrubber();
    const verifications = new Verifications(store, join(folder, 'scratch'), () => false, (each) => again.mended(each));
    const verified = async (): Promise<number> => {
      const { id } = verifications.start(cluster(), { all: known() });
      while (verifications.status(id).state === 'running') await sleep(5);
      return verifications.status(id).faults_total;
    };
    expect(await verified()).toBeGreaterThan(0);
    expect(await again.damaged(cluster())).toEqual([key]);
    await repair();
    expect(await verified()).toBe(0);
    await verifications.close();
    expect(await scrubber().damaged(cluster())).toEqual([]);
    expect(told.at(-1)).toEqual({ type: 'alarm.cleared', data: { alarm: 'object-damaged' } });
  });

  it('reads no more than its budget, and ends at once when it is closed', async () => {
    const slow = scrubber({ bytes_per_ms: 1, idle_ms: 1 });
    slow.run(() => [{ cluster: cluster(), cuts: known() }]);
    await sleep(300);
    await slow.close();
    // Three hundred bytes are less than the first cut.
    expect(await slow.watermark(cluster())).toBeNull();
    expect(told).toEqual([]);
  });
});

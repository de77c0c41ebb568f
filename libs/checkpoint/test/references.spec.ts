import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ReplicaImage } from '@virtcft/native';
import { Audit, CutBroken, decodePack, encodePack, encodeSegment, foldCut, FormatError, newestWholeCut, packKey, ReferredSections, ReplicaFold, resolvePack, sourcesOf, storedImages, verifyCut } from '../src/index.js';
import type { Pack } from '../src/index.js';
import { History } from './history.js';
import { pageSection, type WrittenPage } from './page-section.js';
import { cluster, header, packContent } from './samples.js';

let root: string;
let folders = 0;
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'virtcft-references-')); });
afterAll(async () => { await rm(root, { recursive: true, force: true }); });
const folder = (): string => join(root, `${folders++}`);

/** Two VMs; the second writes what the first had committed, again and again. */
async function repeating(): Promise<History> {
  const history = new History(2, 4);
  for (let at = 0; at < 5; at++) await history.run({ writes: [[0, at, 3 * at + 3], [1, at + 6, 3 * at]], stored: [true, true], late: false, full: null, recovery: false });
  return history;
}
const lastOf = (history: History): History['cuts'][number] => history.cuts.at(-1) as History['cuts'][number];
const referring = (history: History): Pack => history.cuts.flatMap(({ packs }) => packs).findLast(({ references }) => references.length > 0) as Pack;

describe('pages that lie in the segments of others', () => {
  it('are there in every cut, folded from the store or from packs as they come', async () => {
    const history = await repeating();
    expect(referring(history).host).toBe('host-b');
    const sections = new ReferredSections(history.objects);
    const following = await ReplicaFold.open({ folder: folder(), cluster, images: storedImages(history.objects, cluster) });
    for (const cut of history.cuts) {
      const fold = await foldCut(history.objects, cut.ref, folder());
      expect(await fold.digests()).toEqual(cut.digests);
      await fold.abandon();
      await following.apply(cut.manifest, await Promise.all(cut.packs.map((pack) => resolvePack(pack, (reference) => sections.read(reference)))));
      expect(await following.digests()).toEqual(cut.digests);
    }
    await following.abandon();
    expect(await verifyCut(history.objects, lastOf(history).ref, { scratch: root })).toMatchObject({ ok: true, vms: lastOf(history).digests });
  });

  it('are refused where nobody has put them in', async () => {
    const history = await repeating();
    const following = await ReplicaFold.open({ folder: folder(), cluster, images: storedImages(history.objects, cluster) });
    const at = history.cuts.findIndex(({ packs }) => packs.some(({ references }) => references.length > 0));
    for (const cut of history.cuts.slice(0, at)) await following.apply(cut.manifest, cut.packs);
    const cut = history.cuts[at] as History['cuts'][number];
    await expect(following.apply(cut.manifest, cut.packs)).rejects.toMatchObject({ code: 'EBADSECTION' });
    await following.abandon();
  });

  it('are refused by an image before anything is changed, whatever the section\'s size', async () => {
    for (const count of [8, 3000]) {
      const image = new ReplicaImage({ path: folder(), bytes: count * 4096 });
      await image.apply(pageSection(count, true, [{ page: 0, kind: 'raw', bytes: Buffer.alloc(4096, 7) }]));
      const before = await image.digest();
      const zeros = Array.from({ length: count - 1 }, (_, page): WrittenPage => ({ page, kind: 'zero', bytes: null }));
      const section = pageSection(count, true, [...zeros, { page: count - 1, kind: 'reference', bytes: null, at: { segment: 'ab'.repeat(32), page: 0, hash: 'cd'.repeat(32) } }], 4);
      await expect(image.apply(section)).rejects.toMatchObject({ code: 'EBADSECTION' });
      expect(await image.digest()).toBe(before);
      image.close();
    }
  });

  it('name the pack that is missing or damaged, also where no cut holds it any more', async () => {
    for (const damage of ['missing', 'damaged']) {
      const history = await repeating();
      const [{ pack: key, offset }] = referring(history).references as [Pack['references'][number]];
      const cut = lastOf(history);
      // Chains that begin anew do not need it but for its page.
      for (const full of [0, 1]) await history.run({ writes: full === 1 ? [[1, 20, 6]] : [[0, 20, 1]], stored: [true, true], late: false, full, recovery: false });
      const now = lastOf(history);
      const named = now.packs.flatMap(({ references }) => references.map(({ pack }) => pack));
      const lost = named[0] ?? '';
      expect([key, lost].every((each) => history.objects.map.has(each))).toBe(true);
      const good = history.objects.map.get(lost) as Buffer;
      const bad = Buffer.from(good);
      bad[offset + 200] = (bad[offset + 200] as number) ^ 1;
      if (damage === 'missing') history.objects.map.delete(lost);
      else history.objects.map.set(lost, bad);
      await expect(foldCut(history.objects, now.ref, folder())).rejects.toEqual(expect.objectContaining({ constructor: CutBroken, key: lost }));
      expect(await verifyCut(history.objects, now.ref, { scratch: root })).toMatchObject({ ok: false, key: lost });
      const audit = new Audit(history.objects, cluster);
      await audit.resume(history.cuts.at(-2)?.ref as never);
      expect(await audit.cut(now.ref)).toBe(false);
      expect(audit.faults.map((fault) => fault.key)).toEqual([lost]);
      expect((await newestWholeCut(history.objects, cluster, now.ref, new Set([lost]), () => null)).damaged).toBe(lost);
      history.objects.map.set(lost, good);
      expect(await verifyCut(history.objects, cut.ref, { scratch: root })).toMatchObject({ ok: true });
    }
  });

  it('are told by the index of their pack, which names nothing else, and nothing newer or of others', async () => {
    const at = { pack: packKey({ cluster, generation: 3, epoch: 41, host: 'host-b', hash: 'ab'.repeat(32) }), segment: 'cd'.repeat(32), offset: 500, length: 9000 };
    const section = pageSection(24, false, [{ page: 7, kind: 'reference', bytes: null, at: { segment: at.segment, page: 3, hash: 'ab'.repeat(32) } }], 4);
    expect(sourcesOf(section)).toEqual([at.segment]);
    const segment = await encodeSegment(header({ memory_bytes: 24 * 4096, kind: 'delta', parent: 'ee'.repeat(32) }), { pages: section, device: Buffer.alloc(0) });
    const content = packContent([segment]);
    expect(decodePack(encodePack({ ...content, references: [at] }).bytes).references).toEqual([at]);
    expect(() => decodePack(encodePack(content).bytes)).toThrow(FormatError);
    expect(() => decodePack(encodePack({ ...content, references: [at, { ...at, segment: 'ef'.repeat(32) }] }).bytes)).toThrow(FormatError);
    const of = (change: Partial<Parameters<typeof packKey>[0]>): string => packKey({ cluster, generation: 3, epoch: 41, host: 'host-b', hash: 'ab'.repeat(32), ...change });
    for (const pack of [of({ epoch: 42 }), of({ generation: 2 }), of({ cluster: '11111111-7a0e-4d0a-9f39-0d6c1f2b7a11' }), 'packs']) {
      expect(() => encodePack({ ...content, references: [{ ...at, pack }] })).toThrow(FormatError);
    }
    expect(() => encodePack({ ...content, references: [at, at] })).toThrow(FormatError);
  });
});

import { randomBytes } from 'node:crypto';
import { ObjectConflict, ObjectCorrupt, ObjectMissing } from '../src/index.js';
import type { ObjectStore } from '../src/index.js';

async function keys(listing: AsyncIterable<{ key: string }>): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of listing) found.push(key);
  return found;
}

/** What every object store promises. `open` gives the same store again each time (another process' view of it). */
export function objectStoreContract(name: string, createOnly: 'enforced' | 'absent', open: () => Promise<ObjectStore>): void {
  describe(`object store contract: ${name}`, () => {
    let store: ObjectStore;
    let folder: string;
    beforeAll(async () => { store = await open(); });
    afterAll(async () => { await store.close(); });
    beforeEach(() => { folder = `test/${randomBytes(6).toString('hex')}`; });

    it('says whether create-only is enforced', () => {
      expect(store.capability.create_only).toBe(createOnly);
    });

    it.each([0, 1, 4096, 1024 * 1024 + 1, 5 * 1024 * 1024])('gives back an object of %i bytes, also to another opener', async (bytes) => {
      const body = randomBytes(bytes);
      expect(await store.put(`${folder}/object`, body)).toBe('created');
      const other = await open();
      expect((await other.get(`${folder}/object`)).equals(body)).toBe(true);
      expect(await other.stat(`${folder}/object`)).toEqual({ bytes });
      await other.close();
    });

    it('compares when the key exists: equal is fine, different is a conflict and changes nothing', async () => {
      const key = `${folder}/once`;
      await store.put(key, Buffer.from('first'));
      expect(await store.put(key, Buffer.from('first'))).toBe('exists');
      await expect(store.put(key, Buffer.from('other'))).rejects.toThrow(ObjectConflict);
      await expect(store.put(key, Buffer.from('firs'))).rejects.toThrow(ObjectConflict);
      expect((await store.get(key)).toString()).toBe('first');
    });

    it('lets one of many equal concurrent writers create', async () => {
      const body = randomBytes(100_000);
      const answers = await Promise.all(Array.from({ length: 8 }, () => store.put(`${folder}/race`, body)));
      expect(answers.length).toBe(8);
      if (createOnly === 'enforced') expect(answers.filter((answer) => answer === 'created')).toHaveLength(1);
      expect((await store.get(`${folder}/race`)).equals(body)).toBe(true);
    });

    it('never lets two different concurrent writers both create', async () => {
      const bodies = Array.from({ length: 4 }, () => randomBytes(10_000));
      const answers = await Promise.allSettled(bodies.map((body) => store.put(`${folder}/duel`, body)));
      const kept = await store.get(`${folder}/duel`);
      const winners = answers.flatMap((answer, index) => (answer.status === 'fulfilled' ? [index] : []));
      if (createOnly === 'enforced') {
        expect(winners).toHaveLength(1);
        for (const answer of answers) if (answer.status === 'rejected') expect(answer.reason).toBeInstanceOf(ObjectConflict);
      }
      expect(bodies.some((body) => body.equals(kept))).toBe(true);
      for (const index of createOnly === 'enforced' ? winners : []) expect(bodies[index]?.equals(kept)).toBe(true);
    });

    it('reads exact ranges and refuses one beyond the end', async () => {
      const body = randomBytes(10_000);
      const key = `${folder}/ranges`;
      await store.put(key, body);
      for (const [offset, length] of [[0, 1], [0, 10_000], [9_999, 1], [123, 4567]] as const) {
        expect((await store.get(key, { offset, length })).equals(body.subarray(offset, offset + length))).toBe(true);
      }
      await expect(store.get(key, { offset: 9_999, length: 2 })).rejects.toThrow(ObjectCorrupt);
      await expect(store.get(key, { offset: 10_000, length: 1 })).rejects.toThrow(ObjectCorrupt);
      await expect(store.get(key, { offset: 0, length: 0 })).rejects.toThrow(RangeError);
      await expect(store.get(key, { offset: -1, length: 5 })).rejects.toThrow(RangeError);
    });

    it('takes bytes back that it gave, and nothing else', async () => {
      const body = randomBytes(200_000);
      const key = `${folder}/released`;
      await store.put(key, body);
      const [whole, part, kept] = [await store.get(key), await store.get(key, { offset: 70_000, length: 100_000 }), await store.get(key)];
      const mine = Buffer.from(body);
      for (const bytes of [whole, part, mine, mine.subarray(10)]) store.release?.(bytes);
      expect([whole.length, part.length]).toEqual([0, 0]);
      expect(mine.equals(body) && kept.equals(body)).toBe(true);
      expect((await store.get(key)).equals(body)).toBe(true);
    });

    it('tells a missing object from everything else', async () => {
      await expect(store.get(`${folder}/none`)).rejects.toThrow(ObjectMissing);
      await expect(store.get(`${folder}/none`, { offset: 0, length: 5 })).rejects.toThrow(ObjectMissing);
      expect(await store.stat(`${folder}/none`)).toBeNull();
    });

    it('removes, and removing again succeeds', async () => {
      await store.put(`${folder}/gone`, Buffer.from('x'));
      await store.remove(`${folder}/gone`);
      await store.remove(`${folder}/gone`);
      expect(await store.stat(`${folder}/gone`)).toBeNull();
      expect(await store.put(`${folder}/gone`, Buffer.from('y'))).toBe('created');
    });

    it('lists in byte order of the whole key, by prefix, after a key, up to a limit', async () => {
      const names = ['a/b', 'a-b', 'a.b', 'a0', 'a/c/d', 'a/c-d', 'A/z', 'b', '007', '00001'];
      const all = names.map((each) => `${folder}/${each}`).sort();
      for (const key of all) await store.put(key, Buffer.from(key));
      expect(await keys(store.list(`${folder}/`))).toEqual(all);
      expect(await keys(store.list(`${folder}/a`))).toEqual(all.filter((key) => key.startsWith(`${folder}/a`)));
      expect(await keys(store.list(`${folder}/a/c`))).toEqual([`${folder}/a/c-d`, `${folder}/a/c/d`]);
      expect(await keys(store.list(`${folder}/none`))).toEqual([]);
      for (const after of all) expect(await keys(store.list(`${folder}/`, { after }))).toEqual(all.filter((key) => key > after));
      expect(await keys(store.list(`${folder}/`, { limit: 3 }))).toEqual(all.slice(0, 3));
      expect(await keys(store.list(`${folder}/`, { limit: 0 }))).toEqual([]);
      expect(await keys(store.list('', { limit: 5 }))).not.toContainEqual(expect.stringMatching(/^\./));
      for await (const { key, bytes } of store.list(`${folder}/`)) expect(bytes).toBe(key.length);
    });

    it('lists beyond what one answer of a server holds, each key once', async () => {
      const all = Array.from({ length: 1_101 }, (_, i) => `${folder}/n/${String(i).padStart(5, '0')}`);
      for (let from = 0; from < all.length; from += 32) await Promise.all(all.slice(from, from + 32).map((key) => store.put(key, Buffer.from(key))));
      expect(await keys(store.list(`${folder}/n/`))).toEqual(all);
      expect(await keys(store.list(`${folder}/n/`, { after: all[999] as string, limit: 100 }))).toEqual(all.slice(1_000, 1_100));
    }, 180_000);

    it.each(['../x', 'a/../b', '/a/b', 'a//b', 'a/', 'a', '.hidden/x', 'a/.x', 'a/b c', 'a/ü', 'a/\0', '', `a/${'x'.repeat(256)}`, `${'a/'.repeat(460)}b`])(
      'refuses the unsafe key %j', async (key) => {
        await expect(store.put(key, Buffer.from('x'))).rejects.toThrow(RangeError);
        await expect(store.get(key)).rejects.toThrow(RangeError);
        await expect(store.remove(key)).rejects.toThrow(RangeError);
      });
  });
}

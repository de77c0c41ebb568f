import { createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { ObjectConflict, ObjectCorrupt, openDirectoryStore, sealedStore, StoreRefused, type ObjectStore } from '../src/index.js';
import { headBytes, makeHead, openHead, parseHead, plainBytes, recordBytes, sealedBytes } from '../src/sealed/format.js';
import { openRecords, seal } from '../src/sealed/records.js';
import { objectStoreContract } from './contract.js';
import { keysOf } from './sealed-samples.js';

const keys = keysOf('new', 'old');
const path = 'cluster/packs/one';
const sealedRecord = recordBytes + 16;

let root: string;
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'virtcft-sealed-')); });
afterAll(async () => { await rm(root, { recursive: true, force: true }); });

const at = (name: string): Promise<ObjectStore> => openDirectoryStore({ path: join(root, name) });
objectStoreContract('directory, sealed', 'enforced', async () => sealedStore(await at('contract'), { keys, plain: 'refuse' }));
objectStoreContract('directory, sealed, plain objects accepted', 'enforced', async () => sealedStore(await at('accepting'), { keys, plain: 'accept' }));

async function open(stored: Buffer, where = path): Promise<Buffer> {
  const secrets = openHead(stored, where, keys.current.secret);
  if (stored.length !== sealedBytes(secrets.head.bytes)) throw new ObjectCorrupt(where, 'length');
  return openRecords(stored.subarray(headBytes), 0, where, secrets);
}

describe('a sealed object', () => {
  const golden = join(import.meta.dirname, 'golden', 'sealed-object.bin');
  const content = Buffer.from('what a guest had in its memory\n'.repeat(3000)); // two records

  it('has the documented bytes', async () => {
    const sealed = await seal(content, path, keys.current, Buffer.alloc(32, 7));
    if (process.env['WRITE_GOLDEN'] === '1') await writeFile(golden, sealed);
    const bytes = await readFile(golden);
    expect(sealed.equals(bytes)).toBe(true);
    // Read as docs/formats/sealed-object.md says, by nothing of the product.
    expect(bytes.toString('latin1', 0, 8)).toBe('VCFTSLD\n');
    expect([bytes.readUInt16LE(8), bytes.readUInt16LE(10), bytes.readUInt32LE(12), Number(bytes.readBigUInt64LE(16))]).toEqual([1, 0, 65_536, content.length]);
    expect(bytes.toString('latin1', 24, 40)).toBe('new'.padEnd(16, '\0'));
    expect(bytes.readUInt32LE(72)).toBe(crc32(bytes.subarray(0, 72)));
    const derived = Buffer.from(hkdfSync('sha256', keys.current.secret, bytes.subarray(40, 72), 'virtcft sealed object 1', 64));
    expect(createHmac('sha256', derived.subarray(32)).update(bytes.subarray(0, 76)).update(path).digest().equals(bytes.subarray(76, 108))).toBe(true);
    const plain = [0, 1].map((number) => {
      const record = bytes.subarray(108 + number * 65_552, 108 + (number + 1) * 65_552);
      const decipher = createDecipheriv('aes-256-gcm', derived.subarray(0, 32), Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number, number]));
      decipher.setAAD(Buffer.concat([bytes.subarray(0, 108), Buffer.from(path)])).setAuthTag(record.subarray(record.length - 16));
      return Buffer.concat([decipher.update(record.subarray(0, record.length - 16)), decipher.final()]);
    });
    expect(Buffer.concat(plain).equals(content)).toBe(true);
  });

  it.each([0, 1, 65_535, 65_536, 65_537, 131_072, 5_000_000])('of %i bytes is opened again, and its length follows from the stored one', async (length) => {
    const plain = randomBytes(length);
    const sealed = await seal(plain, path, keys.current);
    expect(sealed.length).toBe(sealedBytes(length));
    expect(plainBytes(sealed.length)).toBe(length);
    expect((await open(sealed)).equals(plain)).toBe(true);
  });

  it('is sealed anew each time: no two have a key in common', async () => {
    const [one, two] = [await seal(content, path, keys.current), await seal(content, path, keys.current)];
    expect(one.subarray(40, 72).equals(two.subarray(40, 72))).toBe(false);
    expect(one.subarray(headBytes, headBytes + 1000).equals(two.subarray(headBytes, headBytes + 1000))).toBe(false);
  });

  it('is refused when any bit of it is changed', async () => {
    const small = await seal(Buffer.from('a small one'), path, keys.current);
    for (let bit = 0; bit < small.length * 8; bit++) {
      const bad = Buffer.from(small);
      bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7));
      await expect(open(bad)).rejects.toThrow(ObjectCorrupt);
    }
  });

  it('is refused when it is cut, extended, has records exchanged, repeated or taken from elsewhere, or lies at another key', async () => {
    const plain = randomBytes(4 * recordBytes);
    const [sealed, other] = [await seal(plain, path, keys.current), await seal(plain, path, keys.current)];
    const record = (of: Buffer, number: number): Buffer => of.subarray(headBytes + number * sealedRecord, headBytes + (number + 1) * sealedRecord);
    const head = sealed.subarray(0, headBytes);
    const made = (...records: Buffer[]): Buffer => Buffer.concat([head, ...records]);
    const [r0, r1, r2, r3] = [0, 1, 2, 3].map((number) => record(sealed, number)) as [Buffer, Buffer, Buffer, Buffer];
    expect((await open(made(r0, r1, r2, r3))).equals(plain)).toBe(true);
    const bad = [made(r0, r1, r2), made(r0, r1, r3), made(r0, r1, r2, r3, r3), made(r1, r0, r2, r3), made(r0, r0, r2, r3), made(record(other, 0), r1, r2, r3), made(r0, r1, r2, r3.subarray(1)), Buffer.concat([sealed, Buffer.alloc(1)]), head];
    for (const bytes of bad) await expect(open(bytes)).rejects.toThrow(ObjectCorrupt);
    await expect(open(sealed, 'cluster/packs/two')).rejects.toThrow('for this place');
    // A shorter length with a right checksum is not authentic.
    const short = Buffer.from(made(r0, r1, r2));
    short.writeBigUInt64LE(BigInt(3 * recordBytes), 16);
    short.writeUInt32LE(crc32(short.subarray(0, 72)), 72);
    await expect(open(short)).rejects.toThrow(ObjectCorrupt);
  });

  it('with hostile bytes for a head is refused within its bounds', () => {
    const { bytes } = makeHead({ key: 'new', bytes: 5, salt: Buffer.alloc(32) }, path, keys.current.secret);
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(110), fc.boolean(), (noise, where, checksum) => {
      const bad = Buffer.concat([bytes.subarray(0, where), Buffer.from(noise)]);
      if (checksum && bad.length >= headBytes) bad.writeUInt32LE(crc32(bad.subarray(0, 72)), 72);
      fc.pre(!bad.subarray(0, headBytes).equals(bytes));
      expect(() => openHead(bad, path, keys.current.secret)).toThrow(ObjectCorrupt);
      try {
        const head = parseHead(bad, path);
        expect(head.bytes).toBeLessThanOrEqual(2 ** 48);
        expect(head.key).toMatch(/^[a-z0-9-]{1,16}$/);
      } catch (error) {
        expect(error).toBeInstanceOf(ObjectCorrupt);
      }
    }), { numRuns: 3000 });
    for (let stored = 0; stored < 300_000; stored += 7) {
      const plain = plainBytes(stored);
      if (plain !== null) expect(sealedBytes(plain)).toBe(stored);
    }
  });
});

describe('a sealed store', () => {
  it('shows nothing of what is in it, and gives ranges across records', async () => {
    const inner = await at('hidden');
    const store = sealedStore(inner, { keys, plain: 'refuse' });
    const body = Buffer.from('a secret of a guest. '.repeat(20_000));
    await store.put(path, body);
    expect((await inner.get(path)).includes('secret')).toBe(false);
    for (const [offset, length] of [[0, 1], [recordBytes - 3, 6], [recordBytes, recordBytes], [0, body.length], [body.length - 1, 1], [100, 3 * recordBytes]] as const) {
      expect((await store.get(path, { offset, length })).equals(body.subarray(offset, offset + length))).toBe(true);
    }
    // Another process removes it and another puts it again: the kept head is of no use, and is not trusted.
    await inner.remove(path);
    await sealedStore(inner, { keys, plain: 'refuse' }).put(path, body);
    expect((await store.get(path, { offset: 5, length: 7 })).equals(body.subarray(5, 12))).toBe(true);
  });

  it('refuses an object that was moved, changed or cut, also by range and by its size', async () => {
    const folder = join(root, 'tampered');
    const store = sealedStore(await openDirectoryStore({ path: folder }), { keys, plain: 'refuse' });
    await store.put('a/one', randomBytes(3 * recordBytes));
    await store.put('a/two', randomBytes(3 * recordBytes));
    const bytes = await readFile(join(folder, 'a/one'));
    await writeFile(join(folder, 'a/two'), bytes);
    for (const call of [() => store.get('a/two'), () => store.get('a/two', { offset: 9, length: 9 }), () => store.stat('a/two'), () => store.put('a/two', randomBytes(5))]) await expect(call()).rejects.toThrow(ObjectCorrupt);
    const bad = Buffer.from(bytes);
    bad[bad.length - 20] = (bad[bad.length - 20] as number) ^ 1;
    await writeFile(join(folder, 'a/one'), bad);
    await expect(store.get('a/one')).rejects.toThrow('record 2 of 3');
    await expect(store.get('a/one', { offset: 2 * recordBytes, length: 5 })).rejects.toThrow(ObjectCorrupt);
    await writeFile(join(folder, 'a/one'), bytes.subarray(0, headBytes + 2 * sealedRecord));
    for (const call of [() => store.get('a/one'), () => store.get('a/one', { offset: 2 * recordBytes, length: 5 }), () => store.stat('a/one')]) await expect(call()).rejects.toThrow(ObjectCorrupt);
    await writeFile(join(folder, 'a/one'), '');
    for (const call of [() => store.get('a/one'), () => store.stat('a/one')]) await expect(call()).rejects.toThrow(ObjectCorrupt);
  });

  it('reads what is plain only where that is said, and never takes it for equal where it differs', async () => {
    const inner = await at('mixed');
    await inner.put('a/plain', Buffer.from('older than the keys'));
    await inner.put('a/empty', Buffer.alloc(0));
    await inner.put('a/long', Buffer.alloc(1000, 5));
    const strict = sealedStore(inner, { keys, plain: 'refuse' });
    for (const call of [() => strict.get('a/plain'), () => strict.get('a/plain', { offset: 0, length: 5 }), () => strict.stat('a/long'), () => strict.put('a/plain', Buffer.from('x'))]) await expect(call()).rejects.toThrow(/not sealed/);
    const accepting = sealedStore(inner, { keys, plain: 'accept' });
    expect((await accepting.get('a/plain')).toString()).toBe('older than the keys');
    expect((await accepting.get('a/plain', { offset: 6, length: 4 })).toString()).toBe('than');
    expect((await accepting.get('a/long', { offset: 900, length: 100 })).equals(Buffer.alloc(100, 5))).toBe(true);
    expect([await accepting.stat('a/plain'), await accepting.stat('a/empty'), await accepting.stat('a/long')]).toEqual([{ bytes: 19 }, { bytes: 0 }, { bytes: 1000 }]);
    expect(await accepting.put('a/plain', Buffer.from('older than the keys'))).toBe('exists');
    await expect(accepting.put('a/plain', Buffer.from('other'))).rejects.toThrow(ObjectConflict);
    expect(await accepting.put('a/new', Buffer.from('new'))).toBe('created');
    expect((await strict.get('a/new')).toString()).toBe('new');
  });

  it('reads what an older key sealed while it has that key, seals with the current one, and says which are needed', async () => {
    const inner = await at('rotated');
    const before = sealedStore(inner, { keys: keysOf('old'), plain: 'refuse' });
    await before.put('a/one', Buffer.from('one'));
    await before.put('a/two', Buffer.from('two'));
    const after = sealedStore(inner, { keys: keysOf('new', 'old', 'idle'), plain: 'accept' });
    await after.put('a/three', Buffer.from('three'));
    expect(await after.put('a/one', Buffer.from('one'))).toBe('exists');
    expect((await after.get('a/two')).toString()).toBe('two');
    await inner.put('b/plain', Buffer.from('plain'));
    const use = await after.sealing?.use();
    const sealed = (bytes: number): number => headBytes + 16 + bytes;
    expect(use).toEqual([
      { id: null, current: false, known: true, objects: 1, bytes: 5 }, { id: 'idle', current: false, known: true, objects: 0, bytes: 0 },
      { id: 'new', current: true, known: true, objects: 1, bytes: sealed(5) }, { id: 'old', current: false, known: true, objects: 2, bytes: 2 * sealed(3) },
    ]);
    const without = sealedStore(inner, { keys: keysOf('new'), plain: 'refuse' });
    // Not damaged: a recovery must not take it for something that does not exist.
    await expect(without.get('a/one')).rejects.toThrow(StoreRefused);
    await expect(without.get('a/one')).rejects.toThrow('put that key back');
    expect((await without.sealing?.use())?.find(({ id }) => id === 'old')).toEqual({ id: 'old', current: false, known: false, objects: 2, bytes: 2 * sealed(3) });
    // Another key of the same name opens nothing.
    const wrong = sealedStore(inner, { keys: { ...keysOf('new'), find: () => keysOf('new').current }, plain: 'refuse' });
    await expect(wrong.get('a/one')).rejects.toThrow('two keys of one name');
  });
});

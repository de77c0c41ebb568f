import fc from 'fast-check';
import { decodeChunk, decodePack, decodeSegment, encodeChunk, encodeDefinition, encodeGeneration, encodeImage, encodeManifest, encodePack, encodeSegment, FormatError, parseDefinition, parseGeneration, parseImage, parseManifest } from '../src/index.js';
import { blocks, cluster, definition, disks, header, incarnation, manifest, noise, packContent } from './samples.js';

const sample = async () => {
  const one = await encodeSegment(header({ disks }), { pages: noise('p', 5000), device: noise('d', 700), disks: blocks });
  const two = await encodeSegment(header({ vm: 'bank-2', kind: 'delta', parent: 'ee'.repeat(32) }), { pages: noise('q', 100), device: Buffer.alloc(0) });
  const pack = encodePack(packContent([one, two]));
  const cut = encodeManifest(manifest(pack, one.hash));
  const generation = encodeGeneration({ format: 'virtcft/generation/1', cluster, generation: 1, incarnation, basis: null, previous: null });
  return { one, pack, cut, generation };
};

type Damage = { readonly kind: 'flip'; readonly bits: readonly number[] } | { readonly kind: 'cut'; readonly at: number } | { readonly kind: 'grow'; readonly tail: Uint8Array }
  | { readonly kind: 'overwrite'; readonly at: number; readonly bytes: Uint8Array };
const damages: fc.Arbitrary<Damage> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), bits: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }) }),
  fc.record({ kind: fc.constant('cut' as const), at: fc.nat() }),
  fc.record({ kind: fc.constant('grow' as const), tail: fc.uint8Array({ minLength: 1, maxLength: 40 }) }),
  // Aims at the fields of the prelude.
  fc.record({ kind: fc.constant('overwrite' as const), at: fc.nat(64), bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }) }),
);

function damaged(bytes: Buffer, damage: Damage): Buffer {
  if (damage.kind === 'cut') return Buffer.from(bytes.subarray(0, damage.at % bytes.length));
  if (damage.kind === 'grow') return Buffer.concat([bytes, damage.tail]);
  const copy = Buffer.from(bytes);
  if (damage.kind === 'overwrite') copy.set(damage.bytes.subarray(0, copy.length - damage.at), damage.at);
  else for (const bit of damage.bits) copy[(bit >> 3) % copy.length] = (copy[(bit >> 3) % copy.length] ?? 0) ^ (1 << (bit & 7));
  return copy;
}

/** Damaged bytes are refused as FormatError with a named part, whatever was done to them. */
function refusesDamage(bytes: Buffer, parse: (bytes: Buffer) => unknown): void {
  parse(bytes);
  fc.assert(fc.property(damages, (damage) => {
    const bad = damaged(bytes, damage);
    fc.pre(!bad.equals(bytes));
    let thrown: unknown = null;
    try {
      parse(bad);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(FormatError);
    expect((thrown as FormatError).part).toMatch(/^[a-z ]+$/);
  }), { numRuns: 3000 });
}

describe('damaged bytes are always found', () => {
  it('in a segment, even when its hash is not known', async () => {
    const { one } = await sample();
    refusesDamage(one.bytes, (bytes) => decodeSegment(bytes));
  });
  it('in a pack, even when its hash is not known', async () => {
    const { pack } = await sample();
    refusesDamage(pack.bytes, (bytes) => decodePack(bytes));
  });
  it('in a definition', () => {
    const { bytes, key } = encodeDefinition(definition());
    refusesDamage(bytes, (each) => parseDefinition(each, key));
  });
  it('in a manifest', async () => {
    const { cut } = await sample();
    refusesDamage(cut.bytes, (bytes) => parseManifest(bytes, cut.hash));
  });
  it('in a generation record', async () => {
    const { generation } = await sample();
    refusesDamage(generation.bytes, (bytes) => parseGeneration(bytes, generation.key));
  });
  it('in an image', () => {
    const { bytes, hash } = encodeImage({ bytes: 2_101_248, chunks: ['ab'.repeat(32), null, 'cd'.repeat(32)] });
    refusesDamage(bytes, (damagedBytes) => parseImage(damagedBytes, hash));
  });
  it('in a chunk by every single bit, also where another frame stands for the same content', async () => {
    const raw = Buffer.concat([noise('chunk', 300), Buffer.alloc(4096), noise('more', 20)]);
    const chunk = await encodeChunk(raw);
    if (chunk === null) throw new Error('it is not zero');
    const stored = await chunk.stored();
    expect((await decodeChunk(stored, chunk.hash)).equals(raw)).toBe(true);
    const refused = async (bytes: Buffer): Promise<boolean> => {
      const found: unknown = await decodeChunk(bytes, chunk.hash).catch((error: unknown) => error);
      if (Buffer.isBuffer(found)) expect(found.equals(raw)).toBe(true);
      else expect(found).toMatchObject({ code: 'FORMAT', part: 'chunk' });
      return !Buffer.isBuffer(found);
    };
    for (let bit = 0; bit < stored.length * 8; bit++) expect(await refused(damaged(stored, { kind: 'flip', bits: [bit] }))).toBe(true);
    for (let at = 0; at < stored.length; at += 7) expect(await refused(damaged(stored, { kind: 'cut', at }))).toBe(true);
    for (const tail of [Buffer.from([0]), stored, Buffer.alloc(1000, 1)]) expect(await refused(Buffer.concat([stored, tail]))).toBe(true);
    await expect(decodeChunk(stored, chunk.hash, raw.length - 1)).rejects.toThrow('4415 are expected');
  });
  it('in a segment by every single byte, and the part is named', async () => {
    const { one: { bytes } } = await sample();
    const table = 64 + 2 * 16;
    const [json, pages] = [bytes.readUInt32LE(12), 5000];
    const device = Number(bytes.readBigUInt64LE(24));
    const edges: [end: number, part: RegExp][] = [
      [52, /^segment prelude$/], [60, /^segment prelude$/], [64, /^segment prelude$/], [table, /^disk table$/], [table + json, /^segment header$/], [table + json + pages, /^page section$/],
      [table + json + pages + device, /^device state$/], [bytes.length, /^block section$/],
    ];
    expect(table + json + pages + device + 1200).toBe(bytes.length);
    for (let at = 0; at < bytes.length; at++) {
      const [, part = /never/] = edges.find(([end]) => at < end) ?? [];
      let thrown: unknown = null;
      try {
        decodeSegment(damaged(bytes, { kind: 'flip', bits: [at * 8 + (at % 8)] }));
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(FormatError);
      expect((thrown as FormatError).part).toMatch(part);
    }
  });
  it('and arbitrary bytes are refused in the same way', () => {
    const parsers = [(bytes: Buffer) => decodeSegment(bytes), (bytes: Buffer) => decodePack(bytes), (bytes: Buffer) => parseManifest(bytes), (bytes: Buffer) => parseImage(bytes, ''), (bytes: Buffer) => parseGeneration(bytes)];
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(...parsers), (bytes, parse) => {
      expect(() => parse(Buffer.from(bytes))).toThrow(FormatError);
    }), { numRuns: 2000 });
  });
});

describe('what contradicts itself', () => {
  it('a device state whose stated length lies, also downwards', async () => {
    const { one } = await sample();
    const bytes = Buffer.from(one.bytes);
    for (const length of [0n, 699n, 701n]) {
      bytes.writeBigUInt64LE(length, 32);
      const { crc32 } = await import('node:zlib');
      bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
      await expect(decodeSegment(bytes).device()).rejects.toThrow(FormatError);
    }
  });
  it('a delta without a parent, a full segment with one', async () => {
    const parts = { pages: Buffer.alloc(0), device: Buffer.alloc(0) };
    await expect(encodeSegment(header({ kind: 'delta' }), parts)).rejects.toThrow('a delta has a parent');
    await expect(encodeSegment(header({ parent: 'ee'.repeat(32) }), parts)).rejects.toThrow('a delta has a parent');
  });
  it('a segment with other block sections than disks, with two disks of one name, or with a disk of half a block', async () => {
    const parts = { pages: Buffer.alloc(0), device: Buffer.alloc(0) };
    const [root] = disks as [(typeof disks)[number]];
    await expect(encodeSegment(header({ disks }), { ...parts, disks: blocks.slice(1) })).rejects.toThrow('1 block sections, the header names 2');
    await expect(encodeSegment(header({ disks: [root, root] }), { ...parts, disks: blocks })).rejects.toThrow('two disks of one name');
    await expect(encodeSegment(header({ disks: [{ ...root, bytes: 6144 }] }), { ...parts, disks: blocks.slice(1) })).rejects.toThrow('disks.0.bytes');
  });
  it('an image with too few or too many chunks, an empty one, one of half a block', () => {
    const hash = 'ab'.repeat(32);
    for (const [bytes, count] of [[1_048_576, 2], [1_048_577, 2], [1_052_672, 1], [0, 0]] as const) expect(() => encodeImage({ bytes, chunks: Array.from({ length: count }, () => hash) })).toThrow(FormatError);
    expect(encodeImage({ bytes: 1_052_672, chunks: [hash, null] }).hash).toMatch(/^[0-9a-f]{64}$/);
  });
  it('chunks of zeros, empty ones, ones that expand beyond their bound', async () => {
    expect(await encodeChunk(Buffer.alloc(4096))).toBeNull();
    await expect(encodeChunk(Buffer.alloc(0))).rejects.toThrow(FormatError);
    const { zstdCompressSync } = await import('node:zlib');
    const { createHash } = await import('node:crypto');
    for (const raw of [Buffer.alloc(4096), Buffer.alloc(1024 * 1024 + 1, 1), Buffer.alloc(0)]) {
      await expect(decodeChunk(zstdCompressSync(raw), createHash('sha256').update(raw).digest('hex'))).rejects.toThrow(FormatError);
    }
  });
  it('a manifest with two disks of one name', async () => {
    const { pack, one } = await sample();
    const good = manifest(pack, one.hash);
    const vm = good.vms['bank-1'] as (typeof good.vms)[string];
    expect(() => encodeManifest({ ...good, vms: { 'bank-1': { ...vm, disks: [...vm.disks, ...vm.disks] } } })).toThrow('two disks of one name');
  });
  it('a pack with a segment of another epoch, generation, or twice the same VM', async () => {
    const { one } = await sample();
    expect(() => encodePack({ ...packContent([one]), epoch: 43 })).toThrow('epoch 42, the pack 43');
    expect(() => encodePack({ ...packContent([one]), generation: 4 })).toThrow(FormatError);
    expect(() => decodePack(encodePack(packContent([one, one])).bytes)).toThrow('two segments of one VM');
  });
  it('a manifest that names packs of later epochs, of other keys, or twice', async () => {
    const { pack, one } = await sample();
    const good = manifest(pack, one.hash);
    const [first] = good.packs as [typeof good.packs[number]];
    expect(() => encodeManifest({ ...good, packs: [first, first] })).toThrow('each once');
    expect(() => encodeManifest({ ...good, epoch: 41 })).toThrow('of epoch 42, the cut of 41');
    expect(() => encodeManifest({ ...good, packs: [{ ...first, host: 'host-b' }] })).toThrow('its key is another');
  });
  it('a generation record whose basis has another key, or is not earlier', () => {
    const hash = 'cd'.repeat(32);
    const basis = { key: `${cluster}/cuts/0000000003-000000000042-${hash}`, hash, generation: 3, epoch: 42 };
    const record = { format: 'virtcft/generation/1', cluster, generation: 4, incarnation, basis, previous: null } as const;
    expect(() => encodeGeneration({ ...record, basis: { ...basis, epoch: 41 } })).toThrow('its key names another cut');
    expect(() => encodeGeneration({ ...record, generation: 3 })).toThrow('not of an earlier generation');
  });
});

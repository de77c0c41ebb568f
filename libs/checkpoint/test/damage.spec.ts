import fc from 'fast-check';
import { decodePack, decodeSegment, encodeGeneration, encodeManifest, encodePack, encodeSegment, FormatError, parseGeneration, parseManifest } from '../src/index.js';
import { cluster, header, incarnation, manifest, noise, packContent } from './samples.js';

const sample = async () => {
  const one = await encodeSegment(header(), { pages: noise('p', 5000), device: noise('d', 700) });
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
  it('in a manifest', async () => {
    const { cut } = await sample();
    refusesDamage(cut.bytes, (bytes) => parseManifest(bytes, cut.hash));
  });
  it('in a generation record', async () => {
    const { generation } = await sample();
    refusesDamage(generation.bytes, (bytes) => parseGeneration(bytes, generation.key));
  });
  it('and arbitrary bytes are refused in the same way', () => {
    const parsers = [(bytes: Buffer) => decodeSegment(bytes), (bytes: Buffer) => decodePack(bytes), (bytes: Buffer) => parseManifest(bytes), (bytes: Buffer) => parseGeneration(bytes)];
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

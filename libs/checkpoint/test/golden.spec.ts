import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { zstdDecompressSync } from 'node:zlib';
import { decodeChunk, decodePack, decodeSegment, encodeBase, encodeChunk, encodeDefinition, encodeGeneration, encodeImage, encodeManifest, encodePack, encodeSegment, packKey, parseBase, parseDefinition, parseGeneration, parseImage, parseManifest, sourcesOf } from '../src/index.js';
import { pageSection } from './page-section.js';
import { blocks, cluster, definition, disks, header, identity, incarnation, manifest, noise, packContent } from './samples.js';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'golden');

/** The stored sample; WRITE_GOLDEN=1 writes it, for a new version of a format. */
async function golden(name: string, bytes: Buffer): Promise<Buffer> {
  if (process.env['WRITE_GOLDEN'] === '1') await writeFile(join(folder, name), bytes);
  return readFile(join(folder, name));
}

const pages = noise('pages', 3000);
const device = Buffer.concat([noise('device', 500), Buffer.alloc(2000)]);
// The compressed device state may differ between versions of zstd; so the encoded samples start from a stored segment.
const stored = async () => decodeSegment(await golden('segment.bin', (await encodeSegment(header({ disks }), { pages, device, disks: blocks })).bytes));

describe('golden files', () => {
  it('segment', async () => {
    const segment = await stored();
    expect(segment.header).toEqual(header({ disks }));
    expect(segment.pages.equals(pages)).toBe(true);
    expect((await segment.device()).equals(device)).toBe(true);
    expect(segment.disks.map((section) => section.toString('hex'))).toEqual(blocks.map((section) => section.toString('hex')));
    const again = await encodeSegment(header({ disks }), { pages, device, disks: blocks });
    const fixed = 64 + 2 * 16 + again.bytes.readUInt32LE(12);
    expect(again.bytes.subarray(64, fixed + pages.length).equals(segment.bytes.subarray(64, fixed + pages.length))).toBe(true);
  });

  it('segment on a base of the memory', async () => {
    const described = header({ image: 'ef'.repeat(32) });
    const segment = decodeSegment(await golden('segment-image.bin', (await encodeSegment(described, { pages, device })).bytes));
    expect(segment.header).toEqual(described);
    expect(segment.pages.equals(pages)).toBe(true);
    expect((await segment.device()).equals(device)).toBe(true);
  });

  it('pack', async () => {
    const segment = await stored();
    const encoded = encodePack(packContent([segment]));
    expect(encoded.bytes.equals(await golden('pack.bin', encoded.bytes))).toBe(true);
    const pack = decodePack(encoded.bytes, encoded.hash);
    expect(pack.key).toBe(encoded.key);
    expect(pack.channel).toEqual(packContent([]).channel);
    expect(pack.down).toEqual(['host-c']);
    expect(pack.segments[0]?.hash).toBe(segment.hash);
  });

  it('pack that refers to others', async () => {
    const reference = { pack: packKey({ cluster, generation: 3, epoch: 41, host: 'host-a', hash: 'ab'.repeat(32) }), segment: 'cd'.repeat(32), offset: 700, length: 9000 };
    const section = pageSection(24, false, [{ page: 7, kind: 'reference', bytes: null, at: { segment: reference.segment, page: 3, hash: 'ef'.repeat(32) } }], 4);
    const written = await encodeSegment(header({ memory_bytes: 24 * 4096, kind: 'delta', parent: 'ee'.repeat(32) }), { pages: section, device });
    const bytes = await golden('pack-references.bin', encodePack({ ...packContent([written]), references: [reference] }).bytes);
    const pack = decodePack(bytes);
    expect(pack.references).toEqual([reference]);
    expect(pack.segments.map(({ pages: held }) => sourcesOf(held))).toEqual([[reference.segment]]);
    // But for the device state, which another zstd may compress otherwise.
    expect(encodePack({ ...packContent(pack.segments), references: pack.references }).bytes.equals(bytes)).toBe(true);
  });

  it('manifest', async () => {
    const segment = await stored();
    const sample = manifest(encodePack(packContent([segment])), segment.hash);
    const encoded = encodeManifest(sample);
    expect(encoded.bytes.toString()).toBe((await golden('manifest.json', encoded.bytes)).toString());
    expect(parseManifest(encoded.bytes, encoded.hash)).toEqual(sample);
    expect(encoded.key).toBe(`${cluster}/cuts/0000000003-000000000042-${encoded.hash}`);
  });

  it('image and chunk', async () => {
    const raw = Buffer.concat([noise('chunk', 600), Buffer.alloc(4096 - 600)]);
    const chunk = await encodeChunk(raw);
    if (chunk === null) throw new Error('it is not zero');
    const bytes = await golden('chunk.zst', await chunk.stored());
    expect((await decodeChunk(bytes, chunk.hash)).equals(raw)).toBe(true);
    // A chunk is one zstd frame and nothing else: any tool reads it.
    expect(zstdDecompressSync(bytes).equals(raw)).toBe(true);
    const encoded = encodeImage({ bytes: 2 * 1024 * 1024 + 4096, chunks: ['ab'.repeat(32), null, chunk.hash] });
    expect(encoded.bytes.toString()).toBe((await golden('image.json', encoded.bytes)).toString());
    expect(parseImage(encoded.bytes, encoded.hash)).toEqual({ format: 'virtcft/image/1', bytes: 2_101_248, chunk_bytes: 1_048_576, chunks: ['ab'.repeat(32), null, chunk.hash] });
  });

  it('base', async () => {
    const base = {
      cluster, vm: 'bank-1', generation: 3, epoch: 42, cut: 'cd'.repeat(32), segment: { hash: 'ef'.repeat(32), epoch: 42 }, runState: 'running', identity,
      memory: { bytes: 1024 * 1024, chunk_bytes: 262_144, chunks: ['ab'.repeat(32), null, null, '12'.repeat(32)] },
      device: { bytes: 2500, chunk_bytes: 1_048_576, chunks: ['34'.repeat(32)] },
      disks: [{ name: 'root', bytes: 1_052_672, image: '56'.repeat(32), chunk_bytes: 1_048_576, chunks: [null, '78'.repeat(32)] }],
    } as const;
    const encoded = encodeBase({ ...base, memory: { ...base.memory, chunks: [...base.memory.chunks] }, device: { ...base.device, chunks: [...base.device.chunks] }, disks: base.disks.map((disk) => ({ ...disk, chunks: [...disk.chunks] })) });
    expect(encoded.bytes.toString()).toBe((await golden('base.json', encoded.bytes)).toString());
    expect(encoded.key).toBe(`${cluster}/bases/0000000003-000000000042-bank-1-${base.cut}-${encoded.hash}`);
    expect(parseBase(encoded.bytes, encoded.key)).toEqual({ format: 'virtcft/base/1', ...base });
    expect(() => parseBase(encoded.bytes, encoded.key.replace('bank-1', 'bank-2'))).toThrow('it belongs at');
  });

  it('generation record', async () => {
    const hash = 'cd'.repeat(32);
    const record = {
      format: 'virtcft/generation/1', cluster, generation: 4, incarnation, previous: 'f'.repeat(32),
      basis: { key: `${cluster}/cuts/0000000003-000000000042-${hash}`, hash, generation: 3, epoch: 42 },
    } as const;
    const encoded = encodeGeneration(record);
    expect(encoded.bytes.toString()).toBe((await golden('generation.json', encoded.bytes)).toString());
    expect(parseGeneration(encoded.bytes, encoded.key)).toEqual(record);
  });

  it('definition', async () => {
    const encoded = encodeDefinition(definition());
    // Written before the cluster file had the keys of seeding: such a definition is read as it is stored, and they take their defaults.
    const stored = await readFile(join(folder, 'definition.json'));
    expect(parseDefinition(stored, `${cluster}/definitions/0000000007-${createHash('sha256').update(stored).digest('hex')}`)).toEqual(definition());
    expect(JSON.parse(encoded.bytes.toString())).toMatchObject(JSON.parse(stored.toString()) as object);
    expect(parseDefinition(encoded.bytes, encoded.key)).toEqual(definition());
    expect(encoded.key).toBe(`${cluster}/definitions/0000000007-${encoded.hash}`);
  });
});

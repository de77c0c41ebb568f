import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodePack, decodeSegment, encodeGeneration, encodeManifest, encodePack, encodeSegment, parseGeneration, parseManifest } from '../src/index.js';
import { cluster, header, incarnation, manifest, noise, packContent } from './samples.js';

const folder = join(dirname(fileURLToPath(import.meta.url)), 'golden');

/** The stored sample; WRITE_GOLDEN=1 writes it, for a new version of a format. */
async function golden(name: string, bytes: Buffer): Promise<Buffer> {
  if (process.env['WRITE_GOLDEN'] === '1') await writeFile(join(folder, name), bytes);
  return readFile(join(folder, name));
}

const pages = noise('pages', 3000);
const device = Buffer.concat([noise('device', 500), Buffer.alloc(2000)]);
// The compressed device state may differ between versions of zstd; so the encoded samples start from a stored segment.
const stored = async () => decodeSegment(await golden('segment.bin', (await encodeSegment(header(), { pages, device })).bytes));

describe('golden files', () => {
  it('segment', async () => {
    const segment = await stored();
    expect(segment.header).toEqual(header());
    expect(segment.pages.equals(pages)).toBe(true);
    expect((await segment.device()).equals(device)).toBe(true);
    const again = await encodeSegment(header(), { pages, device });
    const fixed = 64 + again.bytes.readUInt32LE(12);
    expect(again.bytes.subarray(64, fixed + pages.length).equals(segment.bytes.subarray(64, fixed + pages.length))).toBe(true);
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

  it('manifest', async () => {
    const segment = await stored();
    const sample = manifest(encodePack(packContent([segment])), segment.hash);
    const encoded = encodeManifest(sample);
    expect(encoded.bytes.toString()).toBe((await golden('manifest.json', encoded.bytes)).toString());
    expect(parseManifest(encoded.bytes, encoded.hash)).toEqual(sample);
    expect(encoded.key).toBe(`${cluster}/cuts/0000000003-000000000042-${encoded.hash}`);
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
});

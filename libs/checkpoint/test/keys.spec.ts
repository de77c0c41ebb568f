import fc from 'fast-check';
import { chunkKey, cutKey, cutsFrom, cutsPrefix, definitionKey, FormatError, generationKey, imageKey, packKey, parseChunkKey, parseCutKey, parseDefinitionKey, parseGenerationKey, parseImageKey, parsePackKey } from '../src/index.js';
import { cluster, incarnation } from './samples.js';

const generation = fc.integer({ min: 1, max: 0xffff_ffff });
const epoch = fc.integer({ min: 1, max: 999_999_999_999 });
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'));
const host = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);

describe('keys', () => {
  it('come back from their parsers, and only from their own', () => {
    fc.assert(fc.property(generation, epoch, hash, host, (g, e, h, name) => {
      const pack = { cluster, generation: g, epoch: e, host: name, hash: h };
      const cut = { cluster, generation: g, epoch: e, hash: h };
      expect(parsePackKey(packKey(pack))).toEqual(pack);
      expect(parseCutKey(cutKey(cut))).toEqual(cut);
      expect(parseGenerationKey(generationKey({ cluster, generation: g, incarnation }))).toEqual({ cluster, generation: g, incarnation });
      expect(parseDefinitionKey(definitionKey({ cluster, version: g, hash: h }))).toEqual({ cluster, version: g, hash: h });
      expect(parseDefinitionKey(generationKey({ cluster, generation: g, incarnation }))).toBeNull();
      expect(parseImageKey(imageKey({ cluster, hash: h }))).toEqual({ cluster, hash: h });
      expect(parseChunkKey(chunkKey({ cluster, hash: h }))).toEqual({ cluster, hash: h });
      expect(parseImageKey(chunkKey({ cluster, hash: h }))).toBeNull();
      expect(parseChunkKey(cutKey(cut))).toBeNull();
      expect(parsePackKey(cutKey(cut))).toBeNull();
      expect(parseCutKey(packKey(pack))).toBeNull();
    }));
  });
  it('sort by generation, then epoch', () => {
    fc.assert(fc.property(generation, epoch, generation, epoch, hash, (g1, e1, g2, e2, h) => {
      const [a, b] = [cutKey({ cluster, generation: g1, epoch: e1, hash: h }), cutKey({ cluster, generation: g2, epoch: e2, hash: h })];
      expect(Math.sign(a < b ? -1 : a > b ? 1 : 0)).toBe(Math.sign(g1 - g2 || e1 - e2));
      expect(a.startsWith(cutsPrefix(cluster, g1))).toBe(true);
      expect(a > cutsFrom(cluster, g1, e1)).toBe(true);
    }));
  });
  it('refuse numbers that would break the order, and strings that are no keys', () => {
    expect(() => cutKey({ cluster, generation: 1, epoch: 1_000_000_000_000, hash: 'a' })).toThrow(FormatError);
    expect(() => cutKey({ cluster, generation: 0, epoch: 1, hash: 'a' })).toThrow(FormatError);
    for (const bad of ['', 'a/b', `${cluster}/cuts/1-1-x`, `${cluster}/cuts/0000000000-000000000001-${'a'.repeat(64)}`, `${cluster}/cuts/0000000001-000000000001-${'a'.repeat(63)}`]) {
      expect(parseCutKey(bad)).toBeNull();
    }
    for (const bad of [`${cluster}/chunks/${'A'.repeat(64)}`, `${'-'.repeat(36)}/chunks/${'a'.repeat(64)}`, `${cluster}/chunks/${'a'.repeat(64)}/`]) expect(parseChunkKey(bad)).toBeNull();
  });
});

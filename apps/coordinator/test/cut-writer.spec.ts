import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDirectoryStore, ObjectCorrupt, type ObjectStore } from '@virtcft/object-store';
import type { CutContent } from '@virtcft/protocol';
import { writeCut } from '../src/store/cut-writer.js';

const content: CutContent = { cluster: '11111111-1111-4111-8111-111111111111', generation: 1, epoch: 2, incarnation: 'a'.repeat(32), previous: null, vms: {}, packs: [] } as unknown as CutContent;

describe('a manifest', () => {
  let folder: string;
  let store: ObjectStore;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'virtcft-cut-writer-'));
    store = await openDirectoryStore({ path: folder });
  });
  afterAll(async () => { await rm(folder, { recursive: true }); });

  it('is put and read back before anybody is told of it, once: by the writer where the store does not (R12)', async () => {
    const gets: string[] = [];
    const watched = (read_back_bytes: number): ObjectStore => new Proxy(store, {
      get: (of, name: keyof ObjectStore) => name === 'capability' ? { ...of.capability, read_back_bytes } : name === 'get' ? async (key: string) => { gets.push(key); return of.get(key); } : (of[name] as (...args: never[]) => unknown).bind(of),
    });
    const { ref } = await writeCut(watched(0), content);
    expect(gets).toEqual([ref.key]);
    await writeCut(watched(1024 * 1024), content);
    expect(gets).toHaveLength(1);
  });

  it('that reads back as something else is no cut', async () => {
    const lying = new Proxy(store, { get: (of, name: keyof ObjectStore) => name === 'get' ? async () => Buffer.from('else') : (typeof of[name] === 'function' ? (of[name] as (...args: never[]) => unknown).bind(of) : of[name]) });
    await expect(writeCut(lying, content)).rejects.toThrow(ObjectCorrupt);
  });
});

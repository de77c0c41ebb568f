import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keysIn, openDirectoryStore, sealedStore, type SealingKeys } from '@virtcft/object-store';
import { KeyUses } from '../src/index.js';

describe('keys of the store', () => {
  let folder = '';
  beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'virtcft-key-uses-')); });
  afterEach(async () => { await rm(folder, { recursive: true }); });

  it('are counted for whoever asks, once for all who ask meanwhile', async () => {
    const keys = keysIn(`key a ${'ab'.repeat(32)}\ncurrent a\n`) as SealingKeys;
    const inner = await openDirectoryStore({ path: folder });
    const store = sealedStore(inner, { keys, plain: 'refuse' });
    await store.put('a/b', Buffer.from('x'));
    const uses = new KeyUses(store);
    const [one, two] = await Promise.all([uses.count(), uses.count()]);
    expect(one).toMatchObject({ current: 'a', plain_accepted: false, keys: [{ id: 'a', current: true, known: true, objects: 1 }] });
    expect(two.keys).toBe(one.keys);
    await store.put('a/c', Buffer.from('x'));
    expect((await uses.count()).keys[0]?.objects).toBe(2);
  });

  it('are told to be none where objects are stored as they are', async () => {
    await expect(new KeyUses(await openDirectoryStore({ path: folder })).count()).rejects.toMatchObject({ code: 'not-found', next: expect.stringContaining('encryption.md') });
  });
});

import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDirectoryStore, StoreRefused, StoreUnavailable } from '../src/index.js';
import { objectStoreContract } from './contract.js';

let root: string;
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), 'virtcft-store-')); });
afterAll(async () => { await rm(root, { recursive: true, force: true }); });

objectStoreContract('directory', 'enforced', () => openDirectoryStore({ path: join(root, 'contract') }));

describe('directory store', () => {
  it('leaves nothing behind but the object', async () => {
    const path = join(root, 'clean');
    const store = await openDirectoryStore({ path });
    await store.put('a/b/c', Buffer.from('1'));
    await store.put('a/b/c', Buffer.from('1'));
    await expect(store.put('a/b/c', Buffer.from('2'))).rejects.toThrow('other content');
    expect((await readdir(path, { recursive: true })).sort()).toEqual(['.writing', 'a', 'a/b', 'a/b/c']);
  });

  it('shows nothing to other users: objects hold guests\' memory', async () => {
    const path = join(root, 'private');
    const store = await openDirectoryStore({ path });
    await store.put('a/b', Buffer.from('1'));
    const modes = await Promise.all(['', 'a', 'a/b', '.writing'].map(async (each) => (await stat(join(path, each))).mode & 0o007));
    expect(modes).toEqual([0, 0, 0, 0]);
  });

  it('sweeps what a dead writer left, not what a living one writes', async () => {
    const path = join(root, 'sweep');
    await openDirectoryStore({ path });
    await writeFile(join(path, '.writing/dead'), 'half');
    await utimes(join(path, '.writing/dead'), new Date(0), new Date(0));
    await writeFile(join(path, '.writing/living'), 'half');
    await openDirectoryStore({ path });
    expect(await readdir(join(path, '.writing'))).toEqual(['living']);
  });

  it('makes a folder again that was removed while it was open', async () => {
    const path = join(root, 'vanish');
    const store = await openDirectoryStore({ path });
    await store.put('x/y/one', Buffer.from('1'));
    await rm(join(path, 'x'), { recursive: true });
    expect(await store.put('x/y/two', Buffer.from('2'))).toBe('created');
    expect((await store.get('x/y/two')).toString()).toBe('2');
  });

  it('says that it is unreachable when the root is gone', async () => {
    const path = join(root, 'unmounted');
    const store = await openDirectoryStore({ path });
    await rm(path, { recursive: true });
    await expect(store.put('a/b', Buffer.from('1'))).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', reason: 'unreachable' });
  });

  it('refuses a root that is a file', async () => {
    await writeFile(join(root, 'file'), 'x');
    await expect(openDirectoryStore({ path: join(root, 'file/below') })).rejects.toThrow(StoreRefused);
  });

  it('says that it is full, keeps what it has, and goes on once there is room', async () => {
    const path = join(root, 'small');
    execFileSync('mkdir', ['-p', path]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'virtcft-test', path]);
    try {
      const store = await openDirectoryStore({ path });
      await store.put('a/kept', Buffer.alloc(600_000, 1));
      const refused = store.put('a/more', Buffer.alloc(600_000, 2));
      await expect(refused).rejects.toThrow(StoreUnavailable);
      await expect(refused).rejects.toMatchObject({ reason: 'full' });
      expect(await store.stat('a/more')).toBeNull();
      expect((await store.get('a/kept')).equals(Buffer.alloc(600_000, 1))).toBe(true);
      await store.remove('a/kept');
      expect(await store.put('a/more', Buffer.alloc(600_000, 2))).toBe('created');
    } finally {
      execFileSync('umount', [path]);
    }
  });
});

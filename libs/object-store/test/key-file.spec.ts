import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { KeyFile, keysIn, openDirectoryStore, openStore, StoreRefused } from '../src/index.js';
import { limits } from '../src/limits.js';
import { keyFile } from './sealed-samples.js';

describe('a file of keys', () => {
  let folder = '';
  let path = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'virtcft-keys-'));
    path = join(folder, 'keys');
  });
  afterEach(() => { rmSync(folder, { recursive: true }); });
  const write = (text: string): void => {
    writeFileSync(`${path}.new`, text, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  };

  it('names keys, one of them current, and is read anew when an object names another', async () => {
    write(keyFile('b', 'a', 'b'));
    const keys = new KeyFile(path);
    expect([keys.current.id, keys.ids, keys.find('a')?.id, keys.find('c')]).toEqual(['b', ['a', 'b'], 'a', null]);
    write(keyFile('c', 'a', 'b', 'c'));
    await wait(limits.key_file_again_ms + 20);
    expect([keys.find('c')?.id, keys.current.id]).toEqual(['c', 'c']);
  });

  it('that others may read, that is missing, too long or no such file is refused, and nothing of it shown', () => {
    expect(() => new KeyFile(path)).toThrow(/cannot be read \(ENOENT\).*virtcft secrets/);
    write(keyFile('a', 'a'));
    chmodSync(path, 0o640);
    expect(() => new KeyFile(path)).toThrow(/may be read by others \(mode 640\): chmod 600/);
    for (const text of ['', 'key a 00', keyFile('b', 'a'), `${keyFile('a', 'a')}current a\n`, keyFile('a', 'a', 'a'), keyFile('UPPER', 'UPPER'), `${keyFile('a', 'a')}word\n`, 'x'.repeat(70_000)]) {
      write(text);
      let told = '';
      try {
        expect(new KeyFile(path)).toBeNull();
      } catch (error) {
        expect(error).toBeInstanceOf(StoreRefused);
        told = String(error);
      }
      expect(told).not.toMatch(/[0-9a-f]{32}/);
    }
    expect(() => new KeyFile(folder)).toThrow(StoreRefused);
    expect(keysIn(keyFile('a', 'a'))?.current.secret.type).toBe('secret');
  });

  it('opens a store by its environment, which refuses plain objects and a forgotten key at once', async () => {
    write(keyFile('a', 'a'));
    const url = `file://${folder}/store`;
    const env = { VIRTCFT_STORE_KEYS_FILE: path };
    const store = await openStore(url, env);
    expect(store.sealing).toMatchObject({ current: 'a', plain_accepted: false });
    expect((await openStore(url, {})).sealing).toBeUndefined();
    await store.put('a/b', Buffer.from('x'));
    await expect(openStore(url, {})).rejects.toThrow(/is sealed with key a: give the keys in VIRTCFT_STORE_KEYS_FILE/);
    await expect(openStore(url, { ...env, VIRTCFT_STORE_PLAIN: 'maybe' })).rejects.toThrow('neither refuse nor accept');
    await (await openDirectoryStore({ path: join(folder, 'plain') })).put('a/b', Buffer.from('older'));
    await expect(openStore(`file://${folder}/plain`, env)).rejects.toThrow(/not sealed.*VIRTCFT_STORE_PLAIN=accept/);
    const accepting = await openStore(`file://${folder}/plain`, { ...env, VIRTCFT_STORE_PLAIN: 'accept' });
    expect((await accepting.get('a/b')).toString()).toBe('older');
  });
});

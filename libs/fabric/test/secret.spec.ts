import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { readSecret, SecretUnusable } from '../src/index.js';

describe('the tunnel secret', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'secret-'));
    path = join(folder, 'secret');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('is read from a file that its owner alone may read', () => {
    writeFileSync(path, Buffer.alloc(32, 9), { mode: 0o600 });
    expect(readSecret(path)).toEqual(Buffer.alloc(32, 9));
  });

  test.each<[string, () => void, RegExp]>([
    ['is not there', () => undefined, /cannot be read \(ENOENT\).*head -c 32 \/dev\/urandom/],
    ['others may read', () => { writeFileSync(path, Buffer.alloc(32)); chmodSync(path, 0o640); }, /may be read by others \(mode 640\).*chmod 600/],
    ['is too short', () => writeFileSync(path, 'too short, and secret', { mode: 0o600 }), /has 21 bytes: it must have 32/],
    ['is too long', () => writeFileSync(path, Buffer.alloc(5000), { mode: 0o600 }), /has 5000 bytes/],
    ['is a folder', () => { path = folder; chmodSync(folder, 0o700); }, /is not a file/],
  ])('is refused when it %s, saying how to make one', (_, prepare, message) => {
    prepare();
    let thrown: unknown = null;
    try {
      readSecret(path);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(SecretUnusable);
    expect((thrown as Error).message).toMatch(message);
    expect((thrown as Error).message).toMatch(/Make one with/);
    expect((thrown as Error).message).not.toContain('and secret');
  });
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { s3Credentials, StoreRefused } from '../src/index.js';

const file = '# made by somebody\n[other]\naws_access_key_id = o\naws_secret_access_key = p\n\n[default]\naws_access_key_id=key\naws_secret_access_key = a/b+c=\nregion = x\n';

describe('credentials of an S3 store', () => {
  let folder = '';
  let path = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'virtcft-credentials-'));
    path = join(folder, 'credentials');
    writeFileSync(path, file);
  });
  afterAll(() => { rmSync(folder, { recursive: true }); });

  it('are the environment\'s, or else those of the file it names', () => {
    expect(s3Credentials({})).toEqual({ accessKey: '', secretKey: '' });
    expect(s3Credentials({ AWS_SHARED_CREDENTIALS_FILE: path })).toEqual({ accessKey: 'key', secretKey: 'a/b+c=' });
    expect(s3Credentials({ AWS_SHARED_CREDENTIALS_FILE: path, AWS_PROFILE: 'other' })).toEqual({ accessKey: 'o', secretKey: 'p' });
    expect(s3Credentials({ AWS_SHARED_CREDENTIALS_FILE: path, AWS_ACCESS_KEY_ID: 'e', AWS_SECRET_ACCESS_KEY: 'f' })).toEqual({ accessKey: 'e', secretKey: 'f' });
  });

  it('are refused when the file is not there, too long, or has none', () => {
    const long = join(folder, 'long');
    writeFileSync(long, 'x'.repeat(20_000));
    for (const env of [{ AWS_SHARED_CREDENTIALS_FILE: join(folder, 'none') }, { AWS_SHARED_CREDENTIALS_FILE: long }, { AWS_SHARED_CREDENTIALS_FILE: path, AWS_PROFILE: 'third' }]) {
      expect(() => s3Credentials(env)).toThrow(StoreRefused);
    }
  });
});

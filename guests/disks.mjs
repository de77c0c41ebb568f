// Disks of the guests that have some: raw images, sparse, the same bytes at every build.
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';

const FILESYSTEM_MIB = 256, BLOCKS_MIB = 16;
const IDENTITY = '8b2f3c1e-5a0d-4e57-9d43-0c1f6e0a7b21';

function sparse(path, mib) {
  const file = openSync(path, 'w', 0o644);
  ftruncateSync(file, mib * 1024 * 1024);
  closeSync(file);
}

/** A raw disk of zeros: the blocks daemon writes all that it reads. */
export function emptyDisk(path) { sparse(path, BLOCKS_MIB); }

/** An ext4 file system with a folder for the database. Nothing is left for the guest to initialize later: that would be writes nobody asked for. */
export function filesystemDisk(path, work) {
  const content = join(work, 'data');
  mkdirSync(join(content, 'database'), { recursive: true });
  sparse(path, FILESYSTEM_MIB);
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '4096', '-J', 'size=4', '-m', '0', '-L', 'data', '-U', IDENTITY, '-E', `lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,hash_seed=${IDENTITY}`, '-d', content, path],
    { env: { ...process.env, E2FSPROGS_FAKE_TIME: '1700000000', PATH: `${process.env.PATH}:/usr/sbin:/sbin` }, stdio: ['ignore', 'ignore', 'inherit'] });
}

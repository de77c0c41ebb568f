// Writes an initramfs in the kernel's own format (cpio "newc"), uncompressed: under emulation unpacking is dearer than loading.
import { readFileSync, writeFileSync } from 'node:fs';

const DIRECTORY = 0o040000, FILE = 0o100000, LINK = 0o120000;

const pad4 = (length) => Buffer.alloc((4 - (length % 4)) % 4);

function entry(number, mode, name, body) {
  const hex = (value) => value.toString(16).padStart(8, '0');
  const nameBytes = Buffer.from(`${name}\0`);
  // magic, inode, mode, uid, gid, links, mtime, size, device major/minor, special major/minor, name's length, checksum
  const header = Buffer.from('070701' + [number, mode, 0, 0, 1, 0, body.length, 0, 0, 0, 0, nameBytes.length, 0].map(hex).join(''));
  return [header, nameBytes, pad4(header.length + nameBytes.length), body, pad4(body.length)];
}

/** `files`: path inside -> { from: file on disk } | { text } | { link: target } | { directory: true }, with `executable`. Parents are made. */
export function writeCpio(path, files) {
  const all = new Map();
  for (const [name, what] of Object.entries(files)) {
    const parts = name.split('/');
    for (let i = 1; i < parts.length; i++) all.set(parts.slice(0, i).join('/'), { directory: true });
    all.set(name, what);
  }
  const out = [];
  let number = 1;
  for (const [name, what] of [...all].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (what.directory) out.push(...entry(number++, DIRECTORY | 0o755, name, Buffer.alloc(0)));
    else if (what.link) out.push(...entry(number++, LINK | 0o777, name, Buffer.from(what.link)));
    else out.push(...entry(number++, FILE | (what.executable ? 0o755 : 0o644), name, what.text === undefined ? readFileSync(what.from) : Buffer.from(what.text)));
  }
  out.push(...entry(0, 0, 'TRAILER!!!', Buffer.alloc(0)));
  writeFileSync(path, Buffer.concat(out));
}

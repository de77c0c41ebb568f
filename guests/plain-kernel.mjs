// The kernel inside a bzImage, unpacked: Xen's tools would unpack it again for every guest, which takes seconds under emulation.
import { execFileSync } from 'node:child_process';
import { gunzipSync } from 'node:zlib';

// Of the kernel's boot protocol (Documentation/arch/x86/boot.rst).
const SECTOR_BYTES = 512, SETUP_SECTORS = 0x1f1, MAGIC = 0x202, PAYLOAD_OFFSET = 0x248, PAYLOAD_LENGTH = 0x24c;
/** The kernel's build appends the unpacked length to all but gzip's payload. */
const LENGTH_BYTES = 4;
const ELF = '7f454c46';
const UNPACKERS = { fd377a585a: ['xz', '-dc'], '28b52ffd': ['zstd', '-qdc'], '02214c18': ['lz4', '-dc'] };

/** Bytes of the ELF file in a bzImage; Error when it is none, or packed in a way that is not known here. */
export function plainKernel(image) {
  if (image.length < PAYLOAD_LENGTH + 4 || image.toString('latin1', MAGIC, MAGIC + 4) !== 'HdrS') throw new Error('the kernel is no bzImage');
  const from = (image[SETUP_SECTORS] + 1) * SECTOR_BYTES + image.readUInt32LE(PAYLOAD_OFFSET);
  const payload = image.subarray(from, from + image.readUInt32LE(PAYLOAD_LENGTH));
  const plain = unpack(payload);
  if (plain.toString('hex', 0, 4) !== ELF) throw new Error('what is packed in the kernel is no ELF file');
  return plain;
}

function unpack(payload) {
  if (payload.toString('hex', 0, 2) === '1f8b') return gunzipSync(payload);
  const packed = Object.entries(UNPACKERS).find(([magic]) => payload.toString('hex', 0, magic.length / 2) === magic);
  if (!packed) throw new Error(`the kernel is packed in an unknown way (it begins with ${payload.toString('hex', 0, 6)})`);
  const [program, options] = packed[1];
  return execFileSync(program, [options], { input: payload.subarray(0, payload.length - LENGTH_BYTES), maxBuffer: 1 << 28, stdio: ['pipe', 'pipe', 'inherit'] });
}

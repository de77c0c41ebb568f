import { closeSync, openSync, readFileSync, readSync, readlinkSync } from 'node:fs';

/** A variable of an executable, by its dynamic symbol: address within the file's image, and size in bytes. */
export interface Variable { readonly address: number; readonly size_bytes: number }

const ELF64_LE = Buffer.from('\x7fELF\x02\x01', 'latin1');
const SECTION_BYTES = 64, SYMBOL_BYTES = 24, DYNSYM = 11, OBJECT = 1;
/** QEMU's tables have some 200 KB; what claims much more is no table. */
const TABLE_BYTES = 16 << 20;

/** Looks `name` up in the dynamic symbols of a 64-bit executable. Null when it is not exported, or the file is not of this kind. */
export function variableOf(path: string, name: string): Variable | null {
  const file = openSync(path, 'r');
  const read = (at: number, bytes: number): Buffer => {
    if (bytes > TABLE_BYTES) throw new RangeError(`a table of ${bytes} bytes`);
    const buffer = Buffer.alloc(bytes);
    if (readSync(file, buffer, 0, bytes, at) !== bytes) throw new RangeError('the file ends within a table');
    return buffer;
  };
  try {
    const header = read(0, 64);
    if (!header.subarray(0, ELF64_LE.length).equals(ELF64_LE)) return null;
    const sections = read(Number(header.readBigUInt64LE(40)), header.readUInt16LE(60) * SECTION_BYTES);
    const table = (index: number): Buffer => {
      const at = index * SECTION_BYTES;
      return read(Number(sections.readBigUInt64LE(at + 24)), Number(sections.readBigUInt64LE(at + 32)));
    };
    for (let index = 0; index * SECTION_BYTES < sections.length; index++) {
      if (sections.readUInt32LE(index * SECTION_BYTES + 4) !== DYNSYM) continue;
      const symbols = table(index);
      const names = table(sections.readUInt32LE(index * SECTION_BYTES + 40));
      const wanted = Buffer.from(`${name}\0`, 'latin1');
      for (let at = 0; at + SYMBOL_BYTES <= symbols.length; at += SYMBOL_BYTES) {
        const from = symbols.readUInt32LE(at);
        const defined = symbols.readUInt16LE(at + 6) !== 0 && (symbols.readUInt8(at + 4) & 15) === OBJECT;
        if (!defined || !names.subarray(from, from + wanted.length).equals(wanted)) continue;
        return { address: Number(symbols.readBigUInt64LE(at + 8)), size_bytes: Number(symbols.readBigUInt64LE(at + 16)) };
      }
    }
    return null;
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  } finally {
    closeSync(file);
  }
}

/** Where a running, position-independent executable is loaded: what its symbols' addresses are relative to. Throws what the file system says. */
export function loadAddress(pid: number): number {
  const executable = readlinkSync(`/proc/${pid}/exe`);
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const [, start, offset, path] = /^([0-9a-f]+)-[0-9a-f]+ \S+ ([0-9a-f]+) \S+ \d+\s+(.*)$/.exec(line) ?? [];
    if (start !== undefined && Number(`0x${offset}`) === 0 && path === executable) return Number(`0x${start}`);
  }
  throw new Error(`process ${pid} does not map ${executable}`);
}

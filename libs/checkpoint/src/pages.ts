import { inspectSection } from '@virtcft/native';
import { FormatError } from './format-error.js';
import type { Segment } from './segment.js';

const pageBytes = 4096;

/** Checks a segment's page and block sections before anything is changed by them. Throws FormatError that names the part at fault. */
export function checkSections({ header, pages, disks }: Pick<Segment, 'header' | 'pages' | 'disks'>): void {
  const memory = inspected('page section', pages, header.memory_bytes);
  // Applied to an image, a full section would make zero what it does not name.
  if (memory.full && header.image !== undefined) throw new FormatError('page section', 'it is full, and so no change to the image');
  header.disks.forEach(({ name, bytes, image }, at) => {
    const { xor, referred, full } = inspected('block section', disks[at] as Buffer, bytes);
    const refuse = (reason: string): never => { throw new FormatError('block section', `of disk "${name}": ${reason}`); };
    if (xor > 0) refuse('it has XOR blocks');
    if (referred > 0) refuse('it refers to blocks of others');
    // Applied to an image, a full section would make zero what it does not name.
    const wanted = header.kind === 'full' && image === null;
    if (full !== wanted) refuse(wanted ? 'it is a change, and there is nothing that it could change' : `it is full, and so no change to the ${header.kind === 'full' ? 'image' : 'parent'}`);
  });
}

/** Whether it is whole, and of `bytes`; its head is as in docs/formats/page-section.md. */
function inspected(part: string, section: Buffer, bytes: number): { xor: number; referred: number; full: boolean } {
  try {
    const { xor, referred } = inspectSection(section);
    const pages = section.readUInt32LE(8);
    if (pages * pageBytes !== bytes) throw new FormatError(part, `it is of ${pages} pages, not of ${bytes} bytes`);
    return { xor, referred, full: (section.readUInt16LE(6) & 1) === 1 };
  } catch (error) {
    if ((error as { code?: string }).code !== 'EBADSECTION') throw error;
    throw new FormatError(part, (error as Error).message);
  }
}

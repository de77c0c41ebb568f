import { inspectSection } from '@virtcft/native';
import { FormatError } from './format-error.js';
import type { Segment } from './segment.js';

const pageBytes = 4096;

/** Checks a segment's page and block sections before anything is changed by them. Throws FormatError that names the part at fault. */
export function checkSections(segment: Pick<Segment, 'header' | 'pages' | 'disks'>): void {
  inspected('page section', segment.pages);
  checkKinds(segment);
}

/** As `checkSections`, but for the inside of the page section, which is checked as a whole where it is applied. */
export function checkKinds({ header, pages, disks }: Pick<Segment, 'header' | 'pages' | 'disks'>): void {
  // Applied to an image, a full section would make zero what it does not name.
  if (isFull('page section', pages, header.memory_bytes) && header.image !== undefined) throw new FormatError('page section', 'it is full, and so no change to the image');
  header.disks.forEach(({ name, bytes, image }, at) => {
    const section = disks[at] as Buffer;
    const { xor, referred } = inspected('block section', section);
    const refuse = (reason: string): never => { throw new FormatError('block section', `of disk "${name}": ${reason}`); };
    if (xor > 0) refuse('it has XOR blocks');
    if (referred > 0) refuse('it refers to blocks of others');
    // Applied to an image, a full section would make zero what it does not name.
    const [full, wanted] = [isFull('block section', section, bytes), header.kind === 'full' && image === null];
    if (full !== wanted) refuse(wanted ? 'it is a change, and there is nothing that it could change' : `it is full, and so no change to the ${header.kind === 'full' ? 'image' : 'parent'}`);
  });
}

/** Of a section's head: docs/formats/page-section.md. */
const head = { flags_at: 6, full: 1, pages_at: 8, bytes: 12 } as const;

/** Whether what it does not name is zero. Throws FormatError when it is not of `bytes`. */
function isFull(part: string, section: Buffer, bytes: number): boolean {
  const pages = section.length < head.bytes ? 0 : section.readUInt32LE(head.pages_at);
  if (pages * pageBytes !== bytes) throw new FormatError(part, `it is of ${pages} pages, not of ${bytes} bytes`);
  return (section.readUInt16LE(head.flags_at) & head.full) !== 0;
}

/** What a whole section holds. */
function inspected(part: string, section: Buffer): { xor: number; referred: number } {
  try {
    return inspectSection(section);
  } catch (error) {
    if ((error as { code?: string }).code !== 'EBADSECTION') throw error;
    throw new FormatError(part, (error as Error).message);
  }
}

import { inspectSection } from '@virtcft/native';
import { FormatError } from './format-error.js';

/** Checks a page section before anything is changed by it. Throws EBADSECTION (native) or FormatError. */
export function checkPages(section: Buffer, memory_bytes: number): void {
  const { maxPage, pages } = inspectSection(section);
  if (pages > 0 && maxPage >= memory_bytes / 4096) throw new FormatError('page section', `page ${maxPage} is beyond ${memory_bytes} bytes of memory`);
}
